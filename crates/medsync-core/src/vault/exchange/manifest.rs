//! Marks: what a device holds, and which of its files hold what. Signed by the device.

use crate::crypto::sign::SigningKey;
use crate::error::{Error, Result};
use crate::ids::{ChainId, CommitId, DeviceKey};
use crate::ledger::cbor::{Reader, encode};
use crate::vault::exchange::claim::{CLAIM_BYTES_MAX, Claim, SignedClaim};
use crate::vault::exchange::files::Name;
use crate::vault::marks::{Held, TIPS_MAX, Tips};
use minicbor::Encoder;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

/// First in every file: whoever finds one later knows that nothing is promised.
pub(super) const LABEL: &str = "medsync exchange (provisional)";
/// Format of the folder's files.
pub(super) const FORMAT: u32 = 1;
/// Longest marks, in bytes.
pub(super) const MARKS_BYTES_MAX: usize = 16 * 1024 * 1024;
pub(super) const CONTEXT: &str = "medsync v1 exchange marks";
const CHAINS_MAX: usize = 65_536;
const RANGES_MAX: usize = 4096;
const FILES_MAX: usize = 10_000;
/// Most claims that marks pass on.
const CLAIMS_MAX: usize = 4096;
/// Most runs of one chain in one file.
const RUNS_MAX: usize = 65_536;
const WHAT: &str = "marks are malformed";

type Encoded = std::result::Result<(), minicbor::encode::Error<Infallible>>;

/// Writes which commits are held.
fn write_held(held: &Held, e: &mut Encoder<Vec<u8>>) -> Encoded {
    // Beyond the limits less is said than is true: a peer sends again what is here already.
    let chains = held.chains();
    e.array(chains.len().min(CHAINS_MAX) as u64)?;
    for (chain, ranges) in chains.take(CHAINS_MAX) {
        e.array(3)?.encode(chain.author)?.encode(chain.replica)?;
        e.array(ranges.len().min(RANGES_MAX) as u64)?;
        for (first, last) in ranges.iter().take(RANGES_MAX) {
            e.array(2)?.u64(*first)?.u64(*last)?;
        }
    }
    Ok(())
}

/// A chain, which comes after those before it.
fn read_chain(r: &mut Reader<'_>, before: &mut Option<ChainId>) -> Result<ChainId> {
    let (author, replica) = (r.value()?, r.value()?);
    let chain = ChainId { author, replica };
    if before.is_some_and(|before| before >= chain) {
        return Err(r.fault());
    }
    *before = Some(chain);
    Ok(chain)
}

/// Chains once each and ranges apart, in the order they are written in: a million ranges in
/// falling order would be moved about for ten minutes and more.
fn read_held(r: &mut Reader<'_>) -> Result<Held> {
    let mut held = Held::default();
    let mut before = None;
    for _ in 0..r.list(CHAINS_MAX)? {
        r.array(3)?;
        let chain = read_chain(r, &mut before)?;
        let mut end = None;
        for _ in 0..r.list(RANGES_MAX)? {
            r.array(2)?;
            let (first, last): (u64, u64) = (r.value()?, r.value()?);
            // The next one starts beyond the place after the last: else the two were one.
            let apart = end.map_or(first >= 1, |end: u64| first > end.saturating_add(1));
            if !apart || first > last || i64::try_from(last).is_err() {
                return Err(r.fault());
            }
            held.insert(chain, first, last);
            end = Some(last);
        }
    }
    Ok(held)
}

fn write_tips(tips: &Tips, e: &mut Encoder<Vec<u8>>) -> Encoded {
    e.array(tips.len().min(CHAINS_MAX) as u64)?;
    for (chain, named) in tips.iter().take(CHAINS_MAX) {
        e.array(3)?.encode(chain.author)?.encode(chain.replica)?;
        e.array(named.len().min(TIPS_MAX) as u64)?;
        for (seq, id) in named.iter().take(TIPS_MAX) {
            e.array(2)?.u64(*seq)?.encode(id)?;
        }
    }
    Ok(())
}

