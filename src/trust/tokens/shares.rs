//! Links and sessions: sign-in without an account. Who runs the server makes a link and hands it on; a browser exchanges
//! it for a session, whose secret it keeps in a cookie. Both are entries of the file of tokens, by their hashes.
//!
//! A session has what its link gave, and ends when the link would have ended. A token that a person types is exchanged
//! too: then the session has what the token has, for as long as there is the token.

use std::io;
use std::time::Duration;

use super::{Secret, SessionSource, Token, TokenId, TokenKind, Tokens, check_services};
use crate::trust::home::Home;
use crate::trust::last_seen;
use crate::trust::list::{Edit, ListError, NAME_LEN_MAX, edit};
use crate::trust::time::Moment;
use crate::trust::{Owner, Services};

/// Links and sessions of one home, at most: the list is read whole whenever it has changed.
pub const SHARES_MAX: usize = 1_024;
/// Sessions that one link gives, at most: a link for everyone is a guest's right, and is given as that.
pub const LINK_USES_MAX: u32 = 500;
/// Sessions of one token, at most: beyond, the oldest makes way, so that who has the token cannot fill the list.
pub const SESSIONS_OF_TOKEN_MAX: usize = 64;
/// How long the session of a token lasts that does not expire sooner.
pub const TOKEN_SESSION_TIME_MAX: Duration = Duration::from_hours(720);

/// The file of the home with the number of the last link that was named by default.
const LAST_NUMBER_FILE: &str = "share-number";
/// A larger number in the list was chosen by a person, and is not gone on from.
const NUMBER_LISTED_MAX: u32 = 1_000_000;

/// What a new link gives.
#[derive(Debug, Clone)]
pub struct LinkOptions {
    /// Its name; `None`: `share-N`.
    pub name: Option<String>,
    /// What its sessions may do.
    pub services: Services,
    /// What they are shown, below the server's root; `None`: all of it.
    pub root: Option<String>,
    /// The server's root.
    pub directory: String,
    /// How many sessions it gives.
    pub uses: u32,
    /// When it and its sessions end.
    pub expires: Moment,
    /// Whether it may be used unencrypted from another machine.
    pub may_come_plain: bool,
}

