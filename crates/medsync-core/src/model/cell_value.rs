//! Cells as Automerge values: the table of `docs/adr/0001`, to the byte.
//!
//! A cell has one encoding. What is read must be what would be written, or it is refused: two
//! replicas must never disagree on whether two values are the same.

use crate::error::{Error, Result};
use crate::model::cell::{Atom, Cell, MAX_ATOM, MAX_REASON, MAX_SETTLES, OpId, Review};
use crate::model::json::{ATOM_DEPTH_MAX, Json};
use crate::model::order::Order;
use std::fmt;

/// Longest list of settled operations: 20 digits, `@`, 32 digits, quotes and a comma each.
const MAX_SETTLES_TEXT: usize = 2 + MAX_SETTLES * 56;

/// A cell as Automerge holds it.
#[derive(Clone, PartialEq, Eq)]
pub enum CellValue {
    /// A JSON string, unescaped.
    Str(String),
    /// A tag and what belongs to it.
    Bytes(Vec<u8>),
}

impl fmt::Debug for CellValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Str(_) => "Str(hidden)",
            Self::Bytes(_) => "Bytes(hidden)",
        })
    }
}

impl CellValue {
    /// Whether this may be a cell of a newer engine: its tag is a letter that this one does not
    /// know. Such a change is kept and waits; it is no fault.
    pub fn is_of_newer(&self) -> bool {
        match self {
            Self::Str(_) => false,
            Self::Bytes(bytes) => bytes
                .first()
                .is_some_and(|tag| tag.is_ascii_lowercase() && !b"emrvx".contains(tag)),
        }
    }
}

impl Cell {
    /// What Automerge holds for this cell. A review's operations are written ascending, once each.
    pub fn to_value(&self) -> CellValue {
        if let Self::Put {
            atom: Atom::Value(text),
            order: None,
        } = self
            && let Some(string) = json_string(text)
        {
            return CellValue::Str(string);
        }
        let mut out = Vec::new();
        match self {
            Self::Review(review) => {
                let mut settles = review.settles.clone();
                settles.sort_unstable();
                settles.dedup();
                let ids = settles.iter().map(|id| Json::string(&id.to_string()));
                out.push(b'r');
                out.extend(Json::Array(ids.collect()).text().into_bytes());
                out.push(0);
                review.stands.standing().write(&mut out);
            }
            plain => plain.write(&mut out),
        }
        CellValue::Bytes(out)
    }

    /// Reads a cell.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an unknown tag, text that is not canonical, or a broken limit.
    pub fn from_value(value: CellValue) -> Result<Self> {
        match value {
            CellValue::Str(string) => {
                limit(string.len(), MAX_ATOM, ATOM_LIMIT)?;
                let text = Json::String(string.into()).text();
                limit(text.len(), MAX_ATOM, ATOM_LIMIT)?;
                Ok(Self::Put {
                    atom: Atom::Value(text.into()),
                    order: None,
                })
            }
            CellValue::Bytes(bytes) => {
                let cell = match bytes.split_first() {
                    Some((b'r', rest)) => review(rest)?,
                    _ => plain(&bytes)?,
                };
                // A string without a place has its own form, the shorter one.
                match &cell {
                    Self::Put {
                        atom: Atom::Value(text),
                        order: None,
                    } if text.starts_with('"') => Err(NOT_CANONICAL),
                    _ => Ok(cell),
                }
            }
        }
    }

    /// Appends a value or a removal in its tagged form.
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Put { atom, order } => {
                if let Some(order) = order {
                    out.push(b'e');
                    out.extend(order.as_str().as_bytes());
                    out.push(0);
                }
                out.push(match atom {
                    Atom::Value(_) => b'v',
                    Atom::Members(_) => b'm',
                });
                out.extend(atom.text().into_bytes());
            }
            Self::Removed { reason } => {
                out.push(b'x');
                out.extend(reason.as_bytes());
            }
            // Callers hand in what stands, which is never a review.
            Self::Review(_) => {}
        }
    }
}

const ATOM_LIMIT: Error = Error::invalid("a value is longer than 256 KiB");
const NOT_CANONICAL: Error = Error::invalid("a value is not in canonical form");

fn limit(length: usize, most: usize, error: Error) -> Result<()> {
    if length > most { Err(error) } else { Ok(()) }
}

/// The string, if this canonical text is one.
fn json_string(text: &str) -> Option<String> {
    if !text.starts_with('"') {
        return None;
    }
    match Json::parse(text.as_bytes()) {
        Ok(Json::String(string)) => Some(string.into()),
        _ => None,
    }
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| Error::invalid("text is not UTF-8"))
}

