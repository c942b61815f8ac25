//! How a vault stands: counts, what waits, and digests that are equal on converged replicas.

use crate::error::Result;
use crate::ids::{AuthorKey, ChainId, RecordId, ReplicaId, hex};
use crate::phi::Phi;
use crate::vault::Vault;
use crate::vault::anchor::Anchored;
use crate::vault::audit::{self, Emergency};
use crate::vault::commit_row::CommitRow;
use crate::vault::core::{Core, view_text};
use crate::vault::finding::{Finding, findings, idle};
use crate::vault::in_question;
use crate::vault::incarnation::{self, Incarnation};
use crate::vault::migrate::Migration;
use crate::vault::query;
use crate::vault::rows::{self, Rows, kind};

/// Goes into the state digest: engines that could show a record differently differ here.
const ENGINE: &str = "medsync engine 1";

/// How a vault stands.
#[derive(Debug, Clone)]
pub struct Status {
    /// Records.
    pub records: u64,
    /// Commits, visible or not.
    pub commits: u64,
    /// Commits that wait for causes or data keys.
    pub pending: u64,
    /// Commits that hold something which only a newer engine understands: kept and passed on.
    pub not_understood: u64,
    /// Commits that contradict themselves.
    pub quarantine: u64,
    /// Places at which an author signed two different commits.
    pub equivocations: u64,
    /// Chains that forked, and whose: a copy of that device, or of that key, wrote under one name.
    pub forked: Vec<(AuthorKey, Option<Phi<String>>, ReplicaId)>,
    /// Commits that no peer's mark covers yet.
    pub outbox: u64,
    /// Open questions.
    pub questions: u64,
    /// Commits that wait for their author to seal them: who, and how many.
    pub unsealed: Vec<(AuthorKey, Option<Phi<String>>, u64)>,
    /// The format this vault came from, where it did not verify afterwards: the file as it was is
    /// kept beside it, and `medsync doctor` looks again.
    pub migration_failed: Option<u32>,
    /// What the anchor outside the vault's folder said when it was opened, or since.
    pub anchored: Anchored,
    /// The last new incarnation, if there was one.
    pub incarnation: Option<Incarnation>,
    /// Emergencies into which nobody has looked yet.
    pub emergencies: Vec<Emergency>,
    /// The pack in force: name, version, hash.
    pub pack: (String, u32, String),
    /// Equal wherever the same commits are held.
    pub ledger_digest: String,
    /// Equal wherever pack, engine and merged views are.
    pub state_digest: String,
}

impl Vault {
    /// How the vault stands. Reads every view, for the state digest.
    ///
    /// # Errors
    /// [`crate::error::Error::Storage`] if the vault cannot be read.
    pub fn status(&self) -> Result<Status> {
        let rows = self.store.read()?;
        let count = |prefix: u8| -> Result<u64> {
            let mut n = 0;
            rows.scan(&[prefix], &[prefix], &mut |_, _| {
                n += 1;
                Ok(true)
            })?;
            Ok(n)
        };
        // Of earlier incarnations too: their authors can still seal them.
        let chains = self.core.chains.iter();
        let unsealed = chains.filter(|c| c.sealed < c.seq);
        let unsealed = unsealed.map(|c| {
            let name = self.core.membership.name_of(&c.id.author.0).cloned();
            (c.id.author, name, c.seq - c.sealed)
        });
        let forked = self.core.forks.chains().map(|chain| {
            let name = self.core.membership.name_of(&chain.author.0).cloned();
            (chain.author, name, chain.replica)
        });
        let pack = &self.core.pack;
        Ok(Status {
            forked: forked.collect(),
            records: self.core.counts.records,
            commits: self.core.counts.commits,
            pending: count(kind::PENDING)?,
            not_understood: count(kind::NEWER)?,
            quarantine: count(kind::QUARANTINE)?,
            equivocations: count(kind::EVIDENCE)?,
            outbox: crate::vault::marks::outbox(&rows, &self.core)?,
            questions: count(kind::QUESTION)?,
            unsealed: unsealed.collect(),
            anchored: self.alarm()?,
            incarnation: incarnation::load(&rows)?,
            migration_failed: Migration::load(&rows)?.filter(|m| m.failed).map(|m| m.from),
            emergencies: audit::glass::open(&rows)?,
            pack: (
                pack.pack().name.clone(),
                pack.pack().version,
                hex(pack.hash()),
            ),
            ledger_digest: hex(&ledger_digest(&rows, &self.core)?),
            state_digest: hex(&state_digest(&rows, &self.core)?),
        })
    }

    /// What the pack's rules raise over the merged views, most urgent first.
    ///
    /// # Errors
    /// As [`Vault::status`].
    pub fn findings(&self, limit: usize) -> Result<Vec<Finding>> {
        self.note_search("list", "findings");
        let rows = self.store.read()?;
        let mut all = findings(&rows, &self.core.pack, limit)?;
        all.extend(idle(&rows, limit.saturating_sub(all.len()))?);
        all.sort_by_key(|finding| finding.risk);
        Ok(all)
    }

