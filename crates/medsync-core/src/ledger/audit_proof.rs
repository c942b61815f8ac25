//! An audit log that proves itself on another machine, with public keys only.

use crate::error::{Error, Result};
use crate::ids::{DeviceKey, ReplicaId, hex};
use crate::ledger::audit::{
    Action, Actor, AuditEvent, DETAIL_BYTES_MAX, DETAILS_MAX, Detail, EVENT_BYTES_MAX,
    HEAD_BYTES_MAX, Head, LogId, Subject, root,
};
use crate::ledger::cbor::{Reader, encode};
use crate::ledger::entry::{self, ItemKind};
use crate::ledger::membership::{Carrier, MemberItem, Membership};
use crate::ledger::merkle::Hash;
use crate::phi::Phi;
use crate::time::Timestamp;
use std::collections::BTreeSet;
use std::fmt;

/// The format of a proof.
pub const PROOF_FORMAT: u32 = 1;
/// Longest proof, in bytes.
pub const PROOF_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Most logs in a proof.
pub const LOGS_MAX: usize = 256;
/// Most heads of a log in a proof.
pub const HEADS_MAX: usize = 16;

const LABEL: &str = "medsync audit proof";
const WHAT: &str = "an audit proof is malformed";
const ENTRIES_MAX: usize = 1 << 26;
const ITEMS_MAX: usize = 20_000;
const ITEM_BYTES_MAX: usize = 16 * 1024;
/// Problems that are told; there may be more.
const PROBLEMS_MAX: usize = 100;

/// A leaf of an entry's details.
#[derive(Clone, PartialEq, Eq)]
pub enum ProofLeaf {
    /// Only its hash.
    Withheld(Hash),
    /// What it says, with the salt that proves it.
    Shown([u8; 32], Vec<u8>),
}

impl ProofLeaf {
    fn hash(&self) -> Hash {
        match self {
            Self::Withheld(hash) => *hash,
            Self::Shown(salt, bytes) => entry::leaf(salt, bytes),
        }
    }
}

/// An entry with what it is about, as far as that is shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ProofEntry {
    /// The entry as it was chained.
    pub bytes: Vec<u8>,
    /// Its leaves.
    pub leaves: Vec<ProofLeaf>,
}

/// One log with the heads that cover it.
#[derive(Clone, PartialEq, Eq)]
pub struct ProofLog {
    /// Whose.
    pub id: LogId,
    /// From the first on, without a gap.
    pub entries: Vec<ProofEntry>,
    /// By the device's own signature.
    pub heads: Vec<Head>,
}

/// Logs, heads, and the certificates of the devices that wrote them.
#[derive(Clone, PartialEq, Eq)]
pub struct AuditProof {
    /// Who belongs to the workspace.
    pub membership: Membership,
    /// The logs.
    pub logs: Vec<ProofLog>,
}

impl fmt::Debug for AuditProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries: usize = self.logs.iter().map(|log| log.entries.len()).sum();
        write!(f, "AuditProof({} logs, {entries} entries)", self.logs.len())
    }
}

impl AuditProof {
    /// The bytes of its file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let items = self.membership.items().count() as u64;
        encode(|e| {
            e.array(5)?.str(LABEL)?.u32(PROOF_FORMAT)?;
            e.bytes(self.membership.authority())?.array(items)?;
            for (item, carrier) in self.membership.items() {
                e.array(7)?.u8(item.kind().0)?.bytes(item.bytes())?;
                e.encode(carrier.chain.author)?
                    .encode(carrier.chain.replica)?;
                e.u64(carrier.seq)?.i64(carrier.hlc.0)?;
                e.encode(carrier.commit)?;
            }
            e.array(self.logs.len() as u64)?;
            for log in &self.logs {
                e.array(4)?
                    .bytes(&log.id.device.0)?
                    .bytes(&log.id.replica.0)?;
                e.array(log.entries.len() as u64)?;
                for entry in &log.entries {
                    e.array(2)?
                        .bytes(&entry.bytes)?
                        .array(entry.leaves.len() as u64)?;
                    for leaf in &entry.leaves {
                        match leaf {
                            ProofLeaf::Withheld(hash) => e.array(2)?.u8(0)?.bytes(hash)?,
                            ProofLeaf::Shown(salt, bytes) => {
                                e.array(3)?.u8(1)?.bytes(salt)?.bytes(bytes)?
                            }
                        };
                    }
                }
                e.array(log.heads.len() as u64)?;
                for head in &log.heads {
                    e.bytes(&head.to_bytes())?;
                }
            }
            Ok(())
        })
    }

    /// Reads a proof. What it proves, [`AuditProof::verify`] says.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another kind of file, [`Error::Integrity`] for a malformed one or one
    /// with a forged certificate or head, [`Error::TooNew`] for a newer format.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut r = Reader::new(bytes, PROOF_BYTES_MAX, WHAT)?;
        let labelled = r.array(5).is_ok() && r.text(LABEL.len()).is_ok_and(|text| text == LABEL);
        if !labelled {
            return Err(Error::invalid("this file is no audit proof"));
        }
        r.format(PROOF_FORMAT)?;
        let mut membership = Membership::new(r.fixed()?);
        membership.extend(read_items(&mut r)?);
        let mut logs = Vec::new();
        for _ in 0..r.list(LOGS_MAX)? {
            logs.push(read_log(&mut r)?);
        }
        let proof = Self { membership, logs };
        r.end()?;
        Ok(proof)
    }

    /// Checks every log: its chain, its signatures and its device's certificate up to the
    /// authority. `known` are heads that others hold: a log must not end before one of them.
    pub fn verify(&self, known: &[Head]) -> AuditReport {
        let mut report = AuditReport::default();
        let mut ids = BTreeSet::new();
        for log in &self.logs {
            let mut check = LogCheck::new(self, log);
            if !ids.insert(log.id) {
                check.wrong("stands twice in this proof");
            }
            check.entries();
            check.heads(known);
            report.logs.push(check.report);
            report.problems.extend(check.problems);
        }
        report.problems.truncate(PROBLEMS_MAX);
        report
    }

    /// Every entry that is well-formed, with its details as far as they are shown.
    pub fn entries(&self) -> impl Iterator<Item = AuditLine> {
        self.logs.iter().flat_map(|log| {
            log.entries.iter().filter_map(|entry| {
                Some(AuditLine {
                    log: log.id,
                    event: AuditEvent::parse(&entry.bytes).ok()?,
                    details: entry.leaves.iter().map(shown).collect(),
                })
            })
        })
    }
}

