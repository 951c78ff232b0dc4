//! One connection from its first bytes to its end: which protocol it speaks, the handshake, the greeting.

use std::io;
use std::time::{Duration, Instant};

use super::requests::{Context, serve};
use super::verbs::{ServerState, verbs_for};
use super::{PROGRAM, Server};
use crate::connection::Connection;
use crate::error::{ConnectionLost, Error, ErrorCode, Refusal, Result};
use crate::exec::ExecState;
use crate::net::Stream;
use crate::net::gate::{Rank, Ticket};
use crate::net::service::Accepted;
use crate::net::tls::{HandshakeError, Inside};
use crate::trust::identity::Fingerprint;
use crate::trust::policy::{Grant, Proof};
use crate::trust::{Owner, Peer, Services};
use crate::tutorial::{Caller, Tutorial, serve_tutorial};
use crate::wire::channel::{Sender, encode};
use crate::wire::detect::{FirstBytes, could_become_http, may_still_become_http};
use crate::wire::message::Message;

/// A client that speaks frames or TLS begins at once; one that has said nothing by then has no person
/// typing behind it.
const FIRST_BYTES_TIME_MAX: Duration = Duration::from_secs(10);
/// A whole TLS handshake, however slowly it trickles in.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// A whole `hello`, likewise. Not shorter: over TLS the connection is known to be a client's, and a person
/// who tries it by hand needs time to type.
const HELLO_TIME_MAX: Duration = Duration::from_secs(30);
/// With a tutorial's wire on, a first segment of one or two bytes could still become a frame, and where that wire
/// runs or serves something, a first line that has not ended could still become HTTP's: it is a whole request
/// if nothing more comes within this time.
const SHORT_SEGMENT_WAIT: Duration = Duration::from_millis(50);

impl Server {
    /// Serves a connection in whatever it speaks; returns what that was, and why it ended.
    pub(super) fn serve_wire(&self, stream: Stream, accepted: &mut Accepted) -> (&'static str, Result<()>) {
        let mut first = Vec::new();
        match self.detect(&stream, &mut first) {
            Ok(FirstBytes::Tls) => ("tls", self.serve_tls(stream, &first, accepted)),
            Ok(FirstBytes::Frame | FirstBytes::Undecided) if !self.serves_frames => {
                ("http", self.serve_web(stream, first, accepted, Proof::Nothing))
            }
            Ok(FirstBytes::Frame | FirstBytes::Undecided) => {
                let own = rustix::process::geteuid().as_raw();
                let is_same_user = stream.peer_user() == Some(own);
                let proof = if is_same_user { Proof::SameUser } else { Proof::Nothing };
                ("frame", self.serve_frames(stream, &first, accepted, proof))
            }
            Ok(kind @ (FirstBytes::Http | FirstBytes::Text | FirstBytes::Binary)) => match &self.tutorial {
                _ if kind == FirstBytes::Http && self.http.is_some() => {
                    ("http", self.serve_web(stream, first, accepted, Proof::Nothing))
                }
                Some(tutorial) if tutorial.takes(kind) => {
                    ("tutorial", self.serve_tutorial_wire(tutorial, stream, &first, accepted))
                }
                _ => turn_wire_away(&stream, kind),
            },
            Err(error) => {
                // A tutorial's wire has no words for this, and its client is a person who has gone away.
                if self.tutorial.is_none()
                    && self.serves_frames
                    && matches!(error, Error::ConnectionLost(ConnectionLost::TimedOut(_)))
                {
                    stream.send_last_word(&last_word(ErrorCode::TimedOut, &error.to_string()));
                    stream.linger_after_end();
                }
                ("none", Err(error))
            }
        }
    }

