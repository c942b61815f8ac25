//! Making a vault and opening it.

use crate::crypto::key::Secret;
use crate::crypto::sign::SigningKey;
use crate::crypto::{Kdf, Suite, Words};
use crate::env::SharedEnv;
use crate::error::{Error, Result};
use crate::ids::{AuthorKey, DeviceKey, ReplicaId};
use crate::ledger::audit::{Action, Actor};
use crate::ledger::certificate::{self, Certificate, Role, Subject, Terms};
use crate::ledger::commit::{Header, Intent};
use crate::ledger::entry::{Entry, ItemKind};
use crate::ledger::membership::{Carrier, MemberItem, Membership};
use crate::model::kind::ActivePack;
use crate::model::pack::{Lane, PolicyPack};
use crate::store::{Folder, SharedPlace, Store, Tuning, Unlock};
use crate::time::{Clock, Timestamp};
use crate::vault::Vault;
use crate::vault::anchor::{SharedAnchor, Watch};
use crate::vault::audit::{self, Audit, Note};
use crate::vault::branches;
use crate::vault::core::{
    Chain, Core, Counts, Meta, Work, WorkspaceMeta, load_commit, pack_row, unpack_row,
};
use crate::vault::epoch::Epoch;
use crate::vault::granted;
use crate::vault::live;
use crate::vault::lock::Held;
use crate::vault::migrate;
use crate::vault::people::{self, Seal};
use crate::vault::rejudge;
use crate::vault::rows::{self, Rows, kind};
use crate::vault::write::{OwnCommit, Signer};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

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

    pub(crate) fn load(rows: &dyn Rows) -> Result<Self> {
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
    /// Makes a vault and a workspace of its own, in which its first person holds every role. A
    /// crash before this returns leaves no vault.
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
        Self::create_in(Folder::shared(dir), env, new, Some(workspace), pack)
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
        Self::create_in(Folder::shared(dir), env, new, None, pack)
    }

    pub(super) fn create_in(
        place: SharedPlace,
        env: SharedEnv,
        new: &NewVault<'_>,
        workspace: Option<&str>,
        pack: &PolicyPack,
    ) -> Result<Created> {
        // Asked before there are files.
        check_new(new, workspace, pack)?;
        let recovery = Words::generate(&*env);
        let (store, founded) = Store::create_at(
            place,
            Arc::clone(&env),
            new.passphrase,
            new.suite,
            new.kdf,
            &recovery,
            |store| found(store, &env, new, workspace, pack),
        )?;
        Ok(founded.into_created(store, env, recovery))
    }

    /// Opens a vault. The owner's key is unlocked with it where the passphrase stands for the PIN.
    ///
    /// # Errors
    /// [`Error::WrongSecret`], [`Error::Busy`] for a second process, [`Error::Integrity`] for
    /// damage, [`Error::TooNew`] for a newer format.
    pub fn open(dir: &Path, env: SharedEnv, unlock: Unlock<'_>) -> Result<Self> {
        Self::open_with(dir, env, unlock, Tuning::default())
    }

    /// As [`Vault::open`], with other settings for memory.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub fn open_with(
        dir: &Path,
        env: SharedEnv,
        unlock: Unlock<'_>,
        tuning: Tuning,
    ) -> Result<Self> {
        let store = Store::open_with(dir, Arc::clone(&env), unlock, tuning)?;
        Self::open_store(store, env, None)
    }

    /// As [`Vault::open_with`], compared with what the machine remembers of the vault before anything
    /// is written, and as by [`Vault::anchor`] from then on: one that was put back, copied or moved
    /// has a new name when this returns. [`Vault::anchored`] says so once, [`Vault::alarm`] until records are written.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub fn open_anchored(
        dir: &Path,
        env: SharedEnv,
        unlock: Unlock<'_>,
        tuning: Tuning,
        anchor: SharedAnchor,
    ) -> Result<Self> {
        let store = Store::open_with(dir, Arc::clone(&env), unlock, tuning)?;
        Self::open_store(store, env, Some(anchor))
    }

    pub(crate) fn open_store(
        store: Store,
        env: SharedEnv,
        anchor: Option<SharedAnchor>,
    ) -> Result<Self> {
        migrate::to_present(&store, &env)?;
        let core = load_core(&store.read()?)?;
        let mut vault = Self {
            store: Held::new(store, Arc::clone(&env)),
            env,
            core,
            signer: None,
            watch: Watch::none(),
            flusher: OnceLock::new(),
        };
        if let Some(anchor) = anchor {
            vault.anchor(anchor)?;
            vault.renew_if_due()?;
        }
        vault.end_migration()?;
        let owner = vault.core.meta.owner;
        match vault.unlock(&owner, None) {
            Ok(()) => Ok(vault),
            Err(Error::Locked(_)) => {
                vault.note_first(Note::new(Action::OPEN, Vec::new()))?;
                Ok(vault)
            }
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
        self.store.get()?.change_passphrase(passphrase, kdf)
    }

    /// Writes the data file anew without the room that nobody uses. Takes a time that grows with the
    /// vault, and as much room again while it lasts. A vault of up to 512 MiB does so by itself
    /// when it is closed after much was written.
    ///
    /// # Errors
    /// [`Error::Storage`] if the disk fails; the vault is as it was.
    pub fn compact(&mut self) -> Result<()> {
        // It holds the store.
        drop(self.flusher.take());
        self.store.compact()
    }

    /// Makes new recovery words; the old ones open nothing any more.
    ///
    /// # Errors
    /// As [`Vault::change_passphrase`].
    pub fn new_recovery(&self) -> Result<Words> {
        let words = Words::generate(&*self.env);
        self.store.get()?.new_recovery(&words)?;
        Ok(words)
    }
}

