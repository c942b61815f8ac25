//! A rateless sketch of a set: what two large sets do not share, in about 1.4 symbols a difference.
//!
//! Rateless invertible Bloom lookup tables: Yang, Gilad and Alizadeh, "Practical Rateless Set
//! Reconciliation", SIGCOMM 2024, arXiv 2402.02668. Each side turns its set into an endless series of
//! symbols. The receiver subtracts its own from the sender's one by one and peels off items that
//! stand alone, until nothing is left: nobody has to guess how much differs. Symbol `k` holds an item
//! with probability `1 / (1 + k / 2)`, and where an item goes follows from the item alone.
//!
//! Unlike the authors' code the places come from integer arithmetic, so that every platform draws
//! the same ones, and items are keyed: who writes a batch cannot choose where it falls.

use crate::error::{Error, Result};
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// Symbols that a sketch has at most: about 190,000 differences, and what a peer can make this side
/// keep, 8 MiB.
pub const SYMBOLS_MAX: usize = 1 << 18;

/// Longest encoding of a symbol, in bytes.
pub const SYMBOL_BYTES_MAX: usize = 8 + 4 + 10;

/// What keys the items of a sketch: known to both sides, unknown to those who write batches.
#[derive(Clone, PartialEq, Eq)]
pub struct SketchKey([u8; 32]);

impl fmt::Debug for SketchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SketchKey(hidden)")
    }
}

/// An item of a set, as sketches hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SketchItem(pub u64);

impl SketchKey {
    /// The key of these bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The item that stands for an id.
    pub fn item(&self, id: &[u8; 32]) -> SketchItem {
        let hash = blake3::keyed_hash(&self.0, id);
        let low = hash.as_bytes().first_chunk().copied();
        SketchItem(u64::from_le_bytes(low.unwrap_or_default()))
    }

    /// What stands for an id in the digest of a set.
    pub(crate) fn wide(&self, id: &[u8; 32]) -> u128 {
        let hash = blake3::keyed_hash(&self.0, id);
        let low = hash.as_bytes().last_chunk().copied();
        u128::from_le_bytes(low.unwrap_or_default())
    }

    /// What tells an item that stands alone from a sum of several.
    fn check(&self, item: SketchItem) -> u32 {
        let hash = blake3::keyed_hash(&self.0, &item.0.to_le_bytes());
        let low = hash.as_bytes().first_chunk().copied();
        u32::from_le_bytes(low.unwrap_or_default())
    }
}

/// The places of an item: 0, then others ever farther apart.
#[derive(Debug, Clone, Copy)]
struct Places {
    state: u64,
    now: u64,
}

impl Places {
    const fn of(item: SketchItem) -> Self {
        Self {
            state: item.0,
            now: 0,
        }
    }

    /// Goes to the next place. For `u` uniform in (0, 1] it is `ceil((now + 1.5) (1 / sqrt(u) - 1))`
    /// farther, the inverse of the distribution in the paper's section 4.2.
    fn advance(&mut self) {
        let u = u128::from(self.draw().max(1));
        let twice = 2 * u128::from(self.now) + 3;
        // u counts in 2^-64, so 1 / sqrt(u) is 2^32 / isqrt(u): 31 bits of it are exact enough.
        let scaled = (twice << 32).div_ceil(2 * u.isqrt());
        let gap = scaled.saturating_sub(twice / 2).max(1);
        let next = u128::from(self.now).saturating_add(gap);
        self.now = u64::try_from(next).unwrap_or(u64::MAX);
    }

    /// SplitMix64.
    const fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The present place as an index below `len`.
    fn below(&self, len: usize) -> Option<usize> {
        usize::try_from(self.now).ok().filter(|at| *at < len)
    }
}

/// One symbol: the sum of the items that fall on its place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Symbol {
    sum: u64,
    check: u32,
    count: i64,
}

impl Symbol {
    const fn put(&mut self, item: SketchItem, check: u32, by: i64) {
        self.sum ^= item.0;
        self.check ^= check;
        self.count = self.count.wrapping_add(by);
    }

    const fn is_empty(&self) -> bool {
        self.sum == 0 && self.check == 0 && self.count == 0
    }

    /// How many items fall on the place.
    pub(crate) const fn count(&self) -> i64 {
        self.count
    }

    const fn less(&self, other: &Self) -> Self {
        Self {
            sum: self.sum ^ other.sum,
            check: self.check ^ other.check,
            count: self.count.wrapping_sub(other.count),
        }
    }

    /// Appends the symbol of a place in a sketch of `items` items: sum and checksum, little-endian,
    /// then by how much its count is not what is expected there, in one byte or two.
    pub fn encode(&self, place: usize, items: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.sum.to_le_bytes());
        out.extend_from_slice(&self.check.to_le_bytes());
        let more = self.count.wrapping_sub(expected(place, items));
        // Zigzag, then seven bits a byte, low ones first.
        let mut left = ((more << 1) ^ (more >> 63)).cast_unsigned();
        while left > 0x7f {
            out.push(0x80 | (left & 0x7f) as u8);
            left >>= 7;
        }
        out.push(left as u8);
    }

    /// Reads the symbol of a place from the front of `bytes`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if none stands there in its shortest form.
    pub fn decode(bytes: &mut &[u8], place: usize, items: u64) -> Result<Self> {
        const BAD: Error = Error::invalid("a sketch is cut short or malformed");
        let (sum, rest) = bytes.split_first_chunk().ok_or(BAD)?;
        let (check, mut rest) = rest.split_first_chunk().ok_or(BAD)?;
        let mut zigzag = 0u64;
        for shift in (0u32..).step_by(7) {
            let (byte, left) = rest.split_first().ok_or(BAD)?;
            rest = left;
            let bits = u64::from(byte & 0x7f);
            let top = shift == 63 && bits > 1;
            if shift > 63 || top || (*byte == 0 && shift > 0) {
                return Err(BAD);
            }
            zigzag |= bits << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        *bytes = rest;
        let more = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
        Ok(Self {
            sum: u64::from_le_bytes(*sum),
            check: u32::from_le_bytes(*check),
            count: more.wrapping_add(expected(place, items)),
        })
    }
}

