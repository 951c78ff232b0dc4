//! A file on its way in by HTTP: what is refused before its bytes are read, and what is watched while they come.

use std::ffi::OsString;
use std::io;
use std::sync::Arc;

use ::http::StatusCode;
use ::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use cap_std::fs::Dir;

use super::dav::guard;
use super::dav::place::{Inode, Spot};
use super::exchange::{Exchange, RequestBody};
use super::options::OnExists;
use super::problem::{HttpError, Problem, Result};
use super::representation::validators;
use super::response::Response;
use crate::fs::part::naming::{Naming, Published};
use crate::fs::part::quota::{GUEST, Quota, Share};
use crate::fs::part::records::PartRecord;
use crate::fs::part::{PIECE_LEN, Part, Preserved};
use crate::fs::root::{Details, FileKind, RootPath};
use crate::fs::unix::free_len;
use crate::fs::{self, ErrorKind};
use crate::http::body::BodyLength;
use crate::http::conditions::{EntityTag, Validators, Verdict, evaluate};
use crate::http::dav::fields::IF;
use crate::http::digest_fields::{CONTENT_DIGEST, Digest, DigestCheck, REPR_DIGEST, parse as digests};
use crate::http::negotiate::Coding;
use crate::http::resumable::UploadFields;
use crate::http::target::encode_path;
use crate::memory::Budget;
use crate::session::Session;
use crate::trust::Peer;

/// Bytes of a file after which it is seen again whether there is room on the disk.
const LOOK_STEP: u64 = 16 * 1024 * 1024;
/// What is waiting is counted for a file of this length and more, and for those of unknown length: to count reads all
/// records, which takes longer than a short file.
const COUNTED_LEN_MIN: u64 = 4 * 1024 * 1024;
/// A piece of memory for a file that is known to be short, in bytes.
const SHORT_PIECE_LEN: usize = 64 * 1024;

/// The headers that make a request conditional.
const CONDITIONS: [HeaderName; 4] = [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_UNMODIFIED_SINCE, IF];
/// The modification time that a file is to have, in seconds since 1970.
const OC_MTIME: HeaderName = HeaderName::from_static("x-oc-mtime");

/// Where a file is to go.
#[derive(Debug)]
pub(super) struct FileTarget {
    /// Its path, below the root that the session is shown.
    pub(super) path: RootPath,
    /// The directory.
    pub(super) dir: Arc<Dir>,
    /// The name in it.
    pub(super) name: OsString,
}

impl FileTarget {
    /// A file of this path.
    ///
    /// # Errors
    /// Its directory is missing (409: RFC 4918, 9.7.1), something that is no file is in its place, or it is not to be
    /// replaced.
    pub(super) fn of(exchange: &Exchange<'_>, path: RootPath) -> Result<Self> {
        let conflict = |message: String| Problem::new(StatusCode::CONFLICT, message).into();
        if exchange.state.options.is_drop_box && path.split_last().is_none_or(|(above, _)| !above.is_root()) {
            return Err(Problem::new(StatusCode::FORBIDDEN, "files are taken here at the top only").into());
        }
        let (dir, name) = exchange.session.root.open_parent(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                conflict(format!("{path}: its directory does not exist; make it first"))
            }
            ErrorKind::Permission if path.is_root() => conflict("/ is a directory; name a file in it".into()),
            _ => HttpError::from(error),
        })?;
        let target = Self { path, dir: Arc::new(dir), name };
        // There everything has a name of its own.
        if exchange.state.options.is_drop_box {
            return Ok(target);
        }
        match target.dir.symlink_metadata(&target.name) {
            Ok(found) if found.is_dir() => Err(conflict(format!("{}: is a directory", target.path))),
            // A rename would replace a pipe or a device by a file.
            Ok(found) if !found.is_file() && !found.is_symlink() => {
                Err(conflict(format!("{}: is neither a file nor a directory", target.path)))
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fs::Error::from(error).into()),
            found => {
                check_conditions(exchange, &exchange.head.headers, &target.path)?;
                guard::check_put(exchange, &target)?;
                if found.is_ok() && exchange.state.options.on_exists == OnExists::Refuse {
                    return Err(conflict(format!("{}: already exists, and is not replaced", target.path)));
                }
                Ok(target)
            }
        }
    }

    /// What the file is to have besides its bytes.
    pub(super) fn preserved(exchange: &Exchange<'_>) -> Preserved {
        Preserved { mtime_ns: wanted_mtime_ns(exchange), mode: exchange.state.options.upload_mode }
    }
}

