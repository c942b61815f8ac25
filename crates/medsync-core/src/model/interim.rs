//! Safe interims: what a contested field shows until a person has decided.

use crate::model::cell::{Atom, Cell};
use crate::model::json::Json;
use crate::model::pack::{Interim, order_rank};
use crate::model::policy::Operation;

/// The interim of candidates that differ.
pub(crate) fn pick(
    interim: Interim,
    (order, by): (&[String], &str),
    candidates: &[&Operation],
    last_agreed: &dyn Fn() -> Option<Cell>,
) -> Option<Cell> {
    match interim {
        Interim::Unknown => None,
        Interim::LastAgreed => last_agreed().or_else(|| common(candidates)),
        Interim::Union => union(candidates).or_else(last_agreed),
        Interim::Highest | Interim::MostRestrictive => candidates
            .iter()
            .max_by_key(|c| (order_rank(order, by, json(&c.cell).as_ref()), c.hlc, c.id))
            .map(|c| c.cell.clone()),
    }
}

/// Whether a value is of bound members.
pub(crate) fn is_bound(cell: &Cell) -> bool {
    let members = |atom: &Atom| matches!(atom, Atom::Members(_));
    matches!(cell.standing(), Cell::Put { atom, .. } if members(atom))
}

/// What all candidates say, of a value they had never agreed on: the members of a bound atom that are
/// equal in all. An order that two people wrote with two doses shows its medicine, and no dose.
fn common(candidates: &[&Operation]) -> Option<Cell> {
    let members = |operation: &&Operation| match operation.cell.standing() {
        Cell::Put {
            atom: Atom::Members(members),
            ..
        } => Some(members.to_vec()),
        _ => None,
    };
    let mut all = candidates.iter().map(members);
    let mut shared = all.next()??;
    for other in all {
        let other = other?;
        shared.retain(|member| other.contains(member));
    }
    let atom = Atom::Members(shared.into_boxed_slice());
    let whole = matches!(&atom, Atom::Members(members) if !members.is_empty());
    whole.then_some(Cell::Put { atom, order: None })
}

/// The value of a cell; `None` for a removal. Bound members are an object.
fn json(cell: &Cell) -> Option<Json> {
    let Cell::Put { atom, .. } = cell.standing() else {
        return None;
    };
    Json::parse(atom.text().as_bytes()).ok()
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
