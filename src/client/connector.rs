//! How a client connects: name, record, pin, dial, handshake, greeting.
//!
//! ```text
//! HOST --resolve--> Dialled --dial--> Stream --handshake--> Stream --open--> Connection
//!                   (address, pin)    (plain)               (encrypted, its key is the pinned one)
//! ```

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::error::{ConnectError, NotTrusted};
use super::host::{Dialled, Port, resolve};
use crate::connection::Connection;
use crate::error::{Error, Refusal, Result as Answer};
use crate::net::dial::{self, dial};
use crate::net::tls::{HandshakeError, KeyCheck};
use crate::net::{Address, Stream};
use crate::pair::{DialledServer, record_server};
use crate::trust::home::Home;
use crate::trust::identity::{Fingerprint, Identity};
use crate::trust::peers::Peers;
use crate::wire::channel::Receiver;
use crate::wire::message::Message;

/// The program's name in `hello`, unless the program sets one.
const PROGRAM: &str = concat!("landline/", env!("CARGO_PKG_VERSION"));
/// How long connecting may take, over all of a name's addresses.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A server whose key is not known here, for a person to compare. The connection is closed before the question: the
/// server does not wait for the answer.
#[derive(Debug, Clone, Copy)]
pub struct UnknownServer<'s> {
    /// The address as it was dialled.
    pub host: &'s Address,
    /// The fingerprint of its key; the server has proved that it holds the private key.
    pub fingerprint: Fingerprint,
    /// The peer that has this key, known here under another address. `None`: the key is not known at all.
    pub known_as: Option<&'s str>,
}

/// What to do with a server whose key is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Refuse it.
    Refuse,
    /// Refuse it: its key was compared, and is a different one.
    RefuseOtherKey,
    /// Connect this time.
    Once,
    /// Connect, and record its key: from now on no other key is accepted for it.
    Remember,
}

/// A function that decides about a server whose key is not known.
pub type AskAbout<'a> = &'a (dyn Fn(&UnknownServer<'_>) -> Answer<Decision> + Sync);

/// How a client connects. [`Connector::new`] has safe defaults; each field documents its own.
#[derive(Clone, Copy)]
pub struct Connector<'a> {
    /// The home, with this user's key and the known peers.
    pub home: &'a Home,
    /// The name and version of this program, for the server's log. The default is this library's.
    pub program: &'a str,
    /// The port for a host that names none. The default is 5263, where no other is on record.
    pub port: Port,
    /// How long connecting may take, over all of a name's addresses, and the handshake once more. The default is 5 s.
    pub timeout: Duration,
    /// Called for a server whose key is not known. `None`, the default: the server is refused.
    pub ask: Option<AskAbout<'a>>,
    /// Whether `host` may name a server without encryption: `tcp://`, or an entry of `config.toml` with it. Such a server
    /// takes this client for a guest, and its key is not checked. The default is no. Unix sockets are always allowed.
    pub allows_plain: bool,
    /// Called at each step, for programs that show progress. The default is `None`.
    pub on_step: Option<&'a (dyn Fn(&Step<'_>) + Sync)>,
}

/// A step on the way to a connection.
#[derive(Debug)]
pub enum Step<'s> {
    /// An address is about to be dialled: its name is looked up first.
    Connecting,
    /// The stream is connected, not yet encrypted.
    Connected(&'s Stream),
    /// The stream is encrypted; this is the server's key.
    Encrypted(Fingerprint),
    /// The server was recorded under this name.
    Remembered(&'s str),
}

impl std::fmt::Debug for Connector<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { home, program, port, timeout, .. } = self;
        let mut f = f.debug_struct("Connector");
        f.field("home", home).field("program", program).field("port", port).field("timeout", timeout);
        f.finish_non_exhaustive()
    }
}

/// One question at a time: with several questions at once, an answer could go to the wrong one.
static QUESTION: Mutex<()> = Mutex::new(());

impl<'a> Connector<'a> {
    /// A connector with the key and the known peers of `home`. It refuses a server whose key is not known.
    pub const fn new(home: &'a Home) -> Self {
        let port = Port { number: crate::net::address::DEFAULT_PORT, is_chosen: false };
        Self { home, program: PROGRAM, port, timeout: CONNECT_TIMEOUT, ask: None, allows_plain: false, on_step: None }
    }

    /// Connects to `host`, encrypted unless it is a Unix socket, or plain and [allowed](Self::allows_plain). The greeting is sent with the
    /// first request.
    ///
    /// # Errors
    /// [`ConnectError`]: no connection came about, or the server is not trusted.
    pub fn connect(&self, host: &Address) -> Result<Connection, ConnectError> {
        let dialled = resolve(self.home, host, self.port)?;
        if let Address::Unix(_) = dialled.address {
            return connect_unix(&dialled.address, self.program, self.timeout, self.on_step);
        }
        if dialled.address.is_plain() {
            if !self.allows_plain {
                return Err(ConnectError::Plain { host: host.to_string() });
            }
            let stream = self.stream(&dialled.address)?;
            return Ok(Connection::open(stream, self.program)?);
        }
        let own = Identity::of(self.home)?;
        let mut expected = dialled.clone();
        loop {
            let stream = self.stream(&expected.address)?;
            let pin = expected.pin.as_ref().map(|(_, key)| *key);
            // A server with this user's own key is trusted only at an address of this machine. At another address, a
            // man in the middle could forward the connection to the server here, and requests for the other machine
            // would be served here.
            let own_key = Some(own.fingerprint()).filter(|_| stream.is_to_this_machine());
            let wanted = pin.or(own_key);
            let offered = match handshake(stream, &own, &expected, self.timeout, move |key| Some(key) == wanted)? {
                Ok((stream, key)) => {
                    self.tell(&Step::Encrypted(key));
                    return Ok(Connection::open(stream, self.program)?);
                }
                Err(offered) => offered,
            };
            // The connection is closed by now: the server does not wait while a person compares.
            self.decide(&dialled, host, offered)?;
            expected.pin = Some((host.to_string(), offered));
        }
    }

