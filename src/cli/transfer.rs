//! What `fget` and `fput` share: their options, what they say about each file, and the summary.

use std::io::{IsTerminal as _, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::args::{duration, one_of, rate, size};
use super::exit::usage;
use super::progress::{Progress, When};
use super::signals::Interruption;
use super::{Exit, human, printable, put_json, tell};
use crate::connection::Connection;
use crate::error::{Error, Refusal};
use crate::session::millis;
use crate::text::without_bom;
use crate::trees::data::{DataOptions, Pace};
use crate::trees::delta::Delta;
use crate::trees::filter::{Chosen, Filter, Selection};
use crate::trees::first::FIRST_WINS;
use crate::trees::mirror::MORE_THAN_HALF;
use crate::trees::pack::Compress;
use crate::trees::shard::CONNECTIONS_MAX;
use crate::trees::{Change, Tally, TreeEvent, WriteOptions};

/// What is copied, and how.
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line, each on its own")]
#[derive(Debug, Clone, Args)]
pub struct CopyArgs {
    /// Directories too, with all that is in them; with a slash behind its name, what is in it
    #[arg(short, long)]
    pub recursive: bool,
    /// Instead of symlinks what they lead to, as far as that is in the tree
    #[arg(long)]
    pub follow: bool,
    /// Leave out modes and modification times
    #[arg(long)]
    pub no_preserve: bool,
    /// Leave it to the system when files reach the disk: faster, and a power cut may cost some
    #[arg(long, env = "LANDLINE_NO_SYNC")]
    pub no_sync: bool,
    /// Begin files anew instead of going on with what an earlier attempt left
    #[arg(long)]
    pub no_resume: bool,
    /// Compare what is there by content, and not by size and modification time
    #[arg(long)]
    pub checksum: bool,
    /// Of a changed file send what changed: auto does so over a network that is not very fast
    #[arg(long, env = "LANDLINE_DELTA", default_value = "auto", value_name = "WHEN",
          value_parser = one_of(&[("auto", Delta::Auto), ("always", Delta::Always), ("never", Delta::Never)]))]
    pub delta: Delta,
    /// Compress what goes over the connection: auto does so where that is faster
    #[arg(long, env = "LANDLINE_COMPRESS", default_value = "auto", value_name = "HOW",
          value_parser = one_of(&[("auto", Compress::Auto), ("zstd", Compress::Zstd), ("none", Compress::None)]))]
    pub compress: Compress,
    /// Leave out what matches PATTERN, written as in a .gitignore; may be given several times, and always wins
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Take only what matches PATTERN, written as in a .gitignore; may be given several times; DIR/ is all below it
    #[arg(long, value_name = "PATTERN")]
    pub include: Vec<String>,
    /// Leave out what matches a line of FILE
    #[arg(long, value_name = "FILE")]
    pub exclude_from: Vec<PathBuf>,
    /// Leave out files over SIZE
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_size: Option<u64>,
    /// Say what would happen, and do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Remove from DEST what the source does not have; not if anything fails, and not more than half
    #[arg(long, requires = "recursive")]
    pub delete: bool,
    /// With --delete: also more than half
    #[arg(long, requires = "delete")]
    pub force: bool,
    /// Send at most so many bytes a second; compressed ones are fewer
    #[arg(long, env = "LANDLINE_BWLIMIT", value_name = "SIZE", value_parser = rate)]
    pub bwlimit: Option<u64>,
    /// With -r: move a tree over N connections at once, which over a long distance carry more than one; not with
    /// --delete
    #[arg(long, env = "LANDLINE_CONNECTIONS", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(CONNECTIONS_MAX)))]
    pub connections: u32,
    /// When nothing moves for so long, neither in nor out, the connection counts as lost; 0: wait without limit
    #[arg(long, env = "LANDLINE_STALL_TIMEOUT", value_name = "DURATION", default_value = "10m", value_parser = duration)]
    pub stall_timeout: Duration,
    /// When the connection is lost, connect again and go on, for so long without success [alone: 10m]
    #[arg(long, env = "LANDLINE_RETRY", value_name = "DURATION", value_parser = duration,
          num_args = 0..=1, require_equals = true, default_missing_value = "10m")]
    pub retry: Option<Duration>,
}

impl CopyArgs {
    /// How a target is to write.
    pub const fn keeping(&self) -> WriteOptions {
        WriteOptions {
            preserve: !self.no_preserve,
            sync: !self.no_sync,
            resume: !self.no_resume,
            checksum: self.checksum,
            delta: self.delta,
            dry_run: self.dry_run,
            delete: self.delete,
            force: self.force,
        }
    }

