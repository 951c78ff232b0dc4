//! What WebDAV adds (RFC 4918): properties, and changes of what is there. Files come in by [`put`](super::put).
//!
//! | file | what |
//! |---|---|
//! | `propfind`, `proppatch` | the properties of a resource and its members; those that clients set |
//! | `change`, `relocate` | DELETE and MKCOL; COPY and MOVE |
//! | `copy` | files and trees, copied |
//! | `lock` | LOCK and UNLOCK |
//! | `locks`, `props` | the locks and the properties that there are, in memory |
//! | `holder` | whose they are |
//! | `guard` | what changes must respect: locks, and the state that `If` names |
//! | `place` | where a resource is, whatever its URL |

pub(super) mod change;
mod copy;
pub(super) mod guard;
mod holder;
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

pub(super) use self::holder::Holder;
pub(super) use self::locks::Locks;
pub use self::locks::{
    LOCK_TIME_MAX, LOCKS_MAX, LOCKS_OF_LINK_MAX, LOCKS_OF_ONE_MAX, LOCKS_OF_PASSING_MAX, SHARED_LOCKS_MAX,
};
pub(super) use self::props::DeadProperties;
pub use self::props::{
    PROPERTIES_LEN_MAX, PROPERTIES_OF_ALL_LEN_MAX, PROPERTIES_OF_LINK_LEN_MAX, PROPERTIES_OF_ONE_LEN_MAX,
    PROPERTIES_OF_PASSING_LEN_MAX,
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

#[cfg(test)]
mod tests {
    use std::io::{self, Cursor, Read};
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use ::http::header::HeaderMap;

    use super::super::exchange::RequestBody;
    use super::super::options::HttpOptions;
    use super::super::state::HttpState;
    use super::place::{Node, Spot};
    use super::*;
    use crate::fs::root::{Root, RootPath};
    use crate::http::body::BodyLength;
    use crate::http::head::RequestHead;
    use crate::http::site::Site;
    use crate::net::stream::Control;
    use crate::session::Session;

    /// A body that has come already.
    struct Body(Cursor<Vec<u8>>);

    impl Read for Body {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl RequestBody for Body {
        fn length(&self) -> BodyLength {
            BodyLength::Known(self.0.get_ref().len() as u64)
        }

        fn send_interim(&mut self, _status: StatusCode, _headers: &HeaderMap) -> io::Result<()> {
            Ok(())
        }

        fn control(&self) -> Option<Control> {
            None
        }
    }

    #[test]
    fn who_was_revoked_meanwhile_leaves_neither_locks_nor_properties() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "a").unwrap();
        let root = Arc::new(Root::open(dir.path()).unwrap());
        let options = HttpOptions { uploads: true, modifies: true, ..HttpOptions::default() };
        let state = HttpState::new(options, &[0; 32]);
        let path = RootPath::default().join(b"a").unwrap();
        let lock = "<D:lockinfo xmlns:D='DAV:'><D:lockscope><D:exclusive/></D:lockscope>\
            <D:locktype><D:write/></D:locktype></D:lockinfo>";
        let patch = "<D:propertyupdate xmlns:D='DAV:' xmlns:x='urn:x'><D:set><D:prop><x:a>1</x:a></D:prop></D:set>\
            </D:propertyupdate>";
        for is_cut in [true, false] {
            let mut session = Session::of_test(Arc::clone(&root));
            session.is_cut.store(is_cut, Ordering::SeqCst);
            for (method, target, body) in [("PROPPATCH", "a", patch), ("LOCK", "a", lock), ("LOCK", "new", lock)] {
                let text = format!("{method} /{target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
                let head = RequestHead::parse(text.as_bytes()).unwrap();
                let mut exchange = Exchange {
                    state: &state,
                    head: &head,
                    session: &mut session,
                    site: Site::Unsaid,
                    scheme: ::http::uri::Scheme::HTTP,
                    body: &mut Body(Cursor::new(body.into())),
                };
                let answer =
                    if method == "LOCK" { lock::lock(&mut exchange) } else { proppatch::proppatch(&mut exchange) };
                assert_eq!(answer.is_err(), is_cut, "{method} {target}: {:?}", answer.err());
            }
            assert_eq!(state.locks.is_empty(), is_cut);
            assert_eq!(dir.path().join("new").exists(), !is_cut);
            let node = Node::of(&root, &path).unwrap();
            assert_eq!(state.properties.of(&node.place, node.inode).is_empty(), is_cut);
            assert_eq!(state.locks.of(&Spot::of(&root, &path).unwrap().own).is_empty(), is_cut);
        }
    }
}
