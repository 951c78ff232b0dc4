//! Decides who the peer is and what it may do, in one function.

use super::commands::Commands;
use super::guesses::Wait;
use super::identity::Fingerprint;
use super::peers::PeersState;
use super::time::Moment;
use super::tokens::{SessionSource, Token, TokenId, TokensState, token_services};
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
    /// In a request, that it has a secret with this hash. It is not known yet whether there is such a token.
    Token(TokenId),
    /// In the cookie of a request, that it has a secret with this hash. It is not known yet whether there is such a
    /// session.
    Session(TokenId),
}

/// Why a peer is not let in at all, as others are with less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// A revoked peer could not be recognised.
    #[error(
        "this server cannot read its list of known peers and lets in only its own user; \
         its operator finds the line to mend in the log, or with tcp-server peers"
    )]
    PeersUnreadable,
    /// A removed token could not be recognised.
    #[error(
        "this server cannot read its list of tokens and takes none of them; \
         its operator finds the line to mend in the log, or with tcp-server token"
    )]
    TokensUnreadable,
    /// The token is unknown or has expired: which of the two is not told, since a stranger would learn which secrets
    /// were tokens once.
    #[error(
        "this token is not taken here; it is mistyped, removed or expired, and the server's operator makes a new one"
    )]
    NoSuchToken,
    /// The session is unknown or has ended.
    #[error("your access has ended; open a new link, which the server's operator makes")]
    NoSuchSession,
    /// The secret that a browser would exchange for a session is none: it is unknown, used up, or over.
    #[error(
        "this link or token is not taken here: it was used already, has expired or is mistyped; \
         the server's operator makes a new one"
    )]
    NoSuchLink,
    /// As [`NoSuchLink`](Self::NoSuchLink), over a network in plain text; or it is not taken so. Which of the two is not
    /// told, since a stranger would learn which secrets are good elsewhere.
    #[error(
        "this link or token is not taken here: it was used already, has expired, is mistyped, or is taken through TLS \
         only; try it with https, or have a new one made by the server's operator"
    )]
    NoSuchLinkInPlain,
    /// A session could be neither begun nor ended: there are as many as there may be, the list cannot be written, or the
    /// kernel has no random numbers.
    #[error("this server cannot record that at the moment; its operator finds why in the log")]
    CannotRecord,
    /// The token came with a request over a network in plain text. It was not looked up: each token gets this answer.
    #[error(
        "a token is not taken unencrypted from another machine, since others can read it on its way: use TLS, \
         and have this one replaced"
    )]
    TokenInPlain,
    /// Too many wrong tokens came. A right one gets this answer too.
    #[error(transparent)]
    TooManyWrong(#[from] Wait),
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        let code = if matches!(denied, Denied::TooManyWrong(_)) { ErrorCode::Busy } else { ErrorCode::NotAllowed };
        Self::new(code, denied.to_string())
    }
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
            (Peer::Token { id, .. }, Peer::Token { id: held, .. }) => id == held,
            // A known peer that is now a guest was revoked.
            (
                Peer::Known { .. } | Peer::Token { .. } | Peer::Guest { .. },
                Peer::Known { .. } | Peer::Token { .. } | Peer::Own,
            ) => false,
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
        if let (Power::Root, Entrance::Network(_)) = (power, entrance) {
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
    Network(Channel),
}

/// Whether what came at an [`Entrance`] could be read on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// It could.
    Plain,
    /// It came through TLS that ends here.
    Encrypted,
}

/// What decides about a new connection.
#[derive(Debug)]
pub struct Rules<'r> {
    /// The server's own key.
    pub own: Fingerprint,
    /// The known peers, or why they cannot be read.
    pub known: &'r PeersState,
    /// The tokens.
    pub tokens: TokenRules<'r>,
    /// Services of every peer, guests included.
    pub guest: Services,
}

