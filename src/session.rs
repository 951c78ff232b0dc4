//! What the server remembers for one connection: who, what it may do, where it stands.

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
use crate::net::stream::Origin;
use crate::slots::{CommandSlot, CommandSlots, SlotShare};
use crate::trust::commands::Commands;
use crate::trust::{Owner, Peer, Service, Services};

pub use crate::net::service::millis;

/// One connection's memory. It never touches the process: `cd` moves a session and nothing else.
#[derive(Debug, Clone)]
pub struct Session {
    /// The connection's number in the log.
    pub connection: u64,
    /// Who is at the other end.
    pub peer: Peer,
    /// Its address, as the network says.
    pub address: String,
    /// What it may do.
    pub services: Services,
    /// What of `exec`.
    pub commands: Commands,
    /// What it may not do because of where it came in.
    pub withheld: Services,
    /// The directory it is shown.
    pub root: Arc<Root>,
    /// Whether that is less than the server's root.
    pub is_narrowed: bool,
    /// Where it stands under the root.
    pub cwd: RootPath,
    /// Whom caps and penalties count it for.
    pub origin: Origin,
    /// The server's caps, for conversations that need threads of their own.
    pub gate: Arc<Gate>,
    /// The caps of all commands that run here.
    pub slots: Arc<CommandSlots>,
    /// The memory that its requests may hold; shared with this peer's other connections, or with all guests'.
    pub memory: Arc<Pool>,
    /// Whether the server has cut the connection.
    pub is_cut: Arc<AtomicBool>,
    /// Where its files are on their way in.
    pub parts: Arc<Parts>,
    /// Where what is done here is recorded, if it is.
    pub audit: Option<Arc<Audit>>,
    /// What the log says about the present exchange.
    pub report: RequestReport,
}

/// What one request was about and how it ended, for the log.
#[derive(Debug, Clone, Default)]
pub struct RequestReport {
    /// The path, room or command, as the peer sent it.
    pub about: String,
    /// Where a command runs, if not where the session stands.
    pub place: Option<String>,
    /// How it ended, where that is more than "done".
    pub outcome: Option<String>,
    /// It is recorded however many refusals there are: there are few of its kind.
    pub is_rare: bool,
}

impl Session {
    /// A path that the peer sent, from where the session stands.
    ///
    /// # Errors
    /// It leads out of the root, or cannot be a path.
    pub fn resolve(&self, path: &[u8]) -> Result<RootPath, Refusal> {
        Ok(self.cwd.join(path)?)
    }

    /// Whose is what outlives this connection.
    ///
    /// # Errors
    /// Nothing on this connection proves who that is.
    pub fn owner(&self) -> Result<Owner, Refusal> {
        self.peer.owner().ok_or_else(|| {
            let text =
                "what is kept belongs to somebody, and nothing on this connection proves who you are: come encrypted";
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
    /// All are taken, or its share of them is.
    pub fn take_slot(&self) -> Result<CommandSlot, Refusal> {
        let share = match &self.peer {
            Peer::Own => SlotShare::Own,
            Peer::Known { fingerprint, .. } => SlotShare::Peer(*fingerprint),
            Peer::Guest { .. } => SlotShare::Guests,
        };
        self.slots.take(share).map_err(|none| Refusal::new(ErrorCode::Busy, none.to_string()))
    }

    /// Whether the peer may see what is there.
    pub fn may_read(&self) -> bool {
        self.services.has(Service::Read)
    }
}

/// The same refusal of a request for `path`, which says what a path is where `path` was written as on the machine
/// itself: with a slash in front, or `~`.
pub fn advised(path: &[u8], why: Refusal) -> Refusal {
    let is_foreign = path.starts_with(b"/") && path != b"/" || path.starts_with(b"~");
    let is_missing = matches!(why.code, ErrorCode::NotFound | ErrorCode::NotADirectory | ErrorCode::OutsideRoot);
    if !is_foreign || !is_missing {
        return why;
    }
    Refusal::new(why.code, format!("{}{UNDER_THE_ROOT}", why.message))
}

/// What people are told who write a path as on the machine itself.
const UNDER_THE_ROOT: &str =
    "; paths are under the root that the server shows, with or without a slash in front, and ~ is no home there";

/// One request, as the log has it.
#[derive(Debug)]
pub struct RequestRecord<'r> {
    /// What was asked.
    pub verb: &'r str,
    /// How long it took.
    pub elapsed: Duration,
    /// Bytes received for it.
    pub received: u64,
    /// Bytes sent for it.
    pub sent: u64,
    /// How it ended.
    pub outcome: &'r str,
}

impl Session {
    /// Writes the log's line for one request. Text is logged as text and never as a finished line: the
    /// log puts it in quotes, cuts it and escapes what is odd in it, each format in its own way.
    pub fn log(&self, request: &RequestRecord<'_>) {
        // What was done for a guest is on record, as long as the guests' share of the logs is not used up: the audit
        // log would keep nothing of what peers did otherwise.
        if self.is_guest() && !self.budgeted(Whose::Guest(self.origin)) {
            return;
        }
        self.write(request);
        self.audit("ended", request);
    }

    /// As [`log`](Self::log), for a request that was refused: nothing was done, and however many there are, the logs
    /// take so many of them. What guests are refused is not in the audit log.
    pub fn log_refused(&self, request: &RequestRecord<'_>) {
        let whose = match &self.peer {
            Peer::Known { fingerprint, .. } => Some(Whose::Key(*fingerprint.as_bytes())),
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
            Peer::Known { name, .. } => name.clone(),
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

    /// Records that something begins which may end the server before it ends itself: a command.
    pub fn log_begin(&self, verb: &str) {
        // Its end will be counted.
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
