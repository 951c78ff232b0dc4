//! Where a tree goes: what is there, and what is made of directories and symlinks.
//!
//! Nothing that the source says becomes a path: each part of a name is opened in the directory above it, and no
//! symlink is gone through, so it stays below the place that was named, whoever swaps what meanwhile.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

use super::event::{Beat, StopHandle, stopped};
use super::large::digest_of;
use super::times::FileTimes;
use super::walk;
use super::{TreeEntry, WriteOptions, own_root};
use crate::error::{ErrorCode, Refusal};
use crate::fs::below::{self, Below, Eased, OpenDir, split};
use crate::fs::part::{Checksum, PIECE_LEN, Parts, is_part_name};
use crate::fs::root::{PATH_LEN_MAX, Root, RootPath};
use crate::fs::unix::{stat_ctime_ns, stat_mtime_ns, timestamps};
use crate::fs::{Error, ErrorKind};
use crate::wire::message::{Attributes, EntryKind};

/// Where a tree goes.
#[derive(Debug)]
pub struct Destination {
    root: Arc<Root>,
    path: RootPath,
    shape: Shape,
    /// How to write.
    pub keeping: WriteOptions,
    /// Where files are on their way in.
    pub parts: Arc<Parts>,
    /// Whether the other end may learn nothing of what is there: all counts as different then.
    pub is_blind: bool,
    /// The connection that it comes over: without it nothing is of use.
    stop: Option<Arc<dyn StopHandle>>,
    /// As people know it, for errors.
    shown: String,
    base: Option<Base>,
    /// Open directories, by their path in the tree.
    dirs: Below,
    /// In a dry run: what would be removed, since something of another kind comes.
    gone: HashSet<Vec<u8>>,
    /// Directories that were made usable to remove what is in them.
    eased: Eased,
}

/// What it may be.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// It is a directory; otherwise a single file may get its name.
    pub goes_into: bool,
    /// It is made if it is missing.
    pub is_made: bool,
}

#[derive(Debug)]
struct Base {
    /// `None`: it is not there, and would be made.
    dir: Option<Arc<Dir>>,
    /// The new name of a single file.
    name: Option<Vec<u8>>,
}

/// What is there under a file's name.
#[derive(Debug)]
pub enum There {
    /// The same file.
    Same,
    /// A file of the same size with this digest.
    Unknown(String),
    /// Nothing, or another file, or one that is to be looked at more closely; the directory, if there is one.
    Other(Option<Arc<Dir>>),
}

/// What stands where something of another kind is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// A directory, with what is in it.
    Dir,
    /// A file or symlink that the new thing replaces at once.
    Replaced,
    /// Something else that has to be removed first.
    Single,
}

