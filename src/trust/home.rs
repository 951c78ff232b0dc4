//! The home: the directory in which one user's programs keep their identity and the peers they know.
//!
//! Everything in it is a file of its own, flat, and is written whole or not at all. Other users may not even read it: a
//! directory with looser permissions is refused rather than repaired, because its secrets may have been read already.
//!
//! A file that is replaced or removed is also emptied. It may have another hard link, in a directory that a server
//! shows, where it is no longer recognised as a file of the home.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;
use rustix::fs::OFlags;
use rustix::io::Errno;

/// Longest file of the home that is read, in bytes.
pub const HOME_FILE_LEN_MAX: u64 = 64 * 1024 * 1024;

/// The home cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Others may read or change what must be secret.
    #[error("{}: mode {mode:04o} lets other users in; look at what is there, then: chmod {wanted:o} {}", path.display(), path.display())]
    Loose {
        /// The directory or file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The permission bits that are required.
        wanted: u32,
    },
    /// It belongs to another user.
    #[error("{}: belongs to user id {owner}, and this program runs as {own}; set LANDLINE_HOME to a directory of your own", path.display())]
    Foreign {
        /// The directory or file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The user id that this program runs as.
        own: u32,
    },
    /// The platform names no directory.
    #[error("no directory for configuration is known here; set LANDLINE_HOME")]
    Nowhere,
    /// The operating system reported an error.
    #[error("{}", path.display())]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
}

/// An open home.
#[derive(Debug, Clone)]
pub struct Home {
    path: PathBuf,
}

