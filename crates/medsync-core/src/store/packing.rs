//! Values of the tree's rows, compressed with dictionaries that were trained on rows like them.
//!
//! Records are small and look alike: compressed one by one they shrink to half, with a dictionary of
//! what they have in common to a fifth, and are read faster for it. The first checkpoint that brings
//! enough rows of a kind (their key's first byte) trains one for them; it stands in the file, in a
//! table of its own, before any value that needs it. Rows of the journal are as they are.
//!
//! A value is empty, or its first byte says what follows: 0 the value as it is, `n` a zstd frame
//! under dictionary `n`.

use super::fail::from_redb;
use crate::error::{Error, Result};
use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use zstd::bulk::Compressor;
use zstd::zstd_safe::{DCtx, DDict, compress_bound, get_frame_content_size};

/// Dictionaries by number, from 1. First come the kind of rows it is for (1), and what those it was
/// trained on shrank to, in thousandths (2).
pub(super) const DICTIONARIES: TableDefinition<'static, u8, &'static [u8]> =
    TableDefinition::new("d");

const AS_IT_IS: u8 = 0;
/// zstd's fastest: with a dictionary the slower ones gain nothing.
const LEVEL: i32 = 1;
/// Below this nothing is gained.
const PACK_FROM: usize = 48;
/// Nothing larger was ever stored.
const VALUE_MAX: u64 = 1 << 30;

/// Most dictionaries of a file: each takes about 200 KiB of memory while it is in use.
const DICTIONARIES_MAX: usize = 16;
/// Most of one kind: rows that changed their looks get another.
const OF_KIND_MAX: usize = 4;
const DICTIONARY_BYTES: usize = 32 << 10;
/// What a dictionary is trained on at least and at most. More costs time: about 80 ms for 1 MB.
const SAMPLES_MIN: usize = 128;
const SAMPLES_MIN_BYTES: usize = 64 << 10;
const SAMPLES_MAX_BYTES: usize = 512 << 10;
/// To what rows shrink at most that are worth a dictionary, in thousandths.
const WORTH: u16 = 750;
/// Longer values are no samples.
const SAMPLE_MAX: usize = 8 << 10;

/// The dictionaries of a file.
pub(super) struct Packing {
    /// A file of format 1 holds values as they are, without a first byte.
    on: bool,
    known: RwLock<Known>,
    contexts: Mutex<Vec<DCtx<'static>>>,
}

#[derive(Default)]
struct Known {
    /// By number, from 1.
    all: Vec<Arc<Dictionary>>,
    /// The newest of each kind.
    newest: BTreeMap<u8, Arc<Dictionary>>,
    /// Kinds whose rows do not look any more as they did.
    stale: BTreeSet<u8>,
    /// Kinds of which a dictionary was of no use, since the file was opened.
    hopeless: BTreeSet<u8>,
}

struct Dictionary {
    number: u8,
    kind: u8,
    /// What its samples shrank to, in thousandths.
    shrinks_to: u16,
    bytes: Vec<u8>,
    reads: DDict<'static>,
}

/// A dictionary as it is written.
struct Trained {
    shrinks_to: u16,
    bytes: Vec<u8>,
}

/// Rows of one kind that a checkpoint brings.
#[derive(Default)]
struct Sample {
    rows: usize,
    bytes: usize,
    taken: Vec<u8>,
    lengths: Vec<usize>,
}

/// Called with every row that a checkpoint brings.
pub(super) type EachRow<'a> = &'a mut dyn FnMut(&[u8], Option<&[u8]>) -> Result<()>;

impl Packing {
    /// Values as they are.
    pub(super) fn off() -> Self {
        Self::new(false)
    }

    fn new(on: bool) -> Self {
        Self {
            on,
            known: RwLock::default(),
            contexts: Mutex::default(),
        }
    }