/// The modification time that a request gives its file, in nanoseconds since 1970: clients of ownCloud and Nextcloud
/// send it, rclone among them, which has no other way to set one over WebDAV.
fn wanted_mtime_ns(exchange: &Exchange<'_>) -> Option<i64> {
    let text = exchange.head.text(&OC_MTIME)?.trim();
    // Some send a fraction.
    let (whole, _) = text.split_once('.').unwrap_or((text, ""));
    whole.parse::<i64>().ok()?.checked_mul(1_000_000_000)
}

/// The validators of what is there now; `None`: nothing, or nothing that the client may know of.
fn current(exchange: &Exchange<'_>, path: &RootPath) -> Option<Validators> {
    if exchange.state.options.is_drop_box {
        return None;
    }
    let (_, metadata) = exchange.session.root.open_file(path).ok()?;
    Some(validators(exchange, &metadata, Coding::Identity))
}

/// The same for what has the target's name in the directory that is held, whatever the path leads to by now.
fn current_in(exchange: &Exchange<'_>, target: &FileTarget) -> Option<Validators> {
    match target.dir.symlink_metadata(&target.name) {
        // The file that it leads to may be in another directory.
        Ok(found) if found.is_symlink() => current(exchange, &target.path),
        Ok(found) if found.is_file() => Some(validators(exchange, &found, Coding::Identity)),
        _ => None,
    }
}

/// Evaluates the conditions in `headers` for the file `path` (RFC 9110, 13.2).
///
/// # Errors
/// 412.
pub(super) fn check_conditions(exchange: &Exchange<'_>, headers: &HeaderMap, path: &RootPath) -> Result<()> {
    if !is_conditional(headers) {
        return Ok(());
    }
    let mut current = current(exchange, path);
    if guard::has_lock(exchange, headers, || Spot::of(&exchange.session.root, path)) {
        current = current.map(strengthened);
    }
    let is_met = evaluate(headers, false, current.as_ref()) == Verdict::Proceed;
    let holds = guard::if_holds(exchange, headers, path, || tag_of(exchange, path))?;
    if is_met && holds { Ok(()) } else { Err(precondition_failed().into()) }
}

fn strengthened(current: Validators) -> Validators {
    Validators { etag: current.etag.map(EntityTag::into_strong), ..current }
}

/// The entity tag of what is there now; `None`: there is none.
pub(super) fn tag_of(exchange: &Exchange<'_>, path: &RootPath) -> Option<EntityTag> {
    current(exchange, path)?.etag
}

/// The file is not what the request takes it for.
pub(super) fn precondition_failed() -> Problem {
    let message = "the file is not the one that the condition of the request names; nothing was changed";
    Problem::new(StatusCode::PRECONDITION_FAILED, message)
}

fn is_conditional(headers: &HeaderMap) -> bool {
    CONDITIONS.iter().any(|name| headers.contains_key(name))
}

/// The conditions of a request, to be evaluated again when its file is whole.
pub(super) fn conditions_of(headers: &HeaderMap) -> HeaderMap {
    let of = |name: &HeaderName| headers.get_all(name).iter().map(|value| (name.clone(), value.clone())).collect();
    CONDITIONS.iter().flat_map(|name| -> Vec<_> { of(name) }).collect()
}

/// What the bytes of a request are to hash to: those that it sends, and the whole file.
#[derive(Debug, Default)]
pub(super) struct Digests {
    /// Of the request's content.
    pub(super) content: Vec<Digest>,
    /// Of the file.
    pub(super) whole: Vec<Digest>,
}

impl Digests {
    /// Those that the request gives.
    ///
    /// # Errors
    /// They cannot be read (400).
    pub(super) fn of(headers: &HeaderMap) -> Result<Self> {
        let read = |name: &HeaderName| {
            digests(headers, name).map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))
        };
        Ok(Self { content: read(&CONTENT_DIGEST)?, whole: read(&REPR_DIGEST)? })
    }
}

/// What an upload must not exceed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    len_max: Option<u64>,
    free_min: u64,
}

impl Bounds {
    /// As the operator has set them.
    pub(super) fn of(exchange: &Exchange<'_>) -> Self {
        let options = &exchange.state.options;
        Self { len_max: options.upload_len_max, free_min: options.free_min }
    }

