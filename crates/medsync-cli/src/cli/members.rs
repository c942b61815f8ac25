//! What can be typed about vaults, their keys and the people of a workspace.

use clap::{Args, Subcommand, ValueEnum};
use medsync_core::ledger::certificate::Role;
use std::path::PathBuf;

/// Make a vault and a workspace of its own.
///
/// The vault's first person holds every role, and the passphrase unlocks their key. Two sets of 24
/// words are made: the authority's own, which alone can replace lost admins and belong on paper in
/// a safe; and the recovery words, which open this vault if its passphrase is lost. Each is shown
/// once, or written to a file that only you may read.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  medsync --vault ward init --workspace 'Clinic North' --person 'Dr. Rao'
  medsync --vault ward --passphrase-file pw init --words-file authority --recovery-file recovery")]
pub(crate) struct Init {
    /// The workspace's name
    #[arg(long, value_name = "NAME", default_value = "workspace")]
    pub(crate) workspace: String,
    /// The first person's name
    #[arg(long, value_name = "NAME", default_value = "owner")]
    pub(crate) person: String,
    #[command(flatten)]
    pub(crate) device: Device,
    /// Write the authority's 24 words to this new file
    #[arg(long, value_name = "FILE")]
    pub(crate) words_file: Option<PathBuf>,
    /// Write the vault's 24 recovery words to this new file
    #[arg(long, value_name = "FILE")]
    pub(crate) recovery_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Device {
    /// This device's name, as others will see it
    #[arg(long, value_name = "NAME", default_value = "device")]
    pub(crate) device: String,
}

/// The people of the workspace.
///
/// Each person's signing key is sealed under their own PIN: nobody signs as someone else.
#[derive(Debug, Subcommand)]
pub(crate) enum Person {
    /// Add a person with a key of their own
    ///
    /// While a vault has one person its passphrase may stand for their PIN. With the second one that
    /// ends: the first gets a PIN of their own here, too, unless they have one.
    #[command(after_long_help = "\
Examples:
  medsync person add 'Nurse Lima' --role clinician
  medsync person add 'Dr. Okoro' --role clinician --role reviewer --new-pin-file pin
  medsync --as 'Nurse Lima' --pin-file pin edit Patient/p1 --set 'active=true'")]
    Add {
        /// The person's name
        name: String,
        /// What they may do; repeat for several
        #[arg(long, required = true, value_name = "ROLE")]
        role: Vec<RoleName>,
        #[command(flatten)]
        pin: NewPin,
        /// A file with the owner's own new PIN, while they have none; asked for otherwise
        #[arg(long, value_name = "FILE")]
        own_pin_file: Option<PathBuf>,
    },
    /// Change your own PIN, or set the first one
    ///
    /// The key stays, and with it everything it signed. For another person name them with --as and
    /// give their present PIN.
    #[command(after_long_help = "\
Examples:
  medsync person change-pin
  medsync --as 'Nurse Lima' --pin-file pin person change-pin --new-pin-file new-pin")]
    ChangePin {
        #[command(flatten)]
        pin: NewPin,
    },
    /// Give a person whose PIN is lost a new key under a new PIN
    ///
    /// The old key is revoked; what was signed with it stays theirs. Who knows their PIN changes it
    /// with change-pin instead, and keeps their key.
    ResetPin {
        /// The person's name
        name: String,
        #[command(flatten)]
        pin: NewPin,
    },
    /// List people and devices
    List,
}

#[derive(Debug, Args)]
pub(crate) struct NewPin {
    /// A file with the new PIN; asked for otherwise
    #[arg(long, value_name = "FILE")]
    pub(crate) new_pin_file: Option<PathBuf>,
}

/// Roles, as they are typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleName {
    /// Treats patients
    Clinician,
    /// Dispenses
    Pharmacist,
    /// Decides open questions
    Reviewer,
    /// Admits and revokes others
    Admin,
    /// A device whose receipts empty outboxes
    Archive,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Clinician => Self::Clinician,
            RoleName::Pharmacist => Self::Pharmacist,
            RoleName::Reviewer => Self::Reviewer,
            RoleName::Admin => Self::Admin,
            RoleName::Archive => Self::Archive,
        }
    }
}

/// The role admin, and its term.
#[derive(Debug, Subcommand)]
pub(crate) enum Admin {
    /// Make yourself an admin for another term, or for the first time
    ///
    /// By the workspace authority's own 24 words. What you did as an admin since your last term
    /// ended counts with it. Status says whose term ends soon.
    #[command(after_long_help = "\
Example:
  medsync admin renew --words-file authority.words")]
    Renew {
        /// The authority's 24 words
        #[arg(long, value_name = "FILE")]
        words_file: PathBuf,
    },
}

