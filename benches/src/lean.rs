//! The lean form of what two replicas of a clinic send each other, beside two bounds.

use crate::clinic::{self, Edit, Numbers};
use clap::ValueEnum;
use medsync_core::doc::lean::{Change, Commit, Held, Key, Leaf, Place, Reader, Run, Writer};
use medsync_core::doc::{FlatChange, FlatOp, encode};
use medsync_core::ids::{
    AuthorKey, ChainId, ChangeId, DataKeyId, RecordId, ReplicaId, WorkspaceId,
};
use medsync_core::model::cell::{Cell, OpId};
use medsync_core::model::json::Json;
use medsync_core::model::kind::{ActivePack, KindRules};
use medsync_core::model::pack::PolicyPack;
use medsync_core::model::shape::{ElementNamer, flatten};
use medsync_core::time::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

const NOW_MS: i64 = 1_790_000_000_000;
const DAY_MS: i64 = 86_400_000;
const BATCH_COMMITS: usize = 64;
const BATCH_BYTES: usize = 32 * 1024;

const PACK: &str = r#"{"format": 1, "name": "bench", "version": 1, "kinds": {"Patient": {
    "patient": "self", "fields": {
        "encounters": {"policy": {"escalate": {}}, "list": {}},
        "medications": {"policy": {"escalate": {}}, "list": {}},
        "observations": {"policy": {"escalate": {}}, "list": {}},
        "allergies": {"policy": {"escalate": {}}, "list": {}},
        "conditions": {"policy": {"escalate": {}}, "list": {}}}}}}"#;

/// What the two have to tell each other.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Three days apart: 500 records edited three times on one side, 100 on the other, 200 new.
    S1,
    /// A morning: 20 and 5 edited three times, 2 new.
    S2,
    /// First sync: every record with its history.
    S3,
    /// 500 records edited once.
    E500,
}

/// One record as one replica sees it.
#[derive(Clone)]
struct Doc {
    id: RecordId,
    key: DataKeyId,
    json: Value,
    cells: BTreeMap<Box<str>, Cell>,
    visible: HashMap<Box<str>, OpId>,
    heads: Vec<ChangeId>,
    max_op: u64,
    own: [Option<(u64, ChangeId)>; 2],
}

/// A change with where it stands.
struct Made {
    who: usize,
    commit: Commit,
}

struct Clinic {
    rules: Arc<KindRules>,
    namer: ElementNamer,
    chains: [ChainId; 2],
    random: Numbers,
}

impl Clinic {
    fn new() -> Self {
        let pack =
            PolicyPack::from_json(PACK.as_bytes()).expect("the pack of this module is valid");
        let chain = |n: u8| ChainId {
            author: AuthorKey([n; 32]),
            replica: ReplicaId([n; 16]),
        };
        Self {
            rules: Arc::clone(ActivePack::new(pack).kind("Patient")),
            namer: ElementNamer::new(&WorkspaceId([7; 32])),
            chains: [chain(0x91), chain(0x22)],
            random: Numbers(7),
        }
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut random = || u8::try_from(self.random.next() >> 56).unwrap_or(0);
        std::array::from_fn(|_| random())
    }

    fn create(&mut self, record: &clinic::Record, who: usize, ms: i64) -> (Doc, Made) {
        let mut doc = Doc {
            id: RecordId::new("Patient", &record.id).expect("a UUID"),
            key: DataKeyId(self.bytes()),
            json: record.json.clone(),
            cells: BTreeMap::new(),
            visible: HashMap::new(),
            heads: Vec::new(),
            max_op: 0,
            own: [None, None],
        };
        let mut made = self
            .commit(&mut doc, who, ms)
            .expect("a record has members");
        let grant = Some(Zeroizing::new(self.bytes()));
        for leaf in &mut made.commit.leaves {
            if let Leaf::Change(change) = leaf {
                change.key.grant.clone_from(&grant);
            }
        }
        (doc, made)
    }

    fn edit(&self, doc: &mut Doc, who: usize, ms: i64, edit: &Edit) -> Option<Made> {
        edit.apply(&mut doc.json);
        self.commit(doc, who, ms)
    }

