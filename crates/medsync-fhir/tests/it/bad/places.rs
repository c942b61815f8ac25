//! Wrong secrets, vaults that are open elsewhere, folders that are not what they should be.

use super::*;

#[test]
fn another_persons_pin_and_a_wrong_passphrase_open_nothing() {
    let mut world = desk();
    let kdf = Kdf::for_tests();
    let add = |vault: &mut Vault, name: &str, pin: &[u8], own: Option<&[u8]>| {
        vault
            .add_person(name, &[Role::Clinician], pin, own, kdf)
            .expect("a key")
    };
    let vault = &mut world.devices[0].vault;
    let bala = add(vault, "Bala", b"1111", Some(b"0000"));
    let chandra = add(vault, "Chandra", b"2222", None);
    let error = refused(&mut world.devices[0], |vault| {
        vault.unlock(&bala, Some(b"2222"))
    });
    assert!(matches!(error, Error::WrongSecret(_)), "{error:?}");
    let error = refused(&mut world.devices[0], |vault| vault.unlock(&chandra, None));
    assert!(matches!(error, Error::Locked(_)), "{error:?}");
    // Whoever was unlocked still is.
    let vault = &mut world.devices[0].vault;
    assert_eq!(vault.author(), Some(vault.owner()));
    vault.unlock(&bala, Some(b"1111")).expect("unlocks");
    let device = world.devices.remove(0);
    let (dir, before) = (device.dir.clone(), device.digests());
    let error = open(&dir, PASSPHRASE).expect_err("open already");
    assert_eq!(error, Error::Busy);
    let env = device.env.clone();
    drop(device.vault);
    let error = open(&dir, "correct horsf").expect_err("another passphrase");
    assert!(matches!(error, Error::WrongSecret(_)), "{error:?}");
    let vault = open(&dir, PASSPHRASE).expect("opens");
    let device = Device { vault, env, dir };
    assert_eq!(device.digests(), before);
}

fn open(dir: &Path, passphrase: &str) -> Result<Vault, Error> {
    let env = std::sync::Arc::new(SeededEnv::new(3));
    Vault::open(dir, env, Unlock::Passphrase(passphrase))
}

/// A stick with its lock on.
struct ReadOnly(Disk);

impl Folder for ReadOnly {
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }

    fn read(&self, path: &str, max: usize) -> io::Result<Vec<u8>> {
        self.0.read(path, max)
    }

    fn write(&mut self, _: &str, _: &[u8]) -> io::Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn remove(&mut self, _: &str) -> io::Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }
}

#[test]
fn a_read_only_stick_is_taken_up_and_says_that_nothing_was_left() {
    let mut world = World::of(&["Bala"]);
    world.converge();
    world.devices[0].put(&patient("p"));
    world.devices[1].put(&patient("q"));
    let stick = tempfile::tempdir().expect("a folder");
    world.devices[0].exchange(stick.path());
    let before = files(stick.path());
    let mut folder = ReadOnly(Disk::new(stick.path()));
    let report = world.devices[1]
        .vault
        .exchange_over(&mut folder, &mut |_| {});
    let report = report.expect("exchanges");
    assert_eq!(report.outgoing, Outgoing::ReadOnlyFolder);
    assert_eq!(world.devices[1].view("Patient/p"), json(&patient("p")));
    assert_eq!(files(stick.path()), before);
    world.converge();
    assert_eq!(world.devices[0].view("Patient/q"), json(&patient("q")));
}

#[test]
fn a_folder_full_of_strangers_files_is_left_as_it_is_and_used_all_the_same() {
    let mut world = World::of(&["Bala"]);
    let mut other = World::alone_as(77);
    other.devices[0].put(&patient("theirs"));
    let stick = tempfile::tempdir().expect("a folder");
    other.devices[0].exchange(stick.path());
    let at = |name: &str| stick.path().join(name);
    for name in ["holiday.jpg", "medsync-exchange/notes.txt", "marks.age"] {
        std::fs::write(at(name), [0xff; 4096]).expect("a file");
    }
    world.devices[0].put(&patient("p"));
    world.devices[0].exchange(stick.path());
    // Among our own files, too.
    let ours = files(stick.path());
    let marks = ours.keys().filter(|p| p.ends_with("marks.age"));
    for path in marks.filter(|p| p.components().count() > at("a").components().count()) {
        for name in [
            "autorun.inf",
            "batches-000099.age",
            "keys-000099.age",
            "batches-1.age",
        ] {
            std::fs::write(path.with_file_name(name), [0xff; 4096]).expect("a file");
        }
    }
    let strange = files(stick.path());
    let report = world.devices[1].exchange(stick.path());
    assert!(!report.problems.is_empty());
    assert_eq!(world.devices[1].view("Patient/p"), json(&patient("p")));
    assert_eq!(world.devices[1].vault.read(&id("Patient/theirs")), Ok(None));
    for (path, bytes) in strange {
        assert!(
            std::fs::read(&path).is_ok_and(|now| now == bytes),
            "{path:?}"
        );
    }
    other.devices[0].exchange(stick.path());
    other.devices[0].assert_sound();
    world.converge();
}
