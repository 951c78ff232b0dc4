//! The counts of `ping`: which probes were answered, twice, late, out of order, or never.
//!
//! Pure: the caller passes the time, counted from the start of the run.

use std::collections::VecDeque;
use std::time::Duration;

use super::probe::ServerCounts;
use super::sequence::{Extents, SequenceWindow};
use crate::histogram::Histogram;

/// Probes that are remembered; an answer to an older probe counts as damaged.
pub const PROBES_REMEMBERED_MAX: usize = 65_536;

/// Countings of the server that are told apart: it begins another one when it restarts.
pub const EPOCHS_MAX: usize = 16;

/// The counts of one run.
#[derive(Debug, Default)]
pub struct PingTally {
    /// Probes sent, the youngest last; the first is number `oldest`.
    probes: VecDeque<Sent>,
    /// Sequence number of `probes[0]`, less 1: `0 <= forgotten <= sent`.
    forgotten: u64,
    /// All probes up to this number are answered or overdue: `forgotten <= settled <= sent`.
    settled: u64,
    /// When the first probe was sent.
    first_sent: Option<Duration>,
    /// The counts.
    pub counts: Counts,
    /// The times of the first answers.
    pub times: Histogram,
    /// First answers that came after the answer to a later probe, and how far behind they were.
    pub extents: Extents,
    /// How much the times differ from one answer to the next.
    pub jitter: Jitter,
    /// What was counted on each of the two ways.
    pub ways: Ways,
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
    /// Answers whose bytes are not those that were sent.
    pub damaged: u64,
    /// How often the server's machine reported that no program receives there. The probes count as sent.
    pub refused: u64,
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
        self.first_sent.get_or_insert(now);
        self.counts.sent += 1;
        self.counts.waiting += 1;
        self.counts.sent
    }

    /// When the first probe was sent; `None`: none was.
    pub const fn first_sent(&self) -> Option<Duration> {
        self.first_sent
    }

    /// When the probe of this number was sent; `None`: it was not sent, or is no longer remembered.
    pub fn sent_at(&self, sequence: u64) -> Option<Duration> {
        self.probes.get(self.index(sequence)?).map(|probe| probe.at)
    }

    /// Records an answer whose bytes are right and that came `at`; `None`: its probe was not sent, or is no longer
    /// remembered.
    pub fn answer(&mut self, sequence: u64, at: Duration, timeout: Duration) -> Option<AnswerKind> {
        let index = self.index(sequence)?;
        let probe = self.probes.get_mut(index)?;
        let (state, rtt) = (probe.state, at.saturating_sub(probe.at));
        probe.state = State::Answered;
        if state == State::Answered {
            self.counts.duplicates += 1;
            return Some(AnswerKind::Duplicate);
        }
        let late = rtt >= timeout;
        let reordered = self.extents.arrive(sequence).is_some();
        self.counts.received += 1;
        self.counts.waiting -= u64::from(state == State::Waiting);
        self.counts.late += u64::from(late);
        self.times.record(rtt);
        self.jitter.record(rtt);
        Some(AnswerKind::First { rtt, late, reordered })
    }

    /// The oldest probe whose timeout is over and that was not reported yet, and when it was sent; `None`: there is
    /// none.
    pub fn overdue(&mut self, now: Duration, timeout: Duration) -> Option<(u64, Duration)> {
        let waiting_since = self.waiting_since()?;
        if now < waiting_since + timeout {
            return None;
        }
        let sequence = self.settled + 1;
        let index = self.index(sequence)?;
        self.probes.get_mut(index)?.state = State::Overdue;
        self.counts.waiting -= 1;
        Some((sequence, waiting_since))
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

/// Variation of the round-trip times, over the first answers in the order of their arrival.
#[derive(Debug, Clone, Copy, Default)]
pub struct Jitter {
    last: Option<Duration>,
    smoothed_ns: f64,
    sum: Duration,
    differences: u32,
}

impl Jitter {
    fn record(&mut self, rtt: Duration) {
        if let Some(last) = self.last.replace(rtt) {
            let difference = rtt.abs_diff(last);
            self.smoothed_ns += (difference.as_secs_f64() * 1e9 - self.smoothed_ns) / 16.0;
            self.sum = self.sum.saturating_add(difference);
            self.differences = self.differences.saturating_add(1);
        }
    }

    /// The interarrival jitter of RFC 3550, 6.4.1, with the round-trip time in place of the transit time; `None`: fewer
    /// than two answers came.
    pub fn smoothed(&self) -> Option<Duration> {
        (self.differences > 0).then(|| Duration::from_secs_f64(self.smoothed_ns.max(0.0) / 1e9))
    }

    /// The mean absolute difference of two consecutive times; `None`: fewer than two answers came.
    pub fn mean_difference(&self) -> Option<Duration> {
        self.sum.checked_div(self.differences)
    }
}

/// What happened on the way there and on the way back, from what the server counts.
#[derive(Debug, Default)]
pub struct Ways {
    /// The last countings of the server, the present one last.
    epochs: VecDeque<Epoch>,
    /// The sum of those that are no longer remembered.
    past: Totals,
}

#[derive(Debug)]
struct Epoch {
    id: u16,
    server: Totals,
    returned: SequenceWindow,
}

/// Datagrams of both ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Totals {
    arrived: u64,
    distinct: u64,
    reordered: u64,
    replies: u64,
    returned: u64,
    returned_again: u64,
    returned_reordered: u64,
}

