//! What a vault sends: which batches, in which order, and their blocks.

use crate::error::{Error, Result};
use crate::ids::{BatchId, ChainId, DataKeyId, DeviceKey, RecordId};
use crate::ledger::batch::BatchHeader;
use crate::ledger::receipt::BatchRef;
use crate::model::pack::Lane;
use crate::sync::effect::{Ask, Done, Offer};
use crate::sync::reconcile::at_ranks;
use crate::sync::sketch::SketchKey;
use crate::time::Timestamp;
use crate::vault::Vault;
use crate::vault::branches::run;
use crate::vault::commit_row::CommitRow;
use crate::vault::connect::Connection;
use crate::vault::connect::block::{write_commits, write_keys};
use crate::vault::connect::log::{Log, key_use, reference};
use crate::vault::core::{DataKey, load_commit, load_data_key};
use crate::vault::rows::Rows;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

/// Blocks that are kept while their pieces are sent.
const BLOCKS_MAX: usize = 8;

/// Blocks under way.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    ready: VecDeque<(BatchId, Block)>,
    /// Positions of what is to be sent in this session.
    planned: HashSet<u64>,
}

/// Part 0 of a batch, and the keys it needs.
struct Block {
    bytes: Vec<u8>,
    keys: Vec<DataKeyId>,
    commits: u64,
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Block({} bytes)", self.bytes.len())
    }
}

/// The commits of a batch, first to last.
fn commits(rows: &dyn Rows, vault: &Vault, batch: &BatchHeader) -> Result<Vec<CommitRow>> {
    const LACKS: Error = Error::integrity("a batch lacks a commit");
    let places = run(rows, &vault.core, batch)?.ok_or(LACKS)?;
    let load = |(number, seq)| load_commit(rows, number, seq)?.ok_or(LACKS);
    places.into_iter().map(load).collect()
}

impl Connection {
    pub(super) fn plan(
        &mut self,
        vault: &Vault,
        peer: &DeviceKey,
        key: &SketchKey,
        ask: Ask,
    ) -> Result<Vec<Offer>> {
        let wanted: Vec<BatchId> = match ask {
            Ask::Since(cursor) => {
                let entries = self.log.entries();
                let new = entries
                    .filter(|(at, entry)| !cursor.has(*at) && entry.source.as_ref() != Some(peer));
                new.map(|(_, entry)| entry.id).collect()
            }
            Ask::Ranks(ranks) => {
                let items = at_ranks(&self.log.items(key), &ranks);
                return self.plan(vault, peer, key, Ask::Items(items));
            }
            Ask::Items(items) => {
                let items: HashSet<_> = items.into_iter().collect();
                let entries = self.log.entries().map(|(_, entry)| entry.id);
                entries
                    .filter(|id| items.contains(&key.item(&id.0)))
                    .collect()
            }
        };
        self.offers(vault, &wanted)
    }

    /// What was committed since the session began.
    pub(super) fn committed(&mut self, vault: &mut Vault) -> Result<Vec<Offer>> {
        let before = self.log.head();
        vault.seal()?;
        self.log = Log::catch_up(vault)?;
        let new = self.log.entries().filter(|(at, _)| *at > before);
        let new: Vec<BatchId> = new.map(|(_, entry)| entry.id).collect();
        self.offers(vault, &new)
    }

    /// Batches as they are offered: by the times of their commits, so that causes come first.
    fn offers(&mut self, vault: &Vault, ids: &[BatchId]) -> Result<Vec<Offer>> {
        let rows = vault.store.read()?;
        let mut found: Vec<(Timestamp, Offer, Vec<RecordId>)> = Vec::new();
        for id in ids {
            let Some(entry) = self.log.entry(id) else {
                continue;
            };
            let Some(signed) = Log::signed(&rows, entry)? else {
                continue;
            };
            let (mut lane, mut hlc, mut bytes) = (Lane::P3, None, 0usize);
            let mut records = Vec::new();
            for commit in commits(&rows, vault, &BatchHeader::parse(&signed.header)?)? {
                let fields = *commit.header()?.fields();
                lane = lane.min(fields.lane);
                hlc = hlc.or(Some(fields.hlc));
                bytes = bytes.saturating_add(commit.travels());
                for leaf in &commit.leaves {
                    records.extend(leaf.change()?.map(|(entry, _)| entry.record));
                }
            }
            let offer = Offer {
                batch: reference(&signed)?,
                position: self.log.position(id).unwrap_or(0),
                lane,
                bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
                needs: Vec::new(),
            };
            found.push((hlc.unwrap_or_default(), offer, records));
        }
        found.sort_by_key(|(hlc, offer, _)| (*hlc, offer.batch));
        self.blocks
            .planned
            .extend(found.iter().map(|(_, offer, _)| offer.position));
        Ok(with_needs(found))
    }

