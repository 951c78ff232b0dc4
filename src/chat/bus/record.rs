//! A message as it stands in the outbox and on the bus: one JSON object.

use serde::{Deserialize, Serialize};

use super::super::TEXT_LEN_MAX;
use super::super::clients::ClientOrigin;
use super::super::event::Event;
use super::super::member::TOPIC_LEN_MAX;
use super::super::names::Name;
use super::super::store::StoredEvent;
use crate::wire::message::{Message, SayFields};

/// Hexadecimal digits of the digest by which a message is known that its client does not number.
const IDENTITY_LEN: usize = 24;

/// What makes a message the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The client's origin, or a digest of who sent which text.
    pub who: String,
    /// The client's number of the message, or when it was sent.
    pub number: u64,
    /// Whether the client numbers its messages. If not, two that are the same in all may still be two.
    pub is_sure: bool,
}

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordKind {
    /// A message to a room.
    Say,
    /// A room's topic; an empty text removes it.
    Topic,
    /// A private message to a member of one other server. The room is its nick.
    Direct,
}

/// For whom a private message is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receiver {
    /// Its server's name.
    pub server: String,
    /// Its client's origin; `None`: it is not known again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

/// A message, with what every server needs to deliver it. Its number in a room is each server's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its number among those of its server, without a gap.
    pub seq: u64,
    /// What it is.
    pub kind: RecordKind,
    /// The room.
    pub room: String,
    /// For whom a private message is; `None`: it is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiver: Option<Receiver>,
    /// Who sent it.
    pub nick: String,
    /// The client's number of the message; `None`: the client does not number them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// The client's origin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// When its server received it, milliseconds since 1970 UTC.
    pub time_ms: u64,
    /// Whether the text says what the sender does.
    #[serde(default, skip_serializing_if = "is_false")]
    pub action: bool,
    /// Whether the sender is a guest.
    #[serde(default, skip_serializing_if = "is_false")]
    pub guest: bool,
    /// The text.
    pub text: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

impl Record {
    /// The record of a message to a room, or of a topic, with the number `seq`; `None`: it is neither.
    pub fn of(stored: &StoredEvent, seq: u64) -> Option<Self> {
        let text = String::from_utf8_lossy(stored.event.body()).into_owned();
        let room = stored.room.to_string();
        match stored.event.message() {
            Message::Say { fields } if fields.to.is_none() => {
                let SayFields { nick, id, origin, time_ms, is_action, is_guest, .. } = fields.clone();
                Some(Self {
                    seq,
                    kind: RecordKind::Say,
                    room,
                    receiver: None,
                    nick: nick.unwrap_or_default().into_owned(),
                    id,
                    origin: origin.map(std::borrow::Cow::into_owned),
                    time_ms: time_ms.unwrap_or_default(),
                    action: is_action,
                    guest: is_guest,
                    text,
                })
            }
            Message::Topic { nick, time_ms, .. } => Some(Self {
                seq,
                kind: RecordKind::Topic,
                room,
                receiver: None,
                nick: nick.clone().unwrap_or_default().into_owned(),
                id: None,
                origin: None,
                time_ms: time_ms.unwrap_or_default(),
                action: false,
                guest: false,
                text,
            }),
            _ => None,
        }
    }

    /// The record of a private message to a member of the server `server`; its number is yet to be set.
    pub fn of_direct(stored: &StoredEvent, server: &str) -> Option<Self> {
        let Message::Say { fields } = stored.event.message() else { return None };
        let fields = SayFields { to: None, ..fields.clone() };
        let event = Event::of(Message::Say { fields }, stored.event.body());
        let origin = stored.receiver.as_ref().map(|origin| origin.as_str().to_owned());
        let receiver = Some(Receiver { server: server.to_owned(), origin });
        let record = Self::of(&StoredEvent { event, ..stored.clone() }, 0)?;
        Some(Self { kind: RecordKind::Direct, receiver, ..record })
    }

