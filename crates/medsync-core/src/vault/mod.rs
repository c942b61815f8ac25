//! The vault: one device's encrypted store and engine.

pub mod rows;
