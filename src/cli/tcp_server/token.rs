//! `tcp-server token`: the secrets with which programs that speak HTTP come in. Links and sessions, which are in the same
//! file, are the affair of [`share`](super::share) and [`peers`](super::peers).

use std::fmt::Write as _;

use clap::Subcommand;
use serde::Serialize;

use super::bind::PROGRAM;
use crate::cli::args::duration;
use crate::cli::exit::Exit;
use crate::cli::home;
use crate::cli::output::{put_json, say, tell};
use crate::cli::usage::usage;
use crate::printable::printable;
use crate::trust::home::Home;
use crate::trust::last_seen::{self, AllSeen};
use crate::trust::list::{Edit, ListError, checked_root, edit};
use crate::trust::time::Moment;
use crate::trust::tokens::shares::{forget, rename, revoke};
use crate::trust::tokens::{Secret, SessionSource, Token, TokenKind, Tokens};
use crate::trust::{Owner, Services};

/// What to do with the list; nothing: show it.
#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Show the list
    List {
        /// Print one JSON array
        #[arg(long)]
        json: bool,
    },
    /// Make a token and print it, once: only its hash is kept
    Add {
        /// A name for it
        name: String,
        /// What it may do here: read, write
        #[arg(long, value_name = "LIST")]
        allow: Services,
        /// Directory below the server's root that it is shown [default: all of it]
        #[arg(long, value_name = "DIR")]
        root: Option<String>,
        /// How long it is taken (30d, 12h), until when (2026-12-31T18:00:00Z), or never: it does not expire
        #[arg(long, default_value = "never", value_name = "WHEN", value_parser = expiry)]
        expires: Expiry,
    },
    /// Give a token another name
    Rename {
        /// Its name now
        old: String,
        /// Its name from now on
        new: String,
    },
    /// Set what a token may do here; connections that have more are ended
    Allow {
        /// Its name
        name: String,
        /// read, write, or none
        services: Services,
    },
    /// Set the directory below the server's root that a token is shown; connections that have more are ended
    Root {
        /// Its name
        name: String,
        /// The directory; / is all of it
        dir: String,
    },
    /// Set when a token expires; then its connections are ended
    Expires {
        /// Its name
        name: String,
        /// How long it is taken from now (30d, 12h), until when (2026-12-31T18:00:00Z), or never: it does not expire
        #[arg(value_parser = expiry)]
        when: Expiry,
    },
    /// Remove a token and end its connections at once
    Remove {
        /// Its name
        name: String,
    },
}

/// From when on a token is not taken any more; `None`: it does not expire.
pub(super) type Expiry = Option<Moment>;

/// Parses `30d`, `2026-12-31T18:00:00Z`, `never`.
pub(super) fn expiry(text: &str) -> Result<Expiry, String> {
    if text == "never" {
        return Ok(None);
    }
    if let Ok(moment) = text.parse::<Moment>() {
        return Ok(Some(moment));
    }
    let time =
        duration(text).map_err(|_no_duration| "write it like 30d, 12h, 2026-12-31T18:00:00Z or never".to_owned())?;
    Moment::now().after(time).map(Some).ok_or_else(|| "that is too far away; write never".to_owned())
}

/// Does what `what` says.
///
/// # Errors
/// The list is broken, no token has that name, or it may not have what it is to have.
pub(super) fn main(what: Option<&TokenCommand>) -> anyhow::Result<Exit> {
    let home = home::open()?;
    match what {
        None => list(&home, false)?,
        Some(TokenCommand::List { json }) => list(&home, *json)?,
        Some(TokenCommand::Add { name, allow, root, expires }) => {
            add(&home, name, *allow, (root.as_deref(), *expires))?;
        }
        Some(TokenCommand::Rename { old, new }) => {
            edit(&home, |edit: &mut Edit<Token>| {
                only_token(edit, old)?;
                rename(edit, old, new)
            })?;
            tell(&format!("{old} is called {new} now\n"))?;
        }
        Some(TokenCommand::Allow { name, services }) => change(&home, name, |token| token.services = *services)?,
        Some(TokenCommand::Root { name, dir }) => {
            let root = root_of(dir)?;
            change(&home, name, |token| token.root = root)?;
        }
        Some(TokenCommand::Expires { name, when }) => change(&home, name, |token| token.expires = *when)?,
        Some(TokenCommand::Remove { name }) => {
            let gone = edit(&home, |edit: &mut Edit<Token>| {
                only_token(edit, name)?;
                revoke(edit, name)
            })?;
            forget(&home, &gone);
            tell(&format!("{name} is not taken here any more\n"))?;
        }
    }
    Ok(Exit::Done)
}

fn add(home: &Home, name: &str, services: Services, (root, expires): (Option<&str>, Expiry)) -> anyhow::Result<()> {
    if services == Services::NONE {
        return Err(usage("a token that may do nothing is of no use; say --allow read, --allow write or both"));
    }
    let secret = Secret::random()?;
    let root = root.map(root_of).transpose()?.flatten();
    let token = Token { root, expires, ..Token::new(name, &secret, services) };
    if token.is_expired(Moment::now()) {
        return Err(usage("a token that has expired already is of no use; say another --expires"));
    }
    edit(home, |edit: &mut Edit<Token>| edit.add(&token))?;
    tell(&format!("{}\n", secret.as_str()))?;
    say(PROGRAM, &format!("{name} may {}; the token is shown this once, and only its hash is kept", token.scope()));
    say(
        PROGRAM,
        &format!(
            "with curl: -u {name} asks for it as the password; in scripts, -H @FILE, where FILE has the one line \
             Authorization: Bearer TOKEN"
        ),
    );
    Ok(())
}

