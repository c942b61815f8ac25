//! Meets other vaults over a folder.

use crate::cli::{Exchange, Global};
use crate::exit::{Done, FAILED, Failure, INTEGRITY};
use crate::progress;
use crate::session;
use crate::show;
use medsync_core::model::json::Json;
use medsync_core::vault::ExchangeReport;
use medsync_core::vault::exchange::{Outgoing, Phase};

pub(super) fn run(global: &Global, args: &Exchange) -> Done {
    let mut vault = session::carrier(global)?;
    let bar = progress::spinner(global, "exchanging");
    let report = vault.exchange(&args.dir, &mut |at| {
        let what = match at.phase {
            Phase::TakingUp => "taking up file",
            Phase::Leaving => "leaving commit",
        };
        bar.set_message(format!("{what} {} of {}", at.done, at.total));
    })?;
    bar.finish_and_clear();
    let waiting = waiting(&vault)?;
    if global.json {
        let text = serde_json::to_vec(&report).map_err(std::io::Error::other)?;
        let mut json = Json::parse(&text)?;
        json.set("waiting_commits", show::number(waiting));
        show::json(&json)?;
    } else {
        tell(&report)?;
        if waiting > 0 {
            show::line(format!(
                "{} stayed behind: their authors have to seal them (medsync status says whose)",
                show::count(waiting, "commit", "commits")
            ))?;
        }
    }
    judge(&report)
}

/// Commits that cannot travel before their authors were here.
fn waiting(vault: &medsync_core::vault::Vault) -> Done<u64> {
    Ok(vault
        .status()?
        .unsealed
        .iter()
        .map(|(_, _, commits)| commits)
        .sum())
}

fn tell(report: &ExchangeReport) -> Done {
    let received = &report.received;
    show::line(format!(
        "took up {} new commits ({} known, {} waiting for others)",
        received.commits, received.duplicates, received.pending
    ))?;
    match report.outgoing {
        Outgoing::Complete => show::line(format!(
            "left {} commits, {} bytes",
            report.sent_commits, report.sent_bytes
        ))?,
        Outgoing::ReadOnlyFolder => show::line("left nothing: the folder cannot be written")?,
        Outgoing::NotCurrent => show::line("left nothing: this device is no member any more")?,
    }
    let mut table = show::table(&["device", "key", "was here"]);
    for peer in &report.peers {
        let seen = match peer.age_ms {
            Some(ms) => format!("{} ago", show::span(ms / 1000)),
            None => "never".to_owned(),
        };
        let name = show::clean(peer.name.expose());
        table.add_row([name, peer.device.short(), seen]);
    }
    if !table.is_empty() {
        show::print(&table, "")?;
    }
    for device in &report.rolled_back {
        let device = device.short();
        show::line(format!(
            "{device} went back to an older state: an older folder or backup"
        ))?;
    }
    if received.new_incarnation {
        show::line(
            "another copy of this vault wrote under its name: it goes on under a new one, and \
             nothing is lost; of two copies in use, make one anew",
        )?;
    }
    for device in &report.strangers {
        let device = device.short();
        show::line(format!("{device} was here and is no member, or no longer"))?;
    }
    Ok(())
}

/// What went wrong without stopping the rest.
fn judge(report: &ExchangeReport) -> Done {
    if report.received.quarantined > 0 {
        let quarantined = report.received.quarantined;
        return Err(Failure::new(
            INTEGRITY,
            match quarantined {
                1 => "1 commit contradicts itself and is kept apart".to_owned(),
                n => format!("{n} commits contradict themselves and are kept apart"),
            },
            "the rest was taken up; medsync status counts them, their device needs a look",
        ));
    }
    if let Some(first) = report.problems.first() {
        let (file, what) = (&first.file, first.what);
        return Err(Failure::new(
            FAILED,
            show::clean(&match report.problems.len() {
                1 => format!("1 file could not be used, {file}: {what}"),
                n => format!("{n} files could not be used, the first {file}: {what}"),
            }),
            "the others were; if it was being copied just now, exchange again",
        ));
    }
    match report.outgoing {
        Outgoing::Complete => Ok(()),
        Outgoing::ReadOnlyFolder => Err(Failure::new(
            FAILED,
            "nothing was left for others: the folder cannot be written",
            "what lay there was taken up; mend its permissions, or use another folder",
        )),
        Outgoing::NotCurrent => Err(Failure::new(
            FAILED,
            "nothing was left for others: this device is no member any more",
            "what lay there was taken up; have an admin admit the device anew (medsync request)",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_could_leave_nothing_is_told_why_and_ends_with_1() {
        for (outgoing, why) in [
            (Outgoing::ReadOnlyFolder, "cannot be written"),
            (Outgoing::NotCurrent, "no member"),
        ] {
            let report = ExchangeReport {
                outgoing,
                ..ExchangeReport::default()
            };
            let failure = judge(&report).expect_err("a failure");
            assert_eq!(failure.code, FAILED);
            assert!(failure.error.contains(why), "{failure:?}");
            assert!(failure.hint.contains("taken up"), "{failure:?}");
        }
        assert_eq!(judge(&ExchangeReport::default()), Ok(()));
    }
}
