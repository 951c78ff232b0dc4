//! LOCK and UNLOCK (RFC 4918, 9.10 and 9.11).

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::http::StatusCode;
use ::http::header::{self, HeaderValue};

use super::super::exchange::Exchange;
use super::super::intake::{Bounds, FileTarget, check_conditions};
use super::super::problem::{HttpError, Problem, Result};
use super::super::response::Response;
use super::holder::Holder;
use super::locks::{Keys, LOCK_TIME_MAX, Lock, NoLock, Touch};
use super::place::{Place, Spot};
use super::{bad_request, guard, xml_body};
use crate::fs::ErrorKind;
use crate::fs::part::Checksum;
use crate::fs::part::naming::{Naming, OnExists};
use crate::fs::root::RootPath;
use crate::http::dav::XML_TYPE;
use crate::http::dav::body::LockInfo;
use crate::http::dav::fields::{Depth, LOCK_TOKEN, lock_token, timeout};
use crate::http::dav::multistatus::{ActiveLock, condition, locked};
use crate::trust::Service;

/// Answers LOCK: a new lock, or with an empty body more time for one.
///
/// # Errors
/// What the client is told instead.
pub(in super::super) fn lock(exchange: &mut Exchange<'_>) -> Result<Response> {
    exchange.need(Service::Write)?;
    let body = xml_body(exchange)?;
    let asked = timeout(&exchange.head.headers).unwrap_or(LOCK_TIME_MAX);
    // A lock without a duration would be over before it is told.
    let ends = Instant::now() + asked.clamp(Duration::from_secs(1), LOCK_TIME_MAX);
    if body.is_empty() { refresh(exchange, ends) } else { take(exchange, &body, ends) }
}

fn refresh(exchange: &Exchange<'_>, ends: Instant) -> Result<Response> {
    let path = exchange.path()?;
    let Spot { own: place, .. } = Spot::of(&exchange.session.root, &path)?;
    let keys = guard::keys(exchange, None)?;
    if !exchange.state.locks.refresh(&place, &keys, ends) {
        let message = "no lock of yours here has the token that If names; send a body to make a new lock";
        let problem = Problem::new(StatusCode::PRECONDITION_FAILED, message);
        return Err(problem.with_xml(condition("lock-token-matches-request-uri", &[])).into());
    }
    answer(exchange, &place, StatusCode::OK)
}

fn take(exchange: &mut Exchange<'_>, body: &[u8], ends: Instant) -> Result<Response> {
    let LockInfo { is_exclusive, owner } = LockInfo::parse(body).map_err(bad_request)?;
    let is_deep = match Depth::of(&exchange.head.headers).map_err(bad_request)? {
        Some(Depth::Zero) => false,
        None | Some(Depth::Infinity) => true,
        // 9.10.3.
        Some(Depth::One) => return Err(bad_request("Depth of a LOCK is 0 or infinity")),
    };
    let path = exchange.new_path(&exchange.head.target.path)?;
    let root = &exchange.session.root;
    let found = match root.symlink_metadata(&path) {
        Ok(found) => Some(found),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    let is_dir = found.as_ref().is_some_and(|found| found.is_dir() || found.is_symlink() && root.is_dir(&path));
    if exchange.names_directory() && !is_dir {
        return Err(Problem::not_found().into());
    }
    check_conditions(exchange, &exchange.head.headers, &path)?;
    if found.is_some() && !is_dir {
        // What GET would not give is locked neither: a pipe, and what a symlink leads to outside.
        root.open_file(&path)?;
    }
    let target = if found.is_none() { Some(new_file(exchange, path.clone())?) } else { None };
    let spot = Spot::of(root, &path)?;
    let keys = guard::keys(exchange, None)?;
    if target.is_some() {
        // 7.4: it becomes a member of a directory that may be locked.
        guard::check(exchange, &[Touch::Member(spot.clone())], &keys)?;
    }
    let token: Arc<str> = new_token()?.into();
    let new = Lock {
        token: Arc::clone(&token),
        holder: keys.holder.clone(),
        is_exclusive,
        is_deep,
        owner: owner.into(),
        ends,
        is_of_dir: is_dir,
        root: spot.own.clone(),
    };
    exchange.state.locks.take(new.clone()).map_err(|why| no_lock(exchange, why))?;
    guard::check_open(exchange).inspect_err(|_| exchange.state.locks.remove(&new))?;
    let status = match target {
        None => StatusCode::OK,
        Some(target) => match make_empty(exchange, &target, &keys.with(&token)) {
            Ok(true) => StatusCode::CREATED,
            Ok(false) => StatusCode::OK,
            Err(error) => {
                exchange.state.locks.remove(&new);
                return Err(error);
            }
        },
    };
    let response = answer(exchange, &spot.own, status)?;
    Ok(response.with_text(LOCK_TOKEN, &format!("<{token}>")))
}

/// Where a file is made by locking its name (7.3): only where one could be put.
fn new_file(exchange: &Exchange<'_>, path: RootPath) -> Result<FileTarget> {
    if !exchange.state.options.uploads {
        return Err(Problem::not_found().into());
    }
    let target = FileTarget::of(exchange, path)?;
    Bounds::of(exchange).check_room(&target.dir, 0)?;
    Ok(target)
}

/// Makes an empty file; whether nothing had the name meanwhile.
fn make_empty(exchange: &Exchange<'_>, target: &FileTarget, keys: &Keys) -> Result<bool> {
    let _changing = guard::begin_naming(exchange, target, keys)?;
    let preserved = FileTarget::preserved(exchange);
    let part = exchange.session.parts.create(Arc::clone(&target.dir), &target.name, preserved)?;
    let naming = Naming { on_exists: OnExists::Refuse, ..Naming::default() };
    match part.publish_as(Checksum { size: 0, blake3: None }, preserved, &naming) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::Exists => Ok(false),
        Err(error) => Err(error.about(&target.path).into()),
    }
}

