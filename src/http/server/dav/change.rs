//! DELETE, MKCOL and MOVE: what is there is removed, directories are made, names change. They mean what RFC
//! 4918, 9 says, so that a client that speaks it need not be told anything else.

use ::http::StatusCode;
use ::http::header;
use ::http::uri::Authority;

use super::super::exchange::Exchange;
use super::super::intake::{check_conditions, precondition_failed};
use super::super::problem::{HttpError, Problem, Result};
use super::super::response::Response;
use super::super::route;
use super::bad_request;
use crate::fs::ErrorKind;
use crate::fs::root::RootPath;
use crate::http::body::BodyLength;
use crate::http::dav::fields::{DESTINATION, Depth, overwrites};
use crate::http::target::{Target, encode_path};
use crate::trust::Service;

/// Answers DELETE: of a file, or of a directory with all that is in it (RFC 4918, 9.6.1).
///
/// # Errors
/// What the client is told instead.
pub(in super::super) fn delete(exchange: &mut Exchange<'_>) -> Result<Response> {
    exchange.need(Service::Write)?;
    check_depth(exchange)?;
    let path = existing(exchange)?;
    let _held = exchange.state.hold(&path);
    check_conditions(exchange, &exchange.head.headers, &path)?;
    let session = &exchange.session;
    session.root.remove(&path, true, &|dir, name| session.parts.is_idle(dir, name))?;
    Ok(Response::empty(StatusCode::NO_CONTENT))
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
    exchange.session.root.make_dir(&path, false).map_err(|error| match error.kind() {
        ErrorKind::Exists => HttpError::from(exists(exchange, &path)),
        ErrorKind::NotFound | ErrorKind::NotADirectory => no_parent(&path).into(),
        _ => error.into(),
    })?;
    let url = encode_path(&[&path.to_absolute()[..], b"/"].concat());
    Ok(Response::empty(StatusCode::CREATED).with_text(header::LOCATION, &url))
}

/// Answers MOVE: gives a file or directory another name (RFC 4918, 9.9). A directory is never replaced, whatever
/// Overwrite says: it would be removed with all that is in it.
///
/// # Errors
/// What the client is told instead.
pub(in super::super) fn rename(exchange: &mut Exchange<'_>) -> Result<Response> {
    exchange.need(Service::Write)?;
    check_depth(exchange)?;
    let from = existing(exchange)?;
    let to = destination(exchange)?;
    if from == to {
        let message = "source and destination are the same";
        return Err(Problem::new(StatusCode::FORBIDDEN, message).into());
    }
    let _held = exchange.state.hold(&from);
    check_conditions(exchange, &exchange.head.headers, &from)?;
    let replaces = overwrites(&exchange.head.headers).map_err(bad_request)?;
    let is_new = exchange.session.root.rename_exactly(&from, &to, replaces).map_err(|error| match error.kind() {
        ErrorKind::Exists if !replaces => HttpError::from(precondition_failed()),
        ErrorKind::NotFound | ErrorKind::NotADirectory => no_parent(&to).into(),
        _ => error.into(),
    })?;
    exchange.session.report.outcome = Some(format!("to {to}"));
    if !is_new {
        return Ok(Response::empty(StatusCode::NO_CONTENT));
    }
    let url = encode_path(&to.to_absolute());
    Ok(Response::empty(StatusCode::CREATED).with_text(header::LOCATION, &url))
}

/// What the request is about, which exists; as a directory if its URL ends with a slash.
fn existing(exchange: &Exchange<'_>) -> Result<RootPath> {
    let path = exchange.path()?;
    if path.is_root() {
        return Err(Problem::new(StatusCode::FORBIDDEN, "/ stays where it is").into());
    }
    let found = exchange.session.root.symlink_metadata(&path)?;
    if exchange.names_directory() && !found.is_dir() {
        return Err(Problem::not_found().into());
    }
    Ok(path)
}

/// RFC 4918, 9.3.1: a directory is made where nothing is.
fn exists(exchange: &Exchange<'_>, path: &RootPath) -> Problem {
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{path}: already exists"));
    problem.with_text(header::ALLOW, &route::allowed(exchange))
}

fn no_parent(path: &RootPath) -> Problem {
    Problem::new(StatusCode::CONFLICT, format!("{path}: its directory does not exist; make it first"))
}

/// DELETE and MOVE are about all that is in a directory, and about no less (RFC 4918, 9.6.1 and 9.9.2).
fn check_depth(exchange: &Exchange<'_>) -> Result<()> {
    match Depth::of(&exchange.head.headers).map_err(bad_request)? {
        Some(Depth::Zero | Depth::One) => {
            let message = "Depth is infinity here: all that is in a directory goes with it";
            Err(Problem::new(StatusCode::BAD_REQUEST, message).into())
        }
        _ => Ok(()),
    }
}

/// A path, or a URL of this server, as the request has named it.
fn destination(exchange: &Exchange<'_>) -> Result<RootPath> {
    let bad = |message: &str| Problem::new(StatusCode::BAD_REQUEST, message);
    let Some(value) = exchange.head.headers.get(DESTINATION) else {
        return Err(bad("say where it goes: Destination: /NEW/NAME").into());
    };
    let target =
        Target::parse(&::http::Method::GET, value.as_bytes()).map_err(|error| bad(&format!("Destination: {error}")))?;
    if target.query.is_some() {
        return Err(bad("Destination names a path and no query").into());
    }
    let is_same = |authority: &Authority| {
        let own = exchange.head.authority.as_ref();
        own.is_some_and(|own| own.as_str().eq_ignore_ascii_case(authority.as_str()))
    };
    if target.authority.as_ref().is_some_and(|authority| !is_same(authority)) {
        let message = "Destination is on another server";
        return Err(Problem::new(StatusCode::BAD_GATEWAY, message).into());
    }
    exchange.new_path(&target.path)
}
