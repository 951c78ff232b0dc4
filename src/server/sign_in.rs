//! Sign-in and sign-out of browsers: the secret of a link or a token, exchanged for a session.

use std::time::{Duration, Instant};

use super::Server;
use super::access::PresentedToken;
use crate::http::server::{NewSession, SignedIn};
use crate::net::budget::Whose;
use crate::net::service::Accepted;
use crate::trust::policy::{Channel, Denied, Entrance, Proof};
use crate::trust::time::Moment;
use crate::trust::tokens::shares::{NotExchanged, Offered, end_session, exchange};
use crate::trust::tokens::{Secret, SessionSource, Token, TokenId};

/// What a browser sends to sign in.
#[derive(Debug, Clone, Copy)]
pub(super) struct SignInForm<'t> {
    /// The secret of a link or a token.
    pub(super) secret: PresentedToken<'t>,
    /// Under what the sign-in is remembered; `None`: the form has no nonce.
    pub(super) key: Option<TokenId>,
    /// The session of the cookie that came with it.
    pub(super) session: Option<TokenId>,
}

impl Server {
    /// Exchanges the secret of a link or a token for a session. That of a link is of 128 random bits and always looked
    /// at; a token may be what a person has chosen, and waits after too many wrong ones.
    ///
    /// # Errors
    /// [`Denied`].
    pub(super) fn sign_in(&self, form: &SignInForm<'_>, accepted: &Accepted) -> Result<SignedIn, Denied> {
        let id = form.secret.id;
        let entrance = form.secret.entrance(accepted);
        let is_exposed = entrance == Entrance::Network(Channel::Plain) && !self.may_tokens_come_plain;
        let directory = self.directory.as_deref().unwrap_or_default();
        let offered = Offered { id, directory, is_exposed, now: Moment::now() };
        let is_good = |session: TokenId| self.authorize_at(Proof::Session(session), accepted, entrance).is_ok();
        let source = form.session.and_then(|session| self.source_of(session));
        let is_link = source == Some(SessionSource::Link(id))
            || offered.find(&self.tokens.inside().list).is_ok_and(|found| !found.is_token());
        let checked =
            if is_link { Ok(()) } else { self.guesses.check(form.secret.origin(accepted), None, Instant::now()) };
        // Also of a link that is used up meanwhile: who opens it again goes on with what it gave.
        let has_come_from = source.is_some_and(|source| source.id() == id);
        if checked.is_ok() && has_come_from && form.session.is_some_and(is_good) {
            return Ok(SignedIn::Already);
        }
        let _alone = form.key.map(|_| self.retries.one_by_one());
        let again = form.key.and_then(|key| self.retries.find(key, Instant::now()));
        let again = again.filter(|again| is_good(again.secret.id())).map(|again| (again.secret, again.expires));
        let (secret, expires) = again.map_or_else(
            || checked.map_err(Denied::from).and_then(|()| self.begin_session(form, (&offered, is_link), accepted)),
            Ok,
        )?;
        let lasts = expires.map_or(Duration::ZERO, |expires| expires.since(offered.now));
        Ok(SignedIn::New(NewSession { secret, lasts }))
    }

    /// What a session was exchanged for, if it is on record.
    fn source_of(&self, session: TokenId) -> Option<SessionSource> {
        let own = self.own_tokens.now().all;
        let listed = self.tokens.inside().list;
        let entry = own.iter().find(|entry| entry.id == session).or_else(|| listed.by_digest(session.as_bytes()));
        entry.and_then(Token::source)
    }

    /// Makes a session: its secret, and when it ends.
    fn begin_session(
        &self,
        form: &SignInForm<'_>,
        (offered, is_link): (&Offered<'_>, bool),
        accepted: &Accepted,
    ) -> Result<(Secret, Option<Moment>), Denied> {
        let origin = form.secret.origin(accepted);
        let secret = Secret::random().map_err(|error| {
            self.tell_unrecorded(&error, accepted);
            Denied::CannotRecord
        })?;
        let exchanged = self.exchange(offered, &secret).map_err(|why| {
            if matches!(why, NotExchanged::Exposed) {
                self.tell_exposed(offered.id, &accepted.address);
            }
            self.denied(&why, offered.is_exposed, accepted)
        });
        match &exchanged {
            Ok(_) if is_link => {}
            Ok(_) => self.guesses.right(origin, None, Instant::now()),
            Err(Denied::NoSuchLink | Denied::NoSuchLinkInPlain) => {
                self.count_wrong(origin, None, form.secret.forwarded);
            }
            Err(_) => {}
        }
        let session = exchanged?;
        if let Some(key) = form.key {
            self.retries.note(key, &secret, (session.expires, Instant::now()));
        }
        tracing::info!(connection = accepted.id(), session = session.name, from = %accepted.address, "signed in");
        Ok((secret, session.expires))
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

    fn denied(&self, why: &NotExchanged, is_exposed: bool, accepted: &Accepted) -> Denied {
        match why {
            // The same for both, or a stranger would learn which secrets are good elsewhere.
            NotExchanged::NoSuch | NotExchanged::Exposed if is_exposed => Denied::NoSuchLinkInPlain,
            NotExchanged::NoSuch | NotExchanged::Exposed => Denied::NoSuchLink,
            NotExchanged::Unreadable => Denied::TokensUnreadable,
            NotExchanged::Full | NotExchanged::List(_) => {
                self.tell_unrecorded(why, accepted);
                Denied::CannotRecord
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
            Denied::CannotRecord
        })
    }
}
