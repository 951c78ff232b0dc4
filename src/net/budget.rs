//! How many lines strangers, guests and refused peers may write to a log: a limit for each of them in an interval, and
//! one for all. What is beyond is counted, and told in one line when the interval is over: a stranger at full speed
//! would fill a disk otherwise.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::origin::Origin;

/// How long the counts run before they are told and begin anew.
pub const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Lines that one address of strangers writes to the log in an interval.
pub const STRANGER_LINES_MAX: u32 = 20;
/// Lines that all strangers together write to it.
pub const STRANGERS_LINES_MAX: u32 = 200;
/// Lines of refusals that one known peer, or one token, writes to the log and to the audit log in an interval.
pub const PEER_LINES_MAX: u32 = 100;
/// Requests of guests that were served, of one address and of all, in an interval.
pub const GUEST_LINES_MAX: u32 = 1_000;
/// See [`GUEST_LINES_MAX`].
pub const GUESTS_LINES_MAX: u32 = 5_000;
/// Addresses of strangers, and of guests, whose lines are counted by themselves in one interval; those beyond are
/// counted together. Known peers and tokens have a table of their own, which is as long as their lists at most: no
/// number of strangers takes a peer's lines.
const COUNTED_MAX: usize = 256;

/// Whose lines are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Whose {
    /// The strangers of an address: their connections, and what they were refused.
    Address(Origin),
    /// The same, what was done for them.
    Guest(Origin),
    /// A known peer, by its key.
    Key([u8; 32]),
    /// A token, by its hash.
    Token([u8; 32]),
}

/// What kind of lines were counted and not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CountedKind {
    /// Connections of strangers, and what they were refused.
    Strangers,
    /// What was done for guests.
    Guests,
    /// What a known peer was refused, by its key.
    Peer([u8; 32]),
    /// What the holders of a token were refused, by its hash.
    Token([u8; 32]),
}

/// What was counted and not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwritten {
    /// Of what kind.
    pub kind: CountedKind,
    /// Whose, as the log calls it.
    pub label: String,
    /// How many lines.
    pub count: u64,
}

/// One connection that was counted as a stranger's, until it is known to be no stranger's.
#[derive(Debug)]
pub struct Counted {
    /// Whether its line may be written.
    pub is_allowed: bool,
    origin: Origin,
    /// The interval in which it was counted.
    interval: u64,
}

/// The counts of the present interval.
#[derive(Debug, Default)]
pub struct LogBudget {
    spent: Mutex<Spent>,
}

#[derive(Debug, Default)]
struct Spent {
    /// How many intervals were before this one.
    interval: u64,
    /// When the interval began: with its first line.
    since: Option<Instant>,
    strangers: Crowd,
    guests: Crowd,
    /// Of known peers and of tokens.
    peers: HashMap<CountedKind, LineCount>,
}

impl Spent {
    fn count_known(&mut self, kind: CountedKind, label: impl FnOnce() -> String) -> bool {
        let lines = self.peers.entry(kind).or_insert_with(|| LineCount::called(label()));
        let is_allowed = lines.written < PEER_LINES_MAX;
        lines.count(is_allowed);
        is_allowed
    }
}

/// Those who share a limit.
#[derive(Debug, Default)]
struct Crowd {
    by: HashMap<Origin, LineCount>,
    /// Lines of all of them.
    written: u32,
    /// Lines of those that are not counted by themselves, none of them written.
    others: u64,
}

#[derive(Debug, Default)]
struct LineCount {
    label: String,
    written: u32,
    unwritten: u64,
}

impl LineCount {
    fn called(label: String) -> Self {
        Self { label, ..Self::default() }
    }

    fn count(&mut self, is_allowed: bool) {
        self.written += u32::from(is_allowed);
        self.unwritten += u64::from(!is_allowed);
    }
}

impl Crowd {
    /// Whether one more line may be written for `origin`, of which `limit` may be, and `limit_all` of all.
    fn has_room(&self, origin: Origin, (limit, limit_all): (u32, u32)) -> bool {
        let is_below = match self.by.get(&origin) {
            Some(lines) => lines.written < limit,
            None => self.by.len() < COUNTED_MAX,
        };
        is_below && self.written < limit_all
    }

    fn count(&mut self, origin: Origin, label: impl FnOnce() -> String, limits: (u32, u32)) -> bool {
        let is_allowed = self.has_room(origin, limits);
        if self.by.len() >= COUNTED_MAX && !self.by.contains_key(&origin) {
            self.others += 1;
        } else {
            self.by.entry(origin).or_insert_with(|| LineCount::called(label())).count(is_allowed);
            self.written += u32::from(is_allowed);
        }
        is_allowed
    }

