//! Checks every signature, chain and view.

use crate::cli::{Global, Verify};
use crate::exit::{Done, Failure, INTEGRITY};
use crate::progress;
use crate::session;
use crate::show;
use medsync_core::model::json::Json;

pub(super) fn run(global: &Global, args: &Verify) -> Done {
    let mut vault = session::reader(global)?;
    let bar = progress::spinner(global, "verifying");
    let report = vault.verify(args.rebuild, &mut |done, total| {
        bar.set_message(format!("{done} of {total}"));
    })?;
    bar.finish_and_clear();
    if global.json {
        show::json(&show::object([
            ("batches", show::number(report.batches)),
            ("commits", show::number(report.commits)),
            ("problems", show::strings(&report.problems)),
            (
                "rebuilt_equal",
                report.rebuilt_equal.map_or(Json::Null, Json::Bool),
            ),
            ("records", show::number(report.records)),
            ("sound", Json::Bool(report.is_sound())),
        ]))?;
    } else {
        let (commits, batches, records) = (report.commits, report.batches, report.records);
        show::line(format!(
            "checked {commits} commits, {batches} seals, {records} records"
        ))?;
        match report.rebuilt_equal {
            Some(true) => show::line("every view derived from the ledger again, the same")?,
            Some(false) => show::line("the views derived from the ledger again were different")?,
            None => {}
        }
        report.problems.iter().try_for_each(show::line)?;
        if report.is_sound() {
            show::line("everything holds")?;
        }
    }
    match report.is_sound() {
        true => Ok(()),
        false => Err(Failure::new(
            INTEGRITY,
            "the vault contradicts itself",
            "keep a copy of its folder, do not write to it, and fetch its records from a peer",
        )),
    }
}
