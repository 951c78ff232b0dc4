//! Errors of a connection, grouped by what the program can do next.
//!
//! Errors of files become refusals here, in one place: [`fs::Error`] has no code of the protocol.
//!
//! A clean end is not in here: it is the value `None`. Exit codes are chosen in `cli`, from these groups.

use std::io;

use crate::fs;

/// The result of anything done on a connection.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error on a connection; the variant says what the program can do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The other end broke the protocol: the connection is out of step and is closed.
    #[error(transparent)]
    PeerMisbehaved(#[from] Misbehaviour),
    /// A request was refused; the connection is in step and can be used again. On a client it came from the server; on
    /// a server it will be sent to the client.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The transport failed: nothing more will arrive, and the outcome of a running request is unknown.
    #[error(transparent)]
    ConnectionLost(#[from] ConnectionLost),
    /// There is no connection. The cause is a [`ConnectError`](crate::client::ConnectError).
    #[error(transparent)]
    NotConnected(Box<dyn std::error::Error + Send + Sync>),
    /// This machine failed, not the connection: its disk, its terminal, its arguments.
    #[error("{object}")]
    Ours {
        /// The object: a path, `stdout`, an option.
        object: String,
        /// The operating system's error.
        source: io::Error,
    },
}

impl Error {
    /// Says which object of this machine failed, for `map_err`.
    pub fn ours(object: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let object = object.into();
        move |source| Self::Ours { object, source }
    }

    /// What happened and why, on one line: for logs, and for JSON.
    pub fn with_cause(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
}

/// How the other end broke the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misbehaviour {
    /// The 4-byte length is outside 2 to 65,535.
    #[error("frame header length {0} is outside 2..=65535: the other end does not speak frames")]
    HeaderLength(i32),
    /// A frame before `hello` was accepted is longer than permitted there.
    #[error("frame {part} of {announced} bytes before hello was accepted, where at most {limit} are taken")]
    TooMuchTooSoon {
        /// Header or body.
        part: &'static str,
        /// What was announced, in bytes.
        announced: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The header is not a JSON object.
    #[error("frame header begins with byte 0x{0:02x}, not with an opening brace")]
    NotAnObject(u8),
    /// The header is not JSON, or a known field has the wrong type.
    #[error("frame header cannot be read: {0}")]
    BadHeader(String),
    /// `total_size` is over the limit.
    #[error("frame body of {announced} bytes is over the limit of {limit} bytes")]
    BodyTooLarge {
        /// What `total_size` said, in bytes.
        announced: u64,
        /// [`BODY_LEN_MAX`](crate::wire::frame::BODY_LEN_MAX), or a smaller limit of this exchange, in bytes.
        limit: u32,
    },
    /// A message came that is not permitted at this point of the exchange.
    #[error("{got} came where {wanted} was expected")]
    Unexpected {
        /// The type that came.
        got: String,
        /// The messages that were expected.
        wanted: &'static str,
    },
    /// A body that should be text, a listing or a list of arguments is not one.
    #[error("{what} cannot be read: {why}")]
    BadBody {
        /// Which body.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// The connection is gone.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionLost {
    /// The other end closed where a message was still expected.
    #[error("the other end closed the connection, {wanted} was still to come")]
    Closed {
        /// What was still to come.
        wanted: &'static str,
    },
    /// The stream ended inside a frame.
    #[error("the connection ended inside a frame, {missing} bytes short")]
    InsideFrame {
        /// How many bytes of the frame did not come.
        missing: u64,
    },
    /// A timeout was over; the text names which.
    #[error("timed out: {0}")]
    TimedOut(String),
    /// The operating system reported an error on the socket.
    #[error("the connection was lost")]
    Socket(#[from] io::Error),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::ConnectionLost(ConnectionLost::from_io(error))
    }
}

impl ConnectionLost {
    /// Maps the two error kinds of a socket's timeout to one.
    pub fn from_io(error: io::Error) -> Self {
        if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
            return Self::TimedOut("nothing moved within the connection's time limit".into());
        }
        Self::Socket(error)
    }
}

/// Longest message of a refusal, in bytes: JSON may escape each as six, and a header takes 65,535.
const MESSAGE_LEN_MAX: usize = 8 * 1024;

/// A refusal: a code of a closed list for programs, a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The code, for programs.
    pub code: ErrorCode,
    /// The message for people: the object, the numbers, what to do next.
    pub message: String,
}

impl Refusal {
    /// A refusal of `code` that says `message`.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let mut message: String = message.into();
        if message.len() > MESSAGE_LEN_MAX {
            message.truncate(message.floor_char_boundary(MESSAGE_LEN_MAX));
            message.push('…');
        }
        Self { code, message }
    }

    /// The operating system's error about `object`, with its code; the errno is not sent.
    pub fn from_io(object: &str, error: &io::Error) -> Self {
        fs::Error::from(error).about(object).into()
    }
}

impl From<fs::Error> for Refusal {
    fn from(error: fs::Error) -> Self {
        Self::new(error.kind().into(), error.to_string())
    }
}

