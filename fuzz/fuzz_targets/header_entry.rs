//! Accepted bytes are the one form of what they say.

#![no_main]

use libfuzzer_sys::fuzz_target;
use medsync_core::ledger::batch::BatchHeader;
use medsync_core::ledger::commit::Header;
use medsync_core::ledger::entry::Entry;
use medsync_fuzz::encode;

fuzz_target!(|input: &[u8]| {
    if let Ok(header) = Header::parse(input) {
        let f = header.fields();
        let again = encode(|e| {
            e.array(10)?.u32(1)?.encode(f.chain.author)?;
            e.encode(f.chain.replica)?.u64(f.seq)?.encode(f.previous)?;
            e.i64(f.hlc.0)?.u8(f.lane as u8)?.u8(f.intent.code())?;
            e.u32(f.count)?.bytes(&f.root)?.ok()
        });
        assert_eq!(again, input);
        assert_eq!(header.bytes(), input);
    }
    if let Ok(batch) = BatchHeader::parse(input) {
        assert!((1..=batch.last).contains(&batch.first));
    }
    if let Ok(entry) = Entry::parse(input) {
        assert_eq!(entry.to_bytes().as_deref(), Ok(input));
    }
});
