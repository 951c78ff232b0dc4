//! What guards resources against changes: the locks of others, and the state that a client takes them to be in
//! (`If`: RFC 4918, 10.4).

use std::io;
use std::sync::atomic::Ordering;

use ::http::Method;
use ::http::StatusCode;
use ::http::header::{HeaderMap, IF_MATCH, RETRY_AFTER};
use ::http::uri::Authority;

use super::super::exchange::Exchange;
use super::super::intake::{self, FileTarget};
use super::super::problem::{HttpError, Problem, Result};
use super::bad_request;
use super::holder::Holder;
use super::locks::{Changing, Keys, Locked, NoChange, Touch};
use super::place::{Place, Spot};
use crate::fs::root::RootPath;
use crate::http::conditions::EntityTag;
use crate::http::dav::fields::IF;
use crate::http::dav::if_header::{IfHeader, State};
use crate::http::dav::multistatus::condition;
use crate::http::target::Target;
use crate::trust::Service;

/// Moves of a file's directory for which its name waits.
const MOVES_MAX: usize = 3;
/// Roots of locks that are told of one request.
const ROOTS_TOLD_MAX: usize = 16;

/// The locks that a request shows to have: by its own `If`, and by that of the request that began an upload.
///
/// # Errors
/// `If` cannot be read (400).
pub(in super::super) fn keys(exchange: &Exchange<'_>, begun_with: Option<&HeaderMap>) -> Result<Keys> {
    let headers = [Some(&exchange.head.headers), begun_with];
    let mut tokens = Vec::new();
    for headers in headers.into_iter().flatten() {
        let conditions = IfHeader::of(headers).map_err(bad_request)?;
        tokens.extend(conditions.iter().flat_map(IfHeader::tokens).map(str::to_owned));
    }
    Ok(Keys { holder: Holder::of(exchange), tokens })
}

/// Whether a file may be put there, as the locks are now. It is seen again when it gets its name.
///
/// # Errors
/// There is a lock of which the request has no token (423).
pub(in super::super) fn check_put(exchange: &Exchange<'_>, target: &FileTarget) -> Result<()> {
    if exchange.state.locks.is_empty() {
        return Ok(());
    }
    check(exchange, &[put_touch(target)?], &keys(exchange, None)?)
}

/// What a file does that gets its name: one that is taken stays a member (7.4).
fn put_touch(target: &FileTarget) -> Result<Touch> {
    let spot = Spot::in_dir(&target.dir, &target.name)?;
    let is_there = target.dir.symlink_metadata(&target.name).is_ok();
    Ok(if is_there { Touch::Content(spot.own) } else { Touch::Member(spot) })
}

/// Whether the client has the lock of what its condition is about: nothing else changes that by HTTP, and the tag that
/// the client was told, however recently the file was changed, names what it wants to replace. davfs2 locks a file that
/// it has just made, and stores its content with `If-Match` and that tag, as if it were a strong one.
pub(in super::super) fn has_lock(
    exchange: &Exchange<'_>,
    conditions: &HeaderMap,
    spot: impl FnOnce() -> crate::fs::Result<Spot>,
) -> bool {
    if !conditions.contains_key(IF_MATCH) || exchange.state.locks.is_empty() {
        return false;
    }
    let (Ok(keys), Ok(spot)) = (keys(exchange, Some(conditions)), spot()) else { return false };
    exchange.state.locks.of(&spot.own).iter().any(|lock| keys.opens(lock))
}

/// Begins to give a file its name.
///
/// # Errors
/// As [`check_put`].
pub(in super::super) fn begin_put<'e>(
    exchange: &Exchange<'e>,
    target: &FileTarget,
    begun_with: &HeaderMap,
) -> Result<Changing<'e>> {
    begin_naming(exchange, target, &keys(exchange, Some(begun_with))?)
}

/// Begins to give a file its name, with these keys.
///
/// # Errors
/// As [`check_put`]; its directory is gone (409).
pub(super) fn begin_naming<'e>(exchange: &Exchange<'e>, target: &FileTarget, keys: &Keys) -> Result<Changing<'e>> {
    for _ in 0..MOVES_MAX {
        let touch = put_touch(target)?;
        let place = touch.place().clone();
        let changing = begin(exchange, vec![touch], keys)?;
        // It was waited, perhaps for a change that has moved or removed the directory which is held here.
        let now = Spot::in_dir(&target.dir, &target.name)?.own;
        if now.is_aside() {
            let message = format!("{}: its directory was removed meanwhile; make it again", target.path);
            return Err(Problem::new(StatusCode::CONFLICT, message).into());
        }
        if now == place {
            return Ok(changing);
        }
    }
    Err(changing())
}

