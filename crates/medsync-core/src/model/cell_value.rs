//! Cells as Automerge values: the table of `docs/adr/0001`, to the byte.
//!
//! A cell has one encoding. What is read must be what would be written, or it is refused: two
//! replicas must never disagree on whether two values are the same.

use crate::error::{Error, Result};
use crate::model::cell::{Atom, Cell, MAX_ATOM, MAX_REASON, MAX_SETTLES, OpId, Review};
use crate::model::json::Json;
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
