//! A tree over several connections at once: where one stream is held back by the distance, several carry more.
//!
//! Each connection is an exchange of its own with a share of the files. All of them list the directories, or a file could
//! come before its directory; what is no plain file goes over the first connection. The first line ends last: only
//! then are directories given their modes and times, when nothing more is made in them.

use std::sync::mpsc::{Receiver, Sender, channel};

use serde::{Deserialize, Serialize};

use super::TreeEntry;
use crate::error::{ErrorCode, Refusal};
use crate::wire::message::EntryKind;

/// Connections at most.
pub const CONNECTIONS_MAX: u32 = 16;

/// Which part of a tree goes over a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ShardJson")]
pub struct Shard {
    number: u32,
    of: u32,
}

/// As the other end says it.
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
    /// The share with this number, from 0 on, of so many.
    pub fn new(number: u32, of: u32) -> Option<Self> {
        (number < of && of <= CONNECTIONS_MAX).then_some(Self { number, of })
    }

    /// Whether another connection does what only one can do.
    pub const fn is_secondary(self) -> bool {
        self.number > 0
    }

    /// Whether this goes over this connection; `has_names` says that it is a file with several names.
    pub fn holds(self, entry: &TreeEntry, has_names: bool) -> bool {
        let is_well = entry.error.is_none() && entry.skipped.is_none();
        match entry.kind {
            EntryKind::Dir if is_well => true,
            // Whoever asks for all shares gets each file once, on whatever machine they are computed.
            EntryKind::File if is_well && !has_names => {
                let hash = blake3::hash(&entry.path);
                let first = hash.as_bytes().first_chunk().map_or(0, |first| u32::from_le_bytes(*first));
                first % self.of == self.number
            }
            _ => self.number == 0,
        }
    }
}

/// Held by each connection that helps, for as long as it does.
#[derive(Debug, Clone)]
#[expect(dead_code, reason = "it is there to be dropped")]
pub struct WaitToken(Sender<()>);

/// Held by the first connection, which waits for the others with it.
#[derive(Debug)]
pub struct WaitGroup(Receiver<()>);

/// A place for those who help, and for the one who waits for them.
pub fn wait_group() -> (WaitToken, WaitGroup) {
    let (token, group) = channel();
    (WaitToken(token), WaitGroup(group))
}

impl WaitGroup {
    /// Waits until all who help are through.
    pub fn wait(&self) {
        // Nobody ever says anything.
        while self.0.recv().is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: EntryKind) -> TreeEntry {
        let path = path.as_bytes().to_vec();
        let (target, same, error, skipped) = (None, None, None, None);
        TreeEntry {
            path,
            kind,
            size: 1,
            mtime_ns: 0,
            mode: 0o644,
            target,
            same,
            has_links: false,
            error,
            skipped,
            has_met: false,
        }
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
