//! A clinic whose records are 3 to 6 kB: who creates and edits what, from one seed.

use serde_json::{Value, json};

pub(crate) const SEED: u64 = 0x6d65_6473_796e_6331;
const HISTORY: usize = 5;
const EDITS: usize = 3;

/// splitmix64.
#[derive(Clone)]
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(n);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap_or(0)]
    }

    fn row<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap_or(0)]
    }
}

/// One action of one person: a member set, or an item added to a list.
#[derive(Clone)]
pub(crate) enum Edit {
    Set(&'static str, Option<usize>, &'static str, Value),
    Append(&'static str, Value),
}

/// A record as it was created and its later edits: 0 at the clinic, 1 at the hub.
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) spread: [u8; 2],
    pub(crate) json: Value,
    pub(crate) history: Vec<(usize, Edit)>,
}

const FAMILY: &[&str] = &[
    "Okafor",
    "Mwangi",
    "Nguyen",
    "Schneider",
    "Haddad",
    "Tesfaye",
    "Quispe",
    "Banerjee",
    "Kovalenko",
    "Diallo",
    "Mbeki",
    "Garcia",
    "Ferreira",
    "Yusuf",
    "Otieno",
    "Chukwu",
    "Lindqvist",
    "Abebe",
    "Santos",
    "Papadopoulos",
];
const GIVEN: &[&str] = &[
    "Amina", "Joseph", "Fatima", "Daniel", "Grace", "Samuel", "Leila", "Peter", "Miriam", "David",
    "Chiara", "Thabo", "Ngozi", "Ibrahim", "Rosa", "Kwame", "Selam", "Ana", "Viktor", "Juma",
];
const STREET: &[&str] = &[
    "Hospital Road",
    "Mission Lane",
    "Station Street",
    "Lake View Avenue",
    "Old Market Road",
    "School Lane",
    "Airport Road",
    "Church Street",
    "Independence Avenue",
    "River Crescent",
];
const CITY: &[&str] = &[
    "Kisumu",
    "Mbarara",
    "Mwanza",
    "Lilongwe",
    "Gulu",
    "Arusha",
    "Bahir Dar",
    "Tamale",
    "Sokoto",
    "Cusco",
];
const PEOPLE: &[&str] = &[
    "Practitioner/dr-adhiambo",
    "Practitioner/dr-novak",
    "Practitioner/co-wanjiru",
    "Practitioner/rn-achieng",
    "Practitioner/dr-rahman",
    "Practitioner/mw-tadesse",
];
const PLACE: &[&str] = &[
    "Outpatient Department Room 3",
    "Antenatal Clinic",
    "Paediatric Ward",
    "Emergency Room",
    "Chronic Care Clinic",
    "Community Outreach Site 12",
];
const REASON: &[&str] = &[
    "Follow-up of chronic hypertension, home readings elevated",
    "Acute febrile illness, suspected uncomplicated malaria",
    "Routine antenatal visit, second trimester",
    "Persistent productive cough for more than two weeks",
    "Wound dressing and review after minor surgery",
    "Diabetes review with foot examination",
    "Vaccination catch-up and growth monitoring",
];
const NOTE: &[&str] = &[
    "Patient reports improved adherence since last visit; no adverse effects reported.",
    "Counselled on danger signs and given a return date; relative present during consultation.",
    "Sample sent to the district laboratory, result to be followed up by phone.",
    "Vital signs stable, discharged home with oral medication and written instructions.",
    "Referred to the county hospital for imaging, transport arranged for the next morning.",
];
const DRUG: &[(&str, &str, &str)] = &[
    (
        "860975",
        "metformin hydrochloride 500 MG Oral Tablet",
        "Take 1 tablet twice daily with meals",
    ),
    (
        "197361",
        "amlodipine 5 MG Oral Tablet",
        "Take 1 tablet once daily in the morning",
    ),
    (
        "308182",
        "amoxicillin 250 MG Oral Capsule",
        "Take 2 capsules every 8 hours for 7 days",
    ),
    (
        "847740",
        "artemether 20 MG / lumefantrine 120 MG Oral Tablet",
        "Take 4 tablets twice daily for 3 days",
    ),
    (
        "310965",
        "ibuprofen 200 MG Oral Tablet",
        "Take 1-2 tablets every 6 hours as needed for pain",
    ),
    (
        "316255",
        "ferrous sulfate 325 MG / folic acid 0.4 MG Oral Tablet",
        "Take 1 tablet daily throughout pregnancy",
    ),
    (
        "745679",
        "albuterol 0.09 MG/ACTUAT Metered Dose Inhaler",
        "Inhale 2 puffs every 4-6 hours as needed",
    ),
];
const MEASURE: &[(&str, &str, &str, u64, u64)] = &[
    ("8480-6", "Systolic blood pressure", "mm[Hg]", 95, 185),
    ("8462-4", "Diastolic blood pressure", "mm[Hg]", 55, 115),
    ("29463-7", "Body weight", "kg", 4, 118),
    ("8310-5", "Body temperature", "Cel", 35, 41),
    ("8867-4", "Heart rate", "/min", 48, 140),
    (
        "4548-4",
        "Hemoglobin A1c/Hemoglobin.total in Blood",
        "%",
        4,
        13,
    ),
    ("718-7", "Hemoglobin [Mass/volume] in Blood", "g/dL", 6, 18),
    (
        "2708-6",
        "Oxygen saturation in Arterial blood",
        "%",
        82,
        100,
    ),
];
const ALLERGY: &[(&str, &str, &str)] = &[
    ("91936005", "Allergy to penicillin", "Generalised urticaria"),
    ("300913006", "Allergy to shellfish", "Facial swelling"),
    ("294505008", "Allergy to sulfonamide", "Maculopapular rash"),
    ("232350006", "House dust mite allergy", "Rhinitis"),
];
const CONDITION: &[(&str, &str)] = &[
    ("38341003", "Hypertensive disorder, systemic arterial"),
    ("44054006", "Diabetes mellitus type 2"),
    ("61462000", "Malaria"),
    ("195967001", "Asthma"),
    ("86406008", "Human immunodeficiency virus infection"),
    ("271737000", "Anemia"),
    ("56717001", "Tuberculosis"),
];
const STATUS: &[&str] = &["active", "on-hold", "stopped", "completed"];

