//! Pairing: two machines learn each other's key by a code that a person carries from one to the other.
//!
//! ```text
//! client: pair (its name; SPAKE2 message)   confirm (MAC)
//! server: pair (its name; SPAKE2 message), confirm (MAC)   ok (what the client may do there)
//! ```
//!
//! The guess is counted before the server's first message. The server confirms first: its MAC helps a guesser no more
//! than the answer "wrong" would, and a client with a mistyped code notices at once. The server records the client when
//! it has seen the client's MAC, which the client sends only after it has seen the server's; the client records the
//! server after the server's `ok`.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::connection::Connection;
use crate::error::{Error, ErrorCode, Refusal, Result};
use crate::session::Session;
use crate::trust::code::Code;
use crate::trust::commands::Commands;
use crate::trust::home::Home;
use crate::trust::identity::Fingerprint;
use crate::trust::list::{Entry as _, ListError};
use crate::trust::offer::{NoOffer, Offer, PairingOptions, PeerBefore, Standing};
use crate::trust::pake::{Binding, EXPORTER_LABEL, Exchange, Role};
use crate::trust::peers::{self, KnownPeer};
use crate::trust::{Peer, Services};
use crate::wire::channel::unexpected;
use crate::wire::message::Message;

/// Longest body of this exchange, in bytes: SPAKE2's message is 33, a MAC 32.
const BODY_LEN_MAX: u32 = 64;
/// How many failures a wrong code counts as, for its address.
const WRONG_CODE_WEIGHT: u32 = 5;
/// How long the other end may take to confirm: no person is waited for.
const CONFIRM_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest body of the last `ok`, in bytes.
const GRANTED_LEN_MAX: u32 = 16 * 1024;
/// Longest description of a rule on commands that is sent, in bytes; a root is no longer than a path.
const RULE_LEN_MAX: usize = 1000;
/// Longest name of this machine that is sent, in bytes.
const OWN_NAME_LEN_MAX: usize = 256;

/// Serves one pairing.
///
/// # Errors
/// A refusal for the client (no pairing is open, the code is wrong), or the connection failed.
pub fn serve_pair(
    connection: &mut Connection,
    session: &mut Session,
    home: &Home,
    own: Fingerprint,
    name: &str,
) -> Result<()> {
    let body = connection.receiver().body(BODY_LEN_MAX)?;
    let client = match &session.peer {
        Peer::Own => return Err(refused("this is the server's own identity: no pairing is needed")),
        Peer::Known { fingerprint, .. } | Peer::Guest { fingerprint: Some(fingerprint), .. } => *fingerprint,
        Peer::Guest { fingerprint: None, .. } | Peer::Token { .. } => {
            return Err(refused("a plain connection proves no key: pair over TLS, without tcp://"));
        }
    };
    let exported =
        connection.export(EXPORTER_LABEL)?.ok_or_else(|| refused("a plain connection cannot be paired over"))?;
    let offer = Offer::take_guess(home).map_err(|none| match none {
        NoOffer::None | NoOffer::Spoiled => {
            session.gate.note_failure(session.origin, 1);
            refused(none.to_string())
        }
        NoOffer::Home(error) => failed(&error),
    })?;
    // Each guess is logged: there are at most three for a code.
    session.report.is_rare = true;
    let known = prove(connection, &offer, Binding { client, server: own, exported }, &body);
    session.report.outcome = Some(match &known {
        Ok(()) => "the code was right".into(),
        Err(_) => format!("no proof of the code, {} guesses left", offer.guesses_left),
    });
    if let Err(error) = known {
        session.gate.note_failure(session.origin, WRONG_CODE_WEIGHT);
        offer.note_wrong(home).map_err(|error| failed(&error))?;
        return Err(error);
    }
    if !offer.claim(home).map_err(|error| failed(&error))? {
        return Err(refused("this code was used by another machine a moment ago"));
    }
    let from = session.address.rsplit_once(':').map_or(session.address.as_str(), |(host, _port)| host);
    let recorded = record(home, &offer.wish, client, name, from);
    let standing = match &recorded {
        Ok((peer, before)) => Standing::Paired {
            name: peer.name.clone(),
            fingerprint: client.to_string(),
            before: before.as_ref().map(PeerBefore::of),
        },
        Err(error) => Standing::Failed { why: error.to_string() },
    };
    offer.report(home, standing).map_err(|error| failed(&error))?;
    let (peer, _) = recorded.map_err(|error| failed(&error))?;
    session.report.outcome = Some(format!("paired as {}, which may {}", peer.name, peer.scope()));
    let granted = serde_json::to_vec(&Granted::of(&peer)).unwrap_or_default();
    connection.sender().send(&Message::Ok { path: None }, &granted)
}

