//! A host in memory: a log of batches, cursors, receipts.

use crate::crypto::key::Secret;
use crate::crypto::sign::SigningKey;
use crate::ids::{AuthorKey, BatchId, ChainId, CommitId, DeviceKey, ReplicaId};
use crate::ledger::certificate::{Certificate, Subject, Terms, authority_key, workspace_id};
use crate::ledger::membership::{Carrier, MemberItem, Membership};
use crate::ledger::receipt::{BatchRef, Level, Receipt, ReceiptTerms};
use crate::model::pack::Lane;
use crate::sync::credential::{Credential, static_key, static_public};
use crate::sync::effect::{
    Ask, Chunk, Cursor, Done, Effect, FIRST_SYMBOLS, Offer, Partial, Summary,
};
use crate::sync::hello::epoch_mark;
use crate::sync::reconcile::{SetDigest, at_ranks, ranks};
use crate::sync::session::{Identity, Meet};
use crate::sync::sketch::{Sketch, SketchItem, SketchKey};
use crate::time::Timestamp;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// A batch as this host keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sync) struct Held {
    pub(in crate::sync) batch: BatchRef,
    pub(in crate::sync) lane: Lane,
    bytes: Vec<u8>,
    needs: Vec<BatchId>,
    from: Option<DeviceKey>,
}

#[derive(Debug, Clone, Default)]
struct Staged {
    part: u32,
    block: Vec<u8>,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone)]
pub(in crate::sync) struct Host {
    pub(in crate::sync) name: u8,
    signing: SigningKey,
    pub(in crate::sync) membership: Arc<Membership>,
    pub(in crate::sync) certificate: Option<Vec<u8>>,
    pub(in crate::sync) epoch: [u8; 16],
    pub(in crate::sync) log: Vec<Held>,
    pub(in crate::sync) cursors: BTreeMap<DeviceKey, Cursor>,
    staged: HashMap<[u8; 8], Staged>,
    pub(in crate::sync) known: BTreeMap<[u8; 32], DeviceKey>,
    pub(in crate::sync) mutual: HashSet<DeviceKey>,
    pub(in crate::sync) given: Vec<Receipt>,
    pub(in crate::sync) got: Vec<Receipt>,
    /// Bytes of chunks that were here already.
    pub(in crate::sync) again: usize,
    pub(in crate::sync) taken: usize,
    pub(in crate::sync) is_full: bool,
    pub(in crate::sync) block: usize,
    drawn: u8,
    written: u64,
}

pub(in crate::sync) fn device(name: u8) -> SigningKey {
    SigningKey::from_seed(&[name; 32])
}

/// Hosts of one workspace that know each other's devices, but have never met.
pub(in crate::sync) fn hosts<const N: usize>() -> [Host; N] {
    let authority = authority_key(&[0xa0; 32]);
    let workspace = workspace_id(&authority.public());
    let mut items = Vec::new();
    let mut certificates = Vec::new();
    for name in 1..=u8::try_from(N).expect("few") {
        let key = DeviceKey(device(name).public());
        let subject = Subject::Device {
            key,
            recipient: None,
        };
        let terms = Terms::new(workspace, subject, "a device", [], Timestamp::new(1000, 0));
        let certificate = Certificate::issue(&authority, &terms).expect("a certificate");
        certificates.push(certificate.bytes().to_vec());
        items.push((MemberItem::Certificate(certificate), carrier(name)));
    }
    let mut membership = Membership::new(authority.public());
    membership.extend(items);
    let membership = Arc::new(membership);
    std::array::from_fn(|at| {
        let name = u8::try_from(at + 1).expect("few");
        Host {
            name,
            signing: device(name),
            membership: Arc::clone(&membership),
            certificate: certificates.get(at).cloned(),
            epoch: [name; 16],
            log: Vec::new(),
            cursors: BTreeMap::new(),
            staged: HashMap::new(),
            known: BTreeMap::new(),
            mutual: HashSet::new(),
            given: Vec::new(),
            got: Vec::new(),
            again: 0,
            taken: 0,
            is_full: false,
            block: 3000,
            drawn: 0,
            written: 0,
        }
    })
}

