//! Another user of this machine.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use super::files::set_mode;
use super::{Run, Server, program, skip};

/// The id of the user that owns nothing on Linux.
pub(crate) const NOBODY: u32 = 65_534;

/// Another user with a home and a directory to work in, who can reach the programs. Only root can become one.
pub(crate) struct Nobody {
    dir: tempfile::TempDir,
}

impl Nobody {
    /// `None`, told, where the tests do not run as root.
    pub(crate) fn new() -> Option<Self> {
        if !skip::is_root("running a program as another user") {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        set_mode(dir.path(), 0o755);
        for (name, mode) in [("home", 0o700), ("work", 0o777)] {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            set_mode(&path, mode);
            Self::own(&path);
        }
        // They may lie where another user may not look.
        for name in ["tcp-server", "tcp-client", "fget", "fput"] {
            let copy = dir.path().join(name);
            if std::fs::hard_link(program(name), &copy).is_err() {
                std::fs::copy(program(name), &copy).unwrap();
            }
        }
        Some(Self { dir })
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// Where every user may make files.
    pub(crate) fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// A run of a program of theirs, in the directory to work in.
    pub(crate) fn run(&self, name: &str) -> Run {
        let run = Run::of(&self.dir.path().join(name)).by_user(NOBODY);
        run.current_dir(&self.work()).env("LANDLINE_HOME", self.home())
    }

    /// A server of theirs, which shows their directory to work in.
    pub(crate) fn server(&self, args: &[&str]) -> Server {
        Server::by_user(NOBODY, &self.dir.path().join("tcp-server"), args, (&self.work(), &self.home()))
    }

    /// Gives them what is at `path`.
    pub(crate) fn own(path: &Path) {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}
