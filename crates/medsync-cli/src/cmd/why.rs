//! Why a field shows what it shows.

use crate::cli::{Global, WhyField};
use crate::cmd::history::event_json;
use crate::exit::{Done, Failure, NOT_FOUND};
use crate::session;
use crate::show;
use medsync_core::error::Error;
use medsync_core::ledger::commit::Intent;
use medsync_core::model::json::Json;
use medsync_core::model::kind::{KindRules, field_of_key};
use medsync_core::model::pack::{Interim, PolicyRow, Reopen};
use medsync_core::vault::{Event, Question, Record, Vault};

pub(super) fn run(global: &Global, args: &WhyField) -> Done {
    let id = show::record_id(&args.record)?;
    let vault = session::reader(global)?;
    let record = vault.record(&id)?.ok_or(Error::NotFound("record"))?;
    let rules = vault.pack().kind(id.kind());
    let (field, element) = match args.field.split_once('/') {
        Some((field, _)) => (field, Some(args.field.as_str())),
        None => (rules.field_of(&args.field), None),
    };
    let events = vault.history(&id, Some(element.unwrap_or(field)))?;
    if events.is_empty() {
        return Err(Failure::new(
            NOT_FOUND,
            "nothing was ever written to this field",
            "medsync history shows the record's fields and elements",
        ));
    }
    let told = Told {
        shown: shown(&record, rules, field)?,
        vault: &vault,
        field,
        rules,
        events,
        questions: record
            .questions
            .iter()
            .filter(|q| element.map_or(field_of_key(&q.field) == field, |e| q.field == e))
            .collect(),
    };
    match global.json {
        true => show::json(&told.json()),
        false => told.print(),
    }
}

/// The members of a field as they are shown.
fn shown(record: &Record, rules: &KindRules, field: &str) -> Done<Json> {
    let json = show::parse(record.json.expose())?;
    let members = json.members().iter();
    let own = members.filter(|(name, _)| rules.field_of(name) == field);
    Ok(Json::object(
        own.map(|(name, value)| (name.clone(), value.clone())),
    ))
}

/// All there is to tell about a field.
struct Told<'a> {
    vault: &'a Vault,
    rules: &'a KindRules,
    field: &'a str,
    shown: Json,
    events: Vec<Event>,
    questions: Vec<&'a Question>,
}

impl Told<'_> {
    fn decision(&self) -> Option<&Event> {
        let mut latest = self.events.iter().rev();
        latest.find(|event| event.intent == Intent::Review && event.stands)
    }

    fn reason(&self) -> &str {
        self.rules
            .row(self.field)
            .map_or("", |row| row.why.as_str())
    }

    fn json(&self) -> Json {
        let events = |stands: bool| {
            let some = self.events.iter().filter(|event| event.stands == stands);
            Json::Array(some.map(with_clock).collect())
        };
        let questions = self.questions.iter().map(|q| q.id.as_str());
        show::object([
            ("candidates", events(true)),
            ("covered", events(false)),
            ("decision", self.decision().map_or(Json::Null, event_json)),
            ("escalations", show::strings(questions)),
            ("field", Json::string(self.field)),
            ("pack", Json::string(&self.vault.pack().pack().name)),
            (
                "policy",
                Json::string(&policy(self.rules.policy(self.field))),
            ),
            ("reason", Json::string(self.reason())),
            ("shown", self.shown.clone()),
        ])
    }

    fn print(&self) -> Done {
        show::line(format!("shown   {}", show::value(&self.shown)))?;
        let pack = self.vault.pack().pack();
        let policy = policy(self.rules.policy(self.field));
        show::line(format!("policy  {policy} ({} {})", pack.name, pack.version))?;
        if !self.reason().is_empty() {
            show::line(format!("        {}", self.reason()))?;
        }
        for question in &self.questions {
            let why = show::why(question);
            show::line(format!(
                "open    {why}: medsync review show {}",
                question.id
            ))?;
        }
        if let Some(event) = self.decision() {
            let by = show::by(&event.candidate);
            let when = show::local(event.candidate.time.ms());
            let because = event.because.as_ref().map_or("", |text| text.expose());
            show::line(format!("decided by {by}, {when}: {}", show::clean(because)))?;
        }
        let head = ["", "value", "author", "device", "clock", "count"];
        let mut table = show::table(&head);
        for event in &self.events {
            let candidate = &event.candidate;
            let stands = match (event.stands, candidate.confirmed) {
                (true, true) => "stands",
                (true, false) => "unconfirmed",
                (false, _) => "covered",
            };
            let value = candidate.value.as_ref();
            table.add_row([
                stands.to_owned(),
                value.map_or_else(|| "(removed)".to_owned(), |v| show::value(v.expose())),
                show::by(candidate),
                candidate.replica.short(),
                show::time(candidate.time.ms()),
                candidate.time.counter().to_string(),
            ]);
        }
        show::line("")?;
        show::print(&table, "")
    }
}

/// An event with the whole of its logical clock, which decides where the latest wins.
fn with_clock(event: &Event) -> Json {
    let mut json = event_json(event);
    json.set("clock_count", show::number(event.candidate.time.counter()));
    json
}

/// A policy in words.
pub(super) fn policy(row: &PolicyRow) -> String {
    match row {
        PolicyRow::Lww => "lww: the latest value wins, the others stay in the history".to_owned(),
        PolicyRow::Set {
            contest_edits,
            contest_retractions,
        } => {
            let mut text = "set: all items of all authors".to_owned();
            if *contest_edits {
                text.push_str("; two edits of one item are contested");
            }
            if *contest_retractions {
                text.push_str("; an edit beside a retraction is contested");
            }
            text
        }
        PolicyRow::Lattice(lattice) => {
            let terminal = lattice.terminal.join(", ");
            let reopen = match lattice.reopen {
                Reopen::Never => "never lowered again",
                Reopen::BySeen => "lowered only by someone who saw them",
            };
            format!("lattice: the highest status holds; final: {terminal}, {reopen}")
        }
        PolicyRow::Counter { floor: Some(floor) } => {
            format!("counter: the sum of all replicas, contested below {floor}")
        }
        PolicyRow::Counter { floor: None } => "counter: the sum of all replicas".to_owned(),
        PolicyRow::Escalate { interim, .. } => {
            let interim = match interim {
                Interim::LastAgreed => "what all agreed on last",
                Interim::Highest => "the highest candidate",
                Interim::MostRestrictive => "the most restrictive candidate",
                Interim::Unknown => "nothing",
                Interim::Union => "all candidates together",
            };
            format!("escalate: a person decides between different values; until then {interim}")
        }
    }
}
