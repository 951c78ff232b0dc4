//! Places: a working directory and variables under a name, which a peer keeps between separate commands.
//!
//! ```text
//! client: place NAME + variables          server: cwd PATH
//! client: places                          server: data* (a place a line), end
//! client: exec in a place                 (see `serve`)
//! ```
//!
//! They live as long as the server, and no longer than they are used now and then.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::environment::check_name;
use super::process::split_words;
use super::{COMMAND_LEN_MAX, VARIABLES_MAX};
use crate::connection::Connection;
use crate::error::{ErrorCode, Refusal, Result};
use crate::fs::root::RootPath;
use crate::session::Session;
use crate::trust::Owner;
use crate::wire::channel::unexpected;
use crate::wire::message::Message;

/// How long a place is kept after its last use, unless its owner sets another time.
pub const TTL_DEFAULT: Duration = Duration::from_hours(12);
/// The longest time that an owner may set.
pub const TTL_MAX: Duration = Duration::from_hours(30 * 24);
/// Largest number of places of one peer.
pub const PLACES_MAX: usize = 100;
/// Largest length of all variables of a place, in bytes.
pub const VARIABLES_LEN_MAX: usize = 64 * 1024;
/// Longest name of a place, in bytes.
const NAME_LEN_MAX: usize = 64;

/// One place, a line of JSON on the wire and with `--list-places --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceEntry {
    /// Its name.
    pub place: String,
    /// Its directory, relative to the server's root.
    pub path: String,
    /// The names of its variables.
    pub variables: Vec<String>,
    /// Milliseconds until it is removed, if it is not used.
    pub expires_ms: u64,
}

#[derive(Debug)]
struct StoredPlace {
    path: RootPath,
    variables: Vec<OsString>,
    ttl: Duration,
    used: Instant,
}

impl StoredPlace {
    fn rest(&self) -> Duration {
        self.ttl.saturating_sub(self.used.elapsed())
    }

    /// `NAME=VALUE` sets a variable, `NAME` removes it.
    fn set(&mut self, variable: OsString) {
        let name = |variable: &OsStr| variable.as_bytes().split(|byte| *byte == b'=').next().map(<[u8]>::to_vec);
        self.variables.retain(|known| name(known) != name(&variable));
        if variable.as_bytes().contains(&b'=') {
            self.variables.push(variable);
        }
    }

    fn len(&self) -> usize {
        self.variables.iter().map(|variable| variable.len()).sum()
    }
}

/// All peers' places.
#[derive(Debug, Default)]
pub struct Places(Mutex<HashMap<Owner, HashMap<String, StoredPlace>>>);

impl Places {
    /// Returns a place's directory and variables, and counts as a use of it.
    ///
    /// # Errors
    /// Its owner has none of that name.
    pub fn find(&self, owner: &Owner, name: &str) -> Result<(RootPath, Vec<OsString>), Refusal> {
        let mut all = self.lock();
        let places = all.entry(*owner).or_default();
        match places.get_mut(name) {
            Some(place) => {
                place.used = Instant::now();
                Ok((place.path.clone(), place.variables.clone()))
            }
            None => Err(unknown(name, places)),
        }
    }

    /// Removes the places of all owners for which `may_stay` returns `false`.
    pub fn forget_unless(&self, may_stay: &dyn Fn(&Owner) -> bool) {
        self.lock().retain(|owner, _| may_stay(owner));
    }

    fn list(&self, owner: &Owner) -> Vec<PlaceEntry> {
        let all = self.lock();
        let listed = all.get(owner).into_iter().flatten().map(|(name, place)| PlaceEntry {
            place: name.clone(),
            path: place.path.to_string(),
            variables: place.variables.iter().map(|variable| name_of(variable)).collect(),
            expires_ms: u64::try_from(place.rest().as_millis()).unwrap_or(u64::MAX),
        });
        let mut listed: Vec<_> = listed.collect();
        listed.sort_by(|a, b| a.place.cmp(&b.place));
        listed
    }

    /// Locks the places, and removes those that have expired.
    fn lock(&self) -> MutexGuard<'_, HashMap<Owner, HashMap<String, StoredPlace>>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for places in all.values_mut() {
            places.retain(|_, place| !place.rest().is_zero());
        }
        // A peer that only looked for a place has left an empty entry.
        all.retain(|_, places| !places.is_empty());
        all
    }
}

