//! Walks trees, one directory after the other: a directory before its entries, names in the order of their bytes.
//!
//! Nothing is looked up by a long name: each directory is opened in the one above it, and a symlink is never
//! followed, unless the request says `follow`, and then no further than the tree.

mod named;
mod opener;

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FileType, Stat};

pub use self::named::Named;
use self::named::{Grounds, Top, may_meet};
pub use self::opener::{FileRef, Opener};
use crate::fs;
use crate::fs::below::{self, DEPTH_MAX};
use crate::fs::part::is_part_name;
use crate::fs::root::Root;
use crate::fs::unix::stat_mtime_ns;
use crate::memory::{Budget, ENTRY_COST};
use crate::trees::TreeEntry;
use crate::trees::filter::Filter;
use crate::trees::first::{Earlier, FIRST_WINS, FirstSource};
use crate::wire::message::EntryKind;

/// An entry that is skipped because an earlier source has one of that name.
fn passed_over(path: Vec<u8>, kind: EntryKind) -> Found {
    let skipped = Some(FIRST_WINS.to_owned());
    let entry = TreeEntry { kind, error: None, skipped, has_met: true, ..failed(path, String::new()) };
    Found { entry, file: None, inode: None }
}

/// An entry that was found.
#[derive(Debug)]
pub struct Found {
    /// The entry as it is listed.
    pub entry: TreeEntry,
    /// Where a file is, to open it later; `None`: it is no file that is sent.
    pub file: Option<FileRef>,
    /// Device and inode of a file with several names; `None`: it is none.
    pub inode: Option<(u64, u64)>,
}

/// A walk over trees.
#[derive(Debug)]
pub struct Walk {
    tops: std::vec::IntoIter<Named>,
    levels: Vec<Level>,
    grounds: Grounds,
    how: WalkOptions,
    filter: Filter,
    /// What the last step found: directories, and the first entry in them that is selected.
    ready: VecDeque<Found>,
    /// The paths of earlier tops, where a later one may have the same; `None`: none can be.
    first: Option<FirstSource>,
    /// The budget that the names of entries to come count for.
    budget: Budget,
    /// Set when the walk is to end early.
    is_stopped: Arc<AtomicBool>,
}

/// One step of a walk.
#[derive(Debug)]
pub enum Step {
    /// An entry that is selected, or that fails.
    Found(Box<Found>),
    /// All that was read is left out, and the deadline has passed.
    Later,
    /// Nothing more.
    End,
}

/// How a walk reads a tree.
#[derive(Debug, Clone, Copy)]
pub struct WalkOptions {
    /// Whether directories are entered.
    pub recursive: bool,
    /// Whether symlinks are followed, as far as they stay in the tree.
    pub follow: bool,
}

/// A directory in which the walk is.
#[derive(Debug)]
struct Level {
    top: Arc<Top>,
    dir: Arc<Dir>,
    /// Its device and inode.
    id: (u64, u64),
    /// Its path from the top's directory on.
    path: Arc<[u8]>,
    /// Its path as it is listed.
    listed: Vec<u8>,
    names: std::vec::IntoIter<OsString>,
    /// Bytes of the budget that they hold.
    names_len: usize,
    /// The directory's entry, until something in it is selected.
    held: Option<Found>,
}

impl Walk {
    /// A walk over `tops`, one after the other.
    pub fn new(tops: Vec<Named>, how: WalkOptions, filter: Filter) -> Self {
        let (levels, grounds, ready) = (Vec::new(), Grounds::default(), VecDeque::new());
        let first = may_meet(&tops).then(FirstSource::default);
        let (budget, is_stopped) = (Budget::own(), Arc::default());
        Self { tops: tops.into_iter(), levels, grounds, how, filter, ready, first, budget, is_stopped }
    }

    /// The same for a request with this budget.
    #[must_use]
    pub fn within(self, budget: Budget) -> Self {
        let first = self.first.map(|first| first.within(budget.clone()));
        Self { first, budget, ..self }
    }

