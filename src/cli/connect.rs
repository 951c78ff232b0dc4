//! From the HOST that a person wrote to a connection: what is meant by it, whose key is expected there, and
//! what to say when it is another.

use std::io::{IsTerminal as _, Write as _};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;

use super::args::{ConnectArgs, DEFAULT_PORT, OutputArgs};
use super::exit::usage;
use super::{home, printable_lines, say, standard};
use crate::connection::Connection;
use crate::error::Refusal;
use crate::net::dial::{ConnectError, dial};
use crate::net::tls::{HandshakeError, KeyCheck};
use crate::net::{Address, Stream};
use crate::pair::{DialledServer, record_server};
use crate::trust::home::Home;
use crate::trust::hosts;
use crate::trust::identity::{Fingerprint, Identity};
use crate::trust::peers::Peers;
use crate::wire::channel::Receiver;
use crate::wire::message::Message;

/// The other end is not, or not surely, the one that was meant.
#[derive(Debug, thiserror::Error)]
pub enum NotTrusted {
    /// It has another key than the one on record.
    #[error(
        "{host}: the key has changed, and nothing was sent. On record as {name} is {pinned}; this server has {offered}. \
         If the machine was set up anew: tcp-server peers revoke {name}, then tcp-client pair {dialled} --name {name}. \
         If not, somebody is in between"
    )]
    Changed {
        /// As it was dialled.
        host: String,
        /// The same, as an argument for a command.
        dialled: String,
        /// The name on record.
        name: String,
        /// The key on record.
        pinned: Fingerprint,
        /// The key that was offered.
        offered: Fingerprint,
    },
    /// Nobody knows its key.
    #[error(
        "{host}: unknown server with key {offered}, and nothing was sent; introduce it with: tcp-client pair {dialled}"
    )]
    Unknown {
        /// As it was dialled.
        host: String,
        /// The same, as an argument for a command.
        dialled: String,
        /// The key that was offered.
        offered: Fingerprint,
    },
    /// The key that was compared is another one.
    #[error(
        "{host}: this server has {offered}, which is NOT the key that was pasted: somebody may be in between; nothing was sent"
    )]
    OtherKey {
        /// As it was dialled.
        host: String,
        /// The key that was offered.
        offered: Fingerprint,
    },
    /// Its key is known under another name.
    #[error(
        "{host}: this server has the key of the known peer {name}, whose address on record is not this one, and nothing \
         was sent; introduce it here too with: tcp-client pair {dialled}"
    )]
    OtherName {
        /// As it was dialled.
        host: String,
        /// The same, as an argument for a command.
        dialled: String,
        /// The name on record.
        name: String,
    },
    /// The Unix socket belongs to somebody else.
    #[error("{host}: user id {user} serves there, and neither you (user id {own}) nor root; nothing was sent")]
    OtherUser {
        /// The socket.
        host: String,
        /// Who serves there.
        user: u32,
        /// Who we are.
        own: u32,
    },
    /// The pairing failed.
    #[error("{host}: not paired: {why}")]
    NotPaired {
        /// As it was dialled.
        host: String,
        /// Why.
        why: String,
    },
}

/// No connection came about, and something is known here that may help.
#[derive(Debug, thiserror::Error)]
#[error("{error:#}; {advice}")]
pub struct Misdialled {
    /// Why there is no connection.
    error: anyhow::Error,
    /// What is known here.
    advice: String,
}

/// Adds to an error what is known here under another name or at another port.
fn advised(home: &Home, host: &Address, dialled: &Dialled, error: anyhow::Error) -> anyhow::Error {
    let is_unknown = match error.downcast_ref::<ConnectError>() {
        Some(error) => matches!(error, ConnectError::Unknown { .. }),
        None => return error,
    };
    let advice = match known_elsewhere(home, host, dialled) {
        Some(known) => known,
        None if is_unknown => match known_names(home).as_slice() {
            [] => "no machine is known here by name yet; tcp-client pair HOST introduces one".to_owned(),
            names => format!("known here: {}", names.join(", ")),
        },
        None => return error,
    };
    Misdialled { error, advice }.into()
}

