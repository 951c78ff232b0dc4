//! Further attempts after one that failed for a reason that may pass.

use std::time::Duration;

use super::error::{Error, Result};
use super::{Deadline, Observer};

/// Longest wait between two attempts where the server names none.
pub const RETRY_WAIT_MAX: Duration = Duration::from_mins(1);
/// Longest wait that a server may ask for: who wants more is not waited for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

/// How many more attempts there are, and how long to wait before the next.
#[derive(Debug)]
pub struct Retries {
    left: u32,
    wait: Duration,
}

impl Retries {
    /// This many.
    pub const fn new(count: u32) -> Self {
        Self { left: count, wait: Duration::from_secs(1) }
    }

    /// Bytes have moved: the waits begin anew.
    pub const fn moved(&mut self) {
        self.wait = Duration::from_secs(1);
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// `error` itself: there is no further attempt, or none that could help.
    pub fn after(&mut self, error: Error, deadline: Deadline, observer: &dyn Observer) -> Result<()> {
        if observer.is_interrupted() {
            return Err(Error::Interrupted);
        }
        deadline.check()?;
        let Some(wait) = self.wait_after(&error) else { return Err(error) };
        if deadline.at_most(wait) < wait {
            return Err(error);
        }
        observer.notice(&format!("{error}; another attempt in {} s, {} left", wait.as_secs(), self.left));
        if observer.pause(wait) { Ok(()) } else { Err(Error::Interrupted) }
    }

    fn wait_after(&mut self, error: &Error) -> Option<Duration> {
        if self.left == 0 || !error.is_transient() {
            return None;
        }
        let wait = match error {
            Error::Status { retry_after: Some(wait), .. } if *wait > RETRY_AFTER_MAX => return None,
            Error::Status { retry_after: Some(wait), .. } => *wait,
            _ => self.wait,
        };
        self.left -= 1;
        self.wait = (self.wait * 2).min(RETRY_WAIT_MAX);
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use ::http::StatusCode;

    use super::*;

    fn status(code: u16, retry_after: Option<u64>) -> Error {
        let retry_after = retry_after.map(Duration::from_secs);
        let status = StatusCode::from_u16(code).unwrap();
        Error::Status { status, reason: String::new(), body: Vec::new(), left_out: None, retry_after }
    }

    #[test]
    fn waits_grow_and_end() {
        let lost = Error::lost("x");
        let mut retries = Retries::new(9);
        let waits: Vec<u64> = std::iter::from_fn(|| retries.wait_after(&lost)).map(|wait| wait.as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn the_server_may_say_when_and_some_errors_stay() {
        let mut retries = Retries::new(2);
        assert_eq!(retries.wait_after(&status(404, None)), None);
        assert_eq!(retries.wait_after(&status(503, Some(7))), Some(Duration::from_secs(7)));
        assert_eq!(retries.wait_after(&status(429, Some(4000))), None);
        assert_eq!(retries.wait_after(&status(429, None)), Some(Duration::from_secs(2)));
        assert_eq!(retries.wait_after(&status(429, None)), None);
    }
}
