//! A bot that answers `!time` in a room: `cargo run --example chat_bot -- HOST [ROOM]`.

use std::error::Error;
use std::time::SystemTime;

use landline::chat::ChatEvent;
use landline::wire::message::SayFields;
use landline::{Client, Home};

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let host = words.next().ok_or("usage: chat_bot HOST [ROOM]")?;
    let room = words.next().unwrap_or_else(|| "lobby".into());
    let mut client = Client::connect(&Home::open(None)?, &host)?;
    let mut stay = client.chat(&room, "clock")?;
    while let Some(event) = stay.listener.hear()? {
        if matches!(&event, ChatEvent::Said { text, .. } if text.trim() == "!time") {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
            stay.speaker.say(SayFields::default(), &format!("{} s since 1970", since.as_secs()))?;
        }
    }
    Ok(())
}
