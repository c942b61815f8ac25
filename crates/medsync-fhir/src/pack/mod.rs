//! The clinical policy pack: data that a clinician can review (`clinical.json`, `docs/policies.md`).

use medsync_core::model::pack::PolicyPack;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The pack's file, as shipped.
pub const CLINICAL_JSON: &[u8] = include_bytes!("clinical.json");

/// The clinical pack for FHIR R4 that this version ships.
pub fn clinical() -> PolicyPack {
    PolicyPack::from_json(CLINICAL_JSON).expect("the shipped pack is fixed and a test reads it")
}

/// The top-level elements of the kinds, as FHIR R4 defines them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Elements {
    /// Where the definitions come from.
    pub source: String,
    /// Elements that every kind may have.
    pub common: BTreeMap<String, Element>,
    /// Elements by FHIR kind.
    pub kinds: BTreeMap<String, BTreeMap<String, Element>>,
    /// Elements of medsync's own kinds, for which R4 has no resource.
    pub own: BTreeMap<String, BTreeMap<String, Element>>,
}

/// What FHIR R4 says of one element.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Element {
    /// It repeats.
    pub list: bool,
    /// `isModifier`: it changes the meaning of the record.
    pub modifier: bool,
    /// Its type is primitive.
    pub primitive: bool,
    /// Paths of `isModifier` elements inside it.
    pub nested_modifiers: Vec<String>,
    /// The codes of a required binding; empty where there is none or it is large.
    pub codes: Vec<String>,
}

/// The element table that this version ships.
pub fn elements() -> Elements {
    serde_json::from_slice(include_bytes!("elements.json"))
        .expect("the shipped table is fixed and a test reads it")
}

