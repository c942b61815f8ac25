//! Deciding what only a person may decide.

use crate::cli::{Choice, Global, Resolve, Review};
use crate::cmd::edit;
use crate::exit::{Done, Failure};
use crate::session;
use crate::show;
use medsync_core::error::Error;
use medsync_core::model::json::Json;
use medsync_core::vault::finding::Finding;
use medsync_core::vault::{Decision, Question, Vault};

/// Findings that are listed.
const FINDINGS_MAX: usize = 1000;

pub(super) fn run(global: &Global, command: &Review) -> Done {
    match command {
        Review::List => list(global, &session::reader(global)?),
        Review::Findings => list_findings(global, &session::reader(global)?),
        Review::Show { id } => show_one(global, &session::reader(global)?, id),
        Review::Resolve(args) => resolve(global, args),
    }
}

fn age_s(question: &Question) -> i64 {
    (session::env().now_ms() - question.since.ms()).max(0) / 1000
}

fn question_json(question: &Question) -> Json {
    let interim = question.interim.as_ref().map(|json| json.expose().clone());
    let candidates = question
        .candidates
        .iter()
        .map(show::candidate_json)
        .collect();
    let beside = question.beside.iter().map(|(field, change)| {
        let mut json = show::candidate_json(change);
        json.set("field", Json::string(field));
        json
    });
    show::object([
        ("age_s", show::number(age_s(question))),
        ("beside", Json::Array(beside.collect())),
        ("candidates", Json::Array(candidates)),
        ("due", Json::string(&show::time(question.due_ms()))),
        ("field", Json::string(&question.field)),
        ("id", Json::string(&question.id)),
        ("interim", interim.unwrap_or(Json::Null)),
        ("record", Json::string(question.record.as_str())),
        ("risk", Json::string(show::risk(question.risk))),
        ("version", show::version(&question.version)),
        ("why", Json::string(show::why(question))),
    ])
}

/// A finding has no candidates: it settles when the records it names do.
fn finding_json(finding: &Finding) -> Json {
    show::object([
        ("id", Json::string(&finding.id)),
        ("records", show::strings(&finding.records)),
        ("risk", Json::string(show::risk(finding.risk))),
        ("rule", Json::string(&finding.rule)),
        ("why", Json::string(&finding.why)),
    ])
}

fn list(global: &Global, vault: &Vault) -> Done {
    let questions = vault.escalations()?;
    if global.json {
        return show::json(&Json::Array(questions.iter().map(question_json).collect()));
    }
    let now = session::env().now_ms();
    let mut table = show::table(&[
        "question", "risk", "age", "due", "record", "field", "values",
    ]);
    for question in &questions {
        let left_s = (question.due_ms() - now) / 1000;
        let due = match left_s {
            s if s < 0 => format!("{} ago", show::span(-s)),
            s => format!("in {}", show::span(s)),
        };
        table.add_row(vec![
            comfy_table::Cell::new(&question.id),
            show::risk_cell(question.risk),
            comfy_table::Cell::new(show::span(age_s(question))),
            comfy_table::Cell::new(due),
            comfy_table::Cell::new(show::clean(question.record.as_str())),
            comfy_table::Cell::new(show::clean(&question.field)),
            comfy_table::Cell::new(question.candidates.len()),
        ]);
    }
    // Broken over lines nobody could copy a record's name.
    if let Some(records) = table.column_mut(4) {
        records.set_constraint(comfy_table::ColumnConstraint::ContentWidth);
    }
    show::print(&table, "No question is open.")?;
    match vault.findings(FINDINGS_MAX)?.len() {
        0 => Ok(()),
        n => show::line(format!(
            "\n{} of records that disagree: medsync review findings",
            show::count(n as u64, "finding", "findings")
        )),
    }
}

/// Records that disagree by the pack's rules. They settle when the records do.
fn list_findings(global: &Global, vault: &Vault) -> Done {
    let findings = vault.findings(FINDINGS_MAX)?;
    if global.json {
        return show::json(&Json::Array(findings.iter().map(finding_json).collect()));
    }
    let mut table = show::table(&["finding", "risk", "rule", "records", "why"]);
    for finding in &findings {
        let some: Vec<String> = finding
            .records
            .iter()
            .take(4)
            .map(ToString::to_string)
            .collect();
        let more = finding.records.len().saturating_sub(some.len());
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        table.add_row(vec![
            comfy_table::Cell::new(&finding.id),
            show::risk_cell(finding.risk),
            comfy_table::Cell::new(&finding.rule),
            comfy_table::Cell::new(show::clean(&some.join(" ")) + &more),
            comfy_table::Cell::new(&finding.why),
        ]);
    }
    show::print(&table, "No records disagree.")
}

fn show_one(global: &Global, vault: &Vault, id: &str) -> Done {
    match vault.escalation(id) {
        Ok(question) => show_question(global, &question),
        Err(Error::NotFound(what)) => {
            let found = vault.findings(FINDINGS_MAX)?;
            let finding = found.iter().find(|finding| finding.id == id);
            show_finding(global, finding.ok_or(Error::NotFound(what))?)
        }
        Err(error) => Err(error.into()),
    }
}

fn show_question(global: &Global, question: &Question) -> Done {
    if global.json {
        return show::json(&question_json(question));
    }
    let (record, field) = (&question.record, &question.field);
    show::line(format!("{record} {field}: {}", show::why(question)))?;
    let due = show::local(question.due_ms());
    show::line(format!("risk {}, due {due}", show::risk(question.risk)))?;
    let interim = question.interim.as_ref();
    let interim = interim.map_or_else(|| "(nothing)".to_owned(), |v| show::value(v.expose()));
    show::line(format!("shown meanwhile: {interim}\n"))?;
    show::print(&show::candidates(question), "")?;
    if !question.beside.is_empty() {
        show::line("")?;
        show::print(&show::beside(question), "")?;
    }
    show::line(format!("\nversion {}", question.version))
}

fn show_finding(global: &Global, finding: &Finding) -> Done {
    if global.json {
        return show::json(&finding_json(finding));
    }
    let risk = show::risk(finding.risk);
    show::line(format!(
        "{} (finding, risk {risk}): {}\n",
        finding.rule, finding.why
    ))?;
    finding
        .records
        .iter()
        .try_for_each(|record| show::line(record.as_str()))?;
    show::line("\nIt settles when these records do: edit them.")
}

fn resolve(global: &Global, args: &Resolve) -> Done {
    let decision = match &args.decision {
        Choice { keep: Some(n), .. } => Decision::Keep(*n),
        Choice {
            value: Some(text), ..
        } => {
            let value = Json::parse(text.as_bytes()).map_err(|_| {
                Failure::usage(
                    "the value of --value is not valid JSON",
                    "texts need quotes, and the shell its own: --value '\"B+\"'",
                )
            })?;
            Decision::Replace(value)
        }
        Choice { .. } => Decision::Remove,
    };
    let at = args.at.as_deref().map(edit::version).transpose()?;
    session::write(global, |vault| {
        let question = vault.escalation(&args.id)?;
        if at.is_some_and(|at| at != question.version) {
            return Err(Error::ReviewOutdated.into());
        }
        let record = question.record.clone();
        let commit = vault.resolve(question, decision, &args.because)?;
        edit::tell(global, vault, Some(commit), &[record])
    })
}
