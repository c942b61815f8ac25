//! What a simulation may look at and an application may not: chains by their places, keys, states.

use crate::crypto::sign::SigningKey;
use crate::doc::state::RecordState;
use crate::error::{Error, Result};
use crate::ids::{ChainId, CommitId, DataKeyId, RecordId};
use crate::vault::Vault;
use crate::vault::core::{load_commit, load_data_key, load_record};
use crate::vault::rows::{self, Rows, kind};

impl Vault {
    /// The chain that the unlocked person writes to here: its last place and commit.
    pub(crate) fn peek_own(&self) -> Option<(ChainId, u64, CommitId)> {
        let id = ChainId {
            author: self.author()?,
            replica: self.replica(),
        };
        let chain = self.core.chains.iter().find(|c| c.id == id)?;
        Some((id, chain.seq, chain.tip))
    }

    /// How far every chain is here without a gap.
    pub(crate) fn peek_chains(&self) -> Vec<(ChainId, u64)> {
        let chains = self.core.chains.iter();
        chains.map(|chain| (chain.id, chain.seq)).collect()
    }

    /// Whether a commit is here, visible or not.
    pub(crate) fn peek_holds(&self, chain: &ChainId, seq: u64, id: &CommitId) -> Result<bool> {
        let rows = self.store.read()?;
        for (no, _) in (0u32..)
            .zip(&self.core.chains)
            .filter(|(_, c)| c.id == *chain)
        {
            if let Some(row) = load_commit(&rows, no, seq)?
                && row.header()?.id() == *id
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The places of commits that contradict themselves.
    pub(crate) fn peek_quarantine(&self) -> Result<Vec<(ChainId, u64)>> {
        let rows = self.store.read()?;
        let mut places = Vec::new();
        for (key, _) in rows.all(&[kind::QUARANTINE])? {
            if let Some((chain, seq)) = rows::place(&key) {
                places.push((self.core.chain(chain)?.id, seq));
            }
        }
        Ok(places)
    }

    /// A record's state.
    pub(crate) fn peek_state(&self, record: &RecordId) -> Result<RecordState> {
        let loaded = load_record(&self.store.read()?, record)?;
        Ok(loaded.map_or_else(RecordState::default, |(state, _)| state))
    }

    /// The unlocked person's and the device's signing keys, for a member that turns hostile.
    pub(crate) fn peek_keys(&self) -> Result<(SigningKey, SigningKey)> {
        let signer = self.signer.as_ref();
        let signer = signer.ok_or(Error::Locked("the author's key"))?;
        let person = SigningKey::from_seed(&signer.key.seed());
        Ok((person, self.device()?.signing))
    }

    /// The first data key that is here.
    pub(crate) fn peek_data_key(&self) -> Result<Option<(DataKeyId, [u8; 32])>> {
        let rows = self.store.read()?;
        let first = rows.all(&[kind::DATA_KEY])?.into_iter().next();
        let Some((key, _)) = first else {
            return Ok(None);
        };
        let id = DataKeyId::from_slice(key.get(1..).unwrap_or_default())?;
        Ok(load_data_key(&rows, &id)?.map(|key| (id, *key.key.expose())))
    }
}
