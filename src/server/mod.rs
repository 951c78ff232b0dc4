//! The server: listeners, caps, rooms and open connections, put together; and how it stops.
//!
//! ```text
//! Listener --accept--> Gate --place--> a thread per connection
//!     first bytes --> TLS:   handshake, then as a frame    (who it is, its key has proved)
//!                 --> frame: hello, then serve::serve      (the request loop)
//!                 --> bare:  bare::serve_bare              (a tutorial's wire, if one is on)
//! ```
//!
//! In between stands one question, put to [`trust::policy`](crate::trust::policy): who is this, and
//! what may it do.

pub mod requests;
pub mod verbs;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::audit::{Audit, AuditRecord};
use crate::chat::hub::Hub;
use crate::connection::Connection;
use crate::error::{ConnectionLost, Error, ErrorCode, Refusal, Result};
use crate::exec::jobs::Jobs;
use crate::exec::leftovers::Leftovers;
use crate::exec::places::Places;
use crate::exec::terminal::Terminals;
use crate::fs::part::Parts;
use crate::fs::part::records::{PARTS_DIR, Records};
use crate::fs::root::{Root, RootPath};
use crate::memory::{Pool, Pools};
use crate::net::Stream;
use crate::net::budget::{Counted, CountedKind, LogBudget, Unwritten};
use crate::net::gate::{Caps, Gate, Rank, Ticket, TurnedAway};
use crate::net::listen::{Door, Handler, Listener, STACK_LEN, accept_loop};
use crate::net::open::{OpenConnection, OpenConnections};
use crate::net::tls::HandshakeError;
use crate::server::requests::{Context, serve};
use crate::server::verbs::{ServerState, verbs_for};
use crate::session::{RequestReport, Session, millis};
use crate::slots::{CommandCaps, CommandSlots};
use crate::trust::commands::Commands;
use crate::trust::grants::{GrantInUse, GrantsInUse, PeersWatch};
use crate::trust::home::Home;
use crate::trust::identity::{Fingerprint, Identity};
use crate::trust::last_seen::LastSeen;
use crate::trust::peers::{KnownPeers, PeersForOpen, PeersState};
use crate::trust::policy::{Entrance, Grant, Power, Proof, Rules};
use crate::trust::{Owner, Peer, Service, Services};
use crate::tutorial::{Caller, Tutorial, serve_tutorial};
use crate::wire::channel::{Sender, encode};
use crate::wire::detect::{First, first_bytes, looks_like_http};
use crate::wire::http_shape::{HttpShape, OPEN_LEN_MAX};
use crate::wire::message::Message;

/// What the log says only of a connection's beginning and end: a person at a terminal sees who was let in and what was
/// asked for without it.
pub const FRAME_OF_REQUESTS: &str = "connections";

/// What the server calls itself in `hello`.
const PROGRAM: &str = concat!("tcp-server/", env!("CARGO_PKG_VERSION"));
/// A client that speaks frames or TLS begins at once; one that has said nothing by then has no person
/// typing behind it.
const FIRST_BYTES_TIME_MAX: Duration = Duration::from_secs(10);
/// A whole TLS handshake, however slowly it trickles in.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// A whole `hello`, likewise. Not shorter: over TLS the connection is known to be a client's, and a person
/// who tries it by hand needs time to type.
const HELLO_TIME_MAX: Duration = Duration::from_secs(30);
/// How often the known peers are looked at again, so that whoever is revoked is out within a second.
const REVOCATION_INTERVAL: Duration = Duration::from_millis(250);
/// How often unfinished copies are looked at that may be too old.
const SWEEP_INTERVAL: Duration = Duration::from_hours(1);
/// With a bare wire on, a first segment of one or two bytes could still become a frame, and where that wire
/// runs or serves something, a first line that has not ended could still become HTTP's: it is a whole request
/// if nothing more comes within this time.
const SHORT_SEGMENT_WAIT: Duration = Duration::from_millis(50);
/// After the grace, connections are cut and their threads given so long to notice: longer than a command is
/// given between TERM and KILL, or it would outlive the server.
const CUT_TIME_MAX: Duration = Duration::from_secs(5);