pub(super) fn check_new(
    new: &NewVault<'_>,
    workspace: Option<&str>,
    pack: &PolicyPack,
) -> Result<()> {
    // What no replica can read would leave every field to people.
    PolicyPack::from_json(&pack.to_bytes())?;
    certificate::check_name(new.person)?;
    certificate::check_name(new.device)?;
    workspace.map_or(Ok(()), certificate::check_name)
}

/// What a new vault's first transaction wrote.
pub(super) struct Founded {
    core: Core,
    signer: Signer,
    authority: Option<Words>,
}

impl Founded {
    pub(super) fn into_created(self, store: Store, env: SharedEnv, recovery: Words) -> Created {
        let vault = Vault {
            store: Held::new(store, Arc::clone(&env)),
            env,
            core: self.core,
            signer: Some(self.signer),
            watch: Watch::none(),
            flusher: OnceLock::new(),
        };
        vault.set_actor(vault.author().map_or(Actor::Nobody, Actor::Person));
        Created {
            vault,
            recovery,
            authority: self.authority,
        }
    }
}

/// Writes all that a vault must have, as one transaction: a vault without its settings, or with
/// half a workspace, could neither be opened nor made again.
pub(super) fn found(
    store: &Store,
    env: &SharedEnv,
    new: &NewVault<'_>,
    workspace: Option<&str>,
    pack: &PolicyPack,
) -> Result<Founded> {
    let device = DeviceSecrets {
        signing: SigningKey::generate(&**env),
        recipient: Secret::<32>::random(&**env),
    };
    let key = SigningKey::generate(&**env);
    let author = AuthorKey(key.public());
    let meta = Meta {
        workspace: None,
        replica: ReplicaId(env.bytes()),
        device: DeviceKey(device.signing.public()),
        owner: author,
    };
    let (log, _) = meta.log_place();
    let core = Core {
        audit: Arc::new(Audit::new(log, None)),
        meta: Arc::new(meta.clone()),
        chains: Vec::new(),
        forks: Arc::default(),
        clock: Clock::default(),
        counts: Counts::default(),
        membership: Arc::new(Membership::new([0; 32])),
        pack: Arc::new(ActivePack::new(pack.clone())),
        epoch: Epoch::first(&**env),
    };
    let mut work = Work::new(store.write()?, core, Arc::clone(env));
    migrate::put_format(&mut work.txn);
    let mut put = |name, value: Vec<u8>| work.txn.put(rows::meta(name), value);
    put("pack", pack.to_bytes());
    let secrets = [&device.signing.seed()[..], device.recipient.expose()].concat();
    put("device", secrets);
    put("device-name", new.device.as_bytes().to_vec());
    // A request names its person, and a vault that waits has nobody else to ask.
    put("owner-name", new.person.as_bytes().to_vec());
    let row = people::person_row(&**env, store.root(), &key, new.person, Seal::Passphrase)?;
    work.txn.put(row.0, row.1);
    set_meta(&mut work, meta);
    let signer = Signer { key, author };
    let authority = match workspace {
        Some(name) => Some(found_workspace(&mut work, &signer, &device, new, name)?),
        None => None,
    };
    work.note(Note::new(Action::UNLOCK, Vec::new()).by(Actor::Person(author)));
    let core = work.finish()?;
    Ok(Founded {
        core,
        signer,
        authority,
    })
}

