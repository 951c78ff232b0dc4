//! What is below a directory, for an archive of it: each directory before its entries, by handles, without a symlink
//! ever followed.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use crate::fs::below::{Below, DEPTH_MAX, OpenDir};
use crate::fs::root::{FileKind, Look, Root, RootPath, ShownDir};
use crate::fs::{self, ErrorKind};
use crate::http::listing::{ListKind, NAME_COST, Names, SORT_COST};
use crate::memory::{Budget, Taken};

/// Directories that one archive keeps open: strangers may request many archives.
const DIRS_OPEN: usize = 8;

/// A directory and all below it.
#[derive(Debug)]
pub(super) struct Tree {
    root: Arc<Root>,
    base: ShownDir,
    /// Whether names that begin with a dot are in it.
    shows_hidden: bool,
    /// What of the directory itself is in it; `None`: all.
    selection: Option<Arc<Names>>,
    budget: Budget,
}

/// Something below the directory.
#[derive(Debug)]
pub(super) struct Found<'f> {
    /// Its path from the directory on; empty is the directory itself.
    pub(super) path: &'f [u8],
    /// The directory that it is in.
    pub(super) dir: &'f ShownDir,
    /// Its name there.
    pub(super) name: &'f OsStr,
    /// What it is.
    pub(super) look: Look,
}

/// A directory that is being walked through.
struct Level {
    names: Arc<Names>,
    next: usize,
    /// Length of its path.
    path_len: usize,
    /// What its names count for.
    _taken: Taken,
}

impl Tree {
    /// The directory `path` of a root, and all below it.
    pub(super) fn open(root: &Arc<Root>, path: &RootPath, shows_hidden: bool, budget: Budget) -> fs::Result<Self> {
        let base = ShownDir::open(root, path)?;
        Ok(Self { root: Arc::clone(root), base, shows_hidden, selection: None, budget })
    }

    /// Only these of the directory's entries, with all below them.
    ///
    /// # Errors
    /// One of them is not there for a visitor.
    pub(super) fn select(&mut self, names: &BTreeSet<Vec<u8>>) -> fs::Result<()> {
        let mut selected = Names::default();
        for name in names {
            let is_shown = self.shows_hidden || !name.starts_with(b".");
            let look = self.base.look_shown(OsStr::from_bytes(name))?.filter(|_| is_shown);
            let look = look.ok_or_else(|| fs::Error::new(ErrorKind::NotFound, "not found").about(&shown(name)))?;
            selected.push(name, if look.kind == FileKind::Dir { ListKind::Dir } else { ListKind::File });
        }
        self.selection = Some(Arc::new(selected.sorted()));
        Ok(())
    }

    /// What a request may still take.
    pub(super) const fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Calls `found` for everything, in one order, until it fails: what disappears meanwhile is left out, and so is
    /// what is neither file, directory nor symlink.
    ///
    /// # Errors
    /// A directory cannot be read or is too deep, there are too many names, or what `found` says.
    pub(super) fn visit(&self, found: &mut dyn FnMut(&Found<'_>) -> io::Result<()>) -> io::Result<()> {
        let itself = Found { path: b"", dir: &self.base, name: OsStr::new("."), look: self.base.itself()? };
        found(&itself)?;
        let hidden = self.root.hidden_now()?;
        let mut dirs = Below::holding(DIRS_OPEN);
        let mut path: Vec<u8> = Vec::new();
        let mut levels = vec![match &self.selection {
            None => self.level(&self.base, 0)?,
            Some(names) => Level { names: Arc::clone(names), next: 0, path_len: 0, _taken: Taken::of(&self.budget) },
        }];
        // Opened again only if something in it is left on the way back up.
        let mut here = Some(self.base.clone());
        loop {
            let depth = levels.len();
            let Some(level) = levels.last_mut() else { return Ok(()) };
            path.truncate(level.path_len);
            let Some((name, _)) = level.names.get(level.next) else {
                levels.pop();
                here = None;
                continue;
            };
            level.next += 1;
            let dir = match here.take() {
                Some(dir) => dir,
                None => self.dir_at(&mut dirs, &path)?,
            };
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            let name = OsStr::from_bytes(name);
            let look = dir.look(name).map_err(|error| error.about(&shown(&path)))?;
            let is_left_out = |look: &Look| look.kind == FileKind::Other || hidden.contains(&look.identity);
            let Some(look) = look.filter(|look| !is_left_out(look)) else {
                here = Some(dir);
                continue;
            };
            if look.kind != FileKind::Dir {
                found(&Found { path: &path, dir: &dir, name, look })?;
                here = Some(dir);
                continue;
            }
            if depth >= DEPTH_MAX {
                let why = format!("{}: over {DEPTH_MAX} directories deep; name one further down", shown(&path));
                return Err(io::Error::other(why));
            }
            match self.dir_at(&mut dirs, &path) {
                Ok(below) => {
                    found(&Found { path: &path, dir: &dir, name, look })?;
                    levels.push(self.level(&below, path.len())?);
                    here = Some(below);
                }
                Err(error) if is_none(&error) => here = Some(dir),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn dir_at(&self, dirs: &mut Below, path: &[u8]) -> fs::Result<ShownDir> {
        let OpenDir { dir: base, .. } = self.base.opened();
        let open = dirs.at(&base, path, |dir, name| self.root.open_dir_in(dir, name));
        Ok(ShownDir::of(&self.root, open.map_err(|error| error.about(&shown(path)))?))
    }

    /// The names in a directory, sorted.
    fn level(&self, dir: &ShownDir, path_len: usize) -> io::Result<Level> {
        let mut taken = Taken::of(&self.budget);
        let mut names = Names::default();
        dir.for_each_name(|name, kind| {
            if self.shows_hidden || !name.starts_with(b".") {
                self.budget.look(1).map_err(io::Error::other)?;
                taken.take(2 * name.len() + NAME_COST + SORT_COST).map_err(io::Error::other)?;
                names.push(name, if kind == FileKind::Dir { ListKind::Dir } else { ListKind::File });
            }
            Ok::<(), io::Error>(())
        })?;
        Ok(Level { names: Arc::new(names.sorted()), next: 0, path_len, _taken: taken })
    }
}

/// Whether there is nothing for a visitor: it is gone, or hidden.
pub(super) fn is_none(error: &fs::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::NotAFile | ErrorKind::Hidden)
}

/// A path below the directory, for messages.
pub(super) fn shown(path: &[u8]) -> String {
    if path.is_empty() { "the directory".to_owned() } else { String::from_utf8_lossy(path).into_owned() }
}
