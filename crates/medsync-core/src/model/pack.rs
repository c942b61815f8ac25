//! Policy packs: which policy each field of each kind has, as reviewable data.

use crate::error::{Error, Result};
use crate::model::json::Json;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Format of the pack file this engine reads.
pub const PACK_FORMAT: u32 = 1;

/// Most kinds of a pack: FHIR R4 has 148.
pub const KINDS_MAX: usize = 512;
/// Most rows of one kind, and most housekeeping rows: the widest kind of FHIR R4 has 40 elements.
pub const ROWS_MAX: usize = 256;
/// Most members that one row binds.
pub const MEMBERS_MAX: usize = 64;
/// Longest name of a kind, row or bound member, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// Sync priority: P0 travels first. A commit takes the most urgent lane of its records.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub enum Lane {
    /// Allergies, active medicines, critical results.
    P0,
    /// Diagnoses, orders, results.
    P1,
    /// The rest of the clinical record.
    #[default]
    P2,
    /// Housekeeping, administration, audit.
    P3,
}

/// How soon a person should decide. The due time of an escalation follows from it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    /// Due within an hour.
    Critical,
    /// Due within a day.
    High,
    /// Due within a week.
    #[default]
    Medium,
    /// Due within thirty days.
    Low,
}

impl Risk {
    /// Milliseconds until an escalation of this risk is due.
    pub const fn due_in_ms(self) -> i64 {
        const HOUR: i64 = 3_600_000;
        match self {
            Self::Critical => HOUR,
            Self::High => 24 * HOUR,
            Self::Medium => 7 * 24 * HOUR,
            Self::Low => 30 * 24 * HOUR,
        }
    }
}

/// A versioned set of policies for kinds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyPack {
    /// Format of this file: [`PACK_FORMAT`].
    pub format: u32,
    /// The pack's name.
    pub name: String,
    /// The pack's version: the highest delivered one is active.
    pub version: u32,
    /// Policies by kind. A kind that is not here escalates every field but the housekeeping ones.
    pub kinds: BTreeMap<String, KindPolicy>,
    /// Policies of elements that every kind has (`meta`, `text`, `language`).
    #[serde(default)]
    pub housekeeping: BTreeMap<String, FieldPolicy>,
    /// Rules over several fields or records.
    #[serde(default)]
    pub rules: Vec<crate::model::rule::Rule>,
}

/// The policies of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KindPolicy {
    /// The lane of its records.
    #[serde(default)]
    pub lane: Lane,
    /// Risk of an escalation where the field names none.
    #[serde(default)]
    pub risk: Risk,
    /// Path of the reference to the patient (`subject`, `patient`); `"self"` for the patient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patient: Option<String>,
    /// Policies by field name. `value[x]` stands for every `valueQuantity`, `valueString` ..
    #[serde(default)]
    pub fields: BTreeMap<String, FieldPolicy>,
    /// What can be searched: index name to path.
    #[serde(default)]
    pub indexes: Vec<Index>,
}

/// What `search` and `list --where` can find.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// The index's name: `name`, `identifier`, `birthdate`, `patient`, `date` ..
    pub name: String,
    /// The member's path; arrays are searched item by item.
    pub path: String,
    /// Split into lower-case words, for names.
    #[serde(default)]
    pub words: bool,
}

/// How one field merges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldPolicy {
    /// The policy.
    pub policy: PolicyRow,
    /// Present when each item of an array is an atom of its own: how the items are told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<ElementKey>,
    /// Members bound into one atom, `value[x]` patterns allowed; empty: the field itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
    /// Risk of an escalation of this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<Risk>,
    /// An engineering judgement that a clinician should sign before clinical use.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub judgement: bool,
    /// Why this policy, with its source.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// How items of a list are told apart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ElementKey {
    /// The business key: members that together name an item. Empty: its `id`, else its content.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
}

