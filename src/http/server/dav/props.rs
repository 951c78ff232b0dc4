//! Properties that clients have set (RFC 4918, 4), in memory: they are gone when the server ends.
//!
//! They are a file's, and not its name's: what another program has put in the file's place has none of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::holder::Holder;
use super::place::{Inode, Node, Place};
use crate::http::dav::multistatus::Dead;
use crate::http::dav::xml::Name;

/// Properties of one resource, in bytes.
pub const PROPERTIES_LEN_MAX: usize = 64 * 1024;
/// Properties that one peer or, of guests, one address has set, in bytes.
pub const PROPERTIES_OF_ONE_LEN_MAX: usize = 4 * 1024 * 1024;
/// Properties that all sessions of one link have set, in bytes: however many these are, there is room for others.
pub const PROPERTIES_OF_LINK_LEN_MAX: usize = 4 * 1024 * 1024;
/// Properties that all guests and all sessions of links have set, in bytes.
pub const PROPERTIES_OF_PASSING_LEN_MAX: usize = 16 * 1024 * 1024;
/// All properties, in bytes.
pub const PROPERTIES_OF_ALL_LEN_MAX: usize = 32 * 1024 * 1024;
/// What a property takes besides its texts.
const PROPERTY_COST: usize = 256;

/// The properties of all resources.
#[derive(Debug, Default)]
pub(in super::super) struct DeadProperties(Mutex<Store>);

#[derive(Debug, Default)]
struct Store {
    resources: BTreeMap<Place, Kept>,
    /// Bytes of each who has set some.
    of: HashMap<Holder, usize>,
    len: usize,
}

/// The properties of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    /// The file or directory that has them.
    inode: Inode,
    properties: Vec<Owned>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Owned {
    dead: Dead,
    holder: Holder,
    /// Bytes that it counts for.
    cost: usize,
}

/// One change of a resource's properties.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Set(Dead),
    Remove(Name),
}

/// The properties that a resource had before a change.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Before(Option<Kept>);

/// There is no room for more properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

impl DeadProperties {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is none.
    pub(in super::super) fn is_empty(&self) -> bool {
        self.store().resources.is_empty()
    }

    /// The properties of a resource.
    pub(super) fn of(&self, place: &Place, inode: Inode) -> Vec<Dead> {
        self.store().of(place, inode).iter().map(|owned| owned.dead.clone()).collect()
    }

    /// Changes the properties of a resource: all of them, or none. Returns what it had, for
    /// [`restore`](Self::restore).
    ///
    /// # Errors
    /// [`Full`].
    pub(super) fn change(&self, node: &Node, holder: &Holder, changes: &[Change]) -> Result<Before, Full> {
        let Node { place, inode } = node;
        let mut store = self.store();
        let mut properties = store.of(place, *inode).to_vec();
        for change in changes {
            let (Change::Set(Dead { name, .. }) | Change::Remove(name)) = change;
            properties.retain(|owned| owned.dead.name != *name);
            if let Change::Set(dead) = change {
                let cost = cost_of(place, dead);
                properties.push(Owned { dead: dead.clone(), holder: holder.clone(), cost });
            }
        }
        let before = store.take(place);
        match store.put(place, Kept { inode: *inode, properties }, holder) {
            Ok(()) => Ok(Before(before)),
            Err(full) => {
                store.put_back(place, before);
                Err(full)
            }
        }
    }

    /// The file `new` has been given the name of `old` by a client's PUT: it is the same resource with another content
    /// (9.7.1), and keeps the properties. `None`: there was nothing.
    pub(in super::super) fn replace(&self, place: &Place, old: Option<Inode>, new: Inode) {
        let mut store = self.store();
        match store.resources.get_mut(place) {
            Some(kept) if Some(kept.inode) == old => kept.inode = new,
            // They were of a file that is gone.
            Some(_) => drop(store.take(place)),
            None => {}
        }
    }

    /// Gives a resource the properties that it had.
    pub(super) fn restore(&self, place: &Place, before: Before) {
        let mut store = self.store();
        store.take(place);
        store.put_back(place, before.0);
    }

