//! A body that arrives whole, over as many connections as it takes: what broke off goes on where it was, if the server
//! still has the same.
//!
//! A part is gone on with only where a strong validator says that the rest belongs to it (RFC 9110, 13.1.5). A server
//! that has another version, or ignores ranges, sends all of it, and it starts over.

use std::io::{self, Read};

use ::http::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_RANGE,
    LAST_MODIFIED, RANGE,
};
use ::http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::coding::{self, ACCEPTED, Decoder};
use super::connection::Deadline;
use super::content::Content;
use super::digest::{self, Expected, Hasher};
use super::error::{Error, Result};
use super::exchange::Response;
use super::follow::Final;
use super::request::Request;
use super::response::ResponseHead;
use super::retry::Retries;
use super::store::Store;
use super::upload::Upload;
use super::url::Url;
use super::{Client, Event, Observer};
use crate::fs::part::PIECE_LEN;
use crate::http::date;
use crate::http::digest_fields::{CONTENT_DIGEST, REPR_DIGEST, WANT_REPR_DIGEST};
use crate::http::negotiate::Coding;

/// What is fetched, and how.
#[derive(Debug, Clone)]
pub struct Job {
    /// The method: GET, or what the caller says.
    pub method: Method,
    /// The URL.
    pub url: Url,
    /// Fields of the request.
    pub headers: HeaderMap,
    /// Those that only the URL's own origin may see.
    pub secrets: HeaderMap,
    /// What the request carries; `None`: nothing.
    pub content: Option<Content>,
    /// Whether compressed bodies are requested, and decoded.
    pub is_compressed: bool,
    /// The digest that the whole must have; `None`: it is not known.
    pub sha256: Option<[u8; 32]>,
    /// Whether the server must send a digest of the whole.
    pub needs_digest: bool,
    /// Redirects that are followed.
    pub redirects_max: usize,
    /// Further attempts after one that failed.
    pub retries: u32,
    /// Whether the content is a file to be kept there, which the server may be able to go on with.
    pub is_upload: bool,
    /// When all of it must be over, by whichever way it is fetched.
    pub deadline: Deadline,
}

/// How a fetch ended.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The last response's head.
    pub head: ResponseHead,
    /// Where it came from in the end.
    pub url: Url,
    /// Bytes of the whole, decoded.
    pub size: u64,
    /// Bytes of it that an earlier run had left.
    pub resumed: u64,
    /// The coding that was decoded.
    pub coding: Coding,
    /// Whose digests were compared.
    pub compared: Vec<String>,
    /// Whether there is nothing new: the server says that the caller's own conditions do not hold (RFC 9110, 15.4.5).
    pub is_not_modified: bool,
}

/// What is known of the bytes that are there: whether a server still has them can be asked with this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The BLAKE3 of the URL that was requested: it may hold a secret.
    url_blake3: String,
    /// The value of `If-Range`.
    validator: String,
    /// Bytes of the whole; `None`: unknown.
    size: Option<u64>,
}

impl Source {
    /// What a response says of its body; `None`: nothing by which it is known again.
    fn of(url: &Url, head: &ResponseHead, size: Option<u64>) -> Option<Self> {
        Some(Self { url_blake3: digest_of(url), validator: validator(head)?, size })
    }

    /// From a part's record, if it is about `url`.
    pub fn parse(text: &str, url: &Url) -> Option<Self> {
        serde_json::from_str(text).ok().filter(|source: &Self| source.url_blake3 == digest_of(url))
    }

    fn to_text(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}

fn digest_of(url: &Url) -> String {
    blake3::hash(url.to_string().as_bytes()).to_hex().to_string()
}

/// A strong validator (RFC 9110, 8.8.1): an entity tag that is not weak, or a date that is strong in the sense of
/// 8.8.2.2, a second before the response at least.
pub fn validator(head: &ResponseHead) -> Option<String> {
    if let Some(tag) = head.text(&ETAG) {
        let is_strong = tag.len() >= 2 && tag.starts_with('"') && tag.ends_with('"');
        return is_strong.then(|| tag.to_owned());
    }
    let modified = head.text(&LAST_MODIFIED)?;
    let sent = date::parse(head.text(&DATE)?)?;
    (date::parse(modified)? < sent).then(|| modified.to_owned())
}

/// The first and last byte of a part of the whole, and the length of the whole if it is known (RFC 9110, 14.4).
pub fn content_range(head: &ResponseHead) -> Option<(u64, u64, Option<u64>)> {
    let (range, size) = head.text(&CONTENT_RANGE)?.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    let (first, last) = (number(first)?, number(last)?);
    let size = if size == "*" { None } else { Some(number(size)?) };
    (first <= last && size.is_none_or(|size| last < size)).then_some((first, last, size))
}

/// One fetch under way.
struct Fetch<'f> {
    client: &'f Client,
    job: &'f Job,
    observer: &'f dyn Observer,
    /// What the bytes in the store are; `None`: nothing that can be gone on with.
    source: Option<Source>,
    resumed: u64,
    hasher: Hasher,
    upload: Upload,
}

