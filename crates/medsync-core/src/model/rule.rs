//! Rules over several fields or records of one patient, from a closed set.
//!
//! A rule sorts records into groups and gives each a side; a finding is a group whose sides
//! disagree. So a rule needs nothing but an index, and a finding settles when the data does.

use serde::{Deserialize, Serialize};

/// A rule the pack switches on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The rule's name, unique in the pack.
    pub name: String,
    /// The kind it reads.
    pub kind: String,
    /// What it looks for.
    pub check: Check,
    /// How soon a person should look.
    #[serde(default)]
    pub risk: crate::model::pack::Risk,
    /// Records it passes over: path, and the codes that exempt (`entered-in-error`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<Exempt>,
    /// An engineering judgement that a clinician should sign before clinical use.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub judgement: bool,
    /// What to tell the person, and the source.
    pub why: String,
}

/// A record that a rule passes over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exempt {
    /// Path of the code.
    pub path: String,
    /// The codes that exempt.
    pub codes: Vec<String>,
}

/// The closed set of checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Check {
    /// One patient has two different values for the same coded fact (a blood group).
    OneValue {
        /// Path of the code.
        code: String,
        /// `system|code` that it applies to.
        codes: Vec<String>,
        /// Path of the value, `value[x]` patterns allowed.
        value: String,
    },
    /// A negative statement (no known allergy) stands beside a positive one.
    Negation {
        /// Path of the code.
        code: String,
        /// `system|code` of the negative statements.
        negative: Vec<String>,
    },
    /// The same code stands twice for one patient: probably one fact recorded twice.
    SameCode {
        /// Path of the code.
        code: String,
    },
    /// One value (an identifier) stands on records that should each have their own.
    Shared {
        /// Path of the items.
        items: String,
        /// Members that name an item.
        key: Vec<String>,
        /// Only these systems; empty: all.
        #[serde(default)]
        systems: Vec<String>,
    },
    /// One record has two values where one is expected (two numbers of one system).
    OnePerSystem {
        /// Path of the items.
        items: String,
        /// Only these systems; empty: all.
        #[serde(default)]
        systems: Vec<String>,
    },
    /// Several records claim what only one can have (a slot, a prescription's single dispense).
    Claimed {
        /// Path of the reference.
        reference: String,
    },
}
