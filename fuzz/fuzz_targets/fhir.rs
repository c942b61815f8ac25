//! Every resource that is read has its name, comes apart and back together under the clinical pack,
//! and is taken apart the same way twice.

#![no_main]

use libfuzzer_sys::fuzz_target;
use medsync_core::ids::WorkspaceId;
use medsync_core::model::cell::Cell;
use medsync_core::model::json::Json;
use medsync_core::model::kind::ActivePack;
use medsync_core::model::shape::{self, ElementNamer};
use medsync_fhir::read::{Options, Reader, Resource};
use std::io::Cursor;
use std::sync::LazyLock;

static PACK: LazyLock<ActivePack> =
    LazyLock::new(|| ActivePack::new(medsync_fhir::pack::clinical()));

fuzz_target!(|input: &[u8]| {
    let mut counts = [0; 2];
    for (count, lenient) in counts.iter_mut().zip([false, true]) {
        let stream = Box::new(Cursor::new(input.to_vec()));
        for item in Reader::stream("input", stream, Options { lenient }) {
            let Ok(unit) = item.outcome else { continue };
            *count += unit.resources().len();
            unit.resources().iter().for_each(comes_back);
        }
    }
    assert!(counts[0] <= counts[1]);
});

fn comes_back(resource: &Resource) {
    let json = &resource.json;
    let text = |name| json.get(name).and_then(Json::as_str);
    assert_eq!(text("resourceType"), Some(resource.id.kind()));
    assert_eq!(text("id"), Some(resource.id.id()));
    let namer = ElementNamer::new(&WorkspaceId([7; 32]));
    let rules = PACK.kind(resource.id.kind());
    let Ok(atoms) = shape::flatten(json, rules, &namer) else {
        return;
    };
    let shown = atoms.iter().filter_map(|(key, cell)| match cell {
        Cell::Put { atom, order } => Some((&**key, atom, order.as_ref())),
        _ => None,
    });
    let view = shape::render(&resource.id, shown);
    assert_eq!(view, json.text());
    let again = Json::parse(view.as_bytes()).expect("a view is JSON");
    assert!(shape::flatten(&again, rules, &namer).as_ref() == Ok(&atoms));
}
