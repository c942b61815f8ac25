//! A clinic's week: what its people do at the same time, and what each of them sees afterwards.

mod import;
mod people;

use crate::world::{
    DAY, Device, SENIOR, World, YEAR, allergy, diagnosis, id, json, patient, prescription, values,
};
use medsync_core::error::Error;
use medsync_core::vault::{Decision, Draft};

const DOSE: &str = "medication[x]";

/// Asha and Bala have a patient with an active prescription before them, and both see the same.
fn ward() -> World {
    let mut world = World::of(&["Bala"]);
    world.devices[0].put(&patient("p"));
    world.devices[0].put(&prescription("m", "p"));
    world.converge();
    world
}

#[test]
fn a_nurse_records_an_allergy_while_a_doctor_prescribes() {
    let mut world = ward();
    world.devices[0].put(&allergy("a", "p", "91936005"));
    world.devices[1].put(&prescription("amoxicillin", "p"));
    world.converge();
    for device in &world.devices {
        let chart = device.vault.chart(&id("Patient/p"), 99).expect("a chart");
        for record in ["AllergyIntolerance/a", "MedicationRequest/amoxicillin"] {
            assert!(chart.contains(&id(record)), "{record}");
        }
        assert_eq!(device.asked(), [""; 0]);
    }
}

