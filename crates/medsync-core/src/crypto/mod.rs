//! Keys, cipher suites and the key file.

pub mod envelope;
pub mod kdf;
pub mod key;
pub mod keyfile;
mod keyslot;
pub mod pin;
pub mod sign;
pub mod suite;
pub(crate) mod tries;
pub mod words;

pub use kdf::Kdf;
pub use key::{RootKey, Secret};
pub use keyfile::{KeyFile, NewKeys};
pub use keyslot::{KeyWrapper, SLOT_NAME_MAX, SLOTS_MAX, SlotInfo, SlotKind, WRAPPED_MAX};
pub use pin::{open_under_pin, seal_under_pin};
pub use suite::{NONCE_LEN, PageAead, Suite, TAG_LEN, open_small, seal_small};
pub use words::Words;
