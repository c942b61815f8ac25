//! Packed rows read as they were written, and files shrink.

use super::*;
use crate::crypto::{Kdf, RootKey, Suite, Words};
use crate::env::SystemEnv;
use crate::store::fault::{Rng, SeededEnv, SimDisk};
use crate::store::{DATA_FILE, Store, Tuning, Unlock};
use redb::StorageBackend as _;

type Row = (Vec<u8>, Vec<u8>);

fn store(disk: &SimDisk) -> Result<Store> {
    let root = RootKey::fill_with(|out| out.copy_from_slice(&[5; 32]));
    let env = SeededEnv::shared(3);
    Store::open_on(disk.clone(), env, root, Suite::default(), Tuning::small())
}

/// Rows of a kind that look alike, in no order.
fn alike(kind: u8, n: u64, words: &str) -> Vec<Row> {
    let mut rng = Rng::new(u64::from(kind));
    let row = |i: u64| {
        let key = [&[kind][..], &rng.next_u64().to_be_bytes()].concat();
        let value = format!("{{\"id\":\"{i}-{:x}\",{words}}}", rng.next_u64());
        (key, value.repeat(2).into_bytes())
    };
    (0..n).map(row).collect()
}

fn write(store: &Store, rows: &[Row]) {
    let mut txn = store.write().expect("writes");
    for (key, value) in rows {
        txn.put(key.clone(), value.clone());
    }
    txn.commit().expect("commits");
}

fn same(store: &Store, rows: &[Row]) {
    let mut sorted = rows.to_vec();
    sorted.sort();
    let read = store.read().expect("reads");
    let all: Result<Vec<Row>> = read.prefix(&[]).expect("lists").collect();
    assert!(all.expect("lists") == sorted);
    let back: Result<Vec<Row>> = read.prefix(&[]).expect("lists").rev().collect();
    assert!(back.expect("lists").into_iter().rev().eq(sorted));
    for (key, value) in rows {
        assert_eq!(read.get(key), Ok(Some(value.clone())));
        assert_eq!(read.with(key, <[u8]>::len), Ok(Some(value.len())));
    }
}

const PATIENT: &str = "\"resourceType\":\"Patient\",\"active\":true,\"gender\":\"female\",\
    \"name\":[{\"use\":\"official\",\"family\":\"Mensah\",\"given\":[\"Ama\"]}]";
const ALLERGY: &str = "\"resourceType\":\"AllergyIntolerance\",\"criticality\":\"high\",\
    \"code\":{\"coding\":[{\"system\":\"http://snomed.info/sct\",\"code\":\"91936005\"}]}";

fn dictionaries(store: &Store) -> Vec<u8> {
    let known = store
        .engine
        .packing
        .known
        .read()
        .expect("no thread panicked");
    known.all.iter().map(|d| d.kind).collect()
}

#[test]
fn rows_that_look_alike_are_packed_and_read_as_they_were() {
    let disk = SimDisk::default();
    let mut rows = alike(b'v', 3000, PATIENT);
    let mut rng = Rng::new(1);
    for i in 0..2000u64 {
        // Nothing shrinks these.
        let mut value = vec![0; 64];
        rng.fill(&mut value);
        rows.push(([&b"K"[..], &i.to_be_bytes()].concat(), value));
        rows.push(([&b"i"[..], &i.to_be_bytes()].concat(), Vec::new()));
    }
    let plain: usize = rows.iter().map(|(k, v)| k.len() + v.len()).sum();
    let opened = store(&disk).expect("opens");
    write(&opened, &rows);
    same(&opened, &rows);
    assert_eq!(dictionaries(&opened), [b'v']);
    drop(opened);
    let len = disk.len().expect("is on") as usize;
    assert!(len < plain * 3 / 4, "{len} of {plain}");
    let again = store(&disk).expect("opens");
    assert_eq!(dictionaries(&again), [b'v']);
    same(&again, &rows);
    // A row in the journal stands over a packed one.
    rows[7].1 = b"new".to_vec();
    write(&again, &rows[7..8]);
    same(&again, &rows);
    drop(again);
    same(&store(&disk).expect("opens"), &rows);
}

#[test]
fn rows_that_change_their_looks_get_another_dictionary() {
    let disk = SimDisk::default();
    let opened = store(&disk).expect("opens");
    let mut all = Vec::new();
    for (kind, words) in [(b'a', PATIENT), (b'b', ALLERGY), (b'c', ALLERGY)] {
        let mut rows = alike(kind, 1500, words);
        rows.iter_mut().for_each(|(key, _)| key.insert(0, b'v'));
        write(&opened, &rows);
        all.extend(rows);
    }
    assert_eq!(dictionaries(&opened), [b'v', b'v']);
    same(&opened, &all);
    drop(opened);
    same(&store(&disk).expect("opens"), &all);
}

#[test]
fn a_value_that_no_dictionary_opens_is_an_error() {
    let packing = Packing::new(true);
    assert_eq!(packing.unpack(&[]).as_deref(), Ok(&[][..]));
    assert_eq!(packing.unpack(&[0, 7]).as_deref(), Ok(&[7][..]));
    for bad in [&[1][..], &[1, 2, 3], &[255, 0, 0, 0, 0, 0]] {
        assert_eq!(packing.unpack(bad).map(drop), Err(BAD));
    }
    let frame = zstd::bulk::compress(&[1; 500], 1).expect("compresses");
    let named = [&[1][..], &frame].concat();
    assert_eq!(packing.unpack(&named).map(drop), Err(BAD));
    assert_eq!(Packing::off().unpack(&[1]).as_deref(), Ok(&[1][..]));
}

#[test]
fn a_closed_file_has_no_more_room_than_its_rows_need() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("vault");
    let words = Words::generate(&SystemEnv);
    let (env, kdf) = (SystemEnv::shared(), Kdf::for_tests());
    let made = Store::create(
        &path,
        env,
        "pass",
        Suite::default(),
        kdf,
        &words,
        |_| Ok(()),
    );
    let (opened, ()) = made.expect("creates");
    let rows = alike(b'v', 32_000, PATIENT);
    // Several times, each page of the tree anew.
    for part in 0..8 {
        let every: Vec<Row> = rows.iter().skip(part).step_by(8).cloned().collect();
        write(&opened, &every);
    }
    let len = || {
        std::fs::metadata(path.join(DATA_FILE))
            .expect("it is there")
            .len()
    };
    let before = len();
    drop(opened);
    let after = len();
    assert!(after < before, "{before} to {after}");
    let open = || Store::open(&path, SystemEnv::shared(), Unlock::Recovery(&words));
    let opened = open().expect("opens");
    same(&opened, &rows);
    // Asked for, it happens whether it is worth it or not, and others see the same rows.
    opened.repack().expect("is written anew");
    assert!(matches!(opened.read(), Err(Error::Storage { .. })));
    let opened = opened.reopen().expect("opens");
    same(&opened, &rows);
    drop(opened);
    assert_eq!(len(), after);
}