    /// Ends the walk early when this is set.
    #[must_use]
    pub fn until(self, is_stopped: Arc<AtomicBool>) -> Self {
        Self { is_stopped, ..self }
    }

    /// The budget that what it holds counts for.
    pub const fn budget(&self) -> &Budget {
        &self.budget
    }

    /// What an earlier top has under this path.
    fn earlier(&self, listed: &[u8]) -> Option<Earlier> {
        self.first.as_ref().and_then(|first| first.earlier(listed))
    }

    /// How many directories are open because something in them was named, and may be wanted.
    pub fn grounds_open(&self) -> usize {
        self.grounds.count()
    }

    fn enter(&mut self, named: Named) -> Option<Found> {
        let top = match named.open(self.how.recursive, &mut self.grounds) {
            Ok(top) => Arc::new(top),
            Err((name, why)) => return Some(Found { entry: failed(name, why), file: None, inode: None }),
        };
        if let Some(name) = &top.only {
            if self.filter.leaves_out(&top.name, false) {
                return None;
            }
            self.filter.note(&top.name);
            let looked = rustix::fs::statat(&*top.ground.dir, name, AtFlags::SYMLINK_NOFOLLOW);
            let file = FileRef { top: Arc::clone(&top), dir: Arc::from([]), name: name.clone(), follow: false };
            if self.earlier(&top.name).is_some() {
                return Some(passed_over(top.name.clone(), EntryKind::File));
            }
            if let Ok(stat) = &looked
                && is_part_name(name.as_bytes())
            {
                return Some(unfinished(top.name.clone(), stat));
            }
            return Some(self.found(top.name.clone(), &top.ground.dir, looked.map_err(Into::into), file));
        }
        let earlier = self.earlier(&top.name);
        if earlier == Some(Earlier::Other) {
            return Some(passed_over(top.name.clone(), EntryKind::Dir));
        }
        let entered = rustix::fs::fstat(&*top.ground.dir).map_err(io::Error::from).and_then(|stat| {
            self.descend(&top, Arc::clone(&top.ground.dir), (Arc::from([]), top.name.clone())).map(|()| stat)
        });
        match entered {
            Ok(stat) => {
                let found = Found { entry: entry_of(top.name.clone(), &stat), file: None, inode: None };
                match earlier {
                    // It is merged with the earlier top's directory.
                    Some(_) => None,
                    // The destination itself is there, whatever comes into it.
                    None if top.name.is_empty() => Some(found),
                    None => self.hold(found),
                }
            }
            Err(error) => {
                let entry = failed(top.name.clone(), explained(&top.shown(b""), &error));
                Some(Found { entry, file: None, inode: None })
            }
        }
    }

    /// Keeps back the directory that was entered last until something in it comes, where not everything does.
    fn hold(&mut self, found: Found) -> Option<Found> {
        match self.levels.last_mut().filter(|_| self.filter.chooses()) {
            Some(level) => {
                level.held = Some(found);
                None
            }
            None => Some(found),
        }
    }

    /// Queues an entry that was found behind the directories that it is in.
    fn release(&mut self, found: Found) {
        // For what does not come no directory is made.
        if found.entry.skipped.is_none() && found.entry.error.is_none() {
            self.ready.extend(self.levels.iter_mut().filter_map(|level| level.held.take()));
        }
        self.ready.push_back(found);
        let is_last = self.tops.as_slice().is_empty();
        let Some(first) = self.first.as_mut().filter(|_| !is_last) else { return };
        let mut comes = self.ready.iter().filter(|found| !found.entry.has_met);
        if let Err(full) = comes.try_for_each(|found| first.note(&found.entry)) {
            let why = format!("{full}; copy them one after the other, the one that is to win last");
            self.ready.push_back(Found { entry: failed(Vec::new(), why), file: None, inode: None });
            self.levels.clear();
            self.tops = Vec::new().into_iter();
        }
    }

