//! What a typed line means.

use crate::cli::args::duration;
use crate::wire::message::ModerationAct;

/// One row: the words that begin it, how it is used, what it does.
struct Row(&'static [&'static str], &'static str, &'static str);

const TABLE: &[Row] = &[
    Row(&["/join"], "ROOM", "enter one more room, or go to it"),
    Row(&["/room"], "ROOM", "go to a room that you are in"),
    Row(&["/leave"], "[ROOM]", "leave a room"),
    Row(&["/rooms"], "", "list the rooms"),
    Row(&["/names"], "[ROOM]", "list who is here"),
    Row(&["/who"], "NICK", "who that is: key, rooms, since when"),
    Row(&["/msg"], "NICK TEXT", "a private message"),
    Row(&["/me"], "TEXT", "say what you do"),
    Row(&["/topic"], "[TEXT]", "show or set the topic; - removes it"),
    Row(&["/nick"], "NICK", "change your nick"),
    Row(&["/ignore"], "[NICK]", "hide or show a member's messages; list whose"),
    Row(&["/waiting"], "", "your messages that are not acknowledged"),
    Row(&["/kick"], "NICK [REASON]", "operators: out of this room"),
    Row(&["/ban"], "NICK [TIME] [REASON]", "operators: out of the chat; /unban NICK"),
    Row(&["/mute"], "NICK [TIME] [REASON]", "operators: may not speak; /unmute NICK"),
    Row(&["/quit", "/q", "/exit"], "", "leave; Ctrl-D and Ctrl-C do too"),
    Row(&["/help"], "", "this; a text with a slash in front takes two"),
];

/// Further words that Tab completes.
const WORDS: [&str; 2] = ["/unban", "/unmute"];

/// The text of `/help`: it fits a terminal of 24 lines.
pub(super) fn help() -> String {
    let mut text = "each line that you type goes to all in the room, except:\n".to_owned();
    for Row(words, usage, what) in TABLE {
        let first = words.first().copied().unwrap_or_default();
        text = format!("{text}  {:<26} {what}\n", format!("{first} {usage}"));
    }
    text
}

