//! What parses has one canonical text, which parses to the same and is its own canonical text.

#![no_main]

use libfuzzer_sys::fuzz_target;
use medsync_core::model::json::{DEPTH_MAX, Json};

fuzz_target!(|input: &[u8]| {
    let Ok(json) = Json::parse(input) else {
        return;
    };
    assert!(json.depth() <= DEPTH_MAX);
    let text = json.text();
    let again = Json::parse(text.as_bytes()).expect("canonical text parses");
    assert!(again == json && again.text() == text);
});
