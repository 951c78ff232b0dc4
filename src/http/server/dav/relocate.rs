//! COPY and MOVE: what is there is at another name too, or instead (RFC 4918, 9.8 and 9.9).
//!
//! A tree is copied aside, and exchanged with what it replaces when it is whole: until then nothing is lost.

use std::sync::Arc;

use ::http::StatusCode;
use ::http::header;

use super::super::exchange::Exchange;
use super::super::intake::{check_conditions, precondition_failed};
use super::super::problem::{HttpError, Problem, Result};
use super::super::response::Response;
use super::change::{check_depth, existing, no_parent, stays, touches_of_removal};
use super::copy::{self, Copied};
use super::locks::{Changing, Touch};
use super::place::{Place, Spot};
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
    /// The names, and not what symlinks lead to.
    from_spot: Spot,
    to_spot: Spot,
    /// What has the destination's name leads there; `None`: it is no symlink.
    to_led: Option<Place>,
    /// Whether the source is a directory, or a symlink to one.
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
            return refuse("/ cannot be replaced; name something in it");
        }
        check_conditions(exchange, &exchange.head.headers, &from)?;
        let overwrites = overwrites(&exchange.head.headers).map_err(bad_request)?;
        let missing = |error: crate::fs::Error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => HttpError::from(no_parent(&to)),
            _ => error.into(),
        };
        let (from_spot, to_spot) = (Spot::of_name(root, &from)?, Spot::of_name(root, &to).map_err(missing)?);
        let (from_led, to_led) = (Spot::of(root, &from)?.own, Spot::of(root, &to).map_err(missing)?.own);
        if from == to || from_led == to_led {
            return refuse("source and destination are the same; name another destination");
        }
        // Neither can a directory be in itself, nor be replaced by a part of itself.
        let is_below = |one: &Place, other: &Place| one.is_below(other) || other.is_below(one);
        if is_below(&from_led, &to_led) || is_below(&from_spot.own, &to_spot.own) {
            return refuse("one of source and destination lies in the other; name another destination");
        }
        let there = there(exchange, &to)?;
        if there.is_some() && !overwrites {
            return Err(precondition_failed().into());
        }
        let is_dir = found.is_dir() || found.is_symlink() && root.is_dir(&from);
        let to_led = (to_led != to_spot.own).then_some(to_led);
        Ok(Self { from, to, from_spot, to_spot, to_led, is_dir, there })
    }

    fn replaces_tree(&self) -> bool {
        self.there == Some(true) || self.is_dir && self.there.is_some()
    }

    fn touch_of_destination(&self) -> Touch {
        match self.there {
            Some(false) if !self.is_dir => Touch::Content(self.to_spot.own.clone()),
            None if !self.is_dir => Touch::Member(self.to_spot.clone()),
            _ => Touch::Tree(self.to_spot.clone()),
        }
    }

    /// Begins the change of the destination, and with `from` of the source too.
    fn begin<'e>(&self, exchange: &Exchange<'e>, from: Vec<Touch>) -> Result<Changing<'e>> {
        let of_led = self.to_led.clone().map(Touch::Content);
        let touches = from.into_iter().chain([self.touch_of_destination()]).chain(of_led).collect();
        let changing = guard::begin(exchange, touches, &guard::keys(exchange, None)?)?;
        // It was waited for others, perhaps.
        if there(exchange, &self.to)? != self.there {
            return Err(guard::changing());
        }
        if self.there == Some(true) {
            // What the client does not see it does not mean to replace.
            let hides_dots = !exchange.state.options.shows_hidden;
            let parts = &exchange.session.parts;
            let removable =
                exchange.session.root.check_removable(&self.to, hides_dots, &|dir, name| parts.is_idle(dir, name));
            removable.map_err(stays)?;
        }
        Ok(changing)
    }

    /// What is told if the name was given to something else, or the source was taken away, in spite of all.
    fn failed(&self, error: &crate::fs::Error) -> HttpError {
        match error.kind() {
            ErrorKind::Exists | ErrorKind::NotEmpty => precondition_failed().into(),
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                let message = format!("{} or the directory of {} was removed meanwhile; try again", self.from, self.to);
                Problem::new(StatusCode::CONFLICT, message).into()
            }
            _ => error.clone().into(),
        }
    }

    /// What was there is replaced: its locks and properties have gone with it.
    fn forget_replaced(&self, exchange: &Exchange<'_>) {
        exchange.state.locks.forget(&self.to_spot.own, false);
        exchange.state.properties.forget(&self.to_spot.own);
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
    let (_, touches) = touches_of_removal(exchange, from)?;
    let _changing = relocation.begin(exchange, touches)?;
    // It may be another one by now.
    check_conditions(exchange, &exchange.head.headers, from)?;
    let (root, parts) = (&exchange.session.root, &exchange.session.parts);
    let renamed = if relocation.replaces_tree() {
        root.stage(to, parts).and_then(|staging| staging.replace_by(from))
    } else {
        root.rename_exactly(from, to, relocation.there.is_some()).map(drop)
    };
    renamed.map_err(|error| relocation.failed(&error))?;
    // Locks do not move (7.5), and what was replaced is gone.
    exchange.state.locks.forget(&from_spot.own, true);
    relocation.forget_replaced(exchange);
    exchange.state.properties.rename(&from_spot.own, &to_spot.own);
    let (answer, outcome) = (relocation.answer(), format!("to {to}"));
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
    let _changing = relocation.begin(exchange, Vec::new())?;
    let Relocation { from, to, .. } = &relocation;
    let Copied { files, bytes, failed } = if relocation.is_dir || relocation.replaces_tree() {
        copy_aside(exchange, &relocation, is_deep)?
    } else {
        let root = Arc::clone(&exchange.session.root);
        let copied = copy::file(exchange, from, (&root, to), relocation.there.is_some());
        copied.map_err(taken)?
    };
    guard::check_open(exchange).inspect_err(|_| exchange.state.properties.forget(&relocation.to_spot.own))?;
    exchange.session.report.outcome = Some(format!("to {to}, {files} files, {bytes} bytes"));
    if failed.is_empty() {
        return Ok(relocation.answer());
    }
    let text = members(&failed).into_bytes();
    Ok(Response::bytes(StatusCode::MULTI_STATUS, XML_TYPE, text))
}

