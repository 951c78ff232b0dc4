//! A pairing that waits: the code that one command printed, kept where this user's servers find it.
//!
//! A guess is counted here, on disk and under the home's lock, before it is answered. So a client that hangs up, or
//! opens a hundred connections at once, has no more than three guesses.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::code::Code;
use super::commands::Commands;
use super::home::{Home, HomeError};
use super::peers::KnownPeer;
use super::{Service, Services};
use crate::fs::unix::seconds_since_1970;

/// The file's name, in the home.
const FILE: &str = "pairing.json";
/// Wrong guesses, of all clients together, that end a pairing.
pub const GUESSES_MAX: u32 = 3;
/// How long a pairing waits.
pub const OFFER_TIME_MAX: Duration = Duration::from_mins(10);

/// Services of a newly paired machine, unless the operator sets others.
pub const ALLOW_DEFAULT: [Service; 3] = [Service::Echo, Service::Chat, Service::Read];

/// What the operator grants the machine that is paired. For a known peer, what is `None` stays unchanged: a new code
/// grants it no more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PairingOptions {
    /// Its services; `None`: unchanged, or [`ALLOW_DEFAULT`] if it had none.
    pub allow: Option<Services>,
    /// The commands that it may run; `None`: unchanged, or any if it was not known.
    pub commands: Option<Commands>,
    /// Its name; `None`: unchanged, or the name that it gives itself if it was not known.
    pub name: Option<String>,
    /// The directory below the server's root that it is shown, empty for all of it; `None`: unchanged, or all of it if
    /// it was not known.
    pub root: Option<String>,
}

impl PairingOptions {
    /// The peer with these options applied.
    #[must_use]
    pub fn applied_to(&self, peer: KnownPeer) -> KnownPeer {
        let before = if peer.services == Services::NONE { Services::of(&ALLOW_DEFAULT) } else { peer.services };
        KnownPeer {
            services: self.allow.unwrap_or(before),
            commands: self.commands.clone().unwrap_or(peer.commands),
            root: self.root.clone().map_or(peer.root, |root| Some(root).filter(|root| !root.is_empty())),
            ..peer
        }
    }
}

/// An open pairing.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Tells this offer from an earlier one.
    id: String,
    /// The code.
    pub code: Code,
    /// What the machine that knows the code is granted.
    pub wish: PairingOptions,
    /// Guesses left after the current one.
    pub guesses_left: u32,
}

/// The state of an offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Standing {
    /// No client has used the right code yet.
    Waiting {
        /// The number of guesses left.
        guesses_left: u32,
        /// Guesses that were wrong, or were never finished.
        #[serde(default)]
        wrong: u32,
    },
    /// A client knew the code; both ends are about to record each other.
    Claimed,
    /// The pairing is complete.
    Paired {
        /// The peer's name here.
        name: String,
        /// Its key.
        fingerprint: String,
        /// Its record before the pairing; `None`: it was not known.
        #[serde(default)]
        before: Option<PeerBefore>,
    },
    /// It was ended by [`GUESSES_MAX`] wrong guesses.
    Spoiled,
    /// The right code, but the peer could not be recorded.
    Failed {
        /// The reason.
        why: String,
    },
    /// It has waited for [`OFFER_TIME_MAX`].
    Expired,
    /// It was withdrawn, or a newer offer has replaced it.
    Gone,
}

/// The record of a peer before it was paired again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerBefore {
    /// Its name.
    pub name: String,
    /// What it could do: a phrase that completes "could".
    pub scope: String,
}

impl PeerBefore {
    /// The record of `peer`, as it is now.
    pub fn of(peer: &KnownPeer) -> Self {
        Self { name: peer.name.clone(), scope: peer.scope() }
    }
}

