//! Proxies, as the environment names them: `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, with the rules
//! that most programs share.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use percent_encoding::percent_decode_str;

use super::url::{Origin, Scheme, Url};

/// A proxy that speaks HTTP.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Where it is.
    pub origin: Origin,
    /// The value of `Proxy-Authorization`; `None`: it needs none.
    pub authorization: Option<String>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxy({})", self.origin)
    }
}

/// The settings of an environment.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    exceptions: Vec<Exception>,
}

/// What a variable says is no proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {why}")]
pub struct ProxyError {
    variable: &'static str,
    why: String,
}

impl Proxies {
    /// From the variables, each looked up with `lookup`; `exceptions` takes the place of `no_proxy` where it is given.
    /// `HTTP_PROXY` in capitals is not looked at: a web server makes it of what a stranger sent (RFC 3875, 4.1.18).
    ///
    /// # Errors
    /// A proxy's address cannot be understood, or it is of another kind.
    pub fn of(lookup: impl Fn(&'static str) -> Option<String>, exceptions: Option<&str>) -> Result<Self, ProxyError> {
        let first = |names: &[&'static str]| -> Result<Option<Proxy>, ProxyError> {
            let found = names.iter().find_map(|name| Some((*name, lookup(name).filter(|value| !value.is_empty())?)));
            found.map(|(name, value)| parse(&value).map_err(|why| ProxyError { variable: name, why })).transpose()
        };
        let http = first(&["http_proxy", "all_proxy", "ALL_PROXY"])?;
        let https = first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])?;
        let no_proxy = exceptions.map(str::to_owned).or_else(|| lookup("no_proxy")).or_else(|| lookup("NO_PROXY"));
        let exceptions = no_proxy.unwrap_or_default();
        let exceptions = exceptions.split([',', ' ']).filter(|entry| !entry.is_empty()).map(Exception::parse);
        Ok(Self { http, https, exceptions: exceptions.collect() })
    }

    /// The proxy for `url`; `None`: its host is dialled itself.
    pub fn for_url(&self, url: &Url) -> Option<&Proxy> {
        let origin = url.origin();
        let proxy = match origin.scheme {
            Scheme::Http => self.http.as_ref(),
            Scheme::Https => self.https.as_ref(),
        };
        proxy.filter(|_| !self.exceptions.iter().any(|exception| exception.covers(origin)))
    }
}

/// `http://user:password@host:port`, or without the scheme.
fn parse(value: &str) -> Result<Proxy, String> {
    let (scheme, rest) = value.split_once("://").unwrap_or(("http", value));
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(format!("a proxy of the kind {scheme} is not supported, only http://"));
    }
    let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (user, host) = match rest.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, rest),
    };
    let url = Url::parse(&format!("http://{host}/")).map_err(|error| error.to_string())?;
    let mut origin = url.origin().clone();
    let behind_brackets = host.rsplit(']').next().unwrap_or_default();
    if !behind_brackets.contains(':') {
        // As other programs have it where no port is named.
        origin.port = 1080;
    }
    let authorization = user.map(|user| {
        let user: Vec<u8> = percent_decode_str(user).collect();
        format!("Basic {}", BASE64.encode(user))
    });
    Ok(Proxy { origin, authorization })
}

/// One entry of `no_proxy`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Exception {
    Everything,
    /// A name with all below it, at one port or all.
    Domain {
        name: String,
        port: Option<u16>,
    },
    /// Addresses with the same leading bits.
    Network {
        address: IpAddr,
        bits: u32,
    },
}

impl Exception {
    fn parse(entry: &str) -> Self {
        if entry == "*" {
            return Self::Everything;
        }
        let (address, bits) = entry.split_once('/').unwrap_or((entry, "128"));
        let plain = address.trim_start_matches('[').trim_end_matches(']');
        if let (Ok(address), Ok(bits)) = (plain.parse(), bits.parse()) {
            return Self::Network { address, bits };
        }
        let (name, port) = match entry.rsplit_once(':').map(|(name, port)| (name, port.parse())) {
            Some((name, Ok(port))) => (name, Some(port)),
            _ => (entry, None),
        };
        let name = name.trim_start_matches('*').trim_start_matches('.').trim_matches(['[', ']']);
        Self::Domain { name: name.to_ascii_lowercase(), port }
    }

