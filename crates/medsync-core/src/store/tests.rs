//! The store as its callers meet it, on a real file system.

use super::fault::{Rng, SeededEnv, SimDisk};
use super::*;
use crate::crypto::Secret;
use crate::env::SystemEnv;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;

const KDF: Kdf = Kdf::for_tests();

/// Room for some commits between two checkpoints.
const TUNING: Tuning = Tuning {
    cache_bytes: 1 << 20,
    journal_bytes: 64 * 1024,
};

/// A canary: no file of a vault may hold it in clear.
const CANARY: &[u8] = b"canary:penicillin-allergy";

struct Vault {
    dir: tempfile::TempDir,
    words: Words,
}

impl Vault {
    fn new(suite: Suite) -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let words = Words::generate(&SystemEnv);
        let env = SystemEnv::shared();
        let nothing = |_: &Store| Ok(());
        let store = Store::create(dir.path(), env, "open sesame", suite, KDF, &words, nothing);
        let (store, ()) = store.expect("creates");
        for round in 0..20_u8 {
            put(&store, &[&[round][..], CANARY].concat(), &[round; 3000]).expect("commits");
        }
        Self { dir, words }
    }

    fn open(&self) -> Result<Store> {
        self.open_by(Unlock::Passphrase("open sesame"))
    }

    fn open_by(&self, unlock: Unlock<'_>) -> Result<Store> {
        Store::open(self.dir.path(), SystemEnv::shared(), unlock)
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join(DATA_FILE)
    }
}

fn put(store: &Store, key: &[u8], value: &[u8]) -> Result<()> {
    let mut txn = store.write()?;
    txn.put(key, value);
    txn.commit()
}

fn no_more<T>(result: Result<T>) -> Result<()> {
    result.map(|_| ())
}

#[test]
fn a_vault_opens_again_by_each_of_its_keys() {
    for suite in [Suite::Xaes256Gcm, Suite::XChaCha20Poly1305] {
        let vault = Vault::new(suite);
        let store = vault.open().expect("opens");
        let root = RootKey::fill_with(|out| out.copy_from_slice(store.root().expose()));
        let txn = store.read().expect("reads");
        assert_eq!(txn.prefix(&[]).expect("lists").count(), 20);
        let len = txn.with(&[&[7][..], CANARY].concat(), <[u8]>::len);
        assert_eq!(len, Ok(Some(3000)));
        assert_eq!(txn.get(b"none"), Ok(None));
        drop(store);
        assert!(vault.open_by(Unlock::Recovery(&vault.words)).is_ok());
        assert!(vault.open_by(Unlock::Root(&root)).is_ok());
        for unlock in [
            Unlock::Passphrase("open says me"),
            Unlock::Recovery(&Words::generate(&SystemEnv)),
            Unlock::Root(&Secret::random(&SystemEnv)),
        ] {
            assert!(matches!(vault.open_by(unlock), Err(Error::WrongSecret(_))));
        }
    }
}

#[test]
fn changed_secrets_take_effect_at_once() {
    let vault = Vault::new(Suite::default());
    let store = vault.open().expect("opens");
    store.change_passphrase("another", KDF).expect("changes");
    let words = Words::generate(&SystemEnv);
    store.new_recovery(&words).expect("changes");
    drop(store);
    assert!(matches!(vault.open(), Err(Error::WrongSecret(_))));
    let old = vault.open_by(Unlock::Recovery(&vault.words));
    assert!(matches!(old, Err(Error::WrongSecret(_))));
    assert!(vault.open_by(Unlock::Passphrase("another")).is_ok());
    assert!(vault.open_by(Unlock::Recovery(&words)).is_ok());
}

#[test]
fn threads_may_share_a_store_and_secrets_are_not_printed() {
    const fn shared<T: Send + Sync>() {}
    const fn sent<T: Send>() {}
    shared::<Store>();
    shared::<ReadTxn>();
    sent::<WriteTxn>();
    sent::<Entries<'_>>();
    let shown = format!("{:?}", Unlock::Passphrase("open sesame"));
    assert_eq!(shown, "Passphrase(hidden)");
}

