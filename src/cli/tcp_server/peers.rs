//! `tcp-server peers`: who is known here, and what they may do: machines, links, the sessions that came from them, and
//! tokens. All of them are listed and changed here; [`token`](super::token) is about tokens alone.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::token::{self, RowKind, TokenRow};
use crate::cli::exit::Exit;
use crate::cli::home;
use crate::cli::output::{put_json, tell};
use crate::cli::usage::usage;
use crate::printable::printable;
use crate::trust::Services;
use crate::trust::commands::{Commands, split};
use crate::trust::home::Home;
use crate::trust::last_seen;
use crate::trust::list::{Edit, ListError, edit as edit_tokens};
use crate::trust::peers::{Peers, checked_root, edit};
use crate::trust::tokens::shares::{forget, rename, revoke, set_end};
use crate::trust::tokens::{SessionSource, Token, TokenKind, Tokens};

/// What to do with the list; nothing: show it.
#[derive(Debug, Subcommand)]
pub(super) enum PeersCommand {
    /// Show the list
    List {
        /// Print one JSON array
        #[arg(long)]
        json: bool,
    },
    /// Give a peer, a link, a session or a token another name
    Rename {
        /// Its name now
        old: String,
        /// Its name from now on
        new: String,
    },
    /// Set what one of them may do here, and until when; connections that have more are ended
    Allow {
        /// Its name
        name: String,
        /// echo, chat, read, write, exec, operator (of the chat), or all, none; read, write and chat at most, if it is
        /// no machine
        #[arg(required_unless_present = "expires")]
        services: Option<Services>,
        /// When a link, session or token ends, with a link also the sessions that came from it: how long from now (30d, 2h),
        /// until when (2026-12-31T18:00:00Z), or for a token never
        #[arg(long, value_parser = token::expiry, value_name = "WHEN")]
        expires: Option<token::Expiry>,
        /// What of exec
        #[command(flatten)]
        rule: Rule,
    },
    /// Set the directory below the server's root that one of them is shown; connections that have more are ended
    Root {
        /// Its name
        name: String,
        /// The directory; / is all of it
        dir: String,
    },
    /// Remove one of them and end its connections at once; with a link or a token, also the sessions that came from it
    #[command(visible_alias = "remove")]
    Revoke {
        /// Its name
        name: String,
    },
}

/// Which commands a peer may run; nothing: as before.
#[derive(Debug, Args)]
pub(super) struct Rule {
    /// With exec: allow only this command, word for word ("systemctl restart web"); may be given several times
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["forced", "any_command"])]
    command: Vec<String>,
    /// With exec: run this for every request; what was requested is in LANDLINE_ORIGINAL_COMMAND
    #[arg(long, value_name = "COMMAND", conflicts_with = "any_command")]
    forced: Option<String>,
    /// Remove such a rule
    #[arg(long)]
    any_command: bool,
}

impl Rule {
    /// The rule that is wanted, if one is.
    ///
    /// # Errors
    /// A text that cannot be a command.
    pub(super) fn wanted(&self) -> anyhow::Result<Option<Commands>> {
        if let Some(forced) = &self.forced {
            return Ok(Some(Commands::Forced(split(forced).map_err(usage)?)));
        }
        let listed = self.command.iter().map(|command| split(command)).collect::<Result<Vec<_>, _>>().map_err(usage)?;
        Ok(match listed.is_empty() {
            true if self.any_command => Some(Commands::Any),
            true => None,
            false => Some(Commands::Listed(listed)),
        })
    }
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    fingerprint: String,
    /// A name that a peer chose itself is not dialled.
    named_by_itself: bool,
    /// Where it was dialled.
    address: Option<String>,
    /// What it said, when it was paired, that this machine may do there.
    there: Option<String>,
    /// Where it came from when it was paired.
    from: Option<String>,
    services: String,
    commands: Option<Vec<Vec<String>>>,
    forced: Option<Vec<String>>,
    /// Either of them in words.
    #[serde(skip)]
    rule: Option<String>,
    root: Option<String>,
    added: String,
    last_seen: Option<String>,
    last_from: Option<String>,
}

/// One of the list, for programs.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Listed {
    Peer(Row),
    Token(TokenRow),
    Link(TokenRow),
    Session(TokenRow),
}

impl Listed {
    fn of(row: TokenRow) -> Self {
        match row.kind() {
            RowKind::Token => Self::Token(row),
            RowKind::Link => Self::Link(row),
            RowKind::Session => Self::Session(row),
        }
    }
}

