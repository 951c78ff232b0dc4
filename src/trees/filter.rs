//! Which part of a tree is meant: patterns as in a `.gitignore`, and a size.
//!
//! Paths are those inside the directory that was named, so that `/img` is its own `img` and no deeper one. As in
//! gitignore(5) the last pattern that matches decides, `!` takes something in again, and what is in a directory that is
//! left out is left out too.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use serde::{Deserialize, Serialize};

use crate::wire::error::{ErrorCode, Refusal};

/// What is meant, as it goes over the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Lines of a `.gitignore`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Files over so many bytes do not come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size: Option<u64>,
}

/// The same, ready for use.
#[derive(Debug, Clone)]
pub struct Filter {
    /// `None`: everything.
    patterns: Option<Gitignore>,
    /// See [`Selection::max_size`].
    pub max_size: Option<u64>,
}

impl Filter {
    /// Reads the patterns.
    ///
    /// # Errors
    /// One is no pattern.
    pub fn new(selection: &Selection) -> Result<Self, Refusal> {
        let Selection { exclude, max_size } = selection;
        let bad = |why: &ignore::Error| Refusal::new(ErrorCode::BadRequest, format!("not a pattern: {why}"));
        let mut builder = GitignoreBuilder::new("");
        for line in exclude {
            builder.add_line(None, line).map_err(|why| bad(&why))?;
        }
        let patterns = (!exclude.is_empty()).then(|| builder.build()).transpose().map_err(|why| bad(&why))?;
        Ok(Self { patterns, max_size: *max_size })
    }

    /// Whether the thing at `path`, which lies in nothing that is left out, is left out.
    pub fn leaves_out(&self, path: &[u8], is_dir: bool) -> bool {
        let path = Path::new(OsStr::from_bytes(path));
        self.patterns.as_ref().is_some_and(|patterns| patterns.matched(path, is_dir).is_ignore())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_out<'p>(lines: &[&str], paths: &[&'p str]) -> Vec<&'p str> {
        let exclude = lines.iter().map(|line| (*line).to_owned()).collect();
        let filter = Filter::new(&Selection { exclude, max_size: None }).unwrap();
        let is_out = |path: &&&str| filter.leaves_out(path.trim_end_matches('/').as_bytes(), path.ends_with('/'));
        paths.iter().filter(is_out).copied().collect()
    }

    #[test]
    fn patterns_mean_what_they_mean_to_git() {
        let paths = ["a.o", "src/a.o", "src/keep.o", "img/", "src/img/", "img", "# odd", "b"];
        assert_eq!(left_out(&[], &paths), [""; 0]);
        assert_eq!(left_out(&["*.o", "!keep.o"], &paths), ["a.o", "src/a.o"]);
        assert_eq!(left_out(&["/img/"], &paths), ["img/"]);
        assert_eq!(left_out(&["img/"], &paths), ["img/", "src/img/"]);
        assert_eq!(left_out(&["src/**/a.o", "\\# odd", "# b"], &paths), ["src/a.o", "# odd"]);
        assert_eq!(left_out(&["*", "!*/", "!*.o"], &paths), ["img", "# odd", "b"]);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let refused = |line: &str| Filter::new(&Selection { exclude: vec![line.into()], max_size: None }).unwrap_err();
        assert!(refused("a{b").message.contains("not a pattern"), "{:?}", refused("a{b"));
    }
}
