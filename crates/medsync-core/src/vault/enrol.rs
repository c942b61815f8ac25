//! Admitting devices and people, and revoking them.

use crate::crypto::Words;
use crate::error::{Error, Result};
use crate::ids::{AuthorKey, ChainId, DeviceKey, ReplicaId};
use crate::ledger::certificate::{Certificate, Role, Subject, Terms, authority_key};
use crate::ledger::commit::Intent;
use crate::ledger::enrol::{Grant, Request};
use crate::ledger::entry::ItemKind;
use crate::ledger::membership::{Device, Warning};
use crate::ledger::revocation::{Cut, Revocation, RevocationTerms};
use crate::model::pack::{Lane, PolicyPack};
use crate::vault::Vault;
use crate::vault::core::{Core, Meta, Work, WorkspaceMeta, load_commit};
use crate::vault::granted;
use crate::vault::open::{set_meta, take_items};
use crate::vault::people::certify;
use crate::vault::rows::{self, Rows};
use crate::vault::write::{OwnCommit, Signer};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Where the chains of a key end.
type Cuts = BTreeMap<ReplicaId, BTreeSet<Cut>>;

impl Vault {
    /// The request of a vault that belongs to no workspace yet. The same each time it is asked.
    ///
    /// # Errors
    /// [`Error::Refused`] if the vault belongs to a workspace, [`Error::Locked`] without its
    /// owner's key.
    pub fn request(&mut self) -> Result<String> {
        if self.core.meta.workspace.is_some() {
            return Err(Error::Refused {
                what: "this vault belongs to a workspace already",
                hint: "make a new vault in another folder to join another workspace",
            });
        }
        let device = self.device()?;
        self.work(|work, signer| {
            if let Some(text) = work.get(&rows::meta("request"))? {
                return String::from_utf8(text)
                    .map_err(|_| Error::integrity("the stored request is damaged"));
            }
            let signer = signer.ok_or(Error::Locked("the owner's key"))?;
            let name = work.get(&rows::meta("device-name"))?.unwrap_or_default();
            let name = String::from_utf8_lossy(&name).into_owned();
            let person = Self::name_here(work, &signer.author)?;
            let recipient = device.public_recipient();
            let env = Arc::clone(&work.env);
            let request = Request::new(
                &*env,
                &device.signing,
                recipient,
                &signer.key,
                &name,
                &person,
            )?;
            let text = request.to_text();
            work.txn
                .put(rows::meta("request"), text.as_bytes().to_vec());
            Ok(text)
        })
    }

    /// Admits a device and its owner; returns the grant that lets it join.
    ///
    /// # Errors
    /// [`Error::Refused`] without the role admin or after its end, [`Error::Invalid`] for a damaged
    /// request.
    pub fn admit(&mut self, request: &str, roles: &[Role]) -> Result<String> {
        self.require(Role::Admin)?;
        let request = Request::from_text(request)?;
        let admitted = self.core.membership.is_current_device(&request.device());
        if !admitted {
            self.require_current_admin()?;
            self.authored(|work, signer| {
                let mut commit = OwnCommit::new(work, signer, Intent::Membership, Lane::P0)?;
                let (archive, person): (Vec<Role>, Vec<Role>) =
                    roles.iter().partition(|role| **role == Role::Archive);
                let device = Subject::Device {
                    key: request.device(),
                    recipient: Some(*request.recipient()),
                };
                let name = request.device_name().expose().clone();
                certify(work, signer, &mut commit, device, &name, &archive)?;
                let subject = Subject::Person(request.person());
                let name = request.person_name().expose().clone();
                certify(work, signer, &mut commit, subject, &name, &person)?;
                commit.store_items(work)
            })?;
        }
        let signer = self
            .signer
            .as_ref()
            .ok_or(Error::Locked("the admin's key"))?;
        let workspace = self.core.workspace()?;
        Grant::answer(
            &signer.key,
            &request,
            &self.core.membership,
            &workspace.name,
        )
    }

    /// Certificates that end soon or have ended, with nothing in their place. Work goes on all the
    /// same; only what an admin does after the end has no authority until they renew.
    pub fn warnings(&self) -> Vec<Warning> {
        let now = self.env.now_ms().max(self.core.clock.last().ms());
        self.core.membership.warnings(now)
    }

    /// Whether what the person whose key is unlocked does as an admin takes effect.
    pub(crate) fn require_current_admin(&self) -> Result<()> {
        self.require(Role::Admin)?;
        let own = |w: &Warning| {
            self.author()
                .is_some_and(|author| *w.subject.key() == author.0)
        };
        if self.warnings().iter().any(|w| w.expired && own(w)) {
            return Err(Error::Refused {
                what: "your admin certificate has ended; this would have no effect",
                hint: "renew it with the workspace authority's 24 words",
            });
        }
        Ok(())
    }

