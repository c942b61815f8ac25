//! The command line: what can be typed, and the help that teaches it.

mod audit;
mod keys;
mod members;
mod wire;

pub(crate) use audit::{Audit, AuditFormat};
pub(crate) use keys::{AddKey, Keys, Rekey};
pub(crate) use members::{
    Admin, Admit, Authority, Init, Join, Passphrase, Person, Recovery, Request, Revoke,
};
pub(crate) use wire::{LinkKind, Serve, Sync};

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

const START: &str = "\
First steps:
  medsync --vault ward init --workspace 'Clinic North' --person 'Dr. Rao'
  medsync --vault ward import patients.ndjson
  medsync --vault ward search devi
  medsync --vault ward get Patient/p1
  medsync --vault ward exchange /media/usb/exchange
  medsync --vault ward review list

Secrets come from files or a prompt, never from the command line. MEDSYNC_VAULT,
MEDSYNC_PASSPHRASE_FILE and MEDSYNC_PIN_FILE stand for the options of those names.
MEDSYNC_STATE is the folder in which this machine remembers vaults outside their own
folders, so that a backup put back is noticed (else ~/.local/state/medsync).

Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 locked or wrong passphrase,
5 integrity violation.";

/// A local-first sync engine for clinical records.
///
/// Each vault works alone for as long as it must; when any two meet they converge, nothing clinical
/// is silently overwritten, and a person decides what only a person may decide.
#[derive(Debug, Parser)]
#[command(name = "medsync", version, after_long_help = START, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Vault and person")]
pub(crate) struct Global {
    /// The vault's folder
    #[arg(
        long,
        global = true,
        env = "MEDSYNC_VAULT",
        hide_env_values = true,
        value_name = "DIR"
    )]
    pub(crate) vault: Option<PathBuf>,
    /// A file with the vault's passphrase; asked for otherwise
    #[arg(
        long,
        global = true,
        env = "MEDSYNC_PASSPHRASE_FILE",
        hide_env_values = true
    )]
    #[arg(value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// The person who acts; the one the vault was made for otherwise
    #[arg(long = "as", global = true, value_name = "NAME")]
    pub(crate) author: Option<String>,
    /// A file with that person's PIN; asked for otherwise
    #[arg(long, global = true, env = "MEDSYNC_PIN_FILE", hide_env_values = true)]
    #[arg(value_name = "FILE")]
    pub(crate) pin_file: Option<PathBuf>,
    /// Open the vault by this key store program instead of its passphrase (see keys add)
    #[arg(
        long,
        global = true,
        env = "MEDSYNC_KEY_HELPER",
        hide_env_values = true
    )]
    #[arg(value_name = "PROGRAM")]
    pub(crate) key_helper: Option<PathBuf>,
    /// Open the vault by a clinic's identity file instead of its passphrase (see keys add)
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) identity_file: Option<PathBuf>,
    /// Read in an emergency without a PIN, and say why: it is told until somebody looked into it
    #[arg(long, global = true, value_name = "REASON")]
    pub(crate) break_glass: Option<String>,
    /// Print JSON, errors included
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(Init),
    #[command(subcommand)]
    Person(Person),
    #[command(subcommand)]
    Admin(Admin),
    #[command(subcommand)]
    Authority(Authority),
    Revoke(Revoke),
    #[command(subcommand)]
    Pack(Pack),
    Request(Request),
    Admit(Admit),
    Join(Join),
    Import(Import),
    Export(Export),
    Get(Get),
    List(List),
    Search(Search),
    Edit(Edit),
    New(New),
    History(History),
    Why(WhyField),
    #[command(subcommand)]
    Review(Review),
    Exchange(Exchange),
    Sync(Sync),
    Serve(Serve),
    /// The devices that sessions have met, and when both last held the same
    Peers,
    /// The receipts that peers signed for what they hold
    Receipts,
    /// Counts, digests, and what waits
    Status,
    Verify(Verify),
    Doctor(Doctor),
    #[command(subcommand)]
    Audit(Audit),
    #[command(subcommand)]
    Passphrase(Passphrase),
    #[command(subcommand)]
    Recovery(Recovery),
    #[command(subcommand)]
    Keys(Keys),
    Rekey(Rekey),
    Generate(Generate),
    Demo(Demo),
    Completions(Completions),
}

