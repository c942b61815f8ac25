//! Sticks: exchange folders in memory that are pulled, copied, mixed up and tampered with.

use crate::store::fault::Rng;
use crate::testing::sim::model::CANARY;
use crate::vault::exchange::Folder;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::Arc;

type Files = BTreeMap<String, Arc<[u8]>>;

/// A stick with what lies on it. Copies share nothing but bytes that never change.
#[derive(Debug, Clone, Default)]
pub(super) struct Stick {
    files: Files,
    /// Reads and writes until it is pulled.
    pulled_in: Option<u32>,
    /// A write that was under way when it was pulled left part of its file.
    leaves_part: bool,
}

impl Stick {
    /// It is pulled at the `n`-th read or write from now.
    pub(super) const fn pull_in(&mut self, n: u32, leaves_part: bool) {
        (self.pulled_in, self.leaves_part) = (Some(n), leaves_part);
    }

    /// Whether it was pulled since it was last put in.
    pub(super) fn was_pulled(&self) -> bool {
        self.pulled_in == Some(0)
    }

    /// It is put in again.
    pub(super) const fn put_in(&mut self) {
        self.pulled_in = None;
    }

    /// Whether a clinical value stands in one of its files, looked for now and then.
    pub(super) fn has_canary(&self, rng: &mut Rng) -> bool {
        let has = |bytes: &Arc<[u8]>| super::contains(bytes, CANARY.as_bytes());
        rng.one_in(8) && self.files.values().any(has)
    }

    /// Everything of another stick is copied over, file by file.
    pub(super) fn mix_in(&mut self, other: &Self) {
        let files = other.files.iter();
        self.files
            .extend(files.map(|(path, bytes)| (path.clone(), Arc::clone(bytes))));
    }

    /// Puts a file as it is, whoever writes there.
    pub(super) fn put(&mut self, path: &str, bytes: Vec<u8>) {
        self.files.insert(path.to_owned(), bytes.into());
    }

    /// Does something to a file, as a broken stick or a curious person would.
    pub(super) fn tamper(&mut self, rng: &mut Rng) {
        let Some(path) = self.any(rng) else { return };
        let bytes = self
            .files
            .get(&path)
            .map(|b| b.to_vec())
            .unwrap_or_default();
        match rng.below(7) {
            0 => drop(self.files.remove(&path)),
            1 => {
                let cut = rng.below(bytes.len() as u64 + 1) as usize;
                self.put(&path, bytes.into_iter().take(cut).collect());
            }
            2 => {
                let Some(other) = self.any(rng) else { return };
                let swapped = self.files.insert(other, bytes.into());
                self.files.extend(swapped.map(|there| (path, there)));
            }
            3 => self.put(&format!("{path}.new"), bytes),
            4 => {
                let mut garbage = vec![0; rng.below(300) as usize];
                rng.fill(&mut garbage);
                self.put(&path, garbage);
            }
            _ => {
                let mut bytes = bytes;
                let at = rng.below(bytes.len() as u64) as usize;
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << rng.below(8);
                }
                self.put(&path, bytes);
            }
        }
    }

    fn any(&self, rng: &mut Rng) -> Option<String> {
        let at = rng.below(self.files.len() as u64) as usize;
        self.files.keys().nth(at).cloned()
    }

    /// Counts a read or write; `Err` from the one on at which the stick is pulled.
    fn tick(&mut self) -> io::Result<()> {
        match &mut self.pulled_in {
            None => Ok(()),
            Some(0) => Err(io::Error::other("the stick was pulled")),
            Some(left) => {
                *left -= 1;
                match *left {
                    0 => Err(io::Error::other("the stick is pulled")),
                    _ => Ok(()),
                }
            }
        }
    }
}

impl Folder for Stick {
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let below = |path: &String| -> Option<String> {
            let rest = match dir {
                "" => path,
                dir => path.strip_prefix(dir)?.strip_prefix('/')?,
            };
            rest.split('/').next().map(str::to_owned)
        };
        let names: BTreeSet<String> = self.files.keys().filter_map(below).collect();
        if names.is_empty() && !dir.is_empty() {
            return Err(ErrorKind::NotFound.into());
        }
        Ok(names.into_iter().collect())
    }

    fn read(&self, path: &str, max: usize) -> io::Result<Vec<u8>> {
        if self.was_pulled() {
            return Err(io::Error::other("the stick was pulled"));
        }
        let bytes = self.files.get(path).ok_or(ErrorKind::NotFound)?;
        Ok(bytes.iter().copied().take(max.saturating_add(1)).collect())
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let pulled_before = self.was_pulled();
        let done = self.tick();
        if done.is_ok() {
            self.put(path, bytes.to_vec());
        } else if self.leaves_part && !pulled_before {
            let half = bytes.iter().copied().take(bytes.len() / 2);
            self.put(&format!("{path}.new"), half.collect());
        }
        done
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        self.tick()?;
        self.files
            .remove(path)
            .map(drop)
            .ok_or(ErrorKind::NotFound.into())
    }
}
