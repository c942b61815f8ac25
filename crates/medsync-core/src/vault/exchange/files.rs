//! The folder's files: their names, and writing them as a whole or not at all.

use crate::error::{Error, Result};
use crate::ids::{DeviceKey, ReplicaId, WorkspaceId, hex};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// The folder that holds all exchanges.
pub const ROOT: &str = "medsync-exchange";
/// Most entries that are looked at in one folder.
pub const ENTRIES_MAX: usize = 20_000;

/// Where files are exchanged. Paths are relative, with `/`, and below one place: hosts whose
/// folders are no paths bring their own.
pub trait Folder {
    /// The names in a folder, at most [`ENTRIES_MAX`]; `""` is the place itself.
    ///
    /// # Errors
    /// What the host's storage says; `NotFound` where there is no such folder.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;

    /// A file's bytes, at most `max` and one more.
    ///
    /// # Errors
    /// What the host's storage says; `NotFound` where there is no such file.
    fn read(&self, path: &str, max: usize) -> io::Result<Vec<u8>>;

    /// Puts a file in place, whole and durable or not at all; makes the folders above it.
    ///
    /// # Errors
    /// What the host's storage says; whatever had the name then still has it.
    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the host's storage says.
    fn remove(&mut self, path: &str) -> io::Result<()>;
}

/// A folder of the file system.
#[derive(Debug, Clone)]
pub struct Disk {
    root: PathBuf,
}

impl Disk {
    /// The folder at a path.
    pub fn new(dir: &Path) -> Self {
        Self {
            root: dir.to_owned(),
        }
    }

    /// Makes the folders down to `path`, refusing links: a stick must not lead elsewhere.
    fn make_dirs(&self, path: &str) -> io::Result<PathBuf> {
        let mut at = self.root.clone();
        let Some((above, _)) = path.rsplit_once('/') else {
            return Ok(at);
        };
        for part in above.split('/') {
            let parent = at.clone();
            at.push(part);
            match fs::symlink_metadata(&at) {
                Ok(found) if found.is_dir() => {}
                Ok(_) => return Err(ErrorKind::NotADirectory.into()),
                Err(e) if e.kind() == ErrorKind::NotFound => {
                    fs::create_dir(&at)?;
                    sync_dir(&parent)?;
                }
                Err(e) => return Err(e),
            }
        }
        Ok(at)
    }
}

impl Folder for Disk {
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.root.join(dir))?.take(ENTRIES_MAX) {
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn read(&self, path: &str, max: usize) -> io::Result<Vec<u8>> {
        let path = self.root.join(path);
        // A pipe would never end, a link may lead anywhere.
        if !fs::symlink_metadata(&path)?.is_file() {
            return Err(ErrorKind::InvalidInput.into());
        }
        let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
        let mut bytes = Vec::new();
        File::open(path)?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let dir = self.make_dirs(path)?;
        let (path, new) = (self.root.join(path), self.root.join(unfinished(path)));
        let write = || {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).open(&new)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        if let Err(error) = write() {
            // What cannot be removed now is removed by the next exchange.
            fs::remove_file(&new).ok();
            return Err(error);
        }
        sync_dir(&dir)
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        fs::remove_file(self.root.join(path))
    }
}

/// The name a file has until it is whole.
pub(super) fn unfinished(path: &str) -> String {
    format!("{path}.new")
}

/// A rename is durable once its folder is.
fn sync_dir(dir: &Path) -> io::Result<()> {
    // Windows has no such call; NTFS journals the rename.
    if cfg!(unix) {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// A file of a device's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    Marks,
    Keys(u32),
    Batches(u32),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Marks => f.write_str("marks.age"),
            Self::Keys(no) => write!(f, "keys-{no:06}.age"),
            Self::Batches(no) => write!(f, "batches-{no:06}.age"),
        }
    }
}

impl Name {
    /// Reads a name; `None` for any other text than the one form of a name.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let name = match text.strip_suffix(".age")?.split_once('-') {
            None => Self::Marks,
            Some(("keys", no)) => Self::Keys(no.parse().ok()?),
            Some(("batches", no)) => Self::Batches(no.parse().ok()?),
            Some(_) => return None,
        };
        (name.to_string() == text).then_some(name)
    }

    pub(super) const fn number(self) -> u32 {
        match self {
            Self::Marks => 0,
            Self::Keys(no) | Self::Batches(no) => no,
        }
    }
}

/// The folder of a workspace.
pub(super) fn workspace_dir(workspace: &WorkspaceId) -> String {
    format!("{ROOT}/{}", hex(&workspace.0[..8]))
}

/// The name of a copy's folder: two copies of one device do not write over each other's files.
pub(super) fn copy_dir(device: &DeviceKey, replica: &ReplicaId) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("medsync v1 exchange folder");
    hasher.update(&device.0).update(&replica.0);
    hex(&hasher.finalize().as_bytes()[..8])
}

/// Whether a name can be that of a copy's folder.
pub(super) fn is_copy_dir(name: &str) -> bool {
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    name.len() == 16 && name.bytes().all(digit)
}

/// Why a folder cannot be written, if it is one that only reads.
pub(super) fn only_reads(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
    )
}

/// The error for a folder that cannot be written.
pub(super) fn write_error(error: &io::Error) -> Error {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::io(
            "the exchange folder is full; make room and exchange again",
            error,
        ),
        _ => Error::io(
            "writing to the exchange folder; exchange again to go on",
            error,
        ),
    }
}

/// Whether the exchange folder is there.
pub(super) fn check(folder: &dyn Folder) -> Result<()> {
    folder.list("").map(drop).map_err(|e| match e.kind() {
        ErrorKind::NotFound => Error::NotFound("exchange folder; is the stick in place?"),
        ErrorKind::NotADirectory => Error::invalid("exchange needs a folder, this is a file"),
        _ => Error::io("reading the exchange folder", &e),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_form() {
        for name in [Name::Marks, Name::Keys(7), Name::Batches(1_234_567)] {
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
        for other in [
            "marks.age.new",
            "keys-7.age",
            "batches-+00007.age",
            "batches--00007.age",
            "../marks.age",
            "other.age",
            "batches-99999999999.age",
            "",
        ] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_put_in_place_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = Disk::new(dir.path());
        // A folder has the name: the rename fails after the bytes were written.
        fs::create_dir_all(dir.path().join("a/b/marks.age/x")).unwrap();
        assert!(disk.write("a/b/marks.age", b"marks").is_err());
        assert_eq!(disk.list("a/b").unwrap(), ["marks.age"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_neither_read_nor_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("marks.age"), b"x").unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("a")).unwrap();
        let link = dir.path().join("marks.age");
        std::os::unix::fs::symlink(elsewhere.path().join("marks.age"), link).unwrap();
        let mut disk = Disk::new(dir.path());
        assert!(disk.write("a/keys-000001.age", b"keys").is_err());
        assert!(disk.read("marks.age", 10).is_err());
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);
    }
}
