//! How a server is put together: defaults that are safe, and what an operator changes of them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Server;
use crate::audit::Audit;
use crate::chat::bus::BusOptions;
use crate::chat::hub::HubOptions;
use crate::error::{Error, Result};
use crate::fs::part::records::PART_TTL;
use crate::fs::root::Root;
use crate::http::server::HttpOptions;
use crate::net::Address;
use crate::net::gate::Caps;
use crate::net::listen::Listener;
use crate::net::service::{Stopped, accept_on_all, stop};
use crate::slots::CommandCaps;
use crate::trust::home::Home;
use crate::trust::identity::Identity;
use crate::trust::offer::OFFER_TIME_MAX;
use crate::trust::policy::Power;
use crate::trust::tokens::Token;
use crate::trust::{Service, Services};
use crate::tutorial::Tutorial;

/// Connections of one address at the same time, unless the operator says otherwise.
pub const PER_ADDRESS_DEFAULT: usize = 1_024;
/// Connections of one address while only pairings are served.
const PAIRING_PER_ADDRESS: usize = 16;
/// How long a connection may be silent between two exchanges, or take nothing of what is sent to it, by default.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_mins(10);

/// What an operator decides about a server. [`ServerOptions::new`] has the safe defaults: guests get nothing, and peers
/// what is on record for them.
#[expect(clippy::struct_excessive_bools, reason = "each is a decision of its own")]
#[derive(Debug)]
pub struct ServerOptions {
    /// Where keys and known peers are.
    pub home: Home,
    /// The directory that peers are shown.
    pub root: Root,
    /// Only pairings are served: no peer gets any service, known or not.
    pub is_for_pairing_only: bool,
    /// What guests may do. The default is nothing.
    pub guest: Services,
    /// Tokens that only this process takes, beside those of `home`. The default is none.
    pub tokens: Vec<Token>,
    /// The limits on connections and threads. The default is what this machine bears, and
    /// [`PER_ADDRESS_DEFAULT`] connections of one address.
    pub caps: Caps,
    /// What commands may take.
    pub command_caps: CommandCaps,
    /// What commands can do. By default, commands of a server that runs as root are not for other machines.
    pub power: Power,
    /// How long a connection between two exchanges may be silent. The default is 10 minutes; `None`: without limit.
    pub idle_timeout: Option<Duration>,
    /// How long a client may take nothing of what is sent to it. The default is 10 minutes; `None`: without limit.
    pub stall_timeout: Option<Duration>,
    /// A tutorial's wire beside the frames. `None`, the default: no tutorial's client is served.
    pub tutorial: Option<Tutorial>,
    /// The chat. By default its messages are kept as long as a room has members.
    pub chat: HubOptions,
    /// HTTP for browsers and other programs. `None`, the default: it is not served.
    pub http: Option<HttpOptions>,
    /// What joins the chat with other servers'. `None`, the default: nothing.
    pub bus: Option<BusOptions>,
    /// Whether our own protocol is served. The default is yes; without it, HTTP is all there is.
    pub serves_frames: bool,
    /// How long an unfinished copy is kept that no transfer goes on with. The default is a week; `None`: without limit.
    pub part_ttl: Option<Duration>,
    /// Where requests are recorded. `None`, the default: nowhere.
    pub audit: Option<Audit>,
    /// Whether names that begin with a dot are shown in the home directory of this server's user, `.ssh` among them. The
    /// default is no, whatever the root is.
    pub shows_hidden_home: bool,
    /// Whether guests may write or run commands at an address that other machines reach, and whether a token may come
    /// unencrypted from there. The default is no: [`listen`](ServerBuilder::listen) refuses such guests, and such a
    /// token is not looked at.
    pub is_insecure: bool,
}

impl ServerOptions {
    /// A server that shows `root` to the peers that `home` knows.
    pub fn new(home: Home, root: Root) -> Self {
        Self {
            home,
            root,
            is_for_pairing_only: false,
            guest: Services::NONE,
            tokens: Vec::new(),
            caps: Caps::of_this_machine(PER_ADDRESS_DEFAULT),
            command_caps: CommandCaps::default(),
            power: if rustix::process::geteuid().is_root() { Power::Root } else { Power::User },
            idle_timeout: Some(TIMEOUT_DEFAULT),
            stall_timeout: Some(TIMEOUT_DEFAULT),
            tutorial: None,
            chat: HubOptions::default(),
            http: None,
            bus: None,
            serves_frames: true,
            part_ttl: Some(PART_TTL),
            audit: None,
            shows_hidden_home: false,
            is_insecure: false,
        }
    }

