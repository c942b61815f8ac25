//! What people do with records: edits, forms, imports, questions.

use crate::error::{Error, Result};
use crate::ids::RecordId;
use crate::model::json::Json;
use crate::testing::sim::model::{CANARY, Numbers, in_view};
use crate::testing::sim::pack::{STATUSES, patient};
use crate::testing::sim::replica::Held;
use crate::testing::sim::step::Change;
use crate::testing::sim::world::{Fine, World};
use crate::vault::{Decision, Draft, Unit, Vault, Version};
use std::collections::BTreeMap;

/// Writes a change into a draft. `reason` differs for each commit, so its values do.
fn fill(draft: &mut Draft, change: Change, json: &Json, reason: &str) {
    let record = draft.record().clone();
    let text = || Json::string(reason);
    let code = match record.kind() {
        "Patient" => "gender",
        "Med" => "amount",
        _ => "code",
    };
    draft.because(reason);
    let is_new = draft.version().0.is_empty();
    if let Some((field, patient)) = patient(&record).filter(|_| is_new) {
        draft.set(field, Json::object([("reference", Json::string(patient))]));
    }
    let medicine = record.kind() == "Med";
    match change {
        Change::Code if medicine => {
            draft.set("amount", text());
            draft.set("unit", text());
        }
        Change::Code => drop(draft.set(code, text())),
        Change::NoCode => drop(draft.remove(code)),
        Change::NoNote => drop(draft.remove("note")),
        Change::Tag => drop(draft.add("tag", text())),
        Change::NoTag if json.get("tag").is_some() => drop(draft.remove("tag")),
        Change::Status(no) if medicine => {
            let status = STATUSES[usize::from(no) % STATUSES.len()];
            draft.set("status", Json::string(status));
        }
        Change::NoStatus if medicine => drop(draft.remove("status")),
        Change::Count(n) if medicine => drop(draft.count("stock", i64::from(n))),
        _ => drop(draft.set("note", text())),
    }
}

/// What a record shows now; an empty object where there is none.
fn shown(vault: &Vault, record: &RecordId) -> Result<Json> {
    match vault.read(record)? {
        Some(view) => Json::parse(view.json.expose().as_bytes()),
        None => Ok(Json::Object(Vec::new())),
    }
}

impl World {
    /// Which commits a device's person has in view.
    pub(super) fn seen(&mut self, who: usize, record: &RecordId) -> Fine<Numbers> {
        let vault = self.replicas[who].vault().map_err(|e| e.to_string())?;
        in_view(vault, record).map_err(|e| format!("replica {who}, a history: {e}"))
    }

    pub(super) fn edit(&mut self, who: u8, record: u8, change: Change, cut: u8) -> Fine {
        let Some(who) = self.who(who) else {
            return Ok(());
        };
        let record = self.record(record)?;
        let parts = BTreeMap::from([(record.clone(), self.seen(who, &record)?)]);
        self.commit(who, cut, "an edit", parts, |vault, reason| {
            let mut draft = vault.draft(&record)?;
            fill(&mut draft, change, &shown(vault, &record)?, reason);
            Ok(vault.commit(vec![draft])?.is_some())
        })
    }

    pub(super) fn several(&mut self, who: u8, first: u8, count: u8, cut: u8) -> Fine {
        let Some(who) = self.who(who) else {
            return Ok(());
        };
        let mut parts = BTreeMap::new();
        for no in 0..2 + count % 2 {
            let record = self.record(first.wrapping_add(no))?;
            let seen = self.seen(who, &record)?;
            parts.insert(record, seen);
        }
        let records: Vec<RecordId> = parts.keys().cloned().collect();
        self.commit(who, cut, "an edit of several", parts, |vault, reason| {
            let mut drafts = Vec::new();
            for record in &records {
                let mut draft = vault.draft(record)?;
                let change = if drafts.is_empty() {
                    Change::Code
                } else {
                    Change::Note
                };
                fill(&mut draft, change, &shown(vault, record)?, reason);
                drafts.push(draft);
            }
            Ok(vault.commit(drafts)?.is_some())
        })
    }

