//! Files named on the command line: small ones read whole, results written whole or not at all.

use crate::exit::{Done, FAILED, Failure};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

/// The text of a small file, or of standard input for `-`.
pub(super) fn read(path: &Path, bytes_max: u64) -> Done<String> {
    let told = |why: String| {
        let error = format!("{}: {why}", path.display());
        Failure::new(
            FAILED,
            error,
            "name a readable text file, or - for standard input",
        )
    };
    let unreadable = |error: io::Error| told(format!("cannot be read ({:?})", error.kind()));
    let input: Box<dyn Read> = match path.to_str() {
        Some("-") => Box::new(io::stdin().lock()),
        _ => Box::new(File::open(path).map_err(unreadable)?),
    };
    let mut text = String::new();
    input
        .take(bytes_max.saturating_add(1))
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if u64::try_from(text.len()).is_ok_and(|len| len > bytes_max) {
        return Err(told(format!("larger than {} KiB", bytes_max / 1024)));
    }
    Ok(text)
}

/// Writes to standard output, or to a file that appears when all of it is written.
pub(super) fn write<T>(out: Option<&Path>, job: impl FnOnce(&mut dyn Write) -> Done<T>) -> Done<T> {
    let Some(path) = out else {
        let mut stdout = BufWriter::new(io::stdout().lock());
        let done = job(&mut stdout)?;
        stdout.flush()?;
        return Ok(done);
    };
    let failed = |error: io::Error| {
        let error = format!("{}: cannot be written ({:?})", path.display(), error.kind());
        Failure::new(FAILED, error, "name a file in a folder you may write to")
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    let done = {
        let mut buffered = BufWriter::new(&mut file);
        let done = job(&mut buffered)?;
        buffered.flush().map_err(failed)?;
        done
    };
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(done)
}
