//! Ending a command, whatever the cause: its client, its timeout, a lost connection. Its leader's process id is safe to
//! signal until the leader is waited for; afterwards nothing is signalled.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Signal;

use super::descendants::Descendants;

/// Signals that are meant to end a command.
const ENDS: [Signal; 5] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::KILL, Signal::TERM];

/// A command that may be ended.
#[derive(Debug)]
pub struct Ending {
    state: Mutex<State>,
    is_hurried: Arc<AtomicBool>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// The processes; `None`: the command is over.
    tree: Option<Arc<Descendants>>,
    is_ending: bool,
    was_signalled: bool,
}

impl Ending {
    /// Ends all that a command has started. Once `is_hurried` is set, the grace that its client asked for is cut short.
    pub fn new(tree: Arc<Descendants>, is_hurried: Arc<AtomicBool>) -> Self {
        Self {
            is_hurried,
            state: Mutex::new(State { tree: Some(tree), is_ending: false, was_signalled: false }),
            changed: Condvar::new(),
        }
    }

    /// Sends its client's signal to its process group, while there is one.
    pub fn signal(&self, signal: Signal) {
        let mut state = self.lock();
        state.was_signalled |= ENDS.contains(&signal);
        if let Some(tree) = &state.tree {
            tree.signal_group(signal);
        }
    }

    /// Whether its client has sent a signal that is meant to end a command.
    pub fn was_signalled(&self) -> bool {
        self.lock().was_signalled
    }

    /// Whether it is being ended.
    pub fn is_ending(&self) -> bool {
        self.lock().is_ending
    }

    /// Ends all of it, if it still runs: sends SIGTERM, and SIGKILL after `grace`. Returns when it is gone, also if
    /// another thread has ended it.
    pub fn end(&self, grace: Duration) {
        let mut state = self.lock();
        if state.is_ending {
            drop(self.wait(state));
            return;
        }
        let Some(tree) = state.tree.clone() else { return };
        state.is_ending = true;
        drop(state);
        tree.end(grace, &self.is_hurried);
        self.lock().is_ending = false;
        self.changed.notify_all();
    }

    /// Cuts the client's grace short: the server ends the command. Returns `false` if this was called before.
    pub fn hurry(&self) -> bool {
        !self.is_hurried.swap(true, Ordering::AcqRel)
    }

    /// Called when its leader has exited and is about to be waited for: waits until no thread is ending what is left,
    /// and marks it as over.
    pub fn close(&self) {
        self.wait(self.lock()).tree = None;
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        self.changed.wait_while(state, |state| state.is_ending).unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
