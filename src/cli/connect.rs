//! What the programs add to a client's connection: the options, the question about a key, and what may help when no
//! connection comes about.

use std::io::{IsTerminal as _, Write as _};
use std::net::IpAddr;

use super::args::{ConnectArgs, DEFAULT_PORT, OutputArgs};
use super::output::say;
use super::usage::usage;
use super::{home, standard};
use crate::client::{
    ConnectError, Connector, Decision, NotTrusted, Port, Step, UnknownServer, connect_unix, known_names, resolve,
};
use crate::connection::Connection;
use crate::error::Error;
use crate::net::dial::{self, dial};
use crate::net::{Address, Stream};
use crate::printable::printable_lines;
use crate::trust::home::Home;
use crate::trust::identity::Fingerprint;
use crate::trust::peers::Peers;

/// Names the usual port.
const PORT_VARIABLE: &str = "LANDLINE_PORT";

/// Why there is no connection, and what may help.
#[derive(Debug, thiserror::Error)]
#[error("{}{advice}", chain(error))]
pub struct Advised {
    /// Why there is no connection.
    pub error: ConnectError,
    /// What may help, with what separates it from the error.
    advice: String,
}

fn chain(error: &ConnectError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The error with what a user of our programs can do about it.
pub fn with_advice(error: ConnectError) -> anyhow::Error {
    let ConnectError::NotTrusted(why) = &error else { return error.into() };
    let advice = match &**why {
        NotTrusted::Changed { name, dialled, .. } => format!(
            ". If the machine was set up anew: tcp-server peers revoke {name}, then tcp-client pair {dialled} --name \
             {name}. If not, another machine is in between"
        ),
        NotTrusted::Unknown { dialled, .. } => {
            format!("; introduce it with: tcp-client pair {dialled}")
        }
        NotTrusted::OtherName { dialled, .. } => {
            format!("; introduce it here too with: tcp-client pair {dialled}")
        }
        NotTrusted::OtherKey { .. } | NotTrusted::OtherUser { .. } | NotTrusted::NotPaired { .. } => {
            return error.into();
        }
    };
    Advised { error, advice }.into()
}

/// As [`with_advice`], and with what is known here under another name or at another port.
fn with_known_names(home: &Home, host: &Address, port: Port, error: ConnectError) -> anyhow::Error {
    let ConnectError::Dial(why) = &error else { return with_advice(error) };
    let advice = match known_elsewhere(home, host, port) {
        Some(known) => known,
        None if matches!(why, dial::ConnectError::Unknown { .. }) => match known_names(home).as_slice() {
            [] => "no machine is known here by name yet; tcp-client pair HOST introduces one".to_owned(),
            names => format!("known here: {}", names.join(", ")),
        },
        None => return with_advice(error),
    };
    Advised { error, advice: format!("; {advice}") }.into()
}

/// A name that is known here was dialled at another port than its own.
fn known_elsewhere(home: &Home, host: &Address, port: Port) -> Option<String> {
    let Address::Tcp { host: name, .. } = host else { return None };
    let dialled = resolve(home, host, port).ok()?;
    let peers = Peers::load(home).ok()?;
    let known = peers.by_name(name)?.address.clone()?;
    let (own, port) = (known.parse::<Address>().ok()?.port()?, dialled.address.port()?);
    (own != port).then(|| format!("{name} is known here at {known}; port {port} of it is another server"))
}

/// The port of `-p`, or of the environment.
pub fn port_of(number: u16) -> Port {
    // A port that was given with -p was meant; one that is always in the environment is only a default.
    let is_usual = number == DEFAULT_PORT || std::env::var(PORT_VARIABLE) == Ok(number.to_string());
    Port { number, is_chosen: !is_usual }
}

/// The address that HOST means, for what is not encrypted anyway: no home is made for it.
///
/// # Errors
/// A file in the home is broken, or a known peer has no address.
pub fn address(host: &Address, default_port: u16) -> anyhow::Result<Address> {
    match home::existing()? {
        Some(home) => Ok(resolve(&home, host, port_of(default_port))?.address),
        None => Ok(host.clone().with_default_port(default_port)),
    }
}

/// Connects to HOST, plain: for the tutorials' wires.
///
/// # Errors
/// HOST is no address, or no connection came about.
pub fn stream(program: &str, host: &Address, reach: &ConnectArgs, talk: &OutputArgs) -> anyhow::Result<Stream> {
    plain_stream(host, reach, &|step| show_step(program, talk, step))
}

fn plain_stream(host: &Address, reach: &ConnectArgs, on_step: &dyn Fn(&Step<'_>)) -> anyhow::Result<Stream> {
    if host.is_tls() {
        return Err(usage(format!("tls://{host}: the tutorials' wires are not encrypted; write tcp://{host}")));
    }
    let address = address(host, reach.port)?;
    on_step(&Step::Connecting);
    let stream = dial(&address, reach.connect_timeout).map_err(ConnectError::from).map_err(with_advice)?;
    on_step(&Step::Connected(&stream));
    Ok(stream)
}

/// Connects to HOST and opens a connection, encrypted unless HOST says otherwise; its greeting leaves with
/// the first request. About a key that is not known a person is asked, where there is one.
///
/// # Errors
/// No connection came about, or the server is not trusted.
pub fn connect(program: &str, host: &Address, reach: &ConnectArgs, talk: &OutputArgs) -> anyhow::Result<Connection> {
    connect_watched(program, host, reach, Strangers::AskedAbout, &|step| show_step(program, talk, step))
}

/// The same for one of many hosts: about a key that is not known no question is asked. Behind a question there would be
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
    connect_watched(program, host, reach, Strangers::Refused, &|step| show_step(program, talk, step))
}

/// What becomes of a server whose key is not known, where there is a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strangers {
    /// A person is asked.
    AskedAbout,
    /// It is refused.
    Refused,
    /// It is refused unless it has this key, which a person has just agreed to.
    RefusedBut(Fingerprint),
}

