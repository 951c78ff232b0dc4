//! What happens in the chat, as objects for programs. Each has `event`, and `room`, `time_ms`, `nick` and `seq` where
//! there is one.

use serde_json::{Map, Value, json};

use super::show::{View, room_of};
use crate::chat::ChatEvent;

/// The object for an event.
pub(super) fn object(event: &ChatEvent, view: View<'_>) -> Value {
    let (name, nick, seq, time_ms) = match event {
        ChatEvent::Said { fields, .. } => ("said", fields.nick.as_deref(), fields.seq, fields.time_ms),
        ChatEvent::Acknowledged { seq, time_ms, .. } => ("acknowledged", None, *seq, *time_ms),
        ChatEvent::NotSent { .. } => ("not-sent", None, None, None),
        ChatEvent::Joined { nick, seq, .. } => ("joined", Some(nick.as_str()), *seq, None),
        ChatEvent::Left { nick, .. } => ("left", Some(nick.as_str()), None, None),
        ChatEvent::Renamed { from, .. } => ("renamed", Some(from.as_str()), None, None),
        ChatEvent::Names { .. } => ("names", None, None, None),
        ChatEvent::Rooms(_) => ("rooms", None, None, None),
        ChatEvent::Who(row) => ("who", Some(row.nick.as_str()), None, None),
        ChatEvent::Topic { nick, time_ms, .. } => ("topic", nick.as_deref(), None, *time_ms),
        ChatEvent::Moderated { nick, .. } => ("moderated", Some(nick.as_str()), None, None),
        ChatEvent::Dropped { .. } => ("dropped", None, None, None),
        ChatEvent::Notice { .. } => ("notice", None, None, None),
        ChatEvent::Refused(_) => ("refused", None, None, None),
    };
    let mut object = Map::new();
    object.insert("event".into(), name.into());
    object.insert("time_ms".into(), time_ms.unwrap_or(view.now_ms).into());
    for (field, value) in [("room", room_of(event)), ("nick", nick)] {
        if let Some(value) = value {
            object.insert(field.into(), value.into());
        }
    }
    if let Some(seq) = seq {
        object.insert("seq".into(), seq.into());
    }
    if let Value::Object(more) = more(event, view) {
        object.extend(more.into_iter().filter(|(_, value)| !value.is_null()));
    }
    Value::Object(object)
}

fn more(event: &ChatEvent, view: View<'_>) -> Value {
    match event {
        ChatEvent::Said { fields, text } => json!({
            "text": text, "to": fields.to, "action": fields.is_action, "guest": fields.is_guest, "past": view.is_past,
        }),
        ChatEvent::Acknowledged { id, .. } => json!({ "id": id }),
        ChatEvent::NotSent { id, refusal } => {
            json!({ "id": id, "code": refusal.code.as_str(), "message": refusal.message })
        }
        ChatEvent::Joined { is_guest, .. } => json!({ "guest": is_guest, "returned": view.has_returned }),
        ChatEvent::Left { is_lost, .. } => json!({ "lost": is_lost }),
        ChatEvent::Renamed { to, .. } => json!({ "to": to }),
        ChatEvent::Names { names, .. } => json!({ "names": names }),
        ChatEvent::Rooms(rows) => json!({ "rooms": rows }),
        ChatEvent::Who(row) => json!(row),
        ChatEvent::Topic { text, .. } => json!({ "text": text }),
        ChatEvent::Moderated { act, by, ttl_ms, reason, .. } => {
            json!({ "act": format!("{act:?}").to_lowercase(), "by": by, "ttl_ms": ttl_ms, "reason": reason })
        }
        ChatEvent::Dropped { count, .. } => json!({ "count": count }),
        ChatEvent::Notice { name, message } => json!({ "name": name, "message": message }),
        ChatEvent::Refused(refusal) => json!({ "code": refusal.code.as_str(), "message": refusal.message }),
    }
}
