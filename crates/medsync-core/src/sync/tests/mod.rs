//! Two sessions over a wire that can be cut, slowed and read, each with a host in memory.

mod bad;
mod host;
mod lanes;
mod meet;
mod resume;

use crate::sync::session::{Meet, Session, Settings};
use crate::sync::step::{Ending, Event, Notice, Step};
use crate::sync::transfer::Link;
use host::Host;

pub(super) const SLOW: Settings = Settings {
    link: Link::SLOW,
    live: false,
};
pub(super) const FAST: Settings = Settings {
    link: Link::FAST,
    live: false,
};

/// What came of a session, on both sides: the caller's first.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) bytes: [usize; 2],
    pub(super) frames: [usize; 2],
    pub(super) endings: [Option<Ending>; 2],
    pub(super) notices: [Vec<Notice>; 2],
    /// Half round trips until a side was in sync, and until its last batch was receipted.
    pub(super) in_sync_after: [Option<usize>; 2],
    pub(super) receipted_after: [Option<usize>; 2],
}

/// A wire between two sessions. It takes `limit` bytes of both directions together, then it is cut.
pub(super) struct Wire<'a> {
    pub(super) hosts: [&'a mut Host; 2],
    pub(super) sessions: [Session; 2],
    pub(super) outcome: Outcome,
    /// Frames on their way from each side.
    flying: [Vec<Vec<u8>>; 2],
    left: usize,
    /// Frames that each side may send before its direction is cut.
    pub(super) frames_max: usize,
    carried: [usize; 2],
    /// The length of the pieces in which bytes arrive.
    pub(super) piece: usize,
    half_trips: usize,
}

impl<'a> Wire<'a> {
    pub(super) fn new(
        caller: &'a mut Host,
        answerer: &'a mut Host,
        settings: [Settings; 2],
        limit: usize,
    ) -> Self {
        let meet = caller.how_to_meet(answerer);
        Self::meeting(caller, answerer, meet, settings, limit)
    }

    pub(super) fn meeting(
        caller: &'a mut Host,
        answerer: &'a mut Host,
        meet: Meet,
        settings: [Settings; 2],
        limit: usize,
    ) -> Self {
        let (us, ephemeral) = (caller.identity(), caller.ephemeral());
        let (first, step) = Session::connect(us, meet, settings[0], ephemeral, 0);
        let second = answerer.ephemeral();
        let second = Session::accept(answerer.identity(), settings[1], second, 0);
        let mut wire = Self {
            hosts: [caller, answerer],
            sessions: [first, second],
            outcome: Outcome::default(),
            flying: [Vec::new(), Vec::new()],
            left: limit,
            frames_max: usize::MAX,
            carried: [0; 2],
            piece: usize::MAX,
            half_trips: 0,
        };
        wire.carry_out(0, step);
        wire
    }

    /// Carries out a step and all that follows from it at once.
    pub(super) fn carry_out(&mut self, side: usize, step: Step) {
        let mut steps = vec![step];
        while let Some(step) = steps.pop() {
            for frame in step.frames {
                self.outcome.frames[side] += 1;
                self.outcome.bytes[side] += frame.len();
                let len = frame.len();
                self.flying[side].push(frame);
                steps.push(self.sessions[side].step(Event::Written(len), 0));
            }
            for notice in step.notices {
                self.note(side, notice);
            }
            for effect in step.effects {
                if let Some(done) = self.hosts[side].carry_out(effect) {
                    steps.insert(0, self.sessions[side].step(Event::Done(done), 0));
                }
            }
        }
    }

    fn note(&mut self, side: usize, notice: Notice) {
        match &notice {
            Notice::InSync => self.outcome.in_sync_after[side] = Some(self.half_trips),
            Notice::Receipted(_) => self.outcome.receipted_after[side] = Some(self.half_trips),
            Notice::Ended(ending) => self.outcome.endings[side] = Some(*ending),
            _ => {}
        }
        self.outcome.notices[side].push(notice);
    }

    /// Lets everything arrive that is on its way. Whether anything was.
    pub(super) fn half_trip(&mut self) -> bool {
        self.half_trips += 1;
        let flying = std::mem::take(&mut self.flying);
        let any = flying.iter().any(|frames| !frames.is_empty());
        for (from, frames) in flying.into_iter().enumerate() {
            for mut frame in frames {
                self.carried[from] += 1;
                if self.carried[from] > self.frames_max {
                    continue;
                }
                frame.truncate(self.left);
                self.left -= frame.len();
                for piece in frame.chunks(self.piece.min(frame.len().max(1))) {
                    let step = self.sessions[1 - from].step(Event::Received(piece), 0);
                    self.carry_out(1 - from, step);
                }
            }
        }
        any && self.left > 0
    }

    /// Runs until nothing is on its way any more, or the wire is cut.
    pub(super) fn run(mut self) -> Outcome {
        while self.half_trip() {}
        for side in 0..2 {
            let step = self.sessions[side].step(Event::Stop, 0);
            self.carry_out(side, step);
        }
        self.outcome
    }
}

/// A session over a good wire.
pub(super) fn run(caller: &mut Host, answerer: &mut Host, settings: Settings) -> Outcome {
    Wire::new(caller, answerer, [settings; 2], usize::MAX).run()
}
