//! What a clinician learns of a patient over the years: visits, problems, allergies, vaccines,
//! procedures, family, blood group.

use super::build::{
    Moment, SNOMED, coding, concept, date, hl7, hl7_code, list, note, obj, quantity, reference, s,
};
use super::codes::{ALLERGENS, BLOOD_GROUPS, PROBLEMS, PROCEDURES, REACTIONS, VACCINES};
use super::person::{Chart, TODAY, place};
use super::visit::{self, Visit};
use medsync_core::model::json::Json;

/// Writes the clinical part of a chart.
pub(super) fn write(chart: &mut Chart<'_>) {
    let mut moments: Vec<Moment> = (0..chart.rng.range(6, 13))
        .map(|_| chart.moment(8 * 365))
        .collect();
    moments.sort();
    let visits: Vec<Visit> = moments
        .into_iter()
        .map(|at| visit::write(chart, at))
        .collect();
    for visit in &visits {
        if chart.rng.chance(35) {
            condition(chart, visit);
        }
        if chart.rng.chance(25) {
            procedure(chart, visit);
        }
    }
    if let Some(first) = visits.first() {
        if chart.rng.chance(60) {
            blood_group(chart, first);
        }
        allergies(chart, first);
        family(chart, first);
    }
    immunizations(chart);
}

fn condition(chart: &mut Chart<'_>, visit: &Visit) {
    let (_, mut record) = chart.start("Condition", visit.at);
    let (snomed, display, icd, lifelong) = *chart.rng.pick(&PROBLEMS);
    let verification = chart.status("Condition", "verificationStatus");
    record.set(
        "verificationStatus",
        hl7_code("condition-ver-status", verification),
    );
    // con-5: what was entered in error has no clinical status.
    if verification != "entered-in-error" {
        let mut clinical = chart.status("Condition", "clinicalStatus");
        if lifelong && clinical == "resolved" {
            clinical = "active";
        }
        record.set("clinicalStatus", hl7_code("condition-clinical", clinical));
        // con-4: only what is over has an end.
        if clinical == "resolved" {
            let over = (visit.at.days() + chart.rng.range(5, 60)).min(TODAY);
            record.set("abatementDateTime", s(date(over)));
        }
    }
    record.set(
        "category",
        list([hl7(
            "condition-category",
            "encounter-diagnosis",
            "Encounter Diagnosis",
        )]),
    );
    let (code, name) = chart.rng.weighted(&[
        (40, ("255604002", "Mild")),
        (40, ("6736007", "Moderate")),
        (20, ("24484000", "Severe")),
    ]);
    let severity = coding(SNOMED, code, name);
    record.set("severity", obj([("coding", list([severity]))]));
    record.set(
        "code",
        obj([
            (
                "coding",
                list([
                    coding(SNOMED, snomed, display),
                    coding("http://hl7.org/fhir/sid/icd-10", icd, display),
                ]),
            ),
            ("text", s(display)),
        ]),
    );
    place(&mut record, chart.subject(), &visit.to);
    let began = (visit.at.days() - chart.rng.range(0, 20)).max(chart.born);
    record.set("onsetDateTime", s(date(began)));
    record.set("recordedDate", chart.stamp(visit.at));
    record.set("recorder", chart.practitioner());
    if chart.rng.chance(15) {
        let time = visit.at.stamp(chart.region.zone);
        let text = "Family informed; review at the next visit.";
        record.set("note", note(text, "Attending physician", &time));
    }
    chart.records.push(record);
}

fn procedure(chart: &mut Chart<'_>, visit: &Visit) {
    let (_, mut record) = chart.start("Procedure", visit.at);
    let status = chart.status("Procedure", "status");
    let woman = chart.female && visit.at.days() - chart.born > 17 * 365;
    let choices = if woman {
        PROCEDURES.as_slice()
    } else {
        PROCEDURES.split_at(PROCEDURES.len() - 1).0
    };
    let (code, display) = *chart.rng.pick(choices);
    record.set("status", s(status));
    if matches!(status, "not-done" | "stopped") {
        record.set(
            "statusReason",
            concept(SNOMED, "183932001", "Procedure contraindicated"),
        );
    }
    record.set("code", concept(SNOMED, code, display));
    place(&mut record, chart.subject(), &visit.to);
    let end = visit.at.later(chart.rng.range(600, 5400));
    record.set(
        "performedPeriod",
        obj([("start", chart.stamp(visit.at)), ("end", chart.stamp(end))]),
    );
    let performer = obj([
        ("actor", chart.practitioner()),
        ("onBehalfOf", chart.organization()),
    ]);
    record.set("performer", list([performer]));
    let (snomed, reason, _, _) = *chart.rng.pick(&PROBLEMS);
    record.set("reasonCode", list([concept(SNOMED, snomed, reason)]));
    chart.records.push(record);
}

fn blood_group(chart: &mut Chart<'_>, visit: &Visit) {
    let code = ("882-1", "ABO and Rh group [Type] in Blood");
    let (_, mut record) = visit::observation(chart, visit, "laboratory", code);
    if visit::answered(&mut record) {
        let (group, display) = chart.rng.weighted(&BLOOD_GROUPS);
        record.set("valueCodeableConcept", concept(SNOMED, group, display));
    }
    record.set(
        "method",
        concept(SNOMED, "44608003", "Blood group typing (procedure)"),
    );
    chart.records.push(record);
}

