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

/// The recovery words, the root, and the authority's words, in the order in which a new vault asks
/// for them. Copies of the page key (in the ciphers) and of device's and people's seeds (in pages and
/// signature code) do stay in freed memory; docs/threat-model.md says so.
const ROOT_AND_WORDS: [usize; 3] = [0, 1, 6];

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
        if buf.len() == 32 {
            self.given.lock().expect("alone").push(masked(buf));
        }
    }
}

/// A secret as this test may keep it, with no other copy made on the way.
fn masked(secret: &[u8]) -> [u8; 32] {
    let mut out = [MASK; 32];
    for (out, byte) in out.iter_mut().zip(secret) {
        *out ^= *byte;
    }
    out
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
            // What was read lies in the buffer: that is no find.
            chunk.fill(0);
            let len = usize::try_from((to - from).min(1 << 20)).expect("small");
            // Some pages are not there to be read.
            if memory.read_at(&mut chunk[..len], from).is_ok() {
                let own = u64::try_from(chunk.as_ptr().addr()).expect("an address");
                for (count, needle) in counts.iter_mut().zip(needles) {
                    *count += hits(&chunk[..len], needle)
                        .filter(|at| !(own..own + (1 << 20)).contains(&(from + at)))
                        .count();
                }
            }
            from += (1 << 20) - 32;
        }
    }
    counts
}

/// Where a needle lies.
fn hits<'a>(haystack: &'a [u8], masked: &'a [u8; 32]) -> impl Iterator<Item = u64> + 'a {
    let first = masked[0] ^ MASK;
    let is_it = move |window: &[u8]| {
        window[0] == first && window.iter().zip(masked).all(|(a, b)| *a == *b ^ MASK)
    };
    let windows = (0_u64..).zip(haystack.windows(32));
    windows
        .filter(move |(_, window)| is_it(window))
        .map(|(at, _)| at)
}

#[test]
fn the_root_and_words_are_gone_from_memory_when_a_vault_is_locked() {
    words_and_secrets_wipe_themselves();
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
    for n in ROOT_AND_WORDS {
        assert!(open[n] > 0, "{n} was to be seen: {open:?}");
        assert_eq!(after[n], 0, "{n} is still in memory: {after:?}");
    }
    drop(vault);
}

// Called by the one test: others would put copies of what they read in its way.
fn words_and_secrets_wipe_themselves() {
    let needle = [0x77 ^ MASK; 32];
    let secret = Secret::<32>::fill_with(|out| out.fill(0x77));
    assert!(found(&[needle])[0] > 0);
    drop(secret);
    assert_eq!(found(&[needle])[0], 0);
    let words = Words::generate(&medsync_core::env::SystemEnv);
    let masked = masked(words.entropy().expose());
    assert!(found(&[masked])[0] > 0);
    drop(words);
    assert_eq!(found(&[masked])[0], 0);
}
