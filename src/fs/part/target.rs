//! The file of this machine that a part is to become.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::sync::Arc;

use cap_std::fs::Dir;

use crate::fs::root::Root;

/// A directory, and the name that a file is to have in it.
#[derive(Debug, Clone)]
pub struct Target {
    /// The directory.
    pub dir: Arc<Dir>,
    /// The name.
    pub name: OsString,
}

impl Target {
    /// Finds the directory of `path`. A symlink is followed: the file that it points to is replaced, not the link.
    ///
    /// # Errors
    /// The directory is missing, or what is there is neither missing nor a regular file.
    pub fn of(path: &Path) -> io::Result<Self> {
        let followed = path.is_symlink().then(|| path.canonicalize().ok()).flatten();
        let path = followed.as_deref().unwrap_or(path);
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let dir = Root::open_own_dir(directory)?;
        let name = path.file_name().unwrap_or(OsStr::new("")).to_owned();
        if dir.symlink_metadata(&name).is_ok_and(|metadata| metadata.is_dir()) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        // A rename would replace a device by a file: /dev/null would be gone.
        if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(io::Error::other("neither a file nor a directory; only files are replaced"));
        }
        Ok(Self { dir: Arc::new(dir), name })
    }
}