/// The policy pack: how each field merges.
#[derive(Debug, Subcommand)]
pub(crate) enum Pack {
    /// Show the pack in force, or one kind's fields
    Show {
        /// A kind, such as MedicationRequest
        kind: Option<String>,
    },
    /// Write the pack in force as the file that lint and install take
    ///
    /// A pack of your own starts from it: raise the version, change fields, lint, install. (`show
    /// --json` adds the hash, and is no pack file.)
    #[command(after_long_help = "\
Example:
  medsync pack export --out pack.json
  medsync pack lint pack.json")]
    Export {
        /// Write to this file, whole or not at all, instead of standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Check a pack file against FHIR R4; needs no vault
    Lint {
        /// The pack
        file: PathBuf,
    },
    /// Put a pack into force for the whole workspace (needs the role admin)
    Install {
        /// The pack; its version must be higher than that in force
        file: PathBuf,
        /// Install it although lint finds faults
        #[arg(long)]
        despite_lint: bool,
    },
}

/// Bring FHIR R4 records in.
///
/// Reads NDJSON, single resources and Bundles, whatever the files are called; folders with all
/// their .json and .ndjson files. Each resource is compared with what the same source brought last
/// and only the difference is written, as an edit made in sight of that import: importing last
/// month's file does not revert yesterday's work. What cannot be kept is named with its file, line
/// and reason, does not stop the rest, and makes the exit code 1. A transaction Bundle is one commit,
/// all or nothing, of at most 4,096 entries and 32 MiB.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  medsync import patients.ndjson lab/
  medsync import --source 'hospital EHR' export-2026-03.json
  medsync generate --patients 10 | medsync import -")]
pub(crate) struct Import {
    /// The name of the system the records come from; give each its own
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) source: String,
    /// Take the entries of a transaction Bundle one by one: the good ones beside bad ones, and any
    /// number of them
    #[arg(long)]
    pub(crate) lenient: bool,
    /// Files or folders; - for standard input
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
}

/// Write records out as FHIR R4.
///
/// Resources come out as they went in, unknown elements and extensions included. Contested fields
/// show their safe interim. Ends with 3 for a record that is not here, and for a kind that the pack
/// does not know and no record has.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  medsync export > all.ndjson
  medsync export Patient MedicationRequest/mr-17 --format bundle --out some.json")]
pub(crate) struct Export {
    /// Kinds or single records; everything otherwise
    #[arg(value_name = "KIND|KIND/ID")]
    pub(crate) what: Vec<String>,
    /// After each record, who changed it and why: one Provenance for each commit
    #[arg(long)]
    pub(crate) provenance: bool,
    /// One resource a line, or one Bundle
    #[arg(long, value_enum, default_value_t = Format::Ndjson)]
    pub(crate) format: Format,
    /// Write to this file, whole or not at all, instead of standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One resource a line
    Ndjson,
    /// One Bundle of type collection
    Bundle,
}

/// Show one record.
///
/// Settled values, the safe interim of contested ones, the candidates of each open question, and
/// the version to pin an edit to.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  medsync get Patient/p1
  medsync --json get MedicationRequest/mr-17 | jq .contested")]
pub(crate) struct Get {
    /// The record, as in Patient/p1
    #[arg(value_name = "KIND/ID")]
    pub(crate) record: String,
}

/// List records.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  medsync list
  medsync list MedicationRequest --where patient=Patient/p1
  medsync list Patient --where birthdate=1984-02-29 --limit 5
  medsync list MedicationRequest --where status=active")]
