//! Who does what in the course of the day.

use crate::crypto::{Kdf, Suite};
use crate::error::Result;
use crate::ids::RecordId;
use crate::model::json::Json;
use crate::store::fault::{SeededEnv, SimDisk};
use crate::testing::cuts::clinic::{Change, Model, SIDES, Step, pack, resource};
use crate::testing::cuts::folder::MemoryFolder;
use crate::testing::cuts::{Bug, CREATE_SPAN, Day, Fine, SPAN, name, root};
use crate::vault::{NewVault, Unit, Vault};
use std::collections::BTreeMap;
use std::sync::Arc;

const PATIENTS: u64 = 8;
const RECORDS: u64 = 40;

const fn new_vault(suite: Suite) -> NewVault<'static> {
    NewVault {
        passphrase: "unused: the root opens a simulated vault",
        suite,
        kdf: Kdf::for_tests(),
        person: "Asha",
        device: "tablet",
    }
}

impl Day {
    /// Makes the vault. Until that is acknowledged a cut leaves none, and it is made again.
    pub(super) fn create(&mut self) -> Fine {
        loop {
            self.fresh_disk();
            self.arm(CREATE_SPAN);
            if self.try_create()? {
                return Ok(());
            }
        }
    }

    /// Makes the vault, cut at its first write, then at its second, until one is left uncut.
    pub(super) fn create_at_every_write(&mut self) -> Fine {
        for cut in 1.. {
            self.fresh_disk();
            self.disk.cut_at(cut);
            if self.try_create()? {
                break;
            }
        }
        Ok(())
    }

    fn fresh_disk(&mut self) {
        self.disk = SimDisk::default();
        if self.lying {
            self.disk.lie();
        }
        self.armed = false;
    }

    fn try_create(&mut self) -> Fine<bool> {
        let broken = |e| Bug::Broken(format!("making a vault on a sound disk: {e}"));
        let (env, new) = (Arc::clone(&self.env), new_vault(self.suite));
        let pack = pack(1).map_err(broken)?;
        let disk = self.disk.clone();
        match Vault::create_on(disk, env, root(), &new, Some("Ward"), &pack) {
            Ok(created) => {
                self.vault = Some(created.vault);
                self.model = Model {
                    commits: 1,
                    unsealed: 1,
                    ..Model::default()
                };
                Ok(true)
            }
            Err(error) => {
                self.expect_fault("making a vault", &error)?;
                self.tally.cuts += u64::from(self.disk.is_off());
                self.tally.failures += u64::from(!self.disk.is_off());
                Ok(false)
            }
        }
    }

    /// The records of the day's import.
    pub(super) fn records(&mut self) -> Fine<Vec<(RecordId, Json)>> {
        let mut all = Vec::new();
        for no in 0..RECORDS {
            let kind = if no < PATIENTS {
                "Patient"
            } else {
                "Observation"
            };
            let id = name(kind, &format!("r{no}"))?;
            let patient = format!("r{}", no % PATIENTS);
            let text = self.text();
            let json = resource(&id, &patient, &text);
            all.push((id, json));
        }
        Ok(all)
    }

    /// A text that no other record has; one in ten is longer than a page.
    fn text(&mut self) -> String {
        self.made += 1;
        let longer = if self.rng.one_in(10) { 6000 } else { 60 };
        let padding = self.rng.below(longer) as usize;
        format!("text {} {}", self.made, "~".repeat(padding))
    }

    fn any(&mut self) -> RecordId {
        let no = self.rng.below(self.model.records.len() as u64) as usize;
        let found = self.model.records.keys().nth(no);
        found
            .expect("an import was acknowledged, so there are records")
            .clone()
    }

    /// An edit of one record.
    pub(super) fn note(&mut self) -> Step {
        if self.model.records.is_empty() {
            return self.new_record();
        }
        let (record, text) = (self.any(), self.text());
        Step::Edit(vec![(record, Change::Note(text))])
    }

    fn new_record(&mut self) -> Step {
        self.made += 1;
        let text = self.text();
        let id: RecordId = format!("Observation/n{}", self.made)
            .parse()
            .expect("a kind and an id of ASCII letters and digits");
        let json = resource(&id, "r1", &text);
        Step::Edit(vec![(id, Change::New(json))])
    }

    /// What somebody does next.
    pub(super) fn choose(&mut self, imported: &[(RecordId, Json)]) -> Step {
        match self.rng.below(16) {
            0..=4 => self.note(),
            5..=7 => self.several(),
            8 | 9 => self.tag(),
            10 | 11 => self.untag(),
            12 => self.new_record(),
            13 => Step::Seal,
            14 => self.reimport(imported),
            _ => self.seldom(),
        }
    }

