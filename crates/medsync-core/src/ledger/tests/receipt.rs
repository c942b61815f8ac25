//! Receipts: signed, chained, rebuilt from what both sides know.

use super::{at, chain, key, workspace};
use crate::ids::{BatchId, DeviceKey};
use crate::ledger::receipt::{BatchRef, Level, Receipt, ReceiptTerms};

fn batch(author: u8, first: u64, last: u64) -> BatchRef {
    BatchRef {
        chain: chain(author, 1),
        first,
        last,
        id: BatchId([u8::try_from(first).unwrap_or(0); 32]),
    }
}

fn terms(batches: &[BatchRef]) -> ReceiptTerms {
    let (ranges, root) = ReceiptTerms::cover(batches);
    ReceiptTerms {
        workspace: workspace(),
        receiver: DeviceKey(key(5).public()),
        sender: DeviceKey(key(6).public()),
        epoch: [7; 16],
        ranges,
        root,
        level: Level::Stored,
        issued: at(1_700_000_000_000),
        previous: [0; 32],
    }
}

#[test]
fn a_receipt_comes_back_from_its_terms_and_its_signature() {
    let terms = terms(&[batch(1, 1, 64), batch(1, 65, 70), batch(2, 9, 9)]);
    let receipt = Receipt::issue(&key(5), &terms).expect("a receipt");
    assert_eq!(terms.ranges[&chain(1, 1)], [(1, 70)]);
    assert_eq!(Receipt::parse(receipt.bytes()).as_ref(), Ok(&receipt));
    let again = Receipt::assemble(&terms, &receipt.signature());
    assert_eq!(again.as_ref(), Ok(&receipt));
    let other = ReceiptTerms {
        level: Level::Reviewed,
        ..terms
    };
    assert!(Receipt::assemble(&other, &receipt.signature()).is_err());
    assert!(Receipt::issue(&key(6), &other).is_err());
}

#[test]
fn the_order_of_batches_makes_no_difference() {
    let (a, b, c) = (batch(1, 1, 2), batch(1, 3, 4), batch(1, 9, 10));
    assert_eq!(
        ReceiptTerms::cover(&[a, b, c]),
        ReceiptTerms::cover(&[c, b, a, a])
    );
    assert_ne!(
        ReceiptTerms::cover(&[a, b]).1,
        ReceiptTerms::cover(&[a, c]).1
    );
}

#[test]
fn every_changed_bit_of_a_receipt_is_refused() {
    let receipt = Receipt::issue(&key(5), &terms(&[batch(1, 1, 3)])).expect("a receipt");
    for at in 0..receipt.bytes().len() * 8 {
        let mut bad = receipt.bytes().to_vec();
        bad[at / 8] ^= 1 << (at % 8);
        assert!(Receipt::parse(&bad).is_err(), "bit {at}");
    }
}

/// Receipts are kept for years and judged by strangers: these bytes are for ever.
#[test]
fn the_form_of_a_receipt_never_changes() {
    let receipt = Receipt::issue(&key(5), &terms(&[batch(1, 1, 3)])).expect("a receipt");
    assert_eq!(crate::ids::hex(&receipt.hash()), GOLDEN);
}

const GOLDEN: &str = "692ce07cbbeb2443ac3d7623d727549856a1a9448f4a88a18fad4c56c2f8f244";