/// What an operator decides.
#[derive(Debug)]
pub struct Config {
    /// This server's key.
    pub identity: Identity,
    /// Where it keeps whom it knows.
    pub home: Home,
    /// Nobody gets any service, known or not: only pairings are served.
    pub is_for_pairing_only: bool,
    /// The directory shown.
    pub root: Root,
    /// What guests may do.
    pub guest: Services,
    /// The caps.
    pub caps: Caps,
    /// What commands may take.
    pub command_caps: CommandCaps,
    /// What commands can do.
    pub power: Power,
    /// How long a connection between two exchanges may be silent; `None`: without limit.
    pub idle_timeout: Option<Duration>,
    /// How long a client may take nothing of what is sent to it; `None`: without limit.
    pub stall_timeout: Option<Duration>,
    /// A tutorial's wire beside the frames.
    pub bare: Option<Tutorial>,
    /// How long an unfinished copy is kept that nothing goes on with; `None`: without limit.
    pub part_ttl: Option<Duration>,
    /// Where what is done here is recorded, if it is.
    pub audit: Option<Audit>,
}

/// A server, before and while it runs.
#[derive(Debug)]
pub struct Server {
    identity: Identity,
    is_for_pairing_only: bool,
    roster: KnownPeers,
    notebook: LastSeen,
    audit: Option<Arc<Audit>>,
    root: Arc<Root>,
    guest: Services,
    gate: Arc<Gate>,
    slots: Arc<CommandSlots>,
    memory: Pools<Fingerprint>,
    power: Power,
    hub: Hub,
    places: Places,
    jobs: Arc<Jobs>,
    leftovers: Arc<Leftovers>,
    /// Whose unfinished copies there are; `None`: nothing is written here.
    part_records: Option<Arc<Records>>,
    terminals: Terminals,
    connections: Arc<OpenConnections>,
    holders: GrantsInUse,
    idle_timeout: Option<Duration>,
    stall_timeout: Option<Duration>,
    bare: Option<Tutorial>,
}

/// How a stop went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Connections that had to be cut because their turn was not over when the grace was.
    pub cut: usize,
}

impl Server {
    /// A server that does not listen yet.
    ///
    /// # Errors
    /// The root cannot be shown, or a thread could not start.
    pub fn new(config: Config) -> io::Result<Arc<Self>> {
        let jobs = if config.is_for_pairing_only {
            Jobs::none()
        } else {
            Jobs::open(&config.home).map_err(io::Error::other)?
        };
        let part_records =
            if config.is_for_pairing_only { None } else { Some(Arc::new(Records::open(config.home.join(PARTS_DIR))?)) };
        let server = Arc::new(Self {
            part_records,
            root: Arc::new(config.root.hiding(config.home.path())?),
            identity: config.identity,
            is_for_pairing_only: config.is_for_pairing_only,
            roster: KnownPeers::of(config.home),
            notebook: LastSeen::default(),
            audit: config.audit.map(Arc::new),
            guest: config.guest,
            gate: Gate::new(config.caps),
            slots: CommandSlots::new(config.command_caps),
            memory: Pools::default(),
            power: config.power,
            hub: Hub::new()?,
            places: Places::default(),
            jobs,
            leftovers: Leftovers::none()?,
            terminals: Terminals::default(),
            connections: Arc::default(),
            holders: GrantsInUse::default(),
            idle_timeout: config.idle_timeout,
            stall_timeout: config.stall_timeout,
            bare: config.bare,
        });
        // A list that cannot be read is said at once, not when the first peer comes.
        drop(server.roster.now());
        let watched = Arc::downgrade(&server);
        thread::Builder::new().name("revocations".into()).stack_size(STACK_LEN).spawn(move || {
            let mut watch = PeersWatch::default();
            while let Some(server) = watched.upgrade() {
                server.end_narrowed(&mut watch);
                server.tell_unwritten(false);
                drop(server);
                thread::sleep(REVOCATION_INTERVAL);
            }
        })?;
        server.sweep_parts(config.part_ttl)?;
        Ok(server)
    }

