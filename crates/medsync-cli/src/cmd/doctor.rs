//! What ails a vault, and repair of what can be repaired.

use crate::cli::{Doctor, Global};
use crate::exit::{Done, FAILED, Failure, INTEGRITY};
use crate::progress;
use crate::session;
use crate::show;
use medsync_core::model::json::Json;
use medsync_core::vault::{Ailment, Severity};

pub(super) fn run(global: &Global, args: &Doctor) -> Done {
    let mut vault = session::reader(global).map_err(explain)?;
    let bar = progress::spinner(global, "examining");
    let found = vault.examine(args.repair, &mut |done, total| {
        bar.set_message(format!("{done} of {total}"));
    })?;
    bar.finish_and_clear();
    if global.json {
        show::json(&Json::Array(found.iter().map(as_json).collect()))?;
    } else {
        found.iter().try_for_each(print)?;
        if found.is_empty() {
            show::line("nothing ails this vault")?;
        }
    }
    let left = |severity| {
        let of = |a: &&Ailment| a.severity == severity && !a.repaired;
        found.iter().any(|a| of(&a))
    };
    if left(Severity::Damage) {
        return Err(Failure::new(
            INTEGRITY,
            "the ledger itself is damaged",
            "keep a copy of the folder; make a new vault, join with it, and exchange",
        ));
    }
    if left(Severity::Repairable) {
        return Err(Failure::new(
            INTEGRITY,
            "something can be repaired from the ledger",
            "medsync doctor --repair",
        ));
    }
    Ok(())
}

/// Why a vault does not even open, and what becomes of its records.
fn explain(failure: Failure) -> Failure {
    let hint = match failure.code {
        INTEGRITY => {
            "the files are damaged or do not belong together, and no single record can be told: \
             put a backup back (this is noticed and does no harm), or make a new vault, join with \
             it and exchange: what others hold comes back"
        }
        FAILED if failure.error.contains("another process") => {
            "a lock goes with the process that holds it, so one is running: close it"
        }
        _ => return failure,
    };
    Failure::new(failure.code, failure.error, hint)
}

const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Damage => "damage",
        Severity::Repairable => "repairable",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

fn as_json(ailment: &Ailment) -> Json {
    show::object([
        ("code", Json::string(ailment.code)),
        ("means", Json::string(ailment.means)),
        ("remedy", Json::string(ailment.remedy)),
        ("repaired", Json::Bool(ailment.repaired)),
        ("severity", Json::string(severity(ailment.severity))),
        ("what", Json::string(&ailment.what)),
    ])
}

fn print(ailment: &Ailment) -> Done {
    let how = match ailment.repaired {
        true => "repaired",
        false => severity(ailment.severity),
    };
    show::line(format!("{how}: {}", show::clean(&ailment.what)))?;
    show::line(format!("  {}", ailment.means))?;
    match ailment.repaired {
        true => Ok(()),
        false => show::line(format!("  to do: {}", ailment.remedy)),
    }
}
