//! Workspaces as they are handed out: vaults of members who know each other, made once per process.

use crate::crypto::{Kdf, RootKey, Suite};
use crate::env::SharedEnv;
use crate::error::{Error, Result};
use crate::ids::{AuthorKey, DeviceKey};
use crate::ledger::certificate::Role;
use crate::planted::unplanted;
use crate::store::Tuning;
use crate::store::fault::{SeededEnv, SimDisk};
use crate::testing::sim::pack::pack;
use crate::testing::sim::stick::Stick;
use crate::vault::{NewVault, SharedAnchor, Vault};
use std::sync::{Arc, OnceLock};

/// Most vaults that a world starts with.
pub(super) const MOST: usize = 6;
/// A cache so small that pages are read back while they matter.
pub(super) const TUNING: Tuning = Tuning {
    cache_bytes: 256 * 1024,
    journal_bytes: 48 * 1024,
};

/// A member's vault, closed.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) image: Arc<[u8]>,
    pub(super) device: DeviceKey,
    pub(super) author: AuthorKey,
    pub(super) roles: &'static [Role],
}

/// What people may do, in the order in which they join.
const ROLES: [&[Role]; MOST] = [
    &[
        Role::Clinician,
        Role::Pharmacist,
        Role::Reviewer,
        Role::Admin,
    ],
    &[Role::Clinician, Role::Reviewer],
    &[Role::Clinician, Role::Admin],
    &[Role::Clinician],
    &[Role::Pharmacist, Role::Reviewer],
    // Runs the computers, treats nobody.
    &[Role::Admin],
];

const NAMES: [&str; MOST] = ["Asha", "Ben", "Chidi", "Dina", "Emre", "Fola"];

/// The vaults of a workspace of `count` members; the first founded it.
pub(super) fn workspace(count: usize, suite: Suite) -> Result<&'static [Member]> {
    static MADE: [[OnceLock<Result<Vec<Member>>>; MOST + 1]; 2] =
        [const { [const { OnceLock::new() }; MOST + 1] }; 2];
    let of_suite = &MADE[usize::from(suite == Suite::XChaCha20Poly1305)];
    let made = of_suite
        .get(count)
        .ok_or(Error::invalid("a world is too large"))?;
    match made.get_or_init(|| unplanted(|| make(count, suite))) {
        Ok(members) => Ok(members),
        Err(error) => Err(error.clone()),
    }
}

fn make(count: usize, suite: Suite) -> Result<Vec<Member>> {
    let mut disks = Vec::new();
    let mut vaults: Vec<Vault> = Vec::new();
    for (no, roles) in ROLES.into_iter().enumerate().take(count) {
        let disk = SimDisk::default();
        let env = SeededEnv::shared(0x7e3f_0000 + no as u64);
        let workspace = (no == 0).then_some("Ward");
        let mut vault = create(&disk, env, no, suite, workspace)?;
        if let Some(founder) = vaults.first_mut() {
            admit(founder, &mut vault, roles)?;
        }
        disks.push(disk);
        vaults.push(vault);
    }
    let mut stick = Stick::default();
    for _ in 0..2 {
        for vault in &mut vaults {
            vault.exchange_over(&mut stick, &mut |_| {})?;
        }
    }
    let mut members = Vec::new();
    for ((vault, disk), roles) in vaults.into_iter().zip(disks).zip(ROLES) {
        let (device, author) = (vault.device_key(), vault.owner());
        // Closed first: what it writes then belongs to it.
        drop(vault);
        members.push(Member {
            image: disk.image().into(),
            device,
            author,
            roles,
        });
    }
    Ok(members)
}

/// A vault on a disk, of a workspace of its own or of none yet.
pub(super) fn create(
    disk: &SimDisk,
    env: SharedEnv,
    no: usize,
    suite: Suite,
    workspace: Option<&str>,
) -> Result<Vault> {
    let new = NewVault {
        passphrase: "unused: the root opens a simulated vault",
        suite,
        kdf: Kdf::for_tests(),
        person: NAMES[no % MOST],
        device: "tablet",
    };
    let created = Vault::create_on(disk.clone(), env, root(), &new, workspace, &pack(1)?)?;
    Ok(created.vault)
}

/// A vault becomes a member's.
pub(super) fn admit(admin: &mut Vault, vault: &mut Vault, roles: &[Role]) -> Result<()> {
    let request = vault.request()?;
    let grant = admin.admit(&request, roles)?;
    vault.join(&grant)
}

/// Opens a vault of a world, on a machine that remembers it or not.
pub(super) fn open(
    disk: &SimDisk,
    env: SharedEnv,
    suite: Suite,
    anchor: Option<SharedAnchor>,
) -> Result<Vault> {
    match anchor {
        Some(anchor) => Vault::open_anchored_on(disk.clone(), env, root(), (suite, TUNING), anchor),
        None => Vault::open_on(disk.clone(), env, root(), suite, TUNING),
    }
}

fn root() -> RootKey {
    RootKey::fill_with(|out| out.fill(5))
}