fn shown(leaf: &ProofLeaf) -> Option<Detail> {
    match leaf {
        ProofLeaf::Withheld(_) => None,
        ProofLeaf::Shown(_, bytes) => Detail::parse(bytes).ok(),
    }
}

/// An entry as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditLine {
    /// The log it stands in.
    pub log: LogId,
    /// The entry.
    pub event: AuditEvent,
    /// What it is about; `None` for what is withheld here.
    pub details: Vec<Option<Detail>>,
}

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// The logs.
    pub logs: Vec<LogReport>,
    /// What does not hold, by device and entry; never a clinical value.
    pub problems: Vec<String>,
}

impl AuditReport {
    /// Whether everything holds.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

/// One log, as far as it was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogReport {
    /// Whose.
    pub id: LogId,
    /// The device's name.
    pub name: Option<Phi<String>>,
    /// Whether the device belongs to the workspace now.
    pub current: bool,
    /// Entries whose place and chain were checked.
    pub entries: u64,
    /// When the first and the last were made.
    pub from: Timestamp,
    /// When the last one was.
    pub to: Timestamp,
    /// Details that are shown, and proved.
    pub shown: u64,
    /// Details of which only the hash is here.
    pub withheld: u64,
}

struct LogCheck<'a> {
    proof: &'a AuditProof,
    log: &'a ProofLog,
    report: LogReport,
    problems: Vec<String>,
    /// The chain's hash after each entry.
    hashes: Vec<Hash>,
}

impl<'a> LogCheck<'a> {
    fn new(proof: &'a AuditProof, log: &'a ProofLog) -> Self {
        let device = log.id.device;
        let report = LogReport {
            id: log.id,
            name: proof.membership.name_of(&device.0).cloned(),
            current: proof.membership.is_current_device(&device),
            entries: 0,
            from: Timestamp::default(),
            to: Timestamp::default(),
            shown: 0,
            withheld: 0,
        };
        let mut this = Self {
            proof,
            log,
            report,
            problems: Vec::new(),
            hashes: Vec::with_capacity(log.entries.len()),
        };
        if !this.proof.membership.was_certified(&device) {
            this.wrong("has no certificate that leads up to the authority");
        }
        this
    }

    fn wrong(&mut self, what: &str) {
        if self.problems.len() < PROBLEMS_MAX {
            let (device, replica) = (self.log.id.device.short(), self.log.id.replica.short());
            self.problems
                .push(format!("log {device}/{replica}: {what}"));
        }
    }

    /// Each entry follows the one before it, and its details are what was chained.
    fn entries(&mut self) {
        let (mut hash, mut last) = (self.log.id.start(), Timestamp::default());
        let mut glasses = BTreeSet::new();
        for (at, entry) in (1u64..).zip(&self.log.entries) {
            hash = AuditEvent::chain(&hash, &entry.bytes);
            self.hashes.push(hash);
            let Ok(event) = AuditEvent::parse(&entry.bytes) else {
                self.wrong(&format!("entry {at} is malformed"));
                continue;
            };
            if event.seq != at {
                self.wrong(&format!("entry {} stands at place {at}", event.seq));
            }
            if event.hlc < last {
                self.wrong(&format!("entry {at} is older than the one before it"));
            }
            if event.action == Action::BREAK_GLASS {
                glasses.insert(event.seq);
            }
            if let Actor::Emergency(glass) = event.actor
                && !glasses.contains(&glass)
            {
                self.wrong(&format!("entry {at} names an emergency that was none"));
            }
            self.details(at, &event, &entry.leaves);
            last = event.hlc;
            if at == 1 {
                self.report.from = last;
            }
            self.report.to = last;
            self.report.entries = at;
        }
    }

