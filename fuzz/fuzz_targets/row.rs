//! A state that is read from any row and view can be used: asked, shown, written and built upon.

#![no_main]

use libfuzzer_sys::fuzz_target;
use medsync_core::doc::encode;
use medsync_core::doc::state::{Incoming, RecordState};
use medsync_core::ids::{ActorId, CommitId};
use medsync_core::model::cell::Cell;
use medsync_core::model::json::Json;
use medsync_core::model::kind::KindRules;
use medsync_core::model::policy::Standing;
use medsync_core::testing::history::{KEYS, record, rules};
use medsync_core::time::Timestamp;
use medsync_fuzz::split_row;
use std::sync::{Arc, LazyLock};

static RULES: LazyLock<Arc<KindRules>> = LazyLock::new(rules);

fuzz_target!(|input: &[u8]| {
    let Some((row, view)) = split_row(input) else {
        return;
    };
    let Ok(mut state) = RecordState::from_row(row, view) else {
        return;
    };
    state.contests(&RULES);
    state.without_effect(&RULES);
    let shown = state.render(&record(), &RULES);
    let _ = RecordState::from_row(&state.to_row(&RULES), &shown);
    let cells = KEYS
        .iter()
        .map(|key| ((*key).into(), Cell::put(&Json::Null)));
    let mut cells: Vec<(Box<str>, Cell)> = cells.collect();
    cells.sort_by(|a, b| a.0.cmp(&b.0));
    let change = state.make(ActorId([1; 16]), Timestamp(1), cells);
    let incoming = Incoming {
        id: encode(&change).1,
        seen: None,
        patient: None,
        chain: 1,
        commit_seq: 1,
        commit: CommitId([3; 32]),
        standing: Standing {
            clinical: true,
            reviewer: false,
        },
        import: None,
        change,
    };
    let _ = state.check(&incoming);
    state.apply(&incoming, &RULES);
    state.contests(&RULES);
    state.render(&record(), &RULES);
});
