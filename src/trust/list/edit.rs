//! Changes of the list: the file is edited as text, so that its comments stay.

use toml_edit::{DocumentMut, Item, Table, Value};

use super::{Entry, Flaw, List, ListError, broken, check_name, load_text, nearest_name};
use crate::trust::home::Home;

/// Changes the file: reads it, calls `change`, checks the result and replaces the file. Comments are kept.
///
/// # Errors
/// The file was malformed before, the change was refused, or the disk refused; the file is unchanged.
pub fn edit<E: Entry, T>(
    home: &Home,
    change: impl FnOnce(&mut Edit<E>) -> Result<T, ListError>,
) -> Result<T, ListError> {
    let _lock = home.lock()?;
    let text = load_text::<E>(home)?.unwrap_or_else(|| E::HEADER.to_owned());
    let is_new = text == E::HEADER;
    let list = if is_new { List::default() } else { List::parse(&text).map_err(|flaw| broken::<E>(home, flaw))? };
    let document = text
        .parse::<DocumentMut>()
        .map_err(|error| broken::<E>(home, Flaw { line: 1, why: error.message().to_owned() }))?;
    let mut edit = Edit { document, list, home: home.clone() };
    let result = change(&mut edit)?;
    let after = edit.document.to_string();
    // Only a text that can be read again is written.
    List::<E>::parse(&after).map_err(|flaw| ListError::Refused(flaw.why))?;
    if after != text {
        home.replace(E::FILE, after.as_bytes())?;
    }
    Ok(result)
}

/// The file while it is being edited.
#[derive(Debug)]
pub struct Edit<E> {
    document: DocumentMut,
    list: List<E>,
    home: Home,
}

fn has<E: Entry>(entry: &E, name: &str) -> bool {
    entry.name() == name || entry.second_name() == Some(name)
}

/// Refuses a name that something in another list of this home has.
///
/// # Errors
/// What has it; or such a list cannot be read.
pub fn check_elsewhere<E: Entry>(home: &Home, name: &str) -> Result<(), ListError> {
    match E::names_elsewhere(home)?.into_iter().find(|(other, _)| other == name) {
        None => Ok(()),
        Some((_, what)) => {
            Err(ListError::Refused(format!("{name}: a {what} is called that already; choose another name")))
        }
    }
}

impl<E: Entry> Edit<E> {
    /// The entries, with the changes so far.
    pub const fn list(&self) -> &List<E> {
        &self.list
    }

    /// A name like `wish` that is free.
    ///
    /// # Errors
    /// As [`first_free`](Self::first_free).
    pub fn free_name(&self, wish: &str) -> Result<String, ListError> {
        let wish = nearest_name(wish, E::WORDS.noun);
        let numbered = (2_u32..).map(|number| format!("{wish}-{number}"));
        self.first_free(std::iter::once(wish.clone()).chain(numbered))
    }

    /// The first of these names that nothing has, in this list or another of the home.
    ///
    /// # Errors
    /// Another list cannot be read.
    pub fn first_free(&self, mut names: impl Iterator<Item = String>) -> Result<String, ListError> {
        let elsewhere = E::names_elsewhere(&self.home)?;
        let is_free = |name: &String| {
            self.list.iter().all(|entry| !has(entry, name)) && elsewhere.iter().all(|(other, _)| other != name)
        };
        Ok(names.find(is_free).unwrap_or_default())
    }

    /// Adds an entry, or changes the entry of that name; comments are kept.
    pub fn put(&mut self, new: &E) {
        let entry = self.document.entry(new.name()).or_insert_with(|| Item::Table(Table::new()));
        let Some(table) = entry.as_table_mut() else { return };
        if table.is_empty() {
            table.decor_mut().set_prefix("\n");
            if self.list.0.is_empty() {
                // In a file without sections, its comments are at the end; they are moved to the front.
                let head = self.document.trailing().as_str().unwrap_or_default().to_owned();
                self.document.set_trailing("");
                if let Some(table) = self.document.get_mut(new.name()).and_then(Item::as_table_mut) {
                    table.decor_mut().set_prefix(format!("{head}\n"));
                }
            }
        }
        let Some(table) = self.document.get_mut(new.name()).and_then(Item::as_table_mut) else { return };
        new.put_into(table);
        self.list.0.retain(|known| known.name() != new.name());
        self.list.0.push(new.clone());
    }

    /// Adds an entry under a name that none has yet.
    ///
    /// # Errors
    /// The name is taken or no valid one, or the entry makes no sense.
    pub fn add(&mut self, new: &E) -> Result<(), ListError> {
        self.check_free(new.name())?;
        new.check()?;
        self.put(new);
        Ok(())
    }