/// Exchanges SPAKE2 messages and MACs. An error means that the other end does not know the code.
fn prove(connection: &mut Connection, offer: &Offer, binding: Binding, message: &[u8]) -> Result<()> {
    let (exchange, answer) = Exchange::begin(Role::Server, &offer.code, binding);
    let confirmation = exchange.finish(message).map_err(|error| refused(error.to_string()))?;
    connection.sender().queue(&Message::Pair { name: own_name().into() }, &answer)?;
    let guesses_left = Some(offer.guesses_left);
    connection.sender().send(&Message::Confirm { guesses_left }, &confirmation.mac())?;
    connection.set_deadline(Some(Instant::now() + CONFIRM_TIME_MAX));
    let mac = match connection.receiver().expect("confirm")? {
        Message::Confirm { .. } => connection.receiver().body(BODY_LEN_MAX)?,
        other => return Err(unexpected(&other, "confirm")),
    };
    connection.set_deadline(None);
    if confirmation.accepts(&mac) {
        return Ok(());
    }
    Err(refused(format!("wrong code, or another machine is in between; {}", left(offer.guesses_left))))
}

/// The number of guesses left after a wrong one, as a sentence.
pub fn left(guesses: u32) -> String {
    match guesses {
        0 => "no guess is left, and a new code is needed: tcp-server pair".into(),
        1 => "1 guess is left".into(),
        more => format!("{more} guesses are left"),
    }
}

/// What the client may do at the server, as the server says once both have proved that they know the code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// The client's name there.
    pub name: String,
    /// The services, as a list.
    pub services: String,
    /// The directory below the server's root that it is shown; `None`: all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// The rule on commands, in words; `None`: any command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

impl Granted {
    fn of(peer: &KnownPeer) -> Self {
        let rule = (peer.commands != Commands::Any).then(|| {
            let mut rule = peer.commands.to_string();
            if rule.len() > RULE_LEN_MAX {
                rule.truncate(rule.floor_char_boundary(RULE_LEN_MAX));
                rule.push('…');
            }
            rule
        });
        Self { name: peer.name.clone(), services: peer.services.to_string(), root: peer.root.clone(), rule }
    }
}

/// Records the client with the offer's options; returns its new record, and the old one if it was known. What the
/// options leave open stays unchanged.
fn record(
    home: &Home,
    wish: &PairingOptions,
    key: Fingerprint,
    said: &str,
    from: &str,
) -> Result<(KnownPeer, Option<KnownPeer>), ListError> {
    peers::edit(home, |edit| {
        let known = edit.list().by_key(&key).cloned();
        if let (Some(known), Some(wanted)) = (&known, &wish.name)
            && known.name != *wanted
        {
            edit.rename(&known.name, wanted)?;
        }
        let name = match (&wish.name, &known) {
            (Some(name), _) => name.clone(),
            (None, Some(known)) => known.name.clone(),
            (None, None) => edit.free_name(said)?,
        };
        if edit.list().by_name(&name).is_some_and(|other| other.fingerprint != key) {
            let text =
                format!("{name} is another machine here already; revoke it first: tcp-server peers revoke {name}");
            return Err(ListError::Refused(text));
        }
        if known.is_none() {
            edit.check_free(&name)?;
        }
        let mut peer = wish.applied_to(known.clone().unwrap_or_else(|| KnownPeer::new(&name, key)));
        peer.check()?;
        peer.name = name;
        match &wish.name {
            // The address is kept for dialling only if the name was chosen here: a client could call itself localhost.
            Some(_chosen) => {
                peer.is_self_named = false;
                peer.from = Some(from.to_owned()).filter(|from| !from.is_empty()).or(peer.from);
            }
            None => peer.is_self_named |= known.is_none(),
        }
        edit.put(&peer);
        Ok((peer, known))
    })
}

/// What a server has said in a pairing that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introduced {
    /// The name that it gives itself.
    pub name: String,
    /// What this machine may do there; `None`: it has not said.
    pub granted: Option<Granted>,
}

