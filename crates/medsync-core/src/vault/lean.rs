//! Commits of this vault in the lean form, and back: what a session sends of them.

#![cfg_attr(
    not(test),
    expect(dead_code, reason = "sessions come to send commits so")
)]

pub(crate) mod known;
#[cfg(test)]
mod tests;

use crate::doc;
use crate::doc::lean::{Change, Commit, Key, Leaf, Run};
use crate::error::{Error, Result};
use crate::ids::{CommitId, DataKeyId, WorkspaceId};
use crate::ledger::batch::{BatchHeader, SignedHeader};
use crate::ledger::commit::{CommitHeader, Header, Intent, Tip, lane_code, lane_from_code};
use crate::ledger::entry::{ChangeEntry, Entry, ImportMark};
use crate::ledger::merkle;
use crate::vault::commit_row::{CommitRow, LeafRow};
use std::collections::HashSet;
use zeroize::Zeroizing;

/// A data key by its name.
pub(crate) type FindKey<'a> = &'a dyn Fn(&DataKeyId) -> Result<[u8; 32]>;

/// Stored commits as a run. `granted` has the keys that the receiver has; those that go along are
/// added. `previous` is the commit before them, where the receiver may lack it.
///
/// # Errors
/// [`Error::Integrity`] for a damaged row, [`Error::Invalid`] where there is no commit.
pub(crate) fn run(
    commits: &[CommitRow],
    signature: Option<[u8; 64]>,
    previous: Option<CommitId>,
    granted: &mut HashSet<DataKeyId>,
    key: FindKey<'_>,
) -> Result<Run> {
    let first = commits
        .first()
        .ok_or(Error::invalid("a run has a commit"))?;
    let first = *first.header()?.fields();
    let mut out = Vec::with_capacity(commits.len());
    for row in commits {
        let header = row.header()?;
        let fields = header.fields();
        let leaves = row.leaves.iter().map(|leaf| lean(leaf, granted, key));
        out.push(Commit {
            hlc: fields.hlc,
            lane: lane_code(fields.lane),
            intent: fields.intent.code(),
            leaves: leaves.collect::<Result<_>>()?,
        });
    }
    Ok(Run {
        chain: first.chain,
        first: first.seq,
        previous,
        signature,
        commits: out,
    })
}

fn lean(leaf: &LeafRow, granted: &mut HashSet<DataKeyId>, find: FindKey<'_>) -> Result<Leaf> {
    let (id, bytes, change) = match leaf {
        LeafRow::Withheld(hash) => return Ok(Leaf::Withheld(*hash)),
        LeafRow::Item(bytes) => return Ok(Leaf::Item(bytes.clone())),
        LeafRow::Sealed {
            key,
            leaf,
            nonce,
            body,
        } => {
            return Ok(Leaf::Sealed {
                key: *key,
                leaf: *leaf,
                nonce: *nonce,
                body: body.clone(),
            });
        }
        LeafRow::Change { key, entry, change } => (*key, entry, change),
    };
    let grant = match granted.insert(id) {
        true => Some(Zeroizing::new(find(&id)?)),
        false => None,
    };
    let key = Key { id, grant };
    Ok(match Entry::parse(bytes)? {
        Entry::Change(entry) if doc::change_id(change) == Some(entry.change) => {
            Leaf::Change(Box::new(Change {
                key,
                record: entry.record,
                patient: entry.patient,
                seen: entry.seen,
                because: entry.because,
                source: entry.source.map(|mark| (mark.source, mark.digest)),
                change: change.clone(),
            }))
        }
        _ => Leaf::Other {
            key,
            entry: bytes.clone(),
            change: change.clone(),
        },
    })
}

/// A run's commits as they are stored: headers follow from the commit before and the data keys.
///
/// # Errors
/// What `key` returns for a key that is not here, [`Error::Integrity`] for what no author signs.
pub(crate) fn rows(run: &Run, before: CommitId, key: FindKey<'_>) -> Result<Vec<CommitRow>> {
    const BAD: Error = Error::integrity("a run has an impossible commit");
    let mut previous = match run.first {
        0 | 1 => Tip::START.id,
        _ => run.previous.unwrap_or(before),
    };
    let mut out = Vec::with_capacity(run.commits.len());
    for (seq, commit) in (run.first..).zip(&run.commits) {
        let leaves = commit.leaves.iter().map(stored);
        let leaves = leaves.collect::<Result<Vec<_>>>()?;
        let fields = CommitHeader {
            chain: run.chain,
            seq,
            previous,
            hlc: commit.hlc,
            lane: lane_from_code(commit.lane).ok_or(BAD)?,
            intent: Intent::from_code(commit.intent),
            count: u32::try_from(leaves.len()).map_err(|_| BAD)?,
            root: merkle::root(&[]),
        };
        // The salts depend on the place alone.
        let place = Header::of(fields)?;
        let hashes = leaves.iter().enumerate();
        let hashes = hashes.map(|(index, leaf)| leaf.hash(&place, index, key));
        let root = merkle::root(&hashes.collect::<Result<Vec<_>>>()?);
        let header = Header::of(CommitHeader { root, ..fields })?;
        previous = header.id();
        out.push(CommitRow {
            header: header.bytes().to_vec(),
            leaves,
        });
    }
    Ok(out)
}

fn stored(leaf: &Leaf) -> Result<LeafRow> {
    Ok(match leaf {
        Leaf::Withheld(hash) => LeafRow::Withheld(*hash),
        Leaf::Item(bytes) => LeafRow::Item(bytes.clone()),
        Leaf::Sealed {
            key,
            leaf,
            nonce,
            body,
        } => LeafRow::Sealed {
            key: *key,
            leaf: *leaf,
            nonce: *nonce,
            body: body.clone(),
        },
        Leaf::Other { key, entry, change } => LeafRow::Change {
            key: key.id,
            entry: entry.clone(),
            change: change.clone(),
        },
        Leaf::Change(change) => {
            let id = doc::change_id(&change.change);
            let source = change.source.clone();
            let entry = ChangeEntry {
                record: change.record.clone(),
                patient: change.patient.clone(),
                seen: change.seen.clone(),
                change: id.ok_or(Error::integrity("a change is cut off"))?,
                because: change.because.clone(),
                source: source.map(|(source, digest)| ImportMark { source, digest }),
            };
            LeafRow::Change {
                key: change.key.id,
                entry: Entry::Change(entry).to_bytes()?,
                change: change.change.clone(),
            }
        }
    })
}

/// The header of the batch that these commits are, all of them.
///
/// # Errors
/// [`Error::Invalid`] where there is no commit.
pub(crate) fn batch(
    workspace: WorkspaceId,
    commits: &[CommitRow],
    signature: [u8; 64],
) -> Result<SignedHeader> {
    const NONE: Error = Error::invalid("a batch has a commit");
    let first = commits.first().ok_or(NONE)?.header()?;
    let last = commits.last().ok_or(NONE)?.header()?;
    let header = BatchHeader {
        workspace,
        chain: last.fields().chain,
        first: first.fields().seq,
        last: last.fields().seq,
        last_id: last.id(),
    };
    Ok(header.signed(signature))
}
