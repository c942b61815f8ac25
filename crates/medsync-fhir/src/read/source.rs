//! Where texts come from: files of a directory, lines of a stream, or a stream as one document.

use super::{BUNDLE_MAX_BYTES, RESOURCE_MAX_BYTES, Reject};
use medsync_core::model::json::DEPTH_MAX;
use std::fs::File;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

/// Longest line that is read before it has to look like a Bundle: a resource and its line break.
const LINE_MAX: usize = RESOURCE_MAX_BYTES + 2;

/// The files of a directory tree, in order of path; one directory's names are held per level.
#[derive(Default)]
pub(super) struct Files {
    /// What is left to visit, the next one last.
    left: Vec<PathBuf>,
}

impl Files {
    pub(super) fn below(path: &Path) -> io::Result<Self> {
        let mut files = Self::default();
        files.visit(path)?;
        Ok(files)
    }

    fn visit(&mut self, directory: &Path) -> io::Result<()> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let path = entry.path();
            // A link to a directory is not followed: it could lead in a circle.
            let is_directory = entry.file_type()?.is_dir();
            let ending = path.extension().and_then(|ending| ending.to_str());
            let named = ending.is_some_and(|e| {
                e.eq_ignore_ascii_case("json") || e.eq_ignore_ascii_case("ndjson")
            });
            if is_directory || (named && path.is_file()) {
                found.push(path);
            }
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        self.left.append(&mut found);
        Ok(())
    }

    /// The next file, opened.
    pub(super) fn next_file(&mut self) -> Option<(PathBuf, io::Result<File>)> {
        loop {
            let path = self.left.pop()?;
            if !path.is_dir() {
                let file = File::open(&path);
                return Some((path, file));
            }
            if let Err(error) = self.visit(&path) {
                return Some((path, Err(error)));
            }
        }
    }
}

/// One text of an input.
pub(super) enum Chunk {
    /// The line it starts on, and the text without surrounding blanks.
    Text(u64, Vec<u8>),
    /// The line it starts on; the text was skipped.
    Refused(u64, Reject),
    /// No more.
    End,
}

/// The texts of one input.
pub(super) struct Chunks {
    input: Box<dyn BufRead>,
    /// The line that the next byte stands on.
    line: u64,
    first: bool,
    ended: bool,
}

/// Where a text stops.
#[derive(Clone, Copy, PartialEq)]
enum Until {
    Newline,
    End,
}

impl Chunks {
    pub(super) fn new(input: Box<dyn BufRead>) -> Self {
        Self {
            input,
            line: 1,
            first: true,
            ended: false,
        }
    }

    pub(super) fn next_chunk(&mut self) -> Chunk {
        if self.ended {
            return Chunk::End;
        }
        self.read_chunk().unwrap_or_else(|_| {
            self.ended = true;
            Chunk::Refused(self.line, Reject::Unreadable)
        })
    }

    fn read_chunk(&mut self) -> io::Result<Chunk> {
        if self.skip_blanks(&mut Vec::new())?.is_none() {
            self.ended = true;
            return Ok(Chunk::End);
        }
        let line = self.line;
        let mut text = Vec::new();
        let mut refused = self.fill(&mut text, Until::Newline)?;
        if self.first {
            self.first = false;
            if text.starts_with(b"\xef\xbb\xbf") {
                text.drain(..3);
            }
            if refused.is_none() && self.is_document(&mut text)? {
                self.ended = true;
                refused = self.fill(&mut text, Until::End)?;
            }
        }
        text.truncate(text.trim_ascii_end().len());
        Ok(match refused {
            Some(reject) => Chunk::Refused(line, reject),
            None => Chunk::Text(line, text),
        })
    }

    /// Skips blanks and returns the byte after them; the blanks are appended to `blanks`.
    fn skip_blanks(&mut self, blanks: &mut Vec<u8>) -> io::Result<Option<u8>> {
        loop {
            let buffer = fill_buf(&mut *self.input)?;
            if buffer.is_empty() {
                return Ok(None);
            }
            let blank = buffer
                .iter()
                .take_while(|b| b.is_ascii_whitespace())
                .count();
            let next = buffer.get(blank).copied();
            let skipped = &buffer[..blank];
            self.line += newlines(skipped);
            // A document of blanks alone must not fill the memory.
            if blanks.len() < RESOURCE_MAX_BYTES {
                blanks.extend_from_slice(skipped);
            }
            self.input.consume(blank);
            if next.is_some() {
                return Ok(next);
            }
        }
    }

