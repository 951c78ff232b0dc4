//! What kind of file a name promises: for its icon, and for how it is shown.

use crate::http::listing::{ListEntry, ListKind};
use crate::http::media::MediaType;

/// How a file is shown on its page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreviewKind {
    /// As a picture.
    Image,
    /// It can be listened to.
    Audio,
    /// It can be watched.
    Video,
    /// As a document, by the browser's own reader.
    Pdf,
    /// As what its author meant.
    Markdown,
    /// As a picture that is text, too: SVG. No script in it runs there (SVG 2, 2.2.1: secure static mode).
    Drawing,
    /// As text: so is everything that a browser would run.
    Text,
    /// Not at all.
    None,
}

/// Pictures, sounds and films that today's browsers show.
const IMAGES: [&str; 9] = ["png", "jpeg", "gif", "webp", "avif", "apng", "bmp", "x-icon", "vnd.microsoft.icon"];
const AUDIO: [&str; 13] =
    ["mpeg", "mp3", "mp4", "m4a", "x-m4a", "ogg", "opus", "wav", "x-wav", "flac", "x-flac", "aac", "webm"];
const VIDEO: [&str; 7] = ["mp4", "webm", "ogg", "quicktime", "x-m4v", "x-matroska", "3gpp"];
const ARCHIVES: [&str; 15] = [
    "zip",
    "gzip",
    "x-tar",
    "zstd",
    "x-7z-compressed",
    "x-rar-compressed",
    "vnd.rar",
    "x-bzip",
    "x-bzip2",
    "x-xz",
    "x-lzma",
    "x-compress",
    "java-archive",
    "vnd.debian.binary-package",
    "x-iso9660-image",
];
/// Text whose type does not say so.
const TEXTS: [&str; 7] = ["json", "javascript", "xml", "json5", "x-sh", "toml", "sql"];

impl PreviewKind {
    /// How a file of this name is shown.
    pub fn of_name(name: &[u8]) -> Self {
        Self::of(MediaType::of_name(name))
    }

    fn of(media: MediaType) -> Self {
        let (kind, subtype) = media.essence().split_once('/').unwrap_or_default();
        match kind {
            "image" if IMAGES.contains(&subtype) => Self::Image,
            "image" if subtype == "svg+xml" => Self::Drawing,
            "audio" if AUDIO.contains(&subtype) => Self::Audio,
            "video" if VIDEO.contains(&subtype) => Self::Video,
            "text" if subtype == "markdown" => Self::Markdown,
            "text" => Self::Text,
            "application" if subtype == "pdf" => Self::Pdf,
            "application" if TEXTS.contains(&subtype) => Self::Text,
            _ if subtype.ends_with("+xml") || subtype.ends_with("+json") => Self::Text,
            _ => Self::None,
        }
    }
}

/// What a row says of a file by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowKind {
    /// The attribute `data-kind`.
    pub(super) name: &'static str,
    /// Whether it has a page of its own.
    pub(super) is_previewed: bool,
}

impl RowKind {
    /// That of an entry.
    pub(super) fn of(entry: &ListEntry<'_>) -> Self {
        if entry.kind == ListKind::Dir {
            return Self { name: "dir", is_previewed: false };
        }
        let media = MediaType::of_name(entry.name);
        let has_preview = PreviewKind::of(media) != PreviewKind::None;
        let (kind, subtype) = media.essence().split_once('/').unwrap_or_default();
        let name = match kind {
            "image" => "image",
            "audio" => "audio",
            "video" => "video",
            _ if subtype == "pdf" => "pdf",
            _ if ARCHIVES.contains(&subtype) => "archive",
            _ if has_preview => "text",
            _ => "file",
        };
        Self { name, is_previewed: has_preview && entry.kind == ListKind::File }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_promises_a_kind_and_nothing_that_runs_is_shown_as_what_it_is() {
        for (name, kind, preview) in [
            ("a.jpg", "image", PreviewKind::Image),
            ("a.PNG", "image", PreviewKind::Image),
            ("a.tiff", "image", PreviewKind::None),
            ("a.svg", "image", PreviewKind::Drawing),
            ("a.mp3", "audio", PreviewKind::Audio),
            ("a.flac", "audio", PreviewKind::Audio),
            ("a.m4a", "audio", PreviewKind::Audio),
            ("a.opus", "audio", PreviewKind::Audio),
            ("a.mid", "audio", PreviewKind::None),
            ("a.mp4", "video", PreviewKind::Video),
            ("a.mkv", "video", PreviewKind::Video),
            ("a.avi", "video", PreviewKind::None),
            ("a.pdf", "pdf", PreviewKind::Pdf),
            ("README.md", "text", PreviewKind::Markdown),
            ("a.html", "text", PreviewKind::Text),
            ("a.xhtml", "text", PreviewKind::Text),
            ("a.js", "text", PreviewKind::Text),
            ("a.json", "text", PreviewKind::Text),
            ("Makefile", "text", PreviewKind::Text),
            ("a.toml", "text", PreviewKind::Text),
            ("a.zip", "archive", PreviewKind::None),
            ("a.tar.gz", "archive", PreviewKind::None),
            ("a.tar.xz", "archive", PreviewKind::None),
            ("a.7z", "archive", PreviewKind::None),
            ("a.docx", "file", PreviewKind::None),
            ("a.qqq", "file", PreviewKind::None),
            ("core", "file", PreviewKind::None),
        ] {
            let entry =
                ListEntry { name: name.as_bytes(), kind: ListKind::File, size: Some(1), mtime_ns: 0, target: None };
            let want = RowKind { name: kind, is_previewed: preview != PreviewKind::None };
            assert_eq!((RowKind::of(&entry), PreviewKind::of_name(name.as_bytes())), (want, preview), "{name}");
        }
    }
}
