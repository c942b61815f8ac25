//! What opens the vault's files: unlocking by any slot, and changing slots.

use super::file::{self, KEY_FILE, TRIES_FILE};
use super::place::Place;
use super::{Store, Unlock};
use crate::crypto::keyfile::KeyFile;
use crate::crypto::tries::{TRIES_MAX, Tries};
use crate::crypto::{Kdf, KeyWrapper, RootKey, SlotInfo, SlotKind, Words};
use crate::env::Env;
use crate::error::{Error, Result};
use std::sync::PoisonError;

/// The root. The vault's lock is held, so tries come one after the other.
pub(super) fn unlock(
    place: &dyn Place,
    env: &dyn Env,
    keys: &KeyFile,
    unlock: Unlock<'_>,
) -> Result<RootKey> {
    match unlock {
        Unlock::Passphrase(passphrase) => try_passphrase(place, env, keys, passphrase),
        // Nobody guesses 256 bits: these need no waiting.
        Unlock::Recovery(words) => keys.unlock_recovery(words),
        Unlock::Host(wrapper) => keys.unlock_host(wrapper),
        Unlock::Escrow(identity) => keys.unlock_escrow(identity),
        Unlock::Root(root) => {
            keys.check_root(root)?;
            Ok(RootKey::fill_with(|out| {
                out.copy_from_slice(root.expose());
            }))
        }
    }
}

fn try_passphrase(
    place: &dyn Place,
    env: &dyn Env,
    keys: &KeyFile,
    passphrase: &str,
) -> Result<RootKey> {
    let now_ms = env.now_ms();
    let kept = file::read_limited(place, TRIES_FILE, TRIES_MAX)?;
    let mut tries = Tries::read(kept.as_deref(), now_ms);
    let begun = tries.begin("the passphrase", now_ms);
    let counted = file::write_new(place, TRIES_FILE, &tries.to_bytes())
        .and_then(|()| file::rename_new(place, TRIES_FILE));
    // A full disk must not keep a clinic from reading: what cannot be counted is not refused.
    if counted.is_ok() {
        begun?;
    }
    let root = keys.unlock_passphrase(passphrase)?;
    file::remove(place, TRIES_FILE);
    Ok(root)
}

impl Store {
    /// The vault's id, if it has files.
    pub fn vault_id(&self) -> Option<[u8; 16]> {
        let home = self.engine.home.as_ref()?;
        let keys = home.keys.lock().unwrap_or_else(PoisonError::into_inner);
        Some(*keys.vault_id())
    }

    /// Puts a new passphrase in place of the old one; durable when it returns, and quick whatever
    /// the vault's size.
    pub fn change_passphrase(&self, passphrase: &str, kdf: Kdf) -> Result<()> {
        self.change_keys(|keys| keys.change_passphrase(&*self.env, &self.root, passphrase, kdf))
    }

    /// Puts new recovery words in place of the old ones; durable when it returns.
    pub fn new_recovery(&self, words: &Words) -> Result<()> {
        self.change_keys(|keys| keys.new_recovery(&*self.env, &self.root, words))
    }

    fn change_keys(&self, change: impl FnOnce(&mut KeyFile) -> Result<()>) -> Result<()> {
        const WHAT: Error = Error::invalid("a store without files has no keys of its own");
        let home = self.engine.home.as_ref().ok_or(WHAT)?;
        let mut keys = home.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = keys.clone();
        change(&mut changed)?;
        file::write_new(&*home.place, KEY_FILE, &changed.to_bytes())?;
        file::rename_new(&*home.place, KEY_FILE)?;
        *keys = changed;
        Ok(())
    }

    /// Lets the host's key store open the vault; durable when it returns.
    pub fn put_host_slot(&self, name: &str, wrapper: &dyn KeyWrapper) -> Result<()> {
        self.change_keys(|keys| keys.put_host(&*self.env, &self.root, name, wrapper))
    }

    /// Lets a clinic's identity open the vault; durable when it returns.
    pub fn put_escrow_slot(&self, name: &str, recipient: &[u8; 32]) -> Result<()> {
        self.change_keys(|keys| keys.put_escrow(&*self.env, &self.root, name, recipient))
    }

    /// Removes what opens the vault, but never the last; durable when it returns.
    pub fn remove_slot(&self, kind: SlotKind, name: &str) -> Result<()> {
        self.change_keys(|keys| keys.remove_slot(&self.root, kind, name))
    }

    /// What opens the vault; nothing for a store without files.
    pub fn slots(&self) -> Vec<SlotInfo> {
        self.engine.home.as_ref().map_or_else(Vec::new, |home| {
            let keys = home.keys.lock().unwrap_or_else(PoisonError::into_inner);
            keys.slots()
        })
    }
}
