//! A process that is killed, or finds the disk full, on a real file system.
//!
//! The writer is this test binary again. What it says it did was acknowledged; everything of that
//! has to be there when the vault is opened afterwards. A kill takes no page from the kernel's
//! cache, so what this holds are the renames, the leftovers and the order of files; what a power cut
//! takes is played by `cuts` and `crash`.

use medsync_core::crypto::{Kdf, Suite};
use medsync_core::env::SystemEnv;
use medsync_core::error::Error;
use medsync_core::ids::RecordId;
use medsync_core::model::json::Json;
use medsync_core::model::pack::PolicyPack;
use medsync_core::store::Unlock;
use medsync_core::testing::history::Numbers;
use medsync_core::vault::{NewVault, Vault};
use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const DIR: &str = "MEDSYNC_KILLED_DIR";
const FIRST: &str = "MEDSYNC_KILLED_FIRST";
const RECORDS: u64 = 5;
/// Edits of one writer: nobody may come to stop it.
const EDITS: u64 = 120;
const PACK: &str = r#"{"format": 1, "name": "test", "version": 1,
    "kinds": {"Note": {"fields": {"text": {"policy": "lww"}}}}}"#;

/// What a writer said before it ended.
#[derive(Default)]
struct Said {
    /// The last number written to each record.
    acked: BTreeMap<u64, u64>,
    /// The passphrase that holds, and the one that was being set.
    passphrase: u64,
    trying: Option<u64>,
    created: bool,
}

fn record(no: u64) -> RecordId {
    RecordId::new("Note", &format!("n{no}")).expect("a name")
}

fn passphrase(no: u64) -> String {
    format!("correct horse {no}")
}

/// Says a line as soon as what it says is true.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "@{line}")
        .and_then(|()| out.flush())
        .expect("somebody listens");
}

/// Writes until it is killed or the disk is full: edits, now and then an exchange or a passphrase.
#[test]
#[ignore = "the writer of the other tests here"]
fn writer() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    let first: u64 = std::env::var(FIRST)
        .expect("set")
        .parse()
        .expect("a number");
    if let Err(error) = write_on(&dir, first) {
        say(&format!("stopped {error}"));
    }
}

fn write_on(dir: &Path, mut pass: u64) -> medsync_core::error::Result<()> {
    let (home, stick) = (dir.join("v"), dir.join("stick"));
    let mut vault = match open(dir, pass) {
        Err(Error::NotFound(_)) => {
            let pack = PolicyPack::from_json(PACK.as_bytes())?;
            let new = NewVault {
                passphrase: &passphrase(pass),
                suite: Suite::default(),
                kdf: Kdf::for_tests(),
                person: "Ana",
                device: "Clinic",
            };
            let made = Vault::create(&home, SystemEnv::shared(), &new, "Ward", &pack)?;
            say("created");
            made.vault
        }
        opened => opened?,
    };
    let first = vault.status()?.commits;
    for n in first..first + EDITS {
        let no = n % RECORDS;
        let mut draft = vault.draft(&record(no))?;
        // Much of it, so that a file of limited length is soon full.
        draft.set("text", Json::string(&format!("{n} {}", "x".repeat(4_000))));
        vault.commit(vec![draft])?;
        say(&format!("acked {no} {n}"));
        if n % 7 == 0 {
            vault.exchange(&stick, &mut |_| {})?;
        }
        if n % 11 == 0 {
            say(&format!("trying {}", pass + 1));
            vault.change_passphrase(&passphrase(pass + 1), Kdf::for_tests())?;
            pass += 1;
            say(&format!("holds {pass}"));
        }
    }
    Ok(())
}

fn open(dir: &Path, pass: u64) -> medsync_core::error::Result<Vault> {
    let passphrase = passphrase(pass);
    let unlock = Unlock::Passphrase(&passphrase);
    Vault::open(&dir.join("v"), SystemEnv::shared(), unlock)
}

