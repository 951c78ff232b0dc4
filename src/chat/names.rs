//! Names of people and rooms: which are valid, and which look the same.
//!
//! Two names are the same if people would read them as the same: their skeletons are equal (UTS 39, 4), whatever the
//! case of their letters. A capital I looks like a small l and is a capital i, so a name has two looks: that of its
//! letters as they are written, and that of its small letters. Names are kept and shown composed (NFC).

use std::collections::HashMap;

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;
use unicode_security::confusable_detection::skeleton;

use crate::error::{ErrorCode, Refusal};
use crate::printable::is_invisible;

/// Longest nick or room name, in characters.
pub const NAME_CHARS_MAX: usize = 32;
/// Marks above or below one letter. More of them would overlap other lines of text.
pub const MARKS_MAX: usize = 4;

/// A valid name: visible, and not mistaken for something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    shown: String,
    looks: [String; 2],
}

impl Name {
    /// The name that `text` stands for.
    ///
    /// # Errors
    /// It is empty or too long, or something in it cannot be seen or would look like something else on a screen.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let shown: String = text.nfc().collect();
        let chars = shown.chars().count();
        let is_visible = shown.chars().all(is_seen) && has_few_marks(&shown);
        let folded = fold(&shown);
        let looks = [look(&folded), look(&shown)];
        // With a nick "ann:" or "*", a message could look like another member's or like an event, and a slash begins a
        // command. A tilde marks a guest, an at sign a mention, a number sign a room.
        let is_clear = looks.iter().all(|look| !look.contains(':') && !look.starts_with(['/', '*', '~', '@', '#']));
        if chars == 0 || chars > NAME_CHARS_MAX || !is_visible || !is_clear {
            let text = format!(
                "{text:?} cannot be a name: it takes 1 to {NAME_CHARS_MAX} visible characters, no space, no colon, and none of \
                 / * ~ @ # in front"
            );
            return Err(Refusal::new(ErrorCode::BadName, text));
        }
        Ok(Self { shown, looks })
    }

    /// Whether people would read both as the same name.
    pub fn looks_like(&self, other: &Self) -> bool {
        self.looks.iter().any(|look| other.looks.contains(look))
    }

    /// The name as it is shown.
    pub fn as_str(&self) -> &str {
        &self.shown
    }
}

/// A map from names to values, in which no two names look the same.
#[derive(Debug)]
pub struct Names<T> {
    entries: HashMap<String, Entry<T>>,
    /// The name for each look.
    looks: HashMap<String, String>,
}

#[derive(Debug)]
struct Entry<T> {
    name: Name,
    value: T,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { entries: HashMap::new(), looks: HashMap::new() }
    }
}

impl<T> Names<T> {
    /// The name that looks like this one; `None`: there is none.
    pub fn like(&self, name: &Name) -> Option<&str> {
        name.looks.iter().find_map(|look| self.looks.get(look)).map(String::as_str)
    }

    /// Adds a name.
    ///
    /// # Errors
    /// An existing name that looks like it, which stays.
    pub fn insert(&mut self, name: Name, value: T) -> Result<(), &str> {
        // The borrow of a found name must not outlive the branch.
        if self.like(&name).is_some() {
            return Err(self.like(&name).unwrap_or_default());
        }
        for look in &name.looks {
            self.looks.insert(look.clone(), name.shown.clone());
        }
        self.entries.insert(name.shown.clone(), Entry { name, value });
        Ok(())
    }

    /// Removes the name that is shown as `shown`, and returns its value.
    pub fn remove(&mut self, shown: &str) -> Option<T> {
        let Entry { name, value } = self.entries.remove(shown)?;
        for look in &name.looks {
            self.looks.remove(look);
        }
        Some(value)
    }

    /// Replaces the name that is shown as `shown` by `to`. Both may look the same.
    pub fn rename(&mut self, shown: &str, to: Name, value: T) {
        self.remove(shown);
        for look in &to.looks {
            self.looks.insert(look.clone(), to.shown.clone());
        }
        self.entries.insert(to.shown.clone(), Entry { name: to, value });
    }

    /// The value of the name that is shown as `shown`.
    pub fn get(&self, shown: &str) -> Option<&T> {
        self.entries.get(shown).map(|entry| &entry.value)
    }

    /// The value of the name that is shown as `shown`, to be changed.
    pub fn get_mut(&mut self, shown: &str) -> Option<&mut T> {
        self.entries.get_mut(shown).map(|entry| &mut entry.value)
    }

    /// All values, to be changed, in no order.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.values_mut().map(|entry| &mut entry.value)
    }

    /// The number of names.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no names.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All names as they are shown, each with its value, in no order.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &T)> {
        self.entries.iter().map(|(shown, entry)| (shown.as_str(), &entry.value))
    }
}

/// Whether a character looks like the colon between a nick and its message.
pub fn is_like_a_colon(character: char) -> bool {
    look(&character.to_string()) == ":"
}