    pub(super) fn import(&mut self, who: u8, salt: u8, cut: u8) -> Fine {
        let Some(who) = self.who(who) else {
            return Ok(());
        };
        let record: RecordId = "Obs/o0".parse().map_err(|e: Error| e.to_string())?;
        let text = |text: &str| Json::string(&format!("{text} {} {CANARY}", salt % 4));
        let subject = Json::object([("reference", Json::string("Patient/p0"))]);
        let json = Json::object([
            ("resourceType", Json::string("Obs")),
            ("id", Json::string("o0")),
            ("subject", subject),
            ("note", text("brought")),
            ("code", text("coded")),
        ]);
        let unit = Unit {
            resources: vec![(0, record, json)],
            atomic: false,
        };
        let done = self.act(who, cut, "an import", |vault| {
            vault.import("lab", std::iter::once(unit), &mut |_| {})
        })?;
        match done {
            Some(Ok(report)) => match report.rejected.first() {
                Some((_, error)) => Err(format!("an import was rejected: {error}")),
                None => Ok(()),
            },
            Some(Err(error)) => Err(format!("an import: {error}")),
            None => Ok(()),
        }
    }

    pub(super) fn open_form(&mut self, who: u8, record: u8) -> Fine {
        let Some(who) = self.who(who) else {
            return Ok(());
        };
        let record = self.record(record)?;
        let seen = self.seen(who, &record)?;
        let done = self.act(who, 0, "opening a form", |vault| vault.draft(&record))?;
        if let Some(Ok(draft)) = done {
            let what = (record, draft.version().clone());
            self.replicas[who].form = Some(Held { what, seen });
        }
        Ok(())
    }

    pub(super) fn save_form(&mut self, who: u8, change: Change, cut: u8) -> Fine {
        let Some(who) = self.who(who) else {
            return Ok(());
        };
        let Some(form) = self.replicas[who].form.take() else {
            return Ok(());
        };
        let (record, version): (RecordId, Version) = form.what;
        let parts = BTreeMap::from([(record.clone(), form.seen)]);
        self.commit(who, cut, "saving a form", parts, |vault, reason| {
            let mut draft = Draft::new(record.clone(), version);
            fill(&mut draft, change, &Json::Object(Vec::new()), reason);
            Ok(vault.commit(vec![draft])?.is_some())
        })
    }

    pub(super) fn ask(&mut self, who: u8, pick: u8) -> Fine {
        let Some(who) = self.who(who) else {
            return Ok(());
        };
        let done = self.act(who, 0, "asking", |vault| vault.escalations())?;
        let Some(Ok(questions)) = done else {
            return Err("open questions cannot be read".to_owned());
        };
        let count = questions.len().max(1);
        let Some(question) = questions.into_iter().nth(usize::from(pick) % count) else {
            return Ok(());
        };
        let seen = self.seen(who, &question.record)?;
        self.replicas[who].question = Some(Held {
            what: question,
            seen,
        });
        Ok(())
    }

    pub(super) fn decide(&mut self, who: u8, how: u8, cut: u8) -> Fine {
        let Some(who) = self.who(who) else {
            return Ok(());
        };
        let Some(question) = self.replicas[who].question.take() else {
            return Ok(());
        };
        let (question, seen) = (question.what, question.seen);
        let count = question.candidates.len().max(1);
        let parts = BTreeMap::from([(question.record.clone(), seen)]);
        self.commit(who, cut, "a decision", parts, |vault, reason| {
            let decision = match how % 4 {
                0 => Decision::Remove,
                1 if question.field == "dose" => {
                    let both = ["amount", "unit"].map(|name| (name, Json::string(reason)));
                    Decision::Replace(Json::object(both))
                }
                1 if question.field != "status" && question.field != "stock" => {
                    Decision::Replace(Json::string(reason))
                }
                _ => Decision::Keep(usize::from(how / 4) % count),
            };
            vault.resolve(question, decision, reason).map(|_| true)
        })
    }
}
