//! The audit log: listed, given away, checked.

use crate::cli::{Audit, AuditFormat, Global};
use crate::cmd::files;
use crate::exit::{Done, FAILED, Failure, INTEGRITY};
use crate::session;
use crate::show;
use medsync_core::error::Error;
use medsync_core::ids::{AuthorKey, unhex};
use medsync_core::ledger::audit::{Actor, Detail, Head, Subject};
use medsync_core::ledger::audit_proof::{AuditProof, AuditReport, PROOF_BYTES_MAX};
use medsync_core::model::json::Json;
use medsync_core::vault::Vault;
use medsync_core::vault::audit::{AuditFilter, AuditRow};
use medsync_fhir::audit;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

pub(super) fn run(global: &Global, args: &Audit) -> Done {
    match args {
        Audit::List {
            record,
            person,
            since,
        } => list(
            global,
            record.as_deref(),
            person.as_deref(),
            since.as_deref(),
        ),
        Audit::Export {
            file,
            reveal,
            format,
        } => export(global, file, *reveal, *format),
        Audit::Verify { file, authority } => verify(global, file.as_deref(), authority.as_deref()),
        Audit::Acknowledge { emergency, because } => acknowledge(global, emergency, because),
    }
}

fn list(global: &Global, record: Option<&str>, person: Option<&str>, since: Option<&str>) -> Done {
    let mut filter = AuditFilter {
        record: record.map(show::record_id).transpose()?,
        person: None,
        since_ms: since.map(time).transpose()?,
    };
    let vault = session::reader(global)?;
    let names = Names::new(&vault)?;
    filter.person = person.map(|name| names.key(name)).transpose()?;
    let mut table = show::table(&["time", "who", "did", "what"]);
    let mut all = Vec::new();
    vault.audit(&filter, &mut |row| {
        match global.json {
            true => all.push(as_json(&row, &names)),
            false => {
                let event = &row.line.event;
                let tried = if event.done { "" } else { " (failed)" };
                table.add_row([
                    show::local(event.hlc.ms()),
                    show::clean(&names.actor(&event.actor)),
                    format!("{}{tried}", event.action.name()),
                    show::clean(&what(&row)),
                ]);
            }
        }
        Ok(true)
    })?;
    match global.json {
        true => show::json(&Json::Array(all)),
        false => show::print(&table, "Nothing of the kind was done here."),
    }
}

/// A day or a point in time.
fn time(text: &str) -> Done<i64> {
    let point = text
        .parse::<jiff::Timestamp>()
        .map(jiff::Timestamp::as_millisecond);
    let day = || {
        let day = text.parse::<jiff::civil::Date>()?;
        let start = day.to_zoned(jiff::tz::TimeZone::system())?;
        Ok::<_, jiff::Error>(start.timestamp().as_millisecond())
    };
    point.or_else(|_| day()).map_err(|_| {
        Failure::usage(
            "--since is a day or a time",
            "as in 2026-11-01 or 2026-11-01T08:00:00Z",
        )
    })
}

/// The people whom a log can name.
struct Names(Vec<(AuthorKey, String)>);

impl Names {
    fn new(vault: &Vault) -> Done<Self> {
        let people = vault.people()?.into_iter();
        Ok(Self(
            people.map(|p| (p.key, p.name.into_exposed())).collect(),
        ))
    }

    fn actor(&self, actor: &Actor) -> String {
        match actor {
            Actor::Nobody => "whoever opened the vault".to_owned(),
            Actor::Emergency(entry) => format!("emergency {entry}"),
            Actor::Person(key) => self.name(key).map_or_else(|| key.short(), str::to_owned),
        }
    }

    fn name(&self, key: &AuthorKey) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == key);
        found.map(|(_, name)| name.as_str())
    }

    fn key(&self, name: &str) -> Done<AuthorKey> {
        let found = self
            .0
            .iter()
            .find(|(key, known)| known == name || key.to_string() == name);
        Ok(found.ok_or(Error::NotFound("person"))?.0)
    }
}

/// What an entry is about, in a few words.
fn what(row: &AuditRow) -> String {
    let detail = |detail: &Option<Detail>| match detail {
        Some(Detail::Record {
            record, times: 1, ..
        }) => record.to_string(),
        Some(Detail::Record { record, times, .. }) => format!("{record} ({times} times)"),
        Some(Detail::Text(name, text)) => format!("{name}: {text}"),
        Some(Detail::Count(name, count)) => format!("{count} {name}"),
        Some(Detail::Unknown(_)) => "something newer".to_owned(),
        None => "(withheld)".to_owned(),
    };
    let details = row.line.details.iter().map(detail);
    let records = row.records.iter().map(ToString::to_string);
    details.chain(records).collect::<Vec<_>>().join(", ")
}

fn as_json(row: &AuditRow, names: &Names) -> Json {
    let event = &row.line.event;
    let person = match &event.actor {
        Actor::Person(key) => Some(key.to_string()),
        _ => None,
    };
    let commit = match &event.subject {
        Subject::Commit(_, id) => Some(id.to_string()),
        _ => None,
    };
    let named = row.line.details.iter().flatten().filter_map(Detail::record);
    let records = row.records.iter().chain(named);
    let mut told = Json::object::<&str>([]);
    for detail in row.line.details.iter().flatten() {
        match detail {
            Detail::Text(name, text) => told.set(name, Json::string(text)),
            Detail::Count(name, count) => told.set(name, show::number(count)),
            _ => continue,
        };
    }
    show::object([
        ("action", Json::string(event.action.name())),
        ("commit", show::maybe(commit.as_deref())),
        ("details", told),
        ("device", Json::string(&row.line.log.device.to_string())),
        ("done", Json::Bool(event.done)),
        ("entry", show::number(event.seq)),
        ("person", show::maybe(person.as_deref())),
        ("records", show::strings(records)),
        ("replica", Json::string(&row.line.log.replica.to_string())),
        ("time", Json::string(&show::time(event.hlc.ms()))),
        ("who", Json::string(&names.actor(&event.actor))),
    ])
}