/// A policy and its parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum PolicyRow {
    /// The latest value wins; the others stay in history.
    Lww,
    /// Union by item; a retraction is a value.
    Set {
        /// Two different edits of one item are contested (else the latest wins).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        contest_edits: bool,
        /// An edit beside a retraction of one item is contested (else the item stays).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        contest_retractions: bool,
    },
    /// Status codes that only rise.
    Lattice(Lattice),
    /// Sum of per-replica parts.
    Counter {
        /// Below this the field is contested.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        floor: Option<i64>,
    },
    /// A person decides where two people disagreed.
    Escalate {
        /// What is shown meanwhile.
        #[serde(default)]
        interim: Interim,
        /// For `highest` and `most-restrictive`: codes, least first. A value whose code is not
        /// here stands above them all, absence below: what nobody foresaw is taken seriously.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        order: Vec<String>,
        /// Path of the code inside the value (`coding.code`); it starts with the member where the
        /// field binds several or is a choice (`deceased[x]`). Empty: the value is the code.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        by: String,
    },
}

/// Whether a member falls under a pattern: `value[x]` stands for `valueString`, not for `values`.
pub fn pattern_matches(pattern: &str, member: &str) -> bool {
    match pattern.strip_suffix("[x]") {
        Some(stem) => member
            .strip_prefix(stem)
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase())),
        None => pattern == member,
    }
}

/// Where a value stands in an order of codes: 0 for absence, above the last code for a stranger.
/// Of several codes (a concept's codings) the highest counts.
pub fn order_rank(order: &[String], by: &str, value: Option<&Json>) -> usize {
    let Some(value) = value else { return 0 };
    let mut found = vec![value];
    for name in by.split('.').filter(|name| !name.is_empty()) {
        found = found
            .into_iter()
            .flat_map(|at| match at {
                Json::Array(items) => &items[..],
                one => std::slice::from_ref(one),
            })
            .flat_map(Json::members)
            .filter(|(member, _)| pattern_matches(name, member))
            .map(|(_, value)| value)
            .collect();
    }
    let rank = |code: &&Json| {
        let code = match code {
            Json::String(text) => text.to_string(),
            other => other.text(),
        };
        order.iter().position(|known| *known == code)
    };
    let stranger = order.len();
    let ranks = found.iter().map(|code| rank(code).unwrap_or(stranger));
    ranks.max().unwrap_or(stranger) + 1
}

/// What a contested field shows until a person has decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interim {
    /// The value all candidates' authors had seen and agreed on.
    #[default]
    LastAgreed,
    /// The candidate that stands highest in the pack's order.
    Highest,
    /// The candidate that forbids most, by the pack's order.
    MostRestrictive,
    /// Nothing: absence of a value is the safe reading.
    Unknown,
    /// All candidates' items together.
    Union,
}

/// A status lattice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lattice {
    /// Ranks, lowest first; the codes of one rank in order of safety, safest last.
    pub ranks: Vec<Vec<String>>,
    /// Codes that hold against anything lower, earlier or concurrent.
    pub terminal: Vec<String>,
    /// Whether someone who saw a terminal status can lower it again.
    pub reopen: Reopen,
    /// Fields whose concurrent change beside a terminal status is contested.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<String>,
}

/// What may follow a terminal status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reopen {
    /// Only a higher rank.
    Never,
    /// Anything, by someone who saw it.
    BySeen,
}

impl Lattice {
    /// The rank of a code.
    pub fn rank(&self, code: &str) -> Option<usize> {
        self.ranks
            .iter()
            .position(|rank| rank.iter().any(|c| c == code))
    }

    /// The rank of a code and its place within the rank.
    pub fn place(&self, code: &str) -> Option<(usize, usize)> {
        let within = |rank: &Vec<String>| rank.iter().position(|c| c == code);
        let mut ranks = self.ranks.iter().enumerate();
        ranks.find_map(|(rank, codes)| Some((rank, within(codes)?)))
    }