    /// Changes one entry.
    ///
    /// # Errors
    /// No entry has this name, or the change is refused.
    pub fn change(&mut self, name: &str, change: impl FnOnce(&mut E) -> Result<(), ListError>) -> Result<E, ListError> {
        let mut entry = self.list.by_name(name).cloned().ok_or_else(|| self.unknown(name))?;
        change(&mut entry)?;
        entry.check()?;
        self.put(&entry);
        Ok(entry)
    }

    /// Gives an entry another name.
    ///
    /// # Errors
    /// No entry has the old name, another entry has the new one, or it is no valid name.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), ListError> {
        self.check_free(to)?;
        let Some(section) = self.document.remove(from) else { return Err(self.unknown(from)) };
        self.document.insert(to, section);
        if let Some(entry) = self.list.0.iter_mut().find(|entry| entry.name() == from) {
            entry.rename(to);
            if let Some(table) = self.document.get_mut(to).and_then(Item::as_table_mut) {
                entry.put_into(table);
            }
        }
        Ok(())
    }

    /// Takes an entry off the list.
    ///
    /// # Errors
    /// No entry has this name.
    pub fn remove(&mut self, name: &str) -> Result<E, ListError> {
        let entry = self.list.by_name(name).cloned().ok_or_else(|| self.unknown(name))?;
        let is_first = self.document.iter().next().is_some_and(|(first, _)| first == name);
        let removed = self.document.remove(name);
        if self.document.is_empty() {
            // An empty file would count as damaged; this one has no entries on purpose.
            self.document = E::HEADER.parse().unwrap_or_default();
        } else if is_first && let Some(removed) = removed.as_ref().and_then(Item::as_table) {
            self.keep_head(removed);
        }
        self.list.0.retain(|kept| kept.name() != name);
        Ok(entry)
    }

    /// The file's first comments belong to its first section; they are kept when that section is removed.
    fn keep_head(&mut self, removed: &Table) {
        let prefix = removed.decor().prefix().and_then(toml_edit::RawString::as_str).unwrap_or_default();
        let Some((head, _)) = prefix.rsplit_once("\n\n") else { return };
        let Some((_, Item::Table(next))) = self.document.iter_mut().next() else { return };
        let own = next.decor().prefix().and_then(toml_edit::RawString::as_str).unwrap_or_default().to_owned();
        next.decor_mut().set_prefix(format!("{head}\n{own}"));
    }

    /// Refuses a name that is none, or that something has: in this list or another of the home.
    ///
    /// # Errors
    /// Why.
    pub fn check_free(&self, name: &str) -> Result<(), ListError> {
        check_name(name, E::WORDS.noun).map_err(ListError::Refused)?;
        if self.list.by_name(name).is_some() {
            return Err(ListError::Refused(format!("{name}: another {} is called that already", E::WORDS.one)));
        }
        if let Some(entry) = self.list.iter().find(|entry| entry.second_name() == Some(name)) {
            return Err(ListError::Refused(format!(
                "{name}: {} came from one of that name and is still good; choose another name, or end it with: \
                 tcp-server peers revoke {name}",
                entry.name()
            )));
        }
        check_elsewhere::<E>(&self.home, name)
    }

    fn unknown(&self, name: &str) -> ListError {
        let names: Vec<&str> = self.list.iter().map(Entry::name).collect();
        let known = if names.is_empty() { "none is".into() } else { format!("there are {}", names.join(", ")) };
        ListError::Refused(format!("{name}: no {} of that name is known here; {known}", E::WORDS.one))
    }
}

/// Gives `key` of a section this value; `None` removes it. A comment behind the old value is kept.
pub fn set(table: &mut Table, key: &str, new: Option<Value>) {
    match (new, table.get_mut(key).and_then(Item::as_value_mut)) {
        (None, _) => drop(table.remove(key)),
        (Some(new), Some(old)) if !is_same(&new, old) => {
            let decor = old.decor().clone();
            *old = new;
            *old.decor_mut() = decor;
        }
        (Some(_), Some(_)) => {}
        (Some(new), None) => {
            table.insert(key, Item::Value(new));
            // `added` stays last: a section that was cut off before it is invalid, rather than an entry without its
            // rules.
            if let Some((added, when)) = table.remove_entry("added") {
                table.insert_formatted(&added, when);
            }
        }
    }
}

/// Whether both values are equal, however they are formatted.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one.as_array(), other.as_array()) {
        (Some(one), Some(other)) => {
            one.len() == other.len() && one.iter().zip(other.iter()).all(|(one, other)| is_same(one, other))
        }
        _ => one.as_str().is_some() && one.as_str() == other.as_str(),
    }
}
