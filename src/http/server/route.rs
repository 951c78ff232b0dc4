//! Which handler a request is for.

use ::http::header::{self, HeaderName, HeaderValue};
use ::http::{Method, StatusCode};

use super::dav::{change, lock, propfind, proppatch, relocate};
use super::exchange::Exchange;
use super::options::HttpOptions;
use super::problem::{Problem, Result};
use super::response::Response;
use super::{archive, chat, files, form, put, resumable};
use crate::http::resumable::UPLOAD_LIMIT;

/// Which parts of WebDAV are spoken (RFC 4918, 10.1).
const DAV: HeaderName = HeaderName::from_static("dav");
const MS_AUTHOR_VIA: HeaderName = HeaderName::from_static("ms-author-via");

/// Answers a request.
///
/// # Errors
/// What the client is told instead, or that the connection is gone.
pub(super) fn respond(mut exchange: Exchange<'_>) -> Result<Response> {
    let method = &exchange.head.method;
    let (decided, is_upload) = (&exchange.state.options, is_upload(&exchange));
    if exchange.head.target.is_asterisk() {
        return Ok(options(&exchange));
    }
    match *method {
        Method::GET | Method::HEAD if is_upload => resumable::retrieve(&exchange),
        Method::GET | Method::HEAD if chat::is_wanted(&exchange) => chat::get(&exchange),
        Method::GET | Method::HEAD => files::get(&mut exchange),
        Method::OPTIONS => Ok(options(&exchange)),
        Method::PATCH if is_upload => resumable::append(&mut exchange),
        Method::DELETE if is_upload => resumable::cancel(&exchange),
        Method::PUT if decided.uploads && !is_upload => put::put(&mut exchange),
        Method::POST if !is_upload && archive::is_wanted(&exchange) => archive::post(&mut exchange),
        Method::POST if decided.uploads && !is_upload => form::post(&mut exchange),
        Method::DELETE if decided.modifies => change::delete(&mut exchange),
        Method::PUT | Method::POST | Method::DELETE | Method::PATCH | Method::TRACE | Method::CONNECT => {
            Err(Problem::not_allowed(method, &allowed(&exchange)).into())
        }
        _ => respond_dav(exchange, is_upload),
    }
}

/// Answers the methods of RFC 4918; others are not understood (RFC 9110, 9.1).
fn respond_dav(mut exchange: Exchange<'_>, is_upload: bool) -> Result<Response> {
    let method = &exchange.head.method;
    let decided = &exchange.state.options;
    let is_shown = !is_upload && !decided.is_drop_box;
    match method.as_str() {
        "PROPFIND" if is_shown => propfind::propfind(&mut exchange),
        "PROPPATCH" if is_shown && changes(decided) => proppatch::proppatch(&mut exchange),
        "LOCK" if is_shown && changes(decided) => lock::lock(&mut exchange),
        "UNLOCK" if is_shown && changes(decided) => lock::unlock(&exchange),
        "MKCOL" if is_shown && decided.modifies => change::make(&mut exchange),
        "COPY" if is_shown && decided.modifies => relocate::copy(&mut exchange),
        "MOVE" if is_shown && decided.modifies => relocate::rename(&mut exchange),
        "PROPFIND" | "PROPPATCH" | "MKCOL" | "COPY" | "MOVE" | "LOCK" | "UNLOCK" => {
            Err(Problem::not_allowed(method, &allowed(&exchange)).into())
        }
        _ => {
            let message = format!("{method} is not understood here");
            Err(Problem::new(StatusCode::NOT_IMPLEMENTED, message).into())
        }
    }
}

/// Whether anything can be changed here.
const fn changes(options: &HttpOptions) -> bool {
    options.uploads || options.modifies
}

/// The methods that this client may use, for `Allow` (RFC 9110, 10.2.1).
pub(super) fn allowed(exchange: &Exchange<'_>) -> String {
    if is_upload(exchange) {
        return "GET, HEAD, OPTIONS, PATCH, DELETE".into();
    }
    let options = &exchange.state.options;
    let uploads = if options.uploads { ", PUT, POST" } else { "" };
    let modifies = if options.modifies { ", DELETE, MKCOL, COPY, MOVE" } else { "" };
    let shown = match (options.is_drop_box, changes(options)) {
        (true, _) => "",
        (false, true) => ", PROPFIND, PROPPATCH, LOCK, UNLOCK",
        (false, false) => ", PROPFIND",
    };
    format!("GET, HEAD, OPTIONS{uploads}{modifies}{shown}")
}

/// Whether the target is a resumable upload, and not a file.
fn is_upload(exchange: &Exchange<'_>) -> bool {
    exchange.state.options.uploads && exchange.head.target.parameter(resumable::PARAMETER).is_some()
}

/// RFC 9110, 9.3.7; RFC 4918, 10.1.
fn options(exchange: &Exchange<'_>) -> Response {
    let allowed = allowed(exchange);
    let options = &exchange.state.options;
    // The redirector of Windows takes no other status than 200.
    let mut response = Response::empty(StatusCode::OK)
        .with_text(header::ALLOW, &allowed)
        .with(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !options.is_drop_box {
        // Class 2 has locks, for what can be changed. Finder mounts a share of class 1 as one that can be read only.
        let class = if changes(options) { "1, 2" } else { "1" };
        response = response
            .with(DAV, HeaderValue::from_static(class))
            // Explorer and Office look for this before they take a server for one of WebDAV.
            .with(MS_AUTHOR_VIA, HeaderValue::from_static("DAV"));
    }
    // That there is such a field says that uploads can be resumed.
    if exchange.state.options.uploads { response.with(UPLOAD_LIMIT, resumable::limits(exchange)) } else { response }
}
