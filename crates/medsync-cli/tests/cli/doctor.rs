//! What the doctor says.

use crate::harness::World;
use std::fs;

#[test]
fn a_whole_vault_ends_with_0_and_json_says_what_there_is() {
    let world = World::with_records();
    let said = world.ward(&["doctor"]).done();
    assert!(!said.out.contains("damage"), "{said:?}");
    world.ward(&["doctor", "--repair"]).done();
    let json = world.json(&["doctor"]);
    let outbox = json
        .as_array()
        .expect("a list")
        .iter()
        .find(|a| a["code"] == "outbox");
    let outbox = outbox.expect("nobody else has its commits");
    assert_eq!(
        (&outbox["severity"], &outbox["repaired"]),
        (&"note".into(), &false.into())
    );
}

#[test]
fn files_that_are_damaged_truncated_or_swapped_are_explained() {
    let world = World::with_records();
    world
        .on(
            "other",
            &["init", "--workspace", "South", "--person", "Dr. Lee"],
        )
        .done();
    let file = world.path("ward/vault.db");
    let whole = fs::read(&file).expect("a file");
    let other = fs::read(world.path("other/vault.db")).expect("a file");
    let mut flipped = whole.clone();
    let mid = whole.len() / 2;
    flipped[20_480..]
        .iter_mut()
        .step_by(4136)
        .for_each(|byte| *byte ^= 1);
    for bytes in [&flipped[..], &whole[..mid], &whole[..100], &other, b""] {
        fs::write(&file, bytes).expect("writes");
        let said = world.ward(&["doctor"]).fails(5);
        said.warns("exchange");
        world.ward(&["get", "Patient/p1"]).fails(5);
    }
    fs::write(&file, &whole).expect("writes");
    world.ward(&["doctor"]).done();
    // Copied without its data, or without its keys.
    fs::remove_file(&file).expect("removes");
    world.ward(&["doctor"]).fails(5);
    fs::write(&file, &whole).expect("writes");
    fs::remove_file(world.path("ward/vault.keys")).expect("removes");
    world.ward(&["doctor"]).fails(3);
}
