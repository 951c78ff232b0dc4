//! What all HTTP connections of a server share.

use std::sync::{Mutex, PoisonError};

use super::digests::DigestCache;
use super::kept::KeptLists;
use super::options::HttpOptions;
use super::resumable::UploadsInUse;
use crate::http::site::HostNames;

/// Length of a buffer in which the head of an answer and the beginning of its body are put together, in bytes.
pub const SEND_BUFFER_LEN: usize = 64 * 1024;
/// Buffers that are kept for the next answer, at most: more are not in use at the same moment on few processors.
const BUFFERS_KEPT_MAX: usize = 64;

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
    /// Resumable uploads in whose requests something happens now.
    pub uploads: UploadsInUse,
    /// Lists of directories that were sorted already.
    pub(super) lists: KeptLists,
    buffers: Mutex<Vec<Vec<u8>>>,
}

impl HttpState {
    /// The state of a server whose secrets are derived from `secret`.
    pub fn new(options: HttpOptions, secret: &[u8; 32]) -> Self {
        let machine = rustix::system::uname();
        let names = HostNames::new(&machine.nodename().to_string_lossy(), &options.hosts);
        let etag_key = blake3::derive_key("landline 2026-11 entity tags of HTTP", secret);
        let (digests, uploads, lists) = (DigestCache::default(), UploadsInUse::default(), KeptLists::default());
        Self { options, names, etag_key, digests, uploads, lists, buffers: Mutex::default() }
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
