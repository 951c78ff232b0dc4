//! Detects by its shape whether a stream of bytes is an HTTP request.
//!
//! A web page can make a browser send an HTTP request with any method, any target and any body to any port, also to a
//! name of its own that now resolves to this machine. So the shape counts, not a list of methods: a first line of word,
//! blank, target, blank, `HTTP/`, or a Host or Origin header anywhere.

/// Length of an unfinished first line, in bytes, from which it is not a complete command. A browser writes a request at
/// once and TCP cuts it into segments; all but the last have at least 524 bytes (RFC 9293, 3.7.1: 536, of which 12 may
/// be options).
pub const OPEN_LEN_MAX: usize = 512;

/// The beginning of the third word of a request line.
const VERSION: &[u8] = b"HTTP/";
/// Length of the longest header name that is looked for, `origin`.
const NAME_LEN_MAX: usize = 6;

/// The state of the detection for a connection, or for one request. Its size is constant.
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpShape {
    first_line: FirstLine,
    /// Length of the first line, in bytes.
    len: usize,
    /// Whether its second word begins like a path.
    has_path: bool,
    name: HeaderName,
    is_http: bool,
    has_nul: bool,
}

/// The position of the last byte in the first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum FirstLine {
    /// Before the first line: blanks and line ends.
    #[default]
    Before,
    /// In this word, counted from 1, with the number of bytes of [`VERSION`] that have matched; `None`: it is another
    /// word.
    Word(u32, Option<usize>),
    /// After this word; whether it was a version.
    Gap(u32, bool),
    /// After the first line.
    Over,
}

/// The name of a header after a line end.
#[derive(Debug, Clone, Copy, Default)]
struct HeaderName {
    bytes: [u8; NAME_LEN_MAX],
    /// Length of the name so far; `None`: this position is not in a name.
    len: Option<usize>,
}

impl HttpShape {
    /// The shape of these bytes alone.
    pub fn of(bytes: &[u8]) -> Self {
        let mut shape = Self::default();
        shape.push(bytes);
        shape
    }

    /// Processes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.has_nul |= byte == 0;
            self.first_line(byte);
            self.header(byte);
        }
    }

    /// Whether this is an HTTP request, as far as it has arrived.
    pub const fn is_http(&self) -> bool {
        self.is_http
    }

    /// Whether there was a NUL, which text does not contain.
    pub const fn has_nul(&self) -> bool {
        self.has_nul
    }

    /// Whether the first line has not ended and could still become a request line.
    pub fn is_open(&self) -> bool {
        !self.is_http
            && match self.first_line {
                FirstLine::Before => true,
                FirstLine::Word(number, matched) => number < 3 || (number == 3 && matched.is_some()),
                FirstLine::Gap(number, _) => number < 3,
                FirstLine::Over => false,
            }
    }

    /// Whether the first line is unfinished and too long for a complete request: a word alone, or a word and a path.
    pub fn is_cut_off(&self) -> bool {
        let has_one_word = matches!(self.first_line, FirstLine::Before | FirstLine::Word(1, _) | FirstLine::Gap(1, _));
        self.is_open() && self.len > OPEN_LEN_MAX && (has_one_word || self.has_path)
    }

    fn first_line(&mut self, byte: u8) {
        if self.first_line == FirstLine::Over {
            return;
        }
        self.len = self.len.saturating_add(1);
        self.first_line = match (self.first_line, byte) {
            (FirstLine::Before, byte) if is_blank(byte) || is_line_end(byte) => FirstLine::Before,
            (FirstLine::Before, byte) => self.word(1, Some(0), byte),
            (FirstLine::Word(number, matched), byte) if is_blank(byte) => {
                FirstLine::Gap(number, matched.is_some_and(|matched| matched >= VERSION.len()))
            }
            (FirstLine::Word(number, matched), b'\r') if matched.is_some_and(|matched| matched >= VERSION.len()) => {
                self.end_with_version(number)
            }
            (FirstLine::Gap(number, true), b'\r') => self.end_with_version(number),
            (_, byte) if is_line_end(byte) => FirstLine::Over,
            (FirstLine::Word(number, matched), byte) => self.word(number, matched, byte),
            (gap @ FirstLine::Gap(..), byte) if is_blank(byte) => gap,
            (FirstLine::Gap(number, _), byte) => {
                let number = number.saturating_add(1);
                self.has_path |= number == 2 && byte == b'/';
                self.word(number, Some(0), byte)
            }
            (FirstLine::Over, _) => FirstLine::Over,
        };
    }

    /// The next byte of a word.
    fn word(&mut self, number: u32, matched: Option<usize>, byte: u8) -> FirstLine {
        let matched = matched.and_then(|matched| match VERSION.get(matched) {
            Some(expected) => expected.eq_ignore_ascii_case(&byte).then_some(matched.saturating_add(1)),
            None => Some(matched),
        });
        self.is_http |= number == 3 && matched.is_some_and(|matched| matched >= VERSION.len());
        FirstLine::Word(number, matched)
    }

    /// Ends a line whose last word is a version, as in HTTP: blanks in the target do not matter.
    const fn end_with_version(&mut self, number: u32) -> FirstLine {
        self.is_http |= number >= 3;
        FirstLine::Over
    }

    /// `Host:` or `Origin:` at the beginning of a line that is not the first.
    fn header(&mut self, byte: u8) {
        if is_line_end(byte) {
            self.name = HeaderName { len: Some(0), ..HeaderName::default() };
            return;
        }
        let Some(len) = self.name.len else { return };
        let name = self.name.bytes.get(..len).unwrap_or_default();
        if byte == b':' {
            self.is_http |= name == b"host" || name == b"origin";
            self.name.len = None;
        } else if is_blank(byte) && len > 0 {
            // Some servers accept a blank before the colon.
        } else if let Some(place) = self.name.bytes.get_mut(len) {
            *place = byte.to_ascii_lowercase();
            self.name.len = Some(len.saturating_add(1));
        } else {
            self.name.len = None;
        }
    }
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0b | 0x0c)
}

const fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_known_by_its_shape() {
        for http in [
            "GET / HTTP/1.1\r\n",
            "PROPFIND /x?;touch$IFS/tmp/pwn; HTTP/1.1\r\nHost: x\r\n\r\n",
            "patch / HTTP/1.1",
            "M4DE-up! * HTTP/",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "\r\n\r\nPOST / HTTP/1.1\r\n",
            " \t POST\t/\tHTTP/1.0",
            "GET  http://x/  http/1.1",
            "GET /a b c HTTP/1.1\r\n",
            "GET /a b c HTTP/1.1 \r\n",
            "anything\r\nHost: x",
            "anything at all\nhost:x",
            "a\r\nb: c\r\nORIGIN: null",
            "a\r\norigin : null",
            "收到 / HTTP/1.1",
        ] {
            assert!(HttpShape::of(http.as_bytes()).is_http(), "{http:?}");
            let mut slowly = HttpShape::default();
            http.bytes().for_each(|byte| slowly.push(&[byte]));
            assert!(slowly.is_http(), "{http:?}, byte by byte");
        }
    }

    #[test]
    fn commands_and_names_are_left_alone() {
        for text in [
            "ls",
            "ls -l",
            "cat /etc/passwd",
            "curl -sI localhost | grep HTTP/1.1",
            "curl -H 'Host: x' http://localhost/",
            "printf 'GET / HTTP/1.0\\r\\nHost: x\\r\\n\\r\\n' | nc localhost 80",
            "echo HTTP/1.1",
            "HTTP/1.1 200 OK",
            "grep HTTP/1.1 access.log",
            "a\nhostname: x",
            "a\nxhost: x",
            "host: x",
            "目录/数.txt",
            "",
        ] {
            let shape = HttpShape::of(text.as_bytes());
            assert!(!shape.is_http() && !shape.is_cut_off(), "{text:?}");
        }
    }

    #[test]
    fn what_could_still_become_a_request_line_is_open() {
        for open in ["", "\r\n", "P", "POST", "POST ", "POST /", "POST /x", "POST /x ", "POST /x HTTP"] {
            assert!(HttpShape::of(open.as_bytes()).is_open(), "{open:?}");
        }
        for closed in ["ls\n", "ls -l\r\n", "cat a b", "POST / HTTP/", "POST / HTXP"] {
            assert!(!HttpShape::of(closed.as_bytes()).is_open(), "{closed:?}");
        }
    }

    #[test]
    fn a_segment_of_something_longer_is_told_from_a_whole_command() {
        let long = "a".repeat(OPEN_LEN_MAX);
        for (cut_off, want) in [
            (format!("X|touch$IFS$9pwned|{long}"), true),
            (format!("PROPFIND /;touch$IFS/tmp/pwn;{long}"), true),
            (format!("\r\n{long}"), true),
            (format!("echo {long}"), false),
            (format!("cat /tmp/x {long}"), false),
            (format!("cat /{}", "a".repeat(OPEN_LEN_MAX - 5)), false),
        ] {
            assert_eq!(HttpShape::of(cut_off.as_bytes()).is_cut_off(), want, "{cut_off}");
        }
    }

    #[test]
    fn a_nul_is_seen() {
        assert!(HttpShape::of(b"a\0b").has_nul() && !HttpShape::of(b"ab").has_nul());
    }
}
