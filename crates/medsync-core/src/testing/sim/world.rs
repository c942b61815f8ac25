//! A world: vaults over simulated disks, the people who use them, the sticks between them.

use crate::crypto::Suite;
use crate::error::{Error, Result};
use crate::ids::{RecordId, ReplicaId};
use crate::store::fault::Rng;
use crate::testing::sim::model::{CANARY, Made, Model, Numbers, because, in_view};
use crate::testing::sim::pack::record;
use crate::testing::sim::plan::Plan;
use crate::testing::sim::replica::Replica;
use crate::testing::sim::step::Step;
use crate::testing::sim::stick::Stick;
use crate::testing::sim::template;
use crate::vault::Vault;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sticks of a world.
pub(super) const STICKS: usize = 3;

/// What must never happen, in words for whoever looks at the seed. No clinical value.
pub(super) type Fine<T = ()> = std::result::Result<T, String>;

/// Everything there is.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) suite: Suite,
    pub(super) replicas: Vec<Replica>,
    pub(super) sticks: Vec<Stick>,
    pub(super) kept: Vec<Stick>,
    /// Where all meet.
    pub(super) share: Stick,
    pub(super) model: Model,
    /// The newest pack that an honest admin put into force.
    pub(super) pack: u32,
    /// Of the step that is under way.
    pub(super) rng: Rng,
}

impl World {
    /// The world as it begins.
    pub(super) fn new(plan: &Plan) -> Result<Self> {
        let suite = if plan.seed.is_multiple_of(8) {
            Suite::XChaCha20Poly1305
        } else {
            Suite::Xaes256Gcm
        };
        let mut replicas = Vec::new();
        for (no, member) in template::workspace(plan.replicas, suite)?
            .iter()
            .enumerate()
        {
            let seed = Rng::new(plan.seed ^ (no as u64) << 32).next_u64();
            let mut replica = Replica::new(member, seed, suite);
            replica.hostile = plan.hostile.get(no).copied().unwrap_or(false);
            replica.anchor = plan.anchored.then(Arc::default);
            replica.open()?;
            replicas.push(replica);
        }
        Ok(Self {
            plan: plan.clone(),
            suite,
            replicas,
            sticks: vec![Stick::default(); STICKS],
            kept: Vec::new(),
            share: Stick::default(),
            model: Model::default(),
            pack: 1,
            rng: Rng::new(plan.seed),
        })
    }

    /// Does one step.
    pub(super) fn step(&mut self, no: usize, step: Step) -> Fine {
        self.rng = Rng::new(self.plan.seed ^ 0xabcd ^ ((no as u64) << 20));
        for replica in &self.replicas {
            replica.env.advance_ms(40_000);
        }
        match step {
            Step::Edit {
                who,
                record,
                change,
                cut,
            } => self.edit(who, record, change, cut),
            Step::Several {
                who,
                first,
                count,
                cut,
            } => self.several(who, first, count, cut),
            Step::Import { who, salt, cut } => self.import(who, salt, cut),
            Step::OpenForm { who, record } => self.open_form(who, record),
            Step::SaveForm { who, change, cut } => self.save_form(who, change, cut),
            Step::Ask { who, pick } => self.ask(who, pick),
            Step::Decide { who, how, cut } => self.decide(who, how, cut),
            Step::Exchange {
                who,
                stick,
                pull,
                cut,
            } => self.exchange(who, stick, pull, cut),
            Step::Mix { .. } | Step::Keep { .. } | Step::PutBack { .. } | Step::Tamper { .. } => {
                self.sticks_move(step);
                Ok(())
            }
            Step::PowerCut { who } => self.power_cut(who),
            Step::Restart { who } => self.restart(who),
            Step::Backup { who } => self.backup(who),
            Step::Restore { who, which } => self.restore(who, which),
            Step::Clone { who } => self.clone_disk(who),
            Step::Clock { who, days } => {
                if let Some(who) = self.who(who) {
                    self.replicas[who].jump(i64::from(days));
                }
                Ok(())
            }
            Step::RevokePerson { by, whom, cut } => self.revoke_person(by, whom, cut),
            Step::RevokeDevice { by, whom, cut } => self.revoke_device(by, whom, cut),
            Step::Pack { who, cut } => self.install_pack(who, cut),
            Step::Join { by, roles } => self.join(by, roles),
            Step::Hostile {
                who,
                trick,
                stick,
                salt,
            } => self.hostile(who, trick, stick, salt),
            Step::Rebuild { who } => self.rebuild(who),
            Step::Quiet => self.quiet(),
        }
    }

