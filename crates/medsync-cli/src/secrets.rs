//! Secrets on their way in and out: passphrases, PINs and words; never on the command line.

use crate::exit::{Done, FAILED, Failure, LOCKED};
use medsync_core::crypto::{Secret, Words, envelope};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Longest secret a file may hold, in bytes.
const SECRET_MAX: u64 = 4096;

/// A secret from a file, its line end stripped, or from a prompt.
pub(crate) fn read(file: Option<&Path>, what: &str, option: &str) -> Done<Zeroizing<String>> {
    match file {
        Some(path) => from_file(path, what),
        None => ask(&format!("{what}: "), option),
    }
}

/// A new secret, asked for twice where it is not from a file.
pub(crate) fn read_new(file: Option<&Path>, what: &str, option: &str) -> Done<Zeroizing<String>> {
    if let Some(path) = file {
        return from_file(path, what);
    }
    let first = ask(&format!("New {what}: "), option)?;
    let again = ask(&format!("New {what} again: "), option)?;
    if *first != *again {
        return Err(Failure::new(FAILED, "the two entries differ", "try again"));
    }
    not_empty(first, what)
}

fn ask(prompt: &str, option: &str) -> Done<Zeroizing<String>> {
    let unasked = |_| {
        let hint = format!("give {option} where there is no terminal to ask on");
        Failure::new(LOCKED, "nobody could be asked for a secret", hint)
    };
    rpassword::prompt_password(prompt)
        .map(Zeroizing::new)
        .map_err(unasked)
}

fn from_file(path: &Path, what: &str) -> Done<Zeroizing<String>> {
    let unreadable = |error: io::Error| {
        let path = path.display();
        Failure::new(
            FAILED,
            format!("{path}: cannot be read ({:?})", error.kind()),
            format!("it should hold the {what} on one line"),
        )
    };
    let file = File::open(path).map_err(unreadable)?;
    let mut text = Zeroizing::new(String::with_capacity(256));
    file.take(SECRET_MAX)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    let kept = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(kept);
    not_empty(text, what)
}

fn not_empty(text: Zeroizing<String>, what: &str) -> Done<Zeroizing<String>> {
    if text.is_empty() {
        return Err(Failure::new(
            FAILED,
            format!("the {what} is empty"),
            "choose one",
        ));
    }
    Ok(text)
}

/// A file for a secret that nobody else may read. It is made before the words are, so that they are
/// never without a place; dropped unwritten it goes again.
pub(crate) struct WordsFile {
    path: PathBuf,
    file: Option<File>,
}

impl WordsFile {
    pub(crate) fn reserve(path: &Path) -> Done<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).map_err(|error| {
            let error = format!("{}: cannot be made ({:?})", path.display(), error.kind());
            Failure::new(
                FAILED,
                error,
                "name a new file in a folder you may write to",
            )
        })?;
        Ok(Self {
            path: path.to_owned(),
            file: Some(file),
        })
    }

    pub(crate) fn write(self, words: &Words) -> Done {
        self.write_line(&words.phrase())
    }

    pub(crate) fn write_line(mut self, line: &str) -> Done {
        let Some(mut file) = self.file.take() else {
            return Ok(());
        };
        file.write_all(line.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        Ok(())
    }
}

impl Drop for WordsFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // An empty file that stays behind is a nuisance, not a failure.
            fs::remove_file(&self.path).ok();
        }
    }
}

/// The secret key of an identity file.
pub(crate) fn identity(path: &Path) -> Done<Secret<32>> {
    let text = from_file(path, "an identity")?;
    Ok(envelope::parse_identity(&text)?)
}

/// The words of a file.
pub(crate) fn words(path: &Path) -> Done<Words> {
    let text = from_file(path, "24 words")?;
    Ok(Words::parse(&text)?)
}
