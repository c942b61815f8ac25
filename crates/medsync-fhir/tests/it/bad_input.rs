//! Bad input is refused with its place, by a fixed text, and what follows it is read.

use crate::{read, read_bytes};
use medsync_fhir::read::{Item, Options, RESOURCE_MAX_BYTES, Reader, Reject, Unit};
use std::fs;
use std::io::{BufReader, Cursor, Read};

const GOOD: &str = r#"{"resourceType":"Patient","id":"p1"}"#;

fn rejects(items: &[Item]) -> Vec<(u64, Option<u32>, Reject)> {
    let refused = |item: &Item| Some((item.line, item.entry, *item.outcome.as_ref().err()?));
    items.iter().filter_map(refused).collect()
}

fn taken(items: &[Item]) -> Vec<String> {
    let units = items.iter().flat_map(|item| item.outcome.as_ref());
    units
        .flat_map(Unit::resources)
        .map(|r| r.id.to_string())
        .collect()
}

#[test]
fn a_bad_line_is_refused_by_itself() {
    let deep = format!(
        "{{\"resourceType\":\"Patient\",\"id\":\"a\",\"x\":{}1{}}}",
        "[".repeat(100),
        "]".repeat(100)
    );
    let very_deep = "[".repeat(200_000);
    let large = format!(
        "{{\"resourceType\":\"Binary\",\"id\":\"a\",\"data\":\"{}\"}}",
        "A".repeat(RESOURCE_MAX_BYTES)
    );
    let cases: [(&[u8], Reject); 16] = [
        (
            b"{\"resourceType\":\"Patient\",\"id\":\"\xff\"}",
            Reject::NotUtf8,
        ),
        (
            b"{\"resourceType\":\"Patient\",\"id\":\"a\"",
            Reject::NotJson,
        ),
        (b"{\"resourceType\":\"Patient\",", Reject::NotJson),
        (b"patient", Reject::NotJson),
        (b"[]", Reject::NotAnObject),
        (b"1", Reject::NotAnObject),
        (b"{\"id\":\"a\"}", Reject::NoResourceType),
        (
            b"{\"resourceType\":\"../Patient\",\"id\":\"a\"}",
            Reject::NoResourceType,
        ),
        (b"{\"resourceType\":\"Patient\"}", Reject::NoId),
        (b"{\"resourceType\":\"Patient\",\"id\":7}", Reject::BadId),
        (
            b"{\"resourceType\":\"Patient\",\"id\":\"a b\"}",
            Reject::BadId,
        ),
        (
            b"{\"resourceType\":\"Patient\",\"id\":\"a\",\"id\":\"b\"}",
            Reject::DuplicateMember,
        ),
        (
            b"{\"resourceType\":\"Bundle\",\"type\":\"history\"}",
            Reject::History,
        ),
        (deep.as_bytes(), Reject::TooDeep),
        (very_deep.as_bytes(), Reject::NotJson),
        (large.as_bytes(), Reject::TooLarge),
    ];
    for (bad, reject) in cases {
        let good = GOOD.as_bytes();
        for (input, line, number) in [
            ([bad, b"\n", good, b"\n"].concat(), 1, "first"),
            (
                [good, b"\r\n\r\n", bad, b"\n", good].concat(),
                3,
                "in the middle",
            ),
        ] {
            let items = read_bytes(&input, Options::default());
            assert_eq!(rejects(&items), [(line, None, reject)], "{reject} {number}");
            let good_lines = if line == 1 { 1 } else { 2 };
            assert_eq!(taken(&items).len(), good_lines, "{reject} {number}");
        }
    }
}

