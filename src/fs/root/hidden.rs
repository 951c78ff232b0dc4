//! What a root never shows: a directory by device and inode, and names in a home directory.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, MetadataExt as _};
use rustix::fs::OFlags;

use super::{Root, path_of};
use crate::fs::unix::identity_of;
use crate::fs::{Error, ErrorKind};

/// Directories whose contents are remembered, at most: each costs an open descriptor.
const DIRS_KEPT_MAX: usize = 32;
/// What was changed this short a time ago may change again and look the same: file systems have coarse clocks.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// A directory whose contents are never shown, by device and inode.
#[derive(Debug, Clone)]
pub(super) struct Hidden {
    pub(super) directory: (u64, u64),
    /// Opened once: a directory that is put in its place is another one.
    dir: Arc<Dir>,
    /// What was last found in it, if that can be told from what is there now.
    kept: Arc<Mutex<Option<Arc<Contents>>>>,
}

/// All that is in a directory, however deep.
#[derive(Debug)]
struct Contents {
    identities: HashSet<(u64, u64)>,
    /// Its directories, each with the time of its last change before it was read.
    dirs: Vec<(Dir, (i64, i64))>,
}

impl Contents {
    /// Reads all of it.
    fn of(dir: &Dir, directory: (u64, u64)) -> std::io::Result<Self> {
        let mut found = Self { identities: HashSet::from([directory]), dirs: Vec::new() };
        let mut unread = vec![dir.try_clone()?];
        while let Some(dir) = unread.pop() {
            let changed = changed(&dir)?;
            for entry in dir.entries()? {
                let entry = entry?;
                // What is gone by now was replaced, and is not what was found.
                let Ok(metadata) = entry.metadata() else { continue };
                found.identities.insert((metadata.dev(), metadata.ino()));
                if metadata.is_dir() {
                    unread.push(entry.open_dir()?);
                }
            }
            if found.dirs.len() <= DIRS_KEPT_MAX {
                found.dirs.push((dir, changed));
            }
        }
        Ok(found)
    }

    /// Whether the next change will be seen.
    fn can_be_kept(&self, read_at: SystemTime) -> bool {
        let is_settled = |(seconds, _): (i64, i64)| {
            let changed = UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            read_at.duration_since(changed).is_ok_and(|since| since > SETTLED_AFTER)
        };
        self.dirs.len() <= DIRS_KEPT_MAX && self.dirs.iter().all(|(_, changed)| is_settled(*changed))
    }

    /// Whether nothing has come or gone since: that would have changed the directory that it is in.
    fn is_current(&self) -> bool {
        self.dirs.iter().all(|(dir, before)| changed(dir).is_ok_and(|now| now == *before))
    }
}

/// When a directory last changed, in seconds and nanoseconds since 1970 UTC.
fn changed(dir: &Dir) -> std::io::Result<(i64, i64)> {
    let metadata = dir.dir_metadata()?;
    Ok((metadata.ctime(), metadata.ctime_nsec()))
}

impl Hidden {
    /// The directory `path` of this machine.
    pub(super) fn of(path: &Path) -> std::io::Result<Self> {
        let dir = Dir::open_ambient_dir(path, ambient_authority())?;
        Ok(Self { directory: identity_of(&dir)?, dir: Arc::new(dir), kept: Arc::default() })
    }

    /// Whether the directory lies in `found`, however deep.
    pub(super) fn lies_in(&self, found: (u64, u64)) -> std::io::Result<bool> {
        lies_in(&self.dir, found)
    }

    /// Whether this is the directory, or anything in it. Whatever the device, since an overlay's files may have another
    /// than their directory.
    pub(super) fn holds(&self, found: (u64, u64)) -> std::io::Result<bool> {
        Ok(self.contents()?.identities.contains(&found))
    }

    /// All of it as it is now, for those who have many to compare.
    pub(super) fn now(&self) -> std::io::Result<HashSet<(u64, u64)>> {
        Ok(self.contents()?.identities.clone())
    }

