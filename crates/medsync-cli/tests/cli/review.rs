//! Deciding what only a person may decide.

use crate::harness::World;

#[test]
fn a_question_is_listed_shown_and_decided_once() {
    let world = World::with_records();
    let id = world.contest();
    let row = &world.json(&["review", "list"])[0];
    assert_eq!(row["record"], "Patient/p1");
    assert_eq!(row["field"], "birthDate");
    assert!(row["risk"].is_string() && row["due"].is_string() && row["age_s"].is_u64());
    assert_eq!(row["candidates"].as_array().map(Vec::len), Some(2));
    world.ward(&["review", "list"]).done().says(&id);
    world
        .ward(&["review", "show", &id])
        .done()
        .says("1986-01-01");
    let resolve = [
        "review",
        "resolve",
        &id,
        "--keep",
        "1",
        "--because",
        "passport",
    ];
    world.ward(&resolve).done();
    assert_eq!(
        world.json(&["get", "Patient/p1"])["record"]["birthDate"],
        "1986-01-01"
    );
    world.ward(&resolve).fails(3);
    world
        .ward(&["why", "Patient/p1", "birthDate"])
        .done()
        .says("passport");
    world
        .ward(&["review", "list"])
        .done()
        .says("No question is open");
}

#[test]
fn another_value_or_none_can_stand_too() {
    let world = World::with_records();
    let id = world.contest();
    let resolve = ["review", "resolve", &id, "--because", "asked"];
    world
        .ward(&[&resolve[..], &["--value", "1987"]].concat())
        .done();
    assert_eq!(
        world.json(&["get", "Patient/p1"])["record"]["birthDate"],
        1987
    );
    let id = world.contest();
    let resolve = ["review", "resolve", &id, "--because", "nobody knows"];
    world.ward(&[&resolve[..], &["--remove"]].concat()).done();
    assert!(world.json(&["get", "Patient/p1"])["record"]["birthDate"].is_null());
}

#[test]
fn who_is_no_reviewer_decides_nothing() {
    let world = World::with_records();
    world.person("lima", "clinician");
    let id = world.contest();
    let resolve = ["review", "resolve", &id, "--keep", "0", "--because", "sure"];
    world.as_person("lima", &resolve).fails(1).warns("reviewer");
    assert_eq!(world.json(&["review", "list"])[0]["id"], id.as_str());
}

#[test]
fn a_decision_names_one_choice_a_candidate_that_exists_and_a_reason() {
    let world = World::with_records();
    let id = world.contest();
    let resolve = ["review", "resolve", &id];
    let fails = |more: &[&str], code: i32| {
        world.ward(&[&resolve[..], more].concat()).fails(code);
    };
    fails(&["--because", "x"], 2);
    fails(&["--keep", "0"], 2);
    fails(&["--keep", "0", "--remove", "--because", "x"], 2);
    fails(&["--keep", "7", "--because", "x"], 1);
    fails(&["--keep", "0", "--because", " "], 1);
    fails(&["--value", "{", "--because", "x"], 2);
    world.ward(&["review", "show", "000000000000"]).fails(3);
}

#[test]
fn a_decision_on_what_was_read_before_a_change_is_refused() {
    let world = World::with_records();
    let id = world.contest();
    let at = world.json(&["review", "show", &id])["version"].to_string();
    world
        .ward(&["edit", "Patient/p1", "--set", "active=false"])
        .done();
    let resolve = [
        "review",
        "resolve",
        &id,
        "--keep",
        "0",
        "--because",
        "x",
        "--at",
        &at,
    ];
    world.ward(&resolve).fails(1).warns("changed");
}

#[test]
fn findings_are_listed_apart_from_questions() {
    let world = World::with_records();
    let twin = crate::harness::PATIENT.replace("\"p1\"", "\"p2\"");
    world.file("twin.json", &twin);
    world.ward(&["import", "twin.json"]).done();
    assert_eq!(
        world.json(&["review", "list"]).as_array().map(Vec::len),
        Some(0)
    );
    let rows = world.json(&["review", "findings"]);
    let finding = &rows.as_array().expect("rows")[0];
    assert_eq!(finding["records"].as_array().map(Vec::len), Some(2));
    let id = finding["id"].as_str().expect("an id");
    world
        .ward(&["review", "show", id])
        .done()
        .says("Patient/p2");
    world.ward(&["review", "list"]).done().says("findings");
}

#[test]
fn two_final_values_written_in_sight_are_not_said_to_be_out_of_sight() {
    let world = World::with_records();
    for status in ["stopped", "completed"] {
        let set = format!("status=\"{status}\"");
        world
            .ward(&["edit", "MedicationRequest/m1", "--set", &set])
            .done();
    }
    let row = &world.json(&["review", "list"])[0];
    let why = row["why"].as_str().expect("a reason");
    assert!(why.contains("two different final values"), "{why}");
    let world = World::with_records();
    let id = world.contest();
    let why = world.json(&["review", "show", &id])["why"].to_string();
    assert!(why.contains("without sight"), "{why}");
    let third = ["edit", "Patient/p1", "--set", "birthDate=\"1987-01-01\""];
    world.ward(&third).done();
    let why = world.json(&["review", "show", &id])["why"].to_string();
    assert!(!why.contains("without sight"), "{why}");
}

#[test]
fn a_stop_beside_a_new_dose_shows_the_dose_and_whose_it_is() {
    let world = World::with_records();
    let at = world.version("MedicationRequest/m1");
    let edit = ["edit", "MedicationRequest/m1", "--at", &at, "--set"];
    let dose = "dosageInstruction=[{\"text\":\"two in the morning\"}]";
    for set in ["status=\"stopped\"", dose] {
        world.ward(&[&edit[..], &[set]].concat()).done();
    }
    let rows = world.json(&["review", "list"]);
    let id = rows[0]["id"].as_str().expect("a question");
    let shown = world.json(&["review", "show", id]);
    assert_eq!(shown["candidates"][0]["value"], "stopped");
    let beside = shown["beside"].as_array().expect("changes");
    assert_eq!(beside.len(), 1, "{shown}");
    assert_eq!(beside[0]["author"], "Dr. Rao");
    assert!(beside[0]["time"].is_string());
    assert!(beside[0].to_string().contains("two in the morning"));
    world
        .ward(&["review", "show", id])
        .done()
        .says("changed beside it")
        .says("two in the morning");
    let resolve = ["review", "resolve", id, "--value", "null", "--because", "x"];
    world.ward(&resolve).fails(1).warns("--remove");
}
