//! Who a connection is and what it may do here: its grant, its session, and the end of what it may not do any more.

use std::sync::Arc;

use super::Server;
use crate::error::{Refusal, Result};
use crate::fs::part::Parts;
use crate::fs::root::RootPath;
use crate::memory::Pool;
use crate::net::service::Accepted;
use crate::session::{RequestReport, Session};
use crate::trust::commands::Commands;
use crate::trust::grants::{GrantInUse, PeersWatch};
use crate::trust::peers::{PeersForOpen, PeersState};
use crate::trust::policy::{Entrance, Grant, Proof, Rules};
use crate::trust::{Owner, Peer, Service, Services};

/// Where a connection came in, as the policy sees it.
const fn entrance(accepted: &Accepted) -> Entrance {
    if accepted.is_at_loopback { Entrance::Loopback } else { Entrance::Network }
}

impl Server {
    /// What the list of peers `known` allows.
    fn grant(&self, known: &PeersState, proof: Proof, from: (&str, Entrance)) -> Result<Grant, Refusal> {
        let (address, entrance) = from;
        let rules = Rules { own: self.identity.fingerprint(), known, guest: self.guest };
        let mut grant = rules.authorize(proof, address)?;
        grant.narrow(self.power, entrance);
        if self.is_for_pairing_only {
            grant.services = Services::NONE;
            // A root below the operator's is none below the one here.
            grant.root = None;
        }
        Ok(grant)
    }

    /// What a connection may do that has proved this.
    ///
    /// # Errors
    /// It may not come in.
    pub(super) fn authorize(&self, proof: Proof, accepted: &Accepted) -> Result<Grant, Refusal> {
        self.grant(&self.known_peers.now().0, proof, (&accepted.address, entrance(accepted)))
    }

    /// As [`authorize`](Self::authorize), and notes it, so that a connection that may do less later is found.
    ///
    /// # Errors
    /// As [`authorize`](Self::authorize).
    pub(super) fn authorize_and_note(&self, proof: Proof, accepted: &Accepted) -> Result<Grant, Refusal> {
        let mut granted = self.authorize(proof, accepted)?;
        // No list takes anything from a connection without a key, nor from the own identity.
        if !matches!(proof, Proof::Key(_)) || granted.peer == Peer::Own {
            return Ok(granted);
        }
        loop {
            let (address, entrance) = (accepted.address.clone(), entrance(accepted));
            self.grants.note(accepted.id(), GrantInUse { proof, address, entrance, grant: granted.clone() });
            // Once more: a list that changed before this was noted was not held against it.
            let again = self.authorize(proof, accepted)?;
            if again == granted {
                return Ok(granted);
            }
            granted = again;
        }
    }

    /// The session of a connection that was let in.
    ///
    /// # Errors
    /// The directory that the peer is shown cannot be opened.
    pub(super) fn session(&self, grant: Grant, accepted: &Accepted) -> Result<Session> {
        let root = match &grant.root {
            None => Arc::clone(&self.root),
            Some(root) => {
                let below = RootPath::default().join(root.as_bytes()).and_then(|path| self.root.below(&path));
                Arc::new(below.map_err(|error| {
                    let text = format!("the directory that {} is shown cannot be opened: {error}", grant.peer);
                    Refusal::new(error.kind().into(), text)
                })?)
            }
        };
        Ok(Session {
            parts: self.parts_of(&grant.peer),
            connection: accepted.id(),
            memory: self.memory_of(&grant.peer),
            peer: grant.peer,
            address: accepted.address.clone(),
            services: grant.services,
            commands: grant.commands,
            withheld: grant.withheld,
            root,
            is_narrowed: grant.root.is_some(),
            cwd: RootPath::default(),
            origin: accepted.ticket.origin(),
            gate: Arc::clone(self.service.gate()),
            slots: Arc::clone(&self.slots),
            is_cut: Arc::clone(accepted.open.is_cut()),
            audit: self.audit.clone(),
            report: RequestReport::default(),
        })
    }

    fn memory_of(&self, peer: &Peer) -> Arc<Pool> {
        match peer {
            Peer::Own => self.memory.own(),
            Peer::Known { fingerprint, .. } => self.memory.of(*fingerprint),
            Peer::Guest { .. } => self.memory.guests(),
        }
    }

    /// Where a peer's files are on their way in. What a guest leaves belongs to no peer, since another could come as it.
    fn parts_of(&self, peer: &Peer) -> Arc<Parts> {
        let owner = peer.owner().filter(|_| matches!(peer, Peer::Own | Peer::Known { .. }));
        Parts::new(self.part_records.clone(), owner.map(|owner| owner.to_string()))
    }

    /// Ends what peers may not do any more: connections whose peer may do less than they were granted, and detached
    /// commands.
    pub(super) fn end_narrowed(&self, watch: &mut PeersWatch) {
        let Some((PeersForOpen { peers, .. }, is_news)) = watch.look(&self.known_peers) else { return };
        let guest = self.guest;
        let may_run = |owner: &Owner| match owner {
            Owner::Own => Some(Commands::Any),
            Owner::Key(key) => match peers.by_key(key).filter(|peer| peer.services != Services::NONE) {
                Some(peer) => peer.services.has(Service::Exec).then(|| peer.commands.clone()),
                None => guest.has(Service::Exec).then_some(Commands::Any),
            },
        };
        // One that was being started when the list changed is found by the next look.
        self.jobs.end_unless(&may_run);
        if !is_news {
            return;
        }
        self.places.forget_unless(&|owner| may_run(owner).is_some());
        let known = Ok(Arc::clone(&peers));
        let beyond = self.grants.beyond(|held| {
            let now = self.grant(&known, held.proof, (&held.address, held.entrance)).ok()?;
            // A guest that is known now has just been paired, on this connection: it would lose the word that says
            // so. It holds no more than any guest does.
            let was_paired = matches!(held.grant.peer, Peer::Guest { .. }) && now.peer.is_known();
            Some(if was_paired { held.grant.clone() } else { now })
        });
        self.service.open().cut(&beyond);
        for connection in beyond {
            tracing::info!(connection, "ended: its peer was revoked, or may do less now");
        }
    }
}
