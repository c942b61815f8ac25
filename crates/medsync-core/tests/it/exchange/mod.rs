//! Vaults that meet over a folder, whatever happens to the folder.

mod damage;
mod forks;
mod membership;

use medsync_core::crypto::{Kdf, Suite};
use medsync_core::env::SystemEnv;
use medsync_core::error::Result;
use medsync_core::ids::{RecordId, hex};
use medsync_core::ledger::certificate::Role;
use medsync_core::model::json::Json;
use medsync_core::model::pack::PolicyPack;
use medsync_core::store::fault::Rng;
use medsync_core::vault::exchange::{Outgoing, Phase, Problem};
use medsync_core::vault::{ExchangeReport, NewVault, Vault};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Stands in every clinical value: no byte of a folder may show it.
const CANARY: &str = "CANARY-penicillin";

const PACK: &str = r#"{
    "format": 1, "name": "test", "version": 1,
    "kinds": {
        "Patient": {"patient": "self", "fields": {"name": {"policy": "lww"}}},
        "Observation": {"patient": "subject", "fields": {"note": {"policy": "lww"}}}
    }
}"#;

/// A workspace whose devices meet in one folder.
struct World {
    home: TempDir,
    folder: PathBuf,
    vaults: Vec<Vault>,
}

impl World {
    /// The first vault makes the workspace, the others join it.
    fn new(devices: usize) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join("stick");
        fs::create_dir(&folder).expect("a folder");
        let pack = PolicyPack::from_json(PACK.as_bytes()).expect("a pack");
        let dir = home.path().join("v0");
        let new = new_vault("Person 0", "Device 0");
        let first = Vault::create(&dir, SystemEnv::shared(), &new, "Ward", &pack);
        let vaults = vec![first.expect("a vault").vault];
        let mut world = Self {
            home,
            folder,
            vaults,
        };
        for _ in 1..devices {
            world.join();
        }
        world
    }

    /// A vault more, admitted by the first.
    fn join(&mut self) {
        let no = self.vaults.len();
        let mut vault = alone(&self.home.path().join(format!("v{no}")), no);
        let request = vault.request().expect("a request");
        let grant = self.vaults[0].admit(&request, &[Role::Clinician]);
        vault.join(&grant.expect("a grant")).expect("joins");
        self.vaults.push(vault);
    }

    fn exchange(&mut self, no: usize) -> ExchangeReport {
        exchange(&mut self.vaults[no], &self.folder).expect("exchanges")
    }

    /// Every device in turn, until nobody has anything new.
    fn converge(&mut self) {
        for _ in 0..6 {
            let reports: Vec<_> = (0..self.vaults.len()).map(|no| self.exchange(no)).collect();
            if reports
                .iter()
                .all(|r| r.received.commits == 0 && r.sent_bytes == 0)
            {
                return;
            }
        }
        panic!("the devices do not come to rest");
    }

    fn assert_equal(&self) {
        let status = |v: &Vault| {
            let s = v.status().expect("a status");
            assert_eq!((s.pending, s.quarantine, s.equivocations), (0, 0, 0));
            (s.records, s.ledger_digest, s.state_digest)
        };
        let first = status(&self.vaults[0]);
        for vault in &self.vaults {
            assert_eq!(status(vault), first);
        }
    }

    /// The folder of a vault in the exchange folder.
    fn dir_of(&self, no: usize) -> PathBuf {
        let vault = &self.vaults[no];
        let (workspace, _) = vault.workspace().expect("a workspace");
        let dir = self.folder.join("medsync-exchange");
        let mut copy = blake3::Hasher::new_derive_key("medsync v1 exchange folder");
        copy.update(&vault.device_key().0)
            .update(&vault.replica().0);
        let copy = hex(&copy.finalize().as_bytes()[..8]);
        dir.join(hex(&workspace.0[..8])).join(copy)
    }
}

fn new_vault<'a>(person: &'a str, device: &'a str) -> NewVault<'a> {
    NewVault {
        passphrase: "correct horse",
        suite: Suite::default(),
        kdf: Kdf::for_tests(),
        person,
        device,
    }
}

fn alone(dir: &Path, no: usize) -> Vault {
    let (person, device) = (format!("Person {no}"), format!("Device {no}"));
    let new = new_vault(&person, &device);
    let pack = PolicyPack::from_json(PACK.as_bytes()).expect("a pack");
    let created = Vault::create_alone(dir, SystemEnv::shared(), &new, &pack);
    created.expect("a vault").vault
}

fn exchange(vault: &mut Vault, folder: &Path) -> Result<ExchangeReport> {
    vault.exchange(folder, &mut |_| {})
}

