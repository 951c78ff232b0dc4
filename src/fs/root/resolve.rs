//! Symlinks in a root that guards names: followed one by one, each name looked at by the rule on names first.
//!
//! In a root without such a rule cap-std and the kernel follow them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;
use rustix::io::Errno;

use super::hidden::open_up;
use super::path::reserved;
use super::{Root, leads_out};
use crate::fs::below;
use crate::fs::part::is_part_name;
use crate::fs::unix::identity_of;
use crate::fs::{Error, ErrorKind, Result};

/// Symlinks that are followed on the way of one path in a guarded root: as many as Linux follows.
pub const LINKS_MAX: usize = 40;
/// Parts of such a path, with those of the symlinks on its way.
pub const STEPS_MAX: usize = 8_192;

impl Root {
    /// Where `path` below `dir` leads, all symlinks followed one by one. Each step is taken without following a
    /// symlink, and each name is looked at by the rule on names before the system is asked for it: nothing that is
    /// swapped meanwhile leads past the rule, and a name that is there and one that is not get the same answer, also
    /// at the end of a symlink.
    ///
    /// # Errors
    /// It does not exist, leads out, or a name on the way is not accepted.
    pub(super) fn resolve_in(&self, dir: &Dir, path: &Path) -> Result<Resolved> {
        let mut way = Way::from(dir)?;
        let mut rest: Vec<Vec<u8>> = path.iter().rev().map(|part| part.as_bytes().to_vec()).collect();
        let (mut links, mut steps) = (0, 0);
        while let Some(part) = rest.pop() {
            steps += 1;
            if steps > STEPS_MAX {
                return Err(Errno::LOOP.into());
            }
            let name = match part.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    way.up()?;
                    continue;
                }
                name => OsStr::from_bytes(name),
            };
            self.check_name(&way.here, name)?;
            if is_part_name(&part) {
                return Err(reserved());
            }
            let is_last = rest.is_empty();
            if !is_last && way.down(name)? {
                continue;
            }
            match rustix::fs::readlinkat(&way.here, name, Vec::new()) {
                Ok(target) if links < LINKS_MAX => {
                    links += 1;
                    let target = target.as_bytes();
                    if target.starts_with(b"/") {
                        return Err(leads_out());
                    }
                    // A slash at its end leaves an empty part behind it: what is in front of that has to be a
                    // directory.
                    rest.extend(target.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
                }
                Ok(_) => return Err(Errno::LOOP.into()),
                // No symlink.
                Err(Errno::INVAL) if is_last => {
                    return Ok(Resolved { dir: way.here, above: way.names, name: Some(name.to_owned()) });
                }
                Err(Errno::INVAL) => return Err(Errno::NOTDIR.into()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Resolved { dir: way.here, above: way.names, name: None })
    }
}

/// Where a path leads.
#[derive(Debug)]
pub(super) struct Resolved {
    /// The directory in which it is...
    pub(super) dir: Dir,
    /// ... the names that lead to that...
    above: Vec<OsString>,
    /// ... and its name there; `None`: it is that directory.
    pub(super) name: Option<OsString>,
}

impl Resolved {
    /// The names that lead to it.
    pub(super) fn path(&self) -> PathBuf {
        self.above.iter().chain(&self.name).collect()
    }
}

/// How far a path has been followed.
#[derive(Debug)]
struct Way {
    here: Dir,
    /// The names that lead here.
    names: Vec<OsString>,
    /// The directories in which those names are. They are not kept open: a path may have more parts than there are
    /// descriptors.
    above: Vec<(u64, u64)>,
}

impl Way {
    fn from(dir: &Dir) -> Result<Self> {
        Ok(Self { here: dir.try_clone()?, names: Vec::new(), above: Vec::new() })
    }

    /// Goes down into a directory; `false`: it is none, and may be a symlink.
    fn down(&mut self, name: &OsStr) -> Result<bool> {
        let below = match below::open_path(&self.here, name) {
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Ok(false),
            below => below?,
        };
        self.above.push(identity_of(&self.here)?);
        self.names.push(name.to_owned());
        self.here = below;
        Ok(true)
    }

