//! Reads a file of edits that become one commit.

use crate::cmd::edit::{Asked, version};
use crate::cmd::files;
use crate::exit::{Done, FAILED, Failure};
use medsync_core::model::json::Json;
use std::path::Path;

/// Largest batch, in bytes: one commit has to stay one.
const BATCH_MAX: u64 = 16 * 1024 * 1024;

/// The edits of a JSON array, or one object a line.
pub(super) fn read(path: &Path) -> Done<Vec<Asked>> {
    let text = files::read(path, BATCH_MAX)?;
    let at = |n: usize, why: &str| {
        let error = format!("{}: edit {n}: {why}", path.display());
        Failure::new(
            FAILED,
            error,
            "medsync edit --help shows what a batch looks like",
        )
    };
    let edits: Vec<Json> = if text.trim_start().starts_with('[') {
        match Json::parse(text.as_bytes()) {
            Ok(Json::Array(edits)) => edits,
            _ => return Err(at(1, "not a valid JSON array")),
        }
    } else {
        let lines = text.lines().filter(|line| !line.trim().is_empty()).zip(1..);
        lines
            .map(|(line, n)| Json::parse(line.as_bytes()).map_err(|_| at(n, "not valid JSON")))
            .collect::<Done<_>>()?
    };
    if edits.is_empty() {
        return Err(at(0, "the batch is empty"));
    }
    let numbered = edits.iter().zip(1..);
    numbered
        .map(|(edit, n)| asked(edit).map_err(|why| at(n, why)))
        .collect()
}

/// One edit; what is wrong with it is told without its values.
fn asked(edit: &Json) -> Result<Asked, &'static str> {
    const KNOWN: [&str; 7] = ["record", "at", "set", "add", "count", "retract", "because"];
    let Json::Object(members) = edit else {
        return Err("not an object");
    };
    if members.iter().any(|(name, _)| !KNOWN.contains(&&**name)) {
        return Err("only record, at, set, add, count, retract and because are known");
    }
    let record = edit.get("record").and_then(Json::as_str);
    let record = record.ok_or("record is missing")?;
    let record = record.parse().map_err(|_| "record is not named Kind/id")?;
    let at = match edit.get("at") {
        None | Some(Json::Null) => None,
        Some(Json::String(text)) => Some(version(text).map_err(|_| "at is no version")?),
        Some(list) => Some(version(&list.text()).map_err(|_| "at is no version")?),
    };
    let because = match edit.get("because") {
        None | Some(Json::Null) => None,
        Some(text) => Some(text.as_str().ok_or("because is not a text")?.to_owned()),
    };
    let mut add = Vec::new();
    for item in list(edit, "add").ok_or("add is not a list")? {
        add.extend(members_of(Some(item)).ok_or("add is a list of {\"FIELD\": item}")?);
    }
    let counts = members_of(edit.get("count")).ok_or("count is not an object")?;
    let count = counts.into_iter().map(|(field, n)| {
        let n = n.text().parse().map_err(|_| "count takes whole numbers")?;
        Ok((field, n))
    });
    let retract = list(edit, "retract").ok_or("retract is not a list")?;
    let retract = retract
        .iter()
        .map(|key| key.as_str().map(ToOwned::to_owned));
    let asked = Asked {
        record,
        at,
        set: members_of(edit.get("set")).ok_or("set is not an object")?,
        add,
        count: count.collect::<Result<_, &'static str>>()?,
        retract: retract
            .collect::<Option<_>>()
            .ok_or("retract is a list of FIELD or FIELD/ELEMENT")?,
        because,
    };
    if asked.repeats() {
        return Err("one field is set or retracted twice");
    }
    Ok(asked)
}

fn list<'a>(edit: &'a Json, name: &str) -> Option<&'a [Json]> {
    match edit.get(name) {
        None | Some(Json::Null) => Some(&[]),
        Some(Json::Array(items)) => Some(items),
        Some(_) => None,
    }
}

fn members_of(object: Option<&Json>) -> Option<Vec<(String, Json)>> {
    match object {
        None | Some(Json::Null) => Some(Vec::new()),
        Some(Json::Object(members)) => {
            let owned = members
                .iter()
                .map(|(name, value)| (name.to_string(), value.clone()));
            Some(owned.collect())
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> &'static str {
        asked(&Json::parse(text.as_bytes()).expect("JSON")).expect_err("a fault")
    }

    #[test]
    fn what_is_wrong_with_an_edit_is_told_without_its_values() {
        assert_eq!(fault("[]"), "not an object");
        assert_eq!(fault(r#"{"set":{}}"#), "record is missing");
        assert_eq!(fault(r#"{"record":"p1"}"#), "record is not named Kind/id");
        assert_eq!(fault(r#"{"record":"A/1","add":{}}"#), "add is not a list");
        assert_eq!(fault(r#"{"record":"A/1","at":["zz"]}"#), "at is no version");
        let unknown = fault(r#"{"record":"A/1","sett":{}}"#);
        assert!(unknown.starts_with("only record"), "{unknown}");
    }

    #[test]
    fn an_edit_says_all_that_a_command_line_can() {
        let edit = r#"{"record":"A/1","at":[],"set":{"a":1},"add":[{"b":2},{"b":3}],
                       "count":{"c":-4},"retract":["b/x"],"because":"why"}"#;
        let asked = asked(&Json::parse(edit.as_bytes()).expect("JSON")).expect("an edit");
        assert_eq!((asked.set.len(), asked.add.len()), (1, 2));
        assert_eq!(asked.count, [("c".to_owned(), -4)]);
        assert_eq!(asked.retract, ["b/x"]);
        assert_eq!(asked.because.as_deref(), Some("why"));
    }
}
