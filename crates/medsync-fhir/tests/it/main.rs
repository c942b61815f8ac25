//! Reading and writing FHIR from the outside.

mod bad_input;
mod export;
mod real_data;

use medsync_fhir::read::{Item, Options, Reader};
use std::io::Cursor;

/// Reads a text as a stream.
fn read(text: &str) -> Vec<Item> {
    read_bytes(text.as_bytes(), Options::default())
}

fn read_bytes(text: &[u8], options: Options) -> Vec<Item> {
    Reader::stream("input", Box::new(Cursor::new(text.to_vec())), options).collect()
}
