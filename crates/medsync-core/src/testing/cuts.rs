//! Power cuts and failing disks under a whole vault: one seed is one short day of a clinic.
//!
//! The day makes a workspace, imports, edits, retracts, reviews, seals, admits another device and
//! takes up what it brings, over a [`SimDisk`] that loses power again and again, mostly in the
//! middle of a commit, now and then while the vault recovers. After each cut the vault must open,
//! show exactly what was acknowledged (or that and all of the commit under way), verify, and go on.

mod clinic;
mod folder;
mod many;
mod people;

pub use many::{Summary, many};

use crate::crypto::{RootKey, Suite};
use crate::error::{Error, Result};
use crate::ids::RecordId;
use crate::store::Tuning;
use crate::store::fault::{Rng, SeededEnv, SimDisk};
use crate::testing::cuts::clinic::{Model, Step};
use crate::vault::Vault;
use std::fmt;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Writes, syncs and changes of length until the next fault: most steps have two, those that end in
/// a checkpoint some thirty.
const SPAN: u64 = 10;
/// The same of making a vault.
const CREATE_SPAN: u64 = 40;
/// And of an import of everything.
const IMPORT_SPAN: u64 = 70;
/// Damaged copies of the closed vault that a day ends with.
const ROTS: u64 = 4;
/// A cache so small that pages are read back while they matter.
const TUNING: Tuning = Tuning {
    cache_bytes: 256 * 1024,
    // A handful of commits: checkpoints are among what is cut.
    journal_bytes: 48 * 1024,
};

/// What was done to a vault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Power cuts.
    pub cuts: u64,
    /// Operations of the disk that failed or fell short, with the power on.
    pub failures: u64,
    /// Closed vaults of which something synced was damaged.
    pub rots: u64,
    /// How many of those were refused; in the others the damage hit nothing that is in use.
    pub rots_refused: u64,
}

impl Tally {
    /// Adds another day's.
    pub const fn add(&mut self, other: Self) {
        self.cuts += other.cuts;
        self.failures += other.failures;
        self.rots += other.rots;
        self.rots_refused += other.rots_refused;
    }
}

/// What must never happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bug {
    /// The vault does not open.
    Unopenable(String),
    /// Something acknowledged is gone or changed, or a commit is there in part.
    Lost(String),
    /// The vault does not verify, does not go on, panics, or trusts a disk that failed.
    Broken(String),
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unopenable(what) => write!(f, "unopenable: {what}"),
            Self::Lost(what) => write!(f, "lost: {what}"),
            Self::Broken(what) => write!(f, "broken: {what}"),
        }
    }
}

type Fine<T = ()> = std::result::Result<T, Bug>;

/// Plays the day of a seed.
pub fn run(seed: u64) -> (Tally, Option<Bug>) {
    play(seed, false)
}

/// The same over a disk with a planted bug: its syncs say yes and do nothing.
pub fn run_lying(seed: u64) -> (Tally, Option<Bug>) {
    play(seed, true)
}

/// Plays a day in which every step is cut at its first write, then anew at its second, and so on to
/// its last, each time from the same vault.
pub fn run_every_write(seed: u64) -> (Tally, Option<Bug>) {
    watched(Day::new(seed, false), Day::play_every_write)
}

fn play(seed: u64, lying: bool) -> (Tally, Option<Bug>) {
    watched(Day::new(seed, lying), Day::play)
}

/// A panic is a finding like any other, and its seed has to be told.
fn watched(mut day: Day, play: fn(&mut Day) -> Fine) -> (Tally, Option<Bug>) {
    let played = catch_unwind(AssertUnwindSafe(|| play(&mut day)));
    let played = played.unwrap_or_else(|_| Err(Bug::Broken("it panicked".to_owned())));
    (day.tally, played.err())
}

struct Day {
    rng: Rng,
    env: Arc<SeededEnv>,
    suite: Suite,
    disk: SimDisk,
    lying: bool,
    /// Whether a fault is still to come.
    armed: bool,
    vault: Option<Vault>,
    /// What was acknowledged.
    model: Model,
    tally: Tally,
    /// Makes texts and names different.
    made: u64,
    /// Each step is cut at every one of its writes, instead of anywhere now and then.
    every_write: bool,
}

impl Day {
    fn new(seed: u64, lying: bool) -> Self {
        let suite = if seed.is_multiple_of(4) {
            Suite::XChaCha20Poly1305
        } else {
            Suite::Xaes256Gcm
        };
        Self {
            rng: Rng::new(seed),
            env: Arc::new(SeededEnv::new(seed)),
            suite,
            disk: SimDisk::default(),
            lying,
            armed: false,
            vault: None,
            model: Model::default(),
            tally: Tally::default(),
            made: 0,
            every_write: false,
        }
    }

