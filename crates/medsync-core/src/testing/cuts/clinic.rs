//! What a clinic does in a day, and what its vault must show after each step of it.

use crate::error::{Error, Result};
use crate::ids::RecordId;
use crate::ledger::certificate::Role;
use crate::model::json::Json;
use crate::model::pack::PolicyPack;
use crate::testing::cuts::folder::MemoryFolder;
use crate::vault::{Decision, Draft, Unit, Vault, Version};
use std::collections::BTreeMap;

/// Resources that an import puts into one commit.
const IMPORT_COMMIT: usize = 32;

/// The pack of the clinic, in a version.
pub(super) fn pack(version: u32) -> Result<PolicyPack> {
    let text = format!(
        r#"{{"format": 1, "name": "cuts", "version": {version}, "kinds": {{
            "Patient": {{"patient": "self", "fields": {{
                "gender": {{"policy": {{"escalate": {{}}}}}},
                "note": {{"policy": "lww"}},
                "text": {{"policy": "lww"}},
                "tag": {{"policy": {{"set": {{}}}}, "list": {{}}}}}}}},
            "Observation": {{"patient": "subject", "fields": {{
                "subject": {{"policy": "lww"}},
                "gender": {{"policy": {{"escalate": {{}}}}}},
                "note": {{"policy": "lww"}},
                "text": {{"policy": "lww"}},
                "tag": {{"policy": {{"set": {{}}}}, "list": {{}}}}}}}}}}}}"#
    );
    PolicyPack::from_json(text.as_bytes())
}

/// A record as it comes from elsewhere.
pub(super) fn resource(id: &RecordId, patient: &str, text: &str) -> Json {
    let mut json = Json::object([
        ("resourceType", Json::string(id.kind())),
        ("id", Json::string(id.id())),
        ("gender", Json::string("unknown")),
        ("note", Json::string("as imported")),
        ("text", Json::string(text)),
    ]);
    if id.kind() == "Observation" {
        let reference = Json::string(&format!("Patient/{patient}"));
        json.set("subject", Json::object([("reference", reference)]));
    }
    json
}

/// What a vault shows, or must show.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Model {
    /// Each record, and whether it has open questions.
    pub(super) records: BTreeMap<RecordId, (Json, bool)>,
    pub(super) commits: u64,
    /// Commits without a signature.
    pub(super) unsealed: u64,
}

impl Model {
    /// What an open vault shows.
    pub(super) fn of(vault: &Vault) -> Result<Self> {
        let mut records = BTreeMap::new();
        vault.for_each("", None, &mut |id, text| {
            records.insert(id.clone(), (Json::parse(text.as_bytes())?, false));
            Ok(true)
        })?;
        for question in vault.escalations()? {
            if let Some(record) = records.get_mut(&question.record) {
                record.1 = true;
            }
        }
        let status = vault.status()?;
        if status.pending + status.quarantine + status.equivocations > 0 {
            return Err(Error::integrity("commits wait or contradict themselves"));
        }
        Ok(Self {
            records,
            commits: status.commits,
            unsealed: status.unsealed.iter().map(|(_, _, n)| n).sum(),
        })
    }

    /// In which way another one differs; never what the records say.
    pub(super) fn difference(&self, found: &Self) -> String {
        let lost = self
            .records
            .keys()
            .filter(|id| !found.records.contains_key(*id));
        let other = self.records.iter();
        let other = other.filter(|(id, r)| found.records.get(*id).is_some_and(|f| f != *r));
        format!(
            "{} records missing, {} different, {} of {} records, {} of {} commits, \
             {} of {} unsealed",
            lost.count(),
            other.count(),
            found.records.len(),
            self.records.len(),
            found.commits,
            self.commits,
            found.unsealed,
            self.unsealed
        )
    }

    fn committed(mut self, commits: u64) -> Self {
        self.commits += commits;
        self.unsealed += commits;
        self
    }

    fn edit(&mut self, record: &RecordId, write: impl FnOnce(&mut Json)) {
        if let Some((json, _)) = self.records.get_mut(record) {
            write(json);
        }
    }

    fn contest(&mut self, record: &RecordId, contested: bool) {
        if let Some(known) = self.records.get_mut(record) {
            known.1 = contested;
        }
    }
}

/// What a commit does to one record.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Note(String),
    Gender(&'static str),
    Tag(String),
    /// Retracts every tag.
    Untag,
    /// The record is new.
    New(Json),
}

impl Change {
    fn draft(&self, draft: &mut Draft) {
        match self {
            Self::Note(text) => draft.set("note", Json::string(text)),
            Self::Gender(code) => draft.set("gender", Json::string(code)),
            Self::Tag(text) => draft.add("tag", Json::string(text)),
            Self::Untag => draft.because("entered on the wrong chart").remove("tag"),
            Self::New(json) => draft.replace(json.clone()),
        };
    }

    fn apply(&self, model: &mut Model, record: &RecordId) {
        match self {
            Self::Note(text) => model.edit(record, |json| json.set("note", Json::string(text))),
            Self::Gender(code) => model.edit(record, |json| json.set("gender", Json::string(code))),
            Self::Tag(text) => model.edit(record, |json| {
                let mut tags = json.get("tag").map_or(&[][..], Json::items).to_vec();
                tags.push(Json::string(text));
                json.set("tag", Json::Array(tags));
            }),
            Self::Untag => model.edit(record, |json| {
                json.remove("tag");
            }),
            Self::New(json) => {
                model.records.insert(record.clone(), (json.clone(), false));
            }
        }
    }
}

