//! The server: receives every datagram at once, until it is stopped, and answers it where it should.
//!
//! A socket that is not read fills up and loses data, so the loop does nothing that could block.

use std::borrow::Cow;
use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use super::flows::Flows;
use super::guard::{INTERVAL, REPEATS_MAX, ReplyGuard, Withheld};
use super::probe::{COUNTED_LEN_MIN, CountsRoom, Probe, Word};
use super::{Arrival, Codec, DatagramSocket, Endpoint, RECEIVE_LEN_MAX, Stop, receive_buffer};

/// Failures in a row after which a socket is given up; a temporary shortage of memory is shorter.
const FAILURES_MAX: u32 = 100;
/// The pause after a failure, so that it does not spin.
const FAILURE_PAUSE: Duration = Duration::from_millis(50);

/// What a datagram is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UdpReply {
    /// The same bytes.
    Echo,
    /// The same with `a` to `z` made capital.
    Upper,
    /// Nothing: the datagram is only shown.
    Nothing,
}

/// An event of the server; the program decides what to show.
#[derive(Debug)]
pub enum ServeEvent<'a> {
    /// A datagram arrived.
    Received {
        /// The sender's address.
        from: &'a Endpoint,
        /// Its bytes; empty for an empty datagram.
        data: &'a [u8],
    },
    /// A datagram that should have been answered was not.
    NotAnswered {
        /// The sender's address.
        from: &'a Endpoint,
        /// The reason.
        why: NotAnswered,
    },
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum NotAnswered {
    /// A Unix client that has not bound a path, or a forged port 0.
    #[error("the sender has no address to answer to; a Unix client has to bind a path of its own")]
    NoAddress,
    /// A forged sender: the answer would go to all members of a group, or of a network.
    #[error("the sender claims to be a group; answers go to one address")]
    Group,
    /// An answer is not answered.
    #[error("it is a server's answer to a probe itself")]
    Answer,
    /// The sender's address is one of the server's own: answering would never end.
    #[error("the sender claims to be this server")]
    Ourselves,
    /// Only the beginning was received; an answer would be wrong.
    #[error("the datagram is longer than {RECEIVE_LEN_MAX} bytes")]
    TooLong,
    /// The server would be an amplifier: with a forged source address, a small request would cause a large reply to
    /// another machine.
    #[error("the answer would be longer than what came")]
    Longer,
    /// The reply would start a loop, or exceed the limit of one address.
    #[error("{}", said_of(*.0))]
    Held(Withheld),
    /// The operating system did not take the answer; a datagram may be lost.
    #[error("the answer was not sent: {0}")]
    Failed(io::Error),
}

fn said_of(held: Withheld) -> String {
    let pause = format!("{}s", INTERVAL.as_secs());
    match held {
        Withheld::Repeats => format!(
            "it sent our own replies back {REPEATS_MAX} times within {pause}; silent towards it for {pause}: \
             are two servers answering each other?"
        ),
        Withheld::Silenced => format!("it sends our own replies back; silent towards it for {pause}"),
        Withheld::Rate | Withheld::RateAgain => {
            format!("its address has had all the replies that one off loopback gets within {pause}")
        }
    }
}

/// Counts of a server since its start.
#[derive(Debug, Default)]
pub struct Totals {
    /// Datagrams received.
    pub datagrams: AtomicU64,
    /// Bytes of the datagrams received.
    pub bytes: AtomicU64,
    /// Answers sent; `answered <= datagrams`.
    pub answered: AtomicU64,
}

/// What all sockets of one server share.
#[derive(Debug)]
pub struct UdpService<'a> {
    /// What datagrams are answered with.
    pub reply: UdpReply,
    /// The encoding, for [`UdpReply::Upper`].
    pub codec: Codec,
    /// Number of datagrams after which the server stops; `None`: no limit.
    pub limit: Option<u64>,
    /// Ends every socket's loop.
    pub stop: &'a Stop,
    /// The addresses of all the sockets, which may be added and removed: a datagram from one of them is forged, and not
    /// answered.
    pub own: &'a RwLock<Vec<Endpoint>>,
    /// How often an idle socket checks whether its address is still in [`own`](Self::own), and ends its loop if not;
    /// `None`: addresses are never removed.
    pub look: Option<Duration>,
    /// The counts so far.
    pub totals: &'a Totals,
    /// Withholds replies to requests whose source address may be forged.
    pub guard: &'a Mutex<ReplyGuard>,
}

