//! How the vault stands.

use crate::cli::Global;
use crate::exit::Done;
use crate::session;
use crate::show;
use medsync_core::ids::hex;
use medsync_core::model::json::Json;
use medsync_core::vault::{Anchored, Status, Vault, Why};

pub(super) fn run(global: &Global) -> Done {
    let vault = session::reader(global)?;
    let status = vault.status()?;
    match global.json {
        true => show::json(&as_json(&vault, &status)),
        false => print(&vault, &status),
    }
}

/// Whose commits wait for them, by name where it is known.
fn waiting(status: &Status) -> impl Iterator<Item = (String, u64)> {
    status.unsealed.iter().map(|(key, name, commits)| {
        let name = name
            .as_ref()
            .map_or_else(|| key.short(), |n| n.expose().clone());
        (name, *commits)
    })
}

/// Whose chains forked, and on which replica.
fn forked(status: &Status) -> impl Iterator<Item = (String, String)> {
    status.forked.iter().map(|(key, name, replica)| {
        let name = name
            .as_ref()
            .map_or_else(|| key.short(), |n| n.expose().clone());
        (name, replica.to_string())
    })
}

fn emergencies(status: &Status) -> Json {
    let all = status.emergencies.iter().map(|e| {
        show::object([
            ("emergency", Json::string(&format!("{}.{}", e.log, e.seq))),
            ("time", Json::string(&show::time(e.time.ms()))),
        ])
    });
    Json::Array(all.collect())
}

fn as_json(vault: &Vault, status: &Status) -> Json {
    let workspace = vault.workspace();
    let waiting = waiting(status).map(|(author, commits)| {
        show::object([
            ("author", Json::string(&author)),
            ("commits", show::number(commits)),
        ])
    });
    let forked = forked(status).map(|(author, replica)| {
        show::object([
            ("author", Json::string(&author)),
            ("replica", Json::string(&replica)),
        ])
    });
    let (pack, version, hash) = &status.pack;
    let ends = vault.warnings();
    let ends = ends.iter().map(|warning| {
        show::object([
            ("expired", Json::Bool(warning.expired)),
            ("expires", Json::string(&show::time(warning.expires_ms))),
            ("name", Json::string(warning.name.expose())),
        ])
    });
    show::object([
        ("anchor", anchor(status)),
        (
            "authority",
            show::maybe(vault.authority().ok().map(|key| hex(&key)).as_deref()),
        ),
        ("certificates_ending", Json::Array(ends.collect())),
        ("commits", show::number(status.commits)),
        ("device", Json::string(&vault.device_key().to_string())),
        ("emergencies", emergencies(status)),
        ("equivocations", show::number(status.equivocations)),
        ("forked", Json::Array(forked.collect())),
        ("incarnation", incarnation(status)),
        ("ledger_digest", Json::string(&status.ledger_digest)),
        (
            "migration_failed",
            status.migration_failed.map_or(Json::Null, show::number),
        ),
        ("not_understood", show::number(status.not_understood)),
        ("outbox", show::number(status.outbox)),
        (
            "pack",
            show::object([
                ("hash", Json::string(hash)),
                ("name", Json::string(pack)),
                ("version", show::number(version)),
            ]),
        ),
        ("pending", show::number(status.pending)),
        ("quarantine", show::number(status.quarantine)),
        ("questions", show::number(status.questions)),
        ("records", show::number(status.records)),
        ("replica", Json::string(&vault.replica().to_string())),
        ("state_digest", Json::string(&status.state_digest)),
        ("waiting", Json::Array(waiting.collect())),
        ("workspace", show::maybe(workspace.map(|w| w.1))),
        (
            "workspace_id",
            show::maybe(workspace.map(|w| w.0.to_string()).as_deref()),
        ),
    ])
}

/// What the anchor outside the vault's folder said.
fn anchor(status: &Status) -> Json {
    let state = |name| ("state", Json::string(name));
    match status.anchored {
        Anchored::Unwatched => show::object([state("unwatched")]),
        Anchored::Held => show::object([state("held")]),
        Anchored::RolledBack { missing, last } => show::object([
            ("last", Json::string(&show::time(last.ms()))),
            ("missing", show::number(missing)),
            state("rolled-back"),
        ]),
        Anchored::Cloned => show::object([state("cloned")]),
        Anchored::Missing => show::object([state("missing")]),
        Anchored::Refused => show::object([state("refused")]),
    }
}

