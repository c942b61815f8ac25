//! Enrolment: a newcomer asks, an admin grants, and nothing but two texts changes hands.
//!
//! Neither text is secret, and neither can be used for another device or person: both of the
//! newcomer's keys sign the request, and the grant names the request.

use crate::crypto::envelope::is_contributory;
use crate::crypto::sign::{self, Signature, SigningKey};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::ids::{AuthorKey, ChainId, CommitId, DeviceKey, WorkspaceId};
use crate::ledger::armor;
use crate::ledger::cbor::{Reader, encode};
use crate::ledger::certificate::{Role, check_name, workspace_id};
use crate::ledger::entry::ItemKind;
use crate::ledger::membership::{Carrier, MemberItem, Membership};
use crate::ledger::revocation::REVOCATION_BYTES_MAX;
use crate::phi::Phi;
use crate::time::Timestamp;

/// Format of requests and grants.
pub const ENROL_FORMAT: u32 = 1;
/// Longest request, in bytes.
pub const REQUEST_BYTES_MAX: usize = 1024;
/// Longest grant, in bytes.
pub const GRANT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most items of a grant.
pub const GRANT_ITEMS_MAX: usize = 16 * 1024;

const REQUEST_LABEL: &str = "MEDSYNC REQUEST";
const REQUEST_CONTEXT: &str = "medsync v1 request";
const REQUEST_WHAT: &str = "a request is malformed";
const GRANT_LABEL: &str = "MEDSYNC GRANT";
const GRANT_CONTEXT: &str = "medsync v1 grant";
const GRANT_WHAT: &str = "a grant is malformed";

/// A newcomer's request: signed by the keys of both device and person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    device: DeviceKey,
    recipient: [u8; 32],
    person: AuthorKey,
    device_name: Phi<String>,
    person_name: Phi<String>,
    nonce: [u8; 16],
    signatures: [Signature; 2],
}

impl Request {
    /// Asks for a device and its person. `recipient` is the device's X25519 public key.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name beyond its limits or a key that is none.
    pub fn new(
        env: &dyn Env,
        device: &SigningKey,
        recipient: [u8; 32],
        person: &SigningKey,
        device_name: &str,
        person_name: &str,
    ) -> Result<Self> {
        let mut nonce = [0; 16];
        env.fill(&mut nonce);
        let mut request = Self {
            device: DeviceKey(device.public()),
            recipient,
            person: AuthorKey(person.public()),
            device_name: Phi::new(device_name.to_owned()),
            person_name: Phi::new(person_name.to_owned()),
            nonce,
            signatures: [[0; 64]; 2],
        };
        request.check()?;
        let body = request.body();
        request.signatures = [device, person].map(|key| key.sign(REQUEST_CONTEXT, &body));
        Ok(request)
    }

    fn check(&self) -> Result<()> {
        check_name(self.device_name.expose())?;
        check_name(self.person_name.expose())?;
        if !is_contributory(&self.recipient) {
            return Err(Error::invalid("a device's X25519 key is none"));
        }
        Ok(())
    }

    fn body(&self) -> Vec<u8> {
        encode(|e| {
            e.array(7)?
                .u32(ENROL_FORMAT)?
                .encode(self.device)?
                .bytes(&self.recipient)?;
            e.encode(self.person)?.str(self.device_name.expose())?;
            e.str(self.person_name.expose())?.bytes(&self.nonce)?.ok()
        })
    }

    /// The request as text.
    pub fn to_text(&self) -> String {
        let [device, person] = &self.signatures;
        let body = self.body();
        let bytes = encode(|e| e.array(3)?.bytes(&body)?.bytes(device)?.bytes(person)?.ok());
        armor::wrap(REQUEST_LABEL, &bytes)
    }

    /// Reads a request and checks both signatures.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another kind of text, and for a damaged or forged
    /// one, [`Error::TooNew`] for a newer format.
    pub fn from_text(text: &str) -> Result<Self> {
        armor::carried(Self::read(text))
    }

