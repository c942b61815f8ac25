//! Commits and their leaves; what both ends of a session know.

mod entry;

use crate::doc::lean::change::{Around, Changes, Parts};
use crate::doc::lean::coder::{Bit, Coder, Freq, Num};
use crate::doc::lean::mirror::{Mirror, Mirrors};
use crate::doc::lean::value::Values;
use crate::doc::lean::{Change, Commit, Fault, Key, Known, Leaf, Place, Run};
use crate::doc::prescan::MAX_CHANGE;
use crate::ids::{ActorId, AuthorKey, ChainId, ChangeId, CommitId, DataKeyId, RecordId, ReplicaId};
use crate::time::Timestamp;
use std::collections::HashMap;

const CHAINS_MAX: usize = 4096;
const COMMITS_MAX: usize = 4096;
const LEAVES_MAX: usize = 4096;
const ENTRY_MAX: usize = 1024 * 1024 + 64;
const BODY_MAX: usize = ENTRY_MAX + 16 * 1024;
const MIRROR_BYTES_MAX: usize = 4 << 20;

/// Which record a change is of: the one before it, one of the session, one that both hold, a new
/// one, one that is only named.
const AGAIN: usize = 0;
const EARLIER: usize = 1;
const MET: usize = 2;
const NEW: usize = 3;
const NAMED: usize = 4;
const WHICH: usize = 5;

/// Ways to name the patient of an entry.
const PATIENTS: usize = 5;

/// What stands under a root.
const CHANGE: usize = 0;
const UNKNOWN: usize = 1;
const ITEM: usize = 2;
const WITHHELD: usize = 3;
const SEALED: usize = 4;
const LEAVES: usize = 5;

/// The record that a leaf is of.
enum Which {
    /// Mirrored under this number; met at this version with this change.
    Mirrored(u64, Option<Vec<ChangeId>>),
    Named(RecordId),
}

/// What is learned over a session.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) values: Values,
    mirrors: Mirrors,
    changes: Changes,
    chains: Vec<ChainId>,
    /// The place that the next commit of a chain has, by the chain's number.
    next: Vec<u64>,
    keys: HashMap<RecordId, DataKeyId>,
    last: Option<u64>,
    patient: Option<RecordId>,
    hlc: Timestamp,
    chain: Freq,
    fresh_chain: Bit,
    follows: Bit,
    has_previous: Bit,
    has_signature: Bit,
    commits: Num,
    place: Num,
    leaves: Num,
    millis: Num,
    counter: Num,
    lane: Freq,
    intent: Freq,
    leaf: Freq,
    which: Freq,
    distance: Num,
    versions: Num,
    index: Num,
    patients: Freq,
    same_key: Bit,
    granted: Bit,
    has_seen: Bit,
    seen: Num,
    seen_known: Bit,
    has_because: Bit,
    has_source: Bit,
    bytes: Num,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            values: Values::default(),
            mirrors: Mirrors::default(),
            changes: Changes::default(),
            chains: Vec::new(),
            next: Vec::new(),
            keys: HashMap::new(),
            last: None,
            patient: None,
            hlc: Timestamp::default(),
            chain: Freq::default(),
            fresh_chain: Bit::default(),
            follows: Bit::default(),
            has_previous: Bit::default(),
            has_signature: Bit::default(),
            commits: Num::default(),
            place: Num::default(),
            leaves: Num::default(),
            millis: Num::default(),
            counter: Num::default(),
            lane: Freq::new(4),
            intent: Freq::new(256),
            leaf: Freq::new(LEAVES),
            which: Freq::new(WHICH),
            distance: Num::default(),
            versions: Num::default(),
            index: Num::default(),
            patients: Freq::new(PATIENTS),
            same_key: Bit::default(),
            granted: Bit::default(),
            has_seen: Bit::default(),
            seen: Num::default(),
            seen_known: Bit::default(),
            has_because: Bit::default(),
            has_source: Bit::default(),
            bytes: Num::default(),
        }
    }
}

