//! Resumable uploads: an upload resource for each, at the file's own URL with a token behind it.
//!
//! ```text
//! PUT /a.iso, Upload-Complete: ?1   -> 104, Location: /a.iso?upload=TOKEN, and the connection breaks
//! HEAD /a.iso?upload=TOKEN          -> 204, Upload-Offset: N
//! PATCH /a.iso?upload=TOKEN         -> 201, as the PUT would have got
//! ```
//!
//! The fields are those of [`crate::http::resumable`]. Who has the token of a guest's upload may go on with it, be its
//! address another one by then; a known peer's upload is that peer's alone. A second request for an upload ends the
//! first, as the draft has it (4.6): its client believes the first one to be gone. So no two ever write.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::http::StatusCode;
use ::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::exchange::Exchange;
use super::intake::{self, Digests, FileTarget, Intake, Room, broken, content_length};
use super::problem::{HttpError, Problem, Result};
use super::response::Response;
use crate::fs;
use crate::fs::part::Part;
use crate::fs::part::quota::is_guest;
use crate::fs::part::records::PartRecord;
use crate::fs::part::upload::NewUpload;
use crate::http::digest_fields::{Digest, REPR_DIGEST, parse as digests};
use crate::http::resumable::{
    INTEROP_VERSION, PARTIAL_UPLOAD, PROBLEM_JSON, UPLOAD_COMPLETE, UPLOAD_DRAFT_INTEROP_VERSION, UPLOAD_LENGTH,
    UPLOAD_LIMIT, UPLOAD_OFFSET, UPLOAD_RESUMPTION_SUPPORTED, UploadFields, UploadLimits, UploadProblem, boolean,
    integer,
};
use crate::http::target::encode_path;
use crate::net::stream::WeakControl;
use crate::session::Session;
use crate::trust::Service;

/// The parameter of a URL that has an upload's token.
pub(super) const PARAMETER: &str = "upload";
/// How long a request waits for the one that it has ended: it syncs what came.
const TAKE_OVER_TIME_MAX: Duration = Duration::from_secs(30);
/// Uploads that have become their files, and whose last answer may have been lost: kept in memory.
pub const FINISHED_UPLOADS_MAX: usize = 1_024;

/// Uploads in whose requests something happens now, and those that were finished a short time ago.
#[derive(Debug, Default)]
pub struct UploadsInUse {
    writers: Mutex<HashMap<String, Writer>>,
    one_left: Condvar,
    finished: Mutex<VecDeque<Finished>>,
}

#[derive(Debug)]
struct Writer {
    /// Whose upload it is.
    owner: String,
    /// Ends its connection; `None`: it is over soon.
    control: Option<WeakControl>,
}

/// An upload that has become its file.
#[derive(Debug, Clone)]
struct Finished {
    key: String,
    owner: String,
    len: u64,
    status: StatusCode,
    headers: HeaderMap,
}

/// The one request that may use an upload.
#[derive(Debug)]
struct UploadLease<'u> {
    uploads: &'u UploadsInUse,
    key: String,
}

