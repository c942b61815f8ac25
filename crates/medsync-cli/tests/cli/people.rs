//! People, their PINs and their roles.

use crate::harness::World;

#[test]
fn a_person_acts_with_their_own_pin_and_with_nobody_elses() {
    let world = World::with_records();
    world.person("lima", "clinician");
    world.person("okoro", "reviewer");
    let edit = ["edit", "Patient/p1", "--set", "active=false"];
    world.as_person("lima", &edit).done();
    world
        .ward(&[&["--as", "lima", "--pin-file", "okoro"], &edit[..]].concat())
        .fails(4);
    world
        .ward(&[&["--as", "lima"], &edit[..]].concat())
        .fails(4)
        .warns("--pin-file");
    world
        .ward(&[&["--as", "nobody"], &edit[..]].concat())
        .fails(3);
    let events = world.json(&["history", "Patient/p1", "active"]);
    assert_eq!(events[1]["author"], "lima");
}

#[test]
fn only_an_admin_adds_people_and_no_name_stands_twice() {
    let world = World::new();
    world.person("lima", "clinician");
    world.file("pin", "1");
    let add = [
        "person",
        "add",
        "eve",
        "--role",
        "admin",
        "--new-pin-file",
        "pin",
    ];
    world.as_person("lima", &add).fails(1).warns("admin");
    world
        .ward(&[
            "person",
            "add",
            "lima",
            "--role",
            "admin",
            "--new-pin-file",
            "pin",
        ])
        .fails(1);
    world
        .ward(&["person", "add", "eve", "--new-pin-file", "pin"])
        .fails(2);
    world
        .ward(&[
            "person",
            "add",
            "eve",
            "--role",
            "king",
            "--new-pin-file",
            "pin",
        ])
        .fails(2);
}

#[test]
fn a_reset_pin_replaces_the_lost_one_for_others_and_for_the_owner() {
    let world = World::with_records();
    world.person("lima", "clinician");
    world.file("new", "new pin");
    let edit = ["edit", "Patient/p1", "--set", "active=false"];
    world
        .ward(&["person", "reset-pin", "lima", "--new-pin-file", "new"])
        .done();
    world.as_person("lima", &edit).fails(4);
    world
        .ward(&[&["--as", "lima", "--pin-file", "new"], &edit[..]].concat())
        .done();
    world
        .ward(&["person", "reset-pin", "Dr. Rao", "--new-pin-file", "new"])
        .done();
    let edit = ["edit", "Patient/p1", "--set", "active=true"];
    world.ward(&edit).fails(4);
    world.on("ward", &edit).fails(4);
    world
        .ward(&[&["--pin-file", "new"], &edit[..]].concat())
        .done();
    let status = world.json(&["status"]);
    assert_eq!(
        status["waiting"].as_array().map(Vec::len),
        Some(0),
        "{status}"
    );
    assert_eq!(world.json(&["verify", "--rebuild"])["sound"], true);
}

#[test]
fn with_a_second_person_the_passphrase_stands_for_nobodys_pin() {
    let world = World::with_records();
    world.file("lima", "pin of lima");
    let edit = ["edit", "Patient/p1", "--set", "active=false"];
    world.ward(&edit).done();
    let add = ["person", "add", "lima", "--role", "clinician"];
    let add = [&add[..], &["--new-pin-file", "lima"]].concat();
    world.ward(&add).fails(4).warns("--own-pin-file");
    assert_eq!(people(&world).len(), 1);
    world.file("mine", "pin of the owner");
    let own = ["--own-pin-file", "mine"];
    let before = people(&world)[0]["key"].clone();
    world.ward(&[&add[..], &own].concat()).done();
    // The key is the same one, under a PIN.
    assert!(people(&world).iter().any(|p| p["key"] == before));
    assert!(people(&world).iter().all(|p| p["pin"] == true));
    world.ward(&edit).fails(4);
    let as_owner = |args: &[&str]| world.ward(&[&["--pin-file", "mine"], args].concat());
    as_owner(&edit).done();
    let mut again = add;
    again[2] = "okoro";
    as_owner(&[&again[..], &own].concat())
        .fails(1)
        .warns("already");
    as_owner(&again).done();
    assert_eq!(world.json(&["verify", "--rebuild"])["sound"], true);
}

fn people(world: &World) -> Vec<serde_json::Value> {
    let listed = world.json(&["person", "list"]);
    listed["people"].as_array().expect("people").clone()
}

#[test]
fn a_person_changes_their_own_pin_and_keeps_their_key() {
    let world = World::with_records();
    world.file("new", "another pin");
    world.file("newer", "a third pin");
    let change = |file| ["person", "change-pin", "--new-pin-file", file];
    let before = people(&world)[0]["key"].clone();
    world.ward(&change("new")).done();
    assert_eq!(people(&world)[0]["key"], before);
    let edit = ["edit", "Patient/p1", "--set", "active=false"];
    world.ward(&edit).fails(4);
    world.ward(&change("newer")).fails(4);
    let with = |pin, args: &[&str]| world.ward(&[&["--pin-file", pin], args].concat());
    with("new", &edit).done();
    with("newer", &change("newer")).fails(4);
    with("new", &change("newer")).done();
    with("new", &edit).fails(4);
    with("newer", &edit).done();
}

#[test]
fn the_authoritys_words_bring_an_admin_another_term() {
    let world = World::empty();
    let init = ["init", "--words-file", "words", "--recovery-file", "r"];
    world.ward(&init).done();
    world
        .on("other", &["init", "--words-file", "strange"])
        .done();
    let renew = |words| world.ward(&["admin", "renew", "--words-file", words]);
    renew("strange").fails(4);
    renew("words").done();
    let status = world.json(&["status"]);
    assert_eq!(status["certificates_ending"], serde_json::json!([]));
    assert_eq!(world.json(&["verify"])["sound"], true);
}