    /// Every kind of step that needs nothing before it.
    pub(super) fn one_of_each(&mut self, imported: &[(RecordId, Json)]) -> Vec<Step> {
        let (tagged, other) = (self.any(), "tag".to_owned());
        vec![
            self.note(),
            self.several(),
            Step::Edit(vec![(tagged.clone(), Change::Tag(other))]),
            Step::Edit(vec![(tagged, Change::Untag)]),
            self.new_record(),
            Step::Seal,
            self.reimport(imported),
            Step::Rebuild,
            Step::Pack(2),
        ]
    }

    /// A commit of several records.
    fn several(&mut self) -> Step {
        let mut changes = BTreeMap::new();
        for _ in 0..2 + self.rng.below(3) {
            let (record, text) = (self.any(), self.text());
            changes.insert(record, Change::Note(text));
        }
        Step::Edit(changes.into_iter().collect())
    }

    fn tag(&mut self) -> Step {
        self.made += 1;
        let tag = format!("tag {}", self.made);
        Step::Edit(vec![(self.any(), Change::Tag(tag))])
    }

    fn untag(&mut self) -> Step {
        let tagged = |(_, (json, _)): &(&RecordId, &(Json, bool))| json.get("tag").is_some();
        let found = self.model.records.iter().find(tagged);
        match found.map(|(id, _)| id.clone()) {
            Some(record) => Step::Edit(vec![(record, Change::Untag)]),
            None => self.tag(),
        }
    }

    fn reimport(&mut self, imported: &[(RecordId, Json)]) -> Step {
        let mut all = imported.to_vec();
        for (_, json) in &mut all {
            let text = self.text();
            if self.rng.one_in(8) {
                json.set("text", Json::string(&text));
            }
        }
        Step::Reimport(all)
    }

    fn seldom(&mut self) -> Step {
        if self.rng.one_in(2) {
            return Step::Rebuild;
        }
        self.made += 1;
        let version = u32::try_from(self.made).unwrap_or(u32::MAX);
        Step::Pack(version.saturating_add(1))
    }

    /// Two people edit one field without seeing each other, and a third decides.
    pub(super) fn contest(&mut self) -> Fine {
        let record = self.any();
        let seen = self.ask(|vault| vault.draft(&record))?;
        let version = seen.version().clone();
        let first = Step::Edit(vec![(record.clone(), Change::Gender(SIDES[0]))]);
        self.step(&first, SPAN)?;
        self.step(&Step::Stale(record.clone(), version), SPAN)?;
        let keep = self.rng.below(2) as usize;
        self.step(&Step::Review(record, keep), SPAN)
    }

    /// Asks the vault something, again if the disk fails.
    fn ask<T>(&mut self, question: impl Fn(&mut Vault) -> Result<T>) -> Fine<T> {
        loop {
            match question(self.vault()?) {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    self.expect_fault("asking", &error)?;
                    self.recover(&[])?;
                }
            }
        }
    }

    /// Another device joins and brings what it wrote.
    pub(super) fn visit(&mut self) -> Fine {
        let broken = |e| Bug::Broken(format!("the other device: {e}"));
        let seed = self.rng.next_u64();
        let mut peer = peer(seed, self.suite).map_err(broken)?;
        let request = peer.request().map_err(broken)?;
        self.step(&Step::Admit(request.clone()), SPAN)?;
        let roles = [crate::ledger::certificate::Role::Clinician];
        // Who is admitted already gets the same answer again, and nothing is written.
        let grant = self.ask(|vault| vault.admit(&request, &roles))?;
        let mut brought = Vec::new();
        for no in 0..3 {
            let id = name("Observation", &format!("v{}x{no}", self.made))?;
            let text = self.text();
            let json = resource(&id, "r2", &text);
            brought.push((id, json));
        }
        let folder = MemoryFolder::default();
        let commits = bring(&mut peer, &grant, &brought, folder.clone()).map_err(broken)?;
        let shown = brought.into_iter().map(|(id, json)| (id, (json, false)));
        self.step(&Step::Exchange(folder, shown.collect(), commits), SPAN)
    }
}

/// A device that belongs to no workspace yet, on a disk that never fails.
fn peer(seed: u64, suite: Suite) -> Result<Vault> {
    let env = SeededEnv::shared(seed);
    let new = new_vault(suite);
    let made = Vault::create_on(SimDisk::default(), env, root(), &new, None, &pack(1)?);
    Ok(made?.vault)
}

/// The other device joins, writes records and leaves them. Returns how many commits that made.
fn bring(
    peer: &mut Vault,
    grant: &str,
    records: &[(RecordId, Json)],
    mut folder: MemoryFolder,
) -> Result<u64> {
    peer.join(grant)?;
    let units = (0..).zip(records).map(|(tag, (id, json))| Unit {
        resources: vec![(tag, id.clone(), json.clone())],
        atomic: true,
    });
    peer.import("visit", units, &mut |_| {})?;
    peer.exchange_over(&mut folder, &mut |_| {})?;
    Ok(peer.status()?.commits)
}
