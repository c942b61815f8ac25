//! Encrypts and authenticates every page that redb writes: a backend over any other backend.
//!
//! ```text
//! preamble, clear   4096  magic, format, suite, file id
//! header slot A     8192  sequence number | nonce | tag | block 0
//! header slot B     8192  the same
//! journal           as long as the preamble says; see [`super::journal`]
//! block 1..         4136  block | nonce | tag
//! ```
//!
//! redb makes its file twice as long whenever it is full. Here a length is only noted, with the next
//! header, and the file ends with the last block that was ever written.
//!
//! redb never writes over a page that a committed state needs, so a torn page costs nothing; its
//! header in block 0 is the exception, and therefore has two slots. A write goes to the slot that
//! is not known to be on the disk: whatever the power does to it, the other one still opens.

use super::fail::from_io;
use super::journal::{Area, Blocks};
use crate::crypto::{NONCE_LEN, PageAead, Secret, Suite, TAG_LEN};
use crate::env::SharedEnv;
use crate::error::{Error, Result};
use redb::{BackendError, StorageBackend};
use std::io::{self, ErrorKind};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Plain bytes of a block: redb's page size.
const BLOCK: usize = 4096;
/// What a block takes in the file.
const STRIDE: usize = BLOCK + NONCE_LEN + TAG_LEN;

const MAGIC: &[u8; 8] = b"MEDSYNC\0";
/// Without a journal.
const FORMAT_1: u32 = 1;
const FORMAT: u32 = 2;
/// Most that a preamble may ask for: it is read and checked as a whole when a file is opened.
const JOURNAL_MAX: u32 = 64 << 20;
const PREAMBLE: usize = 4096;
const SLOT_SPACE: u64 = 8192;
/// What a header slot uses of its space.
const SLOT: usize = 8 + NONCE_LEN + TAG_LEN + BLOCK;
/// Where the journal starts, or block 1 in a file without one.
const JOURNAL: u64 = PREAMBLE as u64 + 2 * SLOT_SPACE;

/// Sealed bytes that are read without memory of their own.
const SCRATCH_MAX: usize = 64 << 10;

const AAD_LEN: usize = 16 + 8 + 8 + 1;

/// The newest header block and where it stands.
#[derive(Debug)]
struct Head {
    seq: u64,
    block: Box<[u8; BLOCK]>,
    /// The slot whose header is on the disk for sure.
    durable_slot: u64,
    /// Whether the other slot was written since the last sync.
    pending: bool,
}

/// Where in block 0 the length stands: redb's header ends long before.
const LENGTH_AT: usize = BLOCK - 8;

impl Head {
    /// The file's length as redb knew it when this header was written; 0 if nobody noted it.
    fn noted_len(&self) -> u64 {
        let noted = self.block.last_chunk::<8>();
        noted.map_or(0, |noted| u64::from_le_bytes(*noted))
    }

    fn note_len(&mut self, len: u64) {
        self.block[LENGTH_AT..].copy_from_slice(&len.to_le_bytes());
    }
}

