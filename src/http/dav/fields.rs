//! The fields of RFC 4918, 10 that are one value each. `If` has a [file of its own](super::if_header).

use std::time::Duration;

use ::http::header::{HeaderMap, HeaderName, HeaderValue};

/// How deep a request goes (10.2).
pub const DEPTH: HeaderName = HeaderName::from_static("depth");
/// Where a COPY or MOVE goes to (10.3).
pub const DESTINATION: HeaderName = HeaderName::from_static("destination");
/// The conditions of a request (10.4).
pub const IF: HeaderName = HeaderName::from_static("if");
/// The lock that is meant (10.5).
pub const LOCK_TOKEN: HeaderName = HeaderName::from_static("lock-token");
/// Whether what is at the destination may be replaced (10.6).
pub const OVERWRITE: HeaderName = HeaderName::from_static("overwrite");
/// How long a lock is wanted (10.7).
pub const TIMEOUT: HeaderName = HeaderName::from_static("timeout");

/// A field that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {want}")]
pub struct FieldError {
    name: &'static str,
    want: &'static str,
}

/// How deep a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The resource alone.
    Zero,
    /// And its members.
    One,
    /// And all that is below it.
    Infinity,
}

impl Depth {
    /// The depth of a request; `None`: it does not say.
    ///
    /// # Errors
    /// It says something else, or says it twice.
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>, FieldError> {
        let bad = FieldError { name: "Depth", want: "0, 1 or infinity" };
        match only(headers, &DEPTH).map_err(|()| bad)? {
            None => Ok(None),
            Some(b"0") => Ok(Some(Self::Zero)),
            Some(b"1") => Ok(Some(Self::One)),
            Some(value) if value.eq_ignore_ascii_case(b"infinity") => Ok(Some(Self::Infinity)),
            Some(_) => Err(bad),
        }
    }

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Zero => "0",
            Self::One => "1",
            Self::Infinity => "infinity",
        }
    }
}

/// Whether what is at the destination may be replaced: it may, unless the request says `F`.
///
/// # Errors
/// It says neither `T` nor `F`.
pub fn overwrites(headers: &HeaderMap) -> Result<bool, FieldError> {
    let bad = FieldError { name: "Overwrite", want: "T or F" };
    match only(headers, &OVERWRITE).map_err(|()| bad)? {
        None | Some(b"T" | b"t") => Ok(true),
        Some(b"F" | b"f") => Ok(false),
        Some(_) => Err(bad),
    }
}

/// The token of the lock that is meant; `None`: the request names none.
///
/// # Errors
/// It is no URI in angle brackets.
pub fn lock_token(headers: &HeaderMap) -> Result<Option<&str>, FieldError> {
    let bad = FieldError { name: "Lock-Token", want: "a URI in angle brackets" };
    let Some(value) = only(headers, &LOCK_TOKEN).map_err(|()| bad)? else { return Ok(None) };
    coded_url(value).filter(|(_, rest)| rest.is_empty()).map(|(token, _)| Some(token)).ok_or(bad)
}

/// How long a lock is wanted: the first time that the request names and that is understood. `None`: it names none.
/// Without end is a time beyond all limits.
pub fn timeout(headers: &HeaderMap) -> Option<Duration> {
    super::super::field::elements(headers, &TIMEOUT).find_map(|wanted| {
        if wanted.eq_ignore_ascii_case(b"infinite") {
            return Some(Duration::MAX);
        }
        let (unit, digits) = wanted.split_at_checked(b"Second-".len())?;
        let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        if !unit.eq_ignore_ascii_case(b"Second-") || !is_number {
            return None;
        }
        // More than fits is as good as without end.
        let seconds = std::str::from_utf8(digits).ok()?.parse().unwrap_or(u64::MAX);
        Some(Duration::from_secs(seconds))
    })
}

