//! Writes resources as NDJSON or as one Bundle, one at a time.

use medsync_core::error::{Error, Result};
use std::io::Write;

/// The form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// One resource a line.
    #[default]
    Ndjson,
    /// One Bundle of type `collection`, one entry a line.
    Bundle,
}

/// Writes canonical JSON texts of resources and returns how many there were.
///
/// # Errors
/// The first error of the texts, or [`Error::Storage`]; what was written until then is incomplete,
/// so write to a file that is renamed when this has returned.
pub fn write<T: AsRef<str>>(
    mut out: impl Write,
    format: Format,
    texts: impl IntoIterator<Item = Result<T>>,
) -> Result<u64> {
    let mut count = 0;
    let mut put = |parts: [&str; 3]| {
        let mut parts = parts.iter();
        parts
            .try_for_each(|part| out.write_all(part.as_bytes()))
            .map_err(|e| Error::io("write the export", &e))
    };
    if format == Format::Bundle {
        put([r#"{"resourceType":"Bundle","type":"collection""#, "", ""])?;
    }
    for text in texts {
        let text = text?;
        match (format, count) {
            (Format::Ndjson, _) => put([text.as_ref(), "\n", ""])?,
            (Format::Bundle, 0) => put([",\"entry\":[\n{\"resource\":", text.as_ref(), "}"])?,
            (Format::Bundle, _) => put([",\n{\"resource\":", text.as_ref(), "}"])?,
        }
        count += 1;
    }
    if format == Format::Bundle {
        // FHIR has no empty arrays: a Bundle of nothing has no `entry`.
        put([if count > 0 { "\n]" } else { "" }, "}\n", ""])?;
    }
    out.flush().map_err(|e| Error::io("write the export", &e))?;
    Ok(count)
}
