//! medsync-core: everything that must be true on every replica.

#![forbid(unsafe_code)]

pub mod crypto;
pub mod doc;
pub mod env;
pub mod error;
pub mod ids;
pub mod ledger;
pub mod model;
pub mod phi;
mod planted;
pub mod store;
pub mod sync;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod vault;
