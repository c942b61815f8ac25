//! What a vault keeps in memory, and the one way to change it: a [`Work`], which is durable as a
//! whole or did not happen.

use crate::crypto::key::Secret;
use crate::doc::state::RecordState;
use crate::env::{Env, SharedEnv};
use crate::error::{Error, Result};
use crate::ids::{
    AuthorKey, ChainId, ChangeId, CommitId, DataKeyId, DeviceKey, RecordId, ReplicaId, WorkspaceId,
};
use crate::ledger::audit::LogId;
use crate::ledger::certificate::Role;
use crate::ledger::commit::Tip;
use crate::ledger::forks::Forks;
use crate::ledger::membership::Membership;
use crate::model::kind::{ActivePack, KindRules};
use crate::model::policy::Standing;
use crate::model::shape::ElementNamer;
use crate::store::{ReadTxn, Staged, WriteTxn};
use crate::time::{Clock, Timestamp};
use crate::vault::audit::{Audit, Note};
use crate::vault::commit_row::CommitRow;
use crate::vault::cost::Spent;
use crate::vault::epoch::Epoch;
use crate::vault::live::{self, Lives};
use crate::vault::rows::{self, Each, Rows, kind};
use crate::vault::shelf::Shelf;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The vault's settings.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// The workspace; `None` until the vault joined one.
    pub(crate) workspace: Option<WorkspaceMeta>,
    /// This incarnation.
    pub(crate) replica: ReplicaId,
    /// The device's public key.
    pub(crate) device: DeviceKey,
    /// Whom the vault was opened for.
    pub(crate) owner: AuthorKey,
}

impl Meta {
    pub(crate) fn log_place(&self) -> (LogId, Option<WorkspaceId>) {
        let log = LogId {
            device: self.device,
            replica: self.replica,
        };
        (log, self.workspace.as_ref().map(|w| w.id))
    }
}

/// The id of a commit that is still being made, or of which only the place is known.
pub(crate) const NOT_MADE: CommitId = CommitId([0; 32]);

/// What a vault knows of its workspace.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WorkspaceMeta {
    pub(crate) id: WorkspaceId,
    pub(crate) name: String,
    pub(crate) authority: [u8; 32],
}

/// A chain of commits as far as it is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Chain {
    pub(crate) id: ChainId,
    /// The last commit without a gap before it.
    pub(crate) seq: u64,
    pub(crate) tip: CommitId,
    pub(crate) hlc: Timestamp,
    /// The highest commit, gaps before it or not.
    pub(crate) max_seq: u64,
    /// The last commit that a batch seals.
    pub(crate) sealed: u64,
}

impl Chain {
    pub(crate) const fn new(id: ChainId) -> Self {
        Self {
            id,
            seq: 0,
            tip: Tip::START.id,
            hlc: Timestamp(0),
            max_seq: 0,
            sealed: 0,
        }
    }

    pub(crate) const fn tip(&self) -> Tip {
        Tip {
            seq: self.seq,
            id: self.tip,
            hlc: self.hlc,
        }
    }
}

/// How many of what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) records: u64,
    pub(crate) commits: u64,
}

/// The part of the vault that is held in memory. Cloned for each work, kept if it commits.
#[derive(Debug, Clone)]
pub(crate) struct Core {
    pub(crate) meta: Arc<Meta>,
    /// By number. A chain that forked has several.
    pub(crate) chains: Vec<Chain>,
    pub(crate) forks: Arc<Forks>,
    pub(crate) clock: Clock,
    pub(crate) counts: Counts,
    pub(crate) membership: Arc<Membership>,
    pub(crate) pack: Arc<ActivePack>,
    pub(crate) epoch: Epoch,
    /// Shared, not cloned: what becomes durable in one work is so for all.
    pub(crate) audit: Arc<Audit>,
}

