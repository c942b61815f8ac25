//! The key file: one random root key, wrapped once for each way to unlock it.
//!
//! The root wraps the key of the data file's pages, which is random too, so a new data file never
//! meets the nonces of an old one. A MAC under the root covers the whole file: it catches edits
//! and, since the ciphers do not commit to their key, it is what proves that a key is the right one.

use super::kdf::Kdf;
use super::key::{RootKey, Secret};
use super::keyslot::{
    BROKEN, KeyWrapper, NEVER, NewSlot, SLOTS_MAX, Slot, SlotInfo, SlotKind, Wrapped, array,
    decode_passphrase_params, decode_slots, recovery_kek,
};
use super::suite::Suite;
use super::words::Words;
use crate::env::Env;
use crate::error::{Error, Result};
use minicbor::{Decoder, Encoder};

/// Largest key file, in bytes.
pub const KEY_FILE_MAX: usize = 16 * 1024;

const MAGIC: &str = "medsync keys";
const FORMAT: u32 = 1;
const WHAT: &str = "the key file";

/// What a vault's key file holds. Nothing in it is secret without a passphrase or recovery words.
#[derive(Clone)]
pub struct KeyFile {
    vault: [u8; 16],
    file: [u8; 16],
    suite: Suite,
    slots: Vec<Slot>,
    page_key: Wrapped,
    check: [u8; 32],
}

/// What opens a vault after its keys are renewed.
#[derive(Clone, Copy)]
pub struct NewKeys<'a> {
    /// The passphrase, a new one or the old one.
    pub passphrase: &'a str,
    /// What it costs to guess.
    pub kdf: Kdf,
    /// New recovery words.
    pub recovery: &'a Words,
    /// The host's key store, if it has a slot that is to stay.
    pub wrapper: Option<&'a dyn KeyWrapper>,
}

// By hand: a derived one would print the passphrase.
impl std::fmt::Debug for NewKeys<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewKeys").finish_non_exhaustive()
    }
}

/// A key file with new keys.
#[derive(Debug)]
pub struct Renewed {
    /// The file.
    pub keys: KeyFile,
    /// Its root.
    pub root: RootKey,
    /// Slots that were not made again: their secret was not at hand.
    pub lost: Vec<SlotInfo>,
}

impl KeyFile {
    /// A new vault's key file and root.
    pub fn create(
        env: &dyn Env,
        suite: Suite,
        passphrase: &str,
        kdf: Kdf,
        words: &Words,
    ) -> Result<(Self, RootKey)> {
        let root = RootKey::random(env);
        let (vault, file) = (env.bytes(), env.bytes());
        let page_key = Wrapped::seal(
            env,
            &root.derive("medsync v1 page key wrap"),
            &page_key_aad(&vault, &file, suite),
            &Secret::random(env),
        );
        let mut keys = Self {
            vault,
            file,
            suite,
            slots: Vec::new(),
            page_key,
            check: [0; 32],
        };
        keys.change_passphrase(env, &root, passphrase, kdf)?;
        keys.new_recovery(env, &root, words)?;
        Ok((keys, root))
    }

    /// The root, by passphrase. `Error::WrongSecret` if it is another one.
    pub fn unlock_passphrase(&self, passphrase: &str) -> Result<RootKey> {
        let slot = self.slot(SlotKind::Passphrase, "passphrase")?;
        let (kdf, salt) = decode_passphrase_params(&slot.params)?;
        let kek = kdf.stretch(passphrase.as_bytes(), &salt)?;
        self.unlock(slot, &kek, "the passphrase")
    }

    /// The root, by recovery words. `Error::WrongSecret` if they are another vault's or old ones.
    pub fn unlock_recovery(&self, words: &Words) -> Result<RootKey> {
        let slot = self.slot(SlotKind::Recovery, "recovery key")?;
        let kek = recovery_kek(words, &slot.params);
        self.unlock(slot, &kek, "the recovery key")
    }