impl UploadsInUse {
    /// Lets a request use an upload: the one that does so now is ended.
    fn take_over(&self, (key, owner): (&str, &str), control: Option<WeakControl>) -> Result<UploadLease<'_>> {
        let deadline = Instant::now() + TAKE_OVER_TIME_MAX;
        let mut writers = self.writers();
        while let Some(writer) = writers.get(key) {
            if let Some(control) = writer.control.as_ref().and_then(WeakControl::upgrade) {
                control.stop();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let message = "another request uses this upload and does not end; try again later";
                let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, message);
                return Err(problem.with_text(header::RETRY_AFTER, "10").into());
            }
            (writers, _) = self.one_left.wait_timeout(writers, left).unwrap_or_else(PoisonError::into_inner);
        }
        writers.insert(key.to_owned(), Writer { owner: owner.to_owned(), control });
        Ok(UploadLease { uploads: self, key: key.to_owned() })
    }

    fn writers(&self) -> MutexGuard<'_, HashMap<String, Writer>> {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finished(&self, key: &str) -> Option<Finished> {
        let finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        finished.iter().find(|one| one.key == key).cloned()
    }

    /// Whose upload this is; `None`: no request uses it, and it did not become its file a short time ago.
    fn owner(&self, key: &str) -> Option<String> {
        let writer = self.writers().get(key).map(|writer| writer.owner.clone());
        // In this order: a request notes what it has finished, and then it ends.
        writer.or_else(|| Some(self.finished(key)?.owner))
    }

    fn note_finished(&self, one: Finished) {
        let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        if finished.len() >= FINISHED_UPLOADS_MAX {
            finished.pop_front();
        }
        finished.push_back(one);
    }
}

impl Drop for UploadLease<'_> {
    fn drop(&mut self) {
        self.uploads.writers().remove(&self.key);
        self.uploads.one_left.notify_all();
    }
}

/// What an upload's record has for the request that finishes it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct FinishConditions {
    /// The conditions of the request that began it, by name.
    conditions: Vec<(String, String)>,
    /// Its Repr-Digest; empty: it had none.
    digest: String,
}

impl FinishConditions {
    fn of(headers: &HeaderMap) -> Self {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let conditions = intake::conditions_of(headers);
        let conditions = conditions.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        let digest = headers.get_all(REPR_DIGEST).iter().map(text).collect::<Vec<_>>().join(", ");
        Self { conditions, digest }
    }

    fn conditions(&self) -> HeaderMap {
        let pairs = self.conditions.iter();
        pairs.filter_map(|(name, value)| Some((name.parse::<HeaderName>().ok()?, value.parse().ok()?))).collect()
    }

    fn digests(&self) -> Vec<Digest> {
        let Ok(value) = HeaderValue::from_str(&self.digest) else { return Vec::new() };
        let headers = HeaderMap::from_iter([(REPR_DIGEST, value)]);
        if self.digest.is_empty() { Vec::new() } else { digests(&headers, &REPR_DIGEST).unwrap_or_default() }
    }
}

/// Whether a request wants an upload resource, and can learn its URL: from a 104, or from its answer.
pub(super) fn is_wanted(fields: &UploadFields) -> bool {
    match fields.complete {
        Some(complete) => !complete || fields.is_same_version(),
        None => false,
    }
}

/// What is taken, as [`UPLOAD_LIMIT`] says it.
pub(super) fn limits(exchange: &Exchange<'_>) -> HeaderValue {
    let options = &exchange.state.options;
    let (_, quota) = intake::owner_of(exchange.session);
    let quota = Some(quota.len).filter(|len| *len < u64::MAX);
    let max_size = [options.upload_len_max, quota].into_iter().flatten().min();
    UploadLimits { max_size, ..UploadLimits::default() }.to_value()
}

/// The same for an upload that is there, with the time that it has left.
fn limits_of(exchange: &Exchange<'_>, record: &PartRecord) -> HeaderValue {
    let text = limits(exchange);
    let age = fs::unix::seconds_since_1970(std::time::SystemTime::now()).saturating_sub(record.last_written());
    let left = exchange.state.options.upload_ttl.map(|ttl| ttl.as_secs().saturating_sub(age));
    match (left, text.to_str()) {
        (Some(left), Ok(text)) => HeaderValue::from_str(&format!("{text}, max-age={left}")).unwrap_or(limits(exchange)),
        _ => text,
    }
}