    fn forgive(&mut self, origin: Origin, was_allowed: bool) {
        match self.by.get_mut(&origin) {
            Some(lines) if was_allowed => {
                lines.written = lines.written.saturating_sub(1);
                self.written = self.written.saturating_sub(1);
            }
            Some(lines) => lines.unwritten = lines.unwritten.saturating_sub(1),
            None => self.others = self.others.saturating_sub(1),
        }
    }

    /// What is told of it does not grow with those who come either.
    fn tell(self, kind: CountedKind, told: &mut Vec<Unwritten>) {
        let mut unwritten = unwritten(self.by.into_values().map(|lines| (kind, lines)));
        let beyond = unwritten.split_off(unwritten.len().min(TOLD_MAX));
        let rest = self.others + beyond.iter().map(|one| one.count).sum::<u64>();
        told.extend(unwritten);
        if rest > 0 {
            told.push(Unwritten { kind, label: "other addresses".into(), count: rest });
        }
    }
}

/// Addresses that are told of by themselves at the end of an interval, of strangers and of guests.
const TOLD_MAX: usize = 20;

fn unwritten(lines: impl Iterator<Item = (CountedKind, LineCount)>) -> Vec<Unwritten> {
    let lines = lines.filter(|(_, lines)| lines.unwritten > 0);
    let mut unwritten: Vec<_> =
        lines.map(|(kind, LineCount { label, unwritten: count, .. })| Unwritten { kind, label, count }).collect();
    unwritten.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.label.cmp(&b.label)));
    unwritten
}

const STRANGER_LIMITS: (u32, u32) = (STRANGER_LINES_MAX, STRANGERS_LINES_MAX);
const GUEST_LIMITS: (u32, u32) = (GUEST_LINES_MAX, GUESTS_LINES_MAX);

impl LogBudget {
    /// Whether one more line may be written for `whose`, which the log calls `label`; if not, it was counted.
    pub fn allows(&self, whose: Whose, label: impl FnOnce() -> String) -> bool {
        self.allows_at(whose, label, Instant::now())
    }

    fn allows_at(&self, whose: Whose, label: impl FnOnce() -> String, now: Instant) -> bool {
        let mut spent = self.spent();
        spent.since.get_or_insert(now);
        match whose {
            Whose::Address(origin) => spent.strangers.count(origin, label, STRANGER_LIMITS),
            Whose::Guest(origin) => spent.guests.count(origin, label, GUEST_LIMITS),
            Whose::Key(key) => spent.count_known(CountedKind::Peer(key), label),
            Whose::Token(id) => spent.count_known(CountedKind::Token(id), label),
        }
    }

    /// Whether one more line of what is done for a guest of `origin` may be written; it is not counted.
    pub fn has_room_for_guest(&self, origin: Origin) -> bool {
        self.spent().guests.has_room(origin, GUEST_LIMITS)
    }

    /// Counts a connection as a stranger's, until it says who it is.
    pub fn count_stranger(&self, origin: Origin) -> Counted {
        let mut spent = self.spent();
        spent.since.get_or_insert_with(Instant::now);
        let is_allowed = spent.strangers.count(origin, || origin.to_string(), STRANGER_LIMITS);
        Counted { is_allowed, origin, interval: spent.interval }
    }

    /// Takes back what [`count_stranger`](Self::count_stranger) has counted: it was no stranger. What was told with its
    /// interval is not taken from the next one.
    pub fn forgive(&self, counted: &Counted) {
        let mut spent = self.spent();
        if spent.interval == counted.interval {
            spent.strangers.forgive(counted.origin, counted.is_allowed);
        }
    }

    /// What was counted and not written, if the interval is over, or at the `end`; the next one begins.
    pub fn take_unwritten(&self, end: bool) -> Vec<Unwritten> {
        self.take_unwritten_at(end, Instant::now())
    }

    fn take_unwritten_at(&self, end: bool, now: Instant) -> Vec<Unwritten> {
        let mut spent = self.spent();
        let is_over = spent.since.is_some_and(|since| end || now.duration_since(since) >= LOG_INTERVAL);
        if !is_over {
            return Vec::new();
        }
        let next = Spent { interval: spent.interval + 1, ..Spent::default() };
        let Spent { strangers, guests, peers, .. } = std::mem::replace(&mut *spent, next);
        drop(spent);
        // Who is known is told by name.
        let mut told = unwritten(peers.into_iter());
        guests.tell(CountedKind::Guests, &mut told);
        strangers.tell(CountedKind::Strangers, &mut told);
        told
    }

    fn spent(&self) -> MutexGuard<'_, Spent> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_TIME: Duration = Duration::ZERO;

    fn address(n: u32) -> Whose {
        Whose::Address(Origin::Network(std::net::Ipv4Addr::from_bits(n + 0x0a00_0000).into()))
    }

