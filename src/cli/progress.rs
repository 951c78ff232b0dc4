//! One progress line on standard error, at a terminal only unless it is requested: by an option, or by the
//! signal USR1.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::human;
use crate::cli::output::say;
use crate::printable::printable;

/// When to show progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// If standard error is a terminal
    Auto,
    /// Always: a line now and then where it is no terminal
    Always,
    /// Never
    Never,
}

/// Ten a second are enough for an eye.
const DRAW_RATE_HZ: u8 = 10;
/// Time between lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(2);
/// What is moved faster than this shows no bar.
const BAR_AFTER: Duration = Duration::from_millis(200);

/// Before, a rate says nothing.
const PACE_AFTER: Duration = Duration::from_millis(200);

/// Size in bytes from which a file is named in the answer to SIGUSR1.
const NAMED_LEN_MIN: u64 = 1024 * 1024;

/// Requests a progress line, for SIGUSR1.
static IS_ASKED: AtomicBool = AtomicBool::new(false);

/// Asks whatever moves to say how far it is.
pub fn ask() {
    IS_ASKED.store(true, Ordering::Release);
}

/// Number of listed files between two updates.
const SHOWN_EVERY: u64 = 256;

/// The progress of one run.
#[derive(Debug)]
pub struct Progress {
    form: BarForm,
    started: Instant,
    name: String,
    files: u64,
    files_done: u64,
    bytes: u64,
    bytes_done: u64,
    /// Bytes that were there before, or are the same: no part of the rate.
    bytes_saved: u64,
    /// Bytes that were compared, which moves none.
    bytes_compared: u64,
    /// Of `bytes_done` and `bytes_saved`, what the present file has brought: it may begin again.
    present: (u64, u64),
    is_all_listed: bool,
}

#[derive(Debug)]
enum BarForm {
    None,
    /// A line now and then; when the next is due.
    Lines(Instant),
    /// A bar, once it is worth one.
    Bar(Option<ProgressBar>),
}

