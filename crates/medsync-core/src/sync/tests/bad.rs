//! Peers that are not what they should be: each ends its own session and changes nothing.

use super::host::{Host, carrier, hosts};
use super::meet::met;
use super::{FAST, Outcome, SLOW, Wire, run};
use crate::ledger::certificate::authority_key;
use crate::ledger::membership::{MemberItem, Membership};
use crate::ledger::receipt::Level;
use crate::ledger::revocation::{Revocation, RevocationTerms};
use crate::model::pack::Lane;
use crate::phi::Phi;
use crate::sync::credential::Refusal;
use crate::sync::effect::{Chunk, Done, Effect};
use crate::sync::hello::{Hello, Tier};
use crate::sync::outbox::Outbox;
use crate::sync::session::{Meet, Session};
use crate::sync::sketch::{SYMBOLS_MAX, Symbol};
use crate::sync::step::{Ending, Event, Notice, Step};
use crate::sync::transfer::CREDIT_BYTES;
use crate::sync::wire::{Message, Refused, record};
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

fn ending(step: &Step) -> Option<Ending> {
    step.notices.iter().find_map(|notice| match notice {
        Notice::Ended(ending) => Some(*ending),
        _ => None,
    })
}

fn is_misbehaviour(step: &Step) -> bool {
    matches!(ending(step), Some(Ending::Misbehaved(_)))
}

/// A session in which one side says what it wants, after an honest beginning.
struct Evil {
    session: Session,
    victim: Session,
}

impl Evil {
    /// The victim called, or was called; both have something to send, which neither has begun with.
    fn new(a: &mut Host, b: &mut Host, victim_calls: bool) -> Self {
        a.write(Lane::P2, 500, &[]);
        b.write(Lane::P2, 500, &[]);
        let mut wire = Wire::new(a, b, [SLOW; 2], usize::MAX);
        assert!(wire.half_trip() && wire.half_trip());
        let [caller, answerer] = wire.sessions;
        let (session, victim) = if victim_calls {
            (answerer, caller)
        } else {
            (caller, answerer)
        };
        Self { session, victim }
    }

    fn say(&mut self, messages: &[Message]) -> Step {
        let mut outbox = Outbox::default();
        messages.iter().for_each(|message| outbox.push(message));
        let frames = outbox.flush(&mut self.session.channel, 60_000, 1 << 20);
        let bytes = frames.expect("it is open").concat();
        self.victim.step(Event::Received(&bytes), 0)
    }
}

fn evil() -> Evil {
    let [mut a, mut b] = met();
    Evil::new(&mut a, &mut b, true)
}

fn chunk(len: usize) -> Chunk {
    Chunk {
        handle: [1; 8],
        position: 99,
        lane: Lane::P2,
        part: 0,
        offset: 0,
        total: 1 << 40,
        last: false,
        bytes: vec![7; len],
    }
}

#[test]
fn messages_out_of_place_end_the_session() {
    let receipt = |count| Message::Receipt {
        count,
        level: Level::Stored,
        issued: Timestamp::new(1, 0),
        previous: [0; 32],
        signature: [0; 64],
    };
    let symbols = |from, count, bytes| Message::Symbols {
        from,
        items: 6,
        count,
        bytes,
    };
    let want = |bytes| Message::Want { last: true, bytes };
    let bad = [
        receipt(1_000_000),
        receipt(0),
        Message::More(5),
        want(vec![1]),
        want(vec![0xff; 20]),
        Message::Who,
        Message::Evidence(vec![1, 2, 3]),
        Message::Credential {
            credential: vec![1],
            certificate: None,
        },
    ];
    for message in bad {
        for victim_calls in [true, false] {
            let [mut a, mut b] = met();
            let step = Evil::new(&mut a, &mut b, victim_calls).say(std::slice::from_ref(&message));
            assert!(is_misbehaviour(&step), "{message:?}: {:?}", step.notices);
        }
    }
    // Symbols that nobody waits for may have been under way.
    let step = evil().say(&[symbols(0, 1, vec![0; 13])]);
    assert_eq!(ending(&step), None);
}

#[test]
fn a_receipt_that_the_receiver_did_not_sign_is_refused() {
    let [mut a, mut b] = met();
    let mut evil = Evil::new(&mut a, &mut b, true);
    // The victim sends its batch.
    let mut effects = Vec::new();
    let mut steps = vec![evil.victim.step(Event::Tick, 0)];
    while let Some(step) = steps.pop() {
        for effect in step.effects {
            let done = a.carry_out(effect.clone());
            effects.push(effect);
            steps.extend(done.map(|done| evil.victim.step(Event::Done(done), 0)));
        }
    }
    let step = evil.say(&[Message::Receipt {
        count: 1,
        level: Level::Stored,
        issued: Timestamp::new(1, 0),
        previous: [0; 32],
        signature: [5; 64],
    }]);
    assert!(is_misbehaviour(&step), "{:?}", step.notices);
    let keeps = |effect: &Effect| matches!(effect, Effect::Keep(_));
    assert!(!step.effects.iter().any(keeps));
}

