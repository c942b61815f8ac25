//! Files of a vault: made under another name, synced, renamed, and the folder synced.

use super::place::{NewFile, Opened, Place};
use crate::error::{Error, Result};
use std::io::{ErrorKind, Read as _};

/// The encrypted data.
pub const DATA_FILE: &str = "vault.db";
/// The wrapped keys.
pub const KEY_FILE: &str = "vault.keys";
/// How often a wrong passphrase was tried since the last right one.
pub const TRIES_FILE: &str = "vault.tries";
/// Locked while a process has the vault open; its content does not matter.
pub const LOCK_FILE: &str = "vault.lock";

/// The name a file has until it is whole.
pub(super) fn new_name(name: &str) -> String {
    format!("{name}.new")
}

/// Opens the data file for reading and writing.
pub(super) fn open_data(place: &dyn Place) -> Result<Opened> {
    place.open(DATA_FILE).map_err(|e| match e {
        Error::NotFound(_) => Error::integrity("the key file is here, its data file is not"),
        other => other,
    })
}

/// An empty file under the name it has until [`rename_new`].
pub(super) fn create_new(place: &dyn Place, name: &str) -> Result<Box<dyn NewFile>> {
    place
        .create(&new_name(name))
        .map_err(|e| Error::io("making a file in the vault's folder", &e))
}

/// Writes and syncs a file under its temporary name.
pub(super) fn write_new(place: &dyn Place, name: &str, bytes: &[u8]) -> Result<()> {
    let mut file = create_new(place, name)?;
    file.write_all(bytes)
        .and_then(|()| file.sync())
        .map_err(|e| Error::io("writing a file of the vault", &e))
}

/// Gives a whole, synced file its name, replacing what had it. Durable when it returns.
pub(super) fn rename_new(place: &dyn Place, name: &str) -> Result<()> {
    place
        .rename(&new_name(name), name)
        .and_then(|()| place.sync_names())
        .map_err(|e| Error::io("naming a file of the vault", &e))
}

/// Removes what a crash left half-made. The vault's lock is held, so nobody is making it now.
pub(super) fn remove_leftovers(place: &dyn Place) {
    for name in [DATA_FILE, KEY_FILE, TRIES_FILE] {
        // Mostly there is nothing, and what cannot be removed does no harm.
        place.remove(&new_name(name)).ok();
    }
}

/// Removes a file that is of no use any more; one that stays does no harm.
pub(super) fn remove(place: &dyn Place, name: &str) {
    place.remove(name).ok();
}

/// Whether there is a file of this name; one that cannot be read is there.
pub(super) fn exists(place: &dyn Place, name: &str) -> bool {
    !matches!(place.read(name), Err(e) if e.kind() == ErrorKind::NotFound)
}

/// Reads a whole file of at most `max` bytes. `None` if there is none.
pub(super) fn read_limited(place: &dyn Place, name: &str, max: usize) -> Result<Option<Vec<u8>>> {
    const WHAT: &str = "reading a file of the vault";
    let file = match place.read(name) {
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
pub(super) fn sync_names(place: &dyn Place) -> Result<()> {
    place
        .sync_names()
        .map_err(|e| Error::io("naming a file of the vault", &e))
}
