//! The log of a whole vault.

use crate::crypto::{Kdf, RootKey, Suite};
use crate::env::SharedEnv;
use crate::error::Error;
use crate::ids::{AuthorKey, RecordId};
use crate::ledger::audit::{Action, Actor, Detail};
use crate::ledger::audit_proof::AuditProof;
use crate::ledger::certificate::Role;
use crate::model::json::Json;
use crate::model::pack::PolicyPack;
use crate::store::Tuning;
use crate::store::fault::{Rng, SeededEnv, SimDisk};
use crate::vault::audit::{AuditFilter, AuditRow};
use crate::vault::rows::{Rows as _, kind};
use crate::vault::{Decision, NewVault, Unit, Vault, Version};

const CANARY: &str = "CANARY-audit";
const PACK: &str = r#"{"format": 1, "name": "test", "version": 1, "kinds": {
    "Patient": {"patient": "self", "fields": {"name": {"policy": "lww"}}},
    "Observation": {"patient": "subject", "fields": {"note": {"policy": "lww"}}}}}"#;

fn root() -> RootKey {
    RootKey::take(&mut [9; 32])
}

fn create(disk: &SimDisk, env: SharedEnv, workspace: Option<&str>) -> Vault {
    let new = NewVault {
        passphrase: "correct horse",
        suite: Suite::default(),
        kdf: Kdf::for_tests(),
        person: "Asha",
        device: "tablet",
    };
    let pack = PolicyPack::from_json(PACK.as_bytes()).unwrap();
    let made = Vault::create_on(disk.clone(), env, root(), &new, workspace, &pack);
    made.unwrap().vault
}

fn vault(seed: u64) -> (SimDisk, SharedEnv, Vault) {
    let (disk, env) = (SimDisk::default(), SeededEnv::shared(seed));
    let vault = create(&disk, env.clone(), Some("Ward"));
    (disk, env, vault)
}

fn open(disk: &SimDisk, env: &SharedEnv) -> crate::error::Result<Vault> {
    Vault::open_on(
        disk.clone(),
        env.clone(),
        root(),
        Suite::default(),
        Tuning::default(),
    )
}

fn record(n: u32) -> RecordId {
    format!("Observation/o{n}").parse().unwrap()
}

