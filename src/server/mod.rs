//! The server: what it serves, put together, over a [`Service`] that accepts and stops.
//!
//! ```text
//! Service --a thread per connection--> connection: first bytes
//!     --> TLS:   handshake, then as a frame    (who it is, its key has proved)
//!     --> frame: hello, then requests::serve   (the request loop)
//!     --> text:  tutorial::serve_tutorial      (a tutorial's wire, if one is on)
//! ```
//!
//! Who a connection is and what it may do, [`trust::policy`](crate::trust::policy) decides.

mod access;
mod builder;
mod connection;
mod http;
pub mod requests;
mod sign_in;
pub mod verbs;

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::audit::{Audit, AuditRecord};
use crate::chat::bus::{Bus, BusOptions};
use crate::chat::hub::{Hub, HubOptions};
use crate::chat::store::Store;
use crate::error::{Error, ErrorCode, Result};
use crate::exec::jobs::Jobs;
use crate::exec::leftovers::Leftovers;
use crate::exec::places::Places;
use crate::exec::terminal::Terminals;
use crate::fs::part::records::{PARTS_DIR, Records};
use crate::fs::root::Root;
use crate::http::server::HttpOptions;
use crate::memory::Pools;
use crate::net::Stream;
use crate::net::budget::{CountedKind, Unwritten};
use crate::net::gate::TurnedAway;
use crate::net::listen::{Listener, STACK_LEN};
use crate::net::service::{self, Accepted, Ended, Handler, Service, ServiceOptions};
use crate::net::tls::ServerTls;
use crate::slots::CommandSlots;
use crate::trust::grants::{GrantsInUse, ListsWatch};
use crate::trust::guesses::Guesses;
use crate::trust::home::Home;
use crate::trust::identity::{Fingerprint, Identity};
use crate::trust::last_seen::LastSeen;
use crate::trust::peers::KnownPeers;
use crate::trust::policy::Power;
use crate::trust::tokens::retries::Retries;
use crate::trust::tokens::{KnownTokens, OwnTokens, TokenId};
use crate::trust::{Owner, Services};
use crate::tutorial::Tutorial;
use http::Http;

pub use self::builder::{
    ListeningServer, PER_ADDRESS_DEFAULT, ServerBuilder, ServerOptions, TIMEOUT_DEFAULT, home_directory,
};
pub use crate::net::service::Stopped;

/// What the server calls itself in `hello`.
const PROGRAM: &str = concat!("tcp-server/", env!("CARGO_PKG_VERSION"));
/// How often the known peers are looked at again, so that a peer that is revoked is out within a second.
const REVOCATION_INTERVAL: Duration = Duration::from_millis(250);
/// How often unfinished copies are looked at that may be too old.
const SWEEP_INTERVAL: Duration = Duration::from_hours(1);

/// A server, before and while it runs.
#[derive(Debug)]
pub struct Server {
    service: Service,
    tls: ServerTls,
    identity: Identity,
    is_for_pairing_only: bool,
    known_peers: KnownPeers,
    tokens: KnownTokens,
    /// Tokens of this process only, and their sessions.
    own_tokens: OwnTokens,
    /// The root, as links and sessions have it; `None`: its path is not UTF-8, and it takes none of them.
    directory: Option<String>,
    /// Whether a token may come unencrypted from another machine.
    may_tokens_come_plain: bool,
    guesses: Guesses,
    /// Sign-ins that a browser may send twice.
    retries: Retries,
    /// Tokens that came unencrypted from another machine, which the log was told once.
    exposed: Mutex<HashSet<TokenId>>,
    last_seen: LastSeen,
    audit: Option<Arc<Audit>>,
    root: Arc<Root>,
    guest: Services,
    slots: Arc<CommandSlots>,
    memory: Pools<Owner>,
    power: Power,
    hub: Hub,
    places: Places,
    jobs: Arc<Jobs>,
    leftovers: Arc<Leftovers>,
    /// Whose unfinished copies there are; `None`: nothing is written here.
    part_records: Option<Arc<Records>>,
    terminals: Terminals,
    /// What the open connections were granted.
    grants: GrantsInUse,
    tutorial: Option<Tutorial>,
    /// `None`: HTTP is not served.
    http: Option<Http>,
    serves_frames: bool,
}

