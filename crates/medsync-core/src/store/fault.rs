//! A simulated disk that forgets, tears and garbles what was not synced, all from one seed.

mod folder;

pub use folder::SimFolder;

use crate::env::{Env, SharedEnv};
use crate::planted::{Bug, planted};
use redb::StorageBackend;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a disk writes as a whole or not at all.
const SECTOR: usize = 512;

/// A small deterministic generator (SplitMix64). Not for keys of real vaults.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The generator of that seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit` (0 for a limit of 0).
    pub const fn below(&mut self, limit: u64) -> u64 {
        if limit == 0 {
            0
        } else {
            self.next_u64() % limit
        }
    }

    /// True once in `n` times.
    pub const fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Fills a buffer.
    pub fn fill(&mut self, buf: &mut [u8]) {
        for chunk in buf.chunks_mut(8) {
            let bytes = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

/// An [`Env`] that replays: entropy from a seed, a clock that moves when told.
#[derive(Debug)]
pub struct SeededEnv {
    rng: Mutex<Rng>,
    now_ms: AtomicI64,
}

impl SeededEnv {
    /// Starts at 2026-01-01.
    pub const fn new(seed: u64) -> Self {
        Self {
            rng: Mutex::new(Rng::new(seed)),
            now_ms: AtomicI64::new(1_767_225_600_000),
        }
    }

    /// The same, ready to share.
    pub fn shared(seed: u64) -> SharedEnv {
        Arc::new(Self::new(seed))
    }

    /// Moves the clock.
    pub fn advance_ms(&self, ms: i64) {
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Env for SeededEnv {
    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    fn fill(&self, buf: &mut [u8]) {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        rng.fill(buf);
    }
}

#[derive(Debug, Clone)]
enum Op {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

/// The power, and the faults to come: of one disk, or of all files of a folder.
#[derive(Debug, Default)]
struct Power {
    ops: u64,
    cut_at: Option<u64>,
    fail_at: Option<(u64, ErrorKind)>,
    reads: u64,
    fail_read_at: Option<(u64, ErrorKind)>,
    off: bool,
    /// A fault that was asked for has happened.
    struck: bool,
}

type SharedPower = Arc<Mutex<Power>>;

fn lock_power(power: &SharedPower) -> MutexGuard<'_, Power> {
    power.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Power {
    fn cut_at(&mut self, op: u64) {
        self.cut_at = Some(self.ops + op);
    }

    fn fail_at(&mut self, op: u64, kind: ErrorKind) {
        self.fail_at = Some((self.ops + op, kind));
    }

    fn fail_read_at(&mut self, n: u64, kind: ErrorKind) {
        self.fail_read_at = Some((self.reads + n, kind));
    }

    const fn calm(&mut self) {
        (self.cut_at, self.fail_at, self.fail_read_at) = (None, None, None);
    }

    fn alive(&self) -> io::Result<()> {
        if self.off {
            return Err(io::Error::other("the power is off"));
        }
        Ok(())
    }

    fn tick(&mut self) -> io::Result<()> {
        self.ops += 1;
        if self.cut_at == Some(self.ops) {
            self.off = true;
            self.struck = true;
        }
        self.alive()?;
        match self.fail_at {
            Some((op, kind)) if op == self.ops => {
                self.struck = true;
                Err(kind.into())
            }
            _ => Ok(()),
        }
    }

    fn tick_read(&mut self) -> io::Result<()> {
        self.alive()?;
        self.reads += 1;
        match self.fail_read_at {
            Some((read, kind)) if read == self.reads => {
                self.struck = true;
                Err(kind.into())
            }
            _ => Ok(()),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    /// What reads see: the system's cache.
    live: Vec<u8>,
    /// What is on the platter for sure.
    durable: Vec<u8>,
    /// What happened since the last sync.
    pending: Vec<Op>,
    power: SharedPower,
    sync_failed: bool,
    /// Something reached the disk after a sync of it had failed.
    used_after_failed_sync: bool,
    lying: bool,
}

/// The disk. Clones are handles of the same disk.
#[derive(Debug, Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    /// A disk that holds exactly these bytes, all of them durable.
    pub fn from_image(image: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State {
            live: image.clone(),
            durable: image,
            ..State::default()
        })))
    }

    /// The power goes at the `op`-th write, sync or change of length from now.
    pub fn cut_at(&self, op: u64) {
        lock_power(&self.state().power).cut_at(op);
    }

    /// The `op`-th write, sync or change of length from now fails once, the power stays.
    pub fn fail_at(&self, op: u64, kind: ErrorKind) {
        lock_power(&self.state().power).fail_at(op, kind);
    }

    /// The `n`-th read from now fails once: with `UnexpectedEof` it is a short one.
    pub fn fail_read_at(&self, n: u64, kind: ErrorKind) {
        lock_power(&self.state().power).fail_read_at(n, kind);
    }

    /// Forgets faults that have not happened yet.
    pub fn calm(&self) {
        lock_power(&self.state().power).calm();
    }

    /// Whether a cut or a failure happened.
    pub fn struck(&self) -> bool {
        lock_power(&self.state().power).struck
    }

    /// Whether the power is off.
    pub fn is_off(&self) -> bool {
        lock_power(&self.state().power).off
    }

    /// Whether a sync failed, and whether something was written or synced afterwards.
    pub fn failed_sync(&self) -> (bool, bool) {
        let state = self.state();
        (state.sync_failed, state.used_after_failed_sync)
    }

    /// A planted bug: from now on, syncing says yes and does nothing.
    pub fn lie(&self) {
        self.state().lying = true;
    }

    /// How many writes, syncs and changes of length there were.
    pub fn ops(&self) -> u64 {
        lock_power(&self.state().power).ops
    }

    /// What a process that starts after another one died (with the power on) finds.
    pub fn image(&self) -> Vec<u8> {
        self.state().live.clone()
    }

    /// What a machine may find after the power went: synced data whole; of the rest each write
    /// whole, lost, or torn at sectors, where a torn sector is old or garbage.
    pub fn after_power_loss(&self, rng: &mut Rng) -> Self {
        let state = self.state();
        let mut image = state.durable.clone();
        // All kept, all lost, or (mostly) each on its own.
        let policy = rng.below(6);
        for op in &state.pending {
            let fate = if policy < 2 { policy } else { rng.below(3) };
            match op {
                _ if fate == 1 => {}
                Op::SetLen(len) => image.resize(*len, 0),
                Op::Write(at, bytes) => tear(&mut image, *at, bytes, fate == 0, rng),
            }
        }
        Self::from_image(image)
    }

    /// What the next process finds when one died and the power stayed: all that was written, of
    /// which nothing became durable by it.
    pub fn after_process_death(&self) -> Self {
        let state = self.state();
        let mut live = state.durable.clone();
        for op in &state.pending {
            State::apply(&mut live, op);
        }
        Self(Arc::new(Mutex::new(State {
            live,
            durable: state.durable.clone(),
            pending: state.pending.clone(),
            lying: state.lying,
            ..State::default()
        })))
    }

    /// Shares the power, and with it the faults to come, of a folder.
    fn join(&self, power: &SharedPower) {
        self.state().power = Arc::clone(power);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tear(image: &mut Vec<u8>, at: usize, bytes: &[u8], whole: bool, rng: &mut Rng) {
    if at + bytes.len() > image.len() && rng.one_in(2) {
        image.resize(at + bytes.len(), 0);
    }
    let mut done = 0;
    while done < bytes.len() {
        let start = at + done;
        let len = (SECTOR - start % SECTOR).min(bytes.len() - done);
        if let Some(sector) = image.get_mut(start..start + len) {
            if whole || rng.one_in(2) {
                sector.copy_from_slice(&bytes[done..done + len]);
            } else if rng.one_in(4) {
                rng.fill(sector);
            }
        }
        done += len;
    }
}

impl State {
    fn alive(&self) -> io::Result<()> {
        lock_power(&self.power).alive()
    }

    fn is_off(&self) -> bool {
        lock_power(&self.power).off
    }

    /// Counts an operation; what is pending already may be lost with it.
    fn tick(&mut self) -> io::Result<()> {
        self.used_after_failed_sync |= self.sync_failed;
        lock_power(&self.power).tick()
    }

    fn tick_read(&self) -> io::Result<()> {
        lock_power(&self.power).tick_read()
    }

    fn apply(image: &mut Vec<u8>, op: &Op) {
        match op {
            Op::SetLen(len) => image.resize(*len, 0),
            Op::Write(at, bytes) => {
                let end = at + bytes.len();
                if end > image.len() {
                    image.resize(end, 0);
                }
                image[*at..end].copy_from_slice(bytes);
            }
        }
    }

    fn perform(&mut self, op: Op) -> io::Result<()> {
        self.alive()?;
        // Pending before the power goes: the very write that was under way may be torn.
        self.pending.push(op);
        if let Err(error) = self.tick() {
            if !self.is_off() {
                self.pending.pop();
            }
            return Err(error);
        }
        if let Some(op) = self.pending.last() {
            Self::apply(&mut self.live, op);
        }
        Ok(())
    }
}

fn index(value: u64) -> io::Result<usize> {
    usize::try_from(value).map_err(|_| ErrorKind::StorageFull.into())
}

impl StorageBackend for SimDisk {
    fn len(&self) -> io::Result<u64> {
        let state = self.state();
        state.alive()?;
        Ok(state.live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        state.tick_read()?;
        let at = index(offset)?;
        let end = at.saturating_add(out.len());
        let found = state.live.get(at..end);
        out.copy_from_slice(found.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let op = Op::SetLen(index(len)?);
        self.state().perform(op)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        state.alive()?;
        if let Err(error) = state.tick() {
            if !state.is_off() {
                // As Linux does: the pages count as clean, so that no later sync writes them.
                state.pending.clear();
                state.sync_failed = true;
            }
            return Err(error);
        }
        if !state.lying && !planted(Bug::NoFsync) {
            let State {
                durable, pending, ..
            } = &mut *state;
            pending.drain(..).for_each(|op| State::apply(durable, &op));
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let op = Op::Write(index(offset)?, data.to_vec());
        self.state().perform(op)
    }
}
