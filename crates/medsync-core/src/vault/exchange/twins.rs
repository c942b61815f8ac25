//! Copies of one device that meet in a folder, and what they leave there.

use crate::error::Result;
use crate::ids::DeviceKey;
use crate::ledger::batch::BatchHeader;
use crate::vault::branches::is_whole;
use crate::vault::copies::Copies;
use crate::vault::exchange::claim::SignedClaim;
use crate::vault::exchange::files::Name;
use crate::vault::exchange::manifest::FileMark;
use crate::vault::exchange::{Found, Numbers, Visit, heads};
use crate::vault::incarnation::{self, Why};
use crate::vault::marks::{Held, Tips};
use crate::vault::rows::Rows;

/// What a copy said that it holds.
type Said = (Held, Tips);

impl Visit<'_> {
    /// Whether somebody else wrote under this vault's name: a twin, or itself before it was put back;
    /// or another copy gave the name up. Whoever says so shows what this device signed.
    fn is_copy(&self, found: &[Found]) -> Result<bool> {
        let meta = &self.vault.core.meta;
        let last = Numbers::load(&self.vault.store.read()?)?;
        let here = found.iter().filter_map(|f| f.marks.as_ref());
        let claims = here.flat_map(|(marks, claim)| marks.claims.iter().chain([claim]));
        let mut own = claims.filter_map(|claim| claim.of(&meta.device, &self.workspace));
        Ok(own.any(|claim| {
            let ahead = claim.counter > last.counter;
            let other = claim.counter == last.counter && claim.hlc.0 != last.hlc;
            (claim.replica == meta.replica && (ahead || other))
                || (claim.replica != meta.replica && claim.former.contains(&meta.replica))
        }))
    }

    /// Takes a new name, if this vault is not the only one that bears its own.
    pub(super) fn part_ways(&mut self, found: &[Found]) -> Result<()> {
        if !self.is_copy(found)? {
            return Ok(());
        }
        self.report.rolled_back.push(self.vault.core.meta.device);
        self.vault
            .work(|work, _| incarnation::renew(work, Why::Exchange))?;
        self.report.received.new_incarnation = true;
        Ok(())
    }

    /// What each copy of each current device has, as far as it said; of a device that never said
    /// anything, nothing. With the newest claims of all.
    pub(super) fn peers(
        &self,
        rows: &dyn Rows,
        recipients: &[(DeviceKey, [u8; 32])],
    ) -> Result<(Vec<Said>, Vec<SignedClaim>)> {
        let own = self.vault.core.meta.device;
        let (mut peers, mut claims) = (Vec::new(), Vec::new());
        for (device, _) in recipients {
            let copies = Copies::load(rows, device)?;
            if *device != own && copies.marks().is_empty() {
                peers.push(Default::default());
            }
            for marks in copies.marks() {
                claims.extend(SignedClaim::stored(&marks.claim, &marks.signature));
                peers.push((marks.held.clone(), marks.tips.clone()));
            }
        }
        Ok((peers, claims))
    }

    /// Clears the folders of this vault's former names of what is here: it was left anew.
    pub(super) fn clear(&mut self, rows: &dyn Rows, past: &[&Found]) -> Result<()> {
        for found in past {
            let mut stays = false;
            for name in found.names.iter().filter(|name| **name != Name::Marks) {
                let here = match (name, found.marks().and_then(|m| m.file(*name))) {
                    (Name::Keys(_), _) => found.keys.iter().any(|k| k.taken && k.name == *name),
                    (_, Some(file)) => self.is_here(rows, file)?,
                    (_, None) => false,
                };
                stays |= !here;
                if here {
                    self.remove(&self.path(&found.dir, *name));
                }
            }
            if !stays {
                for name in found
                    .leftovers
                    .iter()
                    .map(String::as_str)
                    .chain([heads::FILE])
                {
                    self.remove(&format!("{}/{}/{name}", self.dir, found.dir));
                }
                self.remove(&self.path(&found.dir, Name::Marks));
            }
        }
        Ok(())
    }

    /// Whether a file tells this vault nothing.
    fn is_here(&self, rows: &dyn Rows, file: &FileMark) -> Result<bool> {
        for (chain, (first, last, last_id)) in file.carries.runs() {
            let batch = BatchHeader {
                workspace: self.workspace,
                chain: *chain,
                first: *first,
                last: *last,
                last_id: *last_id,
            };
            if !is_whole(rows, &self.vault.core, &batch)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
