//! Modification times as file systems keep them: many round them down, and have a first and a last one.
//!
//! What a file system keeps of a time is seen in the file itself: its change time is set by the system, to whatever
//! fraction of a second the file system has. Where that and the modification time are whole seconds both, fractions
//! are not kept there; where they are kept, the change time has one. So nothing has to be written or configured to
//! find out.

/// A second, in nanoseconds.
const SECOND: i64 = 1_000_000_000;

/// What file systems round to, in nanoseconds, the coarsest first: ext4 with small inodes, HFS+ and NFS of old, a
/// second; exFAT 10 ms; others what their servers keep; NTFS 100 ns.
const STEPS: [i64; 5] = [SECOND, 10_000_000, 1_000_000, 1_000, 100];

/// What FAT rounds to, which keeps one time for both; seen through servers too.
const FAT_STEP: i64 = 2 * SECOND;

/// The first and last seconds since 1970 that some file systems have: 32 bits, and FAT's years from 1980 to 2107.
const FIRST: [i64; 2] = [i32::MIN as i64, 315_532_800];
const LAST: [i64; 3] = [i32::MAX as i64, 4_354_819_198, 4_354_819_199];

/// The times of a file that is there, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct FileTimes {
    /// Its modification time.
    pub mtime_ns: i64,
    /// Its change time, which the system sets.
    pub ctime_ns: i64,
    /// Whether the file system may be FAT, or a server's that is.
    pub may_be_fat: bool,
}

impl FileTimes {
    /// Whether this is what the file system keeps of `wanted_ns`.
    pub fn is(&self, wanted_ns: i64) -> bool {
        let Self { mtime_ns, .. } = *self;
        if mtime_ns == wanted_ns || self.is_at_an_end(wanted_ns) {
            return true;
        }
        let step = self.step();
        let behind = wanted_ns.saturating_sub(mtime_ns);
        // A server with FAT may round up.
        (0..step).contains(&behind) || (step == FAT_STEP && (-step..0).contains(&behind))
    }

    /// Whether this is `wanted_ns` or later, as far as the file system tells.
    pub fn is_since(&self, wanted_ns: i64) -> bool {
        self.mtime_ns > wanted_ns.saturating_sub(self.step())
    }

    /// What the file system rounds to, in nanoseconds; 1: it does not.
    fn step(&self) -> i64 {
        let Self { mtime_ns, ctime_ns, may_be_fat } = *self;
        let is_kept_in = |step: i64| mtime_ns.rem_euclid(step) == 0 && ctime_ns.rem_euclid(step) == 0;
        if may_be_fat && mtime_ns == ctime_ns && is_kept_in(FAT_STEP) {
            return FAT_STEP;
        }
        STEPS.into_iter().find(|step| is_kept_in(*step)).unwrap_or(1)
    }

    /// Whether `wanted_ns` is beyond what the file system has, and this is its first or last time.
    fn is_at_an_end(&self, wanted_ns: i64) -> bool {
        let (here, wanted) = (self.mtime_ns.div_euclid(SECOND), wanted_ns.div_euclid(SECOND));
        (wanted < here && FIRST.contains(&here)) || (wanted > here && LAST.contains(&here))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A file that was given `mtime_ns` at the time `now_ns`, on a file system that rounds to `step`.
    fn stored(mtime_ns: i64, now_ns: i64, step: i64) -> FileTimes {
        let keep = |time: i64| time - time.rem_euclid(step);
        let ctime_ns = if step == FAT_STEP { keep(mtime_ns) } else { keep(now_ns) };
        FileTimes { mtime_ns: keep(mtime_ns), ctime_ns, may_be_fat: step == FAT_STEP }
    }

    /// As the system's clock has it: no round fraction.
    const NOW: i64 = 1_790_000_000_123_456_789;

    proptest! {
        #[test]
        fn what_was_rounded_is_the_same(mtime in -4_000_000_000_000_000_000..4_000_000_000_000_000_000_i64, now in 0..SECOND) {
            for step in [1, 100, 1_000, 1_000_000, 10_000_000, SECOND, FAT_STEP] {
                let kept = stored(mtime, NOW + now, step);
                prop_assert!(kept.is(mtime) && kept.is_since(mtime), "{step}: {kept:?}");
                // By chance a clock shows a round fraction where others are kept too.
                if kept.step() != step {
                    continue;
                }
                // A change that the file system can tell is one.
                for later in [step, 2 * step, 100 * step] {
                    let is_fat = step == FAT_STEP && later == step;
                    prop_assert!(is_fat || !kept.is(mtime + later), "{step}: {kept:?} {later}");
                }
            }
        }
    }

    #[test]
    fn where_fractions_are_kept_a_whole_second_is_only_itself() {
        // As a tool has left it that cuts fractions off, on a file system that does not.
        for second in [1_700_000_000, 1_700_000_001, 0, -5] {
            let kept = FileTimes { mtime_ns: second * SECOND, ctime_ns: NOW, may_be_fat: true };
            assert!(kept.is(second * SECOND));
            for off in [1, 1_000_000, SECOND / 2, SECOND, -1, -SECOND] {
                assert!(!kept.is(second * SECOND + off), "{second} {off}");
            }
            assert!(!kept.is_since(second * SECOND + 1));
        }
        // Two seconds are FAT's alone: a second later is another version elsewhere.
        let kept = FileTimes { mtime_ns: 1_700_000_000 * SECOND, ctime_ns: 1_700_000_000 * SECOND, may_be_fat: false };
        assert!(kept.is(1_700_000_000 * SECOND + SECOND - 1) && !kept.is(1_700_000_001 * SECOND));
        let fat = FileTimes { may_be_fat: true, ..kept };
        assert!(fat.is(1_700_000_001 * SECOND + SECOND - 1) && !fat.is(1_700_000_002 * SECOND));
        assert!(fat.is(1_699_999_999 * SECOND) && !fat.is(1_699_999_997 * SECOND));
    }

    #[test]
    fn what_no_file_system_can_keep_is_its_first_or_last_time() {
        let at = |second: i64| FileTimes { mtime_ns: second * SECOND, ctime_ns: NOW, may_be_fat: false };
        assert!(
            at(i64::from(i32::MAX)).is(3_000_000_000 * SECOND) && at(i64::from(i32::MIN)).is(-3_000_000_000 * SECOND)
        );
        assert!(at(315_532_800).is(0) && at(315_532_800).is(-SECOND) && !at(315_532_800).is(400_000_000 * SECOND));
        assert!(!at(i64::from(i32::MAX)).is(0) && !at(1_700_000_000).is(3_000_000_000 * SECOND));
    }
}