/// One piece of work, which may have to be done again after a cut.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Everything a source has.
    Import(Vec<(RecordId, Json)>),
    /// Some of what the same source brought has another text.
    Reimport(Vec<(RecordId, Json)>),
    /// One commit.
    Edit(Vec<(RecordId, Change)>),
    /// A form that was opened before somebody else's edit is saved: now a person has to decide.
    Stale(RecordId, Version),
    /// A person decides for the first or the second candidate.
    Review(RecordId, usize),
    Seal,
    Pack(u32),
    /// Every derived row is made again.
    Rebuild,
    /// Another device asks to join.
    Admit(String),
    /// Another device brings these records.
    Exchange(MemoryFolder, BTreeMap<RecordId, (Json, bool)>, u64),
}

/// What the two sides of a contest say.
pub(super) const SIDES: [&str; 2] = ["male", "other"];

impl Step {
    /// What a finding calls it.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Import(_) => "an import",
            Self::Reimport(_) => "a second import",
            Self::Edit(_) => "an edit",
            Self::Stale(..) => "a stale edit",
            Self::Review(..) => "a review",
            Self::Seal => "sealing",
            Self::Pack(_) => "a new pack",
            Self::Rebuild => "rebuilding",
            Self::Admit(_) => "admitting",
            Self::Exchange(..) => "an exchange",
        }
    }

    /// Does it.
    pub(super) fn perform(&self, vault: &mut Vault) -> Result<()> {
        match self {
            Self::Import(all) | Self::Reimport(all) => {
                let unit = |(tag, (id, json)): (u64, &(RecordId, Json))| Unit {
                    resources: vec![(tag, id.clone(), json.clone())],
                    atomic: false,
                };
                let units = (0..).zip(all).map(unit);
                let report = vault.import("lab", units, &mut |_| {})?;
                match report.rejected.into_iter().next() {
                    Some((_, error)) => Err(error),
                    None => Ok(()),
                }
            }
            Self::Edit(changes) => {
                let mut drafts = Vec::with_capacity(changes.len());
                for (record, change) in changes {
                    let mut draft = vault.draft(record)?;
                    change.draft(&mut draft);
                    drafts.push(draft);
                }
                let made = vault.commit(drafts)?;
                made.map(drop).ok_or(Error::invalid("an edit did nothing"))
            }
            Self::Stale(record, seen) => {
                let write = |draft: &mut Draft| Change::Gender(SIDES[1]).draft(draft);
                let made = vault.edit(record, seen.clone(), write)?;
                made.map(drop).ok_or(Error::invalid("an edit did nothing"))
            }
            Self::Review(record, keep) => {
                let mut open = vault.escalations()?.into_iter();
                let question = open.find(|q| q.record == *record);
                let question = question.ok_or(Error::NotFound("question"))?;
                let decision = Decision::Keep(*keep);
                vault
                    .resolve(question, decision, "asked the patient")
                    .map(drop)
            }
            Self::Seal => vault.seal().map(drop),
            Self::Pack(version) => vault.install_pack(&pack(*version)?),
            Self::Rebuild => {
                let report = vault.verify(true, &mut |_, _| {})?;
                if report.is_sound() {
                    return Ok(());
                }
                Err(Error::integrity("the derived rows came out different"))
            }
            Self::Admit(request) => vault.admit(request, &[Role::Clinician]).map(drop),
            Self::Exchange(folder, ..) => {
                let mut folder = folder.clone();
                let report = vault.exchange_over(&mut folder, &mut |_| {})?;
                if report.problems.is_empty() {
                    return Ok(());
                }
                Err(Error::integrity("an exchanged file has a problem"))
            }
        }
    }

    /// The same step over a copy of its stick.
    pub(super) fn afresh(&self) -> Self {
        let mut step = self.clone();
        if let Self::Exchange(folder, ..) = &mut step {
            *folder = folder.copy();
        }
        step
    }

    /// What the vault may show after each of its commits: the last is what it shows when all is
    /// done.
    pub(super) fn states(&self, before: &Model) -> Vec<Model> {
        let mut after = before.clone();
        let done = match self {
            Self::Import(all) => {
                let new = all
                    .iter()
                    .map(|(id, json)| (id.clone(), (json.clone(), false)));
                after.records.extend(new);
                after.committed(all.len().div_ceil(IMPORT_COMMIT) as u64)
            }
            Self::Reimport(all) => {
                let mut commits = 0;
                for group in all.chunks(IMPORT_COMMIT) {
                    let mut any = false;
                    for (id, json) in group {
                        let Some(text) = json.get("text") else {
                            continue;
                        };
                        after.edit(id, |known| {
                            any |= known.get("text") != Some(text);
                            known.set("text", text.clone());
                        });
                    }
                    commits += u64::from(any);
                }
                after.committed(commits)
            }
            Self::Edit(changes) => {
                for (record, change) in changes {
                    change.apply(&mut after, record);
                }
                after.committed(1)
            }
            Self::Stale(record, _) => {
                // Shown until then: what all had seen.
                after.edit(record, |json| json.set("gender", Json::string("unknown")));
                after.contest(record, true);
                after.committed(1)
            }
            Self::Review(record, keep) => {
                after.edit(record, |json| {
                    json.set("gender", Json::string(SIDES[*keep]))
                });
                after.contest(record, false);
                after.committed(1)
            }
            Self::Pack(_) | Self::Admit(_) => after.committed(1),
            Self::Rebuild => after,
            Self::Seal => {
                after.unsealed = 0;
                after
            }
            Self::Exchange(_, brought, commits) => {
                // It may have been taken up before a cut, and not sealed or left.
                if !brought.keys().all(|id| before.records.contains_key(id)) {
                    after.commits += commits;
                }
                after.records.extend(brought.clone());
                let taken_up = after.clone();
                after.unsealed = 0;
                return vec![taken_up, after];
            }
        };
        vec![done]
    }
}
