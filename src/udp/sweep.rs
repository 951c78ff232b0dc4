//! The highest rate without loss: which rate is tried next. Pure.

/// The first rate, in datagrams a second.
pub const FIRST_RATE: u32 = 1_000;

/// The highest rate that is tried, in datagrams a second: no core sends more.
pub const SWEEP_RATE_MAX: u32 = 4_096_000;

/// The lowest rate that is tried, in datagrams a second: a path that loses something even then has no such rate.
pub const SWEEP_RATE_MIN: u32 = 10;

/// How near the highest rate without loss and the lowest with loss come to each other, in percent.
const NEAR_PERCENT: u64 = 10;

/// What became of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateOutcome {
    /// All of its probes arrived, and all replies.
    Clean,
    /// Some were lost.
    Lossy,
    /// The sender could not send so fast.
    NotReached,
}

/// The search: doubled until something is lost, then halved between.
#[derive(Debug, Clone, Copy, Default)]
pub struct RateSearch {
    /// The highest rate without loss.
    clean: Option<u32>,
    /// The lowest rate with loss, or that was not reached.
    lossy: Option<u32>,
}

impl RateSearch {
    /// The rate to try next; `None`: the search is over.
    pub fn next_rate(&self) -> Option<u32> {
        match (self.clean, self.lossy) {
            (None, None) => Some(FIRST_RATE),
            (Some(clean), None) => clean.checked_mul(2).filter(|rate| *rate <= SWEEP_RATE_MAX),
            (None, Some(lossy)) => Some(lossy / 2).filter(|rate| *rate >= SWEEP_RATE_MIN),
            (Some(clean), Some(lossy)) => {
                let is_near = u64::from(lossy) * 100 <= u64::from(clean) * (100 + NEAR_PERCENT);
                let middle = clean + lossy.saturating_sub(clean) / 2;
                (!is_near && middle > clean).then_some(middle)
            }
        }
    }

    /// Takes note of a rate's outcome. What a rate did that is higher than a lossy one does not matter.
    pub fn tried(&mut self, rate: u32, outcome: RateOutcome) {
        if outcome == RateOutcome::Clean {
            self.clean = self.clean.max(Some(rate));
        } else {
            self.lossy = Some(self.lossy.map_or(rate, |lossy| lossy.min(rate)));
        }
    }

    /// The highest rate without loss; `None`: something was lost at every rate.
    pub const fn found(&self) -> Option<u32> {
        self.clean
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_limit_is_found_from_below(limit in 2 * SWEEP_RATE_MIN..10_000_000) {
            let (mut search, mut steps) = (RateSearch::default(), 0);
            while let Some(rate) = search.next_rate() {
                search.tried(rate, if rate <= limit { RateOutcome::Clean } else { RateOutcome::Lossy });
                steps += 1;
            }
            prop_assert!(steps <= 24, "{}", steps);
            let found = search.found().unwrap();
            prop_assert!(found <= limit);
            prop_assert!(limit > SWEEP_RATE_MAX || u64::from(limit) <= u64::from(found) * 11 / 10 + 1, "{} {}", limit, found);
        }
    }

    #[test]
    fn nothing_but_loss_ends_too() {
        let mut search = RateSearch::default();
        while let Some(rate) = search.next_rate() {
            search.tried(rate, RateOutcome::Lossy);
        }
        assert_eq!(search.found(), None);
    }
}
