//! A member's requests, as its connection's thread makes them.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::clients::ClientOrigin;
use super::event::{Event, Format};
use super::events::Moderation;
use super::fanout::{Fanout, FanoutJob};
use super::hub::{HubState, JoinRequest};
use super::names::Name;
use super::state::{ChatState, now_ms, taken};
use super::store::{Kept, StoredEvent};
use crate::error::{ErrorCode, Refusal, Result};
use crate::wire::message::{Message, ModerationAct, SayFields};

/// Longest topic, in bytes.
pub const TOPIC_LEN_MAX: usize = 400;

/// A membership; dropping it ends it as a lost connection does.
#[derive(Debug)]
pub struct Member {
    state: Arc<HubState>,
    id: u64,
    origin: Option<ClientOrigin>,
    is_guest: bool,
    format: Format,
    /// The room that was entered first.
    room: Arc<str>,
    nick: Arc<Mutex<String>>,
    said: AtomicU64,
    has_ended: AtomicBool,
}

/// A message that a member wants to send.
#[derive(Debug)]
pub struct SayRequest<'r> {
    /// The room; `None`: the one that was entered first.
    pub room: Option<&'r str>,
    /// Who gets it; `None`: all in the room.
    pub to: Option<&'r str>,
    /// The client's number of the message; `None`: no acknowledgement is wanted.
    pub id: Option<u64>,
    /// Whether the text says what the sender does.
    pub is_action: bool,
    /// The text.
    pub text: &'r str,
}

impl Member {
    pub(super) fn new(
        state: Arc<HubState>,
        id: u64,
        origin: Option<ClientOrigin>,
        is_guest: bool,
        format: Format,
    ) -> Self {
        let (said, has_ended) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { state, id, origin, is_guest, format, room: "".into(), nick: Arc::default(), said, has_ended }
    }

    pub(super) fn entered(self, room: Arc<str>, nick: String) -> Self {
        *self.nick.lock().unwrap_or_else(PoisonError::into_inner) = nick;
        let mut member = self;
        member.room = room;
        member
    }

    /// The name of the room that was entered first, as it is shown.
    pub fn room(&self) -> &str {
        &self.room
    }

    pub(super) fn own_nick(&self) -> Arc<Mutex<String>> {
        Arc::clone(&self.nick)
    }

