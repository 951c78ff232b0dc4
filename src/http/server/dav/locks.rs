//! The locks that there are (RFC 4918, 6 and 7), in memory: they hold for what comes by HTTP, until they end or the
//! server does.
//!
//! A change is told here before it begins and when it is over, and a lock is given only where nothing is being changed:
//! so no change that began without a lock goes on under it. Nor do two changes go on in one tree, if one of them is of
//! the whole tree.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::holder::Holder;
use super::place::{Place, Spot};

/// Locks that there are at the same time, at most.
pub const LOCKS_MAX: usize = 4_096;
/// Locks of one peer or, of guests, of one address.
pub const LOCKS_OF_ONE_MAX: usize = 256;
/// Locks of all sessions of one link: however many these are, there is room for those of others.
pub const LOCKS_OF_LINK_MAX: usize = 512;
/// Locks of all guests and all sessions of links: who has a link of many uses does not take the room of others.
pub const LOCKS_OF_PASSING_MAX: usize = 2_048;
/// Shared locks of one resource: each is told with all that is below it.
pub const SHARED_LOCKS_MAX: usize = 16;
/// How long a lock holds before it is to be refreshed, at most.
pub const LOCK_TIME_MAX: Duration = Duration::from_hours(1);
/// How long a request waits for changes that are under way.
const CHANGE_WAIT: Duration = Duration::from_secs(5);

/// All locks.
#[derive(Debug, Default)]
pub(in super::super) struct Locks {
    table: Mutex<Table>,
    /// A change is over.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Table {
    locks: BTreeMap<Place, Vec<Lock>>,
    /// How many each holder has.
    held: HashMap<Holder, usize>,
    /// When the next one ends, at the earliest.
    next_end: Option<Instant>,
    /// What is being changed.
    changing: Vec<(u64, Touch)>,
    last_change: u64,
}

/// One lock.
#[derive(Debug, Clone)]
pub(super) struct Lock {
    pub(super) token: Arc<str>,
    /// Whose it is: only with its holder's requests does the token count (6.4).
    pub(super) holder: Holder,
    pub(super) is_exclusive: bool,
    /// Whether it holds for all that is below.
    pub(super) is_deep: bool,
    /// The element of its owner; empty: none.
    pub(super) owner: Arc<str>,
    pub(super) ends: Instant,
    /// Whether its root is a directory.
    pub(super) is_of_dir: bool,
    pub(super) root: Place,
}

/// What a request does to a resource.
#[derive(Debug, Clone)]
pub(in super::super) enum Touch {
    /// Its content or properties change, and it stays where it is.
    Content(Place),
    /// It appears in its directory, or goes (7.4).
    Member(Spot),
    /// The same with all that is below it.
    Tree(Spot),
}

impl Touch {
    pub(super) const fn place(&self) -> &Place {
        match self {
            Self::Content(own) | Self::Member(Spot { own, .. }) | Self::Tree(Spot { own, .. }) => own,
        }
    }

    /// Whether one of both is of a whole tree in which the other is.
    fn excludes(&self, other: &Self) -> bool {
        let has = |one: &Self, other: &Self| matches!(one, Self::Tree(_)) && other.place().is_within(one.place());
        has(self, other) || has(other, self)
    }

    /// Whether a lock at `place` would guard what is touched.
    fn concerns(&self, place: &Place, is_deep: bool) -> bool {
        let above = match self {
            Self::Content(_) => None,
            Self::Member(spot) | Self::Tree(spot) => spot.above.as_ref(),
        };
        place == self.place()
            || above == Some(place)
            || is_deep && self.place().is_below(place)
            || matches!(self, Self::Tree(_)) && place.is_below(self.place())
    }
}

/// The locks that a request shows to have.
#[derive(Debug, Clone)]
pub(in super::super) struct Keys {
    pub(super) holder: Holder,
    pub(super) tokens: Vec<String>,
}

impl Keys {
    /// The same with one more.
    pub(super) fn with(&self, token: &str) -> Self {
        let tokens = self.tokens.iter().map(String::as_str).chain([token]).map(str::to_owned).collect();
        Self { holder: self.holder.clone(), tokens }
    }