    /// Enters a directory.
    fn descend(&mut self, top: &Arc<Top>, dir: Arc<Dir>, (path, listed): (Arc<[u8]>, Vec<u8>)) -> io::Result<()> {
        if self.levels.len() >= DEPTH_MAX {
            return Err(io::Error::other(format!("over {DEPTH_MAX} directories deep")));
        }
        let stat = rustix::fs::fstat(&*dir)?;
        let id = (stat.st_dev, stat.st_ino);
        if self.levels.iter().any(|level| level.id == id) {
            return Err(io::Error::other("a symlink back to a directory above it"));
        }
        let (names, names_len) = self.names_in(&top.ground.root, &dir)?;
        let (top, names) = (Arc::clone(top), names.into_iter());
        self.levels.push(Level { top, dir, id, path, listed, names, names_len, held: None });
        Ok(())
    }

    /// The names in a directory, in order, and the bytes of the budget that they hold.
    fn names_in(&self, root: &Root, dir: &Dir) -> io::Result<(Vec<OsString>, usize)> {
        let (mut names, mut held) = (Vec::new(), 0);
        let hidden = root.hidden_name_in(dir)?;
        for entry in below::read_dir(dir)? {
            if self.is_stopped.load(Ordering::Relaxed) {
                return Err(io::Error::other("the connection has ended"));
            }
            let name = entry?.0.into_bytes();
            let name_os = OsStr::from_bytes(&name);
            if hidden.as_deref() == Some(name_os) || root.check_name(dir, name_os).is_err() {
                continue;
            }
            let len = name.len() + ENTRY_COST;
            if let Err(over) = self.budget.take(len) {
                self.budget.give_back(held);
                return Err(io::Error::other(format!("the names in it: {over}")));
            }
            held += len;
            names.push(OsString::from_vec(name));
        }
        names.sort_unstable();
        Ok((names, held))
    }

