//! Taking up what others left.

use crate::crypto::envelope;
use crate::error::{Error, Result};
use crate::ids::{DataKeyId, DeviceKey};
use crate::ledger::batch::BatchHeader;
use crate::ledger::cbor::Reader;
use crate::ledger::wire::{SEALED_BYTES_MAX, SealedBatch, VerifiedBatch};
use crate::time::Timestamp;
use crate::vault::branches;
use crate::vault::copies::Copies;
use crate::vault::core::{DataKey, load_data_key};
use crate::vault::cost;
use crate::vault::deliver::Received;
use crate::vault::exchange::claim::SignedClaim;
use crate::vault::exchange::files::{Name, copy_dir, is_copy_dir};
use crate::vault::exchange::keys::{self, KEYS_BYTES_MAX, KeyFile};
use crate::vault::exchange::manifest::{FileMark, MARKS_BYTES_MAX, Marks, read_label};
use crate::vault::exchange::outgoing::{FILE_BYTES, held};
use crate::vault::exchange::{ExchangeProgress, Found, FoundKeys, PeerMarks, Phase, Visit, words};
use crate::vault::incarnation;
use crate::vault::intake::{self, Intake};
use crate::vault::marks::Marks as PeerMark;
use crate::vault::rows::{Rows, kind};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::sync::Arc;

/// Longest file of batches before it is sealed: one batch may be longer than files usually are.
const BATCHES_BYTES_MAX: usize = SEALED_BYTES_MAX + FILE_BYTES;
const BATCHES_MAX: usize = 1 << 20;
/// What sealing adds at most: recipients and a tag for every 64 KiB.
const ENVELOPE_BYTES_MAX: usize = 1024 * 1024;
/// Longest file of batches.
pub(super) const BATCHES_SEALED_MAX: usize = BATCHES_BYTES_MAX + ENVELOPE_BYTES_MAX;

