use super::*;
use crate::error::Error;
use crate::ids::hex;
use crate::ledger::commit::{ENTRIES_MAX, ITEMS_MAX, check_link};
use crate::ledger::entry::{self, BECAUSE_BYTES_MAX, Entry, SEEN_MAX, leaf, salt};
use crate::ledger::merkle;
use proptest::prelude::*;

#[test]
fn the_bytes_of_commits_never_change() {
    // Signed commits have such bytes: these values are for ever.
    let commit = commit(chain(1, 2), Tip::START, 7);
    assert_eq!(
        hex(commit.header.bytes()),
        include_str!("golden/header.hex").trim()
    );
    assert_eq!(
        hex(&commit.entries[0].bytes),
        include_str!("golden/change.hex").trim()
    );
    assert_eq!(hex(&commit.entries[2].bytes), "830102447061636b");
    assert_eq!(
        commit.header.id().to_string(),
        include_str!("golden/commit_id.hex").trim()
    );
}

#[test]
fn a_header_and_its_entries_come_back_as_they_were() {
    let commit = commit(chain(1, 2), Tip::START, 7);
    assert_eq!(
        Header::parse(commit.header.bytes()),
        Ok(commit.header.clone())
    );
    for (n, entry) in [(0, Entry::Change(change(7))), (1, Entry::Change(change(8)))] {
        assert_eq!(Entry::parse(&commit.entries[n].bytes), Ok(entry));
    }
    let leaves: Vec<_> = commit.entries.iter().map(|e| e.leaf).collect();
    assert_eq!(merkle::root(&leaves), commit.header.fields().root);
    let fields = commit.header.fields();
    let salted = salt(&DATA_KEY, &fields.chain, fields.seq, 1);
    assert_eq!(leaf(&salted, &commit.entries[1].bytes), leaves[1]);
    assert_eq!(leaf(&entry::NO_SALT, &commit.entries[2].bytes), leaves[2]);
}

#[test]
fn one_change_has_another_leaf_in_every_place_and_under_every_key() {
    let places = [
        (chain(1, 2), 1, 0),
        (chain(1, 3), 1, 0),
        (chain(1, 2), 2, 0),
        (chain(1, 2), 1, 1),
    ];
    let mut salts: Vec<_> = places
        .iter()
        .map(|(c, seq, i)| salt(&DATA_KEY, c, *seq, *i))
        .collect();
    salts.push(salt(&[1; 32], &chain(1, 2), 1, 0));
    salts.sort_unstable();
    salts.dedup();
    assert_eq!(salts.len(), 5);
}

#[test]
fn what_a_newer_engine_writes_is_kept() {
    let mut builder = CommitBuilder::new(
        chain(1, 2),
        Tip::START,
        at(1),
        Lane::P3,
        Intent::Unknown(77),
    )
    .unwrap();
    builder.item(ItemKind(99), b"later").unwrap();
    let header = builder.build().unwrap().header;
    assert_eq!(
        Header::parse(header.bytes()).unwrap().fields().intent,
        Intent::Unknown(77)
    );
    // [9, {1: "x"}]
    let bytes = [0x82, 0x09, 0xa1, 0x01, 0x61, 0x78];
    let entry = Entry::parse(&bytes).unwrap();
    assert_eq!(entry, Entry::Unknown(bytes.to_vec()));
    assert_eq!(entry.to_bytes(), Ok(bytes.to_vec()));
    assert!(Entry::parse(&bytes[..5]).is_err());
    let later = {
        let mut b = header.bytes().to_vec();
        b[1] = 2;
        b
    };
    assert!(matches!(
        Header::parse(&later),
        Err(Error::TooNew { found: 2, .. })
    ));
}

#[test]
fn every_code_is_its_own() {
    for code in 0..=255 {
        assert_eq!(Intent::from_code(code).code(), code);
    }
}

