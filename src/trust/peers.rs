//! The known peers: one file that people can read and edit.
//!
//! ```toml
//! [laptop]
//! fingerprint = "SHA256:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0"
//! named = "itself"                  # it chose the name itself: the name is not used for dialling
//! address = "laptop.example:5263"   # where it is dialled, if it was
//! there = "echo,read"               # what this machine may do there, as it said when paired; informative only
//! services = "echo,chat,read"       # what it may do here; empty for a server that was only dialled
//! root = "incoming"                 # below the server's root, if not all of it
//! commands = [["uptime"], ["systemctl", "restart", "web"]]   # with exec: these and nothing else
//! forced = ["backup", "--all"]      # or, with exec: this, whatever it requests
//! added = "2026-11-21T09:04:00Z"
//! ```
//!
//! A malformed file is an error with its line, never an empty list: it must not hide that a peer was revoked.

use toml_edit::{Item, Table, Value};

use super::commands::{Commands, check_argv};
use super::home::Home;
use super::identity::Fingerprint;
use super::list::{self, Edit, Entry, List, ListError, ListForOpen, ListState, SpannedWhy, Watched, Words, set};
use super::time::Moment;
use super::tokens::Tokens;
use super::{Service, Services};

pub use super::list::{NAME_LEN_MAX, checked_root};

const HEADER: &str = "\
# The machines that are known here, one a section. tcp-server peers shows and changes them;
# so may you: a change holds within a second, for what is open too.
";

/// A known peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPeer {
    /// Its name here.
    pub name: String,
    /// Its key.
    pub fingerprint: Fingerprint,
    /// Whether it chose that name itself. Such a name is not used for dialling: it may be another machine's name here.
    pub is_self_named: bool,
    /// `HOST:PORT` under which it was dialled, to which its key is pinned; `None`: it was never dialled.
    pub address: Option<String>,
    /// The services that it has granted this machine, as it said when it was paired; `None`: it has not said.
    pub there: Option<Services>,
    /// The address it came from when it was paired, for dialling it by name; `None`: unknown.
    pub from: Option<String>,
    /// What it may do here.
    pub services: Services,
    /// The commands that it may run, with the service `exec`.
    pub commands: Commands,
    /// The directory below the server's root that it is shown; `None`: all of it.
    pub root: Option<String>,
    /// When it was added (RFC 3339).
    pub added: String,
}

impl KnownPeer {
    /// A peer without services.
    pub fn new(name: &str, fingerprint: Fingerprint) -> Self {
        Self {
            name: name.to_owned(),
            fingerprint,
            is_self_named: false,
            address: None,
            there: None,
            from: None,
            services: Services::NONE,
            commands: Commands::Any,
            root: None,
            added: Moment::now().to_string(),
        }
    }

    /// What it may do here: a phrase that completes "may".
    pub fn scope(&self) -> String {
        let mut said = match self.services {
            Services::NONE => "do nothing here".to_owned(),
            services => format!("{services} here"),
        };
        if self.commands != Commands::Any {
            said = format!("{said}, and run {}", self.commands);
        }
        match &self.root {
            Some(root) => format!("{said}, and is shown /{root}"),
            None => said,
        }
    }
}

/// All known peers, in the order of the file.
pub type Peers = List<KnownPeer>;
/// A server's list of known peers.
pub type KnownPeers = Watched<KnownPeer>;
/// The list, or the error if it cannot be read.
pub type PeersState = ListState<KnownPeer>;
/// The list for connections that are already open.
pub type PeersForOpen = ListForOpen<KnownPeer>;

/// Changes the list: see [`list::edit`].
///
/// # Errors
/// As there.
pub fn edit<T>(home: &Home, change: impl FnOnce(&mut Edit<KnownPeer>) -> Result<T, ListError>) -> Result<T, ListError> {
    list::edit(home, change)
}

impl List<KnownPeer> {
    /// The peer with this key.
    pub fn by_key(&self, fingerprint: &Fingerprint) -> Option<&KnownPeer> {
        self.by_digest(fingerprint.as_bytes())
    }

