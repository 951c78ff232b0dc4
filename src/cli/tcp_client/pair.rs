//! `tcp-client pair`: asks for the code that `tcp-server pair` shows, and records the server.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::net::IpAddr;

use anyhow::Context as _;
use serde::Serialize;

use super::args::PROGRAM;
use crate::cli::args::{ConnectArgs, DEFAULT_PORT, OutputArgs};
use crate::cli::connect::{greeting, is_address, port_of, with_advice};
use crate::cli::exit::Exit;
use crate::cli::output::{put_json, say, tell};
use crate::cli::usage::usage;
use crate::cli::{home, standard};
use crate::client::{ConnectError, Dialled, NotTrusted, handshake, resolve};
use crate::connection::Connection;
use crate::error::Error;
use crate::net::Address;
use crate::net::dial::dial;
use crate::pair::{DialledServer, Granted, Recorded, call_pair, record_server};
use crate::printable::printable;
use crate::trust::code::Code;
use crate::trust::home::Home;
use crate::trust::identity::Identity;
use crate::trust::peers::{KnownPeer, NAME_LEN_MAX, check_name};
use crate::trust::{Service, Services, hosts};

#[derive(Debug, Serialize)]
struct Paired<'p> {
    name: &'p str,
    fingerprint: String,
    /// What this machine is called there, and may do.
    granted: Option<&'p Granted>,
}

/// Asks for the code, introduces this machine to HOST, and remembers its key.
///
/// # Errors
/// The code is wrong, another machine is in between, the key on record is another, or no connection came about.
pub(super) fn introduce(
    host: &Address,
    name: Option<&str>,
    connect: &ConnectArgs,
    output: &OutputArgs,
) -> anyhow::Result<Exit> {
    if host.is_plain() || matches!(host, Address::Unix(_)) {
        return Err(usage(format!("{host}: only an encrypted connection over a network can be paired over")));
    }
    let home = home::open()?;
    let own = Identity::of(&home)?;
    let dialled = resolve(&home, host, port_of(connect.port))?;
    if let Some(name) = name {
        check_chosen(&home, name, host, &dialled).map_err(usage)?;
    }
    let (pin, own_key) = (dialled.pin.clone(), own.fingerprint());
    let pinned = pin.as_ref().map(|(_, key)| *key);
    let is_expected = move |key| pinned.is_none_or(|pinned| pinned == key);
    let stream = dial(&dialled.address, connect.connect_timeout).map_err(ConnectError::from).map_err(with_advice)?;
    let (stream, key) =
        match (handshake(stream, &own, &dialled, connect.connect_timeout, is_expected).map_err(with_advice)?, pin) {
            (Ok(shaken), _) => shaken,
            (Err(offered), pin) => {
                let (name, pinned) = pin.unwrap_or((host.to_string(), offered));
                let dialled = dialled.recorded_address();
                let host = host.to_string();
                return Err(with_advice(NotTrusted::Changed { host, dialled, name, pinned, offered }.into()));
            }
        };
    if key == own_key {
        return Err(usage(format!("{host}: this is your own identity there too: no pairing is needed")));
    }
    let mut connection = Connection::open(stream, &greeting(PROGRAM))?;
    // The server has sent its greeting, and a changed key was noticed, before a person fetches a code.
    connection.greeting()?;
    let code = ask_code()?;
    let introduced = call_pair(&mut connection, &code, own_key, key).map_err(|error| match error {
        Error::Refused(refusal) => NotTrusted::NotPaired { host: host.to_string(), why: refusal.message }.into(),
        other => anyhow::Error::from(other),
    })?;
    connection.close();
    let address = dialled.recorded_address();
    let there = introduced.granted.as_ref().and_then(|granted| granted.services.parse().ok());
    let server = DialledServer { key, address: &address, there };
    let mut recorded = record_server(&home, server, name, &dialled.name_for(host))?;
    // Recorded first: a person who leaves the question has a name for it all the same.
    if recorded.before.is_none() && name.is_none() && is_address(host) && std::io::stdin().is_terminal() {
        while let Some(chosen) = ask_name(&recorded.peer.name, &introduced.name)? {
            let named = check_chosen(&home, &chosen, host, &dialled)
                .and_then(|()| record_server(&home, server, Some(&chosen), &chosen).map_err(|why| why.to_string()));
            match named {
                Ok(named) => {
                    recorded = named;
                    break;
                }
                Err(why) => say(PROGRAM, &printable(&why)),
            }
        }
    }
    if output.json {
        let granted = introduced.granted.as_ref();
        put_json(&Paired { name: &recorded.peer.name, fingerprint: key.to_string(), granted })?;
    } else if !output.quiet {
        tell_introduced(&recorded, introduced.granted.as_ref())?;
    }
    Ok(Exit::Done)
}

