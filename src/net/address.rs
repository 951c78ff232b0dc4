//! Where to find the other end, as people write it: `HOST`, `HOST:PORT`, `[::1]:7000`,
//! `tls://HOST:PORT`, `tcp://HOST:PORT`, `unix:/path`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// What stood before the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Nothing: the program decides.
    Unsaid,
    /// `tcp://`: nothing is encrypted.
    Plain,
    /// `tls://`.
    Tls,
}

/// An address as it was written, nothing resolved yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A host name or IP address, and a port if one was named.
    Tcp {
        /// Name or address, without brackets.
        host: String,
        /// Port, if one was named.
        port: Option<u16>,
        /// What was written before it.
        scheme: Scheme,
    },
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// The text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address: {why}")]
pub struct AddressError {
    text: String,
    why: &'static str,
}

impl Address {
    /// The same address with `port` filled in where none was named.
    #[must_use]
    pub fn with_default_port(self, default: u16) -> Self {
        match self {
            Self::Tcp { host, port, scheme } => Self::Tcp { host, port: Some(port.unwrap_or(default)), scheme },
            Self::Unix(path) => Self::Unix(path),
        }
    }

    /// The port, if one was named.
    pub const fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp { port, .. } => *port,
            Self::Unix(_) => None,
        }
    }

    /// Whether it was written with `tcp://`.
    pub const fn is_plain(&self) -> bool {
        matches!(self, Self::Tcp { scheme: Scheme::Plain, .. })
    }

    /// Whether it was written with `tls://`: then nothing plain is meant.
    pub const fn is_tls(&self) -> bool {
        matches!(self, Self::Tcp { scheme: Scheme::Tls, .. })
    }

    /// The same address as if written with `tcp://`.
    #[must_use]
    pub fn plain(self) -> Self {
        self.with_scheme(Scheme::Plain)
    }

    /// The same address as if written without a scheme.
    #[must_use]
    pub fn encrypted(self) -> Self {
        self.with_scheme(Scheme::Unsaid)
    }

    fn with_scheme(self, scheme: Scheme) -> Self {
        match self {
            Self::Tcp { host, port, .. } => Self::Tcp { host, port, scheme },
            Self::Unix(path) => Self::Unix(path),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = |why| AddressError { text: text.to_owned(), why };
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err(error("the socket's path is missing"))
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        let (rest, scheme) = match (text.strip_prefix("tcp://"), text.strip_prefix("tls://")) {
            (Some(rest), _) => (rest, Scheme::Plain),
            (None, Some(rest)) => (rest, Scheme::Tls),
            (None, None) => (text, Scheme::Unsaid),
        };
        let (host, port) = split_port(rest).map_err(error)?;
        let port = match port {
            Some(digits) => {
                Some(digits.parse().map_err(|_not_a_port| error("the port is not a number from 0 to 65535"))?)
            }
            None => None,
        };
        if host.is_empty() {
            return Err(error("the host is missing"));
        }
        if host.contains('@') {
            return Err(error(
                "there is no user to choose, the server's own does it all; leave out what is before the @",
            ));
        }
        if host.contains(['/', ' ']) || host.chars().any(char::is_control) {
            return Err(error("a host has no slash or space"));
        }
        Ok(Self::Tcp { host: host.to_owned(), port, scheme })
    }
}

/// `[::1]:7000`, `host:7000`, `host`, and a bare IPv6 address, which has more than one colon.
fn split_port(text: &str) -> Result<(&str, Option<&str>), &'static str> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("the closing bracket is missing")?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err("after the bracket only :PORT may follow"),
        };
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Ok((text, None)),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, .. } => {
                if self.is_plain() {
                    f.write_str("tcp://")?;
                }
                if host.contains(':') {
                    write!(f, "[{host}]")?;
                } else {
                    f.write_str(host)?;
                }
                port.map_or(Ok(()), |port| write!(f, ":{port}"))
            }
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: Option<u16>) -> Address {
        Address::Tcp { host: host.into(), port, scheme: Scheme::Unsaid }
    }

    #[test]
    fn what_people_write_is_understood() {
        for (text, want) in [
            ("build", tcp("build", None)),
            ("build:7000", tcp("build", Some(7000))),
            ("tcp://build:7000", tcp("build", Some(7000)).plain()),
            ("127.0.0.1:0", tcp("127.0.0.1", Some(0))),
            ("[::1]:7000", tcp("::1", Some(7000))),
            ("[::1]", tcp("::1", None)),
            ("::1", tcp("::1", None)),
            ("unix:/run/a b.sock", Address::Unix("/run/a b.sock".into())),
        ] {
            assert_eq!(text.parse::<Address>(), Ok(want.clone()), "{text}");
            assert_eq!(want.to_string().parse::<Address>(), Ok(want), "{text} written again");
        }
        let tls: Address = "tls://build:7000".parse().unwrap();
        assert!(tls.is_tls() && !tls.is_plain());
        assert_eq!(tls.encrypted(), tcp("build", Some(7000)));
    }

    #[test]
    fn what_is_no_address_is_said() {
        for text in ["", "host:70000", "host:x", ":7000", "[::1", "[::1]7000", "unix:", "a/b", "user@host", "a b"] {
            let error = text.parse::<Address>().expect_err(text);
            assert!(error.to_string().starts_with(&format!("{text:?} is not an address")), "{error}");
        }
    }
}
