//! GET of a directory: a page for people, JSON for programs, lines for a shell.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use ::http::StatusCode;
use ::http::header::{self, HeaderValue};

use super::archive;
use super::exchange::Exchange;
use super::kept::KeptLists;
use super::options::OnExists;
use super::problem::{HttpError, Problem, Result};
use super::representation::unless_known;
use super::response::{Response, ResponseBody};
use super::{page, search, view};
use crate::fs::root::{FileKind, Look, RootPath, ShownDir};
use crate::http::listing::{
    JsonEnd, ListEntry, ListForm, ListKind, ListQuery, NAME_COST, Names, Order, Page, SORT_COST, Sort, json_end,
    json_entry, json_start, reference, text_entry,
};
use crate::http::negotiate;
use crate::http::page::{
    ListPage, ListTable, PageKind, PagePlace, PreviewKind, ROW_LEN, Readme, decode, render, visible,
};
use crate::memory::{Budget, Over, Taken};
use crate::printable::printable_name;
use crate::trust::Service;

/// Names that a list shows below itself, the first of them that is there.
const READMES: [&str; 5] = ["readme.md", "readme.markdown", "readme.txt", "readme", "readme.rst"];
/// Of such a file so much is shown, in bytes.
const README_LEN_MAX: u64 = 64 * 1024;
/// Headings of such a file stand below its name.
const README_LEVEL: u8 = 3;
/// Names that are looked at in each direction for a file that has a page.
const NEIGHBOURS_LOOKED_MAX: usize = 1_000;
/// A list of at most this many entries is made before it is sent, so that its length is known.
const AT_ONCE: u64 = 1_000;
/// A longer one is sent in pieces of this length, in bytes.
const PIECE_LEN: usize = 48 * 1024;

/// The directory `path`.
///
/// # Errors
/// What the client is told instead.
pub(super) fn get(exchange: &Exchange<'_>, path: &RootPath) -> Result<Response> {
    if !exchange.names_directory() {
        return Ok(with_slash(exchange, path));
    }
    if let Some(form) = archive::form_of(exchange)? {
        return archive::get(exchange, path, form);
    }
    if let Some(term) = exchange.head.target.parameter("search")
        && let Some(found) = search::get(exchange, path, &term)?
    {
        return Ok(found);
    }
    let query = ListQuery::parse(exchange.head.target.query.as_deref().unwrap_or_default().as_bytes())
        .map_err(|bad| Problem::new(StatusCode::BAD_REQUEST, bad.to_string()))?;
    let form = query.form.unwrap_or_else(|| accepted(exchange));
    let list = List::open(exchange, path, query, form)?;
    match form {
        ListForm::Html => list.page(exchange),
        ListForm::Json | ListForm::Text => list.data(exchange, form),
    }
}

/// What a drop box shows: a form at its root, and nothing else.
///
/// # Errors
/// There is nothing else.
pub(super) fn drop_box(exchange: &Exchange<'_>, path: &RootPath) -> Result<Response> {
    exchange.need(Service::Write)?;
    if !path.is_root() {
        return Err(Problem::not_found().into());
    }
    let frame = page::frame(exchange, PageKind::List, PagePlace::of(b"/", true));
    page::response(exchange, ListPage { frame, list: None, can_replace: false, readme: None }.html())
}

/// The same path with the slash that makes relative references work.
fn with_slash(exchange: &Exchange<'_>, path: &RootPath) -> Response {
    let target = &exchange.head.target;
    let last = target.raw_path.rsplit('/').next().unwrap_or_default();
    let query = target.query_for_redirect().map(|query| format!("?{query}")).unwrap_or_default();
    // Relative, so that it holds behind a proxy that adds a prefix, and leads to no other host.
    let location = if last.is_ascii() {
        format!("./{last}/{query}")
    } else {
        let name = path.split_last().unwrap_or_default().1;
        format!("./{}{query}", reference(name.as_bytes(), true))
    };
    Response::empty(StatusCode::MOVED_PERMANENTLY)
        .with_text(header::LOCATION, &location)
        .with(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))
}

/// The form that the client accepts: a page for those that say so, or say nothing, lines for those that take anything.
pub(super) fn accepted(exchange: &Exchange<'_>) -> ListForm {
    let headers = &exchange.head.headers;
    // wget takes anything too, and follows the links of a page.
    let agent = headers.get(header::USER_AGENT).map_or(&[][..], HeaderValue::as_bytes);
    if !headers.contains_key(header::ACCEPT) || agent.starts_with(b"Wget") {
        return ListForm::Html;
    }
    match negotiate::media(headers, &["text/plain", "text/html", "application/json"]) {
        Some(1) | None => ListForm::Html,
        Some(2) => ListForm::Json,
        Some(_) => ListForm::Text,
    }
}

