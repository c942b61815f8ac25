//! Taking up what was received, a step at a time.
//!
//! Who hands a part over decides how much work it makes. So it is taken in steps: each is one
//! transaction that is durable when it ends, and ends where it has cost enough. What is left is
//! staged: its commits are in the ledger and wait for their turn like those that wait for a cause,
//! so whatever stops the steps, the next exchange goes on. Between two of them the vault is free.

use crate::error::Result;
use crate::ledger::wire::VerifiedBatch;
use crate::vault::Vault;
use crate::vault::core::{Work, load_data_key};
use crate::vault::deliver::{New, Received, settle, take_batch};
use crate::vault::live::Kept;
use crate::vault::open::take_items;
use crate::vault::pending::{Cause, Waiting};
use crate::vault::rejudge;
use crate::vault::rows::{self, Rows, kind};
use std::collections::VecDeque;

/// A commit by its place, and whether a row says that its turn has not come.
#[derive(Debug, Clone, Copy)]
struct Turn {
    place: (u32, u64),
    staged: bool,
}

/// What is being taken up.
pub(crate) struct Intake {
    batches: VecDeque<VerifiedBatch>,
    /// Commits of certificates, revocations and packs alone. They go first, and are judged together:
    /// what one of them changes is judged again once, not once for each.
    items: VecDeque<Turn>,
    changes: VecDeque<Turn>,
    /// Records with their histories, from one step to the next.
    kept: Kept,
    /// What waits, and at which of the vault's writes that was read.
    waiting: Option<(u64, Waiting)>,
    received: Received,
}

impl Vault {
    /// Takes up verified batches; all of it is durable when this returns.
    pub(crate) fn receive(&mut self, batches: Vec<VerifiedBatch>) -> Result<Received> {
        let mut intake = Intake::new(batches);
        while self.take_step(&mut intake)? {}
        Ok(intake.received())
    }

    /// Takes the next step. Whether there is another.
    pub(crate) fn take_step(&mut self, intake: &mut Intake) -> Result<bool> {
        self.work(|work, _| intake.step(work))
    }

    /// Takes the steps that were left, should anything have stopped them.
    pub(crate) fn take_rest(&mut self) -> Result<Received> {
        match is_staged(&self.store.read()?)? {
            true => self.receive(Vec::new()),
            false => Ok(Received::default()),
        }
    }
}

/// Whether steps were left.
pub(crate) fn is_staged(rows: &dyn Rows) -> Result<bool> {
    let mut staged = false;
    rows.scan(&[kind::PENDING], &[kind::PENDING], &mut |_, row| {
        staged = Cause::from_row(row) == Cause::Any;
        Ok(!staged)
    })?;
    Ok(staged)
}

/// Takes up verified batches in whatever is being written: in one step.
pub(crate) fn receive(work: &mut Work, batches: Vec<VerifiedBatch>) -> Result<Received> {
    work.spent.do_all_at_once();
    let mut intake = Intake::new(batches);
    intake.step(work)?;
    Ok(intake.received)
}

impl Intake {
    pub(crate) fn new(batches: Vec<VerifiedBatch>) -> Self {
        Self {
            batches: batches.into(),
            items: VecDeque::new(),
            changes: VecDeque::new(),
            kept: Kept::default(),
            waiting: None,
            received: Received::default(),
        }
    }

    /// What came of it so far.
    pub(crate) const fn received(&self) -> Received {
        self.received
    }

    fn step(&mut self, work: &mut Work) -> Result<bool> {
        self.take_batches(work)?;
        rejudge::after_forks(work)?;
        if self.batches.is_empty() {
            work.lives.kept = std::mem::take(&mut self.kept);
            self.look(work)?;
            self.settle(work)?;
            self.kept = std::mem::take(&mut work.lives.kept);
        }
        let more = !(self.batches.is_empty() && self.items.is_empty() && self.changes.is_empty());
        if more {
            self.stage(work);
        }
        if let Some((at, waiting)) = &mut self.waiting {
            // Ends this work, whose write is the next.
            *at = work.core.epoch.count + 1;
            self.received.pending = waiting.count();
        }
        Ok(more)
    }

