//! A list in a file of the home that people can read and edit: TOML, one section an entry.
//!
//! [`edit`] changes such a file and keeps its comments; [`Watched`] is a server's view of it, read again whenever it has
//! changed. A malformed file is an error with its line, never an empty list: it must not hide that an entry was removed.

mod edit;
mod watched;

use std::collections::HashSet;
use std::fmt;

use toml_edit::{Document, Table};

pub use self::edit::{Edit, check_elsewhere, edit, set};
pub use self::watched::{ListForOpen, ListState, Watched};
use super::home::{Home, HomeError};
use crate::fs::root::RootPath;

/// Longest name of an entry, in characters.
pub const NAME_LEN_MAX: usize = 64;

/// One entry of a list: a section of its file.
pub trait Entry: Clone + fmt::Debug + PartialEq {
    /// The file's name, in the home.
    const FILE: &'static str;
    /// The comments at the head of a new file.
    const HEADER: &'static str;
    /// What messages call it.
    const WORDS: Words;

    /// Its name: the section's.
    fn name(&self) -> &str;

    /// Gives it a name that was chosen here.
    fn rename(&mut self, name: &str);

    /// What it is recognised by. No two entries of a list have the same.
    fn digest(&self) -> &[u8; 32];

    /// Reads a section.
    ///
    /// # Errors
    /// What is wrong, and where; `None`: in the section as a whole.
    fn of_table(name: &str, table: &Table) -> Result<Self, SpannedWhy>;

    /// Writes it into its section.
    fn put_into(&self, table: &mut Table);

    /// Refuses what would have no effect.
    ///
    /// # Errors
    /// What, and the entry's name.
    fn check(&self) -> Result<(), ListError>;

    /// A second name that means this entry, so that no other may get it; `None`: it has none.
    fn second_name(&self) -> Option<&str> {
        None
    }

    /// The names in the other lists of this home, each with what has it: "machine". A command that takes a name must
    /// find one entry only, whichever list that is in.
    ///
    /// # Errors
    /// Such a list cannot be read.
    fn names_elsewhere(home: &Home) -> Result<Vec<(String, &'static str)>, ListError>;
}

/// What messages call the entries of a list.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    /// One entry, in messages: "machine".
    pub one: &'static str,
    /// One entry, where its name is spoken of: "peer".
    pub noun: &'static str,
    /// All of them, in the log: "known peers".
    pub all: &'static str,
    /// What an entry is recognised by, with the entry that has it already.
    pub taken: &'static str,
    /// What holds while the list cannot be read.
    pub unreadable: &'static str,
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// It is malformed.
    #[error("{path}: line {line}: {why}")]
    Broken {
        /// The file's path.
        path: String,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// It cannot be read or written.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The change is invalid.
    #[error("{0}")]
    Refused(String),
}

/// What is wrong with the text, and on which line (from 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub why: String,
}

/// Where in the text something is wrong, in bytes, and what.
pub type SpannedWhy = (Option<std::ops::Range<usize>>, String);

/// All entries, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List<E>(pub(super) Vec<E>);

