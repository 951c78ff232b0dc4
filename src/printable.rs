//! Makes text from other machines safe to show: one function for text that a person reads, one for logs, one for JSON.
//! A control character could retitle a window, move the cursor or forge a line of text; other characters reorder the
//! text around them, or are invisible. Data (a file, a command's output) is written to a pipe unchanged, by none of
//! these functions.

use std::borrow::Cow;
use std::io;

use serde::Serialize;
use serde_json::ser::Formatter;

/// Longest text of a request that the log keeps, in bytes; a line of the log has a few of them.
pub const LOGGED_LEN_MAX: usize = 512;
/// The same for the audit log: the longest path that Linux permits.
pub const AUDITED_LEN_MAX: usize = 4096;

/// For a person: `text` with every character that acts on a terminal, or on the text around it, written as
/// `\u{1b}`, `\u{202e}` and so on.
pub fn printable(text: &str) -> Cow<'_, str> {
    if is_plain(text) || !characters(text).any(|(_, is_active)| is_active) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for (character, is_active) in characters(text) {
        if is_active {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
    }
    Cow::Owned(safe)
}

/// As [`printable`], keeping line ends: for whole texts.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    if !characters(text).any(|(character, is_active)| is_active && character != '\n') {
        return Cow::Borrowed(text);
    }
    let lines = text.split_inclusive('\n').map(|line| match line.strip_suffix('\n') {
        Some(line) => format!("{}\n", printable(line)),
        None => printable(line).into_owned(),
    });
    Cow::Owned(lines.collect())
}

/// Bytes that should be text, as one line: UTF-8 made printable, other bytes as `\xff`.
pub fn printable_bytes(bytes: &[u8]) -> String {
    let mut safe = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        safe.push_str(&printable(chunk.valid()));
        safe.extend(chunk.invalid().iter().flat_map(|byte| std::ascii::escape_default(*byte)).map(char::from));
    }
    safe
}

/// A file name for a person: UTF-8 made printable, other bytes as U+FFFD.
pub fn printable_name(name: &[u8]) -> String {
    printable(&String::from_utf8_lossy(name)).into_owned()
}

/// For a log in text form: [`printable`], shortened to `limit` bytes of the log.
pub fn logged(text: &str, limit: usize) -> String {
    printable(&cut(text, limit)).into_owned()
}

/// The beginning of `text` that takes at most `limit` bytes of a log, escapes included. A shortened text ends with its
/// full length.
pub fn cut(text: &str, limit: usize) -> Cow<'_, str> {
    let mut taken = 0_usize;
    for ((at, _), (character, is_active)) in text.char_indices().zip(characters(text)) {
        taken = taken.saturating_add(logged_len(character, is_active));
        if taken > limit {
            let head = text.get(..at).unwrap_or_default();
            return Cow::Owned(format!("{head}... ({} bytes in all)", text.len()));
        }
    }
    Cow::Borrowed(text)
}

/// Bytes that a character takes in a log, in the longer of the two formats.
fn logged_len(character: char, is_active: bool) -> usize {
    if is_active {
        character.escape_default().len().max(6 * character.len_utf16())
    } else {
        character.len_utf8() + usize::from(matches!(character, '"' | '\\' | '\t'))
    }
}

/// One JSON value on a line of its own. Characters that act on a terminal are escaped as JSON permits (RFC 8259, 7:
/// `\u009b`): a parser gets every character as it was sent.
///
/// # Errors
/// The value cannot be JSON.
pub fn json_line(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut line, Escaped))?;
    line.push(b'\n');
    Ok(line)
}

/// Compact JSON in which no character acts on a terminal.
#[derive(Debug)]
struct Escaped;

impl Formatter for Escaped {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if is_plain(fragment) || !characters(fragment).any(|(_, is_active)| is_active) {
            return writer.write_all(fragment.as_bytes());
        }
        for (character, is_active) in characters(fragment) {
            if is_active {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            } else {
                write!(writer, "{character}")?;
            }
        }
        Ok(())
    }
}

/// Whether nothing in a text is active because all of it is plain ASCII, as most texts are: much quicker to see.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Each character of a text, and whether it is active: C0, DEL and C1 controls except the tab; what ends a line or a
/// paragraph (U+2028, U+2029); what annotates text (U+FFF9 to U+FFFB); and what is invisible, so that it reorders
/// text (UAX 9, 2) or makes two texts look alike.
///
/// Some invisible characters are left alone because text is written with them: joiners (words of Persian and Hindi,
/// emoji), variation selectors (emoji, Han and Mongolian letters), and the tags of one flag.
fn characters(text: &str) -> impl Iterator<Item = (char, bool)> + '_ {
    // Tags that the flag before them may still have.
    let mut tags = 0;
    text.chars().map(move |character| {
        let is_tag = matches!(character, TAG_FIRST..=TAG_LAST);
        let is_in_flag = is_tag && tags > 0;
        tags = match character {
            FLAG => FLAG_TAGS_MAX,
            TAG_LAST => 0,
            _ if is_tag => tags.saturating_sub(1),
            _ => 0,
        };
        let is_written_with = matches!(character,
            '\u{200c}' | '\u{200d}' | '\u{180b}'..='\u{180d}' | '\u{180f}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{e0100}'..='\u{e01ef}');
        let is_active = (character.is_control() && character != '\t')
            || matches!(character, '\u{2028}' | '\u{2029}' | '\u{fff9}'..='\u{fffb}')
            || (is_invisible(character) && !is_written_with && !is_in_flag);
        (character, is_active)
    })
}