impl Destination {
    /// `path` below `root`.
    pub fn new(root: Arc<Root>, path: RootPath, shape: Shape, keeping: WriteOptions) -> Self {
        let (shown, parts) = (path.to_string(), Parts::unrecorded());
        Self {
            root,
            path,
            shape,
            keeping,
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

    /// The same, with unfinished files on record.
    #[must_use]
    pub fn with_parts(self, parts: Arc<Parts>) -> Self {
        Self { parts, ..self }
    }

    /// The same, for another end that may not read: it learns nothing of what is there.
    #[must_use]
    pub fn blind(self) -> Self {
        Self { is_blind: true, ..self }
    }

    /// `path` on this machine, where a symlink is followed.
    ///
    /// # Errors
    /// Nothing on the way to it exists, or it cannot be opened.
    pub fn of_own(path: &Path, shape: Shape, keeping: WriteOptions) -> io::Result<Self> {
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
        let place = Self::new(root, below, Shape { goes_into, ..shape }, keeping);
        Ok(Self { shown: path.to_string_lossy().into_owned(), ..place })
    }

    /// What comes over this connection is of no use when that has ended.
    pub fn heed(&mut self, stop: Arc<dyn StopHandle>) {
        self.stop = Some(stop);
    }

    /// The connection that it comes over.
    pub fn stop_handle(&self) -> Option<Arc<dyn StopHandle>> {
        self.stop.clone()
    }

    /// Whether the connection has ended meanwhile.
    pub fn is_stopped(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.is_stopped())
    }

    /// For work that takes its time.
    ///
    /// # Errors
    /// The connection has ended meanwhile.
    pub fn check(&self) -> io::Result<()> {
        if self.is_stopped() { Err(stopped()) } else { Ok(()) }
    }

    /// Whether it is known where it all goes.
    pub const fn is_settled(&self) -> bool {
        self.base.is_some()
    }

    /// Finds out where it all goes, now that the first entry says what it is: the directory as the root has it, and
    /// the new name of a single file.
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
        let Self { root, path, shape, keeping, .. } = &*self;
        let is_dir = path.is_root() || root.goes_into(path)?;
        let (base, above) = if shape.goes_into || is_dir || first.kind == EntryKind::Dir {
            let would_be_made = !is_dir && shape.is_made;
            if would_be_made && !keeping.dry_run {
                root.make_dir(path, true)?;
            }
            let dir = if would_be_made && keeping.dry_run { None } else { Some(Arc::new(root.open_dir(path)?)) };
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
            // The directory above a single file was not named, and is none of the source's business.
            Some(Base { name: Some(_), .. }) if !is_first || entry.kind == EntryKind::Dir => {
                let shown = String::from_utf8_lossy(&entry.path);
                Err(Refusal::new(ErrorCode::BadName, format!("{shown}: one file was asked for, and this is another")))
            }
            Some(Base { name: Some(name), .. }) => Ok(name.clone()),
            _ => check_path(&entry.path).map(|()| entry.path.clone()),
        }
    }

    /// Something in the tree as people know it.
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

    /// Why something in the tree could not be done.
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

    /// What is there under a name, without following a symlink; `None`: nothing, or it would be gone by then.
    fn find_at(&self, dir: &Dir, path: &[u8]) -> io::Result<Option<Stat>> {
        if self.would_be_gone(path) {
            return Ok(None);
        }
        self.root.check_name(dir, split(path).1)?;
        looked_at(dir, split(path).1)
    }

    /// What a file of this place gets of what the source says it has.
    pub fn attributes(&self, size: u64, mtime_ns: Option<i64>, mode: u32) -> Attributes {
        let preserve = self.keeping.preserve;
        Attributes { size, mtime_ns: mtime_ns.filter(|_| preserve), mode: preserve.then_some(mode) }
    }

