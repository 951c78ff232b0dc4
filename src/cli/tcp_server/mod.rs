//! `tcp-server`: echo, chat, commands, directories and files on one port.

mod args;
mod bind;
mod bus;
mod chat;
mod pair;
mod peers;
mod share;
mod token;
mod tutorial;

pub use args::Args;
pub use bind::PROGRAM;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use crate::audit::Audit;
use crate::cli::exit::Exit;
use crate::cli::home;
use crate::cli::output::{say, tell};
use crate::cli::serving::{StopSignals, addresses, bind_all};
use crate::cli::usage::usage;
use crate::exec::descendants::nets;
use crate::fs::root::Root;
use crate::http::server::HttpOptions;
use crate::net::Address;
use crate::net::gate::Caps;
use crate::net::listen::Listener;
use crate::server::{Server, home_directory};
use crate::trust::Service;
use crate::trust::home::Home;
use crate::trust::identity::Identity;
use crate::trust::policy::Power;
use crate::trust::servers::{RunningServer, ServerEntry, running};
use crate::tutorial::codec::Wire;
use args::{Command, ServeArgs};
use bind::Bind;

/// Runs the server until a signal stops it, or does what the subcommand says.
///
/// # Errors
/// The settings make no sense, the root is missing, or an address cannot be listened on.
pub fn main(args: &Args) -> anyhow::Result<Exit> {
    match &args.command {
        None => serve(&args.serve),
        Some(Command::Pair(offer)) => pair::offer(offer),
        Some(Command::Peers { what }) => peers::main(what.as_ref()),
        Some(Command::Token { what }) => token::main(what.as_ref()),
        Some(Command::Share(share)) => share::main(share),
        Some(Command::Identity) => {
            let identity = Identity::of(&home::open()?)?;
            tell(&format!("{}\n", identity.fingerprint()))?;
            Ok(Exit::Done)
        }
    }
}

fn serve(args: &ServeArgs) -> anyhow::Result<Exit> {
    args.serving.prepare();
    if args.max_connections == Some(0) || args.max_per_address == 0 {
        return Err(usage(
            "a server for 0 connections serves no client; --max-connections and --max-per-address begin at 1",
        ));
    }
    let tutorial = args.tutorial.tutorial()?;
    if let Some(tutorial) = &tutorial
        && !args.guest.has(tutorial.service())
    {
        let service = tutorial.service().as_str();
        return Err(usage(format!(
            "that --reply gives everybody the service {service}: say so with --guest {service}"
        )));
    }
    if args.http && tutorial.as_ref().is_some_and(|tutorial| tutorial.wire == Wire::Http) {
        return Err(usage("--http serves HTTP already: leave --wire http out"));
    }
    if !args.http && args.web.is_given() {
        return Err(usage("the options of HTTP need --http: without it, only frames are served"));
    }
    let bus = args.bus.options()?;
    let http = args.http.then(|| args.web.options(true)).transpose()?.map(with_chat);
    let home = home::open()?;
    let root = open_root(args)?;
    let shown = root.own_path()?;
    let chat = args.chat.options(&root)?;
    let audit = args.audit.as_deref().map(Audit::open).transpose().context("--audit")?;
    let listeners = bind_all(&args.bind.bind, args.bind.port, ["127.0.0.1", "::1"])
        .map_err(|error| by_own_server(&home, &args.bind, error))?;
    warn_of_what_guests_may(args, &listeners)?;
    warn_of_root(args.exec.power(), &listeners);
    let mut caps = Caps::of_this_machine(args.max_per_address);
    caps.connections = args.max_connections.map_or(caps.connections, |wanted| wanted.min(caps.connections));
    let key = Identity::of(&home)?.fingerprint();
    let set = |time: &Duration| Some(*time).filter(|time| !time.is_zero());
    let server = Server::new(home.clone(), root).guest(args.guest).with(|options| {
        options.caps = caps;
        options.command_caps = args.exec.caps();
        options.power = args.exec.power();
        options.idle_timeout = set(&args.idle_timeout);
        options.stall_timeout = set(&args.stall_timeout);
        options.tutorial = tutorial;
        options.http = http;
        options.chat = chat;
        options.bus = bus;
        options.is_insecure = args.insecure;
        options.part_ttl = set(&args.part_ttl);
        options.audit = audit;
        options.shows_hidden_home = args.hidden_home;
    });
    let server = server.build()?;
    let stops = StopSignals::catch()?;
    let _running = RunningServer::announce(&home, &entry(args, &listeners, shown))?;
    args.serving.say_ready(PROGRAM, &listeners)?;
    tracing::info!(%key, root = %args.root().display(), home = %home.path().display(), "this server's identity");
    tracing::info!("{}", nets());
    args.serving.serve(&server, &listeners, stops)
}

