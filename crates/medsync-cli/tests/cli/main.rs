//! Drives the built command as people and scripts do.

mod anchor;
mod audit;
mod bad_input;
mod doctor;
mod enrol;
mod exchange;
mod harness;
mod import;
mod keys;
mod people;
mod records;
mod review;
mod sync;
mod vaults;
