//! A vault whose file was put back, copied or moved says so at opening, writes on under a new name,
//! and loses nothing.

use medsync_core::crypto::{Kdf, Suite};
use medsync_core::env::SystemEnv;
use medsync_core::ids::RecordId;
use medsync_core::ledger::audit::Action;
use medsync_core::ledger::certificate::Role;
use medsync_core::model::json::Json;
use medsync_core::model::pack::PolicyPack;
use medsync_core::store::{Tuning, Unlock};
use medsync_core::vault::audit::{AuditFilter, AuditRow};
use medsync_core::vault::{
    Anchor, Anchored, NewVault, SharedAnchor, StateFolder, Unit, Vault, Why,
};
use std::collections::HashMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use tempfile::TempDir;

/// A key store that may be locked.
#[derive(Default)]
struct KeyStore {
    kept: Mutex<HashMap<[u8; 16], Vec<u8>>>,
    locked: AtomicBool,
}

impl KeyStore {
    fn ask(&self) -> io::Result<std::sync::MutexGuard<'_, HashMap<[u8; 16], Vec<u8>>>> {
        match self.locked.load(Ordering::Relaxed) {
            true => Err(ErrorKind::PermissionDenied.into()),
            false => Ok(self.kept.lock().expect("not poisoned")),
        }
    }
}

impl Anchor for KeyStore {
    fn load(&self, vault: &[u8; 16]) -> io::Result<Option<Vec<u8>>> {
        Ok(self.ask()?.get(vault).cloned())
    }

    fn store(&self, vault: &[u8; 16], bytes: &[u8]) -> io::Result<()> {
        self.ask()?.insert(*vault, bytes.to_vec());
        Ok(())
    }

    fn settle(&self, _: &[u8; 16]) -> io::Result<()> {
        self.ask().map(|_| ())
    }
}

struct Scene {
    home: TempDir,
    keys: Arc<KeyStore>,
}

