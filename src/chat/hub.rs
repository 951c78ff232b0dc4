//! Who is in which room. The hub decides and orders; it never writes to a socket.
//!
//! Its one lock is held while names are looked up and jobs are queued, so that every member hears
//! everything in the same order; nobody sleeps under it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::fanout::{Fanout, FanoutJob};
use super::frame;
use super::names::{Name, Names};
use crate::error::{ErrorCode, Refusal, Result};
use crate::net::stream::WriteHalf;
use crate::wire::message::Message;

/// Members of one room. A join is told to all, so a room's cost grows with the square of its members.
pub const MEMBERS_MAX: usize = 20_000;
/// Fan-out threads: one delivers more than a network card takes, a second helps with the system calls.
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

/// Who is in it, and the number that each has here.
type Members = Names<u64>;

impl Hub {
    /// A hub with no rooms; its threads wait until somebody enters one.
    ///
    /// # Errors
    /// A fan-out thread could not start.
    pub fn new() -> io::Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(FANOUT_THREADS_MAX);
        let fanouts = (0..threads).map(|_| Fanout::start()).collect::<io::Result<_>>()?;
        let shared = HubState { rooms: Mutex::default(), fanouts, next_id: AtomicU64::new(0) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Lets somebody into a room, which exists while anybody is in it. They and all others hear
    /// `joined`. A name that looks like that of a room that is there means that room.
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

/// Somebody's stay in a room; dropping it is leaving.
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

    /// Says `text` to everybody else.
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

    /// Takes another nick; everybody hears it.
    ///
    /// # Errors
    /// Another member has it, or one that looks like it.
    pub fn rename(&self, to: Name) -> Result<(), Refusal> {
        let mut rooms = self.shared.lock();
        let Some(members) = rooms.get_mut(&self.room) else { return Ok(()) };
        let mut nick = self.nick.lock().unwrap_or_else(PoisonError::into_inner);
        // What looks like one's own old nick can be had.
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

    /// Tells this member who is here.
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

    /// Tells this member something.
    ///
    /// # Errors
    /// The message is too long for a frame.
    pub fn tell(&self, message: &Message<'_>, body: &[u8]) -> Result<(), Refusal> {
        self.fanout().give(FanoutJob::Tell { id: self.id, frame: frame(message, body)? });
        Ok(())
    }

    /// How often this member has said something.
    pub fn said(&self) -> u64 {
        self.said.load(Ordering::Relaxed)
    }

    /// Leaves; everybody else hears it. Returns what the fan-out had not yet sent to this member,
    /// which the caller must send before anything else: its first byte may be in mid-frame.
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

    /// For callers that hold the lock: that is what gives every member the same order.
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
