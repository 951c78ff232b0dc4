//! Who is in the chat at other servers. Each server publishes its members under a lease, so that those of a server that
//! is gone are gone, too, after [`LEASE_TIME`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::clients::ClientOrigin;
use super::super::event::Event;
use super::super::events::WhoRow;
use super::super::hub::HubState;
use super::super::names::{Name, Names};
use super::super::store::Elsewhere;
use super::link::BusError;
use super::{Shared, keep_trying};
use crate::wire::message::Message;

/// Members of all other servers that are known here.
pub const ELSEWHERE_MAX: usize = 100_000;
/// How long a server's members are known after it was heard of.
pub const LEASE_TIME: Duration = Duration::from_secs(10);
/// How often they are published, and read.
const INTERVAL: Duration = Duration::from_secs(1);
/// Longest text in a member's row, in bytes.
const ROW_TEXT_LEN_MAX: usize = 256;
/// How many other nicks are tried for a member that must give up its own.
const NICKS_TRIED: usize = 100;

/// A member, as its server publishes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PresenceRow {
    /// Who it is.
    who: WhoRow,
    /// Its client's origin; `None`: it is not known again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
}

/// A member of another server.
#[derive(Debug)]
struct RemoteMember {
    found: Elsewhere,
    rooms: Vec<Name>,
}

/// All members of other servers.
#[derive(Debug, Default)]
pub(super) struct RemoteMembers {
    members: Mutex<Names<RemoteMember>>,
}

impl RemoteMembers {
    /// The member with this nick, or with one that looks like it.
    pub(super) fn find(&self, nick: &Name) -> Option<Elsewhere> {
        let members = self.lock();
        members.like(nick).and_then(|shown| members.get(shown)).map(|member| member.found.clone())
    }

