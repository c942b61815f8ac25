//! Argon2id: what a passphrase costs to guess.

use super::key::Secret;
use crate::env::Env;
use crate::error::{Error, Result};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroizing;

/// Length of a salt, in bytes.
pub const SALT_LEN: usize = 16;

/// Least memory, in KiB: OWASP's floor for Argon2id with two passes.
const MEMORY_MIN_KIB: u32 = 19 * 1024;
/// Most memory, in KiB: a hostile file must not exhaust a machine of 4 GB.
const MEMORY_MAX_KIB: u32 = 1024 * 1024;
const PASSES_MIN: u32 = 2;
const PASSES_MAX: u32 = 32;
const LANES_MAX: u32 = 16;

/// What an unlock should take, in milliseconds.
const UNLOCK_MIN_MS: i64 = 250;
const UNLOCK_AIM_MS: i64 = 500;
const UNLOCK_MAX_MS: i64 = 1000;

/// Parameters of Argon2id, never below the floor nor above what a device can bear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode)]
#[cbor(array)]
pub struct Kdf {
    #[n(0)]
    memory_kib: u32,
    #[n(1)]
    passes: u32,
    #[n(2)]
    lanes: u32,
}

impl Default for Kdf {
    /// 64 MiB, 3 passes, 4 lanes: the second choice of RFC 9106.
    fn default() -> Self {
        Self {
            memory_kib: 64 * 1024,
            passes: 3,
            lanes: 4,
        }
    }
}

impl Kdf {
    const FLOOR: Self = Self {
        memory_kib: MEMORY_MIN_KIB,
        passes: PASSES_MIN,
        lanes: 1,
    };

    /// Checked parameters, be they a setting or from a file.
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self> {
        if memory_kib < MEMORY_MIN_KIB || passes < PASSES_MIN || lanes == 0 {
            return Err(Error::invalid(
                "Argon2id below the floor of 19 MiB and 2 passes is too easy to guess",
            ));
        }
        if memory_kib > MEMORY_MAX_KIB || passes > PASSES_MAX || lanes > LANES_MAX {
            return Err(Error::invalid(
                "Argon2id above 1 GiB, 32 passes or 16 lanes is refused",
            ));
        }
        Ok(Self {
            memory_kib,
            passes,
            lanes,
        })
    }

    /// The floor: for tests, which open many vaults.
    #[cfg(any(test, feature = "testing"))]
    pub const fn for_tests() -> Self {
        Self::FLOOR
    }

    /// Memory, in KiB.
    pub const fn memory_kib(self) -> u32 {
        self.memory_kib
    }

    /// Passes over the memory.
    pub const fn passes(self) -> u32 {
        self.passes
    }

    /// Lanes.
    pub const fn lanes(self) -> u32 {
        self.lanes
    }

    /// Parameters with which this machine unlocks in 250 to 1000 ms where it can, never below the
    /// floor. Runs Argon2id once with the default to find out.
    pub fn calibrate(env: &dyn Env) -> Result<Self> {
        let default = Self::default();
        let start_ms = env.now_ms();
        default.stretch(b"calibration", &[0; SALT_LEN])?;
        Ok(default.fitted(env.now_ms().saturating_sub(start_ms)))
    }

    /// These parameters, changed so that what took `elapsed_ms` takes about half a second.
    fn fitted(self, elapsed_ms: i64) -> Self {
        // A clock that stands still or was set back measured nothing.
        if elapsed_ms <= 0 || (UNLOCK_MIN_MS..=UNLOCK_MAX_MS).contains(&elapsed_ms) {
            return self;
        }
        let scale = |value: u32| {
            u32::try_from(i64::from(value).saturating_mul(UNLOCK_AIM_MS) / elapsed_ms)
                .unwrap_or(u32::MAX)
        };
        if elapsed_ms < UNLOCK_MIN_MS {
            // More passes, not more memory: a vault moves to smaller machines.
            return Self {
                passes: scale(self.passes).clamp(self.passes, PASSES_MAX),
                ..self
            };
        }
        let memory_kib = scale(self.memory_kib);
        if memory_kib >= MEMORY_MIN_KIB {
            return Self { memory_kib, ..self };
        }
        Self {
            lanes: self.lanes,
            ..Self::FLOOR
        }
    }