    /// Whether the lock is its holder's, and among those that the request shows.
    pub(super) fn opens(&self, lock: &Lock) -> bool {
        lock.holder == self.holder && self.tokens.iter().any(|token| **token == *lock.token)
    }
}

/// Why a change may not begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoChange {
    /// There are locks.
    Locked(Locked),
    /// Something else is being changed there.
    Changing,
}

/// Locks for which a request has no token: their roots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Locked(pub(super) Vec<Place>);

/// Why a lock is not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoLock {
    /// Another one is in the way, with these roots.
    Conflict(Vec<Place>),
    /// There are too many.
    TooMany,
    /// Something is being changed there.
    Changing,
}

/// A change that is under way; it is over when this is dropped.
#[derive(Debug)]
pub(in super::super) struct Changing<'l> {
    locks: &'l Locks,
    number: u64,
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        let mut table = self.locks.table();
        table.changing.retain(|(number, _)| *number != self.number);
        drop(table);
        self.locks.changed.notify_all();
    }
}

impl Locks {
    /// The table, without locks that have ended.
    fn table(&self) -> MutexGuard<'_, Table> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.next_end.is_some_and(|end| end <= Instant::now()) {
            table.end(Instant::now());
        }
        table
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.table().locks.is_empty()
    }

    /// Whether the request may touch this.
    ///
    /// # Errors
    /// There is a lock for which it has no token.
    pub(super) fn check(&self, touches: &[Touch], keys: &Keys) -> Result<(), Locked> {
        self.table().check(touches, keys)
    }

    /// The same, and no lock is given there until the change is over.
    ///
    /// # Errors
    /// [`NoChange`].
    pub(super) fn change(&self, touches: Vec<Touch>, keys: &Keys) -> Result<Changing<'_>, NoChange> {
        let is_in_the_way =
            |table: &Table| table.changing.iter().any(|(_, other)| touches.iter().any(|touch| touch.excludes(other)));
        let mut table = self.wait_until_not(is_in_the_way).ok_or(NoChange::Changing)?;
        table.check(&touches, keys).map_err(NoChange::Locked)?;
        table.last_change += 1;
        let number = table.last_change;
        table.changing.extend(touches.into_iter().map(|touch| (number, touch)));
        Ok(Changing { locks: self, number })
    }

    /// Gives a lock.
    ///
    /// # Errors
    /// [`NoLock`].
    pub(super) fn take(&self, lock: Lock) -> Result<(), NoLock> {
        let is_changing = |table: &Table| {
            let concerns = |touch: &Touch| {
                touch.concerns(&lock.root, lock.is_deep)
                    || matches!(touch, Touch::Tree(_)) && lock.root.is_within(touch.place())
            };
            table.changing.iter().any(|(_, touch)| concerns(touch))
        };
        self.wait_until_not(is_changing).ok_or(NoLock::Changing)?.take(lock)
    }

    /// The table, once changes that are in the way are over; `None`: they take too long.
    fn wait_until_not(&self, is_in_the_way: impl Fn(&Table) -> bool) -> Option<MutexGuard<'_, Table>> {
        let deadline = Instant::now() + CHANGE_WAIT;
        let mut table = self.table();
        while is_in_the_way(&table) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            (table, _) = self.changed.wait_timeout(table, left).unwrap_or_else(PoisonError::into_inner);
        }
        Some(table)
    }

    /// Refreshes the locks of a holder that guard `place` and have one of these tokens (9.10.2); whether there was one.
    pub(super) fn refresh(&self, place: &Place, keys: &Keys, ends: Instant) -> bool {
        let mut table = self.table();
        let found: Vec<_> = table.guarding(place).into_iter().filter(|lock| keys.opens(lock)).cloned().collect();
        for lock in &found {
            let locks = table.locks.get_mut(&lock.root);
            if let Some(one) = locks.and_then(|locks| locks.iter_mut().find(|one| one.token == lock.token)) {
                one.ends = ends;
            }
        }
        // It may be earlier than the one that is noted.
        table.next_end = Some(table.next_end.map_or(ends, |end| end.min(ends)));
        !found.is_empty()
    }

    /// The lock with this token, if it guards `place`.
    pub(super) fn find(&self, place: &Place, token: &str) -> Option<Lock> {
        self.table().guarding(place).into_iter().find(|lock| &*lock.token == token).cloned()
    }

    /// Ends one lock.
    pub(super) fn remove(&self, lock: &Lock) {
        self.table().remove(&lock.root, |one| one.token == lock.token);
    }

    /// Ends the locks of what is below `place`, and with `own` those of itself: it is gone.
    pub(super) fn forget(&self, place: &Place, own: bool) {
        let mut table = self.table();
        let mut gone: Vec<Place> = table.locks.range(place.members()).map(|(place, _)| place.clone()).collect();
        gone.extend(own.then(|| place.clone()));
        for place in gone {
            table.remove(&place, |_| true);
        }
    }

    /// Ends the locks of holders that are not known any more.
    pub(in super::super) fn forget_unless(&self, is_known: &dyn Fn(&Holder) -> bool) {
        let mut table = self.table();
        if table.held.keys().all(is_known) {
            return;
        }
        let places: Vec<Place> = table.locks.keys().cloned().collect();
        for place in places {
            table.remove(&place, |lock| !is_known(&lock.holder));
        }
    }

    /// The locks that guard `place`.
    pub(super) fn of(&self, place: &Place) -> Vec<Lock> {
        self.table().guarding(place).into_iter().cloned().collect()
    }
}

