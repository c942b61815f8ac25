//! Where the bytes of a vault's file are.

use crate::{Shape, now, records};
use medsync_core::crypto::{Kdf, Suite, Words};
use medsync_core::env::SystemEnv;
use medsync_core::error::Result;
use medsync_core::store::{Store, Unlock};
use medsync_core::vault::{NewVault, Unit, Vault};
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Default)]
struct Kind {
    rows: u64,
    keys: u64,
    values: u64,
}

/// A closed vault with records in it, and their bytes as JSON.
fn imported(path: &Path, records: usize, shape: Shape) -> Result<(Words, usize)> {
    let new = NewVault {
        passphrase: "benchmark",
        suite: Suite::Xaes256Gcm,
        kdf: Kdf::default(),
        person: "Bench",
        device: "bench",
    };
    let pack = medsync_fhir::pack::clinical();
    let made = Vault::create(path, SystemEnv::shared(), &new, "Bench", &pack)?;
    let mut vault = made.vault;
    let mut json = 0;
    let units = records::texts(shape, records).map(|text| {
        json += text.len();
        let (id, resource) = records::parse(&text);
        Unit {
            resources: vec![(0, id, resource)],
            atomic: false,
        }
    });
    vault.import("bench", units, &mut |_| {})?;
    println!("file after the import: {} B", file(path));
    let start = now();
    drop(vault);
    println!("closing: {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    Ok((made.recovery, json))
}

/// Imports records, then prints the bytes of the rows by kind beside those of the file.
pub(crate) fn bytes(records: usize, shape: Shape) -> Result<()> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("v");
    let (words, json) = imported(&path, records, shape)?;
    println!("JSON: {:.0} B a record", json as f64 / records as f64);
    println!("closed: {:.2} x", file(&path) as f64 / json as f64);
    rows(&path, &words, records)
}

/// Imports records, then opens the vault's file again and again.
pub(crate) fn open(records: usize, shape: Shape) -> Result<()> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("v");
    let (words, _) = imported(&path, records, shape)?;
    let mut times = Vec::new();
    for _ in 0..15 {
        let start = now();
        let store = Store::open(&path, SystemEnv::shared(), Unlock::Recovery(&words))?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        drop(store);
    }
    times.sort_unstable_by(f64::total_cmp);
    println!("opening: {:.1} ms (fastest {:.1})", times[7], times[0]);
    Ok(())
}

fn file(dir: &Path) -> u64 {
    std::fs::metadata(dir.join("vault.db")).map_or(0, |m| m.len())
}

fn rows(dir: &Path, words: &Words, records: usize) -> Result<()> {
    let store = Store::open(dir, SystemEnv::shared(), Unlock::Recovery(words))?;
    let mut kinds: BTreeMap<u8, Kind> = BTreeMap::new();
    for row in store.read()?.prefix(&[])? {
        let (key, value) = row?;
        let kind = kinds
            .entry(key.first().copied().unwrap_or_default())
            .or_default();
        kind.rows += 1;
        kind.keys += key.len() as u64;
        kind.values += value.len() as u64;
    }
    let each = |n: u64| n as f64 / records as f64;
    println!("a record: rows, bytes of keys, bytes of values");
    let mut sum = 0;
    for (kind, k) in &kinds {
        let name = char::from(*kind);
        println!(
            "  {name}: {:.2}, {:.0}, {:.0}",
            each(k.rows),
            each(k.keys),
            each(k.values)
        );
        sum += k.keys + k.values;
    }
    println!("  in all: {:.0} B", each(sum));
    drop(store);
    Ok(())
}
