//! Meeting: sticks, their mishaps, and the quiet in which nobody has anything new.

use crate::error::Error;
use crate::testing::sim::step::Step;
use crate::testing::sim::stick::Stick;
use crate::testing::sim::world::{Fine, STICKS, World};
use crate::vault::ExchangeReport;

/// Rounds after which all must have met.
const ROUNDS_MAX: usize = 12;
/// Copies of sticks that are kept.
const KEPT_MAX: usize = 4;

impl World {
    /// One exchange of a device. `None`: the power went.
    fn meet(&mut self, who: usize, stick: &mut Stick, cut: u8) -> Fine<Option<ExchangeReport>> {
        let done = self.act(who, cut, "an exchange", |vault| {
            match vault.exchange_over(stick, &mut |_| {}) {
                // Its stick was pulled: no fault of the disk's.
                Err(Error::Storage { .. }) if stick.was_pulled() => Ok(None),
                done => done.map(Some),
            }
        })?;
        if stick.has_canary(&mut self.rng) {
            return Err("a clinical value stands in the clear on a stick".to_owned());
        }
        match done {
            None | Some(Ok(None)) => Ok(None),
            Some(Ok(Some(report))) => Ok(Some(report)),
            Some(Err(error)) => Err(format!("replica {who} does not exchange: {error}")),
        }
    }

    pub(super) fn exchange(&mut self, who: u8, stick: u8, pull: u8, cut: u8) -> Fine {
        let Some(who) = self.who(who) else {
            return Ok(());
        };
        let at = usize::from(stick) % STICKS;
        let mut stick = std::mem::take(&mut self.sticks[at]);
        if pull > 0 {
            let leaves_part = self.rng.one_in(2);
            stick.pull_in(u32::from(pull), leaves_part);
        }
        let done = self.meet(who, &mut stick, cut);
        stick.put_in();
        self.sticks[at] = stick;
        done?;
        self.check_held(who)?;
        self.check_whole(who)
    }

    pub(super) fn sticks_move(&mut self, step: Step) {
        let at = |number: u8| usize::from(number) % STICKS;
        match step {
            Step::Mix { from, to } => {
                let from = self.sticks[at(from)].clone();
                self.sticks[at(to)].mix_in(&from);
            }
            Step::Keep { stick } if self.kept.len() < KEPT_MAX => {
                self.kept.push(self.sticks[at(stick)].clone());
            }
            Step::PutBack { stick, which } if !self.kept.is_empty() => {
                let which = usize::from(which) % self.kept.len();
                self.sticks[at(stick)] = self.kept[which].clone();
            }
            Step::Tamper { stick, salt } => {
                let mut rng = self.rng.clone();
                for _ in 0..=salt % 3 {
                    self.sticks[at(stick)].tamper(&mut rng);
                }
            }
            _ => {}
        }
    }

    /// Honest devices that nobody revoked and that take part.
    pub(super) fn attendees(&self) -> Vec<usize> {
        let attends = |who: &usize| {
            let replica = &self.replicas[*who];
            !replica.hostile && !replica.doubtful && !self.plan.without.contains(who)
        };
        (0..self.replicas.len()).filter(attends).collect()
    }

    /// All meet until nobody has anything new.
    pub(super) fn quiet(&mut self) -> Fine {
        let all = self.attendees();
        let before = self.holders(&all)?;
        let mut share = if self.plan.fresh_share {
            Stick::default()
        } else {
            std::mem::take(&mut self.share)
        };
        let met = self.until_quiet(&all, &mut share);
        self.share = share;
        met?;
        for who in &all {
            self.check_held(*who)?;
            self.check_name(*who)?;
        }
        self.check(&all, &before)
    }

    fn until_quiet(&mut self, all: &[usize], share: &mut Stick) -> Fine {
        // The others come once: what they bring all must have, or none.
        for who in 0..self.replicas.len() {
            if !all.contains(&who) && !self.plan.without.contains(&who) {
                self.meet(who, share, 0)?;
            }
        }
        for _ in 0..ROUNDS_MAX {
            let mut news = 0;
            for who in all {
                let report = self.meet(*who, share, 0)?;
                let report = report.ok_or("an exchange without a report")?;
                news += report.received.commits + report.received_keys + report.sent_files;
            }
            if news == 0 {
                return Ok(());
            }
        }
        Err(format!(
            "there is still something new after {ROUNDS_MAX} rounds"
        ))
    }
}
