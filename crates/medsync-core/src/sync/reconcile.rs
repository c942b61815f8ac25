//! How two sets differ: digests, then cursors, then sketches.
//!
//! Items are 64 bits of a hash that is keyed for the two devices, so a difference of d items among
//! n is found in about 1.4 d symbols of 13 bytes, and named back in about a byte an item: whoever
//! decoded knows the other's whole set, and so the place of each of its items in ascending order.

use crate::error::{Error, Result};
use crate::sync::effect::{Cursor, FIRST_SYMBOLS};
use crate::sync::hello::Hello;
use crate::sync::sketch::{Decoder, Difference, SketchItem, SketchKey, Symbol};
use std::collections::HashSet;
use std::sync::LazyLock;

/// The digest of a set: a sum, so that it follows from what comes and goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SetDigest(u128);

impl SetDigest {
    /// Adds an item that is not in the set.
    pub fn insert(&mut self, key: &SketchKey, id: &[u8; 32]) {
        self.0 = self.0.wrapping_add(key.wide(id));
    }

    /// Its bytes.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }
}

/// Whether two sides hold the same.
pub(crate) fn is_equal(ours: &Hello, theirs: &Hello) -> bool {
    match (ours.everything(), theirs.everything()) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

/// Whether a cursor tells all that its owner, who holds `count` batches, lacks of a log: it once had
/// all of it, or has nothing that did not come from there.
pub(crate) fn is_valid(cursor: Option<&Cursor>, count: u64, log: &Hello) -> bool {
    let fits = |c: &Cursor| {
        let lengths = c.beyond.iter().map(|(first, last)| last - first + 1);
        let covered = lengths.fold(c.upto, u64::saturating_add);
        c.epoch == log.epoch_mark() && c.upto <= log.head && (c.upto > 0 || covered >= count)
    };
    count == 0 || cursor.is_some_and(fits)
}

/// Places of items in a set in ascending order; those of `difference.theirs` in the other's set,
/// which is ours without `ours` and with `theirs`.
pub fn ranks(ours: &[SketchItem], difference: &Difference) -> Vec<u64> {
    let not_there: HashSet<_> = difference.ours.iter().collect();
    let wanted: HashSet<_> = difference.theirs.iter().collect();
    let shared = ours.iter().filter(|item| !not_there.contains(item));
    let mut there: Vec<SketchItem> = shared.chain(&difference.theirs).copied().collect();
    there.sort_unstable();
    let places = (0u64..).zip(&there);
    let wanted = places.filter(|(_, item)| wanted.contains(item));
    wanted.map(|(place, _)| place).collect()
}

/// The items at these places of a set in ascending order; places beyond its end are left out.
pub fn at_ranks(items: &[SketchItem], ranks: &[u64]) -> Vec<SketchItem> {
    let mut sorted = items.to_vec();
    sorted.sort_unstable();
    let at = |rank: &u64| sorted.get(usize::try_from(*rank).ok()?).copied();
    ranks.iter().filter_map(at).collect()
}

/// Writes ascending places as gaps: seven bits a byte, low ones first.
pub(crate) fn write_ranks(ranks: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut next = 0;
    for rank in ranks {
        let mut gap = rank.saturating_sub(next);
        while gap > 0x7f {
            out.push(0x80 | (gap & 0x7f) as u8);
            gap >>= 7;
        }
        out.push((gap & 0x7f) as u8);
        next = rank.saturating_add(1);
    }
    out
}

/// Reads places that were written as gaps.
pub(crate) fn read_ranks(mut bytes: &[u8]) -> Result<Vec<u64>> {
    const BAD: Error = Error::integrity("places of a set are malformed");
    let (mut ranks, mut next) = (Vec::new(), 0u64);
    while !bytes.is_empty() {
        let mut gap = 0u64;
        for shift in (0u32..).step_by(7) {
            let (byte, rest) = bytes.split_first().ok_or(BAD)?;
            bytes = rest;
            if shift > 56 {
                return Err(BAD);
            }
            gap |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let rank = next.checked_add(gap).ok_or(BAD)?;
        next = rank.checked_add(1).ok_or(BAD)?;
        ranks.push(rank);
    }
    Ok(ranks)
}

/// Writes symbols from a place on.
pub(crate) fn write_symbols(symbols: &[Symbol], from: usize, items: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for (place, symbol) in (from..).zip(symbols) {
        symbol.encode(place, items, &mut out);
    }
    out
}

/// Reads symbols from a place on.
pub(crate) fn read_symbols(
    mut bytes: &[u8],
    from: usize,
    count: usize,
    items: u64,
) -> Result<Vec<Symbol>> {
    let mut symbols = Vec::new();
    for place in from..from.saturating_add(count) {
        symbols.push(Symbol::decode(&mut bytes, place, items)?);
    }
    if bytes.is_empty() {
        Ok(symbols)
    } else {
        Err(Error::integrity("symbols are followed by something else"))
    }
}

/// How likely an item falls on each of the first places, as sketches draw them: from place `j` to
/// beyond `m` with probability ((j + 1.5) / (m + 1))^2.
static LIKELY: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let mut likely = vec![1.0];
    for place in 1..FIRST_SYMBOLS {
        let reaches = |(from, p): (usize, &f64)| {
            let beyond = |m: f64| ((from as f64 + 1.5) / (m + 1.0)).powi(2).min(1.0);
            p * (beyond(place as f64 - 1.0) - beyond(place as f64))
        };
        let here = likely.iter().enumerate().map(reaches).sum();
        likely.push(here);
    }
    likely
});

/// One side of finding out what differs: it has the other's symbols.
#[derive(Debug)]
pub(crate) struct Finder {
    decoder: Decoder,
    /// Sum of squares of surprising counts of the first places, and how many they are.
    surprise: (f64, f64),
    sizes: (u64, u64),
}

