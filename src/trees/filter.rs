//! Which entries of a tree are selected: by patterns as in a `.gitignore`, and by size.
//!
//! Paths are those inside the directory that was named, so that `/img` is its own `img` and no deeper one. Two lists
//! decide: a file is selected if one of the first matches it (or there is none), and none of the second leaves it
//! out. Among the second the last that matches decides, and `!` takes something in again, as in gitignore(5); what is
//! in a directory that is left out is left out too.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use ignore::overrides::{Override, OverrideBuilder};
use serde::{Deserialize, Serialize};

use crate::error::{ErrorCode, Refusal};

/// Most patterns of one request.
pub const PATTERNS_MAX: usize = 2_000;
/// Longest pattern, in bytes: as long as a path.
pub const PATTERN_LEN_MAX: usize = 4_096;
/// Most bytes of all patterns of one request.
pub const PATTERNS_LEN_MAX: usize = 64 * 1024;
/// What a pattern takes in memory once it is a program that matches it, in bytes: a plain one and each byte of it.
const PATTERN_COST: usize = 12 * 1024;
const PATTERN_BYTE_COST: usize = 64;

/// The selection of a request, as it is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Lines of a `.gitignore`: entries that they match are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// If there are any: only files that one of them matches are selected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Longest file that is selected, in bytes; `None`: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size: Option<u64>,
}

impl Selection {
    fn patterns(&self) -> impl Iterator<Item = &String> {
        self.exclude.iter().chain(&self.include)
    }

    /// About what a [`Filter`] of it holds, in bytes.
    pub fn memory(&self) -> usize {
        self.patterns().map(|pattern| PATTERN_COST + pattern.len().saturating_mul(PATTERN_BYTE_COST)).sum()
    }

    /// Whether it is small enough to be made ready for use.
    fn check_len(&self) -> Result<(), Refusal> {
        let too = |text: String| Err(Refusal::new(ErrorCode::BadRequest, text));
        let count = self.patterns().count();
        if count > PATTERNS_MAX {
            return too(format!("{count} patterns are over the limit of {PATTERNS_MAX}; join some with *"));
        }
        if let Some(long) = self.patterns().map(String::len).find(|len| *len > PATTERN_LEN_MAX) {
            return too(format!("a pattern of {long} bytes is over the limit of {PATTERN_LEN_MAX} bytes"));
        }
        let len: usize = self.patterns().map(String::len).sum();
        if len > PATTERNS_LEN_MAX {
            return too(format!(
                "patterns of {len} bytes are over the limit of {PATTERNS_LEN_MAX} bytes; join some with *"
            ));
        }
        Ok(())
    }
}

/// A selection with its patterns compiled.
#[derive(Debug, Clone)]
pub struct Filter {
    /// The patterns that leave out; `None`: nothing is left out.
    exclude: Option<Gitignore>,
    /// The patterns that select; `None`: everything else is selected.
    include: Option<Override>,
    /// See [`Selection::max_size`].
    pub max_size: Option<u64>,
    /// Notes which patterns select something; `None`: that is not noted.
    chosen: Option<Arc<Chosen>>,
}

/// Which patterns have selected something, for a warning to the user.
#[derive(Debug)]
pub struct Chosen {
    include: Vec<(Override, AtomicBool)>,
    is_any: AtomicBool,
}

impl Chosen {
    /// None of the patterns has selected anything so far.
    ///
    /// # Errors
    /// One is no pattern.
    pub fn of(selection: &Selection) -> Result<Self, Refusal> {
        let one = |pattern| Ok((overrides(std::slice::from_ref(pattern))?, AtomicBool::new(false)));
        let include = selection.include.iter().map(one).collect::<Result<_, Refusal>>()?;
        Ok(Self { include, is_any: AtomicBool::new(false) })
    }