/// Answers the datagrams of `socket` until the service is stopped. `see` is called with each event and can stop the
/// service. Call it once for each socket, each on its own thread.
///
/// # Errors
/// The socket failed, and went on failing.
pub fn serve<S>(socket: &DatagramSocket, service: &UdpService<'_>, see: S) -> io::Result<()>
where
    S: Fn(ServeEvent<'_>) -> ControlFlow<()>,
{
    let here = socket.local()?;
    let mut buffer = receive_buffer();
    let mut failures = 0;
    let mut desk = Desk { service, socket, flows: Flows::default(), told: Vec::new() };
    loop {
        let until = service.look.map(|pause| Instant::now() + pause);
        match socket.receive(&mut buffer, until, Some(service.stop)) {
            Ok(Arrival::Datagram { len, from, .. }) => {
                failures = 0;
                if desk.take(&from, &buffer[..len], &see).is_break() {
                    service.stop.trigger();
                    return Ok(());
                }
            }
            Ok(Arrival::TimedOut) if service.owns(&here) => {}
            Ok(Arrival::Stopped | Arrival::TimedOut) => return Ok(()),
            // An earlier answer did not find its client any more; this is not the server's error.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) if failures >= FAILURES_MAX => return Err(error),
            Err(_) => {
                failures += 1;
                thread::sleep(FAILURE_PAUSE);
            }
        }
    }
}

impl UdpService<'_> {
    fn owns(&self, address: &Endpoint) -> bool {
        self.own.read().unwrap_or_else(PoisonError::into_inner).contains(address)
    }
}

/// One socket, and what is remembered for it.
struct Desk<'a> {
    service: &'a UdpService<'a>,
    socket: &'a DatagramSocket,
    flows: Flows,
    /// Lent to the answer to a probe.
    told: Vec<u8>,
}

impl Desk<'_> {
    fn take<S>(&mut self, from: &Endpoint, data: &[u8], see: S) -> ControlFlow<()>
    where
        S: Fn(ServeEvent<'_>) -> ControlFlow<()>,
    {
        let (totals, limit) = (self.service.totals, self.service.limit);
        let before = totals.datagrams.fetch_add(1, Ordering::SeqCst);
        if limit.is_some_and(|limit| before >= limit) {
            // Another socket's thread received the last datagram at the same moment.
            totals.datagrams.fetch_sub(1, Ordering::SeqCst);
            return ControlFlow::Break(());
        }
        totals.bytes.fetch_add(u64::try_from(data.len()).unwrap_or(u64::MAX), Ordering::SeqCst);
        see(ServeEvent::Received { from, data })?;
        match self.answer(from, data) {
            Ok(true) => {
                totals.answered.fetch_add(1, Ordering::SeqCst);
            }
            Ok(false) => {}
            Err(why) => see(ServeEvent::NotAnswered { from, why })?,
        }
        match limit {
            Some(limit) if before + 1 >= limit => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }

    /// Sends the answer, if one is due.
    fn answer(&mut self, to: &Endpoint, data: &[u8]) -> Result<bool, NotAnswered> {
        let service = self.service;
        if service.reply == UdpReply::Nothing {
            return Ok(false);
        }
        if data.len() > RECEIVE_LEN_MAX {
            return Err(NotAnswered::TooLong);
        }
        if !to.can_be_answered() {
            return Err(NotAnswered::NoAddress);
        }
        if to.is_group() {
            return Err(NotAnswered::Group);
        }
        if service.owns(to) {
            return Err(NotAnswered::Ourselves);
        }
        let reply = match service.reply {
            UdpReply::Upper => Cow::Owned(service.codec.upper(data)),
            UdpReply::Echo | UdpReply::Nothing => Cow::Borrowed(data),
        };
        if reply.len() > data.len() {
            return Err(NotAnswered::Longer);
        }
        match Probe::decode(data).filter(|_| *reply == *data) {
            Some(probe) => self.answer_probe(to, data, &probe),
            None => self.send(to, data, &reply),
        }?;
        Ok(true)
    }

    /// Answers a probe with what was counted of its session.
    fn answer_probe(&mut self, to: &Endpoint, data: &[u8], probe: &Probe) -> Result<(), NotAnswered> {
        match (CountsRoom::of(data), probe.word) {
            (CountsRoom::Filled(_), _) => return Err(NotAnswered::Answer),
            (CountsRoom::Missing, _) => return self.send(to, data, data),
            (CountsRoom::Free, Word::Size) => {
                return self.send(to, data, data.get(..COUNTED_LEN_MIN).unwrap_or(data));
            }
            (CountsRoom::Free, Word::Ping | Word::Tell) => {}
        }
        let is_counted = probe.word == Word::Ping;
        let Some(flow) = self.flows.flow(to, probe.session, Instant::now()) else { return self.send(to, data, data) };
        if is_counted {
            flow.arrive(probe);
        }
        let mut told = std::mem::take(&mut self.told);
        told.clear();
        told.extend_from_slice(data);
        flow.counts(is_counted).write(&mut told);
        let sent = self.send(to, data, &told);
        self.told = told;
        if is_counted
            && sent.is_ok()
            && let Some(flow) = self.flows.flow(to, probe.session, Instant::now())
        {
            flow.replied();
        }
        sent
    }

    fn send(&self, to: &Endpoint, data: &[u8], reply: &[u8]) -> Result<(), NotAnswered> {
        let admitted = {
            let mut guard = self.service.guard.lock().unwrap_or_else(PoisonError::into_inner);
            guard.admit(to, data, reply, Instant::now())
        };
        admitted.map_err(NotAnswered::Held)?;
        self.socket.send_to(reply, to).map_err(NotAnswered::Failed)
    }
}
