//! Chat: rooms, nicks, and a reader too slow to keep up never holds anybody else up.
//!
//! ```text
//! client: chat ROOM NICK, say*, nick*, names*, end
//! server: joined (you), then say*, joined*, left*, renamed*, names*, dropped*, error*, end
//! ```
//!
//! [`hub`] knows who is in which room, [`names`] which names look the same, [`fanout`] delivers, and both halves of
//! the conversation are on this page.

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

/// Longest text said at once, in bytes; more is a file.
pub const TEXT_LEN_MAX: u32 = 64 * 1024;

/// Serves one stay in a room. During it only the fan-out writes to this connection: everything that the
/// member is to hear, refusals included, goes through it and keeps its order.
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
    // What the fan-out had begun to send must be finished before anybody else writes.
    let leftover = member.leave();
    let is_unsent = !leftover.is_empty() || connection.sender().lock().stream().has_unsent();
    if heard.is_err() && is_unsent {
        // The connection stands in the middle of a frame: nothing that is said now would be understood.
        connection.control().stop();
    }
    heard?;
    connection.sender().send_raw(&leftover)?;
    connection.sender().send(&Message::End { total: None }, &[])?;
    session.report.outcome = Some(format!("said {said}"));
    Ok(())
}

/// Hears the member out until `end`.
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
    /// Somebody said something.
    Said {
        /// Who.
        nick: String,
        /// What.
        text: String,
    },
    /// Somebody entered.
    Joined(String),
    /// Somebody left.
    Left(String),
    /// Somebody is called something else; for yourself, the new nick was accepted.
    Renamed {
        /// The old nick.
        from: String,
        /// The new one.
        to: String,
    },
    /// Who is here.
    Names(Vec<String>),
    /// So many messages did not reach you because you read too slowly.
    Dropped(u64),
    /// Something you asked for was refused; you are still in the room.
    Refused(Refusal),
}

/// A stay in a room that has begun. What comes from it is heard at the listener and said at the speaker, which may be
/// on different threads.
#[derive(Debug)]
pub struct Stay<'l> {
    /// The room, as the server calls it: the one that was meant may have been there under a name that looks the same.
    pub room: String,
    /// The nick, as others see it.
    pub nick: String,
    /// See above.
    pub listener: ChatEvents<'l>,
    /// See above.
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

/// The listening side of a stay in a room.
#[derive(Debug)]
pub struct ChatEvents<'l> {
    receiver: &'l mut ConnectionReceiver,
}

impl ChatEvents<'_> {
    /// Waits for the next event; `None` when the stay is over, which [`Speaker::leave`] asks for.
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
                // A newer server may tell more; what is not understood is not shown.
                Err(Error::Refused(_)) => continue,
                Err(error) => return Err(error),
            };
            return Ok(Some(event));
        }
    }
}

/// The speaking side of a stay in a room.
#[derive(Debug, Clone)]
pub struct Speaker {
    sender: ConnectionSender,
}

impl Speaker {
    /// Says something to everybody else in the room.
    ///
    /// # Errors
    /// The connection failed.
    pub fn say(&self, text: &str) -> Result<()> {
        self.sender.send(&Message::Say { nick: None }, text.as_bytes())
    }

    /// Asks for another nick; the answer is an event.
    ///
    /// # Errors
    /// The connection failed.
    pub fn rename(&self, nick: &str) -> Result<()> {
        self.sender.send(&Message::Nick { nick: nick.into() }, &[])
    }

    /// Asks who is here; the answer is an event.
    ///
    /// # Errors
    /// The connection failed.
    pub fn ask_names(&self) -> Result<()> {
        self.sender.send(&Message::Names, &[])
    }

    /// Ends the stay; the listener hears the rest, then `None`.
    ///
    /// # Errors
    /// The connection failed.
    pub fn leave(&self) -> Result<()> {
        self.sender.send(&Message::End { total: None }, &[])
    }
}

/// A message as one frame's bytes; all of ours are far below a header's limit.
fn frame(message: &Message<'_>, body: &[u8]) -> Result<std::sync::Arc<[u8]>, Refusal> {
    encode(message, body).map(Into::into).map_err(|error| Refusal::new(ErrorCode::Failed, error.to_string()))
}
