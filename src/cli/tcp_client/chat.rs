//! Chat at a terminal or from a pipe: what comes is shown above the line being typed.

use std::io::IsTerminal as _;
use std::thread;

use unicode_width::UnicodeWidthChar as _;

use crate::chat::{
    ChatEvent, ChatEvents, ChatRequest, NAME_CHARS_MAX, Speaker, Stay, call_chat, names::is_like_a_colon,
};
use crate::cli::exit::Exit;
use crate::cli::output::{put_json, say};
use crate::cli::prompt::{Above, Input, Prompt};
use crate::connection::Connection;
use crate::error::ConnectionLost;
use crate::printable::printable;
use crate::wire::message::{ChatOptions, SayFields};

/// The room without `--room`.
pub(super) const ROOM_DEFAULT: &str = "lobby";

/// The nickname without `--nick`: the user's name.
pub(super) fn default_nick() -> String {
    std::env::var("USER").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "guest".into())
}

/// A stay in a room, seen from the keyboard.
#[derive(Debug)]
pub(super) struct Chat {
    prompt: Prompt<()>,
    room: String,
    nick: String,
    json: bool,
}

const HELP: &str = "\
each line that you type goes to all members of the room, except:
  /nick NAME   change your nickname
  /names       who is here
  /quit        leave; /q, /exit, Ctrl-D, Ctrl-C and, at a terminal, q, quit or exit alone on a line do too
  /help        this; to say something that begins with a slash, type two of them
";

impl Chat {
    /// A stay in `room` as `nick`, not yet entered. With `json` every event is an object on
    /// standard output.
    ///
    /// # Errors
    /// The terminal cannot be used.
    pub(super) fn new(room: &str, nick: &str, json: bool) -> crate::error::Result<Self> {
        Ok(Self { prompt: Prompt::new(())?, room: room.into(), nick: nick.into(), json })
    }

    /// Enters, and stays until `/quit`, the end of input, Ctrl-C, or the end of the connection.
    ///
    /// # Errors
    /// The nick is taken, chat is not allowed here, or the connection was lost.
    pub(super) fn run(mut self, connection: &mut Connection) -> crate::error::Result<Exit> {
        let control = connection.control().clone();
        // Before entering: a terminal that cannot do this must not leave the connection in the room.
        let mut above = self.prompt.printer()?;
        let options = ChatOptions::default();
        let request = ChatRequest { room: &self.room, nick: &self.nick, options: &options };
        let Stay { room, nick, mut listener, speaker, .. } = call_chat(connection, &request)?;
        self.room = room;
        let json = self.json;
        if self.prompt.is_interactive() {
            above(format!("you are {} in {}; /help says more\n", printable(&nick), printable(&self.room)));
        } else {
            show(&ChatEvent::Joined { room: self.room.clone(), nick, seq: None, is_guest: false }, &mut above, json)?;
        }
        thread::scope(|scope| {
            let is_interactive = self.prompt.is_interactive();
            let hearing = scope.spawn(move || {
                let heard = hear(&mut listener, &mut above, json);
                if heard.is_err() && is_interactive {
                    // The person is typing, and would otherwise learn of it with the next line only.
                    above("* the connection is gone; Enter leaves\n".into());
                }
                heard
            });
            let spoken = self.speak(&speaker, &hearing);
            let left = spoken.and_then(|exit| speaker.leave().map(|()| exit));
            if left.is_err() {
                control.stop();
            }
            let heard = hearing.join().unwrap_or_else(|_| Err(ConnectionLost::Closed { wanted: "end" }.into()));
            left.and_then(|exit| heard.map(|()| exit))
        })
    }

    fn speak(
        &mut self,
        speaker: &Speaker,
        hearing: &thread::ScopedJoinHandle<'_, crate::error::Result<()>>,
    ) -> crate::error::Result<Exit> {
        let prompt = format!("{}> ", printable(&self.room));
        while !hearing.is_finished() {
            let line = match self.prompt.read(&prompt)? {
                Input::Line(line) => line,
                Input::Interrupted => return Ok(Exit::Interrupted),
                Input::End => break,
            };
            match line.split_once(' ').map_or((line.as_str(), ""), |(word, rest)| (word, rest.trim())) {
                ("", "") => {}
                ("/q" | "/quit" | "/exit", _) => break,
                ("/help", _) => HELP.lines().for_each(|line| say("chat", line)),
                ("/names", _) => speaker.ask_names(None)?,
                ("/nick", "") => say("chat", "/nick NAME: say which"),
                ("/nick", nick) => speaker.rename(nick)?,
                (word, _) if word.starts_with("//") => {
                    speaker.say(SayFields::default(), line.strip_prefix('/').unwrap_or(&line))?;
                }
                (word, _) if word.starts_with('/') => {
                    say("chat", &format!("{} is no command; /help lists them", printable(word)));
                }
                _ => speaker.say(SayFields::default(), &line)?,
            }
        }
        Ok(Exit::Done)
    }
}

