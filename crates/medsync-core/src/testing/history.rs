//! Random histories of one record: a few replicas edit, review and exchange what they have.
//!
//! A [`Script`] is plain numbers, so that a failing one shrinks; [`Script::run`] plays it. Changes
//! have the bytes and hashes of real ones. People differ in authority, clocks are off by up to ten
//! years, forms stay open while others write, and an exchange carries any part of what the sender
//! has, in any order, some of it twice.

use crate::doc::encode;
use crate::doc::state::{Incoming, Readiness, RecordState};
use crate::ids::{AuthorKey, ChainId, ChangeId, CommitId, RecordId, ReplicaId};
use crate::model::cell::{Atom, Cell, Review};
use crate::model::json::Json;
use crate::model::kind::{ActivePack, KindRules, field_of_key};
use crate::model::order::Order;
use crate::model::pack::{PolicyPack, PolicyRow};
use crate::model::policy::Standing;
use crate::time::Clock;
use proptest::prelude::*;
use std::sync::Arc;

/// The kind of the record.
pub const KIND: &str = "Chart";

/// A pack in which one kind has every policy with every parameter.
pub const PACK: &str = include_str!("history_pack.json");

/// Keys that the histories write. Neighbours are written together.
pub const KEYS: &[&str] = &[
    "status",
    "dose",
    "gender",
    "phase",
    "note",
    "telecom/a",
    "telecom/b",
    "tag/a",
    "reaction/a",
    "identifier/a",
    "problem/a",
    "stock",
    "criticality",
    "consent",
    "blood",
    "allergy",
    "extra",
];

/// The people: a clinician, a reviewer who is one too, another clinician, someone without any
/// authority, and a reviewer who is no clinician.
pub const PEOPLE: &[Standing] = &[
    standing(true, false),
    standing(true, true),
    standing(true, false),
    standing(false, false),
    standing(false, true),
];

const YEAR_MS: i64 = 365 * 24 * 3_600_000;
const START_MS: i64 = 1_700_000_000_000;

const fn standing(clinical: bool, reviewer: bool) -> Standing {
    Standing { clinical, reviewer }
}

/// One thing that happens.
#[derive(Debug, Clone)]
pub enum Step {
    /// A person writes keys, from a form opened at an earlier version or the current one.
    Edit {
        /// Where.
        replica: u8,
        /// Who.
        person: u8,
        /// How old the form is.
        pin: u8,
        /// How many years the clock is off.
        years: i8,
        /// Which keys get which values.
        cells: Vec<(u8, u8)>,
    },
    /// A person decides a key that has several candidates.
    Review {
        /// Where.
        replica: u8,
        /// Who.
        person: u8,
        /// How old the form is.
        pin: u8,
        /// Which key, and what stands.
        choice: u8,
    },
    /// A replica receives some of what another has.
    Send {
        /// The sender.
        from: u8,
        /// The receiver.
        to: u8,
        /// Which changes: one bit each, taken round.
        which: u32,
        /// In which order.
        shuffle: u64,
    },
}

/// A history to play.
#[derive(Debug, Clone)]
pub struct Script {
    /// How many replicas.
    pub replicas: u8,
    /// How many of them write under the name of another: the last under that of the first, and so
    /// on. They are its clones, or what a backup was restored to.
    pub clones: u8,
    /// The first of the four keys that are written.
    pub focus: u8,
    /// What happens.
    pub steps: Vec<Step>,
}

/// Histories of `replicas` with up to `steps` steps.
pub fn scripts(
    replicas: std::ops::RangeInclusive<u8>,
    steps: usize,
) -> impl Strategy<Value = Script> {
    let who = || (any::<u8>(), any::<u8>(), any::<u8>());
    let edit = (
        who(),
        -10_i8..=10,
        prop::collection::vec(any::<(u8, u8)>(), 1..4),
    );
    let edit = edit.prop_map(|((replica, person, pin), years, cells)| Step::Edit {
        replica,
        person,
        pin,
        years,
        cells,
    });
    let review = (who(), any::<u8>()).prop_map(|((replica, person, pin), choice)| Step::Review {
        replica,
        person,
        pin,
        choice,
    });
    let which = prop_oneof![Just(u32::MAX), any::<u32>()];
    let send = (any::<u8>(), any::<u8>(), which, any::<u64>());
    let send = send.prop_map(|(from, to, which, shuffle)| Step::Send {
        from,
        to,
        which,
        shuffle,
    });
    let step = prop_oneof![5 => edit, 2 => review, 3 => send];
    let all = (
        replicas,
        any::<u8>(),
        prop::collection::vec(step, 1..=steps),
    );
    all.prop_map(|(replicas, focus, steps)| Script {
        replicas,
        clones: 0,
        focus,
        steps,
    })
}