fn no_lock(exchange: &Exchange<'_>, why: NoLock) -> HttpError {
    match why {
        NoLock::Conflict(roots) => {
            guard::conflict(exchange, "no-conflicting-lock", &roots, "is locked already; wait until that lock ends")
        }
        NoLock::TooMany => {
            let message = "there are too many locks; unlock some, or wait until they end";
            Problem::new(StatusCode::INSUFFICIENT_STORAGE, message).into()
        }
        NoLock::Changing => guard::changing(),
    }
}

/// The locks of a resource, as they are now.
fn answer(exchange: &Exchange<'_>, place: &Place, status: StatusCode) -> Result<Response> {
    let own = Spot::of(&exchange.session.root, &RootPath::default())?.own;
    let holder = Holder::of(exchange);
    let locks = active(&exchange.state.locks.of(place), &own, &holder);
    let response = Response::bytes(status, XML_TYPE, locked(&locks).into_bytes());
    Ok(response.with(header::CACHE_CONTROL, HeaderValue::from_static("no-store")))
}

/// Locks as they are told to `holder`, whose root is `own`: with the tokens of its own locks, and no others (6.8).
pub(super) fn active(locks: &[Lock], own: &Place, holder: &Holder) -> Vec<ActiveLock> {
    let now = Instant::now();
    let told = locks.iter().map(|lock| {
        let mut root = lock.root.seen_from(own);
        if lock.is_of_dir && !root.ends_with(b"/") {
            root.push(b'/');
        }
        ActiveLock {
            is_exclusive: lock.is_exclusive,
            depth: if lock.is_deep { Depth::Infinity } else { Depth::Zero },
            owner: lock.owner.to_string(),
            seconds: lock.ends.saturating_duration_since(now).as_secs(),
            token: (lock.holder == *holder).then(|| lock.token.to_string()),
            root,
        }
    });
    told.collect()
}

/// A URN of 122 random bits of the kernel's (RFC 9562, 5.4).
fn new_token() -> Result<String> {
    let mut bytes = [0_u8; 16];
    let got = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty());
    if got != Ok(bytes.len()) {
        return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the kernel has no random numbers").into());
    }
    let number = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0b11 << 62) | (4 << 76) | (0b10 << 62);
    let digits = format!("{number:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| digits.get(range).unwrap_or_default());
    Ok(format!("urn:uuid:{}", parts.join("-")))
}

/// Answers UNLOCK.
///
/// # Errors
/// What the client is told instead.
pub(in super::super) fn unlock(exchange: &Exchange<'_>) -> Result<Response> {
    exchange.need(Service::Write)?;
    let path = exchange.path()?;
    let token = lock_token(&exchange.head.headers).map_err(bad_request)?;
    let token = token.ok_or_else(|| bad_request("say which lock: Lock-Token: <URI>"))?;
    check_conditions(exchange, &exchange.head.headers, &path)?;
    let Spot { own: place, .. } = Spot::of(&exchange.session.root, &path)?;
    let Some(lock) = exchange.state.locks.find(&place, token) else {
        let problem = Problem::new(StatusCode::CONFLICT, format!("{path}: has no lock with this token"));
        return Err(problem.with_xml(condition("lock-token-matches-request-uri", &[])).into());
    };
    if lock.holder != Holder::of(exchange) {
        return Err(Problem::new(StatusCode::FORBIDDEN, format!("{path}: the lock is another's")).into());
    }
    exchange.state.locks.remove(&lock);
    Ok(Response::empty(StatusCode::NO_CONTENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_random_uuid() {
        let [one, other] = [(); 2].map(|()| new_token().unwrap());
        assert_ne!(one, other);
        let digits: Vec<&str> = one.strip_prefix("urn:uuid:").unwrap().split('-').collect();
        assert_eq!(digits.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "RFC 9562, 4");
        assert!(digits[2].starts_with('4') && digits[3].starts_with(['8', '9', 'a', 'b']), "RFC 9562, 5.4: {one}");
    }
}
