//! Where the commits of a chain are kept when it forked.
//!
//! A place has several commits then, and a row holds one: so a chain has several numbers, and each
//! holds at most one commit of a place. Within a number neighbours follow each other; a branch may
//! lie under several. What lies under which number depends on the order of arrival and says nothing:
//! that a chain has more than one does not, for one holds all that can be one chain.

use crate::error::{Error, Result};
use crate::ids::{ChainId, CommitId};
use crate::ledger::batch::BatchHeader;
use crate::ledger::commit::{Header, check_link};
use crate::ledger::forks::{Branches, Forks, Lineage, Node};
use crate::vault::commit_row::CommitRow;
use crate::vault::core::{Chain, Core, Work, load_commit};
use crate::vault::pending::Cause;
use crate::vault::people::is_here;
use crate::vault::rows::{self, Rows, kind};
use std::sync::Arc;

/// Where a received commit belongs.
pub(crate) enum Slot {
    /// It is here, under this number.
    Here(u32),
    /// It fits this number.
    Next(u32),
    /// It contradicts what is here: a branch of its own begins.
    Fork,
}

/// Finds where a received commit belongs; `main` is the first number of its chain.
pub(crate) fn slot(work: &Work, main: u32, header: &Header) -> Result<Slot> {
    let fields = header.fields();
    let known = load_commit(work, main, fields.seq)?;
    if known.as_ref().is_some_and(|r| r.header == header.bytes()) {
        return Ok(Slot::Here(main));
    }
    let branches = work.core.forks.get(&fields.chain);
    if let Some(node) = branches.and_then(|b| b.get(&header.id())) {
        return Ok(Slot::Here(node.number));
    }
    if fits(work, main, header)? {
        return Ok(Slot::Next(main));
    }
    let Some(branches) = branches else {
        return Ok(Slot::Fork);
    };
    let before = branches.get(&fields.previous).map(|node| node.number);
    let after = branches.awaits(&header.id());
    for number in before.into_iter().chain(after) {
        if number != main && fits(work, number, header)? {
            return Ok(Slot::Next(number));
        }
    }
    Ok(Slot::Fork)
}

/// Whether a commit's place is free under a number, and it follows its neighbours there.
fn fits(work: &Work, number: u32, header: &Header) -> Result<bool> {
    let seq = header.fields().seq;
    let tip = work.core.chain(number)?.tip();
    if load_commit(work, number, seq)?.is_some()
        || (tip.seq + 1 == seq && check_link(&tip, header).is_err())
    {
        return Ok(false);
    }
    let before = match seq.checked_sub(1) {
        Some(0) | None => None,
        Some(before) => load_commit(work, number, before)?,
    };
    if let Some(before) = before
        && check_link(&before.header()?.tip(), header).is_err()
    {
        return Ok(false);
    }
    match load_commit(work, number, seq.saturating_add(1))? {
        Some(after) => Ok(check_link(&header.tip(), &after.header()?).is_ok()),
        None => Ok(true),
    }
}

/// Notes a commit that was stored, if its chain forked.
pub(crate) fn note(work: &mut Work, main: u32, number: u32, header: &Header) -> Result<()> {
    let fields = *header.fields();
    if number == main && !work.core.forks.has(&fields.chain) {
        return Ok(());
    }
    let node = Node {
        seq: fields.seq,
        previous: fields.previous,
        number,
    };
    let trunk = fields.seq.saturating_sub(1);
    // Taken out, or each commit would copy all of them.
    let mut forks = std::mem::take(&mut work.core.forks);
    let branches = Arc::make_mut(&mut forks).open(fields.chain);
    if number != main && trunk < branches.trunk() {
        list(work, main, (trunk, branches.trunk()), branches)?;
        branches.set_trunk(trunk);
    }
    if number != main || fields.seq >= branches.trunk() {
        branches.insert(header.id(), node);
    }
    work.core.forks = forks;
    Ok(())
}

/// Whether a commit of this chain that is not here was written by another copy of this vault.
/// Anybody can use its name with a key of their own; only the people of the vault can fork what is
/// written here.
pub(crate) fn is_own(work: &Work, chain: &ChainId) -> Result<bool> {
    Ok(chain.replica == work.core.meta.replica
        && (is_here(work, &chain.author)? || is_member(&work.core, chain)))
}

fn is_member(core: &Core, chain: &ChainId) -> bool {
    core.membership.people().any(|p| p.key == chain.author)
}

/// Lists the commits of a number from a place on, up to another.
fn list(
    rows: &dyn Rows,
    number: u32,
    (first, end): (u64, u64),
    branches: &mut Branches,
) -> Result<()> {
    let prefix = rows::of_chain(kind::COMMIT, number);
    let from = rows::in_chain(kind::COMMIT, number, first);
    rows.scan(&prefix, &from, &mut |key, row| {
        let within = rows::place(key).is_some_and(|(_, seq)| seq < end);
        if within {
            let header = CommitRow::from_bytes(row)?.header()?;
            let node = Node {
                seq: header.fields().seq,
                previous: header.fields().previous,
                number,
            };
            branches.insert(header.id(), node);
        }
        Ok(within)
    })
}

