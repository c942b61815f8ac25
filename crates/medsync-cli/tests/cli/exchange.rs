//! Two vaults that meet over a folder.

use crate::harness::World;

/// The ward and a tablet of Nurse Lima, which has joined it, and a folder to meet in.
pub(crate) fn two(role: &str) -> World {
    let world = World::with_records();
    let request = world.on("tablet", &["request", "--person", "lima"]).done();
    world.file("request", &request.out);
    let grant = world.ward(&["admit", "request", "--role", role]).done();
    world.file("grant", &grant.out);
    world.on("tablet", &["join", "grant"]).done();
    std::fs::create_dir(world.path("stick")).expect("a folder");
    world
}

fn meet(world: &World) {
    for vault in ["ward", "tablet", "ward"] {
        world.on(vault, &["exchange", "stick"]).done();
    }
}

fn digests(world: &World, vault: &str) -> [String; 2] {
    let status = world.on(vault, &["--json", "status"]).done().json();
    ["ledger_digest", "state_digest"].map(|name| status[name].to_string())
}

#[test]
fn two_vaults_that_met_hold_the_same() {
    let world = two("clinician");
    meet(&world);
    assert_eq!(digests(&world, "ward"), digests(&world, "tablet"));
    let report = world
        .on("tablet", &["--json", "exchange", "stick"])
        .done()
        .json();
    assert_eq!(report["received"]["commits"], 0);
    assert_eq!(report["outgoing"], "complete");
    world
        .on("tablet", &["get", "Patient/p1"])
        .done()
        .says("Devi");
    world
        .on("tablet", &["search", "devi"])
        .done()
        .says("Patient/p1");
    assert_eq!(world.on("tablet", &["verify", "--rebuild"]).done().code, 0);
}

#[test]
fn what_was_written_before_the_first_meeting_arrives_too() {
    let world = two("clinician");
    world.file(
        "new.json",
        r#"{"name":[{"family":"Okoro","given":["Ada"]}],"active":true}"#,
    );
    let made = world
        .on(
            "tablet",
            &["--json", "new", "Patient", "--from", "new.json"],
        )
        .done();
    let id = made.json()["records"][0]["record"]
        .as_str()
        .expect("an id")
        .to_owned();
    meet(&world);
    assert_eq!(digests(&world, "ward"), digests(&world, "tablet"));
    let record = world.json(&["get", &id]);
    assert_eq!(record["record"]["name"][0]["family"], "Okoro");
    world.ward(&["search", "okoro"]).done().says(&id);
    assert_eq!(world.json(&["verify", "--rebuild"])["sound"], true);
}

#[test]
fn a_disagreement_is_one_question_everywhere_and_so_is_its_decision() {
    let world = two("reviewer");
    meet(&world);
    for (vault, date) in [("ward", "1985-01-01"), ("tablet", "1986-01-01")] {
        let set = format!("birthDate=\"{date}\"");
        world
            .on(vault, &["edit", "Patient/p1", "--set", &set])
            .done();
    }
    meet(&world);
    let rows = world.json(&["review", "list"]);
    let id = rows[0]["id"].as_str().expect("a question");
    let open = world.on("tablet", &["review", "show", id]).done();
    assert!(
        open.out.contains("1985-01-01") && open.out.contains("1986-01-01"),
        "{open:?}"
    );
    let resolve = [
        "review",
        "resolve",
        id,
        "--value",
        "\"1986-01-10\"",
        "--because",
        "passport",
    ];
    world.on("tablet", &resolve).done();
    world.on("tablet", &["exchange", "stick"]).done();
    world.on("ward", &["exchange", "stick"]).done();
    assert_eq!(
        world.json(&["get", "Patient/p1"])["record"]["birthDate"],
        "1986-01-10"
    );
    world
        .ward(&["review", "list"])
        .done()
        .says("No question is open");
    assert_eq!(digests(&world, "ward"), digests(&world, "tablet"));
}

