//! Character encodings at input and output: bytes of any encoding to text and back, incrementally, so that a character
//! is never cut at a buffer's end.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use encoding_rs::{CoderResult, EncoderResult, UTF_8, UTF_16BE, UTF_16LE};

/// Room for what one more byte can decode to: a character that was not one, and those that follow from it.
const CHARACTER_ROOM: usize = 32;

/// An encoding by its label in the Encoding Standard: `utf-8`, `gbk`, `shift_jis`, ...
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding(&'static encoding_rs::Encoding);

/// The label is not in the standard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an encoding; try utf-8, gbk, gb18030, big5, shift_jis, euc-kr, windows-1252")]
pub struct NoSuchEncoding(String);

/// The bytes without the byte order mark that some editors put in front of UTF-8.
pub fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

impl Default for Encoding {
    fn default() -> Self {
        Self(UTF_8)
    }
}

impl FromStr for Encoding {
    type Err = NoSuchEncoding;

    fn from_str(label: &str) -> Result<Self, NoSuchEncoding> {
        // UTF-16 has decoders only: the standard forbids to encode to it.
        encoding_rs::Encoding::for_label(label.as_bytes())
            .filter(|encoding| encoding.output_encoding() == *encoding)
            .map(Self)
            .ok_or_else(|| NoSuchEncoding(label.to_owned()))
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name().to_lowercase())
    }
}

impl Encoding {
    /// Whether bytes and text are the same thing: then nothing needs to be converted.
    pub fn is_utf8(self) -> bool {
        self.0 == UTF_8
    }

    /// `text` in this encoding, and the number of characters that it cannot express; each of them becomes `?`.
    pub fn encode(self, text: &str) -> (Vec<u8>, usize) {
        let mut encoder = self.0.new_encoder();
        let mut bytes = Vec::new();
        let mut rest = text;
        let mut replaced = 0;
        loop {
            // Room for the worst case of what is left: the encoder never runs out of it.
            let room = encoder.max_buffer_length_from_utf8_without_replacement(rest.len()).unwrap_or(rest.len() * 4);
            bytes.reserve(room + 1);
            let (result, read) = encoder.encode_from_utf8_to_vec_without_replacement(rest, &mut bytes, true);
            rest = rest.get(read..).unwrap_or_default();
            match result {
                EncoderResult::Unmappable(_) => {
                    bytes.push(b'?');
                    replaced += 1;
                }
                EncoderResult::InputEmpty => return (bytes, replaced),
                EncoderResult::OutputFull => {}
            }
        }
    }

    /// `bytes` with a to z made capital, as [`ascii_upper`].
    pub fn upper(self, bytes: &[u8]) -> Vec<u8> {
        ascii_upper(self.0, bytes)
    }

    /// All of `bytes` as text; what is malformed becomes U+FFFD.
    pub fn decode(self, bytes: &[u8]) -> String {
        let mut decoder = Decoder::new(self);
        let mut text = decoder.decode(bytes);
        text.push_str(&decoder.finish());
        text
    }
}

/// `bytes` with a to z made capital and nothing else. Of a character of several bytes none is changed, also where
/// one of them looks like a letter (GBK, Big5, Shift JIS); what is malformed stays as it is.
pub fn ascii_upper(encoding: &'static encoding_rs::Encoding, bytes: &[u8]) -> Vec<u8> {
    let mut upper = bytes.to_vec();
    if encoding == UTF_16LE || encoding == UTF_16BE {
        let (letter, zero) = if encoding == UTF_16LE { (0, 1) } else { (1, 0) };
        for unit in upper.chunks_exact_mut(2).filter(|unit| unit[zero] == 0) {
            unit[letter].make_ascii_uppercase();
        }
        return upper;
    }
    if encoding == UTF_8 || encoding.is_single_byte() {
        upper.make_ascii_uppercase();
        return upper;
    }
    // Decoded byte by byte: a byte is an ASCII letter if the text that it completes ends with that letter.
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut text = String::with_capacity(CHARACTER_ROOM);
    for (byte, upper) in bytes.iter().zip(&mut upper) {
        text.clear();
        let (..) = decoder.decode_to_string(&[*byte], &mut text, false);
        if text.ends_with(char::from(*byte)) {
            upper.make_ascii_uppercase();
        }
    }
    upper
}

/// Encodes a stream of UTF-8, piece by piece; other bytes are passed through unchanged.
#[derive(Debug)]
pub struct Encoder {
    encoding: Encoding,
    /// The bytes of an incomplete character.
    begun: Mutex<Vec<u8>>,
}

impl Encoder {
    /// An encoder at the beginning of a stream.
    pub const fn new(encoding: Encoding) -> Self {
        Self { encoding, begun: Mutex::new(Vec::new()) }
    }

    /// The bytes of the next piece; an incomplete character waits for the next piece.
    pub fn encode(&self, piece: &[u8]) -> Vec<u8> {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = std::mem::take(&mut *begun);
        text.extend_from_slice(piece);
        let mut bytes = Vec::new();
        for chunk in text.utf8_chunks() {
            bytes.extend(self.encoding.encode(chunk.valid()).0);
            let is_last = chunk.invalid().as_ptr_range().end == text.as_ptr_range().end;
            if is_last && is_begun(chunk.invalid()) {
                begun.extend_from_slice(chunk.invalid());
            } else {
                bytes.extend_from_slice(chunk.invalid());
            }
        }
        bytes
    }
}

