//! GET of a directory with `?search`: names in it and below it, sent as they are found.
//!
//! The directory itself comes first, then what is in its directories, level by level. No symlink is followed. The
//! answer says how the search ended: what a limit cut short never looks whole.

use std::collections::{HashSet, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::http::StatusCode;
use ::http::header::{self, HeaderValue};

use super::exchange::Exchange;
use super::problem::{Problem, Result};
use super::response::{BodyWriter, Response, ResponseBody};
use super::state::Permit;
use super::tree::is_none;
use super::{directory, page};
use crate::fs;
use crate::fs::below::{Below, DEPTH_MAX, OpenDir};
use crate::fs::root::{FileKind, Look, Root, RootPath, ShownDir};
use crate::http::listing::{
    FoundEnd, ListEntry, ListForm, ListKind, NAME_COST, Names, SORT_COST, Words, json_found, json_found_end,
    json_looked, text_entry,
};
use crate::http::page::{PageKind, PagePlace, SearchEnd, SearchPage, SearchStrings, SearchSum};
use crate::memory::{Budget, ENTRY_COST, Over, Taken};

/// Names that one search finds.
pub const SEARCH_RESULTS_MAX: u64 = 1_000;
/// How long one search looks.
pub const SEARCH_TIME_MAX: Duration = Duration::from_secs(10);
/// Searches that run at the same time: each is the work of a thread.
pub const SEARCHES_MAX: usize = 16;
/// Directories that one search keeps open.
const DIRS_OPEN: usize = 8;
/// A search that finds nothing for so long says that it is still there; a client that is gone ends it so.
const SIGN_OF_LIFE: Duration = Duration::from_millis(250);
/// Entries between two looks at the clock.
const ENTRIES_A_LOOK: u64 = 256;

/// The answer to a search for `term` in the directory `path` and below it; `None`: the term has no word.
///
/// # Errors
/// What the client is told instead.
pub(super) fn get(exchange: &Exchange<'_>, path: &RootPath, term: &str) -> Result<Option<Response>> {
    let bad = |error: &dyn std::fmt::Display| Problem::new(StatusCode::BAD_REQUEST, error.to_string());
    let Some(words) = Words::of(term).map_err(|error| bad(&error))? else { return Ok(None) };
    let permit = exchange.state.searches.take().ok_or_else(|| {
        let message = format!("{SEARCHES_MAX} searches run, which is the limit; try again later");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, message).with_text(header::RETRY_AFTER, "10")
    })?;
    let session = &exchange.session;
    let budget = session.memory.budget();
    let search = Search {
        root: Arc::clone(&session.root),
        base: ShownDir::open(&session.root, path)?,
        path: path.clone(),
        words,
        shows_hidden: exchange.state.options.shows_hidden,
        taken: Taken::of(&budget),
        budget,
        sum: SearchSum { found: 0, looked: 0, unreadable: 0, end: SearchEnd::Whole },
        deadline: Instant::now() + SEARCH_TIME_MAX,
        said: Instant::now(),
        _permit: permit,
    };
    let has = |name: &str| exchange.head.target.parameter(name).is_some();
    match directory::accepted(exchange) {
        _ if has("json") => return Ok(Some(search.json())),
        ListForm::Html if !has("text") => {}
        ListForm::Json if !has("text") => return Ok(Some(search.json())),
        _ => return Ok(Some(search.text())),
    }
    let frame = page::frame(exchange, PageKind::Search, PagePlace::of(&path.to_absolute(), true));
    let strings = &frame.strings.search;
    let mut frame = frame;
    frame.tab = Some(strings.of_term(term));
    let pieces = SearchPage { frame, term }.pieces().map_err(page::unmade)?;
    Ok(Some(page::with_headers(exchange.head, search.html(strings, pieces))))
}

/// A search that runs.
struct Search {
    root: Arc<Root>,
    base: ShownDir,
    path: RootPath,
    words: Words,
    shows_hidden: bool,
    budget: Budget,
    /// What the directories take that are still to be looked at.
    taken: Taken,
    sum: SearchSum,
    deadline: Instant,
    /// When something was sent last.
    said: Instant,
    _permit: Permit,
}

