//! What is written reads back as it was.

use crate::read;
use medsync_core::error::{Error, Result};
use medsync_fhir::read::Unit;
use medsync_fhir::write::{Format, write};

fn export(format: Format, texts: &[&str]) -> String {
    let mut out = Vec::new();
    let count = write(&mut out, format, texts.iter().map(|text| Ok(*text))).expect("writes");
    assert_eq!(count, texts.len() as u64);
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn both_forms_read_back_equal() {
    let texts = [
        r#"{"id":"a","resourceType":"Patient"}"#,
        r#"{"id":"b","resourceType":"Observation","valueQuantity":{"value":1.00}}"#,
    ];
    for format in [Format::Ndjson, Format::Bundle] {
        for texts in [&texts[..], &texts[..1], &[]] {
            let items = read(&export(format, texts));
            let units = items
                .iter()
                .map(|item| item.outcome.as_ref().expect("good"));
            let back: Vec<String> = units
                .flat_map(Unit::resources)
                .map(|r| r.json.text())
                .collect();
            assert_eq!(back, texts, "{format:?}");
        }
    }
}

#[test]
fn a_bundle_of_nothing_has_no_empty_array() {
    let text = export(Format::Bundle, &[]);
    assert_eq!(
        text,
        "{\"resourceType\":\"Bundle\",\"type\":\"collection\"}\n"
    );
}

#[test]
fn the_first_error_ends_the_export() {
    let texts: [Result<&str>; 2] = [Ok("{}"), Err(Error::NotFound("record"))];
    let end = write(Vec::new(), Format::Bundle, texts);
    assert_eq!(end, Err(Error::NotFound("record")));
}
