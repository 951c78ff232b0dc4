//! A command that runs, whoever waits for it: its outputs read as they come, its deadline, its end.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::ending::Ending;
use super::process::{Process, exits_within};
use super::rate::Throttle;
use super::{KILL_AFTER, PIECE_LEN};
use crate::wire::error::{Error, Result};
use crate::wire::message::{Outcome, Stream, Terms};

/// After the exit, output is still waited for so long: a process left in the background may keep
/// the pipe open for ever.
const DRAIN_TIME_MAX: Duration = Duration::from_millis(200);
/// And at most so many bytes of it, if such a process never stops writing: what two pipes can hold.
const DRAIN_LEN_MAX: usize = 2 * 1024 * 1024;

/// A command that runs.
#[derive(Debug)]
pub struct Running {
    /// Who may end it.
    pub ending: Ending,
    /// Between asking it to end and killing it.
    pub kill_after: Duration,
    /// It has exited, and nothing more is said to it.
    pub is_over: AtomicBool,
    timed_out: AtomicBool,
}

impl Running {
    /// It has just been started; see [`Ending::new`].
    pub fn new(process: &Process, terms: &Terms, is_hurried: Arc<AtomicBool>) -> Self {
        Self {
            ending: Ending::new(Arc::clone(process.tree()), is_hurried),
            kill_after: terms.kill_after_ms.map_or(KILL_AFTER, Duration::from_millis),
            is_over: AtomicBool::new(false),
            timed_out: AtomicBool::new(false),
        }
    }

    /// Ends it when its time is up, unless it has ended by itself.
    pub fn end_after(&self, limit: Duration, exit: &OwnedFd) {
        if !exits_within(exit, limit) {
            self.timed_out.store(true, Ordering::Release);
            self.ending.end(self.kill_after);
        }
    }

    /// Waits for its exit; it is over then.
    ///
    /// # Errors
    /// It could not be waited for.
    pub fn conclude(&self, process: &mut Process) -> Result<Outcome<'static>> {
        process.wait_for_exit();
        if self.ending.was_signalled() && process.was_killed() {
            // Its client has ended it, and means all of it.
            self.ending.end(self.kill_after);
        }
        self.ending.close();
        let outcome = process.wait().map_err(Error::ours("command"))?;
        self.is_over.store(true, Ordering::Release);
        Ok(if self.timed_out.load(Ordering::Acquire) { Outcome::TimedOut } else { outcome })
    }
}

/// Hands over both outputs as they come, until they end or the process does. If `take` takes no more, it is not asked again,
/// and they are read all the same: a command that cleans up should not die of a pipe that nobody reads.
///
/// # Errors
/// As `take`, or the outputs cannot be watched.
pub fn pump(
    process: &Process,
    [mut stdout, mut stderr]: [Option<File>; 2],
    ending: &Ending,
    take: &mut dyn FnMut(Stream, &[u8]) -> Result<()>,
) -> Result<()> {
    let exits = |wait| exits_within(process.exit_fd(), wait);
    let is_ending = || ending.is_ending();
    let mut throttle = Throttle::new(process.output_rate(), &exits, &is_ending);
    let mut piece = vec![0; PIECE_LEN];
    let mut exited: Option<Instant> = None;
    let mut drained = 0;
    let mut sent = Ok(());
    while stdout.is_some() || stderr.is_some() {
        let wait = exited.map(|at| DRAIN_TIME_MAX.saturating_sub(at.elapsed()));
        let ready = wait_for_output(process, stdout.as_ref(), stderr.as_ref(), wait)?;
        if exited.is_some() && (drained > DRAIN_LEN_MAX || !(ready.stdout || ready.stderr)) {
            break;
        }
        if ready.exited && exited.is_none() {
            exited = Some(Instant::now());
        }
        for (pipe, is_ready, stream) in
            [(&mut stdout, ready.stdout, Stream::Main), (&mut stderr, ready.stderr, Stream::Stderr)]
        {
            if !is_ready {
                continue;
            }
            let room = throttle.room();
            match pipe.as_mut().map(|pipe| pipe.read(piece.get_mut(..room).unwrap_or_default())) {
                Some(Ok(len)) if len > 0 => {
                    throttle.take(len);
                    drained += if exited.is_some() { len } else { 0 };
                    if sent.is_ok() {
                        sent = take(stream, piece.get(..len).unwrap_or_default());
                    }
                }
                Some(Err(error)) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                // A terminal that nobody holds any more says EIO.
                _ => *pipe = None,
            }
        }
    }
    sent
}

#[derive(Debug, Clone, Copy, Default)]
struct Readable {
    stdout: bool,
    stderr: bool,
    exited: bool,
}

/// Waits until one of the pipes has something or has ended, or the process has exited. Once it has,
/// `wait` is what is left of the time to drain, and the exit alone wakes nobody any more.
fn wait_for_output(
    process: &Process,
    stdout: Option<&File>,
    stderr: Option<&File>,
    wait: Option<Duration>,
) -> Result<Readable> {
    let exit_fd = wait.is_none().then(|| process.exit_fd().as_fd());
    let watched = [stdout.map(File::as_fd), stderr.map(File::as_fd), exit_fd];
    let mut polled: Vec<PollFd<'_>> =
        watched.iter().flatten().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let timeout = wait.and_then(|wait| Timespec::try_from(wait).ok());
    loop {
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::ours("command")(error.into())),
        }
    }
    let mut results = polled.iter().map(|polled| !polled.revents().is_empty());
    let mut next = |is_watched: bool| is_watched && results.next().unwrap_or(false);
    Ok(Readable { stdout: next(stdout.is_some()), stderr: next(stderr.is_some()), exited: next(exit_fd.is_some()) })
}
