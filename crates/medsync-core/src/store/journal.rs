//! The journal: commits since the last checkpoint, each one sealed record that one sync makes
//! durable.
//!
//! A commit changes rows here and there in redb's tree, which costs some thirty page writes and two
//! syncs. Here it is one write in one place and one sync. A checkpoint brings the rows to the tree,
//! many commits at once, and gives the journal a new id, by which all its records are void.
//!
//! ```text
//! 8   index, from 0
//! 4   length of the ciphertext
//! 4   zero
//! 24  nonce
//! 16  tag
//! 16  mark: a MAC of the header alone
//! ..  ciphertext, then zeros to a multiple of 4096
//! ```
//!
//! A record is bound to the file, the journal's id, its index and the record before it. Each is
//! written only after the one before it was synced, so one that is broken is the torn end of
//! what was never acknowledged; unless a later one is there: then it was acknowledged, and its
//! damage is an error. That is what the marks are for: they are found without the record's body.

use super::fail::from_io;
use super::overlay::{Change, take_changes};
use crate::crypto::{NONCE_LEN, PageAead, Secret, Suite, TAG_LEN};
use crate::env::SharedEnv;
use crate::error::{Error, Result};
use std::fmt;
use std::io;
use std::sync::Arc;

/// Records start at multiples of this: no synced sector or page is written again.
const ALIGN: usize = 4096;
const MARK_LEN: usize = 16;
const MARK_AT: usize = 16 + NONCE_LEN + TAG_LEN;
const HEADER: usize = MARK_AT + MARK_LEN;
const AAD_LEN: usize = 16 + 16 + 8 + 4 + 1;

/// Where the journal stands.
pub(super) trait Area: Send + Sync {
    fn area_len(&self) -> u64;
    fn area_read(&self, at: u64, out: &mut [u8]) -> io::Result<()>;
    fn area_write(&self, at: u64, data: &[u8]) -> io::Result<()>;
    fn area_sync(&self) -> io::Result<()>;
    /// Of the file around it.
    fn blocks(&self) -> Blocks;
}

/// Blocks of a file.
#[derive(Clone, Copy)]
pub(super) struct Blocks {
    /// In use when it was opened.
    pub(super) used: u64,
    /// That it takes now.
    pub(super) all: u64,
}

/// What tells a checkpoint's journal from all others.
pub(super) type JournalId = [u8; 16];

/// See the module.
pub(super) struct Journal {
    area: Arc<dyn Area>,
    env: SharedEnv,
    aead: PageAead,
    marks: Secret<32>,
    suite: Suite,
    file_id: [u8; 16],
    id: JournalId,
    index: u64,
    /// The mark of the last record; zeros before the first.
    last: [u8; MARK_LEN],
    at: usize,
}

/// A record's header, as found or to be written.
struct Header {
    index: u64,
    len: u32,
    nonce: [u8; NONCE_LEN],
    tag: [u8; TAG_LEN],
    mark: [u8; MARK_LEN],
}

impl Journal {
    /// A journal over its area, which [`Self::restart`] has to give an id before it is used.
    pub(super) fn new(
        area: Arc<dyn Area>,
        env: SharedEnv,
        suite: Suite,
        page_key: &Secret<32>,
        file_id: [u8; 16],
    ) -> Self {
        let key = page_key.derive("medsync v1 journal");
        Self {
            area,
            env,
            aead: PageAead::new(suite, key.expose()),
            marks: page_key.derive("medsync v1 journal mark"),
            suite,
            file_id,
            id: [0; 16],
            index: 0,
            last: [0; MARK_LEN],
            at: 0,
        }
    }

    /// Whether a commit of that many bytes belongs in the journal at all. Writing a large one twice
    /// would cost more than it saves.
    pub(super) fn takes(&self, len: usize) -> bool {
        len <= self.len() / 4
    }

    /// Whether a record of that many bytes has room before the next checkpoint.
    pub(super) fn has_room(&self, len: usize) -> bool {
        let end = len
            .checked_add(HEADER)
            .and_then(|len| len.checked_next_multiple_of(ALIGN))
            .and_then(|len| len.checked_add(self.at));
        end.is_some_and(|end| end <= self.len())
    }

    /// Blocks of the file around it.
    pub(super) fn blocks(&self) -> Blocks {
        self.area.blocks()
    }

    /// How many bytes it has room for.
    pub(super) fn len(&self) -> usize {
        usize::try_from(self.area.area_len()).unwrap_or(usize::MAX)
    }