/// The names that stand for a machine here, those of `config.toml` and of known peers that can be dialled.
pub fn known_names(home: &Home) -> Vec<String> {
    // Advice is no reason for another error.
    let mut names = hosts::names(home).unwrap_or_default();
    if let Ok(peers) = Peers::load(home) {
        let dialled = peers.iter().filter(|peer| peer.address.is_some() || peer.from.is_some());
        names.extend(dialled.map(|peer| peer.name.clone()));
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// A name that is known here was dialled at another port than its own.
fn known_elsewhere(home: &Home, host: &Address, dialled: &Dialled) -> Option<String> {
    let Address::Tcp { host: name, .. } = host else { return None };
    let peers = Peers::load(home).ok()?;
    let known = peers.by_name(name)?.address.clone()?;
    let (own, port) = (known.parse::<Address>().ok()?.port()?, dialled.address.port()?);
    (own != port).then(|| format!("{name} is known here at {known}; port {port} of it is another server"))
}

/// Names the usual port.
const PORT_VARIABLE: &str = "LANDLINE_PORT";

/// Whom a person means by HOST.
#[derive(Debug, Clone)]
pub struct Dialled {
    /// Where that is, with a port.
    pub address: Address,
    /// Whose key is expected there: its name here, and the key.
    pub pin: Option<(String, Fingerprint)>,
}

impl Dialled {
    /// `HOST:PORT`, under which a server is recorded.
    pub fn recorded_address(&self) -> String {
        self.address.clone().encrypted().to_string()
    }
}

/// Finds out whom HOST means: a name from `config.toml`, a known peer's name, or an address.
///
/// # Errors
/// A file in the home is broken, or a known peer was never dialled and has no address.
pub fn resolve(home: &Home, host: &Address, default_port: u16) -> anyhow::Result<Dialled> {
    let Address::Tcp { host: name, port, .. } = host else {
        return Ok(Dialled { address: host.clone(), pin: None });
    };
    // A port that was given with -p was meant; one that is always in the environment is only a default.
    let is_usual = default_port == DEFAULT_PORT || std::env::var(PORT_VARIABLE) == Ok(default_port.to_string());
    let port = &port.or((!is_usual).then_some(default_port));
    let peers = Peers::load(home)?;
    let configured = hosts::look_up(home, name)?;
    // A peer that was never dialled, and not named by anybody here, is no place to go to; and another port
    // of its address may be another server.
    let is_elsewhere = |address: &str| {
        let known = address.parse().ok().and_then(|address: Address| address.port());
        port.is_some_and(|port| known.is_some_and(|known| known != port))
    };
    // A name that a machine chose itself is for its rights here, and may mean somebody else to whoever dials.
    let by_name =
        peers.by_name(name).filter(|peer| !peer.is_self_named).filter(|peer| match (&peer.address, &peer.from) {
            (Some(address), _) => !is_elsewhere(address),
            (None, from) => configured.is_some() || from.is_some(),
        });
    let address = match (&configured, by_name) {
        (Some(address), _) => address.clone(),
        (None, Some(peer)) => {
            let known = peer.address.as_ref().or(peer.from.as_ref());
            let known = known.with_context(|| format!("{name}: this peer's address is not known; name its HOST"))?;
            known.parse().with_context(|| format!("{name}: the address on record"))?
        }
        (None, None) => host.clone(),
    };
    let address = match (address, port) {
        (Address::Tcp { host, scheme, .. }, Some(port)) => Address::Tcp { host, port: Some(*port), scheme },
        (address, _) => address,
    };
    let address = if host.is_plain() { address.plain() } else { address };
    let address = address.with_default_port(default_port);
    let dialled = Dialled { address, pin: None };
    let pinned = by_name.or_else(|| peers.by_address(&dialled.recorded_address()));
    let pin = pinned.map(|peer| (peer.name.clone(), peer.fingerprint));
    Ok(Dialled { pin, ..dialled })
}

/// The address that HOST means, for what is not encrypted anyway: nothing is made for it.
///
/// # Errors
/// As [`resolve`].
pub fn address(host: &Address, default_port: u16) -> anyhow::Result<Address> {
    match home::existing()? {
        Some(home) => Ok(resolve(&home, host, default_port)?.address),
        None => Ok(host.clone().with_default_port(default_port)),
    }
}

/// Connects to HOST, plain: for the tutorials' wires.
///
/// # Errors
/// HOST is no address, or no connection came about.
pub fn stream(program: &str, host: &Address, reach: &ConnectArgs, talk: &OutputArgs) -> anyhow::Result<Stream> {
    if host.is_tls() {
        return Err(usage(format!("tls://{host}: the tutorials' wires are not encrypted; write tcp://{host}")));
    }
    connected(program, &address(host, reach.port)?, reach, talk)
}

fn connected(program: &str, address: &Address, reach: &ConnectArgs, talk: &OutputArgs) -> anyhow::Result<Stream> {
    let stream = dial(address, reach.connect_timeout)?;
    if talk.verbose {
        say(program, &format!("connected from {} to {}", stream.local_address(), stream.peer_address()));
    }
    Ok(stream)
}

/// Connects to HOST and opens a connection, encrypted unless HOST says otherwise; its greeting leaves with
/// the first request.
///
/// # Errors
/// As [`stream`], or the server is not trusted ([`NotTrusted`]).
pub fn connect(program: &str, host: &Address, reach: &ConnectArgs, talk: &OutputArgs) -> anyhow::Result<Connection> {
    connect_to(program, host, reach, talk, Strangers::AskedAbout)
}

/// The same for one of many hosts: nobody is asked about a key that is not known. Behind a question there would be
/// the others' output, and an answer that is typed thirty times is not thought about.
///
/// # Errors
/// As [`connect()`].
pub fn connect_many(
    program: &str,
    host: &Address,
    reach: &ConnectArgs,
    talk: &OutputArgs,
) -> anyhow::Result<Connection> {
    connect_to(program, host, reach, talk, Strangers::Refused)
}

/// What becomes of a server whose key is not known, where there is a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strangers {
    AskedAbout,
    Refused,
}

fn connect_to(
    program: &str,
    host: &Address,
    reach: &ConnectArgs,
    talk: &OutputArgs,
    strangers: Strangers,
) -> anyhow::Result<Connection> {
    if host.is_plain() {
        return open(program, stream(program, host, reach, talk)?);
    }
    if let Address::Unix(_) = host {
        return open_unix(program, host, reach, talk);
    }
    let home = home::open()?;
    let dialled = resolve(&home, host, reach.port)?;
    if let Address::Unix(_) = dialled.address {
        return open_unix(program, &dialled.address, reach, talk);
    }
    if dialled.address.is_plain() {
        return open(program, connected(program, &dialled.address, reach, talk)?);
    }
    let own = Identity::of(&home)?;
    let mut expected = dialled.clone();
    loop {
        let stream = connected(program, &expected.address, reach, talk);
        let stream = stream.map_err(|error| advised(&home, host, &dialled, error))?;
        let offered = match encrypt(stream, &own, &expected, reach)? {
            Ok((stream, key)) => {
                if talk.verbose {
                    say(program, &format!("TLS 1.3, the server's key is {key}"));
                }
                return open(program, stream);
            }
            Err(offered) => offered,
        };
        // The connection is dropped by now: the server does not wait while a person compares.
        refuse_or_ask(program, &home, &Stranger { dialled: &dialled, host, offered }, strangers)?;
        expected.pin = Some((host.to_string(), offered));
    }
}

fn open_unix(program: &str, address: &Address, reach: &ConnectArgs, talk: &OutputArgs) -> anyhow::Result<Connection> {
    let stream = connected(program, address, reach, talk)?;
    check_user(&stream, address)?;
    open(program, stream)
}

fn open(program: &str, stream: Stream) -> anyhow::Result<Connection> {
    let greeting = format!("{program}/{}", env!("CARGO_PKG_VERSION"));
    Connection::open(stream, &greeting).context("the connection could not be opened")
}

/// Shakes hands and checks the pin; the other key if it is not the one that is expected.
fn encrypt(
    stream: Stream,
    own: &Identity,
    dialled: &Dialled,
    reach: &ConnectArgs,
) -> anyhow::Result<Result<(Stream, Fingerprint), Fingerprint>> {
    let pin = dialled.pin.as_ref().map(|(_, key)| *key);
    // Whoever has our own key is ourselves; but not on another machine's address, or where a name stands for
    // somebody else: whoever sits in between could hand us back to our own server, and what was meant for
    // that machine would be done here.
    let own_key = Some(own.fingerprint()).filter(|_| stream.is_to_this_machine());
    let expected = pin.or(own_key);
    handshake(stream, own, dialled, reach, move |key| Some(key) == expected)
}

/// Shakes hands with a server whose key `is_expected`.
///
/// # Errors
/// No encrypted stream came about.
pub fn handshake(
    stream: Stream,
    own: &Identity,
    dialled: &Dialled,
    reach: &ConnectArgs,
    is_expected: impl Fn(Fingerprint) -> bool + Send + Sync + 'static,
) -> anyhow::Result<Result<(Stream, Fingerprint), Fingerprint>> {
    let seen = Arc::new(Mutex::new(None));
    let verdict: KeyCheck = {
        let seen = Arc::clone(&seen);
        Arc::new(move |spki| {
            let key = Fingerprint::of_spki(spki);
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
            is_expected(key)
        })
    };
    let shaken = stream.connect_tls(own.credentials(), verdict, reach.connect_timeout);
    let key = *seen.lock().unwrap_or_else(PoisonError::into_inner);
    let address = dialled.address.to_string();
    match (shaken, key) {
        (Ok(stream), Some(key)) => Ok(Ok((stream, key))),
        (Err(HandshakeError::Untrusted), Some(key)) => Ok(Err(key)),
        (Err(HandshakeError::NotTls(bytes)), _) => Err(match plain_refusal(&bytes) {
            Some(refusal) => crate::error::Error::from(refusal).into(),
            None => ConnectError::NotTls { address, began: began(&bytes) }.into(),
        }),
        (Err(HandshakeError::Socket(source)), _) => Err(ConnectError::Failed { address, source }.into()),
        (Err(source), _) => Err(ConnectError::Handshake { address, source }.into()),
        (Ok(_), None) => Err(ConnectError::Handshake { address, source: HandshakeError::Closed }.into()),
    }
}

/// A server that is full says so before it can encrypt.
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

/// A server whose key is not the expected one.
#[derive(Debug)]
struct Stranger<'s> {
    dialled: &'s Dialled,
    host: &'s Address,
    offered: Fingerprint,
}