/// Of two that take one name at the same time, one is told that it is taken.
fn taken(error: HttpError) -> HttpError {
    match error {
        HttpError::Problem(problem) if problem.status == StatusCode::CONFLICT => precondition_failed().into(),
        other => other,
    }
}

/// Copies to a staging, whose content gets the name of the destination when all of it is there.
fn copy_aside(exchange: &mut Exchange<'_>, relocation: &Relocation, is_deep: bool) -> Result<Copied> {
    let Relocation { from, to, to_spot, .. } = relocation;
    let (root, parts) = (Arc::clone(&exchange.session.root), Arc::clone(&exchange.session.parts));
    let staging = root.stage(to, &parts).map_err(|error| relocation.failed(&error))?;
    let (into, at) = (staging.inside(), staging.path()?);
    let staged = Spot::of_name(into, &at)?.own;
    let copied = if relocation.is_dir {
        let above = to.split_last().map_or_else(RootPath::default, |(above, _)| above);
        copy::tree(exchange, from, (into, &at, above), is_deep)
    } else {
        copy::file(exchange, from, (into, &at), false)
    };
    let copied = copied.and_then(|copied| {
        let published = staging.publish(relocation.there.is_some());
        published.map(|()| copied).map_err(|error| relocation.failed(&error.about(to)))
    });
    let properties = &exchange.state.properties;
    if copied.is_ok() {
        relocation.forget_replaced(exchange);
        properties.rename(&staged, &to_spot.own);
    } else {
        properties.forget(&staged);
    }
    copied
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
        let message = "Destination is on another server; name a path here";
        return Err(Problem::new(StatusCode::BAD_GATEWAY, message).into());
    }
    exchange.new_path(&target.path)
}