    /// How a source sends over one connection.
    pub fn out(&self) -> DataOptions {
        let connections = self.connections().try_into().unwrap_or(1);
        DataOptions { bwlimit: self.bwlimit.map(|all| all / connections), compress: self.compress }
    }

    /// What goes through a pipe, at the rate that was asked for.
    pub fn paced<P>(&self, inner: P) -> Paced<P> {
        Paced { inner, pace: self.bwlimit.map(Pace::new) }
    }

    /// A pipe has no second attempt, and its bytes go as they are.
    ///
    /// # Errors
    /// More was asked for.
    pub fn check_for_a_pipe(&self) -> anyhow::Result<()> {
        if self.compress == Compress::Zstd {
            return Err(usage(
                "what goes through a pipe is not compressed; leave --compress out, or pipe through zstd",
            ));
        }
        if self.retry.is_some() {
            return Err(usage("what went through a pipe cannot be asked for again; leave --retry out"));
        }
        Ok(())
    }

    /// Whether a file of `size` bytes may come.
    ///
    /// # Errors
    /// It is larger than what may.
    pub fn check_size(&self, size: u64) -> crate::error::Result<()> {
        match self.max_size {
            Some(max) if size > max => {
                let text = format!("{size} bytes or more, over --max-size");
                Err(Error::ours("the file")(std::io::Error::other(text)))
            }
            _ => Ok(()),
        }
    }

    /// Sets how long nothing may move on a new connection.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn limit_stalls(&self, connection: &Connection) -> anyhow::Result<()> {
        let limit = (!self.stall_timeout.is_zero()).then_some(self.stall_timeout);
        Ok(connection.set_stall(limit).map_err(Error::from)?)
    }

    /// Number of connections to open.
    pub fn connections(&self) -> usize {
        // A failure on one connection is not known on another, where something might be removed.
        let is_one = !self.recursive || self.dry_run || self.delete;
        if is_one { 1 } else { usize::try_from(self.connections).unwrap_or(1) }
    }

    /// What of a tree is meant: what an --include matches, if there is one, and no --exclude leaves out.
    ///
    /// # Errors
    /// A file of patterns cannot be read, or a pattern is none.
    pub fn selection(&self) -> anyhow::Result<Selected> {
        let mut exclude = Vec::new();
        for file in &self.exclude_from {
            let text = std::fs::read(file).and_then(|bytes| std::io::read_to_string(without_bom(&bytes)));
            let text = text.map_err(Error::ours(file.display().to_string()))?;
            exclude.extend(text.lines().map(str::to_owned));
        }
        exclude.extend(self.exclude.iter().cloned());
        let selection = Selection { exclude, include: self.include.clone(), max_size: self.max_size };
        let filter = Filter::new(&selection).map_err(|why| usage(why.message))?;
        let chosen = Arc::new(Chosen::of(&selection).map_err(|why| usage(why.message))?);
        Ok(Selected { filter: filter.telling(&chosen), selection, chosen })
    }
}

/// What of a tree is meant, and what came of it.
#[derive(Debug, Clone)]
pub struct Selected {
    /// As it goes over the wire.
    pub selection: Selection,
    /// Ready for use; it tells what came.
    pub filter: Filter,
    chosen: Arc<Chosen>,
}

/// A pipe, at a rate.
#[derive(Debug)]
pub struct Paced<P> {
    /// The pipe.
    pub inner: P,
    pace: Option<Pace>,
}

impl<P> Paced<P> {
    /// So many bytes went through.
    pub fn keep(&mut self, bytes: usize) {
        if let Some(pace) = &mut self.pace {
            pace.keep(bytes, &AtomicBool::new(false));
        }
    }
}

impl<P: Read> Read for Paced<P> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = self.inner.read(buffer)?;
        self.keep(len);
        Ok(len)
    }
}

/// How transfers are shown.
#[derive(Debug, Clone, Args)]
pub struct Show {
    /// Print one JSON event a line as it happens: start, again, done, failed, skipped, summary
    #[arg(long, conflicts_with = "json")]
    pub json_stream: bool,
    /// When to show progress
    #[arg(long, env = "LANDLINE_PROGRESS", default_value = "auto", value_name = "WHEN")]
    pub progress: When,
}

