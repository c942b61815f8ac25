//! Records that no honest pack would make: their rows hold what their views cannot.

use crate::seed::config;
use medsync_core::doc::encode;
use medsync_core::doc::state::{CausalFault, Incoming, Readiness, RecordState};
use medsync_core::ids::{ActorId, CommitId};
use medsync_core::model::cell::{Atom, Cell};
use medsync_core::model::json::Json;
use medsync_core::model::order::Order;
use medsync_core::model::policy::Standing;
use medsync_core::testing::history::{record, rules};
use medsync_core::time::Timestamp;
use proptest::prelude::*;

const KEYS: &[&str] = &[
    "dose",
    "dosage",
    "given",
    "given/a",
    "given/b",
    "id",
    "resourceType",
    "stock",
    "stock/1",
    "x",
    "_given",
    "stock2",
];

fn cell() -> impl Strategy<Value = Cell> {
    let name = prop::sample::select(vec![
        "dosage",
        "given",
        "_given",
        "id",
        "resourceType",
        "stock",
        "x",
        "a/b",
    ]);
    let value = prop::sample::select(vec!["1", "\"a\"", "[1,2]", "[]", "null", "{\"b\":[null]}"]);
    let members = prop::collection::btree_map(name, value.clone(), 1..4);
    let atom = prop_oneof![
        value.prop_map(|text| Atom::Value(text.into())),
        members.prop_map(|all| {
            let all = all
                .into_iter()
                .map(|(n, t)| (n, Json::parse(t.as_bytes()).expect("JSON")));
            Atom::members(&Json::object(all)).expect("members")
        }),
    ];
    let order = prop::option::of((0_usize..3).prop_map(Order::nth));
    (atom, order).prop_map(|(atom, order)| Cell::Put { atom, order })
}

