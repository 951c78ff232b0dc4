//! Whose a nick is: a known peer's cannot be taken by another, also while that peer is away.

use std::collections::HashMap;

use super::names::{Name, Names};
use crate::error::{ErrorCode, Refusal};
use crate::trust::Owner;

/// Nicks that belong to one peer at a time: with one more, the one that it used first is free.
pub const NICKS_PER_OWNER_MAX: usize = 4;
/// Peers whose nicks are remembered.
pub const OWNERS_MAX: usize = 10_000;

/// The owners of nicks.
#[derive(Debug, Default)]
pub struct NickOwners {
    nicks: Names<Owner>,
    of: HashMap<Owner, Vec<String>>,
}

impl NickOwners {
    /// # Errors
    /// The nick belongs to another peer.
    pub fn check(&self, nick: &Name, owner: Option<Owner>) -> Result<(), Refusal> {
        let holder = self.nicks.like(nick).and_then(|shown| Some((shown, self.nicks.get(shown)?)));
        match holder {
            Some((shown, holder)) if Some(*holder) != owner => Err(belongs(nick.as_str(), shown)),
            _ => Ok(()),
        }
    }

    /// Notes that a peer uses a nick, which [`check`](Self::check) allowed.
    pub fn note(&mut self, nick: &Name, owner: Owner) {
        if self.nicks.like(nick).is_some() {
            return;
        }
        if !self.of.contains_key(&owner) && self.of.len() >= OWNERS_MAX {
            return;
        }
        let used = self.of.entry(owner).or_default();
        if used.len() >= NICKS_PER_OWNER_MAX {
            self.nicks.remove(&used.remove(0));
        }
        used.push(nick.as_str().to_owned());
        // Nothing looks like it: that was asked at the beginning.
        drop(self.nicks.insert(nick.clone(), owner).map_err(str::to_owned));
    }
}

/// The refusal of a nick that is another's.
pub(super) fn belongs(nick: &str, shown: &str) -> Refusal {
    let like = if nick == shown { String::new() } else { format!("looks like {shown}, which ") };
    let text = format!("{nick} {like}belongs to a peer that is known here; choose another nick");
    Refusal::new(ErrorCode::NameTaken, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::identity::Fingerprint;

    #[test]
    fn a_nick_is_its_peers_while_it_is_away() {
        let name = |text: &str| Name::parse(text).unwrap();
        let ann = Owner::Key(Fingerprint::of_spki(b"ann"));
        let mut owners = NickOwners::default();
        owners.note(&name("ann"), ann);
        assert!(owners.check(&name("ann"), Some(ann)).is_ok());
        for other in [None, Some(Owner::Own)] {
            let refusal = owners.check(&name("\u{430}nn"), other).unwrap_err();
            assert!(refusal.message.contains("looks like ann"), "{}", refusal.message);
        }
        for more in ["b1x", "b2x", "b3x", "b4x"] {
            owners.note(&name(more), ann);
        }
        assert!(owners.check(&name("ann"), None).is_ok(), "the first of five is free");
        assert!(owners.check(&name("b4x"), None).is_err());
    }
}
