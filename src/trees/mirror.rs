//! What a mirror removes: entries of the receiver's directories that the sender does not have, and entries where the
//! sender has something of another kind.
//!
//! The first are found when all else is done and nothing has failed, since what could not be read is missing in the
//! listing too. The second are removed just before the new entry gets their name: that the sender has another thing
//! of this name is certain. To remove more than stays needs `force`: an empty tree at the sender is mostly a disk
//! that is not mounted.

use std::collections::{BTreeSet, HashMap};

use super::destination::{Destination, Obstacle};
use super::filter::Filter;
use crate::fs::below::{DEPTH_MAX, split};
use crate::memory::{Budget, ENTRY_COST, Over};

/// Memory that an entry of a directory takes in [`SentPaths`], in bytes: its digest in a tree that is two thirds
/// full.
const DIGEST_COST: usize = 32;

/// The paths that the sender has. Millions of names would take much memory, so only their digests are kept.
#[derive(Debug, Default)]
pub struct SentPaths {
    /// Directories.
    dirs: BTreeSet<Vec<u8>>,
    /// Digests of the paths of what is in them.
    paths: BTreeSet<u128>,
    /// Bytes that they take, about.
    len: usize,
    /// The paths in the destination of what was named, where that is not the destination itself.
    tops: BTreeSet<Vec<u8>>,
    /// The budget that all of it counts for.
    budget: Budget,
    /// For each tree in which something of another kind was removed: how many entries it had, and how many were
    /// removed.
    made_room: HashMap<Vec<u8>, Room>,
}

/// What was removed in one tree to make room.
#[derive(Debug, Clone, Copy)]
struct Room {
    before: usize,
    removed: usize,
}

/// A path, and whether it is a directory.
pub type Found = (Vec<u8>, bool);

/// What is to be removed, and how much stays.
#[derive(Debug, Default)]
pub struct RemovalPlan {
    /// What is removed, in order: what is in a directory before the directory.
    pub remove: Vec<Found>,
    /// How many entries stay.
    pub stays: usize,
}

/// The outcome of removing what is where the sender has something of another kind.
#[derive(Debug)]
pub struct Cleared {
    /// What is gone, or will be when the new entry gets its name.
    pub gone: Vec<Vec<u8>>,
    /// Whether that was all of it.
    pub result: std::io::Result<()>,
}

const HOLDS_LEFT_OUT: &str = "is a directory here that holds something which the patterns leave out; remove it first";

impl SentPaths {
    /// The same, counted for this budget.
    #[must_use]
    pub fn within(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    fn take(&mut self, bytes: usize) -> Result<(), Over> {
        self.len += bytes;
        self.budget.take(bytes)
    }

    /// Notes an entry that was listed. `false`: an entry of this path was listed before.
    ///
    /// # Errors
    /// The budget is used up.
    pub fn add(&mut self, path: &[u8], is_dir: bool) -> Result<bool, Over> {
        let was_dir = self.has_dir(path);
        if is_dir && !was_dir {
            self.take(path.len() + ENTRY_COST)?;
            self.dirs.insert(path.to_vec());
        }
        if path.is_empty() {
            return Ok(!was_dir);
        }
        let dir = split(path).0;
        // What was named stands in no directory that was listed: nothing beside it is touched.
        let is_new = if self.has_dir(dir) {
            self.take(DIGEST_COST)?;
            self.paths.insert(digest_of(path))
        } else if dir.is_empty() {
            self.take(path.len() + ENTRY_COST)?;
            self.tops.insert(path.to_vec())
        } else {
            // It is listed only with the reason why it does not come, and its directory was not listed.
            true
        };
        Ok(is_new && !was_dir)
    }

    /// Whether the sender has a directory of this path.
    pub fn has_dir(&self, path: &[u8]) -> bool {
        self.dirs.contains(path)
    }

    /// How many entries were removed to make room for those of another kind.
    pub fn made_room(&self) -> usize {
        self.made_room.values().map(|room| room.removed).sum()
    }

    /// What has to go where the sender has something of another kind, a directory behind what is in it; or why it
    /// stays: something in it is left out, or it is more than half of the tree, without `force`. The name itself
    /// stays, if of another kind, and does not count.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn room(
        &mut self,
        (destination, filter): (&mut Destination, &Filter),
        path: &[u8],
        obstacle: Obstacle,
        force: bool,
    ) -> std::io::Result<Result<Vec<Vec<u8>>, String>> {
        if obstacle != Obstacle::Dir {
            return Ok(Ok(vec![path.to_vec()]));
        }
        let Some(remove) = self.all_in((&mut *destination, filter), path)? else {
            return Ok(Err(HOLDS_LEFT_OUT.to_owned()));
        };
        let inside = remove.len() - 1;
        let remove = remove.into_iter().map(|(path, _)| path).collect();
        if inside == 0 || force {
            return Ok(Ok(remove));
        }
        // Nothing beside what was named is looked at.
        let is_whole = self.has_dir(&[]);
        let first = path.iter().position(|byte| *byte == b'/').unwrap_or(path.len());
        let tree = if is_whole { &[][..] } else { path.get(..first).unwrap_or_default() };
        let room = match self.made_room.get(tree) {
            Some(room) => *room,
            None => Room { before: count(destination, tree)?, removed: 0 },
        };
        let removed = room.removed + inside;
        if removed > room.before.saturating_sub(removed) {
            return Ok(Err(too_much(removed, room.before)));
        }
        self.made_room.insert(tree.to_vec(), Room { removed, ..room });
        Ok(Ok(remove))
    }

