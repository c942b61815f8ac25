//! medsync-net: sessions of a vault over real wires.
//!
//! A [`Transport`] is two streams of bytes that keep their order: TCP, standard input and output,
//! and whatever else a host has. [`call`] and [`answer`] run one session over one. Dropping the
//! future ends the session where it is; the next one goes on from there.

#![forbid(unsafe_code)]

mod session;
mod transport;

pub use session::{Report, answer, call};
pub use transport::{Reading, Stdio, Transport, Writing};
