//! Where the chains of revoked keys end, as far as they still count.

use crate::ids::{ChainId, CommitId, ReplicaId};
use crate::ledger::forks::{Branches, Forks, Lineage};
use crate::ledger::revocation::{Cut, Revocation};
use crate::planted::{Bug, planted};
use std::collections::BTreeMap;

/// Of every revoked key, what each revocation leaves: the strictest reading counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cuts(BTreeMap<[u8; 32], Vec<BTreeMap<ReplicaId, Vec<End>>>>);

/// The end of a chain that still counts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct End {
    seq: u64,
    /// Where the chain forked and the commit is here: what it descends from. Else the place decides.
    line: Option<Line>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    lineage: Lineage,
    /// A last commit that is known by the one before it.
    after: Option<CommitId>,
}

/// A commit as cuts judge it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judged<'a> {
    pub(crate) chain: &'a ChainId,
    pub(crate) seq: u64,
    /// Zeros: not known, so the place decides.
    pub(crate) commit: &'a CommitId,
}

impl Cuts {
    /// What these revocations leave.
    pub(crate) fn of<'a>(revocations: impl Iterator<Item = &'a Revocation>, forks: &Forks) -> Self {
        let mut cuts = Self::default();
        for terms in revocations.map(Revocation::terms) {
            let end = |replica: &ReplicaId, cut: &Cut| {
                let author = crate::ids::AuthorKey(terms.subject);
                let chain = ChainId {
                    author,
                    replica: *replica,
                };
                End {
                    seq: cut.seq,
                    line: forks.get(&chain).and_then(|branches| line(branches, cut)),
                }
            };
            let ends = terms
                .cuts
                .iter()
                .map(|(replica, cuts)| (*replica, cuts.iter().map(|c| end(replica, c)).collect()));
            cuts.0
                .entry(terms.subject)
                .or_default()
                .push(ends.collect());
        }
        cuts
    }

    /// Whether a key is revoked.
    pub(crate) fn has(&self, key: &[u8; 32]) -> bool {
        self.0.contains_key(key)
    }

    /// Whether a commit still counts.
    pub(crate) fn allow(&self, commit: Judged<'_>, forks: &Forks) -> bool {
        let Some(revocations) = self.0.get(&commit.chain.author.0) else {
            return true;
        };
        if planted(Bug::LateRevocation) {
            return false;
        }
        let branches = forks.get(commit.chain);
        revocations.iter().all(|ends| {
            let ends = ends.get(&commit.chain.replica);
            let mut ends = ends.into_iter().flatten();
            ends.any(|end| end.allows(commit, branches))
        })
    }

    /// The last place of a chain that can count; `None`: it was not cut.
    pub(crate) fn last(&self, chain: &ChainId) -> Option<u64> {
        let last = |ends: &BTreeMap<ReplicaId, Vec<End>>| {
            let ends = ends.get(&chain.replica).into_iter().flatten();
            ends.map(|end| end.seq).max().unwrap_or(0)
        };
        let revocations = self.0.get(&chain.author.0)?;
        if planted(Bug::LateRevocation) {
            return Some(0);
        }
        revocations.iter().map(last).min()
    }
}

fn line(branches: &Branches, cut: &Cut) -> Option<Line> {
    let node = branches.get(&cut.commit)?;
    let before = node.seq.saturating_add(1) == cut.seq;
    (before || node.seq == cut.seq).then(|| Line {
        lineage: branches.lineage(&cut.commit),
        after: before.then_some(cut.commit),
    })
}

impl End {
    fn allows(&self, commit: Judged<'_>, branches: Option<&Branches>) -> bool {
        if commit.seq > self.seq {
            return false;
        }
        let Some(line) = self.line.as_ref().filter(|_| commit.commit.0 != [0; 32]) else {
            return true;
        };
        let follows = || {
            let node = branches.and_then(|b| b.get(commit.commit));
            commit.seq == self.seq && node.map(|n| n.previous) == line.after && line.after.is_some()
        };
        line.lineage.has(commit.seq, commit.commit) || follows()
    }
}
