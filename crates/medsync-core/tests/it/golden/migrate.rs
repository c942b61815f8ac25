//! A change of format that is cut, fails for want of room, meets a damaged vault or a newer one.

use super::{Golden, OWNER_PASSPHRASE, digests, formats, records};
use medsync_core::crypto::{RootKey, Suite};
use medsync_core::env::SystemEnv;
use medsync_core::error::{Error, Result};
use medsync_core::store::fault::{Rng, SeededEnv, SimDisk};
use medsync_core::store::{DATA_FILE, Store, Tuning, Unlock};
use medsync_core::vault::{FORMAT, Vault};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

fn store(dir: &Path) -> Store {
    let unlock = Unlock::Passphrase(OWNER_PASSPHRASE);
    Store::open(dir, SystemEnv::shared(), unlock).expect("opens")
}

fn row(dir: &Path, key: &[u8]) -> Option<Vec<u8>> {
    let store = store(dir);
    store.read().expect("reads").get(key).expect("reads")
}

fn rows(dir: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let store = store(dir);
    let rows = store.read().expect("reads").prefix(&[]).expect("reads");
    rows.map(|row| row.expect("a row")).collect()
}

/// The vaults of formats that need a step.
fn older() -> Vec<Golden> {
    let older = formats().into_iter().filter(|format| *format < FORMAT);
    older.map(Golden::of).collect()
}

/// A golden vault's rows on a simulated disk, and its root.
fn poured(golden: &Golden) -> (Vec<u8>, [u8; 32]) {
    let root = *store(golden.dir.path()).root().expose();
    let disk = SimDisk::default();
    let onto = Store::open_on(
        disk.clone(),
        SeededEnv::shared(1),
        RootKey::take(&mut root.clone()),
        Suite::default(),
        Tuning::default(),
    );
    let onto = onto.expect("a store");
    let mut txn = onto.write().expect("a transaction");
    for (key, value) in rows(golden.dir.path()) {
        txn.put(key, value);
    }
    txn.commit().expect("commits");
    drop(onto);
    (disk.image(), root)
}

fn open(disk: &SimDisk, root: &[u8; 32]) -> Result<Vault> {
    let root = RootKey::take(&mut root.clone());
    let env = SeededEnv::shared(2);
    Vault::open_on(disk.clone(), env, root, Suite::default(), Tuning::default())
}

fn assert_whole(vault: &Vault, golden: &Golden, what: &str) {
    assert_eq!(records(vault), golden.text("records.ndjson"), "{what}");
    assert_eq!(digests(vault), golden.text("digests.txt"), "{what}");
}

#[test]
fn a_migration_cut_at_any_write_is_begun_again_and_loses_nothing() {
    for golden in older() {
        let (image, root) = poured(&golden);
        let mut rng = Rng::new(7);
        let mut cuts = 0;
        for at in 1.. {
            let disk = SimDisk::from_image(image.clone());
            disk.cut_at(at);
            let opened = open(&disk, &root).map(drop);
            if !disk.is_off() {
                assert_eq!(opened, Ok(()));
                break;
            }
            cuts += 1;
            let disk = disk.after_power_loss(&mut rng);
            let vault = open(&disk, &root).expect("opens after the cut");
            assert_whole(&vault, &golden, &format!("cut at {at}"));
        }
        assert!(cuts > 20, "{cuts} cuts");
    }
}

#[test]
fn a_disk_that_is_full_or_fails_during_a_migration_leaves_the_old_vault() {
    for golden in older() {
        let (image, root) = poured(&golden);
        for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
            for at in (1..).step_by(3) {
                let disk = SimDisk::from_image(image.clone());
                disk.fail_at(at, kind);
                let opened = open(&disk, &root);
                if !disk.struck() {
                    break;
                }
                if let Err(error) = opened {
                    assert!(matches!(error, Error::Storage { .. }), "{error}");
                }
                let disk = disk.after_process_death();
                let vault = open(&disk, &root).expect("opens afterwards");
                assert_whole(&vault, &golden, &format!("{kind:?} at {at}"));
            }
        }
    }
}