/// Where findings go.
trait Findings {
    fn found(&mut self, folder: &[u8], entry: &ListEntry<'_>) -> io::Result<()>;

    /// `count` entries were looked at so far.
    fn looked(&mut self, count: u64) -> io::Result<()>;
}

/// Why a search stops.
enum Stop {
    End(SearchEnd),
    /// The directory cannot be read.
    Unreadable,
    Gone(io::Error),
}

impl From<fs::Error> for Stop {
    fn from(_error: fs::Error) -> Self {
        Self::Unreadable
    }
}

impl From<Over> for Stop {
    fn from(over: Over) -> Self {
        Self::End(if matches!(over, Over::Looks(_)) { SearchEnd::Entries } else { SearchEnd::Memory })
    }
}

impl Search {
    fn html(self, words: &'static SearchStrings, [front, between, back]: [String; 3]) -> Response {
        let write = move |to: &mut dyn BodyWriter| {
            to.write_all(front.as_bytes())?;
            to.flush()?;
            let mut rows = Rows { to, words };
            let sum = self.run(&mut rows)?;
            rows.to.write_all([&between, words.end(&sum).as_str(), &back].concat().as_bytes())
        };
        streamed(Box::new(write))
    }

    fn json(self) -> Response {
        let write = move |to: &mut dyn BodyWriter| {
            let mut lines = Lines { to };
            let sum = self.run(&mut lines)?;
            let ended_by = match sum.end {
                SearchEnd::Whole => None,
                SearchEnd::Results(_) => Some("results"),
                SearchEnd::Time(_) => Some("time"),
                SearchEnd::Entries => Some("entries"),
                SearchEnd::Memory => Some("memory"),
            };
            let SearchSum { found, looked, unreadable, .. } = sum;
            lines.to.write_all(&json_found_end(&FoundEnd { found, looked, unreadable, ended_by })?)
        };
        streamed(Box::new(write))
            .with(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"))
            .with(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"))
    }

    /// Paths for a shell, one a line. What a limit cut short ends with an empty line, which no path is, and the reason.
    fn text(self) -> Response {
        let write = move |to: &mut dyn BodyWriter| {
            let mut paths = Paths { to };
            let sum = self.run(&mut paths)?;
            let end = match sum.end {
                SearchEnd::Whole => None,
                SearchEnd::Results(max) => Some(format!("there are more: {max} are found at most")),
                SearchEnd::Time(seconds) => Some(format!("not all was looked at: a search takes {seconds} s at most")),
                SearchEnd::Entries => Some("not all was looked at: there are too many entries".into()),
                SearchEnd::Memory => Some("not all was looked at: it would take too much memory".into()),
            };
            let unread = (sum.unreadable > 0).then(|| format!("{} directories could not be read", sum.unreadable));
            let notes: Vec<String> = unread.into_iter().chain(end).collect();
            if notes.is_empty() { Ok(()) } else { paths.to.write_all(format!("\n{}\n", notes.join("; ")).as_bytes()) }
        };
        directory::with_headers(streamed(Box::new(write)), "text/plain; charset=utf-8")
    }

    fn run(mut self, to: &mut dyn Findings) -> io::Result<SearchSum> {
        let hidden = self.root.hidden_now()?;
        let mut dirs = Below::holding(DIRS_OPEN);
        let mut waiting: VecDeque<Vec<u8>> = VecDeque::from([Vec::new()]);
        while let Some(folder) = waiting.pop_front() {
            match self.look_into(&folder, (&mut dirs, &hidden), &mut waiting, to) {
                Ok(()) => {}
                Err(Stop::Unreadable) => self.sum.unreadable += 1,
                Err(Stop::Gone(error)) => return Err(error),
                Err(Stop::End(end)) => {
                    self.sum.end = end;
                    break;
                }
            }
        }
        Ok(self.sum)
    }

    /// Looks at all names in one directory; those of directories go to `waiting`.
    fn look_into(
        &mut self,
        folder: &[u8],
        (dirs, hidden): (&mut Below, &HashSet<(u64, u64)>),
        waiting: &mut VecDeque<Vec<u8>>,
        to: &mut dyn Findings,
    ) -> std::result::Result<(), Stop> {
        let OpenDir { dir: base, .. } = self.base.opened();
        let dir = match dirs.at(&base, folder, |dir, name| self.root.open_dir_in(dir, name)) {
            Ok(open) => ShownDir::of(&self.root, open),
            // It went away meanwhile, or is not for visitors.
            Err(error) if is_none(&error) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if hidden.contains(&dir.itself()?.identity) {
            return Ok(());
        }
        let (mut matching, mut below, mut held) = (Names::default(), Names::default(), Taken::of(&self.budget));
        let mut room = String::new();
        dir.for_each_name(|name, kind| {
            if name.starts_with(b".") && !self.shows_hidden {
                return Ok(());
            }
            self.count(to)?;
            let cost = 2 * name.len() + NAME_COST + SORT_COST;
            if self.words.are_in(name, &mut room) {
                held.take(cost)?;
                matching.push(name, if kind == FileKind::Dir { ListKind::Dir } else { ListKind::File });
            }
            if kind == FileKind::Dir {
                held.take(cost)?;
                below.push(name, ListKind::Dir);
            }
            Ok::<(), Stop>(())
        })?;
        let matching = matching.sorted();
        for (name, _) in (0..matching.len()).filter_map(|at| matching.get(at)) {
            self.say(folder, (&dir, hidden), name, to)?;
        }
        let depth = folder.split(|byte| *byte == b'/').count();
        if depth >= DEPTH_MAX {
            return if below.is_empty() { Ok(()) } else { Err(Stop::Unreadable) };
        }
        let below = below.sorted();
        for (name, _) in (0..below.len()).filter_map(|at| below.get(at)) {
            let slash: &[u8] = if folder.is_empty() { b"" } else { b"/" };
            let path = [folder, slash, name].concat();
            self.taken.take(path.len() + ENTRY_COST)?;
            waiting.push_back(path);
        }
        Ok(())
    }

    /// Counts an entry that is looked at.
    fn count(&mut self, to: &mut dyn Findings) -> std::result::Result<(), Stop> {
        self.budget.look(1)?;
        self.sum.looked += 1;
        if self.sum.looked.is_multiple_of(ENTRIES_A_LOOK) {
            let now = Instant::now();
            if now >= self.deadline {
                return Err(Stop::End(SearchEnd::Time(SEARCH_TIME_MAX.as_secs())));
            }
            if now.duration_since(self.said) >= SIGN_OF_LIFE {
                self.said = now;
                to.looked(self.sum.looked).map_err(Stop::Gone)?;
            }
        }
        Ok(())
    }

    /// Sends a name that was found, if a visitor may see what has it.
    fn say(
        &mut self,
        folder: &[u8],
        (dir, hidden): (&ShownDir, &HashSet<(u64, u64)>),
        name: &[u8],
        to: &mut dyn Findings,
    ) -> std::result::Result<(), Stop> {
        let name_os = OsStr::from_bytes(name);
        let Ok(Some(mut look)) = dir.look(name_os) else { return Ok(()) };
        if hidden.contains(&look.identity) {
            return Ok(());
        }
        if self.sum.found == SEARCH_RESULTS_MAX {
            return Err(Stop::End(SearchEnd::Results(SEARCH_RESULTS_MAX)));
        }
        if look.kind == FileKind::Link
            && let Ok(path) = self.path.join(folder)
            && let Some(led) = dir.follow(&path, name_os)
        {
            look = led;
        }
        let Look { kind, size, mtime_ns, .. } = look;
        let size = (kind == FileKind::File).then_some(size);
        let entry = ListEntry { name, kind: directory::list_kind(kind), size, mtime_ns, target: None };
        self.sum.found += 1;
        self.said = Instant::now();
        to.found(folder, &entry).map_err(Stop::Gone)
    }
}

fn streamed(write: super::response::StreamWriter) -> Response {
    Response { body: ResponseBody::Stream { len: None, write }, ..Response::empty(StatusCode::OK) }
}

/// Findings as rows of a page.
struct Rows<'r> {
    to: &'r mut dyn BodyWriter,
    words: &'static SearchStrings,
}

impl Findings for Rows<'_> {
    fn found(&mut self, folder: &[u8], entry: &ListEntry<'_>) -> io::Result<()> {
        let row = self.words.row(folder, entry).map_err(io::Error::other)?;
        self.to.write_all(row.as_bytes())
    }

    fn looked(&mut self, count: u64) -> io::Result<()> {
        self.to.write_all(format!("<!-- {count} -->\n").as_bytes())?;
        self.to.flush()
    }
}

/// Findings as paths.
struct Paths<'p> {
    to: &'p mut dyn BodyWriter,
}

impl Findings for Paths<'_> {
    fn found(&mut self, folder: &[u8], entry: &ListEntry<'_>) -> io::Result<()> {
        let slash: &[u8] = if folder.is_empty() { b"" } else { b"/" };
        let path = [folder, slash, entry.name].concat();
        let mut line = Vec::new();
        text_entry(&ListEntry { name: &path, ..*entry }, &mut line);
        self.to.write_all(&line)
    }

    fn looked(&mut self, _count: u64) -> io::Result<()> {
        // Nothing that is no path can be said in between.
        self.to.flush()
    }
}

/// Findings as lines of JSON.
struct Lines<'l> {
    to: &'l mut dyn BodyWriter,
}

impl Findings for Lines<'_> {
    fn found(&mut self, folder: &[u8], entry: &ListEntry<'_>) -> io::Result<()> {
        let mut line = Vec::new();
        json_found(folder, entry, &mut line)?;
        self.to.write_all(&line)
    }

    fn looked(&mut self, count: u64) -> io::Result<()> {
        self.to.write_all(&json_looked(count)?)?;
        self.to.flush()
    }
}