impl Table {
    /// The locks of a resource: its own, and those of directories above it that go deep.
    fn guarding(&self, place: &Place) -> Vec<&Lock> {
        if self.locks.is_empty() {
            return Vec::new();
        }
        let own = self.locks.get(place).into_iter().flatten();
        let above = place.above().filter_map(|above| self.locks.get(&above));
        let deep: Vec<&Lock> = above.flatten().filter(|lock| lock.is_deep).collect();
        own.chain(deep).collect()
    }

    fn check(&self, touches: &[Touch], keys: &Keys) -> Result<(), Locked> {
        if self.locks.is_empty() {
            return Ok(());
        }
        let mut missing = Vec::new();
        // Of several shared ones any is enough (7).
        let mut need = |place: &Place| {
            let guarding = self.guarding(place);
            if !guarding.is_empty() && !guarding.iter().any(|lock| keys.opens(lock)) {
                missing.extend(guarding.iter().map(|lock| lock.root.clone()));
            }
        };
        for touch in touches {
            need(touch.place());
            if let Touch::Member(Spot { above: Some(above), .. }) | Touch::Tree(Spot { above: Some(above), .. }) = touch
            {
                need(above);
            }
            if let Touch::Tree(Spot { own, .. }) = touch {
                self.locks.range(own.members()).for_each(|(place, _)| need(place));
            }
        }
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() { Ok(()) } else { Err(Locked(missing)) }
    }

    /// How many locks these holders have.
    fn held_by(&self, is_one: impl Fn(&Holder) -> bool) -> usize {
        self.held.iter().filter(|(holder, _)| is_one(holder)).map(|(_, held)| held).sum()
    }

    fn take(&mut self, lock: Lock) -> Result<(), NoLock> {
        let is_in_the_way = |other: &&Lock| lock.is_exclusive || other.is_exclusive;
        let below = self.locks.range(lock.root.members()).filter(|_| lock.is_deep).flat_map(|(_, locks)| locks);
        let here = self.guarding(&lock.root);
        let mut conflicts: Vec<Place> =
            here.into_iter().chain(below).filter(is_in_the_way).map(|other| other.root.clone()).collect();
        conflicts.sort_unstable();
        conflicts.dedup();
        if !conflicts.is_empty() {
            return Err(NoLock::Conflict(conflicts));
        }
        let held = self.held.get(&lock.holder).copied().unwrap_or(0);
        let shared = self.guarding(&lock.root).len();
        let of_link = self.held_by(|holder| holder.shares_link(&lock.holder));
        let is_passing_full = || self.held_by(Holder::is_passing) >= LOCKS_OF_PASSING_MAX;
        if of_link >= LOCKS_OF_LINK_MAX || lock.holder.is_passing() && is_passing_full() {
            return Err(NoLock::TooMany);
        }
        let all = self.held_by(|_| true);
        if all >= LOCKS_MAX || held >= LOCKS_OF_ONE_MAX || shared >= SHARED_LOCKS_MAX {
            return Err(NoLock::TooMany);
        }
        self.held.insert(lock.holder.clone(), held + 1);
        self.next_end = Some(self.next_end.map_or(lock.ends, |end| end.min(lock.ends)));
        self.locks.entry(lock.root.clone()).or_default().push(lock);
        Ok(())
    }