/// Both names of a file, as a person writes them.
pub trait NamePair {
    /// Where the file at `path` of the tree comes from.
    fn from(&self, path: &[u8]) -> String;
    /// Where it goes.
    fn to(&self, path: &[u8]) -> String;
    /// The target has said where it all goes.
    fn placed(&mut self, path: &[u8], name: Option<&[u8]>);
}

/// A file that is through, or failed.
#[derive(Debug, Clone, Serialize)]
struct Done {
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'static str>,
    from: String,
    to: String,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Summary<'s> {
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'s str>,
    files: u64,
    unchanged: u64,
    skipped: u64,
    /// Of the skipped ones, those that an earlier source has too.
    met: u64,
    removed: u64,
    failed: u64,
    /// Of the files that arrived.
    bytes: u64,
    /// Of files, that went over the connection.
    moved: u64,
    /// Of files, that were taken from what was there.
    reused: u64,
    /// Of those that moved, what compression kept off the connection.
    saved: u64,
    ms: f64,
    exit_code: u8,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    results: &'s [Done],
    /// Each --include that has selected nothing.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    unmatched: &'s [String],
    /// Failed files that are not in `results`.
    #[serde(skip_serializing_if = "is_zero")]
    results_left_out: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A tree has more files than anybody wants in one JSON object: of so many each is named, of more the failed ones.
const RESULTS_MAX: usize = 1_000;
/// Bytes of memory for them: a server that makes everything fail is not to fill it.
pub const RESULTS_LEN_MAX: usize = 16 * 1024 * 1024;

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
    results: Vec<Done>,
    /// Bytes that they take.
    results_len: usize,
    /// Failed ones for which there was no room.
    results_left_out: u64,
    /// Patterns that have selected nothing.
    unmatched: Vec<String>,
    exit: Exit,
    /// What can be said of a file that is through: the tutorials' wires carry no digest.
    verified: &'static str,
    /// Files that arrived before the connection was lost, and will be found unchanged.
    arrived_before: u64,
    /// Whether a person reads what is said.
    for_person: bool,
    /// The last file that is through, for a person who copied one.
    last: String,
}

