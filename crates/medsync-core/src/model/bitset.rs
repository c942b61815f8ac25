//! A set of small numbers that grows with its greatest.

/// Numbers, one bit each. Equal sets are equal values: no word at the end is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct BitSet(Vec<u64>);

impl BitSet {
    /// Adds a number.
    pub(crate) fn insert(&mut self, i: usize) {
        let word = i / 64;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        if let Some(word) = self.0.get_mut(word) {
            *word |= 1 << (i % 64);
        }
    }

    /// Whether a number is in the set.
    pub(crate) fn has(&self, i: usize) -> bool {
        let word = self.0.get(i / 64);
        word.is_some_and(|word| word & (1 << (i % 64)) != 0)
    }

    /// Adds all of another set.
    pub(crate) fn join(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a |= b);
    }

    /// Whether the two have a number in common.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }

    /// Whether it has no numbers.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The numbers, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        let bits = |(at, word): (usize, &u64)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros();
                left &= left.checked_sub(1)?;
                usize::try_from(bit).ok().map(|bit| at * 64 + bit)
            })
        };
        self.0.iter().enumerate().flat_map(bits)
    }

    /// The words that it is kept in.
    pub(crate) fn words(&self) -> usize {
        self.0.len()
    }
}

impl FromIterator<usize> for BitSet {
    fn from_iter<T: IntoIterator<Item = usize>>(numbers: T) -> Self {
        let mut set = Self::default();
        numbers.into_iter().for_each(|i| set.insert(i));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_set_of_its_numbers(a in btree_set(0..300_usize, 0..40), b in btree_set(0..300_usize, 0..40)) {
            let [x, y] = [&a, &b].map(|set| set.iter().copied().collect::<BitSet>());
            prop_assert!(x.iter().eq(a.iter().copied()));
            prop_assert!((0..320).all(|i| x.has(i) == a.contains(&i)));
            prop_assert_eq!(x.meets(&y), !a.is_disjoint(&b));
            prop_assert_eq!(x == y, a == b);
            prop_assert_eq!(x.is_empty(), a.is_empty());
            let mut joined = x.clone();
            joined.join(&y);
            prop_assert!(joined.iter().eq(a.union(&b).copied()));
        }
    }
}
