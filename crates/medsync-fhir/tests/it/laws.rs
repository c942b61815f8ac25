//! Merge laws over the real pack: random weeks of three devices, each from one seed.
//!
//! A failure prints its seed; `MEDSYNC_SEED=n cargo test -p medsync-fhir --test it laws` plays that
//! one again.

use crate::world::{World, id, json};
use medsync_core::error::Error;
use medsync_core::ids::RecordId;
use medsync_core::model::json::Json;
use medsync_core::model::pack::{FieldPolicy, Lattice, PolicyRow, Reopen};
use medsync_core::testing::history::Numbers;
use medsync_core::vault::{Decision, Draft, Unit, Version};
use medsync_fhir::generate::Clinic;
use std::collections::BTreeMap;

const SEEDS: u64 = 6;
const STEPS: usize = 60;
const TEN_YEARS_MS: i64 = 10 * 365 * 24 * 3_600_000;

/// What was shown of a final status, by device and record: it must never fall again.
type Finals = BTreeMap<(usize, RecordId), usize>;

struct Week {
    seed: u64,
    numbers: Numbers,
    world: World,
    records: Vec<RecordId>,
    /// Versions that a form may still be open at.
    old: BTreeMap<RecordId, Vec<Version>>,
    finals: Finals,
    written: u64,
}

impl Week {
    fn new(seed: u64) -> Self {
        let mut world = World::of(&["Kwame", "Ngozi"]);
        let all: Vec<Json> = Clinic::new(seed, 2).collect();
        let mut records = Vec::new();
        let units = all.into_iter().map(|json| {
            let part = |name| json.get(name).and_then(Json::as_str).expect("a name");
            let record = RecordId::new(part("resourceType"), part("id")).expect("a name");
            records.push(record.clone());
            Unit {
                resources: vec![(0, record, json)],
                atomic: false,
            }
        });
        let report = world.devices[0].vault.import("clinic", units, &mut |_| {});
        assert_eq!(report.expect("imports").rejected, vec![]);
        world.meet(&[0, 1, 2]);
        // A few records, so that they meet often.
        let mut numbers = Numbers(seed);
        numbers.shuffle(&mut records);
        let medicines = records
            .iter()
            .filter(|r| r.kind() == "MedicationRequest")
            .take(4);
        let mut chosen: Vec<RecordId> = medicines.cloned().collect();
        chosen.extend(records.iter().take(8).cloned());
        let (old, finals) = (BTreeMap::new(), Finals::new());
        Self {
            seed,
            numbers,
            world,
            records: chosen,
            old,
            finals,
            written: 0,
        }
    }

    fn below(&mut self, n: usize) -> usize {
        (self.numbers.next() % n.max(1) as u64) as usize
    }

    fn step(&mut self) {
        match self.below(10) {
            0 => {
                let pair = [[0, 1], [1, 2], [0, 2]][self.below(3)];
                self.world.meet(&pair);
            }
            1 => {
                let device = self.below(3);
                let jump = [TEN_YEARS_MS, -TEN_YEARS_MS, 60_000][self.below(3)];
                self.world.devices[device].env.advance_ms(jump);
            }
            2 => self.review(),
            _ => self.edit(),
        }
        self.no_final_status_falls();
    }

    fn edit(&mut self) {
        let device = self.below(3);
        let at = self.below(self.records.len());
        let record = self.records[at].clone();
        let vault = &self.world.devices[device].vault;
        let Some(now) = vault.record(&record).expect("reads") else {
            return;
        };
        let known = self.old.entry(record.clone()).or_default();
        known.push(now.version.clone());
        let stale = self.numbers.next().is_multiple_of(4);
        let version = match stale {
            true => known[self.numbers.next() as usize % known.len()].clone(),
            false => now.version,
        };
        let rules = std::sync::Arc::clone(vault.pack().kind(record.kind()));
        let fields: Vec<(String, FieldPolicy)> = rules
            .kind()
            .fields
            .iter()
            .map(|(n, f)| (n.clone(), f.clone()))
            .collect();
        if fields.is_empty() {
            return;
        }
        let (name, field) = fields[self.below(fields.len())].clone();
        let mut draft = Draft::new(record, version);
        draft.because("a random week");
        self.written += 1;
        match self.value(&field) {
            Value::Set(value) => draft.set(member(&name, &field).as_str(), value),
            Value::Add(item) => draft.add(name.as_str(), item),
            Value::Remove => draft.remove(&name),
        };
        let done = self.world.devices[device].vault.commit(vec![draft]);
        match done {
            Ok(_) => {}
            // A version this device has not met, a member that is not there, a final status.
            Err(Error::Invalid { .. } | Error::Refused { .. }) => {}
            Err(error) => panic!("seed {}: {error}", self.seed),
        }
    }

