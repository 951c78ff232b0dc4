//! What the hub's lock guards: the rooms, the members, those that are away, and what is kept for them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::clients::{ClientOrigin, Clients};
use super::event::Event;
use super::events::{RoomRow, WhoRow};
use super::log::{Log, shorten};
use super::moderation::{ModerationList, Subject};
use super::names::{Name, Names};
use super::ownership::NickOwners;
use super::store::{KeptRoom, Store};
use crate::error::{ErrorCode, Refusal, Result};
use crate::net::control::Control;
use crate::trust::Owner;

/// Members of one room. A join is sent to all, so a room's cost grows with the square of its members.
pub const MEMBERS_MAX: usize = 20_000;
/// Rooms that one client can be in.
pub const ROOMS_PER_MEMBER_MAX: usize = 32;
/// Rooms of one server. Each keeps its last messages: see [`LOG_LEN_MAX`](super::log::LOG_LEN_MAX).
pub const ROOMS_MAX: usize = 1_000;
/// Rooms that stay without members, where several servers are one chat: members of another server may be in them.
pub const RESIDENT_ROOMS_MAX: usize = 64;
/// Clients whose connection was lost, and whose nicks and private messages are kept for them.
pub const AWAY_MAX: usize = 10_000;
/// Of those, clients of one peer, or of guests from one address: more of them push out their own kind only.
pub const AWAY_PER_SUBJECT_MAX: usize = 256;
/// How long that is.
pub const AWAY_TIME: Duration = Duration::from_mins(10);
/// Private messages that are kept for one client, and their bytes.
pub(super) const DIRECT_MESSAGES_MAX: usize = 1_000;
const DIRECT_LEN_MAX: usize = 256 * 1024;
/// Bytes that the logs of all rooms and all clients keep together: beyond, the largest give way.
pub const LOGS_LEN_MAX: usize = 256 * 1024 * 1024;
/// Bytes that are added to logs until they are counted again.
const COUNT_INTERVAL_LEN: usize = 1024 * 1024;
/// What the one lock guards.
#[derive(Debug, Default)]
pub(super) struct ChatState {
    pub(super) rooms: Names<Room>,
    /// The member with each nick.
    pub(super) nicks: Names<u64>,
    pub(super) members: HashMap<u64, MemberState>,
    pub(super) clients: Clients,
    pub(super) owners: NickOwners,
    pub(super) moderation: ModerationList,
    /// Members that are away, the longest first.
    away: Vec<(u64, Subject)>,
    /// Bytes that were added to logs since they were counted.
    added_len: usize,
    /// Keeps messages beyond this process; `None`: nothing does.
    store: Option<Arc<dyn Store>>,
    /// Rooms that stay without members, the one that was used last at the end.
    resident: Vec<String>,
    pub(super) next_id: u64,
}

/// One room.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) members: HashSet<u64>,
    /// Members whose connection was lost.
    pub(super) away: HashSet<u64>,
    pub(super) log: Log,
    /// The last `topic` event.
    pub(super) topic: Option<Arc<Event>>,
}

/// One member.
#[derive(Debug)]
pub(super) struct MemberState {
    pub(super) nick: String,
    /// The same, as the member's own thread has it.
    pub(super) own_nick: Arc<Mutex<String>>,
    pub(super) who: Who,
    pub(super) rooms: Vec<Arc<str>>,
    pub(super) since_ms: u64,
    /// Its private messages.
    pub(super) direct: Log,
    /// The client's secret and what others see of it; `None`: it is not known again.
    pub(super) client: Option<(String, ClientOrigin)>,
    /// Ends its connection.
    pub(super) control: Control,
    /// When its connection was lost; `None`: it is here.
    pub(super) away_since: Option<Instant>,
}

/// Who a member is.
#[derive(Debug, Clone)]
pub struct Who {
    /// Whose it is; `None`: a guest.
    pub owner: Option<Owner>,
    /// For whom bans and mutes of it hold.
    pub subject: Subject,
    /// `own`, `known`, `token` or `guest`.
    pub kind: &'static str,
    /// The peer's name at the server; `None`: it has none.
    pub name: Option<String>,
    /// The fingerprint of the key that it proved; `None`: it proved none.
    pub fingerprint: Option<String>,
    /// Whether it may kick, ban and mute.
    pub is_operator: bool,
}

