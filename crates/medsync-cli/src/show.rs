//! What people and scripts read: tables, times, JSON.

use crate::exit::Done;
use comfy_table::{Attribute, Cell, Color, ColumnConstraint, ContentArrangement, Table, presets};
use medsync_core::ids::RecordId;
use medsync_core::model::json::Json;
use medsync_core::model::pack::Risk;
use medsync_core::vault::{Candidate, Question, Version};
use std::io::{self, IsTerminal as _, Write as _};

/// Longest value in a table, in characters.
const VALUE_CHARS: usize = 120;

/// Narrowest table, in columns of the terminal.
const WIDTH_MIN: u16 = 80;

/// Prints lines to standard output.
pub(crate) fn line(text: impl AsRef<str>) -> Done {
    let mut out = io::stdout().lock();
    out.write_all(text.as_ref().as_bytes())?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Tells people something beside the result, on standard error.
pub(crate) fn note(text: impl AsRef<str>) {
    // Nobody is left to tell when standard error is gone.
    writeln!(io::stderr().lock(), "{}", text.as_ref()).ok();
}

/// Prints one JSON value to standard output.
pub(crate) fn json(value: &Json) -> Done {
    line(value.text())
}

/// An object of JSON, its members in canonical order.
pub(crate) fn object<const N: usize>(members: [(&str, Json); N]) -> Json {
    Json::object(members)
}

pub(crate) fn number(value: impl ToString) -> Json {
    Json::Number(value.to_string().into())
}

pub(crate) fn strings(texts: impl IntoIterator<Item = impl ToString>) -> Json {
    let text = |text: &dyn Fn() -> String| Json::string(&text());
    Json::Array(
        texts
            .into_iter()
            .map(|item| text(&|| item.to_string()))
            .collect(),
    )
}

/// A text, or null.
pub(crate) fn maybe(text: Option<&str>) -> Json {
    text.map_or(Json::Null, Json::string)
}

pub(crate) fn version(version: &Version) -> Json {
    strings(&version.0)
}

fn colours() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// A table with a heading; as wide as the terminal, unbroken elsewhere.
pub(crate) fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        // A terminal that does not know its width says 0.
        if table.width().is_none_or(|columns| columns < WIDTH_MIN) {
            table.set_width(WIDTH_MIN);
        }
    }
    let bold = colours();
    table.set_header(head.iter().map(|name| match bold {
        true => Cell::new(name).add_attribute(Attribute::Bold),
        false => Cell::new(name),
    }));
    table
}

/// A table of names and values.
pub(crate) fn pairs<const N: usize>(rows: [(&str, String); N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for (name, value) in rows {
        table.add_row([name.to_owned(), value]);
    }
    table
}

/// Prints a table, or says that it is empty.
pub(crate) fn print(table: &Table, if_empty: &str) -> Done {
    if table.is_empty() {
        return line(if_empty);
    }
    let mut table = table.clone();
    // The first column names things: broken over lines nobody could copy it.
    if let Some(names) = table.column_mut(0) {
        names.set_constraint(ColumnConstraint::ContentWidth);
    }
    line(table.trim_fmt())
}

/// A text without the control characters that steer terminals, however long.
pub(crate) fn harmless(text: &str) -> String {
    let shown = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    shown.collect()
}

/// Text from records, on one line and without the control characters that steer terminals.
pub(crate) fn clean(text: &str) -> String {
    let shown = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut out: String = shown.clone().take(VALUE_CHARS).collect();
    if shown.count() > VALUE_CHARS {
        out.push_str("..");
    }
    out
}

/// A value for a table: texts bare, the rest as JSON.
pub(crate) fn value(json: &Json) -> String {
    match json {
        Json::String(text) => clean(text),
        other => clean(&other.text()),
    }
}

pub(crate) fn risk(risk: Risk) -> &'static str {
    match risk {
        Risk::Critical => "critical",
        Risk::High => "high",
        Risk::Medium => "medium",
        Risk::Low => "low",
    }
}

pub(crate) fn risk_cell(of: Risk) -> Cell {
    let cell = Cell::new(risk(of));
    match of {
        _ if !colours() => cell,
        Risk::Critical => cell.fg(Color::Red).add_attribute(Attribute::Bold),
        Risk::High => cell.fg(Color::Red),
        Risk::Medium => cell.fg(Color::Yellow),
        Risk::Low => cell,
    }
}

/// A time for scripts: RFC 3339, UTC.
pub(crate) fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms}ms"), |t| t.to_string())
}

/// A time for people: local, to the minute.
pub(crate) fn local(ms: i64) -> String {
    let Ok(time) = jiff::Timestamp::from_millisecond(ms) else {
        return format!("{ms}ms");
    };
    let zoned = time.to_zoned(jiff::tz::TimeZone::system());
    zoned.strftime("%Y-%m-%d %H:%M").to_string()
}

/// A span for people, in its largest unit.
pub(crate) fn span(seconds: i64) -> String {
    let (count, unit) = match seconds {
        s if s < 60 => (s.max(0), "s"),
        s if s < 3600 => (s / 60, "min"),
        s if s < 48 * 3600 => (s / 3600, "h"),
        s => (s / 86_400, "d"),
    };
    format!("{count} {unit}")
}

/// The name people know an author by, else the beginning of the key.
pub(crate) fn author(candidate: &Candidate) -> String {
    match &candidate.name {
        Some(name) => clean(name.expose()),
        None => candidate.author.short(),
    }
}

/// The author for a person to read, with a warning where copies write under one name.
pub(crate) fn by(candidate: &Candidate) -> String {
    let forked = if candidate.forked {
        " (chain forked)"
    } else {
        ""
    };
    author(candidate) + forked
}

