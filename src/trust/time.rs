//! Points in time as the lists of the home write them: RFC 3339, UTC, whole seconds.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;

/// A point in time, by the system's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Timestamp);

/// The text is no point in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time; write it like 2026-12-31T18:00:00Z, or with an offset such as +02:00 for the Z")]
pub struct NoMoment(String);

impl Moment {
    /// The present time, without the fraction of its second.
    pub fn now() -> Self {
        let now = Timestamp::now();
        Self(Timestamp::from_second(now.as_second()).unwrap_or(now))
    }

    /// How much later it is than `earlier`; 0 if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.duration_since(earlier.0).try_into().unwrap_or(Duration::ZERO)
    }

    /// The time that is this much later; `None`: in no year that can be written.
    pub fn after(self, time: Duration) -> Option<Self> {
        self.0.checked_add(time).ok().map(Self)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Moment {
    type Err = NoMoment;

    fn from_str(text: &str) -> Result<Self, NoMoment> {
        let read: Result<Timestamp, _> = text.parse();
        read.map(Self).map_err(|_reason| NoMoment(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_no_time_is_not() {
        let now = Moment::now();
        assert_eq!(now.to_string().parse(), Ok(now));
        for (text, same) in [
            ("2026-12-31T18:00:00Z", "2026-12-31T18:00:00Z"),
            ("2026-12-31T18:00:00+02:00", "2026-12-31T16:00:00Z"),
            ("2026-12-31 18:00:00Z", "2026-12-31T18:00:00Z"),
        ] {
            assert_eq!(text.parse::<Moment>().unwrap().to_string(), same);
        }
        for text in ["", "tomorrow", "2026-12-31", "2026-12-31T18:00:00", "2026-13-01T00:00:00Z", "30d"] {
            let error = text.parse::<Moment>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text:?} is not a time; write it like 20")), "{error}");
        }
        let day = Duration::from_hours(24);
        assert_eq!((now.after(day).unwrap().since(now), now.since(now.after(day).unwrap())), (day, Duration::ZERO));
        assert!(now < now.after(day).unwrap() && now.after(Duration::MAX).is_none());
    }
}
