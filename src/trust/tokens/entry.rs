//! How a token, a link and a session stand in their file.

use toml_edit::{Item, Table, Value};

use super::{SessionSource, Token, TokenId, TokenKind, check_services};
use crate::trust::Services;
use crate::trust::home::Home;
use crate::trust::list::{Entry, ListError, SpannedWhy, Words, check_name, checked_root, set};
use crate::trust::peers::Peers;
use crate::trust::time::Moment;

const HEADER: &str = "\
# The tokens that are taken here, with the links and sessions of browsers, one a section, each by its hash.
# tcp-server token and tcp-server peers show and change them; so may you: a change holds within a second, for what is
# open too.
";

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
        check_name(name, "token").map_err(|why| (None, why))?;
        let fields = Fields::of(name, table)?;
        fields.token(name).map_err(|why| (None, format!("[{name}] {why}")))
    }

    fn put_into(&self, table: &mut Table) {
        let text = |text: String| Some(Value::from(text));
        let (kind, uses, used, from) = match &self.kind {
            TokenKind::Token => (None, None, None, None),
            TokenKind::Link { uses, used } => (text(LINK.into()), text(uses.to_string()), text(used.to_string()), None),
            TokenKind::Session { from, .. } => (text(SESSION.into()), None, None, text(from.clone())),
        };
        let (link, of) = match self.source() {
            None => (None, None),
            Some(SessionSource::Link(link)) => (text(link.to_string()), None),
            Some(SessionSource::Token(of)) => (None, text(of.to_string())),
        };
        let has_own_services = of.is_none();
        set(table, "kind", kind);
        set(table, "sha256", text(self.id.to_string()));
        set(table, "uses", uses);
        set(table, "used", used);
        set(table, "from", from);
        set(table, "link", link);
        set(table, "of", of);
        set(table, "directory", self.directory.as_deref().map(Value::from));
        set(table, "plain", self.may_come_plain.then(|| ALLOWED.into()));
        set(table, "services", if has_own_services { text(self.services.to_string()) } else { None });
        set(table, "root", self.root.as_deref().map(Value::from));
        set(table, "expires", self.expires.and_then(|expires| text(expires.to_string())));
        set(table, "added", text(self.added.clone()));
    }

    fn check(&self) -> Result<(), ListError> {
        check_services(self.services).map_err(|why| ListError::Refused(format!("{} {why}", self.name)))
    }

    /// A link that is used up is no entry any more, and its name still means its sessions.
    fn second_name(&self) -> Option<&str> {
        self.session_of()
    }

    fn names_elsewhere(home: &Home) -> Result<Vec<(String, &'static str)>, ListError> {
        Ok(Peers::load(home)?.iter().map(|peer| (peer.name.clone(), "machine")).collect())
    }
}

const LINK: &str = "link";
const SESSION: &str = "session";
/// The value of `plain`; where it is not there, it is not allowed.
const ALLOWED: &str = "allowed";

/// The keys of a section.
#[derive(Default)]
struct Fields {
    kind: Option<String>,
    id: Option<TokenId>,
    uses: Option<u32>,
    used: Option<u32>,
    from: Option<String>,
    link: Option<TokenId>,
    of: Option<TokenId>,
    directory: Option<String>,
    may_come_plain: bool,
    services: Option<Services>,
    root: Option<String>,
    expires: Option<Moment>,
    added: Option<String>,
}

impl Fields {
    fn of(name: &str, table: &Table) -> Result<Self, SpannedWhy> {
        let mut fields = Self::default();
        for (key, item) in table {
            if !fields.take(name, (key, item))? {
                let why = "is not known; there are kind, sha256, uses, used, from, link, of, directory, plain, services, \
                           root, expires and added";
                let span = table.key(key).and_then(toml_edit::Key::span);
                return Err((span, format!("{} {why}", key.escape_debug())));
            }
        }
        Ok(fields)
    }