/// What happened on one of the two ways, in datagrams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Way {
    /// Datagrams that did not arrive.
    pub lost: u64,
    /// Further copies that arrived.
    pub duplicates: u64,
    /// Datagrams that arrived after a later one (RFC 4737, 3.3).
    pub reordered: u64,
    /// Different datagrams that arrived.
    pub arrived: u64,
}

/// Both ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BothWays {
    /// Probes, to the server.
    pub up: Way,
    /// Replies, from the server. A probe that arrived twice has two.
    pub down: Way,
    /// Probes that arrived and that the server did not reply to, because of its own limits.
    pub withheld: u64,
}

impl Ways {
    /// Takes note of what a server has told in the reply to a probe; `is_reply` is false for the reply to a question
    /// about the counts, which is not counted itself.
    pub fn told(&mut self, counts: ServerCounts, is_reply: bool) {
        let place = self.epochs.iter().position(|epoch| epoch.id == counts.epoch).unwrap_or_else(|| {
            if self.epochs.len() == EPOCHS_MAX
                && let Some(oldest) = self.epochs.pop_front()
            {
                self.past = self.past.plus(oldest.totals());
            }
            let (server, returned) = (Totals::default(), SequenceWindow::default());
            self.epochs.push_back(Epoch { id: counts.epoch, server, returned });
            self.epochs.len() - 1
        });
        let Some(epoch) = self.epochs.get_mut(place) else { return };
        let number = unwrapped(epoch.server.replies, counts.replies);
        let server = &mut epoch.server;
        server.arrived = server.arrived.max(unwrapped(server.arrived, counts.arrived));
        server.distinct = server.distinct.max(unwrapped(server.distinct, counts.distinct));
        server.reordered = server.reordered.max(unwrapped(server.reordered, counts.reordered));
        server.replies = server.replies.max(number);
        if is_reply {
            epoch.returned.arrive(number);
        }
    }

    /// What happened to the `sent` probes; `None`: the server has told no counts.
    pub fn both(&self, sent: u64) -> Option<BothWays> {
        let is_told = !self.epochs.is_empty();
        let all = self.epochs.iter().map(Epoch::totals).fold(self.past, Totals::plus);
        let up = Way {
            lost: sent.saturating_sub(all.distinct),
            duplicates: all.arrived.saturating_sub(all.distinct),
            reordered: all.reordered,
            arrived: all.distinct,
        };
        let down = Way {
            lost: all.replies.saturating_sub(all.returned),
            duplicates: all.returned_again,
            reordered: all.returned_reordered,
            arrived: all.returned,
        };
        is_told.then_some(BothWays { up, down, withheld: all.arrived.saturating_sub(all.replies) })
    }
}

impl Epoch {
    const fn totals(&self) -> Totals {
        let returned = self.returned.arrivals;
        Totals {
            returned: returned.distinct,
            returned_again: returned.duplicates,
            returned_reordered: returned.reordered,
            ..self.server
        }
    }
}

impl Totals {
    const fn plus(self, other: Self) -> Self {
        Self {
            arrived: self.arrived.saturating_add(other.arrived),
            distinct: self.distinct.saturating_add(other.distinct),
            reordered: self.reordered.saturating_add(other.reordered),
            replies: self.replies.saturating_add(other.replies),
            returned: self.returned.saturating_add(other.returned),
            returned_again: self.returned_again.saturating_add(other.returned_again),
            returned_reordered: self.returned_reordered.saturating_add(other.returned_reordered),
        }
    }
}