    fn play(&mut self) -> Fine {
        self.create()?;
        let all = self.records()?;
        self.step(&Step::Import(all.clone()), IMPORT_SPAN)?;
        for _ in 0..8 {
            let step = self.choose(&all);
            self.step(&step, SPAN)?;
        }
        self.contest()?;
        if self.rng.one_in(3) {
            self.visit()?;
        }
        for _ in 0..4 {
            let step = self.choose(&all);
            self.step(&step, SPAN)?;
        }
        self.step(&Step::Seal, SPAN)?;
        self.end()?;
        self.rot()
    }

    fn play_every_write(&mut self) -> Fine {
        self.every_write = true;
        self.create_at_every_write()?;
        let all = self.records()?;
        self.step(&Step::Import(all.clone()), 0)?;
        let steps = self.one_of_each(&all);
        for step in steps {
            self.step(&step, 0)?;
        }
        self.contest()?;
        self.visit()?;
        self.step(&Step::Seal, 0)?;
        self.end()
    }

    fn open(&self) -> Result<Vault> {
        let env = Arc::clone(&self.env);
        Vault::open_on(self.disk.clone(), env, root(), self.suite, TUNING)
    }

    fn vault(&mut self) -> Fine<&mut Vault> {
        let closed = || Bug::Broken("the day goes on without a vault".to_owned());
        self.vault.as_mut().ok_or_else(closed)
    }

    /// Prepares the next fault, mostly a power cut, somewhere in the next operations.
    fn arm(&mut self, span: u64) {
        if self.armed {
            return;
        }
        self.armed = true;
        let (kind, at) = (self.rng.below(20), 1 + self.rng.below(span));
        match kind {
            0..=12 => self.disk.cut_at(at),
            13 => self.disk.fail_at(at, ErrorKind::StorageFull),
            14 => self.disk.fail_at(at, ErrorKind::Other),
            15 => self.disk.fail_read_at(at, ErrorKind::Other),
            16 => self.disk.fail_read_at(at, ErrorKind::UnexpectedEof),
            _ => self.armed = false,
        }
    }

    /// Does a step until it is acknowledged or found done after a cut.
    fn step(&mut self, step: &Step, span: u64) -> Fine {
        if self.every_write {
            return self.step_at_every_write(step);
        }
        loop {
            self.arm(span);
            self.env.advance_ms(60_000);
            let Err(error) = step.perform(self.vault()?) else {
                let after = step.states(&self.model).pop();
                self.model = after.unwrap_or_default();
                return Ok(());
            };
            self.expect_fault(step.name(), &error)?;
            let states = self.use_after_failure(step)?;
            let done = states.last().cloned();
            self.recover(&states)?;
            if done.is_some_and(|done| done == self.model) {
                return Ok(());
            }
        }
    }

    fn step_at_every_write(&mut self, step: &Step) -> Fine {
        self.vault = None;
        let (image, before) = (self.disk.image(), self.model.clone());
        let states = step.states(&before);
        for cut in 1.. {
            // The stick as it was, too: it would tell the vault that it was put back.
            let step = &step.afresh();
            self.disk = SimDisk::from_image(image.clone());
            self.model = before.clone();
            let opened = self.open();
            let mut vault = opened.map_err(|e| Bug::Unopenable(e.to_string()))?;
            self.disk.cut_at(cut);
            self.env.advance_ms(60_000);
            let done = step.perform(&mut vault);
            if let Err(error) = done {
                self.vault = Some(vault);
                self.expect_fault(step.name(), &error)?;
                self.recover(&states)?;
                self.meet_again(step)?;
                continue;
            }
            // Closing brings the step from the journal to the tree, and is cut as well.
            drop(vault);
            self.model = states.last().cloned().unwrap_or_default();
            if self.disk.struck() {
                self.recover(&[])?;
                continue;
            }
            self.disk.calm();
            let opened = self.open();
            self.vault = Some(opened.map_err(|e| Bug::Unopenable(e.to_string()))?);
            return Ok(());
        }
        Ok(())
    }

    /// What an exchange that was cut left on the stick is in nobody's way.
    fn meet_again(&mut self, step: &Step) -> Fine {
        if !matches!(step, Step::Exchange(..)) {
            return Ok(());
        }
        self.disk.calm();
        let met = step.perform(self.vault()?);
        met.map_err(|e| Bug::Broken(format!("an exchange after one that was cut: {e}")))
    }

    /// An error is in order only after the disk failed.
    fn expect_fault(&self, what: &str, error: &Error) -> Fine {
        if self.disk.struck() {
            return Ok(());
        }
        Err(Bug::Broken(format!("{what} on a sound disk: {error}")))
    }

    /// After a failure with the power on a program may go on with the open vault. If that is
    /// acknowledged, it counts; after a failed sync it never is. Returns what may be found.
    fn use_after_failure(&mut self, failed: &Step) -> Fine<Vec<Model>> {
        let states = failed.states(&self.model);
        if self.disk.is_off() || states.len() > 1 {
            return Ok(states);
        }
        let edit = self.note();
        if edit.perform(self.vault()?).is_err() {
            return Ok(states);
        }
        if self.disk.failed_sync().0 {
            let what = "a commit was acknowledged after a failed sync";
            return Err(Bug::Broken(what.to_owned()));
        }
        self.model = edit.states(&self.model).pop().unwrap_or_default();
        Ok(Vec::new())
    }