    /// Removes unfinished copies that are too old, now and every hour; what a crash left, too.
    fn sweep_parts(&self, ttl: Option<Duration>) -> io::Result<()> {
        let Some(records) = self.part_records.as_ref().map(Arc::downgrade) else { return Ok(()) };
        let interval = ttl.map_or(SWEEP_INTERVAL, |ttl| ttl.clamp(Duration::from_secs(1), SWEEP_INTERVAL));
        thread::Builder::new().name("sweep".into()).stack_size(STACK_LEN).spawn(move || {
            while let Some(records) = records.upgrade() {
                records.sweep(ttl, None);
                drop(records);
                thread::sleep(interval);
            }
        })?;
        Ok(())
    }

    /// Where a peer's files are on their way in. What a guest leaves is nobody's, since another could come as it.
    fn parts_of(&self, peer: &Peer) -> Arc<Parts> {
        let owner = peer.owner().filter(|_| matches!(peer, Peer::Own | Peer::Known { .. }));
        Parts::new(self.part_records.clone(), owner.map(|owner| owner.to_string()))
    }

    /// Ends what peers may not do any more: connections whose peer may do less than they were granted, and detached
    /// commands.
    fn end_narrowed(&self, watch: &mut PeersWatch) {
        let Some((PeersForOpen { peers, .. }, is_news)) = watch.look(&self.roster) else { return };
        let guest = self.guest;
        let may_run = |owner: &Owner| match owner {
            Owner::Own => Some(Commands::Any),
            Owner::Key(key) => match peers.by_key(key).filter(|peer| peer.services != Services::NONE) {
                Some(peer) => peer.services.has(Service::Exec).then(|| peer.commands.clone()),
                None => guest.has(Service::Exec).then_some(Commands::Any),
            },
        };
        // One that was being started when the list changed is found by the next look.
        self.jobs.end_unless(&may_run);
        if !is_news {
            return;
        }
        self.places.forget_unless(&|owner| may_run(owner).is_some());
        let known = Ok(Arc::clone(&peers));
        let beyond = self.holders.beyond(|held| {
            let now = self.grant(&known, held.proof, (&held.address, held.entrance)).ok()?;
            // A guest that is known now has just been paired, on this connection: it would lose the word that says
            // so. It holds no more than any guest does.
            let was_paired = matches!(held.grant.peer, Peer::Guest { .. }) && now.peer.is_known();
            Some(if was_paired { held.grant.clone() } else { now })
        });
        self.connections.cut(&beyond);
        for connection in beyond {
            tracing::info!(connection, "ended: its peer was revoked, or may do less now");
        }
    }

    /// Tells of the lines that were not written to the logs, when their interval is over or at the `end`.
    fn tell_unwritten(&self, end: bool) {
        for Unwritten { kind, label, count } in self.gate.log_budget().take_unwritten(end) {
            let who = label.as_str();
            let record = |record: &AuditRecord<'_>| self.audit.as_ref().map_or((), |audit| audit.record(record));
            match kind {
                CountedKind::Guests => {
                    tracing::info!(who, count, "requests of guests: and {count} more like it");
                    record(&AuditRecord::summed_of_guests(who, &format!("{count} more like those before")));
                }
                CountedKind::Peer(key) => {
                    tracing::info!(who, count, "refused requests: and {count} more like it");
                    let outcome = format!("refused: {count} more like those before");
                    record(&AuditRecord::summed(who, &Fingerprint::of_bytes(key), &outcome));
                }
                CountedKind::Strangers => {
                    tracing::info!(who, count, "strangers and what they were refused: and {count} more like it");
                }
            }
        }
    }

    /// Accepts on `listener` until it is stopped; one thread a listener.
    ///
    /// # Errors
    /// The thread that turns connections away could not start.
    pub fn accept(self: &Arc<Self>, listener: &Listener) -> io::Result<()> {
        let door = Door::open(self.gate.caps().turned_away, turned_away)?;
        let server = Arc::clone(self);
        let handler: Arc<Handler> = Arc::new(move |stream, place| server.serve_connection(stream, place));
        accept_loop(listener, &self.gate, &door, &handler);
        Ok(())
    }