/// The workspace's authority, which alone needs nobody's permission.
///
/// Two admins together put another one in its place, when its 24 words are lost or somebody may have
/// seen them. The workspace stays what it is. The old words sign nothing new from then on; what they
/// had signed until the first vote, as both admins know it, counts further on.
#[derive(Debug, Subcommand)]
pub(crate) enum Authority {
    /// Show the authority's key, and votes for another one
    Show,
    /// Make new words and vote for their key, as the first of two admins
    ///
    /// The words count once another admin agreed. Put them on paper, in a safe.
    #[command(after_long_help = "\
Examples:
  medsync authority rotate --words-file authority.new     # by one admin
  medsync authority agree 3fa0c2d1                        # by another, after they met by exchange
  medsync authority show")]
    Rotate {
        /// Write the 24 words to this new file; shown once otherwise
        #[arg(long, value_name = "FILE")]
        words_file: Option<PathBuf>,
    },
    /// Agree to the authority that another admin voted for, as the second of two
    Agree {
        /// The first 8 or more digits of its key, as the other admin reads them to you
        key: String,
    },
}

/// Revoke a person or a device.
///
/// What a person committed until now stays theirs; what they commit later covers nothing and shows
/// as unconfirmed. A device receives nothing that is written from now on, but what people sign on it
/// goes on to count: if it may be in wrong hands, revoke those people too, or reset their PINs.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  medsync revoke 'Nurse Lima' --because 'left the clinic'
  medsync revoke 'Dr. Rao' --because 'PIN was seen' --keep-until 2026-03-01T08:00:00Z
  medsync revoke 3fa0c2d1 --because 'tablet lost'       # the beginning of a key, from person list")]
pub(crate) struct Revoke {
    /// A name, or the first 8 or more digits of a key
    #[arg(value_name = "PERSON|DEVICE")]
    pub(crate) subject: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub(crate) because: String,
    /// Of what they committed keep only what is not later than this time, such as
    /// 2026-03-01T08:00:00Z; everything until now otherwise
    #[arg(long, value_name = "TIME")]
    pub(crate) keep_until: Option<String>,
}

/// Ask to join a workspace with a new vault.
///
/// Makes the vault in a folder that has none and prints its request, a short text that is no
/// secret. An admin answers it with `admit`; `join` takes the answer. Asking again prints the same
/// request.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  medsync --vault tablet request --person 'Nurse Lima' > lima.request    # on the new device
  medsync --vault ward admit lima.request --role clinician > lima.grant  # by an admin
  medsync --vault tablet join lima.grant                                 # on the new device")]
pub(crate) struct Request {
    /// The new vault's person
    #[arg(long, value_name = "NAME", default_value = "owner")]
    pub(crate) person: String,
    #[command(flatten)]
    pub(crate) device: Device,
    /// Write the vault's 24 recovery words to this new file; shown once otherwise
    #[arg(long, value_name = "FILE")]
    pub(crate) recovery_file: Option<PathBuf>,
}

/// Admit a device and its owner.
///
/// Prints the grant that lets the device join, which is no secret. Needs the role admin.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  medsync --vault ward admit lima.request --role clinician > lima.grant")]
pub(crate) struct Admit {
    /// The file that `request` printed; - for standard input
    pub(crate) request: PathBuf,
    /// What the device's owner may do; repeat for several
    #[arg(long, required = true, value_name = "ROLE")]
    pub(crate) role: Vec<RoleName>,
}

/// Join the workspace that a grant admits this vault to.
#[derive(Debug, Args)]
pub(crate) struct Join {
    /// The file that `admit` printed; - for standard input
    pub(crate) grant: PathBuf,
}

/// The vault's passphrase.
#[derive(Debug, Subcommand)]
pub(crate) enum Passphrase {
    /// Put a new passphrase in place of the old one; quick whatever the vault's size
    #[command(after_long_help = "\
Examples:
  medsync --vault ward passphrase change
  medsync --vault ward passphrase change --recovery-file words      # the old one is lost")]
    Change {
        /// A file with the new passphrase; asked for otherwise
        #[arg(long, value_name = "FILE")]
        new_passphrase_file: Option<PathBuf>,
        /// Open the vault with the 24 recovery words of this file instead of the old passphrase
        #[arg(long, value_name = "FILE")]
        recovery_file: Option<PathBuf>,
    },
}

/// The words that open the vault if the passphrase is lost.
#[derive(Debug, Subcommand)]
pub(crate) enum Recovery {
    /// Make new words; the old ones open nothing any more
    New {
        /// Write them to this new file; shown once otherwise
        #[arg(long, value_name = "FILE")]
        words_file: Option<PathBuf>,
    },
}