    /// A directory with all that is in it, in the order in which it can be removed; `None`: something in it stays.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn all_in(
        &self,
        (destination, filter): (&mut Destination, &Filter),
        path: &[u8],
    ) -> std::io::Result<Option<Vec<Found>>> {
        let mut search = Search { listed: self, destination, filter, plan: RemovalPlan::default() };
        // The sender has something of this name: that chooses it, if there is nothing in it too.
        let goes = search.add(path.to_vec(), true, true)?;
        Ok(goes.then_some(search.plan.remove))
    }

    /// Removes what stands where the sender has something of another kind.
    pub fn clear(
        &self,
        (destination, filter): (&mut Destination, &Filter),
        path: &[u8],
        obstacle: Obstacle,
    ) -> Cleared {
        let all = match obstacle {
            Obstacle::Replaced => return Cleared { gone: vec![path.to_vec()], result: Ok(()) },
            Obstacle::Single => vec![(path.to_vec(), false)],
            Obstacle::Dir => match self.all_in((&mut *destination, filter), path) {
                Ok(Some(all)) => all,
                Ok(None) => return Cleared { gone: Vec::new(), result: Err(std::io::Error::other(HOLDS_LEFT_OUT)) },
                Err(error) => return Cleared { gone: Vec::new(), result: Err(error) },
            },
        };
        let mut gone = Vec::new();
        let result = all.into_iter().try_for_each(|(path, is_dir)| {
            destination.remove(&path, is_dir)?;
            gone.push(path);
            Ok(())
        });
        destination.restore_modes();
        Cleared { gone, result }
    }

    /// Bytes of memory that it takes, about.
    pub const fn kept_len(&self) -> usize {
        self.len
    }

    /// Compares it with what is in the destination. What the filter leaves out stays.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn plan(&self, destination: &mut Destination, filter: &Filter) -> std::io::Result<RemovalPlan> {
        let mut search = Search { listed: self, destination, filter, plan: RemovalPlan::default() };
        for dir in &self.dirs {
            let found = match search.destination.names_in(dir) {
                // In a dry run it may only be about to be made.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                found => found?,
            };
            for (name, is_dir) in found {
                let path = joined(dir, &name);
                if self.paths.contains(&digest_of(&path)) {
                    search.plan.stays += 1;
                } else {
                    search.add(path, is_dir, !filter.chooses())?;
                }
            }
        }
        Ok(search.plan)
    }

    /// The path as the patterns see it: inside the directory that was named.
    fn inside<'p>(&self, path: &'p [u8]) -> &'p [u8] {
        if self.tops.is_empty() {
            return path;
        }
        let top = path.iter().position(|byte| *byte == b'/').map_or(path.len(), |at| at + 1);
        path.get(top..).unwrap_or_default()
    }
}

/// A search for what is to go.
struct Search<'s> {
    listed: &'s SentPaths,
    destination: &'s mut Destination,
    filter: &'s Filter,
    plan: RemovalPlan,
}

/// A directory that a search is in.
struct Level {
    path: Vec<u8>,
    names: std::vec::IntoIter<(Vec<u8>, bool)>,
    /// Whether all that was in it so far is to go.
    is_empty: bool,
    /// Whether it goes once it is empty. Where patterns choose what is meant, a directory is chosen by what is in it.
    is_chosen: bool,
}

