//! Blocks: whole commits of one batch as bytes, and back.

use crate::doc::lean::coder::{COST_MAX, Decoder, Encoder};
use crate::doc::lean::session::Session;
use crate::doc::lean::{Commit, Fault, Known, Leaf, Nothing, Run};
use std::fmt;

/// Longest block, in bytes.
pub const BLOCK_BYTES_MAX: usize = 4 << 20;
/// How much of the session's text is at hand to build on.
const WINDOW: usize = 32 << 10;
const LEVEL: i32 = 9;
/// What a zstd frame begins with; it is not sent.
const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
/// About how many times shorter changes become: at first, and once much was sent.
const SHRINKS: usize = 4;
const SHRINKS_LATER: usize = 14;

/// Commits as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The bytes to send.
    pub bytes: Vec<u8>,
    /// How many commits of the run it has.
    pub commits: usize,
    /// Whether it can be read by itself.
    pub standalone: bool,
}

/// Writes one direction of one session. After a fault it is of no more use.
#[derive(Default)]
pub struct Writer {
    session: Session,
    window: Vec<u8>,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    /// How many commits were sent: what is alike in them need not be said again.
    sent: usize,
}

/// Reads one direction of one session. After a fault it is of no more use.
#[derive(Default)]
pub struct Reader {
    session: Session,
    window: Vec<u8>,
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer(hidden)")
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader(hidden)")
    }
}

impl Writer {
    /// A writer for a session that begins.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes the first commits of a run: one at least, and as many as will probably fit into `room`
    /// bytes; a block can come out longer. A commit that will hardly fit stands alone, and such a
    /// block is the same whenever it is written.
    ///
    /// # Errors
    /// [`Fault::TooLarge`] for a commit that no block can have.
    pub fn block(&mut self, known: &mut dyn Known, run: &Run, room: usize) -> Result<Block, Fault> {
        let first = run.commits.first().ok_or(Fault::Malformed)?;
        let shrinks = (SHRINKS + self.sent / 2).min(SHRINKS_LATER);
        let room = room.saturating_mul(shrinks);
        if estimate(first) > room || estimate(first) > COST_MAX / 8 {
            self.sent += 1;
            return Self::standalone(run);
        }
        let (mut total, mut count) = (0, 0);
        for commit in &run.commits {
            total += estimate(commit);
            if count > 0 && (total > room || total > COST_MAX / 8) {
                break;
            }
            count += 1;
        }
        self.sent += count;
        let bytes = self.write(known, run, count)?;
        Ok(Block {
            bytes,
            commits: count,
            standalone: false,
        })
    }

    /// The first commit of a run, to be read by itself.
    ///
    /// # Errors
    /// [`Fault::TooLarge`] for a commit that no block can have.
    pub fn standalone(run: &Run) -> Result<Block, Fault> {
        Ok(Block {
            bytes: Self::new().write(&mut Nothing, run, 1)?,
            commits: 1,
            standalone: true,
        })
    }

    fn write(&mut self, known: &mut dyn Known, run: &Run, count: usize) -> Result<Vec<u8>, Fault> {
        let mut c = Encoder::new();
        self.session.run(&mut c, run, count)?;
        let actor = run.chain.actor();
        for commit in run.commits.iter().take(count) {
            self.session.commit(&mut c, known, actor, Some(commit))?;
        }
        let (numbers, text) = c.finish();
        let mut out = Vec::with_capacity(numbers.len() + text.len() / 2 + 16);
        put_length(&mut out, numbers.len());
        out.extend(numbers);
        if !text.is_empty() {
            put_length(&mut out, text.len());
            match self.pack(&text) {
                Some(packed) => out.extend(packed),
                None => out.extend(&text),
            }
            keep(&mut self.window, &text);
        }
        match out.len() <= BLOCK_BYTES_MAX {
            true => Ok(out),
            false => Err(Fault::TooLarge),
        }
    }
}

impl Writer {
    /// The text as a zstd frame without magic number, if that is shorter. Setting zstd up costs more
    /// than a block's text: it is done once.
    fn pack(&mut self, text: &[u8]) -> Option<Vec<u8>> {
        let mut z = match self.zstd.take() {
            Some(z) => z,
            None => compressor().ok()?,
        };
        z.set_dictionary(LEVEL, &self.window).ok()?;
        let packed = z.compress(text).ok()?;
        self.zstd = Some(z);
        let packed = packed.strip_prefix(&MAGIC)?;
        (packed.len() < text.len()).then(|| packed.to_vec())
    }
}

