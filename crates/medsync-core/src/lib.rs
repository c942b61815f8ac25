//! medsync-core: everything that must be true on every replica.

#![forbid(unsafe_code)]

pub mod doc;
pub mod env;
pub mod error;
pub mod ids;
pub mod model;
pub mod phi;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod vault;
