//! What errors of the system and of redb mean to a caller. Their texts go no further.

use crate::error::Error;
use std::io::{self, ErrorKind};

/// A file that ends too early or does not verify is no disk failure.
pub(super) fn from_io(what: &'static str, error: &io::Error) -> Error {
    match error.kind() {
        ErrorKind::InvalidData => Error::integrity_at("a page does not verify", what),
        ErrorKind::UnexpectedEof => Error::integrity_at("the data file is cut short", what),
        _ => Error::io(what, error),
    }
}

/// From any of redb's errors.
pub(super) fn from_redb(what: &'static str, error: impl Into<redb::Error>) -> Error {
    match error.into() {
        redb::Error::Io(error) => from_io(what, &error),
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Error::Busy,
        redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::TableDoesNotExist(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TypeDefinitionChanged { .. } => {
            Error::integrity_at("the data file contradicts itself", what)
        }
        redb::Error::ValueTooLarge(len) => {
            Error::invalid_at("a value is too large to store", format_args!("{len} bytes"))
        }
        _ => stopped(what),
    }
}

/// The store refuses because of an earlier failure.
pub(super) const fn stopped(what: &'static str) -> Error {
    Error::Storage {
        what,
        kind: ErrorKind::Other,
    }
}
