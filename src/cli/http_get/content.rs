//! What a request carries: data, a form, a file.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use ::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

use super::args::Args;
use crate::cli::usage::usage;
use crate::cli::{closed, standard};
use crate::client::open_file;
use crate::error::Error;
use crate::http::client::content::Content;
use crate::http::media::MediaType;

/// Standard input that is read to be joined with other data, at most, in bytes: all of it is in memory.
const JOINED_LEN_MAX: u64 = 64 * 1024 * 1024;

/// The content that the options describe, its type put into `headers`; `None`: there is none.
///
/// # Errors
/// A file cannot be read, or an option makes no sense.
pub(super) fn of(args: &Args, headers: &mut HeaderMap) -> anyhow::Result<Option<Content>> {
    if let Some(path) = &args.upload_file {
        return whole_file(path).map(Some);
    }
    if !args.data.is_empty() {
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/x-www-form-urlencoded"));
        return data(&args.data).map(Some);
    }
    if args.form.is_empty() {
        return Ok(None);
    }
    let boundary = boundary();
    let kind = HeaderValue::from_str(&format!("multipart/form-data; boundary={boundary}"))?;
    headers.insert(CONTENT_TYPE, kind);
    form(&args.form, &boundary).map(Some)
}

fn whole_file(path: &Path) -> anyhow::Result<Content> {
    if path.as_os_str() == "-" {
        closed::check_input()?;
        return Ok(Content::default().and_stream(Input));
    }
    let (file, attributes) = open_file(path)?;
    Ok(Content::default().and_file(file, attributes.size))
}

/// Standard input, from whichever thread reads it.
struct Input;

impl std::io::Read for Input {
    fn read(&mut self, dest: &mut [u8]) -> std::io::Result<usize> {
        standard::input().read(dest)
    }
}

fn data(given: &[String]) -> anyhow::Result<Content> {
    let mut content = Content::default();
    for (at, data) in given.iter().enumerate() {
        if at > 0 {
            content = content.and(&b"&"[..]);
        }
        content = match data.strip_prefix('@') {
            None if data == "-" && given.len() == 1 => return whole_file(Path::new("-")),
            None if data == "-" => content.and(input()?),
            None => content.and(data.as_bytes()),
            Some("-") => return Err(usage("standard input is -d - here, without the @")),
            Some(path) => {
                let (file, attributes) = open_file(Path::new(path))?;
                content.and_file(file, attributes.size)
            }
        };
    }
    Ok(content)
}

fn input() -> anyhow::Result<Vec<u8>> {
    closed::check_input()?;
    let mut bytes = Vec::new();
    #[expect(clippy::disallowed_methods, reason = "it is read through take")]
    let read = Input.take(JOINED_LEN_MAX + 1).read_to_end(&mut bytes);
    read.map_err(Error::ours("standard input"))?;
    if bytes.len() as u64 > JOINED_LEN_MAX {
        return Err(usage(format!("standard input has over {JOINED_LEN_MAX} bytes; alone it has no limit")));
    }
    Ok(bytes)
}

/// RFC 7578: each field with its name, a file with its name too.
fn form(given: &[String], boundary: &str) -> anyhow::Result<Content> {
    let mut content = Content::default();
    for field in given {
        let (name, value) =
            field.split_once('=').ok_or_else(|| usage(format!("--form {field:?}: write NAME=VALUE or NAME=@FILE")))?;
        let head = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"", quoted(name));
        content = match value.strip_prefix('@') {
            Some(path) => with_file(content.and(head.into_bytes()), Path::new(path))?,
            None => content.and(format!("{head}\r\n\r\n{value}\r\n").into_bytes()),
        };
    }
    Ok(content.and(format!("--{boundary}--\r\n").into_bytes()))
}

fn with_file(content: Content, path: &Path) -> anyhow::Result<Content> {
    let (file, attributes): (File, _) = open_file(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let kind = MediaType::of_name(name.as_bytes()).essence();
    let head = format!("; filename=\"{}\"\r\nContent-Type: {kind}\r\n\r\n", quoted(&name));
    Ok(content.and(head.into_bytes()).and_file(file, attributes.size).and(&b"\r\n"[..]))
}

/// As browsers write names in a form (HTML, 4.10.21.8).
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

/// A line that stands in no file by chance: 128 random bits.
fn boundary() -> String {
    use std::hash::{BuildHasher as _, RandomState};
    let random = || RandomState::new().hash_one(0_u8);
    format!("landline-{:016x}{:016x}", random(), random())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(content: &Content) -> String {
        let mut all = Vec::new();
        content
            .send(0, &mut |piece| {
                all.extend_from_slice(piece);
                Ok(true)
            })
            .unwrap();
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn a_form_is_as_browsers_send_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a\"b.txt");
        std::fs::write(&path, "text").unwrap();
        let given = ["x=1=2".to_owned(), format!("file=@{}", path.display())];
        let content = form(&given, "B").unwrap();
        let want = "--B\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n1=2\r\n--B\r\nContent-Disposition: \
                    form-data; name=\"file\"; filename=\"a%22b.txt\"\r\nContent-Type: text/plain\r\n\r\ntext\r\n--B--\r\n";
        assert_eq!(sent(&content), want);
        assert_eq!(content.len(), Some(want.len() as u64));
        assert!(form(&["x".to_owned()], "B").is_err());
        assert_ne!(boundary(), boundary());
    }

    #[test]
    fn data_is_joined() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "c=3").unwrap();
        let content = data(&["a=1".into(), "b=2".into(), format!("@{}", file.path().display())]).unwrap();
        assert_eq!(sent(&content), "a=1&b=2&c=3");
    }
}
