//! The last messages of a room, for members that enter or come back.

use std::collections::VecDeque;
use std::sync::Arc;

use super::event::Event;

/// Messages that are kept for one room.
pub const LOG_MESSAGES_MAX: usize = 10_000;
/// Bytes of messages that are kept for one room: their texts, and an allowance for each.
pub const LOG_LEN_MAX: usize = 4 * 1024 * 1024;
/// What a message costs besides its text, in bytes.
const MESSAGE_COST: usize = 300;

/// Numbered messages, in their order.
#[derive(Debug)]
pub struct Log {
    kept: VecDeque<(u64, Arc<Event>)>,
    len: usize,
    messages_max: usize,
    len_max: usize,
    /// The number of the last message, kept or not.
    last: u64,
}

/// What a member that comes back has missed.
#[derive(Debug, Default)]
pub struct Missed {
    /// The messages that are still kept, in their order.
    pub events: Vec<Arc<Event>>,
    /// Whether there were others that are no longer kept.
    pub has_gap: bool,
}

impl Log {
    /// An empty log whose first message has the number behind `last`.
    pub fn new(last: u64) -> Self {
        Self::with_limits(last, LOG_MESSAGES_MAX, LOG_LEN_MAX)
    }

    /// As [`new`](Self::new), with limits of its own.
    pub fn with_limits(last: u64, messages_max: usize, len_max: usize) -> Self {
        Self { kept: VecDeque::new(), len: 0, messages_max, len_max, last }
    }

    /// The number of the last message.
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// The number of the next message.
    pub const fn next(&self) -> u64 {
        self.last + 1
    }

    /// Keeps a message, whose number is above all others; its length here, in bytes.
    pub fn push(&mut self, seq: u64, event: Arc<Event>) -> usize {
        let len = MESSAGE_COST + event.body().len();
        self.last = self.last.max(seq);
        self.len += len;
        self.kept.push_back((seq, event));
        while self.kept.len() > self.messages_max || self.len > self.len_max && self.kept.len() > 1 {
            self.drop_oldest();
        }
        len
    }

    /// The bytes that it keeps.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it keeps no message.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    fn drop_oldest(&mut self) {
        if let Some((_, old)) = self.kept.pop_front() {
            self.len -= MESSAGE_COST + old.body().len();
        }
    }

    /// Drops the older half of its bytes; at least one message.
    fn halve(&mut self) {
        let half = self.len / 2;
        while self.len > half && !self.kept.is_empty() {
            self.drop_oldest();
        }
    }

    /// The last `count` messages.
    pub fn last_of(&self, count: usize) -> Vec<Arc<Event>> {
        self.kept.iter().skip(self.kept.len().saturating_sub(count)).map(|(_, event)| Arc::clone(event)).collect()
    }

    /// What came after the message with the number `after`. At most `count` messages are wanted.
    pub fn after(&self, after: u64, count: usize) -> Missed {
        let first = self.kept.partition_point(|(seq, _)| *seq <= after);
        let wanted = self.kept.len().saturating_sub(count).max(first);
        // An `after` from before this log began, or from behind its end, belongs to a log that is no more.
        let is_complete = match self.kept.get(first) {
            Some((seq, _)) => *seq == after + 1,
            None => after == self.last,
        };
        let events = self.kept.iter().skip(wanted).map(|(_, event)| Arc::clone(event)).collect();
        Missed { events, has_gap: !is_complete || wanted > first }
    }
}

/// Halves the largest logs, again and again, until all together keep at most `len_max` bytes.
pub fn shorten(logs: &mut [&mut Log], len_max: usize) {
    let mut total: usize = logs.iter().map(|log| log.len).sum();
    while total > len_max {
        let Some(largest) = logs.iter_mut().max_by_key(|log| log.len) else { return };
        let before = largest.len;
        largest.halve();
        total -= before - largest.len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::{Message, SayFields};

    fn event(text: &str) -> Arc<Event> {
        Event::of(Message::Say { fields: SayFields::default() }, text.as_bytes())
    }

    fn texts(events: &[Arc<Event>]) -> Vec<&str> {
        events.iter().map(|event| std::str::from_utf8(event.body()).unwrap()).collect()
    }

    #[test]
    fn who_comes_back_gets_what_it_missed_or_hears_of_a_gap() {
        let mut log = Log::with_limits(100, 3, 10_000);
        for text in ["a", "b", "c", "d"] {
            let seq = log.next();
            log.push(seq, event(text));
        }
        assert_eq!(log.last(), 104);
        for (after, count, want, has_gap) in [
            (104, 10, vec![], false),
            (103, 10, vec!["d"], false),
            (101, 10, vec!["b", "c", "d"], false),
            (100, 10, vec!["b", "c", "d"], true),
            (7, 10, vec!["b", "c", "d"], true),
            (101, 2, vec!["c", "d"], true),
            (900, 10, vec![], true),
        ] {
            let missed = log.after(after, count);
            assert_eq!((texts(&missed.events), missed.has_gap), (want, has_gap), "{after} {count}");
        }
        assert_eq!(texts(&log.last_of(2)), ["c", "d"]);
        assert_eq!(texts(&log.last_of(20)), ["b", "c", "d"]);
    }

    #[test]
    fn a_log_is_bounded_in_bytes_and_keeps_the_last_message_whatever_its_length() {
        let mut log = Log::with_limits(0, 1_000, 1_000);
        for text in ["x".repeat(500), "y".repeat(400), "z".repeat(5_000)] {
            let seq = log.next();
            log.push(seq, event(&text));
        }
        assert_eq!(log.last_of(9).len(), 1);
        assert_eq!(log.after(2, 9).events.len(), 1);
    }

    #[test]
    fn where_all_are_too_long_the_largest_give_way() {
        let [mut large, mut small] = [Log::new(0), Log::new(0)];
        for seq in 1..=100 {
            large.push(seq, event(&"x".repeat(700)));
        }
        small.push(1, event("y"));
        shorten(&mut [&mut large, &mut small], 30_000);
        assert_eq!((small.last_of(9).len(), large.len() <= 30_000 && !large.is_empty()), (1, true));
        let missed = large.after(99, 9);
        assert_eq!((missed.events.len(), missed.has_gap), (1, false), "the newest stay");
        shorten(&mut [&mut large, &mut small], 0);
        assert!(large.is_empty() && small.is_empty());
    }
}