/// Why this copy has a name of its own.
const fn why(why: Why) -> &'static str {
    match why {
        Why::Asked => "asked",
        Why::RolledBack => "rolled-back",
        Why::Cloned => "cloned",
        Why::AnchorMissing => "anchor-missing",
        Why::AnchorRefused => "anchor-refused",
        Why::Exchange => "exchange",
    }
}

fn incarnation(status: &Status) -> Json {
    status.incarnation.map_or(Json::Null, |last| {
        show::object([
            ("at", Json::string(&show::time(last.at_ms))),
            ("missing", show::number(last.missing)),
            ("why", Json::string(why(last.why))),
        ])
    })
}

fn print_origin(status: &Status) -> Done {
    if let Some(last) = status.incarnation {
        show::line(format!(
            "writes under a new name since {} ({}; {} commits were missing)",
            show::time(last.at_ms),
            why(last.why),
            last.missing
        ))?;
    }
    if status.not_understood > 0 {
        show::line(format!(
            "{} commits hold what only a newer medsync understands: kept and passed on; upgrade",
            status.not_understood
        ))?;
    }
    if let Some(from) = status.migration_failed {
        show::line(format!(
            "came from format {from} and does not verify; the old file is kept: medsync doctor"
        ))?;
    }
    Ok(())
}

fn print(vault: &Vault, status: &Status) -> Done {
    let workspace = match vault.workspace() {
        Some((id, name)) => format!("{} ({})", show::clean(name), id.short()),
        None => "none yet: medsync request, then medsync join".to_owned(),
    };
    let (pack, version, _) = &status.pack;
    let table = show::pairs([
        ("workspace", workspace),
        ("this replica", vault.replica().to_string()),
        ("records", status.records.to_string()),
        ("commits", status.commits.to_string()),
        ("open questions", status.questions.to_string()),
        ("not yet at any peer", status.outbox.to_string()),
        ("pending", status.pending.to_string()),
        ("quarantined", status.quarantine.to_string()),
        ("equivocations", status.equivocations.to_string()),
        ("pack", format!("{pack} {version}")),
        ("ledger digest", status.ledger_digest.clone()),
        ("state digest", status.state_digest.clone()),
    ]);
    show::print(&table, "")?;
    print_origin(status)?;
    for vote in vault.votes() {
        let (name, key) = (show::clean(vote.name.expose()), hex(&vote.to));
        show::line(format!(
            "{name} votes for another authority, {key}: another admin agrees with medsync authority \
             agree, or nothing changes"
        ))?;
    }
    for warning in vault.warnings() {
        let (name, at) = (
            show::clean(warning.name.expose()),
            show::time(warning.expires_ms),
        );
        show::line(match warning.expired {
            true => format!(
                "the term of {name} as an admin ended on {at}: medsync admin renew, or what they do \
                 as an admin has no effect"
            ),
            false => format!("the term of {name} as an admin ends on {at}: medsync admin renew"),
        })?;
    }
    for (author, replica) in forked(status) {
        let author = show::clean(&author);
        show::line(format!(
            "the chain of {author} on {replica} forked: a copy of that device wrote under its name, \
             or somebody has the key; all of it is kept, and what differs is a question. Find the \
             copy, or revoke the key (medsync revoke)"
        ))?;
    }
    for emergency in &status.emergencies {
        let (log, entry) = (emergency.log, emergency.seq);
        let at = show::local(emergency.time.ms());
        show::line(format!(
            "somebody read in an emergency on {at}: medsync audit list shows what, medsync audit \
             acknowledge {log}.{entry} --because .. closes it"
        ))?;
    }
    for (author, commits) in waiting(status) {
        let author = show::clean(&author);
        show::line(format!(
            "{commits} commits wait for {author} to seal them, at their next command"
        ))?;
    }
    Ok(())
}
