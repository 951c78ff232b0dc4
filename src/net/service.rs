//! Serving, whatever is served: listeners, the gate, open connections, and how all of it stops.
//!
//! ```text
//! Listener --accept--> Gate --Ticket--> a thread per connection --> Handler::serve
//!                       \-- beyond a limit --> Door, with Handler::last_word
//! ```
//!
//! Nothing else happens on the accept thread, so one silent client never delays the next. What the connections
//! speak, the [`Handler`] knows.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::budget::{Counted, LogBudget, Whose};
use super::door::Door;
use super::gate::{Caps, Gate, Ticket, TurnedAway};
use super::listen::{Listener, STACK_LEN};
use super::open::{OpenConnection, OpenConnections};
use super::stream::Stream;
use super::tls::{HandshakeError, ServerTls};

/// The log target of each connection's beginning and end: a person at a terminal sees which peer was let in and what
/// it requested without them.
pub const CONNECTIONS_TARGET: &str = "connections";

/// How long to wait after "too many open files": accepting again at once would only spin.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(20);
/// How often the same trouble is written to the log.
const TROUBLE_LOG_INTERVAL: Duration = Duration::from_secs(1);
/// How often a stop looks whether it is to end at once.
const STOP_INTERVAL: Duration = Duration::from_millis(50);
/// After the grace, connections are cut and their threads get this long to notice: longer than a command gets between
/// TERM and KILL, or it would outlive the server.
const CUT_TIME_MAX: Duration = Duration::from_secs(5);

/// What an operator decides about connections, whatever they carry.
#[derive(Debug, Clone, Copy)]
pub struct ServiceOptions {
    /// The limits on connections and threads.
    pub caps: Caps,
    /// How long a connection between two exchanges may be silent; `None`: without limit.
    pub idle_timeout: Option<Duration>,
    /// How long a client may take nothing of what is sent to it; `None`: without limit.
    pub stall_timeout: Option<Duration>,
}

/// What all connections of a server share, whatever they carry.
#[derive(Debug)]
pub struct Service {
    gate: Arc<Gate>,
    open: Arc<OpenConnections>,
    idle_timeout: Option<Duration>,
    stall_timeout: Option<Duration>,
}

impl Service {
    /// A service without connections.
    pub fn new(options: ServiceOptions) -> Self {
        Self {
            gate: Gate::new(options.caps),
            open: Arc::default(),
            idle_timeout: options.idle_timeout,
            stall_timeout: options.stall_timeout,
        }
    }

    /// The limits, and who is inside.
    pub const fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// The open connections.
    pub const fn open(&self) -> &Arc<OpenConnections> {
        &self.open
    }

    /// How long a connection between two exchanges may be silent; `None`: without limit.
    pub const fn idle_timeout(&self) -> Option<Duration> {
        self.idle_timeout
    }

    /// `limit`, or the idle timeout where that is shorter.
    pub fn within_idle(&self, limit: Duration) -> Duration {
        self.idle_timeout.map_or(limit, |idle| idle.min(limit))
    }
}

/// What is done with the connections of a service. A server that speaks several protocols decides for each connection,
/// by its first bytes for example.
pub trait Handler: Send + Sync + 'static {
    /// What its connections share.
    fn service(&self) -> &Service;

    /// Serves one connection to its end, on the connection's own thread.
    fn serve(&self, stream: Stream, accepted: &mut Accepted) -> Ended;

    /// What a connection beyond a limit is told, in the words of the protocol; nothing was read from it.
    fn last_word(&self, why: TurnedAway) -> Vec<u8>;

    /// A stop has begun: no connection is accepted any more, and those in an exchange get `grace`.
    fn begin_stop(&self, grace: Duration);

    /// The connections have ended; ends what else runs, by `deadline`, or at once when `stop_now` says so.
    fn end_stop(&self, deadline: Instant, stop_now: &dyn Fn() -> bool);
}

/// How a connection ended, for the log.
#[derive(Debug)]
pub struct Ended {
    /// What it spoke.
    pub wire: &'static str,
    /// `Ok`: the client closed it. Otherwise why it ended.
    pub outcome: Result<(), String>,
}

/// How a stop went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Connections that had to be cut because their exchange was not over when the grace was.
    pub cut: usize,
}