/// A black flag, which tags make that of a region, such as Scotland (UTS 51, 1.4.9).
const FLAG: char = '\u{1f3f4}';
const TAG_FIRST: char = '\u{e0020}';
/// The tag that ends such a sequence.
const TAG_LAST: char = '\u{e007f}';
/// Tags behind one flag: a region's code has six letters at most. More of them would be a hidden text.
const FLAG_TAGS_MAX: u32 = 7;

/// Whether a character takes no room and has no shape: Unicode's `Default_Ignorable_Code_Point` (UAX 44, 5.3). This is
/// the only list, for all that is printed, named or typed here; for text that is written with some of them, see
/// `characters`.
pub const fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// One character of each kind that must always be escaped, for the tests of all output.
pub const KINDS: &[char] = &[
    '\u{1b}',
    '\u{7}',
    '\r',
    '\u{0}',
    '\u{7f}',
    '\u{85}',
    '\u{9b}',
    '\u{61c}',
    '\u{200b}',
    '\u{200e}',
    '\u{2028}',
    '\u{2029}',
    '\u{202e}',
    '\u{2066}',
    '\u{feff}',
    '\u{fff9}',
    '\u{e0001}',
    '\u{ad}',
    '\u{34f}',
    '\u{115f}',
    '\u{1160}',
    '\u{17b4}',
    '\u{3164}',
    '\u{ffa0}',
    '\u{1bca0}',
    '\u{1d173}',
    '\u{e0041}',
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attacks_are_shown_and_text_is_left_alone() {
        for (text, want) in [
            ("héllo 收到 \t!", "héllo 收到 \t!"),
            ("\x1b]0;owned\x07", "\\u{1b}]0;owned\\u{7}"),
            ("ok\rforged", "ok\\rforged"),
            ("a\u{9b}31m", "a\\u{9b}31m"),
            ("exe.\u{202e}gpj", "exe.\\u{202e}gpj"),
            // Words of Persian, an emoji of two, one with a colour, a flag.
            ("می\u{200c}خواهم 👩\u{200d}💻 ❤\u{fe0f}", "می\u{200c}خواهم 👩\u{200d}💻 ❤\u{fe0f}"),
            (SCOTLAND, SCOTLAND),
            ("\u{e0067}", "\\u{e0067}"),
        ] {
            assert_eq!(printable(text), want);
        }
        assert_eq!(printable_lines("a\x1b\nb\n"), "a\\u{1b}\nb\n");
        assert_eq!(printable_name(b"a\xff\n"), "a\u{fffd}\\n");
    }

    const SCOTLAND: &str = "\u{1f3f4}\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}";

    #[test]
    fn a_flag_hides_no_text() {
        let hidden: String =
            "rm -rf everything".chars().filter_map(|c| char::from_u32(0xe0000 + u32::from(c))).collect();
        let (kept, rest) = hidden.split_at(7 * 4);
        let escapes: String = rest.chars().flat_map(char::escape_default).collect();
        assert_eq!(printable(&format!("{FLAG}{hidden}")), format!("{FLAG}{kept}{escapes}"));
        // What follows a flag that has ended is no part of it.
        let escapes: String = hidden.chars().flat_map(char::escape_default).collect();
        assert_eq!(printable(&format!("{SCOTLAND}{hidden}")), format!("{SCOTLAND}{escapes}"));
        assert_eq!(printable(&format!("{FLAG}x{hidden}")), format!("{FLAG}x{escapes}"));
    }

    #[test]
    fn each_kind_is_escaped_in_every_form_and_json_still_holds_it() {
        for kind in KINDS {
            let text = format!("a{kind}b");
            let escape: String = kind.escape_default().collect();
            assert_eq!(printable(&text), format!("a{escape}b"));
            assert_eq!(printable_lines(&text), format!("a{escape}b"));
            assert_eq!(logged(&text, 100), format!("a{escape}b"));
            let line = String::from_utf8(json_line(&serde_json::json!({ "t": text })).unwrap()).unwrap();
            assert!(line.ends_with("}\n") && !line.trim_end().contains(*kind), "{line:?}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap()["t"], text.as_str());
        }
    }

    #[test]
    fn what_is_long_is_cut_and_says_how_long_it_was() {
        assert_eq!(cut("four", 4), "four");
        assert_eq!(cut("fives", 4), "five... (5 bytes in all)");
        // Never inside a character, and an escape counts for what it takes.
        assert_eq!(cut("收到", 4), "收... (6 bytes in all)");
        let long = "\u{9b}".repeat(1000);
        assert_eq!(cut(&long, 60), format!("{}... (2000 bytes in all)", "\u{9b}".repeat(10)));
        assert!(logged(&long, 60).len() < 100);
        let json = json_line(&cut(&"\u{e0001}\"\u{1}".repeat(1000), 600)).unwrap();
        assert!(json.len() < 650, "{}", json.len());
    }
}
