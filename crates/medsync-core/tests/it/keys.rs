//! Keys for life: locking, tries of PINs, new keys for a whole vault.

use medsync_core::crypto::envelope::public_of;
use medsync_core::crypto::{Kdf, Secret, SlotKind, Suite};
use medsync_core::error::Error;
use medsync_core::ids::RecordId;
use medsync_core::ledger::certificate::Role;
use medsync_core::model::json::Json;
use medsync_core::model::pack::PolicyPack;
use medsync_core::store::Unlock;
use medsync_core::store::fault::SeededEnv;
use medsync_core::vault::{Draft, NewVault, Vault, Version};
use std::sync::Arc;

const PACK: &str = r#"{"format":1,"name":"test","version":1,
    "kinds":{"Patient":{"fields":{"note":{"policy":"lww"}}}}}"#;
const OLD: &str = "correct horse";

struct Scene {
    dir: tempfile::TempDir,
    env: Arc<SeededEnv>,
    vault: Vault,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let env = Arc::new(SeededEnv::new(7));
        let pack = PolicyPack::from_json(PACK.as_bytes()).expect("a pack");
        let new = NewVault {
            passphrase: OLD,
            suite: Suite::default(),
            kdf: Kdf::for_tests(),
            person: "Asha",
            device: "ward",
        };
        let made = Vault::create(dir.path(), env.clone(), &new, "North", &pack);
        let vault = made.expect("creates").vault;
        Self { dir, env, vault }
    }

    fn open(&self, unlock: Unlock<'_>) -> Result<Vault, Error> {
        Vault::open(self.dir.path(), self.env.clone(), unlock)
    }

    fn note(&mut self, text: &str) -> Result<(), Error> {
        let record = self.vault.record(&patient())?;
        let version = record.map_or_else(Version::default, |record| record.version);
        let mut draft = Draft::new(patient(), version);
        let json = Json::parse(format!("\"{text}\"").as_bytes()).expect("JSON");
        draft.set("note", json);
        self.vault.commit(vec![draft]).map(|_| ())
    }
}

fn patient() -> RecordId {
    RecordId::new("Patient", "p").expect("a name")
}

fn locked<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert!(matches!(result, Err(Error::Locked(_))), "{result:?}");
}

#[test]
fn an_idle_vault_locks_itself_and_reads_nothing_more_until_it_is_opened() {
    let mut scene = Scene::new();
    assert_eq!(scene.vault.tick(), Ok(None), "never, unless told to");
    scene.vault.idle_after(Some(60_000));
    scene.env.advance_ms(59_000);
    assert!(scene.vault.tick().expect("ticks").is_some());
    scene.note("seen today").expect("writes");
    scene.env.advance_ms(59_000);
    let deadline = scene.vault.tick().expect("ticks");
    assert!(deadline.is_some(), "a write counts as use");
    scene.vault.read(&patient()).expect("reads");
    // A clock set back does not keep it open for the years in between.
    scene.env.advance_ms(-86_400_000);
    assert!(scene.vault.tick().expect("ticks").is_some());
    scene.env.advance_ms(60_000);
    assert_eq!(scene.vault.tick(), Ok(None));
    assert!(scene.vault.is_locked());
    locked(scene.vault.record(&patient()));
    locked(scene.vault.status());
    locked(scene.vault.people());
    let owner = scene.vault.owner();
    locked(scene.vault.unlock(&owner, None));
    locked(scene.vault.verify(false, &mut |_, _| {}));
    locked(scene.vault.key_slots());
    locked(scene.note("after the lock"));
    assert_eq!(scene.vault.lock(), Ok(()), "locked twice is locked");
    // The files are free, what was written is sealed, and everything is there.
    let vault = scene.open(Unlock::Passphrase(OLD)).expect("opens");
    assert!(vault.status().expect("a status").unsealed.is_empty());
    let view = vault.record(&patient()).expect("a record");
    assert!(view.expect("is here").json.expose().contains("seen today"));
}

