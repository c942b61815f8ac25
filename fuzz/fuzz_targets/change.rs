//! The gate never panics; what it passes is written as the same bytes again and opens in Automerge,
//! or builds on what is not there.
//!
//! An input is judged as it is, and as the data of a chunk with the right length and checksum:
//! nothing that is found by mutation would have those.

#![no_main]

use libfuzzer_sys::fuzz_target;
use medsync_core::doc::{Fault, decode, encode, oracle};
use sha2::{Digest, Sha256};
use std::sync::Once;

static HOOK: Once = Once::new();

fuzz_target!(|input: &[u8]| {
    // Automerge panics on some changes that the gate refuses after it, and the engine contains it.
    // libFuzzer's hook would abort there; a panic that nothing contains still ends the run.
    HOOK.call_once(|| std::panic::set_hook(Box::new(|info| eprintln!("{info}"))));
    judge(input);
    judge(&chunk(input));
});

fn chunk(data: &[u8]) -> Vec<u8> {
    let mut hashed = vec![1];
    let mut length = data.len();
    while length >= 0x80 {
        hashed.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    hashed.push(length as u8);
    hashed.extend(data);
    let mut bytes = vec![0x85, 0x6f, 0x4a, 0x83];
    bytes.extend(&Sha256::digest(&hashed)[..4]);
    bytes.extend(hashed);
    bytes
}

fn judge(bytes: &[u8]) {
    let Ok((change, id)) = decode(bytes) else {
        return;
    };
    assert_eq!(encode(&change), (bytes.to_vec(), id));
    if change.deps.is_empty() {
        assert_eq!(oracle::open([bytes]).map(|opened| opened.heads), Ok(vec![id]));
    } else {
        assert_eq!(oracle::open([bytes]), Err(Fault::Incomplete));
    }
}
