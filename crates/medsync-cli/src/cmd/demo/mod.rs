//! Three clinics, three days without a line: what medsync does, told as a story that really runs.

mod clinic;
mod power_cut;

use crate::cli::{Demo, Global};
use crate::exit::{Done, FAILED, Failure};
use crate::progress;
use crate::show;
use clinic::{Calendar, Clinic};
use medsync_core::ids::RecordId;
use medsync_core::ledger::certificate::Role;
use medsync_core::model::json::Json;
use medsync_core::vault::Decision;
use medsync_fhir::generate::Clinic as Generated;
use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the story happens.
struct Stage<'a> {
    global: &'a Global,
    stick: PathBuf,
    calendar: Arc<Calendar>,
}

impl Stage<'_> {
    fn say(&self, text: &str) -> Done {
        if self.global.json {
            Ok(())
        } else {
            show::line(text)
        }
    }

    fn chapter(&self, title: &str) -> Done {
        self.say(&format!("\n== {title}"))
    }

    /// The stick visits clinics in turn.
    fn pass(&self, clinics: &mut [&mut Clinic]) -> Done<u64> {
        let bar = progress::spinner(self.global, "the stick");
        let mut moved = 0;
        for clinic in clinics {
            let name = clinic.name;
            let report = clinic.vault.exchange(&self.stick, &mut |p| {
                bar.set_message(format!("at {name}: {} of {}", p.done, p.total));
            })?;
            moved += report.received.commits;
        }
        bar.finish_and_clear();
        Ok(moved)
    }
}

pub(super) fn run(global: &Global, args: &Demo) -> Done {
    let temporary = tempfile::tempdir()?;
    let root = match &args.keep {
        Some(folder) => {
            fs::create_dir_all(folder)?;
            folder.clone()
        }
        None => temporary.path().to_owned(),
    };
    let stage = Stage {
        global,
        stick: root.join("stick"),
        calendar: Arc::default(),
    };
    fs::create_dir_all(&stage.stick)?;
    let (mut town, mut hill, river) = open_the_clinics(&stage, &root, args)?;
    let mut river = the_line_goes_down(&stage, &root, args, &mut town, &mut hill, river)?;
    the_stick_goes_round(&stage, &mut town, &mut hill, &mut river)?;
    town_decides(&stage, &mut town)?;
    converged(&stage, &mut [&mut town, &mut hill, &mut river])?;
    if let Some(folder) = &args.keep {
        stage.say(&format!(
            "\nThe vaults are in {}; their passphrase is \"{}\".",
            folder.display(),
            clinic::PASSPHRASE
        ))?;
    }
    Ok(())
}

fn open_the_clinics(stage: &Stage<'_>, root: &Path, args: &Demo) -> Done<(Clinic, Clinic, Clinic)> {
    stage.chapter("Three clinics, one record")?;
    let mut town = Clinic::found(root, &stage.calendar, "town", "Dr. Asha Rao")?;
    let clinical = [Role::Clinician, Role::Pharmacist];
    let mut hill = Clinic::join(&mut town, root, "hill", "Nurse Kwame Mensah", &clinical)?;
    let mut river = Clinic::join(&mut town, root, "river", "Dr. Ngozi Okafor", &clinical)?;
    for clinic in [&town, &hill, &river] {
        stage.say(&format!(
            "  {:<6} {} has a vault of their own, encrypted",
            clinic.name, clinic.person
        ))?;
    }
    let bar = progress::spinner(stage.global, "town imports its records");
    let patients: Vec<Json> = Generated::new(args.seed, args.patients).collect();
    let imported = town.import("town", patients)?;
    bar.finish_and_clear();
    stage.say(&format!(
        "  town imports {imported} records of {} patients",
        args.patients
    ))?;
    let moved = stage.pass(&mut [&mut town, &mut hill, &mut river])?;
    stage.say(&format!(
        "  a USB stick goes round; {moved} commits arrive at the others"
    ))?;
    Ok((town, hill, river))
}

fn code(system: &str, code: &str, text: &str) -> Json {
    let coding = Json::object([
        ("system", Json::string(system)),
        ("code", Json::string(code)),
        ("display", Json::string(text)),
    ]);
    Json::object([
        ("coding", Json::Array(vec![coding])),
        ("text", Json::string(text)),
    ])
}

fn is_active(json: &Json) -> bool {
    json.path("status").and_then(Json::as_str) == Some("active")
        && json.path("dosageInstruction.text").is_some()
}

