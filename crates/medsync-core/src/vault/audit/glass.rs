//! Reading in an emergency without one's own key: always told, until somebody has looked into it.

use crate::error::{Error, Result};
use crate::ledger::audit::{Action, Actor, Detail};
use crate::ledger::certificate::Role;
use crate::store::WriteTxn;
use crate::time::Timestamp;
use crate::vault::Vault;
use crate::vault::audit::Note;
use crate::vault::core::{pack_row, unpack_row};
use crate::vault::rows::{self, Rows};
use serde::{Deserialize, Serialize};

const ROW: &str = "emergencies";

/// An emergency into which nobody has looked yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emergency {
    /// The number of its log: this device has one for each of its incarnations.
    pub log: u32,
    /// Its entry there.
    pub seq: u64,
    /// When it was.
    pub time: Timestamp,
}

/// Those that are open.
pub(crate) fn open(rows: &dyn Rows) -> Result<Vec<Emergency>> {
    let row = rows.get(&rows::meta(ROW))?;
    row.map_or_else(|| Ok(Vec::new()), |row| unpack_row(&row))
}

/// Adds one, in the transaction of its entry.
pub(super) fn add(txn: &mut WriteTxn, emergency: Emergency) -> Result<()> {
    let mut all = open(txn)?;
    all.push(emergency);
    txn.put(rows::meta(ROW), pack_row(&all));
    Ok(())
}

impl Vault {
    /// Reads on in an emergency, as nobody's own person: whoever opened the vault says why, and
    /// what is read from now on stands under that in the audit log, until somebody unlocks their
    /// key. Nothing can be written. Durable before anything is shown.
    ///
    /// # Errors
    /// [`Error::Refused`] without a reason, [`Error::Storage`] if it cannot be written down.
    pub fn break_glass(&mut self, because: &str) -> Result<()> {
        if because.trim().is_empty() {
            return Err(Error::Refused {
                what: "breaking the glass needs a reason",
                hint: "say why it cannot wait for somebody who may",
            });
        }
        self.leave()?;
        let because = Detail::Text("because".to_owned(), because.to_owned());
        self.note_first(Note::new(Action::BREAK_GLASS, vec![because]))?;
        // Nothing was read since, so nothing was written after it.
        let entry = self.core.audit.seq();
        self.set_actor(Actor::Emergency(entry));
        Ok(())
    }

    /// Says that somebody looked into an emergency of this device.
    ///
    /// # Errors
    /// [`Error::Refused`] without the role admin or reviewer or without a word about it,
    /// [`Error::NotFound`] if there is none of that place.
    pub fn acknowledge(&mut self, emergency: &Emergency, because: &str) -> Result<()> {
        if self.require(Role::Admin).is_err() {
            self.require(Role::Reviewer)?;
        }
        if because.trim().is_empty() {
            return Err(Error::Refused {
                what: "looking into an emergency needs a word about it",
                hint: "say what was found",
            });
        }
        let because = Detail::Text("because".to_owned(), because.to_owned());
        self.work(|work, _| {
            let mut all = open(work)?;
            let before = all.len();
            all.retain(|open| open != emergency);
            if all.len() == before {
                return Err(Error::NotFound("emergency of that number"));
            }
            work.txn.put(rows::meta(ROW), pack_row(&all));
            let number = |name: &str, n: u64| Detail::Count(name.to_owned(), n);
            let log = number("log", emergency.log.into());
            let entry = number("entry", emergency.seq);
            work.note(Note::new(Action::ACKNOWLEDGE, vec![log, entry, because]));
            Ok(())
        })
    }
}
