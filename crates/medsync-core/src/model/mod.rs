//! The pure model: values, packs, policies and what they make of operations. No I/O.

pub mod json;
pub mod pack;
pub mod rule;
