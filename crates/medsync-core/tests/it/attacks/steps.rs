//! However much work a part makes, it is taken in steps, and between two of them the vault is free.

use super::{Mallory, Role, Scene, SealedBatch, env, record};
use medsync_core::error::Error;
use medsync_core::model::json::Json;
use medsync_core::vault::{SharedVault, Vault};
use std::sync::atomic::{AtomicBool, Ordering};

const COMMITS: usize = 1500;

/// A part that makes several steps of work: each commit a record of its own, and a change of one
/// that all of them change side by side.
fn much(scene: &mut Scene, roles: &[Role]) -> Vec<SealedBatch> {
    let mut mallory = match roles {
        [] => Mallory::new(),
        roles => Mallory::admitted(scene, roles),
    };
    scene.put_key(&mallory);
    let commits: Vec<_> = (0..COMMITS)
        .map(|n| {
            let part = mallory.fresh(&format!("r{n}"), "note", "x");
            mallory.commit(&[part], &[])
        })
        .collect();
    let mut batches = vec![mallory.batch(scene, commits)];
    batches.extend((0..200).map(|no| {
        let mut other = mallory.elsewhere(no);
        let part = other.fresh("a", "code", &no.to_string());
        other.one(scene, &[part])
    }));
    batches
}

/// Exchanges while another thread wants the vault all the time, and tells it how many records and
/// waiting commits there are whenever it has it.
fn beside(
    shared: &SharedVault,
    scene_stick: &std::path::Path,
    mut each: impl FnMut(&mut Vault, u64, u64) + Send,
) -> Result<(), Error> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                shared
                    .with_mut(|vault| {
                        let status = match vault.is_locked() {
                            true => return Ok(()),
                            false => vault.status()?,
                        };
                        each(vault, status.records, status.pending);
                        Ok(())
                    })
                    .ok();
            }
        });
        let met = shared.exchange(scene_stick, &mut |_| {});
        done.store(true, Ordering::SeqCst);
        other.join().expect("ends");
        met.map(|_| ())
    })
}

/// The vault of a scene, for several threads, and the rest of the scene.
fn apart(scene: Scene) -> (SharedVault, std::path::PathBuf, tempfile::TempDir) {
    (scene.vault.share(), scene.stick, scene._home)
}

#[test]
fn others_have_their_turn_between_the_steps_of_a_part() {
    let mut scene = Scene::new();
    let batches = much(&mut scene, &[]);
    scene.put(1, &batches);
    let (shared, stick, _home) = apart(scene);
    let mut seen = Vec::new();
    let mut wrote = 0;
    beside(&shared, &stick, |vault, records, _| {
        seen.push(records);
        // What is written meanwhile is built on what is shown, and stays.
        let mut draft = vault.draft(&record("a")).expect("a draft");
        draft.set("note", Json::string(&format!("ours {wrote}")));
        vault.commit(vec![draft]).expect("commits");
        wrote += 1;
    })
    .expect("meets");
    let between = seen.iter().filter(|n| (2..COMMITS as u64).contains(n));
    assert!(between.count() > 0, "nobody had a turn: {seen:?}");
    shared
        .with_mut(|vault| {
            assert_eq!(vault.status()?.records, COMMITS as u64 + 1);
            assert_eq!(vault.status()?.pending, 0);
            assert!(vault.verify(true, &mut |_, _| {})?.is_sound());
            Ok(())
        })
        .expect("verifies");
}

#[test]
fn steps_that_were_left_are_taken_by_the_next_exchange() {
    for roles in [&[][..], &[Role::Clinician]] {
        let mut scene = Scene::new();
        let batches = much(&mut scene, roles);
        scene.put(1, &batches);
        let dir = scene.stick.with_file_name("v");
        let (shared, stick, _home) = apart(scene);
        // The vault is locked as soon as part of it is there.
        let mut left = 0;
        let met = beside(&shared, &stick, |vault, records, pending| {
            if records > 1 && pending > 0 {
                left = pending;
                vault.lock().expect("locks");
            }
        });
        assert!(matches!(met, Err(Error::Locked(_))), "{met:?}");
        assert!(left > 0);
        drop(shared);
        let unlock = medsync_core::store::Unlock::Passphrase("correct horse");
        let mut vault = Vault::open(&dir, env(), unlock).expect("opens");
        assert!(vault.status().expect("a status").pending > 0);
        vault.exchange(&stick, &mut |_| {}).expect("exchanges");
        let status = vault.status().expect("a status");
        assert_eq!((status.records, status.pending), (COMMITS as u64 + 1, 0));
        let report = vault.verify(true, &mut |_, _| {}).expect("verifies");
        assert!(report.is_sound(), "{report:?}");
    }
}

#[test]
fn what_waits_for_its_turn_is_delivered_before_a_vault_is_verified() {
    let mut scene = Scene::new();
    let batches = much(&mut scene, &[Role::Clinician]);
    scene.put(1, &batches);
    let dir = scene.stick.with_file_name("v");
    let (shared, stick, _home) = apart(scene);
    let met = beside(&shared, &stick, |vault, records, pending| {
        if records > 1 && pending > 0 {
            vault.lock().expect("locks");
        }
    });
    assert!(met.is_err());
    drop(shared);
    let unlock = medsync_core::store::Unlock::Passphrase("correct horse");
    let mut vault = Vault::open(&dir, env(), unlock).expect("opens");
    let report = vault.verify(true, &mut |_, _| {}).expect("verifies");
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(vault.status().expect("a status").pending, 0);
}
