//! This machine's files, as a transfer of one file opens them.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::fs::part::{Part, Parts, Target};
use crate::fs::unix::nanoseconds;
use crate::wire::message::Attributes;

/// Creates the temporary file for a file that arrives as `target`. A symlink is followed: the file that it points to is
/// replaced, not the link.
///
/// # Errors
/// Its directory is missing or cannot be written, or the target is neither missing nor a regular file.
pub fn create_part(parts: &Arc<Parts>, target: &Path, attributes: &Attributes) -> Result<Part> {
    let ours = || Error::ours(target.to_string_lossy());
    let Target { dir, name } = Target::of(target).map_err(ours())?;
    let part = parts.create(dir, &name, attributes.into());
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
