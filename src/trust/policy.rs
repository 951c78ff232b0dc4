//! Decides who the peer is and what it may do, in one function.

use super::commands::Commands;
use super::identity::Fingerprint;
use super::peers::PeersState;
use super::{Peer, Service, Services};
use crate::error::{ErrorCode, Refusal};

/// What the peer of a connection has proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Nothing: a plain connection over a network, or a tutorial wire.
    Nothing,
    /// Over a Unix socket, that it runs as the server's own user.
    SameUser,
    /// In a TLS handshake, that it holds this key.
    Key(Fingerprint),
}

/// What a peer may do here, and in which part of the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The peer.
    pub peer: Peer,
    /// Its services.
    pub services: Services,
    /// The commands that it may run, with the service `exec`.
    pub commands: Commands,
    /// The directory below the server's root; `None`: all of it.
    pub root: Option<String>,
    /// The services that it would have at another entrance.
    pub withheld: Services,
}

impl Grant {
    /// Whether this allows all that `held` does: then a connection that holds `held` may continue.
    pub fn covers(&self, held: &Self) -> bool {
        let is_same = match (&self.peer, &held.peer) {
            (Peer::Own, _) | (_, Peer::Guest { .. }) => true,
            (Peer::Known { fingerprint, .. }, Peer::Known { fingerprint: held, .. }) => fingerprint == held,
            // A known peer that is now a guest was revoked.
            (Peer::Known { .. } | Peer::Guest { .. }, Peer::Known { .. } | Peer::Own) => false,
        };
        let is_within = match (self.root.as_deref(), held.root.as_deref()) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(root), Some(held)) => {
                held.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        };
        let may_run = !held.services.has(Service::Exec) || self.commands.covers(&held.commands);
        is_same && is_within && may_run && held.services.without(self.services) == Services::NONE
    }

    /// Removes services that no peer gets at this entrance: a server that runs as root runs no commands for other
    /// machines, unless its operator permits it. One mistake in the list of peers, or one stolen laptop, would give
    /// away the whole machine.
    pub fn narrow(&mut self, power: Power, entrance: Entrance) {
        if (power, entrance) == (Power::Root, Entrance::Network) {
            let exec = Services::of(&[Service::Exec]);
            self.withheld = if self.services.has(Service::Exec) { exec } else { Services::NONE };
            self.services = self.services.without(exec);
        }
    }
}

/// What the commands that this server runs can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// What an ordinary user can do.
    User,
    /// Everything: the server runs as root.
    Root,
    /// Everything, and the operator permits it to other machines.
    RootForAll,
}

/// Where a connection was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entrance {
    /// At a loopback address, or a Unix socket.
    Loopback,
    /// At an address that other machines can reach.
    Network,
}

/// What decides about a new connection.
#[derive(Debug)]
pub struct Rules<'r> {
    /// The server's own key.
    pub own: Fingerprint,
    /// The known peers, or why they cannot be read.
    pub known: &'r PeersState,
    /// Services of every peer, guests included.
    pub guest: Services,
}

impl Rules<'_> {
    /// Decides about a peer that connected from `address` and gave `proof`.
    ///
    /// # Errors
    /// The list of known peers cannot be read, so a revoked peer could not be recognised.
    pub fn authorize(&self, proof: Proof, address: &str) -> Result<Grant, Refusal> {
        let is_own = match proof {
            Proof::Nothing => false,
            Proof::SameUser => true,
            Proof::Key(key) => key == self.own,
        };
        if is_own {
            return Ok(Grant {
                peer: Peer::Own,
                services: Services::of(&Service::ALL),
                commands: Commands::Any,
                root: None,
                withheld: Services::NONE,
            });
        }
        let Ok(known) = self.known else {
            let text = "this server cannot read its list of known peers and lets nobody in but its own user; \
                        its operator finds the line to mend in the log, or with tcp-server peers";
            return Err(Refusal::new(ErrorCode::NotAllowed, text));
        };
        let key = match proof {
            Proof::Key(key) => Some(key),
            Proof::Nothing | Proof::SameUser => None,
        };
        // A server that was only dialled has an entry too; as a client it is a guest.
        match key.and_then(|key| known.by_key(&key)).filter(|peer| peer.services != Services::NONE) {
            Some(peer) => Ok(Grant {
                peer: Peer::Known { name: peer.name.clone(), fingerprint: peer.fingerprint },
                services: peer.services,
                commands: peer.commands.clone(),
                root: peer.root.clone(),
                withheld: Services::NONE,
            }),
            None => Ok(Grant {
                peer: Peer::Guest { address: address.to_owned(), fingerprint: key },
                services: self.guest,
                commands: Commands::Any,
                root: None,
                withheld: Services::NONE,
            }),
        }
    }
}