    /// Whether a file may be of this length.
    ///
    /// # Errors
    /// It may not (413).
    pub(super) fn check_len(&self, len: u64) -> Result<()> {
        match self.len_max {
            Some(most) if len > most => {
                let message = format!("{len} bytes and more are over the limit of {most} bytes for one upload");
                Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, message).into())
            }
            _ => Ok(()),
        }
    }

    /// Whether `len` bytes more fit on the disk.
    ///
    /// # Errors
    /// They do not (507).
    pub(super) fn check_room(&self, dir: &Dir, len: u64) -> Result<()> {
        let free = free_len(dir).map_err(fs::Error::from)?;
        if len.saturating_add(self.free_min) <= free {
            return Ok(());
        }
        let message = "there is not enough room for it on the server's disk";
        Err(Problem::new(StatusCode::INSUFFICIENT_STORAGE, message).into())
    }
}

/// Who an upload belongs to: a text for its record, and the quota.
pub(super) fn owner_of(session: &Session) -> (String, Quota) {
    match (&session.peer, session.peer.owner()) {
        (Peer::Own, Some(owner)) => (owner.to_string(), Quota::NONE),
        (Peer::Guest { .. }, _) | (_, None) => (format!("{GUEST}{}", session.origin), Quota::of(true)),
        (_, Some(owner)) => (owner.to_string(), Quota::of(false)),
    }
}

/// Room that was found for a file, and its share of what may be unfinished.
#[derive(Debug)]
pub(super) struct Room {
    bounds: Bounds,
    share: Option<Share>,
    memory: Budget,
}

impl Room {
    /// Finds room for a file of `whole` bytes (`None`: unknown), of which `left` part has some already.
    ///
    /// # Errors
    /// It is too long (413), or there is not enough room (507).
    pub(super) fn find(
        exchange: &Exchange<'_>,
        dir: &Dir,
        whole: Option<u64>,
        left: Option<&PartRecord>,
    ) -> Result<Self> {
        let bounds = Bounds::of(exchange);
        let here = left.map_or(0, PartRecord::len);
        bounds.check_len(whole.unwrap_or(here))?;
        bounds.check_room(dir, whole.map_or(0, |whole| whole.saturating_sub(here)))?;
        let (owner, quota) = owner_of(exchange.session);
        let counts_kept = left.is_some() || whole.is_none_or(|whole| whole >= COUNTED_LEN_MIN);
        let take = |records| Share::take(records, &owner, quota, (whole.unwrap_or(here), left, counts_kept));
        let share = exchange.session.parts.records().map(take).transpose()?;
        Ok(Self { bounds, share, memory: exchange.session.memory.budget() })
    }
}

/// Refuses a body of `len` bytes for which there is no room in `directory`, however many files it has.
///
/// # Errors
/// 507.
pub(super) fn check_room(exchange: &Exchange<'_>, directory: &RootPath, len: u64) -> Result<()> {
    let dir = exchange.session.root.open_dir(directory)?;
    Bounds::of(exchange).check_room(&dir, len)
}

/// A file that is coming in.
#[derive(Debug)]
pub(super) struct Intake {
    pub(super) part: Part,
    room: Room,
    check: DigestCheck,
    /// The length at which it is seen again whether there is room.
    next_look: u64,
    /// The length that its sender has given it; `None`: none.
    end: Option<u64>,
    is_too_long: bool,
}

impl Intake {
    /// Takes `part` in, whose next bytes must have these digests.
    pub(super) fn new(part: Part, room: Room, digests: Vec<Digest>) -> Self {
        let next_look = part.size() + LOOK_STEP;
        if let (Some(share), Some(record)) = (&room.share, part.record()) {
            share.is_of(record);
        }
        Self { part, room, check: DigestCheck::new(digests), next_look, end: None, is_too_long: false }
    }

    /// Refuses bytes behind the first `end`.
    pub(super) const fn stop_behind(&mut self, end: Option<u64>) {
        self.end = end;
    }