/// Whether a change may begin, as the locks are now.
///
/// # Errors
/// There is a lock of which the request has no token (423).
pub(super) fn check(exchange: &Exchange<'_>, touches: &[Touch], keys: &Keys) -> Result<()> {
    exchange.state.locks.check(touches, keys).map_err(|locked| refused(exchange, &locked))
}

/// Begins a change: no lock is given there until it is over.
///
/// # Errors
/// There is a lock of which the request has no token (423).
pub(super) fn begin<'e>(exchange: &Exchange<'e>, touches: Vec<Touch>, keys: &Keys) -> Result<Changing<'e>> {
    exchange.state.locks.change(touches, keys).map_err(|why| match why {
        NoChange::Locked(locked) => refused(exchange, &locked),
        NoChange::Changing => changing(),
    })
}

/// Whether the request's session is still one. What a request makes that outlives it is looked at again behind this,
/// and taken back: who was revoked meanwhile leaves nothing.
///
/// # Errors
/// Its connection was cut, for it was revoked or may do less now.
pub(super) fn check_open(exchange: &Exchange<'_>) -> Result<()> {
    if exchange.session.is_cut.load(Ordering::SeqCst) {
        return Err(HttpError::of_body(io::ErrorKind::ConnectionAborted.into()));
    }
    Ok(())
}

/// Something else goes on there, and takes long.
pub(super) fn changing() -> HttpError {
    let message = "something is being changed there; try again";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, message).with_text(RETRY_AFTER, "5").into()
}

fn refused(exchange: &Exchange<'_>, Locked(roots): &Locked) -> HttpError {
    let message = "is locked; unlock it first, or wait until its lock ends";
    conflict(exchange, "lock-token-submitted", roots, message)
}

/// A lock is in the way (423), with the condition of RFC 4918, 16.
pub(super) fn conflict(exchange: &Exchange<'_>, name: &str, roots: &[Place], message: &str) -> HttpError {
    // What is locked is there: that is for those who may look.
    let may_look = exchange.session.services.has(Service::Read);
    let Some(own) = Spot::of(&exchange.session.root, &RootPath::default()).ok().filter(|_| may_look) else {
        return Problem::new(StatusCode::LOCKED, message).with_xml(condition(name, &[])).into();
    };
    let paths: Vec<_> = roots.iter().take(ROOTS_TOLD_MAX).map(|root| root.seen_from(&own.own)).collect();
    let first = paths.first().map_or_else(String::new, |path| format!("{}: ", String::from_utf8_lossy(path)));
    Problem::new(StatusCode::LOCKED, format!("{first}{message}")).with_xml(condition(name, &paths)).into()
}

/// Evaluates `If` in `headers`, for a request about `path`, whose tag is `current`.
///
/// # Errors
/// It cannot be read (400).
pub(in super::super) fn if_holds(
    exchange: &Exchange<'_>,
    headers: &HeaderMap,
    path: &RootPath,
    current: impl Fn() -> Option<EntityTag>,
) -> Result<bool> {
    if !headers.contains_key(IF) {
        return Ok(true);
    }
    let Some(conditions) = IfHeader::of(headers).map_err(bad_request)? else { return Ok(true) };
    Ok(conditions.holds(|resource, state| {
        let named = match resource.map(|uri| local_path(exchange, uri)) {
            None => path.clone(),
            Some(Some(named)) => named,
            // What is elsewhere has no state here.
            Some(None) => return false,
        };
        match state {
            State::Token(token) => {
                let spot = Spot::of(&exchange.session.root, &named);
                spot.is_ok_and(|spot| exchange.state.locks.find(&spot.own, token).is_some())
            }
            State::Tag(tag) => {
                let found = if named == *path { current() } else { intake::tag_of(exchange, &named) };
                found.is_some_and(|found| found.weakly_matches(tag))
            }
        }
    }))
}

/// The path of a URL of this server; `None`: it is of another, or none that the client may see.
fn local_path(exchange: &Exchange<'_>, uri: &str) -> Option<RootPath> {
    let target = Target::parse(&Method::GET, uri.as_bytes()).ok()?;
    let is_here = target.authority.as_ref().is_none_or(|authority| is_own(exchange, authority));
    exchange.resolve(&target.path).ok().filter(|_| is_here)
}

/// Whether a URL with this authority is of this server, as the request names it.
pub(super) fn is_own(exchange: &Exchange<'_>, authority: &Authority) -> bool {
    let own = exchange.head.authority.as_ref();
    own.is_some_and(|own| own.as_str().eq_ignore_ascii_case(authority.as_str()))
}
