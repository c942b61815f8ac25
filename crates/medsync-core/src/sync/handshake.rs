//! The handshake and the channel it leaves: Noise over records, by the crate `snow`.
//!
//! IK to a peer whose static key is known: the first message carries the Hello already. XX else,
//! under a key that follows from the workspace's id, so that a stranger learns from nobody who they
//! are. Both are bound to the workspace and to the version of the protocol.

use crate::crypto::key::Secret;
use crate::error::{Error, Result};
use crate::ids::WorkspaceId;
use crate::sync::wire::{RECORD_BYTES_MAX, VERSION};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use std::fmt;

/// What a record's authentication takes.
pub(crate) const TAG_BYTES: usize = 16;

/// Which handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// The responder's static key is known to the initiator.
    Known,
    /// Neither knows the other's.
    Unknown,
}

impl Pattern {
    /// Its number in the first record.
    pub const fn code(self) -> u8 {
        match self {
            Self::Known => 1,
            Self::Unknown => 2,
        }
    }

    /// From its number in the first record.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Known),
            2 => Some(Self::Unknown),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Known => "Noise_IK_25519_ChaChaPoly_SHA256",
            Self::Unknown => "Noise_XXpsk0_25519_ChaChaPoly_SHA256",
        }
    }
}

/// What a handshake is made from.
pub(crate) struct Keys<'a> {
    pub(crate) workspace: &'a WorkspaceId,
    pub(crate) ours: &'a Secret<32>,
    /// The responder's, of the pattern that knows it.
    pub(crate) theirs: Option<[u8; 32]>,
    /// The secret of the one ephemeral key, drawn by the host.
    pub(crate) ephemeral: Secret<32>,
}

/// snow's own primitives, and as its randomness the bytes that the host drew: a session has no
/// entropy of its own.
struct Given(Secret<32>);

/// Gives its bytes once: a handshake has one ephemeral key.
struct Once(Option<Secret<32>>);

impl Random for Once {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> std::result::Result<(), snow::Error> {
        let given = self
            .0
            .take()
            .filter(|given| given.expose().len() == out.len());
        let given = given.ok_or(snow::Error::Rng)?;
        out.copy_from_slice(given.expose());
        Ok(())
    }
}

impl CryptoResolver for Given {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Once(Secret::from_slice(self.0.expose()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// One side's channel: shaking hands, then open.
pub(crate) enum Channel {
    Shaking(Box<snow::HandshakeState>),
    Open(Box<snow::TransportState>),
    /// Between the two, and after a fault.
    Closed,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shaking(_) => "Shaking",
            Self::Open(_) => "Open",
            Self::Closed => "Closed",
        })
    }
}

const BROKEN: Error = Error::integrity("a record is not by the peer of this session");

impl Channel {
    /// Begins a handshake on one side.
    pub(crate) fn begin(pattern: Pattern, keys: Keys<'_>, initiator: bool) -> Result<Self> {
        const UNFIT: Error = Error::invalid("a session's keys do not fit its handshake");
        let prologue = [
            &b"medsync"[..],
            &keys.workspace.0,
            &[VERSION, pattern.code()],
        ]
        .concat();
        let psk = blake3::derive_key("medsync v1 meeting of strangers", &keys.workspace.0);
        let params = pattern.name().parse().map_err(|_| UNFIT)?;
        let resolver = Box::new(Given(keys.ephemeral));
        let mut builder = snow::Builder::with_resolver(params, resolver)
            .prologue(&prologue)
            .and_then(|b| b.local_private_key(keys.ours.expose()))
            .map_err(|_| UNFIT)?;
        if pattern == Pattern::Unknown {
            builder = builder.psk(0, &psk).map_err(|_| UNFIT)?;
        }
        let theirs = keys.theirs.unwrap_or_default();
        if pattern == Pattern::Known && initiator {
            builder = builder.remote_public_key(&theirs).map_err(|_| UNFIT)?;
        }
        let state = if initiator {
            builder.build_initiator()
        } else {
            builder.build_responder()
        };
        Ok(Self::Shaking(Box::new(state.map_err(|_| UNFIT)?)))
    }

    /// The body of a record that carries `payload`.
    pub(crate) fn seal(&mut self, payload: &[u8]) -> Result<Vec<u8>> {
        const LONG: Error = Error::invalid("a record is too long or comes out of turn");
        let mut out = vec![0; payload.len() + 2 * (32 + TAG_BYTES)];
        let written = match self {
            Self::Shaking(state) => state.write_message(payload, &mut out),
            Self::Open(state) => state.write_message(payload, &mut out),
            Self::Closed => return Err(LONG),
        };
        out.truncate(written.map_err(|_| LONG)?);
        self.settle();
        Ok(out)
    }

