//! Both ends of a pairing as people see them: `tcp-server pair` shows a code, `tcp-client pair` asks
//! for it.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::args::{Reach, Talk};
use super::connect::{NotTrusted, handshake, name_for, resolve};
use super::exit::usage;
use super::peers::{Rule, shown};
use super::tcp_server::{Bind, serve_pairing};
use super::{Exit, home, put_json, put_out, say, tcp_client, tcp_server};
use crate::line::Line;
use crate::net::Address;
use crate::net::dial::dial;
use crate::pair::{call_pair, record_server};
use crate::trust::Services;
use crate::trust::code::Code;
use crate::trust::commands::Commands;
use crate::trust::home::Home;
use crate::trust::identity::Identity;
use crate::trust::offer::{OFFER_TIME_MAX, Offer, Standing};
use crate::trust::peers::{Peers, check_name, check_scope, checked_root};
use crate::trust::running::running;
use crate::wire::Error;

/// How often the command that shows a code looks how it stands.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// What a new peer is to be here.
#[derive(Debug, Args)]
pub struct OfferArgs {
    /// What to call the new peer here [default: what it calls itself]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What it may do here: echo, chat, read, write, exec, or all, none
    #[arg(long, value_name = "LIST", default_value = "echo,chat,read")]
    allow: Services,
    #[command(flatten)]
    rule: Rule,
    /// The directory below the server's root that it is shown [default: all of it]
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
    let root = args.root.as_deref().map(checked_root).transpose().map_err(usage)?.filter(|root| !root.is_empty());
    check_scope(args.allow, root.as_deref()).map_err(|why| usage(format!("the new peer {why}")))?;
    let rule = args.rule.wanted()?;
    check_rule(rule.as_ref(), args.allow)?;
    if let Some(name) = &args.name {
        check_name(name).map_err(usage)?;
        if let Some(known) = Peers::load(&home)?.by_name(name) {
            check_rule(rule.as_ref().or(Some(&known.commands)), args.allow)?;
            say(
                tcp_server::PROGRAM,
                &format!("{name} is known already; the same machine keeps its name and gets what is allowed now"),
            );
        }
    }
    // A list that cannot be read could not take anybody; better said now than to the other person.
    Peers::load(&home)?;
    let addresses = running(&home)?;
    // Before there is a code: Ctrl-C at any moment makes it void.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let mut offer_at = |addresses: &[String], who: &str| {
        let offer = Offer::open(&home, (args.allow, rule.clone()), args.name.clone(), root.clone())?;
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

fn check_rule(rule: Option<&Commands>, allow: Services) -> anyhow::Result<()> {
    rule.map_or(Ok(()), |rule| rule.check(allow)).map_err(|why| usage(format!("the new peer {why}")))
}

/// Minutes for which a code is good.
const MINUTES: u64 = OFFER_TIME_MAX.as_secs() / 60;

fn show(offer: &Offer, addresses: &[String], who: &str) -> anyhow::Result<()> {
    put_out(format!("{}\n", offer.code.as_str()).as_bytes())?;
    let is_local =
        |address: &&String| address.starts_with("127.") || address.starts_with("[::1]") || address.starts_with("unix:");
    let port_of = |address: &String| address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let reachable = addresses.iter().find(|address| !is_local(address));
    let (host, whose) = match reachable {
        Some(_) => (rustix::system::uname().nodename().to_string_lossy().into_owned(), "on the other machine"),
        None => ("localhost".to_owned(), "on this machine"),
    };
    let port = reachable.or(addresses.first()).and_then(port_of);
    let host = Address::Tcp { host, port, is_plain: false };
    let told = format!("{whose}: tcp-client pair {host}, and type this code there within {MINUTES} minutes");
    say(tcp_server::PROGRAM, &told);
    say(tcp_server::PROGRAM, &format!("listening on {} ({who})", addresses.join(", ")));
    if reachable.is_none() {
        say(tcp_server::PROGRAM, "other machines cannot reach that; start the server with --bind 0.0.0.0, for example");
    }
    Ok(())
}

fn wait(home: &Home, offer: &Offer, signals: &mut Signals) -> anyhow::Result<Exit> {
    loop {
        if signals.pending().next().is_some() {
            offer.withdraw(home)?;
            say(tcp_server::PROGRAM, "the code is void now");
            return Ok(Exit::Interrupted);
        }
        match offer.standing(home)? {
            Standing::Waiting { .. } | Standing::Claimed => thread::sleep(LOOK_INTERVAL),
            Standing::Paired { name, fingerprint } => {
                // Known before, it may have a rule that was kept.
                let commands = Peers::load(home)?.by_name(&name).map(|peer| peer.commands.clone());
                let may = shown(offer.allow, &commands.unwrap_or_default());
                put_out(format!("paired with {name}, {fingerprint}, which may {may}\n").as_bytes())?;
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

#[derive(Debug, Serialize)]
struct Paired<'p> {
    name: &'p str,
    fingerprint: String,
}

/// Asks for the code, introduces this machine to HOST, and remembers its key.
///
/// # Errors
/// The code is wrong, somebody is in between, the key on record is another, or no connection came about.
pub fn introduce(host: &Address, name: Option<&str>, reach: &Reach, talk: &Talk) -> anyhow::Result<Exit> {
    if host.is_plain() || matches!(host, Address::Unix(_)) {
        return Err(usage(format!("{host}: only an encrypted line over a network can be paired over")));
    }
    if let Some(name) = name {
        check_name(name).map_err(usage)?;
    }
    let home = home::open()?;
    let own = Identity::of(&home)?;
    let dialled = resolve(&home, host, reach.port)?;
    let (pin, own_key) = (dialled.pin.clone(), own.fingerprint());
    let pinned = pin.as_ref().map(|(_, key)| *key);
    let is_expected = move |key| pinned.is_none_or(|pinned| pinned == key);
    let stream = dial(&dialled.address, reach.connect_timeout)?;
    let (stream, key) = match (handshake(stream, &own, &dialled, reach, is_expected)?, pin) {
        (Ok(shaken), _) => shaken,
        (Err(offered), pin) => {
            let (name, pinned) = pin.unwrap_or((host.to_string(), offered));
            let dialled = dialled.recorded_address();
            return Err(NotTrusted::Changed { host: host.to_string(), dialled, name, pinned, offered }.into());
        }
    };
    if key == own_key {
        return Err(usage(format!("{host}: this is your own identity there too: no pairing is needed")));
    }
    let mut line = Line::open(stream, &format!("{}/{}", tcp_client::PROGRAM, env!("CARGO_PKG_VERSION")))?;
    // The server has said hello, and a changed key was noticed, before anybody fetches a code.
    line.greeting()?;
    let code = ask_code()?;
    let said = call_pair(&mut line, &code, own_key, key).map_err(|error| match error {
        Error::Refused(refusal) => NotTrusted::NotPaired { host: host.to_string(), why: refusal.message }.into(),
        other => anyhow::Error::from(other),
    })?;
    line.close();
    let wish = name_for(host, &dialled, Some(&said));
    let name = record_server(&home, key, name, &wish, &dialled.recorded_address())?;
    if talk.json {
        put_json(&Paired { name: &name, fingerprint: key.to_string() })?;
    } else if !talk.quiet {
        put_out(format!("paired with {name}, {key}\n").as_bytes())?;
    }
    Ok(Exit::Done)
}

/// From a prompt or from standard input, never from the arguments, which every user of a machine can see.
fn ask_code() -> anyhow::Result<Code> {
    let is_person = std::io::stdin().is_terminal();
    loop {
        if is_person {
            write!(std::io::stderr(), "code: ")?;
        }
        let mut typed = zeroize::Zeroizing::new(String::new());
        if std::io::stdin().lock().read_line(&mut typed)? == 0 {
            return Err(usage("no code came on standard input"));
        }
        match typed.parse() {
            Ok(code) => return Ok(code),
            Err(error) if is_person => say(tcp_client::PROGRAM, &error.to_string()),
            Err(error) => return Err(usage(error.to_string())).context("standard input"),
        }
    }
}
