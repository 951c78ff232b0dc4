//! This machine's files, as a transfer of one file opens them.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::fs::part::{Part, Parts};
use crate::fs::root::Root;
use crate::fs::unix::nanoseconds;
use crate::wire::message::Attributes;

/// Creates the temporary file for a file that arrives as `target`. A symlink is followed: the file that it points to is
/// replaced, not the link.
///
/// # Errors
/// Its directory is missing or cannot be written, or the target is neither missing nor a regular file.
pub fn create_part(parts: &Arc<Parts>, target: &Path, attributes: &Attributes) -> Result<Part> {
    let followed = target.is_symlink().then(|| target.canonicalize().ok()).flatten();
    let target = followed.as_deref().unwrap_or(target);
    let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let ours = || Error::ours(target.to_string_lossy());
    let directory = Root::open_own_dir(directory).map_err(ours())?;
    let name = target.file_name().unwrap_or(OsStr::new(""));
    if directory.symlink_metadata(name).is_ok_and(|metadata| metadata.is_dir()) {
        return Err(ours()(std::io::ErrorKind::IsADirectory.into()));
    }
    // A rename would replace a device by a file: /dev/null would be gone.
    if std::fs::metadata(target).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(ours()(std::io::Error::other("neither a file nor a directory; only files are replaced")));
    }
    let part = parts.create(directory.into(), name, attributes.into());
    part.map_err(|error| ours()(error.into()))
}

/// Opens a regular file.
///
/// # Errors
/// It is missing, unreadable, or no regular file.
pub fn open_file(path: &Path) -> Result<(File, Attributes)> {
    let ours = || Error::ours(path.to_string_lossy());
    // Without NONBLOCK, opening a FIFO would wait for a writer; for a regular file it has no effect.
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(nonblock).open(path).map_err(ours())?;
    let metadata = file.metadata().map_err(ours())?;
    if metadata.is_dir() {
        return Err(ours()(std::io::Error::other("is a directory; name its files")));
    }
    if !metadata.is_file() {
        return Err(ours()(std::io::Error::other("is neither a file nor a directory")));
    }
    let mtime_ns = nanoseconds(metadata.mtime(), metadata.mtime_nsec());
    Ok((file, Attributes { size: metadata.len(), mtime_ns: Some(mtime_ns), mode: Some(metadata.mode() & 0o777) }))
}
