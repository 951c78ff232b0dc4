//! The only way from a stranger's string to an open file.
//!
//! A [`RootPath`] is a name that cannot climb; a [`Root`] is an open directory. Every look-up goes
//! from the one through the other with cap-std, which asks the kernel to resolve beneath the
//! directory (openat2), so that a symlink swapped in between cannot lead out: what comes back is an
//! open file, not a name that was checked.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, Metadata, MetadataExt, OpenOptions, OpenOptionsExt};
use rustix::fs::{AtFlags, OFlags};

use crate::error::{ErrorCode, Refusal};
use crate::fs::below::{self, Below, DEPTH_MAX, Eased, split};

/// Longest path that is looked at, in bytes: Linux' `PATH_MAX`.
pub const PATH_LEN_MAX: usize = 4_096;

/// Symlinks that are followed on the way of one path in a guarded root: as many as Linux follows.
pub const LINKS_MAX: usize = 40;
/// Parts of such a path, with those of the symlinks on its way.
pub const STEPS_MAX: usize = 8_192;

/// Whether a file of this name could be another one's part, on its way in: `.NAME.1a2b3c4d.part`, or what earlier
/// versions kept beside it. Such names are reserved: no peer makes, reads, moves or removes what is called so. Whether
/// it is one, only a record in the home says.
pub fn is_part_name(name: &[u8]) -> bool {
    let ended = name.strip_suffix(b".part").or_else(|| name.strip_suffix(b".journal"));
    let kept = ended.and_then(|ended| ended.strip_prefix(b".")).and_then(|ended| ended.split_last_chunk::<9>());
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    kept.is_some_and(|(kept, [dot, digits @ ..])| !kept.is_empty() && *dot == b'.' && digits.iter().all(is_digit))
}

/// Says whether what has such a name is an unfinished copy that nothing writes to: only then it may be removed.
pub type IsIdle<'i> = &'i dyn Fn(&Dir, &OsStr) -> bool;

/// A path below the root: no `..`, no NUL, no empty part; empty is the root itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct RootPath(Vec<u8>);

impl RootPath {
    /// `path` seen from here; one that begins with a slash is seen from the root.
    ///
    /// `..` takes the last part of the *name* away, as a shell's `cd` does.
    ///
    /// # Errors
    /// It climbs above the root, is too long, or holds a NUL.
    pub fn join(&self, path: &[u8]) -> Result<Self, Refusal> {
        let shown = || String::from_utf8_lossy(path).into_owned();
        if path.contains(&0) {
            return Err(Refusal::new(ErrorCode::BadName, format!("{:?}: a path cannot hold a NUL", shown())));
        }
        let mut parts: Vec<&[u8]> = if path.starts_with(b"/") { Vec::new() } else { self.parts().collect() };
        for part in path.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    if parts.pop().is_none() {
                        return Err(Refusal::new(ErrorCode::OutsideRoot, format!("{}: leads above the root", shown())));
                    }
                }
                name if is_part_name(name) => return Err(reserved(path)),
                name => parts.push(name),
            }
        }
        let joined = parts.join(&b'/');
        if joined.len() > PATH_LEN_MAX {
            let text = format!("path of {} bytes is over the limit of {PATH_LEN_MAX} bytes", joined.len());
            return Err(Refusal::new(ErrorCode::BadName, text));
        }
        Ok(Self(joined))
    }

    /// The path as it goes on the wire: with a slash in front, which stands for the root.
    pub fn to_wire(&self) -> Vec<u8> {
        let mut path = vec![b'/'];
        path.extend_from_slice(&self.0);
        path
    }

    /// Its length in bytes.
    pub const fn byte_len(&self) -> usize {
        self.0.len()
    }

    /// Whether this is the root itself.
    pub const fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The directory part and the last name; `None` for the root.
    pub fn split_last(&self) -> Option<(Self, OsString)> {
        let name = self.parts().next_back().filter(|name| !name.is_empty())?;
        let parent = self.0.len() - name.len();
        let parent = self.0.get(..parent.saturating_sub(1)).unwrap_or_default().to_vec();
        Some((Self(parent), OsString::from_vec(name.to_vec())))
    }

    fn parts(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
    }

    fn as_path(&self) -> &Path {
        if self.0.is_empty() { Path::new(".") } else { Path::new(OsStr::from_bytes(&self.0)) }
    }
}

fn holds_a_part(path: &RootPath, name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    format!("{path}: holds {name}, an unfinished copy that is being written, or a file that is only called like one")
}

fn reserved(path: &[u8]) -> Refusal {
    let text = "names like .NAME.1a2b3c4d.part are kept for unfinished copies; choose another";
    Refusal::new(ErrorCode::BadName, format!("{}: {text}", String::from_utf8_lossy(path)))
}

impl fmt::Display for RootPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", String::from_utf8_lossy(&self.0))
    }
}

/// The directory that a server shows.
#[derive(Debug)]
pub struct Root {
    dir: Dir,
    /// What is never shown, wherever it lies.
    hidden: Option<Hidden>,
    /// The home directory of a user, whose dot names are neither shown nor accepted.
    guarded: Option<Hidden>,
}

