//! Who is banned or muted, for how long.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::error::{ErrorCode, Refusal};
use crate::net::origin::Origin;
use crate::trust::Owner;
use crate::wire::message::ModerationAct;

/// Bans and mutes that are kept at a time. Each costs some 200 bytes.
pub const MODERATED_MAX: usize = 10_000;

/// For whom an act holds: a key or token wherever it comes from, a guest by its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The owner of this key or token.
    Owner(Owner),
    /// All guests from this address.
    Address(Origin),
}

#[derive(Debug, Clone)]
struct Held {
    nick: String,
    /// `None`: until it is undone.
    until: Option<Instant>,
}

/// The acts that hold.
#[derive(Debug, Default)]
pub struct ModerationList {
    banned: HashMap<Subject, Held>,
    muted: HashMap<Subject, Held>,
}

impl ModerationList {
    /// Carries out a ban or a mute of `subject`, who has the nick `nick`.
    ///
    /// # Errors
    /// Too many hold already.
    pub fn hold(
        &mut self,
        act: ModerationAct,
        subject: Subject,
        nick: &str,
        time: Option<Duration>,
    ) -> Result<(), Refusal> {
        let now = Instant::now();
        let list = match act {
            ModerationAct::Ban => &mut self.banned,
            ModerationAct::Mute => &mut self.muted,
            ModerationAct::Kick | ModerationAct::Unban | ModerationAct::Unmute => return Ok(()),
        };
        list.retain(|_, held| held.until.is_none_or(|until| until > now));
        if list.len() >= MODERATED_MAX && !list.contains_key(&subject) {
            let text = format!("{MODERATED_MAX} bans or mutes hold already; undo one first");
            return Err(Refusal::new(ErrorCode::Busy, text));
        }
        // A time beyond what the clock can count is until it is undone.
        let until = time.and_then(|time| now.checked_add(time));
        list.insert(subject, Held { nick: nick.to_owned(), until });
        Ok(())
    }

    /// Undoes the bans or mutes of who had this nick; false: there is none.
    pub fn undo(&mut self, act: ModerationAct, nick: &str) -> bool {
        let list = if act == ModerationAct::Unban { &mut self.banned } else { &mut self.muted };
        let before = list.len();
        list.retain(|_, held| held.nick != nick);
        list.len() < before
    }

    /// # Errors
    /// The subject is banned.
    pub fn check_banned(&self, subject: Subject) -> Result<(), Refusal> {
        let text = "an operator has banned this peer from the chat";
        if holds(&self.banned, subject) { Err(Refusal::new(ErrorCode::NotAllowed, text)) } else { Ok(()) }
    }

    /// # Errors
    /// The subject is muted.
    pub fn check_muted(&self, subject: Subject) -> Result<(), Refusal> {
        let text = "an operator has muted this peer: it hears, and may not send messages";
        if holds(&self.muted, subject) { Err(Refusal::new(ErrorCode::NotAllowed, text)) } else { Ok(()) }
    }
}

fn holds(list: &HashMap<Subject, Held>, subject: Subject) -> bool {
    list.get(&subject).is_some_and(|held| held.until.is_none_or(|until| until > Instant::now()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_ban_holds_for_its_time_and_until_it_is_undone() {
        let mut list = ModerationList::default();
        let eve = Subject::Address(Origin::Network(Ipv4Addr::LOCALHOST.into()));
        let ann = Subject::Owner(Owner::Own);
        list.hold(ModerationAct::Ban, eve, "eve", None).unwrap();
        list.hold(ModerationAct::Mute, ann, "ann", Some(Duration::ZERO)).unwrap();
        list.hold(ModerationAct::Mute, eve, "eve", Some(Duration::MAX)).unwrap();
        assert!(list.check_banned(eve).is_err() && list.check_banned(ann).is_ok());
        assert!(list.check_muted(eve).is_err() && list.check_muted(ann).is_ok(), "its time is over");
        assert!(list.undo(ModerationAct::Unban, "eve") && !list.undo(ModerationAct::Unban, "eve"));
        assert!(list.check_banned(eve).is_ok() && list.check_muted(eve).is_err());
    }
}
