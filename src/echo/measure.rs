//! Measures connections by echoes: one after the other on each of them, as fast as they come back or at a given rate.
//!
//! Every connection has a thread. What it measures goes into one of a few tallies, so memory does not grow with the
//! number of round trips, and with the number of connections only by a thread and a buffer each. The caller's thread
//! collects the tallies in intervals, and ends the run.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Scope, Thread};
use std::time::{Duration, Instant};

use super::pattern::{Pattern, PatternReader};
use super::tally::{Interval, Tally};
use super::{PIECE_LEN, call_in_pieces};
use crate::connection::Connection;
use crate::error::{ConnectionLost, Error, Misbehaviour, Result};
use crate::wire::channel::unexpected;
use crate::wire::frame::BODY_LEN_MAX;
use crate::wire::message::Message;

/// Bytes that the buffers of all connections take together, at most, each way.
pub const PIECES_LEN_MAX: usize = 64 * 1024 * 1024;
/// Tallies that the connections share: a lock for each message is then seldom one that is held.
const SHARDS_MAX: usize = 16;
/// Stack of a connection's thread, in bytes: encryption takes some tens of KiB.
const STACK_LEN: usize = 256 * 1024;
/// How often the run looks whether its caller wants it to end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What is measured, and how.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Round trips, over all connections together. `None`: no limit.
    pub count: Option<u64>,
    /// Bytes of each message. Up to 4 MiB are one frame each way, more are streamed.
    pub size: u64,
    /// Messages a second, over all connections together: a number above 0. `None`: each is sent when the one before it
    /// has come back.
    pub rate: Option<f64>,
    /// How long messages are sent. `None`: no limit.
    pub duration: Option<Duration>,
    /// How long an answer may take in which nothing moves; also how long is waited for the last ones.
    pub timeout: Duration,
    /// The time between two calls of the observer.
    pub interval: Duration,
}

impl Plan {
    /// When message `n` is due, from the start on. `None`: it is not paced, or will never be due.
    #[expect(clippy::cast_precision_loss, reason = "2^53 messages are never sent")]
    fn due(&self, n: u64) -> Option<Duration> {
        Duration::try_from_secs_f64(n as f64 / self.rate?).ok()
    }

    fn is_due(&self, elapsed: Duration) -> bool {
        self.duration.is_none_or(|duration| elapsed < duration)
    }
}

/// What a run has measured.
#[derive(Debug)]
pub struct Measurement {
    /// Counts and times.
    pub tally: Tally,
    /// From the first message to the last answer; or as long as messages were sent, if that was longer.
    pub elapsed: Duration,
    /// Why the run ended before it was through. `None`: it was through, or the caller has ended it.
    pub error: Option<Error>,
}