#[test]
fn a_resource_of_exactly_the_limit_is_read() {
    let frame = r#"{"resourceType":"Binary","id":"a","data":""}"#;
    let data = "A".repeat(RESOURCE_MAX_BYTES - frame.len());
    let line = format!(r#"{{"resourceType":"Binary","id":"a","data":"{data}"}}"#);
    assert_eq!(line.len(), RESOURCE_MAX_BYTES);
    let items = read(&format!("{line}\r\n{GOOD}\n"));
    assert_eq!(taken(&items), ["Binary/a", "Patient/p1"]);
}

#[test]
fn nothing_is_found_in_nothing() {
    for empty in ["", "\n", " \r\n\t\n"] {
        assert!(read(empty).is_empty());
    }
}

#[test]
fn a_bundle_is_never_held_beyond_its_limit() {
    let head: &[u8] = br#"{"resourceType":"Bundle","type":"collection","entry":["#;
    let entry: &[u8] = br#"{"resource":{"resourceType":"Patient","id":"p"}},"#;
    let filler = std::io::repeat(b' ').take(70 * 1024 * 1024);
    let tail = format!("]}}\n{GOOD}\n");
    let input = Cursor::new([head, entry].concat())
        .chain(filler)
        .chain(Cursor::new(tail));
    let stream = Box::new(BufReader::new(input));
    let items: Vec<Item> = Reader::stream("input", stream, Options::default()).collect();
    assert_eq!(rejects(&items), [(1, None, Reject::BundleTooLarge)]);
    assert_eq!(taken(&items), ["Patient/p1"]);
}

const BATCH: &str = r#"{
 "resourceType": "Bundle",
 "type": "TYPE",
 "entry": [
  {"fullUrl": "urn:uuid:2f5b", "resource": {"resourceType": "Patient"}, "request": {"method": "POST", "url": "Patient"}},
  {"request": {"method": "DELETE", "url": "Patient/p2"}},
  {"resource": {"resourceType": "Patient", "id": "p3"}, "request": {"method": "PUT", "url": "Patient/p4"}},
  {"resource": {"resourceType": "Patient", "id": "p5"}, "request": {"method": "PUT", "url": "Patient?name=x"}},
  {"resource": {"resourceType": "Patient", "id": "p6"}, "request": {"method": "PATCH", "url": "Patient/p6"}},
  {"resource": {"resourceType": "Patient"}},
  {"fullUrl": "http://example.org/Patient/p7"},
  {"resource": {"resourceType": "Bundle", "type": "collection"}},
  {"resource": {"resourceType": "Patient", "id": "p8", "id": "p9"}},
  7,
  {"search": {"mode": "outcome"}, "resource": {"resourceType": "OperationOutcome"}},
  {"resource": {"resourceType": "Group", "id": "p10"}, "request": {"method": "PUT", "url": "Group/p10"}},
  {"resource": {"resourceType": "Person", "id": "p10"}}
 ]
}"#;

fn expected() -> Vec<(u64, Option<u32>, Reject)> {
    [
        Reject::Delete,
        Reject::UrlMismatch,
        Reject::Method,
        Reject::Method,
        Reject::NoId,
        Reject::NoResource,
        Reject::NestedBundle,
        Reject::DuplicateMember,
        Reject::BadBundle,
    ]
    .into_iter()
    .zip(2..)
    .map(|(reject, number)| (4 + u64::from(number), Some(number), reject))
    .collect()
}

