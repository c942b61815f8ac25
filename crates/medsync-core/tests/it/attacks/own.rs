//! What a vault's own people could do to lose their work.

use super::{Role, Scene, env, json, new_vault, record};
use medsync_core::crypto::Kdf;
use medsync_core::error::Error;
use medsync_core::vault::{Unit, Vault};

fn second(scene: &mut Scene) -> Vault {
    let dir = scene.stick.with_file_name("second");
    let new = new_vault("Ben", "Tablet");
    let pack = super::pack();
    let created = Vault::create_alone(&dir, env(), &new, &pack);
    let mut vault = created.expect("a vault").vault;
    let request = vault.request().expect("a request");
    let grant = scene.vault.admit(&request, &[Role::Clinician]);
    vault.join(&grant.expect("a grant")).expect("joins");
    vault
}

fn import(vault: &mut Vault, source: &str, atomic: bool, resources: &[(&str, String)]) -> Vec<u64> {
    let resources = resources.iter().enumerate().map(|(no, (id, value))| {
        let text =
            format!(r#"{{"resourceType":"Observation","id":"{id}","code":"{value}","note":"n"}}"#);
        (no as u64, record(id), json(&text))
    });
    let unit = Unit {
        resources: resources.collect(),
        atomic,
    };
    let done = vault.import(source, std::iter::once(unit), &mut |_| {});
    let report = done.expect("imports");
    let bad = report.rejected.into_iter().chain(report.refused);
    bad.map(|(tag, _)| tag).collect()
}

#[test]
fn what_repeats_itself_still_fits_a_batch_when_it_travels() {
    let mut scene = Scene::new();
    let mut other = second(&mut scene);
    let long = "a".repeat(200_000);
    let ids: Vec<String> = (0..400).map(|n| format!("r{n}")).collect();
    let all: Vec<(&str, String)> = ids.iter().map(|id| (id.as_str(), long.clone())).collect();
    assert!(import(&mut scene.vault, "s", false, &all).is_empty());
    let report = scene.exchange();
    assert!(report.problems.is_empty(), "{report:?}");
    let report = other
        .exchange(&scene.stick, &mut |_| {})
        .expect("exchanges");
    assert!(report.problems.is_empty(), "{report:?}");
    for id in [&ids[0], &ids[399]] {
        assert!(other.read(&record(id)).expect("reads").is_some());
    }
}

#[test]
fn a_commit_that_nobody_would_take_is_refused_when_it_is_made() {
    let mut scene = Scene::new();
    let x = |id: &'static str, value: &str| (id, value.to_owned());
    let twice = [x("a", "1"), x("a", "2"), x("b", "3")];
    // A unit that is refused as a whole is told once, by its first resource.
    assert_eq!(import(&mut scene.vault, "s", true, &twice), [0]);
    let ids: Vec<String> = (0..180).map(|n| format!("r{n}")).collect();
    let long = "a".repeat(200_000);
    let large: Vec<(&str, String)> = ids.iter().map(|id| (id.as_str(), long.clone())).collect();
    assert_eq!(import(&mut scene.vault, "s", true, &large), [0]);
    assert_eq!(scene.vault.status().expect("a status").records, 0);
    let source = "s".repeat(200);
    let unit = std::iter::empty();
    let error = scene.vault.import(&source, unit, &mut |_| {});
    assert!(matches!(error, Err(Error::Invalid { .. })), "{error:?}");
    scene.assert_sound();
}

#[test]
fn a_pin_is_reset_as_a_whole_and_the_old_key_ends_there() {
    let mut scene = Scene::new();
    let kdf = Kdf::for_tests();
    let roles = [Role::Clinician];
    let old = scene
        .vault
        .add_person("Cleo", &roles, b"1111-2222", Some(b"5555-6666"), kdf);
    let old = old.expect("a person");
    for name in ["Cleo", "Ana"] {
        let was = scene.vault.person_here(name).expect("is here");
        let before = scene.vault.status().expect("a status").commits;
        let new = scene.vault.reset_pin(name, b"3333-4444", kdf);
        let new = new.expect("resets");
        assert_eq!(scene.vault.status().expect("a status").commits, before + 1);
        assert_eq!(scene.vault.person_here(name).expect("is here"), new);
        let people = scene.vault.people().expect("people");
        let revoked = |key| people.iter().any(|p| p.key == key && p.revoked);
        assert!(revoked(was) && !revoked(new));
        let error = scene.vault.unlock(&was, Some(b"1111-2222"));
        assert!(matches!(error, Err(Error::NotFound(_))), "{error:?}");
    }
    assert_ne!(scene.vault.owner(), old);
    assert_eq!(scene.vault.author(), Some(scene.vault.owner()));
    // The new key is as good as the old one was.
    scene.write("a", "code", "by the new key");
    let history = scene.vault.history(&record("a"), None).expect("a history");
    assert!(history.iter().all(|event| event.candidate.confirmed));
    let mut other = second(&mut scene);
    scene.exchange();
    other
        .exchange(&scene.stick, &mut |_| {})
        .expect("exchanges");
    let ours = scene.vault.status().expect("a status").state_digest;
    assert_eq!(other.status().expect("a status").state_digest, ours);
    scene.assert_sound();
}
