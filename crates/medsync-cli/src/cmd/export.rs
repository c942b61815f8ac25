//! Writes records out.

use crate::cli::{Export, Format, Global};
use crate::cmd::files;
use crate::exit::{Done, Failure, NOT_FOUND};
use crate::progress;
use crate::session;
use crate::show;
use medsync_core::error::{Error, Result};
use medsync_core::ids::RecordId;
use medsync_core::model::json::Json;
use medsync_core::vault::Vault;
use medsync_core::vault::audit::Exporting;
use medsync_fhir::provenance;
use medsync_fhir::write;
use std::collections::VecDeque;

/// Records held in memory at a time.
const PAGE: usize = 256;

pub(super) fn run(global: &Global, args: &Export) -> Done {
    let mut wanted = VecDeque::new();
    for what in &args.what {
        wanted.push_back(match what.contains('/') {
            true => Wanted::One(show::record_id(what)?),
            false => Wanted::Kind(what.clone()),
        });
    }
    if wanted.is_empty() {
        wanted.push_back(Wanted::Kind(String::new()));
    }
    let mut vault = session::reader(global)?;
    // Before the first byte: an export that ends half-way must not look like one.
    for what in &wanted {
        match what {
            Wanted::One(id) => drop(vault.read(id)?.ok_or(Error::NotFound("record"))?),
            Wanted::Kind(kind) => known(&vault, kind)?,
        }
    }
    let (mut kinds, mut records) = (Vec::new(), Vec::new());
    for what in &wanted {
        match what {
            Wanted::Kind(kind) => kinds.push(kind.clone()),
            Wanted::One(id) => records.push(id.clone()),
        }
    }
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    let vault = vault.export(&kinds, &records)?;
    let format = match args.format {
        Format::Ndjson => write::Format::Ndjson,
        Format::Bundle => write::Format::Bundle,
    };
    let bar = progress::spinner(global, "exporting");
    let pages = Pages {
        vault: &vault,
        provenance: args.provenance,
        wanted,
        after: None,
        page: VecDeque::new(),
    };
    let counted = pages.inspect(|_| bar.inc(1));
    let count = files::write(args.out.as_deref(), |out| {
        Ok(write::write(out, format, counted)?)
    })?;
    bar.finish_and_clear();
    match (&args.out, global.json) {
        (Some(_), true) => show::json(&show::object([("exported", show::number(count))])),
        (Some(path), false) => {
            let records = show::count(count, "record", "records");
            show::line(format!("{records} in {}", path.display()))
        }
        (None, _) => Ok(()),
    }
}

/// A kind of the pack, or of some record.
fn known(vault: &Vault, kind: &str) -> Done {
    if kind.is_empty() || vault.pack().pack().kinds.contains_key(kind) {
        return Ok(());
    }
    let mut found = false;
    vault.for_each(kind, None, &mut |_, _| {
        found = true;
        Ok(false)
    })?;
    if found {
        return Ok(());
    }
    Err(Failure::new(
        NOT_FOUND,
        "no such kind: the pack does not know it, and no record is of it",
        "kinds are written as in Patient; medsync pack show lists those of the pack",
    ))
}

/// Who changed a record, as FHIR.
fn changes(vault: &Exporting<'_>, id: &RecordId) -> Result<Vec<String>> {
    let changes = provenance::provenance(id, &vault.history(id)?);
    Ok(changes.iter().map(Json::text).collect())
}

enum Wanted {
    Kind(String),
    One(RecordId),
}

/// The wanted records, a page at a time.
struct Pages<'a> {
    vault: &'a Exporting<'a>,
    /// Each record is followed by who changed it.
    provenance: bool,
    wanted: VecDeque<Wanted>,
    after: Option<RecordId>,
    page: VecDeque<String>,
}

impl Pages<'_> {
    /// Reads the next page; false at the end.
    fn turn(&mut self) -> Result<bool> {
        while self.page.is_empty() {
            match self.wanted.front() {
                None => return Ok(false),
                Some(Wanted::One(id)) => {
                    let view = self.vault.read(id)?.ok_or(Error::NotFound("record"))?;
                    self.page.push_back(view.json.into_exposed());
                    if self.provenance {
                        self.page.extend(changes(self.vault, id)?);
                    }
                    self.wanted.pop_front();
                }
                Some(Wanted::Kind(kind)) => {
                    let (mut last, page) = (None, &mut self.page);
                    let (vault, provenance) = (self.vault, self.provenance);
                    vault.for_each(kind, self.after.as_ref(), &mut |id, json| {
                        page.push_back(json.to_owned());
                        if provenance {
                            page.extend(changes(vault, id)?);
                        }
                        last = Some(id.clone());
                        Ok(page.len() < PAGE)
                    })?;
                    if last.is_none() {
                        self.wanted.pop_front();
                    }
                    self.after = last;
                }
            }
        }
        Ok(true)
    }
}

impl Iterator for Pages<'_> {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.turn() {
            Ok(true) => self.page.pop_front().map(Ok),
            Ok(false) => None,
            Err(error) => {
                self.wanted.clear();
                self.page.clear();
                Some(Err(error))
            }
        }
    }
}
