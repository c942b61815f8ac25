//! New incarnations: one name must never tell two stories.
//!
//! A copy that was restored, cloned or moved may have written more under its name than it now
//! knows of. It writes on under a new one; what it lost comes back at the next exchange.

use crate::error::Result;
use crate::ids::ReplicaId;
use crate::planted::{Bug, planted};
use crate::time::Timestamp;
use crate::vault::Vault;
use crate::vault::core::{Meta, Work, pack_row, unpack_row};
use crate::vault::epoch::Epoch;
use crate::vault::open::set_meta;
use crate::vault::rows::{self, Rows};
use serde::{Deserialize, Serialize};

/// Why a vault took a new incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// The host said that it was restored or copied.
    Asked,
    /// Its file was older than the one that had been on this machine.
    RolledBack,
    /// Another copy of it had been written to.
    Cloned,
    /// This machine remembered nothing of it.
    AnchorMissing,
    /// What remembers it refused.
    AnchorRefused,
    /// An exchange found more under its name than it knew of.
    Exchange,
}

/// The last new incarnation: row `M` `incarnation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incarnation {
    /// Why.
    pub why: Why,
    /// When, by this machine's clock, in milliseconds since 1970.
    pub at_ms: i64,
    /// Commits that were known to be missing then.
    pub missing: u64,
    /// When the file that was here before was last written, as far as an anchor knew; else zero.
    pub last: Timestamp,
}

/// Most former names that are kept.
pub(crate) const FORMER_MAX: usize = 64;

fn key() -> Vec<u8> {
    rows::meta("incarnation")
}

fn former_key() -> Vec<u8> {
    rows::meta("former")
}

/// The names that this vault bore before, oldest first.
pub(crate) fn former(rows: &dyn Rows) -> Result<Vec<ReplicaId>> {
    let row = rows.get(&former_key())?;
    Ok(row
        .map(|row| unpack_row(&row))
        .transpose()?
        .unwrap_or_default())
}

/// The last new incarnation, if there was one.
pub(crate) fn load(rows: &dyn Rows) -> Result<Option<Incarnation>> {
    rows.get(&key())?.map(|row| unpack_row(&row)).transpose()
}

/// Takes a new incarnation and a new epoch, in whatever is being written.
pub(crate) fn renew(work: &mut Work, why: Why) -> Result<()> {
    renew_after(work, why, (0, Timestamp(0)))
}

/// As [`renew`], after commits went missing, the last ones at that time.
pub(crate) fn renew_after(
    work: &mut Work,
    why: Why,
    (missing, last): (u64, Timestamp),
) -> Result<()> {
    if planted(Bug::ReusedActor) {
        return Ok(());
    }
    let mut names = former(work)?;
    names.push(work.core.meta.replica);
    let old = names.len().saturating_sub(FORMER_MAX);
    names.drain(..old);
    work.txn.put(former_key(), pack_row(&names));
    let replica = ReplicaId(work.env.bytes());
    let meta = Meta {
        replica,
        ..(*work.core.meta).clone()
    };
    set_meta(work, meta);
    work.core.epoch = Epoch {
        anchored: work.core.epoch.anchored,
        ..Epoch::first(&*work.env)
    };
    let at_ms = work.env.now_ms();
    let row = Incarnation {
        why,
        at_ms,
        missing,
        last,
    };
    work.txn.put(key(), pack_row(&row));
    Ok(())
}

impl Vault {
    /// Takes a new incarnation: for a host that knows that it restored or copied the vault.
    ///
    /// # Errors
    /// [`crate::error::Error::Storage`] if it cannot be written.
    pub fn incarnate(&mut self) -> Result<ReplicaId> {
        self.work(|work, _| renew(work, Why::Asked))?;
        Ok(self.replica())
    }
}
