//! A stranger's text, made safe for a terminal: control characters (an escape sequence could retitle
//! the window, move the cursor, forge a line) and the characters that reorder text are shown as
//! escapes. In a pipe nothing is changed; callers decide by asking whether stdout is a terminal.

use std::borrow::Cow;

/// `text` with every character that a terminal would act on written as `\x1b`, `\u{202e}` and so on.
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
pub fn printable_lines(text: &str) -> String {
    text.split_inclusive('\n')
        .map(|line| match line.strip_suffix('\n') {
            Some(line) => format!("{}\n", printable(line)),
            None => printable(line).into_owned(),
        })
        .collect()
}

/// A file name for a person: UTF-8 made printable, other bytes as U+FFFD.
pub fn printable_name(name: &[u8]) -> String {
    printable(&String::from_utf8_lossy(name)).into_owned()
}

fn is_active(character: char) -> bool {
    // C0, DEL and C1 controls except the tab; and Unicode's reordering marks (UAX 9, 2).
    (character.is_control() && character != '\t')
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

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
}
