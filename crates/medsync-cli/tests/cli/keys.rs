//! What opens a vault: key slots, wrong tries, new keys, and nothing of it in a core dump.

use crate::harness::World;
use std::process::Stdio;
use std::time::Duration;

#[test]
fn a_clinics_identity_and_a_key_store_open_the_vault() {
    let world = World::with_records();
    let identity = world.json(&["keys", "identity", "clinic.key"]);
    let recipient = identity["recipient"].as_str().expect("a key").to_owned();
    assert!(recipient.starts_with("age1"));
    let add = ["keys", "add", "escrow", "North", "--recipient"];
    world.ward(&[&add[..], &["age1nonsense"]].concat()).fails(1);
    world.ward(&[&add[..], &[&recipient]].concat()).done();
    let by = |option: [&str; 2], args: &[&str]| {
        world.run(&[&["--vault", "ward"], &option[..], args].concat())
    };
    let clinic = ["--identity-file", "clinic.key"];
    by(clinic, &["get", "Patient/p1"]).done().says("Devi");
    world.ward(&["keys", "identity", "other.key"]).done();
    by(["--identity-file", "other.key"], &["status"]).fails(4);
    by(["--identity-file", "pw"], &["status"]).fails(1);

    world.helper(
        "store",
        "export LC_ALL=C; case $1 in \
         wrap) tr '\\000-\\377' '\\001-\\377\\000';; \
         unwrap) tr '\\001-\\377\\000' '\\000-\\377';; esac",
    );
    world.helper("refuses", "exit 1");
    let add = |helper| ["keys", "add", "host", "tpm", "--helper", helper];
    world.ward(&add("./refuses")).fails(4).warns("key store");
    world.ward(&add("./missing")).fails(1);
    world.ward(&add("./store")).done();
    by(["--key-helper", "./store"], &["status"]).done();
    by(["--key-helper", "./refuses"], &["status"])
        .fails(4)
        .warns("passphrase");
    let slots = world.json(&["keys", "list"]);
    let kinds: Vec<&str> = (slots.as_array().expect("slots").iter())
        .filter_map(|slot| slot["kind"].as_str())
        .collect();
    assert_eq!(kinds, ["passphrase", "recovery", "host", "escrow"]);

    world.ward(&["keys", "remove", "host", "nobody"]).fails(3);
    for slot in [&["host", "tpm"][..], &["recovery"], &["passphrase"]] {
        by(clinic, &[&["keys", "remove"], slot].concat()).done();
    }
    by(clinic, &["keys", "remove", "escrow", "North"])
        .fails(1)
        .warns("nothing else");
    world.ward(&["status"]).fails(3);
    by(clinic, &["verify", "--rebuild"]).done();
}

#[test]
fn new_keys_end_what_opened_the_vault_before() {
    let world = World::with_records();
    world.file("new", "battery staple");
    let before = world.json(&["status"])["state_digest"].clone();
    let rekey = ["rekey", "--new-passphrase-file", "new", "--words-file", "w"];
    world.ward(&rekey).done().says("new keys");
    world.ward(&["status"]).fails(4);
    std::fs::rename(world.path("new"), world.path("pw")).expect("a name");
    let status = world.json(&["status"]);
    assert_eq!(status["state_digest"], before);
    assert_eq!(world.json(&["verify", "--rebuild"])["sound"], true);
    let change = ["passphrase", "change", "--recovery-file", "w"];
    let change = [&change[..], &["--new-passphrase-file", "pw"]].concat();
    world.ward(&change).done();
    // And again, with the passphrase that is there.
    world.ward(&["rekey"]).done().says("recovery words");
    world.ward(&["get", "Patient/p1"]).done().says("Devi");
}

/// Killed at any moment, a rekey leaves the old vault or the new one.
#[test]
fn a_rekey_that_is_killed_leaves_the_old_vault_or_the_new_one() {
    let world = World::with_records();
    world.file("new", "battery staple");
    let before = world.json(&["status"])["state_digest"].clone();
    let args = ["--vault", "ward", "--passphrase-file", "pw", "rekey"];
    let (mut killed, mut done) = (0, 0);
    for round in 0..20_u64 {
        let mut command = world.command();
        command.args(args).args(["--new-passphrase-file", "new"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("a run");
        std::thread::sleep(Duration::from_millis(20 + round * 23));
        // It may have ended already.
        child.kill().ok();
        match child.wait().expect("an end").success() {
            true => done += 1,
            false => killed += 1,
        }
        let old = world.ward(&["--json", "status"]);
        if old.code != 0 {
            std::fs::copy(world.path("new"), world.path("pw")).expect("copies");
            world.file("new", &format!("battery staple {round}"));
        }
        let status = world.json(&["status"]);
        assert_eq!(status["state_digest"], before, "round {round}");
    }
    assert!(killed > 0, "{done} done");
    assert_eq!(world.json(&["verify", "--rebuild"])["sound"], true);
}

#[test]
fn wrong_passphrases_have_to_wait_and_are_told_how_long() {
    let world = World::new();
    world.file("wrong", "correct house");
    let wrong = || world.run(&["--vault", "ward", "--passphrase-file", "wrong", "status"]);
    for _ in 0..3 {
        wrong().fails(4).warns("does not fit");
    }
    wrong().fails(4).warns("wait 1 s");
    std::thread::sleep(Duration::from_millis(1100));
    world.ward(&["status"]).done();
    wrong().fails(4).warns("does not fit");
}

#[cfg(target_os = "linux")]
#[test]
fn the_command_leaves_no_core_dump() {
    use std::io::Write as _;
    use std::os::unix::process::ExitStatusExt as _;
    let world = World::new();
    // A terminal-less prompt would fail; reading a secret from a pipe waits.
    let mut command = world.command();
    command.args([
        "--vault",
        "ward",
        "--passphrase-file",
        "/dev/stdin",
        "status",
    ]);
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().expect("a run");
    let limits = format!("/proc/{}/limits", child.id());
    let core = || {
        let limits = std::fs::read_to_string(&limits).unwrap_or_default();
        let line = limits.lines().find(|line| line.contains("core file"));
        line.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let none = Some("Max core file size 0 0 bytes".to_owned());
    let mut tries = 0;
    while core() != none && tries < 500 {
        std::thread::sleep(Duration::from_millis(10));
        tries += 1;
    }
    assert_eq!(core(), none);
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"correct").expect("writes");
    let abort = std::process::Command::new("kill")
        .args(["-ABRT", &child.id().to_string()])
        .status();
    assert!(abort.expect("kill").success());
    let status = child.wait().expect("an end");
    assert_eq!(status.signal(), Some(6));
    assert!(!status.core_dumped());
}