/// As [`scripts`], with one to three clones among the replicas.
pub fn forked_scripts(
    replicas: std::ops::RangeInclusive<u8>,
    steps: usize,
) -> impl Strategy<Value = Script> {
    let all = (scripts(replicas, steps), 1_u8..=3);
    all.prop_map(|(script, clones)| Script { clones, ..script })
}

/// Numbers from a seed: splitmix64.
#[derive(Debug, Clone)]
pub struct Numbers(pub u64);

impl Numbers {
    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Brings items into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, pick(self.next(), i + 1));
        }
    }
}

/// `n` folded into `0..len`.
fn pick(n: u64, len: usize) -> usize {
    usize::try_from(n % (len.max(1) as u64)).unwrap_or(0)
}

/// The rules of the histories' kind.
pub fn rules() -> Arc<KindRules> {
    let pack = PolicyPack::from_json(PACK.as_bytes()).expect("the pack of this module is valid");
    Arc::clone(ActivePack::new(pack).kind(KIND))
}

/// The record of the histories.
pub fn record() -> RecordId {
    RecordId::new(KIND, "1").expect("a kind and an id of ASCII letters and digits")
}

/// What became of a script.
#[derive(Debug, Clone)]
pub struct World {
    /// The pack's rules for the kind.
    pub rules: Arc<KindRules>,
    /// The replicas.
    pub replicas: Vec<Replica>,
    /// All changes, causes first.
    pub all: Vec<Incoming>,
    /// How many of the replicas are clones.
    pub clones: usize,
}

/// One replica.
#[derive(Debug, Clone, Default)]
pub struct Replica {
    /// What it has applied, in its own order.
    pub held: Vec<Incoming>,
    /// What waits for causes.
    pub waiting: Vec<Incoming>,
    /// The record now.
    pub state: RecordState,
    /// The record as it was after each change, the empty one first.
    pub past: Vec<RecordState>,
    /// How often a change was applied without history.
    pub applied: usize,
    clock: Clock,
}

impl Replica {
    /// Takes a change in: applied, replayed, kept waiting, or known already.
    pub fn receive(&mut self, incoming: &Incoming, rules: &KindRules) {
        self.waiting.push(incoming.clone());
        let mut i = 0;
        while i < self.waiting.len() {
            let ready = self.state.check(&self.waiting[i]);
            match ready.expect("an honest change contradicts nothing") {
                Readiness::Waits(_) => i += 1,
                Readiness::Duplicate => {
                    self.waiting.remove(i);
                }
                Readiness::Ready => {
                    let next = self.waiting.remove(i);
                    self.take(next, rules);
                    i = 0;
                }
            }
        }
    }

    fn take(&mut self, incoming: Incoming, rules: &KindRules) {
        if self.past.is_empty() {
            self.past.push(RecordState::default());
        }
        if self.state.apply(&incoming, rules) {
            self.applied += 1;
            self.held.push(incoming);
        } else {
            self.held.push(incoming);
            self.state = RecordState::replay(self.held.clone(), rules)
                .expect("honest changes replace what stood there");
        }
        self.past.push(self.state.clone());
    }

    /// The strand that an author on a replica of this name builds on.
    fn strand(&self, chain: &ChainId, rules: &KindRules) -> RecordState {
        let own = self.state.last_of(&chain.actor());
        let own = own.and_then(|c| self.state.position(&c.id));
        let strand = self.state.strand_of(own, true);
        let within = |i: &&Incoming| self.state.position(&i.id).is_some_and(|i| strand.has(i));
        let part = self.held.iter().filter(within).cloned().collect();
        RecordState::replay(part, rules).expect("a strand is a history")
    }