/// The chat of frames is that of the browser too.
fn with_chat(http: HttpOptions) -> HttpOptions {
    HttpOptions { has_chat: true, ..http }
}

/// What other programs of this user are told of this server.
fn entry(args: &ServeArgs, listeners: &[Listener], root: PathBuf) -> ServerEntry {
    let root = root.into_os_string().into_string().ok();
    ServerEntry { addresses: addresses(listeners), root, http: args.http.then(|| args.web.entry()) }
}

/// What a server that was started where a shell begins shows to others by accident.
fn warn_of_home(args: &ServeArgs, home: &Path) {
    let is_home = || Some(Path::new(".").canonicalize().ok()? == home.canonicalize().ok()?);
    if args.root.is_some() || is_home() != Some(true) {
        return;
    }
    let but = if args.hidden_home {
        "with .ssh and all else that begins with a dot"
    } else {
        "but names that begin with a dot"
    };
    tracing::warn!(
        "no --root was given, so this shows your home directory {}, {but}; name a directory with --root",
        home.display()
    );
}

fn open_root(args: &ServeArgs) -> anyhow::Result<Root> {
    let root = Root::open(args.root()).with_context(|| format!("the root {}", args.root().display()))?;
    if let Some(audit) = &args.audit {
        let directory = audit.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if root.holds(directory).with_context(|| format!("--audit {}", audit.display()))? {
            return Err(usage(format!(
                "--audit {}: lies below the root, where those whom it records could read or remove it; put it elsewhere",
                audit.display()
            )));
        }
    }
    if let Some(home) = home_directory() {
        warn_of_home(args, &home);
    }
    Ok(root)
}

/// Says of a port that is taken by whom, if that is a server of this user.
fn by_own_server(home: &Home, bind: &Bind, error: anyhow::Error) -> anyhow::Error {
    let of = |address: &Address| address.port().unwrap_or(bind.port);
    let wanted: Vec<u16> = if bind.bind.is_empty() { vec![bind.port] } else { bind.bind.iter().map(of).collect() };
    let has_port = |address: &String| {
        address.parse::<Address>().ok().and_then(|address| address.port()).is_some_and(|port| wanted.contains(&port))
    };
    let shown = format!("{error:#}");
    match running(home).unwrap_or_default().into_iter().find(|address| has_port(address) || shown.contains(address)) {
        Some(address) if shown.contains("another program") => anyhow::anyhow!(
            "{shown}; it is a tcp-server of yours that listens on {address} already: use that one, or stop it first"
        ),
        _ => error,
    }
}

fn warn_of_what_guests_may(args: &ServeArgs, listeners: &[Listener]) -> anyhow::Result<()> {
    let dangerous: Vec<&str> =
        [Service::Exec, Service::Write].iter().filter(|s| args.guest.has(**s)).map(|s| s.as_str()).collect();
    let Some(open) = listeners.iter().find(|listener| !listener.is_loopback()).filter(|_| !dangerous.is_empty()) else {
        return Ok(());
    };
    let (what, at) = (dangerous.join(" and "), open.local());
    if !args.insecure {
        return Err(usage(format!(
            "guests would get {what} on {at}, which other machines can reach: \
             any of them could use this account. Bind to loopback, narrow --guest, or add --insecure"
        )));
    }
    let is_served = |service: &&&str| **service != Service::Exec.as_str() || args.exec.power() != Power::Root;
    let what = dangerous.iter().filter(is_served).copied().collect::<Vec<_>>().join(" and ");
    if what.is_empty() {
        return Ok(());
    }
    say(
        PROGRAM,
        &format!(
            "warning: every client that can reach {at} has {what} here, unencrypted, as your user, with no password"
        ),
    );
    Ok(())
}

fn warn_of_root(power: Power, listeners: &[Listener]) {
    let Some(open) = listeners.iter().find(|listener| !listener.is_loopback()) else { return };
    match (power, open.local()) {
        (Power::User, _) => {}
        (Power::Root, at) => {
            tracing::warn!(at, "this server runs as root: its clients get no exec; --exec-as-root would allow it");
        }
        (Power::RootForAll, at) => tracing::warn!(at, "this server runs as root: a client that may exec is root here"),
    }
}
