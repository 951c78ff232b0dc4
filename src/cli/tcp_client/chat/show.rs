//! What happens in the chat, as a line for people and for scripts. Every line tells what it is by its beginning:
//!
//! ```text
//! NICK: TEXT             a message
//! *NICK TEXT             what a member does
//! NICK -> NICK: TEXT     a private message
//! * TEXT                 an event
//! ```
//!
//! In front of that may stand, in this order: the time, `#ROOM` where there is more than one, `@` for a mention of one's
//! own nick, `~` for a guest. No nick begins like that, and none has a space or a colon in it.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::rows::Piece;
use crate::chat::{ChatEvent, names::Name};
use crate::cli::human;
use crate::cli::prompt::{COLOURS, Style};
use crate::wire::message::{ModerationAct, SayFields};

/// For whom lines are.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub(super) struct View<'v> {
    /// The own nick.
    pub(super) nick: &'v str,
    /// Whether a room is named: there is more than one.
    pub(super) names_rooms: bool,
    /// Whether it is for a person at a terminal.
    pub(super) is_terminal: bool,
    /// Milliseconds since 1970 UTC.
    pub(super) now_ms: u64,
    /// Whether the member of this event was here before, and its connection was lost.
    pub(super) has_returned: bool,
    /// Whether a message is one of the past.
    pub(super) is_past: bool,
}

fn piece(style: Style, text: impl Into<String>) -> Piece {
    Piece { style, text: text.into() }
}

/// Whether `text` names `nick`: as a word, in any case.
pub(super) fn is_mentioned(nick: &str, text: &str) -> bool {
    let (nick, text) = (nick.to_lowercase(), text.to_lowercase());
    let is_part = |character: Option<char>| character.is_some_and(|c| c.is_alphanumeric() || c == '_');
    !nick.is_empty()
        && text.match_indices(&nick).any(|(at, _)| {
            let (before, after) = (text.get(..at).unwrap_or_default(), text.get(at + nick.len()..).unwrap_or_default());
            !is_part(before.chars().next_back()) && !is_part(after.chars().next())
        })
}

/// The line for an event.
pub(super) fn pieces(event: &ChatEvent, view: View<'_>) -> Vec<Piece> {
    let mut line = Vec::new();
    let time_ms = match event {
        ChatEvent::Said { fields, .. } => fields.time_ms,
        ChatEvent::Topic { time_ms, .. } => *time_ms,
        _ => None,
    };
    line.extend(time(time_ms.unwrap_or(view.now_ms), view));
    if let Some(room) = room_of(event).filter(|_| view.names_rooms) {
        line.push(piece(Style::Dim, format!("#{room} ")));
    }
    match event {
        ChatEvent::Said { fields, text } => said(&mut line, fields, text, view),
        other => line.push(piece(Style::Dim, format!("* {}", told(other, view)))),
    }
    line
}

/// The room that an event belongs to.
pub(super) fn room_of(event: &ChatEvent) -> Option<&str> {
    match event {
        ChatEvent::Said { fields, .. } => fields.room.as_deref(),
        ChatEvent::Joined { room, .. } | ChatEvent::Topic { room, .. } => Some(room),
        ChatEvent::Left { room, .. }
        | ChatEvent::Names { room, .. }
        | ChatEvent::Moderated { room, .. }
        | ChatEvent::Dropped { room, .. } => room.as_deref(),
        _ => None,
    }
}

/// The time, where it is shown: always at a terminal, for messages of the past elsewhere.
fn time(time_ms: u64, view: View<'_>) -> Option<Piece> {
    let time = Timestamp::from_millisecond(i64::try_from(time_ms).ok()?).ok()?;
    if !view.is_terminal {
        return view.is_past.then(|| piece(Style::Plain, format!("@{} ", time.strftime("%Y-%m-%dT%H:%M:%SZ"))));
    }
    let zone = TimeZone::system();
    let now = Timestamp::from_millisecond(i64::try_from(view.now_ms).ok()?).ok()?;
    let is_today = time.to_zoned(zone.clone()).date() == now.to_zoned(zone.clone()).date();
    let shown = time.to_zoned(zone).strftime(if is_today { "%H:%M" } else { "%Y-%m-%d %H:%M" }).to_string();
    Some(piece(Style::Dim, if view.is_past { format!("[{shown}] ") } else { format!("{shown} ") }))
}

