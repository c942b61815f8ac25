//! One change of a record: what of it has to be said.

use crate::doc::lean::coder::{Bit, Coder, Freq, Num};
use crate::doc::lean::mirror::Mirror;
use crate::doc::lean::value::{Before, Values};
use crate::doc::lean::{Fault, Known};
use crate::doc::{contained, decode as gate, encode, prescan};
use crate::ids::{ActorId, ChangeId};
use crate::model::cell::OpId;
use crate::model::cell_value::CellValue;
use crate::time::Timestamp;
use automerge::{ScalarValue, legacy};

/// What a change builds on is what is to be expected.
const EXPECTED: usize = 0;
/// It is named change by change.
const NAMED: usize = 1;
/// The change goes as it is.
const AS_IT_IS: usize = 2;
const FORMS: usize = 3;
const ACTORS_MAX: usize = 256;

/// A change in parts.
#[derive(Clone, Default)]
pub(super) struct Parts {
    pub(super) seq: u64,
    pub(super) start_op: u64,
    pub(super) actor: Option<ActorId>,
    pub(super) hlc: Timestamp,
    pub(super) deps: Vec<ChangeId>,
    pub(super) ops: Vec<Part>,
    /// The change's hash, once it is known.
    pub(super) id: Option<ChangeId>,
}

/// An operation of a change.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) key: Box<str>,
    pub(super) value: CellValue,
    pub(super) pred: Vec<OpId>,
}

impl Default for Part {
    fn default() -> Self {
        Self {
            key: "".into(),
            value: CellValue::Bytes(Vec::new()),
            pred: Vec::new(),
        }
    }
}

impl Parts {
    /// Takes a change apart, if it can be put together again; judged as at the gate.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        prescan::check(bytes).ok()?;
        let read = || automerge::Change::from_bytes(bytes.to_vec()).map(|c| c.decode());
        let change = contained(read).ok()?.ok()?;
        let ops = change.operations.into_iter().map(part);
        let mut parts = Self {
            id: None,
            actor: Some(gate::actor(&change.actor_id).ok()?),
            seq: change.seq,
            start_op: change.start_op.get(),
            hlc: Timestamp(change.time),
            deps: change.deps.iter().map(|hash| ChangeId(hash.0)).collect(),
            ops: ops.collect::<Option<_>>()?,
        };
        let (again, id) = contained(|| parts.bytes()).ok()?;
        parts.id = Some(id);
        (again == bytes).then_some(parts)
    }

    fn bytes(&self) -> (Vec<u8>, ChangeId) {
        let head = encode::Head {
            actor: self.actor.unwrap_or(ActorId([0; 16])),
            seq: self.seq,
            start_op: self.start_op,
            hlc: self.hlc,
            deps: &self.deps,
        };
        let op = |op: &Part| encode::operation(&op.key, op.value.clone(), &op.pred);
        encode::build(&head, self.ops.iter().map(op).collect())
    }
}

fn part(op: legacy::Op) -> Option<Part> {
    let value = match op.action {
        legacy::OpType::Put(ScalarValue::Str(text)) => CellValue::Str(text.into()),
        legacy::OpType::Put(ScalarValue::Bytes(bytes)) => CellValue::Bytes(bytes),
        _ => return None,
    };
    let legacy::Key::Map(key) = op.key else {
        return None;
    };
    let id = |id: &legacy::OpId| {
        let actor = gate::actor(id.actor()).ok()?;
        Some(OpId {
            ctr: id.counter(),
            actor,
        })
    };
    Some(Part {
        key: key.as_str().into(),
        value,
        pred: op.pred.iter().map(id).collect::<Option<_>>()?,
    })
}

/// What is learned of changes.
#[derive(Clone)]
pub(super) struct Changes {
    form: Freq,
    own_actor: Bit,
    next_seq: Bit,
    next_op: Bit,
    same_time: Bit,
    number: Num,
    time: Num,
    deps: Num,
    dep: Num,
    ops: Num,
    of_old: Bit,
    pred_count: Freq,
    more_preds: Num,
    back: Num,
    fresh_actor: Bit,
    actors: Vec<ActorId>,
    actor: Freq,
    raw: Num,
}

