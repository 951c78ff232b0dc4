//! The request loop: one request after the other, each within its limits, each with its line in the log.

use std::time::{Duration, Instant};

use super::verbs::{ServerState, serve_verb};
use crate::connection::Connection;
use crate::echo;
use crate::error::{ConnectionLost, Error, ErrorCode, Refusal, Result};
use crate::net::open::OpenConnection;
use crate::session::{RequestRecord, RequestReport, Session, advised};
use crate::trust::{Peer, Service};
use crate::wire::message::Message;

/// What a connection's requests are served in.
#[derive(Debug, Clone, Copy)]
pub struct Context<'s> {
    /// The rooms, places and detached commands.
    pub shared: ServerState<'s>,
    /// The connection's entry among the open ones.
    pub open: &'s OpenConnection,
    /// How long the connection may be silent between two exchanges; `None`: without limit.
    pub idle_timeout: Option<Duration>,
}

/// Serves requests until the client closes the connection or the connection is lost.
///
/// # Errors
/// Why the connection had to be closed; the client was told, if it could still hear it.
pub fn serve(connection: &mut Connection, session: &mut Session, context: Context<'_>) -> Result<()> {
    let mut echoes = None;
    let ended = serve_exchanges(connection, session, context, &mut echoes);
    session.memory.settle();
    // An encrypted connection whose reading was stopped looks cut: no farewell came.
    let is_cut = |error: &Error| {
        matches!(error, Error::ConnectionLost(ConnectionLost::Closed { .. } | ConnectionLost::Socket(_)))
    };
    log_echoes(echoes.as_ref(), session);
    match ended {
        // It was the stop that ended reading, not the client.
        Err(error) if is_cut(&error) && context.open.stopping() => Err(stopping()),
        ended => ended,
    }
}

fn serve_exchanges(
    connection: &mut Connection,
    session: &mut Session,
    context: Context<'_>,
    echoes: &mut Option<EchoRun>,
) -> Result<()> {
    let Context { open, idle_timeout, .. } = context;
    let mut json = Vec::new();
    let mut limit = RefusalLimit::with(&session.peer, idle_timeout);
    loop {
        let before = Counters::of(connection);
        if let Some(run) = echoes.as_mut() {
            run.after = before;
        }
        limit.check()?;
        connection.receiver().begin_exchange();
        if open.set_in_exchange(false) {
            return Err(stopping());
        }
        connection.set_timeout(idle_timeout)?;
        connection.set_deadline(limit.deadline);
        let request = match connection.receiver().recv_request(&mut json) {
            Ok(Some(request)) => request,
            Ok(None) if open.stopping() => return Err(stopping()),
            Ok(None) => return Ok(()),
            Err(Error::Refused(refusal)) => {
                connection.sender().refuse(&refusal)?;
                limit.note(ExchangeEnd::Refused);
                continue;
            }
            Err(Error::ConnectionLost(ConnectionLost::TimedOut(_))) if limit.is_up() => {
                return Err(limit.is_over());
            }
            Err(Error::ConnectionLost(ConnectionLost::TimedOut(_))) => return Err(idle_for(idle_timeout)),
            Err(error) => return Err(error),
        };
        connection.set_deadline(None);
        if open.set_in_exchange(true) {
            return Err(stopping());
        }
        match request {
            // These may cross with the end of the exchange that they were meant for.
            Message::End { .. } | Message::Signal { .. } | Message::Window { .. } | Message::Eof => {
                limit.begin();
                continue;
            }
            // One echo run is one request in the log: a line of log a round trip would be most of its time.
            Message::Echo { streamed: false } if session.services.has(Service::Echo) => {
                let run = echoes.get_or_insert_with(|| {
                    // The wait for the first of them is not the run's.
                    let before = Counters { at: Instant::now(), ..before };
                    EchoRun { count: 0, before, after: before }
                });
                echo::serve_echo(connection, session, false)?;
                limit.note(ExchangeEnd::Served);
                run.count += 1;
                continue;
            }
            _ => log_echoes(echoes.take().as_ref(), session),
        }
        // A client that only talks loses nothing when the server stops: the stop need not wait for the end.
        if matches!(request, Message::Chat { .. }) && open.set_in_exchange(false) {
            return Err(stopping());
        }
        limit.note(exchange(connection, session, context, &request, before)?);
        if request.opens_duplex_exchange() && !connection.receiver().peer_ended() {
            // A client that was refused may be silent for as long as one between two exchanges, no longer.
            connection.set_timeout(idle_timeout)?;
            if open.set_in_exchange(false) {
                return Err(stopping());
            }
            connection.set_deadline(limit.deadline);
            connection.receiver().discard_exchange()?;
        }
    }
}

/// How far a connection was at some moment.
#[derive(Debug, Clone, Copy)]
struct Counters {
    at: Instant,
    received: u64,
    sent: u64,
}

impl Counters {
    fn of(connection: &mut Connection) -> Self {
        Self { at: Instant::now(), received: connection.receiver().taken(), sent: connection.sender().sent() }
    }
}

/// Echoes of one frame each, one after the other.
#[derive(Debug)]
struct EchoRun {
    count: u64,
    before: Counters,
    after: Counters,
}

