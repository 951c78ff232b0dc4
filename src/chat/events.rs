//! A membership as the client has it: what happens in its rooms, and what it asks for.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::TEXT_LEN_MAX;
use crate::connection::{ConnectionReceiver, ConnectionSender};
use crate::error::{ConnectionLost, Error, Refusal, Result};
use crate::wire::channel::unexpected;
use crate::wire::frame::BODY_LEN_MAX;
use crate::wire::message::{Message, ModerationAct, SayFields};

/// Something that happened in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChatEvent {
    /// A member sent a message.
    Said {
        /// Who, where, when.
        fields: SayFields<'static>,
        /// The text.
        text: String,
    },
    /// The server has a message of this client.
    Acknowledged {
        /// The client's number of the message.
        id: u64,
        /// Its number in the room.
        seq: Option<u64>,
        /// When it arrived, milliseconds since 1970 UTC.
        time_ms: Option<u64>,
    },
    /// A message of this client was not sent on.
    NotSent {
        /// The client's number of the message.
        id: u64,
        /// Why.
        refusal: Refusal,
    },
    /// A member with this nick entered.
    Joined {
        /// The room.
        room: String,
        /// The nick.
        nick: String,
        /// The number of the room's last message.
        seq: Option<u64>,
        /// Whether the member is a guest.
        is_guest: bool,
    },
    /// The member with this nick left.
    Left {
        /// The nick.
        nick: String,
        /// The room; `None`: the only one.
        room: Option<String>,
        /// Whether its connection was lost: it may come back.
        is_lost: bool,
    },
    /// A member has a new nick. If the old one is yours, your new nick was accepted.
    Renamed {
        /// The old nick.
        from: String,
        /// The new nick.
        to: String,
    },
    /// The nicks of all members of a room.
    Names {
        /// The room; `None`: the only one.
        room: Option<String>,
        /// The nicks.
        names: Vec<String>,
    },
    /// The rooms of the server.
    Rooms(Vec<RoomRow>),
    /// Who has a nick.
    Who(WhoRow),
    /// A room's topic.
    Topic {
        /// The room.
        room: String,
        /// Who set it.
        nick: Option<String>,
        /// When, milliseconds since 1970 UTC.
        time_ms: Option<u64>,
        /// The topic; empty: there is none.
        text: String,
    },
    /// An operator's act.
    Moderated {
        /// What was done.
        act: ModerationAct,
        /// To whom.
        nick: String,
        /// Where; `None`: in all rooms.
        room: Option<String>,
        /// By whom.
        by: Option<String>,
        /// For how long, in milliseconds; `None`: until it is undone.
        ttl_ms: Option<u64>,
        /// Why; empty: no reason was given.
        reason: String,
    },
    /// Messages were dropped because this client reads too slowly, or are no longer kept.
    Dropped {
        /// How many; 0: their number is not known.
        count: u64,
        /// The room; `None`: any.
        room: Option<String>,
    },
    /// Something that all members should know of the chat itself.
    Notice {
        /// What it is, for programs: `bus-lost`, `bus-joined`, `nick-lost`.
        name: String,
        /// The same for people.
        message: String,
    },
    /// A request was refused; this client is still in its rooms.
    Refused(Refusal),
}

/// A room in the answer to `rooms`: one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomRow {
    /// Its name.
    pub room: String,
    /// The number of its members.
    pub members: usize,
    /// Its topic; `None`: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
}

/// The answer to `who`: a JSON object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhoRow {
    /// The nick.
    pub nick: String,
    /// `own` (the server's user), `known`, `token` or `guest`.
    pub kind: String,
    /// The peer's name at the server; `None`: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The fingerprint of the key that it proved; `None`: it proved none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Its rooms.
    pub rooms: Vec<String>,
    /// When it entered, milliseconds since 1970 UTC.
    pub since_ms: u64,
    /// Whether it may kick, ban and mute.
    #[serde(default)]
    pub operator: bool,
    /// Whether its connection was lost, and its nick is kept for it.
    #[serde(default)]
    pub lost: bool,
}