fn observation(n: u32) -> Json {
    let text = format!(r#"{{"id":"o{n}","note":"x","resourceType":"Observation"}}"#);
    Json::parse(text.as_bytes()).unwrap()
}

fn edit(vault: &mut Vault, n: u32) {
    let mut draft = vault.draft(&record(n)).unwrap();
    draft.set("note", Json::string(&format!("{CANARY}-{n}")));
    draft.set(
        "subject",
        Json::parse(br#"{"reference":"Patient/p1"}"#).unwrap(),
    );
    vault.commit(vec![draft]).unwrap();
}

fn rows(vault: &Vault) -> Vec<AuditRow> {
    let mut all = Vec::new();
    let mut each = |row| {
        all.push(row);
        Ok(true)
    };
    vault.audit(&AuditFilter::default(), &mut each).unwrap();
    all
}

fn actions(vault: &Vault) -> Vec<Action> {
    rows(vault)
        .iter()
        .map(|row| row.line.event.action)
        .collect()
}

#[test]
fn what_was_done_stands_in_the_log_with_who_did_it() {
    let (_disk, _env, mut vault) = vault(1);
    let me = vault.author().unwrap();
    edit(&mut vault, 1);
    let unit = |n: u32| Unit {
        resources: vec![(0, record(n), observation(n))],
        atomic: false,
    };
    vault
        .import("lab", [7, 8].map(unit).into_iter(), &mut |_| {})
        .unwrap();
    vault.export(&["Patient"], &[record(1)]).unwrap();
    vault.search("padma", 10).unwrap();
    let kdf = Kdf::for_tests();
    let other = vault
        .add_person("Binh", &[Role::Clinician], b"1234", Some(b"5678"), kdf)
        .unwrap();
    vault.revoke(&other.0, "left").unwrap();
    vault.leave().unwrap();
    let all = rows(&vault);
    let said: Vec<Action> = all.iter().map(|r| r.line.event.action).collect();
    assert_eq!(
        said,
        [
            Action::ADMIT,
            Action::UNLOCK,
            Action::CHANGE,
            Action::IMPORT,
            Action::EXPORT,
            Action::SEARCH,
            Action::ADMIT,
            Action::REVOKE,
            Action::LEAVE
        ]
    );
    assert!(all.iter().all(|r| r.line.event.actor == Actor::Person(me)));
    assert_eq!(all[2].records, [record(1)]);
    assert_eq!(all[3].records, [record(7), record(8)]);
    assert!(all[4].names(&record(1)) && !all[4].names(&record(7)));
    let found = all[5].line.details[0].as_ref().unwrap();
    assert_eq!(
        *found,
        Detail::Text("search".to_owned(), "padma".to_owned())
    );
    assert!(!format!("{all:?}").contains("padma"));
}

#[test]
fn reads_are_grouped_by_person_and_record() {
    let (_disk, _env, mut vault) = vault(2);
    (1..=2).for_each(|n| edit(&mut vault, n));
    let before = rows(&vault).len();
    for _ in 0..5 {
        vault.read(&record(1)).unwrap();
    }
    vault.record(&record(2)).unwrap();
    vault.read(&record(99)).unwrap();
    vault.write_reads().unwrap();
    vault.write_reads().unwrap();
    vault.read(&record(1)).unwrap();
    vault.leave().unwrap();
    vault.read(&record(2)).unwrap();
    let all = rows(&vault).split_off(before);
    let read = |row: &AuditRow| -> Vec<(String, bool, u64)> {
        let details = row.line.details.iter().flatten();
        details
            .map(|d| match d {
                Detail::Record {
                    record,
                    version,
                    times,
                } => (record.to_string(), version.is_some(), *times),
                _ => panic!("a record"),
            })
            .collect()
    };
    let name = |n| record(n).to_string();
    assert_eq!(read(&all[0]), [(name(1), false, 5), (name(2), true, 1)]);
    assert_eq!(read(&all[1]), [(name(1), false, 1)]);
    assert_eq!(all[2].line.event.action, Action::LEAVE);
    assert_eq!(read(&all[3]), [(name(2), false, 1)]);
    assert_eq!(all[3].line.event.actor, Actor::Nobody);
    assert_eq!(all.len(), 4);
    let filter = AuditFilter {
        record: Some(record(2)),
        person: vault.core.meta.owner.into(),
        since_ms: None,
    };
    let mut found = 0;
    vault
        .audit(&filter, &mut |_| {
            found += 1;
            Ok(true)
        })
        .unwrap();
    // The edit that made it, and the read.
    assert_eq!(found, 2);
}

#[test]
fn the_log_goes_on_after_the_vault_was_closed_and_proves_itself() {
    let (disk, env, mut vault) = vault(3);
    edit(&mut vault, 1);
    vault.read(&record(1)).unwrap();
    drop(vault);
    let mut vault = open(&disk, &env).unwrap();
    assert!(actions(&vault).ends_with(&[Action::READ, Action::UNLOCK]));
    assert!(vault.verify_audit().unwrap().is_sound());
    for reveal in [true, false] {
        let bytes = vault.prove_audit(reveal).unwrap().to_bytes();
        let proof = AuditProof::parse(&bytes).unwrap();
        let report = proof.verify(&vault.audit_heads().unwrap());
        assert!(report.is_sound(), "{report:?}");
        assert_eq!(report.logs.len(), 1);
        let record = record(1).to_string();
        let clear = bytes.windows(record.len()).any(|w| w == record.as_bytes());
        assert_eq!(clear, reveal);
    }
    assert!(actions(&vault).ends_with(&[Action::PROVE, Action::PROVE]));
    // The ledger does not know of it.
    assert!(vault.verify(true, &mut |_, _| {}).unwrap().is_sound());
}

#[test]
fn a_wrong_pin_is_written_down_and_the_right_one_before_anything_is_shown() {
    let (_disk, _env, mut vault) = vault(4);
    let kdf = Kdf::for_tests();
    let binh = vault
        .add_person("Binh", &[Role::Clinician], b"1234", Some(b"5678"), kdf)
        .unwrap();
    let wrong = vault.unlock(&binh, Some(b"4321"));
    assert!(matches!(wrong, Err(Error::WrongSecret(_))));
    vault.unlock(&binh, Some(b"1234")).unwrap();
    let tried: Vec<(bool, Actor)> = rows(&vault)
        .iter()
        .filter(|r| r.line.event.action == Action::UNLOCK)
        .map(|r| (r.line.event.done, r.line.event.actor))
        .collect();
    let binh = Actor::Person(binh);
    let asha = Actor::Person(vault.owner());
    assert_eq!(tried, [(true, asha), (false, binh), (true, binh)]);
}

#[test]
fn an_emergency_is_told_until_somebody_has_looked_into_it() {
    let (disk, env, mut vault) = vault(5);
    edit(&mut vault, 1);
    assert!(matches!(vault.break_glass(" "), Err(Error::Refused { .. })));
    vault.break_glass(CANARY).unwrap();
    let glass = rows(&vault).pop().unwrap().line;
    assert_eq!(
        (glass.event.action, glass.event.actor),
        (Action::BREAK_GLASS, Actor::Nobody)
    );
    vault.read(&record(1)).unwrap();
    let mut draft = vault.draft(&record(1)).unwrap();
    draft.set("note", Json::string("no"));
    assert!(matches!(vault.commit(vec![draft]), Err(Error::Locked(_))));
    let read = rows(&vault).pop().unwrap().line.event;
    assert_eq!(read.actor, Actor::Emergency(glass.event.seq));
    drop(vault);
    let mut vault = open(&disk, &env).unwrap();
    let open = vault.status().unwrap().emergencies;
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].seq, glass.event.seq);
    assert!(!format!("{open:?} {glass:?}").contains(CANARY));
    vault.acknowledge(&open[0], "a fall in the night").unwrap();
    assert!(matches!(
        vault.acknowledge(&open[0], "again"),
        Err(Error::NotFound(_))
    ));
    assert!(vault.status().unwrap().emergencies.is_empty());
    assert!(vault.verify_audit().unwrap().is_sound());
}

