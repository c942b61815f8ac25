//! One clinic of the demo: a vault with its own, movable clock.

use crate::exit::Done;
use medsync_core::crypto::{Kdf, Suite};
use medsync_core::env::{Env, SystemEnv};
use medsync_core::ids::{CommitId, RecordId};
use medsync_core::ledger::certificate::Role;
use medsync_core::model::json::Json;
use medsync_core::store::Unlock;
use medsync_core::vault::{Draft, NewVault, Unit, Vault};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

pub(super) const PASSPHRASE: &str = "only for this demo";

/// The system's clock, moved on by as many days as the story has told.
#[derive(Debug, Default)]
pub(super) struct Calendar(AtomicI64);

impl Calendar {
    pub(super) fn next_day(&self) {
        self.0.fetch_add(24 * 3_600_000, Ordering::Relaxed);
    }
}

impl Env for Calendar {
    fn now_ms(&self) -> i64 {
        SystemEnv.now_ms() + self.0.load(Ordering::Relaxed)
    }

    fn fill(&self, buf: &mut [u8]) {
        SystemEnv.fill(buf);
    }
}

/// A clinic's workstation.
pub(super) struct Clinic {
    pub(super) name: &'static str,
    pub(super) person: &'static str,
    pub(super) dir: PathBuf,
    pub(super) vault: Vault,
    calendar: Arc<Calendar>,
}

fn new_vault<'a>(name: &'a str, person: &'a str, kdf: Kdf) -> NewVault<'a> {
    NewVault {
        passphrase: PASSPHRASE,
        suite: Suite::default(),
        kdf,
        person,
        device: name,
    }
}

impl Clinic {
    /// The clinic that founds the workspace.
    pub(super) fn found(
        root: &Path,
        calendar: &Arc<Calendar>,
        name: &'static str,
        person: &'static str,
    ) -> Done<Self> {
        let dir = root.join(name);
        let kdf = Kdf::new(19 * 1024, 2, 1)?;
        let pack = medsync_fhir::pack::clinical();
        let env = Arc::clone(calendar);
        let new = new_vault(name, person, kdf);
        let created = Vault::create(&dir, env, &new, "Three Valleys Health", &pack)?;
        let calendar = Arc::clone(calendar);
        Ok(Self {
            name,
            person,
            dir,
            vault: created.vault,
            calendar,
        })
    }

    /// A clinic that an admin of the founder admits.
    pub(super) fn join(
        founder: &mut Self,
        root: &Path,
        name: &'static str,
        person: &'static str,
        roles: &[Role],
    ) -> Done<Self> {
        let dir = root.join(name);
        let kdf = Kdf::new(19 * 1024, 2, 1)?;
        let calendar = Arc::clone(&founder.calendar);
        let env = Arc::clone(&calendar);
        let pack = medsync_fhir::pack::clinical();
        let new = new_vault(name, person, kdf);
        let mut vault = Vault::create_alone(&dir, env, &new, &pack)?.vault;
        let grant = founder.vault.admit(&vault.request()?, roles)?;
        vault.join(&grant)?;
        Ok(Self {
            name,
            person,
            dir,
            vault,
            calendar,
        })
    }

    /// Closes the vault as a power cut leaves it to others, and opens it again.
    pub(super) fn reopen(self, meanwhile: impl FnOnce(&Path) -> Done) -> Done<Self> {
        let Self {
            name,
            person,
            dir,
            vault,
            calendar,
        } = self;
        drop(vault);
        meanwhile(&dir)?;
        let env = Arc::clone(&calendar);
        let vault = Vault::open(&dir, env, Unlock::Passphrase(PASSPHRASE))?;
        Ok(Self {
            name,
            person,
            dir,
            vault,
            calendar,
        })
    }

    pub(super) fn import(&mut self, source: &str, resources: Vec<Json>) -> Done<u64> {
        let units = resources.into_iter().filter_map(|json| {
            let id = name_of(&json)?;
            Some(Unit {
                resources: vec![(0, id, json)],
                atomic: false,
            })
        });
        Ok(self.vault.import(source, units, &mut |_| {})?.imported)
    }

    pub(super) fn set(&mut self, record: &RecordId, field: &str, value: Json) -> Done<CommitId> {
        let mut draft = self.vault.draft(record)?;
        draft.set(field, value);
        self.commit(draft)
    }

    pub(super) fn commit(&mut self, draft: Draft) -> Done<CommitId> {
        let done = self.vault.commit(vec![draft])?;
        Ok(done.ok_or(medsync_core::error::Error::invalid(
            "the story's edit changed nothing",
        ))?)
    }

    /// What the clinic's screen shows at a path of a record.
    pub(super) fn shows(&self, record: &RecordId, path: &str) -> Done<String> {
        let view = self.vault.read(record)?;
        let json = view
            .map(|v| Json::parse(v.json.expose().as_bytes()))
            .transpose()?;
        let value = json.as_ref().and_then(|json| json.path(path));
        Ok(value
            .and_then(Json::as_str)
            .unwrap_or("(nothing)")
            .to_owned())
    }

    /// The first record of a kind that a test accepts.
    pub(super) fn first(&self, kind: &str, fits: impl Fn(&Json) -> bool) -> Done<RecordId> {
        let mut found = None;
        self.vault.for_each(kind, None, &mut |id, view| {
            if fits(&Json::parse(view.as_bytes())?) {
                found = Some(id.clone());
            }
            Ok(found.is_none())
        })?;
        Ok(found.ok_or(medsync_core::error::Error::NotFound("record for the story"))?)
    }
}

pub(super) fn name_of(json: &Json) -> Option<RecordId> {
    let of = |name| json.get(name).and_then(Json::as_str);
    RecordId::new(of("resourceType")?, of("id")?).ok()
}
