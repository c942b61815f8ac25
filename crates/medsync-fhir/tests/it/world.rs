//! Devices of one workspace that meet over one folder, each with a clock that the test moves.

use medsync_core::crypto::{Kdf, Suite, Words};
use medsync_core::env::{Env as _, SharedEnv};
use medsync_core::ids::RecordId;
use medsync_core::ledger::certificate::Role;
use medsync_core::model::json::Json;
use medsync_core::store::Unlock;
use medsync_core::store::fault::SeededEnv;
use medsync_core::vault::{
    Decision, Draft, Event, ExchangeReport, ImportReport, NewVault, Question, Unit, Vault, Version,
};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

pub(crate) const HOUR: i64 = 3_600_000;
pub(crate) const DAY: i64 = 24 * HOUR;
pub(crate) const YEAR: i64 = 365 * DAY;
pub(crate) const PASSPHRASE: &str = "correct horse";

/// Roles of somebody who may do everything at the bedside and decide questions.
pub(crate) const SENIOR: [Role; 2] = [Role::Clinician, Role::Reviewer];

/// Files with their bytes.
pub(crate) type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Every file below a folder.
pub(crate) fn files(dir: &Path) -> Files {
    let mut all = Files::new();
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.insert(path.clone(), fs::read(&path).expect("a file"));
        }
    }
    all
}

/// A device, its clock and its folder.
pub(crate) struct Device {
    pub(crate) vault: Vault,
    pub(crate) env: Arc<SeededEnv>,
    pub(crate) dir: PathBuf,
}

/// A workspace. Its first device belongs to Asha, who holds every role.
pub(crate) struct World {
    pub(crate) authority: Words,
    pub(crate) home: TempDir,
    pub(crate) devices: Vec<Device>,
}

pub(crate) fn new_vault<'a>(person: &'a str, device: &'a str) -> NewVault<'a> {
    NewVault {
        passphrase: PASSPHRASE,
        suite: Suite::default(),
        kdf: Kdf::for_tests(),
        person,
        device,
    }
}

pub(crate) fn id(name: &str) -> RecordId {
    name.parse().expect("a record's name")
}

pub(crate) fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).expect("JSON")
}

fn shared(env: &Arc<SeededEnv>) -> SharedEnv {
    Arc::<SeededEnv>::clone(env)
}

impl World {
    /// Asha's device and one for each person more, all of them senior.
    pub(crate) fn of(others: &[&str]) -> Self {
        let mut world = Self::alone();
        for person in others {
            world.join(person, &SENIOR);
        }
        world
    }

    /// Asha's device.
    pub(crate) fn alone() -> Self {
        Self::alone_as(1)
    }