#[test]
fn what_was_acknowledged_is_in_the_log_after_a_power_cut() {
    for seed in 0..40 {
        let (disk, env, mut vault) = vault(seed);
        edit(&mut vault, 1);
        disk.cut_at(1 + seed % 60);
        let mut exported = 0;
        let mut unlocked = 0;
        let owner: AuthorKey = vault.owner();
        for _ in 0..6 {
            exported += u64::from(vault.export(&["Patient"], &[]).is_ok());
            unlocked += u64::from(vault.unlock(&owner, None).is_ok());
        }
        drop(vault);
        let image = disk.after_power_loss(&mut Rng::new(seed));
        let mut vault = open(&image, &env).unwrap();
        let said = actions(&vault);
        let count = |action| said.iter().filter(|a| **a == action).count() as u64;
        assert!(count(Action::EXPORT) >= exported, "seed {seed}");
        // One more each time the vault is made or opened.
        assert!(count(Action::UNLOCK) >= unlocked + 2, "seed {seed}");
        assert!(vault.verify_audit().unwrap().is_sound(), "seed {seed}");
    }
}

#[test]
fn a_log_that_cannot_be_written_refuses_exports_and_not_reads() {
    let (disk, _env, mut vault) = vault(6);
    edit(&mut vault, 1);
    disk.fail_at(1, std::io::ErrorKind::StorageFull);
    let refused = vault.export(&["Patient"], &[]).map(|_| ());
    assert!(refused.is_err_and(|e| e.to_string().contains("audit log")));
}

#[test]
fn a_decision_is_told_apart_from_an_edit() {
    let pack = PACK.replace(
        r#"{"note": {"policy": "lww"}}"#,
        r#"{"note": {"policy": {"escalate": {"interim": "unknown"}}}}"#,
    );
    let (disk, env) = (SimDisk::default(), SeededEnv::shared(7));
    let new = NewVault {
        passphrase: "correct horse",
        suite: Suite::default(),
        kdf: Kdf::for_tests(),
        person: "Asha",
        device: "tablet",
    };
    let pack = PolicyPack::from_json(pack.as_bytes()).unwrap();
    let made = Vault::create_on(disk, env, root(), &new, Some("Ward"), &pack).unwrap();
    let mut vault = made.vault;
    // Two forms that were open at once.
    for text in ["a", "b"] {
        let note = Json::string(text);
        vault
            .edit(&record(1), Version::default(), |d| {
                d.set("note", note);
            })
            .unwrap();
    }
    let question = vault.escalations().unwrap().remove(0);
    vault.resolve(question, Decision::Keep(0), "seen").unwrap();
    let said = actions(&vault);
    assert!(
        said.ends_with(&[Action::CHANGE, Action::SEARCH, Action::DECIDE]),
        "{said:?}"
    );
}

