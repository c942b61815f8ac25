//! Sessions of a real vault: what a [`Session`] asks for is read from and written to the store.
//!
//! The store keeps a log of the batches that are here whole, in the order in which they came: its
//! positions are what cursors of peers name. Pieces of a batch that a session brings are kept as they
//! come, and the batch enters by the same gate as one of a folder once it is whole.

mod block;
mod give;
mod log;
mod peer;
mod receipts;
mod take;
#[cfg(test)]
mod tests;

pub use peer::PeerInfo;

use crate::crypto::key::Secret;
use crate::error::{Error, Result};
use crate::ids::{DataKeyId, DeviceKey};
use crate::ledger::certificate::Subject;
use crate::ledger::membership::MemberItem;
use crate::sync::credential::{Credential, static_key, static_public};
use crate::sync::effect::{Done, Effect};
use crate::sync::session::{Identity, Meet, Session, Settings};
use crate::sync::step::{Event, Notice, Step};
use crate::vault::Vault;
use crate::vault::rows::{Rows as _, kind};
use give::Blocks;
use log::Log;
use peer::PeerRow;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;

/// What happens to a connection.
#[derive(Debug, Clone, Copy)]
pub enum Happening<'a> {
    /// Bytes came from the peer, in whatever pieces.
    Received(&'a [u8]),
    /// The transport took so many bytes of frames.
    Written(usize),
    /// Something may have been committed in the vault.
    Committed,
    /// Time has passed.
    Tick,
    /// The transport is gone, or the host ends it.
    Stop,
}

/// What the host of a connection must do now.
#[derive(Debug, Default)]
#[must_use = "a turn holds frames to send"]
pub struct Turn {
    /// Frames to send, in order.
    pub frames: Vec<Vec<u8>>,
    /// What the application may want to know.
    pub notices: Vec<Notice>,
    /// When to come back with [`Happening::Tick`] if nothing else happens, in milliseconds since 1970.
    pub wake_at_ms: Option<i64>,
    /// Why the vault could not go on, where it could not.
    pub fault: Option<Error>,
}

/// One session of a vault with a peer.
pub struct Connection {
    session: Session,
    log: Log,
    blocks: Blocks,
    /// Data keys that the peer was told of in this session.
    told: HashSet<DataKeyId>,
    /// Handles of batches that this session brings from the beginning.
    began: HashSet<[u8; 8]>,
    counts: Counts,
}

/// What a connection moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Bytes of frames to the peer.
    pub bytes_sent: u64,
    /// Bytes that came from it.
    pub bytes_received: u64,
    /// Frames to the peer.
    pub frames: u64,
    /// Commits to the peer.
    pub commits_sent: u64,
    /// Commits that are new here.
    pub commits_received: u64,
    /// Whether it went on with a batch of which a part had come before.
    pub resumed: bool,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.session.fmt(f)
    }
}

impl Vault {
    /// Calls a peer: one that was met before by its device, `None` for whoever answers.
    ///
    /// # Errors
    /// [`Error::Refused`] for a vault without a workspace, [`Error::NotFound`] for a peer that was
    /// never met, [`Error::Storage`] if the disk fails.
    pub fn connect(
        &mut self,
        peer: Option<&DeviceKey>,
        settings: Settings,
    ) -> Result<(Connection, Turn)> {
        let meet = match peer {
            None => Meet::Anyone,
            Some(device) => {
                let row = PeerRow::load(&self.store.read()?, device)?;
                let row = row.filter(|row| row.static_key != [0; 32]);
                let row = row.ok_or(Error::NotFound("peer that was met before"))?;
                Meet::Known {
                    static_key: row.static_key,
                    is_mutual: row.is_mutual,
                }
            }
        };
        let (identity, log, ephemeral) = self.begin_session()?;
        let now = self.env.now_ms();
        let (session, step) = Session::connect(identity, meet, settings, ephemeral, now);
        let mut connection = Connection::new(session, log);
        let turn = connection.carry_out(self, step);
        Ok((connection, turn))
    }

    /// Gets ready for whoever calls.
    ///
    /// # Errors
    /// As [`Vault::connect`].
    pub fn accept(&mut self, settings: Settings) -> Result<Connection> {
        let (identity, log, ephemeral) = self.begin_session()?;
        let now = self.env.now_ms();
        let session = Session::accept(identity, settings, ephemeral, now);
        Ok(Connection::new(session, log))
    }

    fn begin_session(&mut self) -> Result<(Identity, Log, Secret<32>)> {
        let workspace = self.core.workspace()?.id;
        // Carrying data is nobody's use of the vault: it locks when its people are idle.
        let used_ms = self.store.used_ms();
        self.seal()?;
        let log = Log::catch_up(self)?;
        let device = self.device()?;
        let secret = static_key(&device.signing);
        let now = self.core.clock.last();
        let public = static_public(&secret);
        let credential = Credential::issue(&device.signing, workspace, &public, now)?;
        let known = PeerRow::load_all(&self.store.read()?)?;
        let keys = known
            .into_iter()
            .map(|(device, row)| (row.static_key, device));
        let identity = Identity {
            workspace,
            device: self.core.meta.device,
            static_key: secret,
            credential: credential.bytes().to_vec(),
            certificate: self.own_certificate(),
            membership: Arc::clone(&self.core.membership),
            known: keys
                .filter(|(key, _)| *key != [0; 32])
                .collect::<BTreeMap<_, _>>(),
        };
        let ephemeral = Secret::random(&*self.env);
        self.store.put_back(used_ms);
        Ok((identity, log, ephemeral))
    }

