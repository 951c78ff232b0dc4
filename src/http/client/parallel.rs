//! One large file over several connections: each fetches pieces of it, which are written in their places.
//!
//! The first piece is fetched as a range by itself. A server that sends all of it instead, or has no strong entity tag
//! for it, is one of which ranges are not to be had: then that one connection fetches the whole. All other pieces are
//! requested under the condition that the tag is still the same (RFC 9110, 13.1.5).

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use ::http::header::{ACCEPT_ENCODING, ETAG, HeaderValue, IF_RANGE, RANGE};
use ::http::{Method, StatusCode};

use super::digest::{self, Hasher};
use super::download::{Fetched, Job, Piece, content_range};
use super::error::{Error, Result};
use super::follow::Final;
use super::request::Request;
use super::response::ResponseHead;
use super::retry::Retries;
use super::store::{FileStore, Store as _};
use super::url::Url;
use super::{Client, Event, Observer};
use crate::http::digest_fields::{REPR_DIGEST, WANT_REPR_DIGEST};
use crate::http::negotiate::Coding;

/// Connections for one file.
pub const PARALLEL_MAX: u32 = 32;
/// The least that is worth a request, in bytes, and the length of the first piece.
const RANGE_LEN_MIN: u64 = 4 * 1024 * 1024;
/// Pieces for each connection, so that a slow one does not keep the others waiting at the end.
const PIECES_EACH: u64 = 4;

/// What all connections work on.
struct Plan<'p> {
    job: &'p Job,
    url: Url,
    tag: HeaderValue,
    size: u64,
    piece_len: u64,
    /// Where the next piece begins.
    next: AtomicU64,
    is_over: AtomicBool,
    failed: Mutex<Option<Error>>,
    observer: &'p dyn Observer,
}

/// How the first request was answered.
#[derive(Debug)]
pub enum Begun {
    /// Whole, in ranges.
    Whole(Box<Fetched>),
    /// Ranges are not to be had; why. Nothing is in the store.
    Alone(String),
}

impl Client {
    /// Fetches what `job` says over `count` connections into `store`, a new file of which nothing is there.
    ///
    /// # Errors
    /// [`Error`]; nothing of it is kept.
    pub fn fetch_parallel(
        &self,
        job: &Job,
        count: usize,
        store: &mut FileStore,
        observer: &dyn Observer,
    ) -> Result<Begun> {
        let mut retries = Retries::new(job.retries);
        let (last, tag, size) = loop {
            match self.first(job, observer) {
                Ok(First::Ranges { last, tag, size }) => break (*last, tag, size),
                Ok(First::Alone(why)) => return Ok(Begun::Alone(why)),
                Err(error) => retries.after(error, job.deadline, observer)?,
            }
        };
        observer.event(Event::Begins { size: Some(size), there: 0 });
        store.set_len(size)?;
        let head = last.response.head.clone();
        let url = last.request.url.clone();
        let first_len = RANGE_LEN_MIN.min(size);
        let rest = size - first_len;
        let share = u64::try_from(count).unwrap_or(u64::MAX).saturating_mul(PIECES_EACH).max(1);
        let piece_len = rest.div_ceil(share).max(RANGE_LEN_MIN);
        let plan = Plan {
            job,
            url: url.clone(),
            tag,
            size,
            piece_len,
            next: AtomicU64::new(first_len),
            is_over: AtomicBool::new(false),
            failed: Mutex::new(None),
            observer,
        };
        let pieces = usize::try_from(rest.div_ceil(piece_len)).unwrap_or(usize::MAX);
        let others = count.saturating_sub(1).min(pieces);
        thread::scope(|scope| -> Result<()> {
            let store = &*store;
            let plan = &plan;
            for _ in 0..others {
                let client = self.another();
                let spawned = thread::Builder::new().name("range".into()).spawn_scoped(scope, move || {
                    plan.work(&client, store);
                });
                if let Err(error) = spawned {
                    observer.remark(&format!("fewer connections: {error}"));
                    break;
                }
            }
            match plan.begun(self, store, (last, first_len), &mut retries) {
                Ok(()) => plan.work(self, store),
                Err(error) => plan.fail(error),
            }
            Ok(())
        })?;
        if let Some(error) = plan.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() {
            return Err(if observer.is_interrupted() { Error::Interrupted } else { error });
        }
        let compared = verify(job, &head, store)?;
        let coding = Coding::Identity;
        let fetched = Fetched { head, url, size, resumed: 0, coding, compared, is_not_modified: false };
        Ok(Begun::Whole(Box::new(fetched)))
    }