impl Default for Changes {
    fn default() -> Self {
        Self {
            form: Freq::new(FORMS),
            own_actor: Bit::default(),
            next_seq: Bit::default(),
            next_op: Bit::default(),
            same_time: Bit::default(),
            number: Num::default(),
            time: Num::default(),
            deps: Num::default(),
            dep: Num::default(),
            ops: Num::default(),
            of_old: Bit::default(),
            pred_count: Freq::new(3),
            more_preds: Num::default(),
            back: Num::default(),
            fresh_actor: Bit::default(),
            actors: Vec::new(),
            actor: Freq::default(),
            raw: Num::default(),
        }
    }
}

/// Where a change stands.
pub(super) struct Around<'a> {
    /// The actor of its commit's chain.
    pub(super) actor: ActorId,
    /// The commit's time.
    pub(super) hlc: Timestamp,
    /// The version that the session meets the record at with this change.
    pub(super) met: Option<&'a [ChangeId]>,
}

impl Changes {
    /// Codes a change of a mirrored record and brings the mirror up to it. A writer hands in the
    /// bytes and what [`Parts::of`] made of them; `false` where the mirror is of no use any more.
    pub(super) fn change<C: Coder>(
        &mut self,
        c: &mut C,
        values: &mut Values,
        known: &mut dyn Known,
        mirror: &mut Mirror,
        around: &Around<'_>,
        given: (&[u8], Option<Parts>),
    ) -> Result<(Vec<u8>, bool), Fault> {
        let (bytes, parts) = given;
        c.spend(256)?;
        let form = parts.as_ref().map_or(AS_IT_IS, |parts| {
            let own = parts.actor.and_then(|actor| own(known, mirror, actor));
            let expected = expected(mirror, around, own.as_ref().map(|(_, id)| id));
            let named = || parts.deps.iter().all(|d| mirror.end_of(d).is_some());
            match parts.deps == expected {
                true => EXPECTED,
                false if named() => NAMED,
                false => AS_IT_IS,
            }
        });
        let form = c.symbol(&mut self.form, form)?;
        if form == AS_IT_IS {
            return self.as_it_is(c, mirror, bytes);
        }
        let parts = self.head(c, known, mirror, around, form, parts.unwrap_or_default())?;
        let parts = self.ops(c, values, known, mirror, parts)?;
        let actor = parts.actor.ok_or(Fault::Malformed)?;
        let (bytes, id) = if C::WRITES {
            (bytes.to_vec(), parts.id.ok_or(Fault::Malformed)?)
        } else {
            contained(|| parts.bytes()).map_err(|_| Fault::Malformed)?
        };
        c.spend(bytes.len())?;
        take(mirror, actor, id, parts);
        Ok((bytes, true))
    }

    /// A change of a record that is not mirrored.
    pub(super) fn alone<C: Coder>(&mut self, c: &mut C, bytes: &[u8]) -> Result<Vec<u8>, Fault> {
        let read = c.literal(&mut self.raw, bytes, prescan::MAX_CHANGE)?;
        Ok(if C::WRITES { bytes.to_vec() } else { read })
    }

    fn as_it_is<C: Coder>(
        &mut self,
        c: &mut C,
        mirror: &mut Mirror,
        bytes: &[u8],
    ) -> Result<(Vec<u8>, bool), Fault> {
        let bytes = self.alone(c, bytes)?;
        // Judging it costs as much as it is long, several times over.
        c.spend(bytes.len() * 4)?;
        let Some(parts) = Parts::of(&bytes) else {
            return Ok((bytes, false));
        };
        let Some((id, actor)) = parts.id.zip(parts.actor) else {
            return Ok((bytes, false));
        };
        take(mirror, actor, id, parts);
        Ok((bytes, true))
    }

