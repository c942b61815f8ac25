//! Changes what opens the vault.

use crate::cli::{Global, Passphrase, Recovery};
use crate::cmd::init::{keep, numbered, reserve};
use crate::exit::Done;
use crate::secrets;
use crate::session;
use crate::show;
use medsync_core::model::json::Json;
use medsync_core::store::Unlock;
use medsync_core::vault::Vault;

pub(super) fn passphrase(global: &Global, args: &Passphrase) -> Done {
    let Passphrase::Change {
        new_passphrase_file,
        recovery_file,
    } = args;
    let vault = match recovery_file {
        Some(file) => {
            let words = secrets::words(file)?;
            let dir = session::existing(global)?;
            Vault::open(dir, session::env(), Unlock::Recovery(&words))?
        }
        None => session::reader(global)?,
    };
    let file = new_passphrase_file.as_deref();
    let new = secrets::read_new(file, "passphrase", "--new-passphrase-file")?;
    vault.change_passphrase(&new, session::kdf()?)?;
    if global.json {
        return show::json(&show::object([("changed", Json::Bool(true))]));
    }
    show::line("The new passphrase opens the vault; the old one does not any more.")
}

pub(super) fn recovery(global: &Global, args: &Recovery) -> Done {
    let Recovery::New { words_file } = args;
    let file = reserve(words_file.as_deref())?;
    let vault = session::reader(global)?;
    let words = keep(file, vault.new_recovery()?)?;
    if global.json {
        let phrase = words.map_or(Json::Null, |words| Json::string(&words.phrase()));
        return show::json(&show::object([("recovery_words", phrase)]));
    }
    if let Some(words) = &words {
        show::line("The new recovery words, shown this once:\n")?;
        show::line(numbered(words))?;
        show::line("")?;
    }
    show::line("The old recovery words open nothing any more.")
}
