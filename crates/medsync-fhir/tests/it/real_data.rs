//! Every resource of the shared data reads, whatever form it comes in.

use crate::read;
use medsync_core::model::json::Json;
use medsync_fhir::pack::{clinical, elements};
use medsync_fhir::read::{Item, Options, Reader};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

fn data(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data")
        .join(name);
    assert!(
        path.exists(),
        "../shared/data/{name} must lie beside the repository"
    );
    path
}

fn read_all(name: &str) -> Vec<Item> {
    Reader::open(&data(name), Options::default())
        .expect("opens")
        .collect()
}

fn count_good(items: &[Item]) -> usize {
    for item in items {
        let place = (&item.source_name, item.line, item.entry);
        assert_eq!(item.outcome.as_ref().err(), None, "{place:?}");
    }
    items.len()
}

#[test]
fn every_synthea_line_reads() {
    let items = read_all("synthea-r4/patients");
    assert_eq!(count_good(&items), 8_056);
    assert!(
        items
            .windows(2)
            .all(|pair| pair[0].source_name <= pair[1].source_name)
    );
    let both = read_all("synthea-r4/all615.Patient.ndjson").len()
        + count_good(&read_all("synthea-r4/all615.AllergyIntolerance.ndjson"));
    assert_eq!(both, 989);
}

#[test]
fn every_hl7_example_reads() {
    assert_eq!(count_good(&read_all("fhir-r4-examples")), 263);
}

#[test]
fn what_was_read_is_what_stood_there() {
    let mut files: Vec<PathBuf> = fs::read_dir(data("fhir-r4-examples"))
        .expect("lists")
        .map(|entry| entry.expect("entry").path())
        .collect();
    files.sort();
    for (path, item) in files.iter().zip(read_all("fhir-r4-examples")) {
        let expected = Json::parse(&fs::read(path).expect("reads")).expect("JSON");
        let unit = item.outcome.expect("good");
        let [resource] = unit.resources() else {
            panic!("one resource")
        };
        assert_eq!(resource.json.text(), expected.text());
        assert_eq!(
            Some(resource.id.id()),
            expected.get("id").and_then(Json::as_str)
        );
    }
}

#[test]
fn the_pack_has_a_row_for_every_element_that_occurs() {
    let (pack, table) = (clinical(), elements());
    let mut missing = BTreeSet::new();
    let mut kinds = BTreeMap::new();
    for item in ["synthea-r4", "fhir-r4-examples"]
        .into_iter()
        .flat_map(read_all)
    {
        let unit = item.outcome.expect("good");
        for resource in unit.resources() {
            let kind = resource.id.kind();
            *kinds.entry(kind.to_owned()).or_insert(0_u32) += 1;
            let Some(known) = table.of(kind).filter(|_| pack.kinds.contains_key(kind)) else {
                missing.insert(kind.to_owned());
                continue;
            };
            for (member, _) in resource.json.members() {
                let member = member.trim_start_matches('_');
                let mut all = known.keys().chain(table.common.keys());
                let fits = |p: &String| medsync_core::model::pack::pattern_matches(p, member);
                if member != "resourceType" && !all.any(fits) {
                    missing.insert(format!("{kind}.{member}"));
                }
            }
        }
    }
    assert_eq!(missing, BTreeSet::new());
    assert_eq!(kinds.len(), 30);
}

#[test]
fn one_patient_reads_the_same_from_lines_a_document_and_bundles() {
    let file = fs::read_dir(data("synthea-r4/patients"))
        .expect("lists")
        .next();
    let lines = fs::read_to_string(file.expect("a file").expect("entry").path()).expect("reads");
    let texts = |input: &str| -> Vec<String> {
        let items = read(input);
        count_good(&items);
        let units = items.iter().flat_map(|item| item.outcome.as_ref());
        units
            .flat_map(|unit| unit.resources())
            .map(|r| r.json.text())
            .collect()
    };
    let expected = texts(&lines);
    assert!(expected.len() > 10);
    for kind in ["collection", "searchset", "batch", "transaction"] {
        let entries: Vec<String> = lines
            .lines()
            .map(|line| format!("{{\"resource\":{line}}}"))
            .collect();
        // The type stands last, as sorted members have it, and the Bundle exceeds one resource.
        let one_line = format!(
            "{{\"entry\":[{}],\"resourceType\":\"Bundle\",\"type\":\"{kind}\"}}",
            entries.join(",")
        );
        assert_eq!(texts(&one_line), expected, "{kind} in one line");
        let printed = format!(
            "{{\n \"resourceType\": \"Bundle\",\n \"type\": \"{kind}\",\n \"entry\": [\n{}\n]\n}}\n",
            entries.join(",\n")
        );
        assert_eq!(texts(&printed), expected, "{kind} printed");
        let crlf = format!("\u{feff}{}", printed.replace('\n', "\r\n"));
        assert_eq!(
            texts(&crlf),
            expected,
            "{kind} with a byte order mark and CRLF"
        );
    }
}
