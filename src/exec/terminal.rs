//! The terminal of a command (pty(7)): the command holds one end as the controlling terminal of a session of its own, the
//! server the other.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::{PoisonError, RwLock, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::Pid;
use rustix::termios::{Winsize, tcgetpgrp, tcsetwinsize};

use crate::wire::message::Size;

/// Typed at a terminal, this ends the input (VEOF of termios(3)).
pub const END_OF_INPUT: u8 = 0x04;

/// A terminal's end is opened first and told a moment later that nobody inherits it: whatever was started in between would
/// hold somebody else's terminal. So that is kept apart.
static STARTING: RwLock<()> = RwLock::new(());

/// A start lasts until the program is there to be executed, which a dead network disk can delay: so long a terminal waits for
/// it, and no start waits for a terminal.
const OPEN_TIME_MAX: Duration = Duration::from_secs(5);
/// Between two tries.
const TRY_EVERY: Duration = Duration::from_millis(1);

/// Opens a terminal while nothing is started.
fn open_pair() -> io::Result<(pty_process::blocking::Pty, pty_process::blocking::Pts)> {
    let until = Instant::now() + OPEN_TIME_MAX;
    loop {
        // Whoever waited for the lock would keep all that come later from it.
        match STARTING.try_write() {
            Ok(_nothing_starts) => return pty_process::blocking::open().map_err(into_io),
            Err(TryLockError::Poisoned(_nothing_starts)) => return pty_process::blocking::open().map_err(into_io),
            Err(TryLockError::WouldBlock) if Instant::now() < until => thread::sleep(TRY_EVERY),
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// Starts a program while no terminal is opened.
pub(super) fn apart<T>(start: impl FnOnce() -> T) -> T {
    let _nobody_opens_one = STARTING.read().unwrap_or_else(PoisonError::into_inner);
    start()
}

/// The server's end of a command's terminal.
#[derive(Debug)]
pub struct Terminal(File);

impl Terminal {
    /// Starts `command` in a session of its own, with a terminal for all its streams; where to type, and where to read.
    ///
    /// # Errors
    /// As the standard library's `spawn`, or the system has no terminal or descriptor left.
    pub(super) fn spawn(command: Command, size: Size) -> io::Result<(Child, Self, [File; 2])> {
        let (end, others) = open_pair()?;
        let terminal = Self(File::from(OwnedFd::from(end)));
        // Whoever writes to it must not wait for a command that does not read; nor does a read, which waits elsewhere.
        fcntl_setfl(&terminal.0, OFlags::RDWR | OFlags::NONBLOCK)?;
        terminal.resize(size)?;
        let ends = [terminal.0.try_clone()?, terminal.0.try_clone()?];
        let child = apart(|| pty_process::blocking::Command::from(command).spawn(others)).map_err(into_io)?;
        Ok((child, terminal, ends))
    }

    /// Gives it another size; whoever is in its foreground hears of it (SIGWINCH).
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn resize(&self, Size { columns, rows }: Size) -> io::Result<()> {
        Ok(tcsetwinsize(&self.0, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?)
    }

    /// The process group that it belongs to at this moment.
    pub fn foreground(&self) -> Option<Pid> {
        tcgetpgrp(&self.0).ok()
    }
}

fn into_io(error: pty_process::Error) -> io::Error {
    match error {
        pty_process::Error::Io(error) => error,
        pty_process::Error::Rustix(errno) => errno.into(),
    }
}
