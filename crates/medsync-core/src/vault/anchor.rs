//! What a machine remembers of a vault outside the vault's own file.
//!
//! A file that was put back as a whole is sound in itself. An [`Anchor`] remembers how far it had
//! come: at opening an older file, or another copy of it, shows, and the vault takes a new
//! incarnation before its next write. An anchor decides nothing else. One that is lost, refuses or
//! lags behind costs at most a new incarnation, never a record.

use crate::crypto::{NONCE_LEN, RootKey, open_small, seal_small};
use crate::env::Env;
use crate::error::Result;
use crate::ids::{ChainId, CommitId};
use crate::time::Timestamp;
use crate::vault::Vault;
use crate::vault::core::{Chain, Core, load_commit, pack_row};
use crate::vault::incarnation::{self, Why};
use crate::vault::rows::Rows;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::sync::Arc;

/// A place outside the vault's folder that remembers a few hundred bytes for each vault: the
/// system's key store, or a [`StateFolder`](crate::vault::StateFolder).
pub trait Anchor: Send + Sync {
    /// What was stored last for a vault.
    ///
    /// # Errors
    /// Whatever the place says; the vault opens all the same, under a new incarnation.
    fn load(&self, vault: &[u8; 16]) -> io::Result<Option<Vec<u8>>>;

    /// Remembers this instead. Asked after every durable write, so it should not wait for a disk;
    /// a place that is slow may keep it for [`Anchor::settle`].
    ///
    /// # Errors
    /// Whatever the place says; the vault goes on.
    fn store(&self, vault: &[u8; 16], bytes: &[u8]) -> io::Result<()>;

    /// Makes durable what was stored. Asked when a person leaves and when the vault is closed.
    ///
    /// # Errors
    /// As [`Anchor::store`].
    fn settle(&self, vault: &[u8; 16]) -> io::Result<()>;
}

/// A shared [`Anchor`].
pub type SharedAnchor = Arc<dyn Anchor>;

impl fmt::Debug for dyn Anchor + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Anchor")
    }
}

/// What an anchor says of a vault's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Anchored {
    /// There is no anchor: an older file is noticed at the first exchange, not before.
    Unwatched,
    /// The file is the one that was here last.
    Held,
    /// The file is older than the one that was here last.
    RolledBack {
        /// Commits that it has fewer, as far as is known.
        missing: u64,
        /// When the file that was here last was written.
        last: Timestamp,
    },
    /// Another copy of this vault was written to.
    Cloned,
    /// The vault had an anchor, and this machine knows nothing of it: it was moved or put back
    /// here, or the anchor was lost.
    Missing,
    /// The place that holds the anchor refuses, or what it holds is damaged.
    Refused,
}

impl Anchored {
    /// Why the vault takes a new incarnation before its next write, if it does.
    pub(crate) const fn renewal(self) -> Option<Why> {
        match self {
            Self::Unwatched | Self::Held => None,
            Self::RolledBack { .. } => Some(Why::RolledBack),
            Self::Cloned => Some(Why::Cloned),
            Self::Missing => Some(Why::AnchorMissing),
            Self::Refused => Some(Why::AnchorRefused),
        }
    }
}

/// Most copies of one vault that an anchor remembers.
const COPIES_MAX: usize = 8;
const FORMAT: u8 = 1;
const ABOUT: &[u8] = b"medsync v1 anchor";

/// One copy of the vault, as it stood after its last write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    epoch: [u8; 16],
    count: u64,
    commits: u64,
    hlc: Timestamp,
    /// The last commit that was made here: every later state of the same copy holds it.
    own: Option<(ChainId, u64, CommitId)>,
}

impl Seen {
    pub(crate) fn of(core: &Core) -> Self {
        let own = core.chains.iter();
        let own = own.filter(|c| c.id.replica == core.meta.replica && c.seq > 0);
        let last = own.max_by_key(|c| c.hlc);
        Self {
            epoch: core.epoch.id,
            count: core.epoch.count,
            commits: core.counts.commits,
            hlc: core.clock.last(),
            own: last.map(|c| (c.id, c.seq, c.tip)),
        }
    }

