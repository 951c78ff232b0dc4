//! Both names of a file that is copied, as a person writes them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::remote::{Remote, shown};
use crate::trees::glob::means_contents;

/// Both names of a file, as a person writes them.
pub trait NamePair {
    /// Where the file at `path` of the tree comes from.
    fn from(&self, path: &[u8]) -> String;
    /// Where it goes.
    fn to(&self, path: &[u8]) -> String;
    /// The target has said where it all goes.
    fn placed(&mut self, path: &[u8], name: Option<&[u8]>);
}

/// The names of files that are fetched.
#[derive(Debug)]
pub struct FromRemote {
    sources: Vec<Remote>,
    destination: PathBuf,
    /// The target is a single file, called as the destination is.
    is_renamed: bool,
}

impl FromRemote {
    /// For what is fetched from `sources` to `destination`.
    pub fn new(sources: &[Remote], destination: PathBuf) -> Self {
        Self { sources: sources.to_vec(), destination, is_renamed: false }
    }
}

impl NamePair for FromRemote {
    fn from(&self, path: &[u8]) -> String {
        if let (true, Some(source)) = (self.is_renamed, self.sources.first()) {
            return source.shown();
        }
        let of = |source: &Remote, path: &[u8]| shown(&source.address, &String::from_utf8_lossy(path));
        let (top, rest) = split_top(path);
        if let Some(source) = self.sources.iter().find(|source| source.file_name().map(OsStr::as_bytes) == Some(top)) {
            return of(source, &[source.path.as_bytes(), rest].concat());
        }
        // What is in a directory, or what a pattern stands for.
        let Some(source) = self.sources.first() else { return String::from_utf8_lossy(path).into_owned() };
        let above = source.path.as_bytes().rsplitn(2, |byte| *byte == b'/').nth(1).unwrap_or_default();
        of(source, &join(above, path))
    }

    fn to(&self, path: &[u8]) -> String {
        let path = Path::new(OsStr::from_bytes(path));
        let to = if self.is_renamed { self.destination.clone() } else { self.destination.join(path) };
        to.to_string_lossy().into_owned()
    }

    fn placed(&mut self, _: &[u8], name: Option<&[u8]>) {
        self.is_renamed = name.is_some();
    }
}

/// The names of files that are sent.
#[derive(Debug)]
pub struct ToRemote {
    sources: Vec<OsString>,
    remote: Remote,
    /// Where it goes on the server, and the new name of a single file.
    placed: Option<(Vec<u8>, Option<Vec<u8>>)>,
}

impl ToRemote {
    /// For what is sent from `sources` to `remote`.
    pub fn new(sources: &[OsString], remote: &Remote) -> Self {
        Self { sources: sources.to_vec(), remote: remote.clone(), placed: None }
    }

    /// Whether it is a single file, which gets another name.
    fn is_renamed(&self) -> bool {
        matches!(self.placed, Some((_, Some(_))))
    }
}

impl NamePair for ToRemote {
    fn from(&self, path: &[u8]) -> String {
        let (top, rest) = split_top(path);
        let is_top = |source: &&OsString| Path::new(source).file_name().map(OsStr::as_bytes) == Some(top);
        let holds = |source: &&OsString| {
            means_contents(source.as_bytes())
                && Path::new(source).join(OsStr::from_bytes(path)).symlink_metadata().is_ok()
        };
        let holder = if self.sources.len() > 1 { self.sources.iter().find(holds) } else { None };
        let is_top = |source: &&OsString| is_top(source) && !means_contents(source.as_bytes());
        let from = match (self.sources.iter().find(is_top), holder.or(self.sources.first())) {
            (Some(source), _) => [source.as_bytes(), rest].concat(),
            (None, Some(source)) if self.is_renamed() => source.as_bytes().to_vec(),
            (None, Some(source)) => join(source.as_bytes(), path),
            (None, None) => path.to_vec(),
        };
        String::from_utf8_lossy(&from).into_owned()
    }

    fn to(&self, path: &[u8]) -> String {
        let to = match &self.placed {
            Some((place, Some(name))) => join(place, name),
            Some((place, None)) => join(place, path),
            None => return self.remote.shown(),
        };
        shown(&self.remote.address, &String::from_utf8_lossy(&to))
    }

    fn placed(&mut self, path: &[u8], name: Option<&[u8]>) {
        self.placed = Some((path.to_vec(), name.map(<[u8]>::to_vec)));
    }
}

/// The names of files that go from another machine to a third.
#[derive(Debug)]
pub struct Between {
    from: FromRemote,
    to: ToRemote,
}

impl Between {
    /// For what goes from `sources` to `remote`.
    pub fn new(sources: &[Remote], remote: &Remote) -> Self {
        Self { from: FromRemote::new(sources, PathBuf::new()), to: ToRemote::new(&[], remote) }
    }
}

impl NamePair for Between {
    fn from(&self, path: &[u8]) -> String {
        self.from.from(path)
    }

    fn to(&self, path: &[u8]) -> String {
        self.to.to(path)
    }

    fn placed(&mut self, path: &[u8], name: Option<&[u8]>) {
        self.from.placed(path, name);
        self.to.placed(path, name);
    }
}

/// A path's first part, and the rest with its slash.
fn split_top(path: &[u8]) -> (&[u8], &[u8]) {
    path.split_at(path.iter().position(|byte| *byte == b'/').unwrap_or(path.len()))
}

fn join(above: &[u8], path: &[u8]) -> Vec<u8> {
    if above.is_empty() || path.is_empty() || above.ends_with(b"/") {
        return [above, path].concat();
    }
    [above, b"/", path].concat()
}

/// Names what is copied together in a message: `a.txt and 2 more`.
pub fn names_together<T>(sources: &[T], shown: impl Fn(&T) -> String) -> String {
    match sources {
        [only] => shown(only),
        [first, ..] => format!("{} and {} more", shown(first), sources.len() - 1),
        [] => String::new(),
    }
}

/// Adds to the error of connecting to `source` that a file of this machine has the same name, if there is one: it is
/// probably the file that was meant.
pub fn not_connected(source: &Remote, error: anyhow::Error) -> anyhow::Error {
    let shown = source.shown();
    let file = Path::new(&shown);
    if !source.is_without_scheme() || !file.is_symlink() && !file.exists() {
        return error;
    }
    let (path, address) = (source.path.to_string_lossy(), &source.address);
    error.context(format!("{shown} is {path:?} on the host {address}; the file of that name here is ./{shown}"))
}
