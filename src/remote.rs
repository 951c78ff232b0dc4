//! A path on another machine, as people write it: `host:path`, `tls://host:port/path`, `tcp://host:port/path`,
//! `unix:/socket:path`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use crate::net::Address;
use crate::net::address::{AddressError, Scheme, begins_with_ipv6};

/// A text is no path on another machine, though it looks like one.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// A URL of another protocol.
    #[error("{0}: not spoken here; write HOST:PATH, or tls://HOST:PORT/PATH")]
    Scheme(String),
    /// An IPv6 address without brackets.
    #[error("{0}: an IPv6 address goes into brackets: [ADDRESS]:PATH; a file of this machine is ./{0}")]
    Ipv6(String),
    /// The host is not UTF-8.
    #[error("{0}: the host's name is not UTF-8")]
    HostEncoding(String),
    /// The host is no address.
    #[error("{source}; write HOST:PATH{here}")]
    Host {
        /// What is wrong with it.
        source: AddressError,
        /// How to name a file of this machine that is called so; empty if none can be.
        here: String,
    },
    /// The path begins with a number and a colon, as a port would.
    #[error("{shown}: a port goes into a URL: {url}; for a file that is called so: {literal}")]
    Port {
        /// As it was written.
        shown: String,
        /// With the number as the port.
        url: String,
        /// With the number as part of the path.
        literal: String,
    },
}

/// A path on another machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// The machine.
    pub address: Address,
    /// The path there. A name need not be UTF-8.
    pub path: OsString,
}

impl Remote {
    /// Reads a path; `None`: it is on this machine, since no colon stands before its first slash.
    ///
    /// # Errors
    /// The part before the colon is no address.
    pub fn parse(text: &OsStr) -> Result<Option<Self>, RemoteError> {
        let bytes = text.as_bytes();
        if let Some(scheme) = foreign_scheme(bytes) {
            return Err(RemoteError::Scheme(scheme.to_owned()));
        }
        let Some((address, path)) = split(bytes) else { return Ok(None) };
        let shown = text.to_string_lossy();
        let has_scheme = !is_without_scheme(bytes);
        if !has_scheme && begins_with_ipv6(shown.split('/').next().unwrap_or_default()) {
            return Err(RemoteError::Ipv6(shown.into_owned()));
        }
        let Ok(address) = std::str::from_utf8(address) else {
            return Err(RemoteError::HostEncoding(shown.into_owned()));
        };
        let here = if has_scheme { String::new() } else { format!("; a file of this machine is ./{shown}") };
        let address = address.parse::<Address>().map_err(|source| RemoteError::Host { source, here })?;
        Ok(Some(Self { address, path: OsString::from_vec(path.to_vec()) }))
    }

    /// The same, where only a URL may have a port.
    ///
    /// # Errors
    /// The path begins as `HOST:PORT:PATH` would go on, so either could be meant.
    pub fn without_port(self) -> Result<Self, RemoteError> {
        let Address::Tcp { host, port: None, scheme: Scheme::Unsaid } = &self.address else { return Ok(self) };
        let path = self.path.to_string_lossy();
        match path.split_once(':') {
            Some((port, rest)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
                let with_port = Address::Tcp { host: host.clone(), port: port.parse().ok(), scheme: Scheme::Unsaid };
                let literal = format!("{}:./{path}", self.address);
                Err(RemoteError::Port { shown: self.shown(), url: shown(&with_port, rest), literal })
            }
            _ => Ok(self),
        }
    }

    /// The same for a tutorial's wire, whose servers use any port: `HOST:PORT:PATH` and `HOST:PORT/PATH` name one.
    /// A path that begins so is written behind `tcp://HOST/`.
    #[must_use]
    pub fn with_port_of_wire(self) -> Self {
        let Address::Tcp { host, port: None, scheme: Scheme::Unsaid } = &self.address else { return self };
        let digits = self.path.as_bytes().iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.path.as_bytes().split_at(digits);
        let port = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        let (Some(port), Some((b':' | b'/', path))) = (port, rest.split_first()) else { return self };
        let address = Address::Tcp { host: host.clone(), port: Some(port), scheme: Scheme::Plain };
        Self { address, path: OsString::from_vec(path.to_vec()) }
    }

    /// The last part of the path, which a download is called; `None`: the path names a directory.
    pub fn file_name(&self) -> Option<&OsStr> {
        let name = self.path.as_bytes().rsplit(|byte| *byte == b'/').next()?;
        (!name.is_empty() && name != b"." && name != b"..").then(|| OsStr::from_bytes(name))
    }

    /// As people write it.
    pub fn shown(&self) -> String {
        shown(&self.address, &self.path.to_string_lossy())
    }

    /// Whether only a colon makes it a path on another machine, so that a file of this machine may be meant.
    pub fn is_without_scheme(&self) -> bool {
        is_without_scheme(self.shown().as_bytes())
    }
}

/// A path at an address as people write it, with a scheme where a port stands before the path.
pub fn shown(address: &Address, path: &str) -> String {
    let path_of = path.strip_prefix('/').unwrap_or(path);
    match address {
        Address::Tcp { scheme: Scheme::Plain, .. } => format!("{address}/{path_of}"),
        Address::Tcp { port: Some(_), .. } => format!("tls://{address}/{path_of}"),
        _ => format!("{address}:{path}"),
    }
}

