//! Round-trip times, counted in a bounded space however long the run is.
//!
//! Least, greatest and mean are exact; a quantile is right to within half a percent, because every
//! power of two is cut into 128 equal steps.

use std::time::Duration;

/// Steps in each power of two, as a power of two: 2^7 = 128.
const STEP_BITS: u32 = 7;
const STEPS: u64 = 1 << STEP_BITS;
/// 128 steps for the numbers below 128, and for each of the 57 powers of two above.
const BUCKETS: usize = 128 * 58;

/// How often each length of time was seen.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    count: u64,
    sum_ns: u128,
    min_ns: u64,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], count: 0, sum_ns: 0, min_ns: u64::MAX, max_ns: 0 }
    }
}

impl Histogram {
    /// Counts one time.
    pub fn record(&mut self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket(ns)) {
            *count += 1;
        }
        self.count += 1;
        self.sum_ns += u128::from(ns);
        self.min_ns = self.min_ns.min(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    /// The shortest, if there is any.
    pub fn min(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_nanos(self.min_ns))
    }

    /// The longest, if there is any.
    pub fn max(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_nanos(self.max_ns))
    }

    /// The mean, if there is any.
    pub fn mean(&self) -> Option<Duration> {
        let mean = self.sum_ns.checked_div(u128::from(self.count))?;
        Some(Duration::from_nanos(u64::try_from(mean).unwrap_or(u64::MAX)))
    }

    /// The time that `permille` thousandths of all times do not exceed, if there is any: 500 is the median.
    pub fn quantile(&self, permille: u16) -> Option<Duration> {
        // The rank of the wanted time, from 1: rounded up, as "at least so many" asks.
        let rank = (u128::from(self.count) * u128::from(permille)).div_ceil(1000).max(1);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += u128::from(*count);
            seen >= rank
        })?;
        Some(Duration::from_nanos(middle(found).clamp(self.min_ns, self.max_ns)))
    }
}

/// Which bucket a number belongs to: below 128 its own, above one of 128 in its power of two.
fn bucket(ns: u64) -> usize {
    let power = ns.checked_ilog2().unwrap_or(0).saturating_sub(STEP_BITS);
    let index = u64::from(power) * STEPS + (ns >> power);
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// The number in the middle of a bucket.
fn middle(bucket: usize) -> u64 {
    let index = u64::try_from(bucket).unwrap_or(u64::MAX);
    // Buckets 0 to 255 are the numbers 0 to 255; then each 128 are twice as wide as the 128 before.
    let power = (index / STEPS).saturating_sub(1);
    let step = index - power * STEPS;
    (step << power) + ((1_u64 << power) >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_seen_is_no_number() {
        let empty = Histogram::default();
        assert_eq!((empty.min(), empty.max(), empty.mean(), empty.quantile(500)), (None, None, None, None));
    }

    #[test]
    fn one_and_a_hundred() {
        let mut times = Histogram::default();
        times.record(Duration::from_nanos(41_234));
        for permille in [0, 500, 990, 1000] {
            assert_eq!(times.quantile(permille), Some(Duration::from_nanos(41_234)));
        }
        let mut times = Histogram::default();
        (1..=100).for_each(|ns| times.record(Duration::from_nanos(ns)));
        assert_eq!(times.quantile(500), Some(Duration::from_nanos(50)));
        assert_eq!(times.quantile(990), Some(Duration::from_nanos(99)));
        assert_eq!(times.mean(), Some(Duration::from_nanos(50)));
        assert_eq!((times.min(), times.max()), (Some(Duration::from_nanos(1)), Some(Duration::from_nanos(100))));
    }

    proptest! {
        #[test]
        fn a_bucket_is_right_to_half_a_percent(ns: u64) {
            prop_assert!(bucket(ns) < BUCKETS);
            prop_assert!(middle(bucket(ns)).abs_diff(ns) <= ns / 200);
        }

        #[test]
        fn buckets_keep_the_order(one: u64, two: u64) {
            prop_assert!(bucket(one.min(two)) <= bucket(one.max(two)));
        }
    }
}