    /// A plain stream to `address`.
    ///
    /// # Errors
    /// As [`dial()`].
    pub fn stream(&self, address: &Address) -> Result<Stream, dial::ConnectError> {
        self.tell(&Step::Connecting);
        let stream = dial(address, self.timeout)?;
        self.tell(&Step::Connected(&stream));
        Ok(stream)
    }

    fn tell(&self, step: &Step<'_>) {
        if let Some(on_step) = self.on_step {
            on_step(step);
        }
    }

    /// Decides about a key that is not the expected one. A changed key is always refused; for an unknown one, the
    /// caller's `ask` decides.
    fn decide(&self, dialled: &Dialled, host: &Address, offered: Fingerprint) -> Result<(), ConnectError> {
        let (shown, address) = (host.to_string(), dialled.recorded_address());
        if let Some((name, pinned)) = dialled.pin.clone() {
            return Err(NotTrusted::Changed { host: shown, dialled: address, name, pinned, offered }.into());
        }
        let _question = QUESTION.lock().unwrap_or_else(PoisonError::into_inner);
        let peers = Peers::load(self.home)?;
        // An answer for another connection a moment ago counts.
        if peers.by_address(&address).is_some_and(|peer| peer.fingerprint == offered) {
            return Ok(());
        }
        let known = peers.by_key(&offered).map(|peer| peer.name.clone());
        let server = UnknownServer { host, fingerprint: offered, known_as: known.as_deref() };
        match (self.ask.map_or(Ok(None), |ask| ask(&server).map(Some))?, known) {
            (Some(Decision::Remember), _) => {
                let server = DialledServer { key: offered, address: &address, there: None };
                let name = record_server(self.home, server, None, &dialled.name_for(host))?.peer.name;
                self.tell(&Step::Remembered(&name));
                Ok(())
            }
            (Some(Decision::Once), _) => Ok(()),
            (Some(Decision::RefuseOtherKey), _) => Err(NotTrusted::OtherKey { host: shown, offered }.into()),
            (None, Some(name)) => Err(NotTrusted::OtherName { host: shown, dialled: address, name }.into()),
            (Some(Decision::Refuse) | None, _) => {
                Err(NotTrusted::Unknown { host: shown, dialled: address, offered }.into())
            }
        }
    }
}

/// Connects to a Unix socket. It is not encrypted and need not be: the kernel reports which user serves there.
///
/// # Errors
/// No connection came about, or another user serves there.
pub fn connect_unix(
    address: &Address,
    program: &str,
    timeout: Duration,
    on_step: Option<&(dyn Fn(&Step<'_>) + Sync)>,
) -> Result<Connection, ConnectError> {
    let tell = |step: &Step<'_>| on_step.iter().for_each(|on_step| on_step(step));
    tell(&Step::Connecting);
    let stream = dial(address, timeout)?;
    tell(&Step::Connected(&stream));
    let own = rustix::process::geteuid().as_raw();
    match stream.peer_user() {
        Some(user) if user == own || user == 0 => Ok(Connection::open(stream, program)?),
        user => {
            let user = user.unwrap_or(u32::MAX);
            Err(NotTrusted::OtherUser { host: address.to_string(), user, own }.into())
        }
    }
}

/// The TLS handshake with a server whose key `is_expected`. `Err` within `Ok`: its key, which is not the expected one;
/// nothing was sent.
///
/// # Errors
/// No encrypted stream came about.
pub fn handshake(
    stream: Stream,
    own: &Identity,
    dialled: &Dialled,
    timeout: Duration,
    is_expected: impl Fn(Fingerprint) -> bool + Send + Sync + 'static,
) -> Result<Result<(Stream, Fingerprint), Fingerprint>, ConnectError> {
    let seen = Arc::new(Mutex::new(None));
    let check: KeyCheck = {
        let seen = Arc::clone(&seen);
        Arc::new(move |spki| {
            let key = Fingerprint::of_spki(spki);
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
            is_expected(key)
        })
    };
    let shaken = stream.connect_tls(own.credentials(), check, timeout);
    let key = *seen.lock().unwrap_or_else(PoisonError::into_inner);
    let address = dialled.address.to_string();
    match (shaken, key) {
        (Ok(stream), Some(key)) => Ok(Ok((stream, key))),
        (Err(HandshakeError::Untrusted), Some(key)) => Ok(Err(key)),
        (Err(HandshakeError::NotTls(bytes)), _) => Err(match plain_refusal(&bytes) {
            Some(refusal) => Error::from(refusal).into(),
            None => dial::ConnectError::NotTls { address, began: began(&bytes) }.into(),
        }),
        (Err(HandshakeError::Socket(source)), _) => Err(dial::ConnectError::Failed { address, source }.into()),
        (Err(source), _) => Err(dial::ConnectError::Handshake { address, source }.into()),
        (Ok(_), None) => Err(dial::ConnectError::Handshake { address, source: HandshakeError::Closed }.into()),
    }
}

/// A server that is full refuses the connection in plain text.
fn plain_refusal(bytes: &[u8]) -> Option<Refusal> {
    match Receiver::new(bytes, &[]).recv() {
        Ok(Some(Message::Error { code, message })) => Some(Refusal::new(code, format!("{message} (said unencrypted)"))),
        _ => None,
    }
}

fn began(bytes: &[u8]) -> String {
    let shown = bytes.get(..bytes.len().min(24)).unwrap_or_default();
    String::from_utf8_lossy(shown).into_owned()
}
