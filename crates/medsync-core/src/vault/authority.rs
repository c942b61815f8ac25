//! The workspace's authority: two admins put another one in its place.

use crate::crypto::Words;
use crate::error::{Error, Result};
use crate::ids::{AuthorKey, CommitId};
use crate::ledger::certificate::{Role, authority_key};
use crate::ledger::commit::Intent;
use crate::ledger::entry::ItemKind;
use crate::ledger::membership::Standing;
use crate::ledger::rotation::{Rotation, RotationTerms};
use crate::model::pack::Lane;
use crate::phi::Phi;
use crate::vault::Vault;
use crate::vault::write::OwnCommit;

/// A vote for another authority that waits for a second one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vote {
    /// Who cast it.
    pub by: AuthorKey,
    /// Their name.
    pub name: Phi<String>,
    /// The public key of the authority they want.
    pub to: [u8; 32],
}

impl Vault {
    /// The public key of the workspace's authority, if the vault belongs to one.
    pub fn current_authority(&self) -> Option<[u8; 32]> {
        let workspace = self.core.meta.workspace.as_ref();
        workspace.map(|_| self.core.membership.current_authority())
    }

    /// Votes for another authority that wait for a second one.
    pub fn votes(&self) -> Vec<Vote> {
        let membership = &self.core.membership;
        let vote = |(by, rotation): ([u8; 32], &Rotation)| Vote {
            by: AuthorKey(by),
            name: membership.name_of(&by).cloned().unwrap_or_default(),
            to: rotation.terms().to,
        };
        membership.votes().map(vote).collect()
    }

    /// Casts the first of two votes for a new authority, whose 24 words are returned. When another
    /// admin agrees, the old authority's words sign nothing new.
    ///
    /// # Errors
    /// [`Error::Refused`] without the role admin, after its end, or for a second vote.
    pub fn rotate_authority(&mut self) -> Result<Words> {
        let words = Words::generate(&*self.env);
        let to = authority_key(words.entropy().expose()).public();
        self.vote(to)?;
        Ok(words)
    }

    /// Casts the second vote for an authority that another admin voted for. The caller compares the
    /// key with what the other admin says theirs is.
    ///
    /// # Errors
    /// [`Error::NotFound`] if nobody voted for it; else as [`Vault::rotate_authority`].
    pub fn agree_to_authority(&mut self, to: &[u8; 32]) -> Result<()> {
        if !self.votes().iter().any(|vote| vote.to == *to) {
            return Err(Error::NotFound("vote for this authority"));
        }
        self.vote(*to)
    }

    fn vote(&mut self, to: [u8; 32]) -> Result<()> {
        self.require_current_admin()?;
        let author = self.author();
        // Only an admin's first vote counts: a second one could be taken for a vote that does.
        if self.votes().iter().any(|vote| Some(vote.by) == author) {
            return Err(Error::Refused {
                what: "you have voted for another authority already",
                hint: "have another admin agree to it",
            });
        }
        self.authored(|work, signer| {
            let mut commit = OwnCommit::new(work, signer, Intent::Membership, Lane::P0)?;
            let membership = &work.core.membership;
            let standing = membership.role_of(&commit.id, commit.place().1, &CommitId([0; 32]));
            if !matches!(&standing, Standing::Entitled(roles) if roles.contains(&Role::Admin)) {
                return Err(Error::Refused {
                    what: "this needs the role admin",
                    hint: "have an admin grant the role, or act as someone who has it (--as)",
                });
            }
            let terms = RotationTerms {
                workspace: *membership.workspace(),
                from: membership.current_authority(),
                to,
                keeps: membership.rooted(),
                issued: commit.hlc,
            };
            let vote = Rotation::issue(&signer.key, &terms)?;
            commit.item(ItemKind::ROTATION, vote.bytes())?;
            commit.store_items(work)
        })
    }
}
