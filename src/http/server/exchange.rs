//! One request, and what its handler may use.

use std::io::{self, Read};

use ::http::StatusCode;
use ::http::header::{HeaderMap, HeaderValue};
use ::http::uri::Scheme;

use super::problem::{Problem, Result};
use super::state::HttpState;
use crate::fs::root::RootPath;
use crate::http::body::BodyLength;
use crate::http::head::RequestHead;
use crate::http::site::Site;
use crate::net::stream::Control;
use crate::session::Session;
use crate::trust::{Peer, Service};

/// One request.
#[expect(missing_debug_implementations, reason = "its body is a connection")]
pub struct Exchange<'e> {
    /// The server's state.
    pub state: &'e HttpState,
    /// The request.
    pub head: &'e RequestHead,
    /// Who sends it, and what it may do.
    pub session: &'e mut Session,
    /// Where it comes from.
    pub site: Site,
    /// How it came: plain or encrypted, as the client sees it.
    pub scheme: Scheme,
    /// Its body.
    pub body: &'e mut dyn RequestBody,
}

/// The body of a request. The first read lets the client send it, if it waits for that (RFC 9110, 10.1.1).
pub trait RequestBody: Read {
    /// How it is delimited.
    fn length(&self) -> BodyLength;

    /// Sends an answer before the answer, such as `104 Upload Resumption Supported`; nothing in HTTP/1.0, which knows
    /// none.
    ///
    /// # Errors
    /// The connection failed.
    fn send_interim(&mut self, status: StatusCode, headers: &HeaderMap) -> io::Result<()>;

    /// Ends the connection from outside; `None`: the body comes from none.
    fn control(&self) -> Option<Control>;
}

impl Exchange<'_> {
    /// The path that the request is about, below the root that the session is shown.
    ///
    /// # Errors
    /// It leads out of the root, is no path, or has a name that begins with a dot where those are not shown.
    pub fn path(&self) -> Result<RootPath> {
        self.resolve(&self.head.target.path)
    }

    /// A path of the client's, below the root that the session is shown.
    ///
    /// # Errors
    /// As [`path`](Self::path).
    pub fn resolve(&self, path: &[u8]) -> Result<RootPath> {
        let path = RootPath::default().join(path)?;
        if self.is_hidden(&path) {
            return Err(Problem::not_found().into());
        }
        Ok(path)
    }

    /// Whether a name in the path begins with a dot, where those are neither shown nor accepted.
    ///
    /// Finder stores what a file has besides its bytes in a second one, `._NAME`, and gives up the first where it cannot:
    /// so those who may write may use such a name. No list has it.
    fn is_hidden(&self, path: &RootPath) -> bool {
        if self.state.options.shows_hidden || !path.has_hidden_name() {
            return false;
        }
        let may_write = self.state.options.uploads && self.session.services.has(Service::Write);
        let is_companion = path.split_last().is_some_and(|(above, name)| {
            let name = name.as_encoded_bytes();
            name.len() > 2 && name.starts_with(b"._") && !above.has_hidden_name()
        });
        !(may_write && is_companion)
    }

    /// The path of what the client wants to store or make. A name that it may not use is refused with the reason, which
    /// tells nothing of what is there.
    ///
    /// # Errors
    /// As [`path`](Self::path).
    pub fn new_path(&self, path: &[u8]) -> Result<RootPath> {
        let path = RootPath::default().join(path)?;
        if self.is_hidden(&path) {
            let message = "a name that begins with a dot is not accepted here";
            return Err(Problem::new(StatusCode::FORBIDDEN, message).into());
        }
        Ok(path)
    }

    /// The `Cache-Control` of what may be different the next time. What is seen after signing in is not for a cache that
    /// others use.
    pub fn cache_control(&self) -> HeaderValue {
        let is_for_some = self.state.options.has_sign_in || self.session.peer.is_known();
        HeaderValue::from_static(if is_for_some { "private, no-cache" } else { "no-cache" })
    }

    /// Whether the target names a directory: it ends with a slash.
    pub fn names_directory(&self) -> bool {
        self.head.target.path.ends_with(b"/")
    }

    /// Requires a service.
    ///
    /// # Errors
    /// The client does not have it: a guest may sign in.
    pub fn need(&self, service: Service) -> Result<()> {
        if self.session.services.has(service) {
            return Ok(());
        }
        let (peer, method, name) = (&self.session.peer, &self.head.method, service.as_str());
        if matches!(peer, Peer::Guest { .. }) {
            let message = format!("{method} needs the service {name}, which guests do not have: sign in");
            return Err(Problem::unauthorized(message).into());
        }
        let message = format!("{method} needs the service {name}, and {peer} has {}", self.session.services);
        Err(Problem::new(StatusCode::FORBIDDEN, message).into())
    }
}