    /// Gives a copy the properties of what it is a copy of, in place of those that were there, as far as there is room.
    pub(super) fn copy(&self, from: &Node, to: &Node, holder: &Holder) {
        let mut store = self.store();
        store.take(&to.place);
        let copied = store.of(&from.place, from.inode).iter().map(|owned| {
            let cost = cost_of(&to.place, &owned.dead);
            Owned { dead: owned.dead.clone(), holder: holder.clone(), cost }
        });
        let properties = copied.collect();
        if store.put(&to.place, Kept { inode: to.inode, properties }, holder).is_err() {
            tracing::debug!("the properties of a copy have no room");
        }
    }

    /// Moves the properties of what was moved, with all that is below it.
    pub(super) fn rename(&self, from: &Place, to: &Place) {
        let mut store = self.store();
        for place in store.within(from) {
            let (Some(mut kept), moved) = (store.take(&place), place.moved(from, to)) else { continue };
            // A longer path takes more room. Where it is not there, the properties stay behind: they are forgotten.
            for owned in &mut kept.properties {
                owned.cost = cost_of(&moved, &owned.dead);
            }
            let holders: Vec<_> = kept.properties.iter().map(|owned| owned.holder.clone()).collect();
            store.put_back(&moved, Some(kept));
            if holders.iter().any(|holder| store.is_over(holder)) {
                tracing::debug!("the properties of what was moved have no room there");
                store.take(&moved);
            }
        }
    }

    /// Drops the properties that holders have set who are not known any more.
    pub(in super::super) fn forget_unless(&self, is_known: &dyn Fn(&Holder) -> bool) {
        let mut store = self.store();
        if store.of.keys().all(is_known) {
            return;
        }
        let places: Vec<Place> = store.resources.keys().cloned().collect();
        for place in places {
            let mut kept = store.take(&place);
            if let Some(kept) = &mut kept {
                kept.properties.retain(|owned| is_known(&owned.holder));
            }
            store.put_back(&place, kept);
        }
    }

    /// Drops the properties of what is gone, with all that is below it.
    pub(super) fn forget(&self, place: &Place) {
        let mut store = self.store();
        for place in store.within(place) {
            store.take(&place);
        }
    }
}

fn cost_of(place: &Place, Dead { name, text }: &Dead) -> usize {
    place.len() + name.namespace.len() + name.local.len() + text.len() + PROPERTY_COST
}

impl Store {
    /// The resources that have properties, from `place` down.
    fn within(&self, place: &Place) -> Vec<Place> {
        let own = self.resources.contains_key(place).then_some(place);
        own.into_iter().chain(self.resources.range(place.members()).map(|(place, _)| place)).cloned().collect()
    }

    /// What the file at `place` has, if it is `inode`.
    fn of(&self, place: &Place, inode: Inode) -> &[Owned] {
        let kept = self.resources.get(place).filter(|kept| kept.inode == inode);
        kept.map_or(&[], |kept| kept.properties.as_slice())
    }

    fn take(&mut self, place: &Place) -> Option<Kept> {
        let kept = self.resources.remove(place);
        for Owned { holder, cost, .. } in kept.iter().flat_map(|kept| &kept.properties) {
            self.len -= cost;
            if let Some(len) = self.of.get_mut(holder) {
                *len -= cost;
                if *len == 0 {
                    self.of.remove(holder);
                }
            }
        }
        kept
    }

    fn put(&mut self, place: &Place, kept: Kept, holder: &Holder) -> Result<(), Full> {
        let len = |of: &dyn Fn(&Owned) -> bool| -> usize {
            kept.properties.iter().filter(|owned| of(owned)).map(|owned| owned.cost).sum()
        };
        let (all, own) = (len(&|_| true), len(&|owned| owned.holder == *holder));
        if all > PROPERTIES_LEN_MAX || self.len + all > PROPERTIES_OF_ALL_LEN_MAX || self.would_be_over(holder, own) {
            return Err(Full);
        }
        self.put_back(place, Some(kept));
        Ok(())
    }

    /// Whether there is more than there may be, of all or of `holder`.
    fn is_over(&self, holder: &Holder) -> bool {
        self.len > PROPERTIES_OF_ALL_LEN_MAX || self.would_be_over(holder, 0)
    }

