//! Makes the golden vault of the present format: a week of a small clinic, with everything in it
//! that a vault can hold.

use super::{OWNER_PASSPHRASE, SECOND_PIN};
use medsync_core::crypto::{Kdf, Suite};
use medsync_core::env::SharedEnv;
use medsync_core::ids::{AuthorKey, RecordId};
use medsync_core::ledger::certificate::Role;
use medsync_core::model::json::Json;
use medsync_core::model::pack::PolicyPack;
use medsync_core::store::Unlock;
use medsync_core::store::fault::SeededEnv;
use medsync_core::vault::{Decision, Draft, NewVault, Unit, Vault, Version};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The pack, in a version.
fn pack(version: u32) -> PolicyPack {
    let text =
        include_str!("pack.json").replace("\"version\": 0", &format!("\"version\": {version}"));
    PolicyPack::from_json(text.as_bytes()).expect("a pack")
}

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).expect("json")
}

fn id(name: &str) -> RecordId {
    name.parse().expect("a record's name")
}

/// A device of the clinic, its clock an hour on at every step.
struct Device {
    dir: PathBuf,
    env: Arc<SeededEnv>,
    vault: Option<Vault>,
}

impl Device {
    fn new(dir: &Path, seed: u64, person: &str, workspace: Option<&str>) -> Self {
        let env = Arc::new(SeededEnv::new(seed));
        let device = format!("Device of {person}");
        let new = NewVault {
            passphrase: OWNER_PASSPHRASE,
            suite: Suite::default(),
            kdf: Kdf::for_tests(),
            person,
            device: &device,
        };
        let shared: SharedEnv = env.clone();
        let created = match workspace {
            Some(name) => Vault::create(dir, shared, &new, name, &pack(1)),
            None => Vault::create_alone(dir, shared, &new, &pack(1)),
        };
        Self {
            dir: dir.to_owned(),
            env,
            vault: Some(created.expect("a vault").vault),
        }
    }

    fn vault(&mut self) -> &mut Vault {
        self.env.advance_ms(3_600_000);
        self.vault.as_mut().expect("open")
    }

    fn close(&mut self) {
        self.vault = None;
    }

    fn open(&mut self) {
        let env: SharedEnv = self.env.clone();
        let unlock = Unlock::Passphrase(OWNER_PASSPHRASE);
        self.vault = Some(Vault::open(&self.dir, env, unlock).expect("opens"));
    }

    fn join(&mut self, admin: &mut Self, roles: &[Role]) {
        let request = self.vault().request().expect("a request");
        let grant = admin.vault().admit(&request, roles).expect("a grant");
        self.vault().join(&grant).expect("joins");
    }

    fn exchange(&mut self, stick: &Path) {
        let report = self
            .vault()
            .exchange(stick, &mut |_| {})
            .expect("exchanges");
        assert!(report.problems.is_empty(), "{report:?}");
    }

    fn edit(&mut self, record: &str, write: impl FnOnce(&mut Draft)) {
        let vault = self.vault();
        let mut draft = vault.draft(&id(record)).expect("a draft");
        write(&mut draft);
        assert!(vault.commit(vec![draft]).expect("commits").is_some());
    }

    fn set(&mut self, record: &str, field: &str, value: &str) {
        self.edit(record, |draft| {
            draft.set(field, json(value));
        });
    }

    fn version(&mut self, record: &str) -> Version {
        let record = self.vault().record(&id(record)).expect("reads");
        record.expect("a record").version
    }

    /// Writes a field in sight of an older version.
    fn stale(&mut self, record: &str, seen: Version, field: &str, value: &str) {
        let write = |draft: &mut Draft| {
            draft.set(field, json(value));
        };
        let made = self.vault().edit(&id(record), seen, write);
        assert!(made.expect("commits").is_some());
    }

    fn import(&mut self, source: &str, resources: &[Json]) {
        let units = (0u64..).zip(resources).map(|(tag, resource)| {
            let member = |name| resource.get(name).map(Json::text).unwrap_or_default();
            let name = format!(
                "{}/{}",
                plain(&member("resourceType")),
                plain(&member("id"))
            );
            Unit {
                resources: vec![(tag, id(&name), resource.clone())],
                atomic: false,
            }
        });
        let units: Vec<_> = units.collect();
        let report = self.vault().import(source, units.into_iter(), &mut |_| {});
        assert_eq!(report.expect("imports").rejected, []);
    }
}

