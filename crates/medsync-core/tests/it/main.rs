//! Tests of the public names.

mod interims;
mod long_records;
mod merge_policies;
mod policy_table;
mod shapes;
mod table;
