//! Writing gathered reads within a second, where the host has no timer.

use crate::env::SharedEnv;
use crate::error::Result;
use crate::store::Store;
use crate::vault::audit::log::Audit;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long reads are gathered: with what writing takes, within a second.
const GATHER: Duration = Duration::from_millis(500);

/// Writes what was read, durably.
pub(super) fn write_reads(store: &Store, audit: &Audit, env: &SharedEnv) -> Result<()> {
    if !audit.has_reads() {
        return Ok(());
    }
    let mut txn = store.write()?;
    if let Some(written) = audit.write(&mut txn, env, None, Vec::new(), false)? {
        let staged = txn.stage()?;
        written.keep();
        staged.settle()?;
    }
    Ok(())
}

#[derive(Default)]
struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    Gathering,
    Ending,
}

/// A thread that writes reads a while after the first of them. It ends when it is dropped.
pub(crate) struct Flusher {
    signal: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
}

impl Flusher {
    pub(super) fn start(store: Arc<Store>, audit: Arc<Audit>, env: SharedEnv) -> Self {
        let signal = Arc::new(Signal::default());
        let given = Arc::clone(&signal);
        let run = move || {
            while given.wait_for_reads() {
                // A store that cannot be written stops, and says so to whoever reads next.
                write_reads(&store, &audit, &env).ok();
            }
        };
        // Without a thread reads are written with the next commit, and when the vault closes.
        let thread = thread::Builder::new()
            .name("medsync-audit".to_owned())
            .spawn(run)
            .ok();
        Self { signal, thread }
    }

    pub(super) fn wake(&self) {
        let mut state = self
            .signal
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *state == State::Idle {
            *state = State::Gathering;
            self.signal.changed.notify_one();
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        *self
            .signal
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = State::Ending;
        self.signal.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl Signal {
    /// Waits for a first read, then gathers for a while; `false` at the end.
    fn wait_for_reads(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |state: &mut State| *state == State::Idle;
        let state = self
            .changed
            .wait_while(state, idle)
            .unwrap_or_else(PoisonError::into_inner);
        let gathering = |state: &mut State| *state == State::Gathering;
        let waited = self.changed.wait_timeout_while(state, GATHER, gathering);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let goes_on = *state != State::Ending;
        if goes_on {
            *state = State::Idle;
        }
        goes_on
    }
}