    /// Puts commits into the ledger.
    fn take_batches(&mut self, work: &mut Work) -> Result<()> {
        let mut new = New::default();
        while !work.spent.is_enough()
            && let Some(batch) = self.batches.pop_front()
        {
            take_batch(work, &batch, &mut new, &mut self.received)?;
        }
        let turn = |place| Turn {
            place,
            staged: false,
        };
        self.items.extend(new.items.into_iter().map(turn));
        self.changes.extend(new.changes.into_iter().map(turn));
        Ok(())
    }

    /// Reads what waits, unless nobody has written since it was read.
    fn look(&mut self, work: &Work) -> Result<()> {
        let count = work.core.epoch.count;
        if self.waiting.as_ref().is_some_and(|(at, _)| *at == count) {
            return Ok(());
        }
        let mut waiting = Waiting::load(work)?;
        let staged = waiting.take(&Cause::Any);
        if self.waiting.is_none() {
            let known: std::collections::HashSet<_> = self.turns().map(|t| t.place).collect();
            let left = staged.into_iter().filter(|place| !known.contains(place));
            let turn = |place| Turn {
                place,
                staged: true,
            };
            self.changes.extend(left.map(turn));
        }
        for id in waiting.keys() {
            if load_data_key(work, &id)?.is_some() {
                self.wake(&mut waiting, &Cause::Key(id));
            }
        }
        self.waiting = Some((count, waiting));
        Ok(())
    }

    fn turns(&self) -> impl Iterator<Item = &Turn> {
        self.items.iter().chain(&self.changes)
    }

    fn wake(&mut self, waiting: &mut Waiting, cause: &Cause) {
        let turn = |place| Turn {
            place,
            staged: false,
        };
        self.changes
            .extend(waiting.take(cause).into_iter().map(turn));
    }

    /// Delivers commits whose turn has come, until the step has cost enough.
    fn settle(&mut self, work: &mut Work) -> Result<()> {
        while !work.spent.is_enough()
            && let Some(turn) = self.items.pop_front()
        {
            self.deliver(work, turn)?;
        }
        if self.items.is_empty() {
            take_items(work)?;
        }
        loop {
            let visible = std::mem::take(&mut work.visible);
            if let Some((at, mut waiting)) = self.waiting.take() {
                for (record, id) in visible {
                    self.wake(&mut waiting, &Cause::Change(record, id));
                }
                self.waiting = Some((at, waiting));
            }
            if work.spent.is_enough() || !self.items.is_empty() {
                break;
            }
            let Some(turn) = self.changes.pop_front() else {
                break;
            };
            self.deliver(work, turn)?;
        }
        take_items(work)
    }

    fn deliver(&mut self, work: &mut Work, turn: Turn) -> Result<()> {
        let (chain, seq) = turn.place;
        // Another may have delivered it since.
        let key = rows::in_chain(kind::PENDING, chain, seq);
        if turn.staged && work.get(&key)?.is_none() {
            return Ok(());
        }
        if let Some(cause) = settle(work, chain, seq, &mut self.received)?
            && let Some((_, waiting)) = &mut self.waiting
        {
            waiting.add(cause, turn.place);
        }
        Ok(())
    }

    /// Notes whose turn has not come: should nothing follow, the next exchange finds them.
    fn stage(&mut self, work: &mut Work) {
        for turn in self.items.iter_mut().chain(&mut self.changes) {
            if !turn.staged {
                let (chain, seq) = turn.place;
                let key = rows::in_chain(kind::PENDING, chain, seq);
                work.txn.put(key, Cause::Any.row());
                turn.staged = true;
            }
        }
    }
}
