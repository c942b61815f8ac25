//! Leaving what others lack.

use crate::crypto::envelope;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::ids::{DataKeyId, DeviceKey, ReplicaId};
use crate::ledger::batch::{BatchHeader, SignedHeader};
use crate::ledger::cbor::encode;
use crate::ledger::commit::{Commit, Sealable};
use crate::ledger::wire::{SealedBatch, WireCommit, WireLeaf, seal_leaf};
use crate::time::Timestamp;
use crate::vault::branches::{is_whole, run};
use crate::vault::commit_row::{CommitRow, LeafRow};
use crate::vault::core::{Core, DataKey, load_commit, pack_row};
use crate::vault::exchange::claim::{Claim, SignedClaim};
use crate::vault::exchange::files::{Name, only_reads, write_error};
use crate::vault::exchange::incoming::BATCHES_SEALED_MAX;
use crate::vault::exchange::keys::{self, KEYS_MAX, KeyFile};
use crate::vault::exchange::manifest::{
    Carried, FORMAT, FileMark, LABEL, Marks, Run, recipients_mark,
};
use crate::vault::exchange::{ExchangeProgress, Found, Numbers, Outgoing, Phase, Visit, words};
use crate::vault::incarnation;
use crate::vault::marks::{Has, Held, Tips, tips};
use crate::vault::rows::{Rows, kind};
use crate::vault::seal::batch_row;
use std::collections::{HashMap, HashSet};

/// A file is closed before it would be longer, unless a single batch is.
pub(super) const FILE_BYTES: usize = 8 * 1024 * 1024;
/// Most files of one device: beyond, what is left waits until others have taken up.
const FILES_MAX: usize = 9000;

/// A batch that somebody lacks.
struct Wanted {
    batch: BatchHeader,
    /// Where its commits lie.
    places: Vec<(u32, u64)>,
    hlc: Timestamp,
    signed: SignedHeader,
}

impl Wanted {
    const fn commits(&self) -> u64 {
        self.batch.last - self.batch.first + 1
    }

    const fn run(&self) -> Run {
        (self.batch.first, self.batch.last, self.batch.last_id)
    }

    /// Whether a file holds it.
    fn is_in(&self, file: &Carried) -> bool {
        file.has(&self.batch.chain, &self.run())
    }
}

/// What this device leaves: the files that stay, and those to come.
struct Offer {
    recipients: Vec<[u8; 32]>,
    mark: [u8; 32],
    files: Vec<FileMark>,
    /// The newest claims of all copies.
    claims: Vec<SignedClaim>,
    /// The names that this vault gave up.
    former: Vec<ReplicaId>,
    /// The marks in the folder, if they are ours and as sealed as they should be.
    written: Option<Marks>,
    /// Where this vault's chains end.
    tips: Tips,
    /// The number of the last marks, wherever they are.
    numbers: Numbers,
    /// The time of the marks in the folder: a vault from a backup may be behind it.
    after: Timestamp,
}

/// The sealed commits of a vault.
pub(super) fn held(rows: &dyn Rows, core: &Core) -> Result<Held> {
    let mut held = Held::default();
    each_batch(rows, &mut |batch, _| {
        // What came damaged or without its key is not here: it has to be sent again.
        if is_whole(rows, core, batch)? {
            held.insert(batch.chain, batch.first, batch.last);
        }
        Ok(())
    })?;
    Ok(held)
}

fn each_batch(
    rows: &dyn Rows,
    each: &mut dyn FnMut(&BatchHeader, SignedHeader) -> Result<()>,
) -> Result<()> {
    rows.scan(&[kind::BATCH], &[kind::BATCH], &mut |_, row| {
        const BAD: Error = Error::integrity("a batch's row is damaged");
        let signed = batch_row(row).ok_or(BAD)?;
        each(&BatchHeader::parse(&signed.header)?, signed)?;
        Ok(true)
    })
}

