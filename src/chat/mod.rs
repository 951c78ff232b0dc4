//! Chat: rooms and nicks. A slow reader never delays the other members.
//!
//! ```text
//! client: chat ROOM NICK, (say | join | leave | nick | names | rooms | who | topic | moderate)*, end
//! server: joined (you), (say | ack | refused | joined | left | renamed | topic | moderate | dropped | answers | error)*, end
//! ```
//!
//! | file | what |
//! |---|---|
//! | [`hub`] | decides and orders |
//! | [`state`] | who is in which room, and what is kept: what the hub's lock guards |
//! | [`member`] | a member's requests |
//! | [`fanout`] | delivers to many, waits for none |
//! | [`event`] | one thing that happened, encoded once |
//! | [`log`] | a room's last messages |
//! | [`clients`] | clients that are known again: no message twice |
//! | [`names`] | which names are valid, and which look the same |
//! | [`ownership`] | whose a nick is |
//! | [`moderation`] | bans and mutes |
//! | [`store`] | the interface to what keeps messages beyond this process |
//! | [`history`] | keeps them in files |
//! | [`bus`] | joins several servers |
//! | [`web`] | messages as WebSocket carries them |
//! | [`events`] | a membership as the client has it |
//!
//! Both halves of the exchange are in this file.

pub mod bus;
pub mod clients;
pub mod event;
pub mod events;
pub mod fanout;
pub mod history;
pub mod hub;
pub mod log;
pub mod member;
pub mod moderation;
pub mod names;
pub mod ownership;
pub mod state;
pub mod store;
pub mod web;

use crate::connection::{Connection, ConnectionReceiver};
use crate::error::{Error, ErrorCode, Refusal, Result};
use crate::session::Session;
use crate::trust::peers::Peers;
use crate::trust::{Owner, Peer, Service};
use crate::wire::channel::unexpected;
use crate::wire::message::{ChatOptions, Message, SayFields};
use event::Format;
pub use events::{ChatEvent, ChatEvents, Moderation, Speaker};
use fanout::EventSink;
use hub::{EnterRequest, Hub, JoinRequest};
use member::{Member, SayRequest};
use moderation::Subject;
pub use names::NAME_CHARS_MAX;
use names::Name;
use state::Who;

/// Longest text of one message, in bytes; longer texts are sent as files.
pub const TEXT_LEN_MAX: u32 = 64 * 1024;

/// A request to enter the chat, as it came.
#[derive(Debug)]
pub struct ChatRequest<'r> {
    /// The room.
    pub room: &'r str,
    /// The nick.
    pub nick: &'r str,
    /// The past, and how the client is known again.
    pub options: &'r ChatOptions<'r>,
}

impl ChatRequest<'_> {
    /// The request, if both names are valid and the nick is not the name of a known peer other than this one.
    ///
    /// # Errors
    /// They are not, or it is.
    pub fn names(&self, who: &Who, known: Option<&Peers>) -> Result<(Name, Name), Refusal> {
        let (room, nick) = (Name::parse(self.room)?, Name::parse(self.nick)?);
        check_reserved(&nick, who, known)?;
        Ok((room, nick))
    }
}

/// # Errors
/// The nick looks like the name of a known peer other than this one.
fn check_reserved(nick: &Name, who: &Who, known: Option<&Peers>) -> Result<(), Refusal> {
    let others = known.into_iter().flat_map(Peers::iter).filter(|peer| who.owner != Some(Owner::Key(peer.fingerprint)));
    for peer in others {
        if Name::parse(&peer.name).is_ok_and(|name| name.looks_like(nick)) && who.owner != Some(Owner::Own) {
            return Err(ownership::belongs(nick.as_str(), &peer.name));
        }
    }
    Ok(())
}

