//! The end of a command, for all who may cause it: its client, its deadline, a connection that is lost. Until its
//! leader was waited for, its number is its own; afterwards nothing is signalled any more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Signal;

use super::descendants::Descendants;

/// With these one ends a command.
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
    /// `None`: it is over.
    tree: Option<Arc<Descendants>>,
    is_ending: bool,
    was_signalled: bool,
}

impl Ending {
    /// For all that a command has started. Once `is_hurried` is set, whatever time its client has asked for is over
    /// soon.
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

    /// Whether its client has sent a signal with which one ends a command.
    pub fn was_signalled(&self) -> bool {
        self.lock().was_signalled
    }

    /// Whether somebody is ending it.
    pub fn is_ending(&self) -> bool {
        self.lock().is_ending
    }

    /// Ends all of it, if it is not over: asks, and kills after `grace`. Returns when it is gone, whoever ended it.
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

    /// Lets nobody wait for it much longer: the server ends it, and not the one whose wish its grace was. Whether
    /// that is new.
    pub fn hurry(&self) -> bool {
        !self.is_hurried.swap(true, Ordering::AcqRel)
    }

    /// Its leader has exited and will be waited for: it is over, once nobody is ending what is left of it.
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
