//! Bugs planted on purpose, each behind this one switch: a simulator that misses them proves nothing.

/// A bug that a simulation must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(any(test, feature = "testing")),
    allow(
        dead_code,
        unreachable_pub,
        reason = "nobody plants them without the feature"
    )
)]
pub enum Bug {
    /// Syncing says yes and does nothing.
    NoFsync,
    /// A received header is dropped, its batch kept.
    LostHeader,
    /// A vault that finds itself to be an old copy goes on under its old name.
    ReusedActor,
    /// The latest value is the one with the highest operation counter, whatever the clocks say.
    LwwByCounter,
    /// Removing a status beats a concurrent final one.
    DeleteWins,
    /// A form that was open for long overwrites what came meanwhile.
    StaleForm,
    /// A commit shows the records whose causes are here, without the others.
    HalfCommit,
    /// A revocation takes away what lies before its cut, too.
    LateRevocation,
    /// A change that contradicts its commit or its causes is shown all the same.
    SkippedGate,
}

#[cfg(any(test, feature = "testing"))]
impl Bug {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::NoFsync,
        Self::LostHeader,
        Self::ReusedActor,
        Self::LwwByCounter,
        Self::DeleteWins,
        Self::StaleForm,
        Self::HalfCommit,
        Self::LateRevocation,
        Self::SkippedGate,
    ];
}

#[cfg(any(test, feature = "testing"))]
std::thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug in whatever this thread does from now on, in place of the one before.
#[cfg(any(test, feature = "testing"))]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Does something without the bug that is planted.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn unplanted<T>(work: impl FnOnce() -> T) -> T {
    let bug = PLANTED.replace(None);
    let done = work();
    PLANTED.set(bug);
    done
}

/// Whether a bug is planted in this thread. Without the feature never, and at no cost.
#[inline]
pub(crate) fn planted(bug: Bug) -> bool {
    #[cfg(any(test, feature = "testing"))]
    return PLANTED.get() == Some(bug);
    #[cfg(not(any(test, feature = "testing")))]
    {
        let _ = bug;
        false
    }
}
