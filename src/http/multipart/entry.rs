//! What a form says of itself: the boundary in its Content-Type, and the head of each entry.

use super::{BOUNDARY_LEN_MAX, ENTRY_FIELDS_MAX, FormError, too_large};
use crate::http::field::is_tchar;

pub(super) const NO_DISPOSITION: FormError = FormError::Malformed("an entry has no Content-Disposition");

/// The delimiter's own part of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boundary(pub(super) Vec<u8>);

impl Boundary {
    /// The boundary that a Content-Type names; `None`: it is another media type than multipart/form-data.
    ///
    /// # Errors
    /// It is multipart/form-data, and names no boundary, several, or one that RFC 2046 5.1.1 does not allow.
    pub fn of(content_type: &[u8]) -> Result<Option<Self>, FormError> {
        let (media_type, parameters) = split_at_semicolon(content_type);
        if !media_type.trim_ascii().eq_ignore_ascii_case(b"multipart/form-data") {
            return Ok(None);
        }
        let mut found = None;
        for parameter in Parameters::of(parameters) {
            let (name, value) = parameter?;
            if name.eq_ignore_ascii_case(b"boundary") && found.replace(value).is_some() {
                return Err(FormError::Malformed("its Content-Type names two boundaries"));
            }
        }
        let boundary = found.ok_or(FormError::Malformed("its Content-Type names no boundary"))?;
        let is_legal = |byte: &u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(byte);
        let fits = (1..=BOUNDARY_LEN_MAX).contains(&boundary.len()) && !boundary.ends_with(b" ");
        if !fits || !boundary.iter().all(is_legal) {
            return Err(FormError::Malformed("its boundary is not 1 to 70 of the bytes that RFC 2046 5.1.1 allows"));
        }
        Ok(Some(Self(boundary)))
    }
}

/// The head of one entry of a form.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FormEntry {
    /// The name of the form's field.
    pub name: Vec<u8>,
    /// The name of the file, decoded: any bytes but NUL and slash, and neither `.` nor `..`. `None`: the entry is no
    /// file, or what a browser sends for a field in which none was chosen.
    pub file_name: Option<Vec<u8>>,
}

/// The entry that a head describes; without the empty line behind it.
pub(super) fn entry_of(head: &[u8]) -> Result<FormEntry, FormError> {
    let mut disposition = None;
    for (count, line) in lines(head).enumerate() {
        if count == ENTRY_FIELDS_MAX {
            return Err(too_large("fields in the head of an entry", ENTRY_FIELDS_MAX));
        }
        let (name, value) = field_of(line)?;
        if name.eq_ignore_ascii_case(b"content-disposition") {
            if disposition.replace(value).is_some() {
                return Err(FormError::Malformed("an entry has two Content-Dispositions"));
            }
        } else if name.eq_ignore_ascii_case(b"content-transfer-encoding") {
            // Deprecated (RFC 7578 4.7). A content that is encoded would be stored as what it is not.
            if ![&b"binary"[..], b"8bit", b"7bit"].iter().any(|plain| value.eq_ignore_ascii_case(plain)) {
                return Err(FormError::Malformed("the content of an entry is encoded; send it as it is"));
            }
        } else if name.eq_ignore_ascii_case(b"content-type")
            && value.get(..10).is_some_and(|kind| kind.eq_ignore_ascii_case(b"multipart/"))
        {
            // Files within files (RFC 7578 4.3), which no browser sends any more.
            return Err(FormError::Malformed("an entry is a multipart of its own; send each file by itself"));
        }
    }
    entry_of_disposition(disposition.ok_or(NO_DISPOSITION)?)
}

fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(head);
    std::iter::from_fn(move || {
        let whole = rest?;
        let (line, behind) = match memchr::memmem::find(whole, b"\r\n") {
            Some(at) => (whole.get(..at)?, whole.get(at + 2..)),
            None => (whole, None),
        };
        rest = behind;
        Some(line)
    })
}

