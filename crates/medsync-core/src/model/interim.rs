//! Safe interims: what a contested field shows until a person has decided.

use crate::model::cell::{Atom, Cell};
use crate::model::json::Json;
use crate::model::pack::{Interim, pattern_matches};
use crate::model::policy::{Operation, codes};

/// An order of codes, least first, and where in a value the code stands.
pub(crate) struct Scale<'a> {
    pub(crate) order: &'a [String],
    pub(crate) by: &'a str,
}

impl Scale<'_> {
    /// Absence stands lowest; a value whose code nobody foresaw, or that has none, above all.
    fn place(&self, cell: &Cell) -> usize {
        let Cell::Put { atom, .. } = cell.standing() else {
            return 0;
        };
        let codes = if self.by.is_empty() {
            codes(cell.standing())
        } else {
            self.codes_at_path(atom)
        };
        let place = |code: &String| self.order.iter().position(|o| o == code);
        let stranger = self.order.len();
        let places = codes.iter().map(|code| place(code).unwrap_or(stranger));
        places.max().unwrap_or(stranger) + 1
    }

    fn codes_at_path(&self, atom: &Atom) -> Vec<String> {
        let Ok(value) = Json::parse(atom.text().as_bytes()) else {
            return vec![];
        };
        let mut at = vec![&value];
        for step in self.by.split('.') {
            at = at
                .into_iter()
                .flat_map(|v| {
                    if v.items().is_empty() {
                        std::slice::from_ref(v)
                    } else {
                        v.items()
                    }
                })
                .flat_map(Json::members)
                .filter(|(name, _)| pattern_matches(step, name))
                .map(|(_, value)| value)
                .collect();
        }
        at.into_iter().filter_map(scalar).collect()
    }
}

/// The text of a string or boolean.
fn scalar(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.to_string()),
        Json::Bool(b) => Some(b.to_string()),
        _ => None,
    }
}

/// The interim of candidates that differ.
pub(crate) fn pick(
    interim: Interim,
    scale: &Scale<'_>,
    candidates: &[&Operation],
    last_agreed: &dyn Fn() -> Option<Cell>,
) -> Option<Cell> {
    match interim {
        Interim::Unknown => None,
        Interim::LastAgreed => last_agreed(),
        Interim::Union => union(candidates).or_else(last_agreed),
        Interim::Highest | Interim::MostRestrictive => candidates
            .iter()
            .max_by_key(|c| (scale.place(&c.cell), c.hlc, c.id))
            .map(|c| c.cell.clone()),
    }
}

/// All candidates' items, each once, in the order of their appearance. `None` for bound members,
/// which cannot stand side by side in one value.
fn union(candidates: &[&Operation]) -> Option<Cell> {
    let mut items: Vec<Json> = Vec::new();
    let mut listed = false;
    for candidate in candidates {
        let Cell::Put { atom, .. } = candidate.cell.standing() else {
            continue;
        };
        let Atom::Value(text) = atom else {
            return None;
        };
        let all = match Json::parse(text.as_bytes()) {
            Ok(Json::Array(all)) => {
                listed = true;
                all
            }
            Ok(value) => vec![value],
            Err(_) => continue,
        };
        for item in all {
            if !items.contains(&item) {
                items.push(item);
            }
        }
    }
    // One value beside its removal keeps its shape.
    match items.pop() {
        Some(only) if !listed && items.is_empty() => Some(Cell::put(&only)),
        last => {
            items.extend(last);
            Some(Cell::put(&Json::Array(items)))
        }
    }
}
