//! Writes the seeds of every target but `change` to fuzz/corpus, by the real encoders:
//! `cargo run --manifest-path fuzz/Cargo.toml --example seeds`.

#![forbid(unsafe_code)]

use medsync_core::crypto::{Kdf, KeyFile, Suite, Words, seal_under_pin};
use medsync_core::ids::{AuthorKey, ChangeId, CommitId, DataKeyId, DeviceKey, ReplicaId};
use medsync_core::ledger::audit::{
    Action, Actor, AuditEvent, Detail, Head, HeadTerms, LogId, Subject as About, root, salt,
};
use medsync_core::ledger::audit_proof::{AuditProof, ProofEntry, ProofLeaf, ProofLog};
use medsync_core::ledger::batch::seal;
use medsync_core::ledger::certificate::{Certificate, Role, Subject, Terms};
use medsync_core::ledger::commit::{Commit, CommitBuilder, Intent, Tip};
use medsync_core::ledger::enrol::Grant;
use medsync_core::ledger::entry::{ChangeEntry, Entry, ImportMark, ItemKind, leaf};
use medsync_core::ledger::membership::{Carrier, MemberItem, Membership};
use medsync_core::ledger::revocation::{Cut, Revocation, RevocationTerms};
use medsync_core::ledger::rotation::{Rotation, RotationTerms};
use medsync_core::ledger::wire::{SealedBatch, WireCommit, WireLeaf, seal_leaf};
use medsync_core::model::pack::Lane;
use medsync_core::phi::Phi;
use medsync_core::testing::history::{Script, Step, record};
use medsync_core::testing::kept::{self, Kept};
use medsync_core::time::Timestamp;
use medsync_core::vault::exchange::door::{FileKind, sample};
use medsync_fuzz::batch::{DATA_KEY, chain};
use medsync_fuzz::{
    ADMIN, FixedEnv, authority, body, claims, join_row, key, request, unarmor, workspace,
};
use std::path::Path;

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let all = [
        ("json", json()),
        ("sealed_batch", sealed_batch()),
        ("header_entry", header_entry()),
        ("certificate", certificate()),
        ("enrol", enrol()),
        ("audit", audit()),
        ("key_file", key_file()),
        ("pack", pack()),
        ("fhir", fhir()),
        ("row", row()),
        ("exchange", exchange()),
        ("lean_block", lean_block()),
        ("kept", kept()),
    ];
    for (target, seeds) in all {
        let folder = corpus.join(target);
        std::fs::create_dir_all(&folder)?;
        for (name, bytes) in seeds {
            std::fs::write(folder.join(name), bytes)?;
        }
    }
    Ok(())
}

