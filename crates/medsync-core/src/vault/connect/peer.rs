//! What sessions know of a peer: its key, whether it has ours, how far its log is here.

use crate::error::{Error, Result};
use crate::ids::DeviceKey;
use crate::sync::credential::Credential;
use crate::sync::effect::{Cursor, Effect};
use crate::vault::Vault;
use crate::vault::core::{Work, pack_row, unpack_row};
use crate::vault::rows::{Rows, kind};
use serde::{Deserialize, Serialize};

/// Most ranges beyond a cursor that are kept; what lies beyond them may come again.
const BEYOND_MAX: usize = 4096;

/// Row `Y` + device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PeerRow {
    /// Zeros until it was met.
    pub(super) static_key: [u8; 32],
    credential: Vec<u8>,
    /// Whether it has this device's credential.
    pub(super) is_mutual: bool,
    epoch: [u8; 8],
    upto: u64,
    beyond: Vec<(u64, u64)>,
    /// When both last held the same, by this vault's clock.
    in_sync: i64,
}

/// A peer, as far as sessions know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerInfo {
    /// Its device.
    pub device: DeviceKey,
    /// When both last held the same, in milliseconds since 1970; `None`: never.
    pub in_sync_ms: Option<i64>,
}

impl PeerRow {
    fn key(device: &DeviceKey) -> Vec<u8> {
        [&[kind::PEER][..], &device.0].concat()
    }

    pub(super) fn load(rows: &dyn Rows, device: &DeviceKey) -> Result<Option<Self>> {
        let row = rows.get(&Self::key(device))?;
        row.map(|row| unpack_row(&row)).transpose()
    }

    pub(super) fn load_all(rows: &dyn Rows) -> Result<Vec<(DeviceKey, Self)>> {
        let mut all = Vec::new();
        for (key, row) in rows.all(&[kind::PEER])? {
            let device = DeviceKey::from_slice(key.get(1..).unwrap_or_default())
                .map_err(|_| Error::integrity("a peer's row has no device"))?;
            all.push((device, unpack_row(&row)?));
        }
        Ok(all)
    }

    pub(super) fn cursor(&self) -> Option<Cursor> {
        let known = self.upto > 0 || !self.beyond.is_empty();
        known.then(|| Cursor {
            epoch: self.epoch,
            upto: self.upto,
            beyond: self.beyond.clone(),
        })
    }

    fn set_cursor(&mut self, mut cursor: Cursor) {
        cursor.beyond.truncate(BEYOND_MAX);
        (self.epoch, self.upto, self.beyond) = (cursor.epoch, cursor.upto, cursor.beyond);
    }

    /// Changes how far the log of an epoch is here; what was known of another epoch is void.
    fn advance(&mut self, epoch: [u8; 8], change: impl FnOnce(&mut Cursor)) {
        let mut cursor = self.cursor().filter(|cursor| cursor.epoch == epoch);
        let cursor = cursor.get_or_insert_with(|| Cursor {
            epoch,
            ..Cursor::default()
        });
        change(cursor);
        self.set_cursor(cursor.clone());
    }
}

fn change(
    work: &mut Work,
    device: &DeviceKey,
    change: impl FnOnce(&mut PeerRow) -> Result<()>,
) -> Result<()> {
    let mut row = PeerRow::load(work, device)?.unwrap_or_default();
    change(&mut row)?;
    work.txn.put(PeerRow::key(device), pack_row(&row));
    Ok(())
}

/// A batch at this position of the peer's log is here whole.
pub(super) fn got(
    work: &mut Work,
    device: &DeviceKey,
    epoch: [u8; 8],
    position: u64,
) -> Result<()> {
    change(work, device, |row| {
        row.advance(epoch, |cursor| cursor.insert(position));
        Ok(())
    })
}

/// Notes what a session found out about a peer.
pub(super) fn note(vault: &mut Vault, effect: Effect) -> Result<()> {
    vault.work(|work, _| {
        let now = work.env.now_ms();
        match effect {
            Effect::Reached {
                peer,
                epoch,
                position,
            } => change(work, &peer, |row| {
                row.advance(epoch, |cursor| cursor.reach(position));
                Ok(())
            }),
            Effect::Forget { peer } => change(work, &peer, |row| {
                row.set_cursor(Cursor::default());
                Ok(())
            }),
            Effect::Met { peer, credential } => change(work, &peer, |row| {
                match credential {
                    Some(bytes) => {
                        row.static_key = *Credential::parse(&bytes)?.static_key();
                        row.credential = bytes;
                    }
                    None => (row.is_mutual, row.in_sync) = (true, now),
                }
                Ok(())
            }),
            _ => Ok(()),
        }
    })
}

impl Vault {
    /// The peers that sessions have met.
    ///
    /// # Errors
    /// [`Error::Storage`] if the disk fails.
    pub fn peers(&self) -> Result<Vec<PeerInfo>> {
        let rows = PeerRow::load_all(&self.store.read()?)?;
        let info = |(device, row): (DeviceKey, PeerRow)| PeerInfo {
            device,
            in_sync_ms: (row.in_sync > 0).then_some(row.in_sync),
        };
        Ok(rows.into_iter().map(info).collect())
    }
}
