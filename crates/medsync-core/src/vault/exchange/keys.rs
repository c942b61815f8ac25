//! Data keys travel in files apart from the batches, signed by the device that wrote them: a
//! stranger must not be able to put a wrong key in the place of one that is still on its way.

use crate::crypto::key::Secret;
use crate::crypto::sign::{self, SigningKey};
use crate::error::{Error, Result};
use crate::ids::{DataKeyId, DeviceKey, RECORD_ID_MAX, RecordId, WorkspaceId};
use crate::ledger::cbor::{Reader, encode};
use crate::ledger::wire::{WireLeaf, open_leaf};
use crate::vault::commit_row::LeafRow;
use crate::vault::core::{DataKey, load_commit, load_data_key};
use crate::vault::exchange::manifest::{FORMAT, LABEL, read_label};
use crate::vault::rows::{self, Rows, kind};
use std::sync::Arc;
use zeroize::Zeroizing;

pub(super) const CONTEXT: &str = "medsync v1 exchange keys";
const WHAT: &str = "a file of data keys is malformed";
/// Longest file of keys, in bytes.
pub(super) const KEYS_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most keys of one file: with the longest names still below the limit.
pub(super) const KEYS_MAX: usize = 40_000;

/// The keys of one file and who wrote it.
#[derive(Debug)]
pub(super) struct KeyFile {
    pub(super) workspace: WorkspaceId,
    pub(super) device: DeviceKey,
    pub(super) keys: Vec<DataKey>,
}

impl KeyFile {
    /// The file's bytes, signed by the device. They are to be sealed: they hold keys.
    pub(super) fn sign(&self, key: &SigningKey) -> Zeroizing<Vec<u8>> {
        let body = self.body();
        let signature = key.sign(CONTEXT, &body);
        Zeroizing::new(encode(|e| {
            e.array(2)?.bytes(&body)?.bytes(&signature)?.ok()
        }))
    }

    pub(super) fn body(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(encode(|e| {
            e.array(5)?.str(LABEL)?.u32(FORMAT)?;
            e.encode(self.workspace)?.encode(self.device)?;
            e.array(self.keys.len() as u64)?;
            for key in &self.keys {
                e.array(3)?
                    .encode(key.id)?
                    .bytes(key.key.expose())?
                    .encode(&key.patient)?;
            }
            Ok(())
        }))
    }

    /// Reads a file that the device it names signed.
    ///
    /// # Errors
    /// [`Error::Integrity`] for a malformed or forged one, [`Error::TooNew`] for a newer format.
    pub(super) fn open(bytes: &[u8]) -> Result<Self> {
        let mut outer = Reader::new(bytes, KEYS_BYTES_MAX, WHAT)?;
        outer.array(2)?;
        let body = outer.bytes(KEYS_BYTES_MAX)?;
        let signature = outer.fixed()?;
        outer.end()?;
        let mut r = Reader::new(body, KEYS_BYTES_MAX, WHAT)?;
        let parts = r.list(64)?;
        read_label(&mut r)?;
        if parts != 5 {
            return Err(r.fault());
        }
        let (workspace, device): (WorkspaceId, DeviceKey) = (r.value()?, r.value()?);
        sign::verify(&device.0, CONTEXT, body, &signature)?;
        let mut keys = Vec::new();
        for _ in 0..r.list(KEYS_MAX)? {
            keys.push(read_key(&mut r)?);
        }
        r.end()?;
        Ok(Self {
            workspace,
            device,
            keys,
        })
    }
}

fn read_key(r: &mut Reader<'_>) -> Result<DataKey> {
    r.array(3)?;
    let id = r.value()?;
    let key = Secret::from_slice(r.bytes(32)?).ok_or_else(|| r.fault())?;
    let patient = r.optional(|r| {
        let text = r.text(RECORD_ID_MAX)?;
        text.parse::<RecordId>().map_err(|_| r.fault())
    })?;
    Ok(DataKey {
        id,
        patient,
        key: Arc::new(key),
    })
}

/// Every data key of the vault.
pub(super) fn all(rows: &dyn Rows) -> Result<Vec<DataKey>> {
    let mut ids = Vec::new();
    rows.scan(&[kind::DATA_KEY], &[kind::DATA_KEY], &mut |key, _| {
        ids.push(DataKeyId::from_slice(key.get(1..).unwrap_or_default())?);
        Ok(true)
    })?;
    let missing = || Error::integrity("a data key vanished while it was read");
    let load = |id| load_data_key(rows, id)?.ok_or_else(missing);
    ids.iter().map(load).collect()
}

/// Of keys that nobody vouches for, those that open a change which waits for its key: the leaf's
/// hash is signed and depends on the key, so a wrong one opens nothing.
pub(super) fn proven(rows: &dyn Rows, offered: &[DataKey]) -> Result<Vec<DataKey>> {
    let mut proven: Vec<DataKey> = Vec::new();
    if offered.is_empty() {
        return Ok(proven);
    }
    for (key, _) in rows.all(&[kind::PENDING])? {
        let Some((chain, seq)) = rows::place(&key) else {
            continue;
        };
        let Some(row) = load_commit(rows, chain, seq)? else {
            continue;
        };
        let header = row.header()?;
        for (index, leaf) in (0u32..).zip(&row.leaves) {
            let LeafRow::Sealed {
                key: id,
                leaf,
                nonce,
                body,
            } = leaf
            else {
                continue;
            };
            if proven.iter().any(|key| key.id == *id) || load_data_key(rows, id)?.is_some() {
                continue;
            }
            let (key, leaf, nonce, body) = (*id, *leaf, *nonce, body.clone());
            let wire = WireLeaf::Sealed {
                key,
                leaf,
                nonce,
                body,
            };
            let opens = |offer: &&DataKey| {
                offer.id == *id && open_leaf(&header, index, &wire, offer.key.expose()).is_ok()
            };
            proven.extend(offered.iter().find(opens).cloned());
        }
    }
    Ok(proven)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_and_every_changed_bit_is_refused() {
        let signing = SigningKey::from_seed(&[3; 32]);
        let key = |no: u8, patient: Option<&str>| DataKey {
            id: DataKeyId([no; 16]),
            patient: patient.map(|p| p.parse().unwrap()),
            key: Arc::new(Secret::from_slice(&[no; 32]).unwrap()),
        };
        let file = KeyFile {
            workspace: WorkspaceId([6; 32]),
            device: DeviceKey(signing.public()),
            keys: vec![key(1, None), key(2, Some("Patient/p2"))],
        };
        let bytes = file.sign(&signing);
        let read = KeyFile::open(&bytes).unwrap();
        assert_eq!((read.workspace, read.device), (file.workspace, file.device));
        let plain = |k: &DataKey| (k.id, k.patient.clone(), *k.key.expose());
        assert!(read.keys.iter().map(plain).eq(file.keys.iter().map(plain)));
        for at in 0..bytes.len() * 8 {
            let mut bad = bytes.to_vec();
            bad[at / 8] ^= 1 << (at % 8);
            assert!(KeyFile::open(&bad).is_err(), "bit {at}");
        }
        assert!(KeyFile::open(&file.sign(&SigningKey::from_seed(&[4; 32]))).is_err());
    }
}
