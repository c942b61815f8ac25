//! New keys for a whole store, and every moment at which the power may go meanwhile.

use super::*;
use crate::crypto::{Kdf, Suite, Words};
use crate::env::SystemEnv;
use crate::store::Unlock;
use std::fs;
use std::path::Path;

const OLD: &str = "open sesame";
const NEW: &str = "shut sesame";
const ROWS: u8 = 40;

fn made() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let (env, words) = (SystemEnv::shared(), Words::generate(&SystemEnv));
    let (suite, kdf) = (Suite::default(), Kdf::for_tests());
    let made = Store::create(dir.path(), env, OLD, suite, kdf, &words, |_| Ok(()));
    let (store, ()) = made.expect("creates");
    let mut txn = store.write().expect("writes");
    for n in 0..ROWS {
        txn.put([n], vec![n; 2000]);
    }
    txn.commit().expect("commits");
    dir
}

fn open(dir: &Path, passphrase: &str) -> Result<Store> {
    Store::open(dir, SystemEnv::shared(), Unlock::Passphrase(passphrase))
}

fn rekey(dir: &Path) -> Result<Rekeyed> {
    let words = Words::generate(&SystemEnv);
    let new = NewKeys {
        passphrase: NEW,
        kdf: Kdf::for_tests(),
        recovery: &words,
        wrapper: None,
    };
    open(dir, OLD)?.rekey(&new, &mut |_, row, _| Ok(row), &mut |_, _| {})
}

/// All rows are here, by exactly one of the two passphrases.
#[track_caller]
fn is_whole(dir: &Path) -> &'static str {
    // One after the other: an open one locks the other out.
    let old = open(dir, OLD).map(drop).is_ok();
    let new = open(dir, NEW).map(drop).is_ok();
    let by = match (old, new) {
        (true, false) => OLD,
        (false, true) => NEW,
        _ => panic!("neither or both: {old} {new}"),
    };
    let store = open(dir, by).expect("opens");
    let read = store.read().expect("reads");
    for n in 0..ROWS {
        assert_eq!(read.get(&[n]).expect("reads"), Some(vec![n; 2000]));
    }
    drop(read);
    drop(store);
    assert!(!dir.join(file::new_name(DATA_FILE)).exists());
    assert!(!dir.join(file::new_name(KEY_FILE)).exists());
    by
}

fn copy(from: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), dir.path().join(entry.file_name())).expect("copies");
    }
    dir
}

#[test]
fn every_row_moves_and_the_old_files_open_nothing_new() {
    let dir = made();
    let old = copy(dir.path());
    let store = rekey(dir.path()).expect("rekeys").store;
    let mut txn = store.write().expect("writes");
    txn.put([200], vec![1]);
    txn.commit().expect("commits");
    store.repack().expect("is written anew");
    drop(store.reopen().expect("opens"));
    assert_eq!(is_whole(dir.path()), NEW);
    // The old key file does not open the new data, whatever its passphrase.
    fs::copy(old.path().join(KEY_FILE), dir.path().join(KEY_FILE)).expect("copies");
    let mixed = open(dir.path(), OLD).map(|_| ());
    assert!(matches!(mixed, Err(Error::Integrity { .. })), "{mixed:?}");
}

#[test]
fn a_row_that_cannot_be_changed_leaves_the_old_vault() {
    let dir = made();
    let words = Words::generate(&SystemEnv);
    let new = NewKeys {
        passphrase: NEW,
        kdf: Kdf::for_tests(),
        recovery: &words,
        wrapper: None,
    };
    let mut seen = 0;
    let mut change = |_: &[u8], row: Vec<u8>, _: &RootKey| {
        seen += 1;
        match seen {
            20 => Err(Error::integrity("a row")),
            _ => Ok(row),
        }
    };
    let store = open(dir.path(), OLD).expect("opens");
    assert!(store.rekey(&new, &mut change, &mut |_, _| {}).is_err());
    assert_eq!(is_whole(dir.path()), OLD);
}

/// The states between two writes, made by hand from the files before and after: a power cut leaves
/// one of them, with the file under way at any length.
#[test]
fn a_cut_at_any_step_leaves_the_old_vault_or_the_new_one() {
    let before = made();
    let after = copy(before.path());
    drop(rekey(after.path()).expect("rekeys"));
    let new = |name: &str| fs::read(after.path().join(name)).expect("reads");
    let (data, keys) = (new(DATA_FILE), new(KEY_FILE));
    let path = |dir: &Path, name| dir.join(file::new_name(name));
    for part in 0..=8 {
        let dir = copy(before.path());
        let cut = data.len() * part / 8;
        fs::write(path(dir.path(), DATA_FILE), &data[..cut]).expect("writes");
        assert_eq!(is_whole(dir.path()), OLD, "data cut at {cut}");
    }
    for part in 0..=8 {
        let dir = copy(before.path());
        fs::write(path(dir.path(), DATA_FILE), &data).expect("writes");
        let cut = keys.len() * part / 8;
        fs::write(path(dir.path(), KEY_FILE), &keys[..cut]).expect("writes");
        assert_eq!(is_whole(dir.path()), OLD, "keys cut at {cut}");
    }
    let dir = copy(before.path());
    fs::write(path(dir.path(), DATA_FILE), &data).expect("writes");
    fs::write(dir.path().join(KEY_FILE), &keys).expect("writes");
    let early = open(dir.path(), OLD).map(|_| ());
    assert_eq!(early, Err(Error::WrongSecret("the passphrase")));
    assert_eq!(is_whole(dir.path()), NEW, "only the keys renamed");
    assert_eq!(is_whole(after.path()), NEW);
}

#[test]
fn wrong_passphrases_wait_longer_and_longer_across_restarts() {
    use crate::store::fault::SeededEnv;
    let dir = made();
    let env = std::sync::Arc::new(SeededEnv::new(1));
    let open = |passphrase| {
        let unlock = Unlock::Passphrase(passphrase);
        Store::open(dir.path(), env.clone(), unlock).map(|_| ())
    };
    for _ in 0..3 {
        assert_eq!(open("wrong"), Err(Error::WrongSecret("the passphrase")));
    }
    let wait = |seconds| Error::Wait {
        what: "the passphrase",
        seconds,
    };
    // The right one waits too: otherwise the answer would tell which it is.
    assert_eq!(open(OLD), Err(wait(1)));
    env.advance_ms(1000);
    assert_eq!(open("wrong"), Err(Error::WrongSecret("the passphrase")));
    assert_eq!(open(OLD), Err(wait(2)));
    env.advance_ms(-3_600_000);
    assert_eq!(open(OLD), Err(wait(2)));
    env.advance_ms(2000);
    assert_eq!(open(OLD), Ok(()));
    // And with that it is forgotten.
    assert_eq!(open("wrong"), Err(Error::WrongSecret("the passphrase")));
    assert_eq!(open(OLD), Ok(()));
    fs::write(dir.path().join(file::TRIES_FILE), b"garbage").expect("writes");
    assert_eq!(open(OLD), Err(wait(32)));
    env.advance_ms(32_000);
    assert_eq!(open(OLD), Ok(()));
}
