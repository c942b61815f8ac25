//! Slots of a key file: each wraps the vault's root for one way to unlock it.
//!
//! A slot that the host's key store or a clinic's escrow key opens wraps a random key of its own,
//! under which the root lies: what leaves for a key store is never the root.

use super::envelope;
use super::kdf::{Kdf, SALT_LEN};
use super::key::Secret;
use super::suite::{NONCE_LEN, TAG_LEN, open_small, seal_small};
use super::words::Words;
use crate::env::Env;
use crate::error::{Error, Result};
use minicbor::{Decoder, Encoder};
use std::fmt;
use zeroize::Zeroizing;

/// Most slots of a key file.
pub const SLOTS_MAX: usize = 8;
/// Longest parameters of a slot, in bytes.
pub(super) const PARAMS_MAX: usize = 1280;
/// Longest name of a slot, in bytes.
pub const SLOT_NAME_MAX: usize = 64;
/// Longest key that a key store wrapped, in bytes.
pub const WRAPPED_MAX: usize = 1024;

pub(super) const BROKEN: Error =
    Error::integrity("the key file is damaged; restore it from a backup");
pub(super) const NEVER: &str = "writing to memory does not fail";
const WRAPPED_LEN: usize = 32 + TAG_LEN;

/// The host's key store (Keychain, Keystore, DPAPI, a TPM): the engine has no code of its own for
/// any, and hands it a random key that opens nothing without the vault's key file.
pub trait KeyWrapper {
    /// Wraps a key into at most [`WRAPPED_MAX`] bytes, which may be kept in the open.
    ///
    /// # Errors
    /// What the key store says: [`Error::Locked`] if a person has to unlock it first.
    fn wrap(&self, key: &Secret<32>) -> Result<Vec<u8>>;

    /// The key that [`KeyWrapper::wrap`] wrapped.
    ///
    /// # Errors
    /// As [`KeyWrapper::wrap`]; [`Error::WrongSecret`] for what another key store wrapped.
    fn unwrap(&self, wrapped: &[u8]) -> Result<Secret<32>>;
}

/// What opens a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SlotKind {
    /// A passphrase.
    Passphrase,
    /// 24 words.
    Recovery,
    /// The host's key store.
    Host,
    /// The identity of a clinic: an X25519 key that is kept elsewhere.
    Escrow,
    /// Something that only a newer engine knows.
    Unknown(u32),
}

impl SlotKind {
    pub(super) const fn number(self) -> u32 {
        match self {
            Self::Passphrase => 1,
            Self::Recovery => 2,
            Self::Host => 3,
            Self::Escrow => 4,
            Self::Unknown(kind) => kind,
        }
    }

    pub(super) const fn from_number(kind: u32) -> Self {
        match kind {
            1 => Self::Passphrase,
            2 => Self::Recovery,
            3 => Self::Host,
            4 => Self::Escrow,
            other => Self::Unknown(other),
        }
    }

    /// Whether a key file has at most one.
    pub(super) const fn is_single(self) -> bool {
        matches!(self, Self::Passphrase | Self::Recovery)
    }
}

/// A slot, as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotInfo {
    /// What opens it.
    pub kind: SlotKind,
    /// What it was named; empty for kinds that have one slot at most.
    pub name: String,
    /// The X25519 key of an escrow slot.
    pub recipient: Option<[u8; 32]>,
}

/// A 32-byte key sealed under another one.
#[derive(Clone)]
pub(super) struct Wrapped {
    pub(super) nonce: [u8; NONCE_LEN],
    pub(super) sealed: [u8; WRAPPED_LEN],
}

impl Wrapped {
    pub(super) fn seal(env: &dyn Env, under: &Secret<32>, aad: &[u8], key: &Secret<32>) -> Self {
        let nonce = env.bytes();
        let sealed = seal_small(under.expose(), &nonce, aad, key.expose());
        Self {
            nonce,
            sealed: sealed
                .try_into()
                .expect("32 bytes seal to 32 bytes and a tag"),
        }
    }

