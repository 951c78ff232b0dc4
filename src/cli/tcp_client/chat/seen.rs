//! Which messages were shown: after a break the same one may come again.

use std::collections::{HashSet, VecDeque};

/// Messages that are remembered. A server repeats at most what it keeps of a room, and a sender what it has not seen
/// acknowledged.
const SEEN_MAX: usize = 8_192;

/// The messages of the last while, by the sender's client and its number.
#[derive(Debug, Default)]
pub(super) struct Seen {
    known: HashSet<(String, u64)>,
    order: VecDeque<(String, u64)>,
}

impl Seen {
    /// Whether a message is new; from now on it is not.
    pub(super) fn is_new(&mut self, origin: &str, id: u64) -> bool {
        let key = (origin.to_owned(), id);
        if !self.known.insert(key.clone()) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > SEEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_new_once_and_memory_is_bounded() {
        let mut seen = Seen::default();
        assert!(seen.is_new("a", 1) && seen.is_new("b", 1) && seen.is_new("a", 2));
        assert!(!seen.is_new("a", 1));
        for id in 0..3 * SEEN_MAX as u64 {
            seen.is_new("flood", id);
        }
        assert_eq!((seen.known.len(), seen.order.len()), (SEEN_MAX, SEEN_MAX));
        assert!(!seen.is_new("flood", 3 * SEEN_MAX as u64 - 1));
    }
}
