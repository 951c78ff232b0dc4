//! What the open connections hold: a peer that may do less than before is found by it, whatever its connection is
//! doing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::peers::{KnownPeers, PeersForOpen};
use super::policy::{Entrance, Grant, Proof};

/// A list that cannot be read is waited for so long: an editor that is saving it leaves half of it, or none, for a
/// moment.
const SAVING_TIME_MAX: Duration = Duration::from_millis(500);

/// One connection's, as it was judged when it came.
#[derive(Debug, Clone)]
pub struct GrantInUse {
    /// What the other end has proved.
    pub proof: Proof,
    /// Its address, as the network says.
    pub address: String,
    /// Where it came in.
    pub entrance: Entrance,
    /// What it may do.
    pub grant: Grant,
}

/// All of them, by their connection's number.
#[derive(Debug, Default)]
pub struct GrantsInUse(Mutex<HashMap<u64, GrantInUse>>);

impl GrantsInUse {
    /// Notes what a connection holds.
    pub fn note(&self, connection: u64, held: GrantInUse) {
        self.lock().insert(connection, held);
    }

    /// The connection is gone.
    pub fn forget(&self, connection: u64) {
        self.lock().remove(&connection);
    }

    /// Those that hold more than `judge` says now; `None` from it is nothing at all.
    pub fn beyond(&self, judge: impl Fn(&GrantInUse) -> Option<Grant>) -> Vec<u64> {
        let all = self.lock();
        let beyond = all.iter().filter(|(_, held)| judge(held).is_none_or(|now| !now.covers(&held.grant)));
        beyond.map(|(connection, _)| *connection).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, GrantInUse>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at the list again and again, for who is inside already.
#[derive(Debug, Default)]
pub struct PeersWatch {
    acted_on: Option<(u64, bool)>,
    unsure_since: Option<Instant>,
}

impl PeersWatch {
    /// Who is on the list now, and whether that is news; `None`: it cannot be read, perhaps only for this moment.
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
