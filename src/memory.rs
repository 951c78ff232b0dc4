//! The memory that requests hold: counted as it grows, and released when they end.
//!
//! A small request can need much memory: patterns are compiled, a packed listing becomes a list of names, an answer
//! that the client does not read stays here. So memory that grows with a request is taken out of a [`Budget`] first.
//! The requests of one peer share a [`Pool`], and all guests share one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use memmap2::MmapMut;

use crate::error::{ErrorCode, Refusal};

/// Memory that one request of a guest may hold, in bytes.
pub const GUEST_REQUEST_MEMORY_MAX: usize = 64 * 1024 * 1024;
/// Memory that the requests of all guests may hold together, in bytes.
pub const GUESTS_MEMORY_MAX: usize = 256 * 1024 * 1024;
/// Memory that the requests of one known peer may hold together, in bytes.
pub const PEER_MEMORY_MAX: usize = 512 * 1024 * 1024;
/// Memory that the requests of the own user may hold together, and one run of a client, in bytes.
pub const OWN_MEMORY_MAX: usize = 4 * 1024 * 1024 * 1024;
/// Directory entries that one request of a guest may read to expand its patterns: about a second of work.
pub const GUEST_LOOKS_MAX: u64 = 2_000_000;
/// The same for one request of a known peer or the own user.
pub const LOOKS_MAX: u64 = 100_000_000;

/// Memory in bytes from which a request counts as heavy.
const HEAVY_LEN: usize = 4 * 1024 * 1024;
/// Length in bytes of a block that makes the allocator trim its heap: large enough for that, and small enough to come
/// from the heap.
const NUDGE_LEN: usize = 100 * 1024;

/// Bytes that a list takes for each entry besides its content: in the vector and in the allocator.
pub const ENTRY_COST: usize = 64;

/// The memory of one peer's requests, or of all guests'.
#[derive(Debug)]
pub struct Pool {
    request_max: usize,
    max: usize,
    looks_max: u64,
    held: AtomicUsize,
    /// Whether a request was heavy since the last [`settle`](Pool::settle).
    was_heavy: AtomicBool,
}

impl Pool {
    const fn of_guests() -> Self {
        Self::new(GUEST_REQUEST_MEMORY_MAX, GUESTS_MEMORY_MAX, GUEST_LOOKS_MAX)
    }

    const fn of_one(max: usize) -> Self {
        Self::new(max, max, LOOKS_MAX)
    }

    const fn new(request_max: usize, max: usize, looks_max: u64) -> Self {
        Self { request_max, max, looks_max, held: AtomicUsize::new(0), was_heavy: AtomicBool::new(false) }
    }

    /// A budget for one request.
    pub fn budget(self: &Arc<Self>) -> Budget {
        Budget(Arc::new(PoolState { pool: Arc::clone(self), bytes: AtomicUsize::new(0), looks: AtomicU64::new(0) }))
    }

    /// Returns the memory of a heavy request of this thread to the system. The allocator (glibc's) trims its heap only
    /// when a block of 64 KiB or more is freed, and the last freed blocks may have been small.
    pub fn settle(&self) {
        if self.was_heavy.swap(false, Ordering::Relaxed) {
            drop(std::hint::black_box(vec![0_u8; NUDGE_LEN]));
        }
    }

    /// Bytes that its requests hold now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

/// A large buffer, mapped from the system and returned to it when dropped. A block of the allocator (glibc's) stays
/// with the process as long as a small block behind it is used.
#[derive(Debug, Default)]
pub struct Buffer(Option<MmapMut>);

impl Buffer {
    /// A buffer of `len` zeros.
    ///
    /// # Errors
    /// The system has no memory, or no map, left.
    pub fn of(len: usize) -> std::io::Result<Self> {
        Ok(Self(if len == 0 { None } else { Some(MmapMut::map_anon(len)?) }))
    }
}

impl std::ops::Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl std::ops::DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.0.as_deref_mut().unwrap_or_default()
    }
}

/// A request needs more memory, or more work, than it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Over {
    /// It needs more than one request may hold.
    #[error("it takes over {0} bytes of memory; ask for less at once")]
    Request(usize),
    /// Other requests hold it.
    #[error("all requests like this hold {0} bytes of memory already; try again later")]
    Pool(usize),
    /// It has read too many directory entries.
    #[error("it looks at over {0} directory entries; name the directories")]
    Looks(u64),
}

impl Over {
    /// The refusal of a `what` for this reason.
    pub fn refusal(self, what: &str) -> Refusal {
        let code = if matches!(self, Self::Pool(_)) { ErrorCode::Busy } else { ErrorCode::BadRequest };
        Refusal::new(code, format!("{what}: {self}"))
    }
}

/// The memory that one request holds. Its clones count together; all of it is released with the last of them.
#[derive(Debug, Clone)]
pub struct Budget(Arc<PoolState>);

#[derive(Debug)]
struct PoolState {
    pool: Arc<Pool>,
    bytes: AtomicUsize,
    looks: AtomicU64,
}

impl Budget {
    /// The budget of this machine's own user, for one run of a client.
    pub fn own() -> Self {
        Arc::new(Pool::of_one(OWN_MEMORY_MAX)).budget()
    }

