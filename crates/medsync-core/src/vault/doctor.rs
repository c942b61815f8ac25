//! What ails a vault, what each finding means, and repair of what follows from the ledger.

use crate::error::{Error, Result};
use crate::vault::Vault;
use crate::vault::anchor::Anchored;
use crate::vault::core::Work;
use crate::vault::migrate::Migration;
use crate::vault::pending::Cause;
use crate::vault::rows::{Rows, kind};
use crate::vault::status::derived_digest;
use crate::vault::verify::rebuild;
use serde::Serialize;
use std::sync::Arc;

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// What the ledger holds is damaged: only others can bring it back.
    Damage,
    /// What follows from the ledger is damaged: it can be made again.
    Repairable,
    /// Somebody should see to it; nothing is lost.
    Warning,
    /// Good to know.
    Note,
}

/// One thing that a doctor found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ailment {
    /// What kind of thing, for scripts.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was found; never a clinical value.
    pub what: String,
    /// What it means.
    pub means: &'static str,
    /// What to do.
    pub remedy: &'static str,
    /// Whether it was repaired just now.
    pub repaired: bool,
}

/// How far this machine's clock is from what the vault knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "clock", rename_all = "kebab-case")]
pub enum ClockSkew {
    /// The vault was written to in what this clock takes for the future.
    Behind {
        /// By how much, in milliseconds.
        by_ms: i64,
    },
    /// Nothing was written to the vault for so long that the clock may be wrong.
    Ahead {
        /// Since when, in milliseconds.
        by_ms: i64,
    },
}

const BEHIND_MS: i64 = 10 * 60 * 1000;
const AHEAD_MS: i64 = 365 * 24 * 3_600_000;

impl Vault {
    /// Whether this machine's clock is far from the vault's own time. Nothing depends on it: what
    /// is written gets a later time than all before it.
    pub fn clock_skew(&self) -> Option<ClockSkew> {
        let last = self.core.clock.last().ms();
        let by_ms = self.env.now_ms().saturating_sub(last);
        if last > 0 && by_ms > AHEAD_MS {
            return Some(ClockSkew::Ahead { by_ms });
        }
        let by_ms = by_ms.saturating_neg();
        (by_ms > BEHIND_MS).then_some(ClockSkew::Behind { by_ms })
    }

