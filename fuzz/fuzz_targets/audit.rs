//! An input is read as an audit proof, and as an entry, a detail and a head of a log: what is read is
//! written as what is read as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use medsync_core::ledger::audit::{AuditEvent, Detail, Head};
use medsync_core::ledger::audit_proof::AuditProof;

fuzz_target!(|input: &[u8]| {
    if let Ok(event) = AuditEvent::parse(input) {
        assert_eq!(event.to_bytes(), input);
    }
    if let Ok(detail) = Detail::parse(input) {
        assert_eq!(detail.to_bytes(), input);
    }
    if let Ok(head) = Head::parse(input) {
        assert_eq!(head.to_bytes(), input);
    }
    if let Ok(proof) = AuditProof::parse(input) {
        let heads: Vec<Head> = proof.logs.iter().flat_map(|log| log.heads.clone()).collect();
        assert_eq!(proof.verify(&heads).is_sound(), proof.verify(&[]).is_sound());
        assert_eq!(AuditProof::parse(&proof.to_bytes()), Ok(proof));
    }
});