/// Does what `what` says.
///
/// # Errors
/// The list is broken, or no peer has that name.
pub(super) fn main(what: Option<&PeersCommand>) -> anyhow::Result<Exit> {
    let home = home::open()?;
    match what {
        None => list(false)?,
        Some(PeersCommand::List { json }) => list(*json)?,
        Some(PeersCommand::Rename { old, new }) => {
            // Of two that have one name, the machine gets another: then the name means one of them again.
            let is_machine = Peers::load(&home).is_ok_and(|peers| peers.by_name(old).is_some());
            if !is_machine && is_in_tokens(&home, old)? {
                edit_tokens(&home, |edit: &mut Edit<Token>| rename(edit, old, new))?;
            } else {
                edit(&home, |edit| edit.rename(old, new))?;
            }
            tell(&format!("{old} is called {new} now\n"))?;
        }
        Some(PeersCommand::Allow { name, services, expires, rule }) if is_in_tokens(&home, name)? => {
            if rule.wanted()?.is_some() {
                return Err(usage(format!("{name} is no machine, and runs no commands: leave the rule out")));
            }
            if let Some(services) = services {
                change_token(&home, name, |share| share.services = *services)?;
            }
            if let Some(end) = expires {
                let changed = edit_tokens(&home, |edit: &mut Edit<Token>| set_end(edit, name, *end))?;
                for share in changed {
                    tell(&format!("{} may {}\n", share.name, printable(&share.scope())))?;
                }
            }
        }
        Some(PeersCommand::Allow { name, expires: Some(_), .. }) => {
            return Err(usage(format!("{name} is a machine, which is known until it is revoked: leave --expires out")));
        }
        Some(PeersCommand::Allow { name, services, rule, .. }) => {
            let rule = rule.wanted()?;
            let peer = edit(&home, |edit| {
                edit.change(name, |peer| {
                    peer.services = services.unwrap_or(peer.services);
                    peer.commands = rule.unwrap_or(std::mem::take(&mut peer.commands));
                    Ok(())
                })
            })?;
            tell(&format!("{name} may {}\n", printable(&peer.scope())))?;
        }
        Some(PeersCommand::Root { name, dir }) if is_in_tokens(&home, name)? => {
            let root = token::root_of(dir)?;
            change_token(&home, name, |share| share.root = root)?;
        }
        Some(PeersCommand::Root { name, dir }) => {
            let root = checked_root(dir).map_err(ListError::Refused)?;
            let root = Some(root).filter(|root| !root.is_empty());
            let peer = edit(&home, |edit| {
                edit.change(name, |peer| {
                    peer.root.clone_from(&root);
                    Ok(())
                })
            })?;
            tell(&format!("{name} is shown /{}\n", peer.root.unwrap_or_default()))?;
        }
        Some(PeersCommand::Revoke { name }) if is_in_tokens(&home, name)? => {
            let gone = edit_tokens(&home, |edit: &mut Edit<Token>| revoke(edit, name))?;
            forget(&home, &gone);
            let names: Vec<&str> = gone.iter().map(|gone| gone.name.as_str()).collect();
            let are = if names.len() == 1 { "is" } else { "are" };
            tell(&format!("{} {are} not taken here any more\n", names.join(", ")))?;
        }
        Some(PeersCommand::Revoke { name }) => {
            let peer = edit(&home, |edit| edit.remove(name))?;
            tell(&format!("{name} is not known here any more ({})\n", peer.fingerprint))?;
        }
    }
    Ok(Exit::Done)
}

/// Whether the name is that of a token, a link or a session, or of a link that is used up and has sessions; `false`: of a
/// machine.
///
/// # Errors
/// It is in neither list; or in both lists, which only a file that was edited can have; or a list cannot be read that may have it.
fn is_in_tokens(home: &Home, name: &str) -> anyhow::Result<bool> {
    let machines = Peers::load(home).map(|peers| peers.by_name(name).is_some());
    let tokens = Tokens::load(home);
    let tokens = tokens.map(|list| list.iter().any(|entry| entry.name == name || entry.session_of() == Some(name)));
    match (machines, tokens) {
        (Ok(true), Ok(true)) => Err(ListError::Refused(format!(
            "{name}: is a machine, and also a token, link or session; give the machine another name first, with: \
             tcp-server peers rename {name} NEW"
        ))
        .into()),
        // The other list may be broken: what must be revoked does not wait until that is mended.
        (Ok(true), _) => Ok(false),
        (_, Ok(true)) => Ok(true),
        (machines, tokens) => {
            machines?;
            tokens?;
            Err(ListError::Refused(format!(
                "{name}: no machine, token, link or session of that name is known here; tcp-server peers lists them"
            ))
            .into())
        }
    }
}