fn compressor() -> std::io::Result<zstd::bulk::Compressor<'static>> {
    let mut z = zstd::bulk::Compressor::new(LEVEL)?;
    z.include_contentsize(false)?;
    z.include_checksum(false)?;
    z.include_dictid(false)?;
    Ok(z)
}

impl Reader {
    fn unpack(&mut self, packed: &[u8], length: usize) -> Result<Vec<u8>, Fault> {
        if length == packed.len() {
            return Ok(packed.to_vec());
        }
        if packed.len() > length || length > BLOCK_BYTES_MAX {
            return Err(Fault::Malformed);
        }
        let frame = [&MAGIC[..], packed].concat();
        let mut z = match self.zstd.take() {
            Some(z) => z,
            None => zstd::bulk::Decompressor::new().map_err(|_| Fault::TooLarge)?,
        };
        let plain = z
            .set_dictionary(&self.window)
            .and_then(|()| z.decompress(&frame, length));
        self.zstd = Some(z);
        plain
            .ok()
            .filter(|plain| plain.len() == length)
            .ok_or(Fault::Malformed)
    }

    /// A reader for a session that begins.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a block that builds on those before it.
    ///
    /// # Errors
    /// [`Fault::Unknown`] when it builds on what is not here, else what is wrong with the block.
    pub fn block(&mut self, known: &mut dyn Known, bytes: &[u8]) -> Result<Run, Fault> {
        if bytes.len() > BLOCK_BYTES_MAX {
            return Err(Fault::TooLarge);
        }
        let mut rest = bytes;
        let length = get_length(&mut rest)?;
        let numbers = rest.get(..length).ok_or(Fault::Malformed)?;
        let mut rest = rest.get(length..).unwrap_or_default();
        let text = match rest.is_empty() {
            true => Vec::new(),
            false => {
                let length = get_length(&mut rest)?;
                self.unpack(rest, length)?
            }
        };
        let mut c = Decoder::new(numbers, text)?;
        let nobody = Run {
            chain: crate::ids::ChainId {
                author: crate::ids::AuthorKey([0; 32]),
                replica: crate::ids::ReplicaId([0; 16]),
            },
            first: 0,
            previous: None,
            signature: None,
            commits: Vec::new(),
        };
        let (mut run, count) = self.session.run(&mut c, &nobody, 0)?;
        let actor = run.chain.actor();
        for _ in 0..count {
            let commit = self.session.commit(&mut c, known, actor, None)?;
            run.commits.push(commit);
        }
        let text = c.finish()?;
        keep(&mut self.window, &text);
        Ok(run)
    }

    /// Reads a block that stands alone.
    ///
    /// # Errors
    /// What is wrong with the block.
    pub fn standalone(bytes: &[u8]) -> Result<Run, Fault> {
        Self::new().block(&mut Nothing, bytes)
    }
}

/// About how long a commit is before it is coded.
fn estimate(commit: &Commit) -> usize {
    let size = |leaf: &Leaf| match leaf {
        Leaf::Change(change) => change.change.len(),
        Leaf::Other { entry, change, .. } => (entry.len() + change.len()) * SHRINKS,
        Leaf::Item(bytes) => bytes.len() * SHRINKS,
        Leaf::Withheld(hash) => hash.len() * SHRINKS,
        Leaf::Sealed { body, .. } => (body.len() + 72) * SHRINKS,
    };
    commit.leaves.iter().map(size).sum()
}

/// Adds to the text at hand, and drops what is too old.
fn keep(window: &mut Vec<u8>, text: &[u8]) {
    window.extend_from_slice(text);
    if window.len() > WINDOW {
        window.drain(..window.len() - WINDOW);
    }
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    let mut rest = length;
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).unwrap_or(0) | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).unwrap_or(0));
}

fn get_length(bytes: &mut &[u8]) -> Result<usize, Fault> {
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        let (byte, rest) = bytes.split_first().ok_or(Fault::Malformed)?;
        *bytes = rest;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(length);
        }
    }
    Err(Fault::Malformed)
}
