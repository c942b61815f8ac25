//! A realistic clinic from a seed: what tests, benchmarks and demonstrations work on.
//!
//! The same seed gives the same bytes in every version and on every machine: integers only, no
//! clock, and a generator of numbers that is defined here. Each patient has a stream of their own,
//! so memory stays flat and patient 90,000 does not depend on those before.
//!
//! People, numbers and addresses are invented. Codes are real (SNOMED CT, LOINC, ATC, CVX, UCUM),
//! what is done with them is plausible rather than true, and rare statuses are commoner than in
//! life.
//!
//! ```
//! use medsync_fhir::generate::Clinic;
//! let records: Vec<_> = Clinic::new(7, 2).collect();
//! assert_eq!(records[0].get("resourceType").and_then(|kind| kind.as_str()), Some("Organization"));
//! ```

mod admin;
mod build;
mod clinical;
mod codes;
mod medicine;
mod people;
mod person;
mod rng;
mod statuses;
mod visit;

use medsync_core::model::json::Json;
use person::{Chart, Staff};
use rng::Rng;
use std::collections::VecDeque;

/// The resources of a clinic: its organizations and practitioners, then patient by patient.
#[derive(Debug)]
pub struct Clinic {
    seed: u64,
    patients: u64,
    next: u64,
    staff: Staff,
    ready: VecDeque<Json>,
}

impl Clinic {
    /// A clinic of so many patients, of about a hundred resources each.
    pub fn new(seed: u64, patients: u64) -> Self {
        let (staff, ready) = Staff::new(&mut Rng::new(seed, u64::MAX));
        Self {
            seed,
            patients,
            next: 0,
            staff,
            ready: ready.into(),
        }
    }
}

impl Iterator for Clinic {
    type Item = Json;

    fn next(&mut self) -> Option<Json> {
        if self.ready.is_empty() && self.next < self.patients {
            let mut chart = Chart::open(Rng::new(self.seed, self.next), &self.staff);
            clinical::write(&mut chart);
            medicine::write(&mut chart);
            admin::write(&mut chart);
            self.ready = chart.records.into();
            self.next += 1;
        }
        self.ready.pop_front()
    }
}

#[cfg(test)]
mod tests;
