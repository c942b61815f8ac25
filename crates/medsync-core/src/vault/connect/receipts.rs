//! The side log of receipts: those that this device gave, chained, and those it got.

use crate::error::Result;
use crate::ids::DeviceKey;
use crate::ledger::receipt::{BatchRef, Level, Receipt, ReceiptTerms};
use crate::vault::Vault;
use crate::vault::core::{pack_row, unpack_row};
use crate::vault::rows::{self, Rows as _, kind};

const GIVEN: u8 = b'g';
const GOT: u8 = b't';

fn last_key() -> Vec<u8> {
    rows::meta("receipt")
}

/// Signs a receipt and makes it durable.
pub(super) fn sign(vault: &mut Vault, peer: DeviceKey, batches: &[BatchRef]) -> Result<Receipt> {
    let device = vault.device()?;
    let (ranges, root) = ReceiptTerms::cover(batches);
    vault.work(|work, _| {
        let last: Option<(u64, [u8; 32])> = work
            .get(&last_key())?
            .map(|row| unpack_row(&row))
            .transpose()?;
        let (number, previous) = last.unwrap_or_default();
        let now = work.env.now_ms();
        let terms = ReceiptTerms {
            workspace: work.core.workspace()?.id,
            receiver: work.core.meta.device,
            sender: peer,
            epoch: work.core.epoch.id,
            ranges: ranges.clone(),
            root,
            level: Level::Validated,
            issued: work.core.clock.tick(now),
            previous,
        };
        let receipt = Receipt::issue(&device.signing, &terms)?;
        let next = (number + 1, receipt.hash());
        let place = [&[kind::RECEIPT, GIVEN][..], &next.0.to_be_bytes()].concat();
        work.txn.put(place, receipt.bytes().to_vec());
        work.txn.put(last_key(), pack_row(&next));
        Ok(receipt)
    })
}

/// Keeps a receipt that a peer signed.
pub(super) fn keep(vault: &mut Vault, receipt: &Receipt) -> Result<()> {
    vault.work(|work, _| {
        let from = receipt.terms().receiver;
        let place = [&[kind::RECEIPT, GOT][..], &from.0, &receipt.hash()].concat();
        work.txn.put(place, receipt.bytes().to_vec());
        Ok(())
    })
}

impl Vault {
    /// The receipts that peers gave for what they hold, as they were verified when they came.
    ///
    /// # Errors
    /// [`crate::error::Error::Storage`] if the disk fails.
    pub fn receipts(&self) -> Result<Vec<Receipt>> {
        self.receipts_of(GOT)
    }

    /// The receipts that this device gave, oldest first.
    ///
    /// # Errors
    /// As [`Vault::receipts`].
    pub fn given_receipts(&self) -> Result<Vec<Receipt>> {
        self.receipts_of(GIVEN)
    }

    fn receipts_of(&self, which: u8) -> Result<Vec<Receipt>> {
        let rows = self.store.read()?.all(&[kind::RECEIPT, which])?;
        rows.iter().map(|(_, row)| Receipt::parse(row)).collect()
    }
}