    fn own_certificate(&self) -> Option<Vec<u8>> {
        let own = self.core.meta.device;
        let items = self.core.membership.items();
        let mine = items.filter_map(|(item, _)| match item {
            MemberItem::Certificate(certificate) => Some(certificate),
            _ => None,
        });
        let of = |subject: &Subject| matches!(subject, Subject::Device { key, .. } if *key == own);
        let newest = mine
            .filter(|certificate| of(&certificate.terms().subject))
            .last();
        newest.map(|certificate| certificate.bytes().to_vec())
    }
}

impl Connection {
    fn new(session: Session, log: Log) -> Self {
        Self {
            session,
            log,
            blocks: Blocks::default(),
            told: HashSet::new(),
            began: HashSet::new(),
            counts: Counts::default(),
        }
    }

    /// The session's own state.
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// What it moved.
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Takes what happened and says what to do. The vault must be the one that it was made for.
    pub fn step(&mut self, vault: &mut Vault, happening: Happening<'_>) -> Turn {
        let now = vault.env.now_ms();
        let event = match happening {
            Happening::Received(bytes) => {
                self.counts.bytes_received += bytes.len() as u64;
                Event::Received(bytes)
            }
            Happening::Written(bytes) => Event::Written(bytes),
            Happening::Tick => Event::Tick,
            Happening::Stop => Event::Stop,
            Happening::Committed => match self.committed(vault) {
                Ok(offers) => Event::Offered(offers),
                Err(fault) => {
                    return Turn {
                        fault: Some(fault),
                        ..Turn::default()
                    };
                }
            },
        };
        let used_ms = vault.store.used_ms();
        let step = self.session.step(event, now);
        let turn = self.carry_out(vault, step);
        vault.store.put_back(used_ms);
        turn
    }

    /// Carries out all that follows from a step.
    fn carry_out(&mut self, vault: &mut Vault, step: Step) -> Turn {
        let (mut turn, mut effects) = (Turn::default(), VecDeque::new());
        self.absorb(step, &mut turn, &mut effects);
        while let Some(effect) = effects.pop_front() {
            let done = match effect {
                Effect::Store { peer, epoch, chunk } => {
                    // Pieces that came together become durable together.
                    let mut chunks = vec![chunk];
                    while let Some(Effect::Store { .. }) = effects.front()
                        && let Some(Effect::Store { chunk, .. }) = effects.pop_front()
                    {
                        chunks.push(chunk);
                    }
                    let count = chunks.len();
                    let stored = self.store(vault, peer, epoch, chunks);
                    stored.unwrap_or_else(|fault| {
                        turn.fault = Some(fault);
                        vec![Done::Unavailable; count]
                    })
                }
                effect => {
                    let answered = !matches!(
                        effect,
                        Effect::Reached { .. }
                            | Effect::Forget { .. }
                            | Effect::Keep(_)
                            | Effect::Evidence(_)
                            | Effect::Met { .. }
                    );
                    match self.one(vault, effect) {
                        Ok(done) => done.into_iter().collect(),
                        Err(fault) => {
                            turn.fault = Some(fault);
                            let done = answered.then_some(Done::Unavailable);
                            done.into_iter().collect()
                        }
                    }
                }
            };
            let now = vault.env.now_ms();
            for done in done {
                let step = self.session.step(Event::Done(done), now);
                self.absorb(step, &mut turn, &mut effects);
            }
        }
        turn
    }

    fn absorb(&mut self, step: Step, turn: &mut Turn, effects: &mut VecDeque<Effect>) {
        self.counts.frames += step.frames.len() as u64;
        let bytes = step.frames.iter().map(|frame| frame.len() as u64);
        self.counts.bytes_sent += bytes.sum::<u64>();
        turn.frames.extend(step.frames);
        turn.notices.extend(step.notices);
        turn.wake_at_ms = step.wake_at_ms;
        effects.extend(step.effects);
    }

    fn one(&mut self, vault: &mut Vault, effect: Effect) -> Result<Option<Done>> {
        Ok(match effect {
            Effect::Look { peer, key } => Some(self.look(vault, &peer, &key)?),
            Effect::Symbols { key, from, count } => Some(self.log.symbols(&key, from, count)),
            Effect::Rank { key, difference } => Some(self.log.ranks(&key, &difference)),
            Effect::Plan { peer, key, ask } => {
                let offers = self.plan(vault, &peer, &key, ask)?;
                Some(Done::Planned(offers))
            }
            Effect::Load {
                batch,
                part,
                offset,
                room,
            } => Some(self.load(vault, &batch, part, (offset, room))?),
            Effect::Sign { peer, batches } => {
                let receipt = receipts::sign(vault, peer, &batches)?;
                Some(Done::Signed(Box::new(receipt)))
            }
            Effect::Keep(receipt) => {
                receipts::keep(vault, &receipt)?;
                None
            }
            Effect::Evidence(proof) => {
                vault.work(|work, _| {
                    let number = work.core.chain_no(proof.chain());
                    let place = number
                        .map(|no| crate::vault::rows::in_chain(kind::EVIDENCE, no, proof.seq()));
                    if let Some(place) = place
                        && work.get(&place)?.is_none()
                    {
                        work.txn.put(place, proof.bytes().to_vec());
                    }
                    Ok(())
                })?;
                None
            }
            effect => {
                peer::note(vault, effect)?;
                None
            }
        })
    }

    fn look(
        &self,
        vault: &Vault,
        peer: &DeviceKey,
        key: &crate::sync::sketch::SketchKey,
    ) -> Result<Done> {
        let rows = vault.store.read()?;
        let row = PeerRow::load(&rows, peer)?;
        let mut summary = self.log.summary(key);
        summary.epoch = vault.core.epoch.id;
        summary.clock = vault.core.clock.last();
        summary.cursor = row.and_then(|row| row.cursor());
        summary.partials = take::partials(&rows, peer)?;
        Ok(Done::Looked(Box::new(summary)))
    }
}
