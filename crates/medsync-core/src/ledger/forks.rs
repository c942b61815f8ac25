//! Chains that forked: which of their commits follows which.
//!
//! A place of such a chain has several commits, so a place names none of them. What a commit
//! descends from is read off the links, as far as the commits are here.

use crate::ids::{ChainId, CommitId};
use std::collections::{BTreeMap, BTreeSet};

/// The chains that forked, as far as that is known here. Others cost nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forks(BTreeMap<ChainId, Branches>);

/// A commit of a chain that forked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// Its place.
    pub seq: u64,
    /// The commit before it.
    pub previous: CommitId,
    /// The number under which it is kept.
    pub number: u32,
}

/// The commits of a chain that forked. Those at places before `trunk` are not listed: all of them
/// are kept under the chain's first number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branches {
    trunk: u64,
    nodes: BTreeMap<CommitId, Node>,
    /// Commits that others follow and that were not here when those came, with their number.
    awaited: BTreeMap<CommitId, u32>,
}

/// A commit and all that it descends from, as far as the links are here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lineage {
    ids: BTreeSet<CommitId>,
    /// All places up to this one, where they are not listed, belong to it.
    trunk: u64,
}

impl Forks {
    /// A chain's commits; `None`: it did not fork.
    pub fn get(&self, chain: &ChainId) -> Option<&Branches> {
        self.0.get(chain)
    }

    /// Whether a chain forked.
    pub fn has(&self, chain: &ChainId) -> bool {
        self.0.contains_key(chain)
    }

    /// Whether no chain forked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The chains that forked.
    pub fn chains(&self) -> impl Iterator<Item = &ChainId> {
        self.0.keys()
    }

    /// Notes that a chain forked, with nothing listed yet.
    pub fn open(&mut self, chain: ChainId) -> &mut Branches {
        self.0.entry(chain).or_insert_with(|| Branches {
            trunk: u64::MAX,
            nodes: BTreeMap::new(),
            awaited: BTreeMap::new(),
        })
    }
}

impl Branches {
    /// From this place on commits are listed.
    pub const fn trunk(&self) -> u64 {
        self.trunk
    }

    /// Says from which place on commits are listed.
    pub fn set_trunk(&mut self, trunk: u64) {
        self.trunk = trunk;
    }

    /// A commit, if it is listed.
    pub fn get(&self, id: &CommitId) -> Option<&Node> {
        self.nodes.get(id)
    }

    /// The number of a commit that follows this one.
    pub fn awaits(&self, id: &CommitId) -> Option<u32> {
        self.awaited.get(id).copied()
    }

    /// Lists a commit.
    pub fn insert(&mut self, id: CommitId, node: Node) {
        if !self.nodes.contains_key(&node.previous) {
            self.awaited.insert(node.previous, node.number);
        }
        self.nodes.insert(id, node);
    }

    /// Every listed commit.
    pub fn nodes(&self) -> impl Iterator<Item = (&CommitId, &Node)> {
        self.nodes.iter()
    }

    /// The listed commits that no other follows.
    pub fn ends(&self) -> impl Iterator<Item = (&CommitId, &Node)> {
        let followed: BTreeSet<&CommitId> = self.nodes.values().map(|n| &n.previous).collect();
        let end = move |(id, _): &(&CommitId, &Node)| !followed.contains(id);
        self.nodes.iter().filter(end)
    }

    /// The listed commits from this one down, itself first, and whether the last is where the
    /// trunk begins, or the first of its chain.
    pub fn down(&self, id: &CommitId) -> (Vec<(CommitId, Node)>, bool) {
        let mut line = Vec::new();
        let mut next = *id;
        while let Some(node) = self.nodes.get(&next) {
            line.push((next, *node));
            if node.seq <= self.trunk.max(1) {
                return (line, true);
            }
            next = node.previous;
        }
        (line, false)
    }

    /// A listed commit's lineage.
    pub fn lineage(&self, id: &CommitId) -> Lineage {
        let (line, whole) = self.down(id);
        Lineage {
            ids: line.into_iter().map(|(id, _)| id).collect(),
            trunk: if whole {
                self.trunk.saturating_sub(1)
            } else {
                0
            },
        }
    }
}

impl Lineage {
    /// All commits up to a place of the trunk.
    pub const fn up_to(seq: u64) -> Self {
        Self {
            ids: BTreeSet::new(),
            trunk: seq,
        }
    }

    /// Adds another.
    pub fn join(&mut self, other: Self) {
        self.ids.extend(other.ids);
        self.trunk = self.trunk.max(other.trunk);
    }

    /// Whether a commit belongs to it. Of the trunk the place says it.
    pub fn has(&self, seq: u64, id: &CommitId) -> bool {
        seq <= self.trunk || self.ids.contains(id)
    }
}
