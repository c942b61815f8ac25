//! The store's log: its whole batches in the order in which they came.
//!
//! Positions rise and are never used twice. A batch that was sealed here enters the log when the
//! next session begins; one that a session brings, in the transaction that makes it durable.

use crate::error::{Error, Result};
use crate::ids::{BatchId, DeviceKey};
use crate::ledger::batch::{BatchHeader, SignedHeader};
use crate::ledger::receipt::BatchRef;
use crate::sync::effect::{Done, FIRST_SYMBOLS, Summary};
use crate::sync::reconcile::{SetDigest, ranks};
use crate::sync::sketch::{Difference, Sketch, SketchItem, SketchKey};
use crate::time::Timestamp;
use crate::vault::Vault;
use crate::vault::branches::{is_whole, run};
use crate::vault::commit_row::LeafRow;
use crate::vault::core::{Work, load_commit, pack_row, unpack_row};
use crate::vault::rows::{self, Rows, kind};
use crate::vault::seal::batch_row;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Row `O` + position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) id: BatchId,
    /// The key of the batch's row.
    row: Vec<u8>,
    /// The peer that brought it; `None`: it was sealed here, or came in a folder.
    pub(super) source: Option<DeviceKey>,
}

/// The log, as a session sees it.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: BTreeMap<u64, Entry>,
    by_id: HashMap<BatchId, u64>,
    head: u64,
}

fn log_key(position: u64) -> Vec<u8> {
    [&[kind::LOG][..], &position.to_be_bytes()].concat()
}

fn head_key() -> Vec<u8> {
    rows::meta("log")
}

impl Log {
    fn load(rows: &dyn Rows) -> Result<Self> {
        const BAD: Error = Error::integrity("the log of batches is damaged");
        let mut log = Self::default();
        for (key, row) in rows.all(&[kind::LOG])? {
            let position = key.get(1..).and_then(|p| p.try_into().ok()).ok_or(BAD)?;
            log.put(u64::from_be_bytes(position), unpack_row(&row)?);
        }
        if let Some(row) = rows.get(&head_key())? {
            log.head = log.head.max(unpack_row(&row)?);
        }
        Ok(log)
    }

    fn put(&mut self, position: u64, entry: Entry) {
        self.by_id.insert(entry.id, position);
        self.entries.insert(position, entry);
        self.head = self.head.max(position);
    }

    /// Reads the log and enters what is not in it yet.
    pub(super) fn catch_up(vault: &mut Vault) -> Result<Self> {
        let rows = vault.store.read()?;
        let mut log = Self::load(&rows)?;
        let (mut there, mut new) = (HashSet::new(), Vec::new());
        rows.scan(&[kind::BATCH], &[kind::BATCH], &mut |key, row| {
            let signed = batch_row(row).ok_or(Error::integrity("a batch's row is damaged"))?;
            let id = signed.id();
            there.insert(id);
            if !log.by_id.contains_key(&id) {
                new.push((key.to_vec(), signed));
            }
            Ok(true)
        })?;
        new.retain(|(_, signed)| {
            let batch = BatchHeader::parse(&signed.header);
            batch.is_ok_and(|batch| is_whole(&rows, &vault.core, &batch).unwrap_or(false))
        });
        // A longer seal of the same commits took its place.
        let gone = log.entries.iter().filter(|(_, e)| !there.contains(&e.id));
        let gone: Vec<u64> = gone.map(|(position, _)| *position).collect();
        drop(rows);
        if new.is_empty() && gone.is_empty() {
            return Ok(log);
        }
        vault.work(|work, _| {
            for position in gone {
                if let Some(entry) = log.entries.remove(&position) {
                    log.by_id.remove(&entry.id);
                }
                work.txn.delete(log_key(position));
            }
            for (row, signed) in new {
                let source = None;
                let id = signed.id();
                log.append(work, &signed, Entry { id, row, source })?;
            }
            Ok(())
        })?;
        Ok(log)
    }

    /// Enters a batch.
    fn append(&mut self, work: &mut Work, signed: &SignedHeader, entry: Entry) -> Result<()> {
        let position = self.head + 1;
        for key in keys_of(work, work, &BatchHeader::parse(&signed.header)?)? {
            let place = key_use(&key);
            if work.get(&place)?.is_none() {
                work.txn.put(place, position.to_be_bytes().to_vec());
            }
        }
        work.txn.put(log_key(position), pack_row(&entry));
        work.txn.put(head_key(), pack_row(&position));
        self.put(position, entry);
        Ok(())
    }