#[test]
fn links_hold_place_hash_and_time_together() {
    let run = commits(chain(1, 2), Tip::START, 3, 7);
    let tip = |n: usize| run[n].header.tip();
    assert_eq!(check_link(&Tip::START, &run[0].header), Ok(()));
    assert_eq!(check_link(&tip(0), &run[1].header), Ok(()));
    let what = |tip: Tip, n: usize| check_link(&tip, &run[n].header).unwrap_err().to_string();
    assert!(what(tip(0), 2).contains("gap"));
    assert!(what(tip(1), 1).contains("gap"));
    let other = commit(chain(1, 2), Tip::START, 9).header.tip();
    assert!(what(other, 1).contains("follows another"));
    let late = Tip {
        hlc: at(99),
        ..tip(0)
    };
    assert!(what(late, 1).contains("back in time"));
    let early = CommitBuilder::new(chain(1, 2), late, at(98), Lane::P0, Intent::Edit);
    assert!(matches!(early, Err(Error::Invalid { .. })));
}

#[test]
fn limits_hold_when_writing_and_when_reading() {
    let mut builder =
        CommitBuilder::new(chain(1, 2), Tip::START, at(1), Lane::P0, Intent::Edit).unwrap();
    let refused = |r: crate::error::Result<()>| assert!(matches!(r, Err(Error::Invalid { .. })));
    let long = ChangeEntry {
        because: Some("x".repeat(BECAUSE_BYTES_MAX + 1)),
        ..change(1)
    };
    refused(builder.change(&long, &DATA_KEY));
    let many = (0..=SEEN_MAX).map(|n| {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&(n as u64).to_be_bytes());
        ChangeId(id)
    });
    refused(builder.change(
        &ChangeEntry {
            seen: Some(many.collect()),
            ..change(1)
        },
        &DATA_KEY,
    ));
    let twice = Some(vec![ChangeId([1; 32]); 2]);
    refused(builder.change(
        &ChangeEntry {
            seen: twice,
            ..change(1)
        },
        &DATA_KEY,
    ));
    let nameless = Some(ImportMark {
        source: String::new(),
        digest: [0; 16],
    });
    refused(builder.change(
        &ChangeEntry {
            source: nameless,
            ..change(1)
        },
        &DATA_KEY,
    ));
    for _ in 0..ITEMS_MAX {
        builder.item(ItemKind::PACK, b"").unwrap();
    }
    refused(builder.item(ItemKind::PACK, b""));
    for _ in ITEMS_MAX..ENTRIES_MAX {
        builder.change(&change(1), &DATA_KEY).unwrap();
    }
    refused(builder.change(&change(1), &DATA_KEY));
    assert_eq!(builder.build().unwrap().header.fields().count, 4096);
    let empty = CommitBuilder::new(chain(1, 2), Tip::START, at(1), Lane::P0, Intent::Edit).unwrap();
    assert!(matches!(empty.build(), Err(Error::Invalid { .. })));
}

#[test]
fn debug_shows_nothing_of_records_reasons_or_sources() {
    let commit = commit(chain(1, 2), Tip::START, 7);
    let entry = Entry::parse(&commit.entries[0].bytes).unwrap();
    let unknown = Entry::Unknown(CANARY.into());
    let item = Entry::Item {
        kind: ItemKind::PACK,
        bytes: CANARY.into(),
    };
    let text = format!(
        "{commit:?} {entry:?} {unknown:?} {item:?} {:?}",
        change(7).source
    );
    assert!(!text.contains("canary"), "{text}");
}

proptest! {
    #[test]
    fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _header = Header::parse(&bytes);
        let _entry = Entry::parse(&bytes);
    }

    #[test]
    fn what_parses_has_one_encoding(at in 0usize..400, byte: u8) {
        let commit = commit(chain(1, 2), Tip::START, 7);
        let mut header = commit.header.bytes().to_vec();
        let place = at % header.len();
        header[place] = byte;
        if let Ok(parsed) = Header::parse(&header) {
            prop_assert_eq!(parsed.bytes(), &header[..]);
            prop_assert_eq!(parsed.id() == commit.header.id(), header == commit.header.bytes());
        }
        let mut entry = commit.entries[0].bytes.clone();
        let place = at % entry.len();
        entry[place] = byte;
        if let Ok(parsed) = Entry::parse(&entry) {
            prop_assert_eq!(parsed.to_bytes().unwrap(), entry);
        }
    }
}
