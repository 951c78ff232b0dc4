//! The terminal of a command (pty(7)): the command holds one end as the controlling terminal of a session of its own,
//! the server the other.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError, RwLock, TryLockError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::Pid;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};
use rustix::termios::{OptionalActions, SpecialCodeIndex, Winsize, tcgetattr, tcgetpgrp, tcsetattr, tcsetwinsize};

use super::modes;
use crate::wire::message::TerminalSize;

/// Opening a terminal and setting close-on-exec are two steps: a process started in between would inherit another
/// command's terminal. This lock keeps opening and starting apart.
static STARTING: RwLock<()> = RwLock::new(());

/// How long opening a terminal waits for a start that is under way, which a dead network disk can delay. A start never
/// waits for a terminal.
const OPEN_TIME_MAX: Duration = Duration::from_secs(5);
/// Interval between two attempts.
const TRY_EVERY: Duration = Duration::from_millis(1);

/// Opens a terminal while no program is being started.
fn open_pair() -> io::Result<(pty_process::blocking::Pty, pty_process::blocking::Pts)> {
    let until = Instant::now() + OPEN_TIME_MAX;
    loop {
        // A waiting writer would block every start that comes later.
        match STARTING.try_write() {
            Ok(_nothing_starts) => return pty_process::blocking::open().map_err(into_io),
            Err(TryLockError::Poisoned(_nothing_starts)) => return pty_process::blocking::open().map_err(into_io),
            Err(TryLockError::WouldBlock) if Instant::now() < until => thread::sleep(TRY_EVERY),
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// Starts a program while no terminal is being opened.
pub(super) fn apart<T>(start: impl FnOnce() -> T) -> T {
    let _nobody_opens_one = STARTING.read().unwrap_or_else(PoisonError::into_inner);
    start()
}

/// The server's end of a command's terminal.
#[derive(Debug)]
pub struct Terminal(File);

impl Terminal {
    /// Starts `command` in a session of its own, with a terminal for all its streams. Returns the child, the terminal,
    /// and the files for its input and its output.
    ///
    /// # Errors
    /// As the standard library's `spawn`, or the system has no terminal or descriptor left.
    pub(super) fn spawn(command: Command, size: TerminalSize, modes: &[u8]) -> io::Result<(Child, Self, [File; 2])> {
        let (end, others) = open_pair()?;
        let terminal = Self(File::from(OwnedFd::from(end)));
        // Non-blocking: a writer must not wait for a command that does not read. Reads wait in `poll`.
        fcntl_setfl(&terminal.0, OFlags::RDWR | OFlags::NONBLOCK)?;
        terminal.resize(size)?;
        let mut termios = tcgetattr(&terminal.0)?;
        modes::apply(modes, &mut termios);
        if let Err(error) = tcsetattr(&terminal.0, OptionalActions::Now, &termios) {
            // A client's modes may be invalid; the system's defaults work.
            tracing::debug!(%error, "a terminal did not take its client's modes");
        }
        let ends = [terminal.0.try_clone()?, terminal.0.try_clone()?];
        let child = apart(|| pty_process::blocking::Command::from(command).spawn(others)).map_err(into_io)?;
        Ok((child, terminal, ends))
    }

    /// Shows a text on the terminal, as wall(1) does: written to the command's end, so that it is in order with the
    /// command's output. A terminal that accepts nothing (stopped with Ctrl-S, say) is skipped.
    ///
    /// # Errors
    /// The terminal is gone, or takes nothing now.
    fn tell(&self, text: &str) -> io::Result<()> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let mut other_end = File::from(ioctl_tiocgptpeer(&self.0, flags)?);
        fcntl_setfl(&other_end, OFlags::RDWR | OFlags::NONBLOCK)?;
        other_end.write_all(text.as_bytes())
    }

    /// Sets its size; its foreground process group gets SIGWINCH.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn resize(&self, TerminalSize { columns, rows }: TerminalSize) -> io::Result<()> {
        Ok(tcsetwinsize(&self.0, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?)
    }

    /// The character that ends the input at present; `None`: there is none.
    pub fn end_of_input(&self) -> Option<u8> {
        let code = tcgetattr(&self.0).ok()?.special_codes[SpecialCodeIndex::VEOF];
        (code != 0).then_some(code)
    }

    /// Its foreground process group; `None`: there is none.
    pub fn foreground(&self) -> Option<Pid> {
        tcgetpgrp(&self.0).ok()
    }
}

/// The terminals of all commands that run, for announcements to all of them.
#[derive(Debug, Default)]
pub struct Terminals(Mutex<Vec<Weak<Terminal>>>);

impl Terminals {
    pub(super) fn add(&self, terminal: &Arc<Terminal>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|terminal| terminal.strong_count() > 0);
        all.push(Arc::downgrade(terminal));
    }

    /// Tells all of them that the server stops after `grace`.
    pub fn announce_stop(&self, grace: Duration) {
        let all: Vec<_> =
            self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect();
        for terminal in all {
            let text = format!("\r\n*** the server is being stopped; this terminal is cut in {grace:?} ***\r\n");
            if let Err(error) = terminal.tell(&text) {
                tracing::debug!(%error, "a terminal could not be told that the server stops");
            }
        }
    }
}

fn into_io(error: pty_process::Error) -> io::Error {
    match error {
        pty_process::Error::Io(error) => error,
        pty_process::Error::Rustix(errno) => errno.into(),
    }
}