fn name_of(variable: &OsStr) -> String {
    variable.to_string_lossy().split('=').next().unwrap_or_default().to_owned()
}

fn unknown(name: &str, places: &HashMap<String, StoredPlace>) -> Refusal {
    let mut names: Vec<&str> = places.keys().map(String::as_str).collect();
    names.sort_unstable();
    let others = if names.is_empty() { String::new() } else { format!(", but {}", names.join(", ")) };
    let text = format!("{name}: you have no place of that name here{others}; a cd in it makes it");
    Refusal::new(ErrorCode::NotFound, text)
}

fn check(name: &str) -> Result<(), Refusal> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !name.is_empty() && name.len() <= NAME_LEN_MAX && name.chars().all(is_fine) {
        return Ok(());
    }
    let text =
        format!("{name:?} cannot be a place's name: it takes letters, digits, dots, - and _, at most {NAME_LEN_MAX}");
    Err(Refusal::new(ErrorCode::BadName, text))
}

/// Changes to a place. Without any, the place is only looked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlaceChange<'c> {
    /// The new directory, relative to the present one; `None`: unchanged.
    pub path: Option<&'c [u8]>,
    /// Milliseconds to keep it after its last use; 0 removes it; `None`: unchanged.
    pub ttl_ms: Option<u64>,
    /// `NAME=VALUE` sets a variable, `NAME` removes it, as in [`Message::Place`].
    pub variables: &'c [OsString],
}

/// How a client wants a place to change.
#[derive(Debug, Clone, Copy)]
pub struct PlaceRequest<'r> {
    /// Its directory, from where it stands; `None`: as it is.
    pub path: Option<&'r [u8]>,
    /// Time that it is kept after its last use, in ms; 0: forget it; `None`: as it is.
    pub ttl_ms: Option<u64>,
    /// Number of variables in the body.
    pub variables: u32,
}

/// Serves `place`: makes a place, changes it, or only returns its directory.
///
/// # Errors
/// A refusal for the client, or the connection failed.
pub fn serve_place(
    connection: &mut Connection,
    session: &mut Session,
    places: &Places,
    name: &str,
    request: PlaceRequest<'_>,
) -> Result<()> {
    let PlaceRequest { path, ttl_ms, variables: count } = request;
    let body = connection.receiver().body(COMMAND_LEN_MAX)?;
    let owner = session.owner()?;
    check(name)?;
    let bad = |why: String| Refusal::new(ErrorCode::BadRequest, why);
    if count > VARIABLES_MAX {
        return Err(bad(format!("{count} variables; {VARIABLES_MAX} is the most")).into());
    }
    let (variables, _) = split_words(count, &body).map_err(|why| bad(why.to_string()))?;
    for variable in &variables {
        check_name(variable).map_err(|why| bad(why.to_string()))?;
    }
    let stands = places.find(&owner, name).map(|(path, _)| path);
    if path.is_none() && ttl_ms.is_none() && variables.is_empty() {
        return say_path(connection, session, &stands?);
    }
    let base = stands.unwrap_or_else(|_unknown| session.cwd.clone());
    let moved = path.map_or_else(|| Ok(base.clone()), |path| base.join(path))?;
    if ttl_ms == Some(0) {
        // Also if its directory is gone.
        places.lock().entry(owner).or_default().remove(name);
        return say_path(connection, session, &moved);
    }
    // A place is kept only if its directory exists.
    session.root.open_dir(&moved)?;
    let mut all = places.lock();
    let own = all.entry(owner).or_default();
    let full = own.len() >= PLACES_MAX;
    let place = match own.entry(name.to_owned()) {
        Entry::Vacant(_) if full => {
            let text = format!("you have {PLACES_MAX} places here, which is the most; forget one first");
            return Err(Refusal::new(ErrorCode::Busy, text).into());
        }
        Entry::Vacant(vacant) => vacant.insert(StoredPlace {
            path: moved.clone(),
            variables: Vec::new(),
            ttl: TTL_DEFAULT,
            used: Instant::now(),
        }),
        Entry::Occupied(occupied) => occupied.into_mut(),
    };
    let before = place.variables.clone();
    for variable in variables {
        place.set(variable);
    }
    if place.variables.len() > VARIABLES_MAX as usize || place.len() > VARIABLES_LEN_MAX {
        place.variables = before;
        let text = format!("a place keeps at most {VARIABLES_MAX} variables, and {VARIABLES_LEN_MAX} bytes of them");
        return Err(Refusal::new(ErrorCode::BadRequest, text).into());
    }
    place.path = moved.clone();
    place.ttl = ttl_ms.map_or(place.ttl, |ms| Duration::from_millis(ms).min(TTL_MAX));
    place.used = Instant::now();
    drop(all);
    say_path(connection, session, &moved)
}

