//! What a vault keeps beside its ledger: a record of the journal, an anchor's copies, a record of wrong
//! tries. What is read is written as what is read as the same. The first byte says which it is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use medsync_core::testing::kept::{Kept, reread};

fuzz_target!(|input: &[u8]| {
    let Some((kind, bytes)) = input.split_first() else {
        return;
    };
    let kind = match kind {
        0 => Kept::Record,
        1 => Kept::Anchor,
        2 => Kept::Tries,
        _ => return,
    };
    if let Ok(written) = reread(kind, bytes) {
        assert_eq!(reread(kind, &written), Ok(written));
    }
});
