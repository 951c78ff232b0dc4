//! The request loop and the table of verbs.
//!
//! One row a verb: its word, the services of which one is needed, and the function that serves it.
//! What a peer may do, what `hello` says it may do, and what the documents list all fall out of it.

use std::time::{Duration, Instant};

use crate::chat::hub::Hub;
use crate::connection::Connection;
use crate::error::{ConnectionLost, Error, ErrorCode, Refusal, Result};
use crate::fs::root::advised;
use crate::net::open::OpenConnection;
use crate::session::{RequestRecord, RequestReport, Session};
use crate::trust::Service::{Chat, Echo, Exec, Read, Write};
use crate::trust::home::Home;
use crate::trust::identity::Fingerprint;
use crate::trust::{Peer, Service, Services, policy};
use crate::wire::message::Message;
use crate::{chat, dir, echo, exec, files, pair, trees};

/// What serves a verb: the connection, its session, what the connections share, the request.
type Serve = fn(&mut Connection, &mut Session, &ServerState<'_>, &Message<'_>) -> Result<()>;

/// What connections share, and what outlives them.
#[derive(Debug, Clone, Copy)]
pub struct ServerState<'s> {
    /// The rooms.
    pub hub: &'s Hub,
    /// The peers' places and detached commands.
    pub exec: exec::ExecState<'s>,
}

/// One row of the table.
#[derive(Debug)]
pub struct Verb {
    /// The request's `type`.
    pub name: &'static str,
    /// A peer with any of these services may ask it.
    pub services: &'static [Service],
    serve: Serve,
}

/// Where a session stands matters to whoever can use a path, and to nobody else.
const ANY_PATH: &[Service] = &[Read, Write, Exec];

