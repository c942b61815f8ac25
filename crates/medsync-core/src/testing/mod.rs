//! Generators for tests. Behind the feature `testing`, never on by default.

pub mod cuts;
pub mod history;
pub mod kept;
pub mod sim;
