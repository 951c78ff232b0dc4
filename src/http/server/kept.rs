//! Sorted names of directories, kept for the next request: a page of a long list is then as quick as its entries, and
//! who requests the same list again and again makes the server read and sort it once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::fs::root::DirState;
use crate::http::listing::Names;

/// Lists that are kept.
const LISTS_KEPT_MAX: usize = 64;
/// Bytes of names in all lists that are kept.
const LISTS_KEPT_LEN_MAX: usize = 32 * 1024 * 1024;
/// A directory that was changed so short a time ago may be changed again without a new time, in nanoseconds.
const SETTLED_NS: i64 = 2_000_000_000;

/// The lists that are kept, the one that was used longest ago first.
#[derive(Debug, Default)]
pub(super) struct KeptLists(Mutex<Vec<(DirState, Arc<Names>)>>);

impl KeptLists {
    /// The names of a directory in this state; `None`: they are to be read.
    pub(super) fn get(&self, state: &DirState) -> Option<Arc<Names>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(own, _)| own == state)?;
        let found = kept.remove(at);
        let names = Arc::clone(&found.1);
        kept.push(found);
        Some(names)
    }

    /// Keeps the names of a directory that was in this state before they were read, and is still.
    pub(super) fn keep(&self, state: DirState, names: &Arc<Names>) {
        if names.memory() > LISTS_KEPT_LEN_MAX / 2 || !is_settled(&state, SystemTime::now()) {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(own, _)| own.identity != state.identity);
        kept.push((state, Arc::clone(names)));
        let mut len: usize = kept.iter().map(|(_, names)| names.memory()).sum();
        let mut too_many = 0;
        for (_, names) in kept.iter() {
            if len <= LISTS_KEPT_LEN_MAX && kept.len() - too_many <= LISTS_KEPT_MAX {
                break;
            }
            len -= names.memory();
            too_many += 1;
        }
        kept.drain(..too_many);
    }
}

/// Whether every change that comes now gives the directory another time.
fn is_settled(state: &DirState, now: SystemTime) -> bool {
    let now = now.duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_nanos()).ok());
    now.is_some_and(|now| now.saturating_sub(state.ctime_ns.max(state.mtime_ns)) > SETTLED_NS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::listing::ListKind;

    fn state(inode: u64, ns: i64) -> DirState {
        DirState { identity: (1, inode), mtime_ns: ns, ctime_ns: ns }
    }

    fn names(len: usize) -> Arc<Names> {
        let mut names = Names::default();
        (0..len / 1000).for_each(|_| names.push(&[b'n'; 1000], ListKind::File));
        Arc::new(names.sorted())
    }

    #[test]
    fn a_list_is_kept_for_one_state_of_its_directory() {
        let kept = KeptLists::default();
        kept.keep(state(1, 5), &names(2_000));
        assert_eq!(kept.get(&state(1, 5)).unwrap().len(), 2);
        assert!(kept.get(&state(1, 6)).is_none() && kept.get(&state(2, 5)).is_none());
        kept.keep(state(1, 6), &names(3_000));
        assert!(kept.get(&state(1, 5)).is_none(), "an earlier state does not come back");
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap();
        for recent in [now, now - SETTLED_NS / 2, now + SETTLED_NS, i64::MAX] {
            kept.keep(state(3, recent), &names(1_000));
            assert!(kept.get(&state(3, recent)).is_none(), "it may be another one by now");
        }
    }

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let kept = KeptLists::default();
        let small = names(1_000);
        let count = u64::try_from(LISTS_KEPT_MAX).unwrap();
        (0..count).for_each(|inode| kept.keep(state(inode, 0), &small));
        assert!(kept.get(&state(0, 0)).is_some());
        kept.keep(state(count, 0), &small);
        assert!(kept.get(&state(1, 0)).is_none() && kept.get(&state(0, 0)).is_some());
        kept.keep(state(1000, 0), &names(LISTS_KEPT_LEN_MAX));
        assert!(kept.get(&state(1000, 0)).is_none(), "too large for all the others");
        let large = names(LISTS_KEPT_LEN_MAX / 3);
        (2000..2003).for_each(|inode| kept.keep(state(inode, 0), &large));
        assert!(kept.get(&state(0, 0)).is_none() && kept.get(&state(2002, 0)).is_some());
        let held: usize = kept.0.lock().unwrap().iter().map(|(_, names)| names.memory()).sum();
        assert!(held <= LISTS_KEPT_LEN_MAX);
    }
}
