//! Where a vault's files lie: a folder of the system or, in tests, one that loses power.

use crate::error::{Error, Result};
use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use std::any::Any;
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

type Locked<T> = std::result::Result<T, BackendError>;

/// A folder of files. Names and contents become durable apart: a file's bytes when it is synced,
/// its name when the folder is.
pub(crate) trait Place: fmt::Debug + Send + Sync {
    /// Makes the folder, for its owner only.
    fn make(&self) -> io::Result<()>;
    /// Keeps other processes out for as long as the answer lives; `Error::Busy` if one is in.
    fn lock(&self, name: &str) -> Result<Lock>;
    /// An empty file of this name, in place of one that has it.
    fn create(&self, name: &str) -> io::Result<Box<dyn NewFile>>;
    /// Opens a file for use at any offset.
    fn open(&self, name: &str) -> Result<Opened>;
    /// Reads a file from its beginning.
    fn read(&self, name: &str) -> io::Result<Box<dyn Read>>;
    /// Gives a file another name, in place of one that has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// The names in the folder.
    fn names(&self) -> io::Result<Vec<String>>;
    /// Makes names durable as they are.
    fn sync_names(&self) -> io::Result<()>;
}

/// A place that several hold.
pub(crate) type SharedPlace = Arc<dyn Place>;
/// A held lock.
pub(crate) type Lock = Arc<dyn Any + Send + Sync>;

/// A file that is being written from its beginning.
pub(crate) trait NewFile: Write {
    /// Makes its bytes durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file in use at any offset.
#[derive(Debug)]
pub(crate) struct Opened(pub(crate) Box<dyn StorageBackend>);

impl StorageBackend for Opened {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }

    fn try_lock_range(&self, s: Bound<u64>, e: Bound<u64>) -> Locked<bool> {
        self.0.try_lock_range(s, e)
    }

    fn try_lock_shared_range(&self, s: Bound<u64>, e: Bound<u64>) -> Locked<bool> {
        self.0.try_lock_shared_range(s, e)
    }

    fn lock_range(&self, s: Bound<u64>, e: Bound<u64>) -> Locked<()> {
        self.0.lock_range(s, e)
    }

    fn lock_shared_range(&self, s: Bound<u64>, e: Bound<u64>) -> Locked<()> {
        self.0.lock_shared_range(s, e)
    }

    fn unlock_range(&self, s: Bound<u64>, e: Bound<u64>) -> Locked<()> {
        self.0.unlock_range(s, e)
    }

    fn query_lock_range(&self, s: Bound<u64>, e: Bound<u64>) -> Locked<bool> {
        self.0.query_lock_range(s, e)
    }
}

/// A folder of the system.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// The folder of this path, which need not be there yet.
    pub(crate) fn shared(dir: &Path) -> SharedPlace {
        Arc::new(Self(dir.to_owned()))
    }
}

impl NewFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
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

impl Place for Folder {
    fn make(&self) -> io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::DirBuilderExt as _;
            builder.mode(0o700);
        }
        builder.create(&self.0)
    }

    fn lock(&self, name: &str) -> Result<Lock> {
        const WHAT: &str = "locking the vault; its folder must be writable";
        let file = options()
            .create(true)
            .truncate(false)
            .open(self.0.join(name))
            .map_err(|e| match e.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory => Error::NotFound("vault"),
                _ => Error::io(WHAT, &e),
            })?;
        match file.try_lock() {
            Ok(()) => Ok(Arc::new(file)),
            Err(TryLockError::WouldBlock) => Err(Error::Busy),
            Err(TryLockError::Error(e)) => Err(Error::io(WHAT, &e)),
        }
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn NewFile>> {
        let file = options()
            .create(true)
            .truncate(true)
            .open(self.0.join(name));
        Ok(Box::new(file?))
    }

    fn open(&self, name: &str) -> Result<Opened> {
        let file = options().open(self.0.join(name));
        let file = file.map_err(|e| match e.kind() {
            ErrorKind::NotFound => Error::NotFound("file of the vault"),
            _ => Error::io("opening a file of the vault; it must be writable", &e),
        })?;
        let backend = FileBackend::new(file);
        let backend = backend.map_err(|e| super::from_redb("opening the data file", e))?;
        Ok(Opened(Box::new(backend)))
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read>> {
        Ok(Box::new(File::open(self.0.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.0)?.map(|entry| entry.map(|entry| entry.file_name()));
        let names: Vec<_> = names.collect::<io::Result<_>>()?;
        // What is no UTF-8 is none of ours.
        Ok(names
            .into_iter()
            .filter_map(|name| name.into_string().ok())
            .collect())
    }

    fn sync_names(&self) -> io::Result<()> {
        // Windows has no such call; NTFS journals the rename.
        if cfg!(unix) {
            File::open(&self.0)?.sync_all()?;
        }
        Ok(())
    }
}
