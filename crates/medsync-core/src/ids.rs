//! Identities: newtypes, so that equal-looking bytes are never swapped.

use crate::error::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// Longest record id, in bytes (`Kind/id`).
pub const RECORD_ID_MAX: usize = 256;

/// Writes bytes as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
            let _ = write!(out, "{b:02x}");
            out
        })
}

/// Reads hex of exactly `N` bytes.
pub fn unhex<const N: usize>(text: &str) -> Result<[u8; N]> {
    const WHAT: Error = Error::invalid("not a hexadecimal id of the right length");
    if text.len() != N * 2 || !text.is_ascii() {
        return Err(WHAT);
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digit = |c: u8| (c as char).to_digit(16).ok_or(WHAT);
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).map_err(|_| WHAT)?;
    }
    Ok(out)
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash,
                 serde::Serialize, serde::Deserialize)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// From a slice of exactly the right length.
            pub fn from_slice(bytes: &[u8]) -> Result<Self> {
                bytes.try_into().map(Self).map_err(|_| Error::invalid("an id has the wrong length"))
            }

            /// The first eight hexadecimal digits: enough for people to tell ids apart.
            pub fn short(&self) -> String {
                hex(&self.0[..4])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                unhex(text).map(Self)
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> std::result::Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(
                d: &mut minicbor::Decoder<'b>,
                _: &mut C,
            ) -> std::result::Result<Self, minicbor::decode::Error> {
                d.bytes()?
                    .try_into()
                    .map(Self)
                    .map_err(|_| minicbor::decode::Error::message("id of the wrong length"))
            }
        }
    };
}

id_type!(
    /// The set of replicas that share records: BLAKE3 of the authority's public key.
    WorkspaceId, 32
);
id_type!(
    /// One copy of the records and its identity: 128 random bits, new for every restore or clone.
    ReplicaId, 16
);
id_type!(
    /// A person's ed25519 public key: who is accountable.
    AuthorKey, 32
);
id_type!(
    /// A device's ed25519 public key.
    DeviceKey, 32
);
id_type!(
    /// Automerge's actor: the first 16 bytes of BLAKE3(author key, replica).
    ActorId, 16
);
id_type!(
    /// SHA-256 of an Automerge change.
    ChangeId, 32
);
id_type!(
    /// BLAKE3 of a commit's header.
    CommitId, 32
);
id_type!(
    /// BLAKE3 of a batch's header.
    BatchId, 32
);
id_type!(
    /// Names one of a patient's data keys.
    DataKeyId, 16
);

/// A chain of commits: one author on one replica.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    minicbor::Encode,
    minicbor::Decode,
    serde::Serialize,
    serde::Deserialize,
)]
#[cbor(array)]
pub struct ChainId {
    /// The person.
    #[n(0)]
    pub author: AuthorKey,
    /// The device's incarnation.
    #[n(1)]
    pub replica: ReplicaId,
}

impl ChainId {
    /// The Automerge actor that this chain writes as. Bound, so that a change shows its author.
    pub fn actor(&self) -> ActorId {
        let mut hasher = blake3::Hasher::new_derive_key("medsync v1 automerge actor");
        hasher.update(&self.author.0);
        hasher.update(&self.replica.0);
        let mut actor = [0; 16];
        actor.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        ActorId(actor)
    }
}

/// A record's name: `Kind/id`, the FHIR reference form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(Box<str>);

impl RecordId {
    /// From a kind and an id of printable ASCII without `/` in the kind.
    pub fn new(kind: &str, id: &str) -> Result<Self> {
        Self::parse_parts(kind, id)?;
        Ok(Self(format!("{kind}/{id}").into()))
    }

    fn parse_parts(kind: &str, id: &str) -> Result<()> {
        let kind_ok = kind.starts_with(|c: char| c.is_ascii_alphabetic())
            && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let id_ok = !id.is_empty() && id.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
        if !kind_ok || !id_ok || kind.len() + id.len() + 1 > RECORD_ID_MAX {
            return Err(Error::invalid(
                "a record is named Kind/id: a kind of letters, digits and _, an id of printable \
                 ASCII without blanks or /, together at most 256 bytes",
            ));
        }
        Ok(())
    }

    /// `Kind`.
    pub fn kind(&self) -> &str {
        self.0.split_once('/').map_or("", |(kind, _)| kind)
    }

    /// `id`.
    pub fn id(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, id)| id)
    }

    /// `Kind/id`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RecordId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let (kind, id) = text.split_once('/').unwrap_or((text, ""));
        Self::new(kind, id)
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// A record's id can be a hospital number: in logs only its kind is shown.
impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordId({}/..)", self.kind())
    }
}

impl<C> minicbor::Encode<C> for RecordId {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> std::result::Result<(), minicbor::encode::Error<W::Error>> {
        e.str(&self.0)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for RecordId {
    fn decode(
        d: &mut minicbor::Decoder<'b>,
        _: &mut C,
    ) -> std::result::Result<Self, minicbor::decode::Error> {
        d.str()?
            .parse()
            .map_err(|_| minicbor::decode::Error::message("not a record id"))
    }
}

impl serde::Serialize for RecordId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for RecordId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
