//! The vault, as an application uses it.

use crate::{Shape, edits, records};
use medsync_core::crypto::{Kdf, Suite, Words};
use medsync_core::env::SystemEnv;
use medsync_core::error::Result;
use medsync_core::ids::RecordId;
use medsync_core::model::json::Json;
use medsync_core::store::{Tuning, Unlock};
use medsync_core::vault::{NewVault, SharedVault, Unit, Vault};
use std::path::Path;
use std::thread;

/// Page cache, the same for all.
pub(crate) const CACHE: usize = 32 << 20;

pub(crate) struct Ours {
    words: Words,
    vault: Option<SharedVault>,
}

impl Ours {
    pub(crate) fn create(dir: &Path) -> Result<Self> {
        let new = NewVault {
            passphrase: "benchmark",
            suite: Suite::default(),
            kdf: Kdf::default(),
            person: "Bench",
            device: "bench",
        };
        let pack = medsync_fhir::pack::clinical();
        let made = Vault::create(dir, SystemEnv::shared(), &new, "Bench", &pack)?;
        Ok(Self {
            words: made.recovery,
            vault: Some(made.vault.share()),
        })
    }

    pub(crate) fn opened(dir: &Path, words: &str, cache: usize) -> Result<Self> {
        let mut ours = Self {
            words: Words::parse(words)?,
            vault: None,
        };
        ours.open(dir, cache);
        Ok(ours)
    }

    pub(crate) fn words(&self) -> String {
        self.words.phrase().to_string()
    }

    pub(crate) fn open(&mut self, dir: &Path, cache: usize) {
        self.vault = None;
        let tuning = Tuning {
            cache_bytes: cache,
            ..Tuning::default()
        };
        let unlock = Unlock::Recovery(&self.words);
        let opened = Vault::open_with(&dir.join("vault"), SystemEnv::shared(), unlock, tuning);
        self.vault = Some(opened.expect("opens").share());
    }

    pub(crate) fn close(&mut self) {
        self.vault = None;
    }

    fn vault(&self) -> &SharedVault {
        self.vault.as_ref().expect("it is open")
    }

    pub(crate) fn import(&self, texts: &[String]) {
        let units = texts.iter().map(|text| {
            let (id, json) = records::parse(text);
            Unit {
                resources: vec![(0, id, json)],
                atomic: false,
            }
        });
        let report = self
            .vault()
            .with_mut(|v| v.import("bench", units, &mut |_| {}));
        let report = report.expect("imports");
        assert_eq!(
            report.imported,
            texts.len() as u64,
            "{:?}",
            report.rejected.len()
        );
    }

    pub(crate) fn edit(&self, id: &RecordId, shape: Shape, value: &str) {
        edit(self.vault(), id, shape, value);
    }

    pub(crate) fn edit_at_once(&self, picks: &[Vec<RecordId>], shape: Shape, round: usize) {
        thread::scope(|scope| {
            for (n, ids) in picks.iter().enumerate() {
                scope.spawn(move || {
                    for (op, id) in ids.iter().enumerate() {
                        let value = edits::value(shape, round * 1000 + op * 10 + n + 1);
                        edit(self.vault(), id, shape, &value);
                    }
                });
            }
        });
    }

    pub(crate) fn read(&self, id: &RecordId) -> usize {
        let view = self.vault().read(id).expect("reads").expect("it is there");
        view.json.expose().len()
    }

    pub(crate) fn find(&self, shape: Shape, value: &str) -> usize {
        let index = edits::index_name(shape);
        let found = self.vault().with(|v| v.find(index, value, 10));
        found.expect("finds").len()
    }

    pub(crate) fn compact(&self) {
        self.vault().with_mut(Vault::compact).expect("compacts");
    }

    pub(crate) fn verify(&self, rebuild: bool) {
        let report = self.vault().with_mut(|v| v.verify(rebuild, &mut |_, _| {}));
        let report = report.expect("verifies");
        assert!(report.is_sound(), "{:?}", report.problems.first());
    }
}

/// As an application does it: the record is opened as it is now, one member is set, it is committed.
/// Another thread may have got in between: then the edit does not build on what is newest, and is
/// kept all the same.
fn edit(vault: &SharedVault, id: &RecordId, shape: Shape, value: &str) {
    let mut draft = vault.draft(id).expect("reads");
    draft.set(edits::member(shape), Json::string(value));
    vault.commit(vec![draft]).expect("commits");
}