impl Elements {
    /// The elements of a kind, without the common ones.
    pub fn of(&self, kind: &str) -> Option<&BTreeMap<String, Element>> {
        self.kinds.get(kind).or_else(|| self.own.get(kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use medsync_core::model::json::Json;
    use medsync_core::model::pack::{FieldPolicy, Interim, PolicyRow, Reopen, order_rank};
    use std::path::PathBuf;

    fn field(kind: &str, name: &str) -> FieldPolicy {
        clinical().kinds[kind].fields[name].clone()
    }

    #[test]
    fn the_shipped_pack_and_table_parse() {
        let pack = clinical();
        assert_eq!(pack.name, "clinical-r4");
        assert!(pack.kinds.len() >= 45);
        assert!(elements().kinds.len() >= 45);
        assert_eq!(PolicyPack::from_json(&pack.to_bytes()), Ok(pack));
    }

    #[test]
    fn the_pack_is_ascii_and_small_enough_for_one_ledger_item() {
        assert!(CLINICAL_JSON.is_ascii());
        assert!(clinical().to_bytes().len() < 192 * 1024);
    }

    #[test]
    fn a_stopped_medicine_never_comes_back() {
        for kind in [
            "MedicationRequest",
            "MedicationStatement",
            "MedicationDispense",
            "MedicationAdministration",
        ] {
            let PolicyRow::Lattice(lattice) = field(kind, "status").policy else {
                panic!("{kind}.status is a lattice");
            };
            assert_eq!(lattice.reopen, Reopen::Never, "{kind}");
            assert!(lattice.is_terminal("stopped"), "{kind}");
            assert!(lattice.is_terminal("entered-in-error"), "{kind}");
            assert!(
                lattice.beside.contains(&"medication[x]".to_owned()),
                "{kind}"
            );
            for code in lattice.ranks.iter().flatten() {
                let live = matches!(code.as_str(), "active" | "on-hold" | "in-progress");
                assert!(!live || lattice.rank(code) < lattice.rank("stopped"));
            }
        }
    }

    #[test]
    fn only_these_statuses_can_be_reopened_by_somebody_who_saw_the_end() {
        let mut reopened = Vec::new();
        for (kind, policy) in &clinical().kinds {
            for field in policy.fields.values() {
                if let PolicyRow::Lattice(lattice) = &field.policy {
                    assert_eq!(
                        lattice.ranks.last(),
                        Some(&vec!["entered-in-error".to_owned()])
                    );
                    if lattice.reopen == Reopen::BySeen {
                        reopened.push(kind.clone());
                    }
                }
            }
        }
        let expected = [
            "Appointment",
            "CarePlan",
            "Encounter",
            "Immunization",
            "Procedure",
            "ServiceRequest",
        ];
        assert_eq!(reopened, expected);
    }

    #[test]
    fn every_rule_passes_over_what_was_recorded_in_error() {
        let rules = clinical().rules;
        let mut names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), rules.len(), "names are unique");
        for rule in rules.iter().filter(|rule| rule.kind != "Patient") {
            let mut codes = rule.except.iter().flat_map(|exempt| &exempt.codes);
            assert!(
                codes.any(|code| code == "entered-in-error"),
                "{}",
                rule.name
            );
        }
    }

    #[test]
    fn a_denied_or_withdrawn_consent_holds_while_it_is_contested() {
        for (name, open, closed) in [
            ("status", "\"active\"", "\"inactive\""),
            ("status", "\"active\"", "\"rejected\""),
            (
                "provision",
                r#"{"provision":{"type":"permit"}}"#,
                r#"{"provision":{"type":"deny"}}"#,
            ),
        ] {
            let PolicyRow::Escalate { order, by, .. } = field("Consent", name).policy else {
                panic!("{name} escalates");
            };
            let rank = |text: &str| {
                order_rank(
                    &order,
                    &by,
                    Some(&Json::parse(text.as_bytes()).expect("JSON")),
                )
            };
            assert!(rank(closed) > rank(open), "{name}");
        }
    }

    #[test]
    fn a_dose_and_a_reading_are_one_atom_each() {
        let dose = field("MedicationRequest", "medication[x]");
        for member in [
            "dosageInstruction",
            "dispenseRequest",
            "substitution",
            "contained",
        ] {
            assert!(dose.members.iter().any(|m| m == member), "{member}");
        }
        let reading = field("Observation", "value[x]");
        for member in [
            "component",
            "referenceRange",
            "interpretation",
            "dataAbsentReason",
        ] {
            assert!(reading.members.iter().any(|m| m == member), "{member}");
        }
    }

    #[test]
    fn what_is_contested_about_an_allergy_reads_as_allergic() {
        let rank = |name: &str, text: &str| {
            let PolicyRow::Escalate { order, by, interim } =
                field("AllergyIntolerance", name).policy
            else {
                panic!("{name} escalates");
            };
            assert!(matches!(
                interim,
                Interim::Highest | Interim::MostRestrictive
            ));
            order_rank(
                &order,
                &by,
                Some(&Json::parse(text.as_bytes()).expect("JSON")),
            )
        };
        let concept = |code: &str| format!("{{\"coding\":[{{\"code\":\"{code}\"}}]}}");
        let status = "verificationStatus";
        assert!(rank(status, &concept("confirmed")) > rank(status, &concept("refuted")));
        assert!(rank(status, &concept("unconfirmed")) > rank(status, &concept("entered-in-error")));
        assert!(
            rank("clinicalStatus", &concept("active"))
                > rank("clinicalStatus", &concept("resolved"))
        );
        assert!(rank("criticality", "\"high\"") > rank("criticality", "\"unable-to-assess\""));
        assert!(rank("criticality", "\"unable-to-assess\"") > rank("criticality", "\"low\""));
    }

    #[test]
    fn no_modifier_of_the_published_list_is_decided_by_a_clock() {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../../../shared/data/fhir-r4-ismodifier.json");
        let text = std::fs::read(&path).expect("../shared/data/fhir-r4-ismodifier.json is there");
        let list = Json::parse(&text).expect("JSON");
        let pack = clinical();
        let mut seen = 0;
        for (kind, facts) in list.members() {
            for path in facts.get("isModifier").expect("a list").items() {
                let path = path.as_str().expect("a path");
                let (_, inner) = path.split_once('.').expect("kind and element");
                let top = inner.split('.').next().expect("an element");
                let mut rows = pack.kinds[&**kind].fields.iter();
                let bound = |f: &FieldPolicy| f.members.iter().any(|m| m == top);
                let row = rows.find(|(name, field)| *name == top || bound(field));
                let (_, row) = row.expect("every modifier has a row");
                let fit = match &row.policy {
                    PolicyRow::Lww | PolicyRow::Counter { .. } => false,
                    PolicyRow::Set { contest_edits, .. } => *contest_edits,
                    PolicyRow::Lattice(_) | PolicyRow::Escalate { .. } => true,
                };
                assert!(fit, "{path}");
                seen += 1;
            }
        }
        assert!(seen >= 30, "{seen} modifiers in the list");
    }
}