    /// Reads a file's dictionaries.
    pub(super) fn open(db: &redb::Database) -> Result<Self> {
        const WHAT: &str = "reading the dictionaries";
        let packing = Self::new(true);
        let txn = db.begin_read().map_err(|e| from_redb(WHAT, e))?;
        let table = match txn.open_table(DICTIONARIES) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(packing),
            Err(e) => return Err(from_redb(WHAT, e)),
        };
        for row in table.iter().map_err(|e| from_redb(WHAT, e))? {
            let (number, value) = row.map_err(|e| from_redb(WHAT, e))?;
            let (head, bytes) = value.value().split_first_chunk::<3>().ok_or(BAD)?;
            let trained = Trained {
                shrinks_to: u16::from_le_bytes([head[1], head[2]]),
                bytes: bytes.to_vec(),
            };
            packing.add(number.value(), head[0], trained)?;
        }
        Ok(packing)
    }

    fn add(&self, number: u8, kind: u8, trained: Trained) -> Result<()> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if usize::from(number) != known.all.len() + 1 {
            return Err(BAD);
        }
        let dictionary = Arc::new(Dictionary {
            number,
            kind,
            shrinks_to: trained.shrinks_to,
            reads: DDict::try_create(&trained.bytes).ok_or(BAD)?,
            bytes: trained.bytes,
        });
        known.all.push(Arc::clone(&dictionary));
        known.stale.remove(&kind);
        known.newest.insert(kind, dictionary);
        Ok(())
    }

    /// The value that a row of the tree holds.
    pub(super) fn unpack<'a>(&self, stored: &'a [u8]) -> Result<Cow<'a, [u8]>> {
        if !self.on {
            return Ok(Cow::Borrowed(stored));
        }
        match stored.split_first() {
            None => Ok(Cow::Borrowed(stored)),
            Some((&AS_IT_IS, value)) => Ok(Cow::Borrowed(value)),
            Some((number, frame)) => self.decompress(*number, frame).map(Cow::Owned),
        }
    }

    fn decompress(&self, number: u8, frame: &[u8]) -> Result<Vec<u8>> {
        let len = match get_frame_content_size(frame) {
            Ok(Some(len)) if len <= VALUE_MAX => usize::try_from(len).map_err(|_| BAD)?,
            _ => return Err(BAD),
        };
        let dictionary = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            let index = usize::from(number).wrapping_sub(1);
            Arc::clone(known.all.get(index).ok_or(BAD)?)
        };
        let lent = self.contexts().pop();
        let mut context = lent.map_or_else(|| DCtx::try_create().ok_or(BAD), Ok)?;
        let mut value = Vec::with_capacity(len);
        let done = context.decompress_using_ddict(&mut value, frame, &dictionary.reads);
        self.contexts().push(context);
        match done {
            Ok(found) if found == len => Ok(value),
            _ => Err(BAD),
        }
    }

    fn contexts(&self) -> std::sync::MutexGuard<'_, Vec<DCtx<'static>>> {
        self.contexts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Trains a dictionary for every kind of which these are the first rows that suffice, writes it
    /// with the transaction, and returns what packs the rows. `rows` is called up to twice.
    ///
    /// Should the transaction fail, the store stops: then nobody asks for what was added here.
    pub(super) fn packer(
        &self,
        txn: &redb::WriteTransaction,
        rows: &mut dyn FnMut(EachRow<'_>) -> Result<()>,
    ) -> Result<Packer> {
        if !self.on {
            return Ok(Packer::default());
        }
        let mut samples: BTreeMap<u8, Sample> = BTreeMap::new();
        rows(&mut |key, value| {
            if let (Some(kind), Some(value)) = (key.first(), sampled(value)) {
                let sample = samples.entry(*kind).or_default();
                sample.rows += 1;
                sample.bytes += value.len();
            }
            Ok(())
        })?;
        samples.retain(|kind, sample| self.wants(*kind, sample));
        if !samples.is_empty() {
            rows(&mut |key, value| {
                if let (Some(kind), Some(value)) = (key.first(), sampled(value))
                    && let Some(sample) = samples.get_mut(kind)
                {
                    sample.take(value);
                }
                Ok(())
            })?;
            self.train(txn, &samples)?;
        }
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        Packer::new(known.newest.values())
    }

    fn wants(&self, kind: u8, sample: &Sample) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        sample.rows >= SAMPLES_MIN
            && sample.bytes >= SAMPLES_MIN_BYTES
            && known.all.len() < DICTIONARIES_MAX
            && (!known.newest.contains_key(&kind) || known.stale.contains(&kind))
            && !known.hopeless.contains(&kind)
    }

    /// Remembers which kinds shrank much less than what their dictionary was trained on.
    pub(super) fn judge(&self, packer: &Packer) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for (kind, ready) in &packer.kinds {
            let Some(newest) = known.newest.get(kind) else {
                continue;
            };
            let worse = ready.plain >= SAMPLES_MIN_BYTES
                && thousandths(ready.packed, ready.plain) > newest.shrinks_to.saturating_mul(3) / 2;
            let of_kind = known.all.iter().filter(|d| d.kind == *kind).count();
            if worse && of_kind < OF_KIND_MAX {
                known.stale.insert(*kind);
            }
        }
    }

    fn train(&self, txn: &redb::WriteTransaction, samples: &BTreeMap<u8, Sample>) -> Result<()> {
        const WHAT: &str = "committing";
        let mut table = txn
            .open_table(DICTIONARIES)
            .map_err(|e| from_redb(WHAT, e))?;
        for (kind, sample) in samples {
            let number = self.next_number();
            let Some(trained) = sample.dictionary() else {
                let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
                known.hopeless.insert(*kind);
                continue;
            };
            let ratio = trained.shrinks_to.to_le_bytes();
            let row = [&[*kind][..], &ratio, &trained.bytes].concat();
            let put = table.insert(number, &row[..]).map(drop);
            put.map_err(|e| from_redb(WHAT, e))?;
            self.add(number, *kind, trained)?;
        }
        Ok(())
    }

    fn next_number(&self) -> u8 {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        u8::try_from(known.all.len() + 1).unwrap_or(u8::MAX)
    }
}

