//! Signals of this machine, passed on to a remote command.

use std::thread::{self, JoinHandle};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::line::LineSender;
use crate::net::stream::Control;
use crate::wire::Message;

/// Passes Ctrl-C and its like to the remote command while it lives; a second Ctrl-C ends the line,
/// and with it the command.
#[derive(Debug)]
pub struct Forwarding {
    handle: Handle,
    thread: Option<JoinHandle<bool>>,
}

impl Forwarding {
    /// Begins to pass signals on.
    ///
    /// # Errors
    /// The handlers could not be installed.
    pub fn start(sender: LineSender, control: Control) -> std::io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT])?;
        let handle = signals.handle();
        let thread = thread::Builder::new().name("signals".into()).spawn(move || {
            let mut interrupts = 0;
            for signal in signals.forever() {
                interrupts += u32::from(signal == SIGINT);
                if interrupts > 1 {
                    control.stop();
                    continue;
                }
                let name = crate::exec::process::signal_name(signal);
                if sender.send(&Message::Signal { signal: name.into() }, &[]).is_err() {
                    break;
                }
            }
            interrupts > 1
        })?;
        Ok(Self { handle, thread: Some(thread) })
    }

    /// Ends it; returns whether the line was ended by a second Ctrl-C.
    pub fn stop(mut self) -> bool {
        self.handle.close();
        self.thread.take().is_some_and(|thread| thread.join().unwrap_or(false))
    }
}

/// Ends a transfer on Ctrl-C and its like by ending its line: the part that has come is then removed
/// on the way out, as after any lost line.
#[derive(Debug)]
pub struct Interruption {
    handle: Handle,
    thread: Option<JoinHandle<bool>>,
}

impl Interruption {
    /// Begins to watch for signals; the first one ends the line.
    ///
    /// # Errors
    /// The handlers could not be installed.
    pub fn watch(control: Control) -> std::io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let handle = signals.handle();
        let thread = thread::Builder::new().name("signals".into()).spawn(move || {
            let is_interrupted = signals.forever().next().is_some();
            if is_interrupted {
                control.stop();
            }
            is_interrupted
        })?;
        Ok(Self { handle, thread: Some(thread) })
    }

    /// Ends it; returns whether a signal came.
    pub fn stop(mut self) -> bool {
        self.handle.close();
        self.thread.take().is_some_and(|thread| thread.join().unwrap_or(false))
    }
}
