//! Members who turned: with real keys they write what no honest engine writes, or what they have no
//! authority for, and leave it on a stick.

use crate::crypto::envelope;
use crate::crypto::sign::SigningKey;
use crate::doc::state::RecordState;
use crate::doc::{FlatChange, encode};
use crate::env::Env as _;
use crate::error::Result;
use crate::ids::{
    AuthorKey, ChainId, ChangeId, CommitId, DataKeyId, RecordId, ReplicaId, WorkspaceId,
};
use crate::ledger::batch;
use crate::ledger::certificate::{Certificate, Role, Subject, Terms};
use crate::ledger::commit::{Commit, CommitBuilder, Intent, Tip};
use crate::ledger::entry::{ChangeEntry, ItemKind};
use crate::ledger::revocation::{Revocation, RevocationTerms};
use crate::ledger::wire::{SealedBatch, WireCommit, WireLeaf, seal_leaf};
use crate::model::cell::{Cell, Review};
use crate::model::json::Json;
use crate::model::pack::Lane;
use crate::phi::Phi;
use crate::store::fault::SeededEnv;
use crate::testing::sim::model::{CANARY, POISON};
use crate::testing::sim::step::Trick;
use crate::testing::sim::stick::Stick;
use crate::testing::sim::world::{Fine, STICKS, World};
use crate::time::Timestamp;
use crate::vault::exchange::{ROOT, door};
use std::collections::BTreeMap;
use std::sync::Arc;

const TEN_YEARS_MS: i64 = 3650 * 24 * 3_600_000;
/// Commits of a flood.
const FLOOD: u8 = 24;

/// A member's keys in the wrong hands, for one trick: a chain of its own each time.
struct Mallory {
    person: SigningKey,
    device: SigningKey,
    replica: ReplicaId,
    workspace: WorkspaceId,
    data_key: (DataKeyId, [u8; 32]),
    tip: Tip,
    now: i64,
    env: Arc<SeededEnv>,
    /// The record that it is about, as that device knows it.
    record: RecordId,
    state: RecordState,
    /// Keys of whom it is for.
    recipients: Vec<[u8; 32]>,
    founder: AuthorKey,
    salt: u16,
}

type Bag = Vec<(Commit, WireCommit)>;

impl World {
    /// A hostile device takes up what is there and leaves something.
    pub(super) fn hostile(&mut self, who: u8, trick: Trick, stick: u8, salt: u16) -> Fine {
        let hostile: Vec<usize> = (0..self.replicas.len())
            .filter(|who| self.replicas[*who].hostile && !self.plan.without.contains(who))
            .collect();
        let Some(who) = hostile
            .get(usize::from(who) % hostile.len().max(1))
            .copied()
        else {
            return Ok(());
        };
        let at = usize::from(stick) % STICKS;
        let mut folder = std::mem::take(&mut self.sticks[at]);
        let taken = self.act(who, 0, "a hostile exchange", |vault| {
            vault.exchange_over(&mut folder, &mut |_| {}).map(drop)
        });
        self.sticks[at] = folder;
        taken?;
        let record = self.record(salt as u8)?;
        let founder = self.replicas[0].author;
        let is_admin = self.replicas[who].roles.contains(&Role::Admin);
        // What an admin does counts, which is no trick.
        if is_admin && matches!(trick, Trick::Usurp | Trick::Pack) {
            return Ok(());
        }
        let made = Mallory::take(&mut self.replicas[who], record, founder, salt);
        let Some(mut mallory) = made.map_err(|e| format!("a hostile member: {e}"))? else {
            return Ok(());
        };
        let bags = mallory
            .play(trick)
            .map_err(|e| format!("a hostile member, {trick:?}: {e}"))?;
        for (no, bag) in bags.into_iter().enumerate() {
            let stick = &mut self.sticks[(at + no) % STICKS];
            let left = mallory.leave(stick, bag);
            left.map_err(|e| format!("a hostile member, {trick:?}: {e}"))?;
        }
        Ok(())
    }
}

impl Mallory {
    fn take(
        replica: &mut crate::testing::sim::replica::Replica,
        record: RecordId,
        founder: AuthorKey,
        salt: u16,
    ) -> Result<Option<Self>> {
        let env = Arc::clone(&replica.env);
        let vault = replica.vault()?;
        let Some((workspace, _)) = vault.workspace() else {
            return Ok(None);
        };
        let Some(data_key) = vault.peek_data_key()? else {
            return Ok(None);
        };
        let (person, device) = vault.peek_keys()?;
        let state = vault.peek_state(&record)?;
        let recipients = vault
            .devices()
            .filter_map(|device| device.recipient)
            .collect();
        Ok(Some(Self {
            person,
            device,
            replica: ReplicaId((&*env as &dyn crate::env::Env).bytes()),
            workspace,
            data_key,
            tip: Tip::START,
            now: env.now_ms(),
            env,
            record,
            state,
            recipients,
            founder,
            salt,
        }))
    }