type Seeds = Vec<(&'static str, Vec<u8>)>;

fn lean_block() -> Seeds {
    let names = ["alone-1", "alone-2", "alone-3", "alone-4", "alone-5", "alone-6"];
    let mut seeds: Seeds = names.into_iter().zip(medsync_fuzz::lean::standalone()).collect();
    let names = ["second", "third", "fourth"];
    let blocks = medsync_fuzz::lean::blocks().into_iter().skip(1);
    seeds.extend(names.into_iter().zip(blocks));
    seeds
}

fn kept() -> Seeds {
    let of = |no: u8, kind| [vec![no], kept::sample(kind)].concat();
    vec![
        ("record", of(0, Kept::Record)),
        ("anchor", of(1, Kept::Anchor)),
        ("tries", of(2, Kept::Tries)),
    ]
}

fn json() -> Seeds {
    let texts = [
        (
            "object",
            r#"{"b":[1.0,1E-22,-0,null],"a":{"c":true,"d":false}}"#,
        ),
        ("strings", r#"["\u20ac$\u000F\n\"\\\/","\ud83d\ude00",""]"#),
        ("number", "12345678901234567890"),
        ("nested", "[[[[[[[[{\"a\":[[]]}]]]]]]]]"),
    ];
    texts.map(|(name, text)| (name, text.into())).into()
}

fn change(n: u8) -> ChangeEntry {
    ChangeEntry {
        record: format!("Observation/o{n}").parse().expect("a name"),
        patient: "Patient/p1".parse().ok(),
        seen: Some(vec![ChangeId([n; 32])]),
        change: ChangeId([n; 32]),
        because: Some("seen on rounds".to_owned()),
        source: Some(ImportMark {
            source: "lab".to_owned(),
            digest: [n; 16],
        }),
    }
}

fn commits() -> Vec<Commit> {
    let mut tip = Tip::START;
    (1..=2)
        .map(|n| {
            let hlc = Timestamp(tip.hlc.0 + 1);
            let builder = CommitBuilder::new(chain(), tip, hlc, Lane::P1, Intent::Edit);
            let mut builder = builder.expect("a commit");
            builder.change(&change(n), &DATA_KEY).expect("an entry");
            builder.change(&change(9), &DATA_KEY).expect("an entry");
            builder.item(ItemKind::PACK, b"pack").expect("an item");
            let commit = builder.build().expect("a commit");
            tip = commit.header.tip();
            commit
        })
        .collect()
}

fn sealed_batch() -> Seeds {
    let run = commits();
    let wire = |commit: &Commit| {
        let id = DataKeyId([5; 16]);
        let sealed = seal_leaf(&FixedEnv(3), commit, 0, id, &DATA_KEY, b"change");
        let withheld = WireLeaf::Withheld(commit.entries[1].leaf);
        let item = WireLeaf::Item(commit.entries[2].bytes.clone());
        WireCommit {
            header: commit.header.bytes().to_vec(),
            leaves: vec![sealed.expect("sealed"), withheld, item],
        }
    };
    let bytes = |run: &[Commit]| {
        let headers: Vec<_> = run.iter().map(|c| c.header.clone()).collect();
        let signed = seal(&key(ADMIN), workspace(), &headers).expect("a seal");
        let commits = run.iter().map(wire).collect();
        SealedBatch { signed, commits }.to_bytes().expect("a batch")
    };
    vec![("one", bytes(&run[..1])), ("two", bytes(&run))]
}

fn header_entry() -> Seeds {
    let run = commits();
    let headers: Vec<_> = run.iter().map(|c| c.header.clone()).collect();
    let batch = seal(&key(ADMIN), workspace(), &headers).expect("a seal");
    let plain = ChangeEntry {
        seen: None,
        patient: None,
        because: None,
        source: None,
        ..change(1)
    };
    let plain = Entry::Change(plain).to_bytes().expect("an entry");
    vec![
        ("first", run[0].header.bytes().to_vec()),
        ("second", run[1].header.bytes().to_vec()),
        ("batch", batch.header),
        ("change", run[0].entries[0].bytes.clone()),
        ("plain", plain),
        ("item", run[0].entries[2].bytes.clone()),
        ("unknown", vec![0x83, 0x02, 0x81, 0xf6, 0x61, 0x61]),
    ]
}

fn issued() -> Timestamp {
    Timestamp::new(1_700_000_000_000, 0)
}

/// Certificates of the admin, the newcomer and the newcomer's device, a revocation and a vote.
fn statements() -> [MemberItem; 5] {
    let request = request();
    let certify = |signer, subject, role| {
        let terms = Terms::new(workspace(), subject, "name", [role], issued());
        MemberItem::Certificate(Certificate::issue(signer, &terms).expect("a certificate"))
    };
    let admin = key(ADMIN);
    let device = Subject::Device {
        key: request.device(),
        recipient: Some(*request.recipient()),
    };
    let cut = Cut {
        seq: 3,
        commit: CommitId([9; 32]),
    };
    let revoked = RevocationTerms {
        workspace: workspace(),
        subject: [8; 32],
        cuts: [(chain().replica, [cut].into())].into(),
        because: Phi::new("lost".to_owned()),
        issued: issued(),
    };
    let revocation = Revocation::issue(&admin, &revoked).expect("a revocation");
    let vote = RotationTerms {
        workspace: workspace(),
        from: authority().public(),
        to: key(40).public(),
        keeps: [[5; 32], [6; 32]].into(),
        issued: issued(),
    };
    let rotation = Rotation::issue(&admin, &vote).expect("a rotation");
    let person = Subject::Person(AuthorKey(admin.public()));
    [
        certify(&authority(), person, Role::Admin),
        certify(&admin, Subject::Person(request.person()), Role::Clinician),
        certify(&admin, device, Role::Archive),
        MemberItem::Revocation(revocation),
        MemberItem::Rotation(rotation),
    ]
}

fn certificate() -> Seeds {
    let [admin, person, device, revocation, rotation] = statements();
    let claims = |item: &MemberItem| claims(item.bytes()).expect("an encoder's own statement");
    vec![
        ("admin", admin.bytes().to_vec()),
        ("admin.claims", claims(&admin)),
        ("person.claims", claims(&person)),
        ("device.claims", claims(&device)),
        ("revocation", revocation.bytes().to_vec()),
        ("revocation.claims", claims(&revocation)),
        ("rotation", rotation.bytes().to_vec()),
        ("rotation.claims", claims(&rotation)),
    ]
}

fn audit() -> Seeds {
    let device = key(31);
    let log = LogId {
        device: DeviceKey(device.public()),
        replica: ReplicaId([2; 16]),
    };
    let detail = Detail::Text("search".to_owned(), "devi".to_owned()).to_bytes();
    let salt = salt(&DATA_KEY, &log, 1, 0);
    let event = AuditEvent {
        seq: 1,
        hlc: Timestamp::new(1_700_000_000_000, 0),
        action: Action::SEARCH,
        done: true,
        actor: Actor::Person(chain().author),
        subject: About::Details(root(&[leaf(&salt, &detail)])),
    };
    let bytes = event.to_bytes();
    let terms = HeadTerms {
        workspace: Some(workspace()),
        log,
        seq: 1,
        hash: AuditEvent::chain(&log.start(), &bytes),
        hlc: event.hlc,
    };
    let head = Head::sign(&device, terms).expect("its own log");
    let entry = ProofEntry {
        bytes: bytes.clone(),
        leaves: vec![ProofLeaf::Shown(salt, detail.clone())],
    };
    let proof = AuditProof {
        membership: Membership::new(authority().public()),
        logs: vec![ProofLog {
            id: log,
            entries: vec![entry],
            heads: vec![head.clone()],
        }],
    };
    vec![
        ("event", bytes),
        ("detail", detail),
        ("head", head.to_bytes()),
        ("proof", proof.to_bytes()),
    ]
}

fn enrol() -> Seeds {
    let request = request();
    let mut membership = Membership::new(authority().public());
    membership.extend((1..).zip(statements()).map(|(seq, item)| {
        let (hlc, chain) = (issued(), chain());
        let commit = CommitId([9; 32]);
        let carrier = Carrier {
            hlc,
            chain,
            seq,
            commit,
        };
        (item, carrier)
    }));
    let grant = Grant::answer(&key(ADMIN), &request, &membership, "St. Mary");
    let grant = grant.expect("a grant");
    vec![
        ("request.txt", request.to_text().into_bytes()),
        ("request.body", body(&unarmor(&request.to_text()))),
        ("grant.body", body(&unarmor(&grant))),
        ("grant.txt", grant.into_bytes()),
    ]
}

fn key_file() -> Seeds {
    let (env, kdf) = (FixedEnv(7), Kdf::for_tests());
    let words = Words::generate(&env);
    let keys = KeyFile::create(&env, Suite::default(), "passphrase", kdf, &words);
    let sealed = seal_under_pin(&env, b"4711", kdf, "seed", b"secret").expect("a seal");
    vec![
        ("keys", keys.expect("a key file").0.to_bytes()),
        ("pin", [vec![1], sealed].concat()),
    ]
}

fn pack() -> Seeds {
    let rules = r#"{"format":1,"name":"r","version":2,"kinds":{"Patient":{"lane":"P0","patient":"self",
"indexes":[{"name":"name","path":"name.family","words":true}],"fields":{}}},"rules":[{"name":"blood",
"kind":"Observation","check":{"is":"one-value","code":"code","codes":["s|c"],"value":"value[x]"},
"why":"w","except":[{"path":"status","codes":["entered-in-error"]}]},{"name":"none",
"kind":"Observation","check":{"is":"negation","code":"code","negative":["s|n"]},"why":""}]}"#;
    vec![
        (
            "all-policies.json",
            medsync_core::testing::history::PACK.into(),
        ),
        ("rules.json", rules.into()),
    ]
}

