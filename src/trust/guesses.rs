//! Wrong tokens, counted for each address and for each claimed name: beyond a limit no token is looked at for a while,
//! so that a secret that a person has chosen cannot be found by trying.
//!
//! A stranger who guesses must not lock the owner out. So an address from which the right token came lately, under the
//! same name, has a higher limit of its own, and what others guess does not count against it.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::net::origin::Origin;

/// How long wrong tokens count, from the first of them.
pub const GUESS_TIME: Duration = Duration::from_mins(1);
/// Wrong tokens of one address in that time.
pub const WRONG_PER_ORIGIN_MAX: u32 = 10;
/// Wrong tokens under one name in that time, from all addresses together: 144,000 a day. Those without a name count
/// as one name, or they would be the way around this limit.
pub const WRONG_PER_NAME_MAX: u32 = 100;
/// Wrong tokens in that time of an address from which the right one came lately, under that name. Behind one address
/// there can be many people, so it is not without a limit.
pub const WRONG_OF_TRUSTED_MAX: u32 = 1_000;
/// How long an address is trusted in this way after the last right token.
pub const TRUSTED_TIME: Duration = Duration::from_hours(24);
/// Addresses, and names, whose wrong tokens are remembered. Beyond, the one with the fewest is forgotten.
pub const GUESSERS_MAX: usize = 4_096;
/// Addresses with a name that are remembered for their right token. Beyond, the oldest is forgotten; only those who
/// have a right token get here.
pub const TRUSTED_MAX: usize = 1_024;

/// Cookies of no session that are remembered, so that a browser that reloads a page makes one guess and not a hundred.
/// Beyond, the oldest is forgotten.
pub const STALE_MAX: usize = 1_024;

/// Too many wrong tokens have come: nothing is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many wrong tokens came; try again in {seconds} s")]
pub struct Wait {
    /// Seconds to wait, at least 1.
    pub seconds: u64,
}

/// A claimed name, hashed with this process's own key: as short as any other, and no two are made to collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct NameHash(u64);

/// The wrong tokens of a server.
#[derive(Debug, Default)]
pub struct Guesses {
    hasher: RandomState,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    by_origin: Counters<Origin>,
    by_name: Counters<NameHash>,
    /// Wrong tokens of addresses that are trusted under that name.
    of_trusted: Counters<(Origin, NameHash)>,
    /// When the last right token came.
    right: HashMap<(Origin, NameHash), Instant>,
    /// When the last cookie came that is none, by its hash.
    stale: HashMap<(Origin, NameHash), Instant>,
}

/// Counts by `K`, of which there are [`GUESSERS_MAX`] at most.
#[derive(Debug)]
struct Counters<K>(HashMap<K, Counter>);

#[derive(Debug, Clone, Copy)]
struct Counter {
    wrong: u32,
    since: Instant,
}

impl Counter {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= GUESS_TIME
    }
}

impl<K> Default for Counters<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Copy + Eq + Hash> Counters<K> {
    fn check(&self, key: &K, most: u32, now: Instant) -> Result<(), Wait> {
        match self.0.get(key).filter(|counter| counter.wrong >= most && !counter.is_over(now)) {
            None => Ok(()),
            Some(counter) => {
                let left = GUESS_TIME.saturating_sub(now.saturating_duration_since(counter.since));
                Err(Wait { seconds: left.as_secs() + 1 })
            }
        }
    }

    fn count(&mut self, key: K, now: Instant) {
        if self.0.len() >= GUESSERS_MAX && !self.0.contains_key(&key) {
            self.0.retain(|_, counter| !counter.is_over(now));
            // The fewest, not the oldest: with new addresses or names, an attacker would wash out a count that is high.
            let fewest = self.0.iter().min_by_key(|(_, counter)| (counter.wrong, counter.since)).map(|(key, _)| *key);
            if let Some(fewest) = fewest.filter(|_| self.0.len() >= GUESSERS_MAX) {
                self.0.remove(&fewest);
            }
        }
        let counter = self.0.entry(key).or_insert(Counter { wrong: 0, since: now });
        if counter.is_over(now) {
            *counter = Counter { wrong: 0, since: now };
        }
        counter.wrong = counter.wrong.saturating_add(1);
    }
}

