//! One conversation of two replicas, as a state machine.
//!
//! [`Session::step`] takes what happened and says what to do. A session touches no store, no socket
//! and no clock; what it needs of them it asks for as effects. It can be dropped at any moment: what
//! was stored stays, and the next one goes on from there.

use crate::crypto::key::Secret;
use crate::error::Result;
use crate::ids::{DeviceKey, WorkspaceId};
use crate::ledger::membership::Membership;
use crate::sync::effect::{Done, Effect, Summary};
use crate::sync::handshake::Channel;
use crate::sync::hello::Hello;
use crate::sync::outbox::Outbox;
use crate::sync::reconcile::Finder;
use crate::sync::sketch::SketchKey;
use crate::sync::step::{Ending, Event, Notice, Step};
use crate::sync::transfer::{Incoming, Link, Outgoing};
use crate::sync::wire::{Inbox, Message, RECORD_BYTES_MAX, Refused};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

/// A peer that says nothing for so long while something is expected of it has stalled.
const SILENT_MS: i64 = 120_000;

/// Who this side is, and whom it knows.
pub struct Identity {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// This device.
    pub device: DeviceKey,
    /// Its static key.
    pub static_key: Secret<32>,
    /// Its word for that key.
    pub credential: Vec<u8>,
    /// Its certificate, for peers that it has not reached yet.
    pub certificate: Option<Vec<u8>>,
    /// Who belongs to the workspace.
    pub membership: Arc<Membership>,
    /// Static keys of peers that were met before.
    pub known: BTreeMap<[u8; 32], DeviceKey>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:?})", self.device)
    }
}

/// Whom to meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meet {
    /// A peer whose static key is known, and whether it has this side's.
    Known {
        /// The key.
        static_key: [u8; 32],
        /// Whether the peer knows this side's credential.
        is_mutual: bool,
    },
    /// Whoever answers.
    Anyone,
}

/// How a session is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How its link is used.
    pub link: Link,
    /// Whether it goes on after both sides hold the same, for what is written then.
    pub live: bool,
}

/// Where a session is.
#[derive(Debug)]
pub(crate) enum Phase {
    /// It will answer whoever calls.
    Listening,
    /// The initiator waits for its own summary before it says who it is.
    Opening,
    /// A message of the handshake is awaited.
    Shaking,
    /// The responder does not know whose key it is, and keeps unread what came with it.
    Unknown(Vec<u8>),
    /// The responder waits for its own summary, and keeps unread what came.
    Looking(Vec<u8>),
    /// The initiator said Hello.
    Greeted,
    /// Both said Hello.
    Meeting,
    /// It is over.
    Ended,
}

/// What was asked of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Hello,
    Final,
    Compare,
    /// The symbols that answer a peer's.
    OwnSymbols,
    /// The symbols that the peer needs.
    Symbols(usize),
    Rank,
    Plan,
    Load,
    Store,
    Sign,
}

/// How the difference is being found.
#[derive(Debug, Default)]
pub(crate) enum Finding {
    /// It is not, or is found.
    #[default]
    Idle,
    /// By the peer's symbols; those that wait for this side's own.
    Decoding {
        finder: Box<Finder>,
        theirs: Vec<crate::sync::sketch::Symbol>,
    },
    /// The peer finds it by this side's symbols, of which it has so many.
    Sending(usize),
    /// The peer found it, and names what it wants.
    Wanted(Vec<u64>),
}

/// One side of a session.
pub struct Session {
    pub(crate) us: Identity,
    pub(crate) settings: Settings,
    pub(crate) initiator: bool,
    pub(crate) phase: Phase,
    pub(crate) channel: Channel,
    pub(crate) ephemeral: Option<Secret<32>>,
    pub(crate) meet: Meet,
    inbox: Inbox,
    pub(crate) outbox: Outbox,
    pub(crate) asked: VecDeque<Asked>,
    pub(crate) peer: Option<DeviceKey>,
    pub(crate) key: SketchKey,
    pub(crate) ours: Option<Summary>,
    pub(crate) said: Option<Hello>,
    pub(crate) theirs: Option<Hello>,
    pub(crate) finding: Finding,
    pub(crate) ranks: VecDeque<crate::sync::sketch::Difference>,
    pub(crate) out: Outgoing,
    pub(crate) inc: Incoming,
    /// What this side holds after everything was taken up, once it said so.
    pub(crate) final_said: Option<(u64, [u8; 16])>,
    /// Whether something was offered since.
    pub(crate) is_final_old: bool,
    pub(crate) their_final: Option<(u64, [u8; 16], u64)>,
    pub(crate) in_sync: bool,
    pub(crate) unwritten: usize,
    last_ms: i64,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("phase", &self.phase)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Calls a peer. `ephemeral` is drawn anew for each session and used for nothing else.
    pub fn connect(
        us: Identity,
        meet: Meet,
        settings: Settings,
        ephemeral: Secret<32>,
        now_ms: i64,
    ) -> (Self, Step) {
        let mut session = Self::new(us, meet, settings, ephemeral, now_ms, true);
        let mut step = Step::default();
        if let Err(ending) = session.call(&mut step) {
            session.end(&mut step, ending);
        }
        session.finish(&mut step);
        (session, step)
    }

