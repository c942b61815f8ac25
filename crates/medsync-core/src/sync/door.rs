//! The protocol's readers, for fuzzing: what they read lies behind a handshake and is private
//! otherwise.

use crate::crypto::key::Secret;
use crate::crypto::sign::SigningKey;
use crate::error::Result;
use crate::ids::{AuthorKey, ChainId, CommitId, DeviceKey, ReplicaId};
use crate::ledger::certificate::{Certificate, Subject, Terms, authority_key, workspace_id};
use crate::ledger::membership::{Carrier, MemberItem, Membership};
use crate::ledger::receipt::Level;
use crate::model::pack::Lane;
use crate::sync::credential::{Credential, static_key, static_public};
use crate::sync::effect::{Chunk, Cursor, Done, Effect, Partial, Summary};
use crate::sync::hello::{Hello, Tier};
use crate::sync::outbox::Outbox;
use crate::sync::reconcile::read_ranks;
use crate::sync::session::{Identity, Meet, Session, Settings};
use crate::sync::sketch::{Decoder, SketchKey, Symbol};
use crate::sync::step::{Event, Step};
use crate::sync::transfer::Link;
use crate::sync::wire::{Message, Refused, record};
use crate::time::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Reads the messages of a record and writes what they said.
///
/// # Errors
/// As a session has them.
pub fn reread(payload: &[u8]) -> Result<Vec<u8>> {
    let messages = Message::parse_all(payload)?;
    Ok(messages.iter().flat_map(Message::to_bytes).collect())
}

/// A record of each kind of message, for seeds.
pub fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let mut hello = Hello::new(&summary(), Tier::Cursors, 1024, 4096);
    hello.partials = vec![Partial {
        handle: [3; 8],
        part: 1,
        offset: 2,
    }];
    let chunk = Chunk {
        handle: [1; 8],
        position: 300,
        lane: Lane::P0,
        part: 0,
        offset: 0,
        total: 3,
        last: true,
        bytes: vec![1, 2, 3],
    };
    let receipt = Message::Receipt {
        count: 2,
        level: Level::Stored,
        issued: Timestamp::new(1_700_000_000_000, 0),
        previous: [4; 32],
        signature: [5; 64],
    };
    let credential = Message::Credential {
        credential: identity(1).credential,
        certificate: identity(1).certificate,
    };
    let symbols = Message::Symbols {
        from: 0,
        items: 3,
        count: 2,
        bytes: vec![0; 26],
    };
    let last = Message::Final {
        count: 2,
        digest: [7; 16],
        head: 9,
    };
    let want = Message::Want {
        last: true,
        bytes: vec![1, 0x80, 1],
    };
    let bytes = |messages: &[Message]| messages.iter().flat_map(Message::to_bytes).collect();
    vec![
        ("hello", bytes(&[Message::Hello(Box::new(hello))])),
        ("symbols", bytes(&[symbols, Message::More(64)])),
        ("want", bytes(&[want])),
        ("chunk", bytes(&[Message::Chunk(chunk), Message::End(300)])),
        ("receipt", bytes(&[receipt, last])),
        ("credit", bytes(&[Message::Credit(4096), Message::Who])),
        ("refuse", bytes(&[Message::Refuse(Refused::Revoked)])),
        ("credential", bytes(&[credential])),
    ]
}

/// The first records of a handshake, for seeds: one that calls, and the body of its answer.
pub fn first_samples() -> Vec<(&'static str, Vec<u8>)> {
    let call = call(1).1.frames.concat();
    let mut answerer = Session::accept(identity(2), SETTINGS, Secret::take(&mut [7; 32]), 0);
    let answer = answerer.step(Event::Received(&call), 0).frames.concat();
    let body = answer.get(2..).unwrap_or_default().to_vec();
    let newer = record(&[9, 1, 2, 3]).unwrap_or_default();
    vec![("call", call), ("answer", body), ("newer", newer)]
}

/// Gives bytes to a session that listens, cut into pieces. Nothing may come of it.
pub fn listen(bytes: &[u8]) {
    let mut session = Session::accept(identity(2), SETTINGS, Secret::take(&mut [9; 32]), 0);
    for piece in bytes.chunks(700) {
        let step = session.step(Event::Received(piece), 0);
        assert!(step.effects.is_empty(), "nobody has shown who they are");
    }
}

/// Gives the second message of a handshake to a session that called.
pub fn answered(bytes: &[u8]) {
    let (mut session, step) = call(1);
    drop(step);
    if let Ok(bytes) = record(bytes) {
        let step = session.step(Event::Received(&bytes), 0);
        assert!(step.effects.is_empty(), "nobody has shown who they are");
    }
}

fn call(from: u8) -> (Session, Step) {
    let ephemeral = Secret::take(&mut [from + 100; 32]);
    Session::connect(identity(from), Meet::Anyone, SETTINGS, ephemeral, 0)
}

/// After an honest beginning a peer says what it likes, record by record of at most 4,096 bytes:
/// the session goes on or ends, and asks for no more than it may.
pub fn said(payload: &[u8]) {
    let (mut caller, step) = call(1);
    let mut answerer = Session::accept(identity(2), SETTINGS, Secret::take(&mut [7; 32]), 0);
    let mut to_answerer = step.frames.concat();
    for _ in 0..4 {
        let to_caller = drive(&mut answerer, Event::Received(&to_answerer)).0;
        to_answerer = drive(&mut caller, Event::Received(&to_caller)).0;
    }
    let mut stored = 0;
    for piece in payload.chunks(4096) {
        let mut outbox = Outbox::default();
        let Ok(messages) = Message::parse_all(piece) else {
            continue;
        };
        messages.iter().for_each(|message| outbox.push(message));
        let frames = outbox.flush(&mut caller.channel, 60_000, 60_000);
        let said = frames.map(|frames| frames.concat()).unwrap_or_default();
        stored += drive(&mut answerer, Event::Received(&said)).1;
    }
    assert!(stored <= payload.len(), "what was not sent is not stored");
    // A malformed payload as it is.
    if let Ok(body) = caller.channel.seal(payload.get(..4096).unwrap_or(payload))
        && let Ok(said) = record(&body)
    {
        drive(&mut answerer, Event::Received(&said));
    }
}

