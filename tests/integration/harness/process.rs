//! Processes as the kernel shows them.

use std::path::Path;
use std::process::{Child, ExitStatus};

use rustix::process::{Pid, Signal};

use super::DEADLINE;

/// Waits for a child up to the deadline.
pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    let pidfd = rustix::process::pidfd_open(Pid::from_child(child), rustix::process::PidfdFlags::empty());
    if let Ok(pidfd) = pidfd {
        let timeout = rustix::event::Timespec { tv_sec: DEADLINE.as_secs().cast_signed(), tv_nsec: 0 };
        let mut polled = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        let ended = rustix::event::poll(&mut polled, Some(&timeout)).unwrap();
        if ended == 0 {
            let _ = child.kill();
            panic!("a program did not end within {DEADLINE:?}");
        }
    }
    child.wait().unwrap()
}

/// Whether it runs; a zombie, which only waits to be counted by its parent, does not.
pub(crate) fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Memory of a process, in KiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) now: u64,
    /// The most so far.
    pub(crate) peak: u64,
}

/// What `pid` takes of memory; `None`: it has ended.
pub(crate) fn memory_kib(pid: u32) -> Option<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    Some(Memory { now: kib("VmRSS:")?, peak: kib("VmHWM:")? })
}

/// Whether there is such a process, a zombie included.
pub(crate) fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Whether a line was written to `file`, which a command does when it has begun.
pub(crate) fn has_line(file: &Path) -> bool {
    std::fs::read_to_string(file).is_ok_and(|text| text.ends_with('\n'))
}

/// Whether the process lives whose id was written to `file`.
pub(crate) fn lives(file: &Path) -> bool {
    pid_in(file).is_some_and(is_running)
}

/// The process whose id was written to `file`, with a line end behind it.
pub(crate) fn pid_in(file: &Path) -> Option<u32> {
    std::fs::read_to_string(file).ok()?.strip_suffix('\n')?.trim().parse().ok()
}

/// Ends a process that a test has left behind.
pub(crate) fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}
