//! Making, opening, checking and locking vaults.

use crate::harness::{CANARY, Ran, World};
use std::io::Write as _;
use std::process::Stdio;

#[test]
fn a_new_vault_shows_both_sets_of_words_once() {
    let world = World::empty();
    let made = world.ward(&["init", "--workspace", "North"]).done();
    let numbers = made.out.matches("24 ").count();
    assert!(numbers >= 2, "{made:?}");
    world.ward(&["init"]).fails(1).warns("already");
    world.ward(&["status"]).done().says("North");
}

#[cfg(unix)]
#[test]
fn words_that_have_a_file_are_readable_by_nobody_else_and_not_shown() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::empty();
    let made = world.ward(&[
        "--json",
        "init",
        "--words-file",
        "a",
        "--recovery-file",
        "r",
    ]);
    assert!(made.done().json()["recovery_words"].is_null());
    for name in ["a", "r"] {
        assert_eq!(world.read(name).split_whitespace().count(), 24);
        let mode = std::fs::metadata(world.path(name))
            .expect("a file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_words_file_that_is_there_already_stops_before_anything_is_made() {
    let world = World::empty();
    world.file("r", "precious");
    let args = ["init", "--words-file", "a", "--recovery-file", "r"];
    world.ward(&args).fails(1);
    assert_eq!(world.read("r"), "precious");
    assert!(!world.path("ward").exists() && !world.path("a").exists());
}

#[test]
fn a_wrong_passphrase_ends_with_4() {
    let world = World::new();
    world.file("other", "wrong horse\n");
    let args = ["--vault", "ward", "--passphrase-file", "other", "status"];
    world.run(&args).fails(4);
    let ran = world.run(&[&args[..], &["--json"]].concat());
    let told: serde_json::Value = serde_json::from_str(&ran.err).expect("JSON");
    assert_eq!(told["code"], 4);
    assert!(told["error"].is_string() && told["hint"].is_string());
}

#[test]
fn options_can_stand_in_the_environment() {
    let world = World::new();
    let mut command = world.command();
    command
        .env("MEDSYNC_VAULT", "ward")
        .env("MEDSYNC_PASSPHRASE_FILE", "pw");
    Ran::of(command.arg("status").output().expect("a run")).done();
}

#[test]
fn a_folder_without_a_vault_ends_with_3_and_none_at_all_with_2() {
    let world = World::empty();
    world.ward(&["status"]).fails(3).warns("init");
    world.run(&["status"]).fails(2).warns("MEDSYNC_VAULT");
    world
        .run(&["--vault", "ward", "--passphrase-file", "none", "init"])
        .fails(1);
}

#[test]
fn a_second_process_is_told_that_the_vault_is_open() {
    let world = World::new();
    let mut command = world.command();
    command.args(["--vault", "ward", "--passphrase-file", "pw", "import", "-"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // The first process holds the vault from its unlocking until its input ends. Unless the probe
    // came first: then it is the one that is refused.
    let (mut first, busy) = (0..50)
        .find_map(|_| {
            let mut first = command.spawn().expect("a run");
            while first.try_wait().expect("a child").is_none() {
                let ran = world.ward(&["status"]);
                if ran.code != 0 {
                    return Some((first, ran));
                }
            }
            None
        })
        .expect("the vault is never busy");
    busy.fails(1).warns("open in another process");
    let mut input = first.stdin.take().expect("piped");
    input
        .write_all(b"{\"resourceType\":\"Patient\",\"id\":\"a\",\"active\":true}\n")
        .expect("open");
    drop(input);
    Ran::of(first.wait_with_output().expect("a run"))
        .done()
        .says("1 new");
    world.ward(&["status"]).done();
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written_is_named_as_the_reason() {
    let world = World::empty();
    world.file("plain", "");
    world.on("plain/ward", &["init"]).fails(1);
    std::fs::create_dir(world.path("closed")).expect("a folder");
    world
        .read_only("closed/ward", &["init"], "closed")
        .fails(1)
        .warns("PermissionDenied");
    let left = std::fs::read_dir(world.path("closed")).expect("a folder");
    assert_eq!(left.count(), 0);
}

#[test]
fn a_new_passphrase_replaces_the_old_one_and_the_words_replace_a_lost_one() {
    let world = World::empty();
    world.ward(&["init", "--recovery-file", "words"]).done();
    world.file("new", "battery staple");
    world
        .ward(&["passphrase", "change", "--new-passphrase-file", "new"])
        .done();
    world.ward(&["status"]).fails(4);
    let change = [
        "passphrase",
        "change",
        "--new-passphrase-file",
        "pw",
        "--recovery-file",
    ];
    world
        .run(&[&["--vault", "ward"], &change[..], &["words"]].concat())
        .done();
    world.ward(&["status"]).done();
    world
        .ward(&["recovery", "new", "--words-file", "fresh"])
        .done();
    world
        .run(&[&["--vault", "ward"], &change[..], &["words"]].concat())
        .fails(4);
    world
        .run(&[&["--vault", "ward"], &change[..], &["fresh"]].concat())
        .done();
    world.file("empty", "\n");
    world
        .ward(&["passphrase", "change", "--new-passphrase-file", "empty"])
        .fails(1);
}

#[test]
fn an_honest_vault_verifies_and_a_damaged_one_ends_with_5() {
    let world = World::with_records();
    let report = world.json(&["verify", "--rebuild"]);
    assert_eq!(
        (&report["sound"], &report["rebuilt_equal"]),
        (&true.into(), &true.into())
    );
    let file = std::fs::read_dir(world.path("ward"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .max_by_key(|path| path.metadata().map_or(0, |meta| meta.len()))
        .expect("the data file");
    let mut bytes = std::fs::read(&file).expect("a file");
    for at in (8192..bytes.len()).step_by(512) {
        bytes[at] ^= 1;
    }
    std::fs::write(&file, bytes).expect("a file");
    world.ward(&["verify"]).fails(5);
}

#[test]
fn status_counts_what_is_here_and_what_waits() {
    let world = World::with_records();
    let status = world.json(&["status"]);
    assert_eq!(status["records"], 2);
    assert_eq!(status["pack"]["name"], "clinical-r4");
    assert_eq!(status["waiting"].as_array().map(Vec::len), Some(0));
    world.ward(&["status"]).done().says("ledger digest");
}

#[test]
fn the_pack_is_shown_linted_and_installed_only_when_newer() {
    let world = World::new();
    world
        .ward(&["pack", "show"])
        .done()
        .says("MedicationRequest");
    world
        .ward(&["pack", "show", "Patient"])
        .done()
        .says("birthDate");
    world.ward(&["pack", "show", "Nothing"]).fails(3);
    world.ward(&["pack", "export", "--out", "same.json"]).done();
    let printed = world.ward(&["pack", "export"]).done();
    assert_eq!(printed.out, world.read("same.json"));
    let mut pack = printed.json();
    let object = pack.as_object_mut().expect("an object");
    world
        .run(&["pack", "lint", "same.json"])
        .done()
        .says("clean");
    world
        .ward(&["pack", "install", "same.json"])
        .fails(1)
        .warns("raise the pack's version");
    object.insert("version".to_owned(), 2.into());
    world.file("next.json", &serde_json::to_string(&object).expect("JSON"));
    world.ward(&["pack", "install", "next.json"]).done();
    assert_eq!(world.json(&["status"])["pack"]["version"], 2);
    object["kinds"]["Patient"]["fields"]
        .as_object_mut()
        .expect("fields")
        .remove("gender");
    world.file("bad.json", &serde_json::to_string(&object).expect("JSON"));
    let linted = world.run(&["pack", "lint", "bad.json"]);
    assert_eq!(linted.code, 1);
    linted.says("Patient.gender has no row");
    world.ward(&["pack", "install", "bad.json"]).fails(1);
    world.file("no.json", CANARY);
    world.run(&["pack", "lint", "no.json"]).fails(1);
}