    /// The peer that was dialled at this `HOST:PORT`.
    pub fn by_address(&self, address: &str) -> Option<&KnownPeer> {
        self.iter().find(|peer| peer.address.as_deref().is_some_and(|known| known.eq_ignore_ascii_case(address)))
    }
}

impl Entry for KnownPeer {
    const FILE: &'static str = "peers.toml";
    const HEADER: &'static str = HEADER;
    const WORDS: Words = Words {
        one: "machine",
        noun: "peer",
        all: "known peers",
        taken: "the fingerprint of an earlier peer",
        unreadable: "only the own identity is let in",
    };

    fn name(&self) -> &str {
        &self.name
    }

    fn rename(&mut self, name: &str) {
        name.clone_into(&mut self.name);
        self.is_self_named = false;
    }

    fn digest(&self) -> &[u8; 32] {
        self.fingerprint.as_bytes()
    }

    fn of_table(name: &str, table: &Table) -> Result<Self, SpannedWhy> {
        peer_of(name, table)
    }

    fn put_into(&self, table: &mut Table) {
        let (listed, forced) = match &self.commands {
            Commands::Any => (None, None),
            Commands::Listed(listed) => (Some(listed.iter().map(Value::from_iter).collect()), None),
            Commands::Forced(argv) => (None, Some(Value::from_iter(argv))),
        };
        set(table, "fingerprint", Some(self.fingerprint.to_string().into()));
        set(table, "named", self.is_self_named.then(|| "itself".into()));
        set(table, "address", self.address.as_deref().map(Value::from));
        set(table, "there", self.there.map(|there| there.to_string().into()));
        set(table, "from", self.from.as_deref().map(Value::from));
        set(table, "services", Some(self.services.to_string().into()));
        set(table, "root", self.root.as_deref().map(Value::from));
        set(table, "commands", listed);
        set(table, "forced", forced);
        set(table, "added", Some(self.added.as_str().into()));
    }

    fn check(&self) -> Result<(), ListError> {
        let checked =
            check_scope(self.services, self.root.as_deref()).and_then(|()| self.commands.check(self.services));
        checked.map_err(|why| ListError::Refused(format!("{} {why}", self.name)))
    }

    fn names_elsewhere(home: &Home) -> Result<Vec<(String, &'static str)>, ListError> {
        let tokens = Tokens::load(home)?;
        let names = tokens.iter().flat_map(|entry| {
            let from = entry.session_of().map(|from| (from.to_owned(), "link or token"));
            std::iter::once((entry.name.clone(), entry.word())).chain(from)
        });
        Ok(names.collect())
    }
}

