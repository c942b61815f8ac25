//! What goes next: urgent things first, nobody starved, causes before what follows from them.
//!
//! P0 goes before everything. P1 to P3 share what is left 4 : 2 : 1. Each lane that has something
//! waiting gets at least a twentieth, whatever the others have. What is under way gives way between
//! two chunks and goes on later where it stopped.

use crate::ids::BatchId;
use crate::ledger::receipt::BatchRef;
use crate::model::pack::Lane;
use crate::sync::effect::{Offer, Partial};
use std::collections::{BTreeSet, HashMap};

const LANES: usize = 4;
/// A lane's least share is a twentieth: one part against nineteen of all others.
const FLOOR: u64 = 19;
/// How P1 to P3 share what is left.
const WEIGHTS: [u64; LANES] = [1, 4, 2, 1];

/// A batch that waits or is under way.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) batch: BatchRef,
    pub(crate) position: u64,
    /// The lane it goes in: its own, or that of what builds on it.
    pub(crate) lane: Lane,
    /// The next block, and where in it.
    pub(crate) part: u32,
    pub(crate) offset: u64,
    needs: Vec<BatchId>,
    order: u64,
}

/// The batches of one direction that wait.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    items: HashMap<BatchId, Waiting>,
    queue: BTreeSet<(Lane, u64, BatchId)>,
    added: u64,
    /// What each lane is owed, in parts of [`FLOOR`].
    owed: [u64; LANES],
    /// How much each lane got, by its weight.
    served: [u64; LANES],
    owed_last: bool,
}

const fn index(lane: Lane) -> usize {
    match lane {
        Lane::P0 => 0,
        Lane::P1 => 1,
        Lane::P2 => 2,
        Lane::P3 => 3,
    }
}

impl Lanes {
    /// Adds batches, causes first; those of which the peer has a part go on from there.
    pub(crate) fn add(&mut self, offers: Vec<Offer>, partials: &[Partial]) {
        let mut ids = Vec::with_capacity(offers.len());
        for offer in offers {
            let id = offer.batch.id;
            if self.items.contains_key(&id) {
                continue;
            }
            let there = partials.iter().find(|p| id.0.starts_with(&p.handle));
            let (part, offset) = there.map_or((0, 0), |p| (p.part, p.offset));
            self.added += 1;
            let waiting = Waiting {
                batch: offer.batch,
                position: offer.position,
                lane: offer.lane,
                part,
                offset,
                needs: offer.needs,
                order: self.added,
            };
            self.wake(offer.lane);
            self.queue.insert((offer.lane, waiting.order, id));
            self.items.insert(id, waiting);
            ids.push(id);
        }
        // From the last to the first: a cause passes on what it inherited.
        for id in ids.into_iter().rev() {
            self.hurry_causes(id);
        }
    }

    /// Causes go in the lane of what builds on them, if that is more urgent.
    fn hurry_causes(&mut self, id: BatchId) {
        let mut look = vec![id];
        while let Some(id) = look.pop() {
            let Some(item) = self.items.get(&id) else {
                continue;
            };
            let (lane, needs) = (item.lane, item.needs.clone());
            for cause in needs {
                let Some(item) = self.items.get_mut(&cause).filter(|c| c.lane > lane) else {
                    continue;
                };
                self.queue.remove(&(item.lane, item.order, cause));
                item.lane = lane;
                let order = item.order;
                self.queue.insert((lane, order, cause));
                self.wake(lane);
                look.push(cause);
            }
        }
    }

    /// A lane that had nothing cannot have saved anything up.
    fn wake(&mut self, lane: Lane) {
        if self.first(lane).is_none() {
            let busy = (0..LANES).filter(|at| self.first_at(*at).is_some());
            let least = busy.map(|at| self.served[at]).min().unwrap_or(0);
            let at = index(lane);
            self.owed[at] = 0;
            self.served[at] = self.served[at].max(least);
        }
    }

    fn first(&self, lane: Lane) -> Option<BatchId> {
        let none = BatchId([0; 32]);
        let next = self.queue.range((lane, 0, none)..).next();
        next.filter(|(of, _, _)| *of == lane).map(|(_, _, id)| *id)
    }

