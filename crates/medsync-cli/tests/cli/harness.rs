//! A folder with vaults, and the command run on them.

use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A value that must never be told.
pub(crate) const CANARY: &str = "CANARY-7391";

pub(crate) const PATIENT: &str = r#"{"resourceType":"Patient","id":"p1","active":true,
    "birthDate":"1984-02-29","name":[{"family":"Devi","given":["Asha"]}],
    "identifier":[{"system":"urn:mrn","value":"MRN-17"}],
    "telecom":[{"system":"phone","value":"555-0100"}]}"#;

pub(crate) const REQUEST: &str = r#"{"resourceType":"MedicationRequest","id":"m1",
    "status":"active","intent":"order","subject":{"reference":"Patient/p1"},
    "medicationCodeableConcept":{"text":"Metformin 500 mg"}}"#;

/// A folder of its own for one test.
pub(crate) struct World {
    dir: tempfile::TempDir,
}

/// What a run printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl World {
    /// A folder with the vault `ward` of Dr. Rao.
    pub(crate) fn new() -> Self {
        let world = Self::empty();
        world
            .ward(&["init", "--workspace", "North", "--person", "Dr. Rao"])
            .done();
        world
    }

    /// As `new`, with a patient and a prescription.
    pub(crate) fn with_records() -> Self {
        let world = Self::new();
        world.file("p.json", PATIENT);
        world.file("m.json", REQUEST);
        world.ward(&["import", "p.json", "m.json"]).done();
        world
    }

    /// A folder without a vault.
    pub(crate) fn empty() -> Self {
        let world = Self {
            dir: tempfile::tempdir().expect("a folder"),
        };
        world.file("pw", "correct horse\n");
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// A key store: a program that is run as `NAME wrap` or `NAME unwrap`.
    pub(crate) fn helper(&self, name: &str, script: &str) {
        let path = self.file(name, &format!("#!/bin/sh\n{script}\n"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::Permissions::from_mode(0o700);
            std::fs::set_permissions(path, mode).expect("a mode");
        }
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("a text file")
    }

    /// The command, in this folder, knowing nothing but the floor of the costs.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_medsync"));
        command
            .current_dir(self.dir.path())
            .env_clear()
            .env("MEDSYNC_KDF", "floor")
            .env("MEDSYNC_STATE", self.path("state"))
            .stdin(Stdio::null());
        command
    }

    /// Runs the command as it is typed.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Ran {
        Ran::of(self.command().args(args).output().expect("a run"))
    }

    /// Runs it on a vault whose passphrase is in `pw`.
    pub(crate) fn on(&self, vault: &str, args: &[&str]) -> Ran {
        self.run(&[&["--vault", vault, "--passphrase-file", "pw"], args].concat())
    }

    /// As `on`, for the ward; its owner's PIN is known once they have one.
    pub(crate) fn ward(&self, args: &[&str]) -> Ran {
        let named = args.iter().any(|arg| ["--as", "--pin-file"].contains(arg));
        if named || !self.path("own").exists() {
            return self.on("ward", args);
        }
        self.on("ward", &[&["--pin-file", "own"], args].concat())
    }

    /// As `ward`, with JSON.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        self.ward(&[args, &["--json"]].concat()).done().json()
    }

    /// Adds a person whose PIN is in a file of their name.
    pub(crate) fn person(&self, name: &str, role: &str) {
        self.file(name, &format!("pin of {name}\n"));
        let add = [
            "person",
            "add",
            name,
            "--role",
            role,
            "--new-pin-file",
            name,
        ];
        if self.path("own").exists() {
            self.ward(&add).done();
            return;
        }
        // The second person: the owner needs a PIN of their own, too.
        self.file("first", "the owner's first pin\n");
        self.ward(&[&add[..], &["--own-pin-file", "first"]].concat())
            .done();
        std::fs::rename(self.path("first"), self.path("own")).expect("a name");
    }

    /// Runs it on the ward as that person.
    pub(crate) fn as_person(&self, name: &str, args: &[&str]) -> Ran {
        self.ward(&[&["--as", name, "--pin-file", name], args].concat())
    }

    /// The version of a record.
    pub(crate) fn version(&self, record: &str) -> String {
        let ids = self.json(&["get", record])["version"].to_string();
        assert!(ids.len() > 64, "{ids}");
        ids
    }

    /// Writes two birth dates, neither in sight of the other; returns the question's name.
    pub(crate) fn contest(&self) -> String {
        let at = self.version("Patient/p1");
        let set = |date: &str| format!("birthDate=\"{date}\"");
        let edit = ["edit", "Patient/p1", "--at", &at, "--set"];
        for date in ["1985-01-01", "1986-01-01"] {
            self.ward(&[&edit[..], &[&set(date)]].concat()).done();
        }
        let rows = self.json(&["review", "list"]);
        rows[0]["id"].as_str().expect("a question").to_owned()
    }
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self {
            code: output.status.code().expect("no signal"),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// It must have worked.
    #[track_caller]
    pub(crate) fn done(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// It must have ended with this code, and said something and what to do.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.contains("hint"), "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.out.contains(text), "{text}: {self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn warns(self, text: &str) -> Self {
        assert!(self.err.contains(text), "{text}: {self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).expect("JSON")
    }
}

/// Somebody without any rights of their own: nothing stops root.
#[cfg(unix)]
const NOBODY: u32 = 65_534;

#[cfg(unix)]
impl World {
    /// As `on`, where one folder can be read and not be written. Root runs it as nobody.
    pub(crate) fn read_only(&self, vault: &str, args: &[&str], folder: &str) -> Ran {
        use std::os::unix::process::CommandExt as _;
        let all = [&["--vault", vault, "--passphrase-file", "pw"], args].concat();
        let mut command = self.command();
        if self.is_root() {
            // Nobody may not look into the folder that the command was built in.
            let copy = self.path("medsync");
            std::fs::copy(env!("CARGO_BIN_EXE_medsync"), &copy).expect("a copy");
            own(self.dir.path(), NOBODY);
            own(&self.path(folder), 0);
            let mut as_nobody = std::process::Command::new(copy);
            let set = |(name, value): (&OsStr, Option<&OsStr>)| {
                Some((name.to_owned(), value?.to_owned()))
            };
            as_nobody
                .current_dir(self.dir.path())
                .env_clear()
                .envs(command.get_envs().filter_map(set))
                .stdin(Stdio::null())
                .uid(NOBODY)
                .gid(NOBODY);
            command = as_nobody;
        }
        forbid(&self.path(folder), true);
        let output = command.args(&all).output().expect("a run");
        forbid(&self.path(folder), false);
        Ran::of(output)
    }

    fn is_root(&self) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::metadata(self.dir.path()).expect("a folder").uid() == 0
    }
}

/// Gives a folder and all in it to somebody.
#[cfg(unix)]
fn own(path: &Path, user: u32) {
    std::os::unix::fs::chown(path, Some(user), Some(user)).expect("an owner");
    if path.is_dir() {
        for entry in std::fs::read_dir(path).expect("a folder") {
            own(&entry.expect("an entry").path(), user);
        }
    }
}

/// Forbids to write to folders, or allows it.
#[cfg(unix)]
fn forbid(folder: &Path, forbid: bool) {
    use std::os::unix::fs::PermissionsExt as _;
    let (closed, open) = (0o555, 0o755);
    let mode = if forbid { closed } else { open };
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode)).expect("a mode");
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            self::forbid(&path, forbid);
        }
    }
}
