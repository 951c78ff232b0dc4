//! The head of a response: bytes become a status and fields, and these say where the body ends.
//!
//! Strict where a doubt about the framing would let one response pass for another: two lengths, a length that is no
//! number, an encoding that was not requested are errors. Lenient where the web is and nothing depends on it: a line
//! may end with LF alone (RFC 9112, 2.2), a reason may be missing (RFC 9112, 4), and a field that goes on in the next
//! line is joined (RFC 9112, 5.2, which obliges a user agent to do that).

use ::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use httparse::{Header, ParserConfig, Status};

use crate::http::body::BodyLength;

/// Longest head of a response, in bytes: browsers take 256 KiB, servers send 8 at most.
pub const RESPONSE_HEAD_LEN_MAX: usize = 128 * 1024;
/// Fields of one response.
pub const RESPONSE_FIELDS_MAX: usize = 256;

/// The head of a response.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub minor_version: u8,
    /// The status.
    pub status: StatusCode,
    /// The fields.
    pub headers: HeaderMap,
    /// Its lines as they came, for a person who wants to see them.
    pub lines: Vec<Vec<u8>>,
}

/// What came is not the head of a response, or does not say where the response ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// It does not begin as a response does.
    #[error("what answers there does not speak HTTP/1.1 (it began with {began:?})")]
    NotHttp {
        /// The first bytes.
        began: String,
    },
    /// A part of it breaks the rules.
    #[error("the head of the response is malformed: {0}")]
    Malformed(String),
    /// It does not end.
    #[error("the head of the response has more than {RESPONSE_HEAD_LEN_MAX} bytes")]
    TooLong,
    /// It has too many fields.
    #[error("the head of the response has more than {RESPONSE_FIELDS_MAX} fields")]
    TooMany,
    /// It does not say clearly where the body ends.
    #[error("the response does not say clearly where its body ends: {0}")]
    Framing(String),
}

impl ResponseHead {
    /// Parses what has come so far: the head and its length in bytes; `None`: more must come.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, HeadError> {
        check_beginning(bytes)?;
        let mut fields = [httparse::EMPTY_HEADER; RESPONSE_FIELDS_MAX];
        let mut response = httparse::Response::new(&mut fields);
        let mut config = ParserConfig::default();
        config.allow_obsolete_multiline_headers_in_responses(true);
        let parsed = config.parse_response(&mut response, bytes).map_err(|error| match error {
            httparse::Error::TooManyHeaders => HeadError::TooMany,
            other => HeadError::Malformed(other.to_string()),
        })?;
        let Status::Complete(len) = parsed else {
            return if bytes.len() >= RESPONSE_HEAD_LEN_MAX { Err(HeadError::TooLong) } else { Ok(None) };
        };
        if len > RESPONSE_HEAD_LEN_MAX {
            return Err(HeadError::TooLong);
        }
        let malformed = |what: &str| HeadError::Malformed(what.to_owned());
        let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.filter(|status| status.as_u16() < 600).ok_or_else(|| malformed("status"))?;
        let headers = fields_of(response.headers)?;
        let minor_version = response.version.ok_or_else(|| malformed("version"))?;
        let lines = lines_of(bytes.get(..len).unwrap_or_default());
        Ok(Some((Self { minor_version, status, headers, lines }, len)))
    }

    /// Where the body of this response to a request of `method` ends (RFC 9112, 6.3).
    ///
    /// # Errors
    /// [`HeadError::Framing`].
    pub fn body_length(&self, method: &Method) -> Result<BodyLength, HeadError> {
        let framing = |why: String| Err(HeadError::Framing(why));
        // Clauses 1 and 2: whatever the fields say, which is about another response.
        let has_none = self.status.is_informational()
            || matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || method == Method::HEAD
            || (method == Method::CONNECT && self.status.is_success());
        if has_none {
            return Ok(BodyLength::None);
        }
        let mut codings = self.headers.get_all(TRANSFER_ENCODING).iter();
        if let Some(coding) = codings.next() {
            let shown = || String::from_utf8_lossy(coding.as_bytes()).into_owned();
            // Clause 3 lets the encoding win and calls it an attack perhaps: here it is an error.
            if self.headers.contains_key(CONTENT_LENGTH) {
                return framing("it has both a length and an encoding (RFC 9112, 6.3)".to_owned());
            }
            if self.minor_version == 0 {
                return framing("HTTP/1.0 has no transfer encodings (RFC 9112, 6.1)".to_owned());
            }
            if codings.next().is_some() || !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") {
                // No other one was requested (RFC 9112, 7.4).
                return framing(format!("its transfer encoding is {:?}, where only chunked is known", shown()));
            }
            return Ok(BodyLength::Chunked);
        }
        match self.content_length()? {
            Some(len) => Ok(BodyLength::Known(len)),
            None => Ok(BodyLength::ToEnd),
        }
    }

    /// Clause 5: several are one if they agree.
    fn content_length(&self) -> Result<Option<u64>, HeadError> {
        let mut found = None;
        let values = self.headers.get_all(CONTENT_LENGTH).iter();
        for value in values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')) {
            let value = value.trim_ascii();
            let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            let text = String::from_utf8_lossy(value);
            let Some(len) = text.parse::<u64>().ok().filter(|_| is_number) else {
                return Err(HeadError::Framing(format!("its length {text:?} is no number of bytes")));
            };
            if found.is_some_and(|found| found != len) {
                return Err(HeadError::Framing("it has several lengths, which differ".to_owned()));
            }
            found = Some(len);
        }
        Ok(found)
    }

    /// The first value of a field, as text.
    pub fn text(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether the connection can carry another exchange after this one (RFC 9112, 9.3).
    pub fn keeps_alive(&self) -> bool {
        let connection = self.headers.get_all(::http::header::CONNECTION).iter();
        let mut options = connection.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
        self.minor_version >= 1 && !options.any(|option| option.trim().eq_ignore_ascii_case("close"))
    }
}

