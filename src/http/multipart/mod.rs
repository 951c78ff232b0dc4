//! multipart/form-data as it streams in (RFC 7578, RFC 2046 5.1): the entries of a form, one behind the other, through
//! one buffer of constant size.
//!
//! ```text
//! preamble CRLF --BOUNDARY CRLF head CRLF CRLF content CRLF --BOUNDARY CRLF head ... CRLF --BOUNDARY-- epilogue
//! ```
//!
//! An entry is over only when the whole line of the delimiter behind it has come: a form that breaks off anywhere is an
//! error, and its last file never looks whole. The head of a form is bytes of a stranger; what is refused is refused
//! before the content is read.

mod entry;

use std::io::{self, Read};

use memchr::memmem::Finder;

use self::entry::{NO_DISPOSITION, entry_of};

pub use self::entry::{Boundary, FormEntry};

/// Longest boundary, in bytes (RFC 2046 5.1.1).
pub const BOUNDARY_LEN_MAX: usize = 70;
/// Longest head of an entry, in bytes: a name of 255 bytes, each escaped, needs a tenth of it.
pub const ENTRY_HEAD_LEN_MAX: usize = 8 * 1024;
/// Most fields in the head of an entry: three are in use.
pub const ENTRY_FIELDS_MAX: usize = 16;
/// Most entries of one form: each may be a file, which is synced by itself.
pub const FORM_ENTRIES_MAX: usize = 10_000;
/// Most bytes before the first delimiter, and as many behind the last: nothing needs them.
pub const FORM_MARGIN_LEN_MAX: usize = 16 * 1024;
/// Most blanks behind a delimiter: mail gateways were known to add some.
const PADDING_LEN_MAX: usize = 64;
/// What is read at once, in bytes, and the memory that a form takes.
pub const FORM_BUFFER_LEN: usize = 256 * 1024;

/// Why a form cannot be read any further.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    /// The body could not be read, for its own reason.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// The body ended before the delimiter that closes the form.
    #[error("the form broke off before its last delimiter; what came of the last entry is not stored")]
    BrokeOff,
    /// It is no form, or not one that is stored as it was meant.
    #[error("the form is malformed: {0}")]
    Malformed(&'static str),
    /// Something in it is longer or more than is taken.
    #[error("the form has {what} over the limit of {limit}")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// The limit, in bytes or entries.
        limit: usize,
    },
}

/// What a form's reader is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Before the first delimiter, of which this many bytes were passed over.
    Preamble(usize),
    /// At the head of an entry.
    Head,
    /// In an entry's content.
    Content,
    /// Behind the last delimiter.
    Epilogue(usize),
    /// It was refused, and is not read any further.
    Failed,
}

/// Which kind of delimiter came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delimiter {
    Next,
    Last,
}

/// What comes next of an entry's content.
enum Piece {
    /// This many bytes of it are in the buffer.
    Bytes(usize),
    End(Delimiter),
}

/// Reads a form.
#[derive(Debug)]
pub struct FormReader<R> {
    source: R,
    buffer: Vec<u8>,
    /// What of the buffer was read and not used yet: `start <= end <= buffer.len()`.
    start: usize,
    end: usize,
    /// Bytes of it that were lent to the caller, and are used up with the next call.
    lent: usize,
    /// CRLF, two hyphens and the boundary.
    delimiter: Finder<'static>,
    stage: Stage,
    entries: usize,
}

impl<R: Read> FormReader<R> {
    /// Reads a form from `source`, which ends where the body ends.
    pub fn new(source: R, boundary: &Boundary) -> Self {
        Self::with_buffer(source, boundary, FORM_BUFFER_LEN)
    }

    fn with_buffer(source: R, Boundary(boundary): &Boundary, len: usize) -> Self {
        let mut buffer = vec![0; len.max(ENTRY_HEAD_LEN_MAX + 2 * BOUNDARY_LEN_MAX)];
        // The first delimiter may be the very beginning, where no CRLF is in front of it: as if one were.
        let (front, _) = buffer.split_at_mut(2);
        front.copy_from_slice(b"\r\n");
        let delimiter = Finder::new(&[b"\r\n--", &boundary[..]].concat()).into_owned();
        Self { source, buffer, start: 0, end: 2, lent: 0, delimiter, stage: Stage::Preamble(0), entries: 0 }
    }

