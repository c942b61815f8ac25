//! Sticks that are pulled, full, read-only, damaged, tampered with or restored.

use super::{World, copy_all, exchange, files, files_of, has_note, note};
use medsync_core::env::SystemEnv;
use medsync_core::store::Unlock;
use medsync_core::vault::Vault;
use medsync_core::vault::exchange::{Disk, Folder, Outgoing};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

/// A folder that fails from its `left`th write on, half-way through a file.
struct Pulled {
    disk: Disk,
    left: usize,
    kind: ErrorKind,
}

impl Folder for Pulled {
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn read(&self, path: &str, max: usize) -> io::Result<Vec<u8>> {
        self.disk.read(path, max)
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        if self.left == 0 {
            if self.kind == ErrorKind::BrokenPipe {
                self.disk
                    .write(&format!("{path}.new"), &bytes[..bytes.len() / 2])?;
            }
            return Err(self.kind.into());
        }
        self.left -= 1;
        self.disk.write(path, bytes)
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        if self.left == 0 {
            return Err(self.kind.into());
        }
        self.disk.remove(path)
    }
}

fn pulled(world: &World, left: usize, kind: ErrorKind) -> Pulled {
    let disk = Disk::new(&world.folder);
    Pulled { disk, left, kind }
}

#[test]
fn a_stick_pulled_at_any_write_does_no_harm() {
    for left in 0..6 {
        let mut world = World::new(2);
        note(&mut world.vaults[0], "p1", "a", "first");
        world.converge();
        note(&mut world.vaults[0], "p2", "b", "second");
        note(&mut world.vaults[1], "p3", "c", "third");
        world.join();
        let mut stick = pulled(&world, left, ErrorKind::BrokenPipe);
        let done = world.vaults[0].exchange_over(&mut stick, &mut |_| {});
        let first = done.is_err();
        // The others go on with what lies there.
        for no in [1, 2] {
            let report = world.exchange(no);
            let damaged = report
                .problems
                .iter()
                .any(|p| !p.what.contains("not sealed"));
            assert!(!damaged, "after {left} writes: {report:?}");
        }
        world.converge();
        world.assert_equal();
        assert!(first || left >= 4, "{left} writes were enough");
        assert!(
            files_of(&world.dir_of(0), "")
                .iter()
                .all(|p| p.extension().is_some_and(|e| e == "age"))
        );
    }
}

#[test]
fn a_full_stick_is_an_error_and_loses_nothing() {
    for left in 0..4 {
        let mut world = World::new(2);
        note(&mut world.vaults[1], "p1", "theirs", "there already");
        world.exchange(1);
        note(&mut world.vaults[0], "p1", "ours", "no room");
        let mut stick = pulled(&world, left, ErrorKind::StorageFull);
        let error = world.vaults[0]
            .exchange_over(&mut stick, &mut |_| {})
            .expect_err("full");
        assert!(error.to_string().contains("full"), "{error}");
        // What was there is taken up all the same.
        assert!(has_note(&world.vaults[0], "theirs"));
        world.converge();
        world.assert_equal();
    }
}

#[test]
fn from_a_folder_that_only_reads_is_taken_up() {
    for kind in [ErrorKind::ReadOnlyFilesystem, ErrorKind::PermissionDenied] {
        let mut world = World::new(2);
        note(&mut world.vaults[1], "p1", "theirs", "there already");
        world.exchange(1);
        note(&mut world.vaults[0], "p1", "ours", "stays here");
        let before = files(&world.folder);
        let mut stick = pulled(&world, 0, kind);
        let report = world.vaults[0]
            .exchange_over(&mut stick, &mut |_| {})
            .expect("takes up");
        assert_eq!(report.outgoing, Outgoing::ReadOnlyFolder);
        assert!(report.received.commits > 0 && has_note(&world.vaults[0], "theirs"));
        assert_eq!(files(&world.folder), before);
    }
}

/// A world in which the first device left something for the second.
fn left() -> (World, Vec<PathBuf>) {
    let mut world = World::new(2);
    note(&mut world.vaults[0], "p1", "a", "first");
    world.exchange(0);
    let files = files(&world.dir_of(0)).into_keys();
    // Heads of audit logs are no records: a file of them that cannot be read is passed over.
    let files = files.filter(|path| !path.ends_with("heads.age")).collect();
    (world, files)
}

/// After the damage the second device is unharmed, and once the first came again, complete.
fn heals(world: &mut World, what: &str) {
    world.exchange(1);
    world.exchange(0);
    let report = world.exchange(1);
    assert_eq!(report.received.quarantined, 0, "{what}");
    assert!(has_note(&world.vaults[1], "a"), "{what}: {report:?}");
    world.converge();
    world.assert_equal();
}

