//! Where each imported resource came from, for as long as the vault may still refuse it.

use medsync_core::error::Error;
use medsync_core::model::json::Json;
use medsync_core::vault::ImportReport;
use medsync_fhir::read::Resource;
use std::collections::VecDeque;
use std::sync::Arc;

/// One thing that was not imported.
#[derive(Debug, Clone)]
pub(super) struct Rejected {
    /// Its place among all that was read.
    order: u64,
    pub(super) source: Arc<str>,
    pub(super) line: u64,
    /// The entry of a Bundle, from 1.
    pub(super) entry: Option<u64>,
    pub(super) reason: String,
}

impl Rejected {
    pub(super) fn json(&self) -> Json {
        let number = |n: u64| Json::Number(n.to_string().into());
        let mut json = Json::object([
            ("line", number(self.line)),
            ("reason", Json::string(&self.reason)),
            ("source", Json::string(&self.source)),
        ]);
        if let Some(entry) = self.entry {
            json.set("entry", number(entry));
        }
        json
    }

    /// As compilers name a place.
    pub(super) fn text(&self) -> String {
        let source = &self.source;
        let entry = self
            .entry
            .map(|n| format!(" (entry {n})"))
            .unwrap_or_default();
        match self.line {
            0 => format!("{source}: {}", self.reason),
            line => format!("{source}:{line}{entry}: {}", self.reason),
        }
    }
}

/// A resource that the vault has not judged yet.
struct Place {
    order: u64,
    source: Arc<str>,
    line: u64,
    entry: Option<u32>,
    /// The line that its unit starts on.
    unit_line: u64,
}

/// What was read so far.
#[derive(Default)]
pub(super) struct Log {
    /// Those that the vault holds, by number.
    places: VecDeque<Place>,
    /// The number of the first of them.
    first: u64,
    next_order: u64,
    rejected: Vec<Rejected>,
    /// How many of the vault's refusals are in `rejected`: of resources, and of units.
    judged: (usize, usize),
}

impl Log {
    /// Notes a unit's resources; returns the number of the first.
    pub(super) fn accepted(&mut self, source: &Arc<str>, line: u64, unit: &[Resource]) -> u64 {
        let first = self.first + self.places.len() as u64;
        for resource in unit {
            self.places.push_back(Place {
                order: self.next_order,
                source: Arc::clone(source),
                line: resource.line,
                entry: resource.entry,
                unit_line: line,
            });
            self.next_order += 1;
        }
        first
    }

    /// Notes what the reader refused.
    pub(super) fn refused(
        &mut self,
        source: &Arc<str>,
        line: u64,
        entry: Option<u32>,
        reason: impl ToString,
    ) {
        self.rejected.push(Rejected {
            order: self.next_order,
            source: Arc::clone(source),
            line,
            entry: entry.map(u64::from),
            reason: reason.to_string(),
        });
        self.next_order += 1;
    }

    /// Notes what the vault refused since it was last asked, and forgets where what it judged stood.
    pub(super) fn judge(&mut self, report: &ImportReport) {
        let (resources, units) = self.judged;
        for (number, error) in report.rejected.iter().skip(resources) {
            let rejected = self.place(*number, error, |place| (place.line, place.entry));
            self.rejected.push(rejected);
        }
        for (number, error) in report.refused.iter().skip(units) {
            let rejected = self.place(*number, error, |place| (place.unit_line, None));
            self.rejected.push(rejected);
        }
        self.judged = (report.rejected.len(), report.refused.len());
        while self.first < report.judged && self.places.pop_front().is_some() {
            self.first += 1;
        }
    }

    fn place(
        &self,
        number: u64,
        error: &Error,
        at: impl Fn(&Place) -> (u64, Option<u32>),
    ) -> Rejected {
        let index = number.checked_sub(self.first);
        let place = index.and_then(|i| self.places.get(usize::try_from(i).ok()?));
        let (line, entry) = place.map_or((0, None), at);
        Rejected {
            order: place.map_or(0, |place| place.order),
            source: place.map_or_else(|| "input".into(), |place| Arc::clone(&place.source)),
            line,
            entry: entry.map(u64::from),
            reason: error.to_string(),
        }
    }

    /// Everything that was not imported, in the order it was read.
    pub(super) fn finish(mut self) -> Vec<Rejected> {
        self.rejected.sort_by_key(|rejected| rejected.order);
        self.rejected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use medsync_fhir::read::{Options, Reader};

    #[test]
    fn refusals_of_reader_and_vault_are_told_in_the_order_of_the_input() {
        let input = b"{\"resourceType\":\"Patient\",\"id\":\"a\"}\nnot json\n\
                      {\"resourceType\":\"Patient\",\"id\":\"b\"}\n";
        let mut log = Log::default();
        for item in Reader::stream("in", Box::new(&input[..]), Options::default()) {
            match &item.outcome {
                Ok(unit) => {
                    log.accepted(&item.source_name, item.line, unit.resources());
                }
                Err(why) => log.refused(&item.source_name, item.line, item.entry, why),
            }
        }
        let mut report = ImportReport::default();
        report.rejected.push((0, Error::invalid("first")));
        report.judged = 1;
        log.judge(&report);
        report.rejected.push((1, Error::invalid("third")));
        report.judged = 2;
        log.judge(&report);
        let told: Vec<String> = log.finish().iter().map(Rejected::text).collect();
        assert_eq!(told, ["in:1: first", "in:2: not valid JSON", "in:3: third"]);
    }
}
