//! A session: the server's state for one connection. The peer, its permissions, its working directory.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::audit::{Audit, AuditRecord, parts_of};
use crate::error::{ErrorCode, Refusal};
use crate::fs::part::Parts;
use crate::fs::root::{Root, RootPath};
use crate::memory::Pool;
use crate::net::budget::Whose;
use crate::net::gate::Gate;
use crate::net::origin::Origin;
use crate::slots::{CommandSlot, CommandSlots, SlotShare};
use crate::trust::commands::Commands;
use crate::trust::{Owner, Peer, Service, Services};

pub use crate::net::service::millis;

/// The state of one connection. `cd` changes the session's directory, never the process's.
#[derive(Debug, Clone)]
pub struct Session {
    /// The connection's number in the log.
    pub connection: u64,
    /// The peer.
    pub peer: Peer,
    /// Its address, as the operating system reports it.
    pub address: String,
    /// Its services.
    pub services: Services,
    /// The commands that it may run, with the service `exec`.
    pub commands: Commands,
    /// Services that it does not have at this entrance.
    pub withheld: Services,
    /// The root directory that it is shown.
    pub root: Arc<Root>,
    /// Whether that is less than the server's root.
    pub is_narrowed: bool,
    /// The working directory, below the root.
    pub cwd: RootPath,
    /// The origin that limits and penalties count it for.
    pub origin: Origin,
    /// The server's limits, for exchanges that need threads of their own.
    pub gate: Arc<Gate>,
    /// The limits of all commands that run here.
    pub slots: Arc<CommandSlots>,
    /// The memory that its requests may hold; shared with this peer's other connections, or with all guests'.
    pub memory: Arc<Pool>,
    /// Whether the server has cut the connection.
    pub is_cut: Arc<AtomicBool>,
    /// The temporary files of uploads.
    pub parts: Arc<Parts>,
    /// The audit log; `None`: there is none.
    pub audit: Option<Arc<Audit>>,
    /// What is logged about the present exchange.
    pub report: RequestReport,
}

/// What one request was about and how it ended, for the log.
#[derive(Debug, Clone, Default)]
pub struct RequestReport {
    /// The path, room or command, as the peer sent it.
    pub about: String,
    /// The directory in which a command runs; `None`: the session's working directory.
    pub place: Option<String>,
    /// How it ended; `None`: with no more to say than "done".
    pub outcome: Option<String>,
    /// Whether it is logged however many refusals there are, because its kind is rare.
    pub is_rare: bool,
}

impl Session {
    /// Resolves a path that the peer sent, relative to the working directory.
    ///
    /// # Errors
    /// It leads out of the root, or is no valid path.
    pub fn resolve(&self, path: &[u8]) -> Result<RootPath, Refusal> {
        Ok(self.cwd.join(path)?)
    }

    /// A guest that may read and write.
    #[cfg(test)]
    pub(crate) fn of_test(root: Arc<Root>) -> Self {
        Self {
            connection: 1,
            peer: Peer::Guest { address: "192.0.2.1".into(), fingerprint: None },
            address: "192.0.2.1:1".into(),
            services: Services::of(&[Service::Read, Service::Write]),
            commands: Commands::Any,
            withheld: Services::NONE,
            root,
            is_narrowed: false,
            cwd: RootPath::default(),
            origin: Origin::Local,
            gate: Gate::new(crate::net::gate::Caps::of_this_machine(1)),
            slots: CommandSlots::new(crate::slots::CommandCaps::default()),
            memory: crate::memory::Pools::<u8>::default().guests(),
            is_cut: Arc::default(),
            parts: Parts::new(None, None),
            audit: None,
            report: RequestReport::default(),
        }
    }

    /// The owner of things that outlive this connection.
    ///
    /// # Errors
    /// The peer has no key and is not the own user: it cannot own anything.
    pub fn owner(&self) -> Result<Owner, Refusal> {
        self.peer.owner().ok_or_else(|| {
            let text = "what is kept belongs to a key, and this connection proves none: connect encrypted";
            Refusal::new(ErrorCode::NotAllowed, text)
        })
    }

    /// Whether the peer is this server's own user.
    pub fn is_own(&self) -> bool {
        self.peer == Peer::Own
    }

    /// A slot for a command of this peer.
    ///
    /// # Errors
    /// All slots are taken, or the peer's share of them is.
    pub fn take_slot(&self) -> Result<CommandSlot, Refusal> {
        let share = match &self.peer {
            Peer::Own => SlotShare::Own,
            Peer::Known { fingerprint, .. } => SlotShare::Peer(Owner::Key(*fingerprint)),
            Peer::Token { id, .. } => SlotShare::Peer(Owner::Token(*id)),
            Peer::Guest { .. } => SlotShare::Guests,
        };
        self.slots.take(share).map_err(|none| Refusal::new(ErrorCode::Busy, none.to_string()))
    }

