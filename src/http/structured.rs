//! Structured field values (RFC 9651): what newer header fields are made of, parsed strictly. A field that does not
//! parse is to be ignored as a whole (4.2), so that there is no error here: there is a value, or there is none.

use ::http::HeaderMap;
use ::http::header::HeaderName;

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use super::field::is_tchar;

/// Base64 whose padding may be missing, and whose unused bits may be set (RFC 9651 4.2.7).
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Most digits of an integer (RFC 9651 3.3.1).
const INTEGER_DIGITS: usize = 15;
/// Most digits before the point of a decimal, and behind it (RFC 9651 3.3.2).
const DECIMAL_DIGITS: (usize, usize) = (12, 3);

/// Most members of a dictionary, which are searched one by one (RFC 9651 3.2: at least 1,024).
const DICTIONARY_MEMBERS_MAX: usize = 1024;

/// A value without its parameters, which no field that is read here defines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BareItem {
    /// An integer of at most 15 digits.
    Integer(i64),
    /// `?0` or `?1`.
    Boolean(bool),
    /// A byte sequence, decoded.
    Bytes(Vec<u8>),
    /// A value of another kind, or a list: well-formed, and of no use to any field that is read here.
    Other,
}

/// All lines of a field as one value (RFC 9651 4.2); `None`: there is none.
pub fn combined(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let mut lines = headers.get_all(name).iter().map(::http::HeaderValue::as_bytes);
    let first = lines.next()?.to_vec();
    Some(lines.fold(first, |before, line| [&before[..], b", ", line].concat()))
}

/// An item; `None`: it is not well-formed (RFC 9651 4.2).
pub fn item(field: &[u8]) -> Option<BareItem> {
    let mut input = Input(field.trim_ascii_with(b' '));
    let item = input.item()?;
    input.0.is_empty().then_some(item)
}

/// A dictionary, in the order of its keys' first places, each with its last value; `None`: it is not well-formed
/// (RFC 9651 4.2.2).
pub fn dictionary(field: &[u8]) -> Option<Vec<(String, BareItem)>> {
    let mut input = Input(field.trim_ascii_with(b' '));
    let mut members: Vec<(String, BareItem)> = Vec::new();
    while !input.0.is_empty() {
        let key = input.key()?;
        let value = if input.take(b'=') {
            input.member()?
        } else {
            input.parameters()?;
            BareItem::Boolean(true)
        };
        let is_full = members.len() == DICTIONARY_MEMBERS_MAX;
        match members.iter_mut().find(|(known, _)| *known == key) {
            Some(member) => member.1 = value,
            None if is_full => return None,
            None => members.push((key, value)),
        }
        input.skip(b" \t");
        if input.0.is_empty() {
            break;
        }
        if !input.take(b',') {
            return None;
        }
        input.skip(b" \t");
        if input.0.is_empty() {
            // A comma with nothing behind it.
            return None;
        }
    }
    Some(members)
}

/// What is left of a field.
struct Input<'f>(&'f [u8]);

