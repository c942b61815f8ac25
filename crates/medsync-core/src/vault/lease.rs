//! Who has a vault while it exchanges: one caller alone, or one of several threads, who lets the
//! others have their turn between two steps.

use crate::error::Result;
use crate::vault::exchange::{self, Disk, Folder};
use crate::vault::shared::Exclusive;
use crate::vault::{ExchangeProgress, ExchangeReport, SharedVault, Vault};
use std::ops::{Deref, DerefMut};
use std::path::Path;

/// The vault of an exchange. Carrying data is nobody's use of it: it locks when its people are idle.
pub(crate) struct Lease<'a> {
    holder: Holder<'a>,
    /// When somebody last used it.
    used_ms: i64,
}

enum Holder<'a> {
    Alone(&'a mut Vault),
    /// The guard is only absent while others have their turn.
    Among(&'a SharedVault, Option<Exclusive<'a>>),
}

const HELD: &str = "a lease that gives way takes the vault back before it returns";

impl Deref for Lease<'_> {
    type Target = Vault;

    fn deref(&self) -> &Vault {
        match &self.holder {
            Holder::Alone(vault) => vault,
            Holder::Among(_, guard) => guard.as_ref().expect(HELD),
        }
    }
}

impl DerefMut for Lease<'_> {
    fn deref_mut(&mut self) -> &mut Vault {
        match &mut self.holder {
            Holder::Alone(vault) => vault,
            Holder::Among(_, guard) => guard.as_mut().expect(HELD),
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.store.put_back(self.used_ms);
    }
}

impl<'a> Lease<'a> {
    pub(crate) fn alone(vault: &'a mut Vault) -> Self {
        Self {
            used_ms: vault.store.used_ms(),
            holder: Holder::Alone(vault),
        }
    }

    fn among(shared: &'a SharedVault) -> Result<Self> {
        let vault = shared.exclusive();
        let lease = Self {
            used_ms: vault.store.used_ms(),
            holder: Holder::Among(shared, Some(vault)),
        };
        // What others committed is durable before anything is built on it.
        lease.store.get()?.settle_all()?;
        Ok(lease)
    }

    /// Lets whoever waits for the vault go first.
    pub(crate) fn give_way(&mut self) -> Result<()> {
        if let Holder::Among(shared, _) = self.holder {
            self.store.put_back(self.used_ms);
            self.holder = Holder::Among(shared, None);
            self.holder = Holder::Among(shared, Some(shared.exclusive()));
            self.used_ms = self.store.used_ms();
            self.store.get()?.settle_all()?;
        }
        Ok(())
    }
}

impl SharedVault {
    /// As [`Vault::exchange`]. Others read and write meanwhile: whatever lies in the folder, they
    /// wait for one step of it at most.
    ///
    /// # Errors
    /// As [`Vault::exchange`].
    pub fn exchange(
        &self,
        dir: &Path,
        progress: &mut dyn FnMut(&ExchangeProgress),
    ) -> Result<ExchangeReport> {
        self.exchange_over(&mut Disk::new(dir), progress)
    }

    /// As [`SharedVault::exchange`], over a folder that the host brings.
    ///
    /// # Errors
    /// As [`Vault::exchange`].
    pub fn exchange_over(
        &self,
        folder: &mut dyn Folder,
        progress: &mut dyn FnMut(&ExchangeProgress),
    ) -> Result<ExchangeReport> {
        let _only = self.alone_in_exchange();
        exchange::meet(Lease::among(self)?, folder, progress)
    }
}