pub(in crate::sync) fn carrier(name: u8) -> Carrier {
    let author = AuthorKey(authority_key(&[0xa0; 32]).public());
    let chain = ChainId {
        author,
        replica: ReplicaId([name; 16]),
    };
    Carrier {
        hlc: Timestamp::new(2000, 0),
        chain,
        seq: 1,
        commit: CommitId([name; 32]),
    }
}

impl Host {
    pub(in crate::sync) fn device(&self) -> DeviceKey {
        DeviceKey(self.signing.public())
    }

    pub(in crate::sync) fn static_public(&self) -> [u8; 32] {
        static_public(&static_key(&self.signing))
    }

    pub(in crate::sync) fn identity(&self) -> Identity {
        let workspace = *self.membership.workspace();
        let issued = Timestamp::new(3000, 0);
        let credential = Credential::issue(&self.signing, workspace, &self.static_public(), issued);
        Identity {
            workspace,
            device: self.device(),
            static_key: static_key(&self.signing),
            credential: credential.expect("a credential").bytes().to_vec(),
            certificate: self.certificate.clone(),
            membership: Arc::clone(&self.membership),
            known: self.known.clone(),
        }
    }

    pub(in crate::sync) fn ephemeral(&mut self) -> Secret<32> {
        self.drawn += 1;
        Secret::take(&mut blake3::derive_key("test", &[self.name, self.drawn]))
    }

    pub(in crate::sync) fn how_to_meet(&self, other: &Self) -> Meet {
        if self.known.contains_key(&other.static_public()) {
            Meet::Known {
                static_key: other.static_public(),
                is_mutual: self.mutual.contains(&other.device()),
            }
        } else {
            Meet::Anyone
        }
    }

    /// Writes a batch of about `len` bytes, which hold noise.
    pub(in crate::sync) fn write(&mut self, lane: Lane, len: usize, needs: &[BatchId]) -> BatchId {
        self.written += 1;
        let mut bytes = vec![0; len];
        let mut noise = blake3::Hasher::new();
        noise
            .update(&[self.name])
            .update(&self.written.to_le_bytes());
        noise.finalize_xof().fill(&mut bytes);
        let chain = ChainId {
            author: AuthorKey([self.name; 32]),
            replica: ReplicaId([self.name; 16]),
        };
        let batch = BatchRef {
            chain,
            first: self.written,
            last: self.written,
            id: BatchId(*blake3::hash(&bytes).as_bytes()),
        };
        self.log.push(Held {
            batch,
            lane,
            bytes: head(&batch, lane, &bytes),
            needs: needs.to_vec(),
            from: None,
        });
        batch.id
    }

    pub(in crate::sync) fn offer(&self, id: &BatchId) -> Offer {
        let at = self.log.iter().position(|h| h.batch.id == *id);
        self.offer_at(at.expect("it is here"))
    }

    fn offer_at(&self, at: usize) -> Offer {
        let held = &self.log[at];
        Offer {
            batch: held.batch,
            position: at as u64 + 1,
            lane: held.lane,
            bytes: u32::try_from(held.bytes.len()).expect("short"),
            needs: held.needs.clone(),
        }
    }

    pub(in crate::sync) fn ids(&self) -> Vec<BatchId> {
        let mut ids: Vec<_> = self.log.iter().map(|h| h.batch.id).collect();
        ids.sort_unstable();
        ids
    }

    fn items(&self, key: &SketchKey) -> Vec<SketchItem> {
        self.log.iter().map(|h| key.item(&h.batch.id.0)).collect()
    }

    fn sketch(&self, key: &SketchKey, len: usize) -> Sketch {
        let mut sketch = Sketch::new(key.clone(), len);
        self.items(key)
            .into_iter()
            .for_each(|item| sketch.insert(item));
        sketch
    }

