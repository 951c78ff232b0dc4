//! What Tab completes: commands, nicks and rooms.

use std::sync::Arc;

use rustyline::completion::{Completer, Pair};
use rustyline::{Context, Helper, Highlighter, Hinter, Validator};

use super::command::words;
use super::participant::{Participant, State};
use crate::printable::printable;

/// Completes from what the client knows.
#[derive(Helper, Hinter, Highlighter, Validator)]
pub(super) struct ChatCompletion {
    pub(super) participant: Arc<Participant>,
}

impl Completer for ChatCompletion {
    type Candidate = Pair;

    fn complete(&self, typed: &str, position: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = typed.get(..position).unwrap_or(typed);
        let from = typed.rfind(' ').map_or(0, |space| space + 1);
        let found = candidates(typed, from, &self.participant.lock());
        Ok((from, found))
    }
}

/// What the word that begins at `from` may become.
fn candidates(typed: &str, from: usize, state: &State) -> Vec<Pair> {
    let word = typed.get(from..).unwrap_or_default();
    if from == 0 && word.starts_with('/') {
        return words().filter(|name| name.starts_with(word)).map(|name| pair(name, " ")).collect();
    }
    let takes_room = ["/join ", "/room ", "/leave ", "/names "].iter().any(|command| typed.starts_with(command));
    let begins = |name: &&str| name.to_lowercase().starts_with(&word.to_lowercase()) && printable(name) == **name;
    if takes_room {
        let mut found: Vec<&str> = state.known_rooms().filter(begins).collect();
        found.sort_unstable();
        found.dedup();
        return found.into_iter().map(|name| pair(name, " ")).collect();
    }
    // In front of a text a nick says to whom it is addressed.
    let end = if from == 0 { ": " } else { " " };
    state.nicks().filter(begins).map(|name| pair(name, end)).collect()
}

fn pair(name: &str, end: &str) -> Pair {
    Pair { display: name.to_owned(), replacement: format!("{name}{end}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::ChatEvent;

    #[test]
    fn commands_nicks_and_rooms_are_completed() {
        let ann = Participant::new("0123456789abcdef-ann".into(), "lobby", "ann", 0, false);
        let mut state = ann.lock();
        for nick in ["bob", "Bert", "carl"] {
            let (room, nick) = ("lobby".to_owned(), nick.to_owned());
            state.note(&ChatEvent::Joined { room, nick, seq: Some(1), is_guest: false });
        }
        state.join("attic").unwrap();
        let all = |typed: &str| {
            let from = typed.rfind(' ').map_or(0, |space| space + 1);
            let found = candidates(typed, from, &state).into_iter().map(|pair| pair.replacement);
            found.collect::<Vec<_>>()
        };
        assert_eq!(all("/wh"), ["/who "]);
        assert_eq!(all("/unb"), ["/unban "]);
        assert_eq!(all("b"), ["Bert: ", "bob: "]);
        assert_eq!(all("hi ca"), ["carl "]);
        assert_eq!(all("/msg bo"), ["bob "]);
        assert_eq!(all("/room a"), ["attic "]);
        assert_eq!(all("/join "), ["attic ", "lobby "]);
    }
}
