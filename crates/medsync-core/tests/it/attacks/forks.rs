//! A member who forks their own chain, again and again, in any order of arrival.

use super::{Cell, CommitId, Mallory, Part, Role, Scene, env, json, new_vault, record};
use crate::seed::config;
use medsync_core::doc::encode;
use medsync_core::doc::state::{Incoming, RecordState};
use medsync_core::ids::ChangeId;
use medsync_core::ledger::certificate::{Certificate, Subject, Terms};
use medsync_core::ledger::entry::ItemKind;
use medsync_core::ledger::wire::SealedBatch;
use medsync_core::model::kind::ActivePack;
use medsync_core::model::policy::Standing;
use medsync_core::testing::history::Numbers;
use medsync_core::vault::Vault;
use proptest::test_runner::RngSeed;

/// Where one branch of Mallory's stands: the chain, and the record as it is there.
struct Branch {
    mallory: Mallory,
    held: Vec<Incoming>,
    state: RecordState,
}

impl Branch {
    fn fork(&self) -> Self {
        let mut mallory = self.mallory.elsewhere(0);
        mallory.replica = self.mallory.replica;
        mallory.tip = self.mallory.tip;
        Self {
            mallory,
            held: self.held.clone(),
            state: self.state.clone(),
        }
    }

    /// Writes a field, in a batch of its own. Now and then what was in view is what is not there.
    fn write(&mut self, scene: &Scene, text: &str, seen: Option<Vec<ChangeId>>) -> SealedBatch {
        let pack = ActivePack::new(super::pack());
        let rules = pack.kind("Observation");
        let hlc = Mallory::now().max(self.mallory.tip.hlc);
        let cell = Cell::put(&json(&format!("\"{text}\"")));
        let actor = self.mallory.chain().actor();
        let change = self.state.make(actor, hlc, vec![("code".into(), cell)]);
        let incoming = Incoming {
            id: encode(&change).1,
            seen: None,
            patient: None,
            chain: 0,
            commit_seq: change.seq,
            commit: CommitId([0; 32]),
            standing: Standing::default(),
            import: None,
            change: change.clone(),
        };
        self.held.push(incoming);
        self.state = RecordState::replay(self.held.clone(), rules).expect("a branch is a history");
        let part = Part {
            record: record("a"),
            change,
            seen,
        };
        self.mallory.one(scene, &[part])
    }
}

/// Forks on forks: batches in the order they were made.
fn forest(scene: &Scene, mallory: Mallory, numbers: &mut Numbers) -> Vec<SealedBatch> {
    let mut branches = vec![Branch {
        mallory,
        held: Vec::new(),
        state: RecordState::default(),
    }];
    let mut all = Vec::new();
    for n in 0..14 {
        let at = usize::try_from(numbers.next()).unwrap_or(0) % branches.len();
        if n > 1 && numbers.next().is_multiple_of(3) && branches.len() < 5 {
            let fork = branches[at].fork();
            branches.push(fork);
            all.push(branches[at].write(scene, &format!("a{n}"), None));
            let last = branches.len() - 1;
            all.push(branches[last].write(scene, &format!("b{n}"), None));
        } else {
            // In sight of another branch too.
            let other = usize::try_from(numbers.next()).unwrap_or(0) % branches.len();
            let mut seen = branches[other].state.heads();
            seen.extend(branches[at].state.heads());
            seen.sort_unstable();
            seen.dedup();
            let seen = (numbers.next().is_multiple_of(2) && !seen.is_empty()).then_some(seen);
            all.push(branches[at].write(scene, &format!("v{n}"), seen));
        }
    }
    all
}

fn join(scene: &mut Scene) -> Vault {
    let dir = scene.stick.with_file_name("second");
    let created = Vault::create_alone(&dir, env(), &new_vault("Ben", "Tablet"), &super::pack());
    let mut vault = created.expect("a vault").vault;
    let request = vault.request().expect("a request");
    let grant = scene.vault.admit(&request, &[Role::Clinician]);
    vault.join(&grant.expect("a grant")).expect("joins");
    vault
}