impl Input<'_> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// Whether `byte` was next; it is taken then.
    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        if is_next {
            self.next();
        }
        is_next
    }

    fn skip(&mut self, bytes: &[u8]) {
        while self.peek().is_some_and(|byte| bytes.contains(&byte)) {
            self.next();
        }
    }

    fn take_while(&mut self, is_wanted: impl Fn(u8) -> bool) -> &[u8] {
        let len = self.0.iter().position(|byte| !is_wanted(*byte)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }

    /// 4.2.1.1, without what is in an inner list.
    fn member(&mut self) -> Option<BareItem> {
        if !self.take(b'(') {
            return self.item();
        }
        loop {
            self.skip(b" ");
            if self.take(b')') {
                self.parameters()?;
                return Some(BareItem::Other);
            }
            self.item()?;
            if !matches!(self.peek()?, b' ' | b')') {
                return None;
            }
        }
    }

    /// 4.2.3.
    fn item(&mut self) -> Option<BareItem> {
        let item = self.bare_item()?;
        self.parameters()?;
        Some(item)
    }

    /// 4.2.3.2.
    fn parameters(&mut self) -> Option<()> {
        while self.take(b';') {
            self.skip(b" ");
            self.key()?;
            if self.take(b'=') {
                self.bare_item()?;
            }
        }
        Some(())
    }

    /// 4.2.3.3.
    fn key(&mut self) -> Option<String> {
        if !matches!(self.peek()?, b'a'..=b'z' | b'*') {
            return None;
        }
        let key = self.take_while(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*'));
        Some(String::from_utf8_lossy(key).into_owned())
    }

    /// 4.2.3.1.
    fn bare_item(&mut self) -> Option<BareItem> {
        match self.peek()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string(),
            b'*' | b'a'..=b'z' | b'A'..=b'Z' => {
                self.take_while(|byte| is_tchar(byte) || matches!(byte, b':' | b'/'));
                Some(BareItem::Other)
            }
            b':' => self.bytes(),
            b'?' => {
                self.next();
                match self.next()? {
                    b'0' => Some(BareItem::Boolean(false)),
                    b'1' => Some(BareItem::Boolean(true)),
                    _ => None,
                }
            }
            b'@' => {
                self.next();
                matches!(self.number()?, BareItem::Integer(_)).then_some(BareItem::Other)
            }
            b'%' => self.display_string(),
            _ => None,
        }
    }

    /// 4.2.4.
    fn number(&mut self) -> Option<BareItem> {
        let is_negative = self.take(b'-');
        let digits = self.take_while(|byte| byte.is_ascii_digit());
        let whole = digits.len();
        if whole == 0 || whole > INTEGER_DIGITS {
            return None;
        }
        let value = digits.iter().fold(0_i64, |value, digit| value * 10 + i64::from(digit - b'0'));
        if !self.take(b'.') {
            return Some(BareItem::Integer(if is_negative { -value } else { value }));
        }
        let fraction = self.take_while(|byte| byte.is_ascii_digit()).len();
        (whole <= DECIMAL_DIGITS.0 && (1..=DECIMAL_DIGITS.1).contains(&fraction)).then_some(BareItem::Other)
    }

    /// 4.2.5.
    fn string(&mut self) -> Option<BareItem> {
        self.next();
        loop {
            match self.next()? {
                b'"' => return Some(BareItem::Other),
                b'\\' => matches!(self.next()?, b'"' | b'\\').then_some(())?,
                b' '..=b'~' => {}
                _ => return None,
            }
        }
    }

    /// 4.2.7.
    fn bytes(&mut self) -> Option<BareItem> {
        self.next();
        let encoded = self.take_while(|byte| byte != b':').to_vec();
        if !self.take(b':') {
            return None;
        }
        BASE64.decode(encoded).ok().map(BareItem::Bytes)
    }

    /// 4.2.10.
    fn display_string(&mut self) -> Option<BareItem> {
        self.next();
        if !self.take(b'"') {
            return None;
        }
        let mut bytes = Vec::new();
        loop {
            match self.next()? {
                b'"' => return std::str::from_utf8(&bytes).ok().map(|_| BareItem::Other),
                b'%' => {
                    let digit = |byte: u8| match byte {
                        b'0'..=b'9' => Some(byte - b'0'),
                        b'a'..=b'f' => Some(byte - b'a' + 10),
                        _ => None,
                    };
                    bytes.push(digit(self.next()?)? * 16 + digit(self.next()?)?);
                }
                byte @ b' '..=b'~' => bytes.push(byte),
                _ => return None,
            }
        }
    }
}

/// Takes one byte's copies away from both ends: RFC 9651 4.2 discards spaces there, and no tabs.
trait TrimWith {
    fn trim_ascii_with(&self, byte: u8) -> &Self;
}

