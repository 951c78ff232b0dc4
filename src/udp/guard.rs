//! Keeps a server's replies from being abused. A datagram's source address can be forged, so that two servers answer
//! each other without end, or a machine gets replies to datagrams that it never sent.
//!
//! Pure: the caller passes the time. Every table has a fixed size and is indexed by a keyed hash, so that a flood of
//! forged addresses cannot make it grow or evict another entry.

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use super::Endpoint;

/// Datagrams from one source, within a second, that equal an earlier reply to it. A person who repeats a text is
/// slower, a measuring client numbers its datagrams, and two servers that answer each other reach the limit at once.
pub const REPEATS_MAX: u32 = 100;

/// Replies to one address in a second, at most, unless a server is told otherwise; loopback addresses have no limit.
pub const REPLIES_PER_SECOND_MAX: u32 = 1_000;

/// The interval of both limits, and how long a source that repeats replies is not answered.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// Sources that are counted separately; two sources with the same index share their limits.
pub const SOURCES_MAX: usize = 1_024;

/// Replies of one interval that are remembered for each source.
const REPLIES_REMEMBERED_MAX: usize = 128;

/// Why a reply must not leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withheld {
    /// The source sends this server's replies back, and is not answered from now on.
    Repeats,
    /// The source is not answered at present.
    Silenced,
    /// The address has had its replies for this second; this is the first one over the limit.
    Rate,
    /// A further reply over the limit in the same second.
    RateAgain,
}

/// The limits of all sources of one server.
#[derive(Debug)]
pub struct ReplyGuard {
    /// Replies to one address in a second.
    per_second: u32,
    keys: RandomState,
    repeats: Vec<Repeats>,
    rates: Vec<Rate>,
}

#[derive(Debug, Clone, Default)]
struct Repeats {
    /// When the present interval began.
    since: Option<Instant>,
    /// Hashes of source and reply. The first ones of an interval are kept, so that many different datagrams in flight
    /// do not evict one another.
    replies: Vec<u64>,
    count: u32,
    /// The source that is not answered, by hash, and until when; `None`: there is none.
    silenced: Option<(u64, Instant)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Rate {
    since: Option<Instant>,
    count: u32,
}

impl Default for ReplyGuard {
    fn default() -> Self {
        Self::new(REPLIES_PER_SECOND_MAX)
    }
}

impl ReplyGuard {
    /// A guard that lets `per_second` replies go to one address in a second.
    pub fn new(per_second: u32) -> Self {
        Self {
            per_second,
            keys: RandomState::new(),
            repeats: vec![Repeats::default(); SOURCES_MAX],
            rates: vec![Rate::default(); SOURCES_MAX],
        }
    }

    /// Decides whether `reply` may be sent as the answer to `data`, which `from` sent.
    ///
    /// # Errors
    /// Why it must not be sent.
    pub fn admit(&mut self, from: &Endpoint, data: &[u8], reply: &[u8], now: Instant) -> Result<(), Withheld> {
        let source = self.hash_of(from, b"");
        let came = self.hash_of(from, data);
        let goes = if reply == data { came } else { self.hash_of(from, reply) };
        if let Some(slot) = place(&mut self.repeats, source) {
            slot.admit(source, came, goes, now)?;
        }
        let Some(address) = limited(from) else { return Ok(()) };
        let address = self.keys.hash_one(address);
        let per_second = self.per_second;
        place(&mut self.rates, address).map_or(Ok(()), |slot| slot.admit(now, per_second))
    }

