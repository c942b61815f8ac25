//! What must hold when all have met.

use crate::ids::RecordId;
use crate::ledger::certificate::Role;
use crate::ledger::commit::Intent;
use crate::testing::sim::model::{CANARY, Numbers, POISON, number};
use crate::testing::sim::oracle;
use crate::testing::sim::pack::RECORDS;
use crate::testing::sim::world::{Fine, World};
use crate::vault::{Event, Status};
use std::collections::BTreeMap;

impl World {
    /// Whether a vault has a commit of the model.
    pub(super) fn holds(&mut self, who: usize, no: u32) -> Fine<bool> {
        let Some((chain, seq, id)) = self.model.get(no).and_then(|made| made.place) else {
            return Ok(false);
        };
        let vault = self.replicas[who].vault().map_err(|e| e.to_string())?;
        let holds = vault.peek_holds(&chain, seq, &id);
        holds.map_err(|e| format!("replica {who}, reading a commit: {e}"))
    }

    /// Which commits anybody has who takes part.
    pub(super) fn holders(&mut self, all: &[usize]) -> Fine<Numbers> {
        let mut held = Numbers::new();
        for no in 0..self.model.next() {
            for who in all {
                if self.holds(*who, no)? {
                    held.insert(no);
                    break;
                }
            }
        }
        Ok(held)
    }

    /// Who went back in time and met the others goes by another name.
    pub(super) fn check_name(&mut self, who: usize) -> Fine {
        let replica = &mut self.replicas[who];
        let Some(old) = replica.restored.take() else {
            return Ok(());
        };
        let name = replica.vault().map_err(|e| e.to_string())?.replica();
        if name == old {
            return Err(format!("replica {who} went back in time and kept its name"));
        }
        Ok(())
    }

    /// No commit is shown in part.
    pub(super) fn check_whole(&mut self, who: usize) -> Fine {
        let several = self
            .model
            .made
            .iter()
            .zip(0u32..)
            .filter(|(made, _)| made.parts.len() > 1);
        let several: Vec<u32> = several.map(|(_, no)| no).collect();
        for no in several {
            // What was whole stays so: nothing leaves a record's history.
            if !self.replicas[who].whole.contains(&no) && self.is_in_view(who, no)? {
                self.replicas[who].whole.insert(no);
            }
        }
        Ok(())
    }

    /// Everything that must hold once those of `all` have met. They had `before` between them.
    pub(super) fn check(&mut self, all: &[usize], before: &Numbers) -> Fine {
        self.all_have(all, before)?;
        let mut first: Option<(usize, Status)> = None;
        for who in all {
            let done = self.act(*who, 0, "the status", |vault| vault.status())?;
            let Some(Ok(status)) = done else {
                return Err("a status cannot be read".to_owned());
            };
            match &first {
                None => first = Some((*who, status)),
                Some((other, theirs)) => same(*who, &status, *other, theirs)?,
            }
            self.check_faults(*who)?;
        }
        let Some((_, status)) = first else {
            return Ok(());
        };
        self.check_status(&status)?;
        let who = all[self.rng.below(all.len() as u64) as usize];
        self.replicas[who].whole.clear();
        self.check_whole(who)?;
        self.check_records(who)?;
        self.check_people(who)?;
        let rebuild = self.rng.one_in(3);
        self.verify(who, rebuild)?;
        self.check_disks(all)
    }

    /// What anybody of those who met had, all have.
    fn all_have(&mut self, all: &[usize], before: &Numbers) -> Fine {
        for no in 0..self.model.next() {
            let doubtful = self.model.get(no).is_none_or(|made| made.doubtful);
            for who in all {
                let holds = self.holds(*who, no)?;
                if holds {
                    self.replicas[*who].held.insert(no);
                } else if before.contains(&no) {
                    let sure = if doubtful { "" } else { ", acknowledged" };
                    return Err(format!("replica {who} never got commit {no}{sure}"));
                }
            }
        }
        Ok(())
    }

    fn check_status(&self, status: &Status) -> Fine {
        let hostile = self.replicas.iter().any(|r| r.hostile);
        if !hostile && status.quarantine > 0 {
            return Err("an honest commit was put into quarantine".to_owned());
        }
        let complete = self.replicas.iter().all(|r| !r.hostile && !r.doubtful);
        if complete && self.plan.without.is_empty() && status.pending > 0 {
            return Err(format!(
                "{} commits still wait for what nobody has",
                status.pending
            ));
        }
        let forked = self.replicas.iter().any(|r| r.forked);
        if !hostile && !forked && status.equivocations > 0 {
            return Err(
                "an honest author is said to have signed two commits at one place".to_owned(),
            );
        }
        if status.pack.1 > self.pack {
            return Err("a pack is in force that no admin put there".to_owned());
        }
        Ok(())
    }