    fn chain(&self) -> ChainId {
        ChainId {
            author: AuthorKey(self.person.public()),
            replica: self.replica,
        }
    }

    fn hlc(&self) -> Timestamp {
        Timestamp::new(self.now, 0).max(self.tip.hlc.next())
    }

    /// An honest change of the record, of this text.
    fn change(&self, text: &str) -> FlatChange {
        let field = if self.record.kind() == "Patient" {
            "gender"
        } else {
            "code"
        };
        let field = if self.record.kind() == "Med" || self.salt.is_multiple_of(2) {
            "note"
        } else {
            field
        };
        let cell = Cell::put(&Json::string(text));
        self.state
            .make(self.chain().actor(), self.hlc(), vec![(field.into(), cell)])
    }

    fn play(&mut self, trick: Trick) -> Result<Vec<Bag>> {
        let bag = match trick {
            Trick::Equivocate => return self.equivocate(),
            Trick::StartOp | Trick::Actor | Trick::Time | Trick::Predecessors => {
                let change = self.poisoned(trick);
                let hlc = if trick == Trick::Time {
                    change.hlc.next()
                } else {
                    change.hlc
                };
                vec![self.commit(hlc, &[(change, None)], &[])?]
            }
            Trick::Twice => vec![self.twice()?],
            Trick::FarAhead => {
                self.tip = Tip {
                    seq: 1 << 40,
                    id: CommitId([7; 32]),
                    hlc: self.hlc(),
                };
                vec![self.plain("far ahead")?]
            }
            Trick::NoCause => vec![self.no_cause()?],
            Trick::SawNothing => {
                let change = self.change("saw nothing");
                vec![self.commit(change.hlc, &[(change, Some(Vec::new()))], &[])?]
            }
            Trick::Future => {
                self.now += TEN_YEARS_MS;
                vec![self.plain("of the future")?]
            }
            Trick::TwoCommits => {
                let change = self.change("twice");
                let hlc = change.hlc;
                let first = self.commit(hlc, &[(change.clone(), None)], &[])?;
                vec![first, self.commit(hlc, &[(change, None)], &[])?]
            }
            Trick::Review => vec![self.review()?],
            Trick::Usurp => vec![self.usurp()?],
            Trick::Pack => {
                let pack = super::pack::pack(900)?.to_bytes();
                vec![self.commit(self.hlc(), &[], &[(ItemKind::PACK, pack)])?]
            }
            Trick::Flood => self.flood()?,
            Trick::Newer => self.newer()?,
            Trick::Withheld => {
                let (commit, mut wire) = self.plain("withheld")?;
                wire.leaves = wire
                    .leaves
                    .iter()
                    .map(|l| WireLeaf::Withheld(l.hash()))
                    .collect();
                vec![(commit, wire)]
            }
        };
        Ok(vec![bag])
    }

    /// A commit that changes one record twice.
    fn twice(&mut self) -> Result<(Commit, WireCommit)> {
        let first = self.change(POISON);
        let second = self.change("two");
        self.commit(first.hlc, &[(first, None), (second, None)], &[])
    }

    /// A change that builds on what nobody has.
    fn no_cause(&mut self) -> Result<(Commit, WireCommit)> {
        let mut change = self.change("without a cause");
        change.deps = vec![ChangeId([self.salt as u8; 32])];
        change.start_op = 2;
        change.ops.iter_mut().for_each(|op| op.pred.clear());
        self.commit(change.hlc, &[(change, None)], &[])
    }

    /// What only a newer engine knows, beside what all know.
    fn newer(&mut self) -> Result<Bag> {
        let pack = br#"{"format": 9, "name": "newer"}"#.to_vec();
        let items = [
            (ItemKind::PACK, pack),
            (ItemKind(77), b"of a newer engine".to_vec()),
        ];
        let newer = self.commit(self.hlc(), &[], &items)?;
        Ok(vec![newer, self.plain("beside newer ones")?])
    }

    /// A change that no honest engine makes; what it says must be shown nowhere.
    fn poisoned(&self, trick: Trick) -> FlatChange {
        let mut change = self.change(POISON);
        match trick {
            Trick::StartOp => change.start_op += 1 + u64::from(self.salt),
            Trick::Actor => {
                let other = ChainId {
                    author: self.founder,
                    ..self.chain()
                };
                change.actor = other.actor();
            }
            Trick::Predecessors => {
                let stranger = self.chain().actor();
                let op = crate::model::cell::OpId {
                    ctr: 1,
                    actor: stranger,
                };
                // On a new record nothing can stand there at all.
                change.start_op = change.start_op.max(2);
                change.ops.iter_mut().for_each(|o| o.pred = vec![op]);
            }
            _ => {}
        }
        change
    }