impl From<fs::Error> for Error {
    fn from(error: fs::Error) -> Self {
        Self::Refused(error.into())
    }
}

impl From<fs::ErrorKind> for ErrorCode {
    fn from(kind: fs::ErrorKind) -> Self {
        use fs::ErrorKind as K;
        match kind {
            K::NotFound => Self::NotFound,
            K::Exists => Self::Exists,
            K::NotADirectory => Self::NotADirectory,
            K::IsADirectory => Self::IsADirectory,
            K::NotAFile => Self::NotAFile,
            K::NotEmpty => Self::NotEmpty,
            K::Permission | K::Hidden => Self::Permission,
            K::OutsideRoot => Self::OutsideRoot,
            K::BadName | K::ReservedName => Self::BadName,
            K::NoSpace => Self::NoSpace,
            K::Digest => Self::Digest,
            K::Invalid => Self::BadRequest,
            K::Busy | K::Changed | K::TooMany | K::Other => Self::Failed,
        }
    }
}

macro_rules! error_codes {
    ($($variant:ident = $name:literal, $doc:literal;)*) => {
        /// The closed list of codes an `error` frame can carry.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode { $(#[doc = $doc] $variant,)* }

        impl ErrorCode {
            /// Every code with its word on the wire and its meaning, for the documents' test.
            pub const ALL: &'static [(Self, &'static str, &'static str)] = &[$((Self::$variant, $name, $doc),)*];

            /// The code's name in the protocol.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

error_codes! {
    BadFrame = "bad-frame", "The bytes are not a frame; the connection is closed.";
    BadRequest = "bad-request", "A field is missing, or the message has no place here.";
    UnknownType = "unknown-type", "The `type` is not known; its body was skipped.";
    Version = "version", "The protocol version is not spoken here; the connection is closed.";
    NotAllowed = "not-allowed", "The service that this needs is not granted to this peer.";
    Busy = "busy", "A cap on connections, threads or members is reached; try later.";
    ShuttingDown = "shutting-down", "The server is stopping.";
    TimedOut = "timed-out", "A time limit of the server ran out.";
    NotFound = "not-found", "No such file, directory, room, place or job.";
    Exists = "exists", "The target exists already.";
    NotADirectory = "not-a-directory", "A directory is wanted.";
    IsADirectory = "is-a-directory", "A file is wanted.";
    NotAFile = "not-a-file", "Neither a regular file nor a directory: a device, a pipe or a socket.";
    NotEmpty = "not-empty", "The directory is not empty.";
    Permission = "permission", "The server's user may not do that.";
    OutsideRoot = "outside-root", "The path leads out of the root.";
    BadName = "bad-name", "A name that cannot be a file's, a nick's or a room's.";
    NoSpace = "no-space", "The disk or the quota is full.";
    NameTaken = "name-taken", "A member of the room has this nick, or one that looks like it.";
    Digest = "digest", "What arrived is not what was sent; the target was left as it was.";
    Stopped = "stopped", "The exchange ended early because the other end asked for it.";
    Failed = "failed", "Something else failed; the message says what.";
}

impl ErrorCode {
    /// Whether the connection is closed after such an error, so that no further request can be sent on it.
    pub const fn closes_connection(self) -> bool {
        matches!(self, Self::BadFrame | Self::Version | Self::ShuttingDown | Self::TimedOut)
    }
}

impl From<&str> for ErrorCode {
    /// An unknown code becomes [`Failed`](Self::Failed): the message still says why.
    fn from(name: &str) -> Self {
        Self::ALL.iter().find(|(_, word, _)| *word == name).map_or(Self::Failed, |(code, ..)| *code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_done_with_a_file_is_refused_with_its_code_and_in_its_words() {
        for (errno, code, text) in [
            (1, ErrorCode::Permission, "operation not permitted"),
            (2, ErrorCode::NotFound, "no such file or directory"),
            (5, ErrorCode::Failed, "input/output error"),
            (13, ErrorCode::Permission, "permission denied"),
            (16, ErrorCode::Failed, "device or resource busy"),
            (22, ErrorCode::BadRequest, "(a directory into itself?)"),
            (24, ErrorCode::Failed, "too many open files"),
            (26, ErrorCode::Failed, "text file busy"),
            (28, ErrorCode::NoSpace, "no space left on the device"),
            (36, ErrorCode::BadName, "file name too long"),
            (40, ErrorCode::Failed, "too many levels of symbolic links"),
            (84, ErrorCode::BadName, "cannot hold this name; it takes names in UTF-8"),
            (116, ErrorCode::Failed, "stale file handle"),
            (122, ErrorCode::NoSpace, "the disk quota is exceeded"),
        ] {
            let refusal = Refusal::from_io("x", &io::Error::from_raw_os_error(errno));
            assert_eq!(refusal.code, code, "{errno}: {refusal}");
            assert!(refusal.message.starts_with("x: ") && refusal.message.ends_with(text), "{errno}: {refusal}");
        }
        let above = fs::root::RootPath::default().join(b"..").unwrap_err();
        assert_eq!(Refusal::from(above), Refusal::new(ErrorCode::OutsideRoot, "..: leads above the root"));
    }
}
