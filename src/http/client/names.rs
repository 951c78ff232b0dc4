//! The name of the file that a URL becomes: from the URL, or from the server where the caller wants that.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use super::url::Url;
use crate::fs::part::is_part_name;

/// Longest file name of Linux' file systems, in bytes.
const NAME_LEN_MAX: usize = 255;

/// What cannot be a file's name, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(String);

/// The name that `url` ends with.
///
/// # Errors
/// It ends with none, or with what is no file's name.
pub fn of_url(url: &Url) -> Result<OsString, NameError> {
    let name = url.last_segment();
    if name.is_empty() {
        return Err(NameError(format!("{url} names no file")));
    }
    check(name).map_err(|why| NameError(format!("{url}: the name at its end {why}")))
}

/// The name that a server has suggested: the last part of it, without what a person did not choose.
///
/// # Errors
/// It is no file's name, or a hidden one, which a stranger's is never.
pub fn suggested(name: &[u8]) -> Result<OsString, NameError> {
    // RFC 6266, 4.3: what is in front of a separator of any system is dropped.
    let last = name.rsplit(|byte| matches!(byte, b'/' | b'\\')).next().unwrap_or_default();
    let shown = crate::printable::printable_name(last);
    if last.starts_with(b".") {
        return Err(NameError(format!("the server suggests the hidden name {shown:?}")));
    }
    check(last.to_vec()).map_err(|why| NameError(format!("the server suggests the name {shown:?}, which {why}")))
}

fn check(name: Vec<u8>) -> Result<OsString, String> {
    if name.is_empty() || matches!(name.as_slice(), b"." | b"..") {
        return Err("is that of a directory".into());
    }
    if name.iter().any(|byte| *byte == b'/' || byte.is_ascii_control()) {
        return Err("has a slash or a control character in it".into());
    }
    if name.len() > NAME_LEN_MAX {
        return Err(format!("has {} bytes, over {NAME_LEN_MAX}", name.len()));
    }
    if is_part_name(&name) {
        return Err("is reserved for unfinished files".into());
    }
    Ok(OsString::from_vec(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_its_file() {
        for (url, want) in [
            ("http://a/b/c.tar.gz", Some("c.tar.gz")),
            ("http://a/b/c%20d?x=/y#z", Some("c d")),
            ("http://a/.profile", Some(".profile")),
            ("http://a/", None),
            ("http://a", None),
            ("http://a/b/", None),
            ("http://a/b%2Fc", None),
            ("http://a/%2e%2e%2fx", None),
            ("http://a/b%00", None),
            ("http://a/b%0Ac", None),
            ("http://a/.x.1a2b3c4d.part", None),
        ] {
            assert_eq!(of_url(&Url::parse(url).unwrap()).ok(), want.map(OsString::from), "{url}");
        }
        assert!(of_url(&Url::parse(&format!("http://a/{}", "x".repeat(256))).unwrap()).is_err());
    }

    #[test]
    fn a_servers_suggestion_leads_nowhere_else() {
        for (name, want) in [
            (&b"report.pdf"[..], Some("report.pdf")),
            (b"../../etc/passwd", Some("passwd")),
            (b"C:\\x\\y.txt", Some("y.txt")),
            (b".bashrc", None),
            (b"a/.ssh", None),
            (b"a/", None),
            (b"..", None),
            (b"", None),
            (b"a\nb", None),
        ] {
            assert_eq!(suggested(name).ok(), want.map(OsString::from), "{name:?}");
        }
    }
}