    /// The next entry; what was not read of the present one is passed over. `None`: the form is over, and all of the
    /// body was read.
    ///
    /// # Errors
    /// The form broke off, is malformed or too large, or cannot be read.
    pub fn next_entry(&mut self) -> Result<Option<FormEntry>, FormError> {
        self.next_entry_inner().inspect_err(|_| self.stage = Stage::Failed)
    }

    fn next_entry_inner(&mut self) -> Result<Option<FormEntry>, FormError> {
        loop {
            match self.stage {
                Stage::Failed => return Err(FormError::Malformed("it was refused before")),
                Stage::Preamble(passed) => match self.next_piece()? {
                    Piece::Bytes(len) if passed + len > FORM_MARGIN_LEN_MAX => {
                        return Err(too_large("a preamble", FORM_MARGIN_LEN_MAX));
                    }
                    Piece::Bytes(len) => self.stage = Stage::Preamble(passed + len),
                    Piece::End(delimiter) => self.pass(delimiter),
                },
                Stage::Head => return self.read_head().map(Some),
                Stage::Content => while !self.piece_inner()?.is_empty() {},
                Stage::Epilogue(_) => return self.read_epilogue().map(|()| None),
            }
        }
    }

    /// The next bytes of the present entry's content; empty: it is over, and whole.
    ///
    /// # Errors
    /// As [`next_entry`](Self::next_entry).
    pub fn piece(&mut self) -> Result<&[u8], FormError> {
        match self.piece_len() {
            Ok(len) => Ok(self.buffer.get(self.start..self.start + len).unwrap_or_default()),
            Err(error) => {
                self.stage = Stage::Failed;
                Err(error)
            }
        }
    }

    fn piece_inner(&mut self) -> Result<&[u8], FormError> {
        let len = self.piece_len()?;
        Ok(self.buffer.get(self.start..self.start + len).unwrap_or_default())
    }

    fn piece_len(&mut self) -> Result<usize, FormError> {
        match self.stage {
            Stage::Content => {}
            Stage::Failed => return Err(FormError::Malformed("it was refused before")),
            Stage::Preamble(_) | Stage::Head | Stage::Epilogue(_) => return Ok(0),
        }
        match self.next_piece()? {
            Piece::Bytes(len) => Ok(len),
            Piece::End(delimiter) => {
                self.pass(delimiter);
                Ok(0)
            }
        }
    }

    fn pass(&mut self, delimiter: Delimiter) {
        self.stage = match delimiter {
            Delimiter::Next => Stage::Head,
            Delimiter::Last => Stage::Epilogue(0),
        };
    }

    /// What comes before the next delimiter, which is passed over with its line.
    fn next_piece(&mut self) -> Result<Piece, FormError> {
        self.use_up_lent();
        loop {
            let window = self.buffer.get(self.start..self.end).unwrap_or_default();
            let len = match self.delimiter.find(window) {
                Some(0) => return self.read_delimiter().map(Piece::End),
                Some(at) => at,
                None => window.len() - begun(window, self.delimiter.needle()),
            };
            if len > 0 {
                self.lent = len;
                return Ok(Piece::Bytes(len));
            }
            if !self.fill()? {
                return Err(FormError::BrokeOff);
            }
        }
    }

    /// The rest of the line of a delimiter that begins here.
    fn read_delimiter(&mut self) -> Result<Delimiter, FormError> {
        self.start += self.delimiter.needle().len();
        let mut is_over = false;
        loop {
            let rest = self.buffer.get(self.start..self.end).unwrap_or_default();
            match delimiter_line(rest, is_over)? {
                Some((delimiter, used)) => {
                    self.start += used;
                    return Ok(delimiter);
                }
                None if is_over => return Err(FormError::BrokeOff),
                None => is_over = !self.fill()?,
            }
        }
    }

