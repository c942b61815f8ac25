//! The generator's own numbers: SplitMix64, whose whole definition stands here, so that a seed
//! gives the same clinic for ever. Not fit for keys, and used for none.

/// A stream of numbers.
#[derive(Debug, Clone)]
pub(super) struct Rng(u64);

impl Rng {
    /// A stream of its own for each `index` below one seed.
    pub(super) fn new(seed: u64, index: u64) -> Self {
        let mut outer = Self(seed);
        let mut inner = Self(outer.next() ^ index);
        Self(inner.next())
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`; 0 for a limit of 0. The bias is below 2^-32 for what is asked here.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(limit);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// A number from `low` to `high`, both included.
    pub(super) fn range(&mut self, low: i64, high: i64) -> i64 {
        let span = high.saturating_sub(low).saturating_add(1);
        let step = self.below(u64::try_from(span).unwrap_or(0));
        low + i64::try_from(step).unwrap_or(0)
    }

    /// True `percent` times in a hundred.
    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of `items`, which are never empty: they are tables of this module.
    pub(super) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let at = self.below(items.len() as u64);
        &items[usize::try_from(at).unwrap_or(0)]
    }

    /// One of `items` by weight.
    pub(super) fn weighted<T: Copy>(&mut self, items: &[(u64, T)]) -> T {
        let mut at = self.below(items.iter().map(|(weight, _)| weight).sum());
        for (weight, item) in items {
            if at < *weight {
                return *item;
            }
            at -= weight;
        }
        items[0].1
    }

    /// Digits, the first never 0.
    pub(super) fn digits(&mut self, count: u32) -> String {
        let low = 10_i64.pow(count - 1);
        self.range(low, low * 10 - 1).to_string()
    }

    /// An id in the shape of a random UUID: as long, and as hard to compress, as real ones.
    pub(super) fn id(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            0x8000 | ((b >> 48) & 0x3fff),
            b & 0xffff_ffff_ffff
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_splitmix64() {
        // The reference implementation's first outputs for seed 1234567.
        let mut rng = Rng(1_234_567);
        assert_eq!(rng.next(), 6_457_827_717_110_365_317);
        assert_eq!(rng.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn ranges_and_weights_keep_their_bounds() {
        let mut rng = Rng::new(1, 2);
        for _ in 0..1000 {
            assert!((-3..=4).contains(&rng.range(-3, 4)));
            assert_eq!(rng.weighted(&[(0, 'a'), (5, 'b')]), 'b');
            assert_eq!(rng.digits(10).len(), 10);
            assert_eq!(rng.id().len(), 36);
        }
    }
}