    fn head<C: Coder>(
        &mut self,
        c: &mut C,
        known: &mut dyn Known,
        mirror: &mut Mirror,
        around: &Around<'_>,
        form: usize,
        mut parts: Parts,
    ) -> Result<Parts, Fault> {
        let is_own = parts.actor == Some(around.actor);
        let actor = if c.bit(&mut self.own_actor, is_own)? {
            around.actor
        } else {
            ActorId(c.bytes(parts.actor.map_or([0; 16], |a| a.0))?)
        };
        parts.actor = Some(actor);
        let own = own(known, mirror, actor);
        if form == EXPECTED {
            parts.deps = expected(mirror, around, own.as_ref().map(|(_, id)| id));
        } else {
            parts.deps = self.named(c, mirror, parts.deps)?;
        }
        let next = own.map_or(0, |(seq, _)| seq).saturating_add(1);
        if c.bit(&mut self.next_seq, parts.seq == next)? {
            parts.seq = next;
        } else {
            parts.seq = c.number(&mut self.number, parts.seq)?;
        }
        let ends = parts.deps.iter().map(|dep| mirror.end_of(dep));
        let last = ends.max().flatten().unwrap_or(0).saturating_add(1);
        if c.bit(&mut self.next_op, parts.start_op == last)? {
            parts.start_op = last;
        } else {
            parts.start_op = c.number(&mut self.number, parts.start_op)?;
        }
        let gap = parts.hlc.0.wrapping_sub(around.hlc.0);
        if c.bit(&mut self.same_time, gap == 0)? {
            parts.hlc = around.hlc;
        } else {
            parts.hlc = Timestamp(around.hlc.0.wrapping_add(c.signed(&mut self.time, gap)?));
        }
        Ok(parts)
    }

    fn named<C: Coder>(
        &mut self,
        c: &mut C,
        mirror: &Mirror,
        deps: Vec<ChangeId>,
    ) -> Result<Vec<ChangeId>, Fault> {
        let nodes = &mirror.nodes;
        let count = c.below(&mut self.deps, deps.len(), nodes.len() + 1)?;
        let mut named = Vec::with_capacity(count);
        for i in 0..count {
            let at = deps
                .get(i)
                .and_then(|dep| nodes.iter().rev().position(|(id, _)| id == dep));
            let back = c.below(&mut self.dep, at.unwrap_or(0), nodes.len())?;
            let node = nodes.iter().rev().nth(back).ok_or(Fault::Malformed)?;
            named.push(node.0);
        }
        Ok(named)
    }

    fn ops<C: Coder>(
        &mut self,
        c: &mut C,
        values: &mut Values,
        known: &mut dyn Known,
        mirror: &Mirror,
        mut parts: Parts,
    ) -> Result<Parts, Fault> {
        let limit = usize::try_from(prescan::MAX_OPS).unwrap_or(usize::MAX);
        let count = c.below(&mut self.ops, parts.ops.len(), limit + 1)?;
        let given = std::mem::take(&mut parts.ops);
        let mut given = given.into_iter();
        let subject = mirror.patient.as_ref().unwrap_or(&mirror.record).clone();
        let mut before = Before::default();
        for _ in 0..count {
            c.spend(64)?;
            let op = given.next().unwrap_or_default();
            let (op, old) = self.target(c, values, (known, mirror), &parts, op, &before)?;
            let at = (&*op.key, subject.as_str());
            let value = values.value(c, at, op.value, old.as_ref(), &mut before)?;
            parts.ops.push(Part {
                key: op.key,
                pred: op.pred,
                value,
            });
        }
        Ok(parts)
    }

