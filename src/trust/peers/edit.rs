//! Changes of the list: the file is edited as text, so that its comments stay.

use toml_edit::{DocumentMut, Item, Table, Value};

use super::{FILE, Flaw, HEADER, KnownPeer, Peers, PeersError, broken, check_name, load_text, nearest_name};
use crate::trust::commands::Commands;
use crate::trust::home::Home;

/// Changes the file: reads it, calls `change`, checks the result and replaces the file. Comments are kept.
///
/// # Errors
/// The file was malformed before, the change was refused, or the disk refused; the file is unchanged.
pub fn edit<T>(home: &Home, change: impl FnOnce(&mut Edit) -> Result<T, PeersError>) -> Result<T, PeersError> {
    let _lock = home.lock()?;
    let text = load_text(home)?.unwrap_or_else(|| HEADER.to_owned());
    let is_new = text == HEADER;
    let peers = if is_new { Peers::default() } else { Peers::parse(&text).map_err(|flaw| broken(home, flaw))? };
    let document =
        text.parse::<DocumentMut>().map_err(|error| broken(home, Flaw { line: 1, why: error.message().to_owned() }))?;
    let mut edit = Edit { document, peers };
    let result = change(&mut edit)?;
    let after = edit.document.to_string();
    // Only a text that can be read again is written.
    Peers::parse(&after).map_err(|flaw| PeersError::Refused(flaw.why))?;
    if after != text {
        home.replace(FILE, after.as_bytes())?;
    }
    Ok(result)
}

/// The file while it is being edited.
#[derive(Debug)]
pub struct Edit {
    document: DocumentMut,
    peers: Peers,
}

impl Edit {
    /// The peers, with the changes so far.
    pub const fn peers(&self) -> &Peers {
        &self.peers
    }

    /// A name like `wish` that no peer has yet.
    pub fn free_name(&self, wish: &str) -> String {
        let wish = nearest_name(wish);
        let numbered = (2_u32..).map(|number| format!("{wish}-{number}"));
        std::iter::once(wish.clone()).chain(numbered).find(|name| self.peers.by_name(name).is_none()).unwrap_or(wish)
    }

    /// Adds a peer, or changes the peer of that name; comments are kept.
    pub fn put(&mut self, peer: &KnownPeer) {
        let entry = self.document.entry(&peer.name).or_insert_with(|| Item::Table(Table::new()));
        let Some(table) = entry.as_table_mut() else { return };
        if table.is_empty() {
            table.decor_mut().set_prefix("\n");
            if self.peers.0.is_empty() {
                // In a file without sections, its comments are at the end; they are moved to the front.
                let head = self.document.trailing().as_str().unwrap_or_default().to_owned();
                self.document.set_trailing("");
                if let Some(table) = self.document.get_mut(&peer.name).and_then(Item::as_table_mut) {
                    table.decor_mut().set_prefix(format!("{head}\n"));
                }
            }
        }
        let Some(table) = self.document.get_mut(&peer.name).and_then(Item::as_table_mut) else { return };
        let (listed, forced) = match &peer.commands {
            Commands::Any => (None, None),
            Commands::Listed(listed) => (Some(listed.iter().map(Value::from_iter).collect()), None),
            Commands::Forced(argv) => (None, Some(Value::from_iter(argv))),
        };
        set(table, "fingerprint", Some(peer.fingerprint.to_string().into()));
        set(table, "named", peer.is_self_named.then(|| "itself".into()));
        set(table, "address", peer.address.as_deref().map(Value::from));
        set(table, "there", peer.there.map(|there| there.to_string().into()));
        set(table, "from", peer.from.as_deref().map(Value::from));
        set(table, "services", Some(peer.services.to_string().into()));
        set(table, "root", peer.root.as_deref().map(Value::from));
        set(table, "commands", listed);
        set(table, "forced", forced);
        set(table, "added", Some(peer.added.as_str().into()));
        self.peers.0.retain(|known| known.name != peer.name);
        self.peers.0.push(peer.clone());
    }

    /// Changes one peer.
    ///
    /// # Errors
    /// No peer has this name, or the change is refused.
    pub fn change(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut KnownPeer) -> Result<(), PeersError>,
    ) -> Result<KnownPeer, PeersError> {
        let mut peer = self.peers.by_name(name).cloned().ok_or_else(|| self.unknown(name))?;
        change(&mut peer)?;
        peer.check()?;
        self.put(&peer);
        Ok(peer)
    }

    /// Gives a peer another name.
    ///
    /// # Errors
    /// No peer has the old name, another peer has the new one, or it is no valid name.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), PeersError> {
        check_name(to).map_err(PeersError::Refused)?;
        if self.peers.by_name(to).is_some() {
            return Err(PeersError::Refused(format!("{to}: another machine is called that already")));
        }
        let Some(mut entry) = self.document.remove(from) else { return Err(self.unknown(from)) };
        if let Some(table) = entry.as_table_mut() {
            // The new name was chosen here, not by the peer.
            table.remove("named");
        }
        self.document.insert(to, entry);
        if let Some(peer) = self.peers.0.iter_mut().find(|peer| peer.name == from) {
            to.clone_into(&mut peer.name);
            peer.is_self_named = false;
        }
        Ok(())
    }

    /// Takes a peer off the list.
    ///
    /// # Errors
    /// No peer has this name.
    pub fn remove(&mut self, name: &str) -> Result<KnownPeer, PeersError> {
        let peer = self.peers.by_name(name).cloned().ok_or_else(|| self.unknown(name))?;
        let is_first = self.document.iter().next().is_some_and(|(first, _)| first == name);
        let removed = self.document.remove(name);
        if self.document.is_empty() {
            // An empty file would count as damaged; this one has no peers on purpose.
            self.document = HEADER.parse().unwrap_or_default();
        } else if is_first && let Some(removed) = removed.as_ref().and_then(Item::as_table) {
            self.keep_head(removed);
        }
        Ok(peer)
    }

    /// The file's first comments belong to its first section; they are kept when that section is removed.
    fn keep_head(&mut self, removed: &Table) {
        let prefix = removed.decor().prefix().and_then(toml_edit::RawString::as_str).unwrap_or_default();
        let Some((head, _)) = prefix.rsplit_once("\n\n") else { return };
        let Some((_, Item::Table(next))) = self.document.iter_mut().next() else { return };
        let own = next.decor().prefix().and_then(toml_edit::RawString::as_str).unwrap_or_default().to_owned();
        next.decor_mut().set_prefix(format!("{head}\n{own}"));
    }

    fn unknown(&self, name: &str) -> PeersError {
        let names: Vec<&str> = self.peers.iter().map(|peer| peer.name.as_str()).collect();
        let known = if names.is_empty() { "none is".into() } else { format!("there are {}", names.join(", ")) };
        PeersError::Refused(format!("{name}: no machine of that name is known here; {known}"))
    }
}

fn set(table: &mut Table, key: &str, new: Option<Value>) {
    match (new, table.get_mut(key).and_then(Item::as_value_mut)) {
        (None, _) => drop(table.remove(key)),
        (Some(new), Some(old)) if !is_same(&new, old) => {
            // The comment behind the old value is kept.
            let decor = old.decor().clone();
            *old = new;
            *old.decor_mut() = decor;
        }
        (Some(_), Some(_)) => {}
        (Some(new), None) => {
            table.insert(key, Item::Value(new));
            // `added` stays last: a section that was cut off before it is invalid, rather than a peer without its
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