/// The link was not made.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The list refuses it, or cannot be written.
    #[error(transparent)]
    List(#[from] ListError),
    /// The kernel has no random numbers.
    #[error(transparent)]
    Random(#[from] io::Error),
}

/// Makes a link; its secret is nowhere but in what comes back.
///
/// # Errors
/// [`LinkError`].
pub fn make_link(home: &Home, options: &LinkOptions) -> Result<(Token, Secret), LinkError> {
    let refused = |why: String| LinkError::List(ListError::Refused(why));
    check_services(options.services).map_err(|why| refused(format!("a link {why}")))?;
    if options.services == Services::NONE {
        return Err(refused("a link that gives nothing is of no use".into()));
    }
    if !(1..=LINK_USES_MAX).contains(&options.uses) {
        return Err(refused(format!("a link gives 1 to {LINK_USES_MAX} sessions, not {}", options.uses)));
    }
    let secret = Secret::random()?;
    let now = Moment::now();
    let (link, swept) = edit(home, |edit: &mut Edit<Token>| {
        let swept = sweep(edit, now);
        check_room(edit.list())?;
        let name = match &options.name {
            Some(name) => name.clone(),
            None => default_name(home, edit)?,
        };
        let link = Token {
            kind: TokenKind::Link { uses: options.uses, used: 0 },
            root: options.root.clone(),
            directory: Some(options.directory.clone()),
            may_come_plain: options.may_come_plain,
            expires: Some(options.expires),
            ..Token::new(&name, &secret, options.services)
        };
        edit.add(&link)?;
        Ok((link, swept))
    })?;
    forget(home, &swept);
    Ok((link, secret))
}

/// The next `share-N`, of a number that no link of this home has had by default: the log and its readers know old ones.
fn default_name(home: &Home, edit: &Edit<Token>) -> Result<String, ListError> {
    let last = home.read(LAST_NUMBER_FILE)?;
    let last: u32 = last.and_then(|bytes| str::from_utf8(&bytes).ok()?.trim().parse().ok()).unwrap_or_default();
    let stem_of = |name: &str| name.strip_prefix("share-").and_then(|rest| rest.split('-').next()?.parse().ok());
    // The file can be missing where links were made before there was one.
    let listed = edit.list().iter().filter_map(|entry| stem_of(entry.session_of().unwrap_or(&entry.name)));
    let used = listed.filter(|number| *number <= NUMBER_LISTED_MAX).max().unwrap_or_default();
    let next = last.max(used).saturating_add(1);
    let name = edit.first_free((next..=u32::MAX).map(|number| with_suffix("share", number)))?;
    if let Some(number) = stem_of(&name) {
        home.replace(LAST_NUMBER_FILE, format!("{number}\n").as_bytes())?;
    }
    Ok(name)
}

/// Removes this link, if it is still there, and keeps the sessions that came from it; whether it was.
///
/// # Errors
/// The list cannot be read or written.
pub fn withdraw(home: &Home, link: TokenId) -> Result<bool, ListError> {
    let gone = edit(home, |edit: &mut Edit<Token>| {
        let found = edit.list().by_digest(link.as_bytes()).filter(|entry| matches!(entry.kind, TokenKind::Link { .. }));
        let Some(name) = found.map(|found| found.name.clone()) else { return Ok(None) };
        edit.remove(&name).map(Some)
    })?;
    forget(home, gone.as_slice());
    Ok(gone.is_some())
}

/// A secret that a browser would exchange for a session.
#[derive(Debug, Clone, Copy)]
pub struct Offered<'o> {
    /// Its id.
    pub id: TokenId,
    /// The root of the server that it was sent to.
    pub directory: &'o str,
    /// Whether others could have read it on its way, and the server's operator has not allowed that for all tokens.
    pub is_exposed: bool,
    /// The present time.
    pub now: Moment,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum NotExchanged {
    /// The secret is none, is of another directory, is used up, or is over: which of these is not told.
    #[error("no such link or token")]
    NoSuch,
    /// It is not to come where others can read it.
    #[error("it came unencrypted")]
    Exposed,
    /// The list has no room.
    #[error("there are {SHARES_MAX} links and sessions already")]
    Full,
    /// The list cannot be read.
    #[error("the list of tokens cannot be read")]
    Unreadable,
    /// The list cannot be written.
    #[error(transparent)]
    List(#[from] ListError),
}

impl Offered<'_> {
    /// The entry that it is the secret of, if that may be exchanged here and now.
    ///
    /// # Errors
    /// As [`exchange`].
    pub fn find<'l>(&self, list: &'l Tokens) -> Result<&'l Token, NotExchanged> {
        let found = list.by_digest(self.id.as_bytes()).filter(|found| !found.is_dead(self.now));
        // One that was narrowed to nothing is as good as removed.
        let found = found.filter(|found| found.services != Services::NONE);
        let found = found.filter(|found| match found.kind {
            TokenKind::Token => true,
            TokenKind::Link { .. } => found.directory.as_deref() == Some(self.directory),
            TokenKind::Session { .. } => false,
        });
        match found {
            None => Err(NotExchanged::NoSuch),
            Some(found) if self.is_exposed && !found.may_come_plain => Err(NotExchanged::Exposed),
            Some(found) => Ok(found),
        }
    }
}

/// Exchanges the secret of a link or a token for a session, whose secret is `new`: under the lock of the file, so that
/// of two who use the last use of a link one comes too late.
///
/// # Errors
/// [`NotExchanged`].
pub fn exchange(home: &Home, offered: &Offered<'_>, new: &Secret) -> Result<Token, NotExchanged> {
    let (session, gone) = edit(home, |edit: &mut Edit<Token>| {
        let found = match offered.find(edit.list()) {
            Ok(found) => found.clone(),
            // Nothing is written for it.
            Err(why) => return Ok(Err(why)),
        };
        let mut gone = sweep(edit, offered.now);
        if found.is_token() {
            let oldest = oldest_sessions(edit.list().iter(), found.id);
            gone.extend(oldest.iter().map(|name| edit.remove(name)).collect::<Result<Vec<_>, _>>()?);
        }
        if check_room(edit.list()).is_err() {
            return Ok(Err(NotExchanged::Full));
        }
        let name = edit.first_free(session_names(&found))?;
        let directory = Some(offered.directory.to_owned());
        let session = Token { directory, ..session_of(&found, &name, new, offered.now) };
        match found.kind {
            TokenKind::Link { uses: 0 | 1, .. } => gone.push(edit.remove(&found.name)?),
            TokenKind::Link { uses, used } => {
                let kind = TokenKind::Link { uses: uses.saturating_sub(1), used: used.saturating_add(1) };
                edit.put(&Token { kind, ..found });
            }
            TokenKind::Token | TokenKind::Session { .. } => {}
        }
        edit.add(&session)?;
        Ok(Ok((session, gone)))
    })??;
    forget(home, &gone);
    Ok(session)
}