    fn first(&self, job: &Job, observer: &dyn Observer) -> Result<First> {
        let mut request = ranged(job, job.url.clone(), (0, RANGE_LEN_MIN - 1));
        if job.needs_digest {
            request.headers.insert(WANT_REPR_DIGEST, HeaderValue::from_static(digest::WANTED));
        }
        let last = self.follow(&request, (job.redirects_max, job.deadline), observer, &mut |_, _| {})?;
        if last.response.head.status == StatusCode::RANGE_NOT_SATISFIABLE {
            last.response.abandon();
            return Ok(First::Alone("the file is empty".into()));
        }
        let last = last.check()?;
        let head = &last.response.head;
        let alone = if head.status != StatusCode::PARTIAL_CONTENT {
            "the server sends no ranges of it"
        } else if !head.text(&ETAG).is_some_and(|tag| tag.starts_with('"')) {
            "the server has no strong entity tag for it"
        } else {
            let tag = head.headers.get(ETAG).cloned();
            match (content_range(head), tag) {
                (Some((0, end, Some(size))), Some(tag)) if end + 1 == RANGE_LEN_MIN.min(size) => {
                    return Ok(First::Ranges { last: Box::new(last), tag, size });
                }
                _ => "the server does not send the range that was requested",
            }
        };
        last.response.abandon();
        Ok(First::Alone(alone.into()))
    }

    /// A client with the same settings, and no idle connection.
    fn another(&self) -> Self {
        Self::sharing(std::sync::Arc::clone(&self.connect))
    }
}

enum First {
    Ranges { last: Box<Final>, tag: HeaderValue, size: u64 },
    Alone(String),
}

fn ranged(job: &Job, url: Url, (first, last): (u64, u64)) -> Request {
    let mut request = Request::new(Method::GET, url);
    request.headers.clone_from(&job.headers);
    request.secrets.clone_from(&job.secrets);
    request.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Ok(range) = HeaderValue::from_str(&format!("bytes={first}-{last}")) {
        request.headers.insert(RANGE, range);
    }
    request
}

