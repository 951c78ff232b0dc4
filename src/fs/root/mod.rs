//! The only way from a stranger's string to an open file.
//!
//! A [`RootPath`] is a name that cannot climb; a [`Root`] is an open directory. Every look-up goes
//! from the one through the other with cap-std, which asks the kernel to resolve beneath the
//! directory (openat2), so that a symlink swapped in between cannot lead out: what comes back is an
//! open file, not a name that was checked.

mod change;
mod entries;
mod hidden;
mod path;
mod remove;
mod replace;
mod resolve;
mod shown;

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, Metadata, MetadataExt, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;

use self::hidden::{Hidden, guarded_name, keys_are_here, lies_in};
use self::resolve::Resolved;
use crate::fs::below;
use crate::fs::unix::identity_of;
use crate::fs::{Error, ErrorKind, Result};

pub use self::entries::{Entries, Entry, FileKind};
pub use self::path::{PATH_LEN_MAX, RootPath};
pub(in crate::fs) use self::remove::remove_tree;
pub use self::remove::{GoesOn, IsIdle, NotRemoved};
pub use self::replace::Staging;
pub use self::resolve::{LINKS_MAX, STEPS_MAX};
pub use self::shown::{Details, DirState, Look, ShownDir};

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
    pub fn hiding(self, home: &Path) -> Result<Self> {
        let hidden = Hidden::of(home)?;
        if lies_in(&self.dir, hidden.directory)? {
            let why = "this is where the keys are kept, or below it: it cannot be shown; choose another root";
            return Err(Error::new(ErrorKind::Hidden, why));
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
    pub fn check_name(&self, dir: impl AsFd, name: &OsStr) -> Result<()> {
        let Some(home) = self.guarded.as_ref().filter(|_| name.as_bytes().starts_with(b".")) else { return Ok(()) };
        if identity_of(&dir)? == home.directory { Err(guarded_name()) } else { Ok(()) }
    }

    /// Opens `path` below `dir`, which lies in this root, wherever its symlinks lead below `dir`.
    ///
    /// # Errors
    /// It does not exist, leads out, or a name on the way is not accepted.
    pub fn open_in(&self, dir: &Dir, path: &Path, flags: OFlags) -> Result<File> {
        if self.guarded.is_none() {
            let options = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).clone();
            return dir.open_with(path, &options).map_err(beneath);
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
    pub fn open_dir_at(&self, dir: &Dir, path: &Path) -> Result<Dir> {
        if self.guarded.is_none() {
            return dir.open_dir(path).map_err(beneath);
        }
        match self.resolve_in(dir, path)? {
            Resolved { dir, name: None, .. } => Ok(dir),
            // It need not be readable.
            Resolved { dir, name: Some(name), .. } => {
                self.check_name(&dir, &name)?;
                Ok(below::open_path(&dir, &name)?)
            }
        }
    }

    /// Whether this machine's directory `path` is the root or lies in it.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn holds(&self, path: &Path) -> io::Result<bool> {
        lies_in(&Self::open_own_dir(path)?, identity_of(&self.dir)?)
    }

    /// The directory `path` of this root as a root of its own, with the same things hidden.
    ///
    /// # Errors
    /// As [`open_dir`](Self::open_dir).
    pub fn below(&self, path: &RootPath) -> Result<Self> {
        Ok(Self { dir: self.open_dir(path)?, hidden: self.hidden.clone(), guarded: self.guarded.clone() })
    }

    /// An open directory of this root as a root of its own, with the same things hidden.
    fn within(&self, dir: Dir) -> Self {
        Self { dir, hidden: self.hidden.clone(), guarded: self.guarded.clone() }
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// It does not exist, leads out of the root, or is a directory, device, pipe or socket.
    pub fn open_file(&self, path: &RootPath) -> Result<(File, Metadata)> {
        let refuse = |kind, why| Err(Error::new(kind, why).about(path));
        // Without NONBLOCK a fifo would hold this thread until something writes to it; for a
        // regular file it means nothing (open(2)).
        let file = self.open_in(&self.dir, path.as_path(), OFlags::NONBLOCK).map_err(|error| error.about(path))?;
        let metadata = file.metadata().map_err(failed(path))?;
        self.check_shown(path, (metadata.dev(), metadata.ino()))?;
        // What is kept in the home is replaced by renaming: what was there when it was opened and was not
        // found there any more has no name left.
        if self.hidden.is_some() && file.metadata().map_err(failed(path))?.nlink() == 0 {
            return refuse(ErrorKind::NotFound, "was removed or replaced just now; ask again");
        }
        if metadata.is_dir() {
            return refuse(ErrorKind::IsADirectory, "is a directory; name a file");
        }
        if !metadata.is_file() {
            return refuse(ErrorKind::NotAFile, "is neither a file nor a directory");
        }
        Ok((file, metadata))
    }

    /// Opens a directory.
    ///
    /// # Errors
    /// It does not exist, leads out of the root, or is something else.
    pub fn open_dir(&self, path: &RootPath) -> Result<Dir> {
        let dir = self.open_dir_at(&self.dir, path.as_path()).map_err(|error| error.about(path))?;
        if self.hidden.is_some() {
            self.check_shown(path, identity_of(&dir).map_err(failed(path))?)?;
        }
        Ok(dir)
    }

    /// Opens the directory `name` of `dir`, which lies in this root: one part of a name, and no symlink, so it
    /// cannot lead elsewhere.
    ///
    /// # Errors
    /// It does not exist, is something else, or is hidden.
    pub fn open_dir_in(&self, dir: &Dir, name: &OsStr) -> Result<Dir> {
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
    pub fn check_shows(&self, found: impl FnOnce() -> io::Result<(u64, u64)>) -> Result<()> {
        match &self.hidden {
            Some(hidden) if hidden.holds(found()?)? => Err(keys_are_here()),
            _ => Ok(()),
        }
    }

    /// The identities of all that is hidden now, for those who look at many files before they open one. What is opened
    /// is checked again.
    ///
    /// # Errors
    /// It could not be looked at.
    pub fn hidden_now(&self) -> io::Result<HashSet<(u64, u64)>> {
        self.hidden.as_ref().map_or_else(|| Ok(HashSet::new()), Hidden::now)
    }

    /// Where `path` is when all symlinks on the way are followed, inside this root.
    ///
    /// # Errors
    /// It does not exist or leads out of the root.
    pub fn canonical(&self, path: &RootPath) -> Result<RootPath> {
        let found = match &self.guarded {
            None => self.dir.canonicalize(path.as_path()).map_err(beneath),
            Some(_) => self.resolve_in(&self.dir, path.as_path()).map(|found| found.path()),
        };
        let found = found.map_err(|error| error.about(path))?;
        RootPath::default().join(found.as_os_str().as_bytes())
    }

    /// The same, for a path of a session.
    fn check_shown(&self, path: &RootPath, found: (u64, u64)) -> Result<()> {
        self.check_shows(|| Ok(found)).map_err(|error| error.about(path))
    }

    /// Opens the directory in which `path` is or would be, with the last name.
    ///
    /// # Errors
    /// As [`open_dir`](Self::open_dir), and for the root itself.
    pub fn open_parent(&self, path: &RootPath) -> Result<(Dir, OsString)> {
        let (parent, name) = path.split_last().ok_or_else(|| {
            Error::new(ErrorKind::Permission, "this is the root itself; name something in it").about(path)
        })?;
        let dir = self.open_dir(&parent)?;
        self.check_name(&dir, &name).map_err(|error| error.about(path))?;
        Ok((dir, name))
    }

    /// What `path` is, without following a symlink at its end.
    ///
    /// # Errors
    /// It does not exist or leads out of the root.
    pub fn symlink_metadata(&self, path: &RootPath) -> Result<Metadata> {
        if path.is_root() {
            return self.dir.dir_metadata().map_err(failed(path));
        }
        let (dir, name) = self.open_parent(path)?;
        dir.symlink_metadata(name).map_err(failed(path))
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
    /// It leads out of the root, or it cannot be told where it leads: it may be a directory.
    pub fn goes_into(&self, path: &RootPath) -> Result<bool> {
        let is_dir = match &self.guarded {
            None => self.dir.metadata(path.as_path()).map(|metadata| metadata.is_dir()).map_err(beneath),
            Some(_) => self.open_dir_at(&self.dir, path.as_path()).map(|_| true),
        };
        match is_dir {
            Ok(is_dir) => Ok(is_dir),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
            Err(error) => Err(error.about(path)),
        }
    }

    /// Opens a directory of this machine that its own user named; for clients.
    ///
    /// # Errors
    /// It does not exist, or is no directory.
    pub fn open_own_dir(path: &Path) -> io::Result<Dir> {
        Dir::open_ambient_dir(path, ambient_authority())
    }
}

/// What cap-std and the system say of a path below a directory.
fn beneath(error: io::Error) -> Error {
    let found = Error::from(error);
    // cap-std's own refusal to leave the directory carries no errno, only a kind.
    if found.kind() == ErrorKind::Permission && found.raw_os_error().is_none() { leads_out() } else { found }
}

/// The refusal to leave a directory.
fn leads_out() -> Error {
    Error::new(ErrorKind::OutsideRoot, "leads out of the root")
}

/// The same of `path`, for `map_err`.
fn failed(path: &impl fmt::Display) -> impl Fn(io::Error) -> Error {
    move |error| beneath(error).about(path)
}

/// Where an open directory is on this machine now.
///
/// # Errors
/// The system does not say.
pub fn path_of(dir: &impl AsFd) -> io::Result<PathBuf> {
    use std::os::fd::AsRawFd as _;
    std::fs::read_link(format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> RootPath {
        RootPath::default().join(path.as_bytes()).unwrap()
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
            assert_eq!(root.open_file(&at(path)).unwrap_err().kind(), ErrorKind::OutsideRoot, "{path}");
            assert_eq!(root.open_dir(&at(path)).unwrap_err().kind(), ErrorKind::OutsideRoot, "{path}");
        }
        assert!(root.open_file(&at("/good")).is_ok());
        root.remove(&at("/absolute"), true, &|_, _| false).unwrap();
        assert!(outside.path().join("secret").exists(), "removing a link leaves what it points to alone");
    }

    #[test]
    fn a_fifo_is_refused_and_does_not_hang() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = rustix::fs::CWD;
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(fifo, dir.path().join("fifo"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert_eq!(root.open_file(&at("/fifo")).unwrap_err().kind(), ErrorKind::NotAFile);
    }
}