    fn allowed(budget: &LogBudget, whose: Whose, times: u32, now: Instant) -> u32 {
        (0..times).map(|_| u32::from(budget.allows_at(whose, || format!("{whose:?}"), now))).sum()
    }

    fn origin(n: u32) -> Origin {
        Origin::Network(std::net::Ipv4Addr::from_bits(n + 0x0a00_0000).into())
    }

    #[test]
    fn each_address_has_its_lines_and_the_rest_is_told_in_one() {
        let budget = LogBudget::default();
        let start = Instant::now();
        assert_eq!(allowed(&budget, address(1), 12_345 + STRANGER_LINES_MAX, start), STRANGER_LINES_MAX);
        assert_eq!(allowed(&budget, address(2), 3, start), 3, "another address is heard all the same");
        // A peer that turns out to be known is not counted.
        budget.forgive(&budget.count_stranger(origin(1)));
        assert_eq!(budget.take_unwritten_at(false, start + NO_TIME), []);
        let told = budget.take_unwritten_at(false, start + LOG_INTERVAL);
        assert_eq!((told.len(), told[0].count, told[0].kind), (1, 12_345, CountedKind::Strangers));
        assert_eq!(allowed(&budget, address(1), 2, start + LOG_INTERVAL), 2, "the next interval has begun");
        assert_eq!(budget.take_unwritten_at(true, start + LOG_INTERVAL), []);
    }

    #[test]
    fn what_is_taken_back_is_taken_from_the_interval_in_which_it_was_counted() {
        let budget = LogBudget::default();
        let now = Instant::now();
        let [written, late] = [budget.count_stranger(origin(1)), {
            allowed(&budget, address(1), STRANGER_LINES_MAX, now);
            budget.count_stranger(origin(1))
        }];
        assert!(written.is_allowed && !late.is_allowed);
        budget.take_unwritten_at(true, now);
        // In the next interval the same address has used up its lines, with one beyond.
        assert_eq!(allowed(&budget, address(1), STRANGER_LINES_MAX + 1, now), STRANGER_LINES_MAX);
        for counted in [written, late] {
            budget.forgive(&counted);
        }
        assert_eq!(allowed(&budget, address(1), 1, now), 0, "no line of this interval was given back");
        assert_eq!(budget.take_unwritten_at(true, now)[0].count, 2);
        // One that was counted with the others is taken from them.
        for n in 0..300 {
            allowed(&budget, address(n), 1, now);
        }
        let before = budget.spent().strangers.others;
        budget.forgive(&budget.count_stranger(origin(1_000)));
        assert_eq!(budget.spent().strangers.others, before);
    }

    #[test]
    fn many_addresses_write_no_more_together_and_keep_no_peer_and_no_guest_silent() {
        let budget = LogBudget::default();
        let now = Instant::now();
        let written: u32 = (0..1_000).map(|n| allowed(&budget, address(n), 2, now)).sum();
        assert_eq!(written, STRANGERS_LINES_MAX);
        assert!(budget.spent().strangers.by.len() <= COUNTED_MAX);
        let told = budget.take_unwritten_at(true, now);
        assert!(told.len() <= TOLD_MAX + 1, "{}", told.len());
        assert_eq!(told.iter().map(|one| one.count).sum::<u64>(), 2_000 - u64::from(STRANGERS_LINES_MAX));
        // A peer has lines of its own, and guests theirs, however many lines others write.
        for n in 0..1_000 {
            allowed(&budget, address(n), 100, now);
        }
        assert_eq!(budget.spent().strangers.by.len(), COUNTED_MAX, "the table is full");
        assert_eq!(allowed(&budget, Whose::Guest(origin(2_000)), 10, now), 10);
        for n in 0..1_000 {
            allowed(&budget, Whose::Guest(origin(n)), 10, now);
        }
        assert!(!budget.has_room_for_guest(origin(3_000)) && budget.spent().guests.by.len() == COUNTED_MAX);
        for n in 1..=2 {
            assert_eq!(allowed(&budget, Whose::Key([n; 32]), 1_000, now), PEER_LINES_MAX);
        }
        let told = budget.take_unwritten_at(true, now);
        for n in 1..=2 {
            let peer = told.iter().find(|one| one.kind == CountedKind::Peer([n; 32])).unwrap();
            assert_eq!(peer.count, 1_000 - u64::from(PEER_LINES_MAX));
        }
        let guests: u64 = told.iter().filter(|one| one.kind == CountedKind::Guests).map(|one| one.count).sum();
        let counted_by_itself = u64::try_from(COUNTED_MAX).unwrap() - 1;
        assert_eq!(guests, (1_000 - counted_by_itself) * 10, "those beyond the table are told together");
    }
}