impl Core {
    /// Whose audit log this is, and in which workspace.
    pub(crate) fn log_place(&self) -> (LogId, Option<WorkspaceId>) {
        self.meta.log_place()
    }

    /// The workspace, or the hint how to get one.
    pub(crate) fn workspace(&self) -> Result<&WorkspaceMeta> {
        self.meta.workspace.as_ref().ok_or(Error::Refused {
            what: "this vault belongs to no workspace yet",
            hint: "have an admin admit its request, then join with the grant",
        })
    }

    pub(crate) fn namer(&self) -> Result<ElementNamer> {
        Ok(ElementNamer::new(&self.workspace()?.id))
    }

    /// The first number of a chain.
    pub(crate) fn chain_no(&self, id: &ChainId) -> Option<u32> {
        self.chains
            .iter()
            .position(|c| c.id == *id)
            .and_then(|i| u32::try_from(i).ok())
    }

    pub(crate) fn chain(&self, no: u32) -> Result<&Chain> {
        let chain = usize::try_from(no).ok().and_then(|no| self.chains.get(no));
        chain.ok_or(Error::integrity_at("a row names an unknown chain", no))
    }

    /// What a chain's author may do at a place of it, as far as certificates were delivered.
    pub(crate) fn standing(&self, chain: &ChainId, seq: u64, commit: &CommitId) -> Standing {
        let roles = self.membership.role_of(chain, seq, commit);
        let clinical = [Role::Clinician, Role::Pharmacist];
        Standing {
            clinical: clinical.into_iter().any(|role| roles.has(role)),
            reviewer: roles.has(Role::Reviewer),
        }
    }

    /// What the author of one's own chain may do in its next commit.
    pub(crate) fn own_standing(&self, no: u32) -> Standing {
        self.chain(no).map_or_else(
            |_| Standing::default(),
            |chain| self.standing(&chain.id, chain.seq + 1, &NOT_MADE),
        )
    }

    pub(crate) fn rules(&self, record: &RecordId) -> &Arc<KindRules> {
        self.pack.kind(record.kind())
    }
}

/// Reads a record's state and view.
pub(crate) fn load_record(
    rows: &dyn Rows,
    record: &RecordId,
) -> Result<Option<(RecordState, String)>> {
    let Some(view) = rows.get(&rows::of_record(kind::VIEW, record))? else {
        return Ok(None);
    };
    let state = rows.get(&rows::of_record(kind::STATE, record))?;
    let state = state.ok_or(Error::integrity("a record has a view and no state"))?;
    let view = view_text(&view)?.to_owned();
    RecordState::from_row(&state, &view).map(|state| Some((state, view)))
}

pub(crate) const BAD_VIEW: Error = Error::integrity("a view row is damaged");

/// The JSON of a view row; its first byte is 1 if the record has open questions, else 0.
pub(crate) fn view_text(row: &[u8]) -> Result<&str> {
    let text = row.get(1..).and_then(|text| std::str::from_utf8(text).ok());
    text.ok_or(BAD_VIEW)
}

/// Reads a commit.
pub(crate) fn load_commit(rows: &dyn Rows, chain: u32, seq: u64) -> Result<Option<CommitRow>> {
    rows.get(&rows::in_chain(kind::COMMIT, chain, seq))?
        .map(|row| CommitRow::from_bytes(&row))
        .transpose()
}

/// The data key of an id, with the patient it belongs to.
pub(crate) fn load_data_key(rows: &dyn Rows, id: &DataKeyId) -> Result<Option<DataKey>> {
    let row = rows.get(&rows::data_key(id))?;
    row.map(|row| DataKey::from_row(*id, &row)).transpose()
}

/// A patient's data key, or the workspace's.
#[derive(Debug, Clone)]
pub(crate) struct DataKey {
    pub(crate) id: DataKeyId,
    pub(crate) patient: Option<RecordId>,
    pub(crate) key: Arc<Secret<32>>,
}

