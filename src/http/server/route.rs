//! Which handler a request is for.

use ::http::header::{self, HeaderValue};
use ::http::{Method, StatusCode};

use super::exchange::Exchange;
use super::files;
use super::problem::{Problem, Result};
use super::response::Response;

/// Answers a request.
///
/// # Errors
/// What the client is told instead, or that the connection is gone.
pub(super) fn respond(mut exchange: Exchange<'_>) -> Result<Response> {
    let method = &exchange.head.method;
    if exchange.head.target.is_asterisk() {
        return Ok(options(&exchange));
    }
    match *method {
        Method::GET | Method::HEAD => files::get(&mut exchange),
        Method::OPTIONS => Ok(options(&exchange)),
        Method::PUT | Method::POST | Method::DELETE | Method::PATCH | Method::TRACE | Method::CONNECT => {
            Err(Problem::not_allowed(method, &allowed(&exchange)).into())
        }
        _ => {
            let message = format!("{method} is not understood here");
            Err(Problem::new(StatusCode::NOT_IMPLEMENTED, message).into())
        }
    }
}

/// The methods that this client may use, for `Allow` (RFC 9110, 10.2.1).
fn allowed(_exchange: &Exchange<'_>) -> String {
    "GET, HEAD, OPTIONS".into()
}

/// RFC 9110, 9.3.7.
fn options(exchange: &Exchange<'_>) -> Response {
    let allowed = allowed(exchange);
    Response::empty(StatusCode::NO_CONTENT)
        .with_text(header::ALLOW, &allowed)
        .with(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
}
