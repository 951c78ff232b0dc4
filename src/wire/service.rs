//! Services: what a peer may use a connection for.
//!
//! Each message declares which services it needs; `trust` decides which services a peer has.

use std::fmt;
use std::str::FromStr;

/// A service: a group of requests that a peer may be permitted to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Get back what was sent.
    Echo,
    /// Send and receive messages in rooms.
    Chat,
    /// List and download under the root.
    Read,
    /// Upload, make, rename and remove under the root.
    Write,
    /// Run commands as the server's user.
    Exec,
    /// Kick, ban and mute in the chat.
    Operator,
}

impl Service {
    /// All services, in the order in which they are listed.
    pub const ALL: [Self; 6] = [Self::Echo, Self::Chat, Self::Read, Self::Write, Self::Exec, Self::Operator];

    /// The service's name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Chat => "chat",
            Self::Read => "read",
            Self::Write => "write",
            Self::Exec => "exec",
            Self::Operator => "operator",
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

    /// The set of these services.
    pub fn of(services: &[Service]) -> Self {
        Self(services.iter().fold(0, |bits, service| bits | service.bit()))
    }

    /// The union of both sets.
    #[must_use]
    pub const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// This set without `others`.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Whether `service` is in the set.
    pub const fn has(self, service: Service) -> bool {
        self.0 & service.bit() != 0
    }

    /// Whether any of `services` is in the set.
    pub fn has_any(self, services: &[Service]) -> bool {
        services.iter().any(|service| self.has(*service))
    }
}

/// The text is not the name of a service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a service; there are echo, chat, read, write, exec, operator, and the words all and none")]
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