/// The words that begin a command.
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    TABLE.iter().filter_map(|row| row.0.first().copied()).chain(WORDS)
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command<'l> {
    Nothing,
    Say {
        text: &'l str,
        is_action: bool,
    },
    Message {
        nick: &'l str,
        text: &'l str,
    },
    Join(&'l str),
    Go(&'l str),
    Leave(Option<&'l str>),
    Rooms,
    Names(Option<&'l str>),
    Who(&'l str),
    /// `None`: it is shown; empty: it is removed.
    Topic(Option<&'l str>),
    Nick(&'l str),
    Ignore(Option<&'l str>),
    Waiting,
    Moderate {
        act: ModerationAct,
        nick: &'l str,
        ttl_ms: Option<u64>,
        reason: &'l str,
    },
    Quit,
    Help,
    /// It cannot be carried out: how the command is used.
    Usage(String),
}

/// The first word and what follows it.
fn split(text: &str) -> (&str, &str) {
    text.split_once(char::is_whitespace).map_or((text, ""), |(word, rest)| (word, rest.trim()))
}

/// What `line` means.
pub(super) fn parse(line: &str) -> Command<'_> {
    if !line.starts_with('/') {
        return if line.trim().is_empty() { Command::Nothing } else { Command::Say { text: line, is_action: false } };
    }
    if line.starts_with("//") {
        return Command::Say { text: line.strip_prefix('/').unwrap_or(line), is_action: false };
    }
    let (word, rest) = split(line);
    let (first, more) = split(rest);
    let one = Some(first).filter(|first| !first.is_empty());
    let command = match word {
        "/q" | "/quit" | "/exit" => Some(Command::Quit),
        "/help" => Some(Command::Help),
        "/rooms" => Some(Command::Rooms),
        "/waiting" => Some(Command::Waiting),
        "/names" => Some(Command::Names(one)),
        "/leave" => Some(Command::Leave(one)),
        "/ignore" => Some(Command::Ignore(one)),
        "/topic" => Some(Command::Topic(Some(rest).filter(|rest| !rest.is_empty()).map(|rest| match rest {
            "-" => "",
            rest => rest,
        }))),
        "/join" => one.map(Command::Join),
        "/room" => one.map(Command::Go),
        "/who" => one.map(Command::Who),
        "/nick" => Some(rest).filter(|nick| !nick.is_empty()).map(Command::Nick),
        "/me" => Some(rest).filter(|text| !text.is_empty()).map(|text| Command::Say { text, is_action: true }),
        "/msg" => one.filter(|_| !more.is_empty()).map(|nick| Command::Message { nick, text: more }),
        _ => match act_of(word) {
            Some(act) => one.map(|nick| moderation(act, nick, more)),
            None => return Command::Usage(format!("{word} is no command; /help lists them")),
        },
    };
    command.unwrap_or_else(|| Command::Usage(usage_of(word)))
}

fn act_of(word: &str) -> Option<ModerationAct> {
    Some(match word {
        "/kick" => ModerationAct::Kick,
        "/ban" => ModerationAct::Ban,
        "/unban" => ModerationAct::Unban,
        "/mute" => ModerationAct::Mute,
        "/unmute" => ModerationAct::Unmute,
        _ => return None,
    })
}

fn moderation<'l>(act: ModerationAct, nick: &'l str, more: &'l str) -> Command<'l> {
    let (first, rest) = split(more);
    let has_time = matches!(act, ModerationAct::Ban | ModerationAct::Mute)
        && first.starts_with(|character: char| character.is_ascii_digit());
    match duration(first).ok().filter(|_| has_time) {
        Some(time) => {
            let ttl_ms = Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
            Command::Moderate { act, nick, ttl_ms, reason: rest }
        }
        None => Command::Moderate { act, nick, ttl_ms: None, reason: more },
    }
}

fn usage_of(word: &str) -> String {
    let row = TABLE.iter().find(|row| row.0.contains(&word));
    format!("usage: {word} {}", row.map_or("NICK", |row| row.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_means_one_thing() {
        use Command as C;
        use ModerationAct as Act;
        let say = |text| C::Say { text, is_action: false };
        let usage = |text: &str| C::Usage(text.to_owned());
        let moderate = |act, ttl_ms, reason| C::Moderate { act, nick: "bob", ttl_ms, reason };
        for (line, want) in [
            ("", C::Nothing),
            ("   ", C::Nothing),
            ("hello /there", say("hello /there")),
            (" /help", say(" /help")),
            ("//etc/hosts", say("/etc/hosts")),
            ("/me  waves at bob ", C::Say { text: "waves at bob", is_action: true }),
            ("/me", usage("usage: /me TEXT")),
            ("/msg bob two  words", C::Message { nick: "bob", text: "two  words" }),
            ("/msg bob", usage("usage: /msg NICK TEXT")),
            ("/join attic", C::Join("attic")),
            ("/join", usage("usage: /join ROOM")),
            ("/nick a b", C::Nick("a b")),
            ("/topic", C::Topic(None)),
            ("/topic old things", C::Topic(Some("old things"))),
            ("/topic -", C::Topic(Some(""))),
            ("/leave", C::Leave(None)),
            ("/kick bob 5m", moderate(Act::Kick, None, "5m")),
            ("/ban bob 5m too loud", moderate(Act::Ban, Some(300_000), "too loud")),
            ("/mute bob 3rd time", moderate(Act::Mute, None, "3rd time")),
            ("/mute bob too loud", moderate(Act::Mute, None, "too loud")),
            ("/unban bob", moderate(Act::Unban, None, "")),
            ("/unmute", usage("usage: /unmute NICK")),
            ("/fly", usage("/fly is no command; /help lists them")),
            ("/", usage("/ is no command; /help lists them")),
        ] {
            assert_eq!(parse(line), want, "{line:?}");
        }
    }

    #[test]
    fn the_help_fits_a_terminal_of_24_lines_and_80_columns() {
        // The prompt below it takes one line, and the command above it another.
        assert!(help().lines().count() <= 22, "{}", help());
        assert!(help().lines().all(|line| line.len() + "chat: ".len() < 80), "{}", help());
    }
}