/// There is no offer that a guess could be made at.
#[derive(Debug, thiserror::Error)]
pub enum NoOffer {
    /// No pairing waits.
    #[error("no pairing is open here; its operator opens one with: tcp-server pair")]
    None,
    /// It was ended by wrong guesses.
    #[error("the pairing was ended by {GUESSES_MAX} wrong codes; its operator opens another with: tcp-server pair")]
    Spoiled,
    /// The home could not be read or written.
    #[error(transparent)]
    Home(#[from] HomeError),
}

#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    id: String,
    code: String,
    allow: Option<String>,
    commands: Option<Commands>,
    name: Option<String>,
    root: Option<String>,
    /// When the offer expires, in seconds since 1970.
    expires: u64,
    standing: Standing,
}

impl Stored {
    fn load(home: &Home) -> Result<Option<Self>, HomeError> {
        // A malformed file counts as no offer: only this program writes it, as a whole.
        Ok(home.read_secret(FILE)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    fn store(&self, home: &Home) -> Result<(), HomeError> {
        let bytes = zeroize::Zeroizing::new(serde_json::to_vec(self).unwrap_or_default());
        home.replace_secret(FILE, &bytes)
    }

    fn is_expired(&self) -> bool {
        let now = seconds_since_1970(SystemTime::now());
        // A clock that was set back does not give an offer more time than it had.
        now >= self.expires || self.expires - now > OFFER_TIME_MAX.as_secs()
    }
}

impl Offer {
    /// Opens a pairing; a pairing that still waits is replaced.
    ///
    /// # Errors
    /// The disk refused, or the kernel has no random numbers.
    pub fn open(home: &Home, wish: PairingOptions) -> Result<Self, HomeError> {
        let failed = |source| HomeError::Io { path: home.join(FILE), source };
        let code = Code::random().map_err(failed)?;
        let mut id = [0_u8; 8];
        rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| failed(errno.into()))?;
        let id = format!("{:016x}", u64::from_le_bytes(id));
        let expires = seconds_since_1970(SystemTime::now()) + OFFER_TIME_MAX.as_secs();
        let _lock = home.lock()?;
        let stored = Stored {
            id: id.clone(),
            code: code.as_str().to_owned(),
            allow: wish.allow.map(|allow| allow.to_string()),
            commands: wish.commands.clone(),
            name: wish.name.clone(),
            root: wish.root.clone(),
            expires,
            standing: Standing::Waiting { guesses_left: GUESSES_MAX, wrong: 0 },
        };
        stored.store(home)?;
        Ok(Self { id, code, wish, guesses_left: GUESSES_MAX })
    }

    /// Takes one guess at the open offer. The guess is counted, on disk, when this returns.
    ///
    /// # Errors
    /// [`NoOffer`].
    pub fn take_guess(home: &Home) -> Result<Self, NoOffer> {
        let _lock = home.lock()?;
        let mut stored = Stored::load(home)?.filter(|stored| !stored.is_expired()).ok_or(NoOffer::None)?;
        let Standing::Waiting { guesses_left, wrong } = stored.standing else {
            return Err(if stored.standing == Standing::Spoiled { NoOffer::Spoiled } else { NoOffer::None });
        };
        // The last guess is being made on another connection.
        let guesses_left = guesses_left.checked_sub(1).ok_or(NoOffer::Spoiled)?;
        let code = stored.code.parse().map_err(|_unreadable| NoOffer::None)?;
        let allow = stored.allow.as_deref().map(str::parse).transpose().map_err(|_unreadable| NoOffer::None)?;
        stored.standing = Standing::Waiting { guesses_left, wrong };
        stored.store(home)?;
        let Stored { id, commands, name, root, .. } = stored;
        Ok(Self { id, code, wish: PairingOptions { allow, commands, name, root }, guesses_left })
    }

    fn settle(&self, home: &Home, from: fn(&Standing) -> bool, to: Standing) -> Result<bool, HomeError> {
        self.change(home, from, |_| to)
    }

    /// Changes the standing, if this offer's present standing satisfies `from`; returns whether it did.
    fn change(
        &self,
        home: &Home,
        from: fn(&Standing) -> bool,
        to: impl FnOnce(&Standing) -> Standing,
    ) -> Result<bool, HomeError> {
        let _lock = home.lock()?;
        let Some(mut stored) = Stored::load(home)?.filter(|stored| stored.id == self.id && from(&stored.standing))
        else {
            return Ok(false);
        };
        stored.standing = to(&stored.standing);
        if !matches!(stored.standing, Standing::Waiting { .. }) {
            // The code is used up, whatever follows.
            stored.code.clear();
        }
        stored.store(home)?;
        Ok(true)
    }

    /// Uses the code up, for the client that knew it; `false` if another client was faster.
    ///
    /// # Errors
    /// The disk refused.
    pub fn claim(&self, home: &Home) -> Result<bool, HomeError> {
        self.settle(home, |standing| matches!(standing, Standing::Waiting { .. }), Standing::Claimed)
    }

    /// Records how the pairing ended after [`claim`](Self::claim).
    ///
    /// # Errors
    /// The disk refused.
    pub fn report(&self, home: &Home, standing: Standing) -> Result<(), HomeError> {
        self.settle(home, |standing| *standing == Standing::Claimed, standing).map(drop)
    }

    /// Records a guess that was wrong or never finished; after the last one, the offer is over.
    ///
    /// # Errors
    /// The disk refused.
    pub fn note_wrong(&self, home: &Home) -> Result<(), HomeError> {
        let is_waiting = |standing: &Standing| matches!(standing, Standing::Waiting { .. });
        let wrong = |standing: &Standing| match standing {
            Standing::Waiting { guesses_left: 0, .. } => Standing::Spoiled,
            Standing::Waiting { guesses_left, wrong } => {
                Standing::Waiting { guesses_left: *guesses_left, wrong: wrong + 1 }
            }
            other => other.clone(),
        };
        self.change(home, is_waiting, wrong).map(drop)
    }

    /// The present standing of this offer.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn standing(&self, home: &Home) -> Result<Standing, HomeError> {
        // Under the lock: while the file is replaced, it is missing for a moment.
        let _lock = home.lock()?;
        let Some(stored) = Stored::load(home)?.filter(|stored| stored.id == self.id) else { return Ok(Standing::Gone) };
        // Also if it was claimed: the server may have died before it could record the end.
        let is_open = matches!(stored.standing, Standing::Waiting { .. } | Standing::Claimed);
        let is_over = is_open && stored.is_expired();
        Ok(if is_over { Standing::Expired } else { stored.standing })
    }

