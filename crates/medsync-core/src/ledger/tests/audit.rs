use super::*;
use crate::error::Error;
use crate::ids::{CommitId, DeviceKey, RecordId, hex};
use crate::ledger::audit::{
    Action, Actor, AuditEvent, Detail, Head, HeadTerms, LogId, Subject, root, salt,
};
use crate::ledger::audit_proof::{AuditProof, ProofEntry, ProofLeaf, ProofLog};
use crate::ledger::certificate::{Certificate, Role, Subject as Whom, Terms};
use crate::ledger::entry;
use crate::ledger::membership::{Carrier, MemberItem, Membership};

const DEVICE: u8 = 31;

fn log_of(device: u8) -> LogId {
    LogId {
        device: DeviceKey(key(device).public()),
        replica: ReplicaId([device; 16]),
    }
}

fn details() -> Vec<Detail> {
    let record: RecordId = format!("Observation/{CANARY}").parse().unwrap();
    vec![
        Detail::Record {
            record,
            version: Some([7; 16]),
            times: 3,
        },
        Detail::Text("search".to_owned(), CANARY.to_owned()),
        Detail::Count("received commits".to_owned(), 9),
    ]
}

/// A log of `n` entries of every shape, revealed or not, under one head.
fn log(device: u8, n: u64, reveal: bool) -> ProofLog {
    let id = log_of(device);
    let mut hash = id.start();
    let mut entries = Vec::new();
    for seq in 1..=n {
        let mut leaves = Vec::new();
        let subject = match seq % 3 {
            0 => Subject::Nothing,
            1 => Subject::Commit(seq, CommitId([seq as u8; 32])),
            _ => {
                for (index, detail) in (0u32..).zip(details()) {
                    leaves.push((salt(&DATA_KEY, &id, seq, index), detail.to_bytes()));
                }
                let hashes: Vec<_> = leaves.iter().map(|(s, b)| entry::leaf(s, b)).collect();
                Subject::Details(root(&hashes))
            }
        };
        let event = AuditEvent {
            seq,
            hlc: at(1_000 + seq as i64),
            action: [Action::BREAK_GLASS, Action::READ, Action::CHANGE][seq as usize % 3],
            done: seq != 2,
            actor: match seq {
                1 => Actor::Nobody,
                n if n > 5 => Actor::Emergency(3),
                _ => Actor::Person(chain(1, 1).author),
            },
            subject,
        };
        let bytes = event.to_bytes();
        assert_eq!(AuditEvent::parse(&bytes), Ok(event));
        hash = AuditEvent::chain(&hash, &bytes);
        let leaf = |(salt, bytes): ([u8; 32], Vec<u8>)| match reveal {
            true => ProofLeaf::Shown(salt, bytes),
            false => ProofLeaf::Withheld(entry::leaf(&salt, &bytes)),
        };
        let leaves = leaves.into_iter().map(leaf).collect();
        entries.push(ProofEntry { bytes, leaves });
    }
    ProofLog {
        id,
        entries,
        heads: vec![head(device, n, hash)],
    }
}

fn head(device: u8, seq: u64, hash: [u8; 32]) -> Head {
    let terms = HeadTerms {
        workspace: Some(workspace()),
        log: log_of(device),
        seq,
        hash,
        hlc: at(9_000),
    };
    Head::sign(&key(device), terms).unwrap()
}

fn membership(device: u8) -> Membership {
    let mut membership = Membership::new(authority().public());
    let subject = Whom::Device {
        key: DeviceKey(key(device).public()),
        recipient: None,
    };
    let terms = Terms::new(workspace(), subject, "tablet", [Role::Archive], at(1));
    let item = MemberItem::Certificate(Certificate::issue(&authority(), &terms).unwrap());
    let carrier = Carrier {
        hlc: at(1),
        commit: crate::ids::CommitId([7; 32]),
        chain: chain(1, 1),
        seq: 1,
    };
    membership.extend([(item, carrier)]);
    membership
}

fn proof(log: ProofLog) -> AuditProof {
    AuditProof {
        membership: membership(DEVICE),
        logs: vec![log],
    }
}

#[track_caller]
fn caught(proof: &AuditProof, what: &str) {
    let report = proof.verify(&[]);
    assert!(
        report.problems.iter().any(|p| p.contains(what)),
        "{:?}",
        report.problems
    );
    assert!(!report.is_sound());
}