impl Root {
    /// Opens the root: the operator's own path, the only one that is taken as it is.
    ///
    /// # Errors
    /// It does not exist, or is no directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let dir = Dir::open_ambient_dir(path, ambient_authority())?;
        Ok(Self { dir, hidden: None, guarded: None })
    }

    /// Where this machine has it now.
    ///
    /// # Errors
    /// The system does not say.
    pub fn own_path(&self) -> io::Result<PathBuf> {
        path_of(&self.dir)
    }

    /// The same root, through which the directory `home` and what is in it cannot be reached: not by
    /// its name, a symlink, a hard link or another mount, because it is known by device and inode.
    ///
    /// # Errors
    /// The root is `home`, or lies in it.
    pub fn hiding(self, home: &Path) -> io::Result<Self> {
        let hidden = Hidden::of(home)?;
        if lies_in(&self.dir, hidden.directory)? {
            let text = "this is where the keys are kept, or below it: it cannot be shown; choose another root";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(Self { hidden: Some(hidden), ..self })
    }

    /// The same root, in which names that begin with a dot are neither shown nor accepted directly in `home`, a
    /// user's home directory, nor what is below them: keys, passwords, and what a shell or desktop starts. `home` is
    /// known by device and inode.
    ///
    /// # Errors
    /// `home` cannot be opened.
    pub fn guarding(self, home: &Path) -> io::Result<Self> {
        let home = Hidden::of(home)?;
        let is_concerned = home.lies_in(identity_of(&self.dir)?)?;
        Ok(Self { guarded: is_concerned.then_some(home), ..self })
    }

    /// Refuses a name in a directory that this root neither shows nor accepts: the one rule on names, for every verb.
    /// What lists leaves such names out.
    ///
    /// # Errors
    /// It is such a name, or the directory could not be looked at.
    pub fn check_name(&self, dir: impl AsFd, name: &OsStr) -> io::Result<()> {
        let Some(home) = self.guarded.as_ref().filter(|_| name.as_bytes().starts_with(b".")) else { return Ok(()) };
        let stat = rustix::fs::fstat(dir)?;
        if (stat.st_dev, stat.st_ino) == home.directory {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, GuardedName));
        }
        Ok(())
    }

    /// Where `path` below `dir` leads, all symlinks followed one by one. Each step is taken without following a
    /// symlink, and each name is looked at by the rule on names before the system is asked for it: nothing that is
    /// swapped meanwhile leads past the rule, and a name that is there and one that is not get the same answer, also
    /// at the end of a symlink.
    ///
    /// # Errors
    /// It does not exist, leads out, or a name on the way is not accepted.
    fn resolve_in(&self, dir: &Dir, path: &Path) -> io::Result<Resolved> {
        let mut way = Way::from(dir)?;
        let mut rest: Vec<Vec<u8>> = path.iter().rev().map(|part| part.as_bytes().to_vec()).collect();
        let (mut links, mut steps) = (0, 0);
        while let Some(part) = rest.pop() {
            steps += 1;
            if steps > STEPS_MAX {
                return Err(rustix::io::Errno::LOOP.into());
            }
            let name = match part.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    way.up()?;
                    continue;
                }
                name => OsStr::from_bytes(name),
            };
            self.check_name(&way.here, name)?;
            if is_part_name(&part) {
                return Err(io::Error::other(reserved(&part)));
            }
            let is_last = rest.is_empty();
            if !is_last && way.down(name)? {
                continue;
            }
            match rustix::fs::readlinkat(&way.here, name, Vec::new()) {
                Ok(target) if links < LINKS_MAX => {
                    links += 1;
                    let target = target.as_bytes();
                    if target.starts_with(b"/") {
                        return Err(leads_out());
                    }
                    // A slash at its end leaves an empty part behind it: what is in front of that has to be a
                    // directory.
                    rest.extend(target.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
                }
                Ok(_) => return Err(rustix::io::Errno::LOOP.into()),
                // No symlink.
                Err(rustix::io::Errno::INVAL) if is_last => {
                    return Ok(Resolved { dir: way.here, above: way.names, name: Some(name.to_owned()) });
                }
                Err(rustix::io::Errno::INVAL) => return Err(rustix::io::Errno::NOTDIR.into()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Resolved { dir: way.here, above: way.names, name: None })
    }

    /// One directory down; it need not be readable.
    fn step(&self, dir: &Dir, name: &OsStr) -> io::Result<Dir> {
        self.check_name(dir, name)?;
        below::open_path(dir, name)
    }

    /// Opens `path` below `dir`, which lies in this root, wherever its symlinks lead below `dir`.
    ///
    /// # Errors
    /// It does not exist, leads out, or a name on the way is not accepted.
    pub fn open_in(&self, dir: &Dir, path: &Path, flags: OFlags) -> io::Result<File> {
        if self.guarded.is_none() {
            let options = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).clone();
            return dir.open_with(path, &options);
        }
        let Resolved { dir, name, .. } = self.resolve_in(dir, path)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | flags;
        let name = name.as_deref().unwrap_or(OsStr::new("."));
        Ok(File::from_std(rustix::fs::openat(dir, name, flags, rustix::fs::Mode::empty())?.into()))
    }

    /// The directory `path` below `dir`, as [`open_in`](Self::open_in).
    ///
    /// # Errors
    /// As [`open_in`](Self::open_in), or it is no directory.
    pub fn open_dir_at(&self, dir: &Dir, path: &Path) -> io::Result<Dir> {
        if self.guarded.is_none() {
            return dir.open_dir(path);
        }
        match self.resolve_in(dir, path)? {
            Resolved { dir, name: None, .. } => Ok(dir),
            Resolved { dir, name: Some(name), .. } => self.step(&dir, &name),
        }
    }

    /// Whether this machine's directory `path` is the root or lies in it.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn holds(&self, path: &Path) -> io::Result<bool> {
        lies_in(&Dir::open_ambient_dir(path, ambient_authority())?, identity_of(&self.dir)?)
    }

    /// The directory `path` of this root as a root of its own, with the same things hidden.
    ///
    /// # Errors
    /// As [`open_dir`](Self::open_dir).
    pub fn below(&self, path: &RootPath) -> Result<Self, Refusal> {
        Ok(Self { dir: self.open_dir(path)?, hidden: self.hidden.clone(), guarded: self.guarded.clone() })
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// It does not exist, leads out of the root, or is a directory, device, pipe or socket.
    pub fn open_file(&self, path: &RootPath) -> Result<(File, Metadata), Refusal> {
        let refused = |error: &io::Error| refusal(path, error);
        // Without NONBLOCK a fifo would hold this thread until somebody writes to it; for a
        // regular file it means nothing (open(2)).
        let file = self.open_in(&self.dir, path.as_path(), OFlags::NONBLOCK).map_err(|error| refused(&error))?;
        let metadata = file.metadata().map_err(|error| refused(&error))?;
        self.check_shown(path, (metadata.dev(), metadata.ino()))?;
        // What is kept in the home is replaced by renaming: what was there when it was opened and was not
        // found there any more has no name left.
        if self.hidden.is_some() && file.metadata().map_err(|error| refused(&error))?.nlink() == 0 {
            return Err(Refusal::new(
                ErrorCode::NotFound,
                format!("{path}: was removed or replaced just now; ask again"),
            ));
        }
        if metadata.is_dir() {
            return Err(Refusal::new(ErrorCode::IsADirectory, format!("{path}: is a directory; name a file")));
        }
        if !metadata.is_file() {
            return Err(Refusal::new(ErrorCode::NotAFile, format!("{path}: is neither a file nor a directory")));
        }
        Ok((file, metadata))
    }

    /// Opens a directory.
    ///
    /// # Errors
    /// It does not exist, leads out of the root, or is something else.
    pub fn open_dir(&self, path: &RootPath) -> Result<Dir, Refusal> {
        let dir = self.open_dir_at(&self.dir, path.as_path()).map_err(|error| refusal(path, &error))?;
        if self.hidden.is_some() {
            self.check_shown(path, identity_of(&dir).map_err(|error| refusal(path, &error))?)?;
        }
        Ok(dir)
    }

    /// Opens the directory `name` of `dir`, which lies in this root: one part of a name, and no symlink, so it
    /// cannot lead elsewhere.
    ///
    /// # Errors
    /// It does not exist, is something else, or is hidden.
    pub fn open_dir_in(&self, dir: &Dir, name: &OsStr) -> io::Result<Dir> {
        self.check_name(dir, name)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = Dir::from_std_file(rustix::fs::openat(dir, name, flags, rustix::fs::Mode::empty())?.into());
        self.check_shows(|| identity_of(&opened))?;
        Ok(opened)
    }

    /// Refuses what is hidden, if anything is.
    ///
    /// # Errors
    /// It is hidden, or could not be looked at.
    pub fn check_shows(&self, found: impl FnOnce() -> io::Result<(u64, u64)>) -> io::Result<()> {
        match &self.hidden {
            Some(hidden) if hidden.holds(found()?)? => {
                Err(io::Error::new(io::ErrorKind::PermissionDenied, KeysAreHere))
            }
            _ => Ok(()),
        }
    }

    /// Where `path` is when all symlinks on the way are followed, inside this root.
    ///
    /// # Errors
    /// It does not exist or leads out of the root.
    pub fn canonical(&self, path: &RootPath) -> Result<RootPath, Refusal> {
        let found = match &self.guarded {
            None => self.dir.canonicalize(path.as_path()),
            Some(_) => self.resolve_in(&self.dir, path.as_path()).map(|found| found.path()),
        };
        let found = found.map_err(|error| refusal(path, &error))?;
        RootPath::default().join(found.as_os_str().as_bytes())
    }

    /// The same, for a path of a session.
    fn check_shown(&self, path: &RootPath, found: (u64, u64)) -> Result<(), Refusal> {
        self.check_shows(|| Ok(found)).map_err(|error| refusal(path, &error))
    }

    /// Opens the directory in which `path` is or would be, with the last name.
    ///
    /// # Errors
    /// As [`open_dir`](Self::open_dir), and for the root itself.
    pub fn open_parent(&self, path: &RootPath) -> Result<(Dir, OsString), Refusal> {
        let (parent, name) = path.split_last().ok_or_else(|| the_root_itself(path))?;
        let dir = self.open_dir(&parent)?;
        self.check_name(&dir, &name).map_err(|error| refusal(path, &error))?;
        Ok((dir, name))
    }

    /// What `path` is, without following a symlink at its end.
    ///
    /// # Errors
    /// It does not exist or leads out of the root.
    pub fn symlink_metadata(&self, path: &RootPath) -> Result<Metadata, Refusal> {
        if path.is_root() {
            return self.dir.dir_metadata().map_err(|error| refusal(path, &error));
        }
        let (dir, name) = self.open_parent(path)?;
        dir.symlink_metadata(name).map_err(|error| refusal(path, &error))
    }

    /// Whether `path` is a directory, or a symlink to one inside the root.
    pub fn is_dir(&self, path: &RootPath) -> bool {
        match &self.guarded {
            None => self.dir.metadata(path.as_path()).is_ok_and(|metadata| metadata.is_dir()),
            Some(_) => self.open_dir_at(&self.dir, path.as_path()).is_ok(),
        }
    }

    /// Whether what is to come to `path` goes into it: it is a directory, or a symlink to one inside the root. A
    /// symlink to anything else inside is a name like others, which may get another meaning.
    ///
    /// # Errors
    /// It leads out of the root, or it cannot be told where it leads: it may be somebody's directory.
    pub fn goes_into(&self, path: &RootPath) -> Result<bool, Refusal> {
        let is_dir = match &self.guarded {
            None => self.dir.metadata(path.as_path()).map(|metadata| metadata.is_dir()),
            Some(_) => self.open_dir_at(&self.dir, path.as_path()).map(|_| true),
        };
        match is_dir {
            Ok(is_dir) => Ok(is_dir),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
            Err(error) => Err(refusal(path, &error)),
        }
    }

    /// Makes a directory, with those above it if `parents`.
    ///
    /// # Errors
    /// It exists, the one above it does not, or it leads out of the root.
    pub fn make_dir(&self, path: &RootPath, parents: bool) -> Result<(), Refusal> {
        if !parents {
            let (dir, name) = self.open_parent(path)?;
            return dir.create_dir(name).map_err(|error| refusal(path, &error));
        }
        let parts: Vec<&[u8]> = path.parts().collect();
        let (mut dir, there) = self.open_deepest(&parts)?;
        for (index, part) in parts.iter().enumerate().skip(there) {
            let name = OsStr::from_bytes(part);
            self.check_name(&dir, name).map_err(|error| refusal(path, &error))?;
            let made = dir.create_dir(name);
            // Another request may have been faster.
            let is_there = made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists);
            if !is_there {
                made.map_err(|error| refusal(path, &error))?;
            }
            dir = match self.open_dir_in(&dir, name) {
                Ok(opened) => opened,
                // A symlink, put there a moment ago: followed from the root, as every other.
                Err(_) if is_there => self.open_dir(&Self::first(&parts, index + 1))?,
                Err(error) => return Err(refusal(path, &error)),
            };
        }
        Ok(())
    }

    /// The deepest directory on the way that `parts` name which is there, and how many parts lead to it. Halving
    /// finds it: to try part by part from the root would walk a path of 2,000 parts 2,000 times.
    fn open_deepest(&self, parts: &[&[u8]]) -> Result<(Dir, usize), Refusal> {
        let (mut there, mut missing) = (0, parts.len() + 1);
        let mut deepest = self.open_dir(&RootPath::default())?;
        while missing - there > 1 {
            let middle = there.midpoint(missing);
            match self.open_dir(&Self::first(parts, middle)) {
                Ok(dir) => (deepest, there) = (dir, middle),
                Err(refusal) if refusal.code == ErrorCode::NotFound => missing = middle,
                Err(refusal) => return Err(refusal),
            }
        }
        Ok((deepest, there))
    }

    fn first(parts: &[&[u8]], count: usize) -> RootPath {
        RootPath(parts.get(..count).unwrap_or(parts).join(&b'/'))
    }

    /// Removes a file or symlink; with `recursive`, a directory and all that is in it.
    ///
    /// # Errors
    /// It does not exist, is a directory and `recursive` is not set, is too deep, or is the root itself.
    pub fn remove(&self, path: &RootPath, recursive: bool, is_idle: IsIdle<'_>) -> Result<(), Refusal> {
        let (dir, name) = self.open_parent(path)?;
        let is_dir = dir.symlink_metadata(&name).map_err(|error| refusal(path, &error))?.is_dir();
        if is_dir && !recursive {
            return Err(Refusal::new(ErrorCode::IsADirectory, format!("{path}: is a directory; use -r to remove it")));
        }
        if is_dir {
            return self.remove_tree(&std::sync::Arc::new(dir), name, (path, is_idle));
        }
        dir.remove_file(&name).map_err(|error| refusal(path, &error))
    }

    /// Removes a directory and all that is in it, without following a symlink. Not cap-std's
    /// `remove_dir_all`: it goes down by recursion, and whoever may `mv` can build a tree that is deeper
    /// than a connection's stack.
    fn remove_tree(
        &self,
        parent: &std::sync::Arc<Dir>,
        name: OsString,
        (path, is_idle): (&RootPath, IsIdle<'_>),
    ) -> Result<(), Refusal> {
        let refused = |error: io::Error| refusal(path, &error);
        let (mut dirs, mut eased) = (Below::default(), Eased::default());
        let open = |dir: &Dir, name: &OsStr| self.open_dir_in(dir, name);
        let names = self.enter_for_removal(parent, name.as_bytes(), (&mut dirs, &mut eased)).map_err(refused)?;
        // What is below `parent` on the way down, and what of it is still there.
        let mut levels = vec![(name.into_vec(), names.into_iter())];
        while let Some((here, names)) = levels.last_mut() {
            let dir = dirs.at(parent, here, open).map_err(refused)?.dir;
            let Some((name, is_dir)) = names.next() else {
                let Some((here, _)) = levels.pop() else { break };
                drop(dir);
                let (above, name) = split(&here);
                let dir = dirs.at(parent, above, open).map_err(refused)?.dir;
                unlink(&dir, name, AtFlags::REMOVEDIR).map_err(refused)?;
                eased.forget(&here);
                continue;
            };
            if is_part_name(&name) && !is_idle(&dir, OsStr::from_bytes(&name)) {
                return Err(Refusal::new(ErrorCode::Failed, holds_a_part(path, &name)));
            }
            if !is_dir {
                self.check_name(&*dir, OsStr::from_bytes(&name)).map_err(refused)?;
                unlink(&dir, OsStr::from_bytes(&name), AtFlags::empty()).map_err(refused)?;
                continue;
            }
            let inner = [here.as_slice(), b"/", &name].concat();
            if levels.len() >= DEPTH_MAX {
                let text = format!("{path}: is over {DEPTH_MAX} directories deep; remove the inner ones first");
                return Err(Refusal::new(ErrorCode::Failed, text));
            }
            let names = self.enter_for_removal(parent, &inner, (&mut dirs, &mut eased)).map_err(refused)?;
            levels.push((inner, names.into_iter()));
        }
        Ok(())
    }

    /// Opens a directory that is to be removed with all that is in it, `at` below `parent`, also if its mode keeps its
    /// owner out; the names in it.
    fn enter_for_removal(
        &self,
        parent: &std::sync::Arc<Dir>,
        at: &[u8],
        (dirs, eased): (&mut Below, &mut Eased),
    ) -> io::Result<Vec<(Vec<u8>, bool)>> {
        let (above, name) = split(at);
        let open = |dir: &Dir, name: &OsStr| self.open_dir_in(dir, name);
        let above = dirs.at(parent, above, open)?.dir;
        let found = self.step(&above, name)?;
        if below::keeps_owner_out(&rustix::fs::fstat(&found)?) {
            self.check_shows(|| identity_of(&found))?;
            eased.ease(parent, at, &found)?;
        }
        below::names_in(&dirs.at(parent, at, open)?.dir)
    }

    /// Renames `from` to `to`, or into `to` if that is a directory; returns where it is now.
    ///
    /// # Errors
    /// Either leads out of the root or is the root itself, or the system refuses.
    pub fn rename(&self, from: &RootPath, to: &RootPath) -> Result<RootPath, Refusal> {
        let (from_dir, from_name) = self.open_parent(from)?;
        if let Ok(moved) = from_dir.symlink_metadata(&from_name) {
            let found = (moved.dev(), moved.ino());
            self.check_shown(from, found)?;
            // Whoever moves what the home lies in could put another home in its place.
            for (home, what) in [(&self.hidden, "the server keeps its keys"), (&self.guarded, "a home directory lies")]
            {
                if let Some(home) = home
                    && moved.is_dir()
                    && home.lies_in(found).map_err(|error| refusal(from, &error))?
                {
                    let text = format!("{from}: {what} there or below it, which stays where it is");
                    return Err(Refusal::new(ErrorCode::Permission, text));
                }
            }
        }
        let to = if self.goes_into(to)? { to.join(from_name.as_bytes())? } else { to.clone() };
        let (to_dir, to_name) = self.open_parent(&to)?;
        from_dir.rename(&from_name, &to_dir, &to_name).map_err(|error| refusal(from, &error))?;
        Ok(to)
    }

    /// Opens a directory of this machine that its own user named; for clients.
    ///
    /// # Errors
    /// It does not exist, or is no directory.
    pub fn open_own_dir(path: &Path) -> io::Result<Dir> {
        Dir::open_ambient_dir(path, ambient_authority())
    }
}