#[test]
fn every_file_cut_anywhere_flipped_or_gone_is_noticed_and_healed() {
    for no in 0..3 {
        let (mut world, all) = left();
        assert_eq!(all.len(), 3);
        let path = &all[no];
        // Batches and keys stand for themselves; neither is of use without the other.
        let is_marks = path.ends_with("marks.age");
        let whole = fs::read(path).expect("a file");
        let mut damaged: Vec<Vec<u8>> = Vec::new();
        let len = whole.len();
        for cut in [0, 1, 20, 100, len / 2, len - 17, len - 1] {
            damaged.push(whole[..cut].to_vec());
        }
        for at in (0..len).step_by(len / 40) {
            damaged.push(whole.clone());
            damaged.last_mut().expect("just put")[at] ^= 0x10;
        }
        for bytes in damaged {
            fs::write(path, &bytes).expect("writes");
            let report = world.exchange(1);
            assert!(
                !report.problems.is_empty(),
                "{path:?}, {} bytes",
                bytes.len()
            );
            assert_eq!(report.received.quarantined, 0);
            assert_eq!(has_note(&world.vaults[1], "a"), is_marks);
        }
        fs::remove_file(path).expect("removes");
        let report = world.exchange(1);
        // Keys that are gone show in the commits that wait for them.
        let waits = report.received.pending > 0;
        assert!(!report.problems.is_empty() || waits, "{path:?}: {report:?}");
        assert_eq!(has_note(&world.vaults[1], "a"), is_marks);
        fs::write(path, &whole).expect("writes");
        world.exchange(1);
        assert!(has_note(&world.vaults[1], "a"));
        heals(&mut world, "damage");
    }
}

#[test]
fn damaged_files_of_ones_own_are_written_again() {
    let (world, all) = left();
    drop(world);
    for no in 0..all.len() {
        for how in ["cut", "flip", "gone", "grown"] {
            let (mut world, all) = left();
            let mut bytes = fs::read(&all[no]).expect("a file");
            let mid = bytes.len() / 2;
            match how {
                "cut" => bytes.truncate(mid),
                "grown" => bytes.extend([0; 100]),
                _ => bytes[mid] ^= 1,
            }
            fs::write(&all[no], &bytes).expect("writes");
            if how == "gone" {
                fs::remove_file(&all[no]).expect("removes");
            }
            heals(&mut world, how);
        }
    }
}

#[test]
fn files_swapped_between_devices_and_junk_stop_nothing() {
    let (mut world, _) = left();
    world.join();
    note(&mut world.vaults[2], "p9", "z", "third");
    world.exchange(2);
    let dirs = [world.dir_of(0), world.dir_of(2)];
    for start in ["marks", "keys", "batches"] {
        let [a, b] = dirs.each_ref().map(|d| files_of(d, start).remove(0));
        let [x, y] = [&a, &b].map(|p| fs::read(p).expect("a file"));
        fs::write(a, y).expect("writes");
        fs::write(b, x).expect("writes");
    }
    fs::write(dirs[0].join("batches-000099.age"), b"junk").expect("writes");
    fs::create_dir(dirs[0].join("keys-000098.age")).expect("a folder");
    fs::write(dirs[0].join("notes.txt"), b"junk").expect("writes");
    let report = world.exchange(1);
    assert!(report.problems.len() >= 4, "{report:?}");
    assert!(has_note(&world.vaults[1], "a"));
    fs::remove_dir(dirs[0].join("keys-000098.age")).expect("removes");
    heals(&mut world, "swapped");
}

#[test]
fn a_folder_from_a_backup_is_noticed_and_never_believed() {
    let (mut world, _) = left();
    world.converge();
    let old = world.home.path().join("old");
    copy_all(&world.folder, &old);
    note(&mut world.vaults[0], "p1", "b", "later");
    note(&mut world.vaults[1], "p1", "c", "later");
    world.converge();
    // The second sees the old folder: the first seems to lack what it has.
    let report = exchange(&mut world.vaults[1], &old).expect("exchanges");
    assert_eq!(report.rolled_back, [world.vaults[0].device_key()]);
    assert_eq!(report.sent_commits, 0, "{report:?}");
    let report = exchange(&mut world.vaults[0], &old).expect("exchanges");
    assert_eq!((report.sent_commits, report.rolled_back.len()), (0, 0));
    world.converge();
    world.assert_equal();
}

#[test]
fn a_vault_from_a_backup_gets_back_what_it_lost() {
    let (mut world, _) = left();
    world.converge();
    let dirs = ["v1", "v1-backup"].map(|name| world.home.path().join(name));
    // The backup is made while the vault is closed.
    world.vaults.truncate(1);
    copy_all(&dirs[0], &dirs[1]);
    let open = || {
        let unlock = Unlock::Passphrase("correct horse");
        Vault::open(&dirs[0], SystemEnv::shared(), unlock).expect("opens")
    };
    world.vaults.push(open());
    note(&mut world.vaults[1], "p1", "lost", "after the backup");
    note(&mut world.vaults[0], "p1", "more", "of the other");
    world.converge();
    world.vaults.truncate(1);
    fs::remove_dir_all(&dirs[0]).expect("removes");
    copy_all(&dirs[1], &dirs[0]);
    world.vaults.push(open());
    assert!(!has_note(&world.vaults[1], "lost"));
    let (own, replica) = (world.vaults[1].device_key(), world.vaults[1].replica());
    let report = world.exchange(1);
    assert_eq!(report.rolled_back, [own]);
    // More may have been written than comes back: it writes on under another name.
    assert_ne!(world.vaults[1].replica(), replica);
    let report = world.exchange(0);
    assert_eq!(
        report.rolled_back,
        Vec::new(),
        "its marks are its newest word"
    );
    assert!(report.sent_commits >= 2, "{report:?}");
    let replica = world.vaults[1].replica();
    let report = world.exchange(1);
    assert_eq!(report.rolled_back, []);
    assert_eq!(world.vaults[1].replica(), replica);
    note(&mut world.vaults[1], "p1", "on", "under the new name");
    assert!(has_note(&world.vaults[1], "lost") && has_note(&world.vaults[1], "more"));
    world.converge();
    world.assert_equal();
}
