//! `tcp-server pair`: shows a code and waits until another machine has used it.

use std::thread;
use std::time::Duration;

use clap::Args;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::bind::{Bind, PROGRAM};
use super::peers::Rule;
use crate::cli::exit::Exit;
use crate::cli::home;
use crate::cli::output::{say, tell};
use crate::cli::serving::{addresses, bind_all, serve_while};
use crate::cli::usage::usage;
use crate::net::Address;
use crate::net::address::Scheme;
use crate::pair::left;
use crate::printable::printable;
use crate::server::Server;
use crate::trust::Services;
use crate::trust::home::Home;
use crate::trust::identity::Fingerprint;
use crate::trust::list::{Entry as _, check_elsewhere};
use crate::trust::offer::{OFFER_TIME_MAX, Offer, PairingOptions, PeerBefore, Standing};
use crate::trust::peers::{KnownPeer, Peers, check_name, checked_root};
use crate::trust::servers::running;

/// How long a pairing that is under way may take when the command that offered it ends.
const PAIRING_GRACE: Duration = Duration::from_secs(1);
/// How often the command that shows a code looks how it stands.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// What a new peer is to be here.
#[derive(Debug, Args)]
pub(super) struct OfferArgs {
    /// Name of the new peer here [default: what it calls itself]
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

/// Shows a code and waits until a machine has used it.
///
/// # Errors
/// The rule would lie, the name is taken, the code was spoiled, or its time is over.
pub(super) fn offer(args: &OfferArgs) -> anyhow::Result<Exit> {
    let home = home::open()?;
    let root = args.root.as_deref().map(checked_root).transpose().map_err(usage)?;
    let wish = PairingOptions { allow: args.allow, commands: args.rule.wanted()?, name: args.name.clone(), root };
    check_wish(&home, &wish)?;
    // A list that cannot be read cannot take a new peer: better reported now than at the other machine.
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
        let paired = serve_pairing(&args.bind, &home, |addresses| offer_at(addresses, "pairing only"))?;
        if paired == Exit::Done {
            say(PROGRAM, "no server runs here yet: tcp-server --bind 0.0.0.0 starts one that others can reach");
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
        // The rest of a machine that is known may be as it should; which machine it is, is not known yet.
        let is_for_known = wish.allow.is_none() && (wish.commands.is_some() || wish.root.is_some());
        return if is_for_known { Ok(()) } else { checked(&wish.applied_to(unknown)) };
    };
    check_name(name).map_err(usage)?;
    let peers = Peers::load(home)?;
    let Some(known) = peers.by_name(name) else {
        check_elsewhere::<KnownPeer>(home, name).map_err(|why| usage(why.to_string()))?;
        return checked(&wish.applied_to(unknown));
    };
    let after = wish.applied_to(known.clone());
    checked(&after)?;
    let (before, after) = (known.scope(), after.scope());
    let may = if before == after { format!("keeps what it may do: {before}") } else { changed(&before, &after) };
    say(PROGRAM, &printable(&format!("{name} is known already; paired again, the same machine {may}")));
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
    say(PROGRAM, &told);
    say(PROGRAM, &format!("listening on {} ({who})", addresses.join(", ")));
    if reachable.is_none() {
        say(PROGRAM, "other machines cannot reach that; start the server with --bind 0.0.0.0, for example");
    }
    Ok(())
}

fn wait(home: &Home, offer: &Offer, signals: &mut Signals) -> anyhow::Result<Exit> {
    let mut wrong_until_now = 0;
    loop {
        if signals.pending().next().is_some() {
            offer.withdraw(home)?;
            say(PROGRAM, "the code is void now");
            return Ok(Exit::Interrupted);
        }
        match offer.standing(home)? {
            Standing::Waiting { guesses_left, wrong } => {
                if std::mem::replace(&mut wrong_until_now, wrong) != wrong {
                    say(PROGRAM, &format!("a wrong code was tried; {}", left(guesses_left)));
                }
                thread::sleep(LOOK_INTERVAL);
            }
            Standing::Claimed => thread::sleep(LOOK_INTERVAL),
            Standing::Paired { name, fingerprint, before } => {
                tell_paired(home, &name, &fingerprint, before.as_ref())?;
                return Ok(Exit::Done);
            }
            Standing::Spoiled => {
                anyhow::bail!("three wrong codes were tried: the code is void, and no machine was paired; begin again")
            }
            Standing::Failed { why } => anyhow::bail!("the other machine knew the code, but: {why}"),
            Standing::Expired => anyhow::bail!("no machine came within {MINUTES} minutes: the code is void"),
            Standing::Gone => anyhow::bail!("another tcp-server pair has taken over; this code is void"),
        }
    }
}

/// What the other machine is here now, what that changes, and what can be done about it.
fn tell_paired(home: &Home, name: &str, key: &str, before: Option<&PeerBefore>) -> anyhow::Result<()> {
    let now = Peers::load(home)?.by_name(name).map(KnownPeer::scope).unwrap_or_default();
    tell(&format!("paired with {name}, {key}, which may {}\n", printable(&now)))?;
    if let Some(before) = before {
        let name_before = if before.name == name { String::new() } else { format!(" as {}", before.name) };
        let how = if before.scope == now { "keeps what it could do".into() } else { changed(&before.scope, &now) };
        say(PROGRAM, &printable(&format!("it was known already{name_before}, and {how}")));
    }
    let next = format!(
        "next: tcp-server peers shows it; peers allow {name} LIST changes what it may do, peers revoke {name} ends it"
    );
    say(PROGRAM, &next);
    Ok(())
}

/// Serves only pairings, until `wait` returns; `wait` gets the addresses.
///
/// # Errors
/// No address can be listened on, or as `wait`.
fn serve_pairing(
    bind: &Bind,
    home: &Home,
    wait: impl FnOnce(&[String]) -> anyhow::Result<Exit>,
) -> anyhow::Result<Exit> {
    // Another machine that is let in has to reach this one; and nothing but the code is to be had.
    let listeners = bind_all(&bind.bind, bind.port, ["0.0.0.0", "::"])?;
    let server = Server::for_pairing(home.clone())?.build()?;
    serve_while(&server, &listeners, PAIRING_GRACE, || wait(&addresses(&listeners)), &|| false)
}