    fn details(&mut self, at: u64, event: &AuditEvent, leaves: &[ProofLeaf]) {
        let hashes: Vec<Hash> = leaves.iter().map(ProofLeaf::hash).collect();
        let fits = match event.subject {
            Subject::Details(said) => !hashes.is_empty() && root(&hashes) == said,
            _ => hashes.is_empty(),
        };
        if !fits {
            self.wrong(&format!(
                "the details of entry {at} are not those that were chained"
            ));
        }
        for leaf in leaves {
            match leaf {
                ProofLeaf::Withheld(_) => self.report.withheld += 1,
                ProofLeaf::Shown(_, bytes) if Detail::parse(bytes).is_ok() => {
                    self.report.shown += 1;
                }
                ProofLeaf::Shown(..) => self.wrong(&format!("a detail of entry {at} is malformed")),
            }
        }
    }

    /// The device signed this chain to its end, and nothing else anywhere.
    fn heads(&mut self, known: &[Head]) {
        let workspace = *self.proof.membership.workspace();
        let log = self.log;
        let entries = log.entries.len() as u64;
        let mut signed = 0;
        for head in log.heads.iter().chain(known) {
            let terms = head.terms();
            if terms.log != log.id {
                continue;
            }
            if terms.workspace.is_some_and(|id| id != workspace) {
                self.wrong("a head was signed for another workspace");
            }
            let at = terms
                .seq
                .checked_sub(1)
                .and_then(|at| usize::try_from(at).ok());
            match at.and_then(|at| self.hashes.get(at)) {
                Some(hash) if *hash == terms.hash => signed = signed.max(terms.seq),
                Some(_) => {
                    let (seq, hash) = (terms.seq, hex(&terms.hash[..4]));
                    self.wrong(&format!(
                        "the device signed other entries up to {seq} ({hash}): they were changed, \
                         or the log was written twice"
                    ));
                }
                None => {
                    let seq = terms.seq;
                    self.wrong(&format!(
                        "ends at entry {entries}, and the device signed {seq}: the end is missing, or \
                         this is an older copy"
                    ));
                }
            }
        }
        if log.heads.iter().any(|head| head.terms().log != log.id) {
            self.wrong("has a head of another log");
        }
        if signed < entries {
            self.wrong(&format!("nobody signed what comes after entry {signed}"));
        }
    }
}

fn read_items(r: &mut Reader<'_>) -> Result<Vec<(MemberItem, Carrier)>> {
    let mut items = Vec::new();
    for _ in 0..r.list(ITEMS_MAX)? {
        r.array(7)?;
        let item = MemberItem::parse(ItemKind(r.value()?), r.bytes(ITEM_BYTES_MAX)?)?;
        let (author, replica) = (r.value()?, r.value()?);
        let carrier = Carrier {
            chain: crate::ids::ChainId { author, replica },
            seq: r.value()?,
            hlc: Timestamp(r.value()?),
            commit: r.value()?,
        };
        items.push((item.ok_or_else(|| r.fault())?, carrier));
    }
    Ok(items)
}

fn read_log(r: &mut Reader<'_>) -> Result<ProofLog> {
    r.array(4)?;
    let (device, replica): (DeviceKey, ReplicaId) = (r.value()?, r.value()?);
    let mut entries = Vec::new();
    for _ in 0..r.list(ENTRIES_MAX)? {
        r.array(2)?;
        let bytes = r.bytes(EVENT_BYTES_MAX)?.to_vec();
        let mut leaves = Vec::new();
        for _ in 0..r.list(DETAILS_MAX)? {
            leaves.push(match (r.list(3)?, r.value::<u8>()?) {
                (2, 0) => ProofLeaf::Withheld(r.fixed()?),
                (3, 1) => ProofLeaf::Shown(r.fixed()?, r.bytes(DETAIL_BYTES_MAX)?.to_vec()),
                _ => return Err(r.fault()),
            });
        }
        entries.push(ProofEntry { bytes, leaves });
    }
    let mut heads = Vec::new();
    for _ in 0..r.list(HEADS_MAX)? {
        heads.push(Head::parse(r.bytes(HEAD_BYTES_MAX + 64)?)?);
    }
    Ok(ProofLog {
        id: LogId { device, replica },
        entries,
        heads,
    })
}