impl Counts {
    fn is_trusted(&self, who: &(Origin, NameHash), now: Instant) -> bool {
        self.right.get(who).is_some_and(|at| now.saturating_duration_since(*at) < TRUSTED_TIME)
    }
}

impl Guesses {
    /// Whether a token from `origin` is looked at, under the claimed name.
    ///
    /// # Errors
    /// Too many wrong ones came. A right one would be refused too, or the answer would tell it from a wrong one.
    pub fn check(&self, origin: Origin, name: Option<&str>, now: Instant) -> Result<(), Wait> {
        let (name, counts) = (self.hash(name), self.counts());
        if counts.is_trusted(&(origin, name), now) {
            return counts.of_trusted.check(&(origin, name), WRONG_OF_TRUSTED_MAX, now);
        }
        counts.by_origin.check(&origin, WRONG_PER_ORIGIN_MAX, now)?;
        counts.by_name.check(&name, WRONG_PER_NAME_MAX, now)
    }

    /// Counts a wrong token; whether it comes from where the right one came from lately.
    pub fn wrong(&self, origin: Origin, name: Option<&str>, now: Instant) -> bool {
        let (name, mut counts) = (self.hash(name), self.counts());
        let is_trusted = counts.is_trusted(&(origin, name), now);
        if is_trusted {
            counts.of_trusted.count((origin, name), now);
        } else {
            counts.by_origin.count(origin, now);
            counts.by_name.count(name, now);
        }
        is_trusted
    }

    /// Remembers that a right token came. What was counted before stays counted: a token of one's own, presented between
    /// guesses at another's, would clear the way.
    pub fn right(&self, origin: Origin, name: Option<&str>, now: Instant) {
        let (name, mut counts) = (self.hash(name), self.counts());
        let right = &mut counts.right;
        if right.len() >= TRUSTED_MAX && !right.contains_key(&(origin, name)) {
            let oldest = right.iter().min_by_key(|(_, at)| **at).map(|(who, _)| *who);
            oldest.map(|oldest| right.remove(&oldest));
        }
        right.insert((origin, name), now);
    }

    /// Whether a cookie that is none has not come from `origin` before, and so is a guess. One that comes again and again
    /// is a session that has ended, in a browser that does not know it yet.
    pub fn is_new(&self, origin: Origin, cookie: &[u8], now: Instant) -> bool {
        let key = (origin, NameHash(self.hasher.hash_one(cookie)));
        let mut counts = self.counts();
        let stale = &mut counts.stale;
        if stale.len() >= STALE_MAX && !stale.contains_key(&key) {
            let oldest = stale.iter().min_by_key(|(_, at)| **at).map(|(who, _)| *who);
            oldest.map(|oldest| stale.remove(&oldest));
        }
        stale.insert(key, now).is_none()
    }