    /// What is in it now. It is read again when something has changed: what is in it is replaced. To read it for each
    /// file that is opened would take more system calls than all else that is done with a small file.
    fn contents(&self) -> std::io::Result<Arc<Contents>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(kept) = kept.filter(|kept| kept.is_current()) {
            return Ok(kept);
        }
        let read_at = SystemTime::now();
        let read = Arc::new(Contents::of(&self.dir, self.directory)?);
        let to_keep = read.can_be_kept(read_at).then(|| Arc::clone(&read));
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = to_keep;
        Ok(read)
    }
}

impl Root {
    /// The name that lists of `dir` leave out, since what has it is never shown; `None`: there is none in it.
    ///
    /// # Errors
    /// It could not be looked at.
    pub fn hidden_name_in(&self, dir: &impl AsFd) -> std::io::Result<Option<OsString>> {
        let Some(hidden) = &self.hidden else { return Ok(None) };
        // The server's own way up: nothing is opened through it.
        if identity_of(&open_up(&hidden.dir)?)? != identity_of(dir)? {
            return Ok(None);
        }
        Ok(path_of(&*hidden.dir)?.file_name().map(OsStr::to_owned))
    }
}

/// The directory above `dir`, as a mere path. It may lie outside the root: nothing may be opened through it before it
/// was found to be inside.
pub(super) fn open_up(dir: &Dir) -> rustix::io::Result<Dir> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(Dir::from_std_file(rustix::fs::openat(dir, "..", flags, rustix::fs::Mode::empty())?.into()))
}

/// Whether `dir` is the directory `wanted`, or lies in it, however deep.
pub(super) fn lies_in(dir: &Dir, wanted: (u64, u64)) -> std::io::Result<bool> {
    let mut above = dir.try_clone()?;
    let mut last = None;
    // Up to the top, which is its own parent.
    loop {
        let here = identity_of(&above)?;
        if here == wanted {
            return Ok(true);
        }
        if last.replace(here) == Some(here) {
            return Ok(false);
        }
        // The server's own way up, not a stranger's: nothing is opened through it.
        above = open_up(&above)?;
    }
}

/// The refusal of what lies in the home, where the keys are.
pub(super) fn keys_are_here() -> Error {
    Error::new(ErrorKind::Hidden, "the server keeps its keys here, and never shows them")
}