#[test]
fn a_peer_that_never_stops_is_stopped() {
    let mut evil = evil();
    let mut asked = 0;
    for _ in 0..40 {
        let step = evil.say(&[Message::Chunk(chunk(10_000))]);
        let stores = |effect: &&Effect| matches!(effect, Effect::Store { .. });
        asked += step.effects.iter().filter(stores).count() * 10_000;
        if ending(&step).is_some() {
            assert!(is_misbehaviour(&step));
            assert!(asked as u64 <= CREDIT_BYTES);
            return;
        }
    }
    panic!("it was never stopped");
}

#[test]
fn a_peer_that_takes_nothing_gets_no_more_than_a_window_and_stalls() {
    let [mut a, mut b] = met();
    for _ in 0..50 {
        a.write(Lane::P2, 20_000, &[]);
    }
    let meet = a.how_to_meet(&b);
    let ephemeral = a.ephemeral();
    let (mut session, step) = Session::connect(a.identity(), meet, SLOW, ephemeral, 0);
    let mut answerer = Session::accept(b.identity(), SLOW, b.ephemeral(), 0);
    let mut said = Vec::new();
    let mut steps = vec![step];
    while let Some(step) = steps.pop() {
        said.extend(step.frames.concat());
        for effect in step.effects {
            let done = a.carry_out(effect);
            steps.extend(done.map(|done| session.step(Event::Done(done), 0)));
        }
    }
    let mut steps = vec![answerer.step(Event::Received(&said), 0)];
    let mut heard = Vec::new();
    while let Some(step) = steps.pop() {
        heard.extend(step.frames.concat());
        for effect in step.effects {
            let done = b.carry_out(effect);
            steps.extend(done.map(|done| answerer.step(Event::Done(done), 0)));
        }
    }
    let mut sent = 0;
    let mut steps = vec![session.step(Event::Received(&heard), 0)];
    let mut wake = None;
    while let Some(step) = steps.pop() {
        sent += step.frames.concat().len();
        wake = step.wake_at_ms.or(wake);
        for effect in step.effects {
            let done = a.carry_out(effect);
            steps.extend(done.map(|done| session.step(Event::Done(done), 0)));
        }
    }
    assert!(sent > 0 && sent <= 2 * SLOW.link.window, "{sent} bytes");
    let wake = wake.expect("it says when to come back");
    assert_eq!(ending(&session.step(Event::Tick, wake - 1)), None);
    let stalled = session.step(Event::Tick, wake);
    assert_eq!(ending(&stalled), Some(Ending::Stalled));
}

#[test]
fn bytes_of_nobody_are_refused_wherever_they_come() {
    let noise: Vec<u8> = (0..1u32 << 20)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let [_, mut b] = met();
    let mut listening = Session::accept(b.identity(), SLOW, b.ephemeral(), 0);
    let step = listening.step(Event::Received(&noise), 0);
    assert!(ending(&step).is_some() && step.effects.is_empty());
    for offset in 0..4 {
        let mut evil = evil();
        let step = evil.victim.step(Event::Received(&noise[offset..]), 0);
        let effects = &step.effects;
        assert!(is_misbehaviour(&step) || ending(&step).is_none());
        assert!(effects.is_empty());
    }
}

#[test]
fn a_record_that_was_changed_or_repeated_is_refused() {
    let say = |evil: &mut Evil| {
        let mut outbox = Outbox::default();
        outbox.push(&Message::Credit(1));
        let frames = outbox.flush(&mut evil.session.channel, 1024, 1024);
        frames.expect("it is open").concat()
    };
    let len = say(&mut evil()).len();
    for at in 2..len {
        let mut evil = evil();
        let mut bytes = say(&mut evil);
        bytes[at] ^= 1;
        let step = evil.victim.step(Event::Received(&bytes), 0);
        assert!(is_misbehaviour(&step));
    }
    let mut evil = evil();
    let bytes = say(&mut evil);
    assert_eq!(ending(&evil.victim.step(Event::Received(&bytes), 0)), None);
    let step = evil.victim.step(Event::Received(&bytes), 0);
    assert!(is_misbehaviour(&step));
}