#[test]
fn what_an_interrupted_change_left_is_removed() {
    let vault = Vault::new(Suite::default());
    let left = vault.dir.path().join("vault.keys.new");
    fs::write(&left, b"half").expect("writes");
    assert!(vault.open().is_ok());
    assert!(!left.exists());
}

#[test]
fn nothing_stands_in_clear() {
    let vault = Vault::new(Suite::default());
    for entry in fs::read_dir(vault.dir.path()).expect("lists") {
        let bytes = fs::read(entry.expect("entry").path()).expect("reads");
        assert!(!bytes.windows(CANARY.len()).any(|w| w == CANARY));
        assert!(!bytes.windows(4).any(|w| w == b"redb"));
    }
}

#[test]
fn a_second_opening_is_refused_while_the_first_lasts() {
    let vault = Vault::new(Suite::default());
    let store = vault.open().expect("opens");
    assert_eq!(no_more(vault.open()), Err(Error::Busy));
    let status = Command::new(std::env::current_exe().expect("this test"))
        .args([
            "--exact",
            "store::tests::child_finds_the_vault_busy",
            "--ignored",
        ])
        .env("MEDSYNC_TEST_VAULT", vault.dir.path())
        .output()
        .expect("runs");
    assert!(status.status.success(), "{status:?}");
    assert!(String::from_utf8_lossy(&status.stdout).contains("1 passed"));
    // Nor does it help to remove the lock's file: redb locks its own as well.
    fs::remove_file(vault.dir.path().join(LOCK_FILE)).expect("removes");
    assert_eq!(no_more(vault.open()), Err(Error::Busy));
    drop(store);
    assert!(vault.open().is_ok());
}

#[test]
#[ignore = "run by the test above, in a process of its own"]
fn child_finds_the_vault_busy() {
    let dir = PathBuf::from(std::env::var_os("MEDSYNC_TEST_VAULT").expect("the parent's vault"));
    let opened = Store::open(&dir, SystemEnv::shared(), Unlock::Passphrase("open sesame"));
    assert_eq!(no_more(opened), Err(Error::Busy));
}

#[test]
fn a_vault_whose_first_rows_fail_is_none_and_is_made_again() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let words = Words::generate(&SystemEnv);
    let create = |fails: bool| {
        let first = |store: &Store| {
            put(store, b"first", b"row")?;
            if fails {
                return Err(Error::invalid("a cut"));
            }
            Ok(())
        };
        let (env, suite) = (SystemEnv::shared(), Suite::default());
        Store::create(dir.path(), env, "open sesame", suite, KDF, &words, first)
    };
    let open = || {
        let unlock = Unlock::Passphrase("open sesame");
        Store::open(dir.path(), SystemEnv::shared(), unlock)
    };
    assert_eq!(no_more(create(true)), Err(Error::invalid("a cut")));
    assert_eq!(no_more(open()), Err(Error::NotFound("vault")));
    drop(create(false).expect("starts over"));
    let store = open().expect("opens");
    let row = store.read().expect("reads").get(b"first");
    assert_eq!(row, Ok(Some(b"row".to_vec())));
}

#[test]
fn no_vault_and_no_second_vault() {
    let vault = Vault::new(Suite::default());
    let create = |dir: &Path| {
        let env = SystemEnv::shared();
        no_more(Store::create(
            dir,
            env,
            "x",
            Suite::default(),
            KDF,
            &vault.words,
            |_| Ok(()),
        ))
    };
    assert!(matches!(
        create(vault.dir.path()),
        Err(Error::Invalid { .. })
    ));
    // A lost key file is no reason to overwrite the data.
    fs::rename(
        vault.dir.path().join(KEY_FILE),
        vault.dir.path().join("lost"),
    )
    .expect("moves");
    assert_eq!(no_more(vault.open()), Err(Error::NotFound("vault")));
    assert!(matches!(
        create(vault.dir.path()),
        Err(Error::Invalid { .. })
    ));
    // An interrupted creation is.
    fs::rename(
        vault.dir.path().join("lost"),
        vault.dir.path().join("vault.keys.new"),
    )
    .expect("moves");
    assert_eq!(create(vault.dir.path()), Ok(()));
    let empty = vault.dir.path().join("empty");
    let opened = Store::open(&empty, SystemEnv::shared(), Unlock::Passphrase("x"));
    assert_eq!(no_more(opened), Err(Error::NotFound("vault")));
    assert!(!empty.exists());
}

