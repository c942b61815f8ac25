//! What is edited and looked up.

use crate::{Shape, records};
use medsync_core::model::json::Json;

/// The member that edits set.
pub(crate) const fn member(shape: Shape) -> &'static str {
    match shape {
        Shape::Synthea => "language",
        Shape::Chart => "birthDate",
    }
}

/// A value for it.
pub(crate) fn value(shape: Shape, n: usize) -> String {
    match shape {
        Shape::Synthea => format!("en-x-{n}"),
        Shape::Chart => format!(
            "19{:02}-{:02}-{:02}",
            n % 90,
            n / 90 % 12 + 1,
            n / 7 % 28 + 1
        ),
    }
}

/// The record with it, as the peers store it.
pub(crate) fn edited(shape: Shape, text: &str, value: &str) -> String {
    match shape {
        Shape::Synthea => text.replacen('{', &format!("{{\"language\":\"{value}\","), 1),
        Shape::Chart => text.replacen("1980-02-03", value, 1),
    }
}

/// The index that is searched.
pub(crate) const fn index_name(shape: Shape) -> &'static str {
    match shape {
        Shape::Synthea => "patient",
        Shape::Chart => "birthdate",
    }
}

/// A record's value there.
pub(crate) fn indexed(text: &str) -> String {
    let (id, json) = records::parse(text);
    let subject = json
        .get("subject")
        .and_then(|s| s.get("reference"))
        .and_then(Json::as_str);
    let birth = json.get("birthDate").and_then(Json::as_str);
    match (subject, id.id().starts_with("chart-"), birth) {
        (Some(patient), ..) => patient.to_owned(),
        (None, true, Some(date)) => date.to_owned(),
        _ => id.to_string(),
    }
}