/// What an attempt has come to.
enum Attempt {
    Whole(Box<Fetched>),
    /// There is more to fetch, or it starts over; something has changed by this attempt.
    More,
}

impl Client {
    /// Fetches what `job` says into `store`. What is there already is of `source`.
    ///
    /// # Errors
    /// [`Error`]; what has come stays in the store.
    pub fn fetch(
        &self,
        job: &Job,
        store: &mut dyn Store,
        source: Option<Source>,
        observer: &dyn Observer,
    ) -> Result<Fetched> {
        let source = source.filter(|_| !job.is_compressed && job.content.is_none() && job.method == Method::GET);
        let resumed = if source.is_some() { store.size() } else { 0 };
        let (hasher, upload) = (Hasher::default(), Upload::default());
        let mut fetch = Fetch { client: self, job, observer, source, resumed, hasher, upload };
        let mut retries = Retries::new(job.retries);
        loop {
            let before = store.size();
            match fetch.attempt(store) {
                Ok(Attempt::Whole(fetched)) => return Ok(*fetched),
                Ok(Attempt::More) if store.size() == before => {
                    return Err(Error::Unexpected("the server sends a part without a byte".into()));
                }
                Ok(Attempt::More) => {}
                Err(error) => {
                    if store.size() > before {
                        retries.moved();
                    }
                    if observer.is_interrupted() {
                        return Err(Error::Interrupted);
                    }
                    let is_sent_again = job.content.as_ref().is_none_or(Content::is_replayable);
                    if !is_sent_again || matches!(error, Error::Ours { .. }) {
                        return Err(error);
                    }
                    retries.after(error, job.deadline, observer)?;
                }
            }
        }
    }
}

