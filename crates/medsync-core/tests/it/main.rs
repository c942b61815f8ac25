//! Tests from outside: only public names.

mod anchors;
mod attacks;
mod crash;
mod cuts;
mod exchange;
mod folder_cuts;
mod golden;
mod hostile_commits;
mod interims;
mod keys;
mod killed;
mod long_records;
mod merge_policies;
mod odd_rows;
mod policy_table;
mod seed;
mod shapes;
mod shared;
mod sim;
mod strands;
mod table;
