//! What people call machines: the `hosts` section of `config.toml`.
//!
//! ```toml
//! [hosts]
//! build = "build.example:7000"
//! ```

use toml_edit::Document;

use super::home::{Home, HomeError};
use super::peers::check_name;
use crate::net::Address;

/// The file in the home.
pub const FILE: &str = "config.toml";

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is not what it should be.
    #[error("{path}: line {line}: {why}")]
    Broken {
        /// The file.
        path: String,
        /// Where, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// It cannot be read.
    #[error(transparent)]
    Home(#[from] HomeError),
}

/// The address that `config.toml` gives for `name`, if it does.
///
/// # Errors
/// The file is broken: whoever misspelt a section wants to know.
pub fn look_up(home: &Home, name: &str) -> Result<Option<Address>, ConfigError> {
    let Some(bytes) = home.read(FILE)? else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes);
    parse(&text, name).map_err(|(at, why)| ConfigError::Broken {
        path: home.join(FILE).display().to_string(),
        line: text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1,
        why,
    })
}

fn parse(text: &str, wanted: &str) -> Result<Option<Address>, (usize, String)> {
    let at = |span: Option<std::ops::Range<usize>>| span.map_or(0, |span| span.start);
    let document = Document::parse(text).map_err(|error| (at(error.span()), error.message().replace('\n', ", ")))?;
    let mut found = None;
    for (section, item) in document.iter() {
        let table = item.as_table_like().filter(|_| section == "hosts");
        let table = table.ok_or_else(|| (at(item.span()), format!("{section} is not known; there is [hosts]")))?;
        for (name, item) in table.iter() {
            let wrong = |why: String| (at(item.span()), format!("{name}: {why}"));
            check_name(name).map_err(wrong)?;
            let address = item.as_str().ok_or_else(|| wrong("wants an address in quotes".into()))?;
            let address =
                address.parse().map_err(|error: crate::net::address::AddressError| wrong(error.to_string()))?;
            if name == wanted {
                found = Some(address);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_and_mistakes_are_told() {
        let good = "[hosts]\nbuild = \"build.example:7000\"\n\n";
        assert_eq!(parse(good, "build").unwrap().unwrap().to_string(), "build.example:7000");
        assert_eq!(parse(good, "other"), Ok(None));
        for (text, at, why) in [
            ("[host]\nx = \"y\"", 0, "host is not known"),
            ("[hosts]\nx = 7", 12, "wants an address"),
            ("[hosts]\nx = \"a b\"", 12, "is not an address"),
            ("[hosts]\n\"a b\" = \"c\"", 16, "cannot be a peer's name"),
            ("[hosts", 6, "unclosed"),
        ] {
            let (found, said) = parse(text, "x").unwrap_err();
            assert_eq!(found, at, "{text}: {said}");
            assert!(said.contains(why), "{said}");
        }
    }
}
