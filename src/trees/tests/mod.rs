//! Both halves against each other in memory: whole trees, resumed and changed files, and a push that is cut or
//! changed at every byte.

mod damaged;
mod pipe;
mod whole;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use self::pipe::Duplex;
use super::data::DataOptions;
use super::delta::Delta;
use super::destination::{Destination, Shape};
use super::filter::{Filter, Selection};
use super::pack::Compress;
use super::receiver::TreeReceiver;
use super::sender::TreeSender;
use super::walk::{Named, Walk, WalkOptions};
use super::{Tally, TreeEvent, TreeUpload, WriteOptions};
use crate::error::Result;
use crate::fs::part::Parts;
use crate::fs::part::is_part_name;
use crate::fs::part::records::Records;
use crate::wire::channel::{Receiver, Sender};

/// How most of these transfers write.
const OPTIONS: WriteOptions = WriteOptions {
    preserve: true,
    sync: false,
    resume: true,
    checksum: false,
    delta: Delta::Always,
    dry_run: false,
    delete: false,
    force: false,
};

/// The directories of both sides, the home of the receiving one, and a directory beside them that nothing may touch.
struct Ends {
    dir: tempfile::TempDir,
    records: Arc<Records>,
}

impl Ends {
    fn new() -> Self {
        // In memory where that can be had: thousands of small trees are made and removed here.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        for name in ["from", "to", "home", "beside"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("beside/untouched"), "as it was").unwrap();
        let records = Arc::new(Records::open(dir.path().join("home/parts")).unwrap());
        Self { dir, records }
    }

    fn from(&self) -> PathBuf {
        self.dir.path().join("from")
    }

    fn to(&self) -> PathBuf {
        self.dir.path().join("to")
    }

    /// A walk over what is in `from`.
    fn walk(&self) -> Walk {
        let mut contents = self.from().into_os_string();
        contents.push("/");
        let how = WalkOptions { recursive: true, follow: false };
        Walk::new(vec![Named::Own(contents.into())], how, everything())
    }

    /// A receiver that writes to `to`.
    fn receiver(&self, options: WriteOptions) -> TreeReceiver {
        let shape = Shape { goes_into: true, is_made: true };
        let destination = Destination::of_own(&self.to(), shape, options).unwrap();
        TreeReceiver::new(destination.with_parts(self.parts()), everything())
    }

    /// Where unfinished files are on record.
    fn parts(&self) -> Arc<Parts> {
        Parts::new(Some(Arc::clone(&self.records)), Some("owner".to_owned()))
    }

    /// Sends what is in `from` to `receiver`, both on threads of their own.
    fn transfer(&self, mut receiver: TreeReceiver, compress: Compress) -> Transfer {
        let duplex = Duplex::default();
        receiver.heed(Arc::new(duplex.clone()));
        thread::scope(|scope| {
            let sending = scope.spawn(|| {
                let (replies, tree) = duplex.of_sender();
                let (mut replies, tree) = (Receiver::new(replies, &[]), Sender::new(tree));
                let mut seen = Seen::default();
                let upload = TreeUpload {
                    walk: self.walk(),
                    out: DataOptions { bwlimit: None, compress },
                    shard: None,
                    wait_group: None,
                };
                let mut watch = |event: TreeEvent<'_>| {
                    seen.note(&event);
                    Ok(())
                };
                let sent = TreeSender::new(&tree, upload, &mut watch).run(&mut replies, &duplex);
                (sent, seen)
            });
            let (tree, replies) = duplex.of_receiver();
            let (mut tree, replies) = (Receiver::new(tree, &[]), Sender::new(replies));
            let mut seen_by_receiver = Seen::default();
            let received = receiver.run(&mut tree, &replies, &mut |event| {
                seen_by_receiver.note(&event);
                Ok(())
            });
            drop((tree, replies));
            let (sent, seen_by_sender) = sending.join().unwrap();
            Transfer { sent, received, seen_by_sender, seen_by_receiver, duplex: duplex.clone() }
        })
    }

    /// Lets `receiver` take the bytes that a sender once wrote.
    fn replay(&self, options: WriteOptions, tree: &[u8]) -> Result<()> {
        let mut tree = Receiver::new(tree, &[]);
        self.receiver(options).run(&mut tree, &Sender::new(io::sink()), &mut |_| Ok(()))
    }

    /// Sends what is in `from` to a receiver of which only the replies are known.
    fn send_to(&self, replies: &[u8]) -> Result<()> {
        let (mut replies, tree) = (Receiver::new(replies, &[]), Sender::new(io::sink()));
        let upload = TreeUpload { walk: self.walk(), out: DataOptions::default(), shard: None, wait_group: None };
        TreeSender::new(&tree, upload, &mut |_| Ok(())).run(&mut replies, &Duplex::default())
    }

    /// Asserts that nothing but what belongs to the two sides has changed.
    fn check_beside(&self) {
        assert_eq!(names_in(self.dir.path()), ["beside", "from", "home", "to"]);
        assert_eq!(names_in(&self.dir.path().join("home")), ["parts"]);
        assert_eq!(names_in(&self.dir.path().join("beside")), ["untouched"]);
        assert_eq!(fs::read(self.dir.path().join("beside/untouched")).unwrap(), b"as it was");
    }
}

