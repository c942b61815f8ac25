//! A second device and its owner, through two small texts.

use crate::harness::World;

fn request(world: &World, vault: &str, person: &str) -> String {
    let ran = world.on(vault, &["request", "--person", person]).done();
    assert!(ran.err.contains("recovery words"), "{ran:?}");
    let name = format!("{vault}.request");
    world.file(&name, &ran.out);
    name
}

#[test]
fn a_request_and_a_grant_make_a_second_device_a_member() {
    let world = World::with_records();
    let name = request(&world, "tablet", "lima");
    world
        .on("tablet", &["edit", "Patient/p1", "--set", "active=true"])
        .fails(3);
    assert_eq!(
        world.on("tablet", &["request"]).done().out,
        world.read(&name)
    );
    let grant = world.ward(&["admit", &name, "--role", "clinician"]).done();
    world.file("grant", &grant.out);
    world.on("tablet", &["join", "grant"]).done().says("North");
    world.on("tablet", &["person", "list"]).done().says("lima");
    world.on("tablet", &["request"]).fails(1);
}

#[test]
fn a_grant_fits_one_device_and_one_workspace_only() {
    let world = World::new();
    world.on("south", &["init", "--workspace", "South"]).done();
    let lima = request(&world, "tablet", "lima");
    request(&world, "phone", "okoro");
    for (vault, file) in [("ward", "north.grant"), ("south", "south.grant")] {
        let grant = world
            .on(vault, &["admit", &lima, "--role", "clinician"])
            .done();
        world.file(file, &grant.out);
    }
    world.on("phone", &["join", "north.grant"]).fails(1);
    world.on("tablet", &["join", "north.grant"]).done();
    world.on("tablet", &["join", "south.grant"]).fails(1);
    world
        .on("tablet", &["person", "list"])
        .done()
        .says("Dr. Rao");
}

#[test]
fn texts_that_are_no_requests_or_grants_are_refused() {
    let world = World::new();
    let name = request(&world, "tablet", "lima");
    world.file("text", "hello");
    world
        .ward(&["admit", "text", "--role", "clinician"])
        .fails(1);
    world
        .ward(&["admit", "none", "--role", "clinician"])
        .fails(1);
    world.ward(&["admit", &name]).fails(2);
    world.on("tablet", &["join", "text"]).fails(1);
    world.on("tablet", &["join", &name]).fails(1);
    let half: String = world.read(&name).chars().take(200).collect();
    world.file("half", &half);
    world
        .ward(&["admit", "half", "--role", "clinician"])
        .fails(1);
    // Damage on the way is the text's fault, and no reason to doubt the vault.
    let mut text = world.read(&name).into_bytes();
    let at = text.len() / 2;
    text[at] = if text[at] == b'A' { b'B' } else { b'A' };
    world.file("damaged", &String::from_utf8(text).expect("ASCII"));
    world
        .ward(&["admit", "damaged", "--role", "clinician"])
        .fails(1)
        .warns("copy it again");
}

#[test]
fn only_an_admin_admits() {
    let world = World::new();
    world.person("lima", "clinician");
    let name = request(&world, "tablet", "okoro");
    world
        .as_person("lima", &["admit", &name, "--role", "admin"])
        .fails(1)
        .warns("admin");
}