/// The refusal of a dot file of a user's home directory.
pub(super) fn guarded_name() -> Error {
    let why = "what begins with a dot in the server's home directory is neither shown nor accepted, unless its \
               operator says so";
    Error::new(ErrorKind::Hidden, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::root::RootPath;

    fn at(path: &str) -> RootPath {
        RootPath::default().join(path.as_bytes()).unwrap()
    }

    #[test]
    fn what_comes_into_the_directory_later_is_hidden_too() {
        let dir = tempfile::tempdir().unwrap();
        let old = SystemTime::now() - Duration::from_mins(1);
        let inside = dir.path().join("in");
        std::fs::create_dir(&inside).unwrap();
        let hidden = Hidden::of(dir.path()).unwrap();
        let identity = |path: &Path| {
            let metadata = std::fs::metadata(path).unwrap();
            (std::os::unix::fs::MetadataExt::dev(&metadata), std::os::unix::fs::MetadataExt::ino(&metadata))
        };
        for (round, place) in [dir.path(), &inside, dir.path(), &inside].into_iter().enumerate() {
            let path = place.join(format!("key-{round}"));
            std::fs::write(&path, "x").unwrap();
            assert!(hidden.holds(identity(&path)).unwrap(), "{round}");
            assert!(hidden.holds(identity(&inside)).unwrap() && hidden.holds(hidden.directory).unwrap());
            std::fs::rename(&path, place.join("key")).unwrap();
            assert!(hidden.holds(identity(&place.join("key"))).unwrap(), "{round}");
        }
        let contents = Contents::of(&hidden.dir, hidden.directory).unwrap();
        let newest = contents.dirs.iter().map(|(_, changed)| changed.0).max().unwrap();
        let newest = UNIX_EPOCH + Duration::from_secs(u64::try_from(newest).unwrap());
        assert!(contents.is_current() && !contents.can_be_kept(newest) && !contents.can_be_kept(old));
        assert!(contents.can_be_kept(newest + Duration::from_mins(1)));
        std::fs::write(inside.join("one more"), "x").unwrap();
        assert!(Contents::of(&hidden.dir, hidden.directory).unwrap().identities.len() > contents.identities.len());
    }

    #[test]
    fn dot_names_of_a_home_directory_are_neither_shown_nor_accepted_however_they_are_reached() {
        let above = tempfile::tempdir().unwrap();
        let home = above.path().join("ann");
        for dir in ["ann/.ssh", "ann/sub/.git", "ann/.config/autostart", "bob/.ssh"] {
            std::fs::create_dir_all(above.path().join(dir)).unwrap();
        }
        for file in ["ann/.ssh/id", "ann/.bashrc", "ann/notes", "ann/sub/.git/config", "bob/.ssh/id"] {
            std::fs::write(above.path().join(file), "x").unwrap();
        }
        let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, home.join(name)).unwrap();
        for (target, name) in [(".ssh", "to-dir"), (".bashrc", "to-file"), ("../ann/.ssh/id", "round"), (".", "here")] {
            link(target, name);
        }
        for (shown, prefix) in [(home.as_path(), ""), (above.path(), "/ann")] {
            let root = Root::open(shown).unwrap().guarding(&home).unwrap();
            let at = |path: &str| at(&format!("{prefix}{path}"));
            let is_refused = |error: Error| error.kind() == ErrorKind::Hidden && error.why().contains("dot");
            for path in
                ["/.bashrc", "/.ssh/id", "/to-dir/id", "/to-file", "/round", "/here/.bashrc", "/here/here/to-dir/id"]
            {
                let leads_out = path == "/round" && prefix.is_empty();
                for error in [root.open_file(&at(path)).unwrap_err(), root.canonical(&at(path)).unwrap_err()] {
                    assert!(
                        if leads_out { error.kind() == ErrorKind::OutsideRoot } else { is_refused(error) },
                        "{path}"
                    );
                }
            }
            for path in ["/.ssh", "/to-dir", "/.config/autostart", "/here/.config"] {
                assert!(is_refused(root.open_dir(&at(path)).unwrap_err()), "{path}");
                assert!(!root.is_dir(&at(path)), "{path}");
            }
            for path in ["/.ssh", "/.profile", "/.new/deep", "/here/.new/deep", "/to-dir/new"] {
                assert!(is_refused(root.make_dir(&at(path), true).unwrap_err()), "{path}");
                assert!(is_refused(root.remove(&at(path), true, &|_, _| true).unwrap_err()), "{path}");
                assert!(is_refused(root.rename(&at("/notes"), &at(path)).unwrap_err()), "{path}");
            }
            assert!(is_refused(root.rename(&at("/.ssh"), &at("/mine")).unwrap_err()));
            assert!(is_refused(root.symlink_metadata(&at("/.ssh")).unwrap_err()));
            // Elsewhere a dot is a name as any other.
            assert!(root.open_file(&at("/sub/.git/config")).is_ok() && root.open_file(&at("/here/notes")).is_ok());
            assert!(root.open_dir(&at("/sub/.git")).is_ok() && root.is_dir(&at("/here/sub")));
        }
        let root = Root::open(above.path()).unwrap().guarding(&home).unwrap();
        assert!(root.open_file(&at("/bob/.ssh/id")).is_ok(), "another one's home is not this user's");
        assert!(root.rename(&at("/ann"), &at("/other")).is_err(), "or another home could be put in its place");
        assert!(root.remove(&at("/ann"), true, &|_, _| true).is_err());
        assert!(home.join(".bashrc").exists() && home.join(".ssh/id").exists());
        // A directory of the home that is the root itself was meant.
        let root = Root::open(&home.join(".config")).unwrap().guarding(&home).unwrap();
        assert!(root.open_dir(&at("/autostart")).is_ok());
    }
}
