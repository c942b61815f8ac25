//! What a change chunk claims, judged before automerge may act on it.
//!
//! Automerge 0.12 believes run lengths: a valid change of 113 bytes makes it allocate gigabytes,
//! and counters near 2^32 make it panic. So the chunk's header and the lengths in its columns are
//! read here first, with limits, and in memory that does not depend on what they claim.

use crate::doc::Fault;
use crate::ids::ChangeId;
use crate::model::bitset::BitSet;
use crate::model::cell::is_key;
use sha2::{Digest, Sha256};

/// Largest change, in bytes.
pub const MAX_CHANGE: usize = 1 << 20;
/// Most operations of a change.
pub const MAX_OPS: u64 = 30_000;
/// Most dependencies of a change.
pub const MAX_DEPS: u64 = 200;
/// Most predecessors of an operation.
pub const MAX_PREDS: u64 = 200;
/// Most predecessors of all operations of a change.
pub const MAX_ALL_PREDS: u64 = 100_000;
/// Most actors that a change names beside its own.
pub const MAX_OTHERS: u64 = 200;

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
const CHANGE_CHUNK: u8 = 1;
const ACTOR_LEN: usize = 16;
const HASH_LEN: usize = 32;

/// Columns of a flat map, as automerge numbers them: id, then kind of data.
const KEY: u64 = 0x15;
const INSERT: u64 = 0x34;
const ACTION: u64 = 0x42;
const VALUE_META: u64 = 0x56;
const VALUE: u64 = 0x57;
const PRED_COUNT: u64 = 0x70;
const PRED_ACTOR: u64 = 0x71;
const PRED_CTR: u64 = 0x73;

const ACTION_SET: u64 = 1;
const TYPE_STR: u64 = 6;
const TYPE_BYTES: u64 = 7;

/// Passes a chunk that is one change of a flat map within all limits. What it leaves to automerge
/// and to the comparison with our own encoding is the shortest form of runs and the cells.
pub(super) fn check(bytes: &[u8]) -> Result<(), Fault> {
    if bytes.len() > MAX_CHANGE {
        return Err(Fault::Limit("bytes"));
    }
    let mut body = chunk_body(bytes)?;
    let head = Header::read(&mut body)?;
    let columns = Columns::read(&mut body)?;
    let ops = columns.keys()?;
    head.check_counters(ops)?;
    columns.check_counts(ops)?;
    columns.check_values(ops)?;
    columns.check_preds(ops, &head)
}

/// The id of an uncompressed chunk: the hash of all that follows its checksum. Nothing else is
/// judged; `None` if it is too short to have one.
pub fn change_id(bytes: &[u8]) -> Option<ChangeId> {
    let hashed = bytes.get(MAGIC.len() + 4..)?;
    Some(ChangeId(Sha256::digest(hashed).into()))
}

/// The data of one change chunk that fills the input and has the right checksum.
fn chunk_body(bytes: &[u8]) -> Result<Reader<'_>, Fault> {
    let mut input = Reader(bytes);
    if input.take(MAGIC.len())? != MAGIC {
        return Err(Fault::Chunk);
    }
    let checksum = input.take(4)?;
    let hashed = input.0;
    if input.take(1)? != [CHANGE_CHUNK] {
        return Err(Fault::Chunk);
    }
    if input.unsigned()? != input.0.len() as u64 {
        return Err(Fault::Chunk);
    }
    if !Sha256::digest(hashed).starts_with(checksum) {
        return Err(Fault::Checksum);
    }
    Ok(input)
}

struct Header {
    start_op: u64,
    others: u64,
}

impl Header {
    fn read(input: &mut Reader<'_>) -> Result<Self, Fault> {
        let deps = input.unsigned()?;
        input.ascending(deps, MAX_DEPS, "dependencies", |i| i.take(HASH_LEN))?;
        let own = input.actor()?;
        let seq = input.unsigned()?;
        let start_op = input.unsigned()?;
        input.signed()?;
        // Each earlier change of this actor had an operation, and this one builds on them.
        if seq == 0 || start_op < seq {
            return Err(Fault::Counter);
        }
        // What builds on nothing is a record's first change and its author's first of it.
        // Automerge knows an actor by its first change only, and panics on a later one without it.
        if deps == 0 && (seq, start_op) != (1, 1) {
            return Err(Fault::Counter);
        }
        if input.unsigned()? != 0 {
            return Err(Fault::Extra);
        }
        let others = input.unsigned()?;
        input.ascending(others, MAX_OTHERS, "actors", |i| {
            let other = i.actor()?;
            if other == own {
                Err(Fault::NotCanonical)
            } else {
                Ok(other)
            }
        })?;
        Ok(Self { start_op, others })
    }

    /// Automerge keeps counters in 32 bits and panics beyond.
    fn check_counters(&self, ops: u64) -> Result<(), Fault> {
        match self.start_op.checked_add(ops) {
            Some(end) if end <= u64::from(u32::MAX) => Ok(()),
            _ => Err(Fault::Counter),
        }
    }
}

