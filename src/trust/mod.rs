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
use std::str::FromStr;

use identity::Fingerprint;

/// What a connection can be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Get back what was sent.
    Echo,
    /// Talk in rooms.
    Chat,
    /// List and download under the root.
    Read,
    /// Upload, make, rename and remove under the root.
    Write,
    /// Run commands as the server's user.
    Exec,
}

impl Service {
    /// All services, in the order in which they are listed.
    pub const ALL: [Self; 5] = [Self::Echo, Self::Chat, Self::Read, Self::Write, Self::Exec];

    /// The service's word on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Chat => "chat",
            Self::Read => "read",
            Self::Write => "write",
            Self::Exec => "exec",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of services, written `echo,chat`, `all` or `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Services(u8);

impl Services {
    /// No service at all.
    pub const NONE: Self = Self(0);

    /// These services.
    pub fn of(services: &[Service]) -> Self {
        Self(services.iter().fold(0, |bits, service| bits | service.bit()))
    }

    /// These and those.
    #[must_use]
    pub const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// These, but not those.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Whether `service` is among them.
    pub const fn has(self, service: Service) -> bool {
        self.0 & service.bit() != 0
    }

    /// Whether any of `services` is among them.
    pub fn has_any(self, services: &[Service]) -> bool {
        services.iter().any(|service| self.has(*service))
    }
}

/// The word is no service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a service; there are echo, chat, read, write, exec, and the words all and none")]
pub struct NoSuchService(String);

impl FromStr for Services {
    type Err = NoSuchService;

    fn from_str(text: &str) -> Result<Self, NoSuchService> {
        let mut services = Self::NONE;
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            services.0 |= match word {
                "all" => Self::of(&Service::ALL).0,
                "none" => 0,
                _ => Service::ALL
                    .iter()
                    .find(|service| service.as_str() == word)
                    .ok_or_else(|| NoSuchService(word.to_owned()))?
                    .bit(),
            };
        }
        Ok(services)
    }
}

impl fmt::Display for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE {
            return f.write_str("none");
        }
        let words = Service::ALL.iter().filter(|service| self.has(**service)).map(|service| service.as_str());
        f.write_str(&words.collect::<Vec<_>>().join(","))
    }
}

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
