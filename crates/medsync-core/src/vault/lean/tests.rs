//! What one real vault writes, another reads as the same rows, under the same signatures.

use super::known::Both;
use super::{batch, rows, run};
use crate::crypto::{Kdf, Suite};
use crate::doc::lean::{Fault, Leaf, Reader, Run, Writer};
use crate::env::SystemEnv;
use crate::error::Error;
use crate::ids::{ChainId, CommitId, DataKeyId, RecordId};
use crate::ledger::batch::{BatchHeader, SignedHeader};
use crate::ledger::certificate::Role;
use crate::model::json::Json;
use crate::model::pack::PolicyPack;
use crate::vault::commit_row::CommitRow;
use crate::vault::core::{load_commit, load_data_key};
use crate::vault::rows::{Rows, kind};
use crate::vault::seal::batch_row;
use crate::vault::{NewVault, Vault, branches};
use std::collections::{HashMap, HashSet};
use std::path::Path;

const PACK: &str = r#"{"format": 1, "name": "test", "version": 1, "kinds": {
    "Patient": {"patient": "self", "fields": {"visits": {"policy": "lww", "list": {}}}}}}"#;

fn two(home: &Path) -> [Vault; 2] {
    let new = NewVault {
        passphrase: "correct horse",
        suite: Suite::default(),
        kdf: Kdf::for_tests(),
        person: "Asha",
        device: "tablet",
    };
    let pack = PolicyPack::from_json(PACK.as_bytes()).expect("a pack");
    let env = SystemEnv::shared;
    let ours = Vault::create(&home.join("a"), env(), &new, "Ward", &pack);
    let mut ours = ours.expect("a vault").vault;
    let theirs = Vault::create_alone(&home.join("b"), env(), &new, &pack);
    let mut theirs = theirs.expect("a vault").vault;
    let request = theirs.request().expect("a request");
    let grant = ours.admit(&request, &[Role::Clinician]).expect("a grant");
    theirs.join(&grant).expect("joins");
    std::fs::create_dir(home.join("stick")).expect("a folder");
    [ours, theirs]
}

fn meet(home: &Path, vaults: &mut [Vault; 2]) {
    for at in [0, 1, 0] {
        let done = vaults[at].exchange(&home.join("stick"), &mut |_| {});
        done.expect("exchanges");
    }
}

fn write(vault: &mut Vault, name: &str, members: &[(&str, String)]) {
    let record: RecordId = name.parse().expect("a name");
    let mut draft = vault.draft(&record).expect("a draft");
    for (member, text) in members {
        draft.set(*member, Json::parse(text.as_bytes()).expect("json"));
    }
    vault.commit(vec![draft]).expect("commits");
}

/// A day's work of one side: new patients, and visits of those that are here.
fn work(vault: &mut Vault, side: &str, day: usize) {
    for n in 0..12 {
        let visit = |n: usize| {
            format!(
                r#"{{"id":"v-{n:08x}","at":"2026-11-{:02}","pulse":{n}.5}}"#,
                n % 28 + 1
            )
        };
        let visits: Vec<String> = (0..=day).map(|d| visit(d * 100 + n)).collect();
        let members = [
            ("visits", format!("[{}]", visits.join(","))),
            ("note", format!("\"seen on day {day} at {side}\"")),
        ];
        // The first few belong to both.
        let whose = if n < 4 { "both" } else { side };
        write(vault, &format!("Patient/{whose}-{n}"), &members);
    }
}

/// The batches of a vault that another lacks, with their commits.
fn lacking(of: &Vault, by: &Vault) -> Vec<(BatchHeader, SignedHeader, Vec<CommitRow>)> {
    let (ours, theirs) = (
        of.store.read().expect("reads"),
        by.store.read().expect("reads"),
    );
    let mut all = Vec::new();
    ours.scan(&[kind::BATCH], &[kind::BATCH], &mut |_, row| {
        let signed = batch_row(row).expect("a batch");
        all.push((BatchHeader::parse(&signed.header)?, signed));
        Ok(true)
    })
    .expect("scans");
    let mut out = Vec::new();
    for (header, signed) in all {
        if branches::is_whole(&theirs, &by.core, &header).expect("reads") {
            continue;
        }
        let places = branches::run(&ours, &of.core, &header).expect("reads");
        let load = |(no, seq)| {
            load_commit(&ours, no, seq)
                .expect("reads")
                .expect("is here")
        };
        let commits = places.expect("is here").into_iter().map(load).collect();
        out.push((header, signed, commits));
    }
    out
}

fn holds(vault: &Vault, chain: &ChainId, seq: u64) -> bool {
    let rows = vault.store.read().expect("reads");
    let number = vault.core.chain_no(chain);
    number.is_some_and(|no| load_commit(&rows, no, seq).expect("reads").is_some())
}

fn key_of(vault: &Vault, id: &DataKeyId) -> Result<[u8; 32], Error> {
    let rows = vault.store.read()?;
    let key = load_data_key(&rows, id)?.ok_or(Error::NotFound("data key"))?;
    Ok(*key.key.expose())
}