/// The error for a peer that requests more than it is granted: the request, the peer, and the command that would permit
/// it. `granted` is the granted services, and whether the peer's root is narrower than the server's.
pub fn refusal(verb: &str, needed: &[Service], peer: &Peer, granted: (Services, bool)) -> Refusal {
    let (granted, is_narrowed) = granted;
    let wanted = needed.iter().map(|service| service.as_str()).collect::<Vec<_>>();
    let (first, wanted) = (wanted.first().copied().unwrap_or_default(), wanted.join(" or "));
    let remedy = match peer {
        // A known peer has services, except where a command only waits for a pairing.
        Peer::Own | Peer::Known { .. } if granted == Services::NONE => "; only a pairing is served there".into(),
        Peer::Own => String::new(),
        Peer::Known { name, .. } => {
            let first_widen = if is_narrowed && needed == [Service::Exec] {
                format!("tcp-server peers root {name} / && ")
            } else {
                String::new()
            };
            format!(
                "; the server's operator grants it with: {first_widen}tcp-server peers allow {name} {granted},{first}"
            )
        }
        Peer::Guest { fingerprint: Some(_), .. } => {
            format!("; the server's operator lets you in, with the service {first}, with: tcp-server pair")
        }
        Peer::Guest { fingerprint: None, address } if address.starts_with("unix:") => format!(
            "; over this socket only the server's own user is known: connect encrypted over TCP, or let the server's \
             operator grant {first} to guests"
        ),
        Peer::Guest { fingerprint: None, .. } => format!(
            "; this connection proves no key: connect encrypted (without tcp://), or let the server's operator grant \
             {first} to guests"
        ),
    };
    let text = format!("{verb} is not allowed: it needs the service {wanted}, and {peer} has {granted} here{remedy}");
    Refusal::new(ErrorCode::NotAllowed, text)
}