#[test]
fn a_stop_beside_a_new_dose_holds_and_is_settled_for_good_until_something_unseen_comes() {
    let mut world = ward();
    let late = world.join("Chandra", &SENIOR);
    world.meet(&[0, late]);
    let stop = |draft: &mut Draft| {
        draft.set("status", json(r#""stopped""#)).because("rash");
    };
    let record = id("MedicationRequest/m");
    let seen = world.devices[0].version("MedicationRequest/m");
    world.devices[0]
        .vault
        .edit(&record, seen, stop)
        .expect("stops");
    let (m, dose) = ("MedicationRequest/m", r#"[{"text":"40 mg"}]"#);
    world.devices[1].set(m, "dosageInstruction", dose);
    // Away from the others, and unseen by them.
    world.devices[late].set(m, "dosageInstruction", r#"[{"text":"10 mg"}]"#);
    world.meet(&[0, 1]);
    for device in &world.devices[..2] {
        assert_eq!(device.shows(m, "status"), r#""stopped""#);
        assert_eq!(device.asked(), ["MedicationRequest/m status"]);
    }
    world.devices[1].keep(m, "status", "stopped");
    world.meet(&[0, 1]);
    world.meet(&[1, 0]);
    for device in &world.devices[..2] {
        assert_eq!(device.asked(), [""; 0]);
        assert_eq!(device.shows(m, "status"), r#""stopped""#);
    }
    world.converge();
    for device in &world.devices {
        assert_eq!(device.shows(m, "status"), r#""stopped""#);
        let asked = [format!("{m} {DOSE}"), format!("{m} status")];
        assert_eq!(device.asked(), asked);
        // What both had seen before they disagreed.
        assert!(device.shows(m, "dosageInstruction").contains("20 mg"));
    }
}

#[test]
fn a_stopped_medicine_is_restarted_by_a_new_request_and_not_by_an_edit() {
    let mut world = ward();
    let m = "MedicationRequest/m";
    world.devices[0].set(m, "status", r#""stopped""#);
    world.converge();
    let before = world.devices[1].digests();
    let seen = world.devices[1].version(m);
    let refused = world.devices[1].vault.edit(&id(m), seen, |draft| {
        draft.set("status", json(r#""active""#));
    });
    let error = refused.expect_err("a stop is final");
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("priorPrescription"), "{error}");
    assert_eq!(world.devices[1].digests(), before);
    let again = json(&prescription("m2", "p"));
    let mut draft = world.devices[1]
        .vault
        .draft(&id("MedicationRequest/m2"))
        .expect("a draft");
    draft.replace(again).set(
        "priorPrescription",
        json(r#"{"reference":"MedicationRequest/m"}"#),
    );
    world.devices[1].vault.commit(vec![draft]).expect("commits");
    world.converge();
    for device in &world.devices {
        assert_eq!(device.shows(m, "status"), r#""stopped""#);
        assert_eq!(
            device.shows("MedicationRequest/m2", "status"),
            r#""active""#
        );
        assert_eq!(device.asked(), [""; 0]);
    }
}

#[test]
fn a_laptop_back_after_a_month_does_not_revive_a_stopped_medicine() {
    let mut world = ward();
    let m = "MedicationRequest/m";
    world.devices[0].set(m, "status", r#""stopped""#);
    world.pass(30 * DAY);
    // The laptop never heard of the stop, and its last word is later than the stop.
    world.devices[1].set(m, "status", r#""on-hold""#);
    world.pass(DAY);
    world.devices[1].set(m, "status", r#""active""#);
    world.converge();
    for device in &world.devices {
        assert_eq!(device.shows(m, "status"), r#""stopped""#);
    }
}

#[test]
fn both_of_two_diagnoses_are_kept_and_the_last_agreed_one_is_shown() {
    let mut world = ward();
    let c = "Condition/c";
    world.devices[0].put(&diagnosis("c", "p", "fever"));
    world.converge();
    world.devices[0].set(c, "code", r#"{"text":"malaria"}"#);
    world.devices[1].set(c, "code", r#"{"text":"dengue"}"#);
    world.converge();
    for device in &world.devices {
        assert_eq!(device.shows(c, "code.text"), r#""fever""#);
        let question = device.question(c, "code");
        assert_eq!(
            values(&question),
            [r#"{"text":"dengue"}"#, r#"{"text":"malaria"}"#]
        );
    }
    world.devices[0].keep(c, "code", "dengue");
    world.converge();
    for device in &world.devices {
        assert_eq!(device.shows(c, "code.text"), r#""dengue""#);
        assert_eq!(device.asked(), [""; 0]);
        assert!(
            device
                .history(c, "code")
                .iter()
                .any(|e| !e.settles.is_empty())
        );
    }
}

#[test]
fn two_reviewers_who_disagree_offline_open_the_question_again() {
    let mut world = ward();
    let c = "Condition/c";
    world.devices[0].put(&diagnosis("c", "p", "fever"));
    world.converge();
    world.devices[0].set(c, "code", r#"{"text":"malaria"}"#);
    world.devices[1].set(c, "code", r#"{"text":"dengue"}"#);
    world.converge();
    let read_before = world.devices[1].question(c, "code");
    world.devices[0].keep(c, "code", "malaria");
    world.devices[1].keep(c, "code", "dengue");
    world.converge();
    for device in &world.devices {
        assert_eq!(device.asked(), ["Condition/c code"]);
        assert_eq!(device.shows(c, "code.text"), r#""fever""#);
    }
    // Whoever still has the old question on the screen decides nothing with it.
    let late = world.devices[1]
        .vault
        .resolve(read_before, Decision::Keep(0), "late");
    assert_eq!(late.expect_err("outdated"), Error::ReviewOutdated);
    world.devices[1].keep(c, "code", "dengue");
    world.converge();
    for device in &world.devices {
        assert_eq!(device.asked(), [""; 0]);
        assert_eq!(device.shows(c, "code.text"), r#""dengue""#);
    }
}

#[test]
fn the_highest_criticality_of_an_allergy_holds_until_somebody_decides() {
    let mut world = ward();
    let a = "AllergyIntolerance/a";
    world.devices[0].put(&allergy("a", "p", "91936005"));
    world.converge();
    world.devices[0].set(a, "criticality", r#""high""#);
    world.pass(DAY);
    world.devices[1].set(a, "criticality", r#""unable-to-assess""#);
    world.converge();
    for device in &world.devices {
        assert_eq!(device.shows(a, "criticality"), r#""high""#);
        assert_eq!(device.asked(), ["AllergyIntolerance/a criticality"]);
    }
}

#[test]
fn contact_details_are_settled_by_time_and_nobody_is_asked() {
    let mut world = ward();
    let p = "Patient/p";
    let city = |name: &str| format!(r#"[{{"id":"home","line":["{name} road"],"city":"{name}"}}]"#);
    world.devices[0].set(p, "address", &city("Pune"));
    world.converge();
    world.devices[1].set(p, "address", &city("Delhi"));
    world.pass(DAY);
    world.devices[0].set(p, "address", &city("Agra"));
    world.converge();
    for device in &world.devices {
        assert_eq!(device.view(p).get("address"), Some(&json(&city("Agra"))));
        assert_eq!(device.asked(), [""; 0]);
        assert_eq!(device.history(p, "address").len(), 3);
    }
}

#[test]
fn a_commit_over_several_records_is_never_half_visible() {
    let mut world = ward();
    let third = world.join("Chandra", &SENIOR);
    world.converge();
    // Bala's commit builds on what Asha said of one of its records, which the third never got.
    world.devices[0].set("Patient/p", "gender", r#""other""#);
    world.meet(&[0, 1]);
    let shown = |device: &Device| {
        let birth = device.shows("Patient/p", "birthDate");
        (birth, device.shows("MedicationRequest/m", "priority"))
    };
    let both = |device: &mut Device| {
        let mut birth = device.vault.draft(&id("Patient/p")).expect("a draft");
        birth.set("birthDate", json(r#""1981-02-03""#));
        let mut urgent = device
            .vault
            .draft(&id("MedicationRequest/m"))
            .expect("a draft");
        urgent.set("priority", json(r#""urgent""#));
        device.vault.commit(vec![urgent, birth]).expect("commits");
    };
    let before = shown(&world.devices[third]);
    let (stick, lost) = world.carry_half(1, third, both);
    let status = world.devices[third].vault.status().expect("a status");
    assert_eq!(status.pending, 1);
    assert_eq!(shown(&world.devices[third]), before);
    world.devices[third].assert_sound();
    // The lost file is found again.
    for (path, bytes) in lost {
        std::fs::write(path, bytes).expect("a file");
    }
    world.devices[third].exchange(stick.path());
    assert_eq!(shown(&world.devices[third]), shown(&world.devices[1]));
    assert_eq!(shown(&world.devices[1]).1, r#""urgent""#);
    world.converge();
}

#[test]
fn a_clock_that_is_ten_years_off_neither_stops_nor_revives_anything() {
    for years in [10, -10] {
        let mut world = ward();
        let (m, p) = ("MedicationRequest/m", "Patient/p");
        world.devices[1].env.advance_ms(years * YEAR);
        world.devices[1].set(m, "status", r#""on-hold""#);
        world.devices[0].set(m, "status", r#""stopped""#);
        world.devices[1].set(p, "gender", r#""male""#);
        world.devices[0].set(p, "gender", r#""other""#);
        world.converge();
        for device in &world.devices {
            assert_eq!(device.shows(m, "status"), r#""stopped""#);
            assert_eq!(device.shows(p, "gender"), r#""female""#);
            assert_eq!(device.asked(), ["Patient/p gender"]);
        }
        // Who sees a value replaces it, however the clocks stand.
        world.devices[1].keep(p, "gender", "male");
        world.devices[1].set(p, "maritalStatus", r#"{"text":"single"}"#);
        world.converge();
        world.devices[0].set(p, "maritalStatus", r#"{"text":"married"}"#);
        world.converge();
        for device in &world.devices {
            assert_eq!(device.shows(p, "maritalStatus.text"), r#""married""#);
            assert_eq!(device.shows(p, "gender"), r#""male""#);
            assert_eq!(device.asked(), [""; 0]);
        }
    }
}

#[test]
fn a_form_that_was_open_while_a_new_dose_came_does_not_overwrite_it_unseen() {
    let mut world = ward();
    let m = "MedicationRequest/m";
    let form = world.devices[0].version(m);
    world.devices[1].set(m, "dosageInstruction", r#"[{"text":"40 mg"}]"#);
    world.converge();
    assert!(
        world.devices[0]
            .shows(m, "dosageInstruction")
            .contains("40 mg")
    );
    world.devices[0].set_at(m, form, "dosageInstruction", r#"[{"text":"10 mg"}]"#);
    let question = world.devices[0].question(m, DOSE);
    let doses = values(&question).concat();
    assert!(
        doses.contains("40 mg") && doses.contains("10 mg"),
        "{doses}"
    );
    assert!(
        world.devices[0]
            .shows(m, "dosageInstruction")
            .contains("20 mg")
    );
    world.converge();
    assert_eq!(world.devices[1].asked(), [format!("{m} {DOSE}")]);
}

/// A blood group of a patient.
fn blood(name: &str, code: &str) -> String {
    format!(
        r#"{{"resourceType":"Observation","id":"{name}","status":"final",
            "subject":{{"reference":"Patient/p"}},
            "code":{{"coding":[{{"system":"http://loinc.org","code":"882-1"}}]}},
            "valueCodeableConcept":{{"coding":[{{"system":"http://snomed.info/sct","code":"{code}"}}]}}}}"#
    )
}

#[test]
fn what_contradicts_across_records_is_found_and_goes_when_the_data_is_mended() {
    let mut world = ward();
    let number = r#"[{"system":"urn:mrn","value":"7"}]"#;
    world.devices[0].put(&blood("b1", "112144000"));
    world.devices[1].put(&blood("b2", "165743006"));
    world.devices[0].put(&allergy("none", "p", "716186003"));
    world.devices[1].put(&allergy("a", "p", "91936005"));
    world.devices[0].set("Patient/p", "identifier", number);
    world.devices[1].put(&patient("q"));
    world.devices[1].set("Patient/q", "identifier", number);
    for device in &world.devices {
        assert!(device.found().is_empty());
    }
    world.converge();
    let named =
        |rule: &str, records: [&str; 2]| (rule.to_owned(), records.map(str::to_owned).to_vec());
    for device in &world.devices {
        assert_eq!(device.asked(), [""; 0]);
        let expected = [
            named("blood-group", ["Observation/b1", "Observation/b2"]),
            named(
                "no-known-allergy",
                ["AllergyIntolerance/a", "AllergyIntolerance/none"],
            ),
            named("identifier-shared", ["Patient/p", "Patient/q"]),
        ];
        assert_eq!(device.found(), expected);
    }
    world.devices[0].set("Observation/b1", "status", r#""entered-in-error""#);
    let refuted = r#"{"coding":[{"code":"refuted"}]}"#;
    world.devices[1].set("AllergyIntolerance/none", "verificationStatus", refuted);
    world.devices[1].set(
        "Patient/q",
        "identifier",
        r#"[{"system":"urn:mrn","value":"8"}]"#,
    );
    world.converge();
    for device in &world.devices {
        assert!(device.found().is_empty());
    }
}
