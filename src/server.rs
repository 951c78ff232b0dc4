//! The server: listeners, caps, rooms and open lines, put together; and how it stops.
//!
//! ```text
//! Listener --accept--> Gate --place--> a thread per line
//!     first bytes --> frame: hello, then serve::serve      (the request loop)
//!                 --> bare:  bare::serve_bare              (a tutorial's wire, if one is on)
//! ```

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::bare::{Bare, Caller, serve_bare};
use crate::chat::hub::Hub;
use crate::line::Line;
use crate::net::Stream;
use crate::net::gate::{Caps, Full, Gate, Place};
use crate::net::listen::{Door, Handler, Listener, accept_loop};
use crate::net::open::{OpenLine, OpenLines};
use crate::root::{Root, RootPath};
use crate::serve::{Context, serve, verbs_for};
use crate::session::{Report, Session, millis};
use crate::trust::{Peer, Services};
use crate::wire::conn::encode;
use crate::wire::detect::{First, first_bytes};
use crate::wire::error::{Error, ErrorCode, LineLost, Refusal, Result};
use crate::wire::message::Message;

/// What the server calls itself in `hello`.
const PROGRAM: &str = concat!("tcp-server/", env!("CARGO_PKG_VERSION"));
/// A client that speaks frames says `hello` at once; one that has said nothing by then has no person
/// typing behind it.
const HELLO_TIME_MAX: Duration = Duration::from_secs(30);
/// With a bare wire on, a first segment of one or two bytes could still become a frame: it is a
/// whole request if nothing more comes within this time.
const SHORT_SEGMENT_WAIT: Duration = Duration::from_millis(50);
/// After the grace, lines are cut and their threads given so long to notice: longer than a command is
/// given between TERM and KILL, or it would outlive the server.
const CUT_TIME_MAX: Duration = Duration::from_secs(5);

/// What an operator decides.
#[derive(Debug)]
pub struct Config {
    /// The directory shown.
    pub root: Root,
    /// What guests may do.
    pub guest: Services,
    /// The caps.
    pub caps: Caps,
    /// How long a line between two turns may be silent; `None`: for ever.
    pub idle_timeout: Option<Duration>,
    /// How long a client may take nothing of what is sent to it; `None`: for ever.
    pub stall_timeout: Option<Duration>,
    /// A tutorial's wire beside the frames.
    pub bare: Option<Bare>,
}

/// A server, before and while it runs.
#[derive(Debug)]
pub struct Server {
    root: Arc<Root>,
    guest: Services,
    gate: Arc<Gate>,
    hub: Hub,
    lines: Arc<OpenLines>,
    idle_timeout: Option<Duration>,
    stall_timeout: Option<Duration>,
    bare: Option<Bare>,
}

/// How a stop went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Lines that had to be cut because their turn was not over when the grace was.
    pub cut: usize,
}

