//! What `udp-echo ping` says while it runs: lines for a person, events for a program, samples in a file.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::cli::output::{put_json, say, tell};
use crate::cli::udp_echo::args::PROGRAM;
use crate::cli::udp_echo::report::ms;
use crate::udp::ping::PingEvent;
use crate::udp::tally::AnswerKind;

pub(super) const NOBODY_YET: &str = "no server is there yet; waiting, Ctrl-C ends";

/// What is printed for each event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    /// A line for a person.
    Text,
    /// A JSON object.
    Json,
    /// Nothing.
    Nothing,
}

/// Where events go, as they happen.
pub(super) struct Screen {
    pub(super) lines: Lines,
    pub(super) size: usize,
    pub(super) timeout: Duration,
    samples: Option<Samples>,
    gone: bool,
    failed: Option<anyhow::Error>,
}

impl Screen {
    pub(super) fn new(lines: Lines, size: usize, timeout: Duration) -> Self {
        Self { lines, size, timeout, samples: None, gone: false, failed: None }
    }

    /// Writes a line for each event to `path` too.
    pub(super) fn with_samples(mut self, path: &Path) -> Result<Self> {
        self.samples = Some(Samples::create(path)?);
        Ok(self)
    }

    /// Shows an event; what cannot be written ends the run.
    pub(super) fn show(&mut self, event: &PingEvent<'_>) -> ControlFlow<()> {
        let shown = self.put(event);
        match shown {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failed = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    /// Completes the file of samples; the error of the run, if something could not be written.
    pub(super) fn finish(self) -> Result<()> {
        match self.failed {
            Some(error) => Err(error),
            None => self.samples.map_or(Ok(()), Samples::finish),
        }
    }

    fn put(&mut self, event: &PingEvent<'_>) -> Result<()> {
        match event {
            PingEvent::NoServer => self.say_gone(NOBODY_YET),
            PingEvent::Gone => self.say_gone("the server is not there any more; going on"),
            PingEvent::Answered { .. } => self.gone = false,
            PingEvent::Overdue { .. } | PingEvent::Damaged { .. } => {}
        }
        if let Some(samples) = &mut self.samples {
            samples.put(event)?;
        }
        match self.lines {
            Lines::Nothing => {}
            Lines::Json => put_json(&object(event))?,
            Lines::Text => {
                if let Some(line) = self.line(event) {
                    tell(&line)?;
                }
            }
        }
        Ok(())
    }

    fn say_gone(&mut self, text: &str) {
        if !std::mem::replace(&mut self.gone, true) {
            say(PROGRAM, text);
        }
    }

    fn line(&self, event: &PingEvent<'_>) -> Option<String> {
        let size = self.size;
        Some(match event {
            PingEvent::Answered { from, sequence, answer: AnswerKind::First { rtt, late, reordered }, .. } => {
                let remark = match (late, reordered) {
                    (true, _) => ", too late",
                    (false, true) => ", out of order",
                    (false, false) => "",
                };
                format!("{size} bytes from {from}: seq={sequence} time={:.3} ms{remark}\n", ms(*rtt))
            }
            PingEvent::Answered { from, sequence, answer: AnswerKind::Duplicate, .. } => {
                format!("{size} bytes from {from}: seq={sequence}, once more\n")
            }
            PingEvent::Overdue { sequence, .. } => {
                format!("seq={sequence}: no answer within {}\n", humantime::format_duration(self.timeout))
            }
            PingEvent::Damaged { len } => {
                format!("{len} bytes that are not what was sent: does the server echo, and as much as {size} bytes?\n")
            }
            PingEvent::NoServer | PingEvent::Gone => return None,
        })
    }
}

/// An event, for `--json-stream`.
fn object(event: &PingEvent<'_>) -> Value {
    match event {
        PingEvent::Answered { sequence, sent, answer: AnswerKind::First { rtt, late, reordered }, .. } => json!({
            "event": "answer", "sequence": sequence, "sent_ms": ms(*sent), "rtt_ms": ms(*rtt), "late": late,
            "reordered": reordered,
        }),
        PingEvent::Answered { sequence, sent, answer: AnswerKind::Duplicate, .. } => {
            json!({ "event": "duplicate", "sequence": sequence, "sent_ms": ms(*sent) })
        }
        PingEvent::Overdue { sequence, sent } => {
            json!({ "event": "overdue", "sequence": sequence, "sent_ms": ms(*sent) })
        }
        PingEvent::Damaged { len } => json!({ "event": "damaged", "size": len }),
        PingEvent::NoServer => json!({ "event": "no_server" }),
        PingEvent::Gone => json!({ "event": "gone" }),
    }
}

/// The file of `--csv`: a line for each answer, and for each probe without one.
struct Samples {
    file: BufWriter<File>,
    name: String,
}

impl Samples {
    fn create(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let file = File::create(path).with_context(|| format!("{name}: cannot be written"))?;
        let mut samples = Self { file: BufWriter::new(file), name };
        samples.line("sequence,sent_ms,rtt_ms,result\n")?;
        Ok(samples)
    }

    fn put(&mut self, event: &PingEvent<'_>) -> Result<()> {
        let line = match event {
            PingEvent::Answered { sequence, sent, answer: AnswerKind::First { rtt, late, reordered }, .. } => {
                let result = match (late, reordered) {
                    (true, _) => "late",
                    (false, true) => "reordered",
                    (false, false) => "answer",
                };
                format!("{sequence},{:.6},{:.6},{result}\n", ms(*sent), ms(*rtt))
            }
            PingEvent::Answered { sequence, sent, answer: AnswerKind::Duplicate, .. } => {
                format!("{sequence},{:.6},,duplicate\n", ms(*sent))
            }
            PingEvent::Overdue { sequence, sent } => format!("{sequence},{:.6},,overdue\n", ms(*sent)),
            PingEvent::Damaged { .. } => ",,,damaged\n".to_owned(),
            PingEvent::NoServer | PingEvent::Gone => return Ok(()),
        };
        self.line(&line)
    }

    fn line(&mut self, line: &str) -> Result<()> {
        let written = self.file.write_all(line.as_bytes());
        self.outcome(written)
    }

    fn finish(mut self) -> Result<()> {
        let written = self.file.flush();
        self.outcome(written)
    }

    fn outcome(&self, written: io::Result<()>) -> Result<()> {
        written.with_context(|| format!("{}: cannot be written", self.name))
    }
}
