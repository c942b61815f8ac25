//! Exchange over a folder: a USB stick, a share. Nobody needs to be there at the same time.
//!
//! Each copy of a device has a folder of its own in it, `medsync-exchange/<workspace>/<copy>/`, and
//! writes nowhere else; one that takes a new name clears the folders of its former ones. What lies
//! there is sealed to the workspace's current devices:
//!
//! - `marks.age`: what the copy holds and what its files hold, signed by the device;
//! - `batches-NNNNNN.age`: sealed batches, its own and those it passes on;
//! - `keys-NNNNNN.age`: the data keys, signed by the device;
//! - `heads.age`: the signed heads of the audit logs it knows of.
//!
//! One exchange first takes up what the others left, then seals, then leaves what some current
//! device lacks by its newest marks. Files are whole or absent, and marks come after the files
//! they list: a stick pulled at any moment holds an older truth or the newer one. Nothing depends
//! on the folder being true: batches and keys are verified by themselves, and marks only ever
//! decide what is sent again.

mod claim;
#[cfg(feature = "testing")]
pub mod door;
mod files;
mod heads;
mod incoming;
mod keys;
mod manifest;
mod outgoing;
#[cfg(test)]
mod tests;
mod twins;

pub(crate) use outgoing::seal_commit;

pub use files::{Disk, ENTRIES_MAX, Folder, ROOT};

use crate::error::{Error, Result};
use crate::ids::{DeviceKey, WorkspaceId};
use crate::phi::Phi;
use crate::vault::Vault;
use crate::vault::core::unpack_row;
use crate::vault::deliver::Received;
use crate::vault::lease::Lease;
use crate::vault::marks::Held;
use crate::vault::open::DeviceSecrets;
use crate::vault::rows::{self, Rows};
use claim::SignedClaim;
use manifest::Marks;
use serde::{Deserialize, Serialize, Serializer};
use std::path::Path;

/// How far an exchange is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ExchangeProgress {
    /// What is being done.
    pub phase: Phase,
    /// How much of it is done: files read, or commits written.
    pub done: u64,
    /// How much there is.
    pub total: u64,
}

/// The two halves of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Files of others are taken up.
    TakingUp,
    /// Commits are written for others.
    Leaving,
}

/// What came of an exchange.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ExchangeReport {
    /// Whether this device could leave what it has.
    pub outgoing: Outgoing,
    /// Commits written for others.
    pub sent_commits: u64,
    /// Files written, marks and keys included.
    pub sent_files: u64,
    /// Bytes written.
    pub sent_bytes: u64,
    /// Files removed that nobody needs any more.
    pub removed_files: u64,
    /// What was taken up.
    pub received: Received,
    /// Data keys that are new here.
    pub received_keys: u64,
    /// Files that could not be used. They never stop the exchange of the others.
    pub problems: Vec<Problem>,
    /// The other current devices, and how old their newest marks are.
    pub peers: Vec<PeerMarks>,
    /// Devices whose marks here are older than ones seen before: an older stick, a folder from a
    /// backup, or, where it is this device, a vault from a backup; it then takes a new incarnation.
    #[serde(serialize_with = "keys_as_hex")]
    pub rolled_back: Vec<DeviceKey>,
    /// Devices that left marks here and do not belong to the workspace, or no longer.
    #[serde(serialize_with = "keys_as_hex")]
    pub strangers: Vec<DeviceKey>,
}

/// Whether a device could leave what it has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outgoing {
    /// Everything others lack lies there.
    #[default]
    Complete,
    /// The folder cannot be written: this device only took up.
    ReadOnlyFolder,
    /// This device is not one of the workspace's, or no longer: it only took up.
    NotCurrent,
}

/// Most problems of one exchange that are told.
const PROBLEMS_MAX: usize = 20_000;
/// So many problems of one file are told once each.
const SAME_FILE: usize = 16;

/// A file that could not be used as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The device's folder and the file's name.
    pub file: String,
    /// What is wrong with it.
    pub what: &'static str,
}

/// Another device, as far as it said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PeerMarks {
    /// Its key.
    #[serde(serialize_with = "key_as_hex")]
    pub device: DeviceKey,
    /// Its name.
    #[serde(serialize_with = "shown")]
    pub name: Phi<String>,
    /// How old its newest marks are, in milliseconds; `None` if it never left any.
    pub age_ms: Option<i64>,
}

fn key_as_hex<S: Serializer>(key: &DeviceKey, s: S) -> std::result::Result<S::Ok, S::Error> {
    s.collect_str(key)
}

fn keys_as_hex<S: Serializer>(keys: &[DeviceKey], s: S) -> std::result::Result<S::Ok, S::Error> {
    s.collect_seq(keys.iter().map(ToString::to_string))
}

fn shown<S: Serializer>(name: &Phi<String>, s: S) -> std::result::Result<S::Ok, S::Error> {
    s.serialize_str(name.expose())
}

