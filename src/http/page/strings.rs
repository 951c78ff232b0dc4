//! The words of all pages: one file for each language, `templates/page/*.json`. A word that is missing in one, or that
//! no page has, is an error when it is read, and a test reads all.

use std::sync::LazyLock;

use serde::Deserialize;

use super::sign_in::SignInStrings;

/// A language that pages speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// English.
    En,
    /// Simplified Chinese.
    Zh,
}

/// What the pages say in one language.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strings {
    /// Its tag (RFC 5646).
    pub lang: String,
    /// The pages of signing in.
    pub sign_in: SignInStrings,
    /// What the script of the pages says, by names of its own.
    pub script: serde_json::Map<String, serde_json::Value>,
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
        serde_json::Value::Object(self.script.clone()).to_string().replace('<', "\\u003c")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_language_has_all_words() {
        let [en, zh] = [Language::En, Language::Zh].map(Strings::of);
        assert_eq!((en.lang.as_str(), zh.lang.as_str()), ("en", "zh-Hans"));
        let keys = |strings: &Strings| strings.script.keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(en), keys(zh));
    }
}
