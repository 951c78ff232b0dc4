//! PROPPATCH: properties are set and removed, all that a request names or none (RFC 4918, 9.2).

use ::http::StatusCode;
use ::http::header::{self, HeaderValue};

use super::super::exchange::Exchange;
use super::super::intake::check_conditions;
use super::super::problem::{Problem, Result};
use super::super::response::Response;
use super::locks::Touch;
use super::place::{Inode, Node, Spot};
use super::propfind::directory_url;
use super::props::{Change, Full, PROPERTIES_LEN_MAX};
use super::{bad_request, guard, xml_body};
use crate::http::date;
use crate::http::dav::XML_TYPE;
use crate::http::dav::body::Update;
use crate::http::dav::multistatus::{Dead, Live, patched};
use crate::http::dav::xml::{Element, Name};
use crate::trust::Service;

/// The namespace of the properties that Windows sets behind each upload.
const WINDOWS: &str = "urn:schemas-microsoft-com:";

/// What one instruction comes to.
enum Outcome {
    Change(Change),
    /// The modification time is set, in nanoseconds since 1970.
    Modified(i64),
    Refused(StatusCode),
}

/// Answers PROPPATCH.
///
/// # Errors
/// What the client is told instead.
pub(in super::super) fn proppatch(exchange: &mut Exchange<'_>) -> Result<Response> {
    exchange.need(Service::Write)?;
    let path = exchange.path()?;
    let updates = Update::parse(&xml_body(exchange)?).map_err(bad_request)?;
    let root = &exchange.session.root;
    let found = root.symlink_metadata(&path)?;
    let is_dir = found.is_dir() || found.is_symlink() && root.is_dir(&path);
    if exchange.names_directory() && !is_dir {
        return Err(Problem::not_found().into());
    }
    check_conditions(exchange, &exchange.head.headers, &path)?;
    let place = Spot::of(root, &path)?.own;
    let keys = guard::keys(exchange, None)?;
    let _changing = guard::begin(exchange, vec![Touch::Content(place.clone())], &keys)?;
    // A PUT that gives the name to another file keeps the properties that it finds.
    let _held = root.open_parent(&path).ok().map(|(dir, name)| exchange.state.hold(&dir, &name)).transpose()?;
    let node = Node { place, inode: Inode::from(&root.details(&path)?) };
    let outcomes: Vec<_> = updates.iter().map(|update| outcome(update, exchange.state.options.modifies)).collect();
    let mut statuses: Vec<StatusCode> = outcomes
        .iter()
        .map(|outcome| if let Outcome::Refused(status) = outcome { *status } else { StatusCode::OK })
        .collect();
    if statuses.iter().all(StatusCode::is_success) {
        let changes: Vec<_> = outcomes
            .iter()
            .filter_map(|outcome| if let Outcome::Change(change) = outcome { Some(change.clone()) } else { None })
            .collect();
        let modified = outcomes
            .iter()
            .rev()
            .find_map(|outcome| if let Outcome::Modified(ns) = outcome { Some(*ns) } else { None });
        match exchange.state.properties.change(&node, &keys.holder, &changes) {
            Err(Full) => statuses.fill(StatusCode::INSUFFICIENT_STORAGE),
            Ok(before) => {
                if let Err(gone) = guard::check_open(exchange) {
                    exchange.state.properties.restore(&node.place, before);
                    return Err(gone);
                }
                if modified.is_some_and(|ns| root.set_modified(&path, ns).is_err()) {
                    exchange.state.properties.restore(&node.place, before);
                    let of_time = outcomes.iter().zip(&mut statuses);
                    let of_time = of_time.filter(|(outcome, _)| matches!(outcome, Outcome::Modified(_)));
                    of_time.for_each(|(_, status)| *status = StatusCode::FORBIDDEN);
                }
            }
        }
    }
    if !statuses.iter().all(StatusCode::is_success) {
        // 9.2: then nothing was done.
        let dependent = |status: &mut StatusCode| {
            if status.is_success() {
                *status = StatusCode::FAILED_DEPENDENCY;
            }
        };
        statuses.iter_mut().for_each(dependent);
    }
    let url = if is_dir { directory_url(&path) } else { path.to_absolute() };
    let named: Vec<(Name, u16)> =
        updates.iter().zip(statuses).map(|(update, status)| (update.name().clone(), status.as_u16())).collect();
    let response = Response::bytes(StatusCode::MULTI_STATUS, XML_TYPE, patched(&url, &named).into_bytes());
    Ok(response.with(header::CACHE_CONTROL, HeaderValue::from_static("no-store")))
}

fn outcome(update: &Update, modifies: bool) -> Outcome {
    let name = update.name();
    // RFC 4918, 15: what the server makes itself is protected.
    if Live::of(name).is_some() {
        return Outcome::Refused(StatusCode::FORBIDDEN);
    }
    match update {
        Update::Remove(name) => Outcome::Change(Change::Remove(name.clone())),
        // Explorer sets the time that the file has on its own disk. Without it each copy is as old as its upload. The
        // other times and the attributes that it sets are kept as it sends them.
        Update::Set(element) if &*name.namespace == WINDOWS && &*name.local == "Win32LastModifiedTime" => {
            // It is one of the file, which may be another's upload.
            if modifies { modified(element) } else { Outcome::Refused(StatusCode::FORBIDDEN) }
        }
        Update::Set(element) => match element.to_text(PROPERTIES_LEN_MAX) {
            Ok(text) => Outcome::Change(Change::Set(Dead { name: name.clone(), text: text.into() })),
            Err(_) => Outcome::Refused(StatusCode::INSUFFICIENT_STORAGE),
        },
    }
}

fn modified(element: &Element) -> Outcome {
    let seconds = date::parse(element.text().trim()).and_then(|seconds| i64::try_from(seconds).ok());
    match seconds.and_then(|seconds| seconds.checked_mul(1_000_000_000)) {
        Some(ns) => Outcome::Modified(ns),
        None => Outcome::Refused(StatusCode::CONFLICT),
    }
}