    /// Only what hostile people wrote contradicts itself.
    fn check_faults(&mut self, who: usize) -> Fine {
        let vault = self.replicas[who].vault().map_err(|e| e.to_string())?;
        let faults = vault.peek_quarantine().map_err(|e| e.to_string())?;
        for (chain, seq) in faults {
            let theirs =
                |r: &crate::testing::sim::replica::Replica| r.hostile && r.author == chain.author;
            if !self.replicas.iter().any(theirs) {
                return Err(format!(
                    "replica {who} put an honest commit at {seq} into quarantine"
                ));
            }
        }
        Ok(())
    }

    /// Every record against everything that was ever written to it.
    fn check_records(&mut self, who: usize) -> Fine {
        for name in RECORDS {
            let id: RecordId = name.parse().map_err(|_| "a record's name")?;
            let vault = self.replicas[who].vault().map_err(|e| e.to_string())?;
            let broken = |e| format!("replica {who}, {name}: {e}");
            let Some(record) = vault.record(&id).map_err(broken)? else {
                continue;
            };
            let events = vault.history(&id, None).map_err(broken)?;
            let poisoned = |event: &Event| {
                let value = event.candidate.value.as_ref();
                value.is_some_and(|json| json.expose().text().contains(POISON))
            };
            if events.iter().any(poisoned) || record.json.expose().contains(POISON) {
                return Err(format!("{name} shows what contradicts itself"));
            }
            oracle::check(&record, &events, &self.model)?;
            self.check_authority(&events)?;
        }
        Ok(())
    }

    /// Honest people had, and have, the authority for what lies before every cut.
    fn check_authority(&self, events: &[Event]) -> Fine {
        let roles: BTreeMap<_, _> = self.replicas.iter().map(|r| (r.author, r)).collect();
        for event in events {
            let no = event
                .because
                .as_ref()
                .and_then(|text| number(text.expose()));
            let Some((no, made)) = no.and_then(|no| Some((no, self.model.get(no)?))) else {
                continue;
            };
            let Some(author) = roles.get(&made.author) else {
                continue;
            };
            let reviewer = author.roles.contains(&Role::Reviewer);
            let clinical = author
                .roles
                .iter()
                .any(|role| matches!(role, Role::Clinician | Role::Pharmacist | Role::Reviewer));
            let entitled = if event.intent == Intent::Review {
                reviewer
            } else {
                clinical
            };
            // A newcomer may be in or out; a cut names one branch of a chain that forked.
            let newcomers = self.replicas.iter().skip(self.plan.replicas);
            let mut unsure = newcomers
                .filter(|r| r.doubtful)
                .chain(self.replicas.iter().filter(|r| r.forked));
            let unsure = unsure.any(|r| r.author == made.author);
            if entitled && !unsure && self.model.before_all_cuts(made) && !event.candidate.confirmed
            {
                return Err(format!("commit {no} lost the authority that it had"));
            }
            if !entitled && event.candidate.confirmed {
                return Err(format!("commit {no} has an authority that nobody gave"));
            }
        }
        Ok(())
    }

    /// Nobody was revoked, and nobody admitted, but by an admin.
    fn check_people(&mut self, who: usize) -> Fine {
        let vault = self.replicas[who].vault().map_err(|e| e.to_string())?;
        let people = vault.people().map_err(|e| e.to_string())?;
        let devices: Vec<_> = vault.devices().map(|device| device.key).collect();
        for person in people {
            let known = self.replicas.iter().find(|r| r.author == person.key);
            let Some(known) = known else {
                return Err("somebody was admitted whom nobody admitted".to_owned());
            };
            let revoked = self.model.revoked.iter().any(|r| r.author == person.key);
            if person.revoked && !revoked {
                return Err("somebody was revoked whom nobody revoked".to_owned());
            }
            if person.roles.contains(&Role::Admin)
                && !known.roles.contains(&Role::Admin)
                && !revoked
            {
                return Err("somebody is an admin whom nobody made one".to_owned());
            }
        }
        for who in self.attendees() {
            if !devices.contains(&self.replicas[who].device) {
                return Err(format!(
                    "the device of replica {who} is out without a reason"
                ));
            }
        }
        Ok(())
    }

    /// No disk has a clinical value in the clear. Looked for now and then.
    fn check_disks(&mut self, all: &[usize]) -> Fine {
        if !self.rng.one_in(8) {
            return Ok(());
        }
        for who in all {
            if super::contains(&self.replicas[*who].disk.image(), CANARY.as_bytes()) {
                return Err(format!(
                    "the disk of replica {who} has a clinical value in the clear"
                ));
            }
        }
        Ok(())
    }
}

fn same(who: usize, mine: &Status, other: usize, theirs: &Status) -> Fine {
    let differs = |what: &str| Err(format!("replicas {other} and {who} differ in {what}"));
    if mine.ledger_digest != theirs.ledger_digest {
        return differs("their ledgers");
    }
    if mine.pack != theirs.pack {
        return differs("the pack in force");
    }
    if (mine.pending, mine.quarantine) != (theirs.pending, theirs.quarantine) {
        return differs("what waits or contradicts itself");
    }
    if mine.state_digest != theirs.state_digest {
        return differs("what they show");
    }
    if mine.questions != theirs.questions {
        return differs("their open questions");
    }
    Ok(())
}