/// What a session of this link or token is, whose secret is `new`. It is for the directory of the link; the
/// caller gives it one where there is none.
pub(super) fn session_of(found: &Token, name: &str, new: &Secret, now: Moment) -> Token {
    let (source, services, root, expires) = match found.kind {
        TokenKind::Link { .. } => (SessionSource::Link(found.id), found.services, found.root.clone(), found.expires),
        TokenKind::Token | TokenKind::Session { .. } => {
            (SessionSource::Token(found.id), Services::NONE, None, token_session_end(found, now))
        }
    };
    Token {
        kind: TokenKind::Session { from: found.name.clone(), source },
        root,
        directory: found.directory.clone(),
        may_come_plain: found.may_come_plain,
        expires,
        ..Token::new(name, new, services)
    }
}

/// When the session of a token ends.
fn token_session_end(token: &Token, now: Moment) -> Option<Moment> {
    let latest = now.after(TOKEN_SESSION_TIME_MAX);
    match (token.expires, latest) {
        (Some(expires), Some(latest)) => Some(expires.min(latest)),
        (expires, latest) => expires.or(latest),
    }
}

/// What a session of this link or token can be called: by how many there were before, or else by the first number that
/// is free.
pub(super) fn session_names(found: &Token) -> impl Iterator<Item = String> {
    let next = match found.kind {
        TokenKind::Link { used, .. } => Some(with_suffix(&found.name, used.saturating_add(1))),
        TokenKind::Token | TokenKind::Session { .. } => None,
    };
    next.into_iter().chain(numbered(&found.name))
}

/// `stem-1`, `stem-2` and so on.
fn numbered(stem: &str) -> impl Iterator<Item = String> {
    let stem = stem.to_owned();
    (1..=u32::MAX).map(move |suffix| with_suffix(&stem, suffix))
}

/// `stem-suffix`; a stem that is too long for that is cut.
fn with_suffix(stem: &str, suffix: u32) -> String {
    let suffix = suffix.to_string();
    let stem: String = stem.chars().take(NAME_LEN_MAX.saturating_sub(suffix.len() + 1)).collect();
    format!("{stem}-{suffix}")
}

/// The sessions of a token that make way for another one, by their names: the oldest of too many.
pub(super) fn oldest_sessions<'e>(entries: impl Iterator<Item = &'e Token>, token: TokenId) -> Vec<String> {
    let is_its = |entry: &&Token| entry.source() == Some(SessionSource::Token(token));
    let its: Vec<String> = entries.filter(is_its).map(|entry| entry.name.clone()).collect();
    let too_many = (its.len() + 1).saturating_sub(SESSIONS_OF_TOKEN_MAX);
    its.into_iter().take(too_many).collect()
}

fn shares(list: &Tokens) -> usize {
    list.iter().filter(|entry| !entry.is_token()).count()
}

fn check_room(list: &Tokens) -> Result<(), ListError> {
    if shares(list) < SHARES_MAX {
        return Ok(());
    }
    let why = format!("there are {SHARES_MAX} links and sessions already, and no more are kept: remove some first");
    Err(ListError::Refused(why))
}

/// Removes links and sessions that are good for nothing any more. Tokens stay: their names are a person's.
pub fn sweep(edit: &mut Edit<Token>, now: Moment) -> Vec<Token> {
    let list = edit.list();
    let is_dead = |entry: &&Token| {
        let has_lost_its_token = matches!(entry.source(), Some(SessionSource::Token(of))
            if list.by_digest(of.as_bytes()).is_none());
        !entry.is_token() && (entry.is_dead(now) || has_lost_its_token)
    };
    let dead: Vec<String> = list.iter().filter(is_dead).map(|entry| entry.name.clone()).collect();
    dead.iter().filter_map(|name| edit.remove(name).ok()).collect()
}