impl Session {
    /// Codes what a run says beside its commits, and how many they are.
    pub(super) fn run<C: Coder>(
        &mut self,
        c: &mut C,
        run: &Run,
        count: usize,
    ) -> Result<(Run, usize), Fault> {
        let chain = self.chain(c, &run.chain)?;
        let number = self.chains.iter().position(|known| *known == chain);
        let next = number.and_then(|n| self.next.get(n).copied()).unwrap_or(1);
        let first = match c.bit(&mut self.follows, run.first == next)? {
            true => next,
            false => c.number(&mut self.place, run.first)?,
        };
        let previous = match c.bit(&mut self.has_previous, run.previous.is_some())? {
            true => Some(CommitId(c.bytes(run.previous.map_or([0; 32], |p| p.0))?)),
            false => None,
        };
        let signature = match c.bit(&mut self.has_signature, run.signature.is_some())? {
            true => Some(c.bytes(run.signature.unwrap_or([0; 64]))?),
            false => None,
        };
        let count = c.below(&mut self.commits, count, COMMITS_MAX + 1)?;
        let next = first.checked_add(count as u64).ok_or(Fault::Malformed)?;
        if let Some(known) = number.and_then(|n| self.next.get_mut(n)) {
            *known = next;
        }
        let run = Run {
            chain,
            first,
            previous,
            signature,
            commits: Vec::new(),
        };
        Ok((run, count))
    }

    fn chain<C: Coder>(&mut self, c: &mut C, chain: &ChainId) -> Result<ChainId, Fault> {
        let at = self.chains.iter().position(|known| known == chain);
        if !c.bit(&mut self.fresh_chain, at.is_none())? {
            let at = c.symbol(&mut self.chain, at.unwrap_or(0))?;
            return self.chains.get(at).copied().ok_or(Fault::Malformed);
        }
        let chain = ChainId {
            author: AuthorKey(c.bytes(chain.author.0)?),
            replica: ReplicaId(c.bytes(chain.replica.0)?),
        };
        if self.chains.contains(&chain) {
            return Err(Fault::Malformed);
        }
        if self.chains.len() < CHAINS_MAX {
            self.chains.push(chain);
            self.next.push(1);
            self.chain.push();
        }
        Ok(chain)
    }

    /// Codes one commit of a chain.
    pub(super) fn commit<C: Coder>(
        &mut self,
        c: &mut C,
        known: &mut dyn Known,
        actor: ActorId,
        commit: Option<&Commit>,
    ) -> Result<Commit, Fault> {
        c.spend(256)?;
        let given = commit.map_or(self.hlc, |commit| commit.hlc);
        let millis = c.signed(&mut self.millis, given.ms().wrapping_sub(self.hlc.ms()))?;
        let counter = c.below(&mut self.counter, usize::from(given.counter()), 1 << 16)?;
        let millis = self.hlc.ms().wrapping_add(millis);
        let counter = i64::try_from(counter).unwrap_or(0);
        self.hlc = Timestamp(millis.wrapping_shl(16) | counter);
        let lane = commit.map_or(0, |commit| usize::from(commit.lane));
        if lane >= self.lane.len() {
            return Err(Fault::TooLarge);
        }
        let lane = c.symbol(&mut self.lane, lane)?;
        let intent = commit.map_or(0, |commit| usize::from(commit.intent));
        let intent = c.symbol(&mut self.intent, intent)?;
        let leaves = commit.map_or(&[][..], |commit| &commit.leaves);
        let count = c.below(&mut self.leaves, leaves.len(), LEAVES_MAX + 1)?;
        let mut out = Vec::new();
        for i in 0..count {
            let leaf = self.leaf(c, known, actor, leaves.get(i))?;
            self.mirrors.trim();
            out.extend(leaf);
        }
        Ok(Commit {
            hlc: self.hlc,
            lane: u8::try_from(lane).unwrap_or(0),
            intent: u8::try_from(intent).unwrap_or(0),
            leaves: out,
        })
    }

    /// Codes a leaf; a writer gets none back.
    fn leaf<C: Coder>(
        &mut self,
        c: &mut C,
        known: &mut dyn Known,
        actor: ActorId,
        leaf: Option<&Leaf>,
    ) -> Result<Option<Leaf>, Fault> {
        c.spend(128)?;
        let kind = match leaf {
            Some(Leaf::Change(_)) | None => CHANGE,
            Some(Leaf::Other { .. }) => UNKNOWN,
            Some(Leaf::Item(_)) => ITEM,
            Some(Leaf::Withheld(_)) => WITHHELD,
            Some(Leaf::Sealed { .. }) => SEALED,
        };
        let kind = c.symbol(&mut self.leaf, kind)?;
        if kind == CHANGE {
            let change = match leaf {
                Some(Leaf::Change(change)) => Some(&**change),
                _ => None,
            };
            let change = self.change(c, known, actor, change)?;
            return Ok(change.map(|change| Leaf::Change(Box::new(change))));
        }
        let plain = self.plain(c, kind, leaf)?;
        Ok((!C::WRITES).then_some(plain))
    }