/// Makes round trips on `connections` as `plan` says, and checks every byte. The first connection that fails ends the
/// run. All of them are closed at the end. `is_over` is looked at all the time, and ends it; `on_interval` is called after
/// each interval, and an error of it ends the run too.
///
/// Message `n` is sent on connection `n % connections`, where one message is under way at a time. Under a rate its time
/// is counted from when it was due: a message that had to wait for a late answer has waited for the server.
pub fn measure(
    connections: Vec<Connection>,
    plan: &Plan,
    is_over: &(dyn Fn() -> bool + Sync),
    on_interval: &mut dyn FnMut(&Interval<'_>) -> Result<()>,
) -> Measurement {
    let run = Run::new(plan, connections.len(), is_over);
    let controls: Vec<_> = connections.iter().map(|connection| connection.control().clone()).collect();
    let (mut total, mut until, mut is_early) = (Tally::default(), Duration::ZERO, false);
    thread::scope(|scope| {
        let threads = run.spawn(scope, connections);
        let started = *run.started.get_or_init(Instant::now);
        threads.iter().for_each(Thread::unpark);
        let cut = || {
            run.is_cut.store(true, Ordering::Release);
            threads.iter().for_each(Thread::unpark);
            for control in &controls {
                control.stop();
            }
        };
        let mut next = Some(plan.interval);
        let mut collect = |tally: &mut Tally, until: &mut Duration, is_last: bool| {
            let from = std::mem::replace(until, started.elapsed());
            tally.clear();
            run.collect(tally);
            total.add(tally);
            if is_last && tally.round_trips.count() == 0 {
                return Ok(());
            }
            on_interval(&Interval { from, until: *until, tally })
        };
        let mut tally = Tally::default();
        loop {
            let now = started.elapsed();
            let is_too_late = plan.duration.is_some_and(|duration| now >= duration.saturating_add(plan.timeout));
            is_early |= run.has_failed() || is_over();
            if !run.is_cut() && (is_too_late || is_early) {
                cut();
            }
            if next.is_some_and(|next| now >= next) {
                if let Err(error) = collect(&mut tally, &mut until, false) {
                    run.fail(error);
                }
                // An interval that the observer has slept through is part of the next one.
                next = plan.interval.checked_mul(intervals(started.elapsed(), plan.interval) + 1);
            }
            let wait = next.map_or(LOOK_EVERY, |next| next.saturating_sub(started.elapsed()).min(LOOK_EVERY));
            if run.wait_for_end(wait) {
                break;
            }
        }
        is_early |= run.has_failed() || is_over();
        if let Err(error) = collect(&mut tally, &mut until, true) {
            run.fail(error);
        }
    });
    let last = total.last_answer.unwrap_or(until);
    let is_through = plan.count.is_some_and(|count| total.round_trips.count() >= count);
    let sending = plan.duration.filter(|_| !is_through && !is_early);
    let elapsed = sending.map_or(last, |sending| last.max(sending));
    Measurement { tally: total, elapsed, error: lock(&run.failed).take() }
}

/// How many whole intervals have passed.
fn intervals(elapsed: Duration, interval: Duration) -> u32 {
    let passed = elapsed.as_nanos() / interval.as_nanos().max(1);
    u32::try_from(passed).unwrap_or(u32::MAX - 1)
}

/// What the threads of a run share.
struct Run<'r> {
    plan: &'r Plan,
    pattern: Pattern,
    /// Bytes of a connection's buffer.
    piece_len: usize,
    connections: usize,
    /// When the first message was due; not set until all threads are there.
    started: OnceLock<Instant>,
    is_wanted_over: &'r (dyn Fn() -> bool + Sync),
    /// Whether the connections were ended, so that what fails from then on is no failure.
    is_cut: AtomicBool,
    shards: Vec<Mutex<Tally>>,
    running: Mutex<usize>,
    has_ended: Condvar,
    failed: Mutex<Option<Error>>,
}

impl<'r> Run<'r> {
    fn new(plan: &'r Plan, connections: usize, is_wanted_over: &'r (dyn Fn() -> bool + Sync)) -> Self {
        let longest = usize::try_from(plan.size).unwrap_or(usize::MAX).max(1);
        let piece_len = (PIECES_LEN_MAX / connections.max(1)).clamp(1, PIECE_LEN).min(longest);
        let is_framed = plan.size <= u64::from(BODY_LEN_MAX);
        Self {
            plan,
            pattern: Pattern::new(if is_framed { longest } else { PIECE_LEN }),
            piece_len,
            connections,
            started: OnceLock::new(),
            is_wanted_over,
            is_cut: AtomicBool::new(false),
            shards: (0..connections.clamp(1, SHARDS_MAX)).map(|_| Mutex::default()).collect(),
            running: Mutex::new(0),
            has_ended: Condvar::new(),
            failed: Mutex::default(),
        }
    }

