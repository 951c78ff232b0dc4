//! DELETE and MKCOL: what is there is removed, directories are made (RFC 4918, 9.3 and 9.6).

use std::sync::atomic::Ordering;

use ::http::StatusCode;
use ::http::header;
use cap_std::fs::Metadata;

use super::super::exchange::Exchange;
use super::super::intake::check_conditions;
use super::super::problem::{HttpError, Problem, Result};
use super::super::response::Response;
use super::super::route;
use super::locks::Touch;
use super::place::Spot;
use super::propfind::directory_url;
use super::{bad_request, guard};
use crate::fs::ErrorKind;
use crate::fs::root::{IsIdle, NotRemoved, RootPath};
use crate::http::body::BodyLength;
use crate::http::dav::XML_TYPE;
use crate::http::dav::fields::Depth;
use crate::http::dav::multistatus::members;
use crate::http::negotiate::media;
use crate::http::target::encode_path;
use crate::trust::Service;

/// Answers DELETE: of a file, or of a directory with all that is in it (RFC 4918, 9.6.1).
///
/// # Errors
/// What the client is told instead.
pub(in super::super) fn delete(exchange: &mut Exchange<'_>) -> Result<Response> {
    exchange.need(Service::Write)?;
    check_depth(exchange)?;
    let (path, _) = existing(exchange)?;
    let session = &exchange.session;
    let (spot, touches) = touches_of_removal(exchange, &path)?;
    check_conditions(exchange, &exchange.head.headers, &path)?;
    let _changing = guard::begin(exchange, touches, &guard::keys(exchange, None)?)?;
    // It may be another one by now.
    check_conditions(exchange, &exchange.head.headers, &path)?;
    let goes_on = || !session.is_cut.load(Ordering::Relaxed);
    let is_idle: IsIdle<'_> = &|dir, name| session.parts.is_idle(dir, name);
    if let Err(not_removed) = session.root.remove_while(&path, (is_idle, &goes_on)) {
        return partly_removed(exchange, &path, not_removed);
    }
    exchange.state.locks.forget(&spot.own, true);
    exchange.state.properties.forget(&spot.own);
    Ok(Response::empty(StatusCode::NO_CONTENT))
}

/// What is told of a removal that ended at a member: which one, with a status of its own (9.6.1). Those who may not look
/// are told no name, and no client one that is not shown: then it is the error of what the request is about.
/// A client that takes no XML, as the page, is told in words, and is not to take it for a success.
fn partly_removed(exchange: &mut Exchange<'_>, path: &RootPath, not_removed: NotRemoved) -> Result<Response> {
    guard::check_open(exchange)?;
    let NotRemoved { member, error } = not_removed;
    let session = &mut *exchange.session;
    let may_look = session.services.has(Service::Read);
    let shows_hidden = exchange.state.options.shows_hidden;
    let shown = member.filter(|_| may_look).map(|member| if shows_hidden { member } else { member.shown() });
    let Some(member) = shown.filter(|member| member.byte_len() > path.byte_len()) else { return Err(stays(error)) };
    let error = error.about(&member);
    session.report.outcome = Some(error.to_string());
    let is_dir = session.root.symlink_metadata(&member).is_ok_and(|found| found.is_dir());
    let href = if is_dir { directory_url(&member) } else { member.to_absolute() };
    if media(&exchange.head.headers, &["application/xml", "text/xml", "text/plain"]) == Some(2) {
        let message = format!("{error}; it stays, with the directories in which it is");
        return Err(Problem::new(StatusCode::CONFLICT, message).into());
    }
    let HttpError::Problem(Problem { status, message, .. }) = stays(error) else { return Err(guard::changing()) };
    let text = members(&[(href, status.as_u16(), message)]).into_bytes();
    Ok(Response::bytes(StatusCode::MULTI_STATUS, XML_TYPE, text))
}

