//! Who a connection is and what it may do here: its grant, its session, and the end of what it may not do any more.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::Server;
use crate::error::{Refusal, Result};
use crate::fs::part::Parts;
use crate::fs::root::RootPath;
use crate::http::server::SignedIn;
use crate::memory::Pool;
use crate::net::budget::Whose;
use crate::net::origin::{Origin, origin_of};
use crate::net::service::Accepted;
use crate::session::{RequestReport, Session};
use crate::trust::commands::Commands;
use crate::trust::grants::{GrantInUse, ListsForOpen, ListsWatch};
use crate::trust::peers::PeersState;
use crate::trust::policy::{Channel, Denied, Entrance, Grant, Proof, Rules, TokenRules};
use crate::trust::time::Moment;
use crate::trust::tokens::shares::{NotExchanged, Offered, end_session, exchange};
use crate::trust::tokens::{Secret, Token, TokenId, TokensState};
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

/// What a browser sends to sign in.
#[derive(Debug, Clone, Copy)]
pub(super) struct SignInForm<'t> {
    /// The secret of a link or a token.
    pub(super) secret: PresentedToken<'t>,
    /// Under what the sign-in is remembered; `None`: the form has no number.
    pub(super) key: Option<TokenId>,
    /// The session of the cookie that came with it.
    pub(super) session: Option<TokenId>,
}