fn export(global: &Global, file: &Path, reveal: bool, format: AuditFormat) -> Done {
    let mut vault = session::reader(global)?;
    // Written down as given away in either form.
    let proof = vault.prove_audit(reveal)?;
    let entries: usize = proof.logs.iter().map(|log| log.entries.len()).sum();
    let bytes = match format {
        AuditFormat::Proof => proof.to_bytes(),
        AuditFormat::Fhir => fhir(&vault)?,
    };
    files::write(Some(file), |out| Ok(out.write_all(&bytes)?))?;
    match global.json {
        true => show::json(&show::object([("entries", show::number(entries))])),
        false => show::line(format!("{entries} entries in {}", file.display())),
    }
}

/// One AuditEvent a line.
fn fhir(vault: &Vault) -> Done<Vec<u8>> {
    let names = Names::new(vault)?;
    let name = |key: &AuthorKey| names.name(key).map(str::to_owned);
    let mut out = Vec::new();
    vault.audit(&AuditFilter::default(), &mut |row| {
        let event = audit::audit_event(&row.line, &row.records, &name);
        out.extend_from_slice(event.text().as_bytes());
        out.push(b'\n');
        Ok(true)
    })?;
    Ok(out)
}

fn verify(global: &Global, file: Option<&Path>, authority: Option<&str>) -> Done {
    let expected: Option<[u8; 32]> = authority.map(unhex).transpose().map_err(|_| {
        Failure::usage(
            "an authority is 64 hexadecimal digits",
            "copy it from medsync status of a vault you trust",
        )
    })?;
    let (found, report) = match file {
        Some(file) => {
            let known = match global.vault {
                Some(_) => session::reader(global)?.audit_heads()?,
                None => Vec::new(),
            };
            check_file(file, &known)?
        }
        None => {
            let mut vault = session::reader(global)?;
            let report = vault.verify_audit()?;
            (vault.authority()?, report)
        }
    };
    let mut problems = report.problems.clone();
    if expected.is_some_and(|expected| expected != found) {
        problems.insert(
            0,
            "it is of another authority than the one you named".to_owned(),
        );
    }
    tell(global, &found, &report, &problems)?;
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(
            INTEGRITY,
            "the audit log does not hold together",
            "keep the file, and ask for the log again from the device itself and from others",
        )),
    }
}

fn check_file(file: &Path, known: &[Head]) -> Done<([u8; 32], AuditReport)> {
    let unreadable = |error: std::io::Error| {
        let error = format!("{}: cannot be read ({:?})", file.display(), error.kind());
        Failure::new(FAILED, error, "name a file of medsync audit export")
    };
    let mut bytes = Vec::new();
    let limit = u64::try_from(PROOF_BYTES_MAX).unwrap_or(u64::MAX);
    let input = File::open(file).map_err(unreadable)?;
    input
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    let proof = AuditProof::parse(&bytes)?;
    Ok((*proof.membership.authority(), proof.verify(known)))
}

fn tell(global: &Global, authority: &[u8; 32], report: &AuditReport, problems: &[String]) -> Done {
    let authority = medsync_core::ids::hex(authority);
    if global.json {
        let logs = report.logs.iter().map(|log| {
            let name = log.name.as_ref().map(|n| n.expose().as_str());
            show::object([
                ("current", Json::Bool(log.current)),
                ("device", Json::string(&log.id.device.to_string())),
                ("entries", show::number(log.entries)),
                ("from", Json::string(&show::time(log.from.ms()))),
                ("name", show::maybe(name)),
                ("replica", Json::string(&log.id.replica.to_string())),
                ("shown", show::number(log.shown)),
                ("to", Json::string(&show::time(log.to.ms()))),
                ("withheld", show::number(log.withheld)),
            ])
        });
        return show::json(&show::object([
            ("authority", Json::string(&authority)),
            ("logs", Json::Array(logs.collect())),
            ("problems", show::strings(problems)),
            ("sound", Json::Bool(problems.is_empty())),
        ]));
    }
    show::line(format!("authority {authority}"))?;
    for log in &report.logs {
        let name = log.name.as_ref().map_or("(unknown)", |n| n.expose());
        let (name, device) = (show::clean(name), log.id.device.short());
        let (from, to) = (show::local(log.from.ms()), show::local(log.to.ms()));
        show::line(format!(
            "{name} ({device}): {} entries from {from} to {to}, {} details shown, {} withheld",
            log.entries, log.shown, log.withheld
        ))?;
        if !log.current {
            show::line(format!("{name} is no member now"))?;
        }
    }
    problems.iter().try_for_each(show::line)?;
    match problems.is_empty() {
        true => show::line("everything holds"),
        false => Ok(()),
    }
}

fn acknowledge(global: &Global, emergency: &str, because: &str) -> Done {
    session::write(global, |vault| {
        let open = vault.status()?.emergencies;
        let named = open
            .iter()
            .find(|e| format!("{}.{}", e.log, e.seq) == emergency);
        let named = named.ok_or(Error::NotFound(
            "emergency; medsync status shows those that are open",
        ))?;
        Ok(vault.acknowledge(named, because)?)
    })?;
    match global.json {
        true => show::json(&show::object([("acknowledged", Json::string(emergency))])),
        false => show::line(format!("emergency {emergency} is closed")),
    }
}