    fn covers(&self, origin: &Origin) -> bool {
        let host = origin.host.trim_end_matches('.');
        match self {
            Self::Everything => true,
            Self::Domain { name, port } => {
                let is_below = host == name || host.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.'));
                is_below && !name.is_empty() && port.is_none_or(|port| port == origin.port)
            }
            Self::Network { address, bits } => match (address, host.parse()) {
                (IpAddr::V4(network), Ok(IpAddr::V4(host))) => same_beginning(
                    u128::from(network.to_bits()) << 96,
                    u128::from(host.to_bits()) << 96,
                    (*bits).min(32),
                ),
                (IpAddr::V6(network), Ok(IpAddr::V6(host))) => {
                    same_beginning(network.to_bits(), host.to_bits(), (*bits).min(128))
                }
                _ => false,
            },
        }
    }
}

fn same_beginning(one: u128, other: u128, bits: u32) -> bool {
    (one ^ other).leading_zeros() >= bits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &'static [(&'static str, &'static str)]) -> Result<Proxies, ProxyError> {
        let lookup = |name| variables.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned());
        Proxies::of(lookup, None)
    }

    fn used(variables: &'static [(&'static str, &'static str)], url: &str) -> Option<String> {
        let proxies = proxies(variables).unwrap();
        proxies.for_url(&Url::parse(url).unwrap()).map(|proxy| proxy.origin.host_and_port())
    }

    #[test]
    fn the_variables_mean_what_they_do_elsewhere() {
        let plain: &[_] = &[("http_proxy", "http://p:3128")];
        assert_eq!(used(plain, "http://a/").as_deref(), Some("p:3128"));
        assert_eq!(used(plain, "https://a/"), None);
        assert_eq!(used(&[("HTTPS_PROXY", "p:3128/")], "https://a/").as_deref(), Some("p:3128"));
        assert_eq!(used(&[("all_proxy", "p")], "https://a/").as_deref(), Some("p:1080"));
        assert_eq!(used(&[("all_proxy", "[::1]")], "https://a/").as_deref(), Some("[::1]:1080"));
        assert_eq!(used(&[("all_proxy", "http://p:80")], "https://a/").as_deref(), Some("p:80"));
        assert_eq!(used(&[("HTTP_PROXY", "http://p:3128")], "http://a/"), None, "a stranger may have set it");
        assert_eq!(used(&[("http_proxy", "")], "http://a/"), None);
        for bad in ["socks5://p:1080", "https://p:443"] {
            assert!(parse(bad).unwrap_err().contains("not supported"), "{bad}");
        }
        assert!(parse("p:99999").is_err());
        let proxy = parse("http://u:p%40s@host:1").unwrap();
        assert_eq!(proxy.authorization.as_deref(), Some("Basic dTpwQHM="));
        assert!(!format!("{proxy:?}").contains("dTpw"));
    }

    #[test]
    fn no_proxy_leaves_hosts_out() {
        for (exceptions, url, is_direct) in [
            ("*", "http://a/", true),
            ("example.com", "http://example.com/", true),
            ("example.com", "http://www.EXAMPLE.com/", true),
            (".example.com", "http://example.com/", true),
            ("*.example.com", "http://www.example.com/", true),
            ("example.com", "http://badexample.com/", false),
            ("example.com:81", "http://example.com/", false),
            ("example.com:80", "http://example.com/", true),
            ("other, 127.0.0.0/8", "http://127.1.2.3/", true),
            ("127.0.0.1", "http://127.0.0.2/", false),
            ("10.0.0.0/9", "http://10.200.0.1/", false),
            ("::1", "http://[::1]/", true),
            ("fd00::/8", "http://[fd12::1]/", true),
            (",", "http://a/", false),
            (".", "http://a/", false),
        ] {
            let lookup = |name| match name {
                "http_proxy" => Some("p:1".to_owned()),
                "no_proxy" => Some(exceptions.to_owned()),
                _ => None,
            };
            let proxies = Proxies::of(lookup, None).unwrap();
            assert_eq!(proxies.for_url(&Url::parse(url).unwrap()).is_none(), is_direct, "{exceptions}: {url}");
            let overridden = Proxies::of(lookup, Some("")).unwrap();
            assert!(overridden.for_url(&Url::parse(url).unwrap()).is_some());
        }
    }
}
