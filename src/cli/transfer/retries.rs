//! Attempts to connect again after the connection was lost.

use std::time::{Duration, Instant};

use crate::cli::exit::Exit;
use crate::cli::output::is_closed_stdout;
use crate::cli::transfer::args::CopyArgs;
use crate::cli::transfer::outcome::{GO_ON, TransferEnd};
use crate::cli::transfer::reporter::Reporter;
use crate::cli::transfer::run::TransferRun;
use crate::error::Error;

/// The two ends of a transfer, in messages.
#[derive(Debug)]
pub struct Ends {
    /// What is copied.
    pub from: String,
    /// Where it goes.
    pub to: String,
}

/// Runs `attempt`, again and again as far as `--retry` allows. A failure that remains is reported with `ends`.
///
/// # Errors
/// Standard output is closed.
pub fn with_retries(
    run: &TransferRun<'_>,
    ends: &Ends,
    reporter: &mut Reporter,
    mut attempt: impl FnMut(&mut Reporter) -> anyhow::Result<()>,
) -> anyhow::Result<TransferEnd> {
    let mut retries = Retries::new(run.copy);
    let begun = reporter.begin();
    loop {
        let before = reporter.moved();
        let error = match attempt(reporter) {
            Ok(()) => return Ok(TransferEnd::Reported),
            // Files that were complete by then are kept, and were reported.
            Err(_) if run.interruption.has_come() => return Ok(TransferEnd::Interrupted),
            Err(error) if is_closed_stdout(&error) => return Err(error),
            Err(error) => error,
        };
        if reporter.moved() > before {
            retries.moved();
        }
        let Some(wait) = retries.next(&error) else {
            reporter.failed(&ends.from, &ends.to, &error)?;
            if matches!(error.downcast_ref(), Some(Error::ConnectionLost(_))) {
                reporter.remark(&format!("{GO_ON}, or with --retry"));
            }
            return Ok(TransferEnd::Reported);
        };
        reporter.retrying(&error, wait, &begun);
        let until = Instant::now() + wait;
        while Instant::now() < until {
            if run.interruption.has_come() {
                return Ok(TransferEnd::Interrupted);
            }
            std::thread::sleep(WAIT_STEP);
        }
    }
}

/// How often it is looked for a signal between two attempts.
const WAIT_STEP: Duration = Duration::from_millis(50);
/// Longest wait between two attempts to connect.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(30);

/// Waits between attempts to connect again: each is longer than the one before, until time is up.
#[derive(Debug)]
pub struct Retries {
    limit: Option<Duration>,
    wait: Duration,
    since: Option<Instant>,
}

impl Retries {
    /// As far as `--retry` allows.
    pub const fn new(copy: &CopyArgs) -> Self {
        Self { limit: copy.retry, wait: Duration::from_secs(1), since: None }
    }

    /// Bytes have moved: the time begins anew.
    pub const fn moved(&mut self) {
        self.wait = Duration::from_secs(1);
        self.since = None;
    }

    /// How long to wait before the next attempt; `None`: there is none, since time is up or another attempt could not
    /// help.
    pub fn next(&mut self, error: &anyhow::Error) -> Option<Duration> {
        let limit = self.limit?;
        if !matches!(Exit::of(error), Exit::ConnectionLost | Exit::NotConnected) {
            return None;
        }
        if self.since.get_or_insert_with(Instant::now).elapsed() > limit {
            return None;
        }
        let wait = self.wait;
        self.wait = (wait * 2).min(RETRY_WAIT_MAX);
        Some(wait)
    }
}