    fn hash_of(&self, from: &Endpoint, bytes: &[u8]) -> u64 {
        match from {
            Endpoint::Ip(address) => self.keys.hash_one((address.ip(), address.port(), bytes)),
            Endpoint::Unix(_) => self.keys.hash_one((from.to_string(), bytes)),
        }
    }
}

/// What counts as one address: for IPv6 the /64 prefix, all of which one machine may have. `None`: loopback or a Unix
/// socket, without a limit.
fn limited(from: &Endpoint) -> Option<u128> {
    match from.ip()?.ip().to_canonical() {
        ip if ip.is_loopback() => None,
        std::net::IpAddr::V4(ip) => Some(ip.to_bits().into()),
        std::net::IpAddr::V6(ip) => Some(ip.to_bits() >> 64 << 64),
    }
}

fn place<T>(slots: &mut [T], hash: u64) -> Option<&mut T> {
    let index = hash % u64::try_from(slots.len()).ok()?;
    slots.get_mut(usize::try_from(index).ok()?)
}

fn is_over(since: Option<Instant>, now: Instant) -> bool {
    since.is_none_or(|since| now.saturating_duration_since(since) >= INTERVAL)
}

impl Repeats {
    fn admit(&mut self, source: u64, came: u64, goes: u64, now: Instant) -> Result<(), Withheld> {
        if let Some((silenced, until)) = self.silenced {
            if now >= until {
                self.silenced = None;
            } else if silenced == source {
                return Err(Withheld::Silenced);
            }
        }
        if is_over(self.since, now) {
            self.since = Some(now);
            self.count = 0;
            self.replies.clear();
        }
        if self.replies.contains(&came) {
            self.count += 1;
            if self.count >= REPEATS_MAX {
                *self = Self { silenced: Some((source, now + INTERVAL)), ..Self::default() };
                return Err(Withheld::Repeats);
            }
        }
        if self.replies.len() < REPLIES_REMEMBERED_MAX && !self.replies.contains(&goes) {
            self.replies.push(goes);
        }
        Ok(())
    }
}

impl Rate {
    fn admit(&mut self, now: Instant, per_second: u32) -> Result<(), Withheld> {
        if is_over(self.since, now) {
            *self = Self { since: Some(now), count: 0 };
        }
        self.count = self.count.saturating_add(1);
        match self.count.checked_sub(per_second) {
            None | Some(0) => Ok(()),
            Some(1) => Err(Withheld::Rate),
            Some(_) => Err(Withheld::RateAgain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> Endpoint {
        Endpoint::Ip(address.parse().unwrap())
    }

    /// How many replies are sent when each datagram that arrives is one of `texts`, as a server's own replies come
    /// back.
    fn answered(guard: &mut ReplyGuard, from: &Endpoint, texts: &[Vec<u8>], rounds: usize, now: Instant) -> usize {
        let all = texts.iter().cycle().take(texts.len() * rounds);
        all.filter(|text| guard.admit(from, text, text, now).is_ok()).count()
    }

    #[test]
    fn a_source_that_sends_our_replies_back_is_silenced_for_a_second_and_heard_again() {
        let (mut guard, from, now) = (ReplyGuard::default(), at("127.0.0.1:7"), Instant::now());
        assert_eq!(answered(&mut guard, &from, &[b"x".to_vec()], 1_000, now), 100, "the first, and 99 repeats");
        assert_eq!(guard.admit(&from, b"new", b"new", now + INTERVAL / 2), Err(Withheld::Silenced));
        assert_eq!(guard.admit(&at("127.0.0.1:8"), b"new", b"new", now), Ok(()), "another source is not concerned");
        assert_eq!(guard.admit(&from, b"new", b"new", now + INTERVAL), Ok(()));
    }

    #[test]
    fn many_datagrams_that_go_round_at_once_end_too() {
        let (mut guard, from, now) = (ReplyGuard::default(), at("[::1]:7"), Instant::now());
        let texts: Vec<Vec<u8>> = (0..5_000_u32).map(|n| n.to_be_bytes().to_vec()).collect();
        assert!(answered(&mut guard, &from, &texts, 10, now) < 2 * texts.len());
        // A server that replies in capitals and one that echoes: from the second round on, the texts are the same.
        let from = at("127.0.0.1:9");
        assert_eq!(guard.admit(&from, b"a", b"A", now), Ok(()));
        assert_eq!(answered(&mut guard, &from, &[b"A".to_vec()], 1_000, now), 99);
    }

    #[test]
    fn numbered_datagrams_are_measured_without_a_limit_on_loopback() {
        let (mut guard, from, now) = (ReplyGuard::default(), at("127.0.0.1:7"), Instant::now());
        let texts: Vec<Vec<u8>> = (0..200_000_u32).map(|n| n.to_be_bytes().to_vec()).collect();
        assert_eq!(answered(&mut guard, &from, &texts, 1, now), texts.len());
    }

    #[test]
    fn a_slow_repetition_is_no_loop() {
        let (mut guard, from, now) = (ReplyGuard::default(), at("127.0.0.1:7"), Instant::now());
        for tenth in 0..1_000 {
            assert_eq!(guard.admit(&from, b"ping", b"ping", now + tenth * INTERVAL / 50), Ok(()));
        }
    }

    #[test]
    fn an_address_off_loopback_gets_a_thousand_replies_a_second_over_all_its_ports() {
        for (one, other) in [("192.0.2.7", "192.0.2.8"), ("[2001:db8::1]", "[2001:db8:0:1::1]")] {
            let (mut guard, now) = (ReplyGuard::default(), Instant::now());
            let mut answered = 0;
            let mut said = 0;
            for n in 0..5_000_u32 {
                match guard.admit(&at(&format!("{one}:{}", 1 + n)), &n.to_be_bytes(), b"", now) {
                    Ok(()) => answered += 1,
                    Err(held) => said += u32::from(held == Withheld::Rate),
                }
            }
            assert_eq!((answered, said), (REPLIES_PER_SECOND_MAX, 1), "{one}");
            assert_eq!(guard.admit(&at(&format!("{one}:1")), b"later", b"", now + INTERVAL), Ok(()));
            assert_eq!(guard.admit(&at(&format!("{other}:1")), b"", b"", now), Ok(()), "{other}");
        }
        let mut guard = ReplyGuard::default();
        let now = Instant::now();
        for n in 0..2_000_u32 {
            let from = at(&format!("[2001:db8::{:x}]:9", n + 1));
            assert_eq!(guard.admit(&from, &n.to_be_bytes(), b"", now).is_ok(), n < REPLIES_PER_SECOND_MAX, "{n}");
        }
    }
}
