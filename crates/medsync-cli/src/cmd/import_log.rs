//! Where each imported resource came from, for as long as the vault may still refuse it.

use medsync_core::error::Error;
use medsync_core::model::json::Json;
use medsync_core::vault::ImportReport;
use medsync_fhir::read::Item;
use std::collections::VecDeque;
use std::sync::Arc;

/// Units whose place is remembered. The engine holds at most three batches of 24 commits of 32
/// resources, and one unfinished commit: 2,336.
const PLACES_MAX: usize = 4096;

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

/// A unit that the vault has not judged yet.
struct Place {
    /// The number of its first resource.
    first: u64,
    count: u64,
    order: u64,
    source: Arc<str>,
    line: u64,
    entry: Option<u32>,
}

/// What was read so far.
#[derive(Default)]
pub(super) struct Log {
    places: VecDeque<Place>,
    next_number: u64,
    next_order: u64,
    rejected: Vec<Rejected>,
    /// How many of the vault's refusals are in `rejected`.
    judged: usize,
}

impl Log {
    /// Notes a unit of so many resources; returns the number of the first.
    pub(super) fn accepted(&mut self, item: &Item, count: usize) -> u64 {
        let first = self.next_number;
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.next_number = first.saturating_add(count);
        self.places.push_back(Place {
            first,
            count,
            order: self.next_order,
            source: Arc::clone(&item.source_name),
            line: item.line,
            entry: item.entry,
        });
        self.next_order += 1;
        if self.places.len() > PLACES_MAX {
            self.places.pop_front();
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

    /// Notes what the vault refused since it was last asked.
    pub(super) fn judge(&mut self, report: &ImportReport) {
        for (number, error) in report.rejected.iter().skip(self.judged) {
            let rejected = self.place(*number, error);
            self.rejected.push(rejected);
        }
        self.judged = report.rejected.len();
    }

    fn place(&self, number: u64, error: &Error) -> Rejected {
        let after = self.places.partition_point(|place| place.first <= number);
        let place = after.checked_sub(1).and_then(|i| self.places.get(i));
        let reason = error.to_string();
        match place.filter(|place| number < place.first.saturating_add(place.count)) {
            Some(place) => Rejected {
                order: place.order,
                source: Arc::clone(&place.source),
                line: place.line,
                entry: match place.count {
                    1 => place.entry.map(u64::from),
                    _ => Some(number - place.first + 1),
                },
                reason,
            },
            None => Rejected {
                order: 0,
                source: "input".into(),
                line: 0,
                entry: None,
                reason,
            },
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
                    log.accepted(&item, unit.resources().len());
                }
                Err(why) => log.refused(&item.source_name, item.line, item.entry, why),
            }
        }
        let mut report = ImportReport::default();
        report.rejected.push((0, Error::invalid("first")));
        log.judge(&report);
        report.rejected.push((1, Error::invalid("third")));
        log.judge(&report);
        let told: Vec<String> = log.finish().iter().map(Rejected::text).collect();
        assert_eq!(told, ["in:1: first", "in:2: not valid JSON", "in:3: third"]);
    }
}
