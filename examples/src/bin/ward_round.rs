//! One vault with kinds of an app's own: typed fields, a draft pinned to what was seen, history.

use medsync_core::crypto::{Kdf, Suite};
use medsync_core::env::SystemEnv;
use medsync_core::ids::RecordId;
use medsync_core::model::field::{Counter, Escalate, Field, Kind, LastWriterWins, SetUnion};
use medsync_core::vault::{Merged, NewVault, Vault};
use std::error::Error;
use std::io::{Write as _, stdout};

const CODE: Field<Escalate<String>> = Field::new("code");
const NOTE: Field<LastWriterWins<String>> = Field::new("note");
const REACTION: Field<SetUnion<String>> = Field::new("reaction");
const STOCK: Field<Counter> = Field::new("stock");

fn main() -> Result<(), Box<dyn Error>> {
    let allergy = Kind::new("Allergy").with(CODE).with(NOTE).with(REACTION);
    let shelf = Kind::new("Shelf").with(STOCK);
    let pack = Kind::pack("ward", 1, [allergy, shelf]);

    let dir = tempfile::tempdir()?;
    let new = NewVault {
        passphrase: "a passphrase of some length",
        suite: Suite::default(),
        kdf: Kdf::default(),
        person: "Nurse Lima",
        device: "tablet",
    };
    let created = Vault::create(
        &dir.path().join("ward"),
        SystemEnv::shared(),
        &new,
        "Ward 7",
        &pack,
    )?;
    let mut vault = created.vault;

    let allergy: RecordId = "Allergy/a1".parse()?;
    let seen = vault.draft(&allergy)?.version().clone();
    vault.edit(&allergy, seen, |draft| {
        draft
            .set(CODE, "penicillin")
            .set(NOTE, "told by the mother")
            .add(REACTION, "hives");
    })?;

    let shelf: RecordId = "Shelf/amoxicillin".parse()?;
    let mut draft = vault.draft(&shelf)?;
    draft.count(STOCK, 40).count(STOCK, -3);
    vault.commit(vec![draft])?;

    let mut out = stdout().lock();
    let record = vault
        .record(&allergy)?
        .ok_or("the record was just written")?;
    match record.get(CODE)? {
        Merged::Settled(code) => writeln!(out, "allergy: {}", code.unwrap_or_default())?,
        Merged::Contested(question) => writeln!(out, "{} candidates", question.candidates.len())?,
    }
    writeln!(out, "reactions: {}", record.items(REACTION)?.join(", "))?;
    for event in vault.history(&shelf, None)? {
        writeln!(out, "{:?} wrote {}", event.candidate.time, event.field)?;
    }
    Ok(())
}
