//! A line of the chat as rows of a terminal, none of which looks like the beginning of another message.

use unicode_width::UnicodeWidthChar as _;

use crate::chat::NAME_CHARS_MAX;
use crate::chat::names::is_like_a_colon;
use crate::cli::prompt::{Style, Styled};
use crate::printable::printable;

/// A part of a line that looks the same from end to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) style: Style,
    pub(super) text: String,
}

/// What stands in front of a row that would otherwise look like the beginning of a message.
const CONTINUED: &str = "  | ";
/// A terminal that is narrower than this is taken for one that is not.
const COLUMNS_MIN: usize = 8;
/// Characters up to a colon that may be a time: two digits stand in front of it.
const TIME_CHARS_MAX: usize = 3;

/// One line, with its end. `columns`: the terminal's width; `None`: it is no terminal. `has_colours`: styles are shown.
pub(super) fn line(pieces: &[Piece], columns: Option<usize>, has_colours: bool) -> Styled {
    // A message is one line, whatever is in it, or it could look like another's.
    let pieces: Vec<Piece> =
        pieces.iter().map(|piece| Piece { style: piece.style, text: printable(&piece.text).into_owned() }).collect();
    let marks = columns.map(|columns| marks(&whole(&pieces), columns.max(COLUMNS_MIN))).unwrap_or_default();
    let mut marks = marks.into_iter().peekable();
    let (mut line, mut passed) = (Styled::default(), 0);
    for Piece { style, text } in &pieces {
        let style = if has_colours { *style } else { Style::Plain };
        let text = if columns.is_some() { text.replace('\t', " ") } else { text.clone() };
        let mut from = 0;
        while let Some(mark) = marks.next_if(|mark| *mark < passed + text.len()) {
            let at = mark - passed;
            if from < at {
                line.push(style, text.get(from..at).unwrap_or_default());
            }
            line.push(Style::Plain, "\n");
            line.push(Style::Plain, CONTINUED);
            from = at;
        }
        if from < text.len() {
            line.push(style, text.get(from..).unwrap_or_default());
        }
        passed += text.len();
    }
    line.push(Style::Plain, "\n");
    line
}

fn whole(pieces: &[Piece]) -> String {
    pieces.iter().map(|piece| piece.text.as_str()).collect()
}

/// Where a row must begin with a mark: where the terminal would break the line in front of what looks like another
/// message, since a sender who knows the width could put it there. Where terminals disagree about the width of a text,
/// every row begins with one, and is shorter than any of them would make it.
fn marks(text: &str, columns: usize) -> Vec<usize> {
    let breaks_everywhere = text.chars().any(has_doubtful_width);
    let mut marks = Vec::new();
    let mut at = 0;
    let mut is_joined = false;
    for (index, character) in text.char_indices() {
        let width = match character {
            // The selector may make the character in front of it wide.
            '\t' | '\u{fe0f}' => 1,
            character => character.width().unwrap_or(0),
        };
        if at + width > columns && width > 0 && !is_joined {
            at = 0;
            if breaks_everywhere || begins_like_a_message(text.get(index..).unwrap_or_default()) {
                marks.push(index);
                at = CONTINUED.len();
            }
        }
        at += width;
        is_joined = character == '\u{200d}';
    }
    marks
}

/// Emoji that are several characters, flags, and what makes a character an emoji or a text.
const fn has_doubtful_width(character: char) -> bool {
    matches!(character, '\u{200d}' | '\u{fe0e}' | '\u{fe0f}' | '\u{1f1e6}'..='\u{1f1ff}' | '\u{1f3fb}'..='\u{1f3ff}')
}

fn begins_like_a_message(text: &str) -> bool {
    let text = text.trim_start();
    let name = text.chars().take(NAME_CHARS_MAX + 1).take_while(|c| !c.is_whitespace());
    let has_time = text.chars().take(TIME_CHARS_MAX).take_while(|c| !c.is_whitespace()).any(is_like_a_colon);
    text.starts_with(['*', '#', '@', '~', '[']) || has_time || name.last().is_some_and(is_like_a_colon)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(text: &str, columns: usize) -> String {
        let piece = Piece { style: Style::Bold, text: text.into() };
        line(&[piece], Some(columns), false).as_str().trim_end_matches('\n').to_owned()
    }

    #[test]
    fn no_row_of_a_message_looks_like_another_message() {
        for (text, columns, want) in [
            ("ann: hi", 80, "ann: hi"),
            ("ann: aaaaabob: hi", 10, "ann: aaaaa\n  | bob: hi"),
            ("ann: aa   bob: hi", 10, "ann: aa   \n  | bob: hi"),
            ("ann: \t\t\t\t bob: hi", 10, "ann:      \n  | bob: hi"),
            ("ann: aaa     bob: hi", 12, "ann: aaa    \n  |  bob: hi"),
            ("ann: aaaaa* bob left", 10, "ann: aaaaa\n  | * bob left"),
            ("ann: aaaaa*bob waves", 10, "ann: aaaaa\n  | *bob waves"),
            ("ann: aaaaa#attic bob", 10, "ann: aaaaa\n  | #attic bob"),
            ("ann: aaaaa12:30 bob", 10, "ann: aaaaa\n  | 12:30 bob"),
            ("ann: aaaaa[12:30] bo", 10, "ann: aaaaa\n  | [12:30] bo"),
            ("ann: aaaaa@bob: hi", 10, "ann: aaaaa\n  | @bob: hi"),
            ("ann: 收到bob： hi", 9, "ann: 收到\n  | bob： hi"),
            ("ann: see http://localhost/x?y", 10, "ann: see http://localhost/x?y"),
            ("ann: aaaaa and so on. No!", 10, "ann: aaaaa and so on. No!"),
            ("", 10, ""),
        ] {
            assert_eq!(marked(text, columns), want, "{text:?}");
        }
    }

    #[test]
    fn where_widths_are_in_doubt_every_row_is_marked_and_no_cluster_is_cut() {
        let family = "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f466}";
        let text = format!("ann: {family} and {family} bob: hi");
        let shown = marked(&text, 12);
        assert_eq!(shown.replace("\n  | ", ""), text);
        assert!(shown.lines().skip(1).all(|row| row.starts_with(CONTINUED)), "{shown}");
        assert_eq!(shown.matches(family).count(), 2, "{shown}");
        assert!(marked("ann: \u{1f1e9}\u{1f1ea}\u{1f1e9}\u{1f1ea}bob: hi", 9).contains("\n  | "));
    }

    #[test]
    fn a_line_is_one_line_and_its_styles_are_ours() {
        let piece = |style, text: &str| Piece { style, text: text.into() };
        let pieces = [piece(Style::Colour(0), "ann"), piece(Style::Plain, ": a\n\x1b[2Jb\tc")];
        assert_eq!(line(&pieces, None, true).as_str(), "\x1b[31mann\x1b[0m: a\\n\\u{1b}[2Jb\tc\n");
        let shown = line(&[piece(Style::Colour(0), "annaaa bobs")], Some(8), true);
        assert_eq!(shown.as_str(), "\x1b[31mannaaa bobs\x1b[0m\n");
        let shown = line(&[piece(Style::Colour(0), "annaaaa bob:")], Some(8), true);
        assert_eq!(shown.as_str(), "\x1b[31mannaaaa \x1b[0m\n  | \x1b[31mbob:\x1b[0m\n");
    }
}
