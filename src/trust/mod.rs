//! Who is at the other end, and what that allows.
//!
//! [`home`] keeps what must not be lost or seen, [`identity`] is this user's key, [`peers`] whom we know, [`hosts`]
//! what people call machines, and [`policy`] decides; [`commands`] narrow what runs, [`held`] is what the open
//! connections were granted. A pairing that waits is an [`offer`] with its [`code`]; [`pake`] proves that both ends
//! know it. [`seen`] says who came when, [`running`] which servers of this user run now.

pub mod code;
pub mod commands;
pub mod grants;
pub mod home;
pub mod hosts;
pub mod identity;
pub mod last_seen;
pub mod offer;
pub mod pake;
pub mod peers;
pub mod policy;
pub mod servers;

use std::fmt;

use identity::Fingerprint;

pub use crate::wire::service::{NoSuchService, Service, Services};

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// The server's own user: it proved the server's own key, or its user id on this machine.
    Own,
    /// It proved a key that is recorded here.
    Known {
        /// What it is called here.
        name: String,
        /// Its key.
        fingerprint: Fingerprint,
    },
    /// Anybody else.
    Guest {
        /// Its address, as the network says.
        address: String,
        /// Its key, which nobody here knows; `None` on a plain connection.
        fingerprint: Option<Fingerprint>,
    },
}

impl Peer {
    /// Whether it has proved to be somebody.
    pub const fn is_known(&self) -> bool {
        matches!(self, Self::Own | Self::Known { .. })
    }
}

/// Whose something is that outlives a connection: nobody is mistaken for somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The server's own user.
    Own,
    /// Whoever has this key.
    Key(Fingerprint),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("own identity"),
            Self::Key(key) => key.fmt(f),
        }
    }
}

impl Peer {
    /// Whose its things are; `None`: nobody could tell it from another.
    pub const fn owner(&self) -> Option<Owner> {
        match self {
            Self::Own => Some(Owner::Own),
            Self::Known { fingerprint, .. } => Some(Owner::Key(*fingerprint)),
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
            [("echo,chat", "echo,chat"), ("exec, echo", "echo,exec"), ("all", "echo,chat,read,write,exec")]
        {
            assert_eq!(text.parse::<Services>().unwrap().to_string(), want);
        }
        assert_eq!("none".parse(), Ok(Services::NONE));
        assert_eq!("".parse(), Ok(Services::NONE));
        assert!("ecko".parse::<Services>().unwrap_err().to_string().starts_with("\"ecko\" is not a service"));
    }
}
