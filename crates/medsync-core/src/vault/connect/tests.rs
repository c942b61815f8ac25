//! Two real vaults over a wire in memory.

use super::{Connection, Happening, Turn};
use crate::crypto::{Kdf, Suite};
use crate::env::SystemEnv;
use crate::ids::RecordId;
use crate::ledger::certificate::Role;
use crate::model::json::Json;
use crate::model::pack::PolicyPack;
use crate::sync::session::Settings;
use crate::sync::step::{Ending, Notice};
use crate::sync::transfer::Link;
use crate::vault::{NewVault, Vault};
use std::path::Path;

const PACK: &str = r#"{"format": 1, "name": "test", "version": 1, "kinds": {}}"#;
const CANARY: &str = "canary-4d1e";
const SLOW: Settings = Settings {
    link: Link::SLOW,
    live: false,
};
const FAST: Settings = Settings {
    link: Link::FAST,
    live: false,
};

fn record(name: &str) -> RecordId {
    name.parse().expect("a name")
}

fn write(vault: &mut Vault, name: &str, text: &str) {
    let mut draft = vault.draft(&record(name)).expect("a draft");
    draft.set(
        "note",
        Json::parse(format!("\"{text}\"").as_bytes()).expect("json"),
    );
    vault.commit(vec![draft]).expect("commits");
}

fn reads(vault: &Vault, name: &str) -> String {
    let view = vault.read(&record(name)).expect("reads");
    view.map(|view| view.json.into_exposed())
        .unwrap_or_default()
}

/// A vault with a workspace, and one that it admitted; they have never met.
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
    let theirs = admitted(&mut ours, home, "b");
    [ours, theirs]
}

fn admitted(by: &mut Vault, home: &Path, name: &str) -> Vault {
    let new = NewVault {
        passphrase: "correct horse",
        suite: Suite::default(),
        kdf: Kdf::for_tests(),
        person: "Bilal",
        device: name,
    };
    let pack = PolicyPack::from_json(PACK.as_bytes()).expect("a pack");
    let vault = Vault::create_alone(&home.join(name), SystemEnv::shared(), &new, &pack);
    let mut vault = vault.expect("a vault").vault;
    let request = vault.request().expect("a request");
    let grant = by.admit(&request, &[Role::Clinician]).expect("a grant");
    vault.join(&grant).expect("joins");
    vault
}

fn sound(vault: &mut Vault) -> bool {
    let report = vault.verify(true, &mut |_, _| {}).expect("verifies");
    report.is_sound()
}

/// What came of a session: the caller's first.
#[derive(Debug, Default)]
struct Outcome {
    endings: [Option<Ending>; 2],
    bytes: usize,
    wire: Vec<u8>,
    resumed: bool,
    received: [u64; 2],
}

/// Runs a session over a wire that takes `limit` bytes.
fn run(vaults: [&mut Vault; 2], settings: Settings, limit: usize) -> Outcome {
    let [a, b] = vaults;
    let known = a
        .peers()
        .expect("peers")
        .iter()
        .any(|p| p.device == b.device_key());
    let device = b.device_key();
    let (caller, turn) = a
        .connect(known.then_some(&device), settings)
        .expect("connects");
    let answerer = b.accept(settings).expect("accepts");
    let mut sides: [(&mut Vault, Connection); 2] = [(a, caller), (b, answerer)];
    let mut outcome = Outcome::default();
    let mut flying: [Vec<u8>; 2] = [note(&mut outcome, 0, turn), Vec::new()];
    let mut left = limit;
    while flying.iter().any(|bytes| !bytes.is_empty()) && left > 0 {
        for from in 0..2 {
            let mut bytes = std::mem::take(&mut flying[from]);
            bytes.truncate(left);
            left -= bytes.len();
            outcome.bytes += bytes.len();
            outcome.wire.extend(&bytes);
            let (vault, connection) = &mut sides[from];
            let turn = connection.step(vault, Happening::Written(bytes.len()));
            flying[from].extend(note(&mut outcome, from, turn));
            let (vault, connection) = &mut sides[1 - from];
            let turn = connection.step(vault, Happening::Received(&bytes));
            flying[1 - from].extend(note(&mut outcome, 1 - from, turn));
        }
    }
    for (side, (vault, connection)) in sides.iter_mut().enumerate() {
        let turn = connection.step(vault, Happening::Stop);
        note(&mut outcome, side, turn);
        outcome.resumed |= connection.counts().resumed;
        outcome.received[side] = connection.counts().commits_received;
    }
    outcome
}

