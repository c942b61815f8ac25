//! What the targets and the seeds share: keys, and signatures over bytes that were made up.
//!
//! Most parsers stop at the first signature that does not fit. Each target therefore judges an
//! input twice: as it is, and signed by a key that the reader accepts.

#![forbid(unsafe_code)]

pub mod batch;
pub mod lean;

use base64ct::{Base64, Encoding as _};
use ed25519_dalek::Signer as _;
use medsync_core::crypto::sign::SigningKey;
use medsync_core::env::Env;
use medsync_core::ids::WorkspaceId;
use medsync_core::ledger::certificate::{authority_key, workspace_id};
use medsync_core::ledger::enrol::Request;
use minicbor::Encoder;

/// The person who administers, whose commits the batches hold.
pub const ADMIN: u8 = 1;
/// The newcomer.
pub const NURSE: u8 = 2;
/// The newcomer's device.
pub const TABLET: u8 = 3;

/// Bytes that are the same each time.
pub struct FixedEnv(pub u8);

impl Env for FixedEnv {
    fn now_ms(&self) -> i64 {
        1_700_000_000_000
    }

    fn fill(&self, buf: &mut [u8]) {
        buf.fill(self.0);
    }
}

/// The key of a number.
pub fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

/// The workspace's authority.
pub fn authority() -> SigningKey {
    authority_key(&[0xa0; 32])
}

/// The workspace.
pub fn workspace() -> WorkspaceId {
    workspace_id(&authority().public())
}

/// Writes CBOR.
pub fn encode(
    write: impl FnOnce(
        &mut Encoder<Vec<u8>>,
    ) -> Result<(), minicbor::encode::Error<std::convert::Infallible>>,
) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    write(&mut encoder).expect("a vector takes every byte");
    encoder.into_writer()
}

/// The claims as a COSE_Sign1 of `key`, as certificates and revocations are.
pub fn statement(key: &SigningKey, context: &str, claims: &[u8]) -> Vec<u8> {
    // {1: -8}, that is EdDSA.
    let protected = [0xa1, 0x01, 0x27];
    let message = encode(|e| {
        e.array(4)?.str("Signature1")?.bytes(&protected)?;
        e.bytes(context.as_bytes())?.bytes(claims)?.ok()
    });
    let bare = ed25519_dalek::SigningKey::from_bytes(&key.seed());
    let signature = bare.sign(&message).to_bytes();
    encode(|e| {
        e.array(4)?.bytes(&protected)?.map(0)?;
        e.bytes(claims)?.bytes(&signature)?.ok()
    })
}

/// The claims of a COSE_Sign1.
pub fn claims(statement: &[u8]) -> Option<Vec<u8>> {
    let mut d = minicbor::Decoder::new(statement);
    d.array().ok()?;
    d.skip().ok()?;
    d.skip().ok()?;
    d.bytes().ok().map(<[u8]>::to_vec)
}

/// The text form of bytes.
pub fn armor(label: &str, bytes: &[u8]) -> String {
    let body = Base64::encode_string(bytes);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

/// The bytes of a text form.
pub fn unarmor(text: &str) -> Vec<u8> {
    let body: String = text.lines().filter(|l| !l.starts_with('-')).collect();
    Base64::decode_vec(&body).expect("an encoder's own text")
}

/// The body of `[body, signature, ..]`.
pub fn body(signed: &[u8]) -> Vec<u8> {
    let mut d = minicbor::Decoder::new(signed);
    d.array().expect("an array");
    d.bytes().expect("a body").to_vec()
}

/// A body as the request of the newcomer.
pub fn request_text(body: &[u8]) -> String {
    let [device, person] = [TABLET, NURSE].map(|n| key(n).sign("medsync v1 request", body));
    let signed = encode(|e| {
        e.array(3)?
            .bytes(body)?
            .bytes(&device)?
            .bytes(&person)?
            .ok()
    });
    armor("MEDSYNC REQUEST", &signed)
}

/// A body as a grant of the admin.
pub fn grant_text(body: &[u8]) -> String {
    let signature = key(ADMIN).sign("medsync v1 grant", body);
    let signed = encode(|e| e.array(2)?.bytes(body)?.bytes(&signature)?.ok());
    armor("MEDSYNC GRANT", &signed)
}

/// The newcomer's request.
pub fn request() -> Request {
    let (device, person) = (key(TABLET), key(NURSE));
    Request::new(&FixedEnv(3), &device, [9; 32], &person, "tablet", "Asha").expect("a request")
}

/// A row and a view in one input: the row's length in two bytes, the row, the view.
pub fn join_row(row: &[u8], view: &str) -> Vec<u8> {
    let length = u16::try_from(row.len()).expect("a short row").to_be_bytes();
    [&length, row, view.as_bytes()].concat()
}

/// The two parts of such an input.
pub fn split_row(input: &[u8]) -> Option<(&[u8], &str)> {
    let (length, rest) = input.split_at_checked(2)?;
    let length = u16::from_be_bytes(length.try_into().ok()?);
    let (row, view) = rest.split_at_checked(usize::from(length).min(rest.len()))?;
    Some((row, std::str::from_utf8(view).ok()?))
}
