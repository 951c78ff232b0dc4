//! Bytes of a file as text that is safe to show: in which encoding, and with what is invisible made visible.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{CoderResult, Encoding, UTF_8};

use crate::printable::printable_lines;

/// Of an unknown text so much is looked at for a guess, in bytes.
const GUESSED_LEN_MAX: usize = 64 * 1024;

/// Bytes that were read as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The text as it is.
    pub text: String,
    /// The name of its encoding in the Encoding Standard.
    pub encoding: &'static str,
    /// Whether the encoding is a guess.
    pub is_guess: bool,
    /// Whether some bytes are not valid in it; they are U+FFFD in the text.
    pub is_malformed: bool,
}

/// An encoding of the Encoding Standard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextEncoding(&'static Encoding);

impl TextEncoding {
    /// The encoding that a reader names.
    pub fn of(label: &str) -> Option<Self> {
        Encoding::for_label(label.as_bytes()).map(Self)
    }
}

/// Reads the beginning of a file. Without a `wanted` encoding it is what a byte order mark says, UTF-8 if that is
/// valid, and else a guess, in which `is_chinese` readers find what they know.
pub fn decode(bytes: &[u8], is_whole: bool, wanted: Option<TextEncoding>, is_chinese: bool) -> Decoded {
    let (encoding, is_guess) = match (wanted, Encoding::for_bom(bytes)) {
        (Some(TextEncoding(wanted)), _) => (wanted, false),
        (None, Some((marked, _))) => (marked, false),
        (None, None) if is_utf8(bytes, is_whole) => (UTF_8, false),
        (None, None) => (guess(bytes, is_whole, is_chinese), true),
    };
    let mut decoder = encoding.new_decoder_with_bom_removal();
    let room = decoder.max_utf8_buffer_length(bytes.len()).unwrap_or(bytes.len().saturating_mul(3));
    let mut text = String::with_capacity(room);
    let mut rest = bytes;
    let mut is_malformed = false;
    // A character that is cut off at the end of what was read is no error.
    loop {
        let (result, read, has_replaced) = decoder.decode_to_string(rest, &mut text, is_whole);
        is_malformed |= has_replaced;
        rest = rest.get(read..).unwrap_or_default();
        match result {
            CoderResult::InputEmpty => break,
            CoderResult::OutputFull => text.reserve(rest.len() * 3 + 16),
        }
    }
    Decoded { text, encoding: encoding.name(), is_guess, is_malformed }
}

/// Whether the bytes are UTF-8, as far as they go.
fn is_utf8(bytes: &[u8], is_whole: bool) -> bool {
    match std::str::from_utf8(bytes) {
        Ok(_) => true,
        Err(error) => !is_whole && error.error_len().is_none(),
    }
}

fn guess(bytes: &[u8], is_whole: bool, is_chinese: bool) -> &'static Encoding {
    let looked = bytes.get(..GUESSED_LEN_MAX).unwrap_or(bytes);
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(looked, is_whole && looked.len() == bytes.len());
    let region: Option<&[u8]> = if is_chinese { Some(b"cn") } else { None };
    detector.guess(region, Utf8Detection::Deny)
}

/// Whether bytes of which nothing else is known are text: they have no NUL, and are UTF-8 as far as they go.
pub fn looks_like_text(bytes: &[u8], is_whole: bool) -> bool {
    !bytes.contains(&0) && is_utf8(bytes, is_whole)
}

/// A text as it is shown: its lines end with LF, and what acts on the text around it, or is invisible, is written out.
pub fn visible(text: &str) -> String {
    let text = if text.contains('\r') { text.replace("\r\n", "\n").into() } else { std::borrow::Cow::Borrowed(text) };
    printable_lines(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use encoding_rs::{BIG5, EUC_KR, GBK, SHIFT_JIS, WINDOWS_1252};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_is_read_in_the_encoding_that_it_has() {
        let chinese = "文件已经收到，请在会议之前把修改后的文件发送到服务器上，谢谢大家的合作。";
        let traditional = "檔案已經收到，請在會議之前把修改後的檔案傳送到伺服器上，謝謝大家的合作。";
        let japanese = "ファイルを受け取りました。会議の前に修正したファイルをサーバーに送ってください。";
        let korean = "파일을 받았습니다. 회의 전에 수정한 파일을 서버로 보내 주시기 바랍니다.";
        let french = "Le fichier est arrivé, déjà relu et corrigé : où faut-il l'envoyer à présent ?";
        for (text, encoding) in
            [(chinese, GBK), (traditional, BIG5), (japanese, SHIFT_JIS), (korean, EUC_KR), (french, WINDOWS_1252)]
        {
            let (bytes, _, _) = encoding.encode(text);
            let decoded = decode(&bytes, true, None, false);
            assert_eq!((decoded.text.as_str(), decoded.is_guess), (text, true), "{}", encoding.name());
            let named = decode(&bytes, true, TextEncoding::of(encoding.name()), false);
            assert_eq!((named.text.as_str(), named.is_guess, named.is_malformed), (text, false, false));
        }
        let (short, _, _) = GBK.encode("收到");
        assert_eq!(decode(&short, true, None, true).text, "收到", "a reader of Chinese gets the likelier one");
    }

    #[test]
    fn marks_and_cut_characters_are_no_surprise() {
        for (why, bytes, is_whole, want, encoding) in [
            ("UTF-8", "é".as_bytes(), true, "é", "UTF-8"),
            ("a mark of UTF-8", b"\xef\xbb\xbfa", true, "a", "UTF-8"),
            ("a mark of UTF-16", b"\xff\xfea\0", true, "a", "UTF-16LE"),
            ("a mark of UTF-16", b"\xfe\xff\0a", true, "a", "UTF-16BE"),
            ("a character that is cut off", b"a\xe6\x94", false, "a", "UTF-8"),
            ("nothing", b"", true, "", "UTF-8"),
        ] {
            let decoded = decode(bytes, is_whole, None, false);
            let got = (decoded.text.as_str(), decoded.encoding, decoded.is_malformed, decoded.is_guess);
            assert_eq!(got, (want, encoding, false, false), "{why}");
        }
        assert!(decode(b"a\xff", true, TextEncoding::of("utf-8"), false).is_malformed);
        assert!(TextEncoding::of("latin-17").is_none() && TextEncoding::of("gb2312").is_some());
    }

    #[test]
    fn what_acts_on_a_text_is_written_out() {
        assert_eq!(visible("a\r\nb\tc\n"), "a\nb\tc\n");
        assert_eq!(visible("\u{1b}[31m \u{202e}x\0\r"), "\\u{1b}[31m \\u{202e}x\\u{0}\\r");
        assert!(looks_like_text(b"a\xe6", false) && !looks_like_text(b"a\xe6", true) && !looks_like_text(b"a\0", true));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_text(bytes: Vec<u8>, is_whole: bool, at in 0..40_usize) {
            let labels = ["gbk", "big5", "shift_jis", "euc-kr", "utf-16le", "iso-2022-jp", "replacement", "gb18030"];
            let wanted = labels.get(at).and_then(|label| TextEncoding::of(label));
            let decoded = decode(&bytes, is_whole, wanted, at % 2 == 0);
            prop_assert!(visible(&decoded.text).chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t')));
        }
    }
}
