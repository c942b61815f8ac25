//! What opens the vault: its key slots, and new keys for all of it.

use crate::crypto::{Kdf, KeyWrapper, NewKeys, SlotInfo, SlotKind, Words};
use crate::error::Result;
use crate::vault::Vault;
use crate::vault::people::reseal_row;

/// A vault under new keys.
#[derive(Debug)]
pub struct Rekeyed {
    /// The vault, open; its owner's key is unlocked where the passphrase stands for their PIN.
    pub vault: Vault,
    /// The new recovery words; the old ones open nothing any more.
    pub recovery: Words,
    /// Key slots that are gone, because their secret was not at hand.
    pub lost: Vec<SlotInfo>,
}

impl Vault {
    /// What opens this vault.
    pub fn key_slots(&self) -> Result<Vec<SlotInfo>> {
        Ok(self.store.get()?.slots())
    }

    /// Lets the host's key store open the vault, in a time that does not depend on its size. A slot
    /// of that name gives way.
    ///
    /// # Errors
    /// What the key store says, and then nothing has changed;
    /// [`Error::Refused`](crate::error::Error::Refused) when all slots are taken.
    pub fn put_host_slot(&self, name: &str, wrapper: &dyn KeyWrapper) -> Result<()> {
        self.store.get()?.put_host_slot(name, wrapper)
    }

    /// Lets a clinic's identity open the vault, by its X25519 public key alone.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::error::Error::Invalid) for what is no X25519 key; else as
    /// [`Vault::put_host_slot`].
    pub fn put_escrow_slot(&self, name: &str, recipient: &[u8; 32]) -> Result<()> {
        self.store.get()?.put_escrow_slot(name, recipient)
    }

    /// Removes a key slot, but never the last one that opens.
    ///
    /// A copy of the old key file still opens with the old secret: [`Vault::rekey`] ends that.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::error::Error::NotFound), or
    /// [`Error::Refused`](crate::error::Error::Refused) for the last one.
    pub fn remove_slot(&self, kind: SlotKind, name: &str) -> Result<()> {
        self.store.get()?.remove_slot(kind, name)
    }

    /// Puts the whole vault under new keys, in a new data file: what opened the old files, or a copy
    /// of them, opens nothing that is written from now on. A crash at any moment leaves the old vault
    /// or the new one. `progress` is told how many rows are done, of how many.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::error::Error::Storage) if the files cannot be written; the old
    /// vault is to be opened again then.
    pub fn rekey(
        mut self,
        passphrase: &str,
        kdf: Kdf,
        wrapper: Option<&dyn KeyWrapper>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Rekeyed> {
        self.leave()?;
        let recovery = Words::generate(&*self.env);
        let (store, env, watch) = self.into_parts()?;
        let old = crate::crypto::RootKey::fill_with(|out| {
            out.copy_from_slice(store.root().expose());
        });
        let new = NewKeys {
            passphrase,
            kdf,
            recovery: &recovery,
            wrapper,
        };
        let mut change = |key: &[u8], row: Vec<u8>, new: &_| reseal_row(&*env, &old, new, key, row);
        let done = store.rekey(&new, &mut change, progress)?;
        // Copies of older formats are under keys that nothing opens any more.
        done.store.drop_befores()?;
        let mut vault = Self::open_store(done.store, env, None)?;
        // What the anchor holds is sealed under the root, too. Should it not learn of the new one in
        // time, that is a false alarm, which costs a new incarnation and nothing else.
        vault.watch = watch;
        vault.tell_anchor();
        Ok(Rekeyed {
            vault,
            recovery,
            lost: done.lost,
        })
    }
}
