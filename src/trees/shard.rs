//! A tree over several connections at once: where the round trip limits one connection, several carry more.
//!
//! Each connection is an exchange of its own with a share of the files. All of them list the directories, or a file
//! could come before its directory. What is no plain file goes over the first connection. The first connection ends
//! last: then directories get their modes and times, since nothing more is made in them.

use std::sync::mpsc::{Receiver, Sender, channel};

use serde::{Deserialize, Serialize};

use super::TreeEntry;
use crate::error::{ErrorCode, Refusal};
use crate::wire::message::EntryKind;

/// Most connections of one transfer.
pub const CONNECTIONS_MAX: u32 = 16;

/// The part of a tree that goes over one of several connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ShardJson")]
pub struct Shard {
    number: u32,
    of: u32,
}

/// A shard as the peer sends it.
#[derive(Deserialize)]
struct ShardJson {
    number: u32,
    of: u32,
}

impl TryFrom<ShardJson> for Shard {
    type Error = Refusal;

    fn try_from(ShardJson { number, of }: ShardJson) -> Result<Self, Refusal> {
        Self::new(number, of).ok_or_else(|| {
            let text = format!("share {number} of {of}: there are at most {CONNECTIONS_MAX}, counted from 0");
            Refusal::new(ErrorCode::BadRequest, text)
        })
    }
}

impl Shard {
    /// The shard `number`, counted from 0, of `of` shards; `None`: there is no such shard, or there are too many.
    pub fn new(number: u32, of: u32) -> Option<Self> {
        (number < of && of <= CONNECTIONS_MAX).then_some(Self { number, of })
    }

    /// Whether this is not the first connection, which alone does what is done once for the whole tree.
    pub const fn is_secondary(self) -> bool {
        self.number > 0
    }

    /// Whether `entry` goes over this connection; `has_names`: it is a file with several names.
    pub fn holds(self, entry: &TreeEntry, has_names: bool) -> bool {
        let is_well = entry.error.is_none() && entry.skipped.is_none();
        match entry.kind {
            EntryKind::Dir if is_well => true,
            // All shards together hold each file once, on whatever machine they are computed.
            EntryKind::File if is_well && !has_names => {
                let hash = blake3::hash(&entry.path);
                let first = hash.as_bytes().first_chunk().map_or(0, |first| u32::from_le_bytes(*first));
                first % self.of == self.number
            }
            _ => self.number == 0,
        }
    }
}

/// Held by each secondary connection for as long as it works.
#[derive(Debug, Clone)]
#[expect(dead_code, reason = "it is there to be dropped")]
pub struct WaitToken(Sender<()>);

/// Held by the first connection, which waits with it until all [`WaitToken`]s are dropped.
#[derive(Debug)]
pub struct WaitGroup(Receiver<()>);

/// A token, to be cloned for each secondary connection, and the group that waits for all of its clones.
pub fn wait_group() -> (WaitToken, WaitGroup) {
    let (token, group) = channel();
    (WaitToken(token), WaitGroup(group))
}

impl WaitGroup {
    /// Waits until all tokens are dropped.
    pub fn wait(&self) {
        // Nothing is ever sent: the channel only closes.
        while self.0.recv().is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: EntryKind) -> TreeEntry {
        TreeEntry::plain(path, kind)
    }

    #[test]
    fn each_file_is_in_one_share_and_each_directory_in_all() {
        for of in 1..=CONNECTIONS_MAX {
            let shares: Vec<Shard> = (0..of).map(|number| Shard::new(number, of).unwrap()).collect();
            let mut counts = vec![0_u32; of as usize];
            for at in 0..1_000 {
                let file = entry(&format!("d/f{at}"), EntryKind::File);
                let holders: Vec<usize> =
                    (0..of as usize).filter(|number| shares[*number].holds(&file, false)).collect();
                let [only] = holders[..] else { panic!("{holders:?}") };
                counts[only] += 1;
            }
            assert!(counts.iter().all(|count| *count > 500 / of), "{counts:?}");
            assert!(shares.iter().all(|shard| shard.holds(&entry("d", EntryKind::Dir), false)));
            let failed = TreeEntry { error: Some("no".into()), ..entry("d", EntryKind::Dir) };
            for (odd, has_names) in [
                (entry("l", EntryKind::Link), false),
                (entry("p", EntryKind::Other), false),
                (entry("f", EntryKind::File), true),
                (failed, false),
            ] {
                assert!(shares.iter().all(|shard| shard.holds(&odd, has_names) != shard.is_secondary()), "{odd:?}");
            }
        }
        assert_eq!(Shard::new(0, 0), None);
        assert_eq!(Shard::new(2, 2), None);
        assert_eq!(Shard::new(0, CONNECTIONS_MAX + 1), None);
        assert!(serde_json::from_str::<Shard>(r#"{"number":0,"of":4294967295}"#).is_err());
    }

    #[test]
    fn the_first_waits_for_all_the_others() {
        let (token, group) = wait_group();
        let others: Vec<_> = (0..3).map(|_| token.clone()).collect();
        drop(token);
        let ended = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for token in others {
                let ended = &ended;
                scope.spawn(move || {
                    ended.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    drop(token);
                });
            }
            group.wait();
            assert_eq!(ended.load(std::sync::atomic::Ordering::SeqCst), 3);
        });
    }
}
