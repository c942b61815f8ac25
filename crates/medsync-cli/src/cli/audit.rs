//! What can be typed about the audit log.

use clap::{Subcommand, ValueEnum};
use std::path::PathBuf;

/// Who did what here, and when; and proving it to others.
///
/// Every device keeps a log of its own: who read, changed, searched, exported, decided and unlocked
/// what. Its entries are chained and the device signs them, so that nobody can take one out or put
/// one in unseen.
#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// List what was done on this device
    #[command(after_long_help = "\
Examples:
  medsync audit list --record Patient/p1
  medsync audit list --person 'Nurse Lima' --since 2026-11-01
  medsync --json audit list")]
    List {
        /// Only what was done to this record
        #[arg(long, value_name = "KIND/ID")]
        record: Option<String>,
        /// Only what this person did, by name or key
        #[arg(long, value_name = "NAME")]
        person: Option<String>,
        /// Only from this day or time on: 2026-11-01, or 2026-11-01T08:00:00Z
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
    },
    /// Write the log to a file that proves itself anywhere
    ///
    /// The file holds every entry, the device's signatures and the certificates up to the workspace's
    /// authority, and no key. Records, searches and reasons are withheld unless --reveal puts them in,
    /// in clear; the file proves itself either way.
    #[command(after_long_help = "\
Examples:
  medsync audit export ward.audit
  medsync audit export --reveal for-the-inquiry.audit
  medsync audit export --format fhir events.ndjson")]
    Export {
        /// The file to write
        file: PathBuf,
        /// With records, searches and reasons in clear
        #[arg(long)]
        reveal: bool,
        /// A proof, or FHIR R4 AuditEvents (always with records in clear, and without a proof)
        #[arg(long, value_enum, default_value_t = AuditFormat::Proof)]
        format: AuditFormat,
    },
    /// Check a log: this vault's, or one from a file, which needs no vault and no secret
    ///
    /// Checks that no entry is missing, changed or out of place, that the device signed them and was
    /// certified by the workspace's authority. Compare the authority that is printed with the one you
    /// know, or name it. With a vault at hand (--vault) the file is also held against what that
    /// vault knows of the log's end. Exit code 5 if anything does not hold.
    #[command(after_long_help = "\
Examples:
  medsync --vault ward audit verify
  medsync audit verify ward.audit --authority 9f86d081..
  medsync --vault hospital audit verify ward.audit")]
    Verify {
        /// A file of medsync audit export
        file: Option<PathBuf>,
        /// The authority's public key, as medsync status shows it
        #[arg(long, value_name = "HEX")]
        authority: Option<String>,
    },
    /// Say that you looked into an emergency (needs the role admin or reviewer)
    Acknowledge {
        /// Which one, as medsync status shows it
        #[arg(value_name = "LOG.ENTRY")]
        emergency: String,
        /// What you found
        #[arg(long, value_name = "TEXT")]
        because: String,
    },
}

/// What a log is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AuditFormat {
    Proof,
    Fhir,
}