/// Serves the connections of all `listeners`, a thread each, and returns when all of them are stopped.
///
/// # Errors
/// A thread could not start.
pub fn accept_on_all<H: Handler>(handler: &Arc<H>, listeners: &[Listener]) -> io::Result<()> {
    thread::scope(|scope| {
        let accepting: io::Result<Vec<_>> = listeners
            .iter()
            .map(|listener| {
                thread::Builder::new().name("accept".into()).spawn_scoped(scope, || accept(handler, listener))
            })
            .collect();
        if accepting.is_err() {
            // The scope waits for those that did start.
            listeners.iter().for_each(Listener::stop);
        }
        for thread in accepting? {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("an accept thread panicked")))?;
        }
        Ok(())
    })
}

/// Stops: no new connections, connections between two exchanges at once, connections in an exchange when it is over,
/// and after `grace` those that are left. `stop_now` is called again and again, for an operator who does not want to
/// wait.
pub fn stop<H: Handler>(handler: &H, listeners: &[Listener], grace: Duration, stop_now: &dyn Fn() -> bool) -> Stopped {
    let open = handler.service().open();
    listeners.iter().for_each(Listener::stop);
    open.begin_stop();
    handler.begin_stop(grace);
    let deadline = Instant::now() + grace;
    let mut left = open.len();
    while left > 0 && !stop_now() {
        let rest = deadline.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            break;
        }
        left = open.wait_until_none(rest.min(STOP_INTERVAL));
    }
    if left > 0 {
        open.stop_now();
        open.wait_until_none(CUT_TIME_MAX);
    }
    handler.end_stop(deadline, stop_now);
    Stopped { cut: left }
}

/// Accepts on one listener until it is stopped, a thread per connection.
fn accept<H: Handler>(handler: &Arc<H>, listener: &Listener) -> io::Result<()> {
    let gate = handler.service().gate();
    let door = Door::open(gate.caps().turned_away)?;
    let mut trouble = Trouble::default();
    loop {
        match listener.accept() {
            Ok(stream) => admit(handler, stream, &door),
            Err(_) if listener.is_stopped() => return Ok(()),
            Err(error) => trouble.survive(listener.local(), &error, gate),
        }
    }
}