impl Server {
    /// A server that does not listen yet.
    ///
    /// # Errors
    /// The threads of the chat could not start.
    pub fn new(config: Config) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            root: Arc::new(config.root),
            guest: config.guest,
            gate: Gate::new(config.caps),
            hub: Hub::new()?,
            lines: Arc::default(),
            idle_timeout: config.idle_timeout,
            stall_timeout: config.stall_timeout,
            bare: config.bare,
        }))
    }

    /// Accepts on `listener` until it is stopped; one thread a listener.
    ///
    /// # Errors
    /// The thread that turns connections away could not start.
    pub fn accept(self: &Arc<Self>, listener: &Listener) -> io::Result<()> {
        let door = Door::open(turned_away)?;
        let server = Arc::clone(self);
        let handler: Arc<Handler> = Arc::new(move |stream, place| server.serve_connection(stream, place));
        accept_loop(listener, &self.gate, &door, &handler);
        Ok(())
    }

    /// Stops: no new lines, lines between two turns at once, lines in a turn when it is over, and
    /// after `grace` those that are left. `stop_now` is asked again and again, for an operator who
    /// does not want to wait.
    pub fn stop(&self, listeners: &[Listener], grace: Duration, stop_now: &dyn Fn() -> bool) -> Stopped {
        listeners.iter().for_each(Listener::stop);
        self.lines.begin_stop();
        let deadline = Instant::now() + grace;
        let tick = Duration::from_millis(50);
        let mut left = self.lines.len();
        while left > 0 && !stop_now() {
            let rest = deadline.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                break;
            }
            left = self.lines.wait_until_none(rest.min(tick));
        }
        if left > 0 {
            self.lines.stop_now();
            self.lines.wait_until_none(CUT_TIME_MAX);
        }
        Stopped { cut: left }
    }

    /// Serves one connection on its own thread, to its end.
    fn serve_connection(self: &Arc<Self>, stream: Stream, place: Place) {
        let started = Instant::now();
        let open = self.lines.register(&stream.control());
        let (id, address) = (open.id(), stream.peer_address());
        tracing::info!(line = id, peer = %address, local = %stream.local_address(), "connected");
        let (wire, ended) = self.converse(stream, &open, &address);
        let outcome = match ended {
            Ok(()) => "closed by the client".to_owned(),
            Err(error) => error.with_cause(),
        };
        tracing::info!(line = id, peer = %address, wire, outcome = outcome.as_str(), ms = millis(started.elapsed()), "disconnected");
        // The place is given back when the line is off the list: who waits for it finds both free.
        drop(open);
        drop(place);
    }

    fn converse(self: &Arc<Self>, stream: Stream, open: &OpenLine, address: &str) -> (&'static str, Result<()>) {
        if let Err(error) = stream.tune(self.stall_timeout) {
            return ("none", Err(error.into()));
        }
        let mut first = Vec::new();
        match self.detect(&stream, &mut first) {
            Ok(First::Frame | First::Undecided) => ("frame", self.serve_frames(stream, &first, open, address)),
            Ok(kind) => match &self.bare {
                Some(bare) if bare.takes(kind) => {
                    let mut session = self.session(address);
                    let caller = Caller { stream, first: &first, open, idle: self.idle_timeout };
                    ("bare", serve_bare(bare, caller, &mut session))
                }
                _ => turn_wire_away(&stream, kind),
            },
            Err(error) => {
                // A bare wire has no words for this, and its client is a person who has gone away.
                if self.bare.is_none() && matches!(error, Error::LineLost(LineLost::TimedOut(_))) {
                    stream.send_last_word(&last_word(ErrorCode::TimedOut, &error.to_string()));
                    stream.linger_after_end();
                }
                ("none", Err(error))
            }
        }
    }

    /// Reads until the first bytes say what wire this is. Where no bare wire is on, everything is
    /// meant to be a frame and its reader says what is wrong with it.
    fn detect(&self, stream: &Stream, first: &mut Vec<u8>) -> Result<First> {
        let mut piece = [0; 1024];
        loop {
            let wait = match (&self.bare, first.is_empty()) {
                (Some(_), false) => Some(SHORT_SEGMENT_WAIT),
                // The tutorials' clients connect first and then wait for a person to type.
                (Some(_), true) => self.idle_timeout,
                (None, _) => Some(self.idle_timeout.map_or(HELLO_TIME_MAX, |idle| idle.min(HELLO_TIME_MAX))),
            };
            match stream.read_within(&mut piece, wait)? {
                None if first.is_empty() || self.bare.is_none() => {
                    return Err(
                        LineLost::TimedOut(format!("nothing was said for {:?}", wait.unwrap_or_default())).into()
                    );
                }
                None => return Ok(if first.contains(&0) { First::Binary } else { First::Bare }),
                // The client has said all that it will say: what it said is a whole request.
                Some(0) if self.bare.is_some() => {
                    return Ok(if first.contains(&0) { First::Binary } else { First::Bare });
                }
                Some(0) => return Ok(First::Undecided),
                Some(len) => first.extend_from_slice(piece.get(..len).unwrap_or_default()),
            }
            match first_bytes(first) {
                First::Undecided => {}
                First::Bare | First::Binary if self.bare.is_none() => return Ok(First::Frame),
                kind => return Ok(kind),
            }
        }
    }

    fn serve_frames(self: &Arc<Self>, stream: Stream, first: &[u8], open: &OpenLine, address: &str) -> Result<()> {
        let mut session = self.session(address);
        stream.set_read_timeout(Some(self.idle_timeout.map_or(HELLO_TIME_MAX, |idle| idle.min(HELLO_TIME_MAX))))?;
        let Some(mut line) = Line::answer(stream, first, PROGRAM, &verbs_for(session.services))? else {
            return Ok(());
        };
        tracing::debug!(line = open.id(), program = ?line.greeting()?.program, "hello");
        let context = Context { hub: &self.hub, open, idle_timeout: self.idle_timeout };
        let ended = serve(&mut line, &mut session, context);
        if let Err(error) = &ended {
            line.say_why(error);
        }
        line.close();
        ended
    }

    fn session(&self, address: &str) -> Session {
        Session {
            peer: Peer::Guest { address: address.to_owned() },
            services: self.guest,
            root: Arc::clone(&self.root),
            cwd: RootPath::default(),
            gate: Arc::clone(&self.gate),
            report: Report::default(),
        }
    }
}

/// Runs `server` on all `listeners`, a thread each, and returns when all of them are stopped.
///
/// # Errors
/// A thread could not start.
pub fn accept_on_all(server: &Arc<Server>, listeners: &[Listener]) -> io::Result<()> {
    thread::scope(|scope| {
        let accepting: io::Result<Vec<_>> = listeners
            .iter()
            .map(|listener| {
                thread::Builder::new().name("accept".into()).spawn_scoped(scope, || server.accept(listener))
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

/// The words for somebody beyond the caps.
fn turned_away(full: Full) -> Vec<u8> {
    last_word(ErrorCode::Busy, &full.to_string())
}

/// An `error` frame for somebody with whom no line was begun.
fn last_word(code: ErrorCode, why: &str) -> Vec<u8> {
    encode(&Message::Error { code, message: why.into() }, &[]).unwrap_or_default()
}

/// What speaks neither frames nor the wire that is on is told so, in its own words where it has any.
fn turn_wire_away(stream: &Stream, kind: First) -> (&'static str, Result<()>) {
    let (wire, word, why): (_, &[u8], _) = match kind {
        First::Http => ("http", HTTP_REFUSAL, "HTTP is not served here"),
        First::Tls => ("tls", TLS_REFUSAL, "TLS is not served here"),
        _ => ("bare", b"", "a request with a NUL in it is not handed to this wire"),
    };
    stream.send_last_word(word);
    stream.linger_after_end();
    (wire, Err(Error::Refused(Refusal::new(ErrorCode::BadRequest, why))))
}

const HTTP_REFUSAL: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 59\r\n\
    Connection: close\r\n\r\nlandline: this port speaks frames; use tcp-client instead\r\n";

/// A fatal alert, `protocol_version` (RFC 8446, 6.2), in a record of TLS 1.2's number as 5.1 asks.
const TLS_REFUSAL: &[u8] = &[21, 3, 3, 0, 2, 2, 70];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_http_refusal_has_the_length_that_it_says() {
        let text = std::str::from_utf8(HTTP_REFUSAL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }
}
