//! Urgent things on a slow line.

use super::host::Host;
use super::meet::met;
use crate::ids::BatchId;
use crate::model::pack::Lane;
use crate::sync::session::{Session, Settings};
use crate::sync::step::{Event, Notice, Step};
use crate::sync::transfer::Link;
use std::collections::VecDeque;

const LIVE: Settings = Settings {
    link: Link::SLOW,
    live: true,
};

/// Two sessions over a line of 20 kbit/s and 800 ms of round trip.
struct Line<'a> {
    hosts: [&'a mut Host; 2],
    sessions: [Session; 2],
    waiting: [VecDeque<u8>; 2],
    flying: [VecDeque<(i64, Vec<u8>)>; 2],
    now_ms: i64,
    receipted: Vec<(i64, BatchId)>,
}

impl<'a> Line<'a> {
    fn new(a: &'a mut Host, b: &'a mut Host) -> Self {
        let meet = a.how_to_meet(b);
        let ephemeral = [a.ephemeral(), b.ephemeral()];
        let [mine, theirs] = ephemeral;
        let (caller, step) = Session::connect(a.identity(), meet, LIVE, mine, 0);
        let answerer = Session::accept(b.identity(), LIVE, theirs, 0);
        let mut line = Self {
            hosts: [a, b],
            sessions: [caller, answerer],
            waiting: Default::default(),
            flying: Default::default(),
            now_ms: 0,
            receipted: Vec::new(),
        };
        line.carry_out(0, step);
        line
    }

    fn carry_out(&mut self, side: usize, step: Step) {
        let mut steps = vec![step];
        while let Some(step) = steps.pop() {
            self.waiting[side].extend(step.frames.concat());
            for notice in step.notices {
                if let (0, Notice::Receipted(batches)) = (side, notice) {
                    let now = self.now_ms;
                    self.receipted.extend(batches.iter().map(|b| (now, b.id)));
                }
            }
            for effect in step.effects {
                if let Some(done) = self.hosts[side].carry_out(effect) {
                    steps.insert(0, self.sessions[side].step(Event::Done(done), self.now_ms));
                }
            }
        }
    }

    fn run_until(&mut self, until_ms: i64) {
        while self.now_ms < until_ms {
            self.now_ms += 10;
            for side in 0..2 {
                let count = self.waiting[side].len().min(25);
                let bytes: Vec<u8> = self.waiting[side].drain(..count).collect();
                if count > 0 {
                    self.flying[side].push_back((self.now_ms + 400, bytes));
                    let step = self.sessions[side].step(Event::Written(count), self.now_ms);
                    self.carry_out(side, step);
                }
                while self.flying[side]
                    .front()
                    .is_some_and(|(at, _)| *at <= self.now_ms)
                {
                    let (_, bytes) = self.flying[side].pop_front().expect("it is there");
                    let step = self.sessions[1 - side].step(Event::Received(&bytes), self.now_ms);
                    self.carry_out(1 - side, step);
                }
            }
        }
    }

    fn offer(&mut self, id: &BatchId) {
        let offer = self.hosts[0].offer(id);
        let step = self.sessions[0].step(Event::Offered(vec![offer]), self.now_ms);
        self.carry_out(0, step);
    }
}

#[test]
fn an_allergy_written_while_ten_megabytes_wait_is_receipted_within_three_seconds() {
    let [mut a, mut b] = met();
    for _ in 0..330 {
        a.write(Lane::P3, 30_000, &[]);
    }
    let mut line = Line::new(&mut a, &mut b);
    line.run_until(20_000);
    for round in 0..5 {
        let written = line.now_ms;
        let id = line.hosts[0].write(Lane::P0, 1000, &[]);
        line.offer(&id);
        line.run_until(written + 4000 + round * 130);
        let receipt = line.receipted.iter().find(|(_, batch)| *batch == id);
        let took = receipt.map(|(at, _)| at - written);
        assert!(took.is_some_and(|ms| ms <= 3000), "took {took:?} ms");
    }
}

#[test]
fn the_lowest_lane_gets_its_share_while_urgent_things_never_end() {
    let [mut a, mut b] = met();
    for _ in 0..40 {
        a.write(Lane::P0, 5000, &[]);
        a.write(Lane::P3, 5000, &[]);
    }
    let mut line = Line::new(&mut a, &mut b);
    line.run_until(60_000);
    let low = line.hosts[1].log.iter().filter(|h| h.lane == Lane::P3);
    assert!(low.count() >= 1);
}

#[test]
fn a_live_session_goes_on_with_what_is_written_later() {
    let [mut a, mut b] = met();
    let mut line = Line::new(&mut a, &mut b);
    line.run_until(5000);
    assert!(line.sessions.iter().all(Session::is_in_sync));
    for _ in 0..3 {
        let id = line.hosts[0].write(Lane::P1, 400, &[]);
        line.offer(&id);
        let until = line.now_ms + 4000;
        line.run_until(until);
        assert_eq!(line.hosts[0].ids(), line.hosts[1].ids());
        assert!(line.receipted.iter().any(|(_, batch)| *batch == id));
    }
    assert!(line.sessions.iter().all(|session| !session.is_over()));
}