    fn look(&self, peer: &DeviceKey, key: &SketchKey) -> Summary {
        let mut digest = SetDigest::default();
        self.log
            .iter()
            .for_each(|h| digest.insert(key, &h.batch.id.0));
        let partial = |(handle, staged): (&[u8; 8], &Staged)| Partial {
            handle: *handle,
            part: staged.part,
            offset: staged.block.len() as u64,
        };
        Summary {
            epoch: self.epoch,
            head: self.log.len() as u64,
            clock: Timestamp::new(5000, 0),
            count: self.log.len() as u64,
            digest: digest.to_bytes(),
            cursor: self.cursors.get(peer).cloned(),
            partials: self.staged.iter().map(partial).collect(),
            symbols: self.sketch(key, FIRST_SYMBOLS).symbols().to_vec(),
        }
    }

    fn plan(&self, peer: &DeviceKey, key: &SketchKey, ask: Ask) -> Vec<Offer> {
        let all = 0..self.log.len();
        match ask {
            Ask::Since(cursor) => {
                assert!(cursor.upto == 0 || cursor.epoch == epoch_mark(&self.epoch));
                let new =
                    |at: &usize| self.log[*at].from != Some(*peer) && !cursor.has(*at as u64 + 1);
                all.filter(new).map(|at| self.offer_at(at)).collect()
            }
            Ask::Ranks(ranks) => {
                let items = at_ranks(&self.items(key), &ranks);
                self.plan(peer, key, Ask::Items(items))
            }
            Ask::Items(items) => {
                let items: HashSet<_> = items.into_iter().collect();
                let wanted = |at: &usize| items.contains(&key.item(&self.log[*at].batch.id.0));
                all.filter(wanted).map(|at| self.offer_at(at)).collect()
            }
        }
    }

    fn load(&self, batch: &BatchRef, part: u32, offset: u64, room: usize) -> Done {
        let Some(held) = self.log.iter().find(|h| h.batch == *batch) else {
            return Done::Unreadable;
        };
        let blocks: Vec<&[u8]> = held.bytes.chunks(self.block).collect();
        let at = usize::try_from(part).expect("few parts");
        let from = usize::try_from(offset).expect("short");
        let Some(bytes) = blocks.get(at).and_then(|block| block.get(from..)) else {
            return Done::Unreadable;
        };
        Done::Loaded {
            total: blocks[at].len() as u64,
            last: at + 1 == blocks.len(),
            bytes: bytes[..bytes.len().min(room)].to_vec(),
        }
    }

    fn store(&mut self, peer: DeviceKey, epoch: [u8; 8], chunk: Chunk) -> Done {
        if self.is_full {
            return Done::Unavailable;
        }
        self.taken += chunk.bytes.len();
        let here = |h: &Held| h.batch.id.0.starts_with(&chunk.handle);
        let duplicate = self.log.iter().any(here);
        let staged = self.staged.entry(chunk.handle).or_default();
        let place = (chunk.part, usize::try_from(chunk.offset).expect("short"));
        if duplicate || place < (staged.part, staged.block.len()) {
            self.again += chunk.bytes.len();
        }
        if place.0 == 0 && place.1 == 0 {
            *staged = Staged::default();
        }
        if place != (staged.part, staged.block.len()) {
            return Done::Rejected("a part is missing");
        }
        staged.block.extend(&chunk.bytes);
        let mut batch = None;
        if chunk.ends_block() {
            staged.bytes.append(&mut staged.block);
            staged.part += 1;
            if chunk.last {
                let bytes = std::mem::take(&mut staged.bytes);
                self.staged.remove(&chunk.handle);
                let Some(held) = parse(&bytes, peer) else {
                    return Done::Rejected("a batch is not what it says");
                };
                batch = Some(held.batch);
                if !duplicate {
                    self.log.push(held);
                }
                let cursor = self.cursors.entry(peer).or_default();
                if cursor.epoch != epoch {
                    *cursor = Cursor {
                        epoch,
                        ..Cursor::default()
                    };
                }
                cursor.insert(chunk.position);
            }
        }
        Done::Stored {
            batch,
            duplicate,
            welcome: true,
            evidence: Vec::new(),
        }
    }

