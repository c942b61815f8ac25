//! The vault: one device's encrypted store and engine.

pub mod finding;
mod fold;
pub mod index;
pub mod query;
pub mod rows;
mod rules;
