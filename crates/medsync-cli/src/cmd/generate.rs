//! Prints an invented clinic.

use crate::cli::Generate;
use crate::cmd::files;
use crate::exit::Done;
use medsync_core::error::Result;
use medsync_fhir::generate::Clinic;
use medsync_fhir::write::{Format, write};

pub(super) fn run(args: &Generate) -> Done {
    let texts = Clinic::new(args.seed, args.patients).map(|record| Result::Ok(record.text()));
    files::write(args.out.as_deref(), |out| {
        write(out, Format::Ndjson, texts)?;
        Ok(())
    })
}