fn said(line: &mut Vec<Piece>, fields: &SayFields<'_>, text: &str, view: View<'_>) {
    let nick = fields.nick.as_deref().unwrap_or_default();
    let has_mention = view.is_terminal && nick != view.nick && is_mentioned(view.nick, text);
    if has_mention {
        line.push(piece(Style::Bold, "@"));
    }
    if fields.is_action {
        line.push(piece(Style::Plain, "*"));
    }
    if fields.is_guest {
        line.push(piece(Style::Dim, "~"));
    }
    line.push(piece(Style::Colour(colour(nick)), nick));
    if let Some(to) = &fields.to {
        line.push(piece(Style::Plain, " -> "));
        line.push(piece(Style::Colour(colour(to)), to.as_ref()));
    }
    let between = if fields.is_action && fields.to.is_none() { " " } else { ": " };
    line.push(piece(Style::Plain, between));
    let style = if has_mention { Style::Bold } else { Style::Plain };
    line.push(piece(if view.is_past { Style::Dim } else { style }, text));
}

/// The same nick has the same colour everywhere.
fn colour(nick: &str) -> usize {
    let sum = nick.chars().fold(7_usize, |sum, character| sum.wrapping_mul(31).wrapping_add(character as usize));
    sum % COLOURS.len()
}

fn told(event: &ChatEvent, view: View<'_>) -> String {
    match event {
        ChatEvent::Joined { nick, is_guest, .. } => {
            let guest = if *is_guest { "~" } else { "" };
            format!("{guest}{nick} {}", if view.has_returned { "is back" } else { "joined" })
        }
        ChatEvent::Left { nick, is_lost: true, .. } => format!("{nick} left: connection lost"),
        ChatEvent::Left { nick, .. } => format!("{nick} left"),
        ChatEvent::Renamed { from, to } => format!("{from} is now {to}"),
        ChatEvent::Names { names, .. } => format!("here: {}", names.join(" ")),
        ChatEvent::Rooms(rows) => rooms(rows),
        ChatEvent::Who(row) => who(row, view),
        ChatEvent::Topic { text, .. } if text.is_empty() => "there is no topic".into(),
        ChatEvent::Topic { nick: Some(nick), text, .. } => format!("topic, by {nick}: {text}"),
        ChatEvent::Topic { text, .. } => format!("topic: {text}"),
        ChatEvent::Moderated { .. } => moderated(event),
        ChatEvent::Dropped { count: 0, .. } => "some messages are no longer kept, and are missing here".into(),
        ChatEvent::Dropped { count, .. } => format!("{count} messages were dropped: this end reads too slowly"),
        ChatEvent::Notice { message, .. } => message.clone(),
        ChatEvent::Refused(refusal) => refusal.to_string(),
        ChatEvent::NotSent { refusal, .. } => format!("not sent: {refusal}"),
        ChatEvent::Acknowledged { id, .. } => format!("message {id} is acknowledged"),
        ChatEvent::Said { text, .. } => text.clone(),
    }
}

fn rooms(rows: &[crate::chat::events::RoomRow]) -> String {
    let rows = rows.iter().map(|row| match &row.topic {
        // A topic may hold anything, and a name no quote that looks like the end of one.
        Some(topic) => format!("{} ({}, {topic:?})", row.room, row.members),
        None => format!("{} ({})", row.room, row.members),
    });
    format!("rooms: {}", rows.collect::<Vec<_>>().join(", "))
}

