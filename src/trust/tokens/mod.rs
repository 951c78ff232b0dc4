//! Tokens: secrets with which programs that speak HTTP prove who they are. One file that people can read and edit:
//!
//! ```toml
//! [ci]
//! sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"   # of the token, as printf %s | sha256sum
//! services = "read"
//! root = "dist"                       # below the server's root, if not all of it
//! expires = "2026-12-27T19:46:00Z"    # if it ever does
//! added = "2026-11-27T19:46:00Z"
//! ```
//!
//! The file has the hash of a token, never the token: a copy of the file lets no one in. A plain SHA-256 is enough,
//! since a token is 128 random bits: no dictionary has it, and a slow hash would only slow the server down.

mod secret;

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};
use toml_edit::{Table, Value};

pub use self::secret::{Secret, SecretFileError, TOKEN_PREFIX, TYPED_SECRET_LEN_MAX, TYPED_SECRET_LEN_MIN};
use super::list::{
    Entry, List, ListError, ListForOpen, ListState, SpannedWhy, Watched, Words, check_name, checked_root, set,
};
use super::time::Moment;
use super::{Service, Services};

const HEADER: &str = "\
# The tokens that are taken here, one a section, each by its hash. tcp-server token shows and changes them;
# so may you: a change holds within a second, for what is open too.
";

/// The SHA-256 of a token. To look it up takes no constant time, which gives nothing away: what an attacker can choose
/// is a token, and how the hash of one differs from a hash here says nothing about the next one to try.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenId([u8; 32]);

impl TokenId {
    /// The id of a token as it was presented, whatever it is.
    pub fn of(presented: &[u8]) -> Self {
        Self(Sha256::digest(presented).into())
    }

    /// Its 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TokenId {
    /// Not the hash: a secret that a person has chosen could be guessed from it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenId(..)")
    }
}

impl fmt::Display for TokenId {
    /// 64 hexadecimal digits, as `sha256sum` writes them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The text is no hash of a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is no SHA-256: it takes 64 hexadecimal digits, as printf %s TOKEN | sha256sum prints them")]
pub struct NoTokenId;

impl FromStr for TokenId {
    type Err = NoTokenId;

    fn from_str(text: &str) -> Result<Self, NoTokenId> {
        let mut id = [0; 32];
        if text.len() != 2 * id.len() || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(NoTokenId);
        }
        for (byte, digits) in id.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_no_text| NoTokenId)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_no_digit| NoTokenId)?;
        }
        Ok(Self(id))
    }
}

/// A token that is taken here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its name here.
    pub name: String,
    /// Its hash.
    pub id: TokenId,
    /// What it gives: [`Service::Read`] and [`Service::Write`] at most.
    pub services: Services,
    /// The directory below the server's root that it shows; `None`: all of it.
    pub root: Option<String>,
    /// From when on it is not taken any more; `None`: it does not expire.
    pub expires: Option<Moment>,
    /// When it was added (RFC 3339).
    pub added: String,
}

impl Token {
    /// A token of this secret that does not expire and shows the whole root.
    pub fn new(name: &str, secret: &Secret, services: Services) -> Self {
        Self {
            name: name.to_owned(),
            id: secret.id(),
            services,
            root: None,
            expires: None,
            added: Moment::now().to_string(),
        }
    }

    /// Whether it is not taken any more at `now`.
    pub fn is_expired(&self, now: Moment) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// What it gives: a phrase that completes "may".
    pub fn scope(&self) -> String {
        let mut said = match self.services {
            Services::NONE => "do nothing here".to_owned(),
            services => format!("{services} here"),
        };
        if let Some(root) = &self.root {
            said = format!("{said}, and is shown /{root}");
        }
        match self.expires {
            Some(expires) => format!("{said}, until {expires}"),
            None => said,
        }
    }
}

/// The services that a token may give.
pub fn token_services() -> Services {
    Services::of(&[Service::Read, Service::Write])
}

/// Refuses services that no token gives.
///
/// # Errors
/// Which, and why.
pub fn check_services(services: Services) -> Result<(), String> {
    match services.without(token_services()) {
        Services::NONE => Ok(()),
        others => Err(format!(
            "may have read and write at most, not {others}: a token is in scripts and logs before long; for more, pair \
             the machine with: tcp-server pair"
        )),
    }
}

/// All tokens, in the order of the file.
pub type Tokens = List<Token>;
/// A server's list of tokens.
pub type KnownTokens = Watched<Token>;
/// The list, or the error if it cannot be read.
pub type TokensState = ListState<Token>;
/// The list for connections that are already open.
pub type TokensForOpen = ListForOpen<Token>;

impl Entry for Token {
    const FILE: &'static str = "tokens.toml";
    const HEADER: &'static str = HEADER;
    const WORDS: Words = Words {
        one: "token",
        noun: "token",
        all: "tokens",
        taken: "the hash of an earlier token",
        unreadable: "none of them is taken",
    };

    fn name(&self) -> &str {
        &self.name
    }

    fn rename(&mut self, name: &str) {
        name.clone_into(&mut self.name);
    }

    fn digest(&self) -> &[u8; 32] {
        self.id.as_bytes()
    }

    fn of_table(name: &str, table: &Table) -> Result<Self, SpannedWhy> {
        token_of(name, table)
    }

    fn put_into(&self, table: &mut Table) {
        set(table, "sha256", Some(self.id.to_string().into()));
        set(table, "services", Some(self.services.to_string().into()));
        set(table, "root", self.root.as_deref().map(Value::from));
        set(table, "expires", self.expires.map(|expires| expires.to_string().into()));
        set(table, "added", Some(self.added.as_str().into()));
    }