/// How far a [`Finder`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// Everything that differs.
    All(Difference),
    /// So many symbols more will do, as far as can be told.
    More(usize),
}

impl Finder {
    pub(crate) fn new(key: SketchKey, ours: u64, theirs: u64) -> Self {
        Self {
            decoder: Decoder::new(key),
            surprise: (0.0, 0.0),
            sizes: (ours, theirs),
        }
    }

    /// How many symbols were taken.
    pub(crate) const fn received(&self) -> usize {
        self.decoder.received()
    }

    /// Takes the next symbols of both sides.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the symbols are of no set, or too many.
    pub(crate) fn push(mut self, theirs: &[Symbol], ours: &[Symbol]) -> Result<(Self, Found)> {
        let more = self.sizes.1 as f64 - self.sizes.0 as f64;
        for (theirs, ours) in theirs.iter().zip(ours) {
            let place = self.decoder.received();
            // Counts that differ by more than the sizes of the sets explain tell how many items do.
            if let Some(p) = LIKELY.get(place).filter(|_| place > 0) {
                let differs = theirs.count().wrapping_sub(ours.count()) as f64 - more * p;
                self.surprise.0 += differs * differs / (p * (1.0 - p));
                self.surprise.1 += 1.0;
            }
            if self.decoder.push(theirs, ours)? {
                let empty = Self::new(SketchKey::new([0; 32]), 0, 0);
                let done = std::mem::replace(&mut self, empty);
                return Ok((self, Found::All(done.decoder.finish())));
            }
        }
        let missing = self.estimate().saturating_sub(self.received());
        Ok((self, Found::More(missing)))
    }

    /// How many symbols will do for all that differs, with some to spare.
    fn estimate(&self) -> usize {
        let sizes = self.sizes.0.abs_diff(self.sizes.1) as f64;
        let differ = (self.surprise.0 / self.surprise.1.max(1.0)).max(sizes);
        // What was too little once is not enough by a little; the decoder's own limit ends it.
        let least = (self.received() + 32).max(self.received() * 5 / 4);
        ((differ * 1.5 + 24.0).clamp(0.0, 1e6) as usize).max(least)
    }
}

/// How many symbols to begin with when nothing but the sizes is known.
pub(crate) fn first_guess(ours: u64, theirs: u64) -> usize {
    let differ = usize::try_from(ours.abs_diff(theirs)).unwrap_or(usize::MAX);
    differ
        .saturating_mul(3)
        .saturating_div(2)
        .saturating_add(64)
        .min(16_384)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::sketch::Sketch;
    use proptest::prelude::*;

    const KEY: SketchKey = SketchKey::new([7; 32]);

    fn items(range: std::ops::Range<u64>) -> Vec<SketchItem> {
        let id = |n: u64| *blake3::hash(&n.to_le_bytes()).as_bytes();
        range.map(|n| KEY.item(&id(n))).collect()
    }

    fn sketch(items: &[SketchItem], len: usize) -> Sketch {
        let mut sketch = Sketch::new(KEY, len);
        items.iter().for_each(|item| sketch.insert(*item));
        sketch
    }

    proptest! {
        #[test]
        fn places_name_what_the_other_alone_has(shared in 0u64..300, ours in 0u64..60, theirs in 0u64..60) {
            let here = items(0..shared + ours);
            let mut there = items(0..shared);
            there.extend(items(1000..1000 + theirs));
            let difference = Difference {
                ours: items(shared..shared + ours),
                theirs: items(1000..1000 + theirs),
            };
            let ranks = ranks(&here, &difference);
            let read = read_ranks(&write_ranks(&ranks));
            prop_assert_eq!(read.as_ref(), Ok(&ranks));
            let mut named = at_ranks(&there, &ranks);
            named.sort_unstable();
            let mut wanted = difference.theirs;
            wanted.sort_unstable();
            prop_assert_eq!(named, wanted);
        }

        #[test]
        fn places_from_anywhere_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(ranks) = read_ranks(&bytes) {
                prop_assert!(ranks.is_sorted());
                at_ranks(&items(0..5), &ranks);
            }
        }
    }

    /// (rounds, symbols) until `a` and `b` differing items among 20,000 are found.
    fn find(a: u64, b: u64) -> (usize, usize) {
        let shared = items(0..20_000);
        let ours = [shared.clone(), items(100_000..100_000 + a)].concat();
        let theirs = [shared, items(200_000..200_000 + b)].concat();
        let (x, y) = (sketch(&ours, 4000), sketch(&theirs, 4000));
        let mut finder = Finder::new(KEY, ours.len() as u64, theirs.len() as u64);
        let (mut from, mut rounds, mut want) = (0, 0, 64);
        loop {
            rounds += 1;
            let to = from + want;
            let pushed = finder.push(&y.symbols()[from..to], &x.symbols()[from..to]);
            let (next, found) = pushed.expect("of two sets");
            (finder, from) = (next, to);
            match found {
                Found::All(difference) => {
                    assert_eq!(difference.ours.len() as u64, a);
                    assert_eq!(difference.theirs.len() as u64, b);
                    return (rounds, to);
                }
                Found::More(more) => want = more,
            }
        }
    }

    #[test]
    fn the_first_symbols_tell_how_many_more_are_needed() {
        assert_eq!(find(10, 10), (1, 64));
        for (a, b) in [(250, 250), (500, 0), (20, 480), (1000, 1000)] {
            let (rounds, symbols) = find(a, b);
            let differ = usize::try_from(a + b).expect("few");
            assert!(rounds <= 4, "{a} and {b} took {rounds} rounds");
            assert!(symbols <= 2 * differ, "{a} and {b} took {symbols} symbols");
        }
    }
}
