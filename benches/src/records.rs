//! The records that benchmarks use.

use crate::{Shape, now};
use medsync_core::ids::RecordId;
use medsync_core::model::json::Json;
use medsync_fhir::generate::Clinic;
use std::time::Duration;

/// Resources a generated patient has, about.
const PER_PATIENT: usize = 90;

/// `n` resources as JSON texts, made one patient at a time.
pub(crate) fn texts(shape: Shape, n: usize) -> Box<dyn Iterator<Item = String>> {
    match shape {
        Shape::Synthea => {
            let patients = (n / PER_PATIENT + 2) as u64;
            Box::new(Clinic::new(7, patients).map(|json| json.text()).take(n))
        }
        Shape::Chart => Box::new((0..n).map(chart)),
    }
}

/// What making them costs, to be taken off.
pub(crate) fn cost(shape: Shape, n: usize) -> Duration {
    let start = now();
    let bytes: usize = texts(shape, n).map(|t| t.len()).sum();
    std::hint::black_box(bytes);
    start.elapsed()
}

/// As a reader does it.
pub(crate) fn parse(text: &str) -> (RecordId, Json) {
    let json = Json::parse(text.as_bytes()).expect("generated JSON is valid");
    let of = |name| json.get(name).and_then(Json::as_str).unwrap_or_default();
    let id = RecordId::new(of("resourceType"), of("id")).expect("generated ids are valid");
    (id, json)
}

/// A chart-like record of about 5 kB: a patient with many contacts and notes.
fn chart(n: usize) -> String {
    let contacts: Vec<String> = (0..14)
        .map(|i| {
            format!(
                r#"{{"relationship":[{{"text":"relative {i}"}}],"name":{{"family":"Family{n}","given":["Given{i}"]}},"telecom":[{{"system":"phone","value":"+91 98{n:06}{i:02}"}}],"address":{{"line":["{i} Station Road, behind the old market"],"city":"Town {i}","postalCode":"{n:06}"}}}}"#
            )
        })
        .collect();
    let telecom: Vec<String> = (0..8)
        .map(|i| format!(r#"{{"system":"phone","use":"home","value":"+233 20 {n:05} {i:02}"}}"#))
        .collect();
    let address: Vec<String> = (0..4)
        .map(|i| format!(r#"{{"line":["{i} Ring Road"],"city":"City {n}","country":"GH"}}"#))
        .collect();
    format!(
        r#"{{"resourceType":"Patient","id":"chart-{n}","birthDate":"1980-02-03","gender":"female","active":true,"name":[{{"family":"Mensah{n}","given":["Ama"]}}],"identifier":[{{"system":"http://example.org/mrn","value":"MRN{n}"}}],"telecom":[{}],"address":[{}],"contact":[{}],"maritalStatus":{{"text":"married"}},"text":{{"status":"generated","div":"<div>{}</div>"}}}}"#,
        telecom.join(","),
        address.join(","),
        contacts.join(","),
        "a note of the visit, as people write it; ".repeat(20)
    )
}
