//! Shows one record.

use crate::cli::{Get, Global};
use crate::exit::Done;
use crate::session;
use crate::show;
use medsync_core::error::Error;
use medsync_core::model::json::Json;
use medsync_core::vault::{Question, Record};

pub(super) fn run(global: &Global, args: &Get) -> Done {
    let id = show::record_id(&args.record)?;
    let vault = session::reader(global)?;
    let record = vault.record(&id)?.ok_or(Error::NotFound("record"))?;
    let json = show::parse(record.json.expose())?;
    if global.json {
        return show::json(&as_json(&record, json));
    }
    let mut table = show::table(&["field", "value", ""]);
    for (name, value) in json.members() {
        let field = vault.pack().kind(id.kind()).field_of(name);
        let open = |q: &Question| medsync_core::model::kind::field_of_key(&q.field) == field;
        let note = if record.questions.iter().any(open) {
            "contested"
        } else {
            ""
        };
        table.add_row([name.to_string(), show::value(value), note.to_owned()]);
    }
    show::print(&table, "")?;
    for question in &record.questions {
        show::line(format!(
            "\n{} is contested: {} (question {})",
            question.field,
            show::why(question),
            question.id
        ))?;
        show::print(&show::candidates(question), "")?;
    }
    show::line(format!("\nversion {}", record.version))
}

fn as_json(record: &Record, json: Json) -> Json {
    let contested = record.questions.iter().map(question).collect();
    show::object([
        ("contested", Json::Array(contested)),
        ("record", json),
        ("version", show::version(&record.version)),
    ])
}

fn question(question: &Question) -> Json {
    let interim = question.interim.as_ref().map(|json| json.expose().clone());
    let candidates = question
        .candidates
        .iter()
        .map(show::candidate_json)
        .collect();
    show::object([
        ("candidates", Json::Array(candidates)),
        ("escalation", Json::string(&question.id)),
        ("field", Json::string(&question.field)),
        ("interim", interim.unwrap_or(Json::Null)),
        ("why", Json::string(show::why(question))),
    ])
}