    /// Whether the code is terminal. A code above a terminal one is terminal too, listed or not:
    /// else a stopped medicine marked as entered in error could be set active again.
    pub fn is_terminal(&self, code: &str) -> bool {
        let listed = |c: &str| self.terminal.iter().any(|t| t == c);
        listed(code)
            || self
                .rank(code)
                .and_then(|rank| self.ranks.get(..rank))
                .is_some_and(|below| below.iter().flatten().any(|c| listed(c)))
    }
}

impl PolicyPack {
    /// Reads a pack file.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the line of a bad file, [`Error::TooNew`] a newer format.
    pub fn from_json(text: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        // First, because a newer format has members that this engine does not know.
        if let Ok(Format { format }) = serde_json::from_slice(text)
            && format > PACK_FORMAT
        {
            return Err(Error::TooNew {
                what: "the policy pack",
                found: format,
                known: PACK_FORMAT,
            });
        }
        let pack: Self = serde_json::from_slice(text).map_err(|e| {
            Error::invalid_at(
                "not a policy pack; an unknown policy or member, or bad JSON",
                format!("line {}, column {}", e.line(), e.column()),
            )
        })?;
        pack.check()?;
        Ok(pack)
    }

    /// The pack's bytes: what is hashed, signed and sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a pack has only string keys")
    }

    /// The pack's hash, over [`PolicyPack::to_bytes`].
    pub fn hash(&self) -> [u8; 32] {
        blake3::derive_key("medsync v1 policy pack", &self.to_bytes())
    }

    /// Limits, and parameters that contradict themselves. Each kind gets the housekeeping rows, so
    /// without limits a pack of a megabyte would fill gigabytes once it is compiled.
    fn check(&self) -> Result<()> {
        within("a pack's name is too long", self.name.len(), NAME_BYTES_MAX)?;
        within("a pack has too many kinds", self.kinds.len(), KINDS_MAX)?;
        check_rows("", &self.housekeeping)?;
        for (kind, policy) in &self.kinds {
            within("a kind's name is too long", kind.len(), NAME_BYTES_MAX)?;
            check_rows(kind, &policy.fields)?;
        }
        Ok(())
    }
}

fn within(what: &'static str, found: usize, max: usize) -> Result<()> {
    if found > max {
        return Err(Error::invalid_at(what, format!("{found}, at most {max}")));
    }
    Ok(())
}

fn check_rows(kind: &str, rows: &BTreeMap<String, FieldPolicy>) -> Result<()> {
    within("a pack has too many rows for a kind", rows.len(), ROWS_MAX)?;
    for (name, field) in rows {
        within(
            "a row binds too many members",
            field.members.len(),
            MEMBERS_MAX,
        )?;
        for name in std::iter::once(name).chain(&field.members) {
            within(
                "the name of a row or member is too long",
                name.len(),
                NAME_BYTES_MAX,
            )?;
        }
        if let Some(what) = contradiction(field) {
            return Err(Error::invalid_at(what, format!("{kind}.{name}")));
        }
    }
    Ok(())
}

