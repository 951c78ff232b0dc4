//! `http-files`: a directory for browsers, curl and other programs.

mod args;

pub use args::{Args, PROGRAM};

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::audit::Audit;
use crate::cli::exit::Exit;
use crate::cli::home;
use crate::cli::output::{is_closed_stdout, say, tell};
use crate::cli::serving::{StopSignals, addresses, bind_all};
use crate::cli::share::{Link, LinkWish, Reach, warn, warn_of_own_certificate};
use crate::cli::usage::usage;
use crate::fs::root::Root;
use crate::net::gate::Caps;
use crate::net::listen::Listener;
use crate::server::Server;
use crate::trust::home::Home;
use crate::trust::identity::Identity;
use crate::trust::list::check_name;
use crate::trust::tokens::{Secret, Token};
use crate::trust::{Service, Services};

/// What the log calls clients that sign in with the secret of a file.
const FILE_TOKEN: &str = "auth-file";

/// Serves until a signal stops it.
///
/// # Errors
/// The settings make no sense, the directory is missing, or an address cannot be listened on.
pub fn main(args: &Args) -> anyhow::Result<Exit> {
    args.serving.prepare();
    if args.max_connections == Some(0) || args.max_per_address == 0 {
        return Err(usage("--max-connections and --max-per-address begin at 1"));
    }
    if args.link.is_given() && !args.share {
        return Err(usage("--uses, --expires, --name and --qr are about a link: add --share"));
    }
    let has_token = args.auth.is_some() || args.auth_file.is_some();
    let has_sign_in = has_token || args.share;
    let mut web = args.web.options(has_sign_in)?;
    web.has_chat = args.chat;
    let home = home::open()?;
    let root = Root::open(&args.dir).with_context(|| format!("the directory {}", args.dir.display()))?;
    web.directory_name = root.own_path().ok().and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let audit = audit(args, &root)?;
    let granted = services(args);
    let guest = if has_sign_in { Services::NONE } else { granted };
    let sign_in = SignIn::of(args, granted)?;
    let share = Share::of(args, &root, granted)?;
    let defaults = if args.share { ["0.0.0.0", "::"] } else { ["127.0.0.1", "::1"] };
    let listeners = bind_all(&args.bind, args.port, defaults)?;
    refuse_open_uploads(args, guest, &listeners)?;
    refuse_plain_tokens(args, has_token, &listeners)?;
    let mut caps = Caps::of_this_machine(args.max_per_address);
    caps.connections = args.max_connections.map_or(caps.connections, |wanted| wanted.min(caps.connections));
    let set = |time: &Duration| Some(*time).filter(|time| !time.is_zero());
    let identity = Identity::of(&home)?;
    let server = Server::new(home.clone(), root).guest(guest).with(|options| {
        options.tokens.extend(sign_in.as_ref().map(|sign_in| sign_in.token.clone()));
        options.caps = caps;
        options.http = Some(web);
        options.serves_frames = false;
        options.part_ttl = set(&args.part_ttl);
        options.audit = audit;
        options.shows_hidden_home = args.hidden_home;
        options.is_insecure = args.insecure;
    });
    let server = server.build()?;
    let stops = StopSignals::catch()?;
    let shared = share.map(|share| share.make(args, &home, &listeners)).transpose()?;
    args.serving.say_ready(PROGRAM, &listeners)?;
    let own = (args.web.tls && !args.web.has_certificate()).then(|| identity.certificate_fingerprint());
    match announce(args, &listeners, (sign_in.as_ref(), shared.as_ref()), own.as_deref()) {
        // A program may read the ready line and leave: a server that is ready does not end for that.
        Err(error) if is_closed_stdout(&error) => say(PROGRAM, "standard output is closed: what stands there is lost"),
        told => told?,
    }
    args.serving.serve(&server, &listeners, stops)
}

/// Says where the directory is, and how to get in.
fn announce(
    args: &Args,
    listeners: &[Listener],
    (sign_in, shared): (Option<&SignIn>, Option<&Shared>),
    own_certificate: Option<&str>,
) -> anyhow::Result<()> {
    if let Some(SignIn { token, shown: Some(secret) }) = sign_in {
        let (name, secret) = (&token.name, secret.as_str());
        tell(&format!("{PROGRAM}: sign in as {name} with the token {secret}, which ends with this server\n"))?;
    }
    if let Some(shared) = shared {
        return shared.show(args, own_certificate);
    }
    for url in urls(args, listeners) {
        tell(&format!("{PROGRAM}: {} at {url}\n", args.dir.display()))?;
    }
    if let Some(own) = own_certificate {
        warn_of_own_certificate(PROGRAM, own);
    }
    Ok(())
}

/// A link that is to be made when it is known where the server listens.
struct Share {
    services: Services,
    /// The directory that is served, as an absolute path.
    directory: String,
}

/// A link that was made. It ends with its server.
struct Shared {
    link: Link,
    reach: Reach,
    home: Home,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Err(error) = self.link.withdraw(&self.home) {
            say(PROGRAM, &format!("the link is still in the list: {error}; end it with: tcp-server peers revoke"));
        }
    }
}

