//! Processes as the kernel shows them.

use std::process::{Child, ExitStatus};

use super::DEADLINE;

/// Waits for a child up to the deadline.
pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    let pidfd =
        rustix::process::pidfd_open(rustix::process::Pid::from_child(child), rustix::process::PidfdFlags::empty());
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
