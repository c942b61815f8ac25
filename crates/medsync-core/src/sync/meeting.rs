//! After the handshake: both Hellos, what differs, and moving it.

use crate::ledger::equivocation::Equivocation;
use crate::ledger::receipt::{BatchRef, Level, Receipt, ReceiptTerms};
use crate::sync::effect::{Ask, Cursor, Done, Effect, FIRST_SYMBOLS, Summary};
use crate::sync::hello::{Hello, Tier, epoch_mark};
use crate::sync::reconcile::Finder;
use crate::sync::reconcile::{Found, first_guess, is_equal, is_valid};
use crate::sync::session::{Asked, Finding, Phase, Session, strict};
use crate::sync::step::{Ending, Notice, Step};
use crate::sync::transfer::CREDIT_BYTES;
use crate::sync::wire::{EVIDENCE_BYTES_MAX, Message};

pub(crate) type Outcome = Result<(), Ending>;

pub(crate) const NO_SET: &str = "its sketch is of no set";

impl Session {
    /// The initiator's Hello: with symbols where there is no cursor that could do.
    pub(crate) fn say_hello(&mut self, summary: Summary) {
        let hello = self.hello(&summary, Tier::Open);
        self.outbox.push(&Message::Hello(Box::new(hello.clone())));
        if summary.cursor.as_ref().is_none_or(|c| c.upto == 0) && summary.count > 0 {
            self.push_symbols(0, summary.count, &summary.symbols);
        }
        (self.ours, self.said) = (Some(summary), Some(hello));
    }

    fn hello(&self, summary: &Summary, tier: Tier) -> Hello {
        let record = self.settings.link.record;
        let mut hello = Hello::new(summary, tier, record, CREDIT_BYTES);
        hello.live = self.settings.live;
        hello
    }

    /// The responder hears the initiator, and answers with how the sets differ.
    pub(crate) fn hear_hello(&mut self, messages: Vec<Message>, step: &mut Step) -> Outcome {
        let mut messages = messages.into_iter().peekable();
        // Who was known sends a credential that is not needed.
        if matches!(messages.peek(), Some(Message::Credential { .. })) {
            messages.next();
        }
        let Some(Message::Hello(theirs)) = messages.next() else {
            return Err(Ending::Misbehaved("it did not say Hello"));
        };
        let summary = self.ours.clone().ok_or(Ending::Misused)?;
        let mut ours = self.hello(&summary, Tier::Open);
        self.out.grant(theirs.credit);
        let both = by_cursors(&ours, &theirs);
        let mut more = first_guess(summary.count, count(&theirs));
        ours.tier = if is_equal(&ours, &theirs) {
            Tier::Equal
        } else if both {
            Tier::Cursors
        } else {
            match self.try_first(&summary, &theirs, messages)? {
                Some(Found::All(difference)) => {
                    self.ranks.push_back(difference);
                    Tier::Found
                }
                Some(Found::More(missing)) => {
                    more = missing.saturating_add(FIRST_SYMBOLS);
                    Tier::Sketch
                }
                None => Tier::Sketch,
            }
        };
        let tier = ours.tier;
        self.outbox.push(&Message::Hello(Box::new(ours.clone())));
        let cursor = cursor_into(&ours, &theirs);
        (self.said, self.theirs) = (Some(ours), Some(*theirs));
        step.notices.push(Notice::Compared(tier));
        match tier {
            Tier::Equal => self.all_equal(step),
            Tier::Cursors => self.plan(Ask::Since(cursor), step),
            Tier::Found => self.name_wanted(step),
            Tier::Sketch | Tier::Open => self.send_symbols(0, more, step),
        }
        Ok(())
    }

    fn all_equal(&mut self, step: &mut Step) {
        let (Some(ours), Some(theirs)) = (&self.said, &self.theirs) else {
            return;
        };
        self.out.plan_nothing(ours.head);
        let (epoch, position) = (theirs.epoch_mark(), theirs.head);
        if let (Some(peer), false) = (self.peer, self.in_sync) {
            step.effects.push(Effect::Met {
                peer,
                credential: None,
            });
            step.effects.push(Effect::Reached {
                peer,
                epoch,
                position,
            });
            step.notices.push(Notice::InSync);
        }
        self.in_sync = true;
    }