    /// Stops: no new connections, connections between two exchanges at once, connections in an exchange when it is over, and
    /// after `grace` those that are left. `stop_now` is asked again and again, for an operator who
    /// does not want to wait.
    pub fn stop(&self, listeners: &[Listener], grace: Duration, stop_now: &dyn Fn() -> bool) -> Stopped {
        listeners.iter().for_each(Listener::stop);
        self.connections.begin_stop();
        self.terminals.announce_stop(grace);
        let deadline = Instant::now() + grace;
        let tick = Duration::from_millis(50);
        let mut left = self.connections.len();
        while left > 0 && !stop_now() {
            let rest = deadline.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                break;
            }
            left = self.connections.wait_until_none(rest.min(tick));
        }
        if left > 0 {
            self.connections.stop_now();
            self.connections.wait_until_none(CUT_TIME_MAX);
        }
        let jobs = self.jobs.end_all(deadline, stop_now);
        if jobs > 0 {
            tracing::warn!(jobs, "detached commands were ended");
        }
        self.tell_unwritten(true);
        Stopped { cut: left }
    }

    /// Serves one connection on its own thread, to its end.
    fn serve_connection(self: &Arc<Self>, stream: Stream, place: Ticket) {
        let started = Instant::now();
        let open = self.connections.register(&stream.control());
        let user = stream.peer_user().map_or(String::new(), |user| format!("user {user}"));
        let (id, address) = (open.id(), stream.peer_address() + &user);
        let entrance = if stream.is_at_loopback() { Entrance::Loopback } else { Entrance::Network };
        let counted = self.gate.log_budget().count_stranger(place.origin());
        let is_logged = counted.is_allowed;
        let mut caller = Accepted { open, place, address, local: stream.local_address(), entrance, counted, is_logged };
        if is_logged {
            caller.log_connected();
        }
        let (wire, ended) = self.converse(stream, &mut caller);
        let outcome = match ended {
            _ if caller.place.made_way() => TurnedAway::MadeWay.to_string(),
            Ok(()) => "closed by the client".to_owned(),
            Err(error) => error.with_cause(),
        };
        self.holders.forget(id);
        if caller.is_logged {
            let ms = millis(started.elapsed());
            tracing::info!(
                target: FRAME_OF_REQUESTS,
                connection = id,
                peer = %caller.address,
                wire,
                outcome = outcome.as_str(),
                ms,
                "disconnected"
            );
        }
        // The place is given back when the connection is off the list: who waits for it finds both free.
        drop(caller.open);
        drop(caller.place);
    }

    fn converse(self: &Arc<Self>, stream: Stream, caller: &mut Accepted) -> (&'static str, Result<()>) {
        if let Err(error) = stream.tune(self.stall_timeout, self.idle_timeout) {
            return ("none", Err(error.into()));
        }
        let mut first = Vec::new();
        match self.detect(&stream, &mut first) {
            Ok(First::Tls) => ("tls", self.serve_tls(stream, &first, caller)),
            Ok(First::Frame | First::Undecided) => {
                let own = rustix::process::geteuid().as_raw();
                let is_same_user = stream.peer_user() == Some(own);
                let proof = if is_same_user { Proof::SameUser } else { Proof::Nothing };
                ("frame", self.serve_frames(stream, &first, caller, proof))
            }
            Ok(kind) => match &self.bare {
                Some(bare) if bare.takes(kind) => ("bare", self.serve_bare(bare, stream, &first, caller)),
                _ => turn_wire_away(&stream, kind),
            },
            Err(error) => {
                // A bare wire has no words for this, and its client is a person who has gone away.
                if self.bare.is_none() && matches!(error, Error::ConnectionLost(ConnectionLost::TimedOut(_))) {
                    stream.send_last_word(&last_word(ErrorCode::TimedOut, &error.to_string()));
                    stream.linger_after_end();
                }
                ("none", Err(error))
            }
        }
    }

    /// Shakes hands; whose key it is, the policy says.
    fn serve_tls(self: &Arc<Self>, stream: Stream, first: &[u8], caller: &mut Accepted) -> Result<()> {
        let limit = self.idle_timeout.map_or(HANDSHAKE_TIME_MAX, |idle| idle.min(HANDSHAKE_TIME_MAX));
        let (origin, control) = (caller.place.origin(), stream.control());
        let stream = self.shake_hands(stream, first, limit)?.map_err(|error| {
            // It is not the client's failure if we hung up.
            if !caller.place.made_way() {
                self.gate.note_failure(origin, 1);
            }
            if matches!(error, HandshakeError::Failed(_) | HandshakeError::OtherProtocol) {
                // In TLS 1.3 a client has finished before its certificate is looked at, and may have sent
                // more by then: closing on top of that would lose the alert that says why.
                control.linger_after_end();
            }
            lost(error)
        })?;
        if stream.tls().is_some_and(|tls| !tls.speaks_ours()) {
            let refusal = Refusal::new(ErrorCode::BadRequest, "offer landline/1 in the TLS handshake (ALPN: RFC 7301)");
            let sender = Sender::new(stream.split().1);
            sender.refuse(&refusal)?;
            sender.lock().stream().close();
            return Err(refusal.into());
        }
        let key = stream.tls().map(|tls| Fingerprint::of_spki(tls.peer_spki()));
        self.serve_frames(stream, &[], caller, key.map_or(Proof::Nothing, Proof::Key))
    }

    /// On a thread that ends with it: the post-quantum key exchange uses more than 32 KiB of stack, and
    /// a connection would keep what its own thread has once used for as long as it is open.
    fn shake_hands(&self, stream: Stream, first: &[u8], limit: Duration) -> Result<Result<Stream, HandshakeError>> {
        let _thread = self.gate.take_threads(1).map_err(|full| Refusal::new(ErrorCode::Busy, full.to_string()))?;
        let task = move || stream.accept_tls(first, self.identity.credentials(), limit);
        let shaken = thread::scope(|scope| {
            let thread = thread::Builder::new().name("handshake".into()).stack_size(STACK_LEN);
            Ok(thread.spawn_scoped(scope, task)?.join())
        });
        shaken.and_then(|ended| ended.map_err(|_panic| io::Error::other("a handshake panicked"))).map_err(Error::from)
    }

    fn serve_bare(
        self: &Arc<Self>,
        bare: &Tutorial,
        stream: Stream,
        first: &[u8],
        caller: &mut Accepted,
    ) -> Result<()> {
        // Whoever knows a bare wire is a guest, also over a Unix socket: a script proves nothing.
        let granted = self.judge(Proof::Nothing, caller);
        let granted = granted.and_then(|grant| admit(&mut caller.place, Rank::Guest).map(|()| grant));
        let mut session = match granted {
            Ok(grant) => self.session(grant, caller)?,
            Err(refusal) => {
                // It has no words for this.
                stream.linger_after_end();
                return Err(refusal.into());
            }
        };
        let caller = Caller { stream, first, open: &caller.open, idle: self.idle_timeout };
        serve_tutorial(bare, caller, &mut session)
    }

    /// As [`judge`](Self::judge), and notes it, so that whoever may do less later is found.
    fn judge_and_note(&self, proof: Proof, caller: &Accepted) -> Result<Grant, Refusal> {
        let mut granted = self.judge(proof, caller)?;
        // No list takes anything from a connection without a key, nor from the own identity.
        if !matches!(proof, Proof::Key(_)) || granted.peer == Peer::Own {
            return Ok(granted);
        }
        loop {
            let (address, grant) = (caller.address.clone(), granted.clone());
            self.holders.note(caller.open.id(), GrantInUse { proof, address, entrance: caller.entrance, grant });
            // Once more: a list that changed before this was noted was not held against it.
            let again = self.judge(proof, caller)?;
            if again == granted {
                return Ok(granted);
            }
            granted = again;
        }
    }

    /// What the list of peers `known` allows.
    fn grant(&self, known: &PeersState, proof: Proof, from: (&str, Entrance)) -> Result<Grant, Refusal> {
        let (address, entrance) = from;
        let rules = Rules { own: self.identity.fingerprint(), known, guest: self.guest };
        let mut grant = rules.authorize(proof, address)?;
        grant.narrow(self.power, entrance);
        if self.is_for_pairing_only {
            grant.services = Services::NONE;
            // A root below the operator's is none below the one here.
            grant.root = None;
        }
        Ok(grant)
    }

    fn judge(&self, proof: Proof, caller: &Accepted) -> Result<Grant, Refusal> {
        self.grant(&self.roster.now().0, proof, (&caller.address, caller.entrance))
    }

    /// Reads until the first bytes say what wire this is. Where no bare wire is on, everything is
    /// meant to be a frame and its reader says what is wrong with it.
    fn detect(&self, stream: &Stream, first: &mut Vec<u8>) -> Result<First> {
        let started = Instant::now();
        let mut piece = [0; 1024];
        loop {
            let wait = match (&self.bare, first.is_empty()) {
                (Some(_), false) => Some(SHORT_SEGMENT_WAIT),
                // The tutorials' clients connect first and then wait for a person to type.
                (Some(_), true) => self.idle_timeout,
                (None, _) => {
                    let limit = self.idle_timeout.map_or(FIRST_BYTES_TIME_MAX, |idle| idle.min(FIRST_BYTES_TIME_MAX));
                    Some(limit.saturating_sub(started.elapsed()))
                }
            };
            match stream.read_within(&mut piece, wait)? {
                None if first.is_empty() || self.bare.is_none() => {
                    return Err(
                        ConnectionLost::TimedOut(format!("nothing was said for {:?}", started.elapsed())).into()
                    );
                }
                None => return Ok(whole_request(first)),
                // The client has said all that it will say: what it said is a whole request.
                Some(0) if self.bare.is_some() => return Ok(whole_request(first)),
                Some(0) => return Ok(First::Undecided),
                Some(len) => first.extend_from_slice(piece.get(..len).unwrap_or_default()),
            }
            match (first_bytes(first), &self.bare) {
                (First::Undecided, _) => {}
                (First::Bare | First::Binary, None) => return Ok(First::Frame),
                (First::Bare | First::Binary, Some(bare)) if bare.is_guarded() && is_open(first) => {}
                (First::Bare | First::Binary, Some(_)) => return Ok(whole_request(first)),
                (kind, _) => return Ok(kind),
            }
        }
    }

    fn serve_frames(self: &Arc<Self>, stream: Stream, first: &[u8], caller: &mut Accepted, proof: Proof) -> Result<()> {
        let mut granted = self.judge_and_note(proof, caller);
        if granted.as_ref().is_ok_and(|grant| grant.peer.is_known())
            && let Err(full) = admit(&mut caller.place, Rank::Known)
        {
            granted = Err(full);
        }
        let limit = self.idle_timeout.map_or(HELLO_TIME_MAX, |idle| idle.min(HELLO_TIME_MAX));
        let Some(mut connection) = Connection::await_hello(stream, first, Some(Instant::now() + limit))? else {
            return Ok(());
        };
        tracing::debug!(connection = caller.open.id(), program = ?connection.greeting()?.program, "hello");
        let ended = self.welcome(&mut connection, granted, caller);
        if let Err(error) = &ended {
            connection.say_why(error);
        }
        connection.close();
        ended
    }

    /// Lets a client in that has said who it is, and serves it to its end.
    fn welcome(
        self: &Arc<Self>,
        connection: &mut Connection,
        granted: Result<Grant, Refusal>,
        caller: &mut Accepted,
    ) -> Result<()> {
        let grant = granted?;
        // Whoever may do nothing can still be paired, and makes way like any other newcomer.
        if grant.services != Services::NONE {
            admit(&mut caller.place, Rank::Guest)?;
        }
        if grant.peer.is_known() {
            caller.note_known(self.gate.log_budget());
        }
        if caller.is_logged {
            tracing::info!(connection = caller.open.id(), peer = %grant.peer, services = %grant.services, "let in");
        }
        if let Peer::Known { fingerprint, .. } = grant.peer
            && let Err(error) = self.notebook.note(self.roster.home(), fingerprint, &caller.address)
        {
            tracing::warn!(%error, "when a peer was seen could not be noted");
        }
        let mut session = self.session(grant, caller)?;
        connection.welcome(PROGRAM, &verbs_for(session.services))?;
        let context = Context {
            shared: ServerState {
                hub: &self.hub,
                exec: crate::exec::ExecState {
                    places: &self.places,
                    jobs: &self.jobs,
                    terminals: &self.terminals,
                    leftovers: &self.leftovers,
                },
                own: self.identity.fingerprint(),
                home: self.roster.home(),
            },
            open: &caller.open,
            idle_timeout: self.idle_timeout,
        };
        serve(connection, &mut session, context)
    }

    fn memory_of(&self, peer: &Peer) -> Arc<Pool> {
        match peer {
            Peer::Own => self.memory.own(),
            Peer::Known { fingerprint, .. } => self.memory.of(*fingerprint),
            Peer::Guest { .. } => self.memory.guests(),
        }
    }

    fn session(&self, grant: Grant, caller: &Accepted) -> Result<Session> {
        let root = match &grant.root {
            None => Arc::clone(&self.root),
            Some(root) => {
                let below = RootPath::default().join(root.as_bytes()).and_then(|path| self.root.below(&path));
                Arc::new(below.map_err(|error| {
                    let text = format!("the directory that {} is shown cannot be opened: {error}", grant.peer);
                    Refusal::new(error.kind().into(), text)
                })?)
            }
        };
        Ok(Session {
            parts: self.parts_of(&grant.peer),
            connection: caller.open.id(),
            memory: self.memory_of(&grant.peer),
            peer: grant.peer,
            address: caller.address.clone(),
            services: grant.services,
            commands: grant.commands,
            withheld: grant.withheld,
            root,
            is_narrowed: grant.root.is_some(),
            cwd: RootPath::default(),
            origin: caller.place.origin(),
            gate: Arc::clone(&self.gate),
            slots: Arc::clone(&self.slots),
            is_cut: Arc::clone(caller.open.is_cut()),
            audit: self.audit.clone(),
            report: RequestReport::default(),
        })
    }
}