impl PresentedToken<'_> {
    /// Whether others could read it on its way to the trusted proxy. For the way from there, the connection counts.
    fn came_plain(&self) -> bool {
        self.forwarded.is_some_and(|client| !client.is_loopback() && !self.is_encrypted)
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
        let tokens = match proof {
            Proof::Token(_) | Proof::Session(_) => self.tokens.now().0,
            // Not read for every connection that proves something else.
            Proof::Nothing | Proof::SameUser | Proof::Key(_) => Ok(Arc::default()),
        };
        self.grant((&self.known_peers.now().0, &tokens), proof, (&accepted.address, entrance(accepted)))
    }

    /// As [`authorize`](Self::authorize), and notes it, so that a connection that may do less later is found.
    ///
    /// # Errors
    /// As [`authorize`](Self::authorize).
    pub(super) fn authorize_and_note(&self, proof: Proof, accepted: &Accepted) -> Result<Grant, Denied> {
        let mut granted = self.authorize(proof, accepted)?;
        // No list takes anything from a connection that proves nothing, nor from the own identity.
        if !matches!(proof, Proof::Key(_) | Proof::Token(_) | Proof::Session(_)) || granted.peer == Peer::Own {
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

    /// What a request may do that presents a token: as [`authorize_and_note`](Self::authorize_and_note), and wrong
    /// tokens are counted.
    ///
    /// # Errors
    /// [`Denied`]: the token came in plain text, too many wrong ones came, or it is not taken here.
    pub(super) fn authorize_token(&self, token: PresentedToken<'_>, accepted: &Accepted) -> Result<Grant, Denied> {
        let PresentedToken { id, name, forwarded, .. } = token;
        let origin = forwarded.map_or(accepted.ticket.origin(), origin_of);
        self.guesses.check(origin, name, Instant::now())?;
        let granted = if token.came_plain() && !self.may_tokens_come_plain {
            Err(Denied::TokenInPlain)
        } else {
            self.authorize_and_note(Proof::Token(id), accepted)
        };
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
                | Denied::NoRoom,
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
        let origin = forwarded.map_or(accepted.ticket.origin(), origin_of);
        let listed = self.tokens.inside().list;
        let entry = listed.by_digest(id.as_bytes());
        let may_come_plain = self.may_tokens_come_plain || entry.is_some_and(|entry| entry.may_come_plain);
        let granted = if session.came_plain() && !may_come_plain {
            Err(Denied::NoSuchSession)
        } else {
            self.authorize_and_note(Proof::Session(id), accepted)
        };
        match &granted {
            Ok(grant) => {
                self.guesses.right(origin, Some(COOKIES), Instant::now());
                self.note_seen(&grant.peer, &accepted.address);
            }
            // It was one once, and no guess.
            Err(Denied::NoSuchSession) if entry.is_some() => {}
            Err(Denied::NoSuchSession) if self.guesses.is_new(origin, id.as_bytes(), Instant::now()) => {
                self.guesses.check(origin, Some(COOKIES), Instant::now())?;
                self.count_wrong(origin, Some(COOKIES), forwarded);
            }
            Err(_) => {}
        }
        granted
    }

    /// Exchanges the secret of a link or a token for a session. That of a link is of 128 random bits and always looked
    /// at; a token may be what a person has chosen, and waits after too many wrong ones. `None`: the client has a
    /// session already that came from it.
    ///
    /// # Errors
    /// [`Denied`].
    pub(super) fn sign_in(&self, form: &SignInForm<'_>, accepted: &Accepted) -> Result<Option<SignedIn>, Denied> {
        let PresentedToken { id, forwarded, .. } = form.secret;
        let origin = forwarded.map_or(accepted.ticket.origin(), origin_of);
        let comes_plain = entrance(accepted) == Entrance::Network(Channel::Plain) || form.secret.came_plain();
        let is_exposed = comes_plain && !self.may_tokens_come_plain;
        let directory = self.directory.as_deref().unwrap_or_default();
        let offered = Offered { id, directory, is_exposed, now: Moment::now() };
        let listed = self.tokens.inside().list;
        let entry = listed.by_digest(id.as_bytes());
        if self.has_come_from(entry, form.session, accepted) {
            return Ok(None);
        }
        let signed_in = |secret: Secret, expires: Option<Moment>| {
            let lasts = expires.map_or(Duration::ZERO, |expires| expires.since(offered.now));
            Ok(Some(SignedIn { secret, lasts }))
        };
        let _alone = form.key.map(|_| self.retries.one_by_one());
        let again = form.key.and_then(|key| self.retries.find(key, Instant::now()));
        if let Some(again) = again.filter(|again| self.authorize(Proof::Session(again.secret.id()), accepted).is_ok()) {
            return signed_in(again.secret, again.expires);
        }
        let is_link = entry.is_some_and(|entry| !entry.is_token());
        if !is_link {
            self.guesses.check(origin, None, Instant::now())?;
        }
        let new = Secret::random().map_err(|error| {
            self.tell_unrecorded(&error, accepted);
            Denied::NoRoom
        })?;
        let exchanged = self.exchange(&offered, &new).map_err(|why| self.denied(&why, accepted));
        match &exchanged {
            Ok(_) if is_link => {}
            Ok(_) => self.guesses.right(origin, None, Instant::now()),
            Err(Denied::NoSuchLink) => self.count_wrong(origin, None, forwarded),
            Err(Denied::TokenInPlain) => self.tell_exposed(id, &accepted.address),
            Err(_) => {}
        }
        let session = exchanged?;
        if let Some(key) = form.key {
            self.retries.note(key, &new, (session.expires, Instant::now()));
        }
        tracing::info!(connection = accepted.id(), session = session.name, from = %accepted.address, "signed in");
        signed_in(new, session.expires)
    }

    /// Whether a session that is good came from this link or token.
    fn has_come_from(&self, entry: Option<&Token>, session: Option<TokenId>, accepted: &Accepted) -> bool {
        let (Some(entry), Some(session)) = (entry, session) else { return false };
        let listed = self.tokens.inside().list;
        let from = listed.by_digest(session.as_bytes()).and_then(Token::session_of);
        from == Some(entry.name.as_str()) && self.authorize(Proof::Session(session), accepted).is_ok()
    }

    fn exchange(&self, offered: &Offered<'_>, new: &Secret) -> Result<Token, NotExchanged> {
        if self.own_tokens.has_token(offered.id) {
            if offered.is_exposed {
                return Err(NotExchanged::Exposed);
            }
            return self.own_tokens.exchange(offered.id, new, offered.now).ok_or(NotExchanged::NoSuch);
        }
        // The lock of the home is not taken for each guess of a stranger.
        let (listed, _) = self.tokens.now();
        offered.find(&*listed.map_err(|_unreadable| NotExchanged::Unreadable)?)?;
        match self.directory {
            Some(_) => exchange(self.tokens.home(), offered, new),
            None => Err(NotExchanged::NoSuch),
        }
    }

    fn denied(&self, why: &NotExchanged, accepted: &Accepted) -> Denied {
        match why {
            NotExchanged::NoSuch => Denied::NoSuchLink,
            NotExchanged::Exposed => Denied::TokenInPlain,
            NotExchanged::Unreadable => Denied::TokensUnreadable,
            NotExchanged::Full | NotExchanged::List(_) => {
                self.tell_unrecorded(why, accepted);
                Denied::NoRoom
            }
        }
    }

    /// Says why the list of tokens was not changed, as often as the strangers' share of the log permits.
    fn tell_unrecorded(&self, why: &dyn std::error::Error, accepted: &Accepted) {
        let origin = accepted.ticket.origin();
        if self.service.gate().log_budget().allows(Whose::Address(origin), || origin.to_string()) {
            tracing::error!(error = %why, "a session could be neither begun nor ended");
        }
    }

    /// Ends a session.
    ///
    /// # Errors
    /// The list cannot be written.
    pub(super) fn sign_out(&self, session: TokenId, accepted: &Accepted) -> Result<(), Denied> {
        // Or the answer to this very request could be cut off.
        self.grants.forget(accepted.id());
        let is_listed = || self.tokens.inside().list.by_digest(session.as_bytes()).is_some();
        if self.own_tokens.end_session(session) || !is_listed() {
            return Ok(());
        }
        end_session(self.tokens.home(), session).map(drop).map_err(|error| {
            self.tell_unrecorded(&error, accepted);
            Denied::NoRoom
        })
    }

    fn count_wrong(&self, origin: Origin, name: Option<&str>, forwarded: Option<IpAddr>) {
        let is_trusted = self.guesses.wrong(origin, name, Instant::now());
        // Whose address it shares with the owner must not have it turned away at the gate; nor is a proxy's address its
        // clients'.
        if !is_trusted && forwarded.is_none() {
            self.service.gate().note_failure(origin, 1);
        }
    }

    /// Records that the holder of a listed token was here. That of a token of this process is on no list.
    fn note_seen(&self, peer: &Peer, address: &str) {
        if let Peer::Token { id, .. } = peer
            && !self.own_tokens.has_token(*id)
            && let Err(error) = self.last_seen.note(self.known_peers.home(), Owner::Token(*id), address)
        {
            tracing::warn!(%error, "when a token was used could not be noted");
        }
    }

    /// Tells the operator once that a token which exists was read by others, perhaps. The client is told the same of
    /// every token.
    fn tell_exposed(&self, id: TokenId, address: &str) {
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
            Peer::Token { id, .. } => self.memory.of(Owner::Token(*id)),
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
        let (known, tokens) = (Ok(Arc::clone(&peers)), Ok(tokens));
        let beyond = self.grants.beyond(|held| {
            let now = self.grant((&known, &tokens), held.proof, (&held.address, held.entrance)).ok()?;
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