fn read_tips(r: &mut Reader<'_>) -> Result<Tips> {
    let mut tips = Tips::new();
    let mut before = None;
    for _ in 0..r.list(CHAINS_MAX)? {
        r.array(3)?;
        let chain = read_chain(r, &mut before)?;
        let mut named: Vec<(u64, CommitId)> = Vec::new();
        for _ in 0..r.list(TIPS_MAX)? {
            r.array(2)?;
            let next = (r.value()?, r.value()?);
            if named.last().is_some_and(|last| *last >= next) {
                return Err(r.fault());
            }
            named.push(next);
        }
        tips.insert(chain, named);
    }
    Ok(tips)
}

/// A run of commits in a file: first and last place, and the last commit.
pub(super) type Run = (u64, u64, CommitId);

/// The runs that a file holds, by chain, ascending.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Carried(BTreeMap<ChainId, BTreeSet<Run>>);

impl Carried {
    /// Adds a run.
    pub(super) fn insert(&mut self, chain: ChainId, run: Run) {
        self.0.entry(chain).or_default().insert(run);
    }

    /// Every run.
    pub(super) fn runs(&self) -> impl Iterator<Item = (&ChainId, &Run)> {
        let chains = self.0.iter();
        chains.flat_map(|(chain, runs)| runs.iter().map(move |run| (chain, run)))
    }

    /// Whether a run is one of them.
    pub(super) fn has(&self, chain: &ChainId, run: &Run) -> bool {
        self.0.get(chain).is_some_and(|runs| runs.contains(run))
    }

    fn write(&self, e: &mut Encoder<Vec<u8>>) -> Encoded {
        e.array(self.0.len().min(CHAINS_MAX) as u64)?;
        for (chain, runs) in self.0.iter().take(CHAINS_MAX) {
            e.array(3)?.encode(chain.author)?.encode(chain.replica)?;
            e.array(runs.len().min(RUNS_MAX) as u64)?;
            for (first, last, id) in runs.iter().take(RUNS_MAX) {
                e.array(3)?.u64(*first)?.u64(*last)?.encode(id)?;
            }
        }
        Ok(())
    }

    fn read(r: &mut Reader<'_>) -> Result<Self> {
        let mut carried = Self::default();
        let mut before = None;
        for _ in 0..r.list(CHAINS_MAX)? {
            r.array(3)?;
            let chain = read_chain(r, &mut before)?;
            let mut runs = BTreeSet::new();
            for _ in 0..r.list(RUNS_MAX)? {
                r.array(3)?;
                let run: Run = (r.value()?, r.value()?, r.value()?);
                let possible = run.0 >= 1 && run.0 <= run.1 && i64::try_from(run.1).is_ok();
                if !possible || runs.last().is_some_and(|last| *last >= run) {
                    return Err(r.fault());
                }
                runs.insert(run);
            }
            carried.0.insert(chain, runs);
        }
        Ok(carried)
    }
}

/// What marks say of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileMark {
    pub(super) name: Name,
    /// BLAKE3 of the file as it lies there.
    pub(super) hash: [u8; 32],
    /// For whom it was sealed: [`recipients_mark`].
    pub(super) recipients: [u8; 32],
    /// The commits in it.
    pub(super) carries: Carried,
}

/// What a device says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marks {
    /// Who says it.
    pub(super) claim: Claim,
    /// For whom the marks are sealed.
    pub(super) recipients: [u8; 32],
    pub(super) held: Held,
    pub(super) tips: Tips,
    pub(super) files: Vec<FileMark>,
    /// The newest claims it knows of all copies, its device's others with them.
    pub(super) claims: Vec<SignedClaim>,
}

/// A set of recipients as one hash.
pub(super) fn recipients_mark(recipients: &[(DeviceKey, [u8; 32])]) -> [u8; 32] {
    let mut keys: Vec<&[u8; 32]> = recipients.iter().map(|(_, key)| key).collect();
    keys.sort_unstable();
    let mut hasher = blake3::Hasher::new_derive_key("medsync v1 exchange recipients");
    for key in keys {
        hasher.update(key);
    }
    *hasher.finalize().as_bytes()
}

