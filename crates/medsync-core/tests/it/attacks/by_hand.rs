//! Commits that no builder makes.

use super::scene::*;
use medsync_core::ledger::commit::Header;
use medsync_core::ledger::merkle;

impl Mallory {
    /// A commit of entries as bytes, each with a change's bytes, all sealed.
    pub(crate) fn sealed(
        &mut self,
        hlc: Timestamp,
        entries: &[(Vec<u8>, Vec<u8>)],
    ) -> (Commit, WireCommit) {
        use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
        let (chain, seq) = (self.chain(), self.tip.seq + 1);
        let hash = |index: usize, bytes: &[u8]| {
            entry::leaf(
                &entry::salt(&self.data_key, &chain, seq, index as u32),
                bytes,
            )
        };
        let hashes: Vec<_> = entries
            .iter()
            .enumerate()
            .map(|(i, e)| hash(i, &e.0))
            .collect();
        let bytes = self.header(hlc, &hashes);
        let header = Header::parse(&bytes).expect("a header");
        let key = blake3::derive_key("medsync v1 sealed leaf", &self.data_key);
        let cipher = chacha20poly1305::XChaCha20Poly1305::new((&key).into());
        let leaves = entries
            .iter()
            .zip(&hashes)
            .enumerate()
            .map(|(i, ((entry, change), leaf))| {
                let mut e = minicbor::Encoder::new(Vec::new());
                e.array(2)
                    .and_then(|e| e.bytes(entry))
                    .and_then(|e| e.bytes(change))
                    .expect("encodes");
                let mut place = Vec::new();
                place.extend(chain.author.0);
                place.extend(chain.replica.0);
                place.extend(seq.to_be_bytes());
                place.extend((i as u32).to_be_bytes());
                let plain = e.into_writer();
                let nonce: [u8; 24] = env().bytes();
                let payload = Payload {
                    msg: &plain,
                    aad: &place,
                };
                let body = cipher.encrypt(&nonce.into(), payload).expect("seals");
                WireLeaf::Sealed {
                    key: KEY,
                    leaf: *leaf,
                    nonce,
                    body,
                }
            });
        let wire = WireCommit {
            header: bytes,
            leaves: leaves.collect(),
        };
        self.tip = header.tip();
        (
            Commit {
                header,
                entries: Vec::new(),
            },
            wire,
        )
    }

    /// The bytes of the next commit's header.
    pub(crate) fn header(&self, hlc: Timestamp, hashes: &[merkle::Hash]) -> Vec<u8> {
        let chain = self.chain();
        let mut e = minicbor::Encoder::new(Vec::new());
        e.array(10).and_then(|e| e.u32(1)).expect("encodes");
        e.bytes(&chain.author.0)
            .and_then(|e| e.bytes(&chain.replica.0))
            .expect("encodes");
        e.u64(self.tip.seq + 1)
            .and_then(|e| e.bytes(&self.tip.id.0))
            .and_then(|e| e.i64(hlc.0))
            .expect("encodes");
        e.u8(0)
            .and_then(|e| e.u8(0))
            .and_then(|e| e.u32(hashes.len() as u32))
            .expect("encodes");
        e.bytes(&merkle::root(hashes)).expect("encodes");
        e.into_writer()
    }

    /// A commit whose item is no entry at all.
    pub(crate) fn junk_item(&mut self) -> (Commit, WireCommit) {
        let junk = vec![0x81, 0x00];
        let hashes = [entry::leaf(&entry::NO_SALT, &junk)];
        let (chain, seq) = (self.chain(), self.tip.seq + 1);
        let mut e = minicbor::Encoder::new(Vec::new());
        e.array(10).and_then(|e| e.u32(1)).expect("encodes");
        e.bytes(&chain.author.0)
            .and_then(|e| e.bytes(&chain.replica.0))
            .expect("encodes");
        e.u64(seq)
            .and_then(|e| e.bytes(&self.tip.id.0))
            .expect("encodes");
        e.i64(self.tip.hlc.0).expect("encodes");
        e.u8(0)
            .and_then(|e| e.u8(0))
            .and_then(|e| e.u32(1))
            .expect("encodes");
        e.bytes(&merkle::root(&hashes)).expect("encodes");
        let bytes = e.into_writer();
        let header = Header::parse(&bytes).expect("a header");
        self.tip = header.tip();
        let wire = WireCommit {
            header: bytes,
            leaves: vec![WireLeaf::Item(junk)],
        };
        (
            Commit {
                header,
                entries: Vec::new(),
            },
            wire,
        )
    }
}
