//! Changes records.

use crate::cli::{Edit, Global};
use crate::cmd::edit_batch;
use crate::exit::{Done, Failure};
use crate::session;
use crate::show;
use medsync_core::error::Error;
use medsync_core::ids::{CommitId, RecordId};
use medsync_core::model::json::Json;
use medsync_core::vault::{Draft, Vault, Version};

/// One record's edit, as it was typed or read from a batch.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) record: RecordId,
    /// `None`: the current version.
    pub(super) at: Option<Version>,
    pub(super) set: Vec<(String, Json)>,
    pub(super) add: Vec<(String, Json)>,
    pub(super) count: Vec<(String, i64)>,
    pub(super) retract: Vec<String>,
    pub(super) because: Option<String>,
}

impl Asked {
    fn is_empty(&self) -> bool {
        self.set.is_empty()
            && self.add.is_empty()
            && self.count.is_empty()
            && self.retract.is_empty()
    }

    /// Whether a field or element is set or retracted twice: the order of options says nothing.
    pub(super) fn repeats(&self) -> bool {
        let set = self.set.iter().map(|(field, _)| field);
        let mut names: Vec<&String> = set.chain(&self.retract).collect();
        names.sort_unstable();
        names.windows(2).any(|pair| pair[0] == pair[1])
    }
}

pub(super) fn run(global: &Global, args: &Edit) -> Done {
    let asked = match (&args.batch, &args.record) {
        (Some(file), None) => edit_batch::read(file)?,
        (None, Some(record)) => {
            let asked = typed(record, args)?;
            if asked.repeats() {
                return Err(Failure::usage(
                    "one field is set or retracted twice",
                    "name each once; for several items of a list set all of it, or --add them",
                ));
            }
            vec![asked]
        }
        _ => {
            return Err(Failure::usage(
                "a batch names its records itself",
                "leave KIND/ID out, or --batch",
            ));
        }
    };
    if asked.iter().any(Asked::is_empty) {
        return Err(Failure::usage(
            "nothing to change",
            "say what with --set, --add, --count or --retract",
        ));
    }
    session::write(global, |vault| {
        let drafts = asked.iter().map(|asked| draft(vault, asked));
        let drafts = drafts.collect::<Done<Vec<Draft>>>()?;
        let commit = vault.commit(drafts)?;
        let records = asked.iter().map(|asked| asked.record.clone());
        tell(global, vault, commit, &records.collect::<Vec<_>>())
    })
}

fn typed(record: &str, args: &Edit) -> Done<Asked> {
    Ok(Asked {
        record: show::record_id(record)?,
        at: args.at.as_deref().map(version).transpose()?,
        set: values(&args.set, "--set")?,
        add: values(&args.add, "--add")?,
        count: counts(&args.count)?,
        retract: args.retract.clone(),
        because: args.because.clone(),
    })
}

/// A version as `get` prints it: ids with commas, or a JSON list of them.
pub(super) fn version(text: &str) -> Done<Version> {
    let plain: String = text.chars().filter(|c| !"[]\" ".contains(*c)).collect();
    plain.parse().map_err(|_| {
        Failure::usage(
            "this is no version",
            "medsync get prints a record's version; leave --at out for the current one",
        )
    })
}

/// `FIELD=JSON`. The value is never told back: it can be anything about a person.
fn values(texts: &[String], option: &str) -> Done<Vec<(String, Json)>> {
    let read = |text: &String| {
        let (field, value) = halves(text, option, "JSON")?;
        let json = Json::parse(value.as_bytes()).map_err(|_| {
            Failure::usage(
                format!("the value of {option} is not valid JSON"),
                format!("texts need quotes, and the shell its own: {option} 'status=\"active\"'"),
            )
        })?;
        Ok((field.to_owned(), json))
    };
    texts.iter().map(read).collect()
}

fn counts(texts: &[String]) -> Done<Vec<(String, i64)>> {
    let read = |text: &String| {
        let (field, value) = halves(text, "--count", "N")?;
        let n = value.parse().map_err(|_| {
            Failure::usage("--count takes a whole number", "as in --count 'stock=-3'")
        })?;
        Ok((field.to_owned(), n))
    };
    texts.iter().map(read).collect()
}

fn halves<'a>(text: &'a str, option: &str, value: &str) -> Done<(&'a str, &'a str)> {
    let halves = text.split_once('=').filter(|(field, _)| !field.is_empty());
    halves.ok_or_else(|| {
        Failure::usage(
            format!("{option} takes FIELD={value}"),
            format!("as in {option} 'active=true'"),
        )
    })
}

fn draft(vault: &Vault, asked: &Asked) -> Done<Draft> {
    vault
        .read(&asked.record)?
        .ok_or(Error::NotFound("record"))?;
    let mut draft = match &asked.at {
        Some(version) => Draft::new(asked.record.clone(), version.clone()),
        None => vault.draft(&asked.record)?,
    };
    for (field, value) in &asked.set {
        draft.set(field.as_str(), value.clone());
    }
    for (field, item) in &asked.add {
        draft.add(field.as_str(), item.clone());
    }
    for (field, n) in &asked.count {
        draft.count(field.as_str(), *n);
    }
    for key in &asked.retract {
        draft.remove(key);
    }
    if let Some(reason) = &asked.because {
        draft.because(reason);
    }
    Ok(draft)
}

/// Says what an edit came to, open questions included.
pub(super) fn tell(
    global: &Global,
    vault: &Vault,
    commit: Option<CommitId>,
    records: &[RecordId],
) -> Done {
    let mut rows = Vec::new();
    for id in records {
        let record = vault.record(id)?.ok_or(Error::NotFound("record"))?;
        let questions = record.questions.iter();
        let open: Vec<(String, String)> =
            questions.map(|q| (q.id.clone(), q.field.clone())).collect();
        rows.push((record, open));
    }
    if global.json {
        let row = |(record, open): &(medsync_core::vault::Record, Vec<(String, String)>)| {
            show::object([
                (
                    "contested",
                    show::strings(open.iter().map(|(_, field)| field)),
                ),
                ("record", Json::string(record.id.as_str())),
                ("version", show::version(&record.version)),
            ])
        };
        let id = commit.map(|id| id.to_string());
        return show::json(&show::object([
            ("commit", show::maybe(id.as_deref())),
            ("records", Json::Array(rows.iter().map(row).collect())),
        ]));
    }
    match commit {
        Some(id) => show::line(format!("committed {}", id.short()))?,
        None => show::line("nothing changed: the record says so already")?,
    }
    for (record, open) in &rows {
        for (question, field) in open {
            let id = &record.id;
            show::line(format!(
                "{id} {field} is contested: medsync review show {question}"
            ))?;
        }
    }
    Ok(())
}