    /// Compares a listed file with what is there.
    ///
    /// # Errors
    /// Something else is in its way, or cannot be looked at.
    pub fn compare(&mut self, path: &[u8], entry: &TreeEntry, beat: Beat<'_>) -> io::Result<There> {
        let (dir, name) = split(path);
        let opened = match self.open(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.keeping.dry_run => {
                return Ok(There::Other(None));
            }
            opened => opened?,
        };
        let OpenDir { dir, is_new } = opened;
        if is_new {
            return Ok(There::Other(None));
        }
        let Some(stat) = self.find_at(&dir, path)? else { return Ok(There::Other(Some(dir))) };
        match kind_of(&stat) {
            FileType::RegularFile if self.keeping.checksum && u64::try_from(stat.st_size) == Ok(entry.size) => {
                Ok(There::Unknown(digest_of(&self.open_file(&dir, name)?, beat)?.finalize().to_hex().to_string()))
            }
            FileType::RegularFile if !self.is_blind && self.is_same(&dir, &stat, entry) => {
                let is_mode_other = stat.st_mode & 0o777 != entry.mode & 0o777;
                if self.keeping.preserve && is_mode_other && !self.keeping.dry_run {
                    match self.set_mode(&dir, name, entry.mode) {
                        // What its owner may not even read is put in place anew.
                        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::ACCESS.raw_os_error()) => {
                            return Ok(There::Other(None));
                        }
                        set => set?,
                    }
                }
                Ok(There::Same)
            }
            FileType::RegularFile | FileType::Symlink => Ok(There::Other(Some(dir))),
            FileType::Directory => Err(in_the_way("is a directory here; remove it first")),
            // A rename would put a file in a pipe's or a device's place.
            _ => Err(in_the_way("is neither a file nor a directory; only files are replaced")),
        }
    }

    fn set_mode(&self, dir: &Dir, name: &OsStr, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::fchmod(self.open_file(dir, name)?, Mode::from_raw_mode(mode & 0o777))?)
    }

    /// Opens a file that is there. What has its name may be a symlink by now, which is not followed, or a hard link to
    /// what is never shown.
    fn open_file(&self, dir: &Dir, name: &OsStr) -> io::Result<std::fs::File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(dir, name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        self.root.check_shows(|| Ok((stat.st_dev, stat.st_ino)))?;
        Ok(file.into())
    }

    /// The file that is there under this name, and its length in bytes.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn other_version(&mut self, path: &[u8]) -> io::Result<Option<(std::fs::File, u64)>> {
        let (dir, name) = split(path);
        let dir = self.dir(dir)?;
        let is_file = |stat: Stat| kind_of(&stat) == FileType::RegularFile;
        if !looked_at(&dir, name)?.is_some_and(is_file) {
            return Ok(None);
        }
        let file = self.open_file(&dir, name)?;
        let len = file.metadata()?.len();
        Ok(Some((file, len)))
    }

    /// Gives a file that is there the mode and time of the source's.
    ///
    /// # Errors
    /// The system refuses.
    pub fn set_attributes(&mut self, path: &[u8], entry: &TreeEntry) -> io::Result<()> {
        if !self.keeping.preserve || self.keeping.dry_run {
            return Ok(());
        }
        let (dir, name) = split(path);
        let dir = self.dir(dir)?;
        let file = self.open_file(&dir, name)?;
        rustix::fs::futimens(&file, &timestamps(entry.mtime_ns))?;
        Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(entry.mode & 0o777))?)
    }

    /// Whether what is there is the listed file, as far as size and time tell.
    fn is_same(&self, dir: &Dir, there: &Stat, entry: &TreeEntry) -> bool {
        if u64::try_from(there.st_size).unwrap_or(0) != entry.size {
            return false;
        }
        let mtime_ns = stat_mtime_ns(there);
        // Where times are not kept, what is there is as new as its last transfer.
        let is_exact = if self.keeping.preserve { mtime_ns == entry.mtime_ns } else { mtime_ns >= entry.mtime_ns };
        is_exact || {
            let kept = FileTimes { mtime_ns, ctime_ns: stat_ctime_ns(there), may_be_fat: may_be_fat(dir) };
            if self.keeping.preserve { kept.is(entry.mtime_ns) } else { kept.is_since(entry.mtime_ns) }
        }
    }

    /// Makes a directory; `false`: it was there.
    ///
    /// # Errors
    /// Something else is in its way, or the system refuses.
    pub fn make_dir(&mut self, path: &[u8], mode: u32) -> io::Result<bool> {
        let (above, name) = split(path);
        let dry_run = self.keeping.dry_run;
        let dir = match self.dir(above) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && dry_run => return Ok(true),
            dir => dir?,
        };
        if dry_run && self.find_at(&dir, path)?.is_none() {
            return Ok(true);
        }
        // Until all is in it, its owner may write, whatever its mode will be.
        let mode = if self.keeping.preserve { mode & 0o777 | 0o700 } else { 0o777 };
        self.root.check_name(&*dir, name)?;
        let is_new = match rustix::fs::mkdirat(&*dir, name, Mode::from_raw_mode(mode)) {
            Ok(()) => true,
            Err(rustix::io::Errno::EXIST) => false,
            Err(error) => return Err(error.into()),
        };
        let opened = self.root.open_dir_in(&dir, name).map_err(|error| match error.kind() {
            ErrorKind::NotADirectory => Error::new(ErrorKind::Exists, "is no directory here; remove it first"),
            _ => error,
        })?;
        if self.keeping.preserve && !dry_run {
            make_writable(&opened)?;
        }
        self.dirs.keep(path, OpenDir { dir: Arc::new(opened), is_new });
        Ok(is_new)
    }

    /// Waits until all that was made here is on the disk.
    ///
    /// # Errors
    /// The disk failed.
    pub fn sync(&self) -> io::Result<()> {
        let Some(dir) = self.base.as_ref().and_then(|base| base.dir.as_ref()) else { return Ok(()) };
        // It may have been opened as a mere path (O_PATH).
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::syncfs(rustix::fs::openat(&**dir, ".", flags, Mode::empty())?)?)
    }

    /// Makes a symlink; `false`: it was there.
    ///
    /// # Errors
    /// Something else is in its way, or the system refuses.
    pub fn make_link(&mut self, path: &[u8], entry: &TreeEntry) -> io::Result<bool> {
        let to = entry.target.as_deref().filter(|to| !to.is_empty() && !to.contains(&0));
        let to = OsStr::from_bytes(to.ok_or_else(|| io::Error::other("a symlink to nothing"))?);
        let (above, name) = split(path);
        let dry_run = self.keeping.dry_run;
        let dir = match self.dir(above) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && dry_run => return Ok(true),
            dir => dir?,
        };
        if let Some(stat) = self.find_at(&dir, path)? {
            match kind_of(&stat) {
                // For another end that may not read each is made anew: an equal one must not answer otherwise.
                FileType::Symlink if !self.is_blind => {
                    if rustix::fs::readlinkat(&*dir, name, Vec::new())?.as_bytes() == to.as_bytes() {
                        return Ok(false);
                    }
                }
                FileType::RegularFile | FileType::Symlink => {}
                _ => return Err(in_the_way("is neither a file nor a symlink here; remove it first")),
            }
        }
        if !dry_run {
            self.parts.put_symlink(&dir, name, to, self.attributes(0, Some(entry.mtime_ns), 0).mtime_ns)?;
        }
        Ok(true)
    }

    /// Makes `path` another name of the file `head`; `false`: it is. Where the system has no hard links, it becomes a
    /// copy.
    ///
    /// # Errors
    /// The file is not there, something else is in the way, or the system refuses.
    pub fn hard_link(&mut self, head: &[u8], path: &[u8]) -> io::Result<bool> {
        let ((head_dir, head), (above, name)) = (split(head), split(path));
        let dirs = self.dir(head_dir).and_then(|head_dir| Ok((head_dir, self.dir(above)?)));
        let (head_dir, dir) = match dirs {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.keeping.dry_run => return Ok(true),
            dirs => dirs?,
        };
        self.root.check_name(&*head_dir, head)?;
        let file = looked_at(&head_dir, head)?.filter(|stat| kind_of(stat) == FileType::RegularFile);
        if file.is_none() && self.keeping.dry_run {
            return Ok(true);
        }
        let file = file.ok_or_else(|| io::Error::other("the file whose other name it is did not arrive"))?;
        if let Some(stat) = self.find_at(&dir, path)? {
            match kind_of(&stat) {
                // As with symlinks, for an end that may not read it is made anew.
                FileType::RegularFile if !self.is_blind && (stat.st_dev, stat.st_ino) == (file.st_dev, file.st_ino) => {
                    return Ok(false);
                }
                FileType::RegularFile | FileType::Symlink => {}
                _ => return Err(in_the_way("is no file here; remove it first")),
            }
        }
        if self.keeping.dry_run {
            return Ok(true);
        }
        match self.parts.put_hard_link((&head_dir, head), (&dir, name)).map_err(io::Error::from) {
            Err(error) if matches!(error.kind(), io::ErrorKind::CrossesDevices | io::ErrorKind::PermissionDenied) => {
                self.copy((&head_dir, head), (dir, name), &file)
            }
            linked => linked,
        }
        .map(|()| true)
    }

    fn copy(&self, (from_dir, from): (&Dir, &OsStr), (dir, name): (Arc<Dir>, &OsStr), stat: &Stat) -> io::Result<()> {
        let mut from = self.open_file(from_dir, from)?;
        let preserved = (&self.attributes(0, Some(stat_mtime_ns(stat)), stat.st_mode)).into();
        let mut copy = self.parts.create(dir, name, preserved)?;
        let mut piece = vec![0; PIECE_LEN];
        loop {
            let len = io::Read::read(&mut from, &mut piece)?;
            if len == 0 {
                let size = copy.size();
                return Ok(copy.publish(Checksum { size, blake3: None }, preserved)?);
            }
            copy.write(piece.get(..len).unwrap_or_default())?;
        }
    }

    /// Sets a directory's mode and time, now that nothing more is made in it.
    ///
    /// # Errors
    /// The system refuses.
    pub fn finish_dir(&mut self, path: &[u8], mode: u32, wanted_ns: i64) -> io::Result<()> {
        let dir = self.dir(path)?;
        let stat = rustix::fs::fstat(&*dir)?;
        // The time first: of a directory that may not be entered it could not be set any more.
        if self.is_blind || stat_mtime_ns(&stat) != wanted_ns {
            rustix::fs::utimensat(&*dir, ".", &timestamps(wanted_ns), AtFlags::empty())?;
        }
        if self.is_blind || stat.st_mode & 0o777 != mode & 0o777 {
            // Whether new files in it get its group (set-group-id, which is inherited) is this side's business.
            let mode = mode & 0o777 | stat.st_mode & 0o7000;
            rustix::fs::chmodat(&*dir, ".", Mode::from_raw_mode(mode), AtFlags::empty())?;
        }
        Ok(())
    }

    /// The names in a directory of the tree, each with whether it is a directory.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn names_in(&mut self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, bool)>> {
        self.check()?;
        let dir = self.dir(path)?;
        let mut names = below::names_in(&dir)?;
        names.retain(|(name, _)| self.root.check_name(&*dir, OsStr::from_bytes(name)).is_ok());
        Ok(names)
    }

    /// The same for a directory that is to be removed: its mode does not keep its owner out.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn names_to_remove(&mut self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, bool)>> {
        let (above, name) = split(path);
        if self.keeping.dry_run {
            return match self.names_in(path) {
                // What is in it could only be seen after its mode was changed.
                Err(error) if below::is_forbidden(&error) => Ok(Vec::new()),
                names => names,
            };
        }
        let dir = self.dir(above)?;
        let base = self.base_dir()?;
        if self.eased.ease_in(&base, path, (&dir, name))? {
            self.dirs.forget(path);
        }
        self.names_in(path)
    }

    /// What stands where something of this kind is to be; `None`: nothing that would have to go.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn obstacle(&mut self, path: &[u8], kind: EntryKind) -> io::Result<Option<Obstacle>> {
        let dir = self.dir(split(path).0)?;
        let Some(stat) = self.find_at(&dir, path)? else { return Ok(None) };
        Ok(match (kind_of(&stat), kind) {
            (FileType::Directory, EntryKind::Dir)
            | (FileType::RegularFile, EntryKind::File)
            | (FileType::Symlink, EntryKind::Link)
            | (_, EntryKind::Other) => None,
            (FileType::Directory, _) => Some(Obstacle::Dir),
            (FileType::RegularFile, EntryKind::Link) | (FileType::Symlink, EntryKind::File) => Some(Obstacle::Replaced),
            _ => Some(Obstacle::Single),
        })
    }

    /// Notes that something would be removed, with all that is in it, if this were no dry run.
    pub fn would_remove(&mut self, path: &[u8]) {
        self.gone.insert(path.to_vec());
    }

    /// Whether this is another transfer's unfinished copy, or only called like one: then nobody removes it.
    pub fn is_kept(&mut self, path: &[u8]) -> bool {
        let (above, name) = split(path);
        is_part_name(name.as_bytes()) && !self.dir(above).is_ok_and(|dir| self.parts.is_idle(&dir, name))
    }

    /// Removes a file, or a directory in which nothing is.
    ///
    /// # Errors
    /// The system refuses.
    pub fn remove(&mut self, path: &[u8], is_dir: bool) -> io::Result<()> {
        let (above, name) = split(path);
        let dir = self.dir(above)?;
        self.root.check_name(&*dir, name)?;
        self.dirs.forget(path);
        let flags = if is_dir { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match rustix::fs::unlinkat(&*dir, name, flags).map_err(io::Error::from) {
            Err(error) if below::is_forbidden(&error) => {
                let base = self.base_dir()?;
                if !self.eased.ease(&base, above, &*dir)? {
                    return Err(error);
                }
                rustix::fs::unlinkat(&*dir, name, flags)?;
            }
            removed => removed?,
        }
        self.eased.forget(path);
        Ok(())
    }

    /// Gives directories that were made usable, and are still there, the modes that they had.
    pub fn restore_modes(&mut self) {
        self.eased.restore();
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

/// Whether a directory is on FAT, or on a server's disk that may be (`linux/magic.h`).
fn may_be_fat(dir: &Dir) -> bool {
    const FAT: i64 = 0x4d44;
    const SERVERS: [i64; 4] = [0xff53_4d42, 0xfe53_4d42, 0x6573_5546, 0x0102_1997];
    // A magic number has 32 bits, whatever its sign is here.
    let found = rustix::fs::fstatfs(dir).map(|found| found.f_type & 0xffff_ffff);
    found.is_ok_and(|magic| magic == FAT || SERVERS.contains(&magic))
}

fn kind_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Lets the owner write until all is in it; its listed mode is set at the end.
fn make_writable(dir: &Dir) -> io::Result<()> {
    let stat = rustix::fs::fstat(dir)?;
    if stat.st_mode & 0o300 == 0o300 || stat.st_uid != rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Ok(rustix::fs::fchmod(dir, Mode::from_raw_mode(stat.st_mode & 0o7777 | 0o300))?)
}

fn in_the_way(what: &'static str) -> io::Error {
    Error::new(ErrorKind::Exists, what).into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::trees::delta::Delta;

    #[test]
    fn a_mirror_that_ends_early_leaves_modes_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("closed/in")).unwrap();
        for name in ["closed/file", "closed/in/file"] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        for (name, mode) in [("closed/in", 0o000), ("closed", 0o500)] {
            std::fs::set_permissions(dir.path().join(name), PermissionsExt::from_mode(mode)).unwrap();
        }
        let (preserve, sync, resume, checksum, dry_run) = (false, false, false, false, false);
        let (delta, delete, force) = (Delta::Never, true, true);
        let keeping = WriteOptions { preserve, sync, resume, checksum, delta, dry_run, delete, force };
        let shape = Shape { goes_into: true, is_made: false };
        let root = Arc::new(Root::open(dir.path()).unwrap());
        let mut place = Destination::new(root, RootPath::default(), shape, keeping);
        let (path, kind, (target, same, error, skipped)) = (Vec::new(), EntryKind::Dir, (None, None, None, None));
        let (has_links, has_met, size, mtime_ns, mode) = (false, false, 0, 0, 0o755);
        place
            .settle(&TreeEntry { path, kind, size, mtime_ns, mode, target, same, has_links, error, skipped, has_met })
            .unwrap();
        assert_eq!(place.names_to_remove(b"closed").unwrap().len(), 2);
        assert_eq!(place.names_to_remove(b"closed/in").unwrap().len(), 1);
        place.remove(b"closed/in/file", false).unwrap();
        let mode = |name: &str| dir.path().join(name).metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!([mode("closed"), mode("closed/in")], [0o700, 0o700]);
        drop(place);
        assert_eq!(mode("closed"), 0o500);
        std::fs::set_permissions(dir.path().join("closed"), PermissionsExt::from_mode(0o700)).unwrap();
        assert_eq!(mode("closed/in"), 0);
    }
}