#[test]
fn the_bytes_that_are_chained_and_signed_stay_as_they_are() {
    let log = log(DEVICE, 9, true);
    let entries: Vec<String> = log.entries.iter().map(|e| hex(&e.bytes)).collect();
    let golden = include_str!("golden/audit_entries.hex");
    assert_eq!(entries, golden.lines().collect::<Vec<_>>());
    let golden = include_str!("golden/audit_head.hex").trim();
    assert_eq!(hex(&log.heads[0].to_bytes()), golden);
    let leaves: Vec<String> = details().iter().map(|d| hex(&d.to_bytes())).collect();
    let golden = include_str!("golden/audit_details.hex");
    assert_eq!(leaves, golden.lines().collect::<Vec<_>>());
    // An entry of an edit stays small: there is one for each.
    assert!(
        log.entries[3].bytes.len() <= 90,
        "{}",
        log.entries[3].bytes.len()
    );
}

#[test]
fn an_honest_log_proves_itself_with_and_without_its_names() {
    for reveal in [true, false] {
        let proof = proof(log(DEVICE, 9, reveal));
        let bytes = proof.to_bytes();
        assert_eq!(AuditProof::parse(&bytes).as_ref(), Ok(&proof));
        let report = proof.verify(&[]);
        assert_eq!(report.problems, Vec::<String>::new());
        let log = &report.logs[0];
        assert_eq!((log.entries, log.shown + log.withheld), (9, 9));
        assert_eq!(log.shown > 0, reveal);
        assert_eq!(
            log.name.as_ref().map(|n| n.expose().as_str()),
            Some("tablet")
        );
        let clear = bytes.windows(CANARY.len()).any(|w| w == CANARY.as_bytes());
        assert_eq!(clear, reveal);
        let text = format!(
            "{proof:?} {report:?} {:?}",
            proof.entries().collect::<Vec<_>>()
        );
        assert!(!text.contains(CANARY), "{text}");
    }
}

#[test]
fn whatever_is_changed_in_a_log_is_found() {
    let honest = || log(DEVICE, 9, true);
    let changed = |change: &dyn Fn(&mut ProofLog)| {
        let mut log = honest();
        change(&mut log);
        proof(log)
    };
    // Every entry changed, dropped, doubled, swapped.
    for at in 0..9 {
        let edited = changed(&|log| {
            let mut event = AuditEvent::parse(&log.entries[at].bytes).unwrap();
            event.done = !event.done;
            log.entries[at].bytes = event.to_bytes();
        });
        caught(&edited, "signed other entries up to 9");
        let garbled = changed(&|log| log.entries[at].bytes[5] ^= 1);
        assert!(!garbled.verify(&[]).is_sound());
        caught(
            &changed(&|log| drop(log.entries.remove(at))),
            "the end is missing",
        );
        caught(
            &changed(&|log| log.entries.insert(at, log.entries[at].clone())),
            "stands at place",
        );
        if at > 0 {
            caught(
                &changed(&|log| log.entries.swap(at, at - 1)),
                "stands at place",
            );
        }
    }
    caught(
        &changed(&|log| log.entries.truncate(8)),
        "the end is missing",
    );
    caught(
        &changed(&|log| log.heads.clear()),
        "nobody signed what comes after entry 0",
    );
    caught(
        &changed(&|log| {
            let forged = AuditEvent {
                seq: 10,
                hlc: at(5_000),
                action: Action::READ,
                done: true,
                actor: Actor::Nobody,
                subject: Subject::Nothing,
            };
            let bytes = forged.to_bytes();
            log.entries.push(ProofEntry {
                bytes,
                leaves: vec![],
            });
        }),
        "nobody signed what comes after entry 9",
    );
}