impl Share {
    /// # Errors
    /// The directory's path cannot be written down.
    fn of(args: &Args, root: &Root, services: Services) -> anyhow::Result<Option<Self>> {
        if !args.share {
            return Ok(None);
        }
        let directory = root.own_path()?.into_os_string().into_string();
        let directory = directory.map_err(|path| {
            usage(format!("--share: the path {} is not UTF-8, and a link is for a path: rename it", path.display()))
        })?;
        Ok(Some(Self { services, directory }))
    }

    fn make(&self, args: &Args, home: &Home, listeners: &[Listener]) -> anyhow::Result<Shared> {
        let reach = Reach::of(&addresses(listeners), args.web.hosts().first().map(String::as_str))?;
        let Self { services, directory } = self;
        let wish = LinkWish { services: *services, root: None, directory, may_come_plain: !args.web.tls };
        Ok(Shared { link: args.link.make(home, &wish)?, reach, home: home.clone() })
    }
}

impl Shared {
    fn show(&self, args: &Args, own_certificate: Option<&str>) -> anyhow::Result<()> {
        if args.bind.is_empty() {
            say(PROGRAM, "it listens on all addresses, so that other devices can open the link");
        }
        warn(PROGRAM, &self.reach, args.web.tls, own_certificate);
        args.link.show(PROGRAM, &self.link, &self.reach.base(args.web.tls))
    }
}

/// What clients sign in with.
struct SignIn {
    token: Token,
    /// The secret, if it was made here and must be shown.
    shown: Option<Secret>,
}

impl SignIn {
    /// # Errors
    /// The name is none, the file gives no secret, or the kernel no random numbers.
    fn of(args: &Args, services: Services) -> anyhow::Result<Option<Self>> {
        let of = |name: &str, secret: &Secret| Token::new(name, secret, services);
        if let Some(name) = &args.auth {
            check_name(name, "token").map_err(|why| usage(format!("--auth: {why}")))?;
            let secret = Secret::random()?;
            return Ok(Some(Self { token: of(name, &secret), shown: Some(secret) }));
        }
        let Some(path) = &args.auth_file else { return Ok(None) };
        let secret = Secret::of_file(path).context("--auth-file")?;
        Ok(Some(Self { token: of(FILE_TOKEN, &secret), shown: None }))
    }
}

/// Refuses tokens that everyone on the way could read, without the word for it.
fn refuse_plain_tokens(args: &Args, has_sign_in: bool, listeners: &[Listener]) -> anyhow::Result<()> {
    let is_plain = has_sign_in && !args.web.tls && args.web.trusts_no_proxy();
    let Some(open) = listeners.iter().find(|listener| !listener.is_loopback()).filter(|_| is_plain) else {
        return Ok(());
    };
    if !args.insecure {
        return Err(usage(format!(
            "the token would be sent to {} unencrypted, where others can read it on the way: add --tls, or say that you \
             mean it with --insecure",
            open.local()
        )));
    }
    say(PROGRAM, &format!("warning: over plain HTTP at {}, everyone on the way can read the token", open.local()));
    Ok(())
}

/// What those may do who may come in.
fn services(args: &Args) -> Services {
    let writes = args.web.upload || args.web.modify || args.web.drop_box;
    let given = [(!args.web.drop_box, Service::Read), (writes, Service::Write), (args.chat, Service::Chat)];
    let given: Vec<Service> = given.into_iter().filter_map(|(is_given, service)| is_given.then_some(service)).collect();
    Services::of(&given)
}

fn audit(args: &Args, root: &Root) -> anyhow::Result<Option<Audit>> {
    let Some(path) = &args.audit else { return Ok(None) };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if root.holds(directory).with_context(|| format!("--audit {}", path.display()))? {
        return Err(usage(format!(
            "--audit {}: lies in the directory that is served; put it elsewhere",
            path.display()
        )));
    }
    Ok(Some(Audit::open(path).context("--audit")?))
}

/// Refuses uploads by everyone at an address that other machines reach, without the word for it.
fn refuse_open_uploads(args: &Args, guest: Services, listeners: &[Listener]) -> anyhow::Result<()> {
    let open = listeners.iter().find(|listener| !listener.is_loopback());
    let Some(open) = open.filter(|_| guest.has(Service::Write)) else { return Ok(()) };
    if !args.insecure {
        return Err(usage(format!(
            "everyone who can reach {} could write here: add --auth NAME and --tls, or say that you mean it with \
             --insecure",
            open.local()
        )));
    }
    say(PROGRAM, &format!("warning: everyone who can reach {} can write here, with no password", open.local()));
    Ok(())
}

/// What a person opens: addresses that can be dialled. A server at all addresses has two names for itself.
fn urls(args: &Args, listeners: &[Listener]) -> Vec<String> {
    let scheme = if args.web.tls { "https" } else { "http" };
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let shown = |listener: &Listener| {
        let local = listener.local();
        match local.rsplit_once(':') {
            _ if local.starts_with("unix:") => Vec::new(),
            Some(("0.0.0.0" | "[::]", port)) => vec![format!("localhost:{port}"), format!("{machine}:{port}")],
            _ => vec![local.to_owned()],
        }
    };
    let mut hosts: Vec<String> = listeners.iter().flat_map(shown).collect();
    hosts.dedup();
    hosts.iter().map(|host| format!("{scheme}://{host}/")).collect()
}
