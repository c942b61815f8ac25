//! C2SP's published vectors, a second implementation, and what a cipher must refuse.

use super::*;
use crate::ids::{hex, unhex};
use proptest::prelude::*;
use xaes_256_gcm::aead::{Aead as _, Payload};

/// SHAKE-128 (FIPS 202), in which C2SP states its accumulated vectors.
struct Shake128 {
    lanes: [u64; 25],
    at: usize,
    squeezing: bool,
}

const RATE: usize = 168;

impl Shake128 {
    const fn new() -> Self {
        Self {
            lanes: [0; 25],
            at: 0,
            squeezing: false,
        }
    }

    fn xor(&mut self, at: usize, byte: u8) {
        self.lanes[at / 8] ^= u64::from(byte) << (8 * (at % 8));
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.xor(self.at, *byte);
            self.at += 1;
            if self.at == RATE {
                keccak_f(&mut self.lanes);
                self.at = 0;
            }
        }
    }

    fn read(&mut self, len: usize) -> Vec<u8> {
        if !self.squeezing {
            self.xor(self.at, 0x1f);
            self.xor(RATE - 1, 0x80);
            self.at = RATE;
            self.squeezing = true;
        }
        let mut out = Vec::with_capacity(len);
        for _ in 0..len {
            if self.at == RATE {
                keccak_f(&mut self.lanes);
                self.at = 0;
            }
            out.push((self.lanes[self.at / 8] >> (8 * (self.at % 8))) as u8);
            self.at += 1;
        }
        out
    }
}

fn keccak_f(a: &mut [u64; 25]) {
    // The round constants come from the LFSR x^8 + x^6 + x^5 + x^4 + 1 (FIPS 202, 3.2.5).
    let mut lfsr = 1_u8;
    for _ in 0..24 {
        let column: [u64; 5] = std::array::from_fn(|x| (0..5).fold(0, |c, y| c ^ a[x + 5 * y]));
        for x in 0..5 {
            let d = column[(x + 4) % 5] ^ column[(x + 1) % 5].rotate_left(1);
            (0..5).for_each(|y| a[x + 5 * y] ^= d);
        }
        let (mut x, mut y, mut moving) = (1, 0, a[1]);
        for t in 0..24 {
            (x, y) = (y, (2 * x + 3 * y) % 5);
            let offset = (t + 1) * (t + 2) / 2 % 64;
            moving = std::mem::replace(&mut a[x + 5 * y], moving.rotate_left(offset));
        }
        for row in a.chunks_exact_mut(5) {
            let old: [u64; 5] = std::array::from_fn(|x| row[x]);
            (0..5).for_each(|x| row[x] = old[x] ^ (!old[(x + 1) % 5] & old[(x + 2) % 5]));
        }
        for j in 0..7 {
            if lfsr & 1 == 1 {
                a[0] ^= 1 << ((1 << j) - 1);
            }
            lfsr = (lfsr << 1) ^ if lfsr & 0x80 == 0 { 0 } else { 0x71 };
        }
    }
}

fn seal(key: &[u8; 32], nonce: &[u8; 24], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let aead = PageAead::new(Suite::Xaes256Gcm, key);
    let mut out = plaintext.to_vec();
    let tag = aead.seal(nonce, aad, &mut out);
    let mut opened = vec![0; plaintext.len()];
    assert!(aead.open(nonce, aad, &out, &tag, &mut opened));
    assert_eq!(opened, plaintext);
    out.extend_from_slice(&tag);
    out
}

#[test]
fn c2sp_single_vectors_hold() {
    const NONCE: &[u8; 24] = b"ABCDEFGHIJKLMNOPQRSTUVWX";
    for (key, aad, expected) in [
        (
            [1; 32],
            "",
            "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271",
        ),
        (
            [3; 32],
            "c2sp.org/XAES-256-GCM",
            "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
        ),
    ] {
        assert_eq!(
            hex(&seal(&key, NONCE, aad.as_bytes(), b"XAES-256-GCM")),
            expected
        );
    }
}

