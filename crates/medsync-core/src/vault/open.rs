//! Making a vault and opening it.

use crate::crypto::key::Secret;
use crate::crypto::sign::SigningKey;
use crate::crypto::{Kdf, Suite, Words};
use crate::env::SharedEnv;
use crate::error::{Error, Result};
use crate::ids::{AuthorKey, DeviceKey, ReplicaId};
use crate::ledger::certificate::{self, Certificate, Role, Subject, Terms};
use crate::ledger::commit::{Header, Intent};
use crate::ledger::entry::{Entry, ItemKind};
use crate::ledger::membership::{Carrier, MemberItem, Membership};
use crate::model::kind::ActivePack;
use crate::model::pack::{Lane, PolicyPack};
use crate::store::{Store, Unlock};
use crate::time::{Clock, Timestamp};
use crate::vault::Vault;
use crate::vault::core::{
    Chain, Core, Counts, Meta, Work, WorkspaceMeta, load_commit, pack_row, unpack_row,
};
use crate::vault::people::{self, Seal};
use crate::vault::rejudge;
use crate::vault::rows::{self, Rows, kind};
use crate::vault::write::{OwnCommit, Signer};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

const FORMAT: u32 = 1;

/// What a new vault needs.
pub struct NewVault<'a> {
    /// Opens it from now on.
    pub passphrase: &'a str,
    /// The cipher of its pages.
    pub suite: Suite,
    /// What the passphrase costs to guess.
    pub kdf: Kdf,
    /// The person it is made for.
    pub person: &'a str,
    /// The device's name.
    pub device: &'a str,
}

// By hand: a derived one would print the passphrase.
impl fmt::Debug for NewVault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewVault")
            .field("suite", &self.suite)
            .field("kdf", &self.kdf)
            .finish_non_exhaustive()
    }
}

/// What a new vault tells its maker once.
#[derive(Debug)]
pub struct Created {
    /// The vault, open, its person's key unlocked.
    pub vault: Vault,
    /// The 24 words that open the vault if the passphrase is lost.
    pub recovery: Words,
    /// The workspace authority's own 24 words; `None` for a vault that will join a workspace.
    pub authority: Option<Words>,
}

/// The device's own secrets, kept in the encrypted store.
pub(crate) struct DeviceSecrets {
    pub(crate) signing: SigningKey,
    pub(crate) recipient: Secret<32>,
}

impl DeviceSecrets {
    pub(crate) fn public_recipient(&self) -> [u8; 32] {
        let secret = x25519_dalek::StaticSecret::from(*self.recipient.expose());
        x25519_dalek::PublicKey::from(&secret).to_bytes()
    }

    fn load(rows: &dyn Rows) -> Result<Self> {
        const BAD: Error = Error::integrity("the device's own keys are damaged");
        let row = zeroize::Zeroizing::new(rows.get(&rows::meta("device"))?.ok_or(BAD)?);
        let (signing, recipient) = row.split_first_chunk::<32>().ok_or(BAD)?;
        let recipient = Secret::from_slice(recipient).ok_or(BAD)?;
        Ok(Self {
            signing: SigningKey::from_seed(signing),
            recipient,
        })
    }
}

impl Vault {
    /// Makes a vault and a workspace of its own, in which its first person holds every role.
    ///
    /// # Errors
    /// [`Error::Refused`] if the folder holds a vault, [`Error::Storage`] if it cannot be written,
    /// [`Error::Invalid`] for a name or a pack that does not fit.
    pub fn create(
        dir: &Path,
        env: SharedEnv,
        new: &NewVault<'_>,
        workspace: &str,
        pack: &PolicyPack,
    ) -> Result<Created> {
        // What no replica can read would leave every field to people.
        PolicyPack::from_json(&pack.to_bytes())?;
        certificate::check_name(workspace)?;
        let mut created = Self::create_alone(dir, env, new, pack)?;
        let words = Words::generate(&*created.vault.env);
        let authority = certificate::authority_key(words.entropy().expose());
        let id = certificate::workspace_id(&authority.public());
        let meta = WorkspaceMeta {
            id,
            name: workspace.to_owned(),
            authority: authority.public(),
        };
        let device = created.vault.device()?.public_recipient();
        let (person, device_name) = (new.person.to_owned(), new.device.to_owned());
        created.vault.work(|work, signer| {
            work.core.membership = Arc::new(Membership::new(meta.authority));
            set_meta(
                work,
                Meta {
                    workspace: Some(meta),
                    ..(*work.core.meta).clone()
                },
            );
            let signer = signer.ok_or(Error::Locked("the author's key"))?;
            let mut commit = OwnCommit::new(work, signer, Intent::Membership, Lane::P0)?;
            let mut admit = |subject, name: &str, roles: &[Role]| -> Result<()> {
                let terms = Terms::new(id, subject, name, roles.iter().copied(), commit.hlc);
                let certificate = Certificate::issue(&authority, &terms)?;
                commit.item(ItemKind::CERTIFICATE, certificate.bytes())
            };
            let author = Subject::Person(signer.author);
            // Admin certificates end; those of the other roles need not end with them.
            admit(
                author,
                &person,
                &[Role::Clinician, Role::Pharmacist, Role::Reviewer],
            )?;
            admit(author, &person, &[Role::Admin])?;
            let key = work.core.meta.device;
            admit(
                Subject::Device {
                    key,
                    recipient: Some(device),
                },
                &device_name,
                &[],
            )?;
            commit.item(ItemKind::PACK, &pack.to_bytes())?;
            commit.store_items(work)
        })?;
        created.authority = Some(words);
        Ok(created)
    }