/// As [`connect()`], or as [`connect_many`] where `strangers` are refused. `on_step` is called at each step, of which
/// nothing is printed: see [`show_step`].
///
/// # Errors
/// As [`connect()`].
pub fn connect_watched(
    program: &str,
    host: &Address,
    reach: &ConnectArgs,
    strangers: Strangers,
    on_step: &(dyn Fn(&Step<'_>) + Sync),
) -> anyhow::Result<Connection> {
    let greeting = greeting(program);
    // What needs no key makes no home.
    if let Address::Unix(_) = host {
        return connect_unix(host, &greeting, reach.connect_timeout, Some(on_step)).map_err(with_advice);
    }
    if host.is_plain() {
        return Ok(Connection::open(plain_stream(host, reach, on_step)?, &greeting)?);
    }
    let home = home::open()?;
    let is_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let ask = |server: &UnknownServer<'_>| ask(program, server).map_err(Error::ours("standard input"));
    let agreed = |server: &UnknownServer<'_>| {
        let is_agreed = strangers == Strangers::RefusedBut(server.fingerprint);
        Ok(if is_agreed { Decision::Once } else { Decision::Refuse })
    };
    let connector = Connector {
        program: &greeting,
        port: port_of(reach.port),
        timeout: reach.connect_timeout,
        ask: match strangers {
            Strangers::AskedAbout if is_terminal => Some(&ask),
            Strangers::RefusedBut(_) => Some(&agreed),
            Strangers::AskedAbout | Strangers::Refused => None,
        },
        allows_plain: true,
        on_step: Some(on_step),
        ..Connector::new(&home)
    };
    connector.connect(host).map_err(|error| with_known_names(&home, host, connector.port, error))
}

/// What a program of ours calls itself in `hello`.
pub fn greeting(program: &str) -> String {
    format!("{program}/{}", env!("CARGO_PKG_VERSION"))
}

/// Says what a step is worth to a person.
pub fn show_step(program: &str, talk: &OutputArgs, step: &Step<'_>) {
    match step {
        Step::Connected(stream) if talk.verbose => {
            say(program, &format!("connected from {} to {}", stream.local_address(), stream.peer_address()));
        }
        Step::Encrypted(key) if talk.verbose => say(program, &format!("TLS 1.3, the server's key is {key}")),
        Step::Remembered(name) => say(program, &format!("remembered as {name}; from now on nothing is asked")),
        Step::Connecting | Step::Connected(_) | Step::Encrypted(_) => {}
    }
}

/// Whether HOST is no name, but where something is.
pub fn is_address(host: &Address) -> bool {
    let Address::Tcp { host, .. } = host else { return true };
    host.parse::<IpAddr>().is_ok() || host.eq_ignore_ascii_case("localhost")
}

/// A pasted text at least so long is a fingerprint, right or wrong, and no answer that was mistyped.
const PASTED_LEN_MIN: usize = 20;

/// Asks until it is answered: yes, once, no, or the fingerprint itself, pasted from the other machine.
fn ask(program: &str, server: &UnknownServer<'_>) -> std::io::Result<Decision> {
    let (host, offered) = (server.host, server.fingerprint);
    let question = match server.known_as {
        Some(name) => format!("{host} has the key of {name}: {offered}\nUse {host} for {name} from now on?"),
        None => format!(
            "{host} is not known here; its key is {offered}\n\
             Compare it with what tcp-server identity prints there. Is it the same, and to be remembered?"
        ),
    };
    loop {
        write!(standard::errors(), "{program}: {} [yes/once/no/fingerprint] ", printable_lines(&question))?;
        let answer = standard::read_text_line()?;
        if answer.is_empty() {
            return Ok(Decision::Refuse);
        }
        return Ok(match answer.trim() {
            "yes" => Decision::Remember,
            "once" => Decision::Once,
            "no" | "n" => Decision::Refuse,
            pasted if pasted.len() >= PASTED_LEN_MIN => {
                if is_key(pasted, offered) {
                    Decision::Remember
                } else {
                    Decision::RefuseOtherKey
                }
            }
            _ => {
                say(program, "please type yes, once or no, or paste the fingerprint");
                continue;
            }
        });
    }
}

fn is_key(pasted: &str, offered: Fingerprint) -> bool {
    let digest = pasted.strip_prefix("SHA256:").unwrap_or(pasted);
    format!("SHA256:{digest}").parse() == Ok(offered)
}