    /// An honest replica that takes part.
    pub(super) fn who(&self, number: u8) -> Option<usize> {
        let who = usize::from(number) % self.replicas.len();
        let there = !self.replicas[who].hostile && !self.plan.without.contains(&who);
        there.then_some(who)
    }

    /// Does something on a device whose power may go meanwhile; `None`: it went, and the vault is
    /// open again, with all it held.
    pub(super) fn act<T>(
        &mut self,
        who: usize,
        cut: u8,
        what: &str,
        job: impl FnOnce(&mut Vault) -> Result<T>,
    ) -> Fine<Option<Result<T>>> {
        let replica = &mut self.replicas[who];
        if cut > 0 {
            replica.disk.cut_at(u64::from(cut));
        }
        let done = replica.vault().and_then(job);
        replica.disk.calm();
        if let Err(error) = &done
            && [error.to_string(), format!("{error:?}")]
                .iter()
                .any(|text| text.contains(CANARY))
        {
            return Err(format!("{what}: an error tells a clinical value"));
        }
        if replica.disk.is_off() {
            let lost = replica.lose_power(&mut self.rng);
            lost.map_err(|e| format!("replica {who} does not open after a cut in {what}: {e}"))?;
            self.check_held(who)?;
            return match done {
                Ok(done) => Ok(Some(Ok(done))),
                Err(_) => Ok(None),
            };
        }
        match &done {
            Err(
                Error::Integrity { .. }
                | Error::Storage { .. }
                | Error::Busy
                | Error::TooNew { .. }
                | Error::WrongSecret(_),
            ) => {
                let error = done.err().map_or_else(String::new, |e| e.to_string());
                Err(format!("replica {who}, {what}, on a sound disk: {error}"))
            }
            _ => Ok(Some(done)),
        }
    }

    /// Makes a commit of an honest person: `job` writes it under the reason it is given.
    pub(super) fn commit(
        &mut self,
        who: usize,
        cut: u8,
        what: &str,
        parts: BTreeMap<RecordId, Numbers>,
        job: impl FnOnce(&mut Vault, &str) -> Result<bool>,
    ) -> Fine {
        let no = self.model.next();
        self.model.made.push(Made {
            author: self.replicas[who].author,
            place: None,
            parts,
            doubtful: true,
        });
        let done = self.act(who, cut, what, |vault| {
            let wrote = job(vault, &because(no))?;
            Ok(wrote.then(|| vault.peek_own()).flatten())
        })?;
        match done {
            Some(Ok(Some(place))) => {
                if let Some(made) = self.model.made.last_mut() {
                    (made.place, made.doubtful) = (Some(place), false);
                }
                self.replicas[who].held.insert(no);
                self.check_story(who, place.0.replica)?;
                // It must have survived, if the power went after it was acknowledged.
                self.check_held(who)
            }
            // Refused, or without effect: it is nowhere.
            Some(_) => self.check_absent(who, no),
            None => self.find_doubtful(who, no),
        }
    }

    /// A disk that went back in time, and whose machine knows it, tells no second story.
    fn check_story(&mut self, who: usize, name: ReplicaId) -> Fine {
        let replica = &self.replicas[who];
        if replica.noticed && replica.restored == Some(name) {
            return Err(format!("replica {who} went on under the name of its past"));
        }
        Ok(())
    }

