//! The head of a request: bytes to words, strictly (RFC 9112, 2 to 6).
//!
//! Two programs that read the same bytes in two ways are how requests are smuggled. So what the standard lets a server
//! repair is refused here, and the connection ends with it.

use ::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ::http::uri::Authority;
use ::http::{Method, StatusCode};

use super::body::BodyLength;
use super::target::Target;

/// Longest head that is read, in bytes: a browser with many cookies sends 8 KiB.
pub const HEAD_LEN_MAX: usize = 32 * 1024;
/// Most header lines of a message.
pub const HEADER_LINES_MAX: usize = 100;

/// The version of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0: one request a connection, unless it says otherwise.
    Http10,
    /// HTTP/1.1. A higher minor version is read as this one (RFC 9110, 2.5).
    Http11,
}

/// A request without its body.
#[derive(Debug, Clone)]
pub struct RequestHead {
    /// What to do.
    pub method: Method,
    /// With what.
    pub target: Target,
    /// The version.
    pub version: Version,
    /// The headers.
    pub headers: HeaderMap,
    /// Host and port that the client means; `None`: a request of HTTP/1.0 that does not say.
    pub authority: Option<Authority>,
    /// How the body is delimited.
    pub body: BodyLength,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// Whether the connection stays open behind the answer, as far as the client is concerned.
    pub is_persistent: bool,
}

/// A head that is refused, with the status that answers it. The connection cannot be kept in step behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct HeadError {
    /// The status of the answer.
    pub status: StatusCode,
    /// What is wrong.
    pub why: &'static str,
}

const fn bad(why: &'static str) -> HeadError {
    HeadError { status: StatusCode::BAD_REQUEST, why }
}

const fn unsupported(status: StatusCode, why: &'static str) -> HeadError {
    HeadError { status, why }
}

/// Length of the head that `bytes` begin with, its empty line and blank lines in front included; `None`: it is not
/// whole yet.
///
/// # Errors
/// It will not become one: a line end that is not CR LF, or too long.
pub fn head_len(bytes: &[u8]) -> Result<Option<usize>, HeadError> {
    // RFC 9112, 2.2: empty lines in front of a request are ignored.
    let blank = leading_blank(bytes);
    let (mut after_end, mut at) = (blank, blank);
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(found) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else { break };
        at += found;
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(b'\n'), _) => return Err(bad("a line ends with LF alone; it ends with CR LF")),
            (_, None) => break,
            (_, Some(b'\n')) => {}
            (_, Some(_)) => return Err(bad("a CR stands alone; a line ends with CR LF")),
        }
        let is_empty_line = at == after_end;
        at += 2;
        after_end = at;
        if is_empty_line {
            return if at - blank > HEAD_LEN_MAX { Err(too_long(bytes, blank)) } else { Ok(Some(at)) };
        }
    }
    if bytes.len() - blank.min(bytes.len()) > HEAD_LEN_MAX || blank > BLANK_LEN_MAX {
        return Err(too_long(bytes, blank));
    }
    Ok(None)
}

/// Bytes of empty lines in front of a request line that are ignored.
const BLANK_LEN_MAX: usize = 8;

/// Of the request line or of the headers, whichever it is that does not end (RFC 9112, 3; RFC 6585, 5).
fn too_long(bytes: &[u8], blank: usize) -> HeadError {
    let is_line_whole = bytes.iter().skip(blank).take(HEAD_LEN_MAX).any(|byte| *byte == b'\r');
    if is_line_whole {
        unsupported(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the head is longer than 32 KiB")
    } else {
        unsupported(StatusCode::URI_TOO_LONG, "the request line is longer than 32 KiB")
    }
}

fn leading_blank(bytes: &[u8]) -> usize {
    let mut len = 0;
    while bytes.get(len..len + 2) == Some(b"\r\n") && len < BLANK_LEN_MAX {
        len += 2;
    }
    len
}

impl RequestHead {
    /// Reads a whole head, as [`head_len`] has measured it.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, HeadError> {
        let bytes = bytes.get(leading_blank(bytes)..).unwrap_or_default();
        let end = bytes.iter().position(|byte| *byte == b'\r').unwrap_or(bytes.len());
        let (line, lines) = bytes.split_at(end);
        let (method, target, version) = request_line(line)?;
        if method == Method::CONNECT {
            // RFC 9110, 9.3.6: an answer that looked like success would begin a tunnel.
            return Err(unsupported(StatusCode::NOT_IMPLEMENTED, "CONNECT is for proxies, and this is none"));
        }
        let headers = parse_headers(lines.get(2..).unwrap_or_default())?;
        let target = Target::parse(&method, target).map_err(|error| match error {
            super::target::TargetError::Form => bad("the target is neither a path nor a URL of HTTP"),
            super::target::TargetError::Method => bad("this form of the target is not for this method"),
            super::target::TargetError::Percent => {
                bad("the target has a percent sign without two hexadecimal digits; send %25 for the sign itself")
            }
        })?;
        let authority = authority_of(&headers, &target, version)?;
        let body = body_length(&headers, version)?;
        let expects_continue = expects_continue(&headers, version)?;
        let says = |what: &str| tokens(&headers, &header::CONNECTION).any(|token| token.eq_ignore_ascii_case(what));
        let is_persistent = !says("close") && (version == Version::Http11 || says("keep-alive"));
        Ok(Self { method, target, version, headers, authority, body, expects_continue, is_persistent })
    }

    /// The value of a header that may be there once, as text. `None`: it is not there, or is no visible ASCII.
    pub fn text(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// `METHOD SP target SP HTTP/1.1` (RFC 9112, 3): one blank each, no more.
fn request_line(line: &[u8]) -> Result<(Method, &[u8], Version), HeadError> {
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), version, None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Err(bad("the request line is not METHOD, target and version with one blank between"));
    };
    let Some(version) = version else { return Err(bad("the request line has no version: HTTP/0.9 is not spoken")) };
    let version = match version {
        b"HTTP/1.0" => Version::Http10,
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9'] => Version::Http11,
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            return Err(unsupported(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "the version is not HTTP/1.1 or HTTP/1.0"));
        }
        _ => return Err(bad("the request line ends with no version, such as HTTP/1.1")),
    };
    let method = Method::from_bytes(method).map_err(|_invalid| bad("the method is no token"))?;
    // RFC 3986 allows visible ASCII; what people type beyond that comes as it is from many programs.
    if target.is_empty() {
        return Err(bad("there is more than one blank behind the method"));
    }
    if target.iter().any(|byte| matches!(byte, 0..=b' ' | 0x7f)) {
        return Err(bad("the target has a control character"));
    }
    Ok((method, target, version))
}

