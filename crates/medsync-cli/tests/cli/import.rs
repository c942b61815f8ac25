//! Bringing records in.

use crate::harness::{PATIENT, Ran, World};
use std::io::Write as _;
use std::process::Stdio;

#[test]
fn the_same_file_again_changes_nothing_and_a_newer_one_only_the_difference() {
    let world = World::with_records();
    let again = world.json(&["import", "p.json", "m.json"]);
    assert_eq!(
        (&again["unchanged"], &again["imported"]),
        (&2.into(), &0.into())
    );
    world.file("p2.json", &PATIENT.replace("555-0100", "555-0199"));
    let newer = world.json(&["import", "p2.json"]);
    assert_eq!(newer["updated"], 1);
    let record = world.json(&["get", "Patient/p1"]);
    assert_eq!(record["record"]["telecom"][0]["value"], "555-0199");
}

#[test]
fn last_months_file_does_not_revert_yesterdays_edit() {
    let world = World::with_records();
    world
        .ward(&["edit", "Patient/p1", "--set", "birthDate=\"1985-01-01\""])
        .done();
    world.ward(&["import", "p.json"]).done();
    assert_eq!(
        world.json(&["get", "Patient/p1"])["record"]["birthDate"],
        "1985-01-01"
    );
}

#[test]
fn what_cannot_be_kept_is_named_by_file_line_and_reason_and_does_not_stop_the_rest() {
    let world = World::new();
    std::fs::create_dir(world.path("in")).expect("a folder");
    world.file(
        "in/a.ndjson",
        "{\"resourceType\":\"Patient\",\"id\":\"a\",\"active\":true}\nnot json\n\
         {\"resourceType\":\"Patient\",\"active\":true}\n\
         {\"resourceType\":\"Patient\",\"id\":\"empty\",\"a/b\":1}\n\
         {\"resourceType\":\"Patient\",\"id\":\"b\",\"active\":true}\n",
    );
    world.file("in/b.json", "[]");
    let ran = world.ward(&["import", "in", "none.ndjson", "--json"]);
    assert_eq!(ran.code, 1);
    let report = ran.json();
    assert_eq!(report["imported"], 2);
    let places: Vec<(String, u64)> = report["rejected"]
        .as_array()
        .expect("rejected")
        .iter()
        .map(|row| {
            assert!(!row["reason"].as_str().expect("a reason").is_empty());
            let source = row["source"].as_str().expect("a source").replace('\\', "/");
            (source, row["line"].as_u64().expect("a line"))
        })
        .collect();
    let expected = [
        ("in/a.ndjson", 2),
        ("in/a.ndjson", 3),
        ("in/a.ndjson", 4),
        ("in/b.json", 1),
    ];
    let mut expected: Vec<(String, u64)> = expected
        .iter()
        .map(|(name, line)| ((*name).to_owned(), *line))
        .collect();
    expected.push(("none.ndjson".to_owned(), 0));
    assert_eq!(places, expected);
    let told = world.ward(&["import", "in"]);
    assert_eq!(told.code, 1);
    told.warns("a.ndjson:2: not valid JSON")
        .says("2 unchanged, 4 rejected");
}

#[test]
fn a_transaction_is_all_or_nothing_unless_asked_otherwise() {
    let world = World::new();
    world.file(
        "t.json",
        r#"{"resourceType":"Bundle","type":"transaction","entry":[
            {"resource":{"resourceType":"Patient","id":"a","active":true},
             "request":{"method":"PUT","url":"Patient/a"}},
            {"resource":{"resourceType":"Patient","id":"b","active":true},
             "request":{"method":"DELETE","url":"Patient/b"}}]}"#,
    );
    let strict = world.ward(&["import", "t.json"]);
    assert_eq!(strict.code, 1);
    strict.says("0 new");
    world.ward(&["get", "Patient/a"]).fails(3);
    world.ward(&["import", "--lenient", "t.json"]).says("1 new");
    world.ward(&["get", "Patient/a"]).done();
}

