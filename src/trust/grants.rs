//! The grants of the open connections. With them, a connection whose peer may do less than before is found.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::list::{Entry, ListForOpen, Watched};
use super::peers::{KnownPeers, Peers};
use super::policy::{Entrance, Grant, Proof};
use super::time::Moment;
use super::tokens::{KnownTokens, OwnList, Tokens};

/// How long to wait when the list cannot be read: an editor that is saving it may leave half of it, or none, for a
/// moment.
const SAVING_TIME_MAX: Duration = Duration::from_millis(500);

/// The grant of one connection, as it was decided when the connection was accepted.
#[derive(Debug, Clone)]
pub struct GrantInUse {
    /// What the peer has proved.
    pub proof: Proof,
    /// The peer's address, as the operating system reports it.
    pub address: String,
    /// Where the connection was accepted.
    pub entrance: Entrance,
    /// The grant.
    pub grant: Grant,
}

/// The grants of all open connections, by connection number.
#[derive(Debug, Default)]
pub struct GrantsInUse(Mutex<HashMap<u64, GrantInUse>>);

impl GrantsInUse {
    /// Records the grant of a connection.
    pub fn note(&self, connection: u64, held: GrantInUse) {
        self.lock().insert(connection, held);
    }

    /// Removes the grant of a connection that is closed.
    pub fn forget(&self, connection: u64) {
        self.lock().remove(&connection);
    }

    /// The connections that hold more than `judge` grants now. `None` from `judge` grants nothing.
    pub fn beyond(&self, judge: impl Fn(&GrantInUse) -> Option<Grant>) -> Vec<u64> {
        let all = self.lock();
        let beyond = all.iter().filter(|(_, held)| judge(held).is_none_or(|now| !now.covers(&held.grant)));
        beyond.map(|(connection, _)| *connection).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, GrantInUse>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the lists repeatedly, for the connections that are open.
#[derive(Debug, Default)]
pub struct ListsWatch {
    acted_on: Option<Seen>,
    peers: Settling,
    tokens: Settling,
}

/// What was seen at one look; another value is news. Each list: its version, and whether it is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    peers: (u64, bool),
    tokens: (u64, bool),
    /// The version of the process's own list.
    own: u64,
    /// Tokens that have expired: time passes without a change of the list.
    expired: usize,
}

/// What the lists are now, for the connections that are open.
#[derive(Debug)]
pub struct ListsForOpen {
    /// The peers whose connections may stay open.
    pub peers: Arc<Peers>,
    /// The tokens whose connections may stay open, those that have expired among them.
    pub tokens: Arc<Tokens>,
    /// Whether anything is different from the look before.
    pub is_news: bool,
}

/// Since when a list cannot be read.
#[derive(Debug, Default)]
struct Settling {
    unsure_since: Option<Instant>,
}

impl Settling {
    /// The list now; `None`: it cannot be read, perhaps only for a moment.
    fn look<E: Entry>(&mut self, list: &Watched<E>) -> Option<ListForOpen<E>> {
        let inside = list.inside();
        if inside.is_whole {
            self.unsure_since = None;
        } else if self.unsure_since.get_or_insert_with(Instant::now).elapsed() < SAVING_TIME_MAX {
            return None;
        }
        Some(inside)
    }
}

impl ListsWatch {
    /// The lists now; `None`: one of them cannot be read, perhaps only for a moment. `own` are the tokens that are not on
    /// the list, which expire too.
    pub fn look(&mut self, peers: &KnownPeers, tokens: &KnownTokens, own: &OwnList) -> Option<ListsForOpen> {
        // Both, or the second one's time would begin when the first one's is over.
        let (peers, tokens) = (self.peers.look(peers), self.tokens.look(tokens));
        let (peers, tokens) = (peers?, tokens?);
        let now = Moment::now();
        let seen = Seen {
            peers: (peers.version, peers.is_whole),
            tokens: (tokens.version, tokens.is_whole),
            own: own.version,
            expired: tokens.list.iter().chain(own.all.iter()).filter(|token| token.is_expired(now)).count(),
        };
        let is_news = self.acted_on.replace(seen) != Some(seen);
        Some(ListsForOpen { peers: peers.list, tokens: tokens.list, is_news })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::commands::Commands;
    use crate::trust::identity::Fingerprint;
    use crate::trust::{Peer, Services};

    #[test]
    fn who_holds_more_than_it_may_is_found() {
        let held = |services: &str| GrantInUse {
            proof: Proof::Nothing,
            address: String::new(),
            entrance: Entrance::Loopback,
            grant: Grant {
                peer: Peer::Known { name: "a".into(), fingerprint: Fingerprint::of_spki(b"a") },
                services: services.parse().unwrap(),
                commands: Commands::Any,
                root: None,
                withheld: Services::NONE,
            },
        };
        let holders = GrantsInUse::default();
        holders.note(1, held("echo"));
        holders.note(2, held("echo,read"));
        holders.note(3, held("write"));
        let now = |services: &'static str| move |_: &GrantInUse| Some(held(services).grant);
        assert_eq!(holders.beyond(now("all")), Vec::<u64>::new());
        holders.forget(3);
        assert_eq!(holders.beyond(now("echo,chat")), [2]);
        assert_eq!(holders.beyond(|_| None).len(), 2);
    }

    #[test]
    fn what_changes_is_news_once_and_so_is_a_token_that_expires() {
        use std::time::Duration;

        use crate::trust::home::Home;
        use crate::trust::tokens::{Token, TokenId};
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(Some(&dir.path().join("home"))).unwrap();
        home.replace("peers.toml", b"# none\n").unwrap();
        home.replace("tokens.toml", b"# none\n").unwrap();
        let (peers, tokens) = (KnownPeers::of(home.clone()), KnownTokens::of(home.clone()));
        let mut watch = ListsWatch::default();
        let mut is_news = |own: &[Token]| {
            let own = OwnList { all: Arc::new(own.to_vec()), version: 0 };
            watch.look(&peers, &tokens, &own).map(|lists| lists.is_news)
        };
        assert_eq!([is_news(&[]), is_news(&[])], [Some(true), Some(false)]);
        let id = TokenId::of(b"abc");
        let section = format!("[ci]\nsha256 = \"{id}\"\nservices = \"read\"\nadded = \"\"\n");
        home.replace("tokens.toml", section.as_bytes()).unwrap();
        assert_eq!([is_news(&[]), is_news(&[])], [Some(true), Some(false)]);
        home.replace("peers.toml", b"# still none\n").unwrap();
        assert_eq!([is_news(&[]), is_news(&[])], [Some(true), Some(false)]);
        let own = |expires| [Token { expires, ..Token::of_id("a", id, Services::NONE) }];
        let later = Moment::now().after(Duration::from_hours(1));
        assert_eq!([is_news(&own(later)), is_news(&own(Some(Moment::now())))], [Some(false), Some(true)]);
        // A list that is torn may only be on its way to the disk.
        home.replace("tokens.toml", b"[ci").unwrap();
        assert_eq!(is_news(&[]), None);
    }
}