    /// Writes a record and syncs: durable when it returns. An error leaves the journal in no state
    /// to go on.
    pub(super) fn append(&mut self, plain: &[u8]) -> Result<()> {
        const WHAT: &str = "committing";
        let io = |e: io::Error| from_io(WHAT, &e);
        let len = u32::try_from(plain.len()).map_err(|_| io(io::ErrorKind::InvalidInput.into()))?;
        let mut raw = vec![0; (HEADER + plain.len()).next_multiple_of(ALIGN)];
        let (head, body) = raw.split_at_mut(HEADER);
        let body = &mut body[..plain.len()];
        body.copy_from_slice(plain);
        let mut nonce = [0; NONCE_LEN];
        self.env.fill(&mut nonce);
        let tag = self.aead.seal(&nonce, &self.aad(self.index, len), body);
        let mut header = Header {
            index: self.index,
            len,
            nonce,
            tag,
            mark: [0; MARK_LEN],
        };
        header.mark = self.mark(&header);
        header.put(head);
        self.area.area_write(self.at as u64, &raw).map_err(io)?;
        self.area.area_sync().map_err(io)?;
        self.advance(&header);
        Ok(())
    }

    /// Forgets all records: what they said is in the tree, together with the new id.
    pub(super) const fn restart(&mut self, id: JournalId) {
        self.id = id;
        self.index = 0;
        self.last = [0; MARK_LEN];
        self.at = 0;
    }

    /// Reads what was committed since the checkpoint, one call of `take` a record.
    pub(super) fn replay(&mut self, take: &mut dyn FnMut(Vec<Change>)) -> Result<()> {
        let mut area = vec![0; self.len()];
        let read = self.area.area_read(0, &mut area);
        read.map_err(|e| from_io("reading the journal", &e))?;
        let mut plain = Vec::new();
        while let Some(header) = self.record(&area, &mut plain) {
            take(take_changes(&plain)?);
            self.advance(&header);
        }
        self.check_rest(&area)
    }

    /// The next record, if it is whole.
    fn record(&self, area: &[u8], plain: &mut Vec<u8>) -> Option<Header> {
        let raw = area.get(self.at..)?;
        let header = Header::parse(raw)?;
        if header.index != self.index || self.mark(&header) != header.mark {
            return None;
        }
        let len = usize::try_from(header.len).ok()?;
        let body = raw.get(HEADER..HEADER.checked_add(len)?)?;
        plain.clear();
        plain.resize(len, 0);
        let aad = self.aad(header.index, header.len);
        self.aead
            .open(&header.nonce, &aad, body, &header.tag, plain)
            .then_some(header)
    }

    /// What stands after the last whole record is what was there before, or one record that was
    /// being written.
    fn check_rest(&self, area: &[u8]) -> Result<()> {
        for at in (self.at..area.len()).step_by(ALIGN) {
            let header = area.get(at..).and_then(Header::parse);
            let Some(header) = header.filter(|h| h.index >= self.index) else {
                continue;
            };
            let torn = at == self.at && header.index == self.index;
            if !torn && self.mark(&header) == header.mark {
                return Err(Error::integrity("a commit in the journal is damaged"));
            }
        }
        Ok(())
    }

    fn advance(&mut self, header: &Header) {
        self.index += 1;
        self.last = header.mark;
        let len = HEADER + header.len as usize;
        self.at += len.next_multiple_of(ALIGN);
    }

    fn place(&self, index: u64, len: u32) -> [u8; AAD_LEN] {
        let mut out = [0; AAD_LEN];
        out[..16].copy_from_slice(&self.file_id);
        out[16..32].copy_from_slice(&self.id);
        out[32..40].copy_from_slice(&index.to_le_bytes());
        out[40..44].copy_from_slice(&len.to_le_bytes());
        out[44] = self.suite.number();
        out
    }

    fn aad(&self, index: u64, len: u32) -> [u8; AAD_LEN + MARK_LEN] {
        let mut out = [0; AAD_LEN + MARK_LEN];
        out[..AAD_LEN].copy_from_slice(&self.place(index, len));
        out[AAD_LEN..].copy_from_slice(&self.last);
        out
    }

    fn mark(&self, header: &Header) -> [u8; MARK_LEN] {
        let mut mac = blake3::Hasher::new_keyed(self.marks.expose());
        mac.update(&self.place(header.index, header.len));
        mac.update(&header.nonce).update(&header.tag);
        let hash = mac.finalize();
        let mut out = [0; MARK_LEN];
        out.copy_from_slice(&hash.as_bytes()[..MARK_LEN]);
        out
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Journal({} records)", self.index)
    }
}

impl Header {
    fn put(&self, out: &mut [u8]) {
        out[..8].copy_from_slice(&self.index.to_le_bytes());
        out[8..12].copy_from_slice(&self.len.to_le_bytes());
        out[16..16 + NONCE_LEN].copy_from_slice(&self.nonce);
        out[16 + NONCE_LEN..MARK_AT].copy_from_slice(&self.tag);
        out[MARK_AT..HEADER].copy_from_slice(&self.mark);
    }

    fn parse(raw: &[u8]) -> Option<Self> {
        let (index, rest) = raw.split_first_chunk::<8>()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let (_, rest) = rest.split_first_chunk::<4>()?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>()?;
        let (tag, rest) = rest.split_first_chunk::<TAG_LEN>()?;
        let mark = rest.first_chunk::<MARK_LEN>()?;
        Some(Self {
            index: u64::from_le_bytes(*index),
            len: u32::from_le_bytes(*len),
            nonce: *nonce,
            tag: *tag,
            mark: *mark,
        })
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
