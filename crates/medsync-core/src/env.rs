//! The only door to clock and entropy, so that a whole world replays from one seed.

use std::fmt;
use std::sync::Arc;

/// What the engine may ask of its surroundings.
pub trait Env: Send + Sync {
    /// Milliseconds since 1970-01-01 UTC, as far as this machine knows.
    fn now_ms(&self) -> i64;
    /// Fills `buf` with random bytes fit for keys.
    fn fill(&self, buf: &mut [u8]);
}

/// A shared [`Env`].
pub type SharedEnv = Arc<dyn Env>;

impl fmt::Debug for dyn Env + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Env")
    }
}

impl dyn Env + '_ {
    /// `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }
}

/// The machine's own clock and entropy.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEnv;

impl SystemEnv {
    /// The system's environment, ready to share.
    pub fn shared() -> SharedEnv {
        Arc::new(Self)
    }
}

impl Env for SystemEnv {
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    fn now_ms(&self) -> i64 {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    fn fill(&self, buf: &mut [u8]) {
        getrandom::fill(buf).expect("the operating system always has entropy after boot");
    }
}
