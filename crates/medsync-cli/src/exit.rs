//! How a command ends: exit codes, and errors that say what to do next.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use medsync_core::error::Error;
use medsync_core::model::json::Json;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// It could not be done.
pub(crate) const FAILED: u8 = 1;
/// The command line is wrong.
pub(crate) const USAGE: u8 = 2;
/// Nothing of that name is here.
pub(crate) const NOT_FOUND: u8 = 3;
/// A key is locked, or the secret does not fit.
pub(crate) const LOCKED: u8 = 4;
/// Data contradicts itself or its signature.
pub(crate) const INTEGRITY: u8 = 5;

/// Why a command did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    /// What happened; empty if the command said it already.
    pub(crate) error: String,
    /// What to do about it.
    pub(crate) hint: String,
}

/// A command's result.
pub(crate) type Done<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(code: u8, error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            code,
            error: error.into(),
            hint: hint.into(),
        }
    }

    /// The command line is wrong in a way clap cannot see.
    pub(crate) fn usage(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(USAGE, error, hint)
    }

    /// The command's own output says all.
    pub(crate) fn told(code: u8) -> Self {
        Self::new(code, "", "")
    }

    /// Prints it on standard error and gives the exit code.
    pub(crate) fn tell(&self, json: bool) -> ExitCode {
        if !self.error.is_empty() {
            let mut err = io::stderr().lock();
            let told = if json {
                let error = Json::object([
                    ("error", Json::string(&self.error)),
                    ("hint", Json::string(&self.hint)),
                    ("code", Json::Number(self.code.to_string().into())),
                ]);
                writeln!(err, "{}", error.text())
            } else if self.hint.is_empty() {
                writeln!(err, "medsync: {}", self.error)
            } else {
                writeln!(err, "medsync: {}\n  hint: {}", self.error, self.hint)
            };
            // Nobody is left to tell when standard error is gone.
            told.ok();
        }
        ExitCode::from(self.code)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        explain(&error)
    }
}

impl From<io::Error> for Failure {
    /// Writing to standard output failed.
    fn from(error: io::Error) -> Self {
        explain(&Error::io("write the output", &error))
    }
}

/// The one map from the engine's errors to exit codes and hints.
fn explain(error: &Error) -> Failure {
    let at = |what: &str, detail: &Option<String>| match detail {
        Some(detail) => format!("{what} ({detail})"),
        None => what.to_owned(),
    };
    match error {
        Error::WrongSecret(what) => {
            Failure::new(LOCKED, format!("{what} does not fit"), WRONG_SECRET)
        }
        Error::Wait { what, seconds } => Failure::new(
            LOCKED,
            format!("too many tries of {what} were wrong or broken off"),
            format!("wait {seconds} s, then try again with the right one"),
        ),
        Error::Locked("the key store") => Failure::new(
            LOCKED,
            "the key store refused",
            "unlock it, or open the vault with its passphrase",
        ),
        Error::Locked(what) => Failure::new(LOCKED, format!("{what} is locked"), UNLOCK),
        Error::NotFound(what) if what.starts_with("exchange folder") => {
            Failure::new(NOT_FOUND, format!("no such {what}"), "check the path")
        }
        Error::NotFound(what) => Failure::new(NOT_FOUND, format!("no such {what}"), FIND),
        Error::Invalid { what, detail } => {
            Failure::new(FAILED, at(what, detail), "mend it and try again")
        }
        Error::Refused { what, hint } => Failure::new(FAILED, *what, *hint),
        Error::ReviewOutdated => Failure::new(
            FAILED,
            "the question changed while it was being decided",
            "read it again (medsync review show ID) and decide anew",
        ),
        Error::Integrity { what, detail } => Failure::new(INTEGRITY, at(what, detail), DAMAGE),
        Error::Busy => Failure::new(
            FAILED,
            "the vault is open in another process",
            "wait for that one to end, or end it",
        ),
        Error::TooNew { what, found, known } => Failure::new(
            FAILED,
            format!("{what} has format {found}; this medsync reads up to {known}"),
            "upgrade medsync",
        ),
        // A reader that has seen enough (`| head`) needs no explanation.
        Error::Storage {
            kind: io::ErrorKind::BrokenPipe,
            ..
        } => Failure::told(FAILED),
        Error::Storage { what, kind } => Failure::new(
            FAILED,
            format!("{what}: the system refused ({kind:?})"),
            disk_hint(*kind),
        ),
        // Only an engine newer than this command has others (the enum is non-exhaustive); a test
        // holds this list against the engine's.
        _ => Failure::new(FAILED, "the engine failed", "upgrade medsync"),
    }
}