fn fhir() -> Seeds {
    let patient = r#"{"resourceType":"Patient","id":"p1","active":true,"name":[{"family":"F"}],"_birthDate":{"id":"b"}}"#;
    let request = r#"{"resourceType":"MedicationRequest","id":"m1","status":"active","dosageInstruction":[{"text":"1-0-1"}]}"#;
    let bundle = format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[{{"fullUrl":"urn:uuid:1","resource":{patient},"request":{{"method":"PUT","url":"Patient/p1"}}}},{{"resource":{request}}}]}}"#
    );
    let search = format!(
        r#"{{"resourceType":"Bundle","type":"searchset","entry":[{{"search":{{"mode":"outcome"}}}},{{"resource":{patient}}}]}}"#
    );
    vec![
        ("two.ndjson", format!("{patient}\n{request}\n").into()),
        ("document.json", patient.replace(',', ",\n ").into()),
        ("transaction.json", bundle.into()),
        ("searchset.json", search.into()),
    ]
}

/// States of a history: one edit, many keys, a disagreement with its decision.
fn row() -> Seeds {
    let edit = |replica, person, cells: &[(u8, u8)]| Step::Edit {
        replica,
        person,
        pin: 0,
        years: 0,
        cells: cells.to_vec(),
    };
    let send = |from, to| Step::Send {
        from,
        to,
        which: u32::MAX,
        shuffle: 0,
    };
    let decide = Step::Review {
        replica: 0,
        person: 1,
        pin: 0,
        choice: 0,
    };
    let all = [(0, 1), (1, 2), (2, 1), (3, 1)];
    let mut seeds = Vec::new();
    for (name, focus, steps) in [
        ("one", 0, vec![edit(0, 0, &all)]),
        ("lists", 5, vec![edit(0, 0, &all), edit(0, 1, &[(0, 3)])]),
        ("counter", 11, vec![edit(0, 0, &all), edit(0, 3, &[(0, 3)])]),
        (
            "contested",
            0,
            vec![edit(0, 0, &all), edit(1, 2, &[(0, 2), (1, 3)]), send(1, 0)],
        ),
        (
            "decided",
            0,
            vec![
                edit(0, 0, &all),
                edit(1, 2, &[(1, 3), (0, 2)]),
                send(1, 0),
                decide,
            ],
        ),
    ] {
        let script = Script {
            replicas: 2,
            clones: 0,
            focus,
            steps,
        };
        let world = script.run();
        let state = &world.replicas[0].state;
        let view = state.render(&record(), &world.rules);
        seeds.push((name, join_row(&state.to_row(&world.rules), &view)));
    }
    seeds
}

fn exchange() -> Seeds {
    let file = |mark: u8, kind| [vec![mark], sample(kind)].concat();
    vec![
        ("marks", file(0, FileKind::Marks)),
        ("keys", file(1, FileKind::Keys)),
        ("batches", file(2, FileKind::Batches)),
        ("claim", file(3, FileKind::Claim)),
    ]
}