    /// The nicks of those in a room.
    pub(super) fn names_in(&self, room: &Name) -> Vec<String> {
        let members = self.lock();
        let is_there = |member: &RemoteMember| member.rooms.iter().any(|own| own.looks_like(room));
        members.entries().filter(|(_, member)| is_there(member)).map(|(nick, _)| nick.to_owned()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Names<RemoteMember>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lists of the other servers, each JSON; of two members whose nicks look the same, the earlier one.
    fn replace(&self, lists: &HashMap<String, String>) {
        let mut found: Vec<(String, PresenceRow)> = Vec::new();
        for (server, json) in lists {
            match serde_json::from_str::<Vec<PresenceRow>>(json) {
                Ok(rows) => found.extend(rows.into_iter().map(|row| (server.clone(), row))),
                Err(error) => tracing::warn!(server, %error, "the members of another server cannot be read"),
            }
        }
        found.sort_by(|(one, first), (other, second)| (first.who.since_ms, one).cmp(&(second.who.since_ms, other)));
        let mut members = Names::default();
        for (server, row) in found.into_iter().take(ELSEWHERE_MAX) {
            let Some((nick, member)) = remote_member(server, row) else { continue };
            // The later one gives up its nick at its own server.
            drop(members.insert(nick, member).map_err(str::to_owned));
        }
        *self.lock() = members;
    }
}

/// `None`: no server would have let it in like this.
fn remote_member(server: String, row: PresenceRow) -> Option<(Name, RemoteMember)> {
    let PresenceRow { who, origin } = row;
    let nick = Name::parse(&who.nick).ok()?;
    let rooms = who.rooms.iter().map(|room| Name::parse(room).ok()).collect::<Option<Vec<_>>>()?;
    let texts = [Some(&who.kind), who.name.as_ref(), who.fingerprint.as_ref()];
    if texts.into_iter().flatten().any(|text| text.len() > ROW_TEXT_LEN_MAX) {
        return None;
    }
    let origin = match origin {
        Some(origin) => Some(ClientOrigin::of_kept(&origin)?),
        None => None,
    };
    Some((nick, RemoteMember { found: Elsewhere { server, who, origin }, rooms }))
}

/// The thread that publishes who is here, and reads who is elsewhere.
#[derive(Debug)]
pub(super) struct Presence {
    pub(super) shared: Arc<Shared>,
    pub(super) hub: Weak<HubState>,
}

impl Presence {
    /// Publishes and reads until the hub is gone.
    pub(super) fn run(&self) {
        keep_trying(&self.hub, |connected| {
            let ended = self.keep_up(connected);
            // Alone, a server knows its own members only.
            self.shared.elsewhere.replace(&HashMap::new());
            ended
        });
    }

    /// Publishes and reads over one connection.
    fn keep_up(&self, connected: &dyn Fn()) -> Result<(), BusError> {
        let mut link = self.shared.maker.connect()?;
        let own = self.shared.outbox.server();
        let mut known = HashMap::new();
        while let Some(hub) = self.hub.upgrade() {
            let rows = hub.presence_rows();
            link.publish_members(own, &serde_json::to_string(&rows).unwrap_or_default(), LEASE_TIME)?;
            let lists = link.members_elsewhere(own)?;
            if lists != known {
                self.shared.elsewhere.replace(&lists);
                known = lists;
            }
            let later = self.later_ones(&rows);
            hub.give_up_nicks(&later, &|nick| self.shared.elsewhere.find(nick).is_some());
            connected();
            drop(hub);
            thread::sleep(INTERVAL);
        }
        Ok(())
    }

    /// Members of this server whose nick another server's member has had for longer.
    fn later_ones(&self, rows: &[PresenceRow]) -> Vec<Later> {
        let own = self.shared.outbox.server();
        let later = rows.iter().filter_map(|row| {
            let nick = Name::parse(&row.who.nick).ok()?;
            let other = self.shared.elsewhere.find(&nick)?;
            let is_same_client =
                row.origin.is_some() && row.origin.as_deref() == other.origin.as_ref().map(ClientOrigin::as_str);
            let is_later = (row.who.since_ms, own) > (other.who.since_ms, other.server.as_str());
            // A client that has gone to another server is there now.
            let yields = if is_same_client { !is_later } else { is_later };
            yields.then_some(Later { nick: row.who.nick.clone(), is_same_client })
        });
        later.collect()
    }
}

/// A member that gives up its nick.
#[derive(Debug)]
pub(super) struct Later {
    nick: String,
    /// Whether it is the same client that has the nick elsewhere.
    is_same_client: bool,
}

impl HubState {
    /// The members of this server.
    fn presence_rows(&self) -> Vec<PresenceRow> {
        let chat = self.lock();
        let rows = chat.members.values().map(|member| PresenceRow {
            who: member.row(),
            origin: member.client.as_ref().map(|(_, origin)| origin.as_str().to_owned()),
        });
        let mut rows: Vec<PresenceRow> = rows.collect();
        rows.sort_unstable_by(|one, other| one.who.nick.cmp(&other.who.nick));
        rows
    }

    /// Gives these members other nicks, and tells all in their rooms; a client that is elsewhere now is no longer here.
    fn give_up_nicks(&self, later: &[Later], is_taken: &dyn Fn(&Name) -> bool) {
        for Later { nick, is_same_client } in later {
            let mut chat = self.lock();
            let Some(id) = chat.nicks.get(nick).copied() else { continue };
            if *is_same_client {
                self.forget_elsewhere(&mut chat, id);
                continue;
            }
            let free = (2..NICKS_TRIED).find_map(|number| {
                let stem: String = nick.chars().take(super::super::NAME_CHARS_MAX - 3).collect();
                let name = Name::parse(&format!("{stem}-{number}")).ok()?;
                (chat.nicks.like(&name).is_none() && !is_taken(&name)).then_some(name)
            });
            let Some(free) = free else { continue };
            let new = free.as_str().to_owned();
            tracing::info!(nick, new, "a member of another server has had this nick for longer");
            self.set_nick(&mut chat, id, free);
            let message = format!("{nick} is a member of another server, who was there before; you are {new} now");
            self.tell(id, Event::of(Message::Notice { name: "nick-lost".into(), message: message.into() }, &[]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(nick: &str, since_ms: u64) -> PresenceRow {
        let who = WhoRow {
            nick: nick.into(),
            kind: "guest".into(),
            name: None,
            fingerprint: None,
            rooms: vec!["Lobby".into()],
            since_ms,
            operator: false,
            lost: false,
        };
        PresenceRow { who, origin: None }
    }

    #[test]
    fn the_earlier_of_two_has_the_nick_and_what_is_no_list_is_left_out() {
        let list = |rows: &[PresenceRow]| serde_json::to_string(rows).unwrap();
        let bad = PresenceRow { origin: Some("x".into()), ..row("bad", 1) };
        let lists = HashMap::from([
            ("one".to_owned(), list(&[row("ann", 9), row("b b", 1), bad])),
            ("two".to_owned(), list(&[row("\u{430}nn", 5), row("carl", 1)])),
            ("three".to_owned(), "rubbish".to_owned()),
        ]);
        let members = RemoteMembers::default();
        members.replace(&lists);
        let found = members.find(&Name::parse("Ann").unwrap()).unwrap();
        assert_eq!((found.server.as_str(), found.who.nick.as_str()), ("two", "\u{430}nn"));
        let mut names = members.names_in(&Name::parse("lobby").unwrap());
        names.sort();
        assert_eq!(names, ["carl", "\u{430}nn"]);
        assert!(members.find(&Name::parse("bad").unwrap()).is_none());
    }
}
