//! JSON as FHIR needs it: members sorted, numbers as they were written, no duplicate members.
//!
//! Canonical form is RFC 8785 for member order and strings. Number lexemes stay verbatim, because
//! FHIR says that 1.0 and 1.00 are different precisions (FHIR R4, datatypes: decimal).

use crate::error::{Error, Result};
use crate::model::json_valid::Valid;
use serde::de::Deserializer;
use serde_json::value::RawValue;
use std::fmt::{self, Write as _};

/// Deepest nesting that is read.
pub const DEPTH_MAX: usize = 64;
/// Deepest nesting of a member's value: a record that holds it can be read as a whole, with room
/// for the lists and bound members that it may stand in.
pub const ATOM_DEPTH_MAX: usize = DEPTH_MAX - 6;

/// A JSON value. Its `Debug` shows only its shape.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Json {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number, as written.
    Number(Box<str>),
    /// A string.
    String(Box<str>),
    /// An array.
    Array(Vec<Self>),
    /// Members, sorted by UTF-16 code units of their names, names unique.
    Object(Vec<(Box<str>, Self)>),
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Bool(_) => "Bool(hidden)",
            Self::Number(_) => "Number(hidden)",
            Self::String(_) => "String(hidden)",
            Self::Array(_) => "Array(hidden)",
            Self::Object(_) => "Object(hidden)",
        })
    }
}

/// RFC 8785 orders member names by UTF-16 code units; for ASCII that is byte order.
pub(crate) fn member_order(a: &str, b: &str) -> std::cmp::Ordering {
    if a.is_ascii() && b.is_ascii() {
        a.cmp(b)
    } else {
        a.encode_utf16().cmp(b.encode_utf16())
    }
}

impl Json {
    /// Reads one JSON text.
    ///
    /// # Errors
    /// [`Error::Invalid`] for bad syntax, invalid UTF-8, duplicate members, lone surrogates or
    /// nesting deeper than [`DEPTH_MAX`]; the detail is a position or a member's name.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(text)
            .map_err(|e| Error::invalid_at("not UTF-8", format!("byte {}", e.valid_up_to())))?;
        let raw: &RawValue = serde_json::from_str(text).map_err(|e| syntax(&e))?;
        Self::from_raw(raw)
    }

    /// How deep it is nested: 0 for a scalar or an empty array or object.
    pub fn depth(&self) -> usize {
        let below = match self {
            Self::Array(items) => items.iter().map(Self::depth).max(),
            Self::Object(members) => members.iter().map(|(_, v)| v.depth()).max(),
            _ => None,
        };
        below.map_or(0, |below| below + 1)
    }

    /// serde_json says whether the text is valid; it is read apart here, because serde_json alone
    /// rewrites exponents, and the lexeme has to survive.
    fn from_raw(raw: &RawValue) -> Result<Self> {
        Valid::new(raw.get()).value(0)
    }

    /// A string value.
    pub fn string(text: &str) -> Self {
        Self::String(text.into())
    }

    /// An object from members in any order; a later member of the same name wins.
    pub fn object<N: Into<Box<str>>>(members: impl IntoIterator<Item = (N, Self)>) -> Self {
        let mut object = Self::Object(Vec::new());
        for (name, value) in members {
            object.set(&name.into(), value);
        }
        object
    }

    /// The canonical text.
    pub fn text(&self) -> String {
        let mut out = String::with_capacity(256);
        self.write(&mut out);
        out
    }

    /// Appends the canonical text.
    pub fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            Self::Number(lexeme) => out.push_str(lexeme),
            Self::String(text) => write_string(text, out),
            Self::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (i, (name, value)) in members.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    write_string(name, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }

    /// A member of an object.
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.members()
            .iter()
            .find(|(n, _)| &**n == name)
            .map(|(_, v)| v)
    }

    /// A value by member names, first array items taken on the way.
    pub fn path(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |at, name| match at {
            Self::Array(items) => items.first()?.get(name),
            other => other.get(name),
        })
    }

    /// The members of an object; none for anything else.
    pub fn members(&self) -> &[(Box<str>, Self)] {
        match self {
            Self::Object(members) => members,
            _ => &[],
        }
    }

    /// The items of an array; none for anything else.
    pub fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// Sets a member of an object, at its canonical place.
    pub fn set(&mut self, name: &str, value: Self) {
        if let Self::Object(members) = self {
            match members.binary_search_by(|(n, _)| member_order(n, name)) {
                Ok(i) => members[i].1 = value,
                Err(i) => members.insert(i, (name.into(), value)),
            }
        }
    }

    /// Takes a member out of an object.
    pub fn remove(&mut self, name: &str) -> Option<Self> {
        match self {
            Self::Object(members) => {
                let i = members.iter().position(|(n, _)| &**n == name)?;
                Some(members.remove(i).1)
            }
            _ => None,
        }
    }
}