/// Every request that this server answers.
pub const VERBS: &[Verb] = &[
    Verb {
        name: "echo",
        services: &[Echo],
        serve: |connection, session, _, request| match request {
            Message::Echo { streamed } => echo::serve_echo(connection, session, *streamed),
            other => Err(not_this_verb(other)),
        },
    },
    Verb {
        name: "chat",
        services: &[Chat],
        serve: |connection, session, shared, request| match request {
            Message::Chat { room, nick } => chat::serve_chat(connection, session, shared.hub, room, nick),
            other => Err(not_this_verb(other)),
        },
    },
    Verb {
        name: "exec",
        services: &[Exec],
        serve: |connection, session, shared, request| match request {
            Message::Exec { form, path, place, terms, modes } => {
                let (path, place) = (path.as_deref(), place.as_deref());
                exec::serve_exec(
                    connection,
                    session,
                    shared.exec,
                    exec::ExecRequest { form: *form, path, place, terms: *terms, modes: modes.as_deref() },
                )
            }
            other => Err(not_this_verb(other)),
        },
    },
    Verb {
        name: "jobs",
        services: &[Exec],
        serve: |connection, session, shared, _| exec::jobs::serve_jobs(connection, session, shared.exec.jobs),
    },
    Verb {
        name: "attach",
        services: &[Exec],
        serve: |connection, session, shared, request| match request {
            Message::Attach { job, watch, tail } => {
                exec::jobs::serve_attach(connection, session, shared.exec.jobs, job, (*watch, *tail))
            }
            other => Err(not_this_verb(other)),
        },
    },
    Verb {
        name: "kill",
        services: &[Exec],
        serve: |connection, session, shared, request| match request {
            Message::Kill { job, signal } => {
                exec::jobs::serve_kill(connection, session, shared.exec.jobs, job, signal.as_deref())
            }
            other => Err(not_this_verb(other)),
        },
    },
    Verb {
        name: "place",
        services: &[Exec],
        serve: |connection, session, shared, request| match request {
            Message::Place { place, path, ttl_ms, variables } => {
                let change = (path.as_deref(), *ttl_ms, *variables);
                exec::places::serve_place(connection, session, shared.exec.places, place, change)
            }
            other => Err(not_this_verb(other)),
        },
    },
    Verb {
        name: "places",
        services: &[Exec],
        serve: |connection, session, shared, _| exec::places::serve_places(connection, session, shared.exec.places),
    },
    Verb {
        name: "cd",
        services: ANY_PATH,
        serve: |connection, session, _, request| match request {
            Message::Cd { path } => dir::serve_cd(connection, session, path),
            other => Err(not_this_verb(other)),
        },
    },
    Verb { name: "pwd", services: ANY_PATH, serve: |connection, session, _, _| dir::serve_pwd(connection, session) },
    Verb {
        name: "ls",
        services: &[Read],
        serve: |connection, session, _, request| match request {
            Message::Ls { path } => dir::serve_ls(connection, session, path),
            other => Err(not_this_verb(other)),
        },
    },
    Verb {
        name: "get",
        services: &[Read],
        serve: |connection, session, _, request| match request {
            Message::Get { path } => files::serve_get(connection, session, path),
            other => Err(not_this_verb(other)),
        },
    },
    Verb {
        name: "put",
        services: &[Write],
        serve: |connection, session, _, request| match request {
            Message::Put { path, name, attributes } => files::serve_put(connection, session, path, name, attributes),
            other => Err(not_this_verb(other)),
        },
    },
    Verb { name: "pull", services: &[Read], serve: |connection, session, _, _| trees::serve_pull(connection, session) },
    Verb {
        name: "push",
        services: &[Write],
        serve: |connection, session, _, request| match request {
            Message::Push { path } => trees::serve_push(connection, session, path),
            other => Err(not_this_verb(other)),
        },
    },
    Verb {
        name: "mkdir",
        services: &[Write],
        serve: |connection, session, _, request| match request {
            Message::Mkdir { path, parents } => dir::serve_mkdir(connection, session, path, *parents),
            other => Err(not_this_verb(other)),
        },
    },
    Verb {
        name: "rm",
        services: &[Write],
        serve: |connection, session, _, request| match request {
            Message::Rm { path, recursive } => dir::serve_rm(connection, session, path, *recursive),
            other => Err(not_this_verb(other)),
        },
    },
    Verb {
        name: "mv",
        services: &[Write],
        serve: |connection, session, _, request| match request {
            Message::Mv { path, to } => dir::serve_mv(connection, session, path, to),
            other => Err(not_this_verb(other)),
        },
    },
    Verb {
        name: "parts",
        services: &[Write],
        serve: |connection, session, _, request| match request {
            Message::Parts { path, clean } => trees::unfinished::serve_parts(connection, session, path, *clean),
            other => Err(not_this_verb(other)),
        },
    },
];

/// The verbs that these services allow, for `hello`.
pub fn verbs_for(services: Services) -> Vec<&'static str> {
    VERBS.iter().filter(|verb| services.has_any(verb.services)).map(|verb| verb.name).collect()
}

