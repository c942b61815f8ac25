//! Medicines: what was prescribed, handed out, given, and what the patient says they take.

use super::build::{
    Moment, SNOMED, UCUM, concept, date, hl7, list, note, number, obj, quantity, reference, s,
};
use super::codes::{MEDICINES, Medicine};
use super::person::{Chart, TODAY};
use medsync_core::model::json::Json;

const ATC: &str = "http://www.whocc.no/atc";

/// What one prescription says to take; what is dispensed and given on it says the same.
struct Regimen {
    medicine: &'static Medicine,
    dose: &'static str,
    frequency: (&'static str, u32),
}

impl Regimen {
    fn new(chart: &mut Chart<'_>) -> Self {
        let medicine = chart.rng.pick(&MEDICINES);
        Self {
            medicine,
            dose: *chart.rng.pick::<&str>(medicine.doses),
            frequency: chart.rng.weighted(&[
                (40, ("once a day", 1)),
                (35, ("twice a day", 2)),
                (20, ("three times a day", 3)),
                (5, ("four times a day", 4)),
            ]),
        }
    }

    fn dose(&self) -> Json {
        quantity(self.dose, self.medicine.unit)
    }
}

/// Writes the medicines of a chart.
pub(super) fn write(chart: &mut Chart<'_>) {
    let mut moments: Vec<Moment> = (0..chart.rng.range(2, 9))
        .map(|_| chart.moment(4 * 365))
        .collect();
    moments.sort();
    let mut prior = None;
    for at in moments {
        let regimen = Regimen::new(chart);
        let (request, active) = prescribed(chart, at, &regimen, prior.as_deref());
        if active && chart.rng.chance(60) {
            dispensed(chart, at, &regimen, &request);
        }
        if active && chart.rng.chance(30) {
            given(chart, at, &regimen, &request);
        }
        if chart.rng.chance(25) {
            stated(chart, at, &regimen, &request);
        }
        prior = chart.rng.chance(15).then_some(request);
    }
}

/// Returns the request and whether anything can have come of it.
fn prescribed(
    chart: &mut Chart<'_>,
    at: Moment,
    regimen: &Regimen,
    prior: Option<&str>,
) -> (String, bool) {
    let (to, mut record) = chart.start("MedicationRequest", at);
    let status = chart.status("MedicationRequest", "status");
    record.set("status", s(status));
    if matches!(status, "stopped" | "cancelled" | "on-hold") {
        let (code, display) = chart.rng.weighted(&[
            (50, ("sddi", "Drug interacts with another drug")),
            (30, ("salg", "Allergy")),
            (20, ("sclarif", "Prescription requires clarification")),
        ]);
        record.set(
            "statusReason",
            hl7("medicationrequest-status-reason", code, display),
        );
    }
    let intent = chart
        .rng
        .weighted(&[(90, "order"), (6, "plan"), (4, "instance-order")]);
    record.set("intent", s(intent));
    let priority = chart
        .rng
        .weighted(&[(90, "routine"), (8, "urgent"), (2, "stat")]);
    record.set("priority", s(priority));
    if chart.rng.chance(2) {
        record.set("doNotPerform", Json::Bool(true));
    }
    set_medication(chart, &mut record, regimen);
    record.set("subject", chart.subject());
    record.set("authoredOn", chart.stamp(at));
    record.set("requester", chart.practitioner());
    let (snomed, reason, _, _) = regimen.medicine.treats;
    record.set("reasonCode", list([concept(SNOMED, snomed, reason)]));
    let dosage = dosage(chart, regimen);
    record.set("dosageInstruction", list([dosage]));
    record.set("dispenseRequest", dispense_request(chart, at));
    record.set(
        "substitution",
        obj([("allowedBoolean", Json::Bool(chart.rng.chance(70)))]),
    );
    if let Some(prior) = prior {
        record.set("priorPrescription", reference(prior));
    }
    chart.records.push(record);
    (
        to,
        matches!(status, "active" | "completed" | "stopped" | "on-hold"),
    )
}

/// A code mostly; sometimes a contained Medication with its strength.
fn set_medication(chart: &mut Chart<'_>, record: &mut Json, regimen: &Regimen) {
    let medicine = regimen.medicine;
    let code = concept(ATC, medicine.atc, medicine.display);
    if !chart.rng.chance(15) {
        record.set("medicationCodeableConcept", code);
        return;
    }
    let strength = obj([
        ("numerator", regimen.dose()),
        ("denominator", quantity("1", "{tbl}")),
    ]);
    let ingredient = obj([
        ("itemCodeableConcept", code.clone()),
        ("strength", strength),
    ]);
    let medication = obj([
        ("resourceType", s("Medication")),
        ("id", s("med")),
        ("code", code),
        ("status", s("active")),
        ("ingredient", list([ingredient])),
    ]);
    record.set("contained", list([medication]));
    record.set("medicationReference", reference("#med"));
}

fn dosage(chart: &mut Chart<'_>, regimen: &Regimen) -> Json {
    let medicine = regimen.medicine;
    let (text, frequency) = regimen.frequency;
    let mut dosage = obj([
        ("sequence", number(1)),
        ("text", s(format!("{}, {text}", medicine.display))),
        (
            "timing",
            obj([(
                "repeat",
                obj([
                    ("frequency", number(frequency)),
                    ("period", number("1.0")),
                    ("periodUnit", s("d")),
                ]),
            )]),
        ),
        ("route", concept(SNOMED, medicine.route.0, medicine.route.1)),
        (
            "doseAndRate",
            list([obj([
                ("type", hl7("dose-rate-type", "ordered", "Ordered")),
                ("doseQuantity", regimen.dose()),
            ])]),
        ),
    ]);
    if chart.rng.chance(10) {
        dosage.set("asNeededBoolean", Json::Bool(true));
    }
    dosage
}

fn dispense_request(chart: &mut Chart<'_>, at: Moment) -> Json {
    let days = chart.rng.weighted(&[(40, 5), (40, 30), (20, 90)]);
    obj([
        (
            "validityPeriod",
            obj([
                ("start", s(date(at.days()))),
                ("end", s(date(at.days() + 180))),
            ]),
        ),
        ("numberOfRepeatsAllowed", number(chart.rng.range(0, 5))),
        ("quantity", quantity(&(days * 2).to_string(), "{tbl}")),
        (
            "expectedSupplyDuration",
            obj([
                ("value", number(days)),
                ("unit", s("days")),
                ("system", s(UCUM)),
                ("code", s("d")),
            ]),
        ),
    ])
}

fn dispensed(chart: &mut Chart<'_>, at: Moment, regimen: &Regimen, request: &str) {
    let at = at.later(chart.rng.range(600, 7200));
    let (_, mut record) = chart.start("MedicationDispense", at);
    let status = chart.status("MedicationDispense", "status");
    record.set("status", s(status));
    set_medication(chart, &mut record, regimen);
    record.set("subject", chart.subject());
    let performer = obj([("actor", chart.practitioner())]);
    record.set("performer", list([performer]));
    record.set("authorizingPrescription", list([reference(request)]));
    let tablets = chart.rng.range(1, 18) * 10;
    record.set("quantity", quantity(&tablets.to_string(), "{tbl}"));
    record.set(
        "daysSupply",
        obj([("value", number(tablets / 2)), ("unit", s("days"))]),
    );
    record.set("whenPrepared", chart.stamp(at));
    if status == "completed" {
        record.set("whenHandedOver", chart.stamp(at.later(900)));
    }
    let dosage = dosage(chart, regimen);
    record.set("dosageInstruction", list([dosage]));
    chart.records.push(record);
}

fn given(chart: &mut Chart<'_>, at: Moment, regimen: &Regimen, request: &str) {
    let at = at.later(chart.rng.range(600, 3 * 3600));
    let (_, mut record) = chart.start("MedicationAdministration", at);
    let status = chart.status("MedicationAdministration", "status");
    record.set("status", s(status));
    if status == "not-done" {
        record.set(
            "statusReason",
            list([hl7("reason-medication-not-given", "a", "None")]),
        );
    }
    set_medication(chart, &mut record, regimen);
    record.set("subject", chart.subject());
    record.set("effectiveDateTime", chart.stamp(at));
    let performer = obj([("actor", chart.practitioner())]);
    record.set("performer", list([performer]));
    record.set("request", reference(request));
    record.set(
        "dosage",
        obj([
            (
                "route",
                concept(SNOMED, regimen.medicine.route.0, regimen.medicine.route.1),
            ),
            ("dose", regimen.dose()),
        ]),
    );
    chart.records.push(record);
}

fn stated(chart: &mut Chart<'_>, at: Moment, regimen: &Regimen, request: &str) {
    let (_, mut record) = chart.start("MedicationStatement", at);
    let status = chart.status("MedicationStatement", "status");
    record.set("basedOn", list([reference(request)]));
    record.set("status", s(status));
    set_medication(chart, &mut record, regimen);
    record.set("subject", chart.subject());
    let until = (at.days() + chart.rng.range(5, 200)).min(TODAY);
    record.set(
        "effectivePeriod",
        obj([("start", s(date(at.days()))), ("end", s(date(until)))]),
    );
    record.set("dateAsserted", chart.stamp(at));
    record.set("informationSource", chart.subject());
    let dosage = dosage(chart, regimen);
    record.set("dosage", list([dosage]));
    let time = at.stamp(chart.region.zone);
    record.set("note", note("As told by the patient.", "Pharmacist", &time));
    chart.records.push(record);
}