fn log_echoes(run: Option<&EchoRun>, session: &mut Session) {
    let Some(&EchoRun { count, before, after }) = run else { return };
    session.report = RequestReport::default();
    session.log(&RequestRecord {
        verb: "echo",
        elapsed: after.at - before.at,
        received: after.received - before.received,
        sent: after.sent - before.sent,
        outcome: &format!("{count} round trips"),
    });
}

/// One exchange: find the verb, ask whether it is allowed, serve it, log it, and get back in step.
fn exchange(
    connection: &mut Connection,
    session: &mut Session,
    context: Context<'_>,
    request: &Message<'_>,
    before: Counters,
) -> Result<ExchangeEnd> {
    let started = Instant::now();
    session.report = RequestReport { about: request.about(), ..RequestReport::default() };
    let is_duplex = request.opens_duplex_exchange();
    if is_duplex {
        // Within such an exchange the client may be silent as long as it likes.
        connection.set_timeout(None)?;
    }
    let result = serve_verb(connection, session, &context.shared, request).map_err(|error| match error {
        Error::Refused(why) => advised(request.path(), why).into(),
        error => error,
    });
    connection.set_deadline(None);
    let in_step = match &result {
        Err(Error::Refused(refusal)) => connection.sender().refuse(refusal),
        _ => Ok(()),
    };
    let said = session.report.outcome.take();
    let failed = |how: String| said.as_ref().map_or(how.clone(), |said| format!("{said}; {how}"));
    let outcome = match &result {
        Ok(()) => said.unwrap_or_else(|| "ok".into()),
        Err(Error::Refused(refusal)) => failed(format!("refused ({}): {}", refusal.code.as_str(), refusal.message)),
        Err(error) => failed(format!("broken off: {}", error.with_cause())),
    };
    let after = Counters::of(connection);
    let told = RequestRecord {
        verb: request.name(),
        elapsed: started.elapsed(),
        received: after.received - before.received,
        sent: after.sent - before.sent,
        outcome: &outcome,
    };
    match result {
        Ok(()) => {
            session.log(&told);
            Ok(ExchangeEnd::Served)
        }
        Err(Error::Refused(_)) => {
            session.log_refused(&told);
            in_step.map(|()| ExchangeEnd::Refused)
        }
        Err(error) => {
            session.log(&told);
            Err(error)
        }
    }
}

/// How an exchange went that left the connection in step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExchangeEnd {
    Served,
    Refused,
}

/// Requests of a guest that are refused one after the other before its connection is ended.
pub const REFUSALS_MAX: u32 = 100;
/// The same for a known peer, whose scripts may ask for a thousand files that are not there.
pub const PEER_REFUSALS_MAX: u32 = 1_000;
/// How long a guest's connection lives that gets nothing but refusals, from the first of them; or the idle timeout,
/// if that is shorter.
const REFUSED_TIME_MAX: Duration = Duration::from_mins(1);

/// What is borne of a peer that is refused again and again. The own identity may be wrong as often as it likes.
#[derive(Debug)]
struct RefusalLimit {
    /// Refusals one after the other that end the connection; `None`: none do.
    limit: Option<u32>,
    /// How long it may go on without anything being done for it.
    time: Option<Duration>,
    in_a_row: u32,
    /// When its time is over; it has none any more once anything was done.
    deadline: Option<Instant>,
}

impl RefusalLimit {
    fn with(peer: &Peer, idle_timeout: Option<Duration>) -> Self {
        let time = idle_timeout.map_or(REFUSED_TIME_MAX, |idle| idle.min(REFUSED_TIME_MAX));
        let (limit, time) = match peer {
            Peer::Own => (None, None),
            Peer::Known { .. } | Peer::Token { .. } => (Some(PEER_REFUSALS_MAX), None),
            Peer::Guest { .. } => (Some(REFUSALS_MAX), Some(time)),
        };
        Self { limit, time, in_a_row: 0, deadline: None }
    }

    fn note(&mut self, turned: ExchangeEnd) {
        match turned {
            ExchangeEnd::Served => (self.in_a_row, self.time, self.deadline) = (0, None, None),
            ExchangeEnd::Refused => {
                self.in_a_row += 1;
                self.begin();
            }
        }
    }

    /// Its time begins, if it has one: something came that brings it nothing.
    fn begin(&mut self) {
        self.deadline = self.deadline.or_else(|| self.time.map(|time| Instant::now() + time));
    }

    /// Ends a connection that has been borne long enough.
    fn check(&self) -> Result<()> {
        if self.limit.is_some_and(|limit| self.in_a_row >= limit) {
            let text = format!("{} requests were refused one after the other; connect again", self.in_a_row);
            return Err(Refusal::new(ErrorCode::NotAllowed, text).into());
        }
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(self.is_over()),
            _ => Ok(()),
        }
    }

    /// Whether a wait that timed out did so because of this.
    fn is_up(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    fn is_over(&self) -> Error {
        let time = self.time.unwrap_or_default();
        ConnectionLost::TimedOut(format!("nothing but refusals for {time:?}")).into()
    }
}

fn stopping() -> Error {
    Refusal::new(ErrorCode::ShuttingDown, "the server is stopping; connect again later").into()
}

fn idle_for(idle_timeout: Option<Duration>) -> Error {
    let idle = idle_timeout.unwrap_or_default();
    ConnectionLost::TimedOut(format!("no request came for {idle:?}, which is the limit here")).into()
}