    fn plain<C: Coder>(
        &mut self,
        c: &mut C,
        kind: usize,
        leaf: Option<&Leaf>,
    ) -> Result<Leaf, Fault> {
        Ok(match kind {
            UNKNOWN => {
                let empty = Key {
                    id: DataKeyId([0; 16]),
                    grant: None,
                };
                let (key, entry, change) = match leaf {
                    Some(Leaf::Other { key, entry, change }) => (key, &entry[..], &change[..]),
                    _ => (&empty, &[][..], &[][..]),
                };
                Leaf::Other {
                    key: self.key(c, key, None)?,
                    entry: c.literal(&mut self.bytes, entry, ENTRY_MAX)?,
                    change: c.literal(&mut self.bytes, change, MAX_CHANGE)?,
                }
            }
            ITEM => {
                let item = match leaf {
                    Some(Leaf::Item(bytes)) => &bytes[..],
                    _ => &[],
                };
                Leaf::Item(c.literal(&mut self.bytes, item, ENTRY_MAX)?)
            }
            WITHHELD => Leaf::Withheld(c.bytes(match leaf {
                Some(Leaf::Withheld(hash)) => *hash,
                _ => [0; 32],
            })?),
            _ => {
                let (key, hash, nonce, body) = match leaf {
                    Some(Leaf::Sealed {
                        key,
                        leaf,
                        nonce,
                        body,
                    }) => (key.0, *leaf, *nonce, &body[..]),
                    _ => ([0; 16], [0; 32], [0; 24], &[][..]),
                };
                Leaf::Sealed {
                    key: DataKeyId(c.bytes(key)?),
                    leaf: c.bytes(hash)?,
                    nonce: c.bytes(nonce)?,
                    body: c.literal(&mut self.bytes, body, BODY_MAX)?,
                }
            }
        })
    }

    fn change<C: Coder>(
        &mut self,
        c: &mut C,
        known: &mut dyn Known,
        actor: ActorId,
        change: Option<&Change>,
    ) -> Result<Option<Change>, Fault> {
        let empty = Key {
            id: DataKeyId([0; 16]),
            grant: None,
        };
        let parts = change.and_then(|change| Parts::of(&change.change));
        let which = self.which(c, known, change, parts.as_ref())?;
        let number = match &which {
            Which::Mirrored(number, _) => Some(*number),
            Which::Named(_) => None,
        };
        let mirror = number.and_then(|number| self.mirrors.get(number));
        let record = match (&which, mirror) {
            (Which::Named(record), _) => record.clone(),
            (_, mirror) => mirror.ok_or(Fault::Malformed)?.record.clone(),
        };
        let of_record = mirror.and_then(|mirror| mirror.patient.clone());
        let mut expected = mirror.and_then(|mirror| mirror.key);
        let given = change.and_then(|change| change.patient.as_ref());
        let patient = self.patient(c, &record, of_record, given)?;
        if let Some(patient) = patient.as_ref().filter(|_| expected.is_none()) {
            expected = self.keys.get(patient).copied();
        }
        let key = self.key(c, change.map_or(&empty, |change| &change.key), expected)?;
        self.learn(number, patient.as_ref(), key.id);
        let seen = self.seen(c, number, change.and_then(|change| change.seen.as_ref()))?;
        let because = change.and_then(|change| change.because.as_deref());
        let because = match c.bit(&mut self.has_because, because.is_some())? {
            true => Some(self.values.text(c, "because", because.unwrap_or(""))?),
            false => None,
        };
        let source = self.source(c, change.and_then(|change| change.source.as_ref()))?;
        let bytes = change.map_or(&[][..], |change| &change.change);
        let bytes = self.body(c, known, actor, which, (bytes, parts))?;
        let change = Change {
            key,
            record,
            patient,
            seen,
            because,
            source,
            change: bytes,
        };
        Ok((!C::WRITES).then_some(change))
    }

    fn body<C: Coder>(
        &mut self,
        c: &mut C,
        known: &mut dyn Known,
        actor: ActorId,
        which: Which,
        given: (&[u8], Option<Parts>),
    ) -> Result<Vec<u8>, Fault> {
        let Which::Mirrored(number, met) = which else {
            return self.changes.alone(c, given.0);
        };
        let around = Around {
            actor,
            hlc: self.hlc,
            met: met.as_deref(),
        };
        let (changes, values) = (&mut self.changes, &mut self.values);
        let mut useful = true;
        let coded = self.mirrors.with(number, |mirror| {
            let coded = changes.change(c, values, known, mirror, &around, given);
            let (bytes, mirrored) = coded?;
            useful = mirrored && mirror.bytes() <= MIRROR_BYTES_MAX;
            if !useful {
                mirror.clear();
            }
            Ok(bytes)
        });
        if !useful {
            self.mirrors.forget(number);
        }
        coded.unwrap_or(Err(Fault::Malformed))
    }