impl Home {
    /// Opens the home at `path`, or where this platform keeps configuration; makes it if it is missing.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn open(path: Option<&Path>) -> Result<Self, HomeError> {
        let path = directory(path)?;
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(failed(&path))?;
        check_private(&path, 0o700)?;
        // From here on, no symlink in the path can be redirected.
        let path = path.canonicalize().map_err(failed(&path))?;
        Ok(Self { path })
    }

    /// Whether [`open`](Self::open) would open an existing directory rather than make one.
    pub fn exists(path: Option<&Path>) -> bool {
        directory(path).is_ok_and(|path| path.exists())
    }

    /// The path of the home.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the file `name`, whether it exists or not.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The whole of the file `name`; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, HomeError> {
        self.read_with(name, || ())
    }

    /// As [`read`](Self::read); `opened` is called between opening and reading.
    fn read_with(&self, name: &str, opened: impl Fn()) -> Result<Option<Vec<u8>>, HomeError> {
        let path = self.join(name);
        let read = || -> io::Result<Option<Vec<u8>>> {
            let file = open_regular(&path)?;
            opened();
            let bytes = contents(&file)?;
            Ok(is_still_at(&file, &path)?.then_some(bytes))
        };
        loop {
            match read() {
                Ok(Some(bytes)) => return Ok(Some(bytes)),
                // It was replaced and emptied meanwhile: what was read may be incomplete. The loop ends: each
                // repetition needs another replacement, which waits for the disk.
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(failed(&path)(error)),
            }
        }
    }

    /// As [`read`](Self::read), for a secret: the file must not be readable for other users.
    ///
    /// # Errors
    /// As there, and [`HomeError::Loose`] if other users may read it.
    pub fn read_secret(&self, name: &str) -> Result<Option<Vec<u8>>, HomeError> {
        let path = self.join(name);
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // A server hides the home's own files, not those that a symlink points to.
            Ok(metadata) if metadata.is_symlink() => {
                return Err(failed(&path)(io::Error::other("is a symlink; put the file itself here")));
            }
            _ => check_private(&path, 0o600)?,
        }
        self.read(name)
    }

    /// Replaces the file `name` by these bytes, all of them or none, also when the power fails; then the old file is
    /// emptied.
    ///
    /// # Errors
    /// The disk refused; the old file is unchanged.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), HomeError> {
        let path = self.join(name);
        let replaced = open_old(&path).and_then(|old| {
            put_in_place(self.write_aside(bytes)?, |aside| aside.persist(&path))?;
            // Not before: a crash in between would lose both.
            old.map_or(Ok(()), |old| old.set_len(0))
        });
        replaced.and_then(|()| self.sync()).map_err(failed(&path))
    }

    /// As [`replace`](Self::replace), for a secret that is better lost than left behind: the old file is emptied
    /// before. A reader must hold the [`lock`](Self::lock), or it may find an empty file.
    ///
    /// # Errors
    /// The disk refused; there may be nothing left.
    pub fn replace_secret(&self, name: &str, bytes: &[u8]) -> Result<(), HomeError> {
        let path = self.join(name);
        empty(&path).map_err(failed(&path))?;
        self.replace(name, bytes)
    }

    /// Makes the file `name` unless there is one; returns whether it was made.
    ///
    /// # Errors
    /// The disk refused.
    pub fn create(&self, name: &str, bytes: &[u8]) -> Result<bool, HomeError> {
        let path = self.join(name);
        let aside = self.write_aside(bytes).map_err(failed(&path))?;
        match put_in_place(aside, |aside| aside.persist_noclobber(&path)) {
            Ok(()) => self.sync().map(|()| true).map_err(failed(&path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(failed(&path)(error)),
        }
    }

    /// Removes the file `name` if there is one.
    ///
    /// # Errors
    /// The disk refused.
    pub fn remove(&self, name: &str) -> Result<(), HomeError> {
        let path = self.join(name);
        remove_file(&path).map_err(failed(&path))
    }

    /// Locks the home against changes by other programs until the returned file is dropped. It must not be held while
    /// waiting for a peer.
    ///
    /// # Errors
    /// The lock's file cannot be opened.
    pub fn lock(&self) -> Result<File, HomeError> {
        let path = self.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .custom_flags(WITHOUT_WAITING)
            .open(&path);
        let locked = file.and_then(only_regular).and_then(|file| file.lock().map(|()| file));
        locked.map_err(failed(&path))
    }

    fn write_aside(&self, bytes: &[u8]) -> io::Result<tempfile::NamedTempFile> {
        // Its mode is 0600 from the beginning.
        let mut aside = tempfile::NamedTempFile::new_in(&self.path)?;
        aside.write_all(bytes)?;
        aside.as_file().sync_all()?;
        Ok(aside)
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// Empties and removes a file that belongs to a home, if it is there.
///
/// # Errors
/// The disk refused.
pub fn remove_file(path: &Path) -> io::Result<()> {
    empty(path)?;
    fs::remove_file(path).or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Empties and removes all files of a directory that belongs to a home, and the directory.
///
/// # Errors
/// The disk refused.
pub fn remove_dir(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            remove_file(&entry.path())?;
        }
    }
    fs::remove_dir_all(path)
}

/// Takes the bytes out of a file, so that no other name of it shows them.
fn empty(path: &Path) -> io::Result<()> {
    open_old(path)?.map_or(Ok(()), |old| old.set_len(0))
}

/// The file itself, to be emptied; `None` where there is none, or something else.
fn open_old(path: &Path) -> io::Result<Option<File>> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.is_file() => return Ok(None),
        Ok(_) => {}
    }
    let flags = WITHOUT_WAITING | OFlags::NOFOLLOW.bits().cast_signed();
    let open = || OpenOptions::new().write(true).custom_flags(flags).open(path);
    let opened = open().or_else(|error| match error.kind() {
        // Its owner has made it read-only.
        io::ErrorKind::PermissionDenied => {
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
            open()
        }
        _ => Err(error),
    });
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Renames a temporary file to its final name; if that fails, the temporary file is removed.
fn put_in_place(
    aside: tempfile::NamedTempFile,
    persist: impl FnOnce(tempfile::NamedTempFile) -> Result<File, tempfile::PersistError>,
) -> io::Result<()> {
    match persist(aside) {
        Ok(_file) => Ok(()),
        Err(error) => {
            drop(error.file.as_file().set_len(0));
            Err(error.error)
        }
    }
}

fn directory(path: Option<&Path>) -> Result<PathBuf, HomeError> {
    if let Some(path) = path {
        return std::path::absolute(path).map_err(failed(path));
    }
    let platform = etcetera::choose_base_strategy().map_err(|_no_home| HomeError::Nowhere)?;
    Ok(platform.config_dir().join("landline"))
}

/// Opening a pipe without a writer would block, and a terminal may become the process's controlling terminal.
const WITHOUT_WAITING: i32 = OFlags::NONBLOCK.union(OFlags::NOCTTY).bits().cast_signed();

/// Opens a file for reading. Anything but a regular file is an error: reading it could block, or never end.
///
/// # Errors
/// It cannot be opened, or is no regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let opened = OpenOptions::new().read(true).custom_flags(WITHOUT_WAITING).open(path);
    only_regular(opened.map_err(|error| {
        // The error of open(2) for a socket.
        if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) { special() } else { error }
    })?)
}

fn only_regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { Err(special()) }
}

/// Whether the open `file` is what its path names now. Its inode number cannot be reused while it is open.
fn is_still_at(file: &File, path: &Path) -> io::Result<bool> {
    let (ours, now) = (file.metadata()?, fs::metadata(path)?);
    Ok((ours.dev(), ours.ino()) == (now.dev(), now.ino()))
}

fn special() -> io::Error {
    io::Error::other("is no regular file; remove what is there, or put a file there")
}