/// The client's half: proves to the server that this end knows `code`, and that the server does. Nothing is recorded
/// here; the caller does that when this returns.
///
/// # Errors
/// The code is wrong, there is a man in the middle, no pairing is open, or the connection failed.
pub fn call_pair(
    connection: &mut Connection,
    code: &Code,
    client: Fingerprint,
    server: Fingerprint,
) -> Result<Introduced> {
    let exported =
        connection.export(EXPORTER_LABEL)?.ok_or_else(|| refused("a plain connection cannot be paired over"))?;
    let (exchange, message) = Exchange::begin(Role::Client, code, Binding { client, server, exported });
    connection.sender().send(&Message::Pair { name: own_name().into() }, &message)?;
    let name = match connection.answer_or_refusal("pair")? {
        Message::Pair { name } => name.into_owned(),
        other => return Err(unexpected(&other, "pair")),
    };
    let answer = connection.receiver().body(BODY_LEN_MAX)?;
    let confirmation = exchange.finish(&answer).map_err(|error| refused(error.to_string()))?;
    let guesses_left = match connection.answer_or_refusal("confirm")? {
        Message::Confirm { guesses_left } => guesses_left,
        other => return Err(unexpected(&other, "confirm")),
    };
    let mac = connection.receiver().body(BODY_LEN_MAX)?;
    if !confirmation.accepts(&mac) {
        // This end's MAC is not sent: the server does not know the code, and must learn nothing about it.
        let left = guesses_left.map(|guesses| format!("; {}", left(guesses))).unwrap_or_default();
        let why = "the code does not match the server's, or another machine is in between; nothing was recorded";
        return Err(refused(format!("{why}{left}")));
    }
    connection.sender().send(&Message::Confirm { guesses_left: None }, &confirmation.mac())?;
    match connection.answer_or_refusal("ok")? {
        Message::Ok { .. } => {}
        other => return Err(unexpected(&other, "ok")),
    }
    let granted = connection.receiver().body(GRANTED_LEN_MAX)?;
    Ok(Introduced { name, granted: serde_json::from_slice(&granted).ok() })
}

/// The record of a server, and its former one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The record now.
    pub peer: KnownPeer,
    /// The record before; `None`: it was not known.
    pub before: Option<KnownPeer>,
}

/// A server that was dialled.
#[derive(Debug, Clone, Copy)]
pub struct DialledServer<'s> {
    /// Its key.
    pub key: Fingerprint,
    /// `HOST:PORT` as it was dialled.
    pub address: &'s str,
    /// What this machine may do there, as the server said; `None`: it has not said.
    pub there: Option<Services>,
}

/// Records a server under the name `wish`, or else the name that it was dialled by; it gets no rights here. A known
/// server keeps its rights, and its name unless `wish` is another.
///
/// # Errors
/// Another machine has the name, or the disk refused.
pub fn record_server(
    home: &Home,
    server: DialledServer<'_>,
    wish: Option<&str>,
    dialled: &str,
) -> Result<Recorded, ListError> {
    let DialledServer { key, address, there } = server;
    peers::edit(home, |edit| {
        let before = edit.list().by_key(&key).cloned();
        let name = match (wish, &before) {
            (Some(name), Some(known)) if name != known.name => {
                edit.rename(&known.name, name)?;
                name.to_owned()
            }
            (Some(name), None) if edit.list().by_name(name).is_some() => {
                return Err(ListError::Refused(format!("{name}: another machine is called that; choose another name")));
            }
            (Some(name), known) => {
                if known.is_none() {
                    edit.check_free(name)?;
                }
                name.to_owned()
            }
            (None, Some(known)) => known.name.clone(),
            (None, None) => edit.free_name(dialled)?,
        };
        let known = before.clone().unwrap_or_else(|| KnownPeer::new(&name, key));
        let peer = KnownPeer {
            name,
            is_self_named: wish.is_none() && known.is_self_named,
            address: Some(address.to_owned()),
            there: there.or(known.there),
            ..known
        };
        edit.put(&peer);
        Ok(Recorded { peer, before })
    })
}

/// The name that this machine gives itself.
fn own_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let end = name.floor_char_boundary(OWN_NAME_LEN_MAX);
    name.get(..end).unwrap_or_default().to_owned()
}

fn refused(why: impl Into<String>) -> Error {
    Refusal::new(ErrorCode::NotAllowed, why).into()
}

/// Logs the reason for the operator; the other end is only told that there is one.
fn failed(error: &dyn std::error::Error) -> Error {
    tracing::error!(%error, "a pairing could not be recorded");
    Refusal::new(ErrorCode::Failed, "the pairing could not be recorded; its operator finds the reason in the log")
        .into()
}
