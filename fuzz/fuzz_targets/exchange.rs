//! The files of an exchange folder, as they are and signed by their device: what is read is written
//! as what is read as the same. The first byte says which file it is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use medsync_core::vault::exchange::door::{FileKind, reread, sign};

fuzz_target!(|input: &[u8]| {
    let Some((kind, bytes)) = input.split_first() else {
        return;
    };
    let kind = match kind {
        0 => FileKind::Marks,
        1 => FileKind::Keys,
        2 => FileKind::Batches,
        3 => FileKind::Claim,
        _ => return,
    };
    let _ = reread(kind, bytes);
    if let Ok(body) = reread(kind, &sign(kind, bytes)) {
        assert_eq!(reread(kind, &sign(kind, &body)), Ok(body));
    }
});
