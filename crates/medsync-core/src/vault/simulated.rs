//! Vaults over simulated disks and folders, for tests and simulations.

use super::open::{check_new, found};
use super::{Created, NewVault, SharedAnchor, Vault};
use crate::crypto::{RootKey, Suite, Words};
use crate::env::SharedEnv;
use crate::error::Result;
use crate::model::pack::PolicyPack;
use crate::store::fault::SimFolder;
use crate::store::{StorageBackend, Store, Tuning, Unlock};
use std::sync::Arc;

impl Vault {
    /// As [`Vault::create`] or, without a workspace, [`Vault::create_alone`], over any empty
    /// backend: for tests and simulations. It has no key file, so `root` opens it, and its backend
    /// is to be thrown away if this fails.
    ///
    /// # Errors
    /// [`Error::Storage`] if the backend fails.
    pub fn create_on(
        backend: impl StorageBackend,
        env: SharedEnv,
        root: RootKey,
        new: &NewVault<'_>,
        workspace: Option<&str>,
        pack: &PolicyPack,
    ) -> Result<Created> {
        check_new(new, workspace, pack)?;
        let recovery = Words::generate(&*env);
        let tuning = Tuning::small();
        let store = Store::open_on(backend, Arc::clone(&env), root, new.suite, tuning)?;
        let founded = found(&store, &env, new, workspace, pack)?;
        Ok(founded.into_created(store, env, recovery))
    }

    /// Opens a vault of [`Vault::create_on`].
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub fn open_on(
        backend: impl StorageBackend,
        env: SharedEnv,
        root: RootKey,
        suite: Suite,
        tuning: Tuning,
    ) -> Result<Self> {
        let store = Store::open_on(backend, Arc::clone(&env), root, suite, tuning)?;
        Self::open_store(store, env, None)
    }

    /// As [`Vault::open_on`], compared with an anchor first, as by [`Vault::open_anchored`].
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub fn open_anchored_on(
        backend: impl StorageBackend,
        env: SharedEnv,
        root: RootKey,
        (suite, tuning): (Suite, Tuning),
        anchor: SharedAnchor,
    ) -> Result<Self> {
        let store = Store::open_on(backend, Arc::clone(&env), root, suite, tuning)?;
        Self::open_store(store, env, Some(anchor))
    }

    /// As [`Vault::create`], in a simulated folder.
    ///
    /// # Errors
    /// As [`Vault::create`].
    pub fn create_at(
        folder: &SimFolder,
        env: SharedEnv,
        new: &NewVault<'_>,
        workspace: &str,
        pack: &PolicyPack,
    ) -> Result<Created> {
        Self::create_in(folder.place(), env, new, Some(workspace), pack)
    }

    /// As [`Vault::open`], in a simulated folder.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub fn open_at(folder: &SimFolder, env: SharedEnv, unlock: Unlock<'_>) -> Result<Self> {
        let store = Store::open_at(folder.place(), Arc::clone(&env), unlock, Tuning::small())?;
        Self::open_store(store, env, None)
    }

    /// Revokes this device, as no engine lets a person do: then it knows what it would otherwise
    /// learn from others only.
    ///
    /// # Errors
    /// As [`Vault::revoke`].
    pub fn revoke_itself(&mut self) -> Result<()> {
        let own = self.device_key().0;
        self.revoke_unasked(&own, None, "to see what it does then")
    }
}