impl Marks {
    /// The marks with their claim, signed by the device.
    pub(super) fn sign(&self, key: &SigningKey) -> (Vec<u8>, SignedClaim) {
        let body = self.body();
        let claim = self.claim.sign(&body, key);
        let bytes = encode(|e| {
            e.array(3)?.bytes(&claim.bytes)?.bytes(&claim.signature)?;
            e.bytes(&body)?.ok()
        });
        (bytes, claim)
    }

    /// All but the claim.
    pub(super) fn body(&self) -> Vec<u8> {
        encode(|e| {
            e.array(5)?.bytes(&self.recipients)?;
            write_held(&self.held, e)?;
            write_tips(&self.tips, e)?;
            e.array(self.files.len().min(FILES_MAX) as u64)?;
            for file in self.files.iter().take(FILES_MAX) {
                e.array(4)?.str(&file.name.to_string())?.bytes(&file.hash)?;
                e.bytes(&file.recipients)?;
                file.carries.write(e)?;
            }
            e.array(self.claims.len().min(CLAIMS_MAX) as u64)?;
            for claim in self.claims.iter().take(CLAIMS_MAX) {
                e.array(2)?.bytes(&claim.bytes)?.bytes(&claim.signature)?;
            }
            Ok(())
        })
    }

    /// Reads marks that the device they name signed.
    ///
    /// # Errors
    /// [`Error::Integrity`] for malformed or forged marks, [`Error::TooNew`] for a newer format.
    pub(super) fn open(bytes: &[u8]) -> Result<(Self, SignedClaim)> {
        let mut outer = Reader::new(bytes, MARKS_BYTES_MAX, WHAT)?;
        outer.array(3)?;
        let signed = read_claim(&mut outer)?;
        let body = outer.bytes(MARKS_BYTES_MAX)?;
        outer.end()?;
        let claim = signed.open_over(body)?;
        let mut r = Reader::new(body, MARKS_BYTES_MAX, WHAT)?;
        r.array(5)?;
        let recipients = r.fixed()?;
        let held = read_held(&mut r)?;
        let tips = read_tips(&mut r)?;
        let mut files = Vec::new();
        for _ in 0..r.list(FILES_MAX)? {
            r.array(4)?;
            let name = Name::parse(r.text(64)?).ok_or_else(|| r.fault())?;
            let (hash, recipients) = (r.fixed()?, r.fixed()?);
            let carries = Carried::read(&mut r)?;
            files.push(FileMark {
                name,
                hash,
                recipients,
                carries,
            });
        }
        let mut claims = Vec::new();
        for _ in 0..r.list(CLAIMS_MAX)? {
            r.array(2)?;
            claims.push(read_claim(&mut r)?);
        }
        r.end()?;
        let marks = Self {
            claim,
            recipients,
            held,
            tips,
            files,
            claims,
        };
        Ok((marks, signed))
    }

    /// What they say of a file.
    pub(super) fn file(&self, name: Name) -> Option<&FileMark> {
        self.files.iter().find(|file| file.name == name)
    }
}

fn read_claim(r: &mut Reader<'_>) -> Result<SignedClaim> {
    Ok(SignedClaim {
        bytes: r.bytes(CLAIM_BYTES_MAX)?.to_vec(),
        signature: r.fixed()?,
    })
}