    /// Waits for whoever calls. `ephemeral` as for [`Session::connect`].
    pub fn accept(us: Identity, settings: Settings, ephemeral: Secret<32>, now_ms: i64) -> Self {
        Self::new(us, Meet::Anyone, settings, ephemeral, now_ms, false)
    }

    fn new(
        us: Identity,
        meet: Meet,
        settings: Settings,
        ephemeral: Secret<32>,
        now_ms: i64,
        initiator: bool,
    ) -> Self {
        Self {
            us,
            settings,
            initiator,
            phase: Phase::Listening,
            channel: Channel::Closed,
            ephemeral: Some(ephemeral),
            meet,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            asked: VecDeque::new(),
            peer: None,
            key: SketchKey::new([0; 32]),
            ours: None,
            said: None,
            theirs: None,
            finding: Finding::Idle,
            ranks: VecDeque::new(),
            out: Outgoing::default(),
            inc: Incoming::new(),
            final_said: None,
            is_final_old: false,
            their_final: None,
            in_sync: false,
            unwritten: 0,
            last_ms: now_ms,
        }
    }

    /// Whether both sides were found to hold the same.
    pub const fn is_in_sync(&self) -> bool {
        self.in_sync
    }

    /// Whether the session is over.
    pub const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// The peer, once it has shown who it is.
    pub const fn peer(&self) -> Option<DeviceKey> {
        self.peer
    }

    /// How many batches wait to be sent.
    pub fn outgoing(&self) -> usize {
        self.out.waiting()
    }

    /// Takes what happened and says what to do. `now_ms` only measures how long the peer was silent.
    pub fn step(&mut self, event: Event<'_>, now_ms: i64) -> Step {
        let mut step = Step::default();
        if self.is_over() {
            return step;
        }
        if let Err(ending) = self.take(event, now_ms, &mut step) {
            self.end(&mut step, ending);
        }
        self.finish(&mut step);
        step
    }

    fn take(
        &mut self,
        event: Event<'_>,
        now_ms: i64,
        step: &mut Step,
    ) -> std::result::Result<(), Ending> {
        match event {
            Event::Received(bytes) => {
                self.last_ms = now_ms;
                self.receive(bytes, step)
            }
            Event::Written(bytes) => {
                self.last_ms = now_ms;
                self.unwritten = self.unwritten.saturating_sub(bytes);
                Ok(())
            }
            Event::Done(done) => self.done(done, step),
            Event::Offered(offers) => {
                // Before there is a plan, the plan will have them.
                if self.out.is_planned() && !offers.is_empty() {
                    self.is_final_old = true;
                    self.out.add(offers, &[]);
                }
                Ok(())
            }
            Event::Tick
                if self.is_waiting() && now_ms.saturating_sub(self.last_ms) >= SILENT_MS =>
            {
                Err(Ending::Stalled)
            }
            Event::Tick => Ok(()),
            Event::Stop => Err(Ending::Stopped),
        }
    }

    /// Whether something is expected of the peer or of the transport.
    const fn is_waiting(&self) -> bool {
        let calls = !matches!(self.phase, Phase::Listening);
        self.unwritten > 0 || (calls && !self.in_sync)
    }

    fn receive(&mut self, bytes: &[u8], step: &mut Step) -> std::result::Result<(), Ending> {
        let mut inbox = std::mem::take(&mut self.inbox);
        let mut done = Ok(());
        inbox.push(bytes, &mut |body| {
            done = self.body(body, step);
            done.is_ok() && !self.is_over()
        });
        self.inbox = inbox;
        done
    }