/// A foreign parser's text is dropped: it can quote the input.
pub(super) fn syntax(error: &serde_json::Error) -> Error {
    Error::invalid_at(
        "not valid JSON",
        format!("line {}, column {}", error.line(), error.column()),
    )
}

/// Member names are not clinical values, but hostile input may put anything there.
pub(super) fn ascii_name(name: &str) -> String {
    name.chars()
        .filter(char::is_ascii_alphanumeric)
        .take(64)
        .collect()
}

pub(crate) fn write_string(text: &str, out: &mut String) {
    out.push('"');
    // Most strings need no escape; this test runs over many bytes at once.
    let plain = !text.bytes().fold(false, |escape, b| {
        escape | (b < 0x20) | (b == b'"') | (b == b'\\')
    });
    if plain {
        out.push_str(text);
        out.push('"');
        return;
    }
    let mut rest = text;
    // serde_json's own escapes are those of RFC 8785; runs without any are copied whole.
    while let Some(i) = rest
        .bytes()
        .position(|b| b < 0x20 || b == b'"' || b == b'\\')
    {
        let (plain, tail) = rest.split_at(i);
        out.push_str(plain);
        let mut chars = tail.chars();
        match chars.next() {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\u{8}') => out.push_str("\\b"),
            Some('\u{c}') => out.push_str("\\f"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some(c) => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

impl serde::Serialize for Json {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        let raw = RawValue::from_string(self.text()).map_err(serde::ser::Error::custom)?;
        raw.serialize(s)
    }
}

impl<'de> serde::Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(d)?;
        Self::from_raw(&raw).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canon(text: &str) -> String {
        Json::parse(text.as_bytes()).expect("valid").text()
    }

    #[test]
    fn numbers_stay_as_they_were_written() {
        for lexeme in [
            "1.0",
            "1.00",
            "1E-22",
            "1e+5",
            "-0",
            "0.0000",
            "12345678901234567890",
        ] {
            assert_eq!(canon(lexeme), lexeme);
        }
        assert_eq!(canon("[1.10,1E2]"), "[1.10,1E2]");
    }

    #[test]
    fn members_are_sorted_by_utf16_and_blanks_dropped() {
        // RFC 8785, section 3.2.3: U+FB33 sorts after the surrogate pair of U+1F600.
        assert_eq!(
            canon("{ \"\u{fb33}\": 1, \"\u{1f600}\" : 2, \"b\":3,\"a\":[ ] }"),
            "{\"a\":[],\"b\":3,\"\u{1f600}\":2,\"\u{fb33}\":1}"
        );
    }

    #[test]
    fn strings_are_escaped_as_rfc_8785_says() {
        assert_eq!(
            canon(r#""\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/""#),
            "\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\""
        );
    }

    #[test]
    fn bad_input_is_named_and_never_quoted() {
        for (text, what) in [
            (&b"{\"a\":1,\"a\":2}"[..], "a member stands twice"),
            (b"\xff", "not UTF-8"),
            (b"{\"a\":", "not valid JSON"),
            (b"\"\\ud800\"", "not valid JSON"),
            (b"1 2", "not valid JSON"),
            (b"", "not valid JSON"),
        ] {
            let error = Json::parse(text).expect_err("must fail");
            assert!(error.to_string().starts_with(what), "{error}");
        }
        let deep = "[".repeat(100) + &"]".repeat(100);
        assert!(Json::parse(deep.as_bytes()).is_err());
        let very_deep = "[".repeat(1_000_000);
        assert!(Json::parse(very_deep.as_bytes()).is_err());
    }
}