impl Search<'_> {
    /// Adds a path with all that is in it; `false`: something in it stays, and it with that. Not by recursion: a peer
    /// decides how deep a tree is, and a thread's stack is small.
    fn add(&mut self, path: Vec<u8>, is_dir: bool, is_chosen: bool) -> std::io::Result<bool> {
        let mut levels = Vec::new();
        if let Some(goes) = self.enter(path, is_dir, &mut levels)? {
            return Ok(goes);
        }
        if let Some(level) = levels.last_mut() {
            level.is_chosen = is_chosen;
        }
        self.leave_all(levels)
    }

    /// Goes through the directories that were entered.
    fn leave_all(&mut self, mut levels: Vec<Level>) -> std::io::Result<bool> {
        let mut goes = true;
        while let Some(level) = levels.last_mut() {
            if let Some((name, is_dir)) = level.names.next() {
                let path = joined(&level.path, &name);
                if let Some(goes) = self.enter(path, is_dir, &mut levels)?
                    && let Some(level) = levels.last_mut()
                {
                    level.is_empty &= goes;
                    level.is_chosen |= goes;
                }
                continue;
            }
            let Some(Level { path, is_empty, is_chosen, .. }) = levels.pop() else { break };
            goes = is_empty && is_chosen;
            if goes {
                self.remove(path, true)?;
            } else {
                self.plan.stays += 1;
            }
            if let Some(above) = levels.last_mut() {
                above.is_empty &= goes;
                above.is_chosen |= goes;
            }
        }
        Ok(goes)
    }

    /// Decides about a path; `None`: it is a directory, and what is in it comes first.
    fn enter(&mut self, path: Vec<u8>, is_dir: bool, levels: &mut Vec<Level>) -> std::io::Result<Option<bool>> {
        if self.filter.leaves_out(self.listed.inside(&path), is_dir) || self.destination.is_kept(&path) {
            self.plan.stays += 1;
            return Ok(Some(false));
        }
        if !is_dir {
            self.remove(path, false)?;
            return Ok(Some(true));
        }
        check_depth(&path)?;
        let names = self.destination.names_to_remove(&path)?.into_iter();
        levels.push(Level { path, names, is_empty: true, is_chosen: !self.filter.chooses() });
        Ok(None)
    }

    fn remove(&mut self, path: Vec<u8>, is_dir: bool) -> std::io::Result<()> {
        self.listed.budget.take(path.len() + ENTRY_COST).map_err(std::io::Error::other)?;
        self.plan.remove.push((path, is_dir));
        Ok(())
    }
}

/// How many entries there are in a directory of the destination, itself included if it has a name.
fn count(destination: &mut Destination, tree: &[u8]) -> std::io::Result<usize> {
    let mut count = usize::from(!tree.is_empty());
    let mut dirs = vec![tree.to_vec()];
    while let Some(dir) = dirs.pop() {
        let names = match destination.names_in(&dir) {
            // What its mode hides, or went meanwhile, is not counted.
            Err(error) if crate::fs::below::is_forbidden(&error) || error.kind() == std::io::ErrorKind::NotFound => {
                continue;
            }
            names => names?,
        };
        count += names.len();
        for (name, _) in names.iter().filter(|(_, is_dir)| *is_dir) {
            let path = joined(&dir, name);
            check_depth(&path)?;
            dirs.push(path);
        }
    }
    Ok(count)
}

/// As deep as a copy goes.
fn check_depth(path: &[u8]) -> std::io::Result<()> {
    let depth = path.split(|byte| *byte == b'/').count();
    if depth > DEPTH_MAX {
        let text = format!("something here is over {DEPTH_MAX} directories deep; remove the inner ones first");
        return Err(std::io::Error::other(text));
    }
    Ok(())
}

/// How the refusal to remove too much ends: by it a program finds the error to which it adds its option's name.
pub const MORE_THAN_HALF: &str = "more than half";

/// Why nothing is removed.
pub fn too_much(removed: usize, before: usize) -> String {
    format!("{removed} of {before} things here would be removed, {MORE_THAN_HALF}")
}

/// Half of a BLAKE3 digest: no two paths of a tree share it.
fn digest_of(path: &[u8]) -> u128 {
    blake3::hash(path).as_bytes().first_chunk().map_or(0, |half| u128::from_le_bytes(*half))
}

fn joined(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_kept_of_a_listing_is_counted() {
        let mut listed = SentPaths::default();
        listed.add(b"", true).unwrap();
        for at in 0..1_000 {
            listed.add(format!("d{at}").as_bytes(), true).unwrap();
            listed.add(format!("d{at}/{}", "n".repeat(200)).as_bytes(), false).unwrap();
        }
        let least = 1_000 * (ENTRY_COST + 2 * DIGEST_COST);
        assert!((least..2 * least).contains(&listed.kept_len()), "{}", listed.kept_len());
    }
}
