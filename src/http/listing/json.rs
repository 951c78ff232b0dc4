//! A list as JSON: one object, an entry on each line of it, so that it can be written and read as it comes.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use percent_encoding::percent_encode;
use serde::Serialize;

use super::digits::{push_number, push_rfc_3339};
use super::{ESCAPED_PATH, ListEntry, ListKind, Order, Reference, Sort};
use crate::printable::json_line;

/// Bytes that a person or a path is named by: a string if they are UTF-8, else `{"b64":"..."}`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum JsonName<'a> {
    Plain(&'a str),
    Encoded { b64: String },
}

impl<'a> JsonName<'a> {
    fn of(name: &'a [u8]) -> Self {
        std::str::from_utf8(name).map_or_else(|_not_utf8| Self::Encoded { b64: BASE64.encode(name) }, Self::Plain)
    }
}

/// The kind's name.
const fn kind_name(kind: ListKind) -> &'static str {
    match kind {
        ListKind::File => "file",
        ListKind::Dir => "dir",
        ListKind::Link => "link",
        ListKind::Other => "other",
    }
}

/// What stands behind the entries: what is known when the last was written.
#[derive(Debug, Serialize)]
pub struct JsonEnd {
    /// How many entries the directory has.
    pub total: u64,
    /// Which page of them this is, from 1 on.
    pub page: u64,
    /// How many pages there are.
    pub pages: u64,
    /// Entries on a page; `None`: all.
    pub per_page: Option<u64>,
    /// What they are sorted by.
    pub sort: Sort,
    /// In which direction.
    pub order: Order,
}

impl Serialize for Sort {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for Order {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Appends the beginning of the object, for the directory at this absolute path.
///
/// # Errors
/// None that is known: `to` is memory.
pub fn json_start(path: &[u8], to: &mut Vec<u8>) -> io::Result<()> {
    to.extend_from_slice(b"{\"path\":");
    push_name(path, to)?;
    to.extend_from_slice(b",\"entries\":[");
    Ok(())
}

/// Appends an entry.
///
/// # Errors
/// As [`json_start`].
pub fn json_entry(entry: &ListEntry<'_>, is_first: bool, to: &mut Vec<u8>) -> io::Result<()> {
    to.extend_from_slice(if is_first { b"\n{\"name\":" } else { b",\n{\"name\":" });
    push_fields(b"", entry, to)
}

/// Appends the fields of an entry in the directory `folder` from its name on, and the brace behind them.
fn push_fields(folder: &[u8], entry: &ListEntry<'_>, to: &mut Vec<u8>) -> io::Result<()> {
    push_name(entry.name, to)?;
    to.extend_from_slice(b",\"kind\":\"");
    to.extend_from_slice(kind_name(entry.kind).as_bytes());
    to.extend_from_slice(b"\",\"size\":");
    match entry.size {
        Some(size) => push_number(size, to),
        None => to.extend_from_slice(b"null"),
    }
    to.extend_from_slice(b",\"modified\":\"");
    push_rfc_3339(entry.mtime_ns, to);
    to.push(b'"');
    if entry.kind.is_served() {
        // Nothing in a reference has to be escaped.
        let slash = if folder.is_empty() { "" } else { "/" };
        write!(to, ",\"href\":\"{}{slash}{}\"", percent_encode(folder, ESCAPED_PATH), Reference(entry))?;
    }
    if let Some(target) = entry.target {
        to.extend_from_slice(b",\"link\":");
        push_name(target, to)?;
    }
    to.push(b'}');
    Ok(())
}

/// What a search tells at its end.
#[derive(Debug, Serialize)]
pub struct FoundEnd {
    /// How many names were found.
    pub found: u64,
    /// How many entries were looked at.
    pub looked: u64,
    /// Directories that could not be read.
    pub unreadable: u64,
    /// The limit that ended it; `None`: all was looked at.
    pub ended_by: Option<&'static str>,
}

/// Appends a line for an entry that was found in the directory `folder`, a path from where the search began.
///
/// # Errors
/// As [`json_start`].
pub fn json_found(folder: &[u8], entry: &ListEntry<'_>, to: &mut Vec<u8>) -> io::Result<()> {
    to.extend_from_slice(b"{\"folder\":");
    push_name(folder, to)?;
    to.extend_from_slice(b",\"name\":");
    push_fields(folder, entry, to)?;
    to.push(b'\n');
    Ok(())
}

/// A line that tells how many entries were looked at so far.
///
/// # Errors
/// As [`json_start`].
pub fn json_looked(looked: u64) -> io::Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Looked {
        looked: u64,
    }
    json_line(&Looked { looked })
}

/// The last line of a search.
///
/// # Errors
/// As [`json_start`].
pub fn json_found_end(end: &FoundEnd) -> io::Result<Vec<u8>> {
    json_line(end)
}

/// Appends the JSON of a name.
fn push_name(name: &[u8], to: &mut Vec<u8>) -> io::Result<()> {
    // Most names: nothing in them has to be escaped.
    if name.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
        to.push(b'"');
        to.extend_from_slice(name);
        to.push(b'"');
        return Ok(());
    }
    let mut line = json_line(&JsonName::of(name))?;
    line.pop();
    to.append(&mut line);
    Ok(())
}

