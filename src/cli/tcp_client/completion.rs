//! Completion at the prompt of `tcp-client`.

use std::cell::RefCell;
use std::rc::Rc;

use rustyline::completion::{Completer, Pair};
use rustyline::{Context, Helper, Highlighter, Hinter, Validator};

use crate::connection::Connection;
use crate::dir::call_ls;
use crate::printable::printable;
use crate::wire::message::EntryKind;

/// Completes commands, and paths on the server from a listing.
#[derive(Helper, Hinter, Highlighter, Validator)]
pub(super) struct Completion {
    /// The commands of the prompt.
    pub(super) words: Vec<&'static str>,
    pub(super) connection: Rc<RefCell<Connection>>,
}

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(&self, typed: &str, position: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = typed.get(..position).unwrap_or(typed);
        let from = last_word(typed);
        let word = typed.get(from..).unwrap_or_default();
        if from == 0 {
            let words = self.words.iter().copied().filter(|name| name.starts_with(word));
            return Ok((0, words.map(|name| pair(name, format!("{name} "))).collect()));
        }
        let start = from + word.rfind('/').map_or(0, |slash| slash + 1);
        let plain = |part: Option<&str>| shlex::split(part.unwrap_or_default()).unwrap_or_default().concat();
        let (directory, name) = (plain(typed.get(from..start)), plain(typed.get(start..)));
        // A person waits for this: a server that does not list completes nothing.
        let Ok(mut connection) = self.connection.try_borrow_mut() else { return Ok((position, Vec::new())) };
        let entries = call_ls(&mut connection, directory.as_bytes()).unwrap_or_default();
        let candidates = entries.into_iter().filter_map(|entry| {
            // A name that a terminal would act on is not put on the line that is being typed.
            let found =
                entry.name.into_text().filter(|found| found.starts_with(&name) && printable(found) == *found)?;
            let end = if entry.kind == EntryKind::Dir { "/" } else { " " };
            Some(pair(&found, format!("{}{end}", escaped(&found))))
        });
        Ok((start, candidates.collect()))
    }
}

/// Where the last word begins: behind the last space without a backslash in front of it.
fn last_word(typed: &str) -> usize {
    let mut from = 0;
    let mut is_escaped = false;
    for (at, character) in typed.char_indices() {
        if character == ' ' && !is_escaped {
            from = at + 1;
        }
        is_escaped = character == '\\' && !is_escaped;
    }
    from
}

/// A name as it can be typed: what means something between words has a backslash in front.
fn escaped(name: &str) -> String {
    let mut typed = String::new();
    for character in name.chars() {
        if " \\'\"#".contains(character) {
            typed.push('\\');
        }
        typed.push(character);
    }
    typed
}

fn pair(display: &str, replacement: String) -> Pair {
    Pair { display: display.to_owned(), replacement }
}