    /// Whether a vault has the commit that was its last.
    fn is_in(&self, rows: &dyn Rows, core: &Core) -> Result<bool> {
        let Some((chain, seq, id)) = self.own else {
            return Ok(true);
        };
        // A chain that forked has several numbers.
        for (no, _) in (0u32..).zip(&core.chains).filter(|(_, c)| c.id == chain) {
            if let Some(row) = load_commit(rows, no, seq)?
                && row.header()?.id() == id
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A vault's anchor, for as long as the vault is open.
pub(crate) struct Watch {
    anchor: Option<SharedAnchor>,
    vault: [u8; 16],
    /// The copies it remembers, the one that was written to last at the end.
    seen: Vec<Seen>,
    pub(crate) standing: Anchored,
    renew: bool,
}

impl Watch {
    /// No anchor.
    pub(crate) const fn none() -> Self {
        Self {
            anchor: None,
            vault: [0; 16],
            seen: Vec::new(),
            standing: Anchored::Unwatched,
            renew: false,
        }
    }

    /// Why the next write begins with a new incarnation, if it does.
    pub(crate) fn renewal(&self) -> Option<Why> {
        self.standing.renewal().filter(|_| self.renew)
    }

    /// Commits that are known to be missing, and until when there may be some.
    pub(crate) const fn lost(&self) -> (u64, Timestamp) {
        match self.standing {
            Anchored::RolledBack { missing, last } => (missing, last),
            _ => (0, Timestamp(0)),
        }
    }

    pub(crate) const fn is_on(&self) -> bool {
        self.anchor.is_some()
    }

    /// A write is under way that begins with a new incarnation, if one was due.
    pub(crate) const fn renewed(&mut self) {
        self.renew = false;
    }

    fn alarm(&mut self, standing: Anchored) {
        self.standing = standing;
        self.renew = standing.renewal().is_some();
    }

    /// Reads what is remembered. `None` if the place refuses or it is damaged.
    fn load(&self, root: &RootKey) -> Option<Vec<Seen>> {
        let Some(anchor) = &self.anchor else {
            return Some(Vec::new());
        };
        match anchor.load(&self.vault).ok()? {
            Some(bytes) => open(root, &self.vault, &bytes),
            None => Some(Vec::new()),
        }
    }

    /// Before a write: whether another copy of the vault was written to since this one was.
    pub(crate) fn look(&mut self, root: &RootKey, core: &Core) {
        if !self.is_on() || self.renew {
            return;
        }
        // One that refuses now was asked when the vault was opened.
        let Some(found) = self.load(root).filter(|found| !found.is_empty()) else {
            return;
        };
        let own = Seen::of(core);
        let later = |seen: &Seen| seen.count > own.count;
        let other = |seen: &Seen| seen.count == own.count && seen.own != own.own;
        let mut copies = found.iter().filter(|seen| seen.epoch == own.epoch);
        if copies.any(|seen| later(seen) || other(seen)) {
            self.alarm(Anchored::Cloned);
        }
        self.seen = found;
    }

    /// After a durable write: how far the vault has come.
    pub(crate) fn wrote(&mut self, root: &RootKey, env: &dyn Env, seen: Seen) {
        let Some(anchor) = self.anchor.clone() else {
            return;
        };
        // An entry of the audit log is a write too, and must not make an alarm forgotten that has not
        // had its new incarnation yet.
        if self.renew {
            return;
        }
        // Of writes that became durable together the last may have been told of first.
        let later = |other: &Seen| other.epoch == seen.epoch && other.count > seen.count;
        if self.seen.iter().any(later) {
            return;
        }
        self.seen.retain(|other| other.epoch != seen.epoch);
        self.seen.push(seen);
        let old = self.seen.len().saturating_sub(COPIES_MAX);
        self.seen.drain(..old);
        let bytes = seal(root, env, &self.vault, &self.seen);
        if anchor.store(&self.vault, &bytes).is_err() {
            self.standing = Anchored::Refused;
        }
    }

    /// Makes durable what the anchor remembers.
    pub(crate) fn settle(&mut self) {
        if let Some(anchor) = &self.anchor
            && anchor.settle(&self.vault).is_err()
        {
            self.standing = Anchored::Refused;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.settle();
    }
}

fn key(root: &RootKey) -> crate::crypto::key::Secret<32> {
    root.derive("medsync v1 anchor")
}

fn seal(root: &RootKey, env: &dyn Env, vault: &[u8; 16], seen: &[Seen]) -> Vec<u8> {
    let nonce: [u8; NONCE_LEN] = env.bytes();
    let aad = [ABOUT, vault].concat();
    let body = pack_row(&seen);
    let sealed = seal_small(key(root).expose(), &nonce, &aad, &body);
    [&[FORMAT][..], &nonce, &sealed].concat()
}

fn open(root: &RootKey, vault: &[u8; 16], bytes: &[u8]) -> Option<Vec<Seen>> {
    let (format, rest) = bytes.split_first()?;
    if *format != FORMAT {
        return None;
    }
    let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
    let aad = [ABOUT, vault].concat();
    let body = open_small(key(root).expose(), nonce, &aad, sealed)?;
    postcard::from_bytes(&body).ok()
}

/// Reads what lies below an anchor's seal and writes what it said.
#[cfg(feature = "testing")]
pub(crate) fn reread(body: &[u8]) -> Result<Vec<u8>> {
    const BAD: crate::error::Error = crate::error::Error::integrity("an anchor is damaged");
    let seen: Vec<Seen> = postcard::from_bytes(body).map_err(|_| BAD)?;
    Ok(pack_row(&seen))
}

/// The copies that an anchor could remember.
#[cfg(feature = "testing")]
pub(crate) fn sample() -> Vec<u8> {
    let chain = ChainId {
        author: crate::ids::AuthorKey([1; 32]),
        replica: crate::ids::ReplicaId([2; 16]),
    };
    let seen = |n: u8| Seen {
        epoch: [n; 16],
        count: 3,
        commits: 4,
        hlc: Timestamp(5),
        own: (n > 1).then_some((chain, 6, CommitId([7; 32]))),
    };
    pack_row(&vec![seen(1), seen(2)])
}

/// What the file and the anchor say together.
fn judge(found: Option<&[Seen]>, rows: &dyn Rows, core: &Core) -> Result<Anchored> {
    let Some(found) = found else {
        return Ok(Anchored::Refused);
    };
    let epoch = &core.epoch;
    let Some(seen) = found.iter().find(|seen| seen.epoch == epoch.id) else {
        return Ok(match (found.is_empty(), epoch.anchored) {
            // The first time that anybody looks.
            (true, false) => Anchored::Held,
            (true, true) => Anchored::Missing,
            (false, _) => Anchored::Cloned,
        });
    };
    if epoch.count < seen.count {
        return Ok(Anchored::RolledBack {
            missing: seen.commits.saturating_sub(core.counts.commits),
            last: seen.hlc,
        });
    }
    // A file that is ahead is what a cut between a write and its anchor leaves; one that is ahead
    // of another past is a copy that was written to elsewhere.
    Ok(match seen.is_in(rows, core)? {
        true => Anchored::Held,
        false => Anchored::Cloned,
    })
}

impl Vault {
    /// Compares the vault with what the machine remembers of it, and keeps that up to date from now
    /// on. A vault that was put back, copied or moved then takes a new incarnation before its next
    /// write; [`Vault::anchored`] says so. Nothing here stops the vault from being used.
    ///
    /// This is for a vault that was just made. Opening one notes that in the audit log, with which an
    /// older file may look like a copy: [`Vault::open_anchored`] compares first.
    ///
    /// # Errors
    /// [`crate::error::Error::Storage`] or [`crate::error::Error::Integrity`] if the vault cannot
    /// be read.
    pub fn anchor(&mut self, anchor: SharedAnchor) -> Result<Anchored> {
        let store = self.store.get()?;
        let vault = store.vault_id().unwrap_or_else(|| {
            let id = store.root().derive("medsync v1 anchor of a test");
            id.expose().first_chunk().copied().unwrap_or_default()
        });
        let mut watch = Watch::none();
        (watch.anchor, watch.vault) = (Some(anchor), vault);
        let root = store.root();
        let found = watch.load(root);
        let standing = judge(found.as_deref(), &self.store.read()?, &self.core)?;
        watch.seen = found.unwrap_or_default();
        watch.alarm(standing);
        let known = watch.seen.iter().any(|s| s.epoch == self.core.epoch.id);
        if standing == Anchored::Held && !known {
            watch.wrote(root, &*self.env, Seen::of(&self.core));
        }
        let standing = watch.standing;
        self.watch = watch;
        Ok(standing)
    }

    /// Takes the new incarnation that is due, so that nothing goes on under the old name.
    pub(crate) fn renew_if_due(&mut self) -> Result<()> {
        match self.watch.renewal() {
            Some(_) => self.work(|_, _| Ok(())),
            None => Ok(()),
        }
    }

    /// What the anchor says, or said when this copy took its name, for as long as nobody has written
    /// records under it: whoever comes next shall hear of it too.
    ///
    /// # Errors
    /// [`crate::error::Error::Storage`] or [`crate::error::Error::Integrity`] if the vault cannot be
    /// read.
    pub fn alarm(&self) -> Result<Anchored> {
        let now = self.watch.standing;
        let own = |c: &Chain| c.id.replica == self.core.meta.replica && c.seq > 0;
        if now.renewal().is_some() || self.core.chains.iter().any(own) {
            return Ok(now);
        }
        let taken = incarnation::load(&self.store.read()?)?;
        Ok(match taken {
            Some(taken) if taken.why == Why::RolledBack => Anchored::RolledBack {
                missing: taken.missing,
                last: taken.last,
            },
            Some(taken) if taken.why == Why::Cloned => Anchored::Cloned,
            Some(taken) if taken.why == Why::AnchorMissing => Anchored::Missing,
            Some(taken) if taken.why == Why::AnchorRefused => Anchored::Refused,
            _ => now,
        })
    }

    /// What the anchor said when the vault was opened, or since.
    pub const fn anchored(&self) -> Anchored {
        self.watch.standing
    }
}
