//! A record as JSON and as a flat map of atoms, and back, losing nothing.

use crate::error::{Error, Result};
use crate::ids::RecordId;
use crate::model::cell::{Atom, Cell, is_key};
use crate::model::json::{ATOM_DEPTH_MAX, Json, member_order, write_string};
use crate::model::kind::KindRules;
use crate::model::order::Order;
use serde::Deserialize as _;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};

/// Largest resource that a record holds, in bytes of canonical JSON. Attachments come later.
pub const RESOURCE_MAX: usize = 256 * 1024;

/// A record's atoms by key.
pub type Atoms = BTreeMap<Box<str>, Cell>;

/// Names list items that bring no name of their own, the same on every replica of a workspace.
#[derive(Debug, Clone)]
pub struct ElementNamer([u8; 32]);

impl ElementNamer {
    /// A namer keyed by the workspace, so that names tell an outsider nothing of the content.
    pub fn new(workspace: &crate::ids::WorkspaceId) -> Self {
        Self(blake3::derive_key("medsync v1 element names", &workspace.0))
    }

    /// The item's FHIR id, else a hash of its business key, else a hash of its content.
    pub fn name(&self, item: &Json, key: &[String]) -> String {
        let token = |id: &&str| {
            (1..=64).contains(&id.len())
                && id
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
        };
        if let Some(id) = item.get("id").and_then(Json::as_str).filter(token) {
            return id.to_owned();
        }
        let mut text = String::new();
        for member in key {
            if let Some(value) = item.path(member) {
                value.write(&mut text);
            }
            text.push('|');
        }
        if text.bytes().all(|b| b == b'|') {
            text.clear();
            item.write(&mut text);
        }
        let hash = blake3::keyed_hash(&self.0, text.as_bytes());
        // 60 bits: a record has at most thousands of items.
        let name: String = hash.to_hex().chars().take(15).collect();
        format!("~{name}")
    }
}

/// Takes a resource apart into atoms.
///
/// # Errors
/// [`Error::Invalid`] if it is no object, larger than [`RESOURCE_MAX`], nested deeper than
/// [`ATOM_DEPTH_MAX`] in a member, or if a member's name cannot be a key.
pub fn flatten(resource: &Json, rules: &KindRules, namer: &ElementNamer) -> Result<Atoms> {
    if !matches!(resource, Json::Object(_)) {
        return Err(Error::invalid("a resource is a JSON object"));
    }
    let mut fields: BTreeMap<&str, Vec<(&str, &Json)>> = BTreeMap::new();
    for (name, value) in resource.members() {
        if value.depth() > ATOM_DEPTH_MAX {
            return Err(Error::invalid("a member is nested too deep"));
        }
        if !is_reserved(name) {
            fields
                .entry(rules.field_of(name))
                .or_default()
                .push((name, value));
        }
    }
    // A slash would make a member an item of a list.
    if fields.keys().any(|f| f.contains('/') || !is_key(f)) {
        return Err(Error::invalid(
            "a member's name is empty, too long or has a slash or a control character",
        ));
    }
    let mut atoms = Atoms::new();
    for (field, members) in fields {
        let key = rules
            .row(field)
            .and_then(|row| row.list.as_ref())
            .map(|list| &list.key);
        if let Some(items) = key.and_then(|key| list_items(field, &members, key, namer)) {
            atoms.extend(items);
        } else {
            atoms.insert(
                field.into(),
                Cell::Put {
                    atom: whole(field, &members),
                    order: None,
                },
            );
        }
    }
    let size: usize = atoms.iter().map(|(key, cell)| key.len() + size(cell)).sum();
    if size > RESOURCE_MAX {
        return Err(Error::invalid_at(
            "the resource is larger than 256 KiB",
            format!("{size} bytes"),
        ));
    }
    Ok(atoms)
}

/// What a record holds that says nothing but its name: its kind, so that somebody wrote it and it is
/// there. No view shows it as anything else than the name does.
pub(crate) fn name_only(record: &RecordId) -> (Box<str>, Cell) {
    let mut kind = String::new();
    write_string(record.kind(), &mut kind);
    let atom = Atom::Value(kind.into());
    ("resourceType".into(), Cell::Put { atom, order: None })
}

