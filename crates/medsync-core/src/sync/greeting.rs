//! The first records: which handshake, who the peer is, and whether it may come in.

use crate::ids::DeviceKey;
use crate::sync::credential::{self, Refusal, admit, pair_key};
use crate::sync::effect::Effect;
use crate::sync::handshake::{Channel, Keys, Pattern};
use crate::sync::outbox::Outbox;
use crate::sync::session::{Asked, BROKEN, MALFORMED, Meet, Phase, Session};
use crate::sync::step::{Ending, Notice, Step};
use crate::sync::wire::{Message, Refused, VERSION, record};

/// Answers to the first record, in clear.
const GOES_ON: u8 = 0;
const OTHER_VERSION: u8 = 1;
const UNREADABLE: u8 = 2;

impl Session {
    /// The responder's first record begins with an answer in clear; the handshake's second of its
    /// records with none.
    pub(crate) fn answer<'b>(
        &self,
        body: &'b [u8],
    ) -> std::result::Result<Option<&'b [u8]>, Ending> {
        match body.split_first() {
            Some((&GOES_ON, rest)) => Ok(Some(rest)),
            Some((&OTHER_VERSION, rest)) => Err(Ending::Incompatible {
                theirs: rest.first().copied().unwrap_or(0),
            }),
            Some((&UNREADABLE, _)) => Err(Ending::Elsewhere),
            _ => Err(MALFORMED),
        }
    }

    /// The responder reads the first record.
    pub(crate) fn first(
        &mut self,
        body: &[u8],
        step: &mut Step,
    ) -> std::result::Result<(), Ending> {
        let Some(([version, pattern], message)) = body.split_first_chunk() else {
            return Err(MALFORMED);
        };
        let pattern = Pattern::from_code(*pattern);
        let (Some(pattern), true) = (pattern, *version == VERSION) else {
            step.frames.extend(record(&[OTHER_VERSION, VERSION]).ok());
            return Err(Ending::Incompatible { theirs: *version });
        };
        self.channel = self.begin(pattern, None)?;
        let Ok(payload) = self.channel.open(message) else {
            step.frames.extend(record(&[UNREADABLE]).ok());
            return Err(Ending::Elsewhere);
        };
        self.outbox = Outbox::after(vec![GOES_ON]);
        match pattern {
            Pattern::Known => self.identify(payload, step),
            Pattern::Unknown => {
                self.introduce();
                self.phase = Phase::Shaking;
                self.shake(step)
            }
        }
    }

    fn begin(
        &mut self,
        pattern: Pattern,
        theirs: Option<[u8; 32]>,
    ) -> std::result::Result<Channel, Ending> {
        let keys = Keys {
            workspace: &self.us.workspace,
            ours: &self.us.static_key,
            theirs,
            ephemeral: self.ephemeral.take().ok_or(Ending::Misused)?,
        };
        Channel::begin(pattern, keys, self.initiator).map_err(|_| Ending::Misused)
    }

    /// The initiator's first record, or what it has to know before.
    pub(crate) fn call(&mut self, step: &mut Step) -> std::result::Result<(), Ending> {
        let (pattern, theirs) = match self.meet {
            Meet::Known { static_key, .. } => (Pattern::Known, Some(static_key)),
            Meet::Anyone => (Pattern::Unknown, None),
        };
        self.channel = self.begin(pattern, theirs)?;
        self.outbox = Outbox::after(vec![VERSION, pattern.code()]);
        let Some(static_key) = theirs else {
            self.phase = Phase::Shaking;
            return self.shake(step);
        };
        let device = self.us.known.get(&static_key).copied();
        let device = device.ok_or(Ending::Refused(Refusal::Stranger))?;
        admit(&self.us.membership, &device, None).map_err(Ending::Refused)?;
        self.phase = Phase::Opening;
        self.met(device, &static_key, None, step);
        Ok(())
    }

    pub(crate) fn introduce(&mut self) {
        self.outbox.push(&Message::Credential {
            credential: self.us.credential.clone(),
            certificate: self.us.certificate.clone(),
        });
    }

    pub(crate) fn shake(&mut self, step: &mut Step) -> std::result::Result<(), Ending> {
        let frame = self.outbox.shake(&mut self.channel);
        let frame = frame.map_err(|_| Ending::Misused)?;
        self.unwritten += frame.len();
        step.frames.push(frame);
        Ok(())
    }

    /// Finds out who the peer is before anything else that it says is read.
    pub(crate) fn identify(
        &mut self,
        payload: Vec<u8>,
        step: &mut Step,
    ) -> std::result::Result<(), Ending> {
        let static_key = self.channel.peer().ok_or(BROKEN)?;
        let (first, rest) = Message::parse_first(&payload).map_err(|_| MALFORMED)?;
        if let Some(Message::Credential {
            credential,
            certificate,
        }) = first
        {
            let rest = rest.to_vec();
            return self.check(&credential, certificate.as_deref(), rest, step);
        }
        if let Some(Message::Refuse(why)) = first {
            return Err(Ending::TurnedAway(why));
        }
        let Some(device) = self.us.known.get(&static_key).copied() else {
            if self.initiator {
                return Err(Ending::Refused(Refusal::Stranger));
            }
            self.phase = Phase::Unknown(payload);
            self.outbox.push(&Message::Who);
            return self.shake(step);
        };
        if let Err(refusal) = admit(&self.us.membership, &device, None) {
            return self.turn_away(refusal);
        }
        self.phase = Phase::Looking(payload);
        self.met(device, &static_key, None, step);
        Ok(())
    }

    /// The peer says who it is, after it was asked.
    pub(crate) fn introduced(
        &mut self,
        payload: &[u8],
        step: &mut Step,
    ) -> std::result::Result<(), Ending> {
        let Phase::Unknown(hello) = std::mem::replace(&mut self.phase, Phase::Ended) else {
            return Err(Ending::Misused);
        };
        match Message::parse_first(payload).map_err(|_| MALFORMED)?.0 {
            Some(Message::Credential {
                credential,
                certificate,
            }) => self.check(&credential, certificate.as_deref(), hello, step),
            _ => Err(Ending::Misbehaved("it did not say who it is")),
        }
    }

    fn check(
        &mut self,
        credential: &[u8],
        certificate: Option<&[u8]>,
        rest: Vec<u8>,
        step: &mut Step,
    ) -> std::result::Result<(), Ending> {
        let static_key = self.channel.peer().ok_or(BROKEN)?;
        let checked = credential::check(credential, &self.us.workspace, &static_key)
            .map_err(|_| Ending::Misbehaved("its credential is not for its key"))?;
        if let Err(refusal) = admit(&self.us.membership, &checked.device(), certificate) {
            return self.turn_away(refusal);
        }
        self.phase = if self.initiator {
            Phase::Opening
        } else {
            Phase::Looking(rest)
        };
        self.met(checked.device(), &static_key, Some(credential), step);
        Ok(())
    }

    fn turn_away(&mut self, refusal: Refusal) -> std::result::Result<(), Ending> {
        self.outbox.push(&Message::Refuse(match refusal {
            Refusal::Revoked => Refused::Revoked,
            Refusal::Stranger => Refused::Stranger,
        }));
        Err(Ending::Refused(refusal))
    }

    /// The peer may come in: what is here is said next.
    fn met(
        &mut self,
        device: DeviceKey,
        static_key: &[u8; 32],
        credential: Option<&[u8]>,
        step: &mut Step,
    ) {
        self.peer = Some(device);
        self.key = pair_key(&self.us.static_key, static_key);
        step.notices.push(Notice::Met(device));
        if let Some(credential) = credential {
            step.effects.push(Effect::Met {
                peer: device,
                credential: Some(credential.to_vec()),
            });
        }
        self.look(Asked::Hello, step);
    }
}