    pub(super) fn open(&self, under: &Secret<32>, aad: &[u8]) -> Option<Secret<32>> {
        let key = open_small(under.expose(), &self.nonce, aad, &self.sealed)?;
        Secret::from_slice(&key)
    }
}

/// One way to unlock. Kinds of newer engines are kept as they are.
#[derive(Clone)]
pub(super) struct Slot {
    pub(super) kind: SlotKind,
    pub(super) params: Vec<u8>,
    pub(super) root: Wrapped,
}

impl Slot {
    /// What slots are ordered by.
    pub(super) fn rank(&self) -> (u32, &[u8]) {
        (self.kind.number(), &self.params)
    }

    pub(super) fn info(&self) -> SlotInfo {
        let parts = self.parts();
        SlotInfo {
            kind: self.kind,
            name: parts
                .as_ref()
                .map_or_else(|_| String::new(), |p| p.name.to_owned()),
            recipient: parts.ok().and_then(|p| p.recipient),
        }
    }

    /// The named parts of a host's or an escrow slot's parameters.
    pub(super) fn parts(&self) -> Result<Parts<'_>> {
        let mut d = Decoder::new(&self.params);
        let count = d.array().map_err(|_| BROKEN)?;
        let escrow = match (self.kind, count) {
            (SlotKind::Host, Some(2)) => false,
            (SlotKind::Escrow, Some(3)) => true,
            _ => return Err(BROKEN),
        };
        let name = d.str().map_err(|_| BROKEN)?;
        let recipient = match escrow {
            true => Some(array(&mut d)?),
            false => None,
        };
        let wrapped = d.bytes().map_err(|_| BROKEN)?;
        if d.position() != self.params.len() {
            return Err(BROKEN);
        }
        Ok(Parts {
            name,
            recipient,
            wrapped,
        })
    }
}

/// What a named slot's parameters say.
pub(super) struct Parts<'a> {
    pub(super) name: &'a str,
    pub(super) recipient: Option<[u8; 32]>,
    pub(super) wrapped: &'a [u8],
}

impl Parts<'_> {
    /// The key under which an escrow slot's root lies, by the clinic's identity.
    pub(super) fn open_escrow(&self, identity: &Secret<32>) -> Option<Secret<32>> {
        let opened = envelope::open_with(identity.expose(), self.wrapped, 32).ok()?;
        Secret::from_slice(&Zeroizing::new(opened))
    }
}

/// Parameters of a slot that is to be made, and the key under which it keeps the root.
pub(super) struct NewSlot {
    pub(super) kind: SlotKind,
    pub(super) name: String,
    pub(super) params: Vec<u8>,
    pub(super) kek: Secret<32>,
}

impl NewSlot {
    pub(super) fn passphrase(env: &dyn Env, passphrase: &str, kdf: Kdf) -> Result<Self> {
        if passphrase.is_empty() {
            return Err(Error::invalid("the passphrase is empty"));
        }
        let salt: [u8; SALT_LEN] = env.bytes();
        let kek = kdf.stretch(passphrase.as_bytes(), &salt)?;
        let mut e = Encoder::new(Vec::new());
        e.array(2)
            .and_then(|e| e.encode(kdf))
            .and_then(|e| e.bytes(&salt))
            .expect(NEVER);
        Ok(Self::of(SlotKind::Passphrase, "", e.into_writer(), kek))
    }

    pub(super) fn recovery(env: &dyn Env, words: &Words) -> Self {
        let salt: [u8; SALT_LEN] = env.bytes();
        let kek = recovery_kek(words, &salt);
        Self::of(SlotKind::Recovery, "", salt.to_vec(), kek)
    }