#[test]
fn a_truncated_data_file_is_an_error_at_every_length() {
    let vault = Vault::new(Suite::default());
    let good = fs::read(vault.data()).expect("reads");
    let mut rng = Rng::new(1);
    let some = (0..60).map(|_| rng.below(good.len() as u64) as usize);
    for len in [0, 1, 4095, 4096, 20479, 20480, 20481]
        .into_iter()
        .chain(some)
    {
        fs::write(vault.data(), &good[..len]).expect("writes");
        let root = vault.open();
        assert!(
            matches!(root, Err(Error::Integrity { .. })),
            "{len}: {root:?}"
        );
    }
    fs::remove_file(vault.data()).expect("removes");
    assert!(matches!(vault.open(), Err(Error::Integrity { .. })));
}

/// Opens an image without the cost of a passphrase.
fn open_image(image: Vec<u8>) -> Result<Store> {
    let root = RootKey::take(&mut [1; 32]);
    let env = SeededEnv::shared(2);
    Store::open_on(
        SimDisk::from_image(image),
        env,
        root,
        Suite::default(),
        TUNING,
    )
}

fn image_with(disk: &SimDisk, rounds: std::ops::Range<u8>) -> Vec<u8> {
    let root = RootKey::take(&mut [1; 32]);
    let env = SeededEnv::shared(rounds.start.into());
    let store = Store::open_on(disk.clone(), env, root, Suite::default(), TUNING);
    let store = store.expect("opens");
    for round in rounds {
        put(&store, &[round % 10], &[round; 9000]).expect("commits");
    }
    drop(store);
    disk.image()
}

fn contents(store: &Store) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    store.read()?.prefix(&[])?.collect()
}

#[test]
fn flipped_bits_are_found_or_change_nothing() {
    let good = image_with(&SimDisk::default(), 0..30);
    let expected = open_image(good.clone())
        .and_then(|s| contents(&s))
        .expect("opens");
    let mut rng = Rng::new(3);
    let mut found = 0;
    for _ in 0..300 {
        let mut bad = good.clone();
        // Half of them where the newest header and first pages are.
        let limit = if rng.one_in(2) {
            40_000 + u64::from(TUNING.journal_bytes)
        } else {
            good.len() as u64
        };
        let at = rng.below(limit) as usize;
        bad[at] ^= 1 << rng.below(8);
        match open_image(bad).and_then(|s| contents(&s)) {
            Ok(same) => assert_eq!(same, expected, "byte {at}"),
            Err(error) => {
                assert!(
                    matches!(error, Error::Integrity { .. } | Error::TooNew { .. }),
                    "{error}"
                );
                found += 1;
            }
        }
    }
    assert!(
        found > 20,
        "{found} of 300 flips hit something that is used"
    );
}

#[test]
fn an_old_page_put_back_is_found() {
    const STRIDE: usize = 4136;
    let disk = SimDisk::default();
    let old = image_with(&disk, 0..30);
    let new = image_with(&disk, 30..60);
    let expected = open_image(new.clone())
        .and_then(|s| contents(&s))
        .expect("opens");
    let mut found = 0;
    let first = 20_480 + TUNING.journal_bytes as usize;
    let blocks = (first..old.len().min(new.len())).step_by(STRIDE);
    for at in blocks.filter(|at| old.get(*at..*at + STRIDE) != new.get(*at..*at + STRIDE)) {
        let (Some(page), mut bad) = (old.get(at..at + STRIDE), new.clone()) else {
            continue;
        };
        bad[at..at + STRIDE].copy_from_slice(page);
        match open_image(bad).and_then(|s| contents(&s)) {
            Ok(same) => assert_eq!(same, expected, "page at {at}"),
            Err(Error::Integrity { .. }) => found += 1,
            Err(error) => panic!("page at {at}: {error}"),
        }
    }
    assert!(found > 5, "{found} pages that are in use were put back");
}

