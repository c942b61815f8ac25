//! The policy pack.

use crate::cli::{Global, Pack};
use crate::cmd::files;
use crate::cmd::why::policy;
use crate::exit::{Done, FAILED, Failure, NOT_FOUND};
use crate::session;
use crate::show;
use medsync_core::ids::hex;
use medsync_core::model::json::Json;
use medsync_core::model::pack::PolicyPack;
use medsync_core::vault::Vault;
use medsync_fhir::lint::lint;
use std::path::Path;

/// Largest pack file, in bytes.
const PACK_MAX: u64 = 4 * 1024 * 1024;

pub(super) fn run(global: &Global, command: &Pack) -> Done {
    match command {
        Pack::Show { kind } => show_pack(global, &session::reader(global)?, kind.as_deref()),
        Pack::Export { out } => {
            let vault = session::reader(global)?;
            let pack = vault.pack().pack().to_bytes();
            files::write(out.as_deref(), |to| {
                to.write_all(&pack)?;
                Ok(to.write_all(b"\n")?)
            })
        }
        Pack::Lint { file } => lint_file(global, file),
        Pack::Install { file, despite_lint } => install(global, file, *despite_lint),
    }
}

fn read(path: &Path) -> Done<PolicyPack> {
    Ok(PolicyPack::from_json(
        files::read(path, PACK_MAX)?.as_bytes(),
    )?)
}

fn show_pack(global: &Global, vault: &Vault, kind: Option<&str>) -> Done {
    let pack = vault.pack().pack();
    if let Some(kind) = kind {
        return show_kind(global, vault, kind);
    }
    if global.json {
        let mut json = Json::parse(&pack.to_bytes())?;
        json.set("hash", Json::string(&hex(vault.pack().hash())));
        return show::json(&json);
    }
    let hash = hex(vault.pack().hash());
    show::line(format!(
        "{} version {}, hash {hash}\n",
        pack.name, pack.version
    ))?;
    let mut table = show::table(&["kind", "fields", "escalate", "risk", "indexes"]);
    for (name, kind) in &pack.kinds {
        let escalating = kind.fields.values().filter(|field| {
            matches!(
                field.policy,
                medsync_core::model::pack::PolicyRow::Escalate { .. }
            )
        });
        let indexes: Vec<&str> = kind
            .indexes
            .iter()
            .map(|index| index.name.as_str())
            .collect();
        table.add_row([
            name.clone(),
            kind.fields.len().to_string(),
            escalating.count().to_string(),
            show::risk(kind.risk).to_owned(),
            indexes.join(", "),
        ]);
    }
    show::print(&table, "The pack has no kinds: every field escalates.")
}

fn show_kind(global: &Global, vault: &Vault, name: &str) -> Done {
    let pack = vault.pack().pack();
    let Some(kind) = pack.kinds.get(name) else {
        return Err(Failure::new(
            NOT_FOUND,
            "the pack has no such kind",
            "medsync pack show lists them; fields of other kinds escalate",
        ));
    };
    if global.json {
        let all = Json::parse(&pack.to_bytes())?;
        let found = all.get("kinds").and_then(|kinds| kinds.get(name)).cloned();
        return show::json(&found.unwrap_or(Json::Null));
    }
    let mut table = show::table(&["field", "risk", "policy", "why"]);
    for (name, field) in &kind.fields {
        table.add_row([
            name.clone(),
            show::risk(field.risk.unwrap_or(kind.risk)).to_owned(),
            policy(&field.policy),
            field.why.clone(),
        ]);
    }
    show::print(&table, "The kind has no fields: each escalates.")
}

fn lint_file(global: &Global, file: &Path) -> Done {
    let found: Vec<String> = lint(&read(file)?).iter().map(ToString::to_string).collect();
    if global.json {
        show::json(&show::object([("findings", show::strings(&found))]))?;
    } else {
        found.iter().try_for_each(show::line)?;
        if found.is_empty() {
            show::line("The pack is clean.")?;
        }
    }
    match found.is_empty() {
        true => Ok(()),
        false => Err(Failure::told(FAILED)),
    }
}

fn install(global: &Global, file: &Path, despite_lint: bool) -> Done {
    let pack = read(file)?;
    let faults = lint(&pack).len() as u64;
    if faults > 0 && !despite_lint {
        return Err(Failure::new(
            FAILED,
            format!("the pack has {}", show::count(faults, "fault", "faults")),
            "medsync pack lint FILE lists them; --despite-lint installs it all the same",
        ));
    }
    session::write(global, |vault| Ok(vault.install_pack(&pack)?))?;
    if global.json {
        return show::json(&show::object([
            ("hash", Json::string(&hex(&pack.hash()))),
            ("version", show::number(pack.version)),
        ]));
    }
    show::line(format!(
        "{} version {} is in force.",
        pack.name, pack.version
    ))
}
