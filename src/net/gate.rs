//! Caps: how many connections, how many from one place, how many threads.
//!
//! A connection comes in as a newcomer, into a small space of their own where an old one makes
//! way for the next: a client that connects and says nothing keeps no other out. When it has said who it is, it
//! is admitted: guests up to the cap, and a known peer beyond it in the oldest guest's place.
//!
//! `vm.max_map_count` is what ends a process of many threads, and not cleanly: a thread that starts
//! but finds no map for its signal stack aborts the whole process. So threads are counted here,
//! below that limit, and refused beyond.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::budget::LogBudget;
use super::control::Control;
use super::origin::Origin;

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
/// Of the other descriptors, newcomers get at most this part of them, so that those who are in leave room for them
/// and they for those.
const NEWCOMERS_PART: usize = 4;
/// The same for those who are turned away at one listener.
const TURNED_AWAY_PART: usize = 16;
/// Connections turned away at the same time at one listener that are still given their reason; more just close.
const TURNED_AWAY_MAX: usize = 256;
/// Listeners whose turned-away connections are counted on; a third one lives on what is kept back.
const LISTENERS: usize = 2;

/// Connections that have not said who they are; the oldest of the address that has most of them makes way
/// for the next. One that does it properly is through in milliseconds.
pub const NEWCOMERS_MAX: usize = 256;
/// Failures of one address within [`PENALTY_TIME`] after which it is turned away for as long: a failed
/// handshake is one, a wrong pairing code five.
pub const FAILURES_MAX: u32 = 20;
/// How long an address that failed too often is turned away.
pub const PENALTY_TIME: Duration = Duration::from_mins(1);
/// Addresses whose failures are remembered; beyond, the oldest failure is forgotten.
const OFFENDERS_MAX: usize = 4_096;

/// The caps of one server.
#[derive(Debug, Clone, Copy)]
pub struct Caps {
    /// Connections open at the same time.
    pub connections: usize,
    /// Connections from one address (IPv6: one /64 network) at the same time, newcomers apart.
    pub per_address: usize,
    /// Threads of all kinds.
    pub threads: usize,
    /// Connections that have not said who they are.
    pub newcomers: usize,
    /// Connections that are being turned away at one listener.
    pub turned_away: usize,
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
        Self::of(threads, descriptor_limit(), per_address)
    }

    /// What this number of threads and descriptors bears.
    fn of(threads: usize, descriptors: usize, per_address: usize) -> Self {
        let usable = descriptors - DESCRIPTORS_RESERVED.min(descriptors / 2);
        let newcomers = (usable / NEWCOMERS_PART).clamp(1, NEWCOMERS_MAX);
        let turned_away = (usable / TURNED_AWAY_PART).clamp(1, TURNED_AWAY_MAX);
        let connections = usable.saturating_sub(newcomers + LISTENERS * turned_away);
        let connections = threads.saturating_sub(THREADS_RESERVED).min(connections).max(1);
        Self { connections, per_address, threads, newcomers, turned_away }
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

/// Descriptors that this process may have open.
pub fn descriptor_limit() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// Counts who is inside.
#[derive(Debug)]
pub struct Gate {
    caps: Caps,
    threads: AtomicUsize,
    inside: Mutex<Admitted>,
    next_id: AtomicUsize,
    log: LogBudget,
}

/// Who is inside; the numbers go up, so the smallest is the oldest.
#[derive(Debug, Default)]
struct Admitted {
    /// Those who are admitted.
    by_origin: HashMap<Origin, usize>,
    newcomers: BTreeMap<usize, (Origin, Control)>,
    guests: BTreeMap<usize, (Origin, Control)>,
    known: usize,
    offenders: HashMap<Origin, Offender>,
}

/// An address that failed lately.
#[derive(Debug)]
struct Offender {
    failures: u32,
    since: Instant,
}

/// What a connection has proved to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// Nothing yet.
    Newcomer,
    /// No key that is known here.
    Guest,
    /// A known peer's key.
    Known,
}

