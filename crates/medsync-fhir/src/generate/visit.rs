//! A visit: the encounter, what was measured, and the reports made of it.

use super::build::{
    LOINC, Moment, SNOMED, TERMINOLOGY, coding, concept, decimal, hl7, hl7_code, list, note,
    number, obj, period, quantity, reference, s,
};
use super::codes::{LABS, Measure, PANELS, PROBLEMS, VITALS};
use super::person::{Chart, place};
use medsync_core::model::json::Json;

/// An encounter as later records refer to it.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    pub(super) to: String,
    pub(super) at: Moment,
}

/// Writes an encounter and everything measured in it.
pub(super) fn write(chart: &mut Chart<'_>, at: Moment) -> Visit {
    let visit = encounter(chart, at);
    if chart.rng.chance(75) {
        blood_pressure(chart, &visit);
    }
    for measure in &VITALS {
        if chart.rng.chance(56) {
            measured(chart, &visit, measure, "vital-signs");
        }
    }
    if chart.rng.chance(35) {
        report(chart, &visit);
    }
    visit
}

fn encounter(chart: &mut Chart<'_>, at: Moment) -> Visit {
    let (to, mut record) = chart.start("Encounter", at);
    let status = chart.status("Encounter", "status");
    let (class, class_name) = chart.rng.weighted(&[
        (75, ("AMB", "ambulatory")),
        (10, ("EMER", "emergency")),
        (10, ("IMP", "inpatient encounter")),
        (5, ("HH", "home health")),
    ]);
    let end = at.later(chart.rng.range(600, 14_400));
    let ended = matches!(status, "finished" | "entered-in-error");
    let end = ended.then(|| end.stamp(chart.region.zone));
    let start = at.stamp(chart.region.zone);
    let (snomed, display, _, _) = *chart.rng.pick(&PROBLEMS);
    record.set("status", s(status));
    record.set(
        "class",
        coding(&format!("{TERMINOLOGY}v3-ActCode"), class, class_name),
    );
    record.set(
        "type",
        list([concept(
            SNOMED,
            "185349003",
            "Encounter for check up (procedure)",
        )]),
    );
    record.set("subject", chart.subject());
    let participant = obj([("individual", chart.practitioner())]);
    record.set("participant", list([participant]));
    record.set("period", period(&start, end.as_deref()));
    record.set("reasonCode", list([concept(SNOMED, snomed, display)]));
    record.set("serviceProvider", chart.organization());
    chart.records.push(record);
    Visit { to, at }
}

/// The members all observations share.
pub(super) fn observation(
    chart: &mut Chart<'_>,
    visit: &Visit,
    category: &str,
    code: (&str, &str),
) -> (String, Json) {
    let at = visit.at.later(chart.rng.range(60, 3000));
    let (to, mut record) = chart.start("Observation", at);
    let status = chart.status("Observation", "status");
    record.set("status", s(status));
    record.set(
        "category",
        list([hl7_code("observation-category", category)]),
    );
    record.set("code", concept(LOINC, code.0, code.1));
    place(&mut record, chart.subject(), &visit.to);
    record.set("effectiveDateTime", chart.stamp(at));
    if category == "laboratory" {
        let millis = chart.rng.range(0, 999);
        let issued = at.later(chart.rng.range(0, 7200)).stamp("");
        let zone = chart.region.zone;
        record.set("issued", s(format!("{issued}.{millis:03}{zone}")));
    }
    let mut performer = chart.practitioner();
    performer.remove("display");
    record.set("performer", list([performer]));
    (to, record)
}

fn measured(chart: &mut Chart<'_>, visit: &Visit, measure: &Measure, category: &str) -> String {
    let code = (measure.code, measure.display);
    let (to, mut record) = observation(chart, visit, category, code);
    if answered(&mut record) {
        let value = value(chart, measure);
        record.set(
            "valueQuantity",
            quantity(&decimal(value, measure.places), measure.unit),
        );
        if category == "laboratory" {
            record.set("interpretation", list([interpretation(value, measure)]));
            record.set("referenceRange", list([range(measure)]));
        }
    }
    if chart.rng.chance(4) {
        let time = visit.at.stamp(chart.region.zone);
        record.set(
            "note",
            note("Repeat at the next visit.", "Nurse on duty", &time),
        );
    }
    chart.records.push(record);
    to
}

/// Whether an observation has a result; if not, it says why not.
pub(super) fn answered(record: &mut Json) -> bool {
    let status = record.get("status").and_then(Json::as_str);
    let none = matches!(status, Some("registered" | "cancelled"));
    if none {
        record.set(
            "dataAbsentReason",
            hl7("data-absent-reason", "not-performed", "Not Performed"),
        );
    }
    !none
}

