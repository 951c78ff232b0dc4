//! What a person sees of a fetch: the exchange line by line, and how far it is.

use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::args::{Args, PROGRAM};
use crate::cli::progress::{Progress, When};
use crate::cli::signals::Interruption;
use crate::cli::standard;
use crate::http::client::{Event, Observer};
use crate::net::stream::Control;
use crate::printable::printable_bytes;

/// How often it is looked for a signal between two attempts.
const WAIT_STEP: Duration = Duration::from_millis(50);

/// The observer of all fetches of one run.
pub(super) struct Screen<'s> {
    is_verbose: bool,
    is_quiet: bool,
    interruption: &'s Interruption,
    progress: Mutex<Shown>,
}

/// What is shown of the present fetch.
struct Shown {
    progress: Progress,
    name: String,
    /// Whether its length was told already.
    is_listed: bool,
}

impl<'s> Screen<'s> {
    pub(super) fn new(args: &Args, interruption: &'s Interruption) -> Self {
        // Lines of the exchange would run into a bar.
        let when = if args.verbose && args.progress == When::Auto { When::Never } else { args.progress };
        let progress = Progress::new(when, args.quiet);
        let progress = Mutex::new(Shown { progress, name: String::new(), is_listed: false });
        Self { is_verbose: args.verbose, is_quiet: args.quiet, interruption, progress }
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another fetch begins.
    pub(super) fn next(&self, name: &str) {
        let mut shown = self.shown();
        name.clone_into(&mut shown.name);
        shown.is_listed = false;
    }

    /// The present fetch has ended.
    pub(super) fn done(&self) {
        self.shown().progress.done();
    }

    /// Nothing more moves.
    pub(super) fn clear(&self) {
        self.shown().progress.clear();
    }

    /// Says something above the progress line, unless it is to be quiet.
    pub(super) fn say(&self, text: &str) {
        if !self.is_quiet {
            self.shown().progress.say(PROGRAM, text);
        }
    }

    /// One line of the exchange.
    fn line(&self, mark: &str, line: &[u8]) {
        if !self.is_verbose {
            return;
        }
        let between = if line.is_empty() { "" } else { " " };
        let line = format!("{mark}{between}{}\n", printable_bytes(line));
        drop(standard::errors().write_all(line.as_bytes()));
    }
}

impl Observer for Screen<'_> {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Remark(text) => self.line("*", text.as_bytes()),
            Event::Notice(text) => self.say(text),
            Event::Sent(line) => self.line(">", line),
            Event::Received(line) => self.line("<", line),
            Event::Begins { size, there } => {
                let mut shown = self.shown();
                let Shown { progress, name, is_listed } = &mut *shown;
                if std::mem::replace(is_listed, true) {
                    progress.again();
                } else {
                    progress.listed(size.unwrap_or(0));
                    if size.is_some() {
                        progress.listed_all();
                    }
                }
                progress.begin(|| name.clone(), size.unwrap_or(0), there);
            }
            Event::Moved(bytes) => self.shown().progress.moved(bytes),
        }
    }

    fn connected(&self, control: &Control) {
        self.interruption.add(control);
    }

    fn pause(&self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        while Instant::now() < until && !self.interruption.has_come() {
            std::thread::sleep(WAIT_STEP.min(until.saturating_duration_since(Instant::now())));
        }
        !self.interruption.has_come()
    }

    fn is_interrupted(&self) -> bool {
        self.interruption.has_come()
    }
}