/// Reads label and format, which begin every file of the folder.
pub(super) fn read_label(r: &mut Reader<'_>) -> Result<()> {
    if r.text(64)? != LABEL {
        return Err(r.fault());
    }
    match r.value::<u32>()? {
        FORMAT => Ok(()),
        found => Err(Error::TooNew {
            what: "a file of the exchange folder",
            found,
            known: FORMAT,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{AuthorKey, ReplicaId, WorkspaceId};
    use crate::time::Timestamp;
    use proptest::prelude::*;

    const CHAIN: ChainId = ChainId {
        author: AuthorKey([1; 32]),
        replica: ReplicaId([2; 16]),
    };

    fn carried() -> Carried {
        let mut carried = Carried::default();
        carried.insert(CHAIN, (1, 64, CommitId([8; 32])));
        carried.insert(CHAIN, (60, 64, CommitId([7; 32])));
        carried
    }

    fn marks(key: &SigningKey) -> Marks {
        let mut held = Held::default();
        held.insert(CHAIN, 1, 64);
        held.insert(CHAIN, 70, 70);
        let file = FileMark {
            name: Name::Batches(3),
            hash: [4; 32],
            recipients: [5; 32],
            carries: carried(),
        };
        let claim = Claim {
            workspace: WorkspaceId([6; 32]),
            device: DeviceKey(key.public()),
            replica: ReplicaId([7; 16]),
            former: vec![ReplicaId([6; 16])],
            counter: 8,
            hlc: Timestamp(9),
        };
        let other = claim.sign(b"other marks", key);
        Marks {
            claim,
            recipients: [5; 32],
            held,
            tips: Tips::from([(
                CHAIN,
                vec![(48, CommitId([9; 32])), (64, CommitId([8; 32]))],
            )]),
            files: vec![file],
            claims: vec![other],
        }
    }

    proptest! {
        #[test]
        fn foreign_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Marks::open(&bytes).is_err());
        }
    }

    #[test]
    fn marks_come_back_and_every_changed_bit_is_refused() {
        let key = SigningKey::from_seed(&[3; 32]);
        let marks = marks(&key);
        let (bytes, claim) = marks.sign(&key);
        assert_eq!(Marks::open(&bytes), Ok((marks.clone(), claim.clone())));
        let (device, workspace) = (marks.claim.device, marks.claim.workspace);
        assert_eq!(claim.of(&device, &workspace), Some(marks.claim.clone()));
        for at in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[at / 8] ^= 1 << (at % 8);
            assert!(Marks::open(&bad).is_err(), "bit {at}");
        }
        let stranger = SigningKey::from_seed(&[4; 32]);
        let (bytes, claim) = marks.sign(&stranger);
        assert!(Marks::open(&bytes).is_err());
        assert_eq!(claim.of(&device, &workspace), None);
    }

    #[test]
    fn chains_and_ranges_out_of_order_are_refused() {
        let held = |chains: &[(u8, &[(u64, u64)])]| {
            let bytes = encode(|e| {
                e.array(chains.len() as u64)?;
                for (author, ranges) in chains {
                    e.array(3)?.bytes(&[*author; 32])?.bytes(&[2; 16])?;
                    e.array(ranges.len() as u64)?;
                    for (first, last) in *ranges {
                        e.array(2)?.u64(*first)?.u64(*last)?;
                    }
                }
                Ok(())
            });
            read_held(&mut Reader::new(&bytes, 1000, WHAT).unwrap())
        };
        assert!(held(&[(1, &[(1, 2), (4, 4)]), (2, &[(7, 7)])]).is_ok());
        assert!(held(&[(2, &[(1, 1)]), (1, &[(1, 1)])]).is_err());
        assert!(held(&[(1, &[(1, 1)]), (1, &[(3, 3)])]).is_err());
        for ranges in [
            [(4, 4), (1, 2)],
            [(1, 2), (3, 4)],
            [(1, 2), (2, 4)],
            [(0, 1), (3, 3)],
        ] {
            assert!(held(&[(1, &ranges)]).is_err(), "{ranges:?}");
        }
    }

    #[test]
    fn the_order_of_recipients_does_not_matter() {
        let (a, b) = ((DeviceKey([1; 32]), [1; 32]), (DeviceKey([2; 32]), [2; 32]));
        assert_eq!(recipients_mark(&[a, b]), recipients_mark(&[b, a]));
        assert_ne!(recipients_mark(&[a, b]), recipients_mark(&[a]));
    }
}