/// What decides about a token.
#[derive(Debug)]
pub struct TokenRules<'r> {
    /// The tokens on record, or why they cannot be read.
    pub listed: &'r TokensState,
    /// Tokens of this process only, and their sessions.
    pub own: &'r [Token],
    /// The server's root, as an absolute path; `None`: it has none that can be written down. A session of another is
    /// none here.
    pub directory: Option<&'r str>,
    /// Whether a token may come from another machine in plain text.
    pub may_come_plain: bool,
    /// The present time.
    pub now: Moment,
}

impl TokenRules<'_> {
    fn find(&self, id: TokenId) -> Result<Option<&Token>, Denied> {
        let own = self.own.iter().find(|token| token.id == id);
        let token = match own {
            Some(own) => Some(own),
            None => self.listed.as_ref().map_err(|_unreadable| Denied::TokensUnreadable)?.by_digest(id.as_bytes()),
        };
        Ok(token.filter(|token| !token.is_expired(self.now)))
    }

    /// Decides about a token. A wrong one is never a guest: its holder would wonder why so little is allowed. The
    /// secret of a link or of a session is no token.
    fn authorize(&self, id: TokenId, entrance: Entrance) -> Result<Grant, Denied> {
        if entrance == Entrance::Network(Channel::Plain) && !self.may_come_plain {
            return Err(Denied::TokenInPlain);
        }
        let token = self.find(id)?.filter(|token| token.is_token()).ok_or(Denied::NoSuchToken)?;
        Ok(grant(token, token, false))
    }

    /// Decides about a session. That of a token has what the token has.
    fn authorize_session(&self, id: TokenId, entrance: Entrance) -> Result<Grant, Denied> {
        let session = self.find(id)?.ok_or(Denied::NoSuchSession)?;
        let is_exposed = entrance == Entrance::Network(Channel::Plain);
        let is_here = session.directory.is_some() && session.directory.as_deref() == self.directory;
        match session.source() {
            _ if is_exposed && !self.may_come_plain && !session.may_come_plain => Err(Denied::NoSuchSession),
            Some(SessionSource::Link(_)) if is_here => Ok(grant(session, session, true)),
            Some(SessionSource::Token(of)) if is_here || self.is_own(of) => {
                let token = self.find(of)?.filter(|token| token.is_token()).ok_or(Denied::NoSuchSession)?;
                Ok(grant(session, token, true))
            }
            None | Some(_) => Err(Denied::NoSuchSession),
        }
    }

    /// Whether it is a token of this process.
    fn is_own(&self, id: TokenId) -> bool {
        self.own.iter().any(|token| token.id == id)
    }
}

/// What `entry`, a token or a session, is granted: what is on record for its `owner`.
fn grant(entry: &Token, owner: &Token, is_session: bool) -> Grant {
    let link = match entry.source() {
        Some(SessionSource::Link(link)) => Some(link),
        Some(SessionSource::Token(_)) | None => None,
    };
    Grant {
        peer: Peer::Token { name: entry.name.clone(), id: entry.id, owner: owner.id, is_session, link },
        services: owner.services.without(Services::of(&Service::ALL).without(token_services())),
        commands: Commands::Any,
        root: owner.root.clone(),
        withheld: Services::NONE,
    }
}