    /// A server that introduces machines to `home`, and serves nothing else.
    ///
    /// # Errors
    /// The root directory of this machine cannot be opened.
    pub fn for_pairing(home: Home) -> io::Result<Self> {
        // Nothing in the root is served.
        let root = Root::open("/".as_ref())?;
        Ok(Self {
            is_for_pairing_only: true,
            caps: Caps::of_this_machine(PAIRING_PER_ADDRESS),
            power: Power::User,
            idle_timeout: Some(OFFER_TIME_MAX),
            stall_timeout: Some(OFFER_TIME_MAX),
            part_ttl: None,
            ..Self::new(home, root)
        })
    }
}

/// A server that is being put together.
#[derive(Debug)]
#[must_use = "a builder listens to nothing"]
pub struct ServerBuilder {
    options: ServerOptions,
}

impl Server {
    /// A server that shows `root` to the peers that `home` knows. Guests get nothing, until
    /// [`guest`](ServerBuilder::guest) says otherwise.
    #[expect(clippy::new_ret_no_self, reason = "a server without its options is none yet")]
    pub fn new(home: Home, root: Root) -> ServerBuilder {
        ServerBuilder { options: ServerOptions::new(home, root) }
    }

    /// A server that introduces machines to `home`, and serves nothing else.
    ///
    /// # Errors
    /// The root directory of this machine cannot be opened.
    pub fn for_pairing(home: Home) -> io::Result<ServerBuilder> {
        Ok(ServerBuilder { options: ServerOptions::for_pairing(home)? })
    }
}

impl ServerBuilder {
    /// What guests may do: `echo`, `chat`, `read`, `write`, `exec`.
    pub fn guest(mut self, services: Services) -> Self {
        self.options.guest = services;
        self
    }

    /// Changes whatever else there is to decide.
    pub fn with(mut self, change: impl FnOnce(&mut ServerOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// The server, which does not listen yet: for a program that binds its own listeners.
    ///
    /// # Errors
    /// The key cannot be used, the root cannot be shown, or a thread could not start.
    pub fn build(self) -> Result<Arc<Server>> {
        let mut options = self.options;
        let ours = |error| Error::ours(options.home.path().to_string_lossy())(io::Error::other(error));
        let identity = Identity::of(&options.home).map_err(ours)?;
        if !options.shows_hidden_home
            && let Some(home) = home_directory()
        {
            options.root = options.root.guarding(&home).map_err(Error::ours(home.to_string_lossy()))?;
        }
        Server::with_options(identity, options)
    }

    /// Listens on `address` (`127.0.0.1:0`: any free port of this machine) and serves on threads of its own.
    ///
    /// # Errors
    /// As [`build`](Self::build), or the address cannot be listened on.
    pub fn listen(self, address: &str) -> Result<ListeningServer> {
        let bad = |error: io::Error| Error::ours(address)(error);
        let parsed: Address = address.parse().map_err(|error| bad(io::Error::other(error)))?;
        let parsed = parsed.with_default_port(crate::net::address::DEFAULT_PORT);
        let listeners = Listener::bind(&parsed).map_err(|error| bad(io::Error::other(error)))?;
        let open = listeners.iter().find(|listener| !listener.is_loopback()).filter(|_| !self.options.is_insecure);
        if let (Some(open), true) = (open, self.options.guest.has_any(&[Service::Write, Service::Exec])) {
            let text = format!(
                "guests would get {} at {}, which other machines reach; allow that with is_insecure",
                self.options.guest,
                open.local()
            );
            return Err(bad(io::Error::other(text)));
        }
        let (server, listeners) = (self.build()?, Arc::new(listeners));
        let accepting = {
            let (server, listeners) = (Arc::clone(&server), Arc::clone(&listeners));
            thread::Builder::new().name("accept".into()).spawn(move || accept_on_all(&server, &listeners))
        };
        Ok(ListeningServer { server, listeners, accepting: Some(accepting.map_err(bad)?) })
    }
}

/// The home directory of this server's user. `None`: there is none, or it is another user's, since `HOME` is sometimes left
/// as it was.
pub fn home_directory() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| home.is_dir() && std::fs::read_dir(home).is_ok())
}

/// A server that listens. Dropping it stops it, without a grace for requests under way.
#[derive(Debug)]
pub struct ListeningServer {
    server: Arc<Server>,
    listeners: Arc<Vec<Listener>>,
    /// `None`: it was stopped.
    accepting: Option<JoinHandle<io::Result<()>>>,
}

impl ListeningServer {
    /// Where it listens, with the real port, as a client writes it.
    pub fn address(&self) -> &str {
        self.listeners.first().map_or("", Listener::local)
    }

    /// Stops: connections between two exchanges end at once, the others when their exchange is over, and after `grace`
    /// those that are left.
    pub fn stop(mut self, grace: Duration) -> Stopped {
        self.end(grace)
    }

    fn end(&mut self, grace: Duration) -> Stopped {
        let Some(accepting) = self.accepting.take() else { return Stopped { cut: 0 } };
        let stopped = stop(&*self.server, &self.listeners, grace, &|| false);
        drop(accepting.join());
        stopped
    }
}

impl Drop for ListeningServer {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}