    /// Makes the person whose key is unlocked an admin for another term, or for the first time, by
    /// the workspace authority's own 24 words. What they did since their last term ended counts
    /// with it.
    ///
    /// # Errors
    /// [`Error::WrongSecret`] for words of another workspace.
    pub fn renew_admin(&mut self, authority: &Words) -> Result<()> {
        let key = authority_key(authority.entropy().expose());
        self.core.workspace()?;
        if key.public() != self.core.membership.current_authority() {
            return Err(Error::WrongSecret("the workspace authority's 24 words"));
        }
        self.authored(|work, signer| {
            let mut commit = OwnCommit::new(work, signer, Intent::Membership, Lane::P0)?;
            let name = Self::name_here(work, &signer.author)?;
            let workspace = work.core.workspace()?.id;
            let subject = Subject::Person(signer.author);
            let terms = Terms::new(workspace, subject, &name, [Role::Admin], commit.hlc);
            let certificate = Certificate::issue(&key, &terms)?;
            commit.item(ItemKind::CERTIFICATE, certificate.bytes())?;
            commit.store_items(work)
        })
    }

    /// Joins the workspace that a grant admits this vault to.
    ///
    /// # Errors
    /// [`Error::Refused`] for a grant to another device or of another workspace.
    pub fn join(&mut self, grant: &str) -> Result<()> {
        let text = self.store.read()?.get(&rows::meta("request"))?;
        let text = text.ok_or(Error::Refused {
            what: "this vault has asked for nothing",
            hint: "print its request first and have an admin admit it",
        })?;
        let request = Request::from_text(&String::from_utf8_lossy(&text))?;
        let current = self.core.meta.workspace.as_ref().map(|w| w.id);
        let grant = Grant::open(grant, &request, current.as_ref())?;
        let workspace = WorkspaceMeta {
            id: *grant.membership.workspace(),
            name: grant.workspace_name.clone(),
            authority: *grant.membership.authority(),
        };
        self.work(|work, _| {
            set_meta(
                work,
                Meta {
                    workspace: Some(workspace),
                    ..(*work.core.meta).clone()
                },
            );
            granted::put(work, grant.membership.items());
            let known: Vec<_> = work
                .core
                .membership
                .items()
                .map(|(i, c)| (i.clone(), *c))
                .collect();
            let mut membership = grant.membership;
            membership.set_forks(Arc::clone(&work.core.forks));
            membership.extend(known);
            work.core.membership = Arc::new(membership);
            take_items(work)
        })
    }

    /// Revokes a person or a device. What a person committed until now stays theirs; what they
    /// commit later has no authority. A device receives nothing that is written from now on; what people
    /// sign on it goes on to count, so whoever's key may be in wrong hands is revoked as well.
    ///
    /// # Errors
    /// [`Error::Refused`] without the role admin, after its end, for one's own key or this device.
    pub fn revoke(&mut self, key: &[u8; 32], because: &str) -> Result<()> {
        self.revoke_after(key, None, because)
    }

    /// As [`Vault::revoke`], but of what the person committed only that counts whose time is not
    /// after `until_ms`: for a key that somebody else had for a while. The times are the commits'
    /// own; of a chain, nothing counts after its first commit that is later.
    ///
    /// # Errors
    /// As [`Vault::revoke`].
    pub fn revoke_after(
        &mut self,
        key: &[u8; 32],
        until_ms: Option<i64>,
        because: &str,
    ) -> Result<()> {
        self.require_current_admin()?;
        if because.trim().is_empty() {
            return Err(Error::Refused {
                what: "revoking needs a reason",
                hint: "say why (--because)",
            });
        }
        if self.author().is_some_and(|author| author.0 == *key) {
            return Err(Error::Refused {
                what: "nobody revokes their own key",
                hint: "have another admin revoke it, or reset its PIN",
            });
        }
        if self.device_key().0 == *key {
            return Err(Error::Refused {
                what: "a device cannot revoke itself: nobody would learn of it",
                hint: "revoke it from another device",
            });
        }
        self.revoke_unasked(key, until_ms, because)
    }

    pub(super) fn revoke_unasked(
        &mut self,
        key: &[u8; 32],
        until_ms: Option<i64>,
        because: &str,
    ) -> Result<()> {
        self.authored(|work, signer| {
            let mut commit = OwnCommit::new(work, signer, Intent::Membership, Lane::P0)?;
            let cuts = match until_ms {
                Some(until_ms) => cuts_until(work, key, until_ms)?,
                None => cuts(&work.core, key),
            };
            put_revocation(work, signer, &mut commit, key, cuts, because)?;
            commit.store_items(work)
        })
    }

