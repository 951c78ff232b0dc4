//! Names of machines and of groups of machines: the sections `hosts` and `groups` of `config.toml`.
//!
//! ```toml
//! [hosts]
//! build = "build.example:7000"
//!
//! [groups]
//! web = "web[1-3]"
//! all = "@web,build"
//! ```

use std::collections::BTreeMap;

use toml_edit::Document;

use super::home::{Home, HomeError};
use super::peers::check_name;
use crate::net::Address;
use crate::net::address::AddressError;

/// The file's name, in the home.
pub const FILE: &str = "config.toml";

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is malformed.
    #[error("{path}: line {line}: {why}")]
    Broken {
        /// The file's path.
        path: String,
        /// The line, counted from 1.
        line: usize,
        /// The reason.
        why: String,
    },
    /// It cannot be read.
    #[error(transparent)]
    Home(#[from] HomeError),
}

/// The address that `config.toml` gives for `name`; `None`: it gives none.
///
/// # Errors
/// The file cannot be read, or is malformed. A misspelt section is an error too.
pub fn look_up(home: &Home, name: &str) -> Result<Option<Address>, ConfigError> {
    Ok(read(home)?.hosts.remove(name))
}

/// The names for which `config.toml` gives an address.
///
/// # Errors
/// As [`look_up`].
pub fn names(home: &Home) -> Result<Vec<String>, ConfigError> {
    Ok(read(home)?.hosts.into_keys().collect())
}

/// The groups of `config.toml`: each name with its list of hosts, as written there.
///
/// # Errors
/// As [`look_up`].
pub fn groups(home: &Home) -> Result<BTreeMap<String, String>, ConfigError> {
    Ok(read(home)?.groups)
}

/// The content of the file.
#[derive(Debug, Default, PartialEq, Eq)]
struct HostsConfig {
    hosts: BTreeMap<String, Address>,
    groups: BTreeMap<String, String>,
}

fn read(home: &Home) -> Result<HostsConfig, ConfigError> {
    let Some(bytes) = home.read(FILE)? else { return Ok(HostsConfig::default()) };
    let text = String::from_utf8_lossy(&bytes);
    parse(&text).map_err(|(at, why)| ConfigError::Broken {
        path: home.join(FILE).display().to_string(),
        line: text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1,
        why,
    })
}

/// Parses the file; an error is the position in the text and the reason.
fn parse(text: &str) -> Result<HostsConfig, (usize, String)> {
    let at = |span: Option<std::ops::Range<usize>>| span.map_or(0, |span| span.start);
    let document = Document::parse(text).map_err(|error| (at(error.span()), error.message().replace('\n', ", ")))?;
    let mut config = HostsConfig::default();
    for (section, item) in document.iter() {
        let unknown = || (at(item.span()), format!("{section} is not known; there are [hosts] and [groups]"));
        let table = item.as_table_like().filter(|_| ["hosts", "groups"].contains(&section)).ok_or_else(unknown)?;
        for (name, item) in table.iter() {
            let wrong = |why: String| (at(item.span()), format!("{name}: {why}"));
            check_name(name).map_err(wrong)?;
            if section == "groups" {
                let list = item.as_str().ok_or_else(|| wrong("wants a list of hosts in quotes".into()))?;
                config.groups.insert(name.to_owned(), list.to_owned());
            } else {
                let address = item.as_str().ok_or_else(|| wrong("wants an address in quotes".into()))?;
                let address = address.parse().map_err(|error: AddressError| wrong(error.to_string()))?;
                config.hosts.insert(name.to_owned(), address);
            }
        }
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_and_mistakes_are_told() {
        let good = "[hosts]\nbuild = \"build.example:7000\"\n\n";
        let hosts = parse(good).unwrap().hosts;
        assert_eq!(hosts["build"].to_string(), "build.example:7000");
        assert_eq!(hosts.get("other"), None);
        let both = "[groups]\nweb = \"web[1-3]\"\nall = \"@web,build\"\n[hosts]\nweb = \"x\"\n";
        let groups = parse(both).unwrap().groups;
        assert_eq!((groups["web"].as_str(), groups["all"].as_str(), groups.len()), ("web[1-3]", "@web,build", 2));
        for (text, at, why) in [
            ("[host]\nx = \"y\"", 0, "host is not known"),
            ("[hosts]\nx = 7", 12, "wants an address"),
            ("[hosts]\nx = \"a b\"", 12, "is not an address"),
            ("[hosts]\n\"a b\" = \"c\"", 16, "cannot be a peer's name"),
            ("[hosts", 6, "unclosed"),
            ("[host]\n", 0, "host is not known"),
            ("groups = 7", 9, "groups is not known"),
            ("[groups]\nx = [\"a\"]", 13, "wants a list of hosts in quotes"),
            ("[groups]\n\"@a\" = \"c\"", 16, "cannot be"),
        ] {
            let (found, said) = parse(text).unwrap_err();
            assert_eq!(found, at, "{text}: {said}");
            assert!(said.contains(why), "{said}");
        }
    }
}
