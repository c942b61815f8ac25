//! What a world knows by itself of what was written: commits with what their authors had in view.

use crate::error::Result;
use crate::ids::{AuthorKey, ChainId, CommitId, RecordId};
use crate::vault::Vault;
use std::collections::{BTreeMap, BTreeSet};

/// Stands in every clinical value, name of nothing else, and must be found in no file.
pub(super) const CANARY: &str = "Qzj7Canary";
/// Stands in what must never be shown.
pub(super) const POISON: &str = "Xv3Poison";

/// Numbers of commits.
pub(super) type Numbers = BTreeSet<u32>;

/// A commit that an honest person made.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) author: AuthorKey,
    /// Where it stands, as far as that is known.
    pub(super) place: Option<(ChainId, u64, CommitId)>,
    /// Its records, each with the commits that were in view.
    pub(super) parts: BTreeMap<RecordId, Numbers>,
    /// It was under way when the power went, or its device went back to a time before it: it is
    /// there or not, and nobody was told otherwise.
    pub(super) doubtful: bool,
}

/// A revocation of a person.
#[derive(Debug, Clone)]
pub(super) struct Revoked {
    pub(super) author: AuthorKey,
    /// The last commit of each chain that the admin had.
    pub(super) cuts: BTreeMap<ChainId, u64>,
}

/// Everything that honest people did.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) made: Vec<Made>,
    pub(super) revoked: Vec<Revoked>,
}

impl Model {
    /// The number of the next commit.
    pub(super) fn next(&self) -> u32 {
        u32::try_from(self.made.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn get(&self, no: u32) -> Option<&Made> {
        self.made.get(usize::try_from(no).ok()?)
    }

    /// Whether everything a person committed at a place lies before every cut.
    pub(super) fn before_all_cuts(&self, made: &Made) -> bool {
        let Some((chain, seq, _)) = &made.place else {
            return false;
        };
        let mut cuts = self.revoked.iter().filter(|r| r.author == made.author);
        cuts.all(|r| r.cuts.get(chain).is_some_and(|cut| seq <= cut))
    }
}

/// What a commit says it was made for: its number and the canary.
pub(super) fn because(no: u32) -> String {
    format!("w{no} {CANARY}")
}

/// The number in a reason of [`because`].
pub(super) fn number(because: &str) -> Option<u32> {
    let (no, canary) = because.strip_prefix('w')?.split_once(' ')?;
    (canary == CANARY).then(|| no.parse().ok()).flatten()
}

/// The commits of the model that a vault shows in a record.
pub(super) fn in_view(vault: &Vault, record: &RecordId) -> Result<Numbers> {
    let events = match vault.history(record, None) {
        Err(crate::error::Error::NotFound(_)) => return Ok(Numbers::new()),
        events => events?,
    };
    let numbers = events
        .iter()
        .filter_map(|event| number(event.because.as_ref()?.expose()));
    Ok(numbers.collect())
}
