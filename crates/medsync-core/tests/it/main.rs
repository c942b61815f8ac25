//! Tests of the public names.

mod merge_policies;
mod shapes;