/// What a connection's requests are served in.
#[derive(Debug, Clone, Copy)]
pub struct Context<'s> {
    /// The rooms, places and detached commands.
    pub shared: ServerState<'s>,
    /// The connection's entry among the open ones.
    pub open: &'s OpenConnection,
    /// How long the connection may be silent between two exchanges; `None`: without limit.
    pub idle_timeout: Option<Duration>,
    /// The server's own key, and where it keeps whom it knows, for somebody who wants to be introduced.
    pub own: Fingerprint,
    /// See `own`.
    pub home: &'s Home,
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
        limit.check()?;
        connection.receiver().begin_exchange();
        if open.set_in_exchange(false) {
            return Err(stopping());
        }
        connection.set_timeout(idle_timeout)?;
        connection.set_deadline(limit.deadline);
        let before = Counters::of(connection);
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
            Message::End { .. } | Message::Signal { .. } | Message::Window(_) | Message::Eof => {
                limit.begin();
                continue;
            }
            // One echo run is one request in the log: a line of log a round trip would be most of its time.
            Message::Echo { streamed: false } if session.services.has(Echo) => {
                // The wait for the first of them is not the run's.
                let before = Counters { at: Instant::now(), ..before };
                let run = echoes.get_or_insert(EchoRun { count: 0, before, after: before });
                echo::serve_echo(connection, session, false)?;
                limit.note(ExchangeEnd::Served);
                run.count += 1;
                run.after = Counters::of(connection);
                continue;
            }
            _ => log_echoes(echoes.take().as_ref(), session),
        }
        // Somebody who only talks loses nothing when the server stops: the stop need not wait for the end.
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
    session.report = RequestReport { about: about(request), ..RequestReport::default() };
    let is_duplex = request.opens_duplex_exchange();
    if is_duplex {
        // Within such an exchange the client may be silent as long as it likes.
        connection.set_timeout(None)?;
    }
    let result = match request {
        // Whoever knows the code may ask: no service is needed, and none is had before it is known.
        Message::Pair { name } => pair::serve_pair(connection, session, context.home, context.own, name),
        _ => verb_for(request, session).and_then(|verb| (verb.serve)(connection, session, &context.shared, request)),
    }
    .map_err(|error| match error {
        Error::Refused(why) => advised(path_of(request), why).into(),
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
/// How long a guest's connection lives that gets nothing but refusals, from the first of them; or `--idle-timeout`,
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
            Peer::Known { .. } => (Some(PEER_REFUSALS_MAX), None),
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

fn verb_for(request: &Message<'_>, session: &Session) -> Result<&'static Verb> {
    let name = request.name();
    let Some(verb) = VERBS.iter().find(|verb| verb.name == name) else {
        return Err(
            Refusal::new(ErrorCode::BadRequest, format!("{name} is not a request, or not at this point")).into()
        );
    };
    if session.services.has_any(verb.services) {
        return Ok(verb);
    }
    if session.withheld.has_any(verb.services) {
        return Err(policy::withheld_refusal(name).into());
    }
    let granted = session.services.with(session.withheld);
    Err(policy::refusal(name, verb.services, &session.peer, (granted, session.is_narrowed)).into())
}

/// The path that a request is about, as it was written; empty: there is none.
fn path_of<'r>(request: &'r Message<'_>) -> &'r [u8] {
    match request {
        Message::Cd { path }
        | Message::Ls { path }
        | Message::Mkdir { path, .. }
        | Message::Rm { path, .. }
        | Message::Parts { path, .. }
        | Message::Get { path }
        | Message::Put { path, .. }
        | Message::Mv { path, .. }
        | Message::Push { path } => path,
        _ => &[],
    }
}

/// What a request is about, where its header says so.
fn about(request: &Message<'_>) -> String {
    let shown = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    match request {
        Message::Put { path, name, .. } if path.is_empty() || path.ends_with(b"/") => {
            shown(&[path, &name[..]].concat())
        }
        Message::Mv { path, to } => format!("{} -> {}", shown(path), shown(to)),
        Message::Chat { room, nick } => format!("{nick} in {room}"),
        Message::Place { place, .. } => place.clone().into_owned(),
        Message::Pair { name } => format!("calls itself {name}"),
        other => shown(path_of(other)),
    }
}

/// The table pairs names with functions; a mistake in it is answered, not a panic.
fn not_this_verb(request: &Message<'_>) -> Error {
    Refusal::new(ErrorCode::BadRequest, format!("{} has no place here", request.name())).into()
}

fn stopping() -> Error {
    Refusal::new(ErrorCode::ShuttingDown, "the server is stopping; connect again later").into()
}

fn idle_for(idle_timeout: Option<Duration>) -> Error {
    let idle = idle_timeout.unwrap_or_default();
    ConnectionLost::TimedOut(format!("no request came for {idle:?} (--idle-timeout)")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_is_a_message_and_needs_a_service() {
        for verb in VERBS {
            assert!(Message::NAMES.contains(&verb.name), "{} is no message", verb.name);
            assert!(!verb.services.is_empty(), "{} could be asked by anybody", verb.name);
        }
    }

    /// What the log says of a request and what its refusal advises are of the same path.
    #[test]
    fn every_request_with_a_path_is_about_it() {
        let headers = [
            r#"{"type":"cd","path":"/x"}"#,
            r#"{"type":"ls","path":"/x"}"#,
            r#"{"type":"get","path":"/x"}"#,
            r#"{"type":"put","path":"/x","name":"n","size":0}"#,
            r#"{"type":"push","path":"/x"}"#,
            r#"{"type":"mkdir","path":"/x","parents":true}"#,
            r#"{"type":"rm","path":"/x","recursive":true}"#,
            r#"{"type":"mv","path":"/x","to":"y"}"#,
            r#"{"type":"parts","path":"/x","clean":true}"#,
        ];
        for header in headers {
            let request = crate::wire::message::Header::parse(header.as_bytes()).unwrap().message().unwrap();
            assert_eq!(path_of(&request), b"/x", "{header}");
            assert!(about(&request).starts_with("/x"), "{header}");
        }
    }

    #[test]
    fn every_verb_for_every_kind_of_peer() {
        use crate::trust::peers::{Peers, PeersState};
        use crate::trust::policy::{Proof, Rules};
        let key = |name: &str| Fingerprint::of_spki(name.as_bytes());
        let entry = |name: &str, services: &str| {
            format!("[{name}]\nfingerprint = \"{}\"\nservices = \"{services}\"\nadded = \"\"\n", key(name))
        };
        let names = ["echo", "chat", "read", "write", "exec", "none", "all"];
        let text: String = names.iter().map(|name| entry(name, name)).collect();
        let known: PeersState = Ok(std::sync::Arc::new(Peers::parse(&text).unwrap()));
        let rules = Rules { own: key("own"), known: &known, guest: "chat".parse().unwrap() };
        let may = |proof: Proof| -> Vec<&str> {
            let grant = rules.authorize(proof, "").unwrap();
            assert_eq!(grant.peer == Peer::Own, proof == Proof::SameUser || proof == Proof::Key(key("own")));
            verbs_for(grant.services)
        };
        let all: Vec<&str> = VERBS.iter().map(|verb| verb.name).collect();
        let paths = ["cd", "pwd"];
        let [read, write] = [["ls", "get", "pull"].as_slice(), &["put", "push", "mkdir", "rm", "mv", "parts"]]
            .map(|verbs| [&paths, verbs].concat());
        for (proof, want) in [
            (Proof::SameUser, all.clone()),
            (Proof::Key(key("own")), all.clone()),
            (Proof::Key(key("all")), all.clone()),
            (Proof::Key(key("echo")), vec!["echo"]),
            (Proof::Key(key("chat")), vec!["chat"]),
            (Proof::Key(key("read")), read),
            (Proof::Key(key("write")), write),
            (Proof::Key(key("exec")), vec!["exec", "jobs", "attach", "kill", "place", "places", "cd", "pwd"]),
            // Who was only dialled, who is unknown, and who shows nothing get what guests get.
            (Proof::Key(key("none")), vec!["chat"]),
            (Proof::Key(key("stranger")), vec!["chat"]),
            (Proof::Nothing, vec!["chat"]),
        ] {
            assert_eq!(may(proof), want, "{proof:?}");
        }
    }

    #[test]
    fn guests_see_only_what_they_may_use() {
        assert_eq!(verbs_for("echo,chat".parse().unwrap()), ["echo", "chat"]);
        assert_eq!(verbs_for("read".parse().unwrap()), ["cd", "pwd", "ls", "get", "pull"]);
        assert_eq!(verbs_for(Services::NONE), [""; 0]);
        assert_eq!(verbs_for("all".parse().unwrap()).len(), VERBS.len());
    }
}
