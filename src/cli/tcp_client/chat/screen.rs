//! Where events go: above the line that is being typed, a line each to a pipe, or an object each.

use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use serde_json::{Value, json};

use super::objects::object;
use super::participant::Noted;
use super::rows::{Piece, line};
use super::show::{View, is_mentioned, pieces};
use crate::chat::ChatEvent;
use crate::cli::output::{put_json, say};
use crate::cli::prompt::{Above, Style};

/// How events are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub(super) struct Looks {
    /// As objects.
    pub(super) is_json: bool,
    /// With the time, and in rows of the terminal's width.
    pub(super) is_terminal: bool,
    pub(super) has_colours: bool,
    /// A mention rings the bell.
    pub(super) rings: bool,
}

/// The way out. While a person types, only the threads that listen and send may use it: it waits for the editor.
pub(super) struct Screen {
    above: Mutex<Above>,
    looks: Looks,
}

/// Milliseconds since 1970 UTC.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Screen {
    pub(super) fn new(above: Above, looks: Looks) -> Self {
        Self { above: Mutex::new(above), looks }
    }

    /// Shows an event to the member `nick`.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub(super) fn show(
        &self,
        event: &ChatEvent,
        (nick, names_rooms): (&str, bool),
        noted: Noted,
    ) -> crate::error::Result<()> {
        let Looks { is_json, is_terminal, .. } = self.looks;
        let (now_ms, has_returned, is_past) = (now_ms(), noted.has_returned, noted.is_past);
        let view = View { nick, names_rooms, is_terminal, now_ms, has_returned, is_past };
        if is_json {
            return if noted.is_new { put_json(&object(event, view)) } else { Ok(()) };
        }
        if !noted.is_shown {
            return Ok(());
        }
        let is_mention = match event {
            ChatEvent::Said { text, fields } => fields.to.is_some() || is_mentioned(nick, text),
            _ => false,
        };
        self.print(&pieces(event, view), self.looks.rings && is_mention && !is_past)
    }

    fn print(&self, pieces: &[Piece], rings: bool) -> crate::error::Result<()> {
        let size = self.looks.is_terminal.then(|| rustix::termios::tcgetwinsize(std::io::stdout()).ok()).flatten();
        let columns = size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
        let mut text = line(pieces, columns, self.looks.has_colours);
        if rings {
            text.ring();
        }
        (*self.above.lock().unwrap_or_else(PoisonError::into_inner))(&text)
    }

    /// Says something about this client itself: above the line that is being typed, as an object, or on standard error.
    ///
    /// # Errors
    /// As [`show`](Self::show).
    pub(super) fn remark(&self, event: &str, text: &str, more: Value) -> crate::error::Result<()> {
        if self.looks.is_json {
            let mut object = json!({ "event": event, "time_ms": now_ms() });
            if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
                object.extend(more);
            }
            return put_json(&object);
        }
        if self.looks.is_terminal {
            return self.print(&[Piece { style: Style::Bold, text: format!("* {text}") }], false);
        }
        say("chat", text);
        Ok(())
    }
}

/// Whether standard output is a terminal whose colours are wanted: `NO_COLOR` says that they are not.
pub(super) fn has_colours() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    std::io::stdout().is_terminal() && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}
