//! Pairing: two machines are introduced by a code that a person carries from one to the other.
//!
//! ```text
//! client: pair (its name; SPAKE2 message)   confirm (MAC)
//! server: pair (its name; SPAKE2 message), confirm (MAC)   ok
//! ```
//!
//! The guess is counted before the server's first word. The server confirms first: its MAC helps a
//! guesser no more than the answer "wrong" would, and a client with a mistyped code says so at once.
//! The server records the client when it has seen the client's MAC, which the client sends only after
//! it has seen the server's; the client records the server when the server has.

use std::time::{Duration, Instant};

use crate::line::Line;
use crate::session::Session;
use crate::trust::code::Code;
use crate::trust::commands::Commands;
use crate::trust::home::Home;
use crate::trust::identity::Fingerprint;
use crate::trust::offer::{NoOffer, Offer, Standing};
use crate::trust::pake::{Binding, EXPORTER_LABEL, Exchange, Role};
use crate::trust::peers::{self, KnownPeer, PeersError};
use crate::trust::{Peer, Services};
use crate::wire::conn::out_of_turn;
use crate::wire::error::{Error, ErrorCode, Refusal, Result};
use crate::wire::message::Message;

/// Longest body of this conversation, in bytes: SPAKE2's message is 33, a MAC 32.
const BODY_LEN_MAX: u32 = 64;
/// What a wrong code weighs among an address's failures.
const WRONG_CODE_WEIGHT: u32 = 5;
/// How long the other end may take to confirm: no person is waited for.
const CONFIRM_TIME_MAX: Duration = Duration::from_secs(10);
/// What is sent of this machine's name, in bytes.
const OWN_NAME_LEN_MAX: usize = 256;

/// Serves one pairing.
///
/// # Errors
/// A refusal for the client (no pairing is open, the code is wrong), or the line failed.
pub fn serve_pair(line: &mut Line, session: &mut Session, home: &Home, own: Fingerprint, name: &str) -> Result<()> {
    let body = line.receiver().body(BODY_LEN_MAX)?;
    let client = match &session.peer {
        Peer::Own => return Err(refused("this is the server's own identity: there is nobody to introduce")),
        Peer::Known { fingerprint, .. } | Peer::Guest { fingerprint: Some(fingerprint), .. } => *fingerprint,
        Peer::Guest { fingerprint: None, .. } => {
            return Err(refused("a plain line proves no key: pair over TLS, without tcp://"));
        }
    };
    let exported = line.export(EXPORTER_LABEL)?.ok_or_else(|| refused("a plain line cannot be paired over"))?;
    let offer = Offer::take_guess(home).map_err(|none| match none {
        NoOffer::None | NoOffer::Spoiled => {
            session.gate.note_failure(session.origin, 1);
            refused(none.to_string())
        }
        NoOffer::Home(error) => failed(&error),
    })?;
    // Each guess is on record: there are three to a code.
    session.report.is_rare = true;
    let known = prove(line, &offer, Binding { client, server: own, exported }, &body);
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
        return Err(refused("this code was used by somebody else a moment ago"));
    }
    let from = session.address.rsplit_once(':').map_or(session.address.as_str(), |(host, _port)| host);
    let recorded = record(home, &offer, client, name, from);
    let standing = match &recorded {
        Ok(name) => Standing::Paired { name: name.clone(), fingerprint: client.to_string() },
        Err(error) => Standing::Failed { why: error.to_string() },
    };
    offer.report(home, standing).map_err(|error| failed(&error))?;
    let name = recorded.map_err(|error| failed(&error))?;
    session.report.outcome = Some(format!("paired as {name}"));
    line.sender().send(&Message::Ok { path: None }, &[])
}

/// Exchanges messages and MACs; an error means that the other end does not know the code.
fn prove(line: &mut Line, offer: &Offer, binding: Binding, message: &[u8]) -> Result<()> {
    let (exchange, answer) = Exchange::begin(Role::Server, &offer.code, binding);
    let confirmation = exchange.finish(message).map_err(|error| refused(error.to_string()))?;
    line.sender().queue(&Message::Pair { name: own_name().into() }, &answer)?;
    line.sender().send(&Message::Confirm, &confirmation.mac())?;
    line.set_deadline(Some(Instant::now() + CONFIRM_TIME_MAX));
    let mac = match line.receiver().expect("confirm")? {
        Message::Confirm => line.receiver().body(BODY_LEN_MAX)?,
        other => return Err(out_of_turn(&other, "confirm")),
    };
    line.set_deadline(None);
    if confirmation.accepts(&mac) {
        return Ok(());
    }
    let text = format!("wrong code, {} guesses left; or somebody is in between", offer.guesses_left);
    Err(refused(text))
}