fn allergies(chart: &mut Chart<'_>, visit: &Visit) {
    let count = chart.rng.weighted(&[(40, 0), (35, 1), (18, 2), (7, 3)]);
    if count == 0 {
        // Asked and none is a record of its own; not asked is no record.
        if chart.rng.chance(80) {
            no_known_allergy(chart, visit);
        }
        return;
    }
    let first = chart.rng.below(ALLERGENS.len() as u64);
    for nth in 0..count {
        let at = usize::try_from(first + nth).unwrap_or(0) % ALLERGENS.len();
        allergy(chart, visit, ALLERGENS[at]);
    }
}

fn no_known_allergy(chart: &mut Chart<'_>, visit: &Visit) {
    let (_, mut record) = chart.start("AllergyIntolerance", visit.at);
    record.set(
        "clinicalStatus",
        hl7_code("allergyintolerance-clinical", "active"),
    );
    record.set(
        "verificationStatus",
        hl7_code("allergyintolerance-verification", "confirmed"),
    );
    record.set("code", concept(SNOMED, "716186003", "No known allergy"));
    record.set("patient", chart.subject());
    record.set("recordedDate", chart.stamp(visit.at));
    record.set("recorder", chart.practitioner());
    chart.records.push(record);
}

fn allergy(chart: &mut Chart<'_>, visit: &Visit, allergen: (&str, &str, &str)) {
    let (code, display, category) = allergen;
    let (_, mut record) = chart.start("AllergyIntolerance", visit.at);
    let verification = chart.status("AllergyIntolerance", "verificationStatus");
    record.set(
        "verificationStatus",
        hl7_code("allergyintolerance-verification", verification),
    );
    // ait-2: what was entered in error has no clinical status.
    if verification != "entered-in-error" {
        let clinical = chart.status("AllergyIntolerance", "clinicalStatus");
        record.set(
            "clinicalStatus",
            hl7_code("allergyintolerance-clinical", clinical),
        );
    }
    record.set(
        "type",
        s(if chart.rng.chance(80) {
            "allergy"
        } else {
            "intolerance"
        }),
    );
    record.set("category", list([s(category)]));
    let criticality = chart.status("AllergyIntolerance", "criticality");
    record.set("criticality", s(criticality));
    record.set("code", concept(SNOMED, code, display));
    record.set("patient", chart.subject());
    record.set("encounter", reference(&visit.to));
    record.set("recordedDate", chart.stamp(visit.at));
    record.set("recorder", chart.practitioner());
    if chart.rng.chance(75) {
        let (code, name) = *chart.rng.pick(&REACTIONS);
        let severity = chart
            .rng
            .weighted(&[(50, "mild"), (35, "moderate"), (15, "severe")]);
        let reaction = obj([
            ("manifestation", list([concept(SNOMED, code, name)])),
            ("severity", s(severity)),
            ("onset", chart.stamp(visit.at)),
        ]);
        record.set("reaction", list([reaction]));
    }
    chart.records.push(record);
}

fn immunizations(chart: &mut Chart<'_>) {
    for (code, display, age) in VACCINES {
        let day = chart.born + age + chart.rng.range(0, 40);
        if day > TODAY || !chart.rng.chance(60) {
            continue;
        }
        let at = Moment(day * Moment::DAY + chart.rng.range(9 * 3600, 15 * 3600));
        let (_, mut record) = chart.start("Immunization", at);
        let status = chart.status("Immunization", "status");
        record.set("status", s(status));
        if status == "not-done" {
            let reason = chart.rng.weighted(&[
                (50, ("OSTOCK", "product out of stock")),
                (50, ("PATOBJ", "patient objection")),
            ]);
            record.set("statusReason", hl7("v3-ActReason", reason.0, reason.1));
        } else {
            record.set("lotNumber", s(format!("L{}", chart.rng.digits(6))));
            record.set("expirationDate", s(date(day + chart.rng.range(90, 700))));
        }
        record.set(
            "vaccineCode",
            concept("http://hl7.org/fhir/sid/cvx", code, display),
        );
        record.set("patient", chart.subject());
        record.set("occurrenceDateTime", chart.stamp(at));
        record.set("primarySource", Json::Bool(chart.rng.chance(85)));
        record.set("location", obj([("display", s("Immunization room"))]));
        let performer = obj([("actor", chart.practitioner())]);
        record.set("performer", list([performer]));
        if chart.rng.chance(3) {
            record.set("isSubpotent", Json::Bool(true));
        }
        chart.records.push(record);
    }
}

fn family(chart: &mut Chart<'_>, visit: &Visit) {
    for (code, display) in [("FTH", "father"), ("MTH", "mother")] {
        if !chart.rng.chance(50) {
            continue;
        }
        let (_, mut record) = chart.start("FamilyMemberHistory", visit.at);
        let status = chart.status("FamilyMemberHistory", "status");
        record.set("status", s(status));
        record.set("patient", chart.subject());
        record.set("date", chart.stamp(visit.at));
        record.set("relationship", hl7("v3-RoleCode", code, display));
        if status != "health-unknown" {
            let (snomed, name, _, _) = *chart.rng.pick(&PROBLEMS);
            let age = quantity(&chart.rng.range(25, 80).to_string(), "a");
            let condition = obj([
                ("code", concept(SNOMED, snomed, name)),
                ("contributedToDeath", Json::Bool(chart.rng.chance(20))),
                ("onsetAge", age),
            ]);
            record.set("condition", list([condition]));
        }
        chart.records.push(record);
    }
}
