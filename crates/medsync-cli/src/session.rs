//! Opens the vault that the options name, for the person they name.

use crate::cli::Global;
use crate::exit::{Done, Failure, NOT_FOUND};
use crate::helper::Helper;
use crate::secrets;
use crate::show;
use medsync_core::crypto::Kdf;
use medsync_core::env::{SharedEnv, SystemEnv};
use medsync_core::error::Error;
use medsync_core::ids::AuthorKey;
use medsync_core::ledger::certificate::Role;
use medsync_core::model::json::Json;
use medsync_core::store::{KEY_FILE, Tuning, Unlock};
use medsync_core::vault::{Anchored, ClockSkew, PersonInfo, StateFolder, Vault};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// The machine's clock and entropy.
pub(crate) fn env() -> SharedEnv {
    SystemEnv::shared()
}

/// What guessing a passphrase or PIN is to cost. Tests and CI, which open many vaults, choose the
/// floor; nothing chooses less.
pub(crate) fn kdf() -> Done<Kdf> {
    const FLOOR_MEMORY_KIB: u32 = 19 * 1024;
    const FLOOR_PASSES: u32 = 2;
    if std::env::var_os("MEDSYNC_KDF").is_some_and(|value| value == "floor") {
        return Ok(Kdf::new(FLOOR_MEMORY_KIB, FLOOR_PASSES, 1)?);
    }
    Ok(Kdf::calibrate(&*env())?)
}

/// The folder of the vault.
pub(crate) fn folder(global: &Global) -> Done<&Path> {
    global.vault.as_deref().ok_or_else(|| {
        Failure::usage(
            "which vault?",
            "name its folder with --vault DIR or the variable MEDSYNC_VAULT",
        )
    })
}

/// Opens the vault to look at it; as the person who is named, so that the audit log can say who
/// read.
pub(crate) fn reader(global: &Global) -> Done<Vault> {
    let mut vault = opened(global)?;
    match &global.break_glass {
        Some(because) => vault.break_glass(because)?,
        None if global.author.is_some() => unlock_author(&mut vault, global)?,
        // Nobody was asked for, so nothing is kept from them: the log says that nobody was there.
        None if global.pin_file.is_some() => {
            if let Err(failure) = unlock_author(&mut vault, global) {
                warn(
                    global,
                    &format!("{}; the audit log names nobody", failure.error),
                );
            }
        }
        None => {}
    }
    Ok(vault)
}

fn opened(global: &Global) -> Done<Vault> {
    let dir = existing(global)?;
    let vault = open(global, dir)?;
    if let Some(words) = anchor_words(vault.alarm()?) {
        warn(global, &words);
    }
    match vault.clock_skew() {
        Some(ClockSkew::Behind { .. }) => warn(
            global,
            "this machine's clock is behind what was written here; set it. Work goes on",
        ),
        Some(ClockSkew::Ahead { .. }) => warn(
            global,
            "nothing was written here for over a year by this machine's clock; is it set right?",
        ),
        None => {}
    }
    Ok(vault)
}

/// Where this machine remembers vaults outside their folders; nowhere if no variable says.
fn state_folder() -> Option<PathBuf> {
    let named = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    named("MEDSYNC_STATE")
        .or_else(|| named("XDG_STATE_HOME").map(|dir| dir.join("medsync")))
        .or_else(|| named("LOCALAPPDATA").map(|dir| dir.join("medsync/state")))
        .or_else(|| named("HOME").map(|dir| dir.join(".local/state/medsync")))
}

/// Lets this machine remember a vault that was just made.
pub(crate) fn anchor(vault: &mut Vault) -> Done<()> {
    if let Some(dir) = state_folder() {
        vault.anchor(Arc::new(StateFolder::new(&dir)))?;
    }
    Ok(())
}

/// Opens a vault and compares it with what this machine remembers of it, from now on.
fn unlocked(dir: &Path, unlock: Unlock<'_>) -> Done<Vault> {
    let Some(state) = state_folder() else {
        return Ok(Vault::open(dir, env(), unlock)?);
    };
    let anchor = Arc::new(StateFolder::new(&state));
    let tuning = Tuning::default();
    Ok(Vault::open_anchored(dir, env(), unlock, tuning, anchor)?)
}

/// What to tell people of what the anchor said.
pub(crate) fn anchor_words(said: Anchored) -> Option<String> {
    const NEW_NAME: &str = "it writes on as another copy, and what it may have lost comes back at the \
                            next exchange";
    Some(match said {
        Anchored::Unwatched | Anchored::Held => return None,
        Anchored::RolledBack { missing, last } => format!(
            "THIS VAULT IS OLDER than the one that was here on {}, by {missing} commits: somebody \
             put a backup back. {NEW_NAME}",
            show::time(last.ms())
        ),
        Anchored::Cloned => format!(
            "ANOTHER COPY OF THIS VAULT WAS WRITTEN TO; use only one of them. As to this one: {NEW_NAME}"
        ),
        Anchored::Missing => format!(
            "this machine does not know this vault: it was moved or restored here; {NEW_NAME}"
        ),
        Anchored::Refused => format!(
            "what this machine remembers of the vault cannot be read or written (MEDSYNC_STATE). \
             To be safe, {NEW_NAME}"
        ),
    })
}