impl Visit<'_> {
    /// Leaves what current devices lack, unless this device or the folder does not let it.
    pub(super) fn leave(&mut self, found: &[Found]) -> Result<()> {
        let recipients = self.vault.core.recipients();
        let own = self.vault.core.meta.device;
        if !recipients.iter().any(|(key, _)| *key == own) {
            self.report.outgoing = Outgoing::NotCurrent;
            return Ok(());
        }
        match self.leave_for(found, &recipients) {
            Err(_) if self.report.outgoing == Outgoing::ReadOnlyFolder => Ok(()),
            done => done,
        }
    }

    fn leave_for(&mut self, found: &[Found], recipients: &[(DeviceKey, [u8; 32])]) -> Result<()> {
        let rows = self.vault.store.read()?;
        let core = self.vault.core.clone();
        let own = core.meta.device;
        let former = incarnation::former(&rows)?;
        let is_past = |claim: &Claim| claim.device == own && former.contains(&claim.replica);
        let (past, found): (Vec<&Found>, Vec<&Found>) = found
            .iter()
            .partition(|f| f.marks().is_some_and(|m| is_past(&m.claim)));
        let (marks, claims) = self.peers(&rows, recipients)?;
        let peers = marks
            .iter()
            .map(|(held, tips)| Has::new(&rows, &core, held, tips))
            .collect::<Result<Vec<_>>>()?;
        self.held = held(&rows, &core)?;
        let mine = found.iter().find(|f| f.dir == self.own).copied();
        let marks = mine.and_then(Found::marks).cloned();
        let mut numbers = Numbers::load(&rows)?;
        let there = marks.as_ref().map_or(0, |m| m.claim.counter);
        let is_newest = there == numbers.counter;
        let on_disk = mine.iter().flat_map(|f| &f.names).map(|name| name.number());
        numbers.file = numbers
            .file
            .max(on_disk.max().unwrap_or(0).saturating_add(1));
        let mark = recipients_mark(recipients);
        let mut offer = Offer {
            recipients: recipients.iter().map(|(_, key)| *key).collect(),
            mark,
            files: Vec::new(),
            claims,
            former,
            written: marks.clone().filter(|m| m.recipients == mark && is_newest),
            tips: tips(&rows, &self.vault.core, &self.held)?,
            numbers,
            after: marks.as_ref().map_or(Timestamp::default(), |m| m.claim.hlc),
        };
        // Of a chain that forked the tips alone say what is here.
        for chain in core.forks.chains() {
            self.held.remove(chain);
        }
        let stale = self.sort_own(mine, marks.as_ref(), &peers, &mut offer);
        let wanted = self.wanted(&rows, &found, &peers, &offer)?;
        let data_keys = keys::all(&rows)?;
        if !peers.is_empty() {
            self.leave_keys(&found, &data_keys, &mut offer)?;
        }
        self.leave_batches(&rows, wanted, data_keys, &mut offer)?;
        self.write_marks(&mut offer)?;
        // Only now: until the new marks were there, the old ones told the truth.
        for name in stale {
            let path = self.path(&self.own, name);
            self.remove(&path);
        }
        self.clear(&rows, &past)
    }

    /// Sorts this device's files: those that stay are offered, the rest is returned, of which
    /// what nobody needs is gone already.
    fn sort_own(
        &mut self,
        mine: Option<&Found>,
        marks: Option<&Marks>,
        peers: &[Has<'_>],
        offer: &mut Offer,
    ) -> Vec<Name> {
        let Some(mine) = mine else {
            return Vec::new();
        };
        for leftover in &mine.leftovers {
            let path = format!("{}/{}/{leftover}", self.dir, mine.dir);
            self.remove(&path);
        }
        let has = |peer: &Has<'_>, file: &FileMark| {
            let mut runs = file.carries.runs();
            runs.all(|(chain, (first, last, id))| peer.covers(chain, *first, (*last, id)))
        };
        let mut stale = Vec::new();
        for name in mine.names.iter().filter(|name| **name != Name::Marks) {
            let Some(file) = marks.and_then(|m| m.file(*name)) else {
                stale.push(*name);
                continue;
            };
            let is_keys = matches!(name, Name::Keys(_));
            if !is_keys && peers.iter().all(|peer| has(peer, file)) {
                let path = self.path(&mine.dir, *name);
                self.remove(&path);
            } else if file.recipients != offer.mark {
                stale.push(*name);
            } else if self.is_intact(mine, file) {
                offer.files.push(file.clone());
            } else {
                self.problem(
                    &mine.dir,
                    *name,
                    "it was damaged; what it held is written again",
                );
                stale.push(*name);
            }
        }
        stale
    }

    /// Whether a file is the one that its device listed.
    fn is_intact(&self, from: &Found, file: &FileMark) -> bool {
        if let Name::Keys(_) = file.name {
            let is_file =
                |keys: &super::FoundKeys| (keys.name, keys.hash) == (file.name, file.hash);
            return from.keys.iter().any(is_file);
        }
        let read = self
            .folder
            .read(&self.path(&from.dir, file.name), BATCHES_SEALED_MAX);
        read.is_ok_and(|bytes| *blake3::hash(&bytes).as_bytes() == file.hash)
    }

    /// The batches that some device lacks and no file carries that all current devices can open.
    fn wanted(
        &self,
        rows: &dyn Rows,
        found: &[&Found],
        peers: &[Has<'_>],
        offer: &Offer,
    ) -> Result<Vec<Wanted>> {
        let core = &self.vault.core;
        let mut wanted: Vec<Wanted> = Vec::new();
        each_batch(rows, &mut |batch, signed| {
            let last = (batch.last, &batch.last_id);
            let lacks = |peer: &Has<'_>| !peer.covers(&batch.chain, batch.first, last);
            if peers.iter().any(lacks) {
                wanted.push(Wanted {
                    batch: *batch,
                    places: Vec::new(),
                    hlc: Timestamp::default(),
                    signed,
                });
            }
            Ok(())
        })?;
        for file in &offer.files {
            wanted.retain(|w| !w.is_in(&file.carries));
        }
        let others = found.iter().filter(|f| f.dir != self.own);
        for (from, marks) in others.filter_map(|f| f.marks().map(|m| (f, m))) {
            if !self.is_current(&marks.claim.device) {
                continue;
            }
            for file in marks
                .files
                .iter()
                .filter(|file| file.recipients == offer.mark)
            {
                if wanted.iter().any(|w| w.is_in(&file.carries)) && self.is_intact(from, file) {
                    wanted.retain(|w| !w.is_in(&file.carries));
                }
            }
        }
        for wanted in &mut wanted {
            wanted.places = run(rows, core, &wanted.batch)?.unwrap_or_default();
            if let Some((number, seq)) = wanted.places.first()
                && let Some(row) = load_commit(rows, *number, *seq)?
            {
                wanted.hlc = row.header()?.fields().hlc;
            }
        }
        // Causes before what follows from them, so that little waits on the other side.
        wanted.sort_by_key(|w| (w.hlc, w.batch.chain, w.run()));
        Ok(wanted)
    }

    /// Writes the data keys that no file here holds for all current devices.
    fn leave_keys(&mut self, found: &[&Found], all: &[DataKey], offer: &mut Offer) -> Result<()> {
        let mut covered: HashSet<DataKeyId> = HashSet::new();
        for from in found {
            let Some(marks) = from.marks().filter(|m| self.is_current(&m.claim.device)) else {
                continue;
            };
            for keys in &from.keys {
                let listed = marks.file(keys.name);
                if listed.is_some_and(|f| f.recipients == offer.mark && f.hash == keys.hash) {
                    covered.extend(keys.file.keys.iter().map(|key| key.id));
                }
            }
        }
        let new: Vec<DataKey> = all
            .iter()
            .filter(|k| !covered.contains(&k.id))
            .cloned()
            .collect();
        for keys in new.chunks(KEYS_MAX) {
            let file = KeyFile {
                workspace: self.workspace,
                device: self.vault.core.meta.device,
                keys: keys.to_vec(),
            };
            let plain = file.sign(&self.device.signing);
            self.write_file(Name::Keys, &plain, Carried::default(), offer)?;
        }
        Ok(())
    }

    fn leave_batches(
        &mut self,
        rows: &dyn Rows,
        wanted: Vec<Wanted>,
        data_keys: Vec<DataKey>,
        offer: &mut Offer,
    ) -> Result<()> {
        let data_keys: HashMap<_, _> = data_keys.into_iter().map(|key| (key.id, key)).collect();
        let total: u64 = wanted.iter().map(Wanted::commits).sum();
        let (mut file, mut bytes, mut carries) = (Vec::new(), 0, Carried::default());
        let (mut done, mut sent) = (0, 0);
        for batch in wanted {
            let phase = Phase::Leaving;
            (self.progress)(&ExchangeProgress { phase, done, total });
            done += batch.commits();
            let sealed = self
                .rebuild(rows, &batch, &data_keys)
                .and_then(|b| b.to_bytes());
            let sealed = match sealed {
                Ok(sealed) => sealed,
                Err(error @ Error::Storage { .. }) => return Err(error),
                Err(error) => {
                    let name = Name::Batches(offer.numbers.file);
                    let own = self.own.clone();
                    self.problem(&own, name, words(&error));
                    continue;
                }
            };
            if !file.is_empty() && bytes + sealed.len() > FILE_BYTES {
                let plain = join(&std::mem::take(&mut file));
                self.write_file(Name::Batches, &plain, std::mem::take(&mut carries), offer)?;
                self.report.sent_commits += std::mem::take(&mut sent);
                bytes = 0;
            }
            if offer.files.len() >= FILES_MAX {
                break;
            }
            bytes += sealed.len();
            file.push(sealed);
            sent += batch.commits();
            carries.insert(batch.batch.chain, batch.run());
        }
        if !file.is_empty() {
            self.write_file(Name::Batches, &join(&file), carries, offer)?;
            self.report.sent_commits += sent;
        }
        Ok(())
    }

    /// A batch as it travels, from the rows it is stored in.
    fn rebuild(
        &self,
        rows: &dyn Rows,
        batch: &Wanted,
        data_keys: &HashMap<DataKeyId, DataKey>,
    ) -> Result<SealedBatch> {
        let mut commits = Vec::new();
        if batch.places.is_empty() {
            return Err(Error::integrity("a batch lacks a commit"));
        }
        for (number, seq) in &batch.places {
            let row = load_commit(rows, *number, *seq)?;
            let row = row.ok_or(Error::integrity("a batch lacks a commit"))?;
            commits.push(seal_commit(&*self.vault.env, row, data_keys)?);
        }
        Ok(SealedBatch {
            signed: batch.signed.clone(),
            commits,
        })
    }
}

