//! Why a request is not served, as a page.

use std::fmt;

use askama::Template;

use super::frame::Frame;
use super::strings::ProblemStrings;
use super::{EARLY, SCRIPT, STYLE};

/// The page of a problem.
#[derive(Debug, Template)]
#[template(path = "page/problem.html")]
pub struct ProblemPage<'a> {
    frame: Frame<'a>,
    status: u16,
    heading: &'static str,
    text: &'static str,
    message: &'a str,
    can_retry: bool,
    /// Whether the message says more than the heading.
    has_detail: bool,
}

impl<'a> ProblemPage<'a> {
    /// The page of an answer with this status and message.
    pub fn new(frame: Frame<'a>, status: u16, message: &'a str) -> Self {
        let (heading, text) = frame.strings.problem.of(status);
        let frame = Frame { tab: Some(heading.to_owned()), ..frame };
        let can_retry = matches!(status, 429 | 500..);
        let has_detail = !matches!(status, 404 | 410);
        Self { frame, status, heading, text, message, can_retry, has_detail }
    }

    /// The page.
    ///
    /// # Errors
    /// None that is known.
    pub fn html(&self) -> Result<Vec<u8>, fmt::Error> {
        Ok(self.render().map_err(|_no_more_is_known| fmt::Error)?.into_bytes())
    }
}

impl ProblemStrings {
    /// What a status means to people, and what they can do.
    fn of(&self, status: u16) -> (&str, &str) {
        match status {
            400 | 405 | 414 | 415 | 431 | 501 => (&self.bad_request, &self.bad_request_text),
            401 => (&self.unauthorized, &self.unauthorized_text),
            403 => (&self.forbidden, &self.forbidden_text),
            404 | 410 => (&self.not_found, &self.not_found_text),
            409 | 412 | 416 | 423 => (&self.conflict, &self.conflict_text),
            413 => (&self.too_large, &self.too_large_text),
            421 => (&self.misdirected, &self.misdirected_text),
            408 | 429 | 503 => (&self.busy, &self.busy_text),
            507 => (&self.full, &self.full_text),
            500.. => (&self.server, &self.server_text),
            _ => (&self.other, &self.other_text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::PageKind;
    use super::super::frame::tests::frame;
    use super::*;

    #[test]
    fn a_problem_has_words_for_people_and_those_of_the_server() {
        let page = ProblemPage::new(frame(PageKind::Problem, "", true), 404, "<x> is not there");
        let html = String::from_utf8(page.html().unwrap()).unwrap();
        assert!(html.contains("<h1>Nothing is here</h1>") && html.contains("<title>Nothing is here - Files</title>"));
        assert!(!html.contains("<q") && !html.contains("Try again"), "{html}");
        assert_eq!(html.matches("<h1").count(), 1);
        let busy = ProblemPage::new(frame(PageKind::Problem, "", true), 503, "<x> is busy");
        let html = String::from_utf8(busy.html().unwrap()).unwrap();
        assert!(html.contains("Try again") && html.contains("<q lang=\"en\">&#60;x&#62; is busy</q>"), "{html}");
    }
}