fn the_line_goes_down(
    stage: &Stage<'_>,
    root: &Path,
    args: &Demo,
    town: &mut Clinic,
    hill: &mut Clinic,
    river: Clinic,
) -> Done<Clinic> {
    stage.chapter("Day 1: the line goes down")?;
    stage.calendar.next_day();
    let medicine = town.first("MedicationRequest", is_active)?;
    town.set(&medicine, "status", Json::string("stopped"))?;
    stage.say(&format!("  town   {} stops a medicine", town.person))?;
    let condition = town.first("Condition", |json| json.get("code").is_some())?;
    let snomed = "http://snomed.info/sct";
    town.set(
        &condition,
        "code",
        code(snomed, "44054006", "Type 2 diabetes mellitus"),
    )?;
    stage.say(&format!(
        "  town   {} corrects a diagnosis: type 2 diabetes",
        town.person
    ))?;

    stage.chapter("Day 2: still no line, and a power cut")?;
    stage.calendar.next_day();
    let dose = Json::object([("text", Json::string("two tablets in the morning"))]);
    hill.set(&medicine, "dosageInstruction", Json::Array(vec![dose]))?;
    stage.say(&format!(
        "  hill   {} changes the same medicine's dose, not knowing",
        hill.person
    ))?;
    let allergy = hill.first("AllergyIntolerance", |json| {
        json.path("criticality").and_then(Json::as_str) == Some("low")
    })?;
    hill.set(&allergy, "criticality", Json::string("high"))?;
    stage.say("  hill   a bad reaction: an allergy is now of high criticality")?;
    let mut river = cut_power_at_river(stage, root, args, river)?;

    stage.chapter("Day 3: still no line")?;
    stage.calendar.next_day();
    river.set(
        &condition,
        "code",
        code(snomed, "46635009", "Type 1 diabetes mellitus"),
    )?;
    stage.say(&format!(
        "  river  {} corrects the same diagnosis: type 1 diabetes",
        river.person
    ))?;
    river.set(&allergy, "criticality", Json::string("unable-to-assess"))?;
    stage.say("  river  the same allergy: unable to assess")?;
    let patient = river.first("Patient", |json| json.get("telecom").is_some())?;
    phone(town, &patient, "+91 98450 00001")?;
    phone(&mut river, &patient, "+91 98450 00002")?;
    stage.say("  town and river note a new phone number for the same patient")?;
    Ok(river)
}

fn phone(clinic: &mut Clinic, patient: &RecordId, number: &str) -> Done {
    let item = Json::object([
        ("system", Json::string("phone")),
        ("value", Json::string(number)),
    ]);
    let mut draft = clinic.vault.draft(patient)?;
    draft.add("telecom", item);
    clinic.commit(draft).map(drop)
}

fn cut_power_at_river(stage: &Stage<'_>, root: &Path, args: &Demo, river: Clinic) -> Done<Clinic> {
    let file = root.join("district.ndjson");
    let mut out = BufWriter::new(fs::File::create(&file)?);
    let mut all = Vec::new();
    for json in Generated::new(args.seed.wrapping_add(1), args.patients) {
        writeln!(out, "{}", json.text())?;
        all.push(json);
    }
    out.flush()?;
    drop(out);
    let before = river.vault.status()?.records;
    let bar = progress::spinner(stage.global, "river imports the district's records");
    let mut cut = false;
    let mut river = river.reopen(|dir| {
        cut = power_cut::during_import(dir, &root.join("passphrase"), &file)?;
        Ok(())
    })?;
    bar.finish_and_clear();
    let kept = river.vault.status()?.records.saturating_sub(before);
    stage.say(&match cut {
        true => format!(
            "  river  the power fails in the middle of an import: {kept} of {} records were \
             durable, none is half there",
            all.len()
        ),
        false => format!("  river  the import of {kept} records was faster than the power cut"),
    })?;
    let sound = river.vault.verify(false, &mut |_, _| {})?;
    demand(
        sound.is_sound(),
        "the vault is not sound after the power cut",
    )?;
    stage.say("  river  the vault opens, every commit verifies")?;
    let rest = river.import("district", all)?;
    stage.say(&format!(
        "  river  importing again brings the other {rest} and writes nothing twice"
    ))?;
    Ok(river)
}