/// Appends the end of the object.
///
/// # Errors
/// As [`json_start`].
pub fn json_end(end: &JsonEnd, to: &mut Vec<u8>) -> io::Result<()> {
    let line = json_line(end)?;
    to.write_all(b"\n],")?;
    // The fields go on in the same object.
    to.write_all(line.get(1..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(path: &[u8], entries: &[ListEntry<'_>]) -> String {
        let mut json = Vec::new();
        json_start(path, &mut json).unwrap();
        for (at, entry) in entries.iter().enumerate() {
            json_entry(entry, at == 0, &mut json).unwrap();
        }
        let total = u64::try_from(entries.len()).unwrap();
        let end = JsonEnd { total, page: 1, pages: 1, per_page: None, sort: Sort::Name, order: Order::Ascending };
        json_end(&end, &mut json).unwrap();
        String::from_utf8(json).unwrap()
    }

    #[test]
    fn a_list_is_one_object_with_an_entry_on_each_line() {
        let file = ListEntry { name: b"a \"b\"", kind: ListKind::File, size: Some(5), mtime_ns: 1_500, target: None };
        let entries = [
            file,
            ListEntry { name: b"d", kind: ListKind::Dir, size: None, mtime_ns: -1_000_000_000, target: Some(b"e") },
            ListEntry { name: b"\xff", kind: ListKind::Link, size: None, mtime_ns: 0, target: Some(b"\xfe") },
        ];
        let want = r#"{"path":"/p","entries":[
{"name":"a \"b\"","kind":"file","size":5,"modified":"1970-01-01T00:00:00.0000015Z","href":"a%20%22b%22"},
{"name":"d","kind":"dir","size":null,"modified":"1969-12-31T23:59:59Z","href":"d/","link":"e"},
{"name":{"b64":"/w=="},"kind":"link","size":null,"modified":"1970-01-01T00:00:00Z","link":{"b64":"/g=="}}
],"total":3,"page":1,"pages":1,"per_page":null,"sort":"name","order":"asc"}
"#;
        assert_eq!(list(b"/p", &entries), want);
    }

    #[test]
    fn what_is_found_is_a_line_of_its_own() {
        let file = ListEntry { name: b"a b", kind: ListKind::File, size: Some(5), mtime_ns: 0, target: None };
        let mut lines = Vec::new();
        json_found(b"x/y:z", &file, &mut lines).unwrap();
        json_found(b"", &ListEntry { name: b"d", kind: ListKind::Dir, size: None, ..file }, &mut lines).unwrap();
        lines.extend(json_looked(7).unwrap());
        lines.extend(json_found_end(&FoundEnd { found: 2, looked: 9, unreadable: 0, ended_by: None }).unwrap());
        let want = r#"{"folder":"x/y:z","name":"a b","kind":"file","size":5,"modified":"1970-01-01T00:00:00Z","href":"x/y%3Az/a%20b"}
{"folder":"","name":"d","kind":"dir","size":null,"modified":"1970-01-01T00:00:00Z","href":"d/"}
{"looked":7}
{"found":2,"looked":9,"unreadable":0,"ended_by":null}
"#;
        assert_eq!(String::from_utf8(lines).unwrap(), want);
    }

    #[test]
    fn names_of_any_bytes_are_json_that_acts_on_no_terminal() {
        assert!(serde_json::from_str::<serde_json::Value>(&list(b"/\xff", &[])).is_ok());
        for kind in crate::printable::KINDS {
            let name = format!("a{kind}\\");
            let entry = ListEntry {
                name: name.as_bytes(),
                kind: ListKind::File,
                size: Some(0),
                mtime_ns: i64::MAX,
                target: None,
            };
            let json = list(name.as_bytes(), &[entry]);
            let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!((parsed["path"].as_str(), parsed["entries"][0]["name"].as_str()), (Some(&*name), Some(&*name)));
            assert!(!json.contains(*kind), "{json:?}");
        }
    }
}
