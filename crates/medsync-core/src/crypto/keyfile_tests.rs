//! What a key file must open, and what it must refuse.

use super::*;
use crate::env::SystemEnv;
use crate::store::fault::SeededEnv;

const KDF: Kdf = Kdf::for_tests();

fn new(env: &dyn Env) -> (KeyFile, RootKey, Words) {
    let words = Words::generate(env);
    let made = KeyFile::create(env, Suite::default(), "correct horse", KDF, &words);
    let (keys, root) = made.expect("creates");
    (keys, root, words)
}

fn read(keys: &KeyFile) -> KeyFile {
    KeyFile::from_bytes(&keys.to_bytes()).expect("reads what it wrote")
}

#[test]
fn both_ways_unlock_the_same_root() {
    let (keys, root, words) = new(&SystemEnv);
    let keys = read(&keys);
    assert_eq!(keys.unlock_passphrase("correct horse"), Ok(root_of(&root)));
    assert_eq!(keys.unlock_recovery(&words), Ok(root_of(&root)));
    assert_eq!(keys.check_root(&root), Ok(()));
    assert!(keys.page_key(&root).is_ok());
    assert_ne!(keys.vault_id(), keys.file_id());
}

fn root_of(root: &RootKey) -> RootKey {
    Secret::fill_with(|out| out.copy_from_slice(root.expose()))
}

#[test]
fn wrong_secrets_are_told_apart_from_damage() {
    let (keys, _, _) = new(&SystemEnv);
    let wrong = keys.unlock_passphrase("correct house");
    assert_eq!(wrong, Err(Error::WrongSecret("the passphrase")));
    let wrong = keys.unlock_recovery(&Words::generate(&SystemEnv));
    assert_eq!(wrong, Err(Error::WrongSecret("the recovery key")));
    let wrong = keys.check_root(&RootKey::random(&SystemEnv));
    assert_eq!(wrong, Err(Error::WrongSecret("the kept key")));
}

#[test]
fn a_changed_passphrase_keeps_root_pages_and_recovery() {
    let (mut keys, root, words) = new(&SystemEnv);
    let before = keys.page_key(&root).expect("page key");
    keys.change_passphrase(&SystemEnv, &root, "battery staple", KDF)
        .expect("changes");
    let mut keys = read(&keys);
    assert!(keys.unlock_passphrase("correct horse").is_err());
    assert_eq!(keys.unlock_passphrase("battery staple"), Ok(root_of(&root)));
    assert_eq!(keys.unlock_recovery(&words), Ok(root_of(&root)));
    assert_eq!(keys.page_key(&root), Ok(before));

    let newer = Words::generate(&SystemEnv);
    keys.new_recovery(&SystemEnv, &root, &newer)
        .expect("changes");
    assert!(keys.unlock_recovery(&words).is_err());
    assert_eq!(keys.unlock_recovery(&newer), Ok(root_of(&root)));
    let other = RootKey::random(&SystemEnv);
    assert!(keys.new_recovery(&SystemEnv, &other, &newer).is_err());
    assert!(keys.change_passphrase(&SystemEnv, &root, "", KDF).is_err());
}

#[test]
fn every_truncation_and_every_flipped_bit_is_refused() {
    let (keys, _, words) = new(&SystemEnv);
    let good = keys.to_bytes();
    for len in 0..good.len() {
        assert!(KeyFile::from_bytes(&good[..len]).is_err());
    }
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        // The passphrase's slot costs too much to try for each bit; the MAC covers it as well.
        let unlocked = KeyFile::from_bytes(&bad).and_then(|keys| keys.unlock_recovery(&words));
        assert!(unlocked.is_err(), "bit {bit}");
    }
    let longer = [good, vec![0]].concat();
    assert!(KeyFile::from_bytes(&longer).is_err());
    assert!(KeyFile::from_bytes(&vec![0; KEY_FILE_MAX + 1]).is_err());
}

#[test]
fn a_hostile_file_cannot_ask_for_more_memory_than_there_is() {
    let (mut keys, _, _) = new(&SystemEnv);
    for (memory, passes, lanes) in [(4_000_000, 3, 4), (64, 1, 1), (65_536, 4_000_000, 4)] {
        let mut e = Encoder::new(Vec::new());
        e.array(2)
            .and_then(|e| e.array(3))
            .and_then(|e| e.u32(memory))
            .and_then(|e| e.u32(passes))
            .and_then(|e| e.u32(lanes))
            .and_then(|e| e.bytes(&[0; 16]))
            .expect(NEVER);
        keys.slots[0].params = e.into_writer();
        assert_eq!(read(&keys).unlock_passphrase("x"), Err(BROKEN));
    }
}

#[test]
fn what_a_newer_engine_wrote_is_named_or_kept() {
    let (keys, root, _) = new(&SystemEnv);
    let mut newer = keys.to_bytes();
    newer[14] = 2;
    assert_eq!(
        KeyFile::from_bytes(&newer).map(|_| ()),
        Err(Error::TooNew {
            what: WHAT,
            found: 2,
            known: 1
        })
    );
    let mut with_slot = keys;
    with_slot
        .put_slot(
            &SystemEnv,
            &root,
            77,
            vec![1, 2, 3],
            &Secret::random(&SystemEnv),
        )
        .expect("adds");
    let mut kept = read(&with_slot);
    kept.change_passphrase(&SystemEnv, &root, "new", KDF)
        .expect("changes");
    let kept = read(&kept);
    assert!(kept.unlock_passphrase("new").is_ok());
    assert_eq!(kept.slots.last().map(|slot| slot.kind), Some(77));
}

/// Files of this format open for ever.
#[test]
fn the_golden_key_file_still_opens() {
    let env = SeededEnv::new(1);
    let (keys, root, words) = new(&env);
    let golden = include_str!("../../tests/golden/keyfile-v1.hex").replace('\n', "");
    let bytes: Vec<u8> = (golden.as_bytes().chunks(2))
        .map(|pair| crate::ids::unhex::<1>(str::from_utf8(pair).expect("ASCII")).expect("hex")[0])
        .collect();
    let old = KeyFile::from_bytes(&bytes).expect("reads");
    assert_eq!(old.unlock_passphrase("correct horse"), Ok(root_of(&root)));
    assert_eq!(old.unlock_recovery(&words), Ok(root_of(&root)));
    assert_eq!(crate::ids::hex(&keys.to_bytes()), golden);
}
