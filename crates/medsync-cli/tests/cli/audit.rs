//! The audit log: listed, given away, and checked where there is no vault.

use crate::harness::{CANARY, World};

fn actions(world: &World, args: &[&str]) -> Vec<String> {
    let listed = world.json(&[&["audit", "list"], args].concat());
    let all = listed.as_array().expect("a list").iter();
    all.map(|row| row["action"].as_str().expect("an action").to_owned())
        .collect()
}

#[test]
fn what_was_done_is_listed_by_record_person_and_time() {
    let world = World::with_records();
    world.ward(&["get", "Patient/p1"]).done();
    world
        .ward(&["edit", "Patient/p1", "--set", "active=false"])
        .done();
    world.ward(&["search", "devi"]).done();
    world
        .ward(&["export", "Patient", "--out", "all.ndjson"])
        .done();
    let all = actions(&world, &[]);
    for action in [
        "admit", "unlock", "import", "read", "change", "search", "export",
    ] {
        assert!(all.iter().any(|a| a == action), "{action}: {all:?}");
    }
    let of_m1 = actions(&world, &["--record", "MedicationRequest/m1"]);
    assert_eq!(of_m1, ["import"]);
    let of_p1 = actions(&world, &["--record", "Patient/p1"]);
    assert!(of_p1.contains(&"read".to_owned()) && of_p1.contains(&"change".to_owned()));
    assert!(!actions(&world, &["--person", "Dr. Rao"]).is_empty());
    assert!(actions(&world, &["--since", "2100-01-01"]).is_empty());
    world
        .ward(&["audit", "list", "--person", "nobody"])
        .fails(3);
    world
        .ward(&["audit", "list", "--since", "yesterday"])
        .fails(2);
    world
        .ward(&["audit", "list"])
        .done()
        .says("Dr. Rao")
        .says("export");
}

#[test]
fn a_log_proves_itself_in_another_folder_and_every_change_of_it_is_found() {
    let world = World::with_records();
    world.ward(&["search", CANARY]).done();
    world.ward(&["get", "Patient/p1"]).done();
    world.ward(&["audit", "export", "ward.audit"]).done();
    world
        .ward(&["audit", "export", "--reveal", "clear.audit"])
        .done();
    let authority = world.json(&["status"])["authority"]
        .as_str()
        .expect("a key")
        .to_owned();
    let elsewhere = World::empty();
    for name in ["ward.audit", "clear.audit"] {
        std::fs::copy(world.path(name), elsewhere.path(name)).expect("a copy");
        let checked = ["audit", "verify", name, "--authority", &authority];
        elsewhere
            .run(&checked)
            .done()
            .says("everything holds")
            .says(&authority);
    }
    let bytes = std::fs::read(world.path("ward.audit")).expect("a file");
    let holds = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|w| w == text.as_bytes());
    assert!(!holds(&bytes, CANARY) && !holds(&bytes, "Patient/p1"));
    let clear = std::fs::read(world.path("clear.audit")).expect("a file");
    assert!(holds(&clear, CANARY) && holds(&clear, "Patient/p1"));
    // Another authority, a changed byte, a cut.
    let other = "00".repeat(32);
    let ran = elsewhere.run(&["audit", "verify", "ward.audit", "--authority", &other]);
    ran.fails(5);
    for at in [bytes.len() / 2, bytes.len() - 20] {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        std::fs::write(elsewhere.path("bad.audit"), bad).expect("a file");
        elsewhere.run(&["audit", "verify", "bad.audit"]).fails(5);
    }
    std::fs::write(elsewhere.path("bad.audit"), &bytes[..bytes.len() - 9]).expect("a file");
    elsewhere.run(&["audit", "verify", "bad.audit"]).fails(5);
    elsewhere.file("no.audit", "something else");
    elsewhere.run(&["audit", "verify", "no.audit"]).fails(1);
    // The vault checks its own, and an older file against what it knows by now.
    world
        .ward(&["audit", "verify"])
        .done()
        .says("everything holds");
    let older = world.ward(&["audit", "verify", "ward.audit"]);
    older.fails(5);
}

#[test]
fn an_emergency_is_told_until_it_is_acknowledged() {
    let world = World::with_records();
    world.person("lima", "clinician");
    let reason = format!("fell in the night {CANARY}");
    let read = ["--break-glass", &reason, "get", "Patient/p1"];
    let ran = world.on("ward", &read).done();
    assert!(!ran.err.contains(CANARY));
    let edit = [
        "--break-glass",
        &reason,
        "edit",
        "Patient/p1",
        "--set",
        "active=false",
    ];
    world.on("ward", &edit).fails(2);
    let status = world.json(&["status"]);
    let emergency = status["emergencies"][0]["emergency"]
        .as_str()
        .expect("one")
        .to_owned();
    world.ward(&["status"]).done().says("emergency");
    let listed = world.json(&["audit", "list", "--record", "Patient/p1"]);
    let rows = listed.as_array().expect("a list");
    assert!(rows.iter().any(|r| {
        r["who"]
            .as_str()
            .is_some_and(|w| w.starts_with("emergency"))
    }));
    let close = [
        "audit",
        "acknowledge",
        &emergency,
        "--because",
        "looked into it",
    ];
    world.as_person("lima", &close).fails(1);
    world.ward(&close).done();
    world.ward(&close).fails(3);
    assert_eq!(
        world.json(&["status"])["emergencies"],
        serde_json::json!([])
    );
}

#[test]
fn the_log_comes_out_as_fhir() {
    let world = World::with_records();
    world.ward(&["get", "Patient/p1"]).done();
    world.ward(&["search", "devi"]).done();
    world
        .ward(&["audit", "export", "--format", "fhir", "events.ndjson"])
        .done();
    let text = world.read("events.ndjson");
    let events: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert!(events.iter().all(|e| e["resourceType"] == "AuditEvent"));
    let read = events
        .iter()
        .find(|e| e["action"] == "R" && e["type"]["code"] == "rest");
    let read = read.expect("a read");
    assert_eq!(read["entity"][0]["what"]["reference"], "Patient/p1");
    assert!(events.iter().any(|e| e["type"]["code"] == "110114"));
}

#[test]
fn an_export_tells_who_changed_what_and_why() {
    let world = World::with_records();
    let edit = [
        "edit",
        "Patient/p1",
        "--set",
        "active=false",
        "--because",
        "moved away",
    ];
    world.ward(&edit).done();
    world
        .ward(&["export", "--provenance", "Patient", "--out", "all.ndjson"])
        .done();
    let text = world.read("all.ndjson");
    let all: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let kinds: Vec<_> = all
        .iter()
        .map(|r| r["resourceType"].as_str().expect("a kind"))
        .collect();
    assert_eq!(kinds, ["Patient", "Provenance", "Provenance"]);
    assert_eq!(all[1]["activity"]["coding"][0]["code"], "CREATE");
    assert_eq!(all[2]["reason"][0]["text"], "moved away");
    assert_eq!(all[2]["agent"][0]["who"]["display"], "Dr. Rao");
}