    /// The process or the machine goes down and comes up; the vault must be as it was, or in one
    /// of `states`.
    fn recover(&mut self, states: &[Model]) -> Fine {
        self.vault = None;
        let (sync_failed, used) = self.disk.failed_sync();
        if used {
            let what = "the disk was used after a failed sync";
            return Err(Bug::Broken(what.to_owned()));
        }
        self.tally.failures += u64::from(!self.disk.is_off());
        match self.rng.below(6) {
            0 if sync_failed => self.disk = SimDisk::from_image(self.disk.image()),
            0 => self.disk = self.disk.after_process_death(),
            _ => self.lose_power(),
        }
        // The power may go again while the vault recovers, or the disk fail.
        while self.rng.one_in(3) {
            if self.rng.one_in(5) {
                let kind = [ErrorKind::Other, ErrorKind::UnexpectedEof][self.rng.below(2) as usize];
                self.disk.fail_read_at(1 + self.rng.below(40), kind);
                self.tally.failures += 1;
            } else {
                self.disk.cut_at(1 + self.rng.below(12));
            }
            drop(self.open());
            self.lose_power();
        }
        self.armed = false;
        let opened = self.open();
        let mut vault = opened.map_err(|e| Bug::Unopenable(e.to_string()))?;
        let found = Model::of(&vault).map_err(|e| Bug::Lost(format!("unreadable: {e}")))?;
        if found != self.model && !states.contains(&found) {
            return Err(Bug::Lost(self.model.difference(&found)));
        }
        self.model = found;
        verify(&mut vault)?;
        self.vault = Some(vault);
        Ok(())
    }

    fn lose_power(&mut self) {
        self.tally.cuts += 1;
        self.disk = self.disk.after_power_loss(&mut self.rng);
        if self.lying {
            self.disk.lie();
        }
    }

    /// The day ends on a sound disk: a last edit, and the vault is closed, opened and verified.
    fn end(&mut self) -> Fine {
        if self.disk.struck() {
            self.recover(&[])?;
        }
        self.disk.calm();
        let last = self.note();
        let went = last.perform(self.vault()?);
        went.map_err(|e| Bug::Broken(format!("the last edit: {e}")))?;
        self.model = last.states(&self.model).pop().unwrap_or_default();
        self.vault = None;
        let opened = self.open();
        let mut vault = opened.map_err(|e| Bug::Unopenable(format!("at the end: {e}")))?;
        let found = Model::of(&vault).map_err(|e| Bug::Lost(format!("at the end: {e}")))?;
        if found != self.model {
            return Err(Bug::Lost(self.model.difference(&found)));
        }
        verify(&mut vault)
    }

    /// Damage to what was synced long ago is refused, or hit nothing that is in use.
    fn rot(&mut self) -> Fine {
        let image = self.disk.image();
        for _ in 0..ROTS {
            let mut rotten = image.clone();
            damage(&mut rotten, &mut self.rng);
            self.disk = SimDisk::from_image(rotten);
            self.tally.rots += 1;
            let shown = self.open().and_then(|vault| Model::of(&vault));
            match shown {
                Err(Error::Integrity { .. }) => self.tally.rots_refused += 1,
                Err(other) => {
                    return Err(Bug::Broken(format!("bit rot was reported as: {other}")));
                }
                Ok(found) if found == self.model => {}
                Ok(found) => {
                    let what = self.model.difference(&found);
                    return Err(Bug::Lost(format!("after bit rot: {what}")));
                }
            }
        }
        Ok(())
    }
}

fn verify(vault: &mut Vault) -> Fine {
    let report = vault.verify(false, &mut |_, _| {});
    let report = report.map_err(|e| Bug::Broken(format!("verifying: {e}")))?;
    if report.is_sound() {
        return Ok(());
    }
    Err(Bug::Broken(format!(
        "does not verify: {:?}",
        report.problems
    )))
}

/// One bit, or one sector that is zero or garbage.
fn damage(image: &mut [u8], rng: &mut Rng) {
    let at = rng.below(image.len() as u64) as usize;
    let sector = at / 512 * 512;
    let end = image.len().min(sector + 512);
    match rng.below(3) {
        0 => image[at] ^= 1 << rng.below(8),
        1 => image[sector..end].fill(0),
        _ => rng.fill(&mut image[sector..end]),
    }
}

fn root() -> RootKey {
    RootKey::fill_with(|out| out.fill(5))
}

fn name(kind: &str, id: &str) -> Fine<RecordId> {
    RecordId::new(kind, id).map_err(|e| Bug::Broken(e.to_string()))
}
