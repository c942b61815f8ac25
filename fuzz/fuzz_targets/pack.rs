//! A pack that is read is written as what is read as the same; it compiles, can be linted, and a
//! resource comes apart and back together under it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use medsync_core::ids::{RecordId, WorkspaceId};
use medsync_core::model::cell::Cell;
use medsync_core::model::json::Json;
use medsync_core::model::kind::ActivePack;
use medsync_core::model::pack::{PolicyPack, PolicyRow, order_rank};
use medsync_core::model::shape::{self, ElementNamer};

const RESOURCE: &str = r#"{"_birthDate":{"id":"b"},"active":true,"birthDate":"1970","deceasedBoolean":false,"gender":"male","id":"1","identifier":[{"system":"s","value":"v"},{"system":"s","value":"v"}],"meta":{"versionId":"1"},"name":[{"family":"F","given":["G"]},{"id":"n2"}],"resourceType":"Patient","status":"active","valueQuantity":{"value":1.0}}"#;

fuzz_target!(|input: &[u8]| {
    let Ok(pack) = PolicyPack::from_json(input) else {
        return;
    };
    assert_eq!(PolicyPack::from_json(&pack.to_bytes()).as_ref(), Ok(&pack));
    medsync_fhir::lint::lint(&pack);
    let active = ActivePack::new(pack);
    let resource = Json::parse(RESOURCE.as_bytes()).expect("JSON");
    let record = RecordId::new("Patient", "1").expect("a name");
    let namer = ElementNamer::new(&WorkspaceId([7; 32]));
    let kinds = active.pack().kinds.keys().map(String::as_str);
    for kind in kinds.chain(["Patient"]).take(8) {
        let rules = active.kind(kind);
        for (_, lattice) in rules.lattices() {
            assert!(
                lattice
                    .terminal
                    .iter()
                    .all(|code| lattice.is_terminal(code))
            );
        }
        for (name, value) in resource.members() {
            let field = rules.field_of(name);
            if let PolicyRow::Escalate { order, by, .. } = rules.policy(field) {
                assert!(order_rank(order, by, Some(value)) <= order.len() + 1);
            }
        }
        let Ok(atoms) = shape::flatten(&resource, rules, &namer) else {
            continue;
        };
        let shown = atoms.iter().filter_map(|(key, cell)| match cell {
            Cell::Put { atom, order } => Some((&**key, atom, order.as_ref())),
            _ => None,
        });
        assert_eq!(shape::render(&record, shown), RESOURCE);
    }
});