    fn first_at(&self, at: usize) -> Option<BatchId> {
        let lane = [Lane::P0, Lane::P1, Lane::P2, Lane::P3].get(at).copied();
        lane.and_then(|lane| self.first(lane))
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many batches wait.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// The batch that goes next, when about `room` bytes may go.
    pub(crate) fn next(&mut self, room: usize) -> Option<&Waiting> {
        let due = |at: &usize| self.owed[*at] >= FLOOR * room as u64;
        let busy: Vec<usize> = (0..LANES)
            .filter(|at| self.first_at(*at).is_some())
            .collect();
        let owed = busy.iter().copied().filter(due);
        let owed = owed.max_by_key(|at| self.owed[*at]);
        let urgent = busy.first() == Some(&0);
        let at = match owed {
            // Never two in a row before something urgent.
            Some(at) if !(urgent && self.owed_last) => at,
            _ if urgent => 0,
            _ => busy.into_iter().min_by_key(|at| self.served[*at])?,
        };
        self.owed_last = owed == Some(at);
        let id = self.first_at(at)?;
        self.items.get(&id)
    }

    /// Notes that `bytes` of a batch went, and where it goes on.
    pub(crate) fn sent(&mut self, id: &BatchId, bytes: usize, next: Option<(u32, u64)>) {
        let Some(item) = self.items.get_mut(id) else {
            return;
        };
        let (lane, order) = (item.lane, item.order);
        match next {
            Some((part, offset)) => (item.part, item.offset) = (part, offset),
            None => {
                self.items.remove(id);
                self.queue.remove(&(lane, order, *id));
            }
        }
        let (mine, bytes) = (index(lane), bytes as u64);
        self.served[mine] += bytes * WEIGHTS[1] / WEIGHTS[mine];
        for at in 0..LANES {
            if self.first_at(at).is_none() {
                self.owed[at] = 0;
            } else if at == mine {
                self.owed[at] = self.owed[at].saturating_sub(bytes * FLOOR);
            } else {
                self.owed[at] = self.owed[at].saturating_add(bytes);
            }
        }
    }

    /// Gives a batch up.
    pub(crate) fn drop_batch(&mut self, id: &BatchId) {
        if let Some(item) = self.items.remove(id) {
            self.queue.remove(&(item.lane, item.order, *id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{AuthorKey, ChainId, ReplicaId};

    fn id(n: u16) -> BatchId {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&n.to_be_bytes());
        BatchId(id)
    }

    fn offer(n: u16, lane: Lane, needs: &[u16]) -> Offer {
        Offer {
            batch: BatchRef {
                chain: ChainId {
                    author: AuthorKey([1; 32]),
                    replica: ReplicaId([1; 16]),
                },
                first: n.into(),
                last: n.into(),
                id: id(n),
            },
            position: n.into(),
            lane,
            bytes: 1000,
            needs: needs.iter().map(|n| id(*n)).collect(),
        }
    }

    /// Sends `rounds` chunks of 1,000 bytes of batches that never end; bytes by lane.
    fn play(lanes: &mut Lanes, rounds: usize) -> [usize; LANES] {
        let mut got = [0; LANES];
        for _ in 0..rounds {
            let Some(item) = lanes.next(1000) else {
                break;
            };
            let (id, lane, part) = (item.batch.id, item.lane, item.part);
            got[index(lane)] += 1000;
            lanes.sent(&id, 1000, Some((part + 1, 0)));
        }
        got
    }

    #[test]
    fn urgent_things_go_first_and_the_lowest_lane_gets_a_twentieth() {
        let mut lanes = Lanes::default();
        let all = [Lane::P0, Lane::P1, Lane::P2, Lane::P3];
        let offers = (1u16..).zip(all).map(|(n, lane)| offer(n, lane, &[]));
        lanes.add(offers.collect(), &[]);
        let got = play(&mut lanes, 2000);
        assert!(got[0] > 1_600_000, "{got:?}");
        for bytes in &got[1..] {
            assert!(*bytes >= 2_000_000 / 20 - 3000, "{got:?}");
        }
    }

    #[test]
    fn the_others_share_what_is_left() {
        let mut lanes = Lanes::default();
        let all = [Lane::P1, Lane::P2, Lane::P3];
        let offers = (1u16..).zip(all).map(|(n, lane)| offer(n, lane, &[]));
        lanes.add(offers.collect(), &[]);
        let got = play(&mut lanes, 700);
        assert!((380_000..=420_000).contains(&got[1]), "{got:?}");
        assert!((180_000..=220_000).contains(&got[2]), "{got:?}");
    }

    #[test]
    fn something_urgent_waits_for_two_chunks_at_most() {
        let mut lanes = Lanes::default();
        let all = [Lane::P1, Lane::P2, Lane::P3];
        let offers = (1u16..).zip(all).map(|(n, lane)| offer(n, lane, &[]));
        lanes.add(offers.collect(), &[]);
        for more in 0..200u16 {
            play(&mut lanes, usize::from(more % 7) + 1);
            lanes.add(vec![offer(1000 + more, Lane::P0, &[])], &[]);
            let mut before = 0;
            while let Some(item) = lanes.next(1000) {
                let (id, lane, part) = (item.batch.id, item.lane, item.part);
                let next = (lane != Lane::P0).then_some((part + 1, 0));
                lanes.sent(&id, 1000, next);
                if lane == Lane::P0 {
                    break;
                }
                before += 1;
            }
            assert!(before <= 1, "{before} chunks went before");
        }
    }

    #[test]
    fn causes_go_before_what_builds_on_them_in_its_lane() {
        let mut lanes = Lanes::default();
        let first = vec![
            offer(1, Lane::P3, &[]),
            offer(2, Lane::P2, &[1]),
            offer(3, Lane::P1, &[]),
        ];
        lanes.add(first, &[]);
        lanes.add(vec![offer(4, Lane::P0, &[2])], &[]);
        let mut order = Vec::new();
        while let Some(item) = lanes.next(10_000) {
            let id = item.batch.id;
            order.push(item.batch.first);
            lanes.sent(&id, 100, None);
        }
        assert_eq!(order, [1, 2, 4, 3]);
        assert!(lanes.is_empty());
    }

    #[test]
    fn what_the_peer_has_a_part_of_goes_on_there() {
        let mut lanes = Lanes::default();
        let mut handle = [0; 8];
        handle.copy_from_slice(&id(2).0[..8]);
        let partial = Partial {
            handle,
            part: 3,
            offset: 700,
        };
        let offers = vec![offer(1, Lane::P2, &[]), offer(2, Lane::P1, &[])];
        lanes.add(offers, &[partial]);
        let next = lanes.next(1000).map(|w| (w.part, w.offset));
        assert_eq!(next, Some((3, 700)));
    }
}
