//! What surrounds care: plans, appointments, consents, flags, letters, cover and errands.

use super::build::{
    LOINC, Moment, SNOMED, TERMINOLOGY, coding, concept, date, hl7, list, number, obj, period,
    reference, s,
};
use super::codes::PROBLEMS;
use super::person::{Chart, TODAY};
use medsync_core::model::json::Json;

const FLAGS: &str = "urn:medsync:example:flag";

/// Writes the administrative part of a chart.
pub(super) fn write(chart: &mut Chart<'_>) {
    let since = chart.moment(3 * 365);
    consent(chart, since);
    coverage(chart, since);
    for _ in 0..chart.rng.range(1, 4) {
        appointment(chart);
    }
    for _ in 0..chart.rng.range(0, 2) {
        care_plan(chart);
    }
    if chart.rng.chance(40) {
        flag(chart);
    }
    for _ in 0..chart.rng.range(0, 2) {
        let letter = letter(chart);
        if chart.rng.chance(80) {
            task(chart, &letter);
        }
    }
}

fn consent(chart: &mut Chart<'_>, at: Moment) {
    let (_, mut record) = chart.start("Consent", at);
    let status = chart.status("Consent", "status");
    record.set("status", s(status));
    record.set(
        "scope",
        hl7("consentscope", "patient-privacy", "Privacy Consent"),
    );
    record.set(
        "category",
        list([concept(LOINC, "59284-0", "Consent Document")]),
    );
    record.set("patient", chart.subject());
    record.set("dateTime", chart.stamp(at));
    let performer = chart.subject();
    record.set("performer", list([performer]));
    let organization = chart.organization();
    record.set("organization", list([organization]));
    record.set("policyRule", hl7("v3-ActCode", "OPTIN", "opt-in"));
    let kind = if chart.rng.chance(80) {
        "permit"
    } else {
        "deny"
    };
    record.set(
        "provision",
        obj([
            ("type", s(kind)),
            (
                "period",
                period(&date(at.days()), Some(&date(at.days() + 1095))),
            ),
            (
                "purpose",
                list([coding(
                    &format!("{TERMINOLOGY}v3-ActReason"),
                    "TREAT",
                    "treatment",
                )]),
            ),
        ]),
    );
    chart.records.push(record);
}

fn coverage(chart: &mut Chart<'_>, at: Moment) {
    let (_, mut record) = chart.start("Coverage", at);
    let status = chart.status("Coverage", "status");
    let member = chart.rng.digits(11);
    record.set(
        "identifier",
        list([obj([
            ("system", s("urn:medsync:example:member")),
            ("value", s(&member)),
        ])]),
    );
    record.set("status", s(status));
    record.set("type", hl7("v3-ActCode", "PUBLICPOL", "public healthcare"));
    record.set("subscriberId", s(member));
    record.set("beneficiary", chart.subject());
    record.set(
        "relationship",
        hl7("subscriber-relationship", "self", "Self"),
    );
    record.set(
        "period",
        period(&date(at.days()), Some(&date(at.days() + 365))),
    );
    let payor = obj([("display", s(chart.region.payer))]);
    record.set("payor", list([payor]));
    chart.records.push(record);
}

fn appointment(chart: &mut Chart<'_>) {
    let made = chart.moment(2 * 365);
    let (_, mut record) = chart.start("Appointment", made);
    let status = chart.status("Appointment", "status");
    // What is still to come is booked ahead of the day the clinic stands still on.
    let start = match status {
        "proposed" | "pending" | "booked" | "waitlist" => {
            Moment((TODAY + chart.rng.range(1, 60)) * Moment::DAY)
        }
        _ => Moment(made.days() * Moment::DAY),
    };
    let start = start.later(chart.rng.range(32, 64) * 900);
    record.set("status", s(status));
    if status == "cancelled" {
        record.set(
            "cancelationReason",
            hl7("appointment-cancellation-reason", "pat", "Patient"),
        );
    }
    record.set(
        "serviceType",
        list([hl7("service-type", "124", "General Practice")]),
    );
    record.set("description", s("Follow-up visit"));
    // app-3: proposals and people on a waiting list may be without a time; these have one.
    record.set("start", chart.stamp(start));
    record.set("end", chart.stamp(start.later(900)));
    record.set("minutesDuration", number(15));
    record.set("created", chart.stamp(made));
    let accepted = if status == "pending" {
        "needs-action"
    } else {
        "accepted"
    };
    let participants = [chart.subject(), chart.practitioner()].map(|actor| {
        obj([
            ("actor", actor),
            ("required", s("required")),
            ("status", s(accepted)),
        ])
    });
    record.set("participant", list(participants));
    chart.records.push(record);
}

