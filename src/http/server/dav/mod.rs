//! What WebDAV adds (RFC 4918): properties, and changes of what is there. Files come in by [`put`](super::put).
//!
//! | file | what |
//! |---|---|
//! | `propfind`, `proppatch` | the properties of a resource and its members; those that clients set |
//! | `change`, `relocate` | DELETE and MKCOL; COPY and MOVE |
//! | `copy` | files and trees, copied |
//! | `lock` | LOCK and UNLOCK |
//! | `locks`, `props` | the locks and the properties that there are, in memory |
//! | `guard` | what changes must respect: locks, and the state that `If` names |
//! | `place` | where a resource is, whatever its URL |

pub(super) mod change;
mod copy;
pub(super) mod guard;
pub(super) mod lock;
mod locks;
pub(super) mod place;
pub(super) mod propfind;
pub(super) mod proppatch;
mod props;
pub(super) mod relocate;

use std::io::Read as _;

use ::http::StatusCode;

use super::exchange::Exchange;
use super::problem::{HttpError, Problem, Result};
use crate::http::dav::xml::XML_LEN_MAX;

pub(super) use self::locks::Locks;
pub use self::locks::{LOCK_TIME_MAX, LOCKS_MAX, LOCKS_OF_ONE_MAX, LOCKS_OF_PASSING_MAX, SHARED_LOCKS_MAX};
pub(super) use self::props::DeadProperties;
pub use self::props::{
    PROPERTIES_LEN_MAX, PROPERTIES_OF_ALL_LEN_MAX, PROPERTIES_OF_ONE_LEN_MAX, PROPERTIES_OF_PASSING_LEN_MAX,
};

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
