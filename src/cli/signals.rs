//! Signals of this machine: whoever is busy claims them, and unclaimed they do what they always do.
//!
//! Once a handler is installed the default action does not come back by itself; so there is one
//! watcher for the life of the program, and it ends the program where nobody has a claim.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGWINCH};
use signal_hook::iterator::Signals;
use signal_hook::low_level::{emulate_default_handler, raise};

use crate::line::LineSender;
use crate::net::stream::{Control, WeakControl};
use crate::wire::Message;

type Act = Box<dyn FnMut(i32) + Send>;

/// What the one who has the claim does with a signal.
static CLAIM: Mutex<Option<Act>> = Mutex::new(None);

fn claim() -> MutexGuard<'static, Option<Act>> {
    CLAIM.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Signals go to its owner until it is dropped.
#[derive(Debug)]
struct Claim;

impl Claim {
    fn take(act: Act) -> std::io::Result<Self> {
        static WATCHER: OnceLock<()> = OnceLock::new();
        if WATCHER.get().is_none() {
            let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGWINCH])?;
            thread::Builder::new().name("signals".into()).spawn(move || {
                for signal in signals.forever() {
                    if let Some(act) = &mut *claim() {
                        act(signal);
                    } else if let Err(error) = emulate_default_handler(signal) {
                        tracing::error!(%error, signal, "a signal could not do what it does");
                    }
                }
            })?;
            WATCHER.get_or_init(|| ());
        }
        *claim() = Some(act);
        Ok(Self)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        *claim() = None;
    }
}

/// Passes Ctrl-C and its like to the remote command while it lives; a second Ctrl-C ends the line,
/// and with it the command.
#[derive(Debug)]
pub struct Forwarding {
    _claim: Claim,
    is_ended: Arc<AtomicBool>,
}

impl Forwarding {
    /// Begins to say `message` for each signal, if it says any.
    ///
    /// # Errors
    /// The handlers could not be installed.
    pub fn start(
        sender: LineSender,
        control: Control,
        message: &'static (dyn Fn(i32) -> Option<Message<'static>> + Sync),
    ) -> std::io::Result<Self> {
        let is_ended = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&is_ended);
        let mut interrupts = 0;
        let claim = Claim::take(Box::new(move |signal| {
            interrupts += u32::from(signal == SIGINT);
            if interrupts > 1 {
                ended.store(true, Ordering::Release);
                control.stop();
                return;
            }
            let Some(message) = message(signal) else { return };
            let sender = sender.clone();
            // On a thread of its own: a line that takes nothing must not keep the second Ctrl-C waiting.
            let sending = thread::Builder::new().spawn(move || sender.send(&message, &[]));
            drop(sending);
        }))?;
        Ok(Self { _claim: claim, is_ended })
    }

    /// Ends it; returns whether the line was ended by a second Ctrl-C.
    pub fn stop(self) -> bool {
        self.is_ended.load(Ordering::Acquire)
    }
}

/// Stops this program, as Ctrl-Z would; returns when it goes on. The signal is the calling thread's own, which stops before
/// this returns: one sent to the process is taken by another thread, while this one has long gone on.
///
/// # Errors
/// The system refused.
pub fn suspend() -> std::io::Result<()> {
    raise(SIGTSTP)
}

/// The signal that says that the terminal has another size.
pub const WINCH: i32 = SIGWINCH;

/// The remote command gets the same signal.
pub fn to_command(signal: i32) -> Option<Message<'static>> {
    Some(Message::Signal { signal: crate::exec::process::signal_name(signal).into() })
}

/// Whoever only looks at a command leaves it.
pub fn to_leave(signal: i32) -> Option<Message<'static>> {
    (signal != SIGWINCH && signal != SIGUSR1).then_some(Message::End { total: None })
}

/// Ends a run on Ctrl-C and its like by ending its lines: what has come is then kept for the next attempt, as
/// after any lost line. The signal USR1 only asks how far it is.
#[derive(Debug)]
pub struct Interruption {
    _claim: Claim,
    is_interrupted: Arc<AtomicBool>,
    /// Weak: a run that connects again and again has lost most of them, and a socket is closed by its last owner.
    lines: Arc<Mutex<Vec<WeakControl>>>,
}

impl Interruption {
    /// Begins to watch for signals, of which the first ends all lines that were [`add`](Self::add)ed and the second the
    /// program, should it be stuck elsewhere.
    ///
    /// # Errors
    /// The handlers could not be installed.
    pub fn watch() -> std::io::Result<Self> {
        let is_interrupted = Arc::new(AtomicBool::new(false));
        let lines: Arc<Mutex<Vec<WeakControl>>> = Arc::default();
        let (interrupted, to_end) = (Arc::clone(&is_interrupted), Arc::clone(&lines));
        let claim = Claim::take(Box::new(move |signal| {
            match signal {
                SIGUSR1 => return super::progress::ask(),
                SIGWINCH => return,
                _ => {}
            }
            if interrupted.swap(true, Ordering::AcqRel)
                && let Err(error) = emulate_default_handler(signal)
            {
                tracing::error!(%error, signal, "a signal could not do what it does");
            }
            let lines = to_end.lock().unwrap_or_else(PoisonError::into_inner);
            lines.iter().filter_map(WeakControl::upgrade).for_each(|line| line.stop());
        }))?;
        Ok(Self { _claim: claim, is_interrupted, lines })
    }

    /// This line is ended too.
    pub fn add(&self, line: &Control) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.retain(|line| line.upgrade().is_some());
        lines.push(line.weak());
        drop(lines);
        if self.has_come() {
            line.stop();
        }
    }

    /// Ends all lines as a signal would: what they carry is for nobody any more.
    pub fn end(&self) {
        self.is_interrupted.store(true, Ordering::Release);
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter_map(WeakControl::upgrade).for_each(|line| line.stop());
    }

    /// Whether a signal has come, or the run was [`end`](Self::end)ed.
    pub fn has_come(&self) -> bool {
        self.is_interrupted.load(Ordering::Acquire)
    }

    /// Begins to watch for signals, of which the first is only noted, for [`check`](Self::check), and
    /// the second ends the line: for a line that is to be used again.
    ///
    /// # Errors
    /// The handlers could not be installed.
    pub fn ask_first(control: Control) -> std::io::Result<Self> {
        let is_interrupted = Arc::new(AtomicBool::new(false));
        let interrupted = Arc::clone(&is_interrupted);
        let claim = Claim::take(Box::new(move |signal| {
            match signal {
                SIGUSR1 => return super::progress::ask(),
                SIGWINCH => return,
                _ => {}
            }
            if interrupted.swap(true, Ordering::AcqRel) {
                control.stop();
            }
        }))?;
        Ok(Self { _claim: claim, is_interrupted, lines: Arc::default() })
    }

    /// An error once a signal has come.
    ///
    /// # Errors
    /// A signal has come.
    pub fn check(&self) -> crate::wire::Result<()> {
        if self.has_come() {
            return Err(crate::wire::Error::ours("interrupted")(std::io::Error::other("nothing half is left behind")));
        }
        Ok(())
    }
}