/// One question at a time: of several threads that ask at once, one would read what was typed for another.
static QUESTION: Mutex<()> = Mutex::new(());

/// What to do about a key that is not the expected one: a changed key is refused, always; an unknown
/// one is refused in scripts and asked about at a terminal.
fn refuse_or_ask(program: &str, home: &Home, stranger: &Stranger<'_>, strangers: Strangers) -> anyhow::Result<()> {
    let &Stranger { dialled, host, offered } = stranger;
    let (shown, address) = (host.to_string(), dialled.recorded_address());
    if let Some((name, pinned)) = dialled.pin.clone() {
        return Err(NotTrusted::Changed { host: shown, dialled: address, name, pinned, offered }.into());
    }
    let _question = QUESTION.lock().unwrap_or_else(PoisonError::into_inner);
    let peers = Peers::load(home)?;
    // What was answered for another connection a moment ago counts.
    if peers.by_address(&address).is_some_and(|peer| peer.fingerprint == offered) {
        return Ok(());
    }
    let known = peers.by_key(&offered).map(|peer| peer.name.clone());
    let is_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if strangers == Strangers::Refused || !is_terminal {
        return Err(match known {
            Some(name) => NotTrusted::OtherName { host: shown, dialled: address, name },
            None => NotTrusted::Unknown { host: shown, dialled: address, offered },
        }
        .into());
    }
    let question = match &known {
        Some(name) => format!("{shown} has the key of {name}: {offered}\nUse {shown} for {name} from now on?"),
        None => format!(
            "{shown} is not known here; its key is {offered}\n\
             Compare it with what tcp-server identity prints there. Is it the same, and to be remembered?"
        ),
    };
    match ask(program, &question, offered)? {
        KeyAnswer::Yes => {
            let server = DialledServer { key: offered, address: &address, there: None };
            let name = record_server(home, server, None, &name_for(host, dialled))?.peer.name;
            say(program, &format!("remembered as {name}; from now on nothing is asked"));
            Ok(())
        }
        KeyAnswer::Once => Ok(()),
        KeyAnswer::No => Err(NotTrusted::Unknown { host: shown, dialled: address, offered }.into()),
        KeyAnswer::OtherKey => Err(NotTrusted::OtherKey { host: shown, offered }.into()),
    }
}