/// Name and value of one line of a head. A line that goes on the one above begins with a blank, and is refused like
/// every other that is no field.
fn field_of(line: &[u8]) -> Result<(&[u8], &[u8]), FormError> {
    let malformed = FormError::Malformed("a line in the head of an entry is no field");
    let Some(colon) = memchr::memchr(b':', line) else { return Err(malformed) };
    let (name, value) = (line.get(..colon).unwrap_or_default(), line.get(colon + 1..).unwrap_or_default());
    let is_text = |byte: &u8| *byte == b'\t' || !byte.is_ascii_control();
    if name.is_empty() || !name.iter().all(|byte| is_tchar(*byte)) || !value.iter().all(is_text) {
        return Err(malformed);
    }
    Ok((name, value.trim_ascii()))
}

fn entry_of_disposition(value: &[u8]) -> Result<FormEntry, FormError> {
    let (kind, parameters) = split_at_semicolon(value);
    if !kind.trim_ascii().eq_ignore_ascii_case(b"form-data") {
        return Err(FormError::Malformed("the Content-Disposition of an entry is not form-data"));
    }
    let (mut name, mut file_name): (Option<Vec<u8>>, Option<Vec<u8>>) = (None, None);
    for parameter in Parameters::of(parameters) {
        let (parameter, value) = parameter?;
        // `filename*` is not to be used in forms (RFC 7578 4.2): what differs from `filename` deceives one of two
        // readers.
        let slot = if parameter.eq_ignore_ascii_case(b"name") {
            &mut name
        } else if parameter.eq_ignore_ascii_case(b"filename") {
            &mut file_name
        } else {
            continue;
        };
        if slot.replace(unescaped(&value)).is_some() {
            return Err(FormError::Malformed("an entry has two names of one kind"));
        }
    }
    let name = name.ok_or(FormError::Malformed("an entry has no name"))?;
    let file_name = file_name.filter(|name| !name.is_empty());
    // Without its directories, a file of one of them would replace its namesake of another.
    if file_name.as_ref().is_some_and(|name| name.contains(&b'/') || name == b"." || name == b"..") {
        return Err(FormError::Malformed("the name of a file is not one name; send the files of each directory to it"));
    }
    Ok(FormEntry { name, file_name })
}

/// A name as it was before a browser wrote it between quotes: `%22`, `%0D` and `%0A` are the only escapes of the HTML
/// standard (4.10.21.8), and a percent sign stays what it is everywhere else.
fn unescaped(value: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = memchr::memchr(b'%', rest) {
        plain.extend_from_slice(rest.get(..at).unwrap_or_default());
        rest = rest.get(at..).unwrap_or_default();
        let (byte, used) = match rest.get(1..3) {
            Some(b"22") => (b'"', 3),
            Some(b"0D" | b"0d") => (b'\r', 3),
            Some(b"0A" | b"0a") => (b'\n', 3),
            _ => (b'%', 1),
        };
        plain.push(byte);
        rest = rest.get(used..).unwrap_or_default();
    }
    plain.extend_from_slice(rest);
    plain
}

fn split_at_semicolon(value: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b';', value) {
        Some(at) => (value.get(..at).unwrap_or_default(), value.get(at..).unwrap_or_default()),
        None => (value, &[]),
    }
}

/// Name and value of a parameter.
type Parameter<'v> = (&'v [u8], Vec<u8>);

/// The parameters of a value, each with a semicolon in front: `; name=value; name="value"`.
struct Parameters<'v> {
    rest: &'v [u8],
}

impl<'v> Parameters<'v> {
    const fn of(rest: &'v [u8]) -> Self {
        Self { rest }
    }

