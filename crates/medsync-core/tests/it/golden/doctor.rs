//! What a doctor finds in a golden vault, whole and damaged.

use super::{Golden, OWNER_PASSPHRASE, formats, records};
use medsync_core::env::SystemEnv;
use medsync_core::store::fault::SeededEnv;
use medsync_core::store::{Store, Unlock};
use medsync_core::vault::{Ailment, ClockSkew, Severity, Vault};
use std::sync::Arc;

fn newest() -> Golden {
    Golden::of(*formats().last().expect("a golden vault"))
}

fn store(golden: &Golden) -> Store {
    let unlock = Unlock::Passphrase(OWNER_PASSPHRASE);
    Store::open(golden.dir.path(), SystemEnv::shared(), unlock).expect("opens")
}

fn examine(vault: &mut Vault, repair: bool) -> Vec<Ailment> {
    vault.examine(repair, &mut |_, _| {}).expect("examines")
}

fn codes(found: &[Ailment], severity: Severity) -> Vec<&'static str> {
    let of = found.iter().filter(|a| a.severity == severity);
    of.map(|a| a.code).collect()
}

/// The first row of a kind, changed.
fn change(golden: &Golden, kind: u8, how: impl FnOnce(&mut Vec<u8>) -> bool) {
    let store = store(golden);
    let row = store
        .read()
        .expect("reads")
        .prefix(&[kind])
        .expect("reads")
        .last();
    let (key, mut value) = row.expect("a row of that kind").expect("a row");
    let mut txn = store.write().expect("a transaction");
    match how(&mut value) {
        true => txn.put(key, value),
        false => txn.delete(key),
    }
    txn.commit().expect("commits");
}

#[test]
fn a_whole_vault_has_no_damage_and_what_waits_is_explained() {
    let golden = newest();
    let mut vault = golden.open();
    let found = examine(&mut vault, false);
    assert_eq!(codes(&found, Severity::Damage), [""; 0]);
    assert_eq!(codes(&found, Severity::Repairable), [""; 0]);
    let warned = codes(&found, Severity::Warning);
    assert!(
        warned.contains(&"waits-for-commits") && warned.contains(&"fork"),
        "{warned:?}"
    );
    let noted = codes(&found, Severity::Note);
    assert!(
        noted.contains(&"unsealed") && noted.contains(&"anchor"),
        "{noted:?}"
    );
}

#[test]
fn what_follows_from_the_ledger_is_found_damaged_and_repaired() {
    type How = fn(&mut Vec<u8>) -> bool;
    let gone: How = |_| false;
    let other: How = |row| {
        row.reverse();
        true
    };
    let cases: [(u8, How); 8] = [
        (b'v', gone),
        (b'v', other),
        (b's', gone),
        (b's', other),
        (b'i', gone),
        (b'q', gone),
        (b'q', other),
        (b'r', gone),
    ];
    for (kind, how) in cases {
        let golden = newest();
        drop(golden.open());
        change(&golden, kind, how);
        let mut vault = golden.open();
        let what = char::from(kind);
        for _ in 0..2 {
            // Looking changes nothing.
            let found = examine(&mut vault, false);
            assert_eq!(
                codes(&found, Severity::Repairable),
                ["derived"],
                "{what}: {found:?}"
            );
            assert_eq!(codes(&found, Severity::Damage), [""; 0], "{what}");
        }
        let found = examine(&mut vault, true);
        assert!(
            found.iter().any(|a| a.code == "derived" && a.repaired),
            "{what}"
        );
        let found = examine(&mut vault, false);
        assert_eq!(codes(&found, Severity::Repairable), [""; 0], "{what}");
        assert_eq!(records(&vault), golden.text("records.ndjson"), "{what}");
    }
}

#[test]
fn damage_of_the_ledger_is_told_and_never_repaired_away() {
    let golden = newest();
    drop(golden.open());
    change(&golden, b'B', |seal| {
        seal[0] ^= 1;
        true
    });
    let mut vault = golden.open();
    for repair in [false, true, false] {
        let found = examine(&mut vault, repair);
        let damage: Vec<_> = found
            .iter()
            .filter(|a| a.severity == Severity::Damage)
            .collect();
        assert_eq!(damage.len(), 1, "{found:?}");
        assert!(
            damage[0].what.contains("not signed by its author"),
            "{damage:?}"
        );
        assert!(!damage[0].repaired);
    }
    assert_eq!(records(&vault), golden.text("records.ndjson"));
}

#[test]
fn a_clock_far_behind_or_ahead_is_a_warning_and_stops_nothing() {
    const YEAR_MS: i64 = 365 * 24 * 3_600_000;
    for years in [-10, 0, 10] {
        let golden = newest();
        let env = Arc::new(SeededEnv::new(9));
        // The golden vault was last written to within days of where a seeded clock starts.
        env.advance_ms(years * YEAR_MS + 10 * 24 * 3_600_000);
        let unlock = Unlock::Passphrase(OWNER_PASSPHRASE);
        let mut vault = Vault::open(golden.dir.path(), env, unlock).expect("opens");
        let said = match vault.clock_skew() {
            Some(ClockSkew::Behind { .. }) => -10,
            Some(ClockSkew::Ahead { .. }) => 10,
            None => 0,
        };
        assert_eq!(said, years);
        let found = examine(&mut vault, false);
        assert_eq!(
            codes(&found, Severity::Warning).contains(&"clock"),
            years != 0
        );
        let mut draft = vault
            .draft(&"Patient/p1".parse().expect("a name"))
            .expect("a draft");
        draft.set(
            "note",
            medsync_core::model::json::Json::string("all the same"),
        );
        let second = vault.person_here("Bram").expect("a person");
        vault
            .unlock(&second, Some(super::SECOND_PIN))
            .expect("unlocks");
        assert!(vault.commit(vec![draft]).expect("commits").is_some());
    }
}