    fn which<C: Coder>(
        &mut self,
        c: &mut C,
        known: &mut dyn Known,
        change: Option<&Change>,
        parts: Option<&Parts>,
    ) -> Result<Which, Fault> {
        let number = change.and_then(|change| self.mirrors.find(&change.record));
        let mut version = Vec::new();
        let which = match (number, change, parts) {
            (Some(number), ..) if self.last == Some(number) => AGAIN,
            (Some(_), ..) => EARLIER,
            (None, _, Some(parts)) if parts.deps.is_empty() => NEW,
            (None, Some(change), Some(parts)) => {
                let place = |dep| Some((known.place(&change.record, dep)?, *dep));
                let places: Option<Vec<_>> = parts.deps.iter().map(place).collect();
                version = places.unwrap_or_default();
                let base = known.base(&change.record, &parts.deps);
                match !version.is_empty() && base.is_some() {
                    true => MET,
                    false => NAMED,
                }
            }
            _ => NAMED,
        };
        let which = c.symbol(&mut self.which, which)?;
        let number = match which {
            AGAIN => self.last.ok_or(Fault::Malformed)?,
            EARLIER => {
                let next = self.mirrors.next();
                let back = next.wrapping_sub(number.unwrap_or(next));
                let back = c.number(&mut self.distance, back)?;
                next.checked_sub(back).ok_or(Fault::Malformed)?
            }
            MET => {
                let record = change.map(|change| &change.record);
                let (mirror, version) = self.meet(c, known, record, version)?;
                let number = self.mirrors.push(mirror);
                self.last = Some(number);
                return Ok(Which::Mirrored(number, Some(version)));
            }
            _ => {
                let record = change.map_or("", |change| change.record.as_str());
                let record = self.record(c, record)?;
                if which == NAMED {
                    return Ok(Which::Named(record));
                }
                self.mirrors.push(Mirror::new(record))
            }
        };
        self.last = Some(number);
        Ok(Which::Mirrored(number, None))
    }

    /// A record that both hold, named by where the changes stand that this one builds on.
    fn meet<C: Coder>(
        &mut self,
        c: &mut C,
        known: &mut dyn Known,
        record: Option<&RecordId>,
        places: Vec<(Place, ChangeId)>,
    ) -> Result<(Mirror, Vec<ChangeId>), Fault> {
        let limit = usize::try_from(crate::doc::MAX_DEPS).unwrap_or(0);
        let count = c.below(&mut self.versions, places.len(), limit + 1)?;
        let mut found = record.cloned();
        let mut version = Vec::with_capacity(count);
        for i in 0..count {
            c.spend(64)?;
            let given = places.get(i);
            let nobody = ChainId {
                author: AuthorKey([0; 32]),
                replica: ReplicaId([0; 16]),
            };
            let chain = self.chain(c, given.map_or(&nobody, |(place, _)| &place.chain))?;
            let seq = c.number(&mut self.place, given.map_or(0, |(place, _)| place.seq))?;
            let index = given.map_or(0, |(place, _)| place.index as usize);
            let index = c.below(&mut self.index, index, LEAVES_MAX)?;
            if let Some((_, id)) = given {
                version.push(*id);
                continue;
            }
            let index = u32::try_from(index).map_err(|_| Fault::Malformed)?;
            let (of, id) = known
                .at(&Place { chain, seq, index })
                .ok_or(Fault::Unknown)?;
            if found.get_or_insert_with(|| of.clone()) != &of {
                return Err(Fault::Malformed);
            }
            version.push(id);
        }
        let record = found.ok_or(Fault::Malformed)?;
        let base = known.base(&record, &version).ok_or(Fault::Unknown)?;
        if base.ends.len() != version.len() {
            return Err(Fault::Unknown);
        }
        let mut mirror = Mirror::new(record);
        (mirror.patient, mirror.key) = (base.patient, base.key);
        mirror.nodes = version.iter().copied().zip(base.ends).collect();
        mirror.heads.clone_from(&version);
        mirror.heads.sort_unstable();
        mirror.base.clone_from(&version);
        Ok((mirror, version))
    }
}
