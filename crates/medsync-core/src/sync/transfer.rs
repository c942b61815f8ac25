//! Moving batches: what one side sends and what it takes up.

use crate::ids::DeviceKey;
use crate::ledger::receipt::BatchRef;
use crate::model::pack::Lane;
use crate::sync::effect::{Chunk, Effect, Offer, Partial};
use crate::sync::lanes::Lanes;
use std::collections::VecDeque;

/// Bytes of chunks that a peer may send before it is granted more: what a session can make its host
/// keep at once.
pub(crate) const CREDIT_BYTES: u64 = 256 * 1024;
/// A receipt is due after so many batches, wherever the session is.
const RECEIPT_AFTER: usize = 256;
/// Most batches in a row that were here before. Two honest sides may both have met a third.
pub(crate) const DUPLICATES_MAX: u64 = 1 << 20;

/// How a link is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Longest record, in bytes. What a cut can cost.
    pub record: usize,
    /// Bytes that are gathered into one frame.
    pub frame: usize,
    /// Bytes that may wait in the transport. What can stand before something urgent.
    pub window: usize,
}

impl Link {
    /// Tens of kilobits a second.
    pub const SLOW: Self = Self {
        record: 1024,
        frame: 1024,
        window: 2048,
    };
    /// Megabits a second.
    pub const FAST: Self = Self {
        record: 4096,
        frame: 16 * 1024,
        window: 256 * 1024,
    };

    /// What of a record a chunk's bytes may take.
    pub(crate) const fn room(&self) -> usize {
        // Length, tag, and the longest head of a chunk.
        self.record.saturating_sub(2 + 16 + 60)
    }
}

/// What is being read.
#[derive(Debug, Clone, Copy)]
struct Loading {
    batch: BatchRef,
    position: u64,
    lane: Lane,
    part: u32,
    offset: u64,
}

/// What one side sends.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    lanes: Lanes,
    loading: Option<Loading>,
    /// Bytes that the peer still takes.
    credit: u64,
    /// The position that the next end names.
    head: u64,
    /// Whether what is to be sent is known.
    planned: bool,
    /// Whether the end was said of all that was offered.
    ended: bool,
    /// Whether something was left out: then no position is reached.
    incomplete: bool,
    /// Batches that went, in order, without a receipt yet.
    completed: VecDeque<BatchRef>,
}

impl Outgoing {
    pub(crate) const fn grant(&mut self, bytes: u64) {
        self.credit = self.credit.saturating_add(bytes);
    }

    pub(crate) fn plan(&mut self, offers: Vec<Offer>, partials: &[Partial], head: u64) {
        self.planned = true;
        self.head = self.head.max(head);
        self.add(offers, partials);
    }

    /// Nothing is to be sent: both hold the same.
    pub(crate) const fn plan_nothing(&mut self, head: u64) {
        (self.planned, self.ended, self.head) = (true, true, head);
    }

    pub(crate) fn add(&mut self, offers: Vec<Offer>, partials: &[Partial]) {
        for offer in &offers {
            self.head = self.head.max(offer.position);
            self.ended = false;
        }
        self.lanes.add(offers, partials);
    }

    pub(crate) const fn is_planned(&self) -> bool {
        self.planned
    }

    pub(crate) const fn is_loading(&self) -> bool {
        self.loading.is_some()
    }

    /// Whether all is sent and the end was said.
    pub(crate) const fn is_over(&self) -> bool {
        self.ended
    }

    /// Whether something waits that may go now.
    pub(crate) fn is_hungry(&self) -> bool {
        self.loading.is_none() && !self.lanes.is_empty() && self.credit > 0
    }

    /// How many batches wait.
    pub(crate) fn waiting(&self) -> usize {
        self.lanes.len()
    }

    /// What to read next.
    pub(crate) fn load(&mut self, room: usize) -> Option<Effect> {
        if !self.is_hungry() {
            return None;
        }
        let credit = usize::try_from(self.credit).unwrap_or(usize::MAX);
        let room = room.min(credit);
        let next = self.lanes.next(room)?;
        let loading = Loading {
            batch: next.batch,
            position: next.position,
            lane: next.lane,
            part: next.part,
            offset: next.offset,
        };
        self.loading = Some(loading);
        Some(Effect::Load {
            batch: loading.batch,
            part: loading.part,
            offset: loading.offset,
            room,
        })
    }