    fn value(&mut self, field: &FieldPolicy) -> Value {
        let n = self.numbers.next();
        if n.is_multiple_of(9) {
            return Value::Remove;
        }
        match &field.policy {
            PolicyRow::Lattice(lattice) => {
                let codes: Vec<&String> = lattice.ranks.iter().flatten().collect();
                Value::Set(Json::string(codes[n as usize % codes.len()]))
            }
            _ if field.list.is_some() => {
                Value::Add(json(&format!("{{\"text\":\"item {}\"}}", n % 5)))
            }
            _ => Value::Set(json(&format!("{{\"text\":\"value {}\"}}", n % 3))),
        }
    }

    fn review(&mut self) {
        let device = self.below(3);
        let vault = &mut self.world.devices[device].vault;
        let questions = vault.escalations().expect("reads");
        let Some(question) = questions.into_iter().next() else {
            return;
        };
        let decision = match question.candidates.len() {
            0 => return,
            n => Decision::Keep(self.numbers.next() as usize % n),
        };
        match vault.resolve(question, decision, "a random week") {
            Ok(_) | Err(Error::Refused { .. }) => {}
            Err(error) => panic!("seed {}: {error}", self.seed),
        }
    }

    fn no_final_status_falls(&mut self) {
        for (no, device) in self.world.devices.iter().enumerate() {
            for record in &self.records {
                let rules = device.vault.pack().kind(record.kind());
                let Some(lattice) = rules.lattice("status") else {
                    continue;
                };
                if lattice.reopen != Reopen::Never {
                    continue;
                }
                let Some(record_now) = device.vault.record(record).expect("reads") else {
                    continue;
                };
                let view = json(record_now.json.expose());
                let status = view
                    .get("status")
                    .and_then(Json::as_str)
                    .unwrap_or_default();
                let rank = lattice.rank(status);
                if let Some(before) = self.finals.get(&(no, record.clone())) {
                    assert!(
                        rank >= Some(*before),
                        "seed {}: a final status fell",
                        self.seed
                    );
                }
                remember(&mut self.finals, (no, record.clone()), lattice, status);
            }
        }
    }
}

fn remember(finals: &mut Finals, at: (usize, RecordId), lattice: &Lattice, status: &str) {
    if lattice.is_terminal(status)
        && let Some(rank) = lattice.rank(status)
    {
        finals.insert(at, rank);
    }
}

enum Value {
    Set(Json),
    Add(Json),
    Remove,
}

/// A member of the field: `valueString` for `value[x]`.
fn member(name: &str, field: &FieldPolicy) -> String {
    let first = field.members.first().map_or(name, String::as_str);
    first
        .strip_suffix("[x]")
        .map_or_else(|| first.to_owned(), |prefix| format!("{prefix}String"))
}

fn seeds() -> Vec<u64> {
    match std::env::var("MEDSYNC_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
    {
        Some(seed) => vec![seed],
        None => (0..SEEDS).collect(),
    }
}

#[test]
fn random_weeks_over_the_real_pack_converge_and_revive_nothing() {
    for seed in seeds() {
        let mut week = Week::new(seed);
        for _ in 0..STEPS {
            week.step();
        }
        assert!(
            week.written > 20,
            "seed {seed}: too quiet a week to prove anything"
        );
        week.world.converge();
        week.no_final_status_falls();
        // The medicines are there, whatever was written.
        for record in &week.records {
            let view = week.world.devices[2].vault.read(record).expect("reads");
            assert!(view.is_some(), "seed {seed}: a record is gone");
        }
    }
}

#[test]
fn equal_values_written_apart_are_no_question() {
    let mut world = World::of(&["Kwame"]);
    let text = "{\"resourceType\":\"Condition\",\"id\":\"c1\",\"subject\":{\"reference\":\"Patient/p\"},\
                \"code\":{\"text\":\"asthma\"}}";
    world.devices[0].put(text);
    world.devices[1].put(text);
    world.meet(&[0, 1]);
    let record = world.devices[1]
        .vault
        .record(&id("Condition/c1"))
        .expect("reads");
    assert!(record.expect("is there").questions.is_empty());
    world.converge();
}