    /// What changed since the last commit, as the next one; `None` when nothing did.
    fn commit(&self, doc: &mut Doc, who: usize, ms: i64) -> Option<Made> {
        let json = Json::parse(doc.json.to_string().as_bytes()).expect("generated");
        let cells = flatten(&json, &self.rules, &self.namer).expect("generated");
        let actor = self.chains[who].actor();
        let changed = cells
            .iter()
            .filter(|(key, cell)| doc.cells.get(*key) != Some(cell));
        let ops = changed.map(|(key, cell)| FlatOp {
            key: key.clone(),
            cell: cell.clone(),
            pred: doc.visible.get(key).copied().into_iter().collect(),
        });
        let ops: Vec<FlatOp> = ops.collect();
        if ops.is_empty() {
            return None;
        }
        let own = doc.own[who];
        let mut deps = doc.heads.clone();
        deps.extend(own.map(|(_, id)| id).filter(|id| !deps.contains(id)));
        deps.sort_unstable();
        let hlc = Timestamp::new(ms, 0);
        let change = FlatChange {
            actor,
            seq: own.map_or(1, |(seq, _)| seq + 1),
            start_op: doc.max_op + 1,
            hlc,
            deps,
            ops,
        };
        let (bytes, id) = encode(&change);
        for (i, op) in change.ops.iter().enumerate() {
            doc.visible.insert(op.key.clone(), change.op_id(i));
        }
        doc.max_op = change.end_op();
        (doc.heads, doc.own[who]) = (vec![id], Some((change.seq, id)));
        doc.cells = cells;
        let change = Change {
            key: Key {
                id: doc.key,
                grant: None,
            },
            record: doc.id.clone(),
            patient: Some(doc.id.clone()),
            seen: None,
            because: None,
            source: None,
            change: bytes,
        };
        let commit = Commit {
            hlc,
            lane: 2,
            intent: 0,
            leaves: vec![Leaf::Change(Box::new(change))],
        };
        Some(Made { who, commit })
    }

    /// A record and its history: created on one day, edited on five others.
    fn history(&mut self, record: &clinic::Record) -> (Doc, Vec<Made>) {
        let [a, b] = record.spread.map(i64::from);
        let mut ms = NOW_MS - 400 * DAY_MS + a * 7_654_321;
        let (mut doc, made) = self.create(record, 0, ms);
        let mut all = vec![made];
        for (who, edit) in &record.history {
            ms += DAY_MS + b * 1234;
            all.extend(self.edit(&mut doc, *who, ms, edit));
        }
        (doc, all)
    }
}

fn change(made: &Made) -> &Change {
    match &made.commit.leaves[0] {
        Leaf::Change(change) => change,
        _ => unreachable!("every commit here is of one change"),
    }
}

/// Commits with their chain's numbers on, as batches in the order of their first commits' times.
fn batches(clinic: &Clinic, made: Vec<Made>, next: &mut [u64; 2]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for who in [0, 1] {
        let mut size = 0;
        let mut of: Vec<&Made> = made.iter().filter(|m| m.who == who).collect();
        of.sort_by_key(|m| m.commit.hlc);
        let start = runs.len();
        for made in of {
            let bytes = change(made).change.len() + 200;
            let full = runs.len() == start
                || runs
                    .last()
                    .is_some_and(|r| r.commits.len() >= BATCH_COMMITS)
                || size + bytes > BATCH_BYTES;
            if full {
                size = 0;
                runs.push(Run {
                    chain: clinic.chains[who],
                    first: next[who],
                    previous: None,
                    signature: Some(std::array::from_fn(|i| {
                        let at = (runs.len() * 64 + i) as u64;
                        u8::try_from(Numbers(at).next() >> 56).unwrap_or(0)
                    })),
                    commits: Vec::new(),
                });
            }
            size += bytes;
            next[who] += 1;
            let run = runs.last_mut().expect("just pushed");
            run.commits.push(made.commit.clone());
        }
    }
    runs.sort_by_key(|run| run.commits[0].hlc);
    runs
}

fn insert(held: &mut Held, run: &Run) {
    for (i, commit) in (0..).zip(&run.commits) {
        for (index, leaf) in (0..).zip(&commit.leaves) {
            let Leaf::Change(change) = leaf else { continue };
            let place = Place {
                chain: run.chain,
                seq: run.first + i,
                index,
            };
            let patient = Some(&change.record);
            let about = (patient, change.key.id);
            assert!(held.insert(&change.record, about, place, true, &change.change));
        }
    }
}