/// How a transfer went on both sides.
struct Transfer {
    sent: Result<()>,
    received: Result<()>,
    seen_by_sender: Seen,
    seen_by_receiver: Seen,
    duplex: Duplex,
}

impl Transfer {
    /// Asserts that both sides succeeded.
    #[track_caller]
    fn unwrap(self) -> Self {
        let Self { sent, received, seen_by_sender, seen_by_receiver, .. } = &self;
        assert!(sent.is_ok() && received.is_ok(), "{sent:?} {received:?}");
        assert_eq!((seen_by_sender.tally.failed, seen_by_receiver.tally.failed), (0, 0));
        self
    }
}

/// What a watcher has seen.
#[derive(Debug, Default)]
struct Seen {
    tally: Tally,
    /// Where files that had a beginning were resumed, in bytes.
    offsets: Vec<u64>,
    /// Files of which something came again.
    mended: usize,
}

impl Seen {
    fn note(&mut self, event: &TreeEvent<'_>) {
        self.tally.count(event);
        match event {
            TreeEvent::Begins { offset, .. } if *offset > 0 => self.offsets.push(*offset),
            TreeEvent::Mends { .. } => self.mended += 1,
            _ => {}
        }
    }
}

fn everything() -> Filter {
    Filter::new(&Selection::default()).unwrap()
}

fn names_in(dir: &Path) -> Vec<OsString> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

/// What is at one path of a tree. A directory's time is its own business where files are made in it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Thing {
    Dir { mode: u32 },
    File { bytes: Vec<u8>, mode: u32, mtime_ns: i64, names: u64 },
    Link { to: PathBuf },
}

/// All that is below a directory, unfinished files excepted.
fn tree_of(dir: &Path) -> BTreeMap<PathBuf, Thing> {
    let (mut tree, mut dirs) = (BTreeMap::new(), vec![PathBuf::new()]);
    while let Some(below) = dirs.pop() {
        for name in names_in(&dir.join(&below)) {
            if is_part_name(name.as_encoded_bytes()) {
                continue;
            }
            let path = below.join(&name);
            let full = dir.join(&path);
            let metadata = fs::symlink_metadata(&full).unwrap();
            let mode = metadata.mode() & 0o7777;
            let thing = if metadata.is_dir() {
                dirs.push(path.clone());
                Thing::Dir { mode }
            } else if metadata.is_symlink() {
                Thing::Link { to: fs::read_link(&full).unwrap() }
            } else {
                let mtime_ns = metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec();
                Thing::File { bytes: fs::read(&full).unwrap(), mode, mtime_ns, names: metadata.nlink() }
            };
            tree.insert(path, thing);
        }
    }
    tree
}

/// Bytes of which no two stretches are alike.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Makes a file with a time of its own.
fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = File::create(path).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    date(&file, 1_700_000_000);
}

/// Makes a file that is a hole, except for the bytes at these offsets.
fn write_sparse(path: &Path, len: u64, parts: &[(u64, &[u8])]) {
    let file = File::create(path).unwrap();
    file.set_len(len).unwrap();
    for (offset, bytes) in parts {
        file.write_all_at(bytes, *offset).unwrap();
    }
    date(&file, 1_700_000_001);
}

fn date(file: &File, seconds: u64) {
    file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_nanos(123_456_789)).unwrap();
}

/// A small tree with one of each kind of thing in `from`.
fn plant(from: &Path) {
    write(&from.join("d/e/small"), b"a few bytes");
    write(&from.join("d/empty"), b"");
    fs::create_dir(from.join("d/nothing")).unwrap();
    symlink("e/small", from.join("d/link")).unwrap();
    symlink("../../beside/untouched", from.join("d/leads out")).unwrap();
    fs::hard_link(from.join("d/e/small"), from.join("same")).unwrap();
}