/// A warning beside the result.
pub(crate) fn warn(global: &Global, words: &str) {
    show::note(match global.json {
        true => show::object([("warning", Json::string(words))]).text(),
        false => format!("medsync: {words}"),
    });
}

/// By whatever the options name.
fn open(global: &Global, dir: &Path) -> Done<Vault> {
    if let Some(file) = &global.identity_file {
        let identity = secrets::identity(file)?;
        return unlocked(dir, Unlock::Escrow(&identity));
    }
    if let Some(program) = &global.key_helper {
        let helper = Helper::new(program);
        return unlocked(dir, Unlock::Host(&helper));
    }
    let passphrase = passphrase(global)?;
    unlocked(dir, Unlock::Passphrase(&passphrase))
}

/// The vault's passphrase, from its file or a prompt.
pub(crate) fn passphrase(global: &Global) -> Done<Zeroizing<String>> {
    let file = global.passphrase_file.as_deref();
    secrets::read(file, "passphrase", "--passphrase-file")
}

/// The folder, if a vault is in it.
pub(crate) fn existing(global: &Global) -> Done<&Path> {
    let dir = folder(global)?;
    if dir.join(KEY_FILE).exists() {
        return Ok(dir);
    }
    Err(Failure::new(
        NOT_FOUND,
        format!("there is no vault in {}", dir.display()),
        "check --vault, or make one with medsync init (or medsync request, to join others)",
    ))
}

/// Does something in the name of a person and seals what they wrote, so that it can travel.
pub(crate) fn write<T>(global: &Global, job: impl FnOnce(&mut Vault) -> Done<T>) -> Done<T> {
    only_reads(global)?;
    let mut vault = opened(global)?;
    unlock_author(&mut vault, global)?;
    warn_unentitled(&vault, global)?;
    let done = job(&mut vault);
    // Also after a failure: what was committed before it is durable and has to travel.
    let sealed = vault.leave();
    let done = done?;
    sealed?;
    Ok(done)
}

/// Opens the vault to carry what is in it; for a person only where one is named.
pub(crate) fn carrier(global: &Global) -> Done<Vault> {
    only_reads(global)?;
    let mut vault = opened(global)?;
    if global.author.is_some() || global.pin_file.is_some() {
        unlock_author(&mut vault, global)?;
    }
    Ok(vault)
}

/// Puts the key of the person who acts under another PIN.
pub(crate) fn change_pin(global: &Global, new: impl FnOnce() -> Done<Zeroizing<String>>) -> Done {
    only_reads(global)?;
    let mut vault = opened(global)?;
    let author = author(&vault, global)?;
    let old = match vault.author() == Some(author) {
        true => None,
        false => Some(secrets::read(
            global.pin_file.as_deref(),
            "PIN",
            "--pin-file",
        )?),
    };
    let old = old.as_ref().map(|pin| pin.as_bytes());
    // Checked before a new one is asked for.
    vault.unlock(&author, old)?;
    let new = new()?;
    Ok(vault.change_pin(&author, old, new.as_bytes(), kdf()?)?)
}

fn author(vault: &Vault, global: &Global) -> Done<AuthorKey> {
    Ok(match &global.author {
        Some(name) => vault.person_here(name)?,
        None => vault.owner(),
    })
}

/// Before the glass is broken for nothing.
fn only_reads(global: &Global) -> Done {
    match global.break_glass {
        None => Ok(()),
        Some(_) => Err(Failure::usage(
            "an emergency only reads",
            "leave --break-glass out, and name the person with --as",
        )),
    }
}

fn unlock_author(vault: &mut Vault, global: &Global) -> Done {
    let author = author(vault, global)?;
    if vault.author() == Some(author) {
        return Ok(());
    }
    match vault.unlock(&author, None) {
        Err(Error::Locked(_)) => {}
        done => return Ok(done?),
    }
    let pin = secrets::read(global.pin_file.as_deref(), "PIN", "--pin-file")?;
    Ok(vault.unlock(&author, Some(pin.as_bytes()))?)
}

/// Says so where what is written now will show as unconfirmed. Authority never blocks entry.
fn warn_unentitled(vault: &Vault, global: &Global) -> Done {
    if vault.workspace().is_none() {
        return Ok(());
    }
    let entitled = |p: &PersonInfo| !p.revoked && p.roles.iter().any(|r| *r != Role::Archive);
    let author = vault.author();
    if !vault
        .people()?
        .iter()
        .any(|p| Some(p.key) == author && entitled(p))
    {
        const WARNING: &str = "this person's key was revoked or never certified; what they write \
                               is kept and shows as unconfirmed";
        warn(global, WARNING);
    }
    Ok(())
}
