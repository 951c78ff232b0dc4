//! What a file is, by its name, and under which name it is saved.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};

use super::field::{parameter, split, unquoted};

const OCTET_STREAM: &str = "application/octet-stream";
const PLAIN: &str = "text/plain";
/// Most bytes of a name that is taken from a server, as of a name in a directory of Linux.
pub const SAVED_NAME_LEN_MAX: usize = 255;

/// Text that has no registered type, or that `mime_guess` takes for something that it rarely is: TypeScript for video,
/// outlines for Lotus Organizer. Browsers show plain text and save what they do not know.
const PLAIN_EXTENSIONS: &str = "\
    adoc awk bash bat bib cjsx clj cmake cts cue dart diff eml env erl ex exs fish fs go gradle graphql groovy hcl \
    hs java jl jsonl jsx kt latex lisp lock m3u ml mli mts ndjson nim nix org patch php pl pm po properties proto \
    ps1 r rb rst scala scm service sh sha256 sha512 sql srt sum svelte swift tex texi tf timer ts tsx vim vue zig \
    zsh";

/// What `mime_guess` does not know, or not by its registered name.
const EXTENSIONS: &[(&str, &str)] = &[
    ("cjs", "text/javascript"),
    ("har", "application/json"),
    ("ipynb", "application/json"),
    ("map", "application/json"),
    ("mjs", "text/javascript"),
    // SVG that is compressed already, as the file has it.
    ("svgz", "application/gzip"),
    ("zst", "application/zstd"),
];

/// Names of text without an extension, in lower case; one of these may be followed by `-` or `.` and more.
const PLAIN_NAMES: &str = "\
    authors brewfile changelog changes codeowners containerfile contributing contributors copying copyright \
    dockerfile gemfile gnumakefile history install jenkinsfile justfile kconfig licence license maintainers \
    makefile news notice procfile rakefile readme thanks todo unlicense vagrantfile version";

/// The same, as whole names.
const PLAIN_FILES: &str = "\
    .bash_profile .bashrc .dockerignore .editorconfig .env .gitattributes .gitconfig .gitignore .gitmodules \
    .ignore .mailmap .npmrc .profile .vimrc .zshrc go.mod md5sums sha256sums sha512sums";

/// The tables above, to be looked up: a long list has thousands of names.
struct Known {
    files: HashSet<&'static str>,
    names: HashSet<&'static str>,
    extensions: HashMap<&'static str, &'static str>,
}

static KNOWN: LazyLock<Known> = LazyLock::new(|| Known {
    files: PLAIN_FILES.split(' ').collect(),
    names: PLAIN_NAMES.split(' ').collect(),
    extensions: EXTENSIONS
        .iter()
        .copied()
        .chain(PLAIN_EXTENSIONS.split(' ').map(|extension| (extension, PLAIN)))
        .collect(),
});

/// A media type (RFC 9110, 8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaType(&'static str);

impl MediaType {
    /// The type of bytes of which nothing is known; a browser saves them.
    pub const UNKNOWN: Self = Self(OCTET_STREAM);

    /// The type of a file, by the last component of its path.
    pub fn of_name(name: &[u8]) -> Self {
        let name = String::from_utf8_lossy(name).to_lowercase();
        if KNOWN.files.contains(name.as_str()) {
            return Self(PLAIN);
        }
        let extension = name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map(|(_, extension)| extension);
        let known = extension.and_then(Self::of_extension);
        let stem = name.split(['.', '-']).next().unwrap_or_default();
        known.unwrap_or(if KNOWN.names.contains(stem) { Self(PLAIN) } else { Self::UNKNOWN })
    }

    fn of_extension(extension: &str) -> Option<Self> {
        if let Some(known) = KNOWN.extensions.get(extension) {
            return Some(Self(known));
        }
        let guessed = mime_guess::from_ext(extension).first_raw()?;
        // A name that is not registered tells a program nothing, and makes a browser save the text.
        Some(Self(if guessed.starts_with("text/x-") { PLAIN } else { guessed }))
    }

