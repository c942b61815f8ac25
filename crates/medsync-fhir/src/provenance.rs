//! A record's history as FHIR R4 Provenance: one for each commit that changed it.

use crate::audit::{KEY, identified};
use crate::time;
use medsync_core::ids::RecordId;
use medsync_core::ledger::commit::Intent;
use medsync_core::model::json::Json;
use medsync_core::vault::Event;

const OPERATION: &str = "http://terminology.hl7.org/CodeSystem/v3-DataOperation";
const ROLE: &str = "http://terminology.hl7.org/CodeSystem/provenance-participant-type";
const COMPLETION: &str = "http://terminology.hl7.org/CodeSystem/v3-DocumentCompletion";

fn concept(system: &str, code: &str, display: &str) -> Json {
    let coding = Json::object([
        ("system", Json::string(system)),
        ("code", Json::string(code)),
        ("display", Json::string(display)),
    ]);
    Json::object([("coding", Json::Array(vec![coding]))])
}

/// The Provenances of a record, oldest first, from its whole history. Operations of one commit are
/// one Provenance.
pub fn provenance(record: &RecordId, history: &[Event]) -> Vec<Json> {
    let mut out: Vec<Json> = Vec::new();
    let mut last = None;
    for (n, event) in history.iter().enumerate() {
        let of = &event.candidate;
        // Operations of one change are written together, by one author at one time.
        let commit = (of.author, of.replica, of.time, event.intent);
        if last == Some(commit) {
            continue;
        }
        last = Some(commit);
        out.push(one(record, event, n == 0));
    }
    out
}

fn one(record: &RecordId, event: &Event, first: bool) -> Json {
    let of = &event.candidate;
    let target = Json::object([("reference", Json::string(record.as_str()))]);
    let (role, display) = match event.intent {
        Intent::Review => ("verifier", "Verifier"),
        Intent::Import => ("enterer", "Enterer"),
        _ => ("author", "Author"),
    };
    let mut who = identified(KEY, &of.author.to_string());
    if let Some(name) = &of.name {
        who.set("display", Json::string(name.expose()));
    }
    let person = Json::object([("type", concept(ROLE, role, display)), ("who", who)]);
    let device = Json::object([
        ("type", concept(ROLE, "assembler", "Assembler")),
        (
            "who",
            identified("urn:medsync:replica", &of.replica.to_string()),
        ),
    ]);
    let activity = match (event.intent, first) {
        (Intent::Review, _) => concept(COMPLETION, "AU", "authenticated"),
        (_, true) => concept(OPERATION, "CREATE", "create"),
        (_, false) => concept(OPERATION, "UPDATE", "revise"),
    };
    let mut out = Json::object([
        ("resourceType", Json::string("Provenance")),
        ("target", Json::Array(vec![target])),
        ("recorded", Json::string(&time::instant(of.time.ms()))),
        ("activity", activity),
        ("agent", Json::Array(vec![person, device])),
    ]);
    if let Some(because) = event.because.as_ref().or(of.reason.as_ref()) {
        let reason = Json::object([("text", Json::string(because.expose()))]);
        out.set("reason", Json::Array(vec![reason]));
    }
    if let Some(source) = &event.source {
        let what = Json::object([("display", Json::string(source))]);
        let entity = Json::object([("role", Json::string("source")), ("what", what)]);
        out.set("entity", Json::Array(vec![entity]));
    }
    out
}
