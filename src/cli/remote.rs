//! `host:path`, `tls://host:port/path`, `tcp://host:port/path`, `unix:/socket:path`: a file over there, as people
//! write it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::exit::usage;
use super::transfer::NamePair;
use crate::net::Address;
use crate::net::address::{Scheme, begins_with_ipv6};
use crate::trees::glob::means_contents;

/// A path on another machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Which machine.
    pub address: Address,
    /// Which path; bytes, for a name need not be UTF-8.
    pub path: OsString,
}

impl Remote {
    /// Reads an argument; `None` if it names a file of this machine: there is no colon before its
    /// first slash.
    ///
    /// # Errors
    /// The host's part is no address.
    pub fn parse(argument: &OsStr) -> anyhow::Result<Option<Self>> {
        let bytes = argument.as_bytes();
        if let Some(scheme) = foreign_scheme(bytes) {
            return Err(usage(format!("{scheme}: not spoken here; write HOST:PATH, or tls://HOST:PORT/PATH")));
        }
        let Some((address, path)) = split(bytes) else { return Ok(None) };
        let shown = argument.to_string_lossy();
        if is_bare(bytes) && begins_with_ipv6(shown.split('/').next().unwrap_or_default()) {
            return Err(usage(format!(
                "{shown}: an IPv6 address goes into brackets: [ADDRESS]:PATH; a file of this machine is ./{shown}"
            )));
        }
        let Ok(address) = std::str::from_utf8(address) else {
            return Err(usage(format!("{}: the host's name is not UTF-8", argument.to_string_lossy())));
        };
        let here = if is_bare(bytes) { format!("; a file of this machine is ./{shown}") } else { String::new() };
        let address = address.parse::<Address>().map_err(|error| usage(format!("{error}; write HOST:PATH{here}")))?;
        Ok(Some(Self { address, path: OsString::from_vec(path.to_vec()) }))
    }

    /// The same, where a port is part of a URL only.
    ///
    /// # Errors
    /// The path begins as `HOST:PORT:PATH` would go on: it is not known which is meant.
    pub fn without_port(self) -> anyhow::Result<Self> {
        let Address::Tcp { host, port: None, scheme: Scheme::Unsaid } = &self.address else { return Ok(self) };
        let path = self.path.to_string_lossy();
        match path.split_once(':') {
            Some((port, rest)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
                let address = &self.address;
                let with_port = Address::Tcp { host: host.clone(), port: port.parse().ok(), scheme: Scheme::Unsaid };
                Err(usage(format!(
                    "{}: a port goes into a URL: {}; for a file that is called so: {address}:./{path}",
                    self.shown(),
                    shown(&with_port, rest)
                )))
            }
            _ => Ok(self),
        }
    }

    /// The same, for a tutorial's wire, whose servers have any port: `HOST:PORT:PATH` and `HOST:PORT/PATH` name one.
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

    /// The last part of the path: the name that a download gets.
    pub fn file_name(&self) -> Option<&OsStr> {
        let name = self.path.as_bytes().rsplit(|byte| *byte == b'/').next()?;
        (!name.is_empty() && name != b"." && name != b"..").then(|| OsStr::from_bytes(name))
    }

    /// As it was written, for people.
    pub fn shown(&self) -> String {
        shown(&self.address, &self.path.to_string_lossy())
    }

    /// Why its host could not be had; where a file of this machine is called like the whole, that is probably what
    /// was meant.
    pub fn not_had(&self, error: anyhow::Error) -> anyhow::Error {
        let shown = self.shown();
        if !is_bare(shown.as_bytes()) || !Path::new(&shown).is_symlink() && !Path::new(&shown).exists() {
            return error;
        }
        error.context(format!(
            "{shown} is {} on the host {}; the file of that name here is ./{shown}",
            self.path_shown(),
            self.address
        ))
    }

    fn path_shown(&self) -> String {
        format!("{:?}", self.path.to_string_lossy())
    }
}

/// A path at an address as one writes it: with a scheme where a port stands before the path.
pub fn shown(address: &Address, path: &str) -> String {
    let path_of = path.strip_prefix('/').unwrap_or(path);
    match address {
        Address::Tcp { scheme: Scheme::Plain, .. } => format!("{address}/{path_of}"),
        Address::Tcp { port: Some(_), .. } => format!("tls://{address}/{path_of}"),
        _ => format!("{address}:{path}"),
    }
}

/// The names of files that are fetched.
#[derive(Debug)]
pub struct FromRemote {
    sources: Vec<Remote>,
    destination: PathBuf,
    /// The target is a single file, called as the destination is.
    is_renamed: bool,
}

impl FromRemote {
    /// For what is fetched from `sources` to `destination`.
    pub fn new(sources: &[Remote], destination: PathBuf) -> Self {
        Self { sources: sources.to_vec(), destination, is_renamed: false }
    }
}