    /// Its name without parameters: `text/html`.
    pub fn essence(self) -> &'static str {
        self.0
    }

    /// The value of `Content-Type`. Text counts as UTF-8: without a charset a browser would guess.
    pub fn content_type(self) -> String {
        if self.0.starts_with("text/") { format!("{}; charset=utf-8", self.0) } else { self.0.to_owned() }
    }

    /// Whether gzip and zstd make it smaller; false where it is compressed already, or nothing is known.
    pub fn is_compressible(self) -> bool {
        let is_structured = ["+xml", "/xml", "+json", "/json", "javascript"].iter().any(|end| self.0.ends_with(end));
        is_structured
            || self.0.starts_with("text/")
            || matches!(
                self.0,
                "application/hjson"
                    | "application/json5"
                    | "application/postscript"
                    | "application/rtf"
                    | "application/vnd.ms-fontobject"
                    | "application/wasm"
                    | "font/otf"
                    | "font/ttf"
                    | "image/bmp"
                    | "image/vnd.microsoft.icon"
                    | "image/x-icon"
            )
    }

    /// Whether a browser runs scripts in it when a person opens it: HTML, SVG and the family of XML, and mail archives.
    pub fn is_active(self) -> bool {
        ["html", "+xml", "/xml", "/xsl", "mathml", "scriptlet", "rfc822"].iter().any(|end| self.0.ends_with(end))
    }
}

/// What a browser does with a body (RFC 6266, 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// It shows it, if it can.
    Inline,
    /// It saves it.
    Attachment,
}

/// `attr-char` of RFC 8187, 3.2.1; all else is percent-encoded.
const VALUE_CHARS: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// The value of `Content-Disposition` for a file of that name (RFC 6266): ASCII, whatever is in the name.
///
/// Control characters and slashes become `_`. A name that ASCII cannot say has `filename*` too (RFC 8187), with U+FFFD
/// for what is not UTF-8, and `_` for each such character in `filename`.
pub fn content_disposition(disposition: Disposition, name: &[u8]) -> String {
    let kind = match disposition {
        Disposition::Inline => "inline",
        Disposition::Attachment => "attachment",
    };
    let name = String::from_utf8_lossy(name);
    let name: String = name.chars().map(|c| if c.is_control() || c == '/' { '_' } else { c }).collect();
    let mut fallback = String::new();
    for character in name.chars() {
        match character {
            '"' | '\\' => fallback.extend(['\\', character]),
            // Some programs decode what looks percent-encoded (RFC 6266, appendix D).
            '%' => fallback.push('_'),
            _ => fallback.push(if character.is_ascii() { character } else { '_' }),
        }
    }
    if fallback == name {
        return format!("{kind}; filename=\"{fallback}\"");
    }
    format!("{kind}; filename=\"{fallback}\"; filename*=UTF-8''{}", utf8_percent_encode(&name, VALUE_CHARS))
}

/// The name under which a server's `Content-Disposition` wants a body saved; `None` if it says none that can be used.
///
/// `filename*` goes before `filename` (RFC 6266, 4.3). The result is one component of a path: what stands before a
/// slash or a backslash is left out. So are dots in front: a server must not write a file that settings are read from.
/// A name with a control character, or longer than [`SAVED_NAME_LEN_MAX`], is not used.
pub fn parse_disposition_name(value: &str) -> Option<String> {
    let mut simple = None;
    let mut extended = None;
    // The first piece is the type of the disposition.
    for piece in split(value.as_bytes(), b';').skip(1) {
        let Some((name, value)) = parameter(piece) else { continue };
        let value = value.trim_ascii();
        match name.trim_ascii().to_ascii_lowercase().as_slice() {
            b"filename" if simple.is_none() => simple = simple_value(value),
            b"filename*" if extended.is_none() => extended = extended_value(value),
            _ => {}
        }
    }
    [extended, simple].into_iter().flatten().find_map(|name| saved_name(&name))
}

/// What `filename` says. Many servers forget the quotes around a name with blanks.
fn simple_value(value: &[u8]) -> Option<String> {
    let text = unquoted(value).or_else(|| (!value.contains(&b'"')).then(|| value.to_vec()))?;
    String::from_utf8(text).ok()
}