/// A directory's names, in order, or its handle, to read them as they come.
struct List {
    dir: ShownDir,
    path: RootPath,
    query: ListQuery,
    shows_hidden: bool,
    /// `None`: they are not sorted, and not held.
    names: Option<Sorted>,
}

/// Names, and the order in which they are shown.
struct Sorted {
    names: Arc<Names>,
    places: Places,
    /// What they count for.
    _taken: Taken,
}

/// Which name stands at which place.
enum Places {
    Forwards,
    /// Directories first all the same.
    Backwards,
    Of(Vec<usize>),
}

impl Sorted {
    fn get(&self, place: usize) -> Option<(&[u8], ListKind)> {
        let (dirs, len) = (self.names.dirs(), self.names.len());
        let at = match &self.places {
            Places::Forwards => place,
            Places::Backwards if place < dirs => dirs - 1 - place,
            Places::Backwards => (len + dirs).checked_sub(1 + place)?,
            Places::Of(places) => *places.get(place)?,
        };
        self.names.get(at)
    }
}

/// The files before and behind `path` in the list of its directory that have a page too, as references; `None`: there
/// is none, or the list cannot be made.
pub(super) fn neighbours(exchange: &Exchange<'_>, path: &RootPath) -> (Option<String>, Option<String>) {
    let Some((above, name)) = path.split_last() else { return (None, None) };
    let query = ListQuery { page: 1, ..ListQuery::default() };
    let Ok(list) = List::open(exchange, &above, query, ListForm::Html) else { return (None, None) };
    let Some(sorted) = &list.names else { return (None, None) };
    let names = &sorted.names;
    let own = name.as_bytes();
    let Some(at) = (0..names.len()).find(|at| names.get(*at).is_some_and(|(name, _)| name == own)) else {
        return (None, None);
    };
    let has_page = |at: usize| {
        let (name, kind) = names.get(at)?;
        let is_file = kind == ListKind::File
            || kind == ListKind::Link && list.shown(name, kind).is_some_and(|shown| shown.kind == ListKind::File);
        (PreviewKind::of_name(name) != PreviewKind::None && is_file).then(|| reference(name, false))
    };
    let before = (0..at).rev().take(NEIGHBOURS_LOOKED_MAX).find_map(has_page);
    let behind = (at + 1..names.len()).take(NEIGHBOURS_LOOKED_MAX).find_map(has_page);
    (before, behind)
}

/// Why there is no list: the budget of the request has no room for all names at once.
fn too_many(over: Over) -> HttpError {
    match over {
        Over::Pool(_) => over.refusal("the list").into(),
        Over::Request(_) | Over::Looks(_) => {
            let message = "the directory has too many names to sort them; send ?json&sort=none or ?text&sort=none";
            Problem::new(StatusCode::FORBIDDEN, message).into()
        }
    }
}

/// What a list shows of one name, apart from it.
struct Shown {
    kind: ListKind,
    size: Option<u64>,
    mtime_ns: i64,
    target: Option<Vec<u8>>,
}

impl Shown {
    fn entry<'s>(&'s self, name: &'s [u8]) -> ListEntry<'s> {
        let Self { kind, size, mtime_ns, target } = self;
        ListEntry { name, kind: *kind, size: *size, mtime_ns: *mtime_ns, target: target.as_deref() }
    }
}

impl List {
    fn open(exchange: &Exchange<'_>, path: &RootPath, query: ListQuery, form: ListForm) -> Result<Self> {
        let session = &exchange.session;
        let shows_hidden = exchange.state.options.shows_hidden;
        let dir = ShownDir::open(&session.root, path)?;
        let mut list = Self { dir, path: path.clone(), query, shows_hidden, names: None };
        if form == ListForm::Html || query.sort != Sort::Unsorted {
            list.names = Some(list.sort(&exchange.state.lists, &session.memory.budget())?);
        }
        Ok(list)
    }

    fn sort(&self, kept: &KeptLists, budget: &Budget) -> Result<Sorted> {
        let mut taken = Taken::of(budget);
        let names = self.names(kept, budget, &mut taken)?;
        let places = match (self.query.sort, self.query.order) {
            (Sort::Unsorted, _) | (Sort::Name, Order::Ascending) => Places::Forwards,
            (Sort::Name, Order::Descending) => Places::Backwards,
            (Sort::Size | Sort::Modified, order) => {
                taken.take(names.len() * (size_of::<i128>() + size_of::<usize>())).map_err(too_many)?;
                budget.look(names.len() as u64).map_err(too_many)?;
                let values = self.values(&names);
                Places::Of(names.places_by(order, |at| values.get(at).copied()))
            }
        };
        Ok(Sorted { names, places, _taken: taken })
    }

