//! Signals of this machine: code that is busy claims them; unclaimed they have their default action.
//!
//! Once a handler is installed the default action does not come back by itself; so there is one
//! watcher for the life of the program, and it ends the program where there is no claim.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{FORBIDDEN, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGWINCH};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use signal_hook::low_level::{emulate_default_handler, raise};

use crate::connection::ConnectionSender;
use crate::net::stream::{Control, WeakControl};
use crate::wire::Message;

type Act = Box<dyn FnMut(i32) + Send>;

/// What the one who has the claim does with a signal.
static CLAIM: Mutex<Option<Act>> = Mutex::new(None);

fn claim() -> MutexGuard<'static, Option<Act>> {
    CLAIM.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The signals that this process was started with ignored, but for PIPE, which every Rust program ignores. Asked for
/// the first time before any handler is installed.
pub fn ignored() -> &'static [i32] {
    static IGNORED: OnceLock<Vec<i32>> = OnceLock::new();
    IGNORED.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        ignored_in(mask.unwrap_or_default())
    })
}

/// The C library's own (`nptl(7)`), which it ignores in whatever it starts.
const LIBRARYS: [i32; 2] = [32, 33];

/// The numbers in a mask of `proc_pid_status(5)`.
fn ignored_in(mask: &str) -> Vec<i32> {
    let mask = u64::from_str_radix(mask.trim(), 16).unwrap_or(0);
    let is_wanted = |number: &i32| *number != SIGPIPE && !LIBRARYS.contains(number);
    (1..=64).filter(|number| mask >> (number - 1) & 1 == 1).filter(is_wanted).collect()
}

/// Takes back what this process was started with blocked or ignored, before it starts another thread. Both stay so in
/// every program that is started, and with CHLD ignored no end of a command can be waited for. One that is handled,
/// if only by nothing, is reset when a program is executed (`signal(7)`); so is every other one that we handle.
pub fn take_back_ignored() {
    // What was blocked would be in each command too, and a server with TERM blocked could not be stopped.
    if let Err(error) = nix::sys::signal::SigSet::empty().thread_set_mask() {
        tracing::warn!(%error, "signals that were blocked at the start stay blocked in all commands");
    }
    for signal in ignored().iter().filter(|signal| !FORBIDDEN.contains(signal)) {
        let flag: Arc<AtomicBool> = Arc::default();
        if let Err(error) = flag::register(*signal, flag) {
            tracing::warn!(%error, signal, "a signal that was ignored at the start stays ignored in all commands");
        }
    }
}

/// Signals go to its owner until it is dropped.
#[derive(Debug)]
struct Claim;

