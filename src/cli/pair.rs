//! Both ends of a pairing as people see them: `tcp-server pair` shows a code, `tcp-client pair` asks
//! for it.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::args::{ConnectArgs, DEFAULT_PORT, OutputArgs};
use super::connect::{greeting, is_address, port_of, with_advice};
use super::exit::usage;
use super::peers::Rule;
use super::tcp_server::{Bind, serve_pairing};
use super::{Exit, home, printable, put_json, say, standard, tcp_client, tcp_server, tell};
use crate::client::{ConnectError, Dialled, NotTrusted, handshake, resolve};
use crate::connection::Connection;
use crate::error::Error;
use crate::net::Address;
use crate::net::address::Scheme;
use crate::net::dial::dial;
use crate::pair::{DialledServer, Granted, Recorded, call_pair, left, record_server};
use crate::trust::code::Code;
use crate::trust::home::Home;
use crate::trust::identity::{Fingerprint, Identity};
use crate::trust::offer::{OFFER_TIME_MAX, Offer, PairingOptions, PeerBefore, Standing};
use crate::trust::peers::{KnownPeer, NAME_LEN_MAX, Peers, check_name, checked_root};
use crate::trust::servers::running;
use crate::trust::{Service, Services, hosts};

/// How often the command that shows a code looks how it stands.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// What a new peer is to be here.
#[derive(Debug, Args)]
pub struct OfferArgs {
    /// What to call the new peer here [default: what it calls itself]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What it may do here: echo, chat, read, write, exec, or all, none [default: echo,chat,read; a machine that is
    /// known keeps what it has]
    #[arg(long, value_name = "LIST")]
    allow: Option<Services>,
    #[command(flatten)]
    rule: Rule,
    /// The directory below the server's root that it is shown; / is all of it [default: all of it; a machine that is
    /// known keeps the one it has]
    #[arg(long, value_name = "DIR")]
    root: Option<String>,
    #[command(flatten)]
    bind: Bind,
}

/// Shows a code and waits until somebody has used it.
///
/// # Errors
/// The rule would lie, the name is taken, the code was spoiled, or its time is over.
pub fn offer(args: &OfferArgs) -> anyhow::Result<Exit> {
    let home = home::open()?;
    let own = Identity::of(&home)?;
    let root = args.root.as_deref().map(checked_root).transpose().map_err(usage)?;
    let wish = PairingOptions { allow: args.allow, commands: args.rule.wanted()?, name: args.name.clone(), root };
    check_wish(&home, &wish)?;
    // A list that cannot be read could not take anybody; better said now than to the other person.
    Peers::load(&home)?;
    let addresses = running(&home)?;
    // Before there is a code: Ctrl-C at any moment makes it void.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let mut offer_at = |addresses: &[String], who: &str| {
        let offer = Offer::open(&home, wish.clone())?;
        let result = show(&offer, addresses, who).and_then(|()| wait(&home, &offer, &mut signals));
        offer.withdraw(&home)?;
        result
    };
    if addresses.is_empty() {
        // It listens before there is a code: where another one listens already, that one's stays good.
        let paired = serve_pairing(&args.bind, &home, own, |addresses| offer_at(addresses, "pairing only"))?;
        if paired == Exit::Done {
            say(
                tcp_server::PROGRAM,
                "no server runs here yet: tcp-server --bind 0.0.0.0 starts one that others can reach",
            );
        }
        Ok(paired)
    } else {
        offer_at(&addresses, "the running server")
    }
}

/// Refuses, before there is a code, what could not be recorded; and says what becomes of a machine that is known.
fn check_wish(home: &Home, wish: &PairingOptions) -> anyhow::Result<()> {
    let checked = |peer: &KnownPeer| peer.check().map_err(|why| usage(why.to_string()));
    let unknown = KnownPeer::new("the new peer", Fingerprint::of_spki(&[]));
    let Some(name) = &wish.name else {
        // Of a machine that is known, the rest may be as it should; here is nobody to look at.
        let is_for_known = wish.allow.is_none() && (wish.commands.is_some() || wish.root.is_some());
        return if is_for_known { Ok(()) } else { checked(&wish.applied_to(unknown)) };
    };
    check_name(name).map_err(usage)?;
    let peers = Peers::load(home)?;
    let Some(known) = peers.by_name(name) else { return checked(&wish.applied_to(unknown)) };
    let after = wish.applied_to(known.clone());
    checked(&after)?;
    let (before, after) = (known.scope(), after.scope());
    let may = if before == after { format!("keeps what it may do: {before}") } else { changed(&before, &after) };
    say(tcp_server::PROGRAM, &printable(&format!("{name} is known already; paired again, the same machine {may}")));
    Ok(())
}

fn changed(before: &str, after: &str) -> String {
    format!("may {after}; until now it may {before}")
}

/// Minutes for which a code is good.
const MINUTES: u64 = OFFER_TIME_MAX.as_secs() / 60;

fn show(offer: &Offer, addresses: &[String], who: &str) -> anyhow::Result<()> {
    tell(&format!("{}\n", offer.code.as_str()))?;
    let is_local =
        |address: &&String| address.starts_with("127.") || address.starts_with("[::1]") || address.starts_with("unix:");
    let port_of = |address: &String| address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let reachable = addresses.iter().find(|address| !is_local(address));
    let (host, whose) = match reachable {
        Some(_) => (rustix::system::uname().nodename().to_string_lossy().into_owned(), "on the other machine"),
        None => ("localhost".to_owned(), "on this machine"),
    };
    let port = reachable.or(addresses.first()).and_then(port_of);
    let host = Address::Tcp { host, port, scheme: Scheme::Unsaid };
    let told = format!("{whose}: tcp-client pair {host}, and type this code there within {MINUTES} minutes");
    say(tcp_server::PROGRAM, &told);
    say(tcp_server::PROGRAM, &format!("listening on {} ({who})", addresses.join(", ")));
    if reachable.is_none() {
        say(tcp_server::PROGRAM, "other machines cannot reach that; start the server with --bind 0.0.0.0, for example");
    }
    Ok(())
}

