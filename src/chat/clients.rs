//! Clients that are known again: which of their messages the server has.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::error::{ErrorCode, Refusal};

/// Clients that are remembered at a time. Each costs some 200 bytes.
pub const CLIENTS_MAX: usize = 20_000;
/// How long a client that is gone is remembered.
const CLIENT_TIME: Duration = Duration::from_hours(24);
const SECRET_LEN_MIN: usize = 16;
const SECRET_LEN_MAX: usize = 64;
/// Bytes of an origin; twice as many hexadecimal digits.
const ORIGIN_LEN: usize = 8;

/// A client's origin: a digest of its secret, which others may see.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientOrigin(String);

impl ClientOrigin {
    /// The origin of the client with this secret.
    ///
    /// # Errors
    /// The secret is too short to be one, or too long.
    pub fn of_secret(secret: &str) -> Result<Self, Refusal> {
        let is_valid = (SECRET_LEN_MIN..=SECRET_LEN_MAX).contains(&secret.len())
            && secret.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_valid {
            let text = format!("client: it takes {SECRET_LEN_MIN} to {SECRET_LEN_MAX} visible ASCII characters");
            return Err(Refusal::new(ErrorCode::BadRequest, text));
        }
        let digest = blake3::derive_key("landline chat origin", secret.as_bytes());
        Ok(Self(blake3::Hash::from_bytes(digest).to_hex().chars().take(2 * ORIGIN_LEN).collect()))
    }

    /// An origin as it was kept in a file; `None`: it is none.
    pub fn of_kept(text: &str) -> Option<Self> {
        let is_valid = text.len() == 2 * ORIGIN_LEN && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_valid.then(|| Self(text.to_owned()))
    }

    /// Hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Debug)]
struct Received {
    id: u64,
    seq: Option<u64>,
    time_ms: u64,
    seen: Instant,
}

/// The last message of each client. A client sends its messages in the order of their numbers, and again from the first
/// one that was not acknowledged, so that the last number says which ones are here.
#[derive(Debug, Default)]
pub struct Clients {
    last: HashMap<ClientOrigin, Received>,
}

/// A message that is here already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeated {
    /// Its number in the room, if it is the client's last one.
    pub seq: Option<u64>,
    /// When it arrived, milliseconds since 1970 UTC, if it is the client's last one.
    pub time_ms: Option<u64>,
}

impl Clients {
    /// Whether the client's message is here already.
    pub fn repeated(&self, origin: &ClientOrigin, id: u64) -> Option<Repeated> {
        let last = self.last.get(origin).filter(|last| id <= last.id)?;
        let is_last = last.id == id;
        Some(Repeated { seq: last.seq.filter(|_| is_last), time_ms: is_last.then_some(last.time_ms) })
    }

    /// Notes a client's message.
    pub fn note(&mut self, origin: &ClientOrigin, id: u64, seq: Option<u64>, time_ms: u64) {
        let seen = Instant::now();
        if let Some(last) = self.last.get_mut(origin) {
            *last = Received { id: id.max(last.id), seq, time_ms, seen };
            return;
        }
        if self.last.len() >= CLIENTS_MAX {
            self.forget_old(seen);
        }
        self.last.insert(origin.clone(), Received { id, seq, time_ms, seen });
    }

    fn forget_old(&mut self, now: Instant) {
        self.last.retain(|_, last| now.duration_since(last.seen) < CLIENT_TIME);
        if self.last.len() < CLIENTS_MAX {
            return;
        }
        // The half that was heard of last stays.
        let mut seen: Vec<Instant> = self.last.values().map(|last| last.seen).collect();
        seen.sort_unstable();
        let limit = seen.get(seen.len() / 2).copied().unwrap_or(now);
        self.last.retain(|_, last| last.seen > limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_no_origin_and_short_ones_are_refused() {
        let secret = "0123456789abcdef";
        let origin = ClientOrigin::of_secret(secret).unwrap();
        assert_eq!(origin.as_str().len(), 16);
        assert!(!secret.contains(origin.as_str()));
        for bad in ["", "short", "0123456789abcde\n", "0123456789abcde\u{e9}", &"x".repeat(65)] {
            assert_eq!(ClientOrigin::of_secret(bad).unwrap_err().code, ErrorCode::BadRequest, "{bad:?}");
        }
    }

    #[test]
    fn the_last_number_says_which_messages_are_here() {
        let mut clients = Clients::default();
        let ann = ClientOrigin::of_secret("0123456789abcdef").unwrap();
        assert_eq!(clients.repeated(&ann, 1), None);
        clients.note(&ann, 1, Some(70), 5);
        clients.note(&ann, 2, Some(71), 6);
        assert_eq!(clients.repeated(&ann, 2), Some(Repeated { seq: Some(71), time_ms: Some(6) }));
        assert_eq!(clients.repeated(&ann, 1), Some(Repeated { seq: None, time_ms: None }));
        assert_eq!(clients.repeated(&ann, 3), None);
    }

    #[test]
    fn the_clients_that_are_remembered_are_bounded() {
        let mut clients = Clients::default();
        for at in 0..=CLIENTS_MAX {
            clients.note(&ClientOrigin(format!("{at:016x}")), 1, None, 0);
        }
        assert!(clients.last.len() <= CLIENTS_MAX);
        assert!(clients.repeated(&ClientOrigin(format!("{CLIENTS_MAX:016x}")), 1).is_some());
    }
}