    fn sign(&mut self, peer: DeviceKey, batches: &[BatchRef]) -> Receipt {
        let (ranges, root) = ReceiptTerms::cover(batches);
        for batch in batches {
            assert!(
                self.ids().contains(&batch.id),
                "a receipt for what is not here"
            );
        }
        let terms = ReceiptTerms {
            workspace: *self.membership.workspace(),
            receiver: self.device(),
            sender: peer,
            epoch: self.epoch,
            ranges,
            root,
            level: Level::Stored,
            issued: Timestamp::new(6000, 0),
            previous: self.given.last().map(Receipt::hash).unwrap_or_default(),
        };
        let receipt = Receipt::issue(&self.signing, &terms).expect("a receipt");
        self.given.push(receipt.clone());
        receipt
    }

    pub(in crate::sync) fn carry_out(&mut self, effect: Effect) -> Option<Done> {
        Some(match effect {
            Effect::Look { peer, key } => Done::Looked(Box::new(self.look(&peer, &key))),
            Effect::Symbols { key, from, count } => {
                let sketch = self.sketch(&key, from + count);
                Done::Symbols(sketch.symbols()[from..].to_vec())
            }
            Effect::Rank { key, difference } => Done::Ranked(ranks(&self.items(&key), &difference)),
            Effect::Plan { peer, key, ask } => Done::Planned(self.plan(&peer, &key, ask)),
            Effect::Load {
                batch,
                part,
                offset,
                room,
            } => self.load(&batch, part, offset, room),
            Effect::Store { peer, epoch, chunk } => self.store(peer, epoch, chunk),
            Effect::Sign { peer, batches } => Done::Signed(Box::new(self.sign(peer, &batches))),
            Effect::Reached {
                peer,
                epoch,
                position,
            } => {
                let cursor = self.cursors.entry(peer).or_default();
                if cursor.epoch != epoch {
                    *cursor = Cursor {
                        epoch,
                        ..Cursor::default()
                    };
                }
                cursor.reach(position);
                return None;
            }
            Effect::Forget { peer } => {
                self.cursors.remove(&peer);
                return None;
            }
            Effect::Keep(receipt) => {
                self.got.push(*receipt);
                return None;
            }
            Effect::Met { peer, credential } => {
                match credential {
                    Some(bytes) => {
                        let credential = Credential::parse(&bytes).expect("it was checked");
                        self.known.insert(*credential.static_key(), peer);
                    }
                    None => drop(self.mutual.insert(peer)),
                }
                return None;
            }
            Effect::Evidence(_) => return None,
        })
    }
}

fn head(batch: &BatchRef, lane: Lane, bytes: &[u8]) -> Vec<u8> {
    let lane = match lane {
        Lane::P0 => 0,
        Lane::P1 => 1,
        Lane::P2 => 2,
        Lane::P3 => 3,
    };
    let name = batch.chain.author.0[0];
    [&[name, lane][..], &batch.first.to_be_bytes(), bytes].concat()
}

fn parse(bytes: &[u8], from: DeviceKey) -> Option<Held> {
    let (&[name, lane], rest) = bytes.split_first_chunk()?;
    let (first, noise) = rest.split_first_chunk()?;
    let first = u64::from_be_bytes(*first);
    let lanes = [Lane::P0, Lane::P1, Lane::P2, Lane::P3];
    let chain = ChainId {
        author: AuthorKey([name; 32]),
        replica: ReplicaId([name; 16]),
    };
    let batch = BatchRef {
        chain,
        first,
        last: first,
        id: BatchId(*blake3::hash(noise).as_bytes()),
    };
    Some(Held {
        batch,
        lane: *lanes.get(usize::from(lane))?,
        bytes: bytes.to_vec(),
        needs: Vec::new(),
        from: Some(from),
    })
}