/// Refuses what is no token.
fn only_token(edit: &Edit<Token>, name: &str) -> Result<(), ListError> {
    match edit.list().by_name(name).filter(|entry| !entry.is_token()) {
        None => Ok(()),
        Some(_) => Err(ListError::Refused(format!("{name}: is no token; tcp-server peers changes links and sessions"))),
    }
}

pub(super) fn root_of(dir: &str) -> Result<Option<String>, ListError> {
    let root = checked_root(dir).map_err(ListError::Refused)?;
    Ok(Some(root).filter(|root| !root.is_empty()))
}

fn change(home: &Home, name: &str, change: impl FnOnce(&mut Token)) -> anyhow::Result<()> {
    let token = edit(home, |edit: &mut Edit<Token>| {
        only_token(edit, name)?;
        edit.change(name, |token| {
            change(token);
            Ok(())
        })
    })?;
    let ended = if token.is_expired(Moment::now()) { ", which is over" } else { "" };
    Ok(tell(&format!("{name} may {}{ended}\n", printable(&token.scope())))?)
}

/// What a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowKind {
    Token,
    Link,
    Session,
}

/// A token, link or session in a list.
#[derive(Debug, Serialize)]
pub(super) struct TokenRow {
    /// Its name.
    pub(super) name: String,
    /// What it may do here.
    pub(super) services: String,
    root: Option<String>,
    /// Of a link: how many sessions it still gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    uses: Option<u32>,
    /// And how many it has given.
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<u32>,
    /// Of a session: the link or token that it was exchanged for.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    /// Of both: the root of the server that takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    directory: Option<String>,
    expires: Option<String>,
    /// Whether that is over.
    is_expired: bool,
    added: String,
    last_used: Option<String>,
    last_from: Option<String>,
}

/// The tokens, links and sessions, as lists show them.
pub(super) fn rows(tokens: &Tokens, seen: &AllSeen) -> Vec<TokenRow> {
    let now = Moment::now();
    let row = |token: &Token| {
        let last = seen.get(&Owner::Token(token.id).to_string());
        // The session of a token has what that has.
        let of = match token.source() {
            Some(SessionSource::Token(of)) => tokens.by_digest(of.as_bytes()),
            Some(SessionSource::Link(_)) | None => None,
        };
        let (uses, used) = match token.kind {
            TokenKind::Link { uses, used } => (Some(uses), Some(used)),
            TokenKind::Session { .. } | TokenKind::Token => (None, None),
        };
        TokenRow {
            name: token.name.clone(),
            services: of.unwrap_or(token).services.to_string(),
            root: of.unwrap_or(token).root.clone(),
            uses,
            used,
            from: token.session_of().map(str::to_owned),
            directory: token.directory.clone(),
            expires: token.expires.map(|expires| expires.to_string()),
            is_expired: token.is_expired(now),
            added: token.added.clone(),
            last_used: last.map(|seen| seen.at.clone()),
            last_from: last.map(|seen| seen.from.clone()),
        }
    };
    tokens.iter().map(row).collect()
}

impl TokenRow {
    /// When it expires.
    pub(super) fn expiry(&self) -> String {
        match &self.expires {
            None => "does not expire".into(),
            Some(at) if self.is_expired => format!("expired {at}"),
            Some(at) => format!("expires {at}"),
        }
    }

    /// What it is.
    pub(super) fn kind(&self) -> RowKind {
        match (&self.from, self.uses) {
            (Some(_), _) => RowKind::Session,
            (None, Some(_)) => RowKind::Link,
            (None, None) => RowKind::Token,
        }
    }

    /// What it is, in words, and when it expires.
    pub(super) fn key(&self) -> String {
        let what = match (&self.from, self.uses, self.used) {
            (Some(from), ..) => format!("session of {from}"),
            (None, Some(1), Some(0)) => "link for one browser".to_owned(),
            (None, Some(uses), used) => format!("link for {uses} of {}", uses.saturating_add(used.unwrap_or(0))),
            (None, None, _) => "token".to_owned(),
        };
        format!("{what}, {}", self.expiry())
    }

    /// When it was last used, and what it is shown.
    pub(super) fn rest(&self) -> String {
        let mut rest = self.last_used.as_deref().unwrap_or("never").to_owned();
        for (note, word) in [(&self.last_from, " from "), (&self.root, ", shown /"), (&self.directory, ", in ")] {
            if let Some(note) = note {
                rest += word;
                rest += &printable(note);
            }
        }
        rest
    }
}

fn list(home: &Home, json: bool) -> anyhow::Result<()> {
    let mut rows = rows(&Tokens::load(home)?, &last_seen::load(home)?);
    rows.retain(|row| row.kind() == RowKind::Token);
    if json {
        return Ok(put_json(&rows)?);
    }
    let width = |column: fn(&TokenRow) -> usize, title: &str| {
        rows.iter().map(column).chain([title.len()]).max().unwrap_or_default()
    };
    let names = width(|row| row.name.len(), "NAME");
    let services = width(|row| row.services.len(), "MAY HERE");
    let expiries = width(|row| row.expiry().len(), "EXPIRES");
    let mut text =
        format!("{:names$}  {:services$}  {:expiries$}  {:20}  LAST USED\n", "NAME", "MAY HERE", "EXPIRES", "ADDED");
    for row in &rows {
        let (added, expiry) = (printable(&row.added), row.expiry());
        let columns = format!("{:names$}  {:services$}  {expiry:expiries$}  {added:20}", row.name, row.services);
        writeln!(text, "{columns}  {}", row.rest())?;
    }
    Ok(tell(&text)?)
}
