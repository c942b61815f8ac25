//! Who comes, who goes, and devices that go back in time.

use crate::error::Error;
use crate::ledger::certificate::Role;
use crate::store::fault::SimDisk;
use crate::testing::sim::model::Revoked;
use crate::testing::sim::pack::pack;
use crate::testing::sim::plan::DEVICES_MAX;
use crate::testing::sim::replica::Replica;
use crate::testing::sim::template;
use crate::testing::sim::world::{Fine, World};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Backups of one device that are kept.
const BACKUPS_MAX: usize = 3;
/// What a revocation gives as its reason.
const WHY: &str = "left the ward";

impl World {
    /// Somebody else than `by`, hostile or not.
    fn whom(&self, by: usize, number: u8) -> Option<usize> {
        let whom = usize::from(number) % self.replicas.len();
        (self.replicas[whom].author != self.replicas[by].author).then_some(whom)
    }

    /// An admin who takes part: the one of that number, else the founder, who is always honest.
    fn admin(&self, number: u8) -> Option<usize> {
        let is_admin = |who: &usize| self.replicas[*who].roles.contains(&Role::Admin);
        self.who(number).filter(is_admin).or_else(|| self.who(0))
    }

    pub(super) fn revoke_person(&mut self, by: u8, whom: u8, cut: u8) -> Fine {
        let Some(by) = self.admin(by) else {
            return Ok(());
        };
        let Some(whom) = self.whom(by, whom) else {
            return Ok(());
        };
        let author = self.replicas[whom].author;
        let vault = self.replicas[by].vault().map_err(|e| e.to_string())?;
        let mine = |(chain, _): &(crate::ids::ChainId, u64)| chain.author == author;
        let cuts: BTreeMap<_, _> = vault.peek_chains().into_iter().filter(mine).collect();
        let done = self.act(by, cut, "a revocation", |v| v.revoke(&author.0, WHY))?;
        if !matches!(done, Some(Err(_))) {
            self.model.revoked.push(Revoked { author, cuts });
            // Those whom a revoked admin admits meanwhile may be in or out.
            if self.replicas[whom].roles.contains(&Role::Admin) {
                self.replicas[whom]
                    .roles
                    .retain(|role| *role != Role::Admin);
                self.doubt_newcomers();
            }
        }
        Ok(())
    }

    /// Whom an admin let in that was revoked meanwhile may belong to the workspace or not.
    fn doubt_newcomers(&mut self) {
        for replica in self.replicas.iter_mut().skip(self.plan.replicas) {
            replica.doubtful = true;
        }
    }

    pub(super) fn revoke_device(&mut self, by: u8, whom: u8, cut: u8) -> Fine {
        let Some(by) = self.admin(by) else {
            return Ok(());
        };
        let Some(whom) = self.whom(by, whom) else {
            return Ok(());
        };
        let device = self.replicas[whom].device;
        let done = self.act(by, cut, "a device's revocation", |v| {
            v.revoke(&device.0, WHY)
        })?;
        if !matches!(done, Some(Err(_))) {
            for replica in self.replicas.iter_mut().filter(|r| r.device == device) {
                replica.doubtful = true;
            }
        }
        Ok(())
    }

    pub(super) fn install_pack(&mut self, who: u8, cut: u8) -> Fine {
        let Some(who) = self.admin(who) else {
            return Ok(());
        };
        let vault = self.replicas[who].vault().map_err(|e| e.to_string())?;
        let version = vault.pack().pack().version + 1;
        let new = pack(version).map_err(|e| e.to_string())?;
        let done = self.act(who, cut, "a new pack", |v| v.install_pack(&new))?;
        if !matches!(done, Some(Err(_))) {
            self.pack = self.pack.max(version);
        }
        Ok(())
    }

    /// A device that has nothing yet joins, and brings nothing.
    pub(super) fn join(&mut self, by: u8, roles: u8) -> Fine {
        let Some(by) = self.admin(by) else {
            return Ok(());
        };
        if self.replicas.len() >= DEVICES_MAX {
            return Ok(());
        }
        let broken = |e: Error| format!("a device that joins: {e}");
        let no = self.replicas.len();
        let (disk, seed) = (SimDisk::default(), self.rng.next_u64());
        let roles = [Role::Clinician, Role::Reviewer]
            .split_at(1 + usize::from(roles) % 2)
            .0;
        let env = crate::store::fault::SeededEnv::shared(seed);
        let made = template::create(&disk, env, no, self.suite, None);
        let mut vault = made.map_err(broken)?;
        let names = (vault.device_key(), vault.owner());
        let done = self.act(by, 0, "admitting", |admin| {
            template::admit(admin, &mut vault, roles)
        })?;
        drop(vault);
        if !matches!(done, Some(Ok(()))) {
            return Ok(());
        }
        // It takes no part in what an admin does whose own standing is in doubt.
        let mut replica = Replica::over(disk, names, roles, seed ^ 1, self.suite);
        replica.doubtful = self.in_doubt(by);
        replica.open().map_err(broken)?;
        self.replicas.push(replica);
        Ok(())
    }