#[test]
fn a_call_that_is_played_again_changes_nothing() {
    let [mut a, mut b] = met();
    a.write(Lane::P0, 100, &[]);
    let meet = a.how_to_meet(&b);
    let ephemeral = a.ephemeral();
    let (mut session, step) = Session::connect(a.identity(), meet, SLOW, ephemeral, 0);
    let mut call = step.frames.concat();
    for effect in step.effects {
        if let Some(done) = a.carry_out(effect) {
            call.extend(session.step(Event::Done(done), 0).frames.concat());
        }
    }
    let before = b.clone();
    for _ in 0..2 {
        let mut answerer = Session::accept(b.identity(), SLOW, b.ephemeral(), 0);
        let mut steps = vec![answerer.step(Event::Received(&call), 0)];
        while let Some(step) = steps.pop() {
            for effect in step.effects {
                let done = b.carry_out(effect);
                steps.extend(done.map(|done| answerer.step(Event::Done(done), 0)));
            }
        }
    }
    assert_eq!((b.ids(), &b.cursors), (before.ids(), &before.cursors));
}

fn elsewhere(host: &mut Host) {
    let authority = authority_key(&[0xb0; 32]);
    host.membership = Arc::new(Membership::new(authority.public()));
}

#[test]
fn a_peer_of_another_workspace_learns_nothing_and_gets_a_clear_answer() {
    let [mut a, mut b] = hosts();
    elsewhere(&mut b);
    let outcome = run(&mut a, &mut b, SLOW);
    assert_eq!(outcome.endings, [Some(Ending::Elsewhere); 2]);
    assert_eq!(outcome.bytes[1], 3);
    // A device that went over to another workspace, called by one that knew it before.
    let [mut a, mut b] = met();
    elsewhere(&mut b);
    let outcome = run(&mut a, &mut b, SLOW);
    assert_eq!(outcome.endings, [Some(Ending::Elsewhere); 2]);
}

#[test]
fn another_version_is_told_from_damage() {
    let [_, mut b] = met();
    let mut answerer = Session::accept(b.identity(), SLOW, b.ephemeral(), 0);
    let newer = record(&[9, 1, 2, 3]).expect("short");
    let step = answerer.step(Event::Received(&newer), 0);
    assert_eq!(ending(&step), Some(Ending::Incompatible { theirs: 9 }));
    assert_eq!(step.frames.concat(), [0, 2, 1, 1]);
    let [mut a, b] = met();
    let meet = a.how_to_meet(&b);
    let ephemeral = a.ephemeral();
    let (mut caller, step) = Session::connect(a.identity(), meet, SLOW, ephemeral, 0);
    for effect in step.effects {
        if let Some(done) = a.carry_out(effect) {
            drop(caller.step(Event::Done(done), 0));
        }
    }
    let step = caller.step(Event::Received(&[0, 2, 1, 4]), 0);
    assert_eq!(ending(&step), Some(Ending::Incompatible { theirs: 4 }));
}

fn revoke(host: &mut Host, other: &Host) {
    let terms = RevocationTerms {
        workspace: *host.membership.workspace(),
        subject: other.device().0,
        cuts: BTreeMap::new(),
        because: Phi::new("lost".to_owned()),
        issued: Timestamp::new(4000, 0),
    };
    let revocation = Revocation::issue(&authority_key(&[0xa0; 32]), &terms).expect("issues");
    let item = MemberItem::Revocation(revocation);
    Arc::make_mut(&mut host.membership).extend([(item, carrier(9))]);
}

#[test]
fn a_revoked_device_is_turned_away_and_told_so() {
    let refused = Some(Ending::Refused(Refusal::Revoked));
    let told = Some(Ending::TurnedAway(Refused::Revoked));
    for strangers in [true, false] {
        let fresh = || if strangers { hosts() } else { met() };
        let [mut a, mut b] = fresh();
        revoke(&mut b, &a);
        assert_eq!(run(&mut a, &mut b, SLOW).endings, [told, refused]);
        let [mut a, mut b] = fresh();
        revoke(&mut a, &b);
        let outcome: Outcome = run(&mut a, &mut b, SLOW);
        assert_eq!(outcome.endings[0], refused);
        assert!(
            outcome.notices[1]
                .iter()
                .all(|n| !matches!(n, Notice::Stored(_)))
        );
    }
}

#[test]
fn a_newcomer_is_let_in_by_the_certificate_it_brings_and_nobody_else_is() {
    let [mut a, mut b] = hosts();
    let authority = authority_key(&[0xa0; 32]).public();
    b.membership = Arc::new(Membership::new(authority));
    a.write(Lane::P2, 100, &[]);
    let outcome = run(&mut a, &mut b, FAST);
    assert_eq!(outcome.endings, [Some(Ending::InSync); 2]);
    let [mut a, mut b] = hosts();
    b.membership = Arc::new(Membership::new(authority));
    a.certificate = None;
    let outcome = run(&mut a, &mut b, FAST);
    let told = Some(Ending::TurnedAway(Refused::Stranger));
    let refused = Some(Ending::Refused(Refusal::Stranger));
    assert_eq!(outcome.endings, [told, refused]);
    assert_eq!(b.log.len(), 0);
}