fn date(r: &mut Numbers, from: u64, to: u64) -> String {
    let (year, month) = (r.range(from, to), r.range(1, 12));
    format!("{year:04}-{month:02}-{:02}", r.range(1, 28))
}

fn moment(r: &mut Numbers) -> String {
    let date = date(r, 2019, 2026);
    let hour = r.range(7, 18);
    format!("{date}T{hour:02}:{:02}:00+03:00", r.range(0, 59))
}

fn short(r: &mut Numbers, prefix: &str) -> String {
    format!("{prefix}-{:08x}", r.next() & 0xffff_ffff)
}

fn phone(r: &mut Numbers) -> String {
    let (a, b) = (r.below(100), r.below(1000));
    format!("+254 7{a:02} {b:03} {:03}", r.below(1000))
}

fn line(r: &mut Numbers) -> String {
    let (house, street) = (r.range(1, 480), r.pick(STREET));
    format!("{house} {street}, House {}", r.range(1, 60))
}

fn observation(r: &mut Numbers) -> Value {
    let of = r.row(MEASURE);
    let id = short(r, "obs");
    let (whole, part) = (r.range(of.3, of.4), r.below(10));
    let value: Value = serde_json::from_str(&format!("{whole}.{part}")).expect("a number");
    json!({"id": id, "status": "final",
        "code": {"system": "loinc", "code": of.0, "display": of.1},
        "value": value, "unit": of.2, "effectiveDateTime": moment(r), "performer": r.pick(PEOPLE)})
}

