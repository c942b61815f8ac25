//! Takes a JSON text apart that was found valid before: once, from front to back.

use crate::error::{Error, Result};
use crate::model::json::{DEPTH_MAX, Json, ascii_name, member_order, syntax};

/// What contradicts that the text is valid; no text that serde_json accepts gets here.
const BROKEN: Error = Error::invalid("not valid JSON");

/// A reader of a text that serde_json accepts as one JSON value.
pub(super) struct Valid<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Valid<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Reads one value. Numbers stay as they were written.
    pub(super) fn value(&mut self, depth: usize) -> Result<Json> {
        if depth > DEPTH_MAX {
            return Err(Error::invalid_at(
                "JSON is nested too deep",
                format!("{DEPTH_MAX} levels"),
            ));
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Json::String),
            _ => match self.scalar()? {
                "true" => Ok(Json::Bool(true)),
                "false" => Ok(Json::Bool(false)),
                "null" => Ok(Json::Null),
                number => Ok(Json::Number(number.into())),
            },
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json> {
        let mut object = Vec::new();
        self.at += 1;
        while !self.ends(b'}')? {
            self.peek();
            let name = self.string()?;
            // The colon.
            self.peek();
            self.at += 1;
            object.push((name, self.value(depth + 1)?));
        }
        let sorted = |pair: &[(Box<str>, Json)]| member_order(&pair[0].0, &pair[1].0).is_lt();
        if !object.windows(2).all(sorted) {
            object.sort_by(|a, b| member_order(&a.0, &b.0));
            if let Some(twice) = object.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                return Err(Error::invalid_at(
                    "a member stands twice",
                    ascii_name(&twice[0].0),
                ));
            }
        }
        Ok(Json::Object(object))
    }

    fn array(&mut self, depth: usize) -> Result<Json> {
        let mut items = Vec::new();
        self.at += 1;
        while !self.ends(b']')? {
            items.push(self.value(depth + 1)?);
        }
        Ok(Json::Array(items))
    }

    /// Whether the list ends here; else stands before its next item.
    fn ends(&mut self, end: u8) -> Result<bool> {
        match self.peek().ok_or(BROKEN)? {
            b',' => self.at += 1,
            byte if byte == end => {
                self.at += 1;
                return Ok(true);
            }
            _ => {}
        }
        Ok(false)
    }

    fn string(&mut self) -> Result<Box<str>> {
        let rest = self.text.as_bytes().get(self.at + 1..).ok_or(BROKEN)?;
        let mut len = 0;
        let mut escaped = false;
        loop {
            len += rest
                .get(len..)
                .and_then(|rest| rest.iter().position(|b| matches!(b, b'"' | b'\\')))
                .ok_or(BROKEN)?;
            if rest.get(len) == Some(&b'"') {
                break;
            }
            escaped = true;
            len += 2;
        }
        let (start, end) = (self.at + 1, self.at + 1 + len);
        self.at = end + 1;
        if !escaped {
            return self.text.get(start..end).map(Into::into).ok_or(BROKEN);
        }
        // Its own escapes, and what is none: half a surrogate pair.
        let quoted = self.text.get(start - 1..=end).ok_or(BROKEN)?;
        serde_json::from_str(quoted).map_err(|e| syntax(&e))
    }

    fn scalar(&mut self) -> Result<&'a str> {
        let rest = self.text.get(self.at..).ok_or(BROKEN)?;
        let after = |b: u8| matches!(b, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t');
        let len = rest.bytes().position(after).unwrap_or(rest.len());
        // Nothing would move on.
        if len == 0 {
            return Err(BROKEN);
        }
        self.at += len;
        rest.get(..len).ok_or(BROKEN)
    }

    /// The next byte that is no blank.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let blank = |b: &u8| matches!(b, b' ' | b'\n' | b'\r' | b'\t');
        self.at += rest.iter().take_while(|b| blank(b)).count();
        self.text.as_bytes().get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::value::RawValue;
    use std::collections::BTreeMap;

    /// Level by level, each by serde_json: slow, and surely right.
    fn by_levels(text: &str, depth: usize) -> Option<Json> {
        if depth > DEPTH_MAX {
            return None;
        }
        Some(match text.as_bytes().first()? {
            b'{' => {
                let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
                let all: Vec<(String, Json)> = members
                    .into_iter()
                    .map(|(name, raw)| Some((name, by_levels(raw.get(), depth + 1)?)))
                    .collect::<Option<_>>()?;
                Json::object(all)
            }
            b'[' => {
                let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
                let items = items.iter().map(|raw| by_levels(raw.get(), depth + 1));
                Json::Array(items.collect::<Option<_>>()?)
            }
            b'"' => Json::String(serde_json::from_str(text).ok()?),
            b't' => Json::Bool(true),
            b'f' => Json::Bool(false),
            b'n' => Json::Null,
            _ => Json::Number(text.into()),
        })
    }

    fn slowly(text: &str) -> Option<Json> {
        let raw: &RawValue = serde_json::from_str(text).ok()?;
        by_levels(raw.get(), 0)
    }

    /// Texts of JSON's tokens in any order: some are valid.
    fn tokens() -> impl Strategy<Value = String> {
        let token = proptest::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            " ",
            "\n\t",
            "\"a\"",
            "\"b\"",
            "\"\"",
            "1E5",
            "-0.50",
            "true",
            "null",
            "false",
            r#""\\""#,
            r#""\"\u00e9""#,
            r#""\ud800""#,
            r#""\ud83d\ude00""#,
            "\"\u{e9}}\"",
        ]);
        proptest::collection::vec(token, 0..14).prop_map(|all| all.concat())
    }

    fn value() -> impl Strategy<Value = String> {
        let leaf = proptest::sample::select(vec![
            "1",
            "1.0E-22",
            "true",
            "null",
            "\"x\"",
            r#""\\\"""#,
            r#"",]}""#,
            "\"\u{1f600}\"",
            "[]",
            "{ }",
        ]);
        let leaf = leaf.prop_map(str::to_owned);
        leaf.prop_recursive(5, 60, 6, |inner| {
            let list = proptest::collection::vec(inner.clone(), 0..6);
            let name =
                proptest::sample::select(vec!["b", "a", "\u{fb33}", "\u{1f600}", "c\\n", ""]);
            let members = proptest::collection::vec((name, inner), 0..5);
            prop_oneof![
                list.prop_map(|items| format!("[ {}]", items.join(" ,\n"))),
                members.prop_map(|members| {
                    let all = members.iter().map(|(n, v)| format!("\"{n}\" :\t{v}"));
                    format!("{{{} }}", all.collect::<Vec<_>>().join(", "))
                }),
            ]
        })
    }

    /// A member that stands twice is refused; the slow reader does not see it.
    fn agrees(text: &str) -> std::result::Result<(), TestCaseError> {
        match Json::parse(text.as_bytes()) {
            Ok(json) => prop_assert_eq!(Some(json), slowly(text)),
            Err(error) if error.to_string().contains("twice") => {}
            Err(_) => prop_assert_eq!(None, slowly(text)),
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn any_text_is_read_as_serde_json_reads_each_level(text in tokens(), nested in value()) {
            agrees(&text)?;
            agrees(&nested)?;
            agrees(&format!(" {nested}\n"))?;
        }
    }

    #[test]
    fn the_deepest_nesting_that_is_read_is_the_same() {
        for depth in [DEPTH_MAX, DEPTH_MAX + 1] {
            for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
                let text = [&open.repeat(depth), "1", &close.repeat(depth)].concat();
                let read = Json::parse(text.as_bytes());
                assert_eq!(read.is_ok(), depth <= DEPTH_MAX, "{depth}");
                assert_eq!(read.ok(), slowly(&text));
            }
        }
    }
}
