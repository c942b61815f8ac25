//! What a field must show, worked out from who saw what, in the plainest way: for each operation of
//! a field those that it covers, for each version those that nothing covers.

use crate::ids::RecordId;
use crate::model::json::Json;
use crate::testing::sim::model::{Model, Numbers, number};
use crate::testing::sim::pack::rank;
use crate::vault::{Event, Record};
use std::collections::BTreeMap;

/// One operation on a field.
struct Op<'a> {
    event: &'a Event,
    no: u32,
    seen: &'a Numbers,
    covered_by: Vec<usize>,
}

/// How a field is judged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    Lww,
    Set { edits: bool },
    Escalate,
    Status,
    Counter,
}

fn rule(record: &RecordId, key: &str) -> Rule {
    let field = key.split('/').next().unwrap_or(key);
    match (record.kind(), field) {
        (_, "gender" | "code" | "dose") => Rule::Escalate,
        (_, "status") => Rule::Status,
        (_, "stock") => Rule::Counter,
        (kind, "tag") => Rule::Set {
            edits: kind == "Allergy",
        },
        _ => Rule::Lww,
    }
}

/// Checks what a record shows against everything that was ever written to it.
pub(super) fn check(record: &Record, events: &[Event], model: &Model) -> Result<(), String> {
    let json = Json::parse(record.json.expose().as_bytes()).map_err(|e| e.to_string())?;
    atoms(&record.id, &json)?;
    let mut keys: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in events {
        keys.entry(&event.field).or_default().push(event);
    }
    let mut stock = Some(Vec::new());
    for (key, events) in keys {
        let rule = rule(&record.id, key);
        if rule == Rule::Status {
            status(&json, &events).map_err(|what| format!("{} {key}: {what}", record.id))?;
            continue;
        }
        let Some(mut ops) = operations(&events, &record.id, model) else {
            if rule == Rule::Counter {
                stock = None;
            }
            continue;
        };
        cover(&mut ops, rule);
        let all = |_: &Op<'_>| true;
        let left = candidates(&ops, &all);
        let shown = Shown {
            record,
            json: &json,
            key,
        };
        let fits = match rule {
            Rule::Counter => {
                if let (Some(parts), Some(last)) = (&mut stock, newest(&left)) {
                    parts.push((last.event.candidate.confirmed, int(last.event)));
                }
                Ok(())
            }
            Rule::Set { edits } => shown.item(&left, edits),
            Rule::Lww => shown.latest(&left),
            _ => shown.agreed(&left),
        };
        fits.map_err(|what| format!("{} {key}: {what}", record.id))?;
    }
    stock.map_or(Ok(()), |parts| sum(&record.id, &json, &parts))
}

/// The sum of a stock's parts, those without authority left out beside those with it.
fn sum(record: &RecordId, json: &Json, parts: &[(bool, Option<i64>)]) -> Result<(), String> {
    let any = parts.iter().any(|(confirmed, _)| *confirmed);
    let counted = parts.iter().filter(|(confirmed, _)| *confirmed || !any);
    let sum: i64 = counted.filter_map(|(_, part)| *part).sum();
    let shown = json
        .get("stock")
        .and_then(|json| json.text().parse::<i64>().ok());
    if shown.unwrap_or(0) == sum {
        return Ok(());
    }
    Err(format!("{record}: a stock is not the sum of its parts"))
}

/// The two members of a dose were written together.
fn atoms(record: &RecordId, json: &Json) -> Result<(), String> {
    let text = |name: &str| json.get(name).map(Json::text);
    let (amount, unit) = (text("amount"), text("unit"));
    if amount.is_some() && unit.is_some() && amount != unit {
        return Err(format!("{record}: two doses are mixed"));
    }
    Ok(())
}

/// Operations of commits that the world knows; `None`: somebody else wrote here too.
fn operations<'a>(
    events: &[&'a Event],
    record: &RecordId,
    model: &'a Model,
) -> Option<Vec<Op<'a>>> {
    let op = |event: &&'a Event| {
        let no = number(event.because.as_ref()?.expose())?;
        let seen = model.get(no)?.parts.get(record)?;
        Some(Op {
            event,
            no,
            seen,
            covered_by: Vec::new(),
        })
    };
    let mut ops = events.iter().map(op).collect::<Option<Vec<_>>>()?;
    // Causes first: who saw another saw all that the other saw, and the other.
    ops.sort_by_key(|op| (op.seen.len(), op.no));
    Some(ops)
}