#[test]
fn commits_of_who_is_not_here_stay_behind_and_are_counted() {
    let world = two("clinician");
    world.file("new", "new pin");
    world
        .ward(&["person", "reset-pin", "Dr. Rao", "--new-pin-file", "new"])
        .done();
    // The owner's key is closed now; carrying needs nobody's.
    let report = world.ward(&["--json", "exchange", "stick"]).done().json();
    assert_eq!(report["waiting_commits"], 0);
    world.on("tablet", &["exchange", "stick"]).done();
    world
        .on("tablet", &["person", "list"])
        .done()
        .says("revoked");
}

#[test]
fn a_revoked_device_gets_nothing_more() {
    let world = two("clinician");
    meet(&world);
    let people = world.json(&["person", "list"]);
    let devices = people["devices"].as_array().expect("devices");
    let tablet = devices
        .iter()
        .find(|d| d["this"] == false)
        .expect("the tablet");
    let key = tablet["key"].as_str().expect("a key");
    world
        .ward(&["revoke", key, "--because", " "])
        .fails(1)
        .warns("needs a reason");
    world.ward(&["revoke", key, "--because", "stolen"]).done();
    world
        .ward(&["edit", "Patient/p1", "--set", "active=false"])
        .done();
    world.ward(&["exchange", "stick"]).done();
    world.on("tablet", &["exchange", "stick"]);
    let record = world
        .on("tablet", &["--json", "get", "Patient/p1"])
        .done()
        .json();
    assert_eq!(record["record"]["active"], true);
}

#[test]
fn files_that_are_damaged_are_named_and_do_not_stop_the_others() {
    let world = two("clinician");
    world.ward(&["exchange", "stick"]).done();
    let mut damaged = 0;
    let mut folders = vec![world.path("stick")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let mut bytes = std::fs::read(&path).expect("a file");
            if bytes.len() > 2000 {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                std::fs::write(&path, bytes).expect("a file");
                damaged += 1;
            }
        }
    }
    assert!(damaged > 0);
    let ran = world.on("tablet", &["exchange", "stick"]);
    assert!(matches!(ran.code, 1 | 5), "{ran:?}");
    assert!(ran.err.contains("could not be used"), "{ran:?}");
}

#[test]
fn a_folder_that_is_not_there_and_a_vault_without_a_workspace_are_told_apart() {
    let world = two("clinician");
    world.ward(&["exchange", "nowhere"]).fails(3);
    world.on("alone", &["request", "--person", "eve"]).done();
    world
        .on("alone", &["exchange", "stick"])
        .fails(1)
        .warns("workspace");
}

/// The path of the ward's file of that name on the stick.
fn left_by_ward(world: &World, name: &str) -> std::path::PathBuf {
    let mut folders = vec![world.path("stick")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.ends_with(name) {
                return path;
            }
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    panic!("no {name} was left");
}

#[test]
fn audit_heads_that_are_junk_are_named_like_any_other_file() {
    let world = two("clinician");
    world.ward(&["exchange", "stick"]).done();
    std::fs::write(left_by_ward(&world, "heads.age"), "junk").expect("a file");
    world
        .on("tablet", &["exchange", "stick"])
        .fails(1)
        .warns("1 file could not be used")
        .warns("heads.age");
    // The records came all the same.
    world.on("tablet", &["get", "Patient/p1"]).done();
}

#[test]
#[cfg(unix)]
fn a_stick_that_only_reads_is_read_and_ends_with_1() {
    let world = two("clinician");
    world.ward(&["exchange", "stick"]).done();
    world.on("tablet", &["--json", "status"]).done();
    let ran = world.read_only("tablet", &["--json", "exchange", "stick"], "stick");
    let ran = ran.fails(1).warns("cannot be written");
    assert_eq!(ran.json()["outgoing"], "read-only-folder");
    world.on("tablet", &["get", "Patient/p1"]).done();
}
