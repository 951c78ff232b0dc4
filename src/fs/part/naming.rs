//! The name that a file gets once it is whole, where that name may be taken.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use cap_std::fs::{Dir, Metadata};
use rustix::fs::{AtFlags, Mode, RenameFlags};
use rustix::io::Errno;

use super::names::{NAME_LEN_MAX, random_token};
use crate::fs::{Error, ErrorKind, Result};

/// Numbers that are tried behind a name that is taken.
pub const NAMES_TRIED_MAX: u32 = 1_000;

/// What happens to a file whose name is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnExists {
    /// It replaces what is there, once it is whole.
    #[default]
    Replace,
    /// It gets another name, such as `notes (1).txt`.
    Rename,
    /// It is refused.
    Refuse,
}

/// Whether what has the name now may be replaced.
pub type MayReplace<'n> = &'n dyn Fn() -> bool;

/// How a file gets its name.
#[derive(Clone, Copy, Default)]
pub struct Naming<'n> {
    /// What happens if it is taken.
    pub on_exists: OnExists,
    /// Asked right before the name is given, as what is there may have changed since the file began to come. Between
    /// this and the rename are some microseconds, in which another program can still change what is then replaced:
    /// Linux has no rename that compares. `None`: whatever is there may be replaced.
    pub may_replace: Option<MayReplace<'n>>,
    /// Whether the name is one that tells nothing of other files, whatever it was to be: `notes-1a2b3c4d.txt`.
    pub is_unique: bool,
}

impl fmt::Debug for Naming<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Naming({:?})", self.on_exists)
    }
}

/// A file that has its name.
#[derive(Debug)]
pub struct Published {
    /// The name.
    pub name: OsString,
    /// Whether nothing had it before.
    pub is_new: bool,
    /// What the file is now.
    pub metadata: Metadata,
}

impl Naming<'_> {
    /// Renames `from` to `target` in `dir`, or to what else it is to be called; the name, and whether it is new.
    pub(super) fn give(&self, dir: &Dir, from: &OsStr, target: &OsStr) -> Result<(OsString, bool)> {
        if self.is_unique {
            return numbered(dir, from, |_| with_suffix(target, &format!("-{}", random_token())));
        }
        match self.on_exists {
            OnExists::Replace => {
                let found = match dir.symlink_metadata(target) {
                    Ok(found) => Some(found),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                    Err(error) => return Err(error.into()),
                };
                if self.may_replace.is_some_and(|may_replace| !may_replace()) {
                    let why = "was changed while its successor came; nothing was replaced";
                    return Err(Error::new(ErrorKind::Changed, why));
                }
                // With a condition nothing else may come in between where nothing was.
                if found.is_none() && self.may_replace.is_some() {
                    return match rename_to_free((dir, from), (dir, target)) {
                        Ok(()) => Ok((target.to_owned(), true)),
                        Err(Errno::EXIST) => Err(Error::new(ErrorKind::Changed, "was made while this file came")),
                        Err(error) => Err(error.into()),
                    };
                }
                rustix::fs::renameat(dir, from, dir, target)?;
                Ok((target.to_owned(), found.is_none()))
            }
            OnExists::Refuse => {
                rename_to_free((dir, from), (dir, target))?;
                Ok((target.to_owned(), true))
            }
            OnExists::Rename => numbered(dir, from, |number| match number {
                0 => target.to_owned(),
                number => with_suffix(target, &format!(" ({number})")),
            }),
        }
    }
}

/// Gives it the first name that is free.
fn numbered(dir: &Dir, from: &OsStr, name: impl Fn(u32) -> OsString) -> Result<(OsString, bool)> {
    for number in 0..NAMES_TRIED_MAX {
        let name = name(number);
        match rename_to_free((dir, from), (dir, &name)) {
            Ok(()) => return Ok((name, true)),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::new(ErrorKind::Exists, format!("already exists, as do {NAMES_TRIED_MAX} names with a number behind it")))
}

/// Renames to a name that nothing has, at once: of two that do it at the same time one fails with `EXIST`.
pub(in crate::fs) fn rename_to_free(
    (from_dir, from): (&Dir, &OsStr),
    (to_dir, to): (&Dir, &OsStr),
) -> Result<(), Errno> {
    match rustix::fs::renameat_with(from_dir, from, to_dir, to, RenameFlags::NOREPLACE) {
        // Some file systems cannot do that, NFS among them; a link is never made in place of another.
        Err(refused @ (Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)) => {
            let linked =
                rustix::fs::linkat(from_dir, from, to_dir, to, AtFlags::empty()).map_err(|linking| match linking {
                    // A directory has no links.
                    Errno::PERM => refused,
                    linking => linking,
                });
            if linked == Err(refused) {
                return rename_onto_empty((from_dir, from), (to_dir, to))
                    .map_err(|error| if error == Errno::EXIST { error } else { refused });
            }
            linked?;
            // It has its new name now.
            if let Err(error) = rustix::fs::unlinkat(from_dir, from, AtFlags::empty()) {
                tracing::warn!(?from, %error, "the old name of a file could not be removed");
            }
            Ok(())
        }
        renamed => renamed,
    }
}

/// Renames a directory to a name that nothing has: an empty one is made there first, in whose place it comes. Once
/// something is put into that, the rename fails.
fn rename_onto_empty((from_dir, from): (&Dir, &OsStr), (to_dir, to): (&Dir, &OsStr)) -> Result<(), Errno> {
    rustix::fs::mkdirat(to_dir, to, Mode::from_raw_mode(0o700))?;
    let renamed = rustix::fs::renameat(from_dir, from, to_dir, to);
    if renamed.is_err()
        && let Err(error) = rustix::fs::unlinkat(to_dir, to, AtFlags::REMOVEDIR)
    {
        tracing::debug!(?to, %error, "the directory that held a name could not be removed");
    }
    renamed
}

/// `notes.txt` with a suffix: `notes (1).txt`. What is too long is cut, between two characters if it is UTF-8.
fn with_suffix(name: &OsStr, suffix: &str) -> OsString {
    let name = name.as_bytes();
    // A dot in front is no extension's.
    let dot = name.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0).unwrap_or(name.len());
    let (stem, extension) = name.split_at(dot);
    let room = NAME_LEN_MAX.saturating_sub(suffix.len());
    // An extension that leaves no room is none.
    let (stem, extension) = if extension.len() < room { (stem, extension) } else { (name, &[][..]) };
    let mut kept = stem.get(..room - extension.len()).unwrap_or(stem);
    if kept.len() < stem.len() {
        // Behind the cut a character may go on.
        while let (Some((_, before)), true) =
            (kept.split_last(), stem.get(kept.len()).is_some_and(|byte| is_continuation(*byte)))
        {
            kept = before;
        }
    }
    OsString::from_vec([kept, suffix.as_bytes(), extension].concat())
}

const fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::fs::part::tests::{PLAIN, names, opened};
    use crate::fs::part::{Checksum, Parts};

    fn put(dir: &tempfile::TempDir, bytes: &[u8], naming: &Naming<'_>) -> Result<Published> {
        let mut part = Parts::unrecorded().create_counted(opened(dir), OsStr::new("a.txt"), PLAIN).unwrap();
        part.write(bytes).unwrap();
        part.publish_as(Checksum { size: bytes.len() as u64, blake3: None }, PLAIN, naming)
    }

    fn naming(on_exists: OnExists) -> Naming<'static> {
        Naming { on_exists, ..Naming::default() }
    }

    #[test]
    fn a_name_that_is_taken_is_replaced_numbered_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        for (on_exists, want) in
            [(OnExists::Refuse, "a.txt"), (OnExists::Rename, "a (1).txt"), (OnExists::Rename, "a (2).txt")]
        {
            let published = put(&dir, want.as_bytes(), &naming(on_exists)).unwrap();
            assert_eq!((published.name.to_str().unwrap(), published.is_new), (want, true));
            assert_eq!(std::fs::read(dir.path().join(want)).unwrap(), want.as_bytes());
        }
        assert_eq!(put(&dir, b"x", &naming(OnExists::Refuse)).unwrap_err().kind(), ErrorKind::Exists);
        assert_eq!(std::fs::read(dir.path().join("a.txt")).unwrap(), b"a.txt");
        let replaced = put(&dir, b"new", &naming(OnExists::Replace)).unwrap();
        assert!(!replaced.is_new && replaced.metadata.len() == 3);
        let unique = put(&dir, b"x", &Naming { is_unique: true, ..naming(OnExists::Refuse) }).unwrap();
        let name = unique.name.into_string().unwrap();
        let digits = name.strip_prefix("a-").and_then(|rest| rest.strip_suffix(".txt"));
        assert!(digits.is_some_and(|digits| digits.len() == 8), "{name}");
        assert_eq!(names(&dir).len(), 4);
    }

    #[test]
    fn what_changed_meanwhile_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        let refuse = || false;
        let only_new = || !path.exists();
        let with = |may_replace| Naming { may_replace: Some(may_replace), ..Naming::default() };
        assert!(put(&dir, b"first", &with(&only_new)).unwrap().is_new);
        for condition in [&refuse as MayReplace<'_>, &only_new] {
            assert_eq!(put(&dir, b"x", &with(condition)).unwrap_err().kind(), ErrorKind::Changed);
        }
        // Something is made between the look and the rename.
        std::fs::remove_file(&path).unwrap();
        let late = || {
            std::fs::write(&path, "late").unwrap();
            true
        };
        assert_eq!(put(&dir, b"x", &with(&late)).unwrap_err().kind(), ErrorKind::Changed);
        assert_eq!(std::fs::read(&path).unwrap(), b"late");
        assert_eq!(names(&dir), ["a.txt"]);
    }

    #[test]
    fn of_many_at_the_same_time_each_gets_a_name_or_one_does() {
        for (on_exists, want) in [(OnExists::Rename, 8), (OnExists::Refuse, 1)] {
            let (dir, barrier) = (tempfile::tempdir().unwrap(), Barrier::new(8));
            let put_one = || {
                barrier.wait();
                put(&dir, b"x", &naming(on_exists)).is_ok()
            };
            let stored = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(put_one)).collect();
                threads
                    .into_iter()
                    .filter(|_| true)
                    .map(|thread| thread.join().unwrap())
                    .filter(|stored| *stored)
                    .count()
            });
            assert_eq!((stored, names(&dir).len()), (want, want));
        }
    }

    #[test]
    fn suffixes_stand_before_the_extension_and_leave_a_legal_name() {
        let long = "\u{e9}".repeat(127);
        for (name, want) in [
            ("notes.txt", "notes (1).txt".to_owned()),
            ("notes", "notes (1)".to_owned()),
            (".bashrc", ".bashrc (1)".to_owned()),
            ("a.tar.gz", "a.tar (1).gz".to_owned()),
            ("a.", "a (1).".to_owned()),
            (&format!("{long}x"), format!("{} (1)", "\u{e9}".repeat(125))),
            (&format!("a.{}", "x".repeat(253)), format!("a.{} (1)", "x".repeat(249))),
        ] {
            let with = with_suffix(OsStr::new(name), " (1)");
            assert!(with.len() <= NAME_LEN_MAX);
            assert_eq!(with.to_str(), Some(want.as_str()), "{name}");
        }
    }
}