fn hear(listener: &mut ChatEvents<'_>, above: &mut Above, json: bool) -> crate::error::Result<()> {
    while let Some(event) = listener.hear()? {
        show(&event, above, json)?;
    }
    Ok(())
}

fn show(event: &ChatEvent, above: &mut Above, json: bool) -> crate::error::Result<()> {
    if json {
        return put_json(&object(event));
    }
    // In a file or a pipe too: a message is one line, whatever is in it, or it could look like another's.
    let text = shown(event);
    let text = printable(&text);
    let columns =
        std::io::stdout().is_terminal().then(|| rustix::termios::tcgetwinsize(std::io::stdout()).ok()).flatten();
    match columns {
        Some(size) if size.ws_col > 0 => above(format!("{}\n", marked(&text, size.ws_col.into()))),
        _ => above(format!("{text}\n")),
    }
    Ok(())
}

/// What stands in front of a row that would otherwise look like the beginning of a message.
const CONTINUED: &str = "  | ";

/// `text` as a terminal of `columns` columns shows it, with a mark where it would break the line in front of what looks
/// like another message: a sender who knows the width could put it there.
fn marked(text: &str, columns: usize) -> String {
    let mut rows = String::with_capacity(text.len());
    let mut at = 0;
    for (index, character) in text.char_indices() {
        let character = if character == '\t' { ' ' } else { character };
        let width = character.width().unwrap_or(0);
        if at + width > columns {
            at = 0;
            if begins_like_a_message(text.get(index..).unwrap_or_default()) {
                rows.push('\n');
                rows.push_str(CONTINUED);
                at = CONTINUED.len();
            }
        }
        at += width;
        rows.push(character);
    }
    rows
}

fn begins_like_a_message(text: &str) -> bool {
    let text = text.trim_start();
    let name = text.chars().take(NAME_CHARS_MAX + 1).take_while(|c| !c.is_whitespace());
    text.starts_with('*') || name.last().is_some_and(is_like_a_colon)
}

fn shown(event: &ChatEvent) -> String {
    match event {
        ChatEvent::Said { fields, text } => format!("{}: {text}", fields.nick.as_deref().unwrap_or_default()),
        ChatEvent::Joined { nick, .. } => format!("* {nick} joined"),
        ChatEvent::Left { nick, .. } => format!("* {nick} left"),
        ChatEvent::Renamed { from, to } => format!("* {from} is now {to}"),
        ChatEvent::Names { names, .. } => format!("* here: {}", names.join(" ")),
        ChatEvent::Notice { message, .. } => format!("* {message}"),
        ChatEvent::Dropped { count, .. } => format!("* {count} messages were dropped: this end reads too slowly"),
        ChatEvent::Refused(refusal) => format!("* {refusal}"),
        other => format!("* {other:?}"),
    }
}

fn object(event: &ChatEvent) -> serde_json::Value {
    use serde_json::json;
    match event {
        ChatEvent::Said { fields, text } => json!({ "event": "said", "nick": fields.nick, "text": text }),
        ChatEvent::Joined { nick, .. } => json!({ "event": "joined", "nick": nick }),
        ChatEvent::Left { nick, .. } => json!({ "event": "left", "nick": nick }),
        ChatEvent::Renamed { from, to } => json!({ "event": "renamed", "nick": from, "to": to }),
        ChatEvent::Names { names, .. } => json!({ "event": "names", "names": names }),
        ChatEvent::Notice { name, message } => json!({ "event": "notice", "name": name, "message": message }),
        ChatEvent::Dropped { count, .. } => json!({ "event": "dropped", "count": count }),
        ChatEvent::Refused(refusal) => {
            json!({ "event": "refused", "code": refusal.code.as_str(), "message": refusal.message })
        }
        other => json!({ "event": format!("{other:?}") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_row_of_a_message_looks_like_another_message() {
        for (text, columns, want) in [
            ("ann: hi", 80, "ann: hi"),
            ("ann: aaaaabob: hi", 10, "ann: aaaaa\n  | bob: hi"),
            ("ann: aa   bob: hi", 10, "ann: aa   \n  | bob: hi"),
            ("ann: \t\t\t\t bob: hi", 10, "ann:      \n  | bob: hi"),
            ("ann: aaa     bob: hi", 12, "ann: aaa    \n  |  bob: hi"),
            ("ann: aaaaa* bob left", 10, "ann: aaaaa\n  | * bob left"),
            ("ann: 收到bob： hi", 9, "ann: 收到\n  | bob： hi"),
            ("ann: see http://localhost/x?y", 10, "ann: see http://localhost/x?y"),
            ("ann: aaaaa and so on. No!", 10, "ann: aaaaa and so on. No!"),
            ("", 10, ""),
        ] {
            assert_eq!(marked(text, columns), want, "{text:?}");
        }
    }
}