    /// Checks a root that the host kept. `Error::WrongSecret` if it is not this file's.
    pub fn check_root(&self, root: &RootKey) -> Result<()> {
        if self.mac(root) == blake3::Hash::from(self.check) {
            return Ok(());
        }
        Err(Error::WrongSecret("the kept key"))
    }

    /// Puts a new passphrase in place of the old one, in time independent of the vault's size.
    ///
    /// Whoever has a copy of the old key file can still open it with the old passphrase.
    pub fn change_passphrase(
        &mut self,
        env: &dyn Env,
        root: &RootKey,
        passphrase: &str,
        kdf: Kdf,
    ) -> Result<()> {
        self.put_slot(env, root, NewSlot::passphrase(env, passphrase, kdf)?)
    }

    /// Puts new recovery words in place of the old ones.
    pub fn new_recovery(&mut self, env: &dyn Env, root: &RootKey, words: &Words) -> Result<()> {
        self.put_slot(env, root, NewSlot::recovery(env, words))
    }

    /// Lets the host's key store open the vault. A slot of that name gives way.
    ///
    /// # Errors
    /// What the key store says; [`Error::Refused`] when all slots are taken.
    pub fn put_host(
        &mut self,
        env: &dyn Env,
        root: &RootKey,
        name: &str,
        wrapper: &dyn KeyWrapper,
    ) -> Result<()> {
        self.put_slot(env, root, NewSlot::host(env, name, wrapper)?)
    }

    /// Lets a clinic's identity open the vault; only its X25519 public key is needed. A slot of
    /// that name gives way.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no X25519 key; [`Error::Refused`] when all slots are taken.
    pub fn put_escrow(
        &mut self,
        env: &dyn Env,
        root: &RootKey,
        name: &str,
        recipient: &[u8; 32],
    ) -> Result<()> {
        self.put_slot(env, root, NewSlot::escrow(env, name, recipient)?)
    }

    /// Removes a slot. What it opened, a copy of the old key file still opens with the old secret:
    /// against that only new keys help.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Refused`] for the last one that this engine can open.
    pub fn remove_slot(&mut self, root: &RootKey, kind: SlotKind, name: &str) -> Result<()> {
        self.check_root(root)?;
        let is_it = |slot: &Slot| slot.kind == kind && slot.info().name == name;
        if !self.slots.iter().any(is_it) {
            return Err(Error::NotFound("key slot"));
        }
        let opens = |slot: &Slot| !matches!(slot.kind, SlotKind::Unknown(_));
        if !self.slots.iter().any(|slot| opens(slot) && !is_it(slot)) {
            return Err(Error::Refused {
                what: "nothing else would open this vault",
                hint: "add another key slot first",
            });
        }
        self.slots.retain(|slot| !is_it(slot));
        self.check = self.mac(root).into();
        Ok(())
    }

    /// The slots, in the file's order.
    pub fn slots(&self) -> Vec<SlotInfo> {
        self.slots.iter().map(Slot::info).collect()
    }

    /// The root, by the host's key store.
    ///
    /// # Errors
    /// What the key store says; [`Error::WrongSecret`] if it holds another key,
    /// [`Error::NotFound`] without a slot for one.
    pub fn unlock_host(&self, wrapper: &dyn KeyWrapper) -> Result<RootKey> {
        let mut said = Error::NotFound("key slot for a key store");
        for slot in self.slots.iter().filter(|s| s.kind == SlotKind::Host) {
            let opened = wrapper
                .unwrap(slot.parts()?.wrapped)
                .and_then(|kek| self.unlock(slot, &kek, "the key store's key"));
            match opened {
                Ok(root) => return Ok(root),
                Err(error) => said = error,
            }
        }
        Err(said)
    }

    /// The root, by the secret key of a clinic's identity.
    ///
    /// # Errors
    /// [`Error::WrongSecret`] if no slot is for it, [`Error::NotFound`] without any.
    pub fn unlock_escrow(&self, identity: &Secret<32>) -> Result<RootKey> {
        let mut said = Error::NotFound("key slot for a clinic's identity");
        for slot in self.slots.iter().filter(|s| s.kind == SlotKind::Escrow) {
            if let Some(kek) = slot.parts()?.open_escrow(identity) {
                return self.unlock(slot, &kek, "the clinic's identity");
            }
            said = Error::WrongSecret("the clinic's identity");
        }
        Err(said)
    }