/// One connection, before anything is known of it but where it came from.
#[derive(Debug)]
struct Accepted {
    open: OpenConnection,
    place: Ticket,
    address: String,
    /// This end's address.
    local: String,
    entrance: Entrance,
    /// How it was counted as a stranger's.
    counted: Counted,
    /// Whether the log has it: strangers write only so many lines.
    is_logged: bool,
}

impl Accepted {
    fn log_connected(&self) {
        tracing::info!(
            target: FRAME_OF_REQUESTS,
            connection = self.open.id(),
            peer = %self.address,
            local = %self.local,
            "connected"
        );
    }

    /// The log has every connection of those who are known, however many strangers come.
    fn note_known(&mut self, budget: &LogBudget) {
        budget.forgive(&self.counted);
        if !std::mem::replace(&mut self.is_logged, true) {
            self.log_connected();
        }
    }
}

fn admit(place: &mut Ticket, rank: Rank) -> Result<(), Refusal> {
    place.admit(rank).map_err(|full| Refusal::new(ErrorCode::Busy, full.to_string()))
}

/// A handshake that failed, as the log has it; the other end was told in TLS' own words.
fn lost(error: HandshakeError) -> Error {
    match error {
        HandshakeError::Socket(error) => error.into(),
        HandshakeError::TimedOut(_) => ConnectionLost::TimedOut(error.to_string()).into(),
        other => ConnectionLost::Socket(io::Error::other(other.to_string())).into(),
    }
}

