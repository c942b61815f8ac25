//! AuditEvent and Provenance as FHIR R4 has them.

use medsync_core::crypto::{Kdf, Suite};
use medsync_core::env::SystemEnv;
use medsync_core::ids::RecordId;
use medsync_core::ledger::certificate::Role;
use medsync_core::model::json::Json;
use medsync_core::vault::audit::AuditFilter;
use medsync_core::vault::{NewVault, Unit, Vault};
use medsync_fhir::audit::audit_event;
use medsync_fhir::pack::{clinical, elements};
use medsync_fhir::provenance::provenance;
use std::path::Path;

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).expect("JSON")
}

/// A day on which everything that the log knows of happens.
fn day(dir: &Path) -> Vault {
    let new = NewVault {
        passphrase: "correct horse",
        suite: Suite::default(),
        kdf: Kdf::for_tests(),
        person: "Asha",
        device: "tablet",
    };
    let made = Vault::create(
        &dir.join("v"),
        SystemEnv::shared(),
        &new,
        "Ward",
        &clinical(),
    );
    let mut vault = made.expect("a vault").vault;
    let patient: RecordId = "Patient/p1".parse().expect("a name");
    let text = r#"{"active":true,"id":"p1","resourceType":"Patient"}"#;
    let unit = Unit {
        resources: vec![(0, patient.clone(), json(text))],
        atomic: false,
    };
    vault
        .import("lab", [unit].into_iter(), &mut |_| {})
        .expect("imports");
    let seen = vault
        .record(&patient)
        .expect("reads")
        .expect("there")
        .version;
    let stale = seen.clone();
    let set = |date: &str| Json::string(date);
    for (date, seen) in [("1980-01-01", seen), ("1981-01-01", stale)] {
        vault
            .edit(&patient, seen, |draft| {
                draft.because("asked").set("birthDate", set(date));
            })
            .expect("edits");
    }
    let question = vault.escalations().expect("lists").remove(0);
    vault
        .resolve(
            question,
            medsync_core::vault::Decision::Keep(0),
            "asked again",
        )
        .expect("decides");
    vault.search("p", 5).expect("searches");
    people(&mut vault);
    vault
        .export(&["Patient"], std::slice::from_ref(&patient))
        .expect("exports");
    let stick = dir.join("stick");
    std::fs::create_dir(&stick).expect("a folder");
    vault.exchange(&stick, &mut |_| {}).expect("exchanges");
    vault
        .break_glass("nobody else is here")
        .expect("breaks the glass");
    vault.read(&patient).expect("reads");
    let owner = vault.owner();
    vault.unlock(&owner, Some(b"5678")).expect("unlocks");
    let open = vault.status().expect("a status").emergencies;
    vault.acknowledge(&open[0], "seen").expect("acknowledges");
    vault.prove_audit(true).expect("a proof");
    vault.leave().expect("leaves");
    vault
}

/// Somebody comes, mistypes and goes, and the pack changes.
fn people(vault: &mut Vault) {
    let kdf = Kdf::for_tests();
    let binh = vault.add_person("Binh", &[Role::Clinician], b"1234", Some(b"5678"), kdf);
    let binh = binh.expect("a person");
    assert!(vault.unlock(&binh, Some(b"0000")).is_err());
    vault.revoke(&binh.0, "left").expect("revokes");
    let mut pack = clinical();
    pack.version += 1;
    vault.install_pack(&pack).expect("a pack");
}

/// The elements of a resource are R4's, lists where those are lists.
fn conforms(resource: &Json, kind: &str) {
    let table = elements();
    let known = table.of(kind).expect("a kind of R4");
    for (name, value) in resource.members() {
        if ["id", "resourceType"].contains(&&**name) {
            continue;
        }
        let element = known.get(&**name);
        let element = element.unwrap_or_else(|| panic!("{kind}.{name} is no element"));
        let list = matches!(value, Json::Array(_));
        assert_eq!(element.list, list, "{kind}.{name}");
        assert!(!list || !value.items().is_empty(), "{kind}.{name} is empty");
        if !element.codes.is_empty() {
            let code = value.as_str().expect("a code");
            assert!(
                element.codes.iter().any(|c| c == code),
                "{kind}.{name}: {code}"
            );
        }
    }
}

