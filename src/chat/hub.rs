//! The rooms and who is in them. The hub decides and orders; it never writes to a socket.
//!
//! Its one lock is held while names are looked up and jobs are queued, so that every member gets all events in the same
//! order. No thread waits while holding it.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::clients::ClientOrigin;
use super::event::Event;
use super::fanout::{EventSink, Fanout, FanoutJob, SlowPolicy};
use super::log::{LOG_MESSAGES_MAX, Log};
use super::member::Member;
use super::names::Name;
use super::state::{
    ChatState, DIRECT_MESSAGES_MAX, MemberState, ROOMS_MAX, ROOMS_PER_MEMBER_MAX, Room, Who, direct_log, now_micros,
    now_ms,
};
use super::store::Store;
use crate::error::{ErrorCode, Refusal, Result};
use crate::wire::message::{ChatOptions, Message};

/// Fan-out threads: one delivers more than a network card can send, a second helps with the system calls.
const FANOUT_THREADS_MAX: usize = 2;

/// All rooms of one server.
#[derive(Debug)]
pub struct Hub {
    pub(super) state: Arc<HubState>,
}

#[derive(Debug)]
pub(super) struct HubState {
    chat: Mutex<ChatState>,
    fanouts: Vec<Fanout>,
    /// Keeps messages beyond this process; `None`: nothing does.
    pub(super) store: Option<Arc<dyn Store>>,
    keeps_rooms: bool,
}

/// What a client wants that enters.
#[derive(Debug)]
pub struct EnterRequest<'r> {
    /// The room.
    pub room: Name,
    /// The nick.
    pub nick: Name,
    /// The past, and how it is known again.
    pub options: &'r ChatOptions<'r>,
    /// Who it is.
    pub who: Who,
    /// Where its events go.
    pub sink: EventSink,
}

/// What a client wants that enters a room.
#[derive(Debug)]
pub struct JoinRequest {
    /// The room.
    pub room: Name,
    /// The number of past messages that are wanted.
    pub history: Option<u32>,
    /// The last message that the client has.
    pub after: Option<u64>,
}

/// What the hub is made with.
#[derive(Debug, Clone, Default)]
pub struct HubOptions {
    /// What becomes of members that read too slowly.
    pub slow: SlowPolicy,
    /// Keeps messages beyond this process; `None`: nothing does.
    pub store: Option<Arc<dyn Store>>,
    /// Whether the last [`RESIDENT_ROOMS_MAX`](super::state::RESIDENT_ROOMS_MAX) rooms stay when they have no members.
    pub keeps_rooms: bool,
}

impl Hub {
    /// A hub with no rooms; starts its threads.
    ///
    /// # Errors
    /// A fan-out thread could not start.
    pub fn new(options: &HubOptions) -> io::Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(FANOUT_THREADS_MAX);
        let fanouts = (0..threads).map(|_| Fanout::start(options.slow)).collect::<io::Result<_>>()?;
        let mut chat = ChatState::new(options.store.clone());
        for last in options.store.iter().flat_map(|store| store.last_messages()) {
            chat.clients.note(&last.origin, last.id, last.seq, last.time_ms);
        }
        let (store, keeps_rooms) = (options.store.clone(), options.keeps_rooms);
        let state = HubState { chat: Mutex::new(chat), fanouts, store, keeps_rooms };
        Ok(Self { state: Arc::new(state) })
    }

    /// Adds a member, in a room. All members of the room, the new one included, get `joined`. A name that looks like the
    /// name of an existing room means that room. A client that was here before, and shows its secret, goes on where it
    /// was: its older connection is ended.
    ///
    /// # Errors
    /// The nick is taken, the peer is banned, or the room is full.
    pub fn enter(&self, request: EnterRequest<'_>) -> Result<Member, Refusal> {
        let EnterRequest { room, nick, options, who, sink } = request;
        let client = match &options.client {
            Some(secret) => Some((secret.to_string(), ClientOrigin::of_secret(secret)?)),
            None => None,
        };
        let mut chat = self.state.lock();
        chat.forget_away();
        chat.moderation.check_banned(who.subject)?;
        chat.owners.check(&nick, who.owner)?;
        let earlier = chat.make_way(&nick, &who, client.as_ref().map(|(secret, _)| secret.as_str()))?;
        if earlier.is_none() {
            self.state.check_elsewhere(&nick, client.as_ref().map(|(_, origin)| origin))?;
        }
        chat.check_room(&room)?;
        let earlier = earlier.and_then(|id| chat.forget(id));
        if let Some(earlier) = &earlier {
            earlier.control.stop();
        }
        chat.next_id += 1;
        let id = chat.next_id;
        let (is_guest, format) = (who.owner.is_none(), sink.format);
        if let Some(owner) = who.owner {
            chat.owners.note(&nick, owner);
        }
        let kept = |(_, origin): &(String, ClientOrigin)| self.state.store.as_ref()?.load_direct(origin);
        let direct = earlier.map(|earlier| earlier.direct).or_else(|| client.as_ref().and_then(kept));
        let direct = direct.unwrap_or_else(|| direct_log(now_micros()));
        let missed = options.direct_after.map(|after| direct.after(after, DIRECT_MESSAGES_MAX));
        let origin = client.as_ref().map(|(_, origin)| origin.clone());
        let shown = nick.as_str().to_owned();
        let state = MemberState {
            nick: shown.clone(),
            own_nick: Arc::default(),
            who: who.clone(),
            rooms: Vec::new(),
            since_ms: now_ms(),
            direct,
            client,
            control: sink.control.clone(),
            away_since: None,
        };
        chat.members.insert(id, state);
        // Nothing looks like it: way was made for it.
        drop(chat.nicks.insert(nick, id).map_err(str::to_owned));
        let member = Member::new(Arc::clone(&self.state), id, origin, is_guest, format);
        if let Some(state) = chat.members.get_mut(&id) {
            state.own_nick = member.own_nick();
        }
        member.fanout().give(FanoutJob::Enter { id, sink });
        let join = JoinRequest { room, history: options.history, after: options.after };
        let joined = self.state.join(&mut chat, id, &join);
        if let Some(missed) = missed {
            member.fanout().give(FanoutJob::Replay { id, events: missed.events });
        }
        drop(chat);
        joined.map(|room| member.entered(room, shown))
    }
}