/// Members that the record's name holds: no cell may say otherwise.
pub(crate) fn is_reserved(member: &str) -> bool {
    member == "id" || member == "resourceType"
}

fn size(cell: &Cell) -> usize {
    match cell {
        Cell::Put {
            atom: Atom::Value(text),
            ..
        } => text.len(),
        Cell::Put {
            atom: Atom::Members(all),
            ..
        } => all.iter().map(|(n, t)| n.len() + t.len()).sum(),
        _ => 0,
    }
}

/// All members of a field as one atom.
pub(crate) fn whole(field: &str, members: &[(&str, &Json)]) -> Atom {
    match members {
        [(name, value)] if *name == field => Atom::Value(value.text().into()),
        members => Atom::Members(
            members
                .iter()
                .map(|(n, v)| ((*n).into(), v.text().into()))
                .collect(),
        ),
    }
}

/// Items of a list field, or `None` where its members are not a list that comes apart and back
/// together exactly: then the field is kept whole.
fn list_items(
    field: &str,
    members: &[(&str, &Json)],
    key: &[String],
    namer: &ElementNamer,
) -> Option<Vec<(Box<str>, Cell)>> {
    let (mut plain, mut under): (&[Json], &[Json]) = (&[], &[]);
    for (name, value) in members {
        let Json::Array(items) = value else {
            return None;
        };
        if items.is_empty() {
            return None;
        }
        match *name == field {
            true => plain = items,
            false if name.strip_prefix('_') == Some(field) => under = items,
            false => return None,
        }
    }
    if !under.is_empty() && !plain.is_empty() && under.len() != plain.len() {
        return None;
    }
    let mut used = BTreeMap::new();
    let mut out = Vec::new();
    for i in 0..plain.len().max(under.len()) {
        let value = plain.get(i).filter(|v| !matches!(v, Json::Null));
        let extra = under.get(i).filter(|v| !matches!(v, Json::Null));
        let (base, atom) = match (value, extra) {
            (Some(value), None) => (namer.name(value, key), Atom::Value(value.text().into())),
            (Some(value), Some(extra)) => {
                let members = [(format!("_{field}"), extra), (field.to_owned(), value)];
                (namer.name(value, key), members_atom(members))
            }
            (None, Some(extra)) => (
                namer.name(extra, &[]),
                members_atom([(format!("_{field}"), extra)]),
            ),
            (None, None) => return None,
        };
        let name = unique(base, &mut used);
        let order = Some(Order::nth(i));
        out.push((format!("{field}/{name}").into(), Cell::Put { atom, order }));
    }
    Some(out)
}

fn members_atom<const N: usize>(members: [(String, &Json); N]) -> Atom {
    Atom::Members(
        members
            .into_iter()
            .map(|(n, v)| (n.into(), v.text().into()))
            .collect(),
    )
}

/// Equal items occur in real data: the second is `name#2`. No name holds a `#` of its own. Counted,
/// because a hostile file may hold one item a hundred thousand times.
fn unique(base: String, used: &mut BTreeMap<String, usize>) -> String {
    let n = used.entry(base.clone()).or_insert(0);
    *n += 1;
    match *n {
        1 => base,
        n => format!("{base}#{n}"),
    }
}

/// What one item of a list, or one place of a list that is kept whole, gives to each member.
type Line<'a> = Vec<(&'a str, &'a str)>;

/// An item by its place and its element's name.
type Placed<'a> = ((Option<&'a Order>, &'a str), Line<'a>);