    /// Whether the peer has the service `read`.
    pub fn may_read(&self) -> bool {
        self.services.has(Service::Read)
    }
}

/// The refusal, with a hint about paths if `path` was written as on the server's machine itself: with a leading slash,
/// or `~`.
pub fn advised(path: &[u8], why: Refusal) -> Refusal {
    let is_foreign = path.starts_with(b"/") && path != b"/" || path.starts_with(b"~");
    let is_missing = matches!(why.code, ErrorCode::NotFound | ErrorCode::NotADirectory | ErrorCode::OutsideRoot);
    if !is_foreign || !is_missing {
        return why;
    }
    Refusal::new(why.code, format!("{}{UNDER_THE_ROOT}", why.message))
}

/// The hint for a path that was written as on the server's machine itself.
const UNDER_THE_ROOT: &str =
    "; paths are under the root that the server shows, with or without a slash in front, and ~ is no home there";

/// One request, as it is logged.
#[derive(Debug)]
pub struct RequestRecord<'r> {
    /// The verb.
    pub verb: &'r str,
    /// Its duration.
    pub elapsed: Duration,
    /// Bytes received for it.
    pub received: u64,
    /// Bytes sent for it.
    pub sent: u64,
    /// How it ended.
    pub outcome: &'r str,
}

impl Session {
    /// Logs one request. Text is passed as values, never as a finished line of the log: each log format quotes,
    /// shortens and escapes it in its own way.
    pub fn log(&self, request: &RequestRecord<'_>) {
        // A guest's requests are logged only until the guests' share of the logs is used up: otherwise they would push
        // the records of peers out of the audit log.
        if self.is_guest() && !self.budgeted(Whose::Guest(self.origin)) {
            return;
        }
        self.write(request);
        self.audit("ended", request);
    }

    /// As [`log`](Self::log), for a request that was refused. The logs take a limited number of refusals. Refusals of
    /// guests are not in the audit log.
    pub fn log_refused(&self, request: &RequestRecord<'_>) {
        let whose = match &self.peer {
            Peer::Known { fingerprint, .. } => Some(Whose::Key(*fingerprint.as_bytes())),
            Peer::Token { id, .. } => Some(Whose::Token(*id.as_bytes())),
            Peer::Guest { .. } => Some(Whose::Address(self.origin)),
            Peer::Own => None,
        };
        if !self.report.is_rare && whose.is_some_and(|whose| !self.budgeted(whose)) {
            return;
        }
        self.write(request);
        if self.report.is_rare || !self.is_guest() {
            self.audit("ended", request);
        }
    }

    fn is_guest(&self) -> bool {
        matches!(self.peer, Peer::Guest { .. })
    }

    fn budgeted(&self, whose: Whose) -> bool {
        self.gate.log_budget().allows(whose, || match &self.peer {
            Peer::Known { name, .. } | Peer::Token { name, .. } => name.clone(),
            Peer::Own | Peer::Guest { .. } => self.origin.to_string(),
        })
    }

    fn write(&self, request: &RequestRecord<'_>) {
        tracing::info!(
            connection = self.connection,
            peer = %self.peer,
            verb = request.verb,
            about = self.report.about.as_str(),
            outcome = request.outcome,
            ms = millis(request.elapsed),
            received = request.received,
            sent = request.sent,
            "request"
        );
    }

    /// Records in the audit log that a command begins: it could end the server before its end is recorded.
    pub fn log_begin(&self, verb: &str) {
        // Not in the log, but its end will be counted.
        if self.is_guest() && !self.gate.log_budget().has_room_for_guest(self.origin) {
            return;
        }
        let begun = RequestRecord { verb, elapsed: Duration::ZERO, received: 0, sent: 0, outcome: "" };
        self.audit("began", &begun);
    }

    fn audit(&self, event: &str, request: &RequestRecord<'_>) {
        let Some(audit) = &self.audit else { return };
        let (kind, name, fingerprint) = parts_of(&self.peer);
        let cwd = self.report.place.clone().unwrap_or_else(|| self.cwd.to_string());
        audit.record(&AuditRecord {
            event,
            connection: self.connection,
            kind,
            name,
            fingerprint,
            address: &self.address,
            verb: request.verb,
            cwd: &cwd,
            about: &self.report.about,
            outcome: request.outcome,
            ms: millis(request.elapsed),
            received: request.received,
            sent: request.sent,
        });
    }
}