fn wait(home: &Home, offer: &Offer, signals: &mut Signals) -> anyhow::Result<Exit> {
    let mut wrong_until_now = 0;
    loop {
        if signals.pending().next().is_some() {
            offer.withdraw(home)?;
            say(tcp_server::PROGRAM, "the code is void now");
            return Ok(Exit::Interrupted);
        }
        match offer.standing(home)? {
            Standing::Waiting { guesses_left, wrong } => {
                if std::mem::replace(&mut wrong_until_now, wrong) != wrong {
                    say(tcp_server::PROGRAM, &format!("a wrong code was tried; {}", left(guesses_left)));
                }
                thread::sleep(LOOK_INTERVAL);
            }
            Standing::Claimed => thread::sleep(LOOK_INTERVAL),
            Standing::Paired { name, fingerprint, before } => {
                tell_paired(home, (&name, &fingerprint), before.as_ref())?;
                return Ok(Exit::Done);
            }
            Standing::Spoiled => {
                anyhow::bail!("three wrong codes were tried: the code is void, and nobody was paired; begin again")
            }
            Standing::Failed { why } => anyhow::bail!("the other machine knew the code, but: {why}"),
            Standing::Expired => anyhow::bail!("nobody came within {MINUTES} minutes: the code is void"),
            Standing::Gone => anyhow::bail!("another tcp-server pair has taken over; this code is void"),
        }
    }
}

/// What the other machine is here now, what that changes, and what can be done about it.
fn tell_paired(home: &Home, (name, key): (&str, &str), before: Option<&PeerBefore>) -> anyhow::Result<()> {
    let now = Peers::load(home)?.by_name(name).map(KnownPeer::scope).unwrap_or_default();
    tell(&format!("paired with {name}, {key}, which may {}\n", printable(&now)))?;
    if let Some(before) = before {
        let name_before = if before.name == name { String::new() } else { format!(" as {}", before.name) };
        let how = if before.scope == now { "keeps what it could do".into() } else { changed(&before.scope, &now) };
        say(tcp_server::PROGRAM, &printable(&format!("it was known already{name_before}, and {how}")));
    }
    let next = format!(
        "next: tcp-server peers shows it; peers allow {name} LIST changes what it may do, peers revoke {name} ends it"
    );
    say(tcp_server::PROGRAM, &next);
    Ok(())
}

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
/// The code is wrong, somebody is in between, the key on record is another, or no connection came about.
pub fn introduce(host: &Address, name: Option<&str>, reach: &ConnectArgs, talk: &OutputArgs) -> anyhow::Result<Exit> {
    if host.is_plain() || matches!(host, Address::Unix(_)) {
        return Err(usage(format!("{host}: only an encrypted connection over a network can be paired over")));
    }
    let home = home::open()?;
    let own = Identity::of(&home)?;
    let dialled = resolve(&home, host, port_of(reach.port))?;
    if let Some(name) = name {
        check_chosen(&home, name, host, &dialled).map_err(usage)?;
    }
    let (pin, own_key) = (dialled.pin.clone(), own.fingerprint());
    let pinned = pin.as_ref().map(|(_, key)| *key);
    let is_expected = move |key| pinned.is_none_or(|pinned| pinned == key);
    let stream = dial(&dialled.address, reach.connect_timeout).map_err(ConnectError::from).map_err(with_advice)?;
    let (stream, key) =
        match (handshake(stream, &own, &dialled, reach.connect_timeout, is_expected).map_err(with_advice)?, pin) {
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
    let mut connection = Connection::open(stream, &greeting(tcp_client::PROGRAM))?;
    // The server has said hello, and a changed key was noticed, before anybody fetches a code.
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
    // Recorded first: whoever leaves the question has a name for it all the same.
    if recorded.before.is_none() && name.is_none() && is_address(host) && std::io::stdin().is_terminal() {
        while let Some(chosen) = ask_name(&recorded.peer.name, &introduced.name)? {
            let named = check_chosen(&home, &chosen, host, &dialled)
                .and_then(|()| record_server(&home, server, Some(&chosen), &chosen).map_err(|why| why.to_string()));
            match named {
                Ok(named) => {
                    recorded = named;
                    break;
                }
                Err(why) => say(tcp_client::PROGRAM, &printable(&why)),
            }
        }
    }
    if talk.json {
        let granted = introduced.granted.as_ref();
        put_json(&Paired { name: &recorded.peer.name, fingerprint: key.to_string(), granted })?;
    } else if !talk.quiet {
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
        say(tcp_client::PROGRAM, &printable(&format!("it was dialled at {before} until now, and is at {address}")));
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
    say(tcp_client::PROGRAM, &printable(&next));
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
/// whoever is there could call itself like a machine that means something here.
fn ask_name(name: &str, said: &str) -> anyhow::Result<Option<String>> {
    let said: String = said.chars().take(NAME_LEN_MAX).collect();
    write!(
        standard::errors(),
        "{}: it calls itself {:?}; what is it to be called here? [{name}] ",
        tcp_client::PROGRAM,
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
            Err(error) if is_person => say(tcp_client::PROGRAM, &format!("{error}; this costs no guess")),
            Err(error) => return Err(usage(error.to_string())).context("standard input"),
        }
    }
}