pub(crate) struct List {
    /// A kind, such as Patient; all otherwise
    pub(crate) kind: Option<String>,
    /// Only records with this value; an index of the pack is quick, any other member is searched
    #[arg(long = "where", value_name = "FIELD=VALUE")]
    pub(crate) only: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: usize,
}

/// Find records by name or identifier.
///
/// Each word begins a word of a name, or is an identifier; accents and capitals do not matter.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  medsync search 'asha dev'
  medsync search MRN-00017")]
pub(crate) struct Search {
    /// What to look for
    #[arg(required = true)]
    pub(crate) text: Vec<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: usize,
}

/// Change records.
///
/// An edit is judged by what its author saw. --at says which version that was and defaults to the
/// current one: a form that was filled in over some time should pass the version it was filled in
/// at, which `get` prints, or it overwrites unseen what arrived meanwhile. Values are JSON: texts
/// need their quotes, and null is none. Nothing is deleted; what is retracted or removed stays in the
/// history, with the reason. An edit names each field once to set or retract it.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  medsync edit MedicationRequest/mr-17 --set 'status=\"stopped\"' --because 'rash'
  medsync edit Patient/p1 --add 'telecom={\"system\":\"phone\",\"value\":\"555-0101\"}'
  medsync edit Patient/p1 --retract telecom/k4f2 --because 'number is no longer theirs'
  medsync edit --batch ward-round.json

A batch is a JSON array, or one object a line; all of it becomes one commit:
  {\"record\":\"Patient/p1\",\"at\":[\"3f..\"],\"set\":{\"active\":true},\"add\":[{\"telecom\":{..}}],
   \"retract\":[\"telecom/k4f2\"],\"because\":\"..\"}")]
pub(crate) struct Edit {
    /// The record, as in Patient/p1
    #[arg(value_name = "KIND/ID", required_unless_present = "batch")]
    pub(crate) record: Option<String>,
    /// The version that was in view, from get; the current one otherwise
    #[arg(long, value_name = "VERSION", conflicts_with = "batch")]
    pub(crate) at: Option<String>,
    /// Set a field, or replace an item of a list (FIELD/ELEMENT=JSON)
    #[arg(long, value_name = "FIELD=JSON", conflicts_with = "batch")]
    pub(crate) set: Vec<String>,
    /// Add an item to a list
    #[arg(long, value_name = "FIELD=JSON", conflicts_with = "batch")]
    pub(crate) add: Vec<String>,
    /// Add to this replica's part of a counter
    #[arg(long, value_name = "FIELD=N", conflicts_with = "batch")]
    pub(crate) count: Vec<String>,
    /// Retract an item of a list, or remove a field; history shows the elements' names
    #[arg(long, value_name = "FIELD[/ELEMENT]", conflicts_with = "batch")]
    pub(crate) retract: Vec<String>,
    /// Why; needed to retract
    #[arg(long, value_name = "TEXT", conflicts_with = "batch")]
    pub(crate) because: Option<String>,
    /// Edits of several records as one commit, from a file; - for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) batch: Option<PathBuf>,
}

/// Write a new record.
///
/// An id that the resource lacks is made up.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  medsync new Patient --from patient.json")]
pub(crate) struct New {
    /// The kind, such as Patient
    pub(crate) kind: String,
    /// The resource as JSON; - for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) from: PathBuf,
}

/// Everything that was ever written to a record, oldest first.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  medsync history MedicationRequest/mr-17
  medsync history Patient/p1 telecom            # with the names of the list's elements")]
pub(crate) struct History {
    /// The record, as in Patient/p1
    #[arg(value_name = "KIND/ID")]
    pub(crate) record: String,
    /// Only this field
    pub(crate) field: Option<String>,
}

/// Why a field shows what it shows: policy, candidates, clocks, decision.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  medsync why MedicationRequest/mr-17 dosageInstruction")]
pub(crate) struct WhyField {
    /// The record, as in Patient/p1
    #[arg(value_name = "KIND/ID")]
    pub(crate) record: String,
    /// The field
    pub(crate) field: String,
}

