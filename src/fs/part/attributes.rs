//! What a file gets besides its bytes: its permissions and its time.

use std::ffi::OsStr;
use std::sync::OnceLock;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FileType};

/// What a file is to have besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Preserved {
    /// Modification time in nanoseconds since 1970 UTC; `None`: the time at which it was written.
    pub mtime_ns: Option<i64>,
    /// Permission bits, of which `0o777` count; `None`: those of the file that it replaces, or the system's.
    pub mode: Option<u32>,
}

/// The permissions that a file is to have: the sender's, or where it says none, those of the file that it replaces.
/// `None`: it replaces none, and gets the system's.
pub(super) fn mode_of(dir: &Dir, target: &OsStr, preserved: Preserved) -> Option<u32> {
    let mode = preserved.mode.or_else(|| {
        let stat = rustix::fs::statat(dir, target, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        (FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then_some(stat.st_mode)
    })?;
    Some(mode & 0o777)
}

/// The mode to make a file with: one that will get a mode of its own may not be read by others before it has it.
pub(super) const fn first_mode(mode: Option<u32>) -> u32 {
    if mode.is_some() { 0o600 } else { 0o666 }
}

/// What the process takes away from the modes of files that it makes. It cannot be asked for without being set
/// (umask(2)), but for here; where that is missing, everything.
pub(super) fn umask() -> u32 {
    static UMASK: OnceLock<u32> = OnceLock::new();
    *UMASK.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0o777)
    })
}