impl ChatState {
    /// No rooms and no members. `store`: keeps messages beyond this process.
    pub(super) fn new(store: Option<Arc<dyn Store>>) -> Self {
        Self { store, ..Self::default() }
    }

    /// # Errors
    /// The room is full, or there are too many.
    pub(super) fn check_room(&self, room: &Name) -> Result<(), Refusal> {
        let shown = self.rooms.like(room);
        match shown.and_then(|shown| self.rooms.get(shown)) {
            Some(found) if found.members.len() >= MEMBERS_MAX => {
                let text = format!("room {} has {MEMBERS_MAX} members, which is its limit", room.as_str());
                Err(Refusal::new(ErrorCode::Busy, text))
            }
            None if self.rooms.len() >= ROOMS_MAX => {
                let text = format!("there are {ROOMS_MAX} rooms, which is the limit; join one of them");
                Err(Refusal::new(ErrorCode::Busy, text))
            }
            _ => Ok(()),
        }
    }

    /// The member that a new one replaces: the same client, or the same peer's that is away. `None`: there is none.
    ///
    /// # Errors
    /// The nick is another member's.
    pub(super) fn make_way(&self, nick: &Name, who: &Who, secret: Option<&str>) -> Result<Option<u64>, Refusal> {
        let is_same_client = |member: &MemberState| {
            member.who.owner == who.owner
                && secret.is_some()
                && member.client.as_ref().map(|(own, _)| own.as_str()) == secret
        };
        let holder = self.nicks.like(nick).and_then(|shown| self.nicks.get(shown)).copied();
        if let Some(member) = holder.and_then(|id| self.members.get(&id)) {
            let is_same_peer = who.owner.is_some() && member.who.owner == who.owner && member.away_since.is_some();
            if !is_same_client(member) && !is_same_peer {
                return Err(taken(nick.as_str(), member));
            }
            return Ok(holder);
        }
        // With another nick it is still the same client.
        Ok(secret.and_then(|_| self.members.iter().find(|(_, member)| is_same_client(member)).map(|(id, _)| *id)))
    }

    pub(super) fn set_away(&mut self, id: u64) {
        let Some(member) = self.members.get_mut(&id) else { return };
        member.away_since = Some(Instant::now());
        let subject = member.who.subject;
        self.away.push((id, subject));
        let mut own = self.away.iter().filter(|(_, other)| *other == subject);
        let first_own = own.next().map(|(id, _)| *id);
        if own.count() >= AWAY_PER_SUBJECT_MAX
            && let Some(first) = first_own
        {
            self.retire(first);
        }
        if self.away.len() > AWAY_MAX
            && let Some((oldest, _)) = self.away.first().copied()
        {
            self.retire(oldest);
        }
    }

    /// Forgets those that have been away for too long.
    pub(super) fn forget_away(&mut self) {
        while let Some((id, _)) = self.away.first().copied() {
            let since = self.members.get(&id).and_then(|member| member.away_since);
            if since.is_some_and(|since| since.elapsed() < AWAY_TIME) {
                return;
            }
            self.retire(id);
        }
    }

    /// Forgets a member that is away; its private messages are for the store, where they are found if it comes after
    /// all.
    fn retire(&mut self, id: u64) {
        let Some(MemberState { direct, client: Some((_, origin)), .. }) = self.forget(id) else { return };
        if let Some(store) = &self.store {
            store.put_back_direct(&origin, direct);
        }
    }

    /// Notes that a message of this length was added to a log; shortens the largest logs where all are too long.
    pub(super) fn note_added(&mut self, len: usize) {
        self.added_len += len;
        if self.added_len < COUNT_INTERVAL_LEN {
            return;
        }
        self.added_len = 0;
        let rooms = self.rooms.values_mut().map(|room| &mut room.log);
        let mut logs: Vec<&mut Log> = rooms.chain(self.members.values_mut().map(|member| &mut member.direct)).collect();
        shorten(&mut logs, LOGS_LEN_MAX);
    }