fn only(of: &Json, names: &[&str]) {
    let mut members = of.members().iter();
    assert!(members.all(|(name, _)| names.contains(&&**name)), "{of:?}");
}

#[test]
fn every_entry_is_an_audit_event_of_r4() {
    let home = tempfile::tempdir().expect("a folder");
    let vault = day(home.path());
    let mut events = Vec::new();
    let name = |_: &_| Some("Asha".to_owned());
    vault
        .audit(&AuditFilter::default(), &mut |row| {
            events.push((
                row.line.event.action,
                audit_event(&row.line, &row.records, &name),
            ));
            Ok(true)
        })
        .expect("lists");
    let mut actions: Vec<u8> = events.iter().map(|(action, _)| action.0).collect();
    actions.sort_unstable();
    actions.dedup();
    // All but the opening by passphrase alone.
    assert_eq!(actions, (2..=16).collect::<Vec<u8>>());
    for (_, event) in &events {
        conforms(event, "AuditEvent");
        let id = event.get("id").and_then(Json::as_str).expect("an id");
        assert!(id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
        for needed in ["type", "recorded", "agent", "source"] {
            assert!(event.get(needed).is_some(), "{needed}");
        }
        let agents = event.get("agent").expect("agents").items();
        for agent in agents {
            only(agent, &["type", "who", "name", "requestor"]);
            assert!(agent.get("requestor").is_some());
        }
        let source = event.get("source").expect("a source");
        only(source, &["observer", "type"]);
        for entity in event.get("entity").map_or(&[][..], Json::items) {
            only(entity, &["what", "type", "role", "query", "detail"]);
            for detail in entity.get("detail").map_or(&[][..], Json::items) {
                only(detail, &["type", "valueString"]);
            }
        }
    }
    let of = |action: u8| &events.iter().find(|(a, _)| a.0 == action).expect("one").1;
    let code = |event: &Json, path: &str| -> String {
        let at = event.get(path).expect("coded");
        let at = at.items().first().unwrap_or(at);
        at.get("code")
            .and_then(Json::as_str)
            .expect("a code")
            .to_owned()
    };
    assert_eq!(
        (code(of(4), "type"), code(of(4), "subtype")),
        ("rest".into(), "read".into())
    );
    assert_eq!(
        (code(of(12), "type"), code(of(12), "subtype")),
        ("110106".into(), "disclose".into())
    );
    let failed = events
        .iter()
        .find(|(a, e)| a.0 == 2 && e.get("outcome") == Some(&Json::string("8")));
    assert!(failed.is_some());
    let query = of(5).get("entity").expect("an entity").items()[0].get("query");
    assert!(query.is_some());
}

#[test]
fn every_commit_of_a_record_is_a_provenance_of_r4() {
    let home = tempfile::tempdir().expect("a folder");
    let vault = day(home.path());
    let patient: RecordId = "Patient/p1".parse().expect("a name");
    let history = vault.history(&patient, None).expect("a history");
    let all = provenance(&patient, &history);
    assert_eq!(all.len(), 4);
    for one in &all {
        conforms(one, "Provenance");
        for needed in ["target", "recorded", "agent"] {
            assert!(one.get(needed).is_some(), "{needed}");
        }
    }
    let activity = |one: &Json| one.get("activity").expect("one").text();
    assert!(activity(&all[0]).contains("CREATE") && activity(&all[3]).contains("\"AU\""));
    assert!(
        all[0]
            .get("entity")
            .expect("a source")
            .text()
            .contains("lab")
    );
    assert!(
        all[3]
            .get("reason")
            .expect("a reason")
            .text()
            .contains("asked again")
    );
}
