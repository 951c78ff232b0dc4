//! A command that runs, attached or detached: reading its outputs, its timeout, its end.

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
use super::{KILL_AFTER, LINGER, PIECE_LEN};
use crate::error::{Error, Result};
use crate::wire::message::{Channel, ExecOptions, Outcome};

/// After a command was ended (by its timeout or its client's signal), output is read until it has been silent for this
/// long.
const DRAIN_TIME_MAX: Duration = Duration::from_millis(200);
/// Bytes that are read after a command was ended, at most: what two pipes can hold.
const DRAIN_LEN_MAX: usize = 2 * 1024 * 1024;
/// Interval between two checks whether to stop waiting for output after an exit.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A command that runs.
#[derive(Debug)]
pub struct Running {
    /// Ends it, for all causes.
    pub ending: Ending,
    /// Time between SIGTERM and SIGKILL.
    pub kill_after: Duration,
    /// Whether it has exited; then no input or signal is passed on.
    pub is_over: AtomicBool,
    /// Whether its client no longer wants its output.
    pub is_left: AtomicBool,
    timed_out: AtomicBool,
    /// How long its output may be silent after its exit before it is no longer waited for.
    linger: Duration,
    /// When its timeout is over; output is not waited for beyond it. `None`: no timeout.
    deadline: Option<Instant>,
}

impl Running {
    /// For a process that has just been started; for `is_hurried` see [`Ending::new`].
    pub fn new(process: &Process, options: &ExecOptions, is_hurried: Arc<AtomicBool>) -> Self {
        Self {
            ending: Ending::new(Arc::clone(process.tree()), is_hurried),
            kill_after: options.kill_after_ms.map_or(KILL_AFTER, Duration::from_millis),
            is_over: AtomicBool::new(false),
            is_left: AtomicBool::new(false),
            timed_out: AtomicBool::new(false),
            linger: options.linger_ms.map_or(LINGER, Duration::from_millis),
            deadline: options.timeout_ms.and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms))),
        }
    }

    /// Ends it after `limit`, unless it exits before.
    pub fn end_after(&self, limit: Duration, exit: &OwnedFd) {
        if !exits_within(exit, limit) {
            self.timed_out.store(true, Ordering::Release);
            self.ending.end(self.kill_after);
        }
    }

    /// Waits for its exit and returns its outcome. If the wait fails, the outcome is unknown: [`Outcome::Lost`].
    pub fn conclude(&self, process: &mut Process) -> Outcome<'static> {
        process.wait_for_exit();
        if self.is_ended_by_client(process) {
            // Its client has ended it, and means all of it.
            self.ending.end(self.kill_after);
        }
        self.ending.close();
        let outcome = process.wait();
        self.is_over.store(true, Ordering::Release);
        match outcome {
            Ok(_) if self.timed_out.load(Ordering::Acquire) => Outcome::TimedOut,
            Ok(outcome) => outcome,
            Err(error) => lost(&Error::ours("the command's exit")(error)),
        }
    }

    fn is_ended_by_client(&self, process: &Process) -> bool {
        self.ending.was_signalled() && process.was_killed()
    }

    /// Whether it was ended, rather than having ended by itself; it has exited.
    fn was_ended(&self, process: &Process) -> bool {
        self.timed_out.load(Ordering::Acquire) || self.is_ended_by_client(process)
    }

    /// How long output is waited for after the exit, beyond the last byte; `None`: for as long as it is being ended.
    fn patience(&self, process: &Process, is_wanted: bool) -> Option<Duration> {
        if self.ending.is_ending() {
            return None;
        }
        let is_left = !is_wanted || self.is_left.load(Ordering::Acquire);
        let is_late = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        Some(match self.was_ended(process) {
            true => DRAIN_TIME_MAX,
            false if is_left || is_late => Duration::ZERO,
            false => self.linger,
        })
    }
}

