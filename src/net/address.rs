//! Where to find the other end, as people write it: `HOST`, `HOST:PORT`, `[::1]:7000`,
//! `tls://HOST:PORT`, `tcp://HOST:PORT`, `unix:/path`.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

/// The port that is used where none is named: L-A-N-D on a telephone.
pub const DEFAULT_PORT: u16 = 5263;

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
        if is_number(host) {
            return Err(error("a number is no host: an IPv4 address has four of them, as in 192.0.2.7"));
        }
        Ok(Self::Tcp { host: host.to_owned(), port, scheme })
    }
}

/// Whether the system would take the host for an old way to write an IPv4 address: `12`, `127.1`, `0x7f.0.0.1`. What
/// ends in a number and is none of the usual form is a slip, as the time of day in a file's name.
fn is_number(host: &str) -> bool {
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let is_hex = |digits: &str| digits.chars().all(|digit| digit.is_ascii_hexdigit());
    let is_numeric = !last.is_empty() && last.chars().all(|digit| digit.is_ascii_digit())
        || last.strip_prefix("0x").or_else(|| last.strip_prefix("0X")).is_some_and(is_hex);
    is_numeric && host.parse::<Ipv4Addr>().is_err()
}

/// Whether `text` is an IPv6 address, with a zone perhaps.
fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, ""));
    !zone.contains(':') && address.parse::<Ipv6Addr>().is_ok()
}

/// Whether `text` begins with an IPv6 address without brackets, behind which a colon and more may stand, so that
/// no one can tell where it ends.
pub fn begins_with_ipv6(text: &str) -> bool {
    let ends = text.match_indices(':').map(|(at, _)| at).chain([text.len()]);
    ends.filter_map(|end| text.get(..end)).any(is_ipv6)
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
        Some((_, rest)) if rest.contains(':') && is_ipv6(text) => Ok((text, None)),
        Some((_, rest)) if rest.contains(':') => {
            Err("it has more than one colon; an IPv6 address goes into brackets before a port or a path: [::1]:7000")
        }
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
            ("fe80::1%eth0", tcp("fe80::1%eth0", None)),
            ("192.0.2.7:80", tcp("192.0.2.7", Some(80))),
            ("4build", tcp("4build", None)),
            ("12.example", tcp("12.example", None)),
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
        for text in [
            "",
            "host:70000",
            "host:x",
            ":7000",
            "[::1",
            "[::1]7000",
            "unix:",
            "a/b",
            "user@host",
            "a b",
            "12",
            "12:00",
            "0x7f.1",
            "127.1",
            "1.2.3",
            "127.0.0.01",
            "2026.",
            "a.12",
            "::1:x",
            "fe80::1%eth0:7000:x",
            "a:b:c",
        ] {
            let error = text.parse::<Address>().expect_err(text);
            assert!(error.to_string().starts_with(&format!("{text:?} is not an address")), "{error}");
        }
    }
}