    fn read(text: &str) -> Result<Self> {
        let bytes = armor::unwrap(REQUEST_LABEL, text, REQUEST_BYTES_MAX)?;
        let mut outer = Reader::new(&bytes, REQUEST_BYTES_MAX, REQUEST_WHAT)?;
        outer.array(3)?;
        let body = outer.bytes(REQUEST_BYTES_MAX)?;
        let signatures = [outer.fixed()?, outer.fixed()?];
        outer.end()?;
        let mut r = Reader::new(body, REQUEST_BYTES_MAX, REQUEST_WHAT)?;
        r.array(7)?;
        r.format(ENROL_FORMAT)?;
        let request = Self {
            device: r.value()?,
            recipient: r.fixed()?,
            person: r.value()?,
            device_name: Phi::new(r.text(REQUEST_BYTES_MAX)?.to_owned()),
            person_name: Phi::new(r.text(REQUEST_BYTES_MAX)?.to_owned()),
            nonce: r.fixed()?,
            signatures,
        };
        request.check().map_err(|_| r.fault())?;
        r.end_as(&request.body())?;
        for (key, signature) in [&request.device.0, &request.person.0]
            .into_iter()
            .zip(&signatures)
        {
            sign::verify(key, REQUEST_CONTEXT, body, signature)?;
        }
        Ok(request)
    }

    /// What a grant answers.
    pub fn digest(&self) -> [u8; 32] {
        blake3::derive_key("medsync v1 request digest", &self.body())
    }

    /// The device's key.
    pub const fn device(&self) -> DeviceKey {
        self.device
    }

    /// The device's X25519 key.
    pub const fn recipient(&self) -> &[u8; 32] {
        &self.recipient
    }

    /// The person's key.
    pub const fn person(&self) -> AuthorKey {
        self.person
    }

    /// The device's name.
    pub const fn device_name(&self) -> &Phi<String> {
        &self.device_name
    }

    /// The person's name.
    pub const fn person_name(&self) -> &Phi<String> {
        &self.person_name
    }
}

/// An admin's answer: everything the newcomer needs to take part. It was verified against the
/// newcomer's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The workspace's name.
    pub workspace_name: String,
    /// Who belongs to it, the newcomer included.
    pub membership: Membership,
    /// The admin who signed.
    pub admin: AuthorKey,
}

impl Grant {
    /// Answers a request whose certificates `membership` already holds, and returns the text.
    ///
    /// # Errors
    /// [`Error::Refused`] when the certificates are not there or `admin` is no admin,
    /// [`Error::Invalid`] for a name or a membership beyond the limits.
    pub fn answer(
        admin: &SigningKey,
        request: &Request,
        membership: &Membership,
        workspace_name: &str,
    ) -> Result<String> {
        check_name(workspace_name)?;
        admits(membership, request, &AuthorKey(admin.public()))?;
        let count = membership.items().count();
        let body = encode(|e| {
            e.array(7)?.u32(ENROL_FORMAT)?.bytes(&request.digest())?;
            e.encode(membership.workspace())?
                .bytes(membership.authority())?
                .str(workspace_name)?;
            e.bytes(&admin.public())?.array(count as u64)?;
            for (item, carrier) in membership.items() {
                e.array(6)?.u8(item.kind().0)?.bytes(item.bytes())?;
                e.encode(carrier.chain.author)?
                    .encode(carrier.chain.replica)?;
                e.u64(carrier.seq)?.i64(carrier.hlc.0)?;
            }
            Ok(())
        });
        if count > GRANT_ITEMS_MAX || body.len() + 128 > GRANT_BYTES_MAX {
            return Err(Error::invalid(
                "this workspace has too many members for a grant",
            ));
        }
        let signature = admin.sign(GRANT_CONTEXT, &body);
        let bytes = encode(|e| e.array(2)?.bytes(&body)?.bytes(&signature)?.ok());
        Ok(armor::wrap(GRANT_LABEL, &bytes))
    }