    /// The same vault under new keys: a new root, a new data file, whose pages have a new key. Slots
    /// that can be made without their secret are made again; the names of the others come back.
    ///
    /// # Errors
    /// As [`KeyFile::change_passphrase`] and [`KeyFile::put_host`].
    pub fn renewed(&self, env: &dyn Env, new: &NewKeys<'_>) -> Result<Renewed> {
        let (mut keys, root) =
            Self::create(env, self.suite, new.passphrase, new.kdf, new.recovery)?;
        // Slots and pages are bound to the vault's id: it stays, they are made again.
        keys.vault = self.vault;
        keys.slots.clear();
        keys.check = [0; 32];
        keys.page_key = Wrapped::seal(
            env,
            &root.derive("medsync v1 page key wrap"),
            &page_key_aad(&keys.vault, &keys.file, keys.suite),
            &Secret::random(env),
        );
        keys.change_passphrase(env, &root, new.passphrase, new.kdf)?;
        keys.new_recovery(env, &root, new.recovery)?;
        let mut lost = Vec::new();
        for slot in &self.slots {
            let info = slot.info();
            match (slot.kind, info.recipient, new.wrapper) {
                (SlotKind::Passphrase | SlotKind::Recovery, ..) => {}
                (SlotKind::Escrow, Some(recipient), _) => {
                    keys.put_escrow(env, &root, &info.name, &recipient)?;
                }
                (SlotKind::Host, _, Some(wrapper)) => {
                    keys.put_host(env, &root, &info.name, wrapper)?;
                }
                _ => lost.push(info),
            }
        }
        Ok(Renewed { keys, root, lost })
    }

    /// The key of the data file's pages.
    pub fn page_key(&self, root: &RootKey) -> Result<Secret<32>> {
        self.page_key
            .open(
                &root.derive("medsync v1 page key wrap"),
                &page_key_aad(&self.vault, &self.file, self.suite),
            )
            .ok_or(BROKEN)
    }

    /// The vault's id: 16 random bytes, in clear.
    pub const fn vault_id(&self) -> &[u8; 16] {
        &self.vault
    }

    /// The id of the data file that these keys belong to.
    pub const fn file_id(&self) -> &[u8; 16] {
        &self.file
    }

    /// How the data file is encrypted.
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// The parameters of the passphrase's slot.
    pub fn kdf(&self) -> Result<Kdf> {
        let slot = self.slot(SlotKind::Passphrase, "passphrase")?;
        decode_passphrase_params(&slot.params).map(|(kdf, _)| kdf)
    }

    fn slot(&self, kind: SlotKind, what: &'static str) -> Result<&Slot> {
        let found = self.slots.iter().find(|slot| slot.kind == kind);
        found.ok_or(Error::NotFound(what))
    }

    fn unlock(&self, slot: &Slot, kek: &Secret<32>, what: &'static str) -> Result<RootKey> {
        let aad = self.slot_aad(slot.kind, &slot.params);
        let root = slot.root.open(kek, &aad).ok_or(Error::WrongSecret(what))?;
        match self.check_root(&root) {
            Ok(()) => Ok(root),
            Err(_) => Err(BROKEN),
        }
    }

    fn put_slot(&mut self, env: &dyn Env, root: &RootKey, new: NewSlot) -> Result<()> {
        // A file that somebody edited is not signed anew. (A new one has no slots yet.)
        if self.check != [0; 32] {
            self.check_root(root)?;
        }
        let aad = self.slot_aad(new.kind, &new.params);
        let wrapped = Wrapped::seal(env, &new.kek, &aad, root);
        self.slots
            .retain(|slot| slot.kind != new.kind || slot.info().name != new.name);
        if self.slots.len() >= SLOTS_MAX {
            return Err(Error::Refused {
                what: "all key slots are taken",
                hint: "remove one that is not needed any more",
            });
        }
        self.slots.push(Slot {
            kind: new.kind,
            params: new.params,
            root: wrapped,
        });
        self.slots.sort_by(|a, b| a.rank().cmp(&b.rank()));
        self.check = self.mac(root).into();
        Ok(())
    }

