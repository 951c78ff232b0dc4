//! The name of the file that a URL becomes: from the URL, or from the server where the caller wants that.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use super::url::Url;
use crate::fs::part::is_part_name;
use crate::http::media::parse_disposition_name;

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

/// The name that a `Content-Disposition` suggests (see [`parse_disposition_name`]); `None` if it has none that can be
/// used. It is never hidden, so it is never one that is reserved for unfinished files.
pub fn suggested(disposition: &str) -> Option<OsString> {
    parse_disposition_name(disposition).map(OsString::from)
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
            ("report.pdf", Some("report.pdf")),
            ("../../etc/passwd", Some("passwd")),
            (r"C:\\x\\y.txt", Some("y.txt")),
            (".bashrc", Some("bashrc")),
            ("a/.ssh", Some("ssh")),
            ("a/", None),
            ("..", None),
            ("", None),
            ("a\nb", None),
        ] {
            let disposition = format!("attachment; filename=\"{name}\"");
            assert_eq!(suggested(&disposition), want.map(OsString::from), "{name:?}");
        }
        assert_eq!(suggested("inline"), None);
        let part = suggested("attachment; filename=.x.1a2b3c4d.part").unwrap();
        assert!(!is_part_name(part.as_encoded_bytes()), "{part:?}");
    }
}