impl Scene {
    /// A vault in `ward`, anchored, with one note.
    fn new() -> Self {
        let scene = Self {
            home: tempfile::tempdir().expect("a folder"),
            keys: Arc::default(),
        };
        let mut vault = scene.make("ward", Some("Ward"));
        assert_eq!(scene.anchor(&mut vault), Anchored::Held);
        note(&mut vault, "first");
        scene
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn make(&self, name: &str, workspace: Option<&str>) -> Vault {
        let new = NewVault {
            passphrase: "correct horse",
            suite: Suite::default(),
            kdf: Kdf::for_tests(),
            person: name,
            device: name,
        };
        let text = br#"{"format": 1, "name": "test", "version": 1, "kinds": {}}"#;
        let pack = PolicyPack::from_json(text).expect("a pack");
        let (dir, env) = (self.dir(name), SystemEnv::shared());
        let created = match workspace {
            Some(workspace) => Vault::create(&dir, env, &new, workspace, &pack),
            None => Vault::create_alone(&dir, env, &new, &pack),
        };
        created.expect("a vault").vault
    }

    fn open(&self, name: &str) -> Vault {
        let unlock = Unlock::Passphrase("correct horse");
        Vault::open(&self.dir(name), SystemEnv::shared(), unlock).expect("opens")
    }

    fn anchor(&self, vault: &mut Vault) -> Anchored {
        vault.anchor(self.keys.clone()).expect("reads")
    }

    fn open_anchored(&self, name: &str) -> (Vault, Anchored) {
        open_with(&self.dir(name), self.keys.clone())
    }

    fn copy(&self, from: &str, to: &str) {
        let to = self.dir(to);
        fs::remove_dir_all(&to).ok();
        fs::create_dir(&to).expect("a folder");
        for entry in fs::read_dir(self.dir(from)).expect("a folder") {
            let path = entry.expect("an entry").path();
            fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copies");
        }
    }
}

fn open_with(dir: &Path, anchor: SharedAnchor) -> (Vault, Anchored) {
    let unlock = Unlock::Passphrase("correct horse");
    let env = SystemEnv::shared();
    let vault = Vault::open_anchored(dir, env, unlock, Tuning::default(), anchor).expect("opens");
    let said = vault.anchored();
    (vault, said)
}

fn note(vault: &mut Vault, id: &str) {
    let mut draft = vault.draft(&record(id)).expect("a draft");
    draft.set("note", Json::string(id));
    vault.commit(vec![draft]).expect("commits");
}

fn record(id: &str) -> RecordId {
    RecordId::new("Observation", &id.replace(' ', "-")).expect("a name")
}

fn has(vault: &Vault, id: &str) -> bool {
    vault.read(&record(id)).expect("reads").is_some()
}

fn exchange(vault: &mut Vault, stick: &Path) {
    let report = vault.exchange(stick, &mut |_| {}).expect("exchanges");
    assert_eq!(report.problems, []);
}

#[test]
fn a_vault_that_nobody_touched_is_held_and_keeps_its_name() {
    let scene = Scene::new();
    for no in 0..3 {
        let (mut vault, said) = scene.open_anchored("ward");
        assert_eq!(said, Anchored::Held);
        let name = vault.replica();
        note(&mut vault, &format!("n{no}"));
        vault.leave().expect("seals");
        assert_eq!((vault.replica(), vault.anchored()), (name, Anchored::Held));
        assert_eq!(vault.status().expect("a status").incarnation, None);
    }
}

#[test]
fn a_file_put_back_by_any_number_of_writes_is_noticed() {
    for lost in [1, 2, 9] {
        let scene = Scene::new();
        scene.copy("ward", "backup");
        let (mut vault, _) = scene.open_anchored("ward");
        let old = vault.replica();
        (0..lost).for_each(|no| note(&mut vault, &format!("lost{no}")));
        drop(vault);
        scene.copy("backup", "ward");
        let (vault, said) = scene.open_anchored("ward");
        let Anchored::RolledBack { missing, .. } = said else {
            panic!("{lost}: {said:?}");
        };
        assert_eq!(missing, lost);
        assert_eq!(vault.alarm(), Ok(said));
        assert!(has(&vault, "first"));
        // It has a new name before anything is written, that it was opened with it.
        let new = vault.replica();
        assert_ne!(new, old);
        let last = vault.status().expect("a status").incarnation;
        let last = last.expect("a new incarnation");
        assert_eq!((last.why, last.missing), (Why::RolledBack, lost));
        let mut opening = None;
        let each = &mut |row: AuditRow| {
            let is_new = row.line.log.replica == new;
            opening = opening.or(is_new.then_some(row.line.event.action));
            Ok(true)
        };
        vault.audit(&AuditFilter::default(), each).expect("a log");
        assert_eq!(opening, Some(Action::UNLOCK));
        drop(vault);
        // Whoever opens it next hears of it too, until somebody wrote something.
        let (mut vault, held) = scene.open_anchored("ward");
        assert_eq!((held, vault.replica()), (Anchored::Held, new));
        assert_eq!(vault.alarm(), Ok(said));
        note(&mut vault, "afterwards");
        assert_eq!(vault.alarm(), Ok(Anchored::Held));
        assert_eq!(vault.replica(), new, "once is enough");
        drop(vault);
        let (vault, said) = scene.open_anchored("ward");
        assert_eq!((said, vault.replica()), (Anchored::Held, new));
        let kept = vault.status().expect("a status").incarnation;
        assert_eq!(kept, Some(last), "and that it was put back stays known");
    }
}

#[test]
fn a_write_that_was_no_commit_is_noticed_too() {
    let scene = Scene::new();
    scene.copy("ward", "backup");
    let (mut vault, _) = scene.open_anchored("ward");
    vault.seal().expect("seals");
    drop(vault);
    scene.copy("backup", "ward");
    let (_, said) = scene.open_anchored("ward");
    assert!(
        matches!(said, Anchored::RolledBack { missing: 0, .. }),
        "{said:?}"
    );
}

#[test]
fn what_a_vault_that_was_put_back_lost_comes_back_at_the_next_exchange() {
    let scene = Scene::new();
    let stick = scene.dir("stick");
    fs::create_dir(&stick).expect("a folder");
    let mut peer = scene.make("peer", None);
    let (mut vault, _) = scene.open_anchored("ward");
    let request = peer.request().expect("a request");
    let grant = vault.admit(&request, &[Role::Clinician]).expect("a grant");
    peer.join(&grant).expect("joins");
    exchange(&mut vault, &stick);
    exchange(&mut peer, &stick);
    drop(vault);
    scene.copy("ward", "backup");
    let (mut vault, _) = scene.open_anchored("ward");
    note(&mut vault, "lost");
    exchange(&mut vault, &stick);
    exchange(&mut peer, &stick);
    drop(vault);
    scene.copy("backup", "ward");
    let (mut vault, said) = scene.open_anchored("ward");
    assert!(matches!(said, Anchored::RolledBack { .. }), "{said:?}");
    note(&mut vault, "kept");
    let name = vault.replica();
    for _ in 0..2 {
        exchange(&mut vault, &stick);
        exchange(&mut peer, &stick);
    }
    assert_eq!(vault.replica(), name, "a second new name is not needed");
    let digests = [&vault, &peer].map(|v| {
        let s = v.status().expect("a status");
        assert_eq!((s.pending, s.quarantine, s.equivocations), (0, 0, 0));
        assert!(has(v, "lost") && has(v, "kept"));
        (s.ledger_digest, s.state_digest)
    });
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn two_copies_that_are_both_used_never_write_under_one_name() {
    // One after the other, and both at once.
    for together in [false, true] {
        let scene = Scene::new();
        scene.copy("ward", "clone");
        let (mut one, said) = scene.open_anchored("ward");
        assert_eq!(said, Anchored::Held);
        let other = together.then(|| scene.open_anchored("clone").0);
        note(&mut one, "by the one");
        let (mut other, _) = other.map_or_else(|| scene.open_anchored("clone"), |v| (v, said));
        note(&mut other, "by the other");
        note(&mut one, "by the one again");
        assert_ne!(one.replica(), other.replica());
        assert_ne!(other.anchored(), Anchored::Held);
        assert_eq!(one.status().expect("a status").incarnation, None);
        let names = (one.replica(), other.replica());
        drop((one, other));
        // From now on they are two, and neither is taken for the other.
        for _ in 0..2 {
            let (mut one, first) = scene.open_anchored("ward");
            note(&mut one, "on");
            let (mut other, second) = scene.open_anchored("clone");
            note(&mut other, "on");
            assert_eq!((first, second), (Anchored::Held, Anchored::Held));
            assert_eq!((one.replica(), other.replica()), names);
        }
    }
}

#[test]
fn a_copy_that_was_written_to_elsewhere_and_brought_back_is_noticed() {
    let scene = Scene::new();
    scene.copy("ward", "away");
    let (mut vault, _) = scene.open_anchored("ward");
    note(&mut vault, "here");
    drop(vault);
    let mut away = scene.open("away");
    let name = away.replica();
    (0..5).for_each(|no| note(&mut away, &format!("away{no}")));
    drop(away);
    scene.copy("away", "ward");
    let (mut vault, said) = scene.open_anchored("ward");
    assert_eq!(said, Anchored::Cloned);
    assert_ne!(vault.replica(), name);
    note(&mut vault, "on");
}

#[test]
fn a_lost_anchor_and_another_machine_cost_a_new_name() {
    let scene = Scene::new();
    let elsewhere = Arc::new(KeyStore::default());
    let name = scene.open("ward").replica();
    let (mut vault, said) = open_with(&scene.dir("ward"), elsewhere.clone());
    assert_eq!(said, Anchored::Missing);
    let new = vault.replica();
    assert_ne!(new, name);
    note(&mut vault, "there");
    drop(vault);
    let (vault, said) = open_with(&scene.dir("ward"), elsewhere);
    assert_eq!((said, vault.replica()), (Anchored::Held, new));
    drop(vault);
    // Brought back, it is another copy to the machine that knew it.
    let (mut vault, said) = scene.open_anchored("ward");
    assert_eq!(said, Anchored::Cloned);
    note(&mut vault, "here again");
    assert_ne!(vault.replica(), new);
}

#[test]
fn an_anchor_that_refuses_or_is_damaged_stops_nothing() {
    let scene = Scene::new();
    let name = scene.open("ward").replica();
    scene.keys.locked.store(true, Ordering::Relaxed);
    let (mut vault, said) = scene.open_anchored("ward");
    assert_eq!(said, Anchored::Refused);
    note(&mut vault, "all the same");
    note(&mut vault, "and more");
    vault.leave().expect("seals");
    let new = vault.replica();
    assert_ne!(new, name);
    let last = vault.status().expect("a status").incarnation;
    assert_eq!(last.map(|i| i.why), Some(Why::AnchorRefused));
    drop(vault);
    scene.keys.locked.store(false, Ordering::Relaxed);
    for kept in scene.keys.kept.lock().expect("not poisoned").values_mut() {
        let mid = kept.len() / 2;
        kept[mid] ^= 1;
    }
    let (mut vault, said) = scene.open_anchored("ward");
    assert_eq!(said, Anchored::Refused);
    note(&mut vault, "once more");
    assert!(has(&vault, "all the same"));
    drop(vault);
    assert_eq!(scene.open_anchored("ward").1, Anchored::Held);
}

#[test]
fn an_anchor_that_begins_to_refuse_while_people_work_costs_nothing() {
    let scene = Scene::new();
    let (mut vault, _) = scene.open_anchored("ward");
    let name = vault.replica();
    scene.keys.locked.store(true, Ordering::Relaxed);
    note(&mut vault, "a");
    assert_eq!(vault.anchored(), Anchored::Refused);
    scene.keys.locked.store(false, Ordering::Relaxed);
    note(&mut vault, "b");
    drop(vault);
    let (vault, said) = scene.open_anchored("ward");
    assert_eq!((said, vault.replica()), (Anchored::Held, name));
}

#[test]
fn a_cut_between_a_write_and_its_anchor_is_no_alarm() {
    let scene = Scene::new();
    let before = scene.keys.kept.lock().expect("not poisoned").clone();
    let (mut vault, _) = scene.open_anchored("ward");
    (0..20).for_each(|no| note(&mut vault, &format!("n{no}")));
    let name = vault.replica();
    drop(vault);
    *scene.keys.kept.lock().expect("not poisoned") = before;
    let (vault, said) = scene.open_anchored("ward");
    assert_eq!((said, vault.replica()), (Anchored::Held, name));
}

#[test]
fn an_import_into_a_vault_that_was_put_back_has_the_new_name() {
    let scene = Scene::new();
    scene.copy("ward", "backup");
    let (mut vault, _) = scene.open_anchored("ward");
    let import = |vault: &mut Vault, no: u32| {
        let json = format!(r#"{{"resourceType":"Observation","id":"i{no}","note":"{no}"}}"#);
        let json = Json::parse(json.as_bytes()).expect("json");
        let unit = Unit {
            resources: vec![(1, record(&format!("i{no}")), json)],
            atomic: false,
        };
        let report = vault.import("lab", [unit].into_iter(), &mut |_| {});
        assert_eq!(report.expect("imports").imported, 1);
    };
    import(&mut vault, 1);
    let old = vault.replica();
    drop(vault);
    scene.copy("backup", "ward");
    let (mut vault, said) = scene.open_anchored("ward");
    assert!(
        matches!(said, Anchored::RolledBack { missing: 1, .. }),
        "{said:?}"
    );
    import(&mut vault, 2);
    assert_ne!(vault.replica(), old);
    let event = vault
        .history(&record("i2"), None)
        .expect("a history")
        .remove(0);
    assert_eq!(event.candidate.replica, vault.replica());
}

#[test]
fn threads_that_share_a_vault_keep_its_anchor_true() {
    let scene = Scene::new();
    scene.copy("ward", "backup");
    let commit_all = |vault: Vault| {
        let shared = vault.share();
        thread::scope(|scope| {
            for no in 0..4 {
                let shared = shared.clone();
                scope.spawn(move || {
                    for n in 0..6 {
                        let mut draft = shared.draft(&record(&format!("t{no}"))).expect("a draft");
                        draft.set("note", Json::string(&format!("{n}")));
                        shared.commit(vec![draft]).expect("commits");
                    }
                });
            }
        });
        let told = |vault: &Vault| Ok((vault.replica(), vault.anchored()));
        shared.with(told).expect("reads")
    };
    let (vault, _) = scene.open_anchored("ward");
    let old = vault.replica();
    assert_eq!(commit_all(vault), (old, Anchored::Held));
    let (vault, said) = scene.open_anchored("ward");
    assert_eq!((said, vault.replica()), (Anchored::Held, old));
    drop(vault);
    scene.copy("backup", "ward");
    let (vault, said) = scene.open_anchored("ward");
    assert!(
        matches!(said, Anchored::RolledBack { missing: 24, .. }),
        "{said:?}"
    );
    let new = vault.replica();
    assert_ne!(new, old);
    assert_eq!(commit_all(vault).0, new, "one new name for all");
    let (vault, said) = scene.open_anchored("ward");
    assert_eq!((said, vault.replica()), (Anchored::Held, new));
}

#[test]
fn a_host_that_knows_asks_for_a_new_name() {
    let scene = Scene::new();
    let (mut vault, _) = scene.open_anchored("ward");
    let old = vault.replica();
    let new = vault.incarnate().expect("writes");
    assert_ne!(new, old);
    note(&mut vault, "on");
    assert_eq!(vault.replica(), new);
    drop(vault);
    let (vault, said) = scene.open_anchored("ward");
    assert_eq!((said, vault.replica()), (Anchored::Held, new));
}

#[test]
fn a_state_folder_notices_what_a_key_store_does() {
    let scene = Scene::new();
    let state = Arc::new(StateFolder::new(&scene.dir("state")));
    let open = |scene: &Scene| open_with(&scene.dir("ward"), state.clone());
    // Scene's own anchor knew it.
    let (mut vault, said) = open(&scene);
    assert_eq!(said, Anchored::Missing);
    note(&mut vault, "a");
    drop(vault);
    scene.copy("ward", "backup");
    let (mut vault, said) = open(&scene);
    assert_eq!(said, Anchored::Held);
    note(&mut vault, "b");
    drop(vault);
    scene.copy("backup", "ward");
    let (vault, said) = open(&scene);
    assert!(
        matches!(said, Anchored::RolledBack { missing: 1, .. }),
        "{said:?}"
    );
    drop(vault);
    for entry in fs::read_dir(scene.dir("state")).expect("a folder") {
        fs::write(entry.expect("an entry").path(), b"torn").expect("writes");
    }
    assert_eq!(open(&scene).1, Anchored::Refused);
}
