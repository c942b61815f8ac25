//! What is typed wrong, and what is never told.

use crate::harness::{CANARY, World};

#[test]
fn usage_errors_end_with_2_and_tell_what_to_do() {
    let world = World::empty();
    world.run(&["frobnicate"]).fails(2);
    world
        .run(&["get", "--vault", "ward"])
        .fails(2)
        .warns("KIND/ID");
    world.run(&["list", "--frob"]).fails(2).warns("--frob");
    world
        .run(&["list", "--limit", "many"])
        .fails(2)
        .warns("--limit");
    world.run::<&str>(&[]).fails(2);
    let json = world.run(&["--json", "frobnicate"]);
    let told: serde_json::Value = serde_json::from_str(&json.err).expect("JSON");
    assert_eq!(told["code"], 2);
}

#[test]
fn help_teaches_with_examples_and_completions_are_printed() {
    let world = World::empty();
    world
        .run(&["--help"])
        .done()
        .says("First steps")
        .says("Exit codes");
    for command in [
        "init", "import", "export", "get", "list", "search", "edit", "history", "why",
    ] {
        world.run(&[command, "--help"]).done().says("Example");
    }
    world
        .run(&["edit", "--help"])
        .done()
        .says("defaults to the");
    world
        .run(&["help", "review", "resolve"])
        .done()
        .says("--keep");
    for shell in ["bash", "zsh", "fish"] {
        world.run(&["completions", shell]).done().says("medsync");
    }
    world.run(&["completions", "abacus"]).fails(2);
    world.run(&["--version"]).done().says("medsync");
}

#[test]
fn a_clinical_value_is_never_told_on_standard_error() {
    let world = World::with_records();
    let text = format!("{{\"record\":\"Patient/p1\",\"set\":{{\"a\":\"{CANARY}\"}},\"x\":1}}");
    world.file("batch.json", &text);
    world.file(
        "bad.ndjson",
        &format!("{{\"id\":\"{CANARY}\",\"{CANARY}\":\n{CANARY}\n"),
    );
    world.file(
        "twice.json",
        &format!("{{\"resourceType\":\"Patient\",\"id\":\"x\",\"a\":\"{CANARY}\",\"a\":1}}"),
    );
    let with = |text: &str| text.replace('?', CANARY);
    let runs: [Vec<String>; 14] = [
        vec![
            "edit".into(),
            "Patient/p1".into(),
            "--set".into(),
            with("a=?"),
        ],
        vec![
            "edit".into(),
            "Patient/p1".into(),
            "--set".into(),
            with("?"),
        ],
        vec!["edit".into(), "Patient/p1".into(), with("--set=a=?")],
        vec!["edit".into(), "Patient/p1".into(), with("--sett=a=?")],
        vec!["edit".into(), "Patient/p1".into(), with("?")],
        vec![
            "edit".into(),
            "Patient/p1".into(),
            with("--count"),
            with("a=?"),
        ],
        vec![
            "edit".into(),
            "Patient/p1".into(),
            with("--at"),
            with("?"),
            "--set=a=1".into(),
        ],
        vec!["edit".into(), with("?"), "--set=a=1".into()],
        vec!["edit".into(), "--batch".into(), "batch.json".into()],
        vec!["import".into(), "bad.ndjson".into(), "twice.json".into()],
        vec!["list".into(), "--where".into(), with("?")],
        vec!["list".into(), "--limit".into(), with("?")],
        vec![
            "review".into(),
            "resolve".into(),
            with("?"),
            "--keep".into(),
            with("?"),
        ],
        vec![with("?")],
    ];
    for args in runs {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        for json in [&[][..], &["--json"][..]] {
            let ran = world.ward(&[&args[..], json].concat());
            assert_ne!(ran.code, 0, "{args:?}");
            assert!(!ran.err.contains(CANARY), "{ran:?}");
        }
    }
}

#[test]
fn nothing_is_coloured_where_nobody_looks() {
    let world = World::with_records();
    let id = world.contest();
    for args in [
        &["review", "list"][..],
        &["review", "show", &id],
        &["list"],
        &["status"],
    ] {
        let ran = world.ward(args).done();
        assert!(
            !ran.out.contains('\u{1b}') && !ran.err.contains('\u{1b}'),
            "{ran:?}"
        );
    }
}

/// A terminal of one's own, by the `script` command where there is one.
#[cfg(target_os = "linux")]
#[test]
fn colours_show_on_a_terminal_and_obey_no_color() {
    let world = World::with_records();
    world.contest();
    let run = |no_color: &str| {
        let medsync = env!("CARGO_BIN_EXE_medsync");
        let line = format!("{medsync} --vault ward --passphrase-file pw review list");
        let mut command = std::process::Command::new("script");
        command
            .args(["-qec", &line, "/dev/null"])
            .current_dir(world.path(""));
        command
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .env("MEDSYNC_KDF", "floor");
        if !no_color.is_empty() {
            command.env("NO_COLOR", no_color);
        }
        command.stdin(std::process::Stdio::null()).output()
    };
    let Ok(coloured) = run("") else {
        return; // no `script` here
    };
    assert!(coloured.stdout.contains(&0x1b), "{coloured:?}");
    let plain = run("1").expect("a run");
    let text = String::from_utf8_lossy(&plain.stdout);
    assert!(
        text.contains("Patient/p1") && !text.contains("\u{1b}["),
        "{text}"
    );
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let world = World::empty();
    let mut command = world.command();
    command.args(["generate", "--patients", "20"]);
    command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut run = command.spawn().expect("a run");
    drop(run.stdout.take());
    let ended = run.wait_with_output().expect("a run");
    assert!(
        ended.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
}