fn peer_of(name: &str, table: &Table) -> Result<KnownPeer, SpannedWhy> {
    check_name(name).map_err(|why| (None, why))?;
    let (mut fingerprint, mut services, mut added) = (None, None, None);
    let (mut address, mut from, mut root, mut there) = (None, None, None, None);
    let mut is_self_named = false;
    let mut rule: Option<(&str, Commands)> = None;
    for (key, item) in table {
        let wrong = |why: String| (item.span(), format!("{}: {why}", key.escape_debug()));
        if let "commands" | "forced" = key {
            if let Some((other, _)) = rule {
                return Err(wrong(format!("makes no sense beside {other}: one of the two")));
            }
            let commands = commands_of(key, item).map_err(|(span, why)| (span, wrong(why).1))?;
            rule = Some((key, commands));
            continue;
        }
        let text = item.as_str().ok_or_else(|| wrong("wants a text in quotes".into()))?;
        match key {
            "fingerprint" => {
                fingerprint = Some(text.parse::<Fingerprint>().map_err(|error| wrong(error.to_string()))?);
            }
            "services" => services = Some(text.parse::<Services>().map_err(|error| wrong(error.to_string()))?),
            "named" if text == "itself" => is_self_named = true,
            "named" => return Err(wrong("is \"itself\" or not there".into())),
            "there" => there = Some(text.parse::<Services>().map_err(|error| wrong(error.to_string()))?),
            "added" => added = Some(text.to_owned()),
            "address" => address = Some(text.to_owned()),
            "from" => from = Some(text.to_owned()),
            "root" => root = Some(checked_root(text).map_err(wrong)?),
            _ => {
                let known = "fingerprint, named, address, there, from, services, root, commands, forced and added";
                return Err((
                    table.key(key).and_then(toml_edit::Key::span),
                    format!("{} is not known; there are {known}", key.escape_debug()),
                ));
            }
        }
    }
    let missing = |what: &str| (None, format!("[{name}] has no {what}"));
    let services = services.ok_or_else(|| missing("services"))?;
    let root = root.filter(|root: &String| !root.is_empty());
    check_scope(services, root.as_deref()).map_err(|why| (None, format!("[{name}] {why}")))?;
    let span = rule.as_ref().and_then(|(key, _)| table.get(key)?.span());
    let commands = rule.map_or(Commands::Any, |(_, commands)| commands);
    commands.check(services).map_err(|why| (span, format!("[{name}] {why}")))?;
    Ok(KnownPeer {
        name: name.to_owned(),
        fingerprint: fingerprint.ok_or_else(|| missing("fingerprint"))?,
        is_self_named,
        address,
        there,
        from,
        services,
        commands,
        root,
        added: added.ok_or_else(|| missing("added"))?,
    })
}

/// The rule under `key`. An error has the position of the wrong item, as the list may have many lines.
fn commands_of(key: &str, item: &Item) -> Result<Commands, SpannedWhy> {
    let list = |value: &Value, what: &str| match value.as_array() {
        Some(list) if list.is_empty() => Err((value.span(), format!("is empty; it wants {what}"))),
        Some(list) => Ok(list.clone()),
        None => Err((value.span(), format!("wants {what}"))),
    };
    let argv = |value: &Value| {
        let words = list(value, "a list of words, such as [\"systemctl\", \"restart\", \"web\"]")?;
        let word = |word: &Value| {
            word.as_str().map(str::to_owned).ok_or_else(|| (word.span(), "a word wants quotes".to_owned()))
        };
        let words = words.iter().map(word).collect::<Result<Vec<_>, _>>()?;
        check_argv(&words).map_err(|why| (value.span(), why))?;
        Ok(words)
    };
    let what = "a list in brackets";
    let value = item.as_value().ok_or_else(|| (item.span(), format!("wants {what}")))?;
    if key == "forced" {
        return Ok(Commands::Forced(argv(value)?));
    }
    let commands = list(value, "a list of lists of words, such as [[\"uptime\"], [\"df\", \"-h\"]]")?;
    Ok(Commands::Listed(commands.iter().map(argv).collect::<Result<_, _>>()?))
}

/// Checks a peer's name: it can be typed as a HOST, and is not mistaken for an address with a port or for an option.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), String> {
    list::check_name(name, "peer")
}

