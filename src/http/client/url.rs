//! URLs of the web: taken apart, and references resolved against them (RFC 3986; RFC 9110, 4.2).
//!
//! The crate `url` would bring the tables of all the world's scripts, a megabyte of them, for host names that are not
//! ASCII. Such a name is refused here with the advice to write it as DNS has it (`xn--…`).

use std::fmt;
use std::str::FromStr as _;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::net::Address;

/// Longest URL, in bytes: more than any server takes (RFC 9110, 4.1 recommends 8,000 at least).
pub const URL_LEN_MAX: usize = 64 * 1024;

/// What may not stand in a path or a query as it is (RFC 3986, 3.3 and 3.4). A percent sign stays: what is encoded is
/// not encoded again.
const NOT_IN_PATH: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

/// What is spoken to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// HTTP over TCP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// As it stands in a URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port where a URL names none (RFC 9110, 4.2.1 and 4.2.2).
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Scheme, host and port: who may see the same secrets (RFC 9110, 4.3.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// What is spoken.
    pub scheme: Scheme,
    /// Name or IP address in lower case, without brackets.
    pub host: String,
    /// The port, also where the URL names none.
    pub port: u16,
}

impl Origin {
    /// What the field `Host` says of it (RFC 9110, 7.2): the port only where it is not the usual one.
    pub fn authority(&self) -> String {
        let host = self.bracketed();
        if self.port == self.scheme.default_port() { host } else { format!("{host}:{}", self.port) }
    }

    /// Host and port in any case, as CONNECT wants them (RFC 9110, 9.3.6).
    pub fn host_and_port(&self) -> String {
        format!("{}:{}", self.bracketed(), self.port)
    }

    fn bracketed(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }

    /// The same, for who dials.
    pub fn address(&self) -> Address {
        Address::Tcp { host: self.host.clone(), port: Some(self.port), scheme: crate::net::address::Scheme::Unsaid }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority())
    }
}

/// An absolute URL with `http` or `https`; its fragment is dropped (RFC 9110, 4.2.5).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Url {
    origin: Origin,
    /// Begins with a slash.
    path: String,
    /// What stands behind the question mark; `None`: there is none.
    query: Option<String>,
}

/// The text is no URL that can be fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?}: {why}")]
pub struct UrlError {
    /// The text, with what may be a password left out.
    text: String,
    /// What is wrong with it.
    why: String,
}

impl UrlError {
    fn new(text: &str, why: impl Into<String>) -> Self {
        Self { text: without_user(text), why: why.into() }
    }
}

/// The text with `…` in the place of a user and a password, which are not to be repeated.
fn without_user(text: &str) -> String {
    let start = text.find("//").map_or(0, |at| at + 2);
    let (before, rest) = text.split_at(start);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, after) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{before}…@{host}{after}"),
        None => text.to_owned(),
    }
}

impl Url {
    /// Parses an absolute URL. Blanks and characters that are not ASCII, as people paste them, are percent-encoded in
    /// path and query.
    ///
    /// # Errors
    /// It has another scheme or none, a user or a password, no host, or characters that no URL has.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let error = |why: &str| UrlError::new(text, why);
        check_characters(text)?;
        let Some((scheme, rest)) = split_scheme(text) else {
            return Err(error("is no URL; write it with its scheme, as in https://host/path"));
        };
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => {
                return Err(UrlError::new(text, format!("{other} is not spoken here, only http:// and https://")));
            }
        };
        let rest = rest.strip_prefix("//").ok_or_else(|| error("the two slashes in front of the host are missing"))?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let (host, port) = split_authority(authority).map_err(|why| UrlError::new(text, why))?;
        let origin = Origin { scheme, host, port: port.unwrap_or(scheme.default_port()) };
        let (path, query) = split_path(rest);
        Ok(Self { origin, path: without_dots(&path), query })
    }

    /// The URL that `reference` means here (RFC 3986, 5.2), as in the field `Location`.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn join(&self, reference: &str) -> Result<Self, UrlError> {
        check_characters(reference)?;
        if split_scheme(reference).is_some() {
            return Self::parse(reference);
        }
        if reference.starts_with("//") {
            return Self::parse(&format!("{}:{reference}", self.origin.scheme.as_str()));
        }
        let (path, query) = split_path(reference);
        let origin = self.origin.clone();
        let is_path_empty = matches!(reference.chars().next(), None | Some('?' | '#'));
        if is_path_empty {
            let query = if reference.starts_with('?') { query } else { self.query.clone() };
            return Ok(Self { origin, path: self.path.clone(), query });
        }
        let path = if reference.starts_with('/') {
            path
        } else {
            let dir = self.path.rsplit_once('/').map_or("", |(dir, _)| dir);
            format!("{dir}{path}")
        };
        Ok(Self { origin, path: without_dots(&path), query })
    }

    /// Whom it belongs to.
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether it goes over TLS.
    pub const fn is_encrypted(&self) -> bool {
        matches!(self.origin.scheme, Scheme::Https)
    }

    /// The target of a request to the origin itself (RFC 9112, 3.2.1).
    pub fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// The bytes of the last segment of the path, decoded; empty behind a slash.
    pub fn last_segment(&self) -> Vec<u8> {
        let last = self.path.rsplit('/').next().unwrap_or_default();
        percent_decode_str(last).collect()
    }

    /// The same URL with `name` behind its path.
    #[must_use]
    pub fn with_name(&self, name: &[u8]) -> Self {
        let name = percent_encoding::percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string();
        let name = name.replace("%2E", ".").replace("%2D", "-").replace("%5F", "_").replace("%7E", "~");
        Self { path: format!("{}{name}", self.path), ..self.clone() }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.target())
    }
}

