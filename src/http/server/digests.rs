//! Digests of what is sent, for clients that want them (RFC 9530, 4). SHA-256, which every client has.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use ::http::header::HeaderValue;
use cap_std::fs::Metadata;
use sha2::{Digest as _, Sha256};

use super::exchange::Exchange;
use super::representation::{Representation, validators};
use super::response::Response;
use crate::fs::unix::read_at;
use crate::http::digest_fields::{
    Algorithm, CONTENT_DIGEST, Digest, REPR_DIGEST, WANT_CONTENT_DIGEST, WANT_REPR_DIGEST, wanted,
};
use crate::http::negotiate::Coding;
use crate::http::range::Ranges;
use crate::trust::Peer;

/// Digests that are kept, at most.
pub const DIGESTS_KEPT_MAX: usize = 10_000;
/// The longest file, in bytes, of which a guest gets the digest: it is read to its end first.
pub const GUEST_DIGEST_LEN_MAX: u64 = 1024 * 1024 * 1024;
/// The longest part of a file, in bytes, that gets a digest of its own: none of them is kept.
pub const PART_DIGEST_LEN_MAX: u64 = 16 * 1024 * 1024;
const PIECE_LEN: usize = 256 * 1024;

/// Digests of files, by the tag of the file: another version has another tag.
#[derive(Debug, Default)]
pub(super) struct DigestCache {
    kept: Mutex<Kept>,
}

/// Where a digest is, once it is made.
type Place = Mutex<Option<[u8; 32]>>;

#[derive(Debug, Default)]
struct Kept {
    by_tag: HashMap<Vec<u8>, Arc<Place>>,
    /// The tags, the oldest first.
    order: VecDeque<Vec<u8>>,
}

impl DigestCache {
    /// The place for the digest of a file. Its lock is held by the one who makes it: the others wait, and do not read
    /// the file too.
    fn place(&self, tag: &[u8]) -> Arc<Place> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = kept.by_tag.get(tag) {
            return Arc::clone(place);
        }
        if kept.order.len() >= DIGESTS_KEPT_MAX
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.by_tag.remove(&oldest);
        }
        let place = Arc::default();
        kept.by_tag.insert(tag.to_vec(), Arc::clone(&place));
        kept.order.push_back(tag.to_vec());
        place
    }
}

/// Adds the digests that the client wants, as far as they can be had: a wish is no condition.
pub(super) fn add(exchange: &Exchange<'_>, response: &mut Response, chosen: &Representation, ranges: &Ranges) {
    let headers = &exchange.head.headers;
    let wants_repr = wanted(headers, &WANT_REPR_DIGEST).is_some();
    let wants_content = wanted(headers, &WANT_CONTENT_DIGEST).is_some();
    if !(wants_repr || wants_content) || !chosen.is_identity() {
        return;
    }
    let is_guest = matches!(exchange.session.peer, Peer::Guest { .. });
    let whole = if wants_repr || *ranges == Ranges::Whole {
        (!is_guest || chosen.len <= GUEST_DIGEST_LEN_MAX).then(|| of_file(exchange, chosen)).flatten()
    } else {
        None
    };
    let content = match ranges {
        Ranges::Whole => whole,
        Ranges::Parts(parts) => match **parts {
            [part] if part.size() <= PART_DIGEST_LEN_MAX => hash(chosen.file(), part.first, part.size()).ok(),
            _ => None,
        },
        Ranges::Unsatisfiable => None,
    };
    let wishes = [(REPR_DIGEST, whole.filter(|_| wants_repr)), (CONTENT_DIGEST, content.filter(|_| wants_content))];
    for (name, digest) in wishes {
        let digest = digest.and_then(|bytes| Digest::new(Algorithm::Sha256, bytes));
        if let Some(value) = digest.and_then(|digest| HeaderValue::from_str(&digest.to_string()).ok()) {
            response.headers.insert(name, value);
        }
    }
}

/// The digest of a whole file; `None`: it could not be read, or changed meanwhile.
fn of_file(exchange: &Exchange<'_>, chosen: &Representation) -> Option<[u8; 32]> {
    let tag = chosen.validators.etag.as_ref()?.opaque();
    let place = exchange.state.digests.place(tag);
    let mut digest = place.lock().unwrap_or_else(PoisonError::into_inner);
    if digest.is_none() {
        let hashed = hash(chosen.file(), 0, chosen.len).ok()?;
        let now = validators(exchange, &Metadata::from_file(chosen.file()).ok()?, Coding::Identity);
        // A file that is younger than its file system's clock tells may have changed unseen.
        let is_same = now.etag.as_ref().is_some_and(|now| now.opaque() == tag);
        if !is_same {
            return None;
        }
        if now.etag.is_some_and(|now| now.is_weak()) {
            return Some(hashed);
        }
        *digest = Some(hashed);
    }
    *digest
}

fn hash(file: &File, mut offset: u64, mut left: u64) -> io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut piece = vec![0; PIECE_LEN];
    while left > 0 {
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_LEN);
        let read = read_at(file, piece.get_mut(..len).unwrap_or_default(), offset)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hasher.update(piece.get(..read).unwrap_or_default());
        offset += read as u64;
        left -= read as u64;
    }
    Ok(hasher.finalize().into())
}