    /// All names, sorted unless that is not wanted.
    fn names(&self, kept: &KeptLists, budget: &Budget, taken: &mut Taken) -> Result<Arc<Names>> {
        let is_sorted = self.query.sort != Sort::Unsorted;
        let state = self.dir.state()?;
        if let Some(names) = kept.get(&state).filter(|_| is_sorted) {
            // It may be let go of while an answer still needs it.
            taken.take(names.memory()).map_err(too_many)?;
            return Ok(names);
        }
        let mut names = Names::default();
        self.dir.for_each_name(|name, kind| {
            if self.shows_hidden || !name.starts_with(b".") {
                budget.look(1).map_err(too_many)?;
                taken.take(2 * name.len() + NAME_COST + SORT_COST).map_err(too_many)?;
                names.push(name, list_kind(kind));
            }
            Ok::<(), HttpError>(())
        })?;
        if !is_sorted {
            return Ok(Arc::new(names));
        }
        let names = Arc::new(names.sorted());
        if self.dir.state()? == state {
            kept.keep(state, &names);
        }
        Ok(names)
    }

    /// Of each name what the list is sorted by.
    fn values(&self, names: &Names) -> Vec<i128> {
        let value = |(name, kind)| match self.shown(name, kind) {
            Some(shown) if self.query.sort == Sort::Modified => i128::from(shown.mtime_ns),
            Some(Shown { size: Some(size), .. }) => i128::from(size),
            _ => -1,
        };
        (0..names.len()).filter_map(|at| names.get(at)).map(value).collect()
    }

    /// What is shown of a name; `None`: it is gone.
    fn shown(&self, name: &[u8], kind: ListKind) -> Option<Shown> {
        let name = OsStr::from_bytes(name);
        let look = self.dir.look(name).ok().flatten()?;
        if kind != ListKind::Link && look.kind != FileKind::Link {
            return Some(Shown::of(&look, None));
        }
        let target = self.dir.link_target(name).ok();
        let led = self.dir.follow(&self.path, name).filter(|led| matches!(led.kind, FileKind::File | FileKind::Dir));
        Some(Shown::of(&led.unwrap_or(look), target))
    }

    /// The page for people.
    fn page(&self, exchange: &Exchange<'_>) -> Result<Response> {
        let names = self.names.iter();
        let total = names.clone().map(|sorted| sorted.names.len() as u64).sum();
        let page = self.query.page_of(ListForm::Html, total);
        let rows = usize::try_from(page.end - page.first).unwrap_or(usize::MAX);
        let mut taken = Taken::of(&exchange.session.memory.budget());
        taken.take(rows.saturating_mul(2 * ROW_LEN)).map_err(|over| over.refusal("the page"))?;
        let shown: Vec<(&[u8], Shown)> = names
            .flat_map(|sorted| places(&page).filter_map(|place| sorted.get(place)))
            .filter_map(|(name, kind)| self.shown(name, kind).map(|shown| (name, shown)))
            .collect();
        let entries: Vec<ListEntry<'_>> = shown.iter().map(|(name, shown)| shown.entry(name)).collect();
        page::response(
            exchange,
            ListPage {
                frame: page::frame(exchange, PageKind::List, PagePlace::of(&self.path.to_absolute(), true)),
                list: Some(ListTable { entries: &entries, total, page, query: self.query }),
                can_replace: exchange.state.options.on_exists == OnExists::Replace,
                readme: self.readme(exchange),
            }
            .html(),
        )
    }

    /// What its author says of the directory, on the first page.
    fn readme(&self, exchange: &Exchange<'_>) -> Option<Readme> {
        let sorted = self.names.as_ref().filter(|_| self.query.page == 1)?;
        let names = (0..sorted.names.len()).filter_map(|at| sorted.names.get(at));
        let rank = |name: &[u8]| READMES.iter().position(|readme| name.eq_ignore_ascii_case(readme.as_bytes()));
        let (_, name) = names.filter_map(|(name, _)| Some((rank(name)?, name))).min_by_key(|(rank, _)| *rank)?;
        let (file, look) = self.dir.open_file(OsStr::from_bytes(name)).ok()?;
        let mut taken = Taken::of(&exchange.session.memory.budget());
        let bytes = view::read_beginning(file, README_LEN_MAX, view::MARKDOWN_COST, &mut taken).ok()?;
        let is_whole = bytes.len() as u64 >= look.size;
        let decoded = decode(&bytes, is_whole, None, page::region(exchange.head));
        let is_markdown = PreviewKind::of_name(name) == PreviewKind::Markdown;
        let rendered = is_markdown.then(|| render(&decoded.text, README_LEVEL));
        let is_cut = !is_whole || rendered.as_ref().is_some_and(|rendered| rendered.shown.is_some());
        let text = if is_markdown { String::new() } else { visible(&decoded.text) };
        let html = rendered.map(|rendered| rendered.html);
        Some(Readme { name: printable_name(name), href: reference(name, false), html, text, is_cut })
    }