impl Visit<'_> {
    /// Takes up everything that is new. Returns what lies in the folder.
    pub(super) fn take_up(&mut self) -> Result<Vec<Found>> {
        let mut found = self.look()?;
        self.part_ways(&found)?;
        // What steps were left, should something have stopped them.
        if intake::is_staged(&self.vault.store.read()?)? {
            self.receive(Vec::new())?;
        }
        // Keys first, so that batches open as they come.
        self.take_keys(&mut found, false)?;
        self.vault.give_way()?;
        self.take_batches(&found)?;
        self.vault.give_way()?;
        // The batches may have brought the certificates of those who left keys.
        self.take_keys(&mut found, true)?;
        self.vault.give_way()?;
        if self.report.received_keys > 0 {
            self.receive(Vec::new())?;
            self.vault.give_way()?;
        }
        let rows = self.vault.store.read()?;
        let mut pending = 0;
        rows.scan(&[kind::PENDING], &[kind::PENDING], &mut |_, _| {
            pending += 1;
            Ok(true)
        })?;
        self.report.received.pending = pending;
        self.held = held(&rows, &self.vault.core)?;
        drop(rows);
        self.vault.give_way()?;
        self.keep_marks(&found)?;
        Ok(found)
    }

    fn count(&mut self, received: Received) {
        let sum = &mut self.report.received;
        sum.commits += received.commits;
        sum.duplicates += received.duplicates;
        sum.quarantined += received.quarantined;
        sum.equivocations += received.equivocations;
        sum.new_incarnation |= received.new_incarnation;
    }

    /// Lists every copy's folder and opens marks and keys.
    fn look(&mut self) -> Result<Vec<Found>> {
        let dirs = match self.folder.list(&self.dir) {
            Ok(dirs) => dirs,
            Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(Error::io("reading the exchange folder", &e)),
        };
        let mut found = Vec::new();
        for dir in dirs.into_iter().filter(|name| is_copy_dir(name)) {
            self.vault.give_way()?;
            let path = format!("{}/{dir}", self.dir);
            let Ok(listed) = self.folder.list(&path) else {
                self.problem(&dir, Name::Marks, "this copy's folder cannot be read");
                continue;
            };
            let mut names: Vec<Name> = listed.iter().filter_map(|n| Name::parse(n)).collect();
            names.sort_unstable();
            let unfinished = |name: &&String| {
                name.strip_suffix(".new")
                    .is_some_and(|n| Name::parse(n).is_some())
            };
            let leftovers = listed.iter().filter(unfinished).cloned().collect();
            let marks = self.open_marks(&dir, &names);
            let keys = self.open_keys(&dir, &names, marks.as_ref().map(|(marks, _)| marks));
            found.push(Found {
                dir,
                names,
                leftovers,
                marks,
                keys,
            });
        }
        Ok(found)
    }

    fn open_marks(&mut self, dir: &str, names: &[Name]) -> Option<(Marks, SignedClaim)> {
        if names.is_empty() {
            return None;
        }
        if !names.contains(&Name::Marks) {
            // Marks come last: an exchange of one's own that was broken off leaves none, and this
            // one brings it to its end.
            if dir != self.own {
                self.problem(dir, Name::Marks, "it is missing");
            }
            return None;
        }
        let (bytes, _) = self.open_file(dir, Name::Marks, MARKS_BYTES_MAX, None)?;
        let (marks, claim) = match Marks::open(&bytes) {
            Ok(marks) => marks,
            Err(error) => {
                self.problem(dir, Name::Marks, words(&error));
                return None;
            }
        };
        if marks.claim.workspace != self.workspace {
            self.problem(dir, Name::Marks, "it is of another workspace");
            return None;
        }
        if copy_dir(&marks.claim.device, &marks.claim.replica) != dir {
            self.problem(dir, Name::Marks, "it is of another device");
            return None;
        }
        Some((marks, claim))
    }

    fn open_keys(&mut self, dir: &str, names: &[Name], marks: Option<&Marks>) -> Vec<FoundKeys> {
        let mut keys = Vec::new();
        for name in names.iter().filter(|n| matches!(n, Name::Keys(_))) {
            let listed = marks.and_then(|m| m.file(*name)).map(|file| file.hash);
            let opened = self.open_file(dir, *name, KEYS_BYTES_MAX, listed);
            let Some((bytes, hash)) = opened else {
                continue;
            };
            match KeyFile::open(&bytes) {
                Ok(file) if file.workspace == self.workspace => {
                    keys.push(FoundKeys {
                        name: *name,
                        hash,
                        file,
                        taken: false,
                    });
                }
                Ok(_) => self.problem(dir, *name, "it is of another workspace"),
                Err(error) => self.problem(dir, *name, words(&error)),
            }
        }
        keys
    }

    /// Reads and unseals a file; what is wrong with it is noted.
    fn open_file(
        &mut self,
        dir: &str,
        name: Name,
        max: usize,
        listed: Option<[u8; 32]>,
    ) -> Option<(zeroize::Zeroizing<Vec<u8>>, [u8; 32])> {
        let max_sealed = max.saturating_add(ENVELOPE_BYTES_MAX);
        let bytes = match self.folder.read(&self.path(dir, name), max_sealed) {
            Ok(bytes) if bytes.len() <= max_sealed => bytes,
            Ok(_) => {
                self.problem(dir, name, "it is longer than such a file can be");
                return None;
            }
            Err(_) => {
                self.problem(dir, name, "it cannot be read");
                return None;
            }
        };
        let hash = *blake3::hash(&bytes).as_bytes();
        match envelope::open_with(self.device.recipient.expose(), &bytes, max) {
            Ok(plain) => {
                if listed.is_some_and(|listed| listed != hash) {
                    self.problem(dir, name, "it is another file than its device listed");
                }
                Some((zeroize::Zeroizing::new(plain), hash))
            }
            // A line for us cannot be told from a damaged one; the device's list can.
            Err(Error::NotFound(_)) if listed.is_some_and(|listed| listed != hash) => {
                self.problem(dir, name, "an envelope is damaged or incomplete");
                None
            }
            Err(error) => {
                self.problem(dir, name, words(&error));
                None
            }
        }
    }

    fn take_batches(&mut self, found: &[Found]) -> Result<()> {
        let all = found
            .iter()
            .flat_map(|f| f.names.iter().map(move |n| (f, *n)));
        let batches = |name: &Name| matches!(name, Name::Batches(_));
        let files: Vec<(&Found, Name)> = all.filter(|(_, name)| batches(name)).collect();
        let total = files.len() as u64;
        for (done, (from, name)) in (0..).zip(files) {
            let phase = Phase::TakingUp;
            (self.progress)(&ExchangeProgress { phase, done, total });
            let listed = from.marks().and_then(|m| m.file(name));
            if let Some(file) = listed
                && self.has_all(file)?
            {
                continue;
            }
            let hash = listed.map(|file| file.hash);
            let opened = self.open_file(&from.dir, name, BATCHES_BYTES_MAX, hash);
            if let Some((bytes, _)) = opened {
                self.take_file(&from.dir, name, &bytes)?;
                self.vault.give_way()?;
            }
        }
        for from in found {
            let listed = from.marks().into_iter().flat_map(|m| &m.files);
            for file in listed.filter(|file| !from.names.contains(&file.name)) {
                if !self.has_all(file)? {
                    self.problem(&from.dir, file.name, "it is missing");
                }
            }
        }
        Ok(())
    }

    fn receive(&mut self, batches: Vec<VerifiedBatch>) -> Result<()> {
        let runs: Vec<_> = batches.iter().map(|b| *b.run().batch()).collect();
        let mut intake = Intake::new(batches);
        while self.vault.take_step(&mut intake)? {
            self.vault.give_way()?;
        }
        self.count(intake.received());
        let rows = self.vault.store.read()?;
        for run in runs {
            // Of a batch that came damaged the next copy is read.
            if branches::is_whole(&rows, &self.vault.core, &run)? {
                self.held.insert(run.chain, run.first, run.last);
            }
        }
        Ok(())
    }

    /// Whether all that a file holds is here.
    fn has_all(&self, file: &FileMark) -> Result<bool> {
        let rows = self.vault.store.read()?;
        for (chain, (first, last, last_id)) in file.carries.runs() {
            let batch = BatchHeader {
                workspace: self.workspace,
                chain: *chain,
                first: *first,
                last: *last,
                last_id: *last_id,
            };
            if !self.has(&rows, &batch)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a batch is here: by their places the branches of a fork look the same.
    fn has(&self, rows: &dyn Rows, batch: &BatchHeader) -> Result<bool> {
        let held = self.held.covers(&batch.chain, batch.first, batch.last);
        Ok(held && branches::is_whole(rows, &self.vault.core, batch)?)
    }

    /// Takes up the batches of a file that are new here and verify, some at a time. One that does
    /// not verify leaves the others.
    fn take_file(&mut self, dir: &str, name: Name, bytes: &[u8]) -> Result<()> {
        let mut all: Vec<&[u8]> = Vec::new();
        if let Err(error) = split(bytes, &mut |batch| all.push(batch)) {
            self.problem(dir, name, words(&error));
        }
        let (mut batches, mut spent) = (Vec::new(), 0);
        for bytes in all {
            let batch = SealedBatch::parse(bytes).and_then(SealedBatch::verify);
            spent += cost::SIGNATURE + cost::of_bytes(bytes.len());
            match batch {
                Ok(batch) if batch.run().batch().workspace != self.workspace => {
                    self.problem(dir, name, "it has a batch of another workspace");
                }
                Ok(batch) => {
                    let rows = self.vault.store.read()?;
                    if !self.has(&rows, batch.run().batch())? {
                        batches.push(batch);
                    }
                }
                Err(error) => self.problem(dir, name, words(&error)),
            }
            if spent >= cost::STEP {
                self.vault.give_way()?;
                spent = 0;
                if !batches.is_empty() {
                    self.receive(std::mem::take(&mut batches))?;
                    self.vault.give_way()?;
                }
            }
        }
        if batches.is_empty() {
            return Ok(());
        }
        self.receive(batches)
    }

    /// Takes the keys of current devices; in the end also those of others that prove themselves.
    fn take_keys(&mut self, found: &mut [Found], last: bool) -> Result<()> {
        let rows = self.vault.store.read()?;
        let mut new: HashMap<DataKeyId, DataKey> = HashMap::new();
        let mut offered: Vec<DataKey> = Vec::new();
        for from in found.iter_mut() {
            for keys in from.keys.iter_mut().filter(|keys| !keys.taken) {
                if !self.is_current(&keys.file.device) {
                    offered.extend(keys.file.keys.iter().cloned());
                    continue;
                }
                keys.taken = true;
                let mut contradicts = false;
                for key in &keys.file.keys {
                    let known = match new.get(&key.id) {
                        Some(known) => Some(known.clone()),
                        None => load_data_key(&rows, &key.id)?,
                    };
                    match known {
                        Some(known) => contradicts |= !same(&known, key),
                        None => drop(new.insert(key.id, key.clone())),
                    }
                }
                if contradicts {
                    let what = "a data key contradicts the one that is here";
                    self.problem(&from.dir, keys.name, what);
                }
            }
        }
        if last {
            offered.retain(|key| !new.contains_key(&key.id));
            for key in keys::proven(&rows, &offered)? {
                new.insert(key.id, key);
            }
        }
        drop(rows);
        if new.is_empty() {
            return Ok(());
        }
        self.report.received_keys += new.len() as u64;
        self.vault.work(|work, _| {
            new.values().for_each(|key| work.put_data_key(key));
            Ok(())
        })
    }

    /// Keeps the newest marks of each copy of each current device.
    fn keep_marks(&mut self, found: &[Found]) -> Result<()> {
        let rows = self.vault.store.read()?;
        let meta = Arc::clone(&self.vault.core.meta);
        let former = incarnation::former(&rows)?;
        let mut all: BTreeMap<DeviceKey, Copies> = BTreeMap::new();
        for (marks, signed) in found.iter().filter_map(|f| f.marks.as_ref()) {
            let claim = &marks.claim;
            let mine = claim.replica == meta.replica || former.contains(&claim.replica);
            if claim.device == meta.device && mine {
                continue;
            }
            if !self.is_current(&claim.device) {
                self.report.strangers.push(claim.device);
                continue;
            }
            let copies = match all.entry(claim.device) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(Copies::load(&rows, &claim.device)?),
            };
            let falls = copies.take(PeerMark {
                counter: claim.counter,
                hlc: claim.hlc.0,
                replica: claim.replica,
                held: marks.held.clone(),
                tips: marks.tips.clone(),
                former: claim.former.clone(),
                claim: signed.bytes.clone(),
                signature: signed.signature.to_vec(),
            });
            if falls {
                self.report.rolled_back.push(claim.device);
            }
        }
        for (marks, _) in found.iter().filter_map(|f| f.marks.as_ref()) {
            let claim = &marks.claim;
            let copies = all.get(&claim.device);
            let newer = copies.and_then(|c| c.newer(&claim.replica, claim.counter, claim.hlc.0));
            let told = newer.and_then(|m| SignedClaim::stored(&m.claim, &m.signature));
            self.tell.extend(told);
        }
        drop(rows);
        if all.values().any(Copies::is_changed) {
            self.vault.work(|work, _| {
                all.values()
                    .try_for_each(|copies| copies.put(&mut work.txn))
            })?;
        }
        self.list_peers()
    }

    fn list_peers(&mut self) -> Result<()> {
        let rows = self.vault.store.read()?;
        let now = self.vault.env.now_ms();
        let own = self.vault.core.meta.device;
        for device in self.vault.core.membership.devices() {
            if device.key == own {
                continue;
            }
            let copies = Copies::load(&rows, &device.key)?;
            let newest = copies
                .marks()
                .iter()
                .map(|marks| Timestamp(marks.hlc))
                .max();
            self.report.peers.push(PeerMarks {
                device: device.key,
                name: device.name.clone(),
                age_ms: newest.map(|hlc| now.saturating_sub(hlc.ms())),
            });
        }
        Ok(())
    }
}

fn same(a: &DataKey, b: &DataKey) -> bool {
    *a.key == *b.key && a.patient == b.patient
}

/// Calls `each` with the batches of a file.
pub(super) fn split<'a>(bytes: &'a [u8], each: &mut dyn FnMut(&'a [u8])) -> Result<()> {
    let mut r = Reader::new(bytes, BATCHES_BYTES_MAX, "a file of batches is malformed")?;
    let parts = r.list(64)?;
    read_label(&mut r)?;
    if parts != 3 {
        return Err(r.fault());
    }
    for _ in 0..r.list(BATCHES_MAX)? {
        each(r.bytes(SEALED_BYTES_MAX)?);
    }
    r.end()
}
