//! A draft being worked out: its steps become cells, against what its author saw.

use crate::doc::state::RecordState;
use crate::error::{Error, Result};
use crate::model::cell::{Atom, Cell, is_key};
use crate::model::json::Json;
use crate::model::kind::{KindRules, field_of_key, key_in_logs};
use crate::model::order::Order;
use crate::model::pack::PolicyRow;
use crate::model::shape::{ElementNamer, flatten, whole};
use crate::vault::draft::Step;
use std::collections::BTreeMap;

/// A draft being worked out.
pub(crate) struct Page<'a> {
    pub(crate) rules: &'a KindRules,
    pub(crate) namer: ElementNamer,
    pub(crate) seen: &'a RecordState,
    /// What the author saw, with the steps so far.
    pub(crate) json: Json,
    pub(crate) cells: BTreeMap<Box<str>, Cell>,
    pub(crate) reason: Option<&'a str>,
    pub(crate) replica: String,
}

impl Page<'_> {
    /// Works one step out.
    pub(crate) fn take(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Set(member, value) => self.set(&member, value),
            Step::Remove(member) => self.remove(&member),
            Step::Add(field, item) => self.add(&field, &item),
            Step::SetElement(key, item) => self.set_element(&key, &item),
            Step::Retract(key) => self.retract(&key),
            Step::Count(field, delta) => self.count(&field, delta),
            Step::Whole(resource) => self.whole(&resource),
        }
    }

    fn is_list(&self, field: &str) -> bool {
        self.rules.row(field).is_some_and(|row| row.list.is_some())
    }

    fn set(&mut self, member: &str, value: Json) -> Result<()> {
        if matches!(member, "id" | "resourceType") {
            return Err(Error::invalid_at(
                "this member names the record and stays",
                member,
            ));
        }
        is_a_value(&value)?;
        if member.contains('/') {
            return self.set_element(member, &value);
        }
        is_a_field(member)?;
        let field = self.rules.field_of(member).to_owned();
        if matches!(self.rules.policy(&field), PolicyRow::Counter { .. }) {
            return Err(Error::invalid_at("a counter is added to, not set", field));
        }
        self.drop_other_choices(&field, member);
        self.json.set(member, value);
        self.rewrite(&field)
    }

    /// `valueString` takes the place of `valueQuantity`.
    fn drop_other_choices(&mut self, field: &str, member: &str) {
        let patterns = self.rules.row(field).map_or(&[][..], |row| &row.members);
        let own = [field.to_owned()];
        let patterns = if patterns.is_empty() {
            &own[..]
        } else {
            patterns
        };
        let plain = member.trim_start_matches('_');
        let Some(prefix) = patterns
            .iter()
            .filter_map(|p| p.strip_suffix("[x]"))
            .find(|p| plain.len() > p.len() && plain.starts_with(p))
        else {
            return;
        };
        let others: Vec<Box<str>> = self
            .json
            .members()
            .iter()
            .map(|(name, _)| name.clone())
            .filter(|name| {
                let other = name.trim_start_matches('_');
                other.len() > prefix.len()
                    && other.starts_with(prefix)
                    && other != plain
                    && self.rules.field_of(other) == field
            })
            .collect();
        for other in others {
            self.json.remove(&other);
        }
    }

    /// Writes a field anew from the page's JSON.
    fn rewrite(&mut self, field: &str) -> Result<()> {
        let members: Vec<(&str, &Json)> = self
            .json
            .members()
            .iter()
            .filter(|(name, _)| self.rules.field_of(name) == field)
            .map(|(name, value)| (&**name, value))
            .collect();
        if members.is_empty() {
            let reason = self.reason()?.into();
            self.cells.insert(field.into(), Cell::Removed { reason });
            return Ok(());
        }
        if self.is_list(field) {
            let part = Json::object(members.into_iter().map(|(n, v)| (n, v.clone())));
            return self.rewrite_list(field, &part);
        }
        let atom = whole(field, &members);
        self.cells
            .insert(field.into(), Cell::Put { atom, order: None });
        Ok(())
    }

    /// A list set as a whole: items that stay keep their names, further ones are new, and what is
    /// left over is retracted. Where the latest value wins (a phone number), a changed item takes
    /// the name of one that went: that is an edit, and two of them settle by time.
    fn rewrite_list(&mut self, field: &str, part: &Json) -> Result<()> {
        let mut left: BTreeMap<Box<str>, Cell> = self.shown_items(field);
        let mut new = Vec::new();
        for (key, cell) in flatten(part, self.rules, &self.namer)? {
            let same = left.iter().find(|(_, old)| old.same_value(&cell));
            match same.map(|(kept, _)| kept.clone()) {
                Some(kept) => drop(left.remove(&kept)),
                None => new.push((key, cell)),
            }
        }
        // An item with its own name first: its id or business key says which one it is.
        let (known, nameless): (Vec<_>, Vec<_>) =
            new.into_iter().partition(|(key, _)| left.contains_key(key));
        for (key, cell) in known {
            left.remove(&key);
            self.cells.insert(key, cell);
        }
        let replaces = matches!(self.rules.policy(field), PolicyRow::Lww);
        for (key, cell) in nameless {
            let gone = if replaces { left.pop_first() } else { None };
            match gone {
                Some((old, Cell::Put { order, .. })) => {
                    let Cell::Put { atom, .. } = cell else {
                        continue;
                    };
                    self.cells.insert(old, Cell::Put { atom, order });
                }
                _ => drop(self.cells.insert(key, cell)),
            }
        }
        for key in left.into_keys() {
            let reason = self.reason()?.into();
            self.cells.insert(key, Cell::Removed { reason });
        }
        Ok(())
    }

    fn shown_items(&self, field: &str) -> BTreeMap<Box<str>, Cell> {
        self.seen
            .keys
            .iter()
            .filter(|(key, _)| field_of_key(key) == field)
            .filter_map(|(key, k)| Some((key.clone(), k.outcome.shown.clone()?)))
            .collect()
    }

    fn remove(&mut self, member: &str) -> Result<()> {
        if member.contains('/') {
            return self.retract(member);
        }
        let field = self.rules.field_of(member).to_owned();
        if self.json.remove(member).is_none() {
            return Err(Error::invalid_at("the record has no such member", member));
        }
        if self.is_list(&field) {
            for key in self.shown_items(&field).into_keys() {
                self.retract(&key)?;
            }
            return Ok(());
        }
        self.reason()?;
        self.rewrite(&field)
    }

    fn add(&mut self, field: &str, item: &Json) -> Result<()> {
        is_a_value(item)?;
        let Some(list) = self.rules.row(field).and_then(|row| row.list.as_ref()) else {
            return Err(Error::invalid_at(
                "this field is no list of items; set it",
                field,
            ));
        };
        let items = self.shown_items(field);
        if items.keys().any(|key| !key.contains('/')) {
            return Err(Error::invalid_at(
                "this list is kept whole here; set it",
                field,
            ));
        }
        let base = format!("{field}/{}", self.namer.name(item, &list.key));
        let mut key = base.clone();
        let mut n = 1;
        while self.seen.keys.contains_key(&*key) || self.cells.contains_key(&*key) {
            let is_there = items.contains_key(&*key) || self.cells.contains_key(&*key);
            if !is_there {
                break; // it was retracted, and comes back under its name
            }
            n += 1;
            key = format!("{base}#{n}");
        }
        let order_of = |cell: &Cell| match cell {
            Cell::Put { order, .. } => order.clone(),
            _ => None,
        };
        let last = items
            .values()
            .chain(self.cells.values())
            .filter_map(order_of)
            .max();
        let order = Some(Order::between(last.as_ref(), None));
        self.cells.insert(
            key.into(),
            Cell::Put {
                atom: Atom::value(item),
                order,
            },
        );
        Ok(())
    }

    fn set_element(&mut self, key: &str, item: &Json) -> Result<()> {
        is_a_value(item)?;
        let shown = self
            .seen
            .keys
            .get(key)
            .and_then(|k| k.outcome.shown.clone());
        let Some(Cell::Put { order, .. }) = shown else {
            return Err(Error::invalid_at(
                "the list has no such element",
                key_in_logs(key),
            ));
        };
        self.cells.insert(
            key.into(),
            Cell::Put {
                atom: Atom::value(item),
                order,
            },
        );
        Ok(())
    }

    fn retract(&mut self, key: &str) -> Result<()> {
        let reason = self.reason()?.into();
        if !self.seen.keys.contains_key(key) {
            return Err(Error::invalid_at(
                "the list has no such element",
                key_in_logs(key),
            ));
        }
        self.cells.insert(key.into(), Cell::Removed { reason });
        Ok(())
    }

    fn count(&mut self, field: &str, delta: i64) -> Result<()> {
        if !matches!(self.rules.policy(field), PolicyRow::Counter { .. }) {
            return Err(Error::invalid_at("this field is no counter; set it", field));
        }
        let key: Box<str> = format!("{field}/{}", self.replica).into();
        let so_far = match self.cells.get(&key) {
            Some(cell) => crate::doc::shown::part(Some(cell)),
            None => {
                let state = self.seen.keys.get(&key);
                crate::doc::shown::part(state.and_then(|k| k.outcome.shown.as_ref()))
            }
        };
        let sum = i64::try_from(so_far + i128::from(delta))
            .map_err(|_| Error::invalid_at("the counter would overflow", field))?;
        let atom = Atom::Value(sum.to_string().into());
        self.cells.insert(key, Cell::Put { atom, order: None });
        Ok(())
    }

    fn whole(&mut self, resource: &Json) -> Result<()> {
        let fields = |json: &Json| -> std::collections::BTreeSet<String> {
            json.members()
                .iter()
                .filter(|(name, _)| &**name != "id" && &**name != "resourceType")
                .map(|(name, _)| self.rules.field_of(name).to_owned())
                .collect()
        };
        let all: Vec<String> = fields(&self.json)
            .union(&fields(resource))
            .cloned()
            .collect();
        for (name, value) in resource.members() {
            is_a_field(name)?;
            is_a_value(value)?;
        }
        let before = std::mem::replace(&mut self.json, resource.clone());
        for field in all {
            let part = |json: &Json| {
                let members = json.members().iter();
                let own = members.filter(|(name, _)| self.rules.field_of(name) == field);
                own.cloned().collect::<Vec<_>>()
            };
            if part(&before) != part(resource) {
                self.rewrite(&field)?;
            }
        }
        Ok(())
    }

    fn reason(&self) -> Result<&str> {
        self.reason.ok_or(Error::Refused {
            what: "removing or retracting needs a reason",
            hint: "say why (--because)",
        })
    }
}

/// Setting nothing would remove a value without a reason, and leave what FHIR does not know.
fn is_a_value(value: &Json) -> Result<()> {
    if matches!(value, Json::Null) {
        return Err(Error::Refused {
            what: "null is no value",
            hint: "remove what no longer holds, with a reason (--retract FIELD --because ..)",
        });
    }
    Ok(())
}

fn is_a_field(name: &str) -> Result<()> {
    if is_key(name) && !name.contains('/') {
        return Ok(());
    }
    Err(Error::invalid(
        "a field's name is empty, too long or has a slash or a control character",
    ))
}