/// The chains that have more than one number.
pub(crate) fn load(rows: &dyn Rows, chains: &[Chain]) -> Result<Forks> {
    let mut forks = Forks::default();
    let mut first = std::collections::BTreeMap::new();
    for (number, chain) in (0u32..).zip(chains) {
        let Some(main) = first.get(&chain.id) else {
            first.insert(chain.id, number);
            continue;
        };
        let branches = forks.open(chain.id);
        list(rows, number, (0, u64::MAX), branches)?;
        let lowest = branches.nodes().map(|(_, node)| node.seq).min();
        let trunk = lowest.unwrap_or(u64::MAX).saturating_sub(1);
        if trunk < branches.trunk() {
            list(rows, *main, (trunk, branches.trunk()), branches)?;
            branches.set_trunk(trunk);
        }
    }
    Ok(forks)
}

/// The number under which a commit is kept.
pub(crate) fn locate(
    rows: &dyn Rows,
    core: &Core,
    chain: &ChainId,
    seq: u64,
    id: &CommitId,
) -> Result<Option<u32>> {
    let branches = core.forks.get(chain);
    if let Some(node) = branches.and_then(|b| b.get(id)) {
        return Ok(Some(node.number));
    }
    let Some(main) = core.chain_no(chain) else {
        return Ok(None);
    };
    let row = load_commit(rows, main, seq)?;
    let header = row.map(|row| row.header()).transpose()?;
    Ok(header.filter(|header| header.id() == *id).map(|_| main))
}

/// What a commit that is here descends from, itself included.
pub(crate) fn lineage(
    rows: &dyn Rows,
    core: &Core,
    chain: &ChainId,
    (seq, id): (u64, &CommitId),
) -> Result<Option<Lineage>> {
    if let Some(branches) = core.forks.get(chain)
        && branches.get(id).is_some()
    {
        return Ok(Some(branches.lineage(id)));
    }
    let number = locate(rows, core, chain, seq, id)?;
    Ok(number.map(|_| Lineage::up_to(seq)))
}

/// Where the commits of a batch lie, first to last; `None` if one of them is not here.
pub(crate) fn run(
    rows: &dyn Rows,
    core: &Core,
    batch: &BatchHeader,
) -> Result<Option<Vec<(u32, u64)>>> {
    let chain = &batch.chain;
    let Some(main) = core.chain_no(chain) else {
        return Ok(None);
    };
    if locate(rows, core, chain, batch.last, &batch.last_id)?.is_none() {
        return Ok(None);
    }
    let (mut places, mut seq) = (Vec::new(), batch.last);
    if let Some(branches) = core.forks.get(chain) {
        let (line, whole) = branches.down(&batch.last_id);
        for (_, node) in line.iter().take_while(|(_, n)| n.seq >= batch.first) {
            places.push((node.number, node.seq));
            seq = node.seq.saturating_sub(1);
        }
        if seq >= batch.first && !whole && !line.is_empty() {
            return Ok(None);
        }
    }
    while seq >= batch.first.max(1) {
        places.push((main, seq));
        seq -= 1;
    }
    places.reverse();
    let missing = |(number, seq): &(u32, u64)| {
        let row = rows.get(&rows::in_chain(kind::COMMIT, *number, *seq));
        row.map(|row| row.is_none())
    };
    for place in &places {
        if missing(place)? {
            return Ok(None);
        }
    }
    Ok(Some(places))
}

/// Whether all of a batch is here, and every entry that is for this vault was opened: only then need
/// nobody send it again.
pub(crate) fn is_whole(rows: &dyn Rows, core: &Core, batch: &BatchHeader) -> Result<bool> {
    if !core.forks.has(&batch.chain) {
        let Some(number) = locate(rows, core, &batch.chain, batch.last, &batch.last_id)? else {
            return Ok(false);
        };
        return crate::vault::pending::is_whole(rows, number, batch.first, batch.last);
    }
    let Some(places) = run(rows, core, batch)? else {
        return Ok(false);
    };
    for (number, seq) in places {
        if !is_open(rows, number, seq)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether nothing of a commit is missing that its author sent.
pub(crate) fn is_open(rows: &dyn Rows, number: u32, seq: u64) -> Result<bool> {
    let waits = rows.get(&rows::in_chain(kind::PENDING, number, seq))?;
    let cause = waits.map(|row| Cause::from_row(&row));
    Ok(!matches!(cause, Some(Cause::Leaf | Cause::Key(_))))
}

/// The row's key of a batch: under the number and place of its first commit. Of a chain that forked
/// two batches may begin at one place: there the number is that of the last commit, which follows.
pub(crate) fn batch_key(core: &Core, number: u32, batch: &BatchHeader) -> Vec<u8> {
    let mut key = rows::in_chain(kind::BATCH, number, batch.first);
    if core.forks.has(&batch.chain) {
        key.extend(batch.last_id.0);
    }
    key
}

impl Work {
    /// Another number for a chain that forked.
    pub(crate) fn open_branch(&mut self, id: &ChainId) -> Result<u32> {
        let number = u32::try_from(self.core.chains.len())
            .map_err(|_| Error::invalid("a workspace has too many chains"))?;
        self.core.chains.push(Chain::new(*id));
        self.chain_mut(number)?;
        Ok(number)
    }
}
