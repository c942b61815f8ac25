//! Reads that wait to be written down together.

use crate::env::Env;
use crate::ids::RecordId;
use crate::ledger::audit::{Action, Actor, DETAILS_MAX, Detail};
use crate::vault::audit::Note;
use std::collections::{BTreeMap, HashMap};

/// Different records and searches that are gathered before somebody has to write them.
const GATHERED_MAX: usize = 64 * 1024;

/// What one actor read since the last entry: by record, with how often.
pub(super) struct Reads {
    actor: Actor,
    records: HashMap<RecordId, Read>,
    searches: BTreeMap<(String, String), u64>,
    /// When the first of them was.
    since_ms: i64,
}

#[derive(Clone, Copy)]
struct Read {
    version: Option<[u8; 16]>,
    times: u64,
}

impl Reads {
    pub(super) fn new(actor: Actor) -> Self {
        Self {
            actor,
            records: HashMap::new(),
            searches: BTreeMap::new(),
            since_ms: 0,
        }
    }

    pub(super) const fn actor(&self) -> Actor {
        self.actor
    }

    pub(super) fn set_actor(&mut self, actor: Actor) {
        self.actor = actor;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.searches.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.records.len() + self.searches.len() >= GATHERED_MAX
    }

    /// Counts a read; `true` if somebody has to know: it is the first, or they are too many.
    pub(super) fn record(
        &mut self,
        record: &RecordId,
        version: Option<[u8; 16]>,
        env: &dyn Env,
    ) -> bool {
        if let Some(read) = self.records.get_mut(record) {
            read.times += 1;
            read.version = version.or(read.version);
            return false;
        }
        let first = self.begin(env);
        self.records
            .insert(record.clone(), Read { version, times: 1 });
        first || self.is_full()
    }

    /// Counts a search.
    pub(super) fn search(&mut self, how: &str, what: &str, env: &dyn Env) -> bool {
        let first = self.begin(env);
        let key = (how.to_owned(), what.to_owned());
        *self.searches.entry(key).or_default() += 1;
        first || self.is_full()
    }

    fn begin(&mut self, env: &dyn Env) -> bool {
        let first = self.is_empty();
        if first {
            self.since_ms = env.now_ms();
        }
        first
    }

    /// Takes what was gathered, as entries to be written.
    pub(super) fn take(&mut self) -> Vec<Note> {
        let mut notes = Vec::new();
        let records = std::mem::take(&mut self.records);
        let mut read: Vec<Detail> = records
            .into_iter()
            .map(|(record, Read { version, times })| Detail::Record {
                record,
                version,
                times,
            })
            .collect();
        // The order in which a map gives them is anybody's, and a world has to replay.
        read.sort_by(|a, b| a.record().cmp(&b.record()));
        let searched = std::mem::take(&mut self.searches).into_iter();
        let searched: Vec<Detail> = searched
            .map(|((how, what), _)| Detail::Text(how, what))
            .collect();
        for (action, details) in [(Action::READ, read), (Action::SEARCH, searched)] {
            let some = details.chunks(DETAILS_MAX);
            notes.extend(some.map(|some| Note::new(action, some.to_vec()).by(self.actor)));
        }
        notes
    }
}