    /// Withdraws the offer, if it still waits. Otherwise the record of how it ended stays, without the code.
    ///
    /// # Errors
    /// The disk refused.
    pub fn withdraw(&self, home: &Home) -> Result<(), HomeError> {
        let _lock = home.lock()?;
        let stored = Stored::load(home)?.filter(|stored| stored.id == self.id);
        let waits = stored.is_some_and(|stored| matches!(stored.standing, Standing::Waiting { .. }));
        if waits { home.remove(FILE) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::list::Entry as _;
    use std::os::unix::fs::PermissionsExt as _;

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let home = Home::open(Some(dir.path())).unwrap();
        (dir, home)
    }

    fn open(home: &Home) -> Offer {
        Offer::open(home, PairingOptions::default()).unwrap()
    }

    #[test]
    fn three_guesses_and_no_more_however_many_lines_come() {
        let (_dir, home) = home();
        let offer = open(&home);
        let taken: Vec<bool> = std::thread::scope(|scope| {
            let guessing: Vec<_> = (0..20).map(|_| scope.spawn(|| Offer::take_guess(&home).is_ok())).collect();
            guessing.into_iter().map(|guess| guess.join().unwrap()).collect()
        });
        assert_eq!(taken.iter().filter(|taken| **taken).count(), 3);
        assert_eq!(offer.standing(&home).unwrap(), Standing::Waiting { guesses_left: 0, wrong: 0 });
        offer.note_wrong(&home).unwrap();
        assert_eq!(offer.standing(&home).unwrap(), Standing::Spoiled);
        assert!(!offer.claim(&home).unwrap(), "too late");
        assert!(matches!(Offer::take_guess(&home), Err(NoOffer::Spoiled)));
    }

    #[test]
    fn what_is_not_said_stays_as_it_was() {
        let new = KnownPeer::new("a", super::super::identity::Fingerprint::of_spki(b"a"));
        let words = |words: &str| words.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let applied = |wish: &PairingOptions, peer: &KnownPeer| wish.applied_to(peer.clone()).scope();
        assert_eq!(applied(&PairingOptions::default(), &new), "echo,chat,read here");
        let shown = KnownPeer { services: "read".parse().unwrap(), root: Some("in".into()), ..new.clone() };
        let ruled = KnownPeer {
            services: "exec".parse().unwrap(),
            commands: Commands::Listed(vec![words("uptime -s")]),
            ..new.clone()
        };
        let (nothing, all) = (PairingOptions::default(), |allow: &str| PairingOptions {
            allow: allow.parse().ok(),
            ..PairingOptions::default()
        });
        assert_eq!(applied(&nothing, &shown), "read here, and is shown /in");
        assert_eq!(applied(&nothing, &ruled), "exec here, and run only: uptime -s");
        assert_eq!(applied(&all("read,write"), &shown), "read,write here, and is shown /in");
        assert_eq!(applied(&all("none"), &shown), "do nothing here, and is shown /in");
        let whole = PairingOptions { root: Some(String::new()), ..PairingOptions::default() };
        assert_eq!(applied(&whole, &shown), "read here");
        let free = PairingOptions { commands: Some(Commands::Any), ..PairingOptions::default() };
        assert_eq!(applied(&free, &ruled), "exec here");
        assert!(all("exec").applied_to(shown).check().is_err(), "the root that stays makes it a lie");
        // Nothing else is lost either.
        let full = KnownPeer { address: Some("x:1".into()), from: Some("y".into()), ..ruled };
        assert_eq!(nothing.applied_to(full.clone()), full);
    }

    #[test]
    fn wrong_guesses_are_counted_for_the_operator() {
        let (_dir, home) = home();
        let offer = open(&home);
        let guess = Offer::take_guess(&home).unwrap();
        assert_eq!(offer.standing(&home).unwrap(), Standing::Waiting { guesses_left: 2, wrong: 0 });
        guess.note_wrong(&home).unwrap();
        assert_eq!(offer.standing(&home).unwrap(), Standing::Waiting { guesses_left: 2, wrong: 1 });
    }

    #[test]
    fn a_code_is_good_for_one() {
        let (_dir, home) = home();
        let offer = open(&home);
        let (first, second) = (Offer::take_guess(&home).unwrap(), Offer::take_guess(&home).unwrap());
        assert!(first.claim(&home).unwrap());
        assert!(!second.claim(&home).unwrap());
        assert!(!String::from_utf8(home.read(FILE).unwrap().unwrap()).unwrap().contains(offer.code.as_str()));
        let paired = Standing::Paired { name: "a".into(), fingerprint: "b".into(), before: None };
        first.report(&home, paired.clone()).unwrap();
        second.note_wrong(&home).unwrap();
        assert_eq!(offer.standing(&home).unwrap(), paired);
        assert!(matches!(Offer::take_guess(&home), Err(NoOffer::None)));
    }

    #[test]
    fn an_offer_ends_with_its_time_and_with_a_newer_one() {
        let (_dir, home) = home();
        let old = open(&home);
        let new = open(&home);
        assert_eq!(old.standing(&home).unwrap(), Standing::Gone);
        old.withdraw(&home).unwrap();
        let mut stored = Stored::load(&home).unwrap().unwrap();
        stored.expires -= OFFER_TIME_MAX.as_secs();
        stored.store(&home).unwrap();
        assert_eq!(new.standing(&home).unwrap(), Standing::Expired);
        assert!(matches!(Offer::take_guess(&home), Err(NoOffer::None)));
        new.withdraw(&home).unwrap();
        assert!(home.read(FILE).unwrap().is_none());
    }
}
