//! What `fget` and `fput` share: their options, what they say about each file, and the summary.

use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::progress::{Progress, When};
use super::{Exit, printable, put_json, say};
use crate::session::millis;

/// How transfers are shown.
#[derive(Debug, Clone, Args)]
pub struct Show {
    /// Print one JSON event a line as it happens: start, done, failed, summary
    #[arg(long, conflicts_with = "json")]
    pub json_stream: bool,
    /// When to show progress
    #[arg(long, env = "LANDLINE_PROGRESS", default_value = "auto", value_name = "WHEN")]
    pub progress: When,
}

/// A file that is through, or failed.
#[derive(Debug, Clone, Serialize)]
struct Done {
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'static str>,
    from: String,
    to: String,
    bytes: u64,
    ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Summary<'s> {
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'static str>,
    files: usize,
    failed: usize,
    bytes: u64,
    ms: f64,
    exit_code: u8,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    results: &'s [Done],
}

/// Tells people and scripts how the files of one run fare.
#[derive(Debug)]
pub struct Teller {
    program: &'static str,
    form: Form,
    quiet: bool,
    verbose: bool,
    progress: When,
    started: Instant,
    results: Vec<Done>,
    exit: Exit,
    /// What can be said of a file that is through: the tutorials' wires carry no digest.
    verified: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Json,
    JsonStream,
}

impl Teller {
    /// A teller for one run.
    pub fn new(program: &'static str, talk: &super::args::Talk, show: &Show) -> Self {
        let form = match (talk.json, show.json_stream) {
            (true, _) => Form::Json,
            (_, true) => Form::JsonStream,
            _ => Form::Text,
        };
        let (quiet, verbose) = (talk.quiet, talk.verbose);
        let (started, results) = (Instant::now(), Vec::new());
        Self {
            program,
            form,
            quiet,
            verbose,
            progress: show.progress,
            started,
            results,
            exit: Exit::Done,
            verified: ", verified",
        }
    }

    /// The same for a wire on which nothing says what was sent.
    #[must_use]
    pub const fn without_digests(mut self) -> Self {
        self.verified = "";
        self
    }

    /// The progress line of a file that begins.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn begin(&self, from: &str, to: &str, size: u64) -> crate::wire::Result<Progress> {
        if self.form == Form::JsonStream {
            put_json(&serde_json::json!({ "event": "start", "from": from, "to": to, "size": size }))?;
        }
        Ok(Progress::new(self.progress, self.quiet, from, size))
    }

    /// A file is through.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn done(&mut self, from: &str, to: &str, bytes: u64, took: Duration) -> crate::wire::Result<()> {
        if self.verbose {
            say(self.program, &format!("{} -> {}: {bytes} bytes{}", printable(from), printable(to), self.verified));
        }
        self.add(Done { event: None, from: from.into(), to: to.into(), bytes, ms: millis(took), error: None })
    }

    /// A file failed; the others go on unless the line is gone.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn failed(&mut self, from: &str, to: &str, error: &anyhow::Error) -> crate::wire::Result<()> {
        let text = format!("{error:#}");
        say(self.program, &format!("{}: {}", printable(from), printable(&text)));
        if self.exit == Exit::Done {
            self.exit = Exit::of(error);
        }
        self.add(Done { event: None, from: from.into(), to: to.into(), bytes: 0, ms: 0.0, error: Some(text) })
    }

    /// A signal came: this file failed, and no other is begun.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn interrupted(mut self, from: &str, to: &str) -> crate::wire::Result<Exit> {
        let why = "interrupted; nothing half is left behind";
        say(self.program, why);
        self.exit = Exit::Interrupted;
        self.add(Done { event: None, from: from.into(), to: to.into(), bytes: 0, ms: 0.0, error: Some(why.into()) })?;
        self.finish()
    }

    fn add(&mut self, mut done: Done) -> crate::wire::Result<()> {
        if self.form == Form::JsonStream {
            done.event = Some(if done.error.is_some() { "failed" } else { "done" });
            put_json(&done)?;
        }
        self.results.push(done);
        Ok(())
    }

    /// The summary, and the exit code: that of the first file that failed.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn finish(self) -> crate::wire::Result<Exit> {
        let elapsed = self.started.elapsed();
        let failed = self.results.iter().filter(|done| done.error.is_some()).count();
        let bytes: u64 = self.results.iter().map(|done| done.bytes).sum();
        let files = self.results.len() - failed;
        if self.form == Form::Text {
            if !self.quiet && (self.results.len() > 1 || self.verbose) {
                let text = format!("{files} files, {bytes} bytes in {:.1} s, {failed} failed", elapsed.as_secs_f64());
                say(self.program, &text);
            }
            return Ok(self.exit);
        }
        let is_stream = self.form == Form::JsonStream;
        put_json(&Summary {
            event: is_stream.then_some("summary"),
            files,
            failed,
            bytes,
            ms: millis(elapsed),
            exit_code: self.exit.code(),
            results: if is_stream { &[] } else { &self.results },
        })?;
        Ok(self.exit)
    }
}

/// Whether the line can still be used after this error.
pub fn is_in_step(error: &crate::wire::Error) -> bool {
    use crate::wire::Error;
    match error {
        Error::Refused(refusal) => !refusal.code.closes_line(),
        Error::Ours { .. } => true,
        Error::PeerMisbehaved(_) | Error::LineLost(_) => false,
    }
}