#[test]
fn whatever_is_changed_in_the_details_of_an_entry_is_found() {
    let changed = |change: &dyn Fn(&mut ProofLog)| {
        let mut log = log(DEVICE, 9, true);
        change(&mut log);
        proof(log)
    };
    // Details: another text, another salt, one left out, one put in.
    let of =
        |change: &dyn Fn(&mut Vec<ProofLeaf>)| changed(&|log| change(&mut log.entries[1].leaves));
    let other = |text: &str| Detail::Text("search".to_owned(), text.to_owned()).to_bytes();
    for bad in [
        of(&|l| l[1] = ProofLeaf::Shown(salt(&DATA_KEY, &log_of(DEVICE), 2, 1), other("else"))),
        of(&|l| l[1] = ProofLeaf::Shown([0; 32], other(CANARY))),
        of(&|l| drop(l.pop())),
        of(&|l| l.push(ProofLeaf::Withheld([0; 32]))),
        of(&|l| l.clear()),
        changed(&|log| log.entries[0].leaves.push(ProofLeaf::Withheld([0; 32]))),
    ] {
        caught(&bad, "not those that were chained");
    }
}

#[test]
fn another_devices_entries_and_heads_do_not_fit() {
    let (ours, theirs) = (log(DEVICE, 9, true), log(32, 9, true));
    let mut spliced = ours.clone();
    spliced.entries = theirs.entries.clone();
    caught(&proof(spliced), "signed other entries");
    let mut half = ours.clone();
    half.entries.truncate(4);
    half.entries.extend(theirs.entries[4..].to_vec());
    assert!(!proof(half.clone()).verify(&[]).is_sound() || half == ours);
    let mut heads = ours.clone();
    heads.heads = theirs.heads.clone();
    caught(&proof(heads), "has a head of another log");
    // A device that nobody admitted.
    caught(&proof(theirs), "has no certificate");
    let mut twice = proof(ours.clone());
    twice.logs.push(ours);
    caught(&twice, "twice");
    // Another key cannot sign for it, and a changed head is refused when it is read.
    let terms = *log(DEVICE, 3, true).heads[0].terms();
    assert!(Head::sign(&key(32), terms).is_err());
    let bytes = head(DEVICE, 3, [5; 32]).to_bytes();
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        assert!(Head::parse(&bad).is_err(), "{at}");
    }
}

#[test]
fn a_log_that_was_cut_off_or_written_twice_is_found_by_what_others_hold() {
    let long = log(DEVICE, 9, true);
    let short = log(DEVICE, 6, true);
    // By itself the shorter one is whole.
    assert!(proof(short.clone()).verify(&[]).is_sound());
    let report = proof(short.clone()).verify(&long.heads);
    assert!(report.problems[0].contains("ends at entry 6"), "{report:?}");
    let other = head(DEVICE, 4, [1; 32]);
    let report = proof(short).verify(&[other]);
    assert!(report.problems[0].contains("written twice"), "{report:?}");
    // What others hold of other logs says nothing here.
    assert!(proof(long).verify(&log(32, 20, true).heads).is_sound());
}

#[test]
fn foreign_bytes_are_refused_without_a_panic() {
    let bytes = proof(log(DEVICE, 5, true)).to_bytes();
    for end in 0..bytes.len() {
        assert!(AuditProof::parse(&bytes[..end]).is_err());
    }
    // Who carried a certificate of the authority says nothing; all that follows does.
    let device = key(DEVICE).public();
    let logs = bytes.windows(32).position(|w| *w == device).unwrap();
    for at in logs..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 0x41;
        if let Ok(proof) = AuditProof::parse(&bad) {
            assert!(!proof.verify(&[]).is_sound(), "byte {at} says nothing");
        }
    }
    let not = AuditProof::parse(b"something else");
    assert!(matches!(not, Err(Error::Invalid { .. })));
    // A version of the format that is not known is told from damage.
    let mut newer = bytes;
    newer[21] = 2;
    assert!(matches!(
        AuditProof::parse(&newer),
        Err(Error::TooNew { .. })
    ));
}

#[test]
fn details_have_one_form_and_long_texts_are_cut() {
    for detail in details() {
        assert_eq!(Detail::parse(&detail.to_bytes()), Ok(detail));
    }
    let long = Detail::Text("search".to_owned(), "\u{e9}".repeat(4000));
    let Detail::Text(_, text) = Detail::parse(&long.to_bytes()).unwrap() else {
        panic!("a text");
    };
    assert_eq!(text.len(), 4096);
    // A type of a newer engine is kept.
    let unknown = [0x82, 0x03, 0x01];
    assert_eq!(
        Detail::parse(&unknown),
        Ok(Detail::Unknown(unknown.to_vec()))
    );
    assert!(Detail::parse(&[0x82, 0x02, 0x01]).is_err());
}