#[test]
fn files_of_two_vaults_do_not_mix() {
    let (one, two) = (Vault::new(Suite::default()), Vault::new(Suite::default()));
    fs::copy(one.data(), two.data()).expect("copies");
    let said = no_more(two.open()).expect_err("differs").to_string();
    assert!(said.contains("different vaults"), "{said}");
}

#[test]
fn a_failed_commit_stops_the_store() {
    for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
        for op in 1..12 {
            let disk = SimDisk::from_image(image_with(&SimDisk::default(), 0..5));
            let store = {
                let root = RootKey::take(&mut [1; 32]);
                let env = SeededEnv::shared(op);
                Store::open_on(disk.clone(), env, root, Suite::default(), TUNING)
            };
            let store = store.expect("opens");
            let before = contents(&store).expect("lists");
            disk.fail_at(op, kind);
            if put(&store, b"new", &[9; 20_000]).is_ok() {
                continue;
            }
            let refused = put(&store, b"newer", b"");
            assert!(matches!(refused, Err(Error::Storage { .. })));
            assert!(matches!(store.read(), Err(Error::Storage { .. })));
            drop(store);
            let after = open_image(disk.image())
                .and_then(|s| contents(&s))
                .expect("opens again");
            let whole = after.len() == before.len() + 1;
            assert!(whole || after == before, "{kind:?} at {op}");
        }
    }
}

#[test]
fn a_file_of_format_1_has_no_journal_and_works() {
    let disk = SimDisk::default();
    let open = |disk: &SimDisk| {
        let (root, env) = (RootKey::take(&mut [1; 32]), SystemEnv::shared());
        let tuning = Tuning {
            journal_bytes: 0,
            ..TUNING
        };
        Store::open_on(disk.clone(), env, root, Suite::default(), tuning).expect("opens")
    };
    put(&open(&disk), b"a", b"1").expect("commits");
    assert_eq!(disk.image()[8..12], [1, 0, 0, 0]);
    let store = open(&disk);
    put(&store, b"b", b"2").expect("commits");
    // Durable at once, though nothing is closed.
    let after = open(&disk.after_power_loss(&mut Rng::new(1)));
    assert_eq!(contents(&after).map(|rows| rows.len()), Ok(2));
}

#[test]
fn a_failed_read_ends_a_commit_with_an_error_and_no_wait() {
    let image = image_with(&SimDisk::default(), 0..30);
    let mut failed = 0;
    for n in 1..40 {
        let disk = SimDisk::from_image(image.clone());
        let (root, env) = (RootKey::take(&mut [1; 32]), SeededEnv::shared(n));
        let tuning = Tuning {
            cache_bytes: 0,
            ..TUNING
        };
        let store = Store::open_on(disk.clone(), env, root, Suite::default(), tuning);
        let store = store.expect("opens");
        let before = contents(&store).expect("lists");
        disk.fail_read_at(n, ErrorKind::Other);
        // By the tree, by the journal, and at closing.
        let large = put(&store, b"large", &[9; 40_000]).is_ok();
        let small = put(&store, b"small", &[9; 100]).is_ok();
        drop(store);
        failed += u64::from(disk.struck());
        disk.calm();
        let after = open_image(disk.image()).and_then(|s| contents(&s));
        let after = after.expect("opens again");
        let new = u64::from(large) + u64::from(small);
        assert!(after.len() as u64 >= before.len() as u64 + new, "read {n}");
    }
    assert!(failed > 10, "{failed} reads failed");
}

