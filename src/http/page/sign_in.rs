//! Signing in, as a page: the button of a link, a field for a token, and why neither has worked.

use std::fmt;

use askama::Template;
use serde::Deserialize;

use super::frame::Frame;
use super::{EARLY, SCRIPT, STYLE};

/// What these pages say in one language.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignInStrings {
    share_title: String,
    share_text: String,
    share_button: String,
    needed_title: String,
    needed_text: String,
    ended_title: String,
    ended_text: String,
    wrong_title: String,
    wrong_text: String,
    wrong_plain_text: String,
    plain_title: String,
    plain_text: String,
    wait_title: String,
    wait_text: String,
    unavailable_title: String,
    unavailable_text: String,
    token_label: String,
    token_button: String,
    back: String,
}

/// Why a person sees such a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignInReason {
    /// A link was opened.
    Share,
    /// What was wanted is for those who have signed in.
    Needed,
    /// The session is none, or is one no more.
    Ended,
    /// The link or token is not taken.
    Wrong,
    /// It came unencrypted, and is not taken, perhaps for that.
    WrongInPlain,
    /// A token came unencrypted, and none is taken so.
    Plain,
    /// Too many wrong ones came.
    Wait {
        /// Seconds to wait.
        seconds: u64,
    },
    /// The server cannot look, or cannot record it.
    Unavailable,
}

/// A page of signing in.
#[derive(Debug, Template)]
#[template(path = "page/sign_in.html")]
pub struct SignInPage<'p> {
    /// What is around it.
    pub frame: Frame<'p>,
    /// Why.
    pub reason: SignInReason,
    /// The secret of the link that was opened, whatever it is; `None`: a person types one.
    pub token: Option<&'p str>,
    /// The nonce that makes two sendings of the form of this page one sign-in; empty: it has none.
    pub nonce: &'p str,
    /// The query with which the form also says where its visitor was going, such as `&to=/a`; empty: to the root.
    pub to: &'p str,
    /// Whether the visitor is signed in all the same, and can go back to the files.
    pub has_way_back: bool,
}

impl<'p> SignInPage<'p> {
    /// A page for this reason.
    pub fn new(frame: Frame<'p>, reason: SignInReason, token: Option<&'p str>) -> Self {
        let mut page = Self { frame, reason, token, nonce: "", to: "", has_way_back: false };
        page.frame.tab = Some(page.words().0.to_owned());
        page
    }

    /// The page.
    ///
    /// # Errors
    /// None that is known.
    pub fn html(&self) -> Result<Vec<u8>, fmt::Error> {
        self.render().map(String::into_bytes).map_err(|_no_more_is_known| fmt::Error)
    }

    /// The heading, and what to do.
    fn words(&self) -> (&'static str, &'static str) {
        let words = &self.frame.strings.sign_in;
        match self.reason {
            SignInReason::Share => (&words.share_title, &words.share_text),
            SignInReason::Needed => (&words.needed_title, &words.needed_text),
            SignInReason::Ended => (&words.ended_title, &words.ended_text),
            SignInReason::Wrong => (&words.wrong_title, &words.wrong_text),
            SignInReason::WrongInPlain => (&words.wrong_title, &words.wrong_plain_text),
            SignInReason::Plain => (&words.plain_title, &words.plain_text),
            SignInReason::Wait { .. } => (&words.wait_title, &words.wait_text),
            SignInReason::Unavailable => (&words.unavailable_title, &words.unavailable_text),
        }
    }

    /// Whether a person could type a token now.
    const fn has_field(&self) -> bool {
        matches!(
            self.reason,
            SignInReason::Needed | SignInReason::Ended | SignInReason::Wrong | SignInReason::WrongInPlain
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::page::frame::tests::frame;
    use crate::http::page::{PageKind, PagePlace};

    fn page(reason: SignInReason, token: Option<&str>) -> String {
        let place = PagePlace::of_address("/docs/");
        let frame = Frame { title: Some("a<b>"), place, ..frame(PageKind::SignIn, "/", true) };
        let page = SignInPage { has_way_back: true, ..SignInPage::new(frame, reason, token) };
        String::from_utf8(page.html().unwrap()).unwrap()
    }

    #[test]
    fn a_link_is_a_button_and_no_text_of_a_stranger_is_markup() {
        let html = page(SignInReason::Share, Some("x\"><script>alert(1)</script>"));
        assert!(html.contains(r#"<form method="post" action="../?sign-in""#), "{html}");
        assert_eq!(html.matches("<script>").count(), 1, "{html}");
        assert!(html.contains(r#"type="hidden" name="token" value="x&#34;&#62;&#60;script&#62;"#), "{html}");
        assert!(html.contains("<title>Files for you - a&#60;b&#62;</title>"), "{html}");
        assert!(!html.contains("type=\"password\""));
    }

    #[test]
    fn each_reason_has_its_words_and_a_field_where_that_helps() {
        for (reason, heading, has_field) in [
            (SignInReason::Needed, "Sign in", true),
            (SignInReason::Ended, "Your access has ended", true),
            (SignInReason::Wrong, "This link does not work", true),
            (SignInReason::WrongInPlain, "This link does not work", true),
            (SignInReason::Plain, "This needs an encrypted connection", false),
            (SignInReason::Wait { seconds: 61 }, "Too many attempts", false),
            (SignInReason::Unavailable, "Signing in does not work at the moment", false),
        ] {
            let html = page(reason, None);
            assert!(html.contains(&format!("<h1>{heading}</h1>")), "{html}");
            assert_eq!(html.contains("type=\"password\""), has_field, "{html}");
            assert!(html.contains(r#"<a href="../">Back to the files</a>"#), "{html}");
            assert_eq!(html.contains("61"), reason == SignInReason::Wait { seconds: 61 });
        }
    }
}
