//! Keys and values of operations, by field.

use crate::doc::lean::Fault;
use crate::doc::lean::coder::{Bit, Coder, Freq, Num};
use crate::doc::lean::json::Shapes;
use crate::doc::lean::text::{Hints, TEXT_MAX, Texts, fnv};
use crate::model::cell::MAX_ATOM;
use crate::model::cell_value::CellValue;
use crate::model::order::Order;
use std::collections::HashMap;

const FIELDS_MAX: usize = 2048;

/// A string.
const TEXT: usize = 0;
/// `v` and JSON, behind a place in a list or not.
const WHOLE: usize = 1;
const PLACED: usize = 2;
/// `m` and JSON, behind a place in a list or not.
const MEMBERS: usize = 3;
const PLACED_MEMBERS: usize = 4;
/// Anything else, as it is.
const OTHER: usize = 5;
const KINDS: usize = 6;

/// What is known of a field.
#[derive(Clone)]
struct Field {
    kind: Freq,
    has_element: Bit,
    element: usize,
    text: usize,
    order: usize,
    follows: Bit,
    place: usize,
    length: Num,
}

/// Codes keys and values.
#[derive(Clone, Default)]
pub(super) struct Values {
    pub(super) texts: Texts,
    shapes: Shapes,
    fields: Vec<Field>,
    field_names: Option<usize>,
    names: HashMap<Box<str>, usize>,
}

/// What stands before an operation in its change.
#[derive(Clone, Default)]
pub(super) struct Before {
    field: u64,
    order: Option<(usize, usize)>,
}

/// A value taken apart: its kind, its place in a list, its text.
fn parts(value: &CellValue) -> Option<(usize, &str, &str)> {
    let bytes = match value {
        CellValue::Str(text) => return Some((TEXT, "", text)),
        CellValue::Bytes(bytes) => std::str::from_utf8(bytes).ok()?,
    };
    let (order, rest) = match bytes.strip_prefix('e') {
        Some(rest) => rest.split_once('\0')?,
        None => ("", bytes),
    };
    let placed = bytes.starts_with('e');
    let kind = match (placed, rest.chars().next()?) {
        (false, 'v') => WHOLE,
        (true, 'v') => PLACED,
        (false, 'm') => MEMBERS,
        (true, 'm') => PLACED_MEMBERS,
        _ => return None,
    };
    Some((kind, order, rest.get(1..)?))
}

impl Values {
    fn field(&mut self, name: &str) -> usize {
        if let Some(field) = self.names.get(name) {
            return *field;
        }
        if self.fields.len() >= FIELDS_MAX {
            return 0;
        }
        let texts = &mut self.texts;
        texts.held += 5000;
        self.fields.push(Field {
            kind: Freq::new(KINDS),
            has_element: Bit::default(),
            element: texts.column(&format!("/{name}")),
            text: texts.column(&format!("${name}")),
            order: texts.column(&format!("#{name}")),
            follows: Bit::default(),
            place: self.shapes.place(texts, name),
            length: Num::default(),
        });
        self.names.insert(name.into(), self.fields.len() - 1);
        self.fields.len() - 1
    }

    /// A text of a named column, with nothing else known of it.
    pub(super) fn text<C: Coder>(
        &mut self,
        c: &mut C,
        column: &str,
        text: &str,
    ) -> Result<String, Fault> {
        let column = self.texts.column(column);
        let mut out = String::new();
        self.texts
            .text(c, column, text, &mut Hints::default(), &mut out)?;
        Ok(if C::WRITES { text.to_owned() } else { out })
    }

    /// Codes a key.
    pub(super) fn key<C: Coder>(
        &mut self,
        c: &mut C,
        key: &str,
        before: &Before,
    ) -> Result<Box<str>, Fault> {
        let (name, element) = key.split_once('/').unwrap_or((key, ""));
        let mut hints = Hints {
            before: before.field,
            ..Hints::default()
        };
        let texts = &mut self.texts;
        let column = *self.field_names.get_or_insert_with(|| texts.column("@"));
        let mut out = String::new();
        self.texts.text(c, column, name, &mut hints, &mut out)?;
        let field = self.field(if C::WRITES { name } else { &out });
        let has = key.len() > name.len();
        if c.bit(&mut self.fields[field].has_element, has)? {
            let column = self.fields[field].element;
            let mut hints = Hints::default();
            out.push('/');
            self.texts.text(c, column, element, &mut hints, &mut out)?;
        }
        Ok(if C::WRITES { key.into() } else { out.into() })
    }

    /// Codes the value at a key; `old` is the one it replaces.
    pub(super) fn value<C: Coder>(
        &mut self,
        c: &mut C,
        (key, subject): (&str, &str),
        value: CellValue,
        old: Option<&CellValue>,
        before: &mut Before,
    ) -> Result<CellValue, Fault> {
        let (name, element) = key.split_once('/').unwrap_or((key, ""));
        let at = self.field(name);
        let (kind, order, text) = match C::WRITES {
            true => parts(&value).unwrap_or((OTHER, "", "")),
            false => (OTHER, "", ""),
        };
        let old = old.and_then(parts);
        let kind = c.symbol(&mut self.fields[at].kind, kind)?;
        let mut hints = Hints {
            element,
            subject,
            ..Hints::default()
        };
        let mut out = String::new();
        if kind == PLACED || kind == PLACED_MEMBERS {
            out.push('e');
            let old = old.as_ref().map(|(_, order, _)| *order);
            self.order(c, at, order, old, before, &mut out)?;
            out.push('\0');
        } else {
            before.order = None;
        }
        before.field = fnv(name);
        let field = &mut self.fields[at];
        match kind {
            OTHER => {
                let bytes = match &value {
                    CellValue::Bytes(bytes) => &bytes[..],
                    CellValue::Str(_) => &[],
                };
                let bytes = c.literal(&mut field.length, bytes, TEXT_MAX)?;
                return Ok(if C::WRITES {
                    value
                } else {
                    CellValue::Bytes(bytes)
                });
            }
            TEXT => {
                let column = field.text;
                self.texts.text(c, column, text, &mut hints, &mut out)?;
                return Ok(if C::WRITES {
                    value
                } else {
                    CellValue::Str(out)
                });
            }
            WHOLE | PLACED => out.push('v'),
            _ => out.push('m'),
        }
        let old = old
            .map(|(_, _, text)| text)
            .filter(|old| old.len() <= MAX_ATOM);
        let place = (field.place, 0);
        let (shapes, texts) = (&mut self.shapes, &mut self.texts);
        shapes.value(c, texts, place, (text, old), &mut hints, &mut out)?;
        Ok(if C::WRITES {
            value
        } else {
            CellValue::Bytes(out.into())
        })
    }

    /// Codes a place in a list: the one of the old value or the next of a fresh list, mostly.
    fn order<C: Coder>(
        &mut self,
        c: &mut C,
        at: usize,
        order: &str,
        old: Option<&str>,
        before: &mut Before,
        out: &mut String,
    ) -> Result<(), Fault> {
        let next = match before.order {
            Some((field, index)) if field == at => index + 1,
            _ => 0,
        };
        let fresh = Order::nth(next);
        let expected = old.unwrap_or(fresh.as_str());
        before.order = Some((at, next));
        let field = &mut self.fields[at];
        if c.bit(&mut field.follows, order == expected)? {
            out.push_str(expected);
            return Ok(());
        }
        let column = field.order;
        let mut hints = Hints::default();
        self.texts.text(c, column, order, &mut hints, out)
    }
}