/// Makes the workspace of a new vault and admits its first person and device. Returns the words of
/// its authority.
fn found_workspace(
    work: &mut Work,
    signer: &Signer,
    device: &DeviceSecrets,
    new: &NewVault<'_>,
    name: &str,
) -> Result<Words> {
    let words = Words::generate(&*work.env);
    let authority = certificate::authority_key(words.entropy().expose());
    let id = certificate::workspace_id(&authority.public());
    work.core.membership = Arc::new(Membership::new(authority.public()));
    let meta = Meta {
        workspace: Some(WorkspaceMeta {
            id,
            name: name.to_owned(),
            authority: authority.public(),
        }),
        ..(*work.core.meta).clone()
    };
    set_meta(work, meta);
    let mut commit = OwnCommit::new(work, signer, Intent::Membership, Lane::P0)?;
    let mut admit = |subject, name: &str, roles: &[Role]| -> Result<()> {
        let terms = Terms::new(id, subject, name, roles.iter().copied(), commit.hlc);
        let certificate = Certificate::issue(&authority, &terms)?;
        commit.item(ItemKind::CERTIFICATE, certificate.bytes())
    };
    let author = Subject::Person(signer.author);
    // Admin certificates end; those of the other roles need not end with them.
    let roles = [Role::Clinician, Role::Pharmacist, Role::Reviewer];
    admit(author, new.person, &roles)?;
    admit(author, new.person, &[Role::Admin])?;
    let subject = Subject::Device {
        key: work.core.meta.device,
        recipient: Some(device.public_recipient()),
    };
    admit(subject, new.device, &[])?;
    commit.item(ItemKind::PACK, &work.core.pack.pack().to_bytes())?;
    commit.store_items(work)?;
    Ok(words)
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
    // What is judged again is read from rows.
    live::flush(work)?;
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
    let granted = granted::forget_arrived(work)?;
    if found.is_empty() && !packs && granted.is_none() {
        return Ok(());
    }
    let before = Arc::clone(&work.core.membership);
    match granted {
        Some(membership) => work.core.membership = Arc::new(membership),
        None => Arc::make_mut(&mut work.core.membership).extend(found),
    }
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
        commit: header.id(),
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
        let roles = core
            .membership
            .role_of(&core.chain(chain)?.id, seq, &row.header()?.id());
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

/// What the rows of the present format say of the vault as a whole.
pub(crate) fn load_core(rows: &dyn Rows) -> Result<Core> {
    let get = |name| -> Result<Vec<u8>> {
        let missing = Error::integrity_at("the vault lacks a setting", name);
        rows.get(&rows::meta(name))?.ok_or(missing)
    };
    let meta: Meta = unpack_row(&get("vault")?)?;
    let clock = i64::from_le_bytes(get("clock")?.try_into().unwrap_or_default());
    let chains = rows
        .all(&[kind::CHAIN])?
        .iter()
        .map(|(_, row)| unpack_row::<Chain>(row))
        .collect::<Result<Vec<_>>>()?;
    let authority = meta.workspace.as_ref().map_or([0; 32], |w| w.authority);
    let (log, workspace) = meta.log_place();
    let mut core = Core {
        audit: Arc::new(audit::load(rows, log, workspace)?),
        meta: Arc::new(meta),
        forks: Arc::new(branches::load(rows, &chains)?),
        chains,
        clock: Clock::resume(Timestamp(clock)),
        counts: unpack_row(&get("counts")?)?,
        membership: Arc::new(Membership::new(authority)),
        pack: given_pack(rows)?,
        epoch: Epoch::load(rows)?,
    };
    let mut items = granted::load(rows)?;
    items.extend(ledger_items(rows)?);
    let membership = Arc::make_mut(&mut core.membership);
    membership.set_forks(Arc::clone(&core.forks));
    membership.extend(items);
    core.pack = active_pack(rows, &core)?;
    Ok(core)
}

/// Certificates and revocations of the ledger, with the commits that brought them.
pub(crate) fn ledger_items(rows: &dyn Rows) -> Result<Vec<(MemberItem, Carrier)>> {
    let mut items = Vec::new();
    for (key, _) in rows.all(&[kind::ITEM])? {
        let Some((chain, seq)) = rows::place(&key) else {
            continue;
        };
        let Some(row) = load_commit(rows, chain, seq)? else {
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
    Ok(items)
}
