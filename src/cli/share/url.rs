//! Where a link leads: the URL of a server, as a browser elsewhere reaches it.

use crate::cli::usage::usage;
use crate::net::route::own_address;

/// How a browser reaches a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    pub(super) host: String,
    port: u16,
    /// Whether only this machine can.
    pub is_loopback: bool,
    /// Whether its name stands for an address that could not be found out.
    pub(super) is_guessed: bool,
}

impl Reach {
    /// That of a server which listens on `addresses`, by the name that its operator gives it, if any.
    ///
    /// # Errors
    /// It listens on Unix sockets only.
    pub fn of(addresses: &[String], name: Option<&str>) -> anyhow::Result<Self> {
        let listening: Vec<(&str, u16)> = addresses.iter().filter_map(|address| tcp(address)).collect();
        let is_here = |host: &str| host.starts_with("127.") || host == "[::1]";
        // One that other machines reach, and of those one for IPv4, which each phone has.
        let rank = |(host, _): &&(&str, u16)| (is_here(host), host.starts_with('['));
        let Some((host, port)) = listening.iter().min_by_key(rank).copied() else {
            return Err(usage("a link leads to a TCP address, and this server has none: bind one"));
        };
        let is_loopback = is_here(host);
        let machine = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        let mut is_guessed = false;
        let mut guess = || {
            is_guessed = true;
            machine()
        };
        let host = match (name, host) {
            (Some(name), _) => bracketed(name),
            (None, "0.0.0.0" | "[::]") => own_address(host == "[::]")
                .or_else(|| own_address(false))
                .map_or_else(&mut guess, |address| bracketed(&address.to_string())),
            (None, _) if is_loopback => "localhost".to_owned(),
            (None, _) => host.to_owned(),
        };
        Ok(Self { host, port, is_loopback, is_guessed })
    }

    /// The server's URL, without a slash at the end.
    pub fn base(&self, is_encrypted: bool) -> String {
        let Self { host, port, .. } = self;
        match (is_encrypted, port) {
            (true, 443) => format!("https://{host}"),
            (true, _) => format!("https://{host}:{port}"),
            (false, 80) => format!("http://{host}"),
            (false, _) => format!("http://{host}:{port}"),
        }
    }
}

/// An address of a listener, taken apart; `None`: it is a Unix socket.
fn tcp(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':').filter(|_| !address.starts_with("unix:"))?;
    Some((host, port.parse().ok()?))
}

fn bracketed(host: &str) -> String {
    if host.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_where_a_phone_can_go() {
        let reach = |addresses: &[&str], name| {
            let addresses: Vec<String> = addresses.iter().map(|address| (*address).to_owned()).collect();
            Reach::of(&addresses, name).map(|reach| (reach.base(false), reach.base(true), reach.is_loopback))
        };
        for (addresses, name, plain, encrypted, is_loopback) in [
            (&["127.0.0.1:8000", "[::1]:8000"][..], None, "http://localhost:8000", "https://localhost:8000", true),
            (&["127.0.0.1:8000", "10.0.0.7:80"], None, "http://10.0.0.7", "https://10.0.0.7:80", false),
            (&["[2001:db8::7]:443"], None, "http://[2001:db8::7]:443", "https://[2001:db8::7]", false),
            (&["[2001:db8::7]:1", "10.0.0.7:2"], None, "http://10.0.0.7:2", "https://10.0.0.7:2", false),
            (&["unix:/x:1", "0.0.0.0:1"], Some("a.example"), "http://a.example:1", "https://a.example:1", false),
            (&["[::]:1"], Some("2001:db8::9"), "http://[2001:db8::9]:1", "https://[2001:db8::9]:1", false),
        ] {
            let (plain, encrypted) = (plain.to_owned(), encrypted.to_owned());
            assert_eq!(reach(addresses, name).unwrap(), (plain, encrypted, is_loopback), "{addresses:?} {name:?}");
        }
        let (anywhere, _, is_loopback) = reach(&["0.0.0.0:7"], None).unwrap();
        assert!(!anywhere.contains("0.0.0.0") && !anywhere.contains("localhost") && !is_loopback, "{anywhere}");
        assert!(reach(&["unix:/run/x"], None).is_err());
    }
}
