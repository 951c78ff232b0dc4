//! One message as a line of the history: a checksum, a space, and a JSON object.
//!
//! The object is the message's header with its body in `text`, as WebSocket carries it, and for a private message `for`:
//! the origin of the client that gets it.

use serde::Deserialize;

use super::super::event::Event;
use super::super::web::{TEXT_FIELD, json};
use crate::error::Refusal;
use crate::wire::header::Header;
use crate::wire::message::{Message, SayFields};

/// Hexadecimal digits of the checksum: the beginning of the object's BLAKE3.
const SUM_LEN: usize = 16;

/// A line that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The message, with all its fields.
    pub message: Message<'static>,
    /// Its text.
    pub text: String,
    /// For a private message: the origin of the client that gets it.
    pub receiver: Option<String>,
    /// Its number in the room, or among the receiver's private messages.
    pub seq: u64,
}

#[derive(Deserialize)]
struct Rest {
    #[serde(default)]
    text: String,
    #[serde(default, rename = "for")]
    receiver: Option<String>,
    #[serde(default)]
    seq: Option<u64>,
}

/// The line of a message, with its end. `seq` is kept also where the message has no field for it.
pub fn encode(event: &Event, receiver: Option<&str>, seq: u64) -> Vec<u8> {
    let mut object = json(event.message(), event.body());
    let has_seq = matches!(event.message(), Message::Say { fields: SayFields { seq: Some(_), .. } });
    if object.pop() == Some(b'}') {
        if !has_seq {
            object.extend_from_slice(format!(",\"seq\":{seq}").as_bytes());
        }
        if let Some(receiver) = receiver {
            object.extend_from_slice(format!(",\"for\":\"{receiver}\"").as_bytes());
        }
        object.push(b'}');
    }
    let mut line = sum(&object).into_bytes();
    line.push(b' ');
    line.extend_from_slice(&object);
    line.push(b'\n');
    line
}

/// The message of a line without its end; `None`: it is damaged, or of a kind that is not kept.
pub fn decode(line: &[u8]) -> Option<Line> {
    let (found, object) = line.split_at_checked(SUM_LEN)?;
    let object = object.strip_prefix(b" ")?;
    if found != sum(object).as_bytes() {
        return None;
    }
    let Rest { text, receiver, seq } = serde_json::from_slice(object).ok()?;
    let message: Result<Message<'_>, Refusal> = Message::of(Header::parse(object).ok()?);
    let message = match message.ok()? {
        Message::Say { fields } => Message::Say { fields: fields.into_owned() },
        Message::Topic { room, nick, time_ms } => {
            let nick = nick.map(|nick| nick.into_owned().into());
            Message::Topic { room: room.into_owned().into(), nick, time_ms }
        }
        _ => return None,
    };
    Some(Line { message, text, receiver, seq: seq? })
}

fn sum(object: &[u8]) -> String {
    blake3::hash(object).to_hex().chars().take(SUM_LEN).collect()
}

const _: () = assert!(TEXT_FIELD.len() == 4, "`Rest` names the field `text`");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(text: &str) -> (std::sync::Arc<Event>, SayFields<'static>) {
        let fields = SayFields {
            room: Some("lobby".into()),
            nick: Some("ann".into()),
            id: Some(3),
            origin: Some("d8a1c26b94f07e35".into()),
            seq: Some(42),
            time_ms: Some(5),
            is_guest: true,
            ..SayFields::default()
        };
        (Event::of(Message::Say { fields: fields.clone() }, text.as_bytes()), fields)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(text in any::<String>(), receiver in proptest::option::of("[0-9a-f]{16}")) {
            let (event, fields) = said(&text);
            let line = encode(&event, receiver.as_deref(), 42);
            let whole = line.strip_suffix(b"\n").unwrap();
            prop_assert!(!whole.contains(&b'\n'), "one line, whatever the text has");
            let want = Line { message: Message::Say { fields }, text, receiver, seq: 42 };
            prop_assert_eq!(decode(whole), Some(want));
        }
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let (event, _) = said("hi");
        let line = encode(&event, None, 42);
        let whole = line.strip_suffix(b"\n").unwrap();
        for at in 0..whole.len() {
            assert_eq!(decode(whole.get(..at).unwrap()), None, "cut at {at}");
            for bit in 0..8 {
                let mut flipped = whole.to_vec();
                flipped[at] ^= 1 << bit;
                assert_eq!(decode(&flipped), None, "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn a_topic_keeps_the_number_that_its_message_has_no_field_for() {
        let topic = Message::Topic { room: "lobby".into(), nick: Some("ann".into()), time_ms: Some(5) };
        let line = encode(&Event::of(topic.clone(), b"lunch"), None, 9);
        let read = decode(line.strip_suffix(b"\n").unwrap()).unwrap();
        assert_eq!((read.message, read.text.as_str(), read.seq), (topic, "lunch", 9));
    }
}