    /// Starts a thread for each connection; they wait for the start.
    fn spawn<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, connections: Vec<Connection>) -> Vec<Thread> {
        let mut threads = Vec::with_capacity(connections.len());
        for ((index, connection), shard) in connections.into_iter().enumerate().zip(self.shards.iter().cycle()) {
            *lock(&self.running) += 1;
            let running = Running(self);
            let drive = move || {
                let running = running;
                running.0.drive(index, connection, shard);
            };
            let named = thread::Builder::new().name("echo".into()).stack_size(STACK_LEN);
            match named.spawn_scoped(scope, drive) {
                Ok(thread) => threads.push(thread.thread().clone()),
                Err(error) => {
                    self.fail(Error::ours(format!("thread {index} of {}", self.connections))(error));
                    break;
                }
            }
        }
        threads
    }

    /// All that one connection does.
    fn drive(&self, index: usize, mut connection: Connection, shard: &Mutex<Tally>) {
        // What of a message that is not answered.
        let mut tally = Tally::default();
        match self.messages(index, &mut connection, (shard, &mut tally)) {
            Ok(()) => connection.close(),
            // This end has ended it.
            Err(_) if self.is_cut() || (self.is_wanted_over)() => tally.unanswered += 1,
            Err(error) => self.fail(error),
        }
        lock(shard).add(&tally);
    }

    /// Makes this connection's round trips, and counts those that are whole in the shard.
    fn messages(
        &self,
        index: usize,
        connection: &mut Connection,
        (shard, tally): (&Mutex<Tally>, &mut Tally),
    ) -> Result<()> {
        set_exact_timers();
        connection.set_stall(Some(self.plan.timeout))?;
        let mut piece = vec![0; self.piece_len];
        let Some(started) = self.wait_for_start() else { return Ok(()) };
        let start = (index as u64).wrapping_mul(97);
        for n in (index as u64..).step_by(self.connections) {
            let is_counted = self.plan.count.is_none_or(|count| n < count);
            if !is_counted || self.is_cut() || !self.plan.is_due(started.elapsed()) {
                break;
            }
            let due = match self.plan.rate {
                None => None,
                Some(_) => match self.plan.due(n).filter(|due| self.plan.is_due(*due)) {
                    Some(due) if self.wait_until(started, due) => Some(due),
                    _ => break,
                },
            };
            let sent = started.elapsed();
            let message = Test { pattern: &self.pattern, start: start.wrapping_add(n), size: self.plan.size };
            message.round_trip(connection, &mut piece, tally).map_err(|error| self.said(error))?;
            let back = started.elapsed();
            let mut shard = lock(shard);
            shard.round_trips.record(back.saturating_sub(due.unwrap_or(sent)));
            if due.is_some() {
                shard.uncorrected.record(back.saturating_sub(sent));
            }
            shard.sent_bytes += std::mem::take(&mut tally.sent_bytes);
            shard.received_bytes += std::mem::take(&mut tally.received_bytes);
            shard.last_answer = shard.last_answer.max(Some(back));
        }
        nothing_more(connection)
    }

    fn said(&self, error: Error) -> Error {
        match error {
            Error::ConnectionLost(ConnectionLost::TimedOut(_)) => {
                ConnectionLost::TimedOut(format!("no echo came within {:?}", self.plan.timeout)).into()
            }
            error => error,
        }
    }

    /// `None`: the run was ended before it began.
    fn wait_for_start(&self) -> Option<Instant> {
        loop {
            match self.started.get() {
                _ if self.is_cut() => return None,
                Some(started) => return Some(*started),
                None => thread::park(),
            }
        }
    }

    /// Waits until a message is due; `false`: the run was ended before that.
    fn wait_until(&self, started: Instant, due: Duration) -> bool {
        loop {
            let left = due.saturating_sub(started.elapsed());
            if self.is_cut() {
                return false;
            }
            if left.is_zero() {
                return true;
            }
            thread::park_timeout(left);
        }
    }

    fn collect(&self, into: &mut Tally) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            into.add(&shard);
            shard.clear();
        }
    }

    /// Notes why the run cannot go on; the first reason counts.
    fn fail(&self, error: Error) {
        lock(&self.failed).get_or_insert(error);
        self.has_ended.notify_all();
    }

    fn has_failed(&self) -> bool {
        lock(&self.failed).is_some()
    }

    fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Acquire)
    }

    /// Waits for a while; `true`: all threads have ended.
    fn wait_for_end(&self, wait: Duration) -> bool {
        let running = lock(&self.running);
        if *running == 0 {
            return true;
        }
        let (running, _) = self.has_ended.wait_timeout(running, wait).unwrap_or_else(PoisonError::into_inner);
        *running == 0
    }
}

/// Counts a thread as long as it runs.
struct Running<'s, 'r>(&'s Run<'r>);

