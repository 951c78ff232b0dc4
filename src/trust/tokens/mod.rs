//! Tokens: secrets with which programs that speak HTTP prove who they are. One file that people can read and edit:
//!
//! ```toml
//! [ci]
//! sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"   # of the token, as printf %s | sha256sum
//! services = "read"
//! root = "dist"                       # below the server's root, if not all of it
//! expires = "2026-12-27T19:46:00Z"    # if it ever does
//! added = "2026-11-27T19:46:00Z"
//!
//! [share-1]
//! kind = "link"                       # or "session"; a token without it
//! sha256 = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
//! uses = "2"                          # sessions that it still gives
//! used = "1"                          # and those that it has given
//! directory = "/home/anna/photos"     # the root of the server that takes it
//! plain = "allowed"                   # unencrypted, from another machine, if its maker wanted that
//! services = "read,write"
//! expires = "2026-11-28T19:46:00Z"
//! added = "2026-11-27T19:46:00Z"
//! ```
//!
//! A link's secret is worth nothing by itself: it is exchanged, once or a few times, for that of a session, which a
//! browser keeps in a cookie. [`shares`] makes and exchanges them.
//!
//! The file has the hash of a token, never the token: a copy of the file lets no one in. A plain SHA-256 is enough,
//! since a token is 128 random bits: no dictionary has it, and a slow hash would only slow the server down.

mod entry;
mod own;
pub mod retries;
mod secret;
pub mod shares;

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

pub use self::own::{OwnList, OwnTokens};
pub use self::secret::{Secret, SecretFileError, TOKEN_PREFIX, TYPED_SECRET_LEN_MAX, TYPED_SECRET_LEN_MIN};
use super::list::{List, ListForOpen, ListState, Watched};
use super::time::Moment;
use super::{Service, Services};

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

/// What the secret of an entry is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenKind {
    /// A program presents it with each request.
    Token,
    /// A browser exchanges it for a session.
    Link {
        /// How many sessions it still gives.
        uses: u32,
        /// How many it has given.
        used: u32,
    },
    /// A browser has it in a cookie.
    Session {
        /// The name of the link or token that it was exchanged for.
        from: String,
        /// Which link or token that was.
        source: SessionSource,
    },
}

/// What a session was exchanged for, by its id: a name can come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionSource {
    /// A link. The session gives what is on record for itself, also when the link is used up.
    Link(TokenId),
    /// A token. The session gives what the token gives, for as long as there is the token.
    Token(TokenId),
}

impl SessionSource {
    /// The id of the link or token.
    pub const fn id(self) -> TokenId {
        match self {
            Self::Link(id) | Self::Token(id) => id,
        }
    }
}

/// A token that is taken here, a link, or a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What its secret is good for.
    pub kind: TokenKind,
    /// Its name here.
    pub name: String,
    /// Its hash.
    pub id: TokenId,
    /// What it gives: [`Service::Read`] and [`Service::Write`] at most.
    pub services: Services,
    /// The directory below the server's root that it shows; `None`: all of it.
    pub root: Option<String>,
    /// The root of the server that takes it, as an absolute path: two servers of one user may show different
    /// directories. `None`: every server of this home takes it, as it does tokens.
    pub directory: Option<String>,
    /// Whether it may come unencrypted from another machine, since who made it wanted that.
    pub may_come_plain: bool,
    /// From when on it is not taken any more; `None`: it does not expire.
    pub expires: Option<Moment>,
    /// When it was added (RFC 3339).
    pub added: String,
}

impl Token {
    /// A token of this secret that does not expire and shows the whole root.
    pub fn new(name: &str, secret: &Secret, services: Services) -> Self {
        Self::of_id(name, secret.id(), services)
    }

    /// As [`new`](Self::new), for a token whose secret is elsewhere.
    pub fn of_id(name: &str, id: TokenId, services: Services) -> Self {
        Self {
            kind: TokenKind::Token,
            name: name.to_owned(),
            id,
            services,
            root: None,
            directory: None,
            may_come_plain: false,
            expires: None,
            added: Moment::now().to_string(),
        }
    }

    /// Whether it can be good for nothing any more: it is over, or it is a link that has no use left.
    pub fn is_dead(&self, now: Moment) -> bool {
        self.is_expired(now) || matches!(self.kind, TokenKind::Link { uses: 0, .. })
    }

    /// Whether a program presents it with each request.
    pub const fn is_token(&self) -> bool {
        matches!(self.kind, TokenKind::Token)
    }

    /// The link or token that this session was exchanged for; `None`: it is no session.
    pub fn session_of(&self) -> Option<&str> {
        match &self.kind {
            TokenKind::Session { from, .. } => Some(from),
            TokenKind::Token | TokenKind::Link { .. } => None,
        }
    }

    /// What this session was exchanged for; `None`: it is no session.
    pub const fn source(&self) -> Option<SessionSource> {
        match self.kind {
            TokenKind::Session { source, .. } => Some(source),
            TokenKind::Token | TokenKind::Link { .. } => None,
        }
    }

    /// What it is, in a word.
    pub const fn word(&self) -> &'static str {
        match self.kind {
            TokenKind::Token => "token",
            TokenKind::Link { .. } => "link",
            TokenKind::Session { .. } => "session",
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
    Services::of(&[Service::Read, Service::Write, Service::Chat])
}

/// Refuses services that no token gives.
///
/// # Errors
/// Which, and why.
pub fn check_services(services: Services) -> Result<(), String> {
    match services.without(token_services()) {
        Services::NONE => Ok(()),
        others => Err(format!(
            "may have read, write and chat at most, not {others}: a token is in scripts and logs before long; for more, pair \
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
}
