//! What can go wrong between a URL and its file, by what the caller can do next.

use std::io;
use std::time::Duration;

use ::http::StatusCode;

use super::redirect::RedirectError;
use super::response::HeadError;
use super::url::UrlError;
use crate::net::dial::ConnectError;
use crate::net::tls::{CredentialsError, HandshakeError};

/// The result of anything that this client does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A fetch or an upload failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is none.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// What was requested makes no sense, and why.
    #[error("{0}")]
    Usage(String),
    /// No connection came about.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No encrypted connection came about.
    #[error("{host}: {source}")]
    Tls {
        /// Host and port.
        host: String,
        /// Why.
        source: HandshakeError,
    },
    /// The proxy does not let the connection through.
    #[error("the proxy {proxy} refuses a connection to {host}: {status}")]
    Proxy {
        /// Where the proxy is.
        proxy: String,
        /// Host and port that were wanted.
        host: String,
        /// What it said.
        status: StatusCode,
    },
    /// The server is not who it should be.
    #[error("{host}: {source}")]
    NotTrusted {
        /// Host and port.
        host: String,
        /// Why.
        source: HandshakeError,
    },
    /// What came is no response.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The connection ended or failed in the middle.
    #[error("the connection was lost: {what}")]
    Lost {
        /// What happened.
        what: String,
        /// The operating system's error; `None`: the server ended it.
        source: Option<io::Error>,
    },
    /// A time limit ran out.
    #[error("{what} was not over within {limit:?}")]
    TimedOut {
        /// What took too long.
        what: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// The server said no.
    #[error("{}", status_text(*.status, .reason))]
    Status {
        /// The status.
        status: StatusCode,
        /// What the server calls it.
        reason: String,
        /// The beginning of the body, decoded.
        body: Vec<u8>,
        /// Bytes of the body that are not in it; `None`: there are more, and their number is unknown.
        left_out: Option<u64>,
        /// How long the server wants to be left alone; `None`: it does not say.
        retry_after: Option<Duration>,
    },
    /// A redirect cannot be followed.
    #[error(transparent)]
    Redirect(#[from] RedirectError),
    /// What the server sent does not fit what was requested.
    #[error("{0}")]
    Unexpected(String),
    /// The body is not in the coding that its head names.
    #[error("the body cannot be decoded as {coding}: {source}")]
    Coding {
        /// Its name in HTTP.
        coding: &'static str,
        /// What the decoder says.
        source: io::Error,
    },
    /// What arrived is not what it should be.
    #[error("{what}: {got} arrived, {wanted} was expected")]
    Digest {
        /// Which digest, and whose.
        what: String,
        /// Of what arrived.
        got: String,
        /// What it should be.
        wanted: String,
    },
    /// A key, a certificate or a list of roots cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The caller ended it.
    #[error("interrupted")]
    Interrupted,
    /// This machine failed: its disk, its terminal.
    #[error("{object}: {source}")]
    Ours {
        /// A path, or a stream's name.
        object: String,
        /// The operating system's error.
        source: io::Error,
    },
}

fn status_text(status: StatusCode, reason: &str) -> String {
    let reason = if reason.is_empty() { status.canonical_reason().unwrap_or_default() } else { reason };
    format!("the server says {} {reason}", status.as_u16())
}

impl Error {
    /// Says which object of this machine failed, for `map_err`.
    pub fn ours(object: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let object = object.into();
        move |source| Self::Ours { object, source }
    }

    /// The connection ended, without an error of this machine.
    pub fn lost(what: impl Into<String>) -> Self {
        Self::Lost { what: what.into(), source: None }
    }

    /// The connection failed, for `map_err`.
    pub fn failed(source: io::Error) -> Self {
        Self::Lost { what: source.to_string(), source: Some(source) }
    }

    /// Whether another attempt may succeed: no connection, one that was lost, or a server that is busy.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Lost { .. } | Self::TimedOut { .. } => true,
            Self::Tls { source, .. } => {
                matches!(source, HandshakeError::TimedOut(_) | HandshakeError::Closed | HandshakeError::Socket(_))
            }
            Self::Status { status, .. } | Self::Proxy { status, .. } => is_transient(*status),
            _ => false,
        }
    }
}

/// Statuses that say "not now" (RFC 9110, 15.5.9, 15.6.1, 15.6.3 to 15.6.5; RFC 6585, 4).
pub const fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn the_operating_systems_error_stays_the_source() {
        let error = Error::failed(io::ErrorKind::ConnectionReset.into());
        let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        assert_eq!(source.map(io::Error::kind), Some(io::ErrorKind::ConnectionReset));
        assert!(Error::lost("the server hung up").source().is_none());
    }
}