/// How long the file is to redb, and in fact.
#[derive(Debug, Default)]
struct Lengths {
    /// In plain bytes.
    logical: u64,
    physical: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct PageCipher<B: StorageBackend> {
    inner: B,
    lengths: Mutex<Lengths>,
    env: SharedEnv,
    aead: PageAead,
    suite: Suite,
    file_id: [u8; 16],
    journal_len: u32,
    head: Mutex<Head>,
    /// Blocks that were read since the file was opened, a bit each, while anybody counts them.
    counted: Mutex<Option<Vec<u64>>>,
    /// Blocks in use when it was opened.
    used: AtomicU64,
    /// Sealed blocks on their way in.
    scratch: Mutex<Vec<u8>>,
    /// After a failed sync the system may have dropped the writes and say yes to the next one.
    sync_failed: AtomicBool,
}

/// The data file's id, from the first 32 bytes of its preamble, if they are one.
pub(super) fn preamble_id(head: &[u8; 32]) -> Option<[u8; 16]> {
    let magic = head.first_chunk::<8>() == Some(MAGIC);
    magic.then(|| head.last_chunk::<16>().copied()).flatten()
}

impl<B: StorageBackend> PageCipher<B> {
    /// Lays out an empty backend, with a journal of that many bytes, rounded up to whole blocks.
    pub(super) fn create(
        inner: B,
        env: SharedEnv,
        suite: Suite,
        key: &Secret<32>,
        file_id: [u8; 16],
        journal_len: u32,
    ) -> Result<Self> {
        const WHAT: &str = "creating the data file";
        let mut cipher = Self::new(inner, env, suite, key, file_id);
        cipher.journal_len = journal_len.min(JOURNAL_MAX).next_multiple_of(BLOCK as u32);
        let io = |e: io::Error| from_io(WHAT, &e);
        if cipher.inner.len().map_err(io)? != 0 {
            return Err(Error::invalid("a new data file must be empty"));
        }
        cipher.inner.set_len(cipher.base()).map_err(io)?;
        cipher.lengths().map_err(io)?.physical = cipher.base();
        cipher.inner.write(0, &cipher.preamble()).map_err(io)?;
        // Written rather than left a hole: a sync of the journal then has no space to find.
        let zeros = [0; 16 * BLOCK];
        for at in (0..cipher.journal_len).step_by(zeros.len()) {
            let len = zeros.len().min((cipher.journal_len - at) as usize);
            let at = JOURNAL + u64::from(at);
            cipher.inner.write(at, &zeros[..len]).map_err(io)?;
        }
        cipher.inner.sync_data().map_err(io)?;
        Ok(cipher)
    }

    /// Reads the preamble and the newest header that opens.
    pub(super) fn open(
        inner: B,
        env: SharedEnv,
        suite: Suite,
        key: &Secret<32>,
        file_id: [u8; 16],
    ) -> Result<Self> {
        const WHAT: &str = "reading the data file";
        let mut cipher = Self::new(inner, env, suite, key, file_id);
        let io = |e: io::Error| from_io(WHAT, &e);
        let len = cipher.inner.len().map_err(io)?;
        if len <= JOURNAL {
            return Err(Error::integrity("the data file is cut short"));
        }
        let mut preamble = [0; PREAMBLE];
        cipher.inner.read(0, &mut preamble).map_err(io)?;
        cipher.take_preamble(&preamble)?;
        if len < cipher.base() {
            return Err(Error::integrity("the data file is cut short"));
        }
        for slot in 0..2 {
            cipher.read_slot(slot).map_err(io)?;
        }
        if cipher.head().map_err(io)?.seq == 0 {
            return Err(Error::integrity("no header of the data file verifies"));
        }
        let noted = cipher.head().map_err(io)?.noted_len();
        let logical = match noted {
            0 => cipher.plain_len(len),
            noted => noted,
        };
        *cipher.lengths().map_err(io)? = Lengths {
            logical,
            physical: len,
        };
        // A process that died may have left the header it wrote last in the system's cache only.
        // The next write goes to the other slot, so this one has to be on the disk first.
        cipher.inner.sync_data().map_err(io)?;
        Ok(cipher)
    }

    fn new(inner: B, env: SharedEnv, suite: Suite, key: &Secret<32>, file_id: [u8; 16]) -> Self {
        let head = Head {
            seq: 0,
            block: Box::new([0; BLOCK]),
            durable_slot: 0,
            pending: false,
        };
        Self {
            inner,
            lengths: Mutex::default(),
            env,
            aead: PageAead::new(suite, key.expose()),
            suite,
            file_id,
            journal_len: 0,
            head: Mutex::new(head),
            counted: Mutex::default(),
            used: AtomicU64::new(0),
            scratch: Mutex::default(),
            sync_failed: AtomicBool::new(false),
        }
    }

    /// Whether the file has one.
    pub(super) const fn has_journal(&self) -> bool {
        self.journal_len > 0
    }

    /// Where block 1 starts.
    fn base(&self) -> u64 {
        JOURNAL + u64::from(self.journal_len)
    }

    fn block_at(&self, block: u64) -> io::Result<u64> {
        let at = block
            .checked_sub(1)
            .and_then(|block| block.checked_mul(STRIDE as u64))
            .and_then(|at| at.checked_add(self.base()));
        at.ok_or_else(|| misuse("a block beyond any file"))
    }

