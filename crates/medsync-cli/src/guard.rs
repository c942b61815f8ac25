//! Keeps what is in this process's memory from the disk, as far as a program can.

/// No core dump, no debugger of the same account, and no swap where the account may lock memory.
/// A system that refuses any of it is left as it is: none of it may stop clinical work.
#[cfg(unix)]
pub(crate) fn keep_memory_private() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).ok();
    #[cfg(target_os = "linux")]
    {
        use rustix::mm::{MlockAllFlags, mlockall};
        use rustix::process::{DumpableBehavior, getrlimit, set_dumpable_behavior};
        set_dumpable_behavior(DumpableBehavior::NotDumpable).ok();
        // Under a limit memory would run out in the middle of an import.
        if getrlimit(Resource::Memlock).current.is_none() {
            let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
            mlockall(all).ok();
        }
    }
}

/// Nothing is known to help here.
#[cfg(not(unix))]
pub(crate) const fn keep_memory_private() {}