/// The columns that a flat map's change can have.
#[derive(Default)]
struct Columns<'a> {
    key: &'a [u8],
    insert: &'a [u8],
    action: &'a [u8],
    value_meta: &'a [u8],
    value: &'a [u8],
    pred_count: &'a [u8],
    pred_actor: &'a [u8],
    pred_ctr: &'a [u8],
}

impl<'a> Columns<'a> {
    /// Reads the layout; the columns must fill the rest of the input.
    fn read(input: &mut Reader<'a>) -> Result<Self, Fault> {
        let count = input.unsigned()?;
        if count > 8 {
            return Err(Fault::Columns);
        }
        let mut layout = Vec::with_capacity(8);
        for _ in 0..count {
            layout.push((input.unsigned()?, input.unsigned()?));
        }
        if !layout.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(Fault::Columns);
        }
        let mut columns = Self::default();
        for (spec, length) in layout {
            let length = usize::try_from(length).map_err(|_| Fault::Cut)?;
            if length == 0 {
                return Err(Fault::NotCanonical);
            }
            let slot = match spec {
                KEY => &mut columns.key,
                INSERT => &mut columns.insert,
                ACTION => &mut columns.action,
                VALUE_META => &mut columns.value_meta,
                VALUE => &mut columns.value,
                PRED_COUNT => &mut columns.pred_count,
                PRED_ACTOR => &mut columns.pred_actor,
                PRED_CTR => &mut columns.pred_ctr,
                _ => return Err(Fault::Columns),
            };
            *slot = input.take(length)?;
        }
        if input.0.is_empty() {
            Ok(columns)
        } else {
            Err(Fault::Extra)
        }
    }

    /// Counts the operations by their keys, which stand in full: no short chunk has many.
    fn keys(&self) -> Result<u64, Fault> {
        let mut last = "";
        let ops = runs(
            self.key,
            (MAX_OPS, Fault::Limit("operations")),
            Reader::text,
            |key, times| {
                if times != 1 || !is_key(key) || key <= last {
                    return Err(Fault::Key);
                }
                last = key;
                Ok(())
            },
        )?;
        if ops == 0 {
            return Err(Fault::Counts);
        }
        Ok(ops)
    }

    /// No insertion and nothing but `set`, once per operation.
    fn check_counts(&self, ops: u64) -> Result<(), Fault> {
        let mut insert = Reader(self.insert);
        if insert.unsigned()? != ops || !insert.0.is_empty() {
            return Err(Fault::Counts);
        }
        let actions = runs(
            self.action,
            (ops, Fault::Counts),
            Reader::unsigned,
            |action, _| match action {
                ACTION_SET => Ok(()),
                _ => Err(Fault::Action),
            },
        )?;
        same(actions, ops)
    }

    /// Strings and bytes only, which together are as long as the column that holds them.
    fn check_values(&self, ops: u64) -> Result<(), Fault> {
        let mut bytes = 0_u64;
        let values = runs(
            self.value_meta,
            (ops, Fault::Counts),
            Reader::unsigned,
            |meta, times| {
                if !matches!(meta & 0xf, TYPE_STR | TYPE_BYTES) {
                    return Err(Fault::Action);
                }
                let more = (meta >> 4).checked_mul(times).ok_or(Fault::Counts)?;
                bytes = bytes.checked_add(more).ok_or(Fault::Counts)?;
                Ok(())
            },
        )?;
        same(values, ops)?;
        same(bytes, self.value.len() as u64)
    }

    /// Bounded lists of operations that came before this change.
    fn check_preds(&self, ops: u64, head: &Header) -> Result<(), Fault> {
        let mut all = 0_u64;
        let mut counts = Vec::new();
        let lists = runs(
            self.pred_count,
            (ops, Fault::Counts),
            Reader::unsigned,
            |count, times| {
                if count > MAX_PREDS {
                    return Err(Fault::Limit("predecessors"));
                }
                // No overflow: at most 200 times 30,000 is added, at most 30,000 times.
                all += count * times;
                counts.push((count, times));
                Ok(())
            },
        )?;
        same(lists, ops)?;
        if all > MAX_ALL_PREDS {
            return Err(Fault::Limit("predecessors"));
        }
        self.check_pred_actors(all, &counts, head)?;
        let mut at = 0_i64;
        let counters = runs(
            self.pred_ctr,
            (all, Fault::Counts),
            Reader::signed,
            |step, times| {
                // Within a run the counters rise or fall evenly: its ends bound them.
                let times = i64::try_from(times).map_err(|_| Fault::Preds)?;
                let first = at.checked_add(step).ok_or(Fault::Preds)?;
                let reach = step.checked_mul(times).ok_or(Fault::Preds)?;
                at = at.checked_add(reach).ok_or(Fault::Preds)?;
                let known = |ctr| u64::try_from(ctr).is_ok_and(|c| (1..head.start_op).contains(&c));
                if known(first) && known(at) {
                    Ok(())
                } else {
                    Err(Fault::Preds)
                }
            },
        )?;
        same(counters, all)
    }

    /// An actor's later operation replaces its earlier one, so of those that stand side by side no
    /// two are of one actor. That also keeps a short column from standing for many.
    fn check_pred_actors(
        &self,
        all: u64,
        counts: &[(u64, u64)],
        head: &Header,
    ) -> Result<(), Fault> {
        let each = |(count, times): &(u64, u64)| {
            let count = *count;
            (0..*times).map(move |_| count)
        };
        let mut lists = counts.iter().flat_map(each).filter(|count| *count > 0);
        let (mut left, mut named) = (0, BitSet::default());
        let actors = runs(
            self.pred_actor,
            (all, Fault::Counts),
            Reader::unsigned,
            |actor, times| {
                if actor > head.others {
                    return Err(Fault::Preds);
                }
                let actor = usize::try_from(actor).map_err(|_| Fault::Preds)?;
                for _ in 0..times {
                    if left == 0 {
                        (left, named) = (lists.next().ok_or(Fault::Counts)?, BitSet::default());
                    }
                    if named.has(actor) {
                        return Err(Fault::Preds);
                    }
                    named.insert(actor);
                    left -= 1;
                }
                Ok(())
            },
        )?;
        same(actors, all)
    }
}

