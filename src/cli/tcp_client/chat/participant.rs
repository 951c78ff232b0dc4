//! What this client knows of the chat and wants from it. The thread that listens, the one that sends and the one that
//! reads what is typed share it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::outbox::{Outbox, OwnMessage, Request};
use super::seen::Seen;
use super::show::is_same_name;
use crate::chat::clients::ClientOrigin;
use crate::chat::{ChatEvent, Speaker, TEXT_LEN_MAX};
use crate::net::control::Control;
use crate::wire::message::{ChatOptions, SayFields};

/// Nicks that are remembered for completion and for telling who is back.
const NICKS_MAX: usize = 2_000;
/// Rooms that are remembered for completion.
const ROOMS_MAX: usize = 1_000;

/// The state, and how its threads wake each other.
#[derive(Debug)]
pub(super) struct Participant {
    state: Mutex<State>,
    changed: Condvar,
}

/// A room that this client is in, or has requested to be.
#[derive(Debug, Clone)]
pub(super) struct OwnRoom {
    pub(super) name: String,
    /// The number of the last message that came; `None`: the room was not entered yet.
    pub(super) seq: Option<u64>,
    pub(super) topic: String,
}

/// The connection in use.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) speaker: Speaker,
    control: Control,
    /// Which connection of this run it is.
    pub(super) number: u64,
    /// Whether the server numbers its messages and acknowledges those of this client.
    pub(super) is_numbered: bool,
}

impl Link {
    /// Ends the connection.
    pub(super) fn stop(&self) {
        self.control.stop();
    }
}

/// What is known at a moment.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub(super) struct State {
    /// A secret of this run: the server knows this client by it.
    secret: String,
    origin: Option<ClientOrigin>,
    pub(super) nick: String,
    /// The rooms, in the order in which they were entered.
    pub(super) rooms: Vec<OwnRoom>,
    /// Where what is typed goes.
    pub(super) active: String,
    /// Past messages that are wanted of each room.
    history: u32,
    direct_seq: u64,
    pub(super) outbox: Outbox,
    seen: Seen,
    link: Option<Link>,
    links: u64,
    /// When the connection was lost; `None`: it is there.
    pub(super) lost_since: Option<Instant>,
    /// Whether this client has come back since it entered first.
    has_come_back: bool,
    /// Nicks that were seen, and whether the connection of each was lost.
    nicks: BTreeMap<String, bool>,
    known_rooms: BTreeSet<String>,
    ignored: BTreeSet<String>,
    /// Rooms whose names were requested for completion alone.
    quiet_names: Vec<String>,
    wants_names: bool,
    /// Messages that the server has refused, or that were too long to be sent.
    pub(super) refused: usize,
    is_leaving: bool,
    is_over: bool,
}

/// How an event is to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub(super) struct Noted {
    /// Whether it is shown to people at all.
    pub(super) is_shown: bool,
    /// Whether it is new to this client: what comes twice is shown to no one.
    pub(super) is_new: bool,
    pub(super) has_returned: bool,
    /// It is a message of the time before this client entered.
    pub(super) is_past: bool,
    /// It is a message that this client missed while it was away.
    pub(super) was_missed: bool,
    /// This client may not stay.
    pub(super) is_banned: bool,
}

/// Why something that was typed is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// Too much waits already.
    Full,
    /// The text has more bytes than a message may have.
    TooLong(usize),
    /// The client is in no room.
    NoRoom,
}

impl Participant {
    /// A participant that has not yet entered. `wants_names`: for completion the members of each room are requested.
    pub(super) fn new(secret: String, room: &str, nick: &str, history: u32, wants_names: bool) -> Self {
        let state = State {
            origin: ClientOrigin::of_secret(&secret).ok(),
            secret,
            nick: nick.to_owned(),
            rooms: vec![OwnRoom { name: room.to_owned(), seq: None, topic: String::new() }],
            active: room.to_owned(),
            history,
            direct_seq: 0,
            outbox: Outbox::default(),
            seen: Seen::default(),
            link: None,
            links: 0,
            lost_since: None,
            has_come_back: false,
            nicks: BTreeMap::new(),
            known_rooms: BTreeSet::new(),
            ignored: BTreeSet::new(),
            quiet_names: Vec::new(),
            wants_names,
            refused: 0,
            is_leaving: false,
            is_over: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and wakes those that wait for a change.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let done = change(&mut self.lock());
        self.changed.notify_all();
        done
    }

    /// Waits until `is_so`, at most `limit`; whether it is.
    pub(super) fn wait(&self, limit: Duration, is_so: impl Fn(&State) -> bool) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), limit, |state| !is_so(state));
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        is_so(&state)
    }
}

