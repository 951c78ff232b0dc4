//! GET of a file with `?view`: a page that shows it, with the way to its neighbours.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;

use ::http::StatusCode;
use cap_std::fs::Metadata;

use super::exchange::Exchange;
use super::problem::{Problem, Result};
use super::response::Response;
use super::{directory, page};
use crate::fs;
use crate::fs::root::RootPath;
use crate::fs::unix::mtime_ns;
use crate::http::listing::reference;
use crate::http::page::{
    Decoded, PageKind, PagePlace, Preview, PreviewKind, TextEncoding, TextPreview, ViewPage, decode, looks_like_text,
    render, visible,
};
use crate::memory::Taken;
use crate::printable::printable_name;

/// Of a text so much is shown, in bytes.
pub const TEXT_SHOWN_LEN_MAX: u64 = 256 * 1024;
/// Memory that a page takes for each byte of a text: read, decoded, made printable, escaped.
const TEXT_COST: usize = 32;
/// The same of Markdown, whose pieces become a tree.
pub(super) const MARKDOWN_COST: usize = 128;
/// Headings of a file's Markdown stand below its name.
const HEADING_LEVEL: u8 = 2;

/// Whether the page of a file is wanted, and not the file. A page of the operator's application may have a query of its
/// own.
pub(super) fn is_wanted(exchange: &Exchange<'_>) -> bool {
    !exchange.state.options.is_spa && exchange.head.target.parameter("view").is_some()
}

/// The page of the open file at `path`.
///
/// # Errors
/// What the client is told instead.
pub(super) fn get(exchange: &Exchange<'_>, path: &RootPath, (file, metadata): (File, &Metadata)) -> Result<Response> {
    let (_, name) = path.split_last().ok_or_else(Problem::not_found)?;
    let name = name.as_bytes();
    let mut taken = Taken::of(&exchange.session.memory.budget());
    let size = metadata.len();
    let mut shown = Shown { preview: Preview::None, len: None };
    let wants_source = exchange.head.target.parameter("source").is_some();
    match PreviewKind::of_name(name) {
        PreviewKind::Image => shown.preview = Preview::Image { is_text: false },
        PreviewKind::Drawing if !wants_source => shown.preview = Preview::Image { is_text: true },
        PreviewKind::Audio => shown.preview = Preview::Audio,
        PreviewKind::Video => shown.preview = Preview::Video,
        PreviewKind::Pdf => shown.preview = Preview::Pdf,
        kind => shown.read(exchange, (file, size), kind, &mut taken)?,
    }
    let (previous, next) = directory::neighbours(exchange, path);
    let place = PagePlace::of(&path.to_absolute(), false);
    let view = ViewPage {
        frame: page::frame(exchange, PageKind::View, place),
        name: printable_name(name),
        href: reference(name, false),
        size: &size,
        mtime_ns: &mtime_ns(metadata),
        previous,
        next,
        shown: shown.len,
        preview: shown.preview,
    };
    page::response(exchange, view.html())
}

/// What is shown of a file.
struct Shown {
    preview: Preview,
    /// Bytes of it; `None`: all.
    len: Option<u64>,
}

impl Shown {
    /// Reads the beginning of a file as text, if it is one.
    fn read(
        &mut self,
        exchange: &Exchange<'_>,
        (file, size): (File, u64),
        kind: PreviewKind,
        taken: &mut Taken,
    ) -> Result<()> {
        let wanted = wanted_encoding(exchange)?;
        let is_rendered = kind == PreviewKind::Markdown && exchange.head.target.parameter("source").is_none();
        let cost = if is_rendered { MARKDOWN_COST } else { TEXT_COST };
        let bytes = read_beginning(file, TEXT_SHOWN_LEN_MAX, cost, taken)?;
        let is_whole = bytes.len() as u64 >= size;
        self.len = (!is_whole).then_some(bytes.len() as u64);
        if kind == PreviewKind::None && wanted.is_none() && !looks_like_text(&bytes, is_whole) {
            self.len = None;
            return Ok(());
        }
        let Decoded { text, encoding, is_guess, is_malformed } =
            decode(&bytes, is_whole, wanted, page::region(exchange.head));
        if is_rendered {
            let rendered = render(&text, HEADING_LEVEL);
            self.len = rendered.shown.map_or(self.len, |shown| Some(shown as u64));
            self.preview = Preview::Markdown(rendered.html);
        } else {
            let is_source = matches!(kind, PreviewKind::Markdown | PreviewKind::Drawing);
            let text = visible(&text);
            self.preview = Preview::Text(TextPreview { text, encoding, is_guess, is_malformed, is_source });
        }
        Ok(())
    }
}

/// The first bytes of a file, each of which takes `cost` bytes of memory until it is shown.
pub(super) fn read_beginning(file: File, len_max: u64, cost: usize, taken: &mut Taken) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut file = file.take(len_max);
    let mut piece = [0; 8 * 1024];
    loop {
        let read = match file.read(&mut piece) {
            Ok(0) => return Ok(bytes),
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(fs::Error::from(error).into()),
        };
        taken.take(read * cost).map_err(|over| over.refusal("the page"))?;
        bytes.extend_from_slice(piece.get(..read).unwrap_or_default());
    }
}

/// The encoding that the query names.
fn wanted_encoding(exchange: &Exchange<'_>) -> Result<Option<TextEncoding>> {
    let Some(label) = exchange.head.target.parameter("encoding").filter(|label| !label.is_empty()) else {
        return Ok(None);
    };
    let wanted = TextEncoding::of(&label).ok_or_else(|| {
        let label: String = label.chars().take(40).collect();
        let message = format!("the query has encoding={label:?}; it takes utf-8, gbk, big5, shift_jis, euc-kr, ...");
        Problem::new(StatusCode::BAD_REQUEST, message)
    })?;
    Ok(Some(wanted))
}
