//! A simulated folder: contents become durable file by file, names only with the folder.

use super::{Rng, SharedPower, SimDisk, lock_power};
use crate::error::{Error, Result};
use crate::store::place::{Lock, NewFile, Opened, Place, SharedPlace};
use redb::StorageBackend as _;
use std::collections::BTreeMap;
use std::io::{self, Cursor, ErrorKind, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

type Files = BTreeMap<String, SimDisk>;

/// What happened to names since the folder was last synced.
#[derive(Debug, Clone)]
enum Naming {
    Made(String, SimDisk),
    Renamed(String, String),
    Removed(String),
}

impl Naming {
    fn apply(&self, files: &mut Files) {
        match self {
            Self::Made(name, disk) => drop(files.insert(name.clone(), disk.clone())),
            Self::Renamed(from, to) => {
                if let Some(disk) = files.remove(from) {
                    files.insert(to.clone(), disk);
                }
            }
            Self::Removed(name) => drop(files.remove(name)),
        }
    }
}

#[derive(Debug, Default)]
struct Names {
    power: SharedPower,
    /// What processes see.
    live: Files,
    /// What stands on the disk for sure.
    durable: Files,
    pending: Vec<Naming>,
    lock: Weak<()>,
}

impl Names {
    fn perform(&mut self, naming: Naming) -> io::Result<()> {
        let mut power = lock_power(&self.power);
        power.alive()?;
        if let Err(error) = power.tick() {
            // With the power gone, the very change that was under way may be there or not.
            if power.off {
                self.pending.push(naming);
            }
            return Err(error);
        }
        naming.apply(&mut self.live);
        self.pending.push(naming);
        Ok(())
    }

    fn find(&self, name: &str) -> io::Result<SimDisk> {
        lock_power(&self.power).alive()?;
        let found = self.live.get(name);
        Ok(found.ok_or(ErrorKind::NotFound)?.clone())
    }
}

/// A folder of a vault. Clones are handles of the same folder.
#[derive(Debug, Clone, Default)]
pub struct SimFolder(Arc<Mutex<Names>>);

impl SimFolder {
    /// A folder that holds exactly these files, all of it durable.
    pub fn from_files(files: BTreeMap<String, Vec<u8>>) -> Self {
        let power = SharedPower::default();
        let disks = files.into_iter().map(|(name, bytes)| {
            let disk = SimDisk::from_image(bytes);
            disk.join(&power);
            (name, disk)
        });
        let live: Files = disks.collect();
        Self(Arc::new(Mutex::new(Names {
            power,
            durable: live.clone(),
            live,
            ..Names::default()
        })))
    }

    /// What a process that starts after another one died (with the power on) finds.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let names = self.names_now();
        let files = names.live.iter();
        files
            .map(|(name, disk)| (name.clone(), disk.image()))
            .collect()
    }

    /// What a machine may find after the power went: names as they were synced, and of what
    /// happened to them since each thing or not; files as [`SimDisk::after_power_loss`] says.
    pub fn after_power_loss(&self, rng: &mut Rng) -> Self {
        let names = self.names_now();
        let mut found = names.durable.clone();
        // All kept, all lost, or (mostly) each on its own.
        let policy = rng.below(6);
        for naming in &names.pending {
            let fate = if policy < 2 { policy } else { rng.below(2) };
            if fate == 0 {
                naming.apply(&mut found);
            }
        }
        let files = found.into_iter().map(|(name, disk)| {
            let bytes = disk.after_power_loss(rng).image();
            (name, bytes)
        });
        Self::from_files(files.collect())
    }

    /// The power goes at the `op`-th write, sync, or change of length or names from now.
    pub fn cut_at(&self, op: u64) {
        lock_power(&self.names_now().power).cut_at(op);
    }

    /// The `op`-th of them fails once, the power stays.
    pub fn fail_at(&self, op: u64, kind: ErrorKind) {
        lock_power(&self.names_now().power).fail_at(op, kind);
    }

    /// Forgets faults that have not happened yet.
    pub fn calm(&self) {
        lock_power(&self.names_now().power).calm();
    }

    /// Whether a cut or a failure happened.
    pub fn struck(&self) -> bool {
        lock_power(&self.names_now().power).struck
    }

    pub(crate) fn place(&self) -> SharedPlace {
        Arc::new(self.clone())
    }

    fn names_now(&self) -> MutexGuard<'_, Names> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a simulated file from its beginning.
struct Writer {
    disk: SimDisk,
    at: u64,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.write(self.at, bytes)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl NewFile for Writer {
    fn sync(&mut self) -> io::Result<()> {
        self.disk.sync_data()
    }
}

impl Place for SimFolder {
    fn make(&self) -> io::Result<()> {
        lock_power(&self.names_now().power).alive()
    }

    fn lock(&self, _: &str) -> Result<Lock> {
        let mut names = self.names_now();
        if names.lock.upgrade().is_some() {
            return Err(Error::Busy);
        }
        let lock = Arc::new(());
        names.lock = Arc::downgrade(&lock);
        Ok(lock)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn NewFile>> {
        let mut names = self.names_now();
        let disk = match names.find(name) {
            Ok(disk) => {
                disk.set_len(0)?;
                disk
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let disk = SimDisk::default();
                disk.join(&names.power);
                names.perform(Naming::Made(name.to_owned(), disk.clone()))?;
                disk
            }
            Err(e) => return Err(e),
        };
        Ok(Box::new(Writer { disk, at: 0 }))
    }

    fn open(&self, name: &str) -> Result<Opened> {
        let found = self.names_now().find(name);
        let disk = found.map_err(|e| match e.kind() {
            ErrorKind::NotFound => Error::NotFound("file of the vault"),
            _ => Error::io("opening a file of the vault", &e),
        })?;
        Ok(Opened(Box::new(disk)))
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read>> {
        let names = self.names_now();
        let disk = names.find(name)?;
        lock_power(&names.power).tick_read()?;
        Ok(Box::new(Cursor::new(disk.image())))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut names = self.names_now();
        names.find(from)?;
        names.perform(Naming::Renamed(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut names = self.names_now();
        names.find(name)?;
        names.perform(Naming::Removed(name.to_owned()))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let names = self.names_now();
        lock_power(&names.power).alive()?;
        Ok(names.live.keys().cloned().collect())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut names = self.names_now();
        lock_power(&names.power).alive()?;
        lock_power(&names.power).tick()?;
        names.pending.clear();
        names.durable = names.live.clone();
        Ok(())
    }
}