    /// The version in front of a person: mostly the current one, else one or many versions old.
    fn pinned(&self, pin: u8) -> Option<&RecordState> {
        match pin % 8 {
            0..=4 => None,
            5 | 6 => self.past.iter().rev().nth(1),
            _ => self.past.get(pick(u64::from(pin) / 8, self.past.len())),
        }
    }
}

impl Script {
    /// Plays the script.
    pub fn run(&self) -> World {
        let mut world = World {
            rules: rules(),
            replicas: vec![Replica::default(); usize::from(self.replicas.max(1))],
            all: Vec::new(),
            clones: usize::from(self.clones),
        };
        for (at, step) in self.steps.iter().enumerate() {
            let now = START_MS + 1000 * i64::try_from(at).unwrap_or(0);
            match step {
                Step::Edit {
                    replica,
                    person,
                    pin,
                    years,
                    cells,
                } => {
                    let at = world.index(*replica);
                    let chosen = |(key, value): &(u8, u8)| {
                        let key = (usize::from(self.focus) + usize::from(key % 4)) % KEYS.len();
                        world.cell(at, KEYS[key], *value)
                    };
                    let mut cells: Vec<(Box<str>, Cell)> = cells.iter().map(chosen).collect();
                    cells.sort_by(|a, b| a.0.cmp(&b.0));
                    cells.dedup_by(|a, b| a.0 == b.0);
                    let now = now + i64::from(*years) * YEAR_MS;
                    world.write(at, *person, *pin, now, cells);
                }
                Step::Review {
                    replica,
                    person,
                    pin,
                    choice,
                } => {
                    let at = world.index(*replica);
                    if let Some(cell) = world.review(at, *pin, *choice) {
                        world.write(at, *person, *pin, now, vec![cell]);
                    }
                }
                Step::Send {
                    from,
                    to,
                    which,
                    shuffle,
                } => world.send(*from, *to, *which, *shuffle, now),
            }
        }
        world
    }
}

impl World {
    fn index(&self, replica: u8) -> usize {
        usize::from(replica) % self.replicas.len()
    }

    /// A value for a key; now and then a removal.
    fn cell(&self, replica: usize, key: &str, value: u8) -> (Box<str>, Cell) {
        let policy = self.rules.policy(field_of_key(key));
        if matches!(policy, PolicyRow::Counter { .. }) {
            let key = format!("{key}/{replica}");
            let number = Json::Number((i64::from(value % 16) - 5).to_string().into());
            return (key.into(), Cell::put(&number));
        }
        (key.into(), value_of(key, value))
    }

    /// A decision on a key that had several candidates at the pinned version.
    fn review(&self, replica: usize, pin: u8, choice: u8) -> Option<(Box<str>, Cell)> {
        let replica = &self.replicas[replica];
        let state = replica.pinned(pin).unwrap_or(&replica.state);
        let open: Vec<_> = state
            .keys
            .iter()
            .filter(|(_, k)| k.outcome.candidates.len() > 1)
            .collect();
        let (key, state) = open.get(usize::from(choice) % open.len().max(1))?;
        let candidates = &state.outcome.candidates;
        let mut settles: Vec<_> = candidates.iter().map(|c| c.id).collect();
        settles.sort_unstable();
        if choice.is_multiple_of(7) {
            settles.pop();
        }
        let stands = match choice % 5 {
            0 => value_of(key, choice / 5),
            n => candidates[usize::from(n) % candidates.len()]
                .cell
                .standing()
                .clone(),
        };
        let review = Review { settles, stands };
        Some(((*key).clone(), Cell::Review(Box::new(review))))
    }

