//! A machine of its own: a home, with its key and its list of peers.

use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use landline::connection::Connection;
use landline::net::Stream;
use landline::trust::home::Home;
use landline::trust::identity::{Fingerprint, Identity};
use landline::trust::peers::Peers;

use super::frames::Raw;
use super::tls::{Client, Wire};
use super::{Background, DEADLINE, Run, Server};

/// Another machine, or another user of this one: what makes it one is its home.
pub(crate) struct Machine {
    pub(crate) dir: tempfile::TempDir,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn home_path(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub(crate) fn home(&self) -> Home {
        Home::open(Some(&self.home_path())).unwrap()
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity::of(&self.home()).unwrap()
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.identity().fingerprint()
    }

    pub(crate) fn peers(&self) -> Peers {
        Peers::load(&self.home()).unwrap()
    }

    /// Writes `peers.toml` by hand: these names, keys and services.
    pub(crate) fn knows(&self, peers: &[(&str, Fingerprint, &str)]) {
        let entry = |(name, key, services): &(&str, Fingerprint, &str)| {
            format!("[{name}]\nfingerprint = \"{key}\"\nservices = \"{services}\"\nadded = \"2026-11-21T09:04:00Z\"\n")
        };
        let text: String = ["# by hand\n".to_owned()].into_iter().chain(peers.iter().map(entry)).collect();
        self.home().replace("peers.toml", text.as_bytes()).unwrap();
    }

    pub(crate) fn run(&self, program: &str) -> Run {
        Run::new(program).env("LANDLINE_HOME", self.home_path())
    }

    pub(crate) fn server(&self, args: &[&str]) -> Server {
        Server::at_home(args, &self.home_path())
    }

    /// `tcp-server pair`, and the code that it shows.
    pub(crate) fn offer(&self, args: &[&str]) -> (Background, String) {
        let offering = self.run("tcp-server").args(["pair"]).args(args).spawn();
        let code = offering.wait_for("-");
        (offering, code)
    }

    /// Makes this machine known to `server` with these services.
    pub(crate) fn pair_with(&self, server: &Self, address: &str, args: &[&str]) {
        let (mut offering, code) = server.offer(args);
        let paired = self.run("tcp-client").args(["pair", address, "--name", "server"]).stdin(format!("{code}\n"));
        let paired = paired.stderr("tcp-client: next: ").output();
        let key = server.identity().fingerprint();
        assert!(
            paired.text().starts_with(&format!("paired with server, {key}; this machine may ")),
            "{}",
            paired.text()
        );
        assert!(offering.wait_for("paired with").contains(&self.identity().fingerprint().to_string()));
        assert_eq!(offering.wait().code(), Some(0));
    }

    /// A client of the tests' own with this machine's key.
    pub(crate) fn client(&self) -> Client {
        self.identity();
        Client { home: Some(self.home_path()), ..Client::own() }
    }

    /// Encrypted, with no frame sent.
    pub(crate) fn connect(&self, server: &Server) -> Raw<Wire> {
        let tls = self.client().shake_hands(server.connect()).unwrap();
        Raw { stream: Wire::Tls(Box::new(tls)) }
    }

    /// Encrypted and greeted.
    pub(crate) fn open(&self, server: &Server) -> Raw<Wire> {
        let mut raw = self.connect(server);
        raw.greet();
        raw
    }

    /// A connection of the library, and the key that the server proved.
    pub(crate) fn dial(&self, server: &Server) -> (Connection, Fingerprint) {
        let stream = Stream::from(TcpStream::connect(server.address()).unwrap());
        let stream = stream.connect_tls(self.identity().credentials(), Arc::new(|_| true), DEADLINE).unwrap();
        let key = Fingerprint::of_spki(stream.tls().unwrap().peer_spki().unwrap());
        (Connection::open(stream, "test").unwrap(), key)
    }
}
