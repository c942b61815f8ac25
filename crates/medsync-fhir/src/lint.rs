//! Finds what a policy pack forgot or got wrong, against FHIR R4's own definitions.

use crate::pack::{Element, Elements, elements};
use medsync_core::model::pack::{FieldPolicy, KindPolicy, PolicyPack, PolicyRow, pattern_matches};
use medsync_core::model::rule::{Check, Rule};
use std::collections::BTreeMap;
use std::fmt;

/// One thing that is wrong with a pack.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LintFinding {
    /// The kind; empty for housekeeping rows.
    pub kind: String,
    /// The element, row, code path or rule that it is about.
    pub element: String,
    /// What is wrong.
    pub problem: LintProblem,
}

/// What can be wrong with a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum LintProblem {
    /// FHIR R4 has no such kind and medsync has none of its own.
    UnknownKind,
    /// The element has no row: every difference would escalate as one atom.
    NoRow,
    /// The row or path names an element that the kind does not have.
    UnknownElement,
    /// The element is bound by two rows.
    BoundTwice,
    /// An `isModifier` element would be decided by a clock.
    ModifierByClock,
    /// An element that holds `isModifier` elements would be decided by a clock.
    NestedModifierByClock,
    /// `list` on an element that does not repeat.
    NotAList,
    /// A code that the element's value set does not have.
    UnknownCode,
    /// A code of the value set that the lattice or order leaves out.
    MissingCode,
    /// A row that a clinician should judge gives no reason.
    NoReason,
}

impl fmt::Display for LintProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownKind => "no such kind",
            Self::NoRow => "has no row",
            Self::UnknownElement => "names an element that does not exist",
            Self::BoundTwice => "is bound by two rows",
            Self::ModifierByClock => "is a modifier and must not be decided by a clock",
            Self::NestedModifierByClock => "holds a modifier and must not be decided by a clock",
            Self::NotAList => "is not a list",
            Self::UnknownCode => "is not a code of the value set",
            Self::MissingCode => "is a code without a rank",
            Self::NoReason => "needs a reason",
        })
    }
}

impl fmt::Display for LintFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = self.kind.is_empty() || self.element.is_empty();
        let dot = if one { "" } else { "." };
        write!(f, "{}{dot}{} {}", self.kind, self.element, self.problem)
    }
}

/// Names everything that the pack forgot or got wrong, sorted.
pub fn lint(pack: &PolicyPack) -> Vec<LintFinding> {
    let table = elements();
    let mut findings = Vec::new();
    let mut house = Lint {
        kind: "",
        known: &table.common,
        common: &table.common,
        findings: &mut findings,
    };
    house.rows(&pack.housekeeping);
    house.missing(&table.common, &pack.housekeeping);
    for (kind, policy) in &pack.kinds {
        lint_kind(kind, policy, &table, &mut findings);
    }
    for rule in &pack.rules {
        lint_rule(rule, &table, &mut findings);
    }
    findings.sort();
    findings.dedup();
    findings
}

fn lint_kind(kind: &str, policy: &KindPolicy, table: &Elements, findings: &mut Vec<LintFinding>) {
    let Some(known) = table.of(kind) else {
        findings.push(LintFinding {
            kind: kind.to_owned(),
            element: String::new(),
            problem: LintProblem::UnknownKind,
        });
        return;
    };
    let mut lint = Lint {
        kind,
        known,
        common: &table.common,
        findings,
    };
    lint.rows(&policy.fields);
    lint.missing(known, &policy.fields);
    let patient = policy.patient.iter().filter(|path| *path != "self");
    for path in patient.chain(policy.indexes.iter().map(|index| &index.path)) {
        lint.path(path);
    }
}

