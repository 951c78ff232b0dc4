//! What a client has requested: an entry of anything else is refused.
//!
//! The destination of a download may hold anything, also a `.profile`. So an entry is accepted only if each rule of
//! the request allows it: names and patterns, depth, exclusions and size.

use std::os::unix::ffi::OsStringExt as _;

use super::filter::Filter;
use super::glob::{self, Names};
use super::{Pull, TreeEntry};
use crate::fs::root::RootPath;
use crate::wire::message::EntryKind;

/// The rules of a request.
#[derive(Debug)]
pub struct Requested {
    recursive: bool,
    /// Whether symlinks are followed: then none is sent as a symlink.
    follow: bool,
    tops: Vec<Top>,
    filter: Filter,
}

#[derive(Debug)]
enum Top {
    /// What is in a directory: any name.
    Contents,
    /// Something of this name, or of one that the pattern stands for.
    Named(Vec<u8>, Option<Names>),
}

impl Requested {
    /// What `pull` requests, whose selection `filter` is.
    pub fn of(pull: &Pull, filter: Filter) -> Self {
        let paths = pull.paths.iter().filter_map(|path| path.bytes().ok());
        let tops = paths.filter_map(|path| Top::of(&path)).collect();
        Self { recursive: pull.recursive, follow: pull.follow, tops, filter }
    }

    /// Whether the request allows this entry.
    pub fn holds(&self, entry: &TreeEntry) -> bool {
        if self.follow && entry.kind == EntryKind::Link {
            return false;
        }
        self.tops.iter().any(|top| self.is_in(top, entry))
    }

    /// Whether a file of `size` bytes is within the request's largest size.
    pub fn is_small_enough(&self, size: u64) -> bool {
        self.filter.max_size.is_none_or(|max| size <= max)
    }

    /// Whether the filter lets it come, by its path inside what was named.
    fn takes(&self, inside: &[u8], is_dir: bool) -> bool {
        let takes = self.filter.takes(inside, is_dir);
        if takes && !is_dir {
            self.filter.note(inside);
        }
        takes
    }

    fn is_in(&self, top: &Top, entry: &TreeEntry) -> bool {
        let is_dir = entry.kind == EntryKind::Dir;
        let (first, inside) = match entry.path.iter().position(|byte| *byte == b'/') {
            Some(slash) => (&entry.path[..slash], &entry.path[slash + 1..]),
            None => (&entry.path[..], &[][..]),
        };
        match top {
            Top::Contents if entry.path.is_empty() => self.recursive && is_dir,
            Top::Contents => self.recursive && self.takes(&entry.path, is_dir),
            Top::Named(..) if !top.is_called(first) => false,
            // A directory that was named is meant; one that a pattern stands for may be left out.
            Top::Named(name, _)
                if (is_dir || !inside.is_empty()) && name != first && self.filter.leaves_out(first, true) =>
            {
                false
            }
            // What was named is what a symlink of that name leads to, and the patterns are about what is in it.
            Top::Named(..) if inside.is_empty() && is_dir => self.recursive,
            Top::Named(..) if inside.is_empty() => entry.kind != EntryKind::Link && self.takes(first, false),
            Top::Named(..) => self.recursive && self.takes(inside, is_dir),
        }
    }
}

impl Top {
    fn of(path: &[u8]) -> Option<Self> {
        // A path that leads above the root selects nothing.
        let resolved = RootPath::default().join(path).ok()?;
        let Some((_, name)) = resolved.split_last() else { return Some(Self::Contents) };
        if glob::means_contents(path) {
            return Some(Self::Contents);
        }
        let name = name.into_vec();
        let names = glob::is_pattern(&name).then(|| Names::of(&name, "").ok()).flatten();
        Some(Self::Named(name, names))
    }

    fn is_called(&self, top: &[u8]) -> bool {
        match self {
            Self::Contents => false,
            Self::Named(name, names) => name == top || names.as_ref().is_some_and(|names| names.holds(top)),
        }
    }
}