/// Splits at the first zero byte. Canonical JSON and places hold none.
fn split_zero(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    let at = bytes.iter().position(|b| *b == 0).ok_or(NOT_CANONICAL)?;
    let (head, tail) = bytes.split_at(at);
    Ok((head, tail.get(1..).unwrap_or_default()))
}

fn canonical(bytes: &[u8]) -> Result<Json> {
    let json = Json::parse(bytes)?;
    // One level more for bound members.
    if json.depth() > ATOM_DEPTH_MAX + 1 {
        return Err(Error::invalid("a value is nested too deep"));
    }
    if json.text().as_bytes() == bytes {
        Ok(json)
    } else {
        Err(NOT_CANONICAL)
    }
}

fn atom(bytes: &[u8]) -> Result<Atom> {
    let (tag, text) = bytes.split_first().ok_or(NOT_CANONICAL)?;
    limit(text.len(), MAX_ATOM, ATOM_LIMIT)?;
    match tag {
        b'v' => canonical(text)?,
        b'm' => return Atom::members(&canonical(text)?),
        _ => return Err(Error::invalid("a value has an unknown tag")),
    };
    Ok(Atom::Value(utf8(text)?.into()))
}

/// A value or a removal.
fn plain(bytes: &[u8]) -> Result<Cell> {
    match bytes.split_first() {
        Some((b'x', reason)) => {
            const LIMIT: Error = Error::invalid("a reason is longer than 4 KiB");
            limit(reason.len(), MAX_REASON, LIMIT)?;
            Ok(Cell::Removed {
                reason: utf8(reason)?.into(),
            })
        }
        Some((b'e', rest)) => {
            let (order, tail) = split_zero(rest)?;
            Ok(Cell::Put {
                order: Some(Order::parse(utf8(order)?)?),
                atom: atom(tail)?,
            })
        }
        _ => Ok(Cell::Put {
            atom: atom(bytes)?,
            order: None,
        }),
    }
}

