//! Sync: what two replicas say to each other, as pure state machines.
//!
//! Nothing in here touches a store, a socket, a clock or entropy. Bytes and completed effects go in,
//! bytes and wanted effects come out, so that the same code runs over any wire and in a simulator.
//!
//! A host makes a [`session::Session`], feeds it [`step::Event`]s, and does what each [`step::Step`]
//! says: send frames, carry out effects, wait. `docs/protocol.md` has every byte.

pub mod credential;
pub(crate) mod differ;
#[cfg(feature = "testing")]
pub mod door;
pub mod effect;
pub(crate) mod greeting;
pub mod handshake;
pub mod hello;
pub(crate) mod lanes;
pub(crate) mod meeting;
pub(crate) mod outbox;
pub mod reconcile;
pub mod session;
pub mod sketch;
pub mod step;
pub mod transfer;
pub mod wire;

#[cfg(test)]
mod tests;
