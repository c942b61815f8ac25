//! Files from elsewhere, beside what people write.

use super::ward;
use crate::world::{World, allergy, id, patient, prescription, values};
use medsync_core::ledger::commit::Intent;

#[test]
fn two_clinics_that_import_the_same_file_have_one_record_and_no_question() {
    let mut world = World::of(&["Bala"]);
    let file = [patient("p"), allergy("a", "p", "91936005")];
    let file: Vec<&str> = file.iter().map(String::as_str).collect();
    for device in &mut world.devices {
        assert_eq!(device.import("district", &file).imported, 2);
    }
    world.converge();
    for device in &mut world.devices {
        let status = device.vault.status().expect("a status");
        assert_eq!((status.records, status.questions), (2, 0));
        assert!(device.found().is_empty());
        assert_eq!(device.import("district", &file).unchanged, 2);
    }
}

#[test]
fn last_months_file_does_not_revert_yesterdays_edit() {
    let mut world = ward();
    let old = patient("q");
    world.devices[0].import("district", &[&old]);
    world.converge();
    // Bala knows better since yesterday.
    world.devices[1].set("Patient/q", "gender", r#""other""#);
    world.devices[1].set(
        "Patient/q",
        "telecom",
        r#"[{"system":"phone","value":"2"}]"#,
    );
    world.converge();
    let again = world.devices[0].import("district", &[&old]);
    assert_eq!((again.updated, again.unchanged), (0, 1));
    // A newer file that changed something else brings only that.
    let newer = old.replace("1980-02-03", "1980-03-02");
    assert_eq!(world.devices[0].import("district", &[&newer]).updated, 1);
    world.converge();
    for device in &world.devices {
        let q = "Patient/q";
        assert_eq!(device.shows(q, "gender"), r#""other""#);
        assert_eq!(device.shows(q, "birthDate"), r#""1980-03-02""#);
        assert!(device.view(q).text().contains(r#""value":"2""#));
        assert_eq!(device.asked(), [""; 0]);
    }
}

#[test]
fn a_file_that_contradicts_an_edit_it_never_saw_raises_a_question() {
    let mut world = ward();
    let old = patient("q");
    world.devices[0].import("district", &[&old]);
    world.devices[0].set("Patient/q", "gender", r#""other""#);
    let newer = old.replace("female", "male");
    world.devices[0].import("district", &[&newer]);
    world.converge();
    for device in &world.devices {
        let question = device.question("Patient/q", "gender");
        assert_eq!(values(&question), [r#""male""#, r#""other""#]);
        assert_eq!(device.shows("Patient/q", "gender"), r#""female""#);
    }
}

#[test]
fn an_import_of_active_after_a_stop_here_is_kept_without_effect_and_found() {
    let mut world = ward();
    let (m, file) = ("MedicationRequest/n", prescription("n", "p"));
    let hold = file.replace("active", "on-hold");
    world.devices[0].import("pharmacy", &[&hold]);
    world.converge();
    world.devices[1].set(m, "status", r#""stopped""#);
    world.converge();
    assert!(world.devices[0].found().is_empty());
    world.devices[0].import("pharmacy", &[&file]);
    world.converge();
    for device in &world.devices {
        assert_eq!(device.shows(m, "status"), r#""stopped""#);
        let found = [("without-effect".to_owned(), vec![m.to_owned()])];
        assert_eq!(device.found(), found);
        let kept = device.history(m, "status").into_iter().any(|event| {
            let value = event.candidate.value.map(|v| v.expose().text());
            event.intent == Intent::Import && value.as_deref() == Some(r#""active""#)
        });
        assert!(kept);
    }
}

#[test]
fn two_sources_that_disagree_from_the_start_hide_neither_patient_nor_medicine() {
    let mut world = World::alone();
    let device = &mut world.devices[0];
    let asha = patient("p").replace(r#"["p"]"#, r#"["Asha"]"#);
    let aasha = patient("p").replace(r#"["p"]"#, r#"["Aasha"]"#);
    let one = prescription("m", "p");
    let two = one.replace("20 mg", "40 mg");
    let other = prescription("n", "p").replace("Patient/p", "Patient/q");
    device.import("north", &[&asha, &one, &prescription("n", "p")]);
    device.import("south", &[&aasha, &two, &other]);
    for text in ["rao", "asha", "aasha", "rao aasha"] {
        let found = device.vault.search(text, 10).expect("searches");
        assert_eq!(found, [id("Patient/p")], "{text}");
    }
    assert_eq!(device.vault.search("rao bala", 10), Ok(vec![]));
    // What all say of the order is shown, and what they do not agree on is not.
    let order = device.view("MedicationRequest/m");
    assert!(order.text().contains("atorvastatin"));
    assert!(order.get("dosageInstruction").is_none());
    // Whose the other is has to be decided; until then it is in both charts.
    for owner in ["Patient/p", "Patient/q"] {
        let chart = device.vault.chart(&id(owner), 10).expect("a chart");
        assert!(chart.contains(&id("MedicationRequest/n")), "{owner}");
    }
}