fn plain(text: &str) -> &str {
    text.trim_matches('"')
}

fn patient(no: u32, family: &str) -> Json {
    json(&format!(
        r#"{{"resourceType":"Patient","id":"p{no}","identifier":[{{"system":"urn:mrn","value":"{no}00"}}],
            "name":[{{"family":"{family}","given":["Ada","M."]}}],"gender":"unknown","birthDate":"1970-01-0{no}"}}"#
    ))
}

fn medicine(no: u32, patient: u32, dose: &str) -> Json {
    json(&format!(
        r#"{{"resourceType":"MedicationRequest","id":"m{no}","status":"active",
            "subject":{{"reference":"Patient/p{patient}"}},"medicationCodeableConcept":{{"text":"amoxicillin"}},
            "dosageInstruction":[{{"text":"{dose}","extension":[{{"url":"urn:x","valueDecimal":1.00}}]}}]}}"#
    ))
}

fn group(no: u32, patient: u32, code: &str) -> Json {
    json(&format!(
        r#"{{"resourceType":"Observation","id":"o{no}","status":"final",
            "subject":{{"reference":"Patient/p{patient}"}},
            "code":{{"coding":[{{"system":"urn:loinc","code":"882-1"}}]}},
            "valueCodeableConcept":{{"coding":[{{"code":"{code}"}}]}},"note":[{{"text":"first"}}]}}"#
    ))
}