fn encounter(r: &mut Numbers) -> Value {
    let start = moment(r);
    json!({"id": short(r, "enc"), "status": "finished", "class": "AMB",
        "period": {"start": start, "end": moment(r)}, "participant": r.pick(PEOPLE),
        "location": r.pick(PLACE), "reason": r.pick(REASON), "note": r.pick(NOTE)})
}

fn medication(r: &mut Numbers) -> Value {
    let of = r.row(DRUG);
    json!({"id": short(r, "med"), "status": r.pick(STATUS), "intent": "order",
        "code": {"system": "rxnorm", "code": of.0, "display": of.1}, "dosageInstruction": of.2,
        "authoredOn": date(r, 2019, 2026), "requester": r.pick(PEOPLE),
        "quantity": r.range(6, 90)})
}

fn allergy(r: &mut Numbers) -> Value {
    let of = r.row(ALLERGY);
    json!({"id": short(r, "alg"), "clinicalStatus": "active",
        "code": {"system": "snomed", "code": of.0, "display": of.1}, "reaction": of.2,
        "recordedDate": date(r, 2010, 2026)})
}

fn condition(r: &mut Numbers) -> Value {
    let of = r.row(CONDITION);
    json!({"id": short(r, "cond"), "clinicalStatus": r.pick(&["active", "resolved"]),
        "code": {"system": "snomed", "code": of.0, "display": of.1},
        "onsetDate": date(r, 2005, 2026), "recorder": r.pick(PEOPLE)})
}

fn list(r: &mut Numbers, n: u64, item: fn(&mut Numbers) -> Value) -> Vec<Value> {
    (0..n).map(|_| item(r)).collect()
}

fn body(r: &mut Numbers, id: &str, i: u64) -> Value {
    let (family, given) = (r.pick(FAMILY), r.pick(GIVEN));
    let counts = [6, 8, 12, 4, 5].map(|most| r.range(0, most));
    let low = given.to_lowercase();
    json!({
        "resourceType": "Patient", "id": id, "mrn": format!("MRN-{i:07}"), "active": true,
        "name": {"family": family, "given": [given, r.pick(GIVEN)]},
        "gender": r.pick(&["female", "male"]), "birthDate": date(r, 1931, 2025),
        "telecom": {"phone": phone(r),
            "email": format!("{low}.{}{}@example.org", family.to_lowercase(), r.below(1000))},
        "address": {"line": line(r), "city": r.pick(CITY),
            "district": format!("District {}", r.range(1, 40)),
            "postalCode": format!("{:05}", r.below(100_000)), "country": "KE"},
        "maritalStatus": r.pick(&["married", "single", "widowed", "divorced"]),
        "language": r.pick(&["sw", "en", "luo", "am", "fr"]),
        "contact": {"name": format!("{} {family}", r.pick(GIVEN)),
            "relationship": r.pick(&["spouse", "mother", "sibling", "child"]), "phone": phone(r)},
        "managingOrganization": "Organization/kisumu-east-health-centre",
        "generalPractitioner": r.pick(PEOPLE),
        "encounters": list(r, counts[0], encounter), "medications": list(r, counts[1], medication),
        "observations": list(r, counts[2], observation),
        "allergies": list(r, counts[3], allergy), "conditions": list(r, counts[4], condition),
    })
}

/// The edit `k` of a visit: an address, a measurement, a medicine's status.
fn edit(r: &mut Numbers, k: usize, now: &Value) -> Edit {
    match k % 3 {
        0 => {
            let member = r.pick(&["line", "city", "district"]);
            let value = match member {
                "line" => line(r),
                "city" => r.pick(CITY).to_owned(),
                _ => format!("District {}", r.range(1, 40)),
            };
            Edit::Set("address", None, member, json!(value))
        }
        1 => Edit::Append("observations", observation(r)),
        _ => match now["medications"].as_array().map_or(0, Vec::len) {
            0 => Edit::Set("telecom", None, "phone", json!(phone(r))),
            n => {
                let i = usize::try_from(r.below(n as u64)).unwrap_or(0);
                Edit::Set("medications", Some(i), "status", json!(r.pick(STATUS)))
            }
        },
    }
}

