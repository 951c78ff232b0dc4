//! The grammar that fields share (RFC 9110, 5.6): lists, parameters, quoted strings, weights.

use ::http::header::{HeaderMap, HeaderName};

/// Most elements of one list that are looked at; those behind them are ignored.
pub const ELEMENTS_MAX: usize = 128;
/// The weight of an element that has none (RFC 9110, 12.4.2), in thousandths.
pub(super) const WEIGHT_MAX: u16 = 1000;

/// The elements of a field that is a list, over all its lines (RFC 9110, 5.3). Empty ones are left out (5.6.1.2), and
/// so are those behind the first [`ELEMENTS_MAX`].
pub(super) fn elements<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h [u8]> {
    let lines = headers.get_all(name).into_iter();
    lines.flat_map(|line| split(line.as_bytes(), b',')).filter(|element| !element.is_empty()).take(ELEMENTS_MAX)
}

/// The pieces of `text` between separators, without blanks around them. A separator within a quoted string is none.
pub(super) fn split(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = end_of_piece(text, separator);
        let (piece, behind) = text.split_at(end);
        rest = behind.split_first().map(|(_, behind)| behind);
        Some(piece.trim_ascii())
    })
}

fn end_of_piece(text: &[u8], separator: u8) -> usize {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            _ if *byte == separator && !is_quoted => return at,
            _ => {}
        }
    }
    text.len()
}

/// A parameter's name and value (RFC 9110, 5.6.6): `charset=utf-8`; `None` without an equals sign. The value may still
/// be quoted.
pub(super) fn parameter(piece: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = piece.iter().position(|byte| *byte == b'=')?;
    let (name, value) = piece.split_at(at);
    Some((name, value.split_at(1).1))
}

/// What a token or a quoted string stands for (RFC 9110, 5.6.4); `None` if it is neither.
pub(super) fn unquoted(value: &[u8]) -> Option<Vec<u8>> {
    let Some(from_quote) = value.strip_prefix(b"\"") else {
        return (!value.is_empty() && value.iter().all(|byte| is_tchar(*byte))).then(|| value.to_vec());
    };
    let within = from_quote.strip_suffix(b"\"")?;
    let (mut text, mut is_escaped) = (Vec::new(), false);
    for byte in within {
        match byte {
            b'\\' if !is_escaped => is_escaped = true,
            b'"' if !is_escaped => return None,
            _ => {
                text.push(*byte);
                is_escaped = false;
            }
        }
    }
    (!is_escaped).then_some(text)
}

/// `tchar` of RFC 9110, 5.6.2.
pub(super) fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A weight in thousandths: `0.5` is 500; `None` if it is none (RFC 9110, 12.4.2).
pub(super) fn weight(text: &[u8]) -> Option<u16> {
    let (whole, decimals) = match text {
        [whole] => (whole, &[][..]),
        [whole, b'.', decimals @ ..] if decimals.len() <= 3 => (whole, decimals),
        _ => return None,
    };
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u16::from(byte.wrapping_sub(b'0')));
    let mut thousandths = 0;
    for at in 0..3 {
        thousandths = thousandths * 10 + decimals.get(at).map_or(Some(0), digit)?;
    }
    let weight = digit(whole)?.checked_mul(WEIGHT_MAX)?.checked_add(thousandths)?;
    (weight <= WEIGHT_MAX).then_some(weight)
}

#[cfg(test)]
mod tests {
    use ::http::header::{ACCEPT, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_list_is_split_outside_of_quotes() {
        for (clause, lines, want) in [
            ("5.6.1: two elements", &["a, b"][..], &["a", "b"][..]),
            ("5.6.1.2: empty elements", &[", a,,\tb ,"], &["a", "b"]),
            ("5.3: several lines are one list", &["a", "b, c"], &["a", "b", "c"]),
            ("5.6.4: a comma in quotes", &[r#"a="1,2", b"#], &[r#"a="1,2""#, "b"]),
            ("5.6.4: a quote that is escaped", &[r#"a="1\",2", b"#], &[r#"a="1\",2""#, "b"]),
            ("5.6.4: no quote at the end", &[r#"a="1, b"#, "c"], &[r#"a="1, b"#, "c"]),
            ("5.6.1: nothing", &[""], &[]),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(ACCEPT, HeaderValue::from_str(line).unwrap());
            }
            let elements: Vec<_> =
                elements(&headers, &ACCEPT).map(|element| str::from_utf8(element).unwrap()).collect();
            assert_eq!(elements, want, "RFC 9110, {clause}");
        }
        let long = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_str(&"a,".repeat(1000)).unwrap())]);
        assert_eq!(elements(&long, &ACCEPT).count(), ELEMENTS_MAX);
    }

    #[test]
    fn a_value_is_unquoted() {
        for (clause, value, want) in [
            ("5.6.2: a token", "utf-8", Some("utf-8")),
            ("5.6.2: no empty token", "", None),
            ("5.6.2: no blank in a token", "a b", None),
            ("5.6.4: a quoted string", "\"a b\"", Some("a b")),
            ("5.6.4: an empty one", "\"\"", Some("")),
            ("5.6.4: escapes", r#""a\"b\\c\d""#, Some(r#"a"b\cd"#)),
            ("5.6.4: no end", "\"a", None),
            ("5.6.4: an end that is escaped", r#""a\""#, None),
            ("5.6.4: a quote alone", "\"", None),
            ("5.6.4: a quote within", "\"a\"b\"", None),
        ] {
            let unquoted = unquoted(value.as_bytes());
            assert_eq!(unquoted.as_deref(), want.map(str::as_bytes), "RFC 9110, {clause}: {value}");
        }
    }

    #[test]
    fn a_weight_has_three_decimals_at_most() {
        for (text, want) in [
            ("1", Some(1000)),
            ("0", Some(0)),
            ("0.", Some(0)),
            ("1.000", Some(1000)),
            ("0.5", Some(500)),
            ("0.05", Some(50)),
            ("0.001", Some(1)),
            ("0.0001", None),
            ("1.001", None),
            ("2", None),
            (".5", None),
            ("-0", None),
            ("0.5x", None),
            ("0,5", None),
            ("", None),
        ] {
            assert_eq!(weight(text.as_bytes()), want, "RFC 9110, 12.4.2: {text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_split_and_nothing_is_lost(text in "[a,;\"\\\\]{0,30}") {
            let pieces: Vec<_> = split(text.as_bytes(), b',').collect();
            prop_assert_eq!(pieces.join(&b','), text.as_bytes());
            for piece in pieces {
                unquoted(piece);
                weight(piece);
                parameter(piece);
            }
        }
    }
}