    /// Reads a grant and checks that it answers `request` and admits its device and person.
    /// A newcomer who knows which workspace to expect says so.
    ///
    /// # Errors
    /// [`Error::Refused`] for a grant of another request or workspace, or one that does not admit;
    /// [`Error::Invalid`] for another kind of text, and for a damaged or forged
    /// one; [`Error::TooNew`] for a newer format.
    pub fn open(text: &str, request: &Request, expected: Option<&WorkspaceId>) -> Result<Self> {
        armor::carried(Self::read(text, request, expected))
    }

    fn read(text: &str, request: &Request, expected: Option<&WorkspaceId>) -> Result<Self> {
        let bytes = armor::unwrap(GRANT_LABEL, text, GRANT_BYTES_MAX)?;
        let mut outer = Reader::new(&bytes, GRANT_BYTES_MAX, GRANT_WHAT)?;
        outer.array(2)?;
        let body = outer.bytes(GRANT_BYTES_MAX)?;
        let signature = outer.fixed()?;
        outer.end()?;
        let mut r = Reader::new(body, GRANT_BYTES_MAX, GRANT_WHAT)?;
        r.array(7)?;
        r.format(ENROL_FORMAT)?;
        let (digest, workspace, authority): ([u8; 32], WorkspaceId, [u8; 32]) =
            (r.fixed()?, r.value()?, r.fixed()?);
        let workspace_name = r.text(GRANT_BYTES_MAX)?.to_owned();
        check_name(&workspace_name).map_err(|_| r.fault())?;
        let admin: AuthorKey = r.value()?;
        sign::verify(&admin.0, GRANT_CONTEXT, body, &signature)?;
        if digest != request.digest() {
            return Err(Error::Refused {
                what: "this grant answers another request",
                hint: "ask the admin for the grant to this device's request",
            });
        }
        if workspace_id(&authority) != workspace {
            return Err(Error::integrity(
                "a grant names another authority than its workspace's",
            ));
        }
        if expected.is_some_and(|id| *id != workspace) {
            return Err(Error::Refused {
                what: "this grant is for another workspace",
                hint: "ask an admin of the workspace you want to join",
            });
        }
        let mut membership = Membership::new(authority);
        membership.extend(read_items(&mut r)?);
        r.end()?;
        admits(&membership, request, &admin)?;
        Ok(Self {
            workspace_name,
            membership,
            admin,
        })
    }
}

fn read_items(r: &mut Reader<'_>) -> Result<Vec<(MemberItem, Carrier)>> {
    let count = r.list(GRANT_ITEMS_MAX)?;
    let mut items = Vec::new();
    for _ in 0..count {
        r.array(6)?;
        let kind = ItemKind(r.value()?);
        let item = MemberItem::parse(kind, r.bytes(REVOCATION_BYTES_MAX)?)?;
        let chain = ChainId {
            author: r.value()?,
            replica: r.value()?,
        };
        let seq = r.value()?;
        let carrier = Carrier {
            chain,
            seq,
            hlc: Timestamp(r.value()?),
            commit: CommitId([0; 32]),
        };
        items.push((item.ok_or_else(|| r.fault())?, carrier));
    }
    Ok(items)
}

/// Whether the membership admits both keys of the request, by an admin of its own.
fn admits(membership: &Membership, request: &Request, admin: &AuthorKey) -> Result<()> {
    let refuse = |what| {
        Err(Error::Refused {
            what,
            hint: "an admin certifies the device and the person first",
        })
    };
    let current = |key: &AuthorKey| membership.people().find(|p| p.key == *key && !p.revoked);
    let is_admin = current(admin).is_some_and(|p| p.roles.contains(&Role::Admin));
    if admin.0 != membership.current_authority() && !is_admin {
        return refuse("the one who grants this is no admin of the workspace");
    }
    if current(&request.person).is_none() {
        return refuse("this grant does not admit the person");
    }
    let admitted = |key, recipient| key == request.device && recipient == Some(request.recipient);
    if !membership.devices().any(|d| admitted(d.key, d.recipient)) {
        return refuse("this grant does not admit the device");
    }
    Ok(())
}