/// Refuses a root together with the service `exec`: commands are not confined by a root.
///
/// # Errors
/// Why.
pub fn check_scope(services: Services, root: Option<&str>) -> Result<(), String> {
    if root.is_some() && services.has(Service::Exec) {
        return Err("may exec, which no root confines: narrow its services or give it the whole root".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    const GOOD: &str = "\
# mine
[laptop] # the old one
fingerprint = \"SHA256:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0\"
services = \"echo,read\" # no more
root = \"incoming\"
added = \"2026-11-21T09:04:00Z\"
";

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let home = Home::open(Some(dir.path())).unwrap();
        (dir, home)
    }

    #[test]
    fn a_flaw_is_told_with_its_line() {
        for (from, to, line, why) in [
            ("[laptop]", "[laptop", 2, "unclosed table"),
            ("SHA256:ungW", "SHA256:ung", 3, "is not a fingerprint"),
            ("echo,read", "echo,reed", 4, "\"reed\" is not a service"),
            ("services", "servicez", 4, "servicez is not known"),
            ("\"incoming\"", "7", 5, "wants a text in quotes"),
            ("incoming", "../up", 5, "leads above the root"),
            ("echo,read", "exec", 2, "no root confines"),
            ("[laptop]", "[\"lap top\"]", 2, "cannot be a peer's name"),
            ("added = \"2026-11-21T09:04:00Z\"\n", "", 2, "has no added"),
        ] {
            let text = GOOD.replace(from, to);
            assert_ne!(text, GOOD);
            let flaw = Peers::parse(&text).unwrap_err();
            assert_eq!(flaw.line, line, "{flaw:?}");
            assert!(flaw.why.contains(why), "{flaw:?} does not say {why}");
        }
        let twice = format!("{GOOD}{}", GOOD.replace("laptop", "phone"));
        assert!(Peers::parse(&twice).unwrap_err().why.contains("earlier peer"));
        assert_eq!(Peers::parse(&format!("{GOOD}{GOOD}")).unwrap_err().line, 8);
    }

    /// GOOD with other services, no root, and this before `added`.
    fn ruled(services: &str, rule: &str) -> String {
        let text = GOOD.replace("echo,read", services).replace("root = \"incoming\"\n", "");
        text.replace("added", &format!("{rule}\nadded"))
    }

    #[test]
    fn rules_on_commands_are_read_and_flaws_told_with_their_line() {
        let rule = |text: &str| Peers::parse(text).unwrap().by_name("laptop").unwrap().commands.clone();
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let listed = Commands::Listed(vec![words(&["uptime"]), words(&["systemctl", "restart", "web"])]);
        let lines = "commands = [\n  [\"uptime\"], # when\n  [\"systemctl\", 'restart', \"web\"],\n]";
        assert_eq!(rule(&ruled("exec", lines)), listed);
        assert_eq!(rule(&ruled("exec", "forced = [\"a b\", \"\"]")), Commands::Forced(words(&["a b", ""])));
        assert_eq!(rule(&ruled("exec", "")), Commands::Any);
        let list = "wants a list of lists of words";
        for (services, rule, line, why) in [
            ("exec", "commands = \"uptime\"", 5, list),
            ("exec", "commands = 7", 5, list),
            ("exec", "commands = []", 5, "commands: is empty; it wants a list of lists"),
            ("exec", "commands = [\n[\"a\"],\n\"b\"]", 7, "commands: wants a list of words"),
            ("exec", "commands = [\n[\"a\"],\n[]]", 7, "commands: is empty; it wants a list of words"),
            ("exec", "commands = [\n[\"a\"],\n[\"b\",\n1]]", 8, "commands: a word wants quotes"),
            ("exec", "commands = [\n[\"\", \"a\"]]", 6, "commands: a command's first word is a program"),
            ("exec", "commands = [\n[\"a\", \"\\u0000\"]]", 6, "commands: a word cannot hold a NUL"),
            ("exec", "forced = []", 5, "forced: is empty"),
            ("exec", "forced = [[\"a\"]]", 5, "forced: a word wants quotes"),
            ("exec", "forced = \"a\"", 5, "forced: wants a list of words"),
            ("exec", "forced = [\"a\"]\ncommands = [[\"a\"]]", 6, "commands: makes no sense beside forced"),
            ("exec", "commands = [[\"a\"]]\nforced = [\"a\"]", 6, "forced: makes no sense beside commands"),
            ("read", "commands = [[\"a\"]]", 5, "but not the service exec"),
            ("none", "forced = [\"a\"]", 5, "but not the service exec"),
        ] {
            let flaw = Peers::parse(&ruled(services, rule)).unwrap_err();
            assert_eq!(flaw.line, line, "{flaw:?}");
            assert!(flaw.why.contains(why), "{flaw:?} does not say {why}");
        }
        let flaw = Peers::parse(&format!("{}[laptop.commands]\n", ruled("exec", ""))).unwrap_err();
        assert!(flaw.line == 7 && flaw.why.contains("wants a list in brackets"), "{flaw:?}");
    }

    #[test]
    fn a_rule_is_kept_with_its_comments_until_it_is_changed() {
        let (_dir, home) = home();
        let before = ruled("exec", "commands = [\n  [\"uptime\"], # when\n] # these");
        home.replace(KnownPeer::FILE, before.as_bytes()).unwrap();
        let text = || String::from_utf8(home.read(KnownPeer::FILE).unwrap().unwrap()).unwrap();
        let change = |services: &str, commands: Option<Commands>| {
            edit(&home, |edit| {
                edit.change("laptop", |peer| {
                    peer.services = services.parse().unwrap();
                    peer.commands = commands.unwrap_or(std::mem::take(&mut peer.commands));
                    Ok(())
                })
            })
        };
        change("echo,exec", None).unwrap();
        assert_eq!(text(), before.replace("\"exec\"", "\"echo,exec\""));
        // Without exec, the rule would have no effect, and would be lost when exec is granted again.
        let refused = change("echo", None).unwrap_err().to_string();
        assert!(refused.starts_with("laptop has a rule on commands, but not the service exec"), "{refused}");
        let listed = Commands::Listed(vec![vec!["df".into(), "a \"b".into()], vec!["date".into()]]);
        change("exec", Some(listed.clone())).unwrap();
        assert!(text().contains("commands = [[\"df\", 'a \"b'], [\"date\"]] # these\n"), "{}", text());
        assert_eq!(Peers::parse(&text()).unwrap().by_name("laptop").unwrap().commands, listed);
        let forced = Commands::Forced(vec!["backup".into()]);
        change("exec", Some(forced)).unwrap();
        // Wherever the text is cut off, it does not give a peer without its rule.
        let whole = text();
        for len in 0..whole.len() {
            let cut = Peers::parse(whole.get(..len).unwrap()).unwrap_or_default();
            assert!(cut.iter().all(|peer| peer.commands != Commands::Any), "{len}: {cut:?}");
        }
        assert!(text().contains("forced = [\"backup\"]\nadded = ") && !text().contains("commands"), "{}", text());
        change("echo", Some(Commands::Any)).unwrap();
        assert_eq!(text(), ruled("echo", "").replace("\n\nadded", "\nadded"));
    }

    #[test]
    fn a_torn_file_is_never_a_list_of_nobody() {
        let (_dir, home) = home();
        for len in 0..GOOD.len() {
            home.replace(KnownPeer::FILE, &GOOD.as_bytes()[..len]).unwrap();
            if let Ok(peers) = Peers::load(&home) {
                let text = GOOD.get(..len).unwrap();
                let is_whole = text.trim_end().ends_with("00Z\"") || text.lines().all(|line| line.starts_with('#'));
                assert!(is_whole, "{len}: {peers:?}");
            }
        }
        home.replace(KnownPeer::FILE, b"").unwrap();
        assert!(Peers::load(&home).unwrap_err().to_string().contains("line 1: the file is empty"));
    }

    #[test]
    fn a_change_keeps_comments_and_the_rest() {
        let (_dir, home) = home();
        home.replace(KnownPeer::FILE, GOOD.as_bytes()).unwrap();
        edit(&home, |edit| {
            edit.change("laptop", |peer| {
                peer.services = "echo".parse().unwrap();
                peer.root = None;
                Ok(())
            })
        })
        .unwrap();
        let text = String::from_utf8(home.read(KnownPeer::FILE).unwrap().unwrap()).unwrap();
        assert_eq!(text, GOOD.replace("echo,read", "echo").replace("root = \"incoming\"\n", ""));
        edit(&home, |edit| edit.rename("laptop", "desk")).unwrap();
        assert_eq!(Peers::load(&home).unwrap().by_name("desk").unwrap().services.to_string(), "echo");
        edit(&home, |edit| edit.remove("desk")).unwrap();
        assert_eq!(Peers::load(&home).unwrap(), Peers::default());
        let error = edit(&home, |edit| edit.remove("desk")).unwrap_err().to_string();
        assert_eq!(error, "desk: no machine of that name is known here; none is");
    }

    #[test]
    fn the_files_head_stays_in_front() {
        let (_dir, home) = home();
        let put = |name: &str| {
            let peer = KnownPeer::new(name, Fingerprint::of_spki(name.as_bytes()));
            edit(&home, |edit| {
                edit.put(&peer);
                Ok(())
            })
            .unwrap();
        };
        let text = || String::from_utf8(home.read(KnownPeer::FILE).unwrap().unwrap()).unwrap();
        put("a");
        assert!(text().starts_with(&format!("{HEADER}\n[a]")), "{}", text());
        put("b");
        edit(&home, |edit| edit.remove("a")).unwrap();
        assert!(text().starts_with(&format!("{HEADER}\n[b]")), "{}", text());
        edit(&home, |edit| edit.remove("b")).unwrap();
        assert_eq!(text(), HEADER);
        put("c");
        assert!(text().starts_with(&format!("{HEADER}\n[c]")), "{}", text());
    }

    #[test]
    fn a_rule_that_would_lie_is_refused() {
        let (_dir, home) = home();
        home.replace(KnownPeer::FILE, GOOD.as_bytes()).unwrap();
        let widened = edit(&home, |edit| {
            edit.change("laptop", |peer| {
                peer.services = "exec".parse().unwrap();
                Ok(())
            })
        });
        assert!(widened.unwrap_err().to_string().starts_with("laptop may exec, which no root confines"));
        assert_eq!(home.read(KnownPeer::FILE).unwrap().unwrap(), GOOD.as_bytes());
    }

    #[test]
    fn the_roster_follows_the_file() {
        let (_dir, home) = home();
        let roster = KnownPeers::of(home.clone());
        assert!(roster.now().0.unwrap().0.is_empty());
        assert_eq!(roster.now().1, 0);
        home.replace(KnownPeer::FILE, GOOD.as_bytes()).unwrap();
        let (state, number) = roster.now();
        assert!(number == 1 && state.unwrap().by_name("laptop").is_some());
        home.replace(KnownPeer::FILE, b"torn").unwrap();
        assert!(roster.now().0.is_err());
    }

    #[test]
    fn of_a_list_with_a_flaw_the_sections_that_are_well_count() {
        let desk = GOOD
            .replace("laptop", "desk")
            .replace("SHA256:ung", "SHA256:ang")
            .replace("\"incoming\"", "'incoming' #[x]");
        let both = format!("{GOOD}\n{desk}");
        let rest = |text: &str| {
            assert!(Peers::parse(text).is_err() || text == both, "{text}");
            Peers::rest_of(text).iter().map(|peer| peer.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(rest(&both), ["laptop", "desk"]);
        assert_eq!(rest(&both.replacen("echo,read", "echo,reed", 1)), ["desk"]);
        assert_eq!(rest(&both.replace("[desk]", "[desk")), ["laptop"]);
        assert_eq!(rest(&format!("{both}\n[")), ["laptop", "desk"]);
        assert_eq!(rest(&format!("{both}x\n")), ["laptop"]);
        assert_eq!(rest(&format!("{GOOD}x = 1\n{desk}")), ["desk"]);
        // The same name or key twice: neither section counts.
        assert_eq!(rest(&format!("{both}{GOOD}")), ["desk"]);
        assert_eq!(rest(&format!("{both}{}", GOOD.replace("laptop", "phone"))), ["desk"]);
        // What looks like a section and is a command.
        let ruled = ruled("exec", "commands = [\n[\"date\"]\n]");
        assert_eq!(rest(&format!("{ruled}\n{desk}\n[")), ["desk"]);
        for text in ["", "[", "\u{0}", "added = 7"] {
            assert_eq!(rest(text), [""; 0]);
        }
    }

    #[test]
    fn any_wish_gives_a_name() {
        for wish in ["", "::1", "a b", "laptop.local", "-x", "ünal", &"x".repeat(100)] {
            assert_eq!(check_name(&list::nearest_name(wish, "peer")), Ok(()), "{wish}");
        }
    }
}
