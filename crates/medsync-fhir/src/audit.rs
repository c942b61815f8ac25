//! Entries of an audit log as FHIR R4 AuditEvents.
//!
//! They follow the patterns of IHE's Basic Audit Log Patterns (BALP) for reads, queries, updates,
//! disclosures and user authentication, and name no profile: a profile asks for one patient an
//! event, and an entry may tell of many.

use crate::time;
use base64ct::{Base64, Encoding as _};
use medsync_core::ids::{AuthorKey, DeviceKey, RecordId};
use medsync_core::ledger::audit::{Action, Actor, Detail, Subject};
use medsync_core::ledger::audit_proof::AuditLine;
use medsync_core::model::json::Json;

const DCM: &str = "http://dicom.nema.org/resources/ontology/DCM";
const EVENT: &str = "http://terminology.hl7.org/CodeSystem/audit-event-type";
const REST: &str = "http://hl7.org/fhir/restful-interaction";
const LIFECYCLE: &str = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle";
const ENTITY: &str = "http://terminology.hl7.org/CodeSystem/audit-entity-type";
const ROLE: &str = "http://terminology.hl7.org/CodeSystem/object-role";
const SOURCE: &str = "http://terminology.hl7.org/CodeSystem/security-source-type";
const PARTICIPANT: &str = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";
const PURPOSE: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
/// How keys are named as identifiers.
pub(crate) const KEY: &str = "urn:medsync:ed25519";
const COMMIT: &str = "urn:medsync:commit";

