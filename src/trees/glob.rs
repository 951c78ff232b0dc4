//! Patterns, expanded where the files are: `logs/*.gz`, as a shell would.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use globset::{GlobBuilder, GlobMatcher};

use super::filter::Filter;
use crate::error::{ErrorCode, Refusal};
use crate::fs::part::is_part_name;
use crate::fs::root::RootPath;
use crate::memory::{Budget, ENTRY_COST, Over};
use crate::session::Session;

/// Most paths that one pattern may stand for.
const MATCHES_MAX: usize = 100_000;

/// Whether a path that does not exist may be a pattern.
pub fn is_pattern(path: &[u8]) -> bool {
    path.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['))
}

/// Whether `path` names what is in a directory, and not the directory.
pub fn means_contents(path: &[u8]) -> bool {
    path.ends_with(b"/") || path.ends_with(b"/.") || path == b"."
}

/// What `pattern` stands for, in order. As in a shell, `*` matches no slash, and no dot at the beginning. It stands
/// for no directory that `filter` leaves out; one that is named literally is meant. What is found and looked at on
/// the way counts for `budget`.
///
/// # Errors
/// Nothing matches, it is no pattern, it leads out of the root, or `budget` is used up.
pub fn expand(session: &Session, pattern: &[u8], filter: &Filter, budget: &Budget) -> Result<Vec<RootPath>, Refusal> {
    let shown = String::from_utf8_lossy(pattern).into_owned();
    let start = if pattern.starts_with(b"/") { RootPath::default() } else { session.cwd.clone() };
    let mut found = vec![start];
    let over = |over: Over| over.refusal(&shown);
    // Bytes of what the last step found: they are given back when the next one is done.
    let mut held = 0;
    let mut is_left_out = false;
    for part in pattern.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
        let (mut next, mut taken) = (Vec::new(), 0);
        let mut take = |len: usize| {
            taken += len + ENTRY_COST;
            budget.take(len + ENTRY_COST).map_err(over)
        };
        let matcher = is_pattern(part).then(|| Names::of(part, &shown)).transpose()?;
        for path in found {
            let Some(matcher) = &matcher else {
                let path = path.join(part)?;
                budget.look(1).map_err(over)?;
                if session.root.symlink_metadata(&path).is_ok() {
                    take(path.byte_len())?;
                    next.push(path);
                }
                continue;
            };
            // Where nothing can be read, nothing matches.
            let Ok(dir) = session.root.open_dir(&path) else { continue };
            let entries = dir.entries().map_err(|error| Refusal::from_io(&path.to_string(), &error))?;
            let mut names = Vec::new();
            for entry in entries.filter_map(Result::ok) {
                budget.look(1).map_err(over)?;
                let name = entry.file_name();
                if matcher.holds(name.as_bytes()) && !is_part_name(name.as_bytes()) {
                    take(path.byte_len() + 2 * name.len())?;
                    names.push(name);
                }
            }
            let hidden = session.root.hidden_name_in(&dir);
            let hidden = hidden.map_err(|error| Refusal::from_io(&path.to_string(), &error))?;
            names.retain(|name| hidden.as_ref() != Some(name) && session.root.check_name(&dir, name).is_ok());
            names.sort_unstable();
            for name in names {
                let path = path.join(name.as_bytes())?;
                if filter.leaves_out(name.as_bytes(), true) && session.root.is_dir(&path) {
                    is_left_out = true;
                } else {
                    next.push(path);
                }
            }
            if next.len() > MATCHES_MAX {
                let text = format!("{shown}: stands for over {MATCHES_MAX} paths; name their directory");
                return Err(Refusal::new(ErrorCode::BadRequest, text));
            }
        }
        budget.give_back(held);
        (found, held) = (next, taken);
    }
    budget.give_back(held);
    if found.is_empty() && !is_left_out {
        return Err(Refusal::new(ErrorCode::NotFound, format!("{shown}: nothing matches")));
    }
    Ok(found)
}

/// The names that one part of a pattern stands for.
#[derive(Debug)]
pub(super) struct Names {
    matcher: GlobMatcher,
    /// The part itself begins with a dot: only then it stands for names that do.
    takes_hidden: bool,
}

impl Names {
    /// The names for `part` of the pattern that is shown as `shown`.
    ///
    /// # Errors
    /// It is no pattern.
    pub(super) fn of(part: &[u8], shown: &str) -> Result<Self, Refusal> {
        let wrong = |why: String| Refusal::new(ErrorCode::BadName, format!("{shown}: not a pattern: {why}"));
        let text = std::str::from_utf8(part).map_err(|error| wrong(error.to_string()))?;
        let glob = GlobBuilder::new(text).literal_separator(true).build().map_err(|error| wrong(error.to_string()))?;
        Ok(Self { matcher: glob.compile_matcher(), takes_hidden: part.starts_with(b".") })
    }

    /// Whether `name` is one of them.
    pub(super) fn holds(&self, name: &[u8]) -> bool {
        (self.takes_hidden || !name.starts_with(b".")) && self.matcher.is_match(OsStr::from_bytes(name))
    }
}