/// Decide what only a person may decide.
#[derive(Debug, Subcommand)]
pub(crate) enum Review {
    /// List the open questions, most urgent first
    List,
    /// List findings: records that disagree by the pack's rules, and settle when the records do
    Findings,
    /// Show one question with its candidates, and the changes that a final status stands beside
    Show {
        /// The question, from list
        id: String,
    },
    /// Decide a question (needs the role reviewer)
    ///
    /// The decision is a commit like any other: signed, synced, and questioned again by a value
    /// that nobody had seen. --at defaults to the current version; pass the one that `show` printed
    /// to be refused if a value arrived since.
    #[command(after_long_help = "\
Examples:
  medsync review resolve 1f4c09aa2b7d --keep 1 --because 'confirmed by phone'
  medsync review resolve 1f4c09aa2b7d --value '\"B+\"' --because 'retested'
  medsync review resolve 1f4c09aa2b7d --remove --because 'entered for another patient'")]
    Resolve(Resolve),
}

#[derive(Debug, Args)]
pub(crate) struct Resolve {
    /// The question, from list
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) decision: Choice,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub(crate) because: String,
    /// The version it was read at, from show; the current one otherwise
    #[arg(long, value_name = "VERSION")]
    pub(crate) at: Option<String>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Choice {
    /// Candidate N stands, counted from 0
    #[arg(long, value_name = "N")]
    pub(crate) keep: Option<usize>,
    /// Another value stands
    #[arg(long, value_name = "JSON")]
    pub(crate) value: Option<String>,
    /// Nothing stands
    #[arg(long)]
    pub(crate) remove: bool,
}

/// Meet other vaults over a folder, such as a USB stick.
///
/// Takes up what others left there and leaves what they lack, encrypted for the workspace's devices.
/// Files that cannot be used are named, do not stop the others, and make the exit code 1. So does a
/// folder that cannot be written, and a device that is no member any more: what lay there is taken up
/// all the same, and nothing is left for others (`outgoing` in --json).
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  medsync exchange /media/usb/exchange")]
pub(crate) struct Exchange {
    /// The folder
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

/// Check every signature, chain and view.
///
/// Exit code 5 if anything contradicts itself.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Also derive every view again from the ledger, and compare
    #[arg(long)]
    pub(crate) rebuild: bool,
}

/// Say what ails the vault, what it means and what to do
///
/// Nothing is changed without --repair, which makes again what follows from the ledger: views,
/// indexes, questions. Ends with 5 if something is damaged or can be repaired.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Make again what follows from the ledger
    #[arg(long)]
    pub(crate) repair: bool,
}

/// Print the records of an invented clinic as NDJSON.
///
/// The same seed gives the same records everywhere. Needs no vault.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  medsync generate --patients 100 --seed 7 > clinic.ndjson")]
pub(crate) struct Generate {
    /// How many patients, of about a hundred records each
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) patients: u64,
    /// Which clinic
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Write to this file, whole or not at all, instead of standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// Print completions for a shell.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  medsync completions bash > ~/.local/share/bash-completion/completions/medsync")]
pub(crate) struct Completions {
    /// Which shell
    pub(crate) shell: clap_complete::Shell,
}

/// See three clinics meet again after three days without a line.
///
/// Three vaults are made in a temporary folder and really used: a medicine is stopped in one clinic
/// while another changes its dose, a diagnosis is contested, the power fails in the middle of an
/// import, a USB stick goes round, a reviewer decides, and all three end with the same record.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  medsync demo
  medsync demo --patients 200 --keep three-clinics")]
pub(crate) struct Demo {
    /// How many patients each half of the story has, of about a hundred records each
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub(crate) patients: u64,
    /// Which clinic
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Make the vaults in this folder and leave them there
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
}