impl Edit {
    /// The field that changes, and the item's place where it is a list.
    pub(crate) fn apply(&self, record: &mut Value) -> (&'static str, Option<usize>) {
        match self {
            Self::Set(field, item, member, value) => {
                let mut at = &mut record[*field];
                if let Some(i) = item {
                    at = &mut at[*i];
                }
                at[*member] = value.clone();
                (field, *item)
            }
            Self::Append(field, value) => {
                let list = record[*field].as_array_mut().expect("a list");
                list.push(value.clone());
                (field, Some(list.len() - 1))
            }
        }
    }

    /// As an operation of a JSON Patch.
    pub(crate) fn patch(&self) -> Value {
        match self {
            Self::Set(field, None, member, value) => {
                json!({"op": "replace", "path": format!("/{field}/{member}"), "value": value})
            }
            Self::Set(field, Some(i), member, value) => {
                json!({"op": "replace", "path": format!("/{field}/{i}/{member}"), "value": value})
            }
            Self::Append(field, value) => {
                json!({"op": "add", "path": format!("/{field}/-"), "value": value})
            }
        }
    }
}

/// The record `i` with its history.
pub(crate) fn record(i: u64) -> Record {
    let mut r = Numbers(SEED ^ i.wrapping_mul(0xa24b_aed4_963e_e407));
    let bytes = [r.next().to_le_bytes(), r.next().to_le_bytes()].concat();
    let hex = |part: &[u8]| -> String { part.iter().map(|b| format!("{b:02x}")).collect() };
    let parts = [
        &bytes[..4],
        &bytes[4..6],
        &bytes[6..8],
        &bytes[8..10],
        &bytes[10..],
    ];
    let id = parts.map(hex).join("-");
    let json = loop {
        let json = body(&mut r, &id, i);
        if (3000..=6144).contains(&json.to_string().len()) {
            break json;
        }
    };
    let mut now = json.clone();
    let mut history = Vec::new();
    for k in 0..HISTORY {
        let edit = edit(&mut r, k, &now);
        edit.apply(&mut now);
        history.push((k % 2, edit));
    }
    Record {
        id,
        spread: [bytes[0], bytes[1]],
        json,
        history,
    }
}

/// What happens while two are apart.
pub(crate) struct Apart {
    /// Edits at the clinic and at the hub, by record.
    pub(crate) edits: [Vec<(u64, Vec<Edit>)>; 2],
    /// Records that the clinic creates.
    pub(crate) new: Vec<Record>,
}

/// Edits of `a` records at the clinic and of `b` at the hub, a fifth of them the clinic's; `new` ones.
pub(crate) fn apart(n: u64, a: usize, b: usize, new: u64) -> Apart {
    let mut r = Numbers(SEED ^ 0xd1b5_4a32_d192_ed03 ^ n);
    let mut drawn = std::collections::BTreeSet::new();
    let mut draw = |r: &mut Numbers| loop {
        let i = r.below(n);
        if drawn.insert(i) {
            break i;
        }
    };
    let clinic: Vec<u64> = (0..a).map(|_| draw(&mut r)).collect();
    let both = if b > 0 { (b / 5).max(1).min(a) } else { 0 };
    let mut hub = clinic[..both].to_vec();
    hub.extend((both..b).map(|_| draw(&mut r)));
    let mut edits = |all: Vec<u64>| {
        let made = all.into_iter().map(|i| {
            let record = record(i);
            let mut now = record.json;
            for (_, edit) in &record.history {
                edit.apply(&mut now);
            }
            (i, (0..EDITS).map(|k| edit(&mut r, k, &now)).collect())
        });
        let mut made: Vec<(u64, Vec<Edit>)> = made.collect();
        made.sort_by_key(|(i, _)| *i);
        made
    };
    let edits = [edits(clinic), edits(hub)];
    let new = (0..new).map(|k| record(n + 1_000_000_000 + k)).collect();
    Apart { edits, new }
}
