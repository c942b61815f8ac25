//! Lists and finds records.

use crate::cli::{Global, List, Search};
use crate::exit::{Done, Failure};
use crate::session;
use crate::show;
use medsync_core::ids::RecordId;
use medsync_core::model::json::Json;
use medsync_core::vault::Vault;

/// Records of an index that are looked at, of which those of other kinds are left out.
const LOOKED_AT_MAX: usize = 100_000;

/// A record of the list.
struct Row {
    id: RecordId,
    json: Json,
    contested: bool,
}

pub(super) fn run(global: &Global, args: &List) -> Done {
    let condition = args.only.as_deref().map(condition).transpose()?;
    let vault = session::reader(global)?;
    let kind = args.kind.as_deref().unwrap_or_default();
    let rows = match condition {
        None => scan(&vault, kind, args.limit, |_| true)?,
        Some((field, value)) if is_index(&vault, kind, field) => {
            let found = vault.find(field, value, LOOKED_AT_MAX)?;
            let of_kind = |id: &RecordId| kind.is_empty() || id.kind() == kind;
            load(&vault, found.into_iter().filter(of_kind).take(args.limit))?
        }
        Some((field, value)) => scan(&vault, kind, args.limit, |json| has(json, field, value))?,
    };
    print(global, &rows, args.limit)
}

pub(super) fn search(global: &Global, args: &Search) -> Done {
    let vault = session::reader(global)?;
    let found = vault.search(&args.text.join(" "), args.limit)?;
    print(global, &load(&vault, found.into_iter())?, args.limit)
}

fn condition(text: &str) -> Done<(&str, &str)> {
    let parts = text.split_once('=').filter(|(field, _)| !field.is_empty());
    parts.ok_or_else(|| {
        Failure::usage(
            "--where is FIELD=VALUE",
            "as in --where birthdate=1984-02-29",
        )
    })
}

/// Whether the pack indexes a field of a kind (of any: an empty text).
fn is_index(vault: &Vault, kind: &str, field: &str) -> bool {
    let pack = vault.pack().pack();
    let mut kinds = pack
        .kinds
        .iter()
        .filter(|(name, _)| kind.is_empty() || *name == kind);
    field == medsync_core::vault::index::PATIENT
        || kinds.any(|(_, policy)| policy.indexes.iter().any(|index| index.name == field))
}

/// Whether a member, or an item of a list, is this value.
fn has(json: &Json, path: &str, value: &str) -> bool {
    let (name, rest) = match path.split_once('.') {
        Some((name, rest)) => (name, Some(rest)),
        None => (path, None),
    };
    let Some(at) = json.get(name) else {
        return false;
    };
    let one = [at.clone()];
    let items = if matches!(at, Json::Array(_)) {
        at.items()
    } else {
        &one[..]
    };
    items.iter().any(|item| match (rest, item) {
        (Some(rest), item) => has(item, rest, value),
        (None, Json::String(text)) => **text == *value,
        (None, other) => other.text() == value,
    })
}

fn scan(vault: &Vault, kind: &str, limit: usize, keep: impl Fn(&Json) -> bool) -> Done<Vec<Row>> {
    let mut ids = Vec::new();
    vault.for_each(kind, None, &mut |id, text| {
        if ids.len() < limit && keep(&Json::parse(text.as_bytes())?) {
            ids.push(id.clone());
        }
        Ok(ids.len() < limit)
    })?;
    load(vault, ids.into_iter())
}

fn load(vault: &Vault, ids: impl Iterator<Item = RecordId>) -> Done<Vec<Row>> {
    let mut rows = Vec::new();
    for id in ids {
        if let Some(view) = vault.read(&id)? {
            rows.push(Row {
                id,
                json: show::parse(view.json.expose())?,
                contested: view.contested,
            });
        }
    }
    Ok(rows)
}

fn print(global: &Global, rows: &[Row], limit: usize) -> Done {
    if global.json {
        let row = |row: &Row| {
            show::object([
                ("contested", Json::Bool(row.contested)),
                ("id", Json::string(row.id.as_str())),
                ("record", row.json.clone()),
            ])
        };
        return show::json(&Json::Array(rows.iter().map(row).collect()));
    }
    let mut table = show::table(&["record", "what", "status", ""]);
    for row in rows {
        table.add_row([
            show::clean(row.id.as_str()),
            show::label(&row.json),
            show::status(&row.json),
            if row.contested { "contested" } else { "" }.to_owned(),
        ]);
    }
    show::print(&table, "Nothing found.")?;
    if rows.len() >= limit {
        show::line(format!("\nThe first {limit}; --limit shows more."))?;
    }
    Ok(())
}