fn the_stick_goes_round(
    stage: &Stage<'_>,
    town: &mut Clinic,
    hill: &mut Clinic,
    river: &mut Clinic,
) -> Done {
    stage.chapter("Day 4: the stick goes round")?;
    stage.calendar.next_day();
    let mut moved = stage.pass(&mut [town, hill, river])?;
    moved += stage.pass(&mut [town, hill])?;
    stage.say(&format!("  {moved} commits arrive"))?;
    Ok(())
}

fn town_decides(stage: &Stage<'_>, town: &mut Clinic) -> Done {
    let questions = town.vault.escalations()?;
    stage.chapter(&format!("{} questions for a person", questions.len()))?;
    for question in questions {
        let kind = question.record.kind().to_owned();
        let interim = question.interim.as_ref().map(|v| show::told(v.expose()));
        stage.say(&format!("  {}  {kind}.{}", question.id, question.field))?;
        for (n, candidate) in question.candidates.iter().enumerate() {
            let value = candidate
                .value
                .as_ref()
                .map_or("(removed)".to_owned(), |v| show::told(v.expose()));
            let name = candidate.name.as_ref().map_or("?", |n| n.expose());
            stage.say(&format!("      {n}: {value}  ({name})"))?;
        }
        for (field, change) in &question.beside {
            let value = change.value.as_ref().map(|v| show::told(v.expose()));
            let (value, name) = (value.unwrap_or_default(), show::author(change));
            stage.say(&format!("      beside it, {field}: {value}  ({name})"))?;
        }
        let shown = interim.unwrap_or("nothing, which is the safe reading".to_owned());
        stage.say(&format!("      meanwhile every screen shows {shown}"))?;
        let (keep, why) = match kind.as_str() {
            "Condition" => (
                question.candidates.len().saturating_sub(1),
                "antibodies confirm it",
            ),
            "AllergyIntolerance" => (0, "seen by the nurse"),
            _ => (0, "stopped for good; the new dose needs a new request"),
        };
        let because = format!("{why}, by phone with all three");
        town.vault
            .resolve(question, Decision::Keep(keep), &because)?;
        stage.say(&format!("      {} keeps {keep}: {because}", town.person))?;
    }
    Ok(())
}

fn converged(stage: &Stage<'_>, clinics: &mut [&mut Clinic]) -> Done {
    stage.chapter("The decisions travel; everyone holds the same")?;
    // Twice: what the last one left has to reach the first.
    stage.pass(clinics)?;
    stage.pass(clinics)?;
    let mut digests = Vec::new();
    for clinic in clinics.iter_mut() {
        let bar = progress::spinner(stage.global, "verifying");
        let sound = clinic.vault.verify(false, &mut |done, total| {
            bar.set_message(format!("{}: {done} of {total}", clinic.name));
        })?;
        bar.finish_and_clear();
        demand(sound.is_sound(), "a vault does not verify")?;
        let status = clinic.vault.status()?;
        demand(status.questions == 0, "a question is still open")?;
        stage.say(&format!(
            "  {:<6} {} records, {} commits, ledger {}, state {}",
            clinic.name,
            status.records,
            status.commits,
            status.ledger_digest.get(..12).unwrap_or_default(),
            status.state_digest.get(..12).unwrap_or_default()
        ))?;
        digests.push((status.ledger_digest, status.state_digest));
    }
    let same = digests.windows(2).all(|pair| pair[0] == pair[1]);
    demand(same, "the clinics do not hold the same")?;
    let medicine = clinics.iter().map(|c| {
        let stopped = c.first("MedicationRequest", |json| {
            json.path("status").and_then(Json::as_str) == Some("stopped")
        })?;
        c.shows(&stopped, "status")
    });
    let medicine: Vec<String> = medicine.collect::<Done<_>>()?;
    demand(
        medicine.iter().all(|s| s == "stopped"),
        "a stopped medicine came back",
    )?;
    stage.say("\n  Every commit, batch and record verifies on all three; nothing was lost.")?;
    if stage.global.json {
        let (ledger, state) = digests.into_iter().next().unwrap_or_default();
        show::json(&show::object([
            ("converged", Json::Bool(true)),
            ("ledger_digest", Json::string(&ledger)),
            ("state_digest", Json::string(&state)),
        ]))?;
    }
    Ok(())
}

/// The demo proves what it tells.
fn demand(holds: bool, otherwise: &str) -> Done {
    if holds {
        return Ok(());
    }
    Err(Failure::new(
        FAILED,
        otherwise,
        "this is a bug: please report it with the demo's --seed",
    ))
}
