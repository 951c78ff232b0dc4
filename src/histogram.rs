//! A histogram of durations in bounded memory. The only file that names hdrhistogram.
//!
//! Minimum, maximum and mean are exact; a quantile is right to three digits.

use std::time::Duration;

/// Significant digits of a time.
const DIGITS: u8 = 3;

/// Counts of durations.
#[derive(Debug, Clone)]
pub struct Histogram {
    /// Always `Some`, since up to five digits are valid; 200 KiB for times of up to a second, in nanoseconds.
    counts: Option<hdrhistogram::Histogram<u64>>,
    count: u64,
    sum_ns: u128,
    min_ns: u64,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        let counts = hdrhistogram::Histogram::new(DIGITS).ok();
        Self { counts, count: 0, sum_ns: 0, min_ns: u64::MAX, max_ns: 0 }
    }
}

impl Histogram {
    /// Counts one time.
    pub fn record(&mut self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        if let Some(counts) = &mut self.counts
            && let Err(error) = counts.record(ns)
        {
            tracing::debug!(%error, ns, "a time is not in the quantiles");
        }
        self.count += 1;
        self.sum_ns += u128::from(ns);
        self.min_ns = self.min_ns.min(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    /// Adds what `other` has recorded.
    pub fn add(&mut self, other: &Self) {
        if let (Some(counts), Some(added)) = (&mut self.counts, &other.counts)
            && let Err(error) = counts.add(added)
        {
            tracing::debug!(%error, "times are not in the quantiles");
        }
        self.count += other.count;
        self.sum_ns += other.sum_ns;
        self.min_ns = self.min_ns.min(other.min_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// Begins again at nothing; the memory stays.
    pub fn clear(&mut self) {
        if let Some(counts) = &mut self.counts {
            counts.reset();
        }
        (self.count, self.sum_ns, self.min_ns, self.max_ns) = (0, 0, u64::MAX, 0);
    }

    /// The times, each right to three digits, the shortest first, and how often each was recorded.
    pub fn recorded(&self) -> impl Iterator<Item = (Duration, u64)> {
        let counts = self.counts.as_ref().filter(|_| self.count > 0);
        let found = counts.into_iter().flat_map(hdrhistogram::Histogram::iter_recorded);
        found.map(|found| {
            let ns = found.value_iterated_to().clamp(self.min_ns, self.max_ns);
            (Duration::from_nanos(ns), found.count_since_last_iteration())
        })
    }

    /// How many times were recorded.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The shortest time; `None`: none was recorded.
    pub fn min(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_nanos(self.min_ns))
    }

    /// The longest time; `None`: none was recorded.
    pub fn max(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_nanos(self.max_ns))
    }

    /// The mean; `None`: no time was recorded.
    pub fn mean(&self) -> Option<Duration> {
        let mean = self.sum_ns.checked_div(u128::from(self.count))?;
        Some(Duration::from_nanos(u64::try_from(mean).unwrap_or(u64::MAX)))
    }

    /// The time that `permille` thousandths of all times do not exceed: 500 is the median. `None`: no time was
    /// recorded.
    pub fn quantile(&self, permille: u16) -> Option<Duration> {
        let counts = self.counts.as_ref().filter(|_| self.count > 0)?;
        let found = counts.value_at_quantile(f64::from(permille) / 1000.0);
        Some(Duration::from_nanos(found.clamp(self.min_ns, self.max_ns)))
    }
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

    #[test]
    fn a_million_times_take_no_more_room_than_a_few() {
        let mut times = Histogram::default();
        (0..1_000_000).for_each(|n| times.record(Duration::from_nanos(20_000 + n % 1_000_000)));
        let room = times.counts.as_ref().unwrap().distinct_values() * size_of::<u64>();
        assert!(room < 256 * 1024, "{room} bytes");
        assert_eq!(times.count(), 1_000_000);
    }

    #[test]
    fn what_was_recorded_in_parts_is_the_same_in_all() {
        let (mut whole, mut parts) = (Histogram::default(), [Histogram::default(), Histogram::default()]);
        for n in 0..1000_u32 {
            let time = Duration::from_nanos(u64::from(n) * u64::from(n) * 977);
            whole.record(time);
            parts[usize::from(n % 3 == 0)].record(time);
        }
        let mut sum = Histogram::default();
        for part in &mut parts {
            sum.add(part);
            part.clear();
            sum.add(part);
            assert_eq!((part.count(), part.min(), part.recorded().count()), (0, None, 0));
        }
        assert_eq!((sum.count(), sum.min(), sum.max(), sum.mean()), (1000, whole.min(), whole.max(), whole.mean()));
        for permille in [0, 500, 900, 990, 999, 1000] {
            assert_eq!(sum.quantile(permille), whole.quantile(permille));
        }
        assert_eq!(sum.recorded().map(|(_, count)| count).sum::<u64>(), 1000);
        assert!(sum.recorded().is_sorted_by_key(|(time, _)| time));
        assert_eq!(sum.recorded().last().map(|(time, _)| time), whole.max());
    }

    proptest! {
        #[test]
        fn a_quantile_is_right_to_three_digits(ns in 1_u64..u64::MAX / 4) {
            let mut times = Histogram::default();
            for ns in [ns, ns, ns.saturating_mul(2)] {
                times.record(Duration::from_nanos(ns));
            }
            let found = u64::try_from(times.quantile(500).unwrap().as_nanos()).unwrap();
            prop_assert!(found.abs_diff(ns) <= ns / 1000 + 1, "{} is not {}", found, ns);
        }
    }
}
