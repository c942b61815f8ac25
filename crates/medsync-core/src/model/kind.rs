//! Compiled packs: which field a member belongs to, and the policy of a key.

use crate::model::pack::{FieldPolicy, Interim, KindPolicy, Lane, Lattice, PolicyPack, PolicyRow};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The policy of a field without a row: every difference goes to a person.
pub static ESCALATE: PolicyRow = PolicyRow::Escalate {
    interim: Interim::LastAgreed,
    order: vec![],
    by: String::new(),
};

/// A pack made ready for look-ups.
#[derive(Debug, Clone)]
pub struct ActivePack {
    pack: PolicyPack,
    hash: [u8; 32],
    kinds: BTreeMap<String, Arc<KindRules>>,
    unknown: Arc<KindRules>,
}

impl ActivePack {
    /// Compiles a pack.
    pub fn new(pack: PolicyPack) -> Self {
        let housekeeping = shared(&pack.housekeeping);
        let kinds = pack
            .kinds
            .iter()
            .map(|(name, kind)| (name.clone(), Arc::new(KindRules::new(kind, &housekeeping))))
            .collect();
        let unknown = Arc::new(KindRules::new(&KindPolicy::default(), &housekeeping));
        Self {
            hash: pack.hash(),
            kinds,
            unknown,
            pack,
        }
    }

    /// The policies of a kind; of an unknown kind every field escalates.
    pub fn kind(&self, name: &str) -> &Arc<KindRules> {
        self.kinds.get(name).unwrap_or(&self.unknown)
    }

    /// The pack itself.
    pub const fn pack(&self) -> &PolicyPack {
        &self.pack
    }

    /// The pack's hash.
    pub const fn hash(&self) -> &[u8; 32] {
        &self.hash
    }
}

/// Rows that many kinds hold.
fn shared(rows: &BTreeMap<String, FieldPolicy>) -> BTreeMap<String, Arc<FieldPolicy>> {
    let share = |(name, row): (&String, &FieldPolicy)| (name.clone(), Arc::new(row.clone()));
    rows.iter().map(share).collect()
}

/// The policies of one kind, by member.
#[derive(Debug)]
pub struct KindRules {
    kind: KindPolicy,
    fields: BTreeMap<String, Arc<FieldPolicy>>,
    /// Member name to field name, where they differ (bound members).
    bound: BTreeMap<String, String>,
    /// Prefix of a choice (`value`) and its field.
    choices: Vec<(String, String)>,
}

impl KindRules {
    fn new(kind: &KindPolicy, housekeeping: &BTreeMap<String, Arc<FieldPolicy>>) -> Self {
        let mut fields = housekeeping.clone();
        fields.extend(shared(&kind.fields));
        let (mut bound, mut choices) = (BTreeMap::new(), Vec::new());
        for (name, field) in &fields {
            let own = std::slice::from_ref(name);
            let members = if field.members.is_empty() {
                own
            } else {
                &field.members
            };
            for member in members {
                match member.strip_suffix("[x]") {
                    Some(prefix) => choices.push((prefix.to_owned(), name.clone())),
                    None if member != name => {
                        bound.insert(member.clone(), name.clone());
                    }
                    None => {}
                }
            }
        }
        Self {
            kind: kind.clone(),
            fields,
            bound,
            choices,
        }
    }

    /// The field that a member of the resource belongs to. `_birthDate` goes with `birthDate`.
    pub fn field_of<'a>(&'a self, member: &'a str) -> &'a str {
        let plain = member.strip_prefix('_').unwrap_or(member);
        // `_id` and `_resourceType` have no field to go with: the record's name holds those.
        if plain == "id" || plain == "resourceType" {
            return member;
        }
        if let Some(field) = self.bound.get(plain) {
            return field;
        }
        if self.fields.contains_key(plain) {
            return plain;
        }
        let chosen = self.choices.iter().find(|(prefix, _)| {
            plain
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
        });
        chosen.map_or(plain, |(_, field)| field)
    }

    /// The row of a field, if it has one.
    pub fn row(&self, field: &str) -> Option<&FieldPolicy> {
        self.fields.get(field).map(Arc::as_ref)
    }

    /// The policy of a field; one without a row escalates.
    pub fn policy(&self, field: &str) -> &PolicyRow {
        self.row(field).map_or(&ESCALATE, |row| &row.policy)
    }

    /// The lattice of a field, if it has one.
    pub fn lattice(&self, field: &str) -> Option<&Lattice> {
        match self.policy(field) {
            PolicyRow::Lattice(lattice) => Some(lattice),
            _ => None,
        }
    }

    /// Fields with a lattice.
    pub fn lattices(&self) -> impl Iterator<Item = (&str, &Lattice)> {
        self.fields
            .iter()
            .filter_map(|(name, row)| match &row.policy {
                PolicyRow::Lattice(lattice) => Some((name.as_str(), lattice)),
                _ => None,
            })
    }

    /// The kind's own row: patient path, lane, indexes.
    pub const fn kind(&self) -> &KindPolicy {
        &self.kind
    }

    /// The lane of the kind's records.
    pub const fn lane(&self) -> Lane {
        self.kind.lane
    }

    /// The risk of an escalation of a field.
    pub fn risk(&self, field: &str) -> crate::model::pack::Risk {
        self.row(field)
            .and_then(|row| row.risk)
            .unwrap_or(self.kind.risk)
    }
}

/// A key as logs and errors may show it: the name of an element is data, only its field is told.
pub fn key_in_logs(key: &str) -> String {
    match key.split_once('/') {
        Some((field, _)) => format!("{field}/.."),
        None => key.to_owned(),
    }
}

/// The field of a key `field` or `field/element`.
pub fn field_of_key(key: &str) -> &str {
    key.split_once('/').map_or(key, |(field, _)| field)
}
