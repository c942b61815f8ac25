//! The key file: one random root key, wrapped once for each way to unlock it.
//!
//! The root wraps the key of the data file's pages, which is random too, so a new data file never
//! meets the nonces of an old one. A MAC under the root covers the whole file: it catches edits
//! and, since the ciphers do not commit to their key, it is what proves that a key is the right one.

use super::kdf::{Kdf, SALT_LEN};
use super::key::{RootKey, Secret};
use super::suite::{NONCE_LEN, Suite, TAG_LEN, open_small, seal_small};
use super::words::Words;
use crate::env::Env;
use crate::error::{Error, Result};
use minicbor::{Decoder, Encoder};

/// Largest key file, in bytes.
pub const KEY_FILE_MAX: usize = 8 * 1024;

const MAGIC: &str = "medsync keys";
const FORMAT: u32 = 1;
const WHAT: &str = "the key file";
const BROKEN: Error = Error::integrity("the key file is damaged; restore it from a backup");
const NEVER: &str = "writing to memory does not fail";

const SLOTS_MAX: u64 = 8;
const PARAMS_MAX: usize = 256;
const WRAPPED_LEN: usize = 32 + TAG_LEN;

const KIND_PASSPHRASE: u32 = 1;
const KIND_RECOVERY: u32 = 2;

/// A 32-byte key sealed under another one.
#[derive(Clone)]
struct Wrapped {
    nonce: [u8; NONCE_LEN],
    sealed: [u8; WRAPPED_LEN],
}

impl Wrapped {
    fn seal(env: &dyn Env, under: &Secret<32>, aad: &[u8], key: &Secret<32>) -> Self {
        let nonce = env.bytes();
        let sealed = seal_small(under.expose(), &nonce, aad, key.expose());
        Self {
            nonce,
            sealed: sealed
                .try_into()
                .expect("32 bytes seal to 32 bytes and a tag"),
        }
    }

    fn open(&self, under: &Secret<32>, aad: &[u8]) -> Option<Secret<32>> {
        let key = open_small(under.expose(), &self.nonce, aad, &self.sealed)?;
        Secret::from_slice(&key)
    }
}

/// One way to unlock. Kinds of newer engines are kept as they are.
#[derive(Clone)]
struct Slot {
    kind: u32,
    params: Vec<u8>,
    root: Wrapped,
}

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
        let slot = self.slot(KIND_PASSPHRASE, "passphrase")?;
        let (kdf, salt) = decode_passphrase_params(&slot.params)?;
        let kek = kdf.stretch(passphrase.as_bytes(), &salt)?;
        self.unlock(slot, &kek, "the passphrase")
    }

    /// The root, by recovery words. `Error::WrongSecret` if they are another vault's or old ones.
    pub fn unlock_recovery(&self, words: &Words) -> Result<RootKey> {
        let slot = self.slot(KIND_RECOVERY, "recovery key")?;
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
        if passphrase.is_empty() {
            return Err(Error::invalid("the passphrase is empty"));
        }
        let salt: [u8; SALT_LEN] = env.bytes();
        let kek = kdf.stretch(passphrase.as_bytes(), &salt)?;
        let params = encode_passphrase_params(kdf, &salt);
        self.put_slot(env, root, KIND_PASSPHRASE, params, &kek)
    }

    /// Puts new recovery words in place of the old ones.
    pub fn new_recovery(&mut self, env: &dyn Env, root: &RootKey, words: &Words) -> Result<()> {
        let salt: [u8; SALT_LEN] = env.bytes();
        let kek = recovery_kek(words, &salt);
        self.put_slot(env, root, KIND_RECOVERY, salt.to_vec(), &kek)
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
        let slot = self.slot(KIND_PASSPHRASE, "passphrase")?;
        decode_passphrase_params(&slot.params).map(|(kdf, _)| kdf)
    }

    fn slot(&self, kind: u32, what: &'static str) -> Result<&Slot> {
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

    fn put_slot(
        &mut self,
        env: &dyn Env,
        root: &RootKey,
        kind: u32,
        params: Vec<u8>,
        kek: &Secret<32>,
    ) -> Result<()> {
        // A file that somebody edited is not signed anew. (A new one has no slots yet.)
        if self.check != [0; 32] {
            self.check_root(root)?;
        }
        let aad = self.slot_aad(kind, &params);
        let root_wrapped = Wrapped::seal(env, kek, &aad, root);
        self.slots.retain(|slot| slot.kind != kind);
        self.slots.push(Slot {
            kind,
            params,
            root: root_wrapped,
        });
        self.slots.sort_by_key(|slot| slot.kind);
        self.check = self.mac(root).into();
        Ok(())
    }

    fn slot_aad(&self, kind: u32, params: &[u8]) -> Vec<u8> {
        let mut e = Encoder::new(Vec::new());
        e.array(5)
            .and_then(|e| e.str("medsync v1 slot"))
            .and_then(|e| e.bytes(&self.vault))
            .and_then(|e| e.u8(self.suite.number()))
            .and_then(|e| e.u32(kind))
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
                .and_then(|e| e.u32(slot.kind))
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

fn array<const N: usize>(d: &mut Decoder<'_>) -> Result<[u8; N]> {
    let bytes = d.bytes().map_err(|_| BROKEN)?;
    bytes.try_into().map_err(|_| BROKEN)
}

fn decode_slots(d: &mut Decoder<'_>) -> Result<Vec<Slot>> {
    let count = d.array().map_err(|_| BROKEN)?;
    let count = count.filter(|n| *n <= SLOTS_MAX).ok_or(BROKEN)?;
    let mut slots: Vec<Slot> = Vec::new();
    for _ in 0..count {
        if d.array().map_err(|_| BROKEN)? != Some(4) {
            return Err(BROKEN);
        }
        let kind = d.u32().map_err(|_| BROKEN)?;
        let params = d.bytes().map_err(|_| BROKEN)?.to_vec();
        let in_order = slots.last().is_none_or(|last| last.kind < kind);
        if params.len() > PARAMS_MAX || !in_order {
            return Err(BROKEN);
        }
        let root = Wrapped {
            nonce: array(d)?,
            sealed: array(d)?,
        };
        slots.push(Slot { kind, params, root });
    }
    Ok(slots)
}

fn page_key_aad(vault: &[u8; 16], file: &[u8; 16], suite: Suite) -> Vec<u8> {
    [&b"medsync v1 page key"[..], vault, file, &[suite.number()]].concat()
}

fn recovery_kek(words: &Words, salt: &[u8]) -> Secret<32> {
    let entropy = words.entropy();
    entropy.derive_with("medsync v1 recovery", salt)
}

fn encode_passphrase_params(kdf: Kdf, salt: &[u8; SALT_LEN]) -> Vec<u8> {
    let mut e = Encoder::new(Vec::new());
    e.array(2)
        .and_then(|e| e.encode(kdf))
        .and_then(|e| e.bytes(salt))
        .expect(NEVER);
    e.into_writer()
}

/// Limits are checked here, before Argon2id runs with what a file asks for.
fn decode_passphrase_params(params: &[u8]) -> Result<(Kdf, [u8; SALT_LEN])> {
    let mut d = Decoder::new(params);
    if d.array().map_err(|_| BROKEN)? != Some(2) {
        return Err(BROKEN);
    }
    let kdf = d.decode().map_err(|_| BROKEN)?;
    Ok((kdf, array(&mut d)?))
}

#[cfg(test)]
#[path = "keyfile_tests.rs"]
mod tests;