/// A URI in angle brackets at the beginning of `text`, and what is behind it.
pub(super) fn coded_url(text: &[u8]) -> Option<(&str, &[u8])> {
    let inner = text.strip_prefix(b"<")?;
    let end = inner.iter().position(|byte| *byte == b'>')?;
    let (uri, rest) = inner.split_at(end);
    let is_uri = !uri.is_empty() && uri.iter().all(|byte| matches!(byte, 0x21..=0x7e));
    let uri = std::str::from_utf8(uri).ok().filter(|_| is_uri)?;
    Some((uri, rest.split_at(1).1))
}

/// The value of a field that comes once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h [u8]>, ()> {
    let mut values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let value = values.next();
    if values.next().is_some() { Err(()) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn depths_are_read() {
        for (clause, values, want) in [
            ("10.2: none", &[][..], Some(None)),
            ("10.2: 0", &["0"], Some(Some(Depth::Zero))),
            ("10.2: 1", &["1"], Some(Some(Depth::One))),
            ("10.2: infinity", &["infinity"], Some(Some(Depth::Infinity))),
            ("RFC 5234, 2.3: of either case", &["Infinity"], Some(Some(Depth::Infinity))),
            ("10.2: nothing else", &["2"], None),
            ("RFC 3253: not here", &["1,noroot"], None),
            ("10.2: nothing", &[""], None),
            ("10.2: once", &["0", "0"], None),
        ] {
            assert_eq!(Depth::of(&headers(&DEPTH, values)).ok(), want, "RFC 4918, {clause}");
        }
    }

    #[test]
    fn overwrite_is_read() {
        for (clause, values, want) in [
            ("10.6: T is what is not said", &[][..], Some(true)),
            ("10.6: T", &["T"], Some(true)),
            ("10.6: F", &["F"], Some(false)),
            ("RFC 5234, 2.3: of either case", &["f"], Some(false)),
            ("10.6: nothing else", &["true"], None),
            ("10.6: once", &["T", "F"], None),
        ] {
            assert_eq!(overwrites(&headers(&OVERWRITE, values)).ok(), want, "RFC 4918, {clause}");
        }
    }

    #[test]
    fn a_token_stands_in_brackets() {
        for (clause, values, want) in [
            ("10.5: none", &[][..], Some(None)),
            ("10.5: a URI in brackets", &["<urn:uuid:1>"], Some(Some("urn:uuid:1"))),
            ("10.1: no brackets", &["urn:uuid:1"], None),
            ("10.1: not closed", &["<urn:uuid:1"], None),
            ("10.1: nothing in them", &["<>"], None),
            ("10.1: no blank in them", &["<urn:uuid: 1>"], None),
            ("10.5: nothing behind", &["<urn:uuid:1>, <urn:uuid:2>"], None),
            ("10.5: once", &["<urn:a>", "<urn:b>"], None),
        ] {
            assert_eq!(lock_token(&headers(&LOCK_TOKEN, values)).ok(), want, "RFC 4918, {clause}");
        }
    }

    #[test]
    fn the_first_time_that_is_understood_counts() {
        let second = Duration::from_secs;
        for (clause, values, want) in [
            ("10.7: none", &[][..], None),
            ("10.7: seconds", &["Second-3600"], Some(second(3600))),
            ("10.7: without end", &["Infinite"], Some(Duration::MAX)),
            ("10.7: the first", &["Infinite, Second-4100000000"], Some(Duration::MAX)),
            ("10.7: over two lines", &["Minute-1", "Second-5"], Some(second(5))),
            ("10.7: more than 32 bits", &["Second-99999999999999999999999"], Some(second(u64::MAX))),
            ("10.7: no number", &["Second-, Second--1, Second-+1, Second-1s"], None),
            ("10.7: too short to be one", &["Sec"], None),
        ] {
            assert_eq!(timeout(&headers(&TIMEOUT, values)), want, "RFC 4918, {clause}");
        }
    }
}