/// What this device's own files are numbered with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Numbers {
    /// That of the last marks.
    counter: u64,
    /// That of the next file.
    file: u32,
    /// The time of the last marks.
    hlc: i64,
}

impl Numbers {
    fn key() -> Vec<u8> {
        rows::meta("exchange")
    }

    fn load(rows: &dyn Rows) -> Result<Self> {
        let row = rows.get(&Self::key())?;
        Ok(row
            .map(|row| unpack_row(&row))
            .transpose()?
            .unwrap_or_default())
    }
}

impl Vault {
    /// Takes up what other devices left in a folder, and leaves there what they lack.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such folder, [`Error::Storage`] if it cannot be written
    /// to the end: what was taken up is durable all the same, and the next exchange goes on.
    pub fn exchange(
        &mut self,
        dir: &Path,
        progress: &mut dyn FnMut(&ExchangeProgress),
    ) -> Result<ExchangeReport> {
        self.exchange_over(&mut Disk::new(dir), progress)
    }

    /// As [`Vault::exchange`], over a folder that the host brings.
    ///
    /// # Errors
    /// As [`Vault::exchange`].
    pub fn exchange_over(
        &mut self,
        folder: &mut dyn Folder,
        progress: &mut dyn FnMut(&ExchangeProgress),
    ) -> Result<ExchangeReport> {
        meet(Lease::alone(self), folder, progress)
    }
}

/// One exchange over a folder.
pub(crate) fn meet(
    vault: Lease<'_>,
    folder: &mut dyn Folder,
    progress: &mut dyn FnMut(&ExchangeProgress),
) -> Result<ExchangeReport> {
    let workspace = vault.core.workspace()?.id;
    files::check(folder)?;
    let device = vault.device()?;
    let held = outgoing::held(&vault.store.read()?, &vault.core)?;
    let mut visit = Visit {
        dir: files::workspace_dir(&workspace),
        own: files::copy_dir(&vault.core.meta.device, &vault.core.meta.replica),
        workspace,
        vault,
        folder,
        progress,
        device,
        held,
        tell: Vec::new(),
        report: ExchangeReport::default(),
    };
    let found = visit.take_up()?;
    visit.vault.give_way()?;
    visit.vault.seal()?;
    visit.name_own();
    visit.take_heads(&found)?;
    visit.vault.give_way()?;
    // Others may have written meanwhile, and the vault may have taken a new name.
    visit.vault.seal()?;
    visit.name_own();
    visit.vault.note_exchange(&visit.report)?;
    visit.leave(&found)?;
    visit.leave_heads()?;
    Ok(visit.report)
}

/// One exchange.
struct Visit<'a> {
    vault: Lease<'a>,
    folder: &'a mut dyn Folder,
    progress: &'a mut dyn FnMut(&ExchangeProgress),
    report: ExchangeReport,
    workspace: WorkspaceId,
    /// This device's secrets.
    device: DeviceSecrets,
    /// The workspace's folder.
    dir: String,
    /// The name of this copy's folder in it.
    own: String,
    /// The sealed commits that are here.
    held: Held,
    /// Claims that somebody here should hear of: of their own name, or of who gave it up.
    tell: Vec<SignedClaim>,
}

/// What lies in the folder of one copy.
struct Found {
    /// The folder's name.
    dir: String,
    names: Vec<files::Name>,
    /// Unfinished files.
    leftovers: Vec<String>,
    marks: Option<(Marks, SignedClaim)>,
    keys: Vec<FoundKeys>,
}

impl Found {
    fn marks(&self) -> Option<&Marks> {
        self.marks.as_ref().map(|(marks, _)| marks)
    }
}

/// A file of keys that was opened.
struct FoundKeys {
    name: files::Name,
    hash: [u8; 32],
    file: keys::KeyFile,
    taken: bool,
}

impl Visit<'_> {
    fn path(&self, dir: &str, name: files::Name) -> String {
        format!("{}/{dir}/{name}", self.dir)
    }

    fn name_own(&mut self) {
        let meta = &self.vault.core.meta;
        self.own = files::copy_dir(&meta.device, &meta.replica);
    }

    fn problem(&mut self, dir: &str, name: files::Name, what: &'static str) {
        let file = format!("{dir}/{name}");
        let problem = Problem { file, what };
        let all = &mut self.report.problems;
        // A file may hold a million batches that say nothing.
        if all.len() < PROBLEMS_MAX && !all.iter().rev().take(SAME_FILE).any(|p| *p == problem) {
            all.push(problem);
        }
    }

    fn is_current(&self, device: &DeviceKey) -> bool {
        self.vault.core.membership.is_current_device(device)
    }
}

/// What is wrong with a file, in fixed words.
fn words(error: &Error) -> &'static str {
    match error {
        Error::Integrity { what, .. }
        | Error::Invalid { what, .. }
        | Error::Refused { what, .. } => what,
        Error::TooNew { .. } => "it was written by a newer medsync; upgrade this one",
        Error::NotFound(_) => "it is not sealed for this device",
        _ => "it cannot be read",
    }
}