/// Puts a record's shown atoms together as canonical JSON.
pub fn render<'a>(
    record: &RecordId,
    shown: impl IntoIterator<Item = (&'a str, &'a Atom, Option<&'a Order>)>,
) -> String {
    let mut whole: BTreeMap<&str, &Atom> = BTreeMap::new();
    let mut lists: BTreeMap<&str, Vec<Placed<'_>>> = BTreeMap::new();
    for (key, atom, order) in shown {
        match key.split_once('/') {
            Some((field, element)) => {
                let item = ((order, element), line(field, atom));
                lists.entry(field).or_default().push(item);
            }
            None => {
                whole.insert(key, atom);
            }
        }
    }
    let mut members: Vec<(&str, String)> = Vec::new();
    for (field, mut items) in lists {
        items.sort_by_key(|(place, _)| *place);
        // Kept whole by one person and as items by another: both are shown.
        let mut lines = whole
            .remove(field)
            .map_or_else(Vec::new, |a| apart(field, a, &mut members));
        lines.extend(items.into_iter().map(|(_, line)| line));
        columns(field, &lines, &mut members);
    }
    for (field, atom) in whole {
        let all = line(field, atom).into_iter();
        members.extend(all.map(|(name, text)| (name, text.to_owned())));
    }
    members.retain(|(name, _)| !is_reserved(name));
    let (mut kind, mut id) = (String::new(), String::new());
    write_string(record.kind(), &mut kind);
    write_string(record.id(), &mut id);
    members.push(("resourceType", kind));
    members.push(("id", id));
    members.sort_by(|a, b| member_order(a.0, b.0));
    // Packs of different versions may bind one member to two fields; the first field's stays.
    members.dedup_by(|b, a| a.0 == b.0);
    let mut out = String::with_capacity(members.iter().map(|(n, v)| n.len() + v.len() + 4).sum());
    out.push('{');
    for (i, (name, text)) in members.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write_string(name, &mut out);
        out.push(':');
        out.push_str(text);
    }
    out.push('}');
    out
}

fn line<'a>(field: &'a str, atom: &'a Atom) -> Line<'a> {
    match atom {
        Atom::Value(text) => vec![(field, text)],
        Atom::Members(all) => all.iter().map(|(n, text)| (&**n, &**text)).collect(),
    }
}

/// Whether a member stands in a list item by item: the list itself and its primitives' extensions.
/// Under any other name an atom may bring thousands of members, each of which would become as long
/// as the list: a change of 256 KiB could grow to gigabytes.
pub(crate) fn is_column(field: &str, name: &str) -> bool {
    name == field || name.strip_prefix('_') == Some(field)
}

/// The lines of a list that is kept whole; what is no list is one item. Its other members are kept.
fn apart<'a>(
    field: &'a str,
    atom: &'a Atom,
    members: &mut Vec<(&'a str, String)>,
) -> Vec<Line<'a>> {
    let mut lines: Vec<Line<'a>> = Vec::new();
    for (name, text) in line(field, atom) {
        if !is_column(field, name) {
            members.push((name, text.to_owned()));
            continue;
        }
        let items: Vec<&str> = match split_items(text) {
            Ok(items) => items.into_iter().map(RawValue::get).collect(),
            Err(_) => vec![text],
        };
        lines.resize(lines.len().max(items.len()), Vec::new());
        lines
            .iter_mut()
            .zip(items)
            .for_each(|(line, item)| line.push((name, item)));
    }
    lines
}

/// One array for each column that any line gives something to; other members as they are.
fn columns<'a>(field: &str, lines: &[Line<'a>], members: &mut Vec<(&'a str, String)>) {
    let all = || lines.iter().flatten();
    let others = all().filter(|(name, _)| !is_column(field, name));
    members.extend(others.map(|(name, text)| (*name, (*text).to_owned())));
    let names = all().map(|(name, _)| *name);
    let names: BTreeSet<&str> = names.filter(|name| is_column(field, name)).collect();
    for name in names {
        let texts = lines.iter().map(|line| {
            let own = line.iter().find(|(n, _)| *n == name);
            own.map_or("null", |(_, text)| text)
        });
        let texts: Vec<&str> = texts.collect();
        members.push((name, format!("[{}]", texts.join(","))));
    }
}

/// The members of a canonical view, as raw texts: the inverse of [`render`] for elided values.
pub fn split_members(view: &str) -> Result<BTreeMap<Box<str>, &RawValue>> {
    let mut reader = serde_json::Deserializer::from_str(view);
    BTreeMap::deserialize(&mut reader).map_err(|_| Error::integrity("a view row is not JSON"))
}

/// The items of a canonical array, as raw texts.
pub fn split_items(array: &str) -> Result<Vec<&RawValue>> {
    serde_json::from_str(array).map_err(|_| Error::integrity("a view row's list is not an array"))
}
