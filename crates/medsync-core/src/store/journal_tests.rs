//! The journal alone: what it keeps, what it cuts, what it refuses.

use super::*;
use crate::store::fault::{Rng, SeededEnv};
use std::sync::Mutex;

#[derive(Default)]
struct Bytes(Mutex<Vec<u8>>);

impl Area for Bytes {
    fn blocks(&self) -> Blocks {
        Blocks { used: 0, all: 0 }
    }

    fn area_len(&self) -> u64 {
        self.0.lock().expect("no test panicked").len() as u64
    }

    fn area_read(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.lock().expect("no test panicked");
        out.copy_from_slice(&bytes[at as usize..][..out.len()]);
        Ok(())
    }

    fn area_write(&self, at: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.0.lock().expect("no test panicked");
        bytes[at as usize..][..data.len()].copy_from_slice(data);
        Ok(())
    }

    fn area_sync(&self) -> io::Result<()> {
        Ok(())
    }
}

const LEN: usize = 16 * ALIGN;
/// Records of [`written`]: their sizes are one, one, two and one blocks.
const BODIES: [usize; 4] = [10, 4000, 5000, 1];
const STARTS: [usize; 4] = [0, ALIGN, 2 * ALIGN, 4 * ALIGN];

fn journal(bytes: Vec<u8>, id: u8) -> (Arc<Bytes>, Journal) {
    let area = Arc::new(Bytes(Mutex::new(bytes)));
    let (env, key) = (SeededEnv::shared(7), Secret::take(&mut [1; 32]));
    let dynamic = Arc::clone(&area) as Arc<dyn Area>;
    let mut journal = Journal::new(dynamic, env, Suite::default(), &key, [2; 16]);
    journal.restart([id; 16]);
    (area, journal)
}

fn change(len: usize) -> Vec<Change> {
    vec![
        (vec![len as u8], Some(vec![len as u8; len])),
        (vec![0], None),
    ]
}

fn record(len: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let changes = change(len);
    let pairs = changes.iter().map(|(k, v)| (&k[..], v.as_deref()));
    crate::store::overlay::put_changes(pairs, &mut out);
    out
}

fn written() -> Vec<u8> {
    let (area, mut journal) = journal(vec![0; LEN], 1);
    for len in BODIES {
        journal.append(&record(len)).expect("appends");
    }
    area.0.lock().expect("no test panicked").clone()
}

/// The records that a journal says it has.
fn read(bytes: Vec<u8>, id: u8) -> Result<Vec<Vec<Change>>> {
    let mut found = Vec::new();
    journal(bytes, id)
        .1
        .replay(&mut |changes| found.push(changes))?;
    Ok(found)
}

fn first(n: usize) -> Vec<Vec<Change>> {
    BODIES[..n].iter().map(|len| change(*len)).collect()
}

#[test]
fn records_read_back_in_order_and_writing_goes_on_after_them() {
    assert_eq!(read(written(), 1), Ok(first(4)));
    let (area, mut journal) = journal(written(), 1);
    journal.replay(&mut |_| {}).expect("replays");
    journal.append(&record(77)).expect("appends");
    let bytes = area.0.lock().expect("no test panicked").clone();
    assert_eq!(
        read(bytes, 1).map(|all| all[4..].to_vec()),
        Ok(vec![change(77)])
    );
}

#[test]
fn room_ends_where_the_area_does() {
    let (_, mut journal) = journal(vec![0; 2 * ALIGN], 1);
    assert!(journal.has_room(2 * ALIGN - HEADER) && !journal.has_room(2 * ALIGN - HEADER + 1));
    assert!(!journal.has_room(usize::MAX));
    journal.append(&record(1)).expect("appends");
    assert!(journal.has_room(ALIGN - HEADER) && !journal.has_room(ALIGN - HEADER + 1));
    assert!(journal.takes(ALIGN / 2) && !journal.takes(ALIGN / 2 + 1));
}

