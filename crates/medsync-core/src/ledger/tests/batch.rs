use super::*;
use crate::error::Error;
use crate::ledger::batch::{BATCH_ENTRIES_MAX, BatchHeader, seal};

#[test]
fn one_signature_covers_a_run() {
    let run = headers(&commits(chain(1, 2), Tip::START, 5, 7));
    let signed = seal(&key(1), workspace(), &run[1..]).unwrap();
    let verified = signed.verify(run[1..].to_vec()).unwrap();
    assert_eq!(verified.headers(), &run[1..]);
    assert_eq!(verified.previous(), run[0].id());
    let batch = verified.batch();
    assert_eq!(
        (batch.first, batch.last, batch.last_id),
        (2, 5, run[4].id())
    );
    assert_eq!(batch.workspace, workspace());
}

#[test]
fn only_the_author_seals_and_only_a_run() {
    let run = headers(&commits(chain(1, 2), Tip::START, 3, 7));
    let refused = |key: u8, headers: &[Header]| {
        let sealed = seal(&super::key(key), workspace(), headers);
        assert!(matches!(sealed, Err(Error::Invalid { .. })), "{sealed:?}");
    };
    refused(9, &run);
    refused(1, &[]);
    refused(1, &[run[0].clone(), run[2].clone()]);
    refused(1, &[run[1].clone(), run[0].clone()]);
    let other = commit(chain(1, 3), Tip::START, 7).header;
    refused(1, &[other, run[1].clone()]);
}

#[test]
fn a_run_that_differs_from_its_seal_is_refused() {
    let run = headers(&commits(chain(1, 2), Tip::START, 4, 7));
    let forged = headers(&commits(chain(1, 2), Tip::START, 4, 8));
    let signed = seal(&key(1), workspace(), &run).unwrap();
    let refused = |headers: Vec<Header>| {
        let verified = signed.verify(headers);
        assert!(
            matches!(verified, Err(Error::Integrity { .. })),
            "{verified:?}"
        );
    };
    refused(vec![]);
    refused(run[..3].to_vec());
    refused(run[1..].to_vec());
    refused(forged.clone());
    for n in 0..4 {
        let mut one = run.clone();
        one[n] = forged[n].clone();
        refused(one);
        let mut swapped = run.clone();
        swapped.swap(n, (n + 1) % 4);
        refused(swapped);
    }
}

#[test]
fn every_flipped_byte_of_a_signed_header_is_refused() {
    let run = headers(&commits(chain(1, 2), Tip::START, 2, 7));
    let signed = seal(&key(1), workspace(), &run).unwrap();
    for at in 0..signed.header.len() {
        let mut bad = signed.clone();
        bad.header[at] ^= 1;
        assert!(bad.verify(run.clone()).is_err(), "header byte {at}");
    }
    for at in 0..64 {
        let mut bad = signed.clone();
        bad.signature[at] ^= 1;
        assert!(bad.verify(run.clone()).is_err(), "signature byte {at}");
    }
}

#[test]
fn the_bytes_of_batch_headers_never_change() {
    let run = headers(&commits(chain(1, 2), Tip::START, 2, 7));
    let signed = seal(&key(1), workspace(), &run).unwrap();
    assert_eq!(
        crate::ids::hex(&signed.header),
        include_str!("golden/batch.hex").trim()
    );
    assert_eq!(
        crate::ids::hex(&signed.signature),
        include_str!("golden/batch_signature.hex").trim()
    );
    assert!(BatchHeader::parse(&signed.header).is_ok());
}

#[test]
fn a_batch_with_more_entries_than_memory_should_bear_is_refused() {
    let mut tip = Tip::START;
    let run: Vec<Header> = (0..=BATCH_ENTRIES_MAX / 4096)
        .map(|_| {
            let mut b =
                CommitBuilder::new(chain(1, 2), tip, at(1), Lane::P3, Intent::Edit).unwrap();
            (0..4096).for_each(|_| b.change(&change(1), &DATA_KEY).unwrap());
            let header = b.build().unwrap().header;
            tip = header.tip();
            header
        })
        .collect();
    assert!(seal(&key(1), workspace(), &run).is_err());
    assert!(seal(&key(1), workspace(), &run[1..]).is_ok());
}