impl HubState {
    pub(super) fn lock(&self) -> MutexGuard<'_, ChatState> {
        self.chat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn fanout_of(&self, id: u64) -> &Fanout {
        let count = self.fanouts.len() as u64;
        let at = usize::try_from(id % count.max(1)).unwrap_or(0);
        // There is at least one, and the remainder is below their number.
        &self.fanouts[at]
    }

    /// Waits while too much waits to be delivered. Must not be called while holding the lock.
    pub(super) fn wait_for_room(&self) {
        self.fanouts.iter().for_each(Fanout::wait_for_room);
    }

    /// The caller must hold the lock, so that every member gets events in the same order.
    pub(super) fn tell_room(&self, room: &Arc<str>, event: &Arc<Event>, except: Option<u64>) {
        for fanout in &self.fanouts {
            fanout.give(FanoutJob::TellRoom { room: Arc::clone(room), event: Arc::clone(event), except });
        }
    }

    /// As [`tell_room`](Self::tell_room), once for each that is in any of the rooms.
    pub(super) fn tell_rooms(&self, rooms: &[Arc<str>], event: &Arc<Event>) {
        let rooms: Arc<[Arc<str>]> = rooms.into();
        for fanout in &self.fanouts {
            fanout.give(FanoutJob::TellRooms { rooms: Arc::clone(&rooms), event: Arc::clone(event) });
        }
    }

    pub(super) fn tell(&self, id: u64, event: Arc<Event>) {
        self.fanout_of(id).give(FanoutJob::Tell { id, event });
    }

    /// # Errors
    /// A member of another server has this nick, and is not this client.
    pub(super) fn check_elsewhere(&self, nick: &Name, origin: Option<&ClientOrigin>) -> Result<(), Refusal> {
        let Some(other) = self.store.as_ref().and_then(|store| store.elsewhere(nick)) else { return Ok(()) };
        if origin.is_some() && other.origin.as_ref() == origin {
            return Ok(());
        }
        let (nick, other) = (nick.as_str(), other.who.nick);
        let like = if *nick == other { String::new() } else { format!("looks like {other}, which ") };
        let text = format!("{nick} {like}is taken by a member of another server; choose another nick");
        Err(Refusal::new(ErrorCode::NameTaken, text))
    }

