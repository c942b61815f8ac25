//! The ledger's behaviour, over small chains built here.

mod audit;
mod batch;
mod certificate;
mod commit;
mod enrol;
mod equivocation;
mod membership;
mod receipt;
mod wire;

use crate::crypto::sign::SigningKey;
use crate::env::Env;
use crate::ids::{AuthorKey, ChainId, ChangeId, ReplicaId, WorkspaceId};
use crate::ledger::certificate::{authority_key, workspace_id};
use crate::ledger::commit::{Commit, CommitBuilder, Header, Intent, Tip};
use crate::ledger::entry::{ChangeEntry, ImportMark, ItemKind};
use crate::model::pack::Lane;
use crate::time::Timestamp;

/// Bytes that are not random: tests give the same bytes each time.
pub(super) struct FixedEnv(pub(super) u8);

impl Env for FixedEnv {
    fn now_ms(&self) -> i64 {
        1_700_000_000_000
    }

    fn fill(&self, buf: &mut [u8]) {
        buf.fill(self.0);
    }
}

pub(super) const DATA_KEY: [u8; 32] = [0xda; 32];
pub(super) const CANARY: &str = "canary-7f3a";

pub(super) fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

pub(super) fn chain(author: u8, replica: u8) -> ChainId {
    ChainId {
        author: AuthorKey(key(author).public()),
        replica: ReplicaId([replica; 16]),
    }
}

pub(super) fn authority() -> SigningKey {
    authority_key(&[0xa0; 32])
}

pub(super) fn workspace() -> WorkspaceId {
    workspace_id(&authority().public())
}

pub(super) fn at(ms: i64) -> Timestamp {
    Timestamp::new(ms, 0)
}

pub(super) fn change(n: u8) -> ChangeEntry {
    ChangeEntry {
        record: format!("Observation/{CANARY}-{n}").parse().unwrap(),
        patient: Some(format!("Patient/{CANARY}").parse().unwrap()),
        seen: Some(vec![ChangeId([n; 32]), ChangeId([0xff; 32])]),
        change: ChangeId([n.wrapping_add(1); 32]),
        because: Some(CANARY.to_owned()),
        source: Some(ImportMark {
            source: CANARY.to_owned(),
            digest: [n; 16],
        }),
    }
}

/// A commit of two changes and an item.
pub(super) fn commit(chain: ChainId, tip: Tip, mark: u8) -> Commit {
    let hlc = Timestamp(tip.hlc.0 + 1);
    let mut builder = CommitBuilder::new(chain, tip, hlc, Lane::P1, Intent::Edit).unwrap();
    builder.change(&change(mark), &DATA_KEY).unwrap();
    builder
        .change(&change(mark.wrapping_add(1)), &DATA_KEY)
        .unwrap();
    builder.item(ItemKind::PACK, b"pack").unwrap();
    builder.build().unwrap()
}

/// `n` commits after `tip`.
pub(super) fn commits(chain: ChainId, mut tip: Tip, n: usize, mark: u8) -> Vec<Commit> {
    (0..n)
        .map(|_| {
            let next = commit(chain, tip, mark);
            tip = next.header.tip();
            next
        })
        .collect()
}

pub(super) fn headers(commits: &[Commit]) -> Vec<Header> {
    commits.iter().map(|c| c.header.clone()).collect()
}
