//! What all HTTP connections of a server share.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cap_std::fs::Dir;

use super::dav::{DeadProperties, Holder, Locks};
use super::digests::DigestCache;
use super::kept::KeptLists;
use super::options::HttpOptions;
use super::resumable::UploadsInUse;
use super::search::SEARCHES_MAX;
use crate::fs;
use crate::fs::unix::identity_of;
use crate::http::site::HostNames;

/// Length of a buffer in which the head of an answer and the beginning of its body are put together, in bytes.
pub const SEND_BUFFER_LEN: usize = 64 * 1024;
/// Buffers that are kept for the next answer, at most: more are not in use at the same moment on few processors.
const BUFFERS_KEPT_MAX: usize = 64;

/// Locks for names whose state a request depends on: many, since one is held while a file is brought to the disk.
const NAME_LOCKS: usize = 1_024;

/// Archives that are sent at the same time, at most: each holds some open directories and the work of a thread.
pub const ARCHIVES_MAX: usize = 64;

/// Places for what may happen a limited number of times at once.
#[derive(Debug)]
pub(super) struct Permits {
    taken: Arc<AtomicUsize>,
    max: usize,
}

/// A place; dropping it makes room.
#[derive(Debug)]
pub(super) struct Permit(Arc<AtomicUsize>);

impl Permits {
    fn up_to(max: usize) -> Self {
        Self { taken: Arc::default(), max }
    }

    /// A place; `None`: all are taken.
    pub(super) fn take(&self) -> Option<Permit> {
        let more = |taken: usize| (taken < self.max).then_some(taken + 1);
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.ok().map(|_| Permit(Arc::clone(&self.taken)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The state of HTTP.
#[derive(Debug)]
pub struct HttpState {
    /// What the operator has decided.
    pub options: HttpOptions,
    /// The hosts that clients may mean.
    pub names: HostNames,
    /// The key of entity tags: they tell nothing of what they are made of, and stay the same when the server is
    /// restarted.
    pub etag_key: [u8; 32],
    pub(super) digests: DigestCache,
    /// The archives that are being sent.
    pub(super) archives: Permits,
    /// The searches that run.
    pub(super) searches: Permits,
    /// Resumable uploads in whose requests something happens now.
    pub uploads: UploadsInUse,
    /// Lists of directories that were sorted already.
    pub(super) lists: KeptLists,
    /// The locks of WebDAV.
    pub(super) locks: Arc<Locks>,
    /// The properties that clients have set.
    pub(super) properties: Arc<DeadProperties>,
    /// Held from looking at a name to changing it; several names share one.
    names_held: [Mutex<()>; NAME_LOCKS],
    buffers: Mutex<Vec<Vec<u8>>>,
}

impl HttpState {
    /// The state of a server whose secrets are derived from `secret`.
    pub fn new(options: HttpOptions, secret: &[u8; 32]) -> Self {
        let machine = rustix::system::uname();
        let names = HostNames::new(&machine.nodename().to_string_lossy(), &options.hosts);
        let etag_key = blake3::derive_key("landline 2026-11 entity tags of HTTP", secret);
        let (digests, uploads, lists) = (DigestCache::default(), UploadsInUse::default(), KeptLists::default());
        let (archives, searches) = (Permits::up_to(ARCHIVES_MAX), Permits::up_to(SEARCHES_MAX));
        Self {
            options,
            names,
            etag_key,
            digests,
            archives,
            searches,
            uploads,
            lists,
            locks: Arc::default(),
            properties: Arc::default(),
            names_held: [const { Mutex::new(()) }; NAME_LOCKS],
            buffers: Mutex::default(),
        }
    }

    /// Frees the locks and properties of WebDAV that neither guests nor these owners have.
    pub fn keep_owners(&self, owners: &HashSet<String>) {
        let is_known = |holder: &Holder| holder.is_known(owners);
        self.locks.forget_unless(&is_known);
        self.properties.forget_unless(&is_known);
    }

    /// Keeps other requests from giving `name` in `dir` to another file until the result is dropped, whatever part of
    /// the root their sessions are shown: without this two of them could find the same tag, and the second would undo
    /// what the first has done. What is done to a whole tree is kept away by [`Locks`].
    ///
    /// # Errors
    /// The system does not say which directory it is.
    pub(super) fn hold(&self, dir: &Dir, name: &OsStr) -> Result<MutexGuard<'_, ()>, fs::Error> {
        let [first, ..] = &self.names_held;
        let lock = self.names_held.get(lock_of(dir, name)?).unwrap_or(first);
        Ok(lock.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A buffer of [`SEND_BUFFER_LEN`], lent for one answer: a connection that waits holds none.
    pub(super) fn lend(&self) -> Vec<u8> {
        let kept = self.buffers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(|| Vec::with_capacity(SEND_BUFFER_LEN))
    }

    /// Takes a buffer back.
    pub(super) fn take_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if buffers.len() < BUFFERS_KEPT_MAX && buffer.capacity() <= 2 * SEND_BUFFER_LEN {
            buffers.push(buffer);
        }
    }
}

/// Which of the locks is that of a name.
fn lock_of(dir: &Dir, name: &OsStr) -> Result<usize, fs::Error> {
    let mut hasher = DefaultHasher::new();
    (identity_of(dir)?, name).hash(&mut hasher);
    Ok(usize::try_from(hasher.finish() % NAME_LOCKS as u64).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::root::{Root, RootPath};

    #[test]
    fn a_name_is_the_same_from_every_root() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::os::unix::fs::symlink("a", dir.path().join("link")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let at = |path: &str| RootPath::default().join(path.as_bytes()).unwrap();
        let narrow = root.below(&at("/a")).unwrap();
        let lock = |root: &Root, path: &str| {
            let (dir, name) = root.open_parent(&at(path)).unwrap();
            lock_of(&dir, &name).unwrap()
        };
        for number in 0..100 {
            let one = lock(&root, &format!("/a/b/{number}"));
            assert_eq!([lock(&narrow, &format!("/b/{number}")), lock(&root, &format!("/link/b/{number}"))], [one; 2]);
        }
    }
}