    /// Forgets a member, and removes what it alone kept.
    pub(super) fn forget(&mut self, id: u64) -> Option<MemberState> {
        let member = self.members.remove(&id)?;
        if self.nicks.get(&member.nick) == Some(&id) {
            self.nicks.remove(&member.nick);
        }
        self.away.retain(|(other, _)| *other != id);
        for shown in &member.rooms {
            if let Some(room) = self.rooms.get_mut(shown) {
                room.members.remove(&id);
                room.away.remove(&id);
            }
            self.remove_if_empty(shown);
        }
        Some(member)
    }

    pub(super) fn set_resident(&mut self, shown: &str) {
        if self.resident.last().is_some_and(|last| last == shown) {
            return;
        }
        self.resident.retain(|other| other != shown);
        self.resident.push(shown.to_owned());
        if self.resident.len() > RESIDENT_ROOMS_MAX {
            let oldest = self.resident.remove(0);
            self.remove_if_empty(&oldest);
        }
    }

    pub(super) fn remove_if_empty(&mut self, shown: &str) {
        let is_resident = self.resident.iter().any(|resident| resident == shown);
        if is_resident || !self.rooms.get(shown).is_some_and(|room| room.members.is_empty() && room.away.is_empty()) {
            return;
        }
        if let (Some(room), Some(store)) = (self.rooms.remove(shown), &self.store) {
            store.put_back(shown, KeptRoom { log: room.log, topic: room.topic });
        }
    }

    /// A row for each room.
    pub(super) fn room_rows(&self) -> Vec<RoomRow> {
        let mut rows: Vec<RoomRow> = self
            .rooms
            .entries()
            .map(|(shown, room)| RoomRow {
                room: shown.to_owned(),
                members: room.members.len(),
                topic: room.topic.as_ref().map(|topic| String::from_utf8_lossy(topic.body()).into_owned()),
            })
            .collect();
        rows.sort_unstable_by(|one, other| one.room.cmp(&other.room));
        rows
    }

    /// Who has a nick; `None`: no member.
    pub(super) fn who(&self, nick: &Name) -> Option<WhoRow> {
        let id = self.nicks.like(nick).and_then(|shown| self.nicks.get(shown))?;
        self.members.get(id).map(MemberState::row)
    }
}

impl MemberState {
    /// Who it is.
    pub(super) fn row(&self) -> WhoRow {
        WhoRow {
            nick: self.nick.clone(),
            kind: self.who.kind.to_owned(),
            name: self.who.name.clone(),
            fingerprint: self.who.fingerprint.clone(),
            rooms: self.rooms.iter().map(ToString::to_string).collect(),
            since_ms: self.since_ms,
            operator: self.who.is_operator,
            lost: self.away_since.is_some(),
        }
    }
}

/// The private messages of one client, of which the first has the number behind `last`.
pub(super) fn direct_log(last: u64) -> Log {
    Log::with_limits(last, DIRECT_MESSAGES_MAX, DIRECT_LEN_MAX)
}

/// The refusal of a nick that a member has.
pub(super) fn taken(nick: &str, member: &MemberState) -> Refusal {
    let other = &member.nick;
    let why = match (nick == other, member.away_since.is_some()) {
        (true, false) => "is taken".to_owned(),
        (true, true) => "is kept for a client whose connection was lost".to_owned(),
        (false, false) => format!("looks like {other}, who is here"),
        (false, true) => format!("looks like {other}, which is kept for a client whose connection was lost"),
    };
    Refusal::new(ErrorCode::NameTaken, format!("{nick} {why}; choose another nick"))
}

/// Milliseconds since 1970 UTC.
pub(super) fn now_ms() -> u64 {
    now_micros() / 1_000
}

/// Microseconds since 1970 UTC: where a room's numbers begin, so that those of an earlier room of this name are below.
pub(super) fn now_micros() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