fn same(a: u64, b: u64) -> Result<(), Fault> {
    if a == b { Ok(()) } else { Err(Fault::Counts) }
}

/// Walks a run-length coded column and returns how many values it stands for: at most `most`, or
/// it is the fault `over`.
/// A flat map's columns have no nulls.
fn runs<'a, T>(
    column: &'a [u8],
    (most, over): (u64, Fault),
    read: impl Fn(&mut Reader<'a>) -> Result<T, Fault>,
    mut each: impl FnMut(T, u64) -> Result<(), Fault>,
) -> Result<u64, Fault> {
    let mut input = Reader(column);
    let mut total = 0_u64;
    while !input.0.is_empty() {
        let length = input.signed()?;
        let times = length.unsigned_abs();
        total = total.checked_add(times).ok_or(Fault::Counts)?;
        if total > most {
            return Err(over);
        }
        match length {
            0 => return Err(Fault::Columns),
            1.. => each(read(&mut input)?, times)?,
            _ => {
                for _ in 0..times {
                    each(read(&mut input)?, 1)?;
                }
            }
        }
    }
    Ok(total)
}

/// What is left of the input.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let (head, tail) = self.0.split_at_checked(length).ok_or(Fault::Cut)?;
        self.0 = tail;
        Ok(head)
    }

    /// LEB128 of 64 bits, in its shortest form.
    fn unsigned(&mut self) -> Result<u64, Fault> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                return Err(Fault::Number);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return if byte == 0 && shift > 0 {
                    Err(Fault::Number)
                } else {
                    Ok(value)
                };
            }
        }
        Err(Fault::Number)
    }

    /// Signed LEB128 of 64 bits. Overlong forms are left to the comparison of encodings.
    fn signed(&mut self) -> Result<i64, Fault> {
        let mut value = 0_i64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            // The tenth byte holds one bit and its sign.
            if shift == 63 && !matches!(byte, 0 | 0x7f) {
                return Err(Fault::Number);
            }
            value |= i64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                if byte & 0x40 != 0 && shift + 7 < 64 {
                    value |= -1 << (shift + 7);
                }
                return Ok(value);
            }
        }
        Err(Fault::Number)
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let (byte, rest) = self.0.split_first().ok_or(Fault::Cut)?;
        self.0 = rest;
        Ok(*byte)
    }

    fn actor(&mut self) -> Result<&'a [u8], Fault> {
        if self.unsigned()? != ACTOR_LEN as u64 {
            return Err(Fault::Actor);
        }
        self.take(ACTOR_LEN)
    }

    fn text(&mut self) -> Result<&'a str, Fault> {
        let length = usize::try_from(self.unsigned()?).map_err(|_| Fault::Cut)?;
        std::str::from_utf8(self.take(length)?).map_err(|_| Fault::Key)
    }

    /// A list whose items rise: one set of hashes or actors has one encoding.
    fn ascending(
        &mut self,
        count: u64,
        most: u64,
        what: &'static str,
        read: impl Fn(&mut Self) -> Result<&'a [u8], Fault>,
    ) -> Result<(), Fault> {
        if count > most {
            return Err(Fault::Limit(what));
        }
        let mut last: Option<&[u8]> = None;
        for _ in 0..count {
            let item = read(self)?;
            if last.is_some_and(|last| last >= item) {
                return Err(Fault::NotCanonical);
            }
            last = Some(item);
        }
        Ok(())
    }
}
