//! What may be written to a log because of those who may do nothing here: so many lines for each of them in an
//! interval, so many for all. What is beyond is counted, and told in one line when the interval is over: a stranger
//! at full speed would fill a disk otherwise.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::stream::Origin;

/// How long the counts run before they are told and begin anew.
pub const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Lines that one address of strangers writes to the log in an interval.
pub const STRANGER_LINES_MAX: u32 = 20;
/// Lines that all strangers together write to it.
pub const STRANGERS_LINES_MAX: u32 = 200;
/// Lines of refusals that one known peer writes to the log and to the audit log in an interval.
pub const PEER_LINES_MAX: u32 = 100;
/// Requests of guests that were served, of one address and of all, in an interval.
pub const GUEST_LINES_MAX: u32 = 1_000;
/// See [`GUEST_LINES_MAX`].
pub const GUESTS_LINES_MAX: u32 = 5_000;
/// Addresses and peers whose lines are counted by themselves in one interval; those beyond are counted together.
const COUNTED_MAX: usize = 256;

/// Whose lines are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Whose {
    /// Everybody of an address whom nobody here knows: their connections, and what they were refused.
    Address(Origin),
    /// The same, what was done for them.
    Guest(Origin),
    /// A known peer, by its key.
    Key([u8; 32]),
}

/// What was counted and not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwritten {
    /// Whose; `None`: of all those that were not counted by themselves.
    pub whose: Option<Whose>,
    /// What it is called in the log.
    pub label: String,
    /// How many lines.
    pub count: u64,
}

/// The counts of the present interval.
#[derive(Debug, Default)]
pub struct LogBudget {
    spent: Mutex<Spent>,
}

#[derive(Debug, Default)]
struct Spent {
    /// When the interval began: with its first line.
    since: Option<Instant>,
    by: HashMap<Whose, Lines>,
    /// Of all strangers.
    written: u32,
    /// Of all guests that were served.
    served: u32,
    /// Of those that are not counted by themselves.
    others: u64,
}

#[derive(Debug, Default)]
struct Lines {
    label: String,
    written: u32,
    unwritten: u64,
}

impl LogBudget {
    /// Whether one more line may be written for `whose`, which the log calls `label`; if not, it was counted.
    pub fn allows(&self, whose: Whose, label: impl FnOnce() -> String) -> bool {
        self.allows_at(whose, label, Instant::now())
    }

    fn allows_at(&self, whose: Whose, label: impl FnOnce() -> String, now: Instant) -> bool {
        let mut spent = self.spent();
        spent.since.get_or_insert(now);
        if spent.by.len() >= COUNTED_MAX && !spent.by.contains_key(&whose) {
            spent.others += 1;
            return false;
        }
        let Spent { by, written, served, .. } = &mut *spent;
        let lines = by.entry(whose).or_insert_with(|| Lines { label: label(), ..Lines::default() });
        let (limit, all) = match whose {
            Whose::Address(_) => (STRANGER_LINES_MAX, Some((written, STRANGERS_LINES_MAX))),
            Whose::Guest(_) => (GUEST_LINES_MAX, Some((served, GUESTS_LINES_MAX))),
            Whose::Key(_) => (PEER_LINES_MAX, None),
        };
        let is_allowed = lines.written < limit && all.as_ref().is_none_or(|(written, limit)| **written < *limit);
        if is_allowed {
            lines.written += 1;
            if let Some((written, _)) = all {
                *written += 1;
            }
        } else {
            lines.unwritten += 1;
        }
        is_allowed
    }

    /// Takes back what [`allows`](Self::allows) has counted: it was no stranger.
    pub fn forgive(&self, whose: Whose, was_allowed: bool) {
        let mut spent = self.spent();
        let Spent { by, written, .. } = &mut *spent;
        let Some(lines) = by.get_mut(&whose) else { return };
        if was_allowed {
            lines.written = lines.written.saturating_sub(1);
            *written = written.saturating_sub(u32::from(matches!(whose, Whose::Address(_))));
        } else {
            lines.unwritten = lines.unwritten.saturating_sub(1);
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
        let Spent { by, others, .. } = std::mem::take(&mut *spent);
        drop(spent);
        let mut unwritten: Vec<Unwritten> = by
            .into_iter()
            .filter(|(_, lines)| lines.unwritten > 0)
            .map(|(whose, lines)| Unwritten { whose: Some(whose), label: lines.label, count: lines.unwritten })
            .collect();
        unwritten.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.label.cmp(&b.label)));
        // What is told of it does not grow with those who come either; who is known is told by name.
        let mut told = 0;
        let mut rest = others;
        unwritten.retain(|one| {
            let is_told = matches!(one.whose, Some(Whose::Key(_))) || told < STRANGER_LINES_MAX;
            told += 1;
            rest += if is_told { 0 } else { one.count };
            is_told
        });
        if rest > 0 {
            unwritten.push(Unwritten { whose: None, label: "other addresses".into(), count: rest });
        }
        unwritten
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

    #[test]
    fn each_address_has_its_lines_and_the_rest_is_told_in_one() {
        let budget = LogBudget::default();
        let start = Instant::now();
        assert_eq!(allowed(&budget, address(1), 12_345 + STRANGER_LINES_MAX, start), STRANGER_LINES_MAX);
        assert_eq!(allowed(&budget, address(2), 3, start), 3, "another address is heard all the same");
        // Whoever turns out to be known is not counted.
        allowed(&budget, address(1), 1, start);
        budget.forgive(address(1), false);
        assert_eq!(budget.take_unwritten_at(false, start + NO_TIME), []);
        let told = budget.take_unwritten_at(false, start + LOG_INTERVAL);
        assert_eq!((told.len(), told[0].count, told[0].whose), (1, 12_345, Some(address(1))));
        assert_eq!(allowed(&budget, address(1), 2, start + LOG_INTERVAL), 2, "the next interval has begun");
        assert_eq!(budget.take_unwritten_at(true, start + LOG_INTERVAL), []);
    }

    #[test]
    fn many_addresses_write_no_more_together_and_keep_no_peer_silent() {
        let budget = LogBudget::default();
        let now = Instant::now();
        let written: u32 = (0..1_000).map(|n| allowed(&budget, address(n), 2, now)).sum();
        assert_eq!(written, STRANGERS_LINES_MAX);
        assert!(budget.spent().by.len() <= COUNTED_MAX);
        let told = budget.take_unwritten_at(true, now);
        assert!(told.len() <= usize::try_from(STRANGER_LINES_MAX).unwrap() + 1, "{}", told.len());
        assert_eq!(told.iter().map(|one| one.count).sum::<u64>(), 2_000 - u64::from(STRANGERS_LINES_MAX));
        // A peer has lines of its own, whoever else makes noise.
        for n in 0..100 {
            allowed(&budget, address(n), 100, now);
        }
        assert_eq!(allowed(&budget, Whose::Key([1; 32]), 1_000, now), PEER_LINES_MAX);
        let told = budget.take_unwritten_at(true, now);
        let peer = told.iter().find(|one| one.whose == Some(Whose::Key([1; 32]))).unwrap();
        assert_eq!(peer.count, 1_000 - u64::from(PEER_LINES_MAX));
    }
}