impl Claim {
    fn take(act: Act) -> std::io::Result<Self> {
        static WATCHER: OnceLock<()> = OnceLock::new();
        if WATCHER.get().is_none() {
            // One that was ignored when we were started is not for us: a script's background, nohup(1).
            let wanted = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGWINCH];
            let mut signals = Signals::new(wanted.iter().filter(|signal| !ignored().contains(signal)))?;
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

/// Passes Ctrl-C and its like to the remote command while it lives. A command may not care, and a server may be
/// silent: a second Ctrl-C ends the connection, and with it the command; so does a second TERM or HUP, or the first
/// one after a while.
#[derive(Debug)]
pub struct Forwarding {
    _claim: Claim,
    call: Arc<ForwardedCall>,
}

/// What the signals of one call have come to.
#[derive(Debug)]
struct ForwardedCall {
    state: Mutex<CallState>,
    changed: Condvar,
    control: Control,
}

#[derive(Debug, Default)]
struct CallState {
    /// Ctrl-C, and its sister that leaves a core.
    interrupts: u32,
    /// TERM and HUP: their sender wants this program to end.
    ends: u32,
    /// Signals that are on their way to the server.
    sending: u32,
    is_over: bool,
    ended_by: Option<i32>,
}

/// How long the connection is kept for a signal that is on its way when the next one ends it: the server would take
/// the end without it for a lost connection, and let live what the command has left behind.
const SENDING_TIME_MAX: Duration = Duration::from_millis(250);

impl ForwardedCall {
    fn state(&self) -> MutexGuard<'_, CallState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the connection, if the call still needs it.
    fn end(&self, signal: i32) {
        let waited = self.changed.wait_timeout_while(self.state(), SENDING_TIME_MAX, |state| state.sending > 0);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        if !state.is_over {
            state.ended_by.get_or_insert(signal);
            drop(state);
            self.control.stop();
        }
    }

    /// Ends it if it is not over after this time.
    fn end_after(&self, wait: Duration, signal: i32) {
        let waited = self.changed.wait_timeout_while(self.state(), wait, |state| !state.is_over);
        let is_over = waited.unwrap_or_else(PoisonError::into_inner).0.is_over;
        if !is_over {
            self.end(signal);
        }
    }
}

impl Forwarding {
    /// Begins to send `message` for each signal, if it makes one of it. A call that has been told to end has
    /// `kill_after` to do so.
    ///
    /// # Errors
    /// The handlers could not be installed.
    pub fn start(
        sender: ConnectionSender,
        control: Control,
        kill_after: Duration,
        message: &'static (dyn Fn(i32) -> Option<Message<'static>> + Sync),
    ) -> std::io::Result<Self> {
        let (state, changed) = (Mutex::default(), Condvar::new());
        let call = Arc::new(ForwardedCall { state, changed, control });
        let forwarded = Arc::clone(&call);
        let claim = Claim::take(Box::new(move |signal| forward(&forwarded, &sender, signal, kill_after, message)))?;
        Ok(Self { _claim: claim, call })
    }

    /// Ends it; the signal that has ended the connection, if one has.
    pub fn stop(self) -> Option<i32> {
        let mut state = self.call.state();
        state.is_over = true;
        self.call.changed.notify_all();
        state.ended_by
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.call.state().is_over = true;
        self.call.changed.notify_all();
    }
}

/// Whether a person sent this from the keyboard, to end a command and not this program.
pub const fn is_interrupt(signal: i32) -> bool {
    matches!(signal, SIGINT | SIGQUIT)
}

fn forward(
    call: &Arc<ForwardedCall>,
    sender: &ConnectionSender,
    signal: i32,
    kill_after: Duration,
    message: &'static (dyn Fn(i32) -> Option<Message<'static>> + Sync),
) {
    let (is_interrupt, is_end) = (is_interrupt(signal), matches!(signal, SIGTERM | SIGHUP));
    let (is_second, is_first_end) = {
        let mut state = call.state();
        let is_second = (is_interrupt && state.interrupts + state.ends > 0) || (is_end && state.ends > 0);
        state.interrupts += u32::from(is_interrupt);
        state.ends += u32::from(is_end);
        (is_second, is_end && state.ends == 1)
    };
    if is_second {
        return call.end(signal);
    }
    let in_time = is_first_end.then(|| {
        let call = Arc::clone(call);
        thread::Builder::new().name("kill after".into()).spawn(move || call.end_after(kill_after, signal))
    });
    if matches!(in_time, Some(Err(_))) {
        // There is no thread to wait for the time.
        return call.end(signal);
    }
    let Some(message) = message(signal) else { return };
    let (sender, call) = (sender.clone(), Arc::clone(call));
    call.state().sending += 1;
    let is_sent = {
        let call = Arc::clone(&call);
        move || {
            call.state().sending -= 1;
            call.changed.notify_all();
        }
    };
    // On a thread of its own: a connection that takes nothing must not keep the next signal waiting.
    let sending = thread::Builder::new().spawn({
        let is_sent = is_sent.clone();
        move || {
            // A connection that takes no signal any more is about to end.
            drop(sender.send(&message, &[]));
            is_sent();
        }
    });
    if sending.is_err() {
        is_sent();
    }
}

/// Stops this program, as Ctrl-Z would; returns when it goes on. The signal is the calling thread's own, which stops
/// before this returns: one sent to the process is taken by another thread, while this one has long gone on.
///
/// # Errors
/// The system refused.
pub fn suspend() -> std::io::Result<()> {
    raise(SIGTSTP)
}

/// The signal of Ctrl-C.
pub const INT: i32 = SIGINT;

/// The signal that says that the terminal has another size.
pub const WINCH: i32 = SIGWINCH;

