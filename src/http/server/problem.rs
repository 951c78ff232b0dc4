//! Why a request is not served: what its client gets, and what the log has.

use std::io;

use ::http::header::{self, HeaderMap, HeaderValue};
use ::http::{Method, StatusCode};

use super::response::Response;
use crate::error::{ConnectionLost, Error, ErrorCode, Refusal};
use crate::fs;
use crate::http::body::BodyError;
use crate::http::dav::XML_TYPE;
use crate::http::page::SignInReason;
use crate::trust::guesses::Wait;
use crate::trust::policy::Denied;

/// The result of a handler.
pub type Result<T, E = HttpError> = std::result::Result<T, E>;

/// A request is not served.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Its client is told so.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// The connection is gone, or out of step.
    #[error(transparent)]
    Lost(Error),
}

impl HttpError {
    /// Whether the client is told that there is nothing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Problem(problem) if problem.status == StatusCode::NOT_FOUND)
    }
}

impl HttpError {
    /// A body could not be read to its end.
    pub(super) fn of_body(error: io::Error) -> Self {
        match error.downcast::<BodyError>() {
            Ok(error) => error.into(),
            Err(error) => BodyError::Io(error).into(),
        }
    }
}

/// What a client is told of a request that is not served.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// The status of the answer.
    pub status: StatusCode,
    /// For people: the object, the numbers, what to do next.
    pub message: String,
    /// Headers of the answer.
    pub headers: Box<HeaderMap>,
    /// What a person can do about it by signing in; `None`: nothing.
    pub sign_in: Option<SignInReason>,
    /// Whether its client is signed in all the same.
    pub is_signed_in: bool,
    /// The body of the answer, for programs that read XML (RFC 4918, 16); `None`: it is the message.
    pub xml: Option<Box<str>>,
}

impl Problem {
    /// A problem that says `message`.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), headers: Box::default(), sign_in: None, is_signed_in: false, xml: None }
    }

    /// Nothing of this name, or nothing that this client may know of.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not found")
    }

    /// A sign-in is needed; how, the answer says in words that browsers and curl understand.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        let mut problem = Self::new(StatusCode::UNAUTHORIZED, message).with_sign_in(SignInReason::Needed);
        for challenge in ["Basic realm=\"landline\", charset=\"UTF-8\"", "Bearer realm=\"landline\""] {
            problem.headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        problem
    }

    /// The method is not for this resource; these are (RFC 9110, 15.5.6).
    pub fn not_allowed(method: &Method, allowed: &str) -> Self {
        let message = format!("{method} is not allowed here; {allowed} are");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, message).with_text(header::ALLOW, allowed)
    }

    /// The same with this header.
    #[must_use]
    pub fn with_text(mut self, name: header::HeaderName, text: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(text) {
            self.headers.insert(name, value);
        }
        self
    }

    /// The same, for which a person can sign in.
    #[must_use]
    pub const fn with_sign_in(mut self, reason: SignInReason) -> Self {
        self.sign_in = Some(reason);
        self
    }

    /// The same for a program that reads XML.
    #[must_use]
    pub fn with_xml(mut self, xml: String) -> Self {
        self.xml = Some(xml.into());
        self
    }

    /// The answer: plain text, or XML.
    pub fn response(&self) -> Response {
        let text = || ("text/plain; charset=utf-8", format!("{}\n", self.message).into_bytes());
        let (media_type, body) = self.xml.as_ref().map_or_else(text, |xml| (XML_TYPE, xml.as_bytes().to_vec()));
        let mut response = Response::bytes(self.status, media_type, body);
        response.headers.extend(HeaderMap::clone(&self.headers));
        response.with(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
    }
}

/// What is hidden or leads out of the root is not there, for those who may not look.
impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        use ErrorCode as C;
        let status = match refusal.code {
            C::NotFound | C::NotADirectory | C::OutsideRoot | C::NotAFile => return Self::not_found(),
            C::BadName | C::BadRequest | C::Digest => StatusCode::BAD_REQUEST,
            C::Exists | C::IsADirectory | C::NotEmpty => StatusCode::CONFLICT,
            C::Permission | C::NotAllowed => StatusCode::FORBIDDEN,
            C::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
            C::Busy => StatusCode::SERVICE_UNAVAILABLE,
            C::TimedOut => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, refusal.message)
    }
}

impl From<fs::Error> for Problem {
    fn from(error: fs::Error) -> Self {
        match error.kind() {
            fs::ErrorKind::Hidden => Self::not_found(),
            fs::ErrorKind::Changed => Self::new(StatusCode::PRECONDITION_FAILED, error.to_string()),
            fs::ErrorKind::TooMany => Self::new(StatusCode::INSUFFICIENT_STORAGE, error.to_string()),
            _ => Refusal::from(error).into(),
        }
    }
}

impl From<fs::Error> for HttpError {
    fn from(error: fs::Error) -> Self {
        Self::Problem(error.into())
    }
}

/// What came with the request lets no one in. It is a guest's request without it, and never with it: a client whose token
/// has expired would wonder why so little is allowed.
impl From<Denied> for HttpError {
    fn from(denied: Denied) -> Self {
        let message = denied.to_string();
        let problem = match denied {
            Denied::NoSuchToken => Problem::unauthorized(message),
            Denied::NoSuchSession => Problem::unauthorized(message).with_sign_in(SignInReason::Ended),
            Denied::NoSuchLink => Problem::new(StatusCode::FORBIDDEN, message).with_sign_in(SignInReason::Wrong),
            Denied::NoSuchLinkInPlain => {
                Problem::new(StatusCode::FORBIDDEN, message).with_sign_in(SignInReason::WrongInPlain)
            }
            Denied::TokenInPlain => Problem::new(StatusCode::FORBIDDEN, message).with_sign_in(SignInReason::Plain),
            Denied::TooManyWrong(Wait { seconds }) => Problem::new(StatusCode::TOO_MANY_REQUESTS, message)
                .with_text(header::RETRY_AFTER, &seconds.to_string())
                .with_sign_in(SignInReason::Wait { seconds }),
            Denied::PeersUnreadable | Denied::TokensUnreadable | Denied::CannotRecord => {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, message).with_sign_in(SignInReason::Unavailable)
            }
        };
        Self::Problem(problem)
    }
}

impl From<Refusal> for HttpError {
    fn from(refusal: Refusal) -> Self {
        Self::Problem(refusal.into())
    }
}

impl From<Error> for HttpError {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(refusal) => refusal.into(),
            error => Self::Lost(error),
        }
    }
}

/// A body that ends too soon is the connection's end; a malformed one is answered.
impl From<BodyError> for HttpError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Chunk(_) => Problem::new(StatusCode::BAD_REQUEST, error.to_string()).into(),
            BodyError::Io(error) if is_timeout(&error) => {
                let message = "the body came too slowly; send it again, or resume it";
                Problem::new(StatusCode::REQUEST_TIMEOUT, message).into()
            }
            BodyError::Io(error) => Self::Lost(error.into()),
            BodyError::Short(_) | BodyError::NoLastChunk => {
                Self::Lost(Error::ConnectionLost(ConnectionLost::Socket(error.into())))
            }
        }
    }
}

/// Whether a read was over because of a time limit.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