fn note(outcome: &mut Outcome, side: usize, turn: Turn) -> Vec<u8> {
    assert_eq!(turn.fault, None);
    for notice in turn.notices {
        if let Notice::Ended(ending) = notice {
            outcome.endings[side] = Some(ending);
        }
    }
    turn.frames.concat()
}

fn assert_in_sync(outcome: &Outcome) {
    assert_eq!(outcome.endings, [Some(Ending::InSync); 2]);
}

#[test]
fn two_vaults_meet_and_come_to_show_the_same() {
    let home = tempfile::tempdir().expect("a folder");
    let [mut a, mut b] = two(home.path());
    write(&mut a, "Patient/p1", CANARY);
    write(&mut b, "Observation/o1", "seen");
    let outcome = run([&mut a, &mut b], SLOW, usize::MAX);
    assert_in_sync(&outcome);
    for name in ["Patient/p1", "Observation/o1"] {
        assert_eq!(reads(&a, name), reads(&b, name));
        assert!(!reads(&a, name).is_empty());
    }
    let canary = CANARY.as_bytes();
    assert!(!outcome.wire.windows(canary.len()).any(|w| w == canary));
    // Each holds the other's receipts, and they are those that were given.
    assert_eq!(
        a.receipts().expect("got"),
        b.given_receipts().expect("given")
    );
    assert_eq!(
        b.receipts().expect("got"),
        a.given_receipts().expect("given")
    );
    assert!(!a.receipts().expect("got").is_empty());
    // They know each other now: an equal pair needs one round trip.
    let outcome = run([&mut a, &mut b], SLOW, usize::MAX);
    assert_in_sync(&outcome);
    assert!(outcome.bytes <= 330, "{} bytes", outcome.bytes);
    assert_eq!(outcome.received, [0, 0]);
    // And an edit travels once.
    write(&mut b, "Patient/p1", "changed");
    let outcome = run([&mut b, &mut a], SLOW, usize::MAX);
    assert_in_sync(&outcome);
    assert_eq!(outcome.received, [0, 1]);
    assert_eq!(reads(&a, "Patient/p1"), reads(&b, "Patient/p1"));
    println!("one edit: {} bytes", outcome.bytes);
    assert!(sound(&mut a) && sound(&mut b));
}

#[test]
fn a_line_that_breaks_anywhere_repeats_and_loses_nothing() {
    let home = tempfile::tempdir().expect("a folder");
    let [mut a, mut b] = two(home.path());
    assert_in_sync(&run([&mut a, &mut b], SLOW, usize::MAX));
    let (mut resumed, mut sessions) = (false, 0);
    let noise = |round: usize| {
        let mut bytes = [0; 600];
        let mut reader = blake3::Hasher::new();
        reader
            .update(&round.to_le_bytes())
            .finalize_xof()
            .fill(&mut bytes);
        crate::ids::hex(&bytes)
    };
    for round in 0..6 {
        for at in 0..5 {
            write(
                &mut a,
                &format!("Patient/p{round}-{at}"),
                &noise(round * 10 + at),
            );
            write(
                &mut b,
                &format!("Patient/q{round}-{at}"),
                &noise(round * 10 + at + 5),
            );
        }
        let mut received = [0, 0];
        let mut outcome = Outcome::default();
        // Each try gets a little farther.
        let mut limit = 300 + round * 117;
        while outcome.endings != [Some(Ending::InSync); 2] {
            outcome = run([&mut a, &mut b], SLOW, limit);
            resumed |= outcome.resumed;
            received[0] += outcome.received[0];
            received[1] += outcome.received[1];
            limit += 211;
            sessions += 1;
            assert!(sessions < 400, "it does not come to an end");
        }
        assert_eq!(received, [5, 5], "each commit came once");
    }
    assert!(resumed);
    for name in ["Patient/p3-2", "Patient/q5-4"] {
        assert_eq!(reads(&a, name), reads(&b, name));
    }
}

