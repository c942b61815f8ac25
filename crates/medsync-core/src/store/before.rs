//! The data file as it was before a change of format.

use super::Store;
use super::file::{self, DATA_FILE};
use super::place::Place;
use crate::error::{Error, Result};
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
            let mut from = home.place.read(DATA_FILE)?;
            let mut to = home.place.create(&file::new_name(&name))?;
            io::copy(&mut from, &mut to)?;
            to.sync()
        };
        copy().map_err(|e| {
            // What there is of it takes the room that was wanting.
            file::remove(&*home.place, &file::new_name(&name));
            Error::io(WHAT, &e)
        })?;
        file::rename_new(&*home.place, &name)
    }

    /// The formats of which a copy is kept.
    pub fn befores(&self) -> Result<Vec<u32>> {
        let Some(home) = &self.engine.home else {
            return Ok(Vec::new());
        };
        befores(&*home.place)
    }

    /// Removes the copies of older formats.
    pub fn drop_befores(&self) -> Result<()> {
        let Some(home) = &self.engine.home else {
            return Ok(());
        };
        for format in befores(&*home.place)? {
            home.place
                .remove(&name(format))
                .map_err(|e| Error::io("removing the copy of an older format", &e))?;
        }
        Ok(())
    }
}

fn befores(place: &dyn Place) -> Result<Vec<u32>> {
    let prefix = format!("{DATA_FILE}.before-");
    let names = place.names();
    let names = names.map_err(|e| Error::io("listing the vault's folder", &e))?;
    let number = |name: &String| name.strip_prefix(&prefix)?.parse().ok();
    let mut formats: Vec<u32> = names.iter().filter_map(number).collect();
    formats.sort_unstable();
    Ok(formats)
}
