//! The words of all pages: one file for each language, `templates/page/*.json`. A word that is missing in one, or that
//! no page has, is an error when it is read, and a test reads all.

use std::sync::LazyLock;

use serde::Deserialize;

use super::sign_in::SignInStrings;
use crate::http::listing::ListKind;

/// A language that pages speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// English.
    En,
    /// Simplified Chinese.
    Zh,
}

impl Language {
    /// All of them, the one that is taken without a wish first.
    pub const ALL: [Self; 2] = [Self::En, Self::Zh];

    /// Its primary subtag (RFC 5646, 2.2.1), which is also its name in a query and in a cookie.
    pub const fn subtag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh",
        }
    }

    /// The one that suits a reader with these ranges in lower case, the one wanted most first (RFC 4647, 3.4: lookup).
    /// Traditional characters are another script: who names them gets simplified ones only if nothing else suits.
    pub fn wanted(ranges: &[String]) -> Self {
        let is_traditional = |range: &str| {
            let mut parts = range.split('-').skip(1);
            parts.any(|part| matches!(part, "hant" | "tw" | "hk" | "mo")) && !range.contains("-hans")
        };
        let of = |range: &String| match range.split('-').next() {
            Some("*") => Some(Self::En),
            primary => Self::ALL.into_iter().find(|own| Some(own.subtag()) == primary),
        };
        let suits = ranges.iter().filter(|range| !is_traditional(range)).find_map(of);
        suits.or_else(|| ranges.iter().find_map(of)).unwrap_or(Self::En)
    }

    /// The language of that name.
    pub fn by_subtag(subtag: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.subtag() == subtag)
    }
}

/// What the pages say in one language. In braces stands the name of what takes their place.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strings {
    /// Its tag (RFC 5646).
    pub lang: String,
    /// What it calls itself.
    pub endonym: String,
    /// What all pages say.
    pub page: PageStrings,
    /// What the page of a directory says.
    pub list: ListStrings,
    /// What the page of a file says.
    pub view: ViewStrings,
    /// What a search says.
    pub search: SearchStrings,
    /// What the page of the chat says.
    pub chat: ChatStrings,
    /// What is said of a request that is not served.
    pub problem: ProblemStrings,
    /// The pages of signing in.
    pub sign_in: SignInStrings,
    /// What the script of the pages says, by names of its own.
    pub script: serde_json::Map<String, serde_json::Value>,
    /// What the script of the chat says besides.
    pub chat_script: serde_json::Map<String, serde_json::Value>,
}

/// Declares a struct of words, each under its own name in the file.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($word:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(missing_docs, reason = "the words themselves are in the file of each language")]
        pub struct $name { $(pub $word: String),+ }

        impl $name {
            #[cfg(test)]
            fn all(&self) -> Vec<(&'static str, &str)> {
                vec![$((stringify!($word), self.$word.as_str())),+]
            }
        }
    };
}

words! {
    /// What all pages say.
    PageStrings { files, skip, path, guest, signed_in_as, sign_out, chat, theme, language }
}

words! {
    /// What the page of a directory says.
    ListStrings {
        search, search_button, upload, upload_button, exists, keep_both, replace, refuse, uploads, all_as, name, size, modified, utc, select,
        selected_as_zip, one_entry, entries, page_of, empty, empty_upload, empty_read, drop_box,
        drop_box_text, readme_cut, dangling, no_file, pages, first, previous, next, last,
    }
}

words! {
    /// What the page of a file says.
    ViewStrings {
        back, previous, next, neighbours, open, download, encoding, encoding_button, guessed, source, rendered, cut,
        malformed, none, none_text, pdf, unplayable, empty,
    }
}

words! {
    /// What a search says.
    SearchStrings {
        title, folder, here, none, one_found, found, looked, ended_results, ended_time, ended_entries, ended_memory,
        unreadable,
    }
}

words! {
    /// What the page of the chat says.
    ChatStrings { title, rooms, no_script, nick, enter, people, message, send, keys, send_files }
}

words! {
    /// What is said of a request that is not served.
    ProblemStrings {
        home, up, retry, detail, bad_request, bad_request_text, unauthorized, unauthorized_text, forbidden,
        forbidden_text, not_found, not_found_text, conflict, conflict_text, too_large, too_large_text, misdirected,
        misdirected_text, busy, busy_text, full, full_text, server, server_text, other, other_text,
    }
}

/// `text` with `value` in the place of `{name}`. What stands in a value is left as it is.
pub(super) fn filled(text: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        filled.push_str(before);
        let Some((name, behind)) = behind.split_once('}') else { break };
        filled.extend(values.iter().find(|(own, _)| *own == name).map(|(_, value)| *value));
        rest = behind;
    }
    filled.push_str(rest);
    filled
}

