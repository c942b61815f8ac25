//! What travels: records, and the messages in them. `docs/protocol.md` lists every byte.

use crate::crypto::sign::Signature;
use crate::error::{Error, Result};
use crate::ledger::cbor::{Reader, encode};
use crate::ledger::certificate::CERTIFICATE_BYTES_MAX;
use crate::ledger::receipt::Level;
use crate::model::pack::Lane;
use crate::sync::credential::CREDENTIAL_BYTES_MAX;
use crate::sync::effect::Chunk;
use crate::sync::hello::{self, Hello};
use crate::time::Timestamp;
use std::fmt;

/// The version of the protocol that this engine speaks.
pub const VERSION: u8 = 1;
/// Longest body of a record, in bytes: what its length can say.
pub const RECORD_BYTES_MAX: usize = 0xffff;
/// Longest proof of a fork that travels by itself; a longer one follows from the batches.
pub const EVIDENCE_BYTES_MAX: usize = 16 * 1024;
/// Most symbols of one message.
pub const SYMBOLS_OF_ONE_MAX: usize = 2048;
/// Highest position of a log: one more is still a number.
pub(crate) const POSITION_MAX: u64 = u64::MAX >> 1;

const WHAT: &str = "a message is malformed";

/// Why a peer is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It was revoked.
    Revoked,
    /// Nobody here knows who admitted it.
    Stranger,
    /// The store cannot take more now.
    Unavailable,
    /// A reason of a newer engine.
    Other(u8),
}

impl Refused {
    const fn code(self) -> u8 {
        match self {
            Self::Revoked => 1,
            Self::Stranger => 2,
            Self::Unavailable => 3,
            Self::Other(code) => code,
        }
    }

    const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Revoked,
            2 => Self::Stranger,
            3 => Self::Unavailable,
            code => Self::Other(code),
        }
    }
}

/// One message of an authenticated peer.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// What the sender holds and wants.
    Hello(Box<Hello>),
    /// Symbols of the sender's set from a place on.
    Symbols {
        /// The first place.
        from: u64,
        /// How many items the set has.
        items: u64,
        /// How many symbols.
        count: u64,
        /// The symbols.
        bytes: Vec<u8>,
    },
    /// So many symbols more are needed.
    More(u64),
    /// Batches that are wanted, by their places in the receiver's set.
    Want {
        /// Whether no others follow.
        last: bool,
        /// The places: the first, then gaps.
        bytes: Vec<u8>,
    },
    /// A piece of a block.
    Chunk(Chunk),
    /// Everything up to this position of the sender's log was sent, or is there already.
    End(u64),
    /// The next batches of the receiver are durable.
    Receipt {
        /// How many, in the order in which they were completed.
        count: u64,
        /// What was done with them.
        level: Level,
        /// When.
        issued: Timestamp,
        /// The hash of the receipt before.
        previous: [u8; 32],
        /// The signature of the receipt.
        signature: Signature,
    },
    /// What the sender holds after everything was taken up.
    Final {
        /// How many batches.
        count: u64,
        /// Their digest.
        digest: [u8; 16],
        /// The last position of its log.
        head: u64,
    },
    /// So many bytes of chunks more may come.
    Credit(u64),
    /// A proof that a chain forked.
    Evidence(Vec<u8>),
    /// The sender will not go on.
    Refuse(Refused),
    /// The sender does not know whose static key this is.
    Who,
    /// Whose it is.
    Credential {
        /// The device's word.
        credential: Vec<u8>,
        /// Who admitted the device.
        certificate: Option<Vec<u8>>,
    },
}

// Chunks hold patient data, certificates names.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello(hello) => hello.fmt(f),
            Self::Symbols { from, count, .. } => write!(f, "Symbols({from}, {count})"),
            Self::More(n) => write!(f, "More({n})"),
            Self::Want { last, bytes } => write!(f, "Want({last}, {} bytes)", bytes.len()),
            Self::Chunk(chunk) => chunk.fmt(f),
            Self::End(at) => write!(f, "End({at})"),
            Self::Receipt { count, .. } => write!(f, "Receipt({count})"),
            Self::Final { count, head, .. } => write!(f, "Final({count}, {head})"),
            Self::Credit(n) => write!(f, "Credit({n})"),
            Self::Evidence(bytes) => write!(f, "Evidence({} bytes)", bytes.len()),
            Self::Refuse(why) => write!(f, "Refuse({why:?})"),
            Self::Who => f.write_str("Who"),
            Self::Credential { .. } => f.write_str("Credential(hidden)"),
        }
    }
}