/// What does not begin as a response does is refused at once, before a line of it ends.
fn check_beginning(bytes: &[u8]) -> Result<(), HeadError> {
    // RFC 9112, 2.2: a client that is robust ignores an empty line in front of the status line, and httparse does so.
    let bytes = bytes.trim_ascii_start();
    let begin = b"HTTP/1.";
    if begin.starts_with(bytes.get(..begin.len()).unwrap_or(bytes)) {
        return Ok(());
    }
    let began = bytes.get(..16).unwrap_or(bytes);
    Err(HeadError::NotHttp { began: String::from_utf8_lossy(began).into_owned() })
}

fn fields_of(fields: &[Header<'_>]) -> Result<HeaderMap, HeadError> {
    let mut headers = HeaderMap::new();
    for field in fields {
        let malformed = || HeadError::Malformed(format!("field {:?}", field.name));
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_bad| malformed())?;
        let value = unfolded(field.value);
        let value = HeaderValue::from_bytes(value.trim_ascii()).map_err(|_bad| malformed())?;
        headers.try_append(name, value).map_err(|_full| HeadError::TooMany)?;
    }
    Ok(headers)
}

/// RFC 9112, 5.2: each line end within a value is replaced by a blank.
fn unfolded(value: &[u8]) -> Vec<u8> {
    value.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect()
}

