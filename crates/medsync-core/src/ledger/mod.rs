//! The ledger's rules: commits, batches, certificates. Pure: bytes in, bytes out.

pub mod batch;
mod cbor;
pub mod commit;
pub mod entry;
pub mod equivocation;
pub mod merkle;
pub mod wire;