#[test]
fn an_identity_that_its_key_does_not_prove_is_refused() {
    let [mut a, mut b] = hosts();
    let [other, _] = hosts();
    let mut us = a.identity();
    // The credential of another device, with this device's handshake.
    let [_, c, _] = hosts::<3>();
    us.credential = c.identity().credential;
    us.device = other.device();
    let (mut caller, step) = Session::connect(us, Meet::Anyone, SLOW, a.ephemeral(), 0);
    let mut answerer = Session::accept(b.identity(), SLOW, b.ephemeral(), 0);
    let answer = answerer.step(Event::Received(&step.frames.concat()), 0);
    let step = caller.step(Event::Received(&answer.frames.concat()), 0);
    let mut said = step.frames.concat();
    for effect in step.effects {
        if let Some(done) = a.carry_out(effect) {
            said.extend(caller.step(Event::Done(done), 0).frames.concat());
        }
    }
    let step = answerer.step(Event::Received(&said), 0);
    assert!(is_misbehaviour(&step), "{:?}", step.notices);
    assert!(step.effects.is_empty());
}

/// Both said Hello, and the answerer's symbols were not computed yet.
fn greeted(a: &mut Host, b: &mut Host) -> Evil {
    let meet = a.how_to_meet(b);
    let ephemeral = a.ephemeral();
    let (mut victim, step) = Session::connect(a.identity(), meet, FAST, ephemeral, 0);
    let mut session = Session::accept(b.identity(), FAST, b.ephemeral(), 0);
    let mut said = step.frames.concat();
    for effect in step.effects {
        if let Some(done) = a.carry_out(effect) {
            said.extend(victim.step(Event::Done(done), 0).frames.concat());
        }
    }
    let step = session.step(Event::Received(&said), 0);
    let mut said = step.frames.concat();
    for effect in step.effects {
        if let Some(done) = b.carry_out(effect) {
            said.extend(session.step(Event::Done(done), 0).frames.concat());
        }
    }
    drop(victim.step(Event::Received(&said), 0));
    Evil { session, victim }
}

#[test]
fn a_sketch_of_no_set_comes_to_an_end() {
    let [mut a, mut b] = met();
    // A cursor into a store that is another one now: the answerer has to send a sketch.
    b.epoch = [88; 16];
    a.write(Lane::P2, 10, &[]);
    let mut evil = greeted(&mut a, &mut b);
    let (mut from, mut noise) = (0usize, blake3::Hasher::new().finalize_xof());
    loop {
        let mut bytes = Vec::new();
        for _ in 0..2048 {
            let mut symbol = [0; 13];
            noise.fill(&mut symbol);
            // A difference of the count that fits in one byte.
            symbol[12] &= 0x7f;
            bytes.extend(symbol);
        }
        let symbols = Message::Symbols {
            from: from as u64,
            items: b.log.len() as u64,
            count: 2048,
            bytes,
        };
        from += 2048;
        let mut steps = vec![evil.say(&[symbols])];
        while let Some(step) = steps.pop() {
            if ending(&step).is_some() {
                assert!(is_misbehaviour(&step), "{:?}", step.notices);
                assert!(from <= SYMBOLS_MAX + 2048);
                return;
            }
            for effect in step.effects {
                let Effect::Symbols { count, .. } = effect else {
                    panic!("asked for {effect:?}");
                };
                let done = Done::Symbols(vec![Symbol::default(); count]);
                steps.push(evil.victim.step(Event::Done(done), 0));
            }
        }
    }
}

#[test]
fn a_lie_about_how_sets_differ_is_noticed() {
    for tier in [Tier::Open, Tier::Equal, Tier::Cursors] {
        let [mut a, mut b] = met();
        b.epoch = [88; 16];
        a.write(Lane::P2, 10, &[]);
        let meet = a.how_to_meet(&b);
        let ephemeral = a.ephemeral();
        let (mut victim, step) = Session::connect(a.identity(), meet, FAST, ephemeral, 0);
        let mut session = Session::accept(b.identity(), FAST, b.ephemeral(), 0);
        let mut said = step.frames.concat();
        for effect in step.effects {
            if let Some(done) = a.carry_out(effect) {
                said.extend(victim.step(Event::Done(done), 0).frames.concat());
            }
        }
        let looks = session.step(Event::Received(&said), 0).effects;
        let look = looks.into_iter().find_map(|effect| b.carry_out(effect));
        let Some(Done::Looked(summary)) = look else {
            panic!("it did not look");
        };
        let hello = Hello::new(&summary, tier, 1024, CREDIT_BYTES);
        session.outbox.push(&Message::Hello(Box::new(hello)));
        let answer = session
            .outbox
            .shake(&mut session.channel)
            .expect("its turn");
        let step = victim.step(Event::Received(&answer), 0);
        assert!(is_misbehaviour(&step), "{tier:?}: {:?}", step.notices);
    }
}