    fn preamble(&self) -> [u8; PREAMBLE] {
        let mut out = [0; PREAMBLE];
        out[..8].copy_from_slice(MAGIC);
        let format = if self.journal_len == 0 {
            FORMAT_1
        } else {
            FORMAT
        };
        out[8..12].copy_from_slice(&format.to_le_bytes());
        out[12] = self.suite.number();
        out[16..32].copy_from_slice(&self.file_id);
        out[32..36].copy_from_slice(&self.journal_len.to_le_bytes());
        out
    }

    fn take_preamble(&mut self, found: &[u8; PREAMBLE]) -> Result<()> {
        if !found.starts_with(MAGIC) {
            return Err(Error::integrity("this is not a medsync data file"));
        }
        let format = u32::from_le_bytes([found[8], found[9], found[10], found[11]]);
        if format > FORMAT {
            return Err(Error::TooNew {
                what: "the data file",
                found: format,
                known: FORMAT,
            });
        }
        if found[16..32] != self.file_id {
            return Err(Error::integrity(
                "the data file and the key file belong to different vaults",
            ));
        }
        let journal_len = u32::from_le_bytes([found[32], found[33], found[34], found[35]]);
        if journal_len <= JOURNAL_MAX && journal_len.is_multiple_of(BLOCK as u32) {
            self.journal_len = journal_len;
        }
        // Suite and reserved bytes: the key file says what they are. A length that was changed
        // moves every block and the journal to places where nothing verifies.
        if *found != self.preamble() {
            return Err(Error::integrity("the data file's preamble was changed"));
        }
        Ok(())
    }

    fn head(&self) -> io::Result<MutexGuard<'_, Head>> {
        self.head
            .lock()
            .map_err(|_| io::Error::other("a thread panicked while it wrote the header"))
    }

