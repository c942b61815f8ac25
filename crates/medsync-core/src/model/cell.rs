//! Cells: what one operation writes at one key of a record.
//!
//! A cell is a whole value, a tombstone or a person's decision. Its bytes are fixed by
//! `docs/adr/0001`;

use crate::error::{Error, Result};
use crate::ids::ActorId;
use crate::model::json::Json;
use crate::model::order::Order;
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::str::FromStr;

/// Longest canonical JSON text of an atom, in bytes.
pub const MAX_ATOM: usize = 256 * 1024;
/// Longest reason of a removal, in bytes.
pub const MAX_REASON: usize = 4 * 1024;
/// Most operations that one review settles.
pub const MAX_SETTLES: usize = 200;

/// Longest key, in bytes.
pub const MAX_KEY: usize = 512;

/// Whether this is a key of a record: `field` or `field/element`. An element may hold further
/// slashes, as business keys with a URL in them do.
pub fn is_key(key: &str) -> bool {
    let (field, element) = key.split_once('/').unwrap_or((key, "-"));
    (1..=MAX_KEY).contains(&key.len())
        && !field.is_empty()
        && !element.is_empty()
        && !key.chars().any(char::is_control)
}

/// Names an operation: Automerge's counter and actor. Ordered by counter, then actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OpId {
    /// Lamport counter within the record.
    pub ctr: u64,
    /// Who wrote it.
    pub actor: ActorId,
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.ctr, self.actor)
    }
}

impl FromStr for OpId {
    type Err = Error;
    /// Reads exactly what `Display` writes: no sign, no leading zeros, lower-case hex.
    fn from_str(text: &str) -> Result<Self> {
        const WHAT: Error = Error::invalid("not an operation id of the form counter@actor");
        let (ctr, actor) = text.split_once('@').ok_or(WHAT)?;
        let id = Self {
            ctr: ctr.parse().map_err(|_| WHAT)?,
            actor: actor.parse().map_err(|_| WHAT)?,
        };
        if id.to_string() == text {
            Ok(id)
        } else {
            Err(WHAT)
        }
    }
}

/// A value that only ever changes whole. Holds canonical JSON text.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Atom {
    /// One JSON value.
    Value(Box<str>),
    /// Members bound into one value: names and texts, in canonical order, unique, at least one.
    Members(Box<[(Box<str>, Box<str>)]>),
}

/// What one operation writes at one key.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Cell {
    /// A value, with its place if it is an item of a list.
    Put {
        /// The value.
        atom: Atom,
        /// The item's place among its siblings; never compared as a value.
        order: Option<Order>,
    },
    /// Removed or retracted. Nothing is ever deleted.
    Removed {
        /// Why, as the person put it.
        reason: Box<str>,
    },
    /// A person's decision.
    Review(Box<Review>),
}

/// A decision on a contested field.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Review {
    /// The operations it settles, ascending.
    pub settles: Vec<OpId>,
    /// What stands from now on: a `Put` or a `Removed`.
    #[serde(deserialize_with = "stands")]
    pub stands: Cell,
}

/// Reads what a review lets stand. A review is none: else a few kilobytes of nested ones would
/// exhaust the stack.
fn stands<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<Cell, D::Error> {
    /// The first two kinds of a [`Cell`], in its order.
    #[derive(Deserialize)]
    #[serde(rename = "Cell")]
    enum Stands {
        Put { atom: Atom, order: Option<Order> },
        Removed { reason: Box<str> },
    }
    Ok(match Stands::deserialize(d)? {
        Stands::Put { atom, order } => Cell::Put { atom, order },
        Stands::Removed { reason } => Cell::Removed { reason },
    })
}

impl fmt::Debug for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(_) => f.write_str("Value(hidden)"),
            Self::Members(members) => write!(f, "Members({} hidden)", members.len()),
        }
    }
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { atom, order } => f
                .debug_struct("Put")
                .field("atom", atom)
                .field("order", order)
                .finish(),
            Self::Removed { .. } => f.write_str("Removed(hidden)"),
            Self::Review(review) => review.fmt(f),
        }
    }
}

impl fmt::Debug for Review {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Review")
            .field("settles", &self.settles)
            .field("stands", &self.stands)
            .finish()
    }
}

impl Atom {
    /// One JSON value.
    pub fn value(json: &Json) -> Self {
        Self::Value(json.text().into())
    }

    /// The members of a JSON object, bound together.
    ///
    /// # Errors
    /// [`Error::Invalid`] for anything but an object with at least one member.
    pub fn members(object: &Json) -> Result<Self> {
        if object.members().is_empty() {
            return Err(Error::invalid("bound members need an object with a member"));
        }
        let text = |(name, value): &(Box<str>, Json)| (name.clone(), value.text().into());
        Ok(Self::Members(object.members().iter().map(text).collect()))
    }

    /// The canonical JSON text: the value's own, or an object of the members.
    pub fn text(&self) -> String {
        match self {
            Self::Value(text) => text.to_string(),
            Self::Members(members) => {
                let mut out = String::from("{");
                for (i, (name, text)) in members.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    Json::string(name).write(&mut out);
                    out.push(':');
                    out.push_str(text);
                }
                out.push('}');
                out
            }
        }
    }
}

impl Cell {
    /// A value without a place.
    pub fn put(json: &Json) -> Self {
        Self::Put {
            atom: Atom::value(json),
            order: None,
        }
    }

    /// What stands: a review's outcome, anything else itself. Never a review.
    pub fn standing(&self) -> &Self {
        let mut cell = self;
        while let Self::Review(review) = cell {
            cell = &review.stands;
        }
        cell
    }

    /// Whether both say the same: places and reasons are not compared, and a review says what
    /// stands after it.
    pub fn same_value(&self, other: &Self) -> bool {
        match (self.standing(), other.standing()) {
            (Self::Put { atom: a, .. }, Self::Put { atom: b, .. }) => a == b,
            (Self::Removed { .. }, Self::Removed { .. }) => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reviews_of_reviews_are_refused_however_deep() {
        let put = postcard::to_allocvec(&Cell::put(&Json::Null)).unwrap();
        let read = |depth: usize| {
            // A review of no operations.
            let bytes = [[2, 0].repeat(depth), put.clone()].concat();
            postcard::from_bytes::<Cell>(&bytes)
        };
        assert!(matches!(read(0), Ok(Cell::Put { .. })));
        let one = read(1).unwrap();
        assert!(matches!(one, Cell::Review(_)));
        assert_eq!(postcard::to_allocvec(&one).unwrap().len(), 2 + put.len());
        assert!(read(2).is_err());
        assert!(read(1_000_000).is_err());
    }
}
