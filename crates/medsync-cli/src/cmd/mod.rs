//! The commands, one verb each.

mod admit;
mod audit;
mod authority;
mod demo;
mod doctor;
mod edit;
mod edit_batch;
mod exchange;
mod export;
mod files;
mod generate;
mod get;
mod history;
mod import;
mod import_log;
mod init;
mod keys;
mod list;
mod new;
mod pack;
mod person;
mod review;
mod revoke;
mod slots;
mod status;
mod sync;
mod verify;
mod why;

use crate::cli::{Cli, Command};
use crate::exit::Done;
use crate::show;
use clap::CommandFactory as _;

/// Runs what was typed.
pub(crate) fn run(cli: &Cli) -> Done {
    let global = &cli.global;
    match &cli.command {
        Command::Init(args) => init::run(global, args),
        Command::Person(args) => person::run(global, args),
        Command::Admin(args) => person::admin(global, args),
        Command::Authority(args) => authority::run(global, args),
        Command::Revoke(args) => revoke::run(global, args),
        Command::Pack(args) => pack::run(global, args),
        Command::Request(args) => init::request(global, args),
        Command::Admit(args) => admit::admit(global, args),
        Command::Join(args) => admit::join(global, args),
        Command::Import(args) => import::run(global, args),
        Command::Export(args) => export::run(global, args),
        Command::Get(args) => get::run(global, args),
        Command::List(args) => list::run(global, args),
        Command::Search(args) => list::search(global, args),
        Command::Edit(args) => edit::run(global, args),
        Command::New(args) => new::run(global, args),
        Command::History(args) => history::run(global, args),
        Command::Why(args) => why::run(global, args),
        Command::Review(args) => review::run(global, args),
        Command::Exchange(args) => exchange::run(global, args),
        Command::Sync(args) => sync::run(global, args),
        Command::Serve(args) => sync::serve(global, args),
        Command::Peers => sync::peers(global),
        Command::Receipts => sync::receipts(global),
        Command::Status => status::run(global),
        Command::Doctor(args) => doctor::run(global, args),
        Command::Verify(args) => verify::run(global, args),
        Command::Audit(args) => audit::run(global, args),
        Command::Passphrase(args) => keys::passphrase(global, args),
        Command::Recovery(args) => keys::recovery(global, args),
        Command::Keys(args) => slots::run(global, args),
        Command::Rekey(args) => slots::rekey(global, args),
        Command::Generate(args) => generate::run(args),
        Command::Demo(args) => demo::run(global, args),
        Command::Completions(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "medsync", &mut script);
            show::line(String::from_utf8_lossy(&script).trim_end())
        }
    }
}
