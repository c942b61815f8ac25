//! One vault, several threads: each commit is durable when it is acknowledged, and stands for itself.

use medsync_core::crypto::{Kdf, RootKey, Suite};
use medsync_core::env::SystemEnv;
use medsync_core::error::Error;
use medsync_core::ids::RecordId;
use medsync_core::model::json::Json;
use medsync_core::model::pack::PolicyPack;
use medsync_core::store::Tuning;
use medsync_core::store::fault::{Rng, SimDisk};
use medsync_core::vault::{NewVault, SharedVault, Vault, Version};
use std::collections::BTreeMap;
use std::thread;

const THREADS: u64 = 8;
const EDITS: u64 = 12;

fn root() -> RootKey {
    RootKey::fill_with(|out| out.fill(6))
}

fn pack() -> PolicyPack {
    let text = r#"{"format": 1, "name": "shared", "version": 1, "kinds": {
        "Patient": {"patient": "self", "fields": {"note": {"policy": "lww"}}}}}"#;
    PolicyPack::from_json(text.as_bytes()).expect("a pack")
}

fn create(disk: &SimDisk) -> Vault {
    let new = NewVault {
        passphrase: "not used",
        suite: Suite::default(),
        kdf: Kdf::default(),
        person: "Ama",
        device: "ward",
    };
    let (env, pack) = (SystemEnv::shared(), pack());
    let made = Vault::create_on(disk.clone(), env, root(), &new, Some("Clinic"), &pack);
    made.expect("a vault").vault
}

fn open(disk: SimDisk) -> Vault {
    let (env, tuning) = (SystemEnv::shared(), Tuning::small());
    Vault::open_on(disk, env, root(), Suite::default(), tuning).expect("opens")
}

fn record(thread: u64) -> RecordId {
    RecordId::new("Patient", &format!("p{thread}")).expect("an id")
}

fn note(n: u64) -> Json {
    Json::string(&format!("note {n}"))
}

/// One thread's edits of its own record; every fifth is refused. Returns the last one acknowledged.
fn edits(vault: &SharedVault, thread: u64) -> Option<u64> {
    let id = record(thread);
    let mut acknowledged = None;
    for n in 0..EDITS {
        if n % 5 == 4 {
            let unknown = Version(vec![medsync_core::ids::ChangeId([9; 32])]);
            let refused = vault.edit(&id, unknown, |draft| {
                draft.set("note", note(n));
            });
            assert!(matches!(
                refused,
                Err(Error::Invalid { .. } | Error::Storage { .. })
            ));
            continue;
        }
        let Ok(mut draft) = vault.draft(&id) else {
            break;
        };
        draft.set("note", note(n));
        match vault.commit(vec![draft]) {
            Ok(made) => assert!(made.is_some()),
            Err(_) => break,
        }
        acknowledged = Some(n);
    }
    acknowledged
}

fn all(vault: &SharedVault) -> BTreeMap<u64, Option<u64>> {
    thread::scope(|scope| {
        let spawned: Vec<_> = (0..THREADS)
            .map(|n| scope.spawn(move || (n, edits(vault, n))))
            .collect();
        let joined = spawned.into_iter().map(|t| t.join().expect("no panic"));
        joined.collect()
    })
}

/// What a vault shows is what was acknowledged, or one edit more: that under way.
fn check(vault: &mut Vault, acknowledged: &BTreeMap<u64, Option<u64>>) {
    for (thread, last) in acknowledged {
        let view = vault.read(&record(*thread)).expect("reads");
        let shown = view.map(|v| Json::parse(v.json.expose().as_bytes()).expect("JSON"));
        let shown = shown.and_then(|json| Some(json.get("note")?.text()));
        let under_way = (0..EDITS).find(|n| n % 5 != 4 && last.is_none_or(|last| *n > last));
        let allowed = [*last, under_way];
        let allowed = allowed.map(|n| n.map(|n| note(n).text()));
        assert!(allowed.contains(&shown), "{thread}: {shown:?}, {allowed:?}");
    }
    let report = vault.verify(false, &mut |_, _| {}).expect("verifies");
    assert!(report.is_sound(), "{:?}", report.problems);
}

#[test]
fn eight_threads_commit_at_once_and_each_commit_stands_for_itself() {
    let disk = SimDisk::default();
    let vault = create(&disk).share();
    let acknowledged = all(&vault);
    assert!(acknowledged.values().all(|last| *last == Some(EDITS - 1)));
    let commits = vault.with(|v| v.status().map(|s| s.commits));
    let edits = EDITS - EDITS / 5;
    // And the one that made the workspace.
    assert_eq!(commits, Ok(THREADS * edits + 1));
    // The process dies, the power goes: nothing of it hung on a vault that is closed in order.
    let mut opened = open(disk.after_power_loss(&mut Rng::new(1)));
    check(&mut opened, &acknowledged);
    assert_eq!(opened.status().map(|s| s.commits), Ok(THREADS * edits + 1));
    drop(vault);
    check(&mut open(SimDisk::from_image(disk.image())), &acknowledged);
}

#[test]
fn what_any_thread_was_told_is_durable_survives_a_power_cut() {
    for seed in 0..60 {
        println!("seed {seed}");
        let mut rng = Rng::new(seed);
        let disk = SimDisk::default();
        let vault = create(&disk).share();
        disk.cut_at(1 + rng.below(120));
        let acknowledged = all(&vault);
        check(&mut open(disk.after_power_loss(&mut rng)), &acknowledged);
    }
}

#[test]
fn a_failed_sync_stops_every_thread() {
    for seed in 0..30 {
        println!("seed {seed}");
        let mut rng = Rng::new(seed);
        let disk = SimDisk::default();
        let vault = create(&disk).share();
        disk.fail_at(2 + rng.below(60), std::io::ErrorKind::Other);
        let acknowledged = all(&vault);
        if !disk.struck() {
            continue;
        }
        let said = vault.edit(&record(0), Version::default(), |draft| {
            draft.set("note", note(0));
        });
        assert!(matches!(said, Err(Error::Storage { .. })), "{said:?}");
        assert!(
            !disk.failed_sync().1,
            "the disk was used after a failed sync"
        );
        drop(vault);
        check(&mut open(disk.after_power_loss(&mut rng)), &acknowledged);
    }
}

/// What is worked out ahead on a record that another thread changes meanwhile is worked out again.
#[test]
fn threads_that_edit_the_same_records_lose_nothing() {
    const RECORDS: u64 = 3;
    let disk = SimDisk::default();
    let vault = create(&disk).share();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let vault = &vault;
            scope.spawn(move || {
                for n in 0..EDITS {
                    let id = record((thread + n) % RECORDS);
                    let mut draft = vault.draft(&id).expect("reads");
                    draft.set("note", note(thread * EDITS + n));
                    let made = vault.commit(vec![draft]).expect("commits");
                    assert!(made.is_some());
                }
            });
        }
    });
    let written = vault.with(|v| {
        let histories = (0..RECORDS).map(|n| v.history(&record(n), None));
        histories
            .map(|h| h.map(|h| h.len()))
            .sum::<Result<usize, _>>()
    });
    assert_eq!(written, Ok((THREADS * EDITS) as usize));
    let report = vault.with_mut(|v| v.verify(true, &mut |_, _| {}));
    let report = report.expect("verifies");
    assert!(report.is_sound(), "{:?}", report.problems);
}