    /// Appends up to and including a newline, or all there is. Above the limit the rest is skipped
    /// and the reason returned.
    fn fill(&mut self, text: &mut Vec<u8>, until: Until) -> io::Result<Option<Reject>> {
        let mut limit = LINE_MAX;
        let mut refused = None;
        loop {
            let buffer = fill_buf(&mut *self.input)?;
            if buffer.is_empty() {
                return Ok(refused);
            }
            let end = match until {
                Until::Newline => buffer.iter().position(|b| *b == b'\n').map(|i| i + 1),
                Until::End => None,
            };
            let part = &buffer[..end.unwrap_or(buffer.len())];
            if refused.is_none() && text.len() + part.len() > limit {
                // A buffer in memory can bring all of it at once.
                let beginning = match text.is_empty() {
                    true => &part[..part.len().min(LINE_MAX)],
                    false => &text[..],
                };
                if limit == LINE_MAX && may_be_bundle(beginning) {
                    limit = BUNDLE_MAX_BYTES;
                }
                if text.len() + part.len() > limit {
                    refused = Some(if limit == BUNDLE_MAX_BYTES {
                        Reject::BundleTooLarge
                    } else {
                        Reject::TooLarge
                    });
                    *text = Vec::new();
                }
            }
            if refused.is_none() {
                text.extend_from_slice(part);
            }
            self.line += newlines(part);
            let used = part.len();
            self.input.consume(used);
            if end.is_some() {
                return Ok(refused);
            }
        }
    }

    /// Whether the first line begins a document that goes on: it is unfinished and what follows
    /// fits. A line that was cut off is followed by a `{` where a document could have none.
    fn is_document(&mut self, text: &mut Vec<u8>) -> io::Result<bool> {
        let outline = Outline::of(text);
        if !outline.is_unfinished() {
            return Ok(false);
        }
        let next = self.skip_blanks(text)?;
        Ok(match next {
            Some(b'{') => outline.awaits_value(),
            Some(_) => true,
            None => false,
        })
    }
}

fn fill_buf(input: &mut dyn BufRead) -> io::Result<&[u8]> {
    // Tried twice because the borrow of a retried buffer cannot be returned from a loop.
    match input.fill_buf().map(<[u8]>::len) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => input.fill_buf(),
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|b| **b == b'\n').count() as u64
}

/// What the beginning of a JSON text shows without parsing it.
struct Outline {
    open: Vec<u8>,
    in_string: bool,
    /// The last byte that is no blank, outside strings.
    last: u8,
    /// The outer object's `resourceType` is `Bundle`, or it has an `entry` before any type.
    bundle: bool,
}

impl Outline {
    fn of(text: &[u8]) -> Self {
        let mut at = Self {
            open: Vec::new(),
            in_string: false,
            last: 0,
            bundle: false,
        };
        let (mut name, mut token, mut typed) = (&b""[..], 0, false);
        let mut escaped = false;
        for (i, byte) in text.iter().copied().enumerate() {
            if at.in_string {
                if byte == b'"' && !escaped {
                    at.in_string = false;
                    at.last = byte;
                    let string = &text[token..i];
                    if at.open == b"{" && !typed && name == b"resourceType" {
                        typed = true;
                        at.bundle = string == b"Bundle";
                    }
                    name = string;
                }
                escaped = byte == b'\\' && !escaped;
                continue;
            }
            match byte {
                b'"' => {
                    at.in_string = true;
                    token = i + 1;
                }
                b'{' | b'[' => {
                    let entries = byte == b'[' && at.open == b"{" && name == b"entry";
                    at.bundle |= entries && !typed;
                    at.open.push(byte);
                    name = b"";
                }
                b'}' | b']' => {
                    at.open.pop();
                }
                b',' => name = b"",
                _ => {}
            }
            if !byte.is_ascii_whitespace() {
                at.last = byte;
            }
        }
        at
    }

    /// Something is still open, the line did not end inside a string and is no deeper than is read.
    fn is_unfinished(&self) -> bool {
        (1..=DEPTH_MAX).contains(&self.open.len()) && !self.in_string
    }

    fn awaits_value(&self) -> bool {
        let in_array = self.open.last() == Some(&b'[');
        self.last == b':' || (in_array && matches!(self.last, b'[' | b','))
    }
}

/// Whether a text of which only the beginning is known can be a Bundle.
fn may_be_bundle(beginning: &[u8]) -> bool {
    Outline::of(beginning).bundle
}
