//! Revokes a person or a device.

use crate::cli::{Global, Revoke};
use crate::exit::{Done, FAILED, Failure, NOT_FOUND};
use crate::session;
use crate::show;
use medsync_core::model::json::Json;
use medsync_core::vault::Vault;

/// Digits of a key that tell it apart from a name.
const PREFIX_MIN: usize = 8;

pub(super) fn run(global: &Global, args: &Revoke) -> Done {
    let until_ms = args.keep_until.as_deref().map(time_ms).transpose()?;
    let (key, device) = session::write(global, |vault| {
        let key = subject(vault, &args.subject)?;
        let device = vault.devices().any(|device| device.key.0 == key);
        vault.revoke_after(&key, until_ms, &args.because)?;
        Ok((key, device))
    })?;
    let key = medsync_core::ids::hex(&key);
    if global.json {
        return show::json(&show::object([("revoked", Json::string(&key))]));
    }
    let short: String = key.chars().take(PREFIX_MIN).collect();
    show::line(format!("Revoked {short}. Others learn of it as they meet."))?;
    if device {
        show::line(
            "It reads nothing new. What people sign on it still counts: if it is in wrong hands, \
             revoke them too, or reset their PINs.",
        )?;
    }
    Ok(())
}

fn time_ms(text: &str) -> Done<i64> {
    let time: Result<jiff::Timestamp, _> = text.parse();
    time.map(jiff::Timestamp::as_millisecond).map_err(|_| {
        Failure::usage(
            "this is no time",
            "write it as in 2026-03-01T08:00:00Z or 2026-03-01T08:00:00+02:00",
        )
    })
}

/// The one key of a name, or that begins with these digits.
fn subject(vault: &Vault, text: &str) -> Done<[u8; 32]> {
    let by_key = |key: &str| text.len() >= PREFIX_MIN && key.starts_with(&text.to_lowercase());
    let mut found = Vec::new();
    for person in vault.people()?.iter().filter(|person| !person.revoked) {
        if person.name.expose() == text || by_key(&person.key.to_string()) {
            found.push(person.key.0);
        }
    }
    for device in vault.devices() {
        if device.name.expose() == text || by_key(&device.key.to_string()) {
            found.push(device.key.0);
        }
    }
    match found[..] {
        [key] => Ok(key),
        [] => Err(Failure::new(
            NOT_FOUND,
            "no such person or device, or revoked already",
            "medsync person list shows names and keys",
        )),
        _ => Err(Failure::new(
            FAILED,
            "several people or devices have this name",
            "name one by the first 8 digits of its key (medsync person list)",
        )),
    }
}