/// Names in the vault's folder but for the two files and the lock.
fn others(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).expect("a folder").map(|entry| {
        let name = entry.expect("an entry").file_name();
        name.to_string_lossy().into_owned()
    });
    let mut names: Vec<String> = names.filter(|n| n.contains("before")).collect();
    names.sort();
    names
}

#[test]
fn the_old_file_is_kept_until_the_new_one_has_verified() {
    for golden in older() {
        let dir = golden.dir.path();
        let before = store(dir);
        // As after a cut between the copy and the change of format.
        before.keep_before(1).expect("keeps");
        drop(before);
        fs::write(dir.join(format!("{DATA_FILE}.before-1.new")), b"half").expect("writes");
        assert_eq!(others(dir).len(), 2);
        drop(golden.open());
        assert_eq!(others(dir), [""; 0]);
        // As after a cut between the verification and the removal.
        fs::write(dir.join(format!("{DATA_FILE}.before-1")), b"whole").expect("writes");
        drop(golden.open());
        assert_eq!(others(dir), [""; 0]);
    }
}

#[test]
fn a_vault_that_does_not_verify_afterwards_opens_and_keeps_the_old_file() {
    for golden in older() {
        let dir = golden.dir.path();
        let before = store(dir);
        let mut txn = before.write().expect("a transaction");
        // A seal that its author did not make: what it seals is there all the same.
        let (key, mut seal) = before
            .read()
            .expect("reads")
            .prefix(b"B")
            .expect("reads")
            .next()
            .expect("a batch")
            .expect("a row");
        seal[0] ^= 1;
        txn.put(key, seal);
        txn.commit().expect("commits");
        drop(before);
        for _ in 0..2 {
            let vault = golden.open();
            assert_eq!(records(&vault), golden.text("records.ndjson"));
            assert_eq!(vault.status().expect("a status").migration_failed, Some(1));
            drop(vault);
            assert_eq!(others(dir), [format!("{DATA_FILE}.before-1")]);
        }
        // The old file opens by itself, as it was.
        let old = tempfile::tempdir().expect("a folder");
        fs::copy(dir.join("vault.keys"), old.path().join("vault.keys")).expect("copies");
        let kept = dir.join(format!("{DATA_FILE}.before-1"));
        fs::copy(kept, old.path().join(DATA_FILE)).expect("copies");
        assert_eq!(row(old.path(), b"Mformat"), Some(vec![1, 0, 0, 0]));
    }
}

#[test]
fn a_vault_that_lost_commits_is_not_migrated() {
    for golden in older() {
        let before = store(golden.dir.path());
        let rows: Vec<_> = before
            .read()
            .expect("reads")
            .prefix(b"C")
            .expect("reads")
            .collect();
        let mut txn = before.write().expect("a transaction");
        let (key, _) = rows[rows.len() / 2].clone().expect("a row");
        txn.delete(key);
        txn.commit().expect("commits");
        drop(before);
        let unlock = Unlock::Passphrase(OWNER_PASSPHRASE);
        let opened = Vault::open(golden.dir.path(), SystemEnv::shared(), unlock);
        assert!(matches!(opened, Err(Error::Integrity { .. })), "{opened:?}");
        assert_eq!(row(golden.dir.path(), b"Mformat"), Some(vec![1, 0, 0, 0]));
    }
}

#[test]
fn a_vault_of_a_newer_format_is_refused_and_stays_as_it_is() {
    let golden = Golden::of(1);
    let dir = golden.dir.path();
    drop(golden.open());
    let newer = store(dir);
    let mut txn = newer.write().expect("a transaction");
    txn.put(*b"Mformat", (FORMAT + 1).to_le_bytes());
    txn.put(*b"z a row of another kind", *b"whatever it means");
    txn.commit().expect("commits");
    drop(newer);
    let before = rows(dir);
    let unlock = Unlock::Passphrase(OWNER_PASSPHRASE);
    let error = Vault::open(dir, SystemEnv::shared(), unlock).expect_err("too new");
    let known = FORMAT;
    let (what, found) = ("the vault", FORMAT + 1);
    assert_eq!(error, Error::TooNew { what, found, known });
    assert!(error.to_string().contains("upgrade"), "{error}");
    assert!(rows(dir) == before);
    assert_eq!(others(dir), [""; 0]);
}