#[test]
fn who_is_revoked_can_write_but_is_told_that_it_shows_as_unconfirmed() {
    let world = World::with_records();
    world.person("lima", "clinician");
    world
        .ward(&["revoke", "nobody", "--because", "left"])
        .fails(3);
    world
        .ward(&["revoke", "Dr. Rao", "--because", "left"])
        .fails(1);
    world.ward(&["revoke", "lima", "--because", "left"]).done();
    let edit = ["edit", "Patient/p1", "--set", "birthDate=\"1990-01-01\""];
    world.as_person("lima", &edit).done().warns("unconfirmed");
    let record = world.json(&["get", "Patient/p1"]);
    assert_eq!(record["record"]["birthDate"], "1984-02-29");
    let people = world.json(&["person", "list"]);
    let lima = people["people"]
        .as_array()
        .expect("people")
        .iter()
        .find(|p| p["name"] == "lima");
    assert_eq!(lima.expect("lima")["revoked"], true);
    world.ward(&["person", "list"]).done().says("revoked");
}

#[test]
fn a_device_is_revoked_by_the_beginning_of_its_key() {
    let world = World::new();
    world
        .on(
            "tablet",
            &["request", "--person", "lima", "--recovery-file", "w"],
        )
        .done();
    let request = world.on("tablet", &["request"]).done();
    world.file("request", &request.out);
    world
        .ward(&["admit", "request", "--role", "clinician"])
        .done();
    let people = world.json(&["person", "list"]);
    let devices = people["devices"].as_array().expect("devices");
    assert_eq!(devices.len(), 2);
    let other = devices
        .iter()
        .find(|d| d["this"] == false)
        .expect("the tablet");
    let key = other["key"].as_str().expect("a key");
    let beginning: String = key.chars().take(8).collect();
    // Both devices are called `device`.
    world
        .ward(&["revoke", "device", "--because", "stolen"])
        .fails(1)
        .warns("several");
    // Its own revocation would never leave it.
    let this = devices.iter().find(|d| d["this"] == true);
    let this = this.and_then(|d| d["key"].as_str()).expect("a key");
    world
        .ward(&["revoke", this, "--because", "stolen"])
        .fails(1)
        .warns("another device");
    world
        .ward(&["revoke", &beginning, "--because", "stolen"])
        .done()
        .says("revoke them too");
    let left = world.json(&["person", "list"]);
    assert_eq!(left["devices"].as_array().map(Vec::len), Some(1));
}

#[test]
fn two_admins_replace_the_authority_and_one_alone_does_not() {
    let world = World::empty();
    let init = ["init", "--person", "Dr. Rao", "--words-file", "old"];
    world.ward(&init).done();
    world.person("lima", "admin");
    world.person("kofi", "clinician");
    let before = world.json(&["authority", "show"])["authority"].clone();
    let voted = world.json(&["authority", "rotate", "--words-file", "new"]);
    let key = voted["votes_for"].as_str().expect("a key").to_owned();
    let shown = || world.json(&["authority", "show"]);
    assert_eq!(shown()["authority"], before);
    assert_eq!(shown()["votes"][0]["by"], "Dr. Rao");
    world.ward(&["status"]).done().says(&key);
    let digits: String = key.chars().take(8).collect();
    let agree = ["authority", "agree", &digits];
    world.ward(&agree).fails(1).warns("already");
    world.as_person("kofi", &agree).fails(1).warns("admin");
    world
        .as_person("lima", &["authority", "agree", "00000000"])
        .fails(3);
    world.as_person("lima", &agree).done();
    assert_eq!(shown()["authority"], key);
    assert_eq!(shown()["votes"].as_array().map(Vec::len), Some(0));
    let renew = |words| world.ward(&["admin", "renew", "--words-file", words]);
    renew("old").fails(4);
    renew("new").done();
    // Newcomers join by it, too.
    world
        .on("tablet", &["request", "--recovery-file", "r"])
        .done();
    let request = world.on("tablet", &["request"]).done();
    world.file("request", &request.out);
    let grant = world
        .ward(&["admit", "request", "--role", "clinician"])
        .done();
    world.file("grant", &grant.out);
    world.on("tablet", &["join", "grant"]).done();
    let there = world.on("tablet", &["--json", "authority", "show"]).done();
    assert_eq!(there.json()["authority"], key);
    assert_eq!(world.json(&["verify", "--rebuild"])["sound"], true);
}

#[test]
fn an_admin_chooses_until_when_a_stolen_keys_work_counts() {
    let world = World::with_records();
    world.person("lima", "clinician");
    let edit = ["edit", "Patient/p1", "--set", "birthDate=\"1990-01-01\""];
    world.as_person("lima", &edit).done();
    let shown = || world.json(&["get", "Patient/p1"])["record"]["birthDate"].clone();
    assert_eq!(shown(), "1990-01-01");
    let revoke = ["revoke", "lima", "--because", "stolen", "--keep-until"];
    world.ward(&[&revoke[..], &["yesterday"]].concat()).fails(2);
    world
        .ward(&[&revoke[..], &["2020-01-01T00:00:00Z"]].concat())
        .done();
    assert_eq!(shown(), "1984-02-29", "nothing of it counts");
    assert_eq!(world.json(&["verify", "--rebuild"])["sound"], true);
}