/// Removes something in a directory, if it is still there.
fn unlink(dir: &Dir, name: &OsStr, flags: AtFlags) -> io::Result<()> {
    match rustix::fs::unlinkat(dir, name, flags).map_err(io::Error::from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// A directory whose contents are never shown, by device and inode.
#[derive(Debug, Clone)]
struct Hidden {
    directory: (u64, u64),
    /// Opened once: a directory that is put in its place is another one.
    dir: std::sync::Arc<Dir>,
}

impl Hidden {
    fn of(path: &Path) -> io::Result<Self> {
        let dir = Dir::open_ambient_dir(path, ambient_authority())?;
        Ok(Self { directory: identity_of(&dir)?, dir: std::sync::Arc::new(dir) })
    }

    /// Whether the directory lies in `found`, however deep.
    fn lies_in(&self, found: (u64, u64)) -> io::Result<bool> {
        lies_in(&self.dir, found)
    }

    /// Whether this is the directory, or anything in it. Looked up every time, since what is in it is
    /// replaced; and whatever the device, since an overlay's files may have another than their directory.
    fn holds(&self, found: (u64, u64)) -> io::Result<bool> {
        if found == self.directory {
            return Ok(true);
        }
        let mut inside = vec![self.dir.try_clone()?];
        while let Some(dir) = inside.pop() {
            for entry in dir.entries()? {
                let entry = entry?;
                // What is gone by now was replaced, and is not what was found.
                let Ok(metadata) = entry.metadata() else { continue };
                if (metadata.dev(), metadata.ino()) == found {
                    return Ok(true);
                }
                if metadata.is_dir() {
                    inside.push(entry.open_dir()?);
                }
            }
        }
        Ok(false)
    }
}

/// Where a path leads.
#[derive(Debug)]
struct Resolved {
    /// The directory in which it is...
    dir: Dir,
    /// ... the names that lead to that...
    above: Vec<OsString>,
    /// ... and its name there; `None`: it is that directory.
    name: Option<OsString>,
}

impl Resolved {
    fn path(&self) -> PathBuf {
        self.above.iter().chain(&self.name).collect()
    }
}

/// How far a path has been followed.
#[derive(Debug)]
struct Way {
    here: Dir,
    /// The names that lead here.
    names: Vec<OsString>,
    /// The directories in which those names are. They are not kept open: a path may have more parts than there are
    /// descriptors.
    above: Vec<(u64, u64)>,
}

impl Way {
    fn from(dir: &Dir) -> io::Result<Self> {
        Ok(Self { here: dir.try_clone()?, names: Vec::new(), above: Vec::new() })
    }

    /// Goes down into a directory; `false`: it is none, and may be a symlink.
    fn down(&mut self, name: &OsStr) -> io::Result<bool> {
        let below = match below::open_path(&self.here, name) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(false),
            below => below?,
        };
        self.above.push(identity_of(&self.here)?);
        self.names.push(name.to_owned());
        self.here = below;
        Ok(true)
    }

    /// Goes back up.
    fn up(&mut self) -> io::Result<()> {
        let above = self.above.pop().ok_or_else(leads_out)?;
        self.names.pop();
        let up = open_up(&self.here)?;
        // A directory that was moved meanwhile has another one above it, which may lie outside.
        if identity_of(&up)? != above {
            return Err(io::Error::other("a directory on the way was moved just now; ask again"));
        }
        self.here = up;
        Ok(())
    }
}

/// The directory above `dir`, as a mere path. It may lie outside the root: nothing may be opened through it before it
/// was found to be inside.
fn open_up(dir: &Dir) -> rustix::io::Result<Dir> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(Dir::from_std_file(rustix::fs::openat(dir, "..", flags, rustix::fs::Mode::empty())?.into()))
}