#[test]
fn bad_entries_of_a_batch_are_refused_by_themselves() {
    let items = read(&BATCH.replace("TYPE", "batch"));
    assert_eq!(rejects(&items), expected());
    assert_eq!(taken(&items), ["Patient/2f5b", "Group/p10", "Person/p10"]);
    let with_id = items[0].outcome.as_ref().expect("good").resources()[0]
        .json
        .text();
    assert_eq!(with_id, r#"{"id":"2f5b","resourceType":"Patient"}"#);
}

#[test]
fn a_transaction_with_a_bad_entry_is_refused_as_a_whole() {
    let items = read(&BATCH.replace("TYPE", "transaction"));
    let mut all = expected();
    all.push((1, None, Reject::Transaction));
    assert_eq!(rejects(&items), all);
    assert!(taken(&items).is_empty());
}

#[test]
fn a_lenient_reader_takes_the_good_entries_of_a_transaction() {
    let text = BATCH.replace("TYPE", "transaction");
    let items = read_bytes(text.as_bytes(), Options { lenient: true });
    assert_eq!(rejects(&items), expected());
    assert_eq!(taken(&items), ["Patient/2f5b", "Group/p10", "Person/p10"]);
    let single = |unit: &Unit| matches!(unit, Unit::Resource(_));
    let units = items.iter().filter_map(|item| item.outcome.as_ref().ok());
    assert!(units.into_iter().all(single));
    let places: Vec<(u64, Option<u32>)> = items
        .iter()
        .filter(|item| item.outcome.is_ok())
        .map(|item| (item.line, item.entry))
        .collect();
    assert_eq!(places, [(5, Some(1)), (16, Some(12)), (17, Some(13))]);
}

/// A transaction of so many patients, one a line.
fn transaction(entries: usize, more: &str) -> String {
    let entries: Vec<String> = (0..entries)
        .map(|n| format!("{{\"resource\":{{\"resourceType\":\"Patient\",\"id\":\"p{n}\"{more}}}}}"))
        .collect();
    let head = "{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[\n";
    format!("{head}{}\n]}}\n", entries.join(",\n"))
}

#[test]
fn the_resources_of_a_transaction_know_where_they_stood() {
    let items = read(&transaction(3, ""));
    let [item] = &items[..] else {
        panic!("{items:?}");
    };
    assert_eq!((item.line, item.entry), (1, None));
    let unit = item.outcome.as_ref().expect("good");
    let places: Vec<_> = unit.resources().iter().map(|r| (r.line, r.entry)).collect();
    assert_eq!(places, [(2, Some(1)), (3, Some(2)), (4, Some(3))]);
    let resources = item.outcome.clone().expect("good").into_resources();
    assert_eq!(resources, unit.resources());
}

#[test]
fn a_transaction_that_is_too_much_for_one_commit_is_refused_for_one_reason() {
    let too_large = [(1, None, Reject::TransactionTooLarge)];
    assert_eq!(taken(&read(&transaction(4096, ""))).len(), 4096);
    let many = transaction(4097, "");
    assert_eq!(rejects(&read(&many)), too_large);
    let lenient = read_bytes(many.as_bytes(), Options { lenient: true });
    assert_eq!((taken(&lenient).len(), rejects(&lenient).len()), (4097, 0));
    // 180 of 200 kB are more than 32 MiB; what comes after is read.
    let large = transaction(180, &format!(",\"x\":\"{}\"", "y".repeat(200_000)));
    let items = read(&format!("{}\n{GOOD}\n", large.replace('\n', "")));
    assert_eq!(rejects(&items), too_large);
    assert_eq!(taken(&items), ["Patient/p1"]);
}

#[test]
fn a_document_that_is_not_json_is_named_by_the_line_where_it_breaks() {
    let broken = "{\n \"resourceType\": \"Patient\",\n \"id\": \"a\",\n \"x\": nil\n}\n";
    assert_eq!(rejects(&read(broken)), [(4, None, Reject::NotJson)]);
    let mut bundle = transaction(2000, ",\"x\":\"0123456789012345678901234567890123456789\"");
    bundle = bundle.replace("\"p1999\"", "\"p1999\"\"");
    assert!(bundle.len() > 2 * RESOURCE_MAX_BYTES / 3);
    assert_eq!(rejects(&read(&bundle)), [(2001, None, Reject::NotJson)]);
    let lines = format!("{GOOD}\n{{\"resourceType\":\"Patient\",\n{GOOD}\n");
    assert_eq!(rejects(&read(&lines)), [(2, None, Reject::NotJson)]);
}

#[test]
fn a_transaction_names_each_resource_once() {
    let entry = format!("{{\"resource\":{GOOD}}}");
    let text = format!(
        "{{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[{entry},{entry}]}}"
    );
    let items = read(&text);
    assert_eq!(
        rejects(&items),
        [(1, Some(2), Reject::Twice), (1, None, Reject::Transaction)]
    );
    assert!(taken(&items).is_empty());
}

#[test]
fn a_directory_is_read_in_order_of_path() {
    let home = tempfile::tempdir().expect("a directory");
    let at = |name: &str| home.path().join(name);
    fs::create_dir(at("b")).expect("creates");
    for (name, id) in [
        ("c.json", "3"),
        ("b/x.NDJSON", "2"),
        ("a.json", "1"),
        ("b.txt", "9"),
    ] {
        let text = format!("{{\n \"resourceType\": \"Patient\",\n \"id\": \"{id}\"\n}}\n");
        fs::write(at(name), text).expect("writes");
    }
    fs::write(at("d.json"), "{").expect("writes");
    let reader = Reader::open(home.path(), Options::default()).expect("opens");
    let items: Vec<Item> = reader.collect();
    assert_eq!(taken(&items), ["Patient/1", "Patient/2", "Patient/3"]);
    assert_eq!(rejects(&items), [(1, None, Reject::NotJson)]);
    assert!(items[3].source_name.ends_with("d.json"));
    assert!(Reader::open(&at("missing"), Options::default()).is_err());
}

#[test]
fn a_refusal_never_quotes_the_input() {
    let canary = "Zebulon-Canary";
    for text in [
        format!("{{\"resourceType\":\"{canary}!\",\"id\":\"{canary}\"}}"),
        format!("{{\"resourceType\":\"Patient\",\"id\":\"{canary} {canary}\"}}"),
        format!("{{\"{canary}\":1,\"{canary}\":2}}"),
        format!("{{\"resourceType\":\"Patient\",\"id\":\"{canary}\",{canary}"),
        format!("{{\"resourceType\":\"Patient\",\"id\":\"a\",\"name\":\"{canary}\"}}"),
    ] {
        for item in read(&text) {
            let mut shown = format!("{item:?}");
            if let Err(reject) = &item.outcome {
                shown += &reject.to_string();
            }
            assert!(!shown.contains(canary), "{shown}");
        }
    }
}

mod arbitrary {
    use super::{Options, read_bytes};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_input_makes_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            read_bytes(&bytes, Options::default());
        }

        #[test]
        fn no_cut_of_a_bundle_makes_the_reader_panic(cut in 0..super::BATCH.len()) {
            let text = super::BATCH.replace("TYPE", "transaction");
            read_bytes(&text.as_bytes()[..cut], Options { lenient: true });
        }
    }
}
