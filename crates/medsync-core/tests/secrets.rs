//! Whether keys are gone from memory once a vault is locked: this process looks through its own
//! memory, as somebody with its core dump would. Linux only, and alone in its process.

#![cfg(target_os = "linux")]

use medsync_core::crypto::{Kdf, Secret, Suite, Words};
use medsync_core::env::{Env, SharedEnv};
use medsync_core::model::pack::PolicyPack;
use medsync_core::vault::{NewVault, Vault};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const PACK: &str = r#"{"format":1,"name":"test","version":1,"kinds":{}}"#;

/// Remembers, masked, every 32 random bytes it gave: each may have become a key.
struct Watched {
    count: AtomicU64,
    given: Mutex<Vec<[u8; 32]>>,
}

const MASK: u8 = 0x5a;

impl Env for Watched {
    fn now_ms(&self) -> i64 {
        1_700_000_000_000
    }

    fn fill(&self, buf: &mut [u8]) {
        let n = self.count.fetch_add(1, Ordering::Relaxed);
        let mut hasher = blake3_like(n);
        for byte in buf.iter_mut() {
            *byte = hasher.next().expect("endless");
        }
        if let Ok(key) = <[u8; 32]>::try_from(&*buf) {
            let masked = key.map(|byte| byte ^ MASK);
            self.given.lock().expect("alone").push(masked);
        }
    }
}

/// A stream of bytes for a number: SplitMix64, which needs no crate.
fn blake3_like(n: u64) -> impl Iterator<Item = u8> {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678;
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_be_bytes()[3]
    })
}

/// How often each needle, given masked, lies in this process's writable memory.
fn found(needles: &[[u8; 32]]) -> Vec<usize> {
    let mut counts = vec![0; needles.len()];
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let memory = File::open("/proc/self/mem").expect("memory");
    let mut chunk = vec![0; 1 << 20];
    for line in maps.lines() {
        let mut parts = line.split_whitespace();
        let (range, mode) = (
            parts.next().expect("a range"),
            parts.next().expect("a mode"),
        );
        if !mode.starts_with("rw") {
            continue;
        }
        let (from, to) = range.split_once('-').expect("two ends");
        let at = |text| u64::from_str_radix(text, 16).expect("hex");
        let (mut from, to) = (at(from), at(to));
        while from < to {
            let len = usize::try_from((to - from).min(1 << 20)).expect("small");
            // Some pages are not there to be read.
            if memory.read_at(&mut chunk[..len], from).is_ok() {
                for (count, needle) in counts.iter_mut().zip(needles) {
                    *count += hits(&chunk[..len], needle);
                }
            }
            from += (1 << 20) - 32;
        }
        chunk.fill(0);
    }
    counts
}

fn hits(haystack: &[u8], masked: &[u8; 32]) -> usize {
    let first = masked[0] ^ MASK;
    let is_it = |window: &[u8]| {
        window[0] == first && window.iter().zip(masked).all(|(a, b)| *a == *b ^ MASK)
    };
    haystack.windows(32).filter(|window| is_it(window)).count()
}

#[test]
fn keys_are_gone_from_memory_when_a_vault_is_locked() {
    let watched = Arc::new(Watched {
        count: AtomicU64::new(0),
        given: Mutex::default(),
    });
    let env: SharedEnv = watched.clone();
    let dir = tempfile::tempdir().expect("a folder");
    let new = NewVault {
        passphrase: "correct horse",
        suite: Suite::default(),
        kdf: Kdf::for_tests(),
        person: "Asha",
        device: "ward",
    };
    let pack = PolicyPack::from_json(PACK.as_bytes()).expect("a pack");
    let made = Vault::create(dir.path(), env, &new, "North", &pack).expect("creates");
    let (mut vault, recovery, authority) = (made.vault, made.recovery, made.authority);
    let given = watched.given.lock().expect("alone").clone();
    assert!(
        given.len() >= 6,
        "root, page key, words, seeds: {}",
        given.len()
    );
    // It can see: while the vault is open some of them are there.
    let open = found(&given);
    assert!(open.iter().any(|count| *count > 0), "{open:?}");
    drop((recovery, authority));
    vault.lock().expect("locks");
    let after = found(&given);
    let left: Vec<usize> = (0..given.len()).filter(|n| after[*n] > 0).collect();
    assert!(
        left.is_empty(),
        "still in memory: {left:?}, {after:?}, {open:?}"
    );
    drop(vault);
}

#[test]
fn words_and_secrets_wipe_themselves() {
    let masked = [0x77 ^ MASK; 32];
    let secret = Secret::<32>::fill_with(|out| out.fill(0x77));
    assert!(found(&[masked])[0] > 0);
    drop(secret);
    assert_eq!(found(&[masked])[0], 0);
    let words = Words::generate(&medsync_core::env::SystemEnv);
    let masked = words.entropy().expose().map(|byte| byte ^ MASK);
    assert!(found(&[masked])[0] > 0);
    drop(words);
    assert_eq!(found(&[masked])[0], 0);
}