    /// Makes a vault that belongs to no workspace yet. It judges by `pack` until the workspace's
    /// own arrives, so that what is written before the first exchange has the right shape.
    ///
    /// # Errors
    /// As [`Vault::create`].
    pub fn create_alone(
        dir: &Path,
        env: SharedEnv,
        new: &NewVault<'_>,
        pack: &PolicyPack,
    ) -> Result<Created> {
        certificate::check_name(new.person)?;
        certificate::check_name(new.device)?;
        let recovery = Words::generate(&*env);
        let store = Store::create(
            dir,
            Arc::clone(&env),
            new.passphrase,
            new.suite,
            new.kdf,
            &recovery,
        )?;
        let signing = SigningKey::generate(&*env);
        let recipient = Secret::<32>::random(&*env);
        let key = SigningKey::generate(&*env);
        let author = AuthorKey(key.public());
        let meta = Meta {
            workspace: None,
            replica: ReplicaId(env.bytes()),
            device: DeviceKey(signing.public()),
            owner: author,
        };
        let core = Core {
            meta: Arc::new(meta.clone()),
            chains: Vec::new(),
            clock: Clock::default(),
            counts: Counts::default(),
            membership: Arc::new(Membership::new([0; 32])),
            pack: Arc::new(ActivePack::new(pack.clone())),
        };
        let mut work = Work::new(store.write()?, core, Arc::clone(&env));
        work.txn.put(rows::meta("pack"), pack.to_bytes());
        work.txn
            .put(rows::meta("format"), FORMAT.to_le_bytes().to_vec());
        work.txn.put(
            rows::meta("device"),
            [&signing.seed()[..], recipient.expose()].concat(),
        );
        work.txn
            .put(rows::meta("device-name"), new.device.as_bytes().to_vec());
        // A request names its person, and a vault that waits has nobody else to ask.
        work.txn
            .put(rows::meta("owner-name"), new.person.as_bytes().to_vec());
        let row = people::person_row(&*env, store.root(), &key, new.person, Seal::Passphrase)?;
        work.txn.put(row.0, row.1);
        set_meta(&mut work, meta);
        let core = work.finish()?;
        let vault = Self {
            store,
            env,
            core,
            signer: Some(Signer { key, author }),
        };
        Ok(Created {
            vault,
            recovery,
            authority: None,
        })
    }