/// The writer's command; `limit`: no file may grow beyond so many bytes.
fn command(dir: &Path, pass: u64, limit: Option<u64>) -> Command {
    let own = std::env::current_exe().expect("tests are a program");
    let mut command = match limit {
        None => Command::new(&own),
        // Beyond the limit a write fails, as on a full disk, once the signal is not listened to.
        Some(bytes) => {
            let mut shell = Command::new("sh");
            let blocks = bytes / 512;
            let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
            shell.arg("-c").arg(script).arg(&own);
            shell
        }
    };
    command
        .args(["--ignored", "--exact", "--nocapture", "killed::writer"])
        .env(DIR, dir)
        .env(FIRST, pass.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

impl Said {
    /// Runs a writer. After `lines` lines it is killed, a little later; without, it ends by itself.
    fn hear(&mut self, mut command: Command, kill: Option<(u64, Duration)>) {
        let mut child = command.spawn().expect("a writer");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut left = kill.map_or(u64::MAX, |(lines, _)| lines);
        if let Some((0, wait)) = kill {
            std::thread::sleep(wait);
            child.kill().expect("a process of ours");
        }
        for line in out.lines() {
            let Ok(line) = line else { break };
            let Some((_, line)) = line.split_once('@') else {
                continue;
            };
            self.note(line);
            left = left.saturating_sub(1);
            if let Some((_, wait)) = kill.filter(|_| left == 0) {
                std::thread::sleep(wait);
                // What it still said before that is heard after it.
                child.kill().expect("a process of ours");
            }
        }
        child.wait().expect("a process of ours");
    }

    fn note(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words.get(at).and_then(|w| w.parse::<u64>().ok());
        match (words.first().copied(), number(1), number(2)) {
            (Some("acked"), Some(no), Some(n)) => drop(self.acked.insert(no, n)),
            (Some("trying"), pass, _) => self.trying = pass,
            (Some("holds"), Some(pass), _) => (self.passphrase, self.trying) = (pass, None),
            (Some("created"), ..) => self.created = true,
            _ => {}
        }
    }

    /// Opens the vault and looks for everything that was acknowledged.
    fn check(&mut self, dir: &Path) {
        let mut opened = open(dir, self.passphrase);
        if let Some(new) = self.trying.take()
            && matches!(opened, Err(Error::WrongSecret(_)))
        {
            self.passphrase = new;
            opened = open(dir, new);
        }
        let mut vault = match opened {
            Err(Error::NotFound(_)) if !self.created && self.acked.is_empty() => return,
            opened => opened.expect("the vault opens"),
        };
        self.created = true;
        for (no, n) in &self.acked {
            let view = vault.read(&record(*no)).expect("reads").expect("a record");
            let json = Json::parse(view.json.expose().as_bytes()).expect("json");
            let text = json.get("text").and_then(Json::as_str).expect("a text");
            let shown = text.split(' ').next().and_then(|n| n.parse::<u64>().ok());
            assert!(shown >= Some(*n), "{shown:?} < {n}");
        }
        let report = vault.verify(true, &mut |_, _| {}).expect("verifies");
        assert!(report.is_sound(), "{report:?}");
        vault
            .exchange(&dir.join("stick"), &mut |_| {})
            .expect("exchanges");
    }
}

fn rounds(seed: u64, rounds: u64) {
    println!("MEDSYNC_SEED={seed}");
    let mut numbers = Numbers(seed);
    let home = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(home.path().join("stick")).expect("a folder");
    let mut said = Said::default();
    for round in 0..rounds {
        // The first ones are killed while they make the vault, if they are quick enough.
        let lines = if said.created || round >= rounds / 4 {
            1 + numbers.next() % 40
        } else {
            0
        };
        // A vault takes some tenths of a second to make; an edit some thousandths.
        let wait = numbers.next() % if said.created { 4_000 } else { 300_000 };
        let command = command(home.path(), said.passphrase, None);
        said.hear(command, Some((lines, Duration::from_micros(wait))));
        said.check(home.path());
        println!("round {round}: {lines} lines, {:?}", said.acked);
    }
    assert!(said.created, "no writer got so far as to make the vault");
}

fn seed() -> u64 {
    let given = std::env::var("MEDSYNC_SEED").ok();
    let given = given.and_then(|s| s.parse().ok());
    given.unwrap_or_else(|| RandomState::new().hash_one(0))
}

#[test]
#[cfg(unix)]
fn what_was_acknowledged_before_a_kill_is_there_after_it() {
    rounds(seed(), 20);
}

/// `MEDSYNC_KILLS=500 cargo test -p medsync-core --test it -- --ignored killed::as_many`.
#[test]
#[cfg(unix)]
#[ignore = "as long as one likes"]
fn as_many_as_asked() {
    let kills = std::env::var("MEDSYNC_KILLS")
        .ok()
        .and_then(|n| n.parse().ok());
    rounds(seed(), kills.unwrap_or(100));
}

#[test]
#[cfg(unix)]
fn a_full_disk_is_an_error_and_loses_nothing() {
    let home = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(home.path().join("stick")).expect("a folder");
    let mut said = Said::default();
    let size = |home: &Path| {
        let data = std::fs::metadata(home.join("v").join("vault.db"));
        data.map_or(0, |data| data.len())
    };
    let mut limit = 2_048;
    let mut left = 6;
    while left > 0 {
        left -= u64::from(said.created);
        let command = command(home.path(), said.passphrase, Some(limit));
        said.hear(command, None);
        said.check(home.path());
        limit = if said.created {
            // From a part of a page more than there is to many pages.
            size(home.path()) + 1_024 * (1 + left * left * left)
        } else {
            assert!(limit < 64 << 20, "no room makes a vault");
            limit * 3 / 2
        };
    }
    assert!(!said.acked.is_empty(), "no writer had room for an edit");
}
