//! Chat: rooms and nicks. A slow reader never delays the other members.
//!
//! ```text
//! client: chat ROOM NICK, say*, nick*, names*, end
//! server: joined (you), then say*, joined*, left*, renamed*, names*, dropped*, error*, end
//! ```
//!
//! [`hub`] has the members of each room, [`names`] finds names that look the same, [`fanout`] delivers. Both halves of
//! the exchange are in this file.

pub mod fanout;
pub mod hub;
pub mod names;

use crate::connection::{Connection, ConnectionReceiver, ConnectionSender};
use crate::error::{ConnectionLost, Error, ErrorCode, Refusal, Result};
use crate::session::Session;
use crate::wire::channel::{encode, unexpected};
use crate::wire::message::Message;
use hub::{Hub, Member};
pub use names::NAME_CHARS_MAX;
use names::Name;

/// Longest text of one message, in bytes; longer texts are sent as files.
pub const TEXT_LEN_MAX: u32 = 64 * 1024;

/// Serves one membership in a room. Until it ends, only the fan-out writes to this connection: all messages for the
/// member, refusals included, go through it and keep their order.
///
/// # Errors
/// A refusal for the client, or the connection failed.
pub fn serve_chat(connection: &mut Connection, session: &mut Session, hub: &Hub, room: &str, nick: &str) -> Result<()> {
    let (room, nick) = (Name::parse(room)?, Name::parse(nick)?);
    connection.sender().flush()?;
    let writer = connection.sender().lock().stream().clone();
    let shown = nick.as_str().to_owned();
    let member = hub.enter(&room, nick, writer)?;
    session.report.about = format!("{shown} in {}", member.room());
    let heard = listen(connection, &member);
    let said = member.said();
    // A frame that the fan-out has begun must be finished before anything else is written.
    let leftover = member.leave();
    let is_unsent = !leftover.is_empty() || connection.sender().lock().stream().has_unsent();
    if heard.is_err() && is_unsent {
        // The connection is in the middle of a frame: nothing that follows would be understood.
        connection.control().stop();
    }
    heard?;
    connection.sender().send_raw(&leftover)?;
    connection.sender().send(&Message::End { total: None }, &[])?;
    session.report.outcome = Some(format!("said {said}"));
    Ok(())
}

/// Reads the member's messages until `end`.
fn listen(connection: &mut Connection, member: &Member) -> Result<()> {
    let receiver = connection.receiver();
    loop {
        let refused = match receiver.expect("end") {
            Ok(Message::End { .. }) => return Ok(()),
            Ok(Message::Say { .. }) => hear(receiver, member)?,
            Ok(Message::Nick { nick }) => Name::parse(&nick).and_then(|nick| member.rename(nick)),
            Ok(Message::Names) => member.list_names(),
            Ok(other) => return Err(unexpected(&other, "say, nick, names or end")),
            Err(Error::Refused(refusal)) => Err(refusal),
            Err(error) => return Err(error),
        };
        if let Err(refusal) = refused {
            let message = Message::Error { code: refusal.code, message: refusal.message.into() };
            member.tell(&message, &[])?;
        }
    }
}

fn hear(receiver: &mut ConnectionReceiver, member: &Member) -> Result<Result<(), Refusal>> {
    Ok(match receiver.body_text(TEXT_LEN_MAX) {
        Ok(text) => member.say(&text),
        Err(Error::PeerMisbehaved(what)) => Err(Refusal::new(ErrorCode::BadRequest, format!("say: {what}"))),
        Err(error) => return Err(error),
    })
}

/// Something that happened in the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChatEvent {
    /// A member sent a message.
    Said {
        /// The member's nick.
        nick: String,
        /// The text.
        text: String,
    },
    /// A member with this nick entered.
    Joined(String),
    /// The member with this nick left.
    Left(String),
    /// A member has a new nick. If the old one is yours, your new nick was accepted.
    Renamed {
        /// The old nick.
        from: String,
        /// The new nick.
        to: String,
    },
    /// The nicks of all members.
    Names(Vec<String>),
    /// The number of messages that were dropped because this client reads too slowly.
    Dropped(u64),
    /// A request was refused; this client is still in the room.
    Refused(Refusal),
}

/// A membership in a room. Events arrive at `listener` and messages are sent by `speaker`, which may be used on
/// different threads.
#[derive(Debug)]
pub struct Stay<'l> {
    /// The room's name at the server. It may differ from the requested name, if a room with a name that looks the same
    /// exists.
    pub room: String,
    /// The nick, as others see it.
    pub nick: String,
    /// Receives the events of the room.
    pub listener: ChatEvents<'l>,
    /// Sends messages and requests.
    pub speaker: Speaker,
}