/// The refusal to leave a directory, as cap-std has it: a kind and no errno.
fn leads_out() -> io::Error {
    io::ErrorKind::PermissionDenied.into()
}

/// Whether `dir` is the directory `wanted`, or lies in it, however deep.
fn lies_in(dir: &Dir, wanted: (u64, u64)) -> io::Result<bool> {
    let mut above = dir.try_clone()?;
    let mut last = None;
    // Up to the top, which is its own parent.
    loop {
        let here = identity_of(&above)?;
        if here == wanted {
            return Ok(true);
        }
        if last.replace(here) == Some(here) {
            return Ok(false);
        }
        // The server's own way up, not a stranger's: nothing is opened through it.
        above = open_up(&above)?;
    }
}

fn identity_of(dir: &Dir) -> io::Result<(u64, u64)> {
    let metadata = dir.dir_metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Where an open directory is on this machine now.
///
/// # Errors
/// The system does not say.
pub fn path_of(dir: &impl AsFd) -> io::Result<PathBuf> {
    use std::os::fd::AsRawFd as _;
    std::fs::read_link(format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd()))
}

/// Modification time in nanoseconds since 1970, as the wire has it.
pub fn mtime_ns(metadata: &Metadata) -> i64 {
    metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec())
}

fn the_root_itself(path: &RootPath) -> Refusal {
    Refusal::new(ErrorCode::Permission, format!("{path}: this is the root itself; name something in it"))
}