fn who(row: &crate::chat::events::WhoRow, view: View<'_>) -> String {
    let kind = match (row.kind.as_str(), &row.name) {
        ("own", _) => "the server's own user".to_owned(),
        ("known", Some(name)) => format!("the known peer {name}"),
        ("token", Some(name)) => format!("the holder of the token {name}"),
        _ => "a guest".to_owned(),
    };
    let operator = if row.operator { ", an operator" } else { "" };
    let key = row.fingerprint.as_ref().map_or_else(|| ", no key shown".to_owned(), |key| format!(", key {key}"));
    let key = if row.kind == "own" && row.fingerprint.is_none() { String::new() } else { key };
    let since = human::time(std::time::Duration::from_millis(view.now_ms.saturating_sub(row.since_ms)));
    let lost = if row.lost { ", connection lost" } else { "" };
    format!("{} is {kind}{operator}{key}, in {}, here for {since}{lost}", row.nick, row.rooms.join(" "))
}

fn moderated(event: &ChatEvent) -> String {
    let ChatEvent::Moderated { act, nick, room, by, ttl_ms, reason } = event else { return String::new() };
    let what = match act {
        ModerationAct::Kick => "was taken out of the room",
        ModerationAct::Ban => "was banned",
        ModerationAct::Unban => "was unbanned",
        ModerationAct::Mute => "was muted",
        ModerationAct::Unmute => "was unmuted",
    };
    let room = room.as_ref().map(|room| format!(" {room}")).unwrap_or_default();
    let by = by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let time = ttl_ms.map(std::time::Duration::from_millis).map(human::time);
    let time = time.map(|time| format!(" for {time}")).unwrap_or_default();
    let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    format!("{nick} {what}{room}{by}{time}{reason}")
}

/// Whether both are the same name to people.
pub(super) fn is_same_name(one: &str, other: &str) -> bool {
    one == other || matches!((Name::parse(one), Name::parse(other)), (Ok(one), Ok(other)) if one.looks_like(&other))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIEW: View<'_> = View {
        nick: "ann",
        names_rooms: false,
        is_terminal: false,
        now_ms: 1_700_000_000_000,
        has_returned: false,
        is_past: false,
    };

    fn shown(event: &ChatEvent, view: View<'_>) -> String {
        pieces(event, view).into_iter().map(|piece| piece.text).collect()
    }

    #[test]
    fn every_line_says_what_it_is_by_its_beginning() {
        let fields = SayFields { room: Some("attic".into()), nick: Some("bob".into()), ..SayFields::default() };
        let said = |fields: SayFields<'static>| ChatEvent::Said { fields, text: "left".into() };
        let view = View { names_rooms: true, ..VIEW };
        let left = |is_lost| ChatEvent::Left { nick: "bob".into(), room: Some("attic".into()), is_lost };
        let joined = ChatEvent::Joined { room: "attic".into(), nick: "bob".into(), seq: None, is_guest: true };
        for (event, view, want) in [
            (said(fields.clone()), VIEW, "bob: left"),
            (said(fields.clone()), view, "#attic bob: left"),
            (said(SayFields { is_action: true, ..fields.clone() }), VIEW, "*bob left"),
            (said(SayFields { is_guest: true, is_action: true, ..fields.clone() }), view, "#attic *~bob left"),
            (said(SayFields { room: None, to: Some("ann".into()), ..fields.clone() }), view, "bob -> ann: left"),
            (
                said(SayFields { time_ms: Some(0), ..fields.clone() }),
                View { is_past: true, ..view },
                "@1970-01-01T00:00:00Z #attic bob: left",
            ),
            (left(false), VIEW, "* bob left"),
            (left(true), view, "#attic * bob left: connection lost"),
            (joined.clone(), VIEW, "* ~bob joined"),
            (joined, View { has_returned: true, ..VIEW }, "* ~bob is back"),
        ] {
            assert_eq!(shown(&event, view), want);
        }
    }

    #[test]
    fn a_mention_is_a_whole_word_in_any_case() {
        for (text, want) in [
            ("ann, look", true),
            ("hi Ann!", true),
            ("@ANN", true),
            ("hannah and anna", false),
            ("ann_b", false),
            ("joann ann", true),
            ("", false),
        ] {
            assert_eq!(is_mentioned("ann", text), want, "{text:?}");
        }
        assert!(is_mentioned("\u{c9}va", "ja, \u{e9}va?") && !is_mentioned("", "x"));
    }
}