impl Drop for Running<'_, '_> {
    fn drop(&mut self) {
        let mut running = lock(&self.0.running);
        *running -= 1;
        if *running == 0 {
            self.0.has_ended.notify_all();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The kernel may wake a thread up to 50 µs late, to wake several at once (`PR_SET_TIMERSLACK`, prctl(2)). That would
/// be measured as the server's.
fn set_exact_timers() {
    if let Err(error) = rustix::thread::set_current_timer_slack(NonZeroU64::new(1)) {
        tracing::debug!(%error, "messages may be sent 50 µs late");
    }
}

/// One message and what must come back: `size` bytes of the pattern, from `start` on.
struct Test<'p> {
    pattern: &'p Pattern,
    start: u64,
    size: u64,
}

impl Test<'_> {
    fn round_trip(&self, connection: &mut Connection, piece: &mut [u8], tally: &mut Tally) -> Result<()> {
        if self.size <= u64::from(BODY_LEN_MAX) {
            self.one_frame(connection, piece, tally)
        } else {
            self.stream(connection, piece.len(), tally)
        }
    }

    fn one_frame(&self, connection: &mut Connection, piece: &mut [u8], tally: &mut Tally) -> Result<()> {
        let body = self.pattern.piece(self.start, usize::try_from(self.size).unwrap_or(usize::MAX));
        connection.sender().send(&Message::Echo { streamed: false }, body)?;
        tally.sent_bytes += self.size;
        match connection.answer_or_refusal("echo")? {
            Message::Echo { streamed: false } => {}
            other => return Err(unexpected(&other, "echo")),
        }
        let receiver = connection.receiver();
        let announced = u64::from(receiver.body_left());
        if announced != self.size {
            return Err(wrong(format!("{announced} bytes come back where {} were sent", self.size)));
        }
        let mut at = 0;
        loop {
            let len = receiver.read_body(piece)?;
            let Some(came) = piece.get(..len).filter(|came| !came.is_empty()) else { return Ok(()) };
            self.check(at, came)?;
            at += len as u64;
            tally.received_bytes += len as u64;
        }
    }

    fn stream(&self, connection: &mut Connection, piece_len: usize, tally: &mut Tally) -> Result<()> {
        let mut source = PatternReader { pattern: self.pattern, at: self.start, left: self.size };
        let mut at = 0;
        let echoed = call_in_pieces(
            connection,
            &mut source,
            &mut |came| {
                if at + came.len() as u64 > self.size {
                    return Err(wrong(format!("more than the {} bytes that were sent come back", self.size)));
                }
                self.check(at, came)?;
                at += came.len() as u64;
                Ok(())
            },
            piece_len,
        );
        tally.sent_bytes += self.size - source.left;
        tally.received_bytes += at;
        match echoed? {
            echoed if echoed == self.size => Ok(()),
            echoed => Err(wrong(format!("{echoed} bytes came back where {} were sent", self.size))),
        }
    }

    fn check(&self, at: u64, came: &[u8]) -> Result<()> {
        match self.pattern.first_wrong(self.start.wrapping_add(at), came) {
            None => Ok(()),
            Some(wrong_at) => Err(wrong(format!("byte {} of {} is not what was sent", at + wrong_at + 1, self.size))),
        }
    }
}

/// The error if the other end answers what was never sent. What else it may say, as that it stops, is not the run's.
fn nothing_more(connection: &mut Connection) -> Result<()> {
    if !connection.has_incoming()? {
        return Ok(());
    }
    match connection.receiver().recv() {
        Ok(Some(Message::Echo { .. } | Message::Data { .. })) => Err(wrong("more comes back than was sent".into())),
        _ => Ok(()),
    }
}

fn wrong(why: String) -> Error {
    Misbehaviour::BadBody { what: "echo", why }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(rate: Option<f64>) -> Plan {
        Plan {
            count: None,
            size: 1,
            rate,
            duration: Some(Duration::from_secs(2)),
            timeout: Duration::from_secs(1),
            interval: Duration::from_secs(1),
        }
    }

    #[test]
    fn messages_are_due_at_their_rate_and_never_drift() {
        assert_eq!(plan(None).due(5), None);
        let due = |rate, n| plan(Some(rate)).due(n).unwrap();
        assert_eq!(due(1000.0, 0), Duration::ZERO);
        assert_eq!(due(1000.0, 1500), Duration::from_millis(1500));
        assert_eq!(due(0.25, 3), Duration::from_secs(12));
        // After a day at three a second the error is not a microsecond.
        assert!(due(3.0, 3 * 86_400).abs_diff(Duration::from_hours(24)) < Duration::from_micros(1));
        assert_eq!(plan(Some(f64::MIN_POSITIVE)).due(u64::MAX), None, "it is never due");
        assert!(plan(None).is_due(Duration::from_millis(1999)) && !plan(None).is_due(Duration::from_secs(2)));
    }

    #[test]
    fn intervals_are_counted_from_the_start() {
        let ms = Duration::from_millis;
        assert_eq!([0, 999, 1000, 2500].map(|passed| intervals(ms(passed), ms(1000))), [0, 0, 1, 2]);
        assert_eq!(intervals(Duration::MAX, Duration::ZERO), u32::MAX - 1);
    }
}