fn change_token(home: &Home, name: &str, change: impl FnOnce(&mut Token)) -> anyhow::Result<()> {
    let share = edit_tokens(home, |edit: &mut Edit<Token>| {
        edit.change(name, |share| {
            if let TokenKind::Session { from, source: SessionSource::Token(_) } = &share.kind {
                let why = format!("{name}: is a session of the token {from}, and has what that has; change {from}");
                return Err(ListError::Refused(why));
            }
            change(share);
            Ok(())
        })
    })?;
    Ok(tell(&format!("{name} may {}\n", printable(&share.scope())))?)
}

fn list(json: bool) -> anyhow::Result<()> {
    let home = home::open()?;
    let peers = Peers::load(&home)?;
    let seen = last_seen::load(&home)?;
    let rows = peers.iter().map(|peer| {
        let rule = (peer.commands != Commands::Any).then(|| peer.commands.to_string());
        let (commands, forced) = match peer.commands.clone() {
            Commands::Any => (None, None),
            Commands::Listed(listed) => (Some(listed), None),
            Commands::Forced(argv) => (None, Some(argv)),
        };
        let last = seen.get(&peer.fingerprint.to_string());
        Row {
            name: peer.name.clone(),
            fingerprint: peer.fingerprint.to_string(),
            named_by_itself: peer.is_self_named,
            address: peer.address.clone(),
            there: peer.there.map(|there| there.to_string()),
            from: peer.from.clone(),
            services: peer.services.to_string(),
            commands,
            forced,
            rule,
            root: peer.root.clone(),
            added: peer.added.clone(),
            last_seen: last.map(|seen| seen.at.clone()),
            last_from: last.map(|seen| seen.from.clone()),
        }
    });
    let rows: Vec<Row> = rows.collect();
    let tokens = token::rows(&Tokens::load(&home)?, &seen);
    if json {
        let peers = rows.into_iter().map(Listed::Peer);
        return Ok(put_json(&peers.chain(tokens.into_iter().map(Listed::of)).collect::<Vec<_>>())?);
    }
    Ok(tell(&table(&rows, &tokens)?)?)
}

fn table(rows: &[Row], tokens: &[TokenRow]) -> anyhow::Result<String> {
    let names = rows.iter().map(|row| row.name.len()).chain(tokens.iter().map(|token| token.name.len()));
    let names = names.chain(["NAME".len()]).max().unwrap_or_default();
    let services = rows.iter().map(|row| row.services.len()).chain(tokens.iter().map(|token| token.services.len()));
    let services = services.chain(["MAY HERE".len()]).max().unwrap_or_default();
    let mut text = format!("{:names$}  {:services$}  {:50}  LAST SEEN\n", "NAME", "MAY HERE", "KEY");
    for row in rows {
        writeln!(text, "{:names$}  {:services$}  {:50}  {}", row.name, row.services, row.fingerprint, row.rest())?;
    }
    for row in tokens {
        let key = row.key();
        writeln!(text, "{:names$}  {:services$}  {key:50}  {}", row.name, row.services, row.rest())?;
    }
    Ok(text)
}

impl Row {
    /// What stands behind the columns.
    fn rest(&self) -> String {
        // One that was only dialled does not come here.
        let never = if self.services == "none" { "-" } else { "never" };
        let mut rest = self.last_seen.as_deref().unwrap_or(never).to_owned();
        let there = self.there.as_ref().map(|there| format!("{there} (as it said when paired)"));
        let by_itself = self.named_by_itself.then(String::new);
        let notes = [
            (&self.last_from, " from "),
            (&self.from, ", paired from "),
            (&self.address, ", dialled at "),
            (&there, ", where this machine may "),
            (&by_itself, ", named by itself"),
            (&self.root, ", shown /"),
            (&self.rule, ", may run "),
        ];
        for (note, word) in notes {
            if let Some(note) = note {
                rest += word;
                rest += &printable(note);
            }
        }
        rest
    }
}
