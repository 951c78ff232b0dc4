//! The terminal of a command (pty(7)): the command holds one end as the controlling terminal of a session of its own, the
//! server the other.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::{PoisonError, RwLock};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::Pid;
use rustix::termios::{Winsize, tcgetpgrp, tcsetwinsize};

use crate::wire::message::Size;

/// Typed at a terminal, this ends the input (VEOF of termios(3)).
pub const END_OF_INPUT: u8 = 0x04;

/// A terminal's end is opened first and told a moment later that nobody inherits it: whatever was started in between would
/// hold somebody else's terminal. So that is kept apart.
static STARTING: RwLock<()> = RwLock::new(());

/// Starts what needs no terminal.
pub(super) fn apart<T>(start: impl FnOnce() -> T) -> T {
    let _nobody_opens_one = STARTING.read().unwrap_or_else(PoisonError::into_inner);
    start()
}

/// The server's end of a command's terminal.
#[derive(Debug)]
pub struct Terminal(File);

impl Terminal {
    /// Starts `command` in a session of its own, with a terminal for all its streams.
    ///
    /// # Errors
    /// As the standard library's `spawn`, or the system has no terminal left.
    pub(super) fn spawn(command: Command, size: Size) -> io::Result<(Child, Self)> {
        let (end, others) = {
            let _nothing_starts = STARTING.write().unwrap_or_else(PoisonError::into_inner);
            pty_process::blocking::open().map_err(into_io)?
        };
        let terminal = Self(File::from(OwnedFd::from(end)));
        // Whoever writes to it must not wait for a command that does not read; nor does a read, which waits elsewhere.
        fcntl_setfl(&terminal.0, OFlags::RDWR | OFlags::NONBLOCK)?;
        terminal.resize(size)?;
        let child = pty_process::blocking::Command::from(command).spawn(others).map_err(into_io)?;
        Ok((child, terminal))
    }

    /// Gives it another size; whoever is in its foreground hears of it (SIGWINCH).
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn resize(&self, Size { columns, rows }: Size) -> io::Result<()> {
        Ok(tcsetwinsize(&self.0, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?)
    }

    /// What is written there and what is typed here. No read and no write waits.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn open(&self) -> io::Result<File> {
        self.0.try_clone()
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