    /// Puts a pack into force: a commit that every replica will judge by.
    ///
    /// # Errors
    /// [`Error::Refused`] without the role admin or for a version that is not newer,
    /// [`Error::Invalid`] or [`Error::TooNew`] for a pack that no replica would read.
    pub fn install_pack(&mut self, pack: &PolicyPack) -> Result<()> {
        self.require(Role::Admin)?;
        // What a replica cannot read it would pass over, and every replica judge by the old one.
        PolicyPack::from_json(&pack.to_bytes())?;
        if pack.version <= self.core.pack.pack().version {
            return Err(Error::Refused {
                what: "a pack of this version or a newer one is in force",
                hint: "raise the pack's version",
            });
        }
        self.authored(|work, signer| {
            let mut commit = OwnCommit::new(work, signer, Intent::Pack, Lane::P0)?;
            commit.item(ItemKind::PACK, &pack.to_bytes())?;
            commit.store_items(work)
        })
    }

    /// The workspace's current devices.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.core.membership.devices()
    }

    /// This device's key.
    pub fn device_key(&self) -> DeviceKey {
        self.core.meta.device
    }
}

/// Adds a revocation to a commit: what its subject committed until now counts, this commit too if
/// it is the subject's own.
pub(crate) fn revoke(
    work: &Work,
    signer: &Signer,
    commit: &mut OwnCommit,
    key: &[u8; 32],
    because: &str,
) -> Result<()> {
    let mut cuts = cuts(&work.core, key);
    if commit.id.author.0 == *key {
        let (number, seq) = commit.place();
        // A commit cannot name itself: the one before it stands for it.
        let own = Cut {
            seq,
            commit: work.core.chain(number)?.tip,
        };
        cuts.insert(commit.id.replica, BTreeSet::from([own]));
    }
    put_revocation(work, signer, commit, key, cuts, because)
}

/// The same ends, each moved back to the last commit that is not after a time. Times never go back
/// along a chain.
fn cuts_until(work: &Work, key: &[u8; 32], until_ms: i64) -> Result<Cuts> {
    const LACKS: Error = Error::integrity("a chain lacks one of its commits");
    let mut out = Cuts::new();
    for (replica, ends) in cuts(&work.core, key) {
        let author = AuthorKey(*key);
        let chain = ChainId { author, replica };
        let trunk = work.core.chain_no(&chain).ok_or(LACKS)?;
        for mut end in ends {
            while end.seq > 0 {
                let node = work.core.forks.get(&chain).and_then(|b| b.get(&end.commit));
                let number = node.map_or(trunk, |node| node.number);
                let row = load_commit(work, number, end.seq)?.ok_or(LACKS)?;
                let header = row.header()?;
                if header.fields().hlc.ms() <= until_ms {
                    out.entry(replica).or_default().insert(end);
                    break;
                }
                end = Cut {
                    seq: end.seq - 1,
                    commit: header.fields().previous,
                };
            }
        }
    }
    Ok(out)
}

fn put_revocation(
    work: &Work,
    signer: &Signer,
    commit: &mut OwnCommit,
    key: &[u8; 32],
    cuts: Cuts,
    because: &str,
) -> Result<()> {
    let terms = RevocationTerms {
        workspace: work.core.workspace()?.id,
        subject: *key,
        cuts,
        because: crate::phi::Phi::new(because.to_owned()),
        issued: commit.hlc,
    };
    let revocation = Revocation::issue(&signer.key, &terms)?;
    commit.item(ItemKind::REVOCATION, revocation.bytes())
}

impl Core {
    /// The names and keys of current devices that can be sealed for.
    pub(crate) fn recipients(&self) -> Vec<(DeviceKey, [u8; 32])> {
        self.membership
            .devices()
            .filter_map(|d| Some((d.key, d.recipient?)))
            .collect()
    }
}

/// Where the chains of a key end: up to the first gap, for what lies beyond may be one commit at a
/// place far ahead, and all that is still to be written before it would have authority. Of a chain
/// that forked every branch that is here from its beginning counts.
fn cuts(core: &Core, key: &[u8; 32]) -> Cuts {
    let mut cuts = Cuts::new();
    for chain in core.chains.iter().filter(|c| c.id.author.0 == *key) {
        let Some(branches) = core.forks.get(&chain.id) else {
            if chain.seq > 0 {
                let (seq, commit) = (chain.seq, chain.tip);
                cuts.entry(chain.id.replica)
                    .or_default()
                    .insert(Cut { seq, commit });
            }
            continue;
        };
        // Only the first number has the trunk.
        if chain.seq.saturating_add(1) < branches.trunk() {
            continue;
        }
        for (commit, node) in branches.ends() {
            if branches.down(commit).1 {
                let (seq, commit) = (node.seq, *commit);
                cuts.entry(chain.id.replica)
                    .or_default()
                    .insert(Cut { seq, commit });
            }
        }
    }
    cuts
}
