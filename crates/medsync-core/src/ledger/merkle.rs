//! The tree over a commit's leaves: shaped as in RFC 9162, hashed with BLAKE3.

use std::sync::LazyLock;

/// A hash in the tree.
pub type Hash = [u8; 32];

// Hashing the context costs as much as hashing a node: once is enough.
static NODE: LazyLock<blake3::Hasher> =
    LazyLock::new(|| blake3::Hasher::new_derive_key("medsync v1 node"));

fn node(left: &Hash, right: &Hash) -> Hash {
    let mut hasher = NODE.clone();
    hasher.update(left).update(right);
    *hasher.finalize().as_bytes()
}

/// Where a list of `n > 1` is cut: the largest power of two below `n`.
const fn split(n: usize) -> usize {
    1 << (n - 1).ilog2()
}

/// The root over the leaves. One leaf is its own root; no leaves have the hash of nothing.
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => *NODE.finalize().as_bytes(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node(&root(left), &root(right))
        }
    }
}

/// The proof that the leaf at `index` is in the tree: sibling hashes, nearest first.
/// `None` when there is no such leaf.
pub fn prove(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    if index >= leaves.len() {
        return None;
    }
    let mut rest = leaves;
    let mut at = index;
    let mut proof = Vec::new();
    while rest.len() > 1 {
        let (left, right) = rest.split_at(split(rest.len()));
        if at < left.len() {
            proof.push(root(right));
            rest = left;
        } else {
            proof.push(root(left));
            at -= left.len();
            rest = right;
        }
    }
    proof.reverse();
    Some(proof)
}

/// Whether `leaf` stands at `index` of the `count` leaves under `root`.
pub fn verify(root: &Hash, count: usize, index: usize, leaf: &Hash, proof: &[Hash]) -> bool {
    if index >= count {
        return false;
    }
    // The way down from the root, as "the sibling is on the left".
    let mut way = Vec::new();
    let (mut n, mut at) = (count, index);
    while n > 1 {
        let cut = split(n);
        let right = at >= cut;
        way.push(right);
        (n, at) = if right {
            (n - cut, at - cut)
        } else {
            (cut, at)
        };
    }
    if way.len() != proof.len() {
        return false;
    }
    let top = way
        .iter()
        .rev()
        .zip(proof)
        .fold(*leaf, |hash, (right, sibling)| {
            if *right {
                node(sibling, &hash)
            } else {
                node(&hash, sibling)
            }
        });
    top == *root
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn leaves(n: usize) -> Vec<Hash> {
        (0..n as u64)
            .map(|i| *blake3::hash(&i.to_be_bytes()).as_bytes())
            .collect()
    }

    #[test]
    fn the_shape_is_that_of_rfc_9162() {
        let l = leaves(7);
        let pair = |a: usize, b: usize| node(&l[a], &l[b]);
        let left = node(&pair(0, 1), &pair(2, 3));
        let right = node(&pair(4, 5), &l[6]);
        assert_eq!(root(&l), node(&left, &right));
        assert_eq!(prove(&l, 6), Some(vec![pair(4, 5), left]));
    }

    #[test]
    fn the_root_never_changes() {
        // Signed commits hold such roots: this value is for ever.
        assert_eq!(
            crate::ids::hex(&root(&leaves(3))),
            "9f414e43e14ce7c350a9d679f9fbffde40484291d375bb58a62d6be6de0ad21c"
        );
    }

    proptest! {
        #[test]
        fn every_leaf_is_proved_at_its_own_place_only(n in 1usize..70, at in 0usize..70, other in 0usize..70) {
            let (at, other) = (at % n, other % n);
            let l = leaves(n);
            let top = root(&l);
            let proof = prove(&l, at).unwrap();
            prop_assert!(verify(&top, n, at, &l[at], &proof));
            prop_assert_eq!(verify(&top, n, other, &l[at], &proof), at == other);
            prop_assert!(!verify(&top, n, n, &l[at], &proof));
            prop_assert!(prove(&l, n).is_none());
        }

        #[test]
        fn a_changed_leaf_or_proof_is_refused(n in 2usize..70, at in 0usize..70, bit in 0usize..256, step in 0usize..8) {
            let at = at % n;
            let l = leaves(n);
            let top = root(&l);
            let mut proof = prove(&l, at).unwrap();
            let mut leaf = l[at];
            leaf[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!verify(&top, n, at, &leaf, &proof));
            let step = step % proof.len();
            proof[step][bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!verify(&top, n, at, &l[at], &proof));
            proof.truncate(step);
            prop_assert!(!verify(&top, n, at, &l[at], &proof));
        }

        #[test]
        fn another_list_has_another_root(n in 1usize..40, m in 1usize..40) {
            prop_assert_eq!(root(&leaves(n)) == root(&leaves(m)), n == m);
        }
    }
}
