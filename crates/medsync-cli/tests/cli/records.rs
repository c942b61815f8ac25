//! Reading and writing records.

use crate::harness::World;

#[test]
fn a_record_is_shown_with_its_version() {
    let world = World::with_records();
    let record = world.json(&["get", "Patient/p1"]);
    assert_eq!(record["record"]["name"][0]["family"], "Devi");
    assert_eq!(record["contested"].as_array().map(Vec::len), Some(0));
    assert_eq!(record["version"].as_array().map(Vec::len), Some(1));
    world.ward(&["get", "Patient/p1"]).done().says("Devi");
    world.ward(&["get", "Patient/none"]).fails(3);
    world.ward(&["get", "p1"]).fails(2);
}

#[test]
fn records_are_listed_by_kind_and_by_value() {
    let world = World::with_records();
    let ids = |args: &[&str]| -> Vec<String> {
        let rows = world.json(args);
        let rows = rows.as_array().expect("rows").iter();
        rows.map(|row| row["id"].as_str().expect("an id").to_owned())
            .collect()
    };
    assert_eq!(ids(&["list"]), ["MedicationRequest/m1", "Patient/p1"]);
    assert_eq!(ids(&["list", "Patient"]), ["Patient/p1"]);
    assert_eq!(ids(&["list", "--limit", "1"]), ["MedicationRequest/m1"]);
    let by_index = ["list", "MedicationRequest", "--where", "patient=Patient/p1"];
    assert_eq!(ids(&by_index), ["MedicationRequest/m1"]);
    assert_eq!(
        ids(&["list", "--where", "status=active"]),
        ["MedicationRequest/m1"]
    );
    assert_eq!(
        ids(&["list", "--where", "name.family=Devi"]),
        ["Patient/p1"]
    );
    assert_eq!(ids(&["list", "--where", "active=false"]), [""; 0]);
    assert_eq!(ids(&["search", "dev", "ash"]), ["Patient/p1"]);
    assert_eq!(ids(&["search", "MRN-17"]), ["Patient/p1"]);
    world.ward(&["list"]).done().says("Metformin");
    world
        .ward(&["search", "nobody"])
        .done()
        .says("Nothing found");
    world.ward(&["list", "--where", "status"]).fails(2);
}

