//! Reading and writing FHIR from the outside.

mod audit;
mod bad;
mod bad_input;
mod canary;
mod drown;
mod export;
mod laws;
mod real_data;
mod vault;
mod week;
mod world;

use medsync_fhir::read::{Item, Options, Reader};
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// Reads a text as a stream.
fn read(text: &str) -> Vec<Item> {
    read_bytes(text.as_bytes(), Options::default())
}

fn read_bytes(text: &[u8], options: Options) -> Vec<Item> {
    Reader::stream("input", Box::new(Cursor::new(text.to_vec())), options).collect()
}

/// A part of the data beside the repository. Missing data is a failure, never a skipped test.
fn shared(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data")
        .join(name);
    assert!(
        path.exists(),
        "../shared/data/{name} must lie beside the repository"
    );
    path
}