/// What in a row's parameters contradicts itself.
fn contradiction(field: &FieldPolicy) -> Option<&'static str> {
    let found = match &field.policy {
        PolicyRow::Lattice(lattice) => {
            let mut codes: Vec<&String> = lattice.ranks.iter().flatten().collect();
            let all = codes.len();
            codes.sort_unstable();
            codes.dedup();
            if lattice
                .terminal
                .iter()
                .any(|t| codes.binary_search(&t).is_err())
            {
                Some("a terminal status has no rank")
            } else if codes.len() != all {
                Some("a status has two ranks")
            } else {
                let list = field.list.is_some();
                list.then_some("a lattice field cannot be a list")
            }
        }
        PolicyRow::Escalate { interim, order, .. } => {
            let ordered = matches!(interim, Interim::Highest | Interim::MostRestrictive);
            (ordered && order.is_empty()).then_some("this interim needs an order of codes")
        }
        PolicyRow::Set { .. } if field.list.is_none() => Some("a set field needs `list`"),
        PolicyRow::Counter { .. } if field.list.is_some() => {
            Some("a counter field cannot be a list")
        }
        _ => None,
    };
    let binds = field.list.is_some() && !field.members.is_empty();
    found.or(binds.then_some("a list field cannot bind members"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_pattern_stands_for_typed_members_only() {
        assert!(pattern_matches("value[x]", "valueQuantity"));
        assert!(!pattern_matches("value[x]", "value"));
        assert!(!pattern_matches("value[x]", "values"));
        assert!(pattern_matches("note", "note"));
    }

    #[test]
    fn housekeeping_rows_are_checked_like_those_of_a_kind() {
        let pack = |row: &str| {
            let text = format!(
                r#"{{"format":1,"name":"x","version":1,"kinds":{{}},"housekeeping":{{"meta":{row}}}}}"#
            );
            PolicyPack::from_json(text.as_bytes())
        };
        assert!(pack(r#"{"policy":"lww"}"#).is_ok());
        for bad in [
            r#"{"policy":{"set":{}}}"#,
            r#"{"policy":{"counter":{}},"list":{}}"#,
            r#"{"policy":{"escalate":{"interim":"highest"}}}"#,
            r#"{"policy":{"lattice":{"ranks":[["a"]],"terminal":["b"],"reopen":"never"}}}"#,
            r#"{"policy":{"lattice":{"ranks":[["a"],["a"]],"terminal":[],"reopen":"never"}}}"#,
        ] {
            assert!(pack(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pack_has_limits() {
        let pack = |kinds: usize, rows: usize, name: usize| {
            let row = |i: usize| format!(r#""{i:0name$}":{{"policy":"lww"}}"#);
            let all = |n: usize, one: &dyn Fn(usize) -> String| {
                (0..n).map(one).collect::<Vec<_>>().join(",")
            };
            let text = format!(
                r#"{{"format":1,"name":"x","version":1,"kinds":{{{}}},"housekeeping":{{{}}}}}"#,
                all(kinds, &|i| format!(r#""K{i}":{{}}"#)),
                all(rows, &row)
            );
            PolicyPack::from_json(text.as_bytes())
        };
        assert!(pack(KINDS_MAX, ROWS_MAX, 1).is_ok());
        assert!(pack(0, 1, NAME_BYTES_MAX).is_ok());
        assert!(pack(KINDS_MAX + 1, 0, 1).is_err());
        assert!(pack(0, ROWS_MAX + 1, 1).is_err());
        assert!(pack(0, 1, NAME_BYTES_MAX + 1).is_err());
    }

    #[test]
    fn an_order_ranks_absence_lowest_and_strangers_highest() {
        let order = ["low".to_owned(), "high".to_owned()];
        let rank = |by: &str, text: &str| {
            order_rank(
                &order,
                by,
                Some(&Json::parse(text.as_bytes()).expect("JSON")),
            )
        };
        assert_eq!(order_rank(&order, "", None), 0);
        assert_eq!(rank("", "\"low\""), 1);
        assert_eq!(rank("", "\"high\""), 2);
        assert_eq!(rank("", "\"odd\""), 3);
        assert_eq!(rank("coding.code", "{\"coding\":[{\"code\":\"high\"}]}"), 2);
        assert_eq!(rank("coding.code", "{\"text\":\"free\"}"), 3);
        let two = "{\"coding\":[{\"code\":\"low\"},{\"code\":\"high\"}]}";
        assert_eq!(rank("coding.code", two), 2);
        let dead = ["false".to_owned()];
        let value = Json::parse(b"{\"deceasedBoolean\":false}").expect("JSON");
        assert_eq!(order_rank(&dead, "deceased[x]", Some(&value)), 1);
        let value = Json::parse(b"{\"deceasedDateTime\":\"2020\"}").expect("JSON");
        assert_eq!(order_rank(&dead, "deceased[x]", Some(&value)), 2);
    }
}