impl Message {
    /// The message's bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        encode(|e| match self {
            Self::Hello(hello) => hello::write(hello, e),
            Self::Symbols {
                from,
                items,
                count,
                bytes,
            } => {
                let e = e.array(5)?.u8(2)?.u64(*from)?.u64(*items)?;
                e.u64(*count)?.bytes(bytes)?.ok()
            }
            Self::More(count) => e.array(2)?.u8(3)?.u64(*count)?.ok(),
            Self::Want { last, bytes } => e.array(3)?.u8(4)?.bool(*last)?.bytes(bytes)?.ok(),
            Self::Chunk(chunk) => {
                let lane = lane_code(chunk.lane) << 1 | u8::from(chunk.last);
                e.array(8)?
                    .u8(5)?
                    .bytes(&chunk.handle)?
                    .u64(chunk.position)?;
                e.u8(lane)?.u32(chunk.part)?.u64(chunk.offset)?;
                e.u64(chunk.total)?.bytes(&chunk.bytes)?.ok()
            }
            Self::End(position) => e.array(2)?.u8(6)?.u64(*position)?.ok(),
            Self::Receipt {
                count,
                level,
                issued,
                previous,
                signature,
            } => {
                let e = e.array(6)?.u8(7)?.u64(*count)?.u8(level.code())?;
                e.i64(issued.0)?.bytes(previous)?.bytes(signature)?.ok()
            }
            Self::Final {
                count,
                digest,
                head,
            } => {
                let e = e.array(4)?.u8(8)?.u64(*count)?;
                e.bytes(digest)?.u64(*head)?.ok()
            }
            Self::Credit(bytes) => e.array(2)?.u8(9)?.u64(*bytes)?.ok(),
            Self::Evidence(bytes) => e.array(2)?.u8(10)?.bytes(bytes)?.ok(),
            Self::Refuse(why) => e.array(2)?.u8(11)?.u8(why.code())?.ok(),
            Self::Who => e.array(1)?.u8(12)?.ok(),
            Self::Credential {
                credential,
                certificate,
            } => {
                let e = e.array(3)?.u8(13)?.bytes(credential)?;
                match certificate {
                    None => e.null()?.ok(),
                    Some(certificate) => e.bytes(certificate)?.ok(),
                }
            }
        })
    }

    /// Reads the messages of a record, which may be none. Kinds of a newer engine are left out.
    ///
    /// # Errors
    /// [`Error::Integrity`] for anything malformed or beyond its limit.
    pub(crate) fn parse_all(payload: &[u8]) -> Result<Vec<Self>> {
        let mut r = Reader::new(payload, RECORD_BYTES_MAX, WHAT)?;
        let mut messages = Vec::new();
        while !r.is_done() {
            let parts = r.list(16)?;
            messages.extend(read(&mut r, parts)?);
        }
        Ok(messages)
    }

    /// Splits the first message off, without reading what follows it.
    ///
    /// # Errors
    /// As [`Message::parse_all`].
    pub(crate) fn parse_first(payload: &[u8]) -> Result<(Option<Self>, &[u8])> {
        let mut r = Reader::new(payload, RECORD_BYTES_MAX, WHAT)?;
        if r.is_done() {
            return Ok((None, &[]));
        }
        let parts = r.list(16)?;
        let first = read(&mut r, parts)?;
        Ok((first, r.rest()))
    }
}

fn read(r: &mut Reader<'_>, parts: usize) -> Result<Option<Message>> {
    let message = match (parts, r.value::<u8>()?) {
        (11, 1) => Message::Hello(Box::new(hello::read(r)?)),
        (5, 2) => Message::Symbols {
            from: r.value()?,
            items: r.value()?,
            count: at_most(r, SYMBOLS_OF_ONE_MAX as u64)?,
            bytes: r.bytes(RECORD_BYTES_MAX)?.to_vec(),
        },
        (2, 3) => Message::More(r.value()?),
        (3, 4) => Message::Want {
            last: r.value()?,
            bytes: r.bytes(RECORD_BYTES_MAX)?.to_vec(),
        },
        (8, 5) => Message::Chunk(read_chunk(r)?),
        (2, 6) => Message::End(at_most(r, POSITION_MAX)?),
        (6, 7) => Message::Receipt {
            count: r.value()?,
            level: Level::from_code(r.value()?).ok_or_else(|| r.fault())?,
            issued: Timestamp(r.value()?),
            previous: r.fixed()?,
            signature: r.fixed()?,
        },
        (4, 8) => Message::Final {
            count: r.value()?,
            digest: r.fixed()?,
            head: at_most(r, POSITION_MAX)?,
        },
        (2, 9) => Message::Credit(r.value()?),
        (2, 10) => Message::Evidence(r.bytes(EVIDENCE_BYTES_MAX)?.to_vec()),
        (2, 11) => Message::Refuse(Refused::from_code(r.value()?)),
        (1, 12) => Message::Who,
        (3, 13) => Message::Credential {
            credential: r.bytes(CREDENTIAL_BYTES_MAX)?.to_vec(),
            certificate: r.optional(|r| Ok(r.bytes(CERTIFICATE_BYTES_MAX)?.to_vec()))?,
        },
        (_, 14..) => {
            for _ in 1..parts {
                r.skip()?;
            }
            return Ok(None);
        }
        _ => return Err(r.fault()),
    };
    Ok(Some(message))
}