/// Whether more bytes could make a character of these.
fn is_begun(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

/// Decodes a stream, piece by piece.
pub struct Decoder {
    decoder: encoding_rs::Decoder,
    malformed: bool,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("encoding", &self.decoder.encoding().name()).finish_non_exhaustive()
    }
}

impl Decoder {
    /// A decoder at the beginning of a stream. A byte order mark is data, as everywhere in a protocol.
    pub fn new(encoding: Encoding) -> Self {
        Self { decoder: encoding.0.new_decoder_without_bom_handling(), malformed: false }
    }

    /// The text of the next piece; an incomplete character waits for the next piece.
    pub fn decode(&mut self, piece: &[u8]) -> String {
        self.convert(piece, false)
    }

    /// Ends the stream; returns the text for an incomplete character.
    pub fn finish(&mut self) -> String {
        self.convert(&[], true)
    }

    /// Whether anything so far was malformed.
    pub const fn saw_malformed(&self) -> bool {
        self.malformed
    }

    fn convert(&mut self, piece: &[u8], is_last: bool) -> String {
        let mut text = String::new();
        let mut rest = piece;
        loop {
            text.reserve(self.decoder.max_utf8_buffer_length(rest.len()).unwrap_or(rest.len() * 3) + 4);
            let (result, read, malformed) = self.decoder.decode_to_string(rest, &mut text, is_last);
            self.malformed |= malformed;
            rest = rest.get(read..).unwrap_or_default();
            if result == CoderResult::InputEmpty {
                return text;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_encoded_in_whatever_pieces_it_comes() {
        let text = "a你好\u{1f600}é";
        let encoding: Encoding = "gb18030".parse().unwrap();
        let whole = encoding.encode(text).0;
        for cut in 0..=text.len() {
            let encoder = Encoder::new(encoding);
            let (first, second) = text.as_bytes().split_at(cut);
            assert_eq!([encoder.encode(first), encoder.encode(second)].concat(), whole, "{cut}");
        }
        // Bytes that are not UTF-8 are passed through.
        assert_eq!(Encoder::new(encoding).encode(b"a\xff\xfeb"), b"a\xff\xfeb");
    }
    use proptest::prelude::*;

    #[test]
    fn the_tutorials_greetings_in_gbk() {
        let gbk: Encoding = "GBK".parse().unwrap();
        assert_eq!(gbk.encode("收到"), (b"\xca\xd5\xb5\xbd".to_vec(), 0));
        assert_eq!(gbk.encode("再见!"), (b"\xd4\xd9\xbc\xfb!".to_vec(), 0));
        assert_eq!(gbk.decode(b"\xca\xd5\xb5\xbd"), "收到");
        let latin: Encoding = "latin1".parse().unwrap();
        assert_eq!(latin.encode("a收é"), (b"a?\xe9".to_vec(), 1));
        assert_eq!(gbk.decode(b"a\xca"), "a\u{fffd}");
        assert_eq!("utf-16le".parse::<Encoding>().unwrap_err(), NoSuchEncoding("utf-16le".into()));
    }

    #[test]
    fn capitals_leave_characters_of_several_bytes_whole() {
        for (label, bytes, want) in [
            ("utf-8", "abc收ßz".as_bytes(), "ABC收ßZ".as_bytes()),
            ("latin1", b"a\xe9z", b"A\xe9Z"),
            // In each of these the second byte looks like a letter.
            ("gbk", b"a\x81\x61a", b"A\x81\x61A"),
            ("gb18030", b"z\x84\x7a\x81\x30\x81\x30z", b"Z\x84\x7a\x81\x30\x81\x30Z"),
            ("big5", b"x\xa4\x61x", b"X\xa4\x61X"),
            ("shift_jis", b"q\x83\x61q", b"Q\x83\x61Q"),
            ("euc-kr", b"a\xb0\x61a", b"A\xb0\x61A"),
            ("iso-2022-jp", b"a\x1b$B\x24\x62\x1b(Ba", b"A\x1b$B\x24\x62\x1b(BA"),
            // Malformed in the middle: what is whole stays whole, and letters are letters.
            ("gbk", b"\x81\x61\xff\x81\x61b", b"\x81\x61\xff\x81\x61B"),
            ("gbk", b"a\x81", b"A\x81"),
        ] {
            let encoding: Encoding = label.parse().unwrap();
            assert_eq!(encoding.upper(bytes), want, "{label} {bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn capitals_mean_the_same_in_every_encoding(text in "[a-zA-Z收到再见，é亗倎丂 ]{0,40}", label in "gbk|gb18030|big5|shift_jis|euc-jp|euc-kr|utf-8|iso-2022-jp") {
            let encoding: Encoding = label.parse().unwrap();
            let bytes = encoding.encode(&text).0;
            let upper = encoding.upper(&bytes);
            prop_assert_eq!(encoding.decode(&upper), encoding.decode(&bytes).to_ascii_uppercase());
        }

        #[test]
        fn no_character_is_cut_wherever_the_pieces_end(text in "[a-z收到再见，é]{0,40}", cuts in proptest::collection::vec(1_usize..7, 0..20)) {
            let encoding: Encoding = "gb18030".parse().unwrap();
            let (bytes, _) = encoding.encode(&text);
            let mut decoder = Decoder::new(encoding);
            let mut decoded = String::new();
            let mut rest = &bytes[..];
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                decoded.push_str(&decoder.decode(piece));
                rest = after;
            }
            decoded.push_str(&decoder.decode(rest));
            decoded.push_str(&decoder.finish());
            prop_assert_eq!(decoded, text);
        }
    }
}