/// Writes a note on a patient's observation, in sight of what is there.
fn note(vault: &mut Vault, patient: &str, id: &str, text: &str) {
    let record = RecordId::new("Observation", id).expect("a name");
    let mut draft = vault.draft(&record).expect("a draft");
    let subject = format!(r#"{{"reference":"Patient/{patient}"}}"#);
    draft.set("subject", Json::parse(subject.as_bytes()).expect("json"));
    let text = Json::parse(format!(r#""{CANARY} {text}""#).as_bytes()).expect("json");
    draft.set("note", text);
    vault.commit(vec![draft]).expect("commits");
}

fn has_note(vault: &Vault, id: &str) -> bool {
    let record = RecordId::new("Observation", id).expect("a name");
    vault.read(&record).expect("reads").is_some()
}

/// Every file below a folder.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.insert(path.clone(), fs::read(&path).expect("a file"));
        }
    }
    all
}

/// The files of one device whose names start so.
fn files_of(dir: &Path, start: &str) -> Vec<PathBuf> {
    let named = |p: &PathBuf| {
        let name = p.file_name().and_then(|n| n.to_str());
        name.is_some_and(|n| n.starts_with(start))
    };
    files(dir).into_keys().filter(named).collect()
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for (path, bytes) in files(from) {
        let path = to.join(path.strip_prefix(from).expect("below"));
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }
}

#[test]
fn two_devices_converge_and_then_write_nothing() {
    let mut world = World::new(2);
    note(&mut world.vaults[0], "p1", "a", "by the first");
    note(&mut world.vaults[1], "p1", "b", "by the second");
    note(&mut world.vaults[1], "p2", "a", "the same record");
    let first = world.exchange(0);
    assert!(first.sent_commits >= 3, "{first:?}");
    let second = world.exchange(1);
    assert!(
        second.received.commits >= 3 && second.problems.is_empty(),
        "{second:?}"
    );
    world.converge();
    world.assert_equal();
    let before = files(&world.folder);
    for no in [0, 1, 0, 1] {
        let report = world.exchange(no);
        assert_eq!((report.sent_bytes, report.received.commits), (0, 0));
        assert_eq!(report.outgoing, Outgoing::Complete);
    }
    assert_eq!(files(&world.folder), before);
    for vault in &mut world.vaults {
        let report = vault.verify(true, &mut |_, _| {}).expect("verifies");
        assert!(report.is_sound(), "{report:?}");
    }
}

#[test]
fn nothing_clinical_shows_in_the_folder_and_names_tell_no_number() {
    let mut world = World::new(2);
    note(&mut world.vaults[0], "p-CANARY", "CANARY-1", "a");
    world.converge();
    note(&mut world.vaults[1], "p-CANARY", "CANARY-1", "b");
    world.exchange(1);
    for (path, bytes) in files(&world.folder) {
        assert!(!path.to_string_lossy().contains("CANARY"));
        for secret in ["CANARY", "penicillin", "Person 0", "Device 0", "Ward"] {
            let found = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
            assert!(!found, "{secret} in {path:?}");
        }
    }
    let report = world.exchange(0);
    let text = format!("{report:?}");
    assert!(
        !text.contains("Person") && !text.contains("Device 1"),
        "{text}"
    );
}

#[test]
fn only_what_the_other_lacks_is_sent_and_what_nobody_needs_goes() {
    let mut world = World::new(2);
    for i in 0..30 {
        note(&mut world.vaults[0], "p1", &format!("a{i}"), "much");
    }
    world.converge();
    let dirs = [world.dir_of(0), world.dir_of(1)];
    // All current devices' marks cover what was left: no batches lie there any more.
    assert_eq!(files_of(&dirs[0], "batches"), Vec::<PathBuf>::new());
    assert_eq!(files_of(&dirs[1], "batches"), Vec::<PathBuf>::new());
    note(&mut world.vaults[0], "p1", "new", "little");
    let report = world.exchange(0);
    assert_eq!(report.sent_commits, 1);
    assert!(report.sent_bytes < 20_000, "{report:?}");
    // An empty stick: the other's marks are known from before.
    let other = world.home.path().join("other");
    fs::create_dir(&other).expect("a folder");
    note(&mut world.vaults[0], "p1", "newer", "little");
    let report = exchange(&mut world.vaults[0], &other).expect("exchanges");
    assert_eq!(report.sent_commits, 2);
    let report = exchange(&mut world.vaults[1], &other).expect("exchanges");
    assert_eq!(report.received.commits, 2);
}

#[test]
fn what_a_third_wrote_is_passed_on() {
    let mut world = World::new(3);
    note(&mut world.vaults[1], "p1", "b", "from afar");
    world.exchange(1);
    world.exchange(0);
    // The third never sees the second's stick.
    let other = world.home.path().join("other");
    fs::create_dir(&other).expect("a folder");
    exchange(&mut world.vaults[0], &other).expect("exchanges");
    let report = exchange(&mut world.vaults[2], &other).expect("exchanges");
    assert!(report.problems.is_empty(), "{report:?}");
    assert!(has_note(&world.vaults[2], "b"));
}

