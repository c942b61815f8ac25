//! Two vaults that disagree, meet over a folder, and let a reviewer decide.

use medsync_core::crypto::{Kdf, Suite};
use medsync_core::env::SystemEnv;
use medsync_core::ids::RecordId;
use medsync_core::ledger::certificate::Role;
use medsync_core::model::field::{Escalate, Field, Kind};
use medsync_core::vault::{Decision, Merged, NewVault, Vault};
use std::error::Error;
use std::io::{Write as _, stdout};

const DIAGNOSIS: Field<Escalate<String>> = Field::new("diagnosis");

fn main() -> Result<(), Box<dyn Error>> {
    let pack = Kind::pack("clinic", 1, [Kind::new("Problem").with(DIAGNOSIS)]);
    let dir = tempfile::tempdir()?;
    let stick = dir.path().join("stick");
    std::fs::create_dir(&stick)?;
    let new = |person| NewVault {
        passphrase: "a passphrase of some length",
        suite: Suite::default(),
        kdf: Kdf::default(),
        person,
        device: "desk",
    };
    let env = SystemEnv::shared();
    let town = dir.path().join("town");
    let mut town = Vault::create(&town, env.clone(), &new("Dr. Rao"), "Valley", &pack)?.vault;
    let hill = dir.path().join("hill");
    let mut hill = Vault::create_alone(&hill, env, &new("Dr. Mensah"), &pack)?.vault;
    let grant = town.admit(&hill.request()?, &[Role::Clinician])?;
    hill.join(&grant)?;

    let problem: RecordId = "Problem/p1".parse()?;
    write(&mut town, &problem, "pneumonia")?;
    meet(&mut town, &mut hill, &stick)?;
    write(&mut town, &problem, "tuberculosis")?;
    write(&mut hill, &problem, "bronchitis")?;
    meet(&mut town, &mut hill, &stick)?;

    let mut out = stdout().lock();
    let record = town.record(&problem)?.ok_or("both have written it")?;
    if let Merged::Contested(question) = record.get(DIAGNOSIS)? {
        writeln!(
            out,
            "contested: {} versions are kept",
            question.candidates.len()
        )?;
        town.resolve(
            question.clone(),
            Decision::Keep(0),
            "the sputum is positive",
        )?;
    }
    meet(&mut town, &mut hill, &stick)?;
    let record = hill.record(&problem)?.ok_or("both have written it")?;
    match record.get(DIAGNOSIS)? {
        Merged::Settled(diagnosis) => {
            writeln!(out, "settled on both: {}", diagnosis.unwrap_or_default())?;
        }
        Merged::Contested(_) => return Err("the decision did not arrive".into()),
    }
    Ok(())
}

fn write(vault: &mut Vault, record: &RecordId, diagnosis: &str) -> Result<(), Box<dyn Error>> {
    let mut draft = vault.draft(record)?;
    draft.set(DIAGNOSIS, diagnosis);
    vault.commit(vec![draft])?;
    Ok(())
}

/// The stick visits both, and the first again.
fn meet(a: &mut Vault, b: &mut Vault, stick: &std::path::Path) -> Result<(), Box<dyn Error>> {
    a.exchange(stick, &mut |_| {})?;
    b.exchange(stick, &mut |_| {})?;
    a.exchange(stick, &mut |_| {})?;
    Ok(())
}