impl Server {
    fn with_options(identity: Identity, options: ServerOptions) -> Result<Arc<Self>> {
        let ours = || Error::ours("the server");
        let home = || Error::ours(options.home.path().to_string_lossy());
        let jobs = if options.is_for_pairing_only || !options.serves_frames {
            Jobs::none()
        } else {
            Jobs::open(&options.home).map_err(|error| home()(io::Error::other(error)))?
        };
        let part_records = if options.is_for_pairing_only {
            None
        } else {
            Some(Arc::new(Records::open(options.home.join(PARTS_DIR)).map_err(home())?))
        };
        let http = options
            .http
            .map(|http| Http::new(HttpOptions { upload_ttl: options.part_ttl, ..http }, &identity))
            .transpose()?;
        let tls = match &http {
            None => ServerTls::ours(identity.credentials()),
            Some(http) => http.tls(&identity, options.serves_frames),
        };
        let hub = chat_hub(&options.home, options.bus.as_ref(), options.chat)?;
        let directory = options.root.own_path().map_err(ours())?.into_os_string().into_string().ok();
        let ServerOptions { caps, idle_timeout, stall_timeout, .. } = options;
        let server = Arc::new(Self {
            service: Service::new(ServiceOptions { caps, idle_timeout, stall_timeout }),
            tls: tls.map_err(|error| ours()(io::Error::other(error)))?,
            part_records,
            root: Arc::new(
                options.root.hiding(options.home.path()).map_err(|error| Error::ours("the root")(error.into()))?,
            ),
            identity,
            is_for_pairing_only: options.is_for_pairing_only,
            tokens: KnownTokens::of(options.home.clone()),
            known_peers: KnownPeers::of(options.home),
            own_tokens: OwnTokens::new(options.tokens),
            directory,
            may_tokens_come_plain: options.is_insecure,
            guesses: Guesses::default(),
            retries: Retries::default(),
            exposed: Mutex::default(),
            last_seen: LastSeen::default(),
            audit: options.audit.map(Arc::new),
            guest: options.guest,
            slots: CommandSlots::new(options.command_caps),
            memory: Pools::default(),
            power: options.power,
            hub,
            places: Places::default(),
            jobs,
            leftovers: Leftovers::none().map_err(ours())?,
            terminals: Terminals::default(),
            grants: GrantsInUse::default(),
            tutorial: options.tutorial,
            http,
            serves_frames: options.serves_frames,
        });
        // A list that cannot be read is reported at once, not when the first peer comes.
        drop((server.known_peers.now(), server.tokens.now()));
        server.watch_peers().map_err(ours())?;
        server.sweep_parts(options.part_ttl).map_err(ours())?;
        Ok(server)
    }

    /// Looks again and again whether a peer may do less than before, and reports what the logs left out.
    fn watch_peers(self: &Arc<Self>) -> io::Result<()> {
        let watched = Arc::downgrade(self);
        thread::Builder::new().name("revocations".into()).stack_size(STACK_LEN).spawn(move || {
            let mut watch = ListsWatch::default();
            while let Some(server) = watched.upgrade() {
                server.end_narrowed(&mut watch);
                server.tell_unwritten(false);
                server.http.iter().for_each(Http::renew);
                drop(server);
                thread::sleep(REVOCATION_INTERVAL);
            }
        })?;
        Ok(())
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

    /// Tells of the lines that were not written to the logs, when their interval is over or at the `end`.
    fn tell_unwritten(&self, end: bool) {
        for Unwritten { kind, label, count } in self.service.gate().log_budget().take_unwritten(end) {
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
                CountedKind::Token(_) => {
                    tracing::info!(who, count, "refused requests of a token: and {count} more like it");
                    let outcome = format!("refused: {count} more like those before");
                    record(&AuditRecord::summed_of_token(who, &outcome));
                }
                CountedKind::Strangers => {
                    tracing::info!(who, count, "strangers and what they were refused: and {count} more like it");
                }
            }
        }
    }

    /// Stops: see [`service::stop`].
    pub fn stop(&self, listeners: &[Listener], grace: Duration, stop_now: &dyn Fn() -> bool) -> Stopped {
        service::stop(self, listeners, grace, stop_now)
    }
}

/// The rooms, joined with those of other servers.
fn chat_hub(home: &Home, bus: Option<&BusOptions>, mut options: HubOptions) -> Result<Hub> {
    let ours = |error| Error::ours("the chat")(error);
    let Some(bus) = bus else { return Hub::new(&options).map_err(ours) };
    let bus = Bus::open(home, bus, options.store.take());
    let bus = bus.map_err(|error| Error::ours("the bus")(io::Error::other(error)))?;
    options = HubOptions { store: Some(Arc::clone(&bus) as Arc<dyn Store>), keeps_rooms: true, ..options };
    let hub = Hub::new(&options).map_err(ours)?;
    bus.start(&hub).map_err(ours)?;
    Ok(hub)
}

impl Handler for Server {
    fn service(&self) -> &Service {
        &self.service
    }

    fn serve(&self, stream: Stream, accepted: &mut Accepted) -> Ended {
        let (wire, ended) = self.serve_wire(stream, accepted);
        self.grants.forget(accepted.id());
        Ended { wire, outcome: ended.map_err(|error| error.with_cause()) }
    }

    fn last_word(&self, why: TurnedAway) -> Vec<u8> {
        if !self.serves_frames {
            return http::last_word(&why);
        }
        connection::last_word(ErrorCode::Busy, &why.to_string())
    }

    fn begin_stop(&self, grace: Duration) {
        self.terminals.announce_stop(grace);
    }

    fn end_stop(&self, deadline: Instant, stop_now: &dyn Fn() -> bool) {
        let jobs = self.jobs.end_all(deadline, stop_now);
        if jobs > 0 {
            tracing::warn!(jobs, "detached commands were ended");
        }
        self.tell_unwritten(true);
    }
}
