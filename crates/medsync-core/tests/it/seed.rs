//! Seeds of the properties: new ones each time, and a failure says which.

use proptest::prelude::ProptestConfig;
use proptest::test_runner::{FailurePersistence, RngSeed};
use std::hash::{BuildHasher as _, RandomState};

/// 256 cases of a new seed; `MEDSYNC_SEED` plays one again. The seed shows where a test fails.
pub(crate) fn config() -> ProptestConfig {
    let given = std::env::var("MEDSYNC_SEED")
        .ok()
        .and_then(|s| s.parse().ok());
    let seed = given.unwrap_or_else(|| RandomState::new().hash_one(0));
    println!("MEDSYNC_SEED={seed}");
    let none: Option<Box<dyn FailurePersistence>> = None;
    ProptestConfig {
        cases: 256,
        failure_persistence: none,
        rng_seed: RngSeed::Fixed(seed),
        ..ProptestConfig::default()
    }
}