    fn hash(&self, name: Option<&str>) -> NameHash {
        NameHash(self.hasher.hash_one(name))
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::net::origin::origin_of;

    fn origin(n: u32) -> Origin {
        origin_of(Ipv4Addr::from_bits(0x0a00_0000 + n).into())
    }

    fn wrong(guesses: &Guesses, origin: Origin, name: Option<&str>, times: u32, now: Instant) {
        for _ in 0..times {
            guesses.wrong(origin, name, now);
        }
    }

    #[test]
    fn an_address_waits_after_its_wrong_tokens_whatever_names_it_claims() {
        let (guesses, start) = (Guesses::default(), Instant::now());
        for n in 0..WRONG_PER_ORIGIN_MAX {
            let name = format!("name{n}");
            assert_eq!(guesses.check(origin(1), Some(&name), start), Ok(()));
            guesses.wrong(origin(1), Some(&name), start);
        }
        for (from, after, said) in [
            (origin(1), 0, Err(Wait { seconds: 61 })),
            (origin(1), 30, Err(Wait { seconds: 31 })),
            (origin(1), 59, Err(Wait { seconds: 2 })),
            (origin(1), 60, Ok(())),
            (origin(2), 0, Ok(())),
            (Origin::Local, 0, Ok(())),
        ] {
            for name in [Some("ci"), None] {
                assert_eq!(guesses.check(from, name, start + Duration::from_secs(after)), said, "{from} {after}");
            }
        }
        // Afterwards it begins anew.
        let later = start + GUESS_TIME;
        wrong(&guesses, origin(1), None, WRONG_PER_ORIGIN_MAX - 1, later);
        assert_eq!(guesses.check(origin(1), None, later), Ok(()));
        // An IPv6 network of 64 bits is one address.
        let v6 = |host: u16| origin_of(IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, host]));
        for host in 0..10 {
            guesses.wrong(v6(host), None, start);
        }
        assert!(guesses.check(v6(99), None, start).is_err());
    }

    #[test]
    fn a_name_waits_after_the_wrong_tokens_of_all_addresses_but_its_owner_does_not() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        let owner = origin(9_999);
        guesses.right(owner, Some("ci"), now);
        guesses.right(owner, None, now);
        for name in [Some("ci"), None] {
            for n in 0..WRONG_PER_NAME_MAX {
                assert_eq!(guesses.check(origin(n), name, now), Ok(()));
                guesses.wrong(origin(n), name, now);
            }
            let stranger = origin(5_000);
            assert_eq!(guesses.check(stranger, name, now), Err(Wait { seconds: 61 }), "{name:?}");
            assert_eq!(guesses.check(owner, name, now), Ok(()), "{name:?}");
            assert_eq!(guesses.check(stranger, Some("other"), now), Ok(()));
        }
        assert_eq!(guesses.check(owner, Some("ci"), now + TRUSTED_TIME), Ok(()), "all is over by then");
    }

    #[test]
    fn who_was_right_has_a_higher_limit_under_that_name_only() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        guesses.right(origin(1), Some("ci"), now);
        wrong(&guesses, origin(1), Some("ci"), WRONG_OF_TRUSTED_MAX - 1, now);
        assert_eq!(guesses.check(origin(1), Some("ci"), now), Ok(()));
        guesses.wrong(origin(1), Some("ci"), now);
        assert_eq!(guesses.check(origin(1), Some("ci"), now), Err(Wait { seconds: 61 }));
        // Under another name it is an address like any other.
        wrong(&guesses, origin(1), Some("backup"), WRONG_PER_ORIGIN_MAX, now);
        assert!(guesses.check(origin(1), Some("backup"), now).is_err());
        // A right token forgives nothing, and is not remembered without end.
        let other = origin(2);
        wrong(&guesses, other, Some("x"), WRONG_PER_ORIGIN_MAX, now);
        guesses.right(other, Some("y"), now);
        assert!(guesses.check(other, Some("x"), now).is_err());
        let later = now + TRUSTED_TIME;
        wrong(&guesses, other, Some("y"), WRONG_PER_ORIGIN_MAX, later);
        assert!(guesses.check(other, Some("y"), later).is_err());
    }

    #[test]
    fn a_cookie_that_comes_again_is_no_new_guess() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        assert!(guesses.is_new(origin(1), b"a", now) && !guesses.is_new(origin(1), b"a", now));
        assert!(guesses.is_new(origin(2), b"a", now) && guesses.is_new(origin(1), b"b", now));
        for n in 0..2_000 {
            guesses.is_new(origin(n), b"c", now + Duration::from_secs(1));
        }
        assert_eq!(guesses.counts().stale.len(), STALE_MAX);
        assert!(guesses.is_new(origin(1), b"a", now), "it was forgotten, and counts once more");
    }

    #[test]
    fn memory_is_bounded_and_a_high_count_is_not_washed_out() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        wrong(&guesses, origin(0), Some("ci"), WRONG_PER_NAME_MAX, now);
        for n in 1..4_500 {
            guesses.wrong(origin(n), Some(&format!("name{n}")), now);
            guesses.right(origin(n), Some("right"), now);
        }
        {
            let counts = guesses.counts();
            assert_eq!((counts.by_origin.0.len(), counts.by_name.0.len()), (GUESSERS_MAX, GUESSERS_MAX));
            assert_eq!(counts.right.len(), TRUSTED_MAX);
        }
        assert!(guesses.check(origin(0), None, now).is_err(), "its address is remembered");
        assert!(guesses.check(origin(10_001), Some("ci"), now).is_err(), "and the name that it claimed");
        // What is over makes room.
        let later = now + GUESS_TIME;
        guesses.wrong(origin(20_000), Some("ci"), later);
        assert_eq!(guesses.counts().by_origin.0.len(), 1);
    }
}