    pub(crate) fn plan(&mut self, ask: Ask, step: &mut Step) {
        if let Some(peer) = self.peer {
            let key = self.key.clone();
            self.ask(Effect::Plan { peer, key, ask }, Asked::Plan, step);
        }
    }

    /// A message came.
    pub(crate) fn message(&mut self, message: Message, step: &mut Step) -> Outcome {
        match message {
            Message::Refuse(why) => return Err(Ending::TurnedAway(why)),
            Message::Hello(hello) if matches!(self.phase, Phase::Greeted) => {
                return self.hear_answer(*hello, step);
            }
            Message::Who if matches!(self.phase, Phase::Greeted) => {
                self.outbox.push(&Message::Credential {
                    credential: self.us.credential.clone(),
                    certificate: self.us.certificate.clone(),
                });
                return Ok(());
            }
            _ if !matches!(self.phase, Phase::Meeting) => {
                return Err(Ending::Misbehaved("it did not say Hello"));
            }
            Message::Symbols {
                from,
                items,
                count,
                bytes,
            } => return self.take_symbols((from, items, count), &bytes, step),
            Message::More(count) => return self.more_symbols(count, step),
            Message::Want { last, bytes } => return self.wanted(last, &bytes, step),
            Message::Chunk(chunk) => {
                let peer = self.peer.ok_or(Ending::Misused)?;
                self.their_final = None;
                self.final_said = None;
                let theirs = self.theirs.as_ref().ok_or(Ending::Misused)?;
                let store = self.inc.take(peer, theirs.epoch_mark(), chunk);
                let store = store.ok_or(Ending::Misbehaved("it sends more than it may"))?;
                self.ask(store, Asked::Store, step);
            }
            Message::End(position) => self.inc.end(position),
            Message::Receipt {
                count,
                level,
                issued,
                previous,
                signature,
            } => {
                let batches = self.out.receipted(count);
                let batches = batches.ok_or(Ending::Misbehaved("its receipt is for nothing"))?;
                let terms = self.terms(&batches, level, issued, previous)?;
                let receipt = Receipt::assemble(&terms, &signature);
                let receipt = strict(receipt, "its receipt does not fit what was sent")?;
                step.effects.push(Effect::Keep(Box::new(receipt)));
                step.notices.push(Notice::Receipted(batches));
            }
            Message::Final {
                count,
                digest,
                head,
            } => self.their_final = Some((count, digest, head)),
            Message::Credit(bytes) => self.out.grant(bytes),
            Message::Evidence(bytes) => {
                let proof = strict(Equivocation::parse(&bytes), "its evidence proves nothing")?;
                step.effects.push(Effect::Evidence(Box::new(proof)));
            }
            Message::Hello(_) | Message::Who | Message::Credential { .. } => {
                return Err(Ending::Misbehaved("it begins anew in the middle"));
            }
        }
        Ok(())
    }

    fn terms(
        &self,
        batches: &[BatchRef],
        level: Level,
        issued: crate::time::Timestamp,
        previous: [u8; 32],
    ) -> Result<ReceiptTerms, Ending> {
        let (ranges, root) = ReceiptTerms::cover(batches);
        let theirs = self.theirs.as_ref().ok_or(Ending::Misused)?;
        Ok(ReceiptTerms {
            workspace: self.us.workspace,
            receiver: self.peer.ok_or(Ending::Misused)?,
            sender: self.us.device,
            epoch: theirs.epoch,
            ranges,
            root,
            level,
            issued,
            previous,
        })
    }