fn incoming(state: &RecordState, actor: u8, cells: Vec<(Box<str>, Cell)>) -> Incoming {
    let change = state.make(ActorId([actor; 16]), Timestamp(i64::from(actor)), cells);
    Incoming {
        id: encode(&change).1,
        seen: None,
        patient: None,
        chain: actor.into(),
        commit_seq: change.seq,
        commit: CommitId([0; 32]),
        standing: Standing {
            clinical: true,
            reviewer: false,
        },
        import: None,
        change,
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn clashing_members_do_not_mislead_a_row(
        cells in prop::collection::btree_map(prop::sample::select(KEYS), cell(), 1..KEYS.len())
    ) {
        let rules = rules();
        let mut state = RecordState::default();
        let cells = cells.into_iter().map(|(key, cell)| (key.into(), cell)).collect();
        prop_assert!(state.apply(&incoming(&RecordState::default(), 1, cells), &rules));
        let view = state.render(&record(), &rules);
        let json = Json::parse(view.as_bytes()).expect("JSON");
        prop_assert_eq!(json.get("id").and_then(Json::as_str), Some("1"));
        prop_assert_eq!(&json.text(), &view);
        let back = RecordState::from_row(&state.to_row(&rules), &view).expect("own row");
        prop_assert_eq!(back, state);
    }

    #[test]
    fn a_damaged_row_or_view_is_refused_or_read_but_never_a_panic(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()
    ) {
        let rules = rules();
        let mut state = RecordState::default();
        for actor in [1, 2, 1] {
            let put = |text: &str| Cell::put(&Json::string(text));
            let cells = vec![("gender".into(), put("a")), ("note".into(), put("b"))];
            let next = incoming(&state, actor, cells);
            prop_assert!(state.apply(&next, &rules));
        }
        let view = state.render(&record(), &rules);
        let mut row = state.to_row(&rules);
        let i = at.index(row.len());
        if cut { row.truncate(i) } else { row[i] = byte }
        if let Ok(back) = RecordState::from_row(&row, &view) {
            drop((back.heads(), back.causality(), back.to_row(&rules)));
            let _ = back.check(&incoming(&state, 3, vec![("note".into(), Cell::put(&Json::Null))]));
            drop(back.make(ActorId([1; 16]), Timestamp(1), vec![]));
            drop(back.contests(&rules));
        }
        if let Ok(back) = RecordState::from_row(&state.to_row(&rules), "{\"note\":1}") {
            drop(back.render(&record(), &rules));
        }
    }
}

#[test]
fn what_contradicts_its_causes_is_refused() {
    let rules = rules();
    let mut state = RecordState::default();
    let note = |text: &str| vec![("note".into(), Cell::put(&Json::string(text)))];
    let first = incoming(&state, 1, note("a"));
    assert!(state.apply(&first, &rules));
    assert_eq!(state.check(&first), Ok(Readiness::Duplicate));
    let good = incoming(&state, 1, note("b"));
    assert_eq!(state.check(&good), Ok(Readiness::Ready));
    assert_eq!(
        RecordState::default().check(&good),
        Ok(Readiness::Waits(first.id))
    );
    let broken = |change: &dyn Fn(&mut Incoming)| {
        let mut bad = good.clone();
        change(&mut bad);
        bad.id = encode(&bad.change).1;
        state.check(&bad)
    };
    assert_eq!(broken(&|b| b.change.seq = 3), Err(CausalFault::Sequence));
    assert_eq!(broken(&|b| b.change.seq = 1), Err(CausalFault::Sequence));
    assert_eq!(
        broken(&|b| b.change.start_op = 9),
        Err(CausalFault::StartOp)
    );
    assert_eq!(
        broken(&|b| b.change.start_op = u64::MAX),
        Err(CausalFault::StartOp)
    );
    assert_eq!(broken(&|b| b.change.ops.clear()), Err(CausalFault::StartOp));
    assert_eq!(
        broken(&|b| b.seen = Some(vec![good.id])),
        Ok(Readiness::Waits(good.id))
    );
    assert_eq!(
        broken(&|b| b.change.ops[0].pred.clear()),
        Err(CausalFault::Predecessors)
    );
    assert_eq!(broken(&|b| b.seen = Some(vec![])), Ok(Readiness::Ready));
    // On an older version the predecessors are judged by the history.
    let mut newer = state.clone();
    assert!(newer.apply(&incoming(&state, 2, note("c")), &rules));
    let mut bad = good.clone();
    bad.change.ops[0].pred.clear();
    bad.id = encode(&bad.change).1;
    let all = vec![first, incoming(&state, 2, note("c")), bad];
    assert_eq!(
        RecordState::replay(all, &rules),
        Err(CausalFault::Predecessors)
    );
}

#[test]
fn members_beside_a_list_do_not_grow_with_it() {
    let rules = rules();
    let mut state = RecordState::default();
    let mut members: Vec<(String, Json)> = (0..1400)
        .map(|i| (format!("a{i:04}"), Json::Array(vec![Json::Null])))
        .collect();
    members.push(("given".into(), Json::Array(vec![Json::Null; 6400])));
    let atom = |n: usize| {
        let all = members.iter().rev().take(n).cloned();
        Atom::members(&Json::object(all)).expect("members")
    };
    let put = |atom| Cell::Put { atom, order: None };
    let written = atom(members.len()).text().len();
    let cells = vec![
        ("given".into(), put(atom(members.len()))),
        ("given/x".into(), put(atom(9))),
    ];
    assert!(state.apply(&incoming(&RecordState::default(), 1, cells), &rules));
    let view = state.render(&record(), &rules);
    assert!(view.len() < 3 * written, "{} of {written}", view.len());
    let json = Json::parse(view.as_bytes()).expect("JSON");
    assert_eq!(json.get("a0007").map(|a| a.items().len()), Some(1));
    let back = RecordState::from_row(&state.to_row(&rules), &view).expect("own row");
    assert!(back == state);
}
