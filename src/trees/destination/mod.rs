//! The destination of a tree: what is there, and what is made there.
//!
//! No name that the sender sends becomes a path: each part is opened in the directory above it, and no symlink is
//! followed. So all stays below the destination, whatever is renamed there meanwhile.

mod compare;
mod make;
mod remove;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

pub use self::compare::There;
pub use self::remove::Obstacle;
use crate::error::{ErrorCode, Refusal};
use crate::fs::below::{Below, Eased, OpenDir, split};
use crate::fs::part::{Parts, is_part_name};
use crate::fs::root::{PATH_LEN_MAX, Root, RootPath};
use crate::fs::{Error, ErrorKind};
use crate::trees::event::{StopHandle, stopped};
use crate::trees::{TreeEntry, WriteOptions, own_root, walk};
use crate::wire::message::{Attributes, EntryKind};

/// The destination of a tree.
#[derive(Debug)]
pub struct Destination {
    root: Arc<Root>,
    path: RootPath,
    shape: Shape,
    /// How files are written.
    pub options: WriteOptions,
    /// Where partial files are written.
    pub parts: Arc<Parts>,
    /// Whether the peer may learn nothing of what is there: then every file counts as different.
    pub is_blind: bool,
    /// The connection that the tree comes over: long work ends with it. `None`: it never ends.
    stop: Option<Arc<dyn StopHandle>>,
    /// Its name in errors.
    shown: String,
    base: Option<Base>,
    /// Open directories, by their paths in the tree.
    dirs: Below,
    /// In a dry run: paths that would be removed, since something of another kind comes.
    gone: HashSet<Vec<u8>>,
    /// Directories that were made usable to remove what is in them.
    eased: Eased,
}

/// What a destination may be.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Whether it is a directory; else a single file may get its name.
    pub goes_into: bool,
    /// Whether it is made if it is missing.
    pub is_made: bool,
}

#[derive(Debug)]
struct Base {
    /// `None`: it is not there, and would be made.
    dir: Option<Arc<Dir>>,
    /// The new name of a single file; `None`: entries keep their names.
    name: Option<Vec<u8>>,
}

impl Destination {
    /// The destination `path` below `root`.
    pub fn new(root: Arc<Root>, path: RootPath, shape: Shape, options: WriteOptions) -> Self {
        let (shown, parts) = (path.to_string(), Parts::unrecorded());
        Self {
            root,
            path,
            shape,
            options,
            parts,
            is_blind: false,
            stop: None,
            shown,
            base: None,
            dirs: Below::default(),
            gone: HashSet::new(),
            eased: Eased::default(),
        }
    }

    /// The same, with its partial files on record.
    #[must_use]
    pub fn with_parts(self, parts: Arc<Parts>) -> Self {
        Self { parts, ..self }
    }

    /// The same, for a peer that may not read: it learns nothing of what is there.
    #[must_use]
    pub fn blind(self) -> Self {
        Self { is_blind: true, ..self }
    }

    /// The destination `path` on this machine, where a symlink is followed.
    ///
    /// # Errors
    /// Nothing on the way to it exists, or it cannot be opened.
    pub fn of_own(path: &Path, shape: Shape, options: WriteOptions) -> io::Result<Self> {
        let mut below = Vec::new();
        let mut above = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        // The deepest directory that is there is the root, and the rest is below it.
        let root = loop {
            match above.canonicalize() {
                Ok(found) if found.is_dir() => break own_root(&found)?,
                Ok(found) => {
                    below.push(found.file_name().unwrap_or_default().to_owned());
                    break own_root(found.parent().unwrap_or(Path::new("/")))?;
                }
                // A rename would put a file in its place: /dev/stdout would be gone.
                Err(_) if above.is_symlink() => {
                    let to = above.read_link().unwrap_or_default();
                    return Err(io::Error::other(format!(
                        "is a symlink to {}, which is no file or directory; name its target, or - for standard output",
                        to.display()
                    )));
                }
                Err(error) => {
                    below.push(above.file_name().ok_or(error)?.to_owned());
                    above = above.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
                }
            }
        };
        let parts: Vec<&[u8]> = below.iter().rev().map(|part| part.as_bytes()).collect();
        let below = RootPath::default().join(&parts.join(&b'/')).map_err(io::Error::other)?;
        let goes_into = shape.goes_into || path.as_os_str().as_bytes().ends_with(b"/");
        let destination = Self::new(root, below, Shape { goes_into, ..shape }, options);
        Ok(Self { shown: path.to_string_lossy().into_owned(), ..destination })
    }