    fn slot_aad(&self, kind: SlotKind, params: &[u8]) -> Vec<u8> {
        let mut e = Encoder::new(Vec::new());
        e.array(5)
            .and_then(|e| e.str("medsync v1 slot"))
            .and_then(|e| e.bytes(&self.vault))
            .and_then(|e| e.u8(self.suite.number()))
            .and_then(|e| e.u32(kind.number()))
            .and_then(|e| e.bytes(params))
            .expect(NEVER);
        e.into_writer()
    }

    fn mac(&self, root: &RootKey) -> blake3::Hash {
        let key = root.derive("medsync v1 key file check");
        blake3::keyed_hash(key.expose(), &self.body())
    }

    /// All but the MAC, which is the file's last item.
    fn body(&self) -> Vec<u8> {
        let mut e = Encoder::new(Vec::new());
        e.array(7)
            .and_then(|e| e.str(MAGIC))
            .and_then(|e| e.u32(FORMAT))
            .and_then(|e| e.bytes(&self.vault))
            .and_then(|e| e.u8(self.suite.number()))
            .and_then(|e| e.array(self.slots.len() as u64))
            .expect(NEVER);
        for slot in &self.slots {
            e.array(4)
                .and_then(|e| e.u32(slot.kind.number()))
                .and_then(|e| e.bytes(&slot.params))
                .and_then(|e| e.bytes(&slot.root.nonce))
                .and_then(|e| e.bytes(&slot.root.sealed))
                .expect(NEVER);
        }
        e.array(3)
            .and_then(|e| e.bytes(&self.file))
            .and_then(|e| e.bytes(&self.page_key.nonce))
            .and_then(|e| e.bytes(&self.page_key.sealed))
            .expect(NEVER);
        e.into_writer()
    }

    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut e = Encoder::new(self.body());
        e.bytes(&self.check).expect(NEVER);
        e.into_writer()
    }

    /// Reads a file's bytes. What they say is checked when something unlocks them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > KEY_FILE_MAX {
            return Err(BROKEN);
        }
        let mut d = Decoder::new(bytes);
        let items = d.array().map_err(|_| BROKEN)?;
        if d.str().map_err(|_| BROKEN)? != MAGIC {
            return Err(Error::invalid("this is not a medsync key file"));
        }
        let found = d.u32().map_err(|_| BROKEN)?;
        if found > FORMAT {
            return Err(Error::TooNew {
                what: WHAT,
                found,
                known: FORMAT,
            });
        }
        if items != Some(7) {
            return Err(BROKEN);
        }
        let vault = array(&mut d)?;
        let suite = Suite::from_number(d.u8().map_err(|_| BROKEN)?)?;
        let slots = decode_slots(&mut d)?;
        if d.array().map_err(|_| BROKEN)? != Some(3) {
            return Err(BROKEN);
        }
        let keys = Self {
            vault,
            suite,
            slots,
            file: array(&mut d)?,
            page_key: Wrapped {
                nonce: array(&mut d)?,
                sealed: array(&mut d)?,
            },
            check: array(&mut d)?,
        };
        // One file has one form: what the MAC covers is what was read, to the last byte.
        if keys.to_bytes() != bytes {
            return Err(BROKEN);
        }
        Ok(keys)
    }
}

impl std::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyFile")
            .field("suite", &self.suite)
            .field("slots", &self.slots.len())
            .finish_non_exhaustive()
    }
}

fn page_key_aad(vault: &[u8; 16], file: &[u8; 16], suite: Suite) -> Vec<u8> {
    [&b"medsync v1 page key"[..], vault, file, &[suite.number()]].concat()
}

#[cfg(test)]
#[path = "keyfile_tests.rs"]
mod tests;