    /// Takes `bytes` more.
    ///
    /// # Errors
    /// The request, or all of its kind together, would hold too much. Nothing is taken then.
    pub fn take(&self, bytes: usize) -> Result<(), Over> {
        let PoolState { pool, bytes: held, .. } = &*self.0;
        if add(held, bytes, pool.request_max).map_err(Over::Request)? > HEAVY_LEN {
            pool.was_heavy.store(true, Ordering::Relaxed);
        }
        add(&pool.held, bytes, pool.max).map(drop).map_err(|max| {
            held.fetch_sub(bytes, Ordering::Relaxed);
            Over::Pool(max)
        })
    }

    /// Releases `bytes` that were taken.
    pub fn give_back(&self, bytes: usize) {
        self.0.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.0.pool.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Counts directory entries that were read.
    ///
    /// # Errors
    /// They are too many.
    pub fn look(&self, entries: u64) -> Result<(), Over> {
        let before = self.0.looks.fetch_add(entries, Ordering::Relaxed);
        let max = self.0.pool.looks_max;
        if before.saturating_add(entries) > max { Err(Over::Looks(max)) } else { Ok(()) }
    }
}

/// Bytes of a budget that are released when this is dropped.
#[derive(Debug)]
pub struct Taken {
    budget: Budget,
    bytes: usize,
}

impl Taken {
    /// Nothing taken yet from `budget`.
    pub fn of(budget: &Budget) -> Self {
        Self { budget: budget.clone(), bytes: 0 }
    }

    /// Takes `bytes` more.
    ///
    /// # Errors
    /// As [`Budget::take`].
    pub fn take(&mut self, bytes: usize) -> Result<(), Over> {
        self.budget.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::own()
    }
}

impl Drop for PoolState {
    fn drop(&mut self) {
        self.pool.held.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

/// Adds `bytes` to a count that may not exceed `max`; returns the sum, or `max` as the error.
fn add(count: &AtomicUsize, bytes: usize, max: usize) -> Result<usize, usize> {
    let more = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= max);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map(|before| before + bytes).map_err(|_held| max)
}

/// The pools of a server. `K` tells its known peers apart.
#[derive(Debug)]
pub struct Pools<K> {
    guests: Arc<Pool>,
    own: Arc<Pool>,
    peers: Mutex<HashMap<K, Weak<Pool>>>,
}

impl<K> Default for Pools<K> {
    fn default() -> Self {
        Self {
            guests: Arc::new(Pool::of_guests()),
            own: Arc::new(Pool::of_one(OWN_MEMORY_MAX)),
            peers: Mutex::default(),
        }
    }
}

impl<K: Eq + std::hash::Hash> Pools<K> {
    /// The pool of all guests.
    pub fn guests(&self) -> Arc<Pool> {
        Arc::clone(&self.guests)
    }

    /// The pool of the server's own user.
    pub fn own(&self) -> Arc<Pool> {
        Arc::clone(&self.own)
    }

    /// The pool of a known peer, which lives as long as one of its connections.
    pub fn of(&self, peer: K) -> Arc<Pool> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.retain(|_, pool| pool.strong_count() > 0);
        if let Some(pool) = peers.get(&peer).and_then(Weak::upgrade) {
            return pool;
        }
        let pool = Arc::new(Pool::of_one(PEER_MEMORY_MAX));
        peers.insert(peer, Arc::downgrade(&pool));
        pool
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_and_all_of_its_kind_have_their_limits() {
        let pool = Arc::new(Pool::new(10, 15, 0));
        let (first, second) = (pool.budget(), pool.budget());
        first.take(10).unwrap();
        assert_eq!(first.take(1), Err(Over::Request(10)));
        assert_eq!(second.clone().take(6), Err(Over::Pool(15)));
        second.take(5).unwrap();
        assert_eq!(pool.held(), 15);
        first.give_back(4);
        second.take(4).unwrap();
        assert_eq!(second.take(usize::MAX), Err(Over::Request(10)));
        let clone = second.clone();
        drop(second);
        assert_eq!(pool.held(), 15, "a clone holds it still");
        drop((first, clone));
        assert_eq!(pool.held(), 0);
    }

    #[test]
    fn what_was_taken_goes_back_with_what_it_was_taken_for() {
        let pool = Arc::new(Pool::new(10, 15, 0));
        let budget = pool.budget();
        let mut taken = Taken::of(&budget);
        taken.take(4).unwrap();
        taken.take(5).unwrap();
        assert_eq!((taken.take(2), pool.held()), (Err(Over::Request(10)), 9));
        drop(taken);
        assert_eq!(pool.held(), 0);
    }

    #[test]
    fn what_is_looked_at_is_counted() {
        let budget = Budget::own();
        budget.look(LOOKS_MAX).unwrap();
        assert_eq!(budget.look(1), Err(Over::Looks(LOOKS_MAX)));
    }

    #[test]
    fn a_peers_connections_share_a_pool_and_others_do_not() {
        let pools = Pools::default();
        let (laptop, other) = (pools.of("laptop"), pools.of("desk"));
        let held = laptop.budget();
        held.take(7).unwrap();
        assert_eq!((pools.of("laptop").held(), other.held(), pools.guests().held(), pools.own().held()), (7, 0, 0, 0));
        drop((laptop, held));
        assert_eq!(pools.of("laptop").held(), 0);
    }
}
