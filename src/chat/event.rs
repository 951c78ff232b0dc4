//! One thing that happened, as members get it. Each form of it is encoded once, when the first member needs it, and
//! shared.

use std::sync::{Arc, OnceLock};

use crate::wire::channel::encode;
use crate::wire::message::{Message, SayFields};

/// How a member wants its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Frames as the first version of the protocol had them: a message has its sender's nick, nothing else. For clients
    /// that are in one room and ask for nothing more.
    Short,
    /// Frames with all fields.
    Full,
    /// Text messages of WebSocket: the header's JSON object, with the body in its field `text`.
    WebSocket,
}

/// Something that happened.
#[derive(Debug)]
pub struct Event {
    message: Message<'static>,
    body: Box<[u8]>,
    short: OnceLock<Arc<[u8]>>,
    full: OnceLock<Arc<[u8]>>,
    web: OnceLock<Arc<[u8]>>,
}

impl Event {
    /// The event that this message tells.
    pub fn of(message: Message<'static>, body: &[u8]) -> Arc<Self> {
        let [short, full, web] = [OnceLock::new(), OnceLock::new(), OnceLock::new()];
        Arc::new(Self { message, body: body.into(), short, full, web })
    }

    /// The message.
    pub const fn message(&self) -> &Message<'static> {
        &self.message
    }

    /// Its body.
    pub const fn body(&self) -> &[u8] {
        &self.body
    }

    /// Whether members with this format get it.
    pub const fn is_for(&self, format: Format) -> bool {
        !matches!((&self.message, format), (Message::Notice { .. }, Format::Short))
    }

    /// Its bytes for a member.
    pub fn bytes(&self, format: Format) -> &Arc<[u8]> {
        // This runs for each delivery: nothing but the look at the slot may be done here.
        match format {
            Format::Short => self.short.get_or_init(|| encoded(&shortened(&self.message), &self.body, format)),
            Format::Full => self.full.get_or_init(|| encoded(&self.message, &self.body, format)),
            Format::WebSocket => self.web.get_or_init(|| encoded(&self.message, &self.body, format)),
        }
    }

    /// Its bytes for a member that was not there when it happened.
    pub fn past_bytes(&self, format: Format) -> Arc<[u8]> {
        let message = match &self.message {
            Message::Say { fields } => Message::Say { fields: SayFields { is_past: true, ..fields.clone() } },
            other => other.clone(),
        };
        encoded(&message, &self.body, format)
    }
}

fn shortened(message: &Message<'static>) -> Message<'static> {
    match message {
        Message::Say { fields: SayFields { nick, to, .. } } => {
            Message::Say { fields: SayFields { nick: nick.clone(), to: to.clone(), ..SayFields::default() } }
        }
        Message::Joined { room, nick, .. } => {
            Message::Joined { room: room.clone(), nick: nick.clone(), seq: None, is_guest: false }
        }
        Message::Left { nick, .. } => Message::Left { nick: nick.clone(), room: None, is_lost: false },
        other => other.clone(),
    }
}

/// Headers of a chat are far below a frame's limits, so that it always can be encoded.
fn encoded(message: &Message<'_>, body: &[u8], format: Format) -> Arc<[u8]> {
    match format {
        Format::Short | Format::Full => encode(message, body).unwrap_or_default().into(),
        Format::WebSocket => super::web::text_frame(message, body).into(),
    }
}
