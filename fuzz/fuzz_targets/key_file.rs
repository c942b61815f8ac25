//! A key file that is read is written as the same bytes and, unless untouched, opens nothing.
//! Argon2id runs only for what is sealed under a PIN, after the mark 1, and at its floor.

#![no_main]

use libfuzzer_sys::fuzz_target;
use medsync_core::crypto::{Kdf, KeyFile, Words, open_under_pin};
use medsync_fuzz::FixedEnv;
use minicbor::Decoder;
use std::sync::LazyLock;

static WORDS: LazyLock<Words> = LazyLock::new(|| Words::generate(&FixedEnv(7)));

fuzz_target!(|input: &[u8]| {
    match input.split_first() {
        Some((1, sealed)) if floor(sealed) != Some(false) => {
            let _ = open_under_pin(b"4711", "seed", sealed);
        }
        _ => key_file(input),
    }
});

/// Whether it asks for the least; `None` where it is refused before anything is spent.
fn floor(sealed: &[u8]) -> Option<bool> {
    let mut d = Decoder::new(sealed);
    d.array().ok()?;
    d.u32().ok()?;
    let kdf: Kdf = d.decode().ok()?;
    Some(kdf == Kdf::for_tests())
}

fn key_file(input: &[u8]) {
    let Ok(keys) = KeyFile::from_bytes(input) else {
        return;
    };
    assert_eq!(keys.to_bytes(), input);
    let _ = keys.kdf();
    if let Ok(root) = keys.unlock_recovery(&WORDS) {
        assert_eq!(keys.check_root(&root), Ok(()));
        keys.page_key(&root).expect("the check covers the page key");
    }
}
