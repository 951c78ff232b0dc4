//! One progress line on standard error, at a terminal only unless it is asked for.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::printable;

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
/// Without a terminal nobody wants more than a line every few seconds.
const LINE_INTERVAL: Duration = Duration::from_secs(2);

/// The progress of one file.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    plain: Option<Plain>,
}

#[derive(Debug)]
struct Plain {
    name: String,
    total: u64,
    next: std::time::Instant,
}

impl Progress {
    /// Progress of `name`, which has `total` bytes.
    pub fn new(when: When, quiet: bool, name: &str, total: u64) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let name = printable(name).into_owned();
        if quiet || when == When::Never || (when == When::Auto && !is_terminal) {
            return Self { bar: None, plain: None };
        }
        if !is_terminal {
            return Self { bar: None, plain: Some(Plain { name, total, next: std::time::Instant::now() }) };
        }
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(DRAW_RATE_HZ));
        let template = "{msg} {percent:>3}% {bytes}/{total_bytes} {bytes_per_sec} {eta} [{wide_bar}]";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(name);
        Self { bar: Some(bar), plain: None }
    }

    /// So many bytes are through.
    pub fn at(&mut self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
        }
        if let Some(plain) = &mut self.plain
            && std::time::Instant::now() >= plain.next
        {
            plain.next += LINE_INTERVAL;
            let percent = bytes.saturating_mul(100).checked_div(plain.total).unwrap_or(100);
            super::say(&plain.name, &format!("{percent}% {bytes} of {} bytes", plain.total));
        }
    }

    /// Takes the line away; what there is to say is said after it.
    pub fn clear(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
