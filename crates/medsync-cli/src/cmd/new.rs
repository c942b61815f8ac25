//! Writes a new record.

use crate::cli::{Global, New};
use crate::cmd::{edit, files};
use crate::exit::{Done, FAILED, Failure};
use crate::session;
use medsync_core::ids::{RecordId, hex};
use medsync_core::model::json::Json;
use medsync_core::vault::{Draft, Version};
use medsync_fhir::read::RESOURCE_MAX_BYTES;

pub(super) fn run(global: &Global, args: &New) -> Done {
    let max = u64::try_from(RESOURCE_MAX_BYTES).unwrap_or(u64::MAX);
    let text = files::read(&args.from, max)?;
    let mut json = Json::parse(text.as_bytes())?;
    let bad = |error: &str, hint: &str| Failure::new(FAILED, error, hint);
    if !matches!(json, Json::Object(_)) {
        return Err(bad(
            "the file holds no JSON object",
            "write one FHIR resource into it",
        ));
    }
    match json.get("resourceType").map(Json::as_str) {
        None => json.set("resourceType", Json::string(&args.kind)),
        Some(Some(kind)) if kind == args.kind => {}
        Some(_) => {
            return Err(bad(
                "the resource is of another kind",
                "name the kind that its resourceType says",
            ));
        }
    }
    let id = match json.get("id") {
        None => {
            let id = random_id();
            json.set("id", Json::string(&id));
            id
        }
        Some(Json::String(id)) => id.to_string(),
        Some(_) => {
            return Err(bad(
                "the resource's id is no text",
                "leave it out, or mend it",
            ));
        }
    };
    let record = RecordId::new(&args.kind, &id)?;
    session::write(global, |vault| {
        if vault.read(&record)?.is_some() {
            return Err(bad(
                "there is a record of this name already",
                "change it with medsync edit, or give the new one another id",
            ));
        }
        let mut draft = Draft::new(record.clone(), Version::default());
        draft.replace(json);
        let commit = vault.commit(vec![draft])?;
        edit::tell(global, vault, commit, std::slice::from_ref(&record))?;
        match global.json {
            true => Ok(()),
            false => crate::show::line(record.as_str()),
        }
    })
}

/// A random UUID (version 4), which is a valid FHIR id.
fn random_id() -> String {
    let mut bytes: [u8; 16] = session::env().bytes();
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let groups = [
        &bytes[..4],
        &bytes[4..6],
        &bytes[6..8],
        &bytes[8..10],
        &bytes[10..],
    ];
    groups.map(hex).join("-")
}