    /// The key a secret stands for. Slow on purpose.
    pub(super) fn stretch(self, secret: &[u8], salt: &[u8; SALT_LEN]) -> Result<Secret<32>> {
        const WHAT: Error = Error::Storage {
            what: "not enough memory to unlock",
            kind: std::io::ErrorKind::OutOfMemory,
        };
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32))
            .map_err(|_| Error::invalid("these Argon2id parameters do not exist"))?;
        // Our own memory, to refuse instead of abort when there is none, and to wipe it.
        let mut memory = Vec::new();
        memory
            .try_reserve_exact(params.block_count())
            .map_err(|_| WHAT)?;
        memory.resize(params.block_count(), Block::new());
        let mut memory = Zeroizing::new(memory);
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut out = Zeroizing::new([0; 32]);
        argon
            .hash_password_into_with_memory(secret, salt, &mut *out, memory.as_mut_slice())
            .map_err(|_| Error::invalid("the passphrase is too long"))?;
        Ok(Secret::take(&mut out))
    }
}

// By hand, because parameters of a file pass through the checks like any others.
impl<'b, C> minicbor::Decode<'b, C> for Kdf {
    fn decode(
        d: &mut minicbor::Decoder<'b>,
        _: &mut C,
    ) -> std::result::Result<Self, minicbor::decode::Error> {
        if d.array()? != Some(3) {
            return Err(minicbor::decode::Error::message("not Argon2id parameters"));
        }
        Self::new(d.u32()?, d.u32()?, d.u32()?)
            .map_err(|_| minicbor::decode::Error::message("Argon2id parameters out of range"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::hex;

    #[test]
    fn parameters_out_of_range_are_refused() {
        for (m, t, p) in [
            (19 * 1024 - 1, 2, 1),
            (19 * 1024, 1, 1),
            (19 * 1024, 2, 0),
            (1024 * 1024 + 1, 2, 1),
            (u32::MAX, u32::MAX, u32::MAX),
            (19 * 1024, 33, 1),
            (19 * 1024, 2, 17),
        ] {
            assert!(Kdf::new(m, t, p).is_err(), "{m} {t} {p}");
        }
        assert_eq!(Kdf::new(19 * 1024, 2, 1), Ok(Kdf::for_tests()));
    }

    #[test]
    fn fast_machines_work_longer_and_slow_ones_never_below_the_floor() {
        let default = Kdf::default();
        assert_eq!(default.fitted(300), default);
        assert_eq!(default.fitted(0), default);
        assert_eq!(default.fitted(-86_400_000), default);
        assert_eq!(default.fitted(100).passes(), 15);
        assert_eq!(default.fitted(1).passes(), PASSES_MAX);
        assert_eq!(default.fitted(1100).memory_kib(), 29789);
        for elapsed_ms in [1, 249, 1001, 5000, 60_000, i64::MAX] {
            let kdf = default.fitted(elapsed_ms);
            assert_eq!(Kdf::new(kdf.memory_kib, kdf.passes, kdf.lanes), Ok(kdf));
        }
    }

    /// Passphrases of years ago give this key: the value never changes.
    #[test]
    fn stretching_is_frozen() {
        let key = Kdf::for_tests().stretch(b"password", b"somesaltsomesalt");
        assert_eq!(hex(key.expect("fits in memory").expose()), GOLDEN);
    }

    const GOLDEN: &str = "2b5dc4054886ec957ef59c73b661c54dd6fb274590b278f657c6d96aac8fa6d1";
}
