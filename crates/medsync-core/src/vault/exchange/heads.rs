//! The heads of audit logs, gossiped: a log that was cut off is found by what others hold.
//!
//! Entries stay with their device; `docs/format.md` says why. A head proves itself, so anybody may
//! carry it.

use crate::crypto::envelope;
use crate::error::{Error, Result};
use crate::ledger::audit::{HEAD_BYTES_MAX, Head, HeadTerms};
use crate::ledger::cbor::{Reader, encode};
use crate::vault::exchange::files::write_error;
use crate::vault::exchange::manifest::{FORMAT, LABEL};
use crate::vault::exchange::{Found, Outgoing, Problem, Visit, words};
use crate::vault::rows::{Rows as _, kind};
use std::io::ErrorKind;

pub(super) const FILE: &str = "heads.age";
/// Most heads in a file; each costs a signature to check.
const HEADS_MAX: usize = 1024;
/// So many are kept in one step.
const AT_ONCE: usize = 128;
const PLAIN_MAX: usize = HEADS_MAX * (HEAD_BYTES_MAX + 80);
const SEALED_MAX: usize = PLAIN_MAX + 1024 * 1024;

impl Visit<'_> {
    /// Keeps the heads that others left.
    pub(super) fn take_heads(&mut self, found: &[Found]) -> Result<()> {
        for dir in found.iter().map(|f| &f.dir).filter(|dir| **dir != self.own) {
            let heads = match self.open_heads(dir) {
                Ok(heads) => heads,
                // Nothing was left, or for others: what matters of theirs says so already.
                Err(Error::NotFound(_)) => continue,
                Err(error) => {
                    self.report.problems.push(Problem {
                        file: format!("{dir}/{FILE}"),
                        what: words(&error),
                    });
                    continue;
                }
            };
            for some in heads.chunks(AT_ONCE) {
                self.vault.keep_heads(some.to_vec())?;
                self.vault.give_way()?;
            }
        }
        Ok(())
    }

    /// What a device left. Heads are no records: what is wrong with their file is told and stops
    /// nothing.
    fn open_heads(&self, dir: &str) -> Result<Vec<Head>> {
        let path = format!("{}/{dir}/{FILE}", self.dir);
        let sealed = self
            .folder
            .read(&path, SEALED_MAX)
            .map_err(|e| match e.kind() {
                ErrorKind::NotFound => Error::NotFound("file of audit heads"),
                _ => Error::io("reading the exchange folder", &e),
            })?;
        if sealed.len() > SEALED_MAX {
            return Err(Error::invalid("it is longer than such a file can be"));
        }
        let plain = envelope::open_with(self.device.recipient.expose(), &sealed, PLAIN_MAX)?;
        let membership = &self.vault.core.membership;
        // Nobody's signature is checked who was never one of the workspace's devices.
        let ours = |terms: &HeadTerms| {
            terms.workspace == Some(self.workspace) && membership.was_certified(&terms.log.device)
        };
        parse(&plain, &ours)
    }

    /// Leaves the heads that are known here, where anything else is left too.
    pub(super) fn leave_heads(&mut self) -> Result<()> {
        let path = format!("{}/{}/{FILE}", self.dir, self.own);
        let idle = self.report.sent_files == 0 && self.folder.read(&path, 1).is_ok();
        let recipients = self.vault.core.recipients();
        if self.report.outgoing != Outgoing::Complete || idle || recipients.len() < 2 {
            return Ok(());
        }
        let rows = self.vault.store.read()?.all(&[kind::AUDIT_HEAD])?;
        let heads: Vec<Vec<u8>> = rows
            .into_iter()
            .map(|(_, head)| head)
            .take(HEADS_MAX)
            .collect();
        let recipients: Vec<[u8; 32]> = recipients.iter().map(|(_, key)| *key).collect();
        let sealed = envelope::seal_to(&recipients, &write(&heads))?;
        self.folder
            .write(&path, &sealed)
            .map_err(|e| write_error(&e))?;
        self.report.sent_files += 1;
        self.report.sent_bytes += sealed.len() as u64;
        Ok(())
    }
}

fn write(heads: &[Vec<u8>]) -> Vec<u8> {
    encode(|e| {
        e.array(3)?
            .str(LABEL)?
            .u32(FORMAT)?
            .array(heads.len() as u64)?;
        heads.iter().try_for_each(|head| e.bytes(head)?.ok())
    })
}

/// Those of a file that are wanted and that their devices signed.
fn parse(bytes: &[u8], wanted: &dyn Fn(&HeadTerms) -> bool) -> Result<Vec<Head>> {
    let mut r = Reader::new(bytes, PLAIN_MAX, "a file of audit heads is malformed")?;
    r.array(3)?;
    if r.text(LABEL.len())? != LABEL {
        return Err(r.fault());
    }
    r.format(FORMAT)?;
    let mut heads = Vec::new();
    for _ in 0..r.list(HEADS_MAX)? {
        let head = r.bytes(HEAD_BYTES_MAX + 64)?;
        if Head::claims(head).is_ok_and(|(terms, ..)| wanted(&terms)) {
            heads.extend(Head::parse(head));
        }
    }
    r.end()?;
    Ok(heads)
}