    /// Opens a vault. The owner's key is unlocked with it where the passphrase stands for the PIN.
    ///
    /// # Errors
    /// [`Error::WrongSecret`], [`Error::Busy`] for a second process, [`Error::Integrity`] for
    /// damage, [`Error::TooNew`] for a newer format.
    pub fn open(dir: &Path, env: SharedEnv, unlock: Unlock<'_>) -> Result<Self> {
        let store = Store::open(dir, Arc::clone(&env), unlock)?;
        let core = load_core(&store)?;
        let mut vault = Self {
            store,
            env,
            core,
            signer: None,
        };
        let owner = vault.core.meta.owner;
        match vault.unlock(&owner, None) {
            Ok(()) | Err(Error::Locked(_)) => Ok(vault),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn device(&self) -> Result<DeviceSecrets> {
        DeviceSecrets::load(&self.store.read()?)
    }

    /// Changes the passphrase, in a time that does not depend on the vault's size.
    ///
    /// # Errors
    /// [`Error::Storage`] if the key file cannot be replaced; the old one then still opens it.
    pub fn change_passphrase(&self, passphrase: &str, kdf: Kdf) -> Result<()> {
        self.store.change_passphrase(passphrase, kdf)
    }

    /// Makes new recovery words; the old ones open nothing any more.
    ///
    /// # Errors
    /// As [`Vault::change_passphrase`].
    pub fn new_recovery(&self) -> Result<Words> {
        let words = Words::generate(&*self.env);
        self.store.new_recovery(&words)?;
        Ok(words)
    }
}

impl OwnCommit {
    /// Stores a commit of items and lets them take effect.
    pub(crate) fn store_items(self, work: &mut Work) -> Result<()> {
        let place = self.place();
        self.store(work)?;
        work.items.push(place);
        take_items(work)
    }
}

/// Indexes the items of commits that became visible and lets them take effect, all at once.
pub(crate) fn take_items(work: &mut Work) -> Result<()> {
    let mut found = Vec::new();
    let mut packs = false;
    for (chain, seq) in std::mem::take(&mut work.items) {
        let Some(row) = load_commit(work, chain, seq)? else {
            continue;
        };
        let carrier = carrier(&row.header()?);
        for leaf in &row.leaves {
            if let Ok(Some(Entry::Item { kind, bytes })) = leaf.entry() {
                packs |= kind == ItemKind::PACK;
                if let Ok(Some(item)) = MemberItem::parse(kind, &bytes) {
                    found.push((item, carrier));
                }
            }
        }
        work.txn
            .put(rows::in_chain(kind::ITEM, chain, seq), Vec::new());
    }
    if found.is_empty() && !packs {
        return Ok(());
    }
    let before = Arc::clone(&work.core.membership);
    Arc::make_mut(&mut work.core.membership).extend(found);
    let pack = active_pack(work, &work.core)?;
    if pack.hash() == work.core.pack.hash() {
        rejudge::after_membership(work, &before)
    } else {
        work.core.pack = pack;
        rejudge::after_pack(work)
    }
}

fn carrier(header: &Header) -> Carrier {
    let fields = header.fields();
    Carrier {
        hlc: fields.hlc,
        chain: fields.chain,
        seq: fields.seq,
    }
}

/// The pack in force: the highest version delivered by someone who may; the hash breaks ties.
pub(crate) fn active_pack(rows: &dyn Rows, core: &Core) -> Result<Arc<ActivePack>> {
    let mut best: Option<(u32, [u8; 32], PolicyPack)> = None;
    for (key, _) in rows.all(&[kind::ITEM])? {
        let Some((chain, seq)) = rows::place(&key) else {
            continue;
        };
        let Some(row) = load_commit(rows, chain, seq)? else {
            continue;
        };
        let roles = core.membership.role_of(&core.chain(chain)?.id, seq);
        if !roles.has(Role::Admin) {
            continue;
        }
        for leaf in &row.leaves {
            let Ok(Some(Entry::Item {
                kind: ItemKind::PACK,
                bytes,
            })) = leaf.entry()
            else {
                continue;
            };
            // A pack of a newer format stays in the ledger; this engine goes on with an older one.
            let Ok(pack) = PolicyPack::from_json(&bytes) else {
                continue;
            };
            let rank = (pack.version, pack.hash());
            if best.as_ref().is_none_or(|b| (b.0, b.1) < rank) {
                best = Some((rank.0, rank.1, pack));
            }
        }
    }
    Ok(match best {
        Some((_, hash, _)) if hash == *core.pack.hash() => Arc::clone(&core.pack),
        Some((_, _, pack)) => Arc::new(ActivePack::new(pack)),
        // Whoever brought the last one had no authority for it after all.
        None => given_pack(rows)?,
    })
}

/// The pack the vault was made with: in force until the workspace's arrives.
fn given_pack(rows: &dyn Rows) -> Result<Arc<ActivePack>> {
    let row = rows.get(&rows::meta("pack"))?;
    let row = row.ok_or(Error::integrity(
        "the vault lacks the pack it was made with",
    ))?;
    Ok(Arc::new(ActivePack::new(PolicyPack::from_json(&row)?)))
}

pub(crate) fn set_meta(work: &mut Work, meta: Meta) {
    work.txn.put(rows::meta("vault"), pack_row(&meta));
    work.core.meta = Arc::new(meta);
}

fn load_core(store: &Store) -> Result<Core> {
    let rows = store.read()?;
    let get = |name| -> Result<Vec<u8>> {
        let missing = Error::integrity_at("the vault lacks a setting", name);
        rows.get(&rows::meta(name))?.ok_or(missing)
    };
    let format = u32::from_le_bytes(get("format")?.try_into().unwrap_or_default());
    if format > FORMAT {
        return Err(Error::TooNew {
            what: "the vault",
            found: format,
            known: FORMAT,
        });
    }
    let meta: Meta = unpack_row(&get("vault")?)?;
    let clock = i64::from_le_bytes(get("clock")?.try_into().unwrap_or_default());
    let chains = rows
        .all(&[kind::CHAIN])?
        .iter()
        .map(|(_, row)| unpack_row::<Chain>(row))
        .collect::<Result<Vec<_>>>()?;
    let authority = meta.workspace.as_ref().map_or([0; 32], |w| w.authority);
    let mut core = Core {
        meta: Arc::new(meta),
        chains,
        clock: Clock::resume(Timestamp(clock)),
        counts: unpack_row(&get("counts")?)?,
        membership: Arc::new(Membership::new(authority)),
        pack: given_pack(&rows)?,
    };
    let mut items = crate::vault::enrol::load_granted(&rows)?;
    for (key, _) in rows.all(&[kind::ITEM])? {
        let Some((chain, seq)) = rows::place(&key) else {
            continue;
        };
        let Some(row) = load_commit(&rows, chain, seq)? else {
            continue;
        };
        let carrier = carrier(&row.header()?);
        for leaf in &row.leaves {
            if let Ok(Some(Entry::Item { kind, bytes })) = leaf.entry()
                && let Ok(Some(item)) = MemberItem::parse(kind, &bytes)
            {
                items.push((item, carrier));
            }
        }
    }
    Arc::make_mut(&mut core.membership).extend(items);
    core.pack = active_pack(&rows, &core)?;
    Ok(core)
}