    /// One record came.
    fn body(&mut self, body: &[u8], step: &mut Step) -> std::result::Result<(), Ending> {
        let body = match self.phase {
            Phase::Listening => return self.first(body, step),
            Phase::Opening => return Err(Ending::Misbehaved("a record came before it was due")),
            Phase::Shaking | Phase::Greeted if self.initiator && !self.is_open() => {
                match self.answer(body)? {
                    Some(rest) => rest,
                    None => body,
                }
            }
            _ => body,
        };
        let payload = self.channel.open(body).map_err(|_| BROKEN)?;
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Shaking => self.identify(payload, step),
            Phase::Unknown(hello) => {
                self.phase = Phase::Unknown(hello);
                self.introduced(&payload, step)
            }
            phase @ (Phase::Greeted | Phase::Meeting) => {
                self.phase = phase;
                let messages = Message::parse_all(&payload).map_err(|_| MALFORMED)?;
                let mut messages = messages.into_iter();
                messages.try_for_each(|message| self.message(message, step))
            }
            _ => Err(Ending::Misbehaved("a record came before it was due")),
        }
    }

    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.channel, Channel::Open(_))
    }

    pub(crate) fn look(&mut self, why: Asked, step: &mut Step) {
        if let Some(peer) = self.peer {
            let key = self.key.clone();
            self.ask(Effect::Look { peer, key }, why, step);
        }
    }

    pub(crate) fn ask(&mut self, effect: Effect, answer: Asked, step: &mut Step) {
        self.asked.push_back(answer);
        step.effects.push(effect);
    }

    fn done(&mut self, done: Done, step: &mut Step) -> std::result::Result<(), Ending> {
        let asked = self.asked.pop_front().ok_or(Ending::Misused)?;
        match (asked, done) {
            (_, Done::Unavailable) => {
                self.outbox.push(&Message::Refuse(Refused::Unavailable));
                Err(Ending::Unavailable)
            }
            (Asked::Hello, Done::Looked(summary)) => self.greet(*summary, step),
            (asked, done) => self.completed(asked, done, step),
        }
    }

    /// This side's summary is known: it says Hello.
    fn greet(&mut self, summary: Summary, step: &mut Step) -> std::result::Result<(), Ending> {
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Opening => {
                let mutual = Meet::Known {
                    static_key: self.channel.peer().unwrap_or_default(),
                    is_mutual: true,
                };
                if self.meet != mutual {
                    self.introduce();
                }
                self.say_hello(summary);
                self.phase = Phase::Greeted;
                self.shake(step)
            }
            Phase::Looking(payload) => {
                self.phase = Phase::Meeting;
                self.ours = Some(summary);
                let messages = Message::parse_all(&payload).map_err(|_| MALFORMED)?;
                self.hear_hello(messages, step)?;
                if self.is_open() {
                    Ok(())
                } else {
                    self.shake(step)
                }
            }
            _ => Err(Ending::Misused),
        }
    }

    /// Sends what waits, asks for more, and says when to come back.
    fn finish(&mut self, step: &mut Step) {
        if let Err(ending) = self.progress(step) {
            self.end(step, ending);
        }
        let short = self.outbox.len() < self.settings.link.frame;
        let gathers = self.out.is_loading() && short && !self.is_over();
        if !gathers && self.outbox.len() > 0 && self.is_open() {
            let link = self.settings.link;
            let record = self.record();
            let frames = self.outbox.flush(&mut self.channel, record, link.frame);
            for frame in frames.unwrap_or_default() {
                self.unwritten += frame.len();
                step.frames.push(frame);
            }
        }
        step.wake_at_ms =
            (!self.is_over() && self.is_waiting()).then(|| self.last_ms.saturating_add(SILENT_MS));
    }

    /// The length of records that suits both links.
    pub(crate) fn record(&self) -> usize {
        let theirs = self.theirs.as_ref().map_or(u64::MAX, |hello| hello.record);
        let theirs = usize::try_from(theirs).unwrap_or(usize::MAX).max(256);
        let both = self.settings.link.record.min(theirs);
        both.min(RECORD_BYTES_MAX)
    }

    /// Whether the transport has room for more.
    pub(crate) const fn has_room(&self) -> bool {
        self.unwritten + self.outbox.len() < self.settings.link.window
    }

    fn end(&mut self, step: &mut Step, ending: Ending) {
        if self.is_over() && step.notices.iter().any(|n| matches!(n, Notice::Ended(_))) {
            return;
        }
        self.phase = Phase::Ended;
        // A refusal rides in the handshake where that is still going on.
        if self.outbox.len() > 0
            && matches!(self.channel, Channel::Shaking(_))
            && let Ok(frame) = self.outbox.shake(&mut self.channel)
        {
            step.frames.push(frame);
        }
        step.notices.push(Notice::Ended(ending));
    }
}

pub(crate) const MALFORMED: Ending = Ending::Misbehaved("a message is malformed");
pub(crate) const BROKEN: Ending = Ending::Misbehaved("a record is not by the peer of this session");

/// Whether a result of the engine says that the peer breaks the protocol.
pub(crate) fn strict<T>(result: Result<T>, what: &'static str) -> std::result::Result<T, Ending> {
    result.map_err(|_| Ending::Misbehaved(what))
}
