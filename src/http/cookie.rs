//! The cookie of a session (RFC 6265, and its revision draft-ietf-httpbis-rfc6265bis for the prefix of its name).
//!
//! Cookies know no ports: a browser sends what one server of a host has set to all servers of that host. So the port is
//! in the name, as the browser sees it. Over TLS the name begins with `__Host-`, which no page of another host and no
//! plain answer can set; the cookie of a plain page has another name, and counts over plain HTTP only.

use ::http::header::{self, HeaderMap};
use ::http::uri::{Authority, Scheme};

/// What the name of a cookie of ours has in front of the port.
const STEM: &str = "landline-";
/// What a browser takes from an encrypted page only, for its host alone (rfc6265bis, 4.1.3.2).
const PREFIX: &str = "__Host-";

/// The cookies of a request with this name (RFC 6265, 5.4): their values.
pub fn values<'h>(headers: &'h HeaderMap, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
    let lines = headers.get_all(header::COOKIE).iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';')).filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = pair.split_at(at);
        Some((name.trim_ascii(), value.split_at(1).1.trim_ascii()))
    });
    pairs.filter(move |(found, _)| *found == name.as_bytes()).map(|(_, value)| value)
}

/// The cookie of one server, as one client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionCookie {
    name: String,
    is_secure: bool,
}

impl SessionCookie {
    /// That of the server that a client reached by this scheme, under this authority.
    pub fn of(scheme: &Scheme, authority: Option<&Authority>) -> Self {
        let is_secure = *scheme == Scheme::HTTPS;
        let default = if is_secure { 443 } else { 80 };
        let port = authority.and_then(Authority::port_u16).unwrap_or(default);
        let prefix = if is_secure { PREFIX } else { "" };
        Self { name: format!("{prefix}{STEM}{port}"), is_secure }
    }

    /// Its value in a request. `None`: it is not there, or it is there twice, of which another page of this host has set
    /// one: a request does not say which.
    pub fn value<'h>(&'h self, headers: &'h HeaderMap) -> Option<&'h [u8]> {
        let mut ours = values(headers, &self.name);
        let value = ours.next()?;
        (ours.next().is_none() && !value.is_empty()).then_some(value)
    }

    /// Sets it for this many seconds (`Set-Cookie`). Scripts do not see it; a page elsewhere makes a browser send it with
    /// a link that a person follows, and with nothing else.
    pub fn set(&self, value: &str, seconds: u64) -> String {
        format!("{}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{}", self.name, self.secure())
    }

    /// Lets the browser forget it (`Set-Cookie`).
    pub fn delete(&self) -> String {
        format!("{}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax{}", self.name, self.secure())
    }

    const fn secure(&self) -> &'static str {
        if self.is_secure { "; Secure" } else { "" }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cookie(scheme: &Scheme, authority: &'static str) -> SessionCookie {
        SessionCookie::of(scheme, Some(&Authority::from_static(authority)))
    }

    #[test]
    fn its_name_has_the_port_that_the_browser_sees() {
        for (scheme, authority, want) in [
            (Scheme::HTTP, "host:8000", "landline-8000"),
            (Scheme::HTTP, "host", "landline-80"),
            (Scheme::HTTP, "[::1]:8000", "landline-8000"),
            (Scheme::HTTPS, "host:5263", "__Host-landline-5263"),
            (Scheme::HTTPS, "host", "__Host-landline-443"),
        ] {
            let set = cookie(&scheme, authority).set("x", 7);
            assert!(set.starts_with(&format!("{want}=x; Path=/; Max-Age=7; HttpOnly; SameSite=Lax")), "{set}");
            // rfc6265bis, 4.1.3.2: __Host- takes Secure, a path of / and no domain.
            assert_eq!(set.ends_with("; Secure"), want.starts_with("__Host-"), "{set}");
            assert!(!set.contains("Domain"), "{set}");
            assert!(cookie(&scheme, authority).delete().contains("=; Path=/; Max-Age=0;"));
        }
        assert_eq!(SessionCookie::of(&Scheme::HTTP, None).name, "landline-80");
    }

    #[test]
    fn one_value_counts_and_of_two_none() {
        let cookie = cookie(&Scheme::HTTP, "host:8000");
        let value = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::COOKIE, line.parse().unwrap());
            }
            cookie.value(&headers).map(|value| String::from_utf8(value.to_vec()).unwrap())
        };
        for (lines, want) in [
            (&["landline-8000=abc"][..], Some("abc")),
            (&["a=b; landline-8000=abc; c=d"], Some("abc")),
            (&["a=b;landline-8000 = abc ;c"], Some("abc")),
            (&["a=b", "landline-8000=abc"], Some("abc")),
            (&["landline-8000=a=b"], Some("a=b")),
            (&["landline-80=abc; landline-80001=abc; landline-8001=abc"], None),
            (&["__Host-landline-8000=abc"], None),
            (&["Landline-8000=abc"], None),
            (&["landline-8000"], None),
            (&["landline-8000="], None),
            (&["landline-8000=abc; landline-8000=xyz"], None),
            (&["landline-8000=abc; landline-8000=abc"], None),
            (&["landline-8000=abc", "landline-8000=xyz"], None),
            (&["landline-8000=abc; landline-8000="], None),
            (&[], None),
        ] {
            assert_eq!(value(lines).as_deref(), want, "{lines:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_set_is_found_between_any_others(before in "[a-z=;, \"]{0,20}", value in "[A-Za-z0-9_-]{1,30}") {
            let cookie = cookie(&Scheme::HTTPS, "host:1");
            let set = cookie.set(&value, 1);
            let pair = set.split(';').next().unwrap();
            let line = format!("{before}; {pair}; {before}");
            let headers = HeaderMap::from_iter([(header::COOKIE, line.parse().unwrap())]);
            prop_assert_eq!(cookie.value(&headers), Some(value.as_bytes()));
        }
    }
}