    fn check(&self) -> Result<(), ListError> {
        check_services(self.services).map_err(|why| ListError::Refused(format!("{} {why}", self.name)))
    }
}

fn token_of(name: &str, table: &Table) -> Result<Token, SpannedWhy> {
    check_name(name, "token").map_err(|why| (None, why))?;
    let (mut id, mut services, mut root, mut expires, mut added) = (None, None, None, None, None);
    for (key, item) in table {
        let wrong = |why: String| (item.span(), format!("{}: {why}", key.escape_debug()));
        let text = item.as_str().ok_or_else(|| wrong("wants a text in quotes".into()))?;
        match key {
            "sha256" => id = Some(text.parse::<TokenId>().map_err(|error| wrong(error.to_string()))?),
            "services" => {
                let wanted = text.parse::<Services>().map_err(|error| wrong(error.to_string()))?;
                check_services(wanted).map_err(|why| (item.span(), format!("[{name}] {why}")))?;
                services = Some(wanted);
            }
            "root" => root = Some(checked_root(text).map_err(wrong)?),
            "expires" => expires = Some(text.parse::<Moment>().map_err(|error| wrong(error.to_string()))?),
            "added" => added = Some(text.to_owned()),
            _ => {
                return Err((
                    table.key(key).and_then(toml_edit::Key::span),
                    format!("{} is not known; there are sha256, services, root, expires and added", key.escape_debug()),
                ));
            }
        }
    }
    let missing = |what: &str| (None, format!("[{name}] has no {what}"));
    Ok(Token {
        name: name.to_owned(),
        id: id.ok_or_else(|| missing("sha256"))?,
        services: services.ok_or_else(|| missing("services"))?,
        root: root.filter(|root: &String| !root.is_empty()),
        expires,
        added: added.ok_or_else(|| missing("added"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn good() -> String {
        format!(
            "# mine\n[ci]\nsha256 = \"{HASH}\" # of abc\nservices = \"read\"\nroot = \"dist\"\n\
             expires = \"2026-12-27T19:46:00Z\"\nadded = \"2026-11-27T19:46:00Z\"\n"
        )
    }

    #[test]
    fn a_token_is_found_by_its_hash_and_its_hash_is_in_no_log() {
        let tokens = Tokens::parse(&good()).unwrap();
        let id = TokenId::of(b"abc");
        let token = tokens.by_digest(id.as_bytes()).unwrap();
        assert_eq!((token.name.as_str(), token.id.to_string().as_str()), ("ci", HASH));
        assert_eq!(token.scope(), "read here, and is shown /dist, until 2026-12-27T19:46:00Z");
        assert!(!format!("{token:?} {id:?}").contains("ba78"));
        assert!(tokens.by_digest(TokenId::of(b"xyz").as_bytes()).is_none());
        assert_eq!(HASH.to_uppercase().parse(), Ok(id), "some programs write hashes in capitals");
        for expires in ["2026-12-27T19:45:59Z", "2026-12-27T19:46:00Z", "2026-12-27T19:46:01Z"] {
            assert_eq!(token.is_expired(expires.parse().unwrap()), !expires.ends_with("59Z"), "{expires}");
        }
    }

    #[test]
    fn a_flaw_is_told_with_its_line() {
        for (from, to, line, why) in [
            ("[ci]", "[ci", 2, "unclosed table"),
            ("[ci]", "[\"c i\"]", 2, "cannot be a token's name"),
            (HASH, "abc", 3, "sha256: is no SHA-256: it takes 64"),
            (HASH, &HASH.replace('b', "é"), 3, "sha256: is no SHA-256"),
            ("\"read\"", "\"reed\"", 4, "\"reed\" is not a service"),
            ("\"read\"", "\"read,exec,chat\"", 4, "[ci] may have read and write at most, not chat,exec"),
            ("\"read\"", "7", 4, "services: wants a text in quotes"),
            ("root", "rooot", 5, "rooot is not known; there are sha256"),
            ("\"dist\"", "\"../up\"", 5, "leads above the root"),
            ("2026-12-27T19:46:00Z", "in May", 6, "expires: \"in May\" is not a time"),
            ("\"2026-12-27T19:46:00Z\"", "2026-12-27T19:46:00Z", 6, "expires: wants a text in quotes"),
            ("added = \"2026-11-27T19:46:00Z\"\n", "", 2, "[ci] has no added"),
            ("services = \"read\"\n", "", 2, "[ci] has no services"),
        ] {
            let text = good().replace(from, to);
            assert_ne!(text, good());
            let flaw = Tokens::parse(&text).unwrap_err();
            assert_eq!(flaw.line, line, "{flaw:?}");
            assert!(flaw.why.contains(why), "{flaw:?} does not say {why}");
        }
        let twice = format!("{}{}", good(), good().replace("[ci]", "[cd]"));
        assert_eq!(Tokens::parse(&twice).unwrap_err().why, "[cd] has the hash of an earlier token");
        assert!(Tokens::parse("").unwrap_err().why.contains("remove it if no token is to be known"));
    }

    #[test]
    fn what_is_written_is_read_again_and_a_torn_section_gives_nothing() {
        let token = Tokens::parse(&good()).unwrap().by_name("ci").unwrap().clone();
        let mut table = Table::new();
        token.put_into(&mut table);
        assert_eq!(Token::of_table("ci", &table), Ok(token.clone()));
        let text = good();
        for len in 0..text.len() {
            let cut = Tokens::parse(text.get(..len).unwrap()).unwrap_or_default();
            assert!(cut.iter().all(|cut| *cut == token), "{len}: a token without its limits: {cut:?}");
        }
        assert_eq!(Tokens::rest_of(&format!("{text}[")).by_name("ci"), Some(&token));
    }
}