    /// What was read, as it travels; `None` when the host's answer does not fit.
    pub(crate) fn loaded(&mut self, total: u64, last: bool, bytes: Vec<u8>) -> Option<Chunk> {
        let loading = self.loading.take()?;
        let mut handle = [0; 8];
        handle.copy_from_slice(&loading.batch.id.0[..8]);
        let chunk = Chunk {
            handle,
            position: loading.position,
            lane: loading.lane,
            part: loading.part,
            offset: loading.offset,
            total,
            last,
            bytes,
        };
        let end = chunk.offset.checked_add(chunk.bytes.len() as u64)?;
        if chunk.bytes.is_empty() || end > total {
            return None;
        }
        let next = match (chunk.ends_block(), last) {
            (true, true) => None,
            (true, false) => Some((chunk.part.checked_add(1)?, 0)),
            (false, _) => Some((chunk.part, end)),
        };
        self.credit = self.credit.saturating_sub(chunk.bytes.len() as u64);
        self.lanes.sent(&loading.batch.id, chunk.bytes.len(), next);
        if next.is_none() {
            self.completed.push_back(loading.batch);
        }
        Some(chunk)
    }

    /// Gives up what was to be read. It is not claimed to be there.
    pub(crate) fn unreadable(&mut self) {
        if let Some(loading) = self.loading.take() {
            self.lanes.drop_batch(&loading.batch.id);
            self.incomplete = true;
        }
    }

    /// The position to say the end of, once there is nothing left to send.
    pub(crate) fn end(&mut self) -> Option<u64> {
        let over = self.planned && !self.ended && self.loading.is_none() && self.lanes.is_empty();
        over.then(|| {
            self.ended = true;
            if self.incomplete { 0 } else { self.head }
        })
    }

    /// The next batches that a receipt is for; `None` when it is for more than went.
    pub(crate) fn receipted(&mut self, count: u64) -> Option<Vec<BatchRef>> {
        let count = usize::try_from(count).ok()?;
        (1..=self.completed.len())
            .contains(&count)
            .then(|| self.completed.drain(..count).collect())
    }
}

/// What one side takes up.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// Bytes that may still come.
    allowed: u64,
    /// Bytes of chunks that are being stored: their lengths and lanes.
    storing: VecDeque<(usize, Lane)>,
    /// Bytes that were taken up and not granted again.
    taken: u64,
    /// Batches that are durable and have no receipt yet.
    whole: Vec<BatchRef>,
    urgent: bool,
    /// How many batches the receipt is for that is being signed.
    signing: Option<usize>,
    duplicates: u64,
    /// The position that the peer said the end of.
    ended: Option<u64>,
}

impl Incoming {
    pub(crate) const fn new() -> Self {
        Self {
            allowed: CREDIT_BYTES,
            storing: VecDeque::new(),
            taken: 0,
            whole: Vec::new(),
            urgent: false,
            signing: None,
            duplicates: 0,
            ended: None,
        }
    }

    /// A chunk came. `None` when the peer sends more than it may.
    pub(crate) fn take(&mut self, peer: DeviceKey, epoch: [u8; 8], chunk: Chunk) -> Option<Effect> {
        self.allowed = self.allowed.checked_sub(chunk.bytes.len() as u64)?;
        self.ended = None;
        self.storing.push_back((chunk.bytes.len(), chunk.lane));
        Some(Effect::Store { peer, epoch, chunk })
    }

    /// A chunk is durable. `None` when the peer sends nothing but what is here.
    pub(crate) fn stored(&mut self, batch: Option<BatchRef>, duplicate: bool) -> Option<()> {
        let (bytes, lane) = self.storing.pop_front()?;
        self.taken += bytes as u64;
        if let Some(batch) = batch {
            self.whole.push(batch);
            self.urgent |= lane == Lane::P0;
            self.duplicates = if duplicate { self.duplicates + 1 } else { 0 };
        }
        (self.duplicates <= DUPLICATES_MAX).then_some(())
    }

    /// Bytes to grant the peer again, once it is worth a message.
    pub(crate) fn grant(&mut self) -> Option<u64> {
        (self.taken >= CREDIT_BYTES / 2).then(|| {
            self.allowed += self.taken;
            std::mem::take(&mut self.taken)
        })
    }

    pub(crate) const fn end(&mut self, position: u64) {
        self.ended = Some(position);
    }

    /// The batches to sign a receipt for, if one is due.
    pub(crate) fn receipt_due(&mut self) -> Option<Vec<BatchRef>> {
        let idle = self.ended.is_some() && self.storing.is_empty();
        let due = idle || self.urgent || self.whole.len() >= RECEIPT_AFTER;
        if !due || self.signing.is_some() || self.whole.is_empty() {
            return None;
        }
        self.urgent = false;
        let batches = std::mem::take(&mut self.whole);
        self.signing = Some(batches.len());
        Some(batches)
    }

    /// How many batches the receipt is for that was signed now.
    pub(crate) const fn signed(&mut self) -> Option<usize> {
        self.signing.take()
    }

    /// The position up to which everything was taken up, once the peer said the end.
    pub(crate) fn is_over(&self) -> Option<u64> {
        let idle = self.storing.is_empty() && self.whole.is_empty() && self.signing.is_none();
        self.ended.filter(|_| idle)
    }
}
