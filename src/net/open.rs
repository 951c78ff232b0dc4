//! The connections that are open, so that a stop can end them: those between two exchanges at once, those in
//! the middle of one when it is over or when the grace is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::stream::Control;

/// All open connections of one server.
#[derive(Debug, Default)]
pub struct OpenConnections {
    stopping: AtomicBool,
    next_id: AtomicU64,
    connections: Mutex<HashMap<u64, Entry>>,
    one_left: Condvar,
}

#[derive(Debug)]
struct Entry {
    control: Control,
    in_exchange: Arc<AtomicBool>,
    is_cut: Arc<AtomicBool>,
}

impl Entry {
    /// What is woken by the stop itself sees the flag.
    fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        self.control.stop();
    }
}

impl OpenConnections {
    /// Registers a connection for as long as the returned value lives.
    pub fn register(self: &Arc<Self>, control: &Control) -> OpenConnection {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed) + 1;
        let in_exchange = Arc::new(AtomicBool::new(false));
        let is_cut = Arc::new(AtomicBool::new(false));
        let (in_exchange_too, is_cut_too) = (Arc::clone(&in_exchange), Arc::clone(&is_cut));
        let entry = Entry { control: control.clone(), in_exchange: in_exchange_too, is_cut: is_cut_too };
        self.lock().insert(id, entry);
        // A stop that came before this connection was in the list did not see it.
        if self.stopping() {
            control.stop_reading();
        }
        OpenConnection { id, connections: Arc::clone(self), in_exchange, is_cut }
    }

    /// Whether a stop has begun.
    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Connections open now.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether no connection is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Begins a stop: wakes the connections that wait for a request. One in the middle of an exchange is left
    /// alone (it would cut an upload) and sees the flag when the exchange is over.
    pub fn begin_stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        for entry in self.lock().values() {
            if !entry.in_exchange.load(Ordering::SeqCst) {
                entry.control.stop_reading();
            }
        }
    }

    /// Ends every connection that is still open, whatever it is doing.
    pub fn stop_now(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.lock().values().for_each(Entry::cut);
    }

    /// Ends these connections, whatever they are doing.
    pub fn cut(&self, ids: &[u64]) {
        let connections = self.lock();
        ids.iter().filter_map(|id| connections.get(id)).for_each(Entry::cut);
    }

    /// Waits until no connection is open, for at most `wait`; returns how many are left.
    pub fn wait_until_none(&self, wait: Duration) -> usize {
        let deadline = Instant::now() + wait;
        let mut connections = self.lock();
        while !connections.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            (connections, _) = self.one_left.wait_timeout(connections, left).unwrap_or_else(PoisonError::into_inner);
        }
        connections.len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Entry>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One open connection's entry; dropping it takes the connection off the list.
#[derive(Debug)]
pub struct OpenConnection {
    id: u64,
    connections: Arc<OpenConnections>,
    in_exchange: Arc<AtomicBool>,
    is_cut: Arc<AtomicBool>,
}

impl OpenConnection {
    /// The connection's number in the log.
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Says whether the connection is in an exchange; returns whether the server is stopping. The flag is set
    /// before the question is asked, as the stop sets its flag before it looks at ours.
    pub fn set_in_exchange(&self, in_exchange: bool) -> bool {
        self.in_exchange.store(in_exchange, Ordering::SeqCst);
        self.connections.stopping()
    }

    /// Whether the server is stopping.
    pub fn stopping(&self) -> bool {
        self.connections.stopping()
    }

    /// Set once the server has cut the connection: what runs for it gets no more time than the server gives it.
    pub const fn is_cut(&self) -> &Arc<AtomicBool> {
        &self.is_cut
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.connections.lock().remove(&self.id);
        self.connections.one_left.notify_all();
    }
}
