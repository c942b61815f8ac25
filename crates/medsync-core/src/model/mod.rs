//! The pure model: values, packs, policies and what they make of operations. No I/O.

pub(crate) mod bitset;
pub mod cell;
pub mod cell_value;
pub mod field;
pub(crate) mod interim;
pub mod json;
mod json_valid;
pub mod kind;
pub mod order;
pub mod pack;
pub mod policy;
pub mod rule;
pub mod shape;
pub(crate) mod timeline;
