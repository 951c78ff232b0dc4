//! Which site a request comes from, and which one it is meant for: what a web page elsewhere could have made a browser
//! send.
//!
//! Browsers say more than other programs: `Origin` (RFC 6454; Fetch, 3.2), and `Sec-Fetch-Site`, `-Mode` and `-Dest`
//! (Fetch Metadata), the latter only to servers that they trust to some degree. What they do not say proves nothing.

use std::net::IpAddr;

use ::http::header::{self, HeaderMap, HeaderName};
use ::http::uri::Authority;
use ::http::{Method, uri::Scheme};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// The names and addresses of a server: the hosts that its clients may mean.
///
/// A page elsewhere can let its own name lead to this machine (DNS rebinding); a browser then takes it and us for one
/// site. It still says that name as its Host.
#[derive(Debug, Clone, Default)]
pub struct HostNames {
    /// In lower case, without a dot at the end.
    names: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl HostNames {
    /// The names of this machine, `machine` among them, and those that the operator has added: names or addresses.
    pub fn new(machine: &str, added: &[String]) -> Self {
        let mut names = vec![normal(machine), format!("{}.local", normal(machine))];
        let mut addresses = Vec::new();
        for name in added {
            match bare_address(name) {
                Some(address) => addresses.push(address),
                None => names.push(normal(name)),
            }
        }
        names.retain(|name| !name.is_empty());
        Self { names, addresses }
    }

    /// Whether `host` is this server, on a connection that was accepted at the address `local`; `None`: at a Unix
    /// socket.
    pub fn has(&self, host: &str, local: Option<IpAddr>) -> bool {
        if let Some(address) = bare_address(host) {
            let address = address.to_canonical();
            return self.addresses.contains(&address)
                || local.is_some_and(|local| {
                    let local = local.to_canonical();
                    address == local || (local.is_loopback() && address.is_loopback())
                });
        }
        let host = normal(host);
        // RFC 6761, 6.3: localhost and what is below it never leads elsewhere.
        host == "localhost" || host.ends_with(".localhost") || self.names.contains(&host)
    }
}

fn normal(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn bare_address(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// Where a request comes from, as far as its client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// A page of ours, or a person who typed the address: a browser says so.
    Own,
    /// The client says nothing: most likely it is no browser.
    Unsaid,
    /// A page elsewhere has led a person here: what comes back is shown to the person, and the page learns nothing.
    Navigation,
    /// A page elsewhere.
    Foreign,
}

impl Site {
    /// Where a request to `own`, which came by `scheme`, comes from.
    pub fn of(method: &Method, headers: &HeaderMap, own: Option<&Authority>, scheme: &Scheme) -> Self {
        let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let origin = match text(&header::ORIGIN) {
            None => Self::Unsaid,
            Some(origin) if own.is_some_and(|own| is_same_origin(origin, own, scheme)) => Self::Own,
            Some(_) => Self::Foreign,
        };
        let is_one = headers.get_all(header::ORIGIN).iter().count() <= 1;
        let site = match text(&SEC_FETCH_SITE) {
            None => Self::Unsaid,
            Some("same-origin" | "none") => Self::Own,
            // Another port of this host is the same site, and not ours.
            Some(_) => Self::Foreign,
        };
        let is_shown = text(&SEC_FETCH_MODE) == Some("navigate") && text(&SEC_FETCH_DEST) == Some("document");
        match (origin, site) {
            _ if !is_one => Self::Foreign,
            (Self::Unsaid, Self::Foreign) if is_shown && *method == Method::GET => Self::Navigation,
            (Self::Foreign, _) | (_, Self::Foreign) => Self::Foreign,
            (Self::Own, _) | (_, Self::Own) => Self::Own,
            _ => Self::Unsaid,
        }
    }

    /// Whether a page elsewhere may have caused the request, and could profit from who its reader is.
    pub const fn is_foreign(self) -> bool {
        matches!(self, Self::Foreign)
    }
}

/// Whether `origin` is `scheme://own` (RFC 6454, 5).
fn is_same_origin(origin: &str, own: &Authority, scheme: &Scheme) -> bool {
    let Some((said, authority)) = origin.split_once("://") else { return false };
    let Ok(authority) = Authority::try_from(authority) else { return false };
    if authority.as_str().contains('@') {
        return false;
    }
    let default = if *scheme == Scheme::HTTPS { 443 } else { 80 };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(default);
    said == scheme.as_str() && authority.host().eq_ignore_ascii_case(own.host()) && port(&authority) == port(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_its_names() {
        let names = HostNames::new("Build7", &["files.example.".into(), "192.0.2.9".into(), "[2001:db8::1]".into()]);
        let at = |host: &str, local: &str| names.has(host, local.parse().ok());
        for (host, local, want) in [
            ("localhost", "127.0.0.1", true),
            ("LOCALHOST.", "127.0.0.1", true),
            ("a.localhost", "127.0.0.1", true),
            ("build7", "10.0.0.1", true),
            ("build7.local", "10.0.0.1", true),
            ("files.example", "10.0.0.1", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.1.2.3", "127.0.0.1", true),
            ("[::1]", "127.0.0.1", true),
            ("[::ffff:10.0.0.1]", "10.0.0.1", true),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("192.0.2.9", "10.0.0.1", true),
            ("[2001:db8::1]", "10.0.0.1", true),
            ("127.0.0.1", "10.0.0.1", false),
            ("10.0.0.2", "10.0.0.1", false),
            ("0.0.0.0", "127.0.0.1", false),
            ("evil.example", "127.0.0.1", false),
            ("localhost.evil.example", "127.0.0.1", false),
            ("evillocalhost", "127.0.0.1", false),
            ("127.0.0.1.nip.io", "127.0.0.1", false),
            ("", "127.0.0.1", false),
            ("127.0.0.1", "unix", false),
            ("localhost", "unix", true),
        ] {
            assert_eq!(at(host, local), want, "{host} at {local}");
        }
    }

    #[test]
    fn a_page_elsewhere_is_known() {
        let own = Authority::from_static("host:5263");
        let site = |method: &Method, lines: &[(&'static str, &'static str)]| {
            let headers: HeaderMap =
                lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect();
            Site::of(method, &headers, Some(&own), &Scheme::HTTP)
        };
        let navigation =
            [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
        let framed = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
        for (lines, want) in [
            (&[][..], Site::Unsaid),
            (&[("origin", "http://host:5263")], Site::Own),
            (&[("origin", "http://HOST:5263")], Site::Own),
            (&[("origin", "https://host:5263")], Site::Foreign),
            (&[("origin", "http://host")], Site::Foreign),
            (&[("origin", "http://host:5264")], Site::Foreign),
            (&[("origin", "http://host:5263.evil.example")], Site::Foreign),
            (&[("origin", "null")], Site::Foreign),
            (&[("origin", "http://evil@host:5263")], Site::Foreign),
            (&[("origin", "")], Site::Foreign),
            (&[("sec-fetch-site", "none")], Site::Own),
            (&[("sec-fetch-site", "same-origin")], Site::Own),
            (&[("sec-fetch-site", "same-site")], Site::Foreign),
            (&[("sec-fetch-site", "cross-site")], Site::Foreign),
            (&[("sec-fetch-site", "new-word")], Site::Foreign),
            (&[("origin", "http://host:5263"), ("sec-fetch-site", "cross-site")], Site::Foreign),
            (&[("origin", "null"), ("sec-fetch-site", "same-origin")], Site::Foreign),
            (&navigation, Site::Navigation),
            (&framed, Site::Foreign),
        ] {
            assert_eq!(site(&Method::GET, lines), want, "{lines:?}");
        }
        assert_eq!(site(&Method::POST, &navigation), Site::Foreign);
        let mut twice = HeaderMap::new();
        twice.append(header::ORIGIN, "http://host:5263".parse().unwrap());
        twice.append(header::ORIGIN, "http://evil.example".parse().unwrap());
        assert_eq!(Site::of(&Method::GET, &twice, Some(&own), &Scheme::HTTP), Site::Foreign);
        assert!(!is_same_origin("http://host", &Authority::from_static("host:443"), &Scheme::HTTP));
        assert!(is_same_origin("https://host", &Authority::from_static("host:443"), &Scheme::HTTPS));
    }
}