impl Fetch<'_> {
    fn request(&self, at: u64) -> Result<Request> {
        let Job { method, url, headers, secrets, content, .. } = self.job;
        let mut request = Request::new(method.clone(), url.clone());
        (request.headers, request.secrets, request.content) = (headers.clone(), secrets.clone(), content.clone());
        let mut put = |name: HeaderName, value: &str| -> Result<()> {
            let value = HeaderValue::from_str(value).map_err(|error| Error::Unexpected(error.to_string()))?;
            request.headers.entry(name).or_insert(value);
            Ok(())
        };
        if let Some(source) = self.source.as_ref().filter(|_| at > 0) {
            put(RANGE, &format!("bytes={at}-"))?;
            put(IF_RANGE, &source.validator)?;
            put(ACCEPT_ENCODING, "identity")?;
        } else {
            // Without the field a server may choose any coding (RFC 9110, 12.5.3).
            put(ACCEPT_ENCODING, if self.job.is_compressed { ACCEPTED } else { "identity" })?;
        }
        if self.job.needs_digest {
            put(WANT_REPR_DIGEST, digest::WANTED)?;
        }
        Ok(request)
    }

    fn attempt(&mut self, store: &mut dyn Store) -> Result<Attempt> {
        let at = if self.source.is_some() { store.size() } else { 0 };
        let request = self.request(at)?;
        let limits = (self.job.redirects_max, self.job.deadline);
        let last = if self.job.is_upload {
            self.client.upload(&request, &mut self.upload, limits, self.observer)?
        } else {
            self.client.follow(&request, limits, self.observer, &mut |_, _| {})?
        };
        let is_part = at > 0 && last.response.head.status == StatusCode::PARTIAL_CONTENT;
        if at > 0 && last.response.head.status == StatusCode::RANGE_NOT_SATISFIABLE {
            last.response.abandon();
            return self.start_over(store, "the server has fewer bytes of it");
        }
        let last = last.check()?;
        if last.response.head.status == StatusCode::NOT_MODIFIED {
            return Ok(Attempt::Whole(Box::new(self.ended(last, store.size(), Coding::Identity))));
        }
        let whole_len =
            if is_part { self.check_part(&last.response, at)? } else { self.begin_whole(&last, at, store)? };
        self.receive(last, whole_len, store)
    }

    /// A part came that is to be behind what is there; the length of the whole, if it is known.
    fn check_part(&self, response: &Response, at: u64) -> Result<Option<u64>> {
        let head = &response.head;
        let unexpected = |why: String| Err(Error::Unexpected(why));
        let Some((first, end, size)) = content_range(head) else {
            return unexpected(format!(
                "the server sends a part and does not say which ({:?})",
                head.text(&CONTENT_RANGE)
            ));
        };
        if first != at {
            return unexpected(format!("the server sends what begins at byte {first}, where {at} was requested"));
        }
        let len = head.text(&CONTENT_LENGTH).and_then(|len| len.parse::<u64>().ok());
        if let Some(len) = len.filter(|len| *len != end - first + 1) {
            return unexpected(format!("the server sends {len} bytes as the part from byte {first} to {end}"));
        }
        let Some(source) = &self.source else { return unexpected("the server sends a part".into()) };
        let tag = head.text(&ETAG).filter(|_| source.validator.starts_with('"'));
        if tag.is_some_and(|tag| tag != source.validator) {
            return unexpected("the server sends a part of another version".into());
        }
        if let (Some(was), Some(is)) = (source.size, size)
            && was != is
        {
            return unexpected(format!("the server sends a part of {is} bytes, where it had {was}"));
        }
        self.observer.remark(&format!("goes on at byte {at}"));
        Ok(size.or(source.size))
    }

    /// All of it comes, from its first byte.
    fn begin_whole(&mut self, last: &Final, at: u64, store: &mut dyn Store) -> Result<Option<u64>> {
        let head = &last.response.head;
        let has_own_range = self.job.headers.contains_key(RANGE);
        if head.status == StatusCode::PARTIAL_CONTENT && !has_own_range {
            return Err(Error::Unexpected("the server sends a part where all was requested".into()));
        }
        if at > 0 {
            let is_same =
                self.source.as_ref().is_some_and(|source| validator(head).as_ref() == Some(&source.validator));
            let why = if is_same { "the server sends no ranges of it" } else { "the file has changed on the server" };
            self.observer.notice(&format!("{why}: it starts over"));
        }
        self.resumed = 0;
        let size =
            last.response.body_len().filter(|_| coding::of(&head.headers).is_ok_and(|it| it == Coding::Identity));
        let is_plain = self.job.method == Method::GET && self.job.content.is_none() && !self.job.is_compressed;
        self.source = Source::of(&self.job.url, head, size).filter(|_| is_plain && !has_own_range && size != Some(0));
        store.meet(head)?;
        store.begin(self.source.as_ref().and_then(Source::to_text))?;
        Ok(size)
    }

    fn start_over(&mut self, store: &mut dyn Store, why: &str) -> Result<Attempt> {
        self.observer.notice(&format!("{why}: it starts over"));
        (self.source, self.resumed) = (None, 0);
        store.begin(None)?;
        Ok(Attempt::More)
    }

    /// Reads the body into the store, decoded.
    fn receive(&mut self, mut last: Final, whole_len: Option<u64>, store: &mut dyn Store) -> Result<Attempt> {
        let is_decoded = self.job.is_compressed;
        let coding = if is_decoded { coding::of(&last.response.head.headers)? } else { Coding::Identity };
        let (of_coded, of_content) = self.expected(&last.response.head, coding)?;
        if !self.hasher.continues(&of_coded.0, store.size()) {
            self.hasher = Hasher::new(of_coded.0);
            store.hash(&mut self.hasher)?;
        }
        self.observer.event(Event::Begins { size: whole_len, there: store.size() });
        let mut coded = CodedBody {
            response: &mut last.response,
            content: Hasher::new(of_content),
            coded: Hasher::new(of_coded.1),
            observer: self.observer,
            failed: None,
        };
        let mut decoder =
            Decoder::new(coding, &mut coded).map_err(|source| Error::Coding { coding: coding.name(), source })?;
        let copied = copy(&mut decoder, store, &mut self.hasher);
        let finished = decoder.finish().map(|(_, is_used)| is_used);
        if let Some(error) = coded.failed.take() {
            // What came of it is in the store.
            return Err(error);
        }
        match (copied, finished) {
            (Err(CopyError::Store(error)), _) => return Err(error),
            (Err(CopyError::Body(source)), _) | (Ok(()), Err(source)) => {
                store.spoil();
                return Err(Error::Coding { coding: coding.name(), source });
            }
            (Ok(()), Ok(_)) => {}
        }
        let (content, whole) = (coded.content, coded.coded);
        let compared = content.finish().and_then(|of_content| Ok([of_content, whole.finish()?].concat()));
        let mut compared = compared.inspect_err(|_| store.spoil())?;
        if whole_len.is_some_and(|whole| store.size() < whole) {
            let Final { response, request } = last;
            response.done(self.client, request.url.origin());
            return Ok(Attempt::More);
        }
        if let Some(whole) = whole_len.filter(|whole| store.size() != *whole) {
            store.spoil();
            return Err(Error::Unexpected(format!("{} bytes came, where {whole} were announced", store.size())));
        }
        let of_stored = std::mem::take(&mut self.hasher).finish().inspect_err(|_| store.spoil())?;
        compared.extend(of_stored);
        let fetched = Fetched { compared, ..self.ended(last, store.size(), coding) };
        Ok(Attempt::Whole(Box::new(fetched)))
    }

    /// What is to be compared: of the whole as it is stored and as it came, and of this message's content.
    #[expect(clippy::type_complexity, reason = "three lists of the same kind, taken apart at once")]
    fn expected(&self, head: &ResponseHead, coding: Coding) -> Result<((Vec<Expected>, Vec<Expected>), Vec<Expected>)> {
        let of_whole = digest::in_field(&head.headers, &REPR_DIGEST);
        if self.job.needs_digest && of_whole.is_empty() {
            let why = "the server sends no digest of the whole (Repr-Digest) that is known here";
            return Err(Error::Unexpected(why.into()));
        }
        let mut stored: Vec<Expected> = self.job.sha256.and_then(digest::own).into_iter().collect();
        let mut coded = Vec::new();
        // A digest of the representation is one of what came, coded (RFC 9530, 3.1).
        if coding == Coding::Identity {
            stored.extend(of_whole);
        } else {
            coded = of_whole;
        }
        Ok(((stored, coded), digest::in_field(&head.headers, &CONTENT_DIGEST)))
    }

    fn ended(&self, last: Final, size: u64, coding: Coding) -> Fetched {
        let Final { response, request } = last;
        let head = response.head.clone();
        let origin = request.url.origin().clone();
        response.done(self.client, &origin);
        let is_not_modified = head.status == StatusCode::NOT_MODIFIED;
        Fetched { head, url: request.url, size, resumed: self.resumed, coding, compared: Vec::new(), is_not_modified }
    }
}