#[test]
fn what_is_exported_is_what_was_imported() {
    let world = World::new();
    assert_eq!(world.ward(&["export", "Patient"]).done().out, "");
    world
        .run(&[
            "generate",
            "--patients",
            "2",
            "--seed",
            "5",
            "--out",
            "in.ndjson",
        ])
        .done();
    world.ward(&["import", "in.ndjson"]).done();
    world.ward(&["export", "--out", "out.ndjson"]).done();
    let sorted = |name: &str| {
        let text = world.read(name);
        let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted("in.ndjson"), sorted("out.ndjson"));
    let bundle = world
        .ward(&["export", "Patient", "--format", "bundle"])
        .done()
        .json();
    assert_eq!(bundle["entry"].as_array().map(Vec::len), Some(2));
    world.ward(&["export", "Patient/none"]).fails(3);
    world
        .ward(&["export", "Nothing"])
        .fails(3)
        .warns("no such kind");
    world.file("own.json", r#"{"resourceType":"OurKind","id":"o","x":1}"#);
    world.ward(&["import", "own.json"]).done();
    world.ward(&["export", "OurKind"]).done().says("OurKind");
}

#[test]
fn a_field_is_set_an_item_added_and_retracted_with_a_reason() {
    let world = World::with_records();
    let phone = r#"telecom={"system":"phone","value":"555-0101"}"#;
    world
        .ward(&[
            "edit",
            "Patient/p1",
            "--set",
            "active=false",
            "--add",
            phone,
        ])
        .done();
    let record = world.json(&["get", "Patient/p1"]);
    assert_eq!(record["record"]["active"], false);
    assert_eq!(record["record"]["telecom"][1]["value"], "555-0101");
    let events = world.json(&["history", "Patient/p1", "telecom"]);
    let key = events[1]["field"].as_str().expect("a key").to_owned();
    world
        .ward(&["edit", "Patient/p1", "--retract", &key])
        .fails(1)
        .warns("--because");
    let because = ["--because", "a wrong number"];
    world
        .ward(&[&["edit", "Patient/p1", "--retract", &key], &because[..]].concat())
        .done();
    let record = world.json(&["get", "Patient/p1"]);
    assert_eq!(
        record["record"]["telecom"].as_array().map(Vec::len),
        Some(1)
    );
    world
        .ward(&["history", "Patient/p1", "telecom"])
        .done()
        .says("a wrong number");
    let again = world.json(&["edit", "Patient/p1", "--set", "active=false"]);
    assert!(again["commit"].is_null(), "{again}");
}

#[test]
fn a_stopped_medicine_never_comes_back() {
    let world = World::with_records();
    let set = |status: &str| format!("status=\"{status}\"");
    let edit = ["edit", "MedicationRequest/m1", "--because", "rash", "--set"];
    world.ward(&[&edit[..], &[&set("stopped")]].concat()).done();
    let back = world
        .ward(&[&edit[..], &[&set("active")]].concat())
        .fails(1);
    back.warns("priorPrescription");
    let record = world.json(&["get", "MedicationRequest/m1"]);
    assert_eq!(record["record"]["status"], "stopped");
}

#[test]
fn an_edit_at_an_old_version_does_not_overwrite_what_it_did_not_see() {
    let world = World::with_records();
    let old = world.version("Patient/p1");
    world
        .ward(&["edit", "Patient/p1", "--set", "birthDate=\"1985-01-01\""])
        .done();
    let stale = [
        "edit",
        "Patient/p1",
        "--at",
        &old,
        "--set",
        "birthDate=\"1986-01-01\"",
    ];
    world.ward(&stale).done().says("contested");
    let record = world.json(&["get", "Patient/p1"]);
    let open = &record["contested"][0];
    assert_eq!(open["field"], "birthDate");
    assert_eq!(open["interim"], "1984-02-29");
    let values: Vec<&str> = open["candidates"]
        .as_array()
        .expect("candidates")
        .iter()
        .map(|candidate| candidate["value"].as_str().expect("a date"))
        .collect();
    assert_eq!(values, ["1985-01-01", "1986-01-01"]);
    assert_eq!(record["record"]["birthDate"], "1984-02-29");
    let nowhere = "0".repeat(64);
    world
        .ward(&[
            "edit",
            "Patient/p1",
            "--at",
            &nowhere,
            "--set",
            "active=true",
        ])
        .fails(1);
    world
        .ward(&["edit", "Patient/p1", "--at", "soon", "--set", "active=true"])
        .fails(2);
}

#[test]
fn a_batch_is_one_commit_or_nothing() {
    let world = World::with_records();
    let at = world.version("Patient/p1");
    world.file(
        "batch.json",
        &format!(
            r#"[{{"record":"Patient/p1","at":{at},"set":{{"active":false}},
                  "add":[{{"telecom":{{"system":"email","value":"a@example.org"}}}}]}},
                {{"record":"MedicationRequest/m1","set":{{"status":"on-hold"}},
                  "because":"surgery"}}]"#
        ),
    );
    let before = world.json(&["status"])["commits"].as_u64();
    world.ward(&["edit", "--batch", "batch.json"]).done();
    assert_eq!(
        world.json(&["status"])["commits"].as_u64(),
        before.map(|n| n + 1)
    );
    assert_eq!(
        world.json(&["get", "Patient/p1"])["record"]["active"],
        false
    );
    world.file(
        "lines.json",
        "{\"record\":\"Patient/p1\",\"set\":{\"active\":true}}\n\
         {\"record\":\"Patient/none\",\"set\":{\"active\":true}}\n",
    );
    world.ward(&["edit", "--batch", "lines.json"]).fails(3);
    assert_eq!(
        world.json(&["get", "Patient/p1"])["record"]["active"],
        false
    );
    world.file("bad.json", "{\"record\":\"Patient/p1\"}\nnot json\n");
    world
        .ward(&["edit", "--batch", "bad.json"])
        .fails(1)
        .warns("bad.json: edit 2");
    world
        .ward(&["edit", "Patient/p1", "--batch", "lines.json"])
        .fails(2);
}