#[derive(Default)]
struct Sum {
    bytes: usize,
    blocks: usize,
    largest: usize,
    writing: Duration,
    reading: Duration,
}

/// Sends batches from one to the other; what was sent is known from then on.
fn send(runs: &[Run], room: usize, (from, to): (&mut Held, &mut Held), grow: bool) -> Sum {
    let (mut writer, mut reader) = (Writer::new(), Reader::new());
    let mut sum = Sum::default();
    for run in runs {
        let mut rest = run.clone();
        while !rest.commits.is_empty() {
            let start = cpu();
            let block = writer.block(from, &rest, room).expect("is written");
            sum.writing += cpu().saturating_sub(start);
            let start = cpu();
            let read = match block.standalone {
                true => Reader::standalone(&block.bytes),
                false => reader.block(to, &block.bytes),
            };
            sum.reading += cpu().saturating_sub(start);
            let mut sent = rest.clone();
            sent.commits.truncate(block.commits);
            assert!(read.as_ref() == Ok(&sent), "comes out as it went in");
            sum.bytes += block.bytes.len();
            sum.largest = sum.largest.max(block.bytes.len());
            sum.blocks += 1;
            rest.commits.drain(..block.commits);
            rest.first += block.commits as u64;
            rest.signature = None;
        }
        if grow {
            insert(from, run);
            insert(to, run);
        }
    }
    sum
}

/// What this thread had of the processor so far: others may want it too.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|n| n.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

fn zstd19(bytes: &[u8]) -> usize {
    if std::env::var_os("MEDSYNC_BENCH_NO_BOUNDS").is_some() {
        return 0;
    }
    zstd::bulk::compress(bytes, 19).map_or(0, |packed| packed.len())
}

fn report(what: &str, runs: &[Run], patch: usize, sum: &Sum) {
    let all = runs
        .iter()
        .flat_map(|run| &run.commits)
        .flat_map(|c| &c.leaves);
    let raw: Vec<&[u8]> = all
        .filter_map(|leaf| match leaf {
            Leaf::Change(change) => Some(&change.change[..]),
            _ => None,
        })
        .collect();
    let changes = raw.len();
    let raw = raw.concat();
    println!(
        "{what}: {changes} changes of {} B in {} batches: lean {} B in {} blocks (largest {} B), \
         {:.1} B a change; zstd-19 of the changes {} B, of the edits as JSON Patch {} B; \
         writing {:.0} ms, reading {:.0} ms",
        raw.len() / changes.max(1),
        runs.len(),
        sum.bytes,
        sum.blocks,
        sum.largest,
        sum.bytes as f64 / changes.max(1) as f64,
        zstd19(&raw),
        patch,
        sum.writing.as_secs_f64() * 1e3,
        sum.reading.as_secs_f64() * 1e3,
    );
}

/// Plays a scenario and prints what it took.
pub(crate) fn run(scenario: Scenario, records: u64, room: usize) {
    match scenario {
        Scenario::S1 => meet(records, room, (500, 100, 200), 3 * DAY_MS, 3),
        Scenario::S2 => meet(records, room, (20, 5, 2), DAY_MS / 6, 3),
        Scenario::E500 => meet(records, room, (500, 0, 0), 3 * DAY_MS, 1),
        Scenario::S3 => first(records, room),
    }
}

fn first(records: u64, room: usize) {
    let mut clinic = Clinic::new();
    let (mut made, mut patch) = (Vec::new(), Vec::new());
    for i in 0..records {
        let record = clinic::record(i);
        let (doc, history) = clinic.history(&record);
        made.extend(history);
        patch.extend(doc.json.to_string().into_bytes());
        patch.push(b'\n');
    }
    let runs = batches(&clinic, made, &mut [1, 1]);
    let (mut from, mut to) = (Held::default(), Held::default());
    let sum = send(&runs, room, (&mut from, &mut to), true);
    report("S3", &runs, zstd19(&patch), &sum);
    let per_second = |time: Duration| records as f64 / time.as_secs_f64();
    let (written, read) = (per_second(sum.writing), per_second(sum.reading));
    println!("S3: {written:.0} records/s written, {read:.0} records/s read (codec alone)");
}

