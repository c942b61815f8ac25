//! One device: its disk, its clock, its vault, and what its person has on the screen.

use crate::crypto::Suite;
use crate::error::{Error, Result};
use crate::ids::{AuthorKey, DeviceKey, RecordId, ReplicaId};
use crate::ledger::certificate::Role;
use crate::store::fault::{Rng, SeededEnv, SimDisk};
use crate::testing::sim::anchor::Memory;
use crate::testing::sim::model::Numbers;
use crate::testing::sim::template::{self, Member};
use crate::vault::{Anchored, Question, SharedAnchor, Vault, Version};
use std::sync::Arc;

const DAY_MS: i64 = 24 * 3_600_000;

/// A form or a question as somebody saw it.
pub(super) struct Held<T> {
    pub(super) what: T,
    pub(super) seen: Numbers,
}

/// A device and its person.
pub(super) struct Replica {
    pub(super) device: DeviceKey,
    pub(super) author: AuthorKey,
    pub(super) roles: Vec<Role>,
    pub(super) hostile: bool,
    /// Some admin revoked the device, or admitted it while being revoked.
    pub(super) doubtful: bool,
    pub(super) env: Arc<SeededEnv>,
    pub(super) disk: SimDisk,
    pub(super) vault: Option<Vault>,
    pub(super) form: Option<Held<(RecordId, Version)>>,
    pub(super) question: Option<Held<Question>>,
    pub(super) backups: Vec<Arc<[u8]>>,
    /// The commits that it held when it was last looked at.
    pub(super) held: Numbers,
    /// The commits over several records that it was seen to show whole.
    pub(super) whole: Numbers,
    /// It went back in time under this name, which it must not keep.
    pub(super) restored: Option<ReplicaId>,
    /// How far its clock ever was ahead of the others.
    pub(super) ahead_days: i64,
    days: i64,
    suite: Suite,
    /// What its machine remembers of the vault.
    pub(super) anchor: Option<Arc<Memory>>,
    /// It ever was restored or copied: its chains may have forked.
    pub(super) forked: bool,
    /// The machine noticed that the disk went back.
    pub(super) noticed: bool,
}

impl Replica {
    /// A member's device as it is handed out.
    pub(super) fn new(member: &Member, seed: u64, suite: Suite) -> Self {
        let disk = SimDisk::from_image(member.image.to_vec());
        Self::over(
            disk,
            (member.device, member.author),
            member.roles,
            seed,
            suite,
        )
    }

    /// A device with a disk.
    pub(super) fn over(
        disk: SimDisk,
        (device, author): (DeviceKey, AuthorKey),
        roles: &[Role],
        seed: u64,
        suite: Suite,
    ) -> Self {
        Self {
            device,
            author,
            roles: roles.to_vec(),
            hostile: false,
            doubtful: false,
            env: Arc::new(SeededEnv::new(seed)),
            disk,
            vault: None,
            form: None,
            question: None,
            backups: Vec::new(),
            held: Numbers::new(),
            whole: Numbers::new(),
            restored: None,
            ahead_days: 0,
            days: 0,
            suite,
            anchor: None,
            forked: false,
            noticed: false,
        }
    }

    /// The open vault.
    pub(super) fn vault(&mut self) -> Result<&mut Vault> {
        self.vault.as_mut().ok_or(Error::Locked("the vault"))
    }

    /// Opens the vault anew.
    pub(super) fn open(&mut self) -> Result<()> {
        self.vault = None;
        let env = Arc::clone(&self.env);
        let anchor = self.anchor.clone().map(|memory| memory as SharedAnchor);
        let vault = template::open(&self.disk, env, self.suite, anchor)?;
        self.noticed |= !matches!(vault.anchored(), Anchored::Held | Anchored::Unwatched);
        self.vault = Some(vault);
        Ok(())
    }

    /// It gets a disk from elsewhere or from another time.
    pub(super) fn replace_disk(&mut self, image: Vec<u8>) -> Result<()> {
        self.vault = None;
        self.disk = SimDisk::from_image(image);
        (self.form, self.question) = (None, None);
        (self.forked, self.noticed) = (true, false);
        self.whole.clear();
        self.open()
    }

    /// Moves the clock.
    pub(super) fn jump(&mut self, days: i64) {
        // Ten years either way and no further.
        let days = days.clamp(-3650 - self.days, 3650 - self.days);
        self.days += days;
        self.ahead_days = self.ahead_days.max(self.days);
        self.env.advance_ms(days * DAY_MS);
    }

    /// The power went; now and then it goes again while the vault recovers.
    pub(super) fn lose_power(&mut self, rng: &mut Rng) -> Result<()> {
        self.vault = None;
        self.disk = self.disk.after_power_loss(rng);
        if let Some(anchor) = &self.anchor {
            anchor.lose_power(rng);
        }
        while rng.one_in(4) {
            self.disk.cut_at(1 + rng.below(12));
            if self.open().is_ok() {
                self.vault = None;
            }
            self.disk = self.disk.after_power_loss(rng);
        }
        (self.form, self.question) = (None, None);
        self.open()
    }

    /// The process died, the power stayed.
    pub(super) fn restart(&mut self) -> Result<()> {
        self.vault = None;
        self.disk = self.disk.after_process_death();
        (self.form, self.question) = (None, None);
        self.open()
    }
}