/// Whether more could make a request line of HTTP's of these bytes, and is worth waiting for.
fn is_open(first: &[u8]) -> bool {
    first.len() <= OPEN_LEN_MAX && HttpShape::of(first).is_open()
}

/// What bytes are that no frame and no TLS begins with, when nothing more comes.
fn whole_request(first: &[u8]) -> First {
    let shape = HttpShape::of(first);
    if looks_like_http(first) || shape.is_cut_off() {
        First::Http
    } else if shape.has_nul() {
        First::Binary
    } else {
        First::Bare
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
fn turned_away(full: TurnedAway) -> Vec<u8> {
    last_word(ErrorCode::Busy, &full.to_string())
}

/// An `error` frame for somebody with whom no connection was begun.
fn last_word(code: ErrorCode, why: &str) -> Vec<u8> {
    encode(&Message::Error { code, message: why.into() }, &[]).unwrap_or_default()
}

/// What speaks neither frames nor the wire that is on is told so, in its own words where it has any.
fn turn_wire_away(stream: &Stream, kind: First) -> (&'static str, Result<()>) {
    let (wire, word, why): (_, &[u8], _) = match kind {
        First::Http => ("http", HTTP_REFUSAL, "HTTP is not served here"),
        _ => ("bare", b"", "a request with a NUL in it is not handed to this wire"),
    };
    stream.send_last_word(word);
    stream.linger_after_end();
    (wire, Err(Error::Refused(Refusal::new(ErrorCode::BadRequest, why))))
}

const HTTP_REFUSAL: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 59\r\n\
    Connection: close\r\n\r\nlandline: this port speaks frames; use tcp-client instead\r\n";

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
