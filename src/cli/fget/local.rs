//! Where downloads go.

use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use crate::cli::usage::usage;
use crate::remote::Remote;
use crate::trees::glob;

/// A file or directory of this machine.
pub(super) struct LocalPath {
    pub(super) path: PathBuf,
    /// It is a directory; otherwise a single file gets this name.
    pub(super) goes_into: bool,
}

impl LocalPath {
    pub(super) fn new(path: PathBuf, sources: &[Remote], recursive: bool) -> anyhow::Result<Self> {
        let is_dir = path.is_dir();
        let is_one = |source: &Remote| !glob::is_pattern(source.path.as_bytes());
        let goes_into =
            is_dir || !matches!(sources, [only] if is_one(only)) || path.as_os_str().as_bytes().ends_with(b"/");
        if goes_into && !is_dir && !recursive {
            return Err(usage(format!("{}: not a directory; make it first", path.display())));
        }
        Ok(Self { path, goes_into })
    }

    pub(super) fn path_for(&self, source: &Remote) -> anyhow::Result<PathBuf> {
        if !self.goes_into {
            return Ok(self.path.clone());
        }
        let name = source
            .file_name()
            .ok_or_else(|| usage(format!("{}: names no file; write HOST:PATH/FILE", source.shown())))?;
        Ok(self.path.join(name))
    }
}