/// What the server is called here, what this machine may do there, and what to type now.
fn tell_introduced(recorded: &Recorded, granted: Option<&Granted>) -> anyhow::Result<()> {
    let KnownPeer { name, fingerprint, address, there, is_self_named, .. } = &recorded.peer;
    let may = match (granted, there) {
        (Some(granted), Some(there)) => {
            let services = if *there == Services::NONE { "do nothing".into() } else { there.to_string() };
            let rule = granted.rule.as_ref().map(|rule| format!(", and run {rule}")).unwrap_or_default();
            let root = granted.root.as_ref().map(|root| format!(", and is shown /{root}")).unwrap_or_default();
            printable(&format!("; this machine may {services} there{rule}{root}")).into_owned()
        }
        _ => String::new(),
    };
    tell(&format!("paired with {name}, {fingerprint}{may}\n"))?;
    let before = recorded.before.as_ref().and_then(|before| before.address.as_ref());
    if let (Some(before), Some(address)) = (before.filter(|before| Some(*before) != address.as_ref()), address) {
        say(PROGRAM, &printable(&format!("it was dialled at {before} until now, and is at {address}")));
    }
    let host = if *is_self_named { address.as_deref().unwrap_or(name) } else { name };
    let has = |service| there.is_none_or(|there| there.has(service));
    let called = granted.map_or("NAME", |granted| granted.name.as_str());
    let next = match () {
        () if has(Service::Exec) && there.is_some() => {
            format!("next: rexec {host} uptime, for example, or tcp-client {host}")
        }
        () if has(Service::Read) || has(Service::Echo) => {
            format!("next: tcp-client {host} opens a prompt; help shows what can be typed there")
        }
        () if has(Service::Write) => format!("next: fput FILE {host}: sends a file there"),
        () if has(Service::Chat) => format!("next: tcp-client chat {host}"),
        () => format!("next: its operator grants something with: tcp-server peers allow {called} read"),
    };
    say(PROGRAM, &printable(&next));
    Ok(())
}

/// Whether a name that a person chose can stand for the machine at HOST.
///
/// # Errors
/// It cannot be a name, or means something else here.
fn check_chosen(home: &Home, name: &str, host: &Address, dialled: &Dialled) -> Result<(), String> {
    check_name(name)?;
    let other = |what: &str| Err(format!("{name} means {what} here; choose another name"));
    let is_dialled = matches!(host, Address::Tcp { host, .. } if host.eq_ignore_ascii_case(name));
    if is_dialled {
        return Ok(());
    }
    if name.eq_ignore_ascii_case("localhost") {
        return other("this machine itself");
    }
    if name.parse::<IpAddr>().is_ok() {
        return other("another address");
    }
    match hosts::look_up(home, name).map_err(|error| error.to_string())? {
        Some(address) if address.clone().with_default_port(DEFAULT_PORT) != dialled.address => {
            other(&format!("{address} ({})", hosts::FILE))
        }
        _ => Ok(()),
    }
}

/// What the machine is to be called here; `None`: as it is. What it calls itself is told, and is no more than that:
/// it could call itself like a machine that means something here.
fn ask_name(name: &str, said: &str) -> anyhow::Result<Option<String>> {
    let said: String = said.chars().take(NAME_LEN_MAX).collect();
    write!(
        standard::errors(),
        "{}: it calls itself {:?}; what is it to be called here? [{name}] ",
        PROGRAM,
        printable(&said)
    )?;
    let typed = standard::read_text_line()?;
    Ok(Some(typed.trim().to_owned()).filter(|typed| !typed.is_empty() && typed != name))
}

/// From a prompt or from standard input, never from the arguments, which every user of a machine can see.
fn ask_code() -> anyhow::Result<Code> {
    let is_person = std::io::stdin().is_terminal();
    loop {
        if is_person {
            write!(standard::errors(), "code: ")?;
        }
        let mut bytes = zeroize::Zeroizing::new(Vec::new());
        standard::patiently(|| std::io::stdin().lock().read_until(b'\n', &mut bytes))?;
        let typed = zeroize::Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned());
        if typed.is_empty() {
            return Err(usage("no code came on standard input"));
        }
        match typed.parse() {
            Ok(code) => return Ok(code),
            Err(error) if is_person => say(PROGRAM, &format!("{error}; this costs no guess")),
            Err(error) => return Err(usage(error.to_string())).context("standard input"),
        }
    }
}