    /// After a cut: the commit under way is there, all of it, or nowhere.
    fn find_doubtful(&mut self, who: usize, no: u32) -> Fine {
        if !self.is_in_view(who, no)? {
            return Ok(());
        }
        let place = self.replicas[who]
            .vault()
            .map_err(|e| e.to_string())?
            .peek_own();
        if let Some(made) = self.model.made.last_mut() {
            (made.place, made.doubtful) = (place, false);
        }
        self.replicas[who].held.insert(no);
        Ok(())
    }

    fn check_absent(&mut self, who: usize, no: u32) -> Fine {
        if self.is_in_view(who, no)? {
            return Err(format!("replica {who} shows a commit that it refused"));
        }
        Ok(())
    }

    /// Whether a commit is shown in its records; an error if it is in some of them only.
    pub(super) fn is_in_view(&mut self, who: usize, no: u32) -> Fine<bool> {
        let Some(made) = self.model.get(no) else {
            return Ok(false);
        };
        let vault = self.replicas[who].vault().map_err(|e| e.to_string())?;
        let mut shown = 0;
        for record in made.parts.keys() {
            let there = in_view(vault, record).map_err(|e| format!("a history: {e}"))?;
            shown += usize::from(there.contains(&no));
        }
        if shown > 0 && shown < made.parts.len() {
            return Err(format!("replica {who} shows half of commit {no}"));
        }
        Ok(shown > 0)
    }

    /// Everything that a vault held it still holds.
    pub(super) fn check_held(&mut self, who: usize) -> Fine {
        let replica = &mut self.replicas[who];
        let Some(vault) = &replica.vault else {
            return Err(format!("replica {who} has no vault"));
        };
        for no in &replica.held {
            let place = self.model.get(*no).and_then(|made| made.place);
            let Some((chain, seq, id)) = place else {
                continue;
            };
            let holds = vault.peek_holds(&chain, seq, &id);
            if !holds.map_err(|e| format!("replica {who}, reading a commit: {e}"))? {
                return Err(format!("replica {who} lost commit {no} (place {seq})"));
            }
        }
        Ok(())
    }

    /// The records that a number names.
    pub(super) fn record(&self, number: u8) -> Fine<RecordId> {
        record(usize::from(number)).map_err(|e| e.to_string())
    }

    fn power_cut(&mut self, who: u8) -> Fine {
        let Some(who) = self.who(who) else {
            return Ok(());
        };
        let lost = self.replicas[who].lose_power(&mut self.rng);
        lost.map_err(|e| format!("replica {who} does not open after a power cut: {e}"))?;
        self.check_held(who)
    }

    fn restart(&mut self, who: u8) -> Fine {
        let Some(who) = self.who(who) else {
            return Ok(());
        };
        let done = self.replicas[who].restart();
        done.map_err(|e| format!("replica {who} does not open after its process died: {e}"))?;
        self.check_held(who)
    }

    fn rebuild(&mut self, who: u8) -> Fine {
        let Some(who) = self.who(who) else {
            return Ok(());
        };
        self.verify(who, true)
    }

    /// What is shown follows from what was signed, and Automerge agrees.
    pub(super) fn verify(&mut self, who: usize, rebuild: bool) -> Fine {
        let done = self.act(who, 0, "verifying", |v| v.verify(rebuild, &mut |_, _| {}))?;
        let report = done
            .unwrap_or(Err(Error::Busy))
            .map_err(|e| format!("verifying: {e}"))?;
        if report.rebuilt_equal == Some(false) {
            return Err(format!(
                "replica {who}: what follows from the ledger came out different"
            ));
        }
        if !report.problems.is_empty() {
            return Err(format!(
                "replica {who} does not verify: {:?}",
                report.problems
            ));
        }
        Ok(())
    }
}