impl NamePair for FromRemote {
    fn from(&self, path: &[u8]) -> String {
        if let (true, Some(source)) = (self.is_renamed, self.sources.first()) {
            return source.shown();
        }
        let of = |source: &Remote, path: &[u8]| shown(&source.address, &String::from_utf8_lossy(path));
        let (top, rest) = split_top(path);
        if let Some(source) = self.sources.iter().find(|source| source.file_name().map(OsStr::as_bytes) == Some(top)) {
            return of(source, &[source.path.as_bytes(), rest].concat());
        }
        // What is in a directory, or what a pattern stands for.
        let Some(source) = self.sources.first() else { return String::from_utf8_lossy(path).into_owned() };
        let above = source.path.as_bytes().rsplitn(2, |byte| *byte == b'/').nth(1).unwrap_or_default();
        of(source, &join(above, path))
    }

    fn to(&self, path: &[u8]) -> String {
        let path = Path::new(OsStr::from_bytes(path));
        let to = if self.is_renamed { self.destination.clone() } else { self.destination.join(path) };
        to.to_string_lossy().into_owned()
    }

    fn placed(&mut self, _: &[u8], name: Option<&[u8]>) {
        self.is_renamed = name.is_some();
    }
}

/// The names of files that are sent.
#[derive(Debug)]
pub struct ToRemote {
    sources: Vec<OsString>,
    remote: Remote,
    /// Where it goes over there, and the new name of a single file.
    placed: Option<(Vec<u8>, Option<Vec<u8>>)>,
}

impl ToRemote {
    /// For what is sent from `sources` to `remote`.
    pub fn new(sources: &[OsString], remote: &Remote) -> Self {
        Self { sources: sources.to_vec(), remote: remote.clone(), placed: None }
    }

    /// Whether it is a single file, which gets another name.
    fn is_renamed(&self) -> bool {
        matches!(self.placed, Some((_, Some(_))))
    }
}

impl NamePair for ToRemote {
    fn from(&self, path: &[u8]) -> String {
        let (top, rest) = split_top(path);
        let is_top = |source: &&OsString| Path::new(source).file_name().map(OsStr::as_bytes) == Some(top);
        let holds = |source: &&OsString| {
            means_contents(source.as_bytes())
                && Path::new(source).join(OsStr::from_bytes(path)).symlink_metadata().is_ok()
        };
        let holder = if self.sources.len() > 1 { self.sources.iter().find(holds) } else { None };
        let is_top = |source: &&OsString| is_top(source) && !means_contents(source.as_bytes());
        let from = match (self.sources.iter().find(is_top), holder.or(self.sources.first())) {
            (Some(source), _) => [source.as_bytes(), rest].concat(),
            (None, Some(source)) if self.is_renamed() => source.as_bytes().to_vec(),
            (None, Some(source)) => join(source.as_bytes(), path),
            (None, None) => path.to_vec(),
        };
        String::from_utf8_lossy(&from).into_owned()
    }

    fn to(&self, path: &[u8]) -> String {
        let to = match &self.placed {
            Some((place, Some(name))) => join(place, name),
            Some((place, None)) => join(place, path),
            None => return self.remote.shown(),
        };
        shown(&self.remote.address, &String::from_utf8_lossy(&to))
    }

    fn placed(&mut self, path: &[u8], name: Option<&[u8]>) {
        self.placed = Some((path.to_vec(), name.map(<[u8]>::to_vec)));
    }
}

/// The names of files that go from another machine to a third.
#[derive(Debug)]
pub struct Between {
    from: FromRemote,
    to: ToRemote,
}

impl Between {
    /// For what goes from `sources` to `remote`.
    pub fn new(sources: &[Remote], remote: &Remote) -> Self {
        Self { from: FromRemote::new(sources, PathBuf::new()), to: ToRemote::new(&[], remote) }
    }
}

impl NamePair for Between {
    fn from(&self, path: &[u8]) -> String {
        self.from.from(path)
    }

    fn to(&self, path: &[u8]) -> String {
        self.to.to(path)
    }

    fn placed(&mut self, path: &[u8], name: Option<&[u8]>) {
        self.from.placed(path, name);
        self.to.placed(path, name);
    }
}

/// A path's first part, and the rest with its slash.
fn split_top(path: &[u8]) -> (&[u8], &[u8]) {
    path.split_at(path.iter().position(|byte| *byte == b'/').unwrap_or(path.len()))
}

fn join(above: &[u8], path: &[u8]) -> Vec<u8> {
    if above.is_empty() || path.is_empty() || above.ends_with(b"/") {
        return [above, path].concat();
    }
    [above, b"/", path].concat()
}

/// Whether nothing but a colon makes it a `HOST:PATH`.
fn is_bare(bytes: &[u8]) -> bool {
    !["tcp://", "tls://", "unix:", "["].iter().any(|sign| bytes.starts_with(sign.as_bytes()))
}

/// What stands before `://`, if it is not one of ours.
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