/// A commit as it travels sealed, from the row it is stored in.
pub(crate) fn seal_commit(
    env: &dyn Env,
    row: CommitRow,
    data_keys: &HashMap<DataKeyId, DataKey>,
) -> Result<WireCommit> {
    let header = row.header()?;
    let find = |id: &DataKeyId| {
        let missing = Error::integrity("a stored change's data key is missing");
        data_keys
            .get(id)
            .map(|key| *key.key.expose())
            .ok_or(missing)
    };
    let mut entries = Vec::with_capacity(row.leaves.len());
    for (index, leaf) in row.leaves.iter().enumerate() {
        let bytes = match leaf {
            LeafRow::Change { entry, .. } => entry.clone(),
            _ => Vec::new(),
        };
        let leaf = leaf.hash(&header, index, &find)?;
        entries.push(Sealable { bytes, leaf });
    }
    let commit = Commit { header, entries };
    let mut leaves = Vec::with_capacity(row.leaves.len());
    for (index, leaf) in (0u32..).zip(row.leaves) {
        leaves.push(match leaf {
            LeafRow::Withheld(hash) => WireLeaf::Withheld(hash),
            LeafRow::Item(bytes) => WireLeaf::Item(bytes),
            LeafRow::Sealed {
                key,
                leaf,
                nonce,
                body,
            } => WireLeaf::Sealed {
                key,
                leaf,
                nonce,
                body,
            },
            LeafRow::Change { key, change, .. } => {
                seal_leaf(env, &commit, index, key, &find(&key)?, &change)?
            }
        });
    }
    Ok(WireCommit {
        header: row.header,
        leaves,
    })
}

