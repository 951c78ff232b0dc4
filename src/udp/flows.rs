//! What the server counts for each client that measures, and tells it in its replies: so the client knows what was lost
//! on the way there and what on the way back.
//!
//! Pure: the caller passes the time. A sender can be forged, so the table has a fixed size, and an entry that is in use
//! is never given to another client: one for which there is no place gets its probe back without counts.

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use super::Endpoint;
use super::probe::{Probe, ServerCounts};
use super::sequence::SequenceWindow;

/// Clients whose probes are counted at a time, on one socket: about 1 KiB each.
pub const FLOWS_MAX: usize = 1_024;

/// How long a client must be silent before another one may have its place.
pub const FLOW_IDLE: Duration = Duration::from_secs(10);

/// The places that one client can have.
const WAYS: usize = 8;

/// The clients of one socket.
#[derive(Debug)]
pub struct Flows {
    keys: RandomState,
    places: Vec<Option<Box<Flow>>>,
}

/// What is counted for one client's session.
#[derive(Debug)]
pub struct Flow {
    key: u64,
    epoch: u16,
    last: Instant,
    window: SequenceWindow,
    replies: u32,
}

impl Default for Flows {
    fn default() -> Self {
        Self { keys: RandomState::new(), places: std::iter::repeat_with(|| None).take(FLOWS_MAX).collect() }
    }
}

impl Flows {
    /// The client's counts; `None`: all its places are taken by others that are not idle.
    pub fn flow(&mut self, from: &Endpoint, session: u32, now: Instant) -> Option<&mut Flow> {
        let key = match from {
            Endpoint::Ip(address) => self.keys.hash_one((address.ip(), address.port(), session)),
            Endpoint::Unix(_) => self.keys.hash_one((from.to_string(), session)),
        };
        let sets = u64::try_from(FLOWS_MAX / WAYS).ok()?;
        let first = usize::try_from(key % sets).ok()? * WAYS;
        let ways = self.places.get_mut(first..first + WAYS)?;
        let is = |flow: &Option<Box<Flow>>| flow.as_ref().is_some_and(|flow| flow.key == key);
        let is_free = |flow: &Option<Box<Flow>>| {
            flow.as_ref().is_none_or(|flow| now.saturating_duration_since(flow.last) >= FLOW_IDLE)
        };
        let at = ways.iter().position(is).or_else(|| {
            let free = ways.iter().position(is_free)?;
            *ways.get_mut(free)? = Some(Box::new(Flow::new(key, &self.keys, now)));
            Some(free)
        })?;
        let flow = ways.get_mut(at)?.as_deref_mut()?;
        flow.last = now;
        Some(flow)
    }
}

impl Flow {
    fn new(key: u64, keys: &RandomState, now: Instant) -> Self {
        // Another number for each counting, so that a client notices that it began again.
        let [low, high, ..] = keys.hash_one(now).to_le_bytes();
        let epoch = u16::from_le_bytes([low, high]).max(1);
        Self { key, epoch, last: now, window: SequenceWindow::default(), replies: 0 }
    }

    /// Counts a probe.
    pub fn arrive(&mut self, probe: &Probe) {
        self.window.arrive(probe.sequence);
    }

    /// Counts a reply that was sent.
    pub const fn replied(&mut self) {
        self.replies = self.replies.wrapping_add(1);
    }

    /// The counts as a reply has them: the next reply's number, or the last one's.
    pub fn counts(&self, is_next: bool) -> ServerCounts {
        let arrivals = self.window.arrivals;
        ServerCounts {
            epoch: self.epoch,
            arrived: low(arrivals.distinct + arrivals.duplicates),
            distinct: low(arrivals.distinct),
            reordered: low(arrivals.reordered),
            replies: self.replies.wrapping_add(u32::from(is_next)),
        }
    }
}

/// The lower half: the counts begin again at 0.
fn low(count: u64) -> u32 {
    u32::try_from(count & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::udp::probe::Word;

    fn at(port: u16) -> Endpoint {
        Endpoint::Ip(([192, 0, 2, 1], port).into())
    }

    #[test]
    fn what_arrived_twice_or_out_of_order_is_counted() {
        let (mut flows, now) = (Flows::default(), Instant::now());
        for sequence in [1, 3, 2, 2] {
            let flow = flows.flow(&at(9), 7, now).unwrap();
            flow.arrive(&Probe { word: Word::Ping, session: 7, sequence });
            flow.replied();
        }
        let counts = flows.flow(&at(9), 7, now).unwrap().counts(false);
        let want = ServerCounts { epoch: counts.epoch, arrived: 4, distinct: 3, reordered: 1, replies: 4 };
        assert_eq!(counts, want);
        assert_ne!(counts.epoch, 0);
        assert_eq!(flows.flow(&at(9), 8, now).unwrap().counts(true).arrived, 0, "another session");
    }

    #[test]
    fn a_flood_of_forged_senders_takes_no_place_that_is_in_use_and_no_more_memory() {
        let (mut flows, now) = (Flows::default(), Instant::now());
        flows.flow(&at(1), 1, now).unwrap().replied();
        let (mut placed, mut refused) = (0, 0);
        for port in 2..20_000 {
            match flows.flow(&at(port), 1, now) {
                Some(_) => placed += 1,
                None => refused += 1,
            }
        }
        assert!(placed < FLOWS_MAX && refused > 0, "{placed} {refused}");
        assert_eq!(flows.flow(&at(1), 1, now).unwrap().counts(false).replies, 1);
        let later = now + FLOW_IDLE;
        assert!(flows.flow(&at(20_001), 1, later).is_some(), "idle ones make room");
    }
}
