//! The Hello: what one side holds and how far it has the other's log, in about seventy bytes.

use crate::error::Result;
use crate::ledger::cbor::Reader;
use crate::sync::effect::{Cursor, Partial, Summary};
use crate::sync::wire::{POSITION_MAX, at_most};
use crate::time::Timestamp;
use minicbor::Encoder;
use std::convert::Infallible;

/// Most scopes that a Hello lists.
pub const SCOPES_MAX: usize = 64;
/// Most batches of which a part came.
pub const PARTIALS_MAX: usize = 8;
/// Most ranges of a cursor that travel; what lies beyond them may be sent again.
pub const BEYOND_MAX: usize = 256;
/// The scope of everything, as long as the ledger knows no others.
pub const EVERYTHING: u8 = 0;

/// The set of batches of one scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScopeSet {
    /// The scope's label.
    pub label: u8,
    /// How many batches.
    pub count: u64,
    /// Their digest.
    pub digest: [u8; 16],
}

/// How the responder found the two sets to differ. The initiator says [`Tier::Open`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Not known yet.
    Open,
    /// They are equal.
    Equal,
    /// By the cursors of both sides.
    Cursors,
    /// By the initiator's symbols, which sufficed: wants follow.
    Found,
    /// The responder's symbols follow.
    Sketch,
}

impl Tier {
    const fn code(self) -> u8 {
        match self {
            Self::Open => 0,
            Self::Equal => 1,
            Self::Cursors => 2,
            Self::Found => 3,
            Self::Sketch => 4,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Open),
            1 => Some(Self::Equal),
            2 => Some(Self::Cursors),
            3 => Some(Self::Found),
            4 => Some(Self::Sketch),
            _ => None,
        }
    }
}

/// What one side says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The epoch of its store.
    pub epoch: [u8; 16],
    /// The last position of its log.
    pub head: u64,
    /// Its clock.
    pub clock: Timestamp,
    /// What it holds.
    pub scopes: Vec<ScopeSet>,
    /// How far it has the other's log.
    pub cursor: Option<Cursor>,
    /// Batches of which it has a part.
    pub partials: Vec<Partial>,
    /// How the sets differ.
    pub tier: Tier,
    /// How long the records are that suit its link, in bytes.
    pub record: u64,
    /// Bytes of chunks that may come before it grants more.
    pub credit: u64,
    /// Whether it goes on listening once everything was taken up.
    pub live: bool,
}

impl Hello {
    pub(crate) fn new(summary: &Summary, tier: Tier, record: usize, credit: u64) -> Self {
        Self {
            epoch: summary.epoch,
            head: summary.head,
            clock: summary.clock,
            scopes: vec![ScopeSet {
                label: EVERYTHING,
                count: summary.count,
                digest: summary.digest,
            }],
            cursor: summary.cursor.clone(),
            partials: summary
                .partials
                .iter()
                .copied()
                .take(PARTIALS_MAX)
                .collect(),
            tier,
            record: record as u64,
            credit,
            live: false,
        }
    }

    /// The scope that holds everything.
    pub(crate) fn everything(&self) -> Option<&ScopeSet> {
        self.scopes.iter().find(|scope| scope.label == EVERYTHING)
    }

    /// How the epoch is named in a cursor.
    pub(crate) fn epoch_mark(&self) -> [u8; 8] {
        epoch_mark(&self.epoch)
    }
}

/// How an epoch is named in a cursor.
pub fn epoch_mark(epoch: &[u8; 16]) -> [u8; 8] {
    let mut mark = [0; 8];
    mark.copy_from_slice(&epoch[..8]);
    mark
}

type Encoded = std::result::Result<(), minicbor::encode::Error<Infallible>>;

pub(crate) fn write(hello: &Hello, e: &mut Encoder<Vec<u8>>) -> Encoded {
    e.array(11)?.u8(1)?.bytes(&hello.epoch)?.u64(hello.head)?;
    e.i64(hello.clock.0)?.array(hello.scopes.len() as u64)?;
    for scope in &hello.scopes {
        e.array(3)?.u8(scope.label)?.u64(scope.count)?;
        e.bytes(&scope.digest)?;
    }
    match &hello.cursor {
        None => drop(e.null()?),
        Some(cursor) => {
            let beyond = cursor.beyond.get(..BEYOND_MAX).unwrap_or(&cursor.beyond);
            e.array(2 + 2 * beyond.len() as u64)?;
            e.bytes(&cursor.epoch)?.u64(cursor.upto)?;
            // Gaps are short numbers where positions are long ones.
            let mut from = cursor.upto;
            for (first, last) in beyond {
                e.u64(first - from)?.u64(last - first)?;
                from = *last;
            }
        }
    }
    e.array(hello.partials.len() as u64)?;
    for partial in &hello.partials {
        e.array(3)?.bytes(&partial.handle)?;
        e.u32(partial.part)?.u64(partial.offset)?;
    }
    e.u8(hello.tier.code())?.u64(hello.record)?;
    e.u64(hello.credit)?.bool(hello.live)?.ok()
}