impl<E> Default for List<E> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<E: Entry> List<E> {
    /// Reads the file's text.
    ///
    /// # Errors
    /// The first error in the text.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let line_of = |at: usize| text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        let flaw = |span: Option<std::ops::Range<usize>>, why: String| Flaw {
            line: span.map_or(1, |span| line_of(span.start)),
            why,
        };
        if text.trim().is_empty() {
            return Err(flaw(None, format!("the file is empty; remove it if no {} is to be known", E::WORDS.one)));
        }
        let document = Document::parse(text).map_err(|error| {
            let why = error.message().lines().collect::<Vec<_>>().join(", ");
            flaw(error.span(), why)
        })?;
        let mut entries: Vec<E> = Vec::new();
        let mut digests = HashSet::new();
        for (name, item) in document.iter() {
            let table =
                item.as_table().ok_or_else(|| flaw(item.span(), format!("{} is no [section]", name.escape_debug())))?;
            let entry = E::of_table(name, table).map_err(|(span, why)| flaw(span.or_else(|| table.span()), why))?;
            if !digests.insert(*entry.digest()) {
                return Err(flaw(table.span(), format!("[{name}] has {}", E::WORDS.taken)));
            }
            entries.push(entry);
        }
        Ok(Self(entries))
    }

    /// Reads the file; without a file, the list is empty.
    ///
    /// # Errors
    /// [`ListError`].
    pub fn load(home: &Home) -> Result<Self, ListError> {
        Self::of_text(home, load_text::<E>(home)?)
    }

    fn of_text(home: &Home, text: Option<String>) -> Result<Self, ListError> {
        text.map_or_else(|| Ok(Self::default()), |text| Self::parse(&text).map_err(|flaw| broken::<E>(home, flaw)))
    }

    /// The valid sections of a malformed text. A section whose name or digest occurs twice is left out.
    pub(super) fn rest_of(text: &str) -> Self {
        let mut sections: Vec<String> = Vec::new();
        for line in text.split_inclusive('\n') {
            if line.starts_with('[') || sections.is_empty() {
                sections.push(String::new());
            }
            sections.last_mut().into_iter().for_each(|section| section.push_str(line));
        }
        let entries: Vec<E> =
            sections.iter().filter_map(|section| Self::parse(section).ok()).flat_map(|list| list.0).collect();
        let is_one = |entry: &E| {
            let is_same = |other: &&E| other.name() == entry.name() || other.digest() == entry.digest();
            entries.iter().filter(is_same).count() == 1
        };
        Self(entries.iter().filter(|entry| is_one(entry)).cloned().collect())
    }

    /// All entries, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &E> {
        self.0.iter()
    }

    /// The entry with this digest.
    pub fn by_digest(&self, digest: &[u8; 32]) -> Option<&E> {
        self.0.iter().find(|entry| entry.digest() == digest)
    }

    /// The entry with this name.
    pub fn by_name(&self, name: &str) -> Option<&E> {
        self.0.iter().find(|entry| entry.name() == name)
    }
}

fn load_text<E: Entry>(home: &Home) -> Result<Option<String>, ListError> {
    let Some(bytes) = home.read_secret(E::FILE)? else { return Ok(None) };
    String::from_utf8(bytes).map(Some).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = good.split(|byte| *byte == b'\n').count();
        broken::<E>(home, Flaw { line, why: "is not UTF-8".into() })
    })
}

fn broken<E: Entry>(home: &Home, Flaw { line, why }: Flaw) -> ListError {
    ListError::Broken { path: home.join(E::FILE).display().to_string(), line, why }
}

/// Checks the name of a `what`: it can be typed as a HOST, and is not mistaken for an address with a port or for an
/// option.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str, what: &str) -> Result<(), String> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let begins_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins_well && name.len() <= NAME_LEN_MAX && name.chars().all(is_fine) {
        return Ok(());
    }
    Err(format!("{name:?} cannot be a {what}'s name: it takes letters, digits, dots, - and _, at most {NAME_LEN_MAX}"))
}

/// The valid name that is most similar to `wish`; `otherwise`: it has nothing that a name may have.
pub fn nearest_name(wish: &str, otherwise: &str) -> String {
    let fine = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    let name: String = wish.chars().map(fine).collect();
    let name = name.trim_matches(['-', '.', '_']);
    let name: String = name.chars().take(NAME_LEN_MAX - 4).collect();
    if name.is_empty() { otherwise.into() } else { name }
}

/// A root below the server's: no `..` above it; empty for all of it.
///
/// # Errors
/// What is wrong with it.
pub fn checked_root(root: &str) -> Result<String, String> {
    let path = RootPath::default().join(root.as_bytes()).map_err(|error| error.to_string())?;
    Ok(path.to_string().trim_start_matches('/').to_owned())
}
