//! A key store as a program: it wraps and unwraps one key, and the command knows nothing of how.

use medsync_core::crypto::{KeyWrapper, Secret, WRAPPED_MAX};
use medsync_core::error::{Error, Result};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use zeroize::Zeroizing;

/// A program that is run as `PROGRAM wrap` or `PROGRAM unwrap`, with bytes on standard input and
/// bytes on standard output.
pub(crate) struct Helper(PathBuf);

impl Helper {
    pub(crate) fn new(program: &Path) -> Self {
        Self(program.to_owned())
    }

    fn run(&self, what: &str, input: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let failed = |e: std::io::Error| Error::io("run the key helper", &e);
        let mut child = Command::new(&self.0)
            .arg(what)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that refuses does not read; its exit code says so.
            stdin.write_all(input).ok();
        }
        // At its full size from the start: a buffer that grows leaves copies behind.
        let mut out = Zeroizing::new(Vec::with_capacity(WRAPPED_MAX + 2));
        if let Some(stdout) = child.stdout.take() {
            let limit = u64::try_from(WRAPPED_MAX + 1).unwrap_or(u64::MAX);
            stdout.take(limit).read_to_end(&mut out).map_err(failed)?;
        }
        match child.wait().map_err(failed)?.success() {
            true => Ok(out),
            false => Err(Error::Locked("the key store")),
        }
    }
}

impl KeyWrapper for Helper {
    fn wrap(&self, key: &Secret<32>) -> Result<Vec<u8>> {
        self.run("wrap", key.expose()).map(|out| out.to_vec())
    }

    fn unwrap(&self, wrapped: &[u8]) -> Result<Secret<32>> {
        let key = self.run("unwrap", wrapped)?;
        Secret::from_slice(&key).ok_or(Error::WrongSecret("what the key helper gave back"))
    }
}
