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
            NewSlot {
                kind: SlotKind::Unknown(77),
                name: String::new(),
                params: vec![1, 2, 3],
                kek: Secret::random(&SystemEnv),
            },
        )
        .expect("adds");
    let mut kept = read(&with_slot);
    kept.change_passphrase(&SystemEnv, &root, "new", KDF)
        .expect("changes");
    let kept = read(&kept);
    assert!(kept.unlock_passphrase("new").is_ok());
    assert_eq!(
        kept.slots.last().map(|slot| slot.kind),
        Some(SlotKind::Unknown(77))
    );
}

/// A key store that keeps nothing: what it wraps is under a key of its own.
struct Store {
    own: Secret<32>,
    refuses: std::cell::Cell<bool>,
}

impl Store {
    fn new(own: u8) -> Self {
        Self {
            own: Secret::take(&mut [own; 32]),
            refuses: std::cell::Cell::new(false),
        }
    }
}

impl KeyWrapper for Store {
    fn wrap(&self, key: &Secret<32>) -> Result<Vec<u8>> {
        if self.refuses.get() {
            return Err(Error::Locked("the key store"));
        }
        let nonce = [1; 24];
        let own = self.own.expose();
        Ok(super::super::seal_small(own, &nonce, b"", key.expose()))
    }

    fn unwrap(&self, wrapped: &[u8]) -> Result<Secret<32>> {
        if self.refuses.get() {
            return Err(Error::Locked("the key store"));
        }
        let opened = super::super::open_small(self.own.expose(), &[1; 24], b"", wrapped);
        let opened = opened.and_then(|key| Secret::from_slice(&key));
        opened.ok_or(Error::WrongSecret("the key store's key"))
    }
}

#[test]
fn the_hosts_key_store_opens_the_vault_and_may_refuse() {
    let (mut keys, root, _) = new(&SystemEnv);
    let none = keys.unlock_host(&Store::new(1));
    assert!(matches!(none, Err(Error::NotFound(_))), "{none:?}");
    let store = Store::new(1);
    store.refuses.set(true);
    let before = keys.to_bytes();
    let refused = keys.put_host(&SystemEnv, &root, "tpm", &store);
    assert_eq!(refused, Err(Error::Locked("the key store")));
    assert_eq!(keys.to_bytes(), before);
    store.refuses.set(false);
    keys.put_host(&SystemEnv, &root, "tpm", &store)
        .expect("adds");
    keys.put_host(&SystemEnv, &root, "card", &Store::new(2))
        .expect("adds");
    let keys = read(&keys);
    assert_eq!(keys.unlock_host(&store), Ok(root_of(&root)));
    assert_eq!(keys.unlock_host(&Store::new(2)), Ok(root_of(&root)));
    let other = keys.unlock_host(&Store::new(3));
    assert_eq!(other, Err(Error::WrongSecret("the key store's key")));
    store.refuses.set(true);
    let refused = keys.unlock_host(&store);
    assert_eq!(refused, Err(Error::Locked("the key store")));
    // And the other ways still open it.
    assert_eq!(keys.unlock_passphrase("correct horse"), Ok(root_of(&root)));
}

#[test]
fn a_clinics_identity_opens_what_only_its_public_key_sealed() {
    use crate::crypto::envelope::public_of;
    let (mut keys, root, _) = new(&SystemEnv);
    let identity = |n| Secret::take(&mut [n; 32]);
    let none = keys.unlock_escrow(&identity(1));
    assert!(matches!(none, Err(Error::NotFound(_))), "{none:?}");
    let public = public_of(&identity(1));
    keys.put_escrow(&SystemEnv, &root, "North", &public)
        .expect("adds");
    let bad = keys.put_escrow(&SystemEnv, &root, "None", &[0; 32]);
    assert!(matches!(bad, Err(Error::Invalid { .. })), "{bad:?}");
    let keys = read(&keys);
    assert_eq!(keys.unlock_escrow(&identity(1)), Ok(root_of(&root)));
    let other = keys.unlock_escrow(&identity(2));
    assert_eq!(other, Err(Error::WrongSecret("the clinic's identity")));
    let listed = keys.slots().pop().expect("slots");
    assert_eq!((listed.kind, &*listed.name), (SlotKind::Escrow, "North"));
    assert_eq!(listed.recipient, Some(public));
}