#[test]
fn standard_input_is_a_source_too() {
    let world = World::new();
    let mut command = world.command();
    command.args(["--vault", "ward", "--passphrase-file", "pw", "import", "-"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut run = command.spawn().expect("a run");
    let mut input = run.stdin.take().expect("piped");
    input.write_all(PATIENT.as_bytes()).expect("open");
    drop(input);
    Ran::of(run.wait_with_output().expect("a run"))
        .done()
        .says("1 new");
}

#[test]
fn each_source_is_compared_with_itself() {
    let world = World::with_records();
    world.file("other.json", &PATIENT.replace("1984-02-29", "1984-03-01"));
    world
        .ward(&["import", "--source", "registry", "other.json"])
        .done();
    let open = world.json(&["get", "Patient/p1"]);
    assert_eq!(open["contested"][0]["field"], "birthDate");
    let again = world.json(&["import", "p.json"]);
    assert_eq!(again["unchanged"], 1);
}

#[test]
fn two_sources_that_say_the_same_disagree_on_nothing() {
    let world = World::new();
    world
        .run(&["generate", "--patients", "2", "--out", "all.ndjson"])
        .done();
    world.ward(&["import", "all.ndjson"]).done();
    world
        .ward(&["import", "--source", "copy", "all.ndjson"])
        .done();
    let rows = world.json(&["review", "list"]);
    assert_eq!(rows.as_array().map(Vec::len), Some(0), "{rows}");
}

#[test]
fn what_the_vault_itself_refuses_of_a_transaction_is_named_by_line_and_entry() {
    let world = World::new();
    let bundle = |first: &str| {
        format!(
            "{{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[\n{first}\n\
             {{\"resource\":{{\"resourceType\":\"Patient\",\"id\":\"x2\",\"active\":true}}}},\n\
             {{\"resource\":{{\"resourceType\":\"Patient\",\"id\":\"x3\",\"a/b\":1}}}}]}}\n"
        )
    };
    let delete = r#"{"request":{"method":"DELETE","url":"Patient/x1"}},"#;
    world.file("l.json", &bundle(delete));
    let lenient = world.ward(&["import", "--lenient", "l.json"]);
    assert_eq!(lenient.code, 1);
    lenient
        .says("1 new, 0 updated, 0 unchanged, 2 rejected")
        .warns("l.json:2 (entry 1): DELETE")
        .warns("l.json:4 (entry 3): a member's name");
    let good = r#"{"resource":{"resourceType":"Patient","id":"x1","active":true}},"#;
    world.file("s.json", &bundle(good));
    let strict = world.ward(&["import", "s.json"]);
    assert_eq!(strict.code, 1);
    strict
        .says("0 new, 0 updated, 0 unchanged, 2 rejected")
        .warns("s.json:4 (entry 3): a member's name")
        .warns("s.json:1: the transaction is refused as a whole");
    world.ward(&["get", "Patient/x1"]).fails(3);
}

#[test]
fn a_refusal_far_behind_what_was_read_is_still_named_by_its_line() {
    let world = World::new();
    let mut text = String::from("{\"resourceType\":\"Patient\",\"id\":\"bad\",\"a/b\":1}\n");
    for n in 0..6000 {
        text += &format!("{{\"resourceType\":\"Patient\",\"id\":\"p{n}\",\"active\":true}}\n");
    }
    world.file("many.ndjson", &text);
    let ran = world.ward(&["import", "many.ndjson"]);
    assert_eq!(ran.code, 1);
    ran.says("6000 new").warns("many.ndjson:1: a member's name");
}

#[test]
fn a_resource_that_is_nothing_but_its_name_is_kept_and_given_back_as_it_was() {
    let world = World::new();
    let minimal = r#"{"id":"x","resourceType":"Patient"}"#;
    world.file("x.json", minimal);
    world.ward(&["import", "x.json"]).done().says("1 new");
    let again = world.json(&["import", "x.json"]);
    assert_eq!(again["unchanged"], 1);
    let exported = || world.ward(&["export"]).done().out.trim().to_owned();
    assert_eq!(exported(), minimal);
    world.file(
        "more.json",
        r#"{"resourceType":"Patient","id":"x","active":true}"#,
    );
    world
        .ward(&["import", "more.json"])
        .done()
        .says("1 updated");
    assert_eq!(
        exported(),
        r#"{"active":true,"id":"x","resourceType":"Patient"}"#
    );
    world.ward(&["import", "x.json"]).done().says("1 updated");
    assert_eq!(exported(), minimal);
    world.file("new.json", "{}");
    world
        .ward(&["new", "Basic", "--from", "new.json"])
        .done()
        .says("Basic/");
    assert_eq!(
        world.json(&["review", "list"]).as_array().map(Vec::len),
        Some(0)
    );
    world.ward(&["verify", "--rebuild"]).done();
}