/// The remote command gets the same signal.
pub fn to_command(signal: i32) -> Option<Message<'static>> {
    Some(Message::Signal { signal: crate::exec::process::signal_name(signal).into() })
}

/// For a program that only watches a command: a signal leaves it running.
pub fn to_leave(signal: i32) -> Option<Message<'static>> {
    (signal != SIGWINCH && signal != SIGUSR1).then_some(Message::End { total: None })
}

/// Ends a run on Ctrl-C and its like by ending its connections: what has come is then kept for the next attempt, as
/// after any lost connection. The signal USR1 only asks how far it is.
#[derive(Debug)]
pub struct Interruption {
    _claim: Claim,
    is_interrupted: Arc<AtomicBool>,
    /// Weak: a run that connects again and again has lost most of them, and a socket is closed by its last owner.
    connections: Arc<Mutex<Vec<WeakControl>>>,
}

impl Interruption {
    /// Begins to watch for signals, of which the first ends all connections that were [`add`](Self::add)ed and the
    /// second the program, should it be stuck elsewhere.
    ///
    /// # Errors
    /// The handlers could not be installed.
    pub fn watch() -> std::io::Result<Self> {
        let is_interrupted = Arc::new(AtomicBool::new(false));
        let connections: Arc<Mutex<Vec<WeakControl>>> = Arc::default();
        let (interrupted, to_end) = (Arc::clone(&is_interrupted), Arc::clone(&connections));
        let claim = Claim::take(Box::new(move |signal| {
            match signal {
                SIGUSR1 => return crate::cli::progress::ask(),
                SIGWINCH => return,
                _ => {}
            }
            if interrupted.swap(true, Ordering::AcqRel)
                && let Err(error) = emulate_default_handler(signal)
            {
                tracing::error!(%error, signal, "a signal could not do what it does");
            }
            let connections = to_end.lock().unwrap_or_else(PoisonError::into_inner);
            connections.iter().filter_map(WeakControl::upgrade).for_each(|connection| connection.stop());
        }))?;
        Ok(Self { _claim: claim, is_interrupted, connections })
    }

    /// This connection is ended too.
    pub fn add(&self, connection: &Control) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|connection| connection.upgrade().is_some());
        connections.push(connection.weak());
        drop(connections);
        if self.has_come() {
            connection.stop();
        }
    }

    /// Ends all connections as a signal would: what they carry is of no use any more.
    pub fn end(&self) {
        self.is_interrupted.store(true, Ordering::Release);
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.iter().filter_map(WeakControl::upgrade).for_each(|connection| connection.stop());
    }

    /// Whether a signal has come, or the run was [`end`](Self::end)ed.
    pub fn has_come(&self) -> bool {
        self.is_interrupted.load(Ordering::Acquire)
    }

    /// Begins to watch for signals, of which the first is only noted, for [`check`](Self::check), and
    /// the second ends the connection: for a connection that is to be used again.
    ///
    /// # Errors
    /// The handlers could not be installed.
    pub fn ask_first(control: Control) -> std::io::Result<Self> {
        let is_interrupted = Arc::new(AtomicBool::new(false));
        let interrupted = Arc::clone(&is_interrupted);
        let claim = Claim::take(Box::new(move |signal| {
            match signal {
                SIGUSR1 => return crate::cli::progress::ask(),
                SIGWINCH => return,
                _ => {}
            }
            if interrupted.swap(true, Ordering::AcqRel) {
                control.stop();
            }
        }))?;
        Ok(Self { _claim: claim, is_interrupted, connections: Arc::default() })
    }

    /// An error once a signal has come.
    ///
    /// # Errors
    /// A signal has come.
    pub fn check(&self) -> crate::error::Result<()> {
        if self.has_come() {
            return Err(crate::error::Error::ours("interrupted")(std::io::Error::other("nothing half is left behind")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_says_which_signals_are_ignored() {
        assert!(ignored_in("\t0000000000001000\n").is_empty(), "PIPE");
        assert_eq!(ignored_in("\t0000000000011007\n"), [SIGHUP, SIGINT, SIGQUIT, 17]);
        assert_eq!(ignored_in("8000000180000000"), [64], "two are the C library's");
        assert!(ignored_in("").is_empty());
    }
}
