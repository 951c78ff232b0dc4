//! Tells people and scripts how the files of one run fare.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use crate::cli::args::OutputArgs;
use crate::cli::exit::Exit;
use crate::cli::human;
use crate::cli::output::{put_json, tell};
use crate::cli::progress::{Progress, When};
use crate::cli::transfer::args::{ReportArgs, Selected};
use crate::cli::transfer::names::NamePair;
use crate::cli::transfer::outcome::{FileResult, Results, Summary, TransferEnd};
use crate::error::{Error, Refusal};
use crate::printable::printable;
use crate::session::millis;
use crate::trees::first::FIRST_WINS;
use crate::trees::mirror::MORE_THAN_HALF;
use crate::trees::{Change, Tally, TreeEvent};

/// Tells people and scripts how the files of one run fare.
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
#[derive(Debug)]
pub struct Reporter {
    program: &'static str,
    form: ReportForm,
    quiet: bool,
    verbose: bool,
    dry_run: bool,
    host: Option<String>,
    started: Instant,
    progress: Progress,
    tally: Tally,
    /// Skipped, because an earlier source has them too.
    met: u64,
    results: Results,
    /// Patterns that have selected nothing.
    unmatched: Vec<String>,
    exit: Exit,
    /// Added to the report of a complete file; empty on the tutorials' wires, which carry no digest.
    verified: &'static str,
    /// Files that arrived before the connection was lost, and will be found unchanged.
    arrived_before: u64,
    /// Whether standard error is a terminal.
    for_person: bool,
    /// The last file that is through, for a person who copied one.
    last: String,
}

/// What was told before a first attempt.
#[derive(Debug, Clone, Copy)]
pub(super) struct FirstAttempt {
    tally: Tally,
    met: u64,
    results: usize,
    exit: Exit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReportForm {
    Text,
    Json,
    JsonStream,
}

impl Reporter {
    /// A reporter for one run.
    pub fn new(program: &'static str, output: &OutputArgs, show: &ReportArgs) -> Self {
        let form = match (output.json, show.json_stream) {
            (true, _) => ReportForm::Json,
            (_, true) => ReportForm::JsonStream,
            _ => ReportForm::Text,
        };
        Self {
            program,
            form,
            quiet: output.quiet,
            verbose: output.verbose,
            dry_run: false,
            host: None,
            started: Instant::now(),
            progress: Progress::new(show.progress, output.quiet),
            tally: Tally::default(),
            met: 0,
            results: Results::default(),
            unmatched: Vec::new(),
            exit: Exit::Done,
            verified: ", verified",
            arrived_before: 0,
            for_person: std::io::stderr().is_terminal(),
            last: String::new(),
        }
    }

    /// The same for a run in which nothing is done.
    #[must_use]
    pub const fn in_a_dry_run(mut self, is_dry: bool) -> Self {
        self.dry_run = is_dry;
        self
    }

    /// The same for a wire on which nothing says what was sent.
    #[must_use]
    pub const fn without_digests(mut self) -> Self {
        self.verified = "";
        self
    }