    /// Whether `more` bytes of a holder would be more than it, or those with whom it shares, may have.
    fn would_be_over(&self, holder: &Holder, more: usize) -> bool {
        let len = |is_one: &dyn Fn(&Holder) -> bool| -> usize {
            self.of.iter().filter(|(holder, _)| is_one(holder)).map(|(_, len)| len).sum()
        };
        len(&|other| other == holder) + more > PROPERTIES_OF_ONE_LEN_MAX
            || len(&|other| other.shares_link(holder)) + more > PROPERTIES_OF_LINK_LEN_MAX
            || holder.is_passing() && len(&Holder::is_passing) + more > PROPERTIES_OF_PASSING_LEN_MAX
    }

    /// Puts properties that count already, or have room.
    fn put_back(&mut self, place: &Place, kept: Option<Kept>) {
        let Some(kept) = kept.filter(|kept| !kept.properties.is_empty()) else { return };
        for Owned { holder, cost, .. } in &kept.properties {
            self.len += cost;
            *self.of.entry(holder.clone()).or_default() += cost;
        }
        self.resources.insert(place.clone(), kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> Place {
        Place::of_test(path)
    }

    /// Whatever is there, it is the same file.
    fn node(path: &str) -> Node {
        Node { place: at(path), inode: Inode::of_test(1) }
    }

    fn set(name: &str, len: usize) -> Change {
        Change::Set(Dead { name: Name::new("urn:x", name), text: "x".repeat(len).into() })
    }

    fn names(properties: &DeadProperties, path: &str) -> Vec<String> {
        properties.of(&at(path), Inode::of_test(1)).iter().map(|dead| dead.name.local.to_string()).collect()
    }

    #[test]
    fn properties_go_where_their_resource_goes() {
        let (properties, me): (_, Holder) = (DeadProperties::default(), "me".into());
        let change = |path: &str, changes: &[Change]| properties.change(&node(path), &me, changes).unwrap();
        change("/a", &[set("one", 1), set("two", 2), set("one", 3)]);
        change("/a/b", &[set("below", 1)]);
        change("/ab", &[set("beside", 1)]);
        assert_eq!(names(&properties, "/a"), ["two", "one"], "in the order of the request");
        change("/a", &[Change::Remove(Name::new("urn:x", "two")), Change::Remove(Name::new("urn:x", "none"))]);
        properties.rename(&at("/a"), &at("/c"));
        assert_eq!([names(&properties, "/a").len(), names(&properties, "/a/b").len()], [0, 0]);
        assert_eq!((names(&properties, "/c"), names(&properties, "/c/b")), (vec!["one".into()], vec!["below".into()]));
        properties.copy(&node("/c"), &node("/ab"), &"you".into());
        assert_eq!((names(&properties, "/c"), names(&properties, "/ab")), (vec!["one".into()], vec!["one".into()]));
        properties.copy(&node("/none"), &node("/ab"), &"you".into());
        assert!(names(&properties, "/ab").is_empty(), "a copy of what has none has none");
        properties.forget(&at("/c"));
        let store = properties.store();
        assert!(store.resources.is_empty() && store.of.is_empty() && store.len == 0, "{store:?}");
    }

    #[test]
    fn what_has_the_name_of_another_file_has_not_its_properties() {
        let (properties, me): (_, Holder) = (DeadProperties::default(), "me".into());
        let [first, put, other] = [1, 2, 3].map(Inode::of_test);
        let count = |inode: Inode| properties.of(&at("/a"), inode).len();
        let node = |inode: Inode| Node { place: at("/a"), inode };
        properties.change(&node(first), &me, &[set("one", 1), set("two", 1)]).unwrap();
        assert_eq!((count(first), count(other)), (2, 0));
        properties.replace(&at("/a"), Some(first), put);
        assert_eq!((count(first), count(put)), (0, 2), "RFC 4918, 9.7.1: a PUT keeps them");
        properties.copy(&node(other), &Node { place: at("/b"), inode: other }, &me);
        assert!(properties.of(&at("/b"), other).is_empty());
        properties.change(&node(other), &me, &[set("three", 1)]).unwrap();
        assert_eq!((count(put), count(other)), (0, 1), "what is new begins with none");
        properties.replace(&at("/a"), Some(put), first);
        let store = properties.store();
        assert!(store.resources.is_empty() && store.of.is_empty() && store.len == 0, "{store:?}");
    }

    #[test]
    fn a_longer_path_counts_for_more() {
        let properties = DeadProperties::default();
        properties.change(&node("/a"), &"me".into(), &[set("one", 1)]).unwrap();
        let before = properties.store().len;
        properties.rename(&at("/a"), &at("/abcdefghij"));
        assert_eq!(properties.store().len, before + 9);
        let large = PROPERTIES_LEN_MAX - PROPERTY_COST - 100;
        let fill = |number: usize| properties.change(&node(&format!("/{number}")), &"me".into(), &[set("a", large)]);
        let count = (0..100).take_while(|number| fill(*number).is_ok()).count();
        for number in 0..count {
            properties.rename(&at(&format!("/{number}")), &at(&format!("/{}{number}", "x".repeat(3_000))));
        }
        assert!(properties.store().of.values().all(|len| *len <= PROPERTIES_OF_ONE_LEN_MAX));
    }

    #[test]
    fn properties_go_with_who_has_set_them() {
        let properties = DeadProperties::default();
        let change =
            |holder: &str, name: &str| properties.change(&node("/a"), &holder.into(), &[set(name, 1)]).unwrap();
        change("me", "mine");
        change("link/1", "theirs");
        properties.forget_unless(&|holder| holder.is_of_test("me"));
        assert_eq!(names(&properties, "/a"), ["mine"]);
        assert_eq!(properties.store().of.len(), 1);
        let large = PROPERTIES_LEN_MAX - 1_000;
        let fill = |number: usize| {
            let holder = format!("{}/{number}", number / 64);
            properties.change(&node(&format!("/{number}")), &(&*holder).into(), &[set("a", large)])
        };
        let count = (0..1_000).take_while(|number| fill(*number).is_ok()).count();
        assert!((250..=260).contains(&count), "{count}");
        change("me", "more");
        let of_link = DeadProperties::default();
        let change = |number: usize, holder: &str| {
            of_link.change(&node(&format!("/{number}")), &holder.into(), &[set("a", large)])
        };
        let count = (0..1_000).take_while(|number| change(*number, &format!("link/{number}")).is_ok()).count();
        assert!((60..=65).contains(&count), "one link does not take the room of others: {count}");
        change(1_000, "other/1").unwrap();
    }

    #[test]
    fn what_was_changed_is_restored() {
        let (properties, me): (_, Holder) = (DeadProperties::default(), "me".into());
        properties.change(&node("/a"), &me, &[set("one", 1)]).unwrap();
        let before = properties.change(&node("/a"), &me, &[set("two", 2)]).unwrap();
        assert_eq!(names(&properties, "/a"), ["one", "two"]);
        properties.restore(&at("/a"), before);
        assert_eq!(names(&properties, "/a"), ["one"]);
    }

    #[test]
    fn there_is_only_so_much_room() {
        let properties = DeadProperties::default();
        let change = |path: &str, holder: &str, len: usize| {
            properties.change(&node(path), &holder.into(), &[set("a", len), set("b", 1)])
        };
        change("/a", "me", 5).unwrap();
        assert_eq!(change("/a", "me", PROPERTIES_LEN_MAX).err(), Some(Full));
        assert_eq!(names(&properties, "/a"), ["a", "b"], "all or nothing");
        let large = PROPERTIES_LEN_MAX - 2 * PROPERTY_COST - 100;
        let fits = |holder: &str| {
            (0..10_000).take_while(|number| change(&format!("/{holder}/{number}"), holder, large).is_ok()).count()
        };
        let mine = fits("me");
        assert!((60..=64).contains(&mine), "{mine}");
        let all: usize = mine + (0..20).map(|other| fits(&other.to_string())).sum::<usize>();
        assert!((500..=512).contains(&all), "{all}");
        assert!(properties.store().len <= PROPERTIES_OF_ALL_LEN_MAX);
        properties.copy(&node("/me/0"), &node("/copy"), &"new".into());
        assert!(names(&properties, "/copy").is_empty(), "a copy has them as far as there is room");
    }
}
