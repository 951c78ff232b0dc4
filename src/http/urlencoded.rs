//! Forms that are one line: `application/x-www-form-urlencoded`, as HTML sends them (URL Standard, 5.1).

use std::borrow::Cow;

use ::http::header::{self, HeaderMap, HeaderValue};
use percent_encoding::percent_decode;

/// Whether a request says that its body is such a form.
pub fn is_form(headers: &HeaderMap) -> bool {
    let text = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let name = text.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    name.eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
}

/// The names and values of a form, or of a query, decoded.
pub fn fields(text: &[u8]) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (name, value) = pair.split_at(at);
        (decoded(name), decoded(value.get(1..).unwrap_or_default()))
    })
}

/// A percent sign without two hexadecimal digits stands for itself, as that standard has it.
fn decoded(text: &[u8]) -> Vec<u8> {
    let spaced = if text.contains(&b'+') {
        Cow::Owned(text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect())
    } else {
        Cow::Borrowed(text)
    };
    percent_decode(&spaced).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_taken_apart_as_browsers_put_it_together() {
        let of = |text: &str| {
            let owned = |bytes| String::from_utf8(bytes).unwrap();
            fields(text.as_bytes()).map(|(name, value)| (owned(name), owned(value))).collect::<Vec<_>>()
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        for (text, want) in [
            ("token=abc", vec![pair("token", "abc")]),
            ("a=1&b=2&a=3", vec![pair("a", "1"), pair("b", "2"), pair("a", "3")]),
            ("&&a&=b&", vec![pair("a", ""), pair("", "b")]),
            ("a=b=c", vec![pair("a", "b=c")]),
            ("a+b=c%2B+d", vec![pair("a b", "c+ d")]),
            ("a=100%&b=%zz", vec![pair("a", "100%"), pair("b", "%zz")]),
            ("%61=%E6%94%B6", vec![pair("a", "收")]),
            ("", vec![]),
        ] {
            assert_eq!(of(text), want, "URL Standard, 5.1: {text}");
        }
    }

    #[test]
    fn the_type_is_a_name_before_its_parameters() {
        for (value, want) in [
            ("application/x-www-form-urlencoded", true),
            ("Application/X-WWW-Form-Urlencoded; charset=UTF-8", true),
            ("application/x-www-form-urlencoded2", false),
            ("text/plain", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, value.parse().unwrap())]);
            assert_eq!(is_form(&headers), want, "{value}");
        }
        assert!(!is_form(&HeaderMap::new()));
    }
}