    /// Enters a batch that a peer brought, unless a longer seal of its commits is here.
    pub(super) fn enter(
        &mut self,
        work: &mut Work,
        signed: &SignedHeader,
        source: DeviceKey,
    ) -> Result<()> {
        let id = signed.id();
        let batch = BatchHeader::parse(&signed.header)?;
        if self.by_id.contains_key(&id) {
            return Ok(());
        }
        let Some(row) = row_of(work, work, &batch, &id)? else {
            return Ok(());
        };
        let source = Some(source);
        self.append(work, signed, Entry { id, row, source })
    }

    pub(super) fn has(&self, id: &BatchId) -> bool {
        self.by_id.contains_key(id)
    }

    pub(super) fn position(&self, id: &BatchId) -> Option<u64> {
        self.by_id.get(id).copied()
    }

    pub(super) const fn head(&self) -> u64 {
        self.head
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.entries
            .iter()
            .map(|(position, entry)| (*position, entry))
    }

    /// The signed header of an entry.
    pub(super) fn signed(rows: &dyn Rows, entry: &Entry) -> Result<Option<SignedHeader>> {
        let row = rows.get(&entry.row)?.and_then(|row| batch_row(&row));
        Ok(row.filter(|signed| signed.id() == entry.id))
    }

    pub(super) fn entry(&self, id: &BatchId) -> Option<&Entry> {
        self.entries.get(self.by_id.get(id)?)
    }

    pub(super) fn items(&self, key: &SketchKey) -> Vec<SketchItem> {
        self.by_id.keys().map(|id| key.item(&id.0)).collect()
    }

    fn sketch(&self, key: &SketchKey, len: usize) -> Sketch {
        let mut sketch = Sketch::new(key.clone(), len);
        self.items(key)
            .into_iter()
            .for_each(|item| sketch.insert(item));
        sketch
    }

    pub(super) fn symbols(&self, key: &SketchKey, from: usize, count: usize) -> Done {
        let sketch = self.sketch(key, from.saturating_add(count));
        Done::Symbols(sketch.symbols().get(from..).unwrap_or_default().to_vec())
    }

    pub(super) fn ranks(&self, key: &SketchKey, difference: &Difference) -> Done {
        Done::Ranked(ranks(&self.items(key), difference))
    }

    /// What the log holds, without what belongs to the vault and the peer.
    pub(super) fn summary(&self, key: &SketchKey) -> Summary {
        let mut digest = SetDigest::default();
        self.by_id.keys().for_each(|id| digest.insert(key, &id.0));
        Summary {
            epoch: [0; 16],
            head: self.head,
            clock: Timestamp::default(),
            count: self.by_id.len() as u64,
            digest: digest.to_bytes(),
            cursor: None,
            partials: Vec::new(),
            symbols: self.sketch(key, FIRST_SYMBOLS).symbols().to_vec(),
        }
    }
}

/// `J` + data key.
pub(super) fn key_use(key: &crate::ids::DataKeyId) -> Vec<u8> {
    [&[kind::KEY_USE][..], &key.0].concat()
}

/// The data keys that a batch's changes are salted with.
pub(super) fn keys_of(
    rows: &dyn Rows,
    work: &Work,
    batch: &BatchHeader,
) -> Result<HashSet<crate::ids::DataKeyId>> {
    let mut keys = HashSet::new();
    for (number, seq) in run(rows, &work.core, batch)?.unwrap_or_default() {
        let row = load_commit(rows, number, seq)?;
        for leaf in row.into_iter().flat_map(|row| row.leaves) {
            if let LeafRow::Change { key, .. } = leaf {
                keys.insert(key);
            }
        }
    }
    Ok(keys)
}

/// The key of the row that holds a batch.
fn row_of(
    rows: &dyn Rows,
    work: &Work,
    batch: &BatchHeader,
    id: &BatchId,
) -> Result<Option<Vec<u8>>> {
    let numbers = (0u32..).zip(&work.core.chains);
    for (number, _) in numbers.filter(|(_, chain)| chain.id == batch.chain) {
        let prefix = rows::in_chain(kind::BATCH, number, batch.first);
        for (key, row) in rows.all(&prefix)? {
            if batch_row(&row).is_some_and(|signed| signed.id() == *id) {
                return Ok(Some(key));
            }
        }
    }
    Ok(None)
}

/// How receipts and sessions name a batch.
pub(super) fn reference(signed: &SignedHeader) -> Result<BatchRef> {
    let batch = BatchHeader::parse(&signed.header)?;
    Ok(BatchRef {
        chain: batch.chain,
        first: batch.first,
        last: batch.last,
        id: signed.id(),
    })
}
