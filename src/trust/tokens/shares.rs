//! Links and sessions: sign-in without an account. Who runs the server makes a link and hands it on; a browser exchanges
//! it for a session, whose secret it keeps in a cookie. Both are entries of the file of tokens, by their hashes.
//!
//! A session has what its link gave, and ends when the link would have ended. A token that a person types is exchanged
//! too: then the session has what the token has, for as long as there is the token.

use std::io;
use std::time::Duration;

use super::{Secret, Token, TokenId, TokenKind, Tokens, check_services};
use crate::trust::home::Home;
use crate::trust::last_seen;
use crate::trust::list::{Edit, ListError, NAME_LEN_MAX, edit};
use crate::trust::peers::Peers;
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
    // One name stands for one of all who are known here.
    let machines = Peers::load(home)?;
    if let Some(name) = options.name.as_deref().filter(|name| machines.by_name(name).is_some()) {
        return Err(refused(format!("{name}: a machine is called that already; choose another name")));
    }
    let (link, swept) = edit(home, |edit: &mut Edit<Token>| {
        let swept = sweep(edit, now);
        check_room(edit.list())?;
        let name = match &options.name {
            Some(name) => name.clone(),
            None => free_name("share", |name| is_free(edit.list(), name) && machines.by_name(name).is_none()),
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
            gone.extend(make_way(edit, found.id)?);
        }
        if check_room(edit.list()).is_err() {
            return Ok(Err(NotExchanged::Full));
        }
        let session = session_of(edit.list(), &found, (new, offered));
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

fn session_of(list: &Tokens, found: &Token, (new, offered): (&Secret, &Offered<'_>)) -> Token {
    let expires = match found.kind {
        TokenKind::Link { .. } => found.expires,
        TokenKind::Token | TokenKind::Session { .. } => token_session_end(found, offered.now),
    };
    let (name, of, services) = match found.kind {
        TokenKind::Link { used, .. } => {
            let name = numbered(&found.name, used.saturating_add(1));
            let name = if is_free(list, &name) { name } else { free_name(&found.name, |name| is_free(list, name)) };
            (name, None, found.services)
        }
        TokenKind::Token | TokenKind::Session { .. } => {
            (free_name(&found.name, |name| is_free(list, name)), Some(found.id), Services::NONE)
        }
    };
    Token {
        kind: TokenKind::Session { from: found.name.clone(), of },
        root: found.root.clone().filter(|_| of.is_none()),
        directory: Some(offered.directory.to_owned()),
        may_come_plain: found.may_come_plain,
        expires,
        ..Token::new(&name, new, services)
    }
}

/// When the session of a token ends.
pub fn token_session_end(token: &Token, now: Moment) -> Option<Moment> {
    let latest = now.after(TOKEN_SESSION_TIME_MAX);
    match (token.expires, latest) {
        (Some(expires), Some(latest)) => Some(expires.min(latest)),
        (expires, latest) => expires.or(latest),
    }
}

/// The first of `stem-1`, `stem-2` and so on that is free.
fn free_name(stem: &str, is_free: impl Fn(&str) -> bool) -> String {
    (1..=u32::MAX).map(|number| numbered(stem, number)).find(|name| is_free(name)).unwrap_or_default()
}

/// Whether no entry is called so, and no session has come from one that was: a name says in the log who did what.
fn is_free(list: &Tokens, name: &str) -> bool {
    list.by_name(name).is_none() && !list.iter().any(|entry| entry.session_of() == Some(name))
}

/// `stem-number`; a stem that is too long for that is cut.
pub(super) fn numbered(stem: &str, number: u32) -> String {
    let number = number.to_string();
    let stem: String = stem.chars().take(NAME_LEN_MAX.saturating_sub(number.len() + 1)).collect();
    format!("{stem}-{number}")
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

/// Removes the oldest sessions of a token that has too many.
fn make_way(edit: &mut Edit<Token>, token: TokenId) -> Result<Vec<Token>, ListError> {
    let is_its = |entry: &&Token| matches!(entry.kind, TokenKind::Session { of: Some(of), .. } if of == token);
    let its: Vec<String> = edit.list().iter().filter(is_its).map(|entry| entry.name.clone()).collect();
    let too_many = (its.len() + 1).saturating_sub(SESSIONS_OF_TOKEN_MAX);
    its.iter().take(too_many).map(|name| edit.remove(name)).collect()
}

/// Removes links and sessions that are good for nothing any more. Tokens stay: their names are a person's.
pub fn sweep(edit: &mut Edit<Token>, now: Moment) -> Vec<Token> {
    let list = edit.list();
    let is_dead = |entry: &&Token| {
        let has_lost_its_token = matches!(entry.kind, TokenKind::Session { of: Some(of), .. }
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
    let from_it = |entry: &&Token| entry.session_of() == Some(name);
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

/// Gives an entry another name; its sessions say so.
///
/// # Errors
/// As [`Edit::rename`].
pub fn rename(edit: &mut Edit<Token>, old: &str, new: &str) -> Result<(), ListError> {
    edit.rename(old, new)?;
    let from_it = |entry: &&Token| entry.session_of() == Some(old);
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
    use crate::trust::identity::Fingerprint;
    use crate::trust::peers::KnownPeer;

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
        for name in ["laptop", "share-2"] {
            crate::trust::peers::edit(&home, |edit| edit.add(&machine(name))).unwrap();
        }
        assert_eq!(make_link(&home, &options(1)).unwrap().0.name, "share-3", "a machine is called share-2");
        for (wrong, why) in [
            (LinkOptions { uses: 0, ..options(1) }, "1 to 500 sessions, not 0"),
            (LinkOptions { uses: LINK_USES_MAX + 1, ..options(1) }, "not 501"),
            (LinkOptions { services: "exec".parse().unwrap(), ..options(1) }, "a link may have read and write at most"),
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
    fn a_token_gives_sessions_that_end_with_it_and_the_oldest_makes_way() {
        let (_dir, home) = home();
        let secret = Secret::random().unwrap();
        let token = Token { root: Some("dist".into()), ..Token::new("ci", &secret, "read".parse().unwrap()) };
        edit(&home, |edit: &mut Edit<Token>| edit.add(&token)).unwrap();
        let sessions: Vec<Token> = (0..=SESSIONS_OF_TOKEN_MAX)
            .map(|_| exchange(&home, &offered(&secret), &Secret::random().unwrap()).unwrap())
            .collect();
        let first = &sessions[0];
        assert_eq!(first.kind, TokenKind::Session { from: "ci".into(), of: Some(secret.id()) });
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
    fn long_names_have_room_for_a_number() {
        let name = "x".repeat(NAME_LEN_MAX);
        assert_eq!(numbered(&name, 12).len(), NAME_LEN_MAX);
        assert!(crate::trust::list::check_name(&numbered(&name, u32::MAX), "token").is_ok());
    }

    #[test]
    fn the_list_has_an_end() {
        let (_dir, home) = home();
        edit(&home, |edit: &mut Edit<Token>| {
            for number in 0..SHARES_MAX {
                let name = format!("x{number}");
                let kind = TokenKind::Session { from: "x".into(), of: None };
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
