//! A vault that was put back, copied or moved, as people and scripts see it.

use crate::harness::World;
use std::fs;
use std::path::Path;

fn copy(from: &Path, to: &Path) {
    fs::remove_dir_all(to).ok();
    fs::create_dir(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copies");
    }
}

fn edit(world: &World, date: &str) {
    let set = format!("birthDate=\"{date}\"");
    world.ward(&["edit", "Patient/p1", "--set", &set]).done();
}

#[test]
fn a_backup_that_was_put_back_is_said_loudly_until_somebody_writes() {
    let world = World::with_records();
    assert_eq!(world.json(&["status"])["anchor"]["state"], "held");
    let [ward, backup] = ["ward", "backup"].map(|name| world.path(name));
    copy(&ward, &backup);
    let name = world.json(&["status"])["replica"].clone();
    edit(&world, "1985-01-01");
    edit(&world, "1986-01-01");
    copy(&backup, &ward);
    for _ in 0..2 {
        let shown = world.ward(&["get", "Patient/p1"]).done();
        shown
            .says("1984-02-29")
            .warns("OLDER")
            .warns("by 2 commits");
    }
    let status = world.ward(&["status", "--json"]).done();
    assert!(status.err.contains("\"warning\""), "{status:?}");
    let json = status.json();
    assert_eq!(json["anchor"]["state"], "rolled-back");
    assert_eq!(json["anchor"]["missing"], 2);
    // It will write under another name, whenever somebody does.
    let new = json["replica"].clone();
    assert_ne!(new, name);
    edit(&world, "1987-01-01");
    let status = world.ward(&["status", "--json"]).done();
    assert_eq!(status.err, "");
    let json = status.json();
    assert_eq!(json["replica"], new);
    assert_eq!(json["anchor"]["state"], "held");
    assert_eq!(json["incarnation"]["why"], "rolled-back");
    assert_eq!(json["incarnation"]["missing"], 2);
    world.ward(&["status"]).done().says("under a new name");
}

#[test]
fn a_vault_on_another_machine_and_a_state_that_cannot_be_written_stop_nothing() {
    let world = World::with_records();
    let state = world.path("state");
    fs::remove_dir_all(&state).expect("removes");
    let shown = world.ward(&["get", "Patient/p1"]).done();
    shown.warns("moved or restored here");
    edit(&world, "1985-01-01");
    assert_eq!(world.ward(&["get", "Patient/p1"]).done().err, "");
    // A file stands where the folder should be.
    fs::remove_dir_all(&state).expect("removes");
    fs::write(&state, b"no folder").expect("writes");
    let shown = world.ward(&["get", "Patient/p1"]).done();
    shown.says("1985-01-01").warns("MEDSYNC_STATE");
    edit(&world, "1986-01-01");
    let shown = world.ward(&["get", "Patient/p1"]).done();
    shown.says("1986-01-01");
}