/// Plays the week below `home` and returns the folder of the vault to keep.
pub(super) fn play(home: &Path) -> PathBuf {
    let mut ward = Device::new(&home.join("ward"), 1, "Asha", Some("Ward 7"));
    let bram = people(&mut ward);
    day_one(&mut ward, &bram);
    let sticks = ["a", "b"].map(|name| home.join(name));
    for stick in &sticks {
        fs::create_dir(stick).expect("a folder");
    }
    let mut tablet = Device::new(&home.join("tablet"), 2, "Chitra", None);
    let mut home_visit = Device::new(&home.join("visit"), 3, "Dov", None);
    tablet.join(&mut ward, &[Role::Clinician, Role::Reviewer]);
    home_visit.join(&mut ward, &[Role::Pharmacist]);
    for device in [&mut ward, &mut tablet, &mut home_visit] {
        device.exchange(&sticks[0]);
    }
    apart(&mut ward, &mut tablet, &sticks[0]);
    fork(&mut ward, &mut tablet, &sticks[0]);
    waits(&mut ward, &mut tablet, &mut home_visit, &sticks[1]);
    ward.vault().install_pack(&pack(2)).expect("a pack");
    // Unsealed: the vault is closed without its person leaving.
    ward.set("Patient/p2", "note", r#""written last, not sealed""#);
    let unsealed = ward.vault().status().expect("a status").unsealed;
    assert!(!unsealed.is_empty());
    ward.dir
}

/// A second person with a PIN, and one whose lost PIN was reset: their old key is revoked.
fn people(ward: &mut Device) -> AuthorKey {
    let kdf = Kdf::for_tests();
    let vault = ward.vault();
    let bram = vault.add_person(
        "Bram",
        &[Role::Clinician],
        SECOND_PIN,
        Some(SECOND_PIN),
        kdf,
    );
    let bram = bram.expect("a person");
    let eve = vault.add_person("Eve", &[Role::Reviewer], b"000000", None, kdf);
    eve.expect("a person");
    vault.reset_pin("Eve", SECOND_PIN, kdf).expect("a new PIN");
    bram
}

/// Imports, edits, a retraction, a contested field, a decision.
fn day_one(ward: &mut Device, bram: &AuthorKey) {
    let all = [
        patient(1, "Lovelace"),
        patient(2, "Noether"),
        medicine(1, 1, "500 mg"),
        medicine(2, 2, "250 mg"),
        group(1, 1, "A"),
        group(2, 1, "B"),
        group(3, 2, "O"),
        group(4, 1, "AB"),
    ];
    ward.import("registry", &all);
    let moved = [patient(1, "Lovelace-King"), patient(2, "Noether")];
    ward.import("registry", &moved);
    ward.import("lab", &[group(3, 2, "AB")]);
    ward.set("MedicationRequest/m1", "status", r#""stopped""#);
    ward.edit("Observation/o2", |draft| {
        draft
            .because("taken from another patient")
            .remove("valueCodeableConcept");
    });
    let (one, two) = (ward.version("Patient/p1"), ward.version("Patient/p2"));
    ward.set("Patient/p1", "gender", r#""female""#);
    ward.set("Patient/p2", "gender", r#""female""#);
    let unlocked = ward.vault().unlock(bram, Some(SECOND_PIN));
    unlocked.expect("unlocks");
    ward.stale("Patient/p1", one, "gender", r#""other""#);
    ward.stale("Patient/p2", two, "gender", r#""male""#);
    let owner = ward.vault().owner();
    ward.vault()
        .unlock(&owner, Some(SECOND_PIN))
        .expect("unlocks");
    let open = ward.vault().escalations().expect("questions");
    let p2 = open.into_iter().find(|q| q.record == id("Patient/p2"));
    let p2 = p2.expect("a question");
    let decided = ward.vault().resolve(p2, Decision::Keep(0), "asked her");
    decided.expect("a review");
    ward.edit("Supply/gloves", |draft| {
        draft.count("stock", 10);
    });
}

/// Two devices edit the same records without seeing each other.
fn apart(ward: &mut Device, tablet: &mut Device, stick: &Path) {
    let dose = r#"[{"text":"125 mg"}]"#;
    ward.set("MedicationRequest/m2", "dosageInstruction", dose);
    tablet.set("MedicationRequest/m2", "status", r#""stopped""#);
    tablet.set(
        "MedicationRequest/m2",
        "dosageInstruction",
        r#"[{"text":"2 g"}]"#,
    );
    tablet.edit("Supply/gloves", |draft| {
        draft.count("stock", -3);
    });
    tablet.edit("Observation/o1", |draft| {
        draft.add("note", json(r#"{"text":"by the tablet"}"#));
    });
    for _ in 0..2 {
        tablet.exchange(stick);
        ward.exchange(stick);
    }
}

/// The tablet and a copy of it both write on, under one name.
fn fork(ward: &mut Device, tablet: &mut Device, stick: &Path) {
    tablet.close();
    let kept = tablet.dir.with_extension("kept");
    copy(&tablet.dir, &kept);
    tablet.open();
    tablet.set("Patient/p1", "note", r#""by the one""#);
    tablet.exchange(stick);
    ward.exchange(stick);
    tablet.close();
    fs::remove_dir_all(&tablet.dir).expect("removes");
    copy(&kept, &tablet.dir);
    tablet.open();
    tablet.set("Patient/p1", "note", r#""by the other""#);
    tablet.exchange(stick);
    ward.exchange(stick);
    let status = ward.vault().status().expect("a status");
    assert!(status.equivocations > 0);
}

/// The visitor builds on what the tablet wrote, and only the visitor's half reaches the ward.
fn waits(ward: &mut Device, tablet: &mut Device, visitor: &mut Device, stick: &Path) {
    tablet.exchange(stick);
    visitor.exchange(stick);
    let before = batches(stick);
    tablet.set("MedicationRequest/m1", "note", r#""the cause""#);
    tablet.exchange(stick);
    let causes: Vec<_> = batches(stick)
        .into_iter()
        .filter(|f| !before.contains(f))
        .collect();
    assert!(!causes.is_empty());
    visitor.exchange(stick);
    visitor.set("MedicationRequest/m1", "note", r#""what waits""#);
    visitor.exchange(stick);
    for cause in causes {
        fs::remove_file(cause).expect("removes");
    }
    let report = ward.vault().exchange(stick, &mut |_| {});
    assert!(report.expect("exchanges").received.commits > 0);
    assert!(ward.vault().status().expect("a status").pending > 0);
}

/// Every file of batches on a stick.
fn batches(stick: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![stick.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().contains("batches-") {
                found.push(path);
            }
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copies");
    }
}
