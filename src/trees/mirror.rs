//! What a mirror removes: what is in the target's directories and not in the source's.
//!
//! It is found out when all else is done and nothing has failed, since what could not be read is missing in the
//! listing too; and if it is more than what stays, somebody has to say that this is meant. An empty source is mostly a disk that
//! is not there.

use std::collections::{HashMap, HashSet};

use super::filter::Filter;
use super::place::{Place, split};

/// Directories inside one another that a removal goes down.
const DEPTH_MAX: usize = 100;

/// What the source has, by directory.
#[derive(Debug, Default)]
pub struct Listed {
    names: HashMap<Vec<u8>, HashSet<Vec<u8>>>,
    /// What was named is not the place itself, but goes by its name there.
    has_tops: bool,
}

/// What is to go.
#[derive(Debug, Default)]
pub struct Plan {
    /// Paths, what is in a directory before the directory; and whether each is one.
    pub remove: Vec<(Vec<u8>, bool)>,
    /// How much of what is there stays.
    pub stays: usize,
}

impl Listed {
    /// Notes an entry.
    pub fn add(&mut self, path: &[u8], is_dir: bool) {
        if is_dir {
            self.names.entry(path.to_vec()).or_default();
        }
        if path.is_empty() {
            return;
        }
        let (dir, name) = split(path);
        // What was named stands in no directory that was listed: nothing beside it is touched.
        if let Some(names) = self.names.get_mut(dir) {
            names.insert(name.as_encoded_bytes().to_vec());
        } else {
            self.has_tops = true;
        }
    }

    /// Compares it with what is in the place. What the filter leaves out stays.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn plan(&self, place: &mut Place, filter: &Filter) -> std::io::Result<Plan> {
        let mut search = Search { listed: self, place, filter, plan: Plan::default() };
        let mut dirs: Vec<_> = self.names.iter().collect();
        dirs.sort_unstable_by_key(|(dir, _)| *dir);
        for (dir, listed) in dirs {
            let found = match search.place.names_in(dir) {
                // In a dry run it may only be about to be made.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                found => found?,
            };
            for (name, is_dir) in found {
                if listed.contains(&name) {
                    search.plan.stays += 1;
                } else {
                    search.add(joined(dir, &name), is_dir, DEPTH_MAX)?;
                }
            }
        }
        Ok(search.plan)
    }

    /// The path as the patterns see it: inside the directory that was named.
    fn inside<'p>(&self, path: &'p [u8]) -> &'p [u8] {
        if !self.has_tops {
            return path;
        }
        let top = path.iter().position(|byte| *byte == b'/').map_or(path.len(), |at| at + 1);
        path.get(top..).unwrap_or_default()
    }
}

/// A search for what is to go.
struct Search<'s> {
    listed: &'s Listed,
    place: &'s mut Place,
    filter: &'s Filter,
    plan: Plan,
}

impl Search<'_> {
    /// Adds a path with all that is in it; `false`: something in it stays, and it with that.
    fn add(&mut self, path: Vec<u8>, is_dir: bool, depth: usize) -> std::io::Result<bool> {
        if self.filter.leaves_out(self.listed.inside(&path), is_dir) {
            self.plan.stays += 1;
            return Ok(false);
        }
        let mut is_empty = true;
        if is_dir {
            if depth == 0 {
                return Err(std::io::Error::other(format!("over {DEPTH_MAX} directories deep")));
            }
            for (name, is_dir) in self.place.names_in(&path)? {
                is_empty &= self.add(joined(&path, &name), is_dir, depth - 1)?;
            }
        }
        if is_empty {
            self.plan.remove.push((path, is_dir));
        } else {
            self.plan.stays += 1;
        }
        Ok(is_empty)
    }
}

fn joined(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}