/// The outcome of a command whose end is unknown, with the reason.
pub(super) fn lost(error: &Error) -> Outcome<'static> {
    Outcome::Lost { why: error.with_cause().into() }
}

/// The result of reading a command's outputs.
#[derive(Debug)]
pub struct Pumped {
    /// The first error of `take`, if it failed.
    pub sent: Result<()>,
    /// Outputs that have not ended: a background process of the command holds them.
    pub rest: [Option<File>; 2],
}

/// Passes both outputs to `take` as they arrive, until they end, or until they are silent for long enough after the
/// exit. After an error `take` is not called again, but the outputs are read until the exit: a command that cleans up
/// should not be ended by SIGPIPE.
pub fn pump(
    process: &Process,
    outputs: [Option<File>; 2],
    command: &Running,
    take: &mut dyn FnMut(Channel, &[u8]) -> Result<()>,
) -> Pumped {
    let [mut stdout, mut stderr] = outputs;
    let exits = |wait| exits_within(process.exit_fd(), wait);
    let is_ending = || command.ending.is_ending();
    let mut throttle = Throttle::new(process.output_rate(), &exits, &is_ending);
    let mut piece = vec![0; PIECE_LEN];
    let mut drain: Option<Drain> = None;
    let mut sent = Ok(());
    while stdout.is_some() || stderr.is_some() {
        let patience = || command.patience(process, sent.is_ok());
        let wait = drain.map(|drain| drain.wait(patience()));
        let ready = match wait_for_output(process, stdout.as_ref(), stderr.as_ref(), wait) {
            Ok(ready) => ready,
            Err(error) => return Pumped { sent: sent.and(Err(error)), rest: [None, None] },
        };
        let has_output = ready.stdout || ready.stderr;
        if drain.is_some_and(|drain| patience().is_some_and(|patience| drain.is_over(patience, has_output))) {
            break;
        }
        if ready.exited && drain.is_none() {
            drain = Some(Drain { last: Instant::now(), len: 0 });
        }
        for (pipe, is_ready, stream) in
            [(&mut stdout, ready.stdout, Channel::Main), (&mut stderr, ready.stderr, Channel::Stderr)]
        {
            if !is_ready {
                continue;
            }
            let room = throttle.room();
            match pipe.as_mut().map(|pipe| pipe.read(piece.get_mut(..room).unwrap_or_default())) {
                Some(Ok(len)) if len > 0 => {
                    throttle.take(len);
                    drain = drain.map(|drain| Drain { last: Instant::now(), len: drain.len.saturating_add(len) });
                    if sent.is_ok() {
                        sent = take(stream, piece.get(..len).unwrap_or_default());
                    }
                }
                Some(Err(error)) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                // A terminal that no process holds any more returns EIO.
                _ => *pipe = None,
            }
        }
    }
    Pumped { sent, rest: [stdout, stderr] }
}

#[derive(Debug, Clone, Copy, Default)]
struct Readable {
    stdout: bool,
    stderr: bool,
    exited: bool,
}

/// Output that was read since the exit.
#[derive(Debug, Clone, Copy)]
struct Drain {
    last: Instant,
    len: usize,
}

impl Drain {
    /// How long the next poll may wait.
    fn wait(self, patience: Option<Duration>) -> Duration {
        patience.map_or(LOOK_EVERY, |patience| patience.saturating_sub(self.last.elapsed()).min(LOOK_EVERY))
    }

    /// Whether reading is over. Where the wait is short, the number of bytes is limited too.
    fn is_over(self, patience: Duration, has_output: bool) -> bool {
        let is_quiet = !has_output && self.last.elapsed() >= patience;
        is_quiet || (patience <= DRAIN_TIME_MAX && self.len > DRAIN_LEN_MAX)
    }
}

/// Waits until one of the pipes has something or has ended, or the process has exited. After the exit, `wait` limits
/// the time, and the exit alone no longer ends the wait.
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