impl TrimWith for [u8] {
    fn trim_ascii_with(&self, byte: u8) -> &Self {
        let start = self.iter().position(|other| *other != byte).unwrap_or(self.len());
        let end = self.iter().rposition(|other| *other != byte).map_or(start, |last| last + 1);
        self.get(start..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn items_are_those_of_the_standard() {
        use BareItem::{Boolean, Bytes, Integer, Other};
        for (clause, field, want) in [
            ("3.3.1", "42", Some(Integer(42))),
            ("3.3.1", "-0042", Some(Integer(-42))),
            ("3.3.1, 15 digits", "999999999999999", Some(Integer(999_999_999_999_999))),
            ("3.3.1, 16 digits", "1000000000000000", None),
            ("3.3.1, no digit", "-", None),
            ("3.3.1, plus", "+1", None),
            ("3.3.2", "4.5", Some(Other)),
            ("3.3.2, no digit behind the point", "4.", None),
            ("3.3.2, four digits", "4.5678", None),
            ("3.3.2, 13 digits", "1234567890123.0", None),
            ("3.3.3", r#""a\"b\\""#, Some(Other)),
            ("3.3.3, another escape", r#""a\n""#, None),
            ("3.3.3, no end", r#""a"#, None),
            ("3.3.4", "foo123/456", Some(Other)),
            ("3.3.5", ":aGVsbG8=:", Some(Bytes(b"hello".to_vec()))),
            ("4.2.7, without padding", ":aGVsbG8:", Some(Bytes(b"hello".to_vec()))),
            ("3.3.5, no end", ":aGVsbG8=", None),
            ("3.3.5, another alphabet", ":_-__:", None),
            ("3.3.6", "?1", Some(Boolean(true))),
            ("3.3.6", "?0", Some(Boolean(false))),
            ("3.3.6", "?2", None),
            ("3.3.6", "1?", None),
            ("3.3.7", "@1659578233", Some(Other)),
            ("3.3.7, no integer", "@1.5", None),
            ("3.3.8", "%\"f%c3%bc\"", Some(Other)),
            ("3.3.8, large digits", "%\"%C3%BC\"", None),
            ("3.3.8, no UTF-8", "%\"%c3\"", None),
            ("3.1.2, parameters", "1;a;b=?0; c=\"x\"", Some(Integer(1))),
            ("3.1.2, blank before", "1 ;a", None),
            ("4.2, blanks around", "  1  ", Some(Integer(1))),
            ("4.2, tab", "\t1", None),
            ("4.2, something behind", "1 2", None),
            ("4.2, two lines", "1, 2", None),
            ("4.2, empty", "", None),
        ] {
            assert_eq!(item(field.as_bytes()), want, "{clause}: {field}");
        }
    }

    #[test]
    fn dictionaries_are_those_of_the_standard() {
        use BareItem::{Boolean, Integer, Other};
        let of = |members: &[(&str, BareItem)]| {
            Some(members.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect::<Vec<_>>())
        };
        for (clause, field, want) in [
            ("3.2", "max-size=10, min-size=0", of(&[("max-size", Integer(10)), ("min-size", Integer(0))])),
            (
                "3.2, without a value",
                "a, b;x=1,c=?0",
                of(&[("a", Boolean(true)), ("b", Boolean(true)), ("c", Boolean(false))]),
            ),
            ("3.2, the last one counts", "a=1,b=2,a=3", of(&[("a", Integer(3)), ("b", Integer(2))])),
            ("3.1.1, a list within", "a=(1 2;x );y, b=()", of(&[("a", Other), ("b", Other)])),
            ("3.1.1, no blank", "a=(1\"x\")", None),
            ("3.2, empty", "", of(&[])),
            ("3.2, large letters", "A=1", None),
            ("4.2.2, comma at the end", "a=1,", None),
            ("4.2.2, no comma", "a=1 b=2", None),
            ("4.2.2, no value", "a=", None),
        ] {
            assert_eq!(dictionary(field.as_bytes()), want, "{clause}: {field}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(field: Vec<u8>) {
            drop((item(&field), dictionary(&field)));
        }

        #[test]
        fn what_is_written_is_read(value in -999_999_999_999_999_i64..=999_999_999_999_999) {
            prop_assert_eq!(item(value.to_string().as_bytes()), Some(BareItem::Integer(value)));
        }
    }
}