impl std::str::FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        Self::parse(text)
    }
}

fn check_characters(text: &str) -> Result<(), UrlError> {
    if text.len() > URL_LEN_MAX {
        let beginning: String = text.chars().take(64).collect();
        let why = format!("has {} bytes, over {URL_LEN_MAX}", text.len());
        return Err(UrlError::new(&format!("{beginning}…"), why));
    }
    match text.chars().find(|character| character.is_control()) {
        Some(character) => Err(UrlError::new(text, format!("has {character:?} in it, which no URL has"))),
        None => Ok(()),
    }
}

/// The scheme, if the text begins with one (RFC 3986, 3.1). `host:80` has none, since a digit follows.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
        && !rest.starts_with(|next: char| next.is_ascii_digit());
    is_scheme.then_some((scheme, rest))
}

fn split_authority(authority: &str) -> Result<(String, Option<u16>), String> {
    if authority.contains('@') {
        return Err("has a user or a password in it, which other users of this machine can read in the list of \
                    processes; leave it out, and put it into a file of credentials"
            .into());
    }
    if authority.contains(['\\', '%', ' ']) {
        return Err("has a character in its host that no host has".into());
    }
    if !authority.is_ascii() {
        return Err("has a host that is not ASCII; write it as DNS has it, with xn--".into());
    }
    let address = Address::from_str(authority.strip_suffix(':').unwrap_or(authority));
    let (host, port) = match address.map_err(|error| error.to_string())? {
        Address::Tcp { host, port, .. } => (host, port),
        Address::Unix(_) => return Err("has a Unix socket in the place of its host".into()),
    };
    // An IPv6 address has brackets (RFC 3986, 3.2.2).
    if host.contains(':') && !authority.starts_with('[') {
        return Err("has an IPv6 address without brackets".into());
    }
    let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
    if !host.chars().all(is_host) {
        return Err("has a character in its host that no host has".into());
    }
    Ok((host.to_ascii_lowercase(), port))
}

/// Path, with a slash in front, and query, both percent-encoded where need be; the fragment is dropped.
fn split_path(text: &str) -> (String, Option<String>) {
    let text = text.split_once('#').map_or(text, |(text, _fragment)| text);
    let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
    let encoded = |text: &str| utf8_percent_encode(text, NOT_IN_PATH).to_string();
    let slash = if path.starts_with('/') { "" } else { "/" };
    (format!("{slash}{}", encoded(path)), query.map(encoded))
}

