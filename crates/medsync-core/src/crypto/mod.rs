//! Keys, ciphers and signatures.

pub mod envelope;
pub mod sign;
