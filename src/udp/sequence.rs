//! Sequence numbers as they arrive: which is new, which came before, which is out of order, and by how much.
//!
//! Pure. The definitions are those of RFC 4737, in which duplicates do not count.

use std::collections::VecDeque;

/// How many sequence numbers below the highest are remembered, to tell a duplicate from a number that comes late.
pub const WINDOW_LEN: u64 = 8_192;

/// Arrivals in order that are remembered, to say how far behind a number is that comes out of order.
pub const EXTENT_MAX: usize = 4_096;

const BITS: u64 = u64::BITS as u64;

/// Which numbers have arrived. Memory is constant, about 1 KiB.
#[derive(Debug, Clone)]
pub struct SequenceWindow {
    /// One more than the highest number that arrived: `NextExp` of RFC 4737, 3.3.
    next: u64,
    /// A bit for each of the last [`WINDOW_LEN`] numbers.
    bits: Box<[u64]>,
    /// What arrived.
    pub arrivals: Arrivals,
}

/// Numbers of arrivals. `distinct + duplicates` is all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// Different numbers.
    pub distinct: u64,
    /// Numbers that arrived before.
    pub duplicates: u64,
    /// Different numbers that arrived after a higher one.
    pub reordered: u64,
}

/// What one arrival is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrived {
    /// The number is the highest so far.
    InOrder,
    /// It is new, and a higher one came before.
    OutOfOrder,
    /// It came before.
    Again,
}

impl Default for SequenceWindow {
    fn default() -> Self {
        let words = usize::try_from(WINDOW_LEN / BITS).unwrap_or(1);
        Self { next: 0, bits: vec![0; words].into(), arrivals: Arrivals::default() }
    }
}

impl SequenceWindow {
    /// Counts the arrival of `number`. One that is older than the window is taken for new.
    pub fn arrive(&mut self, number: u64) -> Arrived {
        let arrived = self.place(number);
        match arrived {
            Arrived::InOrder => self.arrivals.distinct += 1,
            Arrived::OutOfOrder => {
                self.arrivals.distinct += 1;
                self.arrivals.reordered += 1;
            }
            Arrived::Again => self.arrivals.duplicates += 1,
        }
        arrived
    }

    fn place(&mut self, number: u64) -> Arrived {
        if number >= self.next {
            if number - self.next >= WINDOW_LEN {
                self.bits.fill(0);
            } else {
                for skipped in self.next..number {
                    self.set(skipped, false);
                }
            }
            self.set(number, true);
            self.next = number.saturating_add(1);
            return Arrived::InOrder;
        }
        if self.next - number > WINDOW_LEN {
            return Arrived::OutOfOrder;
        }
        if self.set(number, true) { Arrived::Again } else { Arrived::OutOfOrder }
    }

    /// Changes the bit of `number`, and returns what it was.
    fn set(&mut self, number: u64, value: bool) -> bool {
        let word = usize::try_from(number % WINDOW_LEN / BITS).unwrap_or(0);
        let Some(word) = self.bits.get_mut(word) else { return false };
        let bit = 1 << (number % BITS);
        let was = *word & bit != 0;
        *word = if value { *word | bit } else { *word & !bit };
        was
    }
}

/// How far behind reordered numbers are: RFC 4737, 4.2.
#[derive(Debug, Default)]
pub struct Extents {
    /// The last arrivals in order, as number and place among the arrivals.
    in_order: VecDeque<(u64, u64)>,
    arrived: u64,
    /// Numbers that arrived out of order.
    pub reordered: u64,
    /// The largest extent: arrivals between a number and the first higher one before it. It is at least this where
    /// [`EXTENT_MAX`] arrivals were too few to see the first.
    pub max: u64,
    /// The sum of the extents.
    pub sum: u64,
}

impl Extents {
    /// Counts the first arrival of `number`; returns its extent, or `None` if it is in order.
    pub fn arrive(&mut self, number: u64) -> Option<u64> {
        self.arrived += 1;
        let first_above = self.in_order.partition_point(|(earlier, _)| *earlier < number);
        let Some((_, place)) = self.in_order.get(first_above) else {
            if self.in_order.len() == EXTENT_MAX {
                self.in_order.pop_front();
            }
            self.in_order.push_back((number, self.arrived));
            return None;
        };
        let extent = self.arrived - place;
        self.reordered += 1;
        self.max = self.max.max(extent);
        self.sum += extent;
        Some(extent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn reordering_and_its_extent_are_those_of_rfc_4737() {
        // Numbers in the order of their arrival; which are reordered (3.3), and the extent of each (4.2.1).
        for (numbers, want) in [
            (&[1, 2, 3, 5, 6, 7, 8, 4, 9, 10][..], &[(4, 4)][..]),
            (&[1, 2, 3, 7, 8, 9, 10, 4, 5, 6, 11][..], &[(4, 4), (5, 5), (6, 6)][..]),
            (&[1, 2, 4, 5, 3, 6][..], &[(3, 2)][..]),
            (&[1, 2, 3, 4, 5, 6, 8, 7, 9, 10][..], &[(7, 1)][..]),
            (&[3, 1, 2][..], &[(1, 1), (2, 2)][..]),
        ] {
            let (mut window, mut extents) = (SequenceWindow::default(), Extents::default());
            let mut found = Vec::new();
            for number in numbers {
                let is_reordered = window.arrive(*number) == Arrived::OutOfOrder;
                let extent = extents.arrive(*number);
                assert_eq!(extent.is_some(), is_reordered);
                found.extend(extent.map(|extent| (*number, extent)));
            }
            assert_eq!(found, want, "{numbers:?}");
        }
    }

    #[test]
    fn a_duplicate_is_no_reordering_and_what_is_too_old_is_new() {
        let mut window = SequenceWindow::default();
        for (number, want) in [
            (5, Arrived::InOrder),
            (5, Arrived::Again),
            (3, Arrived::OutOfOrder),
            (3, Arrived::Again),
            (5 + WINDOW_LEN, Arrived::InOrder),
            (5, Arrived::OutOfOrder),
            (6, Arrived::OutOfOrder),
            (u64::MAX, Arrived::InOrder),
            (u64::MAX - 1, Arrived::OutOfOrder),
            (0, Arrived::OutOfOrder),
        ] {
            assert_eq!(window.arrive(number), want, "{number}");
        }
        assert_eq!(window.arrivals, Arrivals { distinct: 8, duplicates: 2, reordered: 5 });
    }

    #[test]
    fn memory_is_bounded() {
        let mut extents = Extents::default();
        (1..100_000).for_each(|number| assert_eq!(extents.arrive(number), None));
        assert_eq!(extents.in_order.len(), EXTENT_MAX);
        assert_eq!(extents.arrive(0), Some(u64::try_from(EXTENT_MAX).unwrap()), "at least that");
    }

    proptest! {
        #[test]
        fn the_window_tells_what_a_set_tells(numbers in prop::collection::vec(0_u64..2_000, 0..500)) {
            let (mut window, mut seen, mut highest) = (SequenceWindow::default(), BTreeSet::new(), None);
            for number in numbers {
                let want = match (seen.insert(number), highest.is_some_and(|highest| number < highest)) {
                    (false, _) => Arrived::Again,
                    (true, true) => Arrived::OutOfOrder,
                    (true, false) => Arrived::InOrder,
                };
                highest = highest.max(Some(number));
                prop_assert_eq!(window.arrive(number), want);
            }
        }
    }
}