    /// Reads until the first bytes say what the client speaks. Where no tutorial's wire is on, everything is
    /// meant to be a frame and its reader says what is wrong with it.
    fn detect(&self, stream: &Stream, first: &mut Vec<u8>) -> Result<FirstBytes> {
        let started = Instant::now();
        let mut piece = [0; 1024];
        loop {
            let wait = match (&self.tutorial, first.is_empty()) {
                (Some(_), false) => Some(SHORT_SEGMENT_WAIT),
                // The tutorials' clients connect first and then wait for a person to type.
                (Some(_), true) => self.service.idle_timeout(),
                (None, _) => Some(self.service.within_idle(FIRST_BYTES_TIME_MAX).saturating_sub(started.elapsed())),
            };
            match stream.read_within(&mut piece, wait)? {
                None if first.is_empty() || self.tutorial.is_none() => {
                    return Err(
                        ConnectionLost::TimedOut(format!("nothing was said for {:?}", started.elapsed())).into()
                    );
                }
                None => return Ok(FirstBytes::of_whole(first)),
                // The client has said all that it will say: what it said is a whole request.
                Some(0) if self.tutorial.is_some() => return Ok(FirstBytes::of_whole(first)),
                Some(0) => return Ok(FirstBytes::Undecided),
                Some(len) => first.extend_from_slice(piece.get(..len).unwrap_or_default()),
            }
            match (FirstBytes::of(first), &self.tutorial) {
                (FirstBytes::Undecided, _) => {}
                (FirstBytes::Tls, _) => return Ok(FirstBytes::Tls),
                _ if !self.serves_frames => return Ok(FirstBytes::Http),
                // A method that is none of the common ones is known by what comes behind its target.
                (FirstBytes::Text, None) if self.http.is_some() && may_still_become_http(first) => {}
                (FirstBytes::Text | FirstBytes::Binary, None) => return Ok(FirstBytes::Frame),
                (FirstBytes::Text | FirstBytes::Binary, Some(tutorial))
                    if tutorial.is_guarded() && could_become_http(first) => {}
                (FirstBytes::Text | FirstBytes::Binary, Some(_)) => return Ok(FirstBytes::of_whole(first)),
                (kind @ (FirstBytes::Frame | FirstBytes::Http), _) => return Ok(kind),
            }
        }
    }

    /// Serves HTTP, where it is served.
    fn serve_web(&self, stream: Stream, first: Vec<u8>, accepted: &mut Accepted, proof: Proof) -> Result<()> {
        let Some(http) = &self.http else { return turn_wire_away(&stream, FirstBytes::Http).1 };
        self.serve_http(http, (stream, first), accepted, proof)
    }

    /// Shakes hands; whose key it is, the policy says.
    fn serve_tls(&self, stream: Stream, first: &[u8], accepted: &mut Accepted) -> Result<()> {
        let limit = self.service.within_idle(HANDSHAKE_TIME_MAX);
        let stream = accepted.shake_hands(stream, first, &self.tls, limit).map_err(lost)?;
        let key = stream.tls().and_then(|tls| tls.peer_spki()).map(Fingerprint::of_spki);
        let proof = key.map_or(Proof::Nothing, Proof::Key);
        if stream.tls().is_some_and(|tls| tls.inside() == Inside::Http) {
            return self.serve_web(stream, Vec::new(), accepted, proof);
        }
        if stream.tls().is_some_and(|tls| tls.inside() != Inside::Landline) {
            let refusal = Refusal::new(ErrorCode::BadRequest, "offer landline/1 in the TLS handshake (ALPN: RFC 7301)");
            let sender = Sender::new(stream.split().1);
            sender.refuse(&refusal)?;
            sender.lock().stream().close();
            return Err(refusal.into());
        }
        self.serve_frames(stream, &[], accepted, proof)
    }

    fn serve_tutorial_wire(
        &self,
        tutorial: &Tutorial,
        stream: Stream,
        first: &[u8],
        accepted: &mut Accepted,
    ) -> Result<()> {
        // A client of a tutorial's wire is a guest, also over a Unix socket: a script proves nothing.
        let granted = self.authorize(Proof::Nothing, accepted).map_err(Refusal::from);
        let granted = granted.and_then(|grant| admit(&mut accepted.ticket, Rank::Guest).map(|()| grant));
        let mut session = match granted {
            Ok(grant) => self.session(grant, accepted)?,
            Err(refusal) => {
                // It has no words for this.
                stream.linger_after_end();
                return Err(refusal.into());
            }
        };
        let caller = Caller { stream, first, open: &accepted.open, idle: self.service.idle_timeout() };
        serve_tutorial(tutorial, caller, &mut session)
    }