/// Whether only a colon makes it a `HOST:PATH`.
fn is_without_scheme(bytes: &[u8]) -> bool {
    !["tcp://", "tls://", "unix:", "["].iter().any(|sign| bytes.starts_with(sign.as_bytes()))
}

/// The scheme before `://`, if it is not one of ours.
fn foreign_scheme(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (scheme, _) = text.split_once("://")?;
    let is_word = !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_lowercase());
    (is_word && !matches!(scheme, "tcp" | "tls")).then_some(scheme)
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = |from: usize, byte: u8| bytes.iter().skip(from).position(|b| *b == byte).map(|found| found + from);
    if bytes.starts_with(b"tcp://") || bytes.starts_with(b"tls://") {
        let slash = at(6, b'/').unwrap_or(bytes.len());
        return Some((bytes.get(..slash)?, bytes.get(slash + 1..).unwrap_or_default()));
    }
    let colon = if bytes.starts_with(b"unix:") {
        at(5, b':').unwrap_or(bytes.len())
    } else if bytes.starts_with(b"[") {
        at(0, b']').map(|bracket| bracket + 1).filter(|colon| bytes.get(*colon) == Some(&b':'))?
    } else {
        let colon = at(0, b':')?;
        if at(0, b'/').is_some_and(|slash| slash < colon) {
            return None;
        }
        colon
    };
    Some((bytes.get(..colon)?, bytes.get(colon + 1..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_paths_are_told_apart() {
        for (argument, want) in [
            ("build:notes.txt", Some(("build", "notes.txt"))),
            ("build:/a b/c:d", Some(("build", "/a b/c:d"))),
            ("build:", Some(("build", ""))),
            ("[::1]:x", Some(("[::1]", "x"))),
            ("tls://build:7000/a/b", Some(("build:7000", "a/b"))),
            ("tcp://[::1]:7000/a", Some(("tcp://[::1]:7000", "a"))),
            ("unix:/run/l.sock:a/b", Some(("unix:/run/l.sock", "a/b"))),
            ("notes.txt", None),
            ("./a:b", None),
            ("/a:b", None),
        ] {
            let got = Remote::parse(OsStr::new(argument)).unwrap();
            let got = got.map(|remote| (remote.address.to_string(), remote.path.into_string().unwrap()));
            assert_eq!(got, want.map(|(host, path)| (host.to_owned(), path.to_owned())), "{argument}");
        }
        for (argument, want) in [
            ("build:9001:a/b", ("tcp://build:9001", "a/b")),
            ("build:9001/a/b", ("tcp://build:9001", "a/b")),
            ("[::1]:9001:a", ("tcp://[::1]:9001", "a")),
            ("build:9001", ("build", "9001")),
            ("build:99999/a", ("build", "99999/a")),
            ("build:2024.log", ("build", "2024.log")),
            ("tcp://build/9001/a", ("tcp://build", "9001/a")),
            ("tcp://build:1/9001/a", ("tcp://build:1", "9001/a")),
        ] {
            let got = Remote::parse(OsStr::new(argument)).unwrap().unwrap().with_port_of_wire();
            let got = (got.address.to_string(), got.path.into_string().unwrap());
            assert_eq!((got.0.as_str(), got.1.as_str()), want, "{argument}");
        }
        for (argument, url, literal) in [
            ("build:7000:", "tls://build:7000/", "build:./7000:"),
            ("build:7000:a/b", "tls://build:7000/a/b", "build:./7000:a/b"),
            ("build:7000:/a", "tls://build:7000/a", "build:./7000:/a"),
            ("[::1]:7000:a", "tls://[::1]:7000/a", "[::1]:./7000:a"),
        ] {
            let error = Remote::parse(OsStr::new(argument)).unwrap().unwrap().without_port().unwrap_err().to_string();
            assert!(error.contains(&format!("{url};")) && error.ends_with(literal), "{argument}: {error}");
        }
        for argument in ["build:7000", "build:7000/a:b", "build:a:7000", "build:./7000:a", "build::a", "tls://b:1/2:a"]
        {
            assert!(Remote::parse(OsStr::new(argument)).unwrap().unwrap().without_port().is_ok(), "{argument}");
        }
        for (argument, why) in [
            ("a@b:c", "no user"),
            ("12:00.log", "./12:00.log"),
            ("::1:x", "[ADDRESS]:PATH"),
            ("fe80::1:a/b", "[ADDRESS]:PATH"),
            ("::1", "[ADDRESS]:PATH"),
            (":x", "./:x"),
        ] {
            let error = Remote::parse(OsStr::new(argument)).unwrap_err().to_string();
            assert!(error.contains(why), "{argument}: {error}");
        }
        let name = |text: &str| Remote::parse(OsStr::new(text)).unwrap().unwrap().file_name().map(OsStr::to_owned);
        assert_eq!(name("h:a/b"), Some("b".into()));
        assert_eq!(name("h:a/"), None);
        assert_eq!(name("h:.."), None);
    }
}