fn lines_of(head: &[u8]) -> Vec<Vec<u8>> {
    let lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec());
    let mut lines: Vec<_> = lines.skip_while(Vec::is_empty).collect();
    while lines.last().is_some_and(Vec::is_empty) {
        lines.pop();
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(head: &str) -> Result<ResponseHead, HeadError> {
        ResponseHead::parse(head.as_bytes()).map(|parsed| parsed.expect("it is complete").0)
    }

    fn length(head: &str, method: &Method) -> Result<BodyLength, HeadError> {
        parse(head)?.body_length(method)
    }

    #[test]
    fn where_a_body_ends() {
        let get = &Method::GET;
        for (clause, head, method, want) in [
            ("6.3.1", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", &Method::HEAD, BodyLength::None),
            ("6.3.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", &Method::HEAD, BodyLength::None),
            ("6.3.1", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", get, BodyLength::None),
            ("6.3.1", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", get, BodyLength::None),
            ("6.3.1", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", get, BodyLength::None),
            ("6.3.2", "HTTP/1.1 200 OK\r\n\r\n", &Method::CONNECT, BodyLength::None),
            ("6.3.4", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked \r\n\r\n", get, BodyLength::Chunked),
            ("6.3.5", "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", get, BodyLength::Known(5)),
            ("6.3.5", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\n", get, BodyLength::Known(5)),
            ("6.3.6", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", get, BodyLength::Known(0)),
            ("6.3.8", "HTTP/1.1 200 OK\r\n\r\n", get, BodyLength::ToEnd),
            ("6.3.8", "HTTP/1.0 200 OK\r\n\r\n", get, BodyLength::ToEnd),
            ("4", "HTTP/1.1 200\r\nContent-Length: 1\r\n\r\n", get, BodyLength::Known(1)),
            ("2.2", "HTTP/1.1 200 OK\nContent-Length: 1\n\n", get, BodyLength::Known(1)),
            ("5.2", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 1\r\n\r\n", get, BodyLength::Known(1)),
        ] {
            assert_eq!(length(head, method), Ok(want), "RFC 9112, {clause}: {head:?}");
        }
    }

    #[test]
    fn what_is_in_doubt_is_an_error() {
        for (clause, head) in [
            ("6.3.3", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
            ("6.1", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
            ("7.4", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
            ("7.4", "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n"),
            ("6.3.4", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
            ("6.3.5", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"),
            ("6.3.5", "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n"),
            ("6.3.5", "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"),
            ("6.3.5", "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n"),
            ("6.3.5", "HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\n"),
            ("6.3.5", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n"),
            ("6.3.5", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n"),
            ("6.3.5", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n 2\r\n\r\n"),
            ("5.1", "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n"),
            ("5", "HTTP/1.1 200 OK\r\nContent-Length 5\r\n\r\n"),
            ("2.2", "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n"),
            ("5", "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n"),
            ("2.3", "HTTP/2.0 200 OK\r\n\r\n"),
            ("4", "HTTP/1.1 20 OK\r\n\r\n"),
            ("4", "HTTP/1.1 999 OK\r\n\r\n"),
            ("4", "HTTP/1.1 099 OK\r\n\r\n"),
            ("4", "SSH-2.0-OpenSSH\r\n\r\n"),
            ("4", "\u{1f}\u{8b}"),
        ] {
            let parsed = ResponseHead::parse(head.as_bytes());
            let judged = parsed.and_then(|parsed| parsed.expect("complete").0.body_length(&Method::GET));
            assert!(judged.is_err(), "RFC 9112, {clause}: {head:?} gives {judged:?}");
        }
    }

    #[test]
    fn a_head_comes_a_byte_at_a_time_and_never_without_end() {
        let head = b"HTTP/1.1 200 OK\r\nServer: x\r\nETag: \"y\"\r\n\r\nbody";
        for end in 0..head.len() - 4 {
            assert!(ResponseHead::parse(&head[..end]).unwrap().is_none(), "{end}");
        }
        let (parsed, len) = ResponseHead::parse(head).unwrap().unwrap();
        assert_eq!((len, parsed.lines.len()), (head.len() - 4, 3));
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(RESPONSE_HEAD_LEN_MAX));
        assert_eq!(ResponseHead::parse(endless.as_bytes()).unwrap_err(), HeadError::TooLong);
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(RESPONSE_FIELDS_MAX + 1));
        assert_eq!(ResponseHead::parse(many.as_bytes()).unwrap_err(), HeadError::TooMany);
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_is_a_head_or_an_error(
            start in proptest::sample::select(vec!["HTTP/1.1 200 OK\r\n", "HTTP/1.0 404\n", "HTTP/1.", ""]),
            rest in proptest::collection::vec(proptest::sample::select(b"\r\n\t :;,=aZ09\0\x80\xff".to_vec()), 0..200),
        ) {
            let bytes = [start.as_bytes(), &rest].concat();
            if let Ok(Some((head, len))) = ResponseHead::parse(&bytes) {
                assert!(len <= bytes.len() && head.status.as_u16() >= 100);
                drop(head.body_length(&Method::GET));
            }
        }
    }

    #[test]
    fn a_connection_is_kept_only_where_both_ends_would() {
        for (head, keeps) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nConnection: x, Close\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", false),
        ] {
            assert_eq!(parse(head).unwrap().keeps_alive(), keeps, "{head:?}");
        }
    }
}
