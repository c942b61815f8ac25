//! Enrolment through two small texts.

use crate::cli::{Admit, Global, Join};
use crate::cmd::files;
use crate::exit::Done;
use crate::session;
use crate::show;
use medsync_core::ledger::certificate::Role;
use medsync_core::ledger::enrol::{GRANT_BYTES_MAX, REQUEST_BYTES_MAX};
use medsync_core::model::json::Json;

/// Armour and line breaks make a text at most this much longer.
const ARMOUR: usize = 2;

/// Longest text of a number of bytes.
fn text_max(bytes: usize) -> u64 {
    u64::try_from(bytes * ARMOUR).unwrap_or(u64::MAX)
}

pub(super) fn admit(global: &Global, args: &Admit) -> Done {
    let request = files::read(&args.request, text_max(REQUEST_BYTES_MAX))?;
    let roles: Vec<Role> = args.role.iter().map(|role| (*role).into()).collect();
    let grant = session::write(global, |vault| Ok(vault.admit(&request, &roles)?))?;
    if global.json {
        return show::json(&show::object([("grant", Json::string(&grant))]));
    }
    show::line(grant.trim_end())
}

pub(super) fn join(global: &Global, args: &Join) -> Done {
    let grant = files::read(&args.grant, text_max(GRANT_BYTES_MAX))?;
    let (id, name) = session::write(global, |vault| {
        vault.join(&grant)?;
        let workspace = vault.workspace();
        Ok(workspace.map_or_else(Default::default, |(id, name)| {
            (id.to_string(), name.to_owned())
        }))
    })?;
    if global.json {
        return show::json(&show::object([
            ("workspace", Json::string(&name)),
            ("workspace_id", Json::string(&id)),
        ]));
    }
    show::line(format!("Joined the workspace {}.", show::clean(&name)))?;
    show::line("Its records come with the first medsync exchange.")
}
