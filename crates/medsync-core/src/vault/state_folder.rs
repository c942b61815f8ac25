//! An anchor where there is no key store: a small file for each vault, in a folder of its own.
//!
//! It notices what happens by accident: a backup put back, a disk cloned, a folder copied. Whoever
//! can write to this folder too can put both back; that takes a key store.

use crate::ids::hex;
use crate::vault::anchor::Anchor;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// Two slots take turns, so that a torn write leaves the one before.
const SLOT_BYTES: usize = 4096;
/// Number, length and check of a slot.
const HEAD_BYTES: usize = 8 + 4 + 32;

/// A folder that remembers vaults. It must not lie in a vault's own folder, nor be backed up or
/// copied with it.
#[derive(Debug, Clone)]
pub struct StateFolder {
    dir: PathBuf,
}

impl StateFolder {
    /// Remembers vaults in this folder, which is made at first need.
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
        }
    }

    fn path(&self, vault: &[u8; 16]) -> PathBuf {
        self.dir.join(format!("{}.anchor", hex(vault)))
    }

    fn open(&self, vault: &[u8; 16], make: bool) -> io::Result<File> {
        if make {
            make_dir(&self.dir)?;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(make).truncate(false);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        options.open(self.path(vault))
    }
}

fn make_dir(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(dir)
}

impl Anchor for StateFolder {
    fn load(&self, vault: &[u8; 16]) -> io::Result<Option<Vec<u8>>> {
        match self.open(vault, false) {
            Ok(mut file) => match newest(&mut file)? {
                Some((_, bytes)) => Ok(Some(bytes)),
                None => Err(ErrorKind::InvalidData.into()),
            },
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn store(&self, vault: &[u8; 16], bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > SLOT_BYTES - HEAD_BYTES {
            return Err(ErrorKind::InvalidInput.into());
        }
        let mut file = self.open(vault, true)?;
        // What is damaged is written over: it would be of no use to anybody.
        let number = newest(&mut file)?.map_or(1, |(number, _)| number.saturating_add(1));
        let mut slot = Vec::with_capacity(SLOT_BYTES);
        slot.extend(number.to_le_bytes());
        slot.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        slot.extend(check(number, bytes));
        slot.extend(bytes);
        slot.resize(SLOT_BYTES, 0);
        file.seek(SeekFrom::Start((number % 2) * SLOT_BYTES as u64))?;
        file.write_all(&slot)
    }

    fn settle(&self, vault: &[u8; 16]) -> io::Result<()> {
        match self.open(vault, false) {
            Ok(file) => file.sync_all()?,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        }
        if cfg!(unix) {
            File::open(&self.dir)?.sync_all()?;
        }
        Ok(())
    }
}

fn check(number: u64, bytes: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("medsync v1 state file");
    hasher.update(&number.to_le_bytes()).update(bytes);
    *hasher.finalize().as_bytes()
}

/// The slot that is whole and has the higher number.
fn newest(file: &mut File) -> io::Result<Option<(u64, Vec<u8>)>> {
    let mut whole = Vec::with_capacity(2 * SLOT_BYTES);
    file.seek(SeekFrom::Start(0))?;
    file.take(2 * SLOT_BYTES as u64).read_to_end(&mut whole)?;
    let slots = whole.chunks(SLOT_BYTES).filter_map(slot);
    Ok(slots.max_by_key(|(number, _)| *number))
}

fn slot(slot: &[u8]) -> Option<(u64, Vec<u8>)> {
    let (number, rest) = slot.split_first_chunk::<8>()?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let (hash, rest) = rest.split_first_chunk::<32>()?;
    let number = u64::from_le_bytes(*number);
    let bytes = rest.get(..usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
    (check(number, bytes) == *hash).then(|| (number, bytes.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VAULT: [u8; 16] = [3; 16];

    #[test]
    fn the_last_word_is_remembered_and_a_torn_one_leaves_the_one_before() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = StateFolder::new(&home.path().join("below/state"));
        assert_eq!(folder.load(&VAULT).expect("loads"), None);
        folder.settle(&VAULT).expect("nothing to settle");
        for word in [&b"one"[..], b"two", b"", b"four"] {
            folder.store(&VAULT, word).expect("stores");
            folder.settle(&VAULT).expect("settles");
            assert_eq!(folder.load(&VAULT).expect("loads").as_deref(), Some(word));
        }
        assert_eq!(folder.load(&[4; 16]).expect("loads"), None);
        // The fourth stands in the first slot.
        let path = folder.path(&VAULT);
        let whole = fs::read(&path).expect("a file");
        for at in [0, 9, 13, HEAD_BYTES + 1] {
            let mut torn = whole.clone();
            torn[at] ^= 1;
            fs::write(&path, &torn).expect("writes");
            let left = folder.load(&VAULT).expect("loads");
            assert_eq!(left.as_deref(), Some(&b""[..]), "byte {at}");
            torn[SLOT_BYTES] ^= 1;
            fs::write(&path, &torn).expect("writes");
            assert!(folder.load(&VAULT).is_err());
            folder.store(&VAULT, b"again").expect("stores");
            let again = folder.load(&VAULT).expect("loads");
            assert_eq!(again.as_deref(), Some(&b"again"[..]));
        }
        let long = vec![0; SLOT_BYTES];
        assert!(folder.store(&VAULT, &long).is_err());
    }
}