    fn note(&self, path: &Path) {
        self.is_any.store(true, Ordering::Relaxed);
        for (pattern, has_matched) in &self.include {
            if !has_matched.load(Ordering::Relaxed) && pattern.matched(path, false).is_whitelist() {
                has_matched.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Patterns that have selected nothing, by their index in [`Selection::include`].
    pub fn unmatched(&self) -> impl Iterator<Item = usize> {
        let unmatched = |has_matched: &AtomicBool| !has_matched.load(Ordering::Relaxed);
        self.include.iter().enumerate().filter(move |(_, (_, seen))| unmatched(seen)).map(|(at, _)| at)
    }

    /// Whether nothing was selected at all.
    pub fn is_nothing(&self) -> bool {
        !self.is_any.load(Ordering::Relaxed)
    }
}

impl Filter {
    /// Reads the patterns.
    ///
    /// # Errors
    /// One is no pattern, or they are too many or too long.
    pub fn new(selection: &Selection) -> Result<Self, Refusal> {
        selection.check_len()?;
        let Selection { exclude, include, max_size } = selection;
        let mut builder = GitignoreBuilder::new("");
        for line in exclude {
            builder.add_line(None, line).map_err(|why| bad(&why))?;
        }
        let exclude = (!exclude.is_empty()).then(|| builder.build()).transpose().map_err(|why| bad(&why))?;
        let include = (!include.is_empty()).then(|| overrides(include)).transpose()?;
        Ok(Self { exclude, include, max_size: *max_size, chosen: None })
    }

    /// The same, which notes in `chosen` each file that is selected.
    #[must_use]
    pub fn telling(self, chosen: &Arc<Chosen>) -> Self {
        Self { chosen: Some(Arc::clone(chosen)), ..self }
    }

    /// Notes that the file at `path` is selected.
    pub fn note(&self, path: &[u8]) {
        if let Some(chosen) = &self.chosen {
            chosen.note(Path::new(OsStr::from_bytes(path)));
        }
    }

    /// Whether only a part of what is not left out comes: a directory comes then with the first thing in it that
    /// does.
    pub const fn chooses(&self) -> bool {
        self.include.is_some()
    }

    /// Whether the thing at `path`, which lies in nothing that is left out, is left out.
    pub fn leaves_out(&self, path: &[u8], is_dir: bool) -> bool {
        let path = Path::new(OsStr::from_bytes(path));
        let is_excluded = self.exclude.as_ref().is_some_and(|patterns| patterns.matched(path, is_dir).is_ignore());
        // What matches none of them is left out, unless it is a directory, in which something may match.
        is_excluded
            || self.include.as_ref().is_some_and(|patterns| !is_dir && patterns.matched(path, false).is_ignore())
    }

    /// Whether neither the thing at `path` nor a directory above it is left out.
    pub fn takes(&self, path: &[u8], is_dir: bool) -> bool {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let mut above = slashes.filter_map(|at| path.get(..at));
        !above.any(|dir| self.leaves_out(dir, true)) && !self.leaves_out(path, is_dir)
    }
}

/// The patterns of which one has to match.
fn overrides(include: &[String]) -> Result<Override, Refusal> {
    let mut builder = OverrideBuilder::new("");
    for pattern in include {
        builder.add(&below(pattern)?).map_err(|why| bad(&why))?;
    }
    builder.build().map_err(|why| bad(&why))
}

/// A pattern for directories (`private/`) means all that is below them.
fn below(pattern: &str) -> Result<String, Refusal> {
    let wrong = |why: &str| Refusal::new(ErrorCode::BadRequest, format!("{pattern:?}: {why}"));
    match pattern.trim_end() {
        "" => Err(wrong("an empty pattern matches nothing; leave it out")),
        trimmed if trimmed.starts_with('#') => {
            Err(wrong("a pattern that begins with # is a comment; for a name that does: \\#"))
        }
        trimmed if trimmed.starts_with('!') => {
            Err(wrong("! takes back what an earlier pattern leaves out; to leave something out, exclude it"))
        }
        trimmed => Ok(match trimmed.strip_suffix('/') {
            Some(dir) if dir.contains('/') => format!("{dir}/**"),
            Some("") => "/**".to_owned(),
            Some(dir) => format!("**/{dir}/**"),
            None => pattern.to_owned(),
        }),
    }
}

fn bad(why: &ignore::Error) -> Refusal {
    Refusal::new(ErrorCode::BadRequest, format!("not a pattern: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_out_by<'p>(include: &[&str], exclude: &[&str], paths: &[&'p str]) -> Vec<&'p str> {
        let [include, exclude] = [include, exclude].map(|lines| lines.iter().map(|line| (*line).to_owned()).collect());
        let filter = Filter::new(&Selection { exclude, include, max_size: None }).unwrap();
        let is_out = |path: &&&str| !filter.takes(path.trim_end_matches('/').as_bytes(), path.ends_with('/'));
        paths.iter().filter(is_out).copied().collect()
    }

    #[test]
    fn patterns_mean_what_they_mean_to_git() {
        let paths = ["a.o", "src/a.o", "src/keep.o", "img/", "src/img/", "img", "# odd", "b"];
        let left_out = |lines: &[&str]| left_out_by(&[], lines, &paths);
        assert_eq!(left_out(&[]), [""; 0]);
        assert_eq!(left_out(&["*.o", "!keep.o"]), ["a.o", "src/a.o"]);
        assert_eq!(left_out(&["/img/"]), ["img/"]);
        assert_eq!(left_out(&["img/"]), ["img/", "src/img/"]);
        assert_eq!(left_out(&["src/**/a.o", "\\# odd", "# b"]), ["src/a.o", "# odd"]);
        assert_eq!(left_out(&["*", "!*/", "!*.o"]), ["img", "# odd", "b"]);
    }

    #[test]
    fn only_what_is_included_comes_and_never_what_is_excluded() {
        let paths = ["a.jpg", "b.txt", "private/", "private/c.jpg", "private/d.txt", "deep/private/e.txt", "deep/"];
        assert_eq!(left_out_by(&["*.jpg"], &[], &paths), ["b.txt", "private/d.txt", "deep/private/e.txt"]);
        let left = ["b.txt", "private/", "private/c.jpg", "private/d.txt", "deep/private/e.txt"];
        assert_eq!(left_out_by(&["*.jpg"], &["private/"], &paths), left);
        assert_eq!(left_out_by(&["*.jpg", "b*"], &["*.jpg"], &paths)[0], "a.jpg", "an exclude wins");
        assert_eq!(left_out_by(&["private/"], &[], &paths), ["a.jpg", "b.txt"]);
        assert_eq!(left_out_by(&["/private/"], &[], &paths), ["a.jpg", "b.txt", "deep/private/e.txt"]);
        assert_eq!(left_out_by(&["/*.jpg"], &[], &["a.jpg", "d/a.jpg"]), ["d/a.jpg"]);
        assert_eq!(left_out_by(&["deep/private/"], &["e*"], &paths).len(), 5);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let refused = |include: &[&str], exclude: &[&str]| {
            let [include, exclude] = [include, exclude].map(|lines| lines.iter().map(|line| (*line).into()).collect());
            Filter::new(&Selection { exclude, include, max_size: None }).unwrap_err()
        };
        assert!(refused(&[], &["a{b"]).message.contains("not a pattern"));
        assert!(refused(&["a{b"], &[]).message.contains("not a pattern"));
        for (pattern, why) in [("", "empty"), ("  ", "empty"), ("# x", "comment"), ("!a", "exclude it")] {
            let refusal = refused(&[pattern], &[]);
            assert!(refusal.message.contains(why), "{pattern:?}: {refusal}");
        }
    }

    #[test]
    fn too_many_patterns_are_refused_before_any_is_read() {
        let refused = |exclude: Vec<String>| {
            let selection = Selection { exclude, ..Selection::default() };
            Filter::new(&selection).map_err(|why| why.message).map(|_| ())
        };
        let many = |count: usize| (0..count).map(|at| format!("*a{at}*.x")).collect();
        assert_eq!(refused(many(PATTERNS_MAX)), Ok(()));
        assert!(refused(many(PATTERNS_MAX + 1)).unwrap_err().contains("2001 patterns are over the limit of 2000"));
        assert_eq!(refused(vec!["a".repeat(PATTERN_LEN_MAX)]), Ok(()));
        assert!(refused(vec!["a".repeat(PATTERN_LEN_MAX + 1)]).unwrap_err().contains("over the limit of 4096 bytes"));
        assert!(refused(vec!["a".repeat(PATTERN_LEN_MAX); 17]).unwrap_err().contains("over the limit of 65536 bytes"));
        let both = Selection { exclude: many(PATTERNS_MAX), include: many(1), max_size: None };
        assert!(Filter::new(&both).is_err());
    }
}
