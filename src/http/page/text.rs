//! Bytes of a file as text that is safe to show: in which encoding, and with what is invisible made visible.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{CoderResult, EUC_KR, Encoding, GBK, UTF_8};

use crate::printable::printable_lines;

/// Characters of which a Chinese text has most, and those of names of documents.
const COMMON_CHINESE: &str = "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发\
    后作里用道行所然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者\
    意无力它与长把机十民第公此已工使情明性知全三又关点正业外将两高间由问很最重并物手应战向头文体政美相见被利什二等\
    产或新己制身果加西斯月话合回特代内信表化老给世位次度门任常先海通教儿原东声提立及比员解水名真论处走义各入几口认\
    条平系气题活尔更别打女变四神总何电数安少报才结反受目太量再感建务做接必场件计管期市直德资命山金指克许统区保至队\
    形社便空决治展马科司五基眼书非则听白却界达光放强即像难且权思王象完设式色路记南品住告类求据程北边死张该交规万取\
    拉格望觉术领共确传师观清今切院让识候带导争运笔密码版价附谢姓址查收请单号录";
/// Syllables of which a Korean text has most, and those of names and foreign words.
const COMMON_KOREAN: &str = "이다는을에의가고하지를한로은도사기리어나대인서자해정시그라있것게전으수부적구아제일만보과장상조원\
    들면공성었여주소동신관비선계안경스중우세화무위실국까미연후물모문할했유생내방금오트개용심입업회양당등른말재지\
    습니때음분요간결교민생행된행히작발터들려발현학없러법개마반음식타출파단치영던드외통야파진두명체레산차러예특드\
    배직타형강김박최철록별울름날씨좋설테번호감합녕안청확탁립본년월각역않남운복바와표질속변거래저점석권많편집투";

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
/// valid, and else a guess, in which readers of a `region`, a top-level domain, find what they know.
pub fn decode(bytes: &[u8], is_whole: bool, wanted: Option<TextEncoding>, region: Option<&str>) -> Decoded {
    let (encoding, is_guess) = match (wanted, Encoding::for_bom(bytes)) {
        (Some(TextEncoding(wanted)), _) => (wanted, false),
        (None, Some((marked, _))) => (marked, false),
        (None, None) if is_utf8(bytes, is_whole) => (UTF_8, false),
        (None, None) => (guess(bytes, is_whole, region), true),
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

fn guess(bytes: &[u8], is_whole: bool, region: Option<&str>) -> &'static Encoding {
    let looked = bytes.get(..GUESSED_LEN_MAX).unwrap_or(bytes);
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(looked, is_whole && looked.len() == bytes.len());
    let guessed = detector.guess(region.map(str::as_bytes), Utf8Detection::Deny);
    if region.is_none() && is_chinese(looked, guessed) { GBK } else { guessed }
}

/// Whether a short text is Chinese that was taken for something else. In GBK and EUC-KR the same bytes are characters:
/// those of a Korean text are mostly common in Korean, and rare in Chinese. Two characters of Chinese may look like
/// words of one byte a letter, too.
fn is_chinese(bytes: &[u8], guessed: &'static Encoding) -> bool {
    let share = |encoding: &'static Encoding, common: &str| {
        let text = encoding.decode_without_bom_handling_and_without_replacement(bytes)?;
        let others = text.chars().filter(|c| !c.is_ascii() && !is_chinese_mark(*c));
        let (all, known) =
            others.fold((0_usize, 0_usize), |(all, known), c| (all + 1, known + usize::from(common.contains(c))));
        Some(known * 100 / all.max(1))
    };
    let Some(chinese) = share(GBK, COMMON_CHINESE) else { return false };
    if guessed == EUC_KR {
        share(EUC_KR, COMMON_KOREAN).is_none_or(|korean| chinese >= korean)
    } else {
        guessed.is_single_byte() && chinese > 50 && !bytes.iter().any(u8::is_ascii_alphabetic)
    }
}

