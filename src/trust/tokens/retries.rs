//! Sign-ins that a browser sends twice: a button that was pressed twice, an answer that was lost on its way. Without
//! this, the second one would find the link used up, and the first one's cookie would be nowhere.
//!
//! The page of a link has a nonce, which its form sends along. Who sends the same nonce with the same secret soon after
//! gets the same session. Another browser that opens the link gets another page, with another nonce.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Secret, TokenId};
use crate::trust::time::Moment;

/// How long a sign-in can be repeated.
pub const RETRY_TIME_MAX: Duration = Duration::from_mins(2);
/// Sign-ins that can be repeated, at most; beyond, the oldest cannot any more.
pub const RETRIES_MAX: usize = 256;

/// What was exchanged lately, by a hash of secret and nonce.
#[derive(Debug, Default)]
pub struct Retries {
    exchanged: Mutex<HashMap<TokenId, Exchanged>>,
    one_by_one: Mutex<()>,
}

/// A session that was given.
#[derive(Debug, Clone)]
pub struct Exchanged {
    /// Its secret.
    pub secret: Secret,
    /// When it ends; `None`: that is not known.
    pub expires: Option<Moment>,
    at: Instant,
}

impl Retries {
    /// Under what a sign-in with this secret is remembered, from a page with this nonce. `None`: it has none.
    pub fn key(secret: &[u8], nonce: &[u8]) -> Option<TokenId> {
        // The length keeps two pairs apart that look alike when they are put together.
        let len = u64::try_from(secret.len()).unwrap_or(u64::MAX).to_be_bytes();
        (!nonce.is_empty()).then(|| TokenId::of(&[&len[..], secret, nonce].concat()))
    }

    /// Held from looking for what a sign-in has given to noting what it gives: two sendings may come at once.
    pub fn one_by_one(&self) -> MutexGuard<'_, ()> {
        self.one_by_one.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this sign-in has given already.
    pub fn find(&self, key: TokenId, now: Instant) -> Option<Exchanged> {
        let mut all = self.exchanged.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, exchanged| now.saturating_duration_since(exchanged.at) < RETRY_TIME_MAX);
        all.get(&key).cloned()
    }

    /// Remembers what a sign-in has given.
    pub fn note(&self, key: TokenId, secret: &Secret, (expires, now): (Option<Moment>, Instant)) {
        let mut all = self.exchanged.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= RETRIES_MAX
            && let Some(oldest) = all.iter().min_by_key(|(_, exchanged)| exchanged.at).map(|(key, _)| *key)
        {
            all.remove(&oldest);
        }
        all.insert(key, Exchanged { secret: secret.clone(), expires, at: now });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_form_gets_the_same_session_for_a_while() {
        let (retries, now) = (Retries::default(), Instant::now());
        let key = |secret: &str, nonce: &str| Retries::key(secret.as_bytes(), nonce.as_bytes());
        assert_eq!(key("link", ""), None);
        assert_ne!(key("ab", "c"), key("a", "bc"));
        let (one, session) = (key("link", "1").unwrap(), Secret::random().unwrap());
        retries.note(one, &session, (None, now));
        assert_eq!(retries.find(one, now).unwrap().secret, session);
        assert!(retries.find(key("link", "2").unwrap(), now).is_none(), "another page of the link");
        assert!(retries.find(key("other", "1").unwrap(), now).is_none());
        for n in 0..RETRIES_MAX {
            retries.note(key("link", &n.to_string()).unwrap(), &session, (None, now + Duration::from_secs(1)));
        }
        assert_eq!(retries.exchanged.lock().unwrap().len(), RETRIES_MAX);
        assert!(retries.find(key("link", "9").unwrap(), now + RETRY_TIME_MAX / 2).is_some());
        assert!(retries.find(key("link", "9").unwrap(), now + 2 * RETRY_TIME_MAX).is_none());
    }
}