    fn parse_next(&mut self) -> Result<Option<Parameter<'v>>, FormError> {
        let malformed = FormError::Malformed("a parameter is not NAME=VALUE or NAME=\"VALUE\"");
        // A semicolon with nothing behind it is an empty parameter (RFC 9110 5.6.6).
        while let [b' ' | b'\t' | b';', rest @ ..] = self.rest {
            self.rest = rest;
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let Some(equals) = memchr::memchr(b'=', self.rest) else { return Err(malformed) };
        let (name, value) = (self.rest.get(..equals).unwrap_or_default(), self.rest.get(equals + 1..));
        let value = value.unwrap_or_default();
        if name.is_empty() || !name.iter().all(|byte| is_tchar(*byte)) {
            return Err(malformed);
        }
        let (value, rest) = match value {
            [b'"', quoted @ ..] => {
                let end = end_of_quoted(quoted).ok_or(malformed)?;
                let value = quoted.get(..end).unwrap_or_default();
                (with_quotes(value), quoted.get(end + 1..).unwrap_or_default())
            }
            plain => {
                let end = plain.iter().position(|byte| !is_tchar(*byte)).unwrap_or(plain.len());
                let (value, rest) = plain.split_at(end);
                let rest = rest.trim_ascii_start();
                if value.is_empty() || !(rest.is_empty() || rest.starts_with(b";")) {
                    return Err(malformed);
                }
                (value.to_vec(), rest)
            }
        };
        self.rest = rest;
        Ok(Some((name, value)))
    }
}

impl<'v> Iterator for Parameters<'v> {
    type Item = Result<Parameter<'v>, FormError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.parse_next().transpose()
    }
}

/// Where a quoted value ends: at the first quote behind which the value can end, for a backslash in front of a quote
/// is the last byte of a name to a browser, and an escape to older clients.
fn end_of_quoted(quoted: &[u8]) -> Option<usize> {
    let is_end = |at: &usize| {
        let behind = quoted.get(at + 1..).unwrap_or_default().trim_ascii_start();
        behind.is_empty() || behind.starts_with(b";")
    };
    let is_escaped = |at: &usize| at.checked_sub(1).and_then(|before| quoted.get(before)) == Some(&b'\\');
    memchr::memchr_iter(b'"', quoted).find(|at| is_end(at) || !is_escaped(at)).filter(is_end)
}

/// Quotes that have a backslash in front of them, without it.
fn with_quotes(value: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(value.len());
    for byte in value {
        if *byte == b'"' {
            plain.pop();
        }
        plain.push(*byte);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_are_those_of_the_standard() {
        let of = |text: &str| Boundary::of(text.as_bytes()).map(|found| found.map(|Boundary(bytes)| bytes));
        for (clause, text, want) in [
            ("RFC 7578 4.1", "multipart/form-data; boundary=AaB03x", Some("AaB03x")),
            ("RFC 9110 8.3.1, case", "Multipart/Form-Data;Boundary=\"AaB03x\"", Some("AaB03x")),
            (
                "RFC 2046 5.1.1, quoted",
                "multipart/form-data; boundary=\"gc0pJq0M:08jU 534c0p\"",
                Some("gc0pJq0M:08jU 534c0p"),
            ),
            ("RFC 9110 5.6.6, others", "multipart/form-data; charset=utf-8 ; boundary=x;", Some("x")),
            ("RFC 9110 8.3.1, another type", "application/x-www-form-urlencoded", None),
            ("RFC 2046 5.1.3, another kind", "multipart/mixed; boundary=x", None),
        ] {
            assert_eq!(of(text).unwrap(), want.map(|want| want.as_bytes().to_vec()), "{clause}");
        }
        let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
        for (clause, text) in [
            ("RFC 2046 5.1.1, required", "multipart/form-data"),
            ("RFC 2046 5.1.1, at least 1", "multipart/form-data; boundary=\"\""),
            ("RFC 2046 5.1.1, at most 70", &long),
            ("RFC 2046 5.1.1, last byte", "multipart/form-data; boundary=\"x \""),
            ("RFC 2046 5.1.1, bytes", "multipart/form-data; boundary=\"x\u{e9}\""),
            ("RFC 9110 5.6.6", "multipart/form-data; boundary=x y"),
            ("two", "multipart/form-data; boundary=x; boundary=y"),
            ("no value", "multipart/form-data; boundary"),
        ] {
            assert!(of(text).is_err(), "{clause}");
        }
    }
}