    /// The initiator hears the responder's Hello.
    fn hear_answer(&mut self, theirs: Hello, step: &mut Step) -> Outcome {
        self.phase = Phase::Meeting;
        let summary = self.ours.clone().ok_or(Ending::Misused)?;
        let ours = self.said.clone().ok_or(Ending::Misused)?;
        self.out.grant(theirs.credit);
        let (tier, items) = (theirs.tier, count(&theirs));
        let equal = is_equal(&ours, &theirs);
        let cursor = cursor_into(&ours, &theirs);
        let both = by_cursors(&ours, &theirs);
        self.theirs = Some(theirs);
        step.notices.push(Notice::Compared(tier));
        match tier {
            Tier::Equal if equal => self.all_equal(step),
            Tier::Cursors if both => self.plan(Ask::Since(cursor), step),
            Tier::Found => self.finding = Finding::Wanted(Vec::new()),
            Tier::Sketch => {
                let finder = Finder::new(self.key.clone(), summary.count, items);
                self.finding = Finding::Decoding {
                    finder: Box::new(finder),
                    theirs: Vec::new(),
                };
            }
            _ => return Err(Ending::Misbehaved("it compares what cannot be compared so")),
        }
        Ok(())
    }

    /// An effect is completed.
    pub(crate) fn completed(&mut self, asked: Asked, done: Done, step: &mut Step) -> Outcome {
        match (asked, done) {
            (Asked::OwnSymbols, Done::Symbols(symbols)) => self.own_symbols(&symbols, step)?,
            (Asked::Symbols(from), Done::Symbols(symbols)) => {
                let items = self.ours.as_ref().map_or(0, |ours| ours.count);
                self.push_symbols(from, items, &symbols);
            }
            (Asked::Rank, Done::Ranked(ranks)) => self.say_wanted(&ranks),
            (Asked::Plan, Done::Planned(offers)) => {
                let partials = self.theirs.as_ref().map(|t| t.partials.clone());
                let head = self.ours.as_ref().map_or(0, |ours| ours.head);
                self.out.plan(offers, &partials.unwrap_or_default(), head);
            }
            (Asked::Load, Done::Loaded { total, last, bytes }) => {
                let chunk = self.out.loaded(total, last, bytes);
                self.outbox
                    .push(&Message::Chunk(chunk.ok_or(Ending::Misused)?));
            }
            (Asked::Load, Done::Unreadable) => self.out.unreadable(),
            (Asked::Store, Done::Rejected(what)) => return Err(Ending::Misbehaved(what)),
            (Asked::Store, stored @ Done::Stored { .. }) => self.stored(stored, step)?,
            (Asked::Sign, Done::Signed(receipt)) => self.signed(&receipt)?,
            (Asked::Final, Done::Looked(summary)) => self.say_final(&summary, step),
            (Asked::Compare, Done::Looked(summary)) => {
                self.final_said = Some((summary.count, summary.digest));
                self.is_final_old = false;
            }
            _ => return Err(Ending::Misused),
        }
        Ok(())
    }

    /// Everything was taken up and is receipted: this is what is here now.
    fn say_final(&mut self, summary: &Summary, step: &mut Step) {
        let said = (summary.count, summary.digest);
        (self.final_said, self.is_final_old) = (Some(said), false);
        self.outbox.push(&Message::Final {
            count: said.0,
            digest: said.1,
            head: summary.head,
        });
        let epoch = self.theirs.as_ref().map(Hello::epoch_mark);
        let position = self.inc.is_over().filter(|position| *position > 0);
        if let (Some(peer), Some(epoch), Some(position)) = (self.peer, epoch, position) {
            step.effects.push(Effect::Reached {
                peer,
                epoch,
                position,
            });
        }
    }

    fn stored(&mut self, stored: Done, step: &mut Step) -> Outcome {
        let Done::Stored {
            batch,
            duplicate,
            welcome,
            evidence,
        } = stored
        else {
            return Err(Ending::Misused);
        };
        step.notices.extend(batch.map(Notice::Stored));
        let fresh = self.inc.stored(batch, duplicate);
        fresh.ok_or(Ending::Misbehaved("it sends nothing but what is here"))?;
        for proof in evidence {
            if proof.len() <= EVIDENCE_BYTES_MAX {
                self.outbox.push(&Message::Evidence(proof));
            }
        }
        if let Some(bytes) = self.inc.grant() {
            self.outbox.push(&Message::Credit(bytes));
        }
        if welcome {
            return Ok(());
        }
        let refused = crate::sync::wire::Refused::Revoked;
        self.outbox.push(&Message::Refuse(refused));
        Err(Ending::Refused(crate::sync::credential::Refusal::Revoked))
    }