    /// Whether more came than its sender had announced.
    pub(super) const fn is_too_long(&self) -> bool {
        self.is_too_long
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// A limit, or the disk failed.
    pub(super) fn take(&mut self, piece: &[u8]) -> Result<()> {
        let len = self.part.size().saturating_add(piece.len() as u64);
        if self.end.is_some_and(|end| len > end) {
            self.is_too_long = true;
            let message = "more came than the length that was announced for this upload";
            return Err(Problem::new(StatusCode::BAD_REQUEST, message).into());
        }
        self.room.bounds.check_len(len)?;
        if let Some(share) = &mut self.room.share {
            share.grow_to(len)?;
        }
        if len >= self.next_look {
            self.room.bounds.check_room(self.part.dir(), 0)?;
            self.next_look = len.saturating_add(LOOK_STEP);
        }
        self.part.write(piece).map_err(fs::Error::from)?;
        self.check.update(piece);
        Ok(())
    }

    /// Takes all of a body. What came before a failure is in the part.
    ///
    /// # Errors
    /// The body broke off, a limit, or the disk failed.
    pub(super) fn take_all(&mut self, body: &mut dyn RequestBody, len: Option<u64>) -> Result<()> {
        let is_short = len.is_some_and(|len| len <= SHORT_PIECE_LEN as u64);
        let piece_len = if is_short { SHORT_PIECE_LEN } else { PIECE_LEN };
        self.room.memory.take(piece_len).map_err(|over| over.refusal("upload"))?;
        let mut piece = vec![0; piece_len];
        loop {
            let (len, ended) = fill(body, &mut piece);
            self.take(piece.get(..len).unwrap_or_default())?;
            if let Some(ended) = ended {
                return ended.map_err(HttpError::of_body);
            }
        }
    }

    /// Compares the digests that the request gave.
    ///
    /// # Errors
    /// One differs (400).
    pub(super) fn check(&mut self) -> Result<()> {
        let check = std::mem::replace(&mut self.check, DigestCheck::new(Vec::new()));
        Ok(check.finish().map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))?)
    }
}

/// Fills `piece` from a body, as far as it goes: a larger write is a faster one. How the body ended, if it did.
fn fill(body: &mut dyn RequestBody, piece: &mut [u8]) -> (usize, Option<io::Result<()>>) {
    let mut len = 0;
    while let Some(rest) = piece.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match body.read(rest) {
            Ok(0) => return (len, Some(Ok(()))),
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (len, Some(Err(error))),
        }
    }
    (len, None)
}

/// Length of the content in bytes; `None`: it comes in chunks.
///
/// # Errors
/// Nothing says where it ends (411). An upload that only begins may have none.
pub(super) fn content_length(exchange: &Exchange<'_>, fields: &UploadFields) -> Result<Option<u64>> {
    match exchange.body.length() {
        BodyLength::Known(len) => Ok(Some(len)),
        BodyLength::Chunked => Ok(None),
        BodyLength::None if fields.complete == Some(false) => Ok(Some(0)),
        BodyLength::None | BodyLength::ToEnd => {
            let message = "say how long the body is: Content-Length, or chunks";
            Err(Problem::new(StatusCode::LENGTH_REQUIRED, message).into())
        }
    }
}

/// What has come of a file is kept if its sender was cut off, and of no use if it was refused; but an upload may find
/// room later.
pub(super) fn broken(part: Part, error: HttpError) -> HttpError {
    let is_kept = match &error {
        HttpError::Lost(_) => true,
        HttpError::Problem(problem) if problem.status == StatusCode::INSUFFICIENT_STORAGE => part.is_upload(),
        HttpError::Problem(problem) => problem.status == StatusCode::REQUEST_TIMEOUT,
    };
    if !is_kept {
        part.discard();
    }
    error
}

/// Gives a file that is whole its name, under the conditions that its request had.
///
/// # Errors
/// They do not hold any more (412), the name is taken (409) or locked (423), or the disk failed.
pub(super) fn publish(
    exchange: &Exchange<'_>,
    target: &FileTarget,
    part: Part,
    conditions: &HeaderMap,
) -> Result<Published> {
    let options = &exchange.state.options;
    let may_replace = || {
        let mut current = current_in(exchange, target);
        if guard::has_lock(exchange, conditions, || Spot::in_dir(&target.dir, &target.name)) {
            current = current.map(strengthened);
        }
        let tag = || current.as_ref().and_then(|current| current.etag.clone());
        evaluate(conditions, false, current.as_ref()) == Verdict::Proceed
            && guard::if_holds(exchange, conditions, &target.path, tag).unwrap_or(false)
    };
    let naming = Naming {
        on_exists: options.on_exists,
        may_replace: is_conditional(conditions).then_some(&may_replace),
        is_unique: options.is_drop_box,
    };
    let _changing = guard::begin_put(exchange, target, conditions)?;
    let _held = exchange.state.hold(&target.dir, &target.name)?;
    let properties = &exchange.state.properties;
    let before = if properties.is_empty() { None } else { inode_of(exchange, target) };
    let sum = fs::part::Checksum { size: part.size(), blake3: None };
    let published = part.publish_as(sum, FileTarget::preserved(exchange), &naming);
    let published = published.map_err(|error| error.about(&target.path))?;
    if published.name == target.name && !properties.is_empty() {
        let now = inode_of(exchange, target);
        if let (Ok(spot), Some(now)) = (Spot::in_dir(&target.dir, &target.name), now) {
            properties.replace(&spot.own, before, now);
        }
    }
    Ok(published)
}