/// Why a connection has to stay outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TurnedAway {
    /// All places are taken.
    #[error("the server has {0} connections, which is its limit; try again later")]
    Connections(usize),
    /// Its place was given to a newer connection.
    #[error("too many connections came at once, and this one had to make way; try again")]
    MadeWay,
    /// This address has its share.
    #[error("your address has {0} connections here, which is the limit for one address")]
    PerAddress(usize),
    /// This address failed too often.
    #[error("your address failed to come in {failures} times within a minute; it is heard again in {} s", left.as_secs() + 1)]
    Penalty {
        /// Failures.
        failures: u32,
        /// Time left.
        left: Duration,
    },
    /// No thread is left.
    #[error("the server runs {0} threads, which is its limit; try again later")]
    Threads(usize),
}

impl Gate {
    /// A gate with these caps, and no connection inside.
    pub fn new(caps: Caps) -> Arc<Self> {
        Arc::new(Self {
            caps,
            threads: AtomicUsize::new(0),
            inside: Mutex::default(),
            next_id: AtomicUsize::new(0),
            log: LogBudget::default(),
        })
    }

    /// What those who may do nothing here have written to the log.
    pub const fn log_budget(&self) -> &LogBudget {
        &self.log
    }

    /// Connections now open, newcomers included.
    pub fn connections(&self) -> usize {
        let inside = self.inside();
        inside.newcomers.len() + inside.guests.len() + inside.known
    }