    /// A person commits cells on a replica.
    pub fn write(
        &mut self,
        at: usize,
        person: u8,
        pin: u8,
        now_ms: i64,
        cells: Vec<(Box<str>, Cell)>,
    ) -> ChangeId {
        let person = usize::from(person) % PEOPLE.len();
        // Half of the replicas at most are clones, each of another.
        let last = self.replicas.len() - 1;
        let name = match last - at {
            from_last if from_last < self.clones.min(self.replicas.len() / 2) => from_last,
            _ => at,
        };
        let chain = ChainId {
            author: AuthorKey([u8::try_from(person).unwrap_or(0); 32]),
            replica: ReplicaId([u8::try_from(name).unwrap_or(0); 16]),
        };
        let replica = &mut self.replicas[at];
        let hlc = replica.clock.tick(now_ms);
        let mut seen = replica.pinned(pin).map(RecordState::heads);
        let state = &replica.state;
        let change = match state.clashes() {
            false => state.make(chain.actor(), hlc, cells),
            true => {
                seen = seen.or_else(|| Some(state.heads()));
                let base = replica.strand(&chain, &self.rules);
                base.make(chain.actor(), hlc, cells)
            }
        };
        let incoming = Incoming {
            id: encode(&change).1,
            seen,
            patient: change.deps.is_empty().then(record),
            chain: u32::try_from(at * PEOPLE.len() + person).unwrap_or(0),
            commit_seq: change.seq,
            commit: CommitId([u8::try_from(at).unwrap_or(0); 32]),
            standing: PEOPLE[person],
            import: (change.hlc.0 % 5 == 0).then_some((1, [0; 16])),
            change,
        };
        replica.receive(&incoming, &self.rules);
        self.all.push(incoming.clone());
        incoming.id
    }

    fn send(&mut self, from: u8, to: u8, which: u32, shuffle: u64, now_ms: i64) {
        let (from, to) = (self.index(from), self.index(to));
        let chosen = |(i, _): &(usize, &Incoming)| which & (1 << (i % 32)) != 0;
        let held = self.replicas[from].held.iter().enumerate();
        let mut sent: Vec<Incoming> = held.filter(chosen).map(|(_, c)| c.clone()).collect();
        let mut numbers = Numbers(shuffle);
        numbers.shuffle(&mut sent);
        // A courier that comes twice.
        sent.extend(sent.first().cloned());
        let receiver = &mut self.replicas[to];
        for incoming in &sent {
            receiver.clock.observe(incoming.change.hlc, now_ms);
            receiver.receive(incoming, &self.rules);
        }
    }

    /// Gives everyone everything, in a different order each.
    pub fn meet(&mut self, shuffle: u64) {
        let mut numbers = Numbers(shuffle);
        for replica in &mut self.replicas {
            let mut all = self.all.clone();
            numbers.shuffle(&mut all);
            for incoming in &all {
                replica.receive(incoming, &self.rules);
            }
        }
    }
}

/// A value that suits a key.
pub fn value_of(key: &str, n: u8) -> Cell {
    let removed = Cell::Removed {
        reason: "not so".into(),
    };
    let code = |codes: &[&str]| match codes.get(usize::from(n) % (codes.len() + 1)) {
        Some(code) => Cell::put(&Json::string(code)),
        None => removed.clone(),
    };
    match field_of_key(key) {
        "status" => code(&[
            "active",
            "stopped",
            "on-hold",
            "active",
            "completed",
            "draft",
            "entered-in-error",
            "unheard-of",
        ]),
        "phase" => code(&["planned", "active", "onleave", "finished", "cancelled"]),
        "criticality" => code(&["low", "high", "unable", "unheard-of"]),
        "consent" => code(&["permit", "deny"]),
        "allergy" => match n % 5 {
            0 => removed,
            n => {
                let items = (1..=n).filter(|i| i % 2 == n % 2 || *i == 1);
                Cell::put(&Json::Array(
                    items.map(|i| Json::string(&i.to_string())).collect(),
                ))
            }
        },
        "dose" if n % 8 != 7 => {
            let text = |what: &str| Json::string(&format!("{what}{}", n % 8));
            let object = Json::object([
                ("dosage", text("dosage")),
                ("medicationReference", text("medicine")),
            ]);
            Cell::Put {
                atom: Atom::members(&object).expect("an object with members"),
                order: None,
            }
        }
        field if key.contains('/') && n % 6 != 5 => {
            let text = Json::string(&format!("v{}", n % 4));
            let atom = if n.is_multiple_of(3) {
                let under = format!("_{field}");
                let object = Json::object([(under.as_str(), Json::Bool(true)), (field, text)]);
                Atom::members(&object).expect("an object with members")
            } else {
                Atom::value(&text)
            };
            let order = Some(Order::nth(usize::from(n) / 64));
            Cell::Put { atom, order }
        }
        _ if n % 6 == 5 => removed,
        _ => Cell::put(&Json::string(&format!("v{}", n % 4))),
    }
}
