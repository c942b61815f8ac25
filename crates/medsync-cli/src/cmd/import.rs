//! Brings FHIR R4 records in.

use crate::cli::{Global, Import};
use crate::cmd::import_log::{Log, Rejected};
use crate::exit::{Done, FAILED, Failure};
use crate::progress;
use crate::session;
use crate::show;
use medsync_core::model::json::Json;
use medsync_core::vault::{ImportReport, Unit};
use medsync_fhir::read::{self, Options, Reader};
use std::cell::RefCell;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) fn run(global: &Global, args: &Import) -> Done {
    let log = RefCell::new(Log::default());
    let bar = progress::spinner(global, "importing");
    let report = session::write(global, |vault| {
        let feed = Feed {
            paths: args.paths.iter(),
            options: Options {
                lenient: args.lenient,
            },
            reader: None,
            log: &log,
        };
        let report = vault.import(&args.source, feed, &mut |so_far| {
            log.borrow_mut().judge(so_far);
            bar.set_message(format!(
                "{} new, {} updated, {} unchanged, {} rejected",
                so_far.imported,
                so_far.updated,
                so_far.unchanged,
                so_far.rejected.len() + so_far.refused.len()
            ));
        })?;
        log.borrow_mut().judge(&report);
        Ok(report)
    })?;
    bar.finish_and_clear();
    let rejected = log.into_inner().finish();
    tell(global, &report, &rejected)?;
    if rejected.is_empty() {
        return Ok(());
    }
    Err(Failure::told(FAILED))
}

fn tell(global: &Global, report: &ImportReport, rejected: &[Rejected]) -> Done {
    if global.json {
        let rejected = rejected.iter().map(Rejected::json).collect();
        return show::json(&show::object([
            ("imported", show::number(report.imported)),
            ("rejected", Json::Array(rejected)),
            ("unchanged", show::number(report.unchanged)),
            ("updated", show::number(report.updated)),
        ]));
    }
    for one in rejected {
        show::note(show::harmless(&one.text()));
    }
    show::line(format!(
        "{} new, {} updated, {} unchanged, {} rejected",
        report.imported,
        report.updated,
        report.unchanged,
        rejected.len()
    ))
}

/// Everything that the paths hold, one unit at a time.
struct Feed<'a> {
    paths: std::slice::Iter<'a, PathBuf>,
    options: Options,
    reader: Option<Reader>,
    log: &'a RefCell<Log>,
}

impl Feed<'_> {
    /// Opens the next path; false when there is none.
    fn next_path(&mut self) -> bool {
        let Some(path) = self.paths.next() else {
            return false;
        };
        if path == Path::new("-") {
            let input = Box::new(BufReader::new(std::io::stdin()));
            self.reader = Some(Reader::stream("-", input, self.options));
            return true;
        }
        match Reader::open(path, self.options) {
            Ok(reader) => self.reader = Some(reader),
            Err(_) => {
                let name = path.display().to_string().into();
                let reason = read::Reject::Unreadable;
                self.log.borrow_mut().refused(&name, 0, None, reason);
            }
        }
        true
    }

    /// The unit as the vault takes it, its resources numbered.
    fn number(&self, source: &Arc<str>, line: u64, unit: read::Unit) -> Unit {
        let atomic = matches!(unit, read::Unit::Transaction(_));
        let resources = unit.into_resources();
        let first = self.log.borrow_mut().accepted(source, line, &resources);
        let numbered = (first..).zip(resources);
        Unit {
            resources: numbered
                .map(|(number, one)| (number, one.id, one.json))
                .collect(),
            atomic,
        }
    }
}

impl Iterator for Feed<'_> {
    type Item = Unit;

    fn next(&mut self) -> Option<Unit> {
        loop {
            let Some(reader) = &mut self.reader else {
                if self.next_path() {
                    continue;
                }
                return None;
            };
            let Some(item) = reader.next() else {
                self.reader = None;
                continue;
            };
            let (source, line) = (item.source_name, item.line);
            match item.outcome {
                Ok(unit) => return Some(self.number(&source, line, unit)),
                Err(reject) => {
                    let mut log = self.log.borrow_mut();
                    log.refused(&source, line, item.entry, reject);
                }
            }
        }
    }
}
