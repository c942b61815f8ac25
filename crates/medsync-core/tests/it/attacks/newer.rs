//! What a newer engine writes: kept, passed on whole, and counted as not understood.

use super::{
    Cell, ChangeEntry, ItemKind, Mallory, Role, Scene, encode, entry, env, new_vault, pack, record,
};
use medsync_core::ids::ChangeId;
use medsync_core::vault::Vault;
use sha2::{Digest as _, Sha256};
use std::fs;

const MARK: &[u8] = b"xof a newer engine";

/// A change whose value has a tag that this engine does not know.
fn newer_change(mallory: &Mallory) -> (Vec<u8>, ChangeId) {
    let reason = std::str::from_utf8(&MARK[1..]).expect("text").into();
    let change = mallory.change(1, &[], &[("code", Cell::Removed { reason })]);
    let (mut bytes, _) = encode(&change);
    let at = bytes.windows(MARK.len()).position(|w| w == MARK);
    bytes[at.expect("the value stands as it is")] = b'z';
    let hash: [u8; 32] = Sha256::digest(&bytes[8..]).into();
    bytes[4..8].copy_from_slice(&hash[..4]);
    (bytes, ChangeId(hash))
}

fn change_entry(id: &str, change: ChangeId) -> Vec<u8> {
    let entry = ChangeEntry {
        record: record(id),
        patient: None,
        seen: None,
        change,
        because: None,
        source: None,
    };
    entry::Entry::Change(entry).to_bytes().expect("an entry")
}

/// A scene whose vault took up: a value, an entry, an item and a pack of a newer engine.
fn scene() -> Scene {
    let mut scene = Scene::new();
    let mut mallory = Mallory::admitted(&mut scene, &[Role::Clinician, Role::Admin]);
    let (bytes, id) = newer_change(&mallory);
    let value = mallory.sealed(Mallory::now(), &[(change_entry("value", id), bytes)]);
    let known = mallory.fresh("known", "code", "shown");
    let (bytes, id) = encode(&known.change);
    let newer = (vec![0x83, 0x07, 0x01, 0x62, 0x6f, 0x6b], Vec::new());
    let both = [(change_entry("known", id), bytes), newer];
    let with_entry = mallory.sealed(known.change.hlc, &both);
    let item = mallory.commit(&[], &[(ItemKind(99), b"whatever it is".to_vec())]);
    let newer_pack = br#"{"format": 9, "name": "test", "version": 99, "novel": {}}"#;
    let packed = mallory.commit(&[], &[(ItemKind::PACK, newer_pack.to_vec())]);
    let batch = mallory.batch(&scene, vec![value, with_entry, item, packed]);
    scene.put_key(&mallory);
    scene.put(1, &[batch]);
    scene.exchange();
    scene
}

fn told(vault: &Vault) -> (u64, u64, u64, String) {
    let s = vault.status().expect("a status");
    (s.not_understood, s.pending, s.quarantine, s.ledger_digest)
}

#[test]
fn what_only_a_newer_engine_understands_is_kept_counted_and_stops_nothing() {
    let mut scene = scene();
    let (newer, pending, quarantine, _) = told(&scene.vault);
    assert_eq!((newer, pending, quarantine), (4, 1, 0));
    assert!(scene.shows("known").is_some() && scene.shows("value").is_none());
    assert_eq!(scene.vault.status().expect("a status").pack.1, 1);
    scene.write("known", "note", "work goes on");
    scene.assert_sound();
    assert_eq!(told(&scene.vault).0, 4);
}

#[test]
fn it_is_passed_on_whole_by_those_that_do_not_understand_it() {
    let mut scene = scene();
    let home = tempfile::tempdir().expect("a folder");
    let mut others = ["b", "c"].map(|name| {
        let new = new_vault(name, name);
        let made = Vault::create_alone(&home.path().join(name), env(), &new, &pack());
        let mut vault = made.expect("a vault").vault;
        let request = vault.request().expect("a request");
        let grant = scene.vault.admit(&request, &[Role::Clinician]);
        vault.join(&grant.expect("a grant")).expect("joins");
        vault
    });
    let sticks = ["ab", "bc"].map(|name| home.path().join(name));
    sticks
        .iter()
        .for_each(|s| fs::create_dir(s).expect("a folder"));
    let [b, c] = &mut others;
    let exchange = |vault: &mut Vault, stick: usize| {
        let report = vault.exchange(&sticks[stick], &mut |_| {});
        assert_eq!(report.expect("exchanges").problems, []);
    };
    exchange(&mut scene.vault, 0);
    exchange(b, 0);
    exchange(b, 1);
    exchange(c, 1);
    let told_by_a = told(&scene.vault);
    assert_eq!(told_by_a.0, 4);
    for vault in &mut others {
        assert_eq!(told(vault), told_by_a);
        let report = vault.verify(true, &mut |_, _| {}).expect("verifies");
        assert!(report.is_sound(), "{report:?}");
        assert_eq!(told(vault), told_by_a);
    }
}
