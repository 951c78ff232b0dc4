//! The directory in which one user's programs keep who they are and whom they know.
//!
//! Everything in it is a file of its own, flat, and is written whole or not at all. Others may not
//! even look: a looser directory is refused rather than mended, because somebody may have looked already.

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
        /// What they should be.
        wanted: u32,
    },
    /// It belongs to somebody else.
    #[error("{}: belongs to user id {owner}, and this program runs as {own}; set LANDLINE_HOME to a directory of your own", path.display())]
    Foreign {
        /// The directory or file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who we are.
        own: u32,
    },
    /// The platform names no directory.
    #[error("no directory for configuration is known here; set LANDLINE_HOME")]
    Nowhere,
    /// The operating system refused.
    #[error("{}", path.display())]
    Io {
        /// What it happened to.
        path: PathBuf,
        /// What it said.
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
        // From here on no symlink on the way can be given another target.
        let path = path.canonicalize().map_err(failed(&path))?;
        Ok(Self { path })
    }

    /// Whether there is something that [`open`](Self::open) would open rather than make.
    pub fn exists(path: Option<&Path>) -> bool {
        directory(path).is_ok_and(|path| path.exists())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the file `name` is, or would be.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The whole of the file `name`; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, HomeError> {
        let path = self.join(name);
        match open_regular(&path).and_then(|file| contents(&file)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&path)(error)),
        }
    }

    /// As [`read`](Self::read), for a secret: others may not be able to read it.
    ///
    /// # Errors
    /// As there, and if others may.
    pub fn read_secret(&self, name: &str) -> Result<Option<Vec<u8>>, HomeError> {
        let path = self.join(name);
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // What is hidden from roots is what is in here, not what it points to.
            Ok(metadata) if metadata.is_symlink() => {
                return Err(failed(&path)(io::Error::other("is a symlink; put the file itself here")));
            }
            _ => check_private(&path, 0o600)?,
        }
        self.read(name)
    }

    /// Replaces the file `name` by these bytes, all of them or none, also when the power fails.
    ///
    /// # Errors
    /// The disk refused; the old file is as it was.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), HomeError> {
        let path = self.join(name);
        let replaced = self.write_aside(bytes).and_then(|aside| aside.persist(&path).map_err(io::Error::from));
        replaced.and_then(|_file| self.sync()).map_err(failed(&path))
    }

    /// Makes the file `name` unless there is one; returns whether it was made.
    ///
    /// # Errors
    /// The disk refused.
    pub fn create(&self, name: &str, bytes: &[u8]) -> Result<bool, HomeError> {
        let path = self.join(name);
        let aside = self.write_aside(bytes).map_err(failed(&path))?;
        match aside.persist_noclobber(&path) {
            Ok(_file) => self.sync().map(|()| true).map_err(failed(&path)),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(failed(&path)(error.error)),
        }
    }

    /// Removes the file `name` if there is one.
    ///
    /// # Errors
    /// The disk refused.
    pub fn remove(&self, name: &str) -> Result<(), HomeError> {
        let path = self.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&path)(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Waits until no other program is changing anything in here; others wait until the returned file
    /// is dropped. Nobody holds it while waiting for a peer.
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

fn directory(path: Option<&Path>) -> Result<PathBuf, HomeError> {
    if let Some(path) = path {
        return std::path::absolute(path).map_err(failed(path));
    }
    let platform = etcetera::choose_base_strategy().map_err(|_no_home| HomeError::Nowhere)?;
    Ok(platform.config_dir().join("landline"))
}

/// A pipe without a writer keeps whoever opens it waiting, a terminal may become the process's own.
const WITHOUT_WAITING: i32 = OFlags::NONBLOCK.union(OFlags::NOCTTY).bits().cast_signed();

/// Opens a file for reading. Something else than a regular file is an error: it could keep its reader waiting, or never end.
///
/// # Errors
/// It cannot be opened, or is no regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let opened = OpenOptions::new().read(true).custom_flags(WITHOUT_WAITING).open(path);
    only_regular(opened.map_err(|error| {
        // What open(2) says of a socket.
        if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) { special() } else { error }
    })?)
}

fn only_regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { Err(special()) }
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

/// Refuses what others may read or change, or own.
///
/// # Errors
/// [`HomeError`].
fn check_private(path: &Path, wanted: u32) -> Result<(), HomeError> {
    check_private_file(path, &fs::metadata(path).map_err(failed(path))?, wanted)
}

/// The same for something of which the `metadata` is known: an open file, for example.
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