fn cover(ops: &mut [Op<'_>], rule: Rule) {
    for y in 0..ops.len() {
        if !ops[y].event.candidate.confirmed {
            continue;
        }
        let seen = ops[y].seen;
        let within = |op: &Op<'_>| seen.contains(&op.no);
        let there: Vec<usize> = places(ops, &within);
        let sides: Vec<&Op<'_>> = there.iter().map(|x| &ops[*x]).collect();
        let contested = is_contested(&trusted(&sides), rule);
        let settles = &ops[y].event.settles;
        let review = !settles.is_empty();
        let covers = |x: &&usize| {
            let x = &ops[**x].event.candidate;
            if review {
                return settles.contains(&x.op);
            }
            matches!(rule, Rule::Lww | Rule::Counter) || (!contested && x.confirmed)
        };
        let covered: Vec<usize> = there.iter().filter(covers).copied().collect();
        for x in covered {
            ops[x].covered_by.push(y);
        }
    }
}

/// Of some operations those that none of them covers.
fn places(ops: &[Op<'_>], within: &dyn Fn(&Op<'_>) -> bool) -> Vec<usize> {
    let stands =
        |x: &usize| within(&ops[*x]) && !ops[*x].covered_by.iter().any(|y| within(&ops[*y]));
    (0..ops.len()).filter(stands).collect()
}

fn candidates<'a, 'b>(ops: &'b [Op<'a>], within: &dyn Fn(&Op<'_>) -> bool) -> Vec<&'b Op<'a>> {
    places(ops, within).into_iter().map(|x| &ops[x]).collect()
}

fn trusted<'a, 'b>(sides: &[&'b Op<'a>]) -> Vec<&'b Op<'a>> {
    let any = sides.iter().any(|op| op.event.candidate.confirmed);
    let trust = |op: &&&Op<'_>| op.event.candidate.confirmed || !any;
    sides.iter().filter(trust).copied().collect()
}

fn value(op: &Op<'_>) -> Option<String> {
    op.event
        .candidate
        .value
        .as_ref()
        .map(|json| json.expose().text())
}

fn int(event: &Event) -> Option<i64> {
    event.candidate.value.as_ref()?.expose().text().parse().ok()
}

fn is_contested(trusted: &[&Op<'_>], rule: Rule) -> bool {
    let differ = |sides: &[&Op<'_>]| {
        let first = sides.first().map(|op| value(op));
        sides.iter().any(|op| Some(value(op)) != first)
    };
    match rule {
        Rule::Escalate => differ(trusted),
        Rule::Set { edits: true } => {
            let put: Vec<&Op<'_>> = trusted
                .iter()
                .filter(|op| value(op).is_some())
                .copied()
                .collect();
            !put.is_empty() && (differ(&put) || put.len() < trusted.len())
        }
        _ => false,
    }
}

fn newest<'a, 'b>(left: &[&'b Op<'a>]) -> Option<&'b Op<'a>> {
    let when = |op: &&Op<'_>| {
        let candidate = &op.event.candidate;
        (candidate.time, candidate.op.actor, candidate.op.ctr)
    };
    trusted(left).into_iter().max_by_key(when)
}

/// A field as the record shows it.
struct Shown<'a> {
    record: &'a Record,
    json: &'a Json,
    key: &'a str,
}

impl Shown<'_> {
    fn is_open(&self) -> bool {
        self.record.questions.iter().any(|q| q.field == self.key)
    }

    fn text(&self) -> Option<String> {
        if self.key == "dose" {
            let dose = ["amount", "unit"].map(|name| (name, self.json.get(name)));
            let members = dose
                .into_iter()
                .filter_map(|(name, v)| Some((name, v?.clone())));
            let members: Vec<_> = members.collect();
            return (!members.is_empty()).then(|| Json::object(members).text());
        }
        self.json.get(self.key).map(Json::text)
    }

    fn latest(&self, left: &[&Op<'_>]) -> Result<(), String> {
        let expected = newest(left).and_then(value);
        if self.text() == expected {
            return Ok(());
        }
        Err("shows another value than the latest".to_owned())
    }

    fn agreed(&self, left: &[&Op<'_>]) -> Result<(), String> {
        let sides = trusted(left);
        let contested = is_contested(&sides, Rule::Escalate);
        let first = sides.first().and_then(|op| value(op));
        if !contested && self.text() != first {
            return Err("shows another value than the one all agree on".to_owned());
        }
        let doubted = left.iter().any(|op| value(op) != self.text());
        match (contested || doubted, self.is_open()) {
            (true, false) => Err("people disagree, and nobody is asked".to_owned()),
            (false, true) => Err("people agree, and somebody is asked".to_owned()),
            _ => Ok(()),
        }
    }

    fn item(&self, left: &[&Op<'_>], edits: bool) -> Result<(), String> {
        let sides = trusted(left);
        let put: Vec<String> = sides.iter().filter_map(|op| value(op)).collect();
        let items = self.json.get("tag").map_or(&[][..], Json::items);
        let texts: Vec<String> = left.iter().filter_map(|op| value(op)).collect();
        let there = items
            .iter()
            .map(Json::text)
            .any(|text| texts.contains(&text));
        if put.is_empty() == there && !texts.is_empty() {
            return Err("an item is shown, or not, against what was decided".to_owned());
        }
        let contested = is_contested(&sides, Rule::Set { edits });
        if contested && !self.is_open() {
            return Err("an item is contested, and nobody is asked".to_owned());
        }
        Ok(())
    }
}

/// A final status holds, whatever was written beside it or later.
fn status(json: &Json, events: &[&Event]) -> Result<(), String> {
    let code = |event: &&Event| {
        let value = event.candidate.value.as_ref()?;
        let code = value.expose().text();
        Some(code.trim_matches('"').to_owned())
    };
    let confirmed = events.iter().filter(|event| event.candidate.confirmed);
    let highest = confirmed
        .filter_map(code)
        .map(|code| rank(&code))
        .max()
        .unwrap_or(0);
    let shown = json
        .get("status")
        .map(|json| json.text().trim_matches('"').to_owned());
    let shown = shown.map_or(0, |code| rank(&code));
    if highest >= 2 && shown < highest {
        return Err("a final status was lowered".to_owned());
    }
    Ok(())
}
