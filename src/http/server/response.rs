//! An answer, as a value: what a handler returns. The connection adds how it is delimited, and sends it.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};

use ::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ::http::{Method, StatusCode};

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers, without those that delimit the body.
    pub headers: HeaderMap,
    /// The body.
    pub body: ResponseBody,
}

/// The body of an answer.
pub enum ResponseBody {
    /// There is none.
    Empty,
    /// These bytes.
    Bytes(Vec<u8>),
    /// A part of a file.
    File(FileSlice),
    /// Parts of one file, each behind some bytes, and bytes at the end: several ranges.
    Pieces {
        /// The file.
        file: File,
        /// What stands in front of each part, its offset and its length.
        pieces: Vec<Piece>,
        /// What stands behind the last.
        end: Vec<u8>,
    },
    /// What is made while it is sent.
    Stream {
        /// Its length in bytes; `None`: unknown, and it is sent in chunks.
        len: Option<u64>,
        /// Makes it. After an error the connection is broken off, so that it does not look whole.
        write: StreamWriter,
    },
}

/// Makes a body while it is sent.
pub type StreamWriter = Box<dyn FnOnce(&mut dyn BodyWriter) -> io::Result<()> + Send>;

/// Where such a body goes.
pub trait BodyWriter: Write {
    /// Sends the first `len` bytes of a file: by the kernel alone, where nothing is to be encrypted or cut into chunks.
    ///
    /// # Errors
    /// It could not be sent, or the file is shorter.
    fn send_file(&mut self, file: &File, len: u64) -> io::Result<()>;
}

/// A part of a file.
#[derive(Debug)]
pub struct FileSlice {
    /// The file.
    pub file: File,
    /// Where the part begins, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
}

/// One of several ranges.
#[derive(Debug)]
pub struct Piece {
    /// What stands in front of it.
    pub front: Vec<u8>,
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::File(FileSlice { offset, len, .. }) => write!(f, "File({offset}+{len})"),
            Self::Pieces { pieces, .. } => write!(f, "Pieces({})", pieces.len()),
            Self::Stream { len, .. } => write!(f, "Stream({len:?})"),
        }
    }
}

impl ResponseBody {
    /// Length in bytes; `None`: it is sent in chunks.
    pub fn len(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::File(slice) => Some(slice.len),
            Self::Pieces { pieces, end, .. } => {
                Some(pieces.iter().map(|piece| piece.front.len() as u64 + piece.len).sum::<u64>() + end.len() as u64)
            }
            Self::Stream { len, .. } => *len,
        }
    }

    /// Whether it is known to have no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }
}

impl Response {
    /// An answer without a body.
    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: ResponseBody::Empty }
    }

    /// An answer with these bytes.
    pub fn bytes(status: StatusCode, media_type: &'static str, bytes: Vec<u8>) -> Self {
        let body = ResponseBody::Bytes(bytes);
        Self { status, headers: HeaderMap::new(), body }
            .with(header::CONTENT_TYPE, HeaderValue::from_static(media_type))
    }

    /// The same with this header, which replaces one of that name.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The same with a header that is made of `text`. A text that no header can carry is left out.
    #[must_use]
    pub fn with_text(self, name: HeaderName, text: &str) -> Self {
        match HeaderValue::from_str(text) {
            Ok(value) => self.with(name, value),
            Err(_) => self,
        }
    }

    /// Whether an answer to `method` with this status has a body, or a length of one (RFC 9110, 6.4.1; RFC 9112, 6.3).
    pub fn may_have_body(&self, method: &Method) -> bool {
        let is_bodiless =
            self.status.is_informational() || matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        !is_bodiless && *method != Method::CONNECT
    }
}