    fn read_head(&mut self) -> Result<FormEntry, FormError> {
        if self.entries == FORM_ENTRIES_MAX {
            return Err(too_large("entries", FORM_ENTRIES_MAX));
        }
        loop {
            let window = self.buffer.get(self.start..self.end).unwrap_or_default();
            let within = window.get(..ENTRY_HEAD_LEN_MAX).unwrap_or(window);
            // Before any search: what comes behind must not change the error.
            if within.starts_with(b"\r\n") {
                return Err(NO_DISPOSITION);
            }
            if let Some(len) = memchr::memmem::find(within, b"\r\n\r\n") {
                let entry = entry_of(within.get(..len).unwrap_or_default())?;
                self.start += len + 4;
                self.entries += 1;
                self.stage = Stage::Content;
                return Ok(entry);
            }
            if window.len() >= ENTRY_HEAD_LEN_MAX {
                return Err(too_large("the head of an entry", ENTRY_HEAD_LEN_MAX));
            }
            if !self.fill()? {
                return Err(FormError::BrokeOff);
            }
        }
    }

    /// Reads the body to its end: only then the next request can follow on the same connection.
    fn read_epilogue(&mut self) -> Result<(), FormError> {
        while let Stage::Epilogue(passed) = self.stage {
            let passed = passed + (self.end - self.start);
            self.start = self.end;
            self.stage = Stage::Epilogue(passed);
            if passed > FORM_MARGIN_LEN_MAX {
                return Err(too_large("an epilogue", FORM_MARGIN_LEN_MAX));
            }
            if !self.fill()? {
                break;
            }
        }
        Ok(())
    }

    const fn use_up_lent(&mut self) {
        self.start += self.lent;
        self.lent = 0;
    }

    /// Reads more behind what is in the buffer, which is never full: at most a head or a delimiter is in it. `false`:
    /// the body is over.
    fn fill(&mut self) -> Result<bool, FormError> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        loop {
            match self.source.read(self.buffer.get_mut(self.end..).unwrap_or_default()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => {
                    let read = read?;
                    self.end += read;
                    return Ok(read > 0);
                }
            }
        }
    }
}

const fn too_large(what: &'static str, limit: usize) -> FormError {
    FormError::TooLarge { what, limit }
}

/// How many bytes at the end of `window` could be the beginning of `delimiter`.
fn begun(window: &[u8], delimiter: &[u8]) -> usize {
    let from = window.len().saturating_sub(delimiter.len() - 1);
    let tail = window.get(from..).unwrap_or_default();
    let begins = |at: &usize| tail.get(*at..).is_some_and(|tail| delimiter.starts_with(tail));
    memchr::memchr_iter(b'\r', tail).find(begins).map_or(0, |at| tail.len() - at)
}