#[test]
fn what_others_hold_of_a_log_shows_that_its_end_is_missing() {
    let (disk, env, mut vault) = vault(8);
    edit(&mut vault, 1);
    drop(vault);
    let backup = SimDisk::from_image(disk.image());
    let mut vault = open(&disk, &env).unwrap();
    edit(&mut vault, 2);
    vault.leave().unwrap();
    let heads = vault.audit_heads().unwrap();
    assert_eq!(heads.len(), 1);
    // By itself the vault from the backup holds together, and so does the other.
    vault.keep_heads(heads.clone()).unwrap();
    assert!(vault.verify_audit().unwrap().is_sound());
    let mut old = open(&backup, &env).unwrap();
    old.keep_heads(heads.clone()).unwrap();
    old.keep_heads(heads.clone()).unwrap();
    let report = old.verify_audit().unwrap();
    assert!(
        report.problems[0].contains("the end is missing"),
        "{report:?}"
    );
    // It goes on, past the place: now its device signed two stories.
    (3..20).for_each(|n| edit(&mut old, n));
    let report = old.verify_audit().unwrap();
    assert!(report.problems[0].contains("written twice"), "{report:?}");
    drop(old);
    let mut old = open(&backup, &env).unwrap();
    assert!(!old.verify_audit().unwrap().is_sound());
    // Somebody else holds the newest, and both where they contradict.
    let (_disk, _env, mut other) = self::vault(9);
    other.keep_heads(heads.clone()).unwrap();
    assert_eq!(other.audit_heads().unwrap().len(), 1);
    let newer = old.audit_heads().unwrap();
    other.keep_heads(newer).unwrap();
    other.keep_heads(heads).unwrap();
    assert_eq!(other.audit_heads().unwrap().len(), 1);
}

#[test]
fn every_changed_row_of_a_stored_log_is_found() {
    let (_disk, _env, mut vault) = vault(10);
    edit(&mut vault, 1);
    vault.search(CANARY, 5).unwrap();
    vault.leave().unwrap();
    let entries = vault.store.read().unwrap().all(&[kind::AUDIT]).unwrap();
    assert_eq!(entries.len(), 5);
    for (key, row) in &entries {
        for at in 0..row.len() {
            let mut txn = vault.store.write().unwrap();
            let mut bad = row.clone();
            bad[at] ^= 1;
            txn.put(key.clone(), bad);
            txn.commit().unwrap();
            let sound = vault.verify_audit().is_ok_and(|report| report.is_sound());
            assert!(!sound, "byte {at} of {}", key[12]);
        }
        let mut txn = vault.store.write().unwrap();
        txn.delete(key.clone());
        txn.commit().unwrap();
        assert!(!vault.verify_audit().unwrap().is_sound());
        let mut txn = vault.store.write().unwrap();
        txn.put(key.clone(), row.clone());
        txn.commit().unwrap();
        assert!(vault.verify_audit().unwrap().is_sound());
    }
}

#[test]
fn a_new_incarnation_has_a_log_of_its_own_and_the_old_one_stays_whole() {
    let (disk, env, mut vault) = vault(11);
    edit(&mut vault, 1);
    vault.incarnate().unwrap();
    edit(&mut vault, 2);
    vault.break_glass("a fall").unwrap();
    drop(vault);
    let mut vault = open(&disk, &env).unwrap();
    let logs: Vec<_> = rows(&vault)
        .iter()
        .map(|row| row.line.log.replica)
        .collect();
    assert!(logs.first() != logs.last());
    let report = vault.verify_audit().unwrap();
    assert_eq!(report.logs.len(), 2);
    assert!(report.is_sound(), "{report:?}");
    let open = vault.status().unwrap().emergencies;
    assert_eq!((open.len(), open[0].log), (1, 1));
    vault.acknowledge(&open[0], "seen").unwrap();
}