/// The error for a peer that has the service, but not at this entrance.
pub fn withheld_refusal(verb: &str) -> Refusal {
    let text = format!(
        "{verb} is not allowed here: this server runs as root, and does not serve exec at an address that other machines \
         can reach, unless its operator allows exec as root"
    );
    Refusal::new(ErrorCode::NotAllowed, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::peers::Peers;
    use std::sync::Arc;

    fn key(text: &str) -> Fingerprint {
        Fingerprint::of_spki(text.as_bytes())
    }

    fn known() -> Peers {
        let entry = |name: &str, services: &str, more: &str| {
            format!("[{name}]\nfingerprint = \"{}\"\nservices = \"{services}\"\n{more}added = \"x\"\n", key(name))
        };
        let text = entry("laptop", "echo,exec", "")
            + &entry("clock", "exec", "commands = [[\"date\"]]\n")
            + &entry("phone", "read", "root = \"in\"\n")
            + &entry("dialled", "none", "");
        Peers::parse(&text).unwrap()
    }

    #[test]
    fn everybody_gets_what_is_theirs() {
        let known = Ok(Arc::new(known()));
        let rules = Rules { own: key("own"), known: &known, guest: "echo".parse().unwrap() };
        let judged = |proof| {
            let grant = rules.authorize(proof, "192.0.2.7:1").unwrap();
            (grant.peer.to_string(), grant.services.to_string(), grant.root)
        };
        let guest = |name: &str| format!("guest 192.0.2.7:1 with {}", key(name));
        assert_eq!(judged(Proof::SameUser), ("own identity".into(), "echo,chat,read,write,exec".into(), None));
        assert_eq!(judged(Proof::Key(key("own"))), judged(Proof::SameUser));
        assert_eq!(judged(Proof::Key(key("laptop"))), ("laptop".into(), "echo,exec".into(), None));
        assert_eq!(judged(Proof::Key(key("phone"))), ("phone".into(), "read".into(), Some("in".into())));
        assert_eq!(judged(Proof::Key(key("dialled"))), (guest("dialled"), "echo".into(), None));
        for (proof, commands) in [
            (Proof::Key(key("clock")), Commands::Listed(vec![vec!["date".into()]])),
            (Proof::Key(key("laptop")), Commands::Any),
            (Proof::Key(key("own")), Commands::Any),
            (Proof::Nothing, Commands::Any),
        ] {
            assert_eq!(rules.authorize(proof, "").unwrap().commands, commands);
        }
        assert_eq!(judged(Proof::Key(key("stranger"))), (guest("stranger"), "echo".into(), None));
        assert_eq!(judged(Proof::Nothing), ("guest 192.0.2.7:1".into(), "echo".into(), None));
    }

    #[test]
    fn who_holds_no_more_than_a_grant_may_go_on() {
        let commands = |text: &str| match text.split_once(' ') {
            Some(("only", listed)) => Commands::Listed(listed.split(' ').map(|word| vec![word.to_owned()]).collect()),
            Some(("forced", word)) => Commands::Forced(vec![word.to_owned()]),
            _ => Commands::Any,
        };
        let known = |name: &str| Peer::Known { name: name.into(), fingerprint: key(name) };
        let guest = || Peer::Guest { address: "192.0.2.7:1".into(), fingerprint: Some(key("a")) };
        let grant = |peer: Peer, services: &str, rule: &str, root: Option<&str>| Grant {
            peer,
            services: services.parse().unwrap(),
            commands: commands(rule),
            root: root.map(str::to_owned),
            withheld: Services::NONE,
        };
        for (held, now, may_go_on) in [
            (("echo,exec", "", None), ("echo,exec", "", None), true),
            (("echo,exec", "", None), ("all", "", None), true),
            (("echo,exec", "", None), ("echo", "", None), false),
            (("echo,exec", "", None), ("none", "", None), false),
            (("exec", "", None), ("exec", "only date", None), false),
            (("exec", "", None), ("exec", "forced date", None), false),
            (("exec", "only date", None), ("exec", "", None), true),
            (("exec", "only date", None), ("exec", "only date df", None), true),
            (("exec", "only date df", None), ("exec", "only date", None), false),
            (("exec", "only date", None), ("exec", "forced date", None), false),
            (("exec", "forced date", None), ("exec", "forced date", None), true),
            (("exec", "forced date", None), ("exec", "forced df", None), false),
            (("exec", "forced date", None), ("exec", "only date", None), false),
            // A rule on commands takes nothing from a peer without exec.
            (("read", "", None), ("read,exec", "only date", None), true),
            (("read", "", None), ("read", "", Some("in")), false),
            (("read", "", Some("in")), ("read", "", None), true),
            (("read", "", Some("in/a")), ("read", "", Some("in")), true),
            (("read", "", Some("in")), ("read", "", Some("in/a")), false),
            (("read", "", Some("inner")), ("read", "", Some("in")), false),
            (("read", "", Some("in")), ("read", "", Some("out")), false),
        ] {
            let held_by = |peer: Peer| grant(peer, held.0, held.1, held.2);
            let now_for = |peer: Peer| grant(peer, now.0, now.1, now.2);
            assert_eq!(now_for(known("a")).covers(&held_by(known("a"))), may_go_on, "{held:?} {now:?}");
            assert_eq!(now_for(known("a")).covers(&held_by(guest())), may_go_on, "{held:?} {now:?}");
            assert!(!now_for(guest()).covers(&held_by(known("a"))), "revoked: {held:?} {now:?}");
            assert!(!now_for(known("b")).covers(&held_by(known("a"))), "{held:?} {now:?}");
        }
    }

    #[test]
    fn roots_commands_are_not_for_other_machines_unless_somebody_says_so() {
        let all = Services::of(&Service::ALL);
        let but_exec = "echo,chat,read,write".parse().unwrap();
        let exec = "exec".parse().unwrap();
        let none = Services::NONE;
        for (power, entrance, had, has, withheld) in [
            (Power::Root, Entrance::Network, all, but_exec, exec),
            (Power::Root, Entrance::Network, exec, none, exec),
            (Power::Root, Entrance::Network, but_exec, but_exec, none),
            (Power::Root, Entrance::Network, none, none, none),
            (Power::Root, Entrance::Loopback, all, all, none),
            (Power::RootForAll, Entrance::Network, all, all, none),
            (Power::RootForAll, Entrance::Loopback, all, all, none),
            (Power::User, Entrance::Network, all, all, none),
            (Power::User, Entrance::Loopback, all, all, none),
        ] {
            for peer in [Peer::Own, Peer::Guest { address: String::new(), fingerprint: None }] {
                let mut grant = Grant { peer, services: had, commands: Commands::Any, root: None, withheld: none };
                grant.narrow(power, entrance);
                assert_eq!((grant.services, grant.withheld), (has, withheld), "{power:?} {entrance:?} {had}");
            }
        }
    }

    #[test]
    fn without_a_list_only_the_own_identity_gets_in() {
        let broken: PeersState = Err(Arc::new(crate::trust::peers::PeersError::Refused("torn".into())));
        let rules = Rules { own: key("own"), known: &broken, guest: Services::of(&Service::ALL) };
        assert!(rules.authorize(Proof::SameUser, "").is_ok());
        assert!(rules.authorize(Proof::Key(key("own")), "").is_ok());
        for proof in [Proof::Nothing, Proof::Key(key("laptop"))] {
            assert_eq!(rules.authorize(proof, "").unwrap_err().code, ErrorCode::NotAllowed);
        }
    }

    #[test]
    fn a_refusal_says_what_who_and_which_command() {
        let laptop = Peer::Known { name: "laptop".into(), fingerprint: key("laptop") };
        let text = refusal("exec", &[Service::Exec], &laptop, ("echo".parse().unwrap(), false)).message;
        assert_eq!(
            text,
            "exec is not allowed: it needs the service exec, and laptop has echo here; \
             the server's operator grants it with: tcp-server peers allow laptop echo,exec"
        );
        let guest = Peer::Guest { address: "192.0.2.7:1".into(), fingerprint: None };
        let text = refusal("cd", &[Service::Read, Service::Write], &guest, (Services::NONE, false)).message;
        assert!(text.contains("read or write, and guest 192.0.2.7:1 has none here"), "{text}");
        assert!(text.ends_with("grant read to guests"), "{text}");
    }
}
