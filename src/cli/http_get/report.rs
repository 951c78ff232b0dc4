//! How it ended: a line for a person, one object for a program.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::observer::Screen;
use crate::cli::exit::Exit;
use crate::cli::human;
use crate::cli::output::put_json;
use crate::http::client::download::Fetched;

/// The results of one run.
#[derive(Debug)]
pub(super) struct Report {
    is_json: bool,
    started: Instant,
    exit: Exit,
    results: Vec<FetchResult>,
}

/// How one URL ended.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct FetchResult {
    /// The URL as it was given.
    pub(super) from: String,
    /// The file; `-` for standard output.
    pub(super) to: String,
    /// Where it came from in the end, if that is another URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<String>,
    /// The last response's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
    pub(super) bytes: u64,
    /// Bytes of it that an earlier run had left.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) reused: u64,
    /// Whose digests were compared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) verified: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Serialize)]
struct Summary<'s> {
    files: usize,
    failed: usize,
    bytes: u64,
    reused: u64,
    ms: u64,
    exit_code: u8,
    results: &'s [FetchResult],
}

impl Report {
    pub(super) fn new(is_json: bool) -> Self {
        Self { is_json, started: Instant::now(), exit: Exit::Done, results: Vec::new() }
    }

    /// A URL is where it belongs.
    pub(super) fn done(&mut self, result: FetchResult, fetched: &Fetched) {
        let url = Some(fetched.url.to_string()).filter(|url| *url != result.from);
        let Fetched { size, resumed, compared, .. } = fetched;
        let status = Some(fetched.head.status.as_u16());
        let result = FetchResult { url, status, bytes: *size, reused: *resumed, verified: compared.clone(), ..result };
        self.results.push(result);
    }

    /// A URL failed; the exit code is that of the first that did.
    pub(super) fn failed(&mut self, result: FetchResult, exit: Exit) {
        if self.exit == Exit::Done {
            self.exit = exit;
        }
        self.results.push(result);
    }

    /// Prints how it ended.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(super) fn finish(self, screen: &Screen<'_>) -> anyhow::Result<Exit> {
        screen.clear();
        let bytes = self.results.iter().map(|result| result.bytes).sum();
        if self.is_json {
            let failed = self.results.iter().filter(|result| result.error.is_some()).count();
            let summary = Summary {
                files: self.results.len() - failed,
                failed,
                bytes,
                reused: self.results.iter().map(|result| result.reused).sum(),
                ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
                exit_code: self.exit.code(),
                results: &self.results,
            };
            put_json(&summary)?;
        }
        Ok(self.exit)
    }
}

/// One line about a file that has arrived.
pub(super) fn line(to: &str, fetched: &Fetched, time: Duration) -> String {
    let Fetched { size, resumed, compared, is_not_modified, .. } = fetched;
    if *is_not_modified {
        return format!("{to}: not modified, the server says; nothing was written");
    }
    let kept = if *resumed > 0 { format!(", {} of them were there", human::size(*resumed)) } else { String::new() };
    let verified = if compared.is_empty() { String::new() } else { format!(", verified: {}", compared.join(", ")) };
    format!("{to}, {}{kept}{verified}, {}", human::size(*size), human::time(time))
}
