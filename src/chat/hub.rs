//! The members of each room. The hub decides and orders; it never writes to a socket.
//!
//! Its one lock is held while names are looked up and jobs are queued, so that every member gets all messages in the
//! same order. No thread waits while holding it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::fanout::{Fanout, FanoutJob};
use super::frame;
use super::names::{Name, Names};
use crate::error::{ErrorCode, Refusal, Result};
use crate::net::stream::WriteHalf;
use crate::wire::message::Message;

/// Members of one room. A join is sent to all, so a room's cost grows with the square of its members.
pub const MEMBERS_MAX: usize = 20_000;
/// Fan-out threads: one delivers more than a network card can send, a second helps with the system calls.
const FANOUT_THREADS_MAX: usize = 2;

/// All rooms of one server.
#[derive(Debug)]
pub struct Hub {
    shared: Arc<HubState>,
}

#[derive(Debug)]
struct HubState {
    rooms: Mutex<Names<Members>>,
    fanouts: Vec<Fanout>,
    next_id: AtomicU64,
}

/// The members' nicks, with the id of each.
type Members = Names<u64>;

impl Hub {
    /// A hub with no rooms; starts its threads.
    ///
    /// # Errors
    /// A fan-out thread could not start.
    pub fn new() -> io::Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(FANOUT_THREADS_MAX);
        let fanouts = (0..threads).map(|_| Fanout::start()).collect::<io::Result<_>>()?;
        let shared = HubState { rooms: Mutex::default(), fanouts, next_id: AtomicU64::new(0) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Adds a member to a room, which exists while it has members. All members, the new one included, get `joined`. A
    /// name that looks like the name of an existing room means that room.
    ///
    /// # Errors
    /// The nick is taken, or the room is full.
    pub fn enter(&self, room: &Name, nick: Name, writer: WriteHalf) -> Result<Member, Refusal> {
        let mut rooms = self.shared.lock();
        let shown = rooms.like(room).unwrap_or(room.as_str()).to_owned();
        let joined = frame(&Message::Joined { room: shown.as_str().into(), nick: nick.as_str().into() }, &[])?;
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let own = nick.as_str().to_owned();
        match rooms.get_mut(&shown) {
            Some(members) if members.len() >= MEMBERS_MAX => {
                let text = format!("room {shown} has {MEMBERS_MAX} members, which is its limit");
                return Err(Refusal::new(ErrorCode::Busy, text));
            }
            Some(members) => members.insert(nick, id).map_err(|other| taken(&own, other))?,
            None => {
                let mut members = Members::default();
                members.insert(nick, id).map_err(|other| taken(&own, other))?;
                rooms.insert(room.clone(), members).map_err(|other| taken(&shown, other))?;
            }
        }
        let member = Member {
            shared: Arc::clone(&self.shared),
            id,
            room: shown,
            nick: Mutex::new(own),
            said: AtomicU64::new(0),
            has_left: false,
        };
        member.fanout().give(FanoutJob::Enter { id, room: member.room.as_str().into(), writer });
        self.shared.tell_room(&member.room, &joined, None);
        Ok(member)
    }
}

/// A membership in a room; dropping it leaves the room.
#[derive(Debug)]
pub struct Member {
    shared: Arc<HubState>,
    id: u64,
    room: String,
    nick: Mutex<String>,
    said: AtomicU64,
    has_left: bool,
}

impl Member {
    /// The room's name, as it is shown.
    pub fn room(&self) -> &str {
        &self.room
    }

