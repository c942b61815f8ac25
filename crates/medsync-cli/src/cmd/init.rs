//! Makes vaults: with a workspace of their own, or asking to join one.

use crate::cli::{Global, Init, Request};
use crate::exit::{Done, FAILED, Failure};
use crate::secrets::{self, WordsFile};
use crate::session;
use crate::show;
use medsync_core::crypto::{Suite, Words};
use medsync_core::model::json::Json;
use medsync_core::store::KEY_FILE;
use medsync_core::vault::{NewVault, Vault};
use std::path::Path;

pub(super) fn run(global: &Global, args: &Init) -> Done {
    let dir = session::folder(global)?;
    refuse_existing(dir)?;
    let authority_file = reserve(args.words_file.as_deref())?;
    let recovery_file = reserve(args.recovery_file.as_deref())?;
    let passphrase = new_passphrase(global)?;
    let new = NewVault {
        passphrase: &passphrase,
        suite: Suite::default(),
        kdf: session::kdf()?,
        person: &args.person,
        device: &args.device.device,
    };
    let pack = medsync_fhir::pack::clinical();
    let mut created = Vault::create(dir, session::env(), &new, &args.workspace, &pack)?;
    session::anchor(&mut created.vault)?;
    created.vault.leave()?;
    let authority = match created.authority {
        Some(words) => keep(authority_file, words)?,
        None => None,
    };
    let recovery = keep(recovery_file, created.recovery)?;
    if global.json {
        let phrase = |words: &Option<Words>| match words {
            Some(words) => Json::string(&words.phrase()),
            None => Json::Null,
        };
        let workspace = created.vault.workspace();
        return show::json(&show::object([
            ("authority_words", phrase(&authority)),
            ("person", Json::string(&args.person)),
            ("recovery_words", phrase(&recovery)),
            (
                "replica",
                Json::string(&created.vault.replica().to_string()),
            ),
            ("vault", Json::string(&dir.display().to_string())),
            ("workspace", Json::string(&args.workspace)),
            (
                "workspace_id",
                show::maybe(workspace.map(|w| w.0.to_string()).as_deref()),
            ),
        ]));
    }
    let person = show::clean(&args.person);
    let workspace = show::clean(&args.workspace);
    show::line(format!(
        "Made the workspace {workspace} in {}.",
        dir.display()
    ))?;
    show::line(format!(
        "{person} holds every role; the passphrase unlocks their key."
    ))?;
    if let Some(words) = &authority {
        show::line("\nThe authority's 24 words, shown this once. On paper, in a safe: they alone")?;
        show::line("can replace lost admins, and whoever has them can admit anybody.\n")?;
        show::line(numbered(words))?;
    }
    if let Some(words) = &recovery {
        show::line(RECOVERY)?;
        show::line(numbered(words))?;
    }
    Ok(())
}

const RECOVERY: &str = "
The recovery words, shown this once: they open this vault if its passphrase is lost.
";

pub(super) fn request(global: &Global, args: &Request) -> Done {
    let dir = session::folder(global)?;
    let text = if dir.join(KEY_FILE).exists() {
        if args.recovery_file.is_some() {
            return Err(Failure::usage(
                "this vault is there already, and its recovery words were made with it",
                "leave --recovery-file out, or make new words with medsync recovery new",
            ));
        }
        session::write(global, |vault| Ok(vault.request()?))?
    } else {
        new_request(global, dir, args)?
    };
    if global.json {
        return show::json(&show::object([("request", Json::string(&text))]));
    }
    show::line(text.trim_end())
}

fn new_request(global: &Global, dir: &Path, args: &Request) -> Done<String> {
    let recovery_file = reserve(args.recovery_file.as_deref())?;
    let passphrase = new_passphrase(global)?;
    let new = NewVault {
        passphrase: &passphrase,
        suite: Suite::default(),
        kdf: session::kdf()?,
        person: &args.person,
        device: &args.device.device,
    };
    let mut created =
        Vault::create_alone(dir, session::env(), &new, &medsync_fhir::pack::clinical())?;
    session::anchor(&mut created.vault)?;
    if let Some(words) = keep(recovery_file, created.recovery)? {
        // Standard output is the request, which goes to a file.
        show::note(format!("{RECOVERY}\n{}\n", numbered(&words)));
    }
    Ok(created.vault.request()?)
}

fn refuse_existing(dir: &Path) -> Done {
    if dir.join(KEY_FILE).exists() {
        let error = format!("there is a vault in {} already", dir.display());
        return Err(Failure::new(FAILED, error, "choose another folder"));
    }
    Ok(())
}

/// The passphrase of a vault that is being made, in the place where later ones look for it.
fn new_passphrase(global: &Global) -> Done<zeroize::Zeroizing<String>> {
    let file = global.passphrase_file.as_deref();
    secrets::read_new(file, "passphrase", "--passphrase-file")
}

pub(super) fn reserve(file: Option<&Path>) -> Done<Option<WordsFile>> {
    file.map(WordsFile::reserve).transpose()
}

/// Words that have a file go there; the others come back, to be shown.
pub(super) fn keep(file: Option<WordsFile>, words: Words) -> Done<Option<Words>> {
    match file {
        Some(file) => file.write(&words).map(|()| None),
        None => Ok(Some(words)),
    }
}

/// Six words a line, numbered, to be copied on paper.
pub(super) fn numbered(words: &Words) -> String {
    let phrase = words.phrase();
    let words: Vec<String> = phrase
        .split(' ')
        .zip(1..)
        .map(|(word, n)| format!("{n:>2} {word:<9}"))
        .collect();
    let lines: Vec<String> = words.chunks(6).map(|line| line.concat()).collect();
    lines.join("\n")
}