/// Enters a room.
///
/// # Errors
/// The nick is taken or no name, chat is not allowed here, or the connection failed.
pub fn call_chat<'l>(connection: &'l mut Connection, room: &str, nick: &str) -> Result<Stay<'l>> {
    connection.sender().send(&Message::Chat { room: room.into(), nick: nick.into() }, &[])?;
    let (room, nick) = match connection.answer_or_refusal("joined") {
        Ok(Message::Joined { room, nick }) => (room.into_owned(), nick.into_owned()),
        Ok(other) => return Err(unexpected(&other, "joined")),
        Err(Error::Refused(refusal)) => {
            // The exchange is closed on this side too, so that the connection can be used again.
            connection.sender().send(&Message::End { total: None }, &[])?;
            return Err(refusal.into());
        }
        Err(error) => return Err(error),
    };
    let speaker = Speaker { sender: connection.sender().clone() };
    Ok(Stay { room, nick, listener: ChatEvents { receiver: connection.receiver() }, speaker })
}

/// The receiving side of a membership in a room.
#[derive(Debug)]
pub struct ChatEvents<'l> {
    receiver: &'l mut ConnectionReceiver,
}

impl ChatEvents<'_> {
    /// Waits for the next event; `None`: the membership has ended, after [`Speaker::leave`].
    ///
    /// # Errors
    /// The connection failed.
    pub fn hear(&mut self) -> Result<Option<ChatEvent>> {
        loop {
            let event = match self.receiver.recv() {
                Ok(Some(Message::End { .. })) => return Ok(None),
                Ok(None) => return Err(ConnectionLost::Closed { wanted: "end" }.into()),
                Ok(Some(Message::Say { nick })) => {
                    let nick = nick.map(std::borrow::Cow::into_owned).unwrap_or_default();
                    ChatEvent::Said { nick, text: self.receiver.body_text(TEXT_LEN_MAX)? }
                }
                Ok(Some(Message::Joined { nick, .. })) => ChatEvent::Joined(nick.into_owned()),
                Ok(Some(Message::Left { nick })) => ChatEvent::Left(nick.into_owned()),
                Ok(Some(Message::Renamed { nick, to })) => {
                    ChatEvent::Renamed { from: nick.into_owned(), to: to.into_owned() }
                }
                Ok(Some(Message::Names)) => {
                    let names = self.receiver.body_text(crate::wire::frame::BODY_LEN_MAX)?;
                    ChatEvent::Names(names.lines().map(str::to_owned).collect())
                }
                Ok(Some(Message::Dropped { count })) => ChatEvent::Dropped(count),
                Ok(Some(Message::Error { code, message })) => ChatEvent::Refused(Refusal::new(code, message)),
                Ok(Some(other)) => return Err(unexpected(&other, "something said in the room")),
                // A newer server may send other events; unknown ones are skipped.
                Err(Error::Refused(_)) => continue,
                Err(error) => return Err(error),
            };
            return Ok(Some(event));
        }
    }
}

/// The sending side of a membership in a room.
#[derive(Debug, Clone)]
pub struct Speaker {
    sender: ConnectionSender,
}

impl Speaker {
    /// Sends a message to all other members of the room.
    ///
    /// # Errors
    /// The connection failed.
    pub fn say(&self, text: &str) -> Result<()> {
        self.sender.send(&Message::Say { nick: None }, text.as_bytes())
    }

    /// Requests another nick; the answer is an event.
    ///
    /// # Errors
    /// The connection failed.
    pub fn rename(&self, nick: &str) -> Result<()> {
        self.sender.send(&Message::Nick { nick: nick.into() }, &[])
    }

    /// Requests the list of nicks; the answer is an event.
    ///
    /// # Errors
    /// The connection failed.
    pub fn ask_names(&self) -> Result<()> {
        self.sender.send(&Message::Names, &[])
    }

    /// Leaves the room; the listener gets the remaining events, then `None`.
    ///
    /// # Errors
    /// The connection failed.
    pub fn leave(&self) -> Result<()> {
        self.sender.send(&Message::End { total: None }, &[])
    }
}

/// A message as one frame's bytes; chat headers are far below the limit.
fn frame(message: &Message<'_>, body: &[u8]) -> Result<std::sync::Arc<[u8]>, Refusal> {
    encode(message, body).map(Into::into).map_err(|error| Refusal::new(ErrorCode::Failed, error.to_string()))
}
