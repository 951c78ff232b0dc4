//! A file as a page.

use std::fmt;

use askama::Template;

use super::frame::Frame;
use super::list::{Size, Time};
use super::strings::{ViewStrings, filled};
use super::{EARLY, SCRIPT, STYLE};

/// The page of a file.
#[derive(Debug, Template)]
#[template(path = "page/view.html")]
pub struct ViewPage<'a> {
    /// What is around it.
    pub frame: Frame<'a>,
    /// Its name for people.
    pub name: String,
    /// A relative reference to the file itself.
    pub href: String,
    /// Its size in bytes.
    pub size: &'a u64,
    /// Its modification time in nanoseconds since 1970 UTC.
    pub mtime_ns: &'a i64,
    /// A relative reference to the file before it in the list; `None`: it is the first, or that is not known.
    pub previous: Option<String>,
    /// The same of the file behind it.
    pub next: Option<String>,
    /// Bytes of the file that are shown; `None`: all.
    pub shown: Option<u64>,
    /// How it is shown.
    pub preview: Preview,
}

/// How a file is shown.
#[derive(Debug)]
pub enum Preview {
    /// As a picture.
    Image {
        /// Whether it could also be shown as text.
        is_text: bool,
    },
    /// It can be listened to.
    Audio,
    /// It can be watched.
    Video,
    /// As a document, by the browser's own reader.
    Pdf,
    /// As HTML that is safe to show.
    Markdown(String),
    /// As text.
    Text(TextPreview),
    /// Not at all.
    None,
}

/// A text, and how it was read.
#[derive(Debug)]
pub struct TextPreview {
    /// The text, made printable.
    pub text: String,
    /// The label of its encoding.
    pub encoding: &'static str,
    /// Whether the encoding is a guess.
    pub is_guess: bool,
    /// Whether it has bytes that are not valid in the encoding.
    pub is_malformed: bool,
    /// Whether it is the source of what could also be shown.
    pub is_source: bool,
}

/// An encoding that a reader can choose.
#[derive(Debug)]
struct Choice {
    label: &'static str,
    name: String,
    is_current: bool,
}

/// What readers choose from, by labels of the Encoding Standard.
const ENCODINGS: [&str; 12] = [
    "UTF-8",
    "GBK",
    "gb18030",
    "Big5",
    "Shift_JIS",
    "EUC-JP",
    "EUC-KR",
    "windows-1252",
    "windows-1251",
    "KOI8-R",
    "UTF-16LE",
    "UTF-16BE",
];

impl TextPreview {
    fn choices(&self, words: &ViewStrings) -> Vec<Choice> {
        let mut labels = ENCODINGS.to_vec();
        if !labels.contains(&self.encoding) {
            labels.insert(0, self.encoding);
        }
        let choice = |label: &'static str| {
            let is_current = label == self.encoding;
            let is_guess = is_current && self.is_guess;
            let name = if is_guess { filled(&words.guessed, &[("encoding", label)]) } else { label.to_owned() };
            Choice { label, name, is_current }
        };
        labels.into_iter().map(choice).collect()
    }
}

impl ViewPage<'_> {
    /// What part of it is shown, if that is not all.
    fn cut(&self, words: &ViewStrings) -> Option<String> {
        let shown = Size(self.shown.as_ref()?).to_string();
        Some(filled(&words.cut, &[("shown", &shown), ("size", &Size(self.size).to_string())]))
    }

    /// The page.
    ///
    /// # Errors
    /// None that is known.
    pub fn html(&self) -> Result<Vec<u8>, fmt::Error> {
        let mut html = String::new();
        self.render_into(&mut html).map_err(|_no_more_is_known| fmt::Error)?;
        Ok(html.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::super::PageKind;
    use super::super::frame::tests::frame;
    use super::*;

    fn page_of(preview: Preview) -> String {
        let page = ViewPage {
            frame: frame(PageKind::View, "/a/<b>", false),
            name: "<b>".into(),
            href: "%3Cb%3E".into(),
            size: &300_000,
            mtime_ns: &0,
            previous: None,
            next: Some("c.png".into()),
            shown: Some(262_144),
            preview,
        };
        String::from_utf8(page.html().unwrap()).unwrap()
    }

    #[test]
    fn each_kind_has_its_element_and_what_it_shows_is_text() {
        for (preview, want) in [
            (Preview::Image { is_text: true }, "<img src=\"%3Cb%3E\" alt=\"&#60;b&#62;\">"),
            (Preview::Audio, "<audio src=\"%3Cb%3E\" controls"),
            (Preview::Video, "<video src=\"%3Cb%3E\" controls"),
            (Preview::Pdf, "<iframe src=\"%3Cb%3E\" title=\"&#60;b&#62;\">"),
            (Preview::Markdown("<p>safe</p>".into()), "dir=\"auto\"><p>safe</p></article>"),
            (Preview::None, "There is no preview"),
        ] {
            let page = page_of(preview);
            assert!(page.contains(want), "{want} in {page}");
            assert!(
                page.contains("<a href=\"c.png?view\" rel=\"next\">Next</a>") && page.contains("<span>Previous</span>")
            );
            assert!(
                page.contains("<a id=\"download\" href=\"%3Cb%3E\" download>") && page.contains("<h1 aria-current")
            );
        }
    }

    #[test]
    fn a_text_says_how_it_was_read_and_how_much_of_it_is_shown() {
        let text = TextPreview {
            text: "<script>".into(),
            encoding: "GBK",
            is_guess: true,
            is_malformed: true,
            is_source: false,
        };
        let page = page_of(Preview::Text(text));
        for want in [
            "<option value=\"GBK\" selected>GBK (guessed)</option>",
            "<option value=\"UTF-8\">UTF-8</option>",
            "&#60;script&#62;</pre>",
            "256 KiB of 292 KiB",
            "not valid in this encoding",
        ] {
            assert!(page.contains(want), "{want} in {page}");
        }
    }
}