    fn signed(&mut self, receipt: &Receipt) -> Outcome {
        let count = self.inc.signed().ok_or(Ending::Misused)?;
        let terms = receipt.terms();
        self.outbox.push(&Message::Receipt {
            count: count as u64,
            level: terms.level,
            issued: terms.issued,
            previous: terms.previous,
            signature: receipt.signature(),
        });
        Ok(())
    }

    /// What follows from where things are.
    pub(crate) fn progress(&mut self, step: &mut Step) -> Outcome {
        if !matches!(self.phase, Phase::Meeting) {
            return Ok(());
        }
        if self.has_room() {
            let room = crate::sync::transfer::Link {
                record: self.record(),
                ..self.settings.link
            };
            if let Some(load) = self.out.load(room.room()) {
                self.ask(load, Asked::Load, step);
            }
        }
        if let Some(position) = self.out.end() {
            self.outbox.push(&Message::End(position));
        }
        if let (Some(peer), Some(batches)) = (self.peer, self.inc.receipt_due()) {
            self.ask(Effect::Sign { peer, batches }, Asked::Sign, step);
        }
        let looks = |asked: &Asked| matches!(asked, Asked::Final | Asked::Compare);
        let looking = self.asked.iter().any(looks);
        let taken_up = self.inc.is_over().is_some() && self.out.is_over();
        if taken_up && self.final_said.is_none() && !looking {
            self.look(Asked::Final, step);
        } else if let (true, Some(said), Some(theirs)) =
            (taken_up && !looking, self.final_said, self.their_final)
        {
            if self.is_final_old {
                self.look(Asked::Compare, step);
                return Ok(());
            }
            return self.compare(said, theirs, step);
        }
        if self.in_sync && !self.stays() && self.out.is_over() {
            return Err(Ending::InSync);
        }
        Ok(())
    }

    fn stays(&self) -> bool {
        let theirs = self.theirs.as_ref().is_some_and(|hello| hello.live);
        self.settings.live && theirs
    }

    /// Both said what they hold now.
    fn compare(
        &mut self,
        ours: (u64, [u8; 16]),
        (count, digest, head): (u64, [u8; 16], u64),
        step: &mut Step,
    ) -> Outcome {
        let peer = self.peer.ok_or(Ending::Misused)?;
        let theirs = self.theirs.as_ref().ok_or(Ending::Misused)?;
        let epoch = epoch_mark(&theirs.epoch);
        self.their_final = None;
        if ours != (count, digest) {
            if self.stays() {
                return Ok(());
            }
            step.effects.push(Effect::Forget { peer });
            return Err(Ending::Unequal);
        }
        step.effects.push(Effect::Met {
            peer,
            credential: None,
        });
        step.effects.push(Effect::Reached {
            peer,
            epoch,
            position: head,
        });
        self.in_sync = true;
        step.notices.push(Notice::InSync);
        if self.stays() {
            return Ok(());
        }
        Err(Ending::InSync)
    }
}

/// Whether cursors tell what differs. To a side that has nothing everything is sent, and it has
/// nothing to send: no cursor is needed for either.
fn by_cursors(ours: &Hello, theirs: &Hello) -> bool {
    let empty = count(ours) == 0 || count(theirs) == 0;
    let valid = is_valid(theirs.cursor.as_ref(), count(theirs), ours)
        && is_valid(ours.cursor.as_ref(), count(ours), theirs);
    empty || valid
}

/// How far a peer has this side's log, as of its present epoch.
fn cursor_into(ours: &Hello, theirs: &Hello) -> Cursor {
    let cursor = theirs.cursor.as_ref();
    let cursor = cursor.filter(|cursor| cursor.epoch == ours.epoch_mark());
    cursor.cloned().unwrap_or_default()
}

pub(crate) fn count(hello: &Hello) -> u64 {
    hello.everything().map_or(0, |scope| scope.count)
}