/// Starts a thread for the connection, or shows it the door.
fn admit<H: Handler>(handler: &Arc<H>, stream: Stream, door: &Door) {
    let gate = handler.service().gate();
    let ticket = match gate.enter(stream.origin(), stream.control()) {
        Ok(ticket) => ticket,
        Err(full) => {
            let origin = stream.origin();
            if gate.log_budget().allows(Whose::Address(origin), || origin.to_string()) {
                tracing::info!(peer = stream.peer_address(), reason = %full, "turned away");
            }
            return door.turn_away(stream, handler.last_word(full));
        }
    };
    let task = {
        let handler = Arc::clone(handler);
        // In an option, so that the stream survives a thread that could not start.
        let mut work = Some((stream, ticket));
        move || {
            if let Some((stream, ticket)) = work.take() {
                serve(&*handler, stream, ticket);
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("connection".into()).stack_size(STACK_LEN).spawn(task) {
        tracing::error!(%error, connections = gate.connections(), "no thread for a connection: it was dropped");
    }
}

/// Serves one connection on its own thread: counts, registers and logs it, from its beginning to its end.
fn serve<H: Handler>(handler: &H, stream: Stream, ticket: Ticket) {
    let started = Instant::now();
    let service = handler.service();
    let mut accepted = Accepted::register(service, &stream, ticket);
    if accepted.is_logged {
        accepted.log_connected();
    }
    let ended = match stream.tune(service.stall_timeout, service.idle_timeout) {
        Ok(()) => handler.serve(stream, &mut accepted),
        Err(error) => Ended { wire: "none", outcome: Err(format!("the socket failed: {error}")) },
    };
    if accepted.is_logged {
        accepted.log_disconnected(&ended, started.elapsed());
    }
    // The ticket is given back when the connection is off the list: who waits for it finds both free.
    drop(accepted.open);
    drop(accepted.ticket);
}

/// One connection, before anything is known of it but where it came from.
#[derive(Debug)]
pub struct Accepted {
    /// Its entry among the open connections.
    pub open: OpenConnection,
    /// Its place at the gate.
    pub ticket: Ticket,
    /// Its address, as the network says, and its user, where the kernel says.
    pub address: String,
    /// Whether it came in at an address that only this machine can reach.
    pub is_at_loopback: bool,
    /// Whether its stream was encrypted here.
    is_encrypted: bool,
    /// This end's address.
    local: String,
    /// How it was counted as a stranger's.
    counted: Counted,
    /// Whether the log has it: the lines of strangers are limited.
    is_logged: bool,
}

impl Accepted {
    fn register(service: &Service, stream: &Stream, ticket: Ticket) -> Self {
        let user = stream.peer_user().map_or(String::new(), |user| format!("user {user}"));
        let counted = service.gate.log_budget().count_stranger(ticket.origin());
        Self {
            open: service.open.register(&stream.control()),
            address: stream.peer_address() + &user,
            is_at_loopback: stream.is_at_loopback(),
            is_encrypted: stream.tls().is_some(),
            local: stream.local_address(),
            is_logged: counted.is_allowed,
            counted,
            ticket,
        }
    }

    /// The connection's number in the log.
    pub const fn id(&self) -> u64 {
        self.open.id()
    }

    /// Whether the log has this connection: the lines of strangers are limited.
    pub const fn is_logged(&self) -> bool {
        self.is_logged
    }

    /// Whether what comes over it is encrypted, up to this process.
    pub const fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// The connection is a known peer's: the log has it, however many strangers come.
    pub fn note_known(&mut self, budget: &LogBudget) {
        budget.forgive(&self.counted);
        if !std::mem::replace(&mut self.is_logged, true) {
            self.log_connected();
        }
    }

    /// The server's side of a TLS handshake, of which `first` was already read, within `limit` in all. A failure
    /// counts against the address.
    ///
    /// It has a thread that ends with it: the post-quantum key exchange uses more than 32 KiB of stack, and a
    /// connection would keep what its own thread has once used for as long as it is open.
    ///
    /// # Errors
    /// [`HandshakeError`]; the other end was told in TLS' own words.
    pub fn shake_hands(
        &mut self,
        stream: Stream,
        first: &[u8],
        server: &ServerTls,
        limit: Duration,
    ) -> Result<Stream, HandshakeError> {
        let gate = self.ticket.gate();
        let _thread = gate.take_threads(1).map_err(HandshakeError::Busy)?;
        let control = stream.control();
        let shaken = thread::scope(|scope| {
            let thread = thread::Builder::new().name("handshake".into()).stack_size(STACK_LEN);
            let task = move || stream.accept_tls(first, server, limit);
            thread.spawn_scoped(scope, task)?.join().map_err(|_panic| io::Error::other("a handshake panicked"))
        })?;
        self.is_encrypted |= shaken.is_ok();
        if let Err(error) = &shaken {
            // It is not the client's failure if we hung up.
            if !self.ticket.made_way() {
                gate.note_failure(self.ticket.origin(), 1);
            }
            if matches!(error, HandshakeError::Failed(_) | HandshakeError::OtherProtocol(_)) {
                // In TLS 1.3 a client has finished before its certificate is looked at, and may have sent
                // more by then: closing on top of that would lose the alert that says why.
                control.linger_after_end();
            }
        }
        shaken
    }

    fn log_connected(&self) {
        tracing::info!(
            target: CONNECTIONS_TARGET,
            connection = self.id(),
            peer = %self.address,
            local = %self.local,
            "connected"
        );
    }

    fn log_disconnected(&self, ended: &Ended, after: Duration) {
        let made_way = self.ticket.made_way().then(|| TurnedAway::MadeWay.to_string());
        let outcome = match (&made_way, &ended.outcome) {
            (Some(outcome), _) | (None, Err(outcome)) => outcome,
            (None, Ok(())) => "closed by the client",
        };
        tracing::info!(
            target: CONNECTIONS_TARGET,
            connection = self.id(),
            peer = %self.address,
            wire = ended.wire,
            outcome,
            ms = millis(after),
            "disconnected"
        );
    }
}

/// Milliseconds with three decimals.
pub fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// Accept errors: logged, counted, survived.
#[derive(Debug, Default)]
struct Trouble {
    count: u64,
    logged: Option<Instant>,
}

impl Trouble {
    fn survive(&mut self, listener: &str, error: &io::Error, gate: &Gate) {
        use rustix::io::Errno;
        self.count += 1;
        if self.logged.is_none_or(|at| at.elapsed() >= TROUBLE_LOG_INTERVAL) {
            self.logged = Some(Instant::now());
            tracing::warn!(listener, %error, count = self.count, "a connection could not be accepted");
        }
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        if errno == Some(Errno::MFILE) {
            gate.make_room();
        }
        // accept(2): these pass on an error of the one connection that was in the queue.
        let only_that_one = [Errno::CONNABORTED, Errno::INTR, Errno::PROTO, Errno::PERM, Errno::NETDOWN];
        if !errno.is_some_and(|errno| only_that_one.contains(&errno)) {
            thread::sleep(EXHAUSTED_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::sync::Mutex;

    use super::*;
    use crate::net::dial::dial;

    const LIMIT: Duration = Duration::from_mins(1);

    /// A protocol that is none of ours: every byte comes back, a to z in capitals; `!` begins an exchange that has no
    /// end.
    struct Capitals {
        service: Service,
        stops: Mutex<Vec<&'static str>>,
    }

    impl Capitals {
        fn with(threads: usize) -> Arc<Self> {
            let caps = Caps { connections: 8, per_address: 8, threads, newcomers: 8, turned_away: 8 };
            let options = ServiceOptions { caps, idle_timeout: None, stall_timeout: None };
            Arc::new(Self { service: Service::new(options), stops: Mutex::default() })
        }
    }

    impl Handler for Capitals {
        fn service(&self) -> &Service {
            &self.service
        }

        fn serve(&self, mut stream: Stream, accepted: &mut Accepted) -> Ended {
            let mut byte = [0];
            while let Ok(1) = stream.read(&mut byte) {
                accepted.open.set_in_exchange(byte == *b"!");
                byte.make_ascii_uppercase();
                stream.write_all(&byte).unwrap();
            }
            Ended { wire: "capitals", outcome: Ok(()) }
        }

        fn last_word(&self, why: TurnedAway) -> Vec<u8> {
            format!("FULL: {why}").into_bytes()
        }

        fn begin_stop(&self, _grace: Duration) {
            self.stops.lock().unwrap().push("begins");
        }

        fn end_stop(&self, _deadline: Instant, _stop_now: &dyn Fn() -> bool) {
            assert!(self.service.open().is_empty(), "connections end first");
            self.stops.lock().unwrap().push("ends");
        }
    }

    /// Serves while `clients` are at work, which are told where, and then stops.
    fn serve_while(handler: &Arc<Capitals>, grace: Duration, clients: impl FnOnce(&dyn Fn() -> Stream)) -> Stopped {
        let listeners = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listeners[0].local().parse().unwrap();
        let connect = || {
            let stream = dial(&address, LIMIT).unwrap();
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            stream
        };
        thread::scope(|scope| {
            let accepting = scope.spawn(|| accept_on_all(handler, &listeners));
            clients(&connect);
            let stopped = stop(&**handler, &listeners, grace, &|| false);
            accepting.join().unwrap().unwrap();
            stopped
        })
    }

    fn assert_answers(stream: &mut Stream, request: &[u8], want: &[u8]) {
        let mut answer = vec![0; want.len()];
        stream.write_all(request).unwrap();
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, want);
    }

    #[test]
    fn any_protocol_is_served_and_has_its_own_last_word() {
        let handler = Capitals::with(2);
        let mut inside = Vec::new();
        let stopped = serve_while(&handler, LIMIT, |connect| {
            inside.extend([connect(), connect()]);
            for stream in &mut inside {
                assert_answers(stream, b"abc", b"ABC");
            }
            let mut third = connect();
            assert_answers(&mut third, b"", b"FULL: the server runs 2 threads, which is its limit; try again later");
        });
        // Both were between two exchanges, and still open at the client.
        assert_eq!(stopped, Stopped { cut: 0 });
        assert_eq!(*handler.stops.lock().unwrap(), ["begins", "ends"]);
        drop(inside);
    }

    #[test]
    fn an_exchange_without_end_is_cut_after_the_grace() {
        let handler = Capitals::with(8);
        let mut inside = Vec::new();
        let stopped = serve_while(&handler, Duration::ZERO, |connect| {
            inside.extend([connect(), connect()]);
            for stream in &mut inside {
                assert_answers(stream, b"!", b"!");
            }
        });
        assert_eq!(stopped, Stopped { cut: 2 });
        assert_eq!(*handler.stops.lock().unwrap(), ["begins", "ends"]);
    }
}