fn say_path(connection: &mut Connection, session: &mut Session, path: &RootPath) -> Result<()> {
    session.report.outcome = Some(path.to_string());
    connection.sender().send(&Message::Cwd { path: path.to_absolute().into() }, &[])
}

/// Serves `places`.
///
/// # Errors
/// A refusal for the client, or the connection failed.
pub fn serve_places(connection: &mut Connection, session: &Session, places: &Places) -> Result<()> {
    let listed = places.list(&session.owner()?);
    connection.send_listing(listed.into_iter().map(Ok)).map(|_count| ())
}

/// Makes a place, changes it, or only looks for it; returns its directory.
///
/// # Errors
/// The server refused, or the connection failed.
pub fn call_place(connection: &mut Connection, name: &str, change: PlaceChange<'_>) -> Result<Vec<u8>> {
    let body: Vec<u8> =
        change.variables.iter().flat_map(|variable| variable.as_bytes().iter().copied().chain([0])).collect();
    let variables = u32::try_from(change.variables.len()).unwrap_or(u32::MAX);
    let (path, ttl_ms) = (change.path.map(Into::into), change.ttl_ms);
    connection.sender().send(&Message::Place { place: name.into(), path, ttl_ms, variables }, &body)?;
    match connection.answer_or_refusal("cwd")? {
        Message::Cwd { path } => Ok(path.into_owned()),
        other => Err(unexpected(&other, "cwd")),
    }
}

/// Lists this peer's places.
///
/// # Errors
/// The server refused, or the connection failed.
pub fn call_places(connection: &mut Connection) -> Result<Vec<PlaceEntry>> {
    connection.sender().send(&Message::Places, &[])?;
    connection.listing()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_keeps_the_last_value_of_each_variable() {
        let mut place =
            StoredPlace { path: RootPath::default(), variables: Vec::new(), ttl: TTL_DEFAULT, used: Instant::now() };
        for variable in ["A=1", "B=2", "A=3=4", "AB=5", "B", "C"] {
            place.set(variable.into());
        }
        assert_eq!(place.variables, ["A=3=4", "AB=5"]);
        assert_eq!(name_of(OsStr::new("A=3=4")), "A");
    }

    #[test]
    fn a_place_whose_time_is_up_is_gone_and_nobody_sees_those_of_others() {
        let places = Places::default();
        let place = |ttl| StoredPlace { path: RootPath::default(), variables: Vec::new(), ttl, used: Instant::now() };
        let other = Owner::Key(crate::trust::identity::Fingerprint::of_spki(b"other"));
        places
            .0
            .lock()
            .unwrap()
            .entry(Owner::Own)
            .or_default()
            .extend([("old".to_owned(), place(Duration::ZERO)), ("new".to_owned(), place(TTL_DEFAULT))]);
        let text = places.find(&Owner::Own, "old").unwrap_err().message;
        assert!(text.contains("here, but new; a cd in it"), "{text}");
        assert!(places.find(&Owner::Own, "new").is_ok());
        assert!(places.find(&other, "new").unwrap_err().message.contains("name here; a cd in it"));
        places.forget_unless(&|owner| *owner == other);
        assert!(places.find(&Owner::Own, "new").is_err());
    }

    #[test]
    fn names_can_be_typed() {
        for name in ["build", "a-b_c.1"] {
            assert!(check(name).is_ok(), "{name}");
        }
        for name in ["", "a b", "a/b", "ä", &"x".repeat(65)] {
            assert!(check(name).is_err(), "{name}");
        }
    }
}
