//! What waits to be sent, and the messages that the server has not yet acknowledged.
//!
//! One thread takes from here and sends, so that messages leave in the order of their numbers: a server takes a number
//! that is not above the last one for a repetition.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::chat::{Moderation, Speaker};
use crate::wire::message::{ModerationAct, SayFields};

/// Messages that wait for their acknowledgement, and requests that wait to be sent. A script waits when there are more;
/// a person is told.
pub(super) const WAITING_MAX: usize = 1_000;

/// A message of this client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnMessage {
    /// Its number.
    pub(super) id: u64,
    /// The room; `None`: it is private.
    pub(super) room: Option<String>,
    /// Who gets it; `None`: all in the room.
    pub(super) to: Option<String>,
    pub(super) is_action: bool,
    pub(super) text: String,
}

/// A request that is sent once, and whose answer is an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    Join { room: String, history: Option<u32>, after: Option<u64> },
    Leave(String),
    Rename(String),
    Names(String),
    Rooms,
    Who(String),
    Topic { room: String, text: String },
    Moderate { act: ModerationAct, nick: String, room: Option<String>, ttl_ms: Option<u64>, reason: String },
}

/// What is sent next.
#[derive(Debug, Clone)]
pub(super) enum Outgoing {
    Message(Arc<OwnMessage>),
    Request(Request),
}

impl Outgoing {
    /// Sends it; `is_numbered`: the server answers each number.
    ///
    /// # Errors
    /// The connection failed.
    pub(super) fn send(&self, speaker: &Speaker, is_numbered: bool) -> crate::error::Result<()> {
        match self {
            Self::Message(message) => {
                let fields = SayFields {
                    room: message.room.as_deref().map(Into::into),
                    to: message.to.as_deref().map(Into::into),
                    id: is_numbered.then_some(message.id),
                    is_action: message.is_action,
                    ..SayFields::default()
                };
                speaker.say(fields, &message.text)
            }
            Self::Request(request) => request.send(speaker),
        }
    }
}

impl Request {
    fn send(&self, speaker: &Speaker) -> crate::error::Result<()> {
        match self {
            Self::Join { room, history, after } => speaker.join(room, *history, *after),
            Self::Leave(room) => speaker.leave_room(room),
            Self::Rename(nick) => speaker.rename(nick),
            Self::Names(room) => speaker.ask_names(Some(room)),
            Self::Rooms => speaker.ask_rooms(),
            Self::Who(nick) => speaker.ask_who(nick),
            Self::Topic { room, text } => speaker.set_topic(room, text),
            Self::Moderate { act, nick, room, ttl_ms, reason } => {
                let (act, ttl_ms) = (*act, *ttl_ms);
                speaker.moderate(&Moderation { act, nick, room: room.as_deref(), ttl_ms, reason })
            }
        }
    }
}

/// What waits, in the order in which it was typed.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: VecDeque<(Outgoing, Option<Instant>)>,
    /// How many of them were sent on this connection: 0 <= sent <= waiting.len().
    sent: usize,
    last_id: u64,
}

impl Outbox {
    /// Whether there is no room for more.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING_MAX
    }

    /// Numbers a message, and keeps it until the server has answered.
    pub(super) fn push(&mut self, message: OwnMessage) {
        self.last_id += 1;
        let message = OwnMessage { id: self.last_id, ..message };
        self.waiting.push_back((Outgoing::Message(Arc::new(message)), None));
    }

    /// Adds a request.
    pub(super) fn request(&mut self, request: Request) {
        self.waiting.push_back((Outgoing::Request(request), None));
    }

    /// Begins again on a new connection: with these requests, then all that was not acknowledged.
    pub(super) fn begin_again(&mut self, first: Vec<Request>) {
        self.sent = 0;
        for request in first.into_iter().rev() {
            self.waiting.push_front((Outgoing::Request(request), None));
        }
    }

    /// What is to be sent next. A message stays until it is answered.
    pub(super) fn take_next(&mut self) -> Option<Outgoing> {
        let (next, since) = self.waiting.get_mut(self.sent)?;
        *since = Some(Instant::now());
        if matches!(next, Outgoing::Message(_)) {
            self.sent += 1;
            return Some(next.clone());
        }
        self.waiting.remove(self.sent).map(|(next, _)| next)
    }

    /// Whether something is to be sent.
    pub(super) fn has_next(&self) -> bool {
        self.sent < self.waiting.len()
    }

    /// Removes a message that the server has answered.
    pub(super) fn answered(&mut self, id: u64) -> Option<Arc<OwnMessage>> {
        let is_it = |(waiting, _): &(Outgoing, Option<Instant>)| matches!(waiting, Outgoing::Message(message) if message.id == id);
        let at = self.waiting.iter().position(is_it)?;
        if at < self.sent {
            self.sent -= 1;
        }
        match self.waiting.remove(at)? {
            (Outgoing::Message(message), _) => Some(message),
            (Outgoing::Request(_), _) => None,
        }
    }

    /// The messages that are not acknowledged, the oldest first.
    pub(super) fn messages(&self) -> impl Iterator<Item = &Arc<OwnMessage>> {
        self.waiting.iter().filter_map(|(waiting, _)| match waiting {
            Outgoing::Message(message) => Some(message),
            Outgoing::Request(_) => None,
        })
    }

    /// When the oldest message that waits for its answer was sent.
    pub(super) fn oldest_sent(&self) -> Option<Instant> {
        self.waiting.front().filter(|_| self.sent > 0).and_then(|(_, since)| *since)
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> OwnMessage {
        OwnMessage { id: 0, room: Some("lobby".into()), to: None, is_action: false, text: text.into() }
    }

    fn drain(outbox: &mut Outbox) -> Vec<String> {
        std::iter::from_fn(|| outbox.take_next())
            .map(|next| match next {
                Outgoing::Message(message) => format!("{} {}", message.id, message.text),
                Outgoing::Request(request) => format!("{request:?}"),
            })
            .collect()
    }

    #[test]
    fn what_was_not_answered_is_sent_again_in_order_and_with_its_number() {
        let mut outbox = Outbox::default();
        outbox.push(message("a"));
        outbox.request(Request::Rooms);
        outbox.push(message("b"));
        outbox.push(message("c"));
        assert_eq!(drain(&mut outbox), ["1 a", "Rooms", "2 b", "3 c"]);
        assert_eq!(outbox.answered(2).unwrap().text, "b");
        assert!(outbox.answered(2).is_none() && outbox.answered(9).is_none());
        outbox.push(message("d"));
        outbox.begin_again(vec![Request::Who("x".into()), Request::Rooms]);
        outbox.push(message("e"));
        assert_eq!(drain(&mut outbox), ["Who(\"x\")", "Rooms", "1 a", "3 c", "4 d", "5 e"]);
        for id in [1, 3, 4, 5] {
            assert!(outbox.answered(id).is_some());
        }
        assert!(outbox.is_empty() && !outbox.has_next());
    }

    #[test]
    fn an_answer_to_what_was_not_sent_on_this_connection_counts_too() {
        let mut outbox = Outbox::default();
        outbox.push(message("a"));
        outbox.push(message("b"));
        drain(&mut outbox);
        outbox.begin_again(Vec::new());
        assert!(outbox.answered(1).is_some());
        assert_eq!(drain(&mut outbox), ["2 b"]);
    }
}