impl ListStrings {
    /// How many entries there are.
    pub(super) fn counted(&self, total: u64) -> String {
        if total == 1 { self.one_entry.clone() } else { filled(&self.entries, &[("count", &total.to_string())]) }
    }

    /// Why there is no link.
    pub(super) fn why_unserved(&self, kind: ListKind) -> &str {
        if kind == ListKind::Link { &self.dangling } else { &self.no_file }
    }
}

#[expect(clippy::expect_used, reason = "the text is a part of the program, and a test reads it")]
fn parsed(text: &str) -> Strings {
    serde_json::from_str(text).expect("the strings of a language are complete")
}

static EN: LazyLock<Strings> = LazyLock::new(|| parsed(include_str!("../../../templates/page/en.json")));
static ZH: LazyLock<Strings> = LazyLock::new(|| parsed(include_str!("../../../templates/page/zh.json")));

impl Strings {
    /// What the pages say in a language.
    pub fn of(language: Language) -> &'static Self {
        match language {
            Language::En => &EN,
            Language::Zh => &ZH,
        }
    }

    /// What the script says, as JSON that can stand in an HTML document: it holds no `<`.
    pub(super) fn for_script(&self) -> String {
        in_html(self.script.clone())
    }

    /// The same for the script of the chat.
    pub(super) fn for_chat_script(&self) -> String {
        let mut words = self.script.clone();
        words.extend(self.chat_script.clone());
        in_html(words)
    }
}

fn in_html(words: serde_json::Map<String, serde_json::Value>) -> String {
    serde_json::Value::Object(words).to_string().replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_language_has_all_words() {
        let [en, zh] = Language::ALL.map(Strings::of);
        assert_eq!((en.lang.as_str(), zh.lang.as_str()), ("en", "zh-Hans"));
        let keys = |strings: &Strings| strings.script.keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(en), keys(zh));
        let keys = |strings: &Strings| strings.chat_script.keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(en), keys(zh));
        assert!(keys(en).iter().all(|key| !en.script.contains_key(key)), "a word of the chat hides one of all pages");
        let all = |strings: &'static Strings| {
            [
                strings.page.all(),
                strings.list.all(),
                strings.view.all(),
                strings.search.all(),
                strings.chat.all(),
                strings.problem.all(),
            ]
            .concat()
        };
        let holes = |text: &str| {
            let mut holes: Vec<_> =
                text.split('{').skip(1).map(|rest| rest.split('}').next().unwrap().to_owned()).collect();
            holes.sort();
            holes
        };
        for ((name, en), (_, zh)) in all(en).into_iter().zip(all(zh)) {
            assert!(!en.is_empty() && !zh.is_empty(), "{name}");
            assert_eq!(holes(en), holes(zh), "{name}");
        }
    }

    #[test]
    fn a_reader_gets_the_language_that_suits_best() {
        for (clause, ranges, want) in [
            ("RFC 4647, 3.4: the default", "", Language::En),
            ("RFC 4647, 3.4: the language itself", "zh", Language::Zh),
            ("RFC 4647, 3.4: truncated", "zh-cn", Language::Zh),
            ("RFC 4647, 3.4: truncated twice", "zh-hans-sg", Language::Zh),
            ("RFC 4647, 3.4: the first that suits", "de zh-cn en", Language::Zh),
            ("RFC 4647, 3.4: the first that suits", "en-us zh", Language::En),
            ("RFC 4647, 3.4: nothing suits", "de fr", Language::En),
            ("RFC 4647, 3.4: another primary subtag", "zha", Language::En),
            ("RFC 4647, 3.4: any", "*", Language::En),
            ("RFC 5646, 4.1: another script, and nothing else", "zh-tw", Language::Zh),
            ("RFC 5646, 4.1: another script, and nothing else", "zh-hant-hk ja", Language::Zh),
            ("RFC 5646, 4.1: another script, and English", "zh-hant en", Language::En),
            ("RFC 5646, 4.1: another script, and the language", "zh-tw zh en", Language::Zh),
            ("RFC 5646, 4.1: this script elsewhere", "zh-hans-hk en", Language::Zh),
        ] {
            let ranges: Vec<String> = ranges.split_whitespace().map(str::to_owned).collect();
            assert_eq!(Language::wanted(&ranges), want, "{clause}: {ranges:?}");
        }
    }

    #[test]
    fn a_value_takes_the_place_of_its_name_and_is_not_looked_at_again() {
        assert_eq!(filled("{a} and {b}", &[("a", "{b}"), ("b", "1")]), "{b} and 1");
        assert_eq!(filled("none", &[("a", "x")]), "none");
        let words = &Strings::of(Language::En).list;
        assert_eq!((words.counted(1).as_str(), words.counted(2).as_str()), ("1 entry", "2 entries"));
    }
}
