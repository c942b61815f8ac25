//! Files of a vault: made under another name, synced, renamed, and the folder synced.

use crate::error::{Error, Result};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// The encrypted data.
pub const DATA_FILE: &str = "vault.db";
/// The wrapped keys.
pub const KEY_FILE: &str = "vault.keys";
/// How often a wrong passphrase was tried since the last right one.
pub const TRIES_FILE: &str = "vault.tries";
/// Locked while a process has the vault open; its content does not matter.
pub const LOCK_FILE: &str = "vault.lock";

/// The name a file has until it is whole.
pub(super) fn new_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.new"))
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options
}

/// Makes the vault's folder, for its owner only.
pub(super) fn make_dir(dir: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder
        .create(dir)
        .map_err(|e| Error::io("making the vault's folder", &e))
}

/// Locks the vault against other processes, for as long as the file lives.
pub(super) fn lock(dir: &Path) -> Result<File> {
    const WHAT: &str = "locking the vault; its folder must be writable";
    let file = options()
        .create(true)
        .truncate(false)
        .open(dir.join(LOCK_FILE))
        .map_err(|e| match e.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => Error::NotFound("vault"),
            _ => Error::io(WHAT, &e),
        })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Busy),
        Err(TryLockError::Error(e)) => Err(Error::io(WHAT, &e)),
    }
}

/// Opens the data file for reading and writing.
pub(super) fn open_data(dir: &Path) -> Result<File> {
    options()
        .open(dir.join(DATA_FILE))
        .map_err(|e| match e.kind() {
            ErrorKind::NotFound => Error::integrity("the key file is here, its data file is not"),
            _ => Error::io("opening the data file; it must be writable", &e),
        })
}

/// Opens a file as it is.
pub(super) fn open_named(path: &Path) -> Result<File> {
    options()
        .open(path)
        .map_err(|e| Error::io("opening a file of the vault", &e))
}

/// An empty file under the name it has until [`rename_new`].
pub(super) fn create_new(dir: &Path, name: &str) -> Result<File> {
    options()
        .create(true)
        .truncate(true)
        .open(new_path(dir, name))
        .map_err(|e| Error::io("making a file in the vault's folder", &e))
}

/// Writes and syncs a file under its temporary name.
pub(super) fn write_new(dir: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let mut file = create_new(dir, name)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(|e| Error::io("writing a file of the vault", &e))
}

/// Gives a whole, synced file its name, replacing what had it. Durable when it returns.
pub(super) fn rename_new(dir: &Path, name: &str) -> Result<()> {
    fs::rename(new_path(dir, name), dir.join(name))
        .and_then(|()| sync_dir(dir))
        .map_err(|e| Error::io("naming a file of the vault", &e))
}

/// Removes what a crash left half-made. The vault's lock is held, so nobody is making it now.
pub(super) fn remove_leftovers(dir: &Path) {
    for name in [DATA_FILE, KEY_FILE, TRIES_FILE] {
        // Mostly there is nothing, and what cannot be removed does no harm.
        fs::remove_file(new_path(dir, name)).ok();
    }
}

/// Removes a file that is of no use any more; one that stays does no harm.
pub(super) fn remove(dir: &Path, name: &str) {
    fs::remove_file(dir.join(name)).ok();
}

/// Reads a whole file of at most `max` bytes. `None` if there is none.
pub(super) fn read_limited(dir: &Path, name: &str, max: usize) -> Result<Option<Vec<u8>>> {
    const WHAT: &str = "reading a file of the vault";
    let file = match File::open(dir.join(name)) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(WHAT, &e)),
    };
    let mut bytes = Vec::new();
    // One byte more than allowed, so that the parser sees that it is too long.
    file.take(max as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Error::io(WHAT, &e))?;
    Ok(Some(bytes))
}

/// Makes the names of files that were made until now durable.
pub(super) fn sync_names(dir: &Path) -> Result<()> {
    sync_dir(dir).map_err(|e| Error::io("naming a file of the vault", &e))
}

/// A rename is durable once its folder is.
fn sync_dir(dir: &Path) -> std::io::Result<()> {
    // Windows has no such call; NTFS journals the rename.
    if cfg!(unix) {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}
