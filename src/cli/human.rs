//! Sizes, rates and times as a person reads them, at a terminal; programs get plain numbers.

use std::time::Duration;

/// `9 B`, `1.5 kB`, `90 MB`: powers of 1,000, two digits or more.
#[expect(clippy::cast_precision_loss, reason = "two or three digits are shown")]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    // What would be rounded to four digits is the next unit's.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value < 9.95);
    format!("{value:.digits$} {}", UNITS.get(unit).unwrap_or(&"B"))
}

/// `3 ms`, `1.0 s`, `75 s`, `2.5 min`, `14 h`, `3.0 days`: two digits or more.
pub fn time(time: Duration) -> String {
    const UNITS: [(&str, f64); 3] = [("days", 86_400.0), ("h", 3_600.0), ("min", 60.0)];
    let seconds = time.as_secs_f64();
    if seconds < 0.9995 {
        return format!("{:.0} ms", seconds * 1e3);
    }
    // Below two of the next unit, the smaller one says more.
    let (unit, length) = UNITS.into_iter().find(|(_, length)| seconds >= 2.0 * length - 0.5).unwrap_or(("s", 1.0));
    let value = seconds / length;
    let digits = usize::from(value < 9.95);
    format!("{value:.digits$} {unit}")
}

/// `90 MB/s`, if the time is long enough to say so.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "two digits are shown"
)]
pub fn rate(bytes: u64, time: Duration) -> Option<String> {
    let seconds = time.as_secs_f64();
    (seconds >= 0.1 && bytes > 0).then(|| format!("{}/s", size((bytes as f64 / seconds) as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (bytes, want) in [
            (0, "0 B"),
            (9, "9 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (1_540, "1.5 kB"),
            (9_960, "10 kB"),
            (90_000_000, "90 MB"),
            (999_499_999, "999 MB"),
            (999_600_000, "1.0 GB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(size(bytes), want);
        }
        for (ms, want) in [
            (3, "3 ms"),
            (999, "999 ms"),
            (1_000, "1.0 s"),
            (9_949, "9.9 s"),
            (75_400, "75 s"),
            (119_400, "119 s"),
            (119_600, "2.0 min"),
            (150_000, "2.5 min"),
            (7_199_000, "120 min"),
            (7_200_000, "2.0 h"),
            (50_400_000, "14 h"),
            (259_200_000, "3.0 days"),
            (8_640_000_000, "100 days"),
        ] {
            assert_eq!(time(Duration::from_millis(ms)), want);
        }
        assert_eq!(rate(90_000_000, Duration::from_secs(1)).unwrap(), "90 MB/s");
        assert_eq!(rate(9, Duration::from_millis(3)), None);
    }
}
