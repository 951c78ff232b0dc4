//! What Unix says about files, in the units of this library: times in nanoseconds since 1970, identities, reads at an
//! offset.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::SystemTime;

use cap_std::fs::{Metadata, MetadataExt as _};
use rustix::fs::{OFlags, Stat, Timespec, Timestamps};

const NANOSECONDS: i64 = 1_000_000_000;

/// A time in nanoseconds since 1970 UTC, of its two numbers.
pub const fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(NANOSECONDS).saturating_add(nanoseconds)
}

/// The modification time in nanoseconds since 1970 UTC.
pub fn mtime_ns(metadata: &Metadata) -> i64 {
    nanoseconds(metadata.mtime(), metadata.mtime_nsec())
}

/// The modification time of a [`Stat`], in nanoseconds since 1970 UTC.
pub fn stat_mtime_ns(stat: &Stat) -> i64 {
    nanoseconds(stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0))
}

/// The time of the last change of content or attributes, in nanoseconds since 1970 UTC.
pub fn stat_ctime_ns(stat: &Stat) -> i64 {
    nanoseconds(stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or(0))
}

/// A modification time for the system; the time of the last access stays as it is.
pub const fn timestamps(mtime_ns: i64) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: Timespec {
            tv_sec: mtime_ns.div_euclid(NANOSECONDS),
            tv_nsec: mtime_ns.rem_euclid(NANOSECONDS),
        },
    }
}

/// Seconds since 1970 UTC; 0 for earlier times.
pub fn seconds_since_1970(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Device and inode, by which a file or directory is known whatever its name is.
///
/// # Errors
/// The system refuses.
pub fn identity_of(open: &impl AsFd) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::fstat(open)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Bytes that this user may still write to the file system on which an open file or directory is.
///
/// # Errors
/// The system refuses.
pub fn free_len(open: &impl AsFd) -> io::Result<u64> {
    let found = rustix::fs::fstatvfs(open)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Bytes that the file system holds on which an open file or directory is.
///
/// # Errors
/// The system refuses.
pub fn used_len(open: &impl AsFd) -> io::Result<u64> {
    let found = rustix::fs::fstatvfs(open)?;
    Ok(found.f_blocks.saturating_sub(found.f_bfree).saturating_mul(found.f_frsize))
}

/// Waits until everything that was written to the file system of an open directory is on the disk.
///
/// # Errors
/// The disk failed.
pub fn sync_file_system(open: &impl AsFd) -> io::Result<()> {
    // A directory that was opened as a mere path has no file system to sync.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(open, ".", flags, rustix::fs::Mode::empty())?;
    Ok(rustix::fs::syncfs(&opened)?)
}

/// Makes a symlink in `dir` that is called `name` and points to `target`.
///
/// # Errors
/// The name is taken, or the system refuses.
pub fn make_link(dir: &impl AsFd, name: &OsStr, target: &OsStr) -> io::Result<()> {
    Ok(rustix::fs::symlinkat(target, dir, name)?)
}

/// Reads what is there from `offset` on, and leaves the position of the descriptor alone; 0 bytes are the end. A
/// signal is no reason to stop.
///
/// # Errors
/// The disk failed.
pub fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match std::os::unix::fs::FileExt::read_at(file, buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_are_times_too() {
        for ns in [0, 1, -1, 1_700_000_000_123_456_789, -1_500_000_000, NANOSECONDS, -NANOSECONDS] {
            let time = timestamps(ns).last_modification;
            assert!((0..NANOSECONDS).contains(&time.tv_nsec), "{ns}");
            assert_eq!(nanoseconds(time.tv_sec, time.tv_nsec), ns);
        }
        assert_eq!(nanoseconds(i64::MAX, 5), i64::MAX);
        assert_eq!(seconds_since_1970(SystemTime::UNIX_EPOCH - std::time::Duration::from_secs(5)), 0);
    }
}