    pub(super) fn load(
        &mut self,
        vault: &Vault,
        batch: &BatchRef,
        part: u32,
        (offset, room): (u64, usize),
    ) -> Result<Done> {
        let at = match self.blocks.ready.iter().position(|(id, _)| *id == batch.id) {
            Some(at) => at,
            None => match self.make_block(vault, &batch.id)? {
                Some(block) => {
                    self.blocks.ready.push_back((batch.id, block));
                    if self.blocks.ready.len() > BLOCKS_MAX {
                        self.blocks.ready.pop_front();
                    }
                    self.blocks.ready.len() - 1
                }
                None => return Ok(Done::Unreadable),
            },
        };
        let missing = self.missing_keys(vault, &self.blocks.ready[at].1.keys)?;
        let block = &self.blocks.ready[at].1;
        if part == 0 {
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            let Some(rest) = block.bytes.get(from..).filter(|rest| !rest.is_empty()) else {
                return Ok(Done::Unreadable);
            };
            let bytes = rest.get(..room).unwrap_or(rest).to_vec();
            let (total, last) = (block.bytes.len() as u64, missing.is_empty());
            if last && from + bytes.len() == block.bytes.len() {
                self.counts.commits_sent += block.commits;
            }
            return Ok(Done::Loaded { total, last, bytes });
        }
        let (bytes, count) = write_keys(&missing, room);
        let last = count == missing.len();
        self.told
            .extend(missing.iter().take(count).map(|key| key.id));
        if last {
            self.counts.commits_sent += block.commits;
        }
        Ok(Done::Loaded {
            total: bytes.len() as u64,
            last,
            bytes: bytes.to_vec(),
        })
    }

    fn make_block(&self, vault: &Vault, id: &BatchId) -> Result<Option<Block>> {
        let rows = vault.store.read()?;
        let Some(entry) = self.log.entry(id) else {
            return Ok(None);
        };
        let Some(signed) = Log::signed(&rows, entry)? else {
            return Ok(None);
        };
        let commits = commits(&rows, vault, &BatchHeader::parse(&signed.header)?)?;
        let leaves = commits.iter().flat_map(|commit| &commit.leaves);
        let used = leaves.filter_map(|leaf| match leaf {
            crate::vault::commit_row::LeafRow::Change { key, .. } => Some(*key),
            _ => None,
        });
        let mut keys: Vec<DataKeyId> = used.collect();
        keys.sort_unstable();
        keys.dedup();
        let count = commits.len() as u64;
        Ok(Some(Block {
            bytes: write_commits(&signed, commits)?,
            keys,
            commits: count,
        }))
    }

    /// Of a batch's keys those that the peer cannot have: it does not have the batch that first used
    /// them, and was not told in this session.
    fn missing_keys(&self, vault: &Vault, keys: &[DataKeyId]) -> Result<Vec<DataKey>> {
        let rows = vault.store.read()?;
        let mut missing = Vec::new();
        for key in keys.iter().filter(|key| !self.told.contains(key)) {
            let first = rows.get(&key_use(key))?;
            let first = first.and_then(|row| row.try_into().ok());
            let first = first.map(u64::from_be_bytes);
            let there = self.log.entries().any(|(at, _)| Some(at) == first);
            if there && first.is_some_and(|at| !self.blocks.planned.contains(&at)) {
                continue;
            }
            let lost = Error::integrity("a stored change's data key is missing");
            missing.push(load_data_key(&rows, key)?.ok_or(lost)?);
        }
        Ok(missing)
    }
}

/// Each batch needs the one before it of its chain, and the last ones before it that changed the
/// same records: what those need follows.
fn with_needs(found: Vec<(Timestamp, Offer, Vec<RecordId>)>) -> Vec<Offer> {
    let mut chains: BTreeMap<ChainId, BatchId> = BTreeMap::new();
    let mut touched: HashMap<RecordId, BatchId> = HashMap::new();
    let mut offers = Vec::with_capacity(found.len());
    for (_, mut offer, records) in found {
        let id = offer.batch.id;
        let mut needs: HashSet<BatchId> =
            chains.insert(offer.batch.chain, id).into_iter().collect();
        for record in records {
            needs.extend(touched.insert(record, id));
        }
        needs.remove(&id);
        offer.needs = needs.into_iter().collect();
        offer.needs.sort_unstable();
        offers.push(offer);
    }
    offers
}
