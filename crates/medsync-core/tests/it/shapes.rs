//! Every resource of the shared data comes apart and back together exactly.

use medsync_core::ids::{RecordId, WorkspaceId};
use medsync_core::model::cell::Cell;
use medsync_core::model::json::Json;
use medsync_core::model::kind::ActivePack;
use medsync_core::model::pack::PolicyPack;
use medsync_core::model::shape::{self, Atoms, ElementNamer};
use std::path::{Path, PathBuf};

fn data() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    assert!(
        path.join("synthea-r4").is_dir() && path.join("fhir-r4-examples").is_dir(),
        "the shared data is missing: put it beside the repository, as shared/data"
    );
    path
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == ending))
        .collect();
    files.sort();
    files
}

/// Calls `each` with every resource.
fn resources(mut each: impl FnMut(&str, &[u8])) -> usize {
    let data = data();
    let mut count = 0;
    let mut lines = files(&data.join("synthea-r4"), "ndjson");
    lines.extend(files(&data.join("synthea-r4/patients"), "ndjson"));
    for file in lines {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let text = std::fs::read(&file).expect("a file");
        for line in text.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            each(&name, line);
            count += 1;
        }
    }
    for file in files(&data.join("fhir-r4-examples"), "json") {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        each(&name, &std::fs::read(&file).expect("a file"));
        count += 1;
    }
    count
}