/// How many of a set's items fall on a place, about.
fn expected(place: usize, items: u64) -> i64 {
    let share = u128::from(items) * 2 / (place as u128 + 2);
    i64::try_from(share).unwrap_or(i64::MAX)
}

/// The first symbols of a set, kept up to date with each item that comes or goes.
#[derive(Debug, Clone)]
pub struct Sketch {
    key: SketchKey,
    symbols: Vec<Symbol>,
    items: u64,
}

impl Sketch {
    /// The first `len` symbols of the empty set, at most [`SYMBOLS_MAX`].
    pub fn new(key: SketchKey, len: usize) -> Self {
        Self {
            key,
            symbols: vec![Symbol::default(); len.min(SYMBOLS_MAX)],
            items: 0,
        }
    }

    /// Adds an item that is not in the set.
    pub fn insert(&mut self, item: SketchItem) {
        self.items = self.items.wrapping_add(1);
        self.put(item, 1);
    }

    /// Takes away an item of the set.
    pub fn remove(&mut self, item: SketchItem) {
        self.items = self.items.wrapping_sub(1);
        self.put(item, -1);
    }

    fn put(&mut self, item: SketchItem, by: i64) {
        let check = self.key.check(item);
        let mut places = Places::of(item);
        while let Some(at) = places.below(self.symbols.len()) {
            self.symbols[at].put(item, check, by);
            places.advance();
        }
    }

    /// The symbols, from the first place on.
    pub fn symbols(&self) -> &[Symbol] {
        &self.symbols
    }

    /// How many items the set has.
    pub const fn items(&self) -> u64 {
        self.items
    }
}

/// What two sets do not share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Items of the sender alone.
    pub theirs: Vec<SketchItem>,
    /// Items of this side alone.
    pub ours: Vec<SketchItem>,
}

/// An item that was peeled off, on its way to places that were not received yet.
#[derive(Debug, Clone, Copy)]
struct Peeled {
    item: SketchItem,
    check: u32,
    by: i64,
    places: Places,
}

/// Finds what differs from the symbols of both sides.
#[derive(Debug)]
pub struct Decoder {
    key: SketchKey,
    /// Theirs less ours, less what was peeled off.
    left: Vec<Symbol>,
    /// How many of them are not empty.
    open: usize,
    /// Items peeled off, by the next place that was not received.
    later: BTreeMap<u64, Vec<Peeled>>,
    known: HashSet<SketchItem>,
    difference: Difference,
}

impl Decoder {
    /// Starts with no symbol received.
    pub fn new(key: SketchKey) -> Self {
        Self {
            key,
            left: Vec::new(),
            open: 0,
            later: BTreeMap::new(),
            known: HashSet::new(),
            difference: Difference::default(),
        }
    }

    /// Takes the sender's next symbol and this side's own of the same place. `true`: everything that
    /// differs is known, and further symbols are of no use.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the symbols are of no set, or too many: the peer misbehaves.
    pub fn push(&mut self, theirs: &Symbol, ours: &Symbol) -> Result<bool> {
        let at = self.left.len();
        if at >= SYMBOLS_MAX {
            return Err(Error::invalid("a sketch has too many symbols"));
        }
        let mut symbol = theirs.less(ours);
        for mut peeled in self.later.remove(&(at as u64)).unwrap_or_default() {
            symbol.put(peeled.item, peeled.check, -peeled.by);
            peeled.places.advance();
            self.wait(peeled);
        }
        self.open += usize::from(!symbol.is_empty());
        self.left.push(symbol);
        self.peel(at)?;
        Ok(self.open == 0)
    }

    /// How many symbols were taken.
    pub const fn received(&self) -> usize {
        self.left.len()
    }

    /// What differs: all of it once [`Decoder::push`] said so.
    pub fn finish(self) -> Difference {
        self.difference
    }

    fn wait(&mut self, peeled: Peeled) {
        self.later
            .entry(peeled.places.now)
            .or_default()
            .push(peeled);
    }

    /// Peels off the items that stand alone, from this place on, and those that this leaves alone.
    fn peel(&mut self, at: usize) -> Result<()> {
        let mut look = vec![at];
        while let Some(at) = look.pop() {
            let symbol = self.left[at];
            let (item, check, by) = (SketchItem(symbol.sum), symbol.check, symbol.count);
            if by.unsigned_abs() != 1 || self.key.check(item) != check {
                continue;
            }
            // An item that comes back would come back for ever.
            if !self.known.insert(item) {
                return Err(Error::invalid("a sketch contradicts itself"));
            }
            match by {
                1 => self.difference.theirs.push(item),
                _ => self.difference.ours.push(item),
            }
            let mut places = Places::of(item);
            while let Some(at) = places.below(self.left.len()) {
                let symbol = &mut self.left[at];
                let before = symbol.is_empty();
                symbol.put(item, check, -by);
                match (before, symbol.is_empty()) {
                    (false, true) => self.open -= 1,
                    (true, false) => self.open += 1,
                    _ => {}
                }
                look.push(at);
                places.advance();
            }
            self.wait(Peeled {
                item,
                check,
                by,
                places,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "sketch_tests.rs"]
mod tests;