/// What to call a server that was dialled as HOST, if nobody says: as it was typed, with the port if that is not the
/// usual one, since the bare name stands for the usual one. What the server calls itself does not count: it could be
/// anything.
pub fn name_for(host: &Address, dialled: &Dialled) -> String {
    let Address::Tcp { host: typed, .. } = host else { return String::new() };
    let name = match typed.parse::<IpAddr>() {
        // A name takes no colons.
        Ok(IpAddr::V6(_)) => format!("ip6-{}", typed.replace(':', "-")),
        Ok(IpAddr::V4(_)) | Err(_) => typed.clone(),
    };
    match dialled.address.port() {
        Some(port) if port != DEFAULT_PORT => format!("{name}-{port}"),
        _ => name,
    }
}

/// Whether HOST is no name, but where something is.
pub fn is_address(host: &Address) -> bool {
    let Address::Tcp { host, .. } = host else { return true };
    host.parse::<IpAddr>().is_ok() || host.eq_ignore_ascii_case("localhost")
}

/// What a person decides about a key.
enum KeyAnswer {
    /// It is the right one, from now on.
    Yes,
    /// It is the right one, this time.
    Once,
    /// It is not.
    No,
    /// What was pasted is another key.
    OtherKey,
}

/// A pasted text at least so long is a fingerprint, right or wrong, and no answer that was mistyped.
const PASTED_LEN_MIN: usize = 20;