fn care_plan(chart: &mut Chart<'_>) {
    let at = chart.moment(2 * 365);
    let (_, mut record) = chart.start("CarePlan", at);
    let status = chart.status("CarePlan", "status");
    let (_, display, _, _) = *chart.rng.pick(&PROBLEMS);
    record.set("status", s(status));
    record.set("intent", s("plan"));
    record.set("title", s(format!("Care plan: {display}")));
    record.set(
        "category",
        list([concept(SNOMED, "734163000", "Care plan (record artifact)")]),
    );
    record.set("subject", chart.subject());
    record.set(
        "period",
        period(&date(at.days()), Some(&date(at.days() + 180))),
    );
    record.set("created", chart.stamp(at));
    record.set("author", chart.practitioner());
    let activities = [
        ("409002", "Food allergy diet"),
        ("304507003", "Exercise education"),
        ("410177006", "Special diet education"),
    ];
    let first = *chart.rng.pick(&activities);
    let activity = |code: &str, name: &str, status: &str| {
        obj([(
            "detail",
            obj([
                ("code", concept(SNOMED, code, name)),
                ("status", s(status)),
                ("doNotPerform", Json::Bool(false)),
            ]),
        )])
    };
    record.set(
        "activity",
        list([
            activity(first.0, first.1, "in-progress"),
            activity("182836005", "Review of medication", "scheduled"),
        ]),
    );
    chart.records.push(record);
}

fn flag(chart: &mut Chart<'_>) {
    let at = chart.moment(2 * 365);
    let (_, mut record) = chart.start("Flag", at);
    let status = chart.status("Flag", "status");
    let code = chart.rng.weighted(&[
        (40, (SNOMED, "129839007", "At risk for falls")),
        (30, (FLAGS, "interpreter", "Needs an interpreter")),
        (30, (FLAGS, "far", "Lives far from the facility")),
    ]);
    record.set("status", s(status));
    record.set("category", list([hl7("flag-category", "safety", "Safety")]));
    record.set("code", concept(code.0, code.1, code.2));
    record.set("subject", chart.subject());
    record.set("period", period(&at.stamp(chart.region.zone), None));
    record.set("author", chart.practitioner());
    chart.records.push(record);
}

/// A referral letter: its hash is what a DocumentReference is about, not the text.
fn letter(chart: &mut Chart<'_>) -> String {
    let at = chart.moment(3 * 365);
    let (to, mut record) = chart.start("DocumentReference", at);
    let status = chart.status("DocumentReference", "status");
    let text = format!(
        "Referral letter {} for {}.",
        chart.rng.digits(12),
        chart.name()
    );
    let hash = blake3::hash(text.as_bytes()).to_hex();
    record.set("status", s(status));
    record.set("docStatus", s("final"));
    record.set("type", concept(LOINC, "57133-1", "Referral note"));
    record.set("subject", chart.subject());
    record.set("date", chart.stamp(at));
    let author = chart.practitioner();
    record.set("author", list([author]));
    record.set("custodian", chart.organization());
    let attachment = obj([
        ("contentType", s("text/plain")),
        ("language", s("en")),
        ("url", s(format!("urn:medsync:blob:{hash}"))),
        ("size", number(text.len())),
        ("title", s("Referral letter")),
        ("creation", chart.stamp(at)),
    ]);
    record.set("content", list([obj([("attachment", attachment)])]));
    chart.records.push(record);
    to
}

fn task(chart: &mut Chart<'_>, focus: &str) {
    let at = chart.moment(365);
    let (_, mut record) = chart.start("Task", at);
    let status = chart.status("Task", "status");
    record.set("status", s(status));
    record.set("intent", s("order"));
    record.set(
        "priority",
        s(if chart.rng.chance(85) {
            "routine"
        } else {
            "urgent"
        }),
    );
    record.set(
        "code",
        concept(
            "http://hl7.org/fhir/CodeSystem/task-code",
            "fulfill",
            "Fulfill the focal request",
        ),
    );
    record.set(
        "description",
        s("Send the letter and ask for an appointment."),
    );
    record.set("focus", reference(focus));
    record.set("for", chart.subject());
    record.set("authoredOn", chart.stamp(at));
    let modified = at.later(chart.rng.range(0, 90_000));
    record.set("lastModified", chart.stamp(modified));
    record.set("requester", chart.practitioner());
    record.set("owner", chart.organization());
    chart.records.push(record);
}