#[test]
fn forks_on_forks_come_out_the_same_in_every_order_of_arrival() {
    let RngSeed::Fixed(seed) = config().rng_seed else {
        panic!("a seed");
    };
    for round in 0..6 {
        let mut numbers = Numbers(seed.wrapping_add(round));
        let mut scene = Scene::new();
        scene.write("b", "code", "ours");
        let mallory = Mallory::admitted(&mut scene, &[Role::Clinician]);
        let mut other = join(&mut scene);
        scene.put_key(&mallory);
        let key = mallory.person.public();
        let all = forest(&scene, mallory, &mut numbers);
        // Each takes up the same files one by one, in an order of its own.
        let mut order: Vec<usize> = (0..all.len()).collect();
        // Every other time the key is revoked when the one device has half of it: what counts is
        // then a matter of branches, for the other too.
        let revoked = (round % 2 == 1).then_some(all.len() / 2);
        for first in [true, false] {
            numbers.shuffle(&mut order);
            for (n, at) in order.iter().enumerate() {
                if first && revoked == Some(n) {
                    scene.vault.revoke(&key, "stolen").expect("revokes");
                }
                scene.put(1, &all[*at..=*at]);
                let vault = if first { &mut scene.vault } else { &mut other };
                let stick = scene.stick.clone();
                let report = vault.exchange(&stick, &mut |_| {}).expect("exchanges");
                assert_eq!(report.received.quarantined, 0, "seed {seed}, {report:?}");
                let dir = scene.workspace_dir().join(format!("{:016x}", 1));
                std::fs::remove_dir_all(dir).expect("removes");
                if first {
                    // What the first leaves, the second does not find here.
                    let own = scene.vault.device_key();
                    let name = medsync_core::ids::hex(&own.0[..8]);
                    drop(std::fs::remove_dir_all(scene.workspace_dir().join(name)));
                }
            }
        }
        for _ in 0..3 {
            scene.exchange();
            other
                .exchange(&scene.stick, &mut |_| {})
                .expect("exchanges");
        }
        let [a, b] = [&scene.vault, &other].map(|v| v.status().expect("a status"));
        assert_eq!(a.pending, 0, "seed {seed}, round {round}");
        assert_eq!(a.ledger_digest, b.ledger_digest, "seed {seed}");
        assert_eq!(a.state_digest, b.state_digest, "seed {seed}");
        let report = other.verify(true, &mut |_, _| {}).expect("verifies");
        assert!(report.is_sound(), "seed {seed}: {report:?}");
        scene.assert_sound();
        // Nobody is kept from writing on.
        scene.write("a", "code", "by an honest person");
        scene.assert_sound();
    }
}

#[test]
fn two_changes_of_one_number_in_one_chain_are_strands_too() {
    let mut scene = Scene::new();
    let mut mallory = Mallory::admitted(&mut scene, &[Role::Clinician]);
    let parts = ["x", "y"].map(|text| mallory.fresh("a", "code", text));
    let commits = parts.map(|part| mallory.commit(&[part], &[]));
    let batch = mallory.batch(&scene, commits.into());
    scene.put_key(&mallory);
    scene.put(1, &[batch]);
    let report = scene.exchange();
    assert_eq!(report.received.quarantined, 0, "{report:?}");
    let open = scene.vault.escalations().expect("questions");
    assert_eq!(open[0].candidates.len(), 2);
    scene.write("a", "note", "over both");
    scene.assert_sound();
}

/// Mallory's chain of three commits, and a thief's second branch from the first on.
fn stolen(scene: &Scene, mallory: &mut Mallory, item: &[(ItemKind, Vec<u8>)]) -> [SealedBatch; 2] {
    let first = [mallory.fresh("first", "code", "x")];
    let first = mallory.commit(&first, &[]);
    let mut thief = mallory.elsewhere(0);
    (thief.replica, thief.tip) = (mallory.replica, mallory.tip);
    let mut honest = vec![first];
    for id in ["second", "third"] {
        let part = [mallory.fresh(id, "code", "x")];
        honest.push(mallory.commit(&part, &[]));
    }
    let part = [thief.fresh("stolen", "code", "x")];
    let stolen = thief.commit(&part, item);
    let [honest, stolen] = [(&*mallory, honest), (&thief, vec![stolen])];
    [honest, stolen].map(|(who, commits)| who.batch(scene, commits))
}

