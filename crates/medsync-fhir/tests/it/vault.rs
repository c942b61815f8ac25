//! A clinic's records in a vault: what goes in comes out, and nothing is written twice.

use crate::shared;
use medsync_core::crypto::{Kdf, Suite};
use medsync_core::env::SystemEnv;
use medsync_core::ids::RecordId;
use medsync_core::model::json::Json;
use medsync_core::vault::{Created, NewVault, Unit, Vault};
use medsync_fhir::read::{Options, Reader, Unit as Read};
use std::collections::BTreeMap;
use std::path::Path;

pub(crate) fn vault(dir: &Path) -> Created {
    let new = NewVault {
        passphrase: "correct horse",
        suite: Suite::default(),
        kdf: Kdf::for_tests(),
        person: "Asha",
        device: "ward tablet",
    };
    Vault::create(
        dir,
        SystemEnv::shared(),
        &new,
        "Clinic",
        &medsync_fhir::pack::clinical(),
    )
    .expect("a vault")
}

fn resources(path: &Path) -> Vec<(RecordId, Json)> {
    let reader = Reader::open(path, Options::default()).expect("data");
    let units = reader.map(|item| item.outcome.expect("good data"));
    units
        .flat_map(|unit| match unit {
            Read::Resource(r) => vec![r],
            Read::Transaction(all) => all,
        })
        .map(|r| (r.id, r.json))
        .collect()
}

fn units(all: &[(RecordId, Json)]) -> impl Iterator<Item = Unit> {
    all.iter().map(|(id, json)| Unit {
        resources: vec![(0, id.clone(), json.clone())],
        atomic: false,
    })
}

#[test]
fn every_resource_comes_out_as_it_went_in_and_importing_again_writes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut created = vault(&dir.path().join("v"));
    let vault = &mut created.vault;
    let mut all = resources(&shared("synthea-r4/patients"));
    all.extend(resources(&shared("fhir-r4-examples")));
    let mut last: BTreeMap<RecordId, String> = BTreeMap::new();
    for (id, json) in &all {
        last.insert(id.clone(), json.text());
    }
    let report = vault
        .import("clinic", units(&all), &mut |_| {})
        .expect("an import");
    assert_eq!(report.rejected, vec![]);
    assert_eq!(report.imported, last.len() as u64);
    let mut seen = 0;
    vault
        .for_each("", None, &mut |id, view| {
            assert!(
                last.get(id).is_some_and(|text| text == view),
                "{}",
                id.kind()
            );
            seen += 1;
            Ok(true)
        })
        .expect("reading");
    assert_eq!(seen, last.len());
    let before = vault.status().expect("a status");
    let again = vault
        .import("clinic", units(&all), &mut |_| {})
        .expect("an import");
    assert_eq!((again.imported, again.updated), (0, 0));
    assert_eq!(vault.status().expect("a status").commits, before.commits);
    let sound = vault.verify(true, &mut |_, _| {}).expect("a verification");
    assert_eq!(sound.problems, Vec::<String>::new());
    assert_eq!(sound.rebuilt_equal, Some(true));
}
