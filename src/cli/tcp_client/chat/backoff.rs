//! How long to wait before the next attempt to connect.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);
/// Doublings after which the longest wait is reached.
const DOUBLINGS_MAX: u32 = 6;

/// The wait before attempt number `attempt`, from 0. `random` spreads the clients of one server that is back: the wait
/// is between half and the whole of what doubling gives.
pub(super) fn wait_before(attempt: u32, random: u16) -> Duration {
    let whole = (FIRST * 2_u32.pow(attempt.min(DOUBLINGS_MAX))).min(LONGEST);
    let half = whole / 2;
    half + half * u32::from(random) / u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_spread() {
        let seconds: Vec<f32> = (0..9).map(|attempt| wait_before(attempt, u16::MAX).as_secs_f32()).collect();
        assert_eq!(seconds, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]);
        assert_eq!(wait_before(0, 0), Duration::from_millis(250));
        assert_eq!(wait_before(u32::MAX, 0), Duration::from_secs(15));
    }
}