/// Begins an upload with a request for the file itself.
///
/// # Errors
/// What the client is told instead, or that the connection is gone: then the upload waits.
pub(super) fn create(
    exchange: &mut Exchange<'_>,
    target: &FileTarget,
    (fields, len, digests): (&UploadFields, Option<u64>, Digests),
) -> Result<Response> {
    let Ok(length) = fields.whole_length(None, 0, len) else { return Ok(inconsistent_length()) };
    let room = Room::find(exchange, &target.dir, length, None)?;
    let conditions = serde_json::to_string(&FinishConditions::of(&exchange.head.headers)).unwrap_or_default();
    let (owner, _) = intake::owner_of(exchange.session);
    let new = NewUpload { owner: &owner, length, finish_conditions: &conditions };
    let parts = exchange.session.parts.clone();
    let preserved = FileTarget::preserved(exchange);
    let (token, part) = parts.create_upload(target.dir.clone(), &target.name, preserved, &new)?;
    let key = part.upload().map(|upload| upload.key().to_owned()).unwrap_or_default();
    let control = exchange.body.control().map(|control| control.weak());
    let _lease = exchange.state.uploads.take_over((&key, &owner), control)?;
    // Bound behind the lease: the part is closed before another request may use it.
    let part = part;
    let url = format!("{}?{PARAMETER}={token}", encode_path(&target.path.to_absolute()));
    if fields.is_same_version()
        && let Err(error) = announce(exchange, &url)
    {
        // Its client does not know the URL, and cannot go on with it.
        part.discard();
        return Err(error);
    }
    // The whole is in this request, if it gets through: it is hashed as it comes.
    let whole = if fields.complete == Some(true) { digests.whole } else { Vec::new() };
    let expected = digests.content.into_iter().chain(whole).collect();
    let intake = Intake::new(part, room, expected);
    match take(exchange, intake, (fields, len, 0))? {
        Taken::Refused(response) => Ok(response),
        Taken::More(mut part) => {
            part.acknowledge()?;
            let response = Response::empty(StatusCode::CREATED).with_text(header::LOCATION, &url);
            Ok(incomplete(exchange, response, &part))
        }
        Taken::Whole(part) => finish(exchange, target, part, Vec::new()),
    }
}

/// Tells of the upload's URL before the content is read (5).
fn announce(exchange: &mut Exchange<'_>, url: &str) -> Result<()> {
    let mut headers = HeaderMap::new();
    if let Ok(url) = HeaderValue::from_str(url) {
        headers.insert(header::LOCATION, url);
    }
    headers.insert(UPLOAD_LIMIT, limits(exchange));
    headers.insert(UPLOAD_DRAFT_INTEROP_VERSION, HeaderValue::from(INTEROP_VERSION));
    let status = StatusCode::from_u16(UPLOAD_RESUMPTION_SUPPORTED).unwrap_or(StatusCode::PROCESSING);
    exchange.body.send_interim(status, &headers).map_err(HttpError::of_body)
}

/// What became of the content of a request.
enum Taken {
    /// The upload is whole.
    Whole(Part),
    /// It is not, as its client says.
    More(Part),
    Refused(Response),
}

/// Takes the content of a request in, behind `offset` bytes.
fn take(
    exchange: &mut Exchange<'_>,
    mut intake: Intake,
    (fields, len, offset): (&UploadFields, Option<u64>, u64),
) -> Result<Taken> {
    let length = intake.part.upload().and_then(|upload| upload.length);
    intake.stop_behind(length);
    if let Err(error) = intake.take_all(exchange.body, len) {
        if intake.is_too_long() {
            // More came than its client has said: no part of it is certain (4.4.2).
            intake.part.discard();
            return Ok(Taken::Refused(inconsistent_length()));
        }
        return Err(broken(intake.part, error));
    }
    let checked = intake.check();
    let mut part = intake.part;
    if let Err(error) = checked {
        // The content of this request only; what came before it stays (section 10.2).
        part.cut_to(offset).map_err(fs::Error::from)?;
        part.acknowledge()?;
        return Err(error);
    }
    if fields.complete == Some(false) {
        return Ok(Taken::More(part));
    }
    if length.is_some_and(|length| length != part.size()) {
        part.acknowledge()?;
        return Ok(Taken::Refused(inconsistent_length().with(UPLOAD_OFFSET, integer(part.size()))));
    }
    Ok(Taken::Whole(part))
}

