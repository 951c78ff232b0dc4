//! A path in a JSON body.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use crate::error::{ErrorCode, Refusal};

/// A path or a name in a JSON body: a string if it is UTF-8, else `{"b64":"..."}`, as in a header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PathText {
    /// UTF-8.
    Plain(String),
    /// Anything else.
    Encoded {
        /// Base64 (RFC 4648, 4).
        b64: String,
    },
}

impl PathText {
    /// The JSON form of a path.
    pub fn of(path: &[u8]) -> Self {
        match std::str::from_utf8(path) {
            Ok(plain) if !plain.contains('\0') => Self::Plain(plain.to_owned()),
            _ => Self::Encoded { b64: BASE64.encode(path) },
        }
    }

    /// The path as text; `None`: it is not UTF-8.
    pub fn into_text(self) -> Option<String> {
        match self {
            Self::Plain(plain) => Some(plain),
            Self::Encoded { .. } => None,
        }
    }

    /// The path's bytes.
    ///
    /// # Errors
    /// It is not base64.
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>, Refusal> {
        match self {
            Self::Plain(plain) => Ok(Cow::Borrowed(plain.as_bytes())),
            Self::Encoded { b64 } => BASE64
                .decode(b64)
                .map(Cow::Owned)
                .map_err(|why| Refusal::new(ErrorCode::BadRequest, format!("a path is not base64: {why}"))),
        }
    }
}
