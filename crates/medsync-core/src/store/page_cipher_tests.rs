//! The cipher alone, without redb's habits: what it promises to any writer.

use super::*;
use crate::store::fault::{Rng, SeededEnv, SimDisk};

type Sim = PageCipher<SimDisk>;

fn key() -> Secret<32> {
    Secret::take(&mut [1; 32])
}

fn make(disk: &SimDisk) -> Result<Sim> {
    let env = SeededEnv::shared(1);
    Sim::create(disk.clone(), env, Suite::Xaes256Gcm, &key(), [2; 16], 8192)
}

fn open(disk: &SimDisk) -> Result<Sim> {
    let env = SeededEnv::shared(2);
    Sim::open(disk.clone(), env, Suite::Xaes256Gcm, &key(), [2; 16])
}

/// A disk with a durable header of ones.
fn disk() -> SimDisk {
    let disk = SimDisk::default();
    let cipher = make(&disk).expect("creates");
    cipher.set_len(4 * BLOCK as u64).expect("grows");
    cipher.write(0, &[1; 320]).expect("writes");
    cipher.sync_data().expect("syncs");
    disk
}

fn header(cipher: &Sim) -> u8 {
    let mut out = [0; 320];
    cipher.read(0, &mut out).expect("reads");
    assert!(out.iter().all(|b| *b == out[0]));
    out[0]
}

#[test]
fn headers_written_without_a_sync_never_endanger_the_durable_one() {
    for seed in 0..200 {
        let disk = disk();
        let cipher = open(&disk).expect("opens");
        for version in 2..6 {
            cipher.write(0, &[version; 320]).expect("writes");
        }
        let after = disk.after_power_loss(&mut Rng::new(seed));
        assert!(header(&open(&after).expect("opens")) >= 1, "seed {seed}");
        // What a sync returned for stays.
        cipher.sync_data().expect("syncs");
        cipher.write(0, &[6; 320]).expect("writes");
        let after = disk.after_power_loss(&mut Rng::new(seed));
        assert!(header(&open(&after).expect("opens")) >= 5, "seed {seed}");
    }
}

/// The second process reads a header that the first one left in the system's cache. If it wrote to
/// the other slot right away, the power could take both.
#[test]
fn a_header_of_a_dead_process_is_synced_before_the_other_slot_is_written() {
    for seed in 0..200 {
        let disk = disk();
        let first = open(&disk).expect("opens");
        first.write(0, &[2; 320]).expect("writes");
        let disk = disk.after_process_death();
        let second = open(&disk).expect("opens");
        assert_eq!(header(&second), 2);
        second.write(0, &[3; 320]).expect("writes");
        let after = disk.after_power_loss(&mut Rng::new(seed));
        let third = open(&after);
        assert!(header(&third.expect("opens")) >= 2, "seed {seed}");
    }
}

#[test]
fn blocks_read_back_in_any_cut_and_never_repeat_a_nonce() {
    let disk = disk();
    let cipher = open(&disk).expect("opens");
    let plain: Vec<u8> = (0..3 * BLOCK).map(|i| (i / 7) as u8).collect();
    cipher.write(BLOCK as u64, &plain).expect("writes");
    let before = disk.image();
    cipher.write(BLOCK as u64, &plain).expect("writes");
    assert_ne!(before, disk.image());
    for (at, len) in [
        (0, 3 * BLOCK),
        (1, 9),
        (4095, 2),
        (100, 2 * BLOCK),
        (BLOCK, BLOCK),
    ] {
        let mut out = vec![0; len];
        cipher.read((BLOCK + at) as u64, &mut out).expect("reads");
        assert_eq!(out, plain[at..at + len]);
    }
    let mut across = vec![0; BLOCK + 10];
    cipher.read(0, &mut across).expect("reads");
    assert_eq!((across[0], &across[BLOCK..]), (1, &plain[..10]));
}

#[test]
fn a_block_in_another_ones_place_does_not_verify() {
    let disk = disk();
    let cipher = open(&disk).expect("opens");
    cipher.write(BLOCK as u64, &[7; 2 * BLOCK]).expect("writes");
    let mut image = disk.image();
    let first = cipher.base() as usize;
    image.copy_within(first..first + STRIDE, first + STRIDE);
    let cipher = open(&SimDisk::from_image(image)).expect("opens");
    let mut out = [0; BLOCK];
    assert!(cipher.read(BLOCK as u64, &mut out).is_ok());
    let moved = cipher
        .read(2 * BLOCK as u64, &mut out)
        .map_err(|e| e.kind());
    assert_eq!(moved, Err(ErrorKind::InvalidData));
}

#[test]
fn misuse_and_foreign_files_are_errors() {
    let disk = disk();
    let cipher = open(&disk).expect("opens");
    assert!(cipher.write(1, &[0; BLOCK]).is_err());
    assert!(cipher.write(BLOCK as u64 + 1, &[0; BLOCK]).is_err());
    assert!(cipher.write(BLOCK as u64, &[0; 5]).is_err());
    assert!(cipher.set_len(0).is_err() && cipher.set_len(5).is_err());
    assert!(cipher.read(u64::MAX - 5000, &mut [0; 9]).is_err());
    assert!(make(&disk).is_err());

    let with = |at: usize, byte: u8| {
        let mut image = disk.image();
        image[at] = byte;
        open(&SimDisk::from_image(image)).map(drop)
    };
    assert!(matches!(with(0, b'x'), Err(Error::Integrity { .. })));
    assert!(matches!(
        with(8, 3),
        Err(Error::TooNew {
            found: 3,
            known: 2,
            ..
        })
    ));
    assert!(matches!(with(12, 2), Err(Error::Integrity { .. })));
    assert!(matches!(with(16, 9), Err(Error::Integrity { .. })));
    assert!(matches!(with(4000, 1), Err(Error::Integrity { .. })));
    assert_eq!(with(12, 1), Ok(()));
}

#[test]
fn after_a_failed_sync_nothing_more_is_promised() {
    let disk = disk();
    let cipher = open(&disk).expect("opens");
    cipher.write(0, &[2; 320]).expect("writes");
    disk.fail_at(1, ErrorKind::Other);
    assert!(cipher.sync_data().is_err());
    assert!(cipher.sync_data().is_err());
    assert!(cipher.write(0, &[3; 320]).is_err());
}
