//! Small file systems of a test's own.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use super::skip::skip;

/// A file system, mounted until the test ends.
pub(crate) struct Mounted(tempfile::TempDir);

impl Mounted {
    /// A file system in memory of `size`, as mount(8) writes it; `None`, told, where none can be mounted.
    pub(crate) fn tmpfs(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        if quietly("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"].map(OsStr::new), dir.path()) {
            return Some(Self(dir));
        }
        skip("a tmpfs cannot be mounted here (it needs root)");
        None
    }

    /// One of 8 MiB that `program` makes; `None`, told, where it cannot be made or mounted.
    pub(crate) fn made_by(program: &str, options: &[&str]) -> Option<Self> {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(8 << 20).unwrap();
        let options: Vec<&OsStr> = options.iter().map(AsRef::as_ref).collect();
        let dir = tempfile::tempdir().unwrap();
        if quietly(program, &options, image.path())
            && quietly("mount", &["-o".as_ref(), "loop".as_ref(), image.path().as_os_str()], dir.path())
        {
            return Some(Self(dir));
        }
        skip(&format!("a file system of {program} {options:?} cannot be made or mounted here"));
        None
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Changes the size of a tmpfs.
    pub(crate) fn resize(&self, size: &str) {
        assert!(quietly("mount", &["-o".as_ref(), format!("remount,size={size}").as_ref()], self.path()));
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a server may still have its root open.
        quietly("umount", &["-l".as_ref()], self.path());
    }
}

fn quietly(program: &str, args: &[&OsStr], last: &Path) -> bool {
    let mut command = Command::new(program);
    command.args(args).arg(last).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
