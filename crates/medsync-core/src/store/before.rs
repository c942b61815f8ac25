//! The data file as it was before a change of format.

use super::file::{self, DATA_FILE};
use super::{Home, Store};
use crate::error::{Error, Result};
use std::fs;
use std::io;

/// The name of the data file of an older format.
fn name(format: u32) -> String {
    format!("{DATA_FILE}.before-{format}")
}

impl Store {
    /// Keeps a copy of the data file as it stands, under the name of its format; durable when it
    /// returns. A store without files keeps none. Nothing may be written meanwhile.
    pub fn keep_before(&self, format: u32) -> Result<()> {
        let Some(home) = &self.engine.home else {
            return Ok(());
        };
        const WHAT: &str = "keeping a copy of the vault's data file; it needs as much room again";
        let name = name(format);
        let copy = || -> io::Result<()> {
            let mut from = fs::File::open(home.dir.join(DATA_FILE))?;
            let mut to = file::create_new(&home.dir, &name).map_err(io::Error::other)?;
            io::copy(&mut from, &mut to)?;
            to.sync_all()
        };
        copy().map_err(|e| {
            // What there is of it takes the room that was wanting.
            fs::remove_file(file::new_path(&home.dir, &name)).ok();
            Error::io(WHAT, &e)
        })?;
        file::rename_new(&home.dir, &name)
    }

    /// The formats of which a copy is kept.
    pub fn befores(&self) -> Result<Vec<u32>> {
        let Some(home) = &self.engine.home else {
            return Ok(Vec::new());
        };
        befores(home)
    }

    /// Removes the copies of older formats.
    pub fn drop_befores(&self) -> Result<()> {
        let Some(home) = &self.engine.home else {
            return Ok(());
        };
        for format in befores(home)? {
            fs::remove_file(home.dir.join(name(format)))
                .map_err(|e| Error::io("removing the copy of an older format", &e))?;
        }
        Ok(())
    }
}

fn befores(home: &Home) -> Result<Vec<u32>> {
    const WHAT: &str = "listing the vault's folder";
    let prefix = format!("{DATA_FILE}.before-");
    let mut formats = Vec::new();
    for entry in fs::read_dir(&home.dir).map_err(|e| Error::io(WHAT, &e))? {
        let file = entry.map_err(|e| Error::io(WHAT, &e))?.file_name();
        let format = file.to_str().and_then(|f| f.strip_prefix(&prefix));
        formats.extend(format.and_then(|f| f.parse::<u32>().ok()));
    }
    formats.sort_unstable();
    Ok(formats)
}