    /// Whether what an admin does may count or not.
    fn in_doubt(&self, who: usize) -> bool {
        let replica = &self.replicas[who];
        let revoked = self
            .model
            .revoked
            .iter()
            .any(|r| r.author == replica.author);
        revoked || replica.doubtful || !replica.roles.contains(&Role::Admin)
    }

    pub(super) fn backup(&mut self, who: u8) -> Fine {
        let Some(who) = self.who(who) else {
            return Ok(());
        };
        let replica = &mut self.replicas[who];
        if replica.backups.len() < BACKUPS_MAX {
            replica.backups.push(replica.disk.image().into());
        }
        Ok(())
    }

    /// A device goes back to an older copy of its disk.
    pub(super) fn restore(&mut self, who: u8, which: u8) -> Fine {
        let Some(who) = self.who(who) else {
            return Ok(());
        };
        let replica = &mut self.replicas[who];
        let count = replica.backups.len().max(1);
        let Some(image) = replica.backups.get(usize::from(which) % count).cloned() else {
            return Ok(());
        };
        let name = replica.vault().map_err(|e| e.to_string())?.replica();
        let opened = replica.replace_disk(image.to_vec());
        opened.map_err(|e| format!("replica {who} does not open from a backup: {e}"))?;
        let lost = self.forget(who)?;
        let (mut own, mut elsewhere) = (false, false);
        for no in lost {
            let there = self.others_hold(who, no)?;
            let place = self.model.get(no).and_then(|made| made.place);
            if place.is_some_and(|(chain, ..)| chain.replica == name) {
                (own, elsewhere) = (true, elsewhere | there);
            }
            if !there {
                self.doubt(no);
            }
        }
        let replica = &mut self.replicas[who];
        // What nobody can tell from the vault before needs no other name.
        if elsewhere || (own && replica.noticed) {
            replica.restored = Some(name);
        }
        if own {
            let sure = replica.anchor.as_ref().is_some_and(|anchor| !anchor.lags());
            if sure && !replica.noticed {
                return Err(format!(
                    "replica {who} went back in time, and its machine did not notice"
                ));
            }
        }
        Ok(())
    }

    /// What a device that went back no longer has.
    fn forget(&mut self, who: usize) -> Fine<Vec<u32>> {
        let held = std::mem::take(&mut self.replicas[who].held);
        let mut lost = Vec::new();
        for no in held {
            if self.holds(who, no)? {
                self.replicas[who].held.insert(no);
            } else {
                lost.push(no);
            }
        }
        Ok(lost)
    }

    /// Whether an honest device beside one has a commit.
    fn others_hold(&mut self, who: usize, no: u32) -> Fine<bool> {
        for other in (0..self.replicas.len()).filter(|other| *other != who) {
            if !self.replicas[other].hostile && self.holds(other, no)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What only one device had may be gone for good.
    fn doubt(&mut self, no: u32) {
        let at = usize::try_from(no).unwrap_or(usize::MAX);
        if let Some(made) = self.model.made.get_mut(at) {
            made.doubtful = true;
        }
    }

    /// The disk is copied, and both copies go on: on one machine, or on two.
    pub(super) fn clone_disk(&mut self, who: u8) -> Fine {
        let Some(who) = self.who(who) else {
            return Ok(());
        };
        if self.replicas.len() >= DEVICES_MAX {
            return Ok(());
        }
        let seed = self.rng.next_u64();
        let same_machine = self.rng.one_in(2);
        let suite = self.suite;
        let original = &mut self.replicas[who];
        let image = original.disk.image();
        let names = (original.device, original.author);
        let disk = SimDisk::default();
        let mut copy = Replica::over(disk, names, &original.roles.clone(), seed, suite);
        original.forked = true;
        copy.doubtful = original.doubtful;
        copy.held.clone_from(&original.held);
        copy.anchor = match &original.anchor {
            Some(anchor) if same_machine => Some(Arc::clone(anchor)),
            Some(_) => Some(Arc::default()),
            None => None,
        };
        let opened = copy.replace_disk(image);
        opened.map_err(|e| format!("a copy of replica {who} does not open: {e}"))?;
        self.replicas.push(copy);
        Ok(())
    }
}
