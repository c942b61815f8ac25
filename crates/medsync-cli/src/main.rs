//! The `medsync` command: a vault at the prompt, and in scripts.

#![forbid(unsafe_code)]

mod cli;
mod cmd;
mod exit;
mod guard;
mod helper;
mod progress;
mod secrets;
mod session;
mod show;

use clap::Parser as _;
use cli::Cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    guard::keep_memory_private();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit::bad_usage(&error),
    };
    match cmd::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(cli.global.json),
    }
}
