//! What tells a vault's file from an older copy of it: an epoch, and a count of its writes.

use crate::env::Env;
use crate::error::{Error, Result};
use crate::store::WriteTxn;
use crate::vault::core::{pack_row, unpack_row};
use crate::vault::rows::{self, Rows};
use serde::{Deserialize, Serialize};

/// Row `M` `epoch`. Files of one epoch are one copy at different times: the one with the higher
/// count is the later. A copy that goes its own way takes another epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Epoch {
    /// Random.
    pub(crate) id: [u8; 16],
    /// Durable writes since the epoch began.
    pub(crate) count: u64,
    /// Whether an anchor outside the file ever knew this vault.
    pub(crate) anchored: bool,
}

impl Epoch {
    /// The epoch of a vault that no anchor knows yet.
    pub(crate) fn first(env: &dyn Env) -> Self {
        Self {
            id: env.bytes(),
            count: 0,
            anchored: false,
        }
    }

    fn key() -> Vec<u8> {
        rows::meta("epoch")
    }

    pub(crate) fn load(rows: &dyn Rows) -> Result<Self> {
        let row = rows.get(&Self::key())?;
        unpack_row(&row.ok_or(Error::integrity_at("the vault lacks a setting", "epoch"))?)
    }

    pub(crate) fn put(self, txn: &mut WriteTxn) {
        txn.put(Self::key(), pack_row(&self));
    }
}