    /// JSON or text: made at once if it is short, else while it is sent.
    fn data(self, exchange: &Exchange<'_>, form: ListForm) -> Result<Response> {
        let media_type = if form == ListForm::Json { "application/json" } else { "text/plain; charset=utf-8" };
        let page = self.names.as_ref().map(|sorted| self.query.page_of(form, sorted.names.len() as u64));
        let body = if page.is_some_and(|page| page.end - page.first <= AT_ONCE) {
            let mut body = Vec::new();
            self.write(form, &mut body).map_err(crate::fs::Error::from)?;
            ResponseBody::Bytes(body)
        } else {
            ResponseBody::Stream { len: None, write: Box::new(move |to| self.write(form, to)) }
        };
        let response = with_headers(Response { body, ..Response::empty(StatusCode::OK) }, media_type);
        Ok(unless_known(exchange, response))
    }

    fn write(&self, form: ListForm, to: &mut dyn Write) -> io::Result<()> {
        let mut out = Lines { to, piece: Vec::with_capacity(PIECE_LEN + 4096), form, is_first: true };
        if form == ListForm::Json {
            json_start(&self.path.to_absolute(), &mut out.piece)?;
        }
        let total = if let Some(sorted) = &self.names {
            let total = sorted.names.len() as u64;
            let mut names = places(&self.query.page_of(form, total)).filter_map(|place| sorted.get(place));
            names.try_for_each(|(name, kind)| self.write_entry(name, kind, &mut out))?;
            total
        } else {
            let page = self.query.page_of(form, u64::MAX);
            let mut total = 0;
            self.dir.for_each_name(|name, kind| {
                if !self.shows_hidden && name.starts_with(b".") {
                    return Ok(());
                }
                total += 1;
                if total <= page.first || total > page.end {
                    return Ok(());
                }
                self.write_entry(name, list_kind(kind), &mut out)
            })?;
            total
        };
        if form == ListForm::Json {
            let ListQuery { page, per_page, sort, order, .. } = self.query;
            let pages = self.query.page_of(form, total).pages;
            json_end(&JsonEnd { total, page, pages, per_page, sort, order }, &mut out.piece)?;
        }
        out.send()
    }

    fn write_entry(&self, name: &[u8], kind: ListKind, out: &mut Lines<'_>) -> io::Result<()> {
        // Lines show nothing but names, and which of them are directories.
        if out.form == ListForm::Text && kind != ListKind::Link {
            text_entry(&ListEntry { name, kind, size: None, mtime_ns: 0, target: None }, &mut out.piece);
            return out.send_if_full();
        }
        let Some(shown) = self.shown(name, kind) else { return Ok(()) };
        let entry = shown.entry(name);
        match out.form {
            ListForm::Json => json_entry(&entry, std::mem::take(&mut out.is_first), &mut out.piece)?,
            ListForm::Html | ListForm::Text => text_entry(&entry, &mut out.piece),
        }
        out.send_if_full()
    }
}

impl Shown {
    fn of(look: &Look, target: Option<Vec<u8>>) -> Self {
        let size = (look.kind == FileKind::File).then_some(look.size);
        Self { kind: list_kind(look.kind), size, mtime_ns: look.mtime_ns, target }
    }
}

/// A list on its way out.
struct Lines<'l> {
    to: &'l mut dyn Write,
    piece: Vec<u8>,
    form: ListForm,
    is_first: bool,
}

impl Lines<'_> {
    fn send_if_full(&mut self) -> io::Result<()> {
        if self.piece.len() < PIECE_LEN { Ok(()) } else { self.send() }
    }

    fn send(&mut self) -> io::Result<()> {
        self.to.write_all(&self.piece)?;
        self.piece.clear();
        Ok(())
    }
}

pub(super) const fn list_kind(kind: FileKind) -> ListKind {
    match kind {
        FileKind::File => ListKind::File,
        FileKind::Dir => ListKind::Dir,
        FileKind::Link => ListKind::Link,
        FileKind::Other => ListKind::Other,
    }
}

/// The places that a page shows.
fn places(page: &Page) -> impl Iterator<Item = usize> + use<> {
    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    place(page.first)..place(page.end)
}

pub(super) fn with_headers(response: Response, media_type: &'static str) -> Response {
    response
        .with(header::CONTENT_TYPE, HeaderValue::from_static(media_type))
        // It depends on the program too, and a cache of one's own serves one program.
        .with(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"))
        .with(header::VARY, HeaderValue::from_static("Accept"))
}
