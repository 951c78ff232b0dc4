//! Who the peer is, and what it may do.
//!
//! [`home`] stores keys and lists, [`identity`] is this user's key, [`peers`] the known peers, [`hosts`] names of
//! machines, and [`policy`] decides; [`commands`] restricts what a peer may run, [`grants`] is what the open
//! connections were granted. A pairing that waits is an [`offer`] with its [`code`]; [`pake`] proves that both ends
//! know it. [`tokens`] are the secrets of programs that speak HTTP, [`guesses`] counts wrong ones. [`last_seen`] records
//! when peers connected, [`servers`] which servers of this user run now. [`list`] is what the lists of peers and of tokens
//! have in common.

pub mod code;
pub mod commands;
pub mod grants;
pub mod guesses;
pub mod home;
pub mod host_lists;
pub mod host_ranges;
pub mod hosts;
pub mod identity;
pub mod last_seen;
pub mod list;
pub mod offer;
pub mod pake;
pub mod peers;
pub mod policy;
pub mod servers;
pub mod time;
pub mod tokens;

use std::fmt;

use identity::Fingerprint;
use tokens::TokenId;

pub use crate::wire::service::{NoSuchService, Service, Services};

/// The peer: the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// The server's own user: it proved the server's own key, or its user id on this machine.
    Own,
    /// A peer that proved a key that is recorded here.
    Known {
        /// Its name here.
        name: String,
        /// Its key.
        fingerprint: Fingerprint,
    },
    /// A program that presented a token that is taken here, or a browser that has a session.
    Token {
        /// The name of the token, or of the session.
        name: String,
        /// Which token or session it is.
        id: TokenId,
        /// Whose things it has: its own, or those of the token that the session was exchanged for.
        owner: TokenId,
        /// Whether it is the session of a browser.
        is_session: bool,
        /// The link that the session was exchanged for; `None`: it is none, or that of a token.
        link: Option<TokenId>,
    },
    /// Any other peer.
    Guest {
        /// Its address, as the operating system reports it.
        address: String,
        /// Its key, which is not recorded here; `None` on a plain connection.
        fingerprint: Option<Fingerprint>,
    },
}

impl Peer {
    /// Whether it has proved who it is: the own user, a known peer, or a token's holder.
    pub const fn is_known(&self) -> bool {
        matches!(self, Self::Own | Self::Known { .. } | Self::Token { .. })
    }
}

/// The owner of things that outlive a connection, such as places and jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The server's own user.
    Own,
    /// The peer with this key.
    Key(Fingerprint),
    /// The holders of this token.
    Token(TokenId),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("own identity"),
            Self::Key(key) => key.fmt(f),
            Self::Token(id) => write!(f, "token {id}"),
        }
    }
}

impl Peer {
    /// The owner of its things; `None`: it has no key, so it cannot be told from other guests.
    pub const fn owner(&self) -> Option<Owner> {
        match self {
            Self::Own => Some(Owner::Own),
            Self::Known { fingerprint, .. } => Some(Owner::Key(*fingerprint)),
            Self::Token { owner, .. } => Some(Owner::Token(*owner)),
            Self::Guest { fingerprint: Some(key), .. } => Some(Owner::Key(*key)),
            Self::Guest { fingerprint: None, .. } => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("own identity"),
            Self::Known { name, .. } => f.write_str(name),
            Self::Token { name, is_session: false, .. } => write!(f, "token {name}"),
            Self::Token { name, is_session: true, .. } => write!(f, "session {name}"),
            Self::Guest { address, fingerprint: None } => write!(f, "guest {address}"),
            Self::Guest { address, fingerprint: Some(key) } => write!(f, "guest {address} with {key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_read_as_they_are_written() {
        for (text, want) in
            [("echo,chat", "echo,chat"), ("exec, echo", "echo,exec"), ("all", "echo,chat,read,write,exec,operator")]
        {
            assert_eq!(text.parse::<Services>().unwrap().to_string(), want);
        }
        assert_eq!("none".parse(), Ok(Services::NONE));
        assert_eq!("".parse(), Ok(Services::NONE));
        assert!("ecko".parse::<Services>().unwrap_err().to_string().starts_with("\"ecko\" is not a service"));
    }
}
