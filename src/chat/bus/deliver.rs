//! What other servers have published, for the members of this one.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::super::clients::ClientOrigin;
use super::super::event::Event;
use super::super::hub::HubState;
use super::super::names::Name;
use super::super::state::{ChatState, ROOMS_MAX};
use super::super::store::{Store, StoredEvent};
use super::record::{Identity, Record, RecordKind};
use crate::wire::message::{Message, SayFields};

/// Messages whose identity is remembered, so that one that two servers took from the same client is delivered once.
/// Each costs some 150 bytes.
const SEEN_MAX: usize = 100_000;

/// Identities of the last messages.
#[derive(Debug, Default)]
pub(super) struct Seen {
    known: HashSet<(String, u64)>,
    order: VecDeque<(String, u64)>,
}

impl Seen {
    /// Notes a message; whether it is new.
    pub(super) fn note(&mut self, identity: Identity) -> bool {
        let identity = (identity.who, identity.number);
        if !self.known.insert(identity.clone()) {
            return false;
        }
        self.order.push_back(identity);
        if self.order.len() > SEEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

impl HubState {
    /// Delivers a message that another server, or this one in an earlier life, has published. `is_past`: it stood on
    /// the bus before this server began. `is_new` is called under the hub's lock, when the room has what `store` kept.
    pub(super) fn deliver(
        &self,
        record: &Record,
        is_past: bool,
        store: Option<&dyn Store>,
        is_new: impl FnOnce() -> bool,
    ) {
        let Ok(name) = Name::parse(&record.room) else { return };
        // Who sends is slowed down at its own server; what is on the bus waits there.
        self.wait_for_room();
        let mut chat = self.lock();
        let Some(shown) = self.resident_room(&mut chat, &name) else {
            tracing::warn!(room = %record.room, "a message of another server has no room here: {ROOMS_MAX} is the limit");
            return;
        };
        if record.kind == RecordKind::Say && !is_new() {
            return;
        }
        note_client(&mut chat, record);
        let keep = |seq: u64, event: &Arc<Event>| {
            let stored = StoredEvent { room: Arc::clone(&shown), receiver: None, seq, event: Arc::clone(event) };
            if let Some(Err(refusal)) = store.map(|store| store.keep(stored, Box::new(|| ()))) {
                tracing::warn!(%refusal, "a message of another server is not in the history");
            }
        };
        let Some(room) = chat.rooms.get_mut(&shown) else { return };
        match record.kind {
            RecordKind::Say => {
                let seq = room.log.next();
                let event = say_event(record, &shown, seq, is_past);
                keep(seq, &event);
                let added = room.log.push(seq, Arc::clone(&event));
                chat.note_added(added);
                self.tell_room(&shown, &event, None);
            }
            RecordKind::Topic => {
                let (nick, time_ms) = (Some(record.nick.clone().into()), Some(record.time_ms));
                let topic = Message::Topic { room: shown.to_string().into(), nick, time_ms };
                let event = Event::of(topic, record.text.as_bytes());
                let is_known = room.topic.as_ref().map_or(&[][..], |topic| topic.body()) == record.text.as_bytes();
                if is_past && is_known {
                    return;
                }
                keep(room.log.last(), &event);
                room.topic = (!record.text.is_empty()).then(|| Arc::clone(&event));
                self.tell_room(&shown, &event, None);
            }
            RecordKind::Direct => {}
        }
    }

    /// Delivers a private message to a member of this server; whether it is here, or the message is not new.
    pub(super) fn deliver_direct(
        &self,
        record: &Record,
        store: Option<&dyn Store>,
        is_new: impl FnOnce() -> bool,
    ) -> bool {
        let Ok(name) = Name::parse(&record.room) else { return true };
        self.wait_for_room();
        let mut chat = self.lock();
        if !is_new() {
            return true;
        }
        note_client(&mut chat, record);
        let wanted = record.receiver.as_ref().and_then(|receiver| receiver.origin.as_deref());
        let found = chat.nicks.like(&name).and_then(|shown| chat.nicks.get(shown)).copied();
        let member = found.and_then(|id| Some((id, chat.members.get_mut(&id)?)));
        // A nick could be another client's by now.
        let is_it = |client: Option<&(String, ClientOrigin)>| client.map(|(_, origin)| origin.as_str()) == wanted;
        let Some((id, member)) = member.filter(|(_, member)| is_it(member.client.as_ref())) else { return false };
        let seq = member.direct.next();
        let event = direct_event(record, &member.nick, seq);
        let receiver = member.client.as_ref().map(|(_, origin)| origin.clone());
        let stored = StoredEvent { room: member.nick.as_str().into(), receiver, seq, event: Arc::clone(&event) };
        if let Some(Err(refusal)) = store.map(|store| store.keep(stored, Box::new(|| ()))) {
            tracing::warn!(%refusal, "a private message of another server is not in the history");
        }
        let (added, is_here) = (member.direct.push(seq, Arc::clone(&event)), member.away_since.is_none());
        chat.note_added(added);
        if is_here {
            self.tell(id, event);
        }
        true
    }

    /// Tells the members of all rooms that messages are missing.
    pub(super) fn tell_gap(&self) {
        let chat = self.lock();
        for (shown, _) in chat.rooms.entries() {
            let gap = Message::Dropped { count: 0, room: Some(shown.to_owned().into()) };
            self.tell_room(&Arc::from(shown), &Event::of(gap, &[]), None);
        }
    }

    /// Tells the members of all rooms something of the chat itself.
    pub(super) fn tell_notice(&self, name: &'static str, message: &'static str) {
        let chat = self.lock();
        let rooms: Vec<Arc<str>> = chat.rooms.entries().map(|(shown, _)| shown.into()).collect();
        self.tell_rooms(&rooms, &Event::of(Message::Notice { name: name.into(), message: message.into() }, &[]));
    }

    /// Notes messages of this server's clients that stand in the outbox, so that they are not taken once more.
    pub(super) fn note_own(&self, records: &[Record]) {
        let mut chat = self.lock();
        for record in records {
            note_client(&mut chat, record);
        }
    }
}

/// The client may come to this server and send again what it has no answer to.
fn note_client(chat: &mut ChatState, record: &Record) {
    let origin = record.origin.as_deref().and_then(ClientOrigin::of_kept);
    if let Some((origin, id)) = origin.zip(record.id)
        && chat.clients.repeated(&origin, id).is_none()
    {
        chat.clients.note(&origin, id, None, record.time_ms);
    }
}

/// A private message with its number among those of its receiver.
pub(super) fn direct_event(record: &Record, to: &str, seq: u64) -> Arc<Event> {
    let event = say_event(record, to, seq, false);
    let Message::Say { fields } = event.message() else { return event };
    let fields = SayFields { room: None, to: Some(to.to_owned().into()), ..fields.clone() };
    Event::of(Message::Say { fields }, record.text.as_bytes())
}

fn say_event(record: &Record, room: &str, seq: u64, is_past: bool) -> Arc<Event> {
    let fields = SayFields {
        room: Some(room.to_owned().into()),
        nick: Some(record.nick.clone().into()),
        to: None,
        id: record.id,
        origin: record.origin.clone().map(Into::into),
        seq: Some(seq),
        time_ms: Some(record.time_ms),
        is_action: record.action,
        is_guest: record.guest,
        is_past,
    };
    Event::of(Message::Say { fields }, record.text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_new_once_and_what_is_remembered_is_bounded() {
        let mut seen = Seen::default();
        let of = |who: &str, number| Identity { who: who.into(), number, is_sure: true };
        assert!(seen.note(of("a", 5)) && seen.note(of("a", 4)) && seen.note(of("b", 5)));
        assert!(!seen.note(of("a", 5)) && !seen.note(of("a", 4)));
        for id in 0..SEEN_MAX as u64 {
            seen.note(of("c", id));
        }
        assert_eq!((seen.known.len(), seen.order.len()), (SEEN_MAX, SEEN_MAX));
        assert!(seen.note(of("a", 5)), "it was so long ago that it is forgotten");
    }
}