    /// The thing called `name` in the present directory.
    fn visit(&mut self, name: &OsStr) -> Option<Found> {
        let Level { top, dir, path, listed, .. } = self.levels.last()?;
        let (top, dir) = (Arc::clone(top), Arc::clone(dir));
        let listed = joined(listed, name);
        let file =
            FileRef { top: Arc::clone(&top), dir: Arc::clone(path), name: name.to_owned(), follow: self.how.follow };
        let mut looked = rustix::fs::statat(&*dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from);
        if is_part_name(name.as_bytes()) {
            return looked.ok().map(|stat| unfinished(listed, &stat));
        }
        let is_link = matches!(&looked, Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink);
        if is_link && self.how.follow {
            looked = file.followed_stat();
        }
        let is_dir = matches!(&looked, Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
        if self.filter.leaves_out(&file.path(), is_dir) {
            return None;
        }
        let earlier = self.earlier(&listed);
        if earlier.is_some_and(|earlier| !is_dir || earlier == Earlier::Other) {
            return Some(passed_over(listed, if is_dir { EntryKind::Dir } else { EntryKind::File }));
        }
        if is_dir {
            let below: Arc<[u8]> = joined(path, name).into();
            let root = &top.ground.root;
            let opened = if is_link { file.followed_dir() } else { root.open_dir_in(&dir, name).map_err(Into::into) };
            let entered = opened.and_then(|dir| self.descend(&top, Arc::new(dir), (below, listed.clone())));
            if let Err(error) = entered {
                return Some(Found {
                    entry: failed(listed, explained(&file.shown(), &error)),
                    file: None,
                    inode: None,
                });
            }
            let found = self.found(listed, &dir, looked, file);
            return if earlier.is_some() { None } else { self.hold(found) };
        }
        self.filter.note(&file.path());
        Some(self.found(listed, &dir, looked, file))
    }

    fn found(&self, path: Vec<u8>, dir: &Dir, looked: io::Result<Stat>, file: FileRef) -> Found {
        let stat = match looked {
            Ok(stat) => stat,
            Err(error) => {
                return Found { entry: failed(path, explained(&file.shown(), &error)), file: None, inode: None };
            }
        };
        let mut entry = entry_of(path, &stat);
        match entry.kind {
            EntryKind::Link => match rustix::fs::readlinkat(dir, &file.name, Vec::new()) {
                Ok(target) => entry.target = Some(target.into_bytes()),
                Err(error) => {
                    let why = explained(&file.shown(), &error.into());
                    return Found { entry: failed(entry.path, why), file: None, inode: None };
                }
            },
            EntryKind::Other => entry.skipped = Some("neither file, directory nor symlink".to_owned()),
            EntryKind::File if self.filter.max_size.is_some_and(|max| entry.size > max) => {
                entry.skipped = Some(format!("{} bytes, over the size limit", entry.size));
            }
            EntryKind::File | EntryKind::Dir => {}
        }
        let file = (entry.kind == EntryKind::File && entry.skipped.is_none()).then_some(file);
        let has_links = file.is_some() && stat.st_nlink > 1 && !self.how.follow;
        Found { entry, file, inode: has_links.then_some((stat.st_dev, stat.st_ino)) }
    }

    /// The next step. It is [`Step::Later`] at `deadline`, since much may be left out.
    pub fn step(&mut self, deadline: Instant) -> Step {
        loop {
            if let Some(found) = self.ready.pop_front() {
                return Step::Found(Box::new(found));
            }
            let found = match self.levels.last_mut() {
                None => {
                    let Some(top) = self.tops.next() else { return Step::End };
                    self.enter(top)
                }
                Some(level) => {
                    if let Some(name) = level.names.next() {
                        self.visit(&name)
                    } else {
                        let names_len = self.levels.pop().map_or(0, |left| left.names_len);
                        self.budget.give_back(names_len);
                        None
                    }
                }
            };
            match found {
                Some(found) => self.release(found),
                None if Instant::now() >= deadline => return Step::Later,
                None => {}
            }
        }
    }
}

fn joined(dir: &[u8], name: &OsStr) -> Vec<u8> {
    let mut path = Vec::with_capacity(dir.len() + 1 + name.len());
    path.extend_from_slice(dir);
    if !dir.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name.as_bytes());
    path
}

fn entry_of(path: Vec<u8>, stat: &Stat) -> TreeEntry {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Dir,
        FileType::Symlink => EntryKind::Link,
        _ => EntryKind::Other,
    };
    let size = if kind == EntryKind::File { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 };
    TreeEntry {
        path,
        kind,
        size,
        mtime_ns: stat_mtime_ns(stat),
        mode: stat.st_mode & 0o777,
        target: None,
        same: None,
        has_links: false,
        error: None,
        skipped: None,
        has_met: false,
    }
}

/// What is named like an unfinished copy is not part of a tree, whatever it is.
fn unfinished(path: Vec<u8>, stat: &Stat) -> Found {
    let why = "its name is kept for unfinished copies; rename it if it is none";
    let entry = TreeEntry { skipped: Some(why.to_owned()), kind: EntryKind::Other, ..entry_of(path, stat) };
    Found { entry, file: None, inode: None }
}

fn failed(path: Vec<u8>, why: String) -> TreeEntry {
    TreeEntry {
        path,
        kind: EntryKind::Other,
        size: 0,
        mtime_ns: 0,
        mode: 0,
        target: None,
        same: None,
        has_links: false,
        error: Some(why),
        skipped: None,
        has_met: false,
    }
}

/// Why something could not be had: our own words where there are some, the system's where not.
pub fn explained(shown: &str, error: &io::Error) -> String {
    let is_ours = error.raw_os_error().is_none() && error.get_ref().is_some();
    if is_ours && error.kind() == io::ErrorKind::Other {
        return format!("{shown}: {error}");
    }
    fs::Error::from(error).about(shown).to_string()
}