    /// Sends `text` to all other members.
    ///
    /// # Errors
    /// Never for texts within the limit.
    pub fn say(&self, text: &str) -> Result<(), Refusal> {
        let nick = self.nick();
        let said = frame(&Message::Say { nick: Some(nick.as_str().into()) }, text.as_bytes())?;
        self.shared.fanouts.iter().for_each(Fanout::wait_for_room);
        let _order = self.shared.lock();
        self.shared.tell_room(&self.room, &said, Some(self.id));
        self.said.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Changes the nick; all members are told.
    ///
    /// # Errors
    /// Another member has this nick, or a nick that looks like it.
    pub fn rename(&self, to: Name) -> Result<(), Refusal> {
        let mut rooms = self.shared.lock();
        let Some(members) = rooms.get_mut(&self.room) else { return Ok(()) };
        let mut nick = self.nick.lock().unwrap_or_else(PoisonError::into_inner);
        // A nick that looks like the member's own old nick is free.
        if let Some(other) = members.like(&to).filter(|other| *other != nick.as_str()) {
            return Err(taken(to.as_str(), other));
        }
        let renamed = frame(&Message::Renamed { nick: nick.as_str().into(), to: to.as_str().into() }, &[])?;
        let new = to.as_str().to_owned();
        members.rename(&nick, to, self.id);
        *nick = new;
        drop(nick);
        self.shared.tell_room(&self.room, &renamed, None);
        Ok(())
    }

    /// Sends this member the list of nicks.
    ///
    /// # Errors
    /// The list is too long for one frame.
    pub fn list_names(&self) -> Result<(), Refusal> {
        let rooms = self.shared.lock();
        let mut names: Vec<&str> = rooms.get(&self.room).map(|members| members.iter().collect()).unwrap_or_default();
        names.sort_unstable();
        let names = frame(&Message::Names, names.join("\n").as_bytes())?;
        self.fanout().give(FanoutJob::Tell { id: self.id, frame: names });
        Ok(())
    }

    /// Sends this member a message.
    ///
    /// # Errors
    /// The message is too long for a frame.
    pub fn tell(&self, message: &Message<'_>, body: &[u8]) -> Result<(), Refusal> {
        self.fanout().give(FanoutJob::Tell { id: self.id, frame: frame(message, body)? });
        Ok(())
    }

    /// The number of messages this member has sent.
    pub fn said(&self) -> u64 {
        self.said.load(Ordering::Relaxed)
    }

    /// Leaves the room; all other members are told. Returns the bytes that the fan-out has not yet sent to this member.
    /// The caller must send them before anything else: the first of them may be in the middle of a frame.
    pub fn leave(mut self) -> Vec<u8> {
        self.go()
    }

    fn go(&mut self) -> Vec<u8> {
        if self.has_left {
            return Vec::new();
        }
        self.has_left = true;
        let nick = self.nick();
        {
            let mut rooms = self.shared.lock();
            let is_empty = rooms.get_mut(&self.room).is_none_or(|members| {
                members.remove(&nick);
                members.is_empty()
            });
            if is_empty {
                rooms.remove(&self.room);
            } else if let Ok(left) = frame(&Message::Left { nick: nick.as_str().into() }, &[]) {
                self.shared.tell_room(&self.room, &left, Some(self.id));
            }
        }
        self.fanout().take_out(self.id)
    }

    fn nick(&self) -> String {
        self.nick.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fanout(&self) -> &Fanout {
        self.shared.fanout_of(self.id)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.go();
    }
}

impl HubState {
    fn lock(&self) -> MutexGuard<'_, Names<Members>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The caller must hold the lock, so that every member gets messages in the same order.
    fn tell_room(&self, room: &str, frame: &Arc<[u8]>, except: Option<u64>) {
        for fanout in &self.fanouts {
            fanout.give(FanoutJob::TellRoom { room: room.into(), frame: Arc::clone(frame), except });
        }
    }

    fn fanout_of(&self, id: u64) -> &Fanout {
        let count = self.fanouts.len() as u64;
        let at = usize::try_from(id % count.max(1)).unwrap_or(0);
        // There is at least one, and the remainder is below their number.
        &self.fanouts[at]
    }
}

fn taken(nick: &str, other: &str) -> Refusal {
    let why = if nick == other {
        "is taken in this room".to_owned()
    } else {
        format!("looks like {other}, who is in this room")
    };
    Refusal::new(ErrorCode::NameTaken, format!("{nick} {why}; choose another nick"))
}