/// What stands behind a boundary: which delimiter it makes, and how many bytes of the line are used up. `None`: more
/// must come.
///
/// A boundary that goes on in any other way is no delimiter, and must not be in a content either (RFC 2046 5.1.1):
/// such a form is refused.
fn delimiter_line(rest: &[u8], is_over: bool) -> Result<Option<(Delimiter, usize)>, FormError> {
    let (delimiter, dashes) = match rest {
        [] | [b'-'] => return Ok(None),
        [b'-', b'-', ..] => (Delimiter::Last, 2),
        _ => (Delimiter::Next, 0),
    };
    let padded = rest.get(dashes..).unwrap_or_default();
    let padding = padded.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let is_last = delimiter == Delimiter::Last;
    match padded.get(padding..).unwrap_or_default() {
        _ if padding > PADDING_LEN_MAX => Err(too_large("blanks behind a delimiter", PADDING_LEN_MAX)),
        [b'\r', b'\n', ..] => Ok(Some((delimiter, dashes + padding + 2))),
        [] if is_last && is_over => Ok(Some((delimiter, dashes + padding))),
        [] | [b'\r'] => Ok(None),
        _ => Err(FormError::Malformed("a boundary is followed by something else than the end of its line")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives at most `step` bytes at a time.
    struct Steps<'b> {
        bytes: &'b [u8],
        step: usize,
    }

    impl Read for Steps<'_> {
        fn read(&mut self, dest: &mut [u8]) -> io::Result<usize> {
            let len = self.step.min(dest.len()).min(self.bytes.len());
            let (now, later) = self.bytes.split_at(len);
            dest[..len].copy_from_slice(now);
            self.bytes = later;
            Ok(len)
        }
    }

    type Entries = Vec<(FormEntry, Vec<u8>)>;

    /// The entries that are whole, and how the form ended.
    fn read(bytes: &[u8], boundary: &str, step: usize) -> (Entries, Result<(), FormError>) {
        let boundary = Boundary(boundary.as_bytes().to_vec());
        let mut form = FormReader::with_buffer(Steps { bytes, step }, &boundary, 0);
        let mut whole = Vec::new();
        let mut read_all = || {
            while let Some(entry) = form.next_entry()? {
                let mut content = Vec::new();
                loop {
                    let piece = form.piece()?;
                    if piece.is_empty() {
                        break;
                    }
                    content.extend_from_slice(piece);
                }
                whole.push((entry, content));
            }
            Ok(())
        };
        let ended = read_all();
        (whole, ended)
    }

    fn entries(bytes: &[u8]) -> Result<Entries, String> {
        let (entries, ended) = read(bytes, "b", 4096);
        ended.map(|()| entries).map_err(|error| error.to_string())
    }

    fn file(name: &str, file_name: &str, content: &str) -> (FormEntry, Vec<u8>) {
        let entry = FormEntry { name: name.into(), file_name: Some(file_name.into()) };
        (entry, content.as_bytes().to_vec())
    }

    #[test]
    fn forms_are_read_as_the_standards_say() {
        let one = |head: &str, content: &str| format!("--b\r\n{head}\r\n\r\n{content}\r\n--b--\r\n").into_bytes();
        let x = "Content-Disposition: form-data; name=\"f\"; filename=\"x\"";
        for (clause, bytes, want) in [
            ("RFC 2046 5.1.1", one(x, "hello"), vec![file("f", "x", "hello")]),
            ("RFC 2046 5.1.1, empty", one(x, ""), vec![file("f", "x", "")]),
            ("RFC 2046 5.1.1, the line end belongs to the delimiter", one(x, "a\r\n"), vec![file("f", "x", "a\r\n")]),
            ("RFC 2046 5.1.1, without its line end", one(x, "--b"), vec![file("f", "x", "--b")]),
            ("RFC 2046 5.1.1, preamble", [&b"hello\r\n"[..], &one(x, "a")].concat(), vec![file("f", "x", "a")]),
            ("RFC 2046 5.1.1, epilogue", [&one(x, "a"), &b"\r\n--b\r\nbye"[..]].concat(), vec![file("f", "x", "a")]),
            (
                "RFC 2046 5.1.1, padding",
                b"--b \t\r\nContent-Disposition: form-data; name=f; filename=x\r\n\r\na\r\n--b-- ".to_vec(),
                vec![file("f", "x", "a")],
            ),
            ("HTML 4.10.21.8, no entries", b"--b--\r\n".to_vec(), vec![]),
            ("RFC 7578 4.4", one(&format!("content-type: text/plain\r\n{x}"), "a"), vec![file("f", "x", "a")]),
            ("RFC 7578 4.7", one(&format!("{x}\r\nContent-Transfer-Encoding: binary"), "a"), vec![file("f", "x", "a")]),
            (
                "RFC 7578 4.2, not filename*",
                one(&format!("{x}; filename*=UTF-8''evil"), "a"),
                vec![file("f", "x", "a")],
            ),
            (
                "a field",
                one("Content-Disposition: form-data; name=f", "a"),
                vec![(FormEntry { name: b"f".to_vec(), file_name: None }, b"a".to_vec())],
            ),
            (
                "HTML 4.10.21.4, nothing chosen",
                one("Content-Disposition: form-data; name=f; filename=\"\"", ""),
                vec![(FormEntry { name: b"f".to_vec(), file_name: None }, vec![])],
            ),
        ] {
            assert_eq!(entries(&bytes).unwrap(), want, "{clause}");
        }
    }

    #[test]
    fn file_names_are_as_browsers_write_them() {
        for (clause, written, want) in [
            ("RFC 7578 5.1, UTF-8 as it is", "\"\u{e9}\u{65e5}.txt\"", "\u{e9}\u{65e5}.txt"),
            ("HTML 4.10.21.8, quote", "\"a%22b\"", "a\"b"),
            ("HTML 4.10.21.8, line ends", "\"a%0D%0ab\"", "a\r\nb"),
            ("HTML 4.10.21.8, and nothing else", "\"100%20%2F%\"", "100%20%2F%"),
            ("a semicolon", "\"a; filename=b\"", "a; filename=b"),
            ("a backslash is a byte like others", "\"a\\b\\\"", "a\\b\\"),
            ("an older client's quote", "\"a\\\"b\"", "a\"b"),
            ("a token", "x.txt", "x.txt"),
        ] {
            let bytes =
                format!("--b\r\nContent-Disposition: form-data; name=f; filename={written}; a=b\r\n\r\n\r\n--b--");
            assert_eq!(entries(bytes.as_bytes()).unwrap(), [file("f", want, "")], "{clause}");
        }
        // Any bytes but those that end a line.
        let bytes = b"--b\r\nContent-Disposition: form-data; name=f; filename=\"\xff\xfe\"\r\n\r\n\r\n--b--";
        assert_eq!(entries(bytes).unwrap()[0].0.file_name, Some(b"\xff\xfe".to_vec()));
    }

    #[test]
    fn what_is_malformed_is_refused_and_says_why() {
        let form = |head: &str| format!("--b\r\n{head}\r\n\r\na\r\n--b--\r\n").into_bytes();
        let x = "Content-Disposition: form-data; name=f; filename=x";
        let many = "X: y\r\n".repeat(ENTRY_FIELDS_MAX) + x;
        for (clause, bytes, why) in [
            ("RFC 2046 5.1.1, no delimiter", b"hello".to_vec(), "broke off"),
            ("empty", vec![], "broke off"),
            (
                "RFC 2046 5.1.1, another line end",
                b"--b\nContent-Disposition: form-data; name=f\n\na\n--b--\n".to_vec(),
                "followed by",
            ),
            ("RFC 2046 5.1.1, a boundary that goes on", b"--bc\r\n".to_vec(), "followed by"),
            ("RFC 2046 5.1.1, behind the last", b"--b--x".to_vec(), "followed by"),
            ("padding", format!("--b{}\r\n", " ".repeat(65)).into_bytes(), "over the limit of 64"),
            ("a long preamble", [vec![b'x'; FORM_MARGIN_LEN_MAX + 1], b"\r\n--b--".to_vec()].concat(), "preamble"),
            ("a long epilogue", [b"--b--\r\n".to_vec(), vec![b'x'; FORM_MARGIN_LEN_MAX + 1]].concat(), "epilogue"),
            ("RFC 7578 4.2, required", form("Content-Type: text/plain"), "no Content-Disposition"),
            ("RFC 7578 4.2, no head", b"--b\r\n\r\na\r\n--b--".to_vec(), "no Content-Disposition"),
            ("RFC 7578 4.2, form-data", form("Content-Disposition: attachment; name=f"), "not form-data"),
            ("RFC 7578 4.2, name", form("Content-Disposition: form-data; filename=x"), "no name"),
            ("two names", form(&format!("{x}; filename=y")), "two names"),
            ("two heads", form(&format!("{x}\r\n{x}")), "two Content-Dispositions"),
            ("RFC 7578 4.7, encoded", form(&format!("{x}\r\nContent-Transfer-Encoding: base64")), "encoded"),
            (
                "RFC 7578 4.3, nested",
                form(&format!("{x}\r\nContent-Type: multipart/mixed; boundary=c")),
                "multipart of its own",
            ),
            ("RFC 9112 5.2, folded", form("Content-Disposition: form-data;\r\n name=f"), "no field"),
            ("RFC 9112 5.1, blank before the colon", form("Content-Disposition : form-data; name=f"), "no field"),
            ("a bare line end", form("Content-Disposition: form-data; name=\"f\nx\""), "no field"),
            ("NUL", form("Content-Disposition: form-data; name=f; filename=\"a\0b\""), "no field"),
            ("no end of a quote", form("Content-Disposition: form-data; name=\"f"), "NAME=VALUE"),
            ("something behind a quote", form("Content-Disposition: form-data; name=\"f\"x"), "NAME=VALUE"),
            ("a path", form("Content-Disposition: form-data; name=f; filename=\"a/b\""), "not one name"),
            ("up", form("Content-Disposition: form-data; name=f; filename=\"..\""), "not one name"),
            ("many fields", form(&many), "over the limit of 16"),
            ("a long head", form(&format!("{x}\r\nX: {}", "y".repeat(ENTRY_HEAD_LEN_MAX))), "over the limit of 8192"),
        ] {
            for step in [1, 4096] {
                let (_, ended) = read(&bytes, "b", step);
                let said = ended.unwrap_err().to_string();
                assert!(said.contains(why), "{clause}: {said}");
            }
        }
        let entry = "--b\r\nContent-Disposition: form-data; name=f\r\n\r\n\r\n";
        let many = entry.repeat(FORM_ENTRIES_MAX + 1) + "--b--";
        assert!(entries(many.as_bytes()).unwrap_err().contains("over the limit of 10000"));
    }

    #[test]
    fn once_refused_it_stays_refused() {
        let boundary = Boundary(b"b".to_vec());
        let mut form = FormReader::new(&b"--b\r\nno field\r\n\r\na\r\n--b--"[..], &boundary);
        assert!(form.next_entry().is_err());
        assert!(form.next_entry().is_err() && form.piece().is_err());
    }

    /// A form of these contents.
    fn form_of(contents: &[Vec<u8>], boundary: &str) -> Vec<u8> {
        let mut form = b"preamble\r\n".to_vec();
        for (at, content) in contents.iter().enumerate() {
            let head = format!("--{boundary}\r\nContent-Disposition: form-data; name=f; filename=\"{at}\"\r\n\r\n");
            form.extend_from_slice(head.as_bytes());
            form.extend_from_slice(content);
            form.extend_from_slice(b"\r\n");
        }
        form.extend_from_slice(format!("--{boundary}--").as_bytes());
        form
    }

    /// Contents that are made of pieces of a delimiter.
    fn contents() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let bits =
            prop::sample::select(vec![&b"\r"[..], b"\n", b"\r\n", b"-", b"--", b"\r\n--", b"\r\n--bou", b"bou", b"x"]);
        let content = prop::collection::vec(bits, 0..40).prop_map(|bits| bits.concat());
        prop::collection::vec(content, 0..5)
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_entries(contents in contents(), step in 1_usize..100) {
            let form = form_of(&contents, "bound");
            let (found, ended) = read(&form, "bound", step);
            prop_assert!(ended.is_ok());
            prop_assert_eq!(found.into_iter().map(|(_, content)| content).collect::<Vec<_>>(), contents);
        }

        #[test]
        fn every_cut_is_an_error_and_what_was_whole_before_it_is_whole(contents in contents(), step in 1_usize..100) {
            let form = form_of(&contents, "bound");
            for cut in 0..form.len() {
                let (found, ended) = read(&form[..cut], "bound", step);
                prop_assert!(ended.is_err(), "{}", cut);
                prop_assert!(found.iter().zip(&contents).all(|((_, found), sent)| found == sent));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, step in 1_usize..100) {
            let (_, _) = read(&bytes, "b", step);
            let (_, _) = read(&[&b"--b\r\n"[..], &bytes].concat(), "b", step);
            let disposition = b"--b\r\nContent-Disposition: form-data; ";
            let (_, _) = read(&[&disposition[..], &bytes, b"\r\n\r\n\r\n--b--"].concat(), "b", step);
            drop(Boundary::of(&[&b"multipart/form-data; "[..], &bytes].concat()));
        }
    }

    /// The end of each entry is found in time that grows with its length alone.
    #[test]
    fn large_contents_come_in_large_pieces() {
        let content = vec![b'\r'; 3 << 20];
        let form = form_of(std::slice::from_ref(&content), "bound");
        let boundary = Boundary(b"bound".to_vec());
        let mut form = FormReader::new(&form[..], &boundary);
        form.next_entry().unwrap().unwrap();
        let (mut pieces, mut len) = (0, 0);
        loop {
            let piece = form.piece().unwrap();
            if piece.is_empty() {
                break;
            }
            (pieces, len) = (pieces + 1, len + piece.len());
        }
        assert_eq!(len, content.len());
        assert!(pieces < 20, "{pieces}");
        assert_eq!(form.next_entry().unwrap(), None);
    }
}