    /// Examines the vault and, with `repair`, makes again what follows from the ledger. Most urgent
    /// first; nothing is written without `repair`.
    ///
    /// # Errors
    /// [`Error::Storage`] if the vault cannot be read or the repair not written.
    pub fn examine(
        &mut self,
        repair: bool,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Vec<Ailment>> {
        let mut found = Vec::new();
        // First, because a damaged derived row may end the examination of the ledger.
        self.examine_derived(&mut found, repair)?;
        self.examine_ledger(&mut found, progress)?;
        self.examine_migration(&mut found, repair)?;
        self.examine_commits(&mut found)?;
        self.examine_surroundings(&mut found);
        found.sort_by_key(|ailment| ailment.severity);
        Ok(found)
    }

    fn examine_ledger(
        &mut self,
        found: &mut Vec<Ailment>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<()> {
        let report = match self.verify(false, progress) {
            Ok(report) => report,
            Err(Error::Integrity { .. }) if found.iter().any(|a| !a.repaired) => return Ok(()),
            Err(Error::Integrity { what, .. }) => {
                found.push(damaged(format!("the examination ended early: {what}")));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        // What is wrong with a record's derived rows shows when they are made again.
        let ledger = report.problems.into_iter();
        let ledger = ledger.filter(|problem| !problem.starts_with("record "));
        found.extend(ledger.map(damaged));
        Ok(())
    }

    /// Makes the derived rows again, in a transaction that is kept only for a repair.
    fn examine_derived(&mut self, found: &mut Vec<Ailment>, repair: bool) -> Result<()> {
        let before = derived_digest(&self.store.read()?)?;
        let counted = self.core.counts;
        let txn = self.store.write()?;
        let mut work = Work::new(txn, self.core.clone(), Arc::clone(&self.env));
        let made = rebuild(&mut work).and_then(|()| derived_digest(&work));
        let same_counts = work.core.counts == counted;
        drop(work);
        let same = match made {
            Ok(after) => after == before && same_counts,
            Err(Error::Integrity { what, .. }) => {
                let what = format!("views and indexes cannot be made from the ledger: {what}");
                found.push(damaged(what));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if same {
            return Ok(());
        }
        if repair {
            self.work(|work, _| rebuild(work))?;
        }
        found.push(Ailment {
            code: "derived",
            severity: Severity::Repairable,
            what: "views, states, questions or indexes are not what follows from the ledger".into(),
            means: "records may be shown wrongly or not be found; what was written is all there",
            remedy: "medsync doctor --repair makes them again from the ledger",
            repaired: repair,
        });
        Ok(())
    }

    fn examine_migration(&mut self, found: &mut Vec<Ailment>, repair: bool) -> Result<()> {
        let Some(migration) = Migration::load(&self.store.read()?)? else {
            return Ok(());
        };
        let repaired = repair && self.check_migration(migration)?.is_sound();
        found.push(Ailment {
            code: "migration",
            severity: Severity::Repairable,
            what: format!(
                "the vault came from format {} and did not verify; the old file is kept beside it",
                migration.from
            ),
            means: "something was damaged before or by the change of format",
            remedy: "medsync doctor --repair looks again and removes the old file once all holds",
            repaired,
        });
        Ok(())
    }

    fn examine_commits(&self, found: &mut Vec<Ailment>) -> Result<()> {
        let rows = self.store.read()?;
        let (mut causes, mut keys, mut leaves) = (0u64, 0u64, 0u64);
        for (_, row) in rows.all(&[kind::PENDING])? {
            match Cause::from_row(&row) {
                Cause::Key(_) => keys += 1,
                Cause::Leaf => leaves += 1,
                Cause::Change(..) | Cause::Any => causes += 1,
                // Told below, with what was shown in part.
                Cause::Engine => {}
            }
        }
        let pending = [
            (
                causes,
                "waits-for-commits",
                "commits wait for others they build on",
                EXCHANGE_MORE,
            ),
            (
                keys,
                "waits-for-keys",
                "commits wait for a patient's data key",
                EXCHANGE_KEYS,
            ),
            (
                leaves,
                "waits-for-entries",
                "commits have entries that were withheld",
                EXCHANGE_MORE,
            ),
        ];
        for (count, code, what, remedy) in pending {
            let means = "they are kept, and shown once what they wait for is here";
            noted(found, count, code, (Severity::Warning, what, means, remedy));
        }
        let status = self.status()?;
        noted(found, status.not_understood, "newer", NEWER);
        noted(found, status.quarantine, "quarantine", QUARANTINE);
        noted(found, status.equivocations, "fork", FORK);
        let unsealed = status.unsealed.iter().map(|(_, _, commits)| commits).sum();
        noted(found, unsealed, "unsealed", UNSEALED);
        noted(found, status.outbox, "outbox", OUTBOX);
        Ok(())
    }

    fn examine_surroundings(&self, found: &mut Vec<Ailment>) {
        let one = |what, (severity, code, means, remedy)| Ailment {
            code,
            severity,
            what,
            means,
            remedy,
            repaired: false,
        };
        let anchored = match self.anchored() {
            Anchored::Held => None,
            Anchored::Unwatched => {
                Some(("there is no anchor outside the vault's folder", UNWATCHED))
            }
            Anchored::RolledBack { .. } => Some(("the vault's file was put back", OTHER_COPY)),
            Anchored::Cloned => Some(("another copy of the vault was written to", OTHER_COPY)),
            Anchored::Missing => Some(("this machine does not know the vault", OTHER_COPY)),
            Anchored::Refused => Some(("the anchor cannot be read or written", REFUSED)),
        };
        found.extend(anchored.map(|(what, words)| one(what.to_owned(), words)));
        let minutes = |ms: i64| ms / 60_000;
        let clock = self.clock_skew().map(|skew| match skew {
            ClockSkew::Behind { by_ms } => {
                format!("the clock is {} minutes behind the vault", minutes(by_ms))
            }
            ClockSkew::Ahead { by_ms } => {
                format!(
                    "the clock is {} days ahead of the vault",
                    minutes(by_ms) / 1440
                )
            }
        });
        found.extend(clock.map(|what| one(what, CLOCK)));
        for warning in self.warnings() {
            let what = match warning.expired {
                true => "an admin's certificate has ended",
                false => "an admin's certificate ends soon",
            };
            found.push(one(what.to_owned(), CERTIFICATE));
        }
    }
}

type Words = (Severity, &'static str, &'static str, &'static str);

const EXCHANGE_MORE: &str = "exchange with the devices that wrote or passed them on";
const EXCHANGE_KEYS: &str = "exchange with a device that has the patient's records";
const NEWER: Words = (
    Severity::Warning,
    "commits hold what only a newer medsync understands",
    "they are kept and passed on whole, and not shown or shown in part",
    "upgrade medsync",
);
const QUARANTINE: Words = (
    Severity::Warning,
    "commits contradict themselves and are kept apart",
    "an honest device cannot make them: a device is faulty or hostile; nothing of them is shown",
    "find out which device wrote them, and revoke it if need be",
);
const FORK: Words = (
    Severity::Warning,
    "places hold two different signed commits of one author",
    "a copy of a device was used beside it, or somebody has its key; both histories are shown",
    "find the second copy and use only one; revoke the key if nobody knows of a copy",
);
const UNSEALED: Words = (
    Severity::Note,
    "commits wait for their author to seal them",
    "they are durable here and cannot travel yet",
    "the author's next command seals them",
);
const OUTBOX: Words = (
    Severity::Note,
    "commits are at no other device yet, as far as is known",
    "if this device is lost, so are they",
    "exchange",
);
const UNWATCHED: Words = (
    Severity::Note,
    "anchor",
    "a backup that is put back is noticed at the next exchange, not before",
    "set MEDSYNC_STATE to a folder that is not backed up with the vault",
);
const OTHER_COPY: Words = (
    Severity::Warning,
    "anchor",
    "what this file lacks is at the devices it was exchanged with, and nowhere else",
    "exchange; the vault writes on under a new name by itself. Use no other copy of it",
);
const REFUSED: Words = (
    Severity::Warning,
    "anchor",
    "a backup that is put back would not be noticed, so the vault takes a new name each time",
    "make the folder of MEDSYNC_STATE writable, or unlock the key store",
);
const CLOCK: Words = (
    Severity::Warning,
    "clock",
    "times shown beside what is written now are wrong; nothing else depends on the clock",
    "set the machine's clock",
);
const CERTIFICATE: Words = (
    Severity::Warning,
    "certificate",
    "what they do as an admin after its end has no effect; all else goes on",
    "medsync admin renew",
);

fn noted(found: &mut Vec<Ailment>, count: u64, code: &'static str, words: Words) {
    let (severity, what, means, remedy) = words;
    if count > 0 {
        found.push(Ailment {
            code,
            severity,
            what: format!("{count} {what}"),
            means,
            remedy,
            repaired: false,
        });
    }
}

fn damaged(what: String) -> Ailment {
    Ailment {
        code: "ledger",
        severity: Severity::Damage,
        what,
        means: "a commit, a seal or a key is not as it was signed and stored",
        remedy: "keep a copy of the folder, make a new vault and join with it: an exchange brings \
                 back what others hold",
        repaired: false,
    }
}
