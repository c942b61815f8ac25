//! What happens to a session, and what its caller must do then.

use crate::ids::DeviceKey;
use crate::ledger::receipt::BatchRef;
use crate::sync::credential::Refusal;
use crate::sync::effect::{Done, Effect, Offer};
use crate::sync::hello::Tier;
use crate::sync::wire::Refused;

/// Something that happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// Bytes came from the peer, in whatever pieces.
    Received(&'a [u8]),
    /// The transport took so many bytes of frames.
    Written(usize),
    /// An effect is completed.
    Done(Done),
    /// More can be sent: something was written meanwhile.
    Offered(Vec<Offer>),
    /// Time has passed.
    Tick,
    /// The host or the transport ends it.
    Stop,
}

/// What the caller must do now.
#[derive(Debug, Default)]
#[must_use = "a step holds frames to send and effects to carry out"]
pub struct Step {
    /// Frames to send, in order.
    pub frames: Vec<Vec<u8>>,
    /// Effects to carry out, in order.
    pub effects: Vec<Effect>,
    /// What the application may want to know.
    pub notices: Vec<Notice>,
    /// When to come back with [`Event::Tick`] if nothing else happens, in milliseconds.
    pub wake_at_ms: Option<i64>,
}

/// What the application may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The peer showed who it is, and may come in.
    Met(DeviceKey),
    /// How the two sets are compared.
    Compared(Tier),
    /// A batch of the peer is durable here.
    Stored(BatchRef),
    /// Batches of this side are durable at the peer, by its receipt.
    Receipted(Vec<BatchRef>),
    /// Both sides hold the same.
    InSync,
    /// The session is over.
    Ended(Ending),
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Both sides hold the same.
    InSync,
    /// Everything went both ways, and yet the two do not hold the same: the next session compares
    /// them anew.
    Unequal,
    /// The host or the transport ended it. The next one goes on where it stopped.
    Stopped,
    /// This side does not let the peer in.
    Refused(Refusal),
    /// The peer does not let this side in, or cannot go on.
    TurnedAway(Refused),
    /// The peer is of another workspace, or its key is another one than this side knew: try again
    /// as with an unknown peer.
    Elsewhere,
    /// The peer speaks another version of the protocol.
    Incompatible {
        /// The version it speaks.
        theirs: u8,
    },
    /// The peer breaks the protocol. Nothing of what it broke it with was kept.
    Misbehaved(&'static str),
    /// The peer takes nothing, or says nothing.
    Stalled,
    /// This side's store cannot take more now.
    Unavailable,
    /// The host answered something that was not asked.
    Misused,
}
