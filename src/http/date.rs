//! The dates of HTTP (RFC 9110, 5.6.7), as seconds since 1970.

use std::time::{Duration, UNIX_EPOCH};

use jiff::SignedDuration;
use jiff::civil::date;

/// The last second of the year 9999: the format has four digits for a year.
const LAST_SECOND: u64 = 253_402_300_799;

/// Writes an IMF-fixdate, the only form that may be sent: `Sun, 06 Nov 1994 08:49:37 GMT`.
///
/// A second after the year 9999 is written as the last one of that year.
pub fn format(seconds: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_SECOND)))
}

/// Reads any of the three forms that a recipient must know; `None` if it is none of them.
///
/// The weekday must be the one of that date. The two digits of a year in the RFC 850 form mean 1970 to 2069. A date
/// before 1970 and a leap second are `None`: a condition with such a date is ignored.
pub fn parse(text: &str) -> Option<u64> {
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

/// Writes a date and time as RFC 3339 has it: `1994-11-06T08:49:37Z`. What is behind the year 9999 is written as its end.
pub fn internet(seconds: u64) -> String {
    // A `Timestamp` ends some hours before the year 9999 does, so that each zone can show it.
    let since = SignedDuration::from_secs(i64::try_from(seconds.min(LAST_SECOND)).unwrap_or(i64::MAX));
    let time = date(1970, 1, 1).at(0, 0, 0, 0).saturating_add(since);
    format!("{time}Z")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_three_forms_are_read() {
        for (clause, text, want) in [
            ("RFC 9110, 5.6.7: IMF-fixdate", "Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("RFC 9110, 5.6.7: obsolete RFC 850 format", "Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777)),
            ("RFC 9110, 5.6.7: ANSI C's asctime() format", "Sun Nov  6 08:49:37 1994", Some(784_111_777)),
            ("RFC 9110, 5.6.7: asctime with two digits of a day", "Wed Nov 16 08:49:37 1994", Some(784_975_777)),
            (
                "RFC 9110, 5.6.7: rfc850-date, a year of this century",
                "Friday, 01-Jan-21 00:00:00 GMT",
                Some(1_609_459_200),
            ),
            ("RFC 9110, 5.6.7: the first second", "Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("RFC 9110, 5.6.7: a leap day", "Thu, 29 Feb 2024 12:00:00 GMT", Some(1_709_208_000)),
            ("RFC 9110, 5.6.7: no such day", "Wed, 29 Feb 2023 12:00:00 GMT", None),
            ("RFC 9110, 5.6.7: another weekday", "Mon, 06 Nov 1994 08:49:37 GMT", None),
            ("RFC 9110, 5.6.7: case-sensitive", "Sun, 06 nov 1994 08:49:37 GMT", None),
            ("RFC 9110, 5.6.7: GMT is the only zone", "Sun, 06 Nov 1994 08:49:37 UTC", None),
            ("RFC 9110, 5.6.7: no zone in digits", "Sun, 06 Nov 1994 08:49:37 +0000", None),
            ("RFC 9110, 5.6.7: no hour 24", "Sun, 06 Nov 1994 24:00:00 GMT", None),
            ("RFC 9110, 5.6.7: two digits of a day", "Sun, 6 Nov 1994 08:49:37 GMT", None),
            ("RFC 9110, 5.6.7: not a number", "784111777", None),
            ("RFC 9110, 5.6.7: a date before 1970", "Wed, 31 Dec 1969 23:59:59 GMT", None),
            (
                "RFC 9110, 5.6.7: one date, not two",
                "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
                None,
            ),
            ("RFC 9110, 5.6.7: empty", "", None),
        ] {
            assert_eq!(parse(text), want, "{clause}: {text}");
        }
    }

    #[test]
    fn an_imf_fixdate_is_written() {
        for (clause, seconds, want) in [
            ("RFC 9110, 5.6.7: the example", 784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("RFC 9110, 5.6.7: two digits of a day", 0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            ("RFC 9110, 5.6.7: four digits of a year", LAST_SECOND, "Fri, 31 Dec 9999 23:59:59 GMT"),
            ("RFC 9110, 5.6.7: no fifth digit", u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(format(seconds), want, "{clause}");
        }
    }

    #[test]
    fn an_internet_date_is_written() {
        for (clause, seconds, want) in [
            ("RFC 3339, 5.6: date-time", 784_111_777, "1994-11-06T08:49:37Z"),
            ("RFC 3339, 5.6: the first second", 0, "1970-01-01T00:00:00Z"),
            ("RFC 3339, 5.6: four digits of a year", u64::MAX, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(internet(seconds), want, "{clause}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(seconds in 0..=LAST_SECOND) {
            prop_assert_eq!(parse(&format(seconds)), Some(seconds));
        }

        #[test]
        fn any_text_is_read_or_not(text in "\\PC{0,40}", numbers in "[A-Z][a-z]{2,8},? [0-9A-Za-z :-]{20,27} GMT") {
            for text in [text, numbers] {
                if let Some(seconds) = parse(&text) {
                    prop_assert!(seconds <= LAST_SECOND);
                }
            }
        }
    }
}
