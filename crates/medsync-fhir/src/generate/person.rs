//! A patient, the people who care for them, and the chart that the other files write in.

use super::build::{
    Moment, TERMINOLOGY, coding, date, day, hl7, list, named, number, obj, period, reference, s,
};
use super::people::{REGIONS, Region};
use super::rng::Rng;
use super::statuses::STATUSES;
use medsync_core::model::json::Json;

/// The day on which every generated clinic stands still.
pub(super) const TODAY: i64 = day(2026, 6, 30);

const PRACTITIONERS: usize = 14;
const ORGANIZATIONS: [&str; 3] = [
    "District Hospital",
    "Community Health Centre",
    "Mobile Outreach Unit",
];

/// Who works here: references with the names shown beside them.
#[derive(Debug)]
pub(super) struct Staff {
    organizations: Vec<(String, String)>,
    practitioners: Vec<(String, String)>,
}

impl Staff {
    pub(super) fn new(rng: &mut Rng) -> (Self, Vec<Json>) {
        let mut records = Vec::new();
        let mut organizations = Vec::new();
        for name in ORGANIZATIONS {
            let id = rng.id();
            records.push(organization(rng, &id, name));
            organizations.push((format!("Organization/{id}"), name.to_owned()));
        }
        let mut practitioners = Vec::new();
        for _ in 0..PRACTITIONERS {
            let id = rng.id();
            let region = rng.weighted(&REGIONS);
            let woman = rng.chance(50);
            let given = *rng.pick(region.given(woman));
            let family = *rng.pick(region.families);
            records.push(practitioner(rng, &id, given, family));
            practitioners.push((
                format!("Practitioner/{id}"),
                format!("Dr. {given} {family}"),
            ));
        }
        let staff = Self {
            organizations,
            practitioners,
        };
        (staff, records)
    }
}

fn organization(rng: &mut Rng, id: &str, name: &str) -> Json {
    obj([
        ("resourceType", s("Organization")),
        ("id", s(id)),
        ("active", Json::Bool(true)),
        (
            "identifier",
            list([obj([
                ("system", s("urn:medsync:example:facility")),
                ("value", s(rng.digits(8))),
            ])]),
        ),
        (
            "type",
            list([hl7("organization-type", "prov", "Healthcare Provider")]),
        ),
        ("name", s(name)),
    ])
}

fn practitioner(rng: &mut Rng, id: &str, given: &str, family: &str) -> Json {
    obj([
        ("resourceType", s("Practitioner")),
        ("id", s(id)),
        ("active", Json::Bool(true)),
        (
            "identifier",
            list([obj([
                ("system", s("urn:medsync:example:registration")),
                ("value", s(format!("REG-{}", rng.digits(6)))),
            ])]),
        ),
        (
            "name",
            list([obj([
                ("family", s(family)),
                ("given", list([s(given)])),
                ("prefix", list([s("Dr.")])),
            ])]),
        ),
    ])
}

/// One patient's records as they are written.
#[derive(Debug)]
pub(super) struct Chart<'a> {
    pub(super) rng: Rng,
    staff: &'a Staff,
    pub(super) region: &'static Region,
    /// `Patient/id` and the name shown beside it.
    patient: (String, String),
    pub(super) female: bool,
    /// Day of birth, since 1970-01-01.
    pub(super) born: i64,
    pub(super) records: Vec<Json>,
}

impl<'a> Chart<'a> {
    pub(super) fn open(mut rng: Rng, staff: &'a Staff) -> Self {
        let region = rng.weighted(&REGIONS);
        let age = rng.weighted(&[(12, 2), (18, 12), (40, 32), (22, 55), (8, 78)]);
        let born = TODAY - age * 365 - rng.range(0, 900);
        let mut chart = Self {
            rng,
            staff,
            region,
            patient: (String::new(), String::new()),
            female: false,
            born,
            records: Vec::new(),
        };
        let patient = chart.write_patient();
        chart.records.push(patient);
        chart
    }

