//! Caps: how many connections, how many from one place, how many threads.
//!
//! `vm.max_map_count` is what ends a process of many threads, and not cleanly: a thread that starts
//! but finds no map for its signal stack aborts the whole process. So threads are counted here,
//! below that limit, and refused beyond.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::stream::Origin;

/// Maps that the process needs for other things than threads.
const MAPS_RESERVED: usize = 5_000;
/// Maps a thread takes: stack, guard page, signal stack and its guard.
const MAPS_PER_THREAD: usize = 4;
/// What Linux sets by default, where /proc cannot be read.
const MAX_MAP_COUNT_DEFAULT: usize = 65_530;
/// Threads kept back from connections, for the commands that they run.
const THREADS_RESERVED: usize = 1_024;
/// Descriptors kept back from connections, for files, pipes and listeners; half of them where there
/// are not even twice as many.
const DESCRIPTORS_RESERVED: usize = 256;

/// The caps of one server.
#[derive(Debug, Clone, Copy)]
pub struct Caps {
    /// Connections open at the same time.
    pub connections: usize,
    /// Connections from one address (IPv6: one /64 network) at the same time.
    pub per_address: usize,
    /// Threads of all kinds.
    pub threads: usize,
}

impl Caps {
    /// What this machine bears: threads from `vm.max_map_count`, connections from the threads and
    /// from the number of descriptors this process may open.
    pub fn of_this_machine(per_address: usize) -> Self {
        let maps = std::fs::read_to_string("/proc/sys/vm/max_map_count")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(MAX_MAP_COUNT_DEFAULT);
        let threads = maps.saturating_sub(MAPS_RESERVED) / MAPS_PER_THREAD;
        let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile)
            .current
            .and_then(|limit| usize::try_from(limit).ok())
            .unwrap_or(usize::MAX);
        let reserved = DESCRIPTORS_RESERVED.min(descriptors / 2);
        let connections = threads.saturating_sub(THREADS_RESERVED).min(descriptors - reserved).max(1);
        Self { connections, per_address, threads }
    }
}

/// Raises the soft limit on open descriptors to the hard one; a server needs one a connection.
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
        if let Err(error) = raised {
            tracing::warn!(%error, "the limit on open descriptors could not be raised");
        }
    }
}

/// Counts who is inside.
#[derive(Debug)]
pub struct Gate {
    caps: Caps,
    threads: AtomicUsize,
    inside: Mutex<HashMap<Origin, usize>>,
    connections: AtomicUsize,
}

/// Why somebody has to stay outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// All places are taken.
    #[error("the server has {0} connections, which is its limit (--max-connections); try again later")]
    Connections(usize),
    /// This address has its share.
    #[error("your address has {0} connections here, which is the limit for one address (--max-per-address)")]
    PerAddress(usize),
    /// No thread is left.
    #[error("the server runs {0} threads, which is its limit; try again later")]
    Threads(usize),
}

impl Gate {
    /// A gate with these caps, and nobody inside.
    pub fn new(caps: Caps) -> Arc<Self> {
        Arc::new(Self {
            caps,
            threads: AtomicUsize::new(0),
            inside: Mutex::new(HashMap::new()),
            connections: AtomicUsize::new(0),
        })
    }

    /// Connections now open.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Lets one connection in, with one thread.
    ///
    /// # Errors
    /// Which cap it would break.
    pub fn enter(self: &Arc<Self>, origin: Origin) -> Result<Place, Full> {
        let threads = self.take_threads(1)?;
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let total = self.connections.load(Ordering::Relaxed);
        if total >= self.caps.connections {
            return Err(Full::Connections(total));
        }
        let count = inside.entry(origin).or_insert(0);
        if *count >= self.caps.per_address {
            return Err(Full::PerAddress(*count));
        }
        *count += 1;
        self.connections.store(total + 1, Ordering::Relaxed);
        Ok(Place { origin, threads })
    }

    /// Takes `count` threads from the budget until the permit is dropped.
    ///
    /// # Errors
    /// There are not so many left.
    pub fn take_threads(self: &Arc<Self>, count: usize) -> Result<Threads, Full> {
        let before = self.threads.fetch_add(count, Ordering::Relaxed);
        let permit = Threads { gate: Arc::clone(self), count };
        if before + count > self.caps.threads { Err(Full::Threads(before)) } else { Ok(permit) }
    }
}

/// Some threads of the budget; dropping it gives them back.
#[derive(Debug)]
pub struct Threads {
    gate: Arc<Gate>,
    count: usize,
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.gate.threads.fetch_sub(self.count, Ordering::Relaxed);
    }
}

/// A connection's place inside, its thread included; dropping it makes room for the next.
#[derive(Debug)]
pub struct Place {
    origin: Origin,
    threads: Threads,
}

impl Drop for Place {
    fn drop(&mut self) {
        let gate = &self.threads.gate;
        let mut inside = gate.inside.lock().unwrap_or_else(PoisonError::into_inner);
        gate.connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(count) = inside.get_mut(&self.origin) {
            *count -= 1;
            if *count == 0 {
                inside.remove(&self.origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cap_holds_and_leaving_makes_room() {
        let gate = Gate::new(Caps { connections: 3, per_address: 2, threads: 4 });
        let here = Origin::Local;
        let there = Origin::Network([192, 0, 2, 1].into());
        let first = gate.enter(here).unwrap();
        let _second = gate.enter(here).unwrap();
        assert_eq!(gate.enter(here).unwrap_err(), Full::PerAddress(2));
        let _third = gate.enter(there).unwrap();
        assert_eq!(gate.enter(there).unwrap_err(), Full::Connections(3));
        drop(first);
        let _fourth = gate.enter(there).unwrap();
        let command = gate.take_threads(1).unwrap();
        assert_eq!(gate.take_threads(1).unwrap_err(), Full::Threads(4));
        drop(command);
        assert!(gate.take_threads(1).is_ok());
        assert_eq!(gate.connections(), 3);
    }
}
