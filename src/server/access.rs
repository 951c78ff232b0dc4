//! Who a connection is and what it may do here: its grant, its session, and the end of what it may not do any more.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::Server;
use crate::error::{Refusal, Result};
use crate::fs::part::Parts;
use crate::fs::root::RootPath;
use crate::memory::Pool;
use crate::net::origin::{Origin, origin_of};
use crate::net::service::Accepted;
use crate::session::{RequestReport, Session};
use crate::trust::commands::Commands;
use crate::trust::grants::{GrantInUse, ListsForOpen, ListsWatch};
use crate::trust::peers::PeersState;
use crate::trust::policy::{Channel, Denied, Entrance, Grant, Proof, Rules, TokenRules};
use crate::trust::time::Moment;
use crate::trust::tokens::{TokenId, TokensState};
use crate::trust::{Owner, Peer, Service, Services};

/// Where a connection came in, as the policy sees it.
const fn entrance(accepted: &Accepted) -> Entrance {
    match (accepted.is_at_loopback, accepted.is_encrypted()) {
        (true, _) => Entrance::Loopback,
        (false, true) => Entrance::Network(Channel::Encrypted),
        (false, false) => Entrance::Network(Channel::Plain),
    }
}

/// The name under which guesses at cookies count: none that a client can claim, since a name of Basic has no colon.
const COOKIES: &str = ":cookie";

/// A token as a request presents it.
#[derive(Debug, Clone, Copy)]
pub(super) struct PresentedToken<'t> {
    /// Its id.
    pub(super) id: TokenId,
    /// The name that the client claims (HTTP's Basic); `None`: it claims none. Wrong tokens are counted for it, and
    /// nothing else depends on it: the token alone says who it is.
    pub(super) name: Option<&'t str>,
    /// The client's address, as a trusted proxy says; `None`: that of the connection.
    pub(super) forwarded: Option<IpAddr>,
    /// Whether it came to the trusted proxy, if there is one, through TLS.
    pub(super) is_encrypted: bool,
}

impl PresentedToken<'_> {
    /// Where it came in: as its connection, or in plain text where others could read it on its way to the trusted proxy.
    pub(super) fn entrance(&self, accepted: &Accepted) -> Entrance {
        let came_plain = self.forwarded.is_some_and(|client| !client.is_loopback() && !self.is_encrypted);
        if came_plain { Entrance::Network(Channel::Plain) } else { entrance(accepted) }
    }

    /// Whose guesses count together with it.
    pub(super) fn origin(&self, accepted: &Accepted) -> Origin {
        self.forwarded.map_or(accepted.ticket.origin(), origin_of)
    }
}

