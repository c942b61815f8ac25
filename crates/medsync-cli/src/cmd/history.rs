//! Everything that was ever written to a record.

use crate::cli::{Global, History};
use crate::exit::Done;
use crate::session;
use crate::show;
use medsync_core::ledger::commit::Intent;
use medsync_core::model::json::Json;
use medsync_core::vault::Event;

pub(super) fn run(global: &Global, args: &History) -> Done {
    let id = show::record_id(&args.record)?;
    let vault = session::reader(global)?;
    let rules = vault.pack().kind(id.kind());
    let field = args.field.as_deref().map(|field| rules.field_of(field));
    let events = vault.history(&id, field)?;
    if global.json {
        return show::json(&Json::Array(events.iter().map(event_json).collect()));
    }
    let mut table = show::table(&[
        "time", "author", "device", "field", "value", "by", "because", "",
    ]);
    for event in &events {
        let candidate = &event.candidate;
        table.add_row([
            show::local(candidate.time.ms()),
            show::by(candidate),
            candidate.replica.short(),
            show::clean(&event.field),
            value(event),
            by(event),
            reason(event).map(show::clean).unwrap_or_default(),
            note(event).to_owned(),
        ]);
    }
    show::print(&table, "Nothing was written to this field.")
}

pub(super) fn event_json(event: &Event) -> Json {
    let mut json = show::candidate_json(&event.candidate);
    let because = reason(event).map(ToOwned::to_owned);
    json.set("because", show::maybe(because.as_deref()));
    json.set("field", Json::string(&event.field));
    json.set("intent", Json::string(intent(event.intent)));
    json.set("source", show::maybe(event.source.as_deref()));
    json.set("stands", Json::Bool(event.stands));
    json
}

/// What the author said: of the whole commit, or of this removal.
fn reason(event: &Event) -> Option<&str> {
    let said = event.because.as_ref().or(event.candidate.reason.as_ref());
    said.map(|text| text.expose().as_str())
}

fn value(event: &Event) -> String {
    match &event.candidate.value {
        Some(json) => show::value(json.expose()),
        None => "(removed)".to_owned(),
    }
}

/// The intent, with an import's source.
fn by(event: &Event) -> String {
    match &event.source {
        Some(source) => format!("{} {}", intent(event.intent), show::clean(source)),
        None => intent(event.intent).to_owned(),
    }
}

const fn intent(intent: Intent) -> &'static str {
    match intent {
        Intent::Edit => "edit",
        Intent::Import => "import",
        Intent::Review => "review",
        Intent::Membership => "membership",
        Intent::Pack => "pack",
        Intent::Acceptance => "acceptance",
        Intent::Unknown(_) => "unknown",
    }
}

const fn note(event: &Event) -> &'static str {
    match (event.stands, event.candidate.confirmed) {
        (true, true) => "stands",
        (true, false) => "unconfirmed",
        (false, _) => "",
    }
}