    pub(super) fn host(env: &dyn Env, name: &str, wrapper: &dyn KeyWrapper) -> Result<Self> {
        check_name(name)?;
        let kek = Secret::random(env);
        let wrapped = wrapper.wrap(&kek)?;
        if wrapped.len() > WRAPPED_MAX {
            return Err(Error::invalid_at(
                "the key store wraps a key into too many bytes",
                format!("at most {WRAPPED_MAX}"),
            ));
        }
        // A key store that cannot give back what it took would be a slot that opens nothing.
        if wrapper.unwrap(&wrapped)? != kek {
            return Err(Error::invalid(
                "the key store gives back another key than it took",
            ));
        }
        let mut e = Encoder::new(Vec::new());
        e.array(2)
            .and_then(|e| e.str(name))
            .and_then(|e| e.bytes(&wrapped))
            .expect(NEVER);
        Ok(Self::of(SlotKind::Host, name, e.into_writer(), kek))
    }

    pub(super) fn escrow(env: &dyn Env, name: &str, recipient: &[u8; 32]) -> Result<Self> {
        check_name(name)?;
        let kek = Secret::random(env);
        let wrapped = envelope::seal_to(&[*recipient], kek.expose())?;
        let mut e = Encoder::new(Vec::new());
        e.array(3)
            .and_then(|e| e.str(name))
            .and_then(|e| e.bytes(recipient))
            .and_then(|e| e.bytes(&wrapped))
            .expect(NEVER);
        Ok(Self::of(SlotKind::Escrow, name, e.into_writer(), kek))
    }

    fn of(kind: SlotKind, name: &str, params: Vec<u8>, kek: Secret<32>) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            params,
            kek,
        }
    }
}

fn check_name(name: &str) -> Result<()> {
    let fits = (1..=SLOT_NAME_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
    if fits {
        return Ok(());
    }
    Err(Error::invalid(
        "the name of a key slot has 1 to 64 bytes and no control characters",
    ))
}

pub(super) fn array<const N: usize>(d: &mut Decoder<'_>) -> Result<[u8; N]> {
    let bytes = d.bytes().map_err(|_| BROKEN)?;
    bytes.try_into().map_err(|_| BROKEN)
}

pub(super) fn decode_slots(d: &mut Decoder<'_>) -> Result<Vec<Slot>> {
    let count = d.array().map_err(|_| BROKEN)?;
    let count = count.filter(|n| *n <= SLOTS_MAX as u64).ok_or(BROKEN)?;
    let mut slots: Vec<Slot> = Vec::new();
    for _ in 0..count {
        if d.array().map_err(|_| BROKEN)? != Some(4) {
            return Err(BROKEN);
        }
        let kind = SlotKind::from_number(d.u32().map_err(|_| BROKEN)?);
        let params = d.bytes().map_err(|_| BROKEN)?.to_vec();
        let root = Wrapped {
            nonce: array(d)?,
            sealed: array(d)?,
        };
        let slot = Slot { kind, params, root };
        let in_order = slots.last().is_none_or(|last| {
            last.rank() < slot.rank() && !(kind.is_single() && last.kind == kind)
        });
        if slot.params.len() > PARAMS_MAX || !in_order {
            return Err(BROKEN);
        }
        slots.push(slot);
    }
    Ok(slots)
}

pub(super) fn recovery_kek(words: &Words, salt: &[u8]) -> Secret<32> {
    let entropy = words.entropy();
    entropy.derive_with("medsync v1 recovery", salt)
}

/// Limits are checked here, before Argon2id runs with what a file asks for.
pub(super) fn decode_passphrase_params(params: &[u8]) -> Result<(Kdf, [u8; SALT_LEN])> {
    let mut d = Decoder::new(params);
    if d.array().map_err(|_| BROKEN)? != Some(2) {
        return Err(BROKEN);
    }
    let kdf = d.decode().map_err(|_| BROKEN)?;
    Ok((kdf, array(&mut d)?))
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({:?})", self.kind)
    }
}