    /// Lets one connection in as a newcomer, with one thread. `control` is for ending it when its place
    /// is wanted by another one.
    ///
    /// # Errors
    /// Which cap it would break.
    pub fn enter(self: &Arc<Self>, origin: Origin, control: Control) -> Result<Ticket, TurnedAway> {
        let threads = self.take_threads(1)?;
        let mut inside = self.inside();
        inside.check_penalty(origin)?;
        if inside.newcomers.len() >= self.caps.newcomers {
            inside.end_a_newcomer();
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        inside.newcomers.insert(id, (origin, control));
        Ok(Ticket { id, origin, rank: Rank::Newcomer, threads })
    }

    /// Ends a stranger's connection: no descriptor is left, and what guests have asked for
    /// may hold many. A newcomer's first, then the oldest guest's; `false`: only known peers are here.
    pub fn make_room(&self) -> bool {
        let mut inside = self.inside();
        if !inside.newcomers.is_empty() {
            inside.end_a_newcomer();
            return true;
        }
        let oldest = inside.oldest_guest(None);
        oldest.is_some_and(|guest| {
            inside.evict(guest);
            true
        })
    }

    /// What is borne here.
    pub const fn caps(&self) -> &Caps {
        &self.caps
    }

    /// Counts a failure against an address. This machine's own are not counted: its user would be
    /// locked out by any program that runs here.
    pub fn note_failure(&self, origin: Origin, weight: u32) {
        let Origin::Network(address) = origin else { return };
        // ::1 is counted by its network, which is ::.
        if address.is_loopback() || address.is_unspecified() {
            return;
        }
        let mut inside = self.inside();
        let now = Instant::now();
        if inside.offenders.len() >= OFFENDERS_MAX {
            inside.offenders.retain(|_, offender| now - offender.since < PENALTY_TIME);
        }
        if inside.offenders.len() >= OFFENDERS_MAX
            && let Some(oldest) = inside.offenders.iter().min_by_key(|(_, offender)| offender.since).map(|(o, _)| *o)
        {
            inside.offenders.remove(&oldest);
        }
        let offender = inside.offenders.entry(origin).or_insert(Offender { failures: 0, since: now });
        if now - offender.since >= PENALTY_TIME {
            *offender = Offender { failures: 0, since: now };
        }
        offender.failures = offender.failures.saturating_add(weight);
        if offender.failures >= FAILURES_MAX {
            // From now on, not from the first failure.
            offender.since = now;
        }
    }

    fn inside(&self) -> MutexGuard<'_, Admitted> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `count` threads from the budget until the permit is dropped.
    ///
    /// # Errors
    /// Fewer than that are left.
    pub fn take_threads(self: &Arc<Self>, count: usize) -> Result<Threads, TurnedAway> {
        let before = self.threads.fetch_add(count, Ordering::Relaxed);
        let permit = Threads { gate: Arc::clone(self), count };
        if before + count > self.caps.threads { Err(TurnedAway::Threads(before)) } else { Ok(permit) }
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

impl Admitted {
    /// Ends the oldest newcomer of the address that has most of them: a flood from one place is paid for
    /// there.
    fn end_a_newcomer(&mut self) {
        let mut counts: HashMap<Origin, (usize, usize)> = HashMap::new();
        for (id, (origin, _)) in &self.newcomers {
            counts.entry(*origin).or_insert((0, *id)).0 += 1;
        }
        // Of two that have as many, the one that has waited longer.
        let oldest = counts.into_values().max_by_key(|(count, id)| (*count, std::cmp::Reverse(*id)));
        if let Some((_, control)) = oldest.and_then(|(_, id)| self.newcomers.remove(&id)) {
            control.stop();
        }
    }

    /// The guest who came first, of all or of one address.
    fn oldest_guest(&self, origin: Option<Origin>) -> Option<usize> {
        let mut guests = self.guests.iter();
        guests.find(|(_, (from, _))| origin.is_none_or(|origin| origin == *from)).map(|(id, _)| *id)
    }

    fn evict(&mut self, guest: usize) {
        if let Some((origin, control)) = self.guests.remove(&guest) {
            self.one_less(origin);
            control.stop();
        }
    }

    fn one_less(&mut self, origin: Origin) {
        if let Some(count) = self.by_origin.get_mut(&origin) {
            *count -= 1;
            if *count == 0 {
                self.by_origin.remove(&origin);
            }
        }
    }

    fn check_penalty(&self, origin: Origin) -> Result<(), TurnedAway> {
        let Some(offender) = self.offenders.get(&origin).filter(|offender| offender.failures >= FAILURES_MAX) else {
            return Ok(());
        };
        match PENALTY_TIME.checked_sub(offender.since.elapsed()) {
            Some(left) => Err(TurnedAway::Penalty { failures: offender.failures, left }),
            None => Ok(()),
        }
    }
}

/// A connection's place inside, its thread included; dropping it makes room for the next.
#[derive(Debug)]
pub struct Ticket {
    id: usize,
    origin: Origin,
    rank: Rank,
    threads: Threads,
}

impl Ticket {
    /// Admits a newcomer that has said who it is. A known peer takes the oldest guest's place if there
    /// is no other, be it of all or of its address: strangers behind the same router keep no peer out.
    /// Once admitted, a place stays what it is.
    ///
    /// # Errors
    /// All places are taken, or this one was given to another connection meanwhile.
    pub fn admit(&mut self, rank: Rank) -> Result<(), TurnedAway> {
        if self.rank != Rank::Newcomer || rank == Rank::Newcomer {
            return Ok(());
        }
        let gate = &self.threads.gate;
        let mut inside = gate.inside();
        let total = inside.guests.len() + inside.known;
        // No connection makes way for one that is gone.
        if !inside.newcomers.contains_key(&self.id) {
            return Err(TurnedAway::MadeWay);
        }
        let of_origin = inside.by_origin.get(&self.origin).copied().unwrap_or(0);
        let is_full_for = if of_origin >= gate.caps.per_address {
            Some((Some(self.origin), TurnedAway::PerAddress(of_origin)))
        } else if total >= gate.caps.connections {
            Some((None, TurnedAway::Connections(total)))
        } else {
            None
        };
        // One place is enough for both caps: one that leaves this address's also leaves one of all.
        if let Some((origin, full)) = is_full_for {
            let oldest = (rank == Rank::Known).then(|| inside.oldest_guest(origin)).flatten();
            inside.evict(oldest.ok_or(full)?);
        }
        let (origin, control) = inside.newcomers.remove(&self.id).ok_or(TurnedAway::MadeWay)?;
        *inside.by_origin.entry(origin).or_insert(0) += 1;
        match rank {
            Rank::Known => inside.known += 1,
            Rank::Guest | Rank::Newcomer => drop(inside.guests.insert(self.id, (origin, control))),
        }
        drop(inside);
        self.rank = rank;
        Ok(())
    }

    /// Whether this newcomer's place was given to a newer connection.
    pub fn made_way(&self) -> bool {
        self.rank == Rank::Newcomer && !self.threads.gate.inside().newcomers.contains_key(&self.id)
    }

    /// The gate that it came through.
    pub const fn gate(&self) -> &Arc<Gate> {
        &self.threads.gate
    }

    /// Whom caps and penalties count this connection for.
    pub const fn origin(&self) -> Origin {
        self.origin
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inside = self.threads.gate.inside();
        match self.rank {
            Rank::Known => {
                inside.known -= 1;
                inside.one_less(self.origin);
            }
            // A guest that made way for another is off the list already, and not counted any more.
            Rank::Guest => {
                if inside.guests.remove(&self.id).is_some() {
                    inside.one_less(self.origin);
                }
            }
            Rank::Newcomer => drop(inside.newcomers.remove(&self.id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::stream::Stream;
    use super::*;
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    const CAPS: Caps = caps(2, 1_000, 1_000);

    const fn caps(connections: usize, per_address: usize, threads: usize) -> Caps {
        Caps { connections, per_address, threads, newcomers: NEWCOMERS_MAX, turned_away: TURNED_AWAY_MAX }
    }

    #[test]
    fn newcomers_guests_and_those_turned_away_leave_descriptors_for_the_rest() {
        for descriptors in [64, 256, 1_024, 4_096, 1 << 20] {
            let Caps { connections, newcomers, turned_away, .. } = Caps::of(15_000, descriptors, 1_024);
            let reserved = DESCRIPTORS_RESERVED.min(descriptors / 2);
            assert!(connections + newcomers + LISTENERS * turned_away + reserved <= descriptors, "{descriptors}");
            assert!(connections >= descriptors / 5 || descriptors > 50_000, "{descriptors}: {connections}");
        }
        let Caps { connections, newcomers, .. } = Caps::of(15_000, 1 << 20, 1_024);
        assert_eq!((connections, newcomers), (15_000 - THREADS_RESERVED, NEWCOMERS_MAX));
    }

    #[test]
    fn where_no_descriptor_is_left_strangers_make_room_and_nobody_else() {
        let gate = Gate::new(CAPS);
        let ends: Vec<_> = (0..4).map(|_| control()).collect();
        let mut places: Vec<_> = ends.iter().map(|end| gate.enter(Origin::Local, end.0.clone()).unwrap()).collect();
        places[0].admit(Rank::Known).unwrap();
        places[1].admit(Rank::Guest).unwrap();
        assert!(gate.make_room() && gate.make_room() && gate.make_room());
        assert!(is_ended(&ends[3]) && is_ended(&ends[2]) && is_ended(&ends[1]) && !is_ended(&ends[0]));
        assert!(!gate.make_room(), "who is known stays");
    }

    /// A control, and the end that notices when it is used.
    fn control() -> (Control, UnixStream) {
        let (here, there) = UnixStream::pair().unwrap();
        (Stream::from(here).control(), there)
    }

    fn is_ended((_, there): &(Control, UnixStream)) -> bool {
        there.set_nonblocking(true).unwrap();
        (&mut &*there).read(&mut [0]).is_ok_and(|len| len == 0)
    }

    #[test]
    fn every_cap_holds_and_leaving_makes_room() {
        let gate = Gate::new(caps(3, 2, 5));
        let here = Origin::Local;
        let there = Origin::Network([192, 0, 2, 1].into());
        let enter = |origin, rank| {
            let mut place = gate.enter(origin, control().0)?;
            place.admit(rank).map(|()| place)
        };
        let first = enter(here, Rank::Guest).unwrap();
        let _second = enter(here, Rank::Guest).unwrap();
        assert_eq!(enter(here, Rank::Guest).unwrap_err(), TurnedAway::PerAddress(2));
        let _third = enter(there, Rank::Guest).unwrap();
        assert_eq!(enter(there, Rank::Guest).unwrap_err(), TurnedAway::Connections(3));
        drop(first);
        let _fourth = enter(here, Rank::Guest).unwrap();
        let commands = gate.take_threads(2).unwrap();
        assert_eq!(gate.take_threads(1).unwrap_err(), TurnedAway::Threads(5));
        assert_eq!(enter(there, Rank::Guest).unwrap_err(), TurnedAway::Threads(5));
        drop(commands);
        assert!(gate.take_threads(1).is_ok());
        assert_eq!(gate.connections(), 3);
    }

    #[test]
    fn strangers_of_the_same_address_keep_no_known_peer_out() {
        let gate = Gate::new(caps(4, 2, 100));
        let there = Origin::Network([192, 0, 2, 1].into());
        let ends: Vec<_> = (0..5).map(|_| control()).collect();
        let enter = |end: usize, origin, rank| {
            let mut place = gate.enter(origin, ends[end].0.clone()).unwrap();
            place.admit(rank).map(|()| place)
        };
        let _elsewhere = enter(0, Origin::Local, Rank::Guest).unwrap();
        let _guests = [1, 2].map(|end| enter(end, there, Rank::Guest).unwrap());
        let _known = enter(3, there, Rank::Known).unwrap();
        assert!(is_ended(&ends[1]) && !is_ended(&ends[0]) && !is_ended(&ends[2]));
        let _also_known = enter(4, there, Rank::Known).unwrap();
        assert!(is_ended(&ends[2]));
        assert_eq!(enter(0, there, Rank::Known).unwrap_err(), TurnedAway::PerAddress(2));
    }

    #[test]
    fn the_oldest_newcomer_makes_way_and_nobody_else() {
        let gate = Gate::new(CAPS);
        let ends: Vec<_> = (0..=NEWCOMERS_MAX).map(|_| control()).collect();
        let enter = |end: &(Control, UnixStream)| gate.enter(Origin::Local, end.0.clone()).unwrap();
        let mut places: Vec<Ticket> = ends.iter().take(NEWCOMERS_MAX).map(enter).collect();
        places[0].admit(Rank::Guest).unwrap();
        let one_more = control();
        let _more = enter(&one_more);
        assert!(!ends.iter().any(is_ended), "the admitted one had made room");
        let _last = enter(&ends[NEWCOMERS_MAX]);
        assert!(is_ended(&ends[1]) && !is_ended(&ends[0]) && !is_ended(&ends[2]));
        assert_eq!(places[1].admit(Rank::Guest).unwrap_err(), TurnedAway::MadeWay, "its place is gone");
    }

    #[test]
    fn a_flood_is_paid_for_where_it_comes_from() {
        let gate = Gate::new(CAPS);
        let quiet = Origin::Network([192, 0, 2, 1].into());
        let ends: Vec<_> = (0..=NEWCOMERS_MAX).map(|_| control()).collect();
        let _first = gate.enter(quiet, ends[0].0.clone()).unwrap();
        let _flood: Vec<Ticket> =
            ends.iter().skip(1).map(|end| gate.enter(Origin::Local, end.0.clone()).unwrap()).collect();
        assert!(!is_ended(&ends[0]) && is_ended(&ends[1]) && !is_ended(&ends[2]));
    }

    #[test]
    fn a_known_peer_takes_the_oldest_guests_place() {
        let gate = Gate::new(CAPS);
        let ends: Vec<_> = (0..6).map(|_| control()).collect();
        let mut places: Vec<_> = ends.iter().map(|end| gate.enter(Origin::Local, end.0.clone()).unwrap()).collect();
        places[0].admit(Rank::Guest).unwrap();
        places[1].admit(Rank::Guest).unwrap();
        assert_eq!(places[2].admit(Rank::Guest).unwrap_err(), TurnedAway::Connections(2));
        places[3].admit(Rank::Known).unwrap();
        assert!(is_ended(&ends[0]) && !is_ended(&ends[1]));
        places[4].admit(Rank::Known).unwrap();
        assert_eq!(
            places[5].admit(Rank::Known).unwrap_err(),
            TurnedAway::Connections(2),
            "known peers do not evict each other"
        );
        drop(places);
        assert_eq!(gate.connections(), 0);
    }

    #[test]
    fn who_fails_too_often_waits_but_never_this_machine() {
        let gate = Gate::new(CAPS);
        let there = Origin::Network([192, 0, 2, 1].into());
        let enter = |origin| gate.enter(origin, control().0).map(drop);
        for _ in 1..FAILURES_MAX {
            gate.note_failure(there, 1);
        }
        assert_eq!(enter(there), Ok(()));
        gate.note_failure(there, 1);
        assert!(matches!(enter(there), Err(TurnedAway::Penalty { failures: FAILURES_MAX, .. })));
        assert_eq!(enter(Origin::Network([192, 0, 2, 2].into())), Ok(()));
        for own in [
            Origin::Local,
            Origin::Network([127, 0, 0, 1].into()),
            Origin::Network(std::net::Ipv6Addr::UNSPECIFIED.into()),
        ] {
            gate.note_failure(own, FAILURES_MAX);
            assert_eq!(enter(own), Ok(()), "{own:?}");
        }
        for n in 0..u32::try_from(OFFENDERS_MAX).unwrap() + 10 {
            gate.note_failure(Origin::Network(std::net::Ipv4Addr::from_bits(n + 0x0a00_0000).into()), 1);
        }
        assert!(gate.inside().offenders.len() <= OFFENDERS_MAX);
    }
}