    /// Takes one key; whether it is known.
    fn take(&mut self, name: &str, (key, item): (&str, &Item)) -> Result<bool, SpannedWhy> {
        fn read<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<Option<T>, String> {
            text.parse().map(Some).map_err(|error: T::Err| error.to_string())
        }
        let wrong = |why: String| (item.span(), format!("{}: {why}", key.escape_debug()));
        let text = item.as_str().ok_or_else(|| wrong("wants a text in quotes".into()))?;
        match key {
            "kind" if matches!(text, LINK | SESSION) => self.kind = Some(text.to_owned()),
            "kind" => return Err(wrong(format!("is \"{LINK}\", \"{SESSION}\" or not there"))),
            "sha256" => self.id = read(text).map_err(wrong)?,
            "uses" => self.uses = read(text).map_err(wrong)?,
            "used" => self.used = read(text).map_err(wrong)?,
            "from" => self.from = Some(text.to_owned()),
            "link" => self.link = read(text).map_err(wrong)?,
            "of" => self.of = read(text).map_err(wrong)?,
            "directory" => self.directory = Some(text.to_owned()),
            "plain" if text == ALLOWED => self.may_come_plain = true,
            "plain" => return Err(wrong(format!("is \"{ALLOWED}\" or not there"))),
            "services" => {
                let wanted = text.parse::<Services>().map_err(|error| wrong(error.to_string()))?;
                check_services(wanted).map_err(|why| (item.span(), format!("[{name}] {why}")))?;
                self.services = Some(wanted);
            }
            "root" => self.root = Some(checked_root(text).map_err(wrong)?).filter(|root| !root.is_empty()),
            "expires" => self.expires = read(text).map_err(wrong)?,
            "added" => self.added = Some(text.to_owned()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What they are together. A section that has lost a key must not become an entry that is good for more.
    fn token(self, name: &str) -> Result<Token, String> {
        let missing = |key: &str| format!("has no {key}");
        let source = match (self.link, self.of) {
            (None, None) => None,
            (Some(link), None) => Some(SessionSource::Link(link)),
            (None, Some(of)) => Some(SessionSource::Token(of)),
            (Some(_), Some(_)) => return Err("has both link and of: a session came from one of them".into()),
        };
        let kind = match (self.kind.as_deref(), self.uses, self.used, self.from, source) {
            (None, None, None, None, None) if self.directory.is_none() && !self.may_come_plain => TokenKind::Token,
            (Some(LINK), Some(uses), Some(used), None, None) => TokenKind::Link { uses, used },
            (Some(SESSION), None, None, Some(from), Some(source)) => {
                check_name(&from, "token")?;
                TokenKind::Session { from, source }
            }
            (None, ..) => return Err("has no kind, and keys that no token has".into()),
            (Some(LINK), ..) => return Err("is a link, and takes uses and used, but none of from, link and of".into()),
            (Some(_), ..) => {
                return Err("is a session, and takes from, and link or of, but neither uses nor used".into());
            }
        };
        let is_of_token = matches!(kind, TokenKind::Session { source: SessionSource::Token(_), .. });
        if kind != TokenKind::Token {
            self.directory.as_ref().ok_or_else(|| missing("directory"))?;
            self.expires.ok_or_else(|| missing("expires"))?;
        }
        if is_of_token && (self.services.is_some() || self.root.is_some()) {
            return Err("is the session of a token, and has the services and the root of that".into());
        }
        let services = if is_of_token { Some(Services::NONE) } else { self.services };
        Ok(Token {
            kind,
            name: name.to_owned(),
            id: self.id.ok_or_else(|| missing("sha256"))?,
            services: services.ok_or_else(|| missing("services"))?,
            root: self.root,
            directory: self.directory,
            may_come_plain: self.may_come_plain,
            expires: self.expires,
            added: self.added.ok_or_else(|| missing("added"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::tokens::Tokens;

    const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const OTHER: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

    fn good() -> String {
        format!(
            "# mine\n[ci]\nsha256 = \"{HASH}\" # of abc\nservices = \"read\"\nroot = \"dist\"\n\
             expires = \"2026-12-27T19:46:00Z\"\nadded = \"2026-11-27T19:46:00Z\"\n"
        )
    }

    fn link() -> String {
        format!(
            "[a]\nkind = \"link\"\nsha256 = \"{HASH}\"\nuses = \"2\"\nused = \"1\"\ndirectory = \"/srv\"\n\
             plain = \"allowed\"\nservices = \"read\"\nexpires = \"2026-12-27T19:46:00Z\"\nadded = \"x\"\n"
        )
    }

    fn session() -> String {
        format!(
            "[a-1]\nkind = \"session\"\nsha256 = \"{OTHER}\"\nfrom = \"a\"\nlink = \"{HASH}\"\ndirectory = \"/srv\"\n\
             services = \"read\"\nroot = \"in\"\nexpires = \"2026-12-27T19:46:00Z\"\nadded = \"x\"\n"
        )
    }

    fn of_token() -> String {
        session().replace("services = \"read\"\nroot = \"in\"\n", "").replace("link", "of")
    }

    #[test]
    fn a_flaw_is_told_with_its_line() {
        for (from, to, line, why) in [
            ("[ci]", "[ci", 2, "unclosed table"),
            ("[ci]", "[\"c i\"]", 2, "cannot be a token's name"),
            (HASH, "abc", 3, "sha256: is no SHA-256: it takes 64"),
            (HASH, &HASH.replace('b', "é"), 3, "sha256: is no SHA-256"),
            ("\"read\"", "\"reed\"", 4, "\"reed\" is not a service"),
            ("\"read\"", "\"read,exec,chat\"", 4, "[ci] may have read, write and chat at most, not exec"),
            ("\"read\"", "7", 4, "services: wants a text in quotes"),
            ("root", "rooot", 5, "rooot is not known; there are kind"),
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
        for text in [good(), link(), session(), of_token()] {
            let token = Tokens::parse(&text).unwrap().iter().next().unwrap().clone();
            let mut table = Table::new();
            token.put_into(&mut table);
            assert_eq!(Token::of_table(&token.name, &table), Ok(token.clone()));
            for len in 0..text.len() {
                let cut = Tokens::parse(text.get(..len).unwrap()).unwrap_or_default();
                assert!(cut.iter().all(|cut| *cut == token), "{len}: a token without its limits: {cut:?}");
            }
            assert_eq!(Tokens::rest_of(&format!("{text}[")).by_name(&token.name), Some(&token));
        }
    }

    #[test]
    fn no_line_that_is_lost_makes_an_entry_good_for_more() {
        for text in [link(), session(), of_token()] {
            let whole = Tokens::parse(&text).unwrap().iter().next().unwrap().clone();
            for lost in text.lines().skip(1) {
                let rest = text.replace(&format!("{lost}\n"), "");
                let Ok(list) = Tokens::parse(&rest) else { continue };
                let read = list.iter().next().unwrap();
                // Without its root a session would show more; all else that may be left out allows less.
                let is_less = lost == "plain = \"allowed\"" && !read.may_come_plain && whole.may_come_plain;
                assert!(is_less || lost.starts_with("root"), "{lost}: {read:?}");
            }
        }
        for (text, why) in [
            (link().replace("\"2\"", "\"-1\""), "uses: invalid digit"),
            (link().replace("uses = \"2\"\n", ""), "[a] is a link, and takes uses and used"),
            (link().replace("kind = \"link\"\n", ""), "[a] has no kind, and keys that no token has"),
            (link().replace("\"link\"", "\"door\""), "kind: is \"link\", \"session\" or not there"),
            (link().replace("\"allowed\"", "\"no\""), "plain: is \"allowed\" or not there"),
            (link().replace("directory = \"/srv\"\n", ""), "[a] has no directory"),
            (session().replace("\"a\"", "\"a b\""), "cannot be a token's name"),
            (session().replace("from = \"a\"\n", ""), "[a-1] is a session, and takes from"),
            (session().replace("link = ", "of = "), "has the services and the root of that"),
            (session().replace("from", &format!("of = \"{HASH}\"\nfrom")), "[a-1] has both link and of"),
            (session().replace(&format!("link = \"{HASH}\"\n"), ""), "takes from, and link or of"),
            (of_token().replace("from", "root = \"in\"\nfrom"), "has the services and the root of that"),
        ] {
            let flaw = Tokens::parse(&text).unwrap_err();
            assert!(flaw.why.contains(why), "{flaw:?} does not say {why}");
        }
    }
}
