//! The rate limit of a command's output: a token bucket that fills at a number of bytes a second and holds one second's
//! worth. A command that writes faster finds its pipe full and blocks, as with any slow reader.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use super::PIECE_LEN;

/// A read waits until the bucket holds what flows in within this time, so that output is not read byte by byte.
const PIECE_TIME: Duration = Duration::from_millis(50);
/// Interval between two checks whether the command is being ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What a command that is being ended may write at once, in bytes: enough for its last words, which should not wait.
pub const LAST_WORDS_LEN_MAX: usize = 256 * 1024;
/// Nanoseconds of a second.
const SECOND: u128 = 1_000_000_000;

/// A token bucket of bytes. It reads no clock: the caller passes the time.
#[derive(Debug)]
struct Bucket {
    per_second: u64,
    /// In billionths of a byte, so that nothing is lost between two looks: `0 <= level <= per_second * SECOND`.
    level: u128,
    at: Instant,
}

impl Bucket {
    fn full(per_second: u64, now: Instant) -> Self {
        Self { per_second, level: u128::from(per_second) * SECOND, at: now }
    }

    /// Bytes that may be read now.
    fn room(&mut self, now: Instant) -> usize {
        let passed = now.saturating_duration_since(self.at).as_nanos();
        let most = u128::from(self.per_second) * SECOND;
        self.level = passed.saturating_mul(u128::from(self.per_second)).saturating_add(self.level).min(most);
        self.at = self.at.max(now);
        usize::try_from(self.level / SECOND).unwrap_or(usize::MAX)
    }

    fn take(&mut self, len: usize) {
        self.level = self.level.saturating_sub(len as u128 * SECOND);
    }

    /// How long to wait until a read is worthwhile; zero: it is now.
    fn wait(&mut self, now: Instant) -> Duration {
        let room = self.room(now) as u128;
        let in_piece_time = u128::from(self.per_second) * PIECE_TIME.as_nanos() / SECOND;
        if room >= in_piece_time.clamp(1, PIECE_LEN as u128) {
            return Duration::ZERO;
        }
        let missing = in_piece_time.clamp(1, PIECE_LEN as u128) * SECOND - self.level;
        let nanos = missing.div_ceil(u128::from(self.per_second).max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// The rate limit of one command's output, both streams together.
pub struct Throttle<'t> {
    bucket: Option<Bucket>,
    exits_within: &'t dyn Fn(Duration) -> bool,
    is_ending: &'t dyn Fn() -> bool,
    last_words: usize,
}

impl fmt::Debug for Throttle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

impl<'t> Throttle<'t> {
    /// A limit of `per_second` bytes a second; `None`: no limit. The other arguments tell when the limit no longer
    /// applies.
    pub fn new(
        per_second: Option<u64>,
        exits_within: &'t dyn Fn(Duration) -> bool,
        is_ending: &'t dyn Fn() -> bool,
    ) -> Self {
        let bucket = per_second.map(|per_second| Bucket::full(per_second, Instant::now()));
        Self { bucket, exits_within, is_ending, last_words: 0 }
    }

    /// Waits until something may be read; returns how many bytes, at least 1. What is in the pipes when the command
    /// exits does not wait, nor does the last output of a command that is being ended. Later output of its background
    /// processes does.
    pub fn room(&mut self) -> usize {
        loop {
            let Some(bucket) = &mut self.bucket else { return PIECE_LEN };
            let now = Instant::now();
            let wait = bucket.wait(now);
            if wait.is_zero() {
                return bucket.room(now).clamp(1, PIECE_LEN);
            }
            if self.last_words >= LAST_WORDS_LEN_MAX {
                thread::sleep(wait.min(LOOK_EVERY));
            } else if (self.is_ending)() || (self.exits_within)(wait.min(LOOK_EVERY)) {
                return PIECE_LEN;
            }
        }
    }

    /// Takes `len` bytes out of the bucket: they were read.
    pub fn take(&mut self, len: usize) {
        if let Some(bucket) = &mut self.bucket {
            bucket.take(len);
            let is_last = (self.is_ending)() || (self.exits_within)(Duration::ZERO);
            self.last_words += if is_last { len } else { 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_second_is_there_at_once_and_then_no_more_than_what_came_in() {
        let start = Instant::now();
        let mut bucket = Bucket::full(1_000, start);
        assert_eq!(bucket.room(start), 1_000);
        bucket.take(1_000);
        assert_eq!((bucket.room(start), bucket.wait(start)), (0, 50 * MS));
        assert_eq!((bucket.room(start + 49 * MS), bucket.wait(start + 49 * MS)), (49, MS));
        assert_eq!((bucket.room(start + 50 * MS), bucket.wait(start + 50 * MS)), (50, Duration::ZERO));
        // However much time passes, it holds one second's worth.
        assert_eq!(bucket.room(start + 3_600_000 * MS), 1_000);
        bucket.take(400);
        assert_eq!(bucket.room(start + 3_600_000 * MS), 600);
        // A clock that goes back gives nothing.
        assert_eq!(bucket.room(start), 600);
    }

    #[test]
    fn nothing_is_lost_between_two_looks_and_nothing_gained() {
        let start = Instant::now();
        for per_second in [1, 3, 1_000, 999_983, 10_000_000_000] {
            let mut bucket = Bucket::full(per_second, start);
            bucket.take(usize::MAX);
            let mut taken = 0;
            // 10,007 looks in 10 seconds, at odd times.
            for look in 1..=10_007_u32 {
                let now = start + Duration::from_secs(10) * look / 10_007;
                let room = bucket.room(now);
                bucket.take(room);
                taken += room as u64;
            }
            // The last instant was rounded down to a nanosecond.
            assert!(
                (per_second * 10 - per_second.div_ceil(1_000_000_000) - 1..=per_second * 10).contains(&taken),
                "{per_second}: {taken}"
            );
        }
    }

    #[test]
    fn the_wait_is_what_it_takes() {
        let start = Instant::now();
        for (per_second, wait) in [(1, Duration::from_secs(1)), (10, 100 * MS), (20, 50 * MS), (1_000_000, 50 * MS)] {
            let mut bucket = Bucket::full(per_second, start);
            bucket.take(usize::MAX);
            assert_eq!(bucket.wait(start), wait, "{per_second}");
            assert!(bucket.wait(start + wait).is_zero(), "{per_second}");
        }
        // A pipe's worth is worth a read, whatever the rate.
        let mut fast = Bucket::full(1 << 40, start);
        fast.take(usize::MAX);
        assert!(fast.wait(start) < Duration::from_micros(1));
    }
}