    /// A status of a kind, by the weights of [`STATUSES`].
    pub(super) fn status(&mut self, kind: &str, field: &str) -> &'static str {
        STATUSES
            .iter()
            .find(|(k, f, _)| *k == kind && *f == field)
            .map_or("unknown", |(_, _, weights)| self.rng.weighted(weights))
    }

    /// A new resource: its reference, and the record with id and meta.
    pub(super) fn start(&mut self, kind: &str, at: Moment) -> (String, Json) {
        let id = self.rng.id();
        let updated = at.later(self.rng.range(60, 7200)).stamp("");
        let millis = self.rng.range(0, 999);
        let record = obj([
            ("resourceType", s(kind)),
            ("id", s(&id)),
            (
                "meta",
                obj([
                    ("versionId", s("1")),
                    (
                        "lastUpdated",
                        s(format!("{updated}.{millis:03}{}", self.region.zone)),
                    ),
                ]),
            ),
        ]);
        (format!("{kind}/{id}"), record)
    }

    pub(super) fn subject(&self) -> Json {
        reference(&self.patient.0)
    }

    pub(super) fn name(&self) -> &str {
        &self.patient.1
    }

    pub(super) fn practitioner(&mut self) -> Json {
        let (to, display) = self.rng.pick(&self.staff.practitioners);
        named(to, display)
    }

    pub(super) fn organization(&mut self) -> Json {
        let (to, display) = self.rng.pick(&self.staff.organizations);
        named(to, display)
    }

    pub(super) fn stamp(&self, at: Moment) -> Json {
        s(at.stamp(self.region.zone))
    }

    /// A moment in working hours, not before birth nor `past` days before today, nor after today.
    pub(super) fn moment(&mut self, past: i64) -> Moment {
        let first = self.born.max(TODAY - past);
        let day = self.rng.range(first, TODAY);
        Moment(day * Moment::DAY + self.rng.range(8 * 3600, 17 * 3600))
    }

    fn write_patient(&mut self) -> Json {
        let gender = self.status("Patient", "gender");
        self.female = gender == "female" || (gender != "male" && self.rng.chance(50));
        let region = self.region;
        let given = *self.rng.pick(region.given(self.female));
        let family = *self.rng.pick(region.families);
        let registered = self.moment(4000);
        let (to, mut patient) = self.start("Patient", registered);
        // One name is all that many people have.
        let mut name = obj([("use", s("official")), ("given", list([s(given)]))]);
        let shown = if self.rng.chance(6) {
            given.to_owned()
        } else {
            name.set("family", s(family));
            format!("{given} {family}")
        };
        name.set("text", s(&shown));
        self.patient = (to, shown);
        patient.set("active", Json::Bool(self.rng.chance(98)));
        patient.set("identifier", self.identifiers());
        patient.set("name", list([name]));
        patient.set("gender", s(gender));
        patient.set("birthDate", s(self.birth_date()));
        patient.set("telecom", self.telecom());
        patient.set("address", self.address(registered));
        patient.set("contact", self.contact(family));
        patient.set("communication", self.communication());
        patient.set("managingOrganization", self.organization());
        let practitioner = self.practitioner();
        patient.set("generalPractitioner", list([practitioner]));
        if TODAY - self.born > 18 * 365 {
            let (code, display) = self.rng.weighted(&[
                (70, ("M", "Married")),
                (20, ("S", "Never Married")),
                (10, ("W", "Widowed")),
            ]);
            patient.set("maritalStatus", hl7("v3-MaritalStatus", code, display));
        }
        if self.rng.chance(3) {
            patient.set("deceasedBoolean", Json::Bool(false));
        }
        patient
    }

    /// Where nobody knows the day, FHIR lets the year stand alone.
    fn birth_date(&mut self) -> String {
        let full = date(self.born);
        match self.rng.below(20) {
            0 => full.chars().take(4).collect(),
            _ => full,
        }
    }

    fn identifiers(&mut self) -> Json {
        let kind = |code: &str, display: &str| {
            obj([(
                "coding",
                list([coding(&format!("{TERMINOLOGY}v2-0203"), code, display)]),
            )])
        };
        let mut identifiers = vec![obj([
            ("use", s("usual")),
            ("type", kind("MR", "Medical record number")),
            ("system", s("urn:medsync:example:mrn")),
            ("value", s(format!("MRN{}", self.rng.digits(9)))),
        ])];
        if self.region.zone == "+05:30" && self.rng.chance(80) {
            // The shape of an ABHA number; the system is not the real one's.
            let digits = self.rng.digits(14);
            let groups: Vec<&str> = [(0, 2), (2, 6), (6, 10), (10, 14)]
                .iter()
                .filter_map(|(from, to)| digits.get(*from..*to))
                .collect();
            identifiers.push(obj([
                ("type", kind("NI", "National unique individual identifier")),
                ("system", s("urn:medsync:example:abha")),
                ("value", s(groups.join("-"))),
            ]));
        }
        Json::Array(identifiers)
    }

    fn phone(&mut self) -> String {
        let region = self.region;
        format!(
            "{}-{}",
            region.calling,
            self.rng.digits(region.phone_digits)
        )
    }

    fn telecom(&mut self) -> Json {
        let mut telecom = vec![obj([
            ("system", s("phone")),
            ("use", s("mobile")),
            ("value", s(self.phone())),
            ("rank", number(1)),
        ])];
        if self.rng.chance(25) {
            let box_number = self.rng.digits(5);
            telecom.push(obj([
                ("system", s("email")),
                ("value", s(format!("patient{box_number}@example.org"))),
            ]));
        }
        Json::Array(telecom)
    }

    fn address(&mut self, since: Moment) -> Json {
        let region = self.region;
        let [city, district, state, country, post] = *self.rng.pick(region.places);
        let street = *self.rng.pick(region.streets);
        let house = self.rng.range(1, 240);
        let post = format!("{post}{:02}", self.rng.range(1, 99));
        list([obj([
            ("use", s("home")),
            ("line", list([s(format!("{house}, {street}"))])),
            ("city", s(city)),
            ("district", s(district)),
            ("state", s(state)),
            ("postalCode", s(post)),
            ("country", s(country)),
            ("period", period(&date(since.days()), None)),
        ])])
    }

    fn contact(&mut self, family: &str) -> Json {
        let region = self.region;
        let woman = self.rng.chance(50);
        let given = *self.rng.pick(region.given(woman));
        let (code, display) = self.rng.weighted(&[
            (40, ("SPS", "spouse")),
            (30, ("PRN", "parent")),
            (20, ("CHILD", "child")),
            (10, ("NBOR", "neighbor")),
        ]);
        list([obj([
            ("relationship", list([hl7("v3-RoleCode", code, display)])),
            (
                "name",
                obj([("family", s(family)), ("given", list([s(given)]))]),
            ),
            (
                "telecom",
                list([obj([("system", s("phone")), ("value", s(self.phone()))])]),
            ),
            ("gender", s(if woman { "female" } else { "male" })),
        ])])
    }

    fn communication(&self) -> Json {
        let (code, display) = self.region.language;
        list([obj([
            (
                "language",
                obj([("coding", list([coding("urn:ietf:bcp:47", code, display)]))]),
            ),
            ("preferred", Json::Bool(true)),
        ])])
    }
}

/// Sets the members that nearly every record of a visit has.
pub(super) fn place(record: &mut Json, subject: Json, encounter: &str) {
    record.set("subject", subject);
    record.set("encounter", reference(encounter));
}