/// What `filename*` says: charset, language and percent-encoded bytes between apostrophes (RFC 8187, 3.2.1).
fn extended_value(value: &[u8]) -> Option<String> {
    let mut pieces = value.splitn(3, |byte| *byte == b'\'');
    let (charset, _language, encoded) = (pieces.next()?, pieces.next()?, pieces.next()?);
    let bytes: Vec<u8> = percent_decode(encoded).collect();
    if charset.eq_ignore_ascii_case(b"utf-8") {
        String::from_utf8(bytes).ok()
    } else if charset.eq_ignore_ascii_case(b"iso-8859-1") {
        Some(bytes.into_iter().map(char::from).collect())
    } else {
        None
    }
}

/// A name that is safe as the last component of a path.
fn saved_name(name: &str) -> Option<String> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name = last.trim_start_matches('.').trim_matches(' ');
    let is_usable = !name.is_empty() && name.len() <= SAVED_NAME_LEN_MAX && !name.chars().any(char::is_control);
    // A blank between dots would make dots of it again.
    (is_usable && !name.starts_with('.')).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_has_a_type() {
        for (why, name, want) in [
            ("RFC 9110, 8.3.2: text has a charset", "index.html", "text/html; charset=utf-8"),
            ("RFC 9110, 8.3.2", "a.txt", "text/plain; charset=utf-8"),
            ("RFC 9239, 6", "app.js", "text/javascript; charset=utf-8"),
            ("RFC 9239, 6", "app.mjs", "text/javascript; charset=utf-8"),
            ("RFC 2318", "style.css", "text/css; charset=utf-8"),
            ("RFC 7763", "README.md", "text/markdown; charset=utf-8"),
            ("RFC 8259, 11: JSON has no charset", "data.json", "application/json"),
            ("an upper-case extension", "PHOTO.JPG", "image/jpeg"),
            ("RFC 7303: XML declares its own", "a.svg", "image/svg+xml"),
            ("RFC 8878", "a.tar.zst", "application/zstd"),
            ("RFC 6713", "a.tar.gz", "application/gzip"),
            ("SVG, compressed", "a.svgz", "application/gzip"),
            ("WebAssembly", "a.wasm", "application/wasm"),
            ("source", "main.rs", "text/plain; charset=utf-8"),
            ("source that is no video", "app.ts", "text/plain; charset=utf-8"),
            ("source that is no video", "app.mts", "text/plain; charset=utf-8"),
            ("source that is not run", "index.php", "text/plain; charset=utf-8"),
            ("source that is shown", "install.sh", "text/plain; charset=utf-8"),
            ("settings", "Cargo.toml", "text/plain; charset=utf-8"),
            ("settings", "a.yaml", "text/plain; charset=utf-8"),
            ("settings", "Cargo.lock", "text/plain; charset=utf-8"),
            ("a module, not a film", "go.mod", "text/plain; charset=utf-8"),
            ("a log", "server.log", "text/plain; charset=utf-8"),
            ("no extension", "README", "text/plain; charset=utf-8"),
            ("no extension", "Makefile", "text/plain; charset=utf-8"),
            ("no extension", "LICENSE", "text/plain; charset=utf-8"),
            ("no extension, and more", "LICENSE-APACHE", "text/plain; charset=utf-8"),
            ("no extension, and more", "LICENSE-2.0", "text/plain; charset=utf-8"),
            ("no extension, and more", "Dockerfile.dev", "text/plain; charset=utf-8"),
            ("an extension goes before the name", "readme.pdf", "application/pdf"),
            ("a hidden file", ".gitignore", "text/plain; charset=utf-8"),
            ("a hidden file is no extension", ".html", "application/octet-stream"),
            ("a type that is not known", "a.qqq", "application/octet-stream"),
            ("no type", "core", "application/octet-stream"),
            ("no name", "", "application/octet-stream"),
            ("video", "a.mp4", "video/mp4"),
        ] {
            assert_eq!(MediaType::of_name(name.as_bytes()).content_type(), want, "{why}: {name}");
        }
        assert_eq!(MediaType::of_name(b"\xff.html").essence(), "text/html", "a name that is not UTF-8");
        assert_eq!(MediaType::of_name(b"a.\xff"), MediaType::UNKNOWN);
    }

    #[test]
    fn a_type_is_compressible_or_active() {
        for (name, is_compressible, is_active) in [
            ("a.html", true, true),
            ("a.htm", true, true),
            ("a.shtml", true, true),
            ("a.xhtml", true, true),
            ("a.svg", true, true),
            ("a.xml", true, true),
            ("a.xsl", true, true),
            ("a.rss", true, true),
            ("a.mml", true, true),
            ("a.mathml", true, true),
            ("a.rdf", true, true),
            ("a.mht", false, true),
            ("a.svgz", false, false),
            ("a.txt", true, false),
            ("a.md", true, false),
            ("a.js", true, false),
            ("a.json", true, false),
            ("a.webmanifest", true, false),
            ("a.css", true, false),
            ("a.csv", true, false),
            ("a.wasm", true, false),
            ("a.ttf", true, false),
            ("a.bmp", true, false),
            ("a.ico", true, false),
            ("a.woff2", false, false),
            ("a.png", false, false),
            ("a.jpg", false, false),
            ("a.mp4", false, false),
            ("a.zip", false, false),
            ("a.gz", false, false),
            ("a.pdf", false, false),
            ("a.docx", false, false),
            ("a.qqq", false, false),
        ] {
            let media_type = MediaType::of_name(name.as_bytes());
            assert_eq!(media_type.is_compressible(), is_compressible, "{name}: {media_type:?}");
            assert_eq!(media_type.is_active(), is_active, "{name}: {media_type:?}");
        }
    }

    #[test]
    fn a_name_becomes_a_header() {
        for (clause, name, want) in [
            ("RFC 6266, 4.1: a quoted string", &b"a b.txt"[..], r#"filename="a b.txt""#),
            ("RFC 9110, 5.6.4: a quote is escaped", b"a\"b", r#"filename="a\"b"; filename*=UTF-8''a%22b"#),
            ("RFC 9110, 5.6.4: a backslash is escaped", b"a\\b", r#"filename="a\\b"; filename*=UTF-8''a%5Cb"#),
            (
                "RFC 8187, 3.2.3: the RFC's example",
                "£ and € rates".as_bytes(),
                r#"filename="_ and _ rates"; filename*=UTF-8''%C2%A3%20and%20%E2%82%AC%20rates"#,
            ),
            ("RFC 6266, D: no percent sign", b"100%41", r#"filename="100_41"; filename*=UTF-8''100%2541"#),
            (
                "RFC 8187, 3.2.1: attr-char",
                "é!#$&+-.^_`|~'*".as_bytes(),
                "filename=\"_!#$&+-.^_`|~'*\"; filename*=UTF-8''%C3%A9!#$&+-.^_`|~%27%2A",
            ),
            ("RFC 9110, 5.5: no line ends", b"a\r\nSet-Cookie: x", r#"filename="a__Set-Cookie: x""#),
            ("RFC 9110, 5.5: no NUL", b"a\0b\x7f", r#"filename="a_b_""#),
            ("RFC 6266, 4.3: no path", b"../a", r#"filename=".._a""#),
            ("RFC 8187, 3.2.1: what is not UTF-8", b"a\xffb", r#"filename="a_b"; filename*=UTF-8''a%EF%BF%BDb"#),
        ] {
            let value = content_disposition(Disposition::Attachment, name);
            assert_eq!(value, format!("attachment; {want}"), "{clause}");
        }
        assert_eq!(content_disposition(Disposition::Inline, b"a"), r#"inline; filename="a""#, "RFC 6266, 4.2");
    }

    #[test]
    fn a_header_becomes_a_name() {
        for (clause, value, want) in [
            ("RFC 6266, 5", "Attachment; filename=example.html", Some("example.html")),
            ("RFC 6266, 5", "INLINE; FILENAME= \"an example.html\"", Some("an example.html")),
            ("RFC 6266, 5", "attachment; filename*= UTF-8''%e2%82%ac%20rates", Some("€ rates")),
            ("RFC 6266, 5", "attachment; filename=\"EURO\"; filename*=utf-8''%e2%82%ac%20rates", Some("€ rates")),
            ("RFC 8187, 3.2.3: a language", "attachment; filename*=UTF-8'en'a%20b", Some("a b")),
            ("RFC 8187, 3.2.1: ISO-8859-1", "attachment; filename*=iso-8859-1'en'%A3%20rates", Some("£ rates")),
            ("RFC 8187, 3.2.1: an unknown charset", "attachment; filename*=koi8-r''%A3; filename=b", Some("b")),
            ("RFC 8187, 3.2.1: bad UTF-8", "attachment; filename*=UTF-8''%FF; filename=b", Some("b")),
            ("RFC 8187, 3.2.1: no apostrophes", "attachment; filename*=a; filename=b", Some("b")),
            ("RFC 9110, 5.6.4: escapes", r#"attachment; filename="a\"b""#, Some("a\"b")),
            ("RFC 9110, 5.6.4: a semicolon in quotes", "attachment; filename=\"a;b\"", Some("a;b")),
            ("RFC 6266, 4.1: no quotes around blanks", "attachment; filename=a b.txt", Some("a b.txt")),
            ("RFC 6266, 4.1: no name", "attachment", None),
            ("RFC 6266, 4.1: an empty one", "attachment; filename=\"\"", None),
            ("RFC 6266, 4.1: a type, no name", "filename=a", None),
            ("RFC 6266, 4.3: the last component", "attachment; filename=\"/etc/passwd\"", Some("passwd")),
            ("RFC 6266, 4.3: the last component", "attachment; filename*=UTF-8''..%2F..%2Fa", Some("a")),
            ("RFC 6266, 4.3: the last component", r#"attachment; filename="C:\\a\\b""#, Some("b")),
            ("RFC 6266, 4.3: no component", "attachment; filename=\"a/\"", None),
            ("RFC 6266, 4.3: dots only", "attachment; filename=..", None),
            ("RFC 6266, 4.3: dots only", "attachment; filename=\"....\"", None),
            ("RFC 6266, 4.3: dots and blanks only", "attachment; filename=\". ..\"", None),
            ("RFC 6266, 4.3: nothing hidden", "attachment; filename=.bashrc", Some("bashrc")),
            ("RFC 6266, 7.2: no control characters", "attachment; filename*=UTF-8''a%0Ab", None),
            ("RFC 6266, 7.2: no NUL", "attachment; filename*=UTF-8''a%00b; filename=c", Some("c")),
        ] {
            assert_eq!(parse_disposition_name(value).as_deref(), want, "{clause}: {value}");
        }
        let name = "x".repeat(SAVED_NAME_LEN_MAX + 1);
        assert_eq!(parse_disposition_name(&format!("attachment; filename={name}")), None, "no name that Linux refuses");
    }

    proptest! {
        #[test]
        fn no_name_breaks_the_header(name in prop::collection::vec(any::<u8>(), 0..40)) {
            let value = content_disposition(Disposition::Attachment, &name);
            prop_assert!(value.bytes().all(|byte| matches!(byte, 0x20..=0x7e)), "{value}");
            MediaType::of_name(&name);
        }

        #[test]
        fn what_is_written_is_read(name in "[^./\\\\\\p{C} ][^/\\\\\\p{C} ]{0,40}") {
            let value = content_disposition(Disposition::Attachment, name.as_bytes());
            prop_assert_eq!(parse_disposition_name(&value), Some(name));
        }

        #[test]
        fn no_header_leads_elsewhere(
            text in "attachment; ?(filename\\*?=)?(UTF-8'')?[\\PC/\\\\.;%0-9a-f\"' ]{0,30}",
        ) {
            if let Some(name) = parse_disposition_name(&text) {
                prop_assert!(!name.is_empty() && !name.starts_with('.') && name.len() <= SAVED_NAME_LEN_MAX);
                prop_assert!(!name.contains(['/', '\\', '\0', '\r', '\n']));
            }
        }
    }
}