fn accumulated(iterations: usize) -> String {
    let (mut rng, mut digest) = (Shake128::new(), Shake128::new());
    for _ in 0..iterations {
        let key = rng.read(32).try_into().expect("32 bytes were read");
        let nonce = rng.read(24).try_into().expect("24 bytes were read");
        let mut opaque = || {
            let len = rng.read(1)[0].into();
            rng.read(len)
        };
        let (plaintext, aad) = (opaque(), opaque());
        digest.write(&seal(&key, &nonce, &aad, &plaintext));
    }
    hex(&digest.read(32))
}

#[test]
fn c2sp_accumulated_vectors_hold() {
    assert_eq!(
        hex(&Shake128::new().read(16)),
        "7f9c2ba4e88f827d616045507605853e"
    );
    assert_eq!(
        accumulated(10_000),
        "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"
    );
}

#[test]
#[ignore = "a million messages; run it for a release"]
fn c2sp_million_accumulated_vectors_hold() {
    assert_eq!(
        accumulated(1_000_000),
        "2163ae1445985a30b60585ee67daa55674df06901b890593e824b8a7c885ab15"
    );
}

#[test]
fn xchacha_vector_of_the_draft_holds() {
    let key = unhex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f");
    let nonce = unhex("404142434445464748494a4b4c4d4e4f5051525354555657");
    let aad: [u8; 12] = unhex("50515253c0c1c2c3c4c5c6c7").expect("hex");
    let text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for \
                 the future, sunscreen would be it.";
    let sealed = seal_small(&key.expect("hex"), &nonce.expect("hex"), &aad, text);
    assert_eq!(hex(&sealed[..16]), "bd6d179d3e83d43b9576579493c0e939");
    assert_eq!(
        hex(&sealed[text.len()..]),
        "c0875924c1c7987947deafd8780acf49"
    );
}

proptest! {
    #[test]
    fn xaes_equals_a_second_implementation(
        key: [u8; 32],
        nonce: [u8; 24],
        aad in proptest::collection::vec(any::<u8>(), 0..64),
        text in proptest::collection::vec(any::<u8>(), 0..5000),
    ) {
        let other = xaes_256_gcm::Xaes256Gcm::new((&key).into());
        let theirs = other
            .encrypt((&nonce).into(), Payload { msg: &text, aad: &aad })
            .expect("short input");
        prop_assert_eq!(seal(&key, &nonce, &aad, &text), theirs);
    }

    #[test]
    fn one_flipped_bit_is_refused_and_leaves_zeros(flip in 0..(4096_usize + 40 + 5) * 8, xaes: bool) {
        let suite = if xaes { Suite::Xaes256Gcm } else { Suite::XChaCha20Poly1305 };
        let aead = PageAead::new(suite, &[1; 32]);
        let (mut nonce, mut aad, mut page) = ([2; 24], *b"block", vec![3; 4096]);
        let mut tag = aead.seal(&nonce, &aad, &mut page);
        let (byte, bit) = (flip / 8, 1 << (flip % 8));
        match byte {
            0..4096 => page[byte] ^= bit,
            4096..4120 => nonce[byte - 4096] ^= bit,
            4120..4136 => tag[byte - 4120] ^= bit,
            _ => aad[byte - 4136] ^= bit,
        }
        let mut out = vec![9; 4096];
        prop_assert!(!aead.open(&nonce, &aad, &page, &tag, &mut out));
        prop_assert!(out.iter().all(|b| *b == 0));
    }
}

#[test]
fn small_seals_open_only_as_they_were_made() {
    let sealed = seal_small(&[1; 32], &[2; 24], b"a", b"key");
    let opened = open_small(&[1; 32], &[2; 24], b"a", &sealed).expect("unchanged");
    assert_eq!(&*opened, b"key");
    assert!(open_small(&[1; 32], &[2; 24], b"b", &sealed).is_none());
    assert!(open_small(&[3; 32], &[2; 24], b"a", &sealed).is_none());
    assert!(open_small(&[1; 32], &[2; 24], b"a", &sealed[..10]).is_none());
}
