//! COPY and MOVE: what is there is at another name too, or instead (RFC 4918, 9.8 and 9.9).
//!
//! What is replaced is first renamed aside, and removed when its successor is in place: until then nothing is lost.

use std::sync::Arc;

use ::http::StatusCode;
use ::http::header;

use super::super::exchange::Exchange;
use super::super::intake::{check_conditions, precondition_failed};
use super::super::problem::{HttpError, Problem, Result};
use super::super::response::Response;
use super::change::{check_depth, existing, no_parent};
use super::copy::{self, Copied};
use super::locks::{Changing, Touch};
use super::place::Spot;
use super::propfind::directory_url;
use super::{bad_request, guard};
use crate::fs::ErrorKind;
use crate::fs::root::RootPath;
use crate::http::dav::XML_TYPE;
use crate::http::dav::fields::{DESTINATION, Depth, overwrites};
use crate::http::dav::multistatus::members;
use crate::http::target::{Target, encode_path};
use crate::trust::Service;

/// What goes where.
struct Relocation {
    from: RootPath,
    to: RootPath,
    from_spot: Spot,
    to_spot: Spot,
    is_dir: bool,
    /// Whether something is at the destination; `Some(true)`: a directory.
    there: Option<bool>,
}

impl Relocation {
    fn of(exchange: &Exchange<'_>) -> Result<Self> {
        let (from, found) = existing(exchange)?;
        let to = destination(exchange)?;
        let root = &exchange.session.root;
        let refuse = |message: &str| Err(Problem::new(StatusCode::FORBIDDEN, message).into());
        if to.is_root() {
            return refuse("/ stays where it is");
        }
        check_conditions(exchange, &exchange.head.headers, &from)?;
        let overwrites = overwrites(&exchange.head.headers).map_err(bad_request)?;
        let missing = |error: crate::fs::Error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => HttpError::from(no_parent(&to)),
            _ => error.into(),
        };
        let (from_spot, to_spot) = (Spot::of(root, &from)?, Spot::of(root, &to).map_err(missing)?);
        if from == to || from_spot.own == to_spot.own {
            return refuse("source and destination are the same");
        }
        // Neither can a directory be in itself, nor be replaced by a part of itself.
        if to_spot.own.is_below(&from_spot.own) || from_spot.own.is_below(&to_spot.own) {
            return refuse("one of source and destination lies in the other");
        }
        let there = there(exchange, &to)?;
        if there.is_some() && !overwrites {
            return Err(precondition_failed().into());
        }
        Ok(Self { from, to, from_spot, to_spot, is_dir: found.is_dir(), there })
    }

    fn replaces_tree(&self) -> bool {
        self.there == Some(true) || self.is_dir && self.there.is_some()
    }

    fn touch_of_destination(&self) -> Touch {
        match self.there {
            _ if self.is_dir => Touch::Tree(self.to_spot.clone()),
            Some(true) => Touch::Tree(self.to_spot.clone()),
            Some(false) => Touch::Content(self.to_spot.own.clone()),
            None => Touch::Member(self.to_spot.clone()),
        }
    }

    /// Begins the change of the destination, and with `from` of the source too.
    fn begin<'e>(&self, exchange: &Exchange<'e>, from: Option<Touch>) -> Result<Changing<'e>> {
        let touches = from.into_iter().chain([self.touch_of_destination()]).collect();
        let changing = guard::begin(exchange, touches, &guard::keys(exchange, None)?)?;
        // It was waited for others, perhaps.
        if there(exchange, &self.to)? == self.there { Ok(changing) } else { Err(guard::changing()) }
    }

    fn answer(&self) -> Response {
        if self.there.is_some() {
            return Response::empty(StatusCode::NO_CONTENT);
        }
        let url = if self.is_dir { directory_url(&self.to) } else { self.to.to_absolute() };
        Response::empty(StatusCode::CREATED).with_text(header::LOCATION, &encode_path(&url))
    }
}