impl DataKey {
    fn from_row(id: DataKeyId, row: &[u8]) -> Result<Self> {
        const BAD: Error = Error::integrity("a data key's row is damaged");
        let (key, patient) = row.split_first_chunk::<32>().ok_or(BAD)?;
        let patient = match patient {
            [] => None,
            text => Some(
                std::str::from_utf8(text)
                    .map_err(|_| BAD)?
                    .parse()
                    .map_err(|_| BAD)?,
            ),
        };
        let key = Secret::from_slice(key).ok_or(BAD)?;
        Ok(Self {
            id,
            patient,
            key: Arc::new(key),
        })
    }

    fn to_row(&self) -> Vec<u8> {
        let patient = self.patient.as_ref().map_or("", RecordId::as_str);
        [&self.key.expose()[..], patient.as_bytes()].concat()
    }
}

/// One change of the vault, from its first read to its fsync.
pub(crate) struct Work {
    pub(crate) txn: WriteTxn,
    pub(crate) core: Core,
    pub(crate) env: SharedEnv,
    /// Changes that became visible: others may wait for them.
    pub(crate) visible: Vec<(RecordId, ChangeId)>,
    /// Records whose rows are to be written.
    pub(crate) lives: Lives,
    /// Visible commits whose items are to take effect.
    pub(crate) items: Vec<(u32, u64)>,
    /// What the audit log is to tell of this.
    pub(crate) notes: Vec<Note>,
    /// Whether the device signs its audit log with it.
    pub(crate) sign_audit: bool,
    /// What it cost so far, as far as foreign input decides that.
    pub(crate) spent: Spent,
    pub(crate) shelf: Shelf,
    keys: HashMap<Option<RecordId>, DataKey>,
    changed_chains: BTreeMap<u32, ()>,
}

impl Work {
    pub(crate) fn new(txn: WriteTxn, core: Core, env: SharedEnv) -> Self {
        Self {
            txn,
            core,
            env,
            visible: Vec::new(),
            lives: Lives::default(),
            items: Vec::new(),
            notes: Vec::new(),
            sign_audit: false,
            spent: Spent::default(),
            shelf: Shelf::default(),
            keys: HashMap::new(),
            changed_chains: BTreeMap::new(),
        }
    }

    /// Makes all of it durable and returns what is true from now on.
    pub(crate) fn finish(self) -> Result<Core> {
        let (core, staged) = self.stage()?;
        staged.settle()?;
        Ok(core)
    }

    /// Hands all of it in, and returns what is true once it is settled.
    pub(crate) fn stage(mut self) -> Result<(Core, Staged)> {
        live::flush(&mut self)?;
        for no in std::mem::take(&mut self.changed_chains).into_keys() {
            let chain = *self.core.chain(no)?;
            self.txn
                .put(rows::of_chain(kind::CHAIN, no), pack_row(&chain));
        }
        self.txn
            .put(rows::meta("counts"), pack_row(&self.core.counts));
        self.txn.put(
            rows::meta("clock"),
            self.core.clock.last().0.to_le_bytes().to_vec(),
        );
        self.core.epoch.count += 1;
        self.core.epoch.put(&mut self.txn);
        let audit = Arc::clone(&self.core.audit);
        let place = Some(self.core.log_place());
        let notes = std::mem::take(&mut self.notes);
        let written = audit.write(&mut self.txn, &self.env, place, notes, self.sign_audit)?;
        let staged = self.txn.stage()?;
        // Like the vault itself: should it not become durable, the store has stopped.
        if let Some(written) = written {
            written.keep();
        }
        Ok((self.core, staged))
    }

    /// The number of a chain; a new one gets the next.
    pub(crate) fn number_chain(&mut self, id: &ChainId) -> Result<u32> {
        if let Some(no) = self.core.chain_no(id) {
            return Ok(no);
        }
        let no = u32::try_from(self.core.chains.len())
            .map_err(|_| Error::invalid("a workspace has too many chains"))?;
        self.core.chains.push(Chain::new(*id));
        self.changed_chains.insert(no, ());
        Ok(no)
    }

