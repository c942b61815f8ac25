//! Small builders of FHIR datatypes, and dates without a clock.

use medsync_core::model::json::Json;

pub(super) const SNOMED: &str = "http://snomed.info/sct";
pub(super) const LOINC: &str = "http://loinc.org";
pub(super) const UCUM: &str = "http://unitsofmeasure.org";
pub(super) const TERMINOLOGY: &str = "http://terminology.hl7.org/CodeSystem/";

pub(super) fn s(text: impl AsRef<str>) -> Json {
    Json::string(text.as_ref())
}

pub(super) fn number(lexeme: impl ToString) -> Json {
    Json::Number(lexeme.to_string().into())
}

/// `scaled` in units of 10^-places, all places written: 510 with 2 places is 5.10.
pub(super) fn decimal(scaled: i64, places: u32) -> String {
    let one = 10_i64.pow(places);
    let width = places as usize;
    match places {
        0 => scaled.to_string(),
        _ => format!("{}.{:0width$}", scaled / one, scaled % one),
    }
}

pub(super) fn obj<const N: usize>(members: [(&str, Json); N]) -> Json {
    Json::object(members)
}

pub(super) fn list<const N: usize>(items: [Json; N]) -> Json {
    Json::Array(items.into())
}

pub(super) fn coding(system: &str, code: &str, display: &str) -> Json {
    obj([
        ("system", s(system)),
        ("code", s(code)),
        ("display", s(display)),
    ])
}

pub(super) fn concept(system: &str, code: &str, display: &str) -> Json {
    obj([("coding", list([coding(system, code, display)]))])
}

/// A concept of one of HL7's own code systems, which are known by their last word.
pub(super) fn hl7(system: &str, code: &str, display: &str) -> Json {
    concept(&format!("{TERMINOLOGY}{system}"), code, display)
}

/// A concept of one of HL7's own code systems, the code alone.
pub(super) fn hl7_code(system: &str, code: &str) -> Json {
    let coding = obj([
        ("system", s(format!("{TERMINOLOGY}{system}"))),
        ("code", s(code)),
    ]);
    obj([("coding", list([coding]))])
}

pub(super) fn quantity(value: &str, unit: &str) -> Json {
    obj([
        ("value", number(value)),
        ("unit", s(unit)),
        ("system", s(UCUM)),
        ("code", s(unit)),
    ])
}

pub(super) fn reference(to: &str) -> Json {
    obj([("reference", s(to))])
}

pub(super) fn named(to: &str, display: &str) -> Json {
    obj([("reference", s(to)), ("display", s(display))])
}

pub(super) fn period(start: &str, end: Option<&str>) -> Json {
    let mut period = obj([("start", s(start))]);
    if let Some(end) = end {
        period.set("end", s(end));
    }
    period
}

pub(super) fn note(text: &str, author: &str, time: &str) -> Json {
    list([obj([
        ("authorString", s(author)),
        ("time", s(time)),
        ("text", s(text)),
    ])])
}

/// Days since 1970-01-01, for a date of the proleptic Gregorian calendar.
pub(super) const fn day(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// `YYYY-MM-DD` of days since 1970-01-01.
pub(super) fn date(days: i64) -> String {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = (shifted_month + 2) % 12 + 1;
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// A moment in local time, in seconds since 1970-01-01T00:00:00 there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub(super) i64);

impl Moment {
    pub(super) const DAY: i64 = 86_400;

    pub(super) const fn days(self) -> i64 {
        self.0.div_euclid(Self::DAY)
    }

    pub(super) const fn later(self, seconds: i64) -> Self {
        Self(self.0 + seconds)
    }

    /// FHIR `dateTime`, zone as `+05:30`.
    pub(super) fn stamp(self, zone: &str) -> String {
        let of_day = self.0.rem_euclid(Self::DAY);
        format!(
            "{}T{:02}:{:02}:{:02}{zone}",
            date(self.days()),
            of_day / 3600,
            of_day / 60 % 60,
            of_day % 60
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_round_trip_through_leap_years() {
        for (y, m, d, days) in [
            (1970, 1, 1, 0),
            (2000, 2, 29, 11_016),
            (1900, 3, 1, -25_508),
            (2026, 6, 30, 20_634),
        ] {
            assert_eq!(day(y, m, d), days);
            assert_eq!(date(days), format!("{y:04}-{m:02}-{d:02}"));
        }
    }

    #[test]
    fn stamps_and_decimals_keep_their_zeros() {
        assert_eq!(Moment(3661).stamp("+05:30"), "1970-01-01T01:01:01+05:30");
        assert_eq!(decimal(510, 2), "5.10");
        assert_eq!(decimal(3, 3), "0.003");
        assert_eq!(decimal(72, 0), "72");
    }
}