impl Rules<'_> {
    /// Decides about a peer that connected from the given address, came in at the given entrance, and gave `proof`.
    ///
    /// # Errors
    /// [`Denied`]
    pub fn authorize(&self, proof: Proof, (address, entrance): (&str, Entrance)) -> Result<Grant, Denied> {
        let is_own = match proof {
            Proof::Token(id) => return self.tokens.authorize(id, entrance),
            Proof::Session(id) => return self.tokens.authorize_session(id, entrance),
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
        let Ok(known) = self.known else { return Err(Denied::PeersUnreadable) };
        let key = match proof {
            Proof::Key(key) => Some(key),
            Proof::Nothing | Proof::SameUser | Proof::Token(_) | Proof::Session(_) => None,
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
        Peer::Token { .. } => "; the server's operator decides what a token gives, read, write and chat at most".into(),
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
    use crate::trust::list::List;
    use crate::trust::peers::Peers;
    use crate::trust::tokens::TokenKind;
    use std::sync::Arc;

    const HERE: (&str, Entrance) = ("", Entrance::Loopback);
    const NETWORK: Entrance = Entrance::Network(Channel::Encrypted);

    fn rules<'r>(known: &'r PeersState, listed: &'r TokensState, guest: &str) -> Rules<'r> {
        let now = "2026-11-27T12:00:00Z".parse().unwrap();
        let tokens = TokenRules { listed, own: &[], directory: Some("/srv"), may_come_plain: false, now };
        Rules { own: key("own"), known, tokens, guest: guest.parse().unwrap() }
    }

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
        let tokens = Ok(Arc::default());
        let rules = rules(&known, &tokens, "echo");
        let judged = |proof| {
            let grant = rules.authorize(proof, ("192.0.2.7:1", Entrance::Loopback)).unwrap();
            (grant.peer.to_string(), grant.services.to_string(), grant.root)
        };
        let guest = |name: &str| format!("guest 192.0.2.7:1 with {}", key(name));
        assert_eq!(judged(Proof::SameUser), ("own identity".into(), "echo,chat,read,write,exec,operator".into(), None));
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
            assert_eq!(rules.authorize(proof, HERE).unwrap().commands, commands);
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
        let but_exec = "echo,chat,read,write,operator".parse().unwrap();
        let exec = "exec".parse().unwrap();
        let none = Services::NONE;
        for (power, entrance, had, has, withheld) in [
            (Power::Root, NETWORK, all, but_exec, exec),
            (Power::Root, NETWORK, exec, none, exec),
            (Power::Root, NETWORK, but_exec, but_exec, none),
            (Power::Root, NETWORK, none, none, none),
            (Power::Root, Entrance::Loopback, all, all, none),
            (Power::RootForAll, NETWORK, all, all, none),
            (Power::RootForAll, Entrance::Loopback, all, all, none),
            (Power::User, NETWORK, all, all, none),
            (Power::User, Entrance::Loopback, all, all, none),
        ] {
            for peer in [Peer::Own, Peer::Guest { address: String::new(), fingerprint: None }] {
                let mut grant = Grant { peer, services: had, commands: Commands::Any, root: None, withheld: none };
                grant.narrow(power, entrance);
                assert_eq!((grant.services, grant.withheld), (has, withheld), "{power:?} {entrance:?} {had}");
            }
        }
    }

    fn token(name: &str, services: &str) -> Token {
        Token::of_id(name, TokenId::of(name.as_bytes()), services.parse().unwrap())
    }

    #[test]
    fn a_token_gets_what_is_its_own_or_nothing() {
        let known = Ok(Arc::new(known()));
        let at = |time: &str| Some(time.parse::<Moment>().unwrap());
        let listed = List(vec![
            token("ci", "read"),
            Token { root: Some("dist".into()), ..token("deploy", "read,write") },
            Token { expires: at("2026-11-27T12:00:01Z"), ..token("soon", "read") },
            Token { expires: at("2026-11-27T12:00:00Z"), ..token("over", "read") },
            // No such entry can be read from the file.
            token("all", "all"),
        ]);
        let (listed, own) = (Ok(Arc::new(listed)), [token("shown", "write")]);
        let mut rules = rules(&known, &listed, "echo");
        rules.tokens.own = &own;
        let judged = |secret: &str| {
            let judged = rules.authorize(Proof::Token(TokenId::of(secret.as_bytes())), HERE);
            judged.map(|grant| (grant.peer.to_string(), grant.services.to_string(), grant.root))
        };
        for (secret, want) in [
            ("ci", Ok(("token ci".to_owned(), "read".to_owned(), None))),
            ("deploy", Ok(("token deploy".into(), "read,write".into(), Some("dist".into())))),
            ("soon", Ok(("token soon".into(), "read".into(), None))),
            ("shown", Ok(("token shown".into(), "write".into(), None))),
            ("all", Ok(("token all".into(), "chat,read,write".into(), None))),
            ("over", Err(Denied::NoSuchToken)),
            ("c", Err(Denied::NoSuchToken)),
            ("", Err(Denied::NoSuchToken)),
            // A name is no secret.
            ("token ci", Err(Denied::NoSuchToken)),
        ] {
            assert_eq!(judged(secret), want, "{secret}");
        }
        let owner = |name: &str| token_peer(name, name).owner().unwrap();
        assert_ne!(owner("ci"), owner("deploy"));
        assert_ne!(owner("ci").to_string(), owner("deploy").to_string());
    }

    fn token_peer(name: &str, secret: &str) -> Peer {
        let id = TokenId::of(secret.as_bytes());
        Peer::Token { name: name.into(), id, owner: id, is_session: false, link: None }
    }

    fn session(name: &str, of: Option<&str>, directory: &str) -> Token {
        let id = |secret: &str| TokenId::of(secret.as_bytes());
        let source = of.map_or(SessionSource::Link(id("used up")), |of| SessionSource::Token(id(of)));
        let kind = TokenKind::Session { from: "share".into(), source };
        let services = if of.is_some() { "none" } else { "read,write" };
        Token { kind, directory: Some(directory.into()), ..token(name, services) }
    }

    #[test]
    fn a_session_is_for_one_directory_and_each_secret_for_its_own_way_in() {
        let known = Ok(Arc::new(known()));
        let over = "2026-11-27T12:00:00Z".parse().ok();
        let uses = TokenKind::Link { uses: 3, used: 0 };
        let listed = List(vec![
            Token { root: Some("dist".into()), ..token("ci", "read") },
            Token { kind: uses, directory: Some("/srv".into()), ..token("share", "read") },
            Token { root: Some("in".into()), ..session("share-1", None, "/srv") },
            session("elsewhere", None, "/srv/in"),
            Token { expires: over, ..session("over", None, "/srv") },
            Token { may_come_plain: true, ..session("plain", None, "/srv") },
            session("ci-1", Some("ci"), "/srv"),
            session("ci-2", Some("ci"), "/other"),
            session("orphan", Some("gone"), "/srv"),
            // No secret stands for more than it was made for, whatever the file says.
            session("climber", Some("share"), "/srv"),
            session("twice", Some("share-1"), "/srv"),
        ]);
        let own = [token("shown", "write"), session("shown-1", Some("shown"), "/any")];
        let listed = Ok(Arc::new(listed));
        let mut rules = rules(&known, &listed, "echo");
        rules.tokens.own = &own;
        let id = |secret: &str| TokenId::of(secret.as_bytes());
        let shown = |grant: Grant| format!("{} {} {}", grant.peer, grant.services, grant.root.unwrap_or_default());
        let by = |proof, entrance| rules.authorize(proof, ("", entrance)).map(shown);
        for (secret, want) in [
            ("share-1", Some("session share-1 read,write in")),
            ("plain", Some("session plain read,write ")),
            ("ci-1", Some("session ci-1 read dist")),
            ("shown-1", Some("session shown-1 write ")),
            ("elsewhere", None),
            ("over", None),
            ("ci-2", None),
            ("orphan", None),
            ("climber", None),
            ("twice", None),
            // Neither a token nor a link is a cookie.
            ("ci", None),
            ("share", None),
            ("nothing", None),
        ] {
            let want = want.map(str::to_owned).ok_or(Denied::NoSuchSession);
            assert_eq!(by(Proof::Session(id(secret)), Entrance::Loopback), want, "{secret}");
            let in_plain = by(Proof::Session(id(secret)), Entrance::Network(Channel::Plain));
            let want = if secret == "plain" { want } else { Err(Denied::NoSuchSession) };
            assert_eq!(in_plain, want, "{secret} in plain");
            // Nor is a cookie, or a link, a token.
            if !["ci", "shown"].contains(&secret) {
                assert_eq!(by(Proof::Token(id(secret)), Entrance::Loopback), Err(Denied::NoSuchToken), "{secret}");
            }
        }
        rules.tokens.directory = None;
        let nowhere = rules.authorize(Proof::Session(id("share-1")), HERE);
        assert_eq!(nowhere.err(), Some(Denied::NoSuchSession));
    }

    #[test]
    fn a_token_that_others_could_read_is_not_looked_at() {
        let known = Ok(Arc::new(known()));
        let listed: TokensState = Ok(Arc::new(List(vec![token("ci", "read")])));
        let plain = Entrance::Network(Channel::Plain);
        for (entrance, may_come_plain, is_taken) in
            [(Entrance::Loopback, false, true), (NETWORK, false, true), (plain, false, false), (plain, true, true)]
        {
            let mut rules = rules(&known, &listed, "echo");
            rules.tokens.may_come_plain = may_come_plain;
            for (secret, otherwise) in [("ci", None), ("no token", Some(Denied::NoSuchToken))] {
                let judged = rules.authorize(Proof::Token(TokenId::of(secret.as_bytes())), ("", entrance)).err();
                let want = if is_taken { otherwise } else { Some(Denied::TokenInPlain) };
                assert_eq!(judged, want, "{entrance:?} {may_come_plain} {secret}");
            }
        }
    }

    #[test]
    fn without_a_list_of_tokens_only_those_of_the_process_are_taken() {
        let known = Ok(Arc::new(known()));
        let broken: TokensState = Err(Arc::new(crate::trust::list::ListError::Refused("torn".into())));
        let own = [token("shown", "read")];
        let mut rules = rules(&known, &broken, "echo");
        rules.tokens.own = &own;
        let judged = |proof| rules.authorize(proof, HERE).map(|grant| grant.peer.to_string());
        assert_eq!(judged(Proof::Token(own[0].id)), Ok("token shown".into()));
        assert_eq!(judged(Proof::Token(TokenId::of(b"ci"))), Err(Denied::TokensUnreadable));
        assert_eq!(judged(Proof::Key(key("laptop"))), Ok("laptop".into()));
        assert_eq!(judged(Proof::Nothing), Ok("guest ".into()));
    }

    #[test]
    fn a_token_goes_on_only_as_itself() {
        let grant = |peer: Peer, services: &str| Grant {
            peer,
            services: services.parse().unwrap(),
            commands: Commands::Any,
            root: None,
            withheld: Services::NONE,
        };
        let known = Peer::Known { name: "ci".into(), fingerprint: key("ci") };
        let guest = Peer::Guest { address: String::new(), fingerprint: None };
        for (held, now, may_go_on) in [
            ((token_peer("ci", "a"), "read"), (token_peer("renamed", "a"), "read,write"), true),
            ((token_peer("ci", "a"), "read,write"), (token_peer("ci", "a"), "read"), false),
            ((token_peer("ci", "a"), "read"), (token_peer("ci", "b"), "read"), false),
            ((token_peer("ci", "a"), "read"), (known.clone(), "all"), false),
            ((token_peer("ci", "a"), "read"), (guest.clone(), "all"), false),
            ((known, "read"), (token_peer("ci", "a"), "read"), false),
            ((guest, "read"), (token_peer("ci", "a"), "read"), true),
        ] {
            let (held, now) = (grant(held.0, held.1), grant(now.0, now.1));
            assert_eq!(now.covers(&held), may_go_on, "{held:?} {now:?}");
        }
    }

    #[test]
    fn without_a_list_only_the_own_identity_gets_in() {
        let broken: PeersState = Err(Arc::new(crate::trust::list::ListError::Refused("torn".into())));
        let tokens = Ok(Arc::default());
        let rules = rules(&broken, &tokens, "all");
        assert!(rules.authorize(Proof::SameUser, HERE).is_ok());
        assert!(rules.authorize(Proof::Key(key("own")), HERE).is_ok());
        for proof in [Proof::Nothing, Proof::Key(key("laptop"))] {
            assert_eq!(rules.authorize(proof, HERE).unwrap_err(), Denied::PeersUnreadable);
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