impl Plan<'_> {
    /// Fetches pieces until there are none left.
    fn work(&self, client: &Client, store: &FileStore) {
        loop {
            let start = self.next.fetch_add(self.piece_len, Ordering::Relaxed);
            if start >= self.size || self.is_over.load(Ordering::Relaxed) {
                return;
            }
            let end = start.saturating_add(self.piece_len).min(self.size);
            let mut retries = Retries::new(self.job.retries);
            if let Err(error) = self.piece(client, store, (start, end), &mut retries) {
                self.fail(error);
                return;
            }
        }
    }

    fn fail(&self, error: Error) {
        self.is_over.store(true, Ordering::Relaxed);
        self.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(error);
    }

    /// Receives the first piece, whose response has begun; what breaks off is fetched as one of the others.
    fn begun(
        &self,
        client: &Client,
        store: &FileStore,
        (mut last, len): (Final, u64),
        retries: &mut Retries,
    ) -> Result<()> {
        let received = self.receive(&mut last, store, (0, len));
        let at = last.response.received().min(len);
        match received {
            Ok(got) if got == len => {
                last.response.done(client, self.url.origin());
                Ok(())
            }
            Ok(got) => Err(Error::Unexpected(format!("a piece of {len} bytes has {got}"))),
            Err(_) if self.is_over.load(Ordering::Relaxed) => Ok(()),
            Err(error @ Error::Ours { .. }) => Err(error),
            Err(error) => {
                last.response.abandon();
                retries.moved();
                retries.after(error, self.job.deadline, self.observer)?;
                self.piece(client, store, (at, len), retries)
            }
        }
    }

    /// Fetches one piece, over as many attempts as are permitted.
    fn piece(
        &self,
        client: &Client,
        store: &FileStore,
        (mut start, end): (u64, u64),
        retries: &mut Retries,
    ) -> Result<()> {
        while start < end {
            let before = start;
            match self.attempt(client, store, &mut start, end) {
                Ok(()) if start == before => return Err(Error::Unexpected("the server sends an empty range".into())),
                Ok(()) => {}
                Err(_) if self.is_over.load(Ordering::Relaxed) => return Ok(()),
                Err(error @ Error::Ours { .. }) => return Err(error),
                Err(error) => {
                    if start > before {
                        retries.moved();
                    }
                    retries.after(error, self.job.deadline, self.observer)?;
                }
            }
        }
        Ok(())
    }

    fn attempt(&self, client: &Client, store: &FileStore, start: &mut u64, end: u64) -> Result<()> {
        let mut request = ranged(self.job, self.url.clone(), (*start, end - 1));
        // Credentials are those of the URL that was requested.
        if self.url.origin() != self.job.url.origin() {
            request.secrets.clear();
        }
        request.headers.insert(IF_RANGE, self.tag.clone());
        let limits = (0, self.job.deadline);
        let mut last = client.follow(&request, limits, self.observer, &mut |_, _| {})?.check()?;
        let head = &last.response.head;
        if head.status != StatusCode::PARTIAL_CONTENT || head.headers.get(ETAG).is_some_and(|tag| *tag != self.tag) {
            return Err(Error::Unexpected("the file has changed on the server while it was fetched".into()));
        }
        match content_range(head) {
            // A shorter one is permitted, and a server of ten bytes a request would never come to an end.
            Some((first, last, size))
                if (first, last) == (*start, end - 1) && size.is_none_or(|size| size == self.size) => {}
            _ => return Err(Error::Unexpected("the server does not send the range that was requested".into())),
        }
        let at = *start;
        let received = self.receive(&mut last, store, (at, end));
        *start = at.saturating_add(last.response.received()).min(end);
        received?;
        last.response.done(client, self.url.origin());
        Ok(())
    }

    /// Puts the body to where it belongs; how many bytes it has.
    ///
    /// # Errors
    /// As [`Client::fetch`], or there is more than goes from `start` to `end`: it belongs to another piece.
    fn receive(&self, last: &mut Final, store: &FileStore, (start, end): (u64, u64)) -> Result<u64> {
        let mut buffer = Piece::new();
        let mut at = start;
        loop {
            let mut filled = 0;
            let ended = loop {
                let room = buffer.room(filled);
                if room.is_empty() {
                    break None;
                }
                match last.response.read(room) {
                    Ok(0) => break Some(Ok(())),
                    Ok(len) => filled += len,
                    Err(error) => break Some(Err(error)),
                }
            };
            if at + filled as u64 > end {
                return Err(Error::Unexpected("the server sends more than the range that was requested".into()));
            }
            store.put_at(buffer.filled(filled), at)?;
            self.observer.event(Event::Moved(filled as u64));
            at += filled as u64;
            match ended {
                Some(Ok(())) => return Ok(at - start),
                Some(Err(error)) => return Err(error),
                None if self.is_over.load(Ordering::Relaxed) => return Err(Error::lost("another piece failed")),
                None => {}
            }
        }
    }
}

/// Compares the whole with the digests that are known; whose they are.
fn verify(job: &Job, head: &ResponseHead, store: &FileStore) -> Result<Vec<String>> {
    let mut expected = digest::in_field(&head.headers, &REPR_DIGEST);
    if job.needs_digest && expected.is_empty() {
        return Err(Error::Unexpected(
            "the server sends no digest of the whole (Repr-Digest) that is known here".into(),
        ));
    }
    expected.extend(job.sha256.and_then(digest::own));
    let mut hasher = Hasher::new(expected);
    store.hash(&mut hasher)?;
    hasher.finish()
}
