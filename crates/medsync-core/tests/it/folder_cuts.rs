//! The power goes, or the disk fails, at every single write of what concerns a vault's files: making
//! it, changing what opens it, new keys for all of it, a migration. Afterwards the old vault is
//! there, or the new one, and all of what it held.

use medsync_core::crypto::{Kdf, KeyWrapper, RootKey, Secret, SlotKind, Suite};
use medsync_core::error::{Error, Result};
use medsync_core::ids::RecordId;
use medsync_core::model::json::Json;
use medsync_core::model::pack::PolicyPack;
use medsync_core::store::fault::{Rng, SeededEnv, SimFolder};
use medsync_core::store::{DATA_FILE, KEY_FILE, Store, Unlock};
use medsync_core::vault::{Draft, NewVault, Vault, Version};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

const PACK: &str = r#"{"format":1,"name":"test","version":1,
    "kinds":{"Patient":{"fields":{"note":{"policy":"lww"}}}}}"#;
const OLD: &str = "correct horse";
const NEW: &str = "battery staple";
const RECORDS: u32 = 8;

type Files = BTreeMap<String, Vec<u8>>;

/// Something that is done to a vault's folder, and what may open it afterwards.
struct Work<'a> {
    name: &'a str,
    run: &'a dyn Fn(&SimFolder, Arc<SeededEnv>) -> Result<()>,
    old: Unlock<'a>,
    new: Option<Unlock<'a>>,
    /// What a vault shows that is whole.
    shows: &'a str,
}

fn new_vault() -> NewVault<'static> {
    NewVault {
        passphrase: OLD,
        suite: Suite::default(),
        kdf: Kdf::for_tests(),
        person: "Asha",
        device: "ward",
    }
}

fn env() -> Arc<SeededEnv> {
    Arc::new(SeededEnv::new(11))
}

fn make(folder: &SimFolder, env: Arc<SeededEnv>) -> Result<Vault> {
    let pack = PolicyPack::from_json(PACK.as_bytes())?;
    let made = Vault::create_at(folder, env, &new_vault(), "North", &pack);
    made.map(|created| created.vault)
}

/// A closed vault with some records.
fn made() -> Files {
    let folder = SimFolder::default();
    let mut vault = make(&folder, env()).expect("makes");
    for n in 0..RECORDS {
        let id = RecordId::new("Patient", &format!("p{n}")).expect("a name");
        let mut draft = Draft::new(id, Version::default());
        draft.set("note", Json::string(&"~".repeat(n as usize * 300)));
        vault.commit(vec![draft]).expect("commits");
    }
    drop(vault);
    folder.files()
}

fn shows(vault: &mut Vault) -> String {
    let report = vault.verify(false, &mut |_, _| {}).expect("verifies");
    assert!(report.is_sound(), "{:?}", report.problems);
    let status = vault.status().expect("a status");
    format!(
        "{} records, {} commits, state {:?}",
        status.records, status.commits, status.state_digest
    )
}

fn shown_by(files: &Files, root: &RootKey) -> String {
    let folder = SimFolder::from_files(files.clone());
    let vault = Vault::open_at(&folder, env(), Unlock::Root(root));
    shows(&mut vault.expect("opens"))
}

/// Opening by passphrase is slow on purpose; what a test does not turn on opens by the root.
fn root(files: &Files, passphrase: &str) -> RootKey {
    let dir = tempfile::tempdir().expect("a folder");
    for (name, bytes) in files {
        std::fs::write(dir.path().join(name), bytes).expect("writes");
    }
    let store = Store::open(dir.path(), env(), Unlock::Passphrase(passphrase)).expect("opens");
    RootKey::fill_with(|out| out.copy_from_slice(store.root().expose()))
}

/// The folder opens by exactly one of the two, and everything is there. Says whether by the new.
fn check(work: &Work<'_>, folder: &SimFolder, what: &str) -> bool {
    let mut by = Vec::new();
    for (new, unlock) in [(false, Some(work.old)), (true, work.new)] {
        let Some(unlock) = unlock else { continue };
        // Wrong tries make the next one wait.
        let later = env();
        later.advance_ms(if new { 7_200_000 } else { 3_600_000 });
        match Vault::open_at(folder, later, unlock) {
            Ok(mut vault) => {
                assert_eq!(shows(&mut vault), work.shows, "{what}");
                by.push(new);
            }
            Err(Error::WrongSecret(_)) => {}
            Err(error) => panic!("{what}: {error}"),
        }
    }
    assert_eq!(by.len(), 1, "{what}: opens by {by:?}");
    by[0]
}

/// Cuts the power at the first write, then anew at the second, and so on to the last. Says how many
/// cuts left the old vault, and how many the new one.
fn cut_everywhere(before: &Files, work: &Work<'_>) -> (u32, u32) {
    let mut rng = Rng::new(5);
    let (mut left_old, mut left_new) = (0, 0);
    for at in 1.. {
        let folder = SimFolder::from_files(before.clone());
        folder.cut_at(at);
        let done = (work.run)(&folder, env());
        if !folder.struck() {
            assert_eq!(done, Ok(()), "{}", work.name);
            folder.calm();
            check(work, &folder, work.name);
            break;
        }
        let acknowledged = done.is_ok();
        let mut found = folder.after_power_loss(&mut rng);
        // And again while it recovers.
        while rng.one_in(3) {
            found.cut_at(1 + rng.below(12));
            for unlock in [Some(work.old), work.new].into_iter().flatten() {
                drop(Vault::open_at(&found, env(), unlock));
            }
            found = found.after_power_loss(&mut rng);
        }
        let new = check(work, &found, &format!("{}, cut at {at}", work.name));
        assert!(
            new || !acknowledged || work.new.is_none(),
            "{}, cut at {at}: what was acknowledged is gone",
            work.name
        );
        (left_old, left_new) = (left_old + u32::from(!new), left_new + u32::from(new));
    }
    (left_old, left_new)
}

