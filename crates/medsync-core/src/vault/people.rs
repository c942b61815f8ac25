//! The people of a vault: whose signing keys are kept here, and who may unlock which.

use crate::crypto::sign::SigningKey;
use crate::crypto::tries::Tries;
use crate::crypto::{
    Kdf, NONCE_LEN, RootKey, open_small, open_under_pin, seal_small, seal_under_pin,
};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::ids::AuthorKey;
use crate::ledger::audit::{Action, Actor};
use crate::ledger::certificate::{self, Certificate, Role, Subject, Terms};
use crate::ledger::commit::Intent;
use crate::ledger::entry::ItemKind;
use crate::model::pack::Lane;
use crate::vault::Vault;
use crate::vault::audit::Note;
use crate::vault::core::{Work, pack_row, unpack_row};
use crate::vault::enrol::revoke;
use crate::vault::rows::{self, Row, Rows, kind};
use crate::vault::seal::seal_all;
use crate::vault::write::{OwnCommit, Signer};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// What seals a person's signing key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Seal<'a> {
    /// The vault's own key: whoever opens the vault is this person.
    Passphrase,
    /// The person's PIN.
    Pin(&'a [u8], Kdf),
}

#[derive(Serialize, Deserialize)]
struct PersonRow {
    name: String,
    by_pin: bool,
    sealed: Vec<u8>,
}

/// A person of the workspace, as lists show them.
#[derive(Debug, Clone)]
pub struct PersonInfo {
    /// The person's key.
    pub key: AuthorKey,
    /// The name people know them by.
    pub name: crate::phi::Phi<String>,
    /// Their roles.
    pub roles: Vec<Role>,
    /// Whether their key was revoked.
    pub revoked: bool,
    /// Whether a chain of theirs forked: a copy of a device, or of their key, writes too.
    pub forked: bool,
    /// Whether their signing key is kept in this vault, and whether a PIN seals it.
    pub here: Option<bool>,
}

fn row_key(author: &AuthorKey) -> Vec<u8> {
    [&[kind::PERSON][..], &author.0].concat()
}

/// Whether a person's signing key is kept in this vault.
pub(crate) fn is_here(rows: &dyn Rows, author: &AuthorKey) -> Result<bool> {
    rows.get(&row_key(author)).map(|row| row.is_some())
}

fn context(author: &AuthorKey) -> String {
    format!("medsync v1 person {author}")
}

/// The row that keeps a person's signing key, sealed.
pub(crate) fn person_row(
    env: &dyn Env,
    root: &RootKey,
    key: &SigningKey,
    name: &str,
    seal: Seal<'_>,
) -> Result<Row> {
    let author = AuthorKey(key.public());
    let context = context(&author);
    let seed = key.seed();
    let (by_pin, sealed) = match seal {
        Seal::Pin(pin, kdf) => (true, seal_under_pin(env, pin, kdf, &context, &seed[..])?),
        Seal::Passphrase => (false, seal_under_root(env, root, &author, &seed[..])),
    };
    let row = PersonRow {
        name: name.to_owned(),
        by_pin,
        sealed,
    };
    Ok((row_key(&author), pack_row(&row)))
}

fn seal_under_root(env: &dyn Env, root: &RootKey, author: &AuthorKey, seed: &[u8]) -> Vec<u8> {
    let nonce: [u8; NONCE_LEN] = env.bytes();
    let key = root.derive("medsync v1 people");
    let sealed = seal_small(key.expose(), &nonce, context(author).as_bytes(), seed);
    [&nonce[..], &sealed].concat()
}