const WRONG_SECRET: &str = "check --passphrase-file, or --as and --pin-file, and try again";
const UNLOCK: &str = "name the person with --as and their PIN with --pin-file";
const FIND: &str =
    "check the name; medsync list, search, person list and review list show what is here";
const DAMAGE: &str = "do not write to this vault; run medsync verify on a copy of its folder";

const fn disk_hint(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "choose a folder you may write to, or mend its permissions"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space",
        io::ErrorKind::NotFound => "check the path",
        _ => "check the disk; nothing half-written was kept",
    }
}

/// Tells what is wrong with the command line. clap's own text quotes the offending value, which
/// can be a clinical one, so only our own words and option names are told.
pub(crate) fn bad_usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Help and version: nobody is left to tell when the output is gone.
        error.print().ok();
        return ExitCode::SUCCESS;
    }
    let json = std::env::args_os().any(|arg| arg == "--json");
    Failure::usage(usage_text(error), usage_hint(error)).tell(json)
}

fn usage_text(error: &clap::Error) -> String {
    let what = match error.kind() {
        ErrorKind::UnknownArgument => "there is no such option, or one value too many",
        ErrorKind::InvalidSubcommand => "there is no such command",
        ErrorKind::MissingRequiredArgument => "something required is missing",
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            "a command is needed"
        }
        ErrorKind::ArgumentConflict => "two options exclude each other, or one stands twice",
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => "a value does not fit its option",
        _ => "the command line cannot be understood",
    };
    match names(error, ContextKind::InvalidArg) {
        Some(names) => format!("{what}: {names}"),
        None => what.to_owned(),
    }
}

fn usage_hint(error: &clap::Error) -> String {
    let suggested = [
        ContextKind::SuggestedArg,
        ContextKind::SuggestedSubcommand,
        ContextKind::ValidValue,
    ];
    match suggested.iter().find_map(|kind| strings(error, *kind)) {
        Some(known) => format!("perhaps: {known}; --help explains"),
        None => "--help explains, with examples".to_owned(),
    }
}

fn strings(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(one) => Some(one.clone()),
        ContextValue::Strings(all) if !all.is_empty() => Some(all.join(", ")),
        _ => None,
    }
}

/// Names of options and of positional arguments, never what was typed for a value.
fn names(error: &clap::Error, kind: ContextKind) -> Option<String> {
    let names = strings(error, kind)?;
    let is_name = |name: &str| name.starts_with(['-', '<', '[']);
    let typed = error.kind() == ErrorKind::UnknownArgument;
    let told: Vec<&str> = names
        .split(", ")
        .filter(|name| is_name(name))
        .map(|name| match typed {
            // `--set=value` is told without the value.
            true => name.split('=').next().unwrap_or_default(),
            false => name,
        })
        .collect();
    (!told.is_empty()).then(|| told.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_of_the_engines_error_is_explained_by_name() {
        let engine = include_str!("../../medsync-core/src/error.rs");
        let here = include_str!("exit.rs");
        let body = engine.split("pub enum Error {").nth(1).expect("the enum");
        let body = body.split("\n}").next().expect("its end");
        let variants = body.lines().filter_map(|line| {
            let line = line.strip_prefix("    ")?;
            let name: String = line
                .chars()
                .take_while(char::is_ascii_alphanumeric)
                .collect();
            name.starts_with(|c: char| c.is_ascii_uppercase())
                .then_some(name)
        });
        let mut count = 0;
        for name in variants {
            assert!(here.contains(&format!("Error::{name}")), "{name}");
            count += 1;
        }
        assert!(count >= 10, "{count} variants found");
    }

    #[test]
    fn a_wrong_secret_and_a_locked_key_end_with_the_same_code() {
        assert_eq!(explain(&Error::WrongSecret("the PIN")).code, LOCKED);
        assert_eq!(explain(&Error::Locked("the key")).code, LOCKED);
    }
}
