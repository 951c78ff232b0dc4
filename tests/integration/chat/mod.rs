//! Chat: between real clients, and as a client of frames meets it.

mod bus;
mod clients;
mod coming_back;
mod history;
mod people;
mod rooms;

use serde_json::Value;

use crate::harness::Server;
use crate::harness::frames::{Answer, Raw, request};

/// A client of frames in the chat.
struct Member {
    raw: Raw,
}

impl Member {
    /// A guest that enters; `more` are further fields of `chat`, each with a comma in front.
    fn enter(server: &Server, room: &str, nick: &str, more: &str) -> Self {
        let mut member = Self::ask(server, room, nick, more);
        let joined = member.raw.answer();
        assert_eq!(joined.kind(), "joined", "{}", joined.header);
        member
    }

    /// As [`enter`](Self::enter), with the answer not yet read.
    fn ask(server: &Server, room: &str, nick: &str, more: &str) -> Self {
        let mut raw = Raw::open(server);
        raw.send(&request(&format!(r#""type":"chat","room":"{room}","nick":"{nick}"{more}"#), &[]));
        Self { raw }
    }

    fn send(&mut self, fields: &str, text: &str) {
        self.raw.send(&request(fields, text.as_bytes()));
    }

    /// The next message of this type; others are skipped.
    fn wait_for(&mut self, kind: &str) -> Answer {
        loop {
            let answer = self.raw.answer();
            if answer.kind() == kind {
                return answer;
            }
        }
    }

    /// The texts of what members send, up to the one that is `last`.
    fn texts_until(&mut self, last: &str) -> Vec<String> {
        let mut texts = Vec::new();
        loop {
            let said = String::from_utf8(self.wait_for("say").body).unwrap();
            texts.push(said);
            if texts.last().is_some_and(|text| text == last) {
                return texts;
            }
        }
    }
}

fn number(answer: &Answer, field: &str) -> u64 {
    answer.header.get(field).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {field}: {}", answer.header))
}