    /// Something happened to a tree.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn event(&mut self, event: TreeEvent<'_>, names: &mut dyn NamePair) -> crate::error::Result<()> {
        if matches!(event, TreeEvent::Unchanged(_)) && self.arrived_before > 0 {
            self.arrived_before -= 1;
        } else {
            self.tally.count(&event);
        }
        match event {
            TreeEvent::Placed { path, name } => names.placed(path, name),
            TreeEvent::Listed(size) => self.progress.listed(size),
            TreeEvent::ListedAll => self.progress.listed_all(),
            TreeEvent::Unchanged(size) => self.progress.done_without(size),
            TreeEvent::Begins { path, size, offset } => {
                self.progress.begin(|| names.from(path), size, offset);
                if self.form == ReportForm::JsonStream {
                    let (from, to) = (names.from(path), names.to(path));
                    put_json(&serde_json::json!(
                        { "event": "start", "from": from, "to": to, "size": size, "offset": offset }
                    ))?;
                }
            }
            TreeEvent::Moved(bytes) => self.progress.moved(bytes),
            TreeEvent::Works(bytes) => self.progress.works(bytes),
            TreeEvent::Saves(_) => {}
            TreeEvent::Skims(bytes) | TreeEvent::Reuses(bytes) => self.progress.skimmed(bytes),
            TreeEvent::Done { path, size } => {
                self.progress.done();
                self.done(|| (names.from(path), names.to(path)), size)?;
            }
            TreeEvent::Failed { path, why } => self.failed_file(names.from(path), names.to(path), why)?,
            // The directory's failure was told; each of what is in it would say the same.
            TreeEvent::FailedWithDir { path, why } => {
                let (from, to) = (names.from(path), names.to(path));
                self.add(FileResult { event: None, from, to, bytes: 0, error: Some(why.message.clone()) })?;
            }
            TreeEvent::Did { change, path, .. } => self.change(change, &names.from(path), &names.to(path))?,
            TreeEvent::Skipped { path, why, has_met } => self.skipped(&names.from(path), why, has_met)?,
            TreeEvent::Mends { path, why } => {
                let from = names.from(path);
                if self.form == ReportForm::JsonStream {
                    put_json(&serde_json::json!({ "event": "mends", "from": from, "why": why }))?;
                }
                if !self.quiet {
                    self.say(&format!("{}: {why}; they come again", printable(&from)));
                }
            }
            TreeEvent::Grew { path } => self.grew(&names.from(path))?,
            TreeEvent::Again { path, why } => {
                self.progress.again();
                let from = names.from(path);
                if self.form == ReportForm::JsonStream {
                    put_json(&serde_json::json!({ "event": "again", "from": from, "why": why }))?;
                }
                if !self.quiet {
                    self.say(&format!("{}: {why}; it begins anew", printable(&from)));
                }
            }
        }
        Ok(())
    }

    fn skipped(&mut self, from: &str, why: &str, has_met: bool) -> crate::error::Result<()> {
        if self.form == ReportForm::JsonStream {
            put_json(&serde_json::json!({ "event": "skipped", "from": from, "why": why }))?;
        }
        self.met += u64::from(has_met);
        // Of those that meet there may be many; the summary has their number.
        if !self.quiet && (!has_met || self.verbose) {
            let text = format!("{}: skipped: {}", printable(from), printable(why));
            self.say(&text);
        }
        Ok(())
    }