    /// Goes back up.
    fn up(&mut self) -> Result<()> {
        let above = self.above.pop().ok_or_else(leads_out)?;
        self.names.pop();
        let up = open_up(&self.here)?;
        // A directory that was moved meanwhile has another one above it, which may lie outside.
        if identity_of(&up)? != above {
            return Err(Error::new(ErrorKind::Busy, "a directory on the way was moved just now; ask again"));
        }
        self.here = up;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::root::RootPath;

    fn at(path: &str) -> RootPath {
        RootPath::default().join(path.as_bytes()).unwrap()
    }

    #[test]
    fn a_symlink_does_not_tell_which_dot_names_of_a_home_directory_are_there() {
        let above = tempfile::tempdir().unwrap();
        let home = above.path().join("ann");
        std::fs::create_dir_all(home.join("sub")).unwrap();
        std::fs::create_dir_all(home.join(".ssh/keys")).unwrap();
        for file in [".ssh/id", ".bashrc", "notes"] {
            std::fs::write(home.join(file), "x").unwrap();
        }
        let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, home.join(name)).unwrap();
        // The first of each pair is there, the second is not.
        let pairs = [
            (".bashrc", ".zshrc"),
            (".ssh/id", ".ssh/id2"),
            (".ssh/keys", ".ssh/other"),
            (".ssh", ".gnupg"),
            ("sub/../.ssh/id", "sub/../.ssh/id2"),
            (".ssh/id", ".gnupg/id"),
            (".ssh/id/x", ".ssh/id2/x"),
            (".ssh/", ".gnupg/"),
        ];
        for (number, (there, missing)) in pairs.iter().enumerate() {
            for (target, which) in [(there, "there"), (missing, "missing")] {
                link(target, &format!("{which}-{number}"));
                link(&format!("{which}-{number}"), &format!("chain-{which}-{number}"));
                link(&format!("../{target}"), &format!("sub/{which}-{number}"));
            }
        }
        let codes = |root: &Root, path: &RootPath| {
            let notes = path.join(b"/notes").unwrap();
            let code = |error: Error| error.kind();
            [
                root.open_file(path).map(drop).map_err(code),
                root.open_dir(path).map(drop).map_err(code),
                root.canonical(path).map(drop).map_err(code),
                root.goes_into(path).map(drop).map_err(code),
                root.symlink_metadata(&path.join(b"x").unwrap()).map(drop).map_err(code),
                root.make_dir(&path.join(b"x").unwrap(), true).map_err(code),
                root.rename(&notes, path).map(drop).map_err(code),
                root.remove(&path.join(b"x").unwrap(), true, &|_, _| true).map_err(code),
            ]
        };
        let refused = [const { Err(ErrorKind::Hidden) }; 8];
        for (shown, prefix) in [(home.as_path(), ""), (above.path(), "/ann")] {
            let root = Root::open(shown).unwrap().guarding(&home).unwrap();
            for number in 0..pairs.len() {
                for form in ["", "/chain-", "/sub/"] {
                    for which in ["there", "missing"] {
                        let path = at(&format!("{prefix}/{}{which}-{number}", form.trim_start_matches('/')));
                        assert_eq!(codes(&root, &path), refused, "{path}");
                        assert!(!root.is_dir(&path), "{path}");
                    }
                }
            }
        }
        assert!(home.join("notes").exists());
    }

    #[test]
    fn symlinks_in_a_guarded_root_are_followed_as_the_system_follows_them() {
        let home = tempfile::tempdir().unwrap();
        let plain = Root::open(home.path()).unwrap();
        let root = Root::open(home.path()).unwrap().guarding(home.path()).unwrap();
        std::fs::create_dir_all(home.path().join("a/b/c")).unwrap();
        std::fs::write(home.path().join("a/file"), "x").unwrap();
        let mut names = vec!["a/b".to_owned(), "a/file".to_owned(), "a/file/x".to_owned(), "no/such".to_owned()];
        let targets = [
            "a",
            "a/",
            "a/.",
            "a/file",
            "a/file/",
            "a/file/.",
            "a/b/../file",
            "a/b/c/../..",
            "..",
            "a/../..",
            "/etc",
            ".",
            "nowhere",
            "nowhere/..",
            "self",
            "a/b/c/../../../a/b",
            "./a//b",
            "a/b/up",
            "l0/b",
            "l3/x",
        ];
        std::os::unix::fs::symlink("../../a/file", home.path().join("a/b/up")).unwrap();
        for (number, target) in targets.iter().enumerate() {
            let name = format!("l{number}");
            std::os::unix::fs::symlink(if *target == "self" { &name } else { *target }, home.path().join(&name))
                .unwrap();
            names.extend([format!("{name}/b"), format!("{name}/file"), name]);
        }
        let mut last = "a".to_owned();
        for number in 0..=LINKS_MAX {
            let name = format!("chain{number}");
            std::os::unix::fs::symlink(&last, home.path().join(&name)).unwrap();
            names.push(name.clone());
            last = name;
        }
        for name in names {
            let path = at(&name);
            let ended = |root: &Root| {
                let code = |error: Error| error.kind();
                (
                    root.open_file(&path).map(drop).map_err(code),
                    root.open_dir(&path).map(drop).map_err(code),
                    root.canonical(&path).map_err(code),
                    root.goes_into(&path).map_err(code),
                )
            };
            assert_eq!(ended(&root), ended(&plain), "{name}");
        }
    }
}