/// Sends what one lacks; returns the bytes, and those of the stored rows.
fn send(of: &Vault, by: &Vault, room: usize) -> (usize, usize) {
    let (ours, theirs) = (
        of.store.read().expect("reads"),
        by.store.read().expect("reads"),
    );
    let shared = |chain: &ChainId, seq| holds(by, chain, seq);
    let mut sender = Both::new(&ours, &of.core, &shared);
    let nothing = |_: &ChainId, _| false;
    let mut receiver = Both::new(&theirs, &by.core, &nothing);
    let (mut writer, mut reader) = (Writer::new(), Reader::new());
    let mut keys: HashMap<DataKeyId, [u8; 32]> = HashMap::new();
    let mut granted: HashSet<DataKeyId> = HashSet::new();
    let mut ends: HashMap<ChainId, CommitId> = HashMap::new();
    let (mut bytes, mut plain) = (0, 0);
    for (header, signed, commits) in lacking(of, by) {
        plain += commits
            .iter()
            .map(|row| row.to_bytes().len())
            .sum::<usize>();
        for id in commits
            .iter()
            .flat_map(|row| &row.leaves)
            .filter_map(key_id)
        {
            if key_of(by, &id).is_ok() {
                granted.insert(id);
            }
        }
        let find = |id: &DataKeyId| key_of(of, id);
        let mut rest =
            run(&commits, Some(signed.signature), None, &mut granted, &find).expect("a run");
        let mut read: Vec<CommitRow> = Vec::new();
        let mut signature = None;
        while !rest.commits.is_empty() {
            let block = writer.block(&mut sender, &rest, room).expect("is written");
            bytes += block.bytes.len();
            let part = match block.standalone {
                true => Reader::standalone(&block.bytes),
                false => reader.block(&mut receiver, &block.bytes),
            };
            let part = part.expect("is read");
            signature = signature.or(part.signature);
            keys.extend(grants(&part));
            let find = |id: &DataKeyId| match keys.get(id) {
                Some(key) => Ok(*key),
                None => key_of(by, id),
            };
            let before = match ends.get(&part.chain) {
                Some(id) => *id,
                None => tip(by, &part.chain, part.first - 1),
            };
            read.extend(rows(&part, before, &find).expect("rows"));
            let last = read.last().expect("a commit").header().expect("a header");
            ends.insert(part.chain, last.id());
            rest.commits.drain(..block.commits);
            rest.first += block.commits as u64;
            rest.signature = None;
        }
        assert_eq!((sender.fault(), receiver.fault()), (None, None));
        assert!(read == commits, "the same rows");
        let signature = signature.expect("one part has it");
        let again = batch(header.workspace, &read, signature).expect("a batch");
        assert_eq!(again, signed);
        let headers = read.iter().map(CommitRow::header).collect::<Result<_, _>>();
        again.verify(headers.expect("headers")).expect("is signed");
    }
    (bytes, plain)
}

fn key_id(leaf: &crate::vault::commit_row::LeafRow) -> Option<DataKeyId> {
    match leaf {
        crate::vault::commit_row::LeafRow::Change { key, .. } => Some(*key),
        _ => None,
    }
}

fn grants(run: &Run) -> Vec<(DataKeyId, [u8; 32])> {
    let leaves = run.commits.iter().flat_map(|commit| &commit.leaves);
    let key = |leaf: &Leaf| match leaf {
        Leaf::Change(change) => Some((change.key.id, **change.key.grant.as_ref()?)),
        _ => None,
    };
    leaves.filter_map(key).collect()
}

fn tip(vault: &Vault, chain: &ChainId, seq: u64) -> CommitId {
    let rows = vault.store.read().expect("reads");
    let number = vault.core.chain_no(chain);
    let row = number.and_then(|no| load_commit(&rows, no, seq).expect("reads"));
    row.map_or(CommitId([0; 32]), |row| {
        row.header().expect("a header").id()
    })
}

#[test]
fn what_one_vault_writes_another_reads_as_the_same_rows() {
    let home = tempfile::tempdir().expect("a folder");
    let mut vaults = two(home.path());
    for day in 0..4 {
        work(&mut vaults[0], "a", day);
        work(&mut vaults[1], "b", day);
        for vault in &mut vaults {
            assert!(vault.seal().expect("seals") > 0);
        }
        let [a, b] = &vaults;
        for room in [200, 1 << 16] {
            let (there, rows) = send(a, b, room);
            let (back, _) = send(b, a, room);
            assert!(there > 0 && back > 0);
            println!("day {day}, room {room}: {there} and {back} bytes; rows {rows} bytes");
            // With a past in common a day is little more than its signatures and new values.
            assert!(day == 0 || there * 3 < rows, "{there} of {rows} bytes");
        }
        meet(home.path(), &mut vaults);
    }
}

#[test]
fn a_receiver_that_lacks_what_was_taken_for_known_says_so() {
    let home = tempfile::tempdir().expect("a folder");
    let mut vaults = two(home.path());
    work(&mut vaults[0], "a", 0);
    meet(home.path(), &mut vaults);
    work(&mut vaults[0], "a", 1);
    work(&mut vaults[0], "a", 2);
    assert!(vaults[0].seal().expect("seals") > 0);
    let [a, b] = &vaults;
    let (ours, theirs) = (
        a.store.read().expect("reads"),
        b.store.read().expect("reads"),
    );
    // Of two days only the second is sent, as if the first were there.
    let (_, signed, commits) = lacking(a, b).pop().expect("a batch");
    let find = |id: &DataKeyId| key_of(a, id);
    let late = &commits[commits.len() / 2..];
    let run = run(
        late,
        Some(signed.signature),
        None,
        &mut HashSet::new(),
        &find,
    );
    let everything = |_: &ChainId, _| true;
    let mut sender = Both::new(&ours, &a.core, &everything);
    let mut receiver = Both::new(&theirs, &b.core, &everything);
    let block = Writer::new().block(&mut sender, &run.expect("a run"), 1 << 20);
    let read = Reader::new().block(&mut receiver, &block.expect("is written").bytes);
    assert_eq!(read, Err(Fault::Unknown));
}