fn lint_rule(rule: &Rule, table: &Elements, findings: &mut Vec<LintFinding>) {
    let Some(known) = table.of(&rule.kind) else {
        findings.push(LintFinding {
            kind: rule.kind.clone(),
            element: rule.name.clone(),
            problem: LintProblem::UnknownKind,
        });
        return;
    };
    let mut lint = Lint {
        kind: &rule.kind,
        known,
        common: &table.common,
        findings,
    };
    match &rule.check {
        Check::OneValue { code, value, .. } => {
            lint.path(code);
            lint.path(value);
        }
        Check::Negation { code, .. } | Check::SameCode { code } => lint.path(code),
        Check::Shared { items, .. } | Check::OnePerSystem { items, .. } => lint.path(items),
        Check::Claimed { reference } => lint.path(reference),
    }
    for exempt in &rule.except {
        lint.path(&exempt.path);
        lint.codes(&exempt.path, exempt.codes.iter());
    }
    if rule.why.is_empty() {
        lint.find(&rule.name, LintProblem::NoReason);
    }
}

/// The check of one kind's rows.
struct Lint<'a> {
    kind: &'a str,
    known: &'a BTreeMap<String, Element>,
    common: &'a BTreeMap<String, Element>,
    findings: &'a mut Vec<LintFinding>,
}

impl Lint<'_> {
    fn find(&mut self, element: &str, problem: LintProblem) {
        self.findings.push(LintFinding {
            kind: self.kind.to_owned(),
            element: element.to_owned(),
            problem,
        });
    }

    /// Elements that no row covers. The id is the record's name and never a field.
    fn missing(
        &mut self,
        elements: &BTreeMap<String, Element>,
        rows: &BTreeMap<String, FieldPolicy>,
    ) {
        for name in elements.keys().filter(|name| *name != "id") {
            let covering = rows
                .iter()
                .filter(|(row, field)| binds(row, field).any(|m| m == name));
            match covering.count() {
                0 => self.find(name, LintProblem::NoRow),
                1 => {}
                _ => self.find(name, LintProblem::BoundTwice),
            }
        }
    }

    fn rows(&mut self, rows: &BTreeMap<String, FieldPolicy>) {
        for (row, field) in rows {
            for name in binds(row, field) {
                match self.element(name) {
                    Some(element) => self.element_under(name, &element, field),
                    None => self.find(name, LintProblem::UnknownElement),
                }
            }
            self.parameters(row, field, rows);
            if field.why.is_empty() && (field.judgement || !field.members.is_empty()) {
                self.find(row, LintProblem::NoReason);
            }
        }
    }

    fn element(&self, name: &str) -> Option<Element> {
        let known = self.known.get(name).or_else(|| self.common.get(name));
        known.cloned()
    }

    fn element_under(&mut self, name: &str, element: &Element, field: &FieldPolicy) {
        let by_clock = match &field.policy {
            PolicyRow::Lww | PolicyRow::Counter { .. } => true,
            PolicyRow::Set { contest_edits, .. } => !contest_edits,
            PolicyRow::Lattice(_) | PolicyRow::Escalate { .. } => false,
        };
        if element.modifier && by_clock {
            self.find(name, LintProblem::ModifierByClock);
        }
        if !element.nested_modifiers.is_empty() && by_clock {
            self.find(name, LintProblem::NestedModifierByClock);
        }
        if field.list.is_some() && !element.list {
            self.find(name, LintProblem::NotAList);
        }
    }

    /// Codes and field names that a policy carries.
    fn parameters(&mut self, row: &str, field: &FieldPolicy, rows: &BTreeMap<String, FieldPolicy>) {
        match &field.policy {
            PolicyRow::Lattice(lattice) => {
                self.codes(row, lattice.ranks.iter().flatten());
                let all = self.element(row).map(|e| e.codes).unwrap_or_default();
                for code in all.iter().filter(|code| lattice.rank(code).is_none()) {
                    self.find(&format!("{row}={code}"), LintProblem::MissingCode);
                }
                for beside in lattice.beside.iter().filter(|b| !rows.contains_key(*b)) {
                    self.find(&format!("{row}.{beside}"), LintProblem::UnknownElement);
                }
            }
            PolicyRow::Escalate { order, by, .. } => {
                let first = by.split('.').next().unwrap_or_default();
                let inside = binds(row, field).any(|member| member == first);
                let starts_at_member = !field.members.is_empty() || row.ends_with("[x]");
                if starts_at_member && !order.is_empty() && !inside {
                    self.find(&format!("{row}.{by}"), LintProblem::UnknownElement);
                }
                if !starts_at_member && !order.is_empty() {
                    self.codes(row, order.iter());
                    let all = self.element(row).map(|e| e.codes).unwrap_or_default();
                    for code in all.iter().filter(|code| !order.contains(code)) {
                        self.find(&format!("{row}={code}"), LintProblem::MissingCode);
                    }
                }
            }
            PolicyRow::Lww | PolicyRow::Set { .. } | PolicyRow::Counter { .. } => {}
        }
    }

    /// Codes that the value set of the element does not have.
    fn codes<'c>(&mut self, path: &str, codes: impl Iterator<Item = &'c String>) {
        let top = path.split('.').next().unwrap_or_default();
        let known = self.element(top).map(|e| e.codes).unwrap_or_default();
        for code in codes.filter(|code| !known.is_empty() && !known.contains(code)) {
            self.find(&format!("{top}={code}"), LintProblem::UnknownCode);
        }
    }

    /// A path must start at an element: `value[x]`, or one of its typed members.
    fn path(&mut self, path: &str) {
        let top = path.split('.').next().unwrap_or_default();
        let stands = |name: &String| name == top || pattern_matches(name, top);
        if !self.known.keys().chain(self.common.keys()).any(stands) {
            self.find(path, LintProblem::UnknownElement);
        }
    }
}