#[test]
fn after_a_checkpoint_nothing_of_before_counts() {
    assert_eq!(read(written(), 2), Ok(Vec::new()));
    let (area, mut journal) = journal(written(), 1);
    journal.restart([2; 16]);
    journal.append(&record(3)).expect("appends");
    let bytes = area.0.lock().expect("no test panicked").clone();
    assert_eq!(read(bytes.clone(), 2), Ok(vec![change(3)]));
    // Nor does the old id bring back what the new records left of the old ones.
    assert!(matches!(read(bytes, 1), Err(Error::Integrity { .. })));
}

#[test]
fn a_torn_last_record_is_cut_wherever_it_tore() {
    let good = written();
    for byte in STARTS[3]..STARTS[3] + HEADER + record(1).len() {
        let mut bad = good.clone();
        bad[byte] ^= 1;
        let spare = (12..16).contains(&(byte - STARTS[3]));
        assert_eq!(read(bad, 1), Ok(first(if spare { 4 } else { 3 })));
    }
    // One that is longer than a block, and only its first block or its last arrived.
    for lost in [STARTS[2]..STARTS[2] + ALIGN, STARTS[2] + ALIGN..STARTS[3]] {
        let mut bad = good.clone();
        bad[lost].fill(0);
        bad[STARTS[3]..].fill(0);
        assert_eq!(read(bad, 1), Ok(first(2)));
    }
}

#[test]
fn damage_before_a_whole_record_is_an_error_and_never_a_loss() {
    let good = written();
    let mut rng = Rng::new(5);
    for n in 0..3 {
        let used = HEADER + record(BODIES[n]).len();
        for _ in 0..200 {
            let at = rng.below(used as u64) as usize;
            let mut bad = good.clone();
            bad[STARTS[n] + at] ^= 1 << rng.below(8);
            // Four bytes of the header are spare.
            let spare = (12..16).contains(&at);
            match read(bad, 1) {
                Err(Error::Integrity { .. }) => assert!(!spare),
                found => assert!(spare && found == Ok(first(4)), "record {n}, byte {at}"),
            }
        }
    }
}

#[test]
fn records_cannot_change_places_or_come_from_elsewhere() {
    let good = written();
    let block = |bytes: &[u8], n: usize| bytes[n * ALIGN..(n + 1) * ALIGN].to_vec();
    // The second where the first was.
    let mut bad = good.clone();
    bad[..ALIGN].copy_from_slice(&block(&good, 1));
    assert!(matches!(read(bad, 1), Err(Error::Integrity { .. })));
    // The first once more at the end.
    let mut bad = good.clone();
    bad[5 * ALIGN..6 * ALIGN].copy_from_slice(&block(&good, 0));
    assert_eq!(read(bad, 1), Ok(first(4)));
    // Another life of the same journal: the same file, the same id, the same index. It was restored,
    // say, and went on otherwise.
    let (area, mut other) = journal(vec![0; LEN], 1);
    other.env = SeededEnv::shared(8);
    for len in BODIES {
        other.append(&record(len)).expect("appends");
    }
    let other = area.0.lock().expect("no test panicked").clone();
    for n in [0, 1] {
        let mut bad = good.clone();
        bad[n * ALIGN..(n + 1) * ALIGN].copy_from_slice(&block(&other, n));
        assert!(
            matches!(read(bad, 1), Err(Error::Integrity { .. })),
            "record {n}"
        );
    }
}

#[test]
fn any_bytes_are_read_without_a_panic() {
    let mut rng = Rng::new(9);
    for _ in 0..50 {
        let mut bytes = vec![0; LEN];
        rng.fill(&mut bytes);
        assert_eq!(read(bytes, 1), Ok(Vec::new()));
    }
    for _ in 0..2000 {
        let mut bad = record(300);
        let at = rng.below(bad.len() as u64) as usize;
        bad[at] ^= 1 << rng.below(8);
        take_changes(&bad).ok();
        take_changes(&bad[..at]).ok();
    }
}
