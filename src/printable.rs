//! What strangers sent, made safe for whoever reads it: one function for everything that goes to a
//! person, one for everything that goes to a log, one for JSON. A control character could retitle a
//! window, move the cursor or forge a line; others reorder what stands around them, or are not seen at all.
//! What is data (a file, a command's output) goes to a pipe as it is, and passes none of these.

use std::borrow::Cow;
use std::io;

use serde::Serialize;
use serde_json::ser::Formatter;

/// Text of a request that the log keeps, in bytes; a line has a few such.
pub const LOGGED_LEN_MAX: usize = 512;
/// The same for the audit log: the longest path that Linux takes.
pub const AUDITED_LEN_MAX: usize = 4096;

/// For a person: `text` with every character that acts on a terminal, or on the text around it, written as
/// `\u{1b}`, `\u{202e}` and so on.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_active) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_active(character) {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
    }
    Cow::Owned(safe)
}

/// As [`printable`], keeping line ends: for whole texts.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|character| is_active(character) && character != '\n') {
        return Cow::Borrowed(text);
    }
    let lines = text.split_inclusive('\n').map(|line| match line.strip_suffix('\n') {
        Some(line) => format!("{}\n", printable(line)),
        None => printable(line).into_owned(),
    });
    Cow::Owned(lines.collect())
}

/// What came as bytes and should be text, on one line: UTF-8 made printable, other bytes as `\xff`.
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

/// For a log in text form: [`printable`], and cut where it would take more than `limit` bytes there.
pub fn logged(text: &str, limit: usize) -> String {
    printable(&cut(text, limit)).into_owned()
}

/// The beginning of `text` that takes at most `limit` bytes of a log, escapes included; what was cut says how
/// long it was.
pub fn cut(text: &str, limit: usize) -> Cow<'_, str> {
    let mut taken = 0_usize;
    for (at, character) in text.char_indices() {
        taken = taken.saturating_add(logged_len(character));
        if taken > limit {
            let head = text.get(..at).unwrap_or_default();
            return Cow::Owned(format!("{head}... ({} bytes in all)", text.len()));
        }
    }
    Cow::Borrowed(text)
}

/// Bytes that a character takes of a log, in whichever form takes more.
fn logged_len(character: char) -> usize {
    if is_active(character) {
        character.escape_default().len().max(6 * character.len_utf16())
    } else {
        character.len_utf8() + usize::from(matches!(character, '"' | '\\' | '\t'))
    }
}

/// One JSON value on a line of its own. What acts on a terminal is escaped as JSON can (RFC 8259, 7: `\u009b`):
/// whoever parses it has every character as it was sent.
///
/// # Errors
/// The value cannot be JSON.
pub fn json_line(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut line, Escaped))?;
    line.push(b'\n');
    Ok(line)
}

/// JSON without blanks in which no character acts on whoever looks at it.
#[derive(Debug)]
struct Escaped;

impl Formatter for Escaped {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if !fragment.chars().any(is_active) {
            return writer.write_all(fragment.as_bytes());
        }
        for character in fragment.chars() {
            if is_active(character) {
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

/// C0, DEL and C1 controls except the tab; what ends a line or a paragraph (U+2028, U+2029); what reorders text
/// (UAX 9, 2); and what takes no room and means nothing, so that two texts look alike. The joiners
/// (U+200C, U+200D) are left alone: words of Persian and Hindi, and emoji, are written with them.
fn is_active(character: char) -> bool {
    (character.is_control() && character != '\t')
        || matches!(character,
            '\u{061c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0001}')
}

/// One character of each kind that may reach nobody as it is, for the tests of all that prints.
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
        ] {
            assert_eq!(printable(text), want);
        }
        assert_eq!(printable_lines("a\x1b\nb\n"), "a\\u{1b}\nb\n");
        assert_eq!(printable_name(b"a\xff\n"), "a\u{fffd}\\n");
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