pub(crate) fn read(r: &mut Reader<'_>) -> Result<Hello> {
    let (epoch, head) = (r.fixed()?, at_most(r, POSITION_MAX)?);
    let clock = Timestamp(r.value()?);
    let mut scopes: Vec<ScopeSet> = Vec::new();
    for _ in 0..r.list(SCOPES_MAX)? {
        r.array(3)?;
        let scope = ScopeSet {
            label: r.value()?,
            count: at_most(r, POSITION_MAX)?,
            digest: r.fixed()?,
        };
        if scopes.last().is_some_and(|last| last.label >= scope.label) {
            return Err(r.fault());
        }
        scopes.push(scope);
    }
    let cursor = r.optional(read_cursor)?;
    let mut partials = Vec::new();
    for _ in 0..r.list(PARTIALS_MAX)? {
        r.array(3)?;
        partials.push(Partial {
            handle: r.fixed()?,
            part: r.value()?,
            offset: r.value()?,
        });
    }
    Ok(Hello {
        epoch,
        head,
        clock,
        scopes,
        cursor,
        partials,
        tier: Tier::from_code(r.value()?).ok_or_else(|| r.fault())?,
        record: r.value()?,
        credit: r.value()?,
        live: r.value()?,
    })
}

fn read_cursor(r: &mut Reader<'_>) -> Result<Cursor> {
    let parts = r.list(2 + 2 * BEYOND_MAX)?;
    if parts < 2 || parts % 2 == 1 {
        return Err(r.fault());
    }
    let mut cursor = Cursor {
        epoch: r.fixed()?,
        upto: at_most(r, POSITION_MAX)?,
        beyond: Vec::new(),
    };
    let mut from = cursor.upto;
    for _ in 1..parts / 2 {
        let (gap, len): (u64, u64) = (r.value()?, r.value()?);
        let first = from.checked_add(gap);
        let last = first.and_then(|first| first.checked_add(len));
        match (first, last) {
            // A gap of one would be no gap.
            (Some(first), Some(last)) if gap > 1 && last <= POSITION_MAX => {
                cursor.beyond.push((first, last));
                from = last;
            }
            _ => return Err(r.fault()),
        }
    }
    Ok(cursor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::wire::Message;

    fn hello() -> Hello {
        let mut cursor = Cursor {
            epoch: [9; 8],
            upto: 40,
            beyond: Vec::new(),
        };
        for position in [44, 45, 50, 70] {
            cursor.insert(position);
        }
        Hello {
            epoch: [1; 16],
            head: 300,
            clock: Timestamp::new(1_700_000_000_000, 3),
            scopes: vec![ScopeSet {
                label: EVERYTHING,
                count: 1600,
                digest: [2; 16],
            }],
            cursor: Some(cursor),
            partials: vec![Partial {
                handle: [3; 8],
                part: 1,
                offset: 2,
            }],
            tier: Tier::Cursors,
            record: 1024,
            credit: 65_536,
            live: false,
        }
    }

    #[test]
    fn a_hello_comes_back() {
        let bytes = Message::Hello(Box::new(hello())).to_bytes();
        let read = Message::parse_all(&bytes);
        assert_eq!(read, Ok(vec![Message::Hello(Box::new(hello()))]));
        for len in 0..bytes.len() {
            let cut = Message::parse_all(&bytes[..len]);
            assert!(len == 0 || cut.is_err(), "cut at {len}");
        }
    }

    #[test]
    fn a_hello_of_two_that_agree_is_short() {
        let mut hello = hello();
        hello.partials.clear();
        if let Some(cursor) = &mut hello.cursor {
            cursor.beyond.clear();
        }
        let bytes = Message::Hello(Box::new(hello)).to_bytes();
        assert!(bytes.len() <= 90, "{} bytes", bytes.len());
    }

    /// Another implementation can check itself against these bytes.
    #[test]
    fn the_bytes_of_a_hello_are_as_documented() {
        let bytes = Message::Hello(Box::new(hello())).to_bytes();
        assert_eq!(crate::ids::hex(&bytes), GOLDEN);
    }

    const GOLDEN: &str = "8b01500101010101010101010101010101010119012c1b018bcfe568000003\
        818300190640500202020202020202020202020202020288480909090909090909182804010500140081834803030303\
        0303030301020219\
        04001a00010000f4";
}