/// An upload is whole: it becomes its file, and the answer is the one that a PUT would have got.
fn finish(exchange: &mut Exchange<'_>, target: &FileTarget, part: Part, expected: Vec<Digest>) -> Result<Response> {
    let size = part.size();
    let (record, upload) = (part.record().cloned(), part.upload().cloned());
    let conditions: Option<FinishConditions> =
        upload.as_ref().and_then(|upload| serde_json::from_str(&upload.finish_conditions).ok());
    let conditions = conditions.unwrap_or_default().conditions();
    let complete = |problem: Problem| problem.with_text(UPLOAD_COMPLETE, "?1");
    if let Err(error) = intake::check_whole(&part, expected) {
        part.discard();
        return Err(match error {
            HttpError::Problem(problem) => complete(problem).into(),
            error @ HttpError::Lost(_) => error,
        });
    }
    let published = match intake::publish(exchange, target, part, &conditions) {
        Ok(published) => published,
        Err(error) => {
            // Nothing that its client sends could make it better.
            let HttpError::Problem(problem) = error else { return Err(error) };
            let is_final = matches!(problem.status, StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT);
            if let Some(record) = record.as_ref().filter(|_| is_final) {
                exchange.session.parts.cancel_upload(record);
            }
            return Err(complete(problem).into());
        }
    };
    exchange.session.report.outcome = Some(format!("{size} bytes"));
    let response = intake::stored(exchange, target, &published).with(UPLOAD_COMPLETE, boolean(true));
    if let (Some(record), Some(upload)) = (record, upload) {
        exchange.state.uploads.note_finished(Finished {
            key: upload.key().to_owned(),
            owner: record.owner,
            len: size,
            status: response.status,
            headers: response.headers.clone(),
        });
    }
    Ok(response)
}

fn incomplete(exchange: &Exchange<'_>, response: Response, part: &Part) -> Response {
    let response = response
        .with(UPLOAD_COMPLETE, boolean(false))
        .with(UPLOAD_OFFSET, integer(part.size()))
        .with(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match part.record() {
        Some(record) => response.with(UPLOAD_LIMIT, limits_of(exchange, record)),
        None => response,
    }
}

fn problem(problem: UploadProblem, is_complete: bool) -> Response {
    let status = StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::BAD_REQUEST);
    Response::bytes(status, PROBLEM_JSON, problem.to_json().into_bytes())
        .with(UPLOAD_COMPLETE, boolean(is_complete))
        .with(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
}

fn inconsistent_length() -> Response {
    problem(UploadProblem::InconsistentLength, false)
}

/// An upload that is there, for one request.
struct Found<'u> {
    target: FileTarget,
    part: Part,
    // Last: the part is closed before another request may use it.
    lease: UploadLease<'u>,
}

/// An upload that a request names.
enum Named<'u> {
    There(Box<Found<'u>>),
    Finished(Finished),
}

