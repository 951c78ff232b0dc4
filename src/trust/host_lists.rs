//! Lists of hosts as people write them: `web1,db[1-3],@backup`.
//!
//! `@backup` is a group: it stands for the list that `config.toml` gives it, which may name further groups.

use std::collections::{BTreeMap, HashSet};

use super::host_ranges::{expand_word, words};

/// A list of hosts cannot be expanded. The message names the word and says what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HostListError(pub(super) String);

/// The list of each group, by its name.
pub type HostGroups = BTreeMap<String, String>;

/// The character before the name of a group in a list.
pub const SIGN: char = '@';

/// The hosts that a list stands for, in its order.
///
/// # Errors
/// The list, or the list of a group that it names, is malformed, names an unknown group, or stands for too many hosts.
pub fn expand(list: &str, groups: &HostGroups) -> Result<Vec<String>, HostListError> {
    let mut expansion = Expansion { groups, within: Vec::new(), done: HashSet::new(), hosts: Vec::new() };
    expansion.list(list)?;
    Ok(expansion.hosts)
}

struct Expansion<'g> {
    groups: &'g HostGroups,
    /// The groups that we are in, the outermost first.
    within: Vec<&'g str>,
    /// Those that are in the list already: a second time they add nothing, and would take exponential time.
    done: HashSet<&'g str>,
    hosts: Vec<String>,
}

impl Expansion<'_> {
    fn list(&mut self, list: &str) -> Result<(), HostListError> {
        for word in words(list)? {
            match word.strip_prefix(SIGN) {
                Some(name) => self.group(name)?,
                None => expand_word(word, &mut self.hosts)?,
            }
        }
        Ok(())
    }

    fn group(&mut self, wanted: &str) -> Result<(), HostListError> {
        let Some((name, list)) = self.groups.get_key_value(wanted) else {
            return Err(HostListError(self.unknown(wanted)));
        };
        if self.within.contains(&name.as_str()) {
            let way: Vec<_> =
                self.within.iter().skip_while(|within| *within != name).map(|at| format!("{SIGN}{at}")).collect();
            let way = way.join(", ");
            return Err(HostListError(format!("{SIGN}{name} names itself: {way}, {SIGN}{name}")));
        }
        if self.done.contains(name.as_str()) {
            return Ok(());
        }
        self.within.push(name);
        // What is wrong with a list names the list, and not whose it is.
        self.list(list).map_err(|HostListError(why)| {
            HostListError(if why.starts_with(SIGN) { why } else { format!("{SIGN}{name}: {why}") })
        })?;
        self.within.pop();
        self.done.insert(name);
        Ok(())
    }

    fn unknown(&self, wanted: &str) -> String {
        let there_are: Vec<_> = self.groups.keys().map(|name| format!("{SIGN}{name}")).collect();
        let there_are = match there_are.as_slice() {
            [] => "there are no [groups] in config.toml".to_owned(),
            names => format!("there are {}", names.join(", ")),
        };
        let named_by = self.within.last().map(|name| format!(", which {SIGN}{name} names")).unwrap_or_default();
        format!("{SIGN}{wanted}{named_by}: no such group; {there_are}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(pairs: &[(&str, &str)]) -> HostGroups {
        pairs.iter().map(|(name, list)| ((*name).to_owned(), (*list).to_owned())).collect()
    }

    #[test]
    fn groups_stand_for_hosts_and_for_each_other() {
        let groups = groups(&[("web", "web[1-2]"), ("all", "@web, db1 ,@odd"), ("odd", "[::1]:7000"), ("none", "")]);
        for (list, want) in [
            ("@web", &["web1", "web2"][..]),
            ("a,@web,b", &["a", "web1", "web2", "b"]),
            (" @all ", &["web1", "web2", "db1", "[::1]:7000"]),
            ("@none", &[]),
            // A host may be named twice, as everywhere; a group is looked at once.
            ("@web,web1,@web", &["web1", "web2", "web1"]),
            ("web@1", &["web@1"]),
        ] {
            assert_eq!(expand(list, &groups).unwrap(), want, "{list}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        let groups =
            groups(&[("a", "@b,x"), ("b", "@c"), ("c", "y,@b"), ("me", "@me"), ("bad", "x[1-"), ("far", "@gone")]);
        for (list, why) in [
            ("@web", "@web: no such group; there are @a, @b, @bad, @c, @far, @me"),
            ("@", "@: no such group"),
            ("@A", "@A: no such group"),
            ("@me", "@me names itself: @me, @me"),
            ("@a", "@b names itself: @b, @c, @b"),
            ("@bad", "@bad: x[1-: a bracket is not closed"),
            ("@far", "@gone, which @far names: no such group"),
        ] {
            let found = expand(list, &groups).unwrap_err().to_string();
            assert!(found.starts_with(why), "{found}");
        }
        assert_eq!(
            expand("@x", &HostGroups::new()).unwrap_err().to_string(),
            "@x: no such group; there are no [groups] in config.toml"
        );
    }

    #[test]
    fn a_tower_of_groups_ends_soon_and_has_a_limit() {
        let mut tower = groups(&[("g0", "")]);
        for at in 1..60 {
            tower.insert(format!("g{at}"), format!("@g{0},@g{0}", at - 1));
        }
        assert_eq!(expand("@g59", &tower), Ok(vec![]));
        let many = groups(&[("a", "x[1-60000]"), ("b", "@a,y[1-60000]")]);
        assert!(expand("@b", &many).unwrap_err().to_string().contains("over 100000 hosts"));
    }
}