#[test]
fn readers_keep_their_view_and_writers_see_their_own() {
    let store = Store::in_memory(SystemEnv::shared()).expect("opens");
    put(&store, b"a", b"1").expect("commits");
    let view = store.read().expect("reads");
    let mut txn = store.write().expect("writes");
    txn.put(*b"a", *b"2");
    txn.put(*b"b", *b"3");
    assert_eq!(txn.get(b"a"), Ok(Some(b"2".to_vec())));
    assert_eq!(store.read().and_then(|r| r.get(b"b")), Ok(None));
    txn.commit().expect("commits");
    assert_eq!(view.get(b"a"), Ok(Some(b"1".to_vec())));
    let mut txn = store.write().expect("writes");
    txn.delete(*b"a");
    drop(txn);
    assert_eq!(
        store.read().and_then(|r| r.get(b"a")),
        Ok(Some(b"2".to_vec()))
    );
    store.stop();
    assert!(store.read().is_err() && store.write().is_err());
}

#[test]
fn a_writer_that_waited_out_a_failure_does_not_commit() {
    let store = Store::in_memory(SystemEnv::shared()).expect("opens");
    let mut txn = store.write().expect("writes");
    txn.put(*b"a", *b"1");
    store.stop();
    assert!(matches!(txn.commit(), Err(Error::Storage { .. })));
}

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn key() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(255)], 0..4)
}

fn edits() -> impl Strategy<Value = Vec<(Vec<u8>, Option<u8>)>> {
    proptest::collection::vec((key(), proptest::option::of(any::<u8>())), 0..30)
}

fn apply(model: &mut Model, txn: &mut WriteTxn, edits: Vec<(Vec<u8>, Option<u8>)>) {
    for (key, value) in edits {
        match value {
            Some(value) => {
                txn.put(key.clone(), [value]);
                model.insert(key, vec![value]);
            }
            None => {
                txn.delete(key.clone());
                model.remove(&key);
            }
        }
    }
}

fn within(model: &Model, keep: impl Fn(&[u8]) -> bool) -> Vec<(Vec<u8>, Vec<u8>)> {
    let kept = model.iter().filter(|(key, _)| keep(key));
    kept.map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_transaction_lists_what_an_ordinary_map_would(
        first in edits(),
        second in edits(),
        (start, end, prefix) in (key(), key(), key()),
        turns in proptest::collection::vec(any::<bool>(), 40),
    ) {
        let store = Store::in_memory(SystemEnv::shared()).expect("opens");
        let mut model = Model::new();
        let mut txn = store.write().expect("writes");
        apply(&mut model, &mut txn, first);
        txn.commit().expect("commits");
        let mut txn = store.write().expect("writes");
        apply(&mut model, &mut txn, second);

        let ranged = within(&model, |key| key >= &start[..] && key < &end[..]);
        let prefixed = within(&model, |key| key.starts_with(&prefix));
        let list = |entries: Result<Entries<'_>>| entries.and_then(Iterator::collect::<Result<Vec<_>>>);
        prop_assert_eq!(list(txn.range(&start, &end)), Ok(ranged.clone()));
        prop_assert_eq!(list(txn.prefix(&prefix)), Ok(prefixed.clone()));
        let mut backward: Vec<_> = txn.prefix(&prefix)?.rev().collect::<Result<_>>()?;
        backward.reverse();
        prop_assert_eq!(&backward, &prefixed);

        // From both ends in any order: each entry once.
        let (mut front, mut back) = (Vec::new(), Vec::new());
        let mut entries = txn.prefix(&[])?;
        for turn in turns {
            let entry = if turn { entries.next() } else { entries.next_back() };
            let Some(entry) = entry else { break };
            if turn { front.push(entry?) } else { back.push(entry?) }
        }
        front.extend(entries.collect::<Result<Vec<_>>>()?);
        front.extend(back.into_iter().rev());
        prop_assert_eq!(front, within(&model, |_| true));

        txn.commit().expect("commits");
        let view = store.read().expect("reads");
        prop_assert_eq!(list(view.range(&start, &end)), Ok(ranged));
        prop_assert_eq!(list(view.prefix(&prefix)), Ok(prefixed));
    }
}