/// Who the session's peer is, for the chat.
pub fn who_of(session: &Session) -> Who {
    let (kind, name, fingerprint) = match &session.peer {
        Peer::Own => ("own", None, None),
        Peer::Known { name, fingerprint } => ("known", Some(name.clone()), Some(fingerprint.to_string())),
        Peer::Token { name, .. } => ("token", Some(name.clone()), None),
        Peer::Guest { fingerprint, .. } => ("guest", None, fingerprint.as_ref().map(ToString::to_string)),
    };
    let owner = session.peer.owner();
    let subject = owner.map_or(Subject::Address(session.origin), Subject::Owner);
    // A guest could be anyone, whatever guests are allowed.
    let is_operator = owner.is_some() && (session.is_own() || session.services.has(Service::Operator));
    Who { owner, subject, kind, name, fingerprint, is_operator }
}

/// Serves one stay in the chat. Until it ends, only the fan-out writes to this connection: all events for the member,
/// refusals included, go through it and keep their order. `known`: the peers whose names are reserved.
///
/// # Errors
/// A refusal for the client, or the connection failed.
pub fn serve_chat(
    connection: &mut Connection,
    session: &mut Session,
    hub: &Hub,
    known: Option<&Peers>,
    request: &ChatRequest<'_>,
) -> Result<()> {
    let who = who_of(session);
    let (room, nick) = request.names(&who, known)?;
    connection.sender().flush()?;
    let writer = connection.sender().lock().stream().clone();
    let shown = nick.as_str().to_owned();
    let asks_for_nothing = request.options.client.is_none() && request.options.history.is_none();
    let format = if asks_for_nothing { Format::Short } else { Format::Full };
    let sink = EventSink { writer, format, control: connection.control().clone() };
    let member = hub.enter(EnterRequest { room, nick, options: request.options, who: who.clone(), sink })?;
    session.report.about = format!("{shown} in {}", member.room());
    let heard = listen(connection, &member, &|nick| check_reserved(nick, &who, known));
    let said = member.said();
    // A frame that the fan-out has begun must be finished before anything else is written.
    let leftover = if heard.is_ok() { member.leave() } else { member.lose() };
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

/// Reads the member's requests until `end`.
fn listen(
    connection: &mut Connection,
    member: &Member,
    check_nick: &dyn Fn(&Name) -> Result<(), Refusal>,
) -> Result<()> {
    let receiver = connection.receiver();
    loop {
        let refused = match receiver.expect("end") {
            Ok(Message::End { .. }) => return Ok(()),
            Ok(message) => {
                let request = Request::of(message)?;
                request.carry_out(receiver, member, check_nick)?
            }
            Err(Error::Refused(refusal)) => Err(refusal),
            Err(error) => return Err(error),
        };
        if let Err(refusal) = refused {
            member.tell(Message::Error { code: refusal.code, message: refusal.message.into() }, &[]);
        }
    }
}

/// A request before its body is read, which the header's borrow does not outlive.
enum Request {
    Say(SayFields<'static>),
    Nick(String),
    Names(Option<String>),
    Rooms,
    Who(String),
    Join { room: String, history: Option<u32>, after: Option<u64> },
    Leave(String),
    Topic(String),
    Moderate { act: crate::wire::message::ModerationAct, nick: String, room: Option<String>, ttl_ms: Option<u64> },
}

impl Request {
    fn of(message: Message<'_>) -> Result<Self> {
        Ok(match message {
            Message::Say { fields } => Self::Say(fields.into_owned()),
            Message::Nick { nick } => Self::Nick(nick.into_owned()),
            Message::Names { room } => Self::Names(room.map(std::borrow::Cow::into_owned)),
            Message::Rooms => Self::Rooms,
            Message::Who { nick } => Self::Who(nick.into_owned()),
            Message::Join { room, history, after } => Self::Join { room: room.into_owned(), history, after },
            Message::Leave { room } => Self::Leave(room.into_owned()),
            Message::Topic { room, .. } => Self::Topic(room.into_owned()),
            Message::Moderate { act, nick, room, ttl_ms, .. } => {
                let room = room.map(std::borrow::Cow::into_owned);
                Self::Moderate { act, nick: nick.into_owned(), room, ttl_ms }
            }
            other => return Err(unexpected(&other, "say, another request of the chat, or end")),
        })
    }

    fn carry_out(
        self,
        receiver: &mut ConnectionReceiver,
        member: &Member,
        check_nick: &dyn Fn(&Name) -> Result<(), Refusal>,
    ) -> Result<Result<(), Refusal>> {
        let needs_body = matches!(self, Self::Say(_) | Self::Topic(_) | Self::Moderate { .. });
        let text = match needs_body.then(|| receiver.body_text(TEXT_LEN_MAX)).transpose() {
            Ok(text) => text.unwrap_or_default(),
            Err(Error::PeerMisbehaved(what)) => {
                let refusal = Refusal::new(ErrorCode::BadRequest, format!("the text: {what}"));
                let id = if let Self::Say(fields) = &self { fields.id } else { None };
                return Ok(member.refuse(id, refusal));
            }
            Err(error) => return Err(error),
        };
        Ok(self.serve(member, &text, check_nick))
    }

    fn serve(
        &self,
        member: &Member,
        text: &str,
        check_nick: &dyn Fn(&Name) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        match self {
            Self::Say(fields) => {
                let (room, to) = (fields.room.as_deref(), fields.to.as_deref());
                member.say(&SayRequest { room, to, id: fields.id, is_action: fields.is_action, text })
            }
            Self::Nick(nick) => Name::parse(nick).and_then(|nick| {
                check_nick(&nick)?;
                member.rename(nick)
            }),
            Self::Names(room) => member.list_names(room.as_deref()),
            Self::Rooms => {
                member.list_rooms();
                Ok(())
            }
            Self::Who(nick) => member.tell_who(nick),
            Self::Join { room, history, after } => {
                Name::parse(room).and_then(|room| member.join(&JoinRequest { room, history: *history, after: *after }))
            }
            Self::Leave(room) => member.leave_room(room),
            Self::Topic(room) => member.set_topic(room, text),
            Self::Moderate { act, nick, room, ttl_ms } => {
                let room = room.as_deref();
                member.moderate(&Moderation { act: *act, nick, room, ttl_ms: *ttl_ms, reason: text })
            }
        }
    }
}

/// A stay in the chat. Events arrive at `listener` and messages are sent by `speaker`, which may be used on different
/// threads.
#[derive(Debug)]
pub struct Stay<'l> {
    /// The name of the first room at the server. It may differ from the requested name, if a room with a name that looks
    /// the same exists.
    pub room: String,
    /// The nick, as others see it.
    pub nick: String,
    /// The number of the room's last message.
    pub seq: Option<u64>,
    /// Receives the events.
    pub listener: ChatEvents<'l>,
    /// Sends messages and requests.
    pub speaker: Speaker,
}

/// Enters a room.
///
/// # Errors
/// The nick is taken or no name, chat is not allowed here, or the connection failed.
pub fn call_chat<'l>(connection: &'l mut Connection, request: &ChatRequest<'_>) -> Result<Stay<'l>> {
    let ChatRequest { room, nick, options } = *request;
    let chat = Message::Chat { room: room.into(), nick: nick.into(), options: options.clone() };
    connection.sender().send(&chat, &[])?;
    let (room, nick, seq) = match connection.answer_or_refusal("joined") {
        Ok(Message::Joined { room, nick, seq, .. }) => (room.into_owned(), nick.into_owned(), seq),
        Ok(other) => return Err(unexpected(&other, "joined")),
        Err(Error::Refused(refusal)) => {
            // The exchange is closed on this side too, so that the connection can be used again.
            connection.sender().send(&Message::End { total: None }, &[])?;
            return Err(refusal.into());
        }
        Err(error) => return Err(error),
    };
    let speaker = Speaker { sender: connection.sender().clone() };
    Ok(Stay { room, nick, seq, listener: ChatEvents { receiver: connection.receiver() }, speaker })
}