impl State {
    /// What is asked for in `chat`.
    pub(super) fn options(&self) -> ChatOptions<'static> {
        let after = self.rooms.first().and_then(|room| room.seq);
        ChatOptions {
            client: Some(self.secret.clone().into()),
            history: Some(if after.is_some() { 0 } else { self.history }),
            after,
            direct_after: self.has_entered().then_some(self.direct_seq),
        }
    }

    fn has_entered(&self) -> bool {
        self.rooms.iter().any(|room| room.seq.is_some())
    }

    /// The client has entered, under these names.
    pub(super) fn entered(&mut self, (room, nick): (&str, &str), seq: Option<u64>, speaker: Speaker, control: Control) {
        self.has_come_back = self.lost_since.take().is_some();
        let again: Vec<Request> = self
            .rooms
            .iter()
            .skip(1)
            .map(|room| Request::Join {
                room: room.name.clone(),
                history: Some(if room.seq.is_some() { 0 } else { self.history }),
                after: room.seq,
            })
            .collect();
        nick.clone_into(&mut self.nick);
        self.outbox.begin_again(again);
        self.links += 1;
        self.link = Some(Link { speaker, control, number: self.links, is_numbered: seq.is_some() });
        self.enter_room(room, seq, 0);
    }

    /// A room was entered, which may have another name than the requested one.
    fn enter_room(&mut self, shown: &str, seq: Option<u64>, index: usize) {
        let is_numbered = seq.is_some();
        if let Some(room) = self.rooms.get_mut(index) {
            if self.active == room.name {
                shown.clone_into(&mut self.active);
            }
            shown.clone_into(&mut room.name);
            // What came while the client was away is still to come.
            room.seq = room.seq.or(seq);
        }
        if self.wants_names && is_numbered && !self.quiet_names.iter().any(|quiet| quiet == shown) {
            self.quiet_names.push(shown.to_owned());
            self.outbox.request(Request::Names(shown.to_owned()));
        }
    }

    /// The connection was lost; whether it was there before.
    pub(super) fn lost(&mut self) -> bool {
        self.link = None;
        self.quiet_names.clear();
        let is_news = self.lost_since.is_none();
        self.lost_since.get_or_insert_with(Instant::now);
        is_news
    }

    /// The connection in use; `None`: there is none.
    pub(super) fn link(&self) -> Option<Link> {
        self.link.clone()
    }

    /// Ends the connection in use.
    pub(super) fn cut(&self) {
        if let Some(link) = &self.link {
            link.control.stop();
        }
    }

    /// The place of a room of this client in the list.
    pub(super) fn room(&self, name: &str) -> Option<usize> {
        let exact = self.rooms.iter().position(|room| room.name == name);
        exact.or_else(|| self.rooms.iter().position(|room| is_same_name(&room.name, name)))
    }

    /// Takes a message for the active room, or for one member.
    ///
    /// # Errors
    /// It cannot be sent.
    pub(super) fn say(&mut self, text: &str, to: Option<&str>, is_action: bool) -> Result<(), NotTaken> {
        if text.len() > TEXT_LEN_MAX as usize {
            return Err(NotTaken::TooLong(text.len()));
        }
        if self.outbox.is_full() {
            return Err(NotTaken::Full);
        }
        if to.is_none() && self.rooms.is_empty() {
            return Err(NotTaken::NoRoom);
        }
        let room = to.is_none().then(|| self.active.clone());
        self.outbox.push(OwnMessage { id: 0, room, to: to.map(str::to_owned), is_action, text: text.to_owned() });
        Ok(())
    }

    /// Takes a request.
    ///
    /// # Errors
    /// Too much waits.
    pub(super) fn request(&mut self, request: Request) -> Result<(), NotTaken> {
        if self.outbox.is_full() {
            return Err(NotTaken::Full);
        }
        self.outbox.request(request);
        Ok(())
    }

    /// Enters one more room, or goes to it if the client is in it.
    ///
    /// # Errors
    /// Too much waits.
    pub(super) fn join(&mut self, name: &str) -> Result<(), NotTaken> {
        if let Some(room) = self.room(name).and_then(|index| self.rooms.get(index)) {
            self.active.clone_from(&room.name);
            return Ok(());
        }
        let history = Some(self.history);
        self.request(Request::Join { room: name.to_owned(), history, after: None })?;
        self.rooms.push(OwnRoom { name: name.to_owned(), seq: None, topic: String::new() });
        name.clone_into(&mut self.active);
        Ok(())
    }

    /// Hides a member's messages, or shows them again; whether they are hidden now.
    pub(super) fn ignore(&mut self, nick: &str) -> bool {
        let known = self.ignored.iter().find(|ignored| is_same_name(ignored, nick)).cloned();
        if let Some(known) = known {
            self.ignored.remove(&known);
            return false;
        }
        self.ignored.insert(nick.to_owned())
    }

    /// Whose messages are hidden.
    pub(super) fn ignored(&self) -> impl Iterator<Item = &str> {
        self.ignored.iter().map(String::as_str)
    }

    /// Nicks that Tab completes.
    pub(super) fn nicks(&self) -> impl Iterator<Item = &str> {
        self.nicks.keys().map(String::as_str)
    }

    /// Rooms that Tab completes.
    pub(super) fn known_rooms(&self) -> impl Iterator<Item = &str> {
        self.known_rooms.iter().map(String::as_str).chain(self.rooms.iter().map(|room| room.name.as_str()))
    }

    fn note_nick(&mut self, nick: &str, is_lost: bool) {
        if nick != self.nick && (self.nicks.len() < NICKS_MAX || self.nicks.contains_key(nick)) {
            self.nicks.insert(nick.to_owned(), is_lost);
        }
    }

    /// Takes note of an event.
    pub(super) fn note(&mut self, event: &ChatEvent) -> Noted {
        let plain = Noted { is_shown: true, is_new: true, ..Noted::default() };
        match event {
            ChatEvent::Said { fields, .. } => self.note_said(fields),
            ChatEvent::Acknowledged { id, seq, .. } => {
                self.note_answer(*id, *seq);
                Noted { is_shown: false, ..plain }
            }
            ChatEvent::NotSent { id, .. } => {
                self.note_answer(*id, None);
                self.refused += 1;
                plain
            }
            ChatEvent::Joined { room, nick, seq, .. } if *nick == self.nick => {
                let was_there =
                    self.room(room).filter(|index| self.rooms.get(*index).is_some_and(|room| room.seq.is_some()));
                let index = self.room(room).or_else(|| self.rooms.iter().position(|room| room.seq.is_none()));
                if let Some(index) = index {
                    self.enter_room(room, *seq, index);
                }
                Noted { is_shown: was_there.is_none(), ..plain }
            }
            ChatEvent::Joined { nick, .. } => {
                let has_returned = self.nicks.contains_key(nick);
                self.note_nick(nick, false);
                Noted { has_returned, ..plain }
            }
            ChatEvent::Left { nick, room, is_lost } => {
                self.note_left(nick, room.as_deref(), *is_lost);
                plain
            }
            ChatEvent::Renamed { from, to } => {
                if *from == self.nick {
                    self.nick.clone_from(to);
                } else {
                    self.nicks.remove(from);
                    self.note_nick(to, false);
                }
                plain
            }
            ChatEvent::Names { room, names } => {
                for nick in names {
                    self.note_nick(nick, false);
                }
                let quiet = self.quiet_names.iter().position(|quiet| Some(quiet) == room.as_ref());
                let is_quiet = quiet.map(|at| self.quiet_names.remove(at)).is_some();
                Noted { is_shown: !is_quiet, is_new: !is_quiet, ..plain }
            }
            ChatEvent::Rooms(rows) => {
                self.known_rooms = rows.iter().take(ROOMS_MAX).map(|row| row.room.clone()).collect();
                plain
            }
            ChatEvent::Topic { room, text, .. } => {
                let index = self.room(room);
                let room = index.and_then(|index| self.rooms.get_mut(index));
                let is_news = room.is_none_or(|room| std::mem::replace(&mut room.topic, text.clone()) != *text);
                Noted { is_shown: is_news, ..plain }
            }
            ChatEvent::Moderated { act: crate::wire::message::ModerationAct::Ban, nick, .. } => {
                Noted { is_banned: *nick == self.nick, ..plain }
            }
            _ => plain,
        }
    }

    fn note_left(&mut self, nick: &str, room: Option<&str>, is_lost: bool) {
        if nick != self.nick {
            if is_lost {
                self.note_nick(nick, true);
            } else {
                self.nicks.remove(nick);
            }
            return;
        }
        if let Some(index) = room.and_then(|room| self.room(room)) {
            self.rooms.remove(index);
        }
        if self.room(&self.active).is_none() {
            self.active = self.rooms.last().map(|room| room.name.clone()).unwrap_or_default();
        }
    }

    fn note_answer(&mut self, id: u64, seq: Option<u64>) {
        let Some(message) = self.outbox.answered(id) else { return };
        if let (Some(room), Some(seq)) = (&message.room, seq) {
            self.reached(Some(room), seq);
        }
    }

    /// The last number of a room, or of the private messages.
    fn reached(&mut self, room: Option<&str>, seq: u64) {
        match room {
            None => self.direct_seq = self.direct_seq.max(seq),
            Some(room) => {
                let index = self.room(room);
                if let Some(room) = index.and_then(|index| self.rooms.get_mut(index)) {
                    room.seq = Some(room.seq.map_or(seq, |last| last.max(seq)));
                }
            }
        }
    }

    fn note_said(&mut self, fields: &SayFields<'_>) -> Noted {
        if let Some(seq) = fields.seq {
            self.reached(if fields.to.is_some() { None } else { fields.room.as_deref() }, seq);
        }
        let nick = fields.nick.as_deref().unwrap_or_default();
        let origin = fields.origin.as_deref().zip(fields.id);
        if let Some((origin, id)) = origin {
            // An own message comes back when its acknowledgement was lost: it is not new.
            let is_own = self.origin.as_ref().is_some_and(|own| own.as_str() == origin) && fields.to.is_none();
            if is_own || !self.seen.is_new(origin, id) {
                return Noted::default();
            }
        }
        if !fields.is_past {
            self.note_nick(nick, false);
        }
        let is_ignored = self.ignored.iter().any(|ignored| is_same_name(ignored, nick));
        Noted {
            is_shown: !is_ignored,
            is_new: !is_ignored,
            is_past: fields.is_past && !self.has_come_back,
            was_missed: fields.is_past && self.has_come_back,
            ..Noted::default()
        }
    }

    /// What `/leave`, the end of input and Ctrl-C begin.
    pub(super) const fn leave(&mut self) {
        self.is_leaving = true;
    }

    pub(super) const fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    /// Nothing comes any more.
    pub(super) const fn end(&mut self) {
        self.is_over = true;
    }

    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(origin: &str, id: u64, seq: u64, is_past: bool) -> ChatEvent {
        let fields = SayFields {
            room: Some("lobby".into()),
            nick: Some("bob".into()),
            id: Some(id),
            origin: Some(origin.to_owned().into()),
            seq: Some(seq),
            is_past,
            ..SayFields::default()
        };
        ChatEvent::Said { fields, text: "hi".into() }
    }

    fn joined(room: &str, nick: &str, seq: u64) -> ChatEvent {
        ChatEvent::Joined { room: room.into(), nick: nick.into(), seq: Some(seq), is_guest: false }
    }

    fn ann() -> Participant {
        Participant::new("0123456789abcdef-ann".into(), "lobby", "ann", 20, false)
    }

    #[test]
    fn a_message_that_comes_again_is_not_new() {
        let ann = ann();
        let mut state = ann.lock();
        assert!(state.note(&joined("lobby", "ann", 5)).is_shown);
        assert!(state.note(&said("b", 1, 6, false)).is_shown);
        assert!(!state.note(&said("b", 1, 9, true)).is_new, "from a server that was restarted");
        let own = ClientOrigin::of_secret("0123456789abcdef-ann").unwrap();
        assert!(!state.note(&said(own.as_str(), 1, 10, true)).is_new, "an own one");
        assert_eq!(state.options().after, Some(10));
        assert_eq!(state.options().history, Some(0));
    }

    #[test]
    fn a_room_has_the_name_that_the_server_shows() {
        let ann = ann();
        let mut state = ann.lock();
        state.note(&joined("lobby", "ann", 5));
        state.join("\u{430}ttic").unwrap();
        assert_eq!((state.active.as_str(), state.rooms.len()), ("\u{430}ttic", 2));
        state.note(&joined("attic", "ann", 7));
        assert_eq!((state.active.as_str(), state.rooms[1].name.as_str()), ("attic", "attic"));
        state.join("Lobby").unwrap();
        assert_eq!((state.active.as_str(), state.rooms.len()), ("lobby", 2));
        let left = |room: &str| ChatEvent::Left { nick: "ann".into(), room: Some(room.into()), is_lost: false };
        state.note(&left("lobby"));
        assert_eq!(state.active, "attic");
        state.note(&left("attic"));
        assert_eq!(state.say("hi", None, false), Err(NotTaken::NoRoom));
        assert_eq!(state.say("hi", Some("bob"), false), Ok(()));
    }

    #[test]
    fn who_was_here_before_is_back() {
        let ann = ann();
        let mut state = ann.lock();
        assert!(!state.note(&joined("lobby", "bob", 5)).has_returned);
        let left = |is_lost| ChatEvent::Left { nick: "bob".into(), room: Some("lobby".into()), is_lost };
        state.note(&left(true));
        assert!(state.note(&joined("lobby", "bob", 5)).has_returned);
        state.note(&left(false));
        assert!(!state.note(&joined("lobby", "bob", 5)).has_returned);
    }

    #[test]
    fn what_a_stranger_makes_grow_has_an_end() {
        let ann = ann();
        let mut state = ann.lock();
        for number in 0..2 * NICKS_MAX {
            state.note(&joined("lobby", &format!("n{number}"), 5));
        }
        assert_eq!(state.nicks.len(), NICKS_MAX);
    }
}