    /// The nick.
    pub fn nick(&self) -> String {
        self.nick.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number of messages this member has sent.
    pub fn said(&self) -> u64 {
        self.said.load(Ordering::Relaxed)
    }

    /// Sends a message. With an id, the member is told when the server has it; a message that the server has already is
    /// not sent again.
    ///
    /// # Errors
    /// The member is muted or not in the room, or there is no such nick: only for messages without an id, since the
    /// others are answered by `refused`.
    pub fn say(&self, request: &SayRequest<'_>) -> Result<(), Refusal> {
        self.state.wait_for_room();
        self.try_say(request).or_else(|refusal| self.refuse(request.id, refusal))
    }

    /// Answers a message that is not sent on: by its number, if it has one.
    ///
    /// # Errors
    /// The refusal of a message without a number.
    pub fn refuse(&self, id: Option<u64>, refusal: Refusal) -> Result<(), Refusal> {
        let Some(id) = id else { return Err(refusal) };
        self.tell(Message::Refused { id, code: refusal.code, message: refusal.message.into() }, &[]);
        Ok(())
    }

    fn try_say(&self, request: &SayRequest<'_>) -> Result<(), Refusal> {
        let mut chat = self.state.lock();
        let Some(member) = chat.members.get(&self.id) else { return Err(gone()) };
        chat.moderation.check_banned(member.who.subject)?;
        chat.moderation.check_muted(member.who.subject)?;
        let known = self.origin.as_ref().zip(request.id);
        if let Some(here) = known.and_then(|(origin, id)| chat.clients.repeated(origin, id)) {
            let id = request.id.unwrap_or_default();
            let ack = Event::of(Message::Ack { id, seq: here.seq, time_ms: here.time_ms }, &[]);
            let (state, member) = (Arc::clone(&self.state), self.id);
            match &self.state.store {
                // It is here, and may still be on its way to the disk.
                Some(store) => store.after_all(Box::new(move || state.tell(member, ack))),
                None => self.tell_event(ack),
            }
            return Ok(());
        }
        let time_ms = now_ms();
        let seq = match request.to {
            Some(to) => self.say_to_one(&mut chat, request, to, time_ms)?,
            None => self.say_to_room(&mut chat, request, time_ms)?,
        };
        if let Some((origin, id)) = known {
            chat.clients.note(origin, id, seq, time_ms);
        }
        self.said.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn say_to_room(
        &self,
        chat: &mut ChatState,
        request: &SayRequest<'_>,
        time_ms: u64,
    ) -> Result<Option<u64>, Refusal> {
        let wanted = request.room.unwrap_or(&self.room);
        let shown = self.own_room(chat, wanted)?;
        let Some(room) = chat.rooms.get_mut(&shown) else { return Err(gone()) };
        let seq = room.log.next();
        let event = self.event(request, (Some(&shown), None), (seq, time_ms));
        self.keep(
            StoredEvent { room: Arc::clone(&shown), receiver: None, seq, event: Arc::clone(&event) },
            request.id,
            time_ms,
        )?;
        let added = room.log.push(seq, Arc::clone(&event));
        chat.note_added(added);
        self.state.tell_room(&shown, &event, Some(self.id));
        Ok(Some(seq))
    }

    fn say_to_one(
        &self,
        chat: &mut ChatState,
        request: &SayRequest<'_>,
        to: &str,
        time_ms: u64,
    ) -> Result<Option<u64>, Refusal> {
        let name = Name::parse(to)?;
        let found = chat.nicks.like(&name).and_then(|shown| chat.nicks.get(shown)).copied();
        let Some((id, member)) = found.and_then(|id| Some((id, chat.members.get_mut(&id)?))) else {
            return self.say_elsewhere(request, &name, time_ms);
        };
        let seq = member.direct.next();
        let shown: Arc<str> = member.nick.as_str().into();
        let event = self.event(request, (None, Some(&shown)), (seq, time_ms));
        let receiver = member.client.as_ref().map(|(_, origin)| origin.clone());
        self.keep(StoredEvent { room: shown, receiver, seq, event: Arc::clone(&event) }, request.id, time_ms)?;
        let (added, is_here) = (member.direct.push(seq, Arc::clone(&event)), member.away_since.is_none());
        chat.note_added(added);
        if is_here {
            self.state.tell(id, event);
        }
        Ok(Some(seq))
    }

    /// A private message to a member of another server. Its number there is not known here.
    fn say_elsewhere(&self, request: &SayRequest<'_>, to: &Name, time_ms: u64) -> Result<Option<u64>, Refusal> {
        let found = self.state.store.as_ref().and_then(|store| Some((store, store.elsewhere(to)?)));
        let Some((store, other)) = found else { return Err(not_here(to.as_str())) };
        let shown: Arc<str> = other.who.nick.as_str().into();
        let event = self.event(request, (None, Some(&shown)), (0, time_ms));
        let stored = StoredEvent { room: shown, receiver: other.origin, seq: 0, event };
        store.keep_elsewhere(&other.server, stored, self.kept(request.id, None, time_ms))?;
        Ok(None)
    }

    fn event(
        &self,
        request: &SayRequest<'_>,
        (room, to): (Option<&str>, Option<&str>),
        (seq, time_ms): (u64, u64),
    ) -> Arc<Event> {
        let own = |text: &str| Cow::Owned(text.to_owned());
        let fields = SayFields {
            room: room.map(own),
            nick: Some(self.nick().into()),
            to: to.map(own),
            id: request.id.filter(|_| self.origin.is_some()),
            origin: self.origin.as_ref().map(|origin| own(origin.as_str())),
            seq: Some(seq),
            time_ms: Some(time_ms),
            is_action: request.is_action,
            is_guest: self.is_guest,
            is_past: false,
        };
        Event::of(Message::Say { fields }, request.text.as_bytes())
    }

    /// Gives a message to the store, if there is one; the member is told when it is kept.
    fn keep(&self, stored: StoredEvent, id: Option<u64>, time_ms: u64) -> Result<(), Refusal> {
        let kept = self.kept(id, Some(stored.seq), time_ms);
        if let Some(store) = &self.state.store {
            return store.keep(stored, kept);
        }
        kept();
        Ok(())
    }

    /// What tells the member that its message with this id is kept.
    fn kept(&self, id: Option<u64>, seq: Option<u64>, time_ms: u64) -> Kept {
        let (state, member) = (Arc::clone(&self.state), self.id);
        Box::new(move || {
            if let Some(id) = id {
                let ack = Message::Ack { id, seq, time_ms: Some(time_ms) };
                state.tell(member, Event::of(ack, &[]));
            }
        })
    }

    /// The room of this name, as it is shown, if the member is in it.
    fn own_room(&self, chat: &ChatState, room: &str) -> Result<Arc<str>, Refusal> {
        let rooms = chat.members.get(&self.id).map(|member| member.rooms.as_slice()).unwrap_or_default();
        if let Some(shown) = rooms.iter().find(|shown| shown.as_ref() == room) {
            return Ok(Arc::clone(shown));
        }
        let name = Name::parse(room)?;
        let found = chat.rooms.like(&name).and_then(|shown| rooms.iter().find(|own| own.as_ref() == shown));
        found.cloned().ok_or_else(|| {
            let text = format!("you are not in the room {room}; join it first");
            Refusal::new(ErrorCode::NotFound, text)
        })
    }

    /// Enters one more room.
    ///
    /// # Errors
    /// The room is full, the member is in too many, or it is banned.
    pub fn join(&self, request: &JoinRequest) -> Result<(), Refusal> {
        if self.format == Format::Short {
            let text = "join: a client that wants to be in several rooms says `client` in its `chat`";
            return Err(Refusal::new(ErrorCode::BadRequest, text));
        }
        let mut chat = self.state.lock();
        let Some(member) = chat.members.get(&self.id) else { return Err(gone()) };
        chat.moderation.check_banned(member.who.subject)?;
        self.state.join(&mut chat, self.id, request).map(drop)
    }

    /// Leaves one room.
    ///
    /// # Errors
    /// The member is not in it.
    pub fn leave_room(&self, room: &str) -> Result<(), Refusal> {
        let mut chat = self.state.lock();
        let shown = self.own_room(&chat, room)?;
        self.take_out(&mut chat, self.id, &shown);
        Ok(())
    }

    fn take_out(&self, chat: &mut ChatState, id: u64, shown: &Arc<str>) {
        let nick = chat.members.get(&id).map(|member| member.nick.clone()).unwrap_or_default();
        self.state.leave(chat, id, shown, false);
        let fanout = self.state.fanout_of(id);
        let left = Message::Left { nick: nick.into(), room: Some(shown.to_string().into()), is_lost: false };
        fanout.give(FanoutJob::Tell { id, event: Event::of(left, &[]) });
        fanout.give(FanoutJob::Leave { id, room: Arc::clone(shown) });
    }

    /// Changes the nick; all members of its rooms are told.
    ///
    /// # Errors
    /// Another member has this nick, or a nick that looks like it.
    pub fn rename(&self, to: Name) -> Result<(), Refusal> {
        let mut chat = self.state.lock();
        let Some(member) = chat.members.get(&self.id) else { return Err(gone()) };
        let (from, owner) = (member.nick.clone(), member.who.owner);
        // A nick that looks like the member's own old nick is free.
        if let Some(other) = chat.nicks.like(&to).filter(|other| *other != from)
            && let Some(other) = chat.nicks.get(other).and_then(|id| chat.members.get(id))
        {
            return Err(taken(to.as_str(), other));
        }
        self.state.check_elsewhere(&to, self.origin.as_ref())?;
        chat.owners.check(&to, owner)?;
        if let Some(owner) = owner {
            chat.owners.note(&to, owner);
        }
        self.state.set_nick(&mut chat, self.id, to);
        Ok(())
    }

    /// Sends this member the nicks in a room.
    ///
    /// # Errors
    /// The member is not in the room.
    pub fn list_names(&self, room: Option<&str>) -> Result<(), Refusal> {
        let chat = self.state.lock();
        let shown = self.own_room(&chat, room.unwrap_or(&self.room))?;
        let ids = chat.rooms.get(&shown).map(|room| &room.members);
        let mut names: Vec<&str> =
            ids.into_iter().flatten().filter_map(|id| Some(chat.members.get(id)?.nick.as_str())).collect();
        let elsewhere = self.state.store.as_ref().zip(Name::parse(&shown).ok());
        let elsewhere = elsewhere.map(|(store, room)| store.names_elsewhere(&room)).unwrap_or_default();
        names.extend(elsewhere.iter().map(String::as_str));
        names.sort_unstable();
        names.dedup();
        let asked = room.map(|_| shown.to_string().into());
        self.tell(Message::Names { room: asked }, names.join("\n").as_bytes());
        Ok(())
    }

    /// Sends this member the list of rooms.
    pub fn list_rooms(&self) {
        let rows = self.state.lock().room_rows();
        let lines: Vec<String> = rows.iter().filter_map(|row| serde_json::to_string(row).ok()).collect();
        self.tell(Message::Rooms, lines.join("\n").as_bytes());
    }

    /// Tells this member who has a nick.
    ///
    /// # Errors
    /// No member has it.
    pub fn tell_who(&self, nick: &str) -> Result<(), Refusal> {
        let name = Name::parse(nick)?;
        let elsewhere = || Some(self.state.store.as_ref()?.elsewhere(&name)?.who);
        let row = self.state.lock().who(&name).or_else(elsewhere).ok_or_else(|| not_here(nick))?;
        let json = serde_json::to_string(&row).unwrap_or_default();
        self.tell(Message::Who { nick: row.nick.clone().into() }, json.as_bytes());
        Ok(())
    }

    /// Sets a room's topic; all its members are told.
    ///
    /// # Errors
    /// The member is not in the room, is muted, or the topic is too long or has several lines.
    pub fn set_topic(&self, room: &str, text: &str) -> Result<(), Refusal> {
        if text.len() > TOPIC_LEN_MAX || text.chars().any(char::is_control) {
            let text = format!("topic: one line of at most {TOPIC_LEN_MAX} bytes");
            return Err(Refusal::new(ErrorCode::BadRequest, text));
        }
        let mut chat = self.state.lock();
        let Some(member) = chat.members.get(&self.id) else { return Err(gone()) };
        chat.moderation.check_banned(member.who.subject)?;
        chat.moderation.check_muted(member.who.subject)?;
        let shown = self.own_room(&chat, room)?;
        let (nick, time_ms) = (Some(self.nick().into()), Some(now_ms()));
        let topic = Message::Topic { room: shown.to_string().into(), nick, time_ms };
        let event = Event::of(topic, text.as_bytes());
        let Some(room) = chat.rooms.get_mut(&shown) else { return Err(gone()) };
        let seq = room.log.last();
        self.keep(StoredEvent { room: Arc::clone(&shown), receiver: None, seq, event: Arc::clone(&event) }, None, 0)?;
        room.topic = (!text.is_empty()).then(|| Arc::clone(&event));
        self.state.tell_room(&shown, &event, None);
        Ok(())
    }

    /// Carries out an operator's request; the rooms of the member concerned are told.
    ///
    /// # Errors
    /// This member is no operator, or there is no such nick.
    pub fn moderate(&self, request: &Moderation<'_>) -> Result<(), Refusal> {
        let mut chat = self.state.lock();
        if !chat.members.get(&self.id).is_some_and(|member| member.who.is_operator) {
            let text = format!("{} may not do that: it needs the service operator", self.nick());
            return Err(Refusal::new(ErrorCode::NotAllowed, text));
        }
        let name = Name::parse(request.nick)?;
        let event = self.moderation_event(request, &name);
        if matches!(request.act, ModerationAct::Unban | ModerationAct::Unmute) {
            if !chat.moderation.undo(request.act, name.as_str()) {
                let text = format!("{}: no ban or mute of this nick holds", name.as_str());
                return Err(Refusal::new(ErrorCode::NotFound, text));
            }
            self.tell_event(event);
            return Ok(());
        }
        let found = chat.nicks.like(&name).and_then(|shown| chat.nicks.get(shown)).copied();
        let member = found.and_then(|id| Some((id, chat.members.get(&id)?)));
        let Some((id, nick, subject, rooms)) =
            member.map(|(id, member)| (id, member.nick.clone(), member.who.subject, member.rooms.clone()))
        else {
            return Err(not_here(request.nick));
        };
        chat.moderation.hold(request.act, subject, &nick, request.ttl_ms.map(Duration::from_millis))?;
        let left = match (request.act, request.room) {
            (ModerationAct::Kick, Some(room)) => {
                let room = Name::parse(room)?;
                let shown = chat.rooms.like(&room).unwrap_or(room.as_str()).to_owned();
                rooms.iter().filter(|own| own.as_ref() == shown).cloned().collect()
            }
            (ModerationAct::Kick | ModerationAct::Ban, _) => rooms.clone(),
            _ => Vec::new(),
        };
        if rooms.is_empty() {
            self.state.tell(id, Arc::clone(&event));
        } else {
            self.state.tell_rooms(&rooms, &event);
        }
        if !chat.members.get(&self.id).is_some_and(|own| own.rooms.iter().any(|room| rooms.contains(room))) {
            self.tell_event(event);
        }
        for room in &left {
            self.take_out(&mut chat, id, room);
        }
        Ok(())
    }

    fn moderation_event(&self, request: &Moderation<'_>, nick: &Name) -> Arc<Event> {
        let message = Message::Moderate {
            act: request.act,
            nick: nick.as_str().to_owned().into(),
            room: request.room.map(|room| room.to_owned().into()),
            ttl_ms: request.ttl_ms,
            by: Some(self.nick().into()),
        };
        Event::of(message, request.reason.as_bytes())
    }

    /// Sends this member a message.
    pub fn tell(&self, message: Message<'static>, body: &[u8]) {
        self.tell_event(Event::of(message, body));
    }

    fn tell_event(&self, event: Arc<Event>) {
        self.state.tell(self.id, event);
    }

    /// Leaves the chat; all other members are told. Returns the bytes that the fan-out has not yet sent to this member.
    /// The caller must send them before anything else: the first of them may be in the middle of a frame.
    pub fn leave(self) -> Vec<u8> {
        self.end(true)
    }

    /// As [`leave`](Self::leave), if the connection was lost: the client may come back.
    pub fn lose(self) -> Vec<u8> {
        self.end(false)
    }

    fn end(&self, has_left: bool) -> Vec<u8> {
        if self.has_ended.swap(true, Ordering::Relaxed) {
            return Vec::new();
        }
        self.state.end(self.id, has_left)
    }

    /// Sends bytes of the connection's own protocol, whole frames, between two events. Waits while too much waits to be
    /// delivered.
    pub fn answer(&self, bytes: Vec<u8>) {
        self.state.wait_for_room();
        self.fanout().give(FanoutJob::Answer { id: self.id, bytes: bytes.into() });
    }

    pub(super) fn fanout(&self) -> &Fanout {
        self.state.fanout_of(self.id)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.end(false);
    }
}

fn not_here(nick: &str) -> Refusal {
    Refusal::new(ErrorCode::NotFound, format!("{nick} is not here"))
}

/// The refusal of a connection whose client has come back by another one.
fn gone() -> Refusal {
    Refusal::new(ErrorCode::Stopped, "this client goes on at another connection")
}
