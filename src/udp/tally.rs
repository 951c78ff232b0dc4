//! The counts of `ping`: which probes were answered, twice, late, out of order, or never.
//!
//! Pure: the caller passes the time, counted from the start of the run.

use std::collections::VecDeque;
use std::time::Duration;

use crate::histogram::Histogram;

/// Probes that are remembered; an answer to an older probe counts as damaged.
pub const PROBES_REMEMBERED_MAX: usize = 65_536;

/// The counts of one run.
#[derive(Debug, Default)]
pub struct PingTally {
    /// Probes sent, the youngest last; the first is number `oldest`.
    probes: VecDeque<Sent>,
    /// Sequence number of `probes[0]`, less 1: `0 <= forgotten <= sent`.
    forgotten: u64,
    /// All probes up to this number are answered or overdue: `forgotten <= settled <= sent`.
    settled: u64,
    /// The highest number that was answered.
    highest: u64,
    /// The counts.
    pub counts: Counts,
    /// The times of the first answers.
    pub times: Histogram,
}

/// Numbers of probes and answers. `received + lost + waiting == sent`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Probes sent.
    pub sent: u64,
    /// Probes that were answered, each counted once.
    pub received: u64,
    /// Of those, the probes that were answered after the timeout.
    pub late: u64,
    /// Further answers to an answered probe.
    pub duplicates: u64,
    /// First answers that came after the answer to a later probe.
    pub reordered: u64,
    /// Answers whose bytes are not those that were sent.
    pub damaged: u64,
    /// Probes that may still be answered in time.
    pub waiting: u64,
}

impl Counts {
    /// Probes without an answer, except those whose timeout is not over.
    pub const fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received).saturating_sub(self.waiting)
    }

    /// Percentage of lost probes, among those that were answered or lost.
    #[expect(clippy::cast_precision_loss, reason = "a percentage for people; 2^53 probes are never sent")]
    pub fn lost_percent(&self) -> f64 {
        match self.sent.saturating_sub(self.waiting) {
            0 => 0.0,
            decided => self.lost() as f64 * 100.0 / decided as f64,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    at: Duration,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Overdue,
    Answered,
}

/// The kind of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerKind {
    /// The first answer to its probe.
    First {
        /// How long it took.
        rtt: Duration,
        /// Whether it came after the timeout.
        late: bool,
        /// Whether a later probe was answered before.
        reordered: bool,
    },
    /// Its probe was answered before.
    Duplicate,
}

impl PingTally {
    /// Records that a probe is sent; returns its sequence number.
    pub fn send(&mut self, now: Duration) -> u64 {
        if self.probes.len() == PROBES_REMEMBERED_MAX
            && let Some(oldest) = self.probes.pop_front()
        {
            self.forgotten += 1;
            self.settled = self.settled.max(self.forgotten);
            self.counts.waiting -= u64::from(oldest.state == State::Waiting);
        }
        self.probes.push_back(Sent { at: now, state: State::Waiting });
        self.counts.sent += 1;
        self.counts.waiting += 1;
        self.counts.sent
    }

    /// When the probe of this number was sent; `None`: it was not sent, or is no longer remembered.
    pub fn sent_at(&self, sequence: u64) -> Option<Duration> {
        self.probes.get(self.index(sequence)?).map(|probe| probe.at)
    }

    /// Records an answer whose bytes are right; `None`: its probe was not sent, or is no longer remembered.
    pub fn answer(&mut self, sequence: u64, now: Duration) -> Option<AnswerKind> {
        let index = self.index(sequence)?;
        let probe = self.probes.get_mut(index)?;
        let (state, rtt) = (probe.state, now.saturating_sub(probe.at));
        probe.state = State::Answered;
        if state == State::Answered {
            self.counts.duplicates += 1;
            return Some(AnswerKind::Duplicate);
        }
        let late = state == State::Overdue;
        let reordered = sequence < self.highest;
        self.highest = self.highest.max(sequence);
        self.counts.received += 1;
        self.counts.waiting -= u64::from(!late);
        self.counts.late += u64::from(late);
        self.counts.reordered += u64::from(reordered);
        self.times.record(rtt);
        Some(AnswerKind::First { rtt, late, reordered })
    }