    /// A file is skipped since an earlier source has it too, and no tree's event tells of it.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn met_alone(&mut self, from: &str) -> crate::error::Result<()> {
        self.tally.skipped += 1;
        self.skipped(from, FIRST_WINS, true)
    }

    /// A file became longer while it was read.
    fn grew(&mut self, from: &str) -> crate::error::Result<()> {
        if self.form == ReportForm::JsonStream {
            put_json(&serde_json::json!({ "event": "grew", "from": from }))?;
        }
        if !self.quiet {
            let text = "grew while it was read; it is copied as it was when that began";
            self.say(&format!("{}: {text}", printable(from)));
        }
        Ok(())
    }

    /// Something was done beside copying, or would be.
    fn change(&mut self, change: Change, from: &str, to: &str) -> crate::error::Result<()> {
        let (verb, event) = match change {
            Change::Copied => ("copy", "copied"),
            Change::Made => ("make", "made"),
            Change::Linked => ("link", "linked"),
            Change::Removed => ("remove", "removed"),
        };
        match self.form {
            ReportForm::JsonStream => {
                put_json(&serde_json::json!({ "event": event, "from": from, "to": to, "dry_run": self.dry_run }))
            }
            // What a dry run says is what it is for.
            ReportForm::Text if self.dry_run && change == Change::Copied => {
                tell(&format!("would {verb} {} -> {}\n", printable(from), printable(to)))
            }
            ReportForm::Text if self.dry_run => tell(&format!("would {verb} {}\n", printable(to))),
            ReportForm::Text if self.verbose => {
                self.say(&format!("{event} {}", printable(to)));
                Ok(())
            }
            ReportForm::Text | ReportForm::Json => Ok(()),
        }
    }

    /// A file is through that no tree's event tells of.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn done_alone(&mut self, from: &str, to: &str, bytes: u64) -> crate::error::Result<()> {
        self.tally.files += 1;
        self.tally.bytes += bytes;
        self.tally.moved += bytes;
        self.done(|| (from.to_owned(), to.to_owned()), bytes)
    }

    fn done(&mut self, names: impl FnOnce() -> (String, String), bytes: u64) -> crate::error::Result<()> {
        if !self.verbose && self.form == ReportForm::Text {
            if self.for_person && self.tally.files <= 1 {
                self.last = names().0;
            }
            return Ok(());
        }
        let (from, to) = names();
        if self.verbose {
            let text = format!("{} -> {}: {bytes} bytes{}", printable(&from), printable(&to), self.verified);
            self.say(&text);
        }
        self.add(FileResult { event: None, from, to, bytes, error: None })
    }

    fn failed_file(&mut self, from: String, to: String, why: &Refusal) -> crate::error::Result<()> {
        let mut text = if why.message.starts_with(&format!("{from}: ")) {
            why.message.clone()
        } else {
            format!("{from}: {}", why.message)
        };
        if why.message.ends_with(MORE_THAN_HALF) {
            text.push_str("; if that is meant: --force");
        }
        self.say(&printable(&text));
        if self.exit == Exit::Done {
            self.exit = Exit::Failed;
        }
        self.add(FileResult { event: None, from, to, bytes: 0, error: Some(why.message.clone()) })
    }

    /// A file failed, or all that were to move with it; the others go on unless the connection is gone.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn failed(&mut self, from: &str, to: &str, error: &anyhow::Error) -> crate::error::Result<()> {
        let text = format!("{error:#}");
        self.tally.failed += 1;
        self.say(&format!("{}: {}", printable(from), printable(&text)));
        if self.exit == Exit::Done {
            self.exit = Exit::of(error);
        }
        self.add(FileResult { event: None, from: from.into(), to: to.into(), bytes: 0, error: Some(text) })
    }

    /// Bytes of files that have moved until now.
    pub(super) const fn moved(&self) -> u64 {
        self.tally.moved
    }

    /// Attempts begin.
    pub(super) const fn begin(&mut self) -> FirstAttempt {
        self.arrived_before = 0;
        FirstAttempt { tally: self.tally, met: self.met, results: self.results.count(), exit: self.exit }
    }

    /// A connection was lost, and another is tried after `wait`. What arrived counts; all else is met again.
    pub(super) fn retrying(&mut self, error: &anyhow::Error, wait: Duration, before: &FirstAttempt) {
        if !self.quiet {
            let text = format!("{}; connecting again in {} s", printable(&format!("{error:#}")), wait.as_secs());
            self.say(&text);
        }
        self.progress.begin_again();
        // In a dry run nothing arrives.
        let arrived = if self.dry_run { before.tally } else { self.tally };
        let Tally { unchanged, failed, skipped, .. } = before.tally;
        self.tally = Tally { unchanged, failed, skipped, ..arrived };
        self.arrived_before = arrived.files - before.tally.files;
        self.results.forget_failures_after(before.results);
        self.exit = before.exit;
        self.met = before.met;
    }

    /// Prints a remark, unless `--quiet`.
    pub fn remark(&self, text: &str) {
        if !self.quiet {
            self.say(&printable(text));
        }
    }

    /// All went over: a pattern that has selected nothing is probably not what was meant.
    pub fn selected(&mut self, Selected { selection, chosen, .. }: &Selected) {
        if chosen.is_nothing() && selection.include.is_empty() && !selection.exclude.is_empty() {
            self.remark("nothing is left to copy: all of it matches --exclude");
        }
        let unmatched = chosen.unmatched().filter_map(|at| selection.include.get(at));
        self.unmatched = unmatched.cloned().collect();
        for pattern in &self.unmatched {
            self.remark(&format!("--include {pattern}: nothing matches, or all of it matches --exclude"));
        }
    }

    /// A signal came, and nothing more is begun; `left` says what that leaves.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn interrupted(mut self, left: &str) -> crate::error::Result<Exit> {
        self.say(&format!("interrupted; {left}"));
        self.exit = Exit::Interrupted;
        self.finish()
    }

    fn add(&mut self, mut done: FileResult) -> crate::error::Result<()> {
        if self.form == ReportForm::JsonStream {
            done.event = Some(if done.error.is_some() { "failed" } else { "done" });
            return put_json(&done);
        }
        if self.form == ReportForm::Json {
            self.results.add(done);
        }
        Ok(())
    }

    /// The summary, and the exit code: that of the first file that failed.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn finish(mut self) -> crate::error::Result<Exit> {
        self.progress.clear();
        let Tally { files, bytes, unchanged, failed, skipped, removed, reused, saved, .. } = self.tally;
        if self.form == ReportForm::Text {
            let count = files + unchanged + failed + skipped + removed;
            if (count, files) == (1, 1) && self.says_one() {
                return Ok(self.exit);
            }
            let (size, pace) = self.in_words(bytes);
            if !self.quiet && (count > 1 || self.verbose || reused > 0 || skipped > 0) {
                let part = |bytes| if self.for_person { human::size(bytes) } else { u64::to_string(&bytes) };
                let kept =
                    if reused > 0 { format!(", {} of them from what was there", part(reused)) } else { String::new() };
                let same = if unchanged > 0 { format!(", {unchanged} unchanged") } else { String::new() };
                let met = match self.met {
                    0 => String::new(),
                    met => format!(" ({met} that an earlier source has too, which wins)"),
                };
                let odd = if skipped > 0 { format!(", {skipped} skipped{met}") } else { String::new() };
                let removes = if self.dry_run { "to remove" } else { "removed" };
                let gone = if removed > 0 { format!(", {removed} {removes}") } else { String::new() };
                let would = if self.dry_run { "would copy " } else { "" };
                let short = if saved > 0 { format!(", {} saved by compression", part(saved)) } else { String::new() };
                let text = format!(
                    "{would}{files} files, {size}{kept}{short} in {:.1} s{pace}{same}{odd}{gone}, {failed} failed",
                    self.started.elapsed().as_secs_f64()
                );
                self.say(&text);
            }
            return Ok(self.exit);
        }
        put_json(&self.summary())?;
        Ok(self.exit)
    }

    /// Prints the summary for one file that was copied; false where it is not for a person.
    fn says_one(&self) -> bool {
        let says = self.for_person && !self.quiet && !self.verbose && !self.dry_run;
        if says {
            let (size, time) = (human::size(self.tally.bytes), human::time(self.started.elapsed()));
            self.say(&format!("{}, {size}{}, {time}", printable(&self.last), self.verified));
        }
        says
    }

    /// How much was copied, and how fast: rounded for a person, in bytes for a program.
    fn in_words(&self, bytes: u64) -> (String, String) {
        if !self.for_person {
            return (format!("{bytes} bytes"), String::new());
        }
        let pace = human::rate(bytes, self.started.elapsed());
        (human::size(bytes), pace.map(|pace| format!(", {pace}")).unwrap_or_default())
    }

    /// How it ended, for a program.
    fn summary(&self) -> Summary<'_> {
        let Tally { files, bytes, moved, unchanged, failed, skipped, removed, reused, saved } = self.tally;
        let is_stream = self.form == ReportForm::JsonStream;
        Summary {
            event: is_stream.then_some("summary"),
            host: self.host.as_deref(),
            files,
            unchanged,
            skipped,
            met: self.met,
            removed,
            failed,
            bytes,
            moved,
            reused,
            saved,
            ms: millis(self.started.elapsed()),
            exit_code: self.exit.code(),
            results: if is_stream { &[] } else { self.results.as_slice() },
            unmatched: &self.unmatched,
            results_left_out: self.results.left_out,
        }
    }

    /// As [`finish`](Self::finish), for one of several hosts: with `--json` its summary is returned, for all of
    /// them to be printed together.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn finish_host(mut self, ended: TransferEnd) -> crate::error::Result<(Exit, Option<serde_json::Value>)> {
        if ended.is_interrupted() {
            self.exit = Exit::Interrupted;
        }
        if self.form != ReportForm::Json {
            return Ok((self.finish()?, None));
        }
        let summary = serde_json::to_value(self.summary()).map_err(|error| Error::ours("JSON")(error.into()))?;
        Ok((self.exit, Some(summary)))
    }

    /// A remark, of one host if there are several.
    fn say(&self, remark: &str) {
        match &self.host {
            Some(host) => self.progress.say(self.program, &format!("{}: {remark}", printable(host))),
            None => self.progress.say(self.program, remark),
        }
    }

    /// A reporter for one of several hosts: its name stands before each remark, and there is no progress line.
    #[must_use]
    pub fn of_host(mut self, host: String) -> Self {
        self.progress = Progress::new(When::Never, self.quiet);
        self.host = Some(host);
        self
    }
}