    fn serve_frames(&self, stream: Stream, first: &[u8], accepted: &mut Accepted, proof: Proof) -> Result<()> {
        let mut granted = self.authorize_and_note(proof, accepted).map_err(Refusal::from);
        if granted.as_ref().is_ok_and(|grant| grant.peer.is_known())
            && let Err(full) = admit(&mut accepted.ticket, Rank::Known)
        {
            granted = Err(full);
        }
        let deadline = Instant::now() + self.service.within_idle(HELLO_TIME_MAX);
        let Some(mut connection) = Connection::await_hello(stream, first, Some(deadline))? else {
            return Ok(());
        };
        tracing::debug!(connection = accepted.id(), program = ?connection.greeting()?.program, "hello");
        let ended = self.welcome(&mut connection, granted, accepted);
        if let Err(error) = &ended {
            connection.say_why(error);
        }
        connection.close();
        ended
    }

    /// Lets a client in that has said who it is, and serves it to its end.
    fn welcome(
        &self,
        connection: &mut Connection,
        granted: Result<Grant, Refusal>,
        accepted: &mut Accepted,
    ) -> Result<()> {
        let grant = granted?;
        // A peer that may do nothing can still be paired, and makes way like any other newcomer.
        if grant.services != Services::NONE {
            admit(&mut accepted.ticket, Rank::Guest)?;
        }
        if grant.peer.is_known() {
            accepted.note_known(self.service.gate().log_budget());
        }
        if accepted.is_logged() {
            tracing::info!(connection = accepted.id(), peer = %grant.peer, services = %grant.services, "let in");
        }
        if let Peer::Known { fingerprint, .. } = grant.peer
            && let Err(error) = self.last_seen.note(self.known_peers.home(), Owner::Key(fingerprint), &accepted.address)
        {
            tracing::warn!(%error, "when a peer was seen could not be noted");
        }
        let mut session = self.session(grant, accepted)?;
        connection.welcome(PROGRAM, &verbs_for(session.services))?;
        let context = Context {
            shared: ServerState {
                hub: &self.hub,
                exec: ExecState {
                    places: &self.places,
                    jobs: &self.jobs,
                    terminals: &self.terminals,
                    leftovers: &self.leftovers,
                },
                own: self.identity.fingerprint(),
                home: self.known_peers.home(),
                known: &self.known_peers,
            },
            open: &accepted.open,
            idle_timeout: self.service.idle_timeout(),
        };
        serve(connection, &mut session, context)
    }
}

pub(super) fn admit(ticket: &mut Ticket, rank: Rank) -> Result<(), Refusal> {
    ticket.admit(rank).map_err(|full| Refusal::new(ErrorCode::Busy, full.to_string()))
}

/// A handshake that failed, as the log has it; the other end was told in TLS' own words.
fn lost(error: HandshakeError) -> Error {
    match error {
        HandshakeError::Socket(error) => error.into(),
        HandshakeError::TimedOut(_) => ConnectionLost::TimedOut(error.to_string()).into(),
        HandshakeError::Busy(full) => Refusal::new(ErrorCode::Busy, full.to_string()).into(),
        HandshakeError::NotTls(_)
        | HandshakeError::Untrusted
        | HandshakeError::Closed
        | HandshakeError::Certificate { .. }
        | HandshakeError::OtherProtocol(_)
        | HandshakeError::Failed(_) => ConnectionLost::Socket(io::Error::other(error.to_string())).into(),
    }
}

/// An `error` frame for a client with which no connection was begun.
pub(super) fn last_word(code: ErrorCode, why: &str) -> Vec<u8> {
    encode(&Message::Error { code, message: why.into() }, &[]).unwrap_or_default()
}

/// What speaks neither frames nor the wire that is on is told so, in its own words where it has any.
fn turn_wire_away(stream: &Stream, kind: FirstBytes) -> (&'static str, Result<()>) {
    let (wire, word, why): (_, &[u8], _) = if kind == FirstBytes::Http {
        ("http", HTTP_REFUSAL, "HTTP is not served here")
    } else {
        ("tutorial", b"", "a request with a NUL in it is not handed to this wire")
    };
    stream.send_last_word(word);
    stream.linger_after_end();
    (wire, Err(Error::Refused(Refusal::new(ErrorCode::BadRequest, why))))
}

const HTTP_REFUSAL: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 59\r\n\
    Connection: close\r\n\r\nlandline: this port speaks frames; use tcp-client instead\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_http_refusal_has_the_length_that_it_says() {
        let text = std::str::from_utf8(HTTP_REFUSAL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }
}
