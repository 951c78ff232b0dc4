//! `tcp-server share`: a link for a browser, to a server that runs.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::bind::PROGRAM;
use crate::cli::exit::Exit;
use crate::cli::home;
use crate::cli::share::{LinkWish, Reach, ShareArgs, warn};
use crate::cli::usage::usage;
use crate::http::site::HostNames;
use crate::trust::home::Home;
use crate::trust::identity::Identity;
use crate::trust::list::checked_root;
use crate::trust::servers::{ServerEntry, ServerHttp, entries};
use crate::trust::tokens::check_services;
use crate::trust::{Service, Services};

/// What to share, with whom, and where.
#[derive(Debug, Args)]
pub(super) struct ShareCommand {
    /// Directory to share, in the root of a server that runs [default: all of the root]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// What the browser may do: read, write
    #[arg(long, default_value = "read", value_name = "LIST")]
    allow: Services,
    #[command(flatten)]
    link: ShareArgs,
    /// Name or address of this machine in the link [default: the first --host of the server, or the address by which
    /// other machines reach this one]
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// The server, by an address that it listens on, where several run
    #[arg(long, value_name = "ADDRESS")]
    at: Option<String>,
    /// Make the link lead to TLS, whether or not the server redirects there
    #[arg(long)]
    tls: bool,
}

/// A running server that can share, and what of it.
struct Found {
    addresses: Vec<String>,
    root: String,
    http: ServerHttp,
    /// The directory below its root.
    below: Option<String>,
}

/// Makes a link and prints it.
///
/// # Errors
/// No server runs that could take it, or it would give what the server does not do.
pub(super) fn main(args: &ShareCommand) -> anyhow::Result<Exit> {
    let home = home::open()?;
    check_services(args.allow).map_err(|why| usage(format!("--allow: a link {why}")))?;
    let found = find(args, &home)?;
    check_allowed(args.allow, &found)?;
    let name = args.host.as_deref().or_else(|| found.http.hosts.first().map(String::as_str));
    if let Some(name) = &args.host {
        check_host(name, &found)?;
    }
    let reach = Reach::of(&found.addresses, name)?;
    let is_encrypted = args.tls || found.http.requires_tls || found.http.has_certificate;
    let wish =
        LinkWish { services: args.allow, root: found.below, directory: &found.root, may_come_plain: !is_encrypted };
    let link = args.link.make(&home, &wish)?;
    let own = (!found.http.has_certificate).then(|| Identity::of(&home)).transpose()?;
    warn(PROGRAM, &reach, is_encrypted, own.map(|own| own.certificate_fingerprint()).as_deref());
    args.link.show(PROGRAM, &link, &reach.base(is_encrypted))?;
    Ok(Exit::Done)
}

/// Refuses a name under which the server would turn its clients away. Which addresses it has, the system says to it.
fn check_host(name: &str, found: &Found) -> anyhow::Result<()> {
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let is_address = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    if is_address || HostNames::new(&machine, &found.http.hosts).has(name, None) {
        return Ok(());
    }
    let at = found.addresses.join(", ");
    Err(usage(format!(
        "--host {name}: the server at {at} does not know that name of its own; restart it with --host {name}"
    )))
}

/// Refuses what the server would not do.
fn check_allowed(allow: Services, found: &Found) -> anyhow::Result<()> {
    let (at, http) = (found.addresses.join(", "), &found.http);
    if allow.has(Service::Write) && !http.uploads && !http.modifies {
        return Err(usage(format!(
            "--allow write: the server at {at} takes no uploads; restart it with --upload, or share with --allow read"
        )));
    }
    if allow.has(Service::Read) && http.is_drop_box {
        return Err(usage(format!("--allow read: the server at {at} is a drop box and shows nothing; --allow write")));
    }
    Ok(())
}

/// The server that takes the link.
fn find(args: &ShareCommand, home: &Home) -> anyhow::Result<Found> {
    let mut running = entries(home)?;
    if running.is_empty() {
        anyhow::bail!(
            "no tcp-server of yours runs on this machine: start one with --http, or share a directory by itself with: \
             http-files --share DIR"
        );
    }
    let all = shown(&running);
    if let Some(at) = &args.at {
        running.retain(|entry| entry.addresses.contains(at));
        if running.is_empty() {
            return Err(usage(format!("--at {at}: no tcp-server of yours listens there; there are {all}")));
        }
    }
    let mut with_http: Vec<Found> = Vec::new();
    let mut nameless: Vec<String> = Vec::new();
    for ServerEntry { addresses, root, http } in running {
        match (root, http) {
            (Some(root), Some(http)) => with_http.push(Found { addresses, root, http, below: None }),
            (None, Some(_)) => nameless.extend(addresses),
            (_, None) => {}
        }
    }
    if with_http.is_empty() && !nameless.is_empty() {
        anyhow::bail!(
            "the path of the directory that the server at {} serves is not UTF-8, and a link cannot name it: rename that \
             directory, and restart the server",
            nameless.join(", ")
        );
    }
    if with_http.is_empty() {
        anyhow::bail!("the server that runs here has no HTTP ({all}): restart it with --http");
    }
    let mut fit = Vec::new();
    for mut found in with_http {
        match &args.dir {
            None => fit.push(found),
            Some(dir) => {
                if let Some(below) = below(dir, Path::new(&found.root))? {
                    found.below = Some(below).filter(|below| !below.is_empty());
                    fit.push(found);
                }
            }
        }
    }
    let dir = || args.dir.as_deref().unwrap_or(Path::new("")).display();
    match fit.len() {
        0 => Err(usage(format!("{}: is no directory in the root of a server that runs here; there are {all}", dir()))),
        1 => fit.pop().context("a server"),
        _ => Err(usage(format!("several servers could take the link ({all}): say which with --at ADDRESS"))),
    }
}

/// All servers, for people.
fn shown(running: &[ServerEntry]) -> String {
    let one = |entry: &ServerEntry| {
        let root = entry.root.as_deref().unwrap_or("a directory whose path is not UTF-8");
        let http = if entry.http.is_some() { "" } else { " without HTTP" };
        format!("{}{http} with {root}", entry.addresses.join(" and "))
    };
    running.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Where `dir` lies below `root`: a path of this machine, or else one below the root. `None`: it does not.
fn below(dir: &Path, root: &Path) -> anyhow::Result<Option<String>> {
    let named = dir.strip_prefix("/").unwrap_or(dir);
    for path in [dir.to_owned(), root.join(named)] {
        let Ok(path) = path.canonicalize() else { continue };
        if !path.is_dir() {
            continue;
        }
        if let Ok(below) = path.strip_prefix(root) {
            let below = below.to_str().with_context(|| format!("{}: is not UTF-8", dir.display()))?;
            return Ok(Some(checked_root(below).map_err(usage)?));
        }
    }
    Ok(None)
}