    /// Ends locks at `place`.
    fn remove(&mut self, place: &Place, is_meant: impl Fn(&Lock) -> bool) {
        let Some(locks) = self.locks.get_mut(place) else { return };
        for lock in locks.extract_if(.., |lock| is_meant(lock)) {
            if let Some(held) = self.held.get_mut(&lock.holder) {
                *held -= 1;
                if *held == 0 {
                    self.held.remove(&lock.holder);
                }
            }
        }
        if locks.is_empty() {
            self.locks.remove(place);
        }
    }

    /// Ends the locks whose time is over.
    fn end(&mut self, now: Instant) {
        let is_over = |lock: &Lock| lock.ends <= now;
        let over: Vec<Place> =
            self.locks.iter().filter(|(_, locks)| locks.iter().any(is_over)).map(|(place, _)| place.clone()).collect();
        for place in over {
            self.remove(&place, is_over);
        }
        self.next_end = self.locks.values().flatten().map(|lock| lock.ends).min();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> Spot {
        let own = Place::of_test(path);
        let above = own.above().next();
        Spot { own, above }
    }

    fn keys(holder: &str, tokens: &[&str]) -> Keys {
        Keys { holder: holder.into(), tokens: tokens.iter().map(|token| (*token).to_owned()).collect() }
    }

    fn lock(path: &str, holder: &str, (is_exclusive, is_deep): (bool, bool)) -> Lock {
        Lock {
            token: format!("urn:{holder}:{path}").into(),
            holder: holder.into(),
            is_exclusive,
            is_deep,
            owner: "".into(),
            ends: Instant::now() + LOCK_TIME_MAX,
            is_of_dir: true,
            root: at(path).own,
        }
    }

    #[test]
    fn locks_guard_what_the_standard_says() {
        let locks = Locks::default();
        locks.take(lock("/a", "me", (true, false))).unwrap();
        locks.take(lock("/b", "me", (true, true))).unwrap();
        let content = |path| Touch::Content(at(path).own);
        let member = |path| Touch::Member(at(path));
        let tree = |path| Touch::Tree(at(path));
        for (clause, touch, token, is_allowed) in [
            ("7: what is locked", content("/a"), "", false),
            ("7: with its token", content("/a"), "urn:me:/a", true),
            ("7: with another one", content("/a"), "urn:me:/b", false),
            ("7.4: depth 0: a member's content", content("/a/x"), "", true),
            ("7.4: depth 0: a new member", member("/a/x"), "", false),
            ("7.4: depth 0: a new member, with its token", member("/a/x"), "urn:me:/a", true),
            ("7.4: depth 0: deeper", member("/a/x/y"), "", true),
            ("7.4: infinity: a member's content", content("/b/x/y"), "", false),
            ("7.4: infinity: with its token", content("/b/x/y"), "urn:me:/b", true),
            ("9.6.1: what holds a lock", tree("/"), "", false),
            ("9.6.1: with one token of two", tree("/"), "urn:me:/a", false),
            ("7: beside it", tree("/ab"), "", true),
        ] {
            let checked = locks.check(&[touch], &keys("me", &[token]));
            assert_eq!(checked.is_ok(), is_allowed, "RFC 4918, {clause}");
        }
        let others = keys("you", &["urn:me:/a", "urn:me:/b"]);
        assert!(locks.check(&[content("/a")], &others).is_err(), "RFC 4918, 6.4: another's token is no key");
        assert!(locks.check(&[tree("/")], &keys("me", &["urn:me:/a", "urn:me:/b"])).is_ok());
        let Locked(roots) = locks.check(&[tree("/")], &keys("me", &[])).unwrap_err();
        assert_eq!(roots, [at("/a").own, at("/b").own]);
    }

    #[test]
    fn locks_exclude_each_other() {
        let (exclusive, shared, deep) = ((true, false), (false, false), (true, true));
        for (clause, first, second, is_given) in [
            ("6.2: two exclusive ones", lock("/a", "me", exclusive), lock("/a", "you", exclusive), false),
            ("6.2: nor of one holder", lock("/a", "me", exclusive), lock("/a", "me", exclusive), false),
            ("6.2: exclusive, then shared", lock("/a", "me", exclusive), lock("/a", "you", shared), false),
            ("6.2: shared, then exclusive", lock("/a", "me", shared), lock("/a", "you", exclusive), false),
            ("6.2: two shared ones", lock("/a", "me", shared), lock("/a", "you", shared), true),
            ("7.4: above, deep", lock("/a", "me", deep), lock("/a/b/c", "you", exclusive), false),
            ("7.4: above, not deep", lock("/a", "me", exclusive), lock("/a/b", "you", exclusive), true),
            ("7.4: below", lock("/a/b", "me", exclusive), lock("/a", "you", deep), false),
            ("7.4: below, not deep", lock("/a/b", "me", exclusive), lock("/a", "you", exclusive), true),
            ("7.4: beside", lock("/a", "me", deep), lock("/ab", "you", deep), true),
        ] {
            let locks = Locks::default();
            locks.take(first).unwrap();
            assert_eq!(locks.take(second).is_ok(), is_given, "RFC 4918, {clause}");
        }
        // Of shared ones any token is enough.
        let locks = Locks::default();
        locks.take(lock("/a", "me", shared)).unwrap();
        locks.take(lock("/a", "you", shared)).unwrap();
        let touch = || [Touch::Content(at("/a").own)];
        assert!(locks.check(&touch(), &keys("you", &["urn:you:/a"])).is_ok());
        assert!(locks.check(&touch(), &keys("they", &["urn:you:/a"])).is_err());
    }

    #[test]
    fn locks_end() {
        let locks = Locks::default();
        let over = Lock { ends: Instant::now(), ..lock("/a", "me", (true, false)) };
        locks.take(over.clone()).unwrap();
        assert!(locks.is_empty(), "its time is over");
        locks.take(lock("/a", "me", (true, true))).unwrap();
        let (place, mine) = (at("/a/b").own, keys("me", &["urn:me:/a"]));
        assert!(!locks.refresh(&place, &keys("you", &["urn:me:/a"]), Instant::now()));
        assert!(locks.refresh(&place, &mine, Instant::now() + LOCK_TIME_MAX), "RFC 4918, 9.10.2: by a member");
        assert!(!locks.is_empty());
        assert!(locks.refresh(&place, &mine, Instant::now()));
        assert!(locks.is_empty());
        locks.take(lock("/a", "me", (true, true))).unwrap();
        let found = locks.find(&place, "urn:me:/a").unwrap();
        assert!(locks.find(&at("/b").own, "urn:me:/a").is_none());
        locks.remove(&found);
        assert!(locks.is_empty());
        for path in ["/a", "/a/b", "/ab"] {
            locks.take(lock(path, "me", (true, false))).unwrap();
        }
        locks.forget(&at("/a").own, false);
        assert_eq!([at("/a"), at("/a/b"), at("/ab")].map(|spot| locks.of(&spot.own).len()), [1, 0, 1]);
        locks.forget(&at("/a").own, true);
        locks.forget(&at("/ab").own, true);
        let table = locks.table();
        assert!(table.held.is_empty() && table.locks.is_empty());
    }

    #[test]
    fn there_are_only_so_many() {
        let locks = Locks::default();
        for number in 0..LOCKS_OF_ONE_MAX {
            locks.take(lock(&format!("/{number}"), "me", (true, false))).unwrap();
        }
        assert_eq!(locks.take(lock("/more", "me", (true, false))), Err(NoLock::TooMany));
        for number in LOCKS_OF_ONE_MAX..LOCKS_MAX {
            locks.take(lock(&format!("/{number}"), &number.to_string(), (true, false))).unwrap();
        }
        assert_eq!(locks.take(lock("/more", "you", (true, false))), Err(NoLock::TooMany));
        locks.forget(&at("/0").own, true);
        locks.take(lock("/more", "me", (true, false))).unwrap();
    }

    #[test]
    fn a_link_of_many_uses_leaves_room_for_other_links() {
        let locks = Locks::default();
        for number in 0..LOCKS_OF_LINK_MAX {
            locks.take(lock(&format!("/{number}"), &format!("link/{}", number % 4), (true, false))).unwrap();
        }
        let take = |path: &str, holder: &str| locks.take(lock(path, holder, (true, false)));
        for holder in ["link/0", "link/new"] {
            assert_eq!(take("/more", holder), Err(NoLock::TooMany), "{holder}");
        }
        for (path, holder) in [("/a", "other/0"), ("/b", "guest 192.0.2.1"), ("/c", "me")] {
            take(path, holder).unwrap();
        }
        locks.forget(&at("/0").own, true);
        take("/more", "link/new").unwrap();
    }

    #[test]
    fn holders_that_pass_leave_room_and_go() {
        let locks = Locks::default();
        for number in 0..LOCKS_OF_PASSING_MAX {
            locks.take(lock(&format!("/{number}"), &format!("{}/{}", number % 5, number % 17), (true, false))).unwrap();
        }
        for holder in ["other/new", "guest 192.0.2.1"] {
            assert_eq!(locks.take(lock("/more", holder, (true, false))), Err(NoLock::TooMany), "{holder}");
        }
        locks.take(lock("/known", "me", (true, false))).unwrap();
        locks.forget_unless(&|holder| holder.is_of_test("me"));
        let counts = |table: MutexGuard<'_, Table>| (table.held.values().sum::<usize>(), table.held.len());
        assert_eq!(counts(locks.table()), (1, 1));
        locks.take(lock("/more", "guest 192.0.2.1", (true, false))).unwrap();
    }

    #[test]
    fn one_resource_has_only_so_many() {
        let locks = Locks::default();
        for number in 0..SHARED_LOCKS_MAX {
            locks.take(lock("/a", &number.to_string(), (false, true))).unwrap();
        }
        for path in ["/a", "/a/b"] {
            assert_eq!(locks.take(lock(path, "more", (false, true))), Err(NoLock::TooMany), "{path}");
        }
    }

    #[test]
    fn a_lock_waits_for_changes_that_are_under_way() {
        let locks = Locks::default();
        for (path, touched) in [("/a", "/a"), ("/a", "/a/b"), ("/a/b", "/a")] {
            let changing = locks.change(vec![Touch::Tree(at(touched))], &keys("you", &[])).unwrap();
            std::thread::scope(|scope| {
                let other = scope.spawn(|| locks.change(vec![Touch::Tree(at(path))], &keys("me", &[])).map(drop));
                locks.change(vec![Touch::Content(at("/b").own)], &keys("you", &[])).unwrap();
                let changing = changing;
                drop(changing);
                other.join().unwrap().unwrap();
            });
            let changing = locks.change(vec![Touch::Tree(at(touched))], &keys("you", &[])).unwrap();
            std::thread::scope(|scope| {
                let taken = scope.spawn(|| locks.take(lock(path, "me", (true, true))));
                drop(changing);
                taken.join().unwrap().unwrap();
            });
            locks.forget(&at(path).own, true);
        }
        let _changing = locks.change(vec![Touch::Content(at("/a").own)], &keys("you", &[])).unwrap();
        locks.take(lock("/b", "me", (true, true))).unwrap();
    }
}
