//! The words of a search, and whether a name contains them.

use unicode_normalization::UnicodeNormalization as _;

/// Words of one search.
pub const SEARCH_WORDS_MAX: usize = 16;

/// What a name has to contain: letters whatever their case, and characters however they are put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words(Vec<String>);

/// There are more words than a search takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the search has {0} words; it takes {SEARCH_WORDS_MAX}")]
pub struct TooManyWords(usize);

impl Words {
    /// The words of a term. `None`: it has none.
    ///
    /// # Errors
    /// It has too many.
    pub fn of(term: &str) -> Result<Option<Self>, TooManyWords> {
        let words: Vec<String> = term.split_whitespace().map(folded).collect();
        match words.len() {
            0 => Ok(None),
            len if len > SEARCH_WORDS_MAX => Err(TooManyWords(len)),
            _ => Ok(Some(Self(words))),
        }
    }

    /// Whether a name contains all of them. `room` is reused for the next one.
    pub fn are_in(&self, name: &[u8], room: &mut String) -> bool {
        room.clear();
        if name.is_ascii() {
            room.extend(name.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
        } else {
            room.push_str(&folded(&String::from_utf8_lossy(name)));
        }
        self.0.iter().all(|word| room.contains(word.as_str()))
    }
}

/// Compatible characters are the same (Unicode, 3.11: NFKC), and so are letters of either case.
fn folded(text: &str) -> String {
    text.nfkc().flat_map(char::to_lowercase).nfkc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_contains_all_words_whatever_their_case() {
        for (term, name, want) in [
            ("a", "A.txt", true),
            ("report 2026", "2026-Report.pdf", true),
            ("report 2025", "2026-Report.pdf", false),
            ("ÄRGER", "ärger.md", true),
            ("e\u{301}", "\u{e9}t\u{e9}", true),
            ("\u{e9}", "e\u{301}", true),
            ("abc", "\u{ff21}\u{ff22}\u{ff23}", true),
            ("收到", "已收到.txt", true),
            ("σ", "ΣΑΣ", true),
            ("a b", "ab", true),
            ("*", "a", false),
        ] {
            let words = Words::of(term).unwrap().unwrap();
            assert_eq!(words.are_in(name.as_bytes(), &mut String::new()), want, "{term} in {name}");
        }
        let words = Words::of("ab").unwrap().unwrap();
        assert!(words.are_in(b"\xffAB\xfe", &mut String::new()));
        assert_eq!(Words::of(" \t"), Ok(None));
        assert_eq!(Words::of(&"a ".repeat(17)), Err(TooManyWords(17)));
    }
}
