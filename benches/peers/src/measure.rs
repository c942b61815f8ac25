//! Samples, medians and the rows of the table.

use crate::now;
use std::hint::black_box;

/// How long something took, in microseconds.
pub(crate) fn us<T>(f: impl FnOnce() -> T) -> f64 {
    let start = now();
    black_box(f());
    start.elapsed().as_secs_f64() * 1e6
}

/// A line of `/proc/self/status`, in MiB.
pub(crate) fn memory_mib(line: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with(line));
    let kib = line.and_then(|l| l.split_whitespace().nth(1)?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// One row: ours, SQLCipher, SQLite.
pub(crate) struct Row {
    name: &'static str,
    unit: &'static str,
    /// Each round's median and mean of each.
    rounds: Vec<[(f64, f64); 3]>,
}

impl Row {
    pub(crate) const fn new(name: &'static str, unit: &'static str) -> Self {
        Self {
            name,
            unit,
            rounds: Vec::new(),
        }
    }

    pub(crate) fn round(&mut self, samples: [Vec<f64>; 3]) {
        self.rounds.push(samples.map(|s| (median(&s), mean(&s))));
    }

    pub(crate) fn head() -> String {
        "| | medsync | SQLCipher | SQLite | x SQLCipher: median (min to max) | of the means | x SQLite |\n\
         |---|---|---|---|---|---|---|"
            .to_owned()
    }

    pub(crate) fn print(&self) {
        let of = |who: usize| median(&self.rounds.iter().map(|r| r[who].0).collect::<Vec<_>>());
        let ratios =
            |peer: usize| -> Vec<f64> { self.rounds.iter().map(|r| r[0].0 / r[peer].0).collect() };
        let means: Vec<f64> = self.rounds.iter().map(|r| r[0].1 / r[1].1).collect();
        let cipher = ratios(1);
        println!(
            "| {} | {:.1} {unit} | {:.1} {unit} | {:.1} {unit} | {:.2} ({:.2} to {:.2}) | {:.2} | {:.2} |",
            self.name,
            of(0),
            of(1),
            of(2),
            median(&cipher),
            cipher.iter().copied().fold(f64::INFINITY, f64::min),
            cipher.iter().copied().fold(0.0, f64::max),
            median(&means),
            median(&ratios(2)),
            unit = self.unit,
        );
    }
}