    /// What a record's body carries.
    ///
    /// # Errors
    /// [`Error::Integrity`] when it is not the next record of the peer.
    pub(crate) fn open(&mut self, body: &[u8]) -> Result<Vec<u8>> {
        let mut out = vec![0; body.len().min(RECORD_BYTES_MAX)];
        let read = match self {
            Self::Shaking(state) => state.read_message(body, &mut out),
            Self::Open(state) => state.read_message(body, &mut out),
            Self::Closed => return Err(BROKEN),
        };
        out.truncate(read.map_err(|_| BROKEN)?);
        self.settle();
        Ok(out)
    }

    /// Opens once the handshake is over.
    fn settle(&mut self) {
        if !matches!(self, Self::Shaking(state) if state.is_handshake_finished()) {
            return;
        }
        if let Self::Shaking(state) = std::mem::replace(self, Self::Closed)
            && let Ok(open) = state.into_transport_mode()
        {
            *self = Self::Open(Box::new(open));
        }
    }

    /// The peer's static key, once it has shown it.
    pub(crate) fn peer(&self) -> Option<[u8; 32]> {
        let key = match self {
            Self::Shaking(state) => state.get_remote_static(),
            Self::Open(state) => state.get_remote_static(),
            Self::Closed => None,
        };
        key?.try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::credential::static_public;

    const HERE: WorkspaceId = WorkspaceId([1; 32]);

    fn secret(n: u8) -> Secret<32> {
        Secret::take(&mut [n; 32])
    }

    fn side(pattern: Pattern, workspace: &WorkspaceId, n: u8, theirs: Option<u8>) -> Channel {
        let keys = Keys {
            workspace,
            ours: &secret(n),
            theirs: theirs.map(|n| static_public(&secret(n))),
            ephemeral: secret(n + 100),
        };
        Channel::begin(pattern, keys, theirs.is_some()).expect("keys fit")
    }

    fn pair(pattern: Pattern) -> (Channel, Channel) {
        (
            side(pattern, &HERE, 1, Some(2)),
            side(pattern, &HERE, 2, None),
        )
    }

    #[test]
    fn both_patterns_open_a_channel_and_show_the_keys() {
        for (pattern, turns) in [(Pattern::Known, 2), (Pattern::Unknown, 3)] {
            let (mut a, mut b) = pair(pattern);
            for turn in 0..turns {
                let (from, to) = if turn % 2 == 0 {
                    (&mut a, &mut b)
                } else {
                    (&mut b, &mut a)
                };
                let body = from.seal(b"said").expect("its turn");
                assert_eq!(to.open(&body).expect("reads"), b"said");
            }
            assert_eq!(b.peer(), Some(static_public(&secret(1))));
            assert_eq!(a.peer(), Some(static_public(&secret(2))));
            let body = a.seal(b"more").expect("open");
            let mut bad = body.clone();
            bad[0] ^= 1;
            assert!(b.open(&bad).is_err());
        }
    }

    #[test]
    fn another_workspace_or_another_key_opens_nothing() {
        for pattern in [Pattern::Known, Pattern::Unknown] {
            let body = side(pattern, &HERE, 1, Some(2)).seal(b"").expect("writes");
            let mut elsewhere = side(pattern, &WorkspaceId([2; 32]), 2, None);
            assert!(elsewhere.open(&body).is_err());
        }
        let body = side(Pattern::Known, &HERE, 1, Some(3))
            .seal(b"")
            .expect("writes");
        assert!(side(Pattern::Known, &HERE, 2, None).open(&body).is_err());
    }

    /// Another implementation can check itself against these bytes.
    #[test]
    fn the_first_message_is_as_documented() {
        let (mut a, _) = pair(Pattern::Known);
        let body = a.seal(b"hello").expect("writes");
        assert_eq!(crate::ids::hex(&body), FIRST);
    }

    const FIRST: &str = "fb41b1fcf75c1227fa08876056a5ed07ac44fe0c116ec2de80b8e523959d7824\
        5e9a9d3f6a673082d8000946e8d58fcb9085dc90d74e9c0fb6475a8a857feb40910ca6fd60067f10a92c6f61742e7369\
        2a5bae00622650b6245d1b088bfe6f6789a56a556b";
}