fn review(bytes: &[u8]) -> Result<Cell> {
    const LIMIT: Error = Error::invalid("a review settles more than 200 operations");
    let (list, tail) = split_zero(bytes)?;
    limit(list.len(), MAX_SETTLES_TEXT, LIMIT)?;
    let list = canonical(list)?;
    let Json::Array(ids) = &list else {
        return Err(NOT_CANONICAL);
    };
    limit(ids.len(), MAX_SETTLES, LIMIT)?;
    let settles = ids
        .iter()
        .map(|id| id.as_str().ok_or(NOT_CANONICAL)?.parse())
        .collect::<Result<Vec<OpId>>>()?;
    if !settles.is_sorted_by(|a, b| a < b) {
        return Err(NOT_CANONICAL);
    }
    let stands = plain(tail)?;
    Ok(Cell::Review(Box::new(Review { settles, stands })))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ids::ActorId;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::Bool),
            "-?(0|[1-9][0-9]{0,5})(\\.[0-9]{1,3})?([eE][+-]?[0-9])?"
                .prop_map(|lexeme| Json::Number(lexeme.into())),
            any::<String>().prop_map(|text| Json::string(&text)),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(Json::Array),
                vec((any::<String>(), inner), 0..4).prop_map(Json::object),
            ]
        })
    }

    fn plain_cell() -> impl Strategy<Value = Cell> {
        let member = ("[a-z\u{e9}]{1,4}", json());
        let atom = prop_oneof![
            json().prop_map(|json| Atom::value(&json)),
            vec(member, 1..4)
                .prop_map(|m| Atom::members(&Json::object(m)).expect("there is a member")),
        ];
        let order = proptest::option::of((0..100_000_usize).prop_map(Order::nth));
        prop_oneof![
            4 => (atom, order).prop_map(|(atom, order)| Cell::Put { atom, order }),
            1 => any::<String>().prop_map(|reason| Cell::Removed { reason: reason.into() }),
        ]
    }

    /// Any cell that an engine could write.
    pub(crate) fn cell() -> impl Strategy<Value = Cell> {
        let id = (any::<u64>(), any::<[u8; 16]>()).prop_map(|(ctr, actor)| OpId {
            ctr,
            actor: ActorId(actor),
        });
        let settles = proptest::collection::btree_set(id, 0..4);
        prop_oneof![
            4 => plain_cell(),
            1 => (settles, plain_cell()).prop_map(|(settles, stands)| {
                let settles = settles.into_iter().collect();
                Cell::Review(Box::new(Review { settles, stands }))
            }),
        ]
    }

    fn bytes(text: &str) -> CellValue {
        CellValue::Bytes(text.as_bytes().to_vec())
    }

    fn actor() -> String {
        "0a".repeat(16)
    }

    #[test]
    fn cells_are_written_as_the_record_of_signed_bytes_says() {
        let put = |json: Json, order| Cell::Put {
            atom: Atom::value(&json),
            order,
        };
        let members = Json::object([("b", Json::Null), ("a", Json::string("x"))]);
        let members = Cell::Put {
            atom: Atom::members(&members).expect("members"),
            order: Some(Order::nth(0)),
        };
        let removed = Cell::Removed {
            reason: "twice".into(),
        };
        let review = Cell::Review(Box::new(Review {
            settles: vec![format!("7@{}", actor()).parse().expect("id")],
            stands: put(Json::string("x"), None),
        }));
        for (cell, value) in [
            (
                put(Json::string("a\"b"), None),
                CellValue::Str("a\"b".into()),
            ),
            (put(Json::Number("1.00".into()), None), bytes("v1.00")),
            (
                put(Json::string("x"), Some(Order::nth(1))),
                bytes("ea1\0v\"x\""),
            ),
            (members, bytes("ea0\0m{\"a\":\"x\",\"b\":null}")),
            (removed, bytes("xtwice")),
            (review, bytes(&format!("r[\"7@{}\"]\0v\"x\"", actor()))),
        ] {
            assert_eq!(cell.to_value(), value);
            assert_eq!(Cell::from_value(value).expect("own bytes are read"), cell);
        }
    }

    #[test]
    fn what_has_another_form_or_breaks_a_limit_is_refused() {
        let id = |n: u64| format!("\"{n}@{}\"", actor());
        let many: Vec<String> = (1..=201).map(id).collect();
        for text in [
            "",
            "v",
            "v\"x\"",
            "v1 ",
            "v{\"b\":1,\"a\":2}",
            "v\"\\u0041\"",
            "m{}",
            "m[1]",
            "z1",
            "e\0v1",
            "ea0\0x",
            "ea0\0ea0\0v1",
            "ea00\0v1",
            "ea0v1",
            "r[]v1",
            "r[1]\0v1",
            "r{}\0v1",
            "r[]\0r[]\0v1",
            "r[]\0",
            &format!("r[{},{}]\0v1", id(2), id(1)),
            &format!("r[{},{}]\0v1", id(1), id(1)),
            &format!("r[\"01@{}\"]\0v1", actor()),
            &format!("r[\"1@{}\"]\0v1", actor().to_uppercase()),
            &format!("r[{}]\0v1", many.join(",")),
            &format!("x{}", "y".repeat(MAX_REASON + 1)),
            &format!("v{}", "1".repeat(MAX_ATOM + 1)),
            &format!("v[{}]", "[".repeat(100_000)),
        ] {
            let short: String = text.chars().take(40).collect();
            assert!(Cell::from_value(bytes(text)).is_err(), "{short}");
        }
        assert!(Cell::from_value(CellValue::Bytes(b"x\xff".to_vec())).is_err());
        assert!(Cell::from_value(CellValue::Str("\u{1}".repeat(MAX_ATOM / 4))).is_err());
        assert!(Cell::from_value(CellValue::Str("y".repeat(MAX_ATOM - 2))).is_ok());
    }

    #[test]
    fn nothing_that_prints_shows_a_value() {
        let canary = Json::object([("canary", Json::string("canary"))]);
        let atom = Atom::members(&canary).expect("members");
        let cells = [
            Cell::put(&Json::string("canary")),
            Cell::Put { atom, order: None },
            Cell::Removed {
                reason: "canary".into(),
            },
        ];
        for stands in cells {
            let settles = Vec::new();
            let review = Cell::Review(Box::new(Review { settles, stands }));
            let shown = format!("{review:?} {:?}", review.to_value());
            assert!(!shown.contains("canary"), "{shown}");
        }
    }

    proptest! {
        #[test]
        fn a_cell_survives_its_two_encodings(cell in cell()) {
            prop_assert_eq!(&Cell::from_value(cell.to_value()).expect("own bytes are read"), &cell);
            let row = postcard::to_allocvec(&cell).expect("rows are written");
            prop_assert_eq!(&postcard::from_bytes::<Cell>(&row).expect("rows are read"), &cell);
            prop_assert!(cell.same_value(cell.standing()));
        }

        #[test]
        fn what_is_read_is_what_would_be_written(
            tag in "[vmexr]?", text in any::<String>(), canonical in json()
        ) {
            for bytes in [format!("{tag}{text}"), format!("{tag}{}", canonical.text())] {
                let value = CellValue::Bytes(bytes.into_bytes());
                if let Ok(cell) = Cell::from_value(value.clone()) {
                    prop_assert_eq!(cell.to_value(), value);
                }
            }
        }
    }
}
