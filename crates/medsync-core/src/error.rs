//! The one error of the engine. Variants say what the caller can do next.
//!
//! No variant carries a clinical value, a record's content or a foreign library's text: errors end
//! up in logs. Texts are fixed in the source; numbers and element names are the only details.

use std::fmt;

/// What went wrong, by what the caller can do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The passphrase, PIN or recovery key does not open this.
    #[error("{0} does not fit; check it and try again")]
    WrongSecret(&'static str),
    /// Too many wrong tries: the next one has to wait. Nothing is locked for good.
    #[error("too many tries of {what} were wrong or broken off; try again in {seconds} s")]
    Wait {
        /// What was tried.
        what: &'static str,
        /// How long to wait.
        seconds: u64,
    },
    /// The key that this needs is locked. Unlock it first.
    #[error("{0} is locked; unlock it first")]
    Locked(&'static str),
    /// Nothing of that name is here.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// The call or its input is malformed: mend it and call again.
    #[error("{what}{}", at(detail))]
    Invalid {
        /// What is wrong and what to do.
        what: &'static str,
        /// An element name, a limit or a position; never a clinical value.
        detail: Option<String>,
    },
    /// A policy or a role forbids it; `hint` names the right way.
    #[error("{what}; {hint}")]
    Refused {
        /// What is forbidden.
        what: &'static str,
        /// The right way to reach what the caller wanted.
        hint: &'static str,
    },
    /// New candidates arrived after the escalation was read: read it again.
    #[error("the question changed while it was being decided; read it again and decide anew")]
    ReviewOutdated,
    /// Stored or received data contradicts itself or its signature.
    #[error("integrity: {what}{}", at(detail))]
    Integrity {
        /// What failed to verify.
        what: &'static str,
        /// Where: a table, a chain position; never a clinical value.
        detail: Option<String>,
    },
    /// Another process holds the vault.
    #[error("the vault is open in another process; close that one first")]
    Busy,
    /// The data was written by a newer engine.
    #[error("{what} has format {found}, this engine reads up to {known}; upgrade it")]
    TooNew {
        /// The file or message.
        what: &'static str,
        /// Its format.
        found: u32,
        /// The newest format this engine knows.
        known: u32,
    },
    /// The disk or the operating system failed. Nothing unacknowledged is believed durable.
    #[error("storage: {what} ({kind:?})")]
    Storage {
        /// The operation.
        what: &'static str,
        /// The kind the operating system gave.
        kind: std::io::ErrorKind,
    },
}

fn at(detail: &Option<String>) -> String {
    detail
        .as_ref()
        .map(|d| format!(" ({d})"))
        .unwrap_or_default()
}

impl Error {
    /// An [`Error::Invalid`] without detail.
    pub const fn invalid(what: &'static str) -> Self {
        Self::Invalid { what, detail: None }
    }

    /// An [`Error::Invalid`] with an element name, limit or position.
    pub fn invalid_at(what: &'static str, detail: impl fmt::Display) -> Self {
        Self::Invalid {
            what,
            detail: Some(detail.to_string()),
        }
    }

    /// An [`Error::Integrity`] without detail.
    pub const fn integrity(what: &'static str) -> Self {
        Self::Integrity { what, detail: None }
    }

    /// An [`Error::Integrity`] with a place.
    pub fn integrity_at(what: &'static str, detail: impl fmt::Display) -> Self {
        Self::Integrity {
            what,
            detail: Some(detail.to_string()),
        }
    }

    /// A [`Error::Storage`] from what the operating system said.
    pub fn io(what: &'static str, error: &std::io::Error) -> Self {
        Self::Storage {
            what,
            kind: error.kind(),
        }
    }
}

/// The engine's result.
pub type Result<T> = std::result::Result<T, Error>;