#[test]
fn ten_devices_share_a_folder() {
    let mut world = World::new(10);
    for no in 0..10 {
        note(&mut world.vaults[no], "p1", &format!("own-{no}"), "own");
        note(&mut world.vaults[no], "p2", "shared", &format!("by {no}"));
    }
    // The first in turn leaves, the others do not leave it again.
    let sent: u64 = (0..10).map(|no| world.exchange(no).sent_commits).sum();
    let total = world.vaults[9].status().expect("a status").commits;
    assert_eq!(sent, total, "each commit lies there once");
    world.converge();
    world.assert_equal();
    assert_eq!(world.vaults[4].status().expect("a status").records, 11);
    for no in 0..10 {
        assert_eq!(world.exchange(no).peers.len(), 9);
    }
}

#[test]
fn what_is_missing_is_said_clearly() {
    let mut world = World::new(1);
    let gone = world.home.path().join("gone");
    let error = exchange(&mut world.vaults[0], &gone).expect_err("no folder");
    assert!(error.to_string().contains("folder"), "{error}");
    let file = world.home.path().join("file");
    fs::write(&file, b"x").expect("a file");
    assert!(exchange(&mut world.vaults[0], &file).is_err());
    let mut alone = alone(&world.home.path().join("alone"), 7);
    let error = exchange(&mut alone, &world.folder).expect_err("no workspace");
    assert!(error.to_string().contains("workspace"), "{error}");
    // One device alone leaves its marks and no more.
    let report = world.exchange(0);
    assert_eq!((report.sent_commits, report.sent_files), (0, 1));
    assert_eq!(world.exchange(0).sent_files, 0);
}

#[test]
fn much_is_split_over_files_and_progress_is_told() {
    let mut world = World::new(2);
    let mut rng = Rng::new(1);
    for i in 0..60 {
        // Of letters that no compression shortens by much.
        let letter = |_| {
            char::from(b'0' + rng.below(64) as u8)
                .to_string()
                .replace('\\', "~")
        };
        let text: String = (0..200_000).map(letter).collect();
        note(&mut world.vaults[0], "p1", &format!("a{i}"), &text);
    }
    let mut told = Vec::new();
    let report = world.vaults[0].exchange(&world.folder, &mut |p| told.push(*p));
    let report = report.expect("exchanges");
    assert!(
        told.iter()
            .any(|p| p.phase == Phase::Leaving && p.total == report.sent_commits)
    );
    let batches = files_of(&world.dir_of(0), "batches");
    assert!(batches.len() >= 2, "{batches:?}");
    for path in batches {
        assert!(fs::metadata(path).expect("a file").len() < 9 << 20);
    }
    world.converge();
    world.assert_equal();
    let json = serde_json::to_string(&world.exchange(1)).expect("json");
    assert!(
        json.contains(&world.vaults[0].device_key().to_string()),
        "{json}"
    );
    assert!(json.contains("\"outgoing\":\"complete\""), "{json}");
}

#[test]
fn devices_hold_the_heads_of_each_others_audit_logs() {
    let mut world = World::new(2);
    note(&mut world.vaults[0], "p1", "a", "first");
    world.exchange(0);
    let path = world.dir_of(0).join("heads.age");
    let whole = fs::read(&path).expect("a file of heads");
    let heads = |vault: &Vault| -> usize {
        let heads = vault.audit_heads().expect("heads");
        let own = vault.device_key();
        heads.iter().filter(|h| h.terms().log.device != own).count()
    };
    // What is no file of heads is named, and stops nothing.
    for bad in [&whole[..whole.len() / 2], b"nothing", b""] {
        fs::write(&path, bad).expect("writes");
        let problems = world.exchange(1).problems;
        let named = |p: &Problem| p.file.ends_with("/heads.age");
        assert!(
            problems.len() == 1 && problems.iter().all(named),
            "{problems:?}"
        );
        assert_eq!(heads(&world.vaults[1]), 0);
    }
    fs::write(&path, &whole).expect("writes");
    world.exchange(1);
    assert_eq!(heads(&world.vaults[1]), 1);
    world.converge();
    assert_eq!((heads(&world.vaults[0]), heads(&world.vaults[1])), (1, 1));
    // A log that ends before what the other holds is found by it.
    let proof = world.vaults[0].prove_audit(false).expect("a proof");
    let known = world.vaults[1].audit_heads().expect("heads");
    assert!(proof.verify(&known).is_sound());
    let mut cut = proof;
    cut.logs[0].entries.truncate(3);
    cut.logs[0].heads.clear();
    assert!(cut.verify(&known).problems[0].contains("the end is missing"));
}
