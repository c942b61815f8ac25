//! The workspace's pack: every policy and several kinds, in as few fields as that takes.

use crate::error::{Error, Result};
use crate::ids::RecordId;
use crate::model::pack::PolicyPack;

/// The records of a world. Few, so that people meet.
pub(super) const RECORDS: [&str; 8] = [
    "Patient/p0",
    "Patient/p1",
    "Med/m0",
    "Med/m1",
    "Med/m2",
    "Allergy/a0",
    "Allergy/a1",
    "Obs/o0",
];

/// The medicine's statuses, lowest first.
pub(super) const STATUSES: [&str; 5] = [
    "draft",
    "active",
    "completed",
    "stopped",
    "entered-in-error",
];

/// Statuses that hold against anything lower.
pub(super) fn rank(status: &str) -> usize {
    match status {
        "draft" => 0,
        "active" => 1,
        "completed" | "stopped" => 2,
        "entered-in-error" => 3,
        _ => 0,
    }
}

const KINDS: &str = r#"
"Patient": {"patient": "self", "fields": {
    "gender": {"policy": {"escalate": {}}},
    "note": {"policy": "lww"},
    "tag": {"policy": {"set": {}}, "list": {}}},
    "indexes": [{"name": "note", "path": "note", "words": true}]},
"Med": {"lane": "P0", "patient": "subject", "fields": {
    "subject": {"policy": "lww"},
    "status": {"policy": {"lattice": {
        "ranks": [["draft"], ["active"], ["completed", "stopped"], ["entered-in-error"]],
        "terminal": ["completed", "stopped"], "reopen": "never", "beside": ["dose"]}}},
    "dose": {"policy": {"escalate": {"interim": "last-agreed"}}, "members": ["amount", "unit"]},
    "note": {"policy": "lww"},
    "stock": {"policy": {"counter": {"floor": 0}}},
    "tag": {"policy": {"set": {}}, "list": {}}}},
"Allergy": {"lane": "P0", "risk": "critical", "patient": "patient", "fields": {
    "patient": {"policy": "lww"},
    "code": {"policy": {"escalate": {"interim": "unknown"}}},
    "note": {"policy": "lww"},
    "tag": {"policy": {"set": {"contest_edits": true, "contest_retractions": true}}, "list": {}}}},
"Obs": {"patient": "subject", "fields": {
    "subject": {"policy": "lww"},
    "code": {"policy": {"escalate": {}}},
    "note": {"policy": "lww"},
    "tag": {"policy": {"set": {}}, "list": {}}}}
"#;

/// The pack in a version. From the third on, texts of a medicine's note escalate.
pub(super) fn pack(version: u32) -> Result<PolicyPack> {
    let text =
        format!(r#"{{"format": 1, "name": "sim", "version": {version}, "kinds": {{{KINDS}}}}}"#);
    PolicyPack::from_json(text.as_bytes())
}

/// A record of the world.
pub(super) fn record(no: usize) -> Result<RecordId> {
    let name = RECORDS.get(no % RECORDS.len());
    name.ok_or(Error::NotFound("record"))?.parse()
}

/// The patient of a record, by the field that says so.
pub(super) fn patient(record: &RecordId) -> Option<(&'static str, &'static str)> {
    match record.as_str() {
        "Med/m0" | "Med/m1" | "Obs/o0" => Some(("subject", "Patient/p0")),
        "Med/m2" => Some(("subject", "Patient/p1")),
        "Allergy/a0" => Some(("patient", "Patient/p0")),
        "Allergy/a1" => Some(("patient", "Patient/p1")),
        _ => None,
    }
}
