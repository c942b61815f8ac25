//! Incarnations: one name must not tell two stories.

use crate::error::Result;
use crate::ids::ReplicaId;
use crate::vault::Vault;
use crate::vault::core::{Meta, Work};
use crate::vault::open::set_meta;

/// Writes on under a new name: another copy of this vault may have written more under the old one
/// than is here.
pub(crate) fn renew(work: &mut Work) {
    let replica = ReplicaId(work.env.bytes());
    let meta = Meta {
        replica,
        ..(*work.core.meta).clone()
    };
    set_meta(work, meta);
}

impl Vault {
    /// Takes a new name, for a host that knows that this vault was restored or copied. What was
    /// written under the old one stays, and stays its authors'.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::error::Error::Storage) if that cannot be stored.
    pub fn incarnate(&mut self) -> Result<ReplicaId> {
        self.work(|work, _| {
            renew(work);
            Ok(work.core.meta.replica)
        })
    }
}