impl Progress {
    /// The progress of a run that begins now.
    pub fn new(when: When, quiet: bool) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let form = match when {
            _ if quiet => BarForm::None,
            When::Never => BarForm::None,
            When::Auto if !is_terminal => BarForm::None,
            When::Always if !is_terminal => BarForm::Lines(Instant::now()),
            When::Auto | When::Always => BarForm::Bar(None),
        };
        Self {
            form,
            started: Instant::now(),
            name: String::new(),
            files: 0,
            files_done: 0,
            bytes: 0,
            bytes_done: 0,
            bytes_saved: 0,
            bytes_compared: 0,
            present: (0, 0),
            is_all_listed: false,
        }
    }

    /// A file was found.
    pub fn listed(&mut self, size: u64) {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(size);
        if self.files.is_multiple_of(SHOWN_EVERY) {
            self.show();
        }
    }

    /// All were.
    pub const fn listed_all(&mut self) {
        self.is_all_listed = true;
    }

    /// Bytes that were compared, or (0) directories were looked at.
    pub fn works(&mut self, bytes: u64) {
        self.bytes_compared = self.bytes_compared.saturating_add(bytes);
        self.show();
    }

    /// A file need not move.
    pub fn done_without(&mut self, size: u64) {
        self.files_done += 1;
        self.bytes_done = self.bytes_done.saturating_add(size);
        self.bytes_saved = self.bytes_saved.saturating_add(size);
        self.show();
    }

    /// A file of `size` bytes begins, of which `there` bytes are there already.
    pub fn begin(&mut self, name: impl FnOnce() -> String, size: u64, there: u64) {
        // A small file is complete before an answer with its name could be read.
        if !matches!(self.form, BarForm::None) || size >= NAMED_LEN_MIN {
            self.name = printable(&name()).into_owned();
        }
        self.present = (0, 0);
        self.add(there, there);
    }

    /// The present file begins anew: what it has brought does not count.
    pub const fn again(&mut self) {
        self.bytes_done = self.bytes_done.saturating_sub(self.present.0);
        self.bytes_saved = self.bytes_saved.saturating_sub(self.present.1);
        self.present = (0, 0);
    }

    const fn add(&mut self, done: u64, saved: u64) {
        self.bytes_done = self.bytes_done.saturating_add(done);
        self.bytes_saved = self.bytes_saved.saturating_add(saved);
        self.present = (self.present.0.saturating_add(done), self.present.1.saturating_add(saved));
    }

    /// Bytes that have moved.
    pub fn moved(&mut self, bytes: u64) {
        self.add(bytes, 0);
        self.show();
    }

    /// Bytes that need not move.
    pub fn skimmed(&mut self, bytes: u64) {
        self.add(bytes, bytes);
        self.show();
    }

    /// A file is where it belongs.
    pub const fn done(&mut self) {
        self.files_done += 1;
    }

    /// All is listed once more, after the connection was lost.
    pub fn begin_again(&mut self) {
        (self.files, self.files_done, self.bytes, self.bytes_done, self.bytes_saved) = (0, 0, 0, 0, 0);
        (self.present, self.started) = ((0, 0), Instant::now());
        self.is_all_listed = false;
    }

    fn show(&mut self) {
        if IS_ASKED.load(Ordering::Relaxed) && IS_ASKED.swap(false, Ordering::AcqRel) {
            self.say("progress", &self.line());
        }
        let pace = match self.form {
            BarForm::Bar(_) if self.started.elapsed() >= BAR_AFTER => self.pace(),
            _ => String::new(),
        };
        match &mut self.form {
            BarForm::None => {}
            BarForm::Lines(next) => {
                if Instant::now() >= *next {
                    *next = Instant::now() + LINE_INTERVAL;
                    say("progress", &self.line());
                }
            }
            BarForm::Bar(None) if self.started.elapsed() < BAR_AFTER => {}
            BarForm::Bar(bar) => {
                let bar = bar.get_or_insert_with(new_bar);
                if self.is_all_listed {
                    bar.set_length(self.bytes);
                }
                bar.set_position(self.bytes_done);
                let more = if self.is_all_listed { "" } else { "+" };
                let count =
                    if self.files > 1 { format!(" {}/{}{more}", self.files_done, self.files) } else { String::new() };
                bar.set_prefix(format!("{}{count}", self.name));
                // A body of the web may not say how long it is.
                let all = if self.bytes > 0 { format!("/{}", human::size(self.bytes)) } else { String::new() };
                bar.set_message(format!("{}{all} {pace}", human::size(self.bytes_done)));
            }
        }
    }

    /// One line: file, percent, bytes, rate, time left, files.
    fn line(&self) -> String {
        let Self { name, files, files_done, bytes, bytes_done, .. } = self;
        let more = if self.is_all_listed { "" } else { "+ (still listing)" };
        let percent = bytes_done.saturating_mul(100).checked_div(*bytes).unwrap_or(100);
        format!("{name} {percent}% {bytes_done} of {bytes} bytes, {}, {files_done} of {files}{more} files", self.pace())
    }

    /// Bytes a second and the time left, of what has to move: what was there already says nothing about that.
    fn pace(&self) -> String {
        let elapsed = self.started.elapsed();
        if elapsed < PACE_AFTER {
            return "?/s, ? left".to_owned();
        }
        let compared = match self.bytes_compared {
            0 => String::new(),
            bytes => format!(", {} compared", human::size(bytes)),
        };
        let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = self.bytes_done.saturating_sub(self.bytes_saved).saturating_mul(1000) / ms;
        let left = self.bytes.saturating_sub(self.bytes_done).checked_div(rate);
        let left = left.map(|seconds| human::time(Duration::from_secs(seconds)));
        format!("{}/s, {} left{compared}", human::size(rate), left.as_deref().unwrap_or("?"))
    }

    /// Says something above the line.
    pub fn say(&self, program: &str, remark: &str) {
        match &self.form {
            BarForm::Bar(Some(bar)) => bar.suspend(|| say(program, remark)),
            _ => say(program, remark),
        }
    }

    /// Removes the line; remarks come after it.
    pub fn clear(&mut self) {
        if let BarForm::Bar(bar) = &mut self.form
            && let Some(bar) = bar.take()
        {
            bar.finish_and_clear();
        }
    }
}

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(DRAW_RATE_HZ));
    let template = "{prefix} {percent:>3}% {msg} [{wide_bar}]";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}