/// RFC 3986, 5.2.4: without `.` and `..`, also where these are percent-encoded, as browsers have it.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut is_dir = false;
    for segment in path.split('/').skip(1) {
        let plain = segment.replace("%2e", ".").replace("%2E", ".");
        is_dir = true;
        match plain.as_str() {
            "." => {}
            ".." => drop(kept.pop()),
            _ => {
                kept.push(segment);
                is_dir = false;
            }
        }
    }
    let end = if is_dir { "/" } else { "" };
    if kept.is_empty() { "/".to_owned() } else { format!("/{}{end}", kept.join("/")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (text, want, target, host) in [
            ("http://example.com", "http://example.com/", "/", "example.com"),
            ("HTTP://EXAMPLE.com:80/", "http://example.com/", "/", "example.com"),
            ("https://example.com:443/a", "https://example.com/a", "/a", "example.com"),
            ("https://example.com:80/a", "https://example.com:80/a", "/a", "example.com:80"),
            ("http://example.com:/x", "http://example.com/x", "/x", "example.com"),
            ("http://[::1]:8080/x?y#z", "http://[::1]:8080/x?y", "/x?y", "[::1]:8080"),
            ("http://a?b=c/d", "http://a/?b=c/d", "/?b=c/d", "a"),
            ("http://a/#frag?ment", "http://a/", "/", "a"),
            ("http://a/b c/ü%20%zz?q=\"", "http://a/b%20c/%C3%BC%20%zz?q=%22", "/b%20c/%C3%BC%20%zz?q=%22", "a"),
            ("http://a/b/../c/./d/..", "http://a/c/", "/c/", "a"),
            ("http://a/../../b", "http://a/b", "/b", "a"),
            ("http://a/%2e%2E/b//c", "http://a/b//c", "/b//c", "a"),
            ("http://a/b\\c", "http://a/b%5Cc", "/b%5Cc", "a"),
            ("http://127.0.0.1:8000/x@y", "http://127.0.0.1:8000/x@y", "/x@y", "127.0.0.1:8000"),
        ] {
            let url = Url::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((url.to_string().as_str(), url.target().as_str()), (want, target), "{text}");
            assert_eq!(url.origin().authority(), host, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_fetched_is_refused_with_a_reason() {
        for (text, why) in [
            ("example.com/x", "is no URL"),
            ("localhost:8000", "is no URL"),
            ("ftp://a/b", "ftp is not spoken"),
            ("file:///etc/passwd", "file is not spoken"),
            ("http:/a", "slashes"),
            ("http://", "host is missing"),
            ("http:///a", "host is missing"),
            ("http://user:secret@a/", "credentials"),
            ("http://good\\@evil/", "credentials"),
            ("http://a b/", "no host has"),
            ("http://a%41/", "no host has"),
            ("http://münchen.example/", "xn--"),
            ("http://a:70000/", "port"),
            ("http://a:x/", "port"),
            ("http://::1/", "brackets"),
            ("http://0x7f.1/", "a number is no host"),
            ("http://127.1/", "a number is no host"),
            ("http://a/\r\nX: y", "'\\r'"),
            ("http://a/\0", "'\\0'"),
            ("http://a!b/", "no host has"),
        ] {
            let error = Url::parse(text).expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(Url::parse(&format!("http://a/{}", "x".repeat(URL_LEN_MAX))).is_err());
    }

    /// RFC 3986, 5.4, with its base; `http:g` is that of a strict parser, which is no URL here.
    #[test]
    fn references_are_resolved_as_the_standard_does() {
        let base = Url::parse("http://a/b/c/d;p?q").unwrap();
        for (reference, want) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g/"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("g#s", "http://a/b/c/g"),
            ("g?y#s", "http://a/b/c/g?y"),
            (";x", "http://a/b/c/;x"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("./", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../g", "http://a/g"),
            ("../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            ("..g", "http://a/b/c/..g"),
            ("./g/.", "http://a/b/c/g/"),
            ("g/./h", "http://a/b/c/g/h"),
            ("g/../h", "http://a/b/c/h"),
            ("g;x=1/../y", "http://a/b/c/y"),
            ("g?y/./x", "http://a/b/c/g?y/./x"),
            ("g#s/../x", "http://a/b/c/g"),
            ("https://other/x", "https://other/x"),
        ] {
            assert_eq!(base.join(reference).unwrap().to_string(), want, "{reference}");
        }
        for bad in ["http:g", "javascript:x", "http://u@v/", "/\n", "//"] {
            assert!(base.join(bad).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_understood_is_understood_again(text in "[a-zé:/?#@%.\\\\ \\[\\]0-9]{0,40}") {
            let base = Url::parse("http://a/b/c?d").unwrap();
            for url in [Url::parse(&format!("http://{text}")), base.join(&text)].into_iter().flatten() {
                assert_eq!(Url::parse(&url.to_string()).as_ref(), Ok(&url), "{text:?}");
                assert!(url.target().starts_with('/') && url.to_string().is_ascii(), "{url}");
            }
        }
    }

    #[test]
    fn a_name_goes_behind_a_directory() {
        let url = Url::parse("http://a/b/").unwrap().with_name(b"x y\xff.txt");
        assert_eq!(url.to_string(), "http://a/b/x%20y%FF.txt");
        assert_eq!(url.last_segment(), b"x y\xff.txt");
    }
}