/// Header lines up to the empty one (RFC 9112, 5). A name has no blank behind it, and no line goes on in the next one.
///
/// # Errors
/// [`HeadError`].
pub fn parse_headers(lines: &[u8]) -> Result<HeaderMap, HeadError> {
    let mut parsed = [httparse::EMPTY_HEADER; HEADER_LINES_MAX];
    let parsed = match httparse::parse_headers(lines, &mut parsed) {
        Ok(httparse::Status::Complete((_, parsed))) => parsed,
        Ok(httparse::Status::Partial) => return Err(bad("a header line is not whole")),
        Err(httparse::Error::TooManyHeaders) => {
            let why = "there are more than 100 header lines";
            return Err(unsupported(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, why));
        }
        Err(_) => return Err(bad("a header line is not name, colon and value")),
    };
    let mut headers = HeaderMap::with_capacity(parsed.len());
    for line in parsed {
        let name =
            HeaderName::from_bytes(line.name.as_bytes()).map_err(|_invalid| bad("a header's name is no token"))?;
        let value =
            HeaderValue::from_bytes(line.value).map_err(|_invalid| bad("a header's value has a control character"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// RFC 9112, 3.2: exactly one Host in HTTP/1.1, and what the target says in absolute form counts before it (3.2.2).
fn authority_of(headers: &HeaderMap, target: &Target, version: Version) -> Result<Option<Authority>, HeadError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let authority = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err(bad("there is more than one Host")),
        (None, None) if version == Version::Http11 => return Err(bad("there is no Host")),
        (None, None) => None,
        (Some(host), None) => {
            let authority = Authority::try_from(host.as_bytes()).ok().filter(|host| !host.as_str().contains('@'));
            Some(authority.ok_or(bad("the Host is no host with an optional port"))?)
        }
    };
    Ok(target.authority.clone().or(authority))
}

/// RFC 9112, 6.3. What is ambiguous is refused.
fn body_length(headers: &HeaderMap, version: Version) -> Result<BodyLength, HeadError> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let length = match (lengths.next(), lengths.next()) {
        (_, Some(_)) => return Err(bad("there is more than one Content-Length")),
        (None, None) => None,
        (Some(length), None) => Some(digits(length.as_bytes()).ok_or(bad("the Content-Length is no number"))?),
    };
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next(), length) {
        (_, Some(_), _) => Err(bad("there is more than one Transfer-Encoding")),
        (None, None, length) => Ok(length.map_or(BodyLength::None, BodyLength::Known)),
        (Some(_), None, Some(_)) => Err(bad("there are both Transfer-Encoding and Content-Length")),
        (Some(_), None, None) if version == Version::Http10 => Err(bad("HTTP/1.0 has no Transfer-Encoding")),
        (Some(coding), None, None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(BodyLength::Chunked),
        (Some(coding), None, None) => {
            let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b',' | b' ');
            let ends_chunked = coding.as_bytes().to_ascii_lowercase().ends_with(b"chunked");
            if coding.as_bytes().iter().all(is_plain) && !ends_chunked {
                let why = "of the transfer encodings only chunked is understood";
                return Err(unsupported(StatusCode::NOT_IMPLEMENTED, why));
            }
            Err(bad("the Transfer-Encoding is not chunked alone"))
        }
    }
}

/// A number of digits alone: no sign, no blank. `None`: it is none, or beyond 64 bits.
pub fn digits(text: &[u8]) -> Option<u64> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| is_number).and_then(|text| text.parse().ok())
}