pub(crate) fn at_most(r: &mut Reader<'_>, max: u64) -> Result<u64> {
    match r.value::<u64>()? {
        value if value <= max => Ok(value),
        _ => Err(r.fault()),
    }
}

fn read_chunk(r: &mut Reader<'_>) -> Result<Chunk> {
    let (handle, position) = (r.fixed()?, at_most(r, POSITION_MAX)?);
    let flags: u8 = r.value()?;
    let lane = lane_from_code(flags >> 1).ok_or_else(|| r.fault())?;
    let chunk = Chunk {
        handle,
        position,
        lane,
        part: r.value()?,
        offset: r.value()?,
        total: at_most(r, POSITION_MAX)?,
        last: flags & 1 == 1,
        bytes: r.bytes(RECORD_BYTES_MAX)?.to_vec(),
    };
    let end = chunk.offset.checked_add(chunk.bytes.len() as u64);
    if chunk.bytes.is_empty() || end.is_none_or(|end| end > chunk.total) {
        return Err(r.fault());
    }
    Ok(chunk)
}

const fn lane_code(lane: Lane) -> u8 {
    match lane {
        Lane::P0 => 0,
        Lane::P1 => 1,
        Lane::P2 => 2,
        Lane::P3 => 3,
    }
}

const fn lane_from_code(code: u8) -> Option<Lane> {
    match code {
        0 => Some(Lane::P0),
        1 => Some(Lane::P1),
        2 => Some(Lane::P2),
        3 => Some(Lane::P3),
        _ => None,
    }
}

/// A record: the length of its body in two bytes, high one first, and the body.
pub(crate) fn record(body: &[u8]) -> Result<Vec<u8>> {
    let len = u16::try_from(body.len()).map_err(|_| Error::invalid("a record is too long"))?;
    Ok([&len.to_be_bytes()[..], body].concat())
}

/// Cuts what a transport brings, in whatever pieces, into bodies of records.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    waiting: Vec<u8>,
}

impl Inbox {
    /// Takes up bytes; at most a record of them waits, since whole ones are handed to `each`, until
    /// it says `false`.
    pub(crate) fn push(&mut self, mut bytes: &[u8], each: &mut dyn FnMut(&[u8]) -> bool) {
        loop {
            let want = match self.waiting.first_chunk::<2>() {
                None => 2,
                Some(len) => 2 + usize::from(u16::from_be_bytes(*len)),
            };
            let missing = want.saturating_sub(self.waiting.len()).min(bytes.len());
            let (now, later) = bytes.split_at(missing);
            self.waiting.extend_from_slice(now);
            bytes = later;
            if self.waiting.len() < want {
                return;
            }
            if want == 2 && self.waiting != [0, 0] {
                continue;
            }
            let body = std::mem::take(&mut self.waiting);
            if !each(&body[2..]) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn records_come_out_however_the_bytes_come_in() {
        let bodies: Vec<Vec<u8>> = vec![vec![1; 5], vec![], vec![2; 300], vec![3]];
        let stream: Vec<u8> = bodies
            .iter()
            .flat_map(|b| record(b).expect("short"))
            .collect();
        for step in 1..stream.len() {
            let (mut inbox, mut got) = (Inbox::default(), Vec::new());
            for piece in stream.chunks(step) {
                inbox.push(piece, &mut |body| {
                    got.push(body.to_vec());
                    true
                });
            }
            assert_eq!(got, bodies, "in pieces of {step}");
        }
    }

    #[test]
    fn a_message_of_a_newer_engine_is_left_out() {
        let newer = encode(|e| e.array(3)?.u8(77)?.str("new")?.array(1)?.u8(1)?.ok());
        let payload = [newer, Message::Credit(5).to_bytes()].concat();
        assert_eq!(Message::parse_all(&payload), Ok(vec![Message::Credit(5)]));
    }

    #[test]
    fn a_chunk_that_ends_beyond_its_block_is_refused() {
        let chunk = |offset, total, len| {
            let chunk = Chunk {
                handle: [1; 8],
                position: 2,
                lane: Lane::P3,
                part: 0,
                offset,
                total,
                last: true,
                bytes: vec![0; len],
            };
            Message::parse_all(&Message::Chunk(chunk.clone()).to_bytes())
                .map(|read| assert_eq!(read, [Message::Chunk(chunk)]))
        };
        assert!(chunk(0, 9, 9).is_ok());
        assert!(chunk(1, 9, 9).is_err());
        assert!(chunk(u64::MAX, 9, 1).is_err());
        assert!(chunk(0, 0, 0).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(Message::parse_all(&bytes));
        }
    }
}
