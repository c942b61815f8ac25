//! What peers said they have.

use crate::error::{Error, Result};
use crate::ids::{ChainId, DeviceKey};
use crate::vault::core::{Core, pack_row, unpack_row};
use crate::vault::rows::{Row, Rows, kind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A peer's newest mark, row `T` + device.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Marks {
    /// Rises with each mark the peer gives: one that falls comes from an old backup.
    pub(crate) counter: u64,
    /// The peer's clock.
    pub(crate) hlc: i64,
    /// How far it holds each chain without a gap.
    pub(crate) held: BTreeMap<ChainId, u64>,
}

impl Marks {
    pub(crate) fn row(&self, device: &DeviceKey) -> Row {
        ([&[kind::MARKS][..], &device.0].concat(), pack_row(self))
    }

    /// The newest mark of every peer.
    pub(crate) fn load_all(rows: &dyn Rows) -> Result<BTreeMap<DeviceKey, Self>> {
        let mut all = BTreeMap::new();
        for (key, row) in rows.all(&[kind::MARKS])? {
            let device = DeviceKey::from_slice(key.get(1..).unwrap_or_default())
                .map_err(|_| Error::integrity("a mark has no device"))?;
            all.insert(device, unpack_row(&row)?);
        }
        Ok(all)
    }
}

/// How many commits no peer's mark covers yet.
pub(crate) fn outbox(rows: &dyn Rows, core: &Core) -> Result<u64> {
    let peers = Marks::load_all(rows)?;
    let covered = |id: &ChainId| {
        let others = peers
            .iter()
            .filter(|(device, _)| **device != core.meta.device);
        others
            .filter_map(|(_, marks)| marks.held.get(id))
            .max()
            .copied()
            .unwrap_or(0)
    };
    Ok(core
        .chains
        .iter()
        .map(|c| c.seq.saturating_sub(covered(&c.id)))
        .sum())
}