/// RFC 9110, 10.1.1.
fn expects_continue(headers: &HeaderMap, version: Version) -> Result<bool, HeadError> {
    let mut expected = headers.get_all(header::EXPECT).iter();
    match (expected.next(), expected.next()) {
        (None, None) => Ok(false),
        (Some(value), None) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Ok(version == Version::Http11),
        _ => Err(unsupported(StatusCode::EXPECTATION_FAILED, "of the expectations only 100-continue is understood")),
    }
}

/// The tokens of a list header, over all its lines (RFC 9110, 5.6.1).
pub fn tokens<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RequestHead, (u16, &'static str)> {
        let refused = |error: HeadError| (error.status.as_u16(), error.why);
        let len = head_len(text.as_bytes()).map_err(refused)?.expect("a whole head");
        assert_eq!(len, text.len());
        RequestHead::parse(text.as_bytes()).map_err(refused)
    }

    #[test]
    fn a_head_is_read() {
        let head = parse("\r\nPUT /a%20b?c HTTP/1.1\r\nHost:x.example:80\r\nContent-Length: 12\r\n\r\n").unwrap();
        assert_eq!((head.method.as_str(), &head.target.path[..], head.version), ("PUT", &b"/a b"[..], Version::Http11));
        assert_eq!((head.authority.unwrap().as_str(), head.body), ("x.example:80", BodyLength::Known(12)));
        assert!(head.is_persistent && !head.expects_continue);
        assert!(!parse("GET / HTTP/1.0\r\n\r\n").unwrap().is_persistent);
        assert!(parse("GET / HTTP/1.0\r\nConnection: x, Keep-Alive\r\n\r\n").unwrap().is_persistent);
        assert!(!parse("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap().is_persistent);
        assert_eq!(parse("GET http://y/ HTTP/1.1\r\nHost: x\r\n\r\n").unwrap().authority.unwrap(), "y");
    }

    #[test]
    fn a_head_is_whole_only_with_its_empty_line() {
        let whole = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        for len in 0..whole.len() {
            assert_eq!(head_len(&whole[..len]), Ok(None), "{len}");
        }
        assert_eq!(head_len(&[whole, &b"GET"[..]].concat()), Ok(Some(whole.len())));
        assert_eq!(head_len(&vec![b'a'; HEAD_LEN_MAX]), Ok(None));
        assert_ne!(head_len(&b"\r\n".repeat(100)), Ok(None));
        let long = |front: &str| [front.as_bytes(), &vec![b'a'; HEAD_LEN_MAX]].concat();
        for (front, status) in [("GET /", 414), ("GET / HTTP/1.1\r\n", 431), ("\r\nGET /", 414)] {
            assert_eq!(head_len(&long(front)).unwrap_err().status, status, "{front:?}");
            assert_eq!(head_len(&[&long(front), &b"\r\n\r\n"[..]].concat()).unwrap_err().status, status, "{front:?}");
        }
    }

    #[test]
    fn what_is_ambiguous_is_refused() {
        let with = |line: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\n");
        for (text, status) in [
            (with("Content-Length: 1\r\nTransfer-Encoding: chunked"), 400),
            (with("Content-Length: 1\r\nContent-Length: 1"), 400),
            (with("Content-Length: 1, 1"), 400),
            (with("Content-Length: +1"), 400),
            (with("Content-Length: 0x1"), 400),
            (with("Content-Length: 99999999999999999999"), 400),
            (with("Content-Length:"), 400),
            (with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), 400),
            (with("Transfer-Encoding: chunked, chunked"), 400),
            (with("Transfer-Encoding: gzip, chunked"), 400),
            (with("Transfer-Encoding: xchunked"), 400),
            (with("Transfer-Encoding: \u{b}chunked"), 400),
            (with("Transfer-Encoding: gzip"), 501),
            (with("Transfer-Encoding: identity"), 501),
            (with("Transfer-Encoding : chunked"), 400),
            (with(" folded: x"), 400),
            (with("a: b\r\n c"), 400),
            (with("a\u{0}: b"), 400),
            (with("Host: y"), 400),
            (with("Expect: 200-ok"), 417),
            ("GET / HTTP/1.1\r\n\r\n".into(), 400),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n".into(), 400),
            ("GET / HTTP/1.1\r\nHost: u@x\r\n\r\n".into(), 400),
            ("GET /\r\n\r\n".into(), 400),
            ("GET  / HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
            ("GET / HTTP/1.1 \r\nHost: x\r\n\r\n".into(), 400),
            ("GET / http/1.1\r\nHost: x\r\n\r\n".into(), 400),
            ("GET / HTTP/2.0\r\nHost: x\r\n\r\n".into(), 505),
            ("CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n".into(), 501),
            ("G(T / HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(), 400),
            (format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101)), 431),
        ] {
            assert_eq!(parse(&text).map(|head| head.body).map_err(|(status, _)| status), Err(status), "{text:?}");
        }
        for bare in
            ["GET / HTTP/1.1\nHost: x\n\n", "GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n", "\nGET", "GET / HTTP/1.1\r\r\n"]
        {
            assert_eq!(head_len(bare.as_bytes()).unwrap_err().status, 400, "{bare:?}");
        }
    }
}
