//! Records as both sides of a session see them.

use crate::ids::{ActorId, ChangeId, DataKeyId, RecordId};
use crate::model::cell::OpId;
use crate::model::cell_value::CellValue;
use std::collections::{HashMap, VecDeque};

/// Most records that are kept at a time, and most bytes.
const MIRRORS_MAX: usize = 4096;
const BYTES_MAX: usize = 8 << 20;
const NODES_MAX: usize = 256;

/// A record at the point that the session has come to.
#[derive(Clone)]
pub(super) struct Mirror {
    pub(super) record: RecordId,
    pub(super) patient: Option<RecordId>,
    pub(super) key: Option<DataKeyId>,
    /// The version at which the session met the record; empty where it brought it.
    pub(super) base: Vec<ChangeId>,
    /// Changes with the counter of their last operation, causes first.
    pub(super) nodes: Vec<(ChangeId, u64)>,
    /// What no other change builds on, ascending.
    pub(super) heads: Vec<ChangeId>,
    /// The last change of each actor that was asked for; sequence number 0 where there is none.
    pub(super) last: Vec<(ActorId, u64, ChangeId)>,
    /// Operations that the session brought.
    pub(super) operations: HashMap<OpId, (Box<str>, CellValue)>,
    bytes: usize,
}

impl Mirror {
    pub(super) fn new(record: RecordId) -> Self {
        Self {
            bytes: 400 + record.as_str().len() * 2,
            record,
            patient: None,
            key: None,
            base: Vec::new(),
            nodes: Vec::new(),
            heads: Vec::new(),
            last: Vec::new(),
            operations: HashMap::new(),
        }
    }

    /// What a change of an actor builds on, if its author had all that is here: Automerge adds the
    /// actor's own last change even where a head covers it.
    pub(super) fn expected(&self, own: Option<&ChangeId>) -> Vec<ChangeId> {
        let mut deps = self.heads.clone();
        if let Some(own) = own.filter(|own| !deps.contains(own)) {
            deps.push(*own);
            deps.sort_unstable();
        }
        deps
    }

    pub(super) fn end_of(&self, change: &ChangeId) -> Option<u64> {
        let found = self.nodes.iter().rev().find(|(id, _)| id == change);
        found.map(|(_, end)| *end)
    }

    /// Goes on by one change.
    pub(super) fn apply(&mut self, id: ChangeId, end: u64, deps: &[ChangeId]) {
        self.heads.retain(|head| !deps.contains(head));
        self.heads.push(id);
        self.heads.sort_unstable();
        if self.nodes.len() >= NODES_MAX {
            let heads = &self.heads;
            self.nodes.retain(|(id, _)| heads.contains(id));
        }
        self.nodes.push((id, end));
    }

    pub(super) fn set_last(&mut self, actor: ActorId, seq: u64, id: ChangeId) {
        match self.last.iter_mut().find(|(known, ..)| *known == actor) {
            Some(last) => *last = (actor, seq, id),
            None => self.last.push((actor, seq, id)),
        }
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Lets go of what it holds.
    pub(super) fn clear(&mut self) {
        self.operations = HashMap::new();
        self.nodes = Vec::new();
        self.bytes = 400;
    }

    /// Keeps an operation for those that replace it.
    pub(super) fn put(&mut self, id: OpId, key: Box<str>, value: CellValue, pred: &[OpId]) {
        // Of a record that was met the operations that the session brought stay: who asks elsewhere
        // for what is not here must ask for what was there before.
        if self.base.is_empty() {
            for id in pred {
                if let Some((key, value)) = self.operations.remove(id) {
                    self.bytes -= size(&key, &value);
                }
            }
        }
        self.bytes += size(&key, &value);
        if let Some((key, value)) = self.operations.insert(id, (key, value)) {
            self.bytes -= size(&key, &value);
        }
    }
}

fn size(key: &str, value: &CellValue) -> usize {
    let value = match value {
        CellValue::Str(text) => text.len(),
        CellValue::Bytes(bytes) => bytes.len(),
    };
    key.len() + value + 120
}

/// The records of a session, the oldest forgotten first.
#[derive(Clone, Default)]
pub(super) struct Mirrors {
    all: VecDeque<Mirror>,
    /// The number of the first in `all`.
    first: u64,
    numbers: HashMap<RecordId, u64>,
    bytes: usize,
}

impl Mirrors {
    pub(super) fn find(&self, record: &RecordId) -> Option<u64> {
        self.numbers.get(record).copied()
    }

    /// The number that the next record gets.
    pub(super) fn next(&self) -> u64 {
        self.first + self.all.len() as u64
    }

    fn index(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }

    pub(super) fn get(&self, number: u64) -> Option<&Mirror> {
        self.all.get(self.index(number)?)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Mirror> {
        let index = self.index(number)?;
        self.all.get_mut(index)
    }

    /// Adds a record. One of the same name is forgotten.
    pub(super) fn push(&mut self, mirror: Mirror) -> u64 {
        let number = self.next();
        self.bytes += mirror.bytes;
        self.numbers.insert(mirror.record.clone(), number);
        self.all.push_back(mirror);
        number
    }

    /// Changes a record, and counts what it holds anew.
    pub(super) fn with<T>(
        &mut self,
        number: u64,
        work: impl FnOnce(&mut Mirror) -> T,
    ) -> Option<T> {
        let index = self.index(number)?;
        let mirror = self.all.get_mut(index)?;
        let before = mirror.bytes;
        let done = work(mirror);
        self.bytes = self.bytes + mirror.bytes - before;
        Some(done)
    }

    /// Forgets a record: what comes of it later is sent as it is.
    pub(super) fn forget(&mut self, number: u64) {
        if let Some(record) = self.get(number).map(|m| m.record.clone()) {
            self.numbers.remove(&record);
        }
    }

    /// Forgets the oldest until the rest fits. Done between changes only.
    pub(super) fn trim(&mut self) {
        while self.all.len() > MIRRORS_MAX || (self.bytes > BYTES_MAX && self.all.len() > 1) {
            let Some(oldest) = self.all.pop_front() else {
                return;
            };
            self.bytes -= oldest.bytes;
            if self.numbers.get(&oldest.record) == Some(&self.first) {
                self.numbers.remove(&oldest.record);
            }
            self.first += 1;
        }
    }
}