/// The number nearest to `latest` whose lower 32 bits are `told`.
fn unwrapped(latest: u64, told: u32) -> u64 {
    let ahead = told.wrapping_sub(u32::try_from(latest & u64::from(u32::MAX)).unwrap_or(u32::MAX)).cast_signed();
    latest.saturating_add_signed(ahead.into())
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
        assert_eq!(tally.answer(1, ms(12), ms(100)), Some(first(ms(2), false, false)));
        assert_eq!(tally.answer(3, ms(50), ms(100)), Some(first(ms(20), false, false)));
        assert_eq!(tally.answer(2, ms(60), ms(100)), Some(first(ms(40), false, true)));
        assert_eq!(tally.answer(2, ms(61), ms(100)), Some(AnswerKind::Duplicate));
        assert_eq!(tally.answer(6, ms(61), ms(100)), None, "it was never sent");
        assert_eq!(tally.answer(0, ms(61), ms(100)), None);

        assert_eq!(tally.waiting_since(), Some(ms(40)));
        assert_eq!(tally.overdue(ms(139), ms(100)), None);
        assert_eq!(tally.overdue(ms(140), ms(100)), Some((4, ms(40))));
        assert_eq!(tally.overdue(ms(140), ms(100)), None, "it is told once");
        assert_eq!(tally.answer(4, ms(141), ms(100)), Some(first(ms(101), true, false)));
        assert_eq!((tally.counts.lost(), tally.counts.waiting), (0, 1));
        assert_eq!(tally.overdue(ms(150), ms(100)), Some((5, ms(50))));
        assert_eq!(tally.waiting_since(), None);

        let want = Counts { sent: 5, received: 4, late: 1, duplicates: 1, damaged: 0, refused: 0, waiting: 0 };
        assert_eq!(tally.counts, want);
        assert_eq!((tally.extents.reordered, tally.extents.max), (1, 1));
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
        assert_eq!(tally.overdue(ms(5), ms(5)), Some((11, ms(0))));
    }

    #[test]
    fn jitter_is_that_of_rfc_3550() {
        let mut jitter = Jitter::default();
        assert_eq!((jitter.smoothed(), jitter.mean_difference()), (None, None));
        for time in [10, 26, 26] {
            jitter.record(ms(time));
        }
        // J += (|D| - J) / 16: 0, then 1 ms, then 15/16 ms.
        assert_eq!(jitter.smoothed(), Some(Duration::from_nanos(937_500)));
        assert_eq!(jitter.mean_difference(), Some(ms(8)));
    }

    const fn told(epoch: u16, [arrived, distinct, reordered, replies]: [u32; 4]) -> ServerCounts {
        ServerCounts { epoch, arrived, distinct, reordered, replies }
    }

    #[test]
    fn each_way_has_its_own_counts_also_over_a_restart() {
        let mut ways = Ways::default();
        assert_eq!(ways.both(3), None);
        // Five probes: one lost on the way there, one arrived twice. Reply 2 is lost, 3 and 4 come in the wrong order,
        // and 4 comes twice.
        for (number, arrived, distinct) in [(1, 1, 1), (4, 4, 3), (3, 3, 2), (4, 4, 3)] {
            ways.told(told(9, [arrived, distinct, 0, number]), true);
        }
        ways.told(told(9, [5, 4, 1, 4]), false);
        let up = Way { lost: 1, duplicates: 1, reordered: 1, arrived: 4 };
        let down = Way { lost: 1, duplicates: 1, reordered: 1, arrived: 3 };
        assert_eq!(ways.both(5), Some(BothWays { up, down, withheld: 1 }));
        // The server begins again, 20 times.
        for epoch in 10..30 {
            ways.told(told(epoch, [1, 1, 0, 1]), true);
        }
        let both = ways.both(25).unwrap();
        assert_eq!((both.up.arrived, both.up.lost, both.down.arrived, both.down.lost), (24, 1, 23, 1));
        assert_eq!(ways.epochs.len(), EPOCHS_MAX);
    }

    #[test]
    fn counts_go_on_over_the_end_of_their_32_bits_and_lies_end_nothing() {
        assert_eq!(unwrapped(0xffff_fff0, 5), 0x1_0000_0005);
        assert_eq!(unwrapped(0x1_0000_0005, 0xffff_fff0), 0xffff_fff0);
        assert_eq!(unwrapped(0, 0xffff_fff0), 0, "not below 0");
        let mut ways = Ways::default();
        for counts in [[u32::MAX; 4], [0; 4], [1 << 31, 0, u32::MAX, 7], [5, 9, 1 << 30, u32::MAX]] {
            ways.told(told(1, counts), true);
            ways.both(1).unwrap();
        }
    }

    #[test]
    fn nothing_sent_is_nothing_lost() {
        assert!(Counts::default().lost_percent().abs() < 1e-9);
    }
}