impl Server {
    /// What the lists allow.
    fn grant(
        &self,
        (known, listed): (&PeersState, &TokensState),
        proof: Proof,
        from: (&str, Entrance),
    ) -> Result<Grant, Denied> {
        let own = self.own_tokens.now().all;
        let tokens = TokenRules {
            listed,
            own: &own,
            directory: self.directory.as_deref(),
            may_come_plain: self.may_tokens_come_plain,
            now: Moment::now(),
        };
        let rules = Rules { own: self.identity.fingerprint(), known, tokens, guest: self.guest };
        let mut grant = rules.authorize(proof, from)?;
        grant.narrow(self.power, from.1);
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
    pub(super) fn authorize(&self, proof: Proof, accepted: &Accepted) -> Result<Grant, Denied> {
        self.authorize_at(proof, accepted, entrance(accepted))
    }

    /// As [`authorize`](Self::authorize), for what came in there.
    ///
    /// # Errors
    /// As there.
    pub(super) fn authorize_at(&self, proof: Proof, accepted: &Accepted, entrance: Entrance) -> Result<Grant, Denied> {
        let tokens = match proof {
            Proof::Token(_) | Proof::Session(_) => self.tokens.now().0,
            // Not read for every connection that proves something else.
            Proof::Nothing | Proof::SameUser | Proof::Key(_) => Ok(Arc::default()),
        };
        self.grant((&self.known_peers.now().0, &tokens), proof, (&accepted.address, entrance))
    }

    /// As [`authorize`](Self::authorize), and notes it, so that a connection that may do less later is found.
    ///
    /// # Errors
    /// As [`authorize`](Self::authorize).
    pub(super) fn authorize_and_note(&self, proof: Proof, accepted: &Accepted) -> Result<Grant, Denied> {
        self.authorize_and_note_at(proof, accepted, entrance(accepted))
    }

    fn authorize_and_note_at(&self, proof: Proof, accepted: &Accepted, entrance: Entrance) -> Result<Grant, Denied> {
        let mut granted = self.authorize_at(proof, accepted, entrance)?;
        // No list takes anything from a connection that proves nothing, nor from the own identity.
        if !matches!(proof, Proof::Key(_) | Proof::Token(_) | Proof::Session(_)) || granted.peer == Peer::Own {
            return Ok(granted);
        }
        loop {
            let address = accepted.address.clone();
            self.grants.note(accepted.id(), GrantInUse { proof, address, entrance, grant: granted.clone() });
            // Once more: a list that changed before this was noted was not held against it.
            let again = self.authorize_at(proof, accepted, entrance)?;
            if again == granted {
                return Ok(granted);
            }
            granted = again;
        }
    }

    /// What a request may do that presents a token: as [`authorize_and_note`](Self::authorize_and_note), and wrong
    /// tokens are counted.
    ///
    /// # Errors
    /// [`Denied`]: the token came in plain text, too many wrong ones came, or it is not taken here.
    pub(super) fn authorize_token(&self, token: PresentedToken<'_>, accepted: &Accepted) -> Result<Grant, Denied> {
        let PresentedToken { id, name, forwarded, .. } = token;
        let origin = token.origin(accepted);
        self.guesses.check(origin, name, Instant::now())?;
        let granted = self.authorize_and_note_at(Proof::Token(id), accepted, token.entrance(accepted));
        match &granted {
            Ok(grant) => {
                self.guesses.right(origin, name, Instant::now());
                self.note_seen(&grant.peer, &accepted.address);
            }
            Err(Denied::NoSuchToken) => self.count_wrong(origin, name, forwarded),
            Err(Denied::TokenInPlain) => self.tell_exposed(id, &accepted.address),
            Err(
                Denied::PeersUnreadable
                | Denied::TokensUnreadable
                | Denied::TooManyWrong(_)
                | Denied::NoSuchSession
                | Denied::NoSuchLink
                | Denied::NoSuchLinkInPlain
                | Denied::CannotRecord,
            ) => {}
        }
        granted
    }

    /// What a request may do that has this cookie: as [`authorize_and_note`](Self::authorize_and_note). One that is
    /// right is always looked at: it is of 128 random bits, which no one guesses, so that strangers behind the same
    /// address cannot lock its owner out. Of the others each counts once.
    ///
    /// # Errors
    /// [`Denied`]: the session has ended, or too many wrong ones came.
    pub(super) fn authorize_session(&self, session: PresentedToken<'_>, accepted: &Accepted) -> Result<Grant, Denied> {
        let PresentedToken { id, forwarded, .. } = session;
        let origin = session.origin(accepted);
        let granted = self.authorize_and_note_at(Proof::Session(id), accepted, session.entrance(accepted));
        match &granted {
            Ok(grant) => {
                self.guesses.right(origin, Some(COOKIES), Instant::now());
                self.note_seen(&grant.peer, &accepted.address);
            }
            // It was one once, and no guess.
            Err(Denied::NoSuchSession) if self.tokens.inside().list.by_digest(id.as_bytes()).is_some() => {}
            Err(Denied::NoSuchSession) if self.guesses.is_new(origin, id.as_bytes(), Instant::now()) => {
                self.guesses.check(origin, Some(COOKIES), Instant::now())?;
                self.count_wrong(origin, Some(COOKIES), forwarded);
            }
            Err(_) => {}
        }
        granted
    }

    pub(super) fn count_wrong(&self, origin: Origin, name: Option<&str>, forwarded: Option<IpAddr>) {
        let is_trusted = self.guesses.wrong(origin, name, Instant::now());
        // Whose address it shares with the owner must not have it turned away at the gate; nor is a proxy's address its
        // clients'.
        if !is_trusted && forwarded.is_none() {
            self.service.gate().note_failure(origin, 1);
        }
    }

    /// Records that the holder of a listed token or session was here; with a session also its token, which is in use too.
    /// Those of this process are on no list.
    fn note_seen(&self, peer: &Peer, address: &str) {
        let Peer::Token { id, owner, .. } = peer else { return };
        if self.own_tokens.has_token(*owner) {
            return;
        }
        for seen in std::iter::once(id).chain((id != owner).then_some(owner)) {
            if let Err(error) = self.last_seen.note(self.known_peers.home(), Owner::Token(*seen), address) {
                tracing::warn!(%error, "when a token was used could not be noted");
            }
        }
    }

    /// Tells the operator once that a token or link which exists was read by others, perhaps. The client is told the same
    /// as of one that does not.
    pub(super) fn tell_exposed(&self, id: TokenId, address: &str) {
        let listed = self.tokens.inside().list;
        let own = self.own_tokens.now().all;
        let Some(token) = own.iter().chain(listed.by_digest(id.as_bytes())).find(|token| token.id == id) else {
            return;
        };
        if self.exposed.lock().unwrap_or_else(PoisonError::into_inner).insert(id) {
            tracing::warn!(
                token = token.name,
                from = address,
                "this token came unencrypted from another machine: others may have read it, so replace it"
            );
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
            Peer::Known { fingerprint, .. } => self.memory.of(Owner::Key(*fingerprint)),
            Peer::Token { owner, .. } => self.memory.of(Owner::Token(*owner)),
            Peer::Guest { .. } => self.memory.guests(),
        }
    }

    /// Where a peer's files are on their way in. What a guest leaves belongs to no peer, since another could come as it.
    fn parts_of(&self, peer: &Peer) -> Arc<Parts> {
        let owner = peer.owner().filter(|_| peer.is_known());
        Parts::new(self.part_records.clone(), owner.map(|owner| owner.to_string()))
    }

    /// Ends what peers may not do any more: connections whose peer may do less than they were granted, and detached
    /// commands.
    pub(super) fn end_narrowed(&self, watch: &mut ListsWatch) {
        let lists = watch.look(&self.known_peers, &self.tokens, &self.own_tokens.now());
        let Some(ListsForOpen { peers, tokens, is_news }) = lists else { return };
        let guest = self.guest;
        let may_run = |owner: &Owner| match owner {
            Owner::Own => Some(Commands::Any),
            Owner::Token(_) => None,
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
        let owners = self.http.as_ref().map(|_| {
            let (own, now) = (self.own_tokens.now(), Moment::now());
            let writes = |services: Services| services.has(Service::Write);
            let keys = peers.iter().filter(|peer| writes(peer.services)).map(|peer| Owner::Key(peer.fingerprint));
            let taken = tokens.iter().chain(own.all.iter());
            let taken = taken.filter(|token| writes(token.services) && !token.is_expired(now));
            let owners = keys.chain(taken.map(|token| Owner::Token(token.id))).chain([Owner::Own]);
            owners.map(|owner| owner.to_string()).collect()
        });
        let (known, tokens) = (Ok(Arc::clone(&peers)), Ok(tokens));
        let beyond = self.grants.beyond(|held| {
            let now = self.grant((&known, &tokens), held.proof, (&held.address, held.entrance)).ok()?;
            // A guest that is known now has just been paired, on this connection: it would lose the word that says
            // so. It holds no more than any guest does.
            let was_paired = matches!(held.grant.peer, Peer::Guest { .. }) && now.peer.is_known();
            Some(if was_paired { held.grant.clone() } else { now })
        });
        self.service.open().cut(&beyond);
        // Behind that: a request that is in flight sees that it was cut, or what it has made is found here.
        if let (Some(http), Some(owners)) = (&self.http, &owners) {
            http.state.keep_owners(owners);
        }
        for connection in beyond {
            tracing::info!(connection, "ended: its peer was revoked, or may do less now");
        }
    }
}