/// The elements that a row binds.
fn binds<'a>(row: &'a str, field: &'a FieldPolicy) -> Box<dyn Iterator<Item = &'a str> + 'a> {
    if field.members.is_empty() {
        Box::new(std::iter::once(row))
    } else {
        Box::new(field.members.iter().map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::clinical;
    use medsync_core::model::pack::ElementKey;

    fn problems(edit: impl FnOnce(&mut PolicyPack)) -> Vec<String> {
        let mut pack = clinical();
        edit(&mut pack);
        lint(&pack).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_clinical_pack_is_clean() {
        assert_eq!(problems(|_| {}), Vec::<String>::new());
    }

    #[test]
    fn a_forgotten_element_is_named() {
        let found = problems(|pack| {
            let fields = &mut pack.kinds.get_mut("Observation").expect("kind").fields;
            fields.remove("value[x]");
            pack.housekeeping.remove("text");
        });
        assert!(found.contains(&"Observation.component has no row".to_owned()));
        assert!(found.contains(&"text has no row".to_owned()));
    }

    #[test]
    fn a_modifier_under_a_clock_is_named_also_when_nested() {
        let found = problems(|pack| {
            for (kind, element) in [("Patient", "active"), ("CarePlan", "activity")] {
                let fields = &mut pack.kinds.get_mut(kind).expect("kind").fields;
                fields.get_mut(element).expect("row").policy = PolicyRow::Lww;
            }
        });
        assert_eq!(
            found,
            [
                "CarePlan.activity holds a modifier and must not be decided by a clock",
                "Patient.active is a modifier and must not be decided by a clock",
            ]
        );
    }

    #[test]
    fn rows_codes_and_paths_that_do_not_exist_are_named() {
        let found = problems(|pack| {
            let kind = pack.kinds.get_mut("MedicationRequest").expect("kind");
            let note = kind.fields["note"].clone();
            kind.fields.insert("notes".to_owned(), note);
            kind.indexes[0].path = "patient.reference".to_owned();
            let status = &mut kind.fields.get_mut("status").expect("row").policy;
            if let PolicyRow::Lattice(lattice) = status {
                lattice.ranks[0] = vec!["new".to_owned(), "draft".to_owned()];
                lattice.beside.push("dose".to_owned());
            }
            let gender = &mut pack.kinds.get_mut("Patient").expect("kind").fields;
            gender.get_mut("gender").expect("row").list = Some(ElementKey::default());
            pack.kinds.insert("Wound".to_owned(), KindPolicy::default());
        });
        for expected in [
            "MedicationRequest.notes names an element that does not exist",
            "MedicationRequest.patient.reference names an element that does not exist",
            "MedicationRequest.status.dose names an element that does not exist",
            "MedicationRequest.status=new is not a code of the value set",
            "MedicationRequest.status=unknown is a code without a rank",
            "Patient.gender is not a list",
            "Wound no such kind",
        ] {
            assert!(
                found.contains(&expected.to_owned()),
                "{expected}: {found:?}"
            );
        }
    }
}