    fn lengths(&self) -> io::Result<MutexGuard<'_, Lengths>> {
        self.lengths
            .lock()
            .map_err(|_| io::Error::other("a thread panicked while it changed a length"))
    }

    /// How many plain bytes are in a file of that length. A block that a crash cut short does not
    /// count: nothing committed is in it.
    fn plain_len(&self, physical: u64) -> u64 {
        match physical.checked_sub(self.base()) {
            None | Some(0) => 0,
            Some(blocks) => (blocks / STRIDE as u64 + 1) * BLOCK as u64,
        }
    }

    /// Starts to count the blocks in use: opening reads each of them.
    pub(super) fn count_used(&self) {
        *self.counted() = Some(Vec::new());
    }

    /// Ends the count.
    pub(super) fn counted_used(&self) {
        let blocks = self.counted().take().unwrap_or_default();
        let used = blocks.iter().map(|bits| u64::from(bits.count_ones())).sum();
        self.used.store(used, Ordering::Relaxed);
    }

    fn counted(&self) -> MutexGuard<'_, Option<Vec<u64>>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, first: u64, blocks: usize) {
        if let Some(counted) = &mut *self.counted() {
            for block in (first..).take(blocks) {
                let word = usize::try_from(block / 64).unwrap_or(usize::MAX);
                if counted.len() <= word {
                    counted.resize(word + 1, 0);
                }
                counted[word] |= 1 << (block % 64);
            }
        }
    }

    /// Block 0 has a sequence number, so that its two slots cannot be passed off for each other.
    fn aad(&self, block: u64, seq: u64) -> [u8; AAD_LEN] {
        let mut aad = [0; AAD_LEN];
        aad[..16].copy_from_slice(&self.file_id);
        aad[16..24].copy_from_slice(&block.to_le_bytes());
        aad[24..32].copy_from_slice(&seq.to_le_bytes());
        aad[32] = self.suite.number();
        aad
    }

    /// Takes over a slot's header if it opens and is newer. A torn slot is expected after a crash.
    fn read_slot(&self, slot: u64) -> io::Result<()> {
        let mut raw = [0; SLOT];
        self.inner.read(slot_at(slot), &mut raw)?;
        let (seq, rest) = raw.split_at(8);
        let seq = seq.try_into().map_or(0, u64::from_le_bytes);
        let (nonce, rest) = rest.split_at(NONCE_LEN);
        let (tag, ciphertext) = rest.split_at(TAG_LEN);
        let mut block = Box::new([0; BLOCK]);
        let mut head = self.head()?;
        if seq > head.seq && self.open_block(0, seq, nonce, tag, ciphertext, &mut *block) {
            head.seq = seq;
            head.block = block;
            head.durable_slot = slot;
        }
        Ok(())
    }

    fn write_head(&self, offset: usize, data: &[u8]) -> io::Result<()> {
        let end = offset
            .checked_add(data.len())
            .filter(|end| *end <= LENGTH_AT);
        let end = end.ok_or_else(|| misuse("a write across the header's end"))?;
        let len = self.lengths()?.logical;
        let mut head = self.head()?;
        head.block[offset..end].copy_from_slice(data);
        // Not what redb's header says: that may name a shorter file while the older of its two
        // states, which counts until the next header, still has pages in the longer one.
        if self.has_journal() {
            head.note_len(len);
        }
        head.seq += 1;
        let mut raw = [0; SLOT];
        raw[..8].copy_from_slice(&head.seq.to_le_bytes());
        let (nonce, rest) = raw[8..].split_at_mut(NONCE_LEN);
        let (tag, block) = rest.split_at_mut(TAG_LEN);
        self.env.fill(nonce);
        block.copy_from_slice(&*head.block);
        self.seal_block(0, head.seq, nonce, tag, block);
        head.pending = true;
        self.inner.write(slot_at(1 - head.durable_slot), &raw)
    }

    fn seal_block(&self, block: u64, seq: u64, nonce: &[u8], tag: &mut [u8], data: &mut [u8]) {
        let nonce = nonce.try_into().expect("callers split off NONCE_LEN bytes");
        tag.copy_from_slice(&self.aead.seal(nonce, &self.aad(block, seq), data));
    }

    fn open_block(
        &self,
        block: u64,
        seq: u64,
        nonce: &[u8],
        tag: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> bool {
        let (Ok(nonce), Ok(tag)) = (nonce.try_into(), tag.try_into()) else {
            return false;
        };
        self.aead
            .open(nonce, &self.aad(block, seq), ciphertext, tag, out)
    }

    /// Reads whole blocks, the first of which is not block 0.
    fn read_blocks(&self, first: u64, out: &mut [u8]) -> io::Result<()> {
        let len = out.len() / BLOCK * STRIDE;
        // One reader at a time spares itself the memory; opening reads every page.
        let (mut own, mut shared) = (Vec::new(), self.scratch.try_lock());
        let raw = match &mut shared {
            Ok(shared) if len <= SCRATCH_MAX => &mut **shared,
            _ => &mut own,
        };
        if raw.len() < len {
            raw.resize(len, 0);
        }
        let raw = &mut raw[..len];
        self.inner.read(self.block_at(first)?, raw)?;
        self.count(first, out.len() / BLOCK);
        let blocks = out.chunks_exact_mut(BLOCK).zip(raw.chunks_exact(STRIDE));
        for (number, (out, raw)) in (first..).zip(blocks) {
            let (ciphertext, rest) = raw.split_at(BLOCK);
            let (nonce, tag) = rest.split_at(NONCE_LEN);
            if !self.open_block(number, 0, nonce, tag, ciphertext, out) {
                let what = "a page of the data file does not verify";
                return Err(io::Error::new(ErrorKind::InvalidData, what));
            }
        }
        Ok(())
    }

    fn write_blocks(&self, first: u64, data: &[u8]) -> io::Result<()> {
        let mut raw = vec![0; data.len() / BLOCK * STRIDE];
        let blocks = data.chunks_exact(BLOCK).zip(raw.chunks_exact_mut(STRIDE));
        for (number, (data, raw)) in (first..).zip(blocks) {
            let (block, rest) = raw.split_at_mut(BLOCK);
            let (nonce, tag) = rest.split_at_mut(NONCE_LEN);
            block.copy_from_slice(data);
            self.env.fill(nonce);
            self.seal_block(number, 0, nonce, tag, block);
        }
        let at = self.block_at(first)?;
        let end = at + raw.len() as u64;
        let mut lengths = self.lengths()?;
        if end > lengths.physical {
            self.inner.set_len(end)?;
            lengths.physical = end;
        }
        drop(lengths);
        self.inner.write(at, &raw)
    }

    fn check_sync(&self) -> io::Result<()> {
        if self.sync_failed.load(Ordering::Acquire) {
            return Err(io::Error::other("an earlier sync failed"));
        }
        Ok(())
    }
}