fn meet(records: u64, room: usize, (a, b, new): (usize, usize, u64), span: i64, edits: usize) {
    let mut clinic = Clinic::new();
    let apart = clinic::apart(records, a, b, new);
    let touched: HashMap<u64, ()> = apart
        .edits
        .iter()
        .flatten()
        .map(|(i, _)| (*i, ()))
        .collect();
    let mut docs = HashMap::new();
    let mut history = Vec::new();
    for i in 0..records {
        // Of the others only the numbers in the chains matter.
        if touched.contains_key(&i) {
            let (doc, made) = clinic.history(&clinic::record(i));
            docs.insert(i, doc);
            history.extend(made);
        }
    }
    let runs = shared(&clinic, history, records);
    let (mut from, mut to) = (Held::default(), Held::default());
    for run in &runs {
        insert(&mut from, run);
        insert(&mut to, run);
    }
    let mut total = 0;
    let mut next = [records * 6; 2];
    for who in [0, 1] {
        let (made, patch) = side(&mut clinic, &apart, who, &docs, span, edits);
        let runs = batches(&clinic, made, &mut next);
        if runs.is_empty() {
            continue;
        }
        // They follow what both hold of the chain.
        let sum = send(&runs, room, (&mut from, &mut to), false);
        report(
            ["clinic to hub", "hub to clinic"][who],
            &runs,
            zstd19(&patch),
            &sum,
        );
        total += sum.bytes;
    }
    println!("both ways: {total} B");
}

/// The history of the touched records, at the places that it has among all the others'.
fn shared(clinic: &Clinic, history: Vec<Made>, records: u64) -> Vec<Run> {
    let mut of: [Vec<Made>; 2] = [Vec::new(), Vec::new()];
    for made in history {
        of[made.who].push(made);
    }
    let mut runs = Vec::new();
    for (who, mut of) in of.into_iter().enumerate() {
        of.sort_by_key(|m| m.commit.hlc);
        let step = (records * 3 / (of.len() as u64).max(1)).max(1);
        for (i, made) in (0u64..).zip(of) {
            runs.push(Run {
                chain: clinic.chains[who],
                first: 1 + i * step,
                previous: None,
                signature: None,
                commits: vec![made.commit],
            });
        }
    }
    runs.sort_by_key(|run| run.commits[0].hlc);
    runs
}

/// What one side did: visits in any order, the edits of a visit minutes apart.
fn side(
    clinic: &mut Clinic,
    apart: &clinic::Apart,
    who: usize,
    docs: &HashMap<u64, Doc>,
    span: i64,
    edits: usize,
) -> (Vec<Made>, Vec<u8>) {
    let visits = &apart.edits[who];
    let new = if who == 0 { &apart.new[..] } else { &[] };
    let count = visits.len() + new.len();
    let mut random = Numbers(who as u64 + 7);
    let below = |random: &mut Numbers, n: i64| {
        i64::try_from(random.below(u64::try_from(n).unwrap_or(1))).unwrap_or(0)
    };
    let mut times: Vec<i64> = (0..count)
        .map(|_| NOW_MS + below(&mut random, span))
        .collect();
    times.sort_unstable();
    let mut order: Vec<usize> = (0..count).collect();
    for i in (1..count).rev() {
        let other = usize::try_from(random.below(i as u64 + 1)).unwrap_or(0);
        order.swap(i, other);
    }
    let (mut made, mut patch) = (Vec::new(), Vec::new());
    for (mut ms, visit) in times.into_iter().zip(order) {
        if let Some((i, all)) = visits.get(visit) {
            let mut doc = docs[i].clone();
            let all = &all[..edits];
            for edit in all {
                made.extend(clinic.edit(&mut doc, who, ms, edit));
                ms += 15_000 + below(&mut random, 240_000);
            }
            let operations: Vec<Value> = all.iter().map(Edit::patch).collect();
            let line = serde_json::json!({"id": doc.id.id(), "patch": operations});
            patch.extend(line.to_string().into_bytes());
        } else {
            let record = &new[visit - visits.len()];
            let (_, commit) = clinic.create(record, who, ms);
            made.push(commit);
            patch.extend(record.json.to_string().into_bytes());
        }
        patch.push(b'\n');
    }
    (made, patch)
}