/// What was found is the server's own.
#[derive(Debug, thiserror::Error)]
#[error("the server keeps its keys here, and never shows them")]
struct KeysAreHere;

/// The same refusal of a request for `path`, which says what a path is where `path` was written as on the machine
/// itself: with a slash in front, or `~`.
pub fn advised(path: &[u8], why: Refusal) -> Refusal {
    let is_foreign = path.starts_with(b"/") && path != b"/" || path.starts_with(b"~");
    let is_missing = matches!(why.code, ErrorCode::NotFound | ErrorCode::NotADirectory | ErrorCode::OutsideRoot);
    if !is_foreign || !is_missing {
        return why;
    }
    Refusal::new(why.code, format!("{}{UNDER_THE_ROOT}", why.message))
}

/// What people are told who write a path as on the machine itself.
const UNDER_THE_ROOT: &str =
    "; paths are under the root that the server shows, with or without a slash in front, and ~ is no home there";

/// What was named is among the dot files of a user's home directory.
#[derive(Debug, thiserror::Error)]
#[error(
    "what begins with a dot in the server's home directory is neither shown nor accepted, unless its operator says so"
)]
struct GuardedName;

/// What to say to the other end when something below a root could not be had.
pub fn refusal(path: &impl fmt::Display, error: &io::Error) -> Refusal {
    let inner = error.get_ref();
    if inner.is_some_and(|inner| inner.is::<KeysAreHere>() || inner.is::<GuardedName>()) {
        return Refusal::new(ErrorCode::Permission, format!("{path}: {error}"));
    }
    // cap-std's own refusal to leave the directory carries no errno, only a kind.
    if error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none() {
        return Refusal::new(ErrorCode::OutsideRoot, format!("{path}: leads out of the root"));
    }
    Refusal::from_io(&path.to_string(), error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(path: &str) -> RootPath {
        RootPath::default().join(path.as_bytes()).unwrap()
    }

    #[test]
    fn paths_are_resolved_from_where_one_stands() {
        for (cwd, path, want) in [
            ("/", "a/b", "/a/b"),
            ("/a", "b", "/a/b"),
            ("/a", "/b", "/b"),
            ("/a/b", "..", "/a"),
            ("/a/b", "../../c//./d/", "/c/d"),
            ("/a", ".", "/a"),
            ("/a", "", "/a"),
            ("/a", "/", "/"),
        ] {
            assert_eq!(at(cwd).join(path.as_bytes()).unwrap().to_string(), want, "{cwd} {path}");
        }
    }

    #[test]
    fn climbing_above_the_root_is_refused() {
        for (cwd, path) in [("/", ".."), ("/a", "../.."), ("/", "a/../../etc"), ("/a/b", "/..")] {
            assert_eq!(at(cwd).join(path.as_bytes()).unwrap_err().code, ErrorCode::OutsideRoot, "{cwd} {path}");
        }
        assert_eq!(at("/").join(b"a\0b").unwrap_err().code, ErrorCode::BadName);
        assert_eq!(at("/").join(&[b'a'; 5000]).unwrap_err().code, ErrorCode::BadName);
    }

    #[test]
    fn a_path_splits_into_its_directory_and_its_name() {
        assert_eq!(at("/").split_last(), None);
        assert_eq!(at("/a").split_last(), Some((at("/"), "a".into())));
        assert_eq!(at("/a/b c").split_last(), Some((at("/a"), "b c".into())));
    }

    #[test]
    fn symlinks_do_not_lead_out() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        let inside = tempfile::tempdir().unwrap();
        let link = |target: &Path, name: &str| std::os::unix::fs::symlink(target, inside.path().join(name)).unwrap();
        link(outside.path(), "absolute");
        link(Path::new("../.."), "relative");
        link(Path::new("file"), "good");
        std::fs::write(inside.path().join("file"), "y").unwrap();
        let root = Root::open(inside.path()).unwrap();
        for path in ["/absolute", "/absolute/secret", "/relative", "/relative/etc/passwd"] {
            assert_eq!(root.open_file(&at(path)).unwrap_err().code, ErrorCode::OutsideRoot, "{path}");
            assert_eq!(root.open_dir(&at(path)).unwrap_err().code, ErrorCode::OutsideRoot, "{path}");
        }
        assert!(root.open_file(&at("/good")).is_ok());
        root.remove(&at("/absolute"), true, &|_, _| false).unwrap();
        assert!(outside.path().join("secret").exists(), "removing a link leaves what it points to alone");
    }

    #[test]
    fn directories_are_made_from_the_deepest_that_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let deep = at(&"/x".repeat(2_000));
        let parts: Vec<&[u8]> = deep.parts().collect();
        assert_eq!(root.open_deepest(&parts).unwrap().1, 0);
        root.make_dir(&deep, true).unwrap();
        assert_eq!(root.open_deepest(&parts).unwrap().1, 2_000);
        root.make_dir(&deep, true).unwrap();
        root.make_dir(&at("/x/x/y/z"), true).unwrap();
        root.make_dir(&at("/"), true).unwrap();
        assert!(dir.path().join("x/x/y/z").is_dir());
        assert_eq!(root.make_dir(&deep, false).unwrap_err().code, ErrorCode::Exists);
        assert_eq!(root.make_dir(&at("/no/such"), false).unwrap_err().code, ErrorCode::NotFound);

        std::fs::write(dir.path().join("file"), "").unwrap();
        assert_eq!(root.make_dir(&at("/file/a/b"), true).unwrap_err().code, ErrorCode::NotADirectory);
        assert_eq!(root.make_dir(&at("/file"), true).unwrap_err().code, ErrorCode::NotADirectory);
        let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, dir.path().join(name)).unwrap();
        for (target, name) in [("x/x", "inside"), ("..", "outside"), ("nowhere", "dangling")] {
            link(target, name);
        }
        root.make_dir(&at("/inside/made/here"), true).unwrap();
        assert!(dir.path().join("x/x/made/here").is_dir());
        assert_eq!(root.make_dir(&at("/outside/a/b"), true).unwrap_err().code, ErrorCode::OutsideRoot);
        assert_eq!(root.make_dir(&at("/dangling/a"), true).unwrap_err().code, ErrorCode::NotFound);
    }

    #[test]
    fn dot_names_of_a_home_directory_are_neither_shown_nor_accepted_however_they_are_reached() {
        let above = tempfile::tempdir().unwrap();
        let home = above.path().join("ann");
        for dir in ["ann/.ssh", "ann/sub/.git", "ann/.config/autostart", "bob/.ssh"] {
            std::fs::create_dir_all(above.path().join(dir)).unwrap();
        }
        for file in ["ann/.ssh/id", "ann/.bashrc", "ann/notes", "ann/sub/.git/config", "bob/.ssh/id"] {
            std::fs::write(above.path().join(file), "x").unwrap();
        }
        let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, home.join(name)).unwrap();
        for (target, name) in [(".ssh", "to-dir"), (".bashrc", "to-file"), ("../ann/.ssh/id", "round"), (".", "here")] {
            link(target, name);
        }
        for (shown, prefix) in [(home.as_path(), ""), (above.path(), "/ann")] {
            let root = Root::open(shown).unwrap().guarding(&home).unwrap();
            let at = |path: &str| at(&format!("{prefix}{path}"));
            let is_refused =
                |refusal: Refusal| refusal.code == ErrorCode::Permission && refusal.message.contains("dot");
            for path in
                ["/.bashrc", "/.ssh/id", "/to-dir/id", "/to-file", "/round", "/here/.bashrc", "/here/here/to-dir/id"]
            {
                let leads_out = path == "/round" && prefix.is_empty();
                for refusal in [root.open_file(&at(path)).unwrap_err(), root.canonical(&at(path)).unwrap_err()] {
                    assert!(
                        if leads_out { refusal.code == ErrorCode::OutsideRoot } else { is_refused(refusal) },
                        "{path}"
                    );
                }
            }
            for path in ["/.ssh", "/to-dir", "/.config/autostart", "/here/.config"] {
                assert!(is_refused(root.open_dir(&at(path)).unwrap_err()), "{path}");
                assert!(!root.is_dir(&at(path)), "{path}");
            }
            for path in ["/.ssh", "/.profile", "/.new/deep", "/here/.new/deep", "/to-dir/new"] {
                assert!(is_refused(root.make_dir(&at(path), true).unwrap_err()), "{path}");
                assert!(is_refused(root.remove(&at(path), true, &|_, _| true).unwrap_err()), "{path}");
                assert!(is_refused(root.rename(&at("/notes"), &at(path)).unwrap_err()), "{path}");
            }
            assert!(is_refused(root.rename(&at("/.ssh"), &at("/mine")).unwrap_err()));
            assert!(is_refused(root.symlink_metadata(&at("/.ssh")).unwrap_err()));
            // Elsewhere a dot is a name as any other.
            assert!(root.open_file(&at("/sub/.git/config")).is_ok() && root.open_file(&at("/here/notes")).is_ok());
            assert!(root.open_dir(&at("/sub/.git")).is_ok() && root.is_dir(&at("/here/sub")));
        }
        let root = Root::open(above.path()).unwrap().guarding(&home).unwrap();
        assert!(root.open_file(&at("/bob/.ssh/id")).is_ok(), "another one's home is not this user's");
        assert!(root.rename(&at("/ann"), &at("/other")).is_err(), "or another home could be put in its place");
        assert!(root.remove(&at("/ann"), true, &|_, _| true).is_err());
        assert!(home.join(".bashrc").exists() && home.join(".ssh/id").exists());
        // A directory of the home that is the root itself was meant.
        let root = Root::open(&home.join(".config")).unwrap().guarding(&home).unwrap();
        assert!(root.open_dir(&at("/autostart")).is_ok());
    }

    #[test]
    fn a_symlink_does_not_tell_which_dot_names_of_a_home_directory_are_there() {
        let above = tempfile::tempdir().unwrap();
        let home = above.path().join("ann");
        std::fs::create_dir_all(home.join("sub")).unwrap();
        std::fs::create_dir_all(home.join(".ssh/keys")).unwrap();
        for file in [".ssh/id", ".bashrc", "notes"] {
            std::fs::write(home.join(file), "x").unwrap();
        }
        let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, home.join(name)).unwrap();
        // The first of each pair is there, the second is not.
        let pairs = [
            (".bashrc", ".zshrc"),
            (".ssh/id", ".ssh/id2"),
            (".ssh/keys", ".ssh/other"),
            (".ssh", ".gnupg"),
            ("sub/../.ssh/id", "sub/../.ssh/id2"),
            (".ssh/id", ".gnupg/id"),
            (".ssh/id/x", ".ssh/id2/x"),
            (".ssh/", ".gnupg/"),
        ];
        for (number, (there, missing)) in pairs.iter().enumerate() {
            for (target, which) in [(there, "there"), (missing, "missing")] {
                link(target, &format!("{which}-{number}"));
                link(&format!("{which}-{number}"), &format!("chain-{which}-{number}"));
                link(&format!("../{target}"), &format!("sub/{which}-{number}"));
            }
        }
        let codes = |root: &Root, path: &RootPath| {
            let notes = path.join(b"/notes").unwrap();
            let code = |refusal: Refusal| refusal.code;
            [
                root.open_file(path).map(drop).map_err(code),
                root.open_dir(path).map(drop).map_err(code),
                root.canonical(path).map(drop).map_err(code),
                root.goes_into(path).map(drop).map_err(code),
                root.symlink_metadata(&path.join(b"x").unwrap()).map(drop).map_err(code),
                root.make_dir(&path.join(b"x").unwrap(), true).map_err(code),
                root.rename(&notes, path).map(drop).map_err(code),
                root.remove(&path.join(b"x").unwrap(), true, &|_, _| true).map_err(code),
            ]
        };
        let refused = [const { Err(ErrorCode::Permission) }; 8];
        for (shown, prefix) in [(home.as_path(), ""), (above.path(), "/ann")] {
            let root = Root::open(shown).unwrap().guarding(&home).unwrap();
            for number in 0..pairs.len() {
                for form in ["", "/chain-", "/sub/"] {
                    for which in ["there", "missing"] {
                        let path = at(&format!("{prefix}/{}{which}-{number}", form.trim_start_matches('/')));
                        assert_eq!(codes(&root, &path), refused, "{path}");
                        assert!(!root.is_dir(&path), "{path}");
                    }
                }
            }
        }
        assert!(home.join("notes").exists());
    }

    #[test]
    fn symlinks_in_a_guarded_root_are_followed_as_the_system_follows_them() {
        let home = tempfile::tempdir().unwrap();
        let plain = Root::open(home.path()).unwrap();
        let root = Root::open(home.path()).unwrap().guarding(home.path()).unwrap();
        std::fs::create_dir_all(home.path().join("a/b/c")).unwrap();
        std::fs::write(home.path().join("a/file"), "x").unwrap();
        let mut names = vec!["a/b".to_owned(), "a/file".to_owned(), "a/file/x".to_owned(), "no/such".to_owned()];
        let targets = [
            "a",
            "a/",
            "a/.",
            "a/file",
            "a/file/",
            "a/file/.",
            "a/b/../file",
            "a/b/c/../..",
            "..",
            "a/../..",
            "/etc",
            ".",
            "nowhere",
            "nowhere/..",
            "self",
            "a/b/c/../../../a/b",
            "./a//b",
            "a/b/up",
            "l0/b",
            "l3/x",
        ];
        std::os::unix::fs::symlink("../../a/file", home.path().join("a/b/up")).unwrap();
        for (number, target) in targets.iter().enumerate() {
            let name = format!("l{number}");
            std::os::unix::fs::symlink(if *target == "self" { &name } else { *target }, home.path().join(&name))
                .unwrap();
            names.extend([format!("{name}/b"), format!("{name}/file"), name]);
        }
        let mut last = "a".to_owned();
        for number in 0..=LINKS_MAX {
            let name = format!("chain{number}");
            std::os::unix::fs::symlink(&last, home.path().join(&name)).unwrap();
            names.push(name.clone());
            last = name;
        }
        for name in names {
            let path = at(&name);
            let ended = |root: &Root| {
                let code = |refusal: Refusal| refusal.code;
                (
                    root.open_file(&path).map(drop).map_err(code),
                    root.open_dir(&path).map(drop).map_err(code),
                    root.canonical(&path).map_err(code),
                    root.goes_into(&path).map_err(code),
                )
            };
            assert_eq!(ended(&root), ended(&plain), "{name}");
        }
    }

    #[test]
    fn a_removal_that_fails_leaves_modes_as_they_were() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(path("tree/a/b")).unwrap();
        std::fs::write(path("tree/a/.x.1a2b3c4d.part"), "").unwrap();
        std::fs::write(path("tree/a/b/file"), "").unwrap();
        for (name, mode) in [("tree/a/b", 0o500), ("tree/a", 0o555), ("tree", 0o2111)] {
            std::fs::set_permissions(path(name), PermissionsExt::from_mode(mode)).unwrap();
        }
        let mode = |name: &str| path(name).metadata().unwrap().permissions().mode() & 0o7777;
        let root = Root::open(dir.path()).unwrap();
        let refused = root.remove(&at("/tree"), true, &|_, _| false).unwrap_err();
        assert!(refused.message.contains("unfinished"), "{refused}");
        assert_eq!([mode("tree"), mode("tree/a")], [0o2111, 0o555]);
        root.remove(&at("/tree"), true, &|_, _| true).unwrap();
        assert!(!path("tree").exists());
    }

    #[test]
    fn a_fifo_is_refused_and_does_not_hang() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = rustix::fs::CWD;
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(fifo, dir.path().join("fifo"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert_eq!(root.open_file(&at("/fifo")).unwrap_err().code, ErrorCode::NotAFile);
    }

    proptest! {
        #[test]
        fn no_path_ever_climbs(cwd in "(/[a-z.]{1,3}){0,4}", path in any::<Vec<u8>>()) {
            let Ok(cwd) = RootPath::default().join(cwd.as_bytes()) else { return Ok(()) };
            if let Ok(joined) = cwd.join(&path) {
                prop_assert!(joined.parts().all(|part| part != b".." && part != b"." && !part.contains(&0)));
                prop_assert_eq!(RootPath::default().join(&joined.to_wire()).unwrap(), joined);
            }
        }

        #[test]
        fn names_of_any_bytes_survive(name in proptest::collection::vec(1_u8..=255, 1..200)) {
            prop_assume!(!name.contains(&b'/') && name != b"." && name != b"..");
            let path = RootPath::default().join(&name).unwrap();
            prop_assert_eq!(path.split_last().unwrap().1.into_vec(), name);
        }
    }
}