/// Finds the upload that the target's token names, and ends the request that uses it now. The next one does not end
/// this request if it is only a look.
fn find<'u>(exchange: &Exchange<'u>, is_look: bool) -> Result<Named<'u>> {
    exchange.need(Service::Write)?;
    let gone = || HttpError::from(Problem::new(StatusCode::NOT_FOUND, "there is no such upload, or no more"));
    let token = exchange.head.target.parameter(PARAMETER).ok_or_else(gone)?;
    let key = fs::part::upload::key_of(&token);
    let (parts, uploads) = (&exchange.session.parts, &exchange.state.uploads);
    // Before a request is ended for it. The record first: it goes when its request has not ended yet.
    let owner = parts.upload(&token).map(|record| record.owner).or_else(|| uploads.owner(&key)).ok_or_else(gone)?;
    if !may_use(exchange.session, &owner) {
        return Err(gone());
    }
    let control = exchange.body.control().filter(|_| !is_look).map(|control| control.weak());
    let lease = uploads.take_over((&key, &owner), control)?;
    if let Some(finished) = uploads.finished(&key) {
        return Ok(Named::Finished(finished));
    }
    // As the request that was ended has left it.
    let record = parts.upload(&token).ok_or_else(gone)?;
    // Its file's name is in the URL: it is resolved once more, as what this client may reach may have changed.
    let path = exchange.path()?;
    let (dir, name) = exchange.session.root.open_parent(&path).map_err(|_missing| gone())?;
    if name != record.target() {
        return Err(gone());
    }
    let target = FileTarget { path, dir: dir.into(), name };
    let part = parts.resume_upload(target.dir.clone(), record)?.ok_or_else(gone)?;
    Ok(Named::There(Box::new(Found { target, part, lease })))
}

fn may_use(session: &Session, owner: &str) -> bool {
    is_guest(owner) || intake::owner_of(session).0 == owner
}

/// Answers HEAD and GET of an upload: how far it is (4.3).
///
/// # Errors
/// There is no such upload, or it is another peer's (404), or the disk failed.
pub(super) fn retrieve(exchange: &Exchange<'_>) -> Result<Response> {
    let response = Response::empty(StatusCode::NO_CONTENT);
    match find(exchange, true)? {
        Named::Finished(finished) => Ok(response
            .with(UPLOAD_COMPLETE, boolean(true))
            .with(UPLOAD_OFFSET, integer(finished.len))
            .with(UPLOAD_LENGTH, integer(finished.len))
            .with(UPLOAD_LIMIT, limits(exchange))
            .with(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))),
        Named::There(mut found) => {
            // What is told stays true after a power cut.
            found.part.acknowledge()?;
            let response = incomplete(exchange, response, &found.part);
            Ok(match found.part.upload().and_then(|upload| upload.length) {
                Some(length) => response.with(UPLOAD_LENGTH, integer(length)),
                None => response,
            })
        }
    }
}

/// Answers PATCH of an upload: more of it (4.4).
///
/// # Errors
/// What the client is told instead, or that the connection is gone: then the upload waits.
pub(super) fn append(exchange: &mut Exchange<'_>) -> Result<Response> {
    let headers = &exchange.head.headers;
    let is_partial = headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        let kind = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(PARTIAL_UPLOAD.as_bytes())
    });
    if !is_partial {
        let message = format!("an upload takes {PARTIAL_UPLOAD}");
        let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
        return Err(problem.with_text(HeaderName::from_static("accept-patch"), PARTIAL_UPLOAD).into());
    }
    let fields = UploadFields::of(headers);
    let (Some(offset), Some(_)) = (fields.offset, fields.complete) else {
        let message = "say where the content belongs and whether it is the last: Upload-Offset and Upload-Complete";
        return Err(Problem::new(StatusCode::BAD_REQUEST, message).into());
    };
    let digests = Digests::of(headers)?;
    let len = content_length(exchange, &UploadFields { complete: Some(false), ..fields })?;
    let found = match find(exchange, false)? {
        Named::There(found) => *found,
        Named::Finished(finished) if finished.len == offset && len == Some(0) => {
            // Its last answer was lost.
            let response = Response { headers: finished.headers, ..Response::empty(finished.status) };
            return Ok(response);
        }
        Named::Finished(finished) => return Ok(mismatch(finished.len, &fields, true)),
    };
    // The part is closed before another request may use it.
    let Found { target, part, lease: _lease } = found;
    let mut part = part;
    if part.size() != offset {
        return Ok(mismatch(part.size(), &fields, false));
    }
    let known = part.upload().and_then(|upload| upload.length);
    let Ok(length) = fields.whole_length(known, offset, len) else {
        return Ok(inconsistent_length());
    };
    part.set_upload_length(length);
    let whole = length.or_else(|| len.map(|len| offset.saturating_add(len)));
    let room = Room::find(exchange, &target.dir, whole, part.record())?;
    let expected =
        part.upload().and_then(|upload| serde_json::from_str::<FinishConditions>(&upload.finish_conditions).ok());
    let expected = expected.map_or_else(Vec::new, |conditions| conditions.digests());
    // The representation that a PATCH sends is the part that it adds (RFC 9530, appendix B.8).
    let intake = Intake::new(part, room, digests.content.into_iter().chain(digests.whole).collect());
    match take(exchange, intake, (&fields, len, offset))? {
        Taken::Refused(response) => Ok(response),
        Taken::More(mut part) => {
            part.acknowledge()?;
            Ok(incomplete(exchange, Response::empty(StatusCode::NO_CONTENT), &part))
        }
        Taken::Whole(part) => finish(exchange, &target, part, expected),
    }
}