/// The receiving side of a membership.
#[derive(Debug)]
pub struct ChatEvents<'l> {
    pub(super) receiver: &'l mut ConnectionReceiver,
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
                Ok(Some(message)) => {
                    let message = Happening::of(message)?;
                    message.with_body(self.receiver)?
                }
                // A newer server may send other events; unknown ones are skipped.
                Err(Error::Refused(_)) => continue,
                Err(error) => return Err(error),
            };
            return Ok(Some(event));
        }
    }
}

/// An event before its body is read, which the header's borrow does not outlive.
enum Happening {
    Whole(ChatEvent),
    Said(SayFields<'static>),
    Names(Option<String>),
    Rooms,
    Who,
    Topic { room: String, nick: Option<String>, time_ms: Option<u64> },
    Moderated { act: ModerationAct, nick: String, room: Option<String>, by: Option<String>, ttl_ms: Option<u64> },
}

fn owned(text: Option<Cow<'_, str>>) -> Option<String> {
    text.map(Cow::into_owned)
}

impl Happening {
    fn of(message: Message<'_>) -> Result<Self> {
        Ok(match message {
            Message::Say { fields } => Self::Said(fields.into_owned()),
            Message::Names { room } => Self::Names(owned(room)),
            Message::Rooms => Self::Rooms,
            Message::Who { .. } => Self::Who,
            Message::Topic { room, nick, time_ms } => {
                Self::Topic { room: room.into_owned(), nick: owned(nick), time_ms }
            }
            Message::Moderate { act, nick, room, ttl_ms, by } => {
                Self::Moderated { act, nick: nick.into_owned(), room: owned(room), by: owned(by), ttl_ms }
            }
            Message::Ack { id, seq, time_ms } => Self::Whole(ChatEvent::Acknowledged { id, seq, time_ms }),
            Message::Refused { id, code, message } => {
                Self::Whole(ChatEvent::NotSent { id, refusal: Refusal::new(code, message) })
            }
            Message::Joined { room, nick, seq, is_guest } => {
                let (room, nick) = (room.into_owned(), nick.into_owned());
                Self::Whole(ChatEvent::Joined { room, nick, seq, is_guest })
            }
            Message::Left { nick, room, is_lost } => {
                Self::Whole(ChatEvent::Left { nick: nick.into_owned(), room: owned(room), is_lost })
            }
            Message::Renamed { nick, to } => {
                Self::Whole(ChatEvent::Renamed { from: nick.into_owned(), to: to.into_owned() })
            }
            Message::Dropped { count, room } => Self::Whole(ChatEvent::Dropped { count, room: owned(room) }),
            Message::Notice { name, message } => {
                Self::Whole(ChatEvent::Notice { name: name.into_owned(), message: message.into_owned() })
            }
            Message::Error { code, message } => Self::Whole(ChatEvent::Refused(Refusal::new(code, message))),
            other => return Err(unexpected(&other, "something that happened in the room")),
        })
    }

    fn with_body(self, receiver: &mut ConnectionReceiver) -> Result<ChatEvent> {
        Ok(match self {
            Self::Whole(event) => event,
            Self::Said(fields) => ChatEvent::Said { fields, text: receiver.body_text(TEXT_LEN_MAX)? },
            Self::Names(room) => {
                let names = receiver.body_text(BODY_LEN_MAX)?;
                ChatEvent::Names { room, names: names.lines().map(str::to_owned).collect() }
            }
            Self::Rooms => {
                let rows = receiver.body_text(BODY_LEN_MAX)?;
                ChatEvent::Rooms(rows.lines().map(json).collect::<Result<_>>()?)
            }
            Self::Who => ChatEvent::Who(json(&receiver.body_text(TEXT_LEN_MAX)?)?),
            Self::Topic { room, nick, time_ms } => {
                ChatEvent::Topic { room, nick, time_ms, text: receiver.body_text(TEXT_LEN_MAX)? }
            }
            Self::Moderated { act, nick, room, by, ttl_ms } => {
                ChatEvent::Moderated { act, nick, room, by, ttl_ms, reason: receiver.body_text(TEXT_LEN_MAX)? }
            }
        })
    }
}

fn json<'t, T: Deserialize<'t>>(text: &'t str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|error| crate::error::Misbehaviour::BadBody { what: "answer", why: error.to_string() }.into())
}

/// The sending side of a membership. The answers are events.
#[derive(Debug, Clone)]
pub struct Speaker {
    pub(super) sender: ConnectionSender,
}

impl Speaker {
    /// Sends a message to all other members of a room, or to one member. Of `fields` the room, `to`, `id` and
    /// `is_action` count.
    ///
    /// # Errors
    /// The connection failed.
    pub fn say(&self, fields: SayFields<'_>, text: &str) -> Result<()> {
        self.sender.send(&Message::Say { fields }, text.as_bytes())
    }