/// The body as it comes, hashed on its way.
struct CodedBody<'b> {
    response: &'b mut Response,
    content: Hasher,
    coded: Hasher,
    observer: &'b dyn Observer,
    /// Why it broke off.
    failed: Option<Error>,
}

impl Read for &mut CodedBody<'_> {
    fn read(&mut self, dest: &mut [u8]) -> io::Result<usize> {
        match self.response.read(dest) {
            Ok(len) => {
                let piece = dest.get(..len).unwrap_or_default();
                self.content.update(piece);
                self.coded.update(piece);
                self.observer.event(Event::Moved(len as u64));
                Ok(len)
            }
            Err(error) => {
                self.failed = Some(error);
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        }
    }
}

enum CopyError {
    Body(io::Error),
    Store(Error),
}

/// Copies until the end of `body`. What came before it broke off is in the store too.
fn copy(body: &mut impl Read, store: &mut dyn Store, hasher: &mut Hasher) -> Result<(), CopyError> {
    let mut buffer = Piece::new();
    loop {
        let mut filled = 0;
        let mut end = None;
        while filled < PIECE_LEN {
            match body.read(buffer.room(filled)) {
                Ok(0) => end = Some(Ok(())),
                Ok(len) => filled += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => end = Some(Err(CopyError::Body(error))),
            }
            if end.is_some() || !store.wants_full_pieces() {
                break;
            }
        }
        let piece = buffer.filled(filled);
        hasher.update(piece);
        if !piece.is_empty() {
            store.take(piece).map_err(CopyError::Store)?;
        }
        if let Some(end) = end {
            return end;
        }
    }
}

