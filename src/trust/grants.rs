//! The grants of the open connections. With them, a connection whose peer may do less than before is found.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::peers::{KnownPeers, PeersForOpen};
use super::policy::{Entrance, Grant, Proof};

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

/// Reads the list of peers repeatedly, for the connections that are open.
#[derive(Debug, Default)]
pub struct PeersWatch {
    acted_on: Option<(u64, bool)>,
    unsure_since: Option<Instant>,
}

impl PeersWatch {
    /// The list of peers now, and whether it has changed; `None`: it cannot be read, perhaps only for a moment.
    pub fn look(&mut self, roster: &KnownPeers) -> Option<(PeersForOpen, bool)> {
        let inside = roster.inside();
        if inside.is_whole {
            self.unsure_since = None;
        } else if self.unsure_since.get_or_insert_with(Instant::now).elapsed() < SAVING_TIME_MAX {
            return None;
        }
        let seen = Some((inside.number, inside.is_whole));
        Some((inside, std::mem::replace(&mut self.acted_on, seen) != seen))
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
}