    /// Enters one more room; `history` and `after` are as in [`ChatOptions`](crate::wire::message::ChatOptions).
    ///
    /// # Errors
    /// The connection failed.
    pub fn join(&self, room: &str, history: Option<u32>, after: Option<u64>) -> Result<()> {
        self.sender.send(&Message::Join { room: room.into(), history, after }, &[])
    }

    /// Leaves one room.
    ///
    /// # Errors
    /// The connection failed.
    pub fn leave_room(&self, room: &str) -> Result<()> {
        self.sender.send(&Message::Leave { room: room.into() }, &[])
    }

    /// Requests another nick.
    ///
    /// # Errors
    /// The connection failed.
    pub fn rename(&self, nick: &str) -> Result<()> {
        self.sender.send(&Message::Nick { nick: nick.into() }, &[])
    }

    /// Requests the nicks in a room; `None`: in the one that was entered first.
    ///
    /// # Errors
    /// The connection failed.
    pub fn ask_names(&self, room: Option<&str>) -> Result<()> {
        self.sender.send(&Message::Names { room: room.map(Into::into) }, &[])
    }

    /// Requests the list of rooms.
    ///
    /// # Errors
    /// The connection failed.
    pub fn ask_rooms(&self) -> Result<()> {
        self.sender.send(&Message::Rooms, &[])
    }

    /// Asks who has a nick.
    ///
    /// # Errors
    /// The connection failed.
    pub fn ask_who(&self, nick: &str) -> Result<()> {
        self.sender.send(&Message::Who { nick: nick.into() }, &[])
    }

    /// Sets a room's topic; empty: removes it.
    ///
    /// # Errors
    /// The connection failed.
    pub fn set_topic(&self, room: &str, text: &str) -> Result<()> {
        self.sender.send(&Message::Topic { room: room.into(), nick: None, time_ms: None }, text.as_bytes())
    }

    /// An operator's act on a member; `room`: where a kick holds; `ttl_ms`: how long a ban or a mute holds.
    ///
    /// # Errors
    /// The connection failed.
    pub fn moderate(&self, request: &Moderation<'_>) -> Result<()> {
        let &Moderation { act, nick, room, ttl_ms, reason } = request;
        let (nick, room) = (nick.into(), room.map(Into::into));
        self.sender.send(&Message::Moderate { act, nick, room, ttl_ms, by: None }, reason.as_bytes())
    }

    /// Leaves the chat; the listener gets the remaining events, then `None`.
    ///
    /// # Errors
    /// The connection failed.
    pub fn leave(&self) -> Result<()> {
        self.sender.send(&Message::End { total: None }, &[])
    }
}

/// What an operator asks for.
#[derive(Debug, Clone, Copy)]
pub struct Moderation<'m> {
    /// What to do.
    pub act: ModerationAct,
    /// To whom.
    pub nick: &'m str,
    /// In which room, for a kick; `None`: in all.
    pub room: Option<&'m str>,
    /// For how long, in milliseconds, for a ban or a mute; `None`: until it is undone.
    pub ttl_ms: Option<u64>,
    /// Why; empty: no reason is given.
    pub reason: &'m str,
}
