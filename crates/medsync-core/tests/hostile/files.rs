//! Files of an exchange folder that hold no batches, or none that say anything.

use crate::bombs::PART;
use crate::scene::*;
use medsync_core::ids::DeviceKey;
use medsync_core::ledger::audit::{Head, HeadTerms, LogId};
use minicbor::Encoder;
use std::convert::Infallible;
use std::fs;

type Encoded = Result<(), minicbor::encode::Error<Infallible>>;

fn encode_with(write: impl FnOnce(&mut Encoder<Vec<u8>>) -> Encoded) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    write(&mut encoder).expect("encodes");
    encoder.into_writer()
}

fn signed(mallory: &Mallory, context: &str, body: &[u8]) -> Vec<u8> {
    let signature = mallory.device.sign(context, body);
    encode_with(|e| e.array(2)?.bytes(body)?.bytes(&signature)?.ok())
}

/// Puts a file of this name into the folder of Mallory's device.
fn leave(scene: &Scene, mallory: &Mallory, file: &str, plain: &[u8]) -> usize {
    let recipients: Vec<[u8; 32]> = scene.vault.devices().filter_map(|d| d.recipient).collect();
    let sealed = envelope::seal_to(&recipients, plain).expect("seals");
    let mut copy = blake3::Hasher::new_derive_key("medsync v1 exchange folder");
    copy.update(&mallory.device.public())
        .update(&mallory.replica.0);
    let name = copy.finalize().to_hex();
    let dir = scene.workspace_dir().join(name.get(..16).expect("a hash"));
    fs::create_dir_all(&dir).expect("a folder");
    fs::write(dir.join(file), sealed).expect("a file");
    plain.len()
}

pub(crate) fn empty_batches(scene: &mut Scene, mallory: &mut Mallory) -> usize {
    let plain = encode_with(|e| {
        e.array(3)?.str(LABEL)?.u32(1)?.array(1_000_000)?;
        (0..1_000_000).try_for_each(|_| e.bytes(&[])?.ok())
    });
    leave(scene, mallory, "batches-000001.age", &plain)
}

pub(crate) fn noise(scene: &mut Scene, mallory: &mut Mallory) -> usize {
    leave(scene, mallory, "batches-000001.age", &vec![0x9f; PART])
}

/// Marks with what `held` and `files` write in their places.
fn marks(
    scene: &Scene,
    mallory: &Mallory,
    held: impl FnOnce(&mut Encoder<Vec<u8>>) -> Encoded,
    files: impl FnOnce(&mut Encoder<Vec<u8>>) -> Encoded,
) -> usize {
    let body = encode_with(|e| {
        e.array(5)?.bytes(&[5; 32])?;
        held(e)?;
        e.array(0)?;
        files(e)?;
        e.array(0)?.ok()
    });
    let claim = encode_with(|e| {
        e.array(9)?.str(LABEL)?.u32(1)?;
        e.bytes(&scene.workspace.0)?
            .bytes(&mallory.device.public())?;
        e.bytes(&mallory.replica.0)?.array(0)?;
        e.u64(1)?.i64(Mallory::now().0)?;
        e.bytes(blake3::hash(&body).as_bytes())?.ok()
    });
    let signature = mallory.device.sign("medsync v1 exchange marks", &claim);
    let plain = encode_with(|e| {
        e.array(3)?.bytes(&claim)?.bytes(&signature)?;
        e.bytes(&body)?.ok()
    });
    leave(scene, mallory, "marks.age", &plain)
}

fn nothing(e: &mut Encoder<Vec<u8>>) -> Encoded {
    e.array(0)?.ok()
}

fn chain(e: &mut Encoder<Vec<u8>>, no: u64) -> Encoded {
    let mut author = [0; 32];
    author[..8].copy_from_slice(&no.to_be_bytes());
    e.array(3)?.bytes(&author)?.bytes(&[2; 16])?.ok()
}

pub(crate) fn chains(scene: &mut Scene, mallory: &mut Mallory) -> usize {
    let held = |e: &mut Encoder<Vec<u8>>| {
        e.array(17_000)?;
        (0..17_000).try_for_each(|no| {
            chain(e, no)?;
            e.array(1)?.array(2)?.u64(1)?.u64(9)?.ok()
        })
    };
    marks(scene, mallory, held, nothing)
}

pub(crate) fn ranges(scene: &mut Scene, mallory: &mut Mallory) -> usize {
    let held = |e: &mut Encoder<Vec<u8>>| {
        e.array(35)?;
        (0..35).try_for_each(|no| {
            chain(e, no)?;
            e.array(4096)?;
            (0..4096_u64).try_for_each(|at| e.array(2)?.u64(at * 3 + 1)?.u64(at * 3 + 1)?.ok())
        })
    };
    marks(scene, mallory, held, nothing)
}

pub(crate) fn listed_files(scene: &mut Scene, mallory: &mut Mallory) -> usize {
    let files = |e: &mut Encoder<Vec<u8>>| {
        e.array(5000)?;
        (0..5000_u64).try_for_each(|no| {
            e.array(4)?.str(&format!("batches-{no:06}.age"))?;
            e.bytes(&[4; 32])?.bytes(&[5; 32])?.array(1)?;
            chain(e, no)?;
            e.array(1)?.array(3)?.u64(1)?.u64(9)?.bytes(&[8; 32])?.ok()
        })
    };
    marks(scene, mallory, nothing, files)
}

pub(crate) fn keys(scene: &mut Scene, mallory: &mut Mallory) -> usize {
    let body = encode_with(|e| {
        e.array(5)?.str(LABEL)?.u32(1)?;
        e.bytes(&scene.workspace.0)?
            .bytes(&mallory.device.public())?;
        e.array(18_000)?;
        (0..18_000_u64).try_for_each(|no| {
            let mut id = [1; 16];
            id[..8].copy_from_slice(&no.to_be_bytes());
            e.array(3)?.bytes(&id)?.bytes(&[9; 32])?.null()?.ok()
        })
    });
    let plain = signed(mallory, "medsync v1 exchange keys", &body);
    leave(scene, mallory, "keys-000001.age", &plain)
}

pub(crate) fn heads(scene: &mut Scene, mallory: &mut Mallory) -> usize {
    let head = |no: u64| {
        let mut replica = [3; 16];
        replica[..8].copy_from_slice(&no.to_be_bytes());
        let terms = HeadTerms {
            workspace: Some(scene.workspace),
            log: LogId {
                device: DeviceKey(mallory.device.public()),
                replica: ReplicaId(replica),
            },
            seq: 1,
            hash: [4; 32],
            hlc: Mallory::now(),
        };
        Head::sign(&mallory.device, terms)
            .expect("a head")
            .to_bytes()
    };
    let plain = encode_with(|e| {
        e.array(3)?.str(LABEL)?.u32(1)?.array(1024)?;
        (0..1024).try_for_each(|no| e.bytes(&head(no))?.ok())
    });
    leave(scene, mallory, "heads.age", &plain)
}