    pub(crate) fn chain_mut(&mut self, no: u32) -> Result<&mut Chain> {
        self.changed_chains.insert(no, ());
        let chain = usize::try_from(no)
            .ok()
            .and_then(|no| self.core.chains.get_mut(no));
        chain.ok_or(Error::integrity_at("a row names an unknown chain", no))
    }

    /// The data key new commits use for a patient; made at first need.
    pub(crate) fn data_key(&mut self, patient: Option<&RecordId>) -> Result<DataKey> {
        let patient = patient.cloned();
        if let Some(key) = self.keys.get(&patient) {
            return Ok(key.clone());
        }
        let key = match existing_data_key(self, patient.as_ref())? {
            Some(key) => key,
            None => new_data_key(&mut self.txn, &*self.env, patient.as_ref()),
        };
        self.keys.insert(patient, key.clone());
        Ok(key)
    }

    pub(crate) fn put_data_key(&mut self, key: &DataKey) {
        put_data_key(&mut self.txn, key);
    }
}

/// The data key that new commits use for a patient, if there is one.
pub(crate) fn existing_data_key(
    rows: &dyn Rows,
    patient: Option<&RecordId>,
) -> Result<Option<DataKey>> {
    let prefix = rows::patient_key(patient, None);
    let mut first = None;
    rows.scan(&prefix, &prefix, &mut |row, _| {
        let id = row.get(prefix.len()..).unwrap_or_default();
        first = Some(DataKeyId::from_slice(id)?);
        Ok(false)
    })?;
    let Some(id) = first else {
        return Ok(None);
    };
    let missing = Error::integrity("a patient's data key is missing");
    load_data_key(rows, &id)?.ok_or(missing).map(Some)
}

/// Makes a data key.
pub(crate) fn new_data_key(
    txn: &mut WriteTxn,
    env: &dyn Env,
    patient: Option<&RecordId>,
) -> DataKey {
    let key = DataKey {
        id: DataKeyId(env.bytes()),
        patient: patient.cloned(),
        key: Arc::new(Secret::random(env)),
    };
    put_data_key(txn, &key);
    key
}

fn put_data_key(txn: &mut WriteTxn, key: &DataKey) {
    txn.put(rows::data_key(&key.id), key.to_row());
    txn.put(
        rows::patient_key(key.patient.as_ref(), Some(&key.id)),
        Vec::new(),
    );
}

/// A row of a type with fixed shape.
pub(crate) fn pack_row<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).expect("a row has no maps of unknown length")
}

/// Reads a row of [`pack_row`].
pub(crate) fn unpack_row<'a, T: Deserialize<'a>>(row: &'a [u8]) -> Result<T> {
    postcard::from_bytes(row).map_err(|_| Error::integrity("a row of the vault is damaged"))
}

impl Rows for ReadTxn {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Self::get(self, key)
    }

    fn scan(&self, prefix: &[u8], from: &[u8], each: Each<'_>) -> Result<()> {
        walk(self.range(from, &rows::after(prefix))?, each)
    }
}

impl Rows for WriteTxn {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Self::get(self, key)
    }

    fn scan(&self, prefix: &[u8], from: &[u8], each: Each<'_>) -> Result<()> {
        walk(self.range(from, &rows::after(prefix))?, each)
    }
}

impl Rows for Work {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.txn.get(key)
    }

    fn scan(&self, prefix: &[u8], from: &[u8], each: Each<'_>) -> Result<()> {
        self.txn.scan(prefix, from, each)
    }
}

fn walk(entries: impl Iterator<Item = Result<rows::Row>>, each: Each<'_>) -> Result<()> {
    for row in entries {
        let (key, value) = row?;
        if !each(&key, &value)? {
            break;
        }
    }
    Ok(())
}