const BAD: Error = Error::integrity("a packed row does not open");

impl fmt::Debug for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Packing")
    }
}

fn sampled(value: Option<&[u8]>) -> Option<&[u8]> {
    value.filter(|v| (PACK_FROM..=SAMPLE_MAX).contains(&v.len()))
}

impl Sample {
    /// Every so many rows, so that the samples are of all of them: rows come in the order of their
    /// keys.
    fn take(&mut self, value: &[u8]) {
        let every = self.bytes.div_ceil(SAMPLES_MAX_BYTES);
        if self.rows.is_multiple_of(every) && self.taken.len() < SAMPLES_MAX_BYTES {
            self.taken.extend_from_slice(value);
            self.lengths.push(value.len());
        }
        self.rows += 1;
    }

    /// The dictionary, if these rows shrink with it.
    fn dictionary(&self) -> Option<Trained> {
        let trained = zstd::dict::from_continuous(&self.taken, &self.lengths, DICTIONARY_BYTES);
        let bytes = trained.ok()?;
        let mut trial = Use::new(0, &bytes)?;
        let (mut at, mut packed) = (0, 0);
        for len in &self.lengths {
            packed += trial.pack(&self.taken[at..at + len]).len();
            at += len;
        }
        let shrinks_to = thousandths(packed, at);
        (shrinks_to <= WORTH).then_some(Trained { shrinks_to, bytes })
    }
}

fn thousandths(of: usize, whole: usize) -> u16 {
    let ratio = of.saturating_mul(1000) / whole.max(1);
    u16::try_from(ratio).unwrap_or(u16::MAX)
}

/// Packs the rows of one checkpoint.
#[derive(Default)]
pub(super) struct Packer {
    on: bool,
    kinds: BTreeMap<u8, Use>,
}

impl Packer {
    /// For values that are to stand as they are, in a file that packs.
    pub(super) fn plain() -> Self {
        Self {
            on: true,
            kinds: BTreeMap::new(),
        }
    }
}

/// A dictionary, made ready.
struct Use {
    number: u8,
    writes: Compressor<'static>,
    out: Vec<u8>,
    plain: usize,
    packed: usize,
}

impl Packer {
    fn new<'a>(dictionaries: impl Iterator<Item = &'a Arc<Dictionary>>) -> Result<Self> {
        let mut kinds = BTreeMap::new();
        for dictionary in dictionaries {
            let ready = Use::new(dictionary.number, &dictionary.bytes);
            kinds.insert(dictionary.kind, ready.ok_or(BAD)?);
        }
        Ok(Self { on: true, kinds })
    }

    /// The value as the tree holds it.
    pub(super) fn pack(&mut self, key: &[u8], value: &[u8], out: &mut Vec<u8>) {
        out.clear();
        if !self.on || value.is_empty() {
            return out.extend_from_slice(value);
        }
        let ready = key.first().and_then(|kind| self.kinds.get_mut(kind));
        if let Some(ready) = ready.filter(|_| value.len() >= PACK_FROM) {
            let number = ready.number;
            let packed = ready.pack(value);
            if packed.len() < value.len() {
                out.push(number);
                return out.extend_from_slice(packed);
            }
        }
        out.push(AS_IT_IS);
        out.extend_from_slice(value);
    }
}

impl Use {
    fn new(number: u8, dictionary: &[u8]) -> Option<Self> {
        let mut writes = Compressor::with_dictionary(LEVEL, dictionary).ok()?;
        writes.include_contentsize(true).ok()?;
        writes.include_checksum(false).ok()?;
        // The first byte names it.
        writes.include_dictid(false).ok()?;
        Some(Self {
            number,
            writes,
            out: Vec::new(),
            plain: 0,
            packed: 0,
        })
    }

    /// A frame; the value itself where it would be longer.
    fn pack<'a>(&'a mut self, value: &'a [u8]) -> &'a [u8] {
        self.out.clear();
        self.out.reserve(compress_bound(value.len()));
        let done = self.writes.compress_to_buffer(value, &mut self.out);
        let packed = match done {
            Ok(len) if len < value.len() => &self.out[..],
            _ => value,
        };
        self.plain += value.len();
        self.packed += packed.len();
        packed
    }
}

#[cfg(test)]
#[path = "packing_tests.rs"]
mod tests;