/// How files are written and listed.
impl Visit<'_> {
    /// Seals and writes a file and lists it at once: a pulled stick loses one file at most.
    fn write_file(
        &mut self,
        name: fn(u32) -> Name,
        plain: &[u8],
        carries: Carried,
        offer: &mut Offer,
    ) -> Result<()> {
        let name = name(offer.numbers.file);
        offer.numbers.file = offer.numbers.file.saturating_add(1);
        let sealed = envelope::seal_to(&offer.recipients, plain)?;
        self.put(name, &sealed)?;
        let hash = *blake3::hash(&sealed).as_bytes();
        let recipients = offer.mark;
        offer.files.push(FileMark {
            name,
            hash,
            recipients,
            carries,
        });
        self.write_marks(offer)
    }

    /// Writes the marks, if they would say anything new.
    fn write_marks(&mut self, offer: &mut Offer) -> Result<()> {
        let says = (&self.held, &offer.tips, &offer.files);
        let told = |m: &Marks| self.tell.iter().all(|claim| m.claims.contains(claim));
        let written = offer.written.as_ref();
        if written.is_some_and(|m| (&m.held, &m.tips, &m.files) == says && told(m)) {
            return Ok(());
        }
        offer.numbers.counter = offer.numbers.counter.saturating_add(1);
        let (mut numbers, after) = (offer.numbers, offer.after);
        // The number is durable before the marks are: it never names two truths.
        let hlc = self.vault.work(|work, _| {
            let now = work.env.now_ms();
            work.core.clock.observe(after, now);
            let hlc = work.core.clock.tick(now);
            numbers.hlc = hlc.0;
            work.txn.put(Numbers::key(), pack_row(&numbers));
            Ok(hlc)
        })?;
        let meta = &self.vault.core.meta;
        let claim = Claim {
            workspace: self.workspace,
            device: meta.device,
            replica: meta.replica,
            former: offer.former.clone(),
            counter: numbers.counter,
            hlc,
        };
        let marks = Marks {
            claim,
            recipients: offer.mark,
            held: self.held.clone(),
            tips: offer.tips.clone(),
            files: offer.files.clone(),
            claims: offer.claims.clone(),
        };
        let (plain, _) = marks.sign(&self.device.signing);
        let sealed = envelope::seal_to(&offer.recipients, &plain)?;
        self.put(Name::Marks, &sealed)?;
        offer.written = Some(marks);
        Ok(())
    }

    fn put(&mut self, name: Name, bytes: &[u8]) -> Result<()> {
        let path = self.path(&self.own, name);
        match self.folder.write(&path, bytes) {
            Ok(()) => {
                self.report.sent_files += 1;
                self.report.sent_bytes += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                if only_reads(&error) && self.report.sent_files == 0 {
                    self.report.outgoing = Outgoing::ReadOnlyFolder;
                }
                Err(write_error(&error))
            }
        }
    }

    /// Removes a file that is no use any more. If it stays, the next exchange tries again.
    pub(super) fn remove(&mut self, path: &str) {
        if self.folder.remove(path).is_ok() {
            self.report.removed_files += 1;
        }
    }
}

/// Batches as a file.
fn join(batches: &[Vec<u8>]) -> Vec<u8> {
    encode(|e| {
        e.array(3)?.str(LABEL)?.u32(FORMAT)?;
        e.array(batches.len() as u64)?;
        for batch in batches {
            e.bytes(batch)?;
        }
        Ok(())
    })
}