#[test]
fn a_slot_is_removed_but_never_the_last_and_never_more_than_eight_are_kept() {
    let (mut keys, root, words) = new(&SystemEnv);
    let remove = |keys: &mut KeyFile, kind, name: &str| keys.remove_slot(&root, kind, name);
    for n in 0..6 {
        let name = format!("store {n}");
        keys.put_host(&SystemEnv, &root, &name, &Store::new(n))
            .expect("adds");
    }
    let ninth = keys.put_host(&SystemEnv, &root, "ninth", &Store::new(9));
    assert!(matches!(ninth, Err(Error::Refused { .. })), "{ninth:?}");
    // One of the same name gives way.
    keys.put_host(&SystemEnv, &root, "store 3", &Store::new(33))
        .expect("replaces");
    assert!(keys.unlock_host(&Store::new(3)).is_err());
    assert_eq!(read(&keys).slots().len(), 8);
    remove(&mut keys, SlotKind::Passphrase, "").expect("removes");
    let gone = read(&keys).unlock_passphrase("correct horse");
    assert!(matches!(gone, Err(Error::NotFound(_))), "{gone:?}");
    for n in 0..6 {
        remove(&mut keys, SlotKind::Host, &format!("store {n}")).expect("removes");
    }
    let missing = remove(&mut keys, SlotKind::Host, "store 3");
    assert!(matches!(missing, Err(Error::NotFound(_))), "{missing:?}");
    let last = remove(&mut keys, SlotKind::Recovery, "");
    assert!(matches!(last, Err(Error::Refused { .. })), "{last:?}");
    assert_eq!(read(&keys).unlock_recovery(&words), Ok(root_of(&root)));
    assert!(
        keys.put_host(&SystemEnv, &root, "", &Store::new(1))
            .is_err()
    );
}

#[test]
fn renewed_keys_keep_the_vault_and_end_the_old_ways_in() {
    let (mut keys, root, words) = new(&SystemEnv);
    let identity = Secret::take(&mut [1; 32]);
    let public = crate::crypto::envelope::public_of(&identity);
    let store = Store::new(1);
    keys.put_host(&SystemEnv, &root, "tpm", &store)
        .expect("adds");
    keys.put_escrow(&SystemEnv, &root, "North", &public)
        .expect("adds");
    let recovery = Words::generate(&SystemEnv);
    let mut new = NewKeys {
        passphrase: "battery staple",
        kdf: KDF,
        recovery: &recovery,
        wrapper: None,
    };
    let renewed = keys.renewed(&SystemEnv, &new).expect("renews");
    assert_eq!(renewed.lost[..], [keys.slots()[2].clone()]);
    assert_ne!(renewed.root, root);
    let fresh = read(&renewed.keys);
    assert_eq!(fresh.vault_id(), keys.vault_id());
    assert_ne!(fresh.file_id(), keys.file_id());
    assert_ne!(fresh.page_key(&renewed.root), keys.page_key(&root));
    assert!(fresh.unlock_passphrase("correct horse").is_err());
    assert!(fresh.unlock_recovery(&words).is_err() && fresh.page_key(&root).is_err());
    for opened in [
        fresh.unlock_passphrase("battery staple"),
        fresh.unlock_recovery(&recovery),
        fresh.unlock_escrow(&identity),
    ] {
        assert_eq!(opened.as_ref(), Ok(&renewed.root));
    }
    new.wrapper = Some(&store);
    let renewed = keys.renewed(&SystemEnv, &new).expect("renews");
    assert!(renewed.lost.is_empty());
    assert!(read(&renewed.keys).unlock_host(&store).is_ok());
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