/// Asks until it is answered: yes, once, no, or the fingerprint itself, pasted from the other machine.
fn ask(program: &str, question: &str, offered: Fingerprint) -> anyhow::Result<KeyAnswer> {
    loop {
        write!(standard::errors(), "{program}: {} [yes/once/no/fingerprint] ", printable_lines(question))?;
        let answer = standard::read_text_line()?;
        if answer.is_empty() {
            return Ok(KeyAnswer::No);
        }
        return Ok(match answer.trim() {
            "yes" => KeyAnswer::Yes,
            "once" => KeyAnswer::Once,
            "no" | "n" => KeyAnswer::No,
            pasted if pasted.len() >= PASTED_LEN_MIN => {
                let digest = pasted.strip_prefix("SHA256:").unwrap_or(pasted);
                let is_same = format!("SHA256:{digest}").parse() == Ok(offered);
                if is_same { KeyAnswer::Yes } else { KeyAnswer::OtherKey }
            }
            _ => {
                say(program, "please type yes, once or no, or paste the fingerprint");
                continue;
            }
        });
    }
}

/// A Unix socket is encrypted by nobody and needs it not: the kernel says who serves there.
fn check_user(stream: &Stream, address: &Address) -> anyhow::Result<()> {
    let own = rustix::process::geteuid().as_raw();
    match stream.peer_user() {
        Some(user) if user == own || user == 0 => Ok(()),
        user => Err(NotTrusted::OtherUser { host: address.to_string(), user: user.unwrap_or(u32::MAX), own }.into()),
    }
}