/// Marks that stand between words of Chinese.
const fn is_chinese_mark(c: char) -> bool {
    matches!(c, '\u{3000}'..='\u{3011}' | '\u{ff01}'..='\u{ff1f}' | '\u{201c}' | '\u{201d}' | '\u{2026}')
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
    use encoding_rs::{BIG5, EUC_JP, SHIFT_JIS, WINDOWS_1251, WINDOWS_1252};
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
            let decoded = decode(&bytes, true, None, None);
            assert_eq!((decoded.text.as_str(), decoded.is_guess), (text, true), "{}", encoding.name());
            let named = decode(&bytes, true, TextEncoding::of(encoding.name()), None);
            assert_eq!((named.text.as_str(), named.is_guess, named.is_malformed), (text, false, false));
        }
        let (short, _, _) = GBK.encode("收到");
        assert_eq!(decode(&short, true, None, Some("cn")).text, "收到", "a reader of Chinese gets the likelier one");
    }

    #[test]
    fn short_texts_are_guessed_as_what_they_are() {
        let rows: [(&'static Encoding, &[&str]); 7] = [
            (
                GBK,
                &[
                    "收到",
                    "报告",
                    "你好",
                    "你好，世界",
                    "中文",
                    "测试文件",
                    "谢谢大家",
                    "会议记录",
                    "今天天气很好",
                    "名单",
                    "工作计划",
                    "请查收附件",
                    "姓名,年龄,地址",
                    "北京市海淀区",
                    "合同编号：2023",
                    "价格",
                    "公司",
                    "密码：123456",
                    "使用说明",
                    "版本 1.0",
                    "明天上午十点开会",
                    "我们",
                    "项目进度表",
                ],
            ),
            (
                BIG5,
                &["收到", "報告", "你好", "檔案", "會議記錄", "今天天氣很好", "工作計畫", "姓名,年齡,地址", "使用說明"],
            ),
            (
                EUC_KR,
                &[
                    "안녕하세요",
                    "파일",
                    "회의록",
                    "감사합니다",
                    "한국어",
                    "보고서",
                    "서울특별시",
                    "이름,나이,주소",
                    "오늘 날씨가 좋습니다",
                    "사용 설명서",
                    "테스트",
                    "비밀번호: 1234",
                    "김철수",
                    "공지사항",
                ],
            ),
            (SHIFT_JIS, &["こんにちは", "ファイル", "会議", "ありがとう", "報告書", "東京都", "お疲れ様です", "写真"]),
            (EUC_JP, &["こんにちは", "ファイル", "ありがとう", "日本語", "報告書", "東京都", "使用説明書"]),
            (WINDOWS_1251, &["Привет", "Привет, мир", "отчёт", "Спасибо за письмо", "Москва", "пароль: 1234"]),
            (WINDOWS_1252, &["café", "déjà vu", "Müller", "Straße", "Señor", "größer", "10 €", "25 °C", "© 2020"]),
        ];
        for (encoding, phrases) in rows {
            for phrase in phrases {
                let (bytes, ..) = encoding.encode(phrase);
                let decoded = decode(&bytes, true, None, None);
                assert_eq!((decoded.text.as_str(), decoded.encoding), (*phrase, encoding.name()));
            }
        }
    }

    #[test]
    fn what_a_reader_knows_decides_where_bytes_may_be_either() {
        // Two characters alone may be either: what a reader knows decides.
        for (region, encoding, phrase) in [
            ("kr", EUC_KR, "사진"),
            ("kr", EUC_KR, "大韓民國"),
            ("tw", BIG5, "測試"),
            ("jp", EUC_JP, "会議"),
            ("cn", GBK, "照片"),
        ] {
            let (bytes, ..) = encoding.encode(phrase);
            assert_eq!(decode(&bytes, true, None, Some(region)).text, phrase, "a reader in {region}");
        }
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
            let decoded = decode(bytes, is_whole, None, None);
            let got = (decoded.text.as_str(), decoded.encoding, decoded.is_malformed, decoded.is_guess);
            assert_eq!(got, (want, encoding, false, false), "{why}");
        }
        assert!(decode(b"a\xff", true, TextEncoding::of("utf-8"), None).is_malformed);
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
            let decoded = decode(&bytes, is_whole, wanted, [None, Some("cn")][at % 2]);
            prop_assert!(visible(&decoded.text).chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t')));
        }
    }
}
