//! What WebDAV adds (RFC 4918): properties, and changes of what is there. Files come in by [`put`](super::put).
//!
//! | file | what |
//! |---|---|
//! | `propfind` | PROPFIND: the properties of a resource and its members |
//! | `change` | DELETE, MKCOL, MOVE |

pub(super) mod change;
pub(super) mod propfind;

use std::io::Read as _;

use ::http::StatusCode;

use super::exchange::Exchange;
use super::problem::{HttpError, Problem, Result};
use crate::http::dav::xml::XML_LEN_MAX;

/// The body of a request, which is XML.
///
/// # Errors
/// It is too long (413), or broke off.
fn xml_body(exchange: &mut Exchange<'_>) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    #[expect(clippy::disallowed_methods, reason = "it is read through take")]
    let read = (&mut *exchange.body).take(XML_LEN_MAX as u64 + 1).read_to_end(&mut body);
    read.map_err(HttpError::of_body)?;
    if body.len() > XML_LEN_MAX {
        let message = format!("the XML is longer than {XML_LEN_MAX} bytes");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, message).into());
    }
    Ok(body)
}

/// What cannot be read of a request, for `map_err`.
#[expect(clippy::needless_pass_by_value, reason = "map_err passes it so")]
fn bad_request(error: impl ToString) -> HttpError {
    Problem::new(StatusCode::BAD_REQUEST, error.to_string()).into()
}
