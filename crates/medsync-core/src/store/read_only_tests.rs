//! A vault in a folder that can only be read. Nothing stops root, so a process of nobody's opens it.

use super::*;
use crate::crypto::{Kdf, Suite, Words};
use crate::env::SystemEnv;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

const NOBODY: u32 = 65_534;
const PASSPHRASE: &str = "open sesame";
/// Tells the second process which vault to open.
const VAULT: &str = "MEDSYNC_TEST_READ_ONLY_VAULT";

fn open(dir: &Path) -> Result<Store> {
    Store::open(dir, SystemEnv::shared(), Unlock::Passphrase(PASSPHRASE))
}

#[test]
fn a_folder_that_is_read_only_is_said_to_be() {
    if let Some(dir) = std::env::var_os(VAULT) {
        // This is the second process.
        let opened = open(Path::new(&dir)).map(drop);
        let said = matches!(opened, Err(Error::Storage { what, kind: ErrorKind::PermissionDenied })
            if what.contains("writable"));
        assert!(said, "{opened:?}");
        return;
    }
    let home = tempfile::tempdir().expect("a folder");
    let dir = home.path().join("vault");
    let (env, words) = (SystemEnv::shared(), Words::generate(&SystemEnv));
    let (suite, kdf) = (Suite::default(), Kdf::for_tests());
    let made = Store::create(&dir, env, PASSPHRASE, suite, kdf, &words, |_| Ok(()));
    let (store, ()) = made.expect("creates");
    let mut txn = store.write().expect("writes");
    txn.put(*b"key", b"value".to_vec());
    txn.commit().expect("commits");
    drop(store);

    let before = modes(&dir, 0o444, 0o555);
    let ran = second_process(home.path(), &dir);
    let after = modes(&dir, 0o600, 0o700);
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && told.contains("1 passed"), "{told}");
    assert_eq!(before, after);
    let store = open(&dir).expect("opens");
    let kept = store.read().expect("reads").get(b"key").expect("a row");
    assert_eq!(kept.as_deref(), Some(&b"value"[..]));
}

/// Runs this test alone in another process, as nobody if this one is root's.
fn second_process(home: &Path, dir: &Path) -> std::process::Output {
    // Nobody may not look into the folder that the test was built in.
    let copy = home.join("test");
    fs::copy(std::env::current_exe().expect("a path"), &copy).expect("copies");
    let mut command = Command::new(copy);
    command
        .args([
            "--exact",
            "store::read_only_tests::a_folder_that_is_read_only_is_said_to_be",
        ])
        .env(VAULT, dir)
        .current_dir(home);
    if fs::metadata(home).expect("a folder").uid() == 0 {
        fs::set_permissions(home, fs::Permissions::from_mode(0o755)).expect("a mode");
        command.uid(NOBODY).gid(NOBODY);
    }
    command.output().expect("runs")
}

/// Gives a folder and its files these modes; returns what the files hold.
fn modes(dir: &Path, file: u32, folder: u32) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut held = Vec::new();
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        fs::set_permissions(&path, fs::Permissions::from_mode(file)).expect("a mode");
        held.push((path.clone(), fs::read(&path).expect("a file")));
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(folder)).expect("a mode");
    held.sort();
    held
}