    fn plain(&mut self, text: &str) -> Result<(Commit, WireCommit)> {
        let change = self.change(&format!("{text} {CANARY}"));
        self.commit(change.hlc, &[(change, None)], &[])
    }

    fn equivocate(&mut self) -> Result<Vec<Bag>> {
        let start = self.tip;
        let one = self.plain("one story")?;
        self.tip = start;
        let other = self.plain("another story")?;
        Ok(vec![vec![one], vec![other]])
    }

    /// A decision on a field, whatever the roles.
    fn review(&mut self) -> Result<(Commit, WireCommit)> {
        let mut change = self.change("");
        for op in &mut change.ops {
            let outcome = self.state.keys.get(&op.key).map(|key| &key.outcome);
            let mut settles: Vec<_> = outcome
                .map_or(&[][..], |o| &o.candidates)
                .iter()
                .map(|c| c.id)
                .collect();
            settles.sort_unstable();
            let stands = Cell::put(&Json::string(&format!("decided {CANARY}")));
            op.cell = Cell::Review(Box::new(Review { settles, stands }));
        }
        self.commit(change.hlc, &[(change, None)], &[])
    }

    /// Makes itself an admin, and revokes the founder.
    fn usurp(&mut self) -> Result<(Commit, WireCommit)> {
        let hlc = self.hlc();
        let subject = Subject::Person(self.chain().author);
        let terms = Terms::new(self.workspace, subject, "Mallory", [Role::Admin], hlc);
        let certificate = Certificate::issue(&self.person, &terms)?;
        let terms = RevocationTerms {
            workspace: self.workspace,
            subject: self.founder.0,
            cuts: BTreeMap::new(),
            because: Phi::new("a coup".to_owned()),
            issued: hlc,
        };
        let revocation = Revocation::issue(&self.person, &terms)?;
        let items = [
            (ItemKind::CERTIFICATE, certificate.bytes().to_vec()),
            (ItemKind::REVOCATION, revocation.bytes().to_vec()),
        ];
        self.commit(hlc, &[], &items)
    }

    fn flood(&mut self) -> Result<Bag> {
        let mut bag = Vec::new();
        for no in 0..FLOOD {
            let item = vec![no; 40];
            bag.push(self.commit(self.hlc(), &[], &[(ItemKind(9), item)])?);
        }
        bag.push(self.plain("after a flood")?);
        Ok(bag)
    }

    /// A commit at the end of the chain.
    fn commit(
        &mut self,
        hlc: Timestamp,
        changes: &[(FlatChange, Option<Vec<ChangeId>>)],
        items: &[(ItemKind, Vec<u8>)],
    ) -> Result<(Commit, WireCommit)> {
        let builder = CommitBuilder::new(self.chain(), self.tip, hlc, Lane::P0, Intent::Edit);
        let mut builder = builder?;
        let mut bodies = Vec::new();
        for (change, seen) in changes {
            let (bytes, id) = encode(change);
            let entry = ChangeEntry {
                record: self.record.clone(),
                patient: None,
                seen: seen.clone(),
                change: id,
                because: None,
                source: None,
            };
            builder.change(&entry, &self.data_key.1)?;
            bodies.push(bytes);
        }
        for (kind, bytes) in items {
            builder.item(*kind, bytes)?;
        }
        let commit = builder.build()?;
        self.tip = commit.header.tip();
        let mut leaves = Vec::new();
        for (index, entry) in (0u32..).zip(&commit.entries) {
            let body = usize::try_from(index).ok().and_then(|i| bodies.get(i));
            leaves.push(match body {
                Some(change) => {
                    let (id, key) = &self.data_key;
                    seal_leaf(&*self.env, &commit, index, *id, key, change)?
                }
                None => WireLeaf::Item(entry.bytes.clone()),
            });
        }
        let header = commit.header.bytes().to_vec();
        Ok((commit, WireCommit { header, leaves }))
    }

    /// Puts commits on a stick, in this device's folder, for all to read.
    fn leave(&self, stick: &mut Stick, bag: Bag) -> Result<()> {
        let headers: Vec<_> = bag
            .iter()
            .map(|(commit, _)| commit.header.clone())
            .collect();
        let batch = SealedBatch {
            signed: batch::seal(&self.person, self.workspace, &headers)?,
            commits: bag.into_iter().map(|(_, wire)| wire).collect(),
        };
        let plain = door::write_batches(&[batch.to_bytes()?]);
        let sealed = envelope::seal_to(&self.recipients, &plain)?;
        let short = |bytes: &[u8]| crate::ids::hex(bytes.get(..8).unwrap_or_default());
        let workspace = short(&self.workspace.0);
        let device = short(&self.device.public());
        let number = 800_000 + u32::from(self.salt);
        stick.put(
            &format!("{ROOT}/{workspace}/{device}/batches-{number:06}.age"),
            sealed,
        );
        Ok(())
    }
}