/// Whether something is there; `Some(true)`: a directory.
fn there(exchange: &Exchange<'_>, path: &RootPath) -> Result<Option<bool>> {
    match exchange.session.root.symlink_metadata(path) {
        Ok(found) => Ok(Some(found.is_dir())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Answers MOVE.
///
/// # Errors
/// What the client is told instead.
pub(in super::super) fn rename(exchange: &mut Exchange<'_>) -> Result<Response> {
    exchange.need(Service::Write)?;
    check_depth(exchange)?;
    let relocation = Relocation::of(exchange)?;
    let Relocation { from, to, from_spot, to_spot, .. } = &relocation;
    let _changing = relocation.begin(exchange, Some(Touch::Tree(from_spot.clone())))?;
    let _held = exchange.state.hold(from);
    // It may be another one by now.
    check_conditions(exchange, &exchange.head.headers, from)?;
    let (root, parts) = (&exchange.session.root, &exchange.session.parts);
    let failed = |error: crate::fs::Error| match error.kind() {
        // It was not there a moment ago.
        ErrorKind::Exists => HttpError::from(precondition_failed()),
        ErrorKind::NotFound | ErrorKind::NotADirectory => no_parent(to).into(),
        _ => error.into(),
    };
    if relocation.replaces_tree() {
        let aside = root.set_aside(to)?;
        if let Err(error) = root.rename_exactly(from, to, false) {
            aside.put_back()?;
            return Err(failed(error));
        }
        aside.remove(&|dir, name| parts.is_idle(dir, name));
    } else {
        root.rename_exactly(from, to, relocation.there.is_some()).map_err(failed)?;
    }
    let (locks, properties) = (&exchange.state.locks, &exchange.state.properties);
    // Locks do not move (7.5), and what was replaced is gone.
    locks.forget(&from_spot.own, true);
    locks.forget(&to_spot.own, false);
    properties.forget(&to_spot.own);
    properties.rename(&from_spot.own, &to_spot.own);
    let outcome = format!("to {to}");
    let answer = relocation.answer();
    exchange.session.report.outcome = Some(outcome);
    Ok(answer)
}

/// Answers COPY.
///
/// # Errors
/// What the client is told instead.
pub(in super::super) fn copy(exchange: &mut Exchange<'_>) -> Result<Response> {
    exchange.need(Service::Read)?;
    exchange.need(Service::Write)?;
    let is_deep = match Depth::of(&exchange.head.headers).map_err(bad_request)? {
        None | Some(Depth::Infinity) => true,
        Some(Depth::Zero) => false,
        // 9.8.3.
        Some(Depth::One) => return Err(bad_request("Depth of a COPY is 0 or infinity")),
    };
    let relocation = Relocation::of(exchange)?;
    let Relocation { from, to, to_spot, .. } = &relocation;
    let _changing = relocation.begin(exchange, None)?;
    let (root, parts) = (Arc::clone(&exchange.session.root), Arc::clone(&exchange.session.parts));
    let replaced = if relocation.replaces_tree() { Some(root.set_aside(to)?) } else { None };
    if relocation.is_dir || replaced.is_some() {
        exchange.state.properties.forget(&to_spot.own);
    }
    let is_made = !relocation.is_dir || root.make_dir(to, false).is_ok();
    let copied = if !is_made {
        Err(guard::changing())
    } else if relocation.is_dir {
        copy::tree(exchange, from, to, is_deep)
    } else {
        copy::file(exchange, from, to, relocation.there.is_some() && replaced.is_none())
    };
    let is_idle = |dir: &cap_std::fs::Dir, name: &std::ffi::OsStr| parts.is_idle(dir, name);
    let Copied { files, bytes, failed } = match copied {
        Ok(copied) => copied,
        Err(error) => {
            // What was there comes back; a new tree that is not whole is of no use.
            if relocation.is_dir && is_made {
                drop(root.remove(to, true, &is_idle));
            }
            if let Some(aside) = replaced {
                aside.put_back()?;
            }
            return Err(error);
        }
    };
    if let Some(aside) = replaced {
        aside.remove(&is_idle);
    }
    exchange.state.locks.forget(&to_spot.own, false);
    exchange.session.report.outcome = Some(format!("to {to}, {files} files, {bytes} bytes"));
    if failed.is_empty() {
        return Ok(relocation.answer());
    }
    let text = members(&failed).into_bytes();
    Ok(Response::bytes(StatusCode::MULTI_STATUS, XML_TYPE, text))
}

/// A path, or a URL of this server, as the request has named it.
fn destination(exchange: &Exchange<'_>) -> Result<RootPath> {
    let mut values = exchange.head.headers.get_all(DESTINATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(bad_request("say where it goes, once: Destination: /NEW/NAME"));
    };
    let target = Target::parse(&::http::Method::GET, value.as_bytes())
        .map_err(|error| bad_request(format!("Destination: {error}")))?;
    if target.query.is_some() {
        return Err(bad_request("Destination names a path and no query"));
    }
    if target.authority.as_ref().is_some_and(|authority| !guard::is_own(exchange, authority)) {
        let message = "Destination is on another server";
        return Err(Problem::new(StatusCode::BAD_GATEWAY, message).into());
    }
    exchange.new_path(&target.path)
}