    /// What an operation replaces, and where: the operation it replaces says the key.
    fn target<C: Coder>(
        &mut self,
        c: &mut C,
        values: &mut Values,
        (known, mirror): (&mut dyn Known, &Mirror),
        parts: &Parts,
        mut op: Part,
        before: &Before,
    ) -> Result<(Part, Option<CellValue>), Fault> {
        let count = match op.pred.len() {
            few @ 0..=1 => few,
            _ => 2,
        };
        let mut count = c.symbol(&mut self.pred_count, count)?;
        if count == 2 {
            let limit = usize::try_from(prescan::MAX_PREDS).unwrap_or(usize::MAX);
            count = c.below(&mut self.more_preds, op.pred.len(), limit + 1)?;
        }
        c.spend(count * 32)?;
        let mut pred = Vec::with_capacity(count);
        for i in 0..count {
            let given = op.pred.get(i).copied();
            pred.push(self.pred(c, parts, given)?);
        }
        op.pred = pred;
        let Some(first) = op.pred.first() else {
            op.key = values.key(c, &op.key, before)?;
            return Ok((op, None));
        };
        let old = match mirror.operations.get(first) {
            Some(old) => Some(old.clone()),
            None if mirror.base.is_empty() => None,
            None => known.operation(&mirror.record, &mirror.base, first),
        };
        let fits = old.as_ref().is_some_and(|(key, _)| *key == op.key);
        if c.bit(&mut self.of_old, fits)? {
            let (key, value) = old.ok_or(Fault::Unknown)?;
            op.key = key;
            return Ok((op, Some(value)));
        }
        op.key = values.key(c, &op.key, before)?;
        Ok((op, None))
    }

    fn pred<C: Coder>(
        &mut self,
        c: &mut C,
        parts: &Parts,
        given: Option<OpId>,
    ) -> Result<OpId, Fault> {
        let given = given.unwrap_or(OpId {
            ctr: 0,
            actor: ActorId([0; 16]),
        });
        let back = parts.start_op.wrapping_sub(given.ctr);
        let back = c.number(&mut self.back, back)?;
        let at = self.actors.iter().position(|a| *a == given.actor);
        let actor = if c.bit(&mut self.fresh_actor, at.is_none())? {
            let actor = ActorId(c.bytes(given.actor.0)?);
            if self.actors.len() < ACTORS_MAX && !self.actors.contains(&actor) {
                self.actors.push(actor);
                self.actor.push();
            }
            actor
        } else {
            let at = c.symbol(&mut self.actor, at.unwrap_or(0))?;
            *self.actors.get(at).ok_or(Fault::Malformed)?
        };
        Ok(OpId {
            ctr: parts.start_op.wrapping_sub(back),
            actor,
        })
    }
}

/// The actor's last change of the record, as far as the session has come.
fn own(known: &mut dyn Known, mirror: &mut Mirror, actor: ActorId) -> Option<(u64, ChangeId)> {
    let found = mirror.last.iter().find(|(known, ..)| *known == actor);
    let (seq, id) = match found {
        Some((_, seq, id)) => (*seq, *id),
        None => {
            let base = &mirror.base;
            let last = match base.is_empty() {
                true => None,
                false => known.last(&mirror.record, base, &actor),
            };
            let (seq, id) = last.unwrap_or((0, ChangeId([0; 32])));
            mirror.last.push((actor, seq, id));
            (seq, id)
        }
    };
    (seq > 0).then_some((seq, id))
}

fn expected(mirror: &Mirror, around: &Around<'_>, own: Option<&ChangeId>) -> Vec<ChangeId> {
    match around.met {
        Some(version) => version.to_vec(),
        None => mirror.expected(own),
    }
}

/// Brings the mirror up to a change.
fn take(mirror: &mut Mirror, actor: ActorId, id: ChangeId, parts: Parts) {
    let count = parts.ops.len() as u64;
    let end = parts.start_op.saturating_add(count).saturating_sub(1);
    mirror.apply(id, end, &parts.deps);
    mirror.set_last(actor, parts.seq, id);
    for (i, op) in (0u64..).zip(parts.ops) {
        let ctr = parts.start_op.saturating_add(i);
        mirror.put(OpId { ctr, actor }, op.key, op.value, &op.pred);
    }
}
