//! The file of a bound Unix socket: a dead one is removed before binding, and an own one afterwards.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// The file of this process's socket. Dropping it removes the file, unless another file has replaced it.
#[derive(Debug)]
pub(super) struct OwnPath {
    path: PathBuf,
    identity: (u64, u64),
}

impl OwnPath {
    /// Takes over the file that `bind` has just made.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(&fs::symlink_metadata(path)?) })
    }

    /// Removes the file of a socket on which no process listens any more; anything else at `path` is an error.
    pub(super) fn make_way(path: &Path) -> io::Result<()> {
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        if !metadata.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
        }
        match UnixDatagram::unbound()?.connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
            _ => Err(io::ErrorKind::AddrInUse.into()),
        }
    }

    pub(super) fn as_path(&self) -> &Path {
        &self.path
    }

    /// Lets a peer that runs as another user send to this socket.
    pub(super) fn let_everybody_write(&self) -> io::Result<()> {
        fs::set_permissions(&self.path, Permissions::from_mode(0o666))
    }
}

impl Drop for OwnPath {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|there| identity(&there) == self.identity) {
            // Another process may have removed it in between.
            drop(fs::remove_file(&self.path));
        }
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_dead_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("echo.sock");
        OwnPath::make_way(&path).expect("nothing is there");

        let alive = UnixDatagram::bind(&path).unwrap();
        assert_eq!(OwnPath::make_way(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(alive);
        OwnPath::make_way(&path).expect("nobody listens");
        assert!(!path.exists());

        fs::write(&path, "precious").unwrap();
        assert_eq!(OwnPath::make_way(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn our_file_goes_with_us_and_a_later_one_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("echo.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        drop(OwnPath::new(&path).unwrap());
        assert!(!path.exists());

        let again = UnixDatagram::bind(&path).unwrap();
        let ours = OwnPath::new(&path).unwrap();
        fs::rename(&path, dir.path().join("kept")).unwrap();
        let theirs = UnixDatagram::bind(&path).unwrap();
        drop(ours);
        assert!(path.exists());
        drop((socket, again, theirs));
    }
}