#[test]
fn a_new_record_gets_an_id_and_never_overwrites_another() {
    let world = World::with_records();
    world.file("new.json", r#"{"name":[{"family":"Okoro"}]}"#);
    let made = world.json(&["new", "Patient", "--from", "new.json"]);
    let id = made["records"][0]["record"]
        .as_str()
        .expect("an id")
        .to_owned();
    let record = world.json(&["get", &id]);
    assert_eq!(record["record"]["resourceType"], "Patient");
    world
        .ward(&["new", "Patient", "--from", "p.json"])
        .fails(1)
        .warns("already");
    world
        .ward(&["new", "Patient", "--from", "m.json"])
        .fails(1)
        .warns("another kind");
    world
        .ward(&["new", "Patient", "--from", "none.json"])
        .fails(1);
}

#[test]
fn why_tells_policy_candidates_and_clocks() {
    let world = World::with_records();
    world
        .ward(&["edit", "Patient/p1", "--set", "active=false"])
        .done();
    world
        .ward(&["why", "Patient/p1", "active"])
        .done()
        .says("escalate")
        .says("covered");
    let why = world.json(&["why", "Patient/p1", "active"]);
    assert_eq!(why["shown"]["active"], false);
    assert_eq!(why["candidates"][0]["author"], "Dr. Rao");
    assert!(why["candidates"][0]["clock_count"].is_u64());
    world.ward(&["why", "Patient/p1", "photo"]).fails(3);
    world.ward(&["history", "Patient/none"]).fails(3);
}

#[test]
fn blanks_are_no_reason_and_null_is_no_value() {
    let world = World::with_records();
    let before = world.version("Patient/p1");
    let edit = |more: &[&str]| world.ward(&[&["edit", "Patient/p1"], more].concat());
    edit(&["--retract", "birthDate", "--because", " "])
        .fails(1)
        .warns("needs a reason");
    edit(&["--set", "birthDate=null"])
        .fails(1)
        .warns("--retract");
    edit(&["--add", "telecom=null"]).fails(1).warns("--retract");
    world.file("null.json", r#"{"active":true,"gender":null}"#);
    world
        .ward(&["new", "Patient", "--from", "null.json"])
        .fails(1)
        .warns("null is no value");
    assert_eq!(world.version("Patient/p1"), before);
}

#[test]
fn a_field_is_named_once_in_an_edit_and_its_name_is_one() {
    let world = World::with_records();
    let edit = |more: &[&str]| world.ward(&[&["edit", "Patient/p1"], more].concat());
    edit(&[
        "--set",
        "active=true",
        "--retract",
        "active",
        "--because",
        "x",
    ])
    .fails(2)
    .warns("twice");
    edit(&["--set", "gender=\"male\"", "--set", "gender=\"female\""])
        .fails(2)
        .warns("twice");
    world.file(
        "b.json",
        r#"[{"record":"Patient/p1","set":{"active":false},"retract":["active"],"because":"x"}]"#,
    );
    world
        .ward(&["edit", "--batch", "b.json"])
        .fails(1)
        .warns("twice");
    let long = format!("{}=1", "x".repeat(2000));
    edit(&["--set", &long]).fails(1).warns("a field's name is");
    assert_eq!(world.json(&["get", "Patient/p1"])["record"]["active"], true);
}

#[test]
fn a_final_status_is_told_what_may_follow_it() {
    let world = World::new();
    world.file(
        "o.json",
        r#"{"resourceType":"Observation","id":"o","status":"final","code":{"text":"Hb"}}"#,
    );
    world.ward(&["import", "o.json"]).done();
    let set = |status: &str| {
        let set = format!("status=\"{status}\"");
        world.ward(&["edit", "Observation/o", "--set", &set])
    };
    let lower = set("preliminary").fails(1);
    assert!(!lower.err.contains("priorPrescription"), "{lower:?}");
    lower.warns("amended");
    set("amended").done();
    set("final")
        .fails(1)
        .warns("enter this one as entered-in-error");
    set("entered-in-error").done();
    set("final").fails(1).warns("write a new record instead");
}