/// Whether a character has a shape of its own, unlike joiners, fillers and variation selectors. What is blank is a
/// space in its skeleton.
fn is_seen(character: char) -> bool {
    let text = character.to_string();
    let is_mark = is_combining_mark(character);
    // What Rust would escape is a control, a format character, or not assigned; quotes and marks are escaped for
    // other reasons.
    let is_escaped = text.escape_debug().count() > 1 && !matches!(character, '"' | '\'' | '\\') && !is_mark;
    let has_shape = skeleton(&text).any(|c| !c.is_whitespace());
    // Blank although they are letters or symbols: a null notehead, hieroglyphs' blanks, Khitan's filler, a placeholder.
    let is_blank = matches!(character, '\u{1d159}' | '\u{13441}' | '\u{13442}' | '\u{16fe4}' | '\u{fffc}');
    has_shape && !is_invisible(character) && !is_escaped && !is_blank && !character.is_whitespace()
}

/// Whether marks stand on letters, and few on each.
fn has_few_marks(text: &str) -> bool {
    let mut marks = MARKS_MAX;
    for character in text.nfd() {
        marks = if is_combining_mark(character) { marks + 1 } else { 0 };
        if marks > MARKS_MAX {
            return false;
        }
    }
    true
}

/// Letters without their case: full folding, a letter at a time.
fn fold(text: &str) -> String {
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// What a text looks like, in small letters.
fn look(text: &str) -> String {
    let seen: String = skeleton(text).collect();
    skeleton(&fold(&seen)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_is_seen() {
        for name in
            ["ann", "Ünal", "收到", "e\u{301}", "o'neill", "a-b_c.d", "👋", "Việt", "שלום", "кот", "a*", "a/b", "\"x\""]
        {
            assert!(Name::parse(name).is_ok(), "{name:?}");
        }
        let long = "x".repeat(NAME_CHARS_MAX + 1);
        let zalgo = format!("a{}", "\u{301}".repeat(MARKS_MAX + 1));
        for name in [
            "",
            "a b",
            "/quit",
            "ann\u{200b}",
            "\u{202e}ann",
            "a\nb",
            "\x1b[31m",
            "ann\u{200d}",
            "\u{feff}a",
            &long,
            &zalgo,
            "\u{3164}",
            "\u{115f}\u{1160}",
            "\u{ffa0}",
            "\u{2800}",
            "ann\u{ad}",
            "ann\u{34f}",
            "ann\u{fe0f}",
            "ann\u{e0041}",
            "ann\u{2061}",
            "a\u{a0}b",
            "a\u{3000}b",
            "a\u{2028}b",
            "a\u{85}b",
            "\u{180e}",
            "\u{1d159}",
            "\u{301}ann",
            "\u{fffc}",
            "ann:",
            "ann:hi",
            "ann：",
            "ann\u{a789}",
            "*",
            "*ann",
            "＊ann",
            "／quit",
            "\u{2044}quit",
            "a\tb",
            "\u{e000}",
        ] {
            assert_eq!(Name::parse(name).unwrap_err().code, ErrorCode::BadName, "{name:?}");
        }
    }

    /// Compares the list of invisible characters with the library's tables.
    #[test]
    fn what_leaves_no_skeleton_is_invisible_and_no_name() {
        for character in '\0'..=char::MAX {
            if skeleton(&character.to_string()).next().is_none() {
                assert!(is_invisible(character), "{character:?}");
            }
            if is_invisible(character) {
                assert!(Name::parse(&format!("ann{character}")).is_err(), "{character:?}");
            }
        }
    }

    #[test]
    fn what_looks_the_same_is_the_same() {
        let same = |a: &str, b: &str| {
            let mut names = Names::default();
            names.insert(Name::parse(a).unwrap(), ()).unwrap();
            names.insert(Name::parse(b).unwrap(), ()).is_err()
        };
        for (a, b) in [
            ("ann", "ann"),
            ("ann", "Ann"),
            ("ann", "ANN"),
            ("ann", "\u{430}nn"),
            ("ann", "\u{ff41}nn"),
            ("ann", "\u{1d41a}nn"),
            ("alice", "aIice"),
            ("ALICE", "aIice"),
            ("alice", "a1ice"),
            ("PAYPAL", "paypaI"),
            ("bob", "b0b"),
            ("bob", "BOB"),
            ("\u{e9}", "e\u{301}"),
            ("\u{c9}", "e\u{301}"),
            ("straße", "STRASSE"),
            ("modern", "rnodern"),
            ("o'neill", "o\u{2019}neill"),
            ("сосо", "COCO"),
            ("\u{212a}ate", "kate"),
        ] {
            assert!(same(a, b) && same(b, a), "{a} {b}");
        }
        for (a, b) in [("ann", "anna"), ("ann", "ánn"), ("u", "ü"), ("收到", "收"), ("ann1", "ann2"), ("tom", "tim")]
        {
            assert!(!same(a, b), "{a} {b}");
        }
    }

    #[test]
    fn names_come_and_go() {
        let mut names = Names::default();
        names.insert(Name::parse("e\u{301}va").unwrap(), 1).unwrap();
        assert_eq!(names.insert(Name::parse("ÉVA").unwrap(), 2), Err("\u{e9}va"));
        assert_eq!(names.like(&Name::parse("Éva").unwrap()), Some("\u{e9}va"));
        assert_eq!((names.len(), names.get("\u{e9}va")), (1, Some(&1)));
        assert_eq!(names.remove("\u{e9}va"), Some(1));
        assert!(names.is_empty() && names.like(&Name::parse("éva").unwrap()).is_none());
        names.insert(Name::parse("ÉVA").unwrap(), 3).unwrap();
        assert_eq!(names.entries().collect::<Vec<_>>(), [("ÉVA", &3)]);
    }
}
