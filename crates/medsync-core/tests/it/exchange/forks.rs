//! Clones and restored backups that write under one name, and what becomes of it.

use super::{World, copy_all, exchange, files, files_of, note};
use medsync_core::env::SystemEnv;
use medsync_core::ids::RecordId;
use medsync_core::model::json::Json;
use medsync_core::store::Unlock;
use medsync_core::vault::{Decision, Vault};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

fn dose_of(id: &str) -> RecordId {
    RecordId::new("Observation", id).expect("a name")
}

/// Writes a dose, which people have to agree on, in sight of what is there.
fn dose(vault: &mut Vault, id: &str, text: &str) {
    let mut draft = vault.draft(&dose_of(id)).expect("a draft");
    draft.set("dose", Json::string(text));
    vault.commit(vec![draft]).expect("commits");
}

fn shown(vault: &Vault, id: &str) -> String {
    let view = vault.read(&dose_of(id)).expect("reads");
    view.map_or_else(String::new, |v| v.json.expose().clone())
}

impl World {
    fn open(&self, dir: &str) -> Vault {
        let unlock = Unlock::Passphrase("correct horse");
        let dir = self.home.path().join(dir);
        Vault::open(&dir, SystemEnv::shared(), unlock).expect("opens")
    }

    /// Copies the last vault, which is opened again, under other names.
    fn copies(&mut self, names: &[&str]) {
        let no = self.vaults.len() - 1;
        self.vaults.truncate(no);
        let dir = format!("v{no}");
        for name in names {
            copy_all(&self.home.path().join(&dir), &self.home.path().join(name));
        }
        let again = self.open(&dir);
        self.vaults.push(again);
    }

    fn digests(&self, no: usize) -> (String, String, u64) {
        let status = self.vaults[no].status().expect("a status");
        assert_eq!((status.pending, status.quarantine), (0, 0));
        (status.ledger_digest, status.state_digest, status.questions)
    }

    fn assert_same(&mut self) {
        for no in 0..self.vaults.len() {
            assert_eq!(self.digests(no), self.digests(0), "{no}");
            let report = self.vaults[no].verify(true, &mut |_, _| {});
            let report = report.expect("verifies");
            assert!(report.is_sound(), "{report:?}");
        }
    }
}

#[test]
fn a_restored_backup_loses_nothing_and_both_doses_are_a_question() {
    let mut world = World::new(2);
    dose(&mut world.vaults[1], "a", "5 mg");
    world.converge();
    world.copies(&["backup"]);
    dose(&mut world.vaults[1], "a", "10 mg");
    world.exchange(1);
    world.exchange(0);
    // The backup, restored, writes before it meets anybody.
    let replica = world.vaults[1].replica();
    world.vaults.truncate(1);
    let restored = world.open("backup");
    world.vaults.push(restored);
    dose(&mut world.vaults[1], "a", "20 mg");
    let own = world.vaults[1].device_key();
    let report = world.exchange(1);
    assert_eq!(report.rolled_back, [own]);
    assert!(report.received.new_incarnation, "{report:?}");
    assert_ne!(world.vaults[1].replica(), replica);
    assert_eq!(world.vaults[1].escalations().expect("questions").len(), 1);
    let report = world.exchange(0);
    assert_eq!(report.received.equivocations, 1, "{report:?}");
    assert_eq!(report.received.commits, 1, "only what is new is sent");
    assert!(!report.received.new_incarnation, "its own name is its own");
    assert_eq!(world.digests(0), world.digests(1));
    for vault in &world.vaults {
        let open = vault.escalations().expect("questions");
        let values: Vec<String> = open[0]
            .candidates
            .iter()
            .map(|c| c.value.as_ref().expect("a value").expose().text())
            .collect();
        assert_eq!(values, ["\"10 mg\"", "\"20 mg\""]);
        assert!(vault.status().expect("a status").equivocations > 0);
    }
    world.assert_same();
    // Decided once, by someone who saw both, for everybody.
    let question = world.vaults[0].escalations().expect("questions").remove(0);
    let decided = world.vaults[0].resolve(question, Decision::Keep(1), "asked the ward");
    decided.expect("decides");
    world.converge();
    world.assert_same();
    for vault in &world.vaults {
        assert_eq!(vault.escalations().expect("questions").len(), 0);
        assert!(shown(vault, "a").contains("20 mg"));
    }
    // Work goes on over both branches, and nothing is sent twice.
    dose(&mut world.vaults[1], "a", "15 mg");
    let report = world.exchange(1);
    assert_eq!(report.sent_commits, 1, "{report:?}");
    world.converge();
    world.assert_same();
    assert!(shown(&world.vaults[0], "a").contains("15 mg"));
    let before = files(&world.folder);
    assert_eq!(
        world.exchange(0).sent_bytes + world.exchange(1).sent_bytes,
        0
    );
    assert_eq!(files(&world.folder), before);
}