    /// Gives a member another nick, which is free; all members of its rooms are told.
    pub(super) fn set_nick(&self, chat: &mut ChatState, id: u64, to: Name) {
        let Some(member) = chat.members.get_mut(&id) else { return };
        let (from, new) = (std::mem::replace(&mut member.nick, to.as_str().to_owned()), to.as_str().to_owned());
        member.own_nick.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&new);
        let rooms = member.rooms.clone();
        chat.nicks.rename(&from, to, id);
        let renamed = Event::of(Message::Renamed { nick: from.into(), to: new.into() }, &[]);
        if rooms.is_empty() {
            self.tell(id, renamed);
        } else {
            self.tell_rooms(&rooms, &renamed);
        }
    }

    /// A client that is at another server now is no longer here.
    pub(super) fn forget_elsewhere(&self, chat: &mut ChatState, id: u64) {
        let rooms = chat.members.get(&id).map(|member| member.rooms.clone()).unwrap_or_default();
        for room in &rooms {
            self.leave(chat, id, room, false);
        }
        if let Some(member) = chat.forget(id) {
            member.control.stop();
        }
    }

    /// Adds a member to a room, and gives it the past that it wants. The name of the room, as it is shown.
    pub(super) fn join(&self, chat: &mut ChatState, id: u64, request: &JoinRequest) -> Result<Arc<str>, Refusal> {
        chat.check_room(&request.room)?;
        let shown: Arc<str> = chat.rooms.like(&request.room).unwrap_or(request.room.as_str()).into();
        let Some(member) = chat.members.get_mut(&id) else { return Ok(shown) };
        if member.rooms.contains(&shown) {
            return Err(Refusal::new(ErrorCode::BadRequest, format!("you are in {shown} already")));
        }
        if member.rooms.len() >= ROOMS_PER_MEMBER_MAX {
            let text = format!("you are in {ROOMS_PER_MEMBER_MAX} rooms, which is the limit; leave one first");
            return Err(Refusal::new(ErrorCode::Busy, text));
        }
        member.rooms.push(Arc::clone(&shown));
        let (nick, is_guest) = (member.nick.clone(), member.who.owner.is_none());
        self.make_room(chat, &request.room, &shown);
        let Some(room) = chat.rooms.get_mut(&shown) else { return Ok(shown) };
        room.members.insert(id);
        let wanted = usize::try_from(request.history.unwrap_or(0)).unwrap_or(usize::MAX);
        let (past, has_gap) = match request.after {
            Some(after) => {
                let missed = room.log.after(after, LOG_MESSAGES_MAX);
                (missed.events, missed.has_gap)
            }
            None => (room.log.last_of(wanted), false),
        };
        let (seq, fanout) = (Some(room.log.last()), self.fanout_of(id));
        let joined = Message::Joined { room: shown.to_string().into(), nick: nick.into(), seq, is_guest };
        let joined = Event::of(joined, &[]);
        // Its own `joined` comes first, then the past, and then what happens from now on.
        fanout.give(FanoutJob::Tell { id, event: Arc::clone(&joined) });
        if has_gap {
            let gap = Message::Dropped { count: 0, room: Some(shown.to_string().into()) };
            fanout.give(FanoutJob::Tell { id, event: Event::of(gap, &[]) });
        }
        fanout.give(FanoutJob::Replay { id, events: past });
        if let Some(topic) = &room.topic {
            fanout.give(FanoutJob::Tell { id, event: Arc::clone(topic) });
        }
        fanout.give(FanoutJob::Join { id, room: Arc::clone(&shown) });
        self.tell_room(&shown, &joined, Some(id));
        Ok(shown)
    }

    /// The room of this name, as it is shown, which is made if there is none; `None`: there are too many.
    pub(super) fn resident_room(&self, chat: &mut ChatState, name: &Name) -> Option<Arc<str>> {
        let shown: Arc<str> = chat.rooms.like(name).unwrap_or(name.as_str()).into();
        if chat.rooms.get(&shown).is_none() && chat.rooms.len() >= ROOMS_MAX {
            return None;
        }
        self.make_room(chat, name, &shown);
        Some(shown)
    }

    fn make_room(&self, chat: &mut ChatState, name: &Name, shown: &str) {
        if chat.rooms.get(shown).is_none() {
            let room = self.new_room(name);
            // Nothing looks like it.
            drop(chat.rooms.insert(name.clone(), room).map_err(str::to_owned));
        }
        if self.keeps_rooms {
            chat.set_resident(shown);
        }
    }

    /// A room with what is kept of it beyond this process.
    fn new_room(&self, name: &Name) -> Room {
        let mut log = Log::new(now_micros());
        let mut topic = None;
        if let Some(kept) = self.store.as_ref().and_then(|store| store.load(name.as_str())) {
            (log, topic) = (kept.log, kept.topic);
        }
        Room { members: HashSet::new(), away: HashSet::new(), log, topic }
    }

    /// Takes a member out of a room; the others are told. `is_lost`: it may come back.
    pub(super) fn leave(&self, chat: &mut ChatState, id: u64, shown: &Arc<str>, is_lost: bool) {
        let Some(member) = chat.members.get_mut(&id) else { return };
        if !is_lost {
            member.rooms.retain(|other| other != shown);
        }
        let nick = member.nick.clone();
        let Some(room) = chat.rooms.get_mut(shown) else { return };
        room.members.remove(&id);
        room.away.remove(&id);
        if is_lost {
            room.away.insert(id);
        }
        let left = Message::Left { nick: nick.into(), room: Some(shown.to_string().into()), is_lost };
        self.tell_room(shown, &Event::of(left, &[]), Some(id));
        chat.remove_if_empty(shown);
    }

    /// A member's connection has ended. Its nick, its rooms and its private messages are kept for a while if it is known
    /// again and has not said that it leaves.
    pub(super) fn end(&self, id: u64, has_left: bool) -> Vec<u8> {
        {
            let mut chat = self.lock();
            let rooms = chat.members.get(&id).map(|member| member.rooms.clone()).unwrap_or_default();
            let is_kept = !has_left && chat.members.get(&id).is_some_and(|member| member.client.is_some());
            for room in &rooms {
                self.leave(&mut chat, id, room, is_kept);
            }
            if is_kept {
                chat.set_away(id);
            } else {
                chat.forget(id);
            }
        }
        self.fanout_of(id).take_out(id)
    }
}
