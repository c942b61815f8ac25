//! What parses is written as what parses to the same. An input is verified as it is, signed anew,
//! and with headers made to fit its leaves; of a batch that verifies every leaf is opened.

#![no_main]

use libfuzzer_sys::fuzz_target;
use medsync_core::ledger::wire::{SealedBatch, VerifiedBatch};
use medsync_fuzz::batch::{DATA_KEY, refit, sign};

fuzz_target!(|input: &[u8]| {
    let Ok(batch) = SealedBatch::parse(input) else {
        return;
    };
    let bytes = batch.to_bytes().expect("no longer than the input");
    assert_eq!(SealedBatch::parse(&bytes).as_ref(), Ok(&batch));
    for candidate in [batch.clone(), sign(batch.clone()), refit(batch)] {
        let whole = candidate.clone();
        if let Ok(verified) = candidate.verify() {
            assert_eq!(verified.run().signed(), &whole.signed);
            open(&verified);
        }
    }
});

fn open(verified: &VerifiedBatch) {
    for (at, (header, leaves)) in verified.commits().enumerate() {
        assert_eq!(header.fields().count as usize, leaves.len());
        for index in 0..header.fields().count {
            if let Ok(Some(entry)) = verified.item(at, index) {
                let bytes = entry
                    .to_bytes()
                    .expect("what was read is within the limits");
                assert_eq!(
                    leaves[index as usize],
                    medsync_core::ledger::wire::WireLeaf::Item(bytes)
                );
            }
            if let Ok(opened) = verified.open(at, index, &DATA_KEY) {
                assert_eq!(opened.entry.to_bytes().as_ref(), Ok(&opened.entry_bytes));
            }
        }
    }
}