#[test]
fn wrong_pins_wait_longer_and_longer_and_the_right_one_ends_it() {
    let mut scene = Scene::new();
    let (roles, kdf) = ([Role::Clinician], Kdf::for_tests());
    let bala = scene
        .vault
        .add_person("Bala", &roles, b"1111", Some(b"2222"), kdf);
    let bala = bala.expect("a person");
    for _ in 0..3 {
        let wrong = scene.vault.unlock(&bala, Some(b"0000"));
        assert_eq!(wrong, Err(Error::WrongSecret("the PIN")));
    }
    let wait = |seconds| {
        Err(Error::Wait {
            what: "the PIN",
            seconds,
        })
    };
    assert_eq!(scene.vault.unlock(&bala, Some(b"1111")), wait(1));
    assert_eq!(
        scene.vault.change_pin(&bala, Some(b"1111"), b"3333", kdf),
        wait(1)
    );
    // Others are not kept waiting, and neither a restart nor a clock set back ends it.
    let owner = scene.vault.owner();
    scene.vault.unlock(&owner, Some(b"2222")).expect("unlocks");
    scene.vault.lock().expect("locks");
    scene.vault = scene.open(Unlock::Passphrase(OLD)).expect("opens");
    scene.env.advance_ms(-86_400_000);
    assert_eq!(scene.vault.unlock(&bala, Some(b"1111")), wait(1));
    scene.env.advance_ms(1000);
    scene.vault.unlock(&bala, Some(b"1111")).expect("unlocks");
    let wrong = scene.vault.unlock(&bala, Some(b"0000"));
    assert_eq!(wrong, Err(Error::WrongSecret("the PIN")));
    assert_eq!(scene.vault.author(), Some(bala), "and stays unlocked");
    let kept = scene.vault.change_pin(&bala, Some(b"1111"), b"3333", kdf);
    kept.expect("changes");
    scene.vault.unlock(&bala, Some(b"3333")).expect("unlocks");
}

#[test]
fn a_vault_under_new_keys_holds_the_same_and_opens_for_the_new_ones_only() {
    let mut scene = Scene::new();
    scene.note("before").expect("writes");
    let identity = Secret::take(&mut [9; 32]);
    let public = public_of(&identity);
    scene.vault.put_escrow_slot("North", &public).expect("adds");
    let digest = |vault: &Vault| vault.status().expect("a status").state_digest;
    let (before, owner) = (digest(&scene.vault), scene.vault.owner());
    let mut told = Vec::new();
    let Scene { dir, env, vault } = scene;
    let done = vault.rekey("battery staple", Kdf::for_tests(), None, &mut |n, all| {
        told.push((n, all));
    });
    let done = done.expect("rekeys");
    assert!(told.last().is_some_and(|(n, all)| n == all && *n > 5));
    assert!(done.lost.is_empty());
    let vault = done.vault;
    // The passphrase stood for the owner's PIN, and does under the new root.
    assert_eq!(vault.author(), Some(owner));
    assert_eq!(digest(&vault), before);
    let mut scene = Scene { dir, env, vault };
    scene.note("after").expect("writes");
    let report = scene.vault.verify(true, &mut |_, _| {}).expect("verifies");
    assert!(report.is_sound(), "{:?}", report.problems);
    scene.vault.lock().expect("locks");
    let wrong = scene.open(Unlock::Passphrase(OLD)).map(|_| ());
    assert_eq!(wrong, Err(Error::WrongSecret("the passphrase")));
    for unlock in [
        Unlock::Passphrase("battery staple"),
        Unlock::Recovery(&done.recovery),
        Unlock::Escrow(&identity),
    ] {
        let vault = scene.open(unlock).expect("opens");
        assert_eq!(vault.author(), Some(owner));
        let kinds: Vec<_> = (vault.key_slots().expect("slots").iter())
            .map(|slot| slot.kind)
            .collect();
        let all = [SlotKind::Passphrase, SlotKind::Recovery, SlotKind::Escrow];
        assert_eq!(kinds, all);
    }
}