/// Mostly normal, sometimes anywhere in the span.
fn value(chart: &mut Chart<'_>, measure: &Measure) -> i64 {
    let (low, high) = if chart.rng.chance(70) {
        measure.normal
    } else {
        measure.span
    };
    let value = chart.rng.range(low, high);
    // Instruments round: many readings end in a zero, and the zero is part of the reading.
    if measure.places > 0 && chart.rng.chance(30) {
        (value / 10 * 10).max(measure.span.0)
    } else {
        value
    }
}

fn interpretation(value: i64, measure: &Measure) -> Json {
    let code = match value {
        value if value < measure.normal.0 => "L",
        value if value > measure.normal.1 => "H",
        _ => "N",
    };
    hl7_code("v3-ObservationInterpretation", code)
}

fn range(measure: &Measure) -> Json {
    let side = |value| {
        obj([
            ("value", number(decimal(value, measure.places))),
            ("unit", s(measure.unit)),
        ])
    };
    obj([
        ("low", side(measure.normal.0)),
        ("high", side(measure.normal.1)),
    ])
}

fn blood_pressure(chart: &mut Chart<'_>, visit: &Visit) {
    let code = ("85354-9", "Blood pressure panel with all children optional");
    let (_, mut record) = observation(chart, visit, "vital-signs", code);
    let diastolic = chart.rng.range(52, 108);
    let systolic = diastolic + chart.rng.range(28, 70);
    let component = |code, display, value: i64| {
        obj([
            ("code", concept(LOINC, code, display)),
            ("valueQuantity", quantity(&value.to_string(), "mm[Hg]")),
        ])
    };
    if answered(&mut record) {
        record.set(
            "component",
            list([
                component("8480-6", "Systolic blood pressure", systolic),
                component("8462-4", "Diastolic blood pressure", diastolic),
            ]),
        );
    }
    chart.records.push(record);
}

/// An order, its results, and the report that names them.
fn report(chart: &mut Chart<'_>, visit: &Visit) {
    let (code, display) = *chart.rng.pick(&PANELS);
    let order = service_request(chart, visit, (code, display));
    let mut results = Vec::new();
    let first = chart.rng.below(LABS.len() as u64);
    for at in 0..chart.rng.range(2, 6) {
        let at = (first + at.unsigned_abs()) % LABS.len() as u64;
        if let Some(measure) = usize::try_from(at).ok().and_then(|at| LABS.get(at)) {
            results.push(reference(&measured(chart, visit, measure, "laboratory")));
        }
    }
    let issued = visit.at.later(chart.rng.range(4000, 90_000));
    let (_, mut record) = chart.start("DiagnosticReport", issued);
    let status = chart.status("DiagnosticReport", "status");
    record.set("basedOn", list([reference(&order)]));
    record.set("status", s(status));
    record.set("category", list([hl7("v2-0074", "LAB", "Laboratory")]));
    record.set("code", concept(LOINC, code, display));
    place(&mut record, chart.subject(), &visit.to);
    record.set("effectiveDateTime", chart.stamp(visit.at));
    record.set("issued", chart.stamp(issued));
    let performer = chart.organization();
    record.set("performer", list([performer]));
    record.set("result", Json::Array(results));
    if matches!(status, "final" | "amended" | "corrected") {
        record.set("conclusion", s("Read together with the clinical picture."));
    }
    chart.records.push(record);
}

fn service_request(chart: &mut Chart<'_>, visit: &Visit, code: (&str, &str)) -> String {
    let (to, mut record) = chart.start("ServiceRequest", visit.at);
    let status = chart.status("ServiceRequest", "status");
    let number_of_order = chart.rng.digits(8);
    record.set(
        "identifier",
        list([obj([
            ("system", s("urn:medsync:example:order")),
            ("value", s(number_of_order)),
        ])]),
    );
    record.set("status", s(status));
    record.set("intent", s("order"));
    let priority = chart
        .rng
        .weighted(&[(80, "routine"), (15, "urgent"), (5, "stat")]);
    record.set("priority", s(priority));
    record.set("code", concept(LOINC, code.0, code.1));
    place(&mut record, chart.subject(), &visit.to);
    record.set("quantityQuantity", obj([("value", number(1))]));
    record.set("authoredOn", chart.stamp(visit.at));
    record.set("requester", chart.practitioner());
    chart.records.push(record);
    to
}
