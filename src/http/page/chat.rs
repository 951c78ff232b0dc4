//! The chat as a page: a frame for what its script shows, and the words.

use std::fmt;

use askama::Template;

use super::frame::Frame;
use super::{CHAT_SCRIPT, CHAT_STYLE, EARLY};

/// The page of the chat.
#[derive(Debug, Template)]
#[template(path = "page/chat.html")]
pub struct ChatPage<'p> {
    /// What is around it.
    pub frame: Frame<'p>,
}

impl<'p> ChatPage<'p> {
    /// The page.
    pub fn new(mut frame: Frame<'p>) -> Self {
        frame.tab = Some(frame.strings.chat.title.clone());
        Self { frame }
    }

    /// Its document.
    ///
    /// # Errors
    /// None that is known.
    pub fn html(&self) -> Result<Vec<u8>, fmt::Error> {
        self.render().map(String::into_bytes).map_err(|_no_more_is_known| fmt::Error)
    }
}
