//! Messages of a chat as WebSocket carries them (RFC 6455): a text message each, which is the header's JSON object with
//! the body, as text, in its field `text`.

use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::wire::message::Message;

/// The name of the field that has the body.
pub const TEXT_FIELD: &str = "text";

/// A message as one frame from a server, which is not masked (RFC 6455, 5.1).
pub fn text_frame(message: &Message<'_>, body: &[u8]) -> Vec<u8> {
    let frame = Frame::message(json(message, body), OpCode::Data(Data::Text), true);
    let mut bytes = Vec::with_capacity(frame.len());
    // Writing into memory does not fail.
    drop(frame.format(&mut bytes));
    bytes
}

/// The JSON object of a message with its body.
pub fn json(message: &Message<'_>, body: &[u8]) -> Vec<u8> {
    let mut object = Vec::with_capacity(body.len() + 160);
    drop(message.write_header(0, &mut object));
    if body.is_empty() || object.pop() != Some(b'}') {
        return object;
    }
    object.extend_from_slice(format!(",\"{TEXT_FIELD}\":").as_bytes());
    drop(serde_json::to_writer(&mut object, &String::from_utf8_lossy(body)));
    object.push(b'}');
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::SayFields;

    #[test]
    fn a_message_is_an_object_with_its_text() {
        let fields = SayFields { nick: Some("ann".into()), ..SayFields::default() };
        let said = json(&Message::Say { fields }, "hi \"du\" 收到".as_bytes());
        assert_eq!(String::from_utf8(said).unwrap(), r#"{"type":"say","nick":"ann","text":"hi \"du\" 收到"}"#);
        assert_eq!(json(&Message::Rooms, b""), br#"{"type":"rooms"}"#);
        assert_eq!(text_frame(&Message::Rooms, b"").get(..2), Some(&[0x81, 16][..]), "5.2: FIN, text, not masked");
    }
}