fn open_under_root(
    root: &RootKey,
    author: &AuthorKey,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>> {
    const BAD: Error = Error::integrity("a person's sealed key is damaged");
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(BAD)?;
    let key = root.derive("medsync v1 people");
    open_small(key.expose(), nonce, context(author).as_bytes(), sealed).ok_or(BAD)
}

/// A row of the store as it is to stand under a new root: a person's key that the old one sealed is
/// sealed by the new one, everything else stays.
pub(crate) fn reseal_row(
    env: &dyn Env,
    old: &RootKey,
    new: &RootKey,
    key: &[u8],
    row: Vec<u8>,
) -> Result<Vec<u8>> {
    let Some((&kind::PERSON, author)) = key.split_first() else {
        return Ok(row);
    };
    let author = AuthorKey::from_slice(author)?;
    let mut person: PersonRow = unpack_row(&row)?;
    if !person.by_pin {
        let seed = open_under_root(old, &author, &person.sealed)?;
        person.sealed = seal_under_root(env, new, &author, &seed);
    }
    Ok(pack_row(&person))
}

/// Where tries of a person's PIN are counted.
fn tries_key(author: &AuthorKey) -> Vec<u8> {
    rows::meta(&format!("tries {author}"))
}

impl Vault {
    /// Unlocks a person's signing key, with their PIN or, where the passphrase stands for it,
    /// without. What the person before wrote is sealed, as when they leave.
    ///
    /// # Errors
    /// [`Error::WrongSecret`] for another PIN, [`Error::Locked`] if one is needed,
    /// [`Error::NotFound`] if the person's key is not kept here.
    pub fn unlock(&mut self, author: &AuthorKey, pin: Option<&[u8]>) -> Result<()> {
        let who = Note::new(Action::UNLOCK, Vec::new()).by(Actor::Person(*author));
        let key = match self.open_key(author, pin) {
            Ok((key, _)) => key,
            Err(error @ Error::WrongSecret(_)) => {
                // They get nothing either way.
                self.note_first(who.failed()).ok();
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        if self.author().is_some_and(|before| before != *author) {
            // Nobody else can seal what the one before wrote, and unsealed it never leaves.
            self.seal()?;
        }
        self.note_first(who)?;
        self.signer = Some(Signer {
            author: *author,
            key,
        });
        self.set_actor(Actor::Person(*author));
        Ok(())
    }

    /// A person's signing key and the name it is kept under.
    ///
    /// Tries of a PIN are counted in the vault before they are made; too many have to wait.
    fn open_key(&mut self, author: &AuthorKey, pin: Option<&[u8]>) -> Result<(SigningKey, String)> {
        let row = self.store.read()?.get(&row_key(author))?;
        let row = row.ok_or(Error::NotFound("person with a key in this vault"))?;
        let row: PersonRow = unpack_row(&row)?;
        let context = context(author);
        let seed = if row.by_pin {
            let pin = pin.ok_or(Error::Locked("this person's key"))?;
            self.count_try(author)?;
            let seed = open_under_pin(pin, &context, &row.sealed)?;
            self.work(|work, _| {
                work.txn.delete(tries_key(author));
                Ok(())
            })?;
            seed
        } else if pin.is_some() {
            return Err(Error::Refused {
                what: "this person has no PIN; the vault's passphrase unlocks their key",
                hint: "leave the PIN out, or set one with `person change-pin`",
            });
        } else {
            open_under_root(self.store.root()?, author, &row.sealed)?
        };
        let seed = seed
            .first_chunk::<32>()
            .ok_or(Error::integrity("a signing key is damaged"))?;
        Ok((SigningKey::from_seed(seed), row.name))
    }

    fn count_try(&mut self, author: &AuthorKey) -> Result<()> {
        let now_ms = self.env.now_ms();
        self.work(|work, _| {
            let kept = work.get(&tries_key(author))?;
            let mut tries = Tries::read(kept.as_deref(), now_ms);
            let begun = tries.begin("the PIN", now_ms);
            work.txn.put(tries_key(author), tries.to_bytes());
            Ok(begun)
        })?
    }

    /// Puts a person's key under a new PIN. The key stays, and so does what it signed; `old` is
    /// `None` where the passphrase stood for the PIN until now.
    ///
    /// # Errors
    /// As [`Vault::unlock`]; [`Error::Invalid`] for an empty PIN.
    pub fn change_pin(
        &mut self,
        author: &AuthorKey,
        old: Option<&[u8]>,
        new: &[u8],
        kdf: Kdf,
    ) -> Result<()> {
        let row = self.sealed_anew(author, old, new, kdf)?;
        self.work(|work, _| {
            work.txn.put(row.0, row.1);
            Ok(())
        })
    }

    fn sealed_anew(
        &mut self,
        author: &AuthorKey,
        old: Option<&[u8]>,
        new: &[u8],
        kdf: Kdf,
    ) -> Result<Row> {
        let (key, name) = self.open_key(author, old)?;
        let seal = Seal::Pin(new, kdf);
        person_row(&*self.env, self.store.root()?, &key, &name, seal)
    }

    /// Whether the passphrase still stands for the owner's PIN.
    ///
    /// # Errors
    /// [`Error::Storage`] if the vault cannot be read.
    pub fn owner_lacks_pin(&self) -> Result<bool> {
        let row = self.store.read()?.get(&row_key(&self.owner()))?;
        row.map_or(Ok(false), |row| Ok(!unpack_row::<PersonRow>(&row)?.by_pin))
    }

    /// Seals what the person wrote and forgets their key.
    ///
    /// # Errors
    /// [`Error::Storage`] if the seal cannot be stored; the key is forgotten all the same.
    pub fn leave(&mut self) -> Result<()> {
        let sealed = match self.signer {
            None => Ok(()),
            Some(_) => self.work(|work, signer| {
                if let Some(signer) = signer.filter(|_| work.core.meta.workspace.is_some()) {
                    seal_all(work, signer)?;
                }
                work.note(Note::new(Action::LEAVE, Vec::new()));
                work.sign_audit();
                Ok(())
            }),
        };
        self.watch.settle();
        self.signer = None;
        self.set_actor(Actor::Nobody);
        sealed
    }

    /// The name of a person whose key is kept here.
    pub(crate) fn name_here(rows: &dyn Rows, author: &AuthorKey) -> Result<String> {
        let row = rows.get(&row_key(author))?;
        let row = row.ok_or(Error::NotFound("person with a key in this vault"))?;
        Ok(unpack_row::<PersonRow>(&row)?.name)
    }

    /// The person of a name whose key is kept here.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none.
    pub fn person_here(&self, name: &str) -> Result<AuthorKey> {
        let rows = self.store.read()?;
        for (key, row) in rows.all(&[kind::PERSON])? {
            if unpack_row::<PersonRow>(&row)?.name == name {
                return AuthorKey::from_slice(key.get(1..).unwrap_or_default());
            }
        }
        Err(Error::NotFound(
            "person of that name with a key in this vault",
        ))
    }

    /// Everybody who was ever admitted, and those whose key is here and waits for it.
    ///
    /// # Errors
    /// [`Error::Storage`] if the vault cannot be read.
    pub fn people(&self) -> Result<Vec<PersonInfo>> {
        let rows = self.store.read()?;
        let forked = |key: &AuthorKey| self.core.forks.chains().any(|c| c.author == *key);
        let mut people: Vec<PersonInfo> = self
            .core
            .membership
            .people()
            .map(|p| PersonInfo {
                key: p.key,
                name: p.name.clone(),
                roles: p.roles.iter().copied().collect(),
                revoked: p.revoked,
                forked: forked(&p.key),
                here: None,
            })
            .collect();
        for (key, row) in rows.all(&[kind::PERSON])? {
            let key = AuthorKey::from_slice(key.get(1..).unwrap_or_default())?;
            let row: PersonRow = unpack_row(&row)?;
            match people.iter_mut().find(|p| p.key == key) {
                Some(person) => person.here = Some(row.by_pin),
                None => people.push(PersonInfo {
                    key,
                    name: crate::phi::Phi::new(row.name),
                    roles: Vec::new(),
                    revoked: false,
                    forked: forked(&key),
                    here: Some(row.by_pin),
                }),
            }
        }
        Ok(people)
    }

    /// Adds a person with a key of their own, sealed under their PIN.
    ///
    /// From the second person on the passphrase no longer stands for anybody's PIN: `owner_pin` is
    /// the owner's own from now on, and needed as long as they have none.
    ///
    /// # Errors
    /// [`Error::Refused`] without the admin role, for a name that is taken, without the owner's PIN
    /// or with one though they have theirs.
    pub fn add_person(
        &mut self,
        name: &str,
        roles: &[Role],
        pin: &[u8],
        owner_pin: Option<&[u8]>,
        kdf: Kdf,
    ) -> Result<AuthorKey> {
        self.require(Role::Admin)?;
        if self.person_here(name).is_ok() {
            return Err(Error::Refused {
                what: "a person of that name is here already",
                hint: "choose another name, or reset their PIN",
            });
        }
        let owner = self.owner();
        let resealed = match (self.owner_lacks_pin()?, owner_pin) {
            (true, Some(own)) => Some(self.sealed_anew(&owner, None, own, kdf)?),
            (false, None) => None,
            (true, None) => {
                return Err(Error::Refused {
                    what: "the passphrase alone still acts as the vault's owner",
                    hint: "give the owner a PIN of their own too",
                });
            }
            (false, Some(_)) => {
                return Err(Error::Refused {
                    what: "the vault's owner has a PIN already",
                    hint: "leave their new PIN out, or change it by itself",
                });
            }
        };
        let key = SigningKey::generate(&*self.env);
        let seal = Seal::Pin(pin, kdf);
        let row = person_row(&*self.env, self.store.root()?, &key, name, seal)?;
        self.authored(|work, signer| {
            let subject = Subject::Person(AuthorKey(key.public()));
            let mut commit = OwnCommit::new(work, signer, Intent::Membership, Lane::P0)?;
            certify(work, signer, &mut commit, subject, name, roles)?;
            for (key, row) in resealed.into_iter().chain([row]) {
                work.txn.put(key, row);
            }
            commit.store_items(work)
        })?;
        Ok(AuthorKey(key.public()))
    }

    /// Gives a person whose PIN is lost a new key under a new PIN. Their old key is revoked from
    /// here on; what they signed with it stays theirs.
    ///
    /// # Errors
    /// [`Error::Refused`] without the admin role or after its end, [`Error::NotFound`] for a
    /// stranger.
    pub fn reset_pin(&mut self, name: &str, pin: &[u8], kdf: Kdf) -> Result<AuthorKey> {
        self.require_current_admin()?;
        let old = self.person_here(name)?;
        let person = self.core.membership.people().find(|p| p.key == old);
        let roles: Vec<Role> = person
            .ok_or(Error::NotFound("person of that name"))?
            .roles
            .iter()
            .copied()
            .collect();
        let key = SigningKey::generate(&*self.env);
        let new = AuthorKey(key.public());
        let row = person_row(
            &*self.env,
            self.store.root()?,
            &key,
            name,
            Seal::Pin(pin, kdf),
        )?;
        // Nobody can seal what the old key wrote once the key is gone.
        let own = self.author() == Some(old);
        self.authored(|work, signer| {
            let mut commit = OwnCommit::new(work, signer, Intent::Membership, Lane::P0)?;
            certify(
                work,
                signer,
                &mut commit,
                Subject::Person(new),
                name,
                &roles,
            )?;
            revoke(work, signer, &mut commit, &old.0, "the PIN was reset")?;
            commit.store_items(work)?;
            if own {
                seal_all(work, signer)?;
            }
            work.txn.delete(row_key(&old));
            work.txn.delete(tries_key(&old));
            work.txn.put(row.0, row.1);
            if work.core.meta.owner == old {
                let meta = crate::vault::core::Meta {
                    owner: new,
                    ..(*work.core.meta).clone()
                };
                crate::vault::open::set_meta(work, meta);
            }
            Ok(())
        })?;
        if own {
            self.signer = Some(Signer { key, author: new });
            self.set_actor(Actor::Person(new));
        }
        Ok(new)
    }

    /// Whether the person whose key is unlocked has a role.
    pub(crate) fn require(&self, role: Role) -> Result<()> {
        let author = self.author().ok_or(Error::Locked("the author's key"))?;
        let has = self
            .core
            .membership
            .people()
            .any(|p| p.key == author && !p.revoked && p.roles.contains(&role));
        if has {
            return Ok(());
        }
        let hint = "have an admin grant the role, or act as someone who has it (--as)";
        Err(Error::Refused {
            what: missing(role),
            hint,
        })
    }
}

const fn missing(role: Role) -> &'static str {
    match role {
        Role::Admin => "this needs the role admin",
        Role::Reviewer => "this needs the role reviewer",
        _ => "this needs a clinical role",
    }
}

/// Adds a person's or device's certificates to a commit. Those of admins end, and only those.
pub(crate) fn certify(
    work: &Work,
    signer: &Signer,
    commit: &mut OwnCommit,
    subject: Subject,
    name: &str,
    roles: &[Role],
) -> Result<Vec<Certificate>> {
    certificate::check_name(name)?;
    let workspace = work.core.workspace()?.id;
    let (admin, other): (Vec<Role>, Vec<Role>) = roles.iter().partition(|r| **r == Role::Admin);
    let mut issued = Vec::new();
    for roles in [other, admin] {
        if roles.is_empty() && !(issued.is_empty() && matches!(subject, Subject::Device { .. })) {
            continue;
        }
        let terms = Terms::new(workspace, subject, name, roles, commit.hlc);
        let certificate = Certificate::issue(&signer.key, &terms)?;
        commit.item(ItemKind::CERTIFICATE, certificate.bytes())?;
        issued.push(certificate);
    }
    Ok(issued)
}