fn confirmed(vault: &Vault, id: &str) -> bool {
    let history = vault.history(&record(id), None).expect("a history");
    assert!(!history.is_empty());
    history.iter().all(|event| event.candidate.confirmed)
}

#[test]
fn a_branch_below_a_revocations_cut_has_no_authority() {
    for stolen_first in [false, true] {
        let mut scene = Scene::new();
        let mut mallory = Mallory::admitted(&mut scene, &[Role::Clinician]);
        let mut other = join(&mut scene);
        scene.put_key(&mallory);
        let [honest, stolen] = stolen(&scene, &mut mallory, &[]);
        if stolen_first {
            // One device sees the thief's branch before anything else.
            scene.put(1, std::slice::from_ref(&stolen));
            other
                .exchange(&scene.stick, &mut |_| {})
                .expect("exchanges");
            let left = scene.workspace_dir();
            for dir in std::fs::read_dir(left).expect("a folder") {
                let dir = dir.expect("an entry").path();
                if !dir.ends_with(format!("{:016x}", 0)) {
                    std::fs::remove_dir_all(dir).expect("removes");
                }
            }
            assert!(other.read(&record("stolen")).expect("reads").is_some());
        }
        scene.put(2, &[honest]);
        scene.exchange();
        scene
            .vault
            .revoke(&mallory.person.public(), "stolen")
            .expect("revokes");
        scene.put(1, &[stolen]);
        for _ in 0..3 {
            scene.exchange();
            other
                .exchange(&scene.stick, &mut |_| {})
                .expect("exchanges");
        }
        for vault in [&scene.vault, &other] {
            for id in ["first", "second", "third"] {
                assert!(confirmed(vault, id), "{id}");
            }
            assert!(!confirmed(vault, "stolen"), "its place is below the cut");
            let people = vault.people().expect("people");
            let flagged = people.iter().find(|p| p.key == mallory.chain().author);
            assert!(flagged.is_some_and(|p| p.forked && p.revoked));
            assert_eq!(vault.status().expect("a status").forked.len(), 1);
        }
        let [a, b] = [&scene.vault, &other].map(|v| v.status().expect("a status"));
        assert_eq!(a.state_digest, b.state_digest);
        assert_eq!(a.ledger_digest, b.ledger_digest);
        scene.assert_sound();
    }
}

#[test]
fn nobody_is_admitted_on_a_branch_below_a_cut() {
    let mut scene = Scene::new();
    let mut mallory = Mallory::admitted(&mut scene, &[Role::Admin, Role::Clinician]);
    let friend = Subject::Person(Mallory::new().chain().author);
    let terms = Terms::new(
        scene.workspace,
        friend,
        "Friend",
        [Role::Admin],
        Mallory::now(),
    );
    let certificate = Certificate::issue(&mallory.person, &terms).expect("a certificate");
    let item = (ItemKind::CERTIFICATE, certificate.bytes().to_vec());
    let [honest, stolen] = stolen(&scene, &mut mallory, &[item]);
    scene.put_key(&mallory);
    scene.put(1, &[honest]);
    scene.exchange();
    let known = |scene: &Scene| {
        let people = scene.vault.people().expect("people");
        people.iter().any(|p| p.key.0 == *friend.key())
    };
    scene.put(2, &[stolen]);
    scene.exchange();
    assert!(known(&scene), "both branches count until a revocation says");
    scene.assert_sound();
    // The same with the revocation there before the branch.
    let mut scene = Scene::new();
    let mut mallory = Mallory::admitted(&mut scene, &[Role::Admin, Role::Clinician]);
    let terms = Terms::new(
        scene.workspace,
        friend,
        "Friend",
        [Role::Admin],
        Mallory::now(),
    );
    let certificate = Certificate::issue(&mallory.person, &terms).expect("a certificate");
    let item = (ItemKind::CERTIFICATE, certificate.bytes().to_vec());
    let [honest, stolen] = self::stolen(&scene, &mut mallory, &[item]);
    scene.put_key(&mallory);
    scene.put(1, &[honest]);
    scene.exchange();
    scene
        .vault
        .revoke(&mallory.person.public(), "stolen")
        .expect("revokes");
    scene.put(2, &[stolen]);
    scene.exchange();
    assert!(!known(&scene));
    scene.assert_sound();
    assert!(!known(&scene));
}