pub(crate) fn candidate_json(candidate: &Candidate) -> Json {
    let value = candidate.value.as_ref().map(|v| v.expose().clone());
    let reason = candidate.reason.as_ref().map(|r| r.expose().as_str());
    object([
        ("author", Json::string(&author(candidate))),
        ("confirmed", Json::Bool(candidate.confirmed)),
        ("device", Json::string(&candidate.replica.to_string())),
        ("forked", Json::Bool(candidate.forked)),
        ("reason", maybe(reason)),
        ("removed", Json::Bool(candidate.value.is_none())),
        ("time", Json::string(&time(candidate.time.ms()))),
        ("value", value.unwrap_or(Json::Null)),
    ])
}

/// Why a question is open, in words.
pub(crate) fn why(question: &Question) -> &'static str {
    use medsync_core::doc::shown::{Apart, Why};
    match question.why {
        Why::Disagreement => match question.apart {
            Apart::Unseen => "different values, written without sight of each other",
            Apart::Finals => "two different final values, of which neither gives way to the other",
            Apart::InSight => "different values, and what is in question only a decision settles",
        },
        Why::Unconfirmed => "a value by someone without the authority",
        Why::StoppedBesideChange => "a final status beside a change its author had not seen",
        Why::BelowFloor => "the count fell below its floor",
    }
}

/// So many of something.
pub(crate) fn count(n: impl Into<u64>, one: &str, many: &str) -> String {
    match n.into() {
        1 => format!("1 {one}"),
        n => format!("{n} {many}"),
    }
}

/// What a candidate says.
fn said(candidate: &Candidate) -> String {
    match (&candidate.value, &candidate.reason) {
        (Some(json), _) => value(json.expose()),
        (None, Some(reason)) => format!("(removed: {})", clean(reason.expose())),
        (None, None) => "(removed)".to_owned(),
    }
}

/// The changes that a final status stands beside.
pub(crate) fn beside(question: &Question) -> Table {
    let mut table = table(&["changed beside it", "value", "author", "device", "time"]);
    for (field, change) in &question.beside {
        table.add_row([
            clean(field),
            said(change),
            by(change),
            change.replica.short(),
            local(change.time.ms()),
        ]);
    }
    table
}

/// The candidates of a question, counted from 0 as `review resolve --keep` does.
pub(crate) fn candidates(question: &Question) -> Table {
    let mut table = table(&["N", "value", "author", "device", "time", ""]);
    for (n, candidate) in question.candidates.iter().enumerate() {
        let note = if candidate.confirmed {
            ""
        } else {
            "unconfirmed"
        };
        table.add_row([
            n.to_string(),
            said(candidate),
            by(candidate),
            candidate.replica.short(),
            local(candidate.time.ms()),
            note.to_owned(),
        ]);
    }
    table
}

/// What a record is about, in a few words.
pub(crate) fn label(record: &Json) -> String {
    const PATHS: [&str; 12] = [
        "name",
        "code",
        "vaccineCode",
        "medicationCodeableConcept",
        "type",
        "title",
        "description",
        "serviceType",
        "category",
        "class",
        "content",
        "reasonCode",
    ];
    let told = PATHS.iter().find_map(|path| words(record.get(path)?));
    clean(&told.unwrap_or_default())
}

/// A value in the words that people use for it, where it has any.
pub(crate) fn told(of: &Json) -> String {
    words(of).map_or_else(|| value(of), |text| clean(&text))
}

/// A human name, a concept or a plain text.
fn words(of: &Json) -> Option<String> {
    let of = of.items().first().unwrap_or(of);
    let text = |name: &str| of.get(name).and_then(Json::as_str);
    if let Some(text) = of
        .as_str()
        .or_else(|| text("text"))
        .or_else(|| text("display"))
    {
        return Some(text.to_owned());
    }
    if let Some(coding) = of.get("coding") {
        let coding = coding.items().first()?;
        let known = coding.get("display").or_else(|| coding.get("code"));
        return known.and_then(Json::as_str).map(ToOwned::to_owned);
    }
    let given = of.get("given").map_or(&[][..], Json::items);
    let parts = given.iter().filter_map(Json::as_str).chain(text("family"));
    let name = parts.collect::<Vec<_>>().join(" ");
    (!name.is_empty()).then_some(name)
}

/// The status of a record, where it has one.
pub(crate) fn status(record: &Json) -> String {
    let status = record
        .get("status")
        .or_else(|| record.get("clinicalStatus"));
    clean(&status.and_then(words).unwrap_or_default())
}

/// Reads a record's JSON again.
pub(crate) fn parse(text: &str) -> Done<Json> {
    Ok(Json::parse(text.as_bytes())?)
}

/// A record named on the command line.
pub(crate) fn record_id(text: &str) -> Done<RecordId> {
    text.parse().map_err(|_| {
        crate::exit::Failure::usage(
            "a record is named Kind/id",
            "as in Patient/p1; medsync list and medsync search show the names",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_steer_terminals_are_made_harmless() {
        assert_eq!(clean("a\u{1b}[31mb\u{9b}c\n"), "a [31mb c ");
    }

    #[test]
    fn a_record_is_told_by_its_name_or_code() {
        let label_of = |text: &str| label(&Json::parse(text.as_bytes()).expect("JSON"));
        assert_eq!(
            label_of(r#"{"name":[{"family":"Devi","given":["Asha","K."]}]}"#),
            "Asha K. Devi"
        );
        assert_eq!(
            label_of(r#"{"code":{"coding":[{"code":"718-7","display":"Hemoglobin"}]}}"#),
            "Hemoglobin"
        );
    }
}