/// Removes an entry, and the sessions that came from it; also those of a link that is used up, and is no entry any
/// more. What was removed, that entry first.
///
/// # Errors
/// Nothing is called so, and nothing came from what was.
pub fn revoke(edit: &mut Edit<Token>, name: &str) -> Result<Vec<Token>, ListError> {
    let id = edit.list().by_name(name).map(|entry| entry.id);
    let from_it = |entry: &&Token| match id {
        Some(id) => entry.source().is_some_and(|source| source.id() == id),
        None => entry.session_of() == Some(name),
    };
    let sessions: Vec<String> = edit.list().iter().filter(from_it).map(|entry| entry.name.clone()).collect();
    let mut gone = match edit.remove(name) {
        Ok(entry) => vec![entry],
        Err(_) if !sessions.is_empty() => Vec::new(),
        Err(unknown) => return Err(unknown),
    };
    for session in &sessions {
        gone.push(edit.remove(session)?);
    }
    Ok(gone)
}

/// Sets when a token, link or session ends; with a link also the sessions that came from it, and those of a link that is
/// used up and no entry any more. What was changed, that entry first.
///
/// # Errors
/// Nothing is called so, it is the session of a token, or a link or session would have no end.
pub fn set_end(edit: &mut Edit<Token>, name: &str, end: Option<Moment>) -> Result<Vec<Token>, ListError> {
    let refused = |why: String| Err(ListError::Refused(format!("{name}: {why}")));
    let named = edit.list().by_name(name).cloned();
    if let Some(TokenKind::Session { from, source: SessionSource::Token(_) }) = named.as_ref().map(|named| &named.kind)
    {
        return refused(format!("is a session of the token {from}, and ends with that; change {from}"));
    }
    let from_it = |entry: &&Token| match (&named, entry.source()) {
        (Some(named), Some(SessionSource::Link(link))) => link == named.id,
        (None, Some(SessionSource::Link(_))) => entry.session_of() == Some(name),
        _ => false,
    };
    let sessions = edit.list().iter().filter(from_it).cloned();
    let mut changed: Vec<Token> = named.iter().cloned().chain(sessions).collect();
    if changed.is_empty() {
        return refused("no link, session or token of that name is known here".into());
    }
    if end.is_none() && changed.iter().any(|entry| !entry.is_token()) {
        return refused("a link and its sessions end some time; say when".into());
    }
    for entry in &mut changed {
        entry.expires = end;
        edit.put(entry);
    }
    Ok(changed)
}

/// Gives an entry another name; its sessions say so.
///
/// # Errors
/// As [`Edit::rename`].
pub fn rename(edit: &mut Edit<Token>, old: &str, new: &str) -> Result<(), ListError> {
    let id = edit.list().by_name(old).map(|entry| entry.id);
    edit.rename(old, new)?;
    let from_it = |entry: &&Token| entry.source().map(SessionSource::id) == id && id.is_some();
    let sessions: Vec<Token> = edit.list().iter().filter(from_it).cloned().collect();
    for mut session in sessions {
        if let TokenKind::Session { from, .. } = &mut session.kind {
            new.clone_into(from);
        }
        edit.put(&session);
    }
    Ok(())
}

/// Ends the session of this secret; whether there was one.
///
/// # Errors
/// The list cannot be read or written.
pub fn end_session(home: &Home, id: TokenId) -> Result<bool, ListError> {
    let gone = edit(home, |edit: &mut Edit<Token>| {
        let session = edit.list().by_digest(id.as_bytes()).filter(|entry| entry.session_of().is_some());
        let Some(name) = session.map(|session| session.name.clone()) else { return Ok(Vec::new()) };
        let mut gone = vec![edit.remove(&name)?];
        gone.extend(sweep(edit, Moment::now()));
        Ok(gone)
    })?;
    forget(home, &gone);
    Ok(!gone.is_empty())
}