    /// Asha's device in another workspace: with another stream of entropy, no two share a key.
    pub(crate) fn alone_as(seed: u64) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let dir = home.path().join("v0");
        let env = Arc::new(SeededEnv::new(seed));
        let created = Vault::create(
            &dir,
            shared(&env),
            &new_vault("Asha", "front desk"),
            "Clinic",
            &medsync_fhir::pack::clinical(),
        );
        let created = created.expect("a vault");
        let (vault, authority) = (created.vault, created.authority.expect("24 words"));
        Self {
            authority,
            home,
            devices: vec![Device { vault, env, dir }],
        }
    }

    /// A device that waits for its admission, with the time that Asha's has.
    pub(crate) fn newcomer(&self, person: &str) -> Device {
        let seed = person.bytes().fold(7, |sum, b| sum * 31 + u64::from(b));
        let dir = self.home.path().join(format!("v{seed}"));
        let env = Arc::new(SeededEnv::new(seed));
        env.advance_ms(self.devices[0].env.now_ms() - env.now_ms());
        let name = format!("tablet of {person}");
        let new = new_vault(person, &name);
        let pack = medsync_fhir::pack::clinical();
        let vault = Vault::create_alone(&dir, shared(&env), &new, &pack);
        let vault = vault.expect("a vault").vault;
        Device { vault, env, dir }
    }

    /// Admits a person with a device of their own, and returns its number.
    pub(crate) fn join(&mut self, person: &str, roles: &[Role]) -> usize {
        let mut device = self.newcomer(person);
        let request = device.vault.request().expect("a request");
        let grant = self.devices[0].vault.admit(&request, roles);
        device.vault.join(&grant.expect("a grant")).expect("joins");
        self.devices.push(device);
        self.devices.len() - 1
    }

    /// Moves every clock.
    pub(crate) fn pass(&self, ms: i64) {
        self.devices.iter().for_each(|d| d.env.advance_ms(ms));
    }

    /// These devices meet on a stick of their own, until neither has anything new.
    pub(crate) fn meet(&mut self, devices: &[usize]) {
        let stick = tempfile::tempdir_in(self.home.path()).expect("a folder");
        for _ in 0..8 {
            let reports: Vec<ExchangeReport> = devices
                .iter()
                .map(|no| self.devices[*no].exchange(stick.path()))
                .collect();
            if reports
                .iter()
                .all(|r| r.received.commits == 0 && r.sent_bytes == 0)
            {
                return;
            }
        }
        panic!("the devices do not come to rest");
    }

    /// One device leaves what it has on a stick twice, before and after `write`; the first part is
    /// lost before the other device sees the stick. Returns the stick and what was lost.
    pub(crate) fn carry_half(
        &mut self,
        from: usize,
        to: usize,
        write: impl FnOnce(&mut Device),
    ) -> (TempDir, Files) {
        let stick = tempfile::tempdir_in(self.home.path()).expect("a folder");
        self.devices[from].exchange(stick.path());
        let batches = |(path, _): &(PathBuf, Vec<u8>)| path.to_string_lossy().contains("batches-");
        let lost: Files = files(stick.path()).into_iter().filter(batches).collect();
        assert!(!lost.is_empty());
        write(&mut self.devices[from]);
        self.devices[from].exchange(stick.path());
        lost.keys()
            .for_each(|path| fs::remove_file(path).expect("a file"));
        self.devices[to].exchange(stick.path());
        (stick, lost)
    }

    /// All devices meet; then all hold and show the same, and each can prove it.
    pub(crate) fn converge(&mut self) {
        let all: Vec<usize> = (0..self.devices.len()).collect();
        self.meet(&all);
        let digests: Vec<(String, String)> = self.devices.iter().map(|d| d.digests()).collect();
        assert!(
            digests.windows(2).all(|two| two[0] == two[1]),
            "{digests:?}"
        );
        for device in &mut self.devices {
            device.assert_sound();
        }
    }
}

impl Device {
    pub(crate) fn exchange(&mut self, folder: &Path) -> ExchangeReport {
        let report = self.vault.exchange(folder, &mut |_| {});
        report.expect("exchanges")
    }

    /// Digests of ledger and state; nothing may wait or be quarantined.
    pub(crate) fn digests(&self) -> (String, String) {
        let status = self.vault.status().expect("a status");
        let waiting = (status.pending, status.quarantine, status.equivocations);
        assert_eq!(waiting, (0, 0, 0));
        (status.ledger_digest, status.state_digest)
    }

    pub(crate) fn assert_sound(&mut self) {
        let report = self.vault.verify(true, &mut |_, _| {});
        let report = report.expect("verifies");
        assert_eq!(report.problems, Vec::<String>::new());
        assert_eq!(report.rebuilt_equal, Some(true));
    }

    /// Opens the vault again, as after a restart.
    pub(crate) fn reopen(self) -> Self {
        let Self { vault, env, dir } = self;
        drop(vault);
        let vault = Vault::open(&dir, shared(&env), Unlock::Passphrase(PASSPHRASE));
        let vault = vault.expect("opens");
        Self { vault, env, dir }
    }

    /// Writes a new record from a whole resource.
    pub(crate) fn put(&mut self, text: &str) {
        let resource = json(text);
        let part = |name| resource.get(name).and_then(Json::as_str).expect("a name");
        let record = RecordId::new(part("resourceType"), part("id")).expect("a name");
        let mut draft = self.vault.draft(&record).expect("a draft");
        draft.replace(resource);
        self.vault.commit(vec![draft]).expect("commits");
    }

    /// Sets a member as somebody does who sees the record as it is here.
    pub(crate) fn set(&mut self, record: &str, member: &str, value: &str) {
        let version = self.version(record);
        self.set_at(record, version, member, value);
    }

    /// Sets a member as somebody does who sees another version.
    pub(crate) fn set_at(&mut self, record: &str, seen: Version, member: &str, value: &str) {
        let edit = |draft: &mut Draft| {
            draft.set(member, json(value)).because("mended");
        };
        let done = self.vault.edit(&id(record), seen, edit);
        done.expect("an edit").expect("a change");
    }

