//! The tokens of one process, and the sessions that browsers got for them: in memory alone, since a copy of a file must
//! not help to guess a secret that a person has chosen.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::shares::{oldest_sessions, session_names, session_of};
use super::{Secret, Token, TokenId};
use crate::trust::time::Moment;

/// The tokens of one process, and their sessions.
#[derive(Debug, Default)]
pub struct OwnTokens(Mutex<OwnList>);

/// What they are at one moment.
#[derive(Debug, Clone, Default)]
pub struct OwnList {
    /// Tokens and sessions.
    pub all: Arc<Vec<Token>>,
    /// Changes whenever they do.
    pub version: u64,
}

impl OwnTokens {
    /// These tokens, without a session.
    pub fn new(tokens: Vec<Token>) -> Self {
        Self(Mutex::new(OwnList { all: Arc::new(tokens), version: 0 }))
    }

    /// What they are now.
    pub fn now(&self) -> OwnList {
        self.lock().clone()
    }

    /// Whether one of the tokens has this id.
    pub fn has_token(&self, id: TokenId) -> bool {
        self.lock().all.iter().any(|token| token.is_token() && token.id == id)
    }

    /// Exchanges a token for a session, whose secret is `new`; `None`: there is no such token. The oldest session makes
    /// way where there are [`SESSIONS_OF_TOKEN_MAX`](super::shares::SESSIONS_OF_TOKEN_MAX).
    pub fn exchange(&self, id: TokenId, new: &Secret, now: Moment) -> Option<Token> {
        let mut list = self.lock();
        let token = list.all.iter().find(|token| token.is_token() && token.id == id && !token.is_expired(now))?.clone();
        let mut all: Vec<Token> = list.all.iter().filter(|entry| !entry.is_dead(now)).cloned().collect();
        let oldest = oldest_sessions(all.iter(), id);
        all.retain(|entry| !oldest.contains(&entry.name));
        let name = session_names(&token).find(|name| all.iter().all(|entry| entry.name != *name))?;
        let session = session_of(&token, &name, new, now);
        all.push(session.clone());
        *list = OwnList { all: Arc::new(all), version: list.version.wrapping_add(1) };
        Some(session)
    }

    /// Ends the session of this secret; whether there was one.
    pub fn end_session(&self, id: TokenId) -> bool {
        let mut list = self.lock();
        let is_it = |entry: &Token| entry.session_of().is_some() && entry.id == id;
        if !list.all.iter().any(is_it) {
            return false;
        }
        let rest = list.all.iter().filter(|entry| !is_it(entry)).cloned().collect();
        *list = OwnList { all: Arc::new(rest), version: list.version.wrapping_add(1) };
        true
    }

    fn lock(&self) -> MutexGuard<'_, OwnList> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::tokens::shares::SESSIONS_OF_TOKEN_MAX;

    #[test]
    fn a_session_of_an_own_token_is_in_memory_and_there_are_not_too_many() {
        let (secret, now) = (Secret::random().unwrap(), Moment::now());
        let own = OwnTokens::new(vec![Token::new("phone", &secret, "read".parse().unwrap())]);
        assert_eq!(own.exchange(TokenId::of(b"no"), &secret, now), None);
        let new = Secret::random().unwrap();
        let session = own.exchange(secret.id(), &new, now).unwrap();
        assert_eq!((session.name.as_str(), session.session_of(), session.id), ("phone-1", Some("phone"), new.id()));
        let before = own.now().version;
        assert!(!own.end_session(secret.id()), "a token is no session");
        for _ in 0..SESSIONS_OF_TOKEN_MAX {
            own.exchange(secret.id(), &Secret::random().unwrap(), now).unwrap();
        }
        assert_eq!(own.now().all.len(), 1 + SESSIONS_OF_TOKEN_MAX);
        assert!(!own.end_session(new.id()), "the oldest has made way");
        let last = own.now().all.last().unwrap().id;
        assert!(own.end_session(last) && !own.end_session(last) && own.now().version > before);
        assert!(own.has_token(secret.id()) && !own.has_token(new.id()));
    }
}