/// Nothing is kept of when those were seen that are gone.
pub fn forget(home: &Home, gone: &[Token]) {
    let owners: Vec<Owner> = gone.iter().map(|entry| Owner::Token(entry.id)).collect();
    if let Err(error) = last_seen::forget(home, &owners) {
        tracing::debug!(%error, "when a session was seen is still on record");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_link_is_that_of_its_sessions() {
        let (_dir, home) = home();
        let at = |text: &str| Some(text.parse::<Moment>().unwrap());
        let (first, later) = (at("2126-01-01T00:00:00Z"), at("2126-02-01T00:00:00Z"));
        let add = |token: Token| edit(&home, |edit: &mut Edit<Token>| edit.add(&token)).unwrap();
        let token =
            |name: &str| Token::new(name, &Secret::random().unwrap(), Services::of(&[crate::trust::Service::Read]));
        let directory = Some("/srv".to_owned());
        let kind = TokenKind::Link { uses: 1, used: 1 };
        let link = Token { kind, directory: directory.clone(), expires: first, ..token("a") };
        add(link.clone());
        add(token("t"));
        for (name, from, source) in [
            ("a-1", "a", SessionSource::Link(link.id)),
            ("used-1", "used", SessionSource::Link(TokenId::of(b"used"))),
            ("t-1", "t", SessionSource::Token(TokenId::of(b"t"))),
        ] {
            let kind = TokenKind::Session { from: from.into(), source };
            let services = if from == "t" { Services::NONE } else { link.services };
            add(Token { kind, directory: directory.clone(), expires: first, services, ..token(name) });
        }
        let set = |name: &str, end: Option<Moment>| {
            let changed = edit(&home, |edit: &mut Edit<Token>| set_end(edit, name, end));
            changed.map(|changed| changed.iter().map(|entry| entry.name.clone()).collect::<Vec<_>>())
        };
        for (name, names) in [("a", &["a", "a-1"][..]), ("a-1", &["a-1"]), ("used", &["used-1"]), ("t", &["t"])] {
            assert_eq!(set(name, later).unwrap(), names, "{name}");
        }
        assert_eq!(set("t", None).unwrap(), ["t"]);
        for (name, end) in [("a", None), ("a-1", None), ("t-1", later), ("none", later)] {
            assert!(set(name, end).is_err(), "{name}");
        }
        let list = Tokens::load(&home).unwrap();
        let ends: Vec<_> = list.iter().map(|entry| (entry.name.as_str(), entry.expires)).collect();
        for want in [("a", later), ("a-1", later), ("used-1", later), ("t-1", first), ("t", None)] {
            assert!(ends.contains(&want), "{want:?} in {ends:?}");
        }
    }
    use crate::trust::identity::Fingerprint;
    use crate::trust::peers::{self, KnownPeer};

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(Some(&dir.path().join("home"))).unwrap();
        (dir, home)
    }

    fn options(uses: u32) -> LinkOptions {
        LinkOptions {
            name: None,
            services: "read,write".parse().unwrap(),
            root: Some("in".into()),
            directory: "/srv".into(),
            uses,
            expires: Moment::now().after(Duration::from_hours(1)).unwrap(),
            may_come_plain: false,
        }
    }

    fn offered(secret: &Secret) -> Offered<'static> {
        Offered { id: secret.id(), directory: "/srv", is_exposed: false, now: Moment::now() }
    }

    fn names(home: &Home) -> Vec<String> {
        Tokens::load(home).unwrap().iter().map(|entry| entry.name.clone()).collect()
    }

    #[test]
    fn a_link_is_exchanged_as_often_as_it_says_for_what_it_says() {
        let (_dir, home) = home();
        let (link, secret) = make_link(&home, &options(2)).unwrap();
        assert_eq!(link.name, "share-1");
        let new = [0; 3].map(|_| Secret::random().unwrap());
        let session = exchange(&home, &offered(&secret), &new[0]).unwrap();
        assert_eq!((session.name.as_str(), session.session_of()), ("share-1-1", Some("share-1")));
        assert_eq!((session.services, &session.root, session.expires), (link.services, &link.root, link.expires));
        assert_eq!((session.id, session.directory.as_deref()), (new[0].id(), Some("/srv")));
        // A session is no link.
        assert!(matches!(exchange(&home, &offered(&new[0]), &new[2]), Err(NotExchanged::NoSuch)));
        assert_eq!(exchange(&home, &offered(&secret), &new[1]).unwrap().name, "share-1-2");
        assert!(matches!(exchange(&home, &offered(&secret), &new[2]), Err(NotExchanged::NoSuch)));
        assert_eq!(names(&home), ["share-1-1", "share-1-2"]);
        // No name comes twice while something is called so, or came from what was.
        assert_eq!(make_link(&home, &options(1)).unwrap().0.name, "share-2");
        assert!(end_session(&home, new[0].id()).unwrap() && !end_session(&home, new[0].id()).unwrap());
        let gone = edit(&home, |edit: &mut Edit<Token>| revoke(edit, "share-1")).unwrap();
        assert_eq!(gone.iter().map(|gone| gone.name.as_str()).collect::<Vec<_>>(), ["share-1-2"]);
        assert_eq!(names(&home), ["share-2"]);
        let text = String::from_utf8(home.read("tokens.toml").unwrap().unwrap()).unwrap();
        assert!(!text.contains(secret.as_str()), "{text}");
    }

    #[test]
    fn of_two_who_take_the_last_use_one_comes_too_late() {
        let (_dir, home) = home();
        let (_, secret) = make_link(&home, &options(3)).unwrap();
        let taken = std::thread::scope(|scope| {
            let tries =
                [0; 8].map(|_| scope.spawn(|| exchange(&home, &offered(&secret), &Secret::random().unwrap()).is_ok()));
            tries.into_iter().filter_map(|one| one.join().ok()).filter(|is_taken| *is_taken).count()
        });
        assert_eq!((taken, names(&home).len()), (3, 3));
    }

    #[test]
    fn a_link_is_for_one_directory_for_a_time_and_not_for_the_ears_of_others() {
        let (_dir, home) = home();
        let (_, secret) = make_link(&home, &options(1)).unwrap();
        let new = Secret::random().unwrap();
        let good = offered(&secret);
        let late = good.now.after(Duration::from_hours(2)).unwrap();
        for (offered, exposed) in [
            (Offered { directory: "/srv/", ..good }, false),
            (Offered { directory: "/srv/in", ..good }, false),
            (Offered { now: late, ..good }, false),
            (Offered { id: TokenId::of(b"share-1"), ..good }, false),
            (Offered { is_exposed: true, ..good }, true),
        ] {
            let why = exchange(&home, &offered, &new).unwrap_err();
            assert_eq!(matches!(why, NotExchanged::Exposed), exposed, "{offered:?}: {why}");
        }
        let narrowed = edit(&home, |edit: &mut Edit<Token>| {
            edit.change("share-1", |link| {
                link.services = Services::NONE;
                Ok(())
            })
        });
        assert_eq!(narrowed.unwrap().services, Services::NONE);
        assert!(matches!(exchange(&home, &good, &new), Err(NotExchanged::NoSuch)));
        let plain = LinkOptions { may_come_plain: true, ..options(1) };
        let (_, secret) = make_link(&home, &plain).unwrap();
        assert!(exchange(&home, &Offered { is_exposed: true, ..offered(&secret) }, &new).unwrap().may_come_plain);
        let machine = |name: &str| KnownPeer::new(name, Fingerprint::of_spki(name.as_bytes()));
        for name in ["laptop", "share-3"] {
            peers::edit(&home, |edit| edit.add(&machine(name))).unwrap();
        }
        assert_eq!(make_link(&home, &options(1)).unwrap().0.name, "share-4", "a machine is called share-3");
        for (wrong, why) in [
            (LinkOptions { uses: 0, ..options(1) }, "1 to 500 sessions, not 0"),
            (LinkOptions { uses: LINK_USES_MAX + 1, ..options(1) }, "not 501"),
            (
                LinkOptions { services: "exec".parse().unwrap(), ..options(1) },
                "a link may have read, write and chat at most",
            ),
            (LinkOptions { services: Services::NONE, ..options(1) }, "gives nothing"),
            (LinkOptions { name: Some("a b".into()), ..options(1) }, "cannot be a token's name"),
            (LinkOptions { name: Some("share-1".into()), ..options(1) }, "another token is called that already"),
            (LinkOptions { name: Some("laptop".into()), ..options(1) }, "laptop: a machine is called that already"),
        ] {
            let said = make_link(&home, &wrong).unwrap_err().to_string();
            assert!(said.contains(why), "{said}");
        }
    }

    #[test]
    fn one_name_means_one_of_all_in_both_lists() {
        let (_dir, home) = home();
        let machine = |name: &str| KnownPeer::new(name, Fingerprint::of_spki(name.as_bytes()));
        let token = |name: &str| Token::new(name, &Secret::random().unwrap(), "read".parse().unwrap());
        for name in ["laptop", "other"] {
            peers::edit(&home, |edit| edit.add(&machine(name))).unwrap();
        }
        for name in ["ci", "tool"] {
            edit(&home, |edit: &mut Edit<Token>| edit.add(&token(name))).unwrap();
        }
        for (name, uses) in [("open", 2), ("used", 1)] {
            let (_, secret) = make_link(&home, &LinkOptions { name: Some(name.into()), ..options(uses) }).unwrap();
            exchange(&home, &offered(&secret), &Secret::random().unwrap()).unwrap();
        }
        assert_eq!(names(&home), ["ci", "tool", "open", "open-1", "used-1"]);
        for name in ["laptop", "ci", "open", "open-1", "used", "used-1"] {
            for refused in [
                make_link(&home, &LinkOptions { name: Some(name.into()), ..options(1) })
                    .map(drop)
                    .unwrap_err()
                    .to_string(),
                edit(&home, |edit: &mut Edit<Token>| edit.add(&token(name))).unwrap_err().to_string(),
                edit(&home, |edit: &mut Edit<Token>| rename(edit, "tool", name)).unwrap_err().to_string(),
                edit(&home, |edit: &mut Edit<Token>| rename(edit, "used-1", name)).unwrap_err().to_string(),
                peers::edit(&home, |edit| edit.add(&machine(name))).unwrap_err().to_string(),
                peers::edit(&home, |edit| edit.rename("other", name)).unwrap_err().to_string(),
            ] {
                let has_why =
                    refused.contains("is called that already") || refused.contains("came from one of that name");
                assert!(refused.starts_with(&format!("{name}: ")) && has_why, "{refused}");
            }
            let free = peers::edit(&home, |edit| edit.free_name(name)).unwrap();
            assert!(free != name && free.starts_with(name), "{free}");
            let free = edit(&home, |edit: &mut Edit<Token>| edit.free_name(name)).unwrap();
            assert!(free != name && free.starts_with(name), "{free}");
        }
        // What a machine is called, no session of a link is called.
        peers::edit(&home, |edit| edit.rename("other", "open-2")).unwrap();
        let open = Tokens::load(&home).unwrap().by_name("open").unwrap().clone();
        let name = edit(&home, |edit: &mut Edit<Token>| edit.first_free(session_names(&open))).unwrap();
        assert_eq!(name, "open-3");
        // When the last session is gone, the name of its link is free.
        edit(&home, |edit: &mut Edit<Token>| revoke(edit, "used")).unwrap();
        make_link(&home, &LinkOptions { name: Some("used".into()), ..options(1) }).unwrap();
    }

    #[test]
    fn what_is_revoked_takes_its_own_sessions_along_whatever_they_are_called() {
        let (_dir, home) = home();
        let ids = [0; 2].map(|_| {
            let (link, secret) = make_link(&home, &options(2)).unwrap();
            exchange(&home, &offered(&secret), &Secret::random().unwrap()).unwrap();
            link.id
        });
        // As a person could have edited it: the session of one says that it came from the other.
        edit(&home, |edit: &mut Edit<Token>| {
            let source = SessionSource::Link(ids[0]);
            edit.change("share-1-1", |entry| {
                entry.kind = TokenKind::Session { from: "share-2".into(), source };
                Ok(())
            })
        })
        .unwrap();
        let gone = edit(&home, |edit: &mut Edit<Token>| revoke(edit, "share-2")).unwrap();
        assert_eq!(gone.iter().map(|gone| gone.name.as_str()).collect::<Vec<_>>(), ["share-2", "share-2-1"]);
        edit(&home, |edit: &mut Edit<Token>| rename(edit, "share-1", "party")).unwrap();
        let list = Tokens::load(&home).unwrap();
        assert_eq!(list.by_name("share-1-1").unwrap().session_of(), Some("party"));
    }

    #[test]
    fn a_token_gives_sessions_that_end_with_it_and_the_oldest_makes_way() {
        let (_dir, home) = home();
        let secret = Secret::random().unwrap();
        let token = Token { root: Some("dist".into()), ..Token::new("ci", &secret, "read".parse().unwrap()) };
        edit(&home, |edit: &mut Edit<Token>| edit.add(&token)).unwrap();
        let sessions: Vec<Token> = (0..=SESSIONS_OF_TOKEN_MAX)
            .map(|_| exchange(&home, &offered(&secret), &Secret::random().unwrap()).unwrap())
            .collect();
        let first = &sessions[0];
        assert_eq!(first.kind, TokenKind::Session { from: "ci".into(), source: SessionSource::Token(secret.id()) });
        assert_eq!((first.services, first.root.as_deref()), (Services::NONE, None), "it has what the token has");
        let list = Tokens::load(&home).unwrap();
        assert_eq!((shares(&list), list.by_digest(first.id.as_bytes())), (SESSIONS_OF_TOKEN_MAX, None));
        edit(&home, |edit: &mut Edit<Token>| rename(edit, "ci", "build")).unwrap();
        assert!(Tokens::load(&home).unwrap().iter().skip(1).all(|entry| entry.session_of() != Some("ci")));
        // Without their token they are good for nothing, and go when the file is written.
        edit(&home, |edit: &mut Edit<Token>| edit.remove("build")).unwrap();
        make_link(&home, &options(1)).unwrap();
        assert_eq!(names(&home), ["share-1"]);
    }

    #[test]
    fn no_default_name_is_given_twice_and_a_link_is_withdrawn_without_its_sessions() {
        let (_dir, home) = home();
        let (first, secret) = make_link(&home, &options(2)).unwrap();
        exchange(&home, &offered(&secret), &Secret::random().unwrap()).unwrap();
        assert!(withdraw(&home, first.id).unwrap() && !withdraw(&home, first.id).unwrap());
        assert_eq!(names(&home), ["share-1-1"]);
        edit(&home, |edit: &mut Edit<Token>| revoke(edit, "share-1")).unwrap();
        assert_eq!(make_link(&home, &options(1)).unwrap().0.name, "share-2");
        let session = exchange(&home, &offered(&secret), &Secret::random().unwrap());
        assert!(matches!(session, Err(NotExchanged::NoSuch)));
        let token = make_link(&home, &options(1)).unwrap().0;
        assert_eq!(token.name, "share-3");
        edit(&home, |edit: &mut Edit<Token>| revoke(edit, "share-3")).unwrap();
        // A file that was damaged, or is missing, counts as none.
        home.replace(LAST_NUMBER_FILE, b"\xff?").unwrap();
        assert_eq!(make_link(&home, &options(1)).unwrap().0.name, "share-3");
        for name in ["share-4294967295", "share-7"] {
            make_link(&home, &LinkOptions { name: Some(name.into()), ..options(1) }).unwrap();
        }
        assert_eq!(make_link(&home, &options(1)).unwrap().0.name, "share-8");
    }

    #[test]
    fn long_names_have_room_for_a_number() {
        let name = "x".repeat(NAME_LEN_MAX);
        assert_eq!(with_suffix(&name, 12).len(), NAME_LEN_MAX);
        assert!(crate::trust::list::check_name(&with_suffix(&name, u32::MAX), "token").is_ok());
    }

    #[test]
    fn the_list_has_an_end() {
        let (_dir, home) = home();
        edit(&home, |edit: &mut Edit<Token>| {
            for number in 0..SHARES_MAX {
                let name = format!("x{number}");
                let kind = TokenKind::Session { from: "x".into(), source: SessionSource::Link(TokenId::of(b"x")) };
                let id = TokenId::of(name.as_bytes());
                let expires = Moment::now().after(Duration::from_hours(1));
                let directory = Some("/srv".into());
                edit.put(&Token { kind, directory, expires, ..Token::of_id(&name, id, "read".parse().unwrap()) });
            }
            Ok(())
        })
        .unwrap();
        assert!(make_link(&home, &options(1)).unwrap_err().to_string().contains("there are 1024 links and sessions"));
    }
}
