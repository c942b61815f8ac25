//! Tests of the public names.

mod long_records;
mod merge_policies;
mod shapes;