fn misuse(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, what)
}

const fn slot_at(slot: u64) -> u64 {
    PREAMBLE as u64 + slot * SLOT_SPACE
}

impl<B: StorageBackend> Area for PageCipher<B> {
    fn area_len(&self) -> u64 {
        u64::from(self.journal_len)
    }

    fn area_read(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(JOURNAL + at, out)
    }

    fn area_write(&self, at: u64, data: &[u8]) -> io::Result<()> {
        self.check_sync()?;
        let end = at.checked_add(data.len() as u64);
        if end.is_none_or(|end| end > u64::from(self.journal_len)) {
            return Err(misuse("a write beyond the journal"));
        }
        self.inner.write(JOURNAL + at, data)
    }

    fn area_sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn blocks(&self) -> Blocks {
        let physical = self.lengths().map_or(0, |lengths| lengths.physical);
        Blocks {
            used: self.used.load(Ordering::Relaxed),
            all: self.plain_len(physical) / BLOCK as u64,
        }
    }
}

impl<B: StorageBackend> StorageBackend for PageCipher<B> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lengths()?.logical)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (mut offset, mut out) = (offset, out);
        while !out.is_empty() {
            let block = offset / BLOCK as u64;
            let within = (offset % BLOCK as u64) as usize;
            let whole = block != 0 && within == 0 && out.len() >= BLOCK;
            let len = if whole {
                out.len() / BLOCK * BLOCK
            } else {
                out.len().min(BLOCK - within)
            };
            let (now, later) = out.split_at_mut(len);
            if block == 0 {
                now.copy_from_slice(&self.head()?.block[within..within + len]);
            } else if whole {
                self.read_blocks(block, now)?;
            } else {
                let mut page = [0; BLOCK];
                self.read_blocks(block, &mut page)?;
                now.copy_from_slice(&page[within..within + len]);
            }
            offset += len as u64;
            out = later;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_sync()?;
        if len == 0 || !len.is_multiple_of(BLOCK as u64) {
            return Err(misuse("a length that is not whole blocks"));
        }
        let end = self.block_at(len / BLOCK as u64)?;
        let mut lengths = self.lengths()?;
        if end < lengths.physical || !self.has_journal() {
            self.inner.set_len(end)?;
            lengths.physical = end;
        }
        lengths.logical = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check_sync()?;
        // Held throughout: a header written meanwhile would count as synced.
        let mut head = self.head()?;
        if let Err(error) = self.inner.sync_data() {
            self.sync_failed.store(true, Ordering::Release);
            return Err(error);
        }
        if std::mem::take(&mut head.pending) {
            head.durable_slot = 1 - head.durable_slot;
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check_sync()?;
        if offset < BLOCK as u64 {
            return self.write_head(offset as usize, data);
        }
        if !offset.is_multiple_of(BLOCK as u64) || !data.len().is_multiple_of(BLOCK) {
            return Err(misuse("a write of something else than whole blocks"));
        }
        self.write_blocks(offset / BLOCK as u64, data)
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    // Ranges are names that redb agrees on with itself, not places: they pass as they are.

    fn try_lock_range(&self, s: Bound<u64>, e: Bound<u64>) -> Locked<bool> {
        self.inner.try_lock_range(s, e)
    }

    fn try_lock_shared_range(&self, s: Bound<u64>, e: Bound<u64>) -> Locked<bool> {
        self.inner.try_lock_shared_range(s, e)
    }

    fn lock_range(&self, s: Bound<u64>, e: Bound<u64>) -> Locked<()> {
        self.inner.lock_range(s, e)
    }

    fn lock_shared_range(&self, s: Bound<u64>, e: Bound<u64>) -> Locked<()> {
        self.inner.lock_shared_range(s, e)
    }

    fn unlock_range(&self, s: Bound<u64>, e: Bound<u64>) -> Locked<()> {
        self.inner.unlock_range(s, e)
    }

    fn query_lock_range(&self, s: Bound<u64>, e: Bound<u64>) -> Locked<bool> {
        self.inner.query_lock_range(s, e)
    }
}

type Locked<T> = std::result::Result<T, BackendError>;

#[cfg(test)]
#[path = "page_cipher_tests.rs"]
mod tests;