fn contents(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::copy(&mut file.take(HOME_FILE_LEN_MAX + 1), &mut bytes)?;
    if bytes.len() as u64 > HOME_FILE_LEN_MAX {
        return Err(io::Error::other(format!("is longer than {} MiB, and nothing here is", HOME_FILE_LEN_MAX >> 20)));
    }
    Ok(bytes)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> HomeError {
    let path = path.to_owned();
    move |source| HomeError::Io { path, source }
}

/// Refuses a file that other users may read or change, or that belongs to another user.
///
/// # Errors
/// [`HomeError`].
fn check_private(path: &Path, wanted: u32) -> Result<(), HomeError> {
    check_private_file(path, &fs::metadata(path).map_err(failed(path))?, wanted)
}

/// The same check for a file whose `metadata` is known: an open file, for example.
///
/// # Errors
/// [`HomeError`].
pub fn check_private_file(path: &Path, metadata: &fs::Metadata, wanted: u32) -> Result<(), HomeError> {
    let own = rustix::process::geteuid().as_raw();
    if metadata.uid() != own {
        return Err(HomeError::Foreign { path: path.to_owned(), owner: metadata.uid(), own });
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(HomeError::Loose { path: path.to_owned(), mode, wanted });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_that_others_may_read_is_refused_with_the_command_that_mends_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("home");
        let home = Home::open(Some(&path)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        let error = Home::open(Some(&path)).unwrap_err().to_string();
        assert!(error.ends_with(&format!("chmod 700 {}", path.display())), "{error}");
        home.replace("secret", b"x").unwrap();
        assert_eq!(fs::metadata(home.join("secret")).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(home.join("secret"), fs::Permissions::from_mode(0o640)).unwrap();
        let error = home.read_secret("secret").unwrap_err().to_string();
        assert!(error.contains("mode 0640") && error.contains("chmod 600"), "{error}");
    }

    type Away = fn(&Home);

    /// However a file is replaced or removed, its other hard links show an empty file.
    #[test]
    fn what_was_replaced_or_removed_is_empty_by_every_other_name() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(Some(&dir.path().join("home"))).unwrap();
        let ways: [(&str, Away); 5] = [
            ("replace", |home| home.replace("file", b"new").unwrap()),
            ("replace_secret", |home| home.replace_secret("file", b"new").unwrap()),
            ("remove", |home| home.remove("file").unwrap()),
            ("remove_file", |home| remove_file(&home.join("file")).unwrap()),
            ("remove_dir", |home| remove_dir(home.path()).unwrap()),
        ];
        for (way, away) in ways {
            home.replace("file", b"a secret").unwrap();
            let stale = dir.path().join(way);
            fs::hard_link(home.join("file"), &stale).unwrap();
            away(&home);
            assert_eq!(fs::read(&stale).unwrap(), b"", "{way}");
            let now = home.read("file").unwrap();
            assert_eq!(now.as_deref(), way.starts_with("replace").then_some(&b"new"[..]), "{way}");
        }
    }

    /// The old file is emptied as soon as the new file has its name: a program that has the old file open must not read
    /// it as an empty list.
    #[test]
    fn what_is_replaced_while_it_is_read_is_read_anew() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(Some(&dir.path().join("home"))).unwrap();
        for keeps_a_second_name in [false, true] {
            home.replace("file", b"old").unwrap();
            if keeps_a_second_name {
                fs::hard_link(home.join("file"), dir.path().join("link")).unwrap();
            }
            let left = std::cell::Cell::new(3);
            let read = home.read_with("file", || {
                if left.get() > 0 {
                    left.set(left.get() - 1);
                    home.replace("file", format!("new {left:?}").as_bytes()).unwrap();
                }
            });
            assert_eq!(read.unwrap().unwrap(), format!("new {left:?}").as_bytes());
            assert_eq!(left.get(), 0);
        }
    }

    #[test]
    fn a_reader_beside_a_writer_never_finds_the_file_empty() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(Some(&dir.path().join("home"))).unwrap();
        home.replace("file", &[b'x'; 10_000]).unwrap();
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..50 {
                    home.replace("file", &[b'x'; 10_000]).unwrap();
                }
                is_over.store(true, std::sync::atomic::Ordering::SeqCst);
            });
            while !is_over.load(std::sync::atomic::Ordering::SeqCst) {
                assert_eq!(home.read("file").unwrap().map(|bytes| bytes.len()), Some(10_000));
            }
        });
    }

    #[test]
    fn what_exists_is_never_overwritten_by_create() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let home = Home::open(Some(dir.path())).unwrap();
        assert!(home.create("a", b"first").unwrap());
        assert!(!home.create("a", b"second").unwrap());
        assert_eq!(home.read("a").unwrap().unwrap(), b"first");
        assert_eq!(home.read("b").unwrap(), None);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left behind");
    }

    #[test]
    fn what_is_no_regular_file_keeps_nobody_waiting() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let home = Home::open(Some(dir.path())).unwrap();
        for name in ["pipe", "lock"] {
            mknodat(CWD, home.join(name), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        }
        let _socket = std::os::unix::net::UnixDatagram::bind(home.join("socket")).unwrap();
        fs::set_permissions(home.join("socket"), fs::Permissions::from_mode(0o600)).unwrap();
        DirBuilder::new().mode(0o700).create(home.join("directory")).unwrap();
        for name in ["pipe", "socket", "directory"] {
            for read in [home.read(name), home.read_secret(name)] {
                let HomeError::Io { source, .. } = read.unwrap_err() else { panic!("{name}") };
                assert!(source.to_string().contains("is no regular file"), "{name}: {source}");
            }
        }
        assert!(home.lock().is_err());
        File::create(home.join("huge")).unwrap().set_len(HOME_FILE_LEN_MAX + 1).unwrap();
        let HomeError::Io { source, .. } = home.read("huge").unwrap_err() else { panic!() };
        assert!(source.to_string().contains("longer than 64 MiB"), "{source}");
    }
}
