//! A list as text: a name on each line, for a shell.

use super::{ListEntry, ListKind};
use crate::printable::printable_bytes;

/// Appends an entry's line: the name made printable, and a slash behind a directory's. Nothing else is marked, so that
/// each line may be put behind the directory's URL as it is.
pub fn text_entry(entry: &ListEntry<'_>, to: &mut Vec<u8>) {
    to.extend_from_slice(printable_bytes(entry.name).as_bytes());
    to.extend_from_slice(if entry.kind == ListKind::Dir { b"/\n" } else { b"\n" });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_is_one_line_whatever_is_in_it() {
        for (name, kind, want) in [
            (&b"a"[..], ListKind::File, "a\n"),
            (b"a b", ListKind::Dir, "a b/\n"),
            (b"a\nb", ListKind::File, "a\\nb\n"),
            (b"\x1b[31m", ListKind::Other, "\\u{1b}[31m\n"),
            (b"\xff\xfe", ListKind::Link, "\\xff\\xfe\n"),
            ("exe.\u{202e}gpj".as_bytes(), ListKind::File, "exe.\\u{202e}gpj\n"),
            ("收到".as_bytes(), ListKind::File, "收到\n"),
        ] {
            let mut line = Vec::new();
            text_entry(&ListEntry { name, kind, size: None, mtime_ns: 0, target: None }, &mut line);
            assert_eq!(String::from_utf8(line).unwrap(), want);
        }
    }
}