/// What a removal, or a renaming, of the name `path` touches. What a symlink leads to stays, but who has a lock of it,
/// by the symlink perhaps, is asked.
pub(super) fn touches_of_removal(exchange: &Exchange<'_>, path: &RootPath) -> Result<(Spot, Vec<Touch>)> {
    let root = &exchange.session.root;
    let (spot, led) = (Spot::of_name(root, path)?, Spot::of(root, path)?.own);
    let of_led = (led != spot.own).then_some(Touch::Content(led));
    let touches = [Touch::Tree(spot.clone())].into_iter().chain(of_led).collect();
    Ok((spot, touches))
}

/// What cannot be removed, or replaced, as something in it stands against that: the client knows that it is there.
pub(super) fn stays(error: crate::fs::Error) -> HttpError {
    let message = match error.kind() {
        ErrorKind::Hidden => "the server keeps its keys in it, or files of its own user's; it stays where it is".into(),
        ErrorKind::Busy | ErrorKind::NotEmpty => error.to_string(),
        _ => return error.into(),
    };
    Problem::new(StatusCode::CONFLICT, message).into()
}

/// Answers MKCOL: makes a directory (RFC 4918, 9.3).
///
/// # Errors
/// What the client is told instead.
pub(in super::super) fn make(exchange: &mut Exchange<'_>) -> Result<Response> {
    exchange.need(Service::Write)?;
    if !matches!(exchange.body.length(), BodyLength::None | BodyLength::Known(0)) {
        let message = "a directory is made without a body";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message).into());
    }
    let path = exchange.new_path(&exchange.head.target.path)?;
    if path.is_root() {
        return Err(exists(exchange, &path).into());
    }
    let failed = |error: crate::fs::Error| match error.kind() {
        ErrorKind::Exists => HttpError::from(exists(exchange, &path)),
        ErrorKind::NotFound | ErrorKind::NotADirectory => no_parent(&path).into(),
        _ => error.into(),
    };
    check_conditions(exchange, &exchange.head.headers, &path)?;
    let touch = Touch::Member(Spot::of(&exchange.session.root, &path).map_err(failed)?);
    let _changing = guard::begin(exchange, vec![touch], &guard::keys(exchange, None)?)?;
    exchange.session.root.make_dir(&path, false).map_err(failed)?;
    let url = encode_path(&[&path.to_absolute()[..], b"/"].concat());
    Ok(Response::empty(StatusCode::CREATED).with_text(header::LOCATION, &url))
}

/// What the request is about, which exists; as a directory if its URL ends with a slash.
pub(super) fn existing(exchange: &Exchange<'_>) -> Result<(RootPath, Metadata)> {
    let path = exchange.path()?;
    if path.is_root() {
        return Err(Problem::new(StatusCode::FORBIDDEN, "/ stays where it is").into());
    }
    let root = &exchange.session.root;
    let found = root.symlink_metadata(&path)?;
    // A symlink to a directory is shown as one.
    if exchange.names_directory() && !found.is_dir() && !(found.is_symlink() && root.is_dir(&path)) {
        return Err(Problem::not_found().into());
    }
    Ok((path, found))
}

/// RFC 4918, 9.3.1: a directory is made where nothing is.
fn exists(exchange: &Exchange<'_>, path: &RootPath) -> Problem {
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{path}: already exists"));
    problem.with_text(header::ALLOW, &route::allowed(exchange))
}

pub(super) fn no_parent(path: &RootPath) -> Problem {
    Problem::new(StatusCode::CONFLICT, format!("{path}: its directory does not exist; make it first"))
}

/// DELETE and MOVE are about all that is in a directory, and about no less (RFC 4918, 9.6.1 and 9.9.2).
pub(super) fn check_depth(exchange: &Exchange<'_>) -> Result<()> {
    match Depth::of(&exchange.head.headers).map_err(bad_request)? {
        Some(Depth::Zero | Depth::One) => {
            let message = "Depth is infinity here: all that is in a directory goes with it";
            Err(Problem::new(StatusCode::BAD_REQUEST, message).into())
        }
        _ => Ok(()),
    }
}
