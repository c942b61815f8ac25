//! Finding what differs, message by message: symbols one way, names of what is wanted back.

use crate::sync::effect::{Ask, Effect, FIRST_SYMBOLS, Summary};
use crate::sync::hello::Hello;
use crate::sync::meeting::{NO_SET, Outcome, count};
use crate::sync::reconcile::{self, Finder, Found, read_ranks, write_ranks, write_symbols};
use crate::sync::session::{Asked, Finding, MALFORMED, Session, strict};
use crate::sync::sketch::{SYMBOLS_MAX, Symbol};
use crate::sync::step::{Ending, Step};
use crate::sync::wire::{Message, SYMBOLS_OF_ONE_MAX};

impl Session {
    pub(crate) fn push_symbols(&mut self, from: usize, items: u64, symbols: &[Symbol]) {
        let most = (self.record() / 14).clamp(16, SYMBOLS_OF_ONE_MAX);
        let mut at = from;
        for piece in symbols.chunks(most) {
            self.outbox.push(&Message::Symbols {
                from: at as u64,
                items,
                count: piece.len() as u64,
                bytes: write_symbols(piece, at, items),
            });
            at += piece.len();
        }
    }

    /// Tries the symbols that came with the Hello.
    pub(crate) fn try_first(
        &self,
        summary: &Summary,
        theirs: &Hello,
        messages: impl Iterator<Item = Message>,
    ) -> Result<Option<Found>, Ending> {
        let mut symbols = Vec::new();
        for message in messages {
            if let Message::Symbols {
                from,
                items,
                count: many,
                bytes,
            } = message
            {
                let known = (from, items) == (symbols.len() as u64, count(theirs));
                let many = usize::try_from(many).ok().filter(|_| known);
                let many = many.ok_or(Ending::Misbehaved(NO_SET))?;
                let read = reconcile::read_symbols(&bytes, symbols.len(), many, items);
                symbols.extend(strict(read, NO_SET)?);
            }
        }
        symbols.truncate(FIRST_SYMBOLS);
        if symbols.is_empty() {
            return Ok(None);
        }
        let finder = Finder::new(self.key.clone(), summary.count, count(theirs));
        let (_, found) = strict(finder.push(&symbols, &summary.symbols), NO_SET)?;
        Ok(Some(found))
    }

    /// What is missing here is named by its place at the peer; what is missing there is sent.
    pub(crate) fn name_wanted(&mut self, step: &mut Step) {
        let Some(difference) = self.ranks.front().cloned() else {
            return;
        };
        let key = self.key.clone();
        let ours = difference.ours.clone();
        self.ask(Effect::Rank { key, difference }, Asked::Rank, step);
        self.plan(Ask::Items(ours), step);
    }

    pub(crate) fn send_symbols(&mut self, from: usize, count: usize, step: &mut Step) {
        let count = count.min(SYMBOLS_MAX - from.min(SYMBOLS_MAX));
        self.finding = Finding::Sending(from + count);
        let key = self.key.clone();
        self.ask(
            Effect::Symbols { key, from, count },
            Asked::Symbols(from),
            step,
        );
    }

    pub(crate) fn take_symbols(
        &mut self,
        (from, items, many): (u64, u64, u64),
        bytes: &[u8],
        step: &mut Step,
    ) -> Outcome {
        let their_items = self.theirs.as_ref().map_or(0, count);
        let Finding::Decoding { finder, theirs } = &mut self.finding else {
            // Those that were under way when the difference was found.
            return match self.finding {
                Finding::Idle => Ok(()),
                _ => Err(Ending::Misbehaved(NO_SET)),
            };
        };
        let at = finder.received() + theirs.len();
        let many = usize::try_from(many).map_err(|_| MALFORMED)?;
        let fits = (at as u64, their_items) == (from, items) && at + many <= SYMBOLS_MAX;
        if !fits || many == 0 {
            return Err(Ending::Misbehaved(NO_SET));
        }
        theirs.extend(strict(
            reconcile::read_symbols(bytes, at, many, items),
            NO_SET,
        )?);
        let key = self.key.clone();
        self.ask(
            Effect::Symbols {
                key,
                from: at,
                count: many,
            },
            Asked::OwnSymbols,
            step,
        );
        Ok(())
    }

    /// This side's own symbols of the places that came.
    pub(crate) fn own_symbols(&mut self, ours: &[Symbol], step: &mut Step) -> Outcome {
        let (mut finder, mut theirs) = match std::mem::take(&mut self.finding) {
            Finding::Decoding { finder, theirs } => (finder, theirs),
            other => {
                self.finding = other;
                return Ok(());
            }
        };
        let later = theirs.split_off(ours.len().min(theirs.len()));
        let (next, found) = strict(finder.push(&theirs, ours), NO_SET)?;
        *finder = next;
        match found {
            Found::All(difference) => {
                self.ranks.push_back(difference);
                self.name_wanted(step);
            }
            Found::More(more) => {
                // While pieces of what was asked for still come, nothing more is needed.
                let idle = later.is_empty() && !self.asked.contains(&Asked::OwnSymbols);
                let begun = finder.received();
                self.finding = Finding::Decoding {
                    finder,
                    theirs: later,
                };
                if idle && begun >= SYMBOLS_MAX {
                    return Err(Ending::Misbehaved("its sketch never comes to an end"));
                }
                if idle {
                    self.outbox.push(&Message::More(more as u64));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn more_symbols(&mut self, count: u64, step: &mut Step) -> Outcome {
        let Finding::Sending(sent) = self.finding else {
            return Err(Ending::Misbehaved("it wants symbols of nothing"));
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count == 0 || sent >= SYMBOLS_MAX {
            return Err(Ending::Misbehaved("it wants too many symbols"));
        }
        self.send_symbols(sent, count, step);
        Ok(())
    }

    pub(crate) fn wanted(&mut self, last: bool, bytes: &[u8], step: &mut Step) -> Outcome {
        let mut ranks = match std::mem::take(&mut self.finding) {
            Finding::Sending(_) => Vec::new(),
            Finding::Wanted(ranks) => ranks,
            _ => return Err(Ending::Misbehaved("it wants what it did not find")),
        };
        ranks.extend(strict(read_ranks(bytes), "places of a set are malformed")?);
        if ranks.len() > SYMBOLS_MAX {
            return Err(Ending::Misbehaved("it wants more than a sketch can show"));
        }
        if last {
            self.plan(Ask::Ranks(ranks), step);
        } else {
            self.finding = Finding::Wanted(ranks);
        }
        Ok(())
    }

    /// Names what is wanted, in pieces of about a record.
    pub(crate) fn say_wanted(&mut self, ranks: &[u64]) {
        self.ranks.pop_front();
        let most = (self.record() / 4).max(64);
        let mut pieces = ranks.chunks(most).peekable();
        loop {
            let piece = pieces.next().unwrap_or_default();
            let last = pieces.peek().is_none();
            let bytes = write_ranks(piece);
            self.outbox.push(&Message::Want { last, bytes });
            if last {
                return;
            }
        }
    }
}