/// What came of the lost commits once fell on both sides of the new one under one number, which then
/// passed for sealed: it never left the device.
#[test]
fn what_a_restored_backup_writes_leaves_it_whatever_else_comes_back() {
    for lost in 1..=4 {
        let mut world = World::new(2);
        world.converge();
        world.copies(&["backup"]);
        for no in 0..lost {
            note(&mut world.vaults[1], "p1", "n", &format!("lost {no}"));
        }
        world.exchange(1);
        world.exchange(0);
        world.vaults.truncate(1);
        let restored = world.open("backup");
        world.vaults.push(restored);
        dose(&mut world.vaults[1], "a", "20 mg");
        world.exchange(1);
        world.exchange(0);
        assert!(shown(&world.vaults[0], "a").contains("20 mg"), "{lost}");
        world.converge();
        world.assert_same();
    }
}

/// Copies once shared one folder: of two that came one right after the other, a peer between them saw
/// only the marks of the second, and the first got nothing.
#[test]
fn two_copies_that_always_come_one_after_the_other_both_get_everything() {
    let mut world = World::new(2);
    world.converge();
    world.copies(&["twin"]);
    let twin = world.open("twin");
    world.vaults.push(twin);
    for round in 0..5 {
        note(&mut world.vaults[0], "p1", "n", &format!("round {round}"));
        for no in 0..3 {
            world.exchange(no);
        }
    }
    let names: BTreeSet<_> = world.vaults.iter().map(Vault::replica).collect();
    assert_eq!(names.len(), 3);
    world.assert_same();
    // And nothing is left for names that nobody bears any more.
    world.exchange(0);
    assert_eq!(
        (0..3).map(|no| world.exchange(no).sent_bytes).sum::<u64>(),
        0
    );
    let batches = files_of(&world.folder, "batches");
    assert_eq!(batches, Vec::<PathBuf>::new());
}

#[test]
fn three_branches_meet_in_any_order_and_are_one() {
    for order in [[1, 2, 3], [3, 1, 2], [2, 3, 1]] {
        let mut world = World::new(2);
        dose(&mut world.vaults[1], "a", "5 mg");
        note(&mut world.vaults[1], "p1", "n", "before");
        world.converge();
        world.copies(&["b2", "b3"]);
        for dir in ["b2", "b3"] {
            let copy = world.open(dir);
            world.vaults.push(copy);
        }
        for (no, text) in [(1, "1 mg"), (2, "2 mg"), (3, "3 mg")] {
            dose(&mut world.vaults[no], "a", text);
            note(&mut world.vaults[no], "p1", "n", text);
            note(&mut world.vaults[no], "p1", &format!("own-{no}"), text);
        }
        for _ in 0..3 {
            for no in order {
                // They are one device for all others, so nobody tells apart what each lacks
                // unless it comes back before another of them does.
                world.exchange(no);
                world.exchange(0);
                world.exchange(no);
            }
        }
        let open = world.vaults[0].escalations().expect("questions");
        assert_eq!(open[0].candidates.len(), 3, "{order:?}");
        world.assert_same();
        // Each has a name of its own by now.
        let mut names: Vec<_> = world.vaults.iter().map(Vault::replica).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 4);
        dose(&mut world.vaults[2], "a", "4 mg");
        for no in [2, 0, 1, 0, 1, 3, 0, 3] {
            world.exchange(no);
        }
        world.assert_same();
    }
}

#[test]
fn a_clone_that_never_wrote_takes_a_name_when_it_meets_the_other() {
    let mut world = World::new(2);
    dose(&mut world.vaults[1], "a", "5 mg");
    world.converge();
    world.copies(&["clone"]);
    dose(&mut world.vaults[1], "a", "6 mg");
    world.exchange(1);
    let clone = world.open("clone");
    world.vaults.push(clone);
    let old = world.vaults[2].replica();
    let report = world.exchange(2);
    assert!(report.received.new_incarnation && report.received.equivocations == 0);
    assert_ne!(world.vaults[2].replica(), old);
    dose(&mut world.vaults[2], "a", "7 mg");
    world.exchange(2);
    world.exchange(0);
    world.exchange(1);
    world.assert_same();
    assert_eq!(world.vaults[0].escalations().expect("questions").len(), 0);
    assert_eq!(world.vaults[0].status().expect("a status").equivocations, 0);
}

#[test]
fn a_long_branch_is_sent_once_and_what_was_before_it_hardly_at_all() {
    let mut world = World::new(3);
    for n in 0..40 {
        note(&mut world.vaults[2], "p1", &format!("n{n}"), "before");
        if n % 10 == 0 {
            world.exchange(2);
        }
    }
    world.converge();
    world.copies(&["backup"]);
    for n in 0..3 {
        note(&mut world.vaults[2], "p1", "x", &format!("after {n}"));
    }
    world.exchange(2);
    world.exchange(0);
    world.vaults.truncate(2);
    let restored = world.open("backup");
    world.vaults.push(restored);
    for n in 0..5 {
        note(&mut world.vaults[2], "p1", "x", &format!("again {n}"));
    }
    let report = world.exchange(2);
    // The two branches, and at most the sixteen places that its marks left open.
    assert!(report.sent_commits <= 24, "{report:?}");
    world.exchange(0);
    world.exchange(1);
    world.exchange(2);
    world.assert_same();
    let sent: u64 = (0..3).map(|no| world.exchange(no).sent_commits).sum();
    assert_eq!(sent, 0);
    // A stick of its own tells the same.
    let other = world.home.path().join("other");
    fs::create_dir(&other).expect("a folder");
    let report = exchange(&mut world.vaults[0], &other).expect("exchanges");
    assert_eq!(report.sent_commits, 0, "{report:?}");
}