    /// Records that a text describes: words of a name, or an identifier. What is in question counts
    /// with every candidate, whatever is shown meanwhile.
    ///
    /// # Errors
    /// As [`Vault::status`].
    pub fn search(&self, text: &str, limit: usize) -> Result<Vec<RecordId>> {
        self.note_search("search", text);
        let (rows, pack) = (self.store.read()?, &self.core.pack);
        let found = query::search(&rows, pack, text, limit)?;
        Ok(joined(
            found,
            in_question::search(&rows, pack, text)?,
            limit,
        ))
    }

    /// Records whose index of this name holds a value.
    ///
    /// # Errors
    /// As [`Vault::status`].
    pub fn find(&self, index: &str, value: &str, limit: usize) -> Result<Vec<RecordId>> {
        self.note_search(index, value);
        query::lookup(&self.store.read()?, index, value, limit)
    }

    /// A patient's records, and those that somebody says are theirs while it is in question.
    ///
    /// # Errors
    /// As [`Vault::status`].
    pub fn chart(&self, patient: &RecordId, limit: usize) -> Result<Vec<RecordId>> {
        self.note_search("chart", patient.as_str());
        let (rows, pack) = (self.store.read()?, &self.core.pack);
        let found = query::of_patient(&rows, patient, limit)?;
        let in_question = in_question::of_patient(&rows, pack, patient)?;
        Ok(joined(found, in_question, limit))
    }
}

/// Over every chain, by id: where it ends without a gap, and what lies beyond. Of a chain that
/// forked every commit counts, by place and id: under which number it lies is nobody's business.
fn ledger_digest(rows: &dyn Rows, core: &Core) -> Result<[u8; 32]> {
    let mut chains: Vec<_> = core
        .chains
        .iter()
        .zip(0u32..)
        .filter(|(c, _)| c.max_seq > 0)
        .collect();
    chains.sort_by_key(|(chain, no)| (chain.id, *no));
    chains.dedup_by_key(|(chain, _)| chain.id);
    let mut hasher = blake3::Hasher::new_derive_key("medsync v1 ledger digest");
    for (chain, no) in chains {
        hasher
            .update(&chain.id.author.0)
            .update(&chain.id.replica.0);
        if core.forks.has(&chain.id) {
            forked_digest(rows, core, &chain.id, &mut hasher)?;
            continue;
        }
        hasher.update(&chain.seq.to_be_bytes()).update(&chain.tip.0);
        let prefix = rows::of_chain(kind::COMMIT, no);
        let beyond = rows::in_chain(kind::COMMIT, no, chain.seq.saturating_add(1));
        rows.scan(&prefix, &beyond, &mut |key, row| {
            let seq = rows::place(key).map_or(0, |(_, seq)| seq);
            hasher
                .update(&seq.to_be_bytes())
                .update(&CommitRow::from_bytes(row)?.header()?.id().0);
            Ok(true)
        })?;
    }
    Ok(*hasher.finalize().as_bytes())
}

fn forked_digest(
    rows: &dyn Rows,
    core: &Core,
    id: &ChainId,
    hasher: &mut blake3::Hasher,
) -> Result<()> {
    let mut commits = Vec::new();
    for (_, no) in core.chains.iter().zip(0u32..).filter(|(c, _)| c.id == *id) {
        let prefix = rows::of_chain(kind::COMMIT, no);
        rows.scan(&prefix, &prefix, &mut |_, row| {
            let header = CommitRow::from_bytes(row)?.header()?;
            commits.push((header.fields().seq, header.id()));
            Ok(true)
        })?;
    }
    commits.sort_unstable();
    hasher.update(b"forked");
    for (seq, id) in commits {
        hasher.update(&seq.to_be_bytes()).update(&id.0);
    }
    Ok(())
}

/// Both lists, each record once.
fn joined(mut found: Vec<RecordId>, others: Vec<RecordId>, limit: usize) -> Vec<RecordId> {
    let others = others.into_iter().filter(|other| !found.contains(other));
    let room = limit.saturating_sub(found.len());
    let others: Vec<RecordId> = others.take(room).collect();
    found.extend(others);
    found
}

fn state_digest(rows: &dyn Rows, core: &Core) -> Result<[u8; 32]> {
    let mut hasher = blake3::Hasher::new_derive_key("medsync v1 state digest");
    hasher.update(ENGINE.as_bytes()).update(core.pack.hash());
    rows.scan(&[kind::VIEW], &[kind::VIEW], &mut |key, row| {
        view_text(row)?;
        hasher.update(&(key.len() as u64).to_be_bytes()).update(key);
        hasher.update(&(row.len() as u64).to_be_bytes()).update(row);
        Ok(true)
    })?;
    Ok(*hasher.finalize().as_bytes())
}

/// A digest of every row that follows from the ledger.
pub(crate) fn derived_digest(rows: &dyn Rows) -> Result<[u8; 32]> {
    let mut hasher = blake3::Hasher::new_derive_key("medsync v1 derived rows");
    for prefix in rows::DERIVED {
        rows.scan(&[prefix], &[prefix], &mut |key, row| {
            hasher.update(&(key.len() as u64).to_be_bytes()).update(key);
            hasher.update(&(row.len() as u64).to_be_bytes()).update(row);
            Ok(true)
        })?;
    }
    Ok(*hasher.finalize().as_bytes())
}