fn mismatch(expected: u64, fields: &UploadFields, is_complete: bool) -> Response {
    let mismatch = UploadProblem::MismatchingOffset { expected, provided: fields.offset };
    problem(mismatch, is_complete).with(UPLOAD_OFFSET, integer(expected))
}

/// Answers DELETE of an upload: nothing of it stays (4.5).
///
/// # Errors
/// There is no such upload, or it is another peer's (404).
pub(super) fn cancel(exchange: &Exchange<'_>) -> Result<Response> {
    match find(exchange, false)? {
        Named::There(found) => {
            let Found { part, lease: _lease, .. } = *found;
            part.discard();
        }
        // It is a file by now, and stays one.
        Named::Finished(_) => {}
    }
    Ok(Response::empty(StatusCode::NO_CONTENT))
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};
    use std::sync::Arc;

    use super::*;
    use crate::fs::part::Parts;
    use crate::fs::part::records::{PARTS_DIR, Records};
    use crate::fs::root::Root;
    use crate::http::body::BodyLength;
    use crate::http::head::RequestHead;
    use crate::http::server::HttpOptions;
    use crate::http::server::exchange::RequestBody;
    use crate::http::server::put::put;
    use crate::http::server::state::HttpState;
    use crate::http::site::Site;
    use crate::net::stream::Control;

    /// The body of a client that is gone when it is to be told something.
    struct Gone;

    impl Read for Gone {
        fn read(&mut self, _dest: &mut [u8]) -> io::Result<usize> {
            Ok(0)
        }
    }

    impl RequestBody for Gone {
        fn length(&self) -> BodyLength {
            BodyLength::Known(0)
        }

        fn send_interim(&mut self, _status: StatusCode, _headers: &HeaderMap) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn control(&self) -> Option<Control> {
            None
        }
    }

    #[test]
    fn an_upload_whose_url_could_not_be_sent_is_not_kept() {
        let (home, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let records = Arc::new(Records::open(home.path().join(PARTS_DIR)).unwrap());
        let mut session = Session::of_test(Arc::new(Root::open(dir.path()).unwrap()));
        session.parts = Parts::new(Some(records), None);
        let text = "PUT /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nUpload-Complete: ?1\r\n\
                    Upload-Draft-Interop-Version: 8\r\n\r\n";
        let head = RequestHead::parse(text.as_bytes()).unwrap();
        let state = HttpState::new(HttpOptions { uploads: true, ..HttpOptions::default() }, &[0; 32]);
        let mut exchange = Exchange {
            state: &state,
            head: &head,
            session: &mut session,
            site: Site::Unsaid,
            scheme: ::http::uri::Scheme::HTTP,
            body: &mut Gone,
        };
        assert!(matches!(put(&mut exchange), Err(HttpError::Lost(_))));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(state.uploads.writers().is_empty());
    }
}