/// Carries a step out with a host that has little: frames, and bytes it was asked to store.
fn drive(session: &mut Session, event: Event<'_>) -> (Vec<u8>, usize) {
    let mut steps = VecDeque::from([session.step(event, 0)]);
    let (mut frames, mut stored) = (Vec::new(), 0);
    while let Some(step) = steps.pop_front() {
        let said = step.frames.concat();
        if !said.is_empty() {
            steps.push_back(session.step(Event::Written(said.len()), 0));
        }
        frames.extend(said);
        for effect in step.effects {
            let done = match effect {
                Effect::Look { .. } => Done::Looked(Box::new(summary())),
                Effect::Symbols { count, .. } => Done::Symbols(vec![Symbol::default(); count]),
                Effect::Rank { .. } => Done::Ranked(vec![1, 5]),
                Effect::Plan { .. } => Done::Planned(Vec::new()),
                Effect::Load { .. } => Done::Unreadable,
                Effect::Store { chunk, .. } => {
                    stored += chunk.bytes.len();
                    Done::Stored {
                        batch: None,
                        duplicate: false,
                        welcome: true,
                        evidence: Vec::new(),
                    }
                }
                _ => continue,
            };
            steps.push_back(session.step(Event::Done(done), 0));
        }
    }
    (frames, stored)
}

/// Symbols and places from anywhere: (how many symbols were taken, how many places).
pub fn sketch(bytes: &[u8]) -> (usize, usize) {
    let mut decoder = Decoder::new(SketchKey::new([7; 32]));
    let mut rest = bytes;
    while !rest.is_empty() {
        let Ok(symbol) = Symbol::decode(&mut rest, decoder.received(), 100) else {
            break;
        };
        if !matches!(decoder.push(&symbol, &Symbol::default()), Ok(false)) {
            break;
        }
    }
    let places = read_ranks(bytes).map(|ranks| ranks.len());
    (decoder.received(), places.unwrap_or(0))
}

const SETTINGS: Settings = Settings {
    link: Link::FAST,
    live: true,
};

fn summary() -> Summary {
    let mut cursor = Cursor {
        epoch: [8; 8],
        upto: 2,
        beyond: Vec::new(),
    };
    cursor.insert(7);
    Summary {
        epoch: [8; 16],
        head: 9,
        clock: Timestamp::new(1_700_000_000_000, 0),
        count: 3,
        digest: [6; 16],
        cursor: Some(cursor),
        partials: Vec::new(),
        symbols: vec![Symbol::default(); 64],
    }
}

fn device(name: u8) -> SigningKey {
    SigningKey::from_seed(&[name; 32])
}

fn identity(name: u8) -> Identity {
    let authority = authority_key(&[0xa0; 32]);
    let workspace = workspace_id(&authority.public());
    let mut membership = Membership::new(authority.public());
    let mut certificates = Vec::new();
    for name in [1, 2] {
        let subject = Subject::Device {
            key: DeviceKey(device(name).public()),
            recipient: None,
        };
        let terms = Terms::new(workspace, subject, "a device", [], Timestamp::new(1000, 0));
        let certificate = Certificate::issue(&authority, &terms).expect("the terms fit");
        certificates.push(certificate.bytes().to_vec());
        let chain = ChainId {
            author: AuthorKey(authority.public()),
            replica: ReplicaId([name; 16]),
        };
        let carrier = Carrier {
            hlc: Timestamp::new(2000, 0),
            chain,
            seq: 1,
            commit: CommitId([name; 32]),
        };
        membership.extend([(MemberItem::Certificate(certificate), carrier)]);
    }
    let secret = static_key(&device(name));
    let public = static_public(&secret);
    let issued = Timestamp::new(3000, 0);
    let credential = Credential::issue(&device(name), workspace, &public, issued);
    Identity {
        workspace,
        device: DeviceKey(device(name).public()),
        static_key: secret,
        credential: credential.expect("it fits its form").bytes().to_vec(),
        certificate: certificates.get(usize::from(name) - 1).cloned(),
        membership: Arc::new(membership),
        known: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_read_as_what_it_is_and_does_no_harm() {
        for (name, bytes) in samples() {
            assert_eq!(reread(&bytes).as_ref(), Ok(&bytes), "{name}");
            said(&bytes);
            listen(&bytes);
            answered(&bytes);
        }
    }

    #[test]
    fn an_honest_beginning_comes_to_an_end() {
        let (mut caller, step) = call(1);
        let mut answerer = Session::accept(identity(2), SETTINGS, Secret::take(&mut [7; 32]), 0);
        let mut to_answerer = step.frames.concat();
        for _ in 0..2 {
            let to_caller = drive(&mut answerer, Event::Received(&to_answerer)).0;
            to_answerer = drive(&mut caller, Event::Received(&to_caller)).0;
        }
        assert!(caller.is_in_sync() && answerer.is_in_sync());
    }
}
