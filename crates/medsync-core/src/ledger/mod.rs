//! The ledger's rules: commits, batches, certificates. Pure: bytes in, bytes out.

mod armor;
pub mod audit;
pub mod audit_proof;
pub mod batch;
pub(crate) mod cbor;
pub mod certificate;
pub mod commit;
pub(crate) mod cose;
pub(crate) mod cuts;
pub mod enrol;
pub mod entry;
pub mod equivocation;
pub mod forks;
pub mod membership;
pub mod merkle;
pub mod receipt;
pub mod revocation;
pub mod rotation;
pub mod wire;

#[cfg(test)]
mod tests;
