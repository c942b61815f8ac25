//! Points in time as FHIR writes them.

/// Milliseconds since 1970 as an `instant`, in UTC.
pub(crate) fn instant(ms: i64) -> String {
    // A clock that ran past the year 9999 is told as the last moment that can be written.
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_instant_has_milliseconds_and_a_zone() {
        assert_eq!(
            super::instant(1_700_000_000_007),
            "2023-11-14T22:13:20.007Z"
        );
        assert!(super::instant(i64::MAX).starts_with("9999-12-"));
    }
}