/// Many fields as lists, with and without business keys, bound members and choices, for all kinds.
fn crowded() -> PolicyPack {
    let list = |key: &str| format!(r#"{{"policy":{{"set":{{}}}},"list":{{"key":[{key}]}}}}"#);
    let plain = [
        "name",
        "telecom",
        "address",
        "extension",
        "contained",
        "category",
        "note",
        "component",
        "participant",
        "reaction",
        "performer",
        "result",
        "item",
        "line",
        "given",
        "dosage",
        "communication",
        "contact",
        "link",
        "photo",
        "instantiatesCanonical",
        "instantiatesUri",
        "modifierExtension",
        "bodySite",
        "targetSiteCode",
        "activity",
        "diagnosis",
        "tag",
    ];
    let mut fields: Vec<String> = plain
        .iter()
        .map(|f| format!("\"{f}\":{}", list("")))
        .collect();
    fields.push(format!("\"identifier\":{}", list(r#""system","value""#)));
    fields.push(format!("\"coding\":{}", list(r#""system","code""#)));
    fields.push(format!("\"basedOn\":{}", list(r#""reference""#)));
    fields.push(
        r#""request":{"policy":{"escalate":{}},"members":["medication[x]","dosageInstruction",
           "dispenseRequest","substitution"]}"#
            .to_owned(),
    );
    for choice in [
        "value",
        "effective",
        "onset",
        "deceased",
        "multipleBirth",
        "occurrence",
    ] {
        fields.push(format!(
            r#""{choice}[x]":{{"policy":{{"escalate":{{}}}},"members":["{choice}[x]"]}}"#
        ));
    }
    fields.push(r#""code":{"policy":{"escalate":{}},"members":["code","status"]}"#.to_owned());
    let text = format!(
        r#"{{"format":1,"name":"crowded","version":1,"kinds":{{}},"housekeeping":{{{}}}}}"#,
        fields.join(",")
    );
    PolicyPack::from_json(text.as_bytes()).expect("a valid pack")
}

fn empty() -> PolicyPack {
    let text = br#"{"format":1,"name":"empty","version":1,"kinds":{}}"#;
    PolicyPack::from_json(text).expect("a valid pack")
}

fn render(record: &RecordId, atoms: &Atoms) -> String {
    let shown = atoms.iter().filter_map(|(key, cell)| match cell {
        Cell::Put { atom, order } => Some((&**key, atom, order.as_ref())),
        _ => None,
    });
    shape::render(record, shown)
}

fn comes_back(pack: PolicyPack) -> (usize, usize) {
    let pack = ActivePack::new(pack);
    let namer = ElementNamer::new(&WorkspaceId([7; 32]));
    let mut keys = 0;
    let count = resources(|name, line| {
        let json = Json::parse(line).expect(name);
        let text = |member| json.get(member).and_then(Json::as_str).unwrap_or("1");
        let record = RecordId::new(text("resourceType"), text("id")).expect("a name");
        let atoms = match shape::flatten(&json, pack.kind(record.kind()), &namer) {
            Ok(atoms) => atoms,
            Err(error) => {
                assert!(
                    json.text().len() > shape::RESOURCE_MAX / 2,
                    "{name}: {error}"
                );
                return;
            }
        };
        keys += atoms.len();
        assert_eq!(render(&record, &atoms), json.text(), "{name} {record}");
        let again = Json::parse(json.text().as_bytes()).expect("canonical");
        let twice = shape::flatten(&again, pack.kind(record.kind()), &namer).expect("the same");
        assert!(
            twice == atoms,
            "{name} {record}: names of items are not stable"
        );
    });
    (count, keys)
}

#[test]
fn every_resource_comes_back_under_an_unknown_kind() {
    let (count, keys) = comes_back(empty());
    println!("{count} resources, {keys} keys");
    assert!(count > 1_000);
}

#[test]
fn every_resource_comes_back_with_lists_bound_members_and_choices() {
    let (count, keys) = comes_back(crowded());
    println!("{count} resources, {keys} keys");
    assert!(count > 1_000);
}

fn flat(text: &str) -> Result<Atoms, medsync_core::error::Error> {
    let pack = ActivePack::new(crowded());
    let namer = ElementNamer::new(&WorkspaceId([7; 32]));
    let json = Json::parse(text.as_bytes()).expect("JSON");
    shape::flatten(&json, pack.kind("Any"), &namer)
}

#[test]
fn odd_lists_come_back_too() {
    let record = RecordId::new("Any", "1").expect("a name");
    for members in [
        r#""name":[]"#,
        r#""name":[null]"#,
        r#""name":{"family":"A"}"#,
        r#""name":[1,1,1,{"id":"x"},{"id":"x"},{"id":"a b"},[],""]"#,
        r#""_given":[null,{"id":"e"}],"given":["a","a"]"#,
        r#""_given":[{"id":"e"},null],"given":[null,"b"]"#,
        r#""_given":[{"id":"e"},null],"given":["a"]"#,
        r#""_given":[{"id":"e"},null]"#,
        r#""_name":{"id":"e"},"name":[1]"#,
        r#""_valueString":{"id":"e"},"valueString":"x""#,
        r#""value":1,"values":2,"valueX":3"#,
        r#""code":{"text":"a"},"status":"final""#,
        r#""status":"final""#,
        r#""_id":{"extension":[1]}"#,
        r#""identifier":[{"system":"a","value":"b"},{"system":"a","value":"b"},{"value":"b"},{}]"#,
    ] {
        let json =
            Json::parse(format!("{{{members},\"id\":\"1\",\"resourceType\":\"Any\"}}").as_bytes())
                .expect("JSON");
        let atoms = flat(&json.text()).expect("flattens");
        assert_eq!(render(&record, &atoms), json.text(), "{members}");
    }
}

#[test]
fn names_that_cannot_be_keys_and_deep_values_are_refused() {
    for members in [r#""a/b":1"#, r#""":1"#, r#""a\u0001":1"#] {
        flat(&format!("{{{members}}}")).expect_err(members);
    }
    let deep = |n: usize| format!("{{\"x\":{}{}}}", "[".repeat(n), "]".repeat(n));
    flat(&deep(50)).expect("real data is not nested deeper");
    flat(&deep(63)).expect_err("too deep for a record");
    flat(&format!("{{\"x\":\"{}\"}}", "a".repeat(300_000))).expect_err("too large");
    assert!(flat("[]").is_err());
}

#[test]
fn a_list_of_a_hundred_thousand_equal_items_is_judged_at_once() {
    let text = format!("{{\"name\":[{}1]}}", "1,".repeat(100_000));
    flat(&text).expect_err("too large once taken apart");
}

#[test]
fn no_cell_renames_the_record() {
    let record = RecordId::new("Any", "1").expect("a name");
    let put = |text: &str| Cell::put(&Json::string(text));
    let atoms: Atoms = [("id", "2"), ("resourceType", "Other"), ("x", "y")]
        .into_iter()
        .map(|(key, text)| (key.into(), put(text)))
        .collect();
    assert_eq!(
        render(&record, &atoms),
        r#"{"id":"1","resourceType":"Any","x":"y"}"#
    );
}

#[test]
fn a_list_kept_whole_by_one_and_as_items_by_another_shows_both() {
    let record = RecordId::new("Any", "1").expect("a name");
    let mut atoms = flat(r#"{"_given":[null,{"id":"e"}],"given":["a","b"]}"#).expect("items");
    let whole = Json::parse(b"[\"c\",\"d\"]").expect("JSON");
    atoms.insert("given".into(), Cell::put(&whole));
    assert_eq!(
        render(&record, &atoms),
        r#"{"_given":[null,null,null,{"id":"e"}],"given":["c","d","a","b"],"id":"1","resourceType":"Any"}"#
    );
}