    pub(crate) fn import(&mut self, source: &str, resources: &[&str]) -> ImportReport {
        let unit = |(no, text): (u64, &&str)| {
            let resource = json(text);
            let part = |name| resource.get(name).and_then(Json::as_str).expect("a name");
            let record = RecordId::new(part("resourceType"), part("id")).expect("a name");
            let resources = vec![(no, record, resource)];
            let atomic = false;
            Unit { resources, atomic }
        };
        let units = (0..).zip(resources).map(unit);
        let report = self.vault.import(source, units, &mut |_| {});
        report.expect("an import")
    }

    pub(crate) fn version(&self, record: &str) -> Version {
        let found = self.vault.record(&id(record)).expect("reads");
        found.map(|r| r.version).unwrap_or_default()
    }

    pub(crate) fn view(&self, record: &str) -> Json {
        let view = self.vault.read(&id(record)).expect("reads");
        json(view.expect("the record is here").json.expose())
    }

    /// What a record shows at a path, as JSON; an empty text for nothing.
    pub(crate) fn shows(&self, record: &str, path: &str) -> String {
        self.view(record)
            .path(path)
            .map(Json::text)
            .unwrap_or_default()
    }

    /// The open questions as `record field`.
    pub(crate) fn asked(&self) -> Vec<String> {
        let mut asked: Vec<String> = self
            .questions()
            .iter()
            .map(|q| format!("{} {}", q.record, q.field))
            .collect();
        asked.sort();
        asked
    }

    pub(crate) fn questions(&self) -> Vec<Question> {
        self.vault.escalations().expect("reads")
    }

    /// The open question on a field.
    pub(crate) fn question(&self, record: &str, field: &str) -> Question {
        let mut all = self.questions().into_iter();
        let found = all.find(|q| q.record == id(record) && q.field == field);
        found.expect("an open question")
    }

    /// Decides a question for the candidate with this value.
    pub(crate) fn keep(&mut self, record: &str, field: &str, value: &str) {
        let question = self.question(record, field);
        let kept = question.candidates.iter().position(|c| {
            let text = c.value.as_ref().map(|v| v.expose().text());
            text.is_some_and(|text| text.contains(value))
        });
        let decision = Decision::Keep(kept.expect("such a candidate"));
        let done = self.vault.resolve(question, decision, "talked it over");
        done.expect("a decision");
    }

    /// The rules that found something, each with its records.
    pub(crate) fn found(&self) -> Vec<(String, Vec<String>)> {
        let findings = self.vault.findings(99).expect("findings");
        let names = |records: Vec<RecordId>| records.iter().map(ToString::to_string).collect();
        findings
            .into_iter()
            .map(|f| (f.rule, names(f.records)))
            .collect()
    }

    pub(crate) fn history(&self, record: &str, field: &str) -> Vec<Event> {
        self.vault
            .history(&id(record), Some(field))
            .expect("a history")
    }
}

/// The values of a question's candidates, sorted.
pub(crate) fn values(question: &Question) -> Vec<String> {
    let text = |value: &medsync_core::phi::Phi<Json>| value.expose().text();
    let candidates = question.candidates.iter();
    let mut values: Vec<String> = candidates
        .map(|c| c.value.as_ref().map_or_else(String::new, text))
        .collect();
    values.sort();
    values
}

pub(crate) fn patient(name: &str) -> String {
    format!(
        r#"{{"resourceType":"Patient","id":"{name}","name":[{{"family":"Rao","given":["{name}"]}}],
            "gender":"female","birthDate":"1980-02-03",
            "telecom":[{{"system":"phone","value":"1"}}]}}"#
    )
}

/// An active prescription of a tablet of 20 mg.
pub(crate) fn prescription(name: &str, of: &str) -> String {
    format!(
        r#"{{"resourceType":"MedicationRequest","id":"{name}","status":"active","intent":"order",
            "subject":{{"reference":"Patient/{of}"}},
            "medicationCodeableConcept":{{"text":"atorvastatin"}},
            "dosageInstruction":[{{"text":"20 mg"}}]}}"#
    )
}

pub(crate) fn allergy(name: &str, of: &str, code: &str) -> String {
    format!(
        r#"{{"resourceType":"AllergyIntolerance","id":"{name}",
            "patient":{{"reference":"Patient/{of}"}},"criticality":"low",
            "code":{{"coding":[{{"system":"http://snomed.info/sct","code":"{code}"}}]}}}}"#
    )
}

pub(crate) fn diagnosis(name: &str, of: &str, text: &str) -> String {
    format!(
        r#"{{"resourceType":"Condition","id":"{name}","subject":{{"reference":"Patient/{of}"}},
            "code":{{"text":"{text}"}}}}"#
    )
}