/// Which file has the target's name; of a symlink the one that it leads to. `None`: nothing.
fn inode_of(exchange: &Exchange<'_>, target: &FileTarget) -> Option<Inode> {
    let found = Details::of_name(&*target.dir, &target.name).ok()?;
    let is_link = found.look.kind == FileKind::Link;
    let found = if is_link { exchange.session.root.details(&target.path).ok()? } else { found };
    Some(Inode::from(&found))
}

/// The path under which a file that was stored can be reached, as in a URL.
pub(super) fn url_of(directory: &RootPath, name: &std::ffi::OsStr) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let directory = directory.to_absolute();
    let between: &[u8] = if directory.ends_with(b"/") { b"" } else { b"/" };
    encode_path(&[&directory, between, name.as_bytes()].concat())
}

/// The answer to a request that has stored one file.
pub(super) fn stored(exchange: &Exchange<'_>, target: &FileTarget, published: &Published) -> Response {
    if exchange.state.options.is_drop_box {
        return Response::bytes(StatusCode::CREATED, "text/plain; charset=utf-8", b"stored\n".to_vec());
    }
    let directory = target.path.split_last().map_or_else(RootPath::default, |(directory, _)| directory);
    let url = url_of(&directory, &published.name);
    let mut response = if published.name != target.name {
        Response::bytes(StatusCode::CREATED, "text/plain; charset=utf-8", format!("stored as {url}\n").into_bytes())
    } else if published.is_new {
        Response::empty(StatusCode::CREATED)
    } else {
        Response::empty(StatusCode::NO_CONTENT)
    };
    if published.is_new {
        response = response.with_text(header::LOCATION, &url);
    }
    if wanted_mtime_ns(exchange).is_some() {
        response = response.with(OC_MTIME, HeaderValue::from_static("accepted"));
    }
    let tag = validators(exchange, &published.metadata, Coding::Identity).etag;
    match tag.as_ref().and_then(EntityTag::to_header_value) {
        Some(tag) => response.with(header::ETAG, tag),
        None => response,
    }
}

/// Hashes what a part has from its beginning, and compares it.
///
/// # Errors
/// A digest differs (400), or the disk failed.
pub(super) fn check_whole(part: &Part, expected: Vec<Digest>) -> Result<()> {
    if expected.is_empty() {
        return Ok(());
    }
    let mut check = DigestCheck::new(expected);
    let (mut piece, mut at) = (vec![0; PIECE_LEN], 0);
    while at < part.size() {
        let read = fs::unix::read_at(part.file(), &mut piece, at).map_err(fs::Error::from)?;
        if read == 0 {
            break;
        }
        check.update(piece.get(..read).unwrap_or_default());
        at += read as u64;
    }
    Ok(check.finish().map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))?)
}

/// Refuses what an upload cannot have: a part of a file under PUT (RFC 9110, 14.5), or a content that is coded, which
/// would be stored as what it is not.
///
/// # Errors
/// 400, 415.
pub(super) fn check_content(headers: &HeaderMap) -> Result<()> {
    if headers.contains_key(header::CONTENT_RANGE) {
        let message = "a part of a file cannot be stored with Content-Range; send all of it, or use a resumable upload";
        return Err(Problem::new(StatusCode::BAD_REQUEST, message).into());
    }
    let is_coded = |value: &::http::HeaderValue| !value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity");
    if headers.get_all(header::CONTENT_ENCODING).iter().any(is_coded) {
        let message = "a file is stored as it comes; send it without Content-Encoding";
        let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
        return Err(problem.with_text(header::ACCEPT_ENCODING, "identity").into());
    }
    Ok(())
}
