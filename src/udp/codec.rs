//! The characters in a datagram, in any encoding that has a WHATWG label (`gbk`, `big5`, `utf-16le`, ...).
//!
//! Each datagram is complete, so there is no state between datagrams.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::text::ascii_upper;
use encoding_rs::{Encoding, REPLACEMENT, UTF_8, UTF_16BE, UTF_16LE};

/// One character encoding, both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codec(&'static Encoding);

/// There is no encoding of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no encoding {0:?}; try utf-8, gbk, gb18030, big5, shift_jis, euc-kr or windows-1252")]
pub struct UnknownEncoding(String);

/// The text holds a character that the encoding does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{character:?} (U+{:04X}) does not exist in {encoding}", u32::from(*character))]
pub struct NotEncodable {
    /// The first such character.
    pub character: char,
    /// The encoding's name.
    pub encoding: &'static str,
}

impl Codec {
    /// UTF-8, the default.
    pub const UTF_8: Self = Self(UTF_8);

    /// Whether this is UTF-8: then nothing needs to be converted.
    pub fn is_utf8(self) -> bool {
        self.0 == UTF_8
    }

    /// The text of a datagram; what is malformed becomes U+FFFD. Python's `utf-16` puts a byte order
    /// mark in front, which is removed.
    pub fn decode(self, data: &[u8]) -> Cow<'_, str> {
        self.0.decode_with_bom_removal(data).0
    }

    /// The bytes of a text.
    ///
    /// # Errors
    /// A character does not exist in this encoding. It is never replaced silently.
    pub fn encode(self, text: &str) -> Result<Cow<'_, [u8]>, NotEncodable> {
        // The Encoding Standard has no encoder for UTF-16, so neither has the library that implements it.
        if self.0 == UTF_16LE {
            return Ok(Cow::Owned(text.encode_utf16().flat_map(u16::to_le_bytes).collect()));
        }
        if self.0 == UTF_16BE {
            return Ok(Cow::Owned(text.encode_utf16().flat_map(u16::to_be_bytes).collect()));
        }
        let (bytes, _, unmappable) = self.0.encode(text);
        if unmappable {
            let missing = |character: &char| self.0.encode(character.encode_utf8(&mut [0; 4])).2;
            let character = text.chars().find(missing).unwrap_or(char::REPLACEMENT_CHARACTER);
            return Err(NotEncodable { character, encoding: self.0.name() });
        }
        Ok(bytes)
    }

    /// The datagram with `a` to `z` made capital, as [`ascii_upper`].
    pub fn upper(self, data: &[u8]) -> Vec<u8> {
        ascii_upper(self.0, data)
    }
}

impl FromStr for Codec {
    type Err = UnknownEncoding;

    fn from_str(label: &str) -> Result<Self, UnknownEncoding> {
        // The "replacement" encoding stands for encodings that are unsafe to decode.
        let known = Encoding::for_label(label.as_bytes()).filter(|encoding| *encoding != REPLACEMENT);
        known.map(Self).ok_or_else(|| UnknownEncoding(label.to_owned()))
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name().to_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codec(label: &str) -> Codec {
        label.parse().unwrap()
    }

    #[test]
    fn text_goes_both_ways() {
        for (label, bytes) in [
            ("gbk", b"\xca\xd5\xb5\xbd!".as_slice()),
            ("utf-8", "收到!".as_bytes()),
            ("UTF-16LE", b"\x36\x65\x30\x52!\0"),
            ("utf-16be", b"\x65\x36\x52\x30\0!"),
        ] {
            assert_eq!(codec(label).encode("收到!").unwrap(), bytes, "{label}");
            assert_eq!(codec(label).decode(bytes), "收到!", "{label}");
        }
        assert_eq!(codec("utf-16").decode(b"\xff\xfeh\0i\0"), "hi");
        assert_eq!(codec("gbk").decode(b"ok\xff"), "ok\u{fffd}");
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        let error = codec("gbk").encode("ok 😀").unwrap_err();
        assert_eq!(error.to_string(), "'😀' (U+1F600) does not exist in GBK");
        assert!("klingon".parse::<Codec>().is_err() && "iso-2022-kr".parse::<Codec>().is_err());
    }

    #[test]
    fn capitals_leave_other_characters_whole() {
        assert_eq!(Codec::UTF_8.upper("abc收ß\u{0}z".as_bytes()), "ABC收ß\u{0}Z".as_bytes());
        // 0x81 0x61 is one GBK character whose second byte looks like an a.
        assert_eq!(codec("gbk").upper(b"a\x81\x61a"), b"A\x81\x61A");
        assert_eq!(codec("gbk").upper(b"a\xff"), b"A\xff");
        assert_eq!(codec("gbk").upper(b"\x81\x61\xffa"), b"\x81\x61\xffA");
        assert_eq!(codec("utf-16le").upper(b"a\0\x61\x4e"), b"A\0\x61\x4e");
    }
}
