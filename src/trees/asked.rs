//! What a client has asked for: a server sends that, and nothing else.
//!
//! Where a download goes there may be anything, also a `.profile`. So what comes has the name of something that was
//! named, and is a directory or symlink only if trees were asked for.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use super::glob::{self, Matcher};
use super::{Entry, Pull};
use crate::root::RootPath;
use crate::wire::message::Kind;

/// What was asked for.
#[derive(Debug)]
pub struct Asked {
    recursive: bool,
    tops: Vec<Top>,
}

#[derive(Debug)]
enum Top {
    /// What is in a directory: any name.
    Contents,
    /// Something of this name, or of one that matches.
    Named(Vec<u8>, Option<Matcher>),
}

impl Asked {
    /// What `pull` asks for.
    pub fn of(pull: &Pull) -> Self {
        let paths = pull.paths.iter().filter_map(|path| path.bytes().ok());
        Self { recursive: pull.recursive, tops: paths.filter_map(|path| Top::of(&path)).collect() }
    }

    /// Whether this is of it.
    pub fn holds(&self, entry: &Entry) -> bool {
        let mut parts = entry.path.splitn(2, |byte| *byte == b'/');
        let top = parts.next().unwrap_or_default();
        let is_plain = parts.next().is_none() && matches!(entry.kind, Kind::File | Kind::Other);
        (self.recursive || is_plain) && self.tops.iter().any(|asked| asked.holds(top, self.recursive))
    }
}

impl Top {
    fn of(path: &[u8]) -> Option<Self> {
        // What leads above the root comes to nothing.
        let resolved = RootPath::default().join(path).ok()?;
        let Some((_, name)) = resolved.split_last() else { return Some(Self::Contents) };
        if path.ends_with(b"/") || path.ends_with(b"/.") {
            return Some(Self::Contents);
        }
        let name = name.into_vec();
        let matcher = glob::is_pattern(&name).then(|| glob::matcher(&name, "").ok()).flatten();
        Some(Self::Named(name, matcher))
    }

    fn holds(&self, top: &[u8], recursive: bool) -> bool {
        match self {
            Self::Contents => recursive,
            Self::Named(name, matcher) => {
                name == top || matcher.as_ref().is_some_and(|matcher| matcher.is_match(OsStr::from_bytes(top)))
            }
        }
    }
}