/// Records the client as the offer says. Known already, it keeps its name unless the offer has one.
fn record(home: &Home, offer: &Offer, key: Fingerprint, said: &str, from: &str) -> Result<String, PeersError> {
    peers::edit(home, |edit| {
        let known = edit.peers().by_key(&key).cloned();
        if let (Some(known), Some(wanted)) = (&known, &offer.name)
            && known.name != *wanted
        {
            edit.rename(&known.name, wanted)?;
        }
        let name = match (&offer.name, &known) {
            (Some(name), _) => name.clone(),
            (None, Some(known)) => known.name.clone(),
            (None, None) => edit.free_name(said),
        };
        if edit.peers().by_name(&name).is_some_and(|other| other.fingerprint != key) {
            let text =
                format!("{name} is another machine here already; revoke it first: tcp-server peers revoke {name}");
            return Err(PeersError::Refused(text));
        }
        // Dialled by its name only if the name was chosen here: one that calls itself localhost would be.
        let from = offer.name.as_ref().map(|_chosen| from.to_owned()).filter(|from| !from.is_empty());
        edit.put(&KnownPeer {
            name: name.clone(),
            fingerprint: key,
            from: from.or_else(|| known.as_ref().and_then(|known| known.from.clone())),
            services: offer.allow,
            // A rule that nobody takes off stays: a new code is no reason to trust it with more.
            commands: offer
                .commands
                .clone()
                .or_else(|| known.as_ref().map(|known| known.commands.clone()))
                .unwrap_or_default(),
            address: known.and_then(|known| known.address),
            root: offer.root.clone(),
            added: peers::now(),
        });
        Ok(name)
    })
}

/// The client's half: proves to the server that this end knows `code`, and that the server does.
/// Nothing is recorded here; whoever calls this does so when it returns.
///
/// # Errors
/// The code is wrong, somebody is in between, no pairing is open, or the line failed.
pub fn call_pair(line: &mut Line, code: &Code, client: Fingerprint, server: Fingerprint) -> Result<String> {
    let exported = line.export(EXPORTER_LABEL)?.ok_or_else(|| refused("a plain line cannot be paired over"))?;
    let (exchange, message) = Exchange::begin(Role::Client, code, Binding { client, server, exported });
    line.sender().send(&Message::Pair { name: own_name().into() }, &message)?;
    let name = match line.answer_or_refusal("pair")? {
        Message::Pair { name } => name.into_owned(),
        other => return Err(out_of_turn(&other, "pair")),
    };
    let answer = line.receiver().body(BODY_LEN_MAX)?;
    let confirmation = exchange.finish(&answer).map_err(|error| refused(error.to_string()))?;
    match line.answer_or_refusal("confirm")? {
        Message::Confirm => {}
        other => return Err(out_of_turn(&other, "confirm")),
    }
    let mac = line.receiver().body(BODY_LEN_MAX)?;
    if !confirmation.accepts(&mac) {
        // Not sent back: whoever is there does not know the code, and learns no more about ours.
        return Err(refused("the code does not match the server's, or somebody is in between; nothing was recorded"));
    }
    line.sender().send(&Message::Confirm, &confirmation.mac())?;
    match line.answer_or_refusal("ok")? {
        Message::Ok { .. } => Ok(name),
        other => Err(out_of_turn(&other, "ok")),
    }
}

/// Records a server that was dialled at `address`; it gets no rights here. Known already, it keeps its
/// name and what it may do. Returns its name.
///
/// # Errors
/// Somebody else has the name, or the disk refused.
pub fn record_server(
    home: &Home,
    key: Fingerprint,
    wish: Option<&str>,
    host: &str,
    address: &str,
) -> Result<String, PeersError> {
    peers::edit(home, |edit| {
        if let Some(known) = edit.peers().by_key(&key).cloned() {
            let name = wish.unwrap_or(&known.name).to_owned();
            if name != known.name {
                edit.rename(&known.name, &name)?;
            }
            edit.put(&KnownPeer { name: name.clone(), address: Some(address.to_owned()), ..known });
            return Ok(name);
        }
        let name = match wish {
            Some(name) if edit.peers().by_name(name).is_some() => {
                return Err(PeersError::Refused(format!(
                    "{name}: somebody else is called that; choose another --name"
                )));
            }
            Some(name) => name.to_owned(),
            None => edit.free_name(host),
        };
        edit.put(&KnownPeer {
            name: name.clone(),
            fingerprint: key,
            address: Some(address.to_owned()),
            from: None,
            services: Services::NONE,
            commands: Commands::Any,
            root: None,
            added: peers::now(),
        });
        Ok(name)
    })
}

/// What this machine calls itself.
fn own_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let end = name.floor_char_boundary(OWN_NAME_LEN_MAX);
    name.get(..end).unwrap_or_default().to_owned()
}

fn refused(why: impl Into<String>) -> Error {
    Refusal::new(ErrorCode::NotAllowed, why).into()
}

/// The operator reads the reason in the log; the other end learns that there is one.
fn failed(error: &dyn std::error::Error) -> Error {
    tracing::error!(%error, "a pairing could not be recorded");
    Refusal::new(ErrorCode::Failed, "the pairing could not be recorded; its operator finds the reason in the log")
        .into()
}