/// The disk is full, or fails, at one write after another, and the power stays.
fn fail_everywhere(before: &Files, work: &Work<'_>) {
    for (from, kind) in [(1, ErrorKind::StorageFull), (2, ErrorKind::Other)] {
        for at in (from..).step_by(2) {
            let folder = SimFolder::from_files(before.clone());
            folder.fail_at(at, kind);
            let done = (work.run)(&folder, env());
            if !folder.struck() {
                break;
            }
            let what = format!("{}, {kind:?} at {at}", work.name);
            if let Err(error) = &done {
                assert!(matches!(error, Error::Storage { .. }), "{what}: {error}");
            }
            let new = check(work, &SimFolder::from_files(folder.files()), &what);
            assert!(new || done.is_err() || work.new.is_none(), "{what}");
        }
    }
}

#[test]
fn a_vault_is_made_whole_or_not_at_all() {
    let mut rng = Rng::new(3);
    let mut cuts = 0;
    for at in 1.. {
        let folder = SimFolder::default();
        folder.cut_at(at);
        let done = make(&folder, env()).map(drop);
        if !folder.struck() {
            assert_eq!(done, Ok(()));
            break;
        }
        cuts += 1;
        let found = folder.after_power_loss(&mut rng);
        match Vault::open_at(&found, env(), Unlock::Passphrase(OLD)) {
            Ok(mut vault) => drop(shows(&mut vault)),
            Err(Error::NotFound(_)) => {
                assert!(done.is_err(), "cut at {at}: it was acknowledged");
                let again = make(&found, env());
                shows(&mut again.unwrap_or_else(|e| panic!("cut at {at}: {e}")));
            }
            Err(error) => panic!("cut at {at}: {error}"),
        }
    }
    assert!(cuts > 20, "{cuts} cuts");
}

#[test]
fn a_change_of_passphrase_leaves_the_old_one_or_the_new_one() {
    let before = made();
    let work = Work {
        name: "a new passphrase",
        run: &|folder, env| {
            Vault::open_at(folder, env, Unlock::Passphrase(OLD))?
                .change_passphrase(NEW, Kdf::for_tests())
        },
        old: Unlock::Passphrase(OLD),
        new: Some(Unlock::Passphrase(NEW)),
        shows: &shown_by(&before, &root(&before, OLD)),
    };
    let (left_old, left_new) = cut_everywhere(&before, &work);
    assert!(left_old > 5 && left_new > 0, "{left_old}, {left_new}");
    fail_everywhere(&before, &work);
}

#[test]
fn a_cut_rekey_leaves_the_old_vault_or_the_new_one() {
    let before = made();
    let root = root(&before, OLD);
    let work = Work {
        name: "new keys",
        run: &|folder, env| {
            let vault = Vault::open_at(folder, env, Unlock::Root(&root))?;
            let done = vault.rekey(NEW, Kdf::for_tests(), None, &mut |_, _| {});
            done.map(drop)
        },
        old: Unlock::Root(&root),
        new: Some(Unlock::Passphrase(NEW)),
        shows: &shown_by(&before, &root),
    };
    let (left_old, left_new) = cut_everywhere(&before, &work);
    assert!(left_old > 20 && left_new > 0, "{left_old}, {left_new}");
    fail_everywhere(&before, &work);
}

/// A key store of the host, as far as a test needs one.
struct Keychain;

impl KeyWrapper for Keychain {
    fn wrap(&self, key: &Secret<32>) -> Result<Vec<u8>> {
        Ok(key.expose().to_vec())
    }

    fn unwrap(&self, wrapped: &[u8]) -> Result<Secret<32>> {
        Secret::from_slice(wrapped).ok_or(Error::WrongSecret("the key store"))
    }
}

#[test]
fn slots_and_recovery_words_change_whole_or_not_at_all() {
    let before = made();
    let root = root(&before, OLD);
    let shows = shown_by(&before, &root);
    type Run<'a> = &'a dyn Fn(&Vault) -> Result<()>;
    let runs: [(&str, Run<'_>); 2] = [
        ("recovery words", &|vault| vault.new_recovery().map(drop)),
        ("slots", &|vault| {
            vault.put_host_slot("desk", &Keychain)?;
            vault.put_escrow_slot("clinic", &[9; 32])?;
            vault.remove_slot(SlotKind::Host, "desk")
        }),
    ];
    for (name, run) in runs {
        let work = Work {
            name,
            run: &|folder, env| run(&Vault::open_at(folder, env, Unlock::Root(&root))?),
            old: Unlock::Root(&root),
            new: None,
            shows: &shows,
        };
        let (cuts, _) = cut_everywhere(&before, &work);
        assert!(cuts > 10, "{cuts} cuts");
        fail_everywhere(&before, &work);
    }
}

#[test]
fn a_migration_loses_nothing_in_its_folder_either() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/vault-1");
    let files = [KEY_FILE, DATA_FILE].map(|name| {
        let packed = std::fs::read(kept.join(format!("{name}.zst"))).expect("a golden file");
        (
            name.to_owned(),
            zstd::decode_all(&packed[..]).expect("zstd"),
        )
    });
    let before = Files::from(files);
    let root = root(&before, "a golden passphrase");
    let shows = shown_by(&before, &root);
    let work = Work {
        name: "a migration",
        run: &|folder, env| Vault::open_at(folder, env, Unlock::Root(&root)).map(drop),
        old: Unlock::Root(&root),
        new: None,
        shows: &shows,
    };
    let (cuts, _) = cut_everywhere(&before, &work);
    assert!(cuts > 20, "{cuts} cuts");
}