#[test]
fn a_third_gets_from_one_what_another_wrote_with_its_keys() {
    let home = tempfile::tempdir().expect("a folder");
    let [mut a, mut b] = two(home.path());
    for at in 0..30 {
        write(&mut a, &format!("Patient/p{at}"), "old");
    }
    assert_in_sync(&run([&mut a, &mut b], FAST, usize::MAX));
    let mut c = admitted(&mut a, home.path(), "c");
    assert_in_sync(&run([&mut a, &mut b], FAST, usize::MAX));
    assert_in_sync(&run([&mut c, &mut b], FAST, usize::MAX));
    assert_eq!(reads(&c, "Patient/p7"), reads(&a, "Patient/p7"));
    // What all have already is not sent again, whoever brought it.
    write(&mut c, "Patient/p7", "new");
    assert_in_sync(&run([&mut c, &mut a], FAST, usize::MAX));
    assert_in_sync(&run([&mut a, &mut b], FAST, usize::MAX));
    assert_eq!(reads(&b, "Patient/p7"), reads(&c, "Patient/p7"));
}

#[test]
fn a_copy_that_took_a_new_name_is_compared_anew() {
    let home = tempfile::tempdir().expect("a folder");
    let [mut a, mut b] = two(home.path());
    write(&mut a, "Patient/p1", "one");
    assert_in_sync(&run([&mut a, &mut b], FAST, usize::MAX));
    a.incarnate().expect("a new name");
    write(&mut a, "Patient/p1", "two");
    assert_in_sync(&run([&mut b, &mut a], FAST, usize::MAX));
    assert_eq!(reads(&b, "Patient/p1"), reads(&a, "Patient/p1"));
}

#[test]
fn what_is_committed_while_a_session_lives_goes_at_once() {
    let home = tempfile::tempdir().expect("a folder");
    let [mut a, mut b] = two(home.path());
    let live = Settings { live: true, ..SLOW };
    let (mut caller, turn) = a.connect(None, live).expect("connects");
    let mut answerer = b.accept(live).expect("accepts");
    let mut outcome = Outcome::default();
    let mut to_b = note(&mut outcome, 0, turn);
    for round in 0..3 {
        for _ in 0..12 {
            let turn = caller.step(&mut a, Happening::Written(to_b.len()));
            let more = note(&mut outcome, 0, turn);
            let turn = answerer.step(&mut b, Happening::Received(&to_b));
            let mut to_a = note(&mut outcome, 1, turn);
            let turn = answerer.step(&mut b, Happening::Written(to_a.len()));
            to_a.extend(note(&mut outcome, 1, turn));
            let turn = caller.step(&mut a, Happening::Received(&to_a));
            to_b = [more, note(&mut outcome, 0, turn)].concat();
        }
        assert!(caller.session().is_in_sync() && answerer.session().is_in_sync());
        let name = format!("Patient/live{round}");
        if round > 0 {
            let before = format!("Patient/live{}", round - 1);
            assert_eq!(reads(&a, &before), reads(&b, &before));
        }
        write(&mut a, &name, "now");
        let turn = caller.step(&mut a, Happening::Committed);
        to_b.extend(note(&mut outcome, 0, turn));
    }
    assert_eq!(outcome.endings, [None, None]);
}

#[test]
fn a_revoked_device_is_turned_away() {
    let home = tempfile::tempdir().expect("a folder");
    let [mut a, mut b] = two(home.path());
    assert_in_sync(&run([&mut a, &mut b], FAST, usize::MAX));
    a.revoke(&b.device_key().0, "lost").expect("revokes");
    write(&mut b, "Patient/p1", "after");
    let outcome = run([&mut b, &mut a], FAST, usize::MAX);
    assert!(matches!(outcome.endings[1], Some(Ending::Refused(_))));
    assert_eq!(reads(&a, "Patient/p1"), "");
}
