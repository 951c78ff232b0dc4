//! What was measured: counts and times, in constant memory, however many round trips there were.

use std::time::Duration;

use crate::histogram::Histogram;

/// Counts and times of some round trips.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// How long the round trips took: under a rate, from the time at which each message was due, so that a server that
    /// stops for a second is seen in every message that would have been sent in that second. Else from the time at
    /// which it was sent.
    pub round_trips: Histogram,
    /// Under a rate: the times from when each message was really sent. Else empty.
    pub uncorrected: Histogram,
    /// Bytes of bodies that were sent.
    pub sent_bytes: u64,
    /// Bytes of bodies that came back, and were right.
    pub received_bytes: u64,
    /// Messages that were under way when the run was ended.
    pub unanswered: u64,
    /// When the last answer was whole, from the start of the run on. `None`: none was.
    pub last_answer: Option<Duration>,
}

impl Tally {
    /// Adds what `other` has counted.
    pub fn add(&mut self, other: &Self) {
        self.round_trips.add(&other.round_trips);
        self.uncorrected.add(&other.uncorrected);
        self.sent_bytes = self.sent_bytes.saturating_add(other.sent_bytes);
        self.received_bytes = self.received_bytes.saturating_add(other.received_bytes);
        self.unanswered = self.unanswered.saturating_add(other.unanswered);
        self.last_answer = self.last_answer.max(other.last_answer);
    }

    /// Begins again at nothing; the memory stays.
    pub fn clear(&mut self) {
        self.round_trips.clear();
        self.uncorrected.clear();
        (self.sent_bytes, self.received_bytes, self.unanswered, self.last_answer) = (0, 0, 0, None);
    }
}

/// What an interval of a run has brought.
#[derive(Debug)]
pub struct Interval<'t> {
    /// When it began, from the start of the run on.
    pub from: Duration,
    /// When it ended.
    pub until: Duration,
    /// What was counted in it.
    pub tally: &'t Tally,
}
