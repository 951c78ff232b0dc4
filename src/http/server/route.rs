//! Which handler a request is for.

use ::http::header::{self, HeaderValue};
use ::http::{Method, StatusCode};

use super::dav::{change, propfind};
use super::exchange::Exchange;
use super::problem::{Problem, Result};
use super::response::Response;
use super::{files, form, put, resumable};
use crate::http::resumable::UPLOAD_LIMIT;

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
        Method::GET | Method::HEAD => files::get(&mut exchange),
        Method::OPTIONS => Ok(options(&exchange)),
        Method::PATCH if is_upload => resumable::append(&mut exchange),
        Method::DELETE if is_upload => resumable::cancel(&exchange),
        Method::PUT if decided.uploads && !is_upload => put::put(&mut exchange),
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
        "MKCOL" if is_shown && decided.modifies => change::make(&mut exchange),
        "MOVE" if is_shown && decided.modifies => change::rename(&mut exchange),
        "PROPFIND" | "MKCOL" | "MOVE" => Err(Problem::not_allowed(method, &allowed(&exchange)).into()),
        _ => {
            let message = format!("{method} is not understood here");
            Err(Problem::new(StatusCode::NOT_IMPLEMENTED, message).into())
        }
    }
}

/// The methods that this client may use, for `Allow` (RFC 9110, 10.2.1).
pub(super) fn allowed(exchange: &Exchange<'_>) -> String {
    if is_upload(exchange) {
        return "GET, HEAD, OPTIONS, PATCH, DELETE".into();
    }
    let options = &exchange.state.options;
    let uploads = if options.uploads { ", PUT, POST" } else { "" };
    let shown = if options.is_drop_box { "" } else { ", PROPFIND" };
    let changes = if options.modifies { ", DELETE, MKCOL, MOVE" } else { "" };
    format!("GET, HEAD, OPTIONS{shown}{uploads}{changes}")
}

/// Whether the target is a resumable upload, and not a file.
fn is_upload(exchange: &Exchange<'_>) -> bool {
    exchange.state.options.uploads && exchange.head.target.parameter(resumable::PARAMETER).is_some()
}

/// RFC 9110, 9.3.7.
fn options(exchange: &Exchange<'_>) -> Response {
    let allowed = allowed(exchange);
    let response = Response::empty(StatusCode::NO_CONTENT)
        .with_text(header::ALLOW, &allowed)
        .with(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // That there is such a field says that uploads can be resumed.
    if exchange.state.options.uploads { response.with(UPLOAD_LIMIT, resumable::limits(exchange)) } else { response }
}