    /// The oldest probe whose timeout is over and that was not reported yet; `None`: there is none.
    pub fn overdue(&mut self, now: Duration, timeout: Duration) -> Option<u64> {
        let waiting_since = self.waiting_since()?;
        if now < waiting_since + timeout {
            return None;
        }
        let sequence = self.settled + 1;
        let index = self.index(sequence)?;
        self.probes.get_mut(index)?.state = State::Overdue;
        self.counts.waiting -= 1;
        Some(sequence)
    }

    /// When the oldest probe whose timeout is not over was sent; `None`: there is none.
    pub fn waiting_since(&mut self) -> Option<Duration> {
        loop {
            let probe = self.probes.get(self.index(self.settled + 1)?)?;
            if probe.state == State::Waiting {
                return Some(probe.at);
            }
            self.settled += 1;
        }
    }

    fn index(&self, sequence: u64) -> Option<usize> {
        usize::try_from(sequence.checked_sub(self.forgotten + 1)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    const fn first(rtt: Duration, late: bool, reordered: bool) -> AnswerKind {
        AnswerKind::First { rtt, late, reordered }
    }

    #[test]
    fn a_run_with_everything_in_it() {
        let mut tally = PingTally::default();
        for number in 1..=5 {
            assert_eq!(tally.send(ms(number * 10)), number);
        }
        assert_eq!(tally.answer(1, ms(12)), Some(first(ms(2), false, false)));
        assert_eq!(tally.answer(3, ms(50)), Some(first(ms(20), false, false)));
        assert_eq!(tally.answer(2, ms(60)), Some(first(ms(40), false, true)));
        assert_eq!(tally.answer(2, ms(61)), Some(AnswerKind::Duplicate));
        assert_eq!(tally.answer(6, ms(61)), None, "it was never sent");
        assert_eq!(tally.answer(0, ms(61)), None);

        assert_eq!(tally.waiting_since(), Some(ms(40)));
        assert_eq!(tally.overdue(ms(139), ms(100)), None);
        assert_eq!(tally.overdue(ms(140), ms(100)), Some(4));
        assert_eq!(tally.overdue(ms(140), ms(100)), None, "it is told once");
        assert_eq!(tally.answer(4, ms(141)), Some(first(ms(101), true, false)));
        assert_eq!((tally.counts.lost(), tally.counts.waiting), (0, 1));
        assert_eq!(tally.overdue(ms(150), ms(100)), Some(5));
        assert_eq!(tally.waiting_since(), None);

        let want = Counts { sent: 5, received: 4, late: 1, duplicates: 1, reordered: 1, damaged: 0, waiting: 0 };
        assert_eq!(tally.counts, want);
        assert_eq!(want.lost(), 1);
        assert!((want.lost_percent() - 20.0).abs() < 1e-9);
        assert_eq!(tally.times.max(), Some(ms(101)));
    }

    #[test]
    fn memory_is_bounded_and_forgotten_probes_are_lost() {
        let mut tally = PingTally::default();
        let sent = u64::try_from(PROBES_REMEMBERED_MAX).unwrap() + 10;
        for _ in 0..sent {
            tally.send(ms(0));
        }
        assert_eq!(tally.probes.len(), PROBES_REMEMBERED_MAX);
        assert_eq!(tally.counts.lost(), 10);
        assert_eq!((tally.sent_at(10), tally.sent_at(11)), (None, Some(ms(0))));
        assert_eq!(tally.overdue(ms(5), ms(5)), Some(11));
    }

    #[test]
    fn nothing_sent_is_nothing_lost() {
        assert!(Counts::default().lost_percent().abs() < 1e-9);
    }
}