/// A type and subtypes as (system, code, display), and the action's letter.
type Kind = (
    (&'static str, &'static str, &'static str),
    Option<(&'static str, &'static str, &'static str)>,
    &'static str,
);

const fn kind(action: Action) -> Kind {
    const LOGIN: (&str, &str, &str) = (DCM, "110114", "User Authentication");
    const RESTFUL: (&str, &str, &str) = (EVENT, "rest", "Restful Operation");
    const SECURITY: (&str, &str, &str) = (DCM, "110113", "Security Alert");
    match action {
        Action::OPEN => (
            (DCM, "110100", "Application Activity"),
            Some((DCM, "110120", "Application Start")),
            "E",
        ),
        Action::UNLOCK => (LOGIN, Some((DCM, "110122", "Login")), "E"),
        Action::LEAVE => (LOGIN, Some((DCM, "110123", "Logout")), "E"),
        Action::READ => (RESTFUL, Some((REST, "read", "read")), "R"),
        Action::SEARCH => (RESTFUL, Some((REST, "search", "search")), "E"),
        Action::CHANGE | Action::DECIDE => (RESTFUL, Some((REST, "update", "update")), "U"),
        Action::IMPORT => ((DCM, "110107", "Import"), None, "C"),
        Action::ADMIT | Action::REVOKE => (
            SECURITY,
            Some((DCM, "110136", "Security Roles Changed")),
            "U",
        ),
        Action::PACK => (
            SECURITY,
            Some((DCM, "110129", "Security Configuration")),
            "U",
        ),
        Action::EXPORT => (
            (DCM, "110106", "Export"),
            Some((LIFECYCLE, "disclose", "Disclose Record Lifecycle Event")),
            "R",
        ),
        Action::EXCHANGE => ((DCM, "110108", "Network Entry"), None, "E"),
        Action::BREAK_GLASS => (
            SECURITY,
            Some((DCM, "110127", "Emergency Override Started")),
            "E",
        ),
        Action::ACKNOWLEDGE => (
            SECURITY,
            Some((DCM, "110138", "Emergency Override Stopped")),
            "E",
        ),
        Action::PROVE => ((DCM, "110101", "Audit Log Used"), None, "R"),
        _ => ((DCM, "110100", "Application Activity"), None, "E"),
    }
}

fn coding((system, code, display): (&str, &str, &str)) -> Json {
    Json::object([
        ("system", Json::string(system)),
        ("code", Json::string(code)),
        ("display", Json::string(display)),
    ])
}

fn concept(of: (&str, &str, &str)) -> Json {
    Json::object([("coding", Json::Array(vec![coding(of)]))])
}

/// A key as an identifier.
pub(crate) fn identified(system: &str, value: &str) -> Json {
    let identifier = Json::object([
        ("system", Json::string(system)),
        ("value", Json::string(value)),
    ]);
    Json::object([("identifier", identifier)])
}

/// An entry as an AuditEvent. `records` are those of its commit, `name` is how people know a key.
pub fn audit_event(
    line: &AuditLine,
    records: &[RecordId],
    name: &dyn Fn(&AuthorKey) -> Option<String>,
) -> Json {
    let event = &line.event;
    let (of, more, action) = kind(event.action);
    let device = &line.log.device;
    let id = format!("{}-{}", line.log.replica, event.seq);
    let mut out = Json::object([
        ("resourceType", Json::string("AuditEvent")),
        // 64 characters at most: an incarnation's 32 and the entry's number.
        ("id", Json::string(&id)),
        ("type", coding(of)),
        ("action", Json::string(action)),
        ("recorded", Json::string(&time::instant(event.hlc.ms()))),
        ("outcome", Json::string(if event.done { "0" } else { "8" })),
        (
            "agent",
            Json::Array(vec![person(&event.actor, name), machine(device)]),
        ),
        ("source", source(device)),
    ]);
    if let Some(more) = more {
        out.set("subtype", Json::Array(vec![coding(more)]));
    }
    if matches!(event.actor, Actor::Emergency(_)) || event.action == Action::BREAK_GLASS {
        let why = concept((PURPOSE, "BTG", "break the glass"));
        out.set("purposeOfEvent", Json::Array(vec![why]));
    }
    let entities = entities(line, records);
    if !entities.is_empty() {
        out.set("entity", Json::Array(entities));
    }
    out
}

fn person(actor: &Actor, name: &dyn Fn(&AuthorKey) -> Option<String>) -> Json {
    let mut agent = Json::object([
        (
            "type",
            concept((PARTICIPANT, "IRCP", "information recipient")),
        ),
        ("requestor", Json::Bool(true)),
    ]);
    match actor {
        Actor::Person(key) => {
            agent.set("who", identified(KEY, &key.to_string()));
            if let Some(name) = name(key) {
                agent.set("name", Json::string(&name));
            }
        }
        Actor::Nobody => agent.set("name", Json::string("whoever opened the vault")),
        Actor::Emergency(entry) => {
            agent.set("name", Json::string(&format!("emergency, entry {entry}")));
        }
    }
    agent
}

fn machine(device: &DeviceKey) -> Json {
    Json::object([
        ("type", concept((DCM, "110153", "Source Role ID"))),
        ("who", identified(KEY, &device.to_string())),
        ("requestor", Json::Bool(false)),
    ])
}

fn source(device: &DeviceKey) -> Json {
    Json::object([
        ("observer", identified(KEY, &device.to_string())),
        (
            "type",
            Json::Array(vec![coding((SOURCE, "1", "User Device"))]),
        ),
    ])
}

fn entities(line: &AuditLine, records: &[RecordId]) -> Vec<Json> {
    let mut out: Vec<Json> = records.iter().map(|record| data(record, None)).collect();
    if let Subject::Commit(_, id) = line.event.subject {
        out.push(Json::object([
            ("what", identified(COMMIT, &id.to_string())),
            ("type", coding((ENTITY, "2", "System Object"))),
        ]));
    }
    for detail in line.details.iter().flatten() {
        match detail {
            Detail::Record {
                record, version, ..
            } => out.push(data(record, version.as_ref())),
            Detail::Text(name, text) if line.event.action == Action::SEARCH => {
                let query = format!("{name}={text}");
                out.push(Json::object([
                    ("type", coding((ENTITY, "2", "System Object"))),
                    ("role", coding((ROLE, "24", "Query"))),
                    (
                        "query",
                        Json::string(&Base64::encode_string(query.as_bytes())),
                    ),
                ]));
            }
            Detail::Text(name, text) => out.push(told(name, text)),
            Detail::Count(name, count) => out.push(told(name, &count.to_string())),
            Detail::Unknown(_) => {}
        }
    }
    out
}

/// A record, as what the event was about.
fn data(record: &RecordId, version: Option<&[u8; 16]>) -> Json {
    let (of, role) = match record.kind() {
        "Patient" => (("1", "Person"), ("1", "Patient")),
        _ => (("2", "System Object"), ("4", "Domain Resource")),
    };
    let what = Json::object([("reference", Json::string(record.as_str()))]);
    let mut entity = Json::object([
        ("what", what),
        ("type", coding((ENTITY, of.0, of.1))),
        ("role", coding((ROLE, role.0, role.1))),
    ]);
    if let Some(version) = version {
        let version = medsync_core::ids::hex(version);
        entity.set("detail", Json::Array(vec![pair("version", &version)]));
    }
    entity
}

fn told(name: &str, text: &str) -> Json {
    Json::object([
        ("type", coding((ENTITY, "4", "Other"))),
        ("detail", Json::Array(vec![pair(name, text)])),
    ])
}

fn pair(name: &str, text: &str) -> Json {
    Json::object([
        ("type", Json::string(name)),
        ("valueString", Json::string(text)),
    ])
}