/// What was told before a first attempt.
#[derive(Debug, Clone, Copy)]
struct FirstAttempt {
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
    /// A teller for one run.
    pub fn new(program: &'static str, talk: &super::args::OutputArgs, show: &Show) -> Self {
        let form = match (talk.json, show.json_stream) {
            (true, _) => ReportForm::Json,
            (_, true) => ReportForm::JsonStream,
            _ => ReportForm::Text,
        };
        Self {
            program,
            form,
            quiet: talk.quiet,
            verbose: talk.verbose,
            dry_run: false,
            host: None,
            started: Instant::now(),
            progress: Progress::new(show.progress, talk.quiet),
            tally: Tally::default(),
            met: 0,
            results: Vec::new(),
            results_len: 0,
            results_left_out: 0,
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
            TreeEvent::Failed { path, why } => self.failed_file((names.from(path), names.to(path)), why)?,
            // The directory's failure was told; each of what is in it would say the same.
            TreeEvent::FailedWithDir { path, why } => {
                let (from, to) = (names.from(path), names.to(path));
                self.add(Done { event: None, from, to, bytes: 0, error: Some(why.message.clone()) })?;
            }
            TreeEvent::Did { deed, path, .. } => self.deed(deed, &names.from(path), &names.to(path))?,
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
    fn deed(&mut self, deed: Change, from: &str, to: &str) -> crate::error::Result<()> {
        let (verb, event) = match deed {
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
            ReportForm::Text if self.dry_run && deed == Change::Copied => {
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
        self.add(Done { event: None, from, to, bytes, error: None })
    }

    fn failed_file(&mut self, (from, to): (String, String), why: &Refusal) -> crate::error::Result<()> {
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
        self.add(Done { event: None, from, to, bytes: 0, error: Some(why.message.clone()) })
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
        self.add(Done { event: None, from: from.into(), to: to.into(), bytes: 0, error: Some(text) })
    }

    /// Attempts begin.
    const fn begin(&mut self) -> FirstAttempt {
        self.arrived_before = 0;
        FirstAttempt { tally: self.tally, met: self.met, results: self.results.len(), exit: self.exit }
    }

    /// A connection was lost, and another is tried after `wait`. What arrived counts; all else is met again.
    fn retrying(&mut self, error: &anyhow::Error, wait: Duration, before: &FirstAttempt) {
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
        let mut at = 0..;
        self.results.retain(|done| at.next() < Some(before.results) || done.error.is_none());
        self.exit = before.exit;
        self.met = before.met;
    }

    /// Something worth saying, unless nobody wants to hear anything.
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

    fn add(&mut self, mut done: Done) -> crate::error::Result<()> {
        if self.form == ReportForm::JsonStream {
            done.event = Some(if done.error.is_some() { "failed" } else { "done" });
            return put_json(&done);
        }
        if self.form == ReportForm::Json && (done.error.is_some() || self.results.len() < RESULTS_MAX) {
            let len = done.from.len() + done.to.len() + done.error.as_ref().map_or(0, String::len) + size_of::<Done>();
            if self.results_len + len > RESULTS_LEN_MAX {
                self.results_left_out += 1;
            } else {
                self.results_len += len;
                self.results.push(done);
            }
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

    /// Tells a person of the one file that was copied; false where nobody wants to hear of it.
    fn says_one(&self) -> bool {
        let says = self.for_person && !self.quiet && !self.verbose && !self.dry_run;
        if says {
            let (size, time) = (human::size(self.tally.bytes), human::time(self.started.elapsed()));
            self.say(&format!("{}, {size}{}, {time}", printable(&self.last), self.verified));
        }
        says
    }

    /// How much was copied, and how fast, as whoever reads it wants it.
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
            results: if is_stream { &[] } else { &self.results },
            unmatched: &self.unmatched,
            results_left_out: self.results_left_out,
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

    /// One of several hosts, whose name stands before what is said; progress would be a mess.
    #[must_use]
    pub fn of_host(mut self, host: String) -> Self {
        self.progress = Progress::new(When::Never, self.quiet);
        self.host = Some(host);
        self
    }
}

/// What an interruption leaves behind.
pub const GO_ON: &str = "to go on where it was, run the same command again";

/// How a transfer ended that was not given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferEnd {
    /// What happened was told.
    Told,
    /// A signal came.
    Interrupted,
}

impl TransferEnd {
    /// Whether nothing more is to be begun.
    pub const fn is_interrupted(self) -> bool {
        matches!(self, Self::Interrupted)
    }
}

/// Runs `attempt`, again and again as far as `copy` allows; a failure that remains
/// is told of `from` and `to`.
///
/// # Errors
/// Standard output is closed.
pub fn with_retries(
    teller: &mut Reporter,
    (copy, interruption): (&CopyArgs, &Interruption),
    (from, to): (&str, &str),
    mut attempt: impl FnMut(&mut Reporter) -> anyhow::Result<()>,
) -> anyhow::Result<TransferEnd> {
    let mut retries = Retries::new(copy);
    let begun = teller.begin();
    loop {
        let before = teller.tally.moved;
        let error = match attempt(teller) {
            Ok(()) => return Ok(TransferEnd::Told),
            // What was whole by then is kept, and was said to be.
            Err(_) if interruption.has_come() => return Ok(TransferEnd::Interrupted),
            Err(error) if super::is_closed_stdout(&error) => return Err(error),
            Err(error) => error,
        };
        if teller.tally.moved > before {
            retries.moved();
        }
        let Some(wait) = retries.next(&error) else {
            teller.failed(from, to, &error)?;
            if matches!(error.downcast_ref(), Some(Error::ConnectionLost(_))) {
                teller.remark(&format!("{GO_ON}, or with --retry"));
            }
            return Ok(TransferEnd::Told);
        };
        teller.retrying(&error, wait, &begun);
        let until = Instant::now() + wait;
        while Instant::now() < until {
            if interruption.has_come() {
                return Ok(TransferEnd::Interrupted);
            }
            std::thread::sleep(WAIT_STEP);
        }
    }
}

/// A signal is noticed so soon between two attempts.
const WAIT_STEP: Duration = Duration::from_millis(50);
/// Longest wait between two attempts to connect.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(30);

/// Attempts to connect again, further and further apart, until none has helped for long enough.
#[derive(Debug)]
pub struct Retries {
    limit: Option<Duration>,
    wait: Duration,
    since: Option<Instant>,
}

impl Retries {
    /// As many as `copy` says.
    pub const fn new(copy: &CopyArgs) -> Self {
        Self { limit: copy.retry, wait: Duration::from_secs(1), since: None }
    }

    /// Something moved: what failed before is forgotten.
    pub const fn moved(&mut self) {
        self.wait = Duration::from_secs(1);
        self.since = None;
    }

    /// How long to wait before the next attempt; `None`: there is none.
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