    /// One line of JSON.
    pub fn to_json(&self) -> String {
        // Texts and numbers always can be written as JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The record in this JSON, which may come from a stranger.
    ///
    /// # Errors
    /// It is none, or has a name or a text that no server would have taken.
    pub fn parse(json: &str) -> Result<Self, String> {
        let record: Self = serde_json::from_str(json).map_err(|error| error.to_string())?;
        for name in [&record.room, &record.nick] {
            Name::parse(name).map_err(|refusal| refusal.message)?;
        }
        let len_max = match record.kind {
            RecordKind::Say | RecordKind::Direct => usize::try_from(TEXT_LEN_MAX).unwrap_or(usize::MAX),
            RecordKind::Topic => TOPIC_LEN_MAX,
        };
        if record.text.len() > len_max {
            return Err(format!("its text has {} bytes, and {len_max} is the limit", record.text.len()));
        }
        if record.origin.as_ref().is_some_and(|origin| ClientOrigin::of_kept(origin).is_none()) {
            return Err("its origin is none".into());
        }
        if (record.kind == RecordKind::Direct) != record.receiver.is_some() {
            return Err("it is private and has no receiver, or the reverse".into());
        }
        Ok(record)
    }

    /// What makes it the same message, whichever server took it.
    pub fn identity(&self) -> Identity {
        if let (Some(origin), Some(id)) = (&self.origin, self.id) {
            return Identity { who: origin.clone(), number: id, is_sure: true };
        }
        let what = blake3::hash(format!("{}\0{}", self.nick, self.text).as_bytes()).to_hex();
        Identity { who: what.chars().take(IDENTITY_LEN).collect(), number: self.time_ms, is_sure: false }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> Record {
        Record {
            seq: 7,
            kind: RecordKind::Say,
            room: "lobby".into(),
            receiver: None,
            nick: "ann".into(),
            id: Some(3),
            origin: Some("d81a1c26b94f07e3".into()),
            time_ms: 1_700_000_000_000,
            action: false,
            guest: true,
            text: "hi".into(),
        }
    }

    #[test]
    fn a_message_keeps_its_sender_and_loses_its_number_in_the_room() {
        let fields = SayFields {
            room: Some("lobby".into()),
            nick: Some("ann".into()),
            id: Some(3),
            origin: Some("d81a1c26b94f07e3".into()),
            seq: Some(42),
            time_ms: Some(1_700_000_000_000),
            is_guest: true,
            ..SayFields::default()
        };
        let event = Event::of(Message::Say { fields: fields.clone() }, b"hi");
        let stored = StoredEvent { room: "lobby".into(), receiver: None, seq: 42, event };
        assert_eq!(Record::of(&stored, 7), Some(record()));
        let fields = SayFields { to: Some("bob".into()), ..fields };
        let stored = StoredEvent { event: Event::of(Message::Say { fields }, b"hi"), ..stored };
        assert_eq!(Record::of(&stored, 8), None, "a private message is not for all servers");
    }

    #[test]
    fn what_no_server_would_have_taken_is_no_record() {
        assert!(Record::parse(&record().to_json()).is_ok());
        let long = "x".repeat(64 * 1024 + 1);
        for bad in [
            Record { nick: "a b".into(), ..record() },
            Record { nick: "\u{1b}[31m".into(), ..record() },
            Record { room: String::new(), ..record() },
            Record { kind: RecordKind::Direct, ..record() },
            Record { text: long, ..record() },
            Record { kind: RecordKind::Topic, text: "x".repeat(TOPIC_LEN_MAX + 1), ..record() },
            Record { origin: Some("x".repeat(16)), ..record() },
        ] {
            assert!(Record::parse(&bad.to_json()).is_err(), "{bad:?}");
        }
        for bad in ["", "{}", "null", "[]", r#"{"seq":-1}"#, "\u{0}"] {
            assert!(Record::parse(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_record_comes_back_from_its_line(seq: u64, id: Option<u64>, text: String, action: bool) {
            let record = Record { seq, id, action, text, ..record() };
            let json = record.to_json();
            prop_assert!(!json.contains('\n'));
            prop_assert_eq!(Record::parse(&json), Ok(record));
        }

        #[test]
        fn no_line_panics(line: String) {
            drop(Record::parse(&line));
        }
    }
}
