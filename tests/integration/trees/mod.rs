//! Trees under attack: any tree both ways, cut connections and killed programs, parts that are gone on with, and peers
//! that lie.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::fs::{AtFlags, Timespec, Timestamps};

use crate::harness::files::set_mode;

mod changes;
mod connections;
mod cuts;
mod guest;
mod liar;
mod memory;
mod odd;
mod packed;
mod parts;
mod resume;
mod same;
mod words;

/// All that two copies of a tree are to have in common; what it is called at the top is left out.
type Snapshot = BTreeMap<PathBuf, Node>;

#[derive(Debug, PartialEq, Eq)]
struct Node {
    what: What,
    /// Not a symlink's, which has none of its own.
    mode: u32,
    mtime_ns: i128,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    File { size: u64, blake3: String },
    Dir,
    Link(PathBuf),
    Other,
}

impl Node {
    fn of(path: &Path) -> Self {
        let metadata = path.symlink_metadata().unwrap();
        let what = match metadata.file_type() {
            kind if kind.is_file() => What::File { size: metadata.len(), blake3: digest(path) },
            kind if kind.is_dir() => What::Dir,
            kind if kind.is_symlink() => What::Link(std::fs::read_link(path).unwrap()),
            _ => What::Other,
        };
        let mode = if metadata.is_symlink() { 0 } else { metadata.mode() & 0o7777 };
        let mtime_ns = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Self { what, mode, mtime_ns }
    }
}

fn digest(path: &Path) -> String {
    blake3::hash(&std::fs::read(path).unwrap()).to_hex().to_string()
}

/// What is in `dir`.
fn snapshot(dir: &Path) -> Snapshot {
    let mut found = Snapshot::new();
    let mut inside = vec![dir.to_owned()];
    while let Some(above) = inside.pop() {
        for entry in std::fs::read_dir(&above).unwrap() {
            let path = entry.unwrap().path();
            let node = Node::of(&path);
            if node.what == What::Dir {
                inside.push(path.clone());
            }
            found.insert(path.strip_prefix(dir).unwrap().to_owned(), node);
        }
    }
    found
}

/// The first difference says more than two whole trees.
fn assert_same(want: &Snapshot, got: &Snapshot, when: &str) {
    for (path, node) in want {
        assert_eq!(got.get(path), Some(node), "{when}: {}", path.display());
    }
    for path in got.keys() {
        assert!(want.contains_key(path), "{when}: {} is not in the sender's tree", path.display());
    }
}

/// Temporary names that were left below `dir`.
fn strays(dir: &Path) -> Vec<PathBuf> {
    snapshot(dir).into_keys().filter(|path| is_stray(path)).collect()
}

fn is_stray(path: impl AsRef<Path>) -> bool {
    let name = path.as_ref().file_name().unwrap().as_bytes();
    name.starts_with(b".") && (name.ends_with(b".part") || name.ends_with(b".journal"))
}

/// Of the thing itself, also of a symlink.
fn set_mtime(path: &Path, mtime_ns: i64) {
    let last_modification =
        Timespec { tv_sec: mtime_ns.div_euclid(1_000_000_000), tv_nsec: mtime_ns.rem_euclid(1_000_000_000) };
    let times = Timestamps { last_access: last_modification, last_modification };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Bytes that cannot be told from chance, the same for the same seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// A path with something behind it, whose bytes need not be UTF-8.
fn with(path: &Path, behind: &str) -> std::ffi::OsString {
    let mut path = path.as_os_str().to_owned();
    path.push(behind);
    path
}

/// The one unfinished copy in `dir`.
fn part_in(dir: &Path) -> PathBuf {
    let [part] = &strays(dir)[..] else { panic!("one unfinished copy: {:?}", strays(dir)) };
    dir.join(part)
}

/// A directory, the one beside it that nothing may touch, and what that looked like.
struct Sandbox {
    dir: tempfile::TempDir,
    before: Snapshot,
}

impl Sandbox {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["inside", "outside", "outside/deep"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        std::fs::write(dir.path().join("outside/canary"), "canary").unwrap();
        std::fs::write(dir.path().join("outside/deep/canary"), "canary").unwrap();
        let before = Self::all_but_inside(dir.path());
        Self { dir, before }
    }

    fn inside(&self) -> PathBuf {
        self.dir.path().join("inside")
    }

    fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    fn all_but_inside(dir: &Path) -> Snapshot {
        let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        let mut found: Snapshot = entries
            .filter(|name| name != "inside")
            .map(|name| (name.clone().into(), Node::of(&dir.join(name))))
            .collect();
        found.extend(snapshot(&dir.join("outside")));
        found
    }

    fn assert_untouched(&self, when: &str) {
        assert_same(&self.before, &Self::all_but_inside(self.dir.path()), when);
    }
}

/// A thread that swaps a directory for a symlink.
struct Swapping {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<u32>,
}

impl Swapping {
    /// Ends it, with the directory where it was; returns how often it was away.
    fn stop(self) -> u32 {
        self.is_over.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

/// Moves `dir` to `away` and back, as soon as it is there; meanwhile it is a symlink to `outside`.
fn swap_with(dir: PathBuf, away: PathBuf, outside: PathBuf) -> Swapping {
    let is_over = Arc::new(AtomicBool::new(false));
    let thread = std::thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || {
            let mut swaps = 0;
            while !is_over.load(Ordering::SeqCst) {
                if std::fs::rename(&dir, &away).is_ok() {
                    if std::os::unix::fs::symlink(&outside, &dir).is_ok() {
                        std::thread::yield_now();
                        std::fs::remove_file(&dir).unwrap();
                    }
                    // Another one that was made in its place meanwhile is in the way.
                    while std::fs::rename(&away, &dir).is_err() {
                        std::fs::remove_dir_all(&dir).unwrap();
                    }
                    swaps += 1;
                }
                std::thread::yield_now();
            }
            swaps
        }
    });
    Swapping { is_over, thread }
}

/// Names below the sandbox's inner directory.
fn names_in(dir: &Path) -> Vec<String> {
    snapshot(dir).into_keys().map(|path| OsStr::to_string_lossy(path.as_os_str()).into_owned()).collect()
}
