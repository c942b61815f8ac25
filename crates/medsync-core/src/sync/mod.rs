//! Sync: what two replicas say to each other, as pure state machines.
//!
//! Nothing in here touches a store, a socket, a clock or entropy. Bytes and completed effects go in,
//! bytes and wanted effects come out, so that the same code runs over any wire and in a simulator.
//!
//! So far: the set sketch by which two replicas without a shared cursor find the batches that only
//! one of them has.

pub mod sketch;
