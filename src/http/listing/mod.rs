//! A directory's list: names in order, and the JSON or text that shows them.

mod digits;
mod json;
mod order;
mod query;
mod text;
mod words;

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

pub(in crate::http) use self::digits::{push_number, push_second, utc};
pub use self::json::{FoundEnd, JsonEnd, json_end, json_entry, json_found, json_found_end, json_looked, json_start};
pub use self::order::{NAME_COST, Names, SORT_COST, natural_key};
pub use self::query::{BadQuery, ListForm, ListQuery, Order, PAGE_LEN, PAGE_LEN_MAX, Page, Sort, parameters};
pub use self::text::text_entry;
pub use self::words::{SEARCH_WORDS_MAX, TooManyWords, Words};

/// What a list shows of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListEntry<'a> {
    /// The name, of any bytes.
    pub name: &'a [u8],
    /// What is there for a visitor: a symlink counts as what it leads to.
    pub kind: ListKind,
    /// Size in bytes; `None`: it is no file.
    pub size: Option<u64>,
    /// Modification time in nanoseconds since 1970 UTC.
    pub mtime_ns: i64,
    /// Where it points, of any bytes; `None`: it is no symlink.
    pub target: Option<&'a [u8]>,
}

/// What has a name, as a visitor gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListKind {
    /// A file.
    File,
    /// A directory.
    Dir,
    /// A symlink that leads to nothing that is shown.
    Link,
    /// A device, pipe or socket.
    Other,
}

impl ListKind {
    /// Whether a visitor can follow it.
    pub const fn is_served(self) -> bool {
        matches!(self, Self::File | Self::Dir)
    }
}

/// What stays as it is in a link: RFC 3986, 2.3 (unreserved).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The same for a path.
pub(in crate::http) const ESCAPED_PATH: &AsciiSet = &ESCAPED.remove(b'/');

/// A relative reference to an entry (RFC 3986, 4.2), with a slash behind a directory's. It holds nothing that means
/// anything in HTML, and no colon that would make its beginning a scheme.
#[derive(Debug, Clone, Copy)]
pub struct Reference<'e, 'a>(pub &'e ListEntry<'a>);

/// As [`Reference`], of a name.
pub fn reference(name: &[u8], is_dir: bool) -> String {
    let kind = if is_dir { ListKind::Dir } else { ListKind::File };
    Reference(&ListEntry { name, kind, size: None, mtime_ns: 0, target: None }).to_string()
}

impl fmt::Display for Reference<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        percent_encode(self.0.name, ESCAPED).try_for_each(|text| f.write_str(text))?;
        if self.0.kind == ListKind::Dir { f.write_str("/") } else { Ok(()) }
    }
}
