//! From older formats of the rows to the present one, one step for each, when a vault is opened.
//!
//! All steps and the rows that follow from the ledger are one transaction: a cut leaves the old
//! format or the new one. The data file as it was is kept beside it (`vault.db.before-N`) until the
//! migrated vault has verified; one that does not verify opens all the same, keeps the old file and
//! says so.

use crate::env::SharedEnv;
use crate::error::{Error, Result};
use crate::ids::{ChainId, CommitId, ReplicaId};
use crate::store::{Store, WriteTxn};
use crate::vault::Vault;
use crate::vault::core::{Work, pack_row, unpack_row};
use crate::vault::epoch::Epoch;
use crate::vault::marks::{Held, Marks};
use crate::vault::open::load_core;
use crate::vault::rows::{self, Rows, kind};
use crate::vault::verify::{VerifyReport, rebuild};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Format of the rows that this engine writes.
pub const FORMAT: u32 = 2;

type Step = fn(&mut WriteTxn, &SharedEnv) -> Result<()>;

/// Step `n` makes format `n + 2` of format `n + 1`. Rows that follow from the ledger are made
/// again after the last one, so that a step only has to see to the others.
const STEPS: [Step; FORMAT as usize - 1] = [to_2];

/// A migration that is not over: row `M` `migration`, from the change of format until the vault
/// has verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Migration {
    /// The format it came from.
    pub(crate) from: u32,
    /// The migrated vault did not verify.
    pub(crate) failed: bool,
}

impl Migration {
    fn key() -> Vec<u8> {
        rows::meta("migration")
    }

    pub(crate) fn load(rows: &dyn Rows) -> Result<Option<Self>> {
        rows.get(&Self::key())?
            .map(|row| unpack_row(&row))
            .transpose()
    }

    fn put(self, txn: &mut WriteTxn) {
        txn.put(Self::key(), pack_row(&self));
    }
}

/// The format of a vault's rows.
pub(crate) fn format(rows: &dyn Rows) -> Result<u32> {
    let row = rows.get(&rows::meta("format"))?;
    let number = row.and_then(|row| Some(u32::from_le_bytes(row.try_into().ok()?)));
    number
        .filter(|number| *number > 0)
        .ok_or(Error::integrity_at("the vault lacks a setting", "format"))
}

/// Notes the present format.
pub(crate) fn put_format(txn: &mut WriteTxn) {
    txn.put(rows::meta("format"), FORMAT.to_le_bytes().to_vec());
}

/// Brings a vault of an older format to the present one. One of a newer format stays as it is.
pub(crate) fn to_present(store: &Store, env: &SharedEnv) -> Result<()> {
    let found = format(&store.read()?)?;
    if found > FORMAT {
        return Err(Error::TooNew {
            what: "the vault",
            found,
            known: FORMAT,
        });
    }
    if found == FORMAT {
        return Ok(());
    }
    store.keep_before(found)?;
    let mut txn = store.write()?;
    for step in STEPS.iter().skip(found as usize - 1) {
        step(&mut txn, env)?;
    }
    put_format(&mut txn);
    let migration = Migration {
        from: found,
        failed: false,
    };
    migration.put(&mut txn);
    let core = load_core(&txn)?;
    let mut work = Work::new(txn, core, Arc::clone(env));
    let commits = commits(&work)?;
    if commits != work.core.counts.commits {
        return Err(Error::integrity(
            "the vault holds another number of commits than it says; open it with the medsync \
             that wrote it last",
        ));
    }
    rebuild(&mut work)?;
    work.finish().map(|_| ())
}

/// Format 2: the vault knows its epoch, by which a copy that was put back is told; a peer's mark
/// names several commits of a chain where it named one, and stands under its copy's name.
fn to_2(txn: &mut WriteTxn, env: &SharedEnv) -> Result<()> {
    #[derive(Deserialize)]
    struct MarksOf1 {
        counter: u64,
        hlc: i64,
        replica: ReplicaId,
        held: Held,
        tips: BTreeMap<ChainId, (u64, CommitId)>,
    }
    #[derive(Deserialize)]
    struct NumbersOf1 {
        counter: u64,
        file: u32,
    }
    Epoch::first(&**env).put(txn);
    let key = rows::meta("exchange");
    if let Some(row) = txn.get(&key)? {
        let NumbersOf1 { counter, file } = unpack_row(&row)?;
        txn.put(key, pack_row(&(counter, file, 0i64)));
    }
    for (key, row) in txn.all(&[kind::MARKS])? {
        let old: MarksOf1 = unpack_row(&row)?;
        let tips = old.tips.into_iter();
        let marks = Marks {
            counter: old.counter,
            hlc: old.hlc,
            replica: old.replica,
            held: old.held,
            tips: tips.map(|(chain, tip)| (chain, vec![tip])).collect(),
            former: Vec::new(),
            claim: Vec::new(),
            signature: Vec::new(),
        };
        let of_copy = [&key[..], &marks.replica.0].concat();
        txn.delete(key);
        txn.put(of_copy, marks.to_row());
    }
    Ok(())
}

fn commits(rows: &dyn Rows) -> Result<u64> {
    let mut commits = 0;
    rows.scan(&[kind::COMMIT], &[kind::COMMIT], &mut |_, _| {
        commits += 1;
        Ok(true)
    })?;
    Ok(commits)
}

impl Vault {
    /// Ends a migration: once the vault has verified, the old file goes.
    pub(crate) fn end_migration(&mut self) -> Result<()> {
        match Migration::load(&self.store.read()?)? {
            Some(migration) if !migration.failed => self.check_migration(migration).map(|_| ()),
            // Verified, and cut before the old file was gone.
            None => self.store.get()?.drop_befores(),
            // It was looked at before; doctor looks again.
            Some(_) => Ok(()),
        }
    }

    /// Verifies a migrated vault, and notes whether it holds.
    pub(crate) fn check_migration(&mut self, migration: Migration) -> Result<VerifyReport> {
        let report = self.verify(false, &mut |_, _| {})?;
        let sound = report.is_sound();
        self.work(|work, _| {
            if sound {
                work.txn.delete(Migration::key());
            } else {
                let failed = true;
                Migration {
                    failed,
                    ..migration
                }
                .put(&mut work.txn);
            }
            Ok(())
        })?;
        if sound {
            self.store.get()?.drop_befores()?;
        }
        Ok(report)
    }
}