/// A buffer of a piece, which begins 64 bytes behind the beginning of a page: the kernel's copy is slow where the two
/// places differ by less than 32 bytes within their pages.
pub struct Piece {
    bytes: Vec<u8>,
    start: usize,
}

impl std::fmt::Debug for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Piece")
    }
}

impl Default for Piece {
    fn default() -> Self {
        Self::new()
    }
}

impl Piece {
    const PAGE: usize = 4096;
    const BEHIND: usize = 64;

    /// An empty one.
    pub fn new() -> Self {
        let bytes = vec![0; PIECE_LEN + 2 * Self::PAGE];
        let start = bytes.as_ptr().align_offset(Self::PAGE).min(Self::PAGE) + Self::BEHIND;
        Self { bytes, start }
    }

    /// What is behind its first `filled` bytes.
    pub fn room(&mut self, filled: usize) -> &mut [u8] {
        self.bytes.get_mut(self.start + filled..self.start + PIECE_LEN).unwrap_or_default()
    }

    /// Its first bytes.
    pub fn filled(&self, filled: usize) -> &[u8] {
        self.bytes.get(self.start..self.start + filled).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &str) -> ResponseHead {
        ResponseHead::parse(format!("HTTP/1.1 206 x\r\n{fields}\r\n").as_bytes()).unwrap().unwrap().0
    }

    #[test]
    fn only_strong_validators_count() {
        let date = "Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n";
        let modified = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        for (clause, fields, want) in [
            ("8.8.3", "ETag: \"a\"\r\n".to_owned(), Some("\"a\"")),
            ("8.8.3", "ETag: W/\"a\"\r\n".to_owned(), None),
            ("8.8.3", format!("ETag: W/\"a\"\r\n{date}{modified}"), None),
            ("8.8.3", "ETag: a\r\n".to_owned(), None),
            ("8.8.2.2", format!("{date}{modified}"), Some("Sun, 06 Nov 1994 08:49:37 GMT")),
            ("8.8.2.2", modified.to_owned(), None),
            ("8.8.2.2", format!("{date}Last-Modified: Sun, 06 Nov 1994 08:49:38 GMT\r\n"), None),
        ] {
            assert_eq!(validator(&head(&fields)).as_deref(), want, "RFC 9110, {clause}: {fields}");
        }
    }

    /// RFC 9110, 14.4.
    #[test]
    fn a_part_says_where_it_belongs() {
        for (value, want) in [
            ("bytes 0-0/1", Some((0, 0, Some(1)))),
            ("bytes 5-9/*", Some((5, 9, None))),
            ("bytes 9-5/10", None),
            ("bytes 0-10/10", None),
            ("bytes */10", None),
            ("bytes +1-2/3", None),
            ("bytes 1-99999999999999999999/*", None),
            ("items 0-0/1", None),
        ] {
            assert_eq!(content_range(&head(&format!("Content-Range: {value}\r\n"))), want, "{value}");
        }
    }

    #[test]
    fn a_source_is_known_by_its_url_and_hides_it() {
        let url = Url::parse("http://a/b?token=secret").unwrap();
        let source = Source::of(&url, &head("ETag: \"x\"\r\n"), Some(5)).unwrap();
        let text = source.to_text().unwrap();
        assert!(!text.contains("secret"), "{text}");
        assert_eq!(Source::parse(&text, &url), Some(source));
        assert_eq!(Source::parse(&text, &Url::parse("http://a/b?token=other").unwrap()), None);
        assert_eq!(Source::parse("{", &url), None);
    }

    #[test]
    fn a_piece_is_aligned() {
        let mut piece = Piece::new();
        assert_eq!(piece.room(0).len(), PIECE_LEN);
        assert_eq!(piece.room(0).as_ptr() as usize % Piece::PAGE, Piece::BEHIND);
        assert_eq!(piece.room(PIECE_LEN).len(), 0);
    }
}
