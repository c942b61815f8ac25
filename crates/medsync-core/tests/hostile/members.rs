//! Certificates, revocations and packs by the thousand.

use crate::bombs::{PART, fill};
use crate::scene::*;
use medsync_core::ledger::certificate::{Certificate, Subject, Terms};
use medsync_core::ledger::revocation::{Revocation, RevocationTerms};
use medsync_core::phi::Phi;
use std::collections::BTreeMap;

type Item = (ItemKind, Vec<u8>);

fn certificate(scene: &Scene, mallory: &Mallory, no: u64) -> Item {
    let mut key = [7; 32];
    key[..8].copy_from_slice(&no.to_be_bytes());
    let friend = Subject::Person(AuthorKey(SigningKey::from_seed(&key).public()));
    let hlc = Mallory::now();
    let terms = Terms::new(scene.workspace, friend, "F", [Role::Admin], hlc);
    let issued = Certificate::issue(&mallory.person, &terms).expect("a certificate");
    (ItemKind::CERTIFICATE, issued.bytes().to_vec())
}

fn revocation(scene: &Scene, mallory: &Mallory, subject: [u8; 32]) -> Item {
    let terms = RevocationTerms {
        workspace: scene.workspace,
        subject,
        cuts: BTreeMap::new(),
        because: Phi::new("x".to_owned()),
        issued: Mallory::now(),
    };
    let issued = Revocation::issue(&mallory.person, &terms).expect("a revocation");
    (ItemKind::REVOCATION, issued.bytes().to_vec())
}

/// Commits of as many items as each may hold, as many as fit.
fn flood(
    scene: &Scene,
    mallory: &mut Mallory,
    make: impl Fn(&Scene, &Mallory, u64) -> Item,
) -> Vec<Vec<SealedBatch>> {
    let (mut items, mut size) = (Vec::new(), 0);
    for no in 0..4000 {
        let item = make(scene, mallory, no);
        size += item.1.len() + 16;
        if size > PART - 1000 {
            break;
        }
        items.push(item);
    }
    let commits = items.chunks(1000).map(|some| mallory.commit(&[], some));
    let commits: Vec<_> = commits.collect();
    vec![vec![mallory.batch(scene, commits)]]
}

pub(crate) fn certificates(scene: &mut Scene, mallory: &mut Mallory) -> Vec<Vec<SealedBatch>> {
    flood(scene, mallory, certificate)
}

/// Each in a commit of its own.
pub(crate) fn lone_certificates(scene: &mut Scene, mallory: &mut Mallory) -> Vec<Vec<SealedBatch>> {
    let mut commits = Vec::new();
    for no in 0..2000 {
        let item = certificate(scene, mallory, no);
        commits.push(mallory.commit(&[], &[item]));
    }
    vec![vec![mallory.batch(scene, commits)]]
}

pub(crate) fn revocations(scene: &mut Scene, mallory: &mut Mallory) -> Vec<Vec<SealedBatch>> {
    flood(scene, mallory, |scene, mallory, no| {
        let mut key = [9; 32];
        key[..8].copy_from_slice(&no.to_be_bytes());
        revocation(scene, mallory, SigningKey::from_seed(&key).public())
    })
}

/// Two thousand records of a clinician, and then the one item that has all of them judged again.
pub(crate) fn revocation_of_much(
    scene: &mut Scene,
    mallory: &mut Mallory,
) -> Vec<Vec<SealedBatch>> {
    let mut clinician = Mallory::admitted(scene, &[Role::Clinician]);
    clinician.data_key = mallory.data_key;
    let one = |m: &mut Mallory, n: usize| Some(vec![m.fresh(&format!("r{n}"), "code", "x")]);
    let much = fill(scene, &mut clinician, one);
    let item = revocation(scene, mallory, clinician.person.public());
    let commit = mallory.commit(&[], &[item]);
    vec![vec![much], vec![mallory.batch(scene, vec![commit])]]
}

fn pack_of(version: u64) -> Vec<u8> {
    let kinds: Vec<String> = (0..400)
        .map(|n| format!(r#""Kind{n}":{{"fields":{{"note":{{"policy":"lww"}}}}}}"#))
        .collect();
    let kinds = kinds.join(",");
    let text = format!(r#"{{"format":1,"name":"test","version":{version},"kinds":{{{kinds}}}}}"#);
    text.into_bytes()
}

pub(crate) fn packs(scene: &mut Scene, mallory: &mut Mallory) -> Vec<Vec<SealedBatch>> {
    flood(scene, mallory, |_, _, no| (ItemKind::PACK, pack_of(no + 2)))
}

pub(crate) fn junk_packs(scene: &mut Scene, mallory: &mut Mallory) -> Vec<Vec<SealedBatch>> {
    flood(scene, mallory, |_, _, no| {
        let junk = match no % 3 {
            0 => "[".repeat(90_000),
            1 => format!(r#"{{"format":1,"name":"{}"}}"#, "x".repeat(90_000)),
            _ => String::from_utf8(pack_of(1)).expect("text") + "}",
        };
        (ItemKind::PACK, junk.into_bytes())
    })
}
