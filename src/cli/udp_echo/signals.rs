//! Ctrl-C and SIGTERM, in two ways: a command with a summary is told to stop, any other leaves at once, and tidily.
#![expect(clippy::exit, reason = "a person who waits at a prompt and presses Ctrl-C wants to leave now")]

use std::fs;
use std::path::PathBuf;
use std::process;
use std::thread;

use anyhow::{Context as _, Result};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};

use crate::udp::Stop;

/// A stop that Ctrl-C and SIGTERM trigger; the second of them ends the process where it stands.
pub(super) fn stop_on_signals() -> Result<Stop> {
    let stop = Stop::new().context("cannot wait for signals")?;
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 128 + signal, stop.flag())
            .and_then(|_id| flag::register(signal, stop.flag()))
            .and_then(|_id| low_level::pipe::register(signal, stop.waker()?))
            .context("cannot wait for signals")?;
    }
    Ok(stop)
}

/// Leaves on Ctrl-C, SIGTERM or a closed terminal: gives the terminal back as it was, removes our own
/// socket's file, and exits with 128 and the signal's number.
pub(super) fn leave_on_signals(socket_file: Option<PathBuf>) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot wait for signals")?;
    let terminal = tcgetattr(rustix::stdio::stdin()).ok();
    let leave = move || {
        let Some(signal) = signals.forever().next() else { return };
        if let Some(terminal) = terminal {
            // A terminal that is gone needs nothing back.
            tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &terminal).unwrap_or_default();
        }
        if let Some(path) = socket_file {
            drop(fs::remove_file(path));
        }
        process::exit(128 + signal);
    };
    thread::Builder::new().name("signals".into()).spawn(leave).context("cannot wait for signals")?;
    Ok(())
}
