//! What can be typed about what opens a vault.

use clap::{Args, Subcommand, ValueEnum};
use medsync_core::crypto::SlotKind;
use std::path::PathBuf;

/// What opens the vault besides its passphrase.
///
/// Each key slot wraps the vault's root for one way to open it: the passphrase, the 24 recovery
/// words, key stores of this machine, and identities of a clinic that keeps a way in. Changing a slot
/// takes the same time whatever the vault's size.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// List the key slots
    List,
    /// Add a key slot; one of the same name gives way
    #[command(subcommand)]
    Add(AddKey),
    /// Remove a key slot, but never the last
    ///
    /// A copy of the old key file still opens with the old secret; medsync rekey ends that.
    #[command(after_long_help = "\
Examples:
  medsync keys remove escrow 'Clinic North'
  medsync --identity-file clinic.key keys remove passphrase")]
    Remove {
        /// What opens it
        kind: SlotName,
        /// Its name, as listed; passphrase and recovery have none
        #[arg(default_value = "")]
        name: String,
    },
    /// Make a clinic's identity: its secret key in a new file, its public key printed
    ///
    /// The same as age-keygen makes. Keep the file away from the vaults that it opens.
    Identity {
        /// The new file
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AddKey {
    /// Let a key store of this machine open the vault
    ///
    /// The program is run as PROGRAM wrap or PROGRAM unwrap, with bytes on standard input and bytes
    /// on standard output; a TPM, a smart card or the system's key store can stand behind it.
    #[command(after_long_help = "\
Example:
  medsync keys add host tpm --helper /usr/local/bin/tpm-wrap
  medsync --key-helper /usr/local/bin/tpm-wrap status")]
    Host {
        /// The slot's name
        name: String,
        /// The program
        #[arg(long, value_name = "PROGRAM")]
        helper: PathBuf,
    },
    /// Let a clinic's identity open the vault; only its public key is needed
    #[command(after_long_help = "\
Examples:
  medsync keys identity clinic.key                       # once, by the clinic
  medsync keys add escrow 'Clinic North' --recipient age1..
  medsync --identity-file clinic.key status              # when nobody knows the passphrase")]
    Escrow {
        /// The slot's name
        name: String,
        /// The identity's public key
        #[arg(long, value_name = "age1..")]
        recipient: String,
    },
}

/// Kinds of slots, as they are typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SlotName {
    /// The passphrase
    Passphrase,
    /// The recovery words
    Recovery,
    /// A key store
    Host,
    /// A clinic's identity
    Escrow,
}

impl From<SlotName> for SlotKind {
    fn from(name: SlotName) -> Self {
        match name {
            SlotName::Passphrase => Self::Passphrase,
            SlotName::Recovery => Self::Recovery,
            SlotName::Host => Self::Host,
            SlotName::Escrow => Self::Escrow,
        }
    }
}

/// Put the whole vault under new keys, in a new data file.
///
/// For when somebody may have copied the vault, or knew what opened it: the old passphrase, words and
/// key slots open nothing that is written from now on. Everything is copied, so it takes time and as
/// much space again as the vault; a power cut leaves the old vault or the new one. Escrow slots stay;
/// a key store's slot stays if --key-helper is given.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  medsync rekey --new-passphrase-file new
  medsync --identity-file clinic.key rekey               # the passphrase is lost")]
pub(crate) struct Rekey {
    /// A file with a new passphrase; that of --passphrase-file stays otherwise, or one is asked for
    #[arg(long, value_name = "FILE")]
    pub(crate) new_passphrase_file: Option<PathBuf>,
    /// Write the new recovery words to this new file; shown once otherwise
    #[arg(long, value_name = "FILE")]
    pub(crate) words_file: Option<PathBuf>,
}