    /// Long work ends when this connection has ended.
    pub fn heed(&mut self, stop: Arc<dyn StopHandle>) {
        self.stop = Some(stop);
    }

    /// The connection that the tree comes over, if it is known.
    pub fn stop_handle(&self) -> Option<Arc<dyn StopHandle>> {
        self.stop.clone()
    }

    /// Whether the connection has ended meanwhile.
    pub fn is_stopped(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.is_stopped())
    }

    /// Ends long work with the connection.
    ///
    /// # Errors
    /// The connection has ended meanwhile.
    pub fn check(&self) -> io::Result<()> {
        if self.is_stopped() { Err(stopped()) } else { Ok(()) }
    }

    /// Whether [`settle`](Self::settle) was called.
    pub const fn is_settled(&self) -> bool {
        self.base.is_some()
    }

    /// Finds the destination's directory, now that the first entry tells what comes. Returns its path as the root has
    /// it, and the new name of a single file.
    ///
    /// # Errors
    /// It is missing or cannot be used.
    pub fn settle(&mut self, first: &TreeEntry) -> Result<(Vec<u8>, Option<Vec<u8>>), Refusal> {
        self.find(first).map_err(|why| match why.message.rsplit_once(": ") {
            // By the name that was given, and not by what it is below the root.
            Some((_, rest)) if self.shown != self.path.to_string() => {
                Refusal::new(why.code, format!("{}: {rest}", self.shown))
            }
            _ => why,
        })
    }

    fn find(&mut self, first: &TreeEntry) -> Result<(Vec<u8>, Option<Vec<u8>>), Refusal> {
        let Self { root, path, shape, options, .. } = &*self;
        let is_dir = path.is_root() || root.goes_into(path)?;
        let (base, above) = if shape.goes_into || is_dir || first.kind == EntryKind::Dir {
            let would_be_made = !is_dir && shape.is_made;
            if would_be_made && !options.dry_run {
                root.make_dir(path, true)?;
            }
            let dir = if would_be_made && options.dry_run { None } else { Some(Arc::new(root.open_dir(path)?)) };
            (Base { dir, name: None }, path.clone())
        } else {
            let (dir, name) = root.open_parent(path)?;
            let above = path.split_last().map(|(above, _)| above).unwrap_or_default();
            (Base { dir: Some(Arc::new(dir)), name: Some(name.as_bytes().to_vec()) }, above)
        };
        let name = base.name.clone();
        self.base = Some(base);
        Ok((above.to_absolute(), name))
    }

    /// An entry's path here: its own, or a single file's new name.
    ///
    /// # Errors
    /// It is no path that stays in the tree.
    pub fn path_of(&self, entry: &TreeEntry, is_first: bool) -> Result<Vec<u8>, Refusal> {
        match &self.base {
            // The directory above a single file was not named, and is none of the sender's business.
            Some(Base { name: Some(_), .. }) if !is_first || entry.kind == EntryKind::Dir => {
                let shown = String::from_utf8_lossy(&entry.path);
                Err(Refusal::new(ErrorCode::BadName, format!("{shown}: one file was asked for, and this is another")))
            }
            Some(Base { name: Some(name), .. }) => Ok(name.clone()),
            _ => check_path(&entry.path).map(|()| entry.path.clone()),
        }
    }

    /// The name of an entry in errors.
    pub fn shown(&self, path: &[u8]) -> String {
        if self.base.as_ref().is_some_and(|base| base.name.is_some()) || path.is_empty() {
            return self.shown.clone();
        }
        let path = String::from_utf8_lossy(path);
        match self.shown.as_str() {
            "" | "." => path.into_owned(),
            above => format!("{}/{path}", above.trim_end_matches('/')),
        }
    }

    /// The error of an entry, with its name.
    pub fn explained(&self, path: &[u8], error: &io::Error) -> Refusal {
        let shown = self.shown(path);
        Refusal::new(Error::from(error).kind().into(), walk::explained(&shown, error))
    }

    /// The directory `path` of the tree.
    ///
    /// # Errors
    /// It is not there, or something on the way is a symlink.
    pub fn dir(&mut self, path: &[u8]) -> io::Result<Arc<Dir>> {
        self.open(path).map(|open| open.dir)
    }

    fn open(&mut self, path: &[u8]) -> io::Result<OpenDir> {
        if self.would_be_gone(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let base = self.base_dir()?;
        Ok(self.dirs.at(&base, path, |dir, name| self.root.open_dir_in(dir, name))?)
    }

    fn base_dir(&self) -> io::Result<Arc<Dir>> {
        let dir = self.base.as_ref().and_then(|base| base.dir.as_ref());
        Ok(Arc::clone(dir.ok_or(io::ErrorKind::NotFound)?))
    }

    /// Whether this would be removed, or what it is in.
    fn would_be_gone(&self, path: &[u8]) -> bool {
        let is_end = |at: &usize| path.get(*at).is_none_or(|byte| *byte == b'/');
        !self.gone.is_empty()
            && (1..=path.len()).filter(is_end).any(|at| path.get(..at).is_some_and(|path| self.gone.contains(path)))
    }

    /// What is there under a name, without following a symlink. `None`: nothing, or in a dry run it would be gone by
    /// then.
    fn find_at(&self, dir: &Dir, path: &[u8]) -> io::Result<Option<Stat>> {
        if self.would_be_gone(path) {
            return Ok(None);
        }
        self.root.check_name(dir, split(path).1)?;
        looked_at(dir, split(path).1)
    }

    /// The sender's attributes that a file gets here.
    pub fn attributes(&self, size: u64, mtime_ns: Option<i64>, mode: u32) -> Attributes {
        let preserve = self.options.preserve;
        Attributes { size, mtime_ns: mtime_ns.filter(|_| preserve), mode: preserve.then_some(mode) }
    }

    /// Opens a file that is there. What has its name may be a symlink by now, which is not followed, or a hard link
    /// to what is never shown.
    fn open_file(&self, dir: &Dir, name: &OsStr) -> io::Result<std::fs::File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(dir, name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        self.root.check_shows(|| Ok((stat.st_dev, stat.st_ino)))?;
        Ok(file.into())
    }
}

/// A path in a tree: parts that are names, and nothing that leads elsewhere.
fn check_path(path: &[u8]) -> Result<(), Refusal> {
    let bad = |why: &str| Err(Refusal::new(ErrorCode::BadName, format!("{}: {why}", String::from_utf8_lossy(path))));
    if path.is_empty() {
        return Ok(());
    }
    if path.len() > PATH_LEN_MAX {
        return bad(&format!("the path has {} bytes, over the limit of {PATH_LEN_MAX}", path.len()));
    }
    if path.contains(&0) {
        return bad("a name cannot hold a NUL");
    }
    if path.split(|byte| *byte == b'/').any(|part| part.is_empty() || part == b"." || part == b"..") {
        return bad("leads out of the tree");
    }
    if path.split(|byte| *byte == b'/').any(is_part_name) {
        return bad("names like .NAME.1a2b3c4d.part are kept for unfinished copies; rename it");
    }
    Ok(())
}

/// What is there, without following a symlink; `None`: nothing.
fn looked_at(dir: &Dir, name: &OsStr) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn kind_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn in_the_way(what: &'static str) -> io::Error {
    Error::new(ErrorKind::Exists, what).into()
}
